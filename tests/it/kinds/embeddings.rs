//! Vectors: OpenAI's format for the client with every provider, always as requested.

use super::{Till, charge, cost, only_call, per_million, sent, usage_row_of};
use crate::harness::Stack;
use base64::{Engine, engine::general_purpose::STANDARD};
use kairosroute::simulator::{KindScript, Script};
use serde_json::{Value, json};

const PATH: &str = "/v1/embeddings";

fn vectors(list: &[&str]) -> Script {
    let kinds = KindScript {
        vectors: list.iter().map(|vector| (*vector).to_owned()).collect(),
        ..KindScript::default()
    };
    Script { kinds, ..Script::default().with_tokens(7, 0) }
}

fn floats(base64: &Value) -> Vec<f32> {
    let bytes = STANDARD.decode(base64.as_str().unwrap()).unwrap();
    bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

#[tokio::test]
async fn openai_s_bytes_pass_and_its_tokens_are_charged() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for path in [PATH, "/api/v1/embeddings"] {
        stack.simulator.set_default("openai", vectors(&["0.25,-0.5,1e-7"]));
        let till = Till::open(&stack, &customer).await;
        let body = json!({"model": "openai/text-embedding-3-small", "input": "hi", "dimensions": 3});
        let reply = stack.post(path, &customer.key, &body).await;
        let receipt = till.charged(&reply, &[per_million(7, 20)], "reported").await;
        assert_eq!(receipt["usage"]["input"], 7);
        let answer = reply.json();
        assert_eq!(answer["data"][0]["embedding"], json!([0.25, -0.5, 1e-7]));
        assert_eq!(answer["usage"]["total_tokens"], 7);
        assert_eq!(answer["x_kairosroute"]["provider"], "OpenAI");
        let sent = sent(&only_call(&stack));
        assert_eq!(sent, json!({"model": "text-embedding-3-small", "input": "hi", "dimensions": 3}));
    }
    usage_row_of(&stack, "embeddings").await;
    stack.finish().await;
}

#[tokio::test]
async fn base64_is_given_when_it_was_asked_for_and_numbers_otherwise_at_every_provider() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let cases = [
        ("openai/text-embedding-3-large", 130, "reported"),
        ("mistral/mistral-embed", 100, "reported"),
        ("cohere/embed-v4.0", 120, "reported"),
        ("perplexity/pplx-embed-v1-4b", 30, "reported"),
        ("fireworks_ai/qwen3-embedding-8b", 100, "reported"),
        ("google/gemini-embedding-001", 150, "counted"),
    ];
    for (model, price, basis) in cases {
        let (provider, _) = model.split_once('/').unwrap();
        let numbers = if provider == "perplexity" { "-128,0,127" } else { "0.25,-0.5,1" };
        let expected: Vec<f32> = numbers.split(',').map(|number| number.parse().unwrap()).collect();
        for format in [Some("base64"), Some("float"), None] {
            stack.simulator.set_default(provider, vectors(&[numbers]));
            let mut body = json!({"model": model, "input": ["Hello world", "Hi"]});
            if let Some(format) = format {
                body["encoding_format"] = json!(format);
            }
            let till = Till::open(&stack, &customer).await;
            let reply = stack.post(PATH, &customer.key, &body).await;
            assert_eq!(reply.status, 200, "{model} {reply}");
            let tokens = reply.json()["usage"]["prompt_tokens"].as_u64().unwrap();
            till.charged(&reply, &[per_million(tokens, price)], basis).await;
            assert!(basis == "counted" || tokens == 7, "{reply}");
            assert!(tokens > 0);
            let answer = reply.json();
            assert_eq!(
                (&answer["object"], &answer["data"][1]["index"]),
                (&json!("list"), &json!(1)),
                "{model}"
            );
            let vector = &answer["data"][1]["embedding"];
            match format {
                Some("base64") => assert_eq!(floats(vector), expected, "{model}"),
                _ => {
                    let numbers: Vec<f32> = serde_json::from_value(vector.clone()).unwrap();
                    assert_eq!(numbers, expected, "{model}");
                }
            }
            only_call(&stack);
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn each_provider_is_asked_in_its_own_words() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let cases = [
        (
            json!({"model": "cohere/embed-v4.0", "text": "q", "dimensions": 8, "user": "u"}),
            json!({"model": "embed-v4.0", "texts": ["q"], "input_type": "search_document",
                   "embedding_types": ["float"], "output_dimension": 8}),
            "user",
        ),
        (
            json!({"model": "cohere/embed-v5.0-fast", "input": ["q"], "input_type": "search_query"}),
            json!({"model": "embed-v5.0-fast", "texts": ["q"], "input_type": "search_query",
                   "embedding_types": ["float"]}),
            "",
        ),
        (
            json!({"model": "google/gemini-embedding-001", "input": ["a", "b"], "dimensions": 8,
                   "input_type": "search_query"}),
            json!({"requests": [
                {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "a"}]},
                 "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8},
                {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "b"}]},
                 "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8}]}),
            "",
        ),
        (
            json!({"model": "mistral/codestral-embed", "input": "a", "dimensions": 8, "encoding_format": "base64",
                   "user": null}),
            json!({"model": "codestral-embed", "input": "a", "output_dimension": 8}),
            "",
        ),
        (
            json!({"model": "perplexity/pplx-embed-v1-0.6b", "input": "a"}),
            json!({"model": "pplx-embed-v1-0.6b", "input": "a", "encoding_format": "base64_int8"}),
            "",
        ),
        (
            json!({"model": "openai/text-embedding-3-small", "input": [[1, 2], [3]], "byok_api_key": null,
                   "additional_params": {}}),
            json!({"model": "text-embedding-3-small", "input": [[1, 2], [3]]}),
            "",
        ),
    ];
    for (body, expected, dropped) in cases {
        let reply = stack.post(PATH, &customer.key, &body).await;
        assert_eq!(reply.status, 200, "{body} {reply}");
        assert_eq!(reply.header("x-kairosroute-dropped"), dropped);
        assert_eq!(sent(&only_call(&stack)), expected);
    }
    stack.finish().await;
}

