//! API keys: the list, one key with its rules and provider keys, making and revoking. Forms become the same bodies
//! that the JSON API takes, so that the rules about them stand in one place.

use crate::{
    accounts::{
        Accounts,
        keys::{CreatedKey, KeyDetails},
        patch::KeyBody,
        people::KeyPage,
        roles::Capability,
    },
    dashboard::{
        frame::{FormError, Frame, PageError, page_of, see_other, state},
        routes::Visit,
        view::{self, Moment},
    },
    domain::{
        ids::ApiKeyId,
        policy::ByokFallback,
        provider::{PROVIDERS, ProviderId},
    },
    store::{
        api_keys::ApiKey,
        provider_keys::{KeyOwner, KeyStatus, StoredProviderKey},
        sessions::{Person, Session},
    },
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use serde_json::{Value, json};

#[derive(Template)]
#[template(path = "keys.html")]
struct ListPage<'a> {
    frame: &'a Frame,
    live: Vec<KeyRow>,
    ended: Vec<KeyRow>,
    may_write: bool,
    name: &'a str,
}

struct KeyRow {
    link: String,
    name: String,
    last4: String,
    created: Moment,
    ends: Option<Moment>,
}

#[derive(Template)]
#[template(path = "key.html")]
struct KeyTemplate<'a> {
    frame: &'a Frame,
    /// Shown once, in the answer to the form that made the key.
    secret: &'a str,
    id: String,
    name: &'a str,
    last4: &'a str,
    created: Moment,
    revoked: Option<Moment>,
    expires: String,
    never_falls_back: bool,
    allowed_providers: String,
    excluded_providers: String,
    allowed_models: String,
    provider_keys: Vec<ProviderKeyRow>,
    /// Of the organization, for this key among others.
    shared_keys: Vec<ProviderKeyRow>,
    warnings: Vec<String>,
    providers: Vec<&'static str>,
    may_write: bool,
}

struct ProviderKeyRow {
    action: String,
    provider: &'static str,
    label: String,
    last4: String,
    fingerprint: String,
    status: &'static str,
    status_class: &'static str,
    models: String,
    base_url: String,
    enabled: bool,
    last_used: Option<Moment>,
    last_error: String,
}

/// `GET /o/{org}/keys`.
pub async fn list(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    list_page(visit, StatusCode::OK).await
}

async fn list_page(visit: Visit<Session>, status: StatusCode) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let keys = accounts.overview(Person::Member(visit.who), KeyPage::default()).await?.api_keys;
    let frame = visit.frame.titled("API keys");
    let row = |key: &ApiKey| KeyRow {
        link: format!("{}/keys/{}", frame.home, key.id),
        name: key.name.clone(),
        last4: key.last4.clone(),
        created: view::moment(key.created_at),
        ends: key.revoked_at.or(key.policy.expires_at).map(view::moment),
    };
    let (live, ended): (Vec<&ApiKey>, Vec<&ApiKey>) = keys.iter().partition(|key| key.revoked_at.is_none());
    let template = ListPage {
        live: live.into_iter().rev().map(row).collect(),
        ended: ended.into_iter().rev().map(row).collect(),
        may_write: visit.who.role.can(Capability::WriteKeys),
        name: visit.form.get("name"),
        frame: &frame,
    };
    Ok(page_of(&template, status))
}

/// `POST /o/{org}/keys`.
pub async fn create(mut visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let made = match body(json!({ "name": visit.form.get("name") })) {
        Ok(body) => accounts.create_key(visit.who, body).await.map_err(PageError::from),
        Err(error) => Err(error),
    };
    match made {
        Ok(CreatedKey { secret, details }) => {
            let frame = visit.frame.titled("API key");
            let may_write = visit.who.role.can(Capability::WriteKeys);
            Ok(page_of(&key_page(&frame, &details, secret.expose(), may_write), StatusCode::CREATED))
        }
        Err(PageError::Form(error)) => {
            visit.frame.error = Some(error);
            list_page(visit, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error),
    }
}

/// `GET /o/{org}/keys/{id}`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let done = match visit.form.get("done") {
        "saved" => "Saved.",
        "added" => "The provider key was added.",
        "removed" => "The provider key was removed.",
        "valid" => "The provider accepts this key.",
        "invalid" => "The provider does not accept this key; its answer stands in the list.",
        "unknown" => "The provider did not say whether the key is valid; its answer stands in the list.",
        _ => "",
    };
    show_key(visit, done, StatusCode::OK).await
}

