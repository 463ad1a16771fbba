//! The simulated providers as data: their paths and the differences of their replies. What they refuse is in `refuse`,
//! their errors in `errors`.

/// One provider.
pub(super) struct Row {
    pub id: &'static str,
    /// The path of its public base URL.
    pub base: &'static str,
    /// Where answers are generated, below `/<id>`, and in which wire format. Gemini's path is a beginning: the
    /// model and what is to be done with it follow.
    pub served: &'static [(Format, &'static str)],
    /// Free calls that show whether a key works: method, path below `/<id>`, body of a successful answer.
    pub key_checks: &'static [(&'static str, &'static str, &'static str)],
    pub usage: Usage,
    pub usage_form: UsageForm,
    pub reasoning: Reasoning,
    pub tools: ToolDeltas,
}

/// A wire format in which answers are generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Chat,
    Messages,
    Gemini,
    Cohere,
    Responses,
}

/// The place of usage in a stream, in OpenAI's chat wire format.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// An extra last chunk with empty choices.
    ExtraChunk { unasked: bool },
    /// The chunk with the finish reason.
    FinishChunk { unasked: bool },
    /// Likewise, and again under `x_groq`.
    FinishChunkAndXGroq,
}

/// What the usage object holds besides the three totals.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UsageForm {
    Details,
    /// `completion_tokens` does not include reasoning, the total does.
    ReasoningOutside,
    NumCached,
    CacheHitAndMiss,
    Timed,
    CachedAtTop,
}

/// Which field of a message or delta holds reasoning text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reasoning {
    /// `reasoning_content`. OpenAI itself shows none on chat; servers that copy its format use this name.
    Content,
    /// `reasoning`.
    Plain,
    /// Both names at once.
    Both,
    /// `content` becomes a list with a `thinking` part.
    ThinkingPart,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ToolDeltas {
    /// Name first, then the arguments in pieces.
    Pieces,
    /// One whole call per chunk.
    Whole,
    /// A call of one piece comes whole, without index and type; one of more pieces repeats the id and has an
    /// empty name in the later ones.
    WholeOrNamed,
}

const MODEL_LIST: &str = r#"{"object":"list","data":[{"id":"simulated","object":"model","created":1760000000,"owned_by":"simulator"}]}"#;

const COMPATIBLE: Row = Row {
    id: "",
    base: "/v1",
    served: &[(Format::Chat, "/v1/chat/completions")],
    key_checks: &[("GET", "/v1/models", MODEL_LIST)],
    usage: Usage::FinishChunk { unasked: true },
    usage_form: UsageForm::Details,
    reasoning: Reasoning::Content,
    tools: ToolDeltas::Pieces,
};

