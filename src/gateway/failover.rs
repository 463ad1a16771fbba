//! Tries the targets of one request: candidate by candidate, and for each the request-scoped key, or the customer's
//! stored keys in order, then the platform key. [`decide`] decides what follows a failure; this file makes the calls,
//! waits, and keeps the history. If the customer set `never`, a request is not served on a platform key after the
//! customer's key failed. If the request has a request-scoped key, platform keys are used only if the request asks for
//! it.

mod decide;
mod exhausted;
mod first_byte;
mod guardrail;
mod precheck;
mod upstream_request;

use super::{
    attempt::Answer,
    cost_bounds,
    failure::{Failure, redact_for_customer},
    hidden_reasoning::{self, HiddenReasoning},
    media::Embedded,
    open_request::OpenRequest,
    receipt::{Attempt, CredentialKind},
    request::{Inbound, ParsedRequest},
    request_options::RequestRouting,
    targets::{Credential, Credentials, ServingTarget},
};
use crate::{
    billing::{
        ledger::{HoldOutcome, LedgerError},
        price::{self, PriceError},
    },
    dialect::{Head, Unsupported},
    domain::{
        catalog::{Flag, Mode, Model},
        money::{self, NanoUsd},
        policy::ByokFallback,
        provider::{OnDisconnect, ProviderId},
        secret::Secret,
        usage::Usage,
    },
    providers::error::{ErrorClass, UpstreamError},
    routing::{plan::Candidate, retry},
};
use decide::{
    FailedAttempt, FailoverRules, FailoverState, KeyOrigin, Next, Repeat, RetryBudgetOf, StepCost,
    TargetFacts, decide,
};
use exhausted::NoFunds;
use std::time::Duration;
use tokio::time::Instant;

/// The request has a fee that no answer reports.
const UNPRICED_FEES: &str = "unpriced_fees_refused_on_platform_key";

/// An answer and the target that gave it.
pub struct UpstreamAnswer {
    pub answer: Answer,
    pub provider: ProviderId,
    pub secret: Secret,
    pub until: Instant,
}

/// Why a target gave no answer.
enum AttemptFailure {
    /// Called; the provider refused or failed.
    Rejected(UpstreamError),
    /// Not called: the provider does not support a field of the request.
    Unsupported(Unsupported),
    /// Not called: the stored key cannot be opened, or its address is invalid.
    Unusable,
}

/// The targets of one request and the results of their attempts.
pub struct Failover<'a> {
    inbound: &'a Inbound<'a>,
    request: &'a ParsedRequest<'a>,
    targets: Vec<ServingTarget<'a>>,
    state: FailoverState,
    /// Media fetched for the request, for every attempt that needs them.
    embedded: Embedded<'a>,
    /// The limit that excluded the platform keys.
    no_funds: Option<NoFunds>,
    /// The lowest cost of the candidates that the API key's cost guardrail excluded.
    too_costly: Option<NanoUsd>,
    last: Option<(UpstreamError, usize)>,
    unsupported: Option<Unsupported>,
}

impl<'a> Failover<'a> {
    /// Combines every candidate with every credential that may serve it.
    pub fn new(
        inbound: &'a Inbound<'a>,
        request: &'a ParsedRequest<'a>,
        routing: &'a RequestRouting<'a>,
        candidates: &'a [Candidate],
        open: &mut OpenRequest,
    ) -> Self {
        let credentials = Credentials::of_request(inbound, routing);
        let mut failover = Self {
            inbound,
            request,
            targets: Vec::new(),
            state: FailoverState::new(rules(inbound, routing, 0), Vec::new()),
            embedded: Embedded::default(),
            no_funds: None,
            too_costly: None,
            last: None,
            unsupported: None,
        };
        let mut facts = Vec::new();
        for (number, candidate) in candidates.iter().enumerate() {
            for target in credentials.targets(candidate) {
                let obstacle = match target.credential {
                    Credential::Platform => failover
                        .guardrail_obstacle(candidate, open)
                        .or_else(|| failover.platform_obstacle(candidate, open)),
                    Credential::Stored(_) => failover.guardrail_obstacle(candidate, open),
                    Credential::Request(_) => None,
                };
                if let Some(obstacle) = obstacle {
                    open.history.obstacle(&candidate.id, obstacle);
                    continue;
                }
                facts.push(TargetFacts {
                    candidate: number,
                    provider: candidate.provider,
                    key: key_origin(&target),
                });
                failover.targets.push(target);
            }
        }
        failover.state = FailoverState::new(rules(inbound, routing, facts.len()), facts);
        failover
    }

