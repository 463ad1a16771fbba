//! What a request consumed, in one normal form. The provider's convention of which count includes which is resolved
//! before a value of this type is made, so each token is in exactly one priced bucket.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a figure was obtained.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// The provider reported it.
    #[default]
    Reported,
    /// The gateway counted the text with the tokenizer of the model family or an approximation of it.
    Counted,
    /// An upper bound or a last checkpoint, where there was nothing to count.
    Estimated,
}

impl Basis {
    /// The less certain of the two.
    fn or_worse(self, other: Self) -> Self {
        match (self, other) {
            (Basis::Estimated, _) | (_, Basis::Estimated) => Basis::Estimated,
            (Basis::Counted, _) | (_, Basis::Counted) => Basis::Counted,
            (Basis::Reported, Basis::Reported) => Basis::Reported,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Basis::Reported => "reported",
            Basis::Counted => "counted",
            Basis::Estimated => "estimated",
        }
    }
}

/// The usage by priced bucket. The token buckets do not overlap. Images, audio and text may also be counted by the
/// piece, by time or by character in addition to their tokens: an amount that is counted in both ways is billed once,
/// see `billing::price`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Prompt tokens of text read neither from nor into a cache.
    pub input: u64,
    /// Prompt tokens served from the provider's cache, of whatever kind.
    pub cache_read: u64,
    /// Prompt tokens written to the cache (short-lived).
    pub cache_write: u64,
    /// Prompt tokens written to the cache for an hour.
    pub cache_write_1h: u64,
    /// Prompt tokens of audio.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_input: u64,
    /// Prompt tokens of images.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_input: u64,
    /// Tokens of text generated, reasoning included.
    pub output: u64,
    /// Of `output`: reasoning. Billed as output unless the model has a price for it.
    pub reasoning: u64,
    /// Tokens of audio generated.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_output: u64,
    /// Tokens of images generated.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_output: u64,
    /// Images generated.
    #[serde(skip_serializing_if = "is_zero")]
    pub images: u64,
    /// Images read.
    #[serde(skip_serializing_if = "is_zero")]
    pub input_images: u64,
    /// Characters of text read, as speech models count.
    #[serde(skip_serializing_if = "is_zero")]
    pub characters: u64,
    /// Milliseconds of input audio (transcription) or output audio (speech).
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_ms: u64,
    /// Web searches that the model made.
    #[serde(skip_serializing_if = "is_zero")]
    pub searches: u64,
    /// Search units of a rerank.
    #[serde(skip_serializing_if = "is_zero")]
    pub queries: u64,
    /// Pages of a document read.
    #[serde(skip_serializing_if = "is_zero")]
    pub pages: u64,
    /// Nano-USD that the provider reports as its cost for the answer; 0 if it reports none.
    #[serde(skip_serializing_if = "is_zero")]
    pub stated: u64,
    pub basis: Basis,
}

impl Usage {
    /// Every token the model read.
    pub fn prompt(&self) -> u64 {
        [self.cache_read, self.cache_write, self.cache_write_1h, self.audio_input, self.image_input]
            .into_iter()
            .fold(self.input, u64::saturating_add)
    }

    /// Both together.
    pub fn plus(&self, other: &Usage) -> Usage {
        let sum = u64::saturating_add;
        Usage {
            input: sum(self.input, other.input),
            cache_read: sum(self.cache_read, other.cache_read),
            cache_write: sum(self.cache_write, other.cache_write),
            cache_write_1h: sum(self.cache_write_1h, other.cache_write_1h),
            audio_input: sum(self.audio_input, other.audio_input),
            image_input: sum(self.image_input, other.image_input),
            output: sum(self.output, other.output),
            reasoning: sum(self.reasoning, other.reasoning),
            audio_output: sum(self.audio_output, other.audio_output),
            image_output: sum(self.image_output, other.image_output),
            images: sum(self.images, other.images),
            input_images: sum(self.input_images, other.input_images),
            characters: sum(self.characters, other.characters),
            audio_ms: sum(self.audio_ms, other.audio_ms),
            searches: sum(self.searches, other.searches),
            queries: sum(self.queries, other.queries),
            pages: sum(self.pages, other.pages),
            stated: sum(self.stated, other.stated),
            basis: self.basis.or_worse(other.basis),
        }
    }

    /// Every token the model generated.
    pub fn completion(&self) -> u64 {
        self.output.saturating_add(self.audio_output).saturating_add(self.image_output)
    }
}

/// Without the empty buckets.
impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Usage");
        for (name, count) in [
            ("input", self.input),
            ("cache_read", self.cache_read),
            ("cache_write", self.cache_write),
            ("cache_write_1h", self.cache_write_1h),
            ("audio_input", self.audio_input),
            ("image_input", self.image_input),
            ("output", self.output),
            ("reasoning", self.reasoning),
            ("audio_output", self.audio_output),
            ("image_output", self.image_output),
            ("images", self.images),
            ("input_images", self.input_images),
            ("characters", self.characters),
            ("audio_ms", self.audio_ms),
            ("searches", self.searches),
            ("queries", self.queries),
            ("pages", self.pages),
            ("stated", self.stated),
        ] {
            if count > 0 {
                shown.field(name, &count);
            }
        }
        shown.field("basis", &self.basis).finish()
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
