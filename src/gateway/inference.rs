//! A request in a straight line: read, plan, walk the choices until one answers, bill, reply.

use super::{
    Gateway, InFlightPermit,
    attempt::{Answer, Body},
    automatic::{self, Judged},
    billing_guard::{BillingGuard, NotDurable},
    byok_annotation::annotate_body,
    cost_bounds,
    failover::{Failover, UpstreamAnswer, fits, has_platform_key},
    failure::Failure,
    open_request::OpenRequest,
    parsed::ParsedRequest,
    plan_token,
    receipt::{self, Bill, CredentialKind, RequestOutcome, ServedBy, Total},
    refusals::{Subject, unplanned},
    relay::RECEIPT_MEMBER,
    request_options::{RequestRouting, RoutingHeaders},
    stream::{Broken, Metered},
    tool_loop::{self, ToolLoopStream},
};
use crate::{
    dialect::{self, Head, Invalid, Limits as RequestLimits, json},
    domain::{
        catalog::Catalog, ids::RequestId, kind::Kind, money::NanoUsd, policy::ByokFallback, shares::Charge,
    },
    providers::transport::Transport,
    routing::plan::{self, Candidate, CredentialLookup, Plan, RouteRequest, RoutingError},
    store::api_keys::Principal,
};
use bytes::Bytes;
use std::{borrow::Cow, sync::Arc, time::Duration};
use time::OffsetDateTime;

const JSON: &str = "application/json";

/// What the caller is told beside the body, on answers and refusals alike.
#[derive(Clone, Debug, Default)]
pub struct ResponseMeta {
    pub request_id: Option<RequestId>,
    pub byok: bool,
    /// Once a candidate was called.
    pub provider: Option<&'static str>,
    pub model: Option<Arc<str>>,
    pub attempts: usize,
    pub cost: Option<NanoUsd>,
    /// What the reference model would have cost more, where the gateway chose the model.
    pub savings: NanoUsd,
    /// The model that the gateway would have chosen, for keys that want to know.
    pub advice: Option<Arc<str>>,
    pub fallback_reason: Option<&'static str>,
    pub dropped: Vec<String>,
    /// A key that came as `byok_api_key` was used.
    pub by_byok_api_key: bool,
}

/// An answer.
pub enum Reply {
    Whole { meta: ResponseMeta, body: Vec<u8>, content_type: Cow<'static, str>, memory: Option<Charge> },
    Stream { meta: ResponseMeta, body: ResponseBody, content_type: Cow<'static, str> },
}

/// A body that flows.
pub enum ResponseBody {
    Single(Box<Metered>),
    ToolLoop(ToolLoopStream),
}

impl ResponseBody {
    /// The next bytes for the client; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        match self {
            ResponseBody::Single(metered) => metered.next().await,
            ResponseBody::ToolLoop(turns) => turns.next().await,
        }
    }

    /// What the answer cost, once it has ended well; several turns tell it in their last frame alone.
    pub fn charged(&self) -> Option<NanoUsd> {
        match self {
            ResponseBody::Single(metered) => metered.charged(),
            ResponseBody::ToolLoop(_) => None,
        }
    }
}

/// One authenticated request.
pub struct Inbound<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub transport: &'a Transport,
    pub principal: Arc<Principal>,
    pub kind: Kind,
    pub body: Bytes,
    /// What the client says the body is; empty when it says nothing.
    pub content_type: String,
    /// `anthropic-beta`, for a provider of that dialect.
    pub beta: Option<String>,
    /// `X-KairosRoute-Fallback`, which overrides the key's own setting.
    pub fallback: Option<ByokFallback>,
    /// `X-KairosRoute-First-Content-Timeout-Ms`: how long a candidate may stay silent while another one is left.
    pub first_content: Option<Duration>,
    /// What came in headers beside the body.
    pub routing_headers: RoutingHeaders,
    /// What the buffers of its answer are charged to; each has another.
    pub memory: Charge,
}

