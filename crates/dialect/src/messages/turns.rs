//! The walk over `messages` and `system`: checks the shape of each, measures what the model will read, and creates the
//! canonical turns. Unknown members and unknown kinds of blocks pass; a wrong kind of JSON does not.

use super::{
    ids,
    object::{Object, check_members, missing},
};
use crate::{
    Dialect, Fees,
    canonical::{MARK, Part, Reasoning, Role, Signature, Source, ToolCall, ToolResult, Turn},
    json::{Cursor, Escaped, Kind, Raw},
    openai_chat::expect,
    request::{Facts, Invalid, Limits},
};

/// What a provider adds around each message (role, separators), in bytes, so that bytes stay above tokens.
const MESSAGE_OVERHEAD_BYTES: usize = 8;

/// Names of members that another dialect cannot express; more are not collected.
const LOST_MAX: usize = 32;

/// Facts that the walk records beside the turns.
#[derive(Default)]
pub(super) struct Seen {
    pub facts: Facts,
    pub fees: Fees,
    /// Some block contains a signature or a citation that this gateway wrote.
    pub marked: bool,
    /// System text stands between the messages.
    pub system_turns: bool,
    /// Members without a place in the canonical form that the answer does not need, by name.
    pub lost: Vec<String>,
}

type Path<'p> = &'p dyn Fn(&str) -> String;

impl Seen {
    pub fn lose(&mut self, name: &str) {
        if self.lost.len() < LOST_MAX && !self.lost.iter().any(|lost| lost == name) {
            self.lost.push(name.to_owned());
        }
    }
}

pub(super) fn read<'a>(
    cursor: &mut Cursor<'a>,
    limits: &Limits,
    seen: &mut Seen,
) -> Result<Vec<Turn<'a>>, Invalid> {
    expect(cursor, Kind::Array, || "messages".into())?;
    let mut turns = Vec::new();
    cursor.array(|cursor, index| {
        if index >= limits.messages_max {
            let most = limits.messages_max;
            return Err(Invalid::at("messages", format!("`messages` may have at most {most} entries")));
        }
        turns.push(message(cursor, &|field| format!("messages[{index}]{field}"), seen)?);
        Ok(())
    })?;
    if turns.is_empty() {
        return Err(Invalid::at("messages", "`messages` must not be empty".into()));
    }
    Ok(turns)
}

/// The system prompt: a string, or text blocks.
pub(super) fn system<'a>(cursor: &mut Cursor<'a>, seen: &mut Seen) -> Result<Turn<'a>, Invalid> {
    let parts = content(cursor, &|field| format!("system{field}"), seen)?;
    Ok(Turn { role: Role::System, name: None, parts })
}

fn message<'a>(cursor: &mut Cursor<'a>, path: Path<'_>, seen: &mut Seen) -> Result<Turn<'a>, Invalid> {
    expect(cursor, Kind::Object, || path(""))?;
    seen.facts.messages = seen.facts.messages.saturating_add(1);
    seen.facts.add_bytes(MESSAGE_OVERHEAD_BYTES);
    let (mut role, mut parts) = (None, None);
    let mut members = 0usize;
    cursor.object(|cursor, key| {
        check_members(members, path)?;
        members = members.saturating_add(1);
        match key.decode().as_ref() {
            "role" => {
                expect(cursor, Kind::String, || path(".role"))?;
                role = Some(cursor.text()?.decode());
            }
            "content" => parts = Some(content(cursor, &|field| path(&format!(".content{field}")), seen)?),
            _ => seen.facts.add_bytes(cursor.value()?.len()),
        }
        Ok::<(), Invalid>(())
    })?;
    let role = match role.as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => {
            seen.system_turns = true;
            Role::System
        }
        Some(_) => {
            let param = path(".role");
            return Err(Invalid::at(&param, format!("`{param}` must be user, assistant or system")));
        }
        None => return Err(missing(&path(".role"))),
    };
    let mut parts = parts.ok_or_else(|| missing(&path(".content")))?;
    if role == Role::Assistant {
        // Results of the provider's own tools have already been executed; only this dialect can express them.
        parts.retain(|part| match foreign(part) {
            Some(kind) => {
                seen.lose(&format!("messages[].content[].{kind}"));
                false
            }
            None => true,
        });
    }
    Ok(Turn { role, name: None, parts })
}

