//! Rates, concurrent requests and budgets, enforced over several gateways on one database.

use crate::harness::{Client, Customer, Reply, Stack, World, hello, text, wait_until};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::{sync::Semaphore, task::JoinSet};

const MODEL: &str = "openai/gpt-5.4-mini";

/// A request whose tokens are bounded.
fn ask(max_tokens: u64) -> Value {
    let mut body = hello(MODEL);
    body["max_tokens"] = json!(max_tokens);
    body
}

async fn set_rules(world: &World, customer: &Customer, rules: &Value) -> Value {
    let reply = world.client.patch_key(&customer.session, &customer.key_id, rules).await;
    assert_eq!(reply.status, 200, "{reply}");
    reply.json()
}

/// Sends `count` requests over all gateways, `at_once` at a time.
async fn flood(gateways: &[Client], key: &str, body: &Value, count: usize, at_once: usize) -> Vec<Reply> {
    let places = Arc::new(Semaphore::new(at_once));
    let mut tries = JoinSet::new();
    for index in 0..count {
        let (client, key, body, places) =
            (gateways[index % gateways.len()].clone(), key.to_owned(), body.clone(), places.clone());
        tries.spawn(async move {
            let _place = places.acquire().await.unwrap();
            client.chat(&key, &body).await
        });
    }
    tries.join_all().await
}

fn admitted(replies: &[Reply]) -> usize {
    replies.iter().filter(|reply| reply.status == 200).count()
}

#[tokio::test]
async fn sixty_requests_per_minute_are_sixty_over_three_gateways() {
    let stack = Stack::start().await;
    let others = [stack.second_node().await, stack.second_node().await];
    let gateways = [stack.client.clone(), Client::clone(&others[0]), Client::clone(&others[1])];
    let customer = stack.customer("10").await;
    set_rules(&stack, &customer, &json!({ "requestsPerMinute": 60 })).await;
    let first = stack.chat(&customer.key, &ask(16)).await;
    assert_eq!(first.status, 200, "{first}");
    assert_eq!(first.header("x-ratelimit-limit-requests"), "60");
    assert_eq!(first.header("x-ratelimit-remaining-requests"), "59");
    assert!(first.header("x-ratelimit-reset-requests").starts_with("1m0"), "{first}");
    assert_eq!(first.header("x-ratelimit-limit-tokens"), "");
    let replies = flood(&gateways, &customer.key, &ask(16), 240, 24).await;
    let served = 1 + admitted(&replies);
    assert!((57..=60).contains(&served), "{served} of 60");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert_eq!((reply.status, reply.code().as_str()), (429, "rate_limit_exceeded"), "{reply}");
        let wait: u32 = reply.header("retry-after").parse().unwrap();
        assert!((1..=30).contains(&wait), "{reply}");
        assert_eq!(reply.header("x-ratelimit-limit-requests"), "60");
        assert!(reply.message().contains("60 requests per minute"), "{reply}");
    }
    assert_eq!(stack.simulator.bill().len(), served, "nobody is called for what is refused");
    // A larger limit takes effect at once where it was set, and within seconds elsewhere.
    set_rules(&stack, &customer, &json!({ "requestsPerMinute": 1000 })).await;
    assert_eq!(stack.chat(&customer.key, &ask(16)).await.status, 200);
    set_rules(&stack, &customer, &json!({ "requestsPerMinute": null })).await;
    let free = stack.chat(&customer.key, &ask(16)).await;
    assert_eq!((free.status, free.header("x-ratelimit-limit-requests")), (200, ""), "{free}");
    drop(others);
    stack.finish().await;
}

#[tokio::test]
async fn tokens_are_taken_before_and_corrected_after() {
    let stack = Stack::start().await;
    let others = [stack.second_node().await, stack.second_node().await];
    let gateways = [stack.client.clone(), Client::clone(&others[0]), Client::clone(&others[1])];
    let customer = stack.customer("50").await;
    set_rules(&stack, &customer, &json!({ "tokensPerMinute": 100_000 })).await;
    stack.simulator.set_default("openai", Script::default().with_tokens(500, 500));
    let replies = flood(&gateways, &customer.key, &ask(1_000), 300, 12).await;
    let used: u64 = replies
        .iter()
        .filter(|reply| reply.status == 200)
        .map(|reply| reply.json()["usage"]["total_tokens"].as_u64().unwrap())
        .sum();
    assert!((95_000..=102_000).contains(&used), "{used} of 100000 tokens");
    let refused = replies.iter().find(|reply| reply.status != 200).unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"), "{refused}");
    assert_eq!(refused.header("x-ratelimit-limit-tokens"), "100000");
    drop(others);
    stack.finish().await;
}

