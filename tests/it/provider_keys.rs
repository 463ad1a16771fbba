//! The merge patch of an API key: provider keys and guardrails, per field, all or nothing.

use crate::harness::{Client, Customer, Reply, Stack, text};
use kairosroute::domain::provider::PROVIDERS;
use serde_json::{Value, json};

/// The stored keys of a provider, in order.
fn of(view: &Value, provider: &str) -> Vec<Value> {
    let keys = view["providerKeys"].as_array().unwrap();
    keys.iter().filter(|key| key["provider"] == provider).cloned().collect()
}

async fn read(client: &Client, customer: &Customer) -> Value {
    client.get(&format!("/api/auth/keys/{}", customer.key_id), &customer.session).await.json()
}

/// A patch that must be refused and change nothing.
async fn refused(stack: &Stack, customer: &Customer, body: &Value, status: u16, code: &str) -> Reply {
    let before = (stack.database.rows("api_key").await, stack.database.rows("provider_key").await);
    let reply = stack.patch_key(&customer.session, &customer.key_id, body).await;
    assert_eq!((reply.status, reply.code().as_str()), (status, code), "{body}: {reply}");
    let after = (stack.database.rows("api_key").await, stack.database.rows("provider_key").await);
    assert!(before == after, "{body} was refused and changed something");
    reply
}

#[tokio::test]
async fn both_paths_set_listed_providers_and_leave_the_others() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let first = json!({ "providerKeys": { "OpenAI": "sk-first-0001", "Anthropic": "sk-ant-first-0002" } });
    let path = format!("/api/auth?keyId={}", customer.key_id);
    let reply = stack.request("PATCH", &path).bearer(&customer.session).json(&first).send().await;
    assert_eq!(reply.status, 200, "{reply}");
    let view = stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-second-0003" })).await;
    assert_eq!(of(&view, "openai")[0]["last4"], "0003");
    assert_eq!(of(&view, "openai").len(), 1, "a string replaces the list");
    assert_eq!(of(&view, "anthropic")[0]["last4"], "0002");
    assert_eq!(read(&stack, &customer).await["providerKeys"], view["providerKeys"]);
    let nameless = stack.request("PATCH", "/api/auth").bearer(&customer.session).json(&first).send().await;
    assert_eq!((nameless.status, nameless.json()["error"]["param"].as_str()), (400, Some("keyId")));
}

#[tokio::test]
async fn null_and_an_empty_list_remove_one_provider_and_null_on_top_removes_all() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let all = json!({ "OpenAI": "sk-openai-1", "Groq": "gsk_groq-1", "xAI": "xai-1234567890" });
    stack.set_provider_keys(&customer, &all).await;
    let view = stack.set_provider_keys(&customer, &json!({ "OpenAI": null })).await;
    assert!(of(&view, "openai").is_empty() && of(&view, "groq").len() == 1);
    let view = stack.set_provider_keys(&customer, &json!({ "Groq": [] })).await;
    assert!(of(&view, "groq").is_empty() && of(&view, "xai").len() == 1);
    let view = stack.set_provider_keys(&customer, &Value::Null).await;
    assert_eq!(view["providerKeys"], json!([]));
    assert_eq!(stack.database.number("SELECT count(*) FROM provider_key").await, 0);
}

