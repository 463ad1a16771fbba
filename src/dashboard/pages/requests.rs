//! The list of requests, and the page of one request: why it was routed so, what each call did, and why it cost
//! what it cost, compared with the usage row and the ledger.

use super::read;
use crate::{
    billing::{
        report::Range,
        requests::{self, Attempt, Candidate, PriceLine, Request, RequestDetails},
    },
    dashboard::{
        explain,
        form::Form,
        frame::{Frame, PageError, page, state},
        routes::Visit,
        view::{self, Moment},
    },
    domain::{
        ambient::Ambient,
        ids::{ApiKeyId, ReceiptId},
        money::NanoUsd,
        provider::{PROVIDERS, ProviderId},
    },
    store::{requests::Filter, sessions::Session, usage},
};
use actix_web::HttpResponse;
use askama::Template;

const PAGE_SIZE: i64 = 50;
const STATUSES: &[&str] = &["completed", "aborted", "failed"];

#[derive(Template)]
#[template(path = "requests.html")]
struct ListPage<'a> {
    frame: &'a Frame,
    rows: Vec<Row>,
    form: &'a Form,
    providers: Vec<&'static str>,
    statuses: &'static [&'static str],
    is_filtered: bool,
    next: Option<String>,
}

struct Row {
    link: String,
    at: Moment,
    asked: String,
    served: String,
    provider: String,
    credential: &'static str,
    tokens: String,
    charged: String,
    took: String,
    status: String,
    status_class: &'static str,
}

/// `GET /o/{org}/requests`.
pub async fn list(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let now = state::<Ambient>(&visit.call)?.now();
    let filter = filter(&visit.form, &session, now)?;
    let before = match visit.form.given("before").map(str::parse::<ReceiptId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(PageError::form("before", "`before` must be the id of a request")),
    };
    let found = read(&visit.call, move |db| async move {
        requests::list(&mut *db.acquire().await?, session.scope, &filter, before, PAGE_SIZE).await
    })
    .await?;
    let frame = visit.frame.titled("Requests");
    let next = found.next.map(|id| format!("?{}", visit.form.with("before", Some(&id.to_string()))));
    let template = ListPage {
        rows: found.requests.iter().map(|request| row(request, &frame.home)).collect(),
        providers: PROVIDERS.iter().map(|provider| provider.name).collect(),
        statuses: STATUSES,
        is_filtered: ["status", "provider", "model", "key", "credential", "from", "to"]
            .iter()
            .any(|name| visit.form.given(name).is_some()),
        form: &visit.form,
        next,
        frame: &frame,
    };
    page(&template)
}

/// A member sees the requests of the API keys it made.
fn made_by(session: &Session) -> Option<crate::domain::ids::UserId> {
    use crate::accounts::roles::Capability::ReadMoney;
    (!session.role.has_all_keys() && !session.role.can(ReadMoney)).then_some(session.user_id)
}

fn filter(form: &Form, session: &Session, now: time::OffsetDateTime) -> Result<Filter, PageError> {
    let one_of = |field: &'static str, known: &[&str]| match form.given(field) {
        Some(value) if !known.contains(&value) => {
            Err(PageError::form(field, format!("`{field}` must be one of {}", known.join(", "))))
        }
        value => Ok(value.map(str::to_owned)),
    };
    let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
    let ids = match (form.given("from"), form.given("to")) {
        (None, None) => None,
        (from, to) => {
            let range =
                Range::parse(from, to, now).map_err(|error| PageError::form("from", error.to_string()))?;
            let (from, to) = range.bounds();
            Some((usage::first_id_at(from), usage::first_id_at(to)))
        }
    };
    Ok(Filter {
        made_by: made_by(session),
        api_key: form
            .given("key")
            .map(str::parse::<ApiKeyId>)
            .transpose()
            .map_err(|_| PageError::form("key", "`key` must be the id of an API key"))?,
        status: one_of("status", STATUSES)?,
        provider: one_of("provider", &names)?
            .map(|name| ProviderId::by_name(&name).map_or(name, |provider| provider.as_str().to_owned())),
        model_part: form.given("model").map(str::to_owned),
        byok: one_of("credential", &["own", "platform"])?.map(|credential| credential == "own"),
        ids,
        ..Filter::default()
    })
}

