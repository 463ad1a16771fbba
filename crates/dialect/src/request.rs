//! The facts that the gateway needs of a request in any dialect before it is sent: names, limits, sizes. A reader
//! collects them in one pass and refuses what no provider could serve.

use super::{
    fees::Fees,
    gateway_options::GatewayOptions,
    json::{Cursor, DEPTH_LIMIT, JsonError, Kind, Member, Raw, Text},
};
use std::borrow::Cow;

/// Limits of a request.
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

/// Pieces of content in one request; a request with more is not a real conversation.
const PARTS_MAX: u32 = 65_536;

/// The facts of a request in any dialect for routing, pricing and the relay.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// In the order in which they are tried. Never empty.
    pub models: Vec<Cow<'a, str>>,
    pub stream: bool,
    /// The client asked for a usage chunk (chat only).
    pub include_usage: bool,
    /// Requested answers; 1 if not stated.
    pub n: u64,
    /// Answers that are generated if the provider chooses among them (`best_of`); 0: as many as are returned.
    pub drafts: u64,
    /// Tokens of one answer.
    pub output_limit: Option<u64>,
    pub service_tier: Option<Cow<'a, str>>,
    /// The gateway's own fields that request something and are used.
    pub own: Vec<Member<'a>>,
    /// The options in them.
    pub gateway_options: GatewayOptions<'a>,
    /// Needs something that the provider stored from an earlier request (`previous_response_id`).
    pub needs_state: bool,
    /// The parts with a separate fee.
    pub fees: Fees,
    /// The first field that is not allowed on an account which many customers share, such as the operator's at a
    /// provider.
    pub account_field: Option<String>,
    pub facts: Facts,
}

/// The rule for a request without a model name.
pub(crate) const MODEL_MISSING: &str =
    "`model` is missing: name one, such as `openai/gpt-5.4-mini`; GET /v1/models lists them";
/// The same without a conversation.
pub(crate) const MESSAGES_MISSING: &str = "`messages` is missing: send the conversation as a list, such as [{\"role\": \"user\", \"content\": \"Hello\"}]";
/// The kind of a body that is a list, a text or a number.
pub(crate) const NO_OBJECT: &str =
    "The request body must be a JSON object, such as {\"model\": …, \"messages\": […]}";

impl Default for Head<'_> {
    fn default() -> Self {
        Self {
            models: Vec::with_capacity(1),
            stream: false,
            include_usage: false,
            n: 1,
            drafts: 0,
            output_limit: None,
            service_tier: None,
            own: Vec::new(),
            gateway_options: GatewayOptions::default(),
            needs_state: false,
            fees: Fees::default(),
            account_field: None,
            facts: Facts::default(),
        }
    }
}

impl Head<'_> {
    /// Records a field that is not allowed on a shared account, if there is none yet.
    pub(crate) fn note_account_field(&mut self, find: impl FnOnce() -> Option<String>) {
        if self.account_field.is_none() {
            self.account_field = find();
        }
    }

    /// Reads the members that were set aside.
    pub(crate) fn apply_limits(&mut self, limits: &Limits) -> Result<(), Invalid> {
        if !self.own.is_empty() {
            self.gateway_options = GatewayOptions::of(&self.own, limits)?;
        }
        self.append_fallbacks(limits)
    }

    /// Appends the models that are tried last.
    pub(crate) fn append_fallbacks(&mut self, limits: &Limits) -> Result<(), Invalid> {
        self.models.append(&mut self.gateway_options.fallback_models);
        if self.models.len() > limits.models_max {
            let most = limits.models_max;
            return Err(Invalid::at("model", format!("a request may name at most {most} models")));
        }
        Ok(())
    }
}

/// The facts about the content for routing and pricing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Bytes of all text that the model will read, as written (escapes included) and with an allowance for each
    /// message: never below the prompt's text tokens, because a token of text has at least one byte.
    pub text_bytes: u64,
    /// Bytes of embedded images, audio and files, as written (base64). Not in `text_bytes`.
    pub media_bytes: u64,
    /// Of `media_bytes`: audio.
    pub audio_bytes: u64,
    /// Of `media_bytes`: parts that are neither an image nor audio. They may be text, up to a token a byte.
    pub document_bytes: u64,
    pub images: u32,
    pub audio_parts: u32,
    /// Documents and videos.
    pub files: u32,
    /// Of the media named by an address: videos, whose length is unknown.
    pub videos: u32,
    pub messages: u32,
    /// Parts of all messages: texts, media, calls, results.
    pub parts: u32,
    pub has_tools: bool,
    /// `tool_choice` requires a call.
    pub forced_tool: bool,
    pub json_schema: bool,
    pub wants_logprobs: bool,
    /// The maximum number of web searches, if the request limits it.
    pub searches_max: Option<u64>,
    /// A part has a fee that no answer reports; see [`Head::fees`].
    pub unpriced_tools: bool,
    /// Names an object that a provider stores for an account: a file by its id, a container, an address that only the
    /// provider can open.
    pub references_stored_objects: bool,
    /// Output other than text is requested.
    pub wants_audio_output: bool,
    /// The provider may shorten the prompt before it answers, which is billed as a separate answer.
    pub compacts: bool,
}

