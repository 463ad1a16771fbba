//! The conversation. Roles are OpenAI's; a turn with tool calls has a plan in the place of content, and every result is
//! a separate message.

use super::request::{Dropped, lacks};
use crate::{
    Target, Unsupported,
    canonical::{Part, Reasoning, Request, Role, Source, ToolCall, ToolResult, Turn},
    json::{Escaped, ObjectWriter},
};
use kairosroute_domain::catalog::Flag;

/// Prefix of a result that is an error, because this wire format has no field for it.
const FAILED: &str = "Error: ";

struct Writer<'w> {
    target: &'w Target<'w>,
    dropped: &'w mut Dropped,
    /// The messages so far, without the brackets around them.
    out: Vec<u8>,
}

/// Writes the turns as a JSON array.
pub(super) fn write(
    request: &Request<'_>,
    target: &Target<'_>,
    dropped: &mut Dropped,
) -> Result<Vec<u8>, Unsupported> {
    let Some(last) = request.turns.last() else {
        return Err(Unsupported::because("messages", ": this provider requires a message"));
    };
    if last.role == Role::Assistant && target.has(Flag::NoPrefill) {
        return Err(Unsupported::because("messages", ": this model does not continue an assistant message"));
    }
    let mut writer = Writer { target, dropped, out: vec![b'['] };
    for (index, turn) in request.turns.iter().enumerate() {
        writer.turn(index, turn)?;
    }
    writer.out.push(b']');
    Ok(writer.out)
}

impl Writer<'_> {
    fn turn(&mut self, index: usize, turn: &Turn<'_>) -> Result<(), Unsupported> {
        if turn.name.is_some() {
            self.dropped.name("messages[].name");
        }
        match turn.role {
            Role::System | Role::Developer => self.system(index, turn),
            Role::User => self.user(index, turn),
            Role::Assistant => self.assistant(index, turn),
        }
    }

    fn system(&mut self, index: usize, turn: &Turn<'_>) -> Result<(), Unsupported> {
        if let Some(at) = turn.parts.iter().position(|part| !matches!(part, Part::Text { .. })) {
            return Err(refuse(index, at, ": system messages must be text"));
        }
        self.spoken("system", index, turn)
    }

    /// Results first, because they belong to the previous turn.
    fn user(&mut self, index: usize, turn: &Turn<'_>) -> Result<(), Unsupported> {
        let mut results = 0usize;
        for (at, part) in turn.parts.iter().enumerate() {
            if let Part::ToolResult(result) = part {
                self.result(index, at, result)?;
                results = results.saturating_add(1);
            }
        }
        // A turn that has only results needs nothing more.
        if results > 0 && results == turn.parts.len() { Ok(()) } else { self.spoken("user", index, turn) }
    }

    /// A message of text and images: a string for a single text, otherwise a list.
    fn spoken(&mut self, role: &str, index: usize, turn: &Turn<'_>) -> Result<(), Unsupported> {
        let said: Vec<_> =
            turn.parts.iter().enumerate().filter(|(_, part)| !matches!(part, Part::ToolResult(_))).collect();
        let mut message = ObjectWriter::new();
        message.text("role", role);
        let content = message.key("content");
        match said.as_slice() {
            [] => content.extend_from_slice(b"\"\""),
            [(_, Part::Text { text, cache })] => {
                self.note_cache(cache.is_some());
                text.push_quoted(content);
            }
            _ => {
                let mut parts = Vec::new();
                for (at, part) in said {
                    separate(&mut parts);
                    self.part(index, at, part, &mut parts)?;
                }
                content.push(b'[');
                content.extend(parts);
                content.push(b']');
            }
        }
        self.add(message);
        Ok(())
    }

    fn part(
        &mut self,
        index: usize,
        at: usize,
        part: &Part<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        match part {
            Part::Text { text, cache } => {
                self.note_cache(cache.is_some());
                push_text(out, "text", text);
                Ok(())
            }
            Part::Image { source, detail, cache } => {
                self.note_cache(cache.is_some());
                if lacks(self.target, Flag::Vision) {
                    return Err(refuse(index, at, ": this model does not accept images"));
                }
                push_image(source, detail.as_ref(), out).ok_or_else(|| {
                    refuse(index, at, ": the file is kept by another provider, send the image itself")
                })
            }
            Part::Audio { .. } => Err(refuse(index, at, ": this provider does not accept audio input")),
            Part::File { .. } => Err(refuse(index, at, ": this provider does not read documents")),
            _ => Err(refuse(index, at, "")),
        }
    }

    fn result(&mut self, index: usize, at: usize, result: &ToolResult<'_>) -> Result<(), Unsupported> {
        self.note_cache(result.cache.is_some());
        let mut text = Escaped::default();
        for part in &result.content {
            let (Part::Text { text: more, cache } | Part::File { source: Source::Text(more), cache, .. }) =
                part
            else {
                return Err(refuse(index, at, ": this provider takes tool results as text"));
            };
            self.note_cache(cache.is_some());
            if !text.is_empty() {
                text.push(&Escaped::from_inner("\\n"));
            }
            text.push(more);
        }
        if result.is_error {
            text = Escaped::from_inner(format!("{FAILED}{}", text.inner()));
        }
        let mut message = ObjectWriter::new();
        message.text("role", "tool");
        result.call_id.push_quoted(message.key("tool_call_id"));
        text.push_quoted(message.key("content"));
        self.add(message);
        Ok(())
    }

    fn is_own(&self, reasoning: &Reasoning<'_>) -> bool {
        let Target { provider, upstream_model, dialect, .. } = *self.target;
        let signature = reasoning.signature.as_ref();
        signature.is_none_or(|signature| signature.bare(provider, upstream_model, dialect).is_some())
    }

    fn assistant(&mut self, index: usize, turn: &Turn<'_>) -> Result<(), Unsupported> {
        let mut plan = Escaped::default();
        let mut content = Vec::new();
        let mut texts = Vec::new();
        let mut calls = Vec::new();
        for (at, part) in turn.parts.iter().enumerate() {
            let (kind, text) = match part {
                Part::Text { text, cache } => {
                    self.note_cache(cache.is_some());
                    ("text", text)
                }
                Part::Refusal(text) => ("text", text),
                // This provider has no signatures: a signature without our tag for it is another provider's and has no
                // meaning here.
                Part::Reasoning(reasoning) if !self.is_own(reasoning) => continue,
                Part::Reasoning(reasoning) => ("thinking", &reasoning.text),
                Part::ToolCall(call) => {
                    self.note_cache(call.cache.is_some());
                    separate(&mut calls);
                    push_call(call, &mut calls);
                    continue;
                }
                _ => return Err(refuse(index, at, ": assistant messages must be text")),
            };
            if text.is_empty() {
                continue;
            }
            separate(&mut content);
            push_text(&mut content, kind, text);
            texts.push((kind, text));
            if !plan.is_empty() {
                plan.push(&Escaped::from_inner("\\n"));
            }
            plan.push(text);
        }
        let mut message = ObjectWriter::new();
        message.text("role", "assistant");
        if calls.is_empty() {
            match texts.as_slice() {
                [] => message.text("content", ""),
                [("text", text)] => text.push_quoted(message.key("content")),
                _ => push_array(message.key("content"), &content),
            }
        } else {
            if !plan.is_empty() {
                plan.push_quoted(message.key("tool_plan"));
            }
            push_array(message.key("tool_calls"), &calls);
        }
        self.add(message);
        Ok(())
    }

    fn add(&mut self, message: ObjectWriter) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        self.out.extend(message.end());
    }

    fn note_cache(&mut self, is_marked: bool) {
        if is_marked {
            self.dropped.name("cache_control");
        }
    }
}

