//! Chat requests that a person makes from a page: with the rules and credentials of an API key, without its secret. They
//! are served, billed and recorded as any other request of the key, and refused from an address that the key does not
//! allow.

use super::{Inputs, error, no_place, respond, with_meta};
use crate::{
    domain::{kind::Kind, provider::Dialect},
    gateway::{
        Gateway,
        dry_run::{DryRun, dry_run},
        pipeline,
        request_options::RoutingHeaders,
        respond::{Reply, ResponseMeta},
    },
    http::{
        error::{ApiError, Code},
        extract::Call,
        refusals::from_allowed_address,
    },
    providers::transport::Transport,
    store::api_keys::Principal,
};
use actix_web::{HttpResponse, web::Bytes};
use std::sync::Arc;

const KIND: Kind = Kind::Conversation(Dialect::Chat);

/// A request of an API key, whose body was written by us.
pub(crate) struct OnBehalf {
    pub principal: Arc<Principal>,
    pub body: Bytes,
}

impl OnBehalf {
    fn inputs(&self) -> Inputs {
        Inputs {
            body: self.body.clone(),
            principal: self.principal.clone(),
            kind: KIND,
            content_type: "application/json".to_owned(),
            beta: None,
            fallback: None,
            first_content: None,
            traceparent: None,
            routing_headers: RoutingHeaders::default(),
        }
    }

    /// The answer as it comes.
    pub(crate) async fn stream(&self, call: &mut Call) -> Result<HttpResponse, ApiError> {
        Ok(respond(self.ask(call).await?))
    }

    /// The whole answer.
    pub(crate) async fn whole(&self, call: &mut Call) -> Result<(ResponseMeta, Vec<u8>), ApiError> {
        match self.ask(call).await? {
            Reply::Whole { meta, body, .. } => Ok((meta, body)),
            Reply::Stream { .. } => {
                Err(ApiError::new(Code::InvalidRequest, "A streamed answer cannot be shown whole"))
            }
        }
    }

    async fn ask(&self, call: &mut Call) -> Result<Reply, ApiError> {
        let gateway = call.state::<Gateway>()?.into_inner();
        let transport = call.state::<Transport>()?;
        from_allowed_address(call, self.principal.clone())?;
        let slot = gateway.acquire_slot(&self.principal, call.take_memory()).await.map_err(no_place)?;
        let mut inbound = self.inputs().inbound(&gateway, &transport, |_, _, body| body);
        let completed = Box::pin(pipeline::complete(&mut inbound, slot)).await;
        completed.map_err(|(failure, meta)| with_meta(error(failure), &meta))
    }

    /// What would be done with it; nobody is called.
    pub(crate) async fn plan(&self, call: &mut Call) -> Result<DryRun, ApiError> {
        let gateway = call.state::<Gateway>()?.into_inner();
        let transport = call.state::<Transport>()?;
        from_allowed_address(call, self.principal.clone())?;
        let slot = gateway.acquire_slot(&self.principal, call.take_memory()).await.map_err(no_place)?;
        dry_run(self.inputs().inbound(&gateway, &transport, |_, _, body| body), slot).map_err(error)
    }
}
