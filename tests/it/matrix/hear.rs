//! An answer as a client of each dialect reads it, by the client's own documentation and without code of the gateway.

use super::ask::Client;
use crate::harness::Frame;
use serde_json::Value;

/// The content of the answer, independent of a dialect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub text: String,
    pub reasoning: String,
    /// Name and arguments.
    pub calls: Vec<(String, String)>,
    pub ids: Vec<String>,
    /// With chat's names.
    pub finish: String,
    /// Prompt, its cached part, output.
    pub usage: (u64, u64, u64),
    pub note: Value,
}

/// Why there is no answer: the error message.
#[derive(Debug)]
pub struct Broken(pub String);

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

impl Client {
    pub fn hear(self, body: &Value) -> Answer {
        let mut answer = match self {
            Client::Chat => chat(body),
            Client::Responses => responses(body),
            Client::Messages => messages(body),
        };
        answer.note = body["x_kairosroute"].clone();
        answer
    }

    /// The message of an error in the dialect's envelope.
    pub fn error(self, body: &Value) -> String {
        if self == Client::Messages {
            assert_eq!(body["type"], "error", "{body}");
        }
        let message = text(&body["error"]["message"]);
        assert!(!message.is_empty() && body["error"]["type"].is_string(), "{body}");
        message
    }

    pub fn hear_stream(self, frames: &[Frame]) -> Result<Answer, Broken> {
        match self {
            Client::Chat => chat_stream(frames),
            Client::Responses => responses_stream(frames),
            Client::Messages => messages_stream(frames),
        }
    }
}

/// If the provider supports chat, its usage passes unchanged, in its own convention.
fn chat_usage(usage: &Value) -> (u64, u64, u64) {
    let (prompt, mut output) = (count(&usage["prompt_tokens"]), count(&usage["completion_tokens"]));
    let places = [
        &usage["prompt_tokens_details"]["cached_tokens"],
        &usage["num_cached_tokens"],
        &usage["cached_tokens"],
        &usage["prompt_cache_hit_tokens"],
    ];
    let cached = places.into_iter().find_map(Value::as_u64).unwrap_or_default();
    let total = count(&usage["total_tokens"]);
    let reasoning = count(&usage["completion_tokens_details"]["reasoning_tokens"]);
    if total == prompt + output + reasoning {
        output += reasoning;
    }
    (prompt, cached, output)
}

/// Under either name; some hosts send both.
fn chat_reasoning(message: &Value) -> String {
    let text = message["reasoning_content"].as_str().or(message["reasoning"].as_str());
    text.unwrap_or_default().to_owned()
}

fn chat(body: &Value) -> Answer {
    assert_eq!(body["object"], "chat.completion", "{body}");
    let message = &body["choices"][0]["message"];
    assert_eq!(message["role"], "assistant", "{body}");
    let mut answer = Answer {
        text: text(&message["content"]),
        reasoning: chat_reasoning(message),
        finish: text(&body["choices"][0]["finish_reason"]),
        usage: chat_usage(&body["usage"]),
        ..Answer::default()
    };
    // Mistral's own format, which passes unchanged.
    for part in message["content"].as_array().into_iter().flatten() {
        answer.text += &text(&part["text"]);
        answer.reasoning += &text(&part["thinking"][0]["text"]);
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        answer.ids.push(text(&call["id"]));
        answer.calls.push((text(&call["function"]["name"]), text(&call["function"]["arguments"])));
    }
    answer
}

