-- What a hold needs to be known of it when its process is gone, and what puts a recorded end right later. Only adds: an
-- older process goes on writing rows without these.

ALTER TABLE hold
    -- Who served, or was about to: for the usage row of a hold that expires.
    ADD COLUMN provider          text     NOT NULL DEFAULT '',
    ADD COLUMN model             text     NOT NULL DEFAULT '',
    ADD COLUMN kind              text     NOT NULL DEFAULT 'chat',
    ADD COLUMN checkpoint_input  bigint   NOT NULL DEFAULT 0,
    ADD COLUMN checkpoint_output bigint   NOT NULL DEFAULT 0,
    -- Raised by each correction of the end, so that a late try of an earlier one changes nothing.
    ADD COLUMN revision          smallint NOT NULL DEFAULT 0;

-- An entry that posts the difference between the recorded end of a hold and its corrected one.
ALTER TABLE entry ADD COLUMN corrects_hold_id uuid;

-- When the records that a gone process had not written were made up for.
ALTER TABLE instance ADD COLUMN reconciled_at timestamptz;

ALTER TABLE usage
    -- 'expired': written for a process that was gone; 'above_bound': the provider reported more than the request can
    -- have used, and the figures are ours; 'undelivered': the answer was lost by our fault and is not charged.
    ADD COLUMN flag text CONSTRAINT usage_flag_ck CHECK (flag IN ('expired', 'above_bound', 'undelivered'));
