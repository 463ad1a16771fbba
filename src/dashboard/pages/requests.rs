//! The list of requests, refusals too, with a filter for each property; the same rows as CSV.

use super::{report, yes_or_no};
use crate::{
    accounts::roles::Capability,
    billing::{
        report::Range,
        requests::{self, Request},
    },
    books::{
        periods::Zone,
        table::{Cell, TableWriter},
    },
    dashboard::{
        form::Form,
        frame::{Frame, PageError, guarded, page, see_other, state},
        links::{Choice, Link, Preset, change, chips, choices, presets, query_string},
        names::Names,
        routes::Visit,
        view::{self, Moment},
    },
    domain::{
        ambient::Ambient,
        ids::{ApiKeyId, ReceiptId, RequestId, UserId},
        money::NanoUsd,
        provider::{PROVIDERS, ProviderId},
    },
    http::api::export::{Pieces, send_csv},
    store::{Db, Purpose, StoreError, requests::Filter, sessions::Session, usage},
};
use actix_web::HttpResponse;
use askama::Template;

const PAGE_SIZE: i64 = 50;
const STATUSES: [&str; 3] = ["completed", "aborted", "failed"];
const KINDS: [&str; 12] = [
    "chat",
    "completions",
    "responses",
    "messages",
    "embeddings",
    "images",
    "speech",
    "transcription",
    "translation",
    "moderation",
    "rerank",
    "ocr",
];
const ERROR_CLASSES: [&str; 12] = [
    "refused",
    "bad_key",
    "no_money",
    "permission",
    "unknown_model",
    "invalid_request",
    "context_length",
    "rate_limit",
    "overload",
    "malformed_answer",
    "timeout",
    "not_sent",
];
/// Filters, in the order of the form.
const FILTERS: [&str; 12] = [
    "status",
    "provider",
    "model",
    "q",
    "key",
    "member",
    "byok",
    "kind",
    "error_class",
    "fallback",
    "cost_min",
    "latency_min_ms",
];

#[derive(Template)]
#[template(path = "requests.html")]
struct ListPage<'a> {
    frame: &'a Frame,
    form: &'a Form,
    rows: Vec<Row>,
    presets: Vec<Preset>,
    chips: Vec<Link>,
    statuses: Vec<Choice>,
    providers: Vec<Choice>,
    keys: Vec<Choice>,
    kinds: Vec<Choice>,
    errors: Vec<Choice>,
    byok: Vec<Choice>,
    has_rare_filter: bool,
    is_first_page: bool,
    newest: String,
    next: Option<String>,
    csv: String,
    curl: String,
}

struct Row {
    link: String,
    at: Moment,
    key: String,
    asked: String,
    served: String,
    credential: &'static str,
    fell_back: bool,
    tokens: String,
    charged: String,
    took: String,
    attempts: usize,
    status: String,
    status_class: &'static str,
    error: String,
}

/// `GET /o/{org}/requests`.
pub async fn list(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    if let Some(id) = visit.form.given("id") {
        let id = receipt_id(id).ok_or_else(|| {
            PageError::form("id", "`id` must be the id of a request, such as req_… or rcpt_…")
        })?;
        return Ok(see_other(&format!("{}/requests/{id}", visit.frame.home)));
    }
    let now = state::<Ambient>(&visit.call)?.now();
    let filter = filter(&visit.form, &session, now)?;
    let before = match visit.form.given("before").map(str::parse::<ReceiptId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(PageError::form("before", "`before` must be the id of a request")),
    };
    let (found, names) = report(&visit.call, move |db| async move {
        let mut connection = db.acquire().await?;
        let found = requests::list(&mut connection, session.scope, &filter, before, PAGE_SIZE).await?;
        Ok((found, Names::read(&mut connection, &session).await?))
    })
    .await?;
    let base = visit.origin.base(&visit.call);
    let frame = visit.frame.titled("Requests");
    let form = &visit.form;
    let next = found.next.map(|id| format!("?{}", form.with("before", Some(&id.to_string()))));
    let data = data_query(form);
    let either =
        |yes: &str, no: &str| [("true".to_owned(), yes.to_owned()), ("false".to_owned(), no.to_owned())];
    let same = |names: &[&str]| {
        names.iter().map(|name| ((*name).to_owned(), name.replace('_', " "))).collect::<Vec<_>>()
    };
    let template = ListPage {
        rows: found.requests.iter().map(|request| row(request, &frame.home, &names)).collect(),
        presets: presets(form, now, "Any time"),
        chips: chips(form, &FILTERS, |name, value| chip(name, value, &names)),
        statuses: choices(same(&STATUSES), form.get("status")),
        providers: choices(
            PROVIDERS.iter().map(|provider| (provider.name.to_owned(), provider.name.to_owned())),
            form.get("provider"),
        ),
        keys: choices(names.keys().iter().cloned(), form.get("key")),
        kinds: choices(same(&KINDS), form.get("kind")),
        errors: choices(same(&ERROR_CLASSES), form.get("error_class")),
        byok: choices(either("own key", "platform's key"), form.get("byok")),
        has_rare_filter: [
            "kind",
            "error_class",
            "fallback",
            "cost_min",
            "latency_min_ms",
            "from",
            "to",
            "model",
        ]
        .iter()
        .any(|name| form.given(name).is_some()),
        is_first_page: before.is_none(),
        newest: format!("?{}", change(form, &[])),
        next,
        csv: format!("{}/requests.csv?{}", frame.home, change(form, &[])),
        curl: format!(
            "curl -H \"Authorization: Bearer $KAIROSROUTE_SESSION\" \\\n  '{base}/api/requests?{data}'"
        ),
        form,
        frame: &frame,
    };
    page(&template)
}

