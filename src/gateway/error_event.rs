//! The last event of a stream that cannot be completed, in the form on which the SDKs of the client's dialect raise an
//! error. No end marker follows it.

use crate::dialect::{Dialect, messages, responses, sse};
use serde_json::json;

/// The event. `provider` is the display name of the failed provider, if a provider failed.
pub fn error(client: Dialect, code: &str, message: &str, provider: Option<&str>) -> Vec<u8> {
    match client {
        Dialect::Messages => messages::error_event(messages_type(code), message),
        Dialect::Responses => responses::failed_event(0, code, message),
        Dialect::Chat | Dialect::Completions | Dialect::Gemini | Dialect::Cohere => {
            chat_error(code, message, provider)
        }
    }
}

fn messages_type(code: &str) -> &'static str {
    match code {
        "upstream_timeout" => "timeout_error",
        "service_unavailable" => "overloaded_error",
        "rate_limit_exceeded" => "rate_limit_error",
        "context_length_exceeded" | "content_policy_violation" | "tool_use_failed" => "invalid_request_error",
        "model_not_found" => "not_found_error",
        "insufficient_quota" | "insufficient_credits" => "billing_error",
        _ => "api_error",
    }
}

fn chat_error(code: &str, message: &str, provider: Option<&str>) -> Vec<u8> {
    let mut error = json!({"message": message, "type": "upstream_error", "param": null, "code": code});
    if let (Some(provider), Some(fields)) = (provider, error.as_object_mut()) {
        fields.insert("metadata".to_owned(), json!({"provider": provider}));
    }
    let mut event = b"event: error\n".to_vec();
    sse::write_data(&mut event, json!({"error": error, "detail": message}).to_string().as_bytes());
    event
}
