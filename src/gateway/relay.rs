//! One streamed answer on its way through: frames in, bytes for the client out. Knows what commits, what ends
//! and what is billed; knows nothing of sockets, time or money.

mod bytes;
mod chat;
mod document;
mod gather;
mod pass;
mod translate;

use super::{
    exchange::{Exchange, KindExchange},
    terminal,
};
use crate::{
    dialect::{
        Dialect, Speaking,
        canonical::{Delta, Event},
        json::Escaped,
        messages,
        sse::{Frame, Splitter},
    },
    domain::{provider::ProviderId, shares::Charge, usage::Usage},
    providers::{error::Rejection, transport::no_memory},
};
use bytes::Bytes;
use chat::Chat;
use document::Document;
use gather::Gather;
use pass::Pass;
pub(super) use pass::names_other_tiers;
use translate::Translate;

/// The member that says who served and what it cost.
pub const NOTE: &str = "x_kairosroute";

/// Why an answer ends whose provider takes back what the client has already.
const BEGAN_ANEW: &str = "the provider began its answer anew";

/// The state of one streamed answer.
pub struct Relay {
    body: Body,
    /// What a document is read by.
    exchange: Option<Exchange>,
    splitter: Splitter,
    client: Dialect,
    heard: Heard,
    lane: Lane,
}

/// In which form the provider answers.
enum Body {
    /// Nothing but space has come.
    Unknown,
    Events,
    /// One JSON document, although a stream was asked for: a whole answer, or an error.
    Document(Box<Document>),
}

/// How frames become bytes for the client.
enum Lane {
    /// Chat at both ends, or completions: frames pass, and are only looked at.
    Chat(Chat),
    /// Another dialect at both ends: frames pass, and are read beside.
    Pass(Pass),
    Translate(Translate),
    /// Events for the gateway itself.
    Gather(Box<Gather>),
    /// Sound: no frames of ours at all.
    Bytes(Box<Bytes>),
}

/// What is known of the answer so far, in any lane.
struct Heard {
    provider: ProviderId,
    /// Ready for the client.
    out: Vec<u8>,
    bytes_max: usize,
    /// Of frames that wait for the bill.
    held_bytes_max: usize,
    committed: bool,
    finished: u64,
    ended: bool,
    failure: Option<Rejection>,
    /// Of the answer itself, and not only of thoughts before it.
    answering: bool,
    prompt: Option<Usage>,
    usage: Option<Usage>,
    service_tier: Option<String>,
    text: Vec<u8>,
}

impl Relay {
    pub fn new(exchange: Exchange) -> Self {
        let mut heard = Heard::new(exchange.provider, exchange.reply_bytes_max);
        heard.held_bytes_max = exchange.held_bytes_max;
        let splitter = Splitter::new(exchange.frame_bytes_max);
        let client = exchange.client;
        let is_chat = matches!(client, Dialect::Chat | Dialect::Completions);
        let lane = match (Gather::new(&exchange), Translate::new(&exchange)) {
            (Some(gather), _) => Lane::Gather(Box::new(gather)),
            (None, Some(translate)) => Lane::Translate(translate),
            (None, None) if is_chat => Lane::Chat(Chat::new(&exchange)),
            (None, None) => Lane::Pass(Pass::new(&exchange)),
        };
        Self { body: Body::Unknown, exchange: Some(exchange), splitter, client, heard, lane }
    }

    /// For sound that flows; `content_type` is what the provider says it is.
    pub fn bytes(exchange: &KindExchange, content_type: &str) -> Self {
        let bytes_max = exchange.reply_bytes_max;
        let lane = Lane::Bytes(Box::new(Bytes::new(&exchange.expected, content_type, bytes_max)));
        let heard = Heard::new(exchange.provider, bytes_max);
        let splitter = Splitter::new(bytes_max);
        Self { body: Body::Events, exchange: None, splitter, client: Dialect::Chat, heard, lane }
    }

