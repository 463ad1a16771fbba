//! The providers as data. An OpenAI-compatible provider is one row of [`PROVIDERS`]: names, address, key format, and
//! its differences from the wire format. The facts come from the providers' SDKs and documents, November 2026.

use super::kind::Kind;
use std::fmt;

pub mod data_policy;
mod kinds;
mod quirks;

pub use kinds::{Serves, Shape};
pub use quirks::{Answers, Field, MessageName, PLAIN, Quirks, ToolNames};

/// A provider of the table. Copy, compares by row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderId(u8);

/// How a call carries the provider's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auth {
    Bearer,
    /// A header of this (lower-case) name that holds the bare key.
    Header(&'static str),
}

/// A wire format for conversations, between client and gateway and between gateway and provider.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
    /// Google's generateContent.
    Gemini,
    /// Cohere's chat, version 2.
    Cohere,
    /// OpenAI's text completions, the format before messages.
    Completions,
}

/// What the provider bills when the gateway closes the connection of a running answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDisconnect {
    /// Closing the connection stops generation and billing.
    Cancel,
    /// It generates and bills the whole answer: read on to learn the usage.
    Drain,
}

/// How much of the reasoning of its models is visible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thoughts {
    /// All of them are shown as text.
    Shown,
    /// Hidden or summarized, for models that were asked to reason and for those that reason by default.
    Hidden,
    /// The same, and its models reason unless a request turns it off.
    HiddenByDefault,
}

/// How the gateway asks the provider to count the tokens of a prompt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Count {
    /// As in Anthropic's Messages, at this path.
    Messages(&'static str),
    /// The method `countTokens` of the model.
    Gemini,
}

/// A free call that shows whether a key works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyCheck {
    pub method: CheckMethod,
    /// Appended to the base URL, or to its origin when `from_origin`.
    pub path: &'static str,
    pub from_origin: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckMethod {
    Get,
    /// `POST` without a body; the answer contains `valid: true|false`.
    PostValid,
}

/// One provider.
pub struct Provider {
    /// Stable identifier, used in model names and the database.
    pub id: &'static str,
    /// Display name, as in `X-KairosRoute-Provider`.
    pub name: &'static str,
    /// Other names in use; matched without case, space, dash or underscore.
    pub aliases: &'static [&'static str],
    /// `<env>_API_KEY` and `<env>_BASE_URL`.
    pub env: &'static str,
    /// Public base URL, without a trailing slash; `chat_path` and others follow it.
    pub base_url: &'static str,
    pub auth: Auth,
    /// The dialect in which it is called when it does not support the client's.
    pub dialect: Dialect,
    /// Other dialects that it supports, with their paths below the base URL: requests in these dialects pass through.
    pub also: &'static [(Dialect, &'static str)],
    pub chat_path: &'static str,
    /// Its endpoint kinds other than conversations.
    pub kinds: &'static [Serves],
    /// Sent with every call.
    pub headers: &'static [(&'static str, &'static str)],
    /// Stores answers, so that a later request may refer to one by its id (Responses).
    pub keeps_state: bool,
    /// Where it counts a prompt's tokens for free: a path below the base URL, instead of the path for answers.
    pub count: Option<Count>,
    /// Fetches images and documents that a request names by URL; for other providers the gateway does.
    pub fetches_urls: bool,
    /// Some of its models or requests are served on Responses only, at its own host.
    pub bridges_to_responses: bool,
    /// A request without a service tier uses the tier that the account is set to.
    pub tier_by_account: bool,
    /// The catalogue's sources list the abilities of its models: an ability that is not listed is missing.
    pub lists_abilities: bool,
    /// For a model without a mode for JSON schemas, the schema is enforced by a forced tool or by the prompt.
    pub schema_by_prompt: bool,
    pub key_check: KeyCheck,
    /// How its keys usually begin. Used for a warning only, never to refuse a key.
    pub key_prefixes: &'static [&'static str],
    pub on_disconnect: OnDisconnect,
    pub thoughts: Thoughts,
    pub tool_names: ToolNames,
    pub quirks: Quirks,
}

