//! A conversation stays with the host that has cached its prompt, for as long as that is cheaper.

use crate::harness::{Customer, Reply, Stack};
use kairosroute::domain::catalog::{Flag, Mode, Model, Rates, ServiceTier};
use serde_json::{Value, json};
use std::sync::Arc;

/// Bytes of the first prompt: well above what providers cache.
const PROMPT_BYTES: usize = 40_000;

fn rates(stack: &Stack, model: &Model) -> Option<Rates> {
    let now = stack.gateway().ambient.now();
    let tokens = u64::try_from(PROMPT_BYTES / 4).unwrap();
    Some(model.prices.as_ref()?.at(now)?.rates(ServiceTier::Standard, tokens, now)?.rates)
}

/// The price of the first prompt at a host, uncached and cached; in nano-dollars for each token, times a million.
fn costs(stack: &Stack, model: &Model) -> Option<(i64, i64)> {
    let rates = rates(stack, model)?;
    rates.output.map(|_| (rates.input.0, rates.cache_read.0))
}

/// A model and two of its hosts: the cheaper one, and one that is cheaper than it after it has cached the prompt.
fn dearer_host(stack: &Stack) -> (String, Arc<Model>, Arc<Model>) {
    let catalog = stack.gateway().catalog.load_full();
    let today = stack.gateway().ambient.now().date();
    let usable = |model: &&Arc<Model>| {
        model.mode == Mode::Chat && model.is_live(today) && !model.flags.has(Flag::AlwaysSearches)
    };
    let models: Vec<&Arc<Model>> = catalog.models().filter(usable).collect();
    for model in &models {
        let hosts: Vec<&Arc<Model>> = models.iter().copied().filter(|host| host.name == model.name).collect();
        let cheapest = hosts
            .iter()
            .filter_map(|host| Some((costs(stack, host)?.0, *host)))
            .min_by_key(|(cost, _)| *cost);
        let Some((least, cheapest)) = cheapest else { continue };
        // Far enough apart that the answer's price does not matter.
        let dearer = hosts.iter().find(|host| {
            costs(stack, host).is_some_and(|(input, cached)| input > least * 11 / 10 && cached * 2 < least)
        });
        if let Some(dearer) = dearer {
            return (model.name.to_string(), cheapest.clone(), (*dearer).clone());
        }
    }
    panic!("the catalogue has no such model");
}

fn conversation(name: &str, first: &str, turns: usize) -> Value {
    let mut messages = vec![json!({ "role": "user", "content": first })];
    for turn in 1..turns {
        messages.push(json!({ "role": "assistant", "content": format!("answer {turn}") }));
        messages.push(json!({ "role": "user", "content": format!("question {turn}") }));
    }
    json!({ "model": name, "messages": messages, "max_tokens": 20 })
}

async fn ask(stack: &Stack, customer: &Customer, body: &Value) -> (Reply, Value) {
    let reply = stack.chat(&customer.key, body).await;
    assert_eq!(reply.status, 200, "{reply}");
    let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
    (reply, receipt)
}

#[tokio::test]
async fn a_conversation_stays_where_its_prompt_was_read_while_that_is_cheaper() {
    let stack = Stack::start().await;
    let (customer, other) = (stack.customer("10").await, stack.customer("10").await);
    let (name, cheapest, dearer) = dearer_host(&stack);
    let first = "a long text ".repeat(PROMPT_BYTES / 12);
    let chosen = |receipt: &Value| receipt["decision"]["model_id"].as_str().unwrap().to_owned();

    // The request names another host, once.
    let mut body = conversation(&name, &first, 1);
    body["provider"] = json!({ "order": [dearer.provider.row().name] });
    stack.simulator.enqueue(
        dearer.provider.as_str(),
        kairosroute::simulator::Script::default().with_tokens(u64::try_from(PROMPT_BYTES / 4).unwrap(), 5),
    );
    assert_eq!(chosen(&ask(&stack, &customer, &body).await.1), *dearer.id);
    stack.no_hold_is_open().await;

    // Its next turn stays there, and the plan states the reason; so does the dry run.
    let next = conversation(&name, &first, 2);
    let plan = stack.post("/v1/route", &customer.key, &next).await.json();
    assert_eq!(plan["decision"]["model_id"], *dearer.id, "{plan:#}");
    stack.simulator.enqueue(
        dearer.provider.as_str(),
        kairosroute::simulator::Script::default().with_tokens(u64::try_from(PROMPT_BYTES / 4).unwrap(), 5),
    );
    let (_, receipt) = ask(&stack, &customer, &next).await;
    assert_eq!(chosen(&receipt), *dearer.id, "{receipt:#}");
    let line = &receipt["candidates"][0];
    assert!(line["reasons"].as_array().unwrap().contains(&json!("same_session")), "{line}");
    stack.no_hold_is_open().await;

    // A conversation with another beginning, and another organization, use the cheapest.
    let beside = conversation(&name, &first.replace("long", "wide"), 1);
    assert_eq!(chosen(&ask(&stack, &customer, &beside).await.1), *cheapest.id);
    assert_eq!(chosen(&ask(&stack, &other, &next).await.1), *cheapest.id);

    // A host that the request names has priority over the one that has cached the prompt.
    let mut ordered = conversation(&name, &first, 3);
    ordered["provider"] = json!({ "order": [cheapest.provider.row().name] });
    assert_eq!(chosen(&ask(&stack, &customer, &ordered).await.1), *cheapest.id);
    stack.finish().await;
}

#[tokio::test]
async fn a_short_prompt_is_no_reason_to_stay_with_a_dearer_host() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let (name, cheapest, dearer) = dearer_host(&stack);
    let mut body = conversation(&name, "hello", 1);
    body["session_id"] = json!("mine");
    body["provider"] = json!({ "order": [dearer.provider.row().name] });
    let (_, receipt) = ask(&stack, &customer, &body).await;
    assert_eq!(receipt["decision"]["model_id"], *dearer.id);
    stack.no_hold_is_open().await;
    body.as_object_mut().unwrap().remove("provider");
    let (_, receipt) = ask(&stack, &customer, &body).await;
    assert_eq!(receipt["decision"]["model_id"], *cheapest.id);
    stack.finish().await;
}
