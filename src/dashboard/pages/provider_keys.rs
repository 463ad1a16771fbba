//! Provider keys, of one API key or of the organization: add, test, order, disable, replace, rename, remove. Each action
//! is the list of its provider, changed and sent through the same merge patch as the JSON API's.

use super::{
    key::{apply, show_key},
    keys::key_id,
    report,
};
use crate::{
    accounts::{Accounts, patch::OrganizationKeysBody, roles::Capability, shared_keys::Unnamed},
    credentials::check::{Checked, Verdict},
    dashboard::{
        frame::{Frame, PageError, page_of, see_other, state},
        names::Names,
        routes::Visit,
        view::{self, Moment},
    },
    domain::{
        ids::{ApiKeyId, ProviderKeyId},
        provider::{PROVIDERS, ProviderId},
    },
    store::{
        provider_keys::{KeyOwner, KeyStatus, StoredProviderKey},
        sessions::Session,
    },
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use serde_json::{Value, json};

/// Provider keys as a table.
#[derive(Default)]
pub(super) struct Rows {
    pub rows: Vec<Row>,
    pub may_write: bool,
}

/// One provider key.
pub(super) struct Row {
    pub action: String,
    pub provider: &'static str,
    pub place: String,
    pub label: String,
    pub last4: String,
    pub fingerprint: String,
    pub status: &'static str,
    pub status_class: &'static str,
    pub models: String,
    pub base_url: String,
    pub shared_with: String,
    pub enabled: bool,
    pub is_first: bool,
    pub is_last: bool,
    pub last_used: Option<Moment>,
    pub last_error: String,
}

impl Rows {
    /// For templates that show several tables.
    pub fn by_ref(&self) -> &Rows {
        self
    }

    /// Keys in the order of their lists. `action` begins the address of their forms; `names` are those of API keys.
    pub fn of(keys: &[StoredProviderKey], action: &str, names: &[(String, String)], may_write: bool) -> Rows {
        let siblings = |provider| keys.iter().filter(move |key| key.provider == provider);
        let row = |key: &StoredProviderKey| {
            let count = siblings(key.provider).count();
            let at = siblings(key.provider).position(|other| other.id == key.id).unwrap_or(0);
            Row {
                action: format!("{action}/{}", key.id),
                provider: key.provider.row().name,
                place: if count > 1 { format!("{} of {count}", at + 1) } else { String::new() },
                label: key.label.clone(),
                last4: key.last4.clone(),
                fingerprint: key.fingerprint.clone(),
                status: key.status.as_str(),
                status_class: match key.status {
                    KeyStatus::Valid => "good",
                    KeyStatus::Invalid => "bad",
                    KeyStatus::Untested => "",
                },
                models: key.models.join(", "),
                base_url: key.base_url.clone().unwrap_or_default(),
                shared_with: shared_with(key, names),
                enabled: key.enabled,
                is_first: at == 0,
                is_last: at + 1 == count,
                last_used: key.last_used_at.map(view::moment),
                last_error: key.last_error.clone().unwrap_or_default(),
            }
        };
        Rows { rows: keys.iter().map(row).collect(), may_write }
    }
}

fn shared_with(key: &StoredProviderKey, names: &[(String, String)]) -> String {
    match &key.owner {
        KeyOwner::ApiKey => String::new(),
        KeyOwner::Organization(None) => "all API keys".to_owned(),
        KeyOwner::Organization(Some(ids)) => {
            let name = |id: &ApiKeyId| {
                let id = id.to_string();
                names.iter().find(|(known, _)| *known == id).map_or(id, |(_, name)| name.clone())
            };
            ids.iter().map(name).collect::<Vec<_>>().join(", ")
        }
    }
}

/// The message of a page after a form.
pub(super) fn done(code: &str) -> &'static str {
    match code {
        "saved" => "Saved.",
        "added" => "The provider key was added.",
        "removed" => "The provider key was removed.",
        "valid" => "The provider accepts this key.",
        "invalid" => "The provider does not accept this key; its answer stands in the list.",
        "unknown" => "The provider did not say whether the key is valid; its answer stands in the list.",
        _ => "",
    }
}

