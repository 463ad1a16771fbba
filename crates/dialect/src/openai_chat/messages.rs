//! The walk over `messages`: checks the shape of each, measures what the model will read, and records what some
//! provider may need rewritten. Unknown members and unknown kinds of parts pass; a wrong kind of JSON does not.

use crate::{
    canonical::{MARK, is_kept_at},
    json::{Cursor, Kind, Raw, Text},
    request::{Facts, Invalid, Limits},
};

/// What a provider adds around each message (role, separators), in bytes, so that bytes stay above tokens.
const MESSAGE_OVERHEAD_BYTES: u64 = 8;

/// Properties of the messages that some provider needs changed.
#[derive(Clone, Copy, Default)]
pub(super) struct Traces {
    pub developer_role: bool,
    pub tool_names: bool,
    pub other_names: bool,
    pub reasoning_content: bool,
    pub reasoning: bool,
    pub call_ids: bool,
    pub empty_assistant: bool,
    /// A signature that we tagged for its provider.
    pub marks: bool,
    /// Members of an answer that a request does not need.
    pub answer_notes: bool,
    pub ends_with_assistant: bool,
    /// A part of a message that is not allowed on a shared account.
    pub account_field: Option<&'static str>,
}

/// Members of an answer that its message may contain, null or not, and that only OpenAI itself accepts.
pub(super) const ANSWER_NOTES: [&str; 4] = ["annotations", "refusal", "audio", "function_call"];

/// The facts about one message.
#[derive(Default)]
struct Message<'a> {
    role: Option<std::borrow::Cow<'a, str>>,
    named: bool,
    calls: bool,
    content: bool,
}

pub(super) fn read(
    cursor: &mut Cursor<'_>,
    limits: &Limits,
    facts: &mut Facts,
    traces: &mut Traces,
) -> Result<(), Invalid> {
    expect(cursor, Kind::Array, || "messages".into())?;
    cursor.array(|cursor, index| {
        if index >= limits.messages_max {
            let most = limits.messages_max;
            return Err(Invalid::at("messages", format!("`messages` may have at most {most} entries")));
        }
        message(cursor, index, facts, traces)
    })?;
    if facts.messages == 0 {
        return Err(Invalid::at("messages", "`messages` must not be empty".into()));
    }
    Ok(())
}

fn message(
    cursor: &mut Cursor<'_>,
    index: usize,
    facts: &mut Facts,
    traces: &mut Traces,
) -> Result<(), Invalid> {
    let path = |field: &str| format!("messages[{index}]{field}");
    expect(cursor, Kind::Object, || path(""))?;
    facts.messages = facts.messages.saturating_add(1);
    facts.text_bytes = facts.text_bytes.saturating_add(MESSAGE_OVERHEAD_BYTES);
    let mut seen = Message::default();
    cursor.object(|cursor, key| {
        let key = key.decode();
        let kind = cursor.kind()?;
        match key.as_ref() {
            "role" => {
                expect(cursor, Kind::String, || path(".role"))?;
                seen.role = Some(cursor.text()?.decode());
            }
            _ if kind == Kind::Null => {
                cursor.value()?;
                traces.answer_notes |= ANSWER_NOTES.contains(&key.as_ref());
            }
            "content" => {
                let before = facts.content_size();
                content(cursor, || path(".content"), facts, traces)?;
                seen.content = facts.content_size() > before;
            }
            "tool_calls" => seen.calls |= tool_calls(cursor, &path, facts, traces)?,
            "name" | "tool_call_id" | "refusal" => {
                expect(cursor, Kind::String, || path(&format!(".{key}")))?;
                facts.add_text(cursor.text()?);
                seen.named |= key == "name";
                traces.call_ids |= key == "tool_call_id";
            }
            "function_call" => {
                expect(cursor, Kind::Object, || path(".function_call"))?;
                facts.add_bytes(cursor.value()?.len());
                seen.calls = true;
            }
            "thinking_blocks" if kind == Kind::Array => {
                let mark = cursor.mark();
                cursor.array(|cursor, _| {
                    cursor.value()?;
                    facts.add_part("messages")
                })?;
                let blocks = cursor.taken(mark);
                traces.marks |= is_marked(blocks);
                facts.add_bytes(blocks.len());
            }
            _ => {
                traces.reasoning_content |= key == "reasoning_content";
                traces.reasoning |= key == "reasoning";
                traces.answer_notes |= ANSWER_NOTES.contains(&key.as_ref());
                let value = cursor.value()?;
                traces.marks |= is_marked(value);
                // The audio of an earlier answer, which the provider has stored.
                if key == "audio" && value.member("id").is_some_and(|id| !id.is_idle()) {
                    traces.account_field = traces.account_field.or(Some("messages[].audio.id"));
                }
                facts.add_bytes(value.len());
            }
        }
        Ok::<(), Invalid>(())
    })?;
    let role = seen.role.as_deref().unwrap_or_default();
    match role {
        "developer" => traces.developer_role = true,
        "assistant" => traces.empty_assistant |= !seen.calls && !seen.content,
        "system" | "user" | "tool" | "function" => {}
        _ => {
            let message =
                format!("`{}` must be system, developer, user, assistant, tool or function", path(".role"));
            return Err(Invalid::at(&path(".role"), message));
        }
    }
    traces.tool_names |= seen.named && role == "tool";
    traces.other_names |= seen.named && role != "tool";
    traces.ends_with_assistant = role == "assistant";
    Ok(())
}