#[tokio::test]
async fn a_list_is_kept_in_order_and_an_id_keeps_its_secret() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let list = json!([
        { "key": "sk-one-aaaa1111", "label": "one" },
        { "key": "sk-two-bbbb2222", "label": "two", "models": ["gpt-4o-mini"], "enabled": false },
    ]);
    let view = stack.set_provider_keys(&customer, &json!({ "openai": list })).await;
    let stored = of(&view, "openai");
    assert_eq!([&stored[0]["label"], &stored[1]["label"]], ["one", "two"]);
    assert_eq!(stored[1]["enabled"], false);
    assert_eq!(stored[1]["models"], json!(["gpt-4o-mini"]));
    let sealed = "SELECT encode(sealed, 'hex') FROM provider_key ORDER BY position";
    let before = stack.database.texts(sealed).await;
    // In reverse order, one relabelled and the other enabled, without sending either secret.
    let list = json!([
        { "id": stored[1]["id"], "enabled": true },
        { "id": stored[0]["id"], "label": "uno" },
    ]);
    let view = stack.set_provider_keys(&customer, &json!({ "openai": list })).await;
    let turned = of(&view, "openai");
    assert_eq!([&turned[0]["id"], &turned[1]["id"]], [&stored[1]["id"], &stored[0]["id"]]);
    assert_eq!([&turned[0]["label"], &turned[1]["label"]], ["two", "uno"]);
    assert_eq!(turned[0]["enabled"], true);
    assert_eq!(turned[0]["fingerprint"], stored[1]["fingerprint"]);
    let after = stack.database.texts(sealed).await;
    assert_eq!((&after[0], &after[1]), (&before[1], &before[0]));
    // An element that is left out is removed; a new secret under an old id keeps the id.
    let list = json!([{ "id": stored[0]["id"], "key": "sk-new-cccc3333" }]);
    let view = stack.set_provider_keys(&customer, &json!({ "openai": list })).await;
    let last = of(&view, "openai");
    assert_eq!((last.len(), &last[0]["id"]), (1, &stored[0]["id"]));
    assert_eq!(last[0]["last4"], "3333");
    assert_ne!(last[0]["fingerprint"], stored[0]["fingerprint"]);
}

#[tokio::test]
async fn names_and_aliases_are_matched_without_case_space_dash_or_underscore() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for (name, id) in [
        ("OpenAI", "openai"),
        ("open-ai", "openai"),
        ("Gemini", "google"),
        ("GROK", "xai"),
        ("together", "together_ai"),
        ("Together AI", "together_ai"),
        ("together_ai", "together_ai"),
        ("Fireworks AI", "fireworks_ai"),
        ("fireworks", "fireworks_ai"),
        ("Kimi", "moonshot"),
        ("deep seek", "deepseek"),
    ] {
        let view = stack.set_provider_keys(&customer, &json!({ name: "key-12345678" })).await;
        assert_eq!(of(&view, id).len(), 1, "{name}");
        stack.set_provider_keys(&customer, &Value::Null).await;
    }
    for row in PROVIDERS {
        let view = stack.set_provider_keys(&customer, &json!({ row.name: "key-12345678" })).await;
        assert_eq!(of(&view, row.id).len(), 1, "{}", row.name);
    }
    assert_eq!(stack.database.number("SELECT count(*) FROM provider_key").await, 13);
}

#[tokio::test]
async fn an_unknown_provider_is_400_with_the_list_of_those_there_are() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let body = json!({ "providerKeys": { "OpenAI": "sk-12345678", "Closed AI": "x" } });
    let reply = refused(&stack, &customer, &body, 400, "unknown_provider").await;
    let listed = reply.json()["error"]["supported_providers"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 13);
    for row in PROVIDERS {
        assert!(reply.message().contains(row.id), "{}", row.id);
    }
    let body = json!({ "allowedProviders": ["nobody"] });
    refused(&stack, &customer, &body, 400, "unknown_provider").await;
}

#[tokio::test]
async fn a_key_that_looks_like_anothers_is_stored_with_a_warning() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let view = stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-ant-api03-abcdefgh" })).await;
    let warning = text(&of(&view, "openai")[0]["warning"]);
    assert!(warning.contains("Anthropic") && !warning.contains("abcdefgh"), "{warning}");
    let view = stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-proj-abcdefgh" })).await;
    assert!(of(&view, "openai")[0]["warning"].is_null());
}

