//! A canonical request in Messages, for a client that uses another dialect. A hint that the model does not support is
//! left out and listed; a field that changes the answer and cannot be expressed is refused.

use super::abilities::Abilities;
use crate::{
    canonical::{Request, Setting, What},
    json::{Escaped, ObjectWriter},
    target::{Encoded, Reading, Target, Unsupported},
};
use std::borrow::Cow;

mod conversation;
mod format;
mod media;
mod schema;
mod thinking;
mod tools;

use format::Shape;
use thinking::Thought;

/// The limit that is sent if neither the client nor the catalogue states one; the wire format requires a limit, and
/// every current model accepts this one.
const OUTPUT_TOKENS_DEFAULT: u64 = 8192;

/// Maximum marked blocks of one request.
const CACHE_MARKS_MAX: u8 = 4;

/// State that the parts of a request share while it is written.
struct Writing<'w> {
    target: &'w Target<'w>,
    abilities: Abilities,
    cache_marks: u8,
    dropped: Vec<Cow<'static, str>>,
}

/// Writes a request.
pub fn write(request: &Request<'_>, target: &Target<'_>) -> Result<Encoded, Unsupported> {
    if request.n > 1 {
        return Err(Unsupported::because(
            "n",
            ": it returns one answer only; leave it out, or send the request several times",
        ));
    }
    if request.logprobs.is_some() {
        return Err(Unsupported::field("logprobs"));
    }
    let mut writing =
        Writing { target, abilities: Abilities::of(target), cache_marks: 0, dropped: Vec::new() };
    let limit = output_limit(request, target);
    let shape = format::of(request, &mut writing)?;
    let tools = tools::write(request, &shape, &mut writing)?;
    let conversation = conversation::write(request, &shape, &mut writing)?;
    let unthinking = tools.forced || (conversation.bare_tool_loop && writing.abilities.needs_thinking_back());
    let thought = thinking::plan(&request.thinking, unthinking, limit, &mut writing);

    let mut out = ObjectWriter::with_capacity(conversation.size().saturating_add(512));
    out.text("model", target.upstream_model);
    out.raw("max_tokens", &limit.to_string());
    conversation.put(&mut out);
    tools.put(&mut out);
    thought.put(&shape, &mut out);
    writing.put_stop(&request.stop, &mut out)?;
    writing.put_settings(request, &thought, &mut out);
    if request.stream {
        out.raw("stream", "true");
    }
    let reading = Reading {
        tool_as_text: matches!(shape, Shape::Tool { .. }).then_some(format::TOOL),
        seed: target.seed.to_owned(),
        ..Reading::default()
    };
    let path = super::encode::path(target);
    Ok(Encoded { path, body: out.end(), dropped: writing.dropped, asked_for_usage: false, reading })
}

/// A limit above the model's own is refused by the provider and has the same meaning as the model's own.
fn output_limit(request: &Request<'_>, target: &Target<'_>) -> u64 {
    match (request.output_limit, target.output_tokens_max) {
        (Some(wanted), Some(most)) => wanted.min(most),
        (Some(wanted), None) => wanted,
        (None, most) => most.unwrap_or(OUTPUT_TOKENS_DEFAULT),
    }
}

