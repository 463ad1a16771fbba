//! What a provider's refusal means, by what to do next. Bodies come in a dozen shapes; whatever can be read
//! of them is kept, and the credential that was sent is never among it.

mod scrub;

use crate::domain::{provider::ProviderId, usage::Usage};
pub use scrub::without_key;
use scrub::{clipped, without_account};
use serde_json::Value;
use std::time::Duration;

/// The class of a failed call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// The credential is wrong, revoked or blocked.
    BadKey,
    /// The account behind the credential is out of money.
    NoMoney,
    /// The account may not do this, or not from here.
    Permission,
    /// The provider does not know the model, or no longer.
    UnknownModel,
    /// The request itself is refused; every provider of this wire would say the same.
    OurRequest,
    /// The prompt does not fit this host's window; another host's may.
    ContextLength,
    /// Too many requests for now.
    Rate,
    /// The provider is overloaded or broken, or its answer was.
    Overload,
    /// No answer in time.
    Timeout,
    /// The gateway itself did not send the request. It is no answer of the provider, and no reason to use another
    /// account than the customer's own.
    NotSent,
}

impl Class {
    /// Another credential at the same provider could mend it.
    pub fn another_key_may_help(self) -> bool {
        matches!(
            self,
            Class::BadKey
                | Class::NoMoney
                | Class::Permission
                | Class::Rate
                | Class::Overload
                | Class::Timeout
        )
    }

    /// The same, where the other credential is the customer's own too.
    pub fn another_own_key_may_help(self) -> bool {
        self.another_key_may_help() || self == Class::NotSent
    }

    /// Another provider of the same model could mend it.
    pub fn another_provider_may_help(self) -> bool {
        !matches!(self, Class::OurRequest)
    }

    /// The same call may work in a moment.
    pub fn may_pass(self) -> bool {
        matches!(self, Class::Rate | Class::Overload | Class::Timeout)
    }

    /// As told in `X-KairosRoute-Fallback-Reason` and in receipts.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::BadKey => "bad_key",
            Class::NoMoney => "no_money",
            Class::Permission => "permission",
            Class::UnknownModel => "unknown_model",
            Class::OurRequest => "invalid_request",
            Class::ContextLength => "context_length",
            Class::Rate => "rate_limit",
            Class::Overload => "overload",
            Class::Timeout => "timeout",
            Class::NotSent => "not_sent",
        }
    }
}

/// One failed call.
#[derive(Clone, Debug)]
pub struct Rejection {
    pub class: Class,
    /// The provider's status; `None` when there was no answer.
    pub status: Option<u16>,
    /// The provider's message, or ours when it gave none. Long until [`Rejection::without`] has been through it.
    pub message: String,
    pub kind: Option<String>,
    pub param: Option<String>,
    /// How long the provider asks us to wait.
    pub retry_after: Option<Duration>,
    /// What the provider made before it declined, and bills.
    pub billed: Option<Box<Usage>>,
    /// The provider said that all is well, and its answer cannot be used. It may bill that one, and every other that
    /// is asked of it in its place.
    pub in_vain: bool,
}

/// The longest provider message passed on, in bytes.
const MESSAGE_BYTES_MAX: usize = 2_000;
/// What is kept of one until the key is out of it: enough for a key that begins at the end of what is passed on.
const MESSAGE_READ_BYTES_MAX: usize = 64 * 1024;

impl Rejection {
    /// A failure without an answer.
    pub fn without_answer(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            status: None,
            message: message.into(),
            kind: None,
            param: None,
            retry_after: None,
            billed: None,
            in_vain: false,
        }
    }

    /// Refused by the gateway before anything was sent.
    pub fn not_sent(message: impl Into<String>) -> Self {
        Self::without_answer(Class::NotSent, message)
    }

    /// As [`Rejection::not_sent`], for want of room that another moment may have.
    pub fn busy(message: impl Into<String>) -> Self {
        Self { retry_after: Some(Duration::from_secs(1)), ..Self::not_sent(message) }
    }

    /// An answer that nothing can be made of.
    pub fn unusable(message: impl Into<String>) -> Self {
        Self { in_vain: true, ..Self::without_answer(Class::Overload, message) }
    }

    /// Reads an error answer. `retry_after` is the header's value.
    pub fn read(provider: ProviderId, status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let parsed: Value = serde_json::from_slice(body.trim_ascii()).unwrap_or(Value::Null);
        let said = Said::find(&parsed);
        let message = said.message.unwrap_or_else(|| plain_text(body, status));
        Self {
            class: classify(provider, status, said.kind.as_deref(), said.code.as_deref(), &message),
            status: Some(status),
            message: clipped(message, MESSAGE_READ_BYTES_MAX),
            kind: said.kind.map(|kind| clipped(kind, MESSAGE_READ_BYTES_MAX)),
            param: said.param.map(|param| clipped(param, MESSAGE_READ_BYTES_MAX)),
            retry_after: retry_after.and_then(seconds).or_else(|| delay_in_body(&parsed)),
            billed: None,
            in_vain: false,
        }
    }

    /// Removes a credential that a provider echoes, and then what is too long.
    pub fn without(mut self, secret: &str) -> Self {
        for text in [Some(&mut self.message), self.kind.as_mut(), self.param.as_mut()].into_iter().flatten() {
            *text = without_key(text, secret, MESSAGE_BYTES_MAX);
        }
        self
    }
}

