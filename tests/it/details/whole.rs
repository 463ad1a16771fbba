//! The message that an SDK assembles from the frames of a stream. Null if the stream did not end correctly.

use super::Client;
use crate::harness::Frame;
use serde_json::{Value, json};

pub(super) fn of(client: Client, frames: &[Frame]) -> Value {
    let events: Vec<Value> = frames
        .iter()
        .filter(|frame| !frame.is_comment() && !frame.is_done())
        .map(|frame| {
            let data = frame.data().unwrap_or_else(|| panic!("no data: {}", frame.text));
            serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error} in {data}"))
        })
        .collect();
    match client {
        Client::Chat if frames.last().is_some_and(Frame::is_done) => chat(&events),
        Client::Chat => Value::Null,
        Client::Responses => responses(&events),
        Client::Messages => messages(&events),
    }
}

/// Appends text to a member, which may not exist yet.
fn append(object: &mut Value, name: &str, more: &Value) {
    if let Some(more) = more.as_str() {
        let before = object[name].as_str().unwrap_or_default().to_owned();
        object[name] = json!(before + more);
    }
}

fn extend(object: &mut Value, name: &str, more: &Value) {
    if let Some(more) = more.as_array() {
        if !object[name].is_array() {
            object[name] = json!([]);
        }
        object[name].as_array_mut().unwrap().extend(more.iter().cloned());
    }
}

fn chat(events: &[Value]) -> Value {
    let mut body = json!({ "choices": [] });
    for event in events {
        for name in ["id", "model", "usage", "x_kairosroute", "service_tier"] {
            if !event[name].is_null() {
                body[name] = event[name].clone();
            }
        }
        for said in event["choices"].as_array().into_iter().flatten() {
            let index = said["index"].as_u64().unwrap() as usize;
            let choices = body["choices"].as_array_mut().unwrap();
            while choices.len() <= index {
                let number = choices.len();
                choices.push(json!({ "index": number, "message": { "role": "assistant", "content": null } }));
            }
            let choice = &mut choices[index];
            if !said["finish_reason"].is_null() {
                choice["finish_reason"] = said["finish_reason"].clone();
            }
            if said["logprobs"].is_object() {
                extend(&mut choice["logprobs"], "content", &said["logprobs"]["content"]);
            }
            let (delta, message) = (&said["delta"], &mut choice["message"]);
            for name in ["content", "reasoning_content", "reasoning", "refusal"] {
                append(message, name, &delta[name]);
            }
            for name in ["thinking_blocks", "annotations", "images"] {
                extend(message, name, &delta[name]);
            }
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                chat_call(message, call);
            }
        }
    }
    body
}

fn chat_call(message: &mut Value, said: &Value) {
    if !message["tool_calls"].is_array() {
        message["tool_calls"] = json!([]);
    }
    let calls = message["tool_calls"].as_array_mut().unwrap();
    let index = said["index"].as_u64().map_or(calls.len(), |index| index as usize);
    if index >= calls.len() {
        calls.push(json!({ "type": "function", "function": { "arguments": "" } }));
    }
    let call = &mut calls[index];
    for name in ["id", "extra_content"] {
        if !said[name].is_null() {
            call[name] = said[name].clone();
        }
    }
    append(&mut call["function"], "name", &said["function"]["name"]);
    append(&mut call["function"], "arguments", &said["function"]["arguments"]);
}

fn responses(events: &[Value]) -> Value {
    let ends = ["response.completed", "response.incomplete"];
    let Some(end) = events.iter().find(|event| ends.iter().any(|end| event["type"] == *end)) else {
        return Value::Null;
    };
    let mut body = end["response"].clone();
    let done: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| &event["item"])
        .collect();
    assert_eq!(body["output"].as_array().unwrap().iter().collect::<Vec<_>>(), done, "{events:#?}");
    body["x_kairosroute"] = end["x_kairosroute"].clone();
    body
}

fn messages(events: &[Value]) -> Value {
    let (mut body, mut blocks, mut pieces) = (Value::Null, Vec::<Value>::new(), String::new());
    for event in events {
        match event["type"].as_str().unwrap() {
            "message_start" => body = event["message"].clone(),
            "content_block_start" => {
                assert_eq!(event["index"], blocks.len(), "{events:#?}");
                blocks.push(event["content_block"].clone());
                pieces.clear();
            }
            "content_block_delta" => {
                let (block, delta) = (blocks.last_mut().unwrap(), &event["delta"]);
                for name in ["text", "thinking", "signature"] {
                    append(block, name, &delta[name]);
                }
                if delta["citation"].is_object() {
                    extend(block, "citations", &json!([delta["citation"]]));
                }
                pieces += delta["partial_json"].as_str().unwrap_or_default();
            }
            "content_block_stop" if !pieces.is_empty() => {
                blocks.last_mut().unwrap()["input"] = serde_json::from_str(&pieces).unwrap();
                pieces.clear();
            }
            "message_delta" => {
                for name in ["stop_reason", "stop_sequence"] {
                    body[name] = event["delta"][name].clone();
                }
                for (name, count) in event["usage"].as_object().into_iter().flatten() {
                    body["usage"][name] = count.clone();
                }
                body["x_kairosroute"] = event["x_kairosroute"].clone();
            }
            "message_stop" => {
                body["content"] = json!(blocks);
                return body;
            }
            _ => {}
        }
    }
    Value::Null
}
