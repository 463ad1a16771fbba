-- Alerts and where they are sent. Only adds.

CREATE TABLE webhook (
    org_id         uuid        NOT NULL CONSTRAINT webhook_org_fk REFERENCES organization (id),
    id             uuid        NOT NULL,
    url            text        NOT NULL CONSTRAINT webhook_url_ck CHECK (length(url) BETWEEN 1 AND 2048),
    -- Kinds of alerts; empty: all.
    events         text[]      NOT NULL DEFAULT '{}',
    -- The signing secret follows from this number; the one before it signs, too, until its end.
    generation     integer     NOT NULL DEFAULT 1,
    previous_until timestamptz,
    created_at     timestamptz NOT NULL,
    last_status    integer,
    last_error     text,
    last_sent_at   timestamptz,
    CONSTRAINT webhook_pk PRIMARY KEY (org_id, id)
);

CREATE TABLE alert (
    org_id     uuid        NOT NULL CONSTRAINT alert_org_fk REFERENCES organization (id),
    id         uuid        NOT NULL,
    kind       text        NOT NULL,
    -- What the alert is about and when: one alert for each.
    occasion   text        NOT NULL,
    document   json        NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT alert_pk PRIMARY KEY (org_id, id),
    CONSTRAINT alert_occasion_uq UNIQUE (org_id, occasion)
);
CREATE INDEX alert_created_ix ON alert (created_at);

CREATE TABLE alert_delivery (
    org_id    uuid        NOT NULL,
    alert_id  uuid        NOT NULL,
    channel   text        NOT NULL CONSTRAINT alert_delivery_channel_ck CHECK (channel IN ('webhook', 'email')),
    -- The webhook, or the person.
    target_id uuid        NOT NULL,
    attempts  integer     NOT NULL DEFAULT 0,
    -- When it is tried next; NULL once it is delivered or given up.
    next_at   timestamptz,
    CONSTRAINT alert_delivery_pk PRIMARY KEY (org_id, alert_id, channel, target_id),
    CONSTRAINT alert_delivery_alert_fk FOREIGN KEY (org_id, alert_id) REFERENCES alert (org_id, id) ON DELETE CASCADE
);
CREATE INDEX alert_delivery_due_ix ON alert_delivery (next_at) WHERE next_at IS NOT NULL;