/// A string, or blocks.
fn content<'a>(cursor: &mut Cursor<'a>, path: Path<'_>, seen: &mut Seen) -> Result<Vec<Part<'a>>, Invalid> {
    let mut parts = Vec::new();
    match cursor.kind()? {
        Kind::String => {
            let text = cursor.text()?;
            seen.facts.add_text(text);
            if !text.inner().is_empty() {
                parts.push(Part::Text { text: text.into(), cache: None });
            }
        }
        Kind::Array => cursor.array(|cursor, index| {
            let path = |field: &str| path(&format!("[{index}]{field}"));
            seen.facts.add_part("messages")?;
            let block = Object::read(cursor, &path)?;
            parts.push(part(&block, &path, seen)?);
            Ok::<(), Invalid>(())
        })?,
        kind => return Err(Invalid::kind(&path(""), "a string or an array of blocks".into(), kind)),
    }
    Ok(parts)
}

fn part<'a>(block: &Object<'a>, path: Path<'_>, seen: &mut Seen) -> Result<Part<'a>, Invalid> {
    let typed = block.needed_text("type", path)?;
    let cache = block.cache(path)?;
    Ok(match typed.decode().as_ref() {
        "text" => {
            let text = block.needed_text("text", path)?;
            seen.facts.add_bytes(text.inner().len());
            seen.marked |= has_our_citation(block);
            Part::Text { text, cache }
        }
        "image" => {
            seen.facts.images = seen.facts.images.saturating_add(1);
            Part::Image { source: source(block, path, seen)?, detail: None, cache }
        }
        "document" => {
            seen.facts.files = seen.facts.files.saturating_add(1);
            let name = block.checked_text("title", path)?;
            for field in ["context", "citations"] {
                let Some(value) = block.get(field) else { continue };
                seen.facts.add_bytes(value.len());
                if field == "context" || value.member("enabled").is_some_and(|on| !on.is_idle()) {
                    seen.lose(&format!("messages[].content[].{field}"));
                }
            }
            seen.facts.add_bytes(name.as_ref().map_or(0, |name| name.inner().len()));
            Part::File { source: source(block, path, seen)?, name, cache }
        }
        // The tools that the client's own search has found: they are among the request's tools.
        "tool_reference" => {
            seen.facts.add_bytes(block.raw.len());
            Part::Text { text: block.needed_text("tool_name", path)?, cache }
        }
        "search_result" => {
            seen.facts.add_bytes(block.raw.len());
            Part::Text { text: search_result(block), cache }
        }
        "tool_use" => {
            seen.marked |= block.text("id").is_some_and(|id| !ids::is_accepted(&id.decode()));
            seen.facts.add_bytes(block.raw.len());
            let input = block.checked("input", Kind::Object, path)?;
            Part::ToolCall(ToolCall {
                id: block.needed_text("id", path)?,
                name: block.needed_text("name", path)?,
                arguments: Escaped::from_text(input.map_or("{}", Raw::get)),
                signature: None,
                cache,
            })
        }
        "tool_result" => Part::ToolResult(ToolResult { cache, ..tool_result(block, path, seen)? }),
        "thinking" => {
            let text = block.needed_text("thinking", path)?;
            let signature = block.checked_text("signature", path)?;
            seen.facts.add_bytes(block.raw.len());
            seen.marked |= signature.as_ref().is_some_and(is_marked);
            let signature = signature.filter(|signature| !signature.is_empty());
            let signature = signature.map(|value| Signature::new(value, Dialect::Messages));
            Part::Reasoning(Reasoning { text, signature, redacted: false })
        }
        "redacted_thinking" => {
            let data = block.needed_text("data", path)?;
            seen.facts.add_bytes(block.raw.len());
            seen.marked |= is_marked(&data);
            let signature = Some(Signature::new(data, Dialect::Messages));
            Part::Reasoning(Reasoning { text: Escaped::default(), signature, redacted: true })
        }
        "container_upload" => {
            seen.facts.files = seen.facts.files.saturating_add(1);
            let id = block.needed_text("file_id", path)?;
            Part::File { source: Source::Id { id, dialect: Dialect::Messages }, name: None, cache }
        }
        _ => {
            seen.facts.add_bytes(block.raw.len());
            unknown(typed)
        }
    })
}

