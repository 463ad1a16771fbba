//! Requests as their receipts tell them, newest first. Ids are uuid v7, so that a range of ids is a range of time
//! and a page is a step along the primary key.

use super::{OrgScope, StoreError};
use crate::domain::ids::{ApiKeyId, ReceiptId, UserId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// Which requests are wanted. An absent filter passes everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those of API keys that this person made.
    pub made_by: Option<UserId>,
    pub api_key: Option<ApiKeyId>,
    /// `completed`, `aborted` or `failed`.
    pub status: Option<String>,
    /// Display name of the provider that served.
    pub provider: Option<String>,
    /// Part of the name asked for or of the model that served.
    pub model: Option<String>,
    pub byok: Option<bool>,
    /// First id and first id past the range.
    pub ids: Option<(Uuid, Uuid)>,
}

/// One stored receipt.
pub struct ReceiptRow {
    pub id: ReceiptId,
    pub api_key_id: ApiKeyId,
    pub document: String,
    pub created_at: OffsetDateTime,
}

/// Receipts older than `before`, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    scope: OrgScope,
    filter: &Filter,
    before: Option<ReceiptId>,
    limit: i64,
) -> Result<Vec<ReceiptRow>, StoreError> {
    let (first, past) = filter.ids.unwrap_or((Uuid::nil(), Uuid::max()));
    let past = before.map_or(past, |before| before.0.min(past));
    let pattern = filter.model.as_ref().map(|model| format!("%{}%", escape_like(model)));
    let rows = sqlx::query!(
        r#"SELECT receipt.id, receipt.api_key_id, receipt.document::text AS "document!", receipt.created_at
           FROM receipt
           WHERE receipt.org_id = $1 AND receipt.id >= $2 AND receipt.id < $3
             AND ($4::uuid IS NULL OR receipt.api_key_id = $4)
             AND ($5::text IS NULL OR receipt.document -> 'execution' ->> 'status' = $5)
             AND ($6::text IS NULL OR receipt.document -> 'decision' ->> 'provider' = $6)
             AND ($7::text IS NULL OR receipt.document -> 'decision' ->> 'model_id' ILIKE $7
                                   OR receipt.document -> 'decision' ->> 'requested' ILIKE $7)
             AND ($8::bool IS NULL OR (receipt.document ->> 'byok')::bool = $8)
             AND ($9::uuid IS NULL OR EXISTS (
                 SELECT 1 FROM api_key
                 WHERE api_key.org_id = receipt.org_id AND api_key.id = receipt.api_key_id
                   AND api_key.created_by = $9))
           ORDER BY receipt.id DESC
           LIMIT $10"#,
        scope.uuid(),
        first,
        past,
        filter.api_key.map(|key| key.0),
        filter.status,
        filter.provider,
        pattern,
        filter.byok,
        filter.made_by.map(|user| user.0),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ReceiptRow {
            id: ReceiptId(row.id),
            api_key_id: ApiKeyId(row.api_key_id),
            document: row.document,
            created_at: row.created_at,
        })
        .collect())
}

/// One receipt, if the filter's person may see it.
pub async fn get(
    connection: &mut PgConnection,
    scope: OrgScope,
    made_by: Option<UserId>,
    id: ReceiptId,
) -> Result<Option<ReceiptRow>, StoreError> {
    let next = Uuid::from_u128(id.0.as_u128().saturating_add(1));
    let filter = Filter { made_by, ids: Some((id.0, next)), ..Filter::default() };
    Ok(list(connection, scope, &filter, None, 1).await?.pop())
}

/// What the ledger and the usage table hold of one request, to compare with its receipt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Booked {
    /// Sum of the charges in usage rows; `None` without a row.
    pub usage_charge: Option<i64>,
    /// Sum of the ledger's charges less refunds; `None` without an entry.
    pub entry_charge: Option<i64>,
    /// Sum of the amounts set aside.
    pub held: Option<i64>,
}

/// The charge of a request as usage and ledger have it.
pub async fn booked(
    connection: &mut PgConnection,
    scope: OrgScope,
    id: ReceiptId,
) -> Result<Booked, StoreError> {
    let row = sqlx::query!(
        r#"SELECT
             (SELECT sum(usage.charge)::bigint FROM usage WHERE org_id = $1 AND request_id = $2) AS usage_charge,
             (SELECT sum(amount)::bigint FROM hold WHERE org_id = $1 AND request_id = $2
                AND id >= $3 AND id < $4) AS held,
             (SELECT sum(CASE entry.kind WHEN 'charge' THEN entry.amount ELSE -entry.amount END)::bigint
                FROM entry WHERE org_id = $1 AND entry.request_id = $2
                AND entry.id >= $3 AND entry.id < $4) AS entry_charge"#,
        scope.uuid(),
        id.0,
        first_id_ms(id, 0),
        first_id_ms(id, BOOKED_WITHIN_MS),
    )
    .fetch_one(connection)
    .await?;
    Ok(Booked { usage_charge: row.usage_charge, entry_charge: row.entry_charge, held: row.held })
}

/// Holds and entries of a request are made within this time after it began: an hour, four times the longest request.
const BOOKED_WITHIN_MS: u128 = 3_600 * 1_000;

/// The smallest id of the millisecond of `id`, and of one that much later.
fn first_id_ms(id: ReceiptId, later_ms: u128) -> Uuid {
    let ms = id.0.as_u128() >> 80;
    Uuid::from_u128(ms.saturating_add(later_ms).min((1 << 48) - 1) << 80)
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