    /// A target without a known price is never served on a platform key.
    fn platform_obstacle(&self, candidate: &Candidate, open: &OpenRequest) -> Option<&'static str> {
        let head = self.head();
        // An object that the platform's account stores at a provider belongs to no particular customer.
        let facts = &head.facts;
        if head.needs_state || facts.references_stored_objects || head.account_field.is_some() {
            return Some("kept_state_needs_own_key");
        }
        let model = candidate.model.as_deref();
        // A chat answer does not report its number of searches, so the fee of a model that always searches cannot be
        // billed.
        let searches =
            model.is_some_and(|model| model.flags.has(Flag::AlwaysSearches) && model.mode != Mode::Responses);
        let is_counted = candidate.provider.counts_searches() && self.request.may_search();
        let fees =
            facts.unpriced_tools && !(is_counted && cost_bounds::has_search_price(model, open.started_at));
        // A stream that breaks off does not report the length of its audio, and audio cannot be counted like text.
        let unheard = facts.wants_audio_output && head.stream;
        if fees || unheard || searches || !cost_bounds::has_audio_prices(facts, model, open.started_at) {
            return Some(UNPRICED_FEES);
        }
        (!self.has_bounds(candidate, open)).then_some("unpriced_refused_on_platform_key")
    }

    /// The maximum cost of this candidate, and the minimum that must be affordable.
    fn bounds(&self, candidate: &Candidate, open: &OpenRequest) -> Result<(NanoUsd, NanoUsd), PriceError> {
        let model = candidate.model.as_deref().ok_or(PriceError::Unpriced)?;
        let tier = self.head().service_tier.as_deref();
        let bound = |usage: &Usage, tier| self.charge_bound(model, usage, tier, open);
        let (most, least) = self.usage_bounds(model);
        let asked = bound(&most, tier)?;
        // If the request names no service tier, the account's setting decides, which may be the more expensive tier.
        let is_open = matches!(tier, None | Some("auto")) && candidate.provider.row().tier_by_account;
        let dearer = if is_open { bound(&most, Some("priority")).ok() } else { None };
        let want = dearer.map_or(asked, |dearer| dearer.max(asked));
        Ok((want, bound(&least, tier)?.min(want)))
    }

    /// Whether [`Self::bounds`] are known, without the tier that it leaves out if that has no price.
    fn has_bounds(&self, candidate: &Candidate, open: &OpenRequest) -> bool {
        let Some(model) = candidate.model.as_deref() else { return false };
        let tier = self.head().service_tier.as_deref();
        let (most, least) = self.usage_bounds(model);
        [most, least].iter().all(|usage| self.charge_bound(model, usage, tier, open).is_ok())
    }

    fn charge_bound(
        &self,
        model: &Model,
        usage: &Usage,
        tier: Option<&str>,
        open: &OpenRequest,
    ) -> Result<NanoUsd, PriceError> {
        let cost = price::upper_bound(model, usage, open.started_at, tier)?;
        Ok(money::charge(cost, self.inbound.gateway.settings.margin)?)
    }

    /// The most that this model can consume for the request, and the least that must be affordable.
    fn usage_bounds(&self, model: &Model) -> (Usage, Usage) {
        match self.request {
            ParsedRequest::Conversation(_) => cost_bounds::conversation(self.head(), model),
            ParsedRequest::Kind(request) => cost_bounds::kind(request, model),
        }
    }

    /// Tries targets until one answers or none is left.
    pub async fn run(mut self, open: &mut OpenRequest) -> Result<UpstreamAnswer, Failure> {
        let mut at = 0;
        while let Some(target) = self.targets.get(at).copied() {
            if target.kind() == CredentialKind::Platform && !self.place_hold(at, open).await? {
                match self.state.after_refused_hold(at) {
                    Some(to) => at = to,
                    None => break,
                }
                continue;
            }
            if !self.reserve_own(at, open).await? {
                break;
            }
            let failure = match self.call(at, &target, open).await {
                Ok(answered) => return Ok(answered),
                Err(failure) => failure,
            };
            self.state.record(at, failure.facts());
            let decision = decide(&self.state, at, failure.facts(), Instant::now());
            let pause = decision.repeat.and_then(|repeat| self.pause(repeat, &failure));
            self.keep(failure, at, &target);
            match (pause, decision.next) {
                (Some(pause), _) => {
                    self.state.record_repeat(at);
                    tokio::time::sleep(pause).await;
                }
                (None, Next::Target { to, cost }) if self.can_pay(to, cost) => at = to,
                (None, Next::Target { .. } | Next::GiveUp) => break,
            }
        }
        Err(self.failure(open))
    }

    /// The pause before a repeat; `None` if it would end too late or no retry budget allows it.
    fn pause(&self, repeat: Repeat, failure: &AttemptFailure) -> Option<Duration> {
        let AttemptFailure::Rejected(rejection) = failure else { return None };
        let gateway = self.inbound.gateway;
        let pause = retry::wait(repeat.retry, rejection.retry_after, &gateway.ambient)
            .filter(|pause| Instant::now() + *pause < self.state.rules.until)?;
        let (org, now_ms) = (self.inbound.principal.scope.org_id(), gateway.now_ms());
        let is_paid = match repeat.budget {
            RetryBudgetOf::Customer => gateway.own_key_retries.try_acquire_for(org, now_ms),
            RetryBudgetOf::Platform => gateway.retries.try_acquire(now_ms),
        };
        is_paid.then_some(pause)
    }

    /// Whether the retry budget allows the step to another target. A step to a host that is not known to fail is free;
    /// all others are limited, to bound the load on failing providers.
    fn can_pay(&self, to: usize, cost: StepCost) -> bool {
        let gateway = self.inbound.gateway;
        let now_ms = gateway.now_ms();
        let is_healthy = || {
            let to = self.targets.get(to);
            let permille =
                to.and_then(|to| gateway.measurements.of(&to.candidate.id, now_ms).success_permille);
            permille.is_none_or(|permille| permille >= 500)
        };
        match cost {
            StepCost::Free => true,
            StepCost::RetryUnlessHealthy => is_healthy() || gateway.retries.try_acquire(now_ms),
            StepCost::Retry => gateway.retries.try_acquire(now_ms),
        }
    }

    /// Keeps a failure for the final error of the request.
    fn keep(&mut self, failure: AttemptFailure, at: usize, target: &ServingTarget<'_>) {
        match failure {
            AttemptFailure::Rejected(rejection) => self.last = Some((rejection, at)),
            AttemptFailure::Unsupported(unsupported) => self.unsupported = Some(unsupported),
            AttemptFailure::Unusable => tracing::error!(
                org.id = %self.inbound.principal.scope.org_id(),
                provider.name = target.candidate.provider.as_str(),
                credential = ?target.kind(),
                "a provider key cannot be used"
            ),
        }
    }

    /// A hold for the most expensive platform candidate that is still ahead.
    async fn place_hold(&mut self, at: usize, open: &mut OpenRequest) -> Result<bool, Failure> {
        if self.state.is_platform_closed() {
            return Ok(false);
        }
        let Some(first) = self.targets.get(at).map(|target| target.candidate) else { return Ok(false) };
        let bounds = self.credit_needed(at, open);
        match open.hold(bounds, first).await {
            Ok(HoldOutcome::Admitted { .. }) => Ok(true),
            Ok(HoldOutcome::Refused { available }) => {
                self.close_platform(NoFunds::Credit { available });
                Ok(false)
            }
            Ok(HoldOutcome::OverBudget(budget)) => {
                self.close_platform(NoFunds::Budget(budget.into()));
                Ok(false)
            }
            Err(LedgerError::Unavailable(cause)) => Err(Failure::Unavailable(cause.to_owned())),
            Err(LedgerError::Refused(cause)) => Err(Failure::Unavailable(cause.to_string())),
        }
    }

    async fn call(
        &self,
        at: usize,
        target: &ServingTarget<'_>,
        open: &mut OpenRequest,
    ) -> Result<UpstreamAnswer, AttemptFailure> {
        let provider = target.candidate.provider;
        let started = Instant::now();
        let (mut call, secret) = self.prepare(target, open).await?;
        let first_byte = &mut call.deadlines.first_byte;
        *first_byte = self.first_byte_max(at).map_or(*first_byte, |most| most.min(*first_byte));
        let fell_back = self.state.own_failure().filter(|_| target.kind() == CredentialKind::Platform);
        open.history.call_begun(fell_back.map(ErrorClass::as_str));
        let metrics = &self.inbound.gateway.metrics;
        let timer = metrics.attempt(target.candidate, target.kind());
        let span = open.begin_attempt_span(&mut call);
        let before = self.last.as_ref().and_then(|(_, at)| self.targets.get(*at));
        let failed_over = before.is_some_and(|before| before.candidate.id != target.candidate.id);
        metrics.fallbacks.inc_by(u64::from(fell_back.is_some() || failed_over));
        // A customer's own host is not a sample of the provider.
        let is_providers = target.custom_base_url().is_none();
        let timing = is_providers.then(|| call.timing.clone());
        if target.kind() == CredentialKind::Platform {
            let gateway = self.inbound.gateway;
            gateway.breakers.begin_call(&target.candidate.id, gateway.now_ms());
        }
        open.serving(target.candidate, target.served(), timing);
        open.bound(cost_bounds::reportable(self.head(), target.candidate.model.as_deref()));
        self.note_thoughts(target.candidate, open);
        // An answer that arrives whole is produced whole, also if its client stops waiting.
        let comes_whole = matches!(self.request, ParsedRequest::Kind(_)) && !call.stream;
        let result = if comes_whole || provider.row().on_disconnect == OnDisconnect::Drain {
            // Continues after the client disconnects: the provider bills the answer in any case.
            open.await_detached(call).await
        } else {
            call.dial().await
        };
        let failed = result.as_ref().err();
        timer.ended(failed.map(|rejection| rejection.class));
        open.end_attempt_span(span, target.candidate, target.kind(), failed);
        self.note(target, failed, started, open);
        match result {
            Ok(answer) => Ok(UpstreamAnswer { answer, provider, secret, until: self.state.rules.until }),
            Err(rejection) => {
                if let Some(billed) = rejection.billed.as_deref() {
                    // The answer cannot be used, but the provider bills it.
                    open.commit();
                    open.consumed(Some(*billed), None, &[]);
                }
                Err(AttemptFailure::Rejected(rejection))
            }
        }
    }

    /// A model with hidden reasoning is billed for it, however its answer ends.
    fn note_thoughts(&self, candidate: &Candidate, open: &mut OpenRequest) {
        let (ParsedRequest::Conversation(request), Some(model)) = (self.request, &candidate.model) else {
            return;
        };
        if hidden_reasoning::thinks(candidate, request.thinking()) {
            let head = request.head();
            let answers = head.n.max(head.drafts);
            let most = price::output_bound(model, answers, head.output_limit);
            open.set_hidden_reasoning(HiddenReasoning::begin(answers, most));
        }
    }

    /// Adds a call to the history.
    fn note(
        &self,
        target: &ServingTarget<'_>,
        failed: Option<&UpstreamError>,
        started: Instant,
        open: &mut OpenRequest,
    ) {
        let provider = target.candidate.provider;
        let shown = failed.map(|rejection| redact_for_customer(rejection, provider, target.kind()));
        failed.inspect(|rejection| open.blame(rejection.class, rejection.retry_after));
        let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        open.history.call_ended(Attempt {
            provider: provider.row().name,
            model_id: target.candidate.id.clone(),
            turn: open.turns.number(),
            credential: target.kind(),
            credential_id: match target.credential {
                Credential::Request(key) => {
                    let fingerprints = &self.inbound.gateway.installation.fingerprints;
                    Some(fingerprints.fingerprint(key.secret.expose().as_bytes()))
                }
                Credential::Stored(key) => Some(key.id.to_string()),
                Credential::Platform => None,
            },
            status: failed.map_or(Some(200), |rejection| rejection.status),
            error: shown.map(|shown| format!("{}: {}", shown.class.as_str(), shown.message)),
            started_ms: open.since_arrival_ms().saturating_sub(latency_ms),
            latency_ms,
        });
        if let Credential::Stored(key) = target.credential {
            // An invalid request is no evidence about the key.
            let about_the_key = failed.filter(|rejection| rejection.class.another_own_key_may_help());
            let error = about_the_key.map(|rejection| rejection.class.as_str());
            self.inbound.gateway.key_uses.note(self.inbound.principal.scope, key.id, open.started_at, error);
        }
    }

    fn head(&self) -> &'a Head<'a> {
        self.request.head()
    }
}

