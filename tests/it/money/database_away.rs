//! The database becomes unreachable and returns: no client gets the error that its key is invalid, and no cent is lost.

use super::{GPT, MISTRAL, ask, charge, close, cost, spent_since};
use crate::harness::{ChildStack, Database, Stack, sized, wait_until};
use kairosroute::simulator::Script;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Ends every connection of this database and refuses new ones, or accepts them again.
async fn set_reachable(database: &Database, reachable: bool) {
    let name = &database.name;
    let mut server = PgConnection::connect_with(&database.options().database("postgres")).await.unwrap();
    let mut statements = vec![format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {reachable}")];
    if !reachable {
        statements
            .push(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"));
    }
    for sql in statements {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server).await.unwrap();
    }
}

#[tokio::test]
async fn while_the_database_is_away_the_answer_is_503_and_never_401() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let stranger = stack.customer("10").await;
    assert_eq!(stack.chat(&customer.key, &ask(GPT.model)).await.status, 200);
    set_reachable(&stack.database, false).await;
    // A recently used key, a new key, and a session: none of them is reported as invalid.
    for (path, token) in [("/v1/models", &stranger.key), ("/api/billing/balance", &customer.session)] {
        let reply = stack.get(path, token).await;
        assert_eq!(reply.status, 503, "{path}: {reply}");
        assert!((1..=30).contains(&reply.header("retry-after").parse().unwrap()), "{reply}");
    }
    for key in [&customer.key, &stranger.key] {
        let reply = stack.chat(key, &ask(GPT.model)).await;
        assert_eq!(reply.status, 503, "{reply}");
        assert!((1..=30).contains(&reply.header("retry-after").parse().unwrap()), "{reply}");
    }
    assert_eq!(stack.get("/readyz", "").await.status, 503);
    assert_eq!(stack.get("/healthz", "").await.status, 200);
    assert_eq!(stack.simulator.bill().len(), 1, "nobody was called without a hold");
    set_reachable(&stack.database, true).await;
    wait_until("the gateway to serve again", async || {
        stack.chat(&customer.key, &ask(GPT.model)).await.status == 200
    })
    .await;
    close(stack).await;
}

#[tokio::test]
async fn an_answer_that_ends_while_the_database_is_away_is_billed_when_it_is_back() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let (before, _) = stack.account(&customer.organization_id).await;
    stack.simulator.enqueue("openai", Script::default().with_tokens(31, 41).gated());
    stack.simulator.enqueue("mistral", Script::default().with_tokens(59, 26).gated());
    let (client, key) = (stack.client.clone(), customer.key.clone());
    let unary = tokio::spawn(async move { client.chat(&key, &ask(GPT.model)).await });
    let (client, key) = (stack.client.clone(), customer.key.clone());
    let streamed = tokio::spawn(async move { client.stream(&key, &ask(MISTRAL.model)).await });
    wait_until("both to be running", async || stack.simulator.waiting() == 2).await;
    set_reachable(&stack.database, false).await;
    stack.simulator.release();
    let mut streamed = streamed.await.unwrap();
    assert!(!streamed.next().await.unwrap().content().is_empty() || streamed.next().await.is_some());
    set_reachable(&stack.database, true).await;
    let reply = unary.await.unwrap();
    assert_eq!(reply.status, 200, "the bill was written in time: {reply}");
    assert!(streamed.rest().await.last().unwrap().is_done());
    let expected = charge(cost(GPT, 31, 0, 41)) + charge(cost(MISTRAL, 59, 0, 26));
    assert_eq!(spent_since(&stack, &customer, before).await, expected);
    close(stack).await;
}

#[tokio::test]
async fn records_are_written_when_the_database_comes_back_during_the_stop() {
    let mut stack = ChildStack::start_default().await;
    let customer = stack.customer("10").await;
    stack.set_provider_keys(&customer, &json!({ "Groq": "gsk_own_key_of_theirs" })).await;
    let own = ask("groq/gpt-oss-120b");
    assert_eq!(stack.chat(&customer.key, &own).await.status, 200);
    set_reachable(stack.database(), false).await;
    wait_until("the outage to be known", async || {
        stack.get("/readyz", "").await.text().contains("cannot be reached")
    })
    .await;
    assert_eq!(stack.chat(&customer.key, &own).await.status, 200, "a key that was in use a moment ago");
    stack.terminate();
    let address = stack.address;
    wait_until("the port to be closed", async || tokio::net::TcpStream::connect(address).await.is_err())
        .await;
    set_reachable(stack.database(), true).await;
    assert!(stack.wait().await.success(), "{}", stack.log());
    assert_eq!(stack.database().number("SELECT count(*) FROM usage").await, 2);
}

