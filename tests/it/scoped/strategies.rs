//! `extra.provider` as a preference among hosts, `extra.fallback_models` and `extra.retry`.

use super::{Form, GOOD, assert_refused, endpoints, seen};
use crate::harness::{Customer, Reply, Stack, hello};
use kairosroute::{
    routing::host_stats::{HostStats, Sample},
    simulator::Script,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

const HOSTS: [&str; 3] = ["groq", "cerebras", "together_ai"];

async fn ask(stack: &Stack, customer: &Customer, model: &str, extra: Value) -> Reply {
    let mut body = hello(model);
    body["extra"] = extra;
    stack.chat(&customer.key, &body).await
}

/// As if these hosts of one model had these results.
fn measured(
    stack: &Stack,
    customer: &Customer,
    provider: &str,
    latency_ms: u64,
    speed: u64,
    failures: usize,
) {
    let gateway = stack.gateway();
    let (id, org) = (host(provider), customer.organization_id.parse().unwrap());
    let sample = Sample::Answered { latency_ms: Some(latency_ms), tokens_per_second: Some(speed) };
    for _ in 0..10 - failures {
        gateway.measurements.note(&id, org, gateway.now_ms(), sample);
    }
    for _ in 0..failures {
        gateway.measurements.note(&id, org, gateway.now_ms(), Sample::Failed);
    }
}

fn host(provider: &str) -> Arc<str> {
    format!("{provider}/gpt-oss-120b").into()
}

fn known(stack: &Stack, id: &str) -> HostStats {
    let gateway = stack.gateway();
    gateway.measurements.of(id, gateway.now_ms())
}

/// Lets a host answer this, streamed or whole, read to its end and recorded.
async fn answers(stack: &Stack, customer: &Customer, provider: &str, streamed: bool, script: &Script) {
    for _ in 0..3 {
        stack.simulator.enqueue(provider, script.clone());
        let body = hello(&host(provider));
        if streamed {
            let frames = stack.stream(&customer.key, &body).await.rest().await;
            assert!(frames.last().unwrap().is_done(), "{frames:?}");
        } else {
            assert_eq!(stack.chat(&customer.key, &body).await.status, 200, "{provider}");
        }
    }
    stack.no_hold_is_open().await;
    seen(stack);
}

/// The provider that serves with this preference.
async fn preferred(stack: &Stack, customer: &Customer, preference: &str) -> String {
    let reply = ask(stack, customer, "gpt-oss-120b", json!({ "provider": preference })).await;
    assert_eq!(reply.status, 200, "{preference}: {reply}");
    let call = seen(stack).remove(0);
    call.split_once(' ').unwrap().0.to_owned()
}

#[tokio::test]
async fn each_preference_picks_its_host_among_those_of_the_same_weights() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    measured(&stack, &customer, "groq", 900, 900, 2);
    measured(&stack, &customer, "cerebras", 50, 300, 5);
    measured(&stack, &customer, "together_ai", 500, 200, 0);
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
        let script = Script { latency_ms: slow, ..Script::default() };
        answers(&stack, &customer, provider, true, &script).await;
    }
    for preference in ["latency", "fast", "throughput"] {
        assert_eq!(preferred(&stack, &customer, preference).await, "together_ai", "{preference}");
    }
    // It begins to fail: others are more reliable now.
    for _ in 0..6 {
        stack.simulator.enqueue("together_ai", Script::failing(500));
        let model = "together_ai/gpt-oss-120b";
        ask(&stack, &customer, model, json!({ "retry": 0 })).await;
    }
    seen(&stack);
    assert_ne!(preferred(&stack, &customer, "reliable").await, "together_ai");
    stack.finish().await;
}

#[tokio::test]
async fn a_burst_is_no_speed_and_an_answer_is_measured_alike_streamed_or_whole() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    // Both take a third of a second from the call to the last byte; one writes fifty times as much in it.
    let of = |tokens| Script { first_byte_ms: 300, ..Script::default().with_tokens(12, tokens) };
    answers(&stack, &customer, "groq", true, &of(20)).await;
    answers(&stack, &customer, "cerebras", false, &of(1_000)).await;
    for preference in ["throughput", "fast"] {
        assert_eq!(preferred(&stack, &customer, preference).await, "cerebras", "{preference}");
    }
    let (burst, whole) = (known(&stack, &host("groq")), known(&stack, &host("cerebras")));
    assert!((1..=67).contains(&burst.tokens_per_second.unwrap()), "{burst:?}");
    assert!((68..=3_334).contains(&whole.tokens_per_second.unwrap()), "{whole:?}");
    // The first byte of a whole answer is the end of its generation, and not a latency.
    assert!(burst.latency_ms.unwrap() >= 300, "{burst:?}");
    assert_eq!(whole.latency_ms, None);
    stack.finish().await;
}

