//! Inference for indoxhub's client: the usual requests, with answers in its envelope. Streams are unchanged, because
//! the client reads OpenAI's chunks. Audio, which other clients get as a stream, is collected into one JSON answer.

use super::{answer::Answered, request::rewrite};
use crate::{
    domain::{kind::Kind, provider::Dialect},
    gateway::{
        Gateway,
        respond::{Reply, ResponseBody, ResponseMeta},
    },
    http::{
        error::{ApiError, Code},
        extract::Call,
        v1::conversation::{answer, ask, once_for_key, respond, with_meta},
    },
    store::api_keys::Principal,
};
use actix_web::HttpResponse;
use std::{borrow::Cow, sync::Arc};

/// The handler of conversations.
pub async fn converse(
    call: Call,
    principal: Arc<Principal>,
    dialect: Dialect,
) -> Result<HttpResponse, ApiError> {
    infer(call, principal, Kind::Conversation(dialect)).await
}

/// The handler.
pub async fn infer(call: Call, principal: Arc<Principal>, kind: Kind) -> Result<HttpResponse, ApiError> {
    once_for_key(call, principal.clone(), kind, rewrite, move |call| answer_once(call, principal, kind)).await
}

async fn answer_once(call: Call, principal: Arc<Principal>, kind: Kind) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?.into_inner();
    let started = gateway.ambient.now();
    let (meta, body, content_type) = match ask(call, principal, kind, rewrite).await? {
        Reply::Whole { meta, body, content_type, .. } => (meta, body, content_type),
        Reply::Stream { meta, body, content_type } if kind == Kind::Speech => {
            gather(meta, body, content_type, gateway.settings.limits.reply_bytes_max).await?
        }
        stream => return Ok(respond(stream)),
    };
    let ended = gateway.ambient.now();
    let answered = Answered {
        kind,
        meta: &meta,
        body: &body,
        content_type: &content_type,
        at: ended,
        took_ms: u64::try_from((ended - started).whole_milliseconds()).unwrap_or(0),
    };
    match answered.envelope() {
        Some(envelope) => Ok(answer(&meta).content_type("application/json").body(envelope)),
        None => Err(with_meta(ApiError::internal("an answer is no JSON"), &meta)),
    }
}

type Whole = (ResponseMeta, Vec<u8>, Cow<'static, str>);

/// The whole content of a streamed answer. Its cost is known at its end.
async fn gather(
    mut meta: ResponseMeta,
    mut body: ResponseBody,
    content_type: Cow<'static, str>,
    bytes_max: usize,
) -> Result<Whole, ApiError> {
    let mut gathered = Vec::new();
    while let Some(bytes) = body.next().await {
        let whole = bytes.ok().filter(|bytes| gathered.len().saturating_add(bytes.len()) <= bytes_max);
        let Some(bytes) = whole else {
            let error = ApiError::new(Code::UpstreamError, "The sound broke off or is too long");
            return Err(with_meta(error, &meta));
        };
        gathered.extend_from_slice(&bytes);
    }
    meta.cost = body.charged();
    Ok((meta, gathered, content_type))
}
