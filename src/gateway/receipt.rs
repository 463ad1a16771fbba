//! The receipt of one request, and the receipt member of its answer.

mod cache;
mod member;
mod summary;

use super::{
    answer_cache::ServedFromCache,
    automatic::{ClassificationView, RoutingTrace, RoutingView},
};
use crate::{
    billing::{
        ledger,
        price::{LinePrice, PriceLine, Priced, Variant},
        record::RecordedReceipt,
    },
    domain::{
        ids::{ReceiptId, RequestId},
        money::{Bps, NanoUsd},
        usage::Usage,
    },
    routing::plan::CandidateTrace,
};
use cache::CacheView;
pub use cache::view_of_cache;
pub use member::note;
use serde::Serialize;
use std::{borrow::Cow, sync::Arc};

/// Owner of the credential that a call used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialKind {
    Byok,
    Platform,
}

/// One call to a provider.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    pub provider: &'static str,
    pub model_id: Arc<str>,
    /// The turn of the call, if not the first.
    #[serde(skip_serializing_if = "is_first")]
    pub turn: i16,
    pub credential: CredentialKind,
    pub credential_id: Option<String>,
    /// The provider's status; `None` when there was no answer.
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub started_ms: u64,
    pub latency_ms: u64,
}

/// How the request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestOutcome {
    /// A whole answer.
    Completed,
    /// The client disconnected, or the provider broke off, after the answer had begun.
    Aborted,
    /// No answer.
    Failed,
}

impl RequestOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            RequestOutcome::Completed => "completed",
            RequestOutcome::Aborted => "aborted",
            RequestOutcome::Failed => "failed",
        }
    }
}

/// Who serves the request: the candidate and credential in use.
#[derive(Clone, Debug)]
pub struct ServedBy {
    pub provider: &'static str,
    pub model_id: Arc<str>,
    pub model_name: Arc<str>,
    pub credential: CredentialKind,
    /// Served on a `byok_api_key`: the answer is annotated for these clients.
    pub by_byok_api_key: bool,
}

/// The amounts of one answer.
#[derive(Clone, Debug)]
pub struct Bill {
    pub usage: Usage,
    /// `None` for a model without a known price, which only a customer's own key can call.
    pub priced: Option<Priced>,
    pub charge: NanoUsd,
    /// The amounts that the ledger posts: the same cost and charge; nothing on a customer's own key, and nothing
    /// without a price.
    pub posted: Option<ledger::Bill>,
    pub margin_bps: Bps,
    /// The additional cost of the same usage at the reference model, if the gateway chose the model.
    pub savings: NanoUsd,
}

impl Bill {
    pub fn cost(&self) -> Option<NanoUsd> {
        self.priced.as_ref().map(|priced| priced.cost)
    }

    /// The remaining charge; nothing on a customer's own key.
    pub fn margin(&self, credential: CredentialKind) -> NanoUsd {
        match (credential, self.cost()) {
            (CredentialKind::Platform, Some(cost)) => NanoUsd(self.charge.0.saturating_sub(cost.0)),
            _ => NanoUsd::ZERO,
        }
    }
}

/// A turn that another turn follows.
#[derive(Clone, Debug)]
pub struct CompletedTurn {
    pub served: ServedBy,
    pub bill: Bill,
}

/// The sums over all turns of a request.
#[derive(Clone, Debug)]
pub struct Total {
    pub usage: Usage,
    pub charge: NanoUsd,
    /// `None` if the cost of any turn is unknown.
    pub cost: Option<NanoUsd>,
    pub margin: NanoUsd,
    pub savings: NanoUsd,
    /// Every turn was served on a customer's own key.
    pub byok: bool,
}

