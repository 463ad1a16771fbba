//! The books as read by reports: an organization's balance and its entries. Never writes.

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{EntryId, RequestId},
    money::NanoUsd,
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

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

/// Entries with ids in `from..to` and below `before`, newest first.
pub async fn list_entries(
    connection: &mut PgConnection,
    scope: OrgScope,
    (from, to): (Uuid, Uuid),
    before: Option<EntryId>,
    limit: i64,
) -> Result<Vec<EntryRow>, StoreError> {
    let end = before.map_or(to, |before| before.0.min(to));
    let rows = sqlx::query!(
        r#"SELECT id, kind, credit_account = 'customer' AS "to_customer!", amount, cost, margin, request_id,
                  note, actor, created_at, booked_at
           FROM entry WHERE org_id = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $4"#,
        scope.uuid(),
        from,
        end,
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