    /// Takes what the socket gave.
    pub fn absorb(&mut self, bytes: &[u8]) {
        let Self { body, exchange, splitter, heard, lane, .. } = self;
        if let Lane::Bytes(sound) = lane {
            return sound.take(bytes, heard);
        }
        if let Body::Unknown = body
            && let Some(first) = bytes.iter().find(|byte| !byte.is_ascii_whitespace())
        {
            *body = match exchange.take().filter(|_| matches!(first, b'{' | b'[')) {
                Some(exchange) => Body::Document(Box::new(Document::new(exchange))),
                None => Body::Events,
            };
        }
        if let Body::Document(document) = body {
            return document.take(bytes, heard);
        }
        if let Err(too_long) = splitter.feed(bytes, |frame| lane.take(frame, heard)) {
            heard.fail(too_long.to_string());
        }
    }

    /// The provider has closed the stream.
    pub fn close(&mut self) {
        let Self { body, splitter, heard, lane, .. } = self;
        if let Body::Document(document) = body {
            document.read(lane, heard);
        }
        splitter.finish(|frame| lane.take(frame, heard));
        if !heard.ended && heard.failure.is_none() {
            lane.close(heard);
        }
        if !heard.ended && heard.finished == 0 {
            heard.fail("the provider's stream ended without a finish".to_owned());
        }
        heard.ended = true;
    }

    /// The connection broke. What has finished by then is an answer all the same.
    pub fn cut(&mut self, rejection: Rejection) {
        if self.heard.finished == 0 {
            self.heard.failure.get_or_insert(rejection);
        }
        self.heard.ended = true;
    }

    /// Charges what waits here. An organization that has its share of memory gets no more of this answer.
    pub fn charge(&mut self, memory: &mut Charge) {
        if memory.cover(self.buffered_bytes()).is_err() {
            self.heard.failure.get_or_insert_with(no_memory);
        }
    }

    fn buffered_bytes(&self) -> usize {
        let held = match &self.lane {
            Lane::Chat(chat) => chat.held_bytes(),
            Lane::Pass(pass) => pass.held_bytes(),
            Lane::Translate(translate) => translate.held_bytes(),
            Lane::Gather(gather) => gather.kept_bytes(),
            Lane::Bytes(bytes) => bytes.held_bytes(),
        };
        let ready = self.heard.out.len().saturating_add(self.heard.text.len());
        self.splitter.buffered_bytes().saturating_add(ready).saturating_add(held)
    }

    /// Content has come: this provider's answer is the answer.
    pub fn is_committed(&self) -> bool {
        self.heard.committed
    }

    /// Nothing more is to be read.
    pub fn has_ended(&self) -> bool {
        self.heard.ended
    }

    pub fn failure(&self) -> Option<&Rejection> {
        self.heard.failure.as_ref()
    }

    /// The answer has begun, as far as can be seen: what came before it were thoughts.
    pub fn is_answering(&self) -> bool {
        self.heard.answering
    }

    /// The prompt, where the provider has counted it before it answers.
    pub fn prompt(&self) -> Option<Usage> {
        self.heard.prompt
    }

    pub fn usage(&self) -> Option<Usage> {
        self.heard.usage
    }

    pub fn service_tier(&self) -> Option<&str> {
        self.heard.service_tier.as_deref()
    }

