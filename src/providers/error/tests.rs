//! Tests of what a provider's refusal means.

use super::*;

fn class(provider: &str, status: u16, body: &str) -> ErrorClass {
    UpstreamError::read(ProviderId::by_id(provider).unwrap(), status, None, body.as_bytes()).class
}

#[test]
fn a_refusal_is_classed_by_what_to_do_next() {
    for (provider, status, body, expected) in [
        ("openai", 401, r#"{"error":{"message":"bad","code":"invalid_api_key"}}"#, ErrorClass::BadKey),
        (
            "google",
            400,
            r#"[{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT"}}]"#,
            ErrorClass::BadKey,
        ),
        ("xai", 400, r#"{"code":"x","error":"Incorrect API key provided"}"#, ErrorClass::BadKey),
        ("xai", 400, r#"{"code":"x","error":"stop is not supported"}"#, ErrorClass::InvalidRequest),
        (
            "openai",
            429,
            r#"{"error":{"message":"x","type":"insufficient_quota","code":"credit_balance_exhausted"}}"#,
            ErrorClass::InsufficientFunds,
        ),
        (
            "moonshot",
            429,
            r#"{"error":{"type":"exceeded_current_quota_error","message":"x"}}"#,
            ErrorClass::InsufficientFunds,
        ),
        ("fireworks_ai", 412, r#"{"error":"suspended"}"#, ErrorClass::InsufficientFunds),
        ("openai", 429, r#"{"error":{"message":"slow","code":"rate_limit_exceeded"}}"#, ErrorClass::Rate),
        (
            "together_ai",
            403,
            r#"{"error":{"message":"Input exceeds the context length"}}"#,
            ErrorClass::ContextLength,
        ),
        ("together_ai", 403, r#"{"error":"no"}"#, ErrorClass::Permission),
        // The host is well: another try may do, and it is not left alone for that.
        (
            "google",
            502,
            r#"{"error":{"code":502,"status":"MALFORMED_FUNCTION_CALL","message":"x"}}"#,
            ErrorClass::MalformedAnswer,
        ),
        (
            "google",
            502,
            r#"{"error":{"code":502,"status":"UNAVAILABLE","message":"x"}}"#,
            ErrorClass::Overload,
        ),
        (
            "openai",
            400,
            r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#,
            ErrorClass::ContextLength,
        ),
        (
            "mistral",
            422,
            r#"{"detail":[{"loc":["body"],"msg":"bad","type":"x"}]}"#,
            ErrorClass::InvalidRequest,
        ),
        ("openai", 404, r#"{"error":{"message":"no such model"}}"#, ErrorClass::UnknownModel),
        ("openai", 503, "upstream connect error", ErrorClass::Overload),
        ("groq", 498, "{}", ErrorClass::Overload),
        ("openai", 408, "", ErrorClass::Timeout),
        ("xai", 200, r#"{"code":"x","error":"currently unavailable"}"#, ErrorClass::Overload),
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
        (r#"{"detail":[{"type":"missing","loc":["body","messages",0],"msg":"m"}]}"#, "body.messages.0: m"),
        (
            r#"{"object":"error","message":{"detail":[{"loc":["body","x"],"msg":"m"}]},"type":"t"}"#,
            "body.x: m",
        ),
        (r#"{"errors":[{"message":"m","code":"c"}]}"#, "m"),
        (r#"{"errors":["m"]}"#, "m"),
        (r#"{"error":{"message":{"error":{"message":"m"}}}}"#, "m"),
        (r#"{"error":{"error":"m"}}"#, "m"),
        (r#"{"success":false,"msg":"m"}"#, "m"),
        (r#"{"title":"t","detail":"m","status":502}"#, "m"),
        (r#"{"error":{"code":5}}"#, "the provider answered 502"),
        (r#"{"message":"","error":"m"}"#, "m"),
        (r#"{"detail":"m"}"#, "m"),
        (r#"{"fault":{"faultstring":"m"}}"#, "m"),
        ("m", "m"),
        ("<html>x</html>", "the provider answered 502 with a web page"),
        ("", "the provider answered 502 without a message"),
        ("\u{1f}\u{8b}\u{8}\u{0}text", "the provider answered 502 with a body that is not text"),
    ] {
        assert_eq!(UpstreamError::read(openai, 502, None, body.as_bytes()).message, message);
    }
    let zipped = UpstreamError::read(openai, 502, None, b"\x1f\x8b\x08\x00\xff\xfetext");
    assert_eq!(zipped.message, "the provider answered 502 with a body that is not text");
    let echo = r#"{"error":{"message":"key sk-secret-123 is wrong"}}"#;
    let rejection = UpstreamError::read(openai, 401, None, echo.as_bytes()).without("sk-secret-123");
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
                let rejection = UpstreamError::read(openai, 401, None, body.as_bytes()).without(key);
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
    let wait = |header, body: &str| UpstreamError::read(google, 429, header, body.as_bytes()).retry_after;
    assert_eq!(wait(Some("7"), ""), Some(Duration::from_secs(7)));
    assert_eq!(wait(Some("0.5"), ""), Some(Duration::from_millis(999)));
    assert_eq!(wait(Some("Wed, 21 Oct 2026 07:28:00 GMT"), ""), None);
    let body = r#"{"error":{"details":[{"@type":"x"},{"retryDelay":"37s"}]}}"#;
    assert_eq!(wait(None, body), Some(Duration::from_secs(37)));
}

fn inside(provider: &str, body: &str) -> UpstreamError {
    UpstreamError::read_in_success(ProviderId::by_id(provider).unwrap(), body.as_bytes())
}

#[test]
fn an_error_inside_a_success_is_the_same_refusal_as_outside_of_one() {
    for (provider, body, class, status) in [
        (
            "openai",
            r#"{"type":"error","error":{"type":"insufficient_quota","code":"insufficient_quota","message":"You exceeded your current quota"}}"#,
            ErrorClass::InsufficientFunds,
            429,
        ),
        (
            "openai",
            r#"{"response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"}}}"#,
            ErrorClass::Rate,
            429,
        ),
        (
            "groq",
            r#"{"error":{"message":"Failed to call a function","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"x","status_code":400}}"#,
            ErrorClass::InvalidRequest,
            400,
        ),
        (
            "openai",
            r#"{"error":{"code":"context_length_exceeded","message":"x"}}"#,
            ErrorClass::ContextLength,
            400,
        ),
        (
            "anthropic",
            r#"{"type":"invalid_request_error","message":"prompt is too long: 5 tokens > 4 maximum"}"#,
            ErrorClass::ContextLength,
            400,
        ),
        ("anthropic", r#"{"type":"overloaded_error","message":"Overloaded"}"#, ErrorClass::Overload, 503),
        ("anthropic", r#"{"type":"rate_limit_error","message":"x"}"#, ErrorClass::Rate, 429),
        ("anthropic", r#"{"type":"billing_error","message":"x"}"#, ErrorClass::InsufficientFunds, 429),
        ("anthropic", r#"{"type":"permission_error","message":"x"}"#, ErrorClass::Permission, 403),
        ("anthropic", r#"{"type":"not_found_error","message":"model: x"}"#, ErrorClass::UnknownModel, 404),
        (
            "google",
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"quota"}}"#,
            ErrorClass::Rate,
            429,
        ),
        (
            "google",
            r#"[{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"bad"}}]"#,
            ErrorClass::InvalidRequest,
            400,
        ),
        ("google", r#"{"error":{"status":"UNAVAILABLE","message":"x"}}"#, ErrorClass::Overload, 503),
        (
            "mistral",
            r#"{"object":"error","message":"x","type":"invalid_request_error","code":"401"}"#,
            ErrorClass::BadKey,
            401,
        ),
        ("fireworks_ai", r#"{"error":{"message":"x","code":500}}"#, ErrorClass::Overload, 500),
        (
            "deepseek",
            r#"{"error":{"message":"The supported API model names are a or b"}}"#,
            ErrorClass::UnknownModel,
            400,
        ),
        ("xai", r#"{"code":"x","error":"currently unavailable"}"#, ErrorClass::Overload, 200),
        ("openai", r#"{"error":{"message":"something broke"}}"#, ErrorClass::Overload, 200),
    ] {
        let rejection = inside(provider, body);
        assert_eq!((rejection.class, rejection.status), (class, Some(status)), "{provider} {body}");
    }
    let failed =
        inside("groq", r#"{"error":{"message":"m","code":"tool_use_failed","failed_generation":"<f>"}}"#);
    assert_eq!(failed.openai_code, Some(OpenAiCode::ToolUseFailed));
    assert_eq!(
        (failed.code.as_deref(), failed.failed_generation.as_deref()),
        (Some("tool_use_failed"), Some("<f>"))
    );
}

#[test]
fn an_unknown_model_and_a_long_prompt_are_known_at_every_provider() {
    for (provider, status, body, expected) in [
        (
            "openai",
            400,
            r#"{"error":{"code":"model_not_found","message":"The requested model 'x' does not exist."}}"#,
            ErrorClass::UnknownModel,
        ),
        (
            "openai",
            400,
            r#"{"error":{"message":"The requested model 'x' does not exist."}}"#,
            ErrorClass::UnknownModel,
        ),
        (
            "deepseek",
            400,
            r#"{"error":{"message":"The supported API model names are deepseek-v4.1-pro","type":"invalid_request_error"}}"#,
            ErrorClass::UnknownModel,
        ),
        (
            "mistral",
            400,
            r#"{"object":"error","message":"Invalid model: x","type":"invalid_model","code":"1500"}"#,
            ErrorClass::UnknownModel,
        ),
        (
            "xai",
            400,
            r#"{"code":"Client specified an invalid argument","error":"Model not found: x"}"#,
            ErrorClass::UnknownModel,
        ),
        (
            "groq",
            400,
            r#"{"error":{"message":"The model `x` has been decommissioned and is no longer supported.","code":"model_decommissioned"}}"#,
            ErrorClass::UnknownModel,
        ),
        (
            "openai",
            400,
            r#"{"error":{"message":"The model called a tool that does not exist"}}"#,
            ErrorClass::InvalidRequest,
        ),
        (
            "google",
            400,
            r#"{"error":{"code":400,"message":"The input token count (1250074) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#,
            ErrorClass::ContextLength,
        ),
        (
            "perplexity",
            400,
            r#"{"error":{"message":"The total length of all messages is too long.","type":"bad_request","code":400}}"#,
            ErrorClass::ContextLength,
        ),
        (
            "xai",
            400,
            r#"{"error":"This model's maximum prompt length is 131072 but the request contains 200000 tokens."}"#,
            ErrorClass::ContextLength,
        ),
        (
            "anthropic",
            400,
            r#"{"error":{"type":"invalid_request_error","message":"input length and `max_tokens` exceed context limit: 1 + 2 > 2"}}"#,
            ErrorClass::ContextLength,
        ),
        (
            "together_ai",
            422,
            r#"{"error":{"message":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 10000 `inputs` tokens and 1000 `max_new_tokens`"}}"#,
            ErrorClass::ContextLength,
        ),
        (
            "cohere",
            400,
            r#"{"message":"size limit exceeded by 11326 tokens. Try using shorter or fewer inputs."}"#,
            ErrorClass::ContextLength,
        ),
        (
            "openai",
            400,
            r#"{"error":{"message":"Input tokens exceed the configured limit of 272000 tokens."}}"#,
            ErrorClass::ContextLength,
        ),
        (
            "cohere",
            422,
            r#"{"message":"model 'x' not found, make sure the name is correct"}"#,
            ErrorClass::UnknownModel,
        ),
        (
            "openai",
            400,
            r#"{"error":{"message":"No tool call was found for the model's answer; the item was not found"}}"#,
            ErrorClass::InvalidRequest,
        ),
        (
            "anthropic",
            429,
            r#"{"error":{"type":"rate_limit_error","message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
            ErrorClass::InsufficientFunds,
        ),
        (
            "xai",
            403,
            r#"{"code":"x","error":"Content violates usage guidelines. SAFETY_CHECK_TYPE_BIO"}"#,
            ErrorClass::InvalidRequest,
        ),
    ] {
        assert_eq!(class(provider, status, body), expected, "{provider} {status} {body}");
    }
}

#[test]
fn the_code_that_clients_branch_on_is_openais_and_the_providers_own_is_kept() {
    for (provider, status, body, openai, own) in [
        (
            "google",
            429,
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"x"}}"#,
            Some("rate_limit_exceeded"),
            Some("429"),
        ),
        (
            "together_ai",
            403,
            r#"{"error":{"message":"Input exceeds the context length"}}"#,
            Some("context_length_exceeded"),
            None,
        ),
        (
            "openai",
            400,
            r#"{"error":{"message":"x","code":"content_policy_violation"}}"#,
            Some("content_policy_violation"),
            Some("content_policy_violation"),
        ),
        (
            "moonshot",
            400,
            r#"{"error":{"message":"x","type":"content_filter"}}"#,
            Some("content_policy_violation"),
            None,
        ),
        (
            "openai",
            429,
            r#"{"error":{"message":"x","code":"billing_hard_limit_reached"}}"#,
            Some("insufficient_quota"),
            Some("billing_hard_limit_reached"),
        ),
        ("openai", 400, r#"{"error":{"message":"x","code":"invalid_value"}}"#, None, Some("invalid_value")),
    ] {
        let rejection =
            UpstreamError::read(ProviderId::by_id(provider).unwrap(), status, None, body.as_bytes());
        let code = rejection.openai_code.map(OpenAiCode::as_str);
        assert_eq!((code, rejection.code.as_deref()), (openai, own), "{body}");
    }
}
