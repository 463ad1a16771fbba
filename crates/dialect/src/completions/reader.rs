//! Reads completions, whole or in frames. Both have the same format; it only remembers whether the answer has begun.

use super::logprobs;
use crate::{
    Reading, Unreadable,
    canonical::{Delta, Event, Finish, Json},
    json::{Cursor, DEPTH_LIMIT, Escaped, Kind, Raw},
    openai_chat::usage,
    sse::Frame,
};

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

/// Choices above this number are not read: no provider offers more.
const CHOICES_MAX: usize = 128;

/// Reads one answer.
pub struct Reader {
    reading: Reading,
    started: bool,
    ended: bool,
    /// Choices that are complete.
    finished: Vec<u32>,
}

impl Reader {
    pub fn new(reading: Reading) -> Self {
        Self { reading, started: false, ended: false, finished: Vec::new() }
    }

    /// Takes one frame of a stream.
    pub fn frame(&mut self, frame: Frame<'_>, emit: Emit<'_>) -> Result<(), Unreadable> {
        let Some(data) = frame.data() else { return Ok(()) };
        match data.trim_ascii() {
            _ if self.ended => Ok(()),
            b"" => Ok(()),
            b"[DONE]" => {
                self.close(emit);
                Ok(())
            }
            data => self.object(value(data)?, emit),
        }
    }

    /// The provider has closed the stream.
    pub fn close(&mut self, emit: Emit<'_>) {
        if !std::mem::replace(&mut self.ended, true) {
            emit(Event::End);
        }
    }

    /// Takes a whole answer.
    pub fn body(&mut self, json: &[u8], emit: Emit<'_>) -> Result<(), Unreadable> {
        let answer = value(json)?;
        if answer.member("choices").is_none() && answer.member("error").is_none() {
            return Err(Unreadable);
        }
        self.object(answer, emit)?;
        self.close(emit);
        Ok(())
    }

    fn object(&mut self, answer: Raw<'_>, emit: Emit<'_>) -> Result<(), Unreadable> {
        let field = |key: &str| answer.member(key).filter(|value| !value.is_null());
        if let Some(error) = field("error") {
            emit(Event::Failed(Json::of(error)));
            self.close(emit);
            return Ok(());
        }
        let (id, model) = (field("id").and_then(Escaped::of), field("model").and_then(Escaped::of));
        if !self.started && (id.is_some() || model.is_some()) {
            emit(Event::Start { id: id.unwrap_or_default(), model: model.unwrap_or_default() });
        }
        self.started = true;
        for choice in field("choices").map(Raw::elements).unwrap_or_default().into_iter().take(CHOICES_MAX) {
            self.choice(choice, emit);
        }
        if let Some(tier) = field("service_tier").and_then(Raw::text) {
            emit(Event::ServiceTier(tier));
        }
        let outside = self.reading.reasoning_outside_output;
        if let Some(usage) = field("usage").and_then(|report| usage::read(report.get(), outside)) {
            emit(Event::Usage(usage));
        }
        Ok(())
    }

    fn choice(&mut self, raw: Raw<'_>, emit: Emit<'_>) {
        let field = |key: &str| raw.member(key).filter(|value| !value.is_null());
        let choice = field("index").and_then(Raw::count).and_then(|index| u32::try_from(index).ok());
        let choice = choice.unwrap_or(0);
        let said = |delta| Event::Said { choice, delta };
        if let Some(text) = field("text").and_then(Escaped::of).filter(|text| !text.is_empty()) {
            emit(said(Delta::Text(text)));
        }
        if let Some(logprobs) = field("logprobs").and_then(logprobs::read) {
            emit(said(Delta::Logprobs(logprobs)));
        }
        let reason = field("finish_reason").and_then(Raw::text).filter(|reason| !reason.is_empty());
        let Some(reason) = reason.filter(|_| !self.finished.contains(&choice)) else { return };
        if self.finished.len() < CHOICES_MAX {
            self.finished.push(choice);
            let reason = match reason.as_ref() {
                "length" => Finish::Length,
                "content_filter" => Finish::ContentFilter,
                _ => Finish::Stop,
            };
            emit(Event::Finish { choice, reason, stop_sequence: None });
        }
    }
}

/// The one object that the text is.
fn value(json: &[u8]) -> Result<Raw<'_>, Unreadable> {
    let mut cursor = Cursor::new(json, DEPTH_LIMIT).map_err(|_| Unreadable)?;
    let value = cursor.value().map_err(|_| Unreadable)?;
    cursor.end().map_err(|_| Unreadable)?;
    if value.kind() == Kind::Object { Ok(value) } else { Err(Unreadable) }
}
