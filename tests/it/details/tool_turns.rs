//! Calls and their results over whole conversations: ids, order, errors, images.

use super::{CLIENTS, Client, PIXEL, Talk, WIRES, provider, sent};
use crate::harness::Stack;
use kairosroute::simulator::{Script, ToolCall};
use serde_json::{Value, json};

/// The calls that a provider received: the port in each call, and its result. Matched as the provider matches them.
fn joined(body: &Value) -> Vec<(String, String)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let port = |arguments: &Value| match arguments {
        Value::String(text) => {
            serde_json::from_str::<Value>(text).unwrap()["port"].as_str().unwrap().to_owned()
        }
        object => object["port"].as_str().unwrap().to_owned(),
    };
    let (mut calls, mut results) = (Vec::new(), Vec::new());
    let turns = ["messages", "input", "contents"].iter().flat_map(|name| list(&body[*name]));
    for turn in turns {
        for call in list(&turn["tool_calls"]) {
            calls.push((call["id"].clone(), port(&call["function"]["arguments"])));
        }
        if turn["role"] == "tool" {
            results.push((turn["tool_call_id"].clone(), turn["content"].to_string()));
        }
        if turn["type"] == "function_call" {
            calls.push((turn["call_id"].clone(), port(&turn["arguments"])));
        }
        if turn["type"] == "function_call_output" {
            results.push((turn["call_id"].clone(), turn["output"].to_string()));
        }
        for part in list(&turn["content"]).into_iter().chain(list(&turn["parts"])) {
            if part["type"] == "tool_use" {
                calls.push((part["id"].clone(), port(&part["input"])));
            }
            if part["type"] == "tool_result" {
                results.push((part["tool_use_id"].clone(), part["content"].to_string()));
            }
            if part["functionCall"].is_object() {
                calls.push((part["functionCall"]["id"].clone(), port(&part["functionCall"]["args"])));
            }
            if part["functionResponse"].is_object() {
                let said = &part["functionResponse"];
                results.push((said["id"].clone(), said["response"].to_string()));
            }
        }
    }
    assert_eq!(calls.len(), results.len(), "{body}");
    let by_order = calls.iter().all(|(id, _)| id.is_null());
    let result_of = |index: usize, id: &Value| {
        let mut found =
            results.iter().enumerate().filter(|(at, (of, _))| if by_order { *at == index } else { of == id });
        let (_, (_, text)) = found.next().unwrap_or_else(|| panic!("no result: {body}"));
        assert!(found.next().is_none(), "{body}");
        text.clone()
    };
    calls.iter().enumerate().map(|(index, (id, port))| (port.clone(), result_of(index, id))).collect()
}

/// Ids in each provider's format, some of which others refuse.
fn ids(model: &str) -> [&'static str; 2] {
    match provider(model) {
        "mistral" => ["a1B2c3D4e", "f5G6h7I8j"],
        "anthropic" => ["toolu_01A09q90qw90lq917835lq9", "toolu_01B19q90qw90lq917835lq8"],
        "cohere" => ["get_tide_k2dc9p2vhc7f", "get_tide_8a3ncq2m0x1z"],
        "moonshot" => ["functions.get_tide:0", "functions.get_tide:1"],
        "google" => ["fc-1/a", "fc-1/b"],
        _ => ["call_DdmO9pD3xa9XTPNJ32zg2hcA", "call_9pD3xa9XTPNJ32zg2hcADdmO"],
    }
}

