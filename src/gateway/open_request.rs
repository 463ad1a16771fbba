//! A request that has not ended: its known facts, its usage so far, and how it is priced. Only
//! [`super::billing_guard::BillingGuard`] ends it.

mod absurd;
mod credit;
mod finish;
mod latency_sample;
mod next_turn;
mod record;
mod savings;
mod trace;
mod usage_estimate;

pub use credit::Credit;

use super::{
    Gateway, InFlightPermit,
    answer_cache::CacheStage,
    attempt::{Answer, Call},
    hidden_reasoning::HiddenReasoning,
    history::RequestHistory,
    quota::{RateStandings, Ticket},
    receipt::{Bill, CompletedTurn, CredentialKind, ServedBy},
    relay::Relay,
    request::Inbound,
};
use crate::{
    billing::{
        ledger::{self, Checkpoint},
        price,
    },
    dialect::json,
    domain::{
        catalog::{Catalog, Model},
        ids::{HoldId, RequestId},
        kind::Kind,
        money::{self, NanoUsd},
        provider::ProviderId,
        tokens::{self, Counter, Family},
        usage::{Basis, Usage},
    },
    providers::{
        error::{ErrorClass, UpstreamError},
        transport::ResponseTiming,
    },
    routing::{plan::Candidate, session::SessionKey},
    store::api_keys::Principal,
};
use bytes::Bytes;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use time::OffsetDateTime;
use tokio_util::task::{AbortOnDropHandle, task_tracker::TaskTrackerToken};
use trace::Trace;

/// All data of a request that has not ended.
pub struct OpenRequest {
    pub gateway: Arc<Gateway>,
    pub principal: Arc<Principal>,
    pub request_id: RequestId,
    pub started_at: OffsetDateTime,
    pub started: Instant,
    /// The catalogue snapshot whose prices are used for this request.
    pub catalog: Arc<Catalog>,
    pub kind: Kind,
    pub body: Bytes,
    /// Bytes of text the model reads, for estimates.
    pub prompt_bytes: u64,
    /// Estimated tokens of its audio, images and documents.
    pub prompt_media: Usage,
    /// Tokens that the client sent as numbers.
    pub prompt_tokens: u64,
    /// Usage that does not depend on the answer: characters, time, queries.
    pub measured: Usage,
    pub service_tier: Option<String>,
    /// The history of the request.
    pub history: RequestHistory,
    /// The conversation it belongs to, if there was a choice of hosts.
    pub session: Option<SessionKey>,
    pub turns: TurnState,
    pub cache: CacheStage,
    /// Its position in a trace, and the spans of its calls, if it is traced.
    pub trace: Option<Box<Trace>>,
    pub(super) credit: Credit,
    /// Amount reserved in budgets that count own keys.
    own_hold: Option<HoldId>,
    /// Milliseconds from the request's arrival to its hold.
    held_ms: Option<u64>,
    /// The answer is streamed to the client.
    pub flows: bool,
    /// Why the gateway itself ended the answer.
    cut_by: Option<&'static str>,
    /// The gateway lost the answer, so it is not charged.
    undelivered: bool,
    serving: Option<Serving>,
    /// The units that it holds of rate limits, over all turns.
    pub ticket: Option<Arc<Ticket>>,
    pub rates: Option<Box<RateStandings>>,
    /// No rate limit applies, because it has a request-scoped key.
    pub bypasses_rates: bool,
    /// Its permit as a running request, also while abandoned.
    permit: Option<Arc<InFlightPermit>>,
    /// The process does not end before this request has ended.
    _token: TaskTrackerToken,
    /// A call whose answer is billed also if its client stops waiting.
    pub(super) detached: Option<AbortOnDropHandle<Result<Answer, UpstreamError>>>,
}

/// The position of a turn in its request. Most requests have one turn.
#[derive(Default)]
pub struct TurnState {
    /// The answer is read as events that the gateway itself processes.
    pub gathers: bool,
    /// Another turn follows, and the last one writes the receipt.
    pub has_next_turn: bool,
    /// The turns before this one.
    pub done: Vec<CompletedTurn>,
    /// Start of the first turn.
    began: Option<(OffsetDateTime, Instant)>,
    /// The time to the first content of the first turn.
    first_ttft: Option<Duration>,
}