/// Serves one request. It keeps its `place` until it has ended, abandoned or not.
pub async fn complete(
    mut inbound: Inbound<'_>,
    place: InFlightPermit,
) -> Result<Reply, (Failure, ResponseMeta)> {
    let gateway = inbound.gateway;
    if !gateway.recorder.has_room(inbound.principal.scope) {
        let cause = "earlier requests of this organization are not on record yet";
        return Err((Failure::Unavailable(cause.into()), ResponseMeta::default()));
    }
    let unfolded = dialect::normalize(inbound.kind, &inbound.body, &request_limits(gateway));
    let unfolded = unfolded.map(|plain| plain.into_iter().for_each(|plain| inbound.body = plain.into()));
    gateway.retries.deposit();
    gateway.own_key_retries.deposit();
    let open = OpenRequest::new(
        gateway.clone(),
        inbound.principal.clone(),
        inbound.kind,
        inbound.body.clone(),
        place,
    );
    let mut guard = BillingGuard::open(open);
    // What could not be unfolded is refused as every other request that cannot be read.
    match unfolded.as_ref().map_or(Ok(None), |()| tool_loop::read(&inbound)) {
        Ok(None) => {}
        Ok(Some(ask)) => return tool_loop::complete(&inbound, ask, guard).await,
        Err(invalid) => return Err(refusal(Failure::Invalid(invalid), guard).await),
    }
    let served = tokio::select! {
        biased;
        served = serve(&inbound, &mut guard, unfolded) => served,
        () = gateway.stopping.cancelled() => Err(Failure::Unavailable("the gateway is shutting down".into())),
    };
    match served {
        Ok(answered) => reply(answered, guard).await,
        Err(failure) => Err(refusal(failure, guard).await),
    }
}

/// Records a request that was refused before it could be read.
pub async fn refuse(
    gateway: &Arc<Gateway>,
    principal: Arc<Principal>,
    kind: Kind,
    place: InFlightPermit,
    message: &str,
) -> ResponseMeta {
    let mut guard =
        BillingGuard::open(OpenRequest::new(gateway.clone(), principal, kind, Bytes::new(), place));
    let meta = guard.get().map(|open| meta(open)).unwrap_or_default();
    guard.fail(message).await;
    meta
}

pub(super) async fn refusal(failure: Failure, mut guard: BillingGuard) -> (Failure, ResponseMeta) {
    let meta = guard.get().map(|open| meta(open)).unwrap_or_default();
    guard.fail(&failure.text()).await;
    (failure, meta)
}

async fn reply(answered: UpstreamAnswer, mut guard: BillingGuard) -> Result<Reply, (Failure, ResponseMeta)> {
    let mut meta = guard.get().map(|open| meta(open)).unwrap_or_default();
    match answered.answer {
        Answer::Whole { body, usage, service_tier, text, memory } => {
            let mut requested = String::new();
            if let Some(open) = guard.get() {
                open.commit();
                open.consumed(usage, service_tier.as_deref(), &text);
                requested = std::mem::take(&mut open.requested);
                open.requested.clone_from(&requested);
            }
            match guard.settle(RequestOutcome::Completed).await {
                Ok((served, bill)) => {
                    meta.cost = Some(bill.charge);
                    meta.savings = bill.savings;
                    let note = note(meta.request_id, &requested, &served, &bill);
                    let (mut body, content_type) = written(body, &note, &bill);
                    if meta.by_byok_api_key && content_type == JSON {
                        body = annotate_body(body);
                    }
                    Ok(Reply::Whole { meta, body, content_type, memory })
                }
                Err(NotDurable) => Err((Failure::NotDurable, meta)),
            }
        }
        Answer::Stream { response, relay, content_type, memory } => {
            if let Some(open) = guard.get() {
                open.commit();
            }
            let origin = (answered.provider, answered.secret);
            let body = Box::new(Metered::new(guard, origin, response, (relay, memory), answered.until));
            Ok(Reply::Stream { meta, body: ResponseBody::Single(body), content_type })
        }
    }
}

/// The body for the client, with the note in it where it has room for one, and what the body is.
fn written(body: Body, note: &str, bill: &Bill) -> (Vec<u8>, Cow<'static, str>) {
    match body {
        Body::Bytes(bytes) => (json::with_member(&bytes, RECEIPT_MEMBER, note).unwrap_or(bytes), JSON.into()),
        Body::Answer(answer) => {
            let (answer, context) = *answer;
            let writer_context = context.writer_context.as_ref();
            let body = writer_context.and_then(|writer_context| {
                dialect::write_answer(context.client, &answer, writer_context, note, &bill.usage)
            });
            (body.unwrap_or_default(), JSON.into())
        }
        Body::Kind(answer) => {
            let content_type = answer.content_type.clone();
            (answer.write(RECEIPT_MEMBER, note, &bill.usage), content_type)
        }
    }
}

pub(super) fn note(request_id: Option<RequestId>, requested: &str, served: &ServedBy, bill: &Bill) -> String {
    note_of(request_id, requested, served, Total::of([(served, bill)]))
}

pub(super) fn note_of(
    request_id: Option<RequestId>,
    requested: &str,
    served: &ServedBy,
    total: Option<Total>,
) -> String {
    let known = request_id.zip(total);
    known.map_or_else(|| "null".to_owned(), |(id, total)| receipt::note(id, requested, served, &total))
}

