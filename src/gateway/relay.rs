//! One streamed answer on its way through: frames in, bytes for the client out. Knows what commits, what ends
//! and what is billed; knows nothing of sockets, time or money.

use crate::{
    dialect::{
        json,
        openai_chat::{
            reply::{self, Seen},
            usage,
        },
        sse::{self, Frame, Splitter},
    },
    domain::{provider::ProviderId, usage::Usage},
    providers::error::{Class, Rejection},
};

/// What the client and we asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub provider: ProviderId,
    /// Answers (`n`).
    pub choices: u64,
    /// The client wants a usage chunk.
    pub usage_by_client: bool,
    /// The provider was asked for usage only for our sake.
    pub usage_by_us: bool,
    /// Bytes that may wait here for the client at a time.
    pub reply_bytes_max: usize,
}

/// The state of one streamed answer.
pub struct Relay {
    splitter: Splitter,
    state: State,
}

struct State {
    asked: Asked,
    /// Ready for the client.
    out: Vec<u8>,
    /// The frame that finishes the last choice and those after it, kept back until the bill is known.
    held: Vec<Vec<u8>>,
    /// With several choices: the frame that finished one of them, until the next frame shows that it was not
    /// the last. A provider may answer with fewer choices than were asked for.
    finish: Option<Vec<u8>>,
    held_bytes: usize,
    usage_chunk: Option<Vec<u8>>,
    /// The first frame of the answer, the model for a usage chunk of our own.
    sample: Option<Vec<u8>>,
    committed: bool,
    finished: u64,
    ended: bool,
    failure: Option<Rejection>,
    usage: Option<Usage>,
    service_tier: Option<String>,
    text: Vec<u8>,
}

impl Relay {
    pub fn new(asked: Asked, frame_bytes_max: usize) -> Self {
        let state = State {
            asked,
            out: Vec::with_capacity(1024),
            held: Vec::new(),
            finish: None,
            held_bytes: 0,
            usage_chunk: None,
            sample: None,
            committed: false,
            finished: 0,
            ended: false,
            failure: None,
            usage: None,
            service_tier: None,
            text: Vec::new(),
        };
        Self { splitter: Splitter::new(frame_bytes_max), state }
    }

    /// Takes what the socket gave.
    pub fn absorb(&mut self, bytes: &[u8]) {
        let state = &mut self.state;
        if let Err(too_long) = self.splitter.feed(bytes, |frame| state.take(frame)) {
            state.fail(too_long.to_string());
        }
    }

    /// The provider has closed the stream.
    pub fn close(&mut self) {
        let state = &mut self.state;
        self.splitter.finish(|frame| state.take(frame));
        if !state.ended && state.finished == 0 {
            state.fail("the provider's stream ended without a finish".to_owned());
        }
        state.ended = true;
    }

    /// The connection broke. What has finished by then is an answer all the same.
    pub fn cut(&mut self, rejection: Rejection) {
        if self.state.finished == 0 {
            self.state.failure.get_or_insert(rejection);
        }
        self.state.ended = true;
    }

    /// Content has come: this provider's answer is the answer.
    pub fn is_committed(&self) -> bool {
        self.state.committed
    }

    /// Nothing more is to be read.
    pub fn has_ended(&self) -> bool {
        self.state.ended
    }

    pub fn failure(&self) -> Option<&Rejection> {
        self.state.failure.as_ref()
    }

    pub fn usage(&self) -> Option<Usage> {
        self.state.usage
    }

    pub fn service_tier(&self) -> Option<&str> {
        self.state.service_tier.as_deref()
    }

    /// What the model has said since the last call, escaped as JSON.
    pub fn take_text(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.state.text)
    }

    pub fn text_bytes(&self) -> usize {
        self.state.text.len()
    }

    /// Bytes for the client; empty when nothing is ready.
    pub fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.state.out)
    }

    /// The end of a billed answer: the frames kept back, with `note` (JSON) as `x_kairosroute` on the usage chunk
    /// if the client asked for one, else on the frame that finishes, then the end mark.
    pub fn conclude(&mut self, note: &str, billed: &Usage) -> Vec<u8> {
        let state = &mut self.state;
        let mut out = std::mem::take(&mut state.out);
        state.held.splice(0..0, state.finish.take());
        let mut note_due = !state.asked.usage_by_client;
        for frame in state.held.drain(..) {
            let noted = if note_due { json::with_member(&frame, NOTE, note) } else { None };
            note_due &= noted.is_none();
            sse::write_data(&mut out, noted.as_deref().unwrap_or(&frame));
        }
        if state.asked.usage_by_client {
            let chunk =
                state.usage_chunk.take().unwrap_or_else(|| own_usage_chunk(state.sample.as_deref(), billed));
            sse::write_data(&mut out, &json::with_member(&chunk, NOTE, note).unwrap_or(chunk));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        out
    }
}