#[tokio::test]
async fn five_requests_run_at_a_time_over_three_gateways() {
    let stack = Stack::start().await;
    let others = [stack.second_node().await, stack.second_node().await];
    let gateways = [stack.client.clone(), Client::clone(&others[0]), Client::clone(&others[1])];
    let customer = stack.customer("10").await;
    set_rules(&stack, &customer, &json!({ "concurrentRequests": 5 })).await;
    stack.simulator.set_default("openai", Script::default().gated());
    for _ in 0..3 {
        let mut tries = JoinSet::new();
        for index in 0..30 {
            let (client, key) = (gateways[index % 3].clone(), customer.key.clone());
            tries.spawn(async move { client.chat(&key, &ask(16)).await });
        }
        for _ in 0..25 {
            let refused = tries.join_next().await.unwrap().unwrap();
            assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"), "{refused}");
            assert!(refused.message().contains("at the same time"), "{refused}");
        }
        wait_until("five to run", async || stack.simulator.waiting() == 5).await;
        assert_eq!(stack.chat(&customer.key, &ask(16)).await.status, 429);
        stack.simulator.release();
        assert_eq!(admitted(&tries.join_all().await), 5);
        stack.simulator.set_default("openai", Script::default().gated());
    }
    drop(others);
    stack.finish().await;
}

#[tokio::test]
async fn a_killed_process_gives_up_its_share_and_nothing_else() {
    let stack = Stack::builder().start_child().await;
    let mut second = stack.second_process(&[]).await;
    let customer = stack.customer("10").await;
    set_rules(&stack, &customer, &json!({ "concurrentRequests": 5, "requestsPerMinute": 60 })).await;
    stack.simulator.set_default("openai", Script::default().gated());
    let on = |client: Client, count: usize| {
        let (key, clients) = (customer.key.clone(), [client]);
        tokio::spawn(async move {
            for reply in flood(&clients, &key, &ask(16), count, count).await {
                assert_eq!(reply.status, 200, "{reply}");
            }
        })
    };
    let there = on(Client::clone(&second), 3);
    wait_until("three to run there", async || stack.simulator.waiting() == 3).await;
    let here = on(stack.client.clone(), 2);
    wait_until("two to run here", async || stack.simulator.waiting() == 5).await;
    assert_eq!(stack.chat(&customer.key, &ask(16)).await.status, 429);
    second.kill();
    assert!(there.await.is_err(), "its requests died with it");
    // Three permits become free when its lease is over; the two requests that run here keep theirs.
    let later = wait_for_places(&stack, &customer, 3).await;
    assert_eq!(stack.chat(&customer.key, &ask(16)).await.status, 429);
    stack.simulator.release();
    here.await.unwrap();
    for reply in later.join_all().await {
        assert_eq!(reply.status, 200, "{reply}");
    }
}

/// Starts requests until this many more run.
async fn wait_for_places(world: &World, customer: &Customer, count: usize) -> JoinSet<Reply> {
    let mut running = JoinSet::new();
    let base = world.simulator.waiting();
    while running.len() < count {
        let (client, key) = (world.client.clone(), customer.key.clone());
        let before = world.simulator.waiting();
        let mut attempt = tokio::spawn(async move { client.chat(&key, &ask(16)).await });
        let refused = tokio::select! {
            reply = &mut attempt => reply.unwrap().status == 429,
            () = wait_until("it to run", async || world.simulator.waiting() > before) => false,
        };
        if !refused {
            running.spawn(async move { attempt.await.unwrap() });
        }
    }
    assert!(world.simulator.waiting() >= base);
    running
}

