//! Reads `usage` in the format of each OpenAI-compatible provider, and resolves which count includes which.

use crate::{json::Raw, stated};
use kairosroute_domain::usage::{Basis, Usage};
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
    /// Together and some hosted models put it at the top level.
    reasoning_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    image_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

/// The largest accepted count; a report with a larger one is treated as broken.
const TOKENS_MAX: u64 = 1_000_000_000;

/// Reads one usage object. `reasoning_outside_output`: this provider's completion count does not include reasoning.
/// `None` if nothing can be billed from it (null, a wrong type, no counts, an implausible count).
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
    // The report does not state which of the cached tokens were audio or images: those are billed as cached.
    let uncached = prompt - cache_read - cache_write;
    let audio_input = prompt_details.audio_tokens.unwrap_or(0).min(uncached);
    let image_input = prompt_details.image_tokens.unwrap_or(0).min(uncached - audio_input);
    let details = report.completion_tokens_details.unwrap_or_default();
    let reasoning = details.reasoning_tokens.or(report.reasoning_tokens).unwrap_or(0);
    // The total reveals a host that has changed its convention: what the total already includes is not added again.
    let already_inside = report.total_tokens == prompt.checked_add(completion);
    let output = if reasoning_outside_output && !already_inside {
        completion.checked_add(reasoning)?
    } else {
        completion
    };
    if prompt > TOKENS_MAX || output > TOKENS_MAX {
        return None;
    }
    let audio_output = details.audio_tokens.unwrap_or(0).min(output);
    let output = output - audio_output;
    let (stated, searches) = stated_of(json);
    Some(Usage {
        input: uncached - audio_input - image_input,
        cache_read,
        cache_write,
        audio_input,
        image_input,
        output,
        reasoning: reasoning.min(output),
        audio_output,
        searches,
        stated,
        basis: Basis::Reported,
        ..Usage::default()
    })
}

/// The cost and the searches that the provider reports. Few do, so most reports are not read a second time.
fn stated_of(json: &str) -> (u64, u64) {
    if !["\"cost", "\"server_side_tool_usage", "\"tool_calls_details"].iter().any(|name| json.contains(name))
    {
        return (0, 0);
    }
    let usage = Raw::trimmed(json);
    (stated::bill(usage), stated::searches(usage))
}

/// Writes a usage object in OpenAI's format, for a client that requested it and a provider that reported none. Audio
/// and images are stated only if there are any.
pub fn write(usage: &Usage) -> String {
    let named = |name: &str, tokens: u64| match tokens {
        0 => String::new(),
        tokens => format!(r#","{name}":{tokens}"#),
    };
    format!(
        concat!(
            r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"#,
            r#""prompt_tokens_details":{{"cached_tokens":{}{}{}{}}},"#,
            r#""completion_tokens_details":{{"reasoning_tokens":{}{}}}}}"#
        ),
        usage.prompt(),
        usage.completion(),
        usage.prompt().saturating_add(usage.completion()),
        usage.cache_read,
        named("cache_write_tokens", usage.cache_write.saturating_add(usage.cache_write_1h)),
        named("audio_tokens", usage.audio_input),
        named("image_tokens", usage.image_input),
        usage.reasoning,
        named("audio_tokens", usage.audio_output),
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
    fn a_stated_bill_and_stated_searches_go_along() {
        let json = r#"{"prompt_tokens":9,"completion_tokens":1,"cost_in_usd_ticks":50000,"server_side_tool_usage_details":{"web_search_calls":2}}"#;
        let usage = read(json, false).unwrap();
        assert_eq!((usage.stated, usage.searches), (5_000, 2));
        let usage = read(r#"{"prompt_tokens":9,"completion_tokens":1,"cost":0.5}"#, false).unwrap();
        assert_eq!(usage.stated, 500_000_000);
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

    #[test]
    fn audio_and_images_are_taken_out_of_the_totals_they_are_in() {
        let json = r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":30,"audio_tokens":40,"image_tokens":20},"completion_tokens_details":{"reasoning_tokens":5,"audio_tokens":35}}"#;
        let usage = read(json, false).unwrap();
        let expected = Usage {
            input: 10,
            cache_read: 30,
            audio_input: 40,
            image_input: 20,
            output: 15,
            reasoning: 5,
            audio_output: 35,
            ..Usage::default()
        };
        assert_eq!(usage, expected);
        assert_eq!(write(&usage), json, "and written back as they came");
        assert!(!write(&Usage { input: 1, output: 1, ..Usage::default() }).contains("audio"));
    }

    proptest! {
        #[test]
        fn media_tokens_are_never_more_than_the_totals_leave(
            p in 0u64..1_000, c in 0u64..1_000, hit in 0u64..1_500, heard in 0u64..1_500, seen in 0u64..1_500, said in 0u64..1_500,
        ) {
            let json = format!(r#"{{"prompt_tokens":{p},"completion_tokens":{c},"prompt_tokens_details":{{"cached_tokens":{hit},"audio_tokens":{heard},"image_tokens":{seen}}},"completion_tokens_details":{{"audio_tokens":{said},"reasoning_tokens":{c}}}}}"#);
            let usage = read(&json, false).unwrap();
            prop_assert_eq!((usage.prompt(), usage.completion()), (p, c));
            prop_assert!(usage.cache_read == hit.min(p) && usage.audio_output == said.min(c));
            prop_assert!(usage.audio_input <= heard && usage.image_input <= seen && usage.reasoning <= usage.output);
            prop_assert_eq!(read(&write(&usage), false), Some(usage));
        }

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
