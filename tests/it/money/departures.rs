//! Clients that disconnect: how soon the gateway notices, what the provider receives, and what is charged.

use super::{GPT, GROQ, MISTRAL, ask, charge, close, cost, the};
use crate::harness::{Customer, Stack, hello, sized, wait_for, wait_until};
use kairosroute::simulator::{Call, Script};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The receipt that the only request of the database left.
async fn only_receipt(stack: &Stack) -> Value {
    wait_for("the receipt", async || {
        let receipts = stack.database.texts("SELECT document::text FROM receipt").await;
        receipts.first().map(|text| serde_json::from_str(text).unwrap())
    })
    .await
}

async fn provider_is_left_within(stack: &Stack, limit: Duration) -> Call {
    let since = Instant::now();
    let call = wait_for("the provider's connection to close", async || {
        stack.simulator.bill().pop().filter(|call| call.cancelled)
    })
    .await;
    assert!(since.elapsed() < limit, "it took {:?}", since.elapsed());
    call
}

#[tokio::test]
async fn who_leaves_a_stream_pays_for_what_was_produced_and_the_provider_is_hung_up_on() {
    for streamed_first in [1, 40] {
        let stack = Stack::start().await;
        let customer = stack.customer("10").await;
        stack.simulator.enqueue("openai", the(500).with_gap_ms(10));
        let mut stream = stack.stream(&customer.key, &ask(GPT.model)).await;
        let mut read = 0;
        while read < streamed_first {
            read += u64::from(!stream.next().await.unwrap().content().is_empty());
        }
        drop(stream);
        let call = provider_is_left_within(&stack, Duration::from_millis(500)).await;
        let receipt = only_receipt(&stack).await;
        let usage = &receipt["usage"];
        assert_eq!(
            (&usage["basis"], &receipt["execution"]["status"]),
            (&"counted".into(), &"aborted".into())
        );
        let (prompt, output) = (usage["input"].as_u64().unwrap(), usage["output"].as_u64().unwrap());
        assert!(
            (read..=call.completion_tokens).contains(&output),
            "{read} {output} {}",
            call.completion_tokens
        );
        assert_eq!(receipt["charged_nano_usd"], charge(cost(GPT, prompt, 0, output)));
        close(stack).await;
    }
}

#[tokio::test]
async fn a_provider_that_bills_to_the_end_is_read_to_its_usage() {
    for price in [MISTRAL, GROQ] {
        let stack = Stack::start().await;
        let customer = stack.customer("10").await;
        let provider = price.model.split('/').next().unwrap();
        stack.simulator.enqueue(provider, Script::long(60).with_gap_ms(10).with_tokens(20, 60));
        let mut stream = stack.stream(&customer.key, &ask(price.model)).await;
        stream.next().await.unwrap();
        drop(stream);
        let receipt = only_receipt(&stack).await;
        let call = stack.simulator.bill().pop().unwrap();
        assert!(call.finished && !call.cancelled, "{call:?}");
        assert_eq!(receipt["usage"]["basis"], "reported", "{receipt}");
        assert_eq!(receipt["execution"]["status"], "aborted");
        assert_eq!(receipt["charged_nano_usd"], charge(cost(price, 20, 0, call.completion_tokens)));
        close(stack).await;
    }
}

#[tokio::test]
async fn a_drain_that_finds_no_end_is_given_up_and_counted() {
    let stack = Stack::builder().env("KAIROSROUTE_DRAIN_TIMEOUT_MS", "300").start().await;
    let customer = stack.customer("10").await;
    stack.simulator.enqueue("groq", the(100_000).with_gap_ms(10));
    let mut stream = stack.stream(&customer.key, &ask(GROQ.model)).await;
    stream.next().await.unwrap();
    drop(stream);
    let call = provider_is_left_within(&stack, Duration::from_secs(2)).await;
    let receipt = only_receipt(&stack).await;
    let usage = &receipt["usage"];
    assert_eq!(usage["basis"], "counted");
    assert!((1..=call.completion_tokens).contains(&usage["output"].as_u64().unwrap()), "{usage} {call:?}");
    close(stack).await;
}

#[tokio::test]
async fn who_leaves_before_the_first_byte_is_noticed_at_once_and_pays_nothing() {
    for streamed in [false, true] {
        let stack = Stack::start().await;
        let customer = stack.customer("10").await;
        let (before, _) = stack.account(&customer.organization_id).await;
        stack.simulator.enqueue("openai", Script::default().gated());
        leave_at_the_gate(&stack, &customer, GPT.model, streamed).await;
        provider_is_left_within(&stack, Duration::from_secs(1)).await;
        stack.no_hold_is_open().await;
        assert_eq!(stack.account(&customer.organization_id).await, (before, 0));
        assert_eq!(only_receipt(&stack).await["execution"]["status"], "failed");
        close(stack).await;
    }
}

