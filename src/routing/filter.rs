//! Reasons that exclude a model at a provider from a request: rules of the API key, requirements of the request, and
//! missing abilities of the model or provider. An unknown value never passes a filter that requires it.

use super::plan::{Candidate, RouteRequest};
use crate::dialect::Facts;
use crate::domain::{
    catalog::{Flag, Mode, Model, ServiceTier},
    kind::Kind,
    money::NanoPerMillion,
    policy::{KeyPolicy, matches_pattern},
    provider::{Dialect, ProviderId, data_policy},
};
use time::OffsetDateTime;

/// Required and preferred properties of hosts. All absent by default.
#[derive(Clone, Debug, Default)]
pub struct Preferences {
    /// Hosts that are tried first, in this order.
    pub order: Vec<ProviderId>,
    pub only: Option<Vec<ProviderId>>,
    pub ignore: Vec<ProviderId>,
    /// Only the first host.
    pub no_fallbacks: bool,
    pub require_parameters: bool,
    pub deny_collection: bool,
    pub zdr: bool,
    pub quantizations: Vec<String>,
    pub max_prompt_price: Option<NanoPerMillion>,
    pub max_completion_price: Option<NanoPerMillion>,
    /// Slower hosts are ordered last.
    pub max_latency_ms: Option<u64>,
    pub min_tokens_per_second: Option<u64>,
}

/// Restrictions of an API key's rules.
pub fn policy_obstacle(
    policy: &KeyPolicy,
    provider: ProviderId,
    id: &str,
    name: &str,
) -> Option<&'static str> {
    if policy.excluded_providers.contains(&provider) {
        return Some("excluded_providers");
    }
    if policy.allowed_providers.as_ref().is_some_and(|allowed| !allowed.contains(&provider)) {
        return Some("allowed_providers");
    }
    let is_listed = |allowed: &Vec<String>| {
        allowed.iter().any(|pattern| matches_pattern(pattern, id) || matches_pattern(pattern, name))
    };
    if policy.allowed_models.as_ref().is_some_and(|allowed| !is_listed(allowed)) {
        return Some("allowed_models");
    }
    None
}

/// The first rule that excludes a candidate.
pub fn obstacle(
    candidate: &Candidate,
    request: &RouteRequest<'_>,
    policy: &KeyPolicy,
) -> Option<&'static str> {
    policy_obstacle(policy, candidate.provider, &candidate.id, &candidate.name)
        .or_else(|| data_obstacle(candidate, request, policy))
        .or_else(|| request_obstacle(candidate, request))
        .or_else(|| ability_obstacle(candidate, request))
}

/// The API key's requirements for the data policy of providers.
fn data_obstacle(
    candidate: &Candidate,
    request: &RouteRequest<'_>,
    policy: &KeyPolicy,
) -> Option<&'static str> {
    let (rules, facts) = (&policy.rules, data_policy::of(candidate.provider));
    if rules.deny_collection && facts.collects != Some(false) {
        return Some("key_data_collection");
    }
    let stores = request.kind == Kind::Conversation(Dialect::Responses);
    (rules.zdr && (stores || facts.keeps_nothing != Some(true))).then_some("key_zdr")
}