impl Rejection {
    /// Removes what identifies the operator's account at the provider, for a customer that used the operator's key. Of
    /// the provider's fields only the message, the type and the parameter are ever kept.
    pub fn without_account(mut self) -> Self {
        for text in [Some(&mut self.message), self.kind.as_mut(), self.param.as_mut()].into_iter().flatten() {
            *text = without_account(text);
        }
        self
    }
}

#[derive(Default)]
struct Said {
    message: Option<String>,
    kind: Option<String>,
    code: Option<String>,
    param: Option<String>,
}

impl Said {
    /// `{error: {…}}`, `{error: "…"}`, flat, `{detail: …}`, `{fault: {…}}`, or any of them in an array.
    fn find(value: &Value) -> Said {
        let value = value.get(0).unwrap_or(value);
        let error = match value.get("error") {
            Some(object @ Value::Object(_)) => object,
            _ => value,
        };
        let text = |name: &str| match error.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let detail = || match value.get("detail") {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Array(items)) => items.first()?.get("msg")?.as_str().map(str::to_owned),
            _ => None,
        };
        let fault = || value.pointer("/fault/faultstring")?.as_str().map(str::to_owned);
        let bare = || value.get("error")?.as_str().map(str::to_owned);
        Said {
            message: text("message").or_else(bare).or_else(detail).or_else(fault),
            kind: text("type").filter(|kind| kind != "error").or_else(|| text("status")),
            code: text("code"),
            param: text("param"),
        }
    }
}

fn classify(
    provider: ProviderId,
    status: u16,
    kind: Option<&str>,
    code: Option<&str>,
    message: &str,
) -> Class {
    let is = |word: &str| kind == Some(word) || code == Some(word);
    let says = |word: &str| message.to_ascii_lowercase().contains(word);
    let too_long = || {
        is("context_length_exceeded")
            || is("string_above_max_length")
            || says("context length")
            || says("context window")
            || says("prompt is too long")
            || says("too many tokens")
    };
    match (provider.as_str(), status) {
        (_, 401) => Class::BadKey,
        ("google", 400) if says("api key") || is("API_KEY_INVALID") => Class::BadKey,
        // The account's billing or region (Google), or its empty balance: no fault of the request.
        ("google", 400) if is("FAILED_PRECONDITION") => Class::Permission,
        (_, 400) if says("credit balance is too low") => Class::NoMoney,
        ("xai", 400) if says("api key") => Class::BadKey,
        ("cohere", 498) => Class::BadKey,
        (_, 402) | ("fireworks_ai", 412) => Class::NoMoney,
        (_, 429) if BILLING.iter().any(|word| is(word)) => Class::NoMoney,
        (_, 403) if too_long() => Class::ContextLength,
        (_, 403) => Class::Permission,
        (_, 404) => Class::UnknownModel,
        (_, 400 | 413 | 422) if too_long() => Class::ContextLength,
        (_, 429) => Class::Rate,
        (_, 408) => Class::Timeout,
        (_, 409 | 498) | (_, 500..) => Class::Overload,
        (_, 200..=299) => Class::Overload,
        _ => Class::OurRequest,
    }
}

/// Codes and types with which a 429 means money, not pace.
const BILLING: &[&str] = &[
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "enforced_spend_limit_reached",
    "exceeded_current_quota_error",
];

fn plain_text(body: &[u8], status: u16) -> String {
    let text = match std::str::from_utf8(body) {
        Ok(text) if !text.contains(|c: char| c.is_control() && !c.is_whitespace()) => text,
        // Compressed, or no text at all.
        _ => return format!("the provider answered {status} with an unreadable message"),
    };
    match text.trim() {
        "" => format!("the provider answered {status} without a message"),
        html if html.starts_with('<') => format!("the provider answered {status} with a web page"),
        json if json.starts_with(['{', '[']) => format!("the provider answered {status}"),
        text => text.to_owned(),
    }
}

/// `Retry-After` in whole or decimal seconds. Dates are ignored: none of the providers sends one.
fn seconds(header: &str) -> Option<Duration> {
    let (whole, fraction) = header.trim().split_once('.').unwrap_or((header.trim(), ""));
    let whole: u64 = whole.parse().ok()?;
    Some(
        Duration::from_secs(whole.min(86_400)) + Duration::from_millis(u64::from(!fraction.is_empty()) * 999),
    )
}

