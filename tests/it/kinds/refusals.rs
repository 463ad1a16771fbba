//! What is refused before anything is sent or charged.

use super::{Form, Till, wav};
use crate::harness::{Reply, Stack};
use serde_json::{Value, json};

fn refused(reply: &Reply, param: &Value) {
    assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, param), "{reply}");
    assert!(!reply.receipt_id().is_empty());
}

#[tokio::test]
async fn a_body_that_nobody_could_serve_is_refused_by_the_name_of_its_field() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let embed = "/v1/embeddings";
    let cases = [
        (embed, json!({"model": "text-embedding-3-small"}), json!("input")),
        (embed, json!({"model": "text-embedding-3-small", "input": []}), json!("input")),
        (embed, json!({"model": "text-embedding-3-small", "input": {"a": 1}}), json!("input")),
        (embed, json!({"model": "text-embedding-3-small", "input": ["a", 1]}), json!("input")),
        (embed, json!({"model": "text-embedding-3-small", "input": [[1.5]]}), json!("input[0]")),
        (embed, json!({"model": "text-embedding-3-small", "input": "a", "text": "b"}), json!("text")),
        (
            embed,
            json!({"model": "text-embedding-3-small", "input": "a", "dimensions": 0}),
            json!("dimensions"),
        ),
        (embed, json!({"input": "a"}), json!("model")),
        (embed, json!({"model": [], "input": "a"}), json!("model")),
        (
            embed,
            json!({"model": "text-embedding-3-small", "input": "a", "byok_api_key": 7}),
            json!("byok_api_key"),
        ),
        (embed, json!({"model": "together_ai/x", "input": "a", "dimensions": 3}), json!(null)),
        (embed, json!({"model": "cohere/embed-v4.0", "input": [1, 2]}), json!("input")),
        (embed, json!({"model": "cohere/embed-v4.0", "input": vec!["a"; 97]}), json!("input")),
        ("/v1/audio/speech", json!({"model": "tts-1", "voice": "alloy"}), json!("input")),
        ("/v1/audio/speech", json!({"model": "tts-1", "input": "a", "speed": 5}), json!("speed")),
        ("/v1/images/generations", json!({"model": "gpt-image-2", "prompt": "a", "n": 0}), json!("n")),
        (
            "/v1/images/generations",
            json!({"model": "gpt-image-2", "prompt": "a", "stream": true}),
            json!("stream"),
        ),
        (
            "/v1/images/generations",
            json!({"model": "gpt-image-2", "prompt": "a", "response_format": "url"}),
            json!("response_format"),
        ),
        (
            "/v1/rerank",
            json!({"model": "rerank-v4.0-pro", "query": "a", "documents": []}),
            json!("documents"),
        ),
        ("/v1/rerank", json!({"model": "rerank-v4.0-pro", "documents": ["a"]}), json!("query")),
        ("/v1/ocr", json!({"model": "mistral-ocr-latest", "document": "a"}), json!("document")),
        ("/v1/moderations", json!({"input": 7}), json!("input")),
    ];
    for (path, body, param) in cases {
        let reply = stack.post(path, &customer.key, &body).await;
        match param {
            Value::Null => assert!(matches!(reply.status, 400 | 404), "{body} {reply}"),
            param => refused(&reply, &param),
        }
    }
    let twice = stack.request("POST", embed).bearer(&customer.key);
    let reply = twice.body(r#"{"model":"text-embedding-3-small","input":"a","input":"b"}"#).send().await;
    assert_eq!(reply.status, 400, "{reply}");
    assert!(stack.simulator.bill().is_empty());
    assert_eq!(stack.account(&customer.organization_id).await, (1_000_000_000, 0));
    stack.finish().await;
}

