-- Identities of other sign-in services (OpenID Connect) that log people in. Only adds.

CREATE TABLE identity (
    -- The issuer's address, and its own name for the person, which it gives to nobody else.
    issuer     text        NOT NULL,
    subject    text        NOT NULL,
    user_id    uuid        NOT NULL CONSTRAINT identity_user_fk REFERENCES app_user (id) ON DELETE CASCADE,
    -- As the issuer named it when the identity was connected; for display.
    email      text,
    created_at timestamptz NOT NULL,
    CONSTRAINT identity_pk PRIMARY KEY (issuer, subject)
);
CREATE INDEX identity_user_ix ON identity (user_id);

-- False: the person has only ever signed in by an identity. A password that is set makes it true.
ALTER TABLE app_user ADD COLUMN has_password boolean NOT NULL DEFAULT true;
