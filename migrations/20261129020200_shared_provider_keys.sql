-- Provider keys of an organization, and secrets of API keys that were replaced. Only adds, and allows more.

-- A key of the organization belongs to no API key. NULL in `shared_with`: for all of its API keys.
ALTER TABLE provider_key
    ALTER COLUMN api_key_id DROP NOT NULL,
    ADD COLUMN shared_with uuid[],
    ADD CONSTRAINT provider_key_shared_ck CHECK (api_key_id IS NULL OR shared_with IS NULL);
CREATE INDEX provider_key_shared_ix ON provider_key (org_id, provider, position) WHERE api_key_id IS NULL;

-- The secret before the last rotation, which works until the given time.
ALTER TABLE api_key
    ADD COLUMN previous_hash  bytea CONSTRAINT api_key_previous_hash_uq UNIQUE,
    ADD COLUMN previous_last4 text,
    ADD COLUMN previous_until timestamptz;
