//! A client's request, independent of its dialect.

use super::{signature::Signature, web_search::WebSearch};
use crate::{
    Dialect,
    json::{Cursor, DEPTH_LIMIT, Escaped, JsonError, Raw},
};
use std::borrow::Cow;

/// A JSON value as text: borrowed from the client's body, or created.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Json<'a>(Cow<'a, str>);

/// One request.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Request<'a> {
    /// In the client's order; system turns keep their place.
    pub turns: Vec<Turn<'a>>,
    pub tools: Vec<Tool<'a>>,
    /// `None`: the client did not state it, which means [`ToolChoice::Auto`] everywhere.
    pub tool_choice: Option<ToolChoice<'a>>,
    pub parallel_tools: Option<bool>,
    pub format: Format<'a>,
    /// Tokens of the answer.
    pub output_limit: Option<u64>,
    pub stop: Vec<Escaped<'a>>,
    pub thinking: Thinking,
    /// Number of answers; 0 and 1 both mean one.
    pub n: u64,
    pub logprobs: Option<Logprobs>,
    pub stream: bool,
    /// Everything else, in the client's order.
    pub settings: Vec<Setting<'a>>,
}

/// One turn of the conversation. Consecutive turns of one role may occur; writers merge them if the wire format
/// requires it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn<'a> {
    pub role: Role,
    /// The participant's name, for the dialects that have names.
    pub name: Option<Escaped<'a>>,
    pub parts: Vec<Part<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    System,
    /// OpenAI's newer name for system; the same everywhere else.
    Developer,
    /// Also carries tool results.
    User,
    Assistant,
}

/// A part of a turn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part<'a> {
    Text {
        text: Escaped<'a>,
        cache: Option<Cache>,
    },
    Image {
        source: Source<'a>,
        /// OpenAI's `detail`.
        detail: Option<Escaped<'a>>,
        cache: Option<Cache>,
    },
    /// Base64 of `wav`, `mp3`, …
    Audio {
        data: Escaped<'a>,
        format: Escaped<'a>,
    },
    /// A document; PDF unless the source states another type.
    File {
        source: Source<'a>,
        name: Option<Escaped<'a>>,
        cache: Option<Cache>,
    },
    Refusal(Escaped<'a>),
    Reasoning(Reasoning<'a>),
    ToolCall(ToolCall<'a>),
    ToolResult(ToolResult<'a>),
}

/// A marker up to which a provider should cache the prompt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cache {
    Short,
    /// For an hour.
    Hour,
}

/// The place of a medium.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source<'a> {
    /// Embedded, base64.
    Data {
        media_type: Escaped<'a>,
        data: Escaped<'a>,
    },
    Url(Escaped<'a>),
    /// Stored by the provider of this dialect, which alone can resolve it.
    Id {
        id: Escaped<'a>,
        dialect: Dialect,
    },
    /// A plain text document.
    Text(Escaped<'a>),
}

/// The model's reasoning in an earlier turn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reasoning<'a> {
    /// Empty if it is redacted or was never shown.
    pub text: Escaped<'a>,
    /// Data that its provider requires back with it.
    pub signature: Option<Signature<'a>>,
    /// The signature is the complete content, encrypted by the provider.
    pub redacted: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToolCall<'a> {
    pub id: Escaped<'a>,
    pub name: Escaped<'a>,
    /// The JSON text that the model wrote, as the inside of a JSON string. May be empty.
    pub arguments: Escaped<'a>,
    /// Data that its provider requires back with the call (Gemini).
    pub signature: Option<Signature<'a>>,
    pub cache: Option<Cache>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToolResult<'a> {
    pub call_id: Escaped<'a>,
    /// [`Part::Text`], [`Part::Image`] and [`Part::File`] only.
    pub content: Vec<Part<'a>>,
    pub is_error: bool,
    pub cache: Option<Cache>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tool<'a> {
    pub kind: ToolKind<'a>,
    pub cache: Option<Cache>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToolKind<'a> {
    Function {
        name: Escaped<'a>,
        description: Option<Escaped<'a>>,
        /// A JSON schema.
        parameters: Option<Json<'a>>,
        strict: Option<bool>,
    },
    WebSearch(WebSearch<'a>),
    /// A tool that only providers of this dialect know, such as code execution: its JSON.
    Native {
        dialect: Dialect,
        name: Escaped<'a>,
        json: Json<'a>,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToolChoice<'a> {
    Auto,
    Never,
    Required,
    Named(Escaped<'a>),
    /// Only these, and `required` or not.
    Allowed {
        names: Vec<Escaped<'a>>,
        required: bool,
    },
}

/// The output format.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Format<'a> {
    #[default]
    Text,
    JsonObject,
    JsonSchema {
        name: Option<Escaped<'a>>,
        description: Option<Escaped<'a>>,
        schema: Json<'a>,
        strict: Option<bool>,
    },
}

/// How much the model should reason before it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Thinking {
    pub effort: Option<Effort>,
    /// Tokens; Anthropic's older models and Gemini 2.5 use this form.
    pub budget_tokens: Option<u64>,
    /// Whether the client wants to read the reasoning; `None`: not stated.
    pub visible: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Logprobs {
    /// Alternatives for each token.
    pub top: u64,
}

/// A field that can be carried without understanding it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting<'a> {
    pub what: What,
    /// The client's name for it, for [`Encoded::dropped`](crate::Encoded::dropped).
    pub name: Cow<'a, str>,
    pub value: Json<'a>,
}

/// The meaning of a setting, independent of its name in a dialect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    Temperature,
    TopP,
    TopK,
    FrequencyPenalty,
    PresencePenalty,
    Seed,
    LogitBias,
    /// An end user's opaque id: `user`, `safety_identifier`, `metadata.user_id`.
    User,
    ServiceTier,
    /// Pairs that the provider stores with the request.
    Metadata,
    Store,
    PromptCacheKey,
    Verbosity,
    /// Known only to the client's dialect, or to none.
    Native,
}

impl<'a> Json<'a> {
    pub fn of(raw: Raw<'a>) -> Json<'a> {
        Json(Cow::Borrowed(raw.get()))
    }

    /// From text that must be one JSON value.
    pub fn parse(text: String) -> Result<Json<'static>, JsonError> {
        let mut cursor = Cursor::new(text.as_bytes(), DEPTH_LIMIT)?;
        cursor.value()?;
        cursor.end()?;
        Ok(Json(Cow::Owned(text)))
    }

    /// From text that is valid JSON by construction (a writer's own template around checked values).
    pub fn trusted(text: String) -> Json<'static> {
        Json(Cow::Owned(text))
    }

    pub fn get(&self) -> &str {
        &self.0
    }

    /// The value, for a walk over it. `Null` only if a template of ours was invalid.
    pub fn raw(&self) -> Raw<'_> {
        Raw::trimmed(&self.0)
    }

    pub fn into_owned(self) -> Json<'static> {
        Json(Cow::Owned(self.0.into_owned()))
    }
}