impl TurnState {
    pub fn number(&self) -> i16 {
        i16::try_from(self.done.len()).unwrap_or(i16::MAX)
    }
}

/// The candidate and credential whose answer is being relayed.
struct Serving {
    provider: ProviderId,
    served: ServedBy,
    model: Option<Arc<Model>>,
    /// The provider's name of the model: how its tokens are counted follows from it.
    upstream: Arc<str>,
    /// When its bytes arrive, if the provider determines that.
    timing: Option<Arc<ResponseTiming>>,
    /// Content was sent or is about to be sent to the client: from here on it is charged.
    committed: bool,
    consumed: Consumed,
    /// For a model with hidden reasoning.
    hidden_reasoning: Option<HiddenReasoning>,
    checkpoint: CheckpointState,
    /// The maximum possible usage of the answer, if known.
    most: Option<Usage>,
    /// The provider reported more than that maximum, and the report is not used.
    above_bound: bool,
}

/// The usage of the answer so far.
#[derive(Default)]
struct Consumed {
    reported: Option<Usage>,
    /// The prompt as counted by the provider before the answer.
    prompt: Option<Usage>,
    service_tier: Option<String>,
    /// The text counted so far, and the uncounted text since, escaped as JSON.
    counter: Option<Counter>,
    uncounted: Vec<u8>,
    /// Bytes of all text.
    said_bytes: usize,
}

struct CheckpointState {
    last: Instant,
    /// Tokens counted at the last checkpoint.
    counted: u64,
}

/// A running stream is checkpointed after this time or this many tokens, whichever comes first.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);
const CHECKPOINT_TOKENS: u64 = 256;
/// Text is counted when this much is waiting, or at a checkpoint. A token has about four bytes.
const COUNT_BYTES: usize = 1_024;
/// Maximum uncounted text.
const UNCOUNTED_BYTES_MAX: usize = 64 * 1_024;
/// Bytes of text per token, only for what a crash would leave.
const BYTES_PER_TOKEN: u64 = 4;

impl OpenRequest {
    pub fn new(inbound: &Inbound<'_>, permit: InFlightPermit) -> Self {
        let (gateway, principal) = (inbound.gateway.clone(), inbound.principal.clone());
        let mut open = Self::begin(gateway, principal, inbound.kind, inbound.body.clone(), permit);
        open.begin_trace(inbound.traceparent);
        open
    }

    pub fn begin(
        gateway: Arc<Gateway>,
        principal: Arc<Principal>,
        kind: Kind,
        body: Bytes,
        permit: InFlightPermit,
    ) -> Self {
        let started_at = gateway.ambient.now();
        Self {
            request_id: RequestId(gateway.ambient.uuid()),
            started_at,
            started: Instant::now(),
            catalog: gateway.catalog.load_full(),
            prompt_bytes: 0,
            prompt_media: Usage::default(),
            prompt_tokens: 0,
            measured: Usage::default(),
            ticket: None,
            rates: None,
            bypasses_rates: false,
            permit: Some(Arc::new(permit)),
            _token: gateway.tasks.token(),
            gateway,
            principal,
            kind,
            body,
            service_tier: None,
            history: RequestHistory::default(),
            session: None,
            turns: TurnState::default(),
            cache: CacheStage::default(),
            trace: None,
            credit: Credit::Unheld,
            own_hold: None,
            held_ms: None,
            flows: false,
            cut_by: None,
            undelivered: false,
            serving: None,
            detached: None,
        }
    }

