//! Chat frames for a chat client, and completion frames for a completions client, which differ only in the place of the
//! text. Frames pass byte for byte, and only what billing needs is read.

use super::{RECEIPT_MEMBER, StreamState, UpstreamContext};
use crate::{
    dialect::{
        Dialect, json,
        openai_chat::{
            AnswerEdits,
            reply::{self, Seen},
            usage, without_phantom_calls,
        },
        sse::{self, Frame},
    },
    domain::usage::Usage,
    gateway::attempt,
    providers::error::UpstreamError,
};

pub(super) struct Chat {
    /// The object type in a frame.
    object: &'static str,
    choices: u64,
    usage_by_client: bool,
    usage_by_us: bool,
    reasoning_outside_output: bool,
    /// A choice has called a tool.
    has_calls: bool,
    /// The changes that this host's answers need to match OpenAI's format.
    edits: Option<Box<AnswerEdits>>,
    /// The frame that finishes the last choice and the frames after it, kept back until the charge is durable.
    held: Vec<Vec<u8>>,
    held_bytes: usize,
    /// With several choices: the frame that finished one of them, kept until the next frame shows that it was not the
    /// last. A provider may answer with fewer choices than requested.
    finish: Option<Vec<u8>>,
    usage_chunk: Option<Vec<u8>>,
    /// The first frame of the answer, the template for a usage chunk of the gateway.
    sample: Option<Vec<u8>>,
}

impl Chat {
    pub(super) fn new(context: &UpstreamContext) -> Self {
        let object = match context.client {
            Dialect::Completions => "text_completion",
            _ => "chat.completion.chunk",
        };
        Self {
            object,
            choices: context.choices,
            usage_by_client: context.usage_by_client,
            usage_by_us: context.usage_by_us,
            reasoning_outside_output: context.reading.reasoning_outside_output,
            has_calls: false,
            edits: match context.client {
                Dialect::Chat => AnswerEdits::of(context.provider).map(Box::new),
                _ => None,
            },
            held: Vec::new(),
            held_bytes: 0,
            finish: None,
            usage_chunk: None,
            sample: None,
        }
    }

    pub(super) fn take(&mut self, frame: Frame<'_>, state: &mut StreamState) {
        let Some(data) = frame.data() else { return };
        if data.trim_ascii() == b"[DONE]" {
            let edits = self.edits.as_mut().filter(|_| state.finished == 0);
            if let Some(finish) = edits.and_then(|edits| edits.take_finish()) {
                self.read(&finish, state);
            }
            if state.finished == 0 {
                state.fail("the provider's stream ended without a finish".to_owned());
            }
            state.ended = true;
            return;
        }
        self.read(&data, state);
    }

    fn read(&mut self, data: &[u8], state: &mut StreamState) {
        let mut text = std::mem::take(&mut state.text);
        match reply::read(data, &mut text) {
            Ok(seen) => {
                if let Some(raw) = seen.usage {
                    state.usage = usage::read(raw, self.reasoning_outside_output).or(state.usage);
                }
                if let Some(tier) = seen.service_tier {
                    state.service_tier = Some(tier.to_owned());
                }
                let edits = self.edits.as_mut().filter(|edits| edits.needs(&seen));
                match edits.and_then(|edits| edits.chunk(data)) {
                    None => self.note(&seen, data, state),
                    // The text was already recorded.
                    Some(edited) => match reply::read(&edited, &mut Vec::new()) {
                        Ok(seen) => self.note(&seen, &edited, state),
                        Err(unreadable) => state.fail(unreadable.to_string()),
                    },
                }
            }
            Err(unreadable) => state.fail(unreadable.to_string()),
        }
        state.text = text;
    }

    fn note(&mut self, seen: &Seen<'_>, data: &[u8], state: &mut StreamState) {
        self.has_calls |= seen.odd.calls;
        let plain = if seen.ends_for_calls && !self.has_calls { without_phantom_calls(data) } else { None };
        let data = plain.as_deref().unwrap_or(data);
        if seen.error.is_some() && state.finished > 0 {
            // The answer is complete; later frames of the host change nothing.
            state.ended = true;
            return;
        }
        if seen.error.is_some() {
            state.failure = Some(UpstreamError::read_in_success(state.provider, data));
            return;
        }
        if seen.host_failed {
            // The host reports its own failure as a finish reason.
            state.failure.get_or_insert_with(attempt::broken_off);
            return;
        }
        state.committed |= seen.commits;
        state.answering |= seen.answers;
        state.finished += seen.finished;
        if seen.no_choices {
            // Clients index the first choice: a frame without choices is sent only to a client that requested usage.
            if seen.usage.is_some() && self.usage_by_client {
                self.usage_chunk = Some(data.to_vec());
            }
            return;
        }
        self.pass(seen, data, state);
    }

    fn pass(&mut self, seen: &Seen<'_>, data: &[u8], state: &mut StreamState) {
        let ours = seen.usage_null && self.usage_by_us && !self.usage_by_client;
        let stripped = if ours { reply::without_null_usage(data) } else { None };
        let data = stripped.as_deref().unwrap_or(data);
        if self.usage_by_client && self.sample.is_none() {
            self.sample = Some(data.to_vec());
        }
        if let Some(finish) = self.finish.take() {
            if state.finished >= self.choices && seen.finished == 0 {
                self.held.push(finish);
            } else {
                sse::write_data(&mut state.out, &finish);
            }
        }
        if state.finished >= self.choices {
            self.held_bytes = self.held_bytes.saturating_add(data.len());
            self.held.push(data.to_vec());
        } else if seen.finished > 0 {
            self.finish = Some(data.to_vec());
        } else {
            sse::write_data(&mut state.out, data);
        }
        state.check_held(self.held_bytes);
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn conclude(&mut self, note: &str, billed: &Usage, out: &mut Vec<u8>) {
        self.held.splice(0..0, self.finish.take());
        let mut note_due = !self.usage_by_client;
        for frame in self.held.drain(..) {
            let noted = if note_due { json::with_member(&frame, RECEIPT_MEMBER, note) } else { None };
            note_due &= noted.is_none();
            sse::write_data(out, noted.as_deref().unwrap_or(&frame));
        }
        if self.usage_by_client {
            let own = || own_usage_chunk(self.object, self.sample.as_deref(), billed);
            let chunk = self.usage_chunk.take().unwrap_or_else(own);
            sse::write_data(out, &json::with_member(&chunk, RECEIPT_MEMBER, note).unwrap_or(chunk));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

/// A usage chunk for a client that requested it, at a provider that reports its usage elsewhere or not at all.
fn own_usage_chunk(object: &str, sample: Option<&[u8]>, billed: &Usage) -> Vec<u8> {
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
        r#"{{"id":{},"object":"{object}","created":{},"model":{},"choices":[],"usage":{}}}"#,
        raw(head.id, "\"\""),
        raw(head.created, "0"),
        raw(head.model, "\"\""),
        usage::write(billed)
    )
    .into_bytes()
}
