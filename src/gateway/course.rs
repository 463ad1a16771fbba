//! The way of one request through its choices: candidate by candidate, and for each the customer's stored keys
//! in order, then the platform's key. Decides what may be tried after a failure; nothing is tried twice without
//! need, and a customer that said `never` is never served on the operator's account after its own key failed.

mod prepare;

use super::{
    asked::Asked,
    attempt::Answer,
    bounds,
    failure::{Failure, told_of},
    inference::Inbound,
    media::Embedded,
    open::Open,
    receipt::{Attempt, CredentialKind},
};
use crate::{
    billing::{
        ledger::LedgerError,
        price::{self, PriceError},
    },
    dialect::{Head, Invalid, Unsupported},
    domain::{
        catalog::Flag,
        money::{self, NanoUsd},
        policy::ByokFallback,
        provider::{OnDisconnect, ProviderId},
        secret::Secret,
        usage::Usage,
    },
    providers::error::{Class, Rejection},
    routing::{
        plan::{Candidate, Considered},
        retry,
    },
    store::provider_keys::StoredProviderKey,
};

use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::Instant;

/// An answer and where it comes from.
pub struct Answered {
    pub answer: Answer,
    pub provider: ProviderId,
    pub secret: Secret,
    pub until: Instant,
}

/// One candidate with one credential.
struct Choice<'a> {
    candidate: &'a Candidate,
    credential: Credential<'a>,
}

enum Credential<'a> {
    Stored(&'a StoredProviderKey),
    Platform,
}

impl Choice<'_> {
    fn kind(&self) -> CredentialKind {
        match self.credential {
            Credential::Stored(_) => CredentialKind::Byok,
            Credential::Platform => CredentialKind::Platform,
        }
    }
}

/// Why a choice gave no answer.
enum Miss {
    /// Called, and refused or failed.
    Rejected(Rejection),
    /// Not called: the provider does not take a field of the request.
    Unsupported(Unsupported),
    /// Not called: the stored key does not open, or its address is not valid.
    Unusable,
}

/// What to do next.
enum Next {
    Choice(usize),
    Again(Duration),
    GiveUp,
}

/// The state of the way.
pub struct Course<'a> {
    inbound: &'a Inbound<'a>,
    request: &'a Asked<'a>,
    fallback: ByokFallback,
    until: Instant,
    choices: Vec<Choice<'a>>,
    /// What was fetched for the request, for every attempt that needs it.
    embedded: Embedded<'a>,
    /// Calls that ended in overload, rate or time-out.
    passing_failures: u32,
    /// The credit did not suffice: platform keys are out of this request.
    platform_closed: Option<NanoUsd>,
    /// What the last failed call on an own key died of.
    own_failure: Option<Class>,
    last: Option<(Rejection, usize)>,
    unsupported: Option<Unsupported>,
    unusable: bool,
}

impl<'a> Course<'a> {
    /// Lines up every candidate with every credential that may serve it.
    pub fn new(
        inbound: &'a Inbound<'a>,
        request: &'a Asked<'a>,
        candidates: &'a [Candidate],
        open: &mut Open,
    ) -> Self {
        let mut course = Self {
            inbound,
            request,
            fallback: inbound.fallback.unwrap_or(inbound.principal.policy.byok_fallback),
            until: Instant::now() + inbound.gateway.settings.deadlines.total,
            choices: Vec::new(),
            embedded: Embedded::default(),
            passing_failures: 0,
            platform_closed: None,
            own_failure: None,
            last: None,
            unsupported: None,
            unusable: false,
        };
        for candidate in candidates {
            let stored = inbound.principal.keys_of(candidate.provider).filter(|key| fits(key, candidate));
            course
                .choices
                .extend(stored.map(|key| Choice { candidate, credential: Credential::Stored(key) }));
            if candidate.own_key_only || inbound.gateway.platform_keys.get(candidate.provider).is_none() {
                continue;
            }
            match course.platform_obstacle(candidate, open) {
                None => course.choices.push(Choice { candidate, credential: Credential::Platform }),
                Some(obstacle) => {
                    let line = open.considered.iter_mut().find(|line| line.model_id == candidate.id);
                    if let Some(line) = line {
                        line.reasons.push(obstacle);
                    }
                }
            }
        }
        course
    }

