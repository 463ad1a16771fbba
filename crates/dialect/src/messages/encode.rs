//! A Messages request for a provider that supports Messages: the bytes of every kept value as the client sent them,
//! with the model's name replaced. Blocks are changed only if they contain data of earlier answers from other providers
//! that this provider would not accept: reasoning, and ids of calls.

use super::{
    abilities::Abilities,
    ids,
    object::Object,
    read::MessagesRequest,
    turns::{has_our_citation, is_marked},
    write::{in_user_turn, list, text_block},
};
use crate::{
    Dialect,
    canonical::{Json, Signature},
    json::{self, Escaped, Kind, Member, ObjectWriter, Raw},
    target::{Encoded, Reading, Target, Unsupported},
};
use std::borrow::Cow;

/// The result for a block.
enum Verdict<'a> {
    Keep,
    Remove,
    /// The member of that name gets another string value.
    Restore(&'static str, Escaped<'a>),
    /// Without the member of that name.
    Strip(&'static str),
}

impl MessagesRequest<'_> {
    /// The body for `target`.
    pub fn encode(&self, target: &Target<'_>) -> Result<Encoded, Unsupported> {
        let abilities = Abilities::of(target);
        if self.head.facts.forced_tool && abilities.no_forced_tool {
            return Err(Unsupported::because("tool_choice", ": the model cannot be made to call a tool"));
        }
        let seats = self.system_turns && !abilities.system_turns;
        let mut out = ObjectWriter::with_capacity(self.size_bytes.saturating_add(128));
        let mut dropped: Vec<Cow<'static, str>> = Vec::new();
        for member in &self.members {
            let value = member.value.get();
            match member.key.as_ref() {
                "model" => json::push_text(out.raw_key(member.raw_key), target.upstream_model),
                "messages" if self.marked || seats => {
                    out.raw_key(member.raw_key).extend(messages(member.value, seats, target));
                }
                "temperature" | "top_p" | "top_k" if abilities.no_sampling => {
                    // 1 is the default.
                    if member.key == "top_k" || value.parse::<f64>() != Ok(1.0) {
                        dropped.push(member.key.clone().into_owned().into());
                    }
                }
                _ => out.raw_key(member.raw_key).extend(value.as_bytes()),
            }
        }
        if !self.members.iter().any(|member| member.key == "model") {
            out.text("model", target.upstream_model);
        }
        let reading = Reading { seed: target.seed.to_owned(), ..Reading::default() };
        Ok(Encoded { path: path(target), body: out.end(), dropped, asked_for_usage: false, reading })
    }
}

/// The path for Messages at a provider whose own dialect is another one; `None` where Messages is its own dialect.
pub(super) fn path(target: &Target<'_>) -> Option<Cow<'static, str>> {
    let elsewhere = target.provider.row().dialect != Dialect::Messages;
    elsewhere.then(|| target.provider.path(Dialect::Messages)).flatten().map(Cow::Borrowed)
}

/// A message in progress, and the blocks that follow its own.
struct Seated<'a> {
    /// `None`: only these blocks exist.
    message: Option<Raw<'a>>,
    of_user: bool,
    blocks: Vec<Vec<u8>>,
}

/// The messages with every block checked; a message without blocks is removed. `seats`: system text between them is
/// moved into the user message before it, else after it, for a model that has no system messages there.
fn messages(messages: Raw<'_>, seats: bool, target: &Target<'_>) -> Vec<u8> {
    let mut seated: Vec<Seated<'_>> = Vec::new();
    let mut waiting = Vec::new();
    for message in messages.elements() {
        let object = Object::of(message);
        let role = object.word("role");
        if seats && role == "system" {
            match seated.last_mut().filter(|last| last.of_user) {
                Some(last) => last.blocks.extend(instructions(&object)),
                None => waiting.extend(instructions(&object)),
            }
            continue;
        }
        let of_user = role == "user";
        let blocks = if of_user { std::mem::take(&mut waiting) } else { Vec::new() };
        seated.push(Seated { message: Some(message), of_user, blocks });
    }
    if !waiting.is_empty() {
        seated.push(Seated { message: None, of_user: true, blocks: waiting });
    }
    let kept: Vec<Cow<'_, [u8]>> = seated.into_iter().filter_map(|one| one.end(target)).collect();
    let mut out = Vec::with_capacity(messages.len());
    out.push(b'[');
    out.extend(kept.join(&b','));
    out.push(b']');
    out
}

/// The texts of a system message as blocks of a user message.
fn instructions(message: &Object<'_>) -> Vec<Vec<u8>> {
    let Some(content) = message.get("content") else { return Vec::new() };
    let texts = match content.kind() {
        Kind::String => vec![Escaped::of(content)],
        _ => content.elements().into_iter().map(|block| Object::of(block).text("text")).collect(),
    };
    let texts = texts.into_iter().flatten().filter(|text| !text.is_blank());
    texts.map(|text| text_block(&in_user_turn(&text)).end()).collect()
}