#[tokio::test]
async fn a_budget_for_ten_requests_admits_ten_of_many_over_three_gateways() {
    const CLIENTS: usize = 64;
    const TRIES: usize = CLIENTS * 3 * 4;
    let stack = Stack::start().await;
    let others = [stack.second_node().await, stack.second_node().await];
    let gateways = [stack.client.clone(), Client::clone(&others[0]), Client::clone(&others[1])];
    let customer = stack.customer("100").await;
    assert_eq!(stack.chat(&customer.key, &ask(4_000)).await.status, 200);
    let size = stack.database.number("SELECT amount FROM hold").await;
    let (key, key_id) = stack
        .create_key(
            &customer.session,
            &json!({ "budgetUsd": format!("0.{:09}", size * 10), "budgetPeriod": "day" }),
        )
        .await;
    stack.simulator.set_default("openai", Script::default().gated());
    let places = Arc::new(Semaphore::new(CLIENTS + 10));
    let mut tries = JoinSet::new();
    for index in 0..TRIES {
        let (client, key, places) = (gateways[index % 3].clone(), key.clone(), places.clone());
        tries.spawn(async move {
            let _place = places.acquire().await.unwrap();
            client.chat(&key, &ask(4_000)).await
        });
    }
    for _ in 0..TRIES - 10 {
        let reply = tries.join_next().await.unwrap().unwrap();
        assert_eq!((reply.status, reply.code().as_str()), (402, "budget_exceeded"), "{reply}");
        let error = &reply.json()["error"];
        assert_eq!(error["budget_usd"], format!("0.{:09}", size * 10).trim_end_matches('0'));
        assert_eq!(error["spent_usd"], "0");
        assert!(text(&error["resets_at"]).ends_with("T00:00:00Z"), "{reply}");
    }
    wait_until("those admitted to run", async || stack.simulator.waiting() == 10).await;
    stack.simulator.release();
    while let Some(reply) = tries.join_next().await {
        assert_eq!(reply.unwrap().status, 200);
    }
    // Their real cost is less than the hold: the budget has room again.
    stack.simulator.set_default("openai", Script::default());
    assert_eq!(stack.chat(&key, &ask(16)).await.status, 200);
    let view = stack.get(&format!("/api/auth/keys/{key_id}"), &customer.session).await.json();
    assert_eq!(view["budgetPeriod"], "day");
    let spent = stack.database.number("SELECT spent FROM budget").await;
    let charged = stack.database.number("SELECT sum(charge)::bigint FROM hold WHERE counted = 1").await;
    assert_eq!(spent, charged);
    drop(others);
    stack.finish().await;
}

#[tokio::test]
async fn budgets_of_the_organization_and_of_own_keys() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let organization = async |body: Value| {
        let reply =
            stack.request("PATCH", "/api/organization").bearer(&customer.session).json(&body).send().await;
        assert_eq!(reply.status, 200, "{reply}");
        reply.json()
    };
    let view =
        organization(json!({ "timeZone": "Europe/Berlin", "budgetUsd": 0, "budgetPeriod": "month" })).await;
    assert_eq!((&view["budgetUsd"], &view["timeZone"]), (&json!("0"), &json!("Europe/Berlin")));
    let reply = stack.chat(&customer.key, &ask(16)).await;
    assert_eq!((reply.status, reply.code().as_str()), (402, "budget_exceeded"), "{reply}");
    assert!(reply.message().contains("your organization"), "{reply}");
    // Own keys do not count, unless the budget states it.
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-own-12345678" })).await;
    assert_eq!(stack.chat(&customer.key, &ask(16)).await.status, 200);
    assert_eq!(stack.database.number("SELECT count(*) FROM hold").await, 0);
    organization(json!({ "budgetIncludesByok": true })).await;
    let reply = stack.chat(&customer.key, &ask(16)).await;
    assert_eq!((reply.status, reply.code().as_str()), (402, "budget_exceeded"), "{reply}");
    organization(json!({ "budgetUsd": "0.001" })).await;
    let mut answers = 0;
    while stack.chat(&customer.key, &ask(100)).await.status == 200 {
        answers += 1;
        assert!(answers < 100);
    }
    assert!(answers > 0);
    assert_eq!(stack.account(&customer.organization_id).await.1, 0, "credit is not touched");
    wait_until("the budget to count what own keys cost", async || {
        let cost = stack.database.number("SELECT sum(spent)::bigint FROM hold").await;
        stack.database.number("SELECT spent FROM budget").await == cost
    })
    .await;
    organization(json!({ "budgetUsd": null })).await;
    assert_eq!(stack.chat(&customer.key, &ask(16)).await.status, 200);
    stack.finish().await;
}

