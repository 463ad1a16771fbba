//! The log-in of indoxhub's client: an API key for a token of half an hour. The token is also set as a cookie, which
//! the client requires; neither can manage accounts.

use crate::{
    accounts::{AuthError, Authenticator, token::LIFETIME},
    domain::secret::Secret,
    http::{
        error::{ApiError, Code},
        extract::{Call, TOKEN_COOKIE, presented_key},
    },
    store::api_keys::Principal,
};
use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, SET_COOKIE},
    web,
};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// The form of the second log-in has two short fields.
const FORM_BYTES_MAX: usize = 4 * 1024;

/// `POST /api/v1/auth/api-key`.
pub async fn log_in(call: Call, _principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let presented = presented_key(call.request.headers()).ok_or(AuthError::Missing)?;
    let token = call.state::<Authenticator>()?.issue_token(presented).await?;
    let seconds = LIFETIME.whole_seconds();
    // Over plain HTTP, as on a developer's machine, the browser would not send back a cookie that is only for HTTPS.
    let is_https = call.header("x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    let secure = if is_https { "; Secure" } else { "" };
    let cookie = format!(
        "{TOKEN_COOKIE}={}; Path=/api/v1; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
        token.expose()
    );
    Ok(HttpResponse::Ok()
        .insert_header((SET_COOKIE, cookie))
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "access_token": token.expose(), "token_type": "bearer", "expires_in": seconds })))
}

#[derive(Deserialize)]
struct TokenForm {
    password: Secret,
}

/// `POST /api/v1/auth/token`: the client calls it after the log-in above was refused, with the API key as password. It
/// shows the answer to its user, so the answer states what is wrong with the key; it never logs anybody in.
pub async fn refuse_password(mut call: Call) -> Result<HttpResponse, ApiError> {
    let hint = "log in with POST /api/v1/auth/api-key and the API key in the header X-API-Key";
    let body = call.bytes(FORM_BYTES_MAX).await?;
    let text = String::from_utf8_lossy(&body);
    let Ok(form) = web::Query::<TokenForm>::from_query(text.trim()) else {
        return Err(ApiError::new(Code::InvalidRequest, format!("No log-in by password here: {hint}")));
    };
    match call.state::<Authenticator>()?.authenticate(form.password.expose()).await {
        Ok(_) => Err(ApiError::invalid("password", format!("No log-in by password here: {hint}"))),
        Err(refused) => Err(refused.into()),
    }
}
