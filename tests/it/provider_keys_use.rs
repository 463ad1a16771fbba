//! The use of a stored provider key: masked, tested for free, used in order, and reported afterwards.

use crate::harness::{Client, Customer, Stack, hello, text, wait_for};
use kairosroute::{
    domain::provider::PROVIDERS,
    simulator::{Script, ToolCall},
};
use serde_json::{Value, json};

const MODEL: &str = "openai/gpt-4o-mini";

async fn first_key(client: &Client, customer: &Customer) -> Value {
    let path = format!("/api/auth/keys/{}", customer.key_id);
    client.get(&path, &customer.session).await.json()["providerKeys"][0].clone()
}

async fn test_call(client: &Client, customer: &Customer, provider: &str) -> Value {
    let path = format!("/api/auth/keys/{}/provider-keys/{provider}/test", customer.key_id);
    let reply = client.request("POST", &path).bearer(&customer.session).send().await;
    assert_eq!(reply.status, 200, "{reply}");
    reply.json()
}

#[tokio::test]
async fn a_stored_key_is_shown_masked_with_a_fingerprint_that_tells_keys_apart() {
    let stack = Stack::start().await;
    let (one, two) = (stack.sign_up().await, stack.sign_up().await);
    let secret = "sk-proj-0123456789abcdefWXYZ";
    let view = stack.set_provider_keys(&one, &json!({ "OpenAI": secret, "Groq": secret })).await;
    let other = stack.set_provider_keys(&two, &json!({ "OpenAI": "sk-proj-another-key-of-itsWXYZ" })).await;
    let key = &view["providerKeys"][0];
    assert_eq!(key["last4"], "WXYZ");
    assert_eq!(key["status"], "untested");
    for field in ["id", "provider", "label", "fingerprint", "models", "enabled", "createdAt"] {
        assert!(!key[field].is_null(), "{field}");
    }
    assert_eq!(key["fingerprint"], view["providerKeys"][1]["fingerprint"]);
    assert_ne!(key["fingerprint"], other["providerKeys"][0]["fingerprint"]);
    assert!(!view.to_string().contains("0123456789abcdef"));
}

#[tokio::test]
async fn the_free_call_tells_the_truth_at_every_provider_that_has_one() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for row in PROVIDERS {
        stack.set_provider_keys(&customer, &json!({ row.name: "good-key-12345678" })).await;
        let good = test_call(&stack, &customer, row.id).await;
        assert_eq!(good["valid"], true, "{}: {good}", row.id);
        stack.set_provider_keys(&customer, &json!({ row.name: "bad-key-12345678" })).await;
        let bad = test_call(&stack, &customer, row.id).await;
        assert_eq!(bad["valid"], false, "{}: {bad}", row.id);
        assert!(bad["status"].is_u64() && !text(&bad["message"]).is_empty(), "{}: {bad}", row.id);
        let view = first_key(&stack, &customer).await;
        assert_eq!((view["status"].as_str(), view["lastError"].is_string()), (Some("invalid"), true));
        stack.set_provider_keys(&customer, &Value::Null).await;
    }
    let bill = stack.simulator.bill();
    assert_eq!(bill.len(), 26);
    assert!(bill.iter().all(|call| call.completion_tokens == 0), "the call is free");
    assert!(bill.iter().all(|call| call.leaked.is_empty() && !call.path.contains("12345678")));
}

#[tokio::test]
async fn a_test_call_of_a_key_that_is_not_there_is_404() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let call = async |rest: &str| {
        let path = format!("/api/auth/keys/{}/provider-keys/{rest}", customer.key_id);
        stack.request("POST", &path).bearer(&customer.session).send().await
    };
    assert_eq!(call("openai/test").await.status, 404);
    let unknown = call("nobody/test").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (400, "unknown_provider"));
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-12345678" })).await;
    assert_eq!(call("openai/test?id=nonsense").await.status, 404);
    assert_eq!(call(&format!("openai/test?id=pk_{}", "0".repeat(32))).await.status, 404);
    assert_eq!(call("openai/test").await.status, 200);
}

