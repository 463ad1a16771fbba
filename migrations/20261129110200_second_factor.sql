-- Two-factor sign-in: a shared secret for time-based codes, and recovery codes. Only adds: an older process logs people in
-- without asking for a code, so all processes are to be upgraded before people are told of it.

CREATE TABLE second_factor (
    user_id      uuid        NOT NULL CONSTRAINT second_factor_pk PRIMARY KEY
                             CONSTRAINT second_factor_user_fk REFERENCES app_user (id) ON DELETE CASCADE,
    sealed       bytea       NOT NULL,
    created_at   timestamptz NOT NULL,
    -- Asked for at log-in from then on.
    confirmed_at timestamptz,
    -- The step of time of the last code that was accepted: no code counts twice.
    last_step    bigint      NOT NULL DEFAULT 0
);

CREATE TABLE recovery_code (
    user_id   uuid  NOT NULL CONSTRAINT recovery_code_user_fk REFERENCES app_user (id) ON DELETE CASCADE,
    -- HMAC-SHA256 of the code; it is removed when it is used.
    code_hash bytea NOT NULL,
    CONSTRAINT recovery_code_pk PRIMARY KEY (user_id, code_hash)
);
