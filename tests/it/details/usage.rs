//! The billed usage of an answer for each wire format, recomputed by hand from the catalogue's prices.

use super::{CLIENTS, Client, Talk, WIRES, provider, send, unreported_basis};
use crate::{
    harness::{Customer, Stack},
    money::charge,
};
use kairosroute::simulator::{Script, UsagePlace};
use serde_json::{Value, json};

/// The receipt of one successful answer.
async fn billed(
    stack: &Stack,
    customer: &Customer,
    talk: &Talk,
    model: &str,
    stream: bool,
) -> (Value, Value) {
    let heard = talk.ask(stack, customer, model, stream).await.good();
    let receipt = stack.receipt(&customer.key, heard.header("x-kairosroute-receipt")).await;
    (receipt, heard.body)
}

#[tokio::test]
async fn reads_and_writes_of_anthropics_cache_have_prices_of_their_own() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let script = Script {
        cached_tokens: 1_000,
        cache_write_tokens: 200,
        cache_write_1h_tokens: 50,
        ..Script::default().with_tokens(1_301, 77)
    };
    stack.simulator.set_default("anthropic", script);
    // Thousandths of a dollar per million tokens: 3, 0.3, 3.75, 6 and 15 dollars.
    let cost = 51 * 3_000 + 1_000 * 300 + 200 * 3_750 + 50 * 6_000 + 77 * 15_000;
    for client in CLIENTS {
        for stream in [false, true] {
            let talk = Talk::new(client, "?").with("stream_options", json!({ "include_usage": true }));
            let talk = if client == Client::Chat && stream { talk } else { Talk::new(client, "?") };
            let (receipt, body) =
                billed(&stack, &customer, &talk, "anthropic/claude-sonnet-4-6", stream).await;
            let told = format!("{client:?} {stream}: {receipt:#} {body:#}");
            let usage = &receipt["usage"];
            for (bucket, tokens) in [
                ("input", 51),
                ("cache_read", 1_000),
                ("cache_write", 200),
                ("cache_write_1h", 50),
                ("output", 77),
            ] {
                assert_eq!(usage[bucket], tokens, "{bucket}: {told}");
            }
            assert_eq!(receipt["provider_cost_nano_usd"], cost, "{told}");
            assert_eq!(receipt["charged_nano_usd"], charge(cost), "{told}");
            let usage = &body["usage"];
            match client {
                Client::Chat => {
                    assert_eq!(usage["prompt_tokens"], 1_301, "{told}");
                    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 1_000, "{told}");
                    assert_eq!(usage["prompt_tokens_details"]["cache_write_tokens"], 250, "{told}");
                }
                Client::Responses => {
                    assert_eq!(usage["input_tokens"], 1_301, "{told}");
                    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 1_000, "{told}");
                }
                Client::Messages => {
                    assert_eq!(usage["input_tokens"], 51, "{told}");
                    assert_eq!(usage["cache_read_input_tokens"], 1_000, "{told}");
                    assert_eq!(usage["cache_creation_input_tokens"], 250, "{told}");
                }
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn reasoning_is_paid_once_wherever_a_provider_counts_it() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let script = Script {
        reasoning: vec!["hm".into()],
        reasoning_tokens: Some(30),
        ..Script::default().with_tokens(1_000, 77)
    };
    for (model, cost) in [
        ("xai/grok-4.3", 1_000 * 1_250 + 77 * 2_500),
        ("google/gemini-3.8-flash", 1_000 * 750 + 77 * 3_750),
        ("anthropic/claude-sonnet-4-6", 1_000 * 3_000 + 77 * 15_000),
        ("cohere/command-a-plus", 1_000 * 2_500 + 77 * 10_000),
        ("deepseek/deepseek-flash", 0),
        ("openai/gpt-5.3-codex", 0),
    ] {
        stack.simulator.set_default(provider(model), script.clone());
        for client in CLIENTS {
            for stream in [false, true] {
                let talk = Talk::new(client, "?").thinking();
                let (receipt, body) = billed(&stack, &customer, &talk, model, stream).await;
                let told = format!("{client:?} {model} {stream}: {receipt:#} {body:#}");
                assert_eq!(receipt["usage"]["output"], 77, "{told}");
                if cost > 0 {
                    assert_eq!(receipt["provider_cost_nano_usd"], cost, "{told}");
                }
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn what_a_message_ends_with_overrides_what_it_began_with() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let frames = [
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":43,\"cache_read_input_tokens\":7,\"output_tokens\":1}}}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":61,\"output_tokens\":9}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ];
    stack.simulator.set_default("anthropic", Script::raw_frames(&frames));
    for client in CLIENTS {
        let talk = Talk::new(client, "?");
        let (receipt, _) = billed(&stack, &customer, &talk, "anthropic/claude-sonnet-4-6", true).await;
        let usage = &receipt["usage"];
        let told = (&usage["input"], &usage["cache_read"], &usage["output"], &usage["basis"]);
        assert_eq!(told, (&json!(61), &json!(7), &json!(9), &json!("reported")), "{receipt:#}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn missing_usage_is_counted_on_every_wire() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for model in WIRES.into_iter().chain(["perplexity/kimi-k3", "openai/gpt-5.3-codex"]) {
        let script = Script { usage: UsagePlace::Missing, ..Script::long(20) };
        stack.simulator.set_default(provider(model), script);
        for client in CLIENTS {
            for stream in [false, true] {
                let talk = Talk::new(client, "How high is the tide at Brest?").with_tools();
                let (receipt, _) = billed(&stack, &customer, &talk, model, stream).await;
                let told = format!("{client:?} {model} {stream}: {receipt:#}");
                let usage = &receipt["usage"];
                assert_eq!(usage["basis"], unreported_basis(model), "{told}");
                assert!(usage["output"].as_u64().unwrap() >= 20, "{told}");
                assert!(usage["input"].as_u64().unwrap() >= 8, "{told}");
                assert!(receipt["charged_nano_usd"].as_i64().unwrap() > 0, "{told}");
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn audio_is_counted_apart_where_the_provider_tells_it() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let script = Script { audio_prompt_tokens: 40, ..Script::default().with_tokens(50, 10) };
    stack.simulator.set_default("openai", script);
    let body = json!({ "model": "openai/gpt-audio-1.5", "messages": [{ "role": "user", "content": [
        { "type": "text", "text": "What is said?" },
        { "type": "input_audio", "input_audio": { "data": "UklGRiQAAABXQVZF", "format": "wav" } } ] }] });
    let heard = send(&stack, &customer, Client::Chat, &body).await.good();
    let receipt = stack.receipt(&customer.key, heard.header("x-kairosroute-receipt")).await;
    assert_eq!(
        (&receipt["usage"]["input"], &receipt["usage"]["audio_input"]),
        (&json!(10), &json!(40)),
        "{receipt:#}"
    );
    let cost = 10 * 2_500 + 40 * 32_000 + 10 * 10_000;
    assert_eq!(receipt["provider_cost_nano_usd"], cost, "{receipt:#}");
    stack.finish().await;
}
