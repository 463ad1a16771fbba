//! Platform API keys and the provider keys in them. A key's id is in the path or, for clients that use the query, in
//! `keyId`.

use super::{
    organization::{insert_budget, insert_rates},
    time_text,
};
use crate::{
    accounts::{
        Accounts,
        keys::{KeyDetails, Warning},
        patch::KeyBody,
        rotation::RotateBody,
    },
    credentials::check::{Checked, Verdict},
    domain::{ids::ApiKeyId, policy::KeyPolicy, provider::ProviderId},
    http::{
        error::ApiError,
        extract::{ACCOUNT_BODY_BYTES_MAX, Call},
        idempotent::{always, once},
    },
    store::{
        idempotency::Holder,
        provider_keys::{KeyOwner, StoredProviderKey},
        sessions::Session,
    },
};
use actix_web::{HttpResponse, http::StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KeyQuery {
    key_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestQuery {
    id: Option<String>,
}

/// `POST /api/auth`.
pub async fn create_key(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let holder = Holder::of_member(&session);
    once(call, holder, ACCOUNT_BODY_BYTES_MAX, always, move |call| make_key(call, session)).await
}

async fn make_key(mut call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: KeyBody = call.json().await?;
    let created = accounts.create_key(session, body).await?;
    let mut answer = key_view(&created.details);
    answer.insert("key".into(), json!(created.secret.expose()));
    Ok(HttpResponse::build(StatusCode::CREATED).json(answer))
}

/// `POST /api/auth/keys/{id}/rotate`.
pub async fn rotate_key(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let holder = Holder::of_member(&session);
    let handler = move |mut call: Call| async move {
        let (accounts, id) = (call.state::<Accounts>()?, key_id(&call)?);
        let body: RotateBody = call.json_or_default().await?;
        let rotated = accounts.rotate_key(session, id, body).await?;
        let mut answer = key_view(&rotated.details);
        answer.insert("key".into(), json!(rotated.secret.expose()));
        Ok(HttpResponse::Ok().json(answer))
    };
    once(call, holder, ACCOUNT_BODY_BYTES_MAX, always, handler).await
}

/// `GET /api/auth/keys/{id}`.
pub async fn get_key(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let details = call.state::<Accounts>()?.get_key(session, key_id(&call)?).await?;
    Ok(HttpResponse::Ok().json(key_view(&details)))
}

/// `PATCH /api/auth?keyId=` and `PATCH /api/auth/keys/{id}`.
pub async fn change_key(mut call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let id = key_id(&call)?;
    let body: KeyBody = call.json().await?;
    let details = accounts.change_key(session, id, body).await?;
    Ok(HttpResponse::Ok().json(key_view(&details)))
}

/// `DELETE /api/auth?keyId=` and `DELETE /api/auth/keys/{id}`.
pub async fn revoke_key(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let id = key_id(&call)?;
    let revoked_at = call.state::<Accounts>()?.revoke_key(session, id).await?;
    Ok(HttpResponse::Ok().json(json!({ "keyId": id, "revokedAt": time_text(revoked_at) })))
}

/// `POST /api/auth/keys/{id}/provider-keys/{provider}/test?id=`.
pub async fn test_provider_key(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let provider =
        ProviderId::by_name(call.path("provider")).ok_or_else(|| ApiError::unknown_provider("provider"))?;
    let query: TestQuery = call.query()?;
    let wanted = match query.id.as_deref().map(str::parse) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(ApiError::not_found("provider key")),
    };
    let checked = accounts.test_provider_key(session, key_id(&call)?, provider, wanted).await?;
    Ok(HttpResponse::Ok().json(verdict_view(&checked)))
}

/// The result of a free call at a provider.
pub(super) fn verdict_view(checked: &Checked) -> Value {
    json!({
        "valid": checked.verdict == Verdict::Valid,
        "status": checked.status,
        "message": checked.message,
    })
}

/// A text that is not an id gets the same answer as a missing id.
fn key_id(call: &Call) -> Result<ApiKeyId, ApiError> {
    let in_query = match call.path("id") {
        "" => call.query::<KeyQuery>()?.key_id,
        _ => None,
    };
    let text = match (&in_query, call.path("id")) {
        (Some(text), _) => text.as_str(),
        (None, "") => return Err(ApiError::invalid("keyId", "`keyId` is missing in the query")),
        (None, text) => text,
    };
    text.parse().map_err(|_| ApiError::not_found("API key"))
}

fn key_view(details: &KeyDetails) -> Map<String, Value> {
    let key = &details.key;
    let KeyPolicy {
        byok_fallback,
        allowed_providers,
        excluded_providers,
        allowed_models,
        min_quality_permille,
        routing_mode,
        cache,
        expires_at,
        rules,
        budget,
    } = &key.policy;
    let provider_keys: Vec<Value> =
        details.provider_keys.iter().map(|stored| provider_key_view(stored, &details.warnings)).collect();
    let view = json!({
        "keyId": key.id,
        "name": key.name,
        "last4": key.last4,
        "previousLast4": key.previous.as_ref().map(|previous| &previous.last4),
        "previousWorksUntil": key.previous.as_ref().map(|previous| time_text(previous.works_until)),
        "createdAt": time_text(key.created_at),
        "createdBy": key.created_by,
        "revokedAt": key.revoked_at.map(time_text),
        "byokFallback": byok_fallback,
        "expiresAt": expires_at.map(time_text),
        "allowedProviders": allowed_providers,
        "excludedProviders": excluded_providers,
        "allowedModels": allowed_models,
        "minQualityThreshold": min_quality_permille.map(|permille| f64::from(permille) / 1_000.0),
        "routingMode": routing_mode,
        "cache": cache,
        "providerKeys": provider_keys,
    });
    let Value::Object(mut view) = view else { return Map::new() };
    insert_rates(&mut view, "", &rules.rates);
    insert_rates(&mut view, "endUser", &rules.end_user);
    insert_budget(&mut view, *budget, details.budget.as_ref(), &details.organization, details.now);
    let nets: Vec<String> = rules.allowed_ips.iter().map(ToString::to_string).collect();
    view.insert("allowedIps".into(), json!((!nets.is_empty()).then_some(nets)));
    view.insert("zdr".into(), json!(rules.zdr));
    view.insert("dataCollection".into(), json!(if rules.deny_collection { "deny" } else { "allow" }));
    view.insert(
        "maxCostPerRequestUsd".into(),
        json!(rules.max_cost_per_request().map(|amount| amount.to_string())),
    );
    view
}

/// A stored provider key for its organization.
pub(super) fn provider_key_view(stored: &StoredProviderKey, warnings: &[Warning]) -> Value {
    let mut view = json!({
        "id": stored.id,
        "provider": stored.provider,
        "label": stored.label,
        "last4": stored.last4,
        "fingerprint": stored.fingerprint,
        "status": stored.status,
        "models": stored.models,
        "enabled": stored.enabled,
        "baseUrl": stored.base_url,
        "createdAt": time_text(stored.created_at),
        "lastUsedAt": stored.last_used_at.map(time_text),
        "lastError": stored.last_error,
    });
    if let (Some(view), KeyOwner::Organization(api_keys)) = (view.as_object_mut(), &stored.owner) {
        view.insert("apiKeys".into(), json!(api_keys));
    }
    let warning = warnings.iter().find(|warning| warning.id == stored.id);
    if let (Some(view), Some(warning)) = (view.as_object_mut(), warning) {
        view.insert("warning".into(), json!(warning.message));
    }
    view
}
