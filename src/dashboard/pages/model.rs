//! One model at all its hosts, or up to four side by side: prices with the margin, limits, how the hosts did lately, and
//! which credential would serve for an API key, or which rule forbids it. A calculator gives the exact price of a request.

use super::{
    models::{abilities, asked, mode_in_words, percent, shutdown, unpriced},
    report,
};
use crate::{
    accounts::roles::Capability,
    dashboard::{
        explain,
        frame::{Frame, PageError, page, state},
        links::{Choice, choices},
        routes::Visit,
        view,
    },
    domain::{
        catalog::{Catalog, Model, PricePeriod, Resolved, ServiceTier},
        money::{self, NanoUsd},
        policy::KeyPolicy,
    },
    gateway::Gateway,
    routing::{filter::policy_obstacle, host_stats::Performance},
    store::{
        api_keys::{self, ApiKey, KeyScope},
        provider_keys::{self, StoredProviderKey},
        sessions::Session,
    },
};
use actix_web::HttpResponse;
use askama::Template;
use std::sync::Arc;
use time::OffsetDateTime;

const HOSTS_MAX: usize = 12;
const COMPARED_MAX: usize = 4;
const KEYS_MAX: i64 = 100;
/// The calculator's request, where none is given.
const TOKENS: (u64, u64) = (1_000, 500);
const TOKENS_MAX: u64 = 1_000_000_000;

#[derive(Template)]
#[template(path = "model.html")]
struct ModelPage<'a> {
    frame: &'a Frame,
    heading: String,
    ids: Vec<String>,
    keys: Vec<Choice>,
    input: u64,
    output: u64,
    hosts: Vec<Host>,
    margin: String,
    version: String,
}

/// One model at one host.
struct Host {
    id: String,
    provider: &'static str,
    mode: &'static str,
    status: Option<String>,
    successor: Option<String>,
    facts: Vec<(&'static str, String)>,
    prices: Vec<(String, String)>,
    request_price: String,
    latency: String,
    route: String,
    route_class: &'static str,
}

/// What decides who would serve for an API key.
struct Caller {
    policy: KeyPolicy,
    provider_keys: Vec<StoredProviderKey>,
}

/// `GET /o/{org}/models/view?id&key&input&output`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let gateway = state::<Gateway>(&visit.call)?;
    let catalog = gateway.catalog.load_full();
    let now = gateway.ambient.now();
    let ids: Vec<String> = visit.form.all("id").filter(|id| !id.is_empty()).map(str::to_owned).collect();
    if ids.len() > COMPARED_MAX {
        return Err(PageError::form(
            "id",
            format!("Up to {COMPARED_MAX} models can be compared; choose fewer"),
        ));
    }
    let models = hosts(&catalog, &ids, now)?;
    let wanted = visit.form.given("key").map(str::to_owned);
    let (keys, caller) = report(&visit.call, move |db| async move {
        if !session.role.can(Capability::ReadKeys) {
            return Ok((Vec::new(), None));
        }
        let mut connection = db.acquire().await?;
        let made_by = (!session.role.has_all_keys()).then_some(session.user_id);
        let keys =
            api_keys::list(&mut connection, KeyScope { org: session.scope, made_by }, None, KEYS_MAX).await?;
        let live: Vec<ApiKey> = keys.into_iter().filter(|key| key.revoked_at.is_none()).collect();
        let chosen = live.iter().find(|key| wanted.as_ref().is_none_or(|id| key.id.to_string() == *id));
        let caller = match chosen {
            None => None,
            Some(key) => {
                let provider_keys =
                    provider_keys::list_usable(&mut connection, session.scope, key.id).await?;
                Some((key.id.to_string(), Caller { policy: key.policy.clone(), provider_keys }))
            }
        };
        Ok((live, caller))
    })
    .await?;
    let number = |field: &'static str, usual: u64| match visit.form.given(field).map(str::parse::<u64>) {
        None => Ok(usual),
        Some(Ok(tokens)) if tokens <= TOKENS_MAX => Ok(tokens),
        Some(_) => {
            Err(PageError::form(field, format!("`{field}` must be a number of tokens up to {TOKENS_MAX}")))
        }
    };
    let (input, output) = (number("input", TOKENS.0)?, number("output", TOKENS.1)?);
    let performance = gateway.measurements.performance(gateway.now_ms());
    let frame = visit.frame.titled("Model");
    let chosen = caller.as_ref().map_or("", |(id, _)| id.as_str());
    let heading = match models.as_slice() {
        [one] => one.id.to_string(),
        _ if ids.len() == 1 => models.first().map(|model| model.name.to_string()).unwrap_or_default(),
        _ => "Compare models".to_owned(),
    };
    let template = ModelPage {
        heading,
        keys: choices(keys.iter().map(|key| (key.id.to_string(), key.name.clone())), chosen),
        hosts: models
            .iter()
            .map(|model| {
                let asked = Asked { gateway: &gateway, now, tokens: (input, output) };
                host(model, &asked, performance.get(&model.id), caller.as_ref().map(|(_, caller)| caller))
            })
            .collect(),
        margin: percent(gateway.settings.margin),
        version: catalog.version.clone(),
        ids,
        input,
        output,
        frame: &frame,
    };
    page(&template)
}