pub(super) fn meta(open: &OpenRequest) -> ResponseMeta {
    let served = open.answering().filter(|_| !open.attempts.is_empty());
    let all = || open.turns.done.iter().map(|done| &done.served).chain(served);
    let total = Total::of(open.turns.done.iter().map(|done| (&done.served, &done.bill)));
    ResponseMeta {
        request_id: Some(open.request_id),
        byok: served.is_some() && all().all(|served| served.credential == CredentialKind::Byok),
        provider: served.map(|served| served.provider),
        model: served.map(|served| served.model_name.clone()),
        attempts: open.attempts.len(),
        cost: total.as_ref().map(|total| total.charge),
        savings: total.map_or(NanoUsd::ZERO, |total| total.savings),
        advice: open.advice().cloned(),
        fallback_reason: open.fallback_reason,
        dropped: open.dropped.clone(),
        by_byok_api_key: served.is_some() && all().all(|served| served.by_byok_api_key),
    }
}

pub(super) fn request_limits(gateway: &Gateway) -> RequestLimits {
    RequestLimits { depth_max: gateway.settings.limits.body_depth_max, ..RequestLimits::default() }
}

pub(super) async fn serve(
    inbound: &Inbound<'_>,
    guard: &mut BillingGuard,
    unfolded: Result<(), Invalid>,
) -> Result<UpstreamAnswer, Failure> {
    unfolded.map_err(Failure::Invalid)?;
    let request = read(inbound)?;
    let embedding = automatic::embedding_model(inbound, request.head()).await?;
    let open = guard.get().ok_or_else(|| Failure::Unavailable("the request has ended".into()))?;
    let (scope, plan) = prepared(inbound, &request, open, embedding.as_deref())?;
    Failover::new(inbound, &request, &scope, &plan, open).run(open).await
}

/// What [`serve`] would refuse before it called anybody, refused before anything else is done for the request. Less
/// than everything: what is not seen here is refused there.
pub(super) async fn precheck(inbound: &Inbound<'_>, guard: &mut BillingGuard) -> Result<(), Failure> {
    let request = read(inbound)?;
    let open = guard.get().ok_or_else(|| Failure::Unavailable("the request has ended".into()))?;
    let (scope, plan) = prepared(inbound, &request, open, None)?;
    Failover::new(inbound, &request, &scope, &plan, open).precheck(open).await
}

pub(super) fn read<'a>(inbound: &'a Inbound<'_>) -> Result<ParsedRequest<'a>, Failure> {
    let limits = request_limits(inbound.gateway);
    ParsedRequest::read(inbound.kind, &inbound.content_type, &inbound.body, &limits).map_err(Failure::Invalid)
}

/// What is brought and who may serve, in their order; noted on the way.
pub(super) fn prepared<'a>(
    inbound: &'a Inbound<'_>,
    request: &'a ParsedRequest<'a>,
    open: &mut OpenRequest,
    embedding: Option<&str>,
) -> Result<(RequestRouting<'a>, Vec<Candidate>), Failure> {
    let head = request.head();
    open.requested = head.models.first().map(|name| receipt::cut(name).to_owned()).unwrap_or_default();
    open.stream = head.stream;
    open.service_tier = head.service_tier.as_deref().map(str::to_owned);
    open.prompt_bytes = head.facts.text_bytes;
    open.prompt_media = cost_bounds::media_estimate(&head.facts);
    if let ParsedRequest::Kind(request) = request {
        open.measured = request.content.usage;
        open.prompt_tokens = request.content.token_ids;
    }
    if head.service_tier.as_deref() == Some("batch") {
        return Err(Failure::Invalid(Invalid {
            param: Some("service_tier".to_owned()),
            message: "`service_tier` cannot be `batch`: an answer is given in the call that asks for it"
                .to_owned(),
        }));
    }
    let today = open.started_at.date();
    let mut scope = RequestRouting::of(&inbound.routing_headers, head, inbound.kind, &open.catalog, today)?;
    let judged = automatic::judge(request, &scope.names, &inbound.principal.policy);
    let is_pinned = pin_plan(inbound, &mut scope)?;
    let mut plan = make_plan(inbound, open, head, &scope, (judged.as_ref(), embedding))?;
    open.judged = automatic::trace(inbound, head, &scope, judged, &plan, open);
    if let Some(before) = open.answered_before() {
        plan.candidates.sort_by_key(|candidate| candidate.id != *before);
    }
    put_behind(inbound, &mut plan);
    open.considered = plan.considered;
    open.strategy = if is_pinned { "plan" } else { plan.strategy };
    open.chain = plan.candidates.iter().map(|candidate| candidate.id.clone()).collect();
    Ok((scope, plan.candidates))
}

