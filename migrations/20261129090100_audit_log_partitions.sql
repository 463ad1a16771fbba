-- The audit log becomes partitions, so that old lines are dropped whole. Whoever could change or delete its lines
-- before still can, and nobody else. Only adds: an older process goes on writing lines, and removing old ones.

ALTER TABLE audit_log RENAME TO audit_log_first;
ALTER TABLE audit_log_first RENAME CONSTRAINT audit_log_pk TO audit_log_first_pk;
ALTER INDEX audit_log_org_ix RENAME TO audit_log_first_org_ix;

CREATE TABLE audit_log (LIKE audit_log_first INCLUDING DEFAULTS) PARTITION BY RANGE (id);
ALTER TABLE audit_log ADD CONSTRAINT audit_log_pk PRIMARY KEY (id);
CREATE INDEX audit_log_org_ix ON audit_log (org_id, id);
ALTER TABLE audit_log ATTACH PARTITION audit_log_first
    FOR VALUES FROM (MINVALUE) TO ('01a2ce8b-d400-0000-0000-000000000000');
CREATE TABLE audit_log_rest PARTITION OF audit_log DEFAULT;

-- Takes every right on a table from all but its owner. Partitions are read and written through their parent.
CREATE FUNCTION revoke_all_on(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    role regrole;
BEGIN
    FOR role IN SELECT DISTINCT a.grantee::regrole FROM pg_class c, aclexplode(c.relacl) a
                WHERE c.oid = to_regclass(name) AND a.grantee <> c.relowner AND a.grantee <> 0 LOOP
        EXECUTE format('REVOKE ALL ON %I FROM %s', name, role);
    END LOOP;
    EXECUTE format('REVOKE ALL ON %I FROM PUBLIC', name);
END
$$;

-- The rights on the table are those on the old one, whatever a new table gets by default.
DO $$
DECLARE
    right_of record;
BEGIN
    PERFORM revoke_all_on('audit_log');
    FOR right_of IN SELECT a.grantee::regrole AS role, a.privilege_type AS privilege
                    FROM pg_class c, aclexplode(c.relacl) a
                    WHERE c.oid = 'audit_log_first'::regclass AND a.grantee <> c.relowner AND a.grantee <> 0 LOOP
        EXECUTE format('GRANT %s ON audit_log TO %s', right_of.privilege, right_of.role);
    END LOOP;
    PERFORM revoke_all_on('audit_log_first');
    PERFORM revoke_all_on('audit_log_rest');
END
$$;

CREATE OR REPLACE FUNCTION make_partitions(parent text, until timestamptz) RETURNS integer LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    made   integer := 0;
    last   uuid;
    begins timestamptz;
    ends   timestamptz;
    name   text;
BEGIN
    IF parent NOT IN ('receipt', 'usage', 'audit_log') THEN
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
        IF parent = 'audit_log' THEN
            PERFORM revoke_all_on(name);
        END IF;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name, last,
                       first_id_at(ends));
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

CREATE OR REPLACE FUNCTION drop_partitions(parent text, before timestamptz) RETURNS integer LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    dropped integer := 0;
    name    text;
BEGIN
    IF parent NOT IN ('receipt', 'usage', 'audit_log') THEN
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