/// The hosts of one model, or exactly the models named.
fn hosts(catalog: &Catalog, ids: &[String], now: OffsetDateTime) -> Result<Vec<Arc<Model>>, PageError> {
    let today = now.date();
    let find = |name: &str| match catalog.resolve(name, today) {
        Resolved::Listed(models) | Resolved::Retired { models } => models,
        Resolved::Unlisted { .. } | Resolved::Unknown { .. } => Vec::new(),
    };
    if let [one] = ids {
        let mut found = find(one);
        let group = found.first().and_then(|model| model.group.clone());
        if let Some(group) = group {
            let others = catalog.models().filter(|model| {
                model.group.as_ref() == Some(&group)
                    && model.is_servable_by_name(today)
                    && !found.iter().any(|known| known.id == model.id)
            });
            let others: Vec<Arc<Model>> = others.cloned().collect();
            found.extend(others);
        }
        found.truncate(HOSTS_MAX);
        return if found.is_empty() { Err(PageError::NotFound) } else { Ok(found) };
    }
    let found: Vec<Arc<Model>> = ids.iter().filter_map(|id| find(id).into_iter().next()).collect();
    if found.is_empty() { Err(PageError::NotFound) } else { Ok(found) }
}

/// What is asked about each host.
struct Asked<'a> {
    gateway: &'a Gateway,
    now: OffsetDateTime,
    tokens: (u64, u64),
}

fn host(
    model: &Model,
    asked: &Asked<'_>,
    performance: Option<&Performance>,
    caller: Option<&Caller>,
) -> Host {
    let period = model.prices.as_ref().and_then(|prices| prices.at(asked.now));
    let optional = |count: Option<u64>| count.map_or("not stated".to_owned(), view::count);
    let (route, route_class) = route(model, asked.gateway, caller);
    Host {
        id: model.id.to_string(),
        provider: model.provider.row().name,
        mode: mode_in_words(model.mode),
        status: shutdown(model),
        successor: model.successor.as_ref().map(ToString::to_string),
        facts: vec![
            ("Context, tokens", optional(model.context_tokens)),
            ("Longest answer, tokens", optional(model.output_tokens_max)),
            ("Weights", model.quantization.as_deref().unwrap_or("not stated").to_owned()),
            (
                "Can",
                Some(abilities(model)).filter(|text| !text.is_empty()).unwrap_or_else(|| "text".to_owned()),
            ),
        ],
        prices: period.map(|period| prices(period, asked)).unwrap_or_default(),
        request_price: period
            .and_then(|period| request_price(period, asked))
            .unwrap_or_else(|| unpriced(model)),
        latency: performance.map_or("not measured in the last 5 minutes".to_owned(), measured),
        route,
        route_class,
    }
}

