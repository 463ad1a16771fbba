//! A field that a provider does not support is listed in a header and never lost silently; a field that only one
//! provider knows is refused everywhere else.

use super::{Client, Talk, sent};
use crate::harness::Stack;
use serde_json::{Value, json};

const DROPPED: &str = "x-kairosroute-dropped";

#[tokio::test]
async fn hints_a_provider_does_not_take_are_named() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for (client, model, name, value, told) in [
        (Client::Chat, "anthropic/claude-sonnet-4-6", "seed", json!(7), "seed"),
        (Client::Chat, "anthropic/claude-opus-5-5", "temperature", json!(0.2), "temperature"),
        (Client::Chat, "google/gemini-3.8-flash", "logit_bias", json!({ "50": 1 }), "logit_bias"),
        (Client::Chat, "google/gemini-3.8-flash", "presence_penalty", json!(0.5), "presence_penalty"),
        (Client::Chat, "openai/gpt-5.3-codex", "seed", json!(7), "seed"),
        (Client::Chat, "mistral/mistral-large-4", "user", json!("u1"), "user"),
        (Client::Chat, "cohere/command-a-plus", "parallel_tool_calls", json!(true), "parallel_tool_calls"),
        (Client::Chat, "deepseek/deepseek-flash", "seed", json!(7), "seed"),
        (Client::Chat, "anthropic/claude-sonnet-4-6", "made_up", json!(1), "made_up"),
        (
            Client::Messages,
            "cohere/command-a-plus",
            "metadata",
            json!({ "user_id": "u1" }),
            "metadata.user_id",
        ),
        (Client::Messages, "openai/gpt-5.5", "top_k", json!(40), "top_k"),
        (Client::Responses, "google/gemini-3.8-flash", "metadata", json!({ "a": "b" }), "metadata"),
        (Client::Responses, "anthropic/claude-sonnet-4-6", "made_up", json!(1), "made_up"),
    ] {
        for stream in [false, true] {
            let heard =
                Talk::new(client, "?").with(name, value.clone()).ask(&stack, &customer, model, stream).await;
            assert_eq!(heard.status, 200, "{client:?} {model} {name}: {}", heard.raw);
            let names: Vec<&str> = heard.header(DROPPED).split(", ").collect();
            assert!(names.contains(&told), "{client:?} {model} {name}: {names:?}");
            let (call, body) = sent(&stack);
            assert!(body[name].is_null(), "{client:?} {model} {name}: {}", call.body);
            let receipt = stack.receipt(&customer.key, heard.header("x-kairosroute-receipt")).await;
            assert!(receipt.to_string().contains(told), "{receipt:#}");
        }
    }
    // A supported field is not listed.
    let heard = Talk::new(Client::Chat, "?")
        .with("seed", json!(7))
        .ask(&stack, &customer, "google/gemini-2.5-flash-lite", false)
        .await;
    assert_eq!(heard.header(DROPPED), "", "{}", heard.raw);
    assert_eq!(sent(&stack).1["generationConfig"]["seed"], 7);
    stack.finish().await;
}

#[tokio::test]
async fn names_of_a_clients_own_making_do_not_break_the_header() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let long = "x".repeat(5_000);
    for name in ["line\r\nx-evil: 1", "größe", "nul\u{0}l", "😀", "tab\tbed", "a, b", "\u{7f}", long.as_str()]
    {
        for stream in [false, true] {
            let talk = Talk::new(Client::Chat, "?").with(name, json!(1)).with("seed", json!(7));
            let heard = talk.ask(&stack, &customer, "anthropic/claude-sonnet-4-6", stream).await;
            assert_eq!(heard.status, 200, "{name:?}: {}", heard.raw);
            let told = heard.headers.get(DROPPED).map(|value| value.as_bytes().to_vec()).unwrap_or_default();
            let told = String::from_utf8(told).unwrap();
            assert!(told.split(", ").any(|known| known == "seed"), "{name:?}: {told:?}");
            assert!(told.len() <= 1_024, "{name:?}: {} bytes", told.len());
            assert!(told.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name:?}: {told:?}");
            assert!(heard.headers.get("x-evil").is_none());
        }
    }
    // As many as a body may have.
    let mut talk = Talk::new(Client::Chat, "?");
    for number in 0..100 {
        talk = talk.with(&format!("made_up_{number}_{}", "y".repeat(200)), json!(1));
    }
    let heard = talk.ask(&stack, &customer, "anthropic/claude-sonnet-4-6", false).await;
    assert_eq!(heard.status, 200, "{}", heard.raw);
    let told = heard.header(DROPPED);
    assert!(!told.is_empty() && told.len() <= 1_024, "{} bytes", told.len());
    stack.finish().await;
}

#[tokio::test]
async fn a_response_is_continued_where_it_is_kept_and_nowhere_else() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "own-openai" })).await;
    for stream in [false, true] {
        let first =
            Talk::new(Client::Responses, "?").ask(&stack, &customer, "openai/gpt-5.5", stream).await.good();
        let id = first.body["id"].clone();
        let next = Talk::new(Client::Responses, "And now?").with("previous_response_id", id.clone());
        let heard = next.ask(&stack, &customer, "openai/gpt-5.5", stream).await.good();
        assert_eq!(heard.header("x-kairosroute-byok"), "true");
        assert_eq!(sent(&stack).1["previous_response_id"], id);
        let calls = stack.simulator.bill().len();
        for model in [
            "anthropic/claude-sonnet-4-6",
            "google/gemini-3.8-flash",
            "mistral/mistral-large-4",
            "cohere/command-a-plus",
        ] {
            let heard = next.ask(&stack, &customer, model, stream).await;
            let message = heard.refused(400);
            let param = &heard.body["error"]["param"];
            assert!(
                param == "previous_response_id" || message.contains("previous_response_id"),
                "{model}: {}",
                heard.raw
            );
        }
        assert_eq!(stack.simulator.bill().len(), calls, "nothing is sent");
        // A field that OpenAI does not know is refused by OpenAI.
        let stale = Talk::new(Client::Responses, "?").with("previous_response_id", json!("resp_unknown"));
        let heard = stale.ask(&stack, &customer, "openai/gpt-5.5", stream).await;
        assert!(heard.refused(400).contains("resp_unknown"), "{}", heard.raw);
    }
    // The platform's account stores nothing for a particular customer.
    let stranger = stack.customer("10").await;
    let next = Talk::new(Client::Responses, "?").with("previous_response_id", json!("resp_1"));
    let heard = next.ask(&stack, &stranger, "openai/gpt-5.5", false).await;
    assert_eq!(heard.status, 400, "{}", heard.raw);
    stack.finish().await;
}

#[tokio::test]
async fn a_result_without_its_call_is_refused_and_nobody_is_asked() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for client in super::CLIENTS {
        for model in ["anthropic/claude-sonnet-4-6", "google/gemini-3.8-flash"] {
            if (client, model) == (Client::Messages, "anthropic/claude-sonnet-4-6") {
                continue;
            }
            let mut talk = Talk::new(client, "?").with_tools();
            talk.results(&[("call_nobody_made", Value::from("7 m"))]);
            let heard = talk.ask(&stack, &customer, model, false).await;
            let message = heard.refused(400);
            let place = if client == Client::Responses { "`input" } else { "`messages" };
            assert!(message.contains(place), "{client:?} {model}: {message}");
        }
    }
    assert!(stack.simulator.bill().is_empty());
    stack.finish().await;
}