/// A block of a kind that only providers of this dialect know. It is carried as content that only they store, so that a
/// writer for any other dialect refuses it.
fn unknown(typed: Escaped<'_>) -> Part<'_> {
    let id = Escaped::from_inner(format!("{FOREIGN}{}", typed.inner()));
    Part::File { source: Source::Id { id, dialect: Dialect::Messages }, name: None, cache: None }
}

/// Cannot begin a file's id.
const FOREIGN: &str = "block:";

/// The kind of block that [`unknown`] carried.
fn foreign<'p>(part: &'p Part<'_>) -> Option<&'p str> {
    match part {
        Part::File { source: Source::Id { id, .. }, .. } => id.inner().strip_prefix(FOREIGN),
        _ => None,
    }
}

fn tool_result<'a>(block: &Object<'a>, path: Path<'_>, seen: &mut Seen) -> Result<ToolResult<'a>, Invalid> {
    let call_id = block.needed_text("tool_use_id", path)?;
    seen.marked |= !ids::is_accepted(&call_id.decode());
    seen.facts.add_bytes(call_id.inner().len());
    let is_error = block.checked("is_error", Kind::Bool, path)?.is_some_and(|raw| raw.get() == "true");
    let parts = match block.get("content") {
        Some(value) => content(&mut value.cursor(), &|field| path(&format!(".content{field}")), seen)?,
        None => Vec::new(),
    };
    for (index, part) in parts.iter().enumerate() {
        if !matches!(part, Part::Text { .. } | Part::Image { .. } | Part::File { .. }) {
            let param = path(&format!(".content[{index}].type"));
            return Err(Invalid::at(&param, format!("`{param}` cannot stand in a tool's result")));
        }
    }
    Ok(ToolResult { call_id, content: parts, is_error, cache: None })
}

fn source<'a>(block: &Object<'a>, path: Path<'_>, seen: &mut Seen) -> Result<Source<'a>, Invalid> {
    let path: Path<'_> = &|field| path(&format!(".source{field}"));
    let raw = block.get("source").ok_or_else(|| missing(&path("")))?;
    if raw.kind() != Kind::Object {
        return Err(Invalid::kind(&path(""), "an object".into(), raw.kind()));
    }
    let source = Object::bounded(raw, path)?;
    Ok(match source.needed_text("type", path)?.decode().as_ref() {
        "base64" => {
            let data = source.needed_text("data", path)?;
            let media_type = source.needed_text("media_type", path)?;
            seen.facts.add_media(&media_type.decode(), data.inner().len());
            Source::Data { media_type, data }
        }
        "url" => {
            let url = source.needed_text("url", path)?;
            seen.facts.add_url(&url.decode(), url.inner().len());
            Source::Url(url)
        }
        "file" => {
            let id = source.needed_text("file_id", path)?;
            Source::Id { id, dialect: Dialect::Messages }
        }
        "text" => {
            let text = source.needed_text("data", path)?;
            seen.facts.add_bytes(text.inner().len());
            Source::Text(text)
        }
        other => {
            seen.facts.add_bytes(raw.len());
            match source.text("content") {
                Some(text) => Source::Text(text),
                None => {
                    let id = Escaped::from_text(&format!("{FOREIGN}{other}"));
                    Source::Id { id, dialect: Dialect::Messages }
                }
            }
        }
    })
}

/// The results of a search, as text: title, address and passages on separate lines.
fn search_result<'a>(block: &Object<'a>) -> Escaped<'a> {
    let passages = block.get("content").map(Raw::elements).unwrap_or_default();
    let passages = passages.into_iter().filter_map(|passage| passage.member("text").and_then(Escaped::of));
    let mut text = Escaped::default();
    for line in block.text("title").into_iter().chain(block.text("source")).chain(passages) {
        if !text.is_empty() {
            text.push(&Escaped::from_inner("\\n"));
        }
        text.push(&line);
    }
    text
}

pub(super) fn is_marked(value: &Escaped<'_>) -> bool {
    value.inner().starts_with(MARK)
}

/// Whether a text block contains a citation that this gateway wrote: no provider would accept it.
pub(super) fn has_our_citation(block: &Object<'_>) -> bool {
    let citations = block.get("citations").map(Raw::elements).unwrap_or_default();
    citations.into_iter().any(|citation| {
        citation.member("encrypted_index").and_then(Escaped::of).is_some_and(|index| is_marked(&index))
    })
}