const MODELS: KeyCheck = KeyCheck { method: CheckMethod::Get, path: "/models", from_origin: false };

const COMPATIBLE: Provider = Provider {
    id: "",
    name: "",
    aliases: &[],
    env: "",
    base_url: "",
    auth: Auth::Bearer,
    dialect: Dialect::Chat,
    also: &[],
    chat_path: "/chat/completions",
    kinds: &[],
    headers: &[],
    keeps_state: false,
    bridges_to_responses: false,
    tier_by_account: false,
    fetches_urls: true,
    count: None,
    lists_abilities: true,
    schema_by_prompt: false,
    key_check: MODELS,
    key_prefixes: &[],
    on_disconnect: OnDisconnect::Cancel,
    thoughts: Thoughts::Shown,
    tool_names: ToolNames { chars_max: 64, letter_first: false },
    quirks: PLAIN,
};

/// Every provider, in the order in which they are listed.
pub static PROVIDERS: &[Provider] = &[
    Provider {
        id: "openai",
        name: "OpenAI",
        env: "OPENAI",
        base_url: "https://api.openai.com/v1",
        kinds: kinds::OPENAI,
        keeps_state: true,
        bridges_to_responses: true,
        tier_by_account: true,
        thoughts: Thoughts::Hidden,
        also: &[(Dialect::Responses, "/responses")],
        key_prefixes: &["sk-proj-", "sk-svcacct-", "sk-service-", "sk-admin-"],
        quirks: Quirks { developer_as_system: false, ..PLAIN },
        ..COMPATIBLE
    },
    Provider {
        id: "anthropic",
        schema_by_prompt: true,
        name: "Anthropic",
        aliases: &["claude"],
        env: "ANTHROPIC",
        base_url: "https://api.anthropic.com",
        count: Some(Count::Messages("/v1/messages/count_tokens")),
        auth: Auth::Header("x-api-key"),
        dialect: Dialect::Messages,
        chat_path: "/v1/messages",
        headers: &[("anthropic-version", "2023-06-01")],
        key_check: KeyCheck { path: "/v1/models", ..MODELS },
        key_prefixes: &["sk-ant-"],
        tool_names: ToolNames { chars_max: 128, letter_first: false },
        thoughts: Thoughts::Hidden,
        ..COMPATIBLE
    },
    Provider {
        id: "google",
        schema_by_prompt: true,
        name: "Google",
        aliases: &["gemini"],
        env: "GOOGLE",
        base_url: "https://generativelanguage.googleapis.com/v1beta",
        fetches_urls: false,
        count: Some(Count::Gemini),
        kinds: kinds::GOOGLE,
        auth: Auth::Header("x-goog-api-key"),
        dialect: Dialect::Gemini,
        chat_path: "",
        key_prefixes: &["AQ.", "AIza"],
        tool_names: ToolNames { chars_max: 64, letter_first: true },
        thoughts: Thoughts::HiddenByDefault,
        on_disconnect: OnDisconnect::Drain,
        ..COMPATIBLE
    },
    Provider {
        id: "xai",
        name: "xAI",
        aliases: &["grok"],
        env: "XAI",
        base_url: "https://api.x.ai/v1",
        kinds: kinds::XAI,
        keeps_state: true,
        also: &[(Dialect::Responses, "/responses")],
        key_check: KeyCheck { path: "/api-key", ..MODELS },
        key_prefixes: &["xai-"],
        thoughts: Thoughts::HiddenByDefault,
        quirks: Quirks {
            refused: &["search_parameters", "web_search_options", "modalities", "audio"],
            loose_tool_schemas: true,
            answers: Answers { empty_finish_ends_calls: true, ..Answers::PLAIN },
            reasoning_outside_output: true,
            ..PLAIN
        },
        ..COMPATIBLE
    },
    Provider {
        id: "mistral",
        name: "Mistral",
        aliases: &["mistralai"],
        env: "MISTRAL",
        base_url: "https://api.mistral.ai/v1",
        kinds: kinds::MISTRAL,
        on_disconnect: OnDisconnect::Drain,
        quirks: Quirks {
            max_completion_tokens: Field::Rename("max_tokens"),
            seed: Field::Rename("random_seed"),
            user: Field::Drop,
            dropped: &["store", "logit_bias", "verbosity", "safety_identifier"],
            refused: &["web_search_options", "modalities", "audio"],
            guardrails: true,
            stream_options: false,
            message_name: MessageName::ToolOnly,
            reasoning_field: "",
            efforts: &["none", "high"],
            strict_assistant: true,
            strict_messages: true,
            short_tool_ids: true,
            answers: Answers {
                content_parts: true,
                loose_calls: true,
                finish_words: &[("model_length", "length")],
                ..Answers::PLAIN
            },
            ..PLAIN
        },
        ..COMPATIBLE
    },
    Provider {
        id: "deepseek",
        schema_by_prompt: true,
        name: "DeepSeek",
        env: "DEEPSEEK",
        base_url: "https://api.deepseek.com",
        also: &[(Dialect::Messages, "/anthropic/v1/messages")],
        quirks: Quirks {
            max_completion_tokens: Field::Rename("max_tokens"),
            seed: Field::Drop,
            user: Field::Rename("user_id"),
            dropped: &["logit_bias", "parallel_tool_calls", "service_tier", "top_k", "store", "prediction"],
            refused: &["modalities", "audio"],
            single_choice: true,
            no_json_schema: true,
            effort_none_as_thinking: true,
            ..PLAIN
        },
        ..COMPATIBLE
    },
    Provider {
        id: "groq",
        name: "Groq",
        env: "GROQ",
        base_url: "https://api.groq.com/openai/v1",
        kinds: kinds::GROQ,
        also: &[(Dialect::Responses, "/responses")],
        key_prefixes: &["gsk_"],
        on_disconnect: OnDisconnect::Drain,
        quirks: Quirks {
            max_tokens: Field::Rename("max_completion_tokens"),
            dropped: &["logit_bias", "top_k", "prediction"],
            refused: &["logprobs", "top_logprobs", "modalities", "audio"],
            single_choice: true,
            stream_options: false,
            message_name: MessageName::None,
            reasoning_field: "reasoning",
            strict_messages: true,
            answers: Answers { reasoning_by_another_name: true, other_tiers: true, ..Answers::PLAIN },
            ..PLAIN
        },
        ..COMPATIBLE
    },
    Provider {
        id: "cohere",
        schema_by_prompt: true,
        name: "Cohere",
        env: "COHERE",
        base_url: "https://api.cohere.com",
        kinds: kinds::COHERE,
        dialect: Dialect::Cohere,
        chat_path: "/v2/chat",
        key_check: KeyCheck { method: CheckMethod::PostValid, path: "/v1/check-api-key", from_origin: false },
        ..COMPATIBLE
    },
    Provider {
        id: "perplexity",
        lists_abilities: false,
        name: "Perplexity",
        env: "PERPLEXITY",
        base_url: "https://api.perplexity.ai",
        kinds: kinds::PERPLEXITY,
        keeps_state: true,
        dialect: Dialect::Responses,
        chat_path: "/v1/responses",
        key_check: KeyCheck { path: "/v1/models", ..MODELS },
        key_prefixes: &["pplx-"],
        on_disconnect: OnDisconnect::Drain,
        ..COMPATIBLE
    },
    Provider {
        id: "cerebras",
        name: "Cerebras",
        env: "CEREBRAS",
        base_url: "https://api.cerebras.ai/v1",
        also: &[(Dialect::Completions, "/completions")],
        key_prefixes: &["csk-"],
        quirks: Quirks {
            max_tokens: Field::Rename("max_completion_tokens"),
            dropped: &[
                "frequency_penalty",
                "presence_penalty",
                "logit_bias",
                "parallel_tool_calls",
                "service_tier",
                "top_k",
            ],
            refused: &["modalities", "audio"],
            reasoning_field: "reasoning",
            wants_output_limit: true,
            strict_messages: true,
            answers: Answers { reasoning_by_another_name: true, ..Answers::PLAIN },
            ..PLAIN
        },
        ..COMPATIBLE
    },
    Provider {
        id: "together_ai",
        lists_abilities: false,
        name: "Together AI",
        aliases: &["together"],
        env: "TOGETHER_AI",
        base_url: "https://api.together.ai/v1",
        kinds: kinds::TOGETHER_AI,
        also: &[(Dialect::Completions, "/completions")],
        key_prefixes: &["tgp_v1_"],
        quirks: Quirks {
            max_completion_tokens: Field::Rename("max_tokens"),
            user: Field::Drop,
            dropped: &["parallel_tool_calls", "service_tier", "prediction"],
            refused: &["modalities", "audio"],
            logprobs_as_count: true,
            answers: Answers {
                finish_words: &[("eos", "stop")],
                reasoning_by_another_name: true,
                ..Answers::PLAIN
            },
            one_prompt: true,
            ..PLAIN
        },
        ..COMPATIBLE
    },
    Provider {
        id: "fireworks_ai",
        name: "Fireworks",
        aliases: &["fireworks"],
        env: "FIREWORKS_AI",
        base_url: "https://api.fireworks.ai/inference/v1",
        kinds: kinds::FIREWORKS_AI,
        also: &[
            (Dialect::Responses, "/responses"),
            (Dialect::Messages, "/messages"),
            (Dialect::Completions, "/completions"),
        ],
        key_prefixes: &["fw_"],
        quirks: Quirks { refused: &["modalities", "audio"], one_output_limit: true, ..PLAIN },
        ..COMPATIBLE
    },
    Provider {
        id: "moonshot",
        name: "Moonshot",
        aliases: &["kimi", "moonshotai"],
        env: "MOONSHOT",
        base_url: "https://api.moonshot.ai/v1",
        key_check: KeyCheck { path: "/users/me/balance", ..MODELS },
        quirks: Quirks {
            user: Field::Drop,
            dropped: &["service_tier", "top_k", "prediction"],
            refused: &["modalities", "audio"],
            ..PLAIN
        },
        ..COMPATIBLE
    },
];

