//! What whole and streamed answers have in common on this wire: ids, marks, reasons to stop, and the blocks.

use crate::{
    WriterContext,
    canonical::{Citation, Finish, MARK, Signature},
    json::{Escaped, ObjectWriter},
};

/// The provider's id where it is one of this wire's, else one of ours.
pub(super) fn message_id(id: &Escaped<'_>, writer_context: &WriterContext) -> Escaped<'static> {
    if id.inner().starts_with("msg_") {
        return id.clone().into_owned();
    }
    Escaped::from_text(&format!("msg_{}", writer_context.seed))
}

pub(super) fn model(model: &Escaped<'_>, writer_context: &WriterContext) -> Escaped<'static> {
    if model.is_empty() {
        Escaped::from_text(&writer_context.upstream_model)
    } else {
        model.clone().into_owned()
    }
}

pub(super) fn call_id(id: &Escaped<'_>, tool: u32, writer_context: &WriterContext) -> Escaped<'static> {
    if id.is_empty() {
        return Escaped::from_text(&format!("toolu_{}_{tool}", writer_context.seed));
    }
    id.clone().into_owned()
}

/// A signature under our mark. Reasoning that has none gets an empty one, so that it is known again.
pub(super) fn marked(signature: Option<&Escaped<'_>>, writer_context: &WriterContext) -> Escaped<'static> {
    let nothing = Escaped::default();
    Signature::mark(writer_context.provider, &writer_context.upstream_model, signature.unwrap_or(&nothing))
}

/// What the answer was, for the reason to stop.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub called: bool,
    pub refused: bool,
    /// Some text was written, which sources may belong to.
    pub spoke: bool,
}

pub(super) fn stop_reason(finish: Option<Finish>, tally: Tally) -> &'static str {
    match finish {
        Some(Finish::Length) => "max_tokens",
        Some(Finish::ContentFilter | Finish::Refusal) => "refusal",
        Some(Finish::Pause) => "pause_turn",
        _ if tally.called => "tool_use",
        _ if tally.refused => "refusal",
        Some(Finish::StopSequence) => "stop_sequence",
        Some(Finish::Stop | Finish::ToolCalls) | None => "end_turn",
    }
}

pub(super) fn put_stop(
    finish: Option<Finish>,
    stop_sequence: Option<&Escaped<'_>>,
    tally: Tally,
    out: &mut ObjectWriter,
) {
    let reason = stop_reason(finish, tally);
    out.text("stop_reason", reason);
    match stop_sequence.filter(|_| reason == "stop_sequence") {
        Some(sequence) => sequence.push_quoted(out.key("stop_sequence")),
        None => out.raw("stop_sequence", "null"),
    }
    out.raw("stop_details", "null");
}

/// A text without sources.
pub(super) fn text(text: &Escaped<'_>) -> ObjectWriter {
    let mut block = uncited(text);
    block.raw("citations", "null");
    block
}

/// A text whose member `citations` is still to be written.
pub(super) fn uncited(text: &Escaped<'_>) -> ObjectWriter {
    let mut block = ObjectWriter::with_capacity(text.inner().len().saturating_add(32));
    block.text("type", "text");
    text.push_quoted(block.key("text"));
    block
}

pub(super) fn thinking(text: &Escaped<'_>, signature: &Escaped<'_>) -> ObjectWriter {
    let mut block = ObjectWriter::new();
    block.text("type", "thinking");
    text.push_quoted(block.key("thinking"));
    signature.push_quoted(block.key("signature"));
    block
}

pub(super) fn redacted(data: &Escaped<'_>, writer_context: &WriterContext) -> ObjectWriter {
    let mut block = ObjectWriter::new();
    block.text("type", "redacted_thinking");
    marked(Some(data), writer_context).push_quoted(block.key("data"));
    block
}

/// `input` is JSON. The model calls by itself, no code of the provider's does.
pub(super) fn tool_use(id: &Escaped<'_>, name: &Escaped<'_>, input: &str) -> ObjectWriter {
    let mut block = ObjectWriter::new();
    block.text("type", "tool_use");
    id.push_quoted(block.key("id"));
    name.push_quoted(block.key("name"));
    block.raw("input", input);
    block.raw("caller", r#"{"type":"direct"}"#);
    block
}

/// The wire has no images in answers. One is written as the block that requests have for it: readers that do not
/// know it there skip it, and handed back it is understood.
pub(super) fn image(media_type: &Escaped<'_>, data: &Escaped<'_>) -> ObjectWriter {
    let mut source = ObjectWriter::with_capacity(data.inner().len().saturating_add(64));
    source.text("type", "base64");
    media_type.push_quoted(source.key("media_type"));
    data.push_quoted(source.key("data"));
    let mut block = ObjectWriter::new();
    block.text("type", "image");
    block.key("source").extend(source.end());
    block
}

/// A source by address. What only the wire's own maker can fill is our mark, by which it is known again.
pub(super) fn citation(citation: &Citation<'_>) -> ObjectWriter {
    let mut out = ObjectWriter::new();
    out.text("type", "web_search_result_location");
    citation.url.push_quoted(out.key("url"));
    match &citation.title {
        Some(title) => title.push_quoted(out.key("title")),
        None => out.raw("title", "null"),
    }
    out.text("cited_text", "");
    out.text("encrypted_index", MARK);
    out
}
