//! Usage in the format of Responses, from providers and for clients.

use crate::{
    json::{Kind, Raw},
    stated,
};
use kairosroute_domain::usage::{Basis, Usage};

/// The largest accepted count; a report with a larger one is treated as broken.
const TOKENS_MAX: u64 = 1_000_000_000;

/// Reads a usage object. `None` if nothing can be billed from it (null, a wrong type, no counts, an implausible count).
pub(super) fn read(usage: Raw<'_>, reasoning_outside_output: bool) -> Option<Usage> {
    if usage.kind() != Kind::Object {
        return None;
    }
    let count = |of: Raw<'_>, key: &str| match of.member(key).filter(|value| !value.is_null()) {
        None => Some(None),
        // A wrong type makes the whole report unreadable.
        Some(value) => value.count().map(Some),
    };
    let detail = |details: &str, key: &str| match usage.member(details).filter(|value| !value.is_null()) {
        None => Some(None),
        Some(details) => count(details, key),
    };
    let prompt = count(usage, "input_tokens")??;
    let said = count(usage, "output_tokens")??;
    let total = count(usage, "total_tokens")?;
    // Perplexity uses Anthropic's names for cached tokens.
    let read_back = detail("input_tokens_details", "cached_tokens")?
        .or(detail("input_tokens_details", "cache_read_input_tokens")?)
        .unwrap_or(0);
    let written = detail("input_tokens_details", "cache_write_tokens")?
        .or(detail("input_tokens_details", "cache_creation_input_tokens")?)
        .unwrap_or(0);
    let reasoning = detail("output_tokens_details", "reasoning_tokens")?.unwrap_or(0);
    // The total reveals a host that counts separately what others include.
    let apart = |more: u64| total.is_some() && total == sum(&[prompt, said, more]);
    let cached_apart = sum(&[read_back, written]).is_some_and(|cached| cached > 0 && apart(cached));
    let output = if reasoning_outside_output && total != sum(&[prompt, said]) {
        said.checked_add(reasoning)?
    } else {
        said
    };
    let (input, cache_read, cache_write) = if cached_apart {
        (prompt, read_back, written)
    } else {
        let read_back = read_back.min(prompt);
        let written = written.min(prompt.saturating_sub(read_back));
        (prompt.saturating_sub(read_back).saturating_sub(written), read_back, written)
    };
    if [input, cache_read, cache_write, output].iter().any(|tokens| *tokens > TOKENS_MAX) {
        return None;
    }
    let reasoning = reasoning.min(output);
    Some(Usage {
        input,
        cache_read,
        cache_write,
        output,
        reasoning,
        searches: stated::searches(usage),
        stated: stated::bill(usage),
        basis: Basis::Reported,
        ..Usage::default()
    })
}

/// Writes a usage object for a client.
pub(super) fn write(usage: &Usage) -> String {
    format!(
        concat!(
            r#"{{"input_tokens":{},"input_tokens_details":{{"cached_tokens":{},"cache_write_tokens":{}}},"#,
            r#""output_tokens":{},"output_tokens_details":{{"reasoning_tokens":{}}},"total_tokens":{}}}"#
        ),
        usage.prompt(),
        usage.cache_read,
        usage.cache_write.saturating_add(usage.cache_write_1h),
        usage.completion(),
        usage.reasoning,
        usage.prompt().saturating_add(usage.completion()),
    )
}

fn sum(tokens: &[u64]) -> Option<u64> {
    tokens.iter().try_fold(0u64, |sum, tokens| sum.checked_add(*tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(json: &str, outside: bool) -> Option<(u64, u64, u64, u64, u64)> {
        read(Raw::trimmed(json), outside)
            .map(|u| (u.input, u.cache_read, u.cache_write, u.output, u.reasoning))
    }

    #[test]
    fn every_convention_ends_in_disjoint_buckets() {
        for (json, outside, expected) in [
            (
                r#"{"input_tokens":50,"input_tokens_details":{"cached_tokens":30,"cache_write_tokens":10},"output_tokens":20,"output_tokens_details":{"reasoning_tokens":6},"total_tokens":70}"#,
                false,
                (10, 30, 10, 20, 6),
            ),
            (r#"{"input_tokens":9,"output_tokens":1}"#, false, (9, 0, 0, 1, 0)),
            (r#"{"input_tokens":9,"output_tokens":1,"input_tokens_details":null}"#, false, (9, 0, 0, 1, 0)),
            (
                r#"{"input_tokens":9,"output_tokens":1,"total_tokens":15,"input_tokens_details":{"cache_read_input_tokens":3,"cache_creation_input_tokens":2}}"#,
                false,
                (9, 3, 2, 1, 0),
            ),
            (
                r#"{"input_tokens":9,"output_tokens":1,"total_tokens":10,"input_tokens_details":{"cache_read_input_tokens":3}}"#,
                false,
                (6, 3, 0, 1, 0),
            ),
            (
                r#"{"input_tokens":291,"output_tokens":26,"total_tokens":513,"output_tokens_details":{"reasoning_tokens":196}}"#,
                true,
                (291, 0, 0, 222, 196),
            ),
        ] {
            assert_eq!(buckets(json, outside), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_cannot_be_billed_by_is_missing_not_zero() {
        for json in [
            "null",
            "{}",
            r#"{"input_tokens":1}"#,
            r#"{"input_tokens":1.5,"output_tokens":1}"#,
            r#"{"input_tokens":-1,"output_tokens":1}"#,
            r#"{"input_tokens":1,"output_tokens":"1"}"#,
            r#"{"input_tokens":1,"output_tokens":99999999999}"#,
            r#"{"input_tokens":1,"output_tokens":1,"input_tokens_details":{"cached_tokens":"x"}}"#,
        ] {
            assert_eq!(buckets(json, false), None, "{json}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let usage = Usage {
            input: 10,
            cache_read: 30,
            cache_write: 10,
            output: 20,
            reasoning: 6,
            ..Usage::default()
        };
        assert_eq!(read(Raw::trimmed(&write(&usage)), false), Some(usage));
    }
}