async fn leave_at_the_gate(stack: &Stack, customer: &Customer, model: &str, streamed: bool) {
    let mut body = hello(model);
    body["stream"] = streamed.into();
    let (client, key) = (stack.client.clone(), customer.key.clone());
    let waiting = tokio::spawn(async move { client.chat(&key, &body).await });
    wait_until("the provider to be called", async || stack.simulator.waiting() == 1).await;
    waiting.abort();
    let _ = waiting.await;
}

#[tokio::test]
async fn who_leaves_a_silent_stream_is_noticed_at_once() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    stack.simulator.enqueue("openai", the(3).with_gap_ms(25_000));
    let mut stream = stack.stream(&customer.key, &ask(GPT.model)).await;
    while stream.next().await.unwrap().content().is_empty() {}
    drop(stream);
    provider_is_left_within(&stack, Duration::from_secs(1)).await;
    let receipt = only_receipt(&stack).await;
    assert_eq!((&receipt["usage"]["output"], &receipt["usage"]["basis"]), (&1.into(), &"counted".into()));
    close(stack).await;
}

#[tokio::test]
async fn leaving_at_any_point_is_billed_once_and_within_what_the_provider_emitted() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let mut received = Vec::new();
    let rounds = sized(36_usize, 360);
    for round in 0..rounds {
        stack.simulator.enqueue("openai", the(24).with_gap_ms(2).with_tokens(9, 24));
        let mut stream = stack.stream(&customer.key, &ask(GPT.model)).await;
        let receipt = stream.receipt_id().to_owned();
        let mut read = 0;
        // The last rounds read the finish, and one of them the end mark as well.
        for _ in 0..round % 36 {
            match stream.next().await {
                Some(frame) => read += u64::from(!frame.content().is_empty()),
                None => break,
            }
        }
        drop(stream);
        received.push((receipt, read));
    }
    stack.no_hold_is_open().await;
    let calls = stack.simulator.bill();
    let (mut read_tokens, mut billed_tokens, mut emitted_tokens) = (0, 0, 0);
    for ((receipt, read), call) in received.iter().zip(&calls) {
        let receipt = stack.receipt(&customer.key, receipt).await;
        let usage = &receipt["usage"];
        let output = usage["output"].as_u64().unwrap();
        assert!((*read..=call.completion_tokens).contains(&output), "{read} {output} {call:?}");
        assert!(output >= 1, "the first content commits");
        (read_tokens, billed_tokens) = (read_tokens + read, billed_tokens + output);
        emitted_tokens += call.completion_tokens;
        let prompt = if usage["basis"] == "reported" { 9 } else { usage["input"].as_u64().unwrap() };
        assert_eq!(receipt["charged_nano_usd"], charge(cost(GPT, prompt, 0, output)));
    }
    let rounds = i64::try_from(rounds).unwrap();
    assert_eq!(stack.database.number("SELECT count(*) FROM usage").await, rounds);
    assert_eq!(stack.database.number("SELECT count(*) FROM entry WHERE kind = 'charge'").await, rounds);
    close(stack).await;
    println!(
        "bar 7: {rounds} departures: {read_tokens} tokens read, {billed_tokens} billed, {emitted_tokens} emitted"
    );
}

#[tokio::test]
async fn an_answer_that_is_billed_anyway_is_awaited_for_its_bill_though_nobody_else_waits() {
    for (price, streamed) in [(MISTRAL, false), (MISTRAL, true), (GROQ, false)] {
        let stack = Stack::start().await;
        let customer = stack.customer("10").await;
        let (before, _) = stack.account(&customer.organization_id).await;
        let provider = price.model.split('/').next().unwrap();
        // Released, it still takes longer than a disconnect may stay unnoticed.
        let script = Script { latency_ms: 1_500, ..Script::default().with_tokens(123, 45) };
        stack.simulator.enqueue(provider, script.gated());
        leave_at_the_gate(&stack, &customer, price.model, streamed).await;
        stack.simulator.release();
        let receipt = only_receipt(&stack).await;
        assert_eq!(receipt["execution"]["status"], "aborted", "{receipt}");
        let expected = charge(cost(price, 123, 0, 45));
        assert_eq!(
            (&receipt["usage"]["basis"], &receipt["charged_nano_usd"]),
            (&"reported".into(), &expected.into())
        );
        stack.no_hold_is_open().await;
        assert_eq!(stack.account(&customer.organization_id).await, (before - expected, 0));
        assert!(stack.simulator.bill().pop().unwrap().finished);
        close(stack).await;
    }
}

#[tokio::test]
async fn a_failure_that_nobody_waits_for_costs_nothing_and_is_not_tried_again() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let (before, _) = stack.account(&customer.organization_id).await;
    stack.simulator.enqueue("mistral", Script { gate: true, latency_ms: 1_500, ..Script::failing(503) });
    leave_at_the_gate(&stack, &customer, MISTRAL.model, false).await;
    stack.simulator.release();
    stack.no_hold_is_open().await;
    assert_eq!(only_receipt(&stack).await["execution"]["status"], "failed");
    assert_eq!(stack.account(&customer.organization_id).await, (before, 0));
    assert_eq!(stack.simulator.bill().len(), 1);
    close(stack).await;
}
