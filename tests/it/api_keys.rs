//! Platform API keys: shown once, revoked and expired in time, and never looked up after a typo.

use crate::harness::{Stack, text, wait_until};
use kairosroute::domain::ambient::Ambient;
use serde_json::json;
use std::time::{Duration, Instant};
use time::format_description::well_known::Rfc3339;

#[tokio::test]
async fn a_key_is_shown_once_and_stored_nowhere() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let key = &customer.key;
    assert!(key.starts_with("kr-") && key.len() == 52, "{key}");
    for path in ["/api/auth".to_owned(), format!("/api/auth/keys/{}", customer.key_id)] {
        let told = stack.get(&path, &customer.session).await;
        assert_eq!(told.status, 200);
        assert!(!told.text().contains(&key[3..20]));
        assert!(told.text().contains(&key[48..]), "the last four characters tell keys apart");
    }
    for table in stack.database.tables().await {
        let rows = stack.database.rows(&table).await.join("\n");
        assert!(!rows.contains(&key[3..20]), "{table}");
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_here_and_within_five_seconds_elsewhere() {
    let stack = Stack::start().await;
    let second = stack.second_node().await;
    let customer = stack.sign_up().await;
    for node in [&stack.client, &*second] {
        assert_eq!(node.get("/v1/models", &customer.key).await.status, 200);
    }
    let path = format!("/api/auth/keys/{}", customer.key_id);
    assert_eq!(stack.delete(&path, &customer.session).await.status, 200);
    let revoked = Instant::now();
    let here = stack.get("/v1/models", &customer.key).await;
    assert_eq!((here.status, here.code().as_str()), (401, "invalid_api_key"));
    wait_until("the other node to refuse", async || {
        second.get("/v1/models", &customer.key).await.status == 401
    })
    .await;
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
}

#[tokio::test]
async fn both_paths_revoke_and_a_second_time_changes_nothing() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let (_, other) = stack.create_key(&customer.session, &json!({})).await;
    for path in [format!("/api/auth?keyId={}", customer.key_id), format!("/api/auth/keys/{other}")] {
        let first = stack.delete(&path, &customer.session).await;
        let again = stack.delete(&path, &customer.session).await;
        assert_eq!((first.status, again.status), (200, 200), "{first} {again}");
        assert_eq!(first.json()["revokedAt"], again.json()["revokedAt"]);
    }
    assert_eq!(stack.database.number("SELECT count(*) FROM api_key WHERE revoked_at IS NULL").await, 0);
    assert_eq!(stack.get("/v1/models", &customer.key).await.status, 401);
}

#[tokio::test]
async fn a_key_works_until_it_expires() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let at = Ambient::system().now() + Duration::from_millis(1_500);
    let body = json!({ "name": "short", "expiresAt": at.format(&Rfc3339).unwrap() });
    let (key, _) = stack.create_key(&customer.session, &body).await;
    assert_eq!(stack.get("/v1/models", &key).await.status, 200);
    wait_until("the key to expire", async || stack.get("/v1/models", &key).await.status == 401).await;
    assert!(Ambient::system().now() >= at);
    let past = json!({ "expiresAt": "2020-01-01T00:00:00Z" });
    let reply = stack.post("/api/auth", &customer.session, &past).await;
    assert_eq!((reply.status, reply.json()["error"]["param"].as_str()), (400, Some("expiresAt")));
}

#[tokio::test]
async fn a_key_of_another_makers_form_is_refused_with_a_hint() {
    let stack = Stack::start().await;
    let reply = stack.get("/v1/models", "kr_live_0123456789abcdef").await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_api_key"));
    assert!(reply.message().contains("kr_live_"), "{reply}");
    let customer = stack.sign_up().await;
    let reply = stack.get("/v1/models", &customer.session).await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_api_key"));
    assert!(reply.message().contains("session token"), "{reply}");
}

#[tokio::test]
async fn a_typo_never_asks_the_database() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    // Another process, without a cached key and without a table to query.
    let second = stack.second_node().await;
    stack.database.tamper("ALTER TABLE api_key RENAME TO api_key_away").await;
    let asked = second.get("/v1/models", &customer.key).await;
    assert!(asked.status >= 500, "a well-formed key is looked up: {asked}");
    for at in 0..customer.key.len() {
        let mut typo = customer.key.clone().into_bytes();
        typo[at] = if typo[at] == b'x' { b'y' } else { b'x' };
        let typo = String::from_utf8(typo).unwrap();
        let reply = second.get("/v1/models", &typo).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_api_key"), "{at}: {reply}");
    }
    for cut in ["kr-", &customer.key[..51], &format!("{}x", customer.key), "sk-abc", "krs_x"] {
        assert_eq!(second.get("/v1/models", cut).await.status, 401, "{cut}");
    }
}

#[tokio::test]
async fn a_key_may_come_in_either_header() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let in_header = stack.request("GET", "/v1/models").header("x-api-key", &customer.key).send().await;
    assert_eq!(in_header.status, 200);
    let lower = format!("bearer {}", customer.key);
    assert_eq!(stack.request("GET", "/v1/models").header("authorization", &lower).send().await.status, 200);
    let basic = format!("Basic {}", customer.key);
    let refused = stack.request("GET", "/v1/models").header("authorization", &basic).send().await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_api_key"));
}

#[tokio::test]
async fn the_list_of_keys_shows_revoked_ones_as_such() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    stack.delete(&format!("/api/auth/keys/{}", customer.key_id), &customer.session).await;
    let me = stack.get("/api/auth", &customer.session).await.json();
    assert_eq!(text(&me["apiKeys"][0]["keyId"]), customer.key_id);
    assert!(me["apiKeys"][0]["revokedAt"].is_string());
    let patched = stack.patch_key(&customer.session, &customer.key_id, &json!({ "name": "x" })).await;
    assert_eq!(patched.status, 404, "a revoked key cannot be changed: {patched}");
}
