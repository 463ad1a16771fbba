//! The parts of an answer besides its text: several choices, logprobs, refusals, sources, a requested format.

use super::{CLIENTS, Client, Talk, provider, sent};
use crate::harness::Stack;
use kairosroute::simulator::{Citation, Script};
use serde_json::{Value, json};

#[tokio::test]
async fn two_answers_are_asked_of_those_who_give_them() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let talk = Talk::new(Client::Chat, "?").with("n", json!(2));
    for stream in [false, true] {
        let heard = talk.ask(&stack, &customer, "openai/gpt-4o", stream).await.good();
        let choices = heard.body["choices"].as_array().unwrap();
        assert_eq!(choices.len(), 2, "{}", heard.raw);
        for (index, choice) in choices.iter().enumerate() {
            assert_eq!(choice["index"], index, "{}", heard.raw);
            assert_eq!(choice["message"]["content"], "Hello from the simulated provider.", "{}", heard.raw);
            assert_eq!(choice["finish_reason"], "stop", "{}", heard.raw);
        }
        assert_eq!(heard.raw.matches("x_kairosroute").count(), 1, "{}", heard.raw);
    }
    // Google's name for it; the provider decides whether a model returns them.
    let heard = talk.ask(&stack, &customer, "google/gemini-2.5-flash-lite", false).await;
    assert_eq!(sent(&stack).1["generationConfig"]["candidateCount"], 2);
    assert!(heard.refused(400).contains("candidateCount"), "{}", heard.raw);
    stack.simulator.clear();
    for model in
        ["anthropic/claude-sonnet-4-6", "cohere/command-a-plus", "openai/gpt-5.3-codex", "groq/gpt-oss-120b"]
    {
        for stream in [false, true] {
            let message = talk.ask(&stack, &customer, model, stream).await.refused(400);
            assert!(message.contains("`n`"), "{model}: {message}");
        }
    }
    assert!(stack.simulator.bill().is_empty());
    stack.finish().await;
}

#[tokio::test]
async fn two_candidates_of_googles_are_two_choices() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let candidate = |index: u64, text: &str| json!({ "index": index, "finishReason": "STOP", "content": { "role": "model", "parts": [{ "text": text }] } });
    let usage = json!({ "promptTokenCount": 5, "candidatesTokenCount": 4, "totalTokenCount": 9 });
    let body = json!({ "candidates": [candidate(0, "One"), candidate(1, "Two")], "usageMetadata": usage });
    stack.simulator.set_default("google", Script::raw_body(&body.to_string()));
    let heard = Talk::new(Client::Chat, "?")
        .ask(&stack, &customer, "google/gemini-2.5-flash-lite", false)
        .await
        .good();
    let said = |index: usize| heard.body["choices"][index]["message"]["content"].clone();
    assert_eq!((said(0), said(1)), (json!("One"), json!("Two")), "{}", heard.raw);
    stack.finish().await;
}

