//! The first page of an organization: what needs attention, what was spent and used lately against the time before, and
//! by which models. A member sees the same of its own API keys.

use super::{report, requests::made_by};
use crate::{
    accounts::roles::Capability,
    billing::{
        report::{self as reports, Balance, Range},
        usage_report::{self, UsageLine, UsageQuery},
    },
    dashboard::{
        chart::{self, Chart, SERIES_MAX},
        frame::{Frame, PageError, page, state},
        links::encode,
        routes::Visit,
        view,
    },
    domain::{ambient::Ambient, catalog::Catalog, money::NanoUsd},
    gateway::Gateway,
    store::{
        overview::{self, Attention},
        rollups::{GroupBy, UsageFilter},
        sessions::Session,
    },
};
use actix_web::HttpResponse;
use askama::Template;
use std::collections::{BTreeMap, HashMap};
use time::{Date, Duration};

/// Days of the chart, and of the time it is compared with.
const DAYS: i64 = 30;
const MODELS_SHOWN: usize = 8;
/// A model that shuts down within this time is named.
const SHUTDOWN_DAYS: i64 = 60;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    frame: &'a Frame,
    sees_money: bool,
    may_write: bool,
    notices: Vec<Notice>,
    tiles: Vec<Tile>,
    chart: Chart,
    models: Vec<ModelLine>,
    is_new: bool,
}

/// Something that needs attention.
struct Notice {
    class: &'static str,
    word: &'static str,
    text: String,
    link: String,
    action: &'static str,
}

/// One figure.
struct Tile {
    label: &'static str,
    value: String,
    /// The exact amount, where the value is shortened.
    exact: String,
    note: String,
    link: String,
}

struct ModelLine {
    name: String,
    link: String,
    requests: String,
    charged: String,
    provider_cost: String,
    share: i64,
}

/// Sums over some days.
#[derive(Clone, Copy, Default)]
struct Sums {
    requests: i64,
    charged: i64,
    cost: i64,
    tokens: i64,
    output: i64,
}

/// `GET /o/{org}`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let frame = visit.frame.titled("Overview");
    let session = visit.who;
    let now = state::<Ambient>(&visit.call)?.now();
    let made_by = made_by(&session);
    let from = (now.date() - Duration::days(2 * DAYS - 1)).to_string();
    let range =
        Range::parse(Some(&from), None, now).map_err(|error| PageError::form("", error.to_string()))?;
    let filter = UsageFilter { member: made_by, ..UsageFilter::default() };
    let query = UsageQuery::by(range, GroupBy::Day).filtered(filter);
    let query = query.and_by(GroupBy::Model).map_err(|error| PageError::form("", error.to_string()))?;
    let (balance, attention, lines) = report(&visit.call, move |db| async move {
        let mut connection = db.acquire().await?;
        let balance = reports::balance(&mut connection, session.scope).await?;
        let attention = overview::attention(&mut connection, session.scope, made_by, now).await?;
        let usage = usage_report::report(&mut connection, session.scope, &query, false).await?;
        Ok((balance, attention, usage.rows))
    })
    .await?;
    let first_day = now.date() - Duration::days(DAYS - 1);
    let border = first_day.to_string();
    let (latest, before): (Vec<UsageLine>, Vec<UsageLine>) =
        lines.into_iter().partition(|line| line.key.as_str() >= border.as_str());
    let (sums, sums_before) = (sums(&latest), sums(&before));
    let sees_money = session.role.can(Capability::ReadMoney);
    let gateway = state::<Gateway>(&visit.call)?;
    let balance = sees_money.then_some(balance);
    let models = by_model(&latest);
    let template = OverviewPage {
        notices: notices(
            &attention,
            balance.as_ref(),
            &frame,
            (&gateway.catalog.load(), now.date(), &models),
        ),
        tiles: tiles(balance.as_ref(), (sums, sums_before), &attention, &frame.home),
        chart: chart(&latest, (first_day, now.date()), &models, &frame.home),
        models: model_lines(&models, (&border, &frame.home)),
        is_new: attention.recent == 0 && sums.requests == 0,
        may_write: session.role.can(Capability::WriteKeys),
        sees_money,
        frame: &frame,
    };
    page(&template)
}

