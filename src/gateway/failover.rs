//! The way of one request through its choices: candidate by candidate, and for each the key that the request brought
//! for it, or the customer's stored keys in order, then the platform's key. Decides what may be tried after a failure;
//! nothing is tried twice without need. A customer that said `never` is never served on the operator's account after
//! its own key failed, and one that brought a key only where it asked for that.

mod exhausted;
mod patience;
mod precheck;
mod repeats;
mod upstream_request;

use super::{
    attempt::Answer,
    cost_bounds,
    failure::{Failure, redact_for_customer},
    hidden_reasoning::{self, HiddenReasoning},
    inference::Inbound,
    media::Embedded,
    open_request::OpenRequest,
    parsed::ParsedRequest,
    receipt::{Attempt, CredentialKind, ServedBy},
    request_options::{KeySource, RequestKey, RequestRouting, rejects_key},
};
use crate::{
    billing::{
        ledger::LedgerError,
        price::{self, PriceError},
    },
    dialect::{Head, Unsupported},
    domain::{
        catalog::Flag,
        money::{self, NanoUsd},
        policy::ByokFallback,
        provider::{OnDisconnect, ProviderId},
        secret::Secret,
        usage::Usage,
    },
    providers::error::{ErrorClass, UpstreamError},
    routing::plan::Candidate,
    store::provider_keys::StoredProviderKey,
};
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::Instant;

/// The request bears a fee that no answer tells.
const UNPRICED_FEES: &str = "unpriced_fees_refused_on_platform_key";

/// An answer and where it comes from.
pub struct UpstreamAnswer {
    pub answer: Answer,
    pub provider: ProviderId,
    pub secret: Secret,
    pub until: Instant,
}

/// One candidate with one credential.
struct ServingTarget<'a> {
    candidate: &'a Candidate,
    credential: Credential<'a>,
}

enum Credential<'a> {
    /// Came with the request.
    Scoped(&'a RequestKey),
    Stored(&'a StoredProviderKey),
    Platform,
}

impl ServingTarget<'_> {
    fn kind(&self) -> CredentialKind {
        match self.credential {
            Credential::Scoped(_) | Credential::Stored(_) => CredentialKind::Byok,
            Credential::Platform => CredentialKind::Platform,
        }
    }

    fn served(&self) -> ServedBy {
        let candidate = self.candidate;
        ServedBy {
            provider: candidate.provider.row().name,
            model_id: candidate.id.clone(),
            model_name: candidate.name.clone(),
            credential: self.kind(),
            by_byok_api_key: matches!(self.credential, Credential::Scoped(key) if key.form == KeySource::ByokApiKey),
        }
    }

    /// A host of the customer's own says nothing about the provider.
    fn is_measured(&self) -> bool {
        !matches!(self.credential, Credential::Stored(key) if key.base_url.is_some())
    }
}

/// Why a choice gave no answer.
enum AttemptFailure {
    /// Called, and refused or failed.
    Rejected(UpstreamError),
    /// Not called: the provider does not take a field of the request.
    Unsupported(Unsupported),
    /// Not called: the stored key does not open, or its address is not valid.
    Unusable,
}

/// What to do next.
enum Next {
    ServingTarget(usize),
    Again(Duration),
    GiveUp,
}

/// The state of the way.
pub struct Failover<'a> {
    inbound: &'a Inbound<'a>,
    request: &'a ParsedRequest<'a>,
    scope: &'a RequestRouting<'a>,
    fallback: ByokFallback,
    until: Instant,
    choices: Vec<ServingTarget<'a>>,
    /// What was fetched for the request, for every attempt that needs it.
    embedded: Embedded<'a>,
    /// Calls that ended in overload, rate or time-out.
    transient_failures: u32,
    /// The candidate that is being repeated because the request asks for that, and how often it was.
    repeated: Option<(&'a str, u32)>,
    /// The credit did not suffice: platform keys are out of this request.
    platform_closed: Option<NanoUsd>,
    /// What the last failed call on an own key died of.
    own_failure: Option<ErrorClass>,
    /// The brought key was turned down, whatever the model.
    key_rejected: bool,
    last: Option<(UpstreamError, usize)>,
    unsupported: Option<Unsupported>,
    unusable: bool,
}

