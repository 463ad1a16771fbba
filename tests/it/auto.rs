//! The gateway's own choice of models: which model is chosen and why, what is reported about it, and which may not be
//! chosen.

use crate::harness::{Reply, Stack, hello};
use serde_json::{Value, json};

const REASON: &str =
    "Find all integers n such that n^2 + 1 is divisible by 5, and compute how many of them are less than 100";
const POEM: &str =
    "Write a short poem in four lines about the sea, the wind and an old wooden boat in the harbour";

fn ask(text: &str) -> Value {
    json!({ "model": "auto", "messages": [{ "role": "user", "content": text }] })
}

async fn receipt(stack: &Stack, key: &str, reply: &Reply) -> Value {
    stack.receipt(key, reply.receipt_id()).await
}

fn chosen(receipt: &Value) -> &str {
    receipt["decision"]["model_id"].as_str().unwrap()
}

/// The candidates that passed the filters, in order.
fn passed(receipt: &Value) -> Vec<Value> {
    let lines = receipt["candidates"].as_array().unwrap();
    lines.iter().filter(|line| line.get("filtered_out_by").is_none()).cloned().collect()
}

#[tokio::test]
async fn auto_serves_the_cheapest_model_that_reaches_the_floor_and_says_why() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    for name in ["auto", "kr-auto"] {
        let reply =
            stack.chat(&customer.key, &json!({ "model": name, "messages": ask(REASON)["messages"] })).await;
        assert_eq!(reply.status, 200, "{reply}");
        let receipt = receipt(&stack, &customer.key, &reply).await;
        assert_eq!(receipt["decision"]["strategy"], "auto");
        assert_eq!(receipt["classification"]["category"], "reasoning");
        assert_eq!(receipt["classification"]["router_version"], 2);
        assert_eq!(receipt["routing"]["floor_not_met"], false, "{receipt:#}");
        let passed = passed(&receipt);
        assert_eq!(passed[0]["model_id"], receipt["decision"]["model_id"]);
        let cost = |line: &Value| line["est_cost_usd"].as_str().unwrap().parse::<f64>().unwrap();
        let reaching: Vec<&Value> = passed
            .iter()
            .filter(|line| line["reasons"].as_array().unwrap().contains(&json!("reaches_the_floor")))
            .collect();
        let floor = receipt["routing"]["floor"].as_f64().unwrap();
        assert!(reaching.iter().all(|line| line["score"].as_f64().unwrap() >= floor));
        // Health decides ties within 3 %.
        assert!(reaching.iter().all(|line| cost(reaching[0]) <= 1.03 * cost(line)), "{reaching:#?}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn savings_are_the_references_cost_of_the_same_usage() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let reply = stack.chat(&customer.key, &ask(REASON)).await;
    assert_eq!(reply.status, 200, "{reply}");
    let body = reply.json();
    let usage = &body["usage"];
    let tokens = |name: &str| usage[name].as_u64().unwrap();
    let catalog = stack.gateway().catalog.load_full();
    let reference = catalog.get("openai/gpt-5.5").unwrap();
    let now = stack.gateway().ambient.now();
    let period = reference.prices.as_ref().unwrap().at(now).unwrap();
    let rates =
        period.rates(kairosroute::domain::catalog::ServiceTier::Standard, tokens("prompt_tokens"), now);
    let rates = rates.unwrap().rates;
    let nano = |tokens: u64, price: i64| i128::from(tokens) * i128::from(price);
    let sum = nano(tokens("prompt_tokens"), rates.input.0)
        + nano(tokens("completion_tokens"), rates.output.unwrap().0);
    let cost = (sum + 999_999) / 1_000_000;
    let charge = (cost * 10_500 + 9_999) / 10_000;
    let receipt = receipt(&stack, &customer.key, &reply).await;
    let charged = i128::from(receipt["charged_nano_usd"].as_i64().unwrap());
    let savings = i128::from(receipt["savings_nano_usd"].as_i64().unwrap());
    assert_eq!(savings, charge - charged);
    assert!(savings > 0);
    let told: f64 = reply.header("x-kairosroute-savings").parse().unwrap();
    assert_eq!(told, body["x_kairosroute"]["savings_usd"].as_f64().unwrap());
    let pinned = stack.chat(&customer.key, &hello("openai/gpt-5.4-mini")).await;
    assert_eq!(pinned.header("x-kairosroute-savings"), "0");
    stack.finish().await;
}

#[tokio::test]
async fn a_floor_on_the_request_is_strict_and_one_on_the_key_is_flagged() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let with = |quality: f64| {
        let mut body = ask(POEM);
        body["min_quality"] = json!(quality);
        body
    };
    let low = stack.chat(&customer.key, &with(0.1)).await;
    assert_eq!(low.status, 200, "{low}");
    let refused = stack
        .chat(
            &customer.key,
            &json!({ "min_quality": 1, "model": "auto",
        "max_tokens": 50, "messages": ask(REASON)["messages"], "provider": { "only": ["mistral"] } }),
        )
        .await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "no_models_available"), "{refused}");
    assert!(refused.message().contains("min_quality"), "{refused}");
    for bad in [json!(2), json!(-0.1), json!("much")] {
        let mut body = ask(POEM);
        body["min_quality"] = bad;
        let reply = stack.chat(&customer.key, &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"), "{reply}");
    }
    let floor = json!({ "minQualityThreshold": 1, "allowedProviders": ["Mistral"] });
    assert_eq!(stack.patch_key(&customer.session, &customer.key_id, &floor).await.status, 200);
    let (key, _) = stack.create_key(&customer.session, &floor).await;
    let reply = stack.chat(&key, &ask(REASON)).await;
    assert_eq!(reply.status, 200, "{reply}");
    let receipt = receipt(&stack, &key, &reply).await;
    assert_eq!(receipt["routing"]["floor_not_met"], true);
    assert!(chosen(&receipt).starts_with("mistral/"));
    stack.finish().await;
}

