-- Attempts (log-ins, sign-ups, tests of keys) that all processes count together. Nothing is lost with it but the counts of
-- the last minutes. Only adds.
CREATE UNLOGGED TABLE throttle (
    -- A keyed hash: neither addresses nor e-mail addresses are kept.
    subject    bytea       NOT NULL CONSTRAINT throttle_pk PRIMARY KEY,
    -- The theoretical arrival time (GCRA), in milliseconds since 1970.
    arrival_ms bigint      NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX throttle_updated_ix ON throttle (updated_at);
