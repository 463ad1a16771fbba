//! Usage that no text shows but that is billed, for answers whose client disconnects: caches, media and reasoning.

use super::{GPT, XAI, charge, close, cost};
use crate::harness::{Customer, Stack, Streamed, hello, wait_for};
use kairosroute::simulator::Script;
use serde_json::{Value, json};

/// Reads up to the first text, disconnects, and waits for the only receipt.
async fn leave(stack: &Stack, mut stream: Streamed) -> Value {
    assert_eq!(stream.status, 200);
    while !stream.next().await.unwrap().text.contains(" the") {}
    drop(stream);
    let receipts = "SELECT document::text FROM receipt";
    let receipt = wait_for("the receipt", async || stack.database.texts(receipts).await.pop()).await;
    serde_json::from_str(&receipt).unwrap()
}

/// Of one token each, at this pace.
fn text(tokens: usize, gap_ms: u64) -> Script {
    Script { chunks: vec![" the".to_owned(); tokens], ..Script::default() }.with_gap_ms(gap_ms)
}

fn number(usage: &Value, name: &str) -> i64 {
    usage[name].as_i64().unwrap_or_default()
}

async fn start() -> (Stack, Customer) {
    let stack = Stack::start().await;
    let customer = stack.customer("20").await;
    (stack, customer)
}

#[tokio::test]
async fn a_prompt_that_the_provider_has_counted_is_billed_so_with_its_caches() {
    let body = |tokens: &str| {
        json!({"model": "anthropic/claude-sonnet-5", tokens: 500, "stream": true,
               "messages": [{"role": "user", "content": "Say much"}]})
    };
    for (path, body) in [("/v1/messages", body("max_tokens")), ("/v1/chat/completions", body("max_tokens"))] {
        let (stack, customer) = start().await;
        let script = Script {
            cached_tokens: 200_000,
            cache_write_tokens: 3_000,
            cache_write_1h_tokens: 500,
            prompt_tokens: 210_000,
            ..text(500, 10)
        };
        stack.simulator.enqueue("anthropic", script);
        let request = stack.request("POST", path).bearer(&customer.key).json(&body);
        let receipt = leave(&stack, request.stream().await).await;
        let usage = &receipt["usage"];
        let buckets = ["input", "cache_read", "cache_write", "cache_write_1h"];
        assert_eq!(buckets.map(|name| number(usage, name)), [6_500, 200_000, 3_000, 500], "{path} {receipt}");
        assert_eq!((&usage["basis"], number(usage, "reasoning")), (&json!("counted"), 0), "{receipt}");
        let output = number(usage, "output");
        assert!((1..500).contains(&output), "{receipt}");
        // Dollars a million: 2, 0.2, 2.5, 4, and 10 for the output.
        let nano = 6_500 * 2_000 + 200_000 * 200 + 3_000 * 2_500 + 500 * 4_000 + output * 10_000;
        assert_eq!(receipt["charged_nano_usd"], charge(nano), "{receipt}");
        close(stack).await;
    }
}

#[tokio::test]
async fn images_and_documents_of_a_prompt_that_nobody_counted_are_not_free() {
    let (stack, customer) = start().await;
    stack.simulator.enqueue("openai", text(500, 10));
    let mut body = hello(GPT.model);
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let document = |bytes: usize| {
        let data = format!("data:application/pdf;base64,{}", "AAAA".repeat(bytes / 4));
        json!({"type": "file", "file": {"filename": "a.pdf", "file_data": data}})
    };
    body["messages"][0]["content"] =
        json!([{"type": "text", "text": "Look"}, picture, picture, document(400_000), document(4)]);
    let receipt = leave(&stack, stack.stream(&customer.key, &body).await).await;
    let usage = &receipt["usage"];
    assert_eq!((&usage["basis"], number(usage, "image_input")), (&json!("estimated"), 3_000), "{receipt}");
    let (input, output) = (number(usage, "input"), number(usage, "output"));
    // 400,060 bytes of data URLs, a token for twenty of them, and the text.
    assert!((20_003..20_020).contains(&input) && output >= 1, "{receipt}");
    let nano = (input + 3_000) * 750 + output * 4_500;
    assert_eq!(receipt["charged_nano_usd"], charge(nano), "{receipt}");
    stack.no_hold_is_open().await;
    stack.finish().await;
}

