-- Requests with an Idempotency-Key: who runs one, and the answer that a repeat is given. Only adds.

CREATE TABLE idempotency (
    -- The nil id for calls of the operator, who belongs to no organization.
    org_id       uuid        NOT NULL,
    -- Of this use of the key; the seal of the answer is bound to it.
    id           uuid        NOT NULL,
    -- The API key, or the person, that the key is unique for.
    holder_id    uuid        NOT NULL,
    key_hash     bytea       NOT NULL,
    request_hash bytea       NOT NULL,
    -- The process that runs the request. When its lease lapses, the key is free again.
    instance_id  uuid        NOT NULL,
    -- The answer; NULL while the request runs.
    sealed       bytea,
    sealed_bytes integer     NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    CONSTRAINT idempotency_pk PRIMARY KEY (org_id, id),
    CONSTRAINT idempotency_key_uq UNIQUE (org_id, holder_id, key_hash)
);
CREATE INDEX idempotency_expires_ix ON idempotency (expires_at);
-- For the sum of what an organization has stored.
CREATE INDEX idempotency_bytes_ix ON idempotency (org_id) INCLUDE (sealed_bytes);
