//! Fees that the operator's account would be billed without the gateway's knowledge, and objects that it stores, are
//! not available to customers on platform keys; on their own keys they pass.

use super::close;
use crate::harness::Stack;
use serde_json::{Value, json};

/// Path, body and the name that the error must contain.
fn out_of_reach() -> Vec<(&'static str, Value, &'static str)> {
    let said = |content: Value| json!([{ "role": "user", "content": content }]);
    let kept = "belongs to the account";
    let unpriced = "bears a fee";
    vec![
        (
            "/v1/chat/completions",
            json!({ "model": "openai/gpt-4o",
                "messages": said(json!([{ "type": "file", "file": { "file_id": "file-1" } }])) }),
            kept,
        ),
        (
            "/v1/chat/completions",
            json!({ "model": "moonshot/kimi-k3",
                "messages": said(json!([{ "type": "image_url", "image_url": { "url": "ms://file-1" } }])) }),
            kept,
        ),
        (
            "/v1/chat/completions",
            json!({ "model": "google/gemini-3.8-flash",
                "messages": said(json!([{ "type": "image_url", "image_url": { "url": "files/abc" } }])) }),
            kept,
        ),
        (
            "/v1/responses",
            json!({ "model": "openai/gpt-4o", "input": said(json!([{ "type": "input_file", "file_id": "f" }])) }),
            kept,
        ),
        (
            "/v1/responses",
            json!({ "model": "openai/gpt-4o", "input": "x", "previous_response_id": "resp_1" }),
            kept,
        ),
        (
            "/v1/messages",
            json!({ "model": "anthropic/claude-sonnet-4-6", "max_tokens": 9, "container": "c_1",
                "messages": said(json!("x")) }),
            kept,
        ),
        (
            "/v1/messages",
            json!({ "model": "anthropic/claude-sonnet-4-6", "max_tokens": 9,
                "messages": said(json!([{ "type": "document", "source": { "type": "file", "file_id": "f" } }])) }),
            kept,
        ),
        (
            "/v1/ocr",
            json!({ "model": "mistral/mistral-ocr-latest", "document": { "type": "file", "file_id": "f" } }),
            kept,
        ),
        (
            "/v1/messages",
            json!({ "model": "anthropic/claude-opus-4-6", "max_tokens": 9, "speed": "fast",
                "messages": said(json!("x")) }),
            unpriced,
        ),
        (
            "/v1/responses",
            json!({ "model": "perplexity/sonar-agent", "input": "x", "preset": "xhigh" }),
            unpriced,
        ),
    ]
}

#[tokio::test]
async fn what_the_platforms_account_keeps_or_pays_for_unseen_is_out_of_reach() {
    let stack = Stack::start().await;
    let customer = stack.customer("100").await;
    for (path, body, named) in out_of_reach() {
        let reply = stack.post(path, &customer.key, &body).await;
        assert_eq!(reply.status, 400, "{path} {body}: {reply}");
        let is_named = reply.message().contains(named) || reply.message().contains("platform's");
        assert!(is_named, "{path} {body}: {reply}");
    }
    assert!(stack.simulator.bill().is_empty(), "nothing is sent: {:#?}", stack.simulator.bill());
    close(stack).await;
}

#[tokio::test]
async fn what_the_client_runs_itself_works_on_the_platforms_account() {
    let stack = Stack::start().await;
    let customer = stack.customer("100").await;
    let function = json!({ "type": "function", "name": "f", "parameters": {}, "strict": false });
    let respond = |input: Value, tool: Value| {
        ("/v1/responses", json!({ "model": "openai/gpt-5.5", "input": input, "tools": [tool] }))
    };
    let history = json!([
        { "role": "user", "content": "x" },
        { "type": "custom_tool_call", "call_id": "c1", "name": "p", "input": "raw" },
        { "type": "custom_tool_call_output", "call_id": "c1", "output": "done" },
    ]);
    let bash = json!({ "model": "anthropic/claude-sonnet-4-6", "max_tokens": 9,
        "messages": [{ "role": "user", "content": "x" }], "tools": [{ "type": "bash_20250124", "name": "bash" }] });
    for (path, body) in [
        respond(json!("x"), json!({ "type": "namespace", "name": "n", "tools": [function] })),
        respond(json!("x"), json!({ "type": "apply_patch" })),
        respond(json!("x"), json!({ "type": "tool_search", "execution": "client", "parameters": {} })),
        respond(history, json!({ "type": "custom", "name": "p" })),
        ("/v1/messages", bash),
    ] {
        let reply = stack.post(path, &customer.key, &body).await;
        assert_eq!(reply.status, 200, "{body}: {reply}");
    }
    let body = json!({ "model": "openai/gpt-5.5", "input": "x", "tools": [function, { "type": "code_interpreter" }] });
    let reply = stack.post("/v1/responses", &customer.key, &body).await;
    assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!("tools[1]")), "{reply}");
    assert!(reply.message().contains("code_interpreter"), "{reply}");
    close(stack).await;
}