#[tokio::test]
async fn no_chosen_model_breaks_a_rule_or_lacks_an_ability() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let rules = json!({ "excludedProviders": ["OpenAI", "Google"] });
    let (key, _) = stack.create_key(&customer.session, &rules).await;
    let tools =
        json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);
    let picture = json!([{ "type": "text", "text": POEM },
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } }]);
    let bodies = [
        json!({ "model": "auto", "messages": ask(POEM)["messages"], "tools": tools }),
        json!({ "model": "auto", "messages": [{ "role": "user", "content": picture }] }),
        json!({ "model": "auto", "messages": ask(POEM)["messages"], "provider": { "ignore": ["xai"] },
                "max_price": { "completion": 3 } }),
    ];
    let catalog = stack.gateway().catalog.load_full();
    for body in bodies {
        let reply = stack.post("/v1/route", &key, &body).await;
        assert_eq!(reply.status, 200, "{reply}");
        let plan = reply.json();
        let chain = plan["decision"]["fallback_chain"].as_array().unwrap();
        assert!(!chain.is_empty());
        for id in chain {
            let model = catalog.get(id.as_str().unwrap()).unwrap();
            assert!(!["openai", "google"].contains(&model.provider.as_str()), "{id}");
            let has = |flag| model.flags.has(flag);
            assert!(body.get("tools").is_none() || has(kairosroute::domain::catalog::Flag::Tools), "{id}");
            let is_picture = body["messages"][0]["content"].is_array();
            assert!(!is_picture || has(kairosroute::domain::catalog::Flag::Vision), "{id}");
            if body.get("max_price").is_some() {
                assert_ne!(model.provider.as_str(), "xai");
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_dry_run_calls_nobody_and_its_token_pins_the_plan() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let before = stack.account(&customer.organization_id).await;
    let chat = ask(REASON);
    let responses = json!({ "model": "auto", "input": REASON });
    let messages =
        json!({ "model": "auto", "max_tokens": 900, "system": "Be brief.", "messages": chat["messages"] });
    for body in [&chat, &responses, &messages] {
        let reply = stack.post("/v1/route", &customer.key, body).await;
        assert_eq!(reply.status, 200, "{reply}");
        let plan = reply.json();
        assert_eq!(plan["classification"]["category"], "reasoning", "{plan:#}");
        assert_eq!(plan["decision"]["credential"], "platform");
        assert!(plan["hold_usd"].as_str().unwrap().parse::<f64>().unwrap() > 0.0);
        assert!(plan["plan_token"].as_str().unwrap().starts_with("krp_"));
    }
    assert!(stack.simulator.bill().is_empty());
    assert_eq!(stack.account(&customer.organization_id).await, before);

    let named = json!({ "model": "openai/gpt-5.4-mini", "messages": chat["messages"] });
    let plan = stack.post("/v1/route", &customer.key, &named).await.json();
    let token = plan["plan_token"].as_str().unwrap();
    let pinned = |token: &str, key: &str| {
        let request = stack.request("POST", "/v1/chat/completions").bearer(key);
        request.header("x-kairosroute-plan", token).json(&chat).send()
    };
    let reply = pinned(token, &customer.key).await;
    assert_eq!(reply.status, 200, "{reply}");
    let receipt = receipt(&stack, &customer.key, &reply).await;
    assert_eq!((chosen(&receipt), &receipt["decision"]["strategy"]), ("openai/gpt-5.4-mini", &json!("plan")));
    let other = stack.customer("10").await;
    for (token, key) in [(token, &other.key), ("krp_AAAA", &customer.key)] {
        let refused = pinned(token, key).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_request"), "{refused}");
        assert_eq!(refused.json()["error"]["param"], "x-kairosroute-plan");
    }
    stack.finish().await;
}

#[tokio::test]
async fn the_routing_mode_of_a_key_decides_what_auto_may_do() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let named = json!({ "model": "openai/gpt-5.5", "messages": ask(POEM)["messages"] });
    for (mode, auto_status, compares, advises) in [
        ("off", 400, false, false),
        ("shadow", 200, true, false),
        ("advise", 200, true, true),
        ("on", 200, false, false),
    ] {
        let (key, _) = stack.create_key(&customer.session, &json!({ "routingMode": mode })).await;
        assert_eq!(stack.chat(&key, &ask(POEM)).await.status, auto_status, "{mode}");
        let reply = stack.chat(&key, &named).await;
        assert_eq!((reply.status, reply.header("x-kairosroute-model")), (200, "gpt-5.5"), "{reply}");
        assert_eq!(!reply.header("x-kairosroute-advice").is_empty(), advises, "{mode}");
        let receipt = receipt(&stack, &key, &reply).await;
        assert_eq!(receipt["routing"]["would_have_chosen"].is_string(), compares, "{receipt:#}");
        assert_eq!(chosen(&receipt), "openai/gpt-5.5");
    }
    let reply =
        stack.patch_key(&customer.session, &customer.key_id, &json!({ "routingMode": "maybe" })).await;
    assert_eq!(reply.status, 400, "{reply}");
    stack.finish().await;
}

#[tokio::test]
async fn an_organization_keeps_its_embedding_model() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let embed = json!({ "model": "kr-auto-embed", "input": "a" });
    let first = stack.post("/v1/embeddings", &customer.key, &embed).await;
    assert_eq!(first.status, 200, "{first}");
    let model = first.header("x-kairosroute-model").to_owned();
    // A key that may use only more expensive models gets a refusal instead of vectors of another space.
    let rules = json!({ "excludedProviders": [first.header("x-kairosroute-provider")] });
    let (other, _) = stack.create_key(&customer.session, &rules).await;
    let refused = stack.post("/v1/embeddings", &other, &embed).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "no_models_available"), "{refused}");
    let node = stack.second_node().await;
    let again = node.post("/v1/embeddings", &customer.key, &embed).await;
    assert_eq!((again.status, again.header("x-kairosroute-model")), (200, model.as_str()), "{again}");
    stack.finish().await;
}

