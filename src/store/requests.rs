//! Requests from their receipts, newest first. Ids are uuid v7, so a range of ids is a range of time, and a page is a
//! step along the primary key.

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{ApiKeyId, ReceiptId, UserId},
    money::NanoUsd,
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// The filters of a list of requests. An absent filter matches everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only requests of API keys that this person created.
    pub made_by: Option<UserId>,
    pub api_key: Option<ApiKeyId>,
    /// `completed`, `aborted` or `failed`.
    pub status: Option<String>,
    /// The id of the provider that served, or that was called last.
    pub provider: Option<String>,
    /// The exact name that was requested, or of the model that served.
    pub model: Option<String>,
    /// A part of the name that was requested, or of the model that served.
    pub model_part: Option<String>,
    /// The endpoint that was asked.
    pub kind: Option<String>,
    pub byok: Option<bool>,
    /// The class of the error of a failed request.
    pub error_class: Option<String>,
    pub fallback_reason: Option<String>,
    /// Only requests with a fallback, for any reason.
    pub is_fallback: bool,
    /// Minimum and maximum charge.
    pub charge_min: Option<NanoUsd>,
    pub charge_max: Option<NanoUsd>,
    pub latency_ms_min: Option<i64>,
    /// First id and first id past the range.
    pub ids: Option<(Uuid, Uuid)>,
}

/// One stored receipt.
pub struct ReceiptRow {
    pub id: ReceiptId,
    pub api_key_id: ApiKeyId,
    pub document: String,
    pub kind: Option<String>,
    pub error_class: Option<String>,
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
    let pattern = filter.model_part.as_ref().map(|model| format!("%{}%", escape_like(model)));
    let rows = sqlx::query!(
        r#"SELECT receipt.id, receipt.api_key_id, receipt.document::text AS "document!", receipt.created_at,
                  receipt.kind, receipt.error_class
           FROM receipt
           WHERE receipt.org_id = $1 AND receipt.id >= $2 AND receipt.id < $3
             AND ($4::uuid IS NULL OR receipt.api_key_id = $4)
             AND ($5::text IS NULL OR receipt.status = $5)
             AND ($6::text IS NULL OR receipt.provider = $6)
             AND ($7::text IS NULL OR receipt.model ILIKE $7 OR receipt.requested ILIKE $7)
             AND ($8::bool IS NULL OR receipt.byok = $8)
             AND ($9::uuid IS NULL OR receipt.api_key_id IN (
                 SELECT id FROM api_key WHERE api_key.org_id = $1 AND api_key.created_by = $9))
             AND ($11::text IS NULL OR receipt.model = $11 OR receipt.requested = $11)
             AND ($12::text IS NULL OR receipt.kind = $12)
             AND ($13::text IS NULL OR receipt.error_class = $13)
             AND ($14::text IS NULL OR receipt.fallback_reason = $14)
             AND (NOT $15::bool OR receipt.fallback_reason IS NOT NULL)
             AND ($16::bigint IS NULL OR receipt.charge >= $16)
             AND ($17::bigint IS NULL OR receipt.charge <= $17)
             AND ($18::bigint IS NULL OR receipt.latency_ms >= $18)
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
        filter.model,
        filter.kind,
        filter.error_class,
        filter.fallback_reason,
        filter.is_fallback,
        filter.charge_min.map(|amount| amount.0),
        filter.charge_max.map(|amount| amount.0),
        filter.latency_ms_min,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ReceiptRow {
            id: ReceiptId(row.id),
            api_key_id: ApiKeyId(row.api_key_id),
            document: row.document,
            kind: row.kind,
            error_class: row.error_class,
            created_at: row.created_at,
        })
        .collect())
}

/// One receipt, if the person in the filter may see it.
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

/// The amounts of one request in the ledger and the usage table, to compare with its receipt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Booked {
    /// Sum of the charges in usage rows; `None` without a row.
    pub usage_charge: Option<i64>,
    /// Sum of the ledger's charges minus refunds; `None` without an entry.
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
        r#"WITH held AS MATERIALIZED (
               SELECT id, amount FROM hold WHERE org_id = $1 AND request_id = $2 AND id >= $3 AND id < $4
           )
           SELECT
             (SELECT sum(usage.charge)::bigint FROM usage WHERE org_id = $1 AND request_id = $2) AS usage_charge,
             (SELECT sum(amount)::bigint FROM held) AS held,
             (SELECT sum(CASE WHEN e.debit_account = 'customer' THEN e.amount ELSE -e.amount END)::bigint
                FROM (SELECT debit_account, amount FROM entry
                      WHERE org_id = $1 AND hold_id IN (SELECT id FROM held)
                      UNION ALL
                      SELECT debit_account, amount FROM entry
                      WHERE org_id = $1 AND corrects_hold_id IN (SELECT id FROM held)) e) AS entry_charge"#,
        scope.uuid(),
        id.0,
        first_id_ms(id, 0),
        first_id_ms(id, HELD_WITHIN_MS),
    )
    .fetch_one(connection)
    .await?;
    Ok(Booked { usage_charge: row.usage_charge, entry_charge: row.entry_charge, held: row.held })
}

/// Holds of a request are placed within this time after it began: an hour, four times the longest request. Their
/// entries may be written at any later time.
const HELD_WITHIN_MS: u128 = 3_600 * 1_000;

/// The smallest id of the millisecond of `id`, and of one that much later.
fn first_id_ms(id: ReceiptId, later_ms: u128) -> Uuid {
    let ms = id.0.as_u128() >> 80;
    Uuid::from_u128(ms.saturating_add(later_ms).min((1 << 48) - 1) << 80)
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
