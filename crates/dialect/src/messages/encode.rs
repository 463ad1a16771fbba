//! A Messages request for a provider that speaks Messages: every kept value's bytes as the client sent them, the
//! model's name replaced. Blocks are touched only where they carry what earlier answers of other providers brought
//! and this one would not take back: thinking, and ids of calls.

use super::{
    abilities::Abilities,
    ids,
    object::Object,
    read::MessagesRequest,
    turns::{has_our_citation, is_marked},
};
use crate::{
    Dialect,
    canonical::Signature,
    json::{self, Escaped, Member, ObjectWriter, Raw},
    target::{Encoded, Reading, Target, Unsupported},
};
use std::borrow::Cow;

/// What becomes of a block.
enum Verdict<'a> {
    Keep,
    Remove,
    /// The member of that name gets another string.
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
        let mut out = ObjectWriter::with_capacity(self.size_bytes.saturating_add(128));
        let mut dropped: Vec<Cow<'static, str>> = Vec::new();
        for member in &self.members {
            let value = member.value.get();
            match member.key.as_ref() {
                "model" => json::push_text(out.raw_key(member.raw_key), target.upstream_model),
                "messages" if self.marked => {
                    out.raw_key(member.raw_key).extend(messages(member.value, target));
                }
                "temperature" | "top_p" | "top_k" if abilities.no_sampling => {
                    // 1 is what it uses anyway.
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

/// Where the provider takes Messages, unless that is where it takes everything.
pub(super) fn path(target: &Target<'_>) -> Option<Cow<'static, str>> {
    let elsewhere = target.provider.row().dialect != Dialect::Messages;
    elsewhere.then(|| target.provider.path(Dialect::Messages)).flatten().map(Cow::Borrowed)
}

/// The messages with every block judged; one that has nothing left is gone.
fn messages(messages: Raw<'_>, target: &Target<'_>) -> Vec<u8> {
    let kept: Vec<Cow<'_, [u8]>> =
        messages.elements().into_iter().filter_map(|one| message(one, target)).collect();
    let mut out = Vec::with_capacity(messages.len());
    out.push(b'[');
    out.extend(kept.join(&b','));
    out.push(b']');
    out
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
        "text" if has_our_citation(block) => return Verdict::Strip("citations"),
        _ => return Verdict::Keep,
    };
    let Some(value) = block.text(name).filter(is_marked) else { return Verdict::Keep };
    let signature = Signature::new(value, Dialect::Messages);
    match signature.bare(target.provider, target.upstream_model, Dialect::Messages) {
        Some(bare) => Verdict::Restore(name, bare.into_owned()),
        None => Verdict::Remove,
    }
}

/// An id of another provider's letters is made into one of this wire's.
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
