//! Passes frames of Messages or Responses through. They are parsed at the same time for billing; the frames that finish
//! are kept back until the charge is durable.

use super::{BEGAN_ANEW, RECEIPT_MEMBER, StreamState, UpstreamContext, error_event};
use std::borrow::Cow;

use crate::dialect::{AnswerReader, Dialect, canonical::Event, json, responses, sse, sse::Frame};

pub(super) struct Pass {
    client: Dialect,
    reader: AnswerReader,
    /// The frame that finishes and the frames after it: name and data.
    held: Vec<(Option<Vec<u8>>, Vec<u8>)>,
    /// Bytes of these frames.
    finish_bytes: usize,
    held_bytes: usize,
    /// The number of the next event, where events are numbered (Responses).
    sequence: u64,
    /// The host may return a service tier that clients do not know (Responses).
    other_tiers: bool,
}

impl Pass {
    pub(super) fn new(context: &UpstreamContext) -> Self {
        let reader = AnswerReader::new(context.upstream, context.reading.clone());
        Self {
            client: context.client,
            reader,
            held: Vec::new(),
            finish_bytes: 0,
            held_bytes: 0,
            sequence: 0,
            other_tiers: names_other_tiers(context),
        }
    }

    pub(super) fn take(&mut self, frame: Frame<'_>, state: &mut StreamState) {
        let Some(data) = frame.data() else { return };
        let reading = self.reader.frame(frame, &mut |event| {
            if matches!(event, Event::Restart) && state.committed {
                return state.fail(BEGAN_ANEW.to_owned());
            }
            state.note(&event);
        });
        if let Err(unreadable) = reading {
            return state.fail(unreadable.to_string());
        }
        let name = frame.event();
        if name == Some(b"message_start") && !state.committed {
            // If several messages begin before any content, the last is the answer.
            state.out.clear();
        }
        let idle = name == Some(b"ping") || data.trim_ascii() == b"[DONE]";
        if idle || state.failure.is_some() {
            return;
        }
        self.sequence = next_number(&data).unwrap_or(self.sequence);
        let known_tier = if self.other_tiers { responses::with_known_tier(&data) } else { None };
        let data = known_tier.map_or(data, Cow::Owned);
        if state.finished > 0 {
            // The frame that finishes may contain the whole answer again.
            let is_first = self.held.is_empty();
            self.finish_bytes = if is_first { data.len() } else { self.finish_bytes };
            self.held_bytes = self.held_bytes.saturating_add(if is_first { 0 } else { data.len() });
            self.held.push((name.map(<[u8]>::to_vec), data.into_owned()));
        } else {
            write(name, &data, &mut state.out);
        }
        state.check_held(self.held_bytes);
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.finish_bytes.saturating_add(self.held_bytes)
    }

    pub(super) fn close(&mut self, state: &mut StreamState) {
        self.reader.close(&mut |event| {
            state.note(&event);
        });
    }

    /// The error event that ends the stream.
    pub(super) fn fail(&self, code: &str, message: &str, provider: Option<&str>) -> Vec<u8> {
        match self.client {
            Dialect::Responses => responses::failed_event(self.sequence, code, message),
            client => error_event::error(client, code, message, provider),
        }
    }

    pub(super) fn conclude(&mut self, note: &str, out: &mut Vec<u8>) {
        let mut note_due = true;
        for (name, data) in self.held.drain(..) {
            let noted = if note_due { json::with_member(&data, RECEIPT_MEMBER, note) } else { None };
            note_due &= noted.is_none();
            write(name.as_deref(), noted.as_deref().unwrap_or(&data), out);
        }
        // Messages ends with its own last event.
        if self.client != Dialect::Messages {
            out.extend_from_slice(b"data: [DONE]\n\n");
        }
    }
}

/// Whether a response that passes through may contain a service tier that only its host knows.
pub(in crate::gateway) fn names_other_tiers(context: &UpstreamContext) -> bool {
    context.client == Dialect::Responses && context.provider.row().quirks.answers.other_tiers
}

/// The sequence number of an event plus one. Inside a string the quotes would be escaped, so the bytes are unambiguous.
fn next_number(data: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"sequence_number\":";
    let at = memchr::memmem::find(data, NAME)?;
    let rest = data.get(at..)?.get(NAME.len()..)?.trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number: u64 = std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()?;
    number.checked_add(1)
}

fn write(name: Option<&[u8]>, data: &[u8], out: &mut Vec<u8>) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name);
        out.push(b'\n');
    }
    sse::write_data(out, data);
}
