//! Provider keys of an organization: who may see and change them, which API keys they serve and in which order, and
//! what their seal is bound to.

use crate::{
    harness::{Client, Reply, Stack, hello, text, wait_for, wait_until},
    members::join,
};
use kairosroute::simulator::Script;
use serde_json::{Value, json};

const PATH: &str = "/api/provider-keys";
const MODEL: &str = "openai/gpt-5.4-mini";

async fn change(client: &Client, method: &str, session: &str, keys: Value) -> Reply {
    client.request(method, PATH).bearer(session).json(&json!({ "providerKeys": keys })).send().await
}

async fn keys(client: &Client, session: &str) -> Value {
    client.get(PATH, session).await.json()["providerKeys"].clone()
}

/// The credential with which the last request reached its provider.
async fn used(stack: &Stack, client: &Client, key: &str) -> String {
    let reply = client.chat(key, &hello(MODEL)).await;
    assert_eq!(reply.status, 200, "{reply}");
    stack.simulator.bill().last().unwrap().authorization.clone()
}

#[tokio::test]
async fn all_api_keys_use_them_after_their_own() {
    let stack = Stack::builder().no_platform_keys().start().await;
    let customer = stack.customer("1").await;
    let (other, other_id) = stack.create_key(&customer.session, &json!({ "name": "other" })).await;
    let stranger = stack.customer("1").await;
    assert_eq!(keys(&stack, &customer.session).await, json!([]));
    let list =
        json!({ "OpenAI": [{ "key": "sk-shared-11111111", "label": "team" }, 5], "Groq": "gsk_shared-1" });
    assert_eq!(change(&stack, "PATCH", &customer.session, list).await.status, 400);
    let list =
        json!({ "OpenAI": [{ "key": "sk-shared-11111111", "label": "team" }], "Groq": "gsk_shared-1234" });
    let set = change(&stack, "PATCH", &customer.session, list).await;
    assert_eq!(set.status, 200, "{set}");
    let view = keys(&stack, &customer.session).await;
    assert_eq!(
        (view[1]["label"].as_str(), view[1]["last4"].as_str()),
        (Some("team"), Some("1111")),
        "{view}"
    );
    assert_eq!((&view[1]["apiKeys"], &view[1]["enabled"]), (&Value::Null, &json!(true)));
    assert!(!view.to_string().contains("shared-1"));
    for key in [&customer.key, &other] {
        assert_eq!(used(&stack, &stack, key).await, "sk-shared-11111111");
    }
    assert_eq!(stack.chat(&stranger.key, &hello(MODEL)).await.status, 400);
    // Its own key has priority over the shared one.
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-own-12345678" })).await;
    assert_eq!(used(&stack, &stack, &customer.key).await, "sk-own-12345678");
    assert_eq!(used(&stack, &stack, &other).await, "sk-shared-11111111");
    stack.simulator.enqueue("openai", Script::failing(401));
    assert_eq!(used(&stack, &stack, &customer.key).await, "sk-shared-11111111");
    // The list of an API key shows only its own keys.
    let own = stack.get(&format!("/api/auth/keys/{}", customer.key_id), &customer.session).await.json();
    assert_eq!(own["providerKeys"].as_array().map(Vec::len), Some(1), "{own}");
    // Its use is recorded.
    wait_for("the use to appear", async || {
        let key = keys(&stack, &customer.session).await[1].clone();
        key["lastUsedAt"].is_string().then_some(key)
    })
    .await;
    // Revoking an API key removes its own keys, and no others.
    assert_eq!(stack.delete(&format!("/api/auth/keys/{other_id}"), &customer.session).await.status, 200);
    assert_eq!(keys(&stack, &customer.session).await.as_array().map(Vec::len), Some(2));
    stack.finish().await;
}

#[tokio::test]
async fn named_api_keys_alone_may_use_one() {
    let stack = Stack::builder().no_platform_keys().start().await;
    let second = stack.second_node().await;
    let (customer, stranger) = (stack.customer("1").await, stack.customer("1").await);
    let (other, other_id) = stack.create_key(&customer.session, &json!({ "name": "other" })).await;
    let named = |ids: Value| json!({ "OpenAI": [{ "key": "sk-named-12345678", "apiKeys": ids }] });
    for wrong in [json!([stranger.key_id]), json!(["key_none"])] {
        assert_eq!(change(&stack, "PUT", &customer.session, named(wrong)).await.status, 404);
    }
    assert_eq!(change(&stack, "PUT", &customer.session, named(json!([]))).await.status, 400);
    let set = change(&stack, "PUT", &customer.session, named(json!([other_id]))).await;
    assert_eq!(set.status, 200, "{set}");
    let id = text(&set.json()["providerKeys"][0]["id"]);
    assert_eq!(set.json()["providerKeys"][0]["apiKeys"], json!([other_id]));
    for client in [&stack.client, &*second] {
        assert_eq!(used(&stack, client, &other).await, "sk-named-12345678");
        assert_eq!(client.chat(&customer.key, &hello(MODEL)).await.status, 400);
    }
    // Shared with all, without sending the secret again: on every process.
    let all = json!({ "OpenAI": [{ "id": id, "apiKeys": null }] });
    assert_eq!(change(&stack, "PATCH", &customer.session, all).await.status, 200);
    assert_eq!(used(&stack, &stack, &customer.key).await, "sk-named-12345678");
    wait_until("the other process to know", async || {
        second.chat(&customer.key, &hello(MODEL)).await.status == 200
    })
    .await;
    // Disabled and deleted.
    let off = json!({ "OpenAI": [{ "id": id, "enabled": false }] });
    assert_eq!(change(&stack, "PATCH", &customer.session, off).await.status, 200);
    assert_eq!(stack.chat(&customer.key, &hello(MODEL)).await.status, 400);
    assert_eq!(stack.delete(&format!("{PATH}/{id}"), &stranger.session).await.status, 404);
    assert_eq!(stack.delete(PATH, &customer.session).await.status, 400);
    assert_eq!(stack.delete(&format!("{PATH}?id={id}"), &customer.session).await.status, 200);
    assert_eq!(stack.delete(&format!("{PATH}/{id}"), &customer.session).await.status, 404);
    assert_eq!(keys(&stack, &customer.session).await, json!([]));
    // A key of an API key is not shared.
    let misplaced = json!({ "providerKeys": { "OpenAI": [{ "key": "sk-own-12345678", "apiKeys": null }] } });
    let refused = stack.patch_key(&customer.session, &customer.key_id, &misplaced).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["param"].clone()),
        (400, json!("apiKeys")),
        "{refused}"
    );
    stack.finish().await;
}

