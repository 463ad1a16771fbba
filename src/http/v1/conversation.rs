//! Inference of every kind: reads the body, hands it to the gateway, and says on every answer and refusal who served
//! it.

pub(crate) mod on_behalf;

use super::{
    routing_headers::{header_values, routing_headers},
    upstream,
};
use crate::{
    domain::{kind::Kind, policy::ByokFallback, provider::Dialect},
    gateway::{
        Gateway, NotAdmitted,
        answer_cache::CacheUse,
        failure::{Failure, rfc3339},
        owner, pipeline, repeatable,
        request::Inbound,
        request_options::RoutingHeaders,
        respond::{Reply, ResponseMeta},
        traces::TraceParent,
    },
    http::{
        body::{Charged, crowded, not_done},
        error::{ApiError, Code},
        extract::Call,
        idempotent,
    },
    providers::transport::Transport,
    store::{api_keys::Principal, idempotency::Holder},
};
use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{AGE, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue},
    },
    web::{Bytes, BytesMut},
};
use futures_util::stream;
use std::{
    fmt::{Display, Write},
    future::Future,
    sync::Arc,
    time::Duration,
};

const BYOK: HeaderName = HeaderName::from_static("x-kairosroute-byok");
const PROVIDER: HeaderName = HeaderName::from_static("x-kairosroute-provider");
const MODEL: HeaderName = HeaderName::from_static("x-kairosroute-model");
const RECEIPT: HeaderName = HeaderName::from_static("x-kairosroute-receipt");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-kairosroute-attempts");
const CACHE: HeaderName = HeaderName::from_static("x-kairosroute-cache");
const COST: HeaderName = HeaderName::from_static("x-kairosroute-cost");
const SAVINGS: HeaderName = HeaderName::from_static("x-kairosroute-savings");
const ADVICE: HeaderName = HeaderName::from_static("x-kairosroute-advice");
const FALLBACK_REASON: HeaderName = HeaderName::from_static("x-kairosroute-fallback-reason");
const DROPPED: HeaderName = HeaderName::from_static("x-kairosroute-dropped");
const RATE_LIMIT_BYPASS: HeaderName = HeaderName::from_static("x-ratelimit-bypass");
const REQUEST_RATES: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKEN_RATES: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FALLBACK: HeaderName = HeaderName::from_static("x-kairosroute-fallback");
const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Bytes of the values of most answers.
const VALUES_BYTES: usize = 192;

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
    let rewrite: Rewrite = |_, _, body| body;
    once_for_key(call, principal.clone(), kind, rewrite, move |call| async move {
        Ok(respond(ask(call, principal, kind, rewrite).await?))
    })
    .await
}

/// Answers a call at most once for each `Idempotency-Key`, where it has one and may be repeated.
pub(in crate::http) async fn once_for_key<W, F>(
    call: Call,
    principal: Arc<Principal>,
    kind: Kind,
    rewrite: Rewrite,
    handler: W,
) -> Result<HttpResponse, ApiError>
where
    W: FnOnce(Call) -> F + 'static,
    F: Future<Output = Result<HttpResponse, ApiError>> + 'static,
{
    // Most calls have no key, and their body is looked at once.
    if !idempotent::is_keyed(&call) {
        return handler(call).await;
    }
    let brings_key = header_values(&call, "x-provider-key").next().is_some();
    let bytes_max = call.state::<Gateway>()?.settings.limits.body_bytes_max;
    let owner = owner(principal.scope);
    let is_repeatable = move |gateway: Arc<Gateway>, content_type: String, body: Bytes| async move {
        let body = rewrite(kind, &content_type, body);
        !brings_key && repeatable::is_repeatable(&gateway, owner, kind, content_type, body).await
    };
    let once = idempotent::once(call, Holder::of_api_key(&principal), bytes_max, is_repeatable, handler);
    let answered = Box::pin(once).await;
    answered.map_err(|error| match error.code() {
        Code::IdempotencyConflict => with_meta(error, &ResponseMeta::default()),
        _ => error,
    })
}

/// Turns a body that came in another shape into the kind's own; what it cannot read it leaves alone.
pub(in crate::http) type Rewrite = fn(Kind, &str, Bytes) -> Bytes;

