//! A chat request in a straight line: read, plan, then candidate by candidate and credential by credential
//! until one answers; bill; reply. The provider is chosen first, then the key: stored keys in order, then the
//! platform's.

use super::{
    Gateway,
    attempt::{Answer, Call},
    meter::{Meter, NotDurable, Open},
    receipt::{self, Attempt, Bill, CredentialKind, Ending, Served},
    relay::{Asked, NOTE},
    stream::Metered,
};
use crate::{
    billing::{
        ledger::LedgerError,
        price::{self, PriceError},
    },
    credentials,
    dialect::openai_chat::{self, ChatRequest, Encoded, Facts, Invalid, Limits as RequestLimits, Target},
    domain::{
        ids::RequestId,
        money::NanoUsd,
        policy::ByokFallback,
        provider::{OnDisconnect, ProviderId},
        secret::Secret,
    },
    providers::{
        error::{Class, Rejection},
        transport::{Destination, Transport},
    },
    routing::{
        plan::{self, Candidate, Considered, Keys, NoPlan, Plan, Wanted},
        retry,
    },
    store::{api_keys::Principal, provider_keys::StoredProviderKey},
};
use bytes::Bytes;
use reqwest::Url;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// What the caller is told beside the body, on answers and refusals alike.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub request_id: Option<RequestId>,
    pub byok: bool,
    /// Once a candidate was called.
    pub provider: Option<&'static str>,
    pub model: Option<Arc<str>>,
    pub attempts: usize,
    pub cost: Option<NanoUsd>,
    pub fallback_reason: Option<&'static str>,
    pub dropped: Vec<String>,
}

/// An answer.
pub enum Reply {
    Whole { told: Told, body: Vec<u8> },
    Stream { told: Told, body: Box<Metered> },
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    Invalid(Invalid),
    /// `auto`, or nothing left after the filters.
    NoModels {
        message: String,
    },
    UnknownModel {
        message: String,
    },
    InsufficientCredits {
        available: NanoUsd,
    },
    /// The last provider's refusal.
    Upstream {
        rejection: Box<Rejection>,
        provider: ProviderId,
        credential: CredentialKind,
        tried: usize,
    },
    /// The database is away or the bill could not be made durable.
    Unavailable(String),
}

impl Failure {
    fn text(&self) -> String {
        match self {
            Failure::Invalid(invalid) => invalid.message.clone(),
            Failure::NoModels { message } | Failure::UnknownModel { message } => message.clone(),
            Failure::InsufficientCredits { .. } => "insufficient credits".to_owned(),
            Failure::Upstream { rejection, .. } => rejection.message.clone(),
            Failure::Unavailable(cause) => cause.clone(),
        }
    }
}

/// One authenticated request.
pub struct Inbound<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub transport: &'a Transport,
    pub principal: Arc<Principal>,
    pub body: Bytes,
    /// `X-KairosRoute-Fallback`, which overrides the key's own setting.
    pub fallback: Option<ByokFallback>,
}

/// Serves one chat request.
pub async fn complete(inbound: Inbound<'_>) -> Result<Reply, (Failure, Told)> {
    let gateway = inbound.gateway.clone();
    gateway.retries.earn();
    let mut meter = Meter::open(Open::new(gateway, inbound.principal.clone(), inbound.body.clone()));
    match serve(&inbound, &mut meter).await {
        Ok(answer) => reply(answer, meter).await,
        Err(failure) => {
            let told = meter.get().map(|open| told(open)).unwrap_or_default();
            meter.fail(&failure.text()).await;
            Err((failure, told))
        }
    }
}

/// Records a request that was refused before it could be read.
pub async fn refuse(gateway: &Arc<Gateway>, principal: Arc<Principal>, message: &str) -> Told {
    let mut meter = Meter::open(Open::new(gateway.clone(), principal, Bytes::new()));
    let told = meter.get().map(|open| told(open)).unwrap_or_default();
    meter.fail(message).await;
    told
}

async fn reply(answer: Answered, mut meter: Meter) -> Result<Reply, (Failure, Told)> {
    let mut told = meter.get().map(|open| told(open)).unwrap_or_default();
    match answer.answer {
        Answer::Whole { body, usage, service_tier, text } => {
            if let Some(open) = meter.get() {
                open.commit();
                open.consumed(usage, service_tier.as_deref(), &text);
            }
            let requested = meter.get().map(|open| open.requested.clone()).unwrap_or_default();
            match meter.settle(Ending::Completed).await {
                Ok((served, bill)) => {
                    told.cost = Some(bill.charge);
                    let note = note(told.request_id, &requested, &served, &bill);
                    let body = openai_chat::reply::with_member(&body, NOTE, &note).unwrap_or(body);
                    Ok(Reply::Whole { told, body })
                }
                Err(NotDurable) => {
                    Err((Failure::Unavailable("the bill could not be made durable".into()), told))
                }
            }
        }
        Answer::Stream { response, relay } => {
            if let Some(open) = meter.get() {
                open.commit();
            }
            let body = Box::new(Metered::new(meter, answer.provider, response, relay, answer.until));
            Ok(Reply::Stream { told, body })
        }
    }
}

