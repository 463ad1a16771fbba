//! The books as read by reports: an organization's balance and its entries. Never writes.

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{EntryId, RequestId},
    money::NanoUsd,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// An organization's account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Sum of its entries.
    pub posted: NanoUsd,
    /// Sum of its open holds.
    pub held: NanoUsd,
}

/// The account of an organization, if it has one.
pub async fn get_balance(
    connection: &mut PgConnection,
    scope: OrgScope,
) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query!("SELECT posted, held FROM credit_account WHERE org_id = $1", scope.uuid())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| Account { posted: NanoUsd(row.posted), held: NanoUsd(row.held) }))
}

/// One transfer in the books.
#[derive(Clone, Debug)]
pub struct EntryRow {
    pub id: EntryId,
    pub kind: String,
    /// Whether it adds to the customer's balance.
    pub to_customer: bool,
    pub amount: NanoUsd,
    pub cost: NanoUsd,
    pub margin: NanoUsd,
    pub request_id: Option<RequestId>,
    pub note: String,
    pub actor: String,
    pub created_at: OffsetDateTime,
    pub booked_at: OffsetDateTime,
}

/// Entries booked in `from..to` and before the entry `before`, newest first. An account's entries are booked one after
/// the other under its lock, so that none can come in behind a page that was read.
pub async fn list_entries(
    connection: &mut PgConnection,
    scope: OrgScope,
    (from, to): (OffsetDateTime, OffsetDateTime),
    before: Option<EntryId>,
    limit: i64,
) -> Result<Vec<EntryRow>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id, kind, credit_account = 'customer' AS "to_customer!", amount, cost, margin, request_id,
                  note, actor, created_at, booked_at
           FROM entry
           WHERE org_id = $1 AND booked_at >= $2 AND booked_at < $3
             -- The bound of the index, and within its moment the order of ids.
             AND booked_at <= CASE WHEN $4::uuid IS NULL THEN 'infinity'
                                   ELSE (SELECT c.booked_at FROM entry c WHERE c.org_id = $1 AND c.id = $4) END
             AND ($4::uuid IS NULL
                  OR (booked_at, id) < (SELECT c.booked_at, c.id FROM entry c WHERE c.org_id = $1 AND c.id = $4))
           ORDER BY booked_at DESC, id DESC LIMIT $5"#,
        scope.uuid(),
        from,
        to,
        before.map(|before| before.0),
        limit,
    )
    .fetch_all(connection)
    .await?;
    let entries = rows.into_iter().map(|row| EntryRow {
        id: EntryId(row.id),
        kind: row.kind,
        to_customer: row.to_customer,
        amount: NanoUsd(row.amount),
        cost: NanoUsd(row.cost),
        margin: NanoUsd(row.margin),
        request_id: row.request_id.map(RequestId),
        note: row.note,
        actor: row.actor,
        created_at: row.created_at,
        booked_at: row.booked_at,
    });
    Ok(entries.collect())
}
