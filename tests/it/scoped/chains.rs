//! The candidates after a request-scoped key: other providers, on stored keys, and on platform keys only if the request
//! allows it.

use super::{FORMS, Form, GOOD, WRONG, assert_no_money_moved, endpoints, rich, seen};
use crate::harness::{Customer, Reply, Stack, hello};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use std::time::Duration;

fn listed(models: &[&str]) -> Value {
    let mut body = hello("");
    body["model"] = json!(models);
    body
}

fn chat(models: &[&str]) -> super::Asking {
    endpoints().remove(0).ask().field("model", listed(models)["model"].clone())
}

#[tokio::test]
async fn other_providers_of_the_chain_use_stored_keys_and_those_without_one_are_skipped() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    let chain = ["openai/gpt-4o-mini", "openai/gpt-4o", "groq/gpt-oss-120b", "mistral/mistral-large-4"];
    for form in FORMS {
        let reply = chat(&chain).key(form, WRONG).send(&stack, &customer).await;
        assert_eq!(reply.status, 200, "{form:?}: {reply}");
        assert_eq!(
            seen(&stack),
            [format!("openai {WRONG}"), "mistral stored-mistral-1".to_owned()],
            "{form:?}: nobody is asked on the operator's key"
        );
        assert_eq!(reply.header("x-kairosroute-byok"), "true");
        assert_eq!(reply.header("x-ratelimit-bypass"), "", "the brought key did not serve");
        let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
        let candidates = receipt["candidates"].as_array().unwrap();
        let skipped = candidates.iter().find(|line| line["provider"] == "Groq").unwrap();
        assert_eq!(skipped["filtered_out_by"], "no_credential", "{receipt}");
    }
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_rejected_key_is_not_sent_again_for_other_models_of_its_provider() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    let chain = ["openai/gpt-4o-mini", "openai/gpt-4o", "openai/gpt-4.1"];
    for form in FORMS {
        let reply = chat(&chain).key(form, WRONG).send(&stack, &customer).await;
        assert_eq!(reply.status, 401, "{form:?}: {reply}");
        assert_eq!(seen(&stack), [format!("openai {WRONG}")], "{form:?}");
        for (status, calls) in [(401, 1), (402, 1), (403, 3), (404, 3)] {
            (0..calls).for_each(|_| stack.simulator.enqueue("openai", Script::failing(status)));
            let reply = chat(&chain).key(form, GOOD).send(&stack, &customer).await;
            assert_eq!(reply.status, status, "{form:?}: {reply}");
            // The account may have access to another model.
            assert_eq!(seen(&stack), vec![format!("openai {GOOD}"); calls], "{form:?} {status}");
        }
    }
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn the_platform_joins_at_other_providers_where_the_request_says_so() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    let chain = ["openai/gpt-4o-mini", "groq/gpt-oss-120b"];
    // The API key's own setting is not sufficient.
    let patch = json!({ "byokFallback": "platform" });
    assert_eq!(stack.patch_key(&customer.session, &customer.key_id, &patch).await.status, 200);
    for (wish, status) in [(None, 401), (Some("never"), 401), (Some("platform"), 200)] {
        let asking = chat(&chain).key(Form::Header, WRONG);
        let asking =
            wish.into_iter().fold(asking, |asking, wish| asking.header("x-kairosroute-fallback", wish));
        let reply = asking.send(&stack, &customer).await;
        assert_eq!(reply.status, status, "{wish:?}: {reply}");
        let mut expected = vec![format!("openai {WRONG}")];
        if wish == Some("platform") {
            expected.push("groq platform-groq".to_owned());
            assert_eq!(reply.header("x-kairosroute-byok"), "false");
            assert_eq!(reply.header("x-kairosroute-fallback-reason"), "bad_key");
        }
        assert_eq!(seen(&stack), expected, "{wish:?}");
    }
    stack.no_hold_is_open().await;
    assert_eq!(stack.database.number("SELECT count(*) FROM entry WHERE kind = 'charge'").await, 1);
    // If the request-scoped key serves, the platform is not needed and no hold is placed.
    let reply = chat(&chain).key(Form::Extra, GOOD).header("x-kairosroute-fallback", "platform");
    assert_eq!(reply.send(&stack, &customer).await.status, 200);
    assert_eq!(stack.database.number("SELECT count(*) FROM hold").await, 1);
    stack.finish().await;
}