fn sums(lines: &[UsageLine]) -> Sums {
    lines.iter().fold(Sums::default(), |sums, line| Sums {
        requests: sums.requests.saturating_add(line.requests),
        charged: sums.charged.saturating_add(line.charged_usd.0),
        cost: sums.cost.saturating_add(line.provider_cost_usd.0),
        tokens: [
            line.input_tokens,
            line.cache_read_tokens,
            line.cache_write_tokens,
            line.cache_write1h_tokens,
            line.output_tokens,
        ]
        .into_iter()
        .fold(sums.tokens, i64::saturating_add),
        output: sums.output.saturating_add(line.output_tokens),
    })
}

/// The sums of each model, those with the most charged first.
fn by_model(lines: &[UsageLine]) -> Vec<(String, Sums)> {
    let mut groups: BTreeMap<String, Vec<UsageLine>> = BTreeMap::new();
    for line in lines {
        groups.entry(line.second_key.clone().unwrap_or_default()).or_default().push(line.clone());
    }
    let mut models: Vec<(String, Sums)> =
        groups.into_iter().map(|(model, lines)| (model, sums(&lines))).collect();
    models.sort_by(|a, b| (b.1.charged, b.1.requests, &a.0).cmp(&(a.1.charged, a.1.requests, &b.0)));
    models
}

fn notices(
    attention: &Attention,
    balance: Option<&Balance>,
    frame: &Frame,
    (catalog, today, models): (&Catalog, Date, &[(String, Sums)]),
) -> Vec<Notice> {
    let home = &frame.home;
    let mut notices = Vec::new();
    let mut add = |class, word, text: String, link: String, action| {
        notices.push(Notice { class, word, text, link, action });
    };
    if balance.is_some_and(|balance| balance.available_usd <= NanoUsd::ZERO) {
        let text = "There is no credit left. Requests on the platform's keys are refused with status 402; your own provider keys go on working.";
        add("bad", "no credit", text.to_owned(), format!("{home}/billing"), "Billing");
    }
    if attention.failing_provider_keys > 0 {
        let text = match attention.failing_provider_keys {
            1 => "One provider key failed at its last use.".to_owned(),
            keys => format!("{} provider keys failed at their last use.", view::count(keys)),
        };
        let link = match attention.failing_at {
            Some(key) => format!("{home}/keys/{key}#provider-keys"),
            None => format!("{home}/provider-keys"),
        };
        add("bad", "failing", text, link, "See the key");
    }
    if attention.fallbacks > 0 {
        let text = format!(
            "{} requests of the last 7 days fell back from your own keys to the platform's: {} of credit was charged.",
            view::count(attention.fallbacks),
            view::exact(attention.fallback_charge)
        );
        add("warn", "fallback", text, format!("{home}/requests?fallback=true"), "See the requests");
    }
    if attention.expiring_keys > 0 {
        let text = format!("API keys that expire within 7 days: {}.", view::count(attention.expiring_keys));
        add("warn", "expiring", text, format!("{home}/keys"), "API keys");
    }
    for (id, _) in models {
        let Some(model) = catalog.get(id) else { continue };
        let Some(day) = model.shutdown.filter(|day| *day - today <= Duration::days(SHUTDOWN_DAYS)) else {
            continue;
        };
        let instead = match &model.successor {
            Some(successor) => format!(" Its successor is {successor}."),
            None => String::new(),
        };
        let text = format!("{id} is in use and shuts down on {day}.{instead}");
        add("warn", "shuts down", text, format!("{home}/models/view?id={}", encode(id)), "See the model");
    }
    notices
}

fn tiles(
    balance: Option<&Balance>,
    (now, before): (Sums, Sums),
    attention: &Attention,
    home: &str,
) -> Vec<Tile> {
    let against = |now: i64, before: i64| view::change_against(now, before, "the 30 days before");
    let mut tiles = Vec::new();
    if let Some(balance) = balance {
        tiles.push(Tile {
            label: "Available credit",
            value: view::short(balance.available_usd),
            exact: view::exact(balance.available_usd),
            note: lasting(balance, now.charged),
            link: format!("{home}/billing"),
        });
    }
    tiles.push(Tile {
        label: "Charged",
        value: view::short(NanoUsd(now.charged)),
        exact: view::exact(NanoUsd(now.charged)),
        note: against(now.charged, before.charged),
        link: format!("{home}/usage?measure=charged"),
    });
    tiles.push(Tile {
        label: "Provider cost, own keys included",
        value: view::short(NanoUsd(now.cost)),
        exact: view::exact(NanoUsd(now.cost)),
        note: against(now.cost, before.cost),
        link: format!("{home}/usage?measure=cost&by=byok"),
    });
    tiles.push(Tile {
        label: "Answered requests",
        value: view::count(now.requests),
        exact: view::count(now.requests),
        note: against(now.requests, before.requests),
        link: format!("{home}/usage?measure=requests"),
    });
    tiles.push(Tile {
        label: "Tokens",
        value: view::count(now.tokens),
        exact: view::count(now.tokens),
        note: format!("{} of them output", view::count(now.output)),
        link: format!("{home}/usage?measure=tokens&by=model"),
    });
    tiles.push(latest(attention, home));
    tiles
}

