//! What is refused, and how failures are scripted.

use super::{super::super::Script, ask, form, last, send, start, upload};
use serde_json::{Value, json};

/// Path, body, and the status and a part of the refusal.
type Case<'a> = (&'a str, Value, u16, &'a str);

fn are_refused(cases: &[Case<'_>]) {
    let simulator = start();
    for (path, body, status, needle) in cases {
        let heard = ask(&simulator, path, body);
        assert_eq!(heard.status, *status, "{path} {body} {}", heard.text());
        assert!(heard.text().contains(needle), "{path} {body} {}", heard.text());
        assert_eq!((last(&simulator).prompt_tokens, last(&simulator).amounts), (0, Default::default()));
    }
}

#[test]
fn what_a_provider_of_vectors_does_not_take_is_refused_in_its_own_shape() {
    are_refused(&[
        (
            "/openai/v1/embeddings",
            json!({"model": "m", "input": "a", "top_k": 1}),
            400,
            "top_k: unknown field",
        ),
        ("/openai/v1/embeddings", json!({"model": "m", "input": ["a", ""]}), 400, "input: must be text"),
        (
            "/openai/v1/embeddings",
            json!({"model": "m", "input": "a", "cache": null}),
            400,
            "leaked field: cache",
        ),
        (
            "/openai/v1/embeddings",
            json!({"model": "text-embedding-ada-002", "input": "a", "dimensions": 2}),
            400,
            "dimensions",
        ),
        ("/mistral/v1/embeddings", json!({"model": "m", "input": "a", "dimensions": 2}), 422, "\"detail\""),
        (
            "/mistral/v1/embeddings",
            json!({"model": "m", "input": [1, 2]}),
            422,
            "\"loc\":[\"body\",\"input\"]",
        ),
        (
            "/together_ai/v1/embeddings",
            json!({"model": "m", "input": "a", "encoding_format": "float"}),
            400,
            "encoding_format",
        ),
        (
            "/perplexity/v1/embeddings",
            json!({"model": "m", "input": "a", "encoding_format": "float"}),
            400,
            "base64_int8",
        ),
        (
            "/cohere/v2/embed",
            json!({"model": "m", "texts": ["a"]}),
            400,
            "{\"message\":\"input_type: field required\"}",
        ),
        (
            "/cohere/v2/embed",
            json!({"model": "m", "input_type": "search_query", "texts": vec!["a"; 97]}),
            400,
            "at most 96",
        ),
        ("/google/v1beta/models/e:embedContent", json!({"content": {"parts": []}}), 400, "INVALID_ARGUMENT"),
        (
            "/google/v1beta/models/e:batchEmbedContents",
            json!({"requests": [{"content": {"parts": [{"text": "a"}]}}]}),
            400,
            "requests[0].model",
        ),
    ]);
}

#[test]
fn what_other_endpoints_do_not_take_is_refused_in_the_providers_own_shape() {
    are_refused(&[
        (
            "/openai/v1/images/generations",
            json!({"model": "m", "prompt": "p", "response_format": "url"}),
            400,
            "response_format",
        ),
        ("/openai/v1/images/edits", json!({"model": "m", "prompt": "p"}), 400, "must be multipart"),
        (
            "/groq/openai/v1/audio/speech",
            json!({"model": "m", "input": "a", "voice": "v", "response_format": "opus"}),
            400,
            "response_format",
        ),
        ("/mistral/v1/audio/speech", json!({"model": "m", "input": "a", "voice": "v"}), 422, "voice"),
        ("/mistral/v1/audio/speech", json!({"model": "m", "input": "a"}), 422, "voice_id or ref_audio"),
        (
            "/cohere/v2/rerank",
            json!({"model": "m", "query": "q", "documents": [{"text": "a"}]}),
            400,
            "documents",
        ),
        (
            "/cohere/v2/rerank",
            json!({"model": "m", "query": "q", "documents": []}),
            400,
            "documents: field required",
        ),
        (
            "/mistral/v1/ocr",
            json!({"model": "m", "document": {"type": "document_url"}}),
            422,
            "document.document_url",
        ),
        ("/anthropic/v1/embeddings", json!({"model": "m", "input": "a"}), 404, "not_found_error"),
    ]);
}

#[test]
fn forms_are_judged_like_bodies() {
    let simulator = start();
    let path = "/openai/v1/audio/transcriptions";
    let closed = b"--x--\r\n".to_vec();
    let late = |fields: &[(&str, &str)]| {
        let mut form = form(&[]);
        form.truncate(form.len() - "--x--\r\n".len());
        for (name, value) in fields {
            form.extend(
                format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
            );
        }
        form.extend(b"--x--\r\n");
        form
    };
    for (path, body, status, needle) in [
        (path, form(&[]), 400, "model: field required"),
        (path, closed, 400, "model: field required"),
        (path, late(&[("model", "m")]), 200, "text"),
        (path, form(&[("model", "m"), ("provider", "x")]), 400, "leaked field: provider"),
        (path, form(&[("model", "m"), ("diarize", "true")]), 400, "diarize: unknown field"),
        (path, form(&[("model", "gpt-transcribe"), ("response_format", "srt")]), 400, "response_format"),
        (
            "/groq/openai/v1/audio/transcriptions",
            form(&[("model", "m"), ("response_format", "vtt")]),
            400,
            "response_format",
        ),
        ("/groq/openai/v1/audio/transcriptions", form(&[("model", "m"), ("url", "u")]), 400, "exactly one"),
        (
            "/mistral/v1/audio/transcriptions",
            form(&[("model", "m"), ("response_format", "json")]),
            422,
            "response_format",
        ),
        ("/cohere/v2/audio/transcriptions", form(&[("model", "m")]), 400, "language: field required"),
        (
            "/cohere/v2/audio/transcriptions",
            late(&[("model", "m"), ("language", "en")]),
            400,
            "must be the last field",
        ),
        ("/cohere/v2/audio/transcriptions", form(&[("model", "m"), ("language", "en")]), 200, "text"),
        ("/xai/v1/stt", late(&[("language", "en")]), 400, "must be the last field"),
        (
            "/openai/v1/audio/translations",
            form(&[("model", "whisper-1"), ("language", "en")]),
            400,
            "language",
        ),
    ] {
        let heard = upload(&simulator, path, &body);
        assert_eq!(heard.status, status, "{path} {} {}", String::from_utf8_lossy(&body), heard.text());
        assert!(heard.text().contains(needle), "{path} {}", heard.text());
    }
    let heard = send(&simulator, path, "application/json", b"{\"model\":\"m\",\"file\":\"x\"}");
    assert!(heard.status == 400 && heard.text().contains("must be multipart"), "{}", heard.text());
    assert_eq!(send(&simulator, path, "multipart/form-data; boundary=x", b"--x\r\n").status, 400);
}

#[test]
fn failures_and_keys_are_scripted_as_for_conversations() {
    let simulator = start();
    let (path, body) = ("/openai/v1/embeddings", json!({"model": "m", "input": "a"}));
    simulator.enqueue("openai", Script::rate_limited(7));
    let heard = ask(&simulator, path, &body);
    assert!(heard.status == 429 && heard.head.contains("retry-after: 7"), "{}", heard.head);
    simulator.enqueue("openai", Script::error(503, "plain words"));
    assert_eq!(ask(&simulator, path, &body).text(), "plain words");
    simulator.enqueue("openai", Script { accepted_keys: Some(vec!["other".into()]), ..Script::default() });
    assert_eq!(ask(&simulator, path, &body).status, 401);
    simulator.enqueue("openai", Script::raw_body("{\"odd\":1}"));
    let heard = ask(&simulator, path, &body);
    assert_eq!((heard.status, heard.text().as_str()), (200, "{\"odd\":1}"));
    simulator.enqueue("openai", Script { cut_after: Some(0), ..Script::default() });
    ask(&simulator, path, &body);
    assert!(!last(&simulator).finished);
    let ordered: Script =
        serde_json::from_value(json!({"kinds": {"vectors": ["1"], "audio": [[1, 2]]}})).unwrap();
    assert_eq!((ordered.kinds.vectors, ordered.kinds.audio), (vec!["1".to_owned()], vec![vec![1, 2]]));
    let bill = serde_json::to_value(simulator.bill()).unwrap();
    assert!(bill[0]["amounts"]["audio_ms"] == 0, "{bill}");
}
