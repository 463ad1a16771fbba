//! The list of models: every kind, its prices, and whether an API key may use it.

use crate::harness::Stack;
use serde_json::{Value, json};

fn find(list: &Value, id: &str) -> Value {
    let models = list["data"].as_array().unwrap();
    models.iter().find(|model| model["id"] == id).cloned().unwrap_or_default()
}

#[tokio::test]
async fn every_kind_of_model_is_listed_with_what_it_costs() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let list = stack.get("/v1/models", &customer.key).await.json();
    for (id, mode, priced) in [
        ("openai/text-embedding-3-small", "embedding", json!("0.02")),
        ("openai/tts-1", "audio_speech", json!({"million_characters": "15"})),
        ("openai/whisper-1", "audio_transcription", json!({"audio_minute": "0.006"})),
        ("mistral/mistral-ocr-latest", "ocr", json!({"page": "0.004"})),
        ("cohere/rerank-v4.0-pro", "rerank", json!({"query": "0.0025"})),
        ("openai/omni-moderation-latest", "moderation", json!("0")),
        ("xai/grok-imagine-image", "image_generation", json!({"image": "0.02"})),
        ("openai/gpt-5.4-mini", "chat", json!("0.75")),
    ] {
        let model = find(&list, id);
        assert_eq!(model["mode"], mode, "{id}: {model}");
        let pricing = &model["pricing"];
        let told = if priced.is_string() { &pricing["input"] } else { &pricing["usd_per"] };
        assert_eq!(told, &priced, "{model}");
        assert_eq!((&model["available"], &model["byok"]), (&json!(true), &json!(false)), "{model}");
    }
    assert_eq!(find(&list, "openai/dall-e-3"), Value::Null, "retired");
    stack.finish().await;
}

#[tokio::test]
async fn what_an_api_key_may_use_follows_its_rules_and_its_own_keys() {
    let stack = Stack::builder().no_platform_keys().platform_key("openai", "platform-openai").start().await;
    let customer = stack.sign_up().await;
    let limited = json!([{"key": "own-key-12345678", "models": ["embed-v4.0"]}]);
    stack.set_provider_keys(&customer, &json!({"Cohere": limited})).await;
    let state = async |rules: Value| {
        let reply = stack.patch_key(&customer.session, &customer.key_id, &rules).await;
        assert_eq!(reply.status, 200, "{reply}");
        let list = stack.get("/v1/models", &customer.key).await.json();
        ["cohere/embed-v4.0", "cohere/embed-v5.0-fast", "openai/tts-1"].map(|id| {
            let model = find(&list, id);
            (model["byok"] == true, model["available"] == true)
        })
    };
    let rules = json!({"allowedModels": null});
    assert_eq!(state(rules).await, [(true, true), (false, false), (false, true)]);
    let rules = json!({"allowedModels": ["openai/tts-1"]});
    assert_eq!(state(rules).await, [(true, false), (false, false), (false, true)]);
    let rules = json!({"allowedModels": null, "excludedProviders": ["openai"]});
    assert_eq!(state(rules).await, [(true, true), (false, false), (false, false)]);
    stack.finish().await;
}

#[tokio::test]
async fn a_provider_s_name_lists_its_models() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for name in ["cohere", "Together%20AI", "together_ai"] {
        let reply = stack.get(&format!("/v1/models/{name}"), &customer.key).await;
        let models = reply.json()["data"].as_array().unwrap().clone();
        assert!(!models.is_empty(), "{reply}");
        let owner = if name == "cohere" { "cohere" } else { "together_ai" };
        assert!(models.iter().all(|model| model["owned_by"] == owner), "{reply}");
    }
    let slashed = stack.get("/api/v1/models/groq%2Fcanopylabs%2Forpheus-v1-english", &customer.key).await;
    assert_eq!(slashed.json()["id"], "groq/orpheus-v1-english", "{slashed}");
    stack.finish().await;
}

#[tokio::test]
async fn an_anthropic_client_gets_its_own_shape() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let get = async |path: &str| {
        let request = stack.request("GET", path).header("x-api-key", &customer.key);
        request.header("anthropic-version", "2023-06-01").send().await
    };
    let list = get("/v1/models").await.json();
    let models = list["data"].as_array().unwrap();
    assert_eq!((&list["has_more"], &list["first_id"]), (&json!(false), &models[0]["id"]));
    assert_eq!(list["last_id"], models[models.len() - 1]["id"]);
    for model in models {
        assert_eq!(model["type"], "model");
        assert!(model["display_name"].is_string() && model["created_at"].is_string(), "{model}");
    }
    assert_eq!(find(&list, "openai/tts-1"), Value::Null, "it does not converse");
    let one = get("/v1/models/claude-haiku-4-5").await.json();
    assert_eq!((&one["type"], &one["display_name"]), (&json!("model"), &json!("claude-haiku-4-5")), "{one}");
    let none = get("/v1/models/claude-0").await;
    assert_eq!((none.status, &none.json()["type"]), (404, &json!("error")), "{none}");
    stack.finish().await;
}
