//! Requests for display: a list with filters, and one whole receipt compared with the usage row and the ledger.
//! Read-only. The receipt is read leniently: a receipt of an older release lacks members of newer ones.

use crate::{
    domain::{
        ids::{ApiKeyId, ReceiptId, UserId},
        money::NanoUsd,
    },
    store::{
        OrgScope, StoreError,
        requests::{self, Booked, Filter, ReceiptRow},
    },
};
use serde::Deserialize;
use sqlx::PgConnection;
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// Requests on one page.
pub const PAGE_MAX: i64 = 200;

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: ReceiptId,
    pub api_key_id: ApiKeyId,
    pub created_at: OffsetDateTime,
    /// The endpoint that was called, if known.
    pub kind: Option<String>,
    /// Of a failed request.
    pub error_class: Option<String>,
    pub receipt: Receipt,
    /// The receipt as it was written.
    pub document: String,
}

/// A page of requests, newest first.
pub struct RequestPage {
    pub requests: Vec<Request>,
    /// Pass as `before` for the next page; absent on the last.
    pub next: Option<ReceiptId>,
}

/// One request and its ledger data.
pub struct RequestDetails {
    pub request: Request,
    pub booked: Booked,
}

impl RequestDetails {
    /// Whether receipt, usage and ledger state the same charge.
    pub fn agrees(&self) -> bool {
        let charged = self.request.receipt.charged_nano_usd;
        let usage = self.booked.usage_charge.unwrap_or(0);
        let entries = self.booked.entry_charge.unwrap_or(0);
        usage == charged && entries == charged
    }
}

/// The content of a receipt.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Receipt {
    pub receipt_id: String,
    pub request_id: String,
    pub candidates: Vec<Candidate>,
    pub decision: Decision,
    pub attempts: Vec<Attempt>,
    pub byok: Option<bool>,
    pub fallback_reason: Option<String>,
    pub dropped: Vec<String>,
    pub usage: Option<BTreeMap<String, serde_json::Value>>,
    pub price: Option<Price>,
    pub margin_bps: Option<u32>,
    pub charged_nano_usd: i64,
    pub provider_cost_nano_usd: Option<i64>,
    pub margin_nano_usd: i64,
    /// The additional cost at the reference model, if the gateway chose the model.
    pub savings_nano_usd: i64,
    pub classification: Option<Classification>,
    pub execution: Execution,
}

/// The category of the prompt for `auto`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Classification {
    pub category: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Candidate {
    pub model_id: String,
    pub provider: Option<String>,
    pub est_cost_usd: Option<String>,
    /// The lower bound of its quality, as a share of the reference's.
    pub score: Option<serde_json::Number>,
    pub reasons: Vec<String>,
    pub filtered_out_by: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Decision {
    pub requested: String,
    pub model_id: Option<String>,
    pub provider: Option<String>,
    pub strategy: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Attempt {
    pub provider: String,
    pub model_id: String,
    pub credential: String,
    pub credential_id: Option<String>,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub latency_ms: u64,
    /// Milliseconds after the request arrived; older receipts do not have it.
    pub started_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Price {
    pub catalog_version: String,
    pub lines: Vec<PriceLine>,
    pub arithmetic: String,
}

/// One price line; which members it has depends on whether it counts tokens or units.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PriceLine {
    pub bucket: String,
    pub tokens: Option<u64>,
    pub usd_per_million: Option<String>,
    pub quantity: Option<u64>,
    pub unit: Option<String>,
    pub usd_per_unit: Option<String>,
    pub quantity_per_unit: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Execution {
    pub status: String,
    pub stream: bool,
    pub latency_ms: u64,
    pub ttft_ms: Option<u64>,
    /// When the hold was placed and when the charge was durable, in milliseconds after the request arrived.
    pub held_ms: Option<u64>,
    pub settled_ms: Option<u64>,
    pub error: Option<String>,
}

impl Receipt {
    pub fn charged(&self) -> NanoUsd {
        NanoUsd(self.charged_nano_usd)
    }

    /// A bucket of the usage.
    pub fn tokens(&self, bucket: &str) -> u64 {
        let value = self.usage.as_ref().and_then(|usage| usage.get(bucket));
        value.and_then(serde_json::Value::as_u64).unwrap_or(0)
    }
}

impl Request {
    fn of(row: ReceiptRow) -> Self {
        let receipt = serde_json::from_str(&row.document).unwrap_or_else(|error| {
            tracing::error!(receipt.id = %row.id, error.cause = %error, "a stored receipt cannot be read");
            Receipt::default()
        });
        Self {
            id: row.id,
            api_key_id: row.api_key_id,
            created_at: row.created_at,
            kind: row.kind,
            error_class: row.error_class,
            receipt,
            document: row.document,
        }
    }
}

/// Requests older than `before`, at most `limit` (1 to [`PAGE_MAX`]).
pub async fn list(
    connection: &mut PgConnection,
    scope: OrgScope,
    filter: &Filter,
    before: Option<ReceiptId>,
    limit: i64,
) -> Result<RequestPage, StoreError> {
    let limit = limit.clamp(1, PAGE_MAX);
    let mut rows = requests::list(connection, scope, filter, before, limit.saturating_add(1)).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    let requests: Vec<Request> = rows.into_iter().map(Request::of).collect();
    let next = if more { requests.last().map(|request| request.id) } else { None };
    Ok(RequestPage { requests, next })
}

/// One request of the organization; with `made_by`, only of an API key that this person created.
pub async fn get(
    connection: &mut PgConnection,
    scope: OrgScope,
    made_by: Option<UserId>,
    id: ReceiptId,
) -> Result<Option<RequestDetails>, StoreError> {
    let Some(row) = requests::get(connection, scope, made_by, id).await? else { return Ok(None) };
    let booked = requests::booked(connection, scope, id).await?;
    Ok(Some(RequestDetails { request: Request::of(row), booked }))
}