fn row(request: &Request, home: &str) -> Row {
    let receipt = &request.receipt;
    let tokens = receipt.tokens("input") + receipt.tokens("cache_read") + receipt.tokens("cache_write");
    Row {
        link: format!("{home}/requests/{}", request.id),
        at: view::moment(request.created_at),
        asked: receipt.decision.requested.clone(),
        served: receipt.decision.model_id.clone().unwrap_or_default(),
        provider: receipt.decision.provider.clone().unwrap_or_else(|| "none".to_owned()),
        credential: match receipt.byok {
            Some(true) => "own key",
            Some(false) => "platform",
            None => "",
        },
        tokens: format!("{} in, {} out", view::count(tokens), view::count(receipt.tokens("output"))),
        charged: view::exact(receipt.charged()),
        took: view::duration(receipt.execution.latency_ms),
        status_class: status_class(&receipt.execution.status),
        status: receipt.execution.status.clone(),
    }
}

fn status_class(status: &str) -> &'static str {
    match status {
        "completed" => "good",
        "aborted" => "warn",
        _ => "bad",
    }
}

#[derive(Template)]
#[template(path = "request.html")]
struct RequestPage<'a> {
    frame: &'a Frame,
    id: String,
    sentence: String,
    at: Moment,
    status: &'a str,
    status_class: &'static str,
    requested: &'a str,
    strategy: &'a str,
    candidates: Vec<CandidateLine>,
    attempts: Vec<AttemptLine>,
    /// Width of the time axis in milliseconds, never zero.
    axis: String,
    ttft: Option<String>,
    buckets: Vec<(String, String)>,
    basis: String,
    lines: Vec<LineView>,
    sum: Option<String>,
    margin: String,
    charged: String,
    catalog_version: &'a str,
    agrees: bool,
    usage_charge: String,
    entry_charge: String,
    held: Option<String>,
    is_own_key: bool,
    dropped: &'a [String],
    document: String,
    key_link: String,
}

struct CandidateLine {
    name: String,
    estimate: String,
    reasons: String,
    left_out: bool,
}

struct AttemptLine {
    name: String,
    credential: String,
    outcome: String,
    took: String,
    is_failure: bool,
    /// In parts of the axis, 0 to 1000.
    x: u64,
    width: u64,
    y: usize,
}

struct LineView {
    bucket: String,
    multiplication: String,
    amount: String,
}

/// `GET /o/{org}/requests/{id}`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let id: ReceiptId = visit.call.path("id").parse().map_err(|_| PageError::NotFound)?;
    let made_by = made_by(&session);
    let found = read(&visit.call, move |db| async move {
        requests::get(&mut *db.acquire().await?, session.scope, made_by, id).await
    })
    .await?
    .ok_or(PageError::NotFound)?;
    let frame = visit.frame.titled("Request");
    page(&request_page(&frame, &found))
}

fn request_page<'a>(frame: &'a Frame, found: &'a RequestDetails) -> RequestPage<'a> {
    let receipt = &found.request.receipt;
    let price = receipt.price.as_ref();
    let total_ms = receipt.execution.latency_ms.max(1);
    let usage = receipt.usage.iter().flatten();
    let buckets = usage.clone().filter_map(|(name, value)| Some((name.replace('_', " "), value.as_u64()?)));
    let basis = receipt.usage.as_ref().and_then(|usage| usage.get("basis")).and_then(|basis| basis.as_str());
    let amount =
        |charge: Option<i64>| charge.map_or("no entry".to_owned(), |charge| view::exact(NanoUsd(charge)));
    RequestPage {
        frame,
        id: found.request.id.to_string(),
        sentence: explain::sentence(receipt),
        at: view::moment(found.request.created_at),
        status: &receipt.execution.status,
        status_class: status_class(&receipt.execution.status),
        requested: &receipt.decision.requested,
        strategy: &receipt.decision.strategy,
        candidates: receipt.candidates.iter().map(candidate_line).collect(),
        attempts: attempt_lines(&receipt.attempts, total_ms),
        axis: view::duration(total_ms),
        ttft: receipt.execution.ttft_ms.map(view::duration),
        buckets: buckets.filter(|(_, count)| *count > 0).map(|(name, n)| (name, view::count(n))).collect(),
        basis: basis_text(basis.unwrap_or_default()).to_owned(),
        lines: price.iter().flat_map(|price| &price.lines).map(line_view).collect(),
        sum: receipt.provider_cost_nano_usd.map(|cost| view::exact(NanoUsd(cost))),
        margin: format!(
            "{} basis points = {}",
            receipt.margin_bps.unwrap_or(0),
            view::exact(NanoUsd(receipt.margin_nano_usd))
        ),
        charged: view::exact(receipt.charged()),
        catalog_version: price.map_or("", |price| price.catalog_version.as_str()),
        agrees: found.agrees(),
        usage_charge: amount(found.booked.usage_charge),
        entry_charge: amount(found.booked.entry_charge),
        held: found.booked.held.map(|held| view::exact(NanoUsd(held))),
        is_own_key: receipt.byok == Some(true),
        dropped: &receipt.dropped,
        document: pretty(&found.request.document),
        key_link: format!("{}/keys/{}", frame.home, found.request.api_key_id),
    }
}

