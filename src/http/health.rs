//! Whether the process runs and may receive traffic, and its public documents.

use super::{
    error::{ApiError, Code},
    extract::Call,
};
use crate::gateway::Gateway;
use actix_web::{HttpResponse, http::header};
use serde_json::json;

/// `GET /healthz`: the process answers.
pub async fn alive(_call: Call) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(json!({ "status": "ok" })))
}

/// `GET /readyz`: the database can be written, its schema is current, this process's lease is live, and the process is
/// not about to stop. It uses known state only, so a probe neither waits nor costs a query.
pub async fn ready(call: Call) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?;
    match gateway.problem() {
        None => Ok(HttpResponse::Ok().json(json!({ "status": "ready" }))),
        Some(problem) => {
            Err(ApiError::new(Code::ServiceUnavailable, format!("Not ready: {problem}")).retry_after_s(1))
        }
    }
}

/// `GET /`: the dashboard for browsers, a small document for other clients.
pub async fn root(call: Call) -> Result<HttpResponse, ApiError> {
    if call.header("accept").is_some_and(|accept| accept.contains("text/html")) {
        let to_dashboard = (header::LOCATION, "/home");
        return Ok(HttpResponse::SeeOther().insert_header(to_dashboard).finish());
    }
    Ok(HttpResponse::Ok().json(json!({
        "name": "KairosRoute",
        "version": env!("CARGO_PKG_VERSION"),
        "api": "/v1",
        "accounts": "/api/auth",
    })))
}

/// `GET /.well-known/jwks.json`: the public key with which credentials for MCP servers are sealed. `{"keys": [JWK]}`,
/// without a key if the operator has configured none.
pub async fn keys(call: Call) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?;
    let jwks = gateway.settings.mcp_opener.as_ref().map_or(r#"{"keys":[]}"#, |opener| opener.jwks());
    let headers = (header::CACHE_CONTROL, "public, max-age=300");
    Ok(HttpResponse::Ok().insert_header(headers).content_type("application/json").body(jwks.to_owned()))
}