/// Whether there was any call.
fn tool_calls(
    cursor: &mut Cursor<'_>,
    path: &impl Fn(&str) -> String,
    facts: &mut Facts,
    traces: &mut Traces,
) -> Result<bool, Invalid> {
    expect(cursor, Kind::Array, || path(".tool_calls"))?;
    let mut any = false;
    cursor.array(|cursor, call| {
        any = true;
        facts.add_part("messages")?;
        let path = |field: &str| path(&format!(".tool_calls[{call}]{field}"));
        expect(cursor, Kind::Object, || path(""))?;
        let mark = cursor.mark();
        cursor.object(|cursor, key| {
            let key = key.decode();
            let kind = cursor.kind()?;
            match key.as_ref() {
                _ if kind == Kind::Null => {
                    cursor.value()?;
                }
                "id" | "type" => {
                    expect(cursor, Kind::String, || path(&format!(".{key}")))?;
                    cursor.text()?;
                    traces.call_ids |= key == "id";
                }
                "function" => function(cursor, &|| path(".function"), "arguments", Kind::String)?,
                _ => traces.marks |= is_marked(cursor.value()?),
            }
            Ok::<(), Invalid>(())
        })?;
        facts.add_bytes(cursor.taken(mark).len());
        Ok::<(), Invalid>(())
    })?;
    Ok(any)
}

/// Consumes a function: its name, and one more member of a fixed kind.
pub(super) fn function(
    cursor: &mut Cursor<'_>,
    path: &impl Fn() -> String,
    other: &str,
    other_kind: Kind,
) -> Result<(), Invalid> {
    expect(cursor, Kind::Object, path)?;
    let mut named = false;
    cursor.object(|cursor, key| {
        let key = key.decode();
        if key == "name" {
            expect(cursor, Kind::String, || format!("{}.name", path()))?;
            named = true;
        } else if key == other && cursor.kind()? != Kind::Null {
            expect(cursor, other_kind, || format!("{}.{other}", path()))?;
        }
        cursor.value()?;
        Ok::<(), Invalid>(())
    })?;
    if !named {
        let param = format!("{}.name", path());
        return Err(Invalid::at(&param, format!("`{param}` is missing")));
    }
    Ok(())
}

/// Text, or a list of parts.
fn content(
    cursor: &mut Cursor<'_>,
    path: impl Fn() -> String,
    facts: &mut Facts,
    traces: &mut Traces,
) -> Result<(), Invalid> {
    match cursor.kind()? {
        Kind::String => {
            facts.add_text(cursor.text()?);
            Ok(())
        }
        Kind::Array => {
            cursor.array(|cursor, index| part(cursor, &|| format!("{}[{index}]", path()), facts, traces))
        }
        kind => Err(Invalid::kind(&path(), "a string or an array of parts".into(), kind)),
    }
}

