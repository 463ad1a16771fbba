-- Where sessions were begun and last used, who made an invitation, and what bounds growth. Only adds: an older process
-- goes on writing rows without these.

ALTER TABLE session
    ADD COLUMN last_seen_at timestamptz,
    ADD COLUMN address      text,
    -- The address, of IPv6 its /64 network: what log-in attempts are counted by.
    ADD COLUMN network      text,
    ADD COLUMN user_agent   text;
CREATE INDEX session_expires_ix ON session (expires_at);
CREATE INDEX session_revoked_ix ON session (revoked_at) WHERE revoked_at IS NOT NULL;

ALTER TABLE invitation ADD COLUMN invited_by uuid CONSTRAINT invitation_user_fk REFERENCES app_user (id);

-- Sign-ups of new organizations per network and day.
CREATE TABLE signup_count (
    day     date    NOT NULL,
    network text    NOT NULL,
    count   integer NOT NULL,
    CONSTRAINT signup_count_pk PRIMARY KEY (day, network)
);

-- Which organizations may name which of the operator's MCP servers.
CREATE TABLE mcp_grant (
    org_id     uuid        NOT NULL CONSTRAINT mcp_grant_org_fk REFERENCES organization (id),
    slug       text        NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT mcp_grant_pk PRIMARY KEY (org_id, slug)
);

-- Receipts of refused requests are kept for a shorter time than the others.
ALTER TABLE receipt ADD COLUMN refused boolean NOT NULL DEFAULT false;
CREATE INDEX receipt_refused_ix ON receipt (created_at) WHERE refused;

CREATE INDEX api_key_revoked_ix ON api_key (revoked_at) WHERE revoked_at IS NOT NULL;
