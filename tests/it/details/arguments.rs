//! Arguments of tool calls, byte for byte in the sent bytes, without a JSON reader in between.

use super::{CLIENTS, Client, Talk, WIRES, provider, sent};
use crate::harness::{Customer, Stack};
use kairosroute::simulator::{Script, ToolCall};
use serde_json::json;

/// Numbers that a float would change, an escape, unusual spaces; as the inside of a JSON string.
const ODD: &str =
    r#"{\"port\": \"Brest\", \"id\":12345678901234567890, \"a\": 1.0,\"b\":1e5, \"c\":\"\\u00e3\" }"#;
/// The same as an object.
const ODD_OBJECT: &str = r#"{"port": "Brest", "id":12345678901234567890, "a": 1.0,"b":1e5, "c":"\u00e3" }"#;

fn call(pieces: &[&str]) -> Script {
    Script::tools(vec![ToolCall::new("a1B2c3D4e", "get_tide", pieces)])
}

/// The inside of the arguments' JSON strings in a stream, joined; of a whole answer, the body.
fn raw_arguments(client: Client, raw: &str) -> String {
    let name = match client {
        Client::Chat => r#""arguments":""#,
        Client::Responses => r#""delta":""#,
        Client::Messages => r#""partial_json":""#,
    };
    let mut joined = String::new();
    for line in raw.lines().filter(|line| line.starts_with("data:")) {
        for (at, _) in line.match_indices(name) {
            let inside = &line[at + name.len()..];
            let mut escaped = false;
            let end = inside.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            joined += &inside[..end.unwrap()];
        }
    }
    joined
}

async fn heard(
    stack: &Stack,
    customer: &Customer,
    client: Client,
    model: &str,
    script: &Script,
    stream: bool,
) -> String {
    stack.simulator.set_default(provider(model), script.clone());
    let talk = Talk::new(client, "?").with_tools().with("model", json!(model)).with("stream", json!(stream));
    let reply = stack.post(client.path(), &customer.key, &talk.body).await;
    assert_eq!(reply.status, 200, "{client:?} {model}: {reply}");
    reply.text()
}

