//! One call to one provider with one credential, up to the commit point: the whole body of a unary answer, or the first
//! content of a stream. Until then the gateway can still call another provider.

use super::{
    relay::{Relay, names_other_tiers, said},
    upstream_context::{EndpointContext, UpstreamContext},
};
use crate::{
    dialect::{
        AnswerReader, Dialect, Reading,
        canonical::{Answer as Canonical, Event},
        kinds::{KindAnswer, Refused},
        openai_chat::{AnswerEdits, reply, usage, without_phantom_calls},
        responses,
    },
    domain::{provider::ProviderId, secret::Secret, shares::Charge, usage::Usage},
    providers::{
        error::{ErrorClass, UpstreamError},
        transport::{
            Deadlines, Outgoing, Response, ResponseTiming, Transport, content_type, read_body,
            unreachable_host,
        },
    },
};

use std::{borrow::Cow, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// What a streamed conversation is.
const EVENTS: Cow<'static, str> = Cow::Borrowed("text/event-stream; charset=utf-8");

/// The request that is sent, and its limits.
pub struct Call {
    pub transport: Transport,
    pub outgoing: Outgoing,
    pub secret: Secret,
    pub stream: bool,
    pub awaited: Awaited,
    pub deadlines: Deadlines,
    /// The end of the time for the whole request.
    pub until: Instant,
    /// Records when bytes of the answer arrive.
    pub timing: Arc<ResponseTiming>,
    /// Memory for the bytes of the answer is charged here.
    pub memory: Charge,
}

/// How the answer is read.
pub enum Awaited {
    Conversation(UpstreamContext),
    Kind(EndpointContext),
}

/// An answer at its commit point.
pub enum Answer {
    Whole {
        body: Body,
        usage: Option<Usage>,
        service_tier: Option<String>,
        text: Vec<u8>,
        memory: Option<Charge>,
        /// How the provider's bytes are read, if they will be stored.
        reading: Option<Box<(Dialect, Reading)>>,
    },
    Stream {
        response: Box<Response>,
        relay: Box<Relay>,
        content_type: Cow<'static, str>,
        memory: Charge,
    },
}

/// A whole answer.
pub enum Body {
    /// In the provider's bytes and the client's dialect.
    Bytes(Vec<u8>),
    /// To be written in the client's dialect.
    Answer(Box<(Canonical, UpstreamContext)>),
    /// Of another endpoint kind than a conversation, in the client's format.
    Kind(Box<KindAnswer>),
}

impl Call {
    /// Calls the provider.
    pub async fn dial(self: Box<Self>) -> Result<Answer, UpstreamError> {
        // The head of a whole answer arrives when the answer is complete: one time limit covers both.
        let first_byte_by = self.until.min(Instant::now() + self.deadlines.first_byte);
        self.timing.call(Instant::now().into_std());
        let calling = self.transport.post(self.awaited.provider(), self.outgoing, &self.secret);
        let response = timeout_at(first_byte_by, calling).await.map_err(|_| late())??.timed_by(self.timing);
        let tier = response.header(SERVED_TIER).map(str::to_ascii_lowercase);
        let mut memory = self.memory;
        let answered = match (self.awaited, self.stream) {
            (Awaited::Conversation(context), true) => {
                first_content(response, (Box::new(Relay::new(context)), memory), EVENTS, first_byte_by).await
            }
            (Awaited::Conversation(context), false) => {
                let reading = read_body(response, context.reply_bytes_max, &mut memory);
                let body = timeout_at(first_byte_by, reading).await.map_err(|_| late())??;
                match context.upstream == Dialect::Chat && context.writer_context.is_none() {
                    true => whole_chat(&context, body),
                    false => whole(context, body),
                }
                .map(|answer| answer.charged(memory))
            }
            // A success status with a body that is not audio is an error.
            (Awaited::Kind(context), true) if !may_be_sound(content_type(&response)) => {
                let reading = read_body(response, context.reply_bytes_max, &mut memory);
                let body = timeout_at(first_byte_by, reading).await.map_err(|_| late())??;
                Err(UpstreamError::read_in_success(context.provider, body.trim_ascii()))
            }
            (Awaited::Kind(context), true) => {
                let relay = Box::new(Relay::bytes(&context, content_type(&response)));
                let said = Cow::Owned(content_type(&response).to_owned());
                first_content(response, (relay, memory), said, first_byte_by).await
            }
            (Awaited::Kind(context), false) => {
                let said = content_type(&response).to_owned();
                let reading = read_body(response, context.reply_bytes_max, &mut memory);
                let body = timeout_at(first_byte_by, reading).await.map_err(|_| late())??;
                whole_kind(&context, &said, body).map(|answer| answer.charged(memory))
            }
        };
        // A provider may repeat the key in its error message.
        answered
            .map(|answer| answer.served_in(tier))
            .map_err(|rejection| rejection.without(self.secret.expose()))
    }
}

/// Google states the service tier that served a request in this header, also if the body does not.
const SERVED_TIER: &str = "x-gemini-service-tier";

impl Answer {
    /// Uses the service tier of the answer's head, unless the body states one.
    fn served_in(mut self, tier: Option<String>) -> Self {
        match &mut self {
            Self::Whole { service_tier, .. } => *service_tier = service_tier.take().or(tier),
            Self::Stream { relay, .. } => relay.served_in(tier),
        }
        self
    }

    /// Keeps the memory charge for as long as the answer.
    fn charged(mut self, charge: Charge) -> Self {
        if let Self::Whole { memory, .. } = &mut self {
            *memory = Some(charge);
        }
        self
    }
}

impl Awaited {
    fn provider(&self) -> ProviderId {
        match self {
            Self::Conversation(context) => context.provider,
            Self::Kind(context) => context.provider,
        }
    }
}

/// Reads until the commit point; the client has received nothing before that.
async fn first_content(
    mut response: Response,
    (mut relay, mut memory): (Box<Relay>, Charge),
    content_type: Cow<'static, str>,
    by: Instant,
) -> Result<Answer, UpstreamError> {
    while !relay.is_committed() {
        match timeout_at(by, response.chunk()).await.map_err(|_| late())? {
            Ok(Some(bytes)) => relay.absorb(&bytes),
            Ok(None) => relay.close(),
            Err(error) => relay.cut(unreachable_host(&error)),
        }
        relay.charge(&mut memory);
        if let Some(failure) = relay.failure().filter(|_| !relay.is_committed()) {
            return Err(failure.clone());
        }
    }
    response.timing().has_content();
    Ok(Answer::Stream { response: Box::new(response), relay, content_type, memory })
}

/// Chat for a chat client: the bytes pass through, and only what billing needs is read.
fn whole_chat(context: &UpstreamContext, body: Vec<u8>) -> Result<Answer, UpstreamError> {
    let mut text = Vec::new();
    // DeepSeek sends blank lines while a request is queued.
    let json = body.trim_ascii();
    let seen =
        reply::read(json, &mut text).map_err(|unreadable| UpstreamError::unusable(unreadable.to_string()))?;
    if seen.error.is_some() || seen.no_choices {
        // An error in a body with a success status is not an answer.
        let unusable_success = seen.error.is_none();
        return Err(UpstreamError {
            unusable_success,
            ..UpstreamError::read_in_success(context.provider, json)
        });
    }
    if seen.host_failed {
        return Err(broken_off());
    }
    let outside = context.reading.reasoning_outside_output;
    let usage = seen.usage.and_then(|raw| usage::read(raw, outside));
    let service_tier = seen.service_tier.map(str::to_owned);
    let edits = AnswerEdits::of(context.provider).filter(|edits| edits.needs(&seen));
    let edited = edits.filter(|_| context.client == Dialect::Chat).and_then(|mut edits| edits.body(json));
    let is_phantom = seen.ends_for_calls && !seen.odd.calls;
    let edited =
        if is_phantom { without_phantom_calls(edited.as_deref().unwrap_or(json)).or(edited) } else { edited };
    let body = Body::Bytes(edited.unwrap_or(body));
    Ok(Answer::Whole { usage, service_tier, text, body, memory: None, reading: reading_of(context) })
}

fn whole(context: UpstreamContext, body: Vec<u8>) -> Result<Answer, UpstreamError> {
    let mut answer = Canonical::default();
    let mut text = Vec::new();
    let mut finished = false;
    let mut reader = AnswerReader::new(context.upstream, context.reading.clone());
    let read = reader.body(body.trim_ascii(), &mut |event| {
        if let Event::Said { delta, .. } = &event {
            text.extend_from_slice(said(delta).map_or("", |text| text.inner()).as_bytes());
        }
        finished |= matches!(event, Event::Finish { .. });
        answer.absorb(event);
    });
    if let Some(error) = &answer.failed {
        return Err(UpstreamError::read_in_success(context.provider, error.get().as_bytes()));
    }
    read.map_err(|unreadable| UpstreamError::unusable(unreadable.to_string()))?;
    if !finished {
        return Err(UpstreamError { unusable_success: true, ..broken_off() });
    }
    let (usage, service_tier) = (answer.usage, answer.service_tier.clone());
    let reading = reading_of(&context);
    let body = match context.writer_context {
        None => {
            let edited = if names_other_tiers(&context) { responses::with_known_tier(&body) } else { None };
            Body::Bytes(edited.unwrap_or(body))
        }
        Some(_) => Body::Answer(Box::new((answer, context))),
    };
    Ok(Answer::Whole { body, usage, service_tier, text, memory: None, reading })
}

fn reading_of(context: &UpstreamContext) -> Option<Box<(Dialect, Reading)>> {
    context.kept_bytes_max?;
    Some(Box::new((context.upstream, context.reading.clone())))
}

fn whole_kind(context: &EndpointContext, content_type: &str, body: Vec<u8>) -> Result<Answer, UpstreamError> {
    let provider = context.provider;
    let answer = context.expected.read(content_type, body).map_err(|(refused, body)| match refused {
        Refused::Error => UpstreamError::read_in_success(provider, body.trim_ascii()),
        Refused::Blocked(reason) => {
            let message = format!("the provider does not answer this request: {reason}");
            let billed = context.expected.made_in_vain(&body).map(Box::new);
            let rejection = UpstreamError::without_answer(ErrorClass::InvalidRequest, message);
            UpstreamError { status: Some(400), billed, ..rejection }
        }
        Refused::Unreadable => {
            UpstreamError::unusable("the provider's answer is not of the form it should have")
        }
    })?;
    let usage = answer.usage;
    let body = Body::Kind(Box::new(answer));
    Ok(Answer::Whole { body, usage, service_tier: None, text: Vec::new(), memory: None, reading: None })
}

/// Whether bytes of this type can be audio, as plain bytes or in events.
fn may_be_sound(content_type: &str) -> bool {
    let essence = content_type.to_ascii_lowercase();
    essence.starts_with("text/event-stream") || !(essence.contains("json") || essence.starts_with("text/"))
}

pub(super) fn broken_off() -> UpstreamError {
    UpstreamError::without_answer(ErrorClass::Overload, "the provider broke off its answer")
}

fn late() -> UpstreamError {
    UpstreamError::without_answer(ErrorClass::Timeout, "the provider did not answer in time")
}

/// Reads what remains after the end marker, so that the connection can be reused.
pub async fn read_out(mut response: Box<Response>) {
    let reading = async { while let Ok(Some(_)) = response.chunk().await {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
}