#[tokio::test]
async fn a_guess_at_pictures_stays_within_the_context_and_what_was_set_aside() {
    let (stack, customer) = start().await;
    stack.simulator.enqueue("openai", text(500, 10));
    let mut body = hello("openai/gpt-4o");
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    body["max_tokens"] = json!(1_000);
    body["messages"][0]["content"] = json!(vec![picture; 400]);
    let receipt = leave(&stack, stack.stream(&customer.key, &body).await).await;
    let usage = &receipt["usage"];
    let prompt = number(usage, "input") + number(usage, "image_input");
    assert_eq!((prompt, &usage["basis"]), (128_000, &json!("estimated")), "{receipt}");
    let beyond = "SELECT count(*) FROM hold WHERE charge > amount";
    assert_eq!(stack.database.number(beyond).await, 0, "{receipt}");
    stack.no_hold_is_open().await;
    stack.finish().await;
}

#[tokio::test]
async fn whoever_leaves_is_hung_up_for_at_once_also_of_a_model_that_thinks() {
    let (stack, customer) = start().await;
    stack.simulator.enqueue("xai", text(1_000, 10));
    let receipt = leave(&stack, stack.stream(&customer.key, &hello(XAI.model)).await).await;
    let call = wait_for("the provider's connection to close", async || {
        stack.simulator.bill().pop().filter(|call| call.cancelled)
    })
    .await;
    // Half a second at most: fifty tokens at this pace.
    assert!(call.completion_tokens <= 100, "{call:?}");
    assert_eq!(receipt["usage"]["basis"], "estimated", "{receipt}");
    close(stack).await;
}

#[tokio::test]
async fn thoughts_that_no_usage_tells_in_time_are_billed_by_how_long_they_took() {
    for (model, effort, thinks) in [
        (XAI.model, None, true),
        (XAI.model, Some("none"), false),
        ("openai/gpt-5.4-mini", Some("high"), true),
        ("openai/gpt-5.4-mini", None, false),
    ] {
        let stack = Stack::start().await;
        let customer = stack.customer("100").await;
        let provider = model.split('/').next().unwrap();
        stack.simulator.enqueue(provider, Script { first_byte_ms: 2_000, ..text(100_000, 10) });
        let mut body = hello(model);
        body["reasoning_effort"] = json!(effort);
        let receipt = leave(&stack, stack.stream(&customer.key, &body).await).await;
        let usage = &receipt["usage"];
        let (output, reasoning) = (number(usage, "output"), number(usage, "reasoning"));
        let call = wait_for("the provider's connection to close", async || {
            stack.simulator.bill().pop().filter(|call| call.cancelled)
        })
        .await;
        let said = output - reasoning;
        // Grok's tokens are an estimate, rounded up.
        let most = i64::try_from(call.completion_tokens * 11 / 10 + 1).unwrap();
        assert!((1..=most).contains(&said), "{usage} {}", call.completion_tokens);
        match thinks {
            // Two seconds, plus the delay of the machine.
            true => assert!((100..400).contains(&reasoning) && usage["basis"] == "estimated", "{receipt}"),
            false => assert!(reasoning == 0 && usage["basis"] == "counted", "{receipt}"),
        }
        let price = if provider == "xai" { XAI } else { GPT };
        let (input, output) = (usage["input"].as_u64().unwrap(), usage["output"].as_u64().unwrap());
        assert_eq!(receipt["charged_nano_usd"], charge(cost(price, input, 0, output)), "{receipt}");
        close(stack).await;
    }
}

#[tokio::test]
async fn an_own_key_is_hung_up_on_at_once() {
    let stack = Stack::start().await;
    let customer = stack.customer("0").await;
    stack.set_provider_keys(&customer, &json!({ "xAI": "xai-own" })).await;
    stack.simulator.enqueue("xai", text(200, 10));
    let receipt = leave(&stack, stack.stream(&customer.key, &hello(XAI.model)).await).await;
    assert!(number(&receipt["usage"], "reasoning") >= 1, "{receipt}");
    assert_eq!((&receipt["charged_nano_usd"], &receipt["byok"]), (&json!(0), &json!(true)));
    let call = stack.simulator.bill().pop().unwrap();
    assert!(!call.finished, "{call:?}");
    stack.finish().await;
}