/// The filters that the JSON API knows too.
fn data_query(form: &Form) -> String {
    let known = FILTERS.iter().chain(&["from", "to", "tz"]).filter(|name| !["q", "member"].contains(*name));
    let fields: Vec<(&str, String)> =
        known.filter_map(|name| Some((*name, form.given(name)?.to_owned()))).collect();
    query_string(&fields)
}

/// `GET /o/{org}/requests.csv`: every request that the filters pass.
pub async fn export(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let now = state::<Ambient>(&visit.call)?.now();
    let filter = filter(&visit.form, &session, now)?;
    let db = state::<Db>(&visit.call)?.with_purpose(Purpose::Reports);
    let write = move |db: Db, pieces: Pieces| async move {
        let mut table = TableWriter::default();
        table.row(COLUMNS.map(Cell::Text));
        let mut before = None;
        loop {
            // A connection for each page: an export of any length keeps nobody waiting.
            let found =
                requests::list(&mut *db.acquire().await?, session.scope, &filter, before, requests::PAGE_MAX)
                    .await?;
            found.requests.iter().for_each(|request| write_row(&mut table, request));
            if !pieces.clone().send(table.take()).await {
                return Ok::<(), StoreError>(());
            }
            match found.next {
                Some(next) => before = Some(next),
                None => return Ok(()),
            }
        }
    };
    Ok(guarded(send_csv(&db, session.scope, "requests.csv", write)))
}

const COLUMNS: [&str; 18] = [
    "createdAt",
    "requestId",
    "apiKeyId",
    "kind",
    "requested",
    "model",
    "provider",
    "byok",
    "status",
    "errorClass",
    "fallbackReason",
    "attempts",
    "inputTokens",
    "outputTokens",
    "providerCostUsd",
    "chargedUsd",
    "latencyMs",
    "ttftMs",
];

fn write_row(table: &mut TableWriter, request: &Request) {
    let receipt = &request.receipt;
    let [at, id, key] = [
        view::rfc3339(request.created_at),
        RequestId(request.id.0).to_string(),
        request.api_key_id.to_string(),
    ];
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let texts = [
        optional(&request.kind),
        receipt.decision.requested.clone(),
        optional(&receipt.decision.model_id),
        optional(&receipt.decision.provider),
        receipt.byok.map_or(String::new(), |byok| byok.to_string()),
        receipt.execution.status.clone(),
        optional(&request.error_class),
        optional(&receipt.fallback_reason),
    ];
    let (input, output) = tokens(request);
    let figures = [
        receipt.attempts.len().to_string(),
        input.to_string(),
        output.to_string(),
        receipt.provider_cost_nano_usd.map_or(String::new(), |cost| NanoUsd(cost).to_string()),
        receipt.charged().to_string(),
        receipt.execution.latency_ms.to_string(),
        receipt.execution.ttft_ms.map_or(String::new(), |ms| ms.to_string()),
    ];
    let ids = [&at, &id, &key].map(|text| Cell::Figure(text));
    let texts = texts.iter().map(|text| Cell::Text(text));
    table.row(ids.into_iter().chain(texts).chain(figures.iter().map(|text| Cell::Figure(text))));
}

/// What the model read and wrote.
fn tokens(request: &Request) -> (u64, u64) {
    let sum = |buckets: &[&str]| buckets.iter().map(|bucket| request.receipt.tokens(bucket)).sum();
    let input = sum(&["input", "cache_read", "cache_write", "cache_write_1h", "audio_input", "image_input"]);
    (input, sum(&["output", "audio_output", "image_output"]))
}

/// The id of a receipt, or of its request.
pub(super) fn receipt_id(text: &str) -> Option<ReceiptId> {
    text.parse::<ReceiptId>().or_else(|_| text.parse::<RequestId>().map(RequestId::receipt)).ok()
}