fn measured(row: &Performance) -> String {
    let ms = |ms: Option<u64>| ms.map_or("unknown".to_owned(), view::duration);
    let speed = row.tokens_per_second_p50.map_or(String::new(), |speed| format!(", {speed} tokens/s"));
    format!(
        "median {}, 95 % within {}{speed}; {} of {} calls failed",
        ms(row.latency_p50_ms),
        ms(row.latency_p95_ms),
        row.failures,
        row.calls
    )
}

fn prices(period: &PricePeriod, of: &Asked<'_>) -> Vec<(String, String)> {
    let margin = of.gateway.settings.margin;
    let mut lines: Vec<(String, String)> = Vec::new();
    if let Some(rates) = period.rates {
        lines.push(("Input, 1M tokens".to_owned(), asked(rates.input, margin)));
        if let Some(output) = rates.output {
            lines.push(("Output, 1M tokens".to_owned(), asked(output, margin)));
        }
        lines.push(("Input from cache, 1M".to_owned(), asked(rates.cache_read, margin)));
        lines.push(("Input into cache, 1M".to_owned(), asked(rates.cache_write, margin)));
    }
    if let Some(tier) = &period.tier {
        let name = format!("Input of prompts above {} tokens, 1M", view::count(tier.above_tokens));
        lines.push((name, asked(tier.rates.input, margin)));
    }
    let tiers = [("batch", period.batch), ("flex", period.flex), ("priority", period.priority)];
    for (name, rates) in tiers.into_iter().filter_map(|(name, rates)| Some((name, rates?))) {
        let output = rates.output.map_or("none".to_owned(), |rate| asked(rate, margin));
        lines.push((
            format!("Service tier {name}, input and output, 1M"),
            format!("{}, {output}", asked(rates.input, margin)),
        ));
    }
    if let Some(off_peak) = &period.off_peak {
        let text = format!("{} % of these prices", off_peak.percent);
        lines.push(("Outside busy hours".to_owned(), text));
    }
    for other in &period.other {
        let price = money::charge(other.usd, margin).map_or(explain::NOT_PRICED.to_owned(), view::exact);
        lines.push((format!("Per {}", other.unit.replace('_', " ")), price));
    }
    lines
}

/// What the calculator's request would be charged now.
fn request_price(period: &PricePeriod, of: &Asked<'_>) -> Option<String> {
    let (input, output) = of.tokens;
    let rates = period.rates(ServiceTier::Standard, input, of.now)?.rates;
    let output = rates.output.map(|rate| (output, rate));
    let cost = money::cost([(input, rates.input)].into_iter().chain(output)).ok()?;
    let charge = money::charge(cost, of.gateway.settings.margin).ok()?;
    Some(view::exact(charge)).filter(|_| cost >= NanoUsd::ZERO)
}

/// Which credential would serve, or why none may.
fn route(model: &Model, gateway: &Gateway, caller: Option<&Caller>) -> (String, &'static str) {
    let Some(caller) = caller else {
        return ("Make an API key to see which credential would serve.".to_owned(), "");
    };
    if let Some(rule) = policy_obstacle(&caller.policy, model.provider, &model.id, &model.name) {
        return (format!("No: {} ({rule}).", explain::reason(rule)), "bad");
    }
    let own = caller.provider_keys.iter().find(|key| {
        key.enabled && key.provider == model.provider && key.fits(&model.id, &model.name, &model.upstream)
    });
    let has_platform = gateway.platform_keys.get(model.provider).is_some();
    match (own, has_platform, &model.prices) {
        (Some(key), ..) => {
            let name = if key.label.is_empty() { format!("…{}", key.last4) } else { key.label.clone() };
            (format!("Your key “{name}”: nothing is charged here."), "good")
        }
        (None, true, Some(_)) => ("The platform's key, charged to your credit.".to_owned(), "good"),
        (None, true, None) => ("No: no price is known, so only your own key may serve it.".to_owned(), "bad"),
        (None, false, _) => ("No: there is no key for this provider; add your own.".to_owned(), "bad"),
    }
}
