-- What a change was, from where, and with which request. Only adds: an older process goes on writing lines without.

ALTER TABLE audit_log
    -- {"field": [old, new]}; never a secret.
    ADD COLUMN changes    text,
    ADD COLUMN address    text,
    ADD COLUMN request_id text;

-- Removes lines from before a moment, at most so many; returns how many. Runs with its owner's rights, so that the role
-- of the gateway needs no right to change or delete lines.
CREATE FUNCTION prune_audit_log(before timestamptz, rows_max bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
DECLARE
    removed bigint;
BEGIN
    DELETE FROM audit_log WHERE id IN (
        SELECT id FROM (SELECT id, created_at FROM audit_log ORDER BY id LIMIT rows_max) oldest WHERE created_at < before);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$;
