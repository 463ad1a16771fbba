//! The target of a request, and the request as sent.

use super::{
    Dialect,
    canonical::{ToolKind, WebSearch},
    json::Raw,
    names::Replaced,
};
use kairosroute_domain::{
    catalog::{Flag, Flags},
    provider::ProviderId,
};
use std::{borrow::Cow, fmt};

/// A model at a provider, with the facts that a writer needs.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    pub provider: ProviderId,
    /// The model's name at the provider.
    pub upstream_model: &'t str,
    /// The dialect of the request.
    pub dialect: Dialect,
    /// The catalogue's row of the model; `None` for a model it does not list.
    pub flags: Option<Flags>,
    /// The model's longest answer.
    pub output_tokens_max: Option<u64>,
    /// Unique for the request, for ids that a provider does not give.
    pub seed: &'t str,
}

/// A request as it is sent.
#[derive(Debug)]
pub struct Encoded {
    /// Below the provider's base URL; `None`: the path for chat.
    pub path: Option<Cow<'static, str>>,
    pub body: Vec<u8>,
    /// The client's fields that were left out because this provider does not support them.
    pub dropped: Vec<Cow<'static, str>>,
    /// The gateway requested the stream's usage chunk, not the client.
    pub asked_for_usage: bool,
    pub reading: Reading,
}

/// The facts about the request that reading its answer needs.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The output format was requested by a forced call of this tool: its arguments are the text.
    pub tool_as_text: Option<&'static str>,
    /// Unique for the request, for ids that a provider does not give.
    pub seed: String,
    /// The reported output does not include reasoning.
    pub reasoning_outside_output: bool,
    /// An empty finish reason after calls means that they are the end.
    pub empty_finish_ends_calls: bool,
    /// Tools whose names the target did not accept.
    pub replaced: Replaced,
}

/// The provider or model does not support a field that changes the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsupported {
    pub field: Cow<'static, str>,
    /// Empty, or the reason: `: images by URL are not fetched`.
    pub hint: Cow<'static, str>,
    /// The type of the tool, if it is one.
    pub tool_type: Option<String>,
}

/// The client chooses the text of a type.
const TYPE_CHARS_MAX: usize = 64;

impl Target<'_> {
    /// The catalogue's facts about the model; a model that it does not list has no ability and no limit.
    pub fn has(&self, flag: Flag) -> bool {
        self.flags.is_some_and(|flags| flags.has(flag))
    }
}

impl Unsupported {
    pub fn field(field: impl Into<Cow<'static, str>>) -> Self {
        Self::because(field, "")
    }

    pub fn because(field: impl Into<Cow<'static, str>>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), hint: hint.into(), tool_type: None }
    }

    /// A tool that is not a function and that the provider does not run.
    pub(crate) fn tool(kind: &ToolKind<'_>) -> Self {
        let json = match kind {
            ToolKind::Function { .. } => None,
            ToolKind::WebSearch(WebSearch { json, .. }) | ToolKind::Native { json, .. } => Some(json.raw()),
        };
        let typed = json.and_then(|json| json.member("type")).and_then(Raw::text);
        let hint = ": leave this tool out, or choose a model of a provider that runs it";
        Self {
            tool_type: typed.map(|typed| typed.chars().take(TYPE_CHARS_MAX).collect()),
            ..Self::because("tools", hint)
        }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, hint, tool_type } = self;
        write!(f, "`{field}`")?;
        if let Some(tool_type) = tool_type {
            write!(f, " (type `{tool_type}`)")?;
        }
        match (tool_type, hint.is_empty()) {
            (None, true) => f.write_str(
                " is not supported by this provider or model; leave it out, or choose another model",
            ),
            (None, false) => write!(f, " is not accepted as it is by this provider or model{hint}"),
            (Some(_), _) => write!(f, " is not supported by this provider or model{hint}"),
        }
    }
}

impl std::error::Error for Unsupported {}
