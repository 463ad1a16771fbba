//! The documented fields of a chat request and the kind of JSON of each, and the gateway's own fields, which never
//! reach a provider. A field that is in neither table passes through unchecked.

use crate::json::{Cursor, Kind};
use crate::request::{Invalid, Limits};

/// The allowed values of a documented field. `null` always counts as absent and is not checked here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    Model,
    Messages,
    Tools,
    Functions,
    ToolChoice,
    ResponseFormat,
    StreamOptions,
    Flag,
    Text,
    /// A number from the first to the second.
    Number(i32, i32),
    /// A whole number from the first to the second.
    Count(u64, u64),
    /// A whole number of either sign.
    Integer,
    Object,
    Texts,
    /// A string or a list of strings.
    Stop,
    TextOrObject,
    /// A word for most providers, a number or a switch for some.
    Effort,
}

/// OpenAI's API reference of November 2026, chat completions.
pub(super) const FIELDS: &[(&str, Rule)] = &[
    ("model", Rule::Model),
    ("messages", Rule::Messages),
    ("stream", Rule::Flag),
    ("stream_options", Rule::StreamOptions),
    ("temperature", Rule::Number(0, 2)),
    ("top_p", Rule::Number(0, 1)),
    ("max_tokens", Rule::Count(1, u64::MAX)),
    ("max_completion_tokens", Rule::Count(1, u64::MAX)),
    ("tools", Rule::Tools),
    ("tool_choice", Rule::ToolChoice),
    ("parallel_tool_calls", Rule::Flag),
    ("response_format", Rule::ResponseFormat),
    ("n", Rule::Count(1, 128)),
    ("stop", Rule::Stop),
    ("seed", Rule::Integer),
    ("user", Rule::Text),
    ("frequency_penalty", Rule::Number(-2, 2)),
    ("presence_penalty", Rule::Number(-2, 2)),
    ("logit_bias", Rule::Object),
    ("logprobs", Rule::Flag),
    ("top_logprobs", Rule::Count(0, 20)),
    ("reasoning_effort", Rule::Effort),
    ("verbosity", Rule::Text),
    ("service_tier", Rule::Text),
    ("metadata", Rule::Object),
    ("store", Rule::Flag),
    ("modalities", Rule::Texts),
    ("audio", Rule::Object),
    ("prediction", Rule::Object),
    ("functions", Rule::Functions),
    ("function_call", Rule::TextOrObject),
    ("prompt_cache_key", Rule::Text),
    ("prompt_cache_retention", Rule::Text),
    ("prompt_cache_options", Rule::Object),
    ("safety_identifier", Rule::Text),
    ("web_search_options", Rule::Object),
];

/// Fields of the gateway and of the services whose clients it supports.
pub(crate) const GATEWAY_FIELDS: &[&str] = &[
    "models",
    "byok_api_key",
    "extra",
    "additional_params",
    "mcp_servers",
    "credentials",
    "data_collection",
    "zdr",
    "preferred_max_latency",
    "preferred_min_throughput",
    "quantizations",
    "max_price",
    "provider",
    "cache",
    "min_quality",
    "automatic_tool_execution",
    "max_turns",
    "agent_attributes",
    "model_attributes",
    "handoff_config",
    "handoff_mode",
    "correlation_id",
    "deferred_calls",
    "usage",
];

/// Of [`GATEWAY_FIELDS`], those that are used; the others are refused if they request something. `usage` requests what
/// is always returned.
pub(crate) const OWN_SUPPORTED: &[&str] = &[
    "models",
    "byok_api_key",
    "extra",
    "usage",
    "min_quality",
    "provider",
    "data_collection",
    "zdr",
    "preferred_max_latency",
    "preferred_min_throughput",
    "quantizations",
    "max_price",
    "cache",
];

const STOP_MAX: usize = 16;

pub(super) fn rule(name: &str) -> Option<Rule> {
    FIELDS.iter().find(|(field, _)| *field == name).map(|(_, rule)| *rule)
}

/// The documented field of that name, as a static name.
pub(super) fn static_name(name: &str) -> Option<&'static str> {
    FIELDS.iter().find(|(field, _)| *field == name).map(|(field, _)| *field)
}

/// Whether the field counts towards what the model reads. Unknown fields do, because they may contain text.
pub(super) fn is_read_by_model(rule: Option<Rule>, name: &str) -> bool {
    matches!(rule, None | Some(Rule::Tools | Rule::Functions | Rule::ResponseFormat)) || name == "prediction"
}

/// Consumes the value of a field whose rule needs no walk of its own.
pub(crate) fn check(cursor: &mut Cursor<'_>, name: &str, rule: Rule, limits: &Limits) -> Result<(), Invalid> {
    let kind = cursor.kind()?;
    let fits = match rule {
        Rule::Flag => kind == Kind::Bool,
        Rule::Text => kind == Kind::String,
        Rule::Object => kind == Kind::Object,
        Rule::TextOrObject => matches!(kind, Kind::String | Kind::Object),
        Rule::Effort => matches!(kind, Kind::String | Kind::Number | Kind::Bool),
        Rule::Number(..) | Rule::Count(..) | Rule::Integer => kind == Kind::Number,
        Rule::Texts => kind == Kind::Array,
        Rule::Stop => matches!(kind, Kind::String | Kind::Array),
        _ => true,
    };
    if !fits {
        return Err(Invalid::kind(name, expected(rule), kind));
    }
    if kind == Kind::Array {
        let most = if rule == Rule::Stop { STOP_MAX } else { limits.models_max };
        return texts(cursor, name, most);
    }
    let raw = cursor.value()?.get();
    let in_range = match rule {
        Rule::Number(least, most) => {
            raw.parse::<f64>().is_ok_and(|number| (f64::from(least)..=f64::from(most)).contains(&number))
        }
        Rule::Count(least, most) => raw.parse::<u64>().is_ok_and(|count| (least..=most).contains(&count)),
        Rule::Integer => !raw.contains(['.', 'e', 'E']),
        _ => true,
    };
    if in_range { Ok(()) } else { Err(Invalid::at(name, format!("`{name}` must be {}", expected(rule)))) }
}

/// Consumes a list of strings.
fn texts(cursor: &mut Cursor<'_>, name: &str, most: usize) -> Result<(), Invalid> {
    cursor.array(|cursor, index| {
        if index >= most {
            return Err(Invalid::at(name, format!("`{name}` may have at most {most} entries")));
        }
        let kind = cursor.kind()?;
        if kind != Kind::String {
            return Err(Invalid::kind(&format!("{name}[{index}]"), "a string".into(), kind));
        }
        cursor.text()?;
        Ok(())
    })
}

fn expected(rule: Rule) -> String {
    match rule {
        Rule::Model => "a string, or a list of strings that are tried in order".into(),
        Rule::Messages => "an array of messages".into(),
        Rule::Tools | Rule::Functions => "an array of objects".into(),
        Rule::ToolChoice | Rule::TextOrObject => "a string or an object".into(),
        Rule::ResponseFormat | Rule::StreamOptions | Rule::Object => "an object".into(),
        Rule::Flag => "a boolean".into(),
        Rule::Text => "a string".into(),
        Rule::Number(least, most) => format!("a number from {least} to {most}"),
        Rule::Count(least, u64::MAX) => format!("a whole number of at least {least}"),
        Rule::Count(least, most) => format!("a whole number from {least} to {most}"),
        Rule::Integer => "a whole number".into(),
        Rule::Texts => "an array of strings".into(),
        Rule::Stop => "a string or an array of strings".into(),
        Rule::Effort => "a string".into(),
    }
}
