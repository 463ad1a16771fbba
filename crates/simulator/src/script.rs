//! The script of a simulated provider's answer. Data only: nothing here may know a provider or a wire format.

use super::kinds::KindScript;
use serde::{Deserialize, Serialize};

/// One answer, or one failure. A missing field means the ordinary successful answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Anything but 200 answers with `error`.
    pub status: u16,
    /// The body of a failure, sent as it is; left out, one in the provider's own shape for the status. Also
    /// the data of the frame that `error_after` sends.
    pub error: Option<String>,
    /// Added to the head of the reply. A `content-type` replaces the usual one.
    pub headers: Vec<(String, String)>,
    /// Silence before the head.
    pub latency_ms: u64,
    /// Silence between the head and the first byte of the body.
    pub first_byte_ms: u64,
    /// Silence after each content chunk.
    pub chunk_gap_ms: u64,
    /// The text, one content chunk each. Empty it for an answer of tool calls only.
    pub chunks: Vec<String>,
    pub tool_calls: Vec<ToolCall>,
    /// Reasoning text that comes before the answer, one content chunk each.
    pub reasoning: Vec<String>,
    /// The provider's signature of its reasoning: the signature of a thinking block, a thought signature, encrypted
    /// content. Without reasoning text it is sent alone, if the wire format allows that. Left out: one that the
    /// simulator creates, where the real provider always sends one.
    pub signature: Option<String>,
    /// The data of redacted reasoning blocks, after the reasoning.
    pub redacted_thinking: Vec<String>,
    /// The model's refusal text.
    pub refusal: Option<String>,
    /// Sources of the text.
    pub citations: Vec<Citation>,
    /// Web searches that were made for the answer, on wires that report them.
    pub searches: u64,
    /// Gives each text chunk's log probability, on the wires that have it beside the chunk.
    pub logprobs: bool,
    /// With OpenAI's names (`stop`, `length`, `tool_calls`, `content_filter`), each translated to the wire format; any
    /// other word is sent unchanged. Left out: `tool_calls` if there are some, `content_filter` for a refusal if the
    /// wire format ends that way, else `stop`. `null` sends the JSON null.
    pub finish_reason: Option<String>,
    pub prompt_tokens: u64,
    /// All tokens generated, reasoning included, over all choices. Left out: one per piece of text, reasoning
    /// and tool arguments, plus `reasoning_tokens` when no reasoning text is sent. A running answer has emitted
    /// its share for the chunks sent.
    pub completion_tokens: Option<u64>,
    /// The part of `prompt_tokens` that came from a cache.
    pub cached_tokens: u64,
    /// The part of `prompt_tokens` that was written to a cache for minutes.
    pub cache_write_tokens: u64,
    /// The part of `prompt_tokens` that was written to a cache for an hour.
    pub cache_write_1h_tokens: u64,
    /// The part of `prompt_tokens` that was audio.
    pub audio_prompt_tokens: u64,
    /// The part of the completion that was audio.
    pub audio_completion_tokens: u64,
    /// The part of the completion that was reasoning. Left out: the number of reasoning chunks.
    pub reasoning_tokens: Option<u64>,
    pub usage: UsagePlace,
    /// Drops the connection after this many content chunks (a unary reply in the middle of its body).
    pub cut_after: Option<usize>,
    /// Sends an error frame after this many content chunks and ends (a unary reply is a 503 instead).
    pub error_after: Option<usize>,
    /// Ends a stream without its closing mark: `[DONE]`, `message_stop`.
    pub no_done: bool,
    /// Opens a stream with a chunk that has only the role.
    pub role_chunk_first: bool,
    /// Sends `: keep-alive` lines (pings, on the wire that has them) between the chunks, blank lines before a
    /// unary body.
    pub comments: bool,
    /// Ends lines with CR LF, as one wire always does.
    pub crlf: bool,
    /// Writes the body in pieces of this many bytes, each flushed.
    pub split_bytes: Option<usize>,
    /// The whole body, sent as it is.
    pub raw_body: Option<String>,
    /// The frames of a stream, each sent as it is and counted as a content chunk.
    pub raw_frames: Option<Vec<String>>,
    /// Holds the reply back, head included, until it is released.
    pub gate: bool,
    /// Answers with the text of the last user message, word by word, byte for byte.
    pub echo: bool,
    pub service_tier: Option<String>,
    /// Any other credential is refused.
    pub accepted_keys: Option<Vec<String>>,
    /// The answers of endpoints other than conversations.
    pub kinds: KindScript,
}