/// The page of the key in the path, after a form too.
pub(super) async fn show_key(
    mut visit: Visit<Session>,
    done: &'static str,
    status: StatusCode,
) -> Result<HttpResponse, PageError> {
    let details = state::<Accounts>(&visit.call)?.get_key(visit.who, key_id(&visit)?).await?;
    let shared_keys = shared_keys(&visit, &details.key).await?;
    visit.frame.done = done;
    let frame = visit.frame.titled("API key");
    let may_write = visit.who.role.can(Capability::WriteKeys) && details.key.revoked_at.is_none();
    let template = KeyTemplate { shared_keys, ..key_page(&frame, &details, "", may_write) };
    Ok(page_of(&template, status))
}

/// The organization's provider keys that this API key may use, for a role that sees them.
async fn shared_keys(visit: &Visit<Session>, key: &ApiKey) -> Result<Vec<ProviderKeyRow>, PageError> {
    if !visit.who.role.has_all_keys() {
        return Ok(Vec::new());
    }
    let shared = state::<Accounts>(&visit.call)?.list_shared_keys(visit.who).await?.keys;
    let serves = |stored: &&StoredProviderKey| match &stored.owner {
        KeyOwner::Organization(Some(api_keys)) => api_keys.contains(&key.id),
        KeyOwner::Organization(None) | KeyOwner::ApiKey => true,
    };
    Ok(shared.iter().filter(serves).map(|stored| provider_key_row(stored, &visit.frame, key)).collect())
}

/// `POST /o/{org}/keys/{id}`: name and rules.
pub async fn change(mut visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let list = |field: &str| -> Value {
        let items: Vec<&str> =
            visit.form.get(field).split([',', '\n']).map(str::trim).filter(|item| !item.is_empty()).collect();
        if items.is_empty() { Value::Null } else { json!(items) }
    };
    let text = |field: &str| visit.form.given(field).map_or(Value::Null, |text| json!(text));
    let fallback = if visit.form.get("byokFallback") == "never" { "never" } else { "platform" };
    let wanted = json!({
        "name": text("name"),
        "expiresAt": text("expiresAt"),
        "byokFallback": fallback,
        "allowedProviders": list("allowedProviders"),
        "excludedProviders": list("excludedProviders"),
        "allowedModels": list("allowedModels"),
    });
    match apply(&visit, wanted).await {
        Ok(()) => Ok(see_other(&format!("{}?done=saved", visit.call.request.path()))),
        Err(PageError::Form(error)) => {
            visit.frame.error = Some(error);
            show_key(visit, "", StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error),
    }
}

/// Applies a merge patch to the key in the path.
pub(super) async fn apply(visit: &Visit<Session>, wanted: Value) -> Result<(), PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    accounts.change_key(visit.who, key_id(visit)?, body(wanted)?).await?;
    Ok(())
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage<'a> {
    frame: &'a Frame,
    heading: &'a str,
    consequence: &'a str,
    action: &'a str,
    expected: &'a str,
    button: &'a str,
    back: &'a str,
}

/// `GET /o/{org}/keys/{id}/revoke`.
pub async fn confirm_revoke(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    revoke_page(visit, StatusCode::OK).await
}

