//! One request: why it was routed so, what each call did and when, and why it cost what it cost, compared with the usage
//! row and the ledger.

use super::{
    report,
    requests::{made_by, receipt_id, status_class},
};
use crate::{
    billing::requests::{self, Candidate, PriceLine, Receipt, RequestDetails},
    dashboard::{
        explain,
        frame::{Frame, PageError, page},
        links::encode,
        routes::Visit,
        timeline::{self, Moments, Span},
        view::{self, Moment},
    },
    domain::money::NanoUsd,
    store::{provider_keys, sessions::Session},
};
use actix_web::HttpResponse;
use askama::Template;
use std::collections::BTreeMap;

/// Names of stored provider keys by their ids.
pub(super) type KeyNames = BTreeMap<String, String>;

#[derive(Template)]
#[template(path = "request.html")]
struct RequestPage<'a> {
    frame: &'a Frame,
    id: String,
    request_id: String,
    sentence: String,
    at: Moment,
    status: &'a str,
    status_class: &'static str,
    kind: &'a str,
    requested: &'a str,
    requested_link: String,
    strategy: &'static str,
    category: &'a str,
    savings: Option<String>,
    candidates: Vec<CandidateLine>,
    left_out: Vec<LeftOut>,
    spans: Vec<Span>,
    axis: String,
    no_call: bool,
    buckets: Vec<(String, String)>,
    basis: &'static str,
    lines: Vec<LineView>,
    sum: Option<String>,
    margin: String,
    charged: String,
    provider_cost: String,
    took: String,
    ttft: String,
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
    place: usize,
    name: String,
    link: String,
    estimate: String,
    score: String,
    reasons: String,
    codes: String,
    is_served: bool,
}

/// Candidates that one rule left out.
struct LeftOut {
    code: String,
    words: String,
    names: Vec<String>,
}

struct LineView {
    bucket: String,
    multiplication: String,
    amount: String,
}

/// `GET /o/{org}/requests/{id}`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let id = receipt_id(visit.call.path("id")).ok_or(PageError::NotFound)?;
    let made_by = made_by(&session);
    let found = report(&visit.call, move |db| async move {
        let mut connection = db.acquire().await?;
        let Some(found) = requests::get(&mut connection, session.scope, made_by, id).await? else {
            return Ok(None);
        };
        let keys =
            provider_keys::list_usable(&mut connection, session.scope, found.request.api_key_id).await?;
        let name = |key: &provider_keys::StoredProviderKey| match key.label.as_str() {
            "" => format!("…{}", key.last4),
            label => label.to_owned(),
        };
        let names: KeyNames = keys.iter().map(|key| (key.id.to_string(), name(key))).collect();
        Ok(Some((found, names)))
    })
    .await?;
    let (found, names) = found.ok_or(PageError::NotFound)?;
    let frame = visit.frame.titled("Request");
    page(&request_page(&frame, &found, &names))
}

