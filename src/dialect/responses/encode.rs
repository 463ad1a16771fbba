//! A Responses request for a provider of Responses: the members' bytes as the client sent them, the model's name
//! replaced. What another provider made is taken out of the history, what this one made loses our mark.

use super::{
    REDACTED,
    abilities::{Abilities, is_narrow},
    items,
    request::ResponsesRequest,
    write::{encoded, write},
};
use crate::dialect::{
    Dialect, Encoded, Target, Unsupported,
    canonical::{Format, MARK, Signature},
    json::{Escaped, Kind, ObjectWriter, Raw, push_text, with_member},
};
use std::borrow::Cow;

impl ResponsesRequest<'_> {
    /// The body for `target`, which speaks Responses too.
    pub fn encode(&self, target: &Target<'_>) -> Result<Encoded, Unsupported> {
        if is_narrow(target.provider) {
            return self.encode_narrow(target);
        }
        let abilities = Abilities::of(target, self.canonical.thinking.effort);
        if self.canonical.logprobs.is_some() && abilities.reasons_now {
            return Err(Unsupported::field("top_logprobs"));
        }
        let mut out = ObjectWriter::with_capacity(self.size_bytes.saturating_add(64));
        let mut dropped = Vec::new();
        for member in &self.members {
            let value = member.value.get();
            match member.key.as_ref() {
                "model" => push_text(out.raw_key(member.raw_key), target.upstream_model),
                "input" => match history(member.value, target) {
                    Some(edited) => out.raw_key(member.raw_key).extend(edited),
                    None => out.raw_key(member.raw_key).extend(value.as_bytes()),
                },
                // Reasoning models take the value they use anyway.
                "temperature" if !abilities.samples && !is_one(value) => dropped.push("temperature".into()),
                "top_p" if !abilities.samples && !is_one(value) => dropped.push("top_p".into()),
                _ => out.raw_key(member.raw_key).extend(value.as_bytes()),
            }
        }
        self.name_model(target, &mut out);
        Ok(encoded(target, out.end(), dropped))
    }

    /// For Perplexity: OpenAI's fields in its words, its own as they are.
    fn encode_narrow(&self, target: &Target<'_>) -> Result<Encoded, Unsupported> {
        let mut written = write(self.canonical()?, target)?;
        for member in &self.members {
            let key = member.key.as_ref();
            let said = || key == "response_format" && self.canonical.format != Format::Text;
            if !NARROW_OWN.contains(&key) || said() {
                continue;
            }
            if let Some(body) = with_member(&written.body, key, member.value.get()) {
                written.body = body;
                written.dropped.retain(|name| name != key);
            }
        }
        Ok(written)
    }

    /// The client may have named its models in `models` alone.
    fn name_model(&self, target: &Target<'_>, out: &mut ObjectWriter) {
        if !self.members.iter().any(|member| member.key == "model") {
            push_text(out.key("model"), target.upstream_model);
        }
    }
}

/// Fields that Perplexity alone has.
const NARROW_OWN: &[&str] = &["preset", "max_steps", "language_preference", "skills", "response_format"];

fn is_one(number: &str) -> bool {
    number.parse() == Ok(1.0_f64)
}

/// The items without what another maker's model encrypted and with this one's own as it made it; `None` when they are
/// that already.
fn history(input: Raw<'_>, target: &Target<'_>) -> Option<Vec<u8>> {
    // An escaped spelling of the mark still has a backslash, and nobody but us writes marks.
    if input.kind() != Kind::Array || !input.get().contains(MARK) {
        return None;
    }
    let mut out = vec![b'['];
    for item in input.elements() {
        let edited = match edited(item, target) {
            Edited::Kept => Cow::Borrowed(item.get().as_bytes()),
            Edited::Written(json) => Cow::Owned(json),
            Edited::Removed => continue,
        };
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(&edited);
    }
    out.push(b']');
    Some(out)
}

enum Edited {
    Kept,
    Written(Vec<u8>),
    Removed,
}

fn edited(item: Raw<'_>, target: &Target<'_>) -> Edited {
    let members = item.members();
    let is_reasoning =
        items::member(&members, "type").and_then(Raw::text).is_some_and(|typed| typed == "reasoning");
    let value = items::member(&members, "encrypted_content").and_then(Escaped::of);
    let Some(value) = value.filter(|_| is_reasoning) else { return Edited::Kept };
    let redacted = value.inner().strip_prefix(REDACTED).is_some_and(|rest| rest.starts_with(MARK));
    if redacted {
        return Edited::Removed;
    }
    if !value.inner().starts_with(MARK) {
        return Edited::Kept;
    }
    let signature = Signature::new(value, Dialect::Responses);
    let Some(bare) = signature.bare(target.provider, target.upstream_model, target.dialect) else {
        return Edited::Removed;
    };
    let mut out = ObjectWriter::with_capacity(item.len());
    for member in &members {
        match member.key.as_ref() {
            "encrypted_content" => bare.push_quoted(out.raw_key(member.raw_key)),
            // Made by us, and unknown to the provider.
            "id" => {}
            _ => out.raw_key(member.raw_key).extend(member.value.get().as_bytes()),
        }
    }
    Edited::Written(out.end())
}