/// How long the credit lasts at the pace of the last 30 days.
fn lasting(balance: &Balance, charged: i64) -> String {
    let days = i128::from(balance.available_usd.0.max(0)) * i128::from(DAYS) / i128::from(charged.max(1));
    match (charged, days) {
        (..=0, _) => format!("{} set aside", view::exact(balance.held_usd)),
        (_, 0..=365) => format!("lasts about {days} days at this pace"),
        _ => "lasts more than a year at this pace".to_owned(),
    }
}

fn latest(attention: &Attention, home: &str) -> Tile {
    let ms =
        |ms: Option<i64>| ms.map_or("none".to_owned(), |ms| view::duration(u64::try_from(ms).unwrap_or(0)));
    let permille = attention.recent_failed.saturating_mul(1_000) / attention.recent.max(1);
    Tile {
        label: "Failed, of the latest requests",
        value: format!("{}.{} %", permille / 10, permille % 10),
        exact: format!("{} of {}", view::count(attention.recent_failed), view::count(attention.recent)),
        note: format!(
            "half took {}, 95 % at most {}",
            ms(attention.latency_p50_ms),
            ms(attention.latency_p95_ms)
        ),
        link: format!("{home}/requests?status=failed"),
    }
}

/// Charges of each day by model.
fn chart(lines: &[UsageLine], (first, last): (Date, Date), models: &[(String, Sums)], home: &str) -> Chart {
    let is_money = lines.iter().any(|line| line.charged_usd.0 > 0);
    let value = |line: &UsageLine| if is_money { line.charged_usd.0 } else { line.requests };
    let show = |value: i64| if is_money { view::short(NanoUsd(value)) } else { view::count(value) };
    let shown = |value: i64| match is_money {
        true => format!("charged {}", view::exact(NanoUsd(value))),
        false => format!("{} requests", view::count(value)),
    };
    let place = |model: &str| {
        models.iter().position(|(known, _)| known == model).unwrap_or(SERIES_MAX).min(SERIES_MAX - 1)
    };
    let width = models.len().clamp(1, SERIES_MAX);
    let mut days: HashMap<&str, Vec<i64>> = HashMap::new();
    for line in lines {
        let parts = days.entry(&line.key).or_insert_with(|| vec![0; width]);
        if let Some(part) = parts.get_mut(place(line.second_key.as_deref().unwrap_or_default())) {
            *part = part.saturating_add(value(line));
        }
    }
    let mut steps = Vec::new();
    let mut day = Some(first);
    while let Some(date) = day.filter(|date| *date <= last) {
        let name = date.to_string();
        let values = days.remove(name.as_str()).unwrap_or_else(|| vec![0; width]);
        let sum = values.iter().fold(0_i64, |sum, part| sum.saturating_add(*part));
        steps.push(chart::Step {
            title: format!("{name}: {}", shown(sum)),
            link: format!("{home}/requests?from={name}&to={name}"),
            name,
            values,
        });
        day = date.next_day();
    }
    let mut names: Vec<String> = models.iter().take(SERIES_MAX).map(|(name, _)| name.clone()).collect();
    if models.len() > SERIES_MAX {
        names.truncate(SERIES_MAX - 1);
        names.push("all others".to_owned());
    }
    let label = if is_money { "Charged by day and model" } else { "Answered requests by day and model" };
    chart::stacked(label.to_owned(), &names, steps, show)
}

fn model_lines(models: &[(String, Sums)], (from, home): (&str, &str)) -> Vec<ModelLine> {
    let most = models.iter().map(|(_, sums)| sums.requests).max().unwrap_or(0).max(1);
    let line = |(name, sums): &(String, Sums)| ModelLine {
        link: format!("{home}/requests?model={}&from={from}", encode(name)),
        name: name.clone(),
        requests: view::count(sums.requests),
        charged: view::exact(NanoUsd(sums.charged)),
        provider_cost: view::exact(NanoUsd(sums.cost)),
        share: sums.requests.saturating_mul(80) / most,
    };
    models.iter().take(MODELS_SHOWN).map(line).collect()
}