/// An answer, not yet a response.
pub(in crate::http) async fn ask(
    mut call: Call,
    principal: Arc<Principal>,
    kind: Kind,
    rewrite: Rewrite,
) -> Result<Reply, ApiError> {
    let gateway = call.state::<Gateway>()?.into_inner();
    let transport = call.state::<Transport>()?;
    let asked = match inputs(&mut call, &gateway, principal.clone(), kind).await {
        Err(error) if call.is_broken() => return Err(with_meta(error, &ResponseMeta::default())),
        // What there is no room for is not put on record either.
        Err(error) if matches!(error.code(), Code::RateLimitExceeded | Code::ServiceUnavailable) => {
            return Err(with_meta(error, &ResponseMeta::default()));
        }
        asked => asked,
    };
    let place = gateway.acquire_slot(&principal, call.take_memory()).await;
    let place = place.map_err(|none| with_meta(no_place(none), &ResponseMeta::default()))?;
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => {
            let meta = Box::pin(pipeline::refuse(&gateway, principal, kind, place, error.message())).await;
            return Err(with_meta(error, &meta));
        }
    };
    let completed = if asked.body.len() > gateway.settings.limits.shares.large_body_bytes {
        let (compute, owner) = (gateway.clone(), owner(principal.scope));
        let work = move |transport: Transport| async move {
            pipeline::complete(&mut asked.inbound(&gateway, &transport, rewrite), place).await
        };
        let completed = Box::pin(compute.compute.run(owner, work)).await;
        completed.map_err(|lost| with_meta(not_done(lost), &ResponseMeta::default()))?
    } else {
        pipeline::complete(&mut asked.inbound(&gateway, &transport, rewrite), place).await
    };
    completed.map_err(|(failure, meta)| {
        let error = if meta.cost.is_some() { broken_off(failure) } else { error(failure) };
        with_meta(error, &meta)
    })
}

/// An answer as it is.
pub(in crate::http) fn respond(reply: Reply) -> HttpResponse {
    match reply {
        Reply::Whole { meta, body, content_type, memory } => {
            let mut response = answer(&meta);
            response.insert_header((CONTENT_TYPE, header_of(&content_type)));
            match memory.filter(|memory| memory.bytes() > 0) {
                Some(memory) => response.body(Charged::new(body, memory)),
                None => response.body(body),
            }
        }
        Reply::Stream { meta, body, content_type } => {
            let mut response = answer(&meta);
            response
                .insert_header((CONTENT_TYPE, header_of(&content_type)))
                .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")))
                .insert_header(("x-accel-buffering", "no"));
            response.streaming(stream::unfold(body, |mut body| async move {
                let bytes = body.next().await?;
                Some((bytes, body))
            }))
        }
    }
}

/// Why a request is not served now.
pub(super) fn no_place(none: NotAdmitted) -> ApiError {
    match none {
        NotAdmitted::Share => {
            let message = "Your organization, or this API key, has as many requests in flight as it may; \
                           send more when some of them have ended";
            ApiError::new(Code::RateLimitExceeded, message).retry_after_s(1)
        }
        NotAdmitted::Process => crowded(),
        NotAdmitted::Unready => {
            let message = "Temporarily unavailable, try again";
            ApiError::new(Code::ServiceUnavailable, message).retry_after_s(1)
        }
        NotAdmitted::Stopping => {
            let message = "This process is shutting down; try again";
            ApiError::new(Code::ServiceUnavailable, message).retry_after_s(1)
        }
    }
}

/// What a call brings, on its own.
pub(super) struct Inputs {
    pub body: Bytes,
    principal: Arc<Principal>,
    kind: Kind,
    content_type: String,
    beta: Option<String>,
    fallback: Option<ByokFallback>,
    first_content: Option<Duration>,
    traceparent: Option<TraceParent>,
    routing_headers: RoutingHeaders,
}

impl Inputs {
    /// The request as the gateway takes it.
    pub(super) fn inbound<'g>(
        self,
        gateway: &'g Arc<Gateway>,
        transport: &'g Transport,
        rewrite: Rewrite,
    ) -> Inbound<'g> {
        let Self {
            body,
            principal,
            kind,
            content_type,
            beta,
            fallback,
            first_content,
            traceparent,
            routing_headers,
        } = self;
        let body = rewrite(kind, &content_type, body);
        let memory = gateway.shared.memory_for(owner(principal.scope));
        Inbound {
            gateway,
            transport,
            principal,
            kind,
            body,
            content_type,
            beta,
            fallback,
            first_content,
            traceparent,
            routing_headers,
            memory,
        }
    }
}

