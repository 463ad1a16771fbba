//! Messages for the customer when no candidate can be tried. The router's reason codes stay in the receipt; here each
//! becomes a sentence that states what is wrong and what to do. A message must never contain a reason code.

use super::{automatic::share, failure::Failure};
use crate::{
    dialect::Invalid,
    domain::catalog::{Catalog, Mode, Model},
    routing::plan::{CandidateTrace, RoutingError, shown},
};
use std::sync::Arc;

/// Maximum number of models named in one message.
const NAMED_MAX: usize = 5;
/// The fewest bytes of text for one token; the router uses the same check.
const BYTES_PER_TOKEN_MAX: u64 = 16;

/// The facts of a refused request.
pub struct Subject<'a> {
    pub catalog: &'a Catalog,
    /// Bytes of text that the model would read.
    pub text_bytes: u64,
}

/// Why there is no plan.
pub fn unplanned(no_plan: &RoutingError, subject: &Subject<'_>) -> Failure {
    match no_plan {
        RoutingError::Automatic => Failure::NoModels {
            param: Some("model"),
            message: "`auto` chooses among models for conversations and embeddings, for API keys whose \
                      `routingMode` is not `off`: name a model here, such as openai/gpt-5.4-mini"
                .into(),
        },
        RoutingError::BelowFloor { floor_permille, .. } => Failure::NoModels {
            param: Some("min_quality"),
            message: format!(
                "No model that may serve this request is known to reach `min_quality` {}: lower it, allow more \
                 models or providers on this API key, or name a model",
                share(*floor_permille)
            ),
        },
        RoutingError::UnknownModel { name, instead, nearest, .. } => {
            let mut message = format!("No model `{}` can be served with the platform's key.", shown(name));
            match instead {
                Some(successor) => {
                    message.push_str(&format!(" It is retired; its successor is `{successor}`."))
                }
                None => message.push_str(&did_you_mean(nearest)),
            }
            message.push_str(OWN_KEY_HINT);
            Failure::UnknownModel { message }
        }
        RoutingError::UnknownProvider { name, nearest, .. } => unknown_provider(name, nearest),
        RoutingError::NothingLeft { considered } => nothing_left(considered, subject),
    }
}

const OWN_KEY_HINT: &str = " A model that is not in the catalogue works with your own key of its provider only, as `provider/model`.";

/// 400 for a model whose first segment is unknown.
pub fn unknown_provider(name: &str, nearest: &[Arc<str>]) -> Failure {
    let hint = format!("No model `{}` is known.{}{OWN_KEY_HINT}", shown(name), did_you_mean(nearest));
    Failure::UnknownProvider { param: "model", hint }
}

fn did_you_mean(nearest: &[Arc<str>]) -> String {
    let names: Vec<String> = nearest.iter().map(|id| format!("`{id}`")).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!(" Did you mean {}?", names.join(" or ")),
    }
}

/// Every candidate was excluded.
pub fn nothing_left(considered: &[CandidateTrace], subject: &Subject<'_>) -> Failure {
    let known: Vec<&CandidateTrace> = considered.iter().filter(|line| !line.is_unknown()).collect();
    let shared = known
        .first()
        .map(|line| reason(line))
        .filter(|first| known.iter().all(|line| reason(line) == *first));
    match shared {
        Some("keeps_no_state") => {
            return invalid(
                "previous_response_id",
                "Earlier responses are stored by their provider alone, and this model's provider stores none: send the \
                 whole conversation instead",
            );
        }
        Some("context_length") => {
            let contexts =
                known.iter().filter_map(|line| subject.catalog.get(&line.model_id)?.context_tokens);
            return Failure::ContextLength {
                context_tokens: contexts.max().unwrap_or_default(),
                prompt_tokens_min: subject.text_bytes / BYTES_PER_TOKEN_MAX,
            };
        }
        // A part of the request that no candidate supports.
        Some(lacks) if lacks.starts_with("lacks_") => {
            let lines: Vec<String> = known
                .iter()
                .take(NAMED_MAX)
                .map(|line| format!("{}: {}", line.model_id, sentence(lacks, line, subject)))
                .collect();
            return invalid(param(lacks).unwrap_or("model"), &lines.join("; "));
        }
        _ => {}
    }
    let param = shared.and_then(param);
    let lines: Vec<String> = considered
        .iter()
        .take(NAMED_MAX)
        .map(|line| format!("{}: {}", line.model_id, sentence(reason(line), line, subject)))
        .collect();
    let more = considered.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Failure::NoModels {
        param,
        message: format!("No model can serve this request. {}{more}", lines.join("; ")),
    }
}