/// The receipt's text for each candidate: its id, and why it was left out.
async fn considered(stack: &Stack, customer: &Customer, reply: &Reply) -> Vec<(String, Value)> {
    let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
    let lines = receipt["candidates"].as_array().unwrap().iter();
    lines
        .map(|line| (line["model_id"].as_str().unwrap().to_owned(), line["filtered_out_by"].clone()))
        .collect()
}

#[tokio::test]
async fn names_that_mean_nothing_are_in_the_receipt() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    let line = |id: &str, filter: Value| (id.to_owned(), filter);
    let (typo, nobody) =
        (line("gpt-4o-mni-typo", json!("unknown_model")), line("nobody/x", json!("unknown_model")));
    let served = line("openai/gpt-4o-mini", Value::Null);
    let ask = |models: &[&str]| chat(models).send(&stack, &customer);
    let later = endpoints()[0].ask().extra("fallback_models", json!(["gpt-4o-mni-typo", "nobody/x"]));
    let reply = later.send(&stack, &customer).await;
    assert_eq!(reply.status, 200, "{reply}");
    assert_eq!(considered(&stack, &customer, &reply).await, [served.clone(), typo.clone(), nobody.clone()]);
    let reply = ask(&["gpt-4o-mni-typo", "openai/gpt-4o-mini"]).await;
    assert_eq!(reply.status, 200, "{reply}");
    assert_eq!(considered(&stack, &customer, &reply).await, [typo.clone(), served]);
    // Candidates that would have been tried do not change the error if none can be.
    let reply = ask(&["gpt-4o-mni-typo", "nobody/x"]).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "model_not_found"), "{reply}");
    assert!(reply.message().contains("gpt-4o-mni-typo"), "{reply}");
    assert_eq!(considered(&stack, &customer, &reply).await, [typo.clone(), nobody]);
    let reply = ask(&["groq/never-made", "gpt-4o-mni-typo"]).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "model_not_found"), "{reply}");
    let expected = [line("groq/never-made", json!("own_key_only")), typo.clone()];
    assert_eq!(considered(&stack, &customer, &reply).await, expected);
    let reply = ask(&["openai/text-embedding-3-small", "gpt-4o-mni-typo"]).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "no_models_available"), "{reply}");
    assert!(reply.message().contains("gpt-4o-mni-typo: this name is not known"), "{reply}");
    let reply = endpoints()[2].ask().field("model", json!(["groq/gpt-oss-120b", "gpt-4o-mni-typo"]));
    let reply = reply.field("previous_response_id", json!("resp_1")).send(&stack, &customer).await;
    assert_eq!(
        (reply.status, &reply.json()["error"]["param"]),
        (400, &json!("previous_response_id")),
        "{reply}"
    );
    // Any text may be used as a name.
    let long = format!("{}\n{}", "x".repeat(150), "y".repeat(500));
    let reply = ask(&["openai/gpt-4o-mini", &long]).await;
    let told = format!("{}{}", "x".repeat(150), "y".repeat(50));
    assert_eq!(considered(&stack, &customer, &reply).await[1], line(&told, json!("unknown_model")));
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_later_name_that_the_catalogue_does_not_know_is_served_where_the_request_is_pinned() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    for form in FORMS {
        stack.simulator.enqueue("openai", Script::failing(404));
        let asking = chat(&["gpt-4o", "ft:mine"]).key(form, GOOD).header("x-provider", "openai");
        let reply = asking.send(&stack, &customer).await;
        assert_eq!(reply.status, 200, "{form:?}: {reply}");
        let models: Vec<_> = stack.simulator.bill().into_iter().map(|call| call.model).collect();
        assert_eq!(models, ["gpt-4o", "ft:mine"], "{form:?}");
        assert_eq!(seen(&stack), vec![format!("openai {GOOD}"); 2], "{form:?}");
    }
    // A provider in the list serves, and without a key a model without a price is not served.
    stack.simulator.enqueue("openai", Script::failing(404));
    let bare = stack.customer("1").await;
    let chain = ["gpt-4o", "ft:mine", "groq/gpt-oss-120b"];
    let reply = chat(&chain).header("x-provider", "openai").send(&stack, &bare).await;
    assert_eq!(reply.status, 200, "{reply}");
    assert_eq!(seen(&stack), ["openai platform-openai", "groq platform-groq"]);
    let filters = considered(&stack, &bare, &reply).await;
    assert_eq!(filters[1], ("openai/ft:mine".to_owned(), json!("own_key_only")));
    stack.finish().await;
}

