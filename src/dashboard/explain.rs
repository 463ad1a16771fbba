//! One sentence about a request, and its parts in words. Pure functions of the receipt.

use super::view;
use crate::billing::requests::{Attempt, Receipt};
use crate::domain::money::NanoUsd;
use std::collections::BTreeMap;

/// What happened, whose fault it was if it failed, and what it cost. `keys` are the names of stored provider keys.
pub fn sentence(receipt: &Receipt, keys: &BTreeMap<String, String>) -> String {
    let took = view::duration(receipt.execution.latency_ms);
    let asked = &receipt.decision.requested;
    let model = receipt.decision.model_id.as_deref().unwrap_or(asked);
    let name = model.split_once('/').map_or(model, |(_, name)| name);
    let Some(provider) = receipt.decision.provider.as_deref().filter(|_| !is_refusal(receipt)) else {
        let reason = receipt.execution.error.as_deref().unwrap_or("no reason was recorded");
        return format!("The request for “{asked}” was refused before any provider was called: {reason}");
    };
    let last = receipt.attempts.last().and_then(|attempt| keys.get(attempt.credential_id.as_ref()?));
    let key = match (receipt.byok, last) {
        (Some(true), Some(name)) => format!("your key “{name}”"),
        (Some(true), None) => "your own key".to_owned(),
        _ => "the platform's key".to_owned(),
    };
    let outcome = match receipt.execution.status.as_str() {
        "completed" => format!("{name} answered from {provider} on {key} in {took}."),
        "aborted" => {
            format!("{name} at {provider} had begun to answer on {key}; the answer ended early after {took}.")
        }
        _ => format!("No answer after {took}: the last call went to {provider} on {key}."),
    };
    let mut text = outcome;
    text.push(' ');
    text.push_str(&money(receipt));
    let calls = receipt.attempts.len();
    if calls > 1 {
        let first = receipt.attempts.first().map(cause).unwrap_or_default();
        text.push_str(&format!(" It took {calls} calls; the first {first}."));
    }
    if let (false, Some(error)) = (receipt.execution.status == "completed", &receipt.execution.error) {
        text.push_str(&format!(" Reason: {error}"));
    }
    text
}

fn is_refusal(receipt: &Receipt) -> bool {
    receipt.attempts.is_empty() && receipt.execution.status == "failed"
}

fn money(receipt: &Receipt) -> String {
    let charged = format!("Charged {}", view::exact(receipt.charged()));
    match (receipt.byok, receipt.provider_cost_nano_usd) {
        (Some(true), Some(cost)) => {
            format!("{charged}; the provider bills you about {}.", view::exact(NanoUsd(cost)))
        }
        (Some(true), None) => format!("{charged}; what the provider bills you is not known."),
        _ => format!("{charged}."),
    }
}

/// What became of one call, in a few words.
pub fn cause(attempt: &Attempt) -> String {
    match (&attempt.error, attempt.status) {
        (None, _) => "was answered".to_owned(),
        (Some(error), Some(status)) => format!("was refused with status {status} ({error})"),
        (Some(error), None) => format!("got no answer ({error})"),
    }
}

/// What stands where no price is known.
pub const NOT_PRICED: &str = "not priced";

/// How the candidates were ordered.
pub fn strategy(code: &str) -> &'static str {
    match code {
        "auto" => "The gateway chose the model: the cheapest whose quality reaches the floor comes first.",
        "pinned" => "The request names a host, which serves it.",
        "chain" | "list" => "The request names several models, tried in its order.",
        "cheapest" | "price" | "cheap" => "The cheapest host comes first.",
        "fast" | "latency" => "The host with the shortest delay comes first.",
        "throughput" => "The host with the most tokens per second comes first.",
        "reliable" => "The host with the fewest failures comes first.",
        "balanced" => "Price, delay and failures are weighed against each other.",
        _ => "The hosts of the model that was asked for, the cheapest that is well first.",
    }
}

/// Why a candidate stands where it does, or was left out; empty for a code of another release.
pub fn reason(code: &str) -> &'static str {
    match code {
        "own_key" => "your own key serves it",
        "platform_key" => "the platform's key serves it",
        "not_in_catalog" => "not in the catalogue; sent as it is named",
        "same_session" => "it served this conversation before, and may still hold its prompt",
        "failing_now" => "it has failed lately, so it goes last",
        "reaches_the_floor" => "its quality reaches the floor",
        "below_the_floor" => "its quality is below the floor",
        "allowed_models" => "the API key does not allow this model",
        "allowed_providers" => "the API key does not allow this provider",
        "excluded_providers" => "the API key excludes this provider",
        "no_credential" => "there is no key for this provider: add one",
        "insufficient_credits" => "not enough credit for the platform's key",
        "context_length" => "the prompt does not fit into the model's context window",
        "output_length" => "its longest answer is shorter than the request's limit",
        "unknown_model" => "the name is not known",
        "model_of_another_kind" => "it serves another endpoint",
        "endpoint_not_served" => "its provider does not offer this endpoint",
        "own_key_only" => "it works with your own key of its provider only",
        "too_many_candidates" => "it stands too far back in the list",
        "lacks_vision" => "it does not accept images",
        "lacks_audio_input" => "it does not accept audio",
        "lacks_audio_output" => "it does not produce audio",
        "lacks_pdf" => "it does not accept documents",
        "lacks_tools" => "it cannot call tools",
        "lacks_json_schema" => "it cannot follow a JSON schema",
        "keeps_no_state" => "its provider stores no earlier responses",
        "kept_state_needs_own_key" => {
            "the request refers to data kept at the provider; only your own key may serve it"
        }
        "provider_ignored" => "the request ignores its provider",
        "provider_not_listed" => "the request allows other providers only",
        "another_provider_is_pinned" => "the request pins another provider",
        "data_collection" => "its provider is not known to keep prompts to their request",
        "zdr" => "its provider is not known to keep no data",
        "quantizations" => "how its host stores the weights is not known or not listed",
        "require_parameters" => "it is not known to take every field of the request",
        "max_price" => "it costs more than the request allows",
        "name_suffix" => "it is not what the suffix of the name asks for",
        "always_searches" => "it searches the web at a fee for each call",
        "unpriced" => "it has no price, so it cannot be compared",
        "unpriced_refused_on_platform_key" => "no price is known, so the platform's key may not serve it",
        "unpriced_fees_refused_on_platform_key" => "a tool of the request has a fee without a price",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(json: &str) -> Receipt {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_answer_on_an_own_key_names_host_time_and_both_costs() {
        let receipt = receipt(
            r#"{"decision":{"requested":"gpt-oss-120b","model_id":"groq/gpt-oss-120b","provider":"Groq"},
                "byok":true,"charged_nano_usd":0,"provider_cost_nano_usd":9400,
                "attempts":[{"provider":"Cerebras","error":"rate","status":429},{"provider":"Groq","status":200}],
                "execution":{"status":"completed","latency_ms":812}}"#,
        );
        assert_eq!(
            sentence(&receipt, &BTreeMap::new()),
            "gpt-oss-120b answered from Groq on your own key in 812 ms. Charged $0.00; the provider bills you about \
             $0.0000094. It took 2 calls; the first was refused with status 429 (rate)."
        );
    }

    #[test]
    fn a_refusal_says_that_nobody_was_called() {
        let receipt = receipt(
            r#"{"decision":{"requested":"nope"},"execution":{"status":"failed","error":"No model `nope`."}}"#,
        );
        assert!(
            sentence(&receipt, &BTreeMap::new())
                .starts_with("The request for “nope” was refused before any provider was called")
        );
    }
}
