//! `POST /v1/messages/count_tokens`: what a prompt would be billed by. Free, and without a receipt.

use super::conversation::{answer, error, inbound, with_told};
use crate::{
    dialect::messages,
    domain::{kind::Kind, provider::Dialect},
    gateway::{Gateway, counting},
    http::{
        error::{ApiError, Code},
        extract::Call,
    },
    providers::transport::Transport,
    store::api_keys::Principal,
};
use actix_web::{HttpResponse, http::header::CONTENT_TYPE};
use std::sync::Arc;

/// The handler. `X-KairosRoute-Basis` says whether the provider counted (`reported`) or we did (`counted`).
pub async fn count_tokens(mut call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?.into_inner();
    let transport = call.state::<Transport>()?;
    let Some(_place) = gateway.admit() else {
        let error = ApiError::new(Code::ServiceUnavailable, "Too many requests are being served; try again");
        return Err(error.retry_after_s(1));
    };
    let kind = Kind::Conversation(Dialect::Messages);
    let inbound = inbound(&mut call, &gateway, &transport, principal, kind).await?;
    let counted = counting::count(&inbound).await;
    let counted = counted.map_err(|(failure, told)| with_told(error(failure), &told))?;
    Ok(answer(&counted.told)
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header(("x-kairosroute-basis", counted.basis.as_str()))
        .body(messages::write_count(counted.tokens)))
}
