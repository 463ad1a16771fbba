//! The split of the bytes does not change the answer.

use super::{CLIENTS, Client, Talk, WIRES, provider};
use crate::harness::Stack;
use kairosroute::simulator::{Citation, Script, ToolCall};
use serde_json::Value;

/// Everything that an answer may contain.
fn everything() -> Script {
    Script {
        chunks: vec!["Grüße ".into(), "an 😀 alle".into(), ", überall".into()],
        reasoning: vec!["Mal ".into(), "sehen – 🤔".into()],
        tool_calls: vec![ToolCall::new("a1B2c3D4e", "get_tide", &[r#"{\"port\":\"Br"#, r#"est 😀\"}"#])],
        citations: vec![Citation { url: "https://example.org/ü".into(), title: "Größe".into() }],
        cached_tokens: 3,
        ..Script::default().with_tokens(40, 21)
    }
}

/// The parts that are equal in every answer: without ids that are created for each answer.
fn essence(mut body: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for name in [
                    "id",
                    "created",
                    "created_at",
                    "completed_at",
                    "receipt_id",
                    "item_id",
                    "usage",
                    "object",
                    "system_fingerprint",
                    "obfuscation",
                ] {
                    members.remove(name);
                }
                // Null counts as absent.
                members.retain(|_, value| !value.is_null());
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut body);
    body
}

#[tokio::test]
async fn an_answer_is_the_same_however_its_bytes_arrive() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let ways = [
        Script { comments: true, ..everything() },
        Script { crlf: true, ..everything() },
        Script { split_bytes: Some(1), ..everything() },
        Script { split_bytes: Some(7), crlf: true, comments: true, ..everything() },
    ];
    for client in CLIENTS {
        for model in WIRES {
            let talk = Talk::new(client, "?").with_tools().thinking();
            stack.simulator.set_default(provider(model), everything());
            let streamed = talk.ask(&stack, &customer, model, true).await.good();
            let usage = streamed.body["x_kairosroute"]["charged_usd"].clone();
            let (streamed, name) = (essence(streamed.body), format!("{client:?} {model}"));
            for way in &ways {
                stack.simulator.set_default(provider(model), way.clone());
                let heard = talk.ask(&stack, &customer, model, true).await.good();
                assert_eq!(heard.body["x_kairosroute"]["charged_usd"], usage, "{name}: {}", heard.raw);
                assert_eq!(essence(heard.body), streamed, "{name}: {}", heard.raw);
                let whole = talk.ask(&stack, &customer, model, false).await.good();
                assert_eq!(whole.body["x_kairosroute"]["charged_usd"], usage, "{name}: {}", whole.raw);
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_whole_answer_says_what_the_streamed_one_says() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for client in CLIENTS {
        // If the provider uses the client's dialect, both are its own bytes.
        let own = match client {
            Client::Chat => ["openai/gpt-4o", "mistral/mistral-large-4"],
            Client::Responses => ["openai/gpt-4o", "openai/gpt-5.5"],
            Client::Messages => ["anthropic/claude-sonnet-4-6", ""],
        };
        for model in WIRES.into_iter().filter(|model| !own.contains(model)) {
            let talk = Talk::new(client, "?").with_tools().thinking();
            stack.simulator.set_default(provider(model), everything());
            let streamed = talk.ask(&stack, &customer, model, true).await.good();
            let whole = talk.ask(&stack, &customer, model, false).await.good();
            let content = |body: &Value| {
                let said = match client {
                    Client::Chat => &body["choices"],
                    Client::Responses => &body["output"],
                    Client::Messages => &body["content"],
                };
                essence(said.clone())
            };
            assert_eq!(content(&streamed.body), content(&whole.body), "{client:?} {model}");
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn data_over_several_lines_is_one_event() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for (model, frames) in [
        (
            "openai/gpt-4o",
            "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\ndata: \"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}]}\n\ndata: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        ),
        (
            "google/gemini-3.8-flash",
            "data: {\"candidates\":[{\"content\":{\"parts\":\r\ndata:[{\"text\":\"Hi\"}]},\"finishReason\":\"STOP\"}]}\r\n\r\n",
        ),
        (
            "anthropic/claude-sonnet-4-6",
            "event: message_start\ndata: {\"type\":\"message_start\",\ndata: \"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\ndata: \"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
        (
            "cohere/command-a-plus",
            ": hello\n\nevent: message-start\ndata: {\"type\":\"message-start\",\"id\":\"c\",\ndata: \"delta\":{\"message\":{\"role\":\"assistant\"}}}\n\nevent: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\ndata: \"delta\":{\"message\":{\"content\":{\"text\":\"Hi\"}}}}\n\nevent: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\"}}\n\n",
        ),
    ] {
        for client in CLIENTS {
            if (client, model) == (Client::Responses, "openai/gpt-4o") {
                continue;
            }
            stack.simulator.set_default(provider(model), Script::raw_frames(&[frames]));
            let heard = Talk::new(client, "?").ask(&stack, &customer, model, true).await.good();
            let said = match client {
                Client::Chat => &heard.body["choices"][0]["message"]["content"],
                Client::Responses => &heard.body["output"][0]["content"][0]["text"],
                Client::Messages => &heard.body["content"][0]["text"],
            };
            assert_eq!(said, "Hi", "{client:?} {model}: {}", heard.raw);
        }
    }
    stack.finish().await;
}
