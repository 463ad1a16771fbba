//! Billing of a request with several turns that is interrupted or changes its payer: every answered turn is charged
//! once, on the key that served it, and no client is invited to repeat all of it.

use super::{MODEL, Server, ask, books_agree, call, opened, with_servers};
use crate::{
    harness::{ChildStack, Customer, Reply, World, hello, wait_until},
    money::{GPT, MISTRAL, Price, charge, cost, nano},
};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const MISTRALS: &str = "mistral/mistral-small-4";

/// A turn that calls these tools, with its own tokens.
fn calling(names: &[&str], (prompt, output): (u64, u64)) -> Script {
    let calls = names.iter().map(|name| call(&format!("call_{name}"), name, "{}"));
    Script { chunks: vec!["Wait.".into()], ..Script::tools(calls.collect()) }.with_tokens(prompt, output)
}

fn charged((prompt, output): (u64, u64)) -> i64 {
    charge(cost(GPT, prompt, 0, output))
}

/// A whole answer that is an error after turns that were paid.
fn is_not_to_be_repeated(reply: &Reply, charged: i64) {
    assert_eq!(reply.header("x-should-retry"), "false", "{reply}");
    assert_eq!(nano(reply.header("x-kairosroute-cost")), charged, "{reply}");
    assert_eq!(reply.header("x-kairosroute-provider"), "OpenAI", "{reply}");
    assert_eq!(reply.header("x-kairosroute-model"), "gpt-5.4-mini", "{reply}");
}

#[tokio::test]
async fn a_later_turn_that_credit_does_not_reach_ends_the_request_and_the_first_is_paid() {
    const FIRST: (u64, u64) = (1_000, 3_900);
    let (stack, server) = (opened().start().await, Server::start().await);
    for streamed in [false, true] {
        // Enough for one answer of the requested length, not for two.
        let customer = stack.customer("0.03").await;
        stack.simulator.clear();
        stack.simulator.enqueue("openai", calling(&["tide"], FIRST));
        let body = with_servers(MODEL, &[&server.url]);
        let receipt = if streamed {
            let mut stream = stack.stream(&customer.key, &body).await;
            let frames = stream.rest().await;
            let last = frames.last().unwrap().json();
            assert_eq!(last["error"]["code"], "insufficient_credits", "{frames:?}");
            stream.receipt_id().to_owned()
        } else {
            let reply = stack.chat(&customer.key, &body).await;
            assert_eq!((reply.status, reply.code().as_str()), (402, "insufficient_credits"), "{reply}");
            is_not_to_be_repeated(&reply, charged(FIRST));
            assert_eq!(reply.header("x-kairosroute-byok"), "false", "{reply}");
            reply.receipt_id().to_owned()
        };
        assert_eq!(stack.simulator.bill().len(), 1);
        let receipt = stack.receipt(&customer.key, &receipt).await;
        assert_eq!(receipt["execution"]["status"], "aborted", "{receipt}");
        assert_eq!(receipt["charged_nano_usd"], charged(FIRST), "{receipt}");
        stack.no_hold_is_open().await;
        assert_eq!(stack.account(&customer.organization_id).await, (30_000_000 - charged(FIRST), 0));
    }
    stack.finish().await;
}

/// A separate client whose answer may arrive late or never.
fn asking(stack: &ChildStack, customer: &Customer, body: &Value) -> JoinHandle<Option<Reply>> {
    let (client, key, body) = (stack.client.clone(), customer.key.clone(), body.clone());
    tokio::spawn(async move {
        client.request("POST", "/v1/chat/completions").bearer(&key).json(&body).try_send().await.ok()
    })
}

/// The request, and the model's calls: only a server's tool, or also one of the client's own.
fn ways() -> [(bool, &'static [&'static str]); 4] {
    let (alone, beside) = (&["slow"][..], &["slow", "ask_captain"][..]);
    [(false, alone), (true, alone), (false, beside), (true, beside)]
}

fn body_of(server: &Server, streamed: bool) -> Value {
    let mut body = with_servers(MODEL, &[&server.url]);
    body["stream"] = json!(streamed);
    body["tools"] = json!([super::local("ask_captain")]);
    body
}