async fn revoke_page(visit: Visit<Session>, status: StatusCode) -> Result<HttpResponse, PageError> {
    let details = state::<Accounts>(&visit.call)?.get_key(visit.who, key_id(&visit)?).await?;
    let frame = visit.frame.titled("Revoke the API key");
    let back = format!("{}/keys/{}", frame.home, details.key.id);
    let template = ConfirmPage {
        heading: "Revoke the API key",
        consequence: "Requests with this key are refused from now on, on every machine within five seconds. The \
                      provider keys stored in it are deleted. This cannot be undone.",
        action: visit.call.request.path(),
        expected: &details.key.name,
        button: "Revoke the key",
        back: &back,
        frame: &frame,
    };
    Ok(page_of(&template, status))
}

/// `POST /o/{org}/keys/{id}/revoke`: the key's name must be typed.
pub async fn revoke(mut visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let (accounts, id) = (state::<Accounts>(&visit.call)?, key_id(&visit)?);
    let name = accounts.get_key(visit.who, id).await?.key.name;
    if visit.form.get("confirm") != name.trim() {
        visit.frame.error = Some(FormError {
            field: "confirm".to_owned(),
            message: format!("Type the name of the key to revoke it: {name}"),
        });
        return revoke_page(visit, StatusCode::UNPROCESSABLE_ENTITY).await;
    }
    accounts.revoke_key(visit.who, id).await?;
    Ok(see_other(&format!("{}/keys", visit.frame.home)))
}

/// The API key of the path. Text that is no id gets the answer of an id that is not there.
pub(super) fn key_id(visit: &Visit<Session>) -> Result<ApiKeyId, PageError> {
    visit.call.path("id").parse().map_err(|_| PageError::NotFound)
}

fn body(wanted: Value) -> Result<KeyBody, PageError> {
    serde_json::from_value(wanted).map_err(|error| PageError::form("", error.to_string()))
}

fn key_page<'a>(
    frame: &'a Frame,
    details: &'a KeyDetails,
    secret: &'a str,
    may_write: bool,
) -> KeyTemplate<'a> {
    let key = &details.key;
    let names = |providers: &[ProviderId]| {
        providers.iter().map(|provider| provider.row().name).collect::<Vec<_>>().join(", ")
    };
    KeyTemplate {
        frame,
        secret,
        id: key.id.to_string(),
        name: &key.name,
        last4: &key.last4,
        created: view::moment(key.created_at),
        revoked: key.revoked_at.map(view::moment),
        expires: key.policy.expires_at.map(|at| view::moment(at).rfc3339).unwrap_or_default(),
        never_falls_back: key.policy.byok_fallback == ByokFallback::Never,
        allowed_providers: key.policy.allowed_providers.as_deref().map(names).unwrap_or_default(),
        excluded_providers: names(&key.policy.excluded_providers),
        allowed_models: key
            .policy
            .allowed_models
            .as_deref()
            .map(|models| models.join("\n"))
            .unwrap_or_default(),
        provider_keys: details
            .provider_keys
            .iter()
            .map(|stored| provider_key_row(stored, frame, key))
            .collect(),
        shared_keys: Vec::new(),
        warnings: details.warnings.iter().map(|warning| warning.message.clone()).collect(),
        providers: PROVIDERS.iter().map(|provider| provider.name).collect(),
        may_write,
    }
}

fn provider_key_row(stored: &StoredProviderKey, frame: &Frame, key: &ApiKey) -> ProviderKeyRow {
    ProviderKeyRow {
        action: format!("{}/keys/{}/provider-keys/{}", frame.home, key.id, stored.id),
        provider: stored.provider.row().name,
        label: stored.label.clone(),
        last4: stored.last4.clone(),
        fingerprint: stored.fingerprint.clone(),
        status: stored.status.as_str(),
        status_class: match stored.status {
            KeyStatus::Valid => "good",
            KeyStatus::Invalid => "bad",
            KeyStatus::Untested => "",
        },
        models: stored.models.join(", "),
        base_url: stored.base_url.clone().unwrap_or_default(),
        enabled: stored.enabled,
        last_used: stored.last_used_at.map(view::moment),
        last_error: stored.last_error.clone().unwrap_or_default(),
    }
}
