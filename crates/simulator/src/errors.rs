//! Each provider's error messages. Bodies are templates of the real ones; a message must never contain a credential.

use super::{json::quoted, reply::Reply, rows::Row};

/// A failure in the provider's shape. `param` names the field at fault, if one is.
pub(super) fn fault(row: &Row, status: u16, message: &str, param: Option<&str>) -> Reply {
    let (kind, code) = labels(row.id, status);
    Reply::json(status, body(row.id, status, kind, code, message, param))
}

/// The same, with a code that the status alone does not determine.
pub(super) fn coded(row: &Row, status: u16, code: &str, message: &str, param: Option<&str>) -> Reply {
    let (kind, _) = labels(row.id, status);
    Reply::json(status, body(row.id, status, kind, code, message, param))
}

/// The answer to an unknown credential.
pub(super) fn bad_key(row: &Row) -> Reply {
    let message = "Incorrect API key provided.";
    match row.id {
        "xai" => fault(row, 400, message, None),
        "google" => Reply::json(
            400,
            r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#
                .to_owned(),
        ),
        _ => fault(row, 401, message, None),
    }
}

pub(super) fn no_key(row: &Row) -> Reply {
    fault(row, if row.id == "google" { 403 } else { 401 }, "No API key was provided.", None)
}

/// The data of an error frame in a stream with status 200.
pub(super) fn frame(row: &Row) -> String {
    let message = "The server had an error while generating the answer.";
    let (kind, code) = labels(row.id, 500);
    match row.id {
        "cerebras" => {
            let error = body(row.id, 500, kind, code, message, None);
            format!(r#"{{"error":{error},"status_code":500}}"#)
        }
        "groq" => format!(
            r#"{{"id":"chatcmpl-failed","object":"chat.completion.chunk","created":1760000000,"model":"simulated","choices":[],"x_groq":{{"id":"req_failed","error":{}}}}}"#,
            quoted(message)
        ),
        _ => body(row.id, 500, kind, code, message, None),
    }
}

/// `error.type` and `error.code` of a status; an empty code is null.
fn labels(provider: &str, status: u16) -> (&'static str, &'static str) {
    match (provider, status) {
        ("anthropic", status) => (anthropic_type(status), ""),
        ("google", status) => (google_status(status), ""),
        ("moonshot", 401) => ("invalid_authentication_error", ""),
        ("moonshot", 402 | 403) => ("exceeded_current_quota_error", ""),
        ("moonshot", 429) => ("rate_limit_reached_error", ""),
        ("moonshot", 503) => ("engine_overloaded_error", ""),
        ("mistral", 429) => ("rate_limited", "1300"),
        ("cerebras", 401) => ("invalid_request_error", "wrong_api_key"),
        ("cerebras", 429) => ("too_many_requests_error", "request_quota_exceeded"),
        ("deepseek", 401) => ("authentication_error", "invalid_request_error"),
        ("together_ai", 429) => ("dynamic_request_limited", "rate_limit_exceeded"),
        (_, 401) => ("invalid_request_error", "invalid_api_key"),
        (_, 402) => ("insufficient_quota", "credit_balance_exhausted"),
        (_, 403) => ("permission_error", "permission_denied"),
        (_, 404) => ("invalid_request_error", "model_not_found"),
        (_, 429) => ("requests", "rate_limit_exceeded"),
        (_, 503) => ("server_error", "server_is_overloaded"),
        (_, 500..) => ("server_error", "server_error"),
        _ => ("invalid_request_error", ""),
    }
}

fn body(provider: &str, status: u16, kind: &str, code: &str, message: &str, param: Option<&str>) -> String {
    let text = quoted(message);
    let code = if code.is_empty() { "null".to_owned() } else { quoted(code) };
    let param_json = param.map_or_else(|| "null".to_owned(), quoted);
    match provider {
        "mistral" if status == 422 => {
            let place = quoted(param.unwrap_or("body"));
            format!(r#"{{"detail":[{{"type":"extra_forbidden","loc":["body",{place}],"msg":{text}}}]}}"#)
        }
        "mistral" => format!(
            r#"{{"object":"error","message":{text},"type":"{kind}","param":{param_json},"code":{code}}}"#
        ),
        "cerebras" => {
            format!(r#"{{"message":{text},"type":"{kind}","param":{param_json},"code":{code}}}"#)
        }
        "xai" => format!(r#"{{"code":"{}","error":{text}}}"#, xai_code(status)),
        "fireworks_ai" => {
            format!(r#"{{"error":{{"object":"error","type":"{kind}","message":{text},"code":{code}}}}}"#)
        }
        "moonshot" => format!(r#"{{"error":{{"message":{text},"type":"{kind}"}}}}"#),
        "anthropic" => format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":{text}}},"request_id":"req_simulated"}}"#
        ),
        "google" => {
            format!(r#"{{"error":{{"code":{status},"message":{text},"status":"{kind}","details":[]}}}}"#)
        }
        "cohere" => format!(r#"{{"message":{text}}}"#),
        _ => {
            format!(r#"{{"error":{{"message":{text},"type":"{kind}","param":{param_json},"code":{code}}}}}"#)
        }
    }
}

fn xai_code(status: u16) -> &'static str {
    match status {
        400 | 422 => "Client specified an invalid argument",
        401 => "Unauthenticated or invalid authentication credentials were provided",
        403 => "The caller does not have permission to execute the specified operation",
        404 => "Some requested entity was not found",
        429 => "Some resource has been exhausted",
        _ => "The service is currently unavailable",
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

fn google_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

#[cfg(test)]
mod tests {
    use super::{super::rows, *};

    #[test]
    fn every_body_is_json_for_every_provider_and_status() {
        for row in rows::all() {
            for status in [400, 401, 402, 403, 404, 409, 413, 422, 429, 498, 500, 503, 529] {
                let (kind, code) = labels(row.id, status);
                for param in [None, Some("a \"quoted\" field")] {
                    let body = body(row.id, status, kind, code, "a \"quoted\" message", param);
                    serde_json::from_str::<serde_json::Value>(&body).expect(&body);
                }
            }
            serde_json::from_str::<serde_json::Value>(&frame(row)).expect(row.id);
            for (_, _, body) in row.key_checks {
                serde_json::from_str::<serde_json::Value>(body).expect(row.id);
            }
        }
    }
}