/// A tool call of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// The arguments in pieces. Each is the inside of a JSON string, sent between quotes exactly as it is, so
    /// that it can hold escapes, half surrogates and raw separators.
    pub pieces: Vec<String>,
}

/// A web page that is a source of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Citation {
    pub url: String,
    pub title: String,
}

/// The place of the usage. Only OpenAI's chat wire format knows all places; the others know `Normal` and `Missing` and
/// treat the rest as `Normal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UsagePlace {
    /// Where the provider puts it.
    #[default]
    Normal,
    /// Nowhere.
    Missing,
    /// In the chunk with the finish reason, asked or not.
    InFinishChunk,
    /// On every chunk, counting up.
    EveryChunk,
    /// Only under `x_groq` of the chunk with the finish reason.
    XGroq,
    /// Inside the first choice of the chunk with the finish reason.
    InChoice,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            status: 200,
            error: None,
            headers: Vec::new(),
            latency_ms: 0,
            first_byte_ms: 0,
            chunk_gap_ms: 0,
            chunks: ["Hello", " from", " the", " simulated", " provider", "."].map(String::from).into(),
            tool_calls: Vec::new(),
            reasoning: Vec::new(),
            signature: None,
            redacted_thinking: Vec::new(),
            refusal: None,
            citations: Vec::new(),
            searches: 0,
            logprobs: false,
            finish_reason: None,
            prompt_tokens: 12,
            completion_tokens: None,
            cached_tokens: 0,
            cache_write_tokens: 0,
            cache_write_1h_tokens: 0,
            audio_prompt_tokens: 0,
            audio_completion_tokens: 0,
            reasoning_tokens: None,
            usage: UsagePlace::Normal,
            cut_after: None,
            error_after: None,
            no_done: false,
            role_chunk_first: true,
            comments: false,
            crlf: false,
            split_bytes: None,
            raw_body: None,
            raw_frames: None,
            gate: false,
            echo: false,
            service_tier: None,
            accepted_keys: None,
            kinds: KindScript::default(),
        }
    }
}

impl Script {
    /// An answer of these chunks.
    pub fn text(chunks: &[&str]) -> Self {
        Self { chunks: owned(chunks), ..Self::default() }
    }

    /// An answer of `count` chunks of one token each.
    pub fn long(count: usize) -> Self {
        Self { chunks: (0..count).map(|index| format!(" word{index}")).collect(), ..Self::default() }
    }

    /// An answer that only calls tools.
    pub fn tools(calls: Vec<ToolCall>) -> Self {
        Self { chunks: Vec::new(), tool_calls: calls, ..Self::default() }
    }

    /// A failure with exactly this body.
    pub fn error(status: u16, body: &str) -> Self {
        Self { status, error: Some(body.to_owned()), ..Self::default() }
    }

    /// A failure in the provider's own shape.
    pub fn failing(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A 429 that asks to wait.
    pub fn rate_limited(retry_after_seconds: u64) -> Self {
        Self::failing(429).with_header("retry-after", &retry_after_seconds.to_string())
    }

    /// Exactly this body with status 200.
    pub fn raw_body(body: &str) -> Self {
        Self { raw_body: Some(body.to_owned()), ..Self::default() }
    }

    /// A stream of exactly these frames.
    pub fn raw_frames(frames: &[&str]) -> Self {
        Self { raw_frames: Some(owned(frames)), ..Self::default() }
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn with_tokens(mut self, prompt: u64, completion: u64) -> Self {
        self.prompt_tokens = prompt;
        self.completion_tokens = Some(completion);
        self
    }

    #[must_use]
    pub fn with_gap_ms(mut self, chunk_gap_ms: u64) -> Self {
        self.chunk_gap_ms = chunk_gap_ms;
        self
    }

    #[must_use]
    pub fn gated(mut self) -> Self {
        self.gate = true;
        self
    }
}

impl ToolCall {
    pub fn new(id: &str, name: &str, pieces: &[&str]) -> Self {
        Self { id: id.to_owned(), name: name.to_owned(), pieces: owned(pieces) }
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
