-- What the gateway's own choice of models needs to keep. Only adds: an older process goes on without these.

ALTER TABLE api_key
    -- Share of the reference model's quality that a chosen model must reach.
    ADD COLUMN min_quality_permille smallint CONSTRAINT api_key_min_quality_ck
                                    CHECK (min_quality_permille BETWEEN 0 AND 1000),
    ADD COLUMN routing_mode         text NOT NULL DEFAULT 'on' CONSTRAINT api_key_routing_mode_ck
                                    CHECK (routing_mode IN ('off', 'shadow', 'advise', 'on'));

-- The embedding model that `auto` means for an organization, fixed at its first use: vectors must stay comparable.
CREATE TABLE org_embedding_model (
    org_id     uuid        PRIMARY KEY REFERENCES organization (id),
    model      text        NOT NULL,
    created_at timestamptz NOT NULL
);
