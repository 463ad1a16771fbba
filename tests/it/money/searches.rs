//! Web searches: counted as each provider counts them, billed at the catalogue's price, also on platform keys; and
//! costs that providers report themselves.

use super::{charge, close, spent_since};
use crate::harness::{Customer, Stack};
use kairosroute::simulator::Script;
use serde_json::{Value, json};

/// A request with a search, the provider of the search, and its price there, in nano-USD.
struct Case {
    provider: &'static str,
    path: &'static str,
    body: Value,
    search: i64,
    /// Nano-USD for a token of the prompt and of the answer.
    rates: (i64, i64),
}

fn cases() -> Vec<Case> {
    let respond = |model: &str| json!({ "model": model, "input": "x", "max_tool_calls": 5, "tools": [{ "type": "web_search" }] });
    let message = |model: &str| {
        let tool = json!({ "type": "web_search_20250305", "name": "web_search", "max_uses": 5 });
        json!({ "model": model, "max_tokens": 99, "messages": [{ "role": "user", "content": "x" }], "tools": [tool] })
    };
    let case = |provider, path, body, search, rates| Case { provider, path, body, search, rates };
    vec![
        case("openai", "/v1/responses", respond("openai/gpt-5.5"), 10_000_000, (5_000, 30_000)),
        case(
            "anthropic",
            "/v1/messages",
            message("anthropic/claude-sonnet-4-6"),
            10_000_000,
            (3_000, 15_000),
        ),
        case("xai", "/v1/responses", respond("xai/grok-4.3"), 5_000_000, (1_250, 2_500)),
        // Across dialects.
        case(
            "anthropic",
            "/v1/responses",
            respond("anthropic/claude-sonnet-4-6"),
            10_000_000,
            (3_000, 15_000),
        ),
        case("google", "/v1/responses", respond("google/gemini-3.8-flash"), 14_000_000, (750, 3_750)),
        case("google", "/v1/messages", message("google/gemini-3.8-flash"), 14_000_000, (750, 3_750)),
        case("openai", "/v1/messages", message("openai/gpt-5.5"), 10_000_000, (5_000, 30_000)),
    ]
}

/// The charge of a request, by the ledger, and its receipt.
async fn spend(stack: &Stack, customer: &Customer, path: &str, body: &Value) -> (i64, Value) {
    let (before, _) = stack.account(&customer.organization_id).await;
    let mut stream = stack.request("POST", path).bearer(&customer.key).json(body).stream().await;
    let (status, id) = (stream.status, stream.receipt_id().to_owned());
    let frames = stream.rest().await;
    assert_eq!(status, 200, "{path} {body}: {frames:?}");
    let spent = spent_since(stack, customer, before).await;
    (spent, stack.receipt(&customer.key, &id).await)
}

#[tokio::test]
async fn searches_are_billed_by_number_on_the_platforms_keys_and_on_own_ones() {
    let stack = Stack::start().await;
    let platform = stack.customer("100").await;
    let own = stack.customer("0").await;
    let keys = json!({ "OpenAI": "own-o", "Anthropic": "own-a", "Google": "own-g", "xAI": "own-x" });
    stack.set_provider_keys(&own, &keys).await;
    for Case { provider, path, mut body, search, rates } in cases() {
        stack.simulator.clear();
        let script = Script { searches: 3, ..Script::text(&["Found."]).with_tokens(200, 50) };
        stack.simulator.set_default(provider, script);
        for streamed in [false, true] {
            body["stream"] = json!(streamed);
            let told = format!("{path} {body}");
            let cost = 200 * rates.0 + 50 * rates.1 + 3 * search;
            let (spent, receipt) = spend(&stack, &platform, path, &body).await;
            assert_eq!(
                (spent, &receipt["usage"]["searches"]),
                (charge(cost), &json!(3)),
                "{told}: {receipt:#}"
            );
            let (spent, receipt) = spend(&stack, &own, path, &body).await;
            assert_eq!((spent, &receipt["provider_cost_nano_usd"]), (0, &json!(cost)), "{told}: {receipt:#}");
        }
    }
    close(stack).await;
}

#[tokio::test]
async fn a_search_without_a_price_or_beside_another_fee_is_refused_and_named() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let search = json!({ "type": "web_search" });
    for (model, tools, named) in [
        ("mistral/mistral-large-4", json!([search]), "tools[0]"),
        // The number of its searches is unknown.
        ("openai/gpt-5.5", json!([search]), "max_tool_calls"),
        // The catalogue has no price for its searches.
        ("openai/gpt-5.4", json!([search]), "web_search"),
        ("openai/gpt-5.5", json!([search, { "type": "code_interpreter" }]), "code_interpreter"),
        ("groq/gpt-oss-120b", json!([search]), "web_search"),
    ] {
        let body = json!({ "model": model, "input": "x", "tools": tools });
        let reply = stack.post("/v1/responses", &customer.key, &body).await;
        assert_eq!(reply.status, 400, "{model}: {reply}");
        let told = format!("{} {}", reply.message(), reply.json()["error"]["param"]);
        assert!(told.contains(named), "{model}: {told}");
    }
    assert!(stack.simulator.bill().is_empty());
    close(stack).await;
}

#[tokio::test]
async fn the_bill_that_a_provider_states_is_charged_where_it_is_more() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let answer = |usage: Value| {
        json!({ "id": "r", "object": "response", "status": "completed", "model": "m", "usage": usage,
            "output": [{ "id": "m", "type": "message", "role": "assistant", "status": "completed",
                "content": [{ "type": "output_text", "text": "Found.", "annotations": [] }] }] })
    };
    let counted = json!({ "input_tokens": 100, "output_tokens": 40, "total_tokens": 140 });
    let with = |name: &str, value: Value| {
        let mut usage = counted.clone();
        usage[name] = value;
        usage
    };
    let searched = json!({ "search_web": { "invocation": 2 } });
    // 100 x 0.25 and 40 x 2.5 a million, and a quarter of a cent for a search.
    let tokens = 100 * 250 + 40 * 2_500;
    for (usage, cost) in [
        (counted.clone(), tokens),
        (with("tool_calls_details", searched), tokens + 2 * 2_500_000),
        (with("cost", json!({ "currency": "USD", "total_cost": 0.00747 })), 7_470_000),
        // A reported cost below the catalogue's price does not reduce the charge.
        (with("cost", json!({ "total_cost": 0.0000001 })), tokens),
        (with("cost_in_usd_ticks", json!(37_756_001)), 3_775_601),
    ] {
        stack.simulator.set_default("perplexity", Script::raw_body(&answer(usage.clone()).to_string()));
        let body = json!({ "model": "perplexity/sonar-agent", "input": "x", "max_output_tokens": 100 });
        let (spent, receipt) = spend(&stack, &customer, "/v1/responses", &body).await;
        assert_eq!(
            (spent, &receipt["provider_cost_nano_usd"]),
            (charge(cost), &json!(cost)),
            "{usage}: {receipt:#}"
        );
    }
    let stated = "SELECT count(*) FROM usage WHERE stated > 0 AND cost >= stated";
    assert_eq!(stack.database.number(stated).await, 3);
    close(stack).await;
}
