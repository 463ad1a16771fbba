//! Running gateway processes and their leases. A hold belongs to an instance; when an instance's lease has
//! lapsed for long enough its holds are reaped. Leases are measured by the database's clock alone, so that
//! processes with wrong clocks cannot reap each other.

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{ApiKeyId, HoldId, InstanceId, OrgId, RequestId},
    money::NanoUsd,
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// What a renewal found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Renewal {
    Renewed,
    /// The lease had run out (the process was paused or cut off). It runs again, but holds taken before may
    /// have been reaped meanwhile.
    Lapsed,
}

/// A process that renewed its lease within the last day.
#[derive(Clone, Debug)]
pub struct RunningInstance {
    pub id: InstanceId,
    pub started_at: OffsetDateTime,
    pub is_live: bool,
    pub open_holds: i64,
}

/// The processes of the last day, the newest first.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<RunningInstance>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT i.id, i.started_at, i.lease_until > now() AS "is_live!",
                  (SELECT count(*) FROM hold h WHERE h.instance_id = i.id AND h.state = 'open') AS "open_holds!"
           FROM instance i ORDER BY i.started_at DESC LIMIT 100"#,
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|row| RunningInstance {
        id: InstanceId(row.id),
        started_at: row.started_at,
        is_live: row.is_live,
        open_holds: row.open_holds,
    });
    Ok(rows.collect())
}