fn reason(line: &CandidateTrace) -> &'static str {
    line.filtered_out_by.or(line.reasons.last().copied()).unwrap_or_default()
}

/// The wrong field, if there is one.
fn param(reason: &str) -> Option<&'static str> {
    match reason {
        "model_of_another_kind"
        | "endpoint_not_served"
        | "unknown_model"
        | "own_key_only"
        | "no_credential"
        | "allowed_models"
        | "allowed_providers"
        | "excluded_providers" => Some("model"),
        "lacks_tools" => Some("tools"),
        "lacks_json_schema" => Some("response_format"),
        "lacks_vision" | "lacks_audio_input" | "lacks_pdf" => Some("messages"),
        "lacks_audio_output" => Some("modalities"),
        _ => None,
    }
}

/// One reason of the router as a sentence.
fn sentence(reason: &str, line: &CandidateTrace, subject: &Subject<'_>) -> String {
    let provider = line.provider.unwrap_or("this provider");
    match reason {
        "excluded_providers" => {
            format!(
                "this API key excludes {provider}; change the key's `excludedProviders` or choose another model"
            )
        }
        "allowed_providers" => {
            format!(
                "this API key does not allow {provider}; change the key's `allowedProviders` or choose another model"
            )
        }
        "model_of_another_kind" => other_kind(subject.catalog.get(&line.model_id)),
        "endpoint_not_served" => {
            format!("{provider} does not offer this endpoint; choose a model of another provider")
        }
        "no_credential" => {
            format!(
                "there is no key of {provider} for it; store your own key of {provider}, or choose another model"
            )
        }
        "kept_state_needs_own_key" => {
            format!(
                "the request refers to what {provider} stores in an account (earlier responses, files, containers), and the \
                 platform's account is shared; store your own key of {provider}"
            )
        }
        "unpriced_fees_refused_on_platform_key" => {
            format!(
                "the request uses a tool or audio whose fee has no price here, which the platform's key does not pay; remove \
                 it, or store your own key of {provider}"
            )
        }
        "unpriced_refused_on_platform_key" => {
            format!(
                "it has no price for this service tier or time, so the platform's key cannot serve it; store your own key of \
                 {provider}, or choose another model"
            )
        }
        _ => fixed_sentence(reason).to_owned(),
    }
}

/// The reasons whose sentence does not depend on the candidate.
fn fixed_sentence(reason: &str) -> &'static str {
    match reason {
        "allowed_models" => {
            "this API key does not allow this model; change the key's `allowedModels` or choose another"
        }
        "keeps_no_state" => "its provider stores no earlier responses; send the whole conversation",
        "context_length" => {
            "the prompt is longer than its context window; shorten it or choose a larger model"
        }
        "own_key_only" => {
            "it is retired or not in the catalogue, and works with your own key of its provider only"
        }
        "too_many_candidates" => "it stands too far back in the list of models; shorten the list",
        "unknown_model" => "this name is not known; GET /v1/models lists the names",
        "lacks_vision" => "it does not accept images; remove them or choose a model with vision",
        "lacks_audio_input" => "it does not accept audio; remove it or choose a model with audio input",
        "lacks_audio_output" => "it does not produce audio; choose a model with audio output",
        "lacks_pdf" => "it does not accept documents; send their text or choose a model that reads PDF",
        "lacks_tools" => "it cannot call tools; remove `tools` or choose a model that can",
        "lacks_json_schema" => {
            "it cannot follow a JSON schema; choose a model that can, or use another `response_format`"
        }
        "provider_ignored" => "the request ignores its provider; change `provider.ignore`",
        "provider_not_listed" => "the request allows other providers only; change `provider.only`",
        "another_provider_is_pinned" => "the request pins another provider; leave `X-Provider` out",
        "data_collection" => {
            "its provider is not known to keep prompts to their request only; allow `data_collection`, or choose another"
        }
        "key_data_collection" => {
            "this API key allows only providers that are known not to use prompts; change the key's `dataCollection`, or \
             choose another provider"
        }
        "key_zdr" => {
            "this API key allows only providers that are known to keep no data; change the key's `zdr`, or choose another \
             provider"
        }
        "max_cost_per_request" | "max_cost_unknown" => {
            "it may cost more than this API key allows for one request, or its price is not known; change the key's \
             `maxCostPerRequestUsd`, or choose another model"
        }
        "zdr" => "its provider is not known to keep no data; leave `zdr` out, or choose another provider",
        "quantizations" => {
            "how its host stores the weights is not known or not listed; change `quantizations`"
        }
        "require_parameters" => {
            "it is not known to take every field; leave `provider.require_parameters` out"
        }
        "max_price" => "it costs more than `max_price` allows, or its price is not known; raise the limit",
        "name_suffix" => "it is not what the suffix of the model's name asks for; leave the suffix out",
        "always_searches" => {
            "it searches the web at a fee for each call, which `auto` does not choose; name it"
        }
        "output_length" => {
            "its longest answer is shorter than the limit that the request sets; lower the limit"
        }
        "unpriced" => "it has no price, so `auto` cannot compare it; name it",
        "own_key" | "platform_key" | "not_in_catalog" | "" => "it could not be tried",
        _ => "a rule of this request or API key excludes it; its receipt names the rule",
    }
}

