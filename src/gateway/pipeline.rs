//! The one list of the stages of a request. A stage takes values and returns values or a [`Failure`]; it has a file of
//! its own and one line here. Only the billing guard writes money.

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

/// Serves one request. It keeps its `permit` until it has ended, abandoned or not.
pub async fn complete(
    mut inbound: Inbound<'_>,
    permit: InFlightPermit,
) -> Result<Reply, (Failure, ResponseMeta)> {
    let gateway = inbound.gateway;
    records_have_room(&inbound).map_err(|failure| (failure, ResponseMeta::default()))?;
    let normalized = inbound.normalize();
    gateway.retries.deposit();
    gateway.own_key_retries.deposit();
    // From here on the request ends in one settle or void and one receipt, whatever happens.
    let mut guard = BillingGuard::open(OpenRequest::new(&inbound, permit));
    // What cannot be normalized is refused as every other request that cannot be read.
    match normalized.as_ref().map_or(Ok(None), |()| tool_loop::read(&inbound)) {
        Ok(None) => {}
        // With MCP servers the stages of `serve` run once for each turn.
        Ok(Some(options)) => return Box::pin(tool_loop::complete(&inbound, options, guard)).await,
        Err(invalid) => return Err(refusal(Failure::Invalid(invalid), guard).await),
    }
    let served = tokio::select! {
        biased;
        served = answer_or_serve(&inbound, &mut guard, normalized) => served,
        () = gateway.stopping.cancelled() => Err(Failure::stopping()),
    };
    match served {
        Ok(Outcome::Provider(answered)) => respond(answered, guard).await,
        Ok(Outcome::Cache(hit)) => answer_cache::reply(*hit, guard).await,
        Err(failure) => Err(refusal(failure, guard).await),
    }
}

/// The stages of a request of one turn: those of [`serve`], and before a provider is called the response cache.
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

/// The stages of one turn, in their order. A stage that refuses a request belongs right after `parse`: nothing has
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

/// What [`serve`] would refuse before it called anybody, refused before anything else is done for the request. What is
/// not seen here is refused there.
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
