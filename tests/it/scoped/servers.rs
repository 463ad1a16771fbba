//! Request-scoped keys with MCP servers: every turn uses the key, and no server receives it.

use super::{FORMS, Form, GOOD, WRONG, assert_no_money_moved, endpoints, rich, seen};
use crate::{
    harness::{Reply, Stack, wait_until},
    mcp::{self, Server},
};
use kairosroute::simulator::{Script, ToolCall};
use serde_json::{Value, json};

const PROVIDER: &str = "openai";

fn two_turns(stack: &Stack) {
    stack.simulator.enqueue(PROVIDER, Script::tools(vec![ToolCall::new("a", "tide", &["{}"])]));
    stack.simulator.enqueue(PROVIDER, Script::text(&["7 m"]));
}

fn no_server_saw_it(server: &Server) {
    let headers = server.seen.headers.lock().unwrap();
    assert!(!headers.is_empty() && !headers.iter().any(|line| line.contains("brought-along")), "{headers:?}");
}

#[tokio::test]
async fn every_turn_is_asked_with_the_brought_key_and_marked() {
    let (stack, server) = (mcp::opened().start().await, Server::start().await);
    let customer = rich(&stack).await;
    let mut rows = 0;
    for form in FORMS {
        let is_marked = form == Form::ByokApiKey;
        let bypass = if is_marked { "BYOK API key used" } else { "" };
        for streamed in [false, true] {
            let what = format!("{form:?} {streamed}");
            two_turns(&stack);
            let asking = endpoints()[0].ask().key(form, GOOD).field("mcp_servers", json!([server.url]));
            let asking = asking.field("stream", json!(streamed)).request(&stack, &customer);
            let (receipt, whole): (String, Value) = if streamed {
                let mut stream = asking.stream().await;
                assert_eq!(stream.header("x-ratelimit-bypass"), bypass, "{what}");
                let frames = stream.rest().await;
                (stream.receipt_id().to_owned(), frames[frames.len() - 2].json())
            } else {
                let reply: Reply = asking.send().await;
                assert_eq!(reply.header("x-ratelimit-bypass"), bypass, "{what}");
                assert_eq!(reply.json()["usage"]["cost"] == 0, is_marked, "{what}: {reply}");
                (reply.receipt_id().to_owned(), reply.json())
            };
            assert_eq!(whole["byok_api_key"] == true, is_marked, "{what}: {whole}");
            assert_eq!(whole["x_kairosroute"]["byok"], true, "{what}: {whole}");
            assert_eq!(whole["x_kairosroute"]["charged_usd"], 0, "{what}: {whole}");
            assert_eq!(whole["tools_executed"], json!(["tide"]), "{what}: {whole}");
            assert_eq!(seen(&stack), [format!("{PROVIDER} {GOOD}"), format!("{PROVIDER} {GOOD}")], "{what}");
            let receipt = stack.receipt(&customer.key, &receipt).await;
            assert!(!receipt.to_string().contains("brought-along"), "{what}: {receipt}");
            assert_eq!(receipt["charged_nano_usd"], 0, "{what}: {receipt}");
            rows += 2;
        }
    }
    no_server_saw_it(&server);
    wait_until("the usage rows", async || {
        stack.database.number("SELECT count(*) FROM usage WHERE byok AND charge = 0").await == rows
    })
    .await;
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_wrong_key_ends_the_first_turn_with_the_providers_words() {
    let (stack, server) = (mcp::opened().start().await, Server::start().await);
    let customer = rich(&stack).await;
    for form in FORMS {
        for streamed in [false, true] {
            let what = format!("{form:?} {streamed}");
            two_turns(&stack);
            let asking = endpoints()[0].ask().key(form, WRONG).field("mcp_servers", json!([server.url]));
            let reply = asking.field("stream", json!(streamed)).send(&stack, &customer).await;
            assert_eq!(reply.status, 401, "{what}: {reply}");
            assert!(reply.text().contains("Incorrect API key provided."), "{what}: {reply}");
            assert!(!reply.to_string().contains("brought-along"), "{what}: {reply}");
            assert_eq!(seen(&stack), [format!("{PROVIDER} {WRONG}")], "{what}");
        }
    }
    assert!(server.calls().is_empty());
    no_server_saw_it(&server);
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}
