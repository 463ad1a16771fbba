//! Whole answers for clients of Responses, written by the same code as streamed ones, and the error that ends a stream
//! of which nothing else is known.

use super::{
    frames::Frames,
    output::{Response, Status},
    request::nothing_echoed,
    writer::Writer,
};
use crate::{
    WriterContext,
    canonical::{Answer, AnswerPart, Delta, Event},
    json::{Escaped, with_member},
};
use kairosroute_domain::usage::Usage;

/// Writes whole answers.
pub fn write_answer(answer: &Answer, writer_context: &WriterContext, note: &str, billed: &Usage) -> Vec<u8> {
    let mut writer = Writer::new(writer_context.clone());
    let mut unseen = Vec::new();
    let start = Event::Start { id: answer.id.borrowed(), model: answer.model.borrowed() };
    writer.event(&start, &mut unseen);
    let choice = answer.choices.first();
    let mut logprobs = choice.map(|choice| choice.logprobs.as_slice()).unwrap_or_default().iter();
    for delta in choice.iter().flat_map(|choice| &choice.parts).flat_map(deltas) {
        let is_text = matches!(delta, Delta::Text(_));
        writer.event(&Event::Said { choice: 0, delta }, &mut unseen);
        // They were collected separately from the text, and belong to the first part of it.
        for delta in logprobs.by_ref().take(if is_text { usize::MAX } else { 0 }) {
            writer.event(&Event::Said { choice: 0, delta: Delta::Logprobs(delta.clone()) }, &mut unseen);
        }
        unseen.clear();
    }
    let finish = choice.and_then(|choice| choice.finish);
    let response = writer.whole(answer.service_tier.clone(), finish, billed);
    with_member(&response, "x_kairosroute", note).unwrap_or(response)
}

/// The pieces in which a part would arrive.
pub(super) fn deltas(part: &AnswerPart) -> Vec<Delta<'_>> {
    match part {
        AnswerPart::Text(text) => vec![Delta::Text(text.borrowed())],
        AnswerPart::Refusal(text) => vec![Delta::Refusal(text.borrowed())],
        AnswerPart::Redacted(data) => vec![Delta::Redacted(data.borrowed())],
        AnswerPart::Reasoning { text, signature } => {
            let text = (!text.is_empty()).then(|| Delta::Reasoning(text.borrowed()));
            let signature = signature.as_ref().map(|bare| Delta::Signature(bare.borrowed()));
            text.into_iter().chain(signature).collect()
        }
        AnswerPart::ToolCall { tool, id, name, arguments, signature } => {
            let signature = signature.as_ref().map(Escaped::borrowed);
            let start = Delta::ToolStart { tool: *tool, id: id.borrowed(), name: name.borrowed(), signature };
            let piece = (!arguments.is_empty())
                .then(|| Delta::ToolArguments { tool: *tool, piece: arguments.borrowed() });
            [Some(start), piece, Some(Delta::ToolEnd { tool: *tool })].into_iter().flatten().collect()
        }
        AnswerPart::Citation(citation) => vec![Delta::Citation(citation.clone())],
        AnswerPart::Image { media_type, data } => {
            vec![Delta::Image { media_type: media_type.borrowed(), data: data.borrowed() }]
        }
    }
}

/// The error that ends a stream which passed through: only its next number is known.
pub fn failed_event(sequence: u64, code: &str, message: &str) -> Vec<u8> {
    let nothing = Escaped::default();
    let response = Response {
        id: "",
        created: 0,
        model: &nothing,
        status: Status::Failed,
        error: Some((code, message)),
        incomplete: None,
        output: &[],
        tier: None,
        usage: None,
        echo: &nothing_echoed(),
    };
    let mut out = Vec::new();
    let response = response.json();
    Frames::from(sequence).write("response.failed", &mut out, |frame| frame.key("response").extend(response));
    out
}
