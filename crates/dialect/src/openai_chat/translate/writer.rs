//! Answers for a chat client, in chunks: each event at once, except the one that finishes an answer, which waits until
//! the answer is charged. The first chunk of a choice, which states the role, is sent with the choice's first content.
//! Text, arguments and reasoning keep their bytes.

use super::{
    super::{tier, usage},
    pieces::{self, Name, TOOLS_MAX},
};
use crate::{
    WriterContext,
    canonical::{Delta, Event, Finish, Place},
    json::{Escaped, ObjectWriter},
    sse,
};
use kairosroute_domain::usage::Usage;

/// Choices above this number are not written: no provider offers more.
const CHOICES_MAX: u32 = 128;
/// Maximum reasoning that is kept to be sent again with its signature; longer reasoning is sent without.
const THOUGHT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Writes streamed answers.
pub struct Writer {
    writer_context: WriterContext,
    name: Name,
    service_tier: Option<String>,
    choices: Vec<Choice>,
}

#[derive(Default)]
struct Choice {
    /// Its first chunk was written.
    opened: bool,
    finish: Option<Finish>,
    /// For each call whether any argument was written.
    calls: Vec<bool>,
    /// Text was written.
    said_text: bool,
    /// The reasoning since the last signature; `None` when it was too long.
    thought: Option<Escaped<'static>>,
}

impl Writer {
    pub fn new(writer_context: WriterContext) -> Self {
        let name = Name::new(&writer_context, &Escaped::default(), &Escaped::default());
        Self { writer_context, name, service_tier: None, choices: Vec::new() }
    }

    /// Another turn of the same answer follows, possibly from another provider. Id and model of the whole answer stay.
    pub fn go_on(&mut self, writer_context: WriterContext) {
        self.writer_context = writer_context;
        // Reasoning that is not signed by then stays unsigned.
        for choice in &mut self.choices {
            choice.thought = Some(Escaped::default());
        }
    }

    pub fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model } => self.name = Name::new(&self.writer_context, id, model),
            Event::Said { choice, delta } => self.say(*choice, delta, out),
            Event::Finish { choice, reason, .. } => {
                if let Some(choice) = self.choice(*choice) {
                    choice.finish = Some(*reason);
                }
            }
            Event::ServiceTier(tier) => self.service_tier = Some(tier.clone().into_owned()),
            // The charged usage is written at the end; a restart before content needs no action, and errors are written
            // by the code that ends the stream.
            Event::Prompt(_) | Event::Usage(_) | Event::Restart | Event::Failed(_) | Event::End => {}
        }
    }

    /// The reasoning that waits for its signature.
    pub fn held_bytes(&self) -> usize {
        let thoughts = self.choices.iter().filter_map(|choice| choice.thought.as_ref());
        thoughts.fold(0, |sum, thought| sum.saturating_add(thought.inner().len()))
    }

    pub fn conclude(&mut self, note: &str, billed: &Usage, out: &mut Vec<u8>) {
        if self.choices.is_empty() {
            self.choices.push(Choice::default());
        }
        let include_usage = self.writer_context.include_usage;
        let last = self.choices.len().saturating_sub(1);
        let mut choices = std::mem::take(&mut self.choices);
        for (number, choice) in (0..).zip(&mut choices) {
            self.open(number, choice, out);
            let word = pieces::finish_word(choice.finish, !choice.calls.is_empty());
            let mut chunk = self.chunk(&format!(
                r#"[{{"index":{number},"delta":{{}},"logprobs":null,"finish_reason":"{word}"}}]"#
            ));
            self.push_tier(&mut chunk);
            if usize::try_from(number) == Ok(last) && !include_usage {
                chunk.raw("x_kairosroute", note);
            }
            sse::write_data(out, &chunk.end());
        }
        if include_usage {
            let mut chunk = self.chunk("[]");
            self.push_tier(&mut chunk);
            chunk.raw("usage", &usage::write(billed));
            chunk.raw("x_kairosroute", note);
            sse::write_data(out, &chunk.end());
        }
        sse::write_data(out, b"[DONE]");
    }

    fn choice(&mut self, number: u32) -> Option<&mut Choice> {
        let index = usize::try_from(number).ok().filter(|_| number < CHOICES_MAX)?;
        while self.choices.len() <= index {
            self.choices.push(Choice { thought: Some(Escaped::default()), ..Choice::default() });
        }
        self.choices.get_mut(index)
    }

    fn say(&mut self, number: u32, delta: &Delta<'_>, out: &mut Vec<u8>) {
        let Some(choice) = self.choice(number) else { return };
        let mut choice = std::mem::take(choice);
        if let Some((member, json)) = choice.member(delta, &self.writer_context) {
            self.open(number, &mut choice, out);
            let choices = match member {
                "logprobs" => {
                    format!(r#"[{{"index":{number},"delta":{{}},"logprobs":{json},"finish_reason":null}}]"#)
                }
                _ => format!(r#"[{{"index":{number},"delta":{{"{member}":{json}}},"finish_reason":null}}]"#),
            };
            sse::write_data(out, &self.chunk(&choices).end());
        }
        if let Some(place) = self.choice(number) {
            *place = choice;
        }
    }

    /// Writes the first chunk of a choice, unless it was written.
    fn open(&self, number: u32, choice: &mut Choice, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut choice.opened, true) {
            let chunk = self.chunk(&format!(
                r#"[{{"index":{number},"delta":{{"role":"assistant","content":""}},"finish_reason":null}}]"#
            ));
            sse::write_data(out, &chunk.end());
        }
    }

    fn chunk(&self, choices: &str) -> ObjectWriter {
        let mut chunk = self.name.opened("chat.completion.chunk");
        chunk.raw("choices", choices);
        chunk
    }

    fn push_tier(&self, chunk: &mut ObjectWriter) {
        if let Some(tier) = self.service_tier.as_deref().and_then(tier::of) {
            chunk.text("service_tier", tier);
        }
    }
}