#[derive(Template)]
#[template(path = "provider_keys.html")]
struct SharedPage<'a> {
    frame: &'a Frame,
    keys: Rows,
    providers: Vec<&'static str>,
    api_keys: &'a [(String, String)],
    action: String,
    may_write: bool,
}

/// `GET /o/{org}/provider-keys`: those of the organization.
pub async fn list(mut visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    visit.frame.done = done(visit.form.get("done"));
    shared_page(visit, StatusCode::OK).await
}

async fn shared_page(visit: Visit<Session>, status: StatusCode) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let keys = state::<Accounts>(&visit.call)?.list_shared_keys(session).await?.keys;
    let names =
        report(&visit.call, move |db| async move { Names::read(&mut *db.acquire().await?, &session).await })
            .await?;
    let frame = visit.frame.titled("Provider keys");
    let action = format!("{}/provider-keys", frame.home);
    let may_write = session.role.can(Capability::WriteKeys);
    let template = SharedPage {
        keys: Rows::of(&keys, &action, names.keys(), may_write),
        providers: PROVIDERS.iter().map(|provider| provider.name).collect(),
        api_keys: names.keys(),
        action,
        may_write,
        frame: &frame,
    };
    Ok(page_of(&template, status))
}

/// Whose provider keys a form is about.
#[derive(Clone, Copy)]
enum Owner {
    ApiKey(ApiKeyId),
    Organization,
}

impl Owner {
    fn of(visit: &Visit<Session>) -> Result<Owner, PageError> {
        match visit.call.path("id") {
            "" => Ok(Owner::Organization),
            _ => Ok(Owner::ApiKey(key_id(visit)?)),
        }
    }

    async fn stored(self, visit: &Visit<Session>) -> Result<Vec<StoredProviderKey>, PageError> {
        let accounts = state::<Accounts>(&visit.call)?;
        Ok(match self {
            Owner::ApiKey(id) => accounts.get_key(visit.who, id).await?.provider_keys,
            Owner::Organization => accounts.list_shared_keys(visit.who).await?.keys,
        })
    }

    /// Sets the list of one provider.
    async fn set(
        self,
        visit: &Visit<Session>,
        provider: ProviderId,
        list: Vec<Value>,
    ) -> Result<(), PageError> {
        let wanted = json!({ "providerKeys": { provider.as_str(): list } });
        match self {
            Owner::ApiKey(_) => apply(visit, wanted).await,
            Owner::Organization => {
                let body: OrganizationKeysBody =
                    serde_json::from_value(wanted).map_err(|error| PageError::form("", error.to_string()))?;
                state::<Accounts>(&visit.call)?.change_shared_keys(visit.who, body, Unnamed::Stay).await?;
                Ok(())
            }
        }
    }

    async fn check(self, visit: &Visit<Session>, key: &StoredProviderKey) -> Result<Checked, PageError> {
        let (accounts, provider) = (state::<Accounts>(&visit.call)?, key.provider);
        Ok(match self {
            Owner::ApiKey(id) => accounts.test_provider_key(visit.who, id, provider, Some(key.id)).await?,
            Owner::Organization => accounts.test_shared_key(visit.who, provider, Some(key.id)).await?,
        })
    }

    fn back(self, visit: &Visit<Session>, done: &str) -> HttpResponse {
        let home = &visit.frame.home;
        match self {
            Owner::ApiKey(id) => see_other(&format!("{home}/keys/{id}?done={done}#provider-keys")),
            Owner::Organization => see_other(&format!("{home}/provider-keys?done={done}")),
        }
    }

    /// The page with what is wrong with the form.
    async fn again(self, mut visit: Visit<Session>, error: PageError) -> Result<HttpResponse, PageError> {
        let PageError::Form(error) = error else { return Err(error) };
        visit.frame.error = Some(error);
        match self {
            Owner::ApiKey(id) => show_key(visit, id, ("", ""), StatusCode::UNPROCESSABLE_ENTITY).await,
            Owner::Organization => shared_page(visit, StatusCode::UNPROCESSABLE_ENTITY).await,
        }
    }
}

