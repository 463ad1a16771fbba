//! Differences of a provider from OpenAI's chat format, as data. Contains no provider names.

/// The name of a field in the request to this provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// As the client sent it.
    Keep,
    /// Under another name.
    Rename(&'static str),
    /// Removed, and listed for the client as dropped.
    Drop,
}

/// Differences from OpenAI's chat format. [`PLAIN`] has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quirks {
    /// `max_tokens`: kept, or renamed to `max_completion_tokens`.
    pub max_tokens: Field,
    /// `max_completion_tokens`: kept, or renamed to `max_tokens`.
    pub max_completion_tokens: Field,
    pub seed: Field,
    pub user: Field,
    /// Sampling hints and bookkeeping that the provider refuses or ignores: removed and listed in
    /// `X-KairosRoute-Dropped`.
    pub dropped: &'static [&'static str],
    /// Fields that change the answer and that the provider refuses: a request with one is not sent there.
    pub refused: &'static [&'static str],
    /// `guardrails` belong to the provider. Elsewhere they would have no effect, so a request with them is not sent
    /// there.
    pub guardrails: bool,
    /// `n` above 1 is refused.
    pub single_choice: bool,
    /// `stream_options` may be sent; otherwise usage is sent without a request for it and the field is removed.
    pub stream_options: bool,
    /// `response_format` of type `json_schema` is refused: the gateway requests JSON and writes the schema into the
    /// prompt.
    pub no_json_schema: bool,
    /// `name` on messages: allowed on any, only on tool messages, or on none.
    pub message_name: MessageName,
    /// The name of the history's reasoning text here; empty: it is left out.
    pub reasoning_field: &'static str,
    /// The accepted values of `reasoning_effort`; empty: any. Others are removed and listed as dropped.
    pub efforts: &'static [&'static str],
    /// `reasoning_effort: none` is written as `thinking: {type: disabled}`.
    pub effort_none_as_thinking: bool,
    /// `logprobs` is a number (how many) instead of a switch and `top_logprobs`.
    pub logprobs_as_count: bool,
    /// Only one of `max_tokens` and `max_completion_tokens` may be sent.
    pub one_output_limit: bool,
    /// Assistant messages without content and calls are refused, and one at the end needs `prefix: true`.
    pub strict_assistant: bool,
    /// Members of messages that OpenAI writes into answers are refused in a history.
    pub strict_messages: bool,
    /// `developer` is not a known role: send `system`.
    pub developer_as_system: bool,
    /// `strict` and `additionalProperties: false` are removed from tool schemas.
    pub loose_tool_schemas: bool,
    /// Tool call ids must be exactly nine letters or digits.
    pub short_tool_ids: bool,
    /// The differences of its answers from OpenAI's.
    pub answers: Answers,
    /// The reported completion tokens do not include reasoning: add it before billing.
    pub reasoning_outside_output: bool,
    /// An output limit must be sent, because the provider reserves it at admission.
    pub wants_output_limit: bool,
    /// A completion takes one prompt, as a string and not as a list.
    pub one_prompt: bool,
}

/// Differences of answers from OpenAI's chat format; chat clients get OpenAI's format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answers {
    /// Content may be a list of parts, including reasoning.
    pub content_parts: bool,
    /// Calls may lack their number and type, or repeat an empty name.
    pub loose_calls: bool,
    /// Other finish reasons, each with OpenAI's equivalent.
    pub finish_words: &'static [(&'static str, &'static str)],
    /// An empty finish reason after calls means that they are the end.
    pub empty_finish_ends_calls: bool,
    /// Reasoning may be called `reasoning`.
    pub reasoning_by_another_name: bool,
    /// The service tier may have a name that OpenAI does not use.
    pub other_tiers: bool,
}

impl Answers {
    /// OpenAI's format.
    pub const PLAIN: Answers = Answers {
        content_parts: false,
        loose_calls: false,
        finish_words: &[],
        empty_finish_ends_calls: false,
        reasoning_by_another_name: false,
        other_tiers: false,
    };
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageName {
    Any,
    ToolOnly,
    None,
}

/// No difference from OpenAI's chat format.
pub const PLAIN: Quirks = Quirks {
    max_tokens: Field::Keep,
    max_completion_tokens: Field::Keep,
    seed: Field::Keep,
    user: Field::Keep,
    dropped: &[],
    refused: &[],
    guardrails: false,
    single_choice: false,
    stream_options: true,
    no_json_schema: false,
    message_name: MessageName::Any,
    reasoning_field: "reasoning_content",
    efforts: &[],
    effort_none_as_thinking: false,
    logprobs_as_count: false,
    one_output_limit: false,
    strict_assistant: false,
    strict_messages: false,
    developer_as_system: true,
    loose_tool_schemas: false,
    short_tool_ids: false,
    answers: Answers::PLAIN,
    reasoning_outside_output: false,
    wants_output_limit: false,
    one_prompt: false,
};

/// The tool names that a provider accepts: ASCII letters, digits, `_` and `-`, within these limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ToolNames {
    pub chars_max: usize,
    /// The first character is a letter or `_`.
    pub letter_first: bool,
}

/// Providers whose answers count their web searches, in the dialects that offer a search: a search that is not counted
/// cannot be billed.
const SEARCHES_COUNTED: &[&str] = &["openai", "anthropic", "google", "xai", "perplexity"];

impl super::ProviderId {
    /// See [`SEARCHES_COUNTED`].
    pub fn counts_searches(self) -> bool {
        SEARCHES_COUNTED.contains(&self.as_str())
    }
}