fn candidate_line(candidate: &Candidate) -> CandidateLine {
    let in_words = |code: &str| match explain::reason(code) {
        "" => code.replace('_', " "),
        words => words.to_owned(),
    };
    let reasons = match &candidate.filtered_out_by {
        Some(code) => in_words(code),
        None => candidate.reasons.iter().map(|code| in_words(code)).collect::<Vec<_>>().join("; "),
    };
    CandidateLine {
        name: candidate.model_id.clone(),
        estimate: candidate.est_cost_usd.as_ref().map_or(String::new(), |usd| format!("${usd}")),
        reasons,
        left_out: candidate.filtered_out_by.is_some(),
    }
}

/// Calls on one axis. A receipt that does not say when each began shows them one after the other.
fn attempt_lines(attempts: &[Attempt], total_ms: u64) -> Vec<AttemptLine> {
    let mut at_ms = 0_u64;
    let part = |ms: u64| (ms.min(total_ms).saturating_mul(1_000) / total_ms).min(1_000);
    attempts
        .iter()
        .enumerate()
        .map(|(index, attempt)| {
            let begun = attempt.started_ms.unwrap_or(at_ms);
            at_ms = begun.saturating_add(attempt.latency_ms);
            let x = part(begun);
            let y = index * 26 + 4;
            AttemptLine {
                name: attempt.model_id.clone(),
                credential: match (attempt.credential.as_str(), &attempt.credential_id) {
                    ("byok", Some(id)) => format!("own key {id}"),
                    ("byok", None) => "own key, sent with the request".to_owned(),
                    _ => "the platform's key".to_owned(),
                },
                outcome: explain::cause(attempt),
                took: view::duration(attempt.latency_ms),
                is_failure: attempt.error.is_some(),
                x,
                width: part(attempt.latency_ms).min(1_000 - x).max(2),
                y,
            }
        })
        .collect()
}

fn line_view(line: &PriceLine) -> LineView {
    let (multiplication, nano) = match (line.tokens, &line.usd_per_million) {
        (Some(tokens), Some(rate)) => {
            let rate_nano = NanoUsd::parse(rate).map_or(0, |rate| rate.0);
            let exact = i128::from(tokens) * i128::from(rate_nano);
            (format!("{} × ${rate} / 1M", view::count(tokens)), exact / 1_000_000)
        }
        _ => {
            let quantity = line.quantity.unwrap_or(0);
            let (per, unit) =
                (line.quantity_per_unit.unwrap_or(1).max(1), line.unit.as_deref().unwrap_or("unit"));
            let usd = line.usd_per_unit.as_deref().unwrap_or("0");
            let exact = i128::from(quantity) * i128::from(NanoUsd::parse(usd).map_or(0, |usd| usd.0));
            (format!("{} × ${usd} / {per} ({unit})", view::count(quantity)), exact / i128::from(per))
        }
    };
    let amount = NanoUsd(i64::try_from(nano).unwrap_or(i64::MAX));
    LineView { bucket: line.bucket.replace('_', " "), multiplication, amount: view::exact(amount) }
}

fn basis_text(basis: &str) -> &'static str {
    match basis {
        "reported" => "The provider reported these counts.",
        "counted" => "The provider reported nothing; the gateway counted the tokens itself.",
        "estimated" => "These counts are estimates, because the answer ended before it could be counted.",
        _ => "",
    }
}

fn pretty(document: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(document).ok();
    value.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| document.to_owned())
}
