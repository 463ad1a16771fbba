//! Receipts as they were written: one JSON document per request. Writing them is `store::usage`'s, which
//! puts a request's receipt and its usage row down together.

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{ApiKeyId, ReceiptId, UserId},
    provider::ProviderId,
};
use serde::Deserialize;
use sqlx::PgConnection;
use std::borrow::Cow;
use time::OffsetDateTime;
use uuid::Uuid;

/// What of a receipt stands in columns of its own, by which requests are filtered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub requested: Option<String>,
    pub model: Option<String>,
    /// The provider's id; of the last call where none answered.
    pub provider: Option<Cow<'static, str>>,
    pub kind: Option<Cow<'static, str>>,
    pub byok: Option<bool>,
    pub status: Cow<'static, str>,
    /// The class of the last call's error, where the request failed.
    pub error_class: Option<Cow<'static, str>>,
    pub fallback_reason: Option<Cow<'static, str>>,
    pub charge: i64,
    pub cost: Option<i64>,
    pub latency_ms: i64,
    pub attempts: i16,
}

impl Summary {
    /// Reads a receipt, one of any release; what it does not say is left out.
    pub fn read(document: &str) -> Summary {
        let receipt: Document = serde_json::from_str(document).unwrap_or_default();
        let last = receipt.attempts.last();
        let has_failed = receipt.execution.status.as_deref() == Some("failed");
        let error = last.and_then(|attempt| attempt.error.as_deref());
        let name = receipt.decision.provider.or_else(|| last.map(|attempt| attempt.provider.clone()));
        Summary {
            provider: name.map(|name| provider_id(name.into())),
            error_class: error_class(error, has_failed, receipt.attempts.len()),
            requested: receipt.decision.requested,
            model: receipt.decision.model_id,
            kind: receipt.kind.map(Cow::Owned),
            byok: receipt.byok,
            status: receipt.execution.status.map_or(Cow::Borrowed("unknown"), Cow::Owned),
            fallback_reason: receipt.fallback_reason.map(Cow::Owned),
            charge: receipt.charged_nano_usd,
            cost: receipt.provider_cost_nano_usd,
            latency_ms: receipt.execution.latency_ms,
            attempts: i16::try_from(receipt.attempts.len()).unwrap_or(i16::MAX),
        }
    }
}

/// The id of the provider of this name; the name itself where there is none.
pub fn provider_id(name: Cow<'static, str>) -> Cow<'static, str> {
    ProviderId::by_name(&name).map_or(name, |provider| Cow::Borrowed(provider.as_str()))
}

/// The class of the error of a request that made so many calls; `last` is the error of the last one.
pub fn error_class(last: Option<&str>, has_failed: bool, calls: usize) -> Option<Cow<'static, str>> {
    match last.filter(|_| has_failed) {
        Some(error) => Some(error.split(':').next().unwrap_or(error).to_owned().into()),
        None if has_failed && calls == 0 => Some("refused".into()),
        None => None,
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    kind: Option<String>,
    decision: Decision,
    attempts: Vec<Attempt>,
    byok: Option<bool>,
    fallback_reason: Option<String>,
    charged_nano_usd: i64,
    provider_cost_nano_usd: Option<i64>,
    execution: Execution,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Decision {
    requested: Option<String>,
    model_id: Option<String>,
    provider: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Attempt {
    provider: String,
    error: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Execution {
    status: Option<String>,
    latency_ms: i64,
}

/// Fills in the columns of receipts that an older release wrote, at most so many; returns how many there were.
pub async fn fill_in(connection: &mut PgConnection, rows_max: i64) -> Result<usize, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT r.org_id, r.id, r.document::text AS "document!", min(u.kind) AS kind
           FROM (SELECT org_id, id, document FROM receipt WHERE status IS NULL LIMIT $1) r
           LEFT JOIN usage u ON u.org_id = r.org_id AND u.request_id = r.id
           GROUP BY r.org_id, r.id, r.document::text"#,
        rows_max
    )
    .fetch_all(&mut *connection)
    .await?;
    let orgs: Vec<Uuid> = rows.iter().map(|row| row.org_id).collect();
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let summaries: Vec<Summary> = rows
        .into_iter()
        .map(|row| {
            let summary = Summary::read(&row.document);
            Summary { kind: summary.kind.or(row.kind.map(Cow::Owned)), ..summary }
        })
        .collect();
    let texts = |pick: fn(&Summary) -> Option<&str>| summaries.iter().map(pick).collect::<Vec<_>>();
    sqlx::query!(
        "UPDATE receipt r
         SET requested = s.requested, model = s.model, provider = s.provider, kind = s.kind, byok = s.byok,
             status = s.status, error_class = s.error_class, fallback_reason = s.fallback_reason, charge = s.charge,
             cost = s.cost, latency_ms = s.latency_ms, attempts = s.attempts
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::text[],
                     $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::smallint[])
             AS s (org_id, id, requested, model, provider, kind, byok, status, error_class, fallback_reason, charge,
                   cost, latency_ms, attempts)
         WHERE r.org_id = s.org_id AND r.id = s.id",
        &orgs,
        &ids,
        &texts(|summary| summary.requested.as_deref()) as &[Option<&str>],
        &texts(|summary| summary.model.as_deref()) as &[Option<&str>],
        &texts(|summary| summary.provider.as_deref()) as &[Option<&str>],
        &texts(|summary| summary.kind.as_deref()) as &[Option<&str>],
        &summaries.iter().map(|summary| summary.byok).collect::<Vec<_>>() as &[Option<bool>],
        &texts(|summary| Some(&summary.status)) as &[Option<&str>],
        &texts(|summary| summary.error_class.as_deref()) as &[Option<&str>],
        &texts(|summary| summary.fallback_reason.as_deref()) as &[Option<&str>],
        &summaries.iter().map(|summary| summary.charge).collect::<Vec<_>>(),
        &summaries.iter().map(|summary| summary.cost).collect::<Vec<_>>() as &[Option<i64>],
        &summaries.iter().map(|summary| summary.latency_ms).collect::<Vec<_>>(),
        &summaries.iter().map(|summary| summary.attempts).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(summaries.len())
}

/// The document of one receipt. With `api_key`, only one of that key's requests.
pub async fn get(
    connection: &mut PgConnection,
    scope: OrgScope,
    api_key: Option<ApiKeyId>,
    id: ReceiptId,
) -> Result<Option<String>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT document::text AS "document!" FROM receipt
           WHERE org_id = $1 AND id = $2 AND ($3::uuid IS NULL OR api_key_id = $3)"#,
        scope.uuid(),
        id.0,
        api_key.map(|key| key.0),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.document))
}

/// Removes receipts of refused requests from before `before`, at most `rows_max`; returns how many.
pub async fn prune_refused(
    connection: &mut PgConnection,
    before: OffsetDateTime,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM receipt WHERE (org_id, id) IN (
             SELECT org_id, id FROM receipt WHERE refused AND created_at < $1 LIMIT $2)",
        before,
        rows_max,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected())
}

/// The document of one receipt, of a request of an API key that this person made.
pub async fn get_by_maker(
    connection: &mut PgConnection,
    scope: OrgScope,
    maker: UserId,
    id: ReceiptId,
) -> Result<Option<String>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT receipt.document::text AS "document!" FROM receipt
           JOIN api_key ON api_key.org_id = receipt.org_id AND api_key.id = receipt.api_key_id
           WHERE receipt.org_id = $1 AND receipt.id = $2 AND api_key.created_by = $3"#,
        scope.uuid(),
        id.0,
        maker.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.document))
}