impl ProviderId {
    /// All providers, in table order.
    pub fn all() -> impl Iterator<Item = ProviderId> {
        (0u8..).zip(PROVIDERS).map(|(index, _)| ProviderId(index))
    }

    /// By exact identifier (`together_ai`), as stored and as in model names.
    pub fn by_id(id: &str) -> Option<ProviderId> {
        Self::all().find(|provider| provider.row().id == id)
    }

    /// By any common spelling of the name: `Together AI`, `together`, `TOGETHER-AI`.
    pub fn by_name(name: &str) -> Option<ProviderId> {
        let is_it = |known: &str| folded(known).eq(folded(name));
        Self::all().find(|provider| {
            let row = provider.row();
            is_it(row.id) || is_it(row.name) || row.aliases.iter().any(|alias| is_it(alias))
        })
    }

    /// The path for this dialect, below its base URL; `None` if it does not support the dialect.
    pub fn path(self, dialect: Dialect) -> Option<&'static str> {
        let row = self.row();
        let other = || row.also.iter().find(|(other, _)| *other == dialect).map(|(_, path)| *path);
        if row.dialect == dialect { Some(row.chat_path) } else { other() }
    }

    /// How it is called for this endpoint kind; `None` if it does not serve it.
    pub fn serves(self, kind: Kind) -> Option<&'static Serves> {
        self.row().kinds.iter().find(|serves| serves.kind == kind)
    }

    /// The row. An id is made only from an index of the table, so the first row is never a wrong answer.
    pub fn row(self) -> &'static Provider {
        PROVIDERS.get(usize::from(self.0)).unwrap_or(&COMPATIBLE)
    }

    pub fn as_str(self) -> &'static str {
        self.row().id
    }

    /// Its index in the table, for values that are kept for each provider.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The ids, for messages that list the supported providers.
    pub fn ids() -> Vec<&'static str> {
        PROVIDERS.iter().map(|row| row.id).collect()
    }
}

/// A name in the form for comparison: without case, space, dash and underscore.
fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).flat_map(char::to_lowercase)
}

impl fmt::Debug for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for ProviderId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