impl<'a> Seated<'a> {
    fn end(self, target: &Target<'_>) -> Option<Cow<'a, [u8]>> {
        let message = self.message.and_then(|raw| message(raw, target));
        if self.blocks.is_empty() {
            return message;
        }
        let Some(message) = message else {
            let mut out = ObjectWriter::new();
            out.text("role", "user");
            list(&self.blocks, out.key("content"));
            return Some(Cow::Owned(out.end()));
        };
        let text = std::str::from_utf8(&message).ok()?;
        Some(Cow::Owned(with_blocks(Json::parse(text.to_owned()).ok()?.raw(), self.blocks)))
    }
}

/// A message with more blocks after its own.
fn with_blocks(message: Raw<'_>, more: Vec<Vec<u8>>) -> Vec<u8> {
    let mut out = ObjectWriter::with_capacity(message.len());
    for member in message.members() {
        let slot = out.raw_key(member.raw_key);
        if member.key != "content" {
            slot.extend(member.value.get().as_bytes());
            continue;
        }
        let mut blocks: Vec<Vec<u8>> = match Escaped::of(member.value) {
            Some(text) if text.is_blank() => Vec::new(),
            Some(text) => vec![text_block(&text).end()],
            None => member.value.elements().into_iter().map(|block| block.get().into()).collect(),
        };
        blocks.extend(more.iter().cloned());
        list(&blocks, slot);
    }
    out.end()
}

fn message<'a>(message: Raw<'a>, target: &Target<'_>) -> Option<Cow<'a, [u8]>> {
    let unchanged = Cow::Borrowed(message.get().as_bytes());
    let object = Object::of(message);
    let blocks = object.get("content").map(Raw::elements).unwrap_or_default();
    let verdicts: Vec<Verdict<'_>> = blocks.iter().map(|block| judge(&Object::of(*block), target)).collect();
    if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Keep)) {
        return Some(unchanged);
    }
    let kept: Vec<Vec<u8>> =
        blocks.iter().zip(verdicts).filter_map(|(block, verdict)| rewritten(*block, verdict)).collect();
    if kept.is_empty() {
        return None;
    }
    let mut out = ObjectWriter::with_capacity(message.len());
    for member in &object.members {
        let slot = out.raw_key(member.raw_key);
        if member.key == "content" {
            slot.push(b'[');
            slot.extend(kept.join(&b','));
            slot.push(b']');
        } else {
            slot.extend(member.value.get().as_bytes());
        }
    }
    Some(Cow::Owned(out.end()))
}

fn judge<'a>(block: &Object<'a>, target: &Target<'_>) -> Verdict<'a> {
    let name = match block.word("type").as_ref() {
        "tool_use" => return id(block, "id"),
        "tool_result" => return id(block, "tool_use_id"),
        "thinking" => "signature",
        "redacted_thinking" => "data",
        "text" if has_our_citation(block) => {
            // A text that only carried sources has no content, and an empty text is refused.
            let is_blank = block.text("text").is_none_or(|text| text.is_blank());
            return if is_blank { Verdict::Remove } else { Verdict::Strip("citations") };
        }
        _ => return Verdict::Keep,
    };
    let Some(value) = block.text(name).filter(is_marked) else { return Verdict::Keep };
    let signature = Signature::new(value, Dialect::Messages);
    match signature.bare(target.provider, target.upstream_model, Dialect::Messages) {
        Some(bare) => Verdict::Restore(name, bare.into_owned()),
        None => Verdict::Remove,
    }
}

/// An id with characters of another provider is converted into one of this format.
fn id<'a>(block: &Object<'a>, name: &'static str) -> Verdict<'a> {
    match block.text(name) {
        Some(id) if !ids::is_accepted(&id.decode()) => {
            Verdict::Restore(name, Escaped::from_inner(ids::accepted(&id)))
        }
        _ => Verdict::Keep,
    }
}

fn rewritten(block: Raw<'_>, verdict: Verdict<'_>) -> Option<Vec<u8>> {
    let (name, value) = match verdict {
        Verdict::Keep => return Some(block.get().into()),
        Verdict::Remove => return None,
        Verdict::Restore(name, value) => (name, Some(value)),
        Verdict::Strip(name) => (name, None),
    };
    let mut out = ObjectWriter::with_capacity(block.len());
    for Member { key, raw_key, value: as_it_was } in block.members() {
        match (&value, key == name) {
            (_, false) => out.raw_key(raw_key).extend(as_it_was.get().as_bytes()),
            (Some(value), true) => value.push_quoted(out.raw_key(raw_key)),
            (None, true) => {}
        }
    }
    Some(out.end())
}
