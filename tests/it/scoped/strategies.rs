//! `extra.provider` as a preference among hosts, `extra.fallback_models` and `extra.retry`.

use super::{Form, GOOD, assert_refused, endpoints, seen};
use crate::harness::{Customer, Reply, Stack, hello};
use kairosroute::{routing::measured::Sample, simulator::Script};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const HOSTS: [&str; 3] = ["groq", "cerebras", "together_ai"];

async fn ask(stack: &Stack, customer: &Customer, model: &str, extra: Value) -> Reply {
    let mut body = hello(model);
    body["extra"] = extra;
    stack.chat(&customer.key, &body).await
}

/// As if these hosts of one model had answered so.
fn measured(stack: &Stack, provider: &str, latency_ms: u64, speed: u64, failures: usize) {
    let gateway = stack.gateway();
    let id: Arc<str> = format!("{provider}/gpt-oss-120b").into();
    let sample = Sample::Answered { latency_ms, tokens_per_second: Some(speed) };
    for _ in 0..10 - failures {
        gateway.measurements.note(&id, gateway.now_ms(), sample);
    }
    for _ in 0..failures {
        gateway.measurements.note(&id, gateway.now_ms(), Sample::Failed);
    }
}

#[tokio::test]
async fn each_preference_picks_its_host_among_those_of_the_same_weights() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    // An ordinary answer takes 1.5, 1.7 and 3 seconds.
    measured(&stack, "groq", 900, 900, 2);
    measured(&stack, "cerebras", 50, 300, 5);
    measured(&stack, "together_ai", 500, 200, 0);
    for (preference, provider) in [
        ("cheap", None),
        ("latency", Some("cerebras")),
        ("throughput", Some("groq")),
        ("fast", Some("groq")),
        ("reliable", Some("together_ai")),
        ("balanced", Some("groq")),
        ("Together AI", Some("together_ai")),
    ] {
        let reply = ask(&stack, &customer, "gpt-oss-120b", json!({ "provider": preference })).await;
        assert_eq!(reply.status, 200, "{preference}: {reply}");
        let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
        let call = seen(&stack).remove(0);
        if let Some(provider) = provider {
            assert_eq!(call, format!("{provider} platform-{provider}"), "{preference}");
        }
        if preference == "cheap" {
            let costs: Vec<f64> = receipt["candidates"].as_array().unwrap().iter().map(cost).collect();
            assert!(costs.is_sorted(), "{receipt}");
        }
        if preference != "Together AI" {
            assert_eq!(receipt["decision"]["strategy"], preference, "{receipt}");
        }
    }
    let reply = ask(&stack, &customer, "gpt-oss-120b", json!({ "provider": "quickest" })).await;
    assert_refused(&reply, "unknown_provider", "neither a preference nor a provider");
    stack.finish().await;
}

fn cost(line: &Value) -> f64 {
    line["est_cost_usd"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_hosts_really_do_is_what_the_preferences_go_by() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for provider in HOSTS {
        let slow = if provider == "together_ai" { 0 } else { 150 };
        for _ in 0..3 {
            stack.simulator.enqueue(provider, Script { latency_ms: slow, ..Script::default() });
            let mut body = hello(&format!("{provider}/gpt-oss-120b"));
            body["stream"] = json!(provider == "groq");
            assert_eq!(stack.chat(&customer.key, &body).await.status, 200, "{provider}");
        }
        stack.no_hold_is_open().await;
    }
    seen(&stack);
    for preference in ["latency", "fast"] {
        let reply = ask(&stack, &customer, "gpt-oss-120b", json!({ "provider": preference })).await;
        assert_eq!(reply.status, 200, "{reply}");
        assert_eq!(seen(&stack), ["together_ai platform-together_ai"], "{preference}");
    }
    // It begins to fail: others are more reliable now.
    for _ in 0..6 {
        stack.simulator.enqueue("together_ai", Script::failing(500));
        let model = "together_ai/gpt-oss-120b";
        ask(&stack, &customer, model, json!({ "retry": 0 })).await;
    }
    seen(&stack);
    ask(&stack, &customer, "gpt-oss-120b", json!({ "provider": "reliable" })).await;
    let call = seen(&stack).remove(0);
    assert!(!call.starts_with("together_ai"), "{call}");
    stack.finish().await;
}

#[tokio::test]
async fn a_customers_own_troubles_are_no_measure_of_a_provider() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for status in [401, 402, 403, 429] {
        for _ in 0..3 {
            stack.simulator.enqueue("groq", Script::failing(status));
            let asking = endpoints().remove(0).ask().field("model", json!("groq/gpt-oss-120b"));
            let reply = asking.key(Form::Extra, GOOD).extra("retry", json!(0)).send(&stack, &customer).await;
            assert_eq!(reply.status, status, "{reply}");
        }
    }
    let gateway = stack.gateway();
    assert_eq!(gateway.measurements.of("groq/gpt-oss-120b", gateway.now_ms()).success_permille, None);
    stack.finish().await;
}

#[tokio::test]
async fn each_model_is_tried_as_often_as_asked_before_the_next_with_growing_waits() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for status in [429, 503] {
        for _ in 0..3 {
            stack.simulator.enqueue("openai", Script::failing(status));
        }
        let extra =
            json!({ "retry": 2, "fallback_models": ["groq/gpt-oss-120b", "mistral/mistral-large-4"] });
        let reply = ask(&stack, &customer, "openai/gpt-4o-mini", extra).await;
        assert_eq!(reply.status, 200, "{reply}");
        assert_eq!(
            seen(&stack),
            [
                "openai platform-openai",
                "openai platform-openai",
                "openai platform-openai",
                "groq platform-groq"
            ]
        );
        let waited = reply.took;
        assert!(waited >= Duration::from_millis(1_200) && waited < Duration::from_secs(4), "{waited:?}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_brought_key_is_tried_as_often_as_asked_and_the_last_answer_comes_back() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for (retry, calls) in [(0, 1), (1, 2), (3, 4)] {
        stack.simulator.set_default("openai", Script::failing(503));
        let asking = endpoints().remove(0).ask().key(Form::Extra, GOOD).extra("retry", json!(retry));
        let reply = asking.send(&stack, &customer).await;
        assert_eq!(reply.status, 503, "{reply}");
        assert_eq!(seen(&stack), vec![format!("openai {GOOD}"); calls], "{retry}");
    }
    // What a second try cannot mend is not tried again.
    for status in [400, 401, 402, 403, 404] {
        stack.simulator.set_default("openai", Script::failing(status));
        let asking = endpoints().remove(0).ask().key(Form::Extra, GOOD).extra("retry", json!(5));
        assert_eq!(asking.send(&stack, &customer).await.status, status);
        assert_eq!(seen(&stack).len(), 1, "{status}");
    }
    for retry in [json!(6), json!(-1), json!("2"), json!(1.5)] {
        let reply = ask(&stack, &customer, "openai/gpt-4o-mini", json!({ "retry": retry })).await;
        assert_refused(&reply, "invalid_request", "retry");
        assert_eq!(reply.json()["error"]["param"], "extra.retry");
    }
    super::assert_no_money_moved(&stack).await;
    stack.finish().await;
}