impl<'a> Failover<'a> {
    /// Lines up every candidate with every credential that may serve it.
    pub fn new(
        inbound: &'a Inbound<'a>,
        request: &'a ParsedRequest<'a>,
        scope: &'a RequestRouting<'a>,
        candidates: &'a [Candidate],
        open: &mut OpenRequest,
    ) -> Self {
        let unsaid = match scope.key {
            Some(_) => ByokFallback::Never,
            None => inbound.principal.policy.byok_fallback,
        };
        let mut failover = Self {
            inbound,
            request,
            scope,
            fallback: inbound.fallback.unwrap_or(unsaid),
            until: Instant::now() + inbound.gateway.settings.deadlines.total,
            choices: Vec::new(),
            embedded: Embedded::default(),
            transient_failures: 0,
            repeated: None,
            platform_closed: None,
            own_failure: None,
            key_rejected: false,
            last: None,
            unsupported: None,
            unusable: false,
        };
        for candidate in candidates {
            if let Some(key) = scope.key_for(candidate.provider) {
                failover.choices.push(ServingTarget { candidate, credential: Credential::Scoped(key) });
                continue;
            }
            let stored = inbound.principal.keys_of(candidate.provider).filter(|key| fits(key, candidate));
            failover
                .choices
                .extend(stored.map(|key| ServingTarget { candidate, credential: Credential::Stored(key) }));
            if candidate.byok_only || !has_platform_key(inbound, scope, candidate.provider) {
                continue;
            }
            match failover.platform_obstacle(candidate, open) {
                None => failover.choices.push(ServingTarget { candidate, credential: Credential::Platform }),
                Some(obstacle) => {
                    let line = open.considered.iter_mut().find(|line| line.model_id == candidate.id);
                    if let Some(line) = line {
                        line.reasons.push(obstacle);
                    }
                }
            }
        }
        failover
    }

