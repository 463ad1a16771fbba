//! Writes turns as the items of `input`. If the provider does not support something that the answer depends on, it is
//! an error; must never send a signature to any provider but its own.

use crate::{
    Dialect, Target, Unsupported,
    canonical::{Cache, Part, Reasoning, Role, Source, ToolCall, ToolResult, Turn},
    json::{Escaped, ObjectWriter},
};
use std::borrow::Cow;

/// Writes the list of items.
pub(super) struct InputWriter<'w, 't> {
    target: &'w Target<'t>,
    /// Perplexity's format: only text and images, answers of the model as plain strings.
    narrow: bool,
    /// Text may have the marker up to which the prompt is cached.
    cache_marks: bool,
    out: Vec<u8>,
    pub dropped: Vec<Cow<'static, str>>,
}

impl<'w, 't> InputWriter<'w, 't> {
    pub fn new(target: &'w Target<'t>, narrow: bool, cache_marks: bool) -> Self {
        Self { target, narrow, cache_marks, out: vec![b'['], dropped: Vec::new() }
    }

    pub fn end(mut self) -> (Vec<u8>, Vec<Cow<'static, str>>) {
        self.out.push(b']');
        (self.out, self.dropped)
    }

    /// One turn is a message, plus an item for everything that is not content of a message.
    pub fn turn(&mut self, turn: &Turn<'_>) -> Result<(), Unsupported> {
        if turn.name.is_some() {
            self.drop("messages[].name");
        }
        let mut content: Vec<&Part<'_>> = Vec::new();
        for part in &turn.parts {
            match part {
                Part::Text { .. }
                | Part::Image { .. }
                | Part::Audio { .. }
                | Part::File { .. }
                | Part::Refusal(_) => {
                    content.push(part);
                    continue;
                }
                _ => self.message(turn.role, &mut content)?,
            }
            match part {
                Part::ToolCall(call) => self.call(call),
                Part::ToolResult(result) => self.result(result)?,
                Part::Reasoning(reasoning) => self.reasoning(reasoning),
                _ => {}
            }
        }
        self.message(turn.role, &mut content)
    }

    fn message(&mut self, role: Role, content: &mut Vec<&Part<'_>>) -> Result<(), Unsupported> {
        if content.is_empty() {
            return Ok(());
        }
        let mut item = ObjectWriter::new();
        item.text("type", "message");
        item.text(
            "role",
            match role {
                Role::System => "system",
                Role::Developer => "developer",
                Role::User => "user",
                Role::Assistant => "assistant",
            },
        );
        if self.narrow && role == Role::Assistant {
            let text = joined(content).ok_or_else(|| Unsupported::field("messages[].content"))?;
            text.push_quoted(item.key("content"));
        } else {
            let parts = self.parts(role, content)?;
            item.key("content").extend(parts);
        }
        content.clear();
        self.push(item);
        Ok(())
    }

