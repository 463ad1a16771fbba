-- Rules of API keys and organizations that bound rate, use at a time and spend. Only adds: an older process goes on
-- without these, and what it sets aside counts for budgets all the same.

ALTER TABLE api_key
    -- Rules that are read and written whole: rates, guardrails. An absent field is no rule.
    ADD COLUMN rules json NOT NULL DEFAULT '{}';
ALTER TABLE organization
    ADD COLUMN rules json NOT NULL DEFAULT '{}';

-- The budget of an API key (its id) or of the whole organization (the organization's id), and what counts for it in the
-- period that runs. Everything that changes `spent` or `held` locks the organization's credit account first.
CREATE TABLE budget (
    org_id       uuid        NOT NULL CONSTRAINT budget_account_fk REFERENCES credit_account (org_id),
    subject_id   uuid        NOT NULL,
    amount       bigint      NOT NULL CONSTRAINT budget_amount_ck CHECK (amount >= 0),
    period       text        NOT NULL CONSTRAINT budget_period_ck CHECK (period IN ('day', 'week', 'month')),
    -- Whether spend on the customer's own provider keys counts.
    includes_own boolean     NOT NULL DEFAULT false,
    period_start timestamptz NOT NULL,
    period_end   timestamptz NOT NULL,
    spent        bigint      NOT NULL DEFAULT 0,
    held         bigint      NOT NULL DEFAULT 0,
    CONSTRAINT budget_pk PRIMARY KEY (org_id, subject_id)
) WITH (fillfactor = 50);

-- How often a budget of the organization was set. The ledger looks for budgets only where that is not 0, and a statement
-- that has waited for the account sees by it that a budget was set which its snapshot does not show.
ALTER TABLE credit_account ADD COLUMN budgets_set integer NOT NULL DEFAULT 0;

ALTER TABLE hold
    -- Set aside for a request on the customer's own key: it counts for budgets alone, and `amount` is 0.
    ADD COLUMN own_key     boolean  NOT NULL DEFAULT false,
    -- What counts for budgets while it is open and once it has ended, where that is not `amount` and `charge`.
    ADD COLUMN reserved    bigint   CONSTRAINT hold_reserved_ck CHECK (reserved >= 0),
    ADD COLUMN spent       bigint   CONSTRAINT hold_spent_ck CHECK (spent >= 0),
    -- In whose budgets it is counted: 1 the API key's, 2 the organization's.
    ADD COLUMN counted     smallint NOT NULL DEFAULT 0,
    -- The moment that decides in which period it counts; `created_at` where it is not set.
    ADD COLUMN budgeted_at timestamptz;

-- What processes hold of a limit, and what was spent of it in the last minute. Nothing is lost with it but a minute.
CREATE UNLOGGED TABLE rate_pool (
    org_id     uuid        NOT NULL,
    -- The API key, the organization, or an end user of a key.
    subject_id uuid        NOT NULL,
    metric     smallint    NOT NULL,
    state      text        NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT rate_pool_pk PRIMARY KEY (org_id, subject_id, metric)
) WITH (fillfactor = 50);
CREATE INDEX rate_pool_updated_ix ON rate_pool (updated_at);
