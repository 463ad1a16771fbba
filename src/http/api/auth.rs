//! Signing up, logging in and out, and what a person sees of itself.

use super::time_text;
use crate::{
    accounts::{
        Accounts,
        people::{Joining, Login},
    },
    domain::{ids::OrgId, secret::Secret},
    http::{error::ApiError, extract::Call},
    store::{api_keys::ApiKey, sessions::Person},
};
use actix_web::{HttpResponse, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignupBody {
    email: String,
    password: Secret,
    organization: Option<String>,
    invitation: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginBody {
    email: String,
    password: Secret,
    /// For a person of several organizations.
    organization: Option<String>,
    invitation: Option<Secret>,
}

/// `POST /api/auth/signup`.
pub async fn sign_up(mut call: Call) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: SignupBody = call.json().await?;
    let joining = match (body.organization, body.invitation) {
        (Some(name), None) => Joining::Organization(name),
        (None, Some(token)) => Joining::Invitation(token),
        _ => {
            let message = "Give either `organization` or `invitation`";
            return Err(ApiError::invalid("organization", message));
        }
    };
    let from = call.client_ip(&accounts.rules().trusted_proxies);
    let done = accounts.sign_up(&body.email, &body.password, joining, from).await?;
    Ok(HttpResponse::build(StatusCode::CREATED).json(json!({
        "sessionToken": done.session_token.expose(),
        "user": { "id": done.user_id, "email": done.email },
        "organization": { "id": done.organization_id, "name": done.organization_name },
    })))
}

/// `POST /api/auth/login`.
pub async fn log_in(mut call: Call) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: LoginBody = call.json().await?;
    let organization = match body.organization.as_deref().map(str::parse::<OrgId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(error)) => return Err(ApiError::invalid("organization", error.to_string())),
    };
    let from = call.client_ip(&accounts.rules().trusted_proxies);
    let login =
        Login { email: body.email, password: body.password, organization, invitation: body.invitation };
    let token = accounts.log_in(login, from).await?;
    Ok(HttpResponse::Ok().json(json!({ "sessionToken": token.expose() })))
}

/// `POST /api/auth/logout`.
pub async fn log_out(call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    call.state::<Accounts>()?.log_out(who).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /api/auth`.
pub async fn get_account(call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    let overview = call.state::<Accounts>()?.overview(who).await?;
    let keys: Vec<Value> = overview.api_keys.iter().map(listed_key).collect();
    let (organization, role) = match &overview.membership {
        Some((id, name, role)) => (json!({ "id": id, "name": name }), role.as_str()),
        None => (Value::Null, "operator"),
    };
    Ok(HttpResponse::Ok().json(json!({
        "user": { "id": overview.user_id, "email": overview.email },
        "organization": organization,
        "role": role,
        "apiKeys": keys,
    })))
}

fn listed_key(key: &ApiKey) -> Value {
    json!({
        "keyId": key.id,
        "name": key.name,
        "last4": key.last4,
        "createdAt": time_text(key.created_at),
        "expiresAt": key.policy.expires_at.map(time_text),
        "revokedAt": key.revoked_at.map(time_text),
    })
}
