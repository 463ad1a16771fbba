//! Edits in `messages` and `tools`, for the providers that need them. A message or tool that needs none is copied
//! unchanged; in the others, the kept members keep their bytes and their order. Text and arguments are never changed.

use sha2::{Digest, Sha256};

use super::messages::{ANSWER_NOTES, Traces, bared, is_marked};
use crate::{
    Target,
    canonical::Signature,
    json::{self, Cursor, JsonError, Kind, Member, ObjectWriter, Raw},
};
use kairosroute_domain::provider::{MessageName, Quirks};

/// The edits that the messages of one request need.
struct Edits {
    developer_as_system: bool,
    tool_names: bool,
    other_names: bool,
    /// Under this name; empty removes it.
    reasoning: Option<&'static str>,
    short_ids: bool,
    no_empty_assistant: bool,
    prefix_last: bool,
    /// Signatures have our tag; this is the prefix of those that this provider and model made.
    mark: Option<String>,
    answer_notes: bool,
}

/// Whether names of messages are lost.
pub(super) fn removes_names(quirks: &Quirks, traces: &Traces) -> bool {
    match quirks.message_name {
        MessageName::Any => false,
        MessageName::ToolOnly => traces.other_names,
        MessageName::None => traces.other_names || traces.tool_names,
    }
}

/// The messages as the provider needs them; `None` if they need no edit.
pub(super) fn messages(messages: Raw<'_>, target: &Target<'_>, traces: &Traces) -> Option<Vec<u8>> {
    let quirks = &target.provider.row().quirks;
    let reasoning = match quirks.reasoning_field {
        "" => traces.reasoning_content || traces.reasoning,
        "reasoning" => traces.reasoning_content,
        _ => traces.reasoning,
    };
    let edits = Edits {
        developer_as_system: quirks.developer_as_system && traces.developer_role,
        tool_names: quirks.message_name == MessageName::None && traces.tool_names,
        other_names: quirks.message_name != MessageName::Any && traces.other_names,
        reasoning: reasoning.then_some(quirks.reasoning_field),
        short_ids: quirks.short_tool_ids && traces.call_ids,
        no_empty_assistant: quirks.strict_assistant && traces.empty_assistant,
        prefix_last: quirks.strict_assistant && traces.ends_with_assistant,
        mark: traces.marks.then(|| Signature::mark_of(target.provider, target.upstream_model)),
        answer_notes: quirks.strict_messages && traces.answer_notes,
    };
    if !edits.any() {
        return None;
    }
    let mut out = vec![b'['];
    let elements = messages.elements();
    let last = elements.len().saturating_sub(1);
    for (index, element) in elements.into_iter().enumerate() {
        let members = element.members();
        let role = role(&members);
        if edits.no_empty_assistant && role == "assistant" && is_empty(&members) {
            continue;
        }
        if out.len() > 1 {
            out.push(b',');
        }
        let said = || members.iter().any(|member| member.key == "prefix");
        let prefix = edits.prefix_last && index == last && role == "assistant" && !said();
        match message(&members, &role, &edits, prefix) {
            Some(edited) => out.extend(edited),
            None => out.extend(element.get().as_bytes()),
        }
    }
    out.push(b']');
    Some(out)
}

/// Prefix of a schema for which the provider has no field.
const SCHEMA_WANTED: &str =
    "Answer with one JSON object and nothing else. It must be valid against this JSON schema:\n";

/// The messages after one that states the schema of the answer.
pub(super) fn with_schema(messages: &[u8], schema: Raw<'_>) -> Vec<u8> {
    let mut told = ObjectWriter::new();
    told.text("role", "system");
    told.text("content", &format!("{SCHEMA_WANTED}{}", schema.get()));
    let told = told.end();
    let rest = messages.trim_ascii().strip_prefix(b"[").unwrap_or_default();
    let mut out = Vec::with_capacity(messages.len().saturating_add(told.len()).saturating_add(2));
    out.push(b'[');
    out.extend(told);
    if rest.trim_ascii() != b"]" {
        out.push(b',');
    }
    out.extend_from_slice(rest);
    out
}

/// The tools with the members of flat functions under `function`.
pub(super) fn nested_tools(tools: Raw<'_>) -> String {
    let nested =
        tools.elements().into_iter().map(|tool| nested(tool).unwrap_or_else(|| tool.get().to_owned()));
    format!("[{}]", nested.collect::<Vec<_>>().join(","))
}

