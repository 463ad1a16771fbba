//! The only list of the stages of a request. A stage takes values and returns values or a [`Failure`]. Each stage has
//! its own file and one line here. Only the billing guard writes money.

use super::{
    Gateway, InFlightPermit,
    answer_cache::{self, Outcome},
    automatic,
    billing_guard::BillingGuard,
    failover::{Failover, UpstreamAnswer},
    failure::Failure,
    open_request::OpenRequest,
    planning::prepared,
    quota,
    request::Inbound,
    respond::{Reply, ResponseMeta, refusal, respond},
    tool_loop,
};
use crate::{dialect::Invalid, domain::kind::Kind, store::api_keys::Principal};
use bytes::Bytes;
use std::sync::Arc;

/// Serves one request. The request keeps its `permit` until it has ended, abandoned or not.
pub async fn complete(
    inbound: &mut Inbound<'_>,
    permit: InFlightPermit,
) -> Result<Reply, (Failure, ResponseMeta)> {
    let gateway = inbound.gateway;
    records_have_room(inbound).map_err(|failure| (failure, ResponseMeta::default()))?;
    let normalized = inbound.normalize();
    gateway.retries.deposit();
    gateway.own_key_retries.deposit();
    let inbound = &*inbound;
    // From here on the request ends in one settle or void and one receipt, in every case.
    let mut guard = BillingGuard::open(OpenRequest::new(inbound, permit));
    // A body that cannot be normalized is refused in the same way as a body that cannot be read.
    match normalized.as_ref().map_or(Ok(None), |()| tool_loop::read(inbound)) {
        Ok(None) => {}
        // With MCP servers, the stages of `serve` run once for each turn.
        Ok(Some(options)) => return Box::pin(tool_loop::complete(inbound, options, guard)).await,
        Err(invalid) => return Err(Box::pin(refusal(Failure::Invalid(invalid), guard)).await),
    }
    let served = tokio::select! {
        biased;
        served = answer_or_serve(inbound, &mut guard, normalized) => served,
        () = gateway.stopping.cancelled() => Err(Failure::stopping()),
    };
    match served {
        Ok(Outcome::Provider(answered)) => respond(answered, guard).await,
        Ok(Outcome::Cache(hit)) => Box::pin(answer_cache::reply(*hit, guard)).await,
        Err(failure) => Err(Box::pin(refusal(failure, guard)).await),
    }
}

/// The stages of a request with one turn: those of [`serve`], with the response cache before a provider is called.
async fn answer_or_serve(
    inbound: &Inbound<'_>,
    guard: &mut BillingGuard,
    normalized: Result<(), Invalid>,
) -> Result<Outcome, Failure> {
    normalized.map_err(Failure::Invalid)?;
    let request = inbound.parse()?;
    let embedding = automatic::embedding_model(inbound, request.head()).await?;
    let open = guard.get();
    let (routing, candidates) = prepared(inbound, &request, open, embedding.as_deref())?;
    quota::admit(inbound, request.head(), &routing, open).await?;
    if let Some(hit) = answer_cache::find(inbound, &request, &routing, &candidates, open).await {
        return Ok(Outcome::Cache(Box::new(hit)));
    }
    let failover = Failover::new(inbound, &request, &routing, &candidates, open);
    failover.run(open).await.map(Outcome::Provider)
}

/// The stages of one turn, in their order. A stage that may refuse a request belongs right after `parse`: nothing has
/// been planned, held or called by then.
pub(super) async fn serve(
    inbound: &Inbound<'_>,
    guard: &mut BillingGuard,
    normalized: Result<(), Invalid>,
) -> Result<UpstreamAnswer, Failure> {
    normalized.map_err(Failure::Invalid)?;
    let request = inbound.parse()?;
    let embedding = automatic::embedding_model(inbound, request.head()).await?;
    let open = guard.get();
    let (routing, candidates) = prepared(inbound, &request, open, embedding.as_deref())?;
    quota::admit(inbound, request.head(), &routing, open).await?;
    Failover::new(inbound, &request, &routing, &candidates, open).run(open).await
}

/// Refuses what [`serve`] would refuse before its first call, before any other work for the request. It may miss a
/// reason; [`serve`] then refuses the request.
pub(super) async fn precheck(inbound: &Inbound<'_>, guard: &mut BillingGuard) -> Result<(), Failure> {
    let request = inbound.parse()?;
    let open = guard.get();
    let (routing, candidates) = prepared(inbound, &request, open, None)?;
    Failover::new(inbound, &request, &routing, &candidates, open).precheck(open).await
}

/// Records a request that was refused before it could be read.
pub async fn refuse(
    gateway: &Arc<Gateway>,
    principal: Arc<Principal>,
    kind: Kind,
    permit: InFlightPermit,
    message: &str,
) -> ResponseMeta {
    let guard =
        BillingGuard::open(OpenRequest::begin(gateway.clone(), principal, kind, Bytes::new(), permit));
    let meta = guard.meta();
    guard.fail(message).await;
    meta
}

fn records_have_room(inbound: &Inbound<'_>) -> Result<(), Failure> {
    if inbound.gateway.recorder.has_room(inbound.principal.scope) {
        return Ok(());
    }
    Err(Failure::Unavailable("earlier requests of this organization are not on record yet".into()))
}