/// Exclusions by the request's own requirements.
fn request_obstacle(candidate: &Candidate, request: &RouteRequest<'_>) -> Option<&'static str> {
    let (provider, asked) = (candidate.provider, request.preferences);
    if asked.ignore.contains(&provider) {
        return Some("provider_ignored");
    }
    if asked.only.as_ref().is_some_and(|only| !only.contains(&provider)) {
        return Some("provider_not_listed");
    }
    let policy = data_policy::of(provider);
    if asked.deny_collection && policy.collects != Some(false) {
        return Some("data_collection");
    }
    // Answers of Responses are stored by default at every provider.
    let stores = request.kind == Kind::Conversation(Dialect::Responses);
    if asked.zdr && (stores || policy.keeps_nothing != Some(true)) {
        return Some("zdr");
    }
    let model = candidate.model.as_deref();
    let quantization = model.and_then(|model| model.quantization.as_deref());
    let serves = |request: &String| quantization.is_some_and(|known| known.eq_ignore_ascii_case(request));
    if !asked.quantizations.is_empty() && !asked.quantizations.iter().any(serves) {
        return Some("quantizations");
    }
    if asked.require_parameters && model.is_none_or(|model| lacks(model, request).is_some()) {
        return Some("require_parameters");
    }
    if (asked.max_prompt_price.is_some() || asked.max_completion_price.is_some())
        && !model.is_some_and(|model| is_within_price(model, asked, request.at))
    {
        return Some("max_price");
    }
    None
}

fn is_within_price(model: &Model, asked: &Preferences, at: OffsetDateTime) -> bool {
    let period = model.prices.as_ref().and_then(|prices| prices.at(at));
    let Some(applied) = period.and_then(|period| period.rates(ServiceTier::Standard, 0, at)) else {
        return false;
    };
    let output = applied.rates.output;
    asked.max_prompt_price.is_none_or(|most| applied.rates.input <= most)
        && asked.max_completion_price.is_none_or(|most| output.is_some_and(|output| output <= most))
}

/// The part of the request's content that the model is not known to accept.
pub fn lacks(model: &Model, request: &RouteRequest<'_>) -> Option<&'static str> {
    let facts = request.facts;
    let needs = [
        (facts.images > 0, Flag::Vision, "lacks_vision"),
        (facts.audio_parts > 0, Flag::AudioIn, "lacks_audio_input"),
        (facts.wants_audio_output, Flag::AudioOut, "lacks_audio_output"),
        (facts.files > 0, Flag::Pdf, "lacks_pdf"),
        (facts.has_tools, Flag::Tools, "lacks_tools"),
        (facts.json_schema, Flag::JsonSchema, "lacks_json_schema"),
    ];
    let lacking = needs.into_iter().find(|(needed, flag, _)| *needed && !model.flags.has(*flag));
    let unforced = facts.forced_tool && model.flags.has(Flag::NoForcedTool);
    lacking.map(|(_, _, reason)| reason).or(unforced.then_some("lacks_tools"))
}

/// The part of the request that the model does not support. A provider whose sources list no abilities is tried.
fn ability_lacking(model: &Model, facts: &Facts) -> Option<&'static str> {
    let row = model.provider.row();
    if !row.lists_abilities {
        return None;
    }
    let needs = [
        (facts.images > 0, Flag::Vision, "lacks_vision"),
        (facts.audio_parts > 0, Flag::AudioIn, "lacks_audio_input"),
        (facts.wants_audio_output, Flag::AudioOut, "lacks_audio_output"),
        (facts.files > 0 && row.dialect == Dialect::Chat, Flag::Pdf, "lacks_pdf"),
        (facts.has_tools, Flag::Tools, "lacks_tools"),
        (facts.json_schema && !row.schema_by_prompt, Flag::JsonSchema, "lacks_json_schema"),
    ];
    needs
        .into_iter()
        .find(|(needed, flag, _)| *needed && !model.flags.has(*flag))
        .map(|(_, _, reason)| reason)
}

fn ability_obstacle(candidate: &Candidate, request: &RouteRequest<'_>) -> Option<&'static str> {
    let provider = candidate.provider;
    if candidate.model.as_ref().is_some_and(|model| !request.kind.is_served_by(model.mode)) {
        return Some("model_of_another_kind");
    }
    if !matches!(request.kind, Kind::Conversation(_)) && provider.serves(request.kind).is_none() {
        return Some("endpoint_not_served");
    }
    // A completion model has no conversations.
    let bare = candidate.model.as_ref().is_some_and(|model| model.mode == Mode::Completion);
    if bare && provider.path(Dialect::Completions).is_none() {
        return Some("endpoint_not_served");
    }
    if request.needs_state && !provider.row().keeps_state {
        return Some("keeps_no_state");
    }
    if !matches!(request.kind, Kind::Conversation(_)) {
        // Its texts are read one by one, so their sum has no bound.
        return None;
    }
    if let Some(lacking) = candidate.model.as_ref().and_then(|model| ability_lacking(model, request.facts)) {
        return Some(lacking);
    }
    let context = candidate.model.as_ref().and_then(|model| model.context_tokens);
    // A prompt of this many bytes has at least a sixteenth of that number of tokens: longer tokens do not occur.
    if context.is_some_and(|tokens| request.facts.text_bytes / 16 > tokens) {
        return Some("context_length");
    }
    None
}
