//! Writes completions for clients, whole and in frames. There is only text here: reasoning is left out, and calls
//! cannot have been requested.

use super::logprobs;
use crate::{
    WriterContext,
    canonical::{Answer, AnswerPart, Choice, Delta, Event, Finish},
    json::{Escaped, ObjectWriter},
    openai_chat::usage,
    sse,
};
use kairosroute_domain::usage::Usage;
use std::collections::BTreeMap;

/// Writes streamed answers.
pub struct Writer {
    writer_context: WriterContext,
    model: Escaped<'static>,
    /// How each choice ended that has.
    finished: BTreeMap<u32, Finish>,
    /// The position of the text whose logprobs come next, in characters, by choice.
    offsets: BTreeMap<u32, u64>,
}

impl Writer {
    pub fn new(writer_context: WriterContext) -> Self {
        let model = Escaped::from_text(&writer_context.upstream_model);
        Self { writer_context, model, finished: BTreeMap::new(), offsets: BTreeMap::new() }
    }

    /// Writes the part of an event that the client gets at once.
    pub fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { model, .. } if !model.is_empty() => self.model = model.clone().into_owned(),
            Event::Said { choice, delta: Delta::Text(text) | Delta::Refusal(text) } => {
                self.chunk(*choice, text, b"null", None, None, out);
            }
            Event::Said { choice, delta: Delta::Logprobs(piece) } => {
                let logprobs = logprobs::write([piece], self.offsets.entry(*choice).or_default());
                self.chunk(*choice, &Escaped::default(), &logprobs, None, None, out);
            }
            Event::Finish { choice, reason, .. } => {
                self.finished.insert(*choice, *reason);
            }
            _ => {}
        }
    }

    /// Writes the end of a charged answer.
    pub fn conclude(&mut self, note: &str, billed: &Usage, out: &mut Vec<u8>) {
        if self.finished.is_empty() {
            self.finished.insert(0, Finish::Stop);
        }
        let last = self.finished.keys().next_back().copied();
        // The receipt member is on the usage chunk if there is one, as in chat.
        let asked = self.writer_context.include_usage;
        for (choice, reason) in &self.finished {
            let note = (!asked && Some(*choice) == last).then_some(note);
            self.chunk(*choice, &Escaped::default(), b"null", Some(*reason), note, out);
        }
        if asked {
            let mut frame = envelope(&self.writer_context, &self.model);
            frame.raw("choices", "[]");
            frame.raw("usage", &usage::write(billed));
            frame.raw("x_kairosroute", note);
            sse::write_data(out, &frame.end());
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn chunk(
        &self,
        choice: u32,
        text: &Escaped<'_>,
        logprobs: &[u8],
        reason: Option<Finish>,
        note: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        let mut frame = envelope(&self.writer_context, &self.model);
        let list = frame.key("choices");
        list.push(b'[');
        list.extend(entry(choice, text, logprobs, reason));
        list.push(b']');
        if let Some(note) = note {
            frame.raw("x_kairosroute", note);
        }
        sse::write_data(out, &frame.end());
    }
}

/// Writes whole answers.
pub fn write_answer(answer: &Answer, writer_context: &WriterContext, note: &str, billed: &Usage) -> Vec<u8> {
    let own = Escaped::from_text(&writer_context.upstream_model);
    let model = if answer.model.is_empty() { &own } else { &answer.model };
    let mut out = envelope(writer_context, model);
    let entries: Vec<Vec<u8>> =
        (0u32..).zip(&answer.choices).map(|(index, choice)| whole(index, choice)).collect();
    let list = out.key("choices");
    list.push(b'[');
    list.extend(entries.join(&b','));
    list.push(b']');
    out.raw("usage", &usage::write(billed));
    out.raw("x_kairosroute", note);
    out.end()
}

fn whole(index: u32, choice: &Choice) -> Vec<u8> {
    let mut text = Escaped::default();
    for part in &choice.parts {
        if let AnswerPart::Text(piece) | AnswerPart::Refusal(piece) = part {
            text.push(piece);
        }
    }
    let logprobs = logprobs::write(&choice.logprobs, &mut 0);
    entry(index, &text, &logprobs, Some(choice.finish.unwrap_or(Finish::Stop)))
}

/// The members of every object before its choices.
fn envelope(writer_context: &WriterContext, model: &Escaped<'_>) -> ObjectWriter {
    let mut out = ObjectWriter::new();
    out.text("id", &format!("cmpl-{}", writer_context.seed));
    out.text("object", "text_completion");
    out.raw("created", &writer_context.created.to_string());
    model.push_quoted(out.key("model"));
    out
}

fn entry(index: u32, text: &Escaped<'_>, logprobs: &[u8], reason: Option<Finish>) -> Vec<u8> {
    let mut choice = ObjectWriter::new();
    choice.raw("index", &index.to_string());
    text.push_quoted(choice.key("text"));
    choice.key("logprobs").extend(logprobs);
    match reason {
        None => choice.raw("finish_reason", "null"),
        Some(Finish::Length) => choice.text("finish_reason", "length"),
        Some(Finish::ContentFilter) => choice.text("finish_reason", "content_filter"),
        Some(_) => choice.text("finish_reason", "stop"),
    }
    choice.end()
}
