//! What providers state about the data that their APIs receive. A fact without a source is unknown, and an unknown fact
//! never passes a filter that requires it.

use super::ProviderId;

/// The facts of one provider, for accounts without a special agreement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DataPolicy {
    /// Whether it uses prompts and answers for its own purposes, such as training.
    pub collects: Option<bool>,
    /// Whether it stores nothing after the answer.
    pub keeps_nothing: Option<bool>,
    /// The source of the facts, and the day when it was read.
    pub source: Option<&'static str>,
    pub read_on: Option<&'static str>,
}

const READ_ON: Option<&str> = Some("2026-11-29");

/// By provider id. A provider that is not listed is unknown.
const POLICIES: &[(&str, DataPolicy)] = &[
    (
        // Not used for training unless the account opts in; logs against abuse for up to 30 days.
        "openai",
        DataPolicy {
            collects: Some(false),
            keeps_nothing: Some(false),
            source: Some("https://developers.openai.com/docs/guides/your-data"),
            read_on: READ_ON,
        },
    ),
    (
        // Stored only where reliability or abuse prevention requires it; the page does not state other uses.
        "groq",
        DataPolicy {
            collects: None,
            keeps_nothing: Some(false),
            source: Some("https://console.groq.com/docs/your-data"),
            read_on: READ_ON,
        },
    ),
    (
        // Stored, and used for improvements, unless the account switches it off.
        "together_ai",
        DataPolicy {
            collects: Some(true),
            keeps_nothing: Some(false),
            source: Some("https://docs.together.ai/docs/zero-data-retention"),
            read_on: READ_ON,
        },
    ),
    (
        // Nothing of open models is stored, except for stored Responses.
        "fireworks_ai",
        DataPolicy {
            collects: Some(false),
            keeps_nothing: Some(true),
            source: Some("https://docs.fireworks.ai/guides/security_compliance/data_handling"),
            read_on: READ_ON,
        },
    ),
];

/// The known facts about a provider.
pub fn of(provider: ProviderId) -> DataPolicy {
    let known = POLICIES.iter().find(|(id, _)| *id == provider.as_str());
    known.map(|(_, policy)| *policy).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_has_a_source_and_a_date_and_names_a_provider() {
        for (id, policy) in POLICIES {
            assert!(ProviderId::by_id(id).is_some(), "{id}");
            assert!(policy.source.is_some() && policy.read_on.is_some(), "{id}");
        }
    }
}
