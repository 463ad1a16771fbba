//! Reads `usage` as each OpenAI-compatible provider reports it, and settles what includes what.

use crate::domain::usage::{Basis, Usage};
use serde::Deserialize;

/// The union of the providers' shapes. A count of a wrong type makes the whole report unreadable, which is
/// then treated as missing: never as zero.
#[derive(Deserialize, Default)]
struct Report {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    #[serde(alias = "prompt_token_details")]
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    /// DeepSeek: hit + miss = prompt.
    prompt_cache_hit_tokens: Option<u64>,
    /// Mistral.
    num_cached_tokens: Option<u64>,
    /// Moonshot.
    cached_tokens: Option<u64>,
    /// Together and some hosted models put it at the top.
    reasoning_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

/// The largest count believed; above it the report is taken for broken.
const TOKENS_MAX: u64 = 1_000_000_000;

/// Reads one usage object. `reasoning_outside_output`: this provider's completion count leaves reasoning out.
/// `None` when there is nothing to bill by (null, a wrong type, no counts, an absurd count).
pub fn read(json: &str, reasoning_outside_output: bool) -> Option<Usage> {
    let report: Report = serde_json::from_str(json).ok()?;
    let prompt = report.prompt_tokens?;
    let completion = match (report.completion_tokens, report.total_tokens) {
        (Some(completion), _) => completion,
        (None, Some(total)) => total.checked_sub(prompt)?,
        (None, None) => return None,
    };
    let prompt_details = report.prompt_tokens_details.unwrap_or_default();
    let cache_read = prompt_details
        .cached_tokens
        .or(report.prompt_cache_hit_tokens)
        .or(report.num_cached_tokens)
        .or(report.cached_tokens)
        .unwrap_or(0)
        .min(prompt);
    let cache_write = prompt_details.cache_write_tokens.unwrap_or(0).min(prompt - cache_read);
    let reasoning = report
        .completion_tokens_details
        .and_then(|details| details.reasoning_tokens)
        .or(report.reasoning_tokens)
        .unwrap_or(0);
    // The check sum tells a host that has changed its mind: what the total already holds is not added again.
    let already_inside = report.total_tokens == prompt.checked_add(completion);
    let output = if reasoning_outside_output && !already_inside {
        completion.checked_add(reasoning)?
    } else {
        completion
    };
    if prompt > TOKENS_MAX || output > TOKENS_MAX {
        return None;
    }
    Some(Usage {
        input: prompt - cache_read - cache_write,
        cache_read,
        cache_write,
        cache_write_1h: 0,
        output,
        reasoning: reasoning.min(output),
        basis: Basis::Reported,
    })
}

/// Writes a usage object in OpenAI's shape, for a client that asked and a provider that did not say.
pub fn write(usage: &Usage) -> String {
    let written = match usage.cache_write.saturating_add(usage.cache_write_1h) {
        0 => String::new(),
        tokens => format!(r#","cache_write_tokens":{tokens}"#),
    };
    format!(
        concat!(
            r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"#,
            r#""prompt_tokens_details":{{"cached_tokens":{}{}}},"completion_tokens_details":{{"reasoning_tokens":{}}}}}"#
        ),
        usage.prompt(),
        usage.output,
        usage.prompt().saturating_add(usage.output),
        usage.cache_read,
        written,
        usage.reasoning,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buckets(json: &str, outside: bool) -> Option<(u64, u64, u64, u64, u64)> {
        read(json, outside).map(|u| (u.input, u.cache_read, u.cache_write, u.output, u.reasoning))
    }

    #[test]
    fn every_providers_convention_ends_in_disjoint_buckets() {
        for (case, json, outside, expected) in [
            (
                "plain",
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}"#,
                false,
                (10, 0, 0, 5, 0),
            ),
            (
                "openai, cached and written inside the prompt",
                r#"{"prompt_tokens":100,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":30}}"#,
                false,
                (10, 60, 30, 5, 0),
            ),
            (
                "xai, reasoning outside (291 + 26 + 196 = 513)",
                r#"{"prompt_tokens":291,"completion_tokens":26,"total_tokens":513,"completion_tokens_details":{"reasoning_tokens":196}}"#,
                true,
                (291, 0, 0, 222, 196),
            ),
            (
                "a host whose total already holds reasoning",
                r#"{"prompt_tokens":10,"completion_tokens":30,"total_tokens":40,"completion_tokens_details":{"reasoning_tokens":20}}"#,
                true,
                (10, 0, 0, 30, 20),
            ),
            (
                "deepseek",
                r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":5}"#,
                false,
                (5, 4, 0, 1, 0),
            ),
            (
                "mistral",
                r#"{"prompt_tokens":9,"completion_tokens":1,"num_cached_tokens":2}"#,
                false,
                (7, 2, 0, 1, 0),
            ),
            (
                "moonshot",
                r#"{"prompt_tokens":9,"completion_tokens":1,"cached_tokens":2}"#,
                false,
                (7, 2, 0, 1, 0),
            ),
            ("explicit zero", r#"{"prompt_tokens":0,"completion_tokens":0}"#, false, (0, 0, 0, 0, 0)),
            (
                "more cached than read",
                r#"{"prompt_tokens":5,"completion_tokens":1,"cached_tokens":9}"#,
                false,
                (0, 5, 0, 1, 0),
            ),
        ] {
            assert_eq!(buckets(json, outside), Some(expected), "{case}");
        }
    }

    #[test]
    fn what_cannot_be_billed_by_is_missing_not_zero() {
        for json in [
            "null",
            "{}",
            "[]",
            r#"{"prompt_tokens":-1,"completion_tokens":1}"#,
            r#"{"prompt_tokens":1.5,"completion_tokens":1}"#,
            r#"{"prompt_tokens":"3","completion_tokens":1}"#,
            r#"{"prompt_tokens":5}"#,
            r#"{"prompt_tokens":99999999999,"completion_tokens":1}"#,
        ] {
            assert_eq!(read(json, false), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn buckets_add_up_to_what_was_reported(p in 0u64..1_000_000, c in 0u64..1_000_000, hit in 0u64..2_000_000, w in 0u64..2_000_000) {
            let json = format!(r#"{{"prompt_tokens":{p},"completion_tokens":{c},"prompt_tokens_details":{{"cached_tokens":{hit},"cache_write_tokens":{w}}}}}"#);
            let usage = read(&json, false).unwrap();
            prop_assert_eq!(usage.prompt(), p);
            prop_assert_eq!(usage.output, c);
            prop_assert_eq!(read(&write(&usage), false).unwrap(), usage);
        }

        #[test]
        fn random_text_never_panics(text in ".{0,200}") {
            read(&text, true);
        }
    }
}
