//! Reasoning over whole conversations: data that its provider signed is sent back to it unchanged, and to no other.

use super::{CLIENTS, Client, Talk, provider, sent};
use crate::harness::Stack;
use kairosroute::simulator::{Script, ToolCall};
use serde_json::{Value, json};

/// Base64, and characters that base64 never contains.
const SIGNATURE: &str = "EqQBCkYI/+sim.ulated==";
/// Its ending, tagged or not.
const END: &str = "ulated==";
/// A model for each other way of calling a provider.
const OTHERS: [&str; 12] = [
    "anthropic/claude-sonnet-4-6",
    "anthropic/claude-opus-5-5",
    "google/gemini-2.5-flash-lite",
    "openai/gpt-4o",
    "openai/gpt-5.4",
    "mistral/mistral-large-4",
    "cohere/command-a-plus",
    "deepseek/deepseek-flash",
    "groq/gpt-oss-120b",
    "xai/grok-4.3",
    "fireworks_ai/glm-5.3",
    "moonshot/kimi-k3",
];
const STAND_IN: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

fn thought_call() -> Script {
    Script {
        chunks: vec![],
        reasoning: vec!["Let me ".into(), "think.".into()],
        signature: Some(SIGNATURE.into()),
        tool_calls: vec![
            ToolCall::new("call_1", "get_tide", &[r#"{\"port\":\"Brest\"}"#]),
            ToolCall::new("call_2", "get_tide", &[r#"{\"port\":\"Calais\"}"#]),
        ],
        ..Script::default()
    }
}

/// A turn with reasoning and calls, read, stored and answered.
async fn first_turn(
    stack: &Stack,
    key: &crate::harness::Customer,
    client: Client,
    model: &str,
    stream: bool,
    script: Script,
) -> Talk {
    stack.simulator.set_default(provider(model), script);
    let mut talk = Talk::new(client, "Tides of Brest and Calais?").with_tools().thinking();
    let heard = talk.ask(stack, key, model, stream).await.good();
    let calls = heard.calls(client);
    assert_eq!(calls.len(), 2, "{client:?} {model}: {}", heard.raw);
    talk.keep(&heard);
    talk.results(&[(&calls[0].0, json!("7 m")), (&calls[1].0, json!("6 m"))]);
    stack.simulator.set_default(provider(model), Script::text(&["Brest."]));
    talk
}

/// Continues the conversation at `model`; returns the call as sent.
async fn next_turn(
    stack: &Stack,
    customer: &crate::harness::Customer,
    talk: &Talk,
    model: &str,
) -> (String, Value) {
    let heard = talk.ask(stack, customer, model, false).await;
    assert_eq!(heard.status, 200, "{:?} {model}: {}", talk.client, heard.raw);
    let (call, body) = sent(stack);
    assert!(!call.body.contains("gw1."), "{model}: no mark of ours leaves: {}", call.body);
    (call.body, body)
}

#[tokio::test]
async fn anthropics_thinking_goes_back_to_its_model_alone() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let model = "anthropic/claude-sonnet-4-6";
    for client in CLIENTS {
        for stream in [false, true] {
            let name = format!("{client:?} {stream}");
            let talk = first_turn(&stack, &customer, client, model, stream, thought_call()).await;
            let (raw, body) = next_turn(&stack, &customer, &talk, model).await;
            let turn = &body["messages"][1]["content"];
            let expected = json!({ "type": "thinking", "thinking": "Let me think.", "signature": SIGNATURE });
            assert_eq!(turn[0], expected, "{name}: {raw}");
            assert_eq!(
                (&turn[1]["id"], &turn[2]["id"]),
                (&json!("call_1"), &json!("call_2")),
                "{name}: {raw}"
            );
            for other in OTHERS.iter().filter(|other| !other.starts_with("anthropic")) {
                // A Messages client has Anthropic's own bytes, which pass to every provider of Messages.
                let speaks = ["deepseek", "fireworks_ai", "moonshot"].contains(&provider(other));
                if client != Client::Messages || !speaks {
                    let (raw, _) = next_turn(&stack, &customer, &talk, other).await;
                    assert!(!raw.contains(END), "{name} {other}: {raw}");
                }
            }
            if client != Client::Messages {
                let (raw, body) = next_turn(&stack, &customer, &talk, "anthropic/claude-opus-5-5").await;
                assert!(!raw.contains(END), "{name}: {raw}");
                assert_eq!(body["messages"][1]["content"][0]["type"], "tool_use", "{name}: {raw}");
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn thinking_that_nobody_may_read_goes_back_as_it_came() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let model = "anthropic/claude-sonnet-4-6";
    let script = Script { redacted_thinking: vec!["EmwKAhgB+/=".into()], ..thought_call() };
    for client in CLIENTS {
        for stream in [false, true] {
            let talk = first_turn(&stack, &customer, client, model, stream, script.clone()).await;
            let (raw, body) = next_turn(&stack, &customer, &talk, model).await;
            let turn = &body["messages"][1]["content"];
            assert_eq!(turn[0]["signature"], SIGNATURE, "{client:?} {stream}: {raw}");
            let expected = json!({ "type": "redacted_thinking", "data": "EmwKAhgB+/=" });
            assert_eq!(turn[1], expected, "{client:?} {stream}: {raw}");
            let (raw, _) = next_turn(&stack, &customer, &talk, "google/gemini-3.8-flash").await;
            assert!(!raw.contains("EmwKAhgB"), "{raw}");
        }
    }
    // Reasoning with only a signature, as the newest models return it by default.
    let silent = Script { reasoning: vec![], ..thought_call() };
    for client in CLIENTS {
        for stream in [false, true] {
            let model = "anthropic/claude-opus-5-5";
            let talk = first_turn(&stack, &customer, client, model, stream, silent.clone()).await;
            let (raw, body) = next_turn(&stack, &customer, &talk, model).await;
            let expected = json!({ "type": "thinking", "thinking": "", "signature": SIGNATURE });
            assert_eq!(body["messages"][1]["content"][0], expected, "{client:?} {stream}: {raw}");
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn geminis_signature_goes_back_on_the_call_it_came_with() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let model = "google/gemini-3.8-flash";
    for client in CLIENTS {
        for stream in [false, true] {
            let name = format!("{client:?} {stream}");
            let talk = first_turn(&stack, &customer, client, model, stream, thought_call()).await;
            let (raw, body) = next_turn(&stack, &customer, &talk, model).await;
            let parts = body["contents"][1]["parts"].as_array().unwrap().clone();
            let calls: Vec<&Value> = parts.iter().filter(|part| part["functionCall"].is_object()).collect();
            assert_eq!(calls[0]["thoughtSignature"], SIGNATURE, "{name}: {raw}");
            assert_eq!(calls[0]["functionCall"]["args"]["port"], "Brest", "{name}: {raw}");
            assert!(calls[1]["thoughtSignature"].is_null(), "{name}: {raw}");
            assert_eq!(raw.matches(SIGNATURE).count(), 1, "{name}: {raw}");
            // Another model of Google gets the placeholder, all others nothing.
            let (raw, _) = next_turn(&stack, &customer, &talk, "google/gemini-3.1-pro").await;
            assert!(!raw.contains(SIGNATURE) && raw.contains(STAND_IN), "{name}: {raw}");
            for other in OTHERS {
                let (raw, _) = next_turn(&stack, &customer, &talk, other).await;
                assert!(!raw.contains(END) && !raw.contains(STAND_IN), "{name} {other}: {raw}");
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn geminis_signature_is_found_in_the_places_other_gateways_put_it() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let call =
        json!({ "id": "c1", "type": "function", "function": { "name": "get_tide", "arguments": "{}" } });
    let with = |name: &str, value: Value| {
        let mut call = call.clone();
        call[name] = value;
        call
    };
    for call in [
        with("extra_content", json!({ "google": { "thought_signature": SIGNATURE } })),
        with("thought_signature", json!(SIGNATURE)),
    ] {
        let mut talk = Talk::new(Client::Chat, "?").with_tools();
        talk.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
        talk.results(&[(call["id"].as_str().unwrap(), json!("7 m"))]);
        let (raw, body) = next_turn(&stack, &customer, &talk, "google/gemini-3.8-flash").await;
        assert_eq!(body["contents"][1]["parts"][0]["thoughtSignature"], SIGNATURE, "{raw}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn sealed_reasoning_of_responses_goes_back_before_its_calls() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let model = "openai/gpt-5.5";
    for client in CLIENTS {
        for stream in [false, true] {
            let name = format!("{client:?} {stream}");
            let talk = first_turn(&stack, &customer, client, model, stream, thought_call()).await;
            let (raw, body) = next_turn(&stack, &customer, &talk, model).await;
            let items = body["input"].as_array().unwrap();
            let types: Vec<&str> =
                items.iter().map(|item| item["type"].as_str().unwrap_or("message")).collect();
            let expected = [
                "message",
                "reasoning",
                "function_call",
                "function_call",
                "function_call_output",
                "function_call_output",
            ];
            assert_eq!(types, expected, "{name}: {raw}");
            assert_eq!(items[1]["encrypted_content"], SIGNATURE, "{name}: {raw}");
            assert_eq!(items[1]["summary"][0]["text"], "Let me think.", "{name}: {raw}");
            for other in OTHERS {
                // A Responses client has OpenAI's own bytes, which pass to every provider of Responses.
                let speaks = ["openai", "groq", "xai", "fireworks_ai", "deepseek"].contains(&provider(other));
                if client != Client::Responses || !speaks {
                    let (raw, _) = next_turn(&stack, &customer, &talk, other).await;
                    assert!(!raw.contains(END), "{name} {other}: {raw}");
                }
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn hosts_that_want_their_reasoning_back_with_calls_get_it() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let script = Script { signature: None, ..thought_call() };
    for client in CLIENTS {
        for (model, field) in [
            ("deepseek/deepseek-flash", "reasoning_content"),
            ("moonshot/kimi-k3", "reasoning_content"),
            ("cerebras/gpt-oss-120b", "reasoning"),
        ] {
            // DeepSeek also supports Messages: there reasoning is a block.
            if (client, model) == (Client::Messages, "deepseek/deepseek-flash") {
                continue;
            }
            for stream in [false, true] {
                let talk = first_turn(&stack, &customer, client, model, stream, script.clone()).await;
                let (raw, body) = next_turn(&stack, &customer, &talk, model).await;
                assert_eq!(body["messages"][1][field], "Let me think.", "{client:?} {model} {stream}: {raw}");
                let (raw, _) = next_turn(&stack, &customer, &talk, "anthropic/claude-sonnet-4-6").await;
                assert!(!raw.contains("Let me think"), "{client:?} {model}: {raw}");
            }
        }
    }
    stack.finish().await;
}
