//! Providers that break off and a gateway that must stop: one clear end for the client, and the correct charge.

use super::{GPT, MISTRAL, ask, charge, close, cost, receipts_agree, the};
use crate::harness::{Frame, Stack, wait_until};
use kairosroute::simulator::Script;
use std::time::{Duration, Instant};

fn has_one_terminal_error(frames: &[Frame]) {
    let errors = frames.iter().filter(|frame| frame.text.starts_with("event: error\n")).count();
    assert_eq!(errors, 1, "{frames:?}");
    assert!(!frames.iter().any(Frame::is_done), "{frames:?}");
    let last = frames.last().unwrap().json();
    assert!(last["error"]["message"].is_string() && last["detail"].is_string(), "{last}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_ends_in_one_error_and_is_billed_as_far_as_it_went() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    for chunks in [1, 7, 60] {
        let scripts = [
            Script { error_after: Some(chunks), ..the(100) },
            Script { cut_after: Some(chunks), ..the(100) },
            Script { cut_after: Some(chunks), split_bytes: Some(11), ..the(100) },
        ];
        for script in scripts {
            stack.simulator.clear();
            stack.simulator.enqueue("openai", script);
            let mut stream = stack.stream(&customer.key, &ask(GPT.model)).await;
            let receipt = stream.receipt_id().to_owned();
            let frames = stream.rest().await;
            has_one_terminal_error(&frames);
            let relayed = frames.iter().filter(|frame| !frame.content().is_empty()).count();
            assert_eq!(relayed, chunks);
            let receipt = stack.receipt(&customer.key, &receipt).await;
            let usage = &receipt["usage"];
            assert_eq!((&usage["basis"], &usage["output"]), (&"counted".into(), &chunks.into()), "{receipt}");
            let (call, prompt) = (stack.simulator.bill().pop().unwrap(), usage["input"].as_u64().unwrap());
            assert_eq!(call.completion_tokens, u64::try_from(chunks).unwrap());
            assert_eq!(receipt["charged_nano_usd"], charge(cost(GPT, prompt, 0, call.completion_tokens)));
        }
    }
    close(stack).await;
}

#[tokio::test]
async fn a_unary_answer_that_breaks_off_is_not_bought_again_from_the_same_host_and_costs_nothing() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let (before, _) = stack.account(&customer.organization_id).await;
    stack.simulator.enqueue("openai", Script { cut_after: Some(1), ..Script::default() });
    let reply = stack.chat(&customer.key, &ask(GPT.model)).await;
    assert_eq!((reply.status, reply.header("x-kairosroute-attempts")), (502, "1"), "{reply}");
    assert_eq!(stack.simulator.bill().len(), 1);
    assert_eq!(super::spent_since(&stack, &customer, before).await, 0);
    close(stack).await;
}

#[tokio::test]
async fn silence_in_the_middle_of_an_answer_ends_it() {
    let stack = Stack::builder()
        .env("KAIROSROUTE_IDLE_TIMEOUT_MS", "700")
        .env("KAIROSROUTE_HEARTBEAT_MS", "200")
        .start()
        .await;
    let customer = stack.customer("10").await;
    stack.simulator.enqueue("openai", the(2).with_gap_ms(20_000));
    let mut stream = stack.stream(&customer.key, &ask(GPT.model)).await;
    let frames = stream.rest().await;
    has_one_terminal_error(&frames);
    assert_eq!(frames.last().unwrap().json()["error"]["code"], "upstream_timeout");
    assert!(frames.iter().filter(|frame| frame.is_comment()).count() >= 2, "heartbeats: {frames:?}");
    close(stack).await;
}

#[tokio::test]
async fn a_gateway_told_to_stop_lets_short_answers_end_and_bills_the_long_ones() {
    let mut stack = Stack::builder().env("KAIROSROUTE_SHUTDOWN_TIMEOUT_MS", "4000").start_child().await;
    let customer = stack.customer("10").await;
    let mut streams = Vec::new();
    for index in 0..12 {
        let long = index % 2 == 1;
        let script = if long { the(4_000).with_gap_ms(50) } else { the(20).with_gap_ms(50) };
        stack.simulator.enqueue("openai", script);
        streams.push((long, stack.stream(&customer.key, &ask(GPT.model)).await));
    }
    let told = Instant::now();
    stack.terminate();
    // It reports this at once, and continues to report it while the running answers take time.
    wait_until("the gateway to take no more requests", async || {
        stack.request("GET", "/readyz").try_send().await.map_or(true, |reply| reply.status == 503)
    })
    .await;
    assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
    wait_until("new requests to be refused", async || {
        let refused = stack.chat(&customer.key, &ask(MISTRAL.model)).await;
        assert!(matches!(refused.status, 200 | 503) && refused.took < Duration::from_secs(1), "{refused}");
        refused.status == 503
    })
    .await;
    let served_meanwhile = i64::try_from(stack.simulator.bill().len()).unwrap() - 12;
    for (long, mut stream) in streams {
        let frames = stream.rest().await;
        if long {
            has_one_terminal_error(&frames);
        } else {
            assert!(frames.last().unwrap().is_done(), "{frames:?}");
        }
    }
    let status = stack.wait().await;
    assert_eq!(status.code(), Some(0), "{}", stack.log());
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    let database = stack.database();
    assert_eq!(
        database.number("SELECT count(*) FROM hold WHERE state = 'settled' AND charge > 0").await,
        12 + served_meanwhile
    );
    assert_eq!(database.number("SELECT count(*) FROM hold WHERE state <> 'settled'").await, 0);
    assert_eq!(
        database.number("SELECT count(*) FROM receipt WHERE document->>'usage' IS NOT NULL").await,
        12 + served_meanwhile
    );
    receipts_agree(&stack).await;
    stack.audit_is_clean().await;
}

#[tokio::test]
async fn what_runs_without_a_stream_or_without_a_client_ends_well_at_a_stop_too() {
    let mut stack = Stack::builder().env("KAIROSROUTE_SHUTDOWN_TIMEOUT_MS", "3000").start_child().await;
    let customer = stack.customer("10").await;
    stack.simulator.enqueue("openai", Script { latency_ms: 900, ..Script::default().with_tokens(3, 4) });
    let (client, key) = (stack.client.clone(), customer.key.clone());
    let unary = tokio::spawn(async move { client.chat(&key, &ask(GPT.model)).await });
    // This answer is read to its usage without its client, and has not reached it.
    stack.simulator.enqueue("mistral", the(400).with_gap_ms(50));
    let mut left = stack.stream(&customer.key, &ask(MISTRAL.model)).await;
    while left.next().await.unwrap().content().is_empty() {}
    drop(left);
    wait_until("both to be running", async || stack.simulator.bill().len() == 2).await;
    stack.terminate();
    let reply = unary.await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    assert_eq!(super::nano(reply.header("x-kairosroute-cost")), charge(cost(GPT, 3, 0, 4)));
    let status = stack.wait().await;
    assert_eq!(status.code(), Some(0), "{}", stack.log());
    let settled = "SELECT count(*) FROM hold WHERE state = 'settled' AND charge > 0";
    assert_eq!(stack.database().number(settled).await, 2);
    receipts_agree(&stack).await;
    stack.audit_is_clean().await;
}