/// The member that says who served and what it cost.
pub const NOTE: &str = "x_kairosroute";

impl State {
    fn take(&mut self, frame: Frame<'_>) {
        if self.ended || self.failure.is_some() {
            return;
        }
        let Some(data) = frame.data() else { return };
        if data.trim_ascii() == b"[DONE]" {
            if self.finished == 0 {
                self.fail("the provider's stream ended without a finish".to_owned());
            }
            self.ended = true;
            return;
        }
        let mut text = std::mem::take(&mut self.text);
        match reply::read(&data, &mut text) {
            Ok(seen) => self.note(&seen, &data),
            Err(unreadable) => self.fail(unreadable.to_string()),
        }
        self.text = text;
    }

    fn note(&mut self, seen: &Seen<'_>, data: &[u8]) {
        if seen.error.is_some() && self.finished > 0 {
            // The answer is whole; what the host says after it changes nothing.
            self.ended = true;
            return;
        }
        if seen.error.is_some() {
            self.failure = Some(Rejection::read(self.asked.provider, 200, None, data));
            return;
        }
        if seen.host_failed {
            return self.fail("the provider stopped in the middle of the answer".to_owned());
        }
        if let Some(raw) = seen.usage {
            let outside = self.asked.provider.row().quirks.reasoning_outside_output;
            self.usage = usage::read(raw, outside).or(self.usage);
        }
        if let Some(tier) = seen.service_tier {
            self.service_tier = Some(tier.to_owned());
        }
        self.committed |= seen.commits;
        self.finished += seen.finished;
        if seen.no_choices {
            // Clients index the first choice: a frame without one goes only to who asked for it.
            if seen.usage.is_some() && self.asked.usage_by_client {
                self.usage_chunk = Some(data.to_vec());
            }
            return;
        }
        self.pass(seen, data);
    }

    fn pass(&mut self, seen: &Seen<'_>, data: &[u8]) {
        let ours = seen.usage_null && self.asked.usage_by_us && !self.asked.usage_by_client;
        let stripped = if ours { reply::without_null_usage(data) } else { None };
        let data = stripped.as_deref().unwrap_or(data);
        if self.asked.usage_by_client && self.sample.is_none() {
            self.sample = Some(data.to_vec());
        }
        if let Some(finish) = self.finish.take() {
            if self.finished >= self.asked.choices && seen.finished == 0 {
                self.held.push(finish);
            } else {
                sse::write_data(&mut self.out, &finish);
            }
        }
        if self.finished >= self.asked.choices {
            self.held_bytes = self.held_bytes.saturating_add(data.len());
            self.held.push(data.to_vec());
        } else if seen.finished > 0 {
            self.finish = Some(data.to_vec());
        } else {
            sse::write_data(&mut self.out, data);
        }
        if self.out.len().saturating_add(self.held_bytes) > self.asked.reply_bytes_max {
            self.fail("the provider's stream holds too much before it begins or after it ends".to_owned());
        }
    }

    fn fail(&mut self, message: String) {
        self.failure.get_or_insert(Rejection::without_answer(Class::Overload, message));
    }
}

