//! The error bodies of providers, in their dozen formats: the parts that can be read. It decides nothing.

use serde_json::Value;
use std::time::Duration;

/// The content of an error body.
#[derive(Debug, Default)]
pub struct ErrorBody {
    pub message: Option<String>,
    /// The error's type, or Google's `status`.
    pub kind: Option<String>,
    pub code: Option<String>,
    pub param: Option<String>,
    /// All words that name the kind of the error: type, code, reasons in its details.
    pub words: Vec<String>,
    /// The HTTP status that the body states.
    pub status: Option<u16>,
    pub failed_generation: Option<String>,
    pub retry_after: Option<Duration>,
}

/// Maximum details read of one error.
const DETAILS_MAX: usize = 16;

impl ErrorBody {
    /// `{error: {…}}`, `{error: "…"}`, flat, `{errors: […]}`, `{detail: …}`, `{fault: {…}}`, a Responses object or event, or
    /// any of them in an array.
    pub fn read(body: &[u8]) -> Self {
        let parsed: Value = serde_json::from_slice(body.trim_ascii()).unwrap_or(Value::Null);
        let value = parsed.get(0).unwrap_or(&parsed);
        let inner = value.get("response").filter(|response| response.is_object()).unwrap_or(value);
        let error = [inner, value].into_iter().find_map(|value| value.get("error").filter(|e| e.is_object()));
        let listed = || value.pointer("/errors/0").filter(|error| error.is_object());
        let error = error.or_else(listed).unwrap_or(value);
        let text = |name: &str| text_of(error.get(name)?);
        let details =
            || error.get("details").and_then(Value::as_array).into_iter().flatten().take(DETAILS_MAX);
        let kind = text("type").filter(|kind| kind != "error").or_else(|| text("status"));
        let code = text("code");
        let detail_code = error.pointer("/details/error_code").and_then(text_of);
        let reasons = details().filter_map(|detail| text_of(detail.get("reason")?));
        let more = [text("error_type"), text("status"), detail_code].into_iter().flatten();
        Self {
            message: text("message").or_else(|| message_in(error, 0)).or_else(|| message_in(value, 0)),
            words: kind.iter().chain(&code).cloned().chain(more).chain(reasons).collect(),
            status: ["status_code", "http_code", "code", "status", "type"].iter().find_map(|name| {
                let stated = [error, value].into_iter().find_map(|value| text_of(value.get(*name)?));
                stated?.parse().ok().filter(|status| (400..600).contains(status))
            }),
            param: text("param"),
            failed_generation: text("failed_generation"),
            retry_after: details()
                .find_map(|detail| seconds(detail.get("retryDelay")?.as_str()?.strip_suffix('s')?)),
            kind,
            code,
        }
    }
}

/// A text that is not empty, or a number as text.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Members that contain a message, or an object with one, the most reliable first.
const MESSAGES: [&str; 12] = [
    "message",
    "error",
    "detail",
    "details",
    "errors",
    "msg",
    "error_message",
    "error_description",
    "errorMessage",
    "fault",
    "faultstring",
    "title",
];
const MESSAGE_DEPTH_MAX: u8 = 6;

/// The first message in an error of any format; for FastAPI's lists, with the field that it concerns.
fn message_in(value: &Value, depth: u8) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned),
        _ if depth >= MESSAGE_DEPTH_MAX => None,
        Value::Array(items) => items.iter().take(DETAILS_MAX).find_map(|item| message_in(item, depth + 1)),
        Value::Object(members) => {
            let message = MESSAGES
                .iter()
                .find_map(|name| members.get(*name).and_then(|at| message_in(at, depth + 1)))?;
            let place = members.get("loc").and_then(Value::as_array);
            let place: Vec<String> = place.into_iter().flatten().filter_map(text_of).collect();
            Some(if place.is_empty() { message } else { format!("{}: {message}", place.join(".")) })
        }
        _ => None,
    }
}

/// The message of a body that is not JSON or contains none.
pub fn plain_text(body: &[u8], status: u16) -> String {
    let text = String::from_utf8_lossy(body);
    let is_odd = |letter: char| {
        letter == char::REPLACEMENT_CHARACTER || letter.is_control() && !letter.is_whitespace()
    };
    match text.trim() {
        // Compressed although that was not requested, or not text.
        binary if binary.contains(is_odd) => {
            format!("the provider answered {status} with a body that is not text")
        }
        "" => format!("the provider answered {status} without a message"),
        html if html.starts_with('<') => format!("the provider answered {status} with a web page"),
        json if json.starts_with(['{', '[']) => format!("the provider answered {status}"),
        text => text.to_owned(),
    }
}

/// `Retry-After` in whole or decimal seconds. Dates are ignored: none of the providers sends one.
pub fn seconds(header: &str) -> Option<Duration> {
    let (whole, fraction) = header.trim().split_once('.').unwrap_or((header.trim(), ""));
    let whole: u64 = whole.parse().ok()?;
    Some(
        Duration::from_secs(whole.min(86_400)) + Duration::from_millis(u64::from(!fraction.is_empty()) * 999),
    )
}