/// Members that name an image, and those that name or contain a document, at any place.
const PICTURE: &str = "image_url";
const DOCUMENT: [&str; 3] = ["file_url", "file_id", "file_data"];
/// Members that name an object that a provider stores for an account.
const KEPT: [&str; 7] =
    ["file_id", "file_ids", "container", "container_id", "vector_store_id", "vector_store_ids", "skill_id"];
/// Members whose content has names chosen by the client, not names of the wire format.
const CLIENTS_OWN: [&str; 5] = ["parameters", "input_schema", "schema", "arguments", "env"];
/// Hosts whose addresses are videos to the provider that opens them.
const VIDEO_HOSTS: [&str; 2] = ["youtube.com", "youtu.be"];

impl Facts {
    /// A web search is offered, with its limit.
    pub(crate) fn note_search(&mut self, uses_max: Option<u64>) {
        self.searches_max = uses_max.or(self.searches_max);
    }

    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        self.text_bytes = self.text_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(crate) fn add_text(&mut self, text: Text<'_>) {
        self.add_bytes(text.inner().len());
    }

    /// Counts one more piece of `field`.
    pub(crate) fn add_part(&mut self, field: &str) -> Result<(), Invalid> {
        self.parts = self.parts.saturating_add(1);
        if self.parts > PARTS_MAX {
            let message = format!("`{field}` may have at most {PARTS_MAX} parts and calls in all");
            return Err(Invalid::at(field, message));
        }
        Ok(())
    }

    /// Adds embedded data, with its declared type; empty: not declared.
    pub(crate) fn add_media(&mut self, media_type: &str, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.media_bytes = self.media_bytes.saturating_add(bytes);
        if media_type.starts_with("audio/") {
            self.audio_bytes = self.audio_bytes.saturating_add(bytes);
            self.audio_parts = self.audio_parts.saturating_add(1);
        } else if !media_type.starts_with("image/") || media_type.starts_with("image/svg") {
            self.document_bytes = self.document_bytes.saturating_add(bytes);
        }
    }

    /// Adds an address, `bytes` long as written.
    pub(crate) fn add_url(&mut self, url: &str, bytes: usize) {
        self.add_bytes(bytes);
        let is_video = VIDEO_HOSTS.iter().any(|host| url.contains(host));
        self.videos = self.videos.saturating_add(u32::from(is_video));
    }

    /// Adds an item that only its provider knows: its text, the media in its parts, and whether it names an object that
    /// the provider stores.
    pub(crate) fn add_foreign(&mut self, item: Raw<'_>) {
        self.add_bytes(item.len());
        // The value was read before: it is complete and within the nesting limit.
        let _ = self.add_named_media(&mut item.cursor());
    }

    fn add_named_media(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        match cursor.kind()? {
            Kind::Object => cursor.object(|cursor, key| {
                let key = key.decode();
                if CLIENTS_OWN.contains(&key.as_ref()) {
                    return cursor.value().map(drop);
                }
                self.references_stored_objects |=
                    KEPT.contains(&key.as_ref()) && cursor.kind()? != Kind::Null;
                self.images = self.images.saturating_add(u32::from(key == PICTURE));
                self.files = self.files.saturating_add(u32::from(DOCUMENT.contains(&key.as_ref())));
                self.add_named_media(cursor)
            }),
            Kind::Array => cursor.array(|cursor, _| self.add_named_media(cursor)),
            _ => cursor.value().map(drop),
        }
    }

    /// Records the request in `context_management`, in the form of Anthropic or of OpenAI.
    pub(crate) fn note_context_management(&mut self, value: Raw<'_>) {
        let edits = value.member("edits").unwrap_or(value);
        self.compacts |= edits.elements().into_iter().any(|edit| {
            edit.member("type").and_then(Raw::text).is_some_and(|typed| typed.contains("compact"))
        });
    }

    /// Increases with every part of the content.
    pub(crate) fn content_size(&self) -> u64 {
        let parts = u64::from(self.images) + u64::from(self.audio_parts) + u64::from(self.files);
        self.text_bytes.saturating_add(self.media_bytes).saturating_add(parts)
    }
}

/// Why a request is refused before it is sent; for an OpenAI-shaped error.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// The wrong field, such as `messages[2].content`.
    pub param: Option<String>,
    pub message: String,
}

impl Invalid {
    pub(crate) fn at(param: &str, message: String) -> Self {
        Self { param: Some(param.to_owned()), message }
    }

    pub(crate) fn kind(param: &str, expected: String, found: Kind) -> Self {
        Self::at(param, format!("`{param}` must be {expected}, not {}", found.name()))
    }
}

impl From<JsonError> for Invalid {
    fn from(error: JsonError) -> Self {
        Self { param: None, message: format!("The request body is not valid JSON: {error}") }
    }
}