#[tokio::test]
async fn a_refused_request_and_an_overloaded_provider_are_told_as_the_provider_says() {
    let stack = Stack::builder().env("KAIROSROUTE_ATTEMPTS_MAX", "1").start().await;
    let customer = rich(&stack).await;
    for status in [400, 402, 403, 404, 429, 500, 503] {
        for form in FORMS {
            let body = format!(r#"{{"error":{{"message":"word for word {GOOD}","type":"t","code":"c"}}}}"#);
            stack.simulator.enqueue("openai", Script::error(status, &body));
            let reply = chat(&["openai/gpt-4o-mini"]).key(form, GOOD).send(&stack, &customer).await;
            assert_eq!(reply.status, status, "{form:?}: {reply}");
            assert_eq!(reply.message(), "word for word [key]", "{form:?}");
            assert_eq!(seen(&stack), [format!("openai {GOOD}")], "{form:?} {status}");
        }
    }
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_stream_on_a_brought_key_is_answered_and_costs_nothing() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    for form in FORMS {
        let asking = endpoints().remove(0).ask().key(form, GOOD).field("stream", json!(true));
        let mut streamed = asking.request(&stack, &customer).stream().await;
        assert_eq!(streamed.status, 200, "{form:?}");
        assert_eq!(streamed.header("x-kairosroute-byok"), "true");
        let bypass = if form == Form::ByokApiKey { "BYOK API key used" } else { "" };
        assert_eq!(streamed.header("x-ratelimit-bypass"), bypass);
        let frames = streamed.rest().await;
        assert!(frames.last().unwrap().is_done(), "{form:?}");
        let marks = frames.iter().filter(|frame| frame.text.contains("\"byok_api_key\":true")).count();
        assert_eq!(marks, usize::from(form == Form::ByokApiKey), "{form:?}: {frames:?}");
        let note =
            frames.iter().map(|frame| frame.json()["x_kairosroute"].clone()).find(|note| !note.is_null());
        let note = note.unwrap();
        assert_eq!((&note["byok"], &note["charged_usd"]), (&json!(true), &json!(0)), "{form:?}");
        assert_eq!(seen(&stack), [format!("openai {GOOD}")]);
    }
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_customer_whose_calls_all_fail_leaves_the_others_their_retries() {
    let stack = Stack::start().await;
    let (greedy, other) = (rich(&stack).await, rich(&stack).await);
    let (gateway, organization) = (stack.gateway(), greedy.organization_id.parse().unwrap());
    let draining = async {
        loop {
            while gateway.own_key_retries.try_acquire_for(organization, gateway.now_ms()) {}
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let calls = async |customer: &Customer| {
        stack.simulator.set_default("openai", Script::failing(503));
        let asking = chat(&["openai/gpt-4o-mini"]).key(Form::Extra, GOOD).extra("retry", json!(1));
        assert_eq!(asking.send(&stack, customer).await.status, 503);
        seen(&stack).len()
    };
    // At the beginning of a second one may still be available.
    let asking = async {
        let mut of_greedy = Vec::new();
        for _ in 0..3 {
            of_greedy.push(calls(&greedy).await);
            assert_eq!(calls(&other).await, 2);
        }
        assert!(of_greedy.contains(&1), "{of_greedy:?}");
    };
    tokio::select! {
        () = asking => {}
        () = draining => {}
    }
    stack.finish().await;
}
