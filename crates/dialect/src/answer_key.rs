//! The digest of everything in a request that affects its answer, equal in every dialect: the exact response cache
//! finds an answer by it. The model is not included, because the caller adds the model that answers. The digest must
//! never be equal for two requests that a model could answer differently; if the canonical form does not hold all of a
//! request, the request's own bytes are included.

mod hasher;
mod plain;

#[cfg(test)]
mod tests;

use super::{
    ClientRequest, Dialect,
    canonical::{
        Format, Part, Request, Role, Setting, Source, Tool, ToolChoice, ToolKind, ToolResult, Turn, What,
    },
    json::{Escaped, Member},
    responses::KIND_MARK,
};
use hasher::Hasher;
use std::collections::HashMap;

/// Members that do not affect the answer, in any dialect: model names, the form of delivery, the user, and the settings
/// of the provider's own cache.
const SHAPELESS: [&str; 12] = [
    "model",
    "models",
    "stream",
    "stream_options",
    "user",
    "safety_identifier",
    "metadata",
    "store",
    "cache_control",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
];

/// The digest of a request. `beta` is the header that changes the behaviour of an Anthropic model. `None`: an answer to
/// this request must not be used for another one, because a provider runs tools or stores something for it, or because
/// the canonical form cannot hold its answer.
pub fn answer_key(request: &ClientRequest<'_>, beta: Option<&str>) -> Option<[u8; 32]> {
    let head = request.head();
    let facts = &head.facts;
    if head.needs_state || facts.references_stored_objects || facts.unpriced_tools || facts.wants_audio_output
    {
        return None;
    }
    let canonical = request.canonical().ok()?;
    // Only a function is described completely; a web search has another result each time.
    let has_native_tools = canonical.tools.iter().any(|tool| match &tool.kind {
        ToolKind::Function { name, .. } => name.decode().contains(KIND_MARK),
        ToolKind::WebSearch(_) | ToolKind::Native { .. } => true,
    });
    let is_stored = canonical.setting(What::Store).is_some_and(|store| store.value.get() == "true");
    if has_native_tools || is_stored {
        return None;
    }
    let mut hasher = Hasher::new();
    // A text completion is not a conversation.
    hasher.tag(if request.dialect() == Dialect::Completions { b'c' } else { b'v' });
    hasher.number(head.drafts);
    hash_request(&canonical, request.dialect(), &mut hasher);
    hash_beta(beta, &mut hasher);
    let members = request.members();
    // Differences between wire formats that the canonical form does not keep.
    for member in members.iter().filter(|member| member.key == "thinking") {
        hasher.tag(b'h');
        hasher.json(member.value);
    }
    if !plain::is_plain(members) {
        hash_members(request.dialect(), members, &mut hasher);
    }
    Some(hasher.finish())
}

fn hash_request(request: &Request<'_>, dialect: Dialect, hasher: &mut Hasher) {
    hash_turns(&request.turns, hasher);
    for Tool { kind, .. } in &request.tools {
        if let ToolKind::Function { name, description, parameters, strict } = kind {
            hasher.tag(b'f');
            hasher.text(name);
            hasher.option(description.as_ref(), |hasher, text| hasher.text(text));
            hasher.option(parameters.as_ref(), |hasher, json| hasher.json(json.raw()));
            // The defaults differ between wire formats.
            hasher.flag(strict.unwrap_or(dialect == Dialect::Responses));
        }
    }
    if !request.tools.is_empty() {
        hash_choice(request.tool_choice.as_ref(), hasher);
        hasher.flag(request.parallel_tools.unwrap_or(true));
    }
    hash_format(&request.format, hasher);
    hasher.option(request.output_limit.as_ref(), |hasher, limit| hasher.number(*limit));
    hasher.number(u64::try_from(request.stop.len()).unwrap_or(u64::MAX));
    request.stop.iter().for_each(|stop| hasher.text(stop));
    let thinking = request.thinking;
    hasher.option(thinking.effort.as_ref(), |hasher, effort| hasher.bytes(effort.as_str().as_bytes()));
    hasher.option(thinking.budget_tokens.as_ref(), |hasher, tokens| hasher.number(*tokens));
    hasher.option(thinking.visible.as_ref(), |hasher, visible| hasher.flag(*visible));
    hasher.number(request.n.max(1));
    hasher.option(request.logprobs.as_ref(), |hasher, logprobs| hasher.number(logprobs.top));
    hash_settings(&request.settings, hasher);
}