impl Choice {
    /// The position of a block of reasoning in the content.
    fn place(&self) -> Place {
        Place { calls: self.calls.len(), after_text: self.said_text }
    }

    /// The member of the delta for it, and its JSON; `logprobs` is beside the delta. `None` if nothing is written.
    fn member(
        &mut self,
        delta: &Delta<'_>,
        writer_context: &WriterContext,
    ) -> Option<(&'static str, String)> {
        let quoted = |text: &Escaped<'_>| format!("\"{}\"", text.inner());
        if !matches!(delta, Delta::Reasoning(_) | Delta::Signature(_)) {
            self.thought = Some(Escaped::default());
        }
        Some(match delta {
            Delta::Text(text) => {
                self.said_text |= !text.is_empty();
                ("content", quoted(text))
            }
            Delta::Refusal(text) => ("refusal", quoted(text)),
            Delta::Reasoning(text) => {
                match self.thought.as_mut().filter(|thought| fits(thought, text)) {
                    Some(thought) => thought.push(text),
                    None => self.thought = None,
                }
                ("reasoning_content", quoted(text))
            }
            Delta::Signature(bare) => {
                let thought = self.thought.replace(Escaped::default())?;
                let block = pieces::thinking(&thought, bare, self.place(), writer_context);
                ("thinking_blocks", format!("[{block}]"))
            }
            Delta::Redacted(data) => {
                ("thinking_blocks", format!("[{}]", pieces::redacted(data, self.place(), writer_context)))
            }
            Delta::ToolStart { tool, id, name, signature } => {
                let place = usize::try_from(*tool).ok().filter(|place| *place < TOOLS_MAX)?;
                while self.calls.len() <= place {
                    self.calls.push(false);
                }
                let call = pieces::Call { tool: *tool, id, name, signature: signature.as_ref() };
                ("tool_calls", format!("[{}]", call.write(Some(*tool), "", writer_context)))
            }
            Delta::ToolArguments { tool, piece } => {
                *self.calls.get_mut(usize::try_from(*tool).ok()?)? = true;
                ("tool_calls", arguments(*tool, piece.inner()))
            }
            Delta::ToolEnd { tool } => {
                let said = self.calls.get_mut(usize::try_from(*tool).ok()?)?;
                if std::mem::replace(said, true) {
                    return None;
                }
                ("tool_calls", arguments(*tool, "{}"))
            }
            Delta::Citation(citation) => ("annotations", format!("[{}]", pieces::citation(citation))),
            Delta::Logprobs(json) => ("logprobs", json.get().to_owned()),
            Delta::Image { media_type, data } => ("images", format!("[{}]", pieces::image(media_type, data))),
        })
    }
}

fn arguments(tool: u32, inner: &str) -> String {
    format!(r#"[{{"index":{tool},"function":{{"arguments":"{inner}"}}}}]"#)
}

fn fits(thought: &Escaped<'_>, more: &Escaped<'_>) -> bool {
    thought.inner().len().saturating_add(more.inner().len()) <= THOUGHT_BYTES_MAX
}
