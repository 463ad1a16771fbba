//! One API key: its use, its rules, its provider keys and those of the organization that serve it.

use super::{
    keys::{body, key_id},
    provider_keys::{self, Rows},
    report,
};
use crate::{
    accounts::{Accounts, keys::KeyDetails, roles::Capability},
    billing::{
        report::Range,
        usage_report::{self, UsageQuery},
    },
    dashboard::{
        frame::{Frame, PageError, page_of, see_other, state},
        limits::{self, BudgetView, RateFields},
        links::{Choice, choices},
        routes::Visit,
        view::{self, Moment},
    },
    domain::{
        ambient::Ambient,
        ids::ApiKeyId,
        policy::{ByokFallback, CacheScope, KeyPolicy, RoutingMode},
        provider::{PROVIDERS, ProviderId},
    },
    gateway::Gateway,
    routing::filter::policy_obstacle,
    store::{
        api_keys::ApiKey,
        overview::{self, KeyActivity},
        provider_keys::{KeyOwner, StoredProviderKey},
        rollups::{GroupBy, UsageFilter},
        sessions::Session,
    },
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use serde_json::{Value, json};

/// What happens when the organization's own keys fail: the rule's value and its words.
const FALLBACKS: [(&str, &str); 2] = [
    ("platform", "use the platform's key and charge credit"),
    ("never", "stop and return the provider's error"),
];
const ROUTING_MODES: [(&str, &str); 4] = [
    ("on", "on: “auto” is served"),
    ("shadow", "shadow: receipts also note what “auto” would choose"),
    ("advise", "advise: answers also name it"),
    ("off", "off: “auto” is refused"),
];

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
    /// The end of the secret before the last rotation, and its last letters.
    previous: Option<(Moment, String)>,
    tiles: Vec<(&'static str, String, String)>,
    expires: String,
    allowed_providers: String,
    excluded_providers: String,
    allowed_models: String,
    fallback: Vec<Choice>,
    /// What fallbacks of the last seven days cost; empty when there was none.
    fallback_cost: String,
    routing_mode: Vec<Choice>,
    min_quality: String,
    cache_ttl: String,
    cache_scope: Vec<Choice>,
    rates: RateFields,
    budget: Option<BudgetView>,
    budget_usd: String,
    periods: Vec<Choice>,
    includes_byok: bool,
    max_cost: String,
    allowed_ips: String,
    zdr: bool,
    deny_collection: bool,
    remain: String,
    provider_keys: Rows,
    /// Of the organization, for this key among others.
    shared_keys: Rows,
    warnings: Vec<String>,
    providers: Vec<&'static str>,
    action: String,
    may_write: bool,
}

/// `GET /o/{org}/keys/{id}`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let done = provider_keys::done(visit.form.get("done"));
    let id = key_id(&visit)?;
    show_key(visit, id, (done, ""), StatusCode::OK).await
}