fn two_calls(model: &str) -> Script {
    let [brest, calais] = ids(model);
    Script::tools(vec![
        ToolCall::new(brest, "get_tide", &[r#"{\"port\":"#, r#"\"Brest\"}"#]),
        ToolCall::new(calais, "get_tide", &[r#"{\"port\":\"Calais\"}"#]),
    ])
}

#[tokio::test]
async fn calls_heard_from_one_provider_meet_their_results_at_every_other() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let models = [&WIRES[..], &["moonshot/kimi-k3", "google/gemini-2.5-flash-lite"]].concat();
    for client in CLIENTS {
        for from in &models {
            let stream = client != Client::Responses;
            stack.simulator.set_default(provider(from), two_calls(from));
            let mut talk = Talk::new(client, "Tides of Brest and Calais?").with_tools();
            let heard = talk.ask(&stack, &customer, from, stream).await.good();
            let calls = heard.calls(client);
            assert_eq!(calls.len(), 2, "{client:?} {from}: {}", heard.raw);
            talk.keep(&heard);
            // Out of order.
            talk.results(&[(&calls[1].0, json!("6 m")), (&calls[0].0, json!("7 m"))]);
            for to in &models {
                let name = format!("{client:?}: {from} -> {to}");
                stack.simulator.set_default(provider(to), Script::text(&["Brest is higher."]));
                let heard = talk.ask(&stack, &customer, to, false).await;
                assert_eq!(heard.status, 200, "{name}: {} {talk:#?}", heard.raw, talk = talk.body);
                let (call, body) = sent(&stack);
                let joined = joined(&body);
                assert!(joined[0].0 == "Brest" && joined[0].1.contains("7 m"), "{name}: {}", call.body);
                assert!(joined[1].0 == "Calais" && joined[1].1.contains("6 m"), "{name}: {}", call.body);
                if from == to && !from.contains("2.5") {
                    for id in ids(from) {
                        assert!(
                            call.body.matches(&format!("\"{id}\"")).count() == 2,
                            "{name}: {}",
                            call.body
                        );
                    }
                }
            }
        }
    }
    stack.finish().await;
}

/// The two calls of a turn in the client's own format, with its own ids.
fn called(client: Client) -> Talk {
    let mut talk = Talk::new(client, "Tides of Brest and Calais?").with_tools();
    let ports = [("call_1", "Brest"), ("call_2", "Calais")];
    match client {
        Client::Chat => {
            let call = |(id, port): (&str, &str)| json!({ "id": id, "type": "function", "function": { "name": "get_tide", "arguments": format!("{{\"port\":\"{port}\"}}") } });
            talk.push(json!({ "role": "assistant", "tool_calls": ports.map(call) }));
        }
        Client::Responses => {
            for (id, port) in ports {
                talk.push(json!({ "type": "function_call", "call_id": id, "name": "get_tide", "arguments": format!("{{\"port\":\"{port}\"}}") }));
            }
        }
        Client::Messages => {
            let call = |(id, port): (&str, &str)| json!({ "type": "tool_use", "id": id, "name": "get_tide", "input": { "port": port } });
            talk.push(json!({ "role": "assistant", "content": ports.map(call) }));
        }
    }
    talk
}

#[tokio::test]
async fn a_failed_call_is_told_as_failed() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for model in WIRES {
        let mut talk = called(Client::Messages);
        talk.push(json!({ "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "call_1", "is_error": true, "content": "no such port" },
            { "type": "tool_result", "tool_use_id": "call_2", "content": "6 m" }
        ] }));
        talk.ask(&stack, &customer, model, false).await.good();
        let (call, body) = sent(&stack);
        match provider(model) {
            "anthropic" => assert_eq!(body["messages"][2]["content"][0]["is_error"], true, "{}", call.body),
            "google" => {
                let response = &body["contents"][2]["parts"][0]["functionResponse"]["response"];
                assert_eq!(response["error"], "no such port", "{}", call.body);
            }
            _ => {
                let joined = joined(&body);
                assert!(joined[0].1.to_lowercase().contains("error"), "{model}: {}", call.body);
                assert!(joined[0].1.contains("no such port"), "{model}: {}", call.body);
                assert!(!joined[1].1.to_lowercase().contains("error"), "{model}: {}", call.body);
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_picture_in_a_result_reaches_every_model_that_sees() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for client in [Client::Messages, Client::Responses] {
        for model in WIRES.iter().filter(|model| provider(model) != "cohere") {
            let mut talk = called(client);
            let picture = match client {
                Client::Messages => json!([{ "type": "text", "text": "a chart" }, { "type": "image",
                    "source": { "type": "base64", "media_type": "image/png", "data": PIXEL } }]),
                _ => json!([{ "type": "input_text", "text": "a chart" },
                    { "type": "input_image", "image_url": format!("data:image/png;base64,{PIXEL}") }]),
            };
            talk.results(&[("call_1", picture), ("call_2", json!("6 m"))]);
            let heard = talk.ask(&stack, &customer, model, false).await;
            assert_eq!(heard.status, 200, "{client:?} {model}: {}", heard.raw);
            let (call, body) = sent(&stack);
            assert!(call.body.contains(PIXEL), "{client:?} {model}: {}", call.body);
            assert!(joined(&body)[0].1.contains("a chart"), "{client:?} {model}: {}", call.body);
            match call.path.rsplit('/').next().unwrap() {
                // All results first, then the content that they could not hold.
                "completions" => {
                    let messages = body["messages"].as_array().unwrap();
                    let roles: Vec<&str> =
                        messages.iter().map(|turn| turn["role"].as_str().unwrap()).collect();
                    assert_eq!(roles[2..], ["tool", "tool", "user"], "{client:?} {model}: {}", call.body);
                    let last = messages.last().unwrap().to_string();
                    assert!(last.contains("image_url"), "{client:?} {model}: {}", call.body);
                }
                "messages" => {
                    let inner = &body["messages"][2]["content"][0]["content"];
                    assert!(inner.to_string().contains(PIXEL), "{client:?} {model}: {}", call.body);
                }
                _ => {}
            }
        }
    }
    stack.finish().await;
}