#[tokio::test]
async fn odds_of_tokens_reach_who_asked() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let talk = Talk::new(Client::Chat, "?").with("logprobs", json!(true)).with("top_logprobs", json!(2));
    stack.simulator.set_default("openai", Script { logprobs: true, ..Script::default() });
    for stream in [false, true] {
        let heard = talk.ask(&stack, &customer, "openai/gpt-4o", stream).await.good();
        let tokens = heard.body["choices"][0]["logprobs"]["content"].as_array().unwrap();
        assert_eq!((tokens.len(), &tokens[0]["token"]), (6, &json!("Hello")), "{}", heard.raw);
    }
    let odds = json!({ "chosenCandidates": [{ "token": "Hi", "logProbability": -0.5 }],
        "topCandidates": [{ "candidates": [{ "token": "Hi", "logProbability": -0.5 }, { "token": "Ho", "logProbability": -1.5 }] }] });
    let body = json!({ "candidates": [{ "index": 0, "finishReason": "STOP", "logprobsResult": odds,
        "content": { "role": "model", "parts": [{ "text": "Hi" }] } }],
        "usageMetadata": { "promptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 6 } });
    let frame = format!("data: {body}\r\n\r\n");
    for (stream, script) in
        [(false, Script::raw_body(&body.to_string())), (true, Script::raw_frames(&[&frame]))]
    {
        stack.simulator.set_default("google", script);
        let heard = talk.ask(&stack, &customer, "google/gemini-2.5-flash-lite", stream).await.good();
        let (_, sent) = sent(&stack);
        assert_eq!(sent["generationConfig"]["responseLogprobs"], true);
        assert_eq!(sent["generationConfig"]["logprobs"], 2);
        let token = &heard.body["choices"][0]["logprobs"]["content"][0];
        assert_eq!((&token["token"], &token["logprob"]), (&json!("Hi"), &json!(-0.5)), "{}", heard.raw);
        assert_eq!(token["top_logprobs"][1]["token"], "Ho", "{}", heard.raw);
    }
    stack.simulator.clear();
    for model in ["anthropic/claude-sonnet-4-6", "groq/gpt-oss-120b"] {
        let message = talk.ask(&stack, &customer, model, false).await.refused(400);
        assert!(message.contains("logprobs`"), "{model}: {message}");
    }
    assert!(stack.simulator.bill().is_empty());
    stack.finish().await;
}

#[tokio::test]
async fn words_for_declining_are_told_as_such() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let script = Script { chunks: vec![], refusal: Some("I will not.".into()), ..Script::default() };
    for model in ["openai/gpt-4o", "openai/gpt-5.3-codex"] {
        stack.simulator.set_default(provider(model), script.clone());
        for client in CLIENTS {
            for stream in [false, true] {
                let heard = Talk::new(client, "?").ask(&stack, &customer, model, stream).await.good();
                let words = match client {
                    Client::Chat => heard.body["choices"][0]["message"]["refusal"].clone(),
                    Client::Responses => heard.body["output"][0]["content"][0]["refusal"].clone(),
                    Client::Messages => heard.body["content"][0]["text"].clone(),
                };
                assert_eq!(words, "I will not.", "{client:?} {model} {stream}: {}", heard.raw);
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn sources_reach_chat_and_responses_clients() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let page = Citation { url: "https://example.org/tides".into(), title: "Tides".into() };
    for model in [
        "anthropic/claude-sonnet-4-6",
        "perplexity/kimi-k3",
        "google/gemini-3.8-flash",
        "cohere/command-a-plus",
        "openai/gpt-5.3-codex",
    ] {
        let script = Script { citations: vec![page.clone()], ..Script::default() };
        stack.simulator.set_default(provider(model), script);
        for stream in [false, true] {
            let heard = Talk::new(Client::Chat, "?").ask(&stack, &customer, model, stream).await.good();
            let annotation = &heard.body["choices"][0]["message"]["annotations"][0];
            let cited = &annotation["url_citation"];
            assert_eq!(annotation["type"], "url_citation", "{model}: {}", heard.raw);
            assert_eq!(
                (&cited["url"], &cited["title"]),
                (&json!(page.url), &json!(page.title)),
                "{}",
                heard.raw
            );
            let heard = Talk::new(Client::Responses, "?").ask(&stack, &customer, model, stream).await.good();
            let part = |item: &Value| item["content"][0]["annotations"][0].clone();
            let cited =
                heard.body["output"].as_array().unwrap().iter().map(part).find(Value::is_object).unwrap();
            assert_eq!(
                (&cited["url"], &cited["title"]),
                (&json!(page.url), &json!(page.title)),
                "{}",
                heard.raw
            );
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn an_agreed_form_is_asked_for_in_each_providers_own_way() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let schema = json!({ "type": "object", "properties": { "height": { "type": "number" } },
        "required": ["height"], "additionalProperties": false });
    for client in CLIENTS {
        let talk = match client {
            Client::Chat => Talk::new(client, "?").with("response_format", json!({ "type": "json_schema", "json_schema": { "name": "tide", "schema": schema, "strict": true } })),
            Client::Responses => Talk::new(client, "?").with("text", json!({ "format": { "type": "json_schema", "name": "tide", "schema": schema, "strict": true } })),
            Client::Messages => Talk::new(client, "?").with("output_config", json!({ "format": { "type": "json_schema", "schema": schema } })),
        };
        for (model, place) in [
            ("anthropic/claude-sonnet-4-6", "/output_config/format/schema"),
            ("google/gemini-3.8-flash", "/generationConfig/responseJsonSchema"),
            ("cohere/command-a-plus", "/response_format/json_schema"),
            ("mistral/mistral-large-4", "/response_format/json_schema/schema"),
            ("openai/gpt-5.3-codex", "/text/format/schema"),
        ] {
            let heard = talk.ask(&stack, &customer, model, false).await;
            assert_eq!(heard.status, 200, "{client:?} {model}: {}", heard.raw);
            let (call, body) = sent(&stack);
            assert_eq!(body.pointer(place), Some(&schema), "{client:?} {model}: {}", call.body);
        }
    }
    stack.finish().await;
}
