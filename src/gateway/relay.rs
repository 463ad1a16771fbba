//! One streamed answer between provider and client: frames in, bytes for the client out. It determines the commit
//! point, the end and the billed usage. It does not use sockets, time or money.

mod bytes;
mod chat;
mod collect;
mod document;
mod passthrough;
mod translate;

use super::{
    answer_cache::{Capture, Kept},
    error_event,
    upstream_context::{EndpointContext, UpstreamContext},
};
use crate::{
    dialect::{
        Dialect, WriterContext,
        canonical::{Delta, Event},
        json::Escaped,
        messages,
        sse::{Frame, Splitter},
    },
    domain::{provider::ProviderId, shares::Charge, usage::Usage},
    providers::{error::UpstreamError, transport::no_memory},
};
use bytes::Bytes;
use chat::Chat;
use collect::Gather;
use document::Document;
use passthrough::Pass;
pub(super) use passthrough::names_other_tiers;
use translate::Translate;

/// The member of an answer that holds its provider and its cost.
pub const RECEIPT_MEMBER: &str = "x_kairosroute";

/// The error for an answer whose provider revokes content that the client already has.
const BEGAN_ANEW: &str = "the provider began its answer anew";

/// The state of one streamed answer.
pub struct Relay {
    body: Body,
    /// How a whole document is read.
    context: Option<UpstreamContext>,
    splitter: Splitter,
    client: Dialect,
    state: StreamState,
    mode: RelayMode,
    /// Reads the answer for the response cache.
    capture: Option<Box<Capture>>,
}

/// The form of the provider's answer.
enum Body {
    /// Only white space has arrived.
    Unknown,
    Events,
    /// One JSON document although a stream was requested: a whole answer, or an error.
    Document(Box<Document>),
}

/// How frames become bytes for the client.
enum RelayMode {
    /// Chat or completions on both sides: frames pass through and are only read.
    Chat(Chat),
    /// Another dialect on both sides: frames pass through and are parsed at the same time.
    Pass(Pass),
    Translate(Translate),
    /// Events for the gateway itself.
    Gather(Box<Gather>),
    /// Audio: not a stream of frames.
    Bytes(Box<Bytes>),
}

/// The state of the answer so far, in any mode.
struct StreamState {
    provider: ProviderId,
    /// Bytes that can be sent to the client.
    out: Vec<u8>,
    bytes_max: usize,
    /// Bytes of frames that wait for the charge.
    held_bytes_max: usize,
    committed: bool,
    finished: u64,
    ended: bool,
    failure: Option<UpstreamError>,
    /// Text of the answer itself, not of reasoning before it.
    answering: bool,
    prompt: Option<Usage>,
    usage: Option<Usage>,
    service_tier: Option<String>,
    text: Vec<u8>,
}

impl Relay {
    pub fn new(context: UpstreamContext) -> Self {
        let mut state = StreamState::new(context.provider, context.reply_bytes_max);
        state.held_bytes_max = context.held_bytes_max;
        let splitter = Splitter::new(context.frame_bytes_max);
        let client = context.client;
        let capture = context.kept_bytes_max.map(|bytes_max| {
            let (dialect, reading) = (context.upstream, context.reading.clone());
            Box::new(Capture::new(dialect, reading, context.frame_bytes_max, bytes_max))
        });
        let is_chat = matches!(client, Dialect::Chat | Dialect::Completions);
        let mode = match (Gather::new(&context), Translate::new(&context)) {
            (Some(gather), _) => RelayMode::Gather(Box::new(gather)),
            (None, Some(translate)) => RelayMode::Translate(translate),
            (None, None) if is_chat => RelayMode::Chat(Chat::new(&context)),
            (None, None) => RelayMode::Pass(Pass::new(&context)),
        };
        Self { body: Body::Unknown, context: Some(context), splitter, client, state, mode, capture }
    }

    /// For streamed audio; `content_type` is the provider's.
    pub fn bytes(context: &EndpointContext, content_type: &str) -> Self {
        let bytes_max = context.reply_bytes_max;
        let mode = RelayMode::Bytes(Box::new(Bytes::new(&context.expected, content_type, bytes_max)));
        let state = StreamState::new(context.provider, bytes_max);
        let splitter = Splitter::new(bytes_max);
        Self {
            body: Body::Events,
            context: None,
            splitter,
            client: Dialect::Chat,
            state,
            mode,
            capture: None,
        }
    }

    /// Takes bytes from the socket.
    pub fn absorb(&mut self, bytes: &[u8]) {
        let Self { body, context, splitter, state, mode, capture, .. } = self;
        if let Some(capture) = capture {
            capture.absorb(bytes);
        }
        if let RelayMode::Bytes(sound) = mode {
            return sound.take(bytes, state);
        }
        if let Body::Unknown = body
            && let Some(first) = bytes.iter().find(|byte| !byte.is_ascii_whitespace())
        {
            *body = match context.take().filter(|_| matches!(first, b'{' | b'[')) {
                Some(context) => Body::Document(Box::new(Document::new(context))),
                None => Body::Events,
            };
        }
        if let Body::Document(document) = body {
            return document.take(bytes, state);
        }
        if let Err(too_long) = splitter.feed(bytes, |frame| mode.take(frame, state)) {
            state.fail(too_long.to_string());
        }
    }

