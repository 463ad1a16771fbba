//! Request-scoped keys for counting a prompt: there is no receipt, so only the calls at providers and the answer can be
//! checked.

use super::{Asking, Endpoint, FORMS, Form, GOOD, WRONG, assert_no_money_moved, rich, seen};
use crate::{
    harness::{Reply, Stack},
    kinds::{only_call, sent},
};
use kairosroute::simulator::Script;
use serde_json::{Value, json};

const CLAUDE: &str = "anthropic/claude-sonnet-4-6";

fn counting(model: &'static str) -> Endpoint {
    let fields = json!({ "messages": [{ "role": "user", "content": "Hello" }] });
    Endpoint { path: "/v1/messages/count_tokens", model, fields, file: None }
}

fn chain(models: &[&str]) -> Asking {
    counting(CLAUDE).ask().field("model", json!(models))
}

fn assert_counted(reply: &Reply, basis: &str, what: &str) {
    assert_eq!(reply.status, 200, "{what}: {reply}");
    assert!(reply.json()["input_tokens"].as_u64().unwrap() > 0, "{what}: {reply}");
    assert_eq!(reply.header("x-kairosroute-basis"), basis, "{what}: {reply}");
    assert!(!reply.to_string().contains("brought-along"), "{what}: {reply}");
}

fn assert_refused(reply: &Reply, what: &str) {
    assert_eq!((reply.status, &reply.json()["type"]), (400, &json!("error")), "{what}: {reply}");
    assert!(!reply.text().contains("brought-along"), "{what}: {reply}");
}

