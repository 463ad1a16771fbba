//! Reads `usageMetadata`, which every chunk may bear in part, and settles what includes what: the prompt holds
//! the cached tokens, thoughts stand apart from the answer, and what tools were given to read apart from the
//! prompt. A count of a wrong type makes the report missing, never zero.

use crate::{
    dialect::json::Raw,
    domain::usage::{Basis, Usage},
};

/// The last value seen of every count.
#[derive(Clone, Copy, Default)]
pub(super) struct Report {
    prompt: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    cached: Option<u64>,
    tool_prompt: Option<u64>,
    total: Option<u64>,
}

/// The largest count believed; above it the report is taken for broken.
const TOKENS_MAX: u64 = 1_000_000_000;

impl Report {
    /// Takes the next report.
    pub(super) fn absorb(&mut self, metadata: Raw<'_>) {
        for member in metadata.members() {
            let slot = match &*member.key {
                "promptTokenCount" => &mut self.prompt,
                "candidatesTokenCount" => &mut self.candidates,
                "thoughtsTokenCount" => &mut self.thoughts,
                "cachedContentTokenCount" => &mut self.cached,
                "toolUsePromptTokenCount" => &mut self.tool_prompt,
                "totalTokenCount" => &mut self.total,
                _ => continue,
            };
            if member.value.is_null() {
                continue;
            }
            *slot = member.value.count().filter(|count| *count <= TOKENS_MAX);
            if slot.is_none() {
                *self = Report::default();
                return;
            }
        }
    }

    /// What was consumed, when the report says. `said`: the model has answered something, so that an answer of
    /// no tokens is no report of it.
    pub(super) fn usage(&self, said: bool) -> Option<Usage> {
        let prompt = self.prompt?;
        let read = prompt.checked_add(self.tool_prompt.unwrap_or(0))?;
        let thoughts = self.thoughts.unwrap_or(0);
        let output = match (self.candidates, self.total) {
            (Some(candidates), total) => {
                let is_total = |read: u64| total.is_some() && total == read.checked_add(candidates);
                if is_total(read) || is_total(prompt) {
                    candidates
                } else {
                    candidates.checked_add(thoughts)?
                }
            }
            (None, Some(total)) => total.checked_sub(read)?.max(thoughts),
            (None, None) => thoughts,
        };
        if said && output == 0 {
            return None;
        }
        let cache_read = self.cached.unwrap_or(0).min(prompt);
        Some(Usage {
            input: read.checked_sub(cache_read)?,
            cache_read,
            cache_write: 0,
            cache_write_1h: 0,
            output,
            reasoning: thoughts.min(output),
            basis: Basis::Reported,
        })
    }
}