    /// This candidate and credential are about to be called.
    pub fn serving(&mut self, candidate: &Candidate, served: ServedBy, timing: Option<Arc<ResponseTiming>>) {
        self.serving = Some(Serving {
            provider: candidate.provider,
            served,
            // A name that the catalogue does not list can be anything, and there are too many such names.
            timing: timing.filter(|_| candidate.model.is_some()),
            model: candidate.model.clone(),
            upstream: candidate.upstream.clone(),
            committed: false,
            consumed: Consumed::default(),
            hidden_reasoning: None,
            checkpoint: CheckpointState { last: Instant::now(), counted: 0 },
            most: None,
            above_bound: false,
        });
    }

    /// The model that was called last reasons before it answers, without showing it.
    pub fn set_hidden_reasoning(&mut self, hidden_reasoning: HiddenReasoning) {
        if let Some(serving) = &mut self.serving {
            serving.hidden_reasoning = Some(hidden_reasoning);
        }
    }

    pub fn served(&self) -> Option<&ServedBy> {
        self.serving.as_ref().map(|serving| &serving.served)
    }

    /// The answer has begun: its usage is charged from here on.
    pub fn commit(&mut self) {
        self.history.content_begun(self.started.elapsed());
        if let Some(serving) = &mut self.serving {
            serving.committed = true;
        }
    }

    pub(super) fn is_committed(&self) -> bool {
        self.serving.as_ref().is_some_and(|serving| serving.committed)
    }

    /// Makes a call that continues by itself if this request is dropped.
    pub async fn await_detached(&mut self, call: Box<Call>) -> Result<Answer, UpstreamError> {
        let calling = self.gateway.tasks.spawn_local(call.dial());
        let answer = self.detached.insert(AbortOnDropHandle::new(calling));
        let answered = answer.await;
        self.detached = None;
        answered.unwrap_or_else(|_| {
            Err(UpstreamError::without_answer(ErrorClass::Overload, "the call was given up"))
        })
    }

    /// Records what a relay has read since the last time.
    pub fn relayed(&mut self, relay: &mut Relay) {
        let text = relay.take_text();
        if let Some(serving) = &mut self.serving {
            serving.consumed.prompt = relay.prompt();
            let said_bytes = serving.consumed.said_bytes;
            let hidden_reasoning = serving.hidden_reasoning.as_mut().filter(|_| relay.is_answering());
            hidden_reasoning.into_iter().for_each(|hidden_reasoning| hidden_reasoning.answer(said_bytes));
        }
        self.consumed(relay.usage(), relay.service_tier(), &text);
        self.checkpoint();
    }

    /// Records the reported usage and the text of the model.
    pub fn consumed(&mut self, usage: Option<Usage>, service_tier: Option<&str>, text: &[u8]) {
        if let Some(serving) = &mut self.serving {
            let consumed = &mut serving.consumed;
            consumed.reported = usage.or(consumed.reported);
            if let Some(tier) = service_tier
                && consumed.service_tier.as_deref() != Some(tier)
            {
                consumed.service_tier = Some(tier.to_owned());
            }
            consumed.uncounted.extend_from_slice(text);
            consumed.said_bytes = consumed.said_bytes.saturating_add(text.len());
            if consumed.uncounted.len() > UNCOUNTED_BYTES_MAX {
                consumed.count(|| tokens::family(serving.provider, &serving.upstream));
            }
        }
    }

    /// Keeps the charge that a crash would leave close to the real one.
    pub fn checkpoint(&mut self) {
        let (Some(hold), Some(serving)) = (self.credit.hold(), self.serving.as_mut()) else { return };
        if serving.served.credential != CredentialKind::Platform {
            return;
        }
        let waited = serving.checkpoint.last.elapsed() >= CHECKPOINT_INTERVAL;
        if !waited && serving.consumed.uncounted.len() < COUNT_BYTES {
            return;
        }
        let counted = serving.consumed.count(|| tokens::family(serving.provider, &serving.upstream));
        if !waited && counted.saturating_sub(serving.checkpoint.counted) < CHECKPOINT_TOKENS {
            return;
        }
        serving.checkpoint.last = Instant::now();
        serving.checkpoint.counted = counted;
        let prompt = self.prompt_bytes / BYTES_PER_TOKEN;
        let usage = self.usage_estimate(prompt, counted, Basis::Estimated);
        let cost = self.priced(&usage).map(|priced| priced.cost);
        let margin = self.gateway.settings.margin;
        if let Some(Ok(bill)) = cost.map(|cost| ledger::Bill::of(cost, margin)) {
            let Some(serving) = &self.serving else { return };
            self.gateway.ledger.checkpoint(Checkpoint {
                scope: self.principal.scope,
                hold,
                bill,
                input_tokens: usage.prompt(),
                output_tokens: usage.completion(),
                provider: serving.provider.as_str(),
                model: serving.served.model_id.clone(),
            });
        }
    }

