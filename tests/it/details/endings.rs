//! How answers end, successfully or not, in every client's dialect.

use super::{CLIENTS, Client, Talk, WIRES, provider, unreported_basis};
use crate::harness::Stack;
use kairosroute::simulator::Script;
use serde_json::{Value, json};

/// The words for the end of an answer: chat's, Responses' status and reason, Messages'.
fn ending(client: Client, body: &Value) -> (Value, Value) {
    match client {
        Client::Chat => (body["choices"][0]["finish_reason"].clone(), Value::Null),
        Client::Responses => (body["status"].clone(), body["incomplete_details"]["reason"].clone()),
        Client::Messages => (body["stop_reason"].clone(), Value::Null),
    }
}

#[tokio::test]
async fn every_end_has_its_word_in_every_dialect() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for model in WIRES {
        let native = match provider(model) {
            "anthropic" => [("length", "length"), ("content_filter", "refusal")],
            _ => [("length", "length"), ("content_filter", "content_filter")],
        };
        for (expected, told) in native {
            let script = Script { finish_reason: Some(told.into()), ..Script::default() };
            stack.simulator.set_default(provider(model), script);
            for client in CLIENTS {
                for stream in [false, true] {
                    let name = format!("{client:?} {model} {expected} {stream}");
                    let heard =
                        Talk::new(client, "?").with_tools().ask(&stack, &customer, model, stream).await;
                    assert_eq!(heard.status, 200, "{name}: {}", heard.raw);
                    let said = match (client, expected) {
                        (Client::Chat, _) => (json!(expected), Value::Null),
                        (Client::Responses, "length") => (json!("incomplete"), json!("max_output_tokens")),
                        (Client::Responses, _) => (json!("incomplete"), json!("content_filter")),
                        (Client::Messages, "length") => (json!("max_tokens"), Value::Null),
                        (Client::Messages, _) => (json!("refusal"), Value::Null),
                    };
                    assert_eq!(ending(client, &heard.body), said, "{name}: {}", heard.raw);
                }
            }
        }
    }
    stack.finish().await;
}

const PAUSED: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"Wait."}],"stop_reason":"@","stop_sequence":#,"usage":{"input_tokens":9,"output_tokens":3}}"#;