/// The page of a key, after a form too: what was done, and the secret that it made.
pub(super) async fn show_key(
    mut visit: Visit<Session>,
    id: ApiKeyId,
    (done, secret): (&'static str, &str),
    status: StatusCode,
) -> Result<HttpResponse, PageError> {
    let details = state::<Accounts>(&visit.call)?.get_key(visit.who, id).await?;
    let (requests, charged, activity) = activity(&visit, id).await?;
    let shared = shared_keys(&visit, &details.key).await?;
    let gateway = state::<Gateway>(&visit.call)?;
    let today = gateway.ambient.now().date();
    let catalog = gateway.catalog.load();
    let policy = &details.key.policy;
    let live: Vec<_> = catalog.models().filter(|model| model.is_live(today)).collect();
    let allowed = live
        .iter()
        .filter(|model| policy_obstacle(policy, model.provider, &model.id, &model.name).is_none())
        .count();
    visit.frame.done = done;
    let frame = visit.frame.titled("API key");
    let may_write = visit.who.role.can(Capability::WriteKeys) && details.key.revoked_at.is_none();
    let never = || "never".to_owned();
    let last_used = activity.and_then(|activity| activity.last_used_at).map(view::moment);
    let template = KeyTemplate {
        tiles: vec![
            ("Requests, 30 days", view::count(requests), String::new()),
            ("Charged, 30 days", view::exact(crate::domain::money::NanoUsd(charged)), String::new()),
            (
                "Last used",
                last_used.as_ref().map_or_else(never, |at| at.text.clone()),
                last_used.map(|at| at.rfc3339).unwrap_or_default(),
            ),
        ],
        fallback_cost: activity.filter(|activity| activity.fallbacks > 0).map_or(String::new(), |activity| {
            format!(
                "In the last 7 days {} requests fell back, for {} of credit.",
                view::count(activity.fallbacks),
                view::exact(activity.fallback_charge)
            )
        }),
        remain: format!("{allowed} of {} models remain", live.len()),
        shared_keys: shared,
        ..key_page(&frame, &details, secret, may_write)
    };
    Ok(page_of(&template, status))
}

async fn activity(
    visit: &Visit<Session>,
    id: ApiKeyId,
) -> Result<(i64, i64, Option<KeyActivity>), PageError> {
    let scope = visit.who.scope;
    let now = state::<Ambient>(&visit.call)?.now();
    let range = Range::parse(None, None, now).map_err(|error| PageError::form("", error.to_string()))?;
    let filter = UsageFilter { api_key: Some(id), ..UsageFilter::default() };
    let query = UsageQuery::by(range, GroupBy::Key).filtered(filter);
    report(&visit.call, move |db| async move {
        let mut connection = db.acquire().await?;
        let activity = overview::key_activity(&mut connection, scope, &[id], now).await?.pop();
        let total = usage_report::report(&mut connection, scope, &query, false).await?.total;
        Ok((total.requests, total.charged_usd.0, activity))
    })
    .await
}

/// The organization's provider keys that this API key may use, for a role that sees them.
async fn shared_keys(visit: &Visit<Session>, key: &ApiKey) -> Result<Rows, PageError> {
    if !visit.who.role.has_all_keys() {
        return Ok(Rows::default());
    }
    let shared = state::<Accounts>(&visit.call)?.list_shared_keys(visit.who).await?.keys;
    let serves = |stored: &StoredProviderKey| match &stored.owner {
        KeyOwner::Organization(Some(api_keys)) => api_keys.contains(&key.id),
        KeyOwner::Organization(None) | KeyOwner::ApiKey => true,
    };
    let serving: Vec<StoredProviderKey> = shared.into_iter().filter(serves).collect();
    Ok(Rows::of(&serving, "", &[], false))
}

/// `POST /o/{org}/keys/{id}`: name and rules.
pub async fn change(mut visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let id = key_id(&visit)?;
    let outcome = match wanted(&visit) {
        Ok(wanted) => apply(&visit, wanted).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => Ok(see_other(&format!("{}?done=saved", visit.call.request.path()))),
        Err(PageError::Form(error)) => {
            visit.frame.error = Some(error);
            show_key(visit, id, ("", ""), StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error),
    }
}

/// The merge patch that the form means.
fn wanted(visit: &Visit<Session>) -> Result<Value, PageError> {
    let form = &visit.form;
    let list = |field: &str| -> Value {
        let items: Vec<&str> =
            form.get(field).split([',', '\n']).map(str::trim).filter(|item| !item.is_empty()).collect();
        if items.is_empty() { Value::Null } else { json!(items) }
    };
    let text = |field: &str| form.given(field).map_or(Value::Null, |text| json!(text));
    let quality = match form.given("minQualityThreshold").map(str::parse::<serde_json::Number>) {
        None => Value::Null,
        Some(Ok(number)) => Value::Number(number),
        Some(Err(_)) => {
            return Err(PageError::form("minQualityThreshold", "The quality must be a number from 0 to 1"));
        }
    };
    let cache = match form.given("cacheSeconds").map(str::parse::<u32>) {
        None => Value::Null,
        Some(Ok(seconds)) => {
            json!({ "ttlSeconds": seconds, "scope": form.given("cacheScope").unwrap_or("organization") })
        }
        Some(Err(_)) => {
            return Err(PageError::form("cacheSeconds", "The time must be a whole number of seconds"));
        }
    };
    let fallback = if form.get("byokFallback") == "never" { "never" } else { "platform" };
    let mut wanted = limits::wanted(form)?;
    let rules = json!({
        "name": text("name"),
        "expiresAt": text("expiresAt"),
        "byokFallback": fallback,
        "allowedProviders": list("allowedProviders"),
        "excludedProviders": list("excludedProviders"),
        "allowedModels": list("allowedModels"),
        "routingMode": form.given("routingMode").unwrap_or("on"),
        "minQualityThreshold": quality,
        "cache": cache,
        "maxCostPerRequestUsd": text("maxCostPerRequestUsd"),
        "allowedIps": list("allowedIps"),
        "zdr": form.given("zdr").is_some(),
        "dataCollection": if form.given("denyCollection").is_some() { "deny" } else { "allow" },
    });
    if let Value::Object(rules) = rules {
        wanted.extend(rules);
    }
    Ok(Value::Object(wanted))
}

/// Applies a merge patch to the key in the path.
pub(super) async fn apply(visit: &Visit<Session>, wanted: Value) -> Result<(), PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    accounts.change_key(visit.who, key_id(visit)?, body(wanted)?).await?;
    Ok(())
}

/// The rules of a key that differ from the usual, in a few words each.
pub(super) fn rules_in_words(policy: &KeyPolicy) -> Vec<String> {
    let names = |providers: &[ProviderId]| {
        providers.iter().map(|provider| provider.row().name).collect::<Vec<_>>().join(", ")
    };
    let mut rules = Vec::new();
    if policy.byok_fallback == ByokFallback::Never {
        rules.push("own keys only after a failure".to_owned());
    }
    if let Some(models) = &policy.allowed_models {
        rules.push(match models.as_slice() {
            [one] => format!("only {one}"),
            models => format!("{} models", models.len()),
        });
    }
    if let Some(providers) = &policy.allowed_providers {
        rules.push(format!("only {}", names(providers)));
    }
    if !policy.excluded_providers.is_empty() {
        rules.push(format!("not {}", names(&policy.excluded_providers)));
    }
    if policy.routing_mode != RoutingMode::On {
        rules.push(format!("routing {}", policy.routing_mode.as_str()));
    }
    if let Some(budget) = policy.budget {
        rules.push(format!("{} a {}", view::exact(budget.amount), budget.period.as_str()));
    }
    if let Some(requests) = policy.rules.rates.requests_per_minute {
        rules.push(format!("{} requests a minute", view::count(requests)));
    }
    if policy.cache.is_some() {
        rules.push("cache".to_owned());
    }
    rules
}

fn key_page<'a>(
    frame: &'a Frame,
    details: &'a KeyDetails,
    secret: &'a str,
    may_write: bool,
) -> KeyTemplate<'a> {
    let (key, policy) = (&details.key, &details.key.policy);
    let action = format!("{}/keys/{}/provider-keys", frame.home, key.id);
    let names = |providers: &[ProviderId]| {
        providers.iter().map(|provider| provider.row().name).collect::<Vec<_>>().join(", ")
    };
    let pairs = |pairs: &[(&str, &str)], chosen: &str| {
        choices(pairs.iter().map(|(value, text)| ((*value).to_owned(), (*text).to_owned())), chosen)
    };
    let falls_back = if policy.byok_fallback == ByokFallback::Never { "never" } else { "platform" };
    let scope = policy.cache.map_or(CacheScope::Organization, |cache| cache.scope);
    KeyTemplate {
        frame,
        secret,
        id: key.id.to_string(),
        name: &key.name,
        last4: &key.last4,
        created: view::moment(key.created_at),
        revoked: key.revoked_at.map(view::moment),
        previous: key
            .previous
            .as_ref()
            .map(|previous| (view::moment(previous.works_until), previous.last4.clone())),
        tiles: Vec::new(),
        expires: policy.expires_at.map(|at| view::moment(at).rfc3339).unwrap_or_default(),
        allowed_providers: policy.allowed_providers.as_deref().map(names).unwrap_or_default(),
        excluded_providers: names(&policy.excluded_providers),
        allowed_models: policy.allowed_models.as_deref().map(|models| models.join("\n")).unwrap_or_default(),
        fallback: pairs(&FALLBACKS, falls_back),
        fallback_cost: String::new(),
        routing_mode: pairs(&ROUTING_MODES, policy.routing_mode.as_str()),
        min_quality: policy
            .min_quality_permille
            .map_or(String::new(), |permille| format!("{}.{:03}", permille / 1_000, permille % 1_000)),
        cache_ttl: policy.cache.map_or(String::new(), |cache| cache.ttl_seconds.to_string()),
        cache_scope: pairs(
            &[("organization", "all API keys of the organization"), ("key", "this API key alone")],
            scope.as_str(),
        ),
        rates: RateFields::of(&policy.rules.rates),
        budget: details
            .budget
            .as_ref()
            .map(|budget| BudgetView::of(budget, &details.organization, details.now)),
        budget_usd: policy.budget.map_or(String::new(), |budget| budget.amount.to_string()),
        periods: choices(limits::periods(), policy.budget.map_or("month", |budget| budget.period.as_str())),
        includes_byok: policy.budget.is_some_and(|budget| budget.includes_own),
        max_cost: policy.rules.max_cost_per_request().map_or(String::new(), |most| most.to_string()),
        allowed_ips: policy.rules.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        zdr: policy.rules.zdr,
        deny_collection: policy.rules.deny_collection,
        remain: String::new(),
        provider_keys: Rows::of(&details.provider_keys, &action, &[], may_write),
        shared_keys: Rows::default(),
        warnings: details.warnings.iter().map(|warning| warning.message.clone()).collect(),
        providers: PROVIDERS.iter().map(|provider| provider.name).collect(),
        action,
        may_write,
    }
}
