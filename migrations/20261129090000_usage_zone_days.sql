-- Sums of usage by the days of time zones, beside those of days in UTC, for organizations that read reports in them: a
-- year by day then reads some hundred days rather than 35,040 steps. Only adds.

-- From which quarters of an hour in UTC days are summed, beside midnight (phase 0): 92 is 23:00. A summer and a winter
-- time are two.
CREATE TABLE usage_zone (
    org_id    uuid        NOT NULL CONSTRAINT usage_zone_org_fk REFERENCES organization (id),
    phase     smallint    NOT NULL CONSTRAINT usage_zone_phase_ck CHECK (phase BETWEEN 1 AND 95),
    wanted_at timestamptz NOT NULL,
    -- The days before this one are summed; NULL: none is.
    next_day  timestamptz,
    -- All are: reports may read them.
    is_summed boolean     NOT NULL DEFAULT false,
    CONSTRAINT usage_zone_pk PRIMARY KEY (org_id, phase)
);
CREATE INDEX usage_zone_unsummed_ix ON usage_zone (wanted_at) WHERE NOT is_summed;

-- Days of 24 hours from a phase on: always the sums of their steps.
CREATE TABLE usage_zone_day (LIKE usage_day);
ALTER TABLE usage_zone_day
    ADD COLUMN phase smallint NOT NULL,
    ADD CONSTRAINT usage_zone_day_pk
        PRIMARY KEY (org_id, phase, bucket, api_key_id, provider, model, byok, category, kind, status);

-- Sums these days again, each from its own range of steps.
CREATE FUNCTION sum_zone_days(orgs uuid[], phases smallint[], days timestamptz[]) RETURNS void LANGUAGE sql AS $$
    DELETE FROM usage_zone_day d USING unnest(orgs, phases, days) AS s (org_id, phase, day)
    WHERE d.org_id = s.org_id AND d.phase = s.phase AND d.bucket = s.day;
    INSERT INTO usage_zone_day (org_id, phase, bucket, api_key_id, member_id, provider, model, byok, category, kind,
                                status, turns, requests, input_tokens, cache_read_tokens, cache_write_tokens,
                                cache_write_1h_tokens, output_tokens, reasoning_tokens, audio_input_tokens,
                                image_input_tokens, audio_output_tokens, image_output_tokens, images, input_images,
                                characters, audio_ms, searches, queries, pages, cost, charge)
    SELECT r.org_id, s.phase, s.day, r.api_key_id, min(r.member_id::text)::uuid, r.provider, r.model, r.byok,
           r.category, r.kind, r.status, sum(r.turns), sum(r.requests), sum(r.input_tokens), sum(r.cache_read_tokens),
           sum(r.cache_write_tokens), sum(r.cache_write_1h_tokens), sum(r.output_tokens), sum(r.reasoning_tokens),
           sum(r.audio_input_tokens), sum(r.image_input_tokens), sum(r.audio_output_tokens),
           sum(r.image_output_tokens), sum(r.images), sum(r.input_images), sum(r.characters), sum(r.audio_ms),
           sum(r.searches), sum(r.queries), sum(r.pages), sum(r.cost), sum(r.charge)
    FROM unnest(orgs, phases, days) AS s (org_id, phase, day)
    JOIN LATERAL (
        SELECT * FROM usage_rollup r
        WHERE r.org_id = s.org_id AND r.bucket >= s.day AND r.bucket < s.day + interval '24 hours'
        OFFSET 0
    ) r ON true
    GROUP BY r.org_id, s.phase, s.day, r.api_key_id, r.provider, r.model, r.byok, r.category, r.kind, r.status;
$$;

-- A trigger, so that the days stay exact whichever process sums the steps, one of an older release too.
CREATE FUNCTION sum_changed_zone_days() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    orgs   uuid[];
    phases smallint[];
    days   timestamptz[];
BEGIN
    SELECT array_agg(s.org_id), array_agg(s.phase), array_agg(s.day) INTO orgs, phases, days
    FROM (SELECT DISTINCT z.org_id, z.phase,
                 date_bin('1 day', c.bucket, timestamptz '2001-01-01 00:00:00+00' + z.phase * interval '15 minutes')
                     AS day
          FROM changed c JOIN usage_zone z ON z.org_id = c.org_id) s;
    IF orgs IS NOT NULL THEN
        PERFORM sum_zone_days(orgs, phases, days);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER usage_rollup_added AFTER INSERT ON usage_rollup REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sum_changed_zone_days();
CREATE TRIGGER usage_rollup_removed AFTER DELETE ON usage_rollup REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sum_changed_zone_days();

-- An organization's usage from one moment to another, exact: the caller says which part is read as whole days (of a
-- phase, which must be summed) and which in steps of 15 minutes; together they are the range, with the steps that it
-- cuts. A step whose rows changed since it was summed, or that the range cuts, is read from its rows, as long as they
-- are kept; the rest of its day is read in steps. OFFSET 0 keeps the parts from being merged into the query around
-- them: each is read by its own range of the index, whatever the planner takes the tables' sizes for.
CREATE FUNCTION usage_parts(org uuid, from_at timestamptz, to_at timestamptz, day_phases smallint[],
                            day_firsts timestamptz[], day_pasts timestamptz[], step_firsts timestamptz[],
                            step_pasts timestamptz[])
