//! The walk over `input`: items become turns, and what the model will read is measured. An item that only providers of
//! Responses understand is recorded, so that it is sent to no others. Must never drop an item without recording it.

mod client_run;

use super::{
    REDACTED,
    client_tools::ClientTool,
    is_made_here,
    members::expect,
    tools::{self, Offered},
};
use crate::{
    Dialect,
    canonical::{Cache, MARK, Part, Reasoning, Role, Signature, Source, ToolCall, ToolResult, Turn},
    json::{Escaped, Kind, Member, Raw},
    notes::Notes,
    request::{Facts, Invalid, Limits},
};

/// What a provider adds around each item (role, separators), in bytes, so that the bytes stay above the tokens.
const ITEM_OVERHEAD_BYTES: usize = 8;

/// The conversation so far.
#[derive(Default)]
pub(super) struct Conversation<'a> {
    pub turns: Vec<Turn<'a>>,
    /// Path of the first item that only Responses can express.
    pub native: Option<String>,
    /// An item refers to something that the provider stores.
    pub needs_state: bool,
    /// Tools that an item adds to those of the request.
    pub offered: Offered<'a>,
    /// Members of items that no other wire format can express.
    pub notes: Notes<'a>,
    /// A member of an item that is not allowed on a shared account.
    pub account_field: Option<&'static str>,
    last: Last,
}

/// The members of the items that become turns; `id` and `status` have no meaning for another provider.
const READ: &[(&str, &[&str])] = &[
    ("message", &["type", "id", "status", "role", "content"]),
    ("function_call", &["type", "id", "status", "call_id", "name", "namespace", "arguments"]),
    ("function_call_output", &["type", "id", "status", "call_id", "output"]),
    ("reasoning", &["type", "id", "status", "summary", "content", "encrypted_content"]),
];

/// The kind of the last part: one turn of the model is several items.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Last {
    #[default]
    Other,
    AssistantMessage,
    /// Reasoning or a call.
    AssistantItem,
    Result,
}

impl<'a> Conversation<'a> {
    /// Reads `input`.
    pub fn read(&mut self, input: Raw<'a>, limits: &Limits, facts: &mut Facts) -> Result<(), Invalid> {
        match input.kind() {
            Kind::String => {
                let text = Escaped::of(input).unwrap_or_default();
                facts.messages = 1;
                facts.add_bytes(text.inner().len().saturating_add(ITEM_OVERHEAD_BYTES));
                self.turns.push(turn(Role::User, vec![Part::Text { text, cache: None }]));
                Ok(())
            }
            Kind::Array => {
                let items = input.elements();
                if items.len() > limits.messages_max {
                    let most = limits.messages_max;
                    return Err(Invalid::at("input", format!("`input` may have at most {most} entries")));
                }
                items
                    .into_iter()
                    .enumerate()
                    .try_for_each(|(index, item)| self.item(item, index, limits, facts))
            }
            kind => Err(Invalid::kind("input", "a string or an array of items".into(), kind)),
        }
    }

