//! The first page of an organization: what was spent and used lately, and what needs attention.

use super::read;
use crate::{
    accounts::roles::Capability,
    billing::report::{self, Balance, Range, UsageLine},
    dashboard::{
        frame::{Frame, PageError, page, state},
        routes::Visit,
        view,
    },
    domain::{ambient::Ambient, money::NanoUsd},
    store::{sessions::Session, usage::GroupBy},
};
use actix_web::HttpResponse;
use askama::Template;

/// Bars of the chart.
const DAYS: i64 = 30;
const MODELS_SHOWN: usize = 6;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    frame: &'a Frame,
    sees_money: bool,
    tiles: Vec<Tile>,
    bars: Vec<Bar>,
    models: Vec<ModelLine>,
    is_out_of_credit: bool,
}

/// One figure.
pub struct Tile {
    pub label: &'static str,
    pub value: String,
    /// The exact amount, where the value is shortened.
    pub exact: String,
    pub note: String,
}

/// One day of the chart. Heights are in the chart's own units.
pub struct Bar {
    pub x: i64,
    pub y: i64,
    pub height: i64,
    pub title: String,
    pub link: String,
}

struct ModelLine {
    name: String,
    requests: String,
    charged: String,
    provider_cost: String,
}

/// `GET /o/{org}`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let frame = visit.frame.titled("Overview");
    let session = visit.who;
    if !session.role.can(Capability::ReadMoney) {
        let (tiles, bars, models) = (Vec::new(), Vec::new(), Vec::new());
        let template =
            OverviewPage { frame: &frame, sees_money: false, tiles, bars, models, is_out_of_credit: false };
        return page(&template);
    }
    let now = state::<Ambient>(&visit.call)?.now();
    let range = Range::parse(None, None, now).map_err(|error| PageError::form("", error.to_string()))?;
    let (balance, days, models) = read(&visit.call, move |db| async move {
        let mut connection = db.acquire().await?;
        let balance = report::balance(&mut connection, session.scope).await?;
        let days = report::usage(&mut connection, session.scope, range, GroupBy::Day).await?;
        let models = report::usage(&mut connection, session.scope, range, GroupBy::Model).await?;
        Ok((balance, days.rows, models.rows))
    })
    .await?;
    let template = OverviewPage {
        sees_money: true,
        tiles: tiles(&balance, &days),
        bars: bars(&days, now.date(), &frame.home),
        models: top_models(models),
        is_out_of_credit: balance.available_usd <= NanoUsd::ZERO,
        frame: &frame,
    };
    page(&template)
}

fn tiles(balance: &Balance, days: &[UsageLine]) -> Vec<Tile> {
    let sum = |of: fn(&UsageLine) -> i64| days.iter().map(of).fold(0_i64, i64::saturating_add);
    let charged = NanoUsd(sum(|line| line.charged_usd.0));
    let cost = NanoUsd(sum(|line| line.provider_cost_usd.0));
    let money = |label, amount: NanoUsd, note: String| Tile {
        label,
        value: view::short(amount),
        exact: view::exact(amount),
        note,
    };
    let plain = |label, value: String, note: String| Tile { label, exact: value.clone(), value, note };
    vec![
        money(
            "Available credit",
            balance.available_usd,
            format!("{} set aside", view::exact(balance.held_usd)),
        ),
        money("Charged, 30 days", charged, String::new()),
        money("Provider cost, 30 days", cost, "own keys included".to_owned()),
        plain("Answered requests, 30 days", view::count(sum(|line| line.requests)), String::new()),
        plain(
            "Tokens, 30 days",
            view::count(sum(|line| line.input_tokens).saturating_add(sum(|line| line.output_tokens))),
            format!("{} of them output", view::count(sum(|line| line.output_tokens))),
        ),
    ]
}

/// A bar for each of the last days, also for those without requests.
pub fn bars(days: &[UsageLine], today: time::Date, home: &str) -> Vec<Bar> {
    let requests = |date: &str| days.iter().find(|line| line.key == date);
    let most = days.iter().map(|line| line.requests).max().unwrap_or(0).max(1);
    (0..DAYS)
        .filter_map(|index| {
            let date = today.checked_sub(time::Duration::days(DAYS - 1 - index))?.to_string();
            let line = requests(&date);
            let number = line.map_or(0, |line| line.requests);
            let charged = line.map_or(NanoUsd::ZERO, |line| line.charged_usd);
            let height = (number.saturating_mul(120) / most).max(i64::from(number > 0));
            Some(Bar {
                x: index * 24,
                y: 130 - height,
                height,
                title: format!("{date}: {} requests, charged {}", view::count(number), view::exact(charged)),
                link: format!("{home}/requests?from={date}&to={date}"),
            })
        })
        .collect()
}

fn top_models(mut lines: Vec<UsageLine>) -> Vec<ModelLine> {
    lines.sort_by(|a, b| (b.charged_usd, b.requests, &a.key).cmp(&(a.charged_usd, a.requests, &b.key)));
    let line = |line: UsageLine| ModelLine {
        name: line.key,
        requests: view::count(line.requests),
        charged: view::exact(line.charged_usd),
        provider_cost: view::exact(line.provider_cost_usd),
    };
    lines.into_iter().take(MODELS_SHOWN).map(line).collect()
}
