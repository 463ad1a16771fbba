//! `/api/webhooks`: the targets of alerts.

use super::time_text;
use crate::{
    alerts::{AlertError, Alerts, KINDS, Webhook},
    domain::{ids::WebhookId, secret::Secret},
    http::{
        error::{ApiError, Code},
        extract::Call,
    },
    store::sessions::Session,
};
use actix_web::{HttpResponse, http::StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookBody {
    url: String,
    #[serde(default)]
    events: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RotateBody {
    #[serde(default)]
    grace_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WebhookQuery {
    webhook_id: Option<String>,
}

impl From<AlertError> for ApiError {
    fn from(error: AlertError) -> Self {
        match error {
            AlertError::Invalid { param, message } => Self::invalid(param, message),
            AlertError::NotFound => Self::not_found("webhook"),
            AlertError::Limit(message) => Self::new(Code::Conflict, message),
            AlertError::Store(cause) => Self::from(cause),
        }
    }
}

/// `GET /api/webhooks`.
pub async fn list(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let webhooks = call.state::<Alerts>()?.list(session.scope).await?;
    let webhooks: Vec<Value> = webhooks.iter().map(|webhook| Value::Object(view(webhook))).collect();
    Ok(HttpResponse::Ok().json(json!({ "webhooks": webhooks, "events": KINDS })))
}

/// `POST /api/webhooks`. The secret is shown only this once.
pub async fn create(mut call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let alerts = call.state::<Alerts>()?;
    let WebhookBody { url, events } = call.json().await?;
    let actor = session.user_id.to_string();
    let (webhook, secret) = alerts.create(session.scope, &actor, &url, events).await?;
    let mut answer = view(&webhook);
    insert_secret(&mut answer, &secret);
    Ok(HttpResponse::build(StatusCode::CREATED).json(answer))
}

/// `POST /api/webhooks/{id}/rotate`.
pub async fn rotate(mut call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let (alerts, id) = (call.state::<Alerts>()?, webhook_id(&call)?);
    let RotateBody { grace_seconds } = call.json_or_default().await?;
    let (actor, grace) = (session.user_id.to_string(), Duration::from_secs(grace_seconds));
    let (secret, until) = alerts.rotate(session.scope, &actor, id, grace).await?;
    let mut answer = Map::new();
    answer.insert("id".into(), json!(id));
    answer.insert("previousSecretUntil".into(), json!(time_text(until)));
    insert_secret(&mut answer, &secret);
    Ok(HttpResponse::Ok().json(answer))
}

/// `POST /api/webhooks/{id}/test`.
pub async fn test(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let attempt = call.state::<Alerts>()?.test(session.scope, webhook_id(&call)?).await?;
    Ok(HttpResponse::Ok().json(json!({
        "delivered": attempt.error.is_none(),
        "status": attempt.status,
        "message": attempt.error.unwrap_or_else(|| "The receiver accepted the message".to_owned()),
    })))
}

/// `DELETE /api/webhooks/{id}` and `DELETE /api/webhooks?webhookId=`.
pub async fn delete(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let (alerts, id) = (call.state::<Alerts>()?, webhook_id(&call)?);
    alerts.delete(session.scope, &session.user_id.to_string(), id).await?;
    Ok(HttpResponse::Ok().json(json!({ "id": id, "deleted": true })))
}

/// A text that is not an id gets the same answer as a missing id.
fn webhook_id(call: &Call) -> Result<WebhookId, ApiError> {
    let text = match call.path("id") {
        "" => call.query::<WebhookQuery>()?.webhook_id.unwrap_or_default(),
        text => text.to_owned(),
    };
    if text.is_empty() {
        return Err(ApiError::invalid("webhookId", "`webhookId` is missing in the query"));
    }
    text.parse().map_err(|_| ApiError::not_found("webhook"))
}

fn insert_secret(view: &mut Map<String, Value>, secret: &Secret) {
    view.insert("secret".into(), json!(secret.expose()));
}

fn view(webhook: &Webhook) -> Map<String, Value> {
    let view = json!({
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "createdAt": time_text(webhook.created_at),
        "previousSecretUntil": webhook.previous_until.map(time_text),
        "lastSentAt": webhook.last_sent_at.map(time_text),
        "lastStatus": webhook.last_status,
        "lastError": webhook.last_error,
    });
    match view {
        Value::Object(view) => view,
        _ => Map::new(),
    }
}
