//! The provider keys of one API key: add, test, order, disable, replace, remove. Each action is the list of its
//! provider, changed and sent through the same merge patch as the JSON API's.

use super::keys::{apply, key_id, show_key};
use crate::{
    accounts::Accounts,
    credentials::check::Verdict,
    dashboard::{
        frame::{PageError, see_other, state},
        routes::Visit,
    },
    domain::{ids::ProviderKeyId, provider::ProviderId},
    store::{provider_keys::StoredProviderKey, sessions::Session},
};
use actix_web::{HttpResponse, http::StatusCode};
use serde_json::{Value, json};

/// `POST /o/{org}/keys/{id}/provider-keys`: adds a key behind the others of its provider, and tests it at once.
pub async fn add(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    match added(&visit).await {
        Ok(done) => back(&visit, done),
        Err(error) => again(visit, error).await,
    }
}

async fn added(visit: &Visit<Session>) -> Result<&'static str, PageError> {
    let provider = ProviderId::by_name(visit.form.get("provider"))
        .ok_or_else(|| PageError::form("provider", "Choose a provider from the list"))?;
    let secret = visit.form.given("key").ok_or_else(|| PageError::form("key", "Enter the provider's key"))?;
    let mut list = kept(visit, provider).await?;
    let mut entry = json!({ "key": secret, "label": visit.form.get("label") });
    if let (Some(url), Some(entry)) = (visit.form.given("baseUrl"), entry.as_object_mut()) {
        entry.insert("baseUrl".to_owned(), json!(url));
    }
    list.push(entry);
    apply(visit, json!({ "providerKeys": { provider.as_str(): list } })).await?;
    let stored = stored(visit).await?;
    match stored.iter().rfind(|key| key.provider == provider) {
        Some(newest) => tested(visit, newest).await,
        None => Ok("added"),
    }
}

/// `POST /o/{org}/keys/{id}/provider-keys/{provider_key}`: does what the pressed button says.
pub async fn act(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    match acted(&visit).await {
        Ok(done) => back(&visit, done),
        Err(error) => again(visit, error).await,
    }
}

async fn acted(visit: &Visit<Session>) -> Result<&'static str, PageError> {
    let id: ProviderKeyId = visit.call.path("provider_key").parse().map_err(|_| PageError::NotFound)?;
    let stored = stored(visit).await?;
    let key = stored.iter().find(|key| key.id == id).ok_or(PageError::NotFound)?;
    let siblings: Vec<&StoredProviderKey> =
        stored.iter().filter(|other| other.provider == key.provider).collect();
    let at = siblings.iter().position(|other| other.id == id).unwrap_or(0);
    let mut list: Vec<Value> = siblings.iter().map(|other| json!({ "id": other.id })).collect();
    let done = match visit.form.get("action") {
        "test" => return tested(visit, key).await,
        "up" if at > 0 => {
            list.swap(at, at - 1);
            "saved"
        }
        "down" if at + 1 < list.len() => {
            list.swap(at, at + 1);
            "saved"
        }
        "up" | "down" => return Ok("saved"),
        "remove" => {
            list.remove(at);
            "removed"
        }
        action @ ("enable" | "disable") => {
            set(&mut list, at, "enabled", json!(action == "enable"));
            "saved"
        }
        "replace" => {
            let secret =
                visit.form.given("key").ok_or_else(|| PageError::form("key", "Enter the new key"))?;
            set(&mut list, at, "key", json!(secret));
            "saved"
        }
        _ => return Err(PageError::form("", "Unknown action; reload the page")),
    };
    apply(visit, json!({ "providerKeys": { key.provider.as_str(): list } })).await?;
    Ok(done)
}

fn set(list: &mut [Value], at: usize, field: &str, value: Value) {
    if let Some(entry) = list.get_mut(at).and_then(Value::as_object_mut) {
        entry.insert(field.to_owned(), value);
    }
}

async fn stored(visit: &Visit<Session>) -> Result<Vec<StoredProviderKey>, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    Ok(accounts.get_key(visit.who, key_id(visit)?).await?.provider_keys)
}

/// The stored keys of a provider, as a list that keeps them.
async fn kept(visit: &Visit<Session>, provider: ProviderId) -> Result<Vec<Value>, PageError> {
    let keys = stored(visit).await?;
    Ok(keys.iter().filter(|key| key.provider == provider).map(|key| json!({ "id": key.id })).collect())
}

async fn tested(visit: &Visit<Session>, key: &StoredProviderKey) -> Result<&'static str, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let checked = accounts.test_provider_key(visit.who, key_id(visit)?, key.provider, Some(key.id)).await?;
    Ok(match checked.verdict {
        Verdict::Valid => "valid",
        Verdict::Invalid => "invalid",
        Verdict::Unknown => "unknown",
    })
}

fn back(visit: &Visit<Session>, done: &str) -> Result<HttpResponse, PageError> {
    Ok(see_other(&format!("{}/keys/{}?done={done}#provider-keys", visit.frame.home, key_id(visit)?)))
}

async fn again(mut visit: Visit<Session>, error: PageError) -> Result<HttpResponse, PageError> {
    match error {
        PageError::Form(error) => {
            visit.frame.error = Some(error);
            show_key(visit, "", StatusCode::UNPROCESSABLE_ENTITY).await
        }
        error => Err(error),
    }
}