#[tokio::test]
async fn last_use_and_last_error_of_a_key_appear() {
    let stack = Stack::builder().no_platform_keys().start().await;
    let customer = stack.sign_up().await;
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-own-12345678" })).await;
    assert!(first_key(&stack, &customer).await["lastUsedAt"].is_null());
    assert_eq!(stack.chat(&customer.key, &hello(MODEL)).await.status, 200);
    let used = wait_for("the use to appear", async || {
        let key = first_key(&stack, &customer).await;
        key["lastUsedAt"].is_string().then_some(key)
    })
    .await;
    assert!(used["lastError"].is_null());
    stack.simulator.enqueue("openai", Script::failing(401));
    assert_eq!(stack.chat(&customer.key, &hello(MODEL)).await.status, 401);
    let failed = wait_for("the error to appear", async || {
        let key = first_key(&stack, &customer).await;
        key["lastError"].is_string().then_some(key)
    })
    .await;
    assert_eq!(failed["lastError"], "bad_key");
}

#[tokio::test]
async fn stored_keys_are_tried_in_order_and_then_the_platforms() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let list = json!([
        { "key": "bad-one-12345678" },
        { "key": "sk-off-12345678", "enabled": false },
        { "key": "sk-other-12345678", "models": ["gpt-4o"] },
        { "key": "revoked-two-12345678" },
    ]);
    stack.set_provider_keys(&customer, &json!({ "openai": list })).await;
    let reply = stack.chat(&customer.key, &hello(MODEL)).await;
    assert_eq!(reply.status, 200, "{reply}");
    let tried: Vec<String> = stack.simulator.bill().into_iter().map(|call| call.authorization).collect();
    assert_eq!(tried, ["bad-one-12345678", "revoked-two-12345678", "platform-openai"]);
    assert_eq!(reply.header("x-kairosroute-byok"), "false");
    assert_eq!(reply.header("x-kairosroute-fallback-reason"), "bad_key");
    assert_eq!(reply.header("x-kairosroute-attempts"), "3");
    stack.finish().await;
}

#[tokio::test]
async fn without_fallback_the_customer_gets_its_own_providers_answer_and_pays_nothing() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let body = json!({ "byokFallback": "never", "providerKeys": { "OpenAI": "bad-own-12345678" } });
    assert_eq!(stack.patch_key(&customer.session, &customer.key_id, &body).await.status, 200);
    let reply = stack.chat(&customer.key, &hello(MODEL)).await;
    assert_eq!(reply.status, 401, "{reply}");
    assert_eq!(reply.json()["error"]["metadata"]["upstream_status"], 401);
    // A single request may still request the platform key, and the reverse.
    let request = |fallback: &str| {
        stack
            .request("POST", "/v1/chat/completions")
            .bearer(&customer.key)
            .header("x-kairosroute-fallback", fallback)
            .json(&hello(MODEL))
    };
    assert_eq!(request("platform").send().await.status, 200);
    let cleared = json!({ "byokFallback": null });
    stack.patch_key(&customer.session, &customer.key_id, &cleared).await;
    assert_eq!(request("never").send().await.status, 401);
    assert_eq!(request("sometimes").send().await.status, 400);
    stack.finish().await;
}

#[tokio::test]
async fn a_changed_key_is_used_at_once_here_and_within_five_seconds_elsewhere() {
    let stack = Stack::builder().no_platform_keys().start().await;
    let second = stack.second_node().await;
    let customer = stack.sign_up().await;
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-old-12345678" })).await;
    for node in [&stack.client, &*second] {
        assert_eq!(node.chat(&customer.key, &hello(MODEL)).await.status, 200);
    }
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-new-12345678" })).await;
    let started = std::time::Instant::now();
    stack.simulator.clear();
    stack.chat(&customer.key, &hello(MODEL)).await;
    assert_eq!(stack.simulator.bill()[0].authorization, "sk-new-12345678");
    wait_for("the other node to use it", async || {
        stack.simulator.clear();
        second.chat(&customer.key, &hello(MODEL)).await;
        (stack.simulator.bill()[0].authorization == "sk-new-12345678").then_some(())
    })
    .await;
    assert!(started.elapsed().as_secs() < 5);
}

