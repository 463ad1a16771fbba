//! Images: generated from text and from images, billed by tokens or by the piece.

use super::{Form, Term, Till, charge, cost, only_call, per_million, sent};
use crate::harness::{Stack, wait_for};
use kairosroute::simulator::{KindScript, Script};
use serde_json::json;

const PATH: &str = "/v1/images/generations";

fn drawn(image_prompt: u64, text_out: u64) -> KindScript {
    KindScript { image_prompt_tokens: image_prompt, image_text_tokens: text_out, ..KindScript::default() }
}

#[tokio::test]
async fn tokens_of_text_and_of_pictures_are_charged_apart() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    stack
        .simulator
        .set_default("openai", Script { kinds: drawn(0, 10), ..Script::default().with_tokens(31, 1_066) });
    let till = Till::open(&stack, &customer).await;
    let body = json!({"model": "openai/gpt-image-2", "prompt": "a dot", "n": 2, "size": "1024x1024",
                      "response_format": "b64_json", "style": "vivid", "quality": "low"});
    let reply = stack.post(PATH, &customer.key, &body).await;
    let terms = [per_million(31, 5_000), per_million(10, 30_000), per_million(1_056, 30_000)];
    let receipt = till.charged(&reply, &terms, "reported").await;
    assert_eq!((&receipt["usage"]["image_output"], &receipt["usage"]["images"]), (&json!(1_056), &json!(2)));
    assert_eq!(reply.json()["data"].as_array().unwrap().len(), 2);
    assert_eq!(reply.header("x-kairosroute-dropped"), "style");
    let expected =
        json!({"model": "gpt-image-2", "prompt": "a dot", "n": 2, "size": "1024x1024", "quality": "low"});
    assert_eq!(sent(&only_call(&stack)), expected);
    stack.finish().await;
}

#[tokio::test]
async fn a_request_that_names_no_model_is_drawn_by_the_default_one() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    stack.simulator.set_default("openai", Script { kinds: drawn(0, 10), ..Script::default() });
    let reply = stack.post(PATH, &customer.key, &json!({ "prompt": "a dot" })).await;
    assert_eq!((reply.status, reply.header("x-kairosroute-model")), (200, "gpt-image-2"), "{reply}");
    assert_eq!(sent(&only_call(&stack))["model"], "gpt-image-2");
    stack.finish().await;
}

#[tokio::test]
async fn pictures_are_charged_by_the_piece_that_came_and_sizes_become_ratios() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let kinds = KindScript { image_count: Some(3), ..KindScript::default() };
    stack.simulator.set_default("xai", Script { kinds, ..Script::default() });
    let till = Till::open(&stack, &customer).await;
    let body = json!({"model": "xai/grok-imagine-image", "prompt": "a dot", "n": 4, "size": "1792x1024"});
    let reply = stack.post(PATH, &customer.key, &body).await;
    till.charged(&reply, &[Term(3, 20_000_000, 1)], "counted").await;
    assert!(reply.json()["created"].is_u64() && reply.json()["data"][0]["url"].is_string(), "{reply}");
    let call = sent(&only_call(&stack));
    assert_eq!(
        (&call["aspect_ratio"], &call["resolution"], &call["size"]),
        (&json!("16:9"), &json!("1k"), &json!(null))
    );

    for (field, value) in [("size", json!("999x1")), ("background", json!("transparent"))] {
        let mut body = json!({"model": "xai/grok-imagine-image", "prompt": "a dot"});
        body[field] = value;
        let reply = stack.post(PATH, &customer.key, &body).await;
        assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!(field)), "{reply}");
    }
    assert!(stack.simulator.bill().is_empty());
    stack.finish().await;
}

#[tokio::test]
async fn google_draws_in_a_conversation() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    stack
        .simulator
        .set_default("google", Script { kinds: drawn(0, 7), ..Script::default().with_tokens(9, 1_127) });
    let till = Till::open(&stack, &customer).await;
    let body =
        json!({"model": "google/gemini-3.1-flash-image", "prompt": "a \u{1F600} dot", "size": "1536x1024"});
    let reply = stack.post(PATH, &customer.key, &body).await;
    let terms = [per_million(9, 500), per_million(7, 3_000), per_million(1_120, 60_000)];
    till.charged(&reply, &terms, "reported").await;
    assert!(reply.json()["data"][0]["b64_json"].as_str().unwrap().starts_with("iVBOR"), "{reply}");
    assert_eq!(reply.json()["usage"]["output_tokens"], 1_127);
    let call = sent(&only_call(&stack));
    assert_eq!(call["contents"][0]["parts"][0]["text"], "a \u{1F600} dot");
    let config =
        json!({"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": "3:2", "imageSize": "1K"}});
    assert_eq!(call["generationConfig"], config);
    stack.finish().await;
}

