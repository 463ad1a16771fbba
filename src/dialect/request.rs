//! What every dialect's request tells the gateway before it goes anywhere: names, limits, sizes. A reader makes
//! it in one pass and refuses what nobody could serve.

use super::{
    json::{DEPTH_LIMIT, JsonError, Kind, Member, Text},
    wishes::Wishes,
};
use std::borrow::Cow;

/// How much of each a request may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nesting of arrays and objects.
    pub depth_max: u32,
    /// Top-level members.
    pub members_max: usize,
    pub messages_max: usize,
    pub tools_max: usize,
    /// Names in `model` and `models` together; also entries of other short lists.
    pub models_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth_max: DEPTH_LIMIT, members_max: 128, messages_max: 8192, tools_max: 512, models_max: 16 }
    }
}

/// What routing, pricing and the relay need of a request in any dialect.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// In the order to try them. Never empty.
    pub models: Vec<Cow<'a, str>>,
    pub stream: bool,
    /// The client asked for a usage chunk (chat only).
    pub include_usage: bool,
    /// Answers asked for; 1 when it is not said.
    pub n: u64,
    /// Tokens of one answer.
    pub output_limit: Option<u64>,
    pub service_tier: Option<Cow<'a, str>>,
    /// The gateway's own fields that ask for something and are acted on.
    pub own: Vec<Member<'a>>,
    /// What they ask for.
    pub wishes: Wishes<'a>,
    /// Needs what the provider keeps from an earlier request (`previous_response_id`).
    pub needs_state: bool,
    pub facts: Facts,
}

impl Default for Head<'_> {
    fn default() -> Self {
        Self {
            models: Vec::with_capacity(1),
            stream: false,
            include_usage: false,
            n: 1,
            output_limit: None,
            service_tier: None,
            own: Vec::new(),
            wishes: Wishes::default(),
            needs_state: false,
            facts: Facts::default(),
        }
    }
}

impl Head<'_> {
    /// Reads what was set aside.
    pub(in crate::dialect) fn heed(&mut self, limits: &Limits) -> Result<(), Invalid> {
        if !self.own.is_empty() {
            self.wishes = Wishes::of(&self.own, limits)?;
        }
        self.append_fallbacks(limits)
    }

    /// Puts the models that are to be tried last behind the others.
    pub(in crate::dialect) fn append_fallbacks(&mut self, limits: &Limits) -> Result<(), Invalid> {
        self.models.append(&mut self.wishes.fallback_models);
        if self.models.len() > limits.models_max {
            let most = limits.models_max;
            return Err(Invalid::at("model", format!("a request may name at most {most} models")));
        }
        Ok(())
    }
}

/// What routing and pricing need to know of the content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Bytes of all text the model will read, as written (escapes included) and with an allowance for each
    /// message: never below the prompt's text tokens, for a token of text stands for at least one byte.
    pub text_bytes: u64,
    /// Bytes of embedded images, audio and files, as written (base64). Not in `text_bytes`.
    pub media_bytes: u64,
    /// Of `media_bytes`: audio.
    pub audio_bytes: u64,
    pub images: u32,
    pub audio_parts: u32,
    /// Documents and videos.
    pub files: u32,
    pub messages: u32,
    pub has_tools: bool,
    /// `tool_choice` demands a call.
    pub forced_tool: bool,
    pub json_schema: bool,
    pub wants_logprobs: bool,
    /// `web_search_options`, or tools that are neither functions nor custom: they bear fees of their own.
    pub unpriced_tools: bool,
    /// Output other than text is asked for.
    pub wants_audio_output: bool,
}

impl Facts {
    pub(in crate::dialect) fn add_bytes(&mut self, bytes: usize) {
        self.text_bytes = self.text_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(in crate::dialect) fn add_text(&mut self, text: Text<'_>) {
        self.add_bytes(text.inner().len());
    }

    /// Grows with every piece of content.
    pub(in crate::dialect) fn content_size(&self) -> u64 {
        let parts = u64::from(self.images) + u64::from(self.audio_parts) + u64::from(self.files);
        self.text_bytes.saturating_add(self.media_bytes).saturating_add(parts)
    }
}

/// Why a request is refused before anything is sent; for an OpenAI-shaped error.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// The field at fault, such as `messages[2].content`.
    pub param: Option<String>,
    pub message: String,
}

impl Invalid {
    pub(in crate::dialect) fn at(param: &str, message: String) -> Self {
        Self { param: Some(param.to_owned()), message }
    }

    pub(in crate::dialect) fn kind(param: &str, expected: String, found: Kind) -> Self {
        Self::at(param, format!("`{param}` must be {expected}, not {}", found.name()))
    }
}

impl From<JsonError> for Invalid {
    fn from(error: JsonError) -> Self {
        Self { param: None, message: format!("the body is not acceptable JSON: {error}") }
    }
}
