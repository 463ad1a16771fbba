-- What processes tell each other of the hosts they call. Only adds: an older process goes on without it.
-- Unlogged: it is worth five minutes, and a crash may empty it.
CREATE UNLOGGED TABLE host_health (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_id uuid        NOT NULL,
    written_at  timestamptz NOT NULL DEFAULT now(),
    samples     jsonb       NOT NULL
);
CREATE INDEX host_health_written_at_idx ON host_health (written_at);