#[tokio::test]
async fn connections_that_die_under_load_cost_nobody_anything() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    stack.set_provider_keys(&customer, &json!({ "Groq": "gsk_own_key_of_theirs" })).await;
    // The key is known from here on, so that calls on the customer's own key need no look-up.
    assert_eq!(stack.chat(&customer.key, &ask("groq/gpt-oss-120b")).await.status, 200);
    let mut tries = tokio::task::JoinSet::new();
    let (asked, mut kills) = (sized(120_usize, 1_500), 0);
    for index in 0..asked {
        let (client, key) = (stack.client.clone(), customer.key.clone());
        let model = [GPT.model, "groq/gpt-oss-120b"][index % 2];
        tries.spawn(async move { client.chat(&key, &ask(model)).await });
        if index % 30 == 15 {
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
            stack.database.tamper(kill).await;
            kills += 1;
        }
    }
    let mut served = 0;
    while let Some(reply) = tries.join_next().await {
        let reply = reply.unwrap();
        assert!(matches!(reply.status, 200 | 503), "{reply}");
        served += usize::from(reply.status == 200);
    }
    assert!(served > 0);
    wait_until("the gateway to serve again", async || {
        stack.chat(&customer.key, &ask(GPT.model)).await.status == 200
    })
    .await;
    close(stack).await;
    println!(
        "bar 6: {asked} requests while all database connections were killed {kills} times: {served} served, {} \
         refused with 503, no drift",
        asked - served
    );
}

#[tokio::test]
async fn a_bill_that_is_not_written_in_time_ends_the_stream_with_an_error_and_is_written_later() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let (before, _) = stack.account(&customer.organization_id).await;
    stack.simulator.enqueue("openai", Script::default().with_tokens(31, 41).gated());
    let (client, key) = (stack.client.clone(), customer.key.clone());
    let streamed = tokio::spawn(async move { client.stream(&key, &ask(GPT.model)).await });
    wait_until("it to be running", async || stack.simulator.waiting() == 1).await;
    set_reachable(&stack.database, false).await;
    stack.simulator.release();
    let frames = streamed.await.unwrap().rest().await;
    let last = frames.last().unwrap();
    assert!(last.text.starts_with("event: error\n"), "{frames:?}");
    assert_eq!(last.json()["error"]["code"], "service_unavailable");
    assert!(
        !frames
            .iter()
            .any(|frame| frame.is_done() || frame.json()["choices"][0]["finish_reason"].is_string())
    );
    set_reachable(&stack.database, true).await;
    stack.no_hold_is_open().await;
    assert_eq!(spent_since(&stack, &customer, before).await, charge(cost(GPT, 31, 0, 41)));
    close(stack).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_because_its_bill_came_late_costs_nothing_anywhere() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let (before, _) = stack.account(&customer.organization_id).await;
    stack.simulator.enqueue("openai", Script::default().with_tokens(31, 41).gated());
    let (client, key) = (stack.client.clone(), customer.key.clone());
    let unary = tokio::spawn(async move { client.chat(&key, &ask(GPT.model)).await });
    wait_until("it to be running", async || stack.simulator.waiting() == 1).await;
    set_reachable(&stack.database, false).await;
    stack.simulator.release();
    let reply = unary.await.unwrap();
    assert_eq!(reply.status, 503, "{reply}");
    assert!(reply.message().contains("not charged"), "{reply}");
    set_reachable(&stack.database, true).await;
    stack.no_hold_is_open().await;
    let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
    assert_eq!((&receipt["charged_nano_usd"], &receipt["usage_flag"]), (&0.into(), &"undelivered".into()));
    assert_eq!(receipt["execution"]["status"], "failed", "{receipt}");
    assert_eq!(receipt["usage"]["output"], 41, "{receipt}");
    assert_eq!(stack.database.number("SELECT sum(charge)::bigint FROM usage").await, 0);
    assert_eq!(stack.account(&customer.organization_id).await, (before, 0));
    close(stack).await;
}