pub(super) fn note(request_id: Option<RequestId>, requested: &str, served: &Served, bill: &Bill) -> String {
    request_id.map_or_else(|| "null".to_owned(), |id| receipt::note(id, requested, served, bill))
}

fn told(open: &Open) -> Told {
    let served = open.served().filter(|_| !open.attempts.is_empty());
    Told {
        request_id: Some(open.request_id),
        byok: served.is_some_and(|served| served.credential == CredentialKind::Byok),
        provider: served.map(|served| served.provider),
        model: served.map(|served| served.model_name.clone()),
        attempts: open.attempts.len(),
        cost: None,
        fallback_reason: open.fallback_reason,
        dropped: open.dropped.clone(),
    }
}

struct Answered {
    answer: Answer,
    provider: ProviderId,
    until: Instant,
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

async fn serve(inbound: &Inbound<'_>, meter: &mut Meter) -> Result<Answered, Failure> {
    let gateway = inbound.gateway;
    let limits = &gateway.settings.limits;
    let request_limits = RequestLimits { depth_max: limits.body_depth_max, ..RequestLimits::default() };
    let request = openai_chat::read(&inbound.body, &request_limits).map_err(Failure::Invalid)?;
    let open = meter.get().ok_or_else(|| Failure::Unavailable("the request has ended".into()))?;
    open.requested = request.models.first().map(|name| name.to_string()).unwrap_or_default();
    open.stream = request.stream;
    open.service_tier = request.service_tier.as_deref().map(str::to_owned);
    let plan = make_plan(inbound, open, &request)?;
    open.considered = plan.considered;
    open.strategy = plan.strategy;
    open.chain = plan.candidates.iter().map(|candidate| candidate.id.clone()).collect();
    let course = Course {
        inbound,
        request: &request,
        fallback: inbound.fallback.unwrap_or(inbound.principal.policy.byok_fallback),
        until: Instant::now() + gateway.settings.deadlines.total,
        choices: Vec::new(),
        passing_failures: 0,
        platform_closed: None,
        last: None,
    };
    course.with_choices(&plan.candidates, open).run(open).await
}

fn make_plan(inbound: &Inbound<'_>, open: &mut Open, request: &ChatRequest<'_>) -> Result<Plan, Failure> {
    let principal = &inbound.principal;
    let wanted = Wanted {
        names: &request.models,
        facts: &request.facts,
        output_limit: request.output_limit,
        service_tier: request.service_tier.as_deref(),
        at: open.started_at,
    };
    let keys = Keys {
        own: &|provider, candidate| principal.keys_of(provider).any(|key| fits(key, candidate)),
        platform: &|provider| inbound.gateway.platform_keys.get(provider).is_some(),
    };
    plan::plan(&open.catalog, &wanted, &principal.policy, &keys).map_err(|no_plan| match no_plan {
        NoPlan::Automatic => Failure::NoModels {
            message: "Automatic routing is not available yet: name a model, such as openai/gpt-5.4-mini"
                .into(),
        },
        NoPlan::UnknownModel { name, instead } => {
            let hint = instead.map(|id| format!(" Try `{id}`.")).unwrap_or_default();
            Failure::UnknownModel { message: format!("No model `{}` can be served.{hint}", shown(&name)) }
        }
        NoPlan::NothingLeft { considered } => {
            let message = left_out(&considered);
            open.considered = considered;
            Failure::NoModels { message }
        }
    })
}

/// A stored key limited to some models serves no others.
fn fits(key: &StoredProviderKey, candidate: &Candidate) -> bool {
    key.models.is_empty()
        || key.models.iter().any(|model| {
            **model == *candidate.id || **model == *candidate.name || **model == *candidate.upstream
        })
}

fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn left_out(considered: &[Considered]) -> String {
    let reasons: Vec<String> = considered
        .iter()
        .take(5)
        .map(|line| format!("{}: {}", line.model_id, line.filtered_out_by.unwrap_or("not tried")))
        .collect();
    format!("No model is left that may serve this request ({})", reasons.join("; "))
}

/// The way through the choices of one request.
struct Course<'a> {
    inbound: &'a Inbound<'a>,
    request: &'a ChatRequest<'a>,
    fallback: ByokFallback,
    until: Instant,
    choices: Vec<Choice<'a>>,
    /// Calls that ended in overload, rate or time-out.
    passing_failures: u32,
    /// The credit did not suffice: platform keys are out of this request.
    platform_closed: Option<NanoUsd>,
    last: Option<(Rejection, usize)>,
}