static ROWS: &[Row] = &[
    Row {
        id: "openai",
        served: &[(Format::Chat, "/v1/chat/completions"), (Format::Responses, "/v1/responses")],
        usage: Usage::ExtraChunk { unasked: false },
        ..COMPATIBLE
    },
    Row {
        id: "anthropic",
        base: "",
        served: &[(Format::Messages, "/v1/messages")],
        key_checks: &[(
            "GET",
            "/v1/models",
            r#"{"data":[{"type":"model","id":"simulated","display_name":"Simulated","created_at":"2025-10-09T00:00:00Z"}],"has_more":false,"first_id":"simulated","last_id":"simulated"}"#,
        )],
        ..COMPATIBLE
    },
    Row {
        id: "google",
        base: "/v1beta",
        served: &[(Format::Gemini, "/v1beta/models/")],
        key_checks: &[(
            "GET",
            "/v1beta/models",
            r#"{"models":[{"name":"models/simulated","displayName":"Simulated","supportedGenerationMethods":["generateContent","countTokens"]}]}"#,
        )],
        ..COMPATIBLE
    },
    Row {
        id: "xai",
        served: &[(Format::Chat, "/v1/chat/completions"), (Format::Responses, "/v1/responses")],
        key_checks: &[
            ("GET", "/v1/models", MODEL_LIST),
            (
                "GET",
                "/v1/api-key",
                r#"{"redacted_api_key":"xai-...lated","name":"simulated","acls":["api-key:model:*","api-key:endpoint:*"],"api_key_blocked":false,"api_key_disabled":false,"team_blocked":false}"#,
            ),
        ],
        usage: Usage::ExtraChunk { unasked: true },
        usage_form: UsageForm::ReasoningOutside,
        tools: ToolDeltas::Whole,
        ..COMPATIBLE
    },
    Row {
        id: "mistral",
        usage_form: UsageForm::NumCached,
        reasoning: Reasoning::ThinkingPart,
        tools: ToolDeltas::WholeOrNamed,
        ..COMPATIBLE
    },
    Row {
        id: "deepseek",
        base: "",
        served: &[
            (Format::Chat, "/chat/completions"),
            (Format::Chat, "/v1/chat/completions"),
            (Format::Messages, "/anthropic/v1/messages"),
        ],
        key_checks: &[
            ("GET", "/models", MODEL_LIST),
            ("GET", "/v1/models", MODEL_LIST),
            (
                "GET",
                "/user/balance",
                r#"{"is_available":true,"balance_infos":[{"currency":"USD","total_balance":"10.00","granted_balance":"0.00","topped_up_balance":"10.00"}]}"#,
            ),
        ],
        usage: Usage::FinishChunk { unasked: false },
        usage_form: UsageForm::CacheHitAndMiss,
        ..COMPATIBLE
    },
    Row {
        id: "groq",
        base: "/openai/v1",
        served: &[(Format::Chat, "/openai/v1/chat/completions"), (Format::Responses, "/openai/v1/responses")],
        key_checks: &[("GET", "/openai/v1/models", MODEL_LIST)],
        usage: Usage::FinishChunkAndXGroq,
        usage_form: UsageForm::Timed,
        reasoning: Reasoning::Plain,
        ..COMPATIBLE
    },
    Row {
        id: "cohere",
        base: "",
        served: &[(Format::Cohere, "/v2/chat")],
        key_checks: &[
            (
                "POST",
                "/v1/check-api-key",
                r#"{"valid":true,"organization_id":"simulated","owner_id":"simulated"}"#,
            ),
            (
                "GET",
                "/v1/models",
                r#"{"models":[{"name":"simulated","endpoints":["chat"],"context_length":128000}]}"#,
            ),
        ],
        ..COMPATIBLE
    },
    Row { id: "perplexity", base: "", served: &[(Format::Responses, "/v1/responses")], ..COMPATIBLE },
    Row { id: "cerebras", reasoning: Reasoning::Plain, ..COMPATIBLE },
    Row {
        id: "together_ai",
        key_checks: &[
            ("GET", "/v1/models", MODEL_LIST),
            ("GET", "/v3/whoami", r#"{"id":"simulated","name":"simulated"}"#),
        ],
        usage: Usage::FinishChunk { unasked: false },
        reasoning: Reasoning::Both,
        ..COMPATIBLE
    },
    Row {
        id: "fireworks_ai",
        base: "/inference/v1",
        served: &[
            (Format::Chat, "/inference/v1/chat/completions"),
            (Format::Responses, "/inference/v1/responses"),
            (Format::Messages, "/inference/v1/messages"),
        ],
        key_checks: &[("GET", "/inference/v1/models", MODEL_LIST)],
        ..COMPATIBLE
    },
    Row {
        id: "moonshot",
        key_checks: &[
            ("GET", "/v1/models", MODEL_LIST),
            (
                "GET",
                "/v1/users/me/balance",
                r#"{"code":0,"data":{"available_balance":10.0,"voucher_balance":0.0,"cash_balance":10.0},"scode":"0x0","status":true}"#,
            ),
        ],
        usage_form: UsageForm::CachedAtTop,
        ..COMPATIBLE
    },
];

pub(super) fn find(id: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.id == id)
}

impl Row {
    /// The wire format served at a path, and what of the path follows its own part.
    pub(super) fn format_at<'a>(&self, path: &'a str) -> Option<(Format, &'a str)> {
        self.served.iter().find_map(|(format, served)| {
            let rest = path.strip_prefix(served)?;
            let whole = match format {
                Format::Gemini => true,
                Format::Messages => rest.is_empty() || rest == "/count_tokens",
                _ => rest.is_empty(),
            };
            whole.then_some((*format, rest))
        })
    }
}

/// The provider whose error format is used for this wire format: Anthropic's errors are part of its wire format.
pub(super) fn speaker(row: &'static Row, format: Format) -> &'static Row {
    if format == Format::Messages { find("anthropic").unwrap_or(row) } else { row }
}

#[cfg(test)]
pub(super) fn all() -> &'static [Row] {
    ROWS
}
