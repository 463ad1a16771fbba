-- Money in integer nano-USD. `credit_account` is the only row a request locks.

CREATE TABLE instance (
    id          uuid        NOT NULL CONSTRAINT instance_pk PRIMARY KEY,
    started_at  timestamptz NOT NULL,
    lease_until timestamptz NOT NULL
);

CREATE TABLE credit_account (
    org_id uuid   NOT NULL CONSTRAINT credit_account_pk PRIMARY KEY
                  CONSTRAINT credit_account_org_fk REFERENCES organization (id),
    -- Sum of the organization's entries.
    posted bigint NOT NULL DEFAULT 0,
    -- Sum of its open holds.
    held   bigint NOT NULL DEFAULT 0 CONSTRAINT credit_account_held_ck CHECK (held >= 0)
) WITH (fillfactor = 50);

CREATE TABLE hold (
    org_id            uuid        NOT NULL,
    id                uuid        NOT NULL,
    request_id        uuid        NOT NULL,
    turn              smallint    NOT NULL DEFAULT 0,
    api_key_id        uuid        NOT NULL,
    instance_id       uuid        NOT NULL,
    state             text        NOT NULL DEFAULT 'open' CONSTRAINT hold_state_ck
                                  CHECK (state IN ('open', 'settled', 'voided', 'expired')),
    amount            bigint      NOT NULL CONSTRAINT hold_amount_ck CHECK (amount >= 0),
    margin_bps        integer     NOT NULL CONSTRAINT hold_margin_ck CHECK (margin_bps >= 0),
    -- Version of the catalogue whose prices this request was admitted under.
    price_version     text        NOT NULL,
    -- What a crash would bill: the cost of what had been relayed at the last checkpoint.
    checkpoint_cost   bigint      NOT NULL DEFAULT 0 CONSTRAINT hold_checkpoint_cost_ck CHECK (checkpoint_cost >= 0),
    checkpoint_charge bigint      NOT NULL DEFAULT 0 CONSTRAINT hold_checkpoint_ck CHECK (checkpoint_charge >= checkpoint_cost),
    -- Set when resolved.
    cost              bigint      CONSTRAINT hold_cost_ck CHECK (cost >= 0),
    charge            bigint,
    created_at        timestamptz NOT NULL,
    resolved_at       timestamptz,
    CONSTRAINT hold_pk PRIMARY KEY (org_id, id),
    CONSTRAINT hold_account_fk FOREIGN KEY (org_id) REFERENCES credit_account (org_id),
    CONSTRAINT hold_resolved_ck CHECK (
        (state = 'open' AND cost IS NULL AND charge IS NULL AND resolved_at IS NULL)
        OR (state <> 'open' AND cost IS NOT NULL AND charge IS NOT NULL AND charge >= cost AND resolved_at IS NOT NULL)
    )
) WITH (fillfactor = 80);
CREATE INDEX hold_open_ix ON hold (instance_id, org_id, id) WHERE state = 'open';

-- Append only. One transfer per row, always positive, so the books sum to zero by construction.
CREATE TABLE entry (
    org_id         uuid        NOT NULL,
    id             uuid        NOT NULL,
    kind           text        NOT NULL CONSTRAINT entry_kind_ck CHECK (kind IN ('charge', 'grant', 'topup', 'refund')),
    -- 'customer' is the organization's credit; the others are the platform's side of the books.
    debit_account  text        NOT NULL CONSTRAINT entry_debit_ck CHECK (debit_account IN ('customer', 'revenue', 'funding')),
    credit_account text        NOT NULL CONSTRAINT entry_credit_ck CHECK (credit_account IN ('customer', 'revenue', 'funding')),
    amount         bigint      NOT NULL CONSTRAINT entry_amount_ck CHECK (amount > 0),
    -- Of a charge: what the provider takes and what remains.
    cost           bigint      NOT NULL DEFAULT 0,
    margin         bigint      NOT NULL DEFAULT 0,
    hold_id        uuid,
    request_id     uuid,
    note           text        NOT NULL DEFAULT '',
    created_at     timestamptz NOT NULL,
    CONSTRAINT entry_pk PRIMARY KEY (org_id, id),
    CONSTRAINT entry_account_fk FOREIGN KEY (org_id) REFERENCES credit_account (org_id),
    CONSTRAINT entry_sides_ck CHECK (debit_account <> credit_account),
    CONSTRAINT entry_split_ck CHECK (kind <> 'charge' OR (cost >= 0 AND margin >= 0 AND cost + margin = amount))
);
CREATE UNIQUE INDEX entry_hold_uq ON entry (org_id, hold_id) WHERE hold_id IS NOT NULL;

-- External money events, each credited once.
CREATE TABLE topup (
    external_id text        NOT NULL CONSTRAINT topup_pk PRIMARY KEY,
    org_id      uuid        NOT NULL CONSTRAINT topup_org_fk REFERENCES organization (id),
    amount      bigint      NOT NULL CONSTRAINT topup_amount_ck CHECK (amount > 0),
    entry_id    uuid        NOT NULL,
    created_at  timestamptz NOT NULL
);

