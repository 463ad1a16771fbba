//! Rotation of an API key: a new secret for the same id and rules, and the old secret until its grace period ends, on
//! every process.

use crate::harness::{Client, Customer, Reply, Stack, hello, text, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "openai/gpt-5.4-mini";

async fn rotate(client: &Client, customer: &Customer, body: &Value) -> Reply {
    client.post(&format!("/api/auth/keys/{}/rotate", customer.key_id), &customer.session, body).await
}

async fn status(client: &Client, key: &str) -> u16 {
    client.chat(key, &hello(MODEL)).await.status
}

#[tokio::test]
async fn both_secrets_work_until_the_grace_ends_and_keep_the_keys_rules() {
    let stack = Stack::start().await;
    let second = stack.second_node().await;
    let customer = stack.customer("10").await;
    let rules =
        json!({ "name": "mine", "byokFallback": "never", "providerKeys": { "OpenAI": "sk-own-12345678" } });
    assert_eq!(stack.patch_key(&customer.session, &customer.key_id, &rules).await.status, 200);
    assert_eq!(status(&second, &customer.key).await, 200);
    let rotated = rotate(&stack, &customer, &json!({ "graceSeconds": 600 })).await;
    assert_eq!(rotated.status, 200, "{rotated}");
    let view = rotated.json();
    let key = text(&view["key"]);
    assert_ne!(key, customer.key);
    assert_eq!((&view["keyId"], &view["name"]), (&json!(customer.key_id), &json!("mine")));
    assert_eq!(view["last4"], key[key.len() - 4..]);
    assert_eq!(view["previousLast4"], customer.key[customer.key.len() - 4..]);
    assert!(view["previousWorksUntil"].is_string(), "{view}");
    assert_eq!(view["providerKeys"][0]["last4"], "5678");
    for client in [&stack.client, &*second] {
        for secret in [&key, &customer.key] {
            let reply = client.chat(secret, &hello(MODEL)).await;
            assert_eq!((reply.status, reply.header("x-kairosroute-byok")), (200, "true"), "{reply}");
        }
    }
    let shown = stack.get(&format!("/api/auth/keys/{}", customer.key_id), &customer.session).await.json();
    assert!(shown.get("key").is_none() && !shown.to_string().contains(&key[3..20]), "{shown}");
    assert_eq!(shown["previousLast4"], view["previousLast4"]);
    // The grace period is over.
    stack.database.tamper("UPDATE api_key SET previous_until = now() WHERE previous_until IS NOT NULL").await;
    for client in [&stack.client, &*second] {
        wait_until("the old secret to end", async || status(client, &customer.key).await == 401).await;
        assert_eq!(status(client, &key).await, 200);
    }
    // Revoked, the key is gone with all its secrets.
    let again = text(&rotate(&stack, &customer, &json!({ "graceSeconds": 600 })).await.json()["key"]);
    let path = format!("/api/auth/keys/{}", customer.key_id);
    assert_eq!(stack.delete(&path, &customer.session).await.status, 200);
    for secret in [&key, &again] {
        assert_eq!(status(&stack, secret).await, 401);
    }
    assert_eq!(rotate(&stack, &customer, &json!({})).await.status, 404);
    stack.finish().await;
}

#[tokio::test]
async fn without_grace_the_old_secret_ends_at_once() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    assert_eq!(status(&stack, &customer.key).await, 200);
    for wrong in [json!({ "graceSeconds": 2_592_001 }), json!({ "graceSeconds": -1 }), json!({ "grace": 1 })]
    {
        assert_eq!(rotate(&stack, &customer, &wrong).await.status, 400, "{wrong}");
    }
    let path = format!("/api/auth/keys/{}/rotate", customer.key_id);
    let bare = stack.request("POST", &path).bearer(&customer.session).send().await;
    assert_eq!(bare.status, 200, "{bare}");
    let first = text(&bare.json()["key"]);
    assert_eq!((status(&stack, &customer.key).await, status(&stack, &first).await), (401, 200));
    // Of three secrets the oldest ends, whatever its grace period was.
    let second = text(&rotate(&stack, &customer, &json!({ "graceSeconds": 600 })).await.json()["key"]);
    let third = text(&rotate(&stack, &customer, &json!({ "graceSeconds": 600 })).await.json()["key"]);
    assert_eq!(status(&stack, &first).await, 401);
    assert_eq!((status(&stack, &second).await, status(&stack, &third).await), (200, 200));
    let log = "SELECT count(*) FROM audit_log WHERE action = 'api_key.rotate'";
    assert_eq!(stack.database.number(log).await, 3);
    // A repeat of the call does not rotate again.
    let send = async || {
        let request = stack.request("POST", &path).bearer(&customer.session).header("Idempotency-Key", "k");
        request.json(&json!({ "graceSeconds": 60 })).send().await
    };
    let (one, two) = (send().await, send().await);
    assert_eq!((one.status, two.header("idempotent-replayed")), (200, "true"), "{two}");
    assert_eq!(one.json()["key"], two.json()["key"]);
    stack.finish().await;
}
