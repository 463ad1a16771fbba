//! The text of an alert as an e-mail.

use serde_json::Value;

const FOOTER: &str = "You receive this as an owner or a billing contact of the organization. An owner or admin turns these \
                      e-mails off with `alertEmails: false` (PATCH /api/organization).";

/// Subject and text.
pub fn write(kind: &str, organization: &str, document: &str) -> (String, String) {
    let data: Value = serde_json::from_str(document).unwrap_or_default();
    let field = |name: &str| match data.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let (subject, text) = match kind {
        "budget.threshold" => {
            let whose = match data.get("apiKeyName").and_then(Value::as_str) {
                Some(name) => format!("API key \"{name}\""),
                None => "the organization".to_owned(),
            };
            (
                format!("budget at {} %", field("level")),
                format!(
                    "{} of {} USD of the budget of {whose} are spent in the {} that ends at {}. Requests that do not fit into \
                     the rest are refused until then.",
                    field("spentUsd"),
                    field("budgetUsd"),
                    field("period"),
                    field("resetsAt"),
                ),
            )
        }
        "balance.low" => (
            format!("credit below {} USD", field("thresholdUsd")),
            format!(
                "The balance is {} USD. Requests on the gateway's own provider keys are refused when it is used up.",
                field("balanceUsd")
            ),
        ),
        "provider_key.failing" => (
            format!("a provider key of {} fails", field("provider")),
            format!(
                "The key {} ({}, ends in {}) failed at the provider: {}.",
                field("providerKeyId"),
                field("provider"),
                field("last4"),
                field("error"),
            ),
        ),
        "spend.jump" => (
            "spend is above the usual".to_owned(),
            format!(
                "The last hour cost {} USD; an hour of the last days cost {} USD on average.",
                field("hourUsd"),
                field("usualUsd"),
            ),
        ),
        other => (other.to_owned(), data.to_string()),
    };
    (format!("KairosRoute, {organization}: {subject}"), format!("{text}\n\n{FOOTER}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::KINDS;

    #[test]
    fn every_kind_has_a_text_of_its_own() {
        for kind in KINDS {
            let (subject, text) = write(kind, "Acme", "{}");
            assert!(subject.starts_with("KairosRoute, Acme: ") && !subject.contains(kind), "{subject}");
            assert!(text.ends_with("(PATCH /api/organization).\n"), "{text}");
        }
        let document = r#"{"level":80,"spentUsd":"8","budgetUsd":"10","period":"day","resetsAt":"2026-11-30T00:00:00Z",
                           "apiKeyName":"build"}"#;
        let (subject, text) = write("budget.threshold", "Acme", document);
        assert_eq!(subject, "KairosRoute, Acme: budget at 80 %");
        assert!(
            text.starts_with("8 of 10 USD of the budget of API key \"build\" are spent in the day"),
            "{text}"
        );
    }
}