/// A member sees the requests of the API keys it made.
pub(super) fn made_by(session: &Session) -> Option<UserId> {
    (!session.role.has_all_keys() && !session.role.can(Capability::ReadMoney)).then_some(session.user_id)
}

fn chip(name: &str, value: &str, names: &Names) -> String {
    match name {
        "key" => format!("API key: {}", names.key(value)),
        "member" => format!("made by {}", names.person(value)),
        "q" => format!("model contains {value}"),
        "byok" => if value == "true" { "own key" } else { "platform's key" }.to_owned(),
        "fallback" => "fell back".to_owned(),
        "cost_min" => format!("charged at least ${value}"),
        "latency_min_ms" => format!("took at least {value} ms"),
        _ => format!("{}: {value}", name.replace('_', " ")),
    }
}

fn filter(form: &Form, session: &Session, now: time::OffsetDateTime) -> Result<Filter, PageError> {
    let one_of = |field: &'static str, known: &[&str]| match form.given(field) {
        Some(value) if !known.contains(&value) => {
            Err(PageError::form(field, format!("`{field}` must be one of {}", known.join(", "))))
        }
        value => Ok(value.map(str::to_owned)),
    };
    let ids = match (form.given("from"), form.given("to")) {
        (None, None) => None,
        (from, to) => {
            let zone = Zone::by_name(form.given("tz").unwrap_or("UTC"))
                .map_err(|error| PageError::form("tz", error.to_string()))?;
            let range = Range::parse_in(&zone, from, to, now)
                .map_err(|error| PageError::form("from", error.to_string()))?;
            let (from, to) = range.bounds();
            Some((usage::first_id_at(from), usage::first_id_at(to)))
        }
    };
    let provider = form.given("provider").map(|name| {
        ProviderId::by_name(name).map(|provider| provider.as_str().to_owned()).ok_or_else(|| {
            PageError::form("provider", format!("`provider` must be one of {}", ProviderId::ids().join(", ")))
        })
    });
    let member = form.given("member").map(str::parse::<UserId>).transpose();
    let member = member.map_err(|_| PageError::form("member", "`member` must be the id of a member"))?;
    let key = form.given("key").map(str::parse::<ApiKeyId>).transpose();
    let least = form.given("cost_min").map(NanoUsd::parse).transpose();
    let latency = form.given("latency_min_ms").map(str::parse::<i64>).transpose();
    let fallback = form.given("fallback");
    Ok(Filter {
        made_by: made_by(session).or(member),
        api_key: key.map_err(|_| PageError::form("key", "`key` must be the id of an API key"))?,
        status: one_of("status", &STATUSES)?,
        provider: provider.transpose()?,
        model: form.given("model").map(str::to_owned),
        model_part: form.given("q").map(str::to_owned),
        kind: one_of("kind", &KINDS)?,
        byok: yes_or_no(form, "byok")?,
        error_class: one_of("error_class", &ERROR_CLASSES)?,
        fallback_reason: fallback.filter(|reason| *reason != "true").map(str::to_owned),
        is_fallback: fallback == Some("true"),
        charge_min: least
            .map_err(|_| PageError::form("cost_min", "`cost_min` must be an amount in USD, such as 0.05"))?,
        charge_max: None,
        latency_ms_min: latency.map_err(|_| {
            PageError::form("latency_min_ms", "`latency_min_ms` must be a number of milliseconds")
        })?,
        ids,
    })
}

fn row(request: &Request, home: &str, names: &Names) -> Row {
    let receipt = &request.receipt;
    let (input, output) = tokens(request);
    let served = receipt.decision.model_id.clone().or_else(|| receipt.decision.provider.clone());
    Row {
        link: format!("{home}/requests/{}", request.id),
        at: view::moment(request.created_at),
        key: names.key(&request.api_key_id.to_string()),
        asked: receipt.decision.requested.clone(),
        served: served.unwrap_or_else(|| "nobody".to_owned()),
        credential: match receipt.byok {
            Some(true) => "own key",
            Some(false) => "platform",
            None => "",
        },
        fell_back: receipt.fallback_reason.is_some(),
        tokens: format!("{} → {}", view::count(input), view::count(output)),
        charged: view::exact(receipt.charged()),
        took: view::duration(receipt.execution.latency_ms),
        attempts: receipt.attempts.len(),
        status_class: status_class(&receipt.execution.status),
        status: receipt.execution.status.clone(),
        error: request.error_class.as_deref().unwrap_or_default().replace('_', " "),
    }
}

pub(super) fn status_class(status: &str) -> &'static str {
    match status {
        "completed" => "good",
        "aborted" => "warn",
        _ => "bad",
    }
}
