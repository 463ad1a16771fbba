//! One conversation, sent in each dialect that a client may use, as its documentation describes it.

use serde_json::{Value, json};

/// The client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    Chat,
    Responses,
    Messages,
}

/// The content of the request, independent of a dialect.
#[derive(Clone, Default)]
pub struct Conversation {
    pub system: Option<&'static str>,
    pub turns: Vec<Turn>,
    pub tools: bool,
    pub stop: Option<&'static str>,
    pub schema: bool,
    /// Reason with high effort and show the reasoning.
    pub thinking: bool,
    pub limit: Option<u64>,
}

#[derive(Clone)]
pub enum Turn {
    User(&'static str),
    /// A question and a PNG, base64.
    Picture(&'static str, &'static str),
    /// Calls by id, name and arguments.
    Calls(Vec<(&'static str, &'static str, &'static str)>),
    /// Results by call id.
    Results(Vec<(&'static str, &'static str)>),
}

pub fn schema() -> Value {
    json!({
        "type": "object",
        "properties": { "height": { "type": "number" } },
        "required": ["height"],
        "additionalProperties": false
    })
}

fn parameters() -> Value {
    json!({ "type": "object", "properties": { "port": { "type": "string" } }, "required": ["port"] })
}

impl Client {
    pub fn path(self) -> &'static str {
        match self {
            Client::Chat => "/v1/chat/completions",
            Client::Responses => "/v1/responses",
            Client::Messages => "/v1/messages",
        }
    }

    /// The dialect has stop sequences.
    pub fn can_stop(self) -> bool {
        self != Client::Responses
    }

    pub fn body(self, model: &str, asked: &Conversation, stream: bool) -> Value {
        let mut body = match self {
            Client::Chat => chat(asked),
            Client::Responses => responses(asked),
            Client::Messages => messages(asked),
        };
        body["model"] = json!(model);
        if stream {
            body["stream"] = json!(true);
        }
        body
    }
}

fn chat(asked: &Conversation) -> Value {
    let mut messages = Vec::new();
    messages.extend(asked.system.map(|text| json!({ "role": "system", "content": text })));
    for turn in &asked.turns {
        match turn {
            Turn::User(text) => messages.push(json!({ "role": "user", "content": text })),
            Turn::Picture(text, data) => messages.push(json!({ "role": "user", "content": [
                { "type": "text", "text": text },
                { "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{data}") } }
            ] })),
            Turn::Calls(calls) => {
                let call = |(id, name, arguments): &(&str, &str, &str)| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
                let calls: Vec<Value> = calls.iter().map(call).collect();
                messages.push(json!({ "role": "assistant", "content": null, "tool_calls": calls }));
            }
            Turn::Results(results) => messages.extend(
                results
                    .iter()
                    .map(|(id, text)| json!({ "role": "tool", "tool_call_id": id, "content": text })),
            ),
        }
    }
    let mut body = json!({ "messages": messages });
    if asked.tools {
        body["tools"] = json!([{ "type": "function", "function": {
            "name": "get_tide", "description": "Tells the tide", "parameters": parameters() } }]);
    }
    if let Some(stop) = asked.stop {
        body["stop"] = json!([stop]);
    }
    if asked.schema {
        body["response_format"] = json!({ "type": "json_schema", "json_schema": { "name": "tide", "schema": schema(), "strict": true } });
    }
    if asked.thinking {
        body["reasoning_effort"] = json!("high");
    }
    if let Some(limit) = asked.limit {
        body["max_completion_tokens"] = json!(limit);
    }
    body
}

fn responses(asked: &Conversation) -> Value {
    let mut input = Vec::new();
    for turn in &asked.turns {
        match turn {
            Turn::User(text) => input.push(json!({ "role": "user", "content": text })),
            Turn::Picture(text, data) => input.push(json!({ "type": "message", "role": "user", "content": [
                { "type": "input_text", "text": text },
                { "type": "input_image", "detail": "auto", "image_url": format!("data:image/png;base64,{data}") }
            ] })),
            Turn::Calls(calls) => input.extend(calls.iter().map(|(id, name, arguments)| {
                json!({ "type": "function_call", "call_id": id, "name": name, "arguments": arguments })
            })),
            Turn::Results(results) => input.extend(results.iter().map(
                |(id, text)| json!({ "type": "function_call_output", "call_id": id, "output": text }),
            )),
        }
    }
    let mut body = json!({ "input": input });
    if let Some(system) = asked.system {
        body["instructions"] = json!(system);
    }
    if asked.tools {
        body["tools"] = json!([{ "type": "function", "name": "get_tide", "description": "Tells the tide",
            "parameters": parameters(), "strict": false }]);
    }
    if asked.schema {
        body["text"] = json!({ "format": { "type": "json_schema", "name": "tide", "schema": schema(), "strict": true } });
    }
    if asked.thinking {
        body["reasoning"] = json!({ "effort": "high", "summary": "auto" });
    }
    if let Some(limit) = asked.limit {
        body["max_output_tokens"] = json!(limit);
    }
    body
}

fn messages(asked: &Conversation) -> Value {
    let mut messages = Vec::new();
    for turn in &asked.turns {
        match turn {
            Turn::User(text) => messages.push(json!({ "role": "user", "content": text })),
            Turn::Picture(text, data) => messages.push(json!({ "role": "user", "content": [
                { "type": "text", "text": text },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": data } }
            ] })),
            Turn::Calls(calls) => {
                let call = |(id, name, arguments): &(&str, &str, &str)| {
                    let input: Value = serde_json::from_str(arguments).unwrap();
                    json!({ "type": "tool_use", "id": id, "name": name, "input": input })
                };
                let calls: Vec<Value> = calls.iter().map(call).collect();
                messages.push(json!({ "role": "assistant", "content": calls }));
            }
            Turn::Results(results) => {
                let result = |(id, text): &(&str, &str)| json!({ "type": "tool_result", "tool_use_id": id, "content": text });
                let results: Vec<Value> = results.iter().map(result).collect();
                messages.push(json!({ "role": "user", "content": results }));
            }
        }
    }
    let mut body = json!({ "messages": messages, "max_tokens": asked.limit.unwrap_or(2_000) });
    if let Some(system) = asked.system {
        body["system"] = json!(system);
    }
    if asked.tools {
        body["tools"] = json!([{ "name": "get_tide", "description": "Tells the tide",
            "input_schema": parameters() }]);
    }
    if let Some(stop) = asked.stop {
        body["stop_sequences"] = json!([stop]);
    }
    if asked.schema {
        body["output_config"] = json!({ "format": { "type": "json_schema", "schema": schema() } });
    }
    if asked.thinking {
        body["thinking"] = json!({ "type": "adaptive", "display": "summarized" });
        body["output_config"] = json!({ "effort": "high" });
    }
    body
}
