//! One sentence about a request, and its parts in words. Pure functions of the receipt.

use super::view;
use crate::billing::requests::{Attempt, Receipt};
use crate::domain::money::NanoUsd;

/// What happened, whose fault it was if it failed, and what it cost.
pub fn sentence(receipt: &Receipt) -> String {
    let took = view::duration(receipt.execution.latency_ms);
    let asked = &receipt.decision.requested;
    let model = receipt.decision.model_id.as_deref().unwrap_or(asked);
    let name = model.split_once('/').map_or(model, |(_, name)| name);
    let Some(provider) = receipt.decision.provider.as_deref().filter(|_| !is_refusal(receipt)) else {
        let reason = receipt.execution.error.as_deref().unwrap_or("no reason was recorded");
        return format!("The request for “{asked}” was refused before any provider was called: {reason}");
    };
    let key = if receipt.byok == Some(true) { "your own key" } else { "the platform's key" };
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

/// Why a candidate stands where it does, or was left out.
pub fn reason(code: &str) -> &'static str {
    match code {
        "named" => "named in the request",
        "pinned" => "the request names this host",
        "cheapest" => "cheapest of the hosts that may serve",
        "not_allowed" | "model_not_allowed" => "the API key does not allow this model",
        "provider_not_allowed" | "excluded_provider" => "the API key does not allow this provider",
        "no_credential" => "no key for this provider: add one, or let the platform's key serve",
        "insufficient_credits" => "not enough credit for the platform's key",
        "context_too_small" => "the prompt does not fit into the model's context window",
        "capability_missing" => "the model cannot do what the request needs",
        "retired" => "the model has been shut down",
        "unpriced_refused_on_platform_key" => "no price is known, so the platform's key may not serve it",
        "unpriced_fees_refused_on_platform_key" => "a tool of the request has a fee without a price",
        "kept_state_needs_own_key" => {
            "the request refers to data kept at the provider; only your own key may serve it"
        }
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
            sentence(&receipt),
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
            sentence(&receipt)
                .starts_with("The request for “nope” was refused before any provider was called")
        );
    }
}