/// This many requests were settled, each with this charge, and no other entry or open hold exists.
async fn were_paid(world: &World, customer: &Customer, requests: i64, each: i64) {
    let number = async |sql: &str| world.database.number(sql).await;
    assert_eq!(number("SELECT count(*) FROM hold WHERE state = 'settled'").await, requests);
    assert_eq!(number("SELECT count(*) FROM hold WHERE state <> 'settled'").await, 0);
    let entries = "SELECT coalesce(sum(amount), 0)::bigint FROM entry WHERE kind = 'charge'";
    assert_eq!(number(entries).await, requests * each);
    assert_eq!(number("SELECT coalesce(sum(charge), 0)::bigint FROM usage").await, requests * each);
    assert_eq!(number("SELECT count(*) FROM usage WHERE basis = 'reported'").await, requests);
    let account = world.account(&customer.organization_id).await;
    assert_eq!(account, (10_000_000_000 - requests * each, 0));
    world.audit_is_clean().await;
}

#[tokio::test]
async fn a_process_killed_while_a_tool_runs_has_billed_the_turn_that_called_it() {
    const TURN: (u64, u64) = (500, 50);
    let mut stack = opened().start_child().await;
    let (customer, server) = (stack.customer("10").await, Server::start().await);
    for (round, (streamed, names)) in ways().into_iter().enumerate() {
        stack.simulator.enqueue("openai", calling(names, TURN));
        let asked = asking(&stack, &customer, &body_of(&server, streamed));
        wait_until("the tool to run", async || server.calls().len() == round + 1).await;
        // Rows for reports are written a moment after the charge, which was durable before the call.
        let rows = "SELECT count(*) FROM usage";
        wait_until("the row", async || {
            stack.database().number(rows).await == i64::try_from(round).unwrap() + 1
        })
        .await;
        stack.kill();
        asked.await.unwrap();
        stack.restart().await;
        // Directly after the restart: no later correction is needed.
        were_paid(&stack, &customer, i64::try_from(round).unwrap() + 1, charged(TURN)).await;
    }
    assert_eq!(
        stack.database().number("SELECT count(*) FROM receipt").await,
        0,
        "they died with the process"
    );
}

#[tokio::test]
async fn a_process_that_stops_while_a_tool_runs_says_what_was_done_and_that_it_is_not_to_be_repeated() {
    const TURN: (u64, u64) = (700, 70);
    let mut stack = opened().env("KAIROSROUTE_SHUTDOWN_TIMEOUT_MS", "500").start_child().await;
    let (customer, server) = (stack.customer("10").await, Server::start().await);
    let mut asked = Vec::new();
    for (round, (streamed, names)) in ways().into_iter().enumerate() {
        stack.simulator.enqueue("openai", calling(names, TURN));
        asked.push((streamed, asking(&stack, &customer, &body_of(&server, streamed))));
        wait_until("the tool to run", async || server.calls().len() == round + 1).await;
    }
    stack.terminate();
    for (streamed, asked) in asked {
        let reply = asked.await.unwrap().expect("an answer");
        if streamed {
            assert_eq!(reply.status, 200, "{reply}");
            assert_eq!(reply.text().matches("event: error").count(), 1, "{reply}");
            assert!(reply.text().contains("service_unavailable"), "{reply}");
        } else {
            assert_eq!((reply.status, reply.code().as_str()), (503, "service_unavailable"), "{reply}");
            is_not_to_be_repeated(&reply, charged(TURN));
            assert_eq!(reply.header("retry-after"), "", "{reply}");
        }
    }
    let status = stack.wait().await;
    assert_eq!(status.code(), Some(0), "{}", stack.log());
    were_paid(&stack, &customer, 4, charged(TURN)).await;
    let told = "SELECT count(*) FROM receipt WHERE document->'execution'->>'status' = 'aborted'
                AND document->>'charged_nano_usd' = (SELECT max(charge) FROM hold)::text";
    assert_eq!(stack.database().number(told).await, 4);
    assert_eq!(stack.database().number("SELECT count(*) FROM usage WHERE status = 'completed'").await, 4);
    assert_eq!(stack.simulator.bill().len(), 4, "no turn follows");
}

#[tokio::test]
async fn a_turn_that_calls_the_callers_tools_too_is_one_turn_in_every_book() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    for streamed in [false, true] {
        stack.simulator.enqueue("openai", calling(&["tide", "ask_captain"], (300, 30)));
        let heard = ask(&stack, &customer, &body_of(&server, streamed), streamed).await;
        assert_eq!((heard.finish.as_str(), heard.calls.len()), ("tool_calls", 1), "{heard:?}");
        assert_eq!((heard.names(), heard.charged()), (vec!["tide".to_owned()], charged((300, 30))));
        books_agree(&stack, &customer, &heard, 1).await;
    }
    stack.finish().await;
}

