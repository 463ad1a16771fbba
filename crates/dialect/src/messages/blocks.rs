//! The common part of whole and streamed answers on this wire format: ids, tags, stop reasons, and the blocks.

use crate::{
    WriterContext,
    canonical::{Citation, Finish, MARK, Signature},
    json::{Escaped, ObjectWriter},
};

/// The provider's id if it has this format, else one of ours.
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

/// A signature with our tag. Reasoning without a signature gets an empty one, so that it can be recognized later.
pub(super) fn marked(signature: Option<&Escaped<'_>>, writer_context: &WriterContext) -> Escaped<'static> {
    let nothing = Escaped::default();
    Signature::mark(writer_context.provider, &writer_context.upstream_model, signature.unwrap_or(&nothing))
}

/// The facts about the answer that decide the stop reason.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub called: bool,
    pub refused: bool,
    /// Some text was written, which sources may refer to.
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

/// `input` is JSON. The caller is the model itself, not code at the provider.
pub(super) fn tool_use(id: &Escaped<'_>, name: &Escaped<'_>, input: &str) -> ObjectWriter {
    let mut block = ObjectWriter::new();
    block.text("type", "tool_use");
    id.push_quoted(block.key("id"));
    name.push_quoted(block.key("name"));
    block.raw("input", input);
    block.raw("caller", r#"{"type":"direct"}"#);
    block
}

/// The format has no images in answers. An image is written as the block that requests have for it: readers that do not
/// know it there skip it, and it is understood when it is sent back.
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

/// A source by address. The members that only this format's own provider can fill contain our tag, by which they are
/// recognized.
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