#[tokio::test]
async fn a_changed_base_url_needs_the_key_again() {
    let stack = Stack::builder().env("KAIROSROUTE_ALLOW_PRIVATE_NETS", "127.0.0.0/8").start().await;
    let customer = stack.sign_up().await;
    let base = stack.simulator.base_url("openai");
    let list = json!([{ "key": "sk-12345678", "baseUrl": base }]);
    let view = stack.set_provider_keys(&customer, &json!({ "openai": list })).await;
    let id = of(&view, "openai")[0]["id"].clone();
    assert_eq!(of(&view, "openai")[0]["baseUrl"], base);
    for changed in [json!("https://elsewhere.example/v1"), Value::Null] {
        let body = json!({ "providerKeys": { "openai": [{ "id": id, "baseUrl": changed }] } });
        let reply = refused(&stack, &customer, &body, 400, "invalid_request").await;
        assert_eq!(reply.json()["error"]["param"], "baseUrl");
    }
    let same = json!([{ "id": id, "baseUrl": base, "label": "same" }]);
    stack.set_provider_keys(&customer, &json!({ "openai": same })).await;
    let moved = json!([{ "id": id, "key": "sk-12345678", "baseUrl": null }]);
    let view = stack.set_provider_keys(&customer, &json!({ "openai": moved })).await;
    assert!(of(&view, "openai")[0]["baseUrl"].is_null());
}

#[tokio::test]
async fn a_base_url_of_a_private_network_is_refused_in_every_spelling() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for url in [
        "http://api.example.com/v1",
        "https://127.0.0.1/v1",
        "https://2130706433/v1",
        "https://0177.0.0.1/v1",
        "https://0x7f.1/v1",
        "https://[::1]/v1",
        "https://[::ffff:10.0.0.1]/v1",
        "https://169.254.169.254/latest",
        "https://10.1.2.3/v1",
        "https://user:pass@api.example.com/v1",
        "https://api.example.com/v1?x=1",
        "ftp://api.example.com",
        "api.example.com",
        "",
    ] {
        let body = json!({ "providerKeys": { "openai": [{ "key": "sk-12345678", "baseUrl": url }] } });
        let reply = refused(&stack, &customer, &body, 400, "invalid_request").await;
        assert_eq!(reply.json()["error"]["param"], "baseUrl", "{url}");
    }
}

#[tokio::test]
async fn unknown_fields_and_wrong_kinds_are_refused_by_name() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for (body, param) in [
        (json!({ "orgId": "x" }), Some("orgId")),
        (json!({ "keyHash": "x" }), Some("keyHash")),
        (json!({ "createdBy": "x" }), Some("createdBy")),
        (json!({ "revokedAt": null }), Some("revokedAt")),
        (json!({ "providerKeys": { "openai": [{ "key": "sk-12345678", "sealed": "x" }] } }), Some("sealed")),
        (
            json!({ "providerKeys": { "openai": [{ "key": "sk-12345678", "status": "valid" }] } }),
            Some("status"),
        ),
        (json!({ "providerKeys": { "openai": [{ "label": "no key" }] } }), Some("providerKeys")),
        (json!({ "providerKeys": { "openai": "" } }), Some("providerKeys")),
        (json!({ "providerKeys": { "openai": "two words" } }), Some("providerKeys")),
        (json!({ "providerKeys": { "openai": 7 } }), None),
        (json!({ "providerKeys": { "openai": {} } }), None),
        (json!({ "providerKeys": { "openai": ["sk-12345678"] } }), None),
        (json!({ "providerKeys": "sk-12345678" }), None),
        (
            json!({ "providerKeys": { "openai": "sk-12345678", "Open AI": "sk-12345678" } }),
            Some("providerKeys"),
        ),
        (json!({ "byokFallback": "sometimes" }), None),
        (json!({ "name": "" }), Some("name")),
        (json!({ "name": 7 }), None),
        (json!({ "expiresAt": "tomorrow" }), Some("expiresAt")),
        (json!({ "allowedProviders": [] }), Some("allowedProviders")),
        (json!({ "allowedModels": [""] }), Some("allowedModels")),
    ] {
        let reply = refused(&stack, &customer, &body, 400, "invalid_request").await;
        if let Some(param) = param {
            assert_eq!(reply.json()["error"]["param"], param, "{body}: {reply}");
        }
        assert!(!reply.text().contains("sk-12345678"), "{reply}");
    }
    let foreign = json!({ "providerKeys": { "openai": [{ "id": format!("pk_{}", "0".repeat(32)) }] } });
    refused(&stack, &customer, &foreign, 404, "not_found").await;
    let misspelt = json!({ "providerKeys": { "openai": [{ "id": "nonsense" }] } });
    refused(&stack, &customer, &misspelt, 404, "not_found").await;
}