impl Total {
    /// `None` when there was no turn.
    pub fn of<'t>(turns: impl IntoIterator<Item = (&'t ServedBy, &'t Bill)>) -> Option<Total> {
        let mut each = turns.into_iter().map(|(served, bill)| Total::one(served, bill));
        let first = each.next()?;
        Some(each.fold(first, |total, one| total.plus(&one)))
    }

    /// One turn.
    pub fn one(served: &ServedBy, bill: &Bill) -> Total {
        Total {
            usage: bill.usage,
            charge: bill.charge,
            cost: bill.cost(),
            margin: bill.margin(served.credential),
            savings: bill.savings,
            byok: served.credential == CredentialKind::Byok,
        }
    }

    fn plus(&self, other: &Total) -> Total {
        let sum = |a: NanoUsd, b: NanoUsd| NanoUsd(a.0.saturating_add(b.0));
        Total {
            usage: self.usage.plus(&other.usage),
            charge: sum(self.charge, other.charge),
            cost: self.cost.zip(other.cost).map(|(a, b)| sum(a, b)),
            margin: sum(self.margin, other.margin),
            savings: sum(self.savings, other.savings),
            byok: self.byok && other.byok,
        }
    }
}

/// The complete input of the receipt.
pub struct ReceiptInput<'a> {
    pub request_id: RequestId,
    /// The endpoint that the client called.
    pub kind: &'static str,
    pub requested: &'a str,
    pub considered: &'a [CandidateTrace],
    pub strategy: &'static str,
    /// The basis of the gateway's own choice.
    pub judged: Option<&'a RoutingTrace>,
    pub fallback_chain: &'a [Arc<str>],
    pub attempts: &'a [Attempt],
    pub served: Option<&'a ServedBy>,
    /// The answer came from the response cache.
    pub cached: Option<&'a ServedFromCache>,
    pub fallback_reason: Option<&'static str>,
    pub dropped: &'a [String],
    pub bill: Option<&'a Bill>,
    /// Remarks about the figures of the usage.
    pub usage_flag: Option<&'static str>,
    /// For a request with several turns: the turns before the last.
    pub earlier: &'a [CompletedTurn],
    pub price_version: &'a str,
    pub stream: bool,
    pub ending: RequestOutcome,
    pub error: Option<&'a str>,
    pub latency_ms: u64,
    pub ttft_ms: Option<u64>,
    /// Milliseconds after the arrival at which the hold was placed, and at which its end was recorded.
    pub held_ms: Option<u64>,
    pub settled_ms: Option<u64>,
    pub started_at: time::OffsetDateTime,
}

#[derive(Serialize)]
struct Document<'a> {
    receipt_id: ReceiptId,
    request_id: RequestId,
    kind: &'static str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    classification: Option<ClassificationView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<RoutingView<'a>>,
    candidates: &'a [CandidateTrace],
    decision: Decision<'a>,
    attempts: &'a [Attempt],
    byok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<CacheView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    dropped: &'a [String],
    usage: Option<&'a Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_flag: Option<&'static str>,
    price: Option<Price<'a>>,
    margin_bps: Option<u32>,
    charged_nano_usd: i64,
    provider_cost_nano_usd: Option<i64>,
    margin_nano_usd: i64,
    /// The additional cost at the reference model.
    #[serde(skip_serializing_if = "Option::is_none")]
    savings_nano_usd: Option<i64>,
    /// For a request with several turns, each with its own prices; the figures above are their sum.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    turns: Vec<Turn<'a>>,
    /// Lists or texts were cut to keep the receipt small.
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
    execution: Execution<'a>,
}

#[derive(Serialize)]
struct Turn<'a> {
    turn: usize,
    model_id: &'a str,
    provider: &'static str,
    byok: bool,
    usage: &'a Usage,
    price: Option<Price<'a>>,
    margin_bps: u32,
    charged_nano_usd: i64,
    provider_cost_nano_usd: Option<i64>,
    margin_nano_usd: i64,
}

#[derive(Serialize)]
struct Decision<'a> {
    requested: &'a str,
    model_id: Option<&'a str>,
    provider: Option<&'static str>,
    strategy: &'static str,
    fallback_chain: &'a [Arc<str>],
}

#[derive(Serialize)]
struct Price<'a> {
    catalog_version: &'a str,
    lines: &'a [PriceLine],
    variant: Variant,
    /// How the figures are derived from each other.
    arithmetic: &'static str,
}

#[derive(Serialize)]
struct Execution<'a> {
    status: RequestOutcome,
    stream: bool,
    latency_ms: u64,
    ttft_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Maximum bytes of a receipt.
pub const RECEIPT_BYTES_MAX: usize = 64 * 1_024;
/// Maximum lines of each list of a receipt; fewer if the receipt would still be too large.
const LINES_MAX: [usize; 3] = [128, 16, 2];

