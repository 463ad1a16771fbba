//! The provider's report is billed, wherever it reports it; usage without a report is counted.

use super::{
    CEREBRAS, GPT, GPT_FLEX, GROQ, MISTRAL, MOONSHOT, Price, TOGETHER, XAI, answer_note, ask, charge, close,
    cost, nano_of, spent_since, the,
};
use crate::harness::{Stack, hello};
use kairosroute::simulator::{Script, UsagePlace};
use serde_json::{Value, json};

fn provider(price: Price) -> &'static str {
    price.model.split('/').next().unwrap()
}

#[tokio::test]
async fn the_same_answer_costs_the_same_streamed_or_not_and_what_the_provider_bills() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    for price in [GPT, MISTRAL, GROQ, CEREBRAS, TOGETHER, MOONSHOT, XAI] {
        let script = Script {
            cached_tokens: 400,
            reasoning: vec!["hm".into()],
            reasoning_tokens: Some(30),
            ..Script::default().with_tokens(1_001, 77)
        };
        stack.simulator.set_default(provider(price), script);
        let expected = cost(price, 1_001, 400, 77);
        for streamed in [false, true] {
            for asked in [false, true] {
                let mut body = ask(price.model);
                if streamed && asked {
                    body["stream_options"] = json!({ "include_usage": true });
                }
                let (before, _) = stack.account(&customer.organization_id).await;
                let (note, receipt) = answer_note(&stack, &customer, &body, streamed).await;
                assert_eq!(nano_of(&note["provider_cost_usd"]), expected, "{} {note}", price.model);
                assert_eq!(nano_of(&note["charged_usd"]), charge(expected));
                assert_eq!(nano_of(&note["margin_usd"]), charge(expected) - expected);
                assert_eq!(spent_since(&stack, &customer, before).await, charge(expected));
                let usage = stack.receipt(&customer.key, &receipt).await["usage"].clone();
                assert_eq!(usage["basis"], "reported");
                assert_eq!(
                    (&usage["input"], &usage["cache_read"], &usage["output"]),
                    (&json!(601), &json!(400), &json!(77))
                );
            }
        }
    }
    // The oracle's own bill: the usage that the providers sent is what was billed.
    let produced: u64 = stack.simulator.bill().iter().map(|call| call.completion_tokens).sum();
    let billed = stack.database.number("SELECT sum(output_tokens)::bigint FROM usage").await;
    assert_eq!(i64::try_from(produced).unwrap(), billed);
    let answers = stack.simulator.bill().len();
    close(stack).await;
    println!("bar 9: {answers} answers, streamed or not, at 7 hosts: each costs what its provider bills");
}

#[tokio::test]
async fn usage_in_odd_places_is_found() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let places = [
        (GROQ, UsagePlace::XGroq),
        (MOONSHOT, UsagePlace::InChoice),
        (GPT, UsagePlace::InFinishChunk),
        (GPT, UsagePlace::EveryChunk),
        (TOGETHER, UsagePlace::EveryChunk),
    ];
    for (price, place) in places {
        let script = Script { usage: place, ..Script::default().with_tokens(50, 24) };
        stack.simulator.enqueue(provider(price), script);
        let (note, receipt) = answer_note(&stack, &customer, &ask(price.model), true).await;
        let receipt = stack.receipt(&customer.key, &receipt).await;
        assert_eq!(receipt["usage"]["basis"], "reported", "{place:?} {receipt}");
        assert_eq!(nano_of(&note["provider_cost_usd"]), cost(price, 50, 0, 24), "{place:?}");
    }
    close(stack).await;
}

#[tokio::test]
async fn missing_usage_is_counted_and_flagged_and_never_free() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let mut charges = Vec::new();
    for (streamed, asked) in [(false, false), (true, false), (true, true)] {
        stack.simulator.enqueue("openai", Script { usage: UsagePlace::Missing, ..the(120) });
        let mut body = ask(GPT.model);
        if asked {
            body["stream_options"] = json!({ "include_usage": true });
        }
        let (note, receipt) = answer_note(&stack, &customer, &body, streamed).await;
        let usage = stack.receipt(&customer.key, &receipt).await["usage"].clone();
        assert_eq!((&usage["basis"], &usage["output"]), (&json!("counted"), &json!(120)), "{usage}");
        let prompt = usage["input"].as_u64().unwrap();
        assert!((2..20).contains(&prompt), "\"Hello\" and what surrounds it: {prompt}");
        charges.push(nano_of(&note["charged_usd"]));
        assert_eq!(charges[0], charge(cost(GPT, prompt, 0, 120)));
    }
    assert!(charges.iter().all(|charge| *charge == charges[0]), "streamed or not: {charges:?}");
    assert_eq!(stack.database.number("SELECT count(*) FROM usage WHERE basis = 'counted'").await, 3);
    close(stack).await;
}

#[tokio::test]
async fn an_explicit_zero_stays_zero() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let (before, _) = stack.account(&customer.organization_id).await;
    for streamed in [false, true] {
        stack.simulator.enqueue("openai", Script::default().with_tokens(0, 0));
        let (note, receipt) = answer_note(&stack, &customer, &ask(GPT.model), streamed).await;
        assert_eq!(nano_of(&note["charged_usd"]), 0, "{note}");
        assert_eq!(stack.receipt(&customer.key, &receipt).await["usage"]["basis"], "reported");
    }
    assert_eq!(spent_since(&stack, &customer, before).await, 0);
    close(stack).await;
}

