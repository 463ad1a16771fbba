//! The common part of streamed and whole chat answers: id and model, and the JSON of calls, citations, images and
//! blocks of reasoning. Signatures are sent only with our tag.

use super::turns_out::{push_data_url, thought_signature};
use crate::{
    WriterContext,
    canonical::{Citation, Finish, Place, Signature},
    json::{Escaped, ObjectWriter},
};

/// Calls beyond this number are not written.
pub(super) const TOOLS_MAX: usize = 4096;
/// How ids of chat completions begin.
const PREFIX: &str = "chatcmpl-";

/// The members that every chunk repeats.
pub(super) struct Name {
    id: Escaped<'static>,
    model: Escaped<'static>,
    created: i64,
}

impl Name {
    /// From the provider's id and model; an id of another format is replaced by one of ours.
    pub(super) fn new(writer_context: &WriterContext, id: &Escaped<'_>, model: &Escaped<'_>) -> Self {
        let id = if id.inner().starts_with(PREFIX) {
            id.clone().into_owned()
        } else {
            Escaped::from_inner(format!("{PREFIX}{}", writer_context.seed))
        };
        let model = if model.is_empty() {
            Escaped::from_text(&writer_context.upstream_model)
        } else {
            model.clone().into_owned()
        };
        Self { id, model, created: writer_context.created }
    }

    /// The start of a chunk or body.
    pub(super) fn opened(&self, object: &str) -> ObjectWriter {
        let mut out = ObjectWriter::with_capacity(256);
        self.id.push_quoted(out.key("id"));
        out.text("object", object);
        out.raw("created", &self.created.to_string());
        self.model.push_quoted(out.key("model"));
        out
    }
}

/// The start of a tool call.
pub(super) struct Call<'c> {
    pub tool: u32,
    pub id: &'c Escaped<'c>,
    pub name: &'c Escaped<'c>,
    pub signature: Option<&'c Escaped<'c>>,
}

impl Call<'_> {
    /// Its JSON: with its number in a chunk, without in a body. `arguments` as the inside of a JSON string.
    pub(super) fn write(
        &self,
        index: Option<u32>,
        arguments: &str,
        writer_context: &WriterContext,
    ) -> String {
        let mut out = ObjectWriter::new();
        if let Some(index) = index {
            out.raw("index", &index.to_string());
        }
        if self.id.is_empty() {
            out.text("id", &format!("call_{}x{}", writer_context.seed, self.tool));
        } else {
            self.id.push_quoted(out.key("id"));
        }
        out.text("type", "function");
        let mut function = ObjectWriter::new();
        self.name.push_quoted(function.key("name"));
        Escaped::from_inner(arguments).push_quoted(function.key("arguments"));
        out.key("function").extend(function.end());
        if let Some(bare) = self.signature {
            out.raw("extra_content", thought_signature(&mark(bare, writer_context)).get());
        }
        text_of(out.end())
    }
}

/// A block of reasoning that a client can send back.
pub(super) fn thinking(
    text: &Escaped<'_>,
    bare: &Escaped<'_>,
    place: Place,
    writer_context: &WriterContext,
) -> String {
    let mut out = ObjectWriter::new();
    out.text("type", "thinking");
    text.push_quoted(out.key("thinking"));
    mark_at(place, bare, writer_context).push_quoted(out.key("signature"));
    text_of(out.end())
}

/// A block of reasoning that only its provider can read.
pub(super) fn redacted(data: &Escaped<'_>, place: Place, writer_context: &WriterContext) -> String {
    let mut out = ObjectWriter::new();
    out.text("type", "redacted_thinking");
    mark_at(place, data, writer_context).push_quoted(out.key("data"));
    text_of(out.end())
}

/// A URL citation. Clients' readers require a title and a span; if they are missing, both are empty.
pub(super) fn citation(citation: &Citation<'_>) -> String {
    let (from, to) = citation.span.unwrap_or_default();
    let mut inner = ObjectWriter::new();
    citation.url.push_quoted(inner.key("url"));
    match &citation.title {
        Some(title) => title.push_quoted(inner.key("title")),
        None => inner.text("title", ""),
    }
    inner.raw("start_index", &from.to_string());
    inner.raw("end_index", &to.to_string());
    let mut out = ObjectWriter::new();
    out.text("type", "url_citation");
    out.key("url_citation").extend(inner.end());
    text_of(out.end())
}

/// A generated image.
pub(super) fn image(media_type: &Escaped<'_>, data: &Escaped<'_>) -> String {
    let mut inner = ObjectWriter::new();
    push_data_url(media_type, data, inner.key("url"));
    let mut out = ObjectWriter::new();
    out.text("type", "image_url");
    out.key("image_url").extend(inner.end());
    text_of(out.end())
}

/// Chat's finish reason. It agrees with the content: clients run the calls of an answer that ended with calls, and stop
/// otherwise.
pub(super) fn finish_word(finish: Option<Finish>, calls: bool) -> &'static str {
    match finish {
        Some(Finish::Length) => "length",
        Some(Finish::ContentFilter | Finish::Refusal) => "content_filter",
        _ if calls => "tool_calls",
        _ => "stop",
    }
}

fn mark_at(place: Place, bare: &Escaped<'_>, writer_context: &WriterContext) -> Escaped<'static> {
    Signature::mark_at(place, writer_context.provider, &writer_context.upstream_model, bare)
}

fn mark(bare: &Escaped<'_>, writer_context: &WriterContext) -> Escaped<'static> {
    Signature::mark(writer_context.provider, &writer_context.upstream_model, bare)
}

/// Objects are written from text, so they are text.
fn text_of(json: Vec<u8>) -> String {
    String::from_utf8(json).unwrap_or_default()
}