impl Writing<'_> {
    fn drop_named(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        if !self.dropped.contains(&name) {
            self.dropped.push(name);
        }
    }

    /// Lists what a schema lost when it was rewritten for the model's own mode.
    fn drop_of_schema(&mut self, name: &str, closed: &schema::Closed) {
        for keyword in &closed.moved {
            self.drop_named(format!("{name}.{keyword}"));
        }
        if closed.narrowed {
            self.drop_named(format!("{name}.additionalProperties"));
        }
    }

    fn put_stop(&mut self, stop: &[Escaped<'_>], out: &mut ObjectWriter) -> Result<(), Unsupported> {
        let said: Vec<&Escaped<'_>> = stop.iter().filter(|stop| !stop.is_empty()).collect();
        if said.is_empty() {
            return Ok(());
        }
        if said.iter().any(|stop| stop.is_blank()) {
            return Err(Unsupported::because("stop", ": a stop sequence of white space alone is not taken"));
        }
        let said: Vec<Vec<u8>> = said.into_iter().map(quoted).collect();
        list(&said, out.key("stop_sequences"));
        Ok(())
    }

    fn put_settings(&mut self, request: &Request<'_>, thought: &Thought, out: &mut ObjectWriter) {
        let mut said: Vec<What> = Vec::new();
        for setting in &request.settings {
            let value = setting.value.get();
            let new = !said.contains(&setting.what);
            let name = match setting.what {
                What::Temperature if new => self.temperature(setting, thought, out),
                What::TopP if new => self.top_p(request, setting, thought, out),
                What::TopK if new => {
                    let taken = !self.abilities.no_sampling
                        && !thought.is_on()
                        && setting.value.raw().count().is_some();
                    put_or_name("top_k", value, taken, setting, out)
                }
                What::User if new => user(setting, out),
                What::ServiceTier if new => service_tier(setting, out),
                _ => Some(setting.name.clone()),
            };
            said.push(setting.what);
            if let Some(name) = name {
                self.drop_named(name.into_owned());
            }
        }
    }

    /// Returns the name to list for the client if it is not sent unchanged.
    fn temperature<'s>(
        &self,
        setting: &Setting<'s>,
        thought: &Thought,
        out: &mut ObjectWriter,
    ) -> Option<Cow<'s, str>> {
        let value = setting.value.get();
        let Ok(number) = value.parse::<f64>() else { return Some(setting.name.clone()) };
        if self.abilities.no_sampling || thought.is_on() {
            // These accept only 1, which is the default.
            return (number != 1.0).then(|| setting.name.clone());
        }
        if number > 1.0 {
            out.raw("temperature", "1");
            return Some(setting.name.clone());
        }
        out.raw("temperature", value);
        None
    }

    fn top_p<'s>(
        &self,
        request: &Request<'_>,
        setting: &Setting<'s>,
        thought: &Thought,
        out: &mut ObjectWriter,
    ) -> Option<Cow<'s, str>> {
        /// The minimum that is accepted together with reasoning.
        const WITH_THINKING: f64 = 0.95;
        let value = setting.value.get();
        let Ok(number) = value.parse::<f64>() else { return Some(setting.name.clone()) };
        if self.abilities.no_sampling {
            return (number != 1.0).then(|| setting.name.clone());
        }
        let crowded = self.abilities.one_sampling && request.setting(What::Temperature).is_some();
        let taken = !crowded && (!thought.is_on() || number >= WITH_THINKING);
        put_or_name("top_p", value, taken, setting, out)
    }
}

fn put_or_name<'s>(
    name: &str,
    value: &str,
    taken: bool,
    setting: &Setting<'s>,
    out: &mut ObjectWriter,
) -> Option<Cow<'s, str>> {
    if taken {
        out.raw(name, value);
        return None;
    }
    Some(setting.name.clone())
}

/// An opaque id; a value that looks like an e-mail address is not sent, because the provider wants no personal data
/// there.
fn user<'s>(setting: &Setting<'s>, out: &mut ObjectWriter) -> Option<Cow<'s, str>> {
    let is_opaque = setting.value.raw().text().is_some_and(|user| !user.contains('@') && !user.is_empty());
    if !is_opaque {
        return Some(setting.name.clone());
    }
    let mut metadata = ObjectWriter::new();
    metadata.raw("user_id", setting.value.get());
    out.key("metadata").extend(metadata.end());
    None
}

fn service_tier<'s>(setting: &Setting<'s>, out: &mut ObjectWriter) -> Option<Cow<'s, str>> {
    let tier = match setting.value.raw().text().as_deref() {
        Some("auto") => "auto",
        Some("default" | "standard_only") => "standard_only",
        _ => return Some(setting.name.clone()),
    };
    out.text("service_tier", tier);
    None
}

/// As a JSON string.
fn quoted(text: &Escaped<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.inner().len().saturating_add(2));
    text.push_quoted(&mut out);
    out
}

/// System text inside a user turn, for models that do not accept system messages between turns.
pub(super) fn in_user_turn(text: &Escaped<'_>) -> Escaped<'static> {
    Escaped::from_inner(format!("<system>\\n{}\\n</system>", text.inner()))
}

/// A text block.
pub(super) fn text_block(text: &Escaped<'_>) -> ObjectWriter {
    let mut block = ObjectWriter::with_capacity(text.inner().len().saturating_add(32));
    block.text("type", "text");
    text.push_quoted(block.key("text"));
    block
}

/// A list of values that are JSON already.
pub(super) fn list(values: &[Vec<u8>], out: &mut Vec<u8>) {
    out.push(b'[');
    out.extend(values.join(&b','));
    out.push(b']');
}