/// `POST …/provider-keys`: adds a key behind the others of its provider, and tests it at once.
pub async fn add(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let owner = Owner::of(&visit)?;
    match added(owner, &visit).await {
        Ok(done) => Ok(owner.back(&visit, done)),
        Err(error) => owner.again(visit, error).await,
    }
}

async fn added(owner: Owner, visit: &Visit<Session>) -> Result<&'static str, PageError> {
    let form = &visit.form;
    let provider = ProviderId::by_name(form.get("provider"))
        .ok_or_else(|| PageError::form("provider", "Choose a provider from the list"))?;
    let secret = form.given("key").ok_or_else(|| PageError::form("key", "Enter the provider's key"))?;
    let mut list = kept(&owner.stored(visit).await?, provider);
    let mut entry = json!({ "key": secret, "label": form.get("label") });
    if let Some(entry) = entry.as_object_mut() {
        if let Some(url) = form.given("baseUrl") {
            entry.insert("baseUrl".to_owned(), json!(url));
        }
        let models: Vec<&str> =
            form.get("models").split([',', '\n']).map(str::trim).filter(|name| !name.is_empty()).collect();
        if !models.is_empty() {
            entry.insert("models".to_owned(), json!(models));
        }
        let api_keys: Vec<&str> = form.all("apiKeys").filter(|id| !id.is_empty()).collect();
        if matches!(owner, Owner::Organization) && !api_keys.is_empty() {
            entry.insert("apiKeys".to_owned(), json!(api_keys));
        }
    }
    list.push(entry);
    owner.set(visit, provider, list).await?;
    let stored = owner.stored(visit).await?;
    match stored.iter().rfind(|key| key.provider == provider) {
        Some(newest) => tested(owner, visit, newest).await,
        None => Ok("added"),
    }
}

/// `POST …/provider-keys/{provider_key}`: performs the action of the pressed button.
pub async fn act(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let owner = Owner::of(&visit)?;
    match acted(owner, &visit).await {
        Ok(done) => Ok(owner.back(&visit, done)),
        Err(error) => owner.again(visit, error).await,
    }
}

async fn acted(owner: Owner, visit: &Visit<Session>) -> Result<&'static str, PageError> {
    let id: ProviderKeyId = visit.call.path("provider_key").parse().map_err(|_| PageError::NotFound)?;
    let stored = owner.stored(visit).await?;
    let key = stored.iter().find(|key| key.id == id).ok_or(PageError::NotFound)?;
    let siblings: Vec<&StoredProviderKey> =
        stored.iter().filter(|other| other.provider == key.provider).collect();
    let at = siblings.iter().position(|other| other.id == id).unwrap_or(0);
    let mut list = kept(&stored, key.provider);
    let done = match visit.form.get("action") {
        "test" => return tested(owner, visit, key).await,
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
        "rename" => {
            set(&mut list, at, "label", json!(visit.form.get("label")));
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
    owner.set(visit, key.provider, list).await?;
    Ok(done)
}

fn set(list: &mut [Value], at: usize, field: &str, value: Value) {
    if let Some(entry) = list.get_mut(at).and_then(Value::as_object_mut) {
        entry.insert(field.to_owned(), value);
    }
}

/// The stored keys of a provider, as a list that keeps them.
fn kept(keys: &[StoredProviderKey], provider: ProviderId) -> Vec<Value> {
    keys.iter().filter(|key| key.provider == provider).map(|key| json!({ "id": key.id })).collect()
}

async fn tested(
    owner: Owner,
    visit: &Visit<Session>,
    key: &StoredProviderKey,
) -> Result<&'static str, PageError> {
    Ok(match owner.check(visit, key).await?.verdict {
        Verdict::Valid => "valid",
        Verdict::Invalid => "invalid",
        Verdict::Unknown => "unknown",
    })
}