    /// The provider has closed the stream.
    pub fn close(&mut self) {
        let Self { body, splitter, state, mode, .. } = self;
        if let Body::Document(document) = body {
            document.read(mode, state);
        }
        splitter.finish(|frame| mode.take(frame, state));
        if !state.ended && state.failure.is_none() {
            mode.close(state);
        }
        if !state.ended && state.finished == 0 {
            state.fail("the provider's stream ended without a finish".to_owned());
        }
        state.ended = true;
    }

    /// The connection broke. If the answer had already finished, it is complete all the same.
    pub fn cut(&mut self, rejection: UpstreamError) {
        if self.state.finished == 0 {
            self.state.failure.get_or_insert(rejection);
        }
        self.state.ended = true;
    }

    /// Charges the memory of waiting bytes. If the organization has reached its share of memory, the answer ends here.
    pub fn charge(&mut self, memory: &mut Charge) {
        if memory.cover(self.buffered_bytes()).is_err() {
            self.state.failure.get_or_insert_with(no_memory);
        }
    }

    fn buffered_bytes(&self) -> usize {
        let held = match &self.mode {
            RelayMode::Chat(chat) => chat.held_bytes(),
            RelayMode::Pass(pass) => pass.held_bytes(),
            RelayMode::Translate(translate) => translate.held_bytes(),
            RelayMode::Gather(gather) => gather.kept_bytes(),
            RelayMode::Bytes(bytes) => bytes.held_bytes(),
        };
        let captured = self.capture.as_ref().map_or(0, |capture| capture.buffered_bytes());
        let held = held.saturating_add(captured);
        let ready = self.state.out.len().saturating_add(self.state.text.len());
        self.splitter.buffered_bytes().saturating_add(ready).saturating_add(held)
    }

    /// Content has arrived: this provider's answer is used.
    pub fn is_committed(&self) -> bool {
        self.state.committed
    }

    /// Nothing more will be read.
    pub fn has_ended(&self) -> bool {
        self.state.ended
    }

    pub fn failure(&self) -> Option<&UpstreamError> {
        self.state.failure.as_ref()
    }

    /// The answer itself has begun, as far as can be seen; content before it was reasoning.
    pub fn is_answering(&self) -> bool {
        self.state.answering
    }

    /// The prompt, if the provider has counted it before it answers.
    pub fn prompt(&self) -> Option<Usage> {
        self.state.prompt
    }

    pub fn usage(&self) -> Option<Usage> {
        self.state.usage
    }

    /// The service tier in the answer's head; a frame that states one has priority.
    pub fn served_in(&mut self, tier: Option<String>) {
        self.state.service_tier = self.state.service_tier.take().or(tier);
    }

    pub fn service_tier(&self) -> Option<&str> {
        self.state.service_tier.as_deref()
    }

    /// The text of the model since the last call, escaped as JSON.
    pub fn take_text(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.state.text)
    }

    /// The whole answer, if it will be stored and was read as events.
    pub(super) fn take_kept(&mut self) -> Option<Kept> {
        let capture = self.capture.take().filter(|_| self.state.failure.is_none())?;
        capture.finish().map(|answer| Kept::Answer(Box::new(answer)))
    }

    /// Bytes for the client; empty when nothing is ready.
    pub fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.state.out)
    }

    /// The events since the last call, if the answer is collected.
    pub fn take_events(&mut self) -> Vec<Event<'static>> {
        match &mut self.mode {
            RelayMode::Gather(gather) => gather.take_events(),
            _ => Vec::new(),
        }
    }

    /// How a collected answer is written.
    pub fn writer_context(&self) -> Option<&WriterContext> {
        match &self.mode {
            RelayMode::Gather(gather) => Some(gather.writer_context()),
            _ => None,
        }
    }

    /// The end of a charged answer: the frames that were kept back, with `note` (JSON) as `x_kairosroute` on the frame
    /// that finishes, or on the usage chunk if the client requested one, then the end marker.
    pub fn conclude(&mut self, note: &str, billed: &Usage) -> Vec<u8> {
        let mut out = self.take_out();
        match &mut self.mode {
            RelayMode::Chat(chat) => chat.conclude(note, billed, &mut out),
            RelayMode::Pass(pass) => pass.conclude(note, &mut out),
            RelayMode::Translate(translate) => translate.conclude(note, billed, &mut out),
            // The code that took the events writes the end.
            RelayMode::Gather(_) => {}
            RelayMode::Bytes(bytes) => bytes.conclude(&mut out),
        }
        out
    }

    /// The one error event that ends an answer which cannot be completed; `None` if the format has no error event and
    /// the connection must be broken.
    pub fn terminal_error(&mut self, code: &str, message: &str, provider: Option<&str>) -> Option<Vec<u8>> {
        let mut out = self.take_out();
        match &mut self.mode {
            RelayMode::Translate(translate) => translate.fail(code, message, provider, &mut out),
            RelayMode::Pass(pass) => out.extend(pass.fail(code, message, provider)),
            RelayMode::Chat(_) | RelayMode::Gather(_) => {
                out.extend(error_event::error(self.client, code, message, provider))
            }
            RelayMode::Bytes(_) => return None,
        }
        Some(out)
    }

    /// A sign that the answer is still in progress; empty if the format has none.
    pub fn heartbeat(&self) -> &'static [u8] {
        match self.client {
            _ if matches!(self.mode, RelayMode::Bytes(_)) => b"",
            Dialect::Messages => messages::PING,
            // A comment: it prevents proxies from closing the connection, and every client ignores it.
            _ => b": keep-alive\n\n",
        }
    }
}

