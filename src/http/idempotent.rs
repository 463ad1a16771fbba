//! `Idempotency-Key`: runs a call once for each key. A call without the header goes directly to its handler. A call
//! with it runs to its end even if its client disconnects, so that the client's repeat finds the answer.

use super::{
    error::{ApiError, Code},
    extract::Call,
};
use crate::{
    gateway::Gateway,
    idempotency::{ANSWER_BYTES_MAX, Answer, Claim, ClaimError, Keyed, Start, digest},
    store::{caller, idempotency::Holder},
};
use actix_web::{
    HttpResponse,
    body::{BodyStream, BoxBody, MessageBody},
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
    web::Bytes,
};
use futures_util::{StreamExt, future::poll_fn, stream};
use std::{future::Future, pin::Pin, sync::Arc};

const KEY: &str = "idempotency-key";
const KEY_BYTES_MAX: usize = 255;
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Calls `handler`, at most once for each key of the holder. `is_repeatable` examines the body of a call with a key; if
/// it returns false, the key is ignored.
pub async fn once<W, F, R, A>(
    mut call: Call,
    holder: Holder,
    body_bytes_max: usize,
    is_repeatable: R,
    handler: W,
) -> Result<HttpResponse, ApiError>
where
    W: FnOnce(Call) -> F + 'static,
    F: Future<Output = Result<HttpResponse, ApiError>> + 'static,
    R: FnOnce(Arc<Gateway>, String, Bytes) -> A,
    A: Future<Output = bool>,
{
    let Some(key) = key_of(&call)? else { return handler(call).await };
    let gateway = call.state::<Gateway>()?.into_inner();
    let content_type = call.header("content-type").unwrap_or_default().to_owned();
    // The handler reports errors in a body: it meets the same error.
    let Some(body) = call.read_ahead(body_bytes_max).await else { return handler(call).await };
    if !is_repeatable(gateway.clone(), content_type.clone(), body.clone()).await {
        return handler(call).await;
    }
    let request = &call.request;
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let request = digest(request.method().as_str(), path, &content_type, &body);
    drop(body);
    let keyed = Keyed { holder, key, request };
    let tasks = gateway.tasks.clone();
    let running = async move {
        match gateway.idempotency.start(&gateway.idempotency_tools(), &keyed).await? {
            Start::Run(claim) => run(&gateway, claim, holder, handler(call)).await,
            Start::Replay(answer) => replay(answer),
            Start::Running => {
                let message = "A request with this `Idempotency-Key` is still running; repeat it in a moment to get \
                               its answer";
                Err(ApiError::new(Code::IdempotencyConflict, message).param(KEY).retry_after_s(1))
            }
            Start::OtherRequest => {
                let message = "This `Idempotency-Key` was used with another request; send a new key with each new \
                               request, and the same body with each repeat";
                Err(ApiError::new(Code::IdempotencyConflict, message).param(KEY).retry_is_useless())
            }
        }
    };
    // A separate task: it continues without the client.
    let done = tasks.spawn_local(caller::on_behalf(caller::current(), running)).await;
    done.unwrap_or_else(|_| Err(ApiError::internal("a handler panicked")))
}

/// Every call with a key may be repeated.
pub async fn always(_: Arc<Gateway>, _: String, _: Bytes) -> bool {
    true
}

/// Whether a call has an idempotency key.
pub fn is_keyed(call: &Call) -> bool {
    call.request.headers().contains_key(KEY)
}

/// The key of a call; a blank one is absent.
fn key_of(call: &Call) -> Result<Option<String>, ApiError> {
    let mut values = call.request.headers().get_all(KEY).map(|value| value.as_bytes().trim_ascii());
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::invalid(KEY, "The header `Idempotency-Key` occurs twice; send it once"));
    }
    if first.is_empty() {
        return Ok(None);
    }
    let is_plain = first.len() <= KEY_BYTES_MAX && first.iter().all(|byte| matches!(byte, b' '..=b'~'));
    match std::str::from_utf8(first) {
        Ok(key) if is_plain => Ok(Some(key.to_owned())),
        _ => {
            let message =
                "The header `Idempotency-Key` must be at most 255 printable ASCII characters, such as a UUID";
            Err(ApiError::invalid(KEY, message))
        }
    }
}

/// Runs the call and ends its claim: only a successful, complete answer that is not too large is stored.
async fn run(
    gateway: &Gateway,
    claim: Claim,
    holder: Holder,
    handling: impl Future<Output = Result<HttpResponse, ApiError>>,
) -> Result<HttpResponse, ApiError> {
    let response = match handling.await {
        Ok(response) if response.status().is_success() => response,
        failed => {
            claim.release().await;
            return failed;
        }
    };
    let (head, body) = response.into_parts();
    match gather(body).await {
        Gathered::Whole(body) => {
            let has_room = gateway.idempotency.has_room(&gateway.idempotency_tools(), holder).await;
            if has_room {
                claim.keep(&answer_of(&head, &body)).await;
            } else {
                claim.release().await;
            }
            Ok(head.set_body(BoxBody::new(body)))
        }
        Gathered::Large(body) => {
            claim.release().await;
            Ok(head.set_body(body))
        }
    }
}

enum Gathered {
    Whole(Bytes),
    /// Too large to be stored, or broken off: unchanged, to be sent on.
    Large(BoxBody),
}

/// Reads a body up to the size that is stored.
async fn gather(mut body: BoxBody) -> Gathered {
    let mut gathered = Vec::new();
    loop {
        match poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {
            None => return Gathered::Whole(gathered.into()),
            Some(piece) => {
                if let Ok(bytes) = &piece
                    && gathered.len().saturating_add(bytes.len()) <= ANSWER_BYTES_MAX
                {
                    gathered.extend_from_slice(bytes);
                    continue;
                }
                let first = stream::iter([Ok(Bytes::from(gathered)), piece]);
                let rest = stream::unfold(body, |mut body| async move {
                    let piece = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await?;
                    Some((piece, body))
                });
                return Gathered::Large(BoxBody::new(BodyStream::new(Box::pin(first.chain(rest)))));
            }
        }
    }
}

fn answer_of(head: &HttpResponse<()>, body: &Bytes) -> Answer {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    Answer {
        status: head.status().as_u16(),
        headers: head.headers().iter().filter_map(text).collect(),
        body: body.to_vec(),
    }
}

fn replay(answer: Answer) -> Result<HttpResponse, ApiError> {
    let status = StatusCode::from_u16(answer.status).map_err(ApiError::internal)?;
    let mut response = HttpResponse::build(status);
    for (name, value) in answer.headers {
        response.append_header((name, value));
    }
    response.insert_header((REPLAYED, HeaderValue::from_static("true")));
    Ok(response.body(answer.body))
}

impl From<ClaimError> for ApiError {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Store(cause) => cause.into(),
            other => Self::internal(other),
        }
    }
}
