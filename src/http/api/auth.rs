//! Signing up, logging in and out, and what a person sees of itself.

use super::time_text;
use crate::{
    accounts::{
        AccountError, Accounts,
        log_in::{LoggedIn, Login},
        people::{Joining, KeyPage},
        sessions::Origin,
    },
    domain::{
        ids::{OrgId, SessionId},
        secret::Secret,
    },
    http::{error::ApiError, extract::Call},
    store::{
        api_keys::ApiKey,
        sessions::{ListedSession, Person},
    },
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
    /// Of the second factor, where it is on.
    code: Option<Secret>,
    /// For a person of several organizations.
    organization: Option<String>,
    invitation: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PasswordBody {
    current_password: Secret,
    new_password: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PageQuery {
    /// The last key of the page before.
    after: Option<String>,
    limit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SessionQuery {
    session_id: Option<String>,
    keep_current: Option<bool>,
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
    let done = accounts.sign_up(&body.email, &body.password, joining, origin(&call, &accounts)).await?;
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
    let LoginBody { email, password, code, invitation, .. } = body;
    let login = Login { email, password, code, organization, invitation };
    match accounts.log_in(login, origin(&call, &accounts)).await? {
        LoggedIn::Session(token) => Ok(HttpResponse::Ok().json(json!({ "sessionToken": token.expose() }))),
        LoggedIn::CodeRequired { .. } => Err(AccountError::CodeRequired.into()),
    }
}

/// `POST /api/auth/logout`.
pub async fn log_out(call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    call.state::<Accounts>()?.log_out(who).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /api/auth/password`.
pub async fn change_password(mut call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: PasswordBody = call.json().await?;
    let network = origin(&call, &accounts).network();
    accounts.change_password(who, &body.current_password, &body.new_password, network).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /api/auth/sessions`.
pub async fn list_sessions(call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    let sessions = call.state::<Accounts>()?.list_sessions(who).await?;
    let sessions: Vec<Value> =
        sessions.iter().map(|session| session_view(session, who.session_id())).collect();
    Ok(HttpResponse::Ok().json(json!({ "sessions": sessions })))
}

/// `DELETE /api/auth/sessions`: all of them, with `?keepCurrent=true` all others; with `?sessionId=`, or its id in the
/// path, one.
pub async fn end_sessions(call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let query: SessionQuery = call.query()?;
    let named = match call.path("id") {
        "" => query.session_id,
        id => Some(id.to_owned()),
    };
    match named {
        None => accounts.end_sessions(who, query.keep_current.unwrap_or(false)).await?,
        Some(id) => {
            let id: SessionId = id.parse().map_err(|_| ApiError::not_found("session"))?;
            accounts.end_session(who, id).await?;
        }
    }
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /api/auth`, with a page of API keys.
pub async fn get_account(call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    let query: PageQuery = call.query()?;
    let after = match query.after.as_deref().map(str::parse) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(ApiError::invalid("after", "`after` must be the id of an API key")),
    };
    let page = KeyPage { after, keys_max: query.limit };
    let overview = call.state::<Accounts>()?.overview(who, page).await?;
    let keys: Vec<Value> = overview.api_keys.iter().map(listed_key).collect();
    let (organization, role) = match &overview.membership {
        Some((id, name, role)) => (json!({ "id": id, "name": name }), role.as_str()),
        None => (Value::Null, "operator"),
    };
    Ok(HttpResponse::Ok().json(json!({
        "user": { "id": overview.user_id, "email": overview.email, "emailVerified": overview.is_verified },
        "organization": organization,
        "role": role,
        "apiKeys": keys,
        "next": overview.next,
    })))
}

/// Where the call comes from.
fn origin(call: &Call, accounts: &Accounts) -> Origin {
    Origin::new(call.client_ip(&accounts.rules().trusted_proxies), call.header("user-agent"))
}

fn session_view(session: &ListedSession, current: SessionId) -> Value {
    json!({
        "sessionId": session.id,
        "organizationId": session.organization,
        "createdAt": time_text(session.created_at),
        "lastSeenAt": time_text(session.last_seen_at),
        "expiresAt": time_text(session.expires_at),
        "address": session.address,
        "userAgent": session.user_agent,
        "current": session.id == current,
    })
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
