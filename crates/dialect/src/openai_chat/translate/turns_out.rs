//! Turns as the messages of a chat request: results directly after the calls that they answer, content that a tool
//! message cannot hold in the following user message, reasoning only for its own host. Plain OpenAI format; a host's
//! other differences are applied to the whole body afterwards.

use std::collections::HashSet;

use super::{effort::gpt_version, turns_in::ORPHAN};
use crate::{
    Dialect, Target, Unsupported,
    canonical::{Cache, Json, Part, Reasoning, Request, Role, Source, ToolCall, ToolResult, Turn},
    json::{Escaped, ObjectWriter},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use kairosroute_domain::catalog::Flag;

/// Prefix of a result that is an error, because chat has no field for it.
const FAILED: &str = "Error: ";
/// The text of a result that has only media.
const ATTACHED: &str = "The result is in the next message.";
/// Separator between texts that become one.
const BETWEEN_TEXTS: &str = r"\n\n";
/// OpenAI requires a name for a document.
const UNNAMED: &str = "document.pdf";

/// Writes the messages of one request.
pub(super) struct Messages<'t> {
    target: &'t Target<'t>,
    out: Vec<u8>,
    /// The calls made so far, by their ids as written.
    calls: HashSet<String>,
    openai: bool,
    breakpoints: bool,
    /// A cache marker had no place.
    pub lost_cache: bool,
}

/// The messages of `request` as a JSON array, and whether a cache marker was lost.
pub(super) fn write(request: &Request<'_>, target: &Target<'_>) -> Result<(Vec<u8>, bool), Unsupported> {
    let openai = target.provider.as_str() == "openai";
    let breakpoints = openai && gpt_version(target.upstream_model).is_some_and(|version| version >= (5, 6));
    let mut messages =
        Messages { target, out: vec![b'['], calls: HashSet::new(), openai, breakpoints, lost_cache: false };
    let mut rest = request.turns.as_slice();
    while let Some(first) = rest.first() {
        let run = match first.role {
            Role::User => rest.iter().take_while(|turn| turn.role == Role::User).count(),
            _ => 1,
        };
        let (turns, tail) = rest.split_at(run.min(rest.len()));
        match first.role {
            Role::User => messages.users(turns)?,
            Role::Assistant => messages.assistant(first)?,
            Role::System => messages.system("system", first)?,
            Role::Developer => messages.system("developer", first)?,
        }
        rest = tail;
    }
    messages.out.push(b']');
    Ok((messages.out, messages.lost_cache))
}

