//! Nothing grows without a limit: refusals are limited and their receipts are short-lived, ended rows are removed, and
//! fields that are not allowed on a shared account at a provider are refused.

use crate::harness::{PASSWORD, Stack, hello, text};
use kairosroute::jobs::prune;
use serde_json::{Value, json};

const MODEL: &str = "openai/gpt-4o-mini";

#[tokio::test]
async fn a_key_that_is_refused_too_often_is_answered_429_and_others_are_served() {
    let stack = Stack::builder().env("KAIROSROUTE_REFUSALS_PER_KEY_MINUTE_MAX", "5").start().await;
    let (customer, other) = (stack.customer("5").await, stack.customer("5").await);
    let (spare, _) = stack.create_key(&customer.session, &json!({})).await;
    let bad = json!({ "model": MODEL });
    let mut refused = 0;
    let last = loop {
        let reply = stack.chat(&customer.key, &bad).await;
        if reply.status == 429 {
            break reply;
        }
        assert_eq!(reply.status, 400, "{reply}");
        refused += 1;
        assert!(refused < 20);
    };
    assert!((5..=6).contains(&refused), "{refused}");
    assert_eq!(last.code(), "rate_limit_exceeded");
    let wait: u32 = last.header("retry-after").parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
    assert_eq!(stack.chat(&other.key, &hello(MODEL)).await.status, 200);
    assert_eq!(stack.chat(&spare, &hello(MODEL)).await.status, 200);
    // All keys of the organization together have no more refusals than two of them.
    let mut more = 0;
    while stack.chat(&spare, &bad).await.status == 400 {
        more += 1;
        assert!(more < 20);
    }
    assert!((4..=6).contains(&more), "{more}");
    // A request that was not read has no receipt.
    stack.gateway().recorder.flush().await;
    let receipts = stack.database.number("SELECT count(*) FROM receipt WHERE refused").await;
    assert_eq!(receipts, refused + more);
    assert_eq!(stack.database.number("SELECT count(*) FROM receipt WHERE NOT refused").await, 2);
}

#[tokio::test]
async fn an_address_with_too_many_bad_credentials_holds_up_nobody_with_a_good_one() {
    let stack = Stack::builder().env("KAIROSROUTE_REFUSALS_PER_ADDRESS_MINUTE_MAX", "5").start().await;
    let customer = stack.customer("5").await;
    let mut refused = 0;
    while stack.chat("kr-nonsense", &hello(MODEL)).await.status == 401 {
        refused += 1;
        assert!(refused < 20);
    }
    assert_eq!(stack.get("/api/auth", "krs_nonsense").await.status, 429);
    assert_eq!(stack.chat(&customer.key, &hello(MODEL)).await.status, 200);
    assert_eq!(stack.get("/api/auth", &customer.session).await.status, 200);
}

#[tokio::test]
async fn what_has_ended_is_removed_after_its_time_and_nothing_else() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let log_in = json!({ "email": customer.email, "password": PASSWORD });
    let ended = text(&stack.post("/api/auth/login", "", &log_in).await.json()["sessionToken"]);
    assert_eq!(stack.request("POST", "/api/auth/logout").bearer(&ended).send().await.status, 204);
    for email in ["old@example.test", "new@example.test"] {
        let body = json!({ "email": email, "role": "viewer" });
        assert_eq!(stack.post("/api/members", &customer.session, &body).await.status, 201);
    }
    let (_, revoked) = stack.create_key(&customer.session, &json!({})).await;
    assert_eq!(stack.delete(&format!("/api/auth/keys/{revoked}"), &customer.session).await.status, 200);
    let good = stack.chat(&customer.key, &hello(MODEL)).await;
    let bad = stack.chat(&customer.key, &json!({ "model": MODEL })).await;
    assert_eq!((good.status, bad.status), (200, 400));
    stack.gateway().recorder.flush().await;
    let counts = async || {
        let mut counts = Vec::new();
        for table in ["session", "invitation", "api_key", "receipt", "signup_count"] {
            counts.push(stack.database.number(&format!("SELECT count(*) FROM {table}")).await);
        }
        counts
    };
    let before = counts().await;
    prune::prune(stack.gateway()).await.unwrap();
    assert_eq!(counts().await, before, "nothing is old yet");
    stack
        .database
        .tamper(
            "UPDATE session SET revoked_at = now() - interval '31 days' WHERE revoked_at IS NOT NULL;
             UPDATE invitation SET expires_at = now() - interval '31 days' WHERE email = 'old@example.test';
             UPDATE api_key SET revoked_at = now() - interval '31 days' WHERE revoked_at IS NOT NULL;
             UPDATE receipt SET created_at = now() - interval '2 days';
             UPDATE signup_count SET day = day - 3",
        )
        .await;
    prune::prune(stack.gateway()).await.unwrap();
    let removed: Vec<i64> = before.iter().zip(counts().await).map(|(before, after)| before - after).collect();
    // The sign-ups of one network, and those of all.
    assert_eq!(removed, [1, 1, 1, 1, 2]);
    assert_eq!(stack.receipt(&customer.key, good.receipt_id()).await["execution"]["status"], "completed");
    assert_eq!(stack.get("/api/auth", &customer.session).await.status, 200);
}

#[tokio::test]
async fn what_one_account_stores_or_pays_apart_is_not_asked_of_the_shared_account() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let with = |name: &str, value: Value| {
        let mut body = hello(MODEL);
        body[name] = value;
        body
    };
    let spoken = json!([
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": null, "audio": { "id": "audio_1" } },
        { "role": "user", "content": "b" },
    ]);
    let paged = json!([{ "role": "user", "content": [
        { "type": "document_url", "document_url": "https://example.test/a.pdf" }] }]);
    let responses = |input: Value| json!({ "model": MODEL, "input": input });
    let stored =
        json!([{ "role": "user", "content": "a" }, { "type": "reasoning", "id": "rs_1", "summary": [] }]);
    for (path, body, field) in [
        ("/v1/chat/completions", with("store", json!(true)), "store"),
        ("/v1/chat/completions", with("messages", spoken), "messages[].audio.id"),
        ("/v1/chat/completions", with("messages", paged), "messages[].content[].document_url"),
        ("/v1/chat/completions", with("documents", json!([{ "text": "a" }])), "documents"),
        ("/v1/chat/completions", with("search_settings", json!({ "country": "de" })), "search_settings"),
        ("/v1/chat/completions", with("agent_id", json!("ag_1")), "agent_id"),
        ("/v1/responses", responses(stored), "input[].id"),
        ("/v1/responses", responses(json!([{ "type": "item_reference", "id": "msg_1" }])), "input[].id"),
    ] {
        let reply = stack.post(path, &customer.key, &body).await;
        assert_eq!(
            (reply.status, reply.json()["error"]["param"].as_str()),
            (400, Some(field)),
            "{body}: {reply}"
        );
        assert!(reply.message().contains(field) && reply.message().contains("own key"), "{reply}");
    }
    assert!(stack.simulator.bill().is_empty(), "no provider was called");
    // Fields without an effect, and fields that only contain the caller's own labels, pass.
    for (name, value) in [("store", json!(false)), ("documents", json!([])), ("user", json!("u-1"))] {
        assert_eq!(stack.chat(&customer.key, &with(name, value)).await.status, 200, "{name}");
    }
    // On the customer's own key every field passes.
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-own-12345678" })).await;
    assert_eq!(stack.chat(&customer.key, &with("store", json!(true))).await.status, 200);
    stack.finish().await;
}