#[tokio::test]
async fn latency_is_the_first_content_and_not_what_comes_before_or_after_it() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    // One starts its stream at once and then reasons; the other begins to write soon, and writes for long.
    let early = Script { first_byte_ms: 400, comments: true, ..Script::default() };
    answers(&stack, &customer, "groq", true, &early).await;
    answers(&stack, &customer, "cerebras", true, &Script::default().with_gap_ms(100)).await;
    let (early, long) = (known(&stack, &host("groq")), known(&stack, &host("cerebras")));
    assert!(early.latency_ms.unwrap() >= 400, "{early:?}");
    assert!(long.latency_ms.unwrap() < 400, "{long:?}");
    assert_eq!(preferred(&stack, &customer, "latency").await, "cerebras");
    assert_eq!(preferred(&stack, &customer, "throughput").await, "groq", "it was done sooner");
    stack.finish().await;
}

#[tokio::test]
async fn where_nothing_is_written_in_tokens_the_first_byte_of_the_whole_answer_counts() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for _ in 0..3 {
        stack.simulator.enqueue("openai", Script { latency_ms: 200, ..Script::default() });
        let body = json!({ "model": "openai/text-embedding-3-small", "input": "Hello" });
        assert_eq!(stack.post("/v1/embeddings", &customer.key, &body).await.status, 200);
    }
    let measured = known(&stack, "openai/text-embedding-3-small");
    assert!(measured.latency_ms.unwrap() >= 200, "{measured:?}");
    assert_eq!(measured.tokens_per_second, None);
    stack.finish().await;
}

#[tokio::test]
async fn a_client_that_takes_its_time_tells_nothing_about_the_hosts_speed() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    // More than all the buffers between the provider and the client can hold.
    let piece = "word ".repeat(13_000);
    let script = Script { chunks: vec![piece; 250], ..Script::default().with_tokens(12, 5_000) };
    let mut body = hello(&host("groq"));
    body["stream"] = json!(true);
    let body = body.to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        customer.key,
        body.len()
    );
    for _ in 0..3 {
        stack.simulator.enqueue("groq", script.clone());
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let mut client = socket.connect(stack.address).await.unwrap();
        client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = vec![0; 1_000];
        client.read_exact(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        // Its own pace.
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.read_to_end(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer).contains("[DONE]"));
    }
    stack.no_hold_is_open().await;
    let measured = known(&stack, &host("groq"));
    assert_eq!((measured.success_permille, measured.tokens_per_second), (Some(1_000), None));
    assert!(measured.latency_ms.is_some());
    stack.finish().await;
}

#[tokio::test]
async fn one_organization_does_not_settle_the_order_for_the_others() {
    let stack = Stack::start().await;
    let bad = Script { first_byte_ms: 400, ..Script::default() };
    let mut customers = Vec::new();
    for _ in 0..3 {
        customers.push(stack.customer("1").await);
    }
    for customer in &customers {
        answers(&stack, customer, "cerebras", true, &Script { first_byte_ms: 150, ..Script::default() })
            .await;
        answers(&stack, customer, "groq", true, &Script::default()).await;
    }
    // As often as it wants.
    for _ in 0..2 {
        answers(&stack, &customers[0], "groq", true, &bad).await;
    }
    for _ in 0..6 {
        stack.simulator.enqueue("groq", Script::failing(500));
        ask(&stack, &customers[0], &host("groq"), json!({ "retry": 0 })).await;
    }
    seen(&stack);
    for preference in ["latency", "throughput", "fast"] {
        // It has paused the host only for itself.
        assert_eq!(preferred(&stack, &customers[1], preference).await, "groq", "{preference}");
    }
    assert_eq!(known(&stack, &host("groq")).success_permille, Some(1_000));
    stack.finish().await;
}

#[tokio::test]
async fn names_that_the_catalogue_does_not_know_are_not_measured() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for status in [200, 503] {
        for _ in 0..3 {
            stack.simulator.enqueue("openai", Script::failing(status));
            let asking = endpoints().remove(0).ask().field("model", json!("openai/made-up-7"));
            let reply = asking.key(Form::Extra, GOOD).extra("retry", json!(0)).send(&stack, &customer).await;
            assert_eq!(reply.status, status, "{reply}");
        }
        assert_eq!(known(&stack, "openai/made-up-7"), HostStats::default(), "{status}");
    }
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
    assert_eq!(known(&stack, &host("groq")).success_permille, None);
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
    // A failure that a second try cannot fix is not retried.
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