/// The endpoint for a model of another kind.
fn other_kind(model: Option<&Arc<Model>>) -> String {
    let text = match model.map(|model| model.mode) {
        Some(Mode::Chat | Mode::Responses) => {
            "this model is for conversations: use /v1/chat/completions, /v1/responses or /v1/messages"
        }
        Some(Mode::Completion) => "this model completes bare text: use /v1/completions",
        Some(Mode::Embedding) => "this model makes embeddings: use /v1/embeddings",
        Some(Mode::ImageGeneration) => "this model makes images: use /v1/images/generations",
        Some(Mode::AudioSpeech) => "this model makes speech: use /v1/audio/speech",
        Some(Mode::AudioTranscription) => "this model transcribes audio: use /v1/audio/transcriptions",
        Some(Mode::Rerank) => "this model ranks documents: use /v1/rerank",
        Some(Mode::Moderation) => "this model classifies content: use /v1/moderations",
        Some(Mode::Ocr) => "this model reads documents: use /v1/ocr",
        None => "this model is not for this endpoint",
    };
    text.to_owned()
}

fn invalid(param: &str, message: &str) -> Failure {
    Failure::Invalid(Invalid { param: Some(param.to_owned()), message: message.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, reason: &'static str) -> CandidateTrace {
        CandidateTrace {
            model_id: id.into(),
            provider: Some("OpenAI"),
            score: None,
            est_cost_usd: None,
            reasons: Vec::new(),
            filtered_out_by: Some(reason),
        }
    }

    fn told(lines: &[CandidateTrace]) -> (Option<&'static str>, String) {
        let catalog = Catalog::built_in().unwrap();
        let subject = Subject { catalog: &catalog, text_bytes: 16_000_000 };
        match nothing_left(lines, &subject) {
            Failure::NoModels { param, message } => (param, message),
            other => (None, other.text()),
        }
    }

    #[test]
    fn no_word_of_the_router_reaches_a_customer() {
        for reason in [
            "excluded_providers",
            "allowed_providers",
            "allowed_models",
            "model_of_another_kind",
            "endpoint_not_served",
            "keeps_no_state",
            "context_length",
            "own_key_only",
            "no_credential",
            "too_many_candidates",
            "unknown_model",
            "kept_state_needs_own_key",
            "unpriced_fees_refused_on_platform_key",
            "unpriced_refused_on_platform_key",
            "lacks_vision",
            "lacks_tools",
            "a_reason_of_tomorrow",
        ] {
            let (_, message) =
                told(&[line("openai/gpt-4o", reason), line("openai/gpt-4o-mini", "no_credential")]);
            let has_code =
                message.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word.contains('_'));
            assert!(!has_code, "{reason}: {message}");
        }
    }

    #[test]
    fn a_shared_reason_names_its_field_and_a_long_prompt_both_numbers() {
        let (param, message) = told(&[line("openai/gpt-image-2", "model_of_another_kind")]);
        assert_eq!(param, Some("model"));
        assert!(message.contains("/v1/images/generations"), "{message}");
        let (_, message) = told(&[line("openai/gpt-4o", "context_length")]);
        assert!(message.starts_with("This model's maximum context length is 128000 tokens"), "{message}");
        assert!(message.contains("1000000 tokens"), "{message}");
    }
}
