//! Writes whole answers in Messages: the same blocks as a stream of the same answer.

use super::{
    blocks::{self, Tally},
    usage,
};
use crate::{
    WriterContext,
    canonical::{Answer, AnswerPart, Choice, ToolCall},
    json::{Escaped, ObjectWriter},
};
use kairosroute_domain::usage::Usage;

/// The member that holds arguments which are not a JSON object, as text: `input` must be an object.
const RAW_ARGUMENTS: &str = "_raw";

/// Writes whole answers. Of several choices this wire format can hold only the first.
pub fn write_answer(answer: &Answer, writer_context: &WriterContext, note: &str, billed: &Usage) -> Vec<u8> {
    let nothing = Choice::default();
    let choice = answer.choices.first().unwrap_or(&nothing);
    let mut out = ObjectWriter::new();
    blocks::message_id(&answer.id, writer_context).push_quoted(out.key("id"));
    out.text("type", "message");
    out.text("role", "assistant");
    blocks::model(&answer.model, writer_context).push_quoted(out.key("model"));
    let mut tally = Tally::default();
    let content = content(&choice.parts, writer_context, &mut tally);
    let list = out.key("content");
    list.push(b'[');
    list.extend(content.join(&b','));
    list.push(b']');
    out.raw("container", "null");
    blocks::put_stop(choice.finish, choice.stop_sequence.as_ref(), tally, &mut out);
    out.raw("usage", &usage::write(billed));
    out.raw("x_kairosroute", note);
    out.end()
}

fn content(parts: &[AnswerPart], writer_context: &WriterContext, tally: &mut Tally) -> Vec<Vec<u8>> {
    let mut written: Vec<Vec<u8>> = Vec::with_capacity(parts.len());
    let mut rest = parts;
    while let Some((part, behind)) = rest.split_first() {
        rest = behind;
        match part {
            AnswerPart::Text(text) | AnswerPart::Refusal(text) if text.is_empty() => {}
            AnswerPart::Text(text) => {
                tally.spoke = true;
                let (citations, behind) = behind.split_at(citations_ahead(behind));
                rest = behind;
                written.push(cited(text, citations));
            }
            // A block of reasoning is between it and its text.
            AnswerPart::Citation(_) if tally.spoke => {
                let (more, behind) = behind.split_at(citations_ahead(behind));
                rest = behind;
                let citations: Vec<&AnswerPart> = std::iter::once(part).chain(more).collect();
                written.push(cited(&Escaped::default(), citations));
            }
            // Without text before it, it has nothing to refer to.
            AnswerPart::Citation(_) => {}
            AnswerPart::Refusal(text) => {
                tally.refused = true;
                written.push(blocks::text(text).end());
            }
            AnswerPart::Reasoning { text, signature } => {
                written
                    .push(blocks::thinking(text, &blocks::marked(signature.as_ref(), writer_context)).end());
            }
            AnswerPart::Redacted(data) => written.push(blocks::redacted(data, writer_context).end()),
            AnswerPart::ToolCall { tool, id, name, arguments, signature } => {
                tally.called = true;
                // Data that the call's provider requires back is in a block of reasoning just before it.
                if let Some(signature) = signature {
                    let marked = blocks::marked(Some(signature), writer_context);
                    written.push(blocks::thinking(&Escaped::default(), &marked).end());
                }
                let id = blocks::call_id(id, *tool, writer_context);
                written.push(blocks::tool_use(&id, name, &input(&id, name, arguments)).end());
            }
            AnswerPart::Image { media_type, data } => written.push(blocks::image(media_type, data).end()),
        }
    }
    written
}

fn citations_ahead(parts: &[AnswerPart]) -> usize {
    parts.iter().take_while(|part| matches!(part, AnswerPart::Citation(_))).count()
}

/// A block of text with its sources.
fn cited<'p>(text: &Escaped<'_>, citations: impl IntoIterator<Item = &'p AnswerPart>) -> Vec<u8> {
    let citations: Vec<Vec<u8>> = citations
        .into_iter()
        .filter_map(|part| match part {
            AnswerPart::Citation(citation) => Some(blocks::citation(citation).end()),
            _ => None,
        })
        .collect();
    if citations.is_empty() {
        return blocks::text(text).end();
    }
    let mut block = blocks::uncited(text);
    let list = block.key("citations");
    list.push(b'[');
    list.extend(citations.join(&b','));
    list.push(b']');
    block.end()
}

/// The arguments as the model wrote them if they are an object, else an object that contains them as text.
fn input(id: &Escaped<'_>, name: &Escaped<'_>, arguments: &Escaped<'_>) -> String {
    let call = ToolCall {
        id: id.borrowed(),
        name: name.borrowed(),
        arguments: arguments.borrowed(),
        signature: None,
        cache: None,
    };
    match call.object() {
        Some(object) => object.get().to_owned(),
        None => format!("{{\"{RAW_ARGUMENTS}\":\"{}\"}}", arguments.inner()),
    }
}