#[tokio::test]
async fn arguments_keep_every_byte_in_either_direction() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let (head, tail) = ODD.split_at(18);
    let script = call(&[head, tail]);
    for client in CLIENTS {
        for model in WIRES {
            let name = format!("{client:?} {model}");
            // Providers write the members of an object themselves: escapes in it are their own.
            let raw = heard(&stack, &customer, client, model, &script, false).await;
            let expected = if client == Client::Messages { ODD_OBJECT } else { ODD };
            assert!(raw.contains(expected), "{name}: {raw}");
            let raw = heard(&stack, &customer, client, model, &script, true).await;
            assert_eq!(raw_arguments(client, &raw), ODD, "{name}: {raw}");

            // And back, from a client that kept the bytes.
            let (calls, results) = match client {
                Client::Chat => (
                    format!(
                        r#"{{"role":"assistant","tool_calls":[{{"id":"a1B2c3D4e","type":"function","function":{{"name":"get_tide","arguments":"{ODD}"}}}}]}}"#
                    ),
                    r#"{"role":"tool","tool_call_id":"a1B2c3D4e","content":"7 m"}"#,
                ),
                Client::Responses => (
                    format!(
                        r#"{{"type":"function_call","call_id":"a1B2c3D4e","name":"get_tide","arguments":"{ODD}"}}"#
                    ),
                    r#"{"type":"function_call_output","call_id":"a1B2c3D4e","output":"7 m"}"#,
                ),
                Client::Messages => (
                    format!(
                        r#"{{"role":"assistant","content":[{{"type":"tool_use","id":"a1B2c3D4e","name":"get_tide","input":{ODD_OBJECT}}}]}}"#
                    ),
                    r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"a1B2c3D4e","content":"7 m"}]}"#,
                ),
            };
            let history = client.history();
            let body = format!(
                r#"{{"model":"{model}","max_{}tokens":900,"{history}":[{{"role":"user","content":"?"}},{calls},{results}],"tools":{}}}"#,
                if client == Client::Responses { "output_" } else { "" },
                Talk::new(client, "").with_tools().body["tools"],
            );
            let body = if client == Client::Chat {
                body.replace("max_tokens", "max_completion_tokens")
            } else {
                body
            };
            stack.simulator.set_default(provider(model), Script::default());
            let reply = stack.request("POST", client.path()).bearer(&customer.key).body(body).send().await;
            assert_eq!(reply.status, 200, "{name}: {reply}");
            let (call, _) = sent(&stack);
            let as_object = ["anthropic", "google"].contains(&provider(model));
            assert!(call.body.contains(if as_object { ODD_OBJECT } else { ODD }), "{name}: {}", call.body);
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn no_arguments_are_an_empty_object() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for pieces in [&[""][..], &["null"], &[]] {
        for client in CLIENTS {
            // If a provider uses the client's dialect, its own bytes pass.
            let spoken: &[&str] = match client {
                Client::Chat => &["openai", "mistral"],
                Client::Responses => &["openai"],
                Client::Messages => &["anthropic"],
            };
            for model in WIRES.into_iter().filter(|model| !spoken.contains(&provider(model))) {
                for stream in [false, true] {
                    let name = format!("{pieces:?} {client:?} {model} {stream}");
                    stack.simulator.set_default(provider(model), call(pieces));
                    let mut talk = Talk::new(client, "?").with_tools();
                    let heard = talk.ask(&stack, &customer, model, stream).await;
                    assert_eq!(heard.status, 200, "{name}: {}", heard.raw);
                    let calls = heard.calls(client);
                    assert_eq!(calls, [(calls[0].0.clone(), "{}".to_owned())], "{name}: {}", heard.raw);
                    talk.keep(&heard);
                    talk.results(&[(&calls[0].0, json!("7 m"))]);
                    stack.simulator.set_default(provider(model), Script::default());
                    let heard = talk.ask(&stack, &customer, model, false).await;
                    assert_eq!(heard.status, 200, "{name}: {}", heard.raw);
                }
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_client_that_sends_no_arguments_back_is_understood() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for arguments in ["", "null", "{}"] {
        for client in [Client::Chat, Client::Responses] {
            for model in ["anthropic/claude-sonnet-4-6", "google/gemini-3.8-flash", "cohere/command-a-plus"] {
                let mut talk = Talk::new(client, "?").with_tools();
                match client {
                    Client::Chat => talk.push(json!({ "role": "assistant", "content": "", "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "get_tide", "arguments": arguments } }] })),
                    _ => talk.push(json!({ "type": "function_call", "call_id": "c1", "name": "get_tide", "arguments": arguments })),
                }
                talk.results(&[("c1", json!("7 m"))]);
                let heard = talk.ask(&stack, &customer, model, false).await;
                assert_eq!(heard.status, 200, "{arguments} {client:?} {model}: {}", heard.raw);
                let (call, _) = sent(&stack);
                let empty = [r#""input":{}"#, r#""args":{}"#, r#""arguments":"{}""#];
                assert!(empty.iter().any(|empty| call.body.contains(empty)), "{}", call.body);
            }
        }
    }
    stack.finish().await;
}

/// A stream of these pieces of text, each the inside of a JSON string.
fn frames(model: &str, pieces: &[&str]) -> Script {
    let (head, piece, tail): (&str, &str, &str) = match provider(model) {
        "anthropic" => (
            concat!(
                "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
                "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
            ),
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"@\"}}\n\n",
            concat!(
                "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
                "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":3}}\n\n",
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
            ),
        ),
        "google" => (
            "",
            "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"@\"}]},\"index\":0}]}\r\n\r\n",
            "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"\"}]},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":3,\"totalTokenCount\":12}}\r\n\r\n",
        ),
        "cohere" => (
            "event: message-start\ndata: {\"type\":\"message-start\",\"id\":\"c\",\"delta\":{\"message\":{\"role\":\"assistant\"}}}\n\nevent: content-start\ndata: {\"type\":\"content-start\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"type\":\"text\",\"text\":\"\"}}}}\n\n",
            "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"@\"}}}}\n\n",
            "event: content-end\ndata: {\"type\":\"content-end\",\"index\":0}\n\nevent: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"billed_units\":{\"input_tokens\":9,\"output_tokens\":3}}}}\n\n",
        ),
        _ => (
            "",
            "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"@\"},\"finish_reason\":null}]}\n\n",
            "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        ),
    };
    let said: Vec<String> = pieces.iter().map(|said| piece.replace('@', said)).collect();
    let all: Vec<&str> = [head].into_iter().chain(said.iter().map(String::as_str)).chain([tail]).collect();
    Script::raw_frames(&all)
}

#[tokio::test]
async fn a_character_cut_in_two_arrives_whole_and_line_separators_are_escaped() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let tool = call(&[r#"{\"port\":\"\ud83d"#, "\\ude00 \u{2028}\\\"}"]);
    for client in CLIENTS {
        for model in WIRES {
            let name = format!("{client:?} {model}");
            let wire = if client == Client::Responses && provider(model) == "openai" { "" } else { model };
            if !wire.is_empty() && wire != "openai/gpt-5.5" {
                let text = frames(model, &[r"a\ud83d", r"\ude00b", "c\u{2028}d\u{85}e"]);
                let raw = heard(&stack, &customer, client, model, &text, true).await;
                assert!(!raw.contains(['\u{fffd}', '\u{2028}', '\u{85}']), "{name}: {raw}");
                assert!(raw.contains(r#""a\ud83d""#) && raw.contains(r#""\ude00b""#), "{name}: {raw}");
                assert!(raw.contains(r"c\u2028d\u0085e"), "{name}: {raw}");
            }
            for stream in [false, true] {
                let raw = heard(&stack, &customer, client, model, &tool, stream).await;
                assert!(!raw.contains('\u{fffd}'), "{name}: {raw}");
                assert!(
                    [r"\ud83d\ude00", "😀"].iter().any(|pair| raw.contains(pair)) || stream,
                    "{name}: {raw}"
                );
                if stream {
                    let arguments = raw_arguments(client, &raw);
                    assert!(
                        [r"\ud83d\ude00", "😀"].iter().any(|pair| arguments.contains(pair)),
                        "{name}: {raw}"
                    );
                    assert!(!raw.contains('\u{2028}'), "{name}: {raw}");
                }
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn half_a_character_alone_survives_as_it_is() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for client in [Client::Chat, Client::Responses] {
        for model in ["anthropic/claude-sonnet-4-6", "google/gemini-3.8-flash"] {
            let history = client.history();
            let call = match client {
                Client::Chat => {
                    r#"{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"get_tide","arguments":"{\"port\":\"\ud83d\"}"}}]},{"role":"tool","tool_call_id":"c1","content":"7 m"}"#
                }
                _ => {
                    r#"{"type":"function_call","call_id":"c1","name":"get_tide","arguments":"{\"port\":\"\ud83d\"}"},{"type":"function_call_output","call_id":"c1","output":"7 m"}"#
                }
            };
            let tools = &Talk::new(client, "").with_tools().body["tools"];
            let body = format!(
                r#"{{"model":"{model}","{history}":[{{"role":"user","content":"?"}},{call}],"tools":{tools}}}"#
            );
            let reply = stack.request("POST", client.path()).bearer(&customer.key).body(body).send().await;
            assert_eq!(reply.status, 200, "{client:?} {model}: {reply}");
            let call = stack.simulator.bill().pop().unwrap();
            assert!(call.body.contains(r#"{"port":"\ud83d"}"#), "{client:?} {model}: {}", call.body);
        }
    }
    stack.finish().await;
}
