//! The answer or the refusal of a request, and its response metadata.

use super::{
    answer_cache::{CacheUse, Kept, Replay},
    attempt::{Answer, Body},
    billing_guard::{BillingGuard, NotDurable},
    byok_annotation::annotate_body,
    failover::UpstreamAnswer,
    failure::Failure,
    open_request::OpenRequest,
    quota::RateStandings,
    receipt::{self, Bill, CredentialKind, RequestOutcome, Total},
    relay::RECEIPT_MEMBER,
    stream::{Broken, Metered},
    tool_loop::ToolLoopStream,
};
use crate::{
    dialect::{self, json},
    domain::{ids::RequestId, money::NanoUsd, shares::Charge},
};
use bytes::Bytes;
use std::{borrow::Cow, sync::Arc};

const JSON: &str = "application/json";

/// Response metadata of answers and refusals.
#[derive(Clone, Debug, Default)]
pub struct ResponseMeta {
    pub request_id: Option<RequestId>,
    pub byok: bool,
    /// Set when a candidate was called.
    pub provider: Option<&'static str>,
    pub model: Option<Arc<str>>,
    pub attempts: usize,
    pub cost: Option<NanoUsd>,
    /// The additional cost at the reference model, if the gateway chose the model.
    pub savings: NanoUsd,
    /// The model that the gateway would have chosen, for API keys that request this advice.
    pub advice: Option<Arc<str>>,
    pub fallback_reason: Option<&'static str>,
    pub dropped: Vec<String>,
    /// A `byok_api_key` was used.
    pub by_byok_api_key: bool,
    pub cache: CacheUse,
    /// The state of its rate limits.
    pub rates: Option<Box<RateStandings>>,
    /// No rate limit applies.
    pub bypasses_rates: bool,
}

/// An answer.
pub enum Reply {
    Whole { meta: ResponseMeta, body: Vec<u8>, content_type: Cow<'static, str>, memory: Option<Charge> },
    Stream { meta: ResponseMeta, body: ResponseBody, content_type: Cow<'static, str> },
}

/// A streamed body.
pub enum ResponseBody {
    Single(Box<Metered>),
    ToolLoop(ToolLoopStream),
    /// From the response cache.
    Replay(Replay),
}

impl ResponseBody {
    /// The next bytes for the client; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        match self {
            ResponseBody::Single(metered) => metered.next().await,
            ResponseBody::ToolLoop(turns) => turns.next().await,
            ResponseBody::Replay(replay) => replay.next_frame().map(Ok),
        }
    }

    /// The cost of the answer, after it has ended well; with several turns only the last frame states it.
    pub fn charged(&self) -> Option<NanoUsd> {
        match self {
            ResponseBody::Single(metered) => metered.charged(),
            ResponseBody::ToolLoop(_) => None,
            ResponseBody::Replay(_) => Some(NanoUsd::ZERO),
        }
    }
}

impl ResponseMeta {
    /// The metadata that is known of an open request.
    pub(super) fn of(open: &OpenRequest) -> Self {
        let served = open.answering().filter(|_| !open.history.attempts().is_empty());
        let all = || open.turns.done.iter().map(|done| &done.served).chain(served);
        let total = Total::of(open.turns.done.iter().map(|done| (&done.served, &done.bill)));
        Self {
            request_id: Some(open.request_id),
            byok: served.is_some() && all().all(|served| served.credential == CredentialKind::Byok),
            provider: served.map(|served| served.provider),
            model: served.map(|served| served.model_name.clone()),
            attempts: open.history.attempts().len(),
            cost: total.as_ref().map(|total| total.charge),
            savings: total.map_or(NanoUsd::ZERO, |total| total.savings),
            advice: open.advice().cloned(),
            fallback_reason: open.history.fallback_reason(),
            dropped: open.history.dropped().to_vec(),
            rates: open.rates.clone(),
            bypasses_rates: open.bypasses_rates,
            by_byok_api_key: served.is_some() && all().all(|served| served.by_byok_api_key),
            cache: open.cache.used,
        }
    }
}

/// Ends a request without an answer.
pub(super) async fn refusal(failure: Failure, guard: BillingGuard) -> (Failure, ResponseMeta) {
    let meta = guard.meta();
    guard.fail(&failure.text()).await;
    (failure, meta)
}

/// Charges an answer and writes it for the client. The last bytes of a stream wait for their charge.
pub(super) async fn respond(
    answered: UpstreamAnswer,
    mut guard: BillingGuard,
) -> Result<Reply, (Failure, ResponseMeta)> {
    let mut meta = guard.meta();
    match answered.answer {
        Answer::Whole { body, usage, service_tier, text, memory, reading } => {
            let open = guard.get();
            open.commit();
            open.consumed(usage, service_tier.as_deref(), &text);
            let (request_id, requested) = (open.request_id, open.history.requested().to_owned());
            let keeping = open.keeping(|| Kept::of(&body, reading));
            match guard.settle(RequestOutcome::Completed).await {
                Ok((served, bill)) => {
                    meta.cost = Some(bill.charge);
                    meta.savings = bill.savings;
                    if let Some(keeping) = keeping {
                        keeping.keep(answered.provider, &served, &bill);
                    }
                    let note = receipt::note(request_id, &requested, &served, &Total::one(&served, &bill));
                    let (mut body, content_type) = written(body, &note, &bill);
                    if meta.by_byok_api_key && content_type == JSON {
                        body = annotate_body(body);
                    }
                    Ok(Reply::Whole { meta, body, content_type, memory })
                }
                Err(NotDurable) => Err((Failure::NotDurable, meta)),
            }
        }
        Answer::Stream { response, relay, content_type, memory } => {
            guard.get().commit();
            let origin = (answered.provider, answered.secret);
            let body = Box::new(Metered::new(guard, origin, response, (relay, memory), answered.until));
            Ok(Reply::Stream { meta, body: ResponseBody::Single(body), content_type })
        }
    }
}

/// The body for the client, with the receipt member if the body can hold one, and the body's content type.
fn written(body: Body, note: &str, bill: &Bill) -> (Vec<u8>, Cow<'static, str>) {
    match body {
        Body::Bytes(bytes) => (json::with_member(&bytes, RECEIPT_MEMBER, note).unwrap_or(bytes), JSON.into()),
        Body::Answer(answer) => {
            let (answer, context) = *answer;
            let writer_context = context.writer_context.as_ref();
            let body = writer_context.and_then(|writer_context| {
                dialect::write_answer(context.client, &answer, writer_context, note, &bill.usage)
            });
            (body.unwrap_or_default(), JSON.into())
        }
        Body::Kind(answer) => {
            let content_type = answer.content_type.clone();
            (answer.write(RECEIPT_MEMBER, note, &bill.usage), content_type)
        }
    }
}