fn chat_stream(frames: &[Frame]) -> Result<Answer, Broken> {
    let mut answer = Answer::default();
    for frame in frames.iter().filter(|frame| !frame.is_comment() && !frame.is_done()) {
        let chunk = frame.json();
        if chunk["error"].is_object() {
            assert!(frame.text.starts_with("event: error"), "{}", frame.text);
            assert_eq!(Some(frame), frames.last(), "an error ends the stream");
            return Err(Broken(text(&chunk["error"]["message"])));
        }
        if chunk["usage"].is_object() {
            answer.usage = chat_usage(&chunk["usage"]);
        }
        if chunk["x_kairosroute"].is_object() {
            answer.note = chunk["x_kairosroute"].clone();
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        answer.text += &text(&delta["content"]);
        answer.reasoning += &chat_reasoning(delta);
        for part in delta["content"].as_array().into_iter().flatten() {
            answer.text += &text(&part["text"]);
            answer.reasoning += &text(&part["thinking"][0]["text"]);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().map_or(answer.calls.len(), |index| index as usize);
            if index >= answer.calls.len() {
                answer.calls.push(Default::default());
                answer.ids.push(text(&call["id"]));
            }
            answer.calls[index].0 += &text(&call["function"]["name"]);
            answer.calls[index].1 += &text(&call["function"]["arguments"]);
        }
        if choice["finish_reason"].is_string() {
            answer.finish = text(&choice["finish_reason"]);
        }
    }
    assert!(frames.last().is_some_and(Frame::is_done), "{frames:?}");
    Ok(answer)
}

fn responses(body: &Value) -> Answer {
    assert_eq!(body["object"], "response", "{body}");
    let mut answer = Answer { finish: "stop".into(), ..Answer::default() };
    for item in body["output"].as_array().unwrap_or_else(|| panic!("{body}")) {
        match item["type"].as_str().unwrap() {
            "message" => {
                for part in item["content"].as_array().unwrap() {
                    answer.text += &text(&part["text"]);
                }
            }
            "reasoning" => {
                for part in item["summary"].as_array().into_iter().flatten() {
                    answer.reasoning += &text(&part["text"]);
                }
            }
            "function_call" => {
                answer.finish = "tool_calls".into();
                answer.ids.push(text(&item["call_id"]));
                answer.calls.push((text(&item["name"]), text(&item["arguments"])));
            }
            other => panic!("{other}: {body}"),
        }
    }
    if body["status"] == "incomplete" {
        let reason = body["incomplete_details"]["reason"].as_str().unwrap();
        answer.finish = if reason == "max_output_tokens" { "length" } else { "content_filter" }.into();
    }
    let usage = &body["usage"];
    let cached = count(&usage["input_tokens_details"]["cached_tokens"]);
    answer.usage = (count(&usage["input_tokens"]), cached, count(&usage["output_tokens"]));
    answer
}

fn responses_stream(frames: &[Frame]) -> Result<Answer, Broken> {
    let (mut said, mut arguments) = (String::new(), Vec::new());
    let mut last = None;
    for frame in frames.iter().filter(|frame| !frame.is_comment() && !frame.is_done()) {
        let event = frame.json();
        let kind = text(&event["type"]);
        assert!(frame.text.starts_with(&format!("event: {kind}\n")), "{}", frame.text);
        if let (Some(last), Some(number)) = (last, event["sequence_number"].as_u64()) {
            assert!(number > last, "{}", frame.text);
        }
        last = event["sequence_number"].as_u64();
        match kind.as_str() {
            "response.output_text.delta" => said += &text(&event["delta"]),
            "response.function_call_arguments.done" => arguments.push(text(&event["arguments"])),
            "response.failed" => return Err(Broken(text(&event["response"]["error"]["message"]))),
            "response.completed" | "response.incomplete" => {
                let mut answer = responses(&event["response"]);
                assert_eq!(answer.text, said, "what was streamed and what was said to have been");
                let whole: Vec<&String> = answer.calls.iter().map(|(_, arguments)| arguments).collect();
                assert_eq!(whole, arguments.iter().collect::<Vec<_>>());
                answer.note = event["x_kairosroute"].clone();
                assert!(frames.last().is_some_and(Frame::is_done), "{frames:?}");
                return Ok(answer);
            }
            _ => {}
        }
    }
    panic!("no end: {frames:?}");
}

fn messages_finish(reason: &Value) -> String {
    match reason.as_str().unwrap_or_else(|| panic!("no stop reason: {reason}")) {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        other => other,
    }
    .to_owned()
}

fn messages_usage(usage: &Value) -> (u64, u64, u64) {
    let cached = count(&usage["cache_read_input_tokens"]);
    let prompt = count(&usage["input_tokens"]) + cached + count(&usage["cache_creation_input_tokens"]);
    (prompt, cached, count(&usage["output_tokens"]))
}

fn messages(body: &Value) -> Answer {
    assert_eq!((&body["type"], &body["role"]), (&"message".into(), &"assistant".into()), "{body}");
    let mut answer = Answer {
        finish: messages_finish(&body["stop_reason"]),
        usage: messages_usage(&body["usage"]),
        ..Answer::default()
    };
    for block in body["content"].as_array().unwrap_or_else(|| panic!("{body}")) {
        match block["type"].as_str().unwrap() {
            "text" => answer.text += &text(&block["text"]),
            "thinking" => {
                assert!(block["signature"].is_string(), "{body}");
                answer.reasoning += &text(&block["thinking"]);
            }
            "tool_use" => {
                answer.ids.push(text(&block["id"]));
                answer.calls.push((text(&block["name"]), block["input"].to_string()));
            }
            other => panic!("{other}: {body}"),
        }
    }
    answer
}

fn messages_stream(frames: &[Frame]) -> Result<Answer, Broken> {
    let mut answer = Answer::default();
    let mut open: Option<u64> = None;
    let mut ended = false;
    for frame in frames.iter().filter(|frame| !frame.is_comment()) {
        let event = frame.json();
        let kind = text(&event["type"]);
        assert!(frame.text.starts_with(&format!("event: {kind}\n")), "{}", frame.text);
        match kind.as_str() {
            "message_start" => assert_eq!(event["message"]["role"], "assistant"),
            "content_block_start" => {
                assert_eq!(open, None, "one block at a time: {frames:?}");
                open = event["index"].as_u64();
                let block = &event["content_block"];
                if block["type"] == "tool_use" {
                    answer.ids.push(text(&block["id"]));
                    answer.calls.push((text(&block["name"]), String::new()));
                }
            }
            "content_block_delta" => {
                assert_eq!(open, event["index"].as_u64(), "{frames:?}");
                let delta = &event["delta"];
                answer.text += &text(&delta["text"]);
                answer.reasoning += &text(&delta["thinking"]);
                if let Some((_, arguments)) = answer.calls.last_mut() {
                    *arguments += &text(&delta["partial_json"]);
                }
            }
            "content_block_stop" => assert_eq!(open.take(), event["index"].as_u64(), "{frames:?}"),
            "message_delta" => {
                answer.finish = messages_finish(&event["delta"]["stop_reason"]);
                answer.usage = messages_usage(&event["usage"]);
                answer.note = event["x_kairosroute"].clone();
            }
            "message_stop" => ended = true,
            "ping" => {}
            "error" => {
                assert_eq!(Some(frame), frames.last(), "an error ends the stream");
                return Err(Broken(text(&event["error"]["message"])));
            }
            other => panic!("{other}: {frames:?}"),
        }
    }
    assert!(ended && open.is_none(), "{frames:?}");
    Ok(answer)
}