/// A usage chunk for a client that asked and a provider that puts its usage elsewhere or nowhere.
fn own_usage_chunk(sample: Option<&[u8]>, billed: &Usage) -> Vec<u8> {
    #[derive(serde::Deserialize, Default)]
    struct Head<'a> {
        #[serde(borrow, default)]
        id: Option<&'a serde_json::value::RawValue>,
        #[serde(borrow, default)]
        created: Option<&'a serde_json::value::RawValue>,
        #[serde(borrow, default)]
        model: Option<&'a serde_json::value::RawValue>,
    }
    let head: Head<'_> = sample.and_then(|frame| serde_json::from_slice(frame).ok()).unwrap_or_default();
    let raw = |value: Option<&serde_json::value::RawValue>, absent: &str| {
        value.map_or_else(|| absent.to_owned(), |raw| raw.get().to_owned())
    };
    format!(
        r#"{{"id":{},"object":"chat.completion.chunk","created":{},"model":{},"choices":[],"usage":{}}}"#,
        raw(head.id, "\"\""),
        raw(head.created, "0"),
        raw(head.model, "\"\""),
        usage::write(billed)
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(usage_by_client: bool) -> Relay {
        several(usage_by_client, 1)
    }

    fn several(usage_by_client: bool, choices: u64) -> Relay {
        let provider = ProviderId::by_id("openai").unwrap();
        let usage_by_us = !usage_by_client;
        let reply_bytes_max = 1 << 16;
        Relay::new(Asked { provider, choices, usage_by_client, usage_by_us, reply_bytes_max }, 1 << 16)
    }

    const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    const TEXT: &str = "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";

    #[test]
    fn the_role_does_not_commit_and_leaves_with_the_first_content() {
        let mut relay = relay(false);
        relay.absorb(b": keep-alive\n\n");
        relay.absorb(ROLE.as_bytes());
        assert!(!relay.is_committed());
        relay.absorb(TEXT.as_bytes());
        assert!(relay.is_committed());
        let out = String::from_utf8(relay.take_out()).unwrap();
        assert_eq!(
            out,
            format!("{ROLE}{TEXT}").replace(",\"usage\":null", ""),
            "the usage we asked for is removed"
        );
    }

    #[test]
    fn the_note_rides_on_the_finish_and_no_empty_chunk_is_sent_unasked() {
        let mut relay = relay(false);
        relay.absorb(format!("{TEXT}{STOP}{USAGE}data: [DONE]\n\n").as_bytes());
        relay.take_out();
        assert!(relay.has_ended() && relay.failure().is_none());
        let usage = relay.usage().unwrap();
        assert_eq!((usage.input, usage.output), (3, 1));
        let end = String::from_utf8(relay.conclude("{\"a\":1}", &usage)).unwrap();
        assert_eq!(
            end,
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"x_kairosroute\":{\"a\":1}}\n\ndata: [DONE]\n\n"
        );
    }

    #[test]
    fn who_asks_for_usage_gets_one_chunk_of_it_even_from_a_provider_that_sends_none() {
        for (tail, expected) in [(USAGE, "\"prompt_tokens\":3"), ("", "\"prompt_tokens\":7")] {
            let mut relay = relay(true);
            relay.absorb(format!("{TEXT}{STOP}{tail}").as_bytes());
            relay.close();
            relay.take_out();
            let billed = Usage { input: 7, output: 1, ..Usage::default() };
            let end = String::from_utf8(relay.conclude("1", &billed)).unwrap();
            assert!(end.starts_with(STOP), "{end}");
            assert_eq!(end.matches("\"choices\":[]").count(), 1);
            assert!(end.contains(expected) && end.contains("\"x_kairosroute\":1"), "{end}");
        }
    }

    #[test]
    fn fewer_choices_than_asked_for_still_carry_the_note_on_the_last_finish() {
        for (stops, choices) in [(1, 2), (2, 2), (2, 3)] {
            let mut relay = several(false, choices);
            relay.absorb(format!("{TEXT}{}data: [DONE]\n\n", STOP.repeat(stops)).as_bytes());
            let out = relay.take_out();
            let end = relay.conclude("1", &Usage::default());
            assert_eq!(String::from_utf8(end.clone()).unwrap().matches("x_kairosroute").count(), 1);
            let all = String::from_utf8([out, end].concat()).unwrap();
            assert_eq!(all.matches("\"finish_reason\":\"stop\"").count(), stops);
        }
    }

    #[test]
    fn a_provider_cannot_fill_the_memory_with_frames_that_do_not_begin() {
        let mut relay = relay(false);
        for _ in 0..2_000 {
            relay.absorb(ROLE.as_bytes());
        }
        assert!(relay.failure().is_some());
    }

    #[test]
    fn an_error_after_the_finish_takes_nothing_back() {
        let mut relay = relay(false);
        relay.absorb(format!("{TEXT}{STOP}data: {{\"error\":{{\"message\":\"late\"}}}}\n\n").as_bytes());
        assert!(relay.has_ended() && relay.failure().is_none());
    }

    #[test]
    fn a_stream_without_a_finish_an_error_frame_and_broken_json_are_failures() {
        for (stream, at_close) in [
            (TEXT.to_owned(), true),
            (format!("{TEXT}data: [DONE]\n\n"), false),
            (format!("{TEXT}event: error\ndata: {{\"error\":{{\"message\":\"busy\"}}}}\n\n"), false),
            (format!("{TEXT}data: {{oops\n\n"), false),
        ] {
            let mut relay = relay(false);
            relay.absorb(stream.as_bytes());
            if at_close {
                relay.close();
            }
            assert!(relay.failure().is_some(), "{stream}");
        }
    }
}