/// Consecutive turns of one role count as one if only the wire format decides their number: a model's turn may be
/// several items, and so may the results of its calls.
fn hash_turns(turns: &[Turn<'_>], hasher: &mut Hasher) {
    let mut calls = Calls::default();
    let mut before: Option<&Turn<'_>> = None;
    for turn in turns {
        let joins = before.is_some_and(|before| {
            role(before.role) == role(turn.role)
                && before.name.is_none()
                && turn.name.is_none()
                && (before.parts.last().is_some_and(is_item) || turn.parts.first().is_some_and(is_item))
        });
        if !joins {
            hasher.tag(b't');
            hasher.tag(role(turn.role));
            hasher.option(turn.name.as_ref(), |hasher, name| hasher.text(name));
        }
        turn.parts.iter().for_each(|part| hash_part(part, &mut calls, hasher));
        before = Some(turn);
    }
    hasher.tag(b'e');
}

/// Numbers of calls in the order in which they occur, because their ids belong to the wire format.
#[derive(Default)]
struct Calls(HashMap<String, u64>);

impl Calls {
    fn number(&mut self, id: &Escaped<'_>) -> u64 {
        let next = u64::try_from(self.0.len()).unwrap_or(u64::MAX);
        *self.0.entry(id.decode().into_owned()).or_insert(next)
    }
}

fn role(role: Role) -> u8 {
    match role {
        Role::System | Role::Developer => b's',
        Role::User => b'u',
        Role::Assistant => b'a',
    }
}

fn is_item(part: &Part<'_>) -> bool {
    matches!(part, Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning(_))
}

fn hash_part(part: &Part<'_>, calls: &mut Calls, hasher: &mut Hasher) {
    match part {
        Part::Text { text, .. } => {
            hasher.tag(b'x');
            hasher.text(text);
        }
        Part::Image { source, detail, .. } => {
            hasher.tag(b'i');
            hash_source(source, hasher);
            let detail = detail.as_ref().filter(|detail| detail.inner() != "auto");
            hasher.option(detail, |hasher, detail| hasher.text(detail));
        }
        Part::Audio { data, format } => {
            hasher.tag(b'o');
            hasher.text(data);
            hasher.text(format);
        }
        Part::File { source, name, .. } => {
            hasher.tag(b'd');
            hash_source(source, hasher);
            hasher.option(name.as_ref(), |hasher, name| hasher.text(name));
        }
        Part::Refusal(text) => {
            hasher.tag(b'n');
            hasher.text(text);
        }
        Part::Reasoning(reasoning) => {
            hasher.tag(b'r');
            hasher.text(&reasoning.text);
            hasher.option(reasoning.signature.as_ref(), |hasher, signature| hasher.text(signature.value()));
            hasher.flag(reasoning.redacted);
        }
        Part::ToolCall(call) => {
            hasher.tag(b'k');
            hasher.number(calls.number(&call.id));
            hasher.text(&call.name);
            hasher.document(&call.spoken_arguments().decode_json());
            hasher.option(call.signature.as_ref(), |hasher, signature| hasher.text(signature.value()));
        }
        Part::ToolResult(ToolResult { call_id, content, is_error, .. }) => {
            hasher.tag(b'l');
            hasher.number(calls.number(call_id));
            hasher.flag(*is_error);
            content.iter().for_each(|part| hash_part(part, calls, hasher));
            hasher.tag(b'm');
        }
    }
}

fn hash_source(source: &Source<'_>, hasher: &mut Hasher) {
    match source {
        Source::Data { media_type, data } => {
            hasher.tag(b'b');
            hasher.text(media_type);
            hasher.text(data);
        }
        Source::Url(url) => {
            hasher.tag(b'u');
            hasher.text(url);
        }
        Source::Id { id, dialect } => {
            hasher.tag(b'i');
            hasher.text(id);
            hasher.bytes(format!("{dialect:?}").as_bytes());
        }
        Source::Text(text) => {
            hasher.tag(b't');
            hasher.text(text);
        }
    }
}

fn hash_choice(choice: Option<&ToolChoice<'_>>, hasher: &mut Hasher) {
    match choice {
        None | Some(ToolChoice::Auto) => hasher.tag(b'a'),
        Some(ToolChoice::Never) => hasher.tag(b'n'),
        Some(ToolChoice::Required) => hasher.tag(b'r'),
        Some(ToolChoice::Named(name)) => {
            hasher.tag(b'f');
            hasher.text(name);
        }
        Some(ToolChoice::Allowed { names, required }) => {
            hasher.tag(b'l');
            hasher.number(u64::try_from(names.len()).unwrap_or(u64::MAX));
            names.iter().for_each(|name| hasher.text(name));
            hasher.flag(*required);
        }
    }
}

fn hash_format(format: &Format<'_>, hasher: &mut Hasher) {
    match format {
        Format::Text => hasher.tag(b't'),
        Format::JsonObject => hasher.tag(b'j'),
        Format::JsonSchema { name, description, schema, strict } => {
            hasher.tag(b's');
            hasher.option(name.as_ref(), |hasher, name| hasher.text(name));
            hasher.option(description.as_ref(), |hasher, text| hasher.text(text));
            hasher.json(schema.raw());
            hasher.flag(strict.unwrap_or_default());
        }
    }
}

/// A setting that every dialect has is identified by its meaning, others by name; their order does not matter.
fn hash_settings(settings: &[Setting<'_>], hasher: &mut Hasher) {
    let mut named: Vec<(String, &Setting<'_>)> = settings
        .iter()
        .filter(|setting| shapes(setting))
        .map(|setting| match setting.what {
            What::Native => (setting.name.to_string(), setting),
            what => (format!("={what:?}"), setting),
        })
        .collect();
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, setting) in named {
        hasher.tag(b'g');
        hasher.bytes(name.as_bytes());
        hasher.json(setting.value.raw());
    }
}

fn shapes(setting: &Setting<'_>) -> bool {
    match setting.what {
        What::User | What::Metadata | What::Store | What::PromptCacheKey => false,
        What::ServiceTier => setting.value.get() != "\"auto\"",
        What::Native => {
            let first = setting.name.split('.').next().unwrap_or_default();
            !SHAPELESS.contains(&first)
        }
        _ => true,
    }
}

fn hash_beta(beta: Option<&str>, hasher: &mut Hasher) {
    let mut names: Vec<&str> =
        beta.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    hasher.number(u64::try_from(names.len()).unwrap_or(u64::MAX));
    names.iter().for_each(|name| hasher.bytes(name.as_bytes()));
}

/// The request in its own wire format.
fn hash_members(dialect: Dialect, members: &[Member<'_>], hasher: &mut Hasher) {
    hasher.tag(b'w');
    hasher.bytes(format!("{dialect:?}").as_bytes());
    let mut members: Vec<&Member<'_>> =
        members.iter().filter(|member| !SHAPELESS.contains(&member.key.as_ref())).collect();
    members.sort_by(|one, other| one.key.cmp(&other.key));
    for member in members {
        hasher.bytes(member.key.as_bytes());
        hasher.json(member.value);
    }
}
