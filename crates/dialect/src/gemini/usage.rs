//! Reads `usageMetadata`, of which every chunk may contain a part, and resolves which count includes which: the prompt
//! includes the cached tokens, reasoning is separate from the answer, and the tokens of tool results are separate from
//! the prompt. A count of a wrong type makes the report missing, never zero.

use crate::json::Raw;
use kairosroute_domain::usage::{Basis, Usage};

/// The last value seen of every count.
#[derive(Clone, Copy, Default)]
pub(super) struct Report {
    prompt: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    cached: Option<u64>,
    tool_prompt: Option<u64>,
    total: Option<u64>,
    /// Of the prompt, the cached tokens, and the answer: the tokens that are not text.
    prompt_media: Media,
    cached_media: Media,
    candidates_media: Media,
}

/// Tokens by modality, for modalities with a separate price.
#[derive(Clone, Copy, Default)]
struct Media {
    audio: u64,
    image: u64,
}

/// The largest accepted count; a report with a larger one is treated as broken.
const TOKENS_MAX: u64 = 1_000_000_000;

impl Report {
    /// Takes the next report. One with a total is complete and replaces the earlier ones; any other adds to them.
    pub(super) fn absorb(&mut self, metadata: Raw<'_>) {
        if metadata.member("totalTokenCount").is_some_and(|total| !total.is_null()) {
            *self = Report::default();
        }
        for member in metadata.members() {
            match &*member.key {
                "promptTokensDetails" => self.prompt_media = Media::read(member.value),
                "cacheTokensDetails" => self.cached_media = Media::read(member.value),
                "candidatesTokensDetails" => self.candidates_media = Media::read(member.value),
                _ => {}
            }
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

    /// The usage, if the report states it. `said`: the model has produced content, so a report of zero tokens is not
    /// valid.
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
        let mut input = read.checked_sub(cache_read)?;
        let mut output_text = output;
        let heard = self.prompt_media.audio.saturating_sub(self.cached_media.audio);
        let audio_input = take(&mut input, heard);
        let audio_output = take(&mut output_text, self.candidates_media.audio);
        let image_output = take(&mut output_text, self.candidates_media.image);
        Some(Usage {
            input,
            cache_read,
            output: output_text,
            reasoning: thoughts.min(output_text),
            audio_input,
            audio_output,
            image_output,
            basis: Basis::Reported,
            ..Usage::default()
        })
    }
}

impl Media {
    /// A list of `{modality, tokenCount}`. Images in a prompt have the price of text, so they are not separated.
    fn read(details: Raw<'_>) -> Media {
        let mut media = Media::default();
        for detail in details.elements() {
            let tokens =
                detail.member("tokenCount").and_then(Raw::count).filter(|count| *count <= TOKENS_MAX);
            let modality = detail.member("modality").and_then(Raw::text).unwrap_or_default();
            match &*modality {
                "AUDIO" => media.audio = tokens.unwrap_or(0),
                "IMAGE" => media.image = tokens.unwrap_or(0),
                _ => {}
            }
        }
        media
    }
}

/// Moves at most `wanted` from `bucket`.
fn take(bucket: &mut u64, wanted: u64) -> u64 {
    let taken = wanted.min(*bucket);
    *bucket = bucket.saturating_sub(taken);
    taken
}
