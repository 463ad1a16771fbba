//! `POST /v1/messages/count_tokens`: the number of tokens of a prompt. Free, and without a receipt.

use super::conversation::{answer, error, inputs, no_place, with_meta};
use crate::{
    dialect::messages,
    domain::{kind::Kind, provider::Dialect},
    gateway::{Gateway, owner, token_count},
    http::{body::not_done, error::ApiError, extract::Call},
    providers::transport::Transport,
    store::api_keys::Principal,
};
use actix_web::{HttpResponse, http::header::CONTENT_TYPE};
use std::sync::Arc;

/// The handler. `X-KairosRoute-Basis` states whether the provider (`reported`) or the gateway (`counted`) counted.
pub async fn count_tokens(mut call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?.into_inner();
    let transport = call.state::<Transport>()?;
    let kind = Kind::Conversation(Dialect::Messages);
    let asked = inputs(&mut call, &gateway, principal.clone(), kind).await?;
    let place = gateway.acquire_slot(&principal, call.take_memory()).await.map_err(no_place)?;
    let counted = if asked.body.len() > gateway.settings.limits.shares.large_body_bytes {
        let (compute, owner) = (gateway.clone(), owner(principal.scope));
        let work = move |transport: Transport| async move {
            let _place = place;
            token_count::count(&asked.inbound(&gateway, &transport, |_, _, body| body)).await
        };
        compute.compute.run(owner, work).await.map_err(not_done)?
    } else {
        token_count::count(&asked.inbound(&gateway, &transport, |_, _, body| body)).await
    };
    let counted = counted.map_err(|(failure, meta)| with_meta(error(failure), &meta))?;
    Ok(answer(&counted.meta)
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header(("x-kairosroute-basis", counted.basis.as_str()))
        .body(messages::write_count(counted.tokens)))
}