impl Messages<'_> {
    fn push(&mut self, message: ObjectWriter) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        self.out.extend(message.end());
    }

    fn system(&mut self, role: &str, turn: &Turn<'_>) -> Result<(), Unsupported> {
        let mut message = opened(role, turn);
        let content = self.texts(&turn.parts, true)?;
        message.key("content").extend(content);
        self.push(message);
        Ok(())
    }

    /// Consecutive user turns: every result first, because nothing may be between a call and its result.
    fn users(&mut self, turns: &[Turn<'_>]) -> Result<(), Unsupported> {
        let mut attached = Vec::new();
        for part in turns.iter().flat_map(|turn| &turn.parts) {
            if let Part::ToolResult(result) = part {
                self.result(result, &mut attached)?;
            }
        }
        for turn in turns {
            let said: Vec<&Part<'_>> =
                turn.parts.iter().filter(|part| !matches!(part, Part::ToolResult(_))).collect();
            if said.is_empty() {
                continue;
            }
            let mut parts = std::mem::take(&mut attached);
            for part in said {
                parts.push(self.part(part)?);
            }
            self.user(turn, parts);
        }
        if let (Some(turn), false) = (turns.last(), attached.is_empty()) {
            self.user(turn, attached);
        }
        Ok(())
    }

    fn user(&mut self, turn: &Turn<'_>, parts: Vec<Piece>) {
        let mut message = opened("user", turn);
        message.key("content").extend(content(parts));
        self.push(message);
    }

    fn result(&mut self, result: &ToolResult<'_>, attached: &mut Vec<Piece>) -> Result<(), Unsupported> {
        if !self.calls.contains(result.call_id.inner()) {
            return Err(Unsupported::because("messages", ORPHAN));
        }
        let is_text = |part: &&Part<'_>| matches!(part, Part::Text { .. });
        let mut texts: Vec<Part<'_>> = result.content.iter().filter(is_text).cloned().collect();
        let media: Vec<&Part<'_>> = result.content.iter().filter(|part| !is_text(part)).collect();
        if texts.is_empty() && !media.is_empty() {
            texts.push(Part::Text { text: Escaped::from_inner(ATTACHED), cache: None });
        }
        if result.is_error {
            match texts.first_mut() {
                Some(Part::Text { text, .. }) => {
                    *text = Escaped::from_inner(format!("{FAILED}{}", text.inner()))
                }
                _ => texts.push(Part::Text { text: Escaped::from_inner(FAILED.trim_end()), cache: None }),
            }
        }
        if let (Some(Part::Text { cache: cache @ None, .. }), Some(_)) = (texts.last_mut(), result.cache) {
            *cache = result.cache;
        } else {
            self.lost_cache |= result.cache.is_some();
        }
        if let Some((first, more)) = media.split_first() {
            let label = format!("Result of the call {}:", result.call_id.inner());
            attached.push(Piece::Text { text: Escaped::from_inner(label), breakpoint: false });
            for part in std::iter::once(first).chain(more) {
                attached.push(self.part(part)?);
            }
        }
        let mut message = ObjectWriter::new();
        message.text("role", "tool");
        result.call_id.push_quoted(message.key("tool_call_id"));
        message.key("content").extend(self.texts(&texts, true)?);
        self.push(message);
        Ok(())
    }

    fn assistant(&mut self, turn: &Turn<'_>) -> Result<(), Unsupported> {
        let (mut texts, mut refusals, mut calls) = (Vec::new(), Escaped::default(), Vec::new());
        let mut thoughts = Escaped::default();
        for part in &turn.parts {
            match part {
                Part::Text { .. } => texts.push(part.clone()),
                Part::Refusal(text) if self.openai => refusals.push(text),
                Part::Refusal(text) => texts.push(Part::Text { text: text.clone(), cache: None }),
                Part::Reasoning(reasoning) => self.think(reasoning, &mut thoughts),
                Part::ToolCall(call) => calls.push(call),
                Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::ToolResult(_) => {
                    return Err(Unsupported::because(
                        "messages",
                        ": assistant messages may contain text and tool calls only",
                    ));
                }
            }
        }
        let mut message = opened("assistant", turn);
        let said = texts.iter().any(|part| !matches!(part, Part::Text { text, .. } if text.is_empty()));
        let silent = !said && (!calls.is_empty() || !refusals.is_empty());
        let content = if silent { b"null".to_vec() } else { self.texts(&texts, false)? };
        message.key("content").extend(content);
        if !thoughts.is_empty() {
            thoughts.push_quoted(message.key("reasoning_content"));
        }
        if !refusals.is_empty() {
            refusals.push_quoted(message.key("refusal"));
        }
        if !calls.is_empty() {
            let list = message.key("tool_calls");
            for (index, call) in calls.iter().enumerate() {
                list.push(if index == 0 { b'[' } else { b',' });
                list.extend(tool_call(call, self.target));
            }
            list.push(b']');
        }
        self.lost_cache |= calls.iter().any(|call| call.cache.is_some());
        self.calls.extend(calls.iter().map(|call| call.id.inner().to_owned()));
        self.push(message);
        Ok(())
    }

    /// Reasoning is sent back only to its provider, or if it has no signature; OpenAI's chat accepts none.
    fn think(&self, reasoning: &Reasoning<'_>, thoughts: &mut Escaped<'static>) {
        let Target { provider, upstream_model, .. } = *self.target;
        let ours = reasoning
            .signature
            .as_ref()
            .is_none_or(|signature| signature.bare(provider, upstream_model, Dialect::Chat).is_some());
        if self.openai || reasoning.redacted || !ours || reasoning.text.is_empty() {
            return;
        }
        if !thoughts.is_empty() {
            thoughts.push(&Escaped::from_inner(BETWEEN_TEXTS));
        }
        thoughts.push(&reasoning.text);
    }

    /// Content that is only text. OpenAI accepts a list; elsewhere several texts become one.
    fn texts(&mut self, parts: &[Part<'_>], marks: bool) -> Result<Vec<u8>, Unsupported> {
        let mut pieces = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Part::Text { text, cache } => {
                    let breakpoint = marks && self.mark(*cache);
                    self.lost_cache |= !marks && cache.is_some();
                    pieces.push(Piece::Text { text: text.clone().into_owned(), breakpoint });
                }
                Part::Refusal(text) => {
                    pieces.push(Piece::Text { text: text.clone().into_owned(), breakpoint: false });
                }
                _ => {
                    return Err(Unsupported::because(
                        "messages",
                        ": media are accepted in user messages only",
                    ));
                }
            }
        }
        if self.openai {
            return Ok(content(pieces));
        }
        let mut whole = Escaped::default();
        for piece in &pieces {
            if let Piece::Text { text, .. } = piece {
                if !whole.is_empty() && !text.is_empty() {
                    whole.push(&Escaped::from_inner(BETWEEN_TEXTS));
                }
                whole.push(text);
            }
        }
        let mut out = Vec::new();
        whole.push_quoted(&mut out);
        Ok(out)
    }

    /// Whether the host accepts a marker after a text; otherwise the marker is lost.
    fn mark(&mut self, cache: Option<Cache>) -> bool {
        self.lost_cache |= cache.is_some() && !self.breakpoints;
        cache.is_some() && self.breakpoints
    }

    fn part(&mut self, part: &Part<'_>) -> Result<Piece, Unsupported> {
        let refused = |hint| Err(Unsupported::because("messages", hint));
        Ok(match part {
            Part::Text { text, cache } => {
                Piece::Text { text: text.clone().into_owned(), breakpoint: self.mark(*cache) }
            }
            Part::Refusal(text) => Piece::Text { text: text.clone().into_owned(), breakpoint: false },
            Part::Image { source, detail, cache } => {
                self.lost_cache |= cache.is_some();
                let mut image = ObjectWriter::new();
                match source {
                    Source::Data { media_type, data } => push_data_url(media_type, data, image.key("url")),
                    Source::Url(url) => url.push_quoted(image.key("url")),
                    Source::Id { .. } | Source::Text(_) => return refused(": an image kept by a provider"),
                }
                if let Some(detail) = detail {
                    detail.push_quoted(image.key("detail"));
                }
                Piece::other("image_url", image)
            }
            Part::Audio { data, format } => {
                let mut audio = ObjectWriter::new();
                data.push_quoted(audio.key("data"));
                format.push_quoted(audio.key("format"));
                Piece::other("input_audio", audio)
            }
            Part::File { source, name, cache } => {
                self.lost_cache |= cache.is_some();
                self.file(source, name.as_ref())?
            }
            Part::Reasoning(_) | Part::ToolCall(_) | Part::ToolResult(_) => {
                return refused(": user messages may contain text, media and tool results only");
            }
        })
    }

    fn file(&self, source: &Source<'_>, name: Option<&Escaped<'_>>) -> Result<Piece, Unsupported> {
        let refused = |hint| Err(Unsupported::because("messages", hint));
        let mut file = ObjectWriter::new();
        match source {
            Source::Text(text) => return Ok(titled(name, text.borrowed())),
            Source::Data { media_type, data } if media_type.inner().starts_with("text/") => {
                let bytes = STANDARD.decode(data.decode().as_bytes()).ok();
                return match bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
                    Some(text) => Ok(titled(name, Escaped::from_text(&text))),
                    None => refused(": a text document must be base64 of UTF-8"),
                };
            }
            Source::Data { .. } if !self.takes_documents() => return refused(": documents are not accepted"),
            Source::Data { media_type, data } => {
                match name {
                    Some(name) => name.push_quoted(file.key("filename")),
                    None => file.text("filename", UNNAMED),
                }
                push_data_url(media_type, data, file.key("file_data"));
            }
            Source::Id { id, dialect: Dialect::Chat | Dialect::Responses } if self.openai => {
                id.push_quoted(file.key("file_id"));
            }
            Source::Id { .. } => return refused(": a file kept by another provider"),
            Source::Url(_) => return refused(": documents by URL are not fetched"),
        }
        Ok(Piece::other("file", file))
    }

    /// Mistral also reads documents, but not in this format.
    fn takes_documents(&self) -> bool {
        self.openai || self.target.provider.as_str() != "mistral" && self.target.has(Flag::Pdf)
    }
}

