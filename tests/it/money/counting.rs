//! Counting a prompt is free for the customer; the test checks whose rate limit at the provider it uses.

use super::close;
use crate::harness::{Customer, Reply, Stack, wait_until};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const PATH: &str = "/v1/messages/count_tokens";
/// Maximum concurrent counts on platform keys.
const LENT: usize = 16;

fn body() -> Value {
    json!({"model": "anthropic/claude-sonnet-5", "messages": [{"role": "user", "content": "How many?"}]})
}

async fn count(stack: &Stack, customer: &Customer) -> Reply {
    let reply = stack.post(PATH, &customer.key, &body()).await;
    assert_eq!(reply.status, 200, "{reply}");
    assert!(reply.json()["input_tokens"].as_u64().unwrap() > 0, "{reply}");
    reply
}

#[tokio::test]
async fn the_platform_s_account_counts_for_who_has_credit_and_an_own_key_for_its_owner() {
    let stack = Stack::start().await;
    for (credit, own_key, basis, asked) in
        [("0", false, "counted", 0), ("0", true, "reported", 1), ("0.01", false, "reported", 1)]
    {
        let customer = stack.customer(credit).await;
        if own_key {
            stack.set_provider_keys(&customer, &json!({ "Anthropic": "sk-ant-own" })).await;
        }
        let reply = count(&stack, &customer).await;
        assert_eq!(reply.header("x-kairosroute-basis"), basis, "{credit} {own_key} {reply}");
        assert_eq!(stack.simulator.bill().len(), asked);
        stack.simulator.clear();
    }
    close(stack).await;
}

#[tokio::test]
async fn only_so_many_counts_wait_for_a_provider_and_the_others_are_made_here() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    stack.simulator.set_default("anthropic", Script::default().gated());
    let mut counts = JoinSet::new();
    for _ in 0..LENT {
        let (client, key) = (stack.client.clone(), customer.key.clone());
        counts.spawn(async move { client.post(PATH, &key, &body()).await });
    }
    wait_until("the counts to be at the gate", async || stack.simulator.waiting() == LENT).await;
    assert_eq!(count(&stack, &customer).await.header("x-kairosroute-basis"), "counted");
    stack.simulator.set_default("anthropic", Script::default());
    stack.simulator.release();
    while let Some(reply) = counts.join_next().await {
        assert_eq!(reply.unwrap().header("x-kairosroute-basis"), "reported");
    }
    assert_eq!(count(&stack, &customer).await.header("x-kairosroute-basis"), "reported");
    close(stack).await;
}