/// What a body is, as its provider says it.
fn header_of(content_type: &str) -> HeaderValue {
    let value = HeaderValue::from_str(content_type).ok().filter(|value| !value.is_empty());
    value.unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// How long a candidate may stay silent while another one is left, where the request says it.
fn first_content(call: &Call) -> Result<Option<Duration>, ApiError> {
    const NAME: &str = "x-kairosroute-first-content-timeout-ms";
    let Some(value) = header_values(call, NAME).next() else { return Ok(None) };
    let millis = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
    match millis.filter(|millis| (1..=600_000).contains(millis)) {
        Some(millis) => Ok(Some(Duration::from_millis(millis))),
        None => {
            let message = format!("The header `{NAME}` must be a number of milliseconds from 1 to 600000");
            Err(ApiError::invalid(NAME, message))
        }
    }
}

pub(super) async fn inputs(
    call: &mut Call,
    gateway: &Gateway,
    principal: Arc<Principal>,
    kind: Kind,
) -> Result<Inputs, ApiError> {
    let routing_headers = routing_headers(call)?;
    let gateway_options: Vec<&[u8]> = header_values(call, FALLBACK).collect();
    let fallback = match gateway_options.as_slice() {
        [] => None,
        [b"platform"] => Some(ByokFallback::Platform),
        [b"never"] => Some(ByokFallback::Never),
        _ => {
            let message = "The header `x-kairosroute-fallback` must be `platform` or `never`";
            return Err(ApiError::invalid("x-kairosroute-fallback", message));
        }
    };
    let is_messages = kind == Kind::Conversation(Dialect::Messages);
    let beta = call.header(ANTHROPIC_BETA).filter(|_| is_messages).map(str::to_owned);
    let content_type = call.header(CONTENT_TYPE).unwrap_or_default().to_owned();
    let first_content = first_content(call)?;
    let body = call.bytes(gateway.settings.limits.body_bytes_max).await?;
    if body.trim_ascii().is_empty() {
        let message = "The request body is empty: send the request as a JSON object, or as a form where the endpoint \
                       takes files";
        return Err(ApiError::new(Code::InvalidRequest, message));
    }
    // What is sent to the provider is about as large.
    call.charge(body.len().saturating_mul(2))?;
    let traceparent = call.header(TRACEPARENT).and_then(TraceParent::parse);
    Ok(Inputs {
        body,
        principal,
        kind,
        content_type,
        beta,
        fallback,
        first_content,
        traceparent,
        routing_headers,
    })
}

/// The head of a good answer.
pub(in crate::http) fn answer(meta: &ResponseMeta) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(StatusCode::OK);
    each_header(meta, |name, value| {
        response.insert_header((name, value));
    });
    response
}

/// An error that says beside its body what every response of inference says.
pub(in crate::http) fn with_meta(error: ApiError, meta: &ResponseMeta) -> ApiError {
    let mut error = Some(error);
    each_header(meta, |name, value| {
        error = error.take().map(|error| error.header_value(name, value));
    });
    // `error` is taken and put back in one step, so it is always there.
    error.unwrap_or_else(|| ApiError::internal("the error was lost"))
}

/// Everything a response says beside its body.
fn each_header(meta: &ResponseMeta, mut put: impl FnMut(HeaderName, HeaderValue)) {
    put(BYOK, HeaderValue::from_static(if meta.byok { "true" } else { "false" }));
    match meta.cache {
        CacheUse::Off => put(CACHE, HeaderValue::from_static("off")),
        CacheUse::Miss => put(CACHE, HeaderValue::from_static("miss")),
        CacheUse::Hit { age_s } => {
            put(CACHE, HeaderValue::from_static("hit"));
            put(AGE, HeaderValue::from(age_s));
        }
    }
    put(ATTEMPTS, HeaderValue::from(meta.attempts));
    if meta.by_byok_api_key || meta.bypasses_rates {
        put(RATE_LIMIT_BYPASS, HeaderValue::from_static("BYOK API key used"));
    }
    let rates = meta.rates.as_deref().copied().unwrap_or_default();
    // The values are written into one buffer, and share it.
    let mut buffer = BytesMut::with_capacity(VALUES_BYTES);
    let mut text = |name, value: &dyn Display| {
        // Writing to memory cannot fail.
        let _ = write!(buffer, "{value}");
        if let Ok(value) = HeaderValue::from_maybe_shared(buffer.split().freeze()) {
            put(name, value);
        }
    };
    for ([limit, remaining, reset], standing) in
        [(REQUEST_RATES, rates.requests), (TOKEN_RATES, rates.tokens)]
    {
        if let Some(standing) = standing {
            text(limit, &standing.limit);
            text(remaining, &standing.remaining);
            text(reset, &duration_text(standing.reset_ms));
        }
    }
    if let Some(id) = meta.request_id {
        text(RECEIPT, &id.receipt());
        text(REQUEST_ID, &id);
    }
    if let Some(provider) = meta.provider {
        text(PROVIDER, &provider);
    }
    if let Some(model) = &meta.model {
        text(MODEL, model);
    }
    if let Some(cost) = meta.cost {
        text(COST, &cost);
        text(SAVINGS, &meta.savings);
    }
    if let Some(advice) = &meta.advice {
        text(ADVICE, advice);
    }
    if let Some(reason) = meta.fallback_reason {
        text(FALLBACK_REASON, &reason);
    }
    if !meta.dropped.is_empty() {
        text(DROPPED, &meta.dropped.join(", "));
    }
}