#[tokio::test]
async fn an_own_key_costs_nothing_and_one_that_fails_falls_back_as_the_customer_said() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    stack.set_provider_keys(&customer, &json!({"OpenAI": "own-key-12345678"})).await;
    let body = json!({"model": "openai/text-embedding-3-small", "input": "hi"});
    let reply = stack.post(PATH, &customer.key, &body).await;
    assert_eq!((reply.status, reply.header("x-kairosroute-byok")), (200, "true"), "{reply}");
    assert_eq!(reply.header("x-kairosroute-cost"), "0");
    assert_eq!(only_call(&stack).authorization, "own-key-12345678");

    let rejected = || Script { status: 401, ..Script::default() };
    stack.simulator.enqueue("openai", rejected());
    let till = Till::open(&stack, &customer).await;
    let reply = stack.post(PATH, &customer.key, &body).await;
    assert_eq!(reply.header("x-kairosroute-fallback-reason"), "bad_key", "{reply}");
    assert_eq!(reply.header("x-kairosroute-attempts"), "2");
    let tokens = reply.json()["usage"]["prompt_tokens"].as_u64().unwrap();
    till.charged(&reply, &[per_million(tokens, 20)], "reported").await;
    assert_eq!(stack.simulator.bill().len(), 2);
    stack.simulator.clear();

    stack.simulator.enqueue("openai", rejected());
    let never = stack.request("POST", PATH).bearer(&customer.key).header("x-kairosroute-fallback", "never");
    let reply = never.json(&body).send().await;
    assert_eq!(reply.status, 401, "{reply}");
    stack.finish().await;
}

#[tokio::test]
async fn the_next_model_of_a_list_serves_what_the_first_cannot() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    stack.simulator.enqueue("mistral", Script { status: 503, ..Script::default() });
    stack.simulator.set_default("cohere", vectors(&["1,2"]));
    let till = Till::open(&stack, &customer).await;
    let body = json!({"model": ["mistral/mistral-embed", "cohere/embed-v4.0"], "input": "hi"});
    let reply = stack.post(PATH, &customer.key, &body).await;
    assert_eq!(reply.header("x-kairosroute-provider"), "Cohere", "{reply}");
    till.charged(&reply, &[per_million(7, 120)], "reported").await;
    assert_eq!(charge(cost(&[per_million(7, 120)])), 882);
    stack.finish().await;
}
