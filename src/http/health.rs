//! Whether the process lives and may be sent traffic, and what it says of itself to anybody.

use super::{
    error::{ApiError, Code},
    extract::Call,
};
use crate::{gateway::Gateway, store};
use actix_web::{HttpResponse, http::header};
use serde_json::json;
use std::time::Duration;

const PING_MAX: Duration = Duration::from_secs(2);

/// `GET /healthz`: the process answers.
pub async fn alive(_call: Call) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(json!({ "status": "ok" })))
}

/// `GET /readyz`: the database answers, usage is being written, and the process is not about to stop.
pub async fn ready(call: Call) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?;
    if gateway.is_draining() {
        return Err(ApiError::new(Code::ServiceUnavailable, "Shutting down").retry_after_s(1));
    }
    if gateway.recorder.state().stalled {
        return Err(ApiError::unavailable("usage records cannot be written"));
    }
    let db = gateway.db.clone();
    let ping = gateway.db.run(async move { store::ping(&mut *db.acquire().await?).await });
    match tokio::time::timeout(PING_MAX, ping).await {
        Ok(Ok(())) => Ok(HttpResponse::Ok().json(json!({ "status": "ready" }))),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(ApiError::unavailable("the database did not answer in time")),
    }
}

/// `GET /`.
pub async fn root(_call: Call) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(json!({
        "name": "KairosRoute",
        "version": env!("CARGO_PKG_VERSION"),
        "api": "/v1",
        "accounts": "/api/auth",
    })))
}

/// `GET /.well-known/jwks.json`: the public key that credentials for MCP servers are sealed with. `{"keys": [JWK]}`,
/// without a key where the operator has configured none.
pub async fn keys(call: Call) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?;
    let jwks = gateway.settings.mcp_opener.as_ref().map_or(r#"{"keys":[]}"#, |opener| opener.jwks());
    let headers = (header::CACHE_CONTROL, "public, max-age=300");
    Ok(HttpResponse::Ok().insert_header(headers).content_type("application/json").body(jwks.to_owned()))
}