#[tokio::test]
async fn a_guardrail_that_is_out_of_bounds_is_refused_by_name_and_null_clears_nothing() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for (name, value) in [
        ("maxCostPerRequestUsd", json!(-1)),
        ("budgetUsd", json!("much")),
        ("budgetPeriod", json!("day")),
        ("requestsPerMinute", json!(0)),
        ("tokensPerMinute", json!(0)),
        ("concurrentRequests", json!(0)),
        ("minQualityThreshold", json!(1.5)),
        ("allowedIps", json!(["here"])),
    ] {
        let reply = refused(&stack, &customer, &json!({ name: value }), 400, "invalid_request").await;
        assert_eq!(reply.json()["error"]["param"], name);
        assert!(reply.message().contains(name));
        assert_eq!(stack.post("/api/auth", &customer.session, &json!({ name: value })).await.status, 400);
        let cleared = stack.patch_key(&customer.session, &customer.key_id, &json!({ name: null })).await;
        assert_eq!(cleared.status, 200, "{cleared}");
    }
}

#[tokio::test]
async fn a_bad_second_field_keeps_the_first_from_being_stored() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let good = json!({ "name": "kept", "providerKeys": { "OpenAI": "sk-12345678" } });
    assert_eq!(stack.patch_key(&customer.session, &customer.key_id, &good).await.status, 200);
    for bad in [
        json!({ "name": "lost", "expiresAt": "never" }),
        json!({ "name": "lost", "budgetUsd": -1 }),
        json!({ "providerKeys": { "OpenAI": "sk-87654321", "Groq": "two words" } }),
        json!({ "providerKeys": { "OpenAI": null, "Groq": [{ "key": "gsk_12345678", "baseUrl": "https://10.0.0.1" }] } }),
    ] {
        refused(&stack, &customer, &bad, 400, "invalid_request").await;
    }
    // The error in the second provider's id is found only inside the transaction.
    let late = json!({ "name": "lost", "providerKeys": { "OpenAI": null,
        "Groq": [{ "id": format!("pk_{}", "0".repeat(32)) }] } });
    refused(&stack, &customer, &late, 404, "not_found").await;
    let view = read(&stack, &customer).await;
    assert_eq!(view["name"], "kept");
    assert_eq!(of(&view, "openai")[0]["last4"], "");
}

#[tokio::test]
async fn guardrails_are_merged_and_null_clears_them() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let patch = async |body: Value| {
        let reply = stack.patch_key(&customer.session, &customer.key_id, &body).await;
        assert_eq!(reply.status, 200, "{reply}");
        reply.json()
    };
    let set = patch(json!({ "name": "n", "byokFallback": "never", "allowedProviders": ["OpenAI", "grok"],
        "excludedProviders": ["Groq"], "allowedModels": ["gpt-4o-mini"], "expiresAt": "2099-01-01T00:00:00Z" }))
    .await;
    assert_eq!(set["allowedProviders"], json!(["openai", "xai"]));
    assert_eq!(set["excludedProviders"], json!(["groq"]));
    let untouched = patch(json!({})).await;
    assert_eq!(set, untouched);
    let cleared = patch(json!({ "name": null, "byokFallback": null, "allowedProviders": null,
        "excludedProviders": null, "allowedModels": null, "expiresAt": null }))
    .await;
    assert_eq!(cleared["byokFallback"], "platform");
    assert_eq!(cleared["excludedProviders"], json!([]));
    for field in ["allowedProviders", "allowedModels", "expiresAt"] {
        assert!(cleared[field].is_null(), "{field}");
    }
}