impl Request<'_> {
    /// The first setting with that meaning.
    pub fn setting(&self, what: What) -> Option<&Setting<'_>> {
        self.settings.iter().find(|setting| setting.what == what)
    }
}

impl Request<'_> {
    /// Whether a medium is named by an object that a provider stores.
    pub fn references_stored_objects(&self) -> bool {
        self.turns.iter().flat_map(|turn| &turn.parts).any(Part::references_stored_objects)
    }
}

impl Part<'_> {
    fn references_stored_objects(&self) -> bool {
        match self {
            Part::Image { source, .. } | Part::File { source, .. } => source.is_kept(),
            Part::ToolResult(result) => result.content.iter().any(Part::references_stored_objects),
            _ => false,
        }
    }
}

impl Source<'_> {
    fn is_kept(&self) -> bool {
        match self {
            Source::Id { .. } => true,
            Source::Url(url) => is_kept_at(&url.decode()),
            Source::Data { .. } | Source::Text(_) => false,
        }
    }
}

/// Whether only an account at a provider can open the address: any address outside the web, and Google's own files,
/// which are on the web but need a key.
pub fn is_kept_at(url: &str) -> bool {
    let url = url.trim().to_ascii_lowercase();
    let web = ["https://", "http://", "data:"].iter().any(|scheme| url.starts_with(scheme));
    !web || url.contains("generativelanguage.googleapis.com")
}

impl<'a> ToolCall<'a> {
    /// The arguments as text: without content it is `{}`.
    pub fn spoken_arguments(&self) -> Escaped<'_> {
        // Some models write nothing, and some `null`, for a call without arguments.
        let absent = self.arguments.is_blank() || self.arguments.inner().trim() == "null";
        if absent { Escaped::from_inner("{}") } else { self.arguments.borrowed() }
    }

    /// The arguments as one JSON object: without content it is `{}`, anything that is not an object is `None`.
    pub fn object(&self) -> Option<Json<'static>> {
        let json = Json::parse(self.spoken_arguments().decode_json().into_owned()).ok()?;
        json.get().trim_start().starts_with('{').then_some(json)
    }
}

/// Reasoning budgets up to these numbers of tokens count as low and as medium effort.
const LOW_TOKENS_MAX: u64 = 1024;
const MEDIUM_TOKENS_MAX: u64 = 8192;

impl Effort {
    /// The effort level of a budget, for models that take levels.
    pub fn of_budget(tokens: u64) -> Effort {
        match tokens {
            0 => Effort::None,
            1..=LOW_TOKENS_MAX => Effort::Low,
            _ if tokens <= MEDIUM_TOKENS_MAX => Effort::Medium,
            _ => Effort::High,
        }
    }

    /// The budget of an effort level, for models that take budgets: the tokens that common client libraries send for
    /// the levels.
    pub fn budget_tokens(self) -> u64 {
        match self {
            Effort::None => 0,
            Effort::Minimal => 512,
            Effort::Low => 1024,
            Effort::Medium => 2048,
            Effort::High => 4096,
            Effort::XHigh => 8192,
            Effort::Max => 16_384,
        }
    }

    pub fn by_name(name: &str) -> Option<Effort> {
        Some(match name {
            "none" => Effort::None,
            "minimal" => Effort::Minimal,
            "low" => Effort::Low,
            "medium" => Effort::Medium,
            "high" => Effort::High,
            "xhigh" => Effort::XHigh,
            "max" => Effort::Max,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
            Effort::Max => "max",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_becomes_an_effort_by_one_table() {
        for (tokens, effort) in [
            (0, Effort::None),
            (1, Effort::Low),
            (1024, Effort::Low),
            (1025, Effort::Medium),
            (8192, Effort::Medium),
            (8193, Effort::High),
            (u64::MAX, Effort::High),
        ] {
            assert_eq!(Effort::of_budget(tokens), effort, "{tokens}");
        }
    }

    #[test]
    fn more_effort_is_more_budget() {
        use Effort::{High, Low, Max, Medium, Minimal, None, XHigh};
        let budgets = [None, Minimal, Low, Medium, High, XHigh, Max].map(Effort::budget_tokens);
        assert!(budgets.is_sorted_by(|less, more| less < more));
        assert_eq!(Effort::of_budget(0).budget_tokens(), 0, "none is none both ways");
    }
}