-- One row per answered request and turn, BYOK included. `request_id` is a uuid v7, so a range of it is a
-- range of time; partitions are quarters.
CREATE TABLE usage (
    org_id        uuid        NOT NULL,
    request_id    uuid        NOT NULL,
    turn          smallint    NOT NULL DEFAULT 0,
    api_key_id    uuid        NOT NULL,
    provider      text        NOT NULL,
    model         text        NOT NULL,
    byok          boolean     NOT NULL,
    -- What `auto` took the prompt for; NULL where nothing was classified.
    category      text,
    status        text        NOT NULL CONSTRAINT usage_status_ck CHECK (status IN ('completed', 'aborted', 'failed')),
    basis         text        NOT NULL CONSTRAINT usage_basis_ck CHECK (basis IN ('reported', 'counted', 'estimated')),
    input_tokens          bigint NOT NULL,
    cache_read_tokens     bigint NOT NULL,
    cache_write_tokens    bigint NOT NULL,
    -- Cache writes kept for an hour: a bucket, and a price, of their own.
    cache_write_1h_tokens bigint NOT NULL DEFAULT 0,
    output_tokens         bigint NOT NULL,
    reasoning_tokens      bigint NOT NULL,
    -- The provider's cost; NULL for a model without a known price (BYOK only).
    cost          bigint      CONSTRAINT usage_cost_ck CHECK (cost >= 0),
    charge        bigint      NOT NULL CONSTRAINT usage_charge_ck CHECK (charge >= 0),
    latency_ms    integer     NOT NULL,
    ttft_ms       integer,
    created_at    timestamptz NOT NULL,
    CONSTRAINT usage_pk PRIMARY KEY (org_id, request_id, turn)
) PARTITION BY RANGE (request_id);
CREATE TABLE usage_2026_q4 PARTITION OF usage FOR VALUES FROM (MINVALUE) TO ('01a2ce8b-d400-0000-0000-000000000000');
CREATE TABLE usage_2027_q1 PARTITION OF usage FOR VALUES FROM ('01a2ce8b-d400-0000-0000-000000000000') TO ('01a49e08-2c00-0000-0000-000000000000');
CREATE TABLE usage_2027_q2 PARTITION OF usage FOR VALUES FROM ('01a49e08-2c00-0000-0000-000000000000') TO ('01a672aa-e000-0000-0000-000000000000');
CREATE TABLE usage_2027_q3 PARTITION OF usage FOR VALUES FROM ('01a672aa-e000-0000-0000-000000000000') TO ('01a84c73-f000-0000-0000-000000000000');
CREATE TABLE usage_2027_q4 PARTITION OF usage FOR VALUES FROM ('01a84c73-f000-0000-0000-000000000000') TO ('01aa263d-0000-0000-0000-000000000000');
CREATE TABLE usage_2028_q1 PARTITION OF usage FOR VALUES FROM ('01aa263d-0000-0000-0000-000000000000') TO ('01abfadf-b400-0000-0000-000000000000');
CREATE TABLE usage_2028_q2 PARTITION OF usage FOR VALUES FROM ('01abfadf-b400-0000-0000-000000000000') TO ('01adcf82-6800-0000-0000-000000000000');
CREATE TABLE usage_2028_q3 PARTITION OF usage FOR VALUES FROM ('01adcf82-6800-0000-0000-000000000000') TO ('01afa94b-7800-0000-0000-000000000000');
CREATE TABLE usage_2028_q4 PARTITION OF usage FOR VALUES FROM ('01afa94b-7800-0000-0000-000000000000') TO ('01b18314-8800-0000-0000-000000000000');
CREATE TABLE usage_2029_q1 PARTITION OF usage FOR VALUES FROM ('01b18314-8800-0000-0000-000000000000') TO ('01b35290-e000-0000-0000-000000000000');
CREATE TABLE usage_2029_q2 PARTITION OF usage FOR VALUES FROM ('01b35290-e000-0000-0000-000000000000') TO ('01b52733-9400-0000-0000-000000000000');
CREATE TABLE usage_2029_q3 PARTITION OF usage FOR VALUES FROM ('01b52733-9400-0000-0000-000000000000') TO ('01b700fc-a400-0000-0000-000000000000');
CREATE TABLE usage_2029_q4 PARTITION OF usage FOR VALUES FROM ('01b700fc-a400-0000-0000-000000000000') TO ('01b8dac5-b400-0000-0000-000000000000');
CREATE TABLE usage_2030_q1 PARTITION OF usage FOR VALUES FROM ('01b8dac5-b400-0000-0000-000000000000') TO ('01baaa42-0c00-0000-0000-000000000000');
CREATE TABLE usage_2030_q2 PARTITION OF usage FOR VALUES FROM ('01baaa42-0c00-0000-0000-000000000000') TO ('01bc7ee4-c000-0000-0000-000000000000');
CREATE TABLE usage_2030_q3 PARTITION OF usage FOR VALUES FROM ('01bc7ee4-c000-0000-0000-000000000000') TO ('01be58ad-d000-0000-0000-000000000000');
CREATE TABLE usage_2030_q4 PARTITION OF usage FOR VALUES FROM ('01be58ad-d000-0000-0000-000000000000') TO ('01c03276-e000-0000-0000-000000000000');
CREATE TABLE usage_2031_q1 PARTITION OF usage FOR VALUES FROM ('01c03276-e000-0000-0000-000000000000') TO ('01c201f3-3800-0000-0000-000000000000');
CREATE TABLE usage_2031_q2 PARTITION OF usage FOR VALUES FROM ('01c201f3-3800-0000-0000-000000000000') TO ('01c3d695-ec00-0000-0000-000000000000');
CREATE TABLE usage_2031_q3 PARTITION OF usage FOR VALUES FROM ('01c3d695-ec00-0000-0000-000000000000') TO ('01c5b05e-fc00-0000-0000-000000000000');
CREATE TABLE usage_rest PARTITION OF usage DEFAULT;

-- What the gateway decided and did for one request, failures included.
CREATE TABLE receipt (
    org_id     uuid        NOT NULL,
    id         uuid        NOT NULL,
    api_key_id uuid        NOT NULL,
    document   json        NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT receipt_pk PRIMARY KEY (org_id, id)
);