    /// What cannot be priced is never served on the operator's account.
    fn platform_obstacle(&self, candidate: &Candidate, open: &OpenRequest) -> Option<&'static str> {
        let head = self.head();
        // What the platform's account keeps at a provider is nobody's in particular.
        let facts = &head.facts;
        if head.needs_state || facts.references_stored_objects || head.account_field.is_some() {
            return Some("kept_state_needs_own_key");
        }
        // A chat answer does not say how often it searched, so an always-searching model's fee cannot be billed.
        let searches = candidate.model.as_ref().is_some_and(|model| model.flags.has(Flag::AlwaysSearches));
        // Nor does a stream that is broken off say how long it spoke, and its audio cannot be counted as text can.
        let unheard = facts.wants_audio_output && head.stream;
        if facts.unpriced_tools
            || unheard
            || searches
            || !cost_bounds::has_audio_prices(facts, candidate.model.as_deref(), open.started_at)
        {
            return Some(UNPRICED_FEES);
        }
        self.bounds(candidate, open).is_err().then_some("unpriced_refused_on_platform_key")
    }

    /// The most this candidate can cost, and the least that lets it run.
    fn bounds(&self, candidate: &Candidate, open: &OpenRequest) -> Result<(NanoUsd, NanoUsd), PriceError> {
        let model = candidate.model.as_deref().ok_or(PriceError::Unpriced)?;
        let tier = self.head().service_tier.as_deref();
        let bound = |most: &Usage, tier| -> Result<NanoUsd, PriceError> {
            let cost = price::upper_bound(model, most, open.started_at, tier)?;
            Ok(money::charge(cost, self.inbound.gateway.settings.margin)?)
        };
        let (most, least) = match self.request {
            ParsedRequest::Conversation(_) => cost_bounds::conversation(self.head(), model),
            ParsedRequest::Kind(request) => cost_bounds::kind(request, model),
        };
        let asked = bound(&most, tier)?;
        // What serves a request that leaves it open is set by the account, and may be the dearer tier.
        let is_open = matches!(tier, None | Some("auto")) && candidate.provider.row().tier_by_account;
        let dearer = if is_open { bound(&most, Some("priority")).ok() } else { None };
        let want = dearer.map_or(asked, |dearer| dearer.max(asked));
        Ok((want, bound(&least, tier)?.min(want)))
    }

    /// Walks until one choice answers or none is left.
    pub async fn run(mut self, open: &mut OpenRequest) -> Result<UpstreamAnswer, Failure> {
        let mut at = 0;
        while let Some(kind) = self.choices.get(at).map(ServingTarget::kind) {
            if kind == CredentialKind::Platform && !self.place_hold(at, open).await? {
                at = self.after(at, self.last.as_ref().map(|(last, _)| last.class));
                continue;
            }
            let Some(choice) = self.choices.get(at) else { break };
            let provider = choice.candidate.provider;
            let patience = self.patience(at);
            let miss = match self.call(choice, patience, open).await {
                Ok(answered) => return Ok(answered),
                Err(miss) => miss,
            };
            let next = self.next(at, &miss);
            match miss {
                AttemptFailure::Rejected(rejection) => self.last = Some((rejection, at)),
                AttemptFailure::Unsupported(unsupported) => self.unsupported = Some(unsupported),
                AttemptFailure::Unusable => {
                    self.unusable |= kind == CredentialKind::Byok;
                    tracing::error!(
                        org.id = %self.inbound.principal.scope.org_id(),
                        provider.name = provider.as_str(),
                        credential = ?kind,
                        "a provider key cannot be used"
                    );
                }
            }
            match next {
                Next::ServingTarget(to) => at = to,
                Next::Again(wait) => tokio::time::sleep(wait).await,
                Next::GiveUp => break,
            }
        }
        Err(self.failure(open))
    }

    /// Credit for the dearest platform candidate still ahead.
    async fn place_hold(&mut self, at: usize, open: &mut OpenRequest) -> Result<bool, Failure> {
        if self.platform_closed.is_some() {
            return Ok(false);
        }
        let Some(first) = self.choices.get(at).map(|choice| choice.candidate) else { return Ok(false) };
        let bounds = self.credit_needed(at, open);
        match open.hold(bounds, first).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(available)) => {
                self.platform_closed = Some(available);
                Ok(false)
            }
            Err(LedgerError::Unavailable(cause)) => Err(Failure::Unavailable(cause.to_owned())),
            Err(LedgerError::Refused(cause)) => Err(Failure::Unavailable(cause.to_string())),
        }
    }

    async fn call(
        &self,
        choice: &ServingTarget<'_>,
        patience: Option<Duration>,
        open: &mut OpenRequest,
    ) -> Result<UpstreamAnswer, AttemptFailure> {
        let provider = choice.candidate.provider;
        let started = Instant::now();
        let (mut call, secret) = self.prepare(choice, open).await?;
        let first_byte = &mut call.deadlines.first_byte;
        *first_byte = patience.map_or(*first_byte, |patience| patience.min(*first_byte));
        let fell_back = self.own_failure.filter(|_| choice.kind() == CredentialKind::Platform);
        open.fallback_reason = fell_back.map(ErrorClass::as_str);
        let metrics = &self.inbound.gateway.metrics;
        metrics.attempts.fetch_add(1, Ordering::Relaxed);
        let before = self.last.as_ref().and_then(|(_, at)| self.choices.get(*at));
        let failed_over = before.is_some_and(|before| before.candidate.id != choice.candidate.id);
        metrics.fallbacks.fetch_add(u64::from(fell_back.is_some() || failed_over), Ordering::Relaxed);
        let timing = choice.is_measured().then(|| call.timing.clone());
        if choice.kind() == CredentialKind::Platform {
            let gateway = self.inbound.gateway;
            gateway.breakers.begin_call(&choice.candidate.id, gateway.now_ms());
        }
        open.serving(choice.candidate, choice.served(), timing);
        open.bound(cost_bounds::reportable(self.head(), choice.candidate.model.as_deref()));
        self.note_thoughts(choice.candidate, open);
        // What comes whole is made whole, whether or not anybody waits for it.
        let comes_whole = matches!(self.request, ParsedRequest::Kind(_)) && !call.stream;
        let result = if comes_whole || provider.row().on_disconnect == OnDisconnect::Drain {
            // Goes on when the client leaves: the provider bills the answer all the same.
            open.await_detached(call).await
        } else {
            call.dial().await
        };
        self.note(choice, result.as_ref().err(), started, open);
        match result {
            Ok(answer) => Ok(UpstreamAnswer { answer, provider, secret, until: self.until }),
            Err(rejection) => {
                if let Some(billed) = rejection.billed.as_deref() {
                    // It is no answer, and paid for all the same.
                    open.commit();
                    open.consumed(Some(*billed), None, &[]);
                }
                Err(AttemptFailure::Rejected(rejection))
            }
        }
    }

    /// A model that thinks unseen is billed for that, however its answer ends.
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

    /// Puts a call on record.
    fn note(
        &self,
        choice: &ServingTarget<'_>,
        failed: Option<&UpstreamError>,
        started: Instant,
        open: &mut OpenRequest,
    ) {
        let provider = choice.candidate.provider;
        let told = failed.map(|rejection| redact_for_customer(rejection, provider, choice.kind()));
        failed.inspect(|rejection| open.blame(rejection.class, rejection.retry_after));
        open.attempts.push(Attempt {
            provider: provider.row().name,
            model_id: choice.candidate.id.clone(),
            turn: open.turns.number(),
            credential: choice.kind(),
            credential_id: match choice.credential {
                Credential::Scoped(key) => {
                    let fingerprints = &self.inbound.gateway.installation.fingerprints;
                    Some(fingerprints.fingerprint(key.secret.expose().as_bytes()))
                }
                Credential::Stored(key) => Some(key.id.to_string()),
                Credential::Platform => None,
            },
            status: failed.map_or(Some(200), |rejection| rejection.status),
            error: told.map(|told| format!("{}: {}", told.class.as_str(), told.message)),
            latency_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        if let Credential::Stored(key) = choice.credential {
            // A request the provider finds fault with says nothing about the key.
            let about_the_key = failed.filter(|rejection| rejection.class.another_own_key_may_help());
            let error = about_the_key.map(|rejection| rejection.class.as_str());
            self.inbound.gateway.key_uses.note(self.inbound.principal.scope, key.id, open.started_at, error);
        }
    }

    fn head(&self) -> &'a Head<'a> {
        self.request.head()
    }

    fn next(&mut self, at: usize, miss: &AttemptFailure) -> Next {
        let AttemptFailure::Rejected(rejection) = miss else {
            return self.step(self.after_uncalled(at, matches!(miss, AttemptFailure::Unusable)));
        };
        let choice = self.choices.get(at);
        let own = choice.is_some_and(|choice| choice.kind() == CredentialKind::Byok);
        if own {
            self.own_failure = Some(rejection.class);
        }
        let routing_headers = choice.is_some_and(|choice| matches!(choice.credential, Credential::Scoped(_)));
        self.key_rejected |= routing_headers && rejects_key(rejection.class);
        if rejection.billed.is_some() {
            return Next::GiveUp;
        }
        let gateway = self.inbound.gateway;
        let now = gateway.now_ms();
        self.transient_failures += u32::from(rejection.class.is_transient());
        if self.transient_failures >= self.attempts_max() || Instant::now() >= self.until {
            return Next::GiveUp;
        }
        if let Some(wait) = self.repeat(at, rejection, own) {
            return Next::Again(wait);
        }
        let to = self.after(at, Some(rejection.class));
        if to < self.choices.len() {
            // One customer's failing key must not spend what the others' retries live on.
            let is_free = own || !rejection.class.is_transient() || self.is_healthy_elsewhere(at, to);
            let may = is_free || gateway.retries.try_acquire(now);
            return if may { Next::ServingTarget(to) } else { Next::GiveUp };
        }
        // Nothing else is left. Who says how often to repeat has been obeyed by now.
        let again = self.scope.retries.is_none();
        let wait = || self.wait(self.transient_failures.saturating_sub(1), rejection, own);
        again.then(wait).flatten().map_or(Next::GiveUp, Next::Again)
    }

    fn step(&self, to: usize) -> Next {
        if to < self.choices.len() { Next::ServingTarget(to) } else { Next::GiveUp }
    }

    /// The next choice after one that was not called. A key of the customer's that we cannot use is our fault:
    /// it is no reason to charge the customer for the platform's.
    fn after_uncalled(&self, at: usize, unusable: bool) -> usize {
        let class = self.last.as_ref().map(|(last, _)| last.class);
        let current = self.choices.get(at).map(|choice| &choice.candidate.id);
        self.first_ahead(at, |choice| {
            let elsewhere = Some(&choice.candidate.id) != current;
            let mends = match unusable {
                true => choice.kind() == CredentialKind::Byok,
                false => elsewhere && class.is_none_or(ErrorClass::another_provider_may_help),
            };
            mends && self.may_pay(choice, class)
        })
    }

    /// The next choice that may be tried after `at`, whose failure (or an earlier one's, when `at` was passed
    /// over) was of `class`; the number of choices when there is none.
    fn after(&self, at: usize, class: Option<ErrorClass>) -> usize {
        let current = self.choices.get(at).map(|choice| &choice.candidate.id);
        self.first_ahead(at, |choice| {
            let mends = match class {
                None => true,
                Some(class) if Some(&choice.candidate.id) == current => class.another_own_key_may_help(),
                Some(class) => class.another_provider_may_help(),
            };
            mends && self.may_pay(choice, class)
        })
    }

    fn first_ahead(&self, at: usize, may: impl Fn(&ServingTarget<'_>) -> bool) -> usize {
        // Providers lock accounts on whose keys they refuse call after call.
        let is_rejected = |choice: &ServingTarget<'_>| {
            self.key_rejected && matches!(choice.credential, Credential::Scoped(_))
        };
        let ahead = self.choices.iter().enumerate().skip(at + 1);
        ahead
            .filter(|(_, choice)| !is_rejected(choice) && may(choice))
            .map(|(index, _)| index)
            .next()
            .unwrap_or(self.choices.len())
    }

    /// Whether the operator's account may serve in place of a key of the customer's that failed.
    fn may_pay(&self, choice: &ServingTarget<'_>, class: Option<ErrorClass>) -> bool {
        if choice.kind() == CredentialKind::Byok {
            return true;
        }
        let falls_back = self.own_failure.is_some();
        let allowed = self.fallback == ByokFallback::Platform
            && class.is_none_or(ErrorClass::retry_with_other_key)
            && !self.unusable;
        self.platform_closed.is_none() && (!falls_back || allowed)
    }
}

/// Whether the operator's key may serve at this provider: never where the request brought one of its own, and beside
/// one only if the request says so.
pub fn has_platform_key(inbound: &Inbound<'_>, scope: &RequestRouting<'_>, provider: ProviderId) -> bool {
    let joins = scope.key.is_none() || inbound.fallback == Some(ByokFallback::Platform);
    joins && scope.key_for(provider).is_none() && inbound.gateway.platform_keys.get(provider).is_some()
}

/// A stored key limited to some models serves no others.
pub fn fits(key: &StoredProviderKey, candidate: &Candidate) -> bool {
    key.fits(&candidate.id, &candidate.name, &candidate.upstream)
}