/// A duration as OpenAI writes it in its headers: `1m0s`, `12.5s`, `250ms`.
fn duration_text(millis: i64) -> String {
    let millis = millis.max(0);
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let (seconds, fraction) = (rest / 1_000, rest % 1_000);
    let fraction = match fraction {
        0 => String::new(),
        fraction => format!(".{fraction:03}").trim_end_matches('0').to_owned(),
    };
    match (minutes, rest) {
        (0, rest) if rest < 1_000 => format!("{rest}ms"),
        (0, _) => format!("{seconds}{fraction}s"),
        (minutes, _) => format!("{minutes}m{seconds}{fraction}s"),
    }
}

/// Of a request whose earlier turns were answered: they have been charged, and their tools called. A second try would
/// do all of that again.
fn broken_off(failure: Failure) -> ApiError {
    let error = match failure {
        Failure::Unavailable(cause) => {
            let message =
                "The gateway could not go on; what was answered until then is charged as the receipt says";
            ApiError::new(Code::ServiceUnavailable, message).cause(cause)
        }
        failure => error(failure),
    };
    error.retry_is_useless()
}

pub(super) fn error(failure: Failure) -> ApiError {
    match failure {
        Failure::Invalid(invalid) => {
            let error = ApiError::new(Code::InvalidRequest, invalid.message);
            match invalid.param {
                Some(param) => error.param(param),
                None => error,
            }
        }
        Failure::NoModels { message, param } => {
            let error = ApiError::new(Code::NoModelsAvailable, message);
            match param {
                Some(param) => error.param(param),
                None => error,
            }
        }
        Failure::UnknownModel { message } => ApiError::new(Code::ModelNotFound, message).param("model"),
        Failure::UnknownProvider { param, hint } => ApiError::unknown_provider(param).hint(&hint),
        failure @ Failure::ContextLength { context_tokens, prompt_tokens_min } => {
            let anthropic =
                format!("prompt is too long: {prompt_tokens_min} tokens > {context_tokens} maximum");
            ApiError::new(Code::ContextLengthExceeded, failure.text())
                .param("messages")
                .anthropic_message(anthropic)
        }
        Failure::InsufficientCredits { available } => {
            let message = format!(
                "Insufficient credits: {available} USD available. Add credit, or store your own provider key"
            );
            ApiError::new(Code::InsufficientCredits, message)
        }
        ref failure @ Failure::OverBudget(ref budget) => {
            let amounts =
                [("budget_usd", budget.amount), ("spent_usd", budget.spent), ("reserved_usd", budget.held)];
            let mut error = ApiError::new(Code::BudgetExceeded, failure.text());
            for (name, amount) in amounts {
                error = error.detail(name, serde_json::Value::String(amount.to_string()));
            }
            error.detail("resets_at", serde_json::Value::String(rfc3339(budget.resets_at)))
        }
        Failure::RateLimited(limited) => {
            ApiError::new(Code::RateLimitExceeded, limited.text()).retry_after_s(limited.retry_after_s())
        }
        ref failure @ Failure::CostGuardrail { estimate, limit } => {
            ApiError::new(Code::CostGuardrailExceeded, failure.text())
                .detail("estimate_usd", serde_json::Value::String(estimate.to_string()))
                .detail("limit_usd", serde_json::Value::String(limit.to_string()))
        }
        failure @ Failure::KeyRevoked => ApiError::new(Code::InvalidApiKey, failure.text()),
        Failure::Unavailable(cause) => ApiError::unavailable(cause),
        Failure::Busy(message) => ApiError::new(Code::RateLimitExceeded, message).retry_after_s(1),
        Failure::NotDurable => {
            let message = "The answer could not be billed in time and is lost; it is not charged. Try again";
            ApiError::new(Code::ServiceUnavailable, message)
        }
        Failure::Upstream { rejection, provider, credential, tried } => {
            upstream::error(*rejection, provider, credential, tried)
        }
    }
}

#[cfg(test)]
mod tests;
