//! What becomes of the money when a request of several turns is cut short or changes its payer: every turn that was
//! answered is paid once, by whose key served it, and nobody is invited to do all of it again.

use super::{MODEL, Server, ask, call, opened, with_servers};
use crate::harness::{hello, wait_until};
use kairosroute::simulator::Script;
use serde_json::json;

const MISTRALS: &str = "mistral/mistral-small-4";

/// A turn that calls these, with tokens of its own.
fn calling(names: &[&str], (prompt, output): (u64, u64)) -> Script {
    let calls = names.iter().map(|name| call(&format!("call_{name}"), name, "{}"));
    Script { chunks: vec!["Wait.".into()], ..Script::tools(calls.collect()) }.with_tokens(prompt, output)
}

#[tokio::test]
async fn reports_count_requests_whatever_the_number_of_their_turns() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    stack.simulator.enqueue("openai", calling(&["tide"], (100, 10)));
    stack.simulator.enqueue("openai", Script::failing(503));
    stack.simulator.enqueue("mistral", calling(&["tide"], (100, 10)));
    stack.simulator.enqueue("mistral", Script::text(&["7 m"]).with_tokens(100, 10));
    let mut body = with_servers(MODEL, &[&server.url]);
    body["model"] = json!([MODEL, MISTRALS]);
    let heard = ask(&stack, &customer, &body, false).await;
    assert_eq!(heard.whole["turns_consumed"], 3, "{heard:?}");
    let reply = stack.chat(&customer.key, &hello(MODEL)).await;
    assert_eq!(reply.status, 200, "{reply}");
    wait_until("the usage rows", async || stack.database.number("SELECT count(*) FROM usage").await == 4)
        .await;
    for (group, expected) in [
        ("day", vec![2]),
        ("key", vec![2]),
        // Each in the group of every model that had a turn of it.
        ("model", vec![1, 2]),
    ] {
        let path = format!("/api/usage?group_by={group}");
        let reply = stack.get(&path, &customer.session).await;
        assert_eq!(reply.status, 200, "{reply}");
        let rows = reply.json()["rows"].as_array().unwrap().clone();
        let counts: Vec<i64> = rows.iter().map(|row| row["requests"].as_i64().unwrap()).collect();
        assert_eq!(counts, expected, "{group} {reply}");
    }
    let token = stack.token(&customer.key).await;
    let reply = stack.get("/api/v1/user/usage", &token).await;
    assert_eq!(reply.json()["total_requests"], 2, "{reply}");
    stack.finish().await;
}
