//! The plan of a request without its execution: no provider is called, no hold is placed, nothing is recorded.

use super::{
    InFlightPermit, automatic::RoutingTrace, failover::Failover, failure::Failure, open_request::OpenRequest,
    plan_token, planning::prepared, receipt::CredentialKind, request::Inbound,
};
use crate::{domain::money::NanoUsd, routing::plan::CandidateTrace};
use std::sync::Arc;
use time::OffsetDateTime;

/// The plan of a request.
pub struct DryRun {
    pub routing: Option<Box<RoutingTrace>>,
    pub candidates: Vec<CandidateTrace>,
    pub strategy: &'static str,
    pub model: Arc<str>,
    pub provider: &'static str,
    pub credential: CredentialKind,
    pub fallback_chain: Vec<Arc<str>>,
    pub est_cost_usd: Option<String>,
    /// The hold of the first call; nothing on a customer's own key.
    pub hold: NanoUsd,
    pub token: String,
    pub ends_at: OffsetDateTime,
}

/// Plans a request as [`super::pipeline::complete`] would.
pub fn dry_run(mut inbound: Inbound<'_>, permit: InFlightPermit) -> Result<DryRun, Failure> {
    inbound.normalize().map_err(Failure::Invalid)?;
    let request = inbound.parse()?;
    let gateway = inbound.gateway;
    let mut open = OpenRequest::new(&inbound, permit);
    let (options, candidates) = prepared(&inbound, &request, &mut open, None)?;
    let failover = Failover::new(&inbound, &request, &options, &candidates, &mut open);
    let Some((candidate, credential)) = failover.first() else {
        let message = "No credential may serve this request: add credit or a provider key";
        return Err(Failure::NoModels { param: None, message: message.to_owned() });
    };
    let hold = match credential {
        CredentialKind::Platform => failover.credit_needed(0, &open).0,
        CredentialKind::Byok => NanoUsd::ZERO,
    };
    let line = open.history.candidates().iter().find(|line| line.model_id == candidate.id);
    let est_cost_usd = line.and_then(|line| line.est_cost_usd.clone());
    let (model, provider) = (candidate.id.clone(), candidate.provider.row().name);
    let signing = &gateway.installation.signing;
    let (token, ends_at) =
        plan_token::sign(signing, inbound.principal.api_key_id, open.history.chain(), gateway.ambient.now());
    let strategy = open.history.strategy();
    let (routing, candidates, fallback_chain) = std::mem::take(&mut open.history).into_plan();
    Ok(DryRun {
        routing,
        candidates,
        strategy,
        model,
        provider,
        credential,
        fallback_chain,
        est_cost_usd,
        hold,
        token,
        ends_at,
    })
}
