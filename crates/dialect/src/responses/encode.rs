//! A Responses request for a provider of Responses: the members' bytes as the client sent them, with the model's name
//! replaced. Data of other providers is removed from the history, this provider's data loses our tag, and ids of ours
//! are not sent.

use super::{
    KIND_MARK, MADE_HERE, NAMESPACE_END, REDACTED,
    abilities::{Abilities, is_perplexity_subset},
    input::push_data_url,
    items,
    request::ResponsesRequest,
    write::{encoded, write},
};
use crate::{
    Dialect, Encoded, Target, Unsupported,
    canonical::{Format, MARK, Signature, Tool, ToolKind},
    json::{Escaped, Kind, Member, ObjectWriter, Raw, push_text, with_member},
};
use std::borrow::Cow;

impl ResponsesRequest<'_> {
    /// The body for `target`, which also supports Responses.
    pub fn encode(&self, target: &Target<'_>) -> Result<Encoded, Unsupported> {
        if is_perplexity_subset(target.provider) {
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
                // Reasoning models accept their default value.
                "temperature" if !abilities.samples && !is_one(value) => dropped.push("temperature".into()),
                "top_p" if !abilities.samples && !is_one(value) => dropped.push("top_p".into()),
                _ => out.raw_key(member.raw_key).extend(value.as_bytes()),
            }
        }
        self.name_model(target, &mut out);
        Ok(encoded(target, out.end(), dropped))
    }

    /// For Perplexity: OpenAI's fields with its names, its own fields unchanged.
    fn encode_narrow(&self, target: &Target<'_>) -> Result<Encoded, Unsupported> {
        let canonical = self.canonical()?;
        if canonical.tools.iter().any(needs_name_back) {
            return Err(Unsupported::because(
                "tools",
                ": this provider takes functions and its own tools; leave the others out",
            ));
        }
        let mut written = write(canonical, target)?;
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

    /// The client may have named its models only in `models`.
    fn name_model(&self, target: &Target<'_>, out: &mut ObjectWriter) {
        if !self.members.iter().any(|member| member.key == "model") {
            push_text(out.key("model"), target.upstream_model);
        }
    }
}

/// A tool whose calls come back under another name. Answers of such a provider pass unchanged.
fn needs_name_back(tool: &Tool<'_>) -> bool {
    match &tool.kind {
        ToolKind::Function { name, .. } => {
            let name = name.decode();
            name.contains(KIND_MARK) || name.contains(NAMESPACE_END)
        }
        ToolKind::WebSearch(_) | ToolKind::Native { .. } => false,
    }
}

/// Fields that only Perplexity has.
const NARROW_OWN: &[&str] = &["preset", "max_steps", "language_preference", "skills", "response_format"];

fn is_one(number: &str) -> bool {
    number.parse() == Ok(1.0_f64)
}

/// The items without the reasoning of other models, with this model's own reasoning unchanged, and without ids that we
/// created; `None` if they need no change.
fn history(input: Raw<'_>, target: &Target<'_>) -> Option<Vec<u8>> {
    // An escaped spelling contains a backslash, and only the gateway writes tags and such ids.
    let ours = |text: &str| text.contains(MARK) || text.contains(MADE_HERE);
    if input.kind() != Kind::Array || !ours(input.get()) {
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
    let text = |key: &str| items::member(&members, key).and_then(Escaped::of);
    let typed = items::member(&members, "type").and_then(Raw::text);
    let is_gateway_id = items::is_gateway_id(&members);
    let value = text("encrypted_content").filter(|_| typed.as_deref() == Some("reasoning"));
    match (typed.as_deref(), value) {
        (Some("reasoning"), Some(value)) => thought(&members, value, is_gateway_id, target),
        (Some("reasoning"), None) if is_gateway_id => Edited::Removed,
        (Some("image_generation_call"), _) if is_gateway_id => match text("result") {
            Some(data) => Edited::Written(shown(&items::drawn_as(&members), &data)),
            None => Edited::Removed,
        },
        // The provider would look it up and find nothing.
        (kind, _) if is_gateway_id && kind != Some("item_reference") => {
            Edited::Written(without_id(&members, None))
        }
        _ => Edited::Kept,
    }
}

/// Reasoning with data for its provider.
fn thought(members: &[Member<'_>], value: Escaped<'_>, is_gateway_id: bool, target: &Target<'_>) -> Edited {
    let redacted = value.inner().strip_prefix(REDACTED).is_some_and(|rest| rest.starts_with(MARK));
    if redacted {
        return Edited::Removed;
    }
    if !value.inner().starts_with(MARK) {
        return if is_gateway_id { Edited::Removed } else { Edited::Kept };
    }
    let signature = Signature::new(value, Dialect::Responses);
    let bare = signature.bare(target.provider, target.upstream_model, target.dialect);
    let Some(bare) = bare.filter(|bare| !bare.is_empty()) else { return Edited::Removed };
    Edited::Written(without_id(members, Some(&bare)))
}

/// The item without its id, and with this value as its encrypted content.
fn without_id(members: &[Member<'_>], bare: Option<&Escaped<'_>>) -> Vec<u8> {
    let mut out = ObjectWriter::new();
    for member in members.iter().filter(|member| member.key != "id") {
        let place = out.raw_key(member.raw_key);
        match bare.filter(|_| member.key == "encrypted_content") {
            Some(bare) => bare.push_quoted(place),
            None => place.extend(member.value.get().as_bytes()),
        }
    }
    out.end()
}

/// An image of another model, which only the user can show here.
fn shown(media_type: &Escaped<'_>, data: &Escaped<'_>) -> Vec<u8> {
    let mut image = ObjectWriter::new();
    image.text("type", "input_image");
    image.text("detail", "auto");
    push_data_url(media_type, data, image.key("image_url"));
    let mut item = ObjectWriter::new();
    item.text("type", "message");
    item.text("role", "user");
    let content = item.key("content");
    content.push(b'[');
    content.extend(image.end());
    content.push(b']');
    item.end()
}
