//! Reranking, moderation and reading of documents.

use super::{Term, Till, only_call, per_million, sent};
use crate::harness::Stack;
use kairosroute::simulator::{KindScript, Script};
use serde_json::{Value, json};

fn ask(model: &str, documents: usize) -> Value {
    let documents: Vec<String> = (0..documents).map(|index| format!("document {index}")).collect();
    json!({"model": model, "query": "which?", "documents": documents, "top_n": 2})
}

#[tokio::test]
async fn a_rerank_costs_searches_or_tokens_as_the_model_is_priced() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let cases = [
        ("cohere/rerank-v4.0-pro", Term(3, 2_500_000, 1)),
        ("cohere/rerank-v3.5", Term(3, 2_000_000, 1)),
        ("cohere/rerank-v5.0-pro", per_million(700, 50)),
        ("fireworks_ai/qwen3-reranker-8b", per_million(700, 200)),
    ];
    for (model, term) in cases {
        for path in ["/v1/rerank", "/api/v1/rerank"] {
            let (provider, _) = model.split_once('/').unwrap();
            let kinds = KindScript { search_units: Some(3), ..KindScript::default() };
            stack.simulator.set_default(provider, Script { kinds, ..Script::default().with_tokens(700, 0) });
            let till = Till::open(&stack, &customer).await;
            let reply = stack.post(path, &customer.key, &ask(model, 250)).await;
            till.charged(&reply, &[Term(term.0, term.1, term.2)], "reported").await;
            let results = reply.json()["results"].clone();
            assert_eq!(results.as_array().unwrap().len(), 2, "{model}");
            assert_eq!((&results[0]["index"], &results[0]["relevance_score"]), (&json!(0), &json!(0.999)));
            assert_eq!(reply.json()["x_kairosroute"]["byok"], false);
            only_call(&stack);
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_rerank_that_says_nothing_of_its_usage_is_counted() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let bare = r#"{"data":[{"index":1,"relevance_score":0.5}],"object":"list"}"#;
    stack.simulator.set_default("cohere", Script { raw_body: Some(bare.into()), ..Script::default() });
    let till = Till::open(&stack, &customer).await;
    let reply = stack.post("/v1/rerank", &customer.key, &ask("cohere/rerank-v4.0-fast", 101)).await;
    till.charged(&reply, &[Term(2, 2_000_000, 1)], "estimated").await;
    assert_eq!(reply.json()["results"][0]["index"], 1);
    stack.finish().await;
}

#[tokio::test]
async fn moderation_is_free_and_has_a_verdict_from_every_provider() {
    let stack = Stack::start().await;
    // No credit at all.
    let customer = stack.customer("0").await;
    for (body, provider, model) in [
        (json!({"input": "hi"}), "openai", "omni-moderation-latest"),
        (
            json!({"input": ["hi", "ho"], "model": "mistral/mistral-moderation-2603"}),
            "mistral",
            "mistral-moderation-2603",
        ),
    ] {
        for flagged in [vec![], vec!["sexual".to_owned()]] {
            let found = !flagged.is_empty();
            let kinds = KindScript { flagged, ..KindScript::default() };
            stack.simulator.set_default(provider, Script { kinds, ..Script::default() });
            let till = Till::open(&stack, &customer).await;
            let reply = stack.post("/v1/moderations", &customer.key, &body).await;
            till.charged(&reply, &[Term(0, 1, 1)], "counted").await;
            assert_eq!(reply.json()["results"][0]["flagged"], found, "{reply}");
            assert_eq!(sent(&only_call(&stack))["model"], model);
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn documents_are_read_and_charged_by_the_page() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let kinds = KindScript { pages: Some(vec!["# One".into(), "two".into()]), ..KindScript::default() };
    stack.simulator.set_default("mistral", Script { kinds, ..Script::default() });
    let till = Till::open(&stack, &customer).await;
    let document = json!({"type": "document_url", "document_url": "https://example.test/a.pdf"});
    let body = json!({"model": "mistral-ocr-latest", "document": document, "pages": [0, 1], "include_image_base64": false});
    let reply = stack.post("/v1/ocr", &customer.key, &body).await;
    let receipt = till.charged(&reply, &[Term(2, 4_000_000, 1)], "reported").await;
    assert_eq!(receipt["usage"]["pages"], 2);
    assert_eq!(reply.json()["pages"][0]["markdown"], "# One");
    let mut expected = body.clone();
    expected["model"] = json!("mistral-ocr-latest");
    assert_eq!(sent(&only_call(&stack)), expected);
    stack.finish().await;
}

#[tokio::test]
async fn annotated_pages_have_a_price_that_nobody_told_and_are_read_on_own_keys_alone() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let kinds = KindScript { pages: Some(vec!["# One".into()]), ..KindScript::default() };
    stack.simulator.set_default("mistral", Script { kinds, ..Script::default() });
    let document = json!({"type": "document_url", "document_url": "https://example.test/a.pdf"});
    for own_key in [false, true] {
        if own_key {
            stack.set_provider_keys(&customer, &json!({ "Mistral": "customers-own-key" })).await;
        }
        for format in ["bbox_annotation_format", "document_annotation_format"] {
            let mut body = json!({"model": "mistral-ocr-latest", "document": document});
            body[format] = json!({"type": "json_object"});
            let reply = stack.post("/v1/ocr", &customer.key, &body).await;
            if own_key {
                assert_eq!((reply.status, reply.header("x-kairosroute-byok")), (200, "true"), "{reply}");
                assert_eq!(sent(&only_call(&stack))[format], body[format]);
            } else {
                assert_eq!((reply.status, reply.code().as_str()), (400, "no_models_available"), "{reply}");
                assert!(reply.message().contains("has no price here"), "{reply}");
                assert!(stack.simulator.bill().is_empty());
            }
        }
    }
    assert_eq!(stack.account(&customer.organization_id).await, (5_000_000_000, 0));
    stack.finish().await;
}
