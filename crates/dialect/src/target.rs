//! Where a request goes, and what is sent there.

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

/// A model at a provider, as a writer has to know it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    pub provider: ProviderId,
    /// The model's name at the provider.
    pub upstream_model: &'t str,
    /// What it is asked in.
    pub dialect: Dialect,
    /// The catalogue's word on the model; `None` for one it does not know.
    pub flags: Option<Flags>,
    /// The model's longest answer.
    pub output_tokens_max: Option<u64>,
    /// Unique to the request, for ids that a provider does not give.
    pub seed: &'t str,
}

/// A request as it is sent.
#[derive(Debug)]
pub struct Encoded {
    /// Below the provider's base URL; `None`: where it serves chat.
    pub path: Option<Cow<'static, str>>,
    pub body: Vec<u8>,
    /// Names of the client's fields that were left out because this provider does not take them.
    pub dropped: Vec<Cow<'static, str>>,
    /// The stream's usage chunk was asked for by us, not by the client.
    pub asked_for_usage: bool,
    pub reading: Reading,
}

/// What a reader must know of the request to read its answer.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The answer's form was asked for by forcing a call of this tool: its arguments are the text.
    pub tool_as_text: Option<&'static str>,
    /// Unique to the request, for ids that a provider does not give.
    pub seed: String,
    /// Reported output leaves reasoning out.
    pub reasoning_outside_output: bool,
    /// An empty finish reason after calls means that they are the end.
    pub empty_finish_ends_calls: bool,
    /// Tools whose names the target did not take.
    pub replaced: Replaced,
}

/// The provider or model does not take a field that changes the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsupported {
    pub field: Cow<'static, str>,
    /// Empty, or why: `: images by URL are not fetched`.
    pub hint: Cow<'static, str>,
    /// The type of the tool, where it is one.
    pub tool_type: Option<String>,
}

/// A type is a client's text.
const TYPE_CHARS_MAX: usize = 64;

impl Target<'_> {
    /// What the catalogue says of the model; a model it does not know has no ability and no limit.
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

    /// A tool that is no function, and that the provider does not run.
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
