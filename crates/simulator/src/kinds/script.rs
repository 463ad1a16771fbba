//! The script of the endpoints other than conversations, and the billed units of such a reply. Data only.

use serde::{Deserialize, Serialize};

/// A missing field means the ordinary successful answer. The text of a transcript is the script's `chunks`; token
/// counts are its `prompt_tokens` and `completion_tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KindScript {
    /// One vector each, as its numbers with commas between them: `"0.25,-0.5,1e-7"`. They are sent as written,
    /// taken in turn if there are more texts. Where a provider sends bytes, they are the bytes (-128 to 127).
    pub vectors: Vec<String>,
    /// Base64 of the images, taken in turn.
    pub images: Vec<String>,
    /// How many images come back. Left out: as many as were asked for.
    pub image_count: Option<usize>,
    /// The part of `prompt_tokens` that was images.
    pub image_prompt_tokens: u64,
    /// The part of `completion_tokens` that was text and not image.
    pub image_text_tokens: u64,
    /// The bytes of speech, in the pieces in which they are written.
    pub audio: Vec<Vec<u8>>,
    /// How long the audio that was sent lasts.
    pub audio_ms: u64,
    /// A transcript is billed by tokens and not by its duration.
    pub by_tokens: bool,
    pub language: Option<String>,
    /// Categories that a moderation finds in every input.
    pub flagged: Vec<String>,
    /// The relevance of each document, as its number is written. Left out: falling with the index.
    pub scores: Vec<String>,
    /// Left out: one for each hundred documents begun.
    pub search_units: Option<u64>,
    /// The pages of a document, as markdown. Left out: one page of the script's `chunks`.
    pub pages: Option<Vec<String>>,
}

/// The units other than tokens that a reply is billed by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amounts {
    /// Of the input text of speech.
    pub characters: u64,
    /// Of the input audio.
    pub audio_ms: u64,
    /// Images made.
    pub images: u64,
    /// Searches of a ranking.
    pub queries: u64,
    /// Pages read.
    pub pages: u64,
}
