//! Every client dialect against every provider's wire format, feature by feature: the client receives what the
//! simulated provider was scripted to answer, streamed or not, at the same cost; a field that a provider does not
//! support is refused by name. The simulated providers refuse what the real ones would.

pub(crate) mod ask;
mod cached;
pub(crate) mod hear;

use crate::harness::{Customer, Frame, Stack};
use ask::{Client, Conversation, Turn};
use futures_util::FutureExt;
use hear::{Answer, Broken};
use kairosroute::simulator::{Script, ToolCall};
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;

/// A model for each way of calling providers.
const MODELS: [&str; 17] = [
    "openai/gpt-4o",
    "openai/gpt-5.5",
    "openai/gpt-5.3-codex",
    "anthropic/claude-sonnet-4-6",
    "anthropic/claude-opus-5-5",
    "google/gemini-2.5-flash-lite",
    "google/gemini-3.8-flash",
    "xai/grok-4.3",
    "mistral/mistral-large-4",
    "deepseek/deepseek-flash",
    "groq/gpt-oss-120b",
    "cohere/command-a-plus",
    "perplexity/kimi-k3",
    "cerebras/gpt-oss-120b",
    "together_ai/gpt-oss-120b",
    "fireworks_ai/glm-5.3",
    "moonshot/kimi-k3",
];

/// Arguments as a model may write them: numbers that a float would change, an escape, unusual spaces.
const ODD: &str =
    r#"{\"port\": \"Brest\", \"id\":12345678901234567890, \"a\": 1.0,\"b\":1e5, \"c\":\"\\u00e3\" }"#;
const ODD_DECODED: &str = r#"{"port": "Brest", "id":12345678901234567890, "a": 1.0,"b":1e5, "c":"\u00e3" }"#;
/// A PNG of one pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Feature {
    Text,
    Tools,
    ParallelTools,
    ToolResults,
    Images,
    Schema,
    Reasoning,
    Stop,
    Length,
    Error,
    MidStreamError,
}

const FEATURES: [Feature; 11] = [
    Feature::Text,
    Feature::Tools,
    Feature::ParallelTools,
    Feature::ToolResults,
    Feature::Images,
    Feature::Schema,
    Feature::Reasoning,
    Feature::Stop,
    Feature::Length,
    Feature::Error,
    Feature::MidStreamError,
];

