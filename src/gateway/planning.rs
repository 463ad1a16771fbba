//! Determines who may serve a request, in order: the request's own options, the category of its prompt for `auto`, the
//! plan, and paused hosts last. No provider is called here.

use super::{
    automatic::{self, Judged},
    cost_bounds,
    failure::Failure,
    open_request::OpenRequest,
    plan_token,
    refusals::{Subject, unplanned},
    request::{Inbound, ParsedRequest, request_limits},
    request_options::RequestRouting,
    targets::Credentials,
};
use crate::{
    dialect::{self, Head, Invalid},
    domain::{catalog::Catalog, kind::Kind},
    routing::{
        plan::{self, Candidate, CredentialLookup, Plan, RouteRequest, RoutingError},
        session::{KnownSession, SessionKey},
    },
};
use std::{borrow::Cow, cell::Cell};
use time::OffsetDateTime;

/// Resolves the options of the request and plans who may serve it, in order. The open request keeps both for the
/// receipt.
pub(super) fn prepared<'a>(
    inbound: &'a Inbound<'_>,
    request: &'a ParsedRequest<'a>,
    open: &mut OpenRequest,
    embedding: Option<&str>,
) -> Result<(RequestRouting<'a>, Vec<Candidate>), Failure> {
    let head = request.head();
    open.history.parsed(head.models.first().map(|name| &**name), head.stream);
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
    let mut routing = RequestRouting::of(&inbound.routing_headers, head, inbound.kind, &open.catalog, today)?;
    let judged = automatic::judge(request, &routing.names, &inbound.principal.policy);
    let is_pinned = pin_plan(inbound, &mut routing)?;
    let mut plan = make_plan(inbound, open, head, &routing, (judged.as_ref(), embedding))?;
    let routing_trace = automatic::trace(inbound, head, &routing, judged, &plan, open);
    open.history.classified(routing_trace);
    if let Some(before) = open.answered_before() {
        plan.candidates.sort_by_key(|candidate| candidate.id != *before);
    }
    put_behind(inbound, &mut plan);
    let strategy = if is_pinned { "plan" } else { plan.strategy };
    let chain = plan.candidates.iter().map(|candidate| candidate.id.clone()).collect();
    open.history.planned(plan.considered, strategy, chain);
    Ok((routing, plan.candidates))
}

/// Moves paused hosts behind the others.
fn put_behind(inbound: &Inbound<'_>, plan: &mut Plan) {
    let (gateway, org) = (inbound.gateway, inbound.principal.scope.org_id());
    if plan.candidates.len() < 2 {
        return;
    }
    let now_ms = gateway.now_ms();
    let credentials = Credentials::of_caller(gateway, &inbound.principal);
    // On its own key a customer observes the host's health itself.
    let is_set_aside = |candidate: &Candidate| {
        !credentials.has_own(candidate) && gateway.breakers.is_set_aside(&candidate.id, org, now_ms)
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

/// Replaces the model names of the request by the models of a plan token. Returns whether there is a token.
fn pin_plan(inbound: &Inbound<'_>, routing: &mut RequestRouting<'_>) -> Result<bool, Failure> {
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
    routing.names = models.into_iter().map(Cow::Owned).collect();
    Ok(true)
}

/// The identity of the conversation that a request belongs to.
fn session_key(inbound: &Inbound<'_>) -> Option<SessionKey> {
    let Kind::Conversation(dialect) = inbound.kind else { return None };
    let session = dialect::session(dialect, &inbound.body, &request_limits(inbound.gateway))?;
    Some(inbound.gateway.sessions.key(inbound.principal.scope.org_id(), &session))
}

fn make_plan(
    inbound: &Inbound<'_>,
    open: &mut OpenRequest,
    head: &Head<'_>,
    routing: &RequestRouting<'_>,
    automatic: (Option<&Judged>, Option<&str>),
) -> Result<Plan, Failure> {
    let key = Cell::new(None);
    let session = || {
        key.set(session_key(inbound));
        key.get().and_then(|key| inbound.gateway.sessions.get(key))
    };
    let plan = planned(inbound, head, routing, &open.catalog, open.started_at, automatic, &session);
    open.session = key.get();
    plan.map_err(|no_plan| {
        let subject = Subject { catalog: &open.catalog, text_bytes: head.facts.text_bytes };
        let failure = unplanned(&no_plan, &subject);
        if let RoutingError::NothingLeft { considered }
        | RoutingError::BelowFloor { considered, .. }
        | RoutingError::UnknownModel { considered, .. }
        | RoutingError::UnknownProvider { considered, .. } = no_plan
        {
            open.history.plan_failed(considered);
        }
        failure
    })
}

/// Who may serve a request, by its requirements and the available keys. The result is the same for an answer and for a
/// token count.
pub(super) fn planned(
    inbound: &Inbound<'_>,
    head: &Head<'_>,
    routing: &RequestRouting<'_>,
    catalog: &Catalog,
    at: OffsetDateTime,
    (judged, embedding): (Option<&Judged>, Option<&str>),
    session: &dyn Fn() -> Option<KnownSession>,
) -> Result<Plan, RoutingError> {
    let (principal, gateway) = (&inbound.principal, inbound.gateway);
    let reference = gateway.settings.reference_model.as_deref().and_then(|id| catalog.get(id));
    let now_ms = gateway.now_ms();
    let wanted = RouteRequest {
        names: &routing.names,
        facts: &head.facts,
        output_limit: head.output_limit,
        service_tier: head.service_tier.as_deref(),
        kind: inbound.kind,
        needs_state: head.needs_state,
        pin: routing.pin,
        strategy: routing.strategy,
        preferences: &routing.preferences,
        measured: &|id| gateway.measurements.of(id, now_ms),
        session,
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
    let credentials = Credentials::of_request(inbound, routing);
    let keys = CredentialLookup {
        own: &|_, candidate| credentials.has_own(candidate),
        platform: &|provider| credentials.has_platform(provider),
    };
    plan::plan(catalog, &wanted, &principal.policy, &keys)
}
