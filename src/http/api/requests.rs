//! Requests of an organization, including failures and refusals: a list with filters, and the receipt of one. A member
//! sees those of its own API keys. Thin over `billing::requests`.

use crate::{
    accounts::roles::Role,
    billing::{
        report::Range,
        requests::{self, PAGE_MAX, Request},
    },
    books::periods::Zone,
    domain::{
        ambient::Ambient,
        ids::{ApiKeyId, ReceiptId, RequestId, UserId},
        money::NanoUsd,
        provider::ProviderId,
    },
    http::{error::ApiError, extract::Call, v1::receipts},
    store::{Db, Purpose, StoreError, requests::Filter, sessions::Session, usage::first_id_at},
};
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::{Value, json};

/// Requests on a page if the client states no number.
const PAGE_DEFAULT: i64 = 50;
const STATUSES: [&str; 3] = ["completed", "aborted", "failed"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    from: Option<String>,
    to: Option<String>,
    tz: Option<String>,
    before: Option<String>,
    limit: Option<i64>,
    key: Option<String>,
    status: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    kind: Option<String>,
    byok: Option<bool>,
    /// `true`: those with a fallback; else the reason.
    fallback: Option<String>,
    error_class: Option<String>,
    cost_min: Option<String>,
    cost_max: Option<String>,
    latency_min_ms: Option<i64>,
}

/// `GET /api/requests`, newest first, with a filter for each property.
pub async fn list_requests(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let parameters: Parameters = call.query()?;
    let filter = filter(&parameters, &session, call.state::<Ambient>()?.now())?;
    let before = match parameters.before.as_deref().map(receipt_id) {
        None => None,
        Some(Some(id)) => Some(id),
        Some(None) => return Err(ApiError::invalid("before", "`before` must be the `next` of another page")),
    };
    let limit = parameters.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("`limit` must be 1 to {PAGE_MAX}")));
    }
    let db = call.state::<Db>()?.with_purpose(Purpose::Reports);
    let pool = db.clone();
    let page = db.run::<_, StoreError, _>(async move {
        requests::list(&mut *pool.acquire().await?, session.scope, &filter, before, limit).await
    });
    let page = page.await.map_err(ApiError::of_report)?;
    let rows: Vec<Value> = page.requests.iter().map(row).collect();
    Ok(HttpResponse::Ok().json(json!({ "requests": rows, "next": page.next })))
}

/// `GET /api/requests/{id}`: the receipt, by its id or the request's.
pub async fn get_request(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let id = receipt_id(call.path("id")).ok_or_else(|| ApiError::not_found("request"))?;
    receipts::answer(&call, session.scope, receipts::Readable::of(&session), id).await
}

fn receipt_id(text: &str) -> Option<ReceiptId> {
    text.parse::<ReceiptId>().or_else(|_| text.parse::<RequestId>().map(RequestId::receipt)).ok()
}

/// A member sees the requests of the API keys that it created.
fn made_by(session: &Session) -> Option<UserId> {
    (session.role == Role::Member).then_some(session.user_id)
}

fn filter(parameters: &Parameters, session: &Session, now: time::OffsetDateTime) -> Result<Filter, ApiError> {
    let ids = match (parameters.from.as_deref(), parameters.to.as_deref()) {
        (None, None) => None,
        (from, to) => {
            let zone = Zone::by_name(parameters.tz.as_deref().unwrap_or("UTC"))
                .map_err(|error| ApiError::invalid("tz", error.to_string()))?;
            let (from, to) = Range::parse_in(&zone, from, to, now)?.bounds();
            Some((first_id_at(from), first_id_at(to)))
        }
    };
    let status = parameters.status.clone();
    if status.as_deref().is_some_and(|status| !STATUSES.contains(&status)) {
        return Err(ApiError::invalid("status", format!("`status` must be one of {}", STATUSES.join(", "))));
    }
    let provider = match parameters.provider.as_deref() {
        None => None,
        Some(name) => Some(ProviderId::by_name(name).ok_or_else(|| {
            let known = ProviderId::ids().join(", ");
            ApiError::invalid("provider", format!("`provider` must be one of {known}"))
        })?),
    };
    let key = parameters.key.as_deref().map(str::parse::<ApiKeyId>).transpose();
    let amount = |name: &'static str, text: &Option<String>| {
        text.as_deref()
            .map(NanoUsd::parse)
            .transpose()
            .map_err(|_| ApiError::invalid(name, format!("`{name}` must be an amount in USD, such as 0.05")))
    };
    let fallback = parameters.fallback.as_deref();
    Ok(Filter {
        made_by: made_by(session),
        api_key: key.map_err(|error| ApiError::invalid("key", format!("`key`: {error}")))?,
        status,
        provider: provider.map(|provider| provider.as_str().to_owned()),
        model: parameters.model.clone(),
        model_part: None,
        kind: parameters.kind.clone(),
        byok: parameters.byok,
        error_class: parameters.error_class.clone(),
        fallback_reason: fallback.filter(|reason| *reason != "true").map(str::to_owned),
        is_fallback: fallback == Some("true"),
        charge_min: amount("cost_min", &parameters.cost_min)?,
        charge_max: amount("cost_max", &parameters.cost_max)?,
        latency_ms_min: parameters.latency_min_ms,
        ids,
    })
}

fn row(request: &Request) -> Value {
    let receipt = &request.receipt;
    let input = ["input", "cache_read", "cache_write", "cache_write_1h", "audio_input", "image_input"];
    let output = ["output", "audio_output", "image_output"];
    let tokens = |buckets: &[&str]| buckets.iter().map(|bucket| receipt.tokens(bucket)).sum::<u64>();
    json!({
        "requestId": RequestId(request.id.0),
        "receiptId": request.id,
        "createdAt": request.created_at.format(&time::format_description::well_known::Rfc3339).ok(),
        "apiKeyId": request.api_key_id,
        "kind": request.kind,
        "requested": receipt.decision.requested,
        "model": receipt.decision.model_id,
        "provider": receipt.decision.provider,
        "byok": receipt.byok,
        "status": receipt.execution.status,
        "error": receipt.execution.error,
        "errorClass": request.error_class,
        "fallbackReason": receipt.fallback_reason,
        "attempts": receipt.attempts.len(),
        "stream": receipt.execution.stream,
        "inputTokens": tokens(&input),
        "outputTokens": tokens(&output),
        "providerCostUsd": receipt.provider_cost_nano_usd.map(|cost| NanoUsd(cost).to_string()),
        "chargedUsd": receipt.charged().to_string(),
        "latencyMs": receipt.execution.latency_ms,
        "ttftMs": receipt.execution.ttft_ms,
    })
}