    fn parts(&mut self, role: Role, content: &[&Part<'_>]) -> Result<Vec<u8>, Unsupported> {
        let mut out = vec![b'['];
        for part in content {
            for written in self.part(role, part)? {
                if out.len() > 1 {
                    out.push(b',');
                }
                out.extend(written.end());
            }
        }
        out.push(b']');
        Ok(out)
    }

    /// Usually one; a text document has its name before it.
    fn part(&mut self, role: Role, part: &Part<'_>) -> Result<Vec<ObjectWriter>, Unsupported> {
        let by_model = role == Role::Assistant;
        let mut item = ObjectWriter::new();
        match part {
            Part::Text { text, cache } => {
                item.text("type", if by_model { "output_text" } else { "input_text" });
                text.push_quoted(item.key("text"));
                self.cache(*cache, !by_model, &mut item);
            }
            Part::Refusal(text) if by_model => {
                item.text("type", "refusal");
                text.push_quoted(item.key("refusal"));
            }
            Part::Image { source, detail, cache } if !by_model => {
                item.text("type", "input_image");
                self.image(source, &mut item)?;
                if let Some(detail) = detail.as_ref().filter(|_| !self.narrow) {
                    detail.push_quoted(item.key("detail"));
                } else if !self.narrow {
                    item.text("detail", "auto");
                }
                self.cache(*cache, false, &mut item);
            }
            Part::File { source: Source::Text(text), name, cache } if !by_model => {
                let name = name.as_ref().map(|name| {
                    let mut head = ObjectWriter::new();
                    head.text("type", "input_text");
                    name.push_quoted(head.key("text"));
                    head
                });
                item.text("type", "input_text");
                text.push_quoted(item.key("text"));
                self.cache(*cache, true, &mut item);
                return Ok(name.into_iter().chain([item]).collect());
            }
            Part::File { source, name, cache } if !by_model && !self.narrow => {
                item.text("type", "input_file");
                self.file(source, name.as_ref(), &mut item)?;
                self.cache(*cache, false, &mut item);
            }
            Part::Audio { data, format } if !by_model && !self.narrow => {
                item.text("type", "input_audio");
                let mut audio = ObjectWriter::new();
                data.push_quoted(audio.key("data"));
                format.push_quoted(audio.key("format"));
                item.key("input_audio").extend(audio.end());
            }
            _ => return Err(Unsupported::because("messages[].content", kind_hint(part))),
        }
        Ok(vec![item])
    }

    fn image(&self, source: &Source<'_>, item: &mut ObjectWriter) -> Result<(), Unsupported> {
        match source {
            Source::Data { media_type, data } => push_data_url(media_type, data, item.key("image_url")),
            Source::Url(url) => url.push_quoted(item.key("image_url")),
            Source::Id { id, dialect } if self.keeps(*dialect) => id.push_quoted(item.key("file_id")),
            _ => {
                return Err(Unsupported::because("messages[].content", ": another provider keeps the image"));
            }
        }
        Ok(())
    }

    fn file(
        &self,
        source: &Source<'_>,
        name: Option<&Escaped<'_>>,
        item: &mut ObjectWriter,
    ) -> Result<(), Unsupported> {
        match source {
            Source::Data { media_type, data } => {
                match name {
                    Some(name) => name.push_quoted(item.key("filename")),
                    // A name is required; its ending states the kind.
                    None if media_type.decode() == "application/pdf" => item.text("filename", "document.pdf"),
                    None => item.text("filename", "document"),
                }
                push_data_url(media_type, data, item.key("file_data"));
            }
            Source::Url(url) => {
                url.push_quoted(item.key("file_url"));
                if let Some(name) = name {
                    name.push_quoted(item.key("filename"));
                }
            }
            Source::Id { id, dialect } if self.keeps(*dialect) => id.push_quoted(item.key("file_id")),
            _ => return Err(Unsupported::because("messages[].content", ": another provider keeps the file")),
        }
        Ok(())
    }

    /// OpenAI's chat and Responses share their files.
    fn keeps(&self, dialect: Dialect) -> bool {
        matches!(dialect, Dialect::Responses | Dialect::Chat) && !self.narrow
    }

    fn call(&mut self, call: &ToolCall<'_>) {
        let mut item = ObjectWriter::new();
        item.text("type", "function_call");
        call.id.push_quoted(item.key("call_id"));
        call.name.push_quoted(item.key("name"));
        call.spoken_arguments().push_quoted(item.key("arguments"));
        if self.narrow
            && let Some(signature) = &call.signature
            && let Some(bare) =
                signature.bare(self.target.provider, self.target.upstream_model, self.target.dialect)
        {
            bare.push_quoted(item.key("thought_signature"));
        }
        if call.cache.is_some() {
            self.drop("cache_control");
        }
        self.push(item);
    }

    fn result(&mut self, result: &ToolResult<'_>) -> Result<(), Unsupported> {
        let mut item = ObjectWriter::new();
        item.text("type", "function_call_output");
        result.call_id.push_quoted(item.key("call_id"));
        let mark = Part::Text { text: Escaped::from_inner("Error: "), cache: None };
        // There is no field for it.
        let content: Vec<&Part<'_>> =
            result.is_error.then_some(&mark).into_iter().chain(&result.content).collect();
        let as_text = self.narrow || result.is_error || content.len() < 2;
        match joined(&content).filter(|_| as_text) {
            Some(text) => text.push_quoted(item.key("output")),
            None if self.narrow => {
                return Err(Unsupported::because("messages[].content", ": results of tools are text here"));
            }
            None => {
                let parts = self.parts(Role::User, &content)?;
                item.key("output").extend(parts);
            }
        }
        if result.cache.is_some() {
            self.drop("cache_control");
        }
        self.push(item);
        Ok(())
    }

    /// Only its provider can read it; for others it contains nothing that the answer depends on.
    fn reasoning(&mut self, reasoning: &Reasoning<'_>) {
        let signature = reasoning.signature.as_ref().filter(|_| !self.narrow);
        let bare = signature.and_then(|signature| {
            signature.bare(self.target.provider, self.target.upstream_model, self.target.dialect)
        });
        let Some(bare) = bare.filter(|bare| !bare.is_empty()) else {
            if !reasoning.text.is_empty() {
                self.drop("reasoning");
            }
            return;
        };
        let mut item = ObjectWriter::new();
        item.text("type", "reasoning");
        let summary = item.key("summary");
        summary.push(b'[');
        if !reasoning.text.is_empty() {
            let mut part = ObjectWriter::new();
            part.text("type", "summary_text");
            reasoning.text.push_quoted(part.key("text"));
            summary.extend(part.end());
        }
        summary.push(b']');
        bare.push_quoted(item.key("encrypted_content"));
        self.push(item);
    }

    fn cache(&mut self, cache: Option<Cache>, is_text: bool, item: &mut ObjectWriter) {
        match cache {
            None => {}
            Some(_) if is_text && self.cache_marks => {
                item.key("prompt_cache_breakpoint").extend(br#"{"mode":"explicit"}"#);
            }
            Some(_) => self.drop("cache_control"),
        }
    }

    fn drop(&mut self, name: &'static str) {
        if !self.dropped.iter().any(|dropped| dropped == name) {
            self.dropped.push(name.into());
        }
    }

    fn push(&mut self, item: ObjectWriter) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        self.out.extend(item.end());
    }
}

/// The texts as one, `None` when there is anything but text.
fn joined<'p>(content: &[&'p Part<'_>]) -> Option<Escaped<'p>> {
    let mut whole: Option<Escaped<'p>> = None;
    for part in content {
        let (Part::Text { text, .. } | Part::Refusal(text)) = part else { return None };
        match &mut whole {
            None => whole = Some(text.borrowed()),
            Some(whole) => whole.push(text),
        }
    }
    Some(whole.unwrap_or_default())
}

pub(super) fn push_data_url(media_type: &Escaped<'_>, data: &Escaped<'_>, out: &mut Vec<u8>) {
    for piece in ["\"data:", media_type.inner(), ";base64,", data.inner(), "\""] {
        out.extend_from_slice(piece.as_bytes());
    }
}

fn kind_hint(part: &Part<'_>) -> &'static str {
    match part {
        Part::Image { .. } => ": only text is accepted here, not an image",
        Part::Audio { .. } => ": it takes no audio there",
        Part::File { .. } => ": it takes no files there",
        _ => ": it does not take this kind of part there",
    }
}