    /// What the model has said since the last call, escaped as JSON.
    pub fn take_text(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.heard.text)
    }

    /// Bytes for the client; empty when nothing is ready.
    pub fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.heard.out)
    }

    /// What has happened since the last call, where the answer is gathered.
    pub fn take_events(&mut self) -> Vec<Event<'static>> {
        match &mut self.lane {
            Lane::Gather(gather) => gather.take_events(),
            _ => Vec::new(),
        }
    }

    /// How a gathered answer is written.
    pub fn speaking(&self) -> Option<&Speaking> {
        match &self.lane {
            Lane::Gather(gather) => Some(gather.speaking()),
            _ => None,
        }
    }

    /// The end of a billed answer: what was kept back, with `note` (JSON) as `x_kairosroute` on the frame that
    /// finishes, or on the usage chunk if the client asked for one, then the end mark.
    pub fn conclude(&mut self, note: &str, billed: &Usage) -> Vec<u8> {
        let mut out = self.take_out();
        match &mut self.lane {
            Lane::Chat(chat) => chat.conclude(note, billed, &mut out),
            Lane::Pass(pass) => pass.conclude(note, &mut out),
            Lane::Translate(translate) => translate.conclude(note, billed, &mut out),
            // Whoever took the events writes the end.
            Lane::Gather(_) => {}
            Lane::Bytes(bytes) => bytes.conclude(&mut out),
        }
        out
    }

    /// The one error event that ends an answer which cannot be completed; `None` where nothing can be said but by
    /// breaking the connection.
    pub fn terminal_error(&mut self, code: &str, message: &str, provider: Option<&str>) -> Option<Vec<u8>> {
        let mut out = self.take_out();
        match &mut self.lane {
            Lane::Translate(translate) => translate.fail(code, message, provider, &mut out),
            Lane::Pass(pass) => out.extend(pass.fail(code, message, provider)),
            Lane::Chat(_) | Lane::Gather(_) => {
                out.extend(terminal::error(self.client, code, message, provider))
            }
            Lane::Bytes(_) => return None,
        }
        Some(out)
    }

    /// Says that the answer is still coming; empty where there is no way to.
    pub fn heartbeat(&self) -> &'static [u8] {
        match self.client {
            _ if matches!(self.lane, Lane::Bytes(_)) => b"",
            Dialect::Messages => messages::PING,
            // A comment: keeps proxies from giving up, and every client ignores it.
            _ => b": keep-alive\n\n",
        }
    }
}

impl Lane {
    fn take(&mut self, frame: Frame<'_>, heard: &mut Heard) {
        if heard.ended || heard.failure.is_some() {
            return;
        }
        match self {
            Lane::Chat(chat) => chat.take(frame, heard),
            Lane::Pass(pass) => pass.take(frame, heard),
            Lane::Translate(translate) => translate.take(frame, heard),
            Lane::Gather(gather) => gather.take(frame, heard),
            // It is given bytes before they are cut into frames.
            Lane::Bytes(_) => {}
        }
    }

    fn close(&mut self, heard: &mut Heard) {
        match self {
            Lane::Chat(_) => {}
            Lane::Pass(pass) => pass.close(heard),
            Lane::Translate(translate) => translate.close(heard),
            Lane::Gather(gather) => gather.close(heard),
            Lane::Bytes(bytes) => bytes.close(heard),
        }
    }
}

impl Heard {
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

    /// What came is no answer.
    fn fail(&mut self, message: String) {
        self.failure.get_or_insert_with(|| Rejection::unusable(message));
    }

    /// More waits for the bill than may.
    fn check_held(&mut self, held_bytes: usize) {
        if held_bytes > self.held_bytes_max {
            self.fail("the provider's stream goes on for too long after its end".to_owned());
        }
        self.check_room(held_bytes);
    }

    /// More waits for the client than may.
    fn check_room(&mut self, held_bytes: usize) {
        if self.out.len().saturating_add(held_bytes) > self.bytes_max {
            self.fail("the provider's stream holds more than may wait for the client".to_owned());
        }
    }

    /// Notes what an event means for the bill and the end. `false`: it changes nothing any more.
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
            // The answer is whole; what the host says after it changes nothing.
            Event::Failed(_) if self.finished > 0 => {
                self.ended = true;
                return false;
            }
            Event::Failed(error) => {
                let rejection = Rejection::read_in_success(self.provider, error.get().as_bytes());
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
        // A call commits by its name.
        self.committed |= matches!(delta, Delta::ToolStart { .. });
    }
}

/// What of a piece the model wrote itself.
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