#[tokio::test]
async fn the_service_tier_of_the_reply_is_the_one_that_is_billed() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let cases = [
        (Some("flex"), Some("flex"), GPT_FLEX),
        (Some("flex"), Some("default"), GPT),
        (Some("auto"), Some("flex"), GPT_FLEX),
        (None, Some("default"), GPT),
        (Some("flex"), None, GPT_FLEX),
    ];
    for (asked, served, price) in cases {
        for streamed in [false, true] {
            let tier = served.map(str::to_owned);
            let script = Script { service_tier: tier, ..Script::default().with_tokens(999, 101) };
            stack.simulator.enqueue("openai", script);
            let mut body = ask(GPT.model);
            if let Some(tier) = asked {
                body["service_tier"] = json!(tier);
            }
            let (note, _) = answer_note(&stack, &customer, &body, streamed).await;
            assert_eq!(nano_of(&note["provider_cost_usd"]), cost(price, 999, 0, 101), "{asked:?} {served:?}");
        }
    }
    close(stack).await;
}

/// A model that is listed and has no price.
fn unpriced_catalog() -> tempfile::Catalog {
    tempfile::Catalog::write(
        "version = \"test\"\n[[model]]\nid = \"openai/unpriced\"\nupstream = \"unpriced\"\nmode = \"chat\"\n\
         status = \"active\"\ncontext_tokens = 1000\noutput_tokens_max = 1000\nflags = [\"stream\"]\n",
    )
}

mod tempfile {
    //! A file that is gone at the end of its test.

    use kairosroute::domain::ambient::Ambient;
    use std::path::PathBuf;

    pub struct Catalog(pub PathBuf);

    impl Catalog {
        pub fn write(text: &str) -> Self {
            let name = format!("kairosroute-{}.toml", Ambient::system().uuid().simple());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for Catalog {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

#[tokio::test]
async fn what_has_no_price_is_refused_on_the_platforms_key_before_anyone_is_called() {
    let catalog = unpriced_catalog();
    let path = catalog.0.to_str().unwrap();
    let stack = Stack::builder().env("KAIROSROUTE_CATALOG", path).start().await;
    let customer = stack.customer("10").await;
    let reply = stack.chat(&customer.key, &hello("openai/unpriced")).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "no_models_available"), "{reply}");
    let reply = stack.chat(&customer.key, &hello("openai/not-listed-anywhere")).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "model_not_found"), "{reply}");
    let mut with_fee = ask(GPT.model);
    with_fee["web_search_options"] = json!({});
    let reply = stack.chat(&customer.key, &with_fee).await;
    assert_eq!(reply.status, 400, "a tool with fees of its own: {reply}");
    assert!(stack.simulator.bill().is_empty(), "nobody was called");

    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-proj-own-key-here" })).await;
    for (model, streamed) in [
        ("openai/unpriced", false),
        ("openai/not-listed-anywhere", false),
        ("openai/not-listed-anywhere", true),
    ] {
        let (note, receipt) = answer_note(&stack, &customer, &hello(model), streamed).await;
        assert_eq!((&note["byok"], &note["provider_cost_usd"]), (&json!(true), &Value::Null), "{note}");
        let receipt = stack.receipt(&customer.key, &receipt).await;
        assert_eq!((&receipt["price"], &receipt["charged_nano_usd"]), (&Value::Null, &json!(0)), "{receipt}");
    }
    let unpriced = "SELECT count(*) FROM usage WHERE cost IS NULL AND charge = 0 AND byok";
    assert_eq!(stack.database.number(unpriced).await, 3);
    close(stack).await;
    println!("bar 12: unpriced models, unlisted models and unpriced tools are refused before any call");
}

#[tokio::test]
async fn more_than_a_request_can_have_consumed_is_counted_flagged_and_within_the_hold() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    for (prompt, output, max_tokens) in
        [(1_000_000_000, 1_000_000_000, 5), (10, 1_000, 5), (10, 1_000_000_000, 50), (2_000_000, 3, 5)]
    {
        for streamed in [false, true] {
            stack.simulator.enqueue("openai", Script::default().with_tokens(prompt, output));
            let mut body = ask(GPT.model);
            body["max_tokens"] = json!(max_tokens);
            let (before, _) = stack.account(&customer.organization_id).await;
            let (note, receipt) = answer_note(&stack, &customer, &body, streamed).await;
            let charged = nano_of(&note["charged_usd"]);
            let receipt = stack.receipt(&customer.key, &receipt).await;
            assert_eq!(receipt["usage_flag"], "above_bound", "{prompt} {output} {receipt}");
            assert_ne!(receipt["usage"]["basis"], "reported", "{receipt}");
            assert_eq!(receipt["charged_nano_usd"], charged);
            assert_eq!(spent_since(&stack, &customer, before).await, charged);
            assert!(charged > 0);
        }
    }
    let above = "SELECT count(*) FROM hold WHERE charge > amount";
    assert_eq!(stack.database.number(above).await, 0, "no charge is above what was set aside");
    assert_eq!(stack.database.number("SELECT count(*) FROM usage WHERE flag = 'above_bound'").await, 8);
    assert!(stack.gateway().exposition().contains("kairosroute_usage_above_bound_total 8\n"));
    // Own keys are flagged too, and pay nothing to the platform.
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-own-key-of-theirs" })).await;
    stack.simulator.enqueue("openai", Script::default().with_tokens(10, 1_000_000_000));
    let (before, _) = stack.account(&customer.organization_id).await;
    let (note, receipt) = answer_note(&stack, &customer, &ask(GPT.model), false).await;
    assert_eq!(note["byok"], true, "{note}");
    assert_eq!(stack.receipt(&customer.key, &receipt).await["usage_flag"], "above_bound");
    assert_eq!(spent_since(&stack, &customer, before).await, 0);
    close(stack).await;
}