/// Bytes of most receipts.
const USUAL_BYTES: usize = 2 * 1_024;

/// The receipt as JSON text, at most [`RECEIPT_BYTES_MAX`] bytes, with what stands in columns beside it.
pub fn write(story: &ReceiptInput<'_>) -> RecordedReceipt {
    let mut receipt = RecordedReceipt::from(String::new());
    for lines_max in LINES_MAX {
        receipt = write_cut(story, lines_max);
        if receipt.text.len() <= RECEIPT_BYTES_MAX {
            break;
        }
    }
    receipt
}

/// With lists of at most `lines_max` lines, and every text of a client or a provider shortened.
fn write_cut(story: &ReceiptInput<'_>, lines_max: usize) -> RecordedReceipt {
    let last_done = story.earlier.last().map(|done| &done.served);
    let served = story.served.or(last_done);
    let bill = story.bill;
    let credential = served.map(|served| served.credential);
    let done = story.earlier.iter().map(|done| (&done.served, &done.bill));
    let billed: Vec<_> = done.chain(story.served.zip(bill)).collect();
    let total = Total::of(billed.iter().copied());
    let single = bill.filter(|_| story.earlier.is_empty());
    let mut cut = Cut { lines_max, happened: false };
    let candidates = cut.lines(
        story.considered,
        |line| [&line.model_id, ""],
        |line, [id, _]| CandidateTrace { model_id: id.into(), ..line.clone() },
    );
    let fallback_chain = cut.lines(story.fallback_chain, |id| [id, ""], |_, [id, _]| id.into());
    let attempts = cut.lines(
        story.attempts,
        |attempt| [&attempt.model_id, attempt.error.as_deref().unwrap_or_default()],
        |attempt, [id, error]| Attempt {
            model_id: id.into(),
            error: attempt.error.as_ref().map(|_| error.to_owned()),
            ..attempt.clone()
        },
    );
    let dropped = cut.lines(story.dropped, |name| [name, ""], |_, [name, _]| name.to_owned());
    let turns = if story.earlier.is_empty() { Vec::new() } else { turns(&billed, story, &mut cut) };
    let document = Document {
        receipt_id: story.request_id.receipt(),
        request_id: story.request_id,
        kind: story.kind,
        created_at: rfc3339(story.started_at),
        classification: story.judged.map(RoutingTrace::classification),
        routing: story.judged.map(RoutingTrace::view),
        decision: Decision {
            requested: cut.text(story.requested),
            model_id: served.map(|served| cut.text(&served.model_id)),
            provider: served.map(|served| served.provider),
            strategy: story.strategy,
            fallback_chain: &fallback_chain,
        },
        candidates: &candidates,
        attempts: &attempts,
        byok: total.as_ref().map(|total| total.byok).or(credential.map(|kind| kind == CredentialKind::Byok)),
        cache: story.cached.map(CacheView::from),
        fallback_reason: story.fallback_reason,
        dropped: &dropped,
        usage: total.as_ref().map(|total| &total.usage),
        usage_flag: story.usage_flag,
        price: single.and_then(|bill| price(bill, story, credential)),
        margin_bps: billed.last().map(|(_, bill)| bill.margin_bps.0),
        charged_nano_usd: total.as_ref().map_or(0, |total| total.charge.0),
        provider_cost_nano_usd: total.as_ref().and_then(|total| total.cost).map(|cost| cost.0),
        margin_nano_usd: total.as_ref().map_or(0, |total| total.margin.0),
        savings_nano_usd: story.judged.and(total.as_ref()).map(|total| total.savings.0),
        turns,
        execution: Execution {
            status: story.ending,
            stream: story.stream,
            latency_ms: story.latency_ms,
            ttft_ms: story.ttft_ms,
            held_ms: story.held_ms,
            settled_ms: story.settled_ms,
            error: story.error.map(|error| cut.text(error)),
        },
        truncated: cut.happened,
    };
    RecordedReceipt { text: written(&document), summary: Some(Box::new(document.summary())) }
}

fn written(document: &Document<'_>) -> String {
    let mut text = Vec::with_capacity(USUAL_BYTES);
    // These types contain nothing that JSON cannot express; an empty object would still be a valid document.
    let written = serde_json::to_writer(&mut text, document).ok().and_then(|()| String::from_utf8(text).ok());
    written.unwrap_or_else(|| "{}".to_owned())
}

