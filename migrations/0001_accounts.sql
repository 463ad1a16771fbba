-- People, organizations, keys. Tenant tables lead with org_id; the few tables without it are small lookups.

CREATE TABLE organization (
    id          uuid        NOT NULL CONSTRAINT organization_pk PRIMARY KEY,
    name        text        NOT NULL CONSTRAINT organization_name_ck CHECK (length(name) BETWEEN 1 AND 200),
    created_at  timestamptz NOT NULL
);

CREATE TABLE app_user (
    id            uuid        NOT NULL CONSTRAINT app_user_pk PRIMARY KEY,
    email         text        NOT NULL CONSTRAINT app_user_email_uq UNIQUE
                              CONSTRAINT app_user_email_ck CHECK (length(email) BETWEEN 3 AND 320),
    password_hash text        NOT NULL,
    is_operator   boolean     NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL
);

CREATE TABLE membership (
    org_id     uuid        NOT NULL CONSTRAINT membership_org_fk REFERENCES organization (id),
    user_id    uuid        NOT NULL CONSTRAINT membership_user_fk REFERENCES app_user (id),
    role       text        NOT NULL CONSTRAINT membership_role_ck
                           CHECK (role IN ('owner', 'admin', 'member', 'billing', 'viewer')),
    created_at timestamptz NOT NULL,
    CONSTRAINT membership_pk PRIMARY KEY (org_id, user_id)
);
CREATE INDEX membership_user_ix ON membership (user_id);

CREATE TABLE invitation (
    org_id      uuid        NOT NULL CONSTRAINT invitation_org_fk REFERENCES organization (id),
    id          uuid        NOT NULL,
    email       text        NOT NULL,
    role        text        NOT NULL CONSTRAINT invitation_role_ck
                            CHECK (role IN ('owner', 'admin', 'member', 'billing', 'viewer')),
    token_hash  bytea       NOT NULL CONSTRAINT invitation_token_uq UNIQUE,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    accepted_at timestamptz,
    CONSTRAINT invitation_pk PRIMARY KEY (org_id, id)
);

-- A session belongs to one person in one organization (an operator's has none).
CREATE TABLE session (
    id         uuid        NOT NULL CONSTRAINT session_pk PRIMARY KEY,
    token_hash bytea       NOT NULL CONSTRAINT session_token_uq UNIQUE,
    user_id    uuid        NOT NULL CONSTRAINT session_user_fk REFERENCES app_user (id),
    org_id     uuid        CONSTRAINT session_org_fk REFERENCES organization (id),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX session_user_ix ON session (user_id);

-- Random values of the installation (pepper, signing keys), sealed like any credential.
CREATE TABLE secret (
    name       text        NOT NULL CONSTRAINT secret_pk PRIMARY KEY,
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE api_key (
    org_id             uuid        NOT NULL CONSTRAINT api_key_org_fk REFERENCES organization (id),
    id                 uuid        NOT NULL,
    -- HMAC-SHA256 of the key under the installation's pepper; the key itself is nowhere.
    key_hash           bytea       NOT NULL CONSTRAINT api_key_hash_uq UNIQUE,
    name               text        NOT NULL CONSTRAINT api_key_name_ck CHECK (length(name) BETWEEN 1 AND 200),
    last4              text        NOT NULL,
    created_by         uuid        CONSTRAINT api_key_user_fk REFERENCES app_user (id),
    byok_fallback      text        NOT NULL DEFAULT 'platform' CONSTRAINT api_key_fallback_ck
                                   CHECK (byok_fallback IN ('platform', 'never')),
    allowed_providers  text[],
    excluded_providers text[]      NOT NULL DEFAULT '{}',
    allowed_models     text[],
    expires_at         timestamptz,
    created_at         timestamptz NOT NULL,
    revoked_at         timestamptz,
    CONSTRAINT api_key_pk PRIMARY KEY (org_id, id)
);

-- A customer's provider key. `position` orders several of one provider; the sealed record binds
-- organization, API key, provider, base-URL origin and id, so a moved row does not open.
CREATE TABLE provider_key (
    org_id       uuid        NOT NULL,
    id           uuid        NOT NULL,
    api_key_id   uuid        NOT NULL,
    provider     text        NOT NULL,
    position     integer     NOT NULL,
    label        text        NOT NULL DEFAULT '',
    models       text[]      NOT NULL DEFAULT '{}',
    enabled      boolean     NOT NULL DEFAULT true,
    base_url     text,
    sealed       bytea       NOT NULL,
    last4        text        NOT NULL,
    fingerprint  text        NOT NULL,
    status       text        NOT NULL DEFAULT 'untested' CONSTRAINT provider_key_status_ck
                             CHECK (status IN ('untested', 'valid', 'invalid')),
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    last_error   text,
    CONSTRAINT provider_key_pk PRIMARY KEY (org_id, id),
    CONSTRAINT provider_key_api_key_fk FOREIGN KEY (org_id, api_key_id) REFERENCES api_key (org_id, id)
);
CREATE INDEX provider_key_api_key_ix ON provider_key (org_id, api_key_id, provider, position);

-- The operator's own keys; a stored one beats the environment's.
CREATE TABLE platform_key (
    id         uuid        NOT NULL CONSTRAINT platform_key_pk PRIMARY KEY,
    provider   text        NOT NULL CONSTRAINT platform_key_provider_uq UNIQUE,
    sealed     bytea       NOT NULL,
    last4      text        NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE audit_log (
    id         uuid        NOT NULL CONSTRAINT audit_log_pk PRIMARY KEY,
    org_id     uuid,
    -- Who did it: a user id, an API key id, or `cli`.
    actor      text        NOT NULL,
    action     text        NOT NULL,
    subject    text        NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX audit_log_org_ix ON audit_log (org_id, id);