impl RelayMode {
    fn take(&mut self, frame: Frame<'_>, state: &mut StreamState) {
        if state.ended || state.failure.is_some() {
            return;
        }
        match self {
            RelayMode::Chat(chat) => chat.take(frame, state),
            RelayMode::Pass(pass) => pass.take(frame, state),
            RelayMode::Translate(translate) => translate.take(frame, state),
            RelayMode::Gather(gather) => gather.take(frame, state),
            // It takes bytes before they are split into frames.
            RelayMode::Bytes(_) => {}
        }
    }

    fn close(&mut self, state: &mut StreamState) {
        match self {
            RelayMode::Chat(_) => {}
            RelayMode::Pass(pass) => pass.close(state),
            RelayMode::Translate(translate) => translate.close(state),
            RelayMode::Gather(gather) => gather.close(state),
            RelayMode::Bytes(bytes) => bytes.close(state),
        }
    }
}

impl StreamState {
    fn new(provider: ProviderId, bytes_max: usize) -> Self {
        Self {
            provider,
            out: Vec::with_capacity(1024),
            bytes_max,
            held_bytes_max: bytes_max,
            committed: false,
            finished: 0,
            ended: false,
            failure: None,
            answering: false,
            prompt: None,
            usage: None,
            service_tier: None,
            text: Vec::new(),
        }
    }

    /// The received bytes are not an answer.
    fn fail(&mut self, message: String) {
        self.failure.get_or_insert_with(|| UpstreamError::unusable(message));
    }

    /// The bytes that wait for the charge exceed the limit.
    fn check_held(&mut self, held_bytes: usize) {
        if held_bytes > self.held_bytes_max {
            self.fail("the provider's stream goes on for too long after its end".to_owned());
        }
        self.check_room(held_bytes);
    }

    /// The bytes that wait for the client exceed the limit.
    fn check_room(&mut self, held_bytes: usize) {
        if self.out.len().saturating_add(held_bytes) > self.bytes_max {
            self.fail("the provider's stream holds more than may wait for the client".to_owned());
        }
    }

    /// Records the effect of an event on the usage and the end. `false`: it changes nothing any more.
    fn note(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Start { .. } | Event::Restart => {}
            Event::Said { delta, .. } => self.say(delta),
            Event::Finish { .. } => {
                self.committed = true;
                self.finished += 1;
            }
            Event::Prompt(prompt) => self.prompt = Some(*prompt),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::ServiceTier(tier) => self.service_tier = Some(tier.clone().into_owned()),
            // The answer is complete; later frames of the host change nothing.
            Event::Failed(_) if self.finished > 0 => {
                self.ended = true;
                return false;
            }
            Event::Failed(error) => {
                let rejection = UpstreamError::read_in_success(self.provider, error.get().as_bytes());
                self.failure.get_or_insert(rejection);
                return false;
            }
            Event::End => {
                if self.finished == 0 {
                    self.fail("the provider's stream ended without a finish".to_owned());
                }
                self.ended = true;
            }
        }
        true
    }

    fn say(&mut self, delta: &Delta<'_>) {
        if let Some(text) = said(delta) {
            self.text.extend_from_slice(text.inner().as_bytes());
            self.committed |= !text.is_empty();
        } else {
            self.committed |= !matches!(delta, Delta::ToolEnd { .. });
        }
        self.answering |= match delta {
            Delta::Text(text) | Delta::Refusal(text) => !text.is_empty(),
            Delta::ToolStart { .. } | Delta::Image { .. } => true,
            _ => false,
        };
        // The name of a tool call is content: it is the commit point.
        self.committed |= matches!(delta, Delta::ToolStart { .. });
    }
}

/// The text of a delta that the model itself wrote.
pub(super) fn said<'d>(delta: &'d Delta<'_>) -> Option<&'d Escaped<'d>> {
    match delta {
        Delta::Text(text) | Delta::Reasoning(text) | Delta::Refusal(text) => Some(text),
        Delta::ToolStart { name, .. } => Some(name),
        Delta::ToolArguments { piece, .. } => Some(piece),
        Delta::Signature(_)
        | Delta::Redacted(_)
        | Delta::ToolEnd { .. }
        | Delta::Citation(_)
        | Delta::Logprobs(_)
        | Delta::Image { .. } => None,
    }
}

#[cfg(test)]
mod tests;