#[tokio::test]
async fn anthropics_own_ends_are_told_to_those_who_have_no_word_for_them() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for (reason, sequence, chat, messages) in [
        ("pause_turn", "null", "stop", "pause_turn"),
        ("stop_sequence", r#""END""#, "stop", "stop_sequence"),
        ("model_context_window_exceeded", "null", "length", "model_context_window_exceeded"),
        ("refusal", "null", "content_filter", "refusal"),
    ] {
        for client in CLIENTS {
            let body = PAUSED.replace('@', reason).replace('#', sequence);
            stack.simulator.set_default("anthropic", Script::raw_body(&body));
            let heard = Talk::new(client, "?")
                .ask(&stack, &customer, "anthropic/claude-sonnet-4-6", false)
                .await
                .good();
            let said = ending(client, &heard.body).0;
            match client {
                Client::Chat => assert_eq!(said, chat, "{}", heard.raw),
                Client::Messages => {
                    assert_eq!(said, messages, "{}", heard.raw);
                    let sequence: Value = serde_json::from_str(sequence).unwrap();
                    assert_eq!(heard.body["stop_sequence"], sequence, "{}", heard.raw);
                }
                Client::Responses => {
                    let whole = if chat == "stop" { "completed" } else { "incomplete" };
                    assert_eq!(said, whole, "{reason}: {}", heard.raw);
                }
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn coheres_stop_sequence_is_told_to_a_messages_client() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    stack
        .simulator
        .set_default("cohere", Script { finish_reason: Some("STOP_SEQUENCE".into()), ..Script::default() });
    for stream in [false, true] {
        let talk = Talk::new(Client::Messages, "?").with("stop_sequences", json!(["END"]));
        let heard = talk.ask(&stack, &customer, "cohere/command-a-plus", stream).await.good();
        assert_eq!(heard.body["stop_reason"], "stop_sequence", "{}", heard.raw);
    }
    stack.finish().await;
}

/// Every model except OpenAI's bridged one, which needs tools, and one that fails with a success status.
const FAILING: [&str; 9] = [
    "openai/gpt-4o",
    "openai/gpt-5.3-codex",
    "anthropic/claude-sonnet-4-6",
    "google/gemini-3.8-flash",
    "mistral/mistral-large-4",
    "cohere/command-a-plus",
    "perplexity/kimi-k3",
    "xai/grok-4.3",
    "groq/gpt-oss-120b",
];

/// The one error that ends a stream, in the dialect's form.
fn terminal_error(client: Client, raw: &str) {
    let frames: Vec<&str> =
        raw.split("\n\n").filter(|frame| !frame.is_empty() && !frame.starts_with(':')).collect();
    let last = frames.last().unwrap();
    let marks: Vec<&&str> = frames.iter().filter(|frame| frame.contains("\"error\":{")).collect();
    assert_eq!(marks.len(), 1, "{raw}");
    let start = if client == Client::Responses { "event: response.failed\n" } else { "event: error\n" };
    assert!(last.starts_with(start), "{raw}");
    assert!(
        !raw.contains("[DONE]") && !raw.contains("message_stop") && !raw.contains("response.completed"),
        "{raw}"
    );
}

#[tokio::test]
async fn an_answer_that_fails_or_breaks_after_content_ends_in_one_error_and_costs_what_was_counted() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for model in FAILING {
        for script in [
            Script { error_after: Some(3), ..Script::long(12) },
            Script { cut_after: Some(3), ..Script::long(12) },
        ] {
            stack.simulator.set_default(provider(model), script);
            for client in CLIENTS {
                let heard = Talk::new(client, "Tell me more").ask(&stack, &customer, model, true).await;
                assert_eq!(heard.status, 200, "{client:?} {model}: {}", heard.raw);
                assert!(heard.raw.contains("word0"), "{client:?} {model}: {}", heard.raw);
                terminal_error(client, &heard.raw);
                let receipt = stack.receipt(&customer.key, heard.header("x-kairosroute-receipt")).await;
                let told = format!("{client:?} {model}: {receipt:#}");
                let usage = &receipt["usage"];
                assert_eq!(usage["basis"], unreported_basis(model), "{told}");
                let thought = usage["reasoning"].as_u64().unwrap();
                assert_eq!(thought > 0, unreported_basis(model) == "estimated", "{told}");
                let said = usage["output"].as_u64().unwrap() - thought;
                assert!((1..=9).contains(&said), "{told}");
                assert_eq!(receipt["execution"]["status"], "aborted", "{told}");
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn an_answer_that_fails_before_content_is_tried_again_and_refused_with_a_status_of_its_own() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    // It does not depend on the client's dialect: each model is called in one.
    for (model, client) in FAILING.into_iter().zip(CLIENTS.into_iter().cycle()) {
        let talk = Talk::new(client, "?");
        for broken in [
            Script { error_after: Some(0), ..Script::default() },
            Script { cut_after: Some(0), ..Script::default() },
        ] {
            let name = format!("{client:?} {model} {:?}", broken.cut_after);
            stack.simulator.clear();
            stack.simulator.enqueue(provider(model), broken);
            let heard = talk.ask(&stack, &customer, model, true).await.good();
            assert_eq!(heard.header("x-kairosroute-attempts"), "2", "{name}");
        }
        stack.simulator.set_default(provider(model), Script { error_after: Some(0), ..Script::default() });
        let heard = talk.ask(&stack, &customer, model, true).await;
        assert!(matches!(heard.status, 502 | 503 | 529), "{client:?} {model}: {}", heard.raw);
        assert!(heard.body["error"]["message"].is_string(), "{}", heard.raw);
    }
    stack.finish().await;
}

/// Neither an answer nor an error.
const UNREADABLE: [&str; 4] = ["[]", "overloaded", "{}", "[[],null]"];

#[tokio::test]
async fn an_error_inside_a_good_head_is_an_error() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let bodies = [
        ("xai/grok-4.3", r#"{"code":"unavailable","error":"The service is currently unavailable"}"#),
        (
            "perplexity/kimi-k3",
            r#"{"id":"r","object":"response","status":"failed","error":{"code":"server_error","message":"It failed"},"output":[]}"#,
        ),
        (
            "openai/gpt-5.3-codex",
            r#"{"id":"r","object":"response","status":"failed","error":{"code":"server_error","message":"It failed"},"output":[]}"#,
        ),
        (
            "google/gemini-3.8-flash",
            r#"{"error":{"code":503,"message":"It is overloaded","status":"UNAVAILABLE"}}"#,
        ),
        (
            "google/gemini-2.5-flash-lite",
            r#"[{"error":{"code":503,"message":"It is overloaded","status":"UNAVAILABLE"}}]"#,
        ),
        (
            "cohere/command-a-plus",
            r#"{"id":"c","finish_reason":"ERROR","message":{"role":"assistant","content":[]}}"#,
        ),
        (
            "anthropic/claude-sonnet-4-6",
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        ),
        ("openai/gpt-4o", UNREADABLE[0]),
        ("openai/gpt-4o", UNREADABLE[1]),
        ("openai/gpt-4o", UNREADABLE[2]),
        ("mistral/mistral-large-4", UNREADABLE[3]),
    ];
    for ((model, body), client) in bodies.into_iter().zip(CLIENTS.into_iter().cycle()) {
        let name = format!("{client:?} {model} {body}");
        stack.simulator.clear();
        stack.simulator.set_default(provider(model), Script::raw_body(body));
        let talk = Talk::new(client, "?");
        let heard = talk.ask(&stack, &customer, model, false).await;
        assert!(matches!(heard.status, 502 | 503 | 529), "{name}: {} {}", heard.status, heard.raw);
        stack.simulator.clear();
        stack.simulator.enqueue(provider(model), Script::raw_body(body));
        let heard = talk.ask(&stack, &customer, model, false).await;
        if UNREADABLE.contains(&body) {
            // It may be billed, and so may every other try.
            assert!(heard.status == 502 && stack.simulator.bill().len() == 1, "{name}: {}", heard.raw);
        } else {
            // Correct content before the error is not lost.
            assert_eq!(heard.good().header("x-kairosroute-attempts"), "2", "{name}");
        }
    }
    stack.finish().await;
}
