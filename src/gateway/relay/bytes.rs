//! Streamed audio: bytes are sent as they arrive, and the last of them wait for the charge. Nothing is added to them,
//! so a failed end can be shown only by breaking the connection. Bytes that are not audio are never sent: an error
//! before the first audio is a provider error and not yet the commit point.

use super::{StreamState, UpstreamError};
use crate::{
    dialect::{
        json::{Cursor, DEPTH_LIMIT, Raw},
        kinds::{Clock, Expected},
        sse::Splitter,
    },
    domain::usage::{Basis, Usage},
};
use base64::{Engine, engine::general_purpose::STANDARD};

/// The state of one audio stream.
pub struct Bytes {
    clock: Clock,
    /// Audio in events instead of plain bytes.
    events: Option<Splitter>,
    /// Usage that does not depend on the answer.
    measured: Usage,
    /// The bytes of the last read; they may be the last of the stream.
    held: Vec<u8>,
}

impl Bytes {
    pub fn new(expected: &Expected, content_type: &str, frame_bytes_max: usize) -> Self {
        let events = content_type.starts_with("text/event-stream").then(|| Splitter::new(frame_bytes_max));
        Self { clock: expected.clock(), events, measured: expected.measured, held: Vec::new() }
    }

    pub fn take(&mut self, bytes: &[u8], state: &mut StreamState) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.events {
            None => {
                state.committed = true;
                self.clock.feed(bytes);
            }
            Some(splitter) => {
                let clock = &mut self.clock;
                let read = splitter.feed(bytes, |frame| {
                    if let Some(data) = frame.data().filter(|_| state.failure.is_none()) {
                        match frame.event() {
                            Some(b"error") => fail(&data, state),
                            _ => note(&data, clock, state),
                        }
                    }
                });
                if let Err(too_long) = read {
                    state.fail(too_long.to_string());
                }
            }
        }
        if state.failure.is_some() {
            return;
        }
        // Bytes before the first audio wait for it.
        if state.committed {
            state.out.append(&mut self.held);
        }
        self.held.extend_from_slice(bytes);
        state.check_room(self.held.len());
        let tokens_told = state.usage.is_some_and(|usage| usage.basis == Basis::Reported);
        if !tokens_told {
            let audio_ms = self.clock.ms().unwrap_or(0);
            state.usage = Some(Usage { audio_ms, ..self.measured });
        }
    }

    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// The provider has closed the stream. Audio has no other end.
    pub fn close(&mut self, state: &mut StreamState) {
        state.finished = u64::from(state.committed);
    }

    pub fn conclude(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }
}

/// Reads one event.
fn note(data: &[u8], clock: &mut Clock, state: &mut StreamState) {
    let event = Cursor::new(data, DEPTH_LIMIT).and_then(|mut cursor| cursor.value());
    let Ok(event) = event else { return };
    let failed = event.member("error").is_some_and(|error| !error.is_idle());
    if failed || event.member("type").and_then(Raw::text).is_some_and(|typed| typed == "error") {
        return fail(data, state);
    }
    state.committed = true;
    let sound = event.member("audio").and_then(Raw::text);
    if let Some(sound) = sound.and_then(|base64| STANDARD.decode(base64.as_bytes()).ok()) {
        clock.feed(&sound);
    }
    let count = |usage: Raw<'_>, name: &str| usage.member(name).and_then(Raw::count);
    if let Some(usage) = event.member("usage")
        && let (Some(input), Some(audio_output)) =
            (count(usage, "input_tokens"), count(usage, "output_tokens"))
    {
        state.usage = Some(Usage { input, audio_output, basis: Basis::Reported, ..Usage::default() });
    }
}

/// The provider reports a failure.
fn fail(data: &[u8], state: &mut StreamState) {
    state.failure.get_or_insert(UpstreamError::read_in_success(state.provider, data));
}