    fn item(
        &mut self,
        item: Raw<'a>,
        index: usize,
        limits: &Limits,
        facts: &mut Facts,
    ) -> Result<(), Invalid> {
        let path = format!("input[{index}]");
        expect(item, Kind::Object, &path)?;
        let members = item.members();
        facts.messages = facts.messages.saturating_add(1);
        facts.add_bytes(ITEM_OVERHEAD_BYTES);
        let typed = string(&members, "type", &path)?.map(|typed| typed.decode().into_owned());
        let has = |key: &str| members.iter().any(|member| member.key == key);
        let typed = match typed {
            Some(typed) => typed,
            None if has("role") => "message".into(),
            None if has("id") => "item_reference".into(),
            None => return Err(missing(&path, "type")),
        };
        self.note_unread(&typed, &members);
        match typed.as_str() {
            "message" => self.message(&members, &path, facts),
            "function_call" => {
                let call = ToolCall {
                    id: needed(&members, "call_id", &path)?,
                    name: tools::name(&members, &path)?,
                    arguments: needed(&members, "arguments", &path)?,
                    signature: None,
                    cache: None,
                };
                facts.add_bytes(item.len());
                self.add_assistant_item(Part::ToolCall(call));
                Ok(())
            }
            "function_call_output" => self.result(&members, &path, facts),
            "reasoning" => {
                facts.add_bytes(item.len());
                // Without content it means the item that the provider has stored under that id.
                let present = |key: &str| member(&members, key).is_some_and(|value| !value.is_idle());
                if present("id") && !present("encrypted_content") && !is_gateway_id(&members) {
                    self.account_field = self.account_field.or(Some("input[].id"));
                }
                let reasoning = reasoning(&members, &path)?;
                self.add_assistant_item(Part::Reasoning(reasoning));
                Ok(())
            }
            "image_generation_call" if is_gateway_id(&members) => {
                self.add_assistant_item(picture(&members, &path, facts)?);
                Ok(())
            }
            "additional_tools" => {
                facts.add_bytes(item.len());
                let tools = member(&members, "tools").ok_or_else(|| missing(&path, "tools"))?;
                self.offered.read(tools, &format!("{path}.tools"), limits, facts)?;
                self.last = Last::Other;
                Ok(())
            }
            // The results are in the answer that followed; another provider has no place for the rest.
            "web_search_call" => {
                facts.add_foreign(item);
                self.notes.add_named("input[].web_search_call", item);
                Ok(())
            }
            other => {
                if let Some(kind) = ClientTool::of_call(other, &members) {
                    return self.client_call(kind, item, &members, &path, facts);
                }
                if let Some(kind) = ClientTool::of_result(other, &members) {
                    return self.client_result(kind, item, &members, &path, limits, facts);
                }
                self.needs_state |= other == "item_reference";
                // The tools that a search has found may be called from now on.
                if let Some(tools) = member(&members, "tools").filter(|_| other == "tool_search_output") {
                    self.offered.note_fees(tools, &format!("{path}.tools"), limits)?;
                }
                if other == "item_reference" {
                    self.account_field = self.account_field.or(Some("input[].id"));
                }
                facts.add_foreign(item);
                self.note_native(path);
                Ok(())
            }
        }
    }

    fn message(&mut self, members: &[Member<'a>], path: &str, facts: &mut Facts) -> Result<(), Invalid> {
        let role = needed(members, "role", path)?;
        let role = match role.decode().as_ref() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            "developer" => Role::Developer,
            _ => {
                let param = format!("{path}.role");
                let message = format!("`{param}` must be user, assistant, system or developer");
                return Err(Invalid::at(&param, message));
            }
        };
        let content = member(members, "content").ok_or_else(|| missing(path, "content"))?;
        let parts = self.content(content, &format!("{path}.content"), facts)?;
        match self.turns.last_mut() {
            Some(last) if role == Role::Assistant && self.last == Last::AssistantItem => {
                last.parts.extend(parts)
            }
            _ => self.turns.push(turn(role, parts)),
        }
        self.last = if role == Role::Assistant { Last::AssistantMessage } else { Last::Other };
        Ok(())
    }