#[tokio::test]
async fn answers_that_come_later_cannot_be_asked_for() {
    let stack = Stack::start().await;
    let customer = stack.customer("100").await;
    let hello = json!([{ "role": "user", "content": "x" }]);
    for (path, body, field) in [
        (
            "/v1/chat/completions",
            json!({ "model": "xai/grok-4.3", "messages": hello, "deferred": true }),
            "deferred",
        ),
        (
            "/v1/responses",
            json!({ "model": "openai/gpt-4o", "input": "x", "background": true }),
            "background",
        ),
        (
            "/v1/chat/completions",
            json!({ "model": "google/gemini-3.5-flash", "messages": hello, "service_tier": "batch" }),
            "service_tier",
        ),
    ] {
        let reply = stack.post(path, &customer.key, &body).await;
        assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!(field)), "{reply}");
    }
    assert!(stack.simulator.bill().is_empty());
    close(stack).await;
}

#[tokio::test]
async fn a_service_tier_that_was_not_asked_of_the_provider_is_not_billed() {
    let stack = Stack::start().await;
    let customer = stack.customer("100").await;
    // Anthropic has no such tier: the option is left out, and the answer has its usual cost.
    let body = |tier: &str| {
        json!({ "model": "anthropic/claude-sonnet-4-6", "max_tokens": 9, "service_tier": tier,
            "messages": [{ "role": "user", "content": "x" }] })
    };
    let mut charges = Vec::new();
    for tier in ["default", "priority"] {
        stack.set_provider_keys(&customer, &json!({ "Anthropic": "sk-ant-own" })).await;
        let reply = stack.chat(&customer.key, &body(tier)).await;
        assert_eq!(reply.status, 200, "{reply}");
        let named = reply.header("x-kairosroute-dropped").contains("service_tier");
        assert_eq!(named, tier == "priority", "{reply}");
        charges.push(reply.json()["x_kairosroute"]["provider_cost_usd"].clone());
    }
    assert!(charges[0].is_number());
    assert_eq!(charges[0], charges[1]);
    close(stack).await;
}

#[tokio::test]
async fn betas_that_may_cost_stay_behind_on_the_platforms_key_and_are_named() {
    let stack = Stack::start().await;
    let customer = stack.customer("100").await;
    let body = json!({ "model": "anthropic/claude-sonnet-4-6", "max_tokens": 9,
        "messages": [{ "role": "user", "content": "x" }] });
    let ask = || {
        let request = stack.request("POST", "/v1/messages").bearer(&customer.key).json(&body);
        request.header("anthropic-beta", "files-api-2025-04-14, interleaved-thinking-2025-05-14").send()
    };
    let beta = || {
        let calls = stack.simulator.bill();
        let headers = &calls.last().unwrap().headers;
        headers.iter().find(|(name, _)| name == "anthropic-beta").map(|(_, value)| value.clone())
    };
    let reply = ask().await;
    assert_eq!((reply.status, reply.header("x-kairosroute-dropped")), (200, "anthropic-beta"), "{reply}");
    assert_eq!(beta().as_deref(), Some("interleaved-thinking-2025-05-14"));
    stack.set_provider_keys(&customer, &json!({ "Anthropic": "sk-ant-own" })).await;
    let reply = ask().await;
    assert_eq!((reply.status, reply.header("x-kairosroute-dropped")), (200, ""), "{reply}");
    assert_eq!(beta().as_deref(), Some("files-api-2025-04-14, interleaved-thinking-2025-05-14"));
    close(stack).await;
}
