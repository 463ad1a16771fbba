-- Organizations that are suspended or deleted, and platform keys that are switched off. Only adds: an older process goes
-- on without looking at these.

ALTER TABLE organization
    ADD COLUMN suspended_at     timestamptz,
    ADD COLUMN suspended_reason text CONSTRAINT organization_reason_ck CHECK (length(suspended_reason) <= 500),
    -- Its keys, people and invitations are gone; its books stay.
    ADD COLUMN deleted_at       timestamptz;

-- Providers whose platform key is not used, whether it is stored or in the environment.
CREATE TABLE platform_key_disabled (
    provider    text        NOT NULL CONSTRAINT platform_key_disabled_pk PRIMARY KEY,
    disabled_at timestamptz NOT NULL
);
