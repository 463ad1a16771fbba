//! `X-Provider` and `X-Provider-Model`: which provider and model are called.

use super::{Form, GOOD, assert_no_money_moved, assert_refused, endpoints, rich, seen};
use crate::harness::{Customer, Reply, Stack, hello};
use serde_json::{Value, json};

async fn with(
    stack: &Stack,
    customer: &Customer,
    headers: &[(&str, &str)],
    path: &str,
    body: &Value,
) -> Reply {
    let request = stack.request("POST", path).bearer(&customer.key).json(body);
    headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send().await
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn without_a_key_the_header_only_pins_and_wins_over_the_prefix() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for (provider, model, id, upstream) in [
        ("Groq", "gpt-oss-120b", "groq", "openai/gpt-oss-120b"),
        ("together", "groq/gpt-oss-120b", "together_ai", "openai/gpt-oss-120b"),
        ("CEREBRAS", "openai/gpt-oss-120b", "cerebras", "gpt-oss-120b"),
        ("openai", "openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("openai", "gpt-4o-mini", "openai", "gpt-4o-mini"),
    ] {
        let reply = with(&stack, &customer, &[("x-provider", provider)], CHAT, &hello(model)).await;
        assert_eq!(reply.status, 200, "{provider} {model}: {reply}");
        assert_eq!(stack.simulator.bill()[0].model, upstream, "{provider} {model}");
        assert_eq!(seen(&stack), [format!("{id} platform-{id}")], "{provider} {model}");
    }
    // A model that does not exist: on a platform key it has no price.
    let reply = with(&stack, &customer, &[("x-provider", "groq")], CHAT, &hello("openai/gpt-4o")).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "model_not_found"), "{reply}");
    // With a key the provider decides, and gets the name without the prefix.
    let own = [("x-provider", "groq"), ("x-provider-key", GOOD)];
    assert_eq!(with(&stack, &customer, &own, CHAT, &hello("openai/never-made")).await.status, 200);
    assert_eq!(stack.simulator.bill()[0].model, "never-made");
    assert_eq!(seen(&stack), [format!("groq {GOOD}")]);
    stack.finish().await;
}

#[tokio::test]
async fn a_key_alone_with_a_name_that_roams_asks_for_the_provider() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    for model in ["auto", "kr-auto", "gpt-oss-120b"] {
        let reply = with(&stack, &customer, &[("x-provider-key", GOOD)], CHAT, &hello(model)).await;
        assert_refused(&reply, "invalid_request", model);
        assert!(reply.message().contains("X-Provider"), "{reply}");
        assert_eq!(reply.json()["error"]["param"], "x-provider");
    }
    assert!(stack.simulator.bill().is_empty());
    stack.finish().await;
}

#[tokio::test]
async fn a_model_left_over_in_the_header_is_passed_over() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    let ask = |provider: &'static str, model: &'static str| {
        [("x-provider", provider), ("x-provider-key", GOOD), ("x-provider-model", model)]
    };
    let embed = json!({ "model": "openai/text-embedding-3-small", "input": "a" });
    let speak = json!({ "model": "openai/tts-1", "input": "a", "voice": "alloy" });
    let unsure = json!({ "model": "openai/gpt-4o-mini", "input": "a" });
    let complete = json!({ "model": "openai/gpt-4o-mini", "prompt": "a" });
    let google = hello("google/gemini-2.5-pro");
    for (headers, path, body, model) in [
        (ask("openai", "gpt-4o"), CHAT, &hello("openai/gpt-4o-mini"), "gpt-4o"),
        (ask("openai", "ft:mine"), CHAT, &hello("openai/gpt-4o-mini"), "ft:mine"),
        (ask("google", "gpt-4o"), CHAT, &google, "gemini-2.5-pro"),
        (ask("openai", "gpt-4o"), "/v1/embeddings", &embed, "text-embedding-3-small"),
        (ask("openai", "gpt-4o"), "/v1/audio/speech", &speak, "tts-1"),
        // A name that is not in the catalogue may be of any kind: the body's own model is certain.
        (ask("openai", "ft:mine"), "/v1/embeddings", &embed, "text-embedding-3-small"),
        (ask("openai", "openai/ft:mine"), "/v1/audio/speech", &speak, "tts-1"),
        (ask("openai", "ft:mine"), "/v1/embeddings", &unsure, "ft:mine"),
        (ask("openai", "ft:mine"), "/v1/completions", &complete, "ft:mine"),
        (ask("openai", " "), CHAT, &hello("openai/gpt-4o-mini"), "gpt-4o-mini"),
    ] {
        let reply = with(&stack, &customer, &headers, path, body).await;
        assert_eq!(reply.status, 200, "{headers:?} {reply}");
        assert_eq!(stack.simulator.bill()[0].model, model, "{headers:?}");
        assert_eq!(seen(&stack), [format!("{} {GOOD}", headers[0].1)], "{headers:?}");
    }
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_brought_key_never_goes_to_a_host_of_the_customers_own() {
    let stack = Stack::builder().env("KAIROSROUTE_ALLOW_PRIVATE_NETS", "127.0.0.0/8").start().await;
    let customer = stack.customer("1").await;
    let elsewhere = format!("http://{}/groq/openai/v1", stack.simulator.address());
    let keys = json!({ "OpenAI": [{ "key": "stored-elsewhere-1", "baseUrl": elsewhere }] });
    stack.set_provider_keys(&customer, &keys).await;
    let chat = || endpoints().remove(0);
    assert_eq!(chat().ask().send(&stack, &customer).await.status, 200);
    assert_eq!(seen(&stack), ["groq stored-elsewhere-1"], "the stored key does");
    for form in super::FORMS {
        for key in [GOOD, super::WRONG] {
            chat().ask().key(form, key).send(&stack, &customer).await;
            assert_eq!(seen(&stack), [format!("openai {key}")], "{form:?}");
        }
    }
    let both = chat().ask().key(Form::Extra, GOOD).extra("provider", json!("openai"));
    assert_eq!(both.send(&stack, &customer).await.status, 200);
    assert_eq!(seen(&stack), [format!("openai {GOOD}")]);
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}