#[tokio::test]
async fn pictures_are_drawn_from_pictures() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let script = || Script { kinds: drawn(400, 0), ..Script::default().with_tokens(420, 1_000) };
    let form = |model: &str| {
        let form = Form::new().field("prompt", "bluer").field("model", model);
        form.file("image[]", "a.png", "image/png", b"\x89PNG\r\n--x").file(
            "image[]",
            "b.png",
            "image/png",
            b"b",
        )
    };
    stack.simulator.set_default("openai", script());
    let till = Till::open(&stack, &customer).await;
    let reply = form("gpt-image-2").post(&stack, "/v1/images/edits", &customer.key).await;
    let terms = [per_million(20, 5_000), per_million(400, 8_000), per_million(1_000, 30_000)];
    till.charged(&reply, &terms, "reported").await;
    let call = only_call(&stack);
    assert!(call.path.ends_with("/images/edits") && call.body.contains("gpt-image-2"), "{}", call.body);
    assert!(call.body_bytes.windows(9).any(|window| window == b"\x89PNG\r\n--x"));

    stack.simulator.set_default("google", script());
    let reply = form("google/gemini-3-pro-image").post(&stack, "/v1/images/edits", &customer.key).await;
    assert_eq!(reply.status, 200, "{reply}");
    let parts = sent(&only_call(&stack))["contents"][0]["parts"].clone();
    assert_eq!(parts[1], json!({"inlineData": {"mimeType": "image/png", "data": "Yg=="}}));
    assert_eq!(parts[2], json!({"text": "bluer"}));
    stack.finish().await;
}

#[tokio::test]
async fn a_picture_that_a_provider_declines_is_a_refusal_and_costs_nothing() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let blocked =
        r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":9}}"#;
    stack.simulator.set_default("google", Script { raw_body: Some(blocked.into()), ..Script::default() });
    let body = json!({"model": "google/gemini-3.1-flash-image", "prompt": "no"});
    let reply = stack.post(PATH, &customer.key, &body).await;
    assert_eq!(reply.status, 400, "{reply}");
    assert!(reply.message().contains("PROHIBITED_CONTENT"), "{reply}");
    let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
    assert_eq!(receipt["charged_nano_usd"], 0, "{receipt}");
    stack.finish().await;
}

#[tokio::test]
async fn a_picture_that_is_blocked_once_it_is_drawn_is_charged_as_the_provider_bills_it() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let blocked = r#"{"candidates":[{"finishReason":"IMAGE_SAFETY","index":0}],"usageMetadata":{"promptTokenCount":9,
        "candidatesTokenCount":1120,"thoughtsTokenCount":300,"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1120}]}}"#;
    let (before, _) = stack.account(&customer.organization_id).await;
    stack.simulator.set_default("google", Script { raw_body: Some(blocked.into()), ..Script::default() });
    // No other provider is called for it again.
    let body = json!({"model": "google/gemini-3.1-flash-image", "models": ["gpt-image-2"], "prompt": "no"});
    let reply = stack.post(PATH, &customer.key, &body).await;
    assert_eq!(reply.status, 400, "{reply}");
    assert!(reply.message().contains("IMAGE_SAFETY"), "{reply}");
    let terms = [per_million(9, 500), per_million(300, 3_000), per_million(1_120, 60_000)];
    let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
    assert_eq!(receipt["charged_nano_usd"], json!(charge(cost(&terms))), "{receipt}");
    assert_eq!(receipt["execution"]["status"], "failed", "{receipt}");
    stack.no_hold_is_open().await;
    let spent = before - stack.account(&customer.organization_id).await.0;
    assert_eq!((spent, stack.simulator.bill().len()), (charge(cost(&terms)), 1));
    stack.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_the_picture_that_is_made_all_the_same() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let script = Script { latency_ms: 400, ..Script::default().with_tokens(10, 1_000) };
    stack.simulator.set_default("openai", script);
    let body = json!({"model": "gpt-image-2", "prompt": "a dot"});
    let request = stack.request("POST", PATH).bearer(&customer.key).json(&body).send();
    assert!(tokio::time::timeout(std::time::Duration::from_millis(150), request).await.is_err());
    let charged = wait_for("the charge", async || {
        let charged = "SELECT coalesce(sum(charge), 0)::bigint FROM usage WHERE kind = 'images'";
        Some(stack.database.number(charged).await).filter(|charged| *charged > 0)
    })
    .await;
    assert_eq!(charged, charge(cost(&[per_million(10, 5_000), per_million(1_000, 30_000)])));
    stack.finish().await;
}