/// What to do after a failed call.
enum Next {
    Choice(usize),
    Again(Duration),
    GiveUp,
}

impl<'a> Course<'a> {
    /// Lines up every candidate with every credential that may serve it.
    fn with_choices(mut self, candidates: &'a [Candidate], open: &mut Open) -> Self {
        for candidate in candidates {
            let stored =
                self.inbound.principal.keys_of(candidate.provider).filter(|key| fits(key, candidate));
            self.choices.extend(stored.map(|key| Choice { candidate, credential: Credential::Stored(key) }));
            if candidate.own_key_only || self.inbound.gateway.platform_keys.get(candidate.provider).is_none()
            {
                continue;
            }
            match self.platform_obstacle(candidate, open) {
                None => self.choices.push(Choice { candidate, credential: Credential::Platform }),
                Some(obstacle) => {
                    let line = open.considered.iter_mut().find(|line| line.model_id == candidate.id);
                    if let Some(line) = line {
                        line.reasons.push(obstacle);
                    }
                }
            }
        }
        self
    }

    /// What cannot be priced is never served on the operator's account.
    fn platform_obstacle(&self, candidate: &Candidate, open: &Open) -> Option<&'static str> {
        if self.request.facts.unpriced_tools || self.request.facts.wants_audio_output {
            return Some("unpriced_fees_refused_on_platform_key");
        }
        self.bounds(candidate, open).is_err().then_some("unpriced_refused_on_platform_key")
    }

    /// The most this candidate can cost, and the least that lets it run.
    fn bounds(&self, candidate: &Candidate, open: &Open) -> Result<(NanoUsd, NanoUsd), PriceError> {
        let model = candidate.model.as_deref().ok_or(PriceError::Unpriced)?;
        let request = self.request;
        let prompt = prompt_bound(&request.facts).min(model.context_tokens.unwrap_or(u64::MAX));
        let output = price::output_bound(model, request.n, request.output_limit);
        let tier = request.service_tier.as_deref();
        let bound = |output| -> Result<NanoUsd, PriceError> {
            let cost = price::upper_bound(model, prompt, output, open.started_at, tier)?;
            Ok(crate::domain::money::charge(cost, self.inbound.gateway.settings.margin)?)
        };
        let want = bound(output)?;
        match request.output_limit {
            Some(_) => Ok((want, want)),
            None => Ok((want, bound(output.min(OUTPUT_TOKENS_FLOOR))?.min(want))),
        }
    }

    async fn run(mut self, open: &mut Open) -> Result<Answered, Failure> {
        let mut at = 0;
        while let Some(choice) = self.choices.get(at) {
            if choice.kind() == CredentialKind::Platform && !self.admit(at, open).await? {
                at = match self.last {
                    Some(_) => self.after(at, None),
                    None => at + 1,
                };
                continue;
            }
            let rejection = match self.call(at, open).await {
                Ok(answer) => {
                    return Ok(Answered {
                        answer,
                        provider: self
                            .choices
                            .get(at)
                            .map(|choice| choice.candidate.provider)
                            .ok_or_else(gone)?,
                        until: self.until,
                    });
                }
                Err(rejection) => rejection,
            };
            let next = self.next(at, &rejection);
            if let Next::Choice(to) = next {
                self.note_fallback(at, to, &rejection, open);
            }
            self.last = Some((rejection, at));
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

    async fn call(&self, at: usize, open: &mut Open) -> Result<Answer, Rejection> {
        let choice = self.choices.get(at).ok_or_else(|| refused("no such choice"))?;
        let started = Instant::now();
        let prepared = self.prepare(choice, open);
        open.serving(choice.candidate, choice.kind());
        let result = match prepared {
            Ok(call) => {
                self.inbound.gateway.metrics.attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if choice.candidate.provider.row().on_disconnect == OnDisconnect::Drain {
                    // Goes on when the client leaves: the provider bills the answer all the same.
                    open.await_apart(call).await
                } else {
                    call.send().await
                }
            }
            Err(rejection) => Err(rejection),
        };
        let failed = result.as_ref().err();
        open.attempts.push(Attempt {
            provider: choice.candidate.provider.row().name,
            model_id: choice.candidate.id.clone(),
            credential: choice.kind(),
            credential_id: self.credential_id(choice),
            status: failed.map_or(Some(200), |rejection| rejection.status),
            error: failed.map(|rejection| format!("{}: {}", rejection.class.as_str(), rejection.message)),
            latency_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        if let Credential::Stored(key) = choice.credential {
            let error = failed.map(|rejection| rejection.class.as_str());
            self.inbound.gateway.key_uses.note(self.inbound.principal.scope, key.id, open.started_at, error);
        }
        result
    }

    fn prepare(&self, choice: &Choice<'_>, open: &mut Open) -> Result<Call, Rejection> {
        let gateway = self.inbound.gateway;
        let candidate = choice.candidate;
        let target = Target {
            provider: candidate.provider,
            upstream_model: &candidate.upstream,
            traits: None,
            output_tokens_max: candidate.model.as_ref().and_then(|model| model.output_tokens_max),
        };
        let encoded = self.request.encode(&target).map_err(|unsupported| {
            let mut rejection = Rejection::without_answer(Class::OurRequest, unsupported.to_string());
            rejection.param = Some(unsupported.field.to_owned());
            // Another host of the same model may take it: our own refusal, made before anything was sent.
            rejection.code = Some(UNSUPPORTED.to_owned());
            rejection
        })?;
        open.dropped = encoded.dropped.iter().map(|field| (*field).to_owned()).collect();
        let (to, secret) = self.credential(choice)?;
        Ok(self.assemble(candidate.provider, to, secret, encoded, gateway))
    }

    fn assemble(
        &self,
        provider: ProviderId,
        to: Destination,
        secret: Secret,
        encoded: Encoded,
        gateway: &Gateway,
    ) -> Call {
        Call {
            transport: self.inbound.transport.clone(),
            provider,
            to,
            secret,
            body: encoded.body,
            stream: self.request.stream,
            asked: Asked {
                provider,
                choices: self.request.n,
                usage_by_client: self.request.include_usage,
                usage_by_us: encoded.asked_for_usage,
            },
            deadlines: gateway.settings.deadlines,
            until: self.until,
            reply_bytes_max: gateway.settings.limits.reply_bytes_max,
            frame_bytes_max: gateway.settings.limits.frame_bytes_max,
        }
    }

    fn credential(&self, choice: &Choice<'_>) -> Result<(Destination, Secret), Rejection> {
        let gateway = self.inbound.gateway;
        let provider = choice.candidate.provider;
        let operator = gateway.settings.chat_url(provider).ok_or_else(|| refused("no address is known"))?;
        match choice.credential {
            Credential::Platform => {
                let key = gateway.platform_keys.get(provider).ok_or_else(|| refused("no platform key"))?;
                Ok((Destination::Operator(operator.clone()), key.secret.clone()))
            }
            Credential::Stored(key) => {
                let principal = &self.inbound.principal;
                let ring = &gateway.installation.ring;
                let secret = credentials::open_stored(ring, principal.scope, principal.api_key_id, key)
                    .map_err(|_| {
                        Rejection::without_answer(Class::BadKey, "the stored key cannot be opened")
                    })?;
                let to = match &key.base_url {
                    None => Destination::Operator(operator.clone()),
                    Some(base) => Destination::Customer(customer_url(base, provider)?),
                };
                Ok((to, secret))
            }
        }
    }

    fn credential_id(&self, choice: &Choice<'_>) -> Option<String> {
        match choice.credential {
            Credential::Stored(key) => Some(key.id.to_string()),
            Credential::Platform => None,
        }
    }

    fn next(&mut self, at: usize, rejection: &Rejection) -> Next {
        let ours = rejection.code.as_deref() == Some(UNSUPPORTED);
        if rejection.class.may_pass() {
            self.passing_failures += 1;
            let gateway = self.inbound.gateway;
            let now = gateway.ambient.now().unix_timestamp_nanos() / 1_000_000;
            let spent = self.passing_failures >= gateway.settings.limits.attempts_max;
            if spent || !gateway.retries.take(i64::try_from(now).unwrap_or(i64::MAX)) {
                return Next::GiveUp;
            }
        }
        let to = self.after(at, Some((rejection.class, ours)));
        if to < self.choices.len() {
            return Next::Choice(to);
        }
        // Nothing else is left to try: wait and ask the same once more.
        let wait = retry::wait(
            self.passing_failures.saturating_sub(1),
            rejection.retry_after,
            &self.inbound.gateway.ambient,
        );
        match wait.filter(|wait| rejection.class.may_pass() && Instant::now() + *wait < self.until) {
            Some(wait) => Next::Again(wait),
            None => Next::GiveUp,
        }
    }

    /// The next choice that may be tried after the failure of `at`; the number of choices when there is none.
    fn after(&self, at: usize, failed: Option<(Class, bool)>) -> usize {
        let Some(current) = self.choices.get(at) else { return self.choices.len() };
        let own_key_was_tried =
            self.choices.iter().take(at + 1).any(|choice| choice.kind() == CredentialKind::Byok);
        let class = failed.map(|(class, _)| class).or(self.last.as_ref().map(|(last, _)| last.class));
        let ours = failed.is_some_and(|(_, ours)| ours);
        let may = |choice: &Choice<'_>| {
            let same_provider = choice.candidate.id == current.candidate.id;
            let mends = match class {
                None => true,
                Some(class) if same_provider => class.another_key_may_help(),
                Some(class) => class.another_provider_may_help() || ours,
            };
            let falls_back = choice.kind() == CredentialKind::Platform && own_key_was_tried;
            let may_fall_back = self.fallback == ByokFallback::Platform
                && class.is_none_or(|class| class.another_key_may_help() || ours);
            let closed = choice.kind() == CredentialKind::Platform && self.platform_closed.is_some();
            mends && (!falls_back || may_fall_back) && !closed
        };
        let ahead = self.choices.iter().enumerate().skip(at + 1);
        ahead.filter(|(_, choice)| may(choice)).map(|(index, _)| index).next().unwrap_or(self.choices.len())
    }

    fn note_fallback(&self, from: usize, to: usize, rejection: &Rejection, open: &mut Open) {
        let kind = |index: usize| self.choices.get(index).map(Choice::kind);
        if kind(from) == Some(CredentialKind::Byok) && kind(to) == Some(CredentialKind::Platform) {
            open.fallback_reason = Some(rejection.class.as_str());
            self.inbound.gateway.metrics.fallbacks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn failure(self, open: &Open) -> Failure {
        match (self.last, self.platform_closed) {
            (Some((rejection, _)), _) if rejection.code.as_deref() == Some(UNSUPPORTED) => {
                Failure::Invalid(Invalid { param: rejection.param, message: rejection.message })
            }
            (Some((rejection, at)), _) => match self.choices.get(at) {
                Some(choice) => Failure::Upstream {
                    rejection: Box::new(rejection),
                    provider: choice.candidate.provider,
                    credential: choice.kind(),
                    tried: open.attempts.len(),
                },
                None => Failure::Unavailable("no choice was tried".into()),
            },
            (None, Some(available)) => Failure::InsufficientCredits { available },
            (None, None) => Failure::NoModels { message: nothing_tried(&open.considered) },
        }
    }
}

/// Code of a refusal that is our own: the provider would not take a field.
const UNSUPPORTED: &str = "unsupported_by_provider";
/// Output tokens that a customer's credit must cover when the client set no limit.
const OUTPUT_TOKENS_FLOOR: u64 = 1_024;
/// Tokens counted for each part that is not text: above what any provider of the catalogue charges for one.
const IMAGE_TOKENS_MAX: u64 = 50_000;
const AUDIO_TOKENS_MAX: u64 = 100_000;
const FILE_TOKENS_MAX: u64 = 200_000;

/// An upper bound of the prompt's tokens: a token of text is at least one byte.
fn prompt_bound(facts: &Facts) -> u64 {
    facts
        .text_bytes
        .saturating_add(u64::from(facts.images).saturating_mul(IMAGE_TOKENS_MAX))
        .saturating_add(u64::from(facts.audio_parts).saturating_mul(AUDIO_TOKENS_MAX))
        .saturating_add(u64::from(facts.files).saturating_mul(FILE_TOKENS_MAX))
}

fn customer_url(base: &str, provider: ProviderId) -> Result<Url, Rejection> {
    let text = format!("{}{}", base.trim_end_matches('/'), provider.row().chat_path);
    Url::parse(&text).map_err(|_| refused("the stored base URL is not valid"))
}

fn refused(message: &str) -> Rejection {
    Rejection::without_answer(Class::Overload, message)
}

fn gone() -> Failure {
    Failure::Unavailable("the choice is gone".into())
}

fn nothing_tried(considered: &[Considered]) -> String {
    let reasons: Vec<String> = considered
        .iter()
        .take(5)
        .map(|line| {
            format!(
                "{}: {}",
                line.model_id,
                line.filtered_out_by.or(line.reasons.last().copied()).unwrap_or("-")
            )
        })
        .collect();
    format!("No credential may serve this request ({})", reasons.join("; "))
}