/// A choice of a flat function in chat's format.
pub(super) fn nested_choice(choice: Raw<'_>) -> Option<Vec<u8>> {
    (choice.kind() == Kind::Object).then(|| nested(choice)).flatten().map(String::into_bytes)
}

fn nested(flat: Raw<'_>) -> Option<String> {
    let members = flat.members();
    let typed = members.iter().find(|member| member.key == "type")?;
    let is_flat =
        typed.value.get() == "\"function\"" && !members.iter().any(|member| member.key == "function");
    if !is_flat {
        return None;
    }
    let mut function = ObjectWriter::new();
    for member in members.iter().filter(|member| member.key != "type") {
        function.raw_key(member.raw_key).extend(member.value.get().as_bytes());
    }
    let mut out = ObjectWriter::new();
    out.text("type", "function");
    out.key("function").extend(function.end());
    String::from_utf8(out.end()).ok()
}

/// The tools without `strict` and `additionalProperties: false`; `None` if they have neither.
pub(super) fn loose_tools(tools: Raw<'_>) -> Option<Vec<u8>> {
    let text = tools.get();
    // An escaped spelling of the two names contains a backslash.
    if !["\"strict\"", "\"additionalProperties\"", "\\u"].iter().any(|name| text.contains(name)) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    // The text was checked when the request was read, so the walk cannot fail.
    loosen(&mut tools.cursor(), Place::Tool, &mut out).ok()?;
    Some(out)
}

impl Edits {
    fn any(&self) -> bool {
        self.developer_as_system
            || self.tool_names
            || self.other_names
            || self.reasoning.is_some()
            || self.short_ids
            || self.no_empty_assistant
            || self.prefix_last
            || self.mark.is_some()
            || self.answer_notes
    }
}

/// The message with the edits, `None` if it needs none.
fn message(members: &[Member<'_>], role: &str, edits: &Edits, prefix: bool) -> Option<Vec<u8>> {
    let mut out = ObjectWriter::new();
    let mut changed = false;
    let drops_name = if role == "tool" { edits.tool_names } else { edits.other_names };
    for member in members {
        let value = member.value;
        let has = |name: &str| members.iter().any(|other| other.key == name);
        match member.key.as_ref() {
            "role" if edits.developer_as_system && role == "developer" => {
                out.raw_key(member.raw_key).extend(b"\"system\"");
                changed = true;
            }
            "name" if drops_name => changed = true,
            name @ ("reasoning_content" | "reasoning")
                if edits.reasoning.is_some_and(|field| field != name) =>
            {
                changed = true;
                if let Some(field) = edits.reasoning.filter(|field| !field.is_empty() && !has(field)) {
                    out.key(field).extend(value.get().as_bytes());
                }
            }
            "tool_call_id" if edits.short_ids => {
                changed |= push_id(value, out.raw_key(member.raw_key));
            }
            "tool_calls" if edits.short_ids || edits.mark.is_some() => {
                changed |= push_calls(value, edits, out.raw_key(member.raw_key));
            }
            name if edits.answer_notes && drops_note(role, name, value) => changed = true,
            // No provider of chat signs these.
            "thinking_blocks" if edits.mark.is_some() && is_marked(value) => changed = true,
            _ => out.raw_key(member.raw_key).extend(value.get().as_bytes()),
        }
    }
    if prefix {
        changed = true;
        out.key("prefix").extend(b"true");
    }
    changed.then(|| out.end())
}

/// Notes on an earlier answer, which no model reads, and members that the answer did not have.
fn drops_note(role: &str, name: &str, value: Raw<'_>) -> bool {
    role == "assistant" && ANSWER_NOTES.contains(&name) && (name == "annotations" || value.is_idle())
}

/// Whether any call had to be changed.
fn push_calls(calls: Raw<'_>, edits: &Edits, out: &mut Vec<u8>) -> bool {
    if calls.kind() != Kind::Array {
        out.extend(calls.get().as_bytes());
        return false;
    }
    let mut changed = false;
    out.push(b'[');
    for (index, call) in calls.elements().into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let mut edited = ObjectWriter::new();
        let mut call_changed = false;
        for member in call.members() {
            match member.key.as_ref() {
                "id" if edits.short_ids => {
                    call_changed |= push_id(member.value, edited.raw_key(member.raw_key));
                }
                "extra_content" | "thought_signature" if edits.mark.is_some() && is_marked(member.value) => {
                    call_changed = true;
                    // A signature of this provider is sent back to it without the tag; a signature of another provider
                    // is not sent.
                    let own = edits.mark.as_deref().and_then(|mark| bared(member.value, mark));
                    own.into_iter().for_each(|own| edited.raw_key(member.raw_key).extend(own.as_bytes()));
                }
                _ => edited.raw_key(member.raw_key).extend(member.value.get().as_bytes()),
            }
        }
        if call_changed {
            out.extend(edited.end());
        } else {
            out.extend(call.get().as_bytes());
        }
        changed |= call_changed;
    }
    out.push(b']');
    changed
}

