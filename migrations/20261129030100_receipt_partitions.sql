-- Receipts become partitions, so that old ones are dropped whole, and gain the columns by which requests are filtered.
-- Only adds: an older process goes on writing rows without these; a job fills them in.

ALTER TABLE receipt
    ADD COLUMN requested       text,
    ADD COLUMN model           text,
    -- The provider's id; of the last call where none answered.
    ADD COLUMN provider        text,
    ADD COLUMN kind            text,
    ADD COLUMN byok            boolean,
    -- NULL: the columns are not filled in yet.
    ADD COLUMN status          text,
    ADD COLUMN error_class     text,
    ADD COLUMN fallback_reason text,
    ADD COLUMN charge          bigint,
    ADD COLUMN cost            bigint,
    ADD COLUMN latency_ms      bigint,
    ADD COLUMN attempts        smallint;
ALTER TABLE receipt RENAME TO receipt_first;
ALTER TABLE receipt_first RENAME CONSTRAINT receipt_pk TO receipt_first_pk;
ALTER INDEX receipt_refused_ix RENAME TO receipt_first_refused_ix;

CREATE TABLE receipt (LIKE receipt_first INCLUDING DEFAULTS) PARTITION BY RANGE (id);
ALTER TABLE receipt ADD CONSTRAINT receipt_pk PRIMARY KEY (org_id, id);
CREATE INDEX receipt_refused_ix ON receipt (created_at) WHERE refused;
CREATE INDEX receipt_key_ix ON receipt (org_id, api_key_id, id);
CREATE INDEX receipt_model_ix ON receipt (org_id, model, id);
CREATE INDEX receipt_provider_ix ON receipt (org_id, provider, id);
CREATE INDEX receipt_status_ix ON receipt (org_id, status, id) WHERE status <> 'completed';
CREATE INDEX receipt_error_ix ON receipt (org_id, error_class, id) WHERE error_class IS NOT NULL;
CREATE INDEX receipt_fallback_ix ON receipt (org_id, fallback_reason, id) WHERE fallback_reason IS NOT NULL;
CREATE INDEX receipt_unfilled_ix ON receipt (id) WHERE status IS NULL;
ALTER TABLE receipt ATTACH PARTITION receipt_first FOR VALUES FROM (MINVALUE) TO ('01a2ce8b-d400-0000-0000-000000000000');
CREATE TABLE receipt_rest PARTITION OF receipt DEFAULT;

-- The smallest uuid v7 of a moment.
CREATE FUNCTION first_id_at(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (left(hex, 8) || '-' || right(hex, 4) || '-0000-0000-000000000000')::uuid
    FROM (SELECT lpad(to_hex(GREATEST(floor(extract(epoch FROM moment) * 1000), 0)::bigint), 12, '0') AS hex) h
$$;

-- The moment of a uuid v7, to the millisecond.
CREATE FUNCTION moment_of_id(id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_timestamp(('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0)
$$;

-- The partitions of a table by range of ids: their names and the first id past each.
CREATE FUNCTION partitions_of(parent text) RETURNS TABLE (name text, from_id uuid, to_id uuid) LANGUAGE sql STABLE AS $$
    SELECT c.relname::text,
           substring(b.bound FROM $r$FROM \('([0-9a-f-]{36})'\)$r$)::uuid,
           substring(b.bound FROM $r$TO \('([0-9a-f-]{36})'\)$r$)::uuid
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) b
    WHERE i.inhparent = to_regclass(parent) AND b.bound LIKE 'FOR VALUES%'
$$;

-- The first id of which rows are kept; the smallest there is while nothing was dropped.
CREATE FUNCTION kept_from(parent text) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN bool_and(from_id IS NOT NULL) THEN min(from_id::text)::uuid
                ELSE '00000000-0000-0000-0000-000000000000'::uuid END
    FROM partitions_of(parent)
$$;

-- Makes monthly partitions that cover everything before a moment; returns how many were made. Runs with its owner's
-- rights, so that the role of the gateway needs none to change tables.
CREATE FUNCTION make_partitions(parent text, until timestamptz) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
DECLARE
    made   integer := 0;
    last   uuid;
    begins timestamptz;
    ends   timestamptz;
    name   text;
BEGIN
    IF parent NOT IN ('receipt', 'usage') THEN
        RAISE EXCEPTION 'no partitions are made of %', parent;
    END IF;
    PERFORM pg_advisory_xact_lock(7241906354);
    LOOP
        SELECT max(to_id::text)::uuid INTO last FROM partitions_of(parent);
        begins := COALESCE(moment_of_id(last), date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC');
        last := first_id_at(begins);
        EXIT WHEN begins >= until OR made >= 120;
        ends := (date_trunc('month', begins AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
        name := parent || '_' || to_char(begins AT TIME ZONE 'UTC', 'YYYY_MM');
        -- Attached rather than made in place: that locks the parent against nobody who reads or writes rows.
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name, parent);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name, last,
                       first_id_at(ends));
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- Drops the partitions all of whose rows are from before a moment; returns how many.
CREATE FUNCTION drop_partitions(parent text, before timestamptz) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
DECLARE
    dropped integer := 0;
    name    text;
BEGIN
    IF parent NOT IN ('receipt', 'usage') THEN
        RAISE EXCEPTION 'no partitions of % are dropped', parent;
    END IF;
    PERFORM pg_advisory_xact_lock(7241906354);
    FOR name IN SELECT p.name FROM partitions_of(parent) p WHERE p.to_id <= first_id_at(before) LOOP
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
