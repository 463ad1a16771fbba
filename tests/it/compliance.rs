//! llm-comply, a published tester, against answers of every provider in every client's dialect: it validates answers,
//! whole and streamed, against the published documents of OpenAI, Open Responses and Anthropic. Only this file lists
//! what a model does not support, and what is missing in a host's own answers that pass through.

use crate::harness::{Customer, Stack};
use kairosroute::simulator::{Script, ToolCall};
use serde_json::Value;
use std::path::Path;
use tokio::process::Command;

const NO_PICTURES: &[&str] = &["image-input", "chat-image-input", "anth-image-input"];
/// Functions are not among its tools; its own search events, and members that are null, pass through.
const PERPLEXITY: &[&str] =
    &["tool-calling", "chat-tool-calling", "anth-tool-calling", "streaming-response", "streaming-usage"];

/// A model of each provider, and the tests that it cannot pass.
const MODELS: [(&str, &[&str]); 13] = [
    ("openai/gpt-5.5", &[]),
    ("anthropic/claude-sonnet-4-6", &[]),
    ("google/gemini-3.8-flash", &[]),
    ("xai/grok-4.3", &[]),
    ("mistral/mistral-large-4", &[]),
    ("deepseek/deepseek-flash", &[]),
    ("groq/gpt-oss-120b", NO_PICTURES),
    ("cohere/command-a", NO_PICTURES),
    ("perplexity/sonar-agent", PERPLEXITY),
    ("cerebras/gpt-oss-120b", NO_PICTURES),
    ("together_ai/kimi-k3", &[]),
    ("fireworks_ai/kimi-k3", &[]),
    ("moonshot/kimi-k3", &[]),
];

/// Hosts whose chat answers pass through and have no `refusal`.
const WITHOUT_REFUSAL: [&str; 5] = ["mistral", "deepseek", "groq", "cerebras", "moonshot"];

/// The forms of a client's request.
const FORMATS: [&str; 3] = ["openai-chat", "open-responses", "anthropic"];

/// The tester's result for each of its tests: name, and the error.
async fn verdicts(stack: &Stack, customer: &Customer, model: &str, format: &str) -> Vec<(String, Value)> {
    let python = std::env::var_os("KAIROSROUTE_TEST_TOOLS_PYTHON").filter(|value| !value.is_empty());
    let python = python.unwrap_or_else(|| panic!("KAIROSROUTE_TEST_TOOLS_PYTHON is not set: run ./test"));
    let tester = Path::new(&python).with_file_name("llm-comply");
    let mut command = Command::new(tester);
    command.args(["--base-url", &format!("{}/v1", stack.base()), "--api-key", &customer.key]);
    command.args(["--model", model, "--format", format, "--json"]).kill_on_drop(true);
    let provider = model.split_once('/').unwrap().0;
    if format == "openai-chat" && WITHOUT_REFUSAL.contains(&provider) {
        command.args(["--ignore", "refusal"]);
    }
    let output = command.output().await.unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let written = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&written)
        .unwrap_or_else(|error| panic!("{error}: {written} {}", String::from_utf8_lossy(&output.stderr)));
    let results = report["results"].as_array().unwrap_or_else(|| panic!("{report}"));
    let verdict = |result: &Value| {
        let wrong = match result["status"].as_str() {
            Some("passed" | "skipped") => Value::Null,
            _ => result["errors"].clone(),
        };
        (result["id"].as_str().unwrap().to_owned(), wrong)
    };
    results.iter().map(verdict).collect()
}

#[tokio::test]
async fn answers_of_every_provider_are_what_the_published_documents_require() {
    let stack = Stack::start().await;
    let customer = stack.customer("100").await;
    let call = ToolCall::new("call_1", "get_weather", &[r#"{\"location\":\"Brest\"}"#]);
    let mut wrong = Vec::new();
    for (model, beyond) in MODELS {
        let provider = model.split_once('/').unwrap().0;
        // The model must call the tester's tools.
        stack.simulator.set_plan(provider, vec![Script::tools(vec![call.clone()]), Script::default()]);
        for format in FORMATS {
            let verdicts = verdicts(&stack, &customer, model, format).await;
            assert!(verdicts.len() >= 9, "{model} {format}: {verdicts:?}");
            for (test, errors) in verdicts {
                if !errors.is_null() && !beyond.contains(&test.as_str()) {
                    wrong.push(format!("{model} {format} {test}: {errors}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stack.finish().await;
}
