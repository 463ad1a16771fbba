-- Books that finance closes: when and by whom an entry was booked, promotional credit, kept statements. Only adds: an
-- older process goes on writing rows without these.

ALTER TABLE entry
    -- By the database's clock, while the account is locked: once a month is over and the account was locked after it,
    -- no entry of that month can come any more.
    ADD COLUMN booked_at timestamptz,
    -- Who made it: a person's id, `cli`, `stripe`; empty for the gateway itself.
    ADD COLUMN actor     text NOT NULL DEFAULT '';
UPDATE entry SET booked_at = created_at;
ALTER TABLE entry
    ALTER COLUMN booked_at SET DEFAULT clock_timestamp(),
    ALTER COLUMN booked_at SET NOT NULL,
    DROP CONSTRAINT entry_kind_ck,
    ADD CONSTRAINT entry_kind_ck CHECK (kind IN ('charge', 'refund', 'grant', 'topup', 'promotion', 'expiry',
                                                 'adjustment', 'payment_refund', 'dispute', 'dispute_reversal'));
CREATE INDEX entry_booked_ix ON entry (org_id, booked_at);

-- Credit that expires. Charges burn it before any other credit.
CREATE TABLE promotion (
    org_id          uuid        NOT NULL,
    -- The entry that gave it.
    entry_id        uuid        NOT NULL,
    amount          bigint      NOT NULL CONSTRAINT promotion_amount_ck CHECK (amount > 0),
    expires_at      timestamptz NOT NULL,
    -- What charges up to `counted_until` have used of it.
    burned          bigint      NOT NULL DEFAULT 0,
    counted_until   timestamptz NOT NULL,
    closed_at       timestamptz,
    -- The entry that took the rest back; none when nothing was left.
    expiry_entry_id uuid,
    CONSTRAINT promotion_pk PRIMARY KEY (org_id, entry_id),
    CONSTRAINT promotion_entry_fk FOREIGN KEY (org_id, entry_id) REFERENCES entry (org_id, id),
    CONSTRAINT promotion_burned_ck CHECK (burned BETWEEN 0 AND amount)
);
CREATE INDEX promotion_open_ix ON promotion (expires_at) WHERE closed_at IS NULL;

-- Statements of closed months, as they were first drawn up.
CREATE TABLE statement (
    org_id    uuid        NOT NULL CONSTRAINT statement_org_fk REFERENCES organization (id),
    -- First day of the month (UTC).
    month     date        NOT NULL CONSTRAINT statement_month_ck CHECK (extract(day FROM month) = 1),
    document  text        NOT NULL,
    csv       text        NOT NULL,
    -- Of `csv`, hexadecimal.
    sha256    text        NOT NULL,
    opening   bigint      NOT NULL,
    charged   bigint      NOT NULL,
    closing   bigint      NOT NULL,
    closed_at timestamptz NOT NULL,
    CONSTRAINT statement_pk PRIMARY KEY (org_id, month)
);
-- The corrections of a hold, for the page of its request.
CREATE INDEX entry_corrects_ix ON entry (org_id, corrects_hold_id) WHERE corrects_hold_id IS NOT NULL;
