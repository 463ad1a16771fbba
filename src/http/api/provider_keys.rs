//! `/api/provider-keys`: the organization's provider keys, for all of its API keys or for listed ones. Secrets are
//! never returned.

use super::keys::{provider_key_view, verdict_view};
use crate::{
    accounts::{
        Accounts,
        patch::OrganizationKeysBody,
        shared_keys::{SharedKeys, Unnamed},
    },
    domain::{ids::ProviderKeyId, provider::ProviderId},
    http::{
        error::ApiError,
        extract::{ACCOUNT_BODY_BYTES_MAX, Call},
        idempotent::{always, once},
    },
    store::{idempotency::Holder, sessions::Session},
};
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdQuery {
    id: Option<String>,
}

/// `GET /api/provider-keys`.
pub async fn list(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let keys = call.state::<Accounts>()?.list_shared_keys(session).await?;
    Ok(HttpResponse::Ok().json(view(&keys)))
}

/// `PUT /api/provider-keys`: removes the providers that it does not name.
pub async fn replace(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    change(call, session, Unnamed::Removed).await
}

/// `PATCH /api/provider-keys`: keeps the providers that it does not name.
pub async fn merge(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    change(call, session, Unnamed::Stay).await
}

async fn change(call: Call, session: Session, unnamed: Unnamed) -> Result<HttpResponse, ApiError> {
    let holder = Holder::of_member(&session);
    let handler = move |mut call: Call| async move {
        let accounts = call.state::<Accounts>()?;
        let body: OrganizationKeysBody = call.json().await?;
        let keys = accounts.change_shared_keys(session, body, unnamed).await?;
        Ok(HttpResponse::Ok().json(view(&keys)))
    };
    once(call, holder, ACCOUNT_BODY_BYTES_MAX, always, handler).await
}

/// `DELETE /api/provider-keys/{id}` and `DELETE /api/provider-keys?id=`.
pub async fn delete(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let in_path = call.path("id").to_owned();
    let id = match in_path.is_empty() {
        true => call.query::<IdQuery>()?.id,
        false => Some(in_path),
    };
    let id = id.ok_or_else(|| ApiError::invalid("id", "`id` is missing in the query"))?;
    let id: ProviderKeyId = id.parse().map_err(|_| ApiError::not_found("provider key"))?;
    call.state::<Accounts>()?.delete_shared_key(session, id).await?;
    Ok(HttpResponse::Ok().json(json!({ "id": id, "deleted": true })))
}

/// `POST /api/provider-keys/{provider}/test?id=`.
pub async fn test(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let provider =
        ProviderId::by_name(call.path("provider")).ok_or_else(|| ApiError::unknown_provider("provider"))?;
    let wanted = match call.query::<IdQuery>()?.id.as_deref().map(str::parse) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(ApiError::not_found("provider key")),
    };
    let checked = call.state::<Accounts>()?.test_shared_key(session, provider, wanted).await?;
    Ok(HttpResponse::Ok().json(verdict_view(&checked)))
}

fn view(keys: &SharedKeys) -> Value {
    let views: Vec<Value> =
        keys.keys.iter().map(|stored| provider_key_view(stored, &keys.warnings)).collect();
    json!({ "providerKeys": views })
}