    fn result(&mut self, members: &[Member<'a>], path: &str, facts: &mut Facts) -> Result<(), Invalid> {
        let call_id = needed(members, "call_id", path)?;
        facts.add_bytes(call_id.inner().len());
        let output = member(members, "output").ok_or_else(|| missing(path, "output"))?;
        let content = self.content(output, &format!("{path}.output"), facts)?;
        self.add_result(ToolResult { call_id, content, is_error: false, cache: None });
        Ok(())
    }

    fn add_result(&mut self, result: ToolResult<'a>) {
        let result = Part::ToolResult(result);
        match self.turns.last_mut() {
            Some(last) if self.last == Last::Result => last.parts.push(result),
            _ => self.turns.push(turn(Role::User, vec![result])),
        }
        self.last = Last::Result;
    }

    /// Text, or a list of parts.
    fn content(&mut self, content: Raw<'a>, path: &str, facts: &mut Facts) -> Result<Vec<Part<'a>>, Invalid> {
        match content.kind() {
            Kind::String => {
                let text = Escaped::of(content).unwrap_or_default();
                facts.add_bytes(text.inner().len());
                Ok(vec![Part::Text { text, cache: None }])
            }
            Kind::Array => {
                let mut parts = Vec::new();
                for (index, part) in content.elements().into_iter().enumerate() {
                    parts.extend(self.part(part, format!("{path}[{index}]"), facts)?);
                }
                Ok(parts)
            }
            kind => Err(Invalid::kind(path, "a string or an array of parts".into(), kind)),
        }
    }

    fn part(&mut self, part: Raw<'a>, path: String, facts: &mut Facts) -> Result<Option<Part<'a>>, Invalid> {
        facts.add_part("input")?;
        expect(part, Kind::Object, &path)?;
        let members = part.members();
        let typed = needed(&members, "type", &path)?;
        Ok(Some(match typed.decode().as_ref() {
            "input_text" | "output_text" | "text" => {
                let text = needed(&members, "text", &path)?;
                facts.add_bytes(text.inner().len());
                Part::Text { text, cache: cache(&members) }
            }
            "refusal" => {
                let text = needed(&members, "refusal", &path)?;
                facts.add_bytes(text.inner().len());
                Part::Refusal(text)
            }
            "input_image" => {
                facts.images = facts.images.saturating_add(1);
                let source = image(&members, &path, facts)?;
                Part::Image { source, detail: string(&members, "detail", &path)?, cache: cache(&members) }
            }
            "input_file" => {
                facts.files = facts.files.saturating_add(1);
                file(&members, &path, facts)?
            }
            "input_audio" => {
                let audio = member(&members, "input_audio").ok_or_else(|| missing(&path, "input_audio"))?;
                let path = format!("{path}.input_audio");
                expect(audio, Kind::Object, &path)?;
                let members = audio.members();
                let data = needed(&members, "data", &path)?;
                facts.add_media("audio/", data.inner().len());
                Part::Audio { data, format: needed(&members, "format", &path)? }
            }
            _ => {
                facts.add_foreign(part);
                self.note_native(path);
                return Ok(None);
            }
        }))
    }

    fn add_assistant_item(&mut self, part: Part<'a>) {
        let goes_on = matches!(self.last, Last::AssistantItem | Last::AssistantMessage);
        match self.turns.last_mut() {
            Some(last) if goes_on => last.parts.push(part),
            _ => self.turns.push(turn(Role::Assistant, vec![part])),
        }
        self.last = Last::AssistantItem;
    }

    /// Records the members of an item that its reader skips.
    fn note_unread(&mut self, typed: &str, members: &[Member<'a>]) {
        let Some((_, read)) = READ.iter().find(|(kind, _)| *kind == typed) else { return };
        for member in members.iter().filter(|member| !read.contains(&member.key.as_ref())) {
            self.notes.add("input[]", member);
        }
    }

    fn note_native(&mut self, path: String) {
        self.native.get_or_insert(path);
        self.last = Last::Other;
    }
}

pub(super) fn is_gateway_id(members: &[Member<'_>]) -> bool {
    member(members, "id").and_then(Raw::text).is_some_and(|id| is_made_here(&id))
}

/// An image that we wrote in the form of OpenAI's drawing tool.
fn picture<'a>(members: &[Member<'a>], path: &str, facts: &mut Facts) -> Result<Part<'a>, Invalid> {
    facts.images = facts.images.saturating_add(1);
    let data = needed(members, "result", path)?;
    let media_type = drawn_as(members);
    facts.add_media(&media_type.decode(), data.inner().len());
    Ok(Part::Image { source: Source::Data { media_type, data }, detail: None, cache: None })
}

/// The type of an image that we wrote.
pub(super) fn drawn_as(members: &[Member<'_>]) -> Escaped<'static> {
    let format = member(members, "output_format").and_then(Raw::text).unwrap_or("png".into());
    if format.contains('/') {
        Escaped::from_text(&format)
    } else {
        Escaped::from_text(&format!("image/{format}"))
    }
}

/// A signature is the content of `encrypted_content`, with our tag or as the provider made it.
fn reasoning<'a>(members: &[Member<'a>], path: &str) -> Result<Reasoning<'a>, Invalid> {
    let mut text = Escaped::default();
    for key in ["summary", "content"] {
        let Some(parts) = member(members, key) else { continue };
        let path = format!("{path}.{key}");
        expect(parts, Kind::Array, &path)?;
        for (index, part) in parts.elements().into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            expect(part, Kind::Object, &path)?;
            let piece = needed(&part.members(), "text", &path)?;
            if !text.is_empty() && !piece.is_empty() {
                text.push(&Escaped::from_inner("\\n\\n"));
            }
            if text.is_empty() { text = piece } else { text.push(&piece) }
        }
    }
    let value = inner(members, "encrypted_content", path)?;
    let ours = value.and_then(|value| value.strip_prefix(REDACTED)).filter(|rest| rest.starts_with(MARK));
    let signature =
        ours.or(value).map(|value| Signature::new(Escaped::from_inner(value), Dialect::Responses));
    let redacted = ours.is_some();
    Ok(Reasoning { text, signature, redacted })
}