#[tokio::test]
async fn the_arguments_of_a_tool_call_arrive_as_they_were_sent() {
    let stack = Stack::builder().no_platform_keys().start().await;
    let customer = stack.sign_up().await;
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-own-12345678" })).await;
    let call = ToolCall::new("call_1", "f", &[r#"{\"a\": "#, r#"\"\\u00e9 \\ud83d\" }"#]);
    stack.simulator.enqueue("openai", Script::tools(vec![call]));
    let mut body = hello(MODEL);
    body["tools"] = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
    let reply = stack.chat(&customer.key, &body).await;
    assert_eq!(reply.status, 200, "{reply}");
    assert!(reply.text().contains(r#""arguments":"{\"a\": \"\\u00e9 \\ud83d\" }""#), "{reply}");
}

/// A model of each provider.
const MODELS: [&str; 13] = [
    "openai/gpt-4o",
    "anthropic/claude-sonnet-4-6",
    "google/gemini-2.5-flash",
    "xai/grok-4.3",
    "mistral/mistral-large-4",
    "deepseek/deepseek-flash",
    "groq/gpt-oss-120b",
    "cohere/command-a-plus",
    "perplexity/kimi-k3",
    "cerebras/gpt-oss-120b",
    "together_ai/gpt-oss-120b",
    "fireworks_ai/glm-5.3",
    "moonshot/kimi-k3",
];

#[tokio::test]
async fn an_own_key_with_an_own_base_url_serves_whole_answers_and_streams_at_every_provider() {
    let stack = Stack::builder().env("KAIROSROUTE_ALLOW_PRIVATE_NETS", "127.0.0.0/8").start().await;
    let customer = stack.customer("1").await;
    assert_eq!(MODELS.len(), PROVIDERS.len());
    for row in PROVIDERS {
        let model = MODELS.iter().find(|model| model.split('/').next() == Some(row.id)).unwrap();
        for tail in ["", "/"] {
            let url = format!("{}{tail}", stack.simulator.base_url(row.id));
            let keys = json!({ row.name: [{ "key": "sk-own-host-12345678", "baseUrl": url }] });
            stack.set_provider_keys(&customer, &keys).await;
            stack.simulator.clear();
            let whole = stack.chat(&customer.key, &hello(model)).await;
            assert_eq!((whole.status, whole.header("x-kairosroute-byok")), (200, "true"), "{model}: {whole}");
            let mut streamed = stack.stream(&customer.key, &hello(model)).await;
            let byok = streamed.headers.get("x-kairosroute-byok").cloned();
            assert_eq!((streamed.status, byok.unwrap()), (200, "true".parse().unwrap()), "{model}");
            assert!(streamed.rest().await.last().unwrap().is_done(), "{model}");
            let used: Vec<String> =
                stack.simulator.bill().into_iter().map(|call| call.authorization).collect();
            assert_eq!(used, ["sk-own-host-12345678"; 2], "{model}");
        }
        stack.set_provider_keys(&customer, &Value::Null).await;
    }
    assert_eq!(stack.account(&customer.organization_id).await.1, 0);
    stack.finish().await;
}

#[tokio::test]
async fn what_the_gateway_refuses_to_dial_is_told_as_such_and_never_served_on_the_platforms_account() {
    let stack = Stack::builder().env("KAIROSROUTE_ALLOW_PRIVATE_NETS", "127.0.0.0/8").start().await;
    let customer = stack.customer("1").await;
    let url = stack.simulator.base_url("google");
    let keys = json!({ "Google": [{ "key": "sk-own-host-12345678", "baseUrl": url }] });
    stack.set_provider_keys(&customer, &keys).await;
    // The operator closes the network afterwards.
    let node = stack.second_node_with(&[("KAIROSROUTE_ALLOW_PRIVATE_NETS", "10.0.0.0/8")]).await;
    for stream in [false, true] {
        let mut body = hello("google/gemini-2.5-flash");
        body["stream"] = json!(stream);
        let reply = node.chat(&customer.key, &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"), "{reply}");
        assert!(reply.to_string().contains("base URL"), "{reply}");
    }
    assert!(stack.simulator.bill().is_empty(), "nobody was called");
}
