//! Tests of the envelopes.

use super::*;
use serde_json::json;

#[test]
fn the_envelope_has_every_field_openai_sends_and_a_detail() {
    let body = ApiError::invalid("model", "no").body();
    assert_eq!(
        body,
        json!({ "error": { "message": "no", "type": "invalid_request_error", "param": "model",
                "code": "invalid_request" }, "detail": "no" })
    );
}

#[test]
fn an_unknown_provider_is_answered_with_the_list() {
    let body = ApiError::unknown_provider("providerKeys").body();
    assert_eq!(body["error"]["supported_providers"][0], "openai");
    assert!(body["detail"].as_str().unwrap().contains("together_ai"));
}

#[test]
fn retry_after_is_whole_seconds_between_1_and_30() {
    for (seconds, expected) in [(0, "1"), (7, "7"), (3_600, "30")] {
        let response =
            ApiError::new(Code::RateLimitExceeded, "slow down").retry_after_s(seconds).error_response();
        assert_eq!(response.headers().get("retry-after").unwrap(), expected);
    }
}

#[test]
fn an_absent_database_is_503_and_a_bad_row_500_without_detail() {
    let away = ApiError::from(StoreError::Unavailable("down".into()));
    assert_eq!(away.status(), StatusCode::SERVICE_UNAVAILABLE);
    let refused = ApiError::from(StoreError::Refused("relation secret_table".into()));
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!refused.body().to_string().contains("secret_table"));
}
