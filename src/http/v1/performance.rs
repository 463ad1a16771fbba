//! `GET /v1/performance`: the measurements of hosts in the last five minutes, as known to this process.

use crate::{
    gateway::Gateway,
    http::{error::ApiError, extract::Call},
    routing::host_stats::Performance,
    store::api_keys::Principal,
};
use actix_web::HttpResponse;
use serde_json::{Value, json};
use std::sync::Arc;

/// The handler. Models with fewer than three calls are left out.
pub async fn list_performance(call: Call, _principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?.into_inner();
    let rows = gateway.measurements.performance(gateway.now_ms());
    let data: Vec<Value> = rows.iter().map(|(id, row)| view(id, row)).collect();
    Ok(HttpResponse::Ok().json(json!({ "object": "list", "window_seconds": 300, "data": data })))
}

fn view(id: &str, row: &Performance) -> Value {
    let (provider, _) = id.split_once('/').unwrap_or((id, ""));
    let answered = row.calls.saturating_sub(row.failures);
    json!({
        "model_id": id,
        "provider": provider,
        "calls": row.calls,
        "failures": row.failures,
        "success_permille": (answered * 1_000).checked_div(row.calls),
        "latency_ms": { "p50": row.latency_p50_ms, "p75": row.latency_p75_ms, "p95": row.latency_p95_ms },
        "tokens_per_second": { "p50": row.tokens_per_second_p50 },
    })
}