impl Feature {
    fn conversation(self) -> Conversation {
        let plain = Conversation {
            system: Some("You know the tides."),
            turns: vec![Turn::User("How high is the tide?")],
            ..Conversation::default()
        };
        match self {
            Feature::Text | Feature::Error | Feature::MidStreamError => plain,
            Feature::Tools | Feature::ParallelTools => Conversation { tools: true, ..plain },
            Feature::ToolResults => Conversation {
                tools: true,
                turns: vec![
                    Turn::User("Tides of Brest and Calais?"),
                    // Ids in a form that no other provider creates.
                    Turn::Calls(vec![
                        ("functions.get_tide:0", "get_tide", r#"{"port":"Brest"}"#),
                        ("functions.get_tide:1", "get_tide", r#"{"port":"Calais"}"#),
                    ]),
                    Turn::Results(vec![("functions.get_tide:0", "7 m"), ("functions.get_tide:1", "6 m")]),
                ],
                ..plain
            },
            Feature::Images => Conversation { turns: vec![Turn::Picture("What is this?", PIXEL)], ..plain },
            Feature::Schema => Conversation { schema: true, ..plain },
            Feature::Reasoning => Conversation { thinking: true, ..plain },
            Feature::Stop => Conversation { stop: Some("END"), ..plain },
            Feature::Length => Conversation { limit: Some(1_000), ..plain },
        }
    }

    fn script(self) -> Script {
        let usual = Script { cached_tokens: 400, ..Script::default().with_tokens(1_001, 77) };
        let tide = |id: &str, pieces: &[&str]| ToolCall::new(id, "get_tide", pieces);
        let (head, tail) = ODD.split_at(18);
        match self {
            Feature::Text | Feature::ToolResults | Feature::Images | Feature::Stop => usual,
            Feature::Tools => {
                Script { chunks: vec![], tool_calls: vec![tide("a1B2c3D4e", &[head, tail])], ..usual }
            }
            Feature::ParallelTools => Script {
                tool_calls: vec![
                    tide("a1B2c3D4e", &[head, tail]),
                    tide("f5G6h7I8j", &[r#"{\"port\":\"Calais\"}"#]),
                ],
                ..usual
            },
            Feature::Schema => Script { chunks: vec![r#"{"height""#.into(), ": 7.0}".into()], ..usual },
            Feature::Reasoning => Script {
                reasoning: vec!["Let me ".into(), "think.".into()],
                reasoning_tokens: Some(30),
                ..usual
            },
            Feature::Length => Script { finish_reason: Some("length".into()), ..usual },
            Feature::Error => Script::failing(400),
            Feature::MidStreamError => Script { error_after: Some(2), ..usual },
        }
    }

    /// The expected content at the client for the script.
    fn answer(self) -> Answer {
        let said = "Hello from the simulated provider.";
        let usual =
            Answer { text: said.into(), finish: "stop".into(), usage: (1_001, 400, 77), ..Answer::default() };
        let odd = ("get_tide".to_owned(), ODD_DECODED.to_owned());
        match self {
            Feature::Tools => {
                Answer { text: String::new(), calls: vec![odd], finish: "tool_calls".into(), ..usual }
            }
            Feature::ParallelTools => Answer {
                calls: vec![odd, ("get_tide".to_owned(), r#"{"port":"Calais"}"#.to_owned())],
                finish: "tool_calls".into(),
                ..usual
            },
            Feature::Schema => Answer { text: r#"{"height": 7.0}"#.into(), ..usual },
            Feature::Reasoning => Answer { reasoning: "Let me think.".into(), ..usual },
            Feature::Length => Answer { finish: "length".into(), ..usual },
            _ => usual,
        }
    }

    /// The field because of which this model cannot serve the feature to this client, by the provider's own rules.
    fn refused(self, client: Client, model: &str) -> Option<&'static str> {
        let by = |models: &[&str]| models.contains(&model);
        match self {
            // No stop sequences: OpenAI's reasoning models, xAI's from grok-4 on, and all of Responses.
            Feature::Stop
                if by(&["openai/gpt-5.5", "openai/gpt-5.3-codex", "xai/grok-4.3", "perplexity/kimi-k3"]) =>
            {
                Some(if client == Client::Messages { "stop_sequences" } else { "stop" })
            }
            Feature::Images
                if by(&["groq/gpt-oss-120b", "cerebras/gpt-oss-120b", "fireworks_ai/glm-5.3"]) =>
            {
                Some("messages")
            }
            _ => None,
        }
    }
}

/// Sends and reads, whole or streamed.
async fn ask(
    stack: &Stack,
    customer: &Customer,
    client: Client,
    body: &Value,
) -> Result<(Answer, Option<u16>), (u16, String)> {
    let request = stack.request("POST", client.path()).bearer(&customer.key).json(body);
    if body["stream"] == json!(true) {
        let mut stream = request.stream().await;
        let status = stream.status;
        let frames: Vec<Frame> = stream.rest().await;
        if status != 200 {
            let whole: String = frames.iter().map(|frame| frame.text.as_str()).collect();
            return Err((status, client.error(&serde_json::from_str(&whole).unwrap())));
        }
        return match client.hear_stream(&frames) {
            Ok(answer) => Ok((answer, None)),
            Err(Broken(message)) => Err((200, message)),
        };
    }
    let reply = request.send().await;
    if reply.status != 200 {
        return Err((reply.status, client.error(&reply.json())));
    }
    Ok((client.hear(&reply.json()), Some(reply.status)))
}

async fn cell(stack: &Stack, customer: &Customer, client: Client, model: &str, feature: Feature) {
    let provider = model.split('/').next().unwrap();
    let mut costs = Vec::new();
    for stream in [false, true] {
        let name = format!("{client:?} -> {model}, {feature:?}, stream {stream}");
        stack.simulator.clear();
        stack.simulator.set_default(provider, feature.script());
        let mut body = client.body(model, &feature.conversation(), stream);
        if stream && client == Client::Chat {
            body["stream_options"] = json!({ "include_usage": true });
        }
        let heard = ask(stack, customer, client, &body).await;
        let calls = stack.simulator.bill();
        if let Some(field) = feature.refused(client, model) {
            let (status, message) = heard.expect_err(&name);
            assert_eq!(status, 400, "{name}: {message}");
            let is_named =
                message.contains(&format!("`{field}`")) || message.contains("does not accept images");
            assert!(is_named, "{name}: {message}");
            assert!(calls.is_empty(), "{name}: nothing is sent");
            continue;
        }
        assert!(calls.iter().all(|call| call.leaked.is_empty()), "{name}: {calls:#?}");
        match (feature, stream) {
            (Feature::Error, _) => {
                let (status, message) = heard.expect_err(&name);
                assert_eq!(status, 400, "{name}: {message}");
                assert!(message.contains("scripted"), "{name}: {message}");
            }
            (Feature::MidStreamError, true) => assert_eq!(heard.expect_err(&name).0, 200, "{name}"),
            (Feature::MidStreamError, false) => {
                let status = heard.expect_err(&name).0;
                assert!(matches!(status, 502 | 503 | 529), "{name}: {status}");
            }
            _ => {
                let answer = match heard {
                    Ok((answer, _)) => answer,
                    Err(error) => panic!("{name}: {error:?} {:#?}", calls.last().map(|call| &call.body)),
                };
                let expected = feature.answer();
                check(&name, client, &answer, &expected);
                costs.push(answer.note["charged_usd"].to_string());
            }
        }
    }
    costs.dedup();
    assert!(costs.len() <= 1, "{client:?} -> {model}, {feature:?}: {costs:?}");
}

fn check(name: &str, client: Client, heard: &Answer, expected: &Answer) {
    let arguments = |answer: &Answer| -> Vec<(String, Value)> {
        let parsed = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| panic!("{name}: {text}"));
        answer.calls.iter().map(|(name, text)| (name.clone(), parsed(text))).collect()
    };
    match client {
        // A test's JSON reader has no exact numbers: the bytes of Messages' objects are compared in `details`.
        Client::Messages => assert_eq!(arguments(heard), arguments(expected), "{name}"),
        _ => assert_eq!(heard.calls, expected.calls, "{name}"),
    }
    let unique: std::collections::BTreeSet<&String> = heard.ids.iter().filter(|id| !id.is_empty()).collect();
    assert_eq!(unique.len(), expected.calls.len(), "{name}: an id for each call: {:?}", heard.ids);
    assert_eq!(heard.text, expected.text, "{name}");
    assert_eq!(heard.reasoning, expected.reasoning, "{name}");
    assert_eq!(heard.finish, expected.finish, "{name}");
    assert_eq!(heard.usage, expected.usage, "{name}");
    assert!(heard.note["charged_usd"].is_number(), "{name}: {heard:?}");
}

async fn row(client: Client) {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let mut failed = Vec::new();
    for model in MODELS {
        for feature in FEATURES {
            if feature == Feature::Stop && !client.can_stop() {
                continue;
            }
            // Every cell is checked, so that one failure does not hide the others.
            let judged =
                AssertUnwindSafe(cell(&stack, &customer, client, model, feature)).catch_unwind().await;
            if judged.is_err() {
                failed.push(format!("{client:?} -> {model}, {feature:?}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} cells failed: {failed:#?}", failed.len());
    stack.finish().await;
}

#[tokio::test]
async fn chat_is_understood_by_every_provider() {
    row(Client::Chat).await;
}

#[tokio::test]
async fn responses_are_understood_by_every_provider() {
    row(Client::Responses).await;
}

#[tokio::test]
async fn messages_are_understood_by_every_provider() {
    row(Client::Messages).await;
}