impl AttemptFailure {
    fn facts(&self) -> FailedAttempt {
        match self {
            Self::Rejected(rejection) => FailedAttempt::Called {
                class: rejection.class,
                is_billed: rejection.billed.is_some(),
                is_unusable_success: rejection.unusable_success,
            },
            Self::Unsupported(_) => FailedAttempt::Unsupported,
            Self::Unusable => FailedAttempt::Unusable,
        }
    }
}

fn key_origin(target: &ServingTarget<'_>) -> KeyOrigin {
    match target.credential {
        Credential::Request(_) => KeyOrigin::Request,
        Credential::Stored(_) => KeyOrigin::Stored,
        Credential::Platform => KeyOrigin::Platform,
    }
}

/// A request that sets its number of retries may need more calls than others.
fn rules(inbound: &Inbound<'_>, routing: &RequestRouting<'_>, targets: usize) -> FailoverRules {
    let by_key = match routing.key {
        Some(_) => ByokFallback::Never,
        None => inbound.principal.policy.byok_fallback,
    };
    let settings = &inbound.gateway.settings;
    let targets = u32::try_from(targets).unwrap_or(u32::MAX);
    let tries = routing.retries.map(|retries| retries.saturating_add(1).saturating_mul(targets));
    FailoverRules {
        fallback: inbound.fallback.unwrap_or(by_key),
        attempts_max: tries.unwrap_or(settings.limits.attempts_max),
        repeats_max: routing.retries,
        until: Instant::now() + settings.deadlines.total,
    }
}