#[tokio::test]
async fn a_brought_key_counts_at_its_provider_in_every_form() {
    let stack = Stack::start().await;
    for customer in [rich(&stack).await, stack.customer("1").await] {
        for (model, provider) in [(CLAUDE, "anthropic"), ("google/gemini-2.5-pro", "google")] {
            for form in FORMS {
                let what = format!("{provider} {form:?}");
                let reply = counting(model).ask().key(form, GOOD).send(&stack, &customer).await;
                assert_counted(&reply, "reported", &what);
                let calls = stack.simulator.bill();
                let heads = calls.iter().flat_map(|call| &call.headers);
                assert_eq!(heads.filter(|(_, value)| value.contains("brought-along")).count(), 1, "{what}");
                assert!(!calls[0].body.contains("brought-along") && !calls[0].body.contains("extra"));
                assert_eq!(seen(&stack), [format!("{provider} {GOOD}")], "{what}");
                assert_eq!(reply.header("x-kairosroute-byok"), "true", "{what}");
                let bypass = if form == Form::ByokApiKey { "BYOK API key used" } else { "" };
                assert_eq!(reply.header("x-ratelimit-bypass"), bypass, "{what}");
                // A blank key counts as absent, and a stored key is used.
                let blank = counting(model).ask().key(form, " ").send(&stack, &customer).await;
                assert_counted(&blank, "reported", &what);
                assert_ne!(seen(&stack), [format!("{provider} {GOOD}")], "{what}");
            }
        }
    }
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_rejected_key_is_the_providers_answer_and_falls_back_to_nothing() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    for form in FORMS {
        let what = format!("{form:?}");
        let asking = || counting(CLAUDE).ask().header("x-kairosroute-fallback", "platform");
        let reply = asking().key(form, WRONG).send(&stack, &customer).await;
        assert_eq!(reply.status, 401, "{what}: {reply}");
        assert!(!reply.to_string().contains("brought-along"), "{what}: {reply}");
        assert_eq!(seen(&stack), [format!("anthropic {WRONG}")], "{what}");
        assert_eq!(reply.header("x-kairosroute-byok"), "true", "{what}");
        for status in [401, 402, 403] {
            stack.simulator.set_default("anthropic", Script::failing(status));
            let reply = asking().key(form, GOOD).send(&stack, &customer).await;
            assert_eq!(reply.status, status, "{what}: {reply}");
            assert_eq!(reply.message(), "The request failed as scripted.", "{what}");
            assert_eq!(seen(&stack).len(), 1, "{what} {status}");
        }
        // A failure that says nothing about the key does not prevent counting.
        stack.simulator.set_default("anthropic", Script::failing(503));
        let reply = asking().key(form, GOOD).send(&stack, &customer).await;
        assert_counted(&reply, "counted", &what);
        assert_eq!(seen(&stack), [format!("anthropic {GOOD}")], "{what}");
    }
    // A failure of a stored key also leads only to a count by the gateway.
    stack.simulator.set_default("anthropic", Script::failing(401));
    assert_counted(&counting(CLAUDE).ask().send(&stack, &customer).await, "counted", "stored");
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_chain_is_counted_for_who_would_answer_and_never_on_the_operators_key_unasked() {
    let stack = Stack::start().await;
    let (customer, bare) = (rich(&stack).await, stack.customer("1").await);
    let other = "google/gemini-2.5-pro";
    for form in FORMS {
        // After a rejected key, the next provider's count is used, on the key with which it would answer.
        let reply =
            chain(&[CLAUDE, "mistral/mistral-large-4"]).key(form, WRONG).send(&stack, &customer).await;
        assert_counted(&reply, "counted", "stored");
        assert_eq!(reply.header("x-kairosroute-provider"), "Mistral", "{reply}");
        assert_eq!(seen(&stack), [format!("anthropic {WRONG}")], "{form:?}");
        // The same key is not sent for another of its models.
        let reply = chain(&[CLAUDE, "anthropic/claude-haiku-4-5"]).key(form, WRONG).send(&stack, &bare).await;
        assert_eq!(reply.status, 401, "{reply}");
        assert_eq!(seen(&stack), [format!("anthropic {WRONG}")], "{form:?}");
        // That the key may not count says nothing about the next one.
        stack.simulator.set_default("anthropic", Script::failing(403));
        let reply = chain(&[CLAUDE, "anthropic/claude-haiku-4-5"]).key(form, GOOD).send(&stack, &bare).await;
        assert_eq!((reply.status, reply.header("x-kairosroute-attempts")), (403, "2"), "{reply}");
        assert_eq!(seen(&stack), vec![format!("anthropic {GOOD}"); 2], "{form:?}");
        for (wish, expected) in [(None, 0), (Some("never"), 0), (Some("platform"), 1)] {
            let wished = |asking: Asking| {
                wish.into_iter().fold(asking, |asking, wish| asking.header("x-kairosroute-fallback", wish))
            };
            let reply = wished(chain(&[CLAUDE, other])).key(form, WRONG).send(&stack, &bare).await;
            assert_eq!(reply.status, if expected == 1 { 200 } else { 401 }, "{wish:?} {form:?}: {reply}");
            let platform = vec!["google platform-google".to_owned(); expected];
            assert_eq!(seen(&stack)[1..], platform, "{wish:?} {form:?}");
            // If the first name is of another kind, only later names remain.
            let reply = wished(chain(&["openai/text-embedding-3-small", other])).key(form, GOOD);
            let reply = reply.send(&stack, &bare).await;
            assert_eq!(reply.status, if expected == 1 { 200 } else { 400 }, "{wish:?} {form:?}: {reply}");
            assert_eq!(seen(&stack), platform, "{wish:?} {form:?}");
        }
    }
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_before_anything_is_sent() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    let ask = || counting(CLAUDE).ask();
    for form in FORMS {
        for other in FORMS.into_iter().filter(|other| *other != form) {
            assert_refused(&ask().key(form, GOOD).key(other, GOOD).send(&stack, &customer).await, "two");
        }
        let unknown = match form {
            Form::Header => ask().header("x-provider", "nobody"),
            Form::ByokApiKey => ask().field("model", json!("nobody/claude")),
            Form::Extra => ask().extra("provider", json!("nobody")),
        };
        assert_refused(&unknown.key(form, GOOD).send(&stack, &customer).await, "an unknown provider");
        let broken = ask().key(form, &format!("{GOOD} {GOOD}"));
        assert_refused(&broken.send(&stack, &customer).await, "a broken key");
        let roams = ask().field("model", json!("gpt-oss-120b")).key(form, GOOD);
        assert_refused(&roams.send(&stack, &customer).await, "a name that roams");
    }
    for (field, value) in [
        ("byok_api_key", json!([GOOD])),
        ("extra", json!({ GOOD: 1 })),
        ("extra", json!({ "retry": 99 })),
        ("additional_params", json!(GOOD)),
        ("additional_params", json!({ "byok_api_key": GOOD, "extra": { "byok": GOOD } })),
    ] {
        assert_refused(&ask().field(field, value).send(&stack, &customer).await, field);
    }
    assert!(stack.simulator.bill().is_empty());
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn the_wrapper_and_the_other_wishes_count_as_in_the_request_itself() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    let wrapped = json!({ "system": "Be brief.", "extra": { "byok": GOOD } });
    let reply = counting(CLAUDE).ask().field("additional_params", wrapped).send(&stack, &customer).await;
    assert_counted(&reply, "reported", "wrapped");
    assert_eq!(stack.simulator.bill()[0].authorization, GOOD);
    let body: Value = sent(&only_call(&stack));
    assert_eq!(body["system"], "Be brief.", "{body}");
    assert!(body["additional_params"].is_null(), "{body}");
    // The named provider owns the key and counts.
    let pinned = counting(CLAUDE).ask().key(Form::Extra, GOOD).extra("provider", json!("google"));
    let reply = pinned.field("model", json!("gemini-2.5-pro")).send(&stack, &customer).await;
    assert_counted(&reply, "reported", "pinned");
    assert_eq!(seen(&stack), [format!("google {GOOD}")]);
    // Models that are tried last are also candidates.
    let later = counting("openai/text-embedding-3-small").ask().extra("fallback_models", json!([CLAUDE]));
    assert_counted(&later.send(&stack, &customer).await, "reported", "later");
    assert_eq!(seen(&stack), ["anthropic stored-anthropic-1"]);
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}