RETURNS TABLE (bucket timestamptz, api_key_id uuid, member_id uuid, provider text, model text, byok boolean,
               category text, kind text, status text, turns bigint, requests bigint, input_tokens bigint,
               cache_read_tokens bigint, cache_write_tokens bigint, cache_write_1h_tokens bigint,
               output_tokens bigint, reasoning_tokens bigint, audio_input_tokens bigint, image_input_tokens bigint,
               audio_output_tokens bigint, image_output_tokens bigint, images bigint, input_images bigint,
               characters bigint, audio_ms bigint, searches bigint, queries bigint, pages bigint, cost bigint,
               charge bigint)
LANGUAGE sql STABLE AS $$
    WITH fresh AS MATERIALIZED (
        SELECT f.bucket FROM (
            SELECT t.bucket FROM usage_touched t
            WHERE t.org_id = org AND t.bucket > from_at - interval '15 minutes' AND t.bucket < to_at
            UNION SELECT bucket_of(from_at) WHERE from_at <> bucket_of(from_at)
            UNION SELECT bucket_of(to_at) WHERE to_at <> bucket_of(to_at)
        ) f
        WHERE first_id_at(f.bucket) >= (SELECT kept_from('usage'))
    ), days AS MATERIALIZED (
        SELECT * FROM unnest(day_phases, day_firsts, day_pasts) AS d (phase, first, past)
    ), fresh_days AS MATERIALIZED (
        SELECT DISTINCT date_bin('1 day', f.bucket, d.first) AS day
        FROM fresh f JOIN days d ON f.bucket >= d.first AND f.bucket < d.past
    )
    SELECT d.bucket, d.api_key_id, d.member_id, d.provider, d.model, d.byok, d.category, d.kind, d.status, d.turns,
           d.requests, d.input_tokens, d.cache_read_tokens, d.cache_write_tokens, d.cache_write_1h_tokens,
           d.output_tokens, d.reasoning_tokens, d.audio_input_tokens, d.image_input_tokens, d.audio_output_tokens,
           d.image_output_tokens, d.images, d.input_images, d.characters, d.audio_ms, d.searches, d.queries, d.pages,
           d.cost, d.charge
    FROM days s
    JOIN LATERAL (
        SELECT * FROM usage_day d WHERE d.org_id = org AND d.bucket >= s.first AND d.bucket < s.past
        OFFSET 0
    ) d ON true
    WHERE s.phase = 0 AND d.bucket NOT IN (SELECT f.day FROM fresh_days f)
    UNION ALL
    SELECT d.bucket, d.api_key_id, d.member_id, d.provider, d.model, d.byok, d.category, d.kind, d.status, d.turns,
           d.requests, d.input_tokens, d.cache_read_tokens, d.cache_write_tokens, d.cache_write_1h_tokens,
           d.output_tokens, d.reasoning_tokens, d.audio_input_tokens, d.image_input_tokens, d.audio_output_tokens,
           d.image_output_tokens, d.images, d.input_images, d.characters, d.audio_ms, d.searches, d.queries, d.pages,
           d.cost, d.charge
    FROM days s
    JOIN LATERAL (
        SELECT * FROM usage_zone_day d
        WHERE d.org_id = org AND d.phase = s.phase AND d.bucket >= s.first AND d.bucket < s.past
        OFFSET 0
    ) d ON true
    WHERE s.phase > 0 AND d.bucket NOT IN (SELECT f.day FROM fresh_days f)
    UNION ALL
    SELECT r.bucket, r.api_key_id, r.member_id, r.provider, r.model, r.byok, r.category, r.kind, r.status, r.turns,
           r.requests, r.input_tokens, r.cache_read_tokens, r.cache_write_tokens, r.cache_write_1h_tokens,
           r.output_tokens, r.reasoning_tokens, r.audio_input_tokens, r.image_input_tokens, r.audio_output_tokens,
           r.image_output_tokens, r.images, r.input_images, r.characters, r.audio_ms, r.searches, r.queries, r.pages,
           r.cost, r.charge
    FROM (SELECT s.first, s.past FROM unnest(step_firsts, step_pasts) AS s (first, past)
          UNION ALL SELECT f.day, f.day + interval '24 hours' FROM fresh_days f) s
    JOIN LATERAL (
        SELECT * FROM usage_rollup r WHERE r.org_id = org AND r.bucket >= s.first AND r.bucket < s.past
        OFFSET 0
    ) r ON true
    WHERE r.bucket NOT IN (SELECT f.bucket FROM fresh f)
    UNION ALL
    SELECT f.bucket, u.api_key_id, k.created_by, u.provider, u.model, u.byok, COALESCE(u.category, ''), u.kind,
           u.status, 1::bigint, CASE WHEN u.turn = 0 THEN 1 ELSE 0 END::bigint, u.input_tokens,
           u.cache_read_tokens, u.cache_write_tokens, u.cache_write_1h_tokens, u.output_tokens, u.reasoning_tokens,
           u.audio_input_tokens, u.image_input_tokens, u.audio_output_tokens, u.image_output_tokens, u.images,
           u.input_images, u.characters, u.audio_ms, u.searches, u.queries, u.pages, COALESCE(u.cost, 0), u.charge
    FROM fresh f
    JOIN LATERAL (
        SELECT * FROM usage u
        WHERE u.org_id = org
          AND u.request_id >= GREATEST(first_id_at(f.bucket), first_id_at(from_at))
          AND u.request_id < LEAST(first_id_at(f.bucket + interval '15 minutes'), first_id_at(to_at))
        OFFSET 0
    ) u ON true
    LEFT JOIN api_key k ON k.org_id = org AND k.id = u.api_key_id
$$;