fn image<'a>(members: &[Member<'a>], path: &str, facts: &mut Facts) -> Result<Source<'a>, Invalid> {
    if let Some(url) = inner(members, "image_url", path)? {
        return Ok(source(url, facts));
    }
    match string(members, "file_id", path)? {
        Some(id) => Ok(Source::Id { id, dialect: Dialect::Responses }),
        None => Err(missing(path, "image_url")),
    }
}

fn file<'a>(members: &[Member<'a>], path: &str, facts: &mut Facts) -> Result<Part<'a>, Invalid> {
    let name = string(members, "filename", path)?;
    let source = if let Some(data) = inner(members, "file_data", path)? {
        match embedded(data, facts) {
            Some(source) => source,
            // Without the prefix of a data URL it is plain base64.
            None => {
                let data = Escaped::from_inner(data);
                facts.add_media("", data.inner().len());
                Source::Data { media_type: Escaped::from_text("application/pdf"), data }
            }
        }
    } else if let Some(url) = inner(members, "file_url", path)? {
        source(url, facts)
    } else if let Some(id) = string(members, "file_id", path)? {
        Source::Id { id, dialect: Dialect::Responses }
    } else {
        return Err(missing(path, "file_data"));
    };
    Ok(Part::File { source, name, cache: cache(members) })
}

/// The place that a URL or a data URL states for the medium.
fn source<'a>(url: &'a str, facts: &mut Facts) -> Source<'a> {
    embedded(url, facts).unwrap_or_else(|| {
        let bytes = url.len();
        let url = Escaped::from_inner(url);
        facts.add_url(&url.decode(), bytes);
        Source::Url(url)
    })
}

/// The content of a data URL.
fn embedded<'a>(url: &'a str, facts: &mut Facts) -> Option<Source<'a>> {
    let (media_type, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    facts.add_media(media_type, data.len());
    let (media_type, data) = (Escaped::from_inner(media_type), Escaped::from_inner(data));
    Some(Source::Data { media_type, data })
}

/// OpenAI marks a part up to which it should cache; half an hour is its shortest time.
fn cache(members: &[Member<'_>]) -> Option<Cache> {
    let mark = member(members, "prompt_cache_breakpoint")?;
    let ttl = mark.member("ttl").and_then(Raw::text);
    Some(if ttl.as_deref() == Some("12h") { Cache::Hour } else { Cache::Short })
}

fn turn(role: Role, parts: Vec<Part<'_>>) -> Turn<'_> {
    Turn { role, name: None, parts }
}

/// The last member of that name; null counts as absent.
pub(super) fn member<'a>(members: &[Member<'a>], key: &str) -> Option<Raw<'a>> {
    let found = members.iter().rev().find(|member| member.key == key);
    found.map(|member| member.value).filter(|value| !value.is_null())
}

pub(super) fn string<'a>(
    members: &[Member<'a>],
    key: &str,
    path: &str,
) -> Result<Option<Escaped<'a>>, Invalid> {
    Ok(inner(members, key, path)?.map(Escaped::from_inner))
}

/// The inside of a string, as written.
fn inner<'a>(members: &[Member<'a>], key: &str, path: &str) -> Result<Option<&'a str>, Invalid> {
    let Some(value) = member(members, key) else { return Ok(None) };
    expect(value, Kind::String, &format!("{path}.{key}"))?;
    Ok(value.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')))
}

pub(super) fn needed<'a>(members: &[Member<'a>], key: &str, path: &str) -> Result<Escaped<'a>, Invalid> {
    string(members, key, path)?.ok_or_else(|| missing(path, key))
}

fn missing(path: &str, key: &str) -> Invalid {
    let param = format!("{path}.{key}");
    let message = format!("`{param}` is missing");
    Invalid::at(&param, message)
}