/// Registers a process under a lease of 15 s, with the ids of the master keys it holds.
pub async fn register(
    connection: &mut PgConnection,
    id: InstanceId,
    key_ids: &[String],
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO instance (id, started_at, lease_until, key_ids)
         VALUES ($1, now(), now() + interval '15 seconds', $2)",
        id.0,
        key_ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Extends the lease to 15 s from now; due every few seconds.
pub async fn renew(
    connection: &mut PgConnection,
    id: InstanceId,
    key_ids: &[String],
) -> Result<Renewal, StoreError> {
    // The old row is read and locked by the sub-select, so what it tells is from before this update.
    let was_live = sqlx::query_scalar!(
        r#"UPDATE instance i SET lease_until = now() + interval '15 seconds'
           FROM (SELECT id, lease_until > now() AS live FROM instance WHERE id = $1 FOR UPDATE) before
           WHERE i.id = before.id
           RETURNING before.live AS "live!""#,
        id.0
    )
    .fetch_optional(&mut *connection)
    .await?;
    match was_live {
        Some(true) => Ok(Renewal::Renewed),
        Some(false) => Ok(Renewal::Lapsed),
        None => {
            // Pruned after a day without a renewal.
            register(connection, id, key_ids).await?;
            Ok(Renewal::Lapsed)
        }
    }
}

/// Ends the lease at once, on a clean stop: what the process left open is reaped 15 s later.
pub async fn retire(connection: &mut PgConnection, id: InstanceId) -> Result<(), StoreError> {
    sqlx::query!("UPDATE instance SET lease_until = LEAST(lease_until, now()) WHERE id = $1", id.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// The live processes that do not hold the master key `key_id`.
pub async fn list_without_key(
    connection: &mut PgConnection,
    key_id: &str,
) -> Result<Vec<InstanceId>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM instance WHERE lease_until > now() AND NOT ($1 = ANY (key_ids)) ORDER BY started_at",
        key_id
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(InstanceId).collect())
}

/// Forgets instances that lapsed more than a day ago and own no open hold. Returns how many.
pub async fn prune(connection: &mut PgConnection) -> Result<u64, StoreError> {
    let pruned = sqlx::query!(
        "DELETE FROM instance i
         WHERE i.lease_until < now() - interval '1 day'
           AND NOT EXISTS (SELECT 1 FROM hold h WHERE h.instance_id = i.id AND h.state = 'open')"
    )
    .execute(connection)
    .await?;
    Ok(pruned.rows_affected())
}

/// A hold that was ended for a process that is gone, or an ended one of such a process that has no usage row.
#[derive(Clone, Debug)]
pub struct Reaped {
    pub scope: OrgScope,
    pub hold: HoldId,
    pub request_id: RequestId,
    pub turn: i16,
    pub api_key_id: ApiKeyId,
    pub provider: String,
    pub model: String,
    pub kind: String,
    pub cost: NanoUsd,
    pub charge: NanoUsd,
    pub margin_bps: i32,
    pub price_version: String,
    /// Tokens as of the last checkpoint.
    pub input_tokens: i64,
    pub output_tokens: i64,
    /// Charge and cost of the turns before it.
    pub earlier_charge: NanoUsd,
    pub earlier_cost: NanoUsd,
    pub created_at: OffsetDateTime,
    /// Its end had been recorded before.
    pub had_ended: bool,
}

macro_rules! reaped {
    ($row:expr) => {{
        let row = $row;
        Reaped {
            scope: OrgScope::of(OrgId(row.org_id)),
            hold: HoldId(row.id),
            request_id: RequestId(row.request_id),
            turn: row.turn,
            api_key_id: ApiKeyId(row.api_key_id),
            provider: row.provider,
            model: row.model,
            kind: row.kind,
            cost: NanoUsd(row.cost),
            charge: NanoUsd(row.charge),
            margin_bps: row.margin_bps,
            price_version: row.price_version,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            earlier_charge: NanoUsd(row.earlier_charge),
            earlier_cost: NanoUsd(row.earlier_cost),
            created_at: row.created_at,
            had_ended: row.had_ended,
        }
    }};
}

/// Accounts that one step of the reaper locks.
const ACCOUNTS_MAX: i64 = 200;

/// Ends up to `entry_ids.len()` holds, charged at their last checkpoint: those of instances that are 15 s past their
/// lease, or else exactly `only`. Each charge takes one of `entry_ids`. Accounts that another transaction holds are
/// passed over.
pub async fn expire(
    connection: &mut PgConnection,
    only: Option<&[Uuid]>,
    entry_ids: &[Uuid],
    now: OffsetDateTime,
) -> Result<Vec<Reaped>, StoreError> {
    let rows = sqlx::query!(
        r#"
        WITH gone AS MATERIALIZED (
            SELECT h.org_id, h.id FROM hold h
            WHERE h.state = 'open' AND (h.id = ANY($3::uuid[]) OR ($3::uuid[] IS NULL AND NOT EXISTS (
                SELECT 1 FROM instance i
                WHERE i.id = h.instance_id AND i.lease_until >= now() - interval '15 seconds')))
        ), account AS MATERIALIZED (
            SELECT a.org_id, a.budgets_set FROM credit_account a
            WHERE a.org_id IN (SELECT g.org_id FROM gone g) ORDER BY a.org_id
            LIMIT $4 FOR UPDATE SKIP LOCKED
        ), due AS MATERIALIZED (
            SELECT g.org_id, g.id FROM gone g JOIN account a ON a.org_id = g.org_id
            -- A budget that was set since this statement's snapshot is in the next one's.
            WHERE a.budgets_set = (SELECT s.budgets_set FROM credit_account s WHERE s.org_id = a.org_id)
            ORDER BY g.org_id, g.id LIMIT cardinality($1::uuid[])
        ), done AS (
            UPDATE hold h
            SET state = 'expired', cost = h.checkpoint_cost, charge = h.checkpoint_charge, resolved_at = $2
            FROM due g WHERE h.org_id = g.org_id AND h.id = g.id AND h.state = 'open'
            RETURNING h.*
        ), summed AS (
            UPDATE credit_account c SET held = c.held - m.held, posted = c.posted - m.posted
            FROM (SELECT org_id, sum(amount)::bigint AS held, sum(charge)::bigint AS posted
                  FROM done GROUP BY org_id) m
            WHERE c.org_id = m.org_id
        ), line AS MATERIALIZED (
            SELECT b.org_id, b.subject_id, b.period_start FROM budget b
            WHERE (b.org_id, b.subject_id) IN (SELECT org_id, api_key_id FROM done UNION SELECT org_id, org_id FROM done)
            ORDER BY b.org_id, b.subject_id FOR UPDATE
        ), budgeting AS (
            UPDATE budget b SET held = b.held - m.held, spent = b.spent + m.spent
            FROM (SELECT l.org_id, l.subject_id, sum(COALESCE(d.reserved, d.amount))::bigint AS held,
                         sum(COALESCE(d.spent, d.charge))::bigint AS spent
                  FROM line l JOIN done d
                      ON d.org_id = l.org_id AND COALESCE(d.budgeted_at, d.created_at) >= l.period_start
                     AND CASE WHEN l.subject_id = l.org_id THEN d.counted & 2 = 2
                              ELSE d.api_key_id = l.subject_id AND d.counted & 1 = 1 END
                  GROUP BY l.org_id, l.subject_id) m
            WHERE b.org_id = m.org_id AND b.subject_id = m.subject_id
        ), posting AS (
            INSERT INTO entry (org_id, id, kind, debit_account, credit_account, amount, cost, margin, hold_id,
                               request_id, note, created_at)
            SELECT d.org_id, e.id, 'charge', 'customer', 'revenue', d.charge, d.cost, d.charge - d.cost, d.id,
                   d.request_id, 'expired', $2
            FROM (SELECT *, row_number() OVER (ORDER BY org_id, id) AS ord FROM done WHERE charge > 0) d
            JOIN unnest($1::uuid[]) WITH ORDINALITY AS e (id, ord) ON e.ord = d.ord
        )
        SELECT d.org_id AS "org_id!", d.id AS "id!", d.request_id AS "request_id!", d.turn AS "turn!",
               d.api_key_id AS "api_key_id!", d.provider AS "provider!", d.model AS "model!", d.kind AS "kind!",
               d.cost AS "cost!", d.charge AS "charge!", d.margin_bps AS "margin_bps!",
               d.price_version AS "price_version!", d.checkpoint_input AS "input_tokens!",
               d.checkpoint_output AS "output_tokens!", d.created_at AS "created_at!", false AS "had_ended!",
               COALESCE(t.charge, 0)::bigint AS "earlier_charge!", COALESCE(t.cost, 0)::bigint AS "earlier_cost!"
        FROM done d
        LEFT JOIN LATERAL (SELECT sum(u.charge) AS charge, sum(u.cost) AS cost FROM usage u
                           WHERE u.org_id = d.org_id AND u.request_id = d.request_id AND u.turn < d.turn) t
            ON d.turn > 0
        WHERE NOT d.own_key
        "#,
        entry_ids,
        now,
        only,
        ACCOUNTS_MAX,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| reaped!(row)).collect())
}