/// Shortens the content of a receipt and records that it did.
struct Cut {
    lines_max: usize,
    happened: bool,
}

impl Cut {
    fn text<'t>(&mut self, text: &'t str) -> &'t str {
        let cut = cut(text);
        self.happened |= cut.len() < text.len();
        cut
    }

    /// The lines that fit; copied only if some must be removed.
    fn lines<'t, T: Clone>(
        &mut self,
        lines: &'t [T],
        texts: impl Fn(&T) -> [&str; 2],
        line: impl Fn(&T, [&str; 2]) -> T,
    ) -> Cow<'t, [T]> {
        let lines = match lines.get(..self.lines_max) {
            Some(first) if lines.len() > self.lines_max => {
                self.happened = true;
                first
            }
            _ => lines,
        };
        if lines.iter().flat_map(&texts).all(|text| cut(text).len() == text.len()) {
            return Cow::Borrowed(lines);
        }
        lines.iter().map(|each| line(each, texts(each).map(|text| self.text(text)))).collect()
    }
}

/// Maximum characters of a text that a client or a provider chose.
const TEXT_CHARS_MAX: usize = 200;

/// The stored beginning of a text that a client or a provider chose.
pub fn cut(text: &str) -> &str {
    if text.len() <= TEXT_CHARS_MAX {
        return text;
    }
    let end = text.char_indices().nth(TEXT_CHARS_MAX).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or(text)
}

fn turns<'a>(billed: &[(&'a ServedBy, &'a Bill)], story: &ReceiptInput<'a>, cut: &mut Cut) -> Vec<Turn<'a>> {
    cut.happened |= billed.len() > cut.lines_max;
    let lines_max = cut.lines_max;
    let turn = |(turn, (served, bill)): (usize, &(&'a ServedBy, &'a Bill))| Turn {
        turn,
        model_id: cut.text(&served.model_id),
        provider: served.provider,
        byok: served.credential == CredentialKind::Byok,
        usage: &bill.usage,
        price: price(bill, story, Some(served.credential)),
        margin_bps: bill.margin_bps.0,
        charged_nano_usd: bill.charge.0,
        provider_cost_nano_usd: bill.cost().map(|cost| cost.0),
        margin_nano_usd: bill.margin(served.credential).0,
    };
    billed.iter().enumerate().take(lines_max).map(turn).collect()
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_first(turn: &i16) -> bool {
    *turn == 0
}

fn price<'a>(
    bill: &'a Bill,
    story: &ReceiptInput<'a>,
    credential: Option<CredentialKind>,
) -> Option<Price<'a>> {
    let priced = bill.priced.as_ref()?;
    Some(Price {
        catalog_version: story.price_version,
        lines: &priced.lines,
        variant: priced.variant,
        arithmetic: arithmetic(&priced.lines, credential == Some(CredentialKind::Byok)),
    })
}

/// Units are listed only if there are any, so that most receipts stay short.
fn arithmetic(lines: &[PriceLine], on_own_key: bool) -> &'static str {
    let by_tokens_alone = lines.iter().all(|line| matches!(line.price, LinePrice::Tokens(_)));
    match (by_tokens_alone, on_own_key) {
        (true, true) => {
            "cost_nano = ceil(1000 * sum(tokens * usd_per_million)); charged_nano = ceil(cost_nano * margin_bps / 10000)"
        }
        (true, false) => {
            "cost_nano = ceil(1000 * sum(tokens * usd_per_million)); charged_nano = ceil(cost_nano * (10000 + margin_bps) / 10000)"
        }
        (false, true) => {
            "cost_nano = ceil(1000 * sum(tokens * usd_per_million) + 1000000000 * sum(quantity * usd_per_unit / quantity_per_unit)); charged_nano = ceil(cost_nano * margin_bps / 10000)"
        }
        (false, false) => {
            "cost_nano = ceil(1000 * sum(tokens * usd_per_million) + 1000000000 * sum(quantity * usd_per_unit / quantity_per_unit)); charged_nano = ceil(cost_nano * (10000 + margin_bps) / 10000)"
        }
    }
}

fn rfc3339(at: time::OffsetDateTime) -> String {
    at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests;
