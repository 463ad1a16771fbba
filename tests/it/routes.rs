//! The common properties of every response: a documented status for each code, an envelope, an id.

use crate::harness::{Reply, Stack, hello};
use kairosroute::http::{
    error::{Code, Envelope},
    routes::ROUTES,
};
use serde_json::{Value, json};

/// The error codes of the product and their statuses.
const CODES: &[(Code, &str, u16)] = &[
    (Code::InvalidRequest, "invalid_request", 400),
    (Code::UnknownProvider, "unknown_provider", 400),
    (Code::NoModelsAvailable, "no_models_available", 400),
    (Code::InvalidApiKey, "invalid_api_key", 401),
    (Code::InsufficientCredits, "insufficient_credits", 402),
    (Code::CostGuardrailExceeded, "cost_guardrail_exceeded", 402),
    (Code::BudgetExceeded, "budget_exceeded", 402),
    (Code::PermissionDenied, "permission_denied", 403),
    (Code::ModelNotFound, "model_not_found", 404),
    (Code::NotFound, "not_found", 404),
    (Code::IdempotencyConflict, "idempotency_conflict", 409),
    (Code::RequestTooLarge, "request_too_large", 413),
    (Code::RateLimitExceeded, "rate_limit_exceeded", 429),
    (Code::UpstreamError, "upstream_error", 502),
    (Code::UpstreamAuth, "upstream_auth", 502),
    (Code::UpstreamUnavailable, "upstream_unavailable", 503),
    (Code::UpstreamTimeout, "upstream_timeout", 504),
];

/// The complete OpenAI envelope, with `detail` beside it.
pub fn assert_enveloped(reply: &Reply) {
    let body = reply.json();
    for field in ["message", "type", "param", "code"] {
        assert!(body["error"].as_object().unwrap().contains_key(field), "{field} is missing: {reply}");
    }
    // For an unknown model it is only the first sentence.
    let (detail, message) = (body["detail"].as_str().unwrap(), body["error"]["message"].as_str().unwrap());
    assert!(!detail.is_empty() && message.starts_with(detail), "{reply}");
    assert!(reply.header("content-type").starts_with("application/json"), "{reply}");
}

/// Anthropic's envelope, with our code beside its type.
fn assert_enveloped_for_anthropic(reply: &Reply) {
    let body = reply.json();
    assert_eq!(body["type"], "error", "{reply}");
    for field in ["type", "message", "code"] {
        assert!(body["error"][field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {reply}");
    }
}

#[test]
fn each_error_code_has_its_documented_status() {
    for (code, text, status) in CODES {
        assert_eq!((code.as_str(), code.status().as_u16()), (*text, *status));
    }
}

#[tokio::test]
async fn a_path_that_is_not_there_is_404_and_a_method_that_is_not_405_with_allow() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for path in ["/v1/nothing", "/api/nothing", "/v1", "/v1/chat/completions/", "/favicon.ico", "/v1//models"]
    {
        for token in ["", customer.key.as_str()] {
            let reply = stack.get(path, token).await;
            assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{path}");
            assert_enveloped(&reply);
        }
    }
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", "POST, OPTIONS"),
        ("DELETE", "/v1/chat/completions", "POST, OPTIONS"),
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
        ("PUT", "/api/auth", "GET, POST, PATCH, DELETE, HEAD, OPTIONS"),
        ("FROBNICATE", "/healthz", "GET, HEAD, OPTIONS"),
    ] {
        let reply = stack.request(method, path).bearer(&customer.key).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (405, "method_not_allowed"), "{method} {path}");
        assert_eq!(reply.header("allow"), allow, "{method} {path}");
        assert_enveloped(&reply);
    }
}

#[tokio::test]
async fn what_does_not_exist_is_404_that_names_the_gap() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for path in ["/v1/images/variations", "/v1/videos", "/v1/audio/voices"] {
        let reply = stack.post(path, &customer.key, &json!({})).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{path}");
        assert!(reply.message().contains(path), "{reply}");
    }
}

#[tokio::test]
async fn every_response_has_a_request_id_of_its_own() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let mut replies = vec![
        stack.get("/", "").await,
        stack.get("/healthz", "").await,
        stack.get("/readyz", "").await,
        stack.get("/v1/models", "").await,
        stack.get("/v1/models", &customer.key).await,
        stack.get("/api/auth", &customer.session).await,
        stack.chat(&customer.key, &hello("openai/gpt-4o-mini")).await,
        stack.chat(&customer.key, &json!({})).await,
        stack.get("/v1/nothing", "").await,
        stack.request("PUT", "/healthz").send().await,
    ];
    for route in ROUTES {
        let path = route
            .path
            .replace("{id:.+}", "x")
            .replace("{id}", "x")
            .replace("{provider}", "openai")
            .replace("{month}", "2026-10");
        replies.push(stack.request(route.method.as_str(), &path).send().await);
    }
    let mut ids: Vec<&str> = replies
        .iter()
        .map(|reply| {
            let id = reply.header("x-request-id");
            assert!(id.starts_with("req_") && id.len() == 36, "{reply}");
            id
        })
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id names one request");
}

#[tokio::test]
async fn every_refusal_of_the_table_is_in_its_envelope() {
    let stack = Stack::start().await;
    for route in ROUTES {
        let path = route
            .path
            .replace("{id:.+}", "x")
            .replace("{id}", "x")
            .replace("{provider}", "openai")
            .replace("{month}", "2026-10");
        let reply = stack.request(route.method.as_str(), &path).send().await;
        match route.envelope {
            _ if reply.status < 400 => {}
            Envelope::Anthropic => assert_enveloped_for_anthropic(&reply),
            Envelope::OpenAi | Envelope::Indox => assert_enveloped(&reply),
        }
    }
}

#[tokio::test]
async fn the_process_says_that_it_lives_and_is_ready() {
    let stack = Stack::start().await;
    assert_eq!(stack.get("/healthz", "").await.status, 200);
    assert_eq!(stack.get("/readyz", "").await.status, 200);
    let root = stack.get("/", "").await;
    assert_eq!(root.status, 200);
    assert!(root.json().is_object());
}

#[tokio::test]
async fn models_are_found_by_any_of_their_names_and_listed_with_prices() {
    let stack = Stack::builder().no_platform_keys().platform_key("openai", "platform-openai").start().await;
    let customer = stack.sign_up().await;
    let list = stack.get("/v1/models", &customer.key).await.json();
    let find = |id: &str| -> Value {
        let models = list["data"].as_array().unwrap();
        models.iter().find(|model| model["id"] == id).cloned().unwrap_or_default()
    };
    let model = find("openai/gpt-4o-mini");
    assert_eq!(model["available"], true);
    assert_eq!(model["byok"], false);
    assert!(model["pricing"]["input"].is_string());
    for name in ["openai/gpt-4o-mini", "openai%2Fgpt-4o-mini", "gpt-4o-mini"] {
        for prefix in ["/v1", "/api/v1"] {
            let reply = stack.get(&format!("{prefix}/models/{name}"), &customer.key).await;
            assert_eq!(reply.status, 200, "{name}: {reply}");
            assert_eq!(reply.json()["id"], "openai/gpt-4o-mini");
        }
    }
    let reply = stack.get("/v1/models/openai/never-made", &customer.key).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "model_not_found"));
}
