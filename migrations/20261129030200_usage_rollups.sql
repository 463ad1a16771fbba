-- Sums of usage in steps of 15 minutes (every zone's offset is a multiple of it), so that a report over a year reads
-- few rows. A trigger notes which steps changed; a report reads the rows themselves for those, a job sums them again.
-- Rollup and rows together are exact at every moment. Only adds.

CREATE TABLE usage_rollup (
    org_id                uuid        NOT NULL,
    bucket                timestamptz NOT NULL,
    api_key_id            uuid        NOT NULL,
    -- Who made the API key; kept here, for the key may be removed.
    member_id             uuid,
    provider              text        NOT NULL,
    model                 text        NOT NULL,
    byok                  boolean     NOT NULL,
    category              text        NOT NULL,
    kind                  text        NOT NULL,
    status                text        NOT NULL,
    -- Usage rows, and those of them that are the first turn of a request.
    turns                 bigint      NOT NULL,
    requests              bigint      NOT NULL,
    input_tokens          bigint      NOT NULL,
    cache_read_tokens     bigint      NOT NULL,
    cache_write_tokens    bigint      NOT NULL,
    cache_write_1h_tokens bigint      NOT NULL,
    output_tokens         bigint      NOT NULL,
    reasoning_tokens      bigint      NOT NULL,
    audio_input_tokens    bigint      NOT NULL,
    image_input_tokens    bigint      NOT NULL,
    audio_output_tokens   bigint      NOT NULL,
    image_output_tokens   bigint      NOT NULL,
    images                bigint      NOT NULL,
    input_images          bigint      NOT NULL,
    characters            bigint      NOT NULL,
    audio_ms              bigint      NOT NULL,
    searches              bigint      NOT NULL,
    queries               bigint      NOT NULL,
    pages                 bigint      NOT NULL,
    cost                  bigint      NOT NULL,
    charge                bigint      NOT NULL,
    CONSTRAINT usage_rollup_pk PRIMARY KEY (org_id, bucket, api_key_id, provider, model, byok, category, kind, status)
);

-- The same for whole days in UTC: always the sums of the day's steps.
CREATE TABLE usage_day (LIKE usage_rollup);
ALTER TABLE usage_day ADD CONSTRAINT usage_day_pk
    PRIMARY KEY (org_id, bucket, api_key_id, provider, model, byok, category, kind, status);

-- Steps whose usage rows changed since they were summed. A step may be noted several times.
CREATE TABLE usage_touched (
    id     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY CONSTRAINT usage_touched_pk PRIMARY KEY,
    org_id uuid        NOT NULL,
    bucket timestamptz NOT NULL
);
CREATE INDEX usage_touched_org_ix ON usage_touched (org_id, bucket);

CREATE FUNCTION bucket_of(moment timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT date_bin('15 minutes', moment, TIMESTAMPTZ '2001-01-01 00:00:00+00')
$$;

CREATE FUNCTION note_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_touched (org_id, bucket)
    SELECT DISTINCT org_id, bucket_of(moment_of_id(request_id)) FROM changed ORDER BY 1, 2;
    RETURN NULL;
END
$$;
CREATE TRIGGER usage_added AFTER INSERT ON usage REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_usage();
CREATE TRIGGER usage_removed AFTER DELETE ON usage REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_usage();
CREATE TRIGGER usage_changed AFTER UPDATE ON usage REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_usage();
INSERT INTO usage_touched (org_id, bucket)
    SELECT DISTINCT org_id, bucket_of(moment_of_id(request_id)) FROM usage;

-- The first moment of a day in UTC.
CREATE FUNCTION day_of(moment timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT date_bin('1 day', moment, TIMESTAMPTZ '2001-01-01 00:00:00+00')
$$;

-- An organization's usage from one moment to another in steps, each exact: sums where the step was summed since its
-- rows last changed, else the rows themselves; so, too, for steps that the range cuts, as long as their rows are kept.
-- `in_days`: whole days in UTC may come as one step each, which is what a report without other days needs.
CREATE FUNCTION usage_steps(org uuid, from_at timestamptz, to_at timestamptz, in_days boolean)
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
        -- From the first whole day to the end of the last.
        SELECT CASE WHEN in_days THEN LEAST(day_of(from_at + interval '1 day' - interval '1 microsecond'), to_at)
                    ELSE to_at END AS first,
               CASE WHEN in_days THEN day_of(to_at) ELSE to_at END AS past
    ), fresh_days AS MATERIALIZED (
        SELECT DISTINCT day_of(f.bucket) AS day FROM fresh f, days d
        WHERE f.bucket >= d.first AND f.bucket < d.past
    )
    SELECT d.bucket, d.api_key_id, d.member_id, d.provider, d.model, d.byok, d.category, d.kind, d.status, d.turns,
           d.requests, d.input_tokens, d.cache_read_tokens, d.cache_write_tokens, d.cache_write_1h_tokens,
           d.output_tokens, d.reasoning_tokens, d.audio_input_tokens, d.image_input_tokens, d.audio_output_tokens,
           d.image_output_tokens, d.images, d.input_images, d.characters, d.audio_ms, d.searches, d.queries, d.pages,
           d.cost, d.charge
    FROM usage_day d
    WHERE d.org_id = org AND d.bucket >= (SELECT first FROM days) AND d.bucket < (SELECT past FROM days)
      AND d.bucket NOT IN (SELECT f.day FROM fresh_days f)
    UNION ALL
    SELECT r.bucket, r.api_key_id, r.member_id, r.provider, r.model, r.byok, r.category, r.kind, r.status, r.turns,
           r.requests, r.input_tokens, r.cache_read_tokens, r.cache_write_tokens, r.cache_write_1h_tokens,
           r.output_tokens, r.reasoning_tokens, r.audio_input_tokens, r.image_input_tokens, r.audio_output_tokens,
           r.image_output_tokens, r.images, r.input_images, r.characters, r.audio_ms, r.searches, r.queries, r.pages,
           r.cost, r.charge
    FROM usage_rollup r
    WHERE r.org_id = org AND r.bucket > from_at - interval '15 minutes' AND r.bucket < (SELECT first FROM days)
      AND r.bucket NOT IN (SELECT f.bucket FROM fresh f)
    UNION ALL
    SELECT r.bucket, r.api_key_id, r.member_id, r.provider, r.model, r.byok, r.category, r.kind, r.status, r.turns,
           r.requests, r.input_tokens, r.cache_read_tokens, r.cache_write_tokens, r.cache_write_1h_tokens,
           r.output_tokens, r.reasoning_tokens, r.audio_input_tokens, r.image_input_tokens, r.audio_output_tokens,
           r.image_output_tokens, r.images, r.input_images, r.characters, r.audio_ms, r.searches, r.queries, r.pages,
           r.cost, r.charge
    FROM usage_rollup r
    WHERE r.org_id = org AND r.bucket >= (SELECT GREATEST(first, past) FROM days) AND r.bucket < to_at
      AND r.bucket NOT IN (SELECT f.bucket FROM fresh f)
    UNION ALL
    SELECT r.bucket, r.api_key_id, r.member_id, r.provider, r.model, r.byok, r.category, r.kind, r.status, r.turns,
           r.requests, r.input_tokens, r.cache_read_tokens, r.cache_write_tokens, r.cache_write_1h_tokens,
           r.output_tokens, r.reasoning_tokens, r.audio_input_tokens, r.image_input_tokens, r.audio_output_tokens,
           r.image_output_tokens, r.images, r.input_images, r.characters, r.audio_ms, r.searches, r.queries, r.pages,
           r.cost, r.charge
    FROM fresh_days f
    JOIN usage_rollup r ON r.org_id = org AND r.bucket >= f.day AND r.bucket < f.day + interval '1 day'
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
        -- Kept from being merged into the query around it: each step is read by the range of its ids.
        OFFSET 0
    ) u ON true
    LEFT JOIN api_key k ON k.org_id = org AND k.id = u.api_key_id
$$;
