-- Payments by a payment provider: saved payment methods with automatic top-up, and events that came before the payment
-- they are about. Only adds.

CREATE TABLE auto_topup (
    org_id         uuid        NOT NULL CONSTRAINT auto_topup_pk PRIMARY KEY
                               CONSTRAINT auto_topup_org_fk REFERENCES organization (id),
    -- The provider's own names.
    customer       text,
    payment_method text,
    enabled        boolean     NOT NULL DEFAULT false,
    threshold      bigint      NOT NULL DEFAULT 0 CONSTRAINT auto_topup_threshold_ck CHECK (threshold >= 0),
    amount         bigint      NOT NULL DEFAULT 0 CONSTRAINT auto_topup_amount_ck CHECK (amount >= 0),
    -- The last automatic payment that was begun; it is credited when the provider reports it.
    attempted_at   timestamptz,
    failures       smallint    NOT NULL DEFAULT 0,
    last_error     text
);
CREATE INDEX auto_topup_enabled_ix ON auto_topup (org_id) WHERE enabled;

CREATE TABLE payment_pending (
    external_id text        NOT NULL CONSTRAINT payment_pending_pk PRIMARY KEY,
    payment     text        NOT NULL,
    kind        text        NOT NULL,
    amount      bigint      NOT NULL CONSTRAINT payment_pending_amount_ck CHECK (amount > 0),
    created_at  timestamptz NOT NULL
);
CREATE INDEX payment_pending_payment_ix ON payment_pending (payment);
