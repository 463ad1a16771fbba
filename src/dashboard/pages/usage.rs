//! Usage in groups, with the exact sums behind every other figure, and the same rows as CSV.

use super::read;
use crate::{
    billing::report::{self, Range, UsageLine},
    dashboard::{
        form::Form,
        frame::{Frame, PageError, page, state},
        routes::Visit,
        view,
    },
    domain::{ambient::Ambient, money::NanoUsd},
    store::{sessions::Session, usage::GroupBy},
};
use actix_web::HttpResponse;
use askama::Template;

#[derive(Template)]
#[template(path = "usage.html")]
struct UsagePage<'a> {
    frame: &'a Frame,
    form: &'a Form,
    groups: Vec<&'static str>,
    group: &'static str,
    rows: Vec<Row>,
    total: Row,
    csv: String,
}

struct Row {
    name: String,
    link: Option<String>,
    requests: String,
    input: String,
    cached: String,
    output: String,
    provider_cost: String,
    charged: String,
    /// Of the largest charge, or of the most requests when nothing was charged: 0 to 100.
    share: i64,
}

/// `GET /o/{org}/usage?group_by&from&to`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let now = state::<Ambient>(&visit.call)?.now();
    let known: Vec<&'static str> = GroupBy::ALL.into_iter().map(GroupBy::as_str).collect();
    let group = visit.form.given("group_by").unwrap_or("day");
    let group = report::parse_group_by(group).ok_or_else(|| {
        PageError::form("group_by", format!("`group_by` must be one of {}", known.join(", ")))
    })?;
    let range = Range::parse(visit.form.given("from"), visit.form.given("to"), now)
        .map_err(|error| PageError::form("from", error.to_string()))?;
    let usage = read(&visit.call, move |db| async move {
        report::usage(&mut *db.acquire().await?, session.scope, range, group).await
    })
    .await?;
    let frame = visit.frame.titled("Usage");
    let most_charged = usage.rows.iter().map(|line| line.charged_usd.0).max().unwrap_or(0);
    let most_requests = usage.rows.iter().map(|line| line.requests).max().unwrap_or(0);
    let share = |line: &UsageLine| match most_charged {
        0 => line.requests.saturating_mul(100) / most_requests.max(1),
        most => i64::try_from(i128::from(line.charged_usd.0) * 100 / i128::from(most)).unwrap_or(0),
    };
    let range_query = ["from", "to"]
        .iter()
        .filter_map(|name| Some(format!("&{name}={}", visit.form.given(name)?)))
        .collect::<String>();
    let template = UsagePage {
        rows: usage.rows.iter().map(|line| row(line, link(group, line, &frame.home), share(line))).collect(),
        total: total(&usage.rows),
        groups: known,
        group: group.as_str(),
        csv: format!("/api/usage?group_by={}{range_query}", group.as_str()),
        form: &visit.form,
        frame: &frame,
    };
    page(&template)
}

fn row(line: &UsageLine, link: Option<String>, share: i64) -> Row {
    Row {
        name: line.key.clone(),
        link,
        requests: view::count(line.requests),
        input: view::count(line.input_tokens),
        cached: view::count(line.cache_read_tokens),
        output: view::count(line.output_tokens),
        provider_cost: view::exact(line.provider_cost_usd),
        charged: view::exact(line.charged_usd),
        share,
    }
}

/// The requests behind a row.
fn link(group: GroupBy, line: &UsageLine, home: &str) -> Option<String> {
    let query = match group.as_str() {
        "day" => format!("from={0}&to={0}", line.key),
        "model" => format!("model={}", encode(&line.key)),
        "key" => format!("key={}", encode(&line.key)),
        _ => return None,
    };
    Some(format!("{home}/requests?{query}"))
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn total(lines: &[UsageLine]) -> Row {
    let sum = |of: fn(&UsageLine) -> i64| lines.iter().map(of).fold(0_i64, i64::saturating_add);
    Row {
        name: "Sum".to_owned(),
        link: None,
        requests: view::count(sum(|line| line.requests)),
        input: view::count(sum(|line| line.input_tokens)),
        cached: view::count(sum(|line| line.cache_read_tokens)),
        output: view::count(sum(|line| line.output_tokens)),
        provider_cost: view::exact(NanoUsd(sum(|line| line.provider_cost_usd.0))),
        charged: view::exact(NanoUsd(sum(|line| line.charged_usd.0))),
        share: 0,
    }
}