#[tokio::test]
async fn a_form_that_is_none_is_refused() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let path = "/v1/audio/transcriptions";
    let file = wav(1_000);
    let whole = || Form::new().file("file", "a.wav", "audio/wav", &file);
    let cases = [
        (whole(), json!("model")),
        (Form::new().field("model", "whisper-1"), json!("file")),
        (Form::new().field("model", "whisper-1").field("file", "text"), json!("file")),
        (whole().field("model", "whisper-1").field("model", "whisper-1"), json!("model")),
        (whole().field("model", "whisper-1").field("temperature", "hot"), json!("temperature")),
        (whole().field("model", "whisper-1").field("stream", "true"), json!("stream")),
        (whole().field("model", "whisper-1").field("byok_api_key", "two words"), json!("byok_api_key")),
        (whole().field("model", "whisper-1").field("extra[retry]", "9"), json!("extra.retry")),
        (whole().field("model", "whisper-1").field("extra[other]", "k"), json!("extra")),
        (whole().field("model", "whisper-1").field("zdr", "true"), json!("zdr")),
        (
            whole().field("model", "groq/whisper-large-v3").field("url", "https://example.test/long"),
            json!("url"),
        ),
        (whole().field("model", "whisper-1").field("file_id", "file-1"), json!("file_id")),
        (whole().field("model", "whisper-1").field("Audio_URL", "https://example.test"), json!("Audio_URL")),
        (
            whole().field("model", "mistral/voxtral-mini-latest").field("response_format", "srt"),
            json!("response_format"),
        ),
    ];
    for (form, param) in cases {
        refused(&form.post(&stack, path, &customer.key).await, &param);
    }
    for (content_type, body) in [
        ("application/json", "{}"),
        ("multipart/form-data", "--x\r\n"),
        ("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nab"),
        ("multipart/form-data; boundary=x", "--x\r\nno head\r\n--x--"),
    ] {
        let request = stack.request("POST", path).bearer(&customer.key).header("content-type", content_type);
        let reply = request.body(body).send().await;
        assert_eq!(reply.status, 400, "{content_type} {reply}");
    }
    assert!(stack.simulator.bill().is_empty());
    stack.finish().await;
}

#[tokio::test]
async fn a_model_of_another_kind_is_refused_with_the_reason() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for (path, body) in [
        ("/v1/embeddings", json!({"model": "openai/gpt-5.4-mini", "input": "a"})),
        ("/v1/audio/speech", json!({"model": "openai/whisper-1", "input": "a", "voice": "x"})),
        ("/v1/rerank", json!({"model": "cohere/embed-v4.0", "query": "a", "documents": ["b"]})),
        (
            "/v1/chat/completions",
            json!({"model": "openai/tts-1", "messages": [{"role": "user", "content": "a"}]}),
        ),
    ] {
        let reply = stack.post(path, &customer.key, &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "no_models_available"), "{reply}");
        assert!(reply.message().contains("this model") && reply.message().contains("/v1/"), "{reply}");
        assert_eq!(reply.json()["error"]["param"], "model");
    }
    assert!(stack.simulator.bill().is_empty());
    stack.finish().await;
}

#[tokio::test]
async fn without_credit_nothing_is_sent_and_nothing_is_owed() {
    let stack = Stack::start().await;
    let customer = stack.customer("0").await;
    let cases = [
        ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "a"})),
        ("/v1/audio/speech", json!({"model": "tts-1", "input": "a", "voice": "x"})),
        ("/v1/images/generations", json!({"model": "grok-imagine-image", "prompt": "a"})),
        ("/v1/rerank", json!({"model": "rerank-v4.0-pro", "query": "a", "documents": ["b"]})),
        (
            "/v1/ocr",
            json!({"model": "mistral-ocr-latest", "document": {"type": "document_url", "document_url": "https://x.test/a.pdf"}}),
        ),
    ];
    for (path, body) in cases {
        let reply = stack.post(path, &customer.key, &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (402, "insufficient_credits"), "{path} {reply}");
    }
    let form = Form::new().field("model", "whisper-1").file("file", "a.wav", "audio/wav", &wav(1_000));
    let reply = form.post(&stack, "/v1/audio/transcriptions", &customer.key).await;
    assert_eq!(reply.status, 402, "{reply}");
    assert!(stack.simulator.bill().is_empty());
    let till = Till::open(&stack, &customer).await;
    assert_eq!(till.stack.account(&customer.organization_id).await, (0, 0));
    stack.finish().await;
}