#[tokio::test]
async fn end_users_of_a_key_have_limits_of_their_own_and_request_scoped_keys_have_none() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    set_rules(&stack, &customer, &json!({ "endUserRequestsPerMinute": 2 })).await;
    let of = |field: &str, user: &str| {
        let mut body = ask(16);
        body[field] = json!(user);
        body
    };
    for _ in 0..2 {
        assert_eq!(stack.chat(&customer.key, &of("user", "ann")).await.status, 200);
        assert_eq!(stack.chat(&customer.key, &of("user", "bob")).await.status, 200);
        assert_eq!(stack.chat(&customer.key, &ask(16)).await.status, 200);
    }
    let refused = stack.chat(&customer.key, &of("safety_identifier", "ann")).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"), "{refused}");
    assert!(refused.message().contains("end user"), "{refused}");
    let mut own = of("user", "ann");
    own["byok_api_key"] = json!("sk-brought-12345678");
    for _ in 0..3 {
        let reply = stack.chat(&customer.key, &own).await;
        assert_eq!((reply.status, reply.header("x-ratelimit-limit-requests")), (200, ""), "{reply}");
        assert_eq!(reply.header("x-ratelimit-bypass"), "BYOK API key used");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_request_that_may_cost_more_than_its_key_allows_is_refused_before_anybody_is_called() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    set_rules(&stack, &customer, &json!({ "maxCostPerRequestUsd": 0.001 })).await;
    let reply = stack.chat(&customer.key, &ask(1_000)).await;
    assert_eq!((reply.status, reply.code().as_str()), (402, "cost_guardrail_exceeded"), "{reply}");
    let error = &reply.json()["error"];
    assert_eq!(error["limit_usd"], "0.001");
    assert!(text(&error["estimate_usd"]).starts_with("0.00"), "{reply}");
    assert!(stack.simulator.bill().is_empty());
    assert_eq!(stack.chat(&customer.key, &ask(16)).await.status, 200);
    // A cheaper model later in the list serves.
    let mut body = ask(1_000);
    body["models"] = json!([MODEL, "mistral/mistral-small-4"]);
    let reply = stack.chat(&customer.key, &body).await;
    assert_eq!((reply.status, reply.header("x-kairosroute-provider")), (200, "Mistral"), "{reply}");
    stack.finish().await;
}

#[tokio::test]
async fn patterns_addresses_and_data_rules_of_a_key() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    set_rules(&stack, &customer, &json!({ "allowedModels": ["mistral/*", "gpt-5.4-*"] })).await;
    assert_eq!(stack.chat(&customer.key, &ask(16)).await.status, 200);
    let other = stack.chat(&customer.key, &hello("openai/gpt-4o")).await;
    assert_eq!((other.status, other.code().as_str()), (400, "no_models_available"), "{other}");
    let patch = async |body: Value| stack.patch_key(&customer.session, &customer.key_id, &body).await;
    let nothing = patch(json!({ "allowedModels": ["nobody/*"] })).await;
    assert_eq!(nothing.json()["error"]["param"], "allowedModels", "{nothing}");
    let clear = json!({ "allowedModels": null, "allowedIps": ["203.0.113.0/24"] });
    assert_eq!(set_rules(&stack, &customer, &clear).await["allowedIps"], json!(["203.0.113.0/24"]));
    let elsewhere = stack.chat(&customer.key, &ask(16)).await;
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (403, "permission_denied"), "{elsewhere}");
    set_rules(&stack, &customer, &json!({ "allowedIps": ["127.0.0.1"], "dataCollection": "deny" })).await;
    assert_eq!(stack.chat(&customer.key, &ask(16)).await.status, 200, "OpenAI does not use prompts");
    let unknown = stack.chat(&customer.key, &hello("mistral/mistral-small-4")).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (400, "no_models_available"), "{unknown}");
    assert!(unknown.message().contains("dataCollection"), "{unknown}");
    set_rules(&stack, &customer, &json!({ "dataCollection": "allow", "zdr": true })).await;
    let kept = stack.chat(&customer.key, &ask(16)).await;
    assert_eq!((kept.status, kept.code().as_str()), (400, "no_models_available"), "{kept}");
    stack.finish().await;
}