/// Ended holds of an instance that is gone whose receipt, or usage row of a charge, was not written any more; up to `limit` of those
/// with an id from `from` on.
pub async fn list_unrecorded(
    connection: &mut PgConnection,
    instance: InstanceId,
    from: Uuid,
    limit: i64,
) -> Result<Vec<Reaped>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT h.org_id AS "org_id!", h.id AS "id!", h.request_id AS "request_id!", h.turn AS "turn!",
               h.api_key_id AS "api_key_id!", h.provider AS "provider!", h.model AS "model!", h.kind AS "kind!",
               h.cost AS "cost!", h.charge AS "charge!", h.margin_bps AS "margin_bps!", h.price_version AS "price_version!",
               h.checkpoint_input AS "input_tokens!", h.checkpoint_output AS "output_tokens!", h.created_at AS "created_at!",
               true AS "had_ended!", COALESCE(t.charge, 0)::bigint AS "earlier_charge!",
               COALESCE(t.cost, 0)::bigint AS "earlier_cost!"
        FROM credit_account a
        CROSS JOIN LATERAL (
            SELECT * FROM hold h
            WHERE h.org_id = a.org_id AND h.id >= $2 AND h.instance_id = $1 AND h.state <> 'open'
              -- A request that was charged nothing may have no usage row.
              AND (h.charge > 0 AND NOT EXISTS (
                       SELECT 1 FROM usage u
                       WHERE u.org_id = h.org_id AND u.request_id = h.request_id AND u.turn = h.turn)
                   OR NOT EXISTS (SELECT 1 FROM receipt r WHERE r.org_id = h.org_id AND r.id = h.request_id))
        ) h
        LEFT JOIN LATERAL (SELECT sum(u.charge) AS charge, sum(u.cost) AS cost FROM usage u
                           WHERE u.org_id = h.org_id AND u.request_id = h.request_id AND u.turn < h.turn) t
            ON h.turn > 0
        ORDER BY h.org_id, h.request_id, h.turn DESC LIMIT $3
        "#,
        instance.0,
        from,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| reaped!(row)).collect())
}

/// An instance that is 15 s past its lease and whose missing records nobody has made up for, and when its lease ended.
pub async fn find_unreconciled(
    connection: &mut PgConnection,
) -> Result<Option<(InstanceId, OffsetDateTime)>, StoreError> {
    let row = sqlx::query!(
        "SELECT id, lease_until FROM instance
         WHERE (reconciled_at IS NULL OR reconciled_at < lease_until) AND lease_until < now() - interval '15 seconds' LIMIT 1"
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (InstanceId(row.id), row.lease_until)))
}

/// Notes that nothing is missing of an instance that is gone.
pub async fn note_reconciled(connection: &mut PgConnection, id: InstanceId) -> Result<(), StoreError> {
    sqlx::query!("UPDATE instance SET reconciled_at = now() WHERE id = $1", id.0).execute(connection).await?;
    Ok(())
}

/// Open holds of an instance that were made before a moment, oldest ids first.
pub async fn list_open(
    connection: &mut PgConnection,
    instance: InstanceId,
    before: OffsetDateTime,
    limit: i64,
) -> Result<Vec<HoldId>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM hold WHERE instance_id = $1 AND state = 'open' AND created_at < $2 ORDER BY id LIMIT $3",
        instance.0,
        before,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(HoldId).collect())
}