#[tokio::test]
async fn turns_on_an_own_key_are_free_and_those_on_the_platforms_are_charged() {
    const TURNS: [(u64, u64); 3] = [(1_000, 100), (2_000, 200), (3_000, 300)];
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-proj-own" })).await;
    for streamed in [false, true] {
        stack.simulator.clear();
        let before = stack.account(&customer.organization_id).await.0;
        for script in [
            calling(&["tide"], TURNS[0]),
            // The own key fails in the middle, and works again.
            Script::failing(401),
            calling(&["tide"], TURNS[1]),
            Script::text(&["7 m"]).with_tokens(TURNS[2].0, TURNS[2].1),
        ] {
            stack.simulator.enqueue("openai", script);
        }
        let heard = ask(&stack, &customer, &with_servers(MODEL, &[&server.url]), streamed).await;
        let bill = stack.simulator.bill();
        let keys: Vec<&str> = bill.iter().map(|call| call.authorization.as_str()).collect();
        assert_eq!(keys, ["sk-proj-own", "sk-proj-own", "platform-openai", "sk-proj-own"]);
        assert_eq!(heard.charged(), charged(TURNS[1]), "{heard:?}");
        assert_eq!(heard.whole["x_kairosroute"]["byok"], false, "{heard:?}");
        let receipt = stack.receipt(&customer.key, &heard.receipt).await;
        let turns = receipt["turns"].as_array().unwrap();
        let told: Vec<(Value, i64, i64)> = turns
            .iter()
            .map(|turn| {
                let amount = |name: &str| turn[name].as_i64().unwrap();
                (turn["byok"].clone(), amount("charged_nano_usd"), amount("provider_cost_nano_usd"))
            })
            .collect();
        let own = |turn: (u64, u64)| (json!(true), 0, cost(GPT, turn.0, 0, turn.1));
        let paid = (json!(false), charged(TURNS[1]), cost(GPT, TURNS[1].0, 0, TURNS[1].1));
        assert_eq!(told, [own(TURNS[0]), paid, own(TURNS[2])], "{receipt}");
        assert_eq!(
            (&receipt["byok"], &receipt["charged_nano_usd"]),
            (&json!(false), &json!(heard.charged()))
        );
        stack.no_hold_is_open().await;
        assert_eq!(before - stack.account(&customer.organization_id).await.0, charged(TURNS[1]));
    }
    assert_eq!(stack.database.number("SELECT count(*) FROM hold WHERE state = 'settled'").await, 2);
    stack.finish().await;
}

#[tokio::test]
async fn what_a_brought_key_did_not_serve_alone_is_not_marked_as_if_it_had() {
    const PAID: (u64, u64) = (1_000, 100);
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    let price: Price = MISTRAL;
    let charged = charge(cost(price, PAID.0, 0, PAID.1));
    // The request-scoped key serves the last turn, or the first.
    for brought_first in [false, true] {
        for streamed in [false, true] {
            stack.simulator.clear();
            let (tool, text) = (calling(&["tide"], PAID), Script::text(&["7 m"]).with_tokens(PAID.0, PAID.1));
            let scripts = match brought_first {
                true => [("openai", tool), ("openai", Script::failing(503)), ("mistral", text)].to_vec(),
                false => [
                    ("openai", Script::failing(503)),
                    ("mistral", tool),
                    ("mistral", Script::failing(503)),
                    ("openai", text),
                ]
                .to_vec(),
            };
            for (provider, script) in scripts {
                stack.simulator.enqueue(provider, script);
            }
            let mut body = with_servers(MODEL, &[&server.url]);
            body["model"] = json!([MODEL, MISTRALS]);
            body["byok_api_key"] = json!("sk-brought");
            body["stream"] = json!(streamed);
            let request = stack.request("POST", "/v1/chat/completions").bearer(&customer.key);
            let reply = request.header("x-kairosroute-fallback", "platform").json(&body).send().await;
            assert_eq!(reply.status, 200, "{reply}");
            let told = reply.text();
            assert!(!told.contains("\"byok_api_key\"") && !told.contains("\"cost\":0"), "{reply}");
            assert!(told.contains("\"byok\":false"), "{reply}");
            if !streamed {
                assert_eq!(reply.header("x-kairosroute-byok"), "false", "{reply}");
                assert_eq!(reply.header("x-ratelimit-bypass"), "", "{reply}");
                assert_eq!(nano(reply.header("x-kairosroute-cost")), charged, "{reply}");
            }
            let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
            assert_eq!(receipt["charged_nano_usd"], charged, "{receipt}");
            let turns = receipt["turns"].as_array().unwrap();
            let byok: Vec<&Value> = turns.iter().map(|turn| &turn["byok"]).collect();
            assert_eq!(byok, [brought_first, !brought_first], "{receipt}");
        }
    }
    stack.finish().await;
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
        // Counted once each, with the model of its first turn, so that the rows add up to the total.
        ("model", vec![0, 2]),
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