#[tokio::test]
async fn a_list_is_ordered_merged_replaced_and_tested() {
    let stack = Stack::builder().no_platform_keys().start().await;
    let customer = stack.customer("1").await;
    let two = json!({ "OpenAI": [{ "key": "sk-one-12345678" }, { "key": "bad-two-12345678" }], "Groq": "gsk_x-12345678" });
    assert_eq!(change(&stack, "PUT", &customer.session, two).await.status, 200);
    let view = keys(&stack, &customer.session).await;
    let ids: Vec<String> = view.as_array().unwrap().iter().map(|key| text(&key["id"])).collect();
    assert_eq!(used(&stack, &stack, &customer.key).await, "sk-one-12345678");
    let swapped = json!({ "OpenAI": [{ "id": ids[2] }, { "id": ids[1] }] });
    assert_eq!(change(&stack, "PATCH", &customer.session, swapped).await.status, 200);
    // The first is refused now, and the second serves.
    assert_eq!(used(&stack, &stack, &customer.key).await, "sk-one-12345678");
    assert!(stack.simulator.bill().iter().any(|call| call.authorization == "bad-two-12345678"));
    let test = async |id: &str| {
        let path = format!("{PATH}/openai/test?id={id}");
        stack.request("POST", &path).bearer(&customer.session).send().await
    };
    assert_eq!(test(&ids[1]).await.json()["valid"], true);
    assert_eq!(test(&ids[2]).await.json()["valid"], false);
    assert_eq!(test(&format!("pk_{}", "0".repeat(32))).await.status, 404);
    assert_eq!(keys(&stack, &customer.session).await[1]["status"], "invalid");
    // PUT removes the providers that it does not name.
    let one = json!({ "OpenAI": [{ "id": ids[1], "label": "kept" }] });
    let put = change(&stack, "PUT", &customer.session, one).await;
    assert_eq!(put.json()["providerKeys"].as_array().map(Vec::len), Some(1), "{put}");
    assert_eq!(put.json()["providerKeys"][0]["label"], "kept");
    assert_eq!(change(&stack, "PATCH", &customer.session, Value::Null).await.status, 200);
    assert_eq!(keys(&stack, &customer.session).await, json!([]));
    stack.finish().await;
}

#[tokio::test]
async fn only_roles_that_see_every_api_key_see_them() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let list = json!({ "OpenAI": "sk-shared-12345678" });
    for (role, reads, writes) in
        [("admin", 200, 200), ("viewer", 200, 403), ("member", 403, 403), ("billing", 403, 403)]
    {
        let (session, _) = join(&stack, &customer, role).await;
        assert_eq!(stack.get(PATH, &session).await.status, reads, "{role}");
        assert_eq!(change(&stack, "PATCH", &session, list.clone()).await.status, writes, "{role}");
    }
    let with_key = stack.get(PATH, &customer.key).await;
    assert!(matches!(with_key.status, 401 | 403), "{with_key}");
}

/// A row that was changed without the gateway does not open: not for another organization, nor for other API keys than
/// it was shared with, nor as a key of one API key.
#[tokio::test]
async fn a_seal_is_bound_to_the_organization_and_to_who_shares_it() {
    let stack = Stack::builder().no_platform_keys().start().await;
    let (customer, stranger) = (stack.customer("1").await, stack.customer("1").await);
    let (_, other_id) = stack.create_key(&customer.session, &json!({ "name": "other" })).await;
    let named = json!({ "OpenAI": [{ "key": "sk-named-12345678", "apiKeys": [other_id] }] });
    assert_eq!(change(&stack, "PUT", &customer.session, named).await.status, 200);
    let fails = async |key: &str| {
        wait_until("the changed row to be read", async || {
            let reply = stack.chat(key, &hello(MODEL)).await;
            assert_eq!(reply.status, 400, "{reply}");
            reply.message().contains("cannot be read")
        })
        .await;
        assert_eq!(stack.simulator.bill().len(), 0);
    };
    stack.database.tamper("UPDATE provider_key SET shared_with = NULL").await;
    fails(&customer.key).await;
    let uuid = |id: &str| id.split_once('_').unwrap().1.to_owned();
    let own = format!("UPDATE provider_key SET api_key_id = '{}'", uuid(&customer.key_id));
    stack.database.tamper(&own).await;
    fails(&customer.key).await;
    let moved =
        format!("UPDATE provider_key SET api_key_id = NULL, org_id = '{}'", uuid(&stranger.organization_id));
    stack.database.tamper(&moved).await;
    fails(&stranger.key).await;
}
