//! A chat request in a straight line: read, plan, walk the choices until one answers, bill, reply.

use super::{
    Gateway, Place,
    attempt::Answer,
    bounds,
    course::{Answered, Course, fits},
    failure::Failure,
    meter::{Meter, NotDurable},
    open::Open,
    receipt::{self, Bill, CredentialKind, Ending, Served},
    relay::NOTE,
    stream::Metered,
};
use crate::{
    dialect::openai_chat::{self, ChatRequest, Limits as RequestLimits},
    domain::{ids::RequestId, money::NanoUsd, policy::ByokFallback},
    providers::transport::Transport,
    routing::plan::{self, Considered, Keys, NoPlan, Plan, Wanted},
    store::api_keys::Principal,
};
use bytes::Bytes;
use std::sync::Arc;

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

/// One authenticated request.
pub struct Inbound<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub transport: &'a Transport,
    pub principal: Arc<Principal>,
    pub body: Bytes,
    /// `X-KairosRoute-Fallback`, which overrides the key's own setting.
    pub fallback: Option<ByokFallback>,
}

/// Serves one chat request. It keeps its `place` until it has ended, abandoned or not.
pub async fn complete(inbound: Inbound<'_>, place: Place) -> Result<Reply, (Failure, Told)> {
    let gateway = inbound.gateway;
    gateway.retries.earn();
    gateway.own_key_retries.earn();
    let open = Open::new(gateway.clone(), inbound.principal.clone(), inbound.body.clone(), place);
    let mut meter = Meter::open(open);
    let served = tokio::select! {
        biased;
        served = serve(&inbound, &mut meter) => served,
        () = gateway.stopping.cancelled() => Err(Failure::Unavailable("the gateway is shutting down".into())),
    };
    match served {
        Ok(answered) => reply(answered, meter).await,
        Err(failure) => Err(refusal(failure, meter).await),
    }
}

/// Records a request that was refused before it could be read.
pub async fn refuse(gateway: &Arc<Gateway>, principal: Arc<Principal>, place: Place, message: &str) -> Told {
    let mut meter = Meter::open(Open::new(gateway.clone(), principal, Bytes::new(), place));
    let told = meter.get().map(|open| told(open)).unwrap_or_default();
    meter.fail(message).await;
    told
}

async fn refusal(failure: Failure, mut meter: Meter) -> (Failure, Told) {
    let told = meter.get().map(|open| told(open)).unwrap_or_default();
    meter.fail(&failure.text()).await;
    (failure, told)
}

async fn reply(answered: Answered, mut meter: Meter) -> Result<Reply, (Failure, Told)> {
    let mut told = meter.get().map(|open| told(open)).unwrap_or_default();
    match answered.answer {
        Answer::Whole { body, usage, service_tier, text } => {
            let mut requested = String::new();
            if let Some(open) = meter.get() {
                open.commit();
                open.consumed(usage, service_tier.as_deref(), &text);
                requested = std::mem::take(&mut open.requested);
                open.requested.clone_from(&requested);
            }
            match meter.settle(Ending::Completed).await {
                Ok((served, bill)) => {
                    told.cost = Some(bill.charge);
                    let note = note(told.request_id, &requested, &served, &bill);
                    let body = openai_chat::reply::with_member(&body, NOTE, &note).unwrap_or(body);
                    Ok(Reply::Whole { told, body })
                }
                Err(NotDurable) => Err((Failure::NotDurable, told)),
            }
        }
        Answer::Stream { response, relay } => {
            if let Some(open) = meter.get() {
                open.commit();
            }
            let origin = (answered.provider, answered.secret);
            let body = Box::new(Metered::new(meter, origin, response, relay, answered.until));
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

async fn serve(inbound: &Inbound<'_>, meter: &mut Meter) -> Result<Answered, Failure> {
    let limits = &inbound.gateway.settings.limits;
    let request_limits = RequestLimits { depth_max: limits.body_depth_max, ..RequestLimits::default() };
    let request = openai_chat::read(&inbound.body, &request_limits).map_err(Failure::Invalid)?;
    let open = meter.get().ok_or_else(|| Failure::Unavailable("the request has ended".into()))?;
    open.requested = request.models.first().map(|name| name.to_string()).unwrap_or_default();
    open.stream = request.stream;
    open.service_tier = request.service_tier.as_deref().map(str::to_owned);
    open.prompt_bytes = request.facts.text_bytes;
    open.prompt_audio = bounds::audio_estimate(&request.facts);
    let plan = make_plan(inbound, open, &request)?;
    open.considered = plan.considered;
    open.strategy = plan.strategy;
    open.chain = plan.candidates.iter().map(|candidate| candidate.id.clone()).collect();
    Course::new(inbound, &request, &plan.candidates, open).run(open).await
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