/// A part of a message's content in progress.
enum Piece {
    Text {
        text: Escaped<'static>,
        breakpoint: bool,
    },
    /// Its JSON.
    Other(Vec<u8>),
}

impl Piece {
    /// The part of this type, whose member of the same name is `value`.
    fn other(typed: &str, value: ObjectWriter) -> Piece {
        let mut part = ObjectWriter::new();
        part.text("type", typed);
        part.key(typed).extend(value.end());
        Piece::Other(part.end())
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Piece::Other(json) => out.extend(json),
            Piece::Text { text, breakpoint } => {
                let mut part = ObjectWriter::new();
                part.text("type", "text");
                text.push_quoted(part.key("text"));
                if *breakpoint {
                    part.raw("prompt_cache_breakpoint", r#"{"mode":"explicit"}"#);
                }
                out.extend(part.end());
            }
        }
    }
}

/// One plain text is a string, anything else a list.
fn content(pieces: Vec<Piece>) -> Vec<u8> {
    let mut out = Vec::new();
    match pieces.as_slice() {
        [] => out.extend(b"\"\""),
        [Piece::Text { text, breakpoint: false }] => text.push_quoted(&mut out),
        pieces => {
            for (index, piece) in pieces.iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                piece.write(&mut out);
            }
            out.push(b']');
        }
    }
    out
}

