//! `POST /v1/route`: the plan of a request, without calling a provider.

use super::conversation::{Inputs, error, inputs, no_place};
use crate::{
    domain::{kind::Kind, provider::Dialect},
    gateway::{
        Gateway, InFlightPermit,
        dry_run::{self, DryRun},
        failure::Failure,
        owner,
    },
    http::{body::not_done, error::ApiError, extract::Call},
    providers::transport::Transport,
    store::api_keys::Principal,
};
use actix_web::HttpResponse;
use serde_json::{Map, Value, json, value::RawValue};
use std::{collections::BTreeMap, sync::Arc};
use time::format_description::well_known::Rfc3339;

/// The handler. The body is one of chat, Responses or Messages.
pub async fn route(mut call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?.into_inner();
    let transport = call.state::<Transport>()?;
    let is_anthropic = call.header("anthropic-version").is_some();
    let asked = inputs(&mut call, &gateway, principal.clone(), Kind::Conversation(Dialect::Chat)).await?;
    let place = gateway.acquire_slot(&principal, call.take_memory()).await.map_err(no_place)?;
    let is_large = asked.body.len() > gateway.settings.limits.shares.large_body_bytes;
    let planned = if is_large {
        let (compute, owner) = (gateway.clone(), owner(principal.scope));
        let work =
            move |transport: Transport| async move { plan(asked, &gateway, &transport, place, is_anthropic) };
        compute.compute.run(owner, work).await.map_err(not_done)?
    } else {
        plan(asked, &gateway, &transport, place, is_anthropic)
    };
    Ok(HttpResponse::Ok().json(view(planned.map_err(error)?)))
}

fn plan(
    asked: Inputs,
    gateway: &Arc<Gateway>,
    transport: &Transport,
    place: InFlightPermit,
    is_anthropic: bool,
) -> Result<DryRun, Failure> {
    let dialect = dialect_of(&asked.body, is_anthropic);
    let mut inbound = asked.inbound(gateway, transport, |_, _, body| body);
    inbound.kind = Kind::Conversation(dialect);
    dry_run::dry_run(inbound, place)
}

/// The dialect of a body. An ambiguous body counts as chat: a plain conversation has the same plan in both.
fn dialect_of(body: &[u8], is_anthropic: bool) -> Dialect {
    let members = serde_json::from_slice::<BTreeMap<String, &RawValue>>(body).unwrap_or_default();
    let has = |name: &str| members.contains_key(name);
    let system_beside = has("system") || has("stop_sequences") || has("thinking");
    match (has("input") && !has("messages"), is_anthropic || (has("max_tokens") && system_beside)) {
        (true, _) => Dialect::Responses,
        (false, true) => Dialect::Messages,
        (false, false) => Dialect::Chat,
    }
}

fn view(run: DryRun) -> Value {
    let mut view = Map::new();
    let routing = run.routing.as_deref();
    view.insert("classification".into(), json!(routing.map(|trace| trace.classification())));
    view.insert("routing".into(), json!(routing.map(|trace| trace.view())));
    view.insert("candidates".into(), json!(run.candidates));
    view.insert(
        "decision".into(),
        json!({
            "model_id": &*run.model,
            "provider": run.provider,
            "credential": run.credential,
            "strategy": run.strategy,
            "fallback_chain": run.fallback_chain,
        }),
    );
    view.insert("est_cost_usd".into(), json!(run.est_cost_usd));
    view.insert("hold_usd".into(), json!(run.hold.to_string()));
    view.insert("plan_token".into(), json!(run.token));
    view.insert("expires_at".into(), json!(run.ends_at.format(&Rfc3339).unwrap_or_default()));
    Value::Object(view)
}
