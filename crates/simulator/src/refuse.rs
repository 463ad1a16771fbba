//! What each provider refuses, so that an ignored quirk fails visibly: one file for each wire format, each rule read in
//! the provider's documentation or SDK. It must also find our own fields and headers in requests to providers.

mod chat;
mod cohere;
mod gemini;
mod messages;
mod responses;
mod tool_turns;

use super::{
    errors,
    json::to_judge,
    reply::Reply,
    request::{Asked, Request},
    rows::{Format, Row},
};
use serde_json::{Map, Value};

/// Names of our own request fields that no provider may ever see.
const OWN_FIELDS: &[&str] = &[
    "byok_api_key",
    "extra",
    "additional_params",
    "mcp_servers",
    "credentials",
    "models",
    "provider",
    "cache",
    "x_kairosroute",
    "automatic_tool_execution",
    "max_turns",
    "data_collection",
    "zdr",
    "preferred_max_latency",
    "preferred_min_throughput",
    "quantizations",
    "max_price",
    "agent_attributes",
    "model_attributes",
    "handoff_config",
    "handoff_mode",
    "correlation_id",
    "deferred_calls",
    "usage",
];

/// Beginnings of header names that no provider may ever see.
const OWN_HEADERS: &[&str] = &["x-provider", "x-kairosroute", "cookie", "x-forwarded", "forwarded"];

/// A request to check.
pub(super) struct Posted<'a> {
    pub asked: &'a Asked<'a>,
    pub format: Format,
    pub body: &'a [u8],
    /// The body was an object.
    pub parsed: bool,
    pub headers: &'a [(String, String)],
    pub query: &'a str,
    /// Only the number of its tokens is asked for.
    pub counting: bool,
}

/// Something that a provider refuses.
#[derive(Debug)]
struct Refused {
    status: u16,
    code: &'static str,
    /// The field at fault.
    param: String,
    message: String,
}

type Verdict = Result<(), Refused>;

/// Our own fields and headers, credentials for another provider's header, and a second credential.
pub(super) fn leaks(
    row: &Row,
    format: Option<Format>,
    request: &Request<'_>,
    headers: &[(String, String)],
) -> Vec<String> {
    // Some wire formats have their own field of that name.
    let theirs: &[&str] = match format {
        Some(Format::Messages) => &["mcp_servers"],
        Some(Format::Responses) if row.id == "perplexity" => &["models"],
        _ => &[],
    };
    let fields =
        OWN_FIELDS.iter().filter(|name| !theirs.contains(name) && request.fields.contains_key(**name));
    let has = |wanted: &str| headers.iter().any(|(name, _)| name == wanted);
    let names = headers.iter().map(|(name, _)| name.as_str()).filter(|name| {
        OWN_HEADERS.iter().any(|own| name.starts_with(own))
            || (*name == "x-api-key" && row.id != "anthropic" && format != Some(Format::Messages))
            || (*name == "x-goog-api-key" && row.id != "google")
            || (*name == "authorization" && (has("x-api-key") || has("x-goog-api-key")))
    });
    fields.copied().chain(names).map(str::to_owned).collect()
}

/// The provider's answer to the first thing that it refuses. `issued` states whether it created a response with that
/// id.
pub(super) fn first(posted: &Posted<'_>, issued: &dyn Fn(&str) -> bool) -> Option<Reply> {
    let Asked { row, speaker, request, model, .. } = posted.asked;
    let not_json = || Some(errors::fault(speaker, 400, "The body is not valid JSON.", None));
    if !posted.parsed {
        return not_json();
    }
    if posted.format == Format::Chat {
        return chat::first(row, request);
    }
    let Some(body) = to_judge(posted.body) else { return not_json() };
    let verdict = match posted.format {
        // Checked above.
        Format::Chat => Ok(()),
        Format::Messages => messages::judge(posted, &body, model),
        Format::Gemini => gemini::judge(posted, &body, model),
        Format::Cohere => cohere::judge(&body),
        Format::Responses => responses::judge(row, &body, model, issued),
    };
    let Refused { status, code, param, message } = verdict.err()?;
    Some(if code.is_empty() {
        errors::fault(speaker, status, &message, Some(&param))
    } else {
        errors::coded(speaker, status, code, &message, Some(&param))
    })
}

impl Refused {
    /// A 400 whose message names the field first.
    fn new(param: impl Into<String>, message: &str) -> Self {
        let param = param.into();
        let message = format!("{param}: {message}");
        Self { status: 400, code: "", param, message }
    }
}

/// Refuses if `wrong`.
fn refuse_if(wrong: bool, param: &str, message: &str) -> Verdict {
    if wrong { Err(Refused::new(param, message)) } else { Ok(()) }
}

/// A member, if it is there and not null.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|value| !value.is_null())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    member(value, name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    member(value, name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Refuses a value that is no object or has a member that is not listed.
fn only(value: &Value, allowed: &[&str], at: &str, message: &str) -> Verdict {
    let Some(object) = value.as_object() else { return Err(Refused::new(at, "must be an object")) };
    match unknown(object, allowed) {
        Some(name) if at.is_empty() => Err(Refused::new(name, message)),
        Some(name) => Err(Refused::new(format!("{at}.{name}"), message)),
        None => Ok(()),
    }
}

fn unknown<'a>(object: &'a Map<String, Value>, allowed: &[&str]) -> Option<&'a str> {
    object.keys().map(String::as_str).find(|name| !allowed.contains(name))
}
