//! Promotional credit in lots. The part that charges have used is counted under the lock of the account, so that each
//! charge counts once.

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{EntryId, OrgId},
    money::NanoUsd,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// A lot that has not been closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenLot {
    pub entry_id: EntryId,
    pub remaining: NanoUsd,
    pub expires_at: OffsetDateTime,
    pub counted_until: OffsetDateTime,
    /// Its time is over.
    pub is_due: bool,
    /// A request that began before its end still has a hold.
    pub is_held: bool,
}

/// The balance of an account, which is locked until the transaction ends, and the database's time after that.
#[derive(Clone, Copy, Debug)]
pub struct LockedAccount {
    pub posted: NanoUsd,
    pub now: OffsetDateTime,
}

/// Locks an organization's account.
pub async fn lock_account(
    connection: &mut PgConnection,
    scope: OrgScope,
) -> Result<Option<LockedAccount>, StoreError> {
    let posted =
        sqlx::query_scalar!("SELECT posted FROM credit_account WHERE org_id = $1 FOR UPDATE", scope.uuid())
            .fetch_optional(&mut *connection)
            .await?;
    let Some(posted) = posted else { return Ok(None) };
    let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(connection).await?;
    Ok(Some(LockedAccount { posted: NanoUsd(posted), now }))
}

/// The lots that are not closed, in the order in which they expire.
pub async fn list_open(connection: &mut PgConnection, scope: OrgScope) -> Result<Vec<OpenLot>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT p.entry_id, p.amount - p.burned AS "remaining!", p.expires_at, p.counted_until,
                  p.expires_at <= clock_timestamp() AS "is_due!",
                  EXISTS (SELECT 1 FROM hold h WHERE h.org_id = p.org_id AND h.state = 'open'
                          AND h.created_at < p.expires_at) AS "is_held!"
           FROM promotion p WHERE p.org_id = $1 AND p.closed_at IS NULL ORDER BY p.expires_at, p.entry_id"#,
        scope.uuid()
    )
    .fetch_all(connection)
    .await?;
    let lots = rows.into_iter().map(|row| OpenLot {
        entry_id: EntryId(row.entry_id),
        remaining: NanoUsd(row.remaining),
        expires_at: row.expires_at,
        counted_until: row.counted_until,
        is_due: row.is_due,
        is_held: row.is_held,
    });
    Ok(lots.collect())
}

/// The charges minus their refunds, between two times.
pub async fn charged_between(
    connection: &mut PgConnection,
    scope: OrgScope,
    after: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<NanoUsd, StoreError> {
    let charged = sqlx::query_scalar!(
        r#"SELECT COALESCE(sum(CASE WHEN debit_account = 'customer' THEN amount ELSE -amount END), 0)::bigint AS "charged!"
           FROM entry
           WHERE org_id = $1 AND booked_at > $2 AND booked_at <= $3
             AND (kind = 'charge' OR corrects_hold_id IS NOT NULL)"#,
        scope.uuid(),
        after,
        until,
    )
    .fetch_one(connection)
    .await?;
    Ok(NanoUsd(charged))
}

/// Records what charges up to `until` used of a lot.
pub async fn note_burned(
    connection: &mut PgConnection,
    scope: OrgScope,
    lot: EntryId,
    burned: NanoUsd,
    until: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE promotion SET burned = burned + $3, counted_until = $4 WHERE org_id = $1 AND entry_id = $2",
        scope.uuid(),
        lot.0,
        burned.0,
        until,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds the lot of a posted entry.
pub async fn insert(
    connection: &mut PgConnection,
    scope: OrgScope,
    entry: EntryId,
    amount: NanoUsd,
    expires_at: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO promotion (org_id, entry_id, amount, expires_at, counted_until)
         VALUES ($1, $2, $3, $4, clock_timestamp())",
        scope.uuid(),
        entry.0,
        amount.0,
        expires_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Closes a lot, with the entry that took back the rest.
pub async fn close(
    connection: &mut PgConnection,
    scope: OrgScope,
    lot: EntryId,
    expiry: Option<EntryId>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE promotion SET closed_at = $4, expiry_entry_id = $3 WHERE org_id = $1 AND entry_id = $2",
        scope.uuid(),
        lot.0,
        expiry.map(|entry| entry.0),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Organizations with a lot whose time is over, after `after`, at most `limit`.
pub async fn list_due(
    connection: &mut PgConnection,
    after: Option<OrgId>,
    limit: i64,
) -> Result<Vec<OrgScope>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT DISTINCT org_id FROM promotion
         WHERE closed_at IS NULL AND expires_at <= now() AND ($1::uuid IS NULL OR org_id > $1)
         ORDER BY org_id LIMIT $2",
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(|id| OrgScope::of(OrgId(id))).collect())
}