fn refuse(turn: usize, part: usize, hint: &'static str) -> Unsupported {
    Unsupported::because(format!("messages[{turn}].content[{part}]"), hint)
}

/// A comma, unless `out` is empty.
fn separate(out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(b',');
    }
}

fn push_array(out: &mut Vec<u8>, elements: &[u8]) {
    out.push(b'[');
    out.extend_from_slice(elements);
    out.push(b']');
}

/// A piece of content that is named by its kind: `text` or `thinking`.
fn push_text(out: &mut Vec<u8>, kind: &str, text: &Escaped<'_>) {
    let mut part = ObjectWriter::new();
    part.text("type", kind);
    text.push_quoted(part.key(kind));
    out.extend(part.end());
}

fn push_call(call: &ToolCall<'_>, out: &mut Vec<u8>) {
    let mut function = ObjectWriter::new();
    call.name.push_quoted(function.key("name"));
    call.spoken_arguments().push_quoted(function.key("arguments"));
    let mut written = ObjectWriter::new();
    call.id.push_quoted(written.key("id"));
    written.text("type", "function");
    written.key("function").extend(function.end());
    out.extend(written.end());
}

/// `None` for media that only their storing provider can open.
fn push_image(source: &Source<'_>, detail: Option<&Escaped<'_>>, out: &mut Vec<u8>) -> Option<()> {
    let mut image = ObjectWriter::new();
    match source {
        Source::Url(url) => url.push_quoted(image.key("url")),
        Source::Data { media_type, data } => {
            let url = image.key("url");
            for piece in ["\"data:", media_type.inner(), ";base64,", data.inner(), "\""] {
                url.extend_from_slice(piece.as_bytes());
            }
        }
        Source::Id { .. } | Source::Text(_) => return None,
    }
    if let Some(detail) = detail {
        detail.push_quoted(image.key("detail"));
    }
    out.extend_from_slice(b"{\"type\":\"image_url\",\"image_url\":");
    out.extend(image.end());
    out.push(b'}');
    Some(())
}
