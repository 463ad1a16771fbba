//! Usage in this wire format: `input_tokens` without cache reads and writes, reasoning inside `output_tokens`. A report
//! may arrive in pieces; the last value of each field counts. A report with a value of a wrong kind is missing, never
//! zero.

use crate::json::Raw;
use kairosroute_domain::usage::Usage;
use serde::Deserialize;

/// The largest accepted count; a report with a larger one is treated as broken.
const TOKENS_MAX: u64 = 1_000_000_000;

/// Maximum accepted steps of one answer; a server uses a handful.
const ITERATIONS_MAX: usize = 1024;

/// Collects the pieces of a report.
#[derive(Default)]
pub(super) struct Gathered {
    counts: Counts,
    steps: Option<Vec<Counts>>,
    broken: bool,
}

/// The steps of one answer, if they are listed.
#[derive(Deserialize)]
struct Steps {
    iterations: Option<Vec<Counts>>,
}

#[derive(Deserialize, Default, Clone, Copy)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    /// Both lifetimes together.
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<Creation>,
    output_tokens_details: Option<OutputDetails>,
    server_tool_use: Option<ServerTools>,
}

/// Work of the provider's own tools that has a fee.
#[derive(Deserialize, Default, Clone, Copy)]
struct ServerTools {
    web_search_requests: Option<u64>,
}

#[derive(Deserialize, Default, Clone, Copy)]
struct Creation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Deserialize, Default, Clone, Copy)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl Gathered {
    /// Takes one more piece.
    pub fn add(&mut self, report: Raw<'_>) {
        if report.is_null() {
            return;
        }
        match report.parse::<Counts>() {
            Ok(counts) => self.counts = counts.or(self.counts),
            Err(_) => self.broken = true,
        }
        // A list of another form is not used; the totals stay.
        if let Ok(Steps { iterations: Some(steps) }) = report.parse() {
            self.steps = Some(steps);
        }
    }

    /// The prompt alone.
    pub fn prompt(&self) -> Option<Usage> {
        let read = Counts { output_tokens: Some(0), output_tokens_details: None, ..self.counts };
        read.usage().filter(|usage| !self.broken && usage.prompt() <= TOKENS_MAX)
    }

    /// The usage to bill. If the server worked in several steps (it compacted the prompt, or another model took over),
    /// each step's counts are listed. They are billed if they are more than the totals, which omit some steps.
    pub fn usage(&self) -> Option<Usage> {
        if self.broken {
            return None;
        }
        let total = self.counts.usage()?;
        let steps = self.steps.iter().flatten().take(ITERATIONS_MAX);
        let steps =
            steps.map(|step| step.usage()).try_fold(Usage::default(), |sum, step| Some(added(sum, step?)));
        let size = |usage: &Usage| usage.prompt().saturating_add(usage.output);
        let usage = steps.filter(|steps| size(steps) > size(&total)).unwrap_or(total);
        (usage.prompt() <= TOKENS_MAX && usage.output <= TOKENS_MAX).then_some(usage)
    }
}

impl Counts {
    fn or(self, earlier: Counts) -> Counts {
        Counts {
            input_tokens: self.input_tokens.or(earlier.input_tokens),
            output_tokens: self.output_tokens.or(earlier.output_tokens),
            cache_read_input_tokens: self.cache_read_input_tokens.or(earlier.cache_read_input_tokens),
            cache_creation_input_tokens: self
                .cache_creation_input_tokens
                .or(earlier.cache_creation_input_tokens),
            cache_creation: self.cache_creation.or(earlier.cache_creation),
            output_tokens_details: self.output_tokens_details.or(earlier.output_tokens_details),
            server_tool_use: self.server_tool_use.or(earlier.server_tool_use),
        }
    }

    /// The only place where this wire format's counts become priced buckets.
    fn usage(&self) -> Option<Usage> {
        let (input, output) = (self.input_tokens?, self.output_tokens?);
        let creation = self.cache_creation.unwrap_or_default();
        let hour = creation.ephemeral_1h_input_tokens.unwrap_or(0);
        let short = creation.ephemeral_5m_input_tokens.unwrap_or(0);
        let written = self.cache_creation_input_tokens.unwrap_or(hour.saturating_add(short));
        let cache_write_1h = hour.min(written);
        let reasoning = self.output_tokens_details.and_then(|details| details.thinking_tokens).unwrap_or(0);
        Some(Usage {
            input,
            cache_read: self.cache_read_input_tokens.unwrap_or(0),
            cache_write: written.saturating_sub(cache_write_1h),
            cache_write_1h,
            output,
            reasoning: reasoning.min(output),
            searches: self.server_tool_use.and_then(|tools| tools.web_search_requests).unwrap_or(0),
            ..Usage::default()
        })
    }
}

fn added(a: Usage, b: Usage) -> Usage {
    Usage {
        input: a.input.saturating_add(b.input),
        cache_read: a.cache_read.saturating_add(b.cache_read),
        cache_write: a.cache_write.saturating_add(b.cache_write),
        cache_write_1h: a.cache_write_1h.saturating_add(b.cache_write_1h),
        output: a.output.saturating_add(b.output),
        reasoning: a.reasoning.saturating_add(b.reasoning),
        searches: a.searches.saturating_add(b.searches),
        ..Usage::default()
    }
}

