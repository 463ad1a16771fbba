//! The messages of a chat request as turns: roles, calls and their results are matched, and consecutive results become
//! one turn. The names of undocumented members are kept, so that a translation can list what it left out.

use super::parts_in;
use crate::{
    Dialect, Unsupported,
    canonical::{Cache, Part, Place, Reasoning, Role, Signature, ToolCall, ToolResult, Turn},
    json::{Escaped, Kind, Member, Raw},
    notes::Notes,
};
use std::{collections::HashMap, iter::Peekable};

/// Separates a call's id from Gemini's signature, for clients of gateways that send the signature in the id.
const THOUGHT: &str = "__thought__";

/// The members of one message that are used.
#[derive(Default)]
struct Message<'a> {
    index: usize,
    name: Option<Raw<'a>>,
    content: Option<Raw<'a>>,
    refusal: Option<Raw<'a>>,
    reasoning_content: Option<Raw<'a>>,
    reasoning: Option<Raw<'a>>,
    thinking_blocks: Option<Raw<'a>>,
    tool_calls: Option<Raw<'a>>,
    function_call: Option<Raw<'a>>,
    tool_call_id: Option<Raw<'a>>,
    is_error: bool,
    cache: Option<Cache>,
}

/// The turns of a conversation that was checked when it was read.
pub(super) fn read<'a>(messages: Raw<'a>, notes: &mut Notes<'a>) -> Result<Vec<Turn<'a>>, Unsupported> {
    let elements = messages.elements();
    let mut turns: Vec<Turn<'a>> = Vec::with_capacity(elements.len());
    let mut calls = Calls::default();
    // The last turn is one of results, which the next result joins.
    let mut gathering = false;
    for (index, element) in elements.into_iter().enumerate() {
        let members = element.members();
        let role = object_of(&members, "role").and_then(Raw::text).unwrap_or_default();
        let message = Message::read(index, &members, notes)?;
        let role = match role.as_ref() {
            "tool" | "function" => {
                let part = Part::ToolResult(message.result(role == "function", &mut calls, &turns, notes)?);
                match turns.last_mut().filter(|_| gathering) {
                    Some(turn) => turn.parts.push(part),
                    None => turns.push(Turn { role: Role::User, name: None, parts: vec![part] }),
                }
                gathering = true;
                continue;
            }
            "system" => Role::System,
            "developer" => Role::Developer,
            "assistant" => Role::Assistant,
            _ => Role::User,
        };
        gathering = false;
        turns.push(message.turn(role, notes)?);
    }
    Ok(turns)
}

/// The last member of that name that is not null.
pub(super) fn object_of<'a>(members: &[Member<'a>], key: &str) -> Option<Raw<'a>> {
    let member = members.iter().rev().find(|member| member.key == key)?;
    (!member.value.is_null()).then_some(member.value)
}

/// Anthropic's marker, which clients of other hosts use as well.
pub(super) fn cache_control(raw: Raw<'_>) -> Option<Cache> {
    if raw.kind() != Kind::Object {
        return None;
    }
    let hour = raw.member("ttl").is_some_and(|ttl| ttl.get() == "\"1h\"");
    Some(if hour { Cache::Hour } else { Cache::Short })
}

/// The position of a block of reasoning among text and calls.
fn place(part: &Part<'_>) -> Place {
    match part {
        Part::Reasoning(Reasoning { signature: Some(signature), .. }) => signature.place(),
        _ => Place::default(),
    }
}

/// Blocks of reasoning in the order of their positions.
type Thoughts<'a> = Peekable<std::vec::IntoIter<(Place, Part<'a>)>>;

/// Takes the reasoning at that position or before.
fn until<'a>(thoughts: &mut Thoughts<'a>, place: Place) -> Vec<Part<'a>> {
    let mut taken = Vec::new();
    while let Some((_, thought)) = thoughts.next_if(|(stood, _)| *stood <= place) {
        taken.push(thought);
    }
    taken
}

/// The last call of each name, for results without an id. Every turn is read once, for any number of results.
#[derive(Default)]
struct Calls<'a> {
    ids: HashMap<String, Escaped<'a>>,
    turns_read: usize,
}

impl<'a> Calls<'a> {
    fn last(&mut self, turns: &[Turn<'a>], name: &Escaped<'_>) -> Option<Escaped<'a>> {
        let parts = turns.iter().skip(self.turns_read).flat_map(|turn| &turn.parts);
        for part in parts {
            crate::cost::step(1);
            if let Part::ToolCall(call) = part {
                self.ids.insert(call.name.decode().into_owned(), call.id.clone());
            }
        }
        self.turns_read = turns.len();
        self.ids.get(name.decode().as_ref()).cloned()
    }
}

