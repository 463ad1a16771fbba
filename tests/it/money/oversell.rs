//! Credit is never held twice, for any number of concurrent requests.

use super::{GPT, ask, close};
use crate::harness::{Client, Stack, wait_until};
use kairosroute::simulator::Script;
use serde_json::json;
use std::sync::Arc;
use tokio::{sync::Semaphore, task::JoinSet};

const CLIENTS: usize = 64;
const TRIES: usize = 20;
const AFFORDABLE: usize = 10;

#[tokio::test]
async fn credit_for_ten_answers_admits_exactly_ten_of_many_at_three_gateways() {
    let stack = Stack::start().await;
    let others = [stack.second_node().await, stack.second_node().await];
    let gateways = [stack.client.clone(), Client::clone(&others[0]), Client::clone(&others[1])];
    let body = ask(GPT.model);
    let probe = stack.customer("10").await;
    assert_eq!(stack.chat(&probe.key, &body).await.status, 200);
    let size = stack.database.number("SELECT amount FROM hold").await;
    let customer = stack.customer("0").await;
    let credit = size * i64::try_from(AFFORDABLE).unwrap();
    stack.grant(&customer.organization_id, &format!("0.{credit:09}")).await;
    stack.simulator.set_default("openai", Script::default().gated());

    // The admitted requests wait at the gate; the free places are the clients that continue to send.
    let places = Arc::new(Semaphore::new(CLIENTS + AFFORDABLE));
    let mut tries = JoinSet::new();
    for index in 0..CLIENTS * TRIES {
        let (client, key, body, places) =
            (gateways[index % gateways.len()].clone(), customer.key.clone(), body.clone(), places.clone());
        tries.spawn(async move {
            let _place = places.acquire().await.unwrap();
            client.chat(&key, &body).await
        });
    }
    let mut refused = 0;
    while refused < CLIENTS * TRIES - AFFORDABLE {
        let reply = tries.join_next().await.unwrap().unwrap();
        assert_eq!((reply.status, reply.code().as_str()), (402, "insufficient_credits"), "{reply}");
        refused += 1;
    }
    wait_until("those admitted to be at the gate", async || stack.simulator.waiting() == AFFORDABLE).await;
    assert_eq!(stack.account(&customer.organization_id).await, (credit, credit), "all of it is set aside");
    stack.simulator.release();
    while let Some(reply) = tries.join_next().await {
        assert_eq!(reply.unwrap().status, 200);
    }
    assert_eq!(stack.simulator.bill().len(), AFFORDABLE + 1);
    println!("bar 2: of {} tries at 3 gateways {AFFORDABLE} admitted, {refused} refused", CLIENTS * TRIES);
    drop(others);
    close(stack).await;
}

#[tokio::test]
async fn a_large_request_that_is_refused_does_not_keep_a_small_one_out() {
    let stack = Stack::start().await;
    let customer = stack.customer("0.01").await;
    let mut small = ask(GPT.model);
    small["max_tokens"] = json!(10);
    let mut large = ask(GPT.model);
    large["max_tokens"] = json!(100_000);
    for _ in 0..5 {
        let (refused, served) =
            tokio::join!(stack.chat(&customer.key, &large), stack.chat(&customer.key, &small));
        assert_eq!((refused.status, served.status), (402, 200), "{refused} {served}");
    }
    close(stack).await;
}