/// The start of a message.
fn opened(role: &str, turn: &Turn<'_>) -> ObjectWriter {
    let mut message = ObjectWriter::new();
    message.text("role", role);
    if let Some(name) = &turn.name {
        name.push_quoted(message.key("name"));
    }
    message
}

/// A document that is text, under its title.
fn titled(name: Option<&Escaped<'_>>, text: Escaped<'_>) -> Piece {
    let mut whole = Escaped::default();
    if let Some(name) = name {
        whole.push(name);
        whole.push(&Escaped::from_inner(format!(":{BETWEEN_TEXTS}")));
    }
    whole.push(&text);
    Piece::Text { text: whole.into_owned(), breakpoint: false }
}

fn tool_call(call: &ToolCall<'_>, target: &Target<'_>) -> Vec<u8> {
    let mut function = ObjectWriter::new();
    call.name.push_quoted(function.key("name"));
    call.spoken_arguments().push_quoted(function.key("arguments"));
    let mut out = ObjectWriter::new();
    call.id.push_quoted(out.key("id"));
    out.text("type", "function");
    out.key("function").extend(function.end());
    let signature = call.signature.as_ref();
    if let Some(bare) =
        signature.and_then(|value| value.bare(target.provider, target.upstream_model, Dialect::Chat))
    {
        out.raw("extra_content", thought_signature(&bare).get());
    }
    out.end()
}

/// The place of a signature in Google's own chat endpoint.
pub(super) fn thought_signature(value: &Escaped<'_>) -> Json<'static> {
    Json::trusted(format!(r#"{{"google":{{"thought_signature":"{}"}}}}"#, value.inner()))
}

/// As a JSON string.
pub(super) fn push_data_url(media_type: &Escaped<'_>, data: &Escaped<'_>, out: &mut Vec<u8>) {
    out.extend(b"\"data:");
    out.extend(media_type.inner().as_bytes());
    out.extend(b";base64,");
    out.extend(data.inner().as_bytes());
    out.push(b'"');
}
