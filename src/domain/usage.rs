//! What a request consumed, in one normal form. Every provider's own convention of what includes what is
//! resolved before a value of this type is made, so that each token is in exactly one priced bucket.

use serde::Serialize;

/// How a figure was obtained.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// The provider said so.
    #[default]
    Reported,
    /// We counted the text with the model family's tokenizer or its stand-in.
    Counted,
    /// An upper bound or a last checkpoint, where there was nothing to count.
    Estimated,
}

impl Basis {
    pub fn as_str(self) -> &'static str {
        match self {
            Basis::Reported => "reported",
            Basis::Counted => "counted",
            Basis::Estimated => "estimated",
        }
    }
}

/// Tokens by priced bucket; the buckets do not overlap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Usage {
    /// Prompt tokens read neither from nor into a cache.
    pub input: u64,
    /// Prompt tokens served from the provider's cache.
    pub cache_read: u64,
    /// Prompt tokens written to the cache (short-lived).
    pub cache_write: u64,
    /// Prompt tokens written to the cache for an hour.
    pub cache_write_1h: u64,
    /// All tokens generated, reasoning included.
    pub output: u64,
    /// Of `output`: reasoning. Informational; billed as output.
    pub reasoning: u64,
    pub basis: Basis,
}

impl Usage {
    /// Everything the model read.
    pub fn prompt(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.cache_write_1h)
    }
}