/// Writes an id of nine letters or digits. Returns whether it had to be created.
fn push_id(id: Raw<'_>, out: &mut Vec<u8>) -> bool {
    match id.text() {
        Some(text) if !is_short(&text) => {
            json::push_text(out, &short_id(&text));
            true
        }
        _ => {
            out.extend(id.get().as_bytes());
            false
        }
    }
}

fn is_short(id: &str) -> bool {
    id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Always the same nine letters or digits for the same id, so that a call and its result match, in this request and in
/// the next of the conversation.
fn short_id(id: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digest = Sha256::digest(id.as_bytes());
    let mut rest = digest.iter().take(8).fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let mut short = String::with_capacity(9);
    for _ in 0..9 {
        let digit = usize::try_from(rest % 62).ok().and_then(|digit| DIGITS.get(digit)).copied();
        short.push(char::from(digit.unwrap_or(b'0')));
        rest /= 62;
    }
    short
}

fn role(members: &[Member<'_>]) -> String {
    let role = members.iter().rev().find(|member| member.key == "role");
    role.and_then(|member| member.value.text()).unwrap_or_default().into_owned()
}

/// Neither content nor calls.
fn is_empty(members: &[Member<'_>]) -> bool {
    !members.iter().any(|member| {
        matches!(member.key.as_ref(), "content" | "tool_calls" | "function_call") && !member.value.is_idle()
    })
}

/// Where in a list of tools a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A tool, its function, or the list of them.
    Tool,
    Schema,
    /// An object whose keys are chosen names, each with a schema.
    NamedSchemas,
}

/// Copies the next value without what xAI refuses. Recurses no deeper than the cursor allows.
fn loosen(cursor: &mut Cursor<'_>, place: Place, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let mut first = true;
    let mut separate = move |out: &mut Vec<u8>| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
    };
    match cursor.kind()? {
        Kind::Object => {
            out.push(b'{');
            cursor.object(|cursor, key| {
                let name = key.decode();
                let (drop, below) = match (place, name.as_ref()) {
                    (Place::Tool, "strict") => (true, None),
                    (Place::Tool, "function") => (false, Some(Place::Tool)),
                    (Place::Tool, "parameters") => (false, Some(Place::Schema)),
                    (Place::Tool, _) => (false, None),
                    (Place::Schema, "additionalProperties") => {
                        (cursor.kind()? == Kind::Bool, Some(Place::Schema))
                    }
                    (
                        Place::Schema,
                        "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions",
                    ) => (false, Some(Place::NamedSchemas)),
                    (Place::Schema, "enum" | "const" | "default" | "examples" | "required") => (false, None),
                    (Place::Schema | Place::NamedSchemas, _) => (false, Some(Place::Schema)),
                };
                let mark = cursor.mark();
                if drop {
                    let value = cursor.value()?.get();
                    if place == Place::Schema && value == "true" {
                        separate(out);
                        push_member(out, key.quoted(), value);
                    }
                    return Ok(());
                }
                separate(out);
                match below {
                    Some(below) => {
                        push_member(out, key.quoted(), "");
                        loosen(cursor, below, out)
                    }
                    None => {
                        cursor.value()?;
                        push_member(out, key.quoted(), cursor.taken(mark).get());
                        Ok(())
                    }
                }
            })?;
            out.push(b'}');
        }
        Kind::Array => {
            out.push(b'[');
            cursor.array(|cursor, _| {
                separate(out);
                loosen(cursor, place, out)
            })?;
            out.push(b']');
        }
        _ => out.extend(cursor.value()?.get().as_bytes()),
    }
    Ok(())
}

fn push_member(out: &mut Vec<u8>, quoted_key: &str, value: &str) {
    out.extend(quoted_key.as_bytes());
    out.push(b':');
    out.extend(value.as_bytes());
}