    pub(super) fn needs_counting(&self) -> bool {
        let Some(serving) = self.serving.as_ref().filter(|serving| serving.committed) else { return false };
        match (self.kind, &serving.consumed.reported) {
            (_, None) => true,
            (Kind::Conversation(_), Some(_)) => self.is_above_bound(),
            // The reported usage may lack the units that the catalogue prices: known values are added.
            (_, Some(usage)) => {
                self.is_above_bound() || (serving.has_prices() && self.priced(usage).is_none())
            }
        }
    }

    /// The price of a usage, by the service tier that the provider reports, else the requested tier.
    fn priced(&self, usage: &Usage) -> Option<price::Priced> {
        let serving = self.serving.as_ref()?;
        let prices = serving.model.as_ref()?.prices.as_ref()?;
        let reported = serving.consumed.service_tier.as_deref();
        let priced = |tier| price::price(prices, usage, self.started_at, tier).ok();
        reported.and_then(|tier| priced(Some(tier))).or_else(|| priced(self.service_tier.as_deref()))
    }

    /// A conversation on a platform key with a kind of token that the catalogue does not price: never free, this kind
    /// is billed as text.
    fn priced_as_text(&self, usage: &Usage) -> Option<price::Priced> {
        let served = self.served().filter(|served| served.credential == CredentialKind::Platform)?;
        if !matches!(self.kind, Kind::Conversation(_)) {
            return None;
        }
        tracing::warn!(model.id = %served.model_id, "a kind of reported tokens has no price: billed as text");
        let period = self.serving.as_ref()?.model.as_ref()?.prices.as_ref()?.at(self.started_at)?;
        self.priced(&price::unpriced_as_text(usage, period))
    }

    fn bill(&self) -> Option<Bill> {
        let serving = self.serving.as_ref().filter(|serving| serving.committed)?;
        let usage = serving.consumed.reported?;
        let settings = &self.gateway.settings;
        let mut priced = self.priced(&usage).or_else(|| self.priced_as_text(&usage));
        self.cap(&mut priced);
        let cost = priced.as_ref().map_or(NanoUsd::ZERO, |priced| priced.cost);
        // The only place that computes a charge: the receipt states what the ledger posts.
        let (margin_bps, posted, charge) = match serving.served.credential {
            CredentialKind::Platform => {
                let posted = priced.as_ref().and_then(|_| ledger::Bill::of(cost, settings.margin).ok());
                (settings.margin, posted, posted.map_or(NanoUsd::ZERO, ledger::Bill::charge))
            }
            CredentialKind::Byok => {
                let charge = money::byok_charge(cost, settings.byok_margin).unwrap_or(cost);
                (settings.byok_margin, None, charge)
            }
        };
        let savings = self.savings(&usage, serving.served.credential, cost, charge);
        Some(Bill { usage, priced, charge, posted, margin_bps, savings })
    }
}

impl Serving {
    fn has_prices(&self) -> bool {
        self.model.as_ref().is_some_and(|model| model.prices.is_some())
    }
}

impl Consumed {
    /// Counts the waiting text and returns the tokens of all text so far.
    fn count(&mut self, family: impl FnOnce() -> Family) -> u64 {
        let counter = self.counter.get_or_insert_with(|| Counter::new(family()));
        if !self.uncounted.is_empty() {
            counter.push(&json::unescape(&std::mem::take(&mut self.uncounted)));
        }
        counter.total()
    }
}
