//! The other processes learn a few seconds later what one process has measured about a host.

use crate::harness::{Customer, Node, Stack, hello, wait_until};
use kairosroute::simulator::Script;
use serde_json::json;

const MODEL: &str = "gpt-oss-120b";

/// The host of a bare name at this process.
async fn first_host(node: &Node, customer: &Customer) -> String {
    let plan = node.post("/v1/route", &customer.key, &hello(MODEL)).await.json();
    plan["decision"]["model_id"].as_str().unwrap_or_else(|| panic!("{plan}")).to_owned()
}

#[tokio::test]
async fn a_host_that_fails_for_one_process_is_set_aside_by_the_others() {
    let stack = Stack::start().await;
    let other = stack.second_node().await;
    let (one, two) = (stack.customer("1").await, stack.customer("1").await);
    let cheapest = first_host(&other, &one).await;
    let provider = cheapest.split_once('/').unwrap().0;
    // Five calls in a row fail, of two organizations, all at the first process.
    for customer in [&one, &two, &one, &two, &one] {
        stack.simulator.enqueue(provider, Script::failing(503));
        let mut body = hello(&cheapest);
        body["extra"] = json!({ "retry": 0 });
        assert_eq!(stack.chat(&customer.key, &body).await.status, 503);
    }
    let third = stack.customer("1").await;
    wait_until("the other process to know", async || first_host(&other, &third).await != cheapest).await;
    let reply = other.post("/v1/chat/completions", &third.key, &hello(MODEL)).await;
    assert_eq!(reply.status, 200, "{reply}");
    assert_ne!(reply.header("x-kairosroute-provider"), provider);
    // Its figures are exchanged too: a process that starts now has them at once.
    let mut late = stack.second_node().await;
    wait_until("a new process to have read them", async || {
        let rows = late.get("/v1/performance", &third.key).await.json();
        rows["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["model_id"] == cheapest.as_str() && row["failures"] == 5)
    })
    .await;
    late.stop().await;
    drop(other);
    stack.finish().await;
}
