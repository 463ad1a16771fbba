//! Running gateway processes and their leases. A hold belongs to an instance; when an instance's lease has
//! lapsed for long enough its holds are reaped. Leases are measured by the database's clock alone, so that
//! processes with wrong clocks cannot reap each other.

use super::StoreError;
use crate::domain::{
    ids::{HoldId, InstanceId, OrgId},
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

/// A hold that was reaped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reaped {
    pub org_id: OrgId,
    pub hold: HoldId,
    pub charge: NanoUsd,
}

/// Ends up to `entry_ids.len()` holds of instances that are 15 s past their lease, charged at their last
/// checkpoint; each charge takes one of `entry_ids`.
pub async fn expire(
    connection: &mut PgConnection,
    entry_ids: &[Uuid],
    now: OffsetDateTime,
) -> Result<Vec<Reaped>, StoreError> {
    let rows = sqlx::query!(
        r#"
        WITH gone AS MATERIALIZED (
            SELECT h.org_id, h.id FROM hold h
            WHERE h.state = 'open' AND NOT EXISTS (
                SELECT 1 FROM instance i
                WHERE i.id = h.instance_id AND i.lease_until >= now() - interval '15 seconds')
            ORDER BY h.org_id, h.id LIMIT cardinality($1::uuid[])
        ), account AS MATERIALIZED (
            SELECT a.org_id FROM credit_account a
            WHERE a.org_id IN (SELECT g.org_id FROM gone g) ORDER BY a.org_id FOR UPDATE
        ), done AS (
            UPDATE hold h
            SET state = 'expired', cost = h.checkpoint_cost, charge = h.checkpoint_charge, resolved_at = $2
            FROM gone g JOIN account a ON a.org_id = g.org_id
            WHERE h.org_id = g.org_id AND h.id = g.id AND h.state = 'open'
            RETURNING h.org_id, h.id, h.request_id, h.amount, h.cost, h.charge
        ), summed AS (
            UPDATE credit_account c SET held = c.held - m.held, posted = c.posted - m.posted
            FROM (SELECT org_id, sum(amount)::bigint AS held, sum(charge)::bigint AS posted
                  FROM done GROUP BY org_id) m
            WHERE c.org_id = m.org_id
        ), posting AS (
            INSERT INTO entry (org_id, id, kind, debit_account, credit_account, amount, cost, margin, hold_id,
                               request_id, note, created_at)
            SELECT d.org_id, e.id, 'charge', 'customer', 'revenue', d.charge, d.cost, d.charge - d.cost, d.id,
                   d.request_id, 'expired', $2
            FROM (SELECT *, row_number() OVER (ORDER BY org_id, id) AS ord FROM done WHERE charge > 0) d
            JOIN unnest($1::uuid[]) WITH ORDINALITY AS e (id, ord) ON e.ord = d.ord
        )
        SELECT org_id AS "org_id!", id AS "id!", charge AS "charge!" FROM done
        "#,
        entry_ids,
        now,
    )
    .fetch_all(connection)
    .await?;
    let reaped =
        |row: (Uuid, Uuid, i64)| Reaped { org_id: OrgId(row.0), hold: HoldId(row.1), charge: NanoUsd(row.2) };
    Ok(rows.into_iter().map(|row| reaped((row.org_id, row.id, row.charge))).collect())
}