fn part(
    cursor: &mut Cursor<'_>,
    path: &impl Fn() -> String,
    facts: &mut Facts,
    traces: &mut Traces,
) -> Result<(), Invalid> {
    facts.add_part("messages")?;
    expect(cursor, Kind::Object, path)?;
    let mut typed = None;
    let (mut image, mut audio, mut file) = (false, false, false);
    let heard = facts.audio_parts;
    let mut text = false;
    cursor.object(|cursor, key| {
        let key = key.decode();
        match key.as_ref() {
            "type" => {
                expect(cursor, Kind::String, || format!("{}.type", path()))?;
                typed = Some(cursor.text()?.decode());
                return Ok(());
            }
            "image_url" => image = true,
            "input_audio" => audio = true,
            "file" | "video_url" => file = true,
            _ => {
                text |= key == "text" && cursor.kind()? == Kind::String;
                // Mistral reads a document page by page, at a separate fee.
                if matches!(key.as_ref(), "document_url" | "file_id") && cursor.kind()? != Kind::Null {
                    let field = match key.as_ref() {
                        "file_id" => "messages[].content[].file_id",
                        _ => "messages[].content[].document_url",
                    };
                    traces.account_field = traces.account_field.or(Some(field));
                }
                facts.add_bytes(cursor.value()?.len());
                return Ok(());
            }
        }
        let before = facts.media_bytes;
        media(cursor, facts)?;
        if key == "video_url" && facts.media_bytes == before {
            facts.videos = facts.videos.saturating_add(1);
        }
        Ok::<(), Invalid>(())
    })?;
    let Some(typed) = typed else {
        let param = format!("{}.type", path());
        return Err(Invalid::at(&param, format!("`{param}` is missing")));
    };
    let complete = match typed.as_ref() {
        "text" => text,
        "image_url" => image,
        "input_audio" => audio,
        "file" | "video_url" => file,
        _ => true,
    };
    if !complete {
        let param = format!("{}.{typed}", path());
        return Err(Invalid::at(&param, format!("`{param}` is missing or of the wrong kind")));
    }
    facts.images = facts.images.saturating_add(u32::from(image));
    facts.audio_parts = facts.audio_parts.max(heard.saturating_add(u32::from(audio)));
    facts.files = facts.files.saturating_add(u32::from(file));
    Ok(())
}

/// Consumes the member of a part that contains or names a medium. Embedded data counts as media, everything else as
/// text.
fn media(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<(), Invalid> {
    match cursor.kind()? {
        Kind::String => add_medium(cursor.text()?, "", facts),
        Kind::Object => cursor.object(|cursor, key| {
            if cursor.kind()? == Kind::String {
                add_medium(cursor.text()?, &key.decode(), facts);
            } else {
                facts.add_bytes(cursor.value()?.len());
            }
            Ok::<(), Invalid>(())
        })?,
        _ => facts.add_bytes(cursor.value()?.len()),
    }
    Ok(())
}

/// Contains a string with our tag. Inside a string the quote before it would be escaped.
pub(super) fn is_marked(value: Raw<'_>) -> bool {
    holds_mark(value.get())
}

fn holds_mark(json: &str) -> bool {
    json.match_indices(MARK).any(|(at, _)| begins_a_string(json, at))
}

/// A quote inside a string has a backslash before it.
fn begins_a_string(json: &str, at: usize) -> bool {
    json.get(..at).and_then(|head| head.strip_suffix('"')).is_some_and(|head| !head.ends_with('\\'))
}

/// The value with the tag `mark` removed from its strings; `None` if it has strings of another provider.
pub(super) fn bared(value: Raw<'_>, mark: &str) -> Option<String> {
    let json = value.get();
    let (mut out, mut from) = (String::with_capacity(json.len()), 0);
    for (at, _) in json.match_indices(mark).filter(|(at, _)| begins_a_string(json, *at)) {
        out.push_str(json.get(from..at).unwrap_or_default());
        from = at.saturating_add(mark.len());
    }
    out.push_str(json.get(from..).unwrap_or_default());
    (!holds_mark(&out)).then_some(out)
}

fn add_medium(text: Text<'_>, key: &str, facts: &mut Facts) {
    let inner = text.inner();
    facts.references_stored_objects |= match key {
        "" | "url" => is_kept_at(&text.decode()),
        _ => key == "file_id",
    };
    if inner.starts_with("data:") || matches!(key, "data" | "file_data") {
        let bare = if key == "data" { "audio/" } else { "" };
        facts.add_media(inner.strip_prefix("data:").unwrap_or(bare), inner.len());
    } else {
        facts.add_url(&text.decode(), inner.len());
    }
}

/// The next value must be of this kind.
pub(crate) fn expect(cursor: &mut Cursor<'_>, kind: Kind, path: impl Fn() -> String) -> Result<(), Invalid> {
    let found = cursor.kind()?;
    if found == kind { Ok(()) } else { Err(Invalid::kind(&path(), kind.name().into(), found)) }
}
