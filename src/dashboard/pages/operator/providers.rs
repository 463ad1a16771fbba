//! The platform's provider keys, and how the providers did in the last minutes.

use crate::{
    accounts::Accounts,
    credentials::{
        check::Verdict,
        platform::{self, KeyChange, KeySource, ListedPlatformKey},
    },
    dashboard::{
        frame::{Frame, PageError, page_of, see_other, state},
        routes::Visit,
    },
    domain::{provider::ProviderId, secret::Secret},
    gateway::Gateway,
    http::api::operator::check_platform_key,
    store::sessions::Operator,
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use std::collections::BTreeMap;

#[derive(Template)]
#[template(path = "operator_providers.html")]
struct ProvidersPage<'a> {
    frame: &'a Frame,
    rows: Vec<ProviderRow>,
    /// What a test call found.
    tested: &'a str,
}

struct ProviderRow {
    id: &'static str,
    name: &'static str,
    address: String,
    key: String,
    is_stored: bool,
    has_key: bool,
    enabled: bool,
    health: String,
}

/// `GET /operator/providers`.
pub async fn list(mut visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    visit.frame.done = match visit.form.get("done") {
        "set" => "The key was stored. Running gateways use it within 5 seconds.",
        "changed" => "The key was changed. Running gateways follow within 5 seconds.",
        _ => "",
    };
    providers_page(visit, "", StatusCode::OK).await
}

async fn providers_page(
    visit: Visit<Operator>,
    tested: &str,
    status: StatusCode,
) -> Result<HttpResponse, PageError> {
    let gateway = state::<Gateway>(&visit.call)?;
    let keys = gateway.platform_keys.list(&gateway.db, &gateway.installation.ring).await?;
    let health = health(&gateway);
    let row = |key: &ListedPlatformKey| {
        let ends = key.last4.as_deref().map(|last4| format!(", ends in …{last4}")).unwrap_or_default();
        let off = if key.enabled { "" } else { "; switched off" };
        ProviderRow {
            id: key.provider.as_str(),
            name: key.provider.row().name,
            address: gateway.settings.base_url(key.provider).unwrap_or_default().to_owned(),
            key: match (key.source, key.created_at) {
                (Some(KeySource::Stored), _) => format!("stored{ends}{off}"),
                (Some(KeySource::Environment), _) => format!("from the environment{ends}{off}"),
                (None, Some(_)) => "stored, but the master keys do not open it".to_owned(),
                (None, None) => format!("none: only customers' own keys serve{off}"),
            },
            is_stored: key.created_at.is_some(),
            has_key: key.source.is_some(),
            enabled: key.enabled,
            health: health.get(key.provider.as_str()).cloned().unwrap_or_else(|| "no calls".to_owned()),
        }
    };
    let rows = keys.iter().map(row).collect();
    Ok(page_of(&ProvidersPage { frame: &visit.frame.titled("Providers"), rows, tested }, status))
}

/// Calls and failures of the last five minutes, as this process saw them, by provider.
fn health(gateway: &Gateway) -> BTreeMap<String, String> {
    let mut sums: BTreeMap<String, (usize, usize, Option<u64>)> = BTreeMap::new();
    for (id, row) in gateway.measurements.performance(gateway.now_ms()) {
        let provider = id.split('/').next().unwrap_or_default().to_owned();
        let sum = sums.entry(provider).or_default();
        sum.0 += row.calls;
        sum.1 += row.failures;
        sum.2 = sum.2.max(row.latency_p95_ms);
    }
    let words = |(calls, failures, p95): (usize, usize, Option<u64>)| {
        let slow = p95.map(|p95| format!(", slowest model p95 {p95} ms")).unwrap_or_default();
        format!("{calls} calls, {failures} failed{slow}")
    };
    sums.into_iter().map(|(provider, sum)| (provider, words(sum))).collect()
}

/// `POST /operator/providers/{provider}`: stores, tests, switches or removes the key.
pub async fn act(mut visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    let gateway = state::<Gateway>(&visit.call)?;
    let provider = ProviderId::by_id(visit.call.path("provider")).ok_or(PageError::NotFound)?;
    let actor = visit.who.user_id.to_string();
    let change = match visit.form.get("action") {
        "set" => {
            let key = match check_platform_key(&Secret::new(visit.form.raw("key").to_owned())) {
                Ok(key) => key,
                Err(error) => return again(visit, error.into()).await,
            };
            let (db, ring) = (&gateway.db, &gateway.installation.ring);
            let stored =
                platform::set_platform_key(db, ring, &gateway.ambient, (provider, &key), actor).await;
            stored.map_err(crate::http::error::ApiError::from)?;
            return Ok(see_other("/operator/providers?done=set"));
        }
        "test" => {
            gateway.platform_keys.refresh(&gateway.db, &gateway.installation.ring).await?;
            let key = gateway.platform_keys.get_for_test(provider).ok_or(PageError::NotFound)?;
            let checked = state::<Accounts>(&visit.call)?.test_platform_key(provider, &key.secret).await;
            let name = provider.row().name;
            let verdict = match checked.verdict {
                Verdict::Valid => "works",
                Verdict::Invalid => "does not work",
                Verdict::Unknown => "could not be judged",
            };
            let tested = format!("The key of {name} {verdict}: {}", checked.message);
            return providers_page(visit, &tested, StatusCode::OK).await;
        }
        "disable" => KeyChange::Disable,
        "enable" => KeyChange::Enable,
        "remove" => {
            if visit.form.get("confirm") != provider.as_str() {
                let message = format!("Type {provider} to remove its stored key");
                visit.frame.error = None;
                return again(visit, PageError::form("", message)).await;
            }
            KeyChange::Remove
        }
        _ => return Err(PageError::NotFound),
    };
    platform::change_platform_key(&gateway.db, &gateway.ambient, (provider, change), actor).await?;
    gateway.platform_keys.refresh(&gateway.db, &gateway.installation.ring).await?;
    Ok(see_other("/operator/providers?done=changed"))
}

async fn again(mut visit: Visit<Operator>, error: PageError) -> Result<HttpResponse, PageError> {
    match error {
        PageError::Form(error) => {
            visit.frame.error = Some(error);
            providers_page(visit, "", StatusCode::UNPROCESSABLE_ENTITY).await
        }
        error => Err(error),
    }
}