/// Gemini's `details[].retryDelay: "37s"`.
fn delay_in_body(value: &Value) -> Option<Duration> {
    let details = value.get(0).unwrap_or(value).pointer("/error/details")?.as_array()?;
    details.iter().find_map(|detail| seconds(detail.get("retryDelay")?.as_str()?.strip_suffix('s')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(provider: &str, status: u16, body: &str) -> Class {
        Rejection::read(ProviderId::by_id(provider).unwrap(), status, None, body.as_bytes()).class
    }

    #[test]
    fn a_refusal_is_classed_by_what_to_do_next() {
        for (provider, status, body, expected) in [
            ("openai", 401, r#"{"error":{"message":"bad","code":"invalid_api_key"}}"#, Class::BadKey),
            (
                "google",
                400,
                r#"[{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT"}}]"#,
                Class::BadKey,
            ),
            ("xai", 400, r#"{"code":"x","error":"Incorrect API key provided"}"#, Class::BadKey),
            ("xai", 400, r#"{"code":"x","error":"stop is not supported"}"#, Class::OurRequest),
            (
                "openai",
                429,
                r#"{"error":{"message":"x","type":"insufficient_quota","code":"credit_balance_exhausted"}}"#,
                Class::NoMoney,
            ),
            (
                "moonshot",
                429,
                r#"{"error":{"type":"exceeded_current_quota_error","message":"x"}}"#,
                Class::NoMoney,
            ),
            ("fireworks_ai", 412, r#"{"error":"suspended"}"#, Class::NoMoney),
            ("openai", 429, r#"{"error":{"message":"slow","code":"rate_limit_exceeded"}}"#, Class::Rate),
            (
                "together_ai",
                403,
                r#"{"error":{"message":"Input exceeds the context length"}}"#,
                Class::ContextLength,
            ),
            ("together_ai", 403, r#"{"error":"no"}"#, Class::Permission),
            (
                "openai",
                400,
                r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#,
                Class::ContextLength,
            ),
            ("mistral", 422, r#"{"detail":[{"loc":["body"],"msg":"bad","type":"x"}]}"#, Class::OurRequest),
            ("openai", 404, r#"{"error":{"message":"no such model"}}"#, Class::UnknownModel),
            ("openai", 503, "upstream connect error", Class::Overload),
            ("groq", 498, "{}", Class::Overload),
            ("openai", 408, "", Class::Timeout),
            ("xai", 200, r#"{"code":"x","error":"currently unavailable"}"#, Class::Overload),
        ] {
            assert_eq!(class(provider, status, body), expected, "{provider} {status} {body}");
        }
    }

    #[test]
    fn the_message_is_found_in_every_shape_and_never_holds_the_key() {
        let openai = ProviderId::by_id("openai").unwrap();
        for (body, message) in [
            (r#"{"error":{"message":"m"}}"#, "m"),
            (r#"{"error":"m"}"#, "m"),
            (r#"{"message":"m","type":"t"}"#, "m"),
            (r#"{"detail":[{"msg":"m"}]}"#, "m"),
            (r#"{"detail":"m"}"#, "m"),
            (r#"{"fault":{"faultstring":"m"}}"#, "m"),
            ("m", "m"),
            ("<html>x</html>", "the provider answered 502 with a web page"),
            ("", "the provider answered 502 without a message"),
        ] {
            assert_eq!(Rejection::read(openai, 502, None, body.as_bytes()).message, message);
        }
        let echo = r#"{"error":{"message":"key sk-secret-123 is wrong"}}"#;
        let rejection = Rejection::read(openai, 401, None, echo.as_bytes()).without("sk-secret-123");
        assert_eq!(rejection.message, "key [key] is wrong");
    }

    #[test]
    fn a_key_that_the_limit_goes_through_leaves_nothing_behind() {
        let openai = ProviderId::by_id("openai").unwrap();
        for key in ["k", "sk-12", "sk-proj-CANARY-CANARY-CANARY"] {
            for before in MESSAGE_BYTES_MAX - 40..=MESSAGE_BYTES_MAX {
                let filled = "-".repeat(before).replace("--", "+ ");
                for body in [
                    format!("{filled}{key}{filled}"),
                    serde_json::json!({ "error": { "message": format!("{filled}{key}"), "type": format!("{filled}{key}") } })
                        .to_string(),
                ] {
                    let rejection = Rejection::read(openai, 401, None, body.as_bytes()).without(key);
                    for text in [Some(rejection.message), rejection.kind].into_iter().flatten() {
                        assert!(text.len() <= MESSAGE_BYTES_MAX);
                        let left = text.replace("[key]", "").replace(['+', ' ', '-'], "");
                        assert!("[key]".starts_with(&left), "{left}");
                    }
                }
            }
        }
    }

    #[test]
    fn waits_are_read_from_header_and_body() {
        let google = ProviderId::by_id("google").unwrap();
        let wait = |header, body: &str| Rejection::read(google, 429, header, body.as_bytes()).retry_after;
        assert_eq!(wait(Some("7"), ""), Some(Duration::from_secs(7)));
        assert_eq!(wait(Some("0.5"), ""), Some(Duration::from_millis(999)));
        assert_eq!(wait(Some("Wed, 21 Oct 2026 07:28:00 GMT"), ""), None);
        let body = r#"{"error":{"details":[{"@type":"x"},{"retryDelay":"37s"}]}}"#;
        assert_eq!(wait(None, body), Some(Duration::from_secs(37)));
    }
}
