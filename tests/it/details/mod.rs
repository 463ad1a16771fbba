//! Details that are easy to get wrong between two dialects, each tested alone: the request to a provider and the answer
//! to a client, over whole conversations as SDKs keep them.

mod arguments;
mod endings;
mod frames;
mod left_out;
mod media;
mod reasoning;
mod said;
mod tool_turns;
mod usage;
mod whole;

use crate::{
    harness::{Customer, Stack},
    matrix::ask::Client,
};
use kairosroute::simulator::Call;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// Every client dialect.
const CLIENTS: [Client; 3] = [Client::Chat, Client::Responses, Client::Messages];

/// A model for each way of calling providers; with tools the second is called in Responses.
const WIRES: [&str; 6] = [
    "openai/gpt-4o",
    "openai/gpt-5.5",
    "anthropic/claude-sonnet-4-6",
    "google/gemini-3.8-flash",
    "mistral/mistral-large-4",
    "cohere/command-a-plus",
];

/// A PNG of one pixel, base64.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// What came back.
struct Heard {
    status: u16,
    headers: HeaderMap,
    /// As sent: a body, or the frames of a stream.
    raw: String,
    /// The body; for a stream, the message that the dialect's SDK assembles.
    body: Value,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The expected value, or the test fails.
    #[track_caller]
    fn good(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.raw);
        assert!(!self.body.is_null(), "no end: {}", self.raw);
        self
    }

    /// The message of the refusal; any other status fails.
    #[track_caller]
    fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.raw);
        let message = self.body["error"]["message"].as_str();
        message.unwrap_or_else(|| panic!("no message: {}", self.raw)).to_owned()
    }

    /// The calls of the answer: id, and arguments as text.
    fn calls(&self, client: Client) -> Vec<(String, String)> {
        let own = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{}", self.raw)).to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        match client {
            Client::Chat => list(&self.body["choices"][0]["message"]["tool_calls"])
                .iter()
                .map(|call| (own(&call["id"]), own(&call["function"]["arguments"])))
                .collect(),
            Client::Responses => list(&self.body["output"])
                .iter()
                .filter(|item| item["type"] == "function_call")
                .map(|item| (own(&item["call_id"]), own(&item["arguments"])))
                .collect(),
            Client::Messages => list(&self.body["content"])
                .iter()
                .filter(|block| block["type"] == "tool_use")
                .map(|block| (own(&block["id"]), block["input"].to_string()))
                .collect(),
        }
    }
}

/// A conversation as a client keeps it: its next request.
#[derive(Clone)]
struct Talk {
    client: Client,
    body: Value,
}

impl Talk {
    fn new(client: Client, question: &str) -> Self {
        let mut body = json!({ client.history(): [{ "role": "user", "content": question }] });
        if client == Client::Messages {
            body["max_tokens"] = json!(2_000);
        }
        Self { client, body }
    }

    #[must_use]
    fn with(mut self, name: &str, value: Value) -> Self {
        self.body[name] = value;
        self
    }

    /// With the tool `get_tide`.
    #[must_use]
    fn with_tools(self) -> Self {
        let schema =
            json!({ "type": "object", "properties": { "port": { "type": "string" } }, "required": ["port"] });
        let tool = match self.client {
            Client::Chat => {
                json!({ "type": "function", "function": { "name": "get_tide", "parameters": schema } })
            }
            Client::Responses => {
                json!({ "type": "function", "name": "get_tide", "parameters": schema, "strict": false })
            }
            Client::Messages => json!({ "name": "get_tide", "input_schema": schema }),
        };
        self.with("tools", json!([tool]))
    }

    /// It requests reasoning, and wants to read it.
    #[must_use]
    fn thinking(self) -> Self {
        match self.client {
            Client::Chat => self.with("reasoning_effort", json!("high")),
            Client::Responses => self
                .with("reasoning", json!({ "effort": "high", "summary": "auto" }))
                .with("include", json!(["reasoning.encrypted_content"]))
                .with("store", json!(false)),
            Client::Messages => self
                .with("thinking", json!({ "type": "adaptive", "display": "summarized" }))
                .with("output_config", json!({ "effort": "high" })),
        }
    }

    async fn ask(&self, stack: &Stack, customer: &Customer, model: &str, stream: bool) -> Heard {
        let mut body = self.body.clone();
        body["model"] = json!(model);
        if stream {
            body["stream"] = json!(true);
        }
        send(stack, customer, self.client, &body).await
    }

    /// Stores an answer, as the dialect's SDK returns it.
    fn keep(&mut self, heard: &Heard) {
        match self.client {
            Client::Chat => self.push(heard.body["choices"][0]["message"].clone()),
            Client::Responses => {
                for item in heard.body["output"].as_array().unwrap() {
                    self.push(item.clone());
                }
            }
            Client::Messages => {
                self.push(json!({ "role": "assistant", "content": heard.body["content"] }));
            }
        }
    }

    /// Adds the results of calls, by id, in one turn.
    fn results(&mut self, results: &[(&str, Value)]) {
        match self.client {
            Client::Chat => {
                for (id, content) in results {
                    self.push(json!({ "role": "tool", "tool_call_id": id, "content": content }));
                }
            }
            Client::Responses => {
                for (id, content) in results {
                    self.push(json!({ "type": "function_call_output", "call_id": id, "output": content }));
                }
            }
            Client::Messages => {
                let result = |(id, content): &(&str, Value)| json!({ "type": "tool_result", "tool_use_id": id, "content": content });
                let results: Vec<Value> = results.iter().map(result).collect();
                self.push(json!({ "role": "user", "content": results }));
            }
        }
    }

    fn push(&mut self, turn: Value) {
        self.body[self.client.history()].as_array_mut().unwrap().push(turn);
    }
}

impl Client {
    fn history(self) -> &'static str {
        if self == Client::Responses { "input" } else { "messages" }
    }
}

/// Sends a request unchanged, and reads the answer.
async fn send(stack: &Stack, customer: &Customer, client: Client, body: &Value) -> Heard {
    let request = stack.request("POST", client.path()).bearer(&customer.key).json(body);
    if body["stream"] != json!(true) {
        let reply = request.send().await;
        let raw = reply.text();
        return Heard { status: reply.status, headers: reply.headers.clone(), raw, body: reply.json() };
    }
    let mut streamed = request.stream().await;
    let (status, headers) = (streamed.status, streamed.headers.clone());
    let frames = streamed.rest().await;
    let texts: Vec<&str> = frames.iter().map(|frame| frame.text.as_str()).collect();
    let raw = texts.join("\n\n");
    let body = match status {
        200 => whole::of(client, &frames),
        _ => serde_json::from_str(&raw).unwrap_or_else(|error| panic!("{error} in {raw}")),
    };
    Heard { status, headers, raw, body }
}

/// The last call that a provider received; there must be one.
#[track_caller]
fn sent(stack: &Stack) -> (Call, Value) {
    let call = stack.simulator.bill().pop().expect("nothing was sent");
    assert!(call.leaked.is_empty(), "{call:#?}");
    let body = serde_json::from_str(&call.body).unwrap();
    (call, body)
}

fn provider(model: &str) -> &str {
    model.split('/').next().unwrap()
}

/// How an answer without a usage report is billed: counted text, and for models that reason without showing it by
/// default (as these do by their documents), an estimate of the reasoning.
pub fn unreported_basis(model: &str) -> &'static str {
    let thinks = ["google/", "xai/", "openai/gpt-5"].iter().any(|start| model.starts_with(start));
    if thinks { "estimated" } else { "counted" }
}
