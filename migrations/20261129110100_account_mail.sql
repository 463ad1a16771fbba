-- Links that are sent by e-mail: a new password, the proof of an address, another address. Only adds.

ALTER TABLE app_user ADD COLUMN email_verified_at timestamptz;

CREATE TABLE account_token (
    -- HMAC-SHA256 of the token; the token itself is in the message alone.
    token_hash bytea       NOT NULL CONSTRAINT account_token_pk PRIMARY KEY,
    user_id    uuid        NOT NULL CONSTRAINT account_token_user_fk REFERENCES app_user (id) ON DELETE CASCADE,
    purpose    text        NOT NULL CONSTRAINT account_token_purpose_ck CHECK (purpose IN ('password', 'verify', 'email')),
    -- The address that the message went to.
    email      text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX account_token_user_ix ON account_token (user_id, purpose);
CREATE INDEX account_token_expires_ix ON account_token (expires_at);