impl<'a> Message<'a> {
    fn read(index: usize, members: &[Member<'a>], notes: &mut Notes<'a>) -> Result<Self, Unsupported> {
        let mut message = Message { index, ..Message::default() };
        for member in members.iter().filter(|member| !member.value.is_null()) {
            let value = member.value;
            let place = match member.key.as_ref() {
                // Notes on an earlier answer, which no model reads.
                "role" | "annotations" => continue,
                "name" => &mut message.name,
                "content" => &mut message.content,
                "refusal" => &mut message.refusal,
                "reasoning_content" if value.kind() == Kind::String => &mut message.reasoning_content,
                "reasoning" if value.kind() == Kind::String => &mut message.reasoning,
                "thinking_blocks" if value.kind() == Kind::Array => &mut message.thinking_blocks,
                "tool_calls" => &mut message.tool_calls,
                "function_call" => &mut message.function_call,
                "tool_call_id" => &mut message.tool_call_id,
                "is_error" => {
                    message.is_error = value.get() == "true";
                    continue;
                }
                "cache_control" => {
                    message.cache = cache_control(value);
                    continue;
                }
                "audio" => return Err(Unsupported::field(format!("messages[{index}].audio"))),
                _ => {
                    notes.add("messages[]", member);
                    continue;
                }
            };
            *place = Some(value);
        }
        Ok(message)
    }

    fn turn(&self, role: Role, notes: &mut Notes<'a>) -> Result<Turn<'a>, Unsupported> {
        let mut parts = Vec::new();
        let calls = self.tool_calls.map(Raw::elements).unwrap_or_default();
        let thoughts = match role {
            Role::Assistant => self.reasoning(calls.len(), notes),
            _ => Vec::new(),
        };
        let mut thoughts = thoughts.into_iter().peekable();
        parts.extend(until(&mut thoughts, Place::default()));
        let content = self.content(notes)?;
        let blank = |part: &Part<'_>| matches!(part, Part::Text { text, .. } if text.is_empty());
        parts.extend(content.into_iter().filter(|part| !blank(part)));
        if let Some(refusal) = self.refusal.and_then(Escaped::of).filter(|text| !text.is_empty()) {
            parts.push(Part::Refusal(refusal));
        }
        if role == Role::Assistant {
            self.calls(calls, &mut parts, thoughts)?;
        }
        if parts.is_empty() {
            parts.push(Part::Text { text: Escaped::default(), cache: None });
        }
        self.mark(&mut parts);
        Ok(Turn { role, name: self.name.and_then(Escaped::of), parts })
    }

    fn content(&self, notes: &mut Notes<'a>) -> Result<Vec<Part<'a>>, Unsupported> {
        match self.content {
            Some(content) => parts_in::read(content, self.index, notes),
            None => Ok(Vec::new()),
        }
    }

    /// The marker of a whole message applies to its last part.
    fn mark(&self, parts: &mut [Part<'a>]) {
        let place = parts.iter_mut().rev().find_map(|part| match part {
            Part::Text { cache, .. } | Part::Image { cache, .. } | Part::File { cache, .. } => Some(cache),
            Part::ToolCall(call) => Some(&mut call.cache),
            Part::ToolResult(result) => Some(&mut result.cache),
            Part::Audio { .. } | Part::Refusal(_) | Part::Reasoning(_) => None,
        });
        if let (Some(place @ None), Some(_)) = (place, self.cache) {
            *place = self.cache;
        }
    }

    /// Blocks contain the same text as the plain field, and the provider's signature. In the order of their positions.
    /// Reasoning after the last call has no place here, and then the other blocks have none either: their signatures
    /// would not match.
    fn reasoning(&self, calls: usize, notes: &mut Notes<'a>) -> Vec<(Place, Part<'a>)> {
        let blocks = self.thinking_blocks.map(Raw::elements).unwrap_or_default();
        let mut thoughts = Vec::with_capacity(blocks.len());
        for block in blocks {
            let members = block.members();
            match parts_in::thinking(&members) {
                Some(part) => thoughts.push((place(&part), part)),
                None => members.iter().for_each(|member| notes.add("messages[].thinking_blocks[]", member)),
            }
        }
        if thoughts.iter().any(|(place, _)| place.calls > 0 && place.calls >= calls) {
            return Vec::new();
        }
        thoughts.sort_by_key(|(place, _)| *place);
        if thoughts.is_empty() {
            let said = [self.reasoning_content, self.reasoning].into_iter().flatten().filter_map(Escaped::of);
            if let Some(text) = said.into_iter().find(|text| !text.is_empty()) {
                let part = Part::Reasoning(Reasoning { text, signature: None, redacted: false });
                thoughts.push((Place::default(), part));
            }
        }
        thoughts
    }

    /// The calls, with the reasoning between them.
    fn calls(
        &self,
        calls: Vec<Raw<'a>>,
        parts: &mut Vec<Part<'a>>,
        mut thoughts: Thoughts<'a>,
    ) -> Result<(), Unsupported> {
        for (number, call) in calls.into_iter().enumerate() {
            parts.extend(until(&mut thoughts, Place { calls: number, after_text: true }));
            parts.push(Part::ToolCall(tool_call(call, self.index, number)?));
        }
        parts.extend(thoughts.map(|(_, thought)| thought));
        if let Some(call) = self.function_call {
            let members = call.members();
            let text = |key: &str| object_of(&members, key).and_then(Escaped::of);
            let missing = || Unsupported::field(format!("messages[{}].function_call.name", self.index));
            parts.push(Part::ToolCall(ToolCall {
                id: Escaped::from_inner(format!("call_{}", self.index)),
                name: text("name").ok_or_else(missing)?,
                arguments: text("arguments").unwrap_or_default(),
                signature: None,
                cache: None,
            }));
        }
        Ok(())
    }

    fn result(
        &self,
        legacy: bool,
        calls: &mut Calls<'a>,
        turns: &[Turn<'a>],
        notes: &mut Notes<'a>,
    ) -> Result<ToolResult<'a>, Unsupported> {
        let index = self.index;
        let named = self.name.and_then(Escaped::of);
        let call_id = match (self.tool_call_id.and_then(Escaped::of), legacy) {
            (Some(id), _) => split_id(id).0,
            (None, true) => named
                .and_then(|name| calls.last(turns, &name))
                .ok_or_else(|| Unsupported::because(format!("messages[{index}]"), ORPHAN))?,
            (None, false) => {
                return Err(Unsupported::because(
                    format!("messages[{index}].tool_call_id"),
                    ": it is missing",
                ));
            }
        };
        let content = self.content(notes)?;
        let fits =
            |part: &Part<'_>| matches!(part, Part::Text { .. } | Part::Image { .. } | Part::File { .. });
        if let Some(at) = content.iter().position(|part| !fits(part)) {
            return Err(Unsupported::field(format!("messages[{index}].content[{at}].type")));
        }
        Ok(ToolResult { call_id, content, is_error: self.is_error, cache: self.cache })
    }
}

/// A result that belongs to no call.
pub(super) const ORPHAN: &str = ": a tool result needs the call it answers in an earlier message";

fn tool_call<'a>(raw: Raw<'a>, message: usize, number: usize) -> Result<ToolCall<'a>, Unsupported> {
    let members = raw.members();
    let path = |field: &str| format!("messages[{message}].tool_calls[{number}].{field}");
    if object_of(&members, "type").is_some_and(|typed| typed.get() != "\"function\"") {
        return Err(Unsupported::field(path("type")));
    }
    let Some(function) = object_of(&members, "function") else {
        return Err(Unsupported::because(path("function"), ": it is missing"));
    };
    let function = function.members();
    let id = object_of(&members, "id").and_then(Escaped::of);
    let (id, in_id) = id.map_or((None, None), |id| {
        let (id, signature) = split_id(id);
        (Some(id), signature)
    });
    let google = object_of(&members, "extra_content").and_then(|extra| extra.member("google"));
    let signature = google
        .and_then(|google| google.member("thought_signature"))
        .or_else(|| object_of(&members, "thought_signature"))
        .and_then(Escaped::of)
        .or(in_id)
        .filter(|value| !value.is_empty());
    Ok(ToolCall {
        id: id.unwrap_or_else(|| Escaped::from_inner(format!("call_{message}_{number}"))),
        name: object_of(&function, "name").and_then(Escaped::of).unwrap_or_default(),
        arguments: object_of(&function, "arguments").and_then(Escaped::of).unwrap_or_default(),
        signature: signature.map(|value| Signature::new(value, Dialect::Gemini)),
        cache: object_of(&members, "cache_control").and_then(cache_control),
    })
}

/// The id, and the signature in it.
fn split_id(id: Escaped<'_>) -> (Escaped<'_>, Option<Escaped<'_>>) {
    let cut = id.inner().split_once(THOUGHT).map(|(id, signature)| (id.to_owned(), signature.to_owned()));
    match cut {
        Some((id, signature)) => (Escaped::from_inner(id), Some(Escaped::from_inner(signature))),
        None => (id, None),
    }
}