/// A usage in this wire format, which does not separate media: tokens of audio and images are added to those of text.
pub(super) fn write(usage: &Usage) -> String {
    let written = usage.cache_write.saturating_add(usage.cache_write_1h);
    let cached = usage.cache_read.saturating_add(written);
    let searches = match usage.searches {
        0 => "null".to_owned(),
        searches => format!(r#"{{"web_search_requests":{searches},"web_fetch_requests":0}}"#),
    };
    format!(
        concat!(
            r#"{{"input_tokens":{},"cache_creation_input_tokens":{},"cache_read_input_tokens":{},"#,
            r#""cache_creation":{{"ephemeral_5m_input_tokens":{},"ephemeral_1h_input_tokens":{}}},"#,
            r#""output_tokens":{},"output_tokens_details":{{"thinking_tokens":{}}},"#,
            r#""server_tool_use":{},"service_tier":null,"inference_geo":null}}"#
        ),
        usage.prompt().saturating_sub(cached),
        written,
        usage.cache_read,
        usage.cache_write,
        usage.cache_write_1h,
        usage.completion(),
        usage.reasoning,
        searches,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::Json;
    use kairosroute_domain::usage::Basis;
    use proptest::prelude::*;

    /// input, read, written, written for an hour, output, reasoning
    fn buckets(pieces: &[&str]) -> Option<(u64, u64, u64, u64, u64, u64)> {
        let mut gathered = Gathered::default();
        for piece in pieces {
            gathered.add(Json::parse((*piece).to_owned()).unwrap().raw());
        }
        gathered.usage().map(|u| {
            assert_eq!(u.basis, Basis::Reported);
            (u.input, u.cache_read, u.cache_write, u.cache_write_1h, u.output, u.reasoning)
        })
    }

    #[test]
    fn every_form_of_report_ends_in_disjoint_buckets() {
        for (case, pieces, expected) in [
            ("plain", &[r#"{"input_tokens":10,"output_tokens":5}"#][..], (10, 0, 0, 0, 5, 0)),
            (
                "the last value of each field counts, and null is no value",
                &[
                    r#"{"input_tokens":43,"cache_read_input_tokens":7,"output_tokens":1}"#,
                    r#"{"input_tokens":61,"cache_read_input_tokens":null,"output_tokens":31}"#,
                ],
                (61, 7, 0, 0, 31, 0),
            ),
            (
                "what was written to the cache, by lifetime",
                &[
                    r#"{"input_tokens":1,"output_tokens":2,"cache_creation_input_tokens":30,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20}}"#,
                ],
                (1, 0, 10, 20, 2, 0),
            ),
            (
                "only the split",
                &[r#"{"input_tokens":1,"output_tokens":2,"cache_creation":{"ephemeral_5m_input_tokens":3}}"#],
                (1, 0, 3, 0, 2, 0),
            ),
            (
                "thinking is inside the output",
                &[r#"{"input_tokens":1,"output_tokens":9,"output_tokens_details":{"thinking_tokens":4}}"#],
                (1, 0, 0, 0, 9, 4),
            ),
            (
                "steps that come to more than the totals",
                &[
                    r#"{"input_tokens":5,"output_tokens":5,"iterations":[{"type":"message","input_tokens":50,"output_tokens":1},{"type":"fallback_message","input_tokens":5,"output_tokens":5,"cache_read_input_tokens":2}]}"#,
                ],
                (55, 2, 0, 0, 6, 0),
            ),
            (
                "steps that come to less",
                &[
                    r#"{"input_tokens":5,"output_tokens":5,"iterations":[{"input_tokens":5,"output_tokens":5}]}"#,
                ],
                (5, 0, 0, 0, 5, 0),
            ),
            (
                "steps without counts",
                &[r#"{"input_tokens":5,"output_tokens":5,"iterations":[{"type":"message"}]}"#],
                (5, 0, 0, 0, 5, 0),
            ),
            ("explicit zero", &[r#"{"input_tokens":0,"output_tokens":0}"#], (0, 0, 0, 0, 0, 0)),
        ] {
            assert_eq!(buckets(pieces), Some(expected), "{case}");
        }
    }

    #[test]
    fn what_cannot_be_billed_by_is_missing_not_zero() {
        for pieces in [
            &[][..],
            &["null"],
            &["{}"],
            &["[]"],
            &[r#"{"input_tokens":5}"#],
            &[r#"{"input_tokens":-1,"output_tokens":1}"#],
            &[r#"{"input_tokens":1.5,"output_tokens":1}"#],
            &[r#"{"input_tokens":"3","output_tokens":1}"#],
            &[r#"{"input_tokens":99999999999,"output_tokens":1}"#],
            &[r#"{"input_tokens":3,"output_tokens":1}"#, r#"{"output_tokens":"4"}"#],
        ] {
            assert_eq!(buckets(pieces), None, "{pieces:?}");
        }
    }

    #[test]
    fn tokens_of_media_are_told_with_those_of_text() {
        let usage = Usage {
            input: 20,
            audio_input: 44,
            image_input: 6,
            cache_read: 9,
            output: 1,
            audio_output: 110,
            image_output: 1290,
            ..Usage::default()
        };
        let written = write(&usage);
        assert!(written.starts_with(r#"{"input_tokens":70,"#), "{written}");
        assert!(written.contains(r#""output_tokens":1401,"#), "{written}");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(
            input in 0u64..1_000_000, cache_read in 0u64..1_000_000, cache_write in 0u64..1_000_000,
            cache_write_1h in 0u64..1_000_000, output in 0u64..1_000_000,
        ) {
            let (reasoning, searches) = (output / 2, input % 3);
            let usage = Usage {
                input, cache_read, cache_write, cache_write_1h, output, reasoning, searches, ..Usage::default()
            };
            let mut gathered = Gathered::default();
            gathered.add(Json::parse(write(&usage)).unwrap().raw());
            prop_assert_eq!(gathered.usage(), Some(usage));
        }
    }
}