#[tokio::test]
async fn hosts_are_filtered_and_ordered_as_the_request_demands() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let plan = async |model: &str, provider: Value| {
        let body = json!({ "model": model, "messages": ask(POEM)["messages"], "provider": provider });
        stack.post("/v1/route", &customer.key, &body).await
    };
    let chain = |reply: &Reply| -> Vec<String> {
        assert_eq!(reply.status, 200, "{reply}");
        let body = reply.json();
        let hosts = body["decision"]["fallback_chain"].as_array().unwrap().iter();
        hosts.map(|id| id.as_str().unwrap().split('/').next().unwrap().to_owned()).collect()
    };
    let all = chain(&plan("gpt-oss-120b", json!({})).await);
    assert_eq!(all.len(), 3);
    let ordered = chain(&plan("gpt-oss-120b", json!({ "order": ["cerebras", "Together AI"] })).await);
    assert_eq!(&ordered[..2], ["cerebras", "together_ai"]);
    let alone =
        chain(&plan("gpt-oss-120b", json!({ "order": ["cerebras"], "allow_fallbacks": false })).await);
    assert_eq!(alone, ["cerebras"]);
    assert_eq!(chain(&plan("gpt-oss-120b", json!({ "only": ["groq"] })).await), ["groq"]);
    assert!(!chain(&plan("gpt-oss-120b", json!({ "ignore": ["groq"] })).await).contains(&"groq".to_owned()));
    let cheap = chain(&plan("gpt-oss-120b", json!({ "max_price": { "completion": "0.6" } })).await);
    assert_eq!(cheap.len(), 2);
    let floor = chain(&plan("gpt-oss-120b:floor", json!({})).await);
    assert_ne!(floor[0], "cerebras");
    for (model, provider) in [
        ("gpt-oss-120b", json!({ "zdr": true })),
        ("gpt-oss-120b", json!({ "quantizations": ["fp8"] })),
        ("gpt-oss-120b:free", json!({})),
    ] {
        let reply = plan(model, provider.clone()).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "no_models_available"),
            "{model} {provider} {reply}"
        );
    }
    let online = plan("gpt-oss-120b:online", json!({})).await;
    assert_eq!((online.status, online.code().as_str()), (400, "invalid_request"), "{online}");
    stack.finish().await;
}