    /// What cannot be priced is never served on the operator's account.
    fn platform_obstacle(&self, candidate: &Candidate, open: &Open) -> Option<&'static str> {
        let head = self.head();
        // What the platform's account keeps at a provider is nobody's in particular.
        if head.needs_state {
            return Some("kept_state_needs_own_key");
        }
        let facts = &head.facts;
        // A chat answer does not say how often it searched, so an always-searching model's fee cannot be billed.
        let searches = candidate.model.as_ref().is_some_and(|model| model.flags.has(Flag::AlwaysSearches));
        // Nor does a stream that is broken off say how long it spoke, and its audio cannot be counted as text can.
        let unheard = facts.wants_audio_output && head.stream;
        if facts.unpriced_tools
            || unheard
            || searches
            || !bounds::has_audio_prices(facts, candidate.model.as_deref(), open.started_at)
        {
            return Some("unpriced_fees_refused_on_platform_key");
        }
        self.bounds(candidate, open).is_err().then_some("unpriced_refused_on_platform_key")
    }

    /// The most this candidate can cost, and the least that lets it run.
    fn bounds(&self, candidate: &Candidate, open: &Open) -> Result<(NanoUsd, NanoUsd), PriceError> {
        let model = candidate.model.as_deref().ok_or(PriceError::Unpriced)?;
        let tier = self.head().service_tier.as_deref();
        let bound = |most: &Usage| -> Result<NanoUsd, PriceError> {
            let cost = price::upper_bound(model, most, open.started_at, tier)?;
            Ok(money::charge(cost, self.inbound.gateway.settings.margin)?)
        };
        let (most, least) = match self.request {
            Asked::Conversation(_) => bounds::conversation(self.head(), model),
            Asked::Kind(request) => bounds::kind(request, model),
        };
        let want = bound(&most)?;
        Ok((want, bound(&least)?.min(want)))
    }

    /// Walks until one choice answers or none is left.
    pub async fn run(mut self, open: &mut Open) -> Result<Answered, Failure> {
        let mut at = 0;
        while let Some(kind) = self.choices.get(at).map(Choice::kind) {
            if kind == CredentialKind::Platform && !self.admit(at, open).await? {
                at = self.after(at, self.last.as_ref().map(|(last, _)| last.class));
                continue;
            }
            let Some(choice) = self.choices.get(at) else { break };
            let provider = choice.candidate.provider;
            let miss = match self.call(choice, open).await {
                Ok(answered) => return Ok(answered),
                Err(miss) => miss,
            };
            let next = self.next(at, &miss);
            match miss {
                Miss::Rejected(rejection) => self.last = Some((rejection, at)),
                Miss::Unsupported(unsupported) => self.unsupported = Some(unsupported),
                Miss::Unusable => {
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
                Next::Choice(to) => at = to,
                Next::Again(wait) => tokio::time::sleep(wait).await,
                Next::GiveUp => break,
            }
        }
        Err(self.failure(open))
    }

    /// Credit for the dearest platform candidate still ahead.
    async fn admit(&mut self, at: usize, open: &mut Open) -> Result<bool, Failure> {
        if self.platform_closed.is_some() {
            return Ok(false);
        }
        let ahead = self.choices.iter().skip(at).filter(|choice| choice.kind() == CredentialKind::Platform);
        let bounds = ahead.filter_map(|choice| self.bounds(choice.candidate, open).ok());
        let (want, floor) = bounds.fold((NanoUsd::ZERO, NanoUsd::ZERO), |(want, floor), bound| {
            (want.max(bound.0), floor.max(bound.1))
        });
        match open.hold(want, floor).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(available)) => {
                self.platform_closed = Some(available);
                Ok(false)
            }
            Err(LedgerError::Unavailable(cause)) => Err(Failure::Unavailable(cause.to_owned())),
            Err(LedgerError::Refused(cause)) => Err(Failure::Unavailable(cause.to_string())),
        }
    }

    async fn call(&self, choice: &Choice<'_>, open: &mut Open) -> Result<Answered, Miss> {
        let provider = choice.candidate.provider;
        let started = Instant::now();
        let (call, secret) = self.prepare(choice, open).await?;
        let fell_back = self.own_failure.filter(|_| choice.kind() == CredentialKind::Platform);
        open.fallback_reason = fell_back.map(Class::as_str);
        let metrics = &self.inbound.gateway.metrics;
        metrics.attempts.fetch_add(1, Ordering::Relaxed);
        metrics.fallbacks.fetch_add(u64::from(fell_back.is_some()), Ordering::Relaxed);
        open.serving(choice.candidate, choice.kind());
        // What comes whole is made whole, whether or not anybody waits for it.
        let comes_whole = matches!(self.request, Asked::Kind(_)) && !call.stream;
        let result = if comes_whole || provider.row().on_disconnect == OnDisconnect::Drain {
            // Goes on when the client leaves: the provider bills the answer all the same.
            open.await_apart(call).await
        } else {
            call.dial().await
        };
        self.note(choice, result.as_ref().err(), started, open);
        match result {
            Ok(answer) => Ok(Answered { answer, provider, secret, until: self.until }),
            Err(rejection) => Err(Miss::Rejected(rejection)),
        }
    }

    /// Puts a call on record.
    fn note(&self, choice: &Choice<'_>, failed: Option<&Rejection>, started: Instant, open: &mut Open) {
        let provider = choice.candidate.provider;
        let told = failed.map(|rejection| told_of(rejection, provider, choice.kind()));
        open.attempts.push(Attempt {
            provider: provider.row().name,
            model_id: choice.candidate.id.clone(),
            credential: choice.kind(),
            credential_id: match choice.credential {
                Credential::Stored(key) => Some(key.id.to_string()),
                Credential::Platform => None,
            },
            status: failed.map_or(Some(200), |rejection| rejection.status),
            error: told.map(|told| format!("{}: {}", told.class.as_str(), told.message)),
            latency_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        if let Credential::Stored(key) = choice.credential {
            // A request the provider finds fault with says nothing about the key.
            let about_the_key = failed.filter(|rejection| rejection.class.another_key_may_help());
            let error = about_the_key.map(|rejection| rejection.class.as_str());
            self.inbound.gateway.key_uses.note(self.inbound.principal.scope, key.id, open.started_at, error);
        }
    }

    fn head(&self) -> &'a Head<'a> {
        self.request.head()
    }

    fn next(&mut self, at: usize, miss: &Miss) -> Next {
        let Miss::Rejected(rejection) = miss else {
            return self.step(self.after_uncalled(at, matches!(miss, Miss::Unusable)));
        };
        let own = self.choices.get(at).is_some_and(|choice| choice.kind() == CredentialKind::Byok);
        if own {
            self.own_failure = Some(rejection.class);
        }
        let gateway = self.inbound.gateway;
        let now = gateway.ambient.now().unix_timestamp_nanos() / 1_000_000;
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.passing_failures += u32::from(rejection.class.may_pass());
        if self.passing_failures >= gateway.settings.limits.attempts_max || Instant::now() >= self.until {
            return Next::GiveUp;
        }
        let to = self.after(at, Some(rejection.class));
        if to < self.choices.len() {
            // One customer's failing key must not spend what the others' retries live on.
            let may = own || !rejection.class.may_pass() || gateway.retries.take(now);
            return if may { Next::Choice(to) } else { Next::GiveUp };
        }
        // Nothing else is left. A time-out is not repeated: the provider may bill each try.
        let again = matches!(rejection.class, Class::Rate | Class::Overload);
        let wait =
            retry::wait(self.passing_failures.saturating_sub(1), rejection.retry_after, &gateway.ambient);
        let budget = if own { &gateway.own_key_retries } else { &gateway.retries };
        match wait.filter(|wait| again && Instant::now() + *wait < self.until) {
            Some(wait) if budget.take(now) => Next::Again(wait),
            _ => Next::GiveUp,
        }
    }

    fn step(&self, to: usize) -> Next {
        if to < self.choices.len() { Next::Choice(to) } else { Next::GiveUp }
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
                false => elsewhere && class.is_none_or(Class::another_provider_may_help),
            };
            mends && self.may_pay(choice, class)
        })
    }

    /// The next choice that may be tried after `at`, whose failure (or an earlier one's, when `at` was passed
    /// over) was of `class`; the number of choices when there is none.
    fn after(&self, at: usize, class: Option<Class>) -> usize {
        let current = self.choices.get(at).map(|choice| &choice.candidate.id);
        self.first_ahead(at, |choice| {
            let mends = match class {
                None => true,
                Some(class) if Some(&choice.candidate.id) == current => class.another_key_may_help(),
                Some(class) => class.another_provider_may_help(),
            };
            mends && self.may_pay(choice, class)
        })
    }

    fn first_ahead(&self, at: usize, may: impl Fn(&Choice<'_>) -> bool) -> usize {
        let ahead = self.choices.iter().enumerate().skip(at + 1);
        ahead.filter(|(_, choice)| may(choice)).map(|(index, _)| index).next().unwrap_or(self.choices.len())
    }

    /// Whether the operator's account may serve in place of a key of the customer's that failed.
    fn may_pay(&self, choice: &Choice<'_>, class: Option<Class>) -> bool {
        if choice.kind() == CredentialKind::Byok {
            return true;
        }
        let falls_back = self.own_failure.is_some();
        let allowed = self.fallback == ByokFallback::Platform
            && class.is_none_or(Class::another_key_may_help)
            && !self.unusable;
        self.platform_closed.is_none() && (!falls_back || allowed)
    }

    fn failure(self, open: &Open) -> Failure {
        let needs_state = self.head().needs_state;
        let last = self.last.and_then(|(rejection, at)| {
            let choice = self.choices.get(at)?;
            let (provider, credential) = (choice.candidate.provider, choice.kind());
            let rejection = Box::new(told_of(&rejection, provider, credential));
            Some(Failure::Upstream { rejection, provider, credential, tried: open.attempts.len() })
        });
        match (last, self.unsupported, self.platform_closed) {
            (Some(failure), _, _) => failure,
            (None, Some(unsupported), _) => Failure::Invalid(Invalid {
                param: Some(unsupported.field.to_string()),
                message: unsupported.to_string(),
            }),
            (None, None, Some(available)) => Failure::InsufficientCredits { available },
            (None, None, None) if self.unusable => Failure::NoModels {
                message: "The stored provider key cannot be used; enter it again".to_owned(),
            },
            (None, None, None) if needs_state => Failure::Invalid(Invalid {
                param: Some("previous_response_id".to_owned()),
                message: "What a provider keeps belongs to the account it was asked with, and the platform's \
                          account is shared: store your own key of this provider to build on earlier responses"
                    .to_owned(),
            }),
            (None, None, None) => Failure::NoModels { message: nothing_tried(&open.considered) },
        }
    }
}

/// A stored key limited to some models serves no others.
pub fn fits(key: &StoredProviderKey, candidate: &Candidate) -> bool {
    key.fits(&candidate.id, &candidate.name, &candidate.upstream)
}

fn nothing_tried(considered: &[Considered]) -> String {
    let reasons: Vec<String> = considered
        .iter()
        .take(5)
        .map(|line| {
            let reason = line.filtered_out_by.or(line.reasons.last().copied()).unwrap_or("-");
            format!("{}: {reason}", line.model_id)
        })
        .collect();
    format!("No credential may serve this request ({})", reasons.join("; "))
}