fn request_page<'a>(frame: &'a Frame, found: &'a RequestDetails, names: &KeyNames) -> RequestPage<'a> {
    let receipt = &found.request.receipt;
    let price = receipt.price.as_ref();
    let usage = receipt.usage.iter().flatten();
    let buckets = usage.filter_map(|(name, value)| Some((name.replace('_', " "), value.as_u64()?)));
    let basis = receipt.usage.as_ref().and_then(|usage| usage.get("basis")).and_then(|basis| basis.as_str());
    let amount =
        |charge: Option<i64>| charge.map_or("no entry".to_owned(), |charge| view::exact(NanoUsd(charge)));
    let model_link = |id: &str| format!("{}/models/view?id={}", frame.home, encode(id));
    let (spans, total_ms) = timeline::spans(&receipt.attempts, &moments(receipt), names);
    RequestPage {
        id: found.request.id.to_string(),
        request_id: crate::domain::ids::RequestId(found.request.id.0).to_string(),
        sentence: explain::sentence(receipt, names),
        at: view::moment(found.request.created_at),
        status: &receipt.execution.status,
        status_class: status_class(&receipt.execution.status),
        kind: found.request.kind.as_deref().unwrap_or("unknown"),
        requested: &receipt.decision.requested,
        requested_link: model_link(&receipt.decision.requested),
        strategy: explain::strategy(&receipt.decision.strategy),
        category: receipt.classification.as_ref().map_or("", |class| class.category.as_str()),
        savings: (receipt.savings_nano_usd != 0).then(|| view::exact(NanoUsd(receipt.savings_nano_usd))),
        candidates: candidates(receipt, model_link),
        left_out: left_out(receipt),
        axis: view::duration(total_ms),
        no_call: receipt.attempts.is_empty(),
        spans,
        buckets: buckets.filter(|(_, count)| *count > 0).map(|(name, n)| (name, view::count(n))).collect(),
        basis: basis_text(basis.unwrap_or_default()),
        lines: price.iter().flat_map(|price| &price.lines).map(line_view).collect(),
        sum: receipt.provider_cost_nano_usd.map(|cost| view::exact(NanoUsd(cost))),
        margin: margin(receipt),
        charged: view::exact(receipt.charged()),
        provider_cost: receipt
            .provider_cost_nano_usd
            .map_or("not priced".to_owned(), |cost| view::exact(NanoUsd(cost))),
        took: view::duration(receipt.execution.latency_ms),
        ttft: receipt.execution.ttft_ms.map_or("none".to_owned(), view::duration),
        catalog_version: price.map_or("", |price| price.catalog_version.as_str()),
        agrees: found.agrees(),
        usage_charge: amount(found.booked.usage_charge),
        entry_charge: amount(found.booked.entry_charge),
        held: found.booked.held.map(|held| view::exact(NanoUsd(held))),
        is_own_key: receipt.byok == Some(true),
        dropped: &receipt.dropped,
        document: pretty(&found.request.document),
        key_link: format!("{}/keys/{}", frame.home, found.request.api_key_id),
        frame,
    }
}

fn moments(receipt: &Receipt) -> Moments {
    let execution = &receipt.execution;
    Moments {
        held_ms: execution.held_ms,
        ttft_ms: execution.ttft_ms,
        end_ms: execution.latency_ms,
        settled_ms: execution.settled_ms,
        is_answered: execution.status != "failed",
    }
}

fn margin(receipt: &Receipt) -> String {
    let bps = receipt.margin_bps.unwrap_or(0);
    let percent = match bps % 100 {
        0 => format!("{} %", bps / 100),
        rest => format!("{}.{rest:02} %", bps / 100),
    };
    format!("{percent} of the provider cost, rounded up = {}", view::exact(NanoUsd(receipt.margin_nano_usd)))
}

fn candidates(receipt: &Receipt, link: impl Fn(&str) -> String) -> Vec<CandidateLine> {
    let tried = receipt.candidates.iter().filter(|candidate| candidate.filtered_out_by.is_none());
    tried
        .zip(1..)
        .map(|(candidate, place)| CandidateLine {
            place,
            name: candidate.model_id.clone(),
            link: link(&candidate.model_id),
            estimate: candidate
                .est_cost_usd
                .as_ref()
                .map_or("not priced".to_owned(), |usd| format!("${usd}")),
            score: candidate.score.as_ref().map_or(String::new(), ToString::to_string),
            reasons: candidate.reasons.iter().map(|code| in_words(code)).collect::<Vec<_>>().join("; "),
            codes: candidate.reasons.join(", "),
            is_served: receipt.decision.model_id.as_ref() == Some(&candidate.model_id),
        })
        .collect()
}

fn left_out(receipt: &Receipt) -> Vec<LeftOut> {
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let codes = receipt
        .candidates
        .iter()
        .filter_map(|candidate: &Candidate| Some((candidate.filtered_out_by.as_deref()?, candidate)));
    for (code, candidate) in codes {
        groups.entry(code).or_default().push(candidate.model_id.clone());
    }
    groups
        .into_iter()
        .map(|(code, names)| LeftOut { code: code.to_owned(), words: in_words(code), names })
        .collect()
}

fn in_words(code: &str) -> String {
    match explain::reason(code) {
        "" => code.replace('_', " "),
        words => words.to_owned(),
    }
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
