//! The response cache across dialects: an answer that one client received, whole or streamed, is returned to every
//! other client, whole or streamed, as if its provider had answered it.

use super::{Answer, Client, Conversation, Feature, Script, Stack, ask, check};
use crate::harness::Customer;
use serde_json::{Value, json};

const CLIENTS: [Client; 3] = [Client::Chat, Client::Responses, Client::Messages];
const FORMS: [bool; 2] = [false, true];
/// Of three wire formats.
const MODELS: [&str; 3] = ["openai/gpt-4o", "anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash-lite"];

fn body(client: Client, model: &str, asked: &Conversation, stream: bool) -> Value {
    let mut body = client.body(model, asked, stream);
    if stream && client == Client::Chat {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

async fn answer(stack: &Stack, customer: &Customer, name: &str, client: Client, body: &Value) -> Answer {
    match ask(stack, customer, client, body).await {
        Ok((answer, _)) => answer,
        Err(error) => panic!("{name}: {error:?}"),
    }
}

/// The feature's conversation, with a text that no earlier request had.
fn conversation(feature: Feature, number: usize) -> Conversation {
    let system: &'static str = Box::leak(format!("You know the tides. {number}").into_boxed_str());
    Conversation { system: Some(system), limit: Some(1_000), ..feature.conversation() }
}

/// Sends as `writer` and then as every one of `readers`, in both forms: the provider is called once.
async fn round(
    stack: &Stack,
    customer: &Customer,
    (model, feature, number): (&str, Feature, usize),
    (writer, written): (Client, bool),
    readers: &[Client],
) {
    let script: Script = feature.script();
    let provider = model.split('/').next().unwrap();
    stack.simulator.clear();
    stack.simulator.set_default(provider, script);
    let (asked, expected) = (conversation(feature, number), feature.answer());
    let name = format!("{writer:?} (stream {written}) -> {model}, {feature:?}");
    let first = answer(stack, customer, &name, writer, &body(writer, model, &asked, written)).await;
    check(&name, writer, &first, &expected);
    assert!(first.note["cache"].is_null(), "{name}: {first:?}");
    let original = first.note["receipt_id"].clone();
    crate::harness::wait_until("the answer to be stored", async || {
        let again = answer(stack, customer, &name, writer, &body(writer, model, &asked, written)).await;
        !again.note["cache"].is_null()
    })
    .await;
    let calls = stack.simulator.bill().len();
    for reader in readers {
        for form in FORMS {
            let name = format!("{name}, then {reader:?} (stream {form})");
            let again = answer(stack, customer, &name, *reader, &body(*reader, model, &asked, form)).await;
            check(&name, *reader, &again, &expected);
            assert_eq!(again.note["charged_usd"].to_string(), "0", "{name}");
            let cache = &again.note["cache"];
            assert!(cache["age_seconds"].is_u64() && cache["saved_usd"].is_number(), "{name}: {cache}");
            if calls == 1 {
                assert_eq!(cache["original_receipt_id"], original, "{name}");
            }
        }
    }
    assert_eq!(stack.simulator.bill().len(), calls, "{name}");
}

#[tokio::test]
async fn an_answer_of_one_dialect_is_given_in_every_other() {
    let stack = Stack::start().await;
    let customer = caching_customer(&stack).await;
    let features = [
        Feature::Text,
        Feature::Tools,
        Feature::ParallelTools,
        Feature::ToolResults,
        Feature::Images,
        Feature::Length,
    ];
    let mut number = 0;
    for model in MODELS {
        for feature in features {
            for writer in CLIENTS {
                for written in FORMS {
                    number += 1;
                    round(&stack, &customer, (model, feature, number), (writer, written), &CLIENTS).await;
                }
            }
        }
    }
    stack.finish().await;
}

/// Dialects request reasoning in different ways: each finds its own stored answer.
#[tokio::test]
async fn reasoning_is_replayed_in_its_own_dialect() {
    let stack = Stack::start().await;
    let customer = caching_customer(&stack).await;
    let mut number = 0;
    for model in ["openai/gpt-5.5", "anthropic/claude-opus-5-5", "google/gemini-3.8-flash"] {
        for writer in CLIENTS {
            for written in FORMS {
                number += 1;
                let case = (model, Feature::Reasoning, number);
                round(&stack, &customer, case, (writer, written), &[writer]).await;
            }
        }
    }
    stack.finish().await;
}

async fn caching_customer(stack: &Stack) -> Customer {
    let customer = stack.customer("1000").await;
    let cache = json!({ "cache": { "ttlSeconds": 600 } });
    let reply = stack.patch_key(&customer.session, &customer.key_id, &cache).await;
    assert_eq!(reply.status, 200, "{reply}");
    customer
}
