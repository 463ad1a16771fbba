//! Requests that are refused before any server is called, and requests whose key is revoked between two turns.

use super::{MODEL, Server, call, opened, with_servers};
use crate::{
    harness::wait_until,
    money::{GPT, charge, cost, nano},
};
use kairosroute::simulator::Script;
use serde_json::{Value, json};

#[tokio::test]
async fn servers_are_dialed_only_for_what_would_be_served() {
    let stack = opened().no_platform_keys().platform_key("openai", "platform-openai").start().await;
    let server = Server::start().await;
    let (customer, poor) = (stack.customer("5").await, stack.customer("0").await);
    let body = with_servers(MODEL, &[&server.url]);
    let with = |name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body
    };
    for streamed in [false, true] {
        for (key, body, status, code) in [
            (&customer, with("messages", json!([])), 400, "invalid_request"),
            (&customer, with("temperature", json!("hot")), 400, "invalid_request"),
            (&customer, with("service_tier", json!("batch")), 400, "invalid_request"),
            (&customer, with("model", json!("nobody/nothing-1")), 400, "unknown_provider"),
            (&customer, with("model", json!("groq/gpt-oss-120b")), 400, "no_models_available"),
            (&poor, body.clone(), 402, "insufficient_credits"),
        ] {
            let mut body = body.clone();
            body["stream"] = json!(streamed);
            let reply = stack.chat(&key.key, &body).await;
            assert_eq!((reply.status, reply.code().as_str()), (status, code), "{reply}");
            // No action was taken that could be taken twice.
            assert_eq!(reply.header("x-should-retry"), "", "{reply}");
            let receipt = stack.receipt(&key.key, reply.receipt_id()).await;
            assert_eq!(receipt["execution"]["status"], "failed", "{receipt}");
        }
    }
    assert!(server.seen.headers.lock().unwrap().is_empty(), "nobody was dialed");
    assert!(stack.simulator.bill().is_empty());
    // An own key needs no credit, and a request that names a server's tool is checked in the turn that has the tool.
    stack.set_provider_keys(&poor, &json!({ "OpenAI": "sk-proj-own" })).await;
    stack.simulator.enqueue("openai", Script::tools(vec![call("a", "tide", "{}")]));
    let body = with("tool_choice", json!({ "type": "function", "function": { "name": "tide" } }));
    let reply = stack.chat(&poor.key, &body).await;
    assert_eq!(reply.status, 200, "{reply}");
    assert_eq!(reply.json()["tools_executed"], json!(["tide"]), "{reply}");
    stack.finish().await;
}

#[tokio::test]
async fn a_key_that_is_revoked_while_a_tool_runs_starts_no_further_turn() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let charged = charge(cost(GPT, 500, 0, 50));
    for (round, streamed) in [(1, false), (2, true)] {
        let customer = stack.customer("5").await;
        let script = Script::tools(vec![call("a", "slow", "{}")]).with_tokens(500, 50);
        stack.simulator.enqueue("openai", script);
        let mut body = with_servers(MODEL, &[&server.url]);
        body["stream"] = json!(streamed);
        let (client, key) = (stack.client.clone(), customer.key.clone());
        let asked = tokio::spawn(async move { client.chat(&key, &body).await });
        wait_until("the tool to run", async || server.calls().len() == round).await;
        let path = format!("/api/auth/keys/{}", customer.key_id);
        assert_eq!(stack.delete(&path, &customer.session).await.status, 200);
        server.seen.gate.add_permits(1);
        let reply = asked.await.unwrap();
        if streamed {
            assert_eq!(reply.status, 200, "{reply}");
            assert!(reply.text().contains("event: error"), "{reply}");
            assert!(reply.text().contains(r#""code":"invalid_api_key""#), "{reply}");
        } else {
            assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_api_key"), "{reply}");
            assert_eq!(reply.header("x-should-retry"), "false", "{reply}");
            assert_eq!(nano(reply.header("x-kairosroute-cost")), charged, "{reply}");
        }
        let told = "SELECT count(*) FROM receipt WHERE document->'execution'->>'status' = 'aborted'";
        let round = i64::try_from(round).unwrap();
        wait_until("the receipt", async || stack.database.number(told).await == round).await;
        stack.no_hold_is_open().await;
        assert_eq!(stack.account(&customer.organization_id).await, (5_000_000_000 - charged, 0));
    }
    assert_eq!(stack.simulator.bill().len(), 2, "the first turn of each");
    stack.finish().await;
}

#[tokio::test]
async fn what_is_changed_about_a_key_while_a_tool_runs_holds_for_the_next_turn() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-proj-old" })).await;
    stack.simulator.enqueue("openai", Script::tools(vec![call("a", "slow", "{}")]));
    let body = with_servers(MODEL, &[&server.url]);
    let (client, key) = (stack.client.clone(), customer.key.clone());
    let asked = tokio::spawn(async move { client.chat(&key, &body).await });
    wait_until("the tool to run", async || server.calls().len() == 1).await;
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-proj-new" })).await;
    server.seen.gate.add_permits(1);
    let reply = asked.await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    let bill = stack.simulator.bill();
    let keys: Vec<&str> = bill.iter().map(|call| call.authorization.as_str()).collect();
    assert_eq!(keys, ["sk-proj-old", "sk-proj-new"]);
    stack.finish().await;
}
