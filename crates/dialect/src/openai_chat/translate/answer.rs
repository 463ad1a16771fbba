//! A whole answer for a chat client: the parts of each choice, collected into the members of one message.

use super::{
    super::{tier, usage},
    pieces::{self, Call, Name},
};
use crate::{
    WriterContext,
    canonical::{Answer, AnswerPart, Choice, Json, Place},
    json::{Escaped, ObjectWriter, Raw},
};
use kairosroute_domain::usage::Usage;

/// The content of earlier turns of an answer with several turns, and how that turn is written: signatures belong to
/// their provider.
pub struct Said {
    pub parts: Vec<AnswerPart>,
    pub writer_context: WriterContext,
}

/// The body of a whole answer.
pub fn write_answer(answer: &Answer, writer_context: &WriterContext, note: &str, billed: &Usage) -> Vec<u8> {
    write_turns(&[], answer, writer_context, note, billed)
}

/// The body of an answer whose first choice began in the turns before.
pub fn write_turns(
    before: &[Said],
    answer: &Answer,
    writer_context: &WriterContext,
    note: &str,
    billed: &Usage,
) -> Vec<u8> {
    let mut out = Name::new(writer_context, &answer.id, &answer.model).opened("chat.completion");
    let nothing = [Choice::default()];
    let choices = if answer.choices.is_empty() { nothing.as_slice() } else { answer.choices.as_slice() };
    let list = out.key("choices");
    for (index, choice) in choices.iter().enumerate() {
        list.push(if index == 0 { b'[' } else { b',' });
        let calls = choice.parts.iter().any(|part| matches!(part, AnswerPart::ToolCall { .. }));
        let before = before.iter().filter(|_| index == 0);
        let before = before.flat_map(|said| said.parts.iter().map(|part| (part, &said.writer_context)));
        let parts = before.chain(choice.parts.iter().map(|part| (part, writer_context)));
        let mut written = ObjectWriter::new();
        written.raw("index", &index.to_string());
        written.key("message").extend(message(parts, calls));
        match logprobs(&choice.logprobs) {
            Some(logprobs) => written.raw("logprobs", &logprobs),
            None => written.raw("logprobs", "null"),
        }
        written.text("finish_reason", pieces::finish_word(choice.finish, calls));
        list.extend(written.end());
    }
    list.push(b']');
    out.raw("usage", &usage::write(billed));
    if let Some(tier) = answer.service_tier.as_deref().and_then(tier::of) {
        out.text("service_tier", tier);
    }
    out.raw("x_kairosroute", note);
    out.end()
}

fn message<'p>(parts: impl Iterator<Item = (&'p AnswerPart, &'p WriterContext)>, calls: bool) -> Vec<u8> {
    let (mut said, mut thought, mut refusal) = (Escaped::default(), Escaped::default(), Escaped::default());
    let (mut blocks, mut called, mut cited, mut images) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (part, writer_context) in parts {
        let place = Place { calls: called.len(), after_text: !said.is_empty() };
        match part {
            AnswerPart::Text(text) => said.push(text),
            AnswerPart::Refusal(text) => refusal.push(text),
            AnswerPart::Reasoning { text, signature } => {
                thought.push(text);
                blocks.extend(
                    signature.as_ref().map(|bare| pieces::thinking(text, bare, place, writer_context)),
                );
            }
            AnswerPart::Redacted(data) => blocks.push(pieces::redacted(data, place, writer_context)),
            AnswerPart::ToolCall { tool, id, name, arguments, signature } => {
                let call = Call { tool: *tool, id, name, signature: signature.as_ref() };
                let nothing = arguments.is_empty() || arguments.inner() == "null";
                called.push(call.write(None, if nothing { "{}" } else { arguments.inner() }, writer_context));
            }
            AnswerPart::Citation(citation) => cited.push(pieces::citation(citation)),
            AnswerPart::Image { media_type, data } => images.push(pieces::image(media_type, data)),
        }
    }
    let mut out = ObjectWriter::new();
    out.text("role", "assistant");
    if said.is_empty() && calls {
        out.raw("content", "null");
    } else {
        said.push_quoted(out.key("content"));
    }
    if !thought.is_empty() {
        thought.push_quoted(out.key("reasoning_content"));
    }
    match refusal.is_empty() {
        true => out.raw("refusal", "null"),
        false => refusal.push_quoted(out.key("refusal")),
    }
    out.raw("annotations", &format!("[{}]", cited.join(",")));
    let lists = [("thinking_blocks", blocks), ("tool_calls", called), ("images", images)];
    for (name, list) in lists {
        if !list.is_empty() {
            out.raw(name, &format!("[{}]", list.join(",")));
        }
    }
    out.end()
}

/// The pieces as one.
fn logprobs(pieces: &[Json<'_>]) -> Option<String> {
    let gathered = |key: &str| -> Vec<&str> {
        let lists = pieces.iter().filter_map(|piece| piece.raw().member(key));
        lists.flat_map(Raw::elements).map(Raw::get).collect()
    };
    let (content, refusal) = (gathered("content"), gathered("refusal"));
    let list = |entries: &[&str]| match entries {
        [] => "null".to_owned(),
        entries => format!("[{}]", entries.join(",")),
    };
    (!pieces.is_empty()).then(|| format!(r#"{{"content":{},"refusal":{}}}"#, list(&content), list(&refusal)))
}