/// Puts hosts that are set aside behind the others.
fn put_behind(inbound: &Inbound<'_>, plan: &mut Plan) {
    let (gateway, org) = (inbound.gateway, inbound.principal.scope.org_id());
    if plan.candidates.len() < 2 {
        return;
    }
    let now_ms = gateway.now_ms();
    // On a key of its own a customer finds out for itself.
    let is_set_aside = |candidate: &Candidate| {
        let mut own = inbound.principal.keys_of(candidate.provider);
        !own.any(|key| fits(key, candidate)) && gateway.breakers.is_set_aside(&candidate.id, org, now_ms)
    };
    let mut behind: Vec<Candidate> = Vec::new();
    plan.candidates.retain(|candidate| {
        let is_set_aside = is_set_aside(candidate);
        if is_set_aside {
            behind.push(candidate.clone());
        }
        !is_set_aside
    });
    for candidate in behind {
        let line = plan.considered.iter_mut().find(|line| line.model_id == candidate.id);
        line.into_iter().for_each(|line| line.reasons.push("failing_now"));
        plan.candidates.push(candidate);
    }
}

/// Puts the models of a plan token in the place of the request's names. Whether there is one.
fn pin_plan(inbound: &Inbound<'_>, scope: &mut RequestRouting<'_>) -> Result<bool, Failure> {
    let Some(token) = &inbound.routing_headers.plan else { return Ok(false) };
    let (gateway, key) = (inbound.gateway, inbound.principal.api_key_id);
    let models = plan_token::verify(&gateway.installation.signing, key, token, gateway.ambient.now());
    let models = models.filter(|models| !models.is_empty()).ok_or_else(|| {
        Failure::Invalid(Invalid {
            param: Some("x-kairosroute-plan".to_owned()),
            message:
                "The header `x-kairosroute-plan` must hold a token that `POST /v1/route` gave this API key \
                      within the last 60 seconds: ask for a new one, or leave the header out"
                    .to_owned(),
        })
    })?;
    scope.names = models.into_iter().map(Cow::Owned).collect();
    Ok(true)
}

fn make_plan(
    inbound: &Inbound<'_>,
    open: &mut OpenRequest,
    head: &Head<'_>,
    scope: &RequestRouting<'_>,
    automatic: (Option<&Judged>, Option<&str>),
) -> Result<Plan, Failure> {
    planned(inbound, head, scope, &open.catalog, open.started_at, automatic).map_err(|no_plan| {
        let subject = Subject { catalog: &open.catalog, text_bytes: head.facts.text_bytes };
        let failure = unplanned(&no_plan, &subject);
        if let RoutingError::NothingLeft { considered }
        | RoutingError::BelowFloor { considered, .. }
        | RoutingError::UnknownModel { considered, .. }
        | RoutingError::UnknownProvider { considered, .. } = no_plan
        {
            open.considered = considered;
        }
        failure
    })
}

/// Who may serve a request, by what it wants and the keys there are for it: the same whether it is to be answered or
/// only counted.
pub(super) fn planned(
    inbound: &Inbound<'_>,
    head: &Head<'_>,
    scope: &RequestRouting<'_>,
    catalog: &Catalog,
    at: OffsetDateTime,
    (judged, embedding): (Option<&Judged>, Option<&str>),
) -> Result<Plan, RoutingError> {
    let (principal, gateway) = (&inbound.principal, inbound.gateway);
    let reference = gateway.settings.reference_model.as_deref().and_then(|id| catalog.get(id));
    let now_ms = gateway.now_ms();
    let wanted = RouteRequest {
        names: &scope.names,
        facts: &head.facts,
        output_limit: head.output_limit,
        service_tier: head.service_tier.as_deref(),
        kind: inbound.kind,
        needs_state: head.needs_state,
        pin: scope.pin,
        strategy: scope.strategy,
        preferences: &scope.preferences,
        measured: &|id| gateway.measurements.of(id, now_ms),
        at,
        automatic: judged.map(|judged| {
            judged.automatic(
                head.gateway_options.min_quality_permille,
                &principal.policy,
                reference.map(|model| &**model),
            )
        }),
        embedding,
    };
    let keys = CredentialLookup {
        own: &|provider, candidate| {
            scope.key_for(provider).is_some() || principal.keys_of(provider).any(|key| fits(key, candidate))
        },
        platform: &|provider| has_platform_key(inbound, scope, provider),
    };
    plan::plan(catalog, &wanted, &principal.policy, &keys)
}
