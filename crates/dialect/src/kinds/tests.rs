//! Golden cases are files in tests/golden/kinds: requests from clients and to providers, answers from providers and to
//! clients.

use super::*;
use crate::{Limits, json};
use kairosroute_domain::{
    provider::{PROVIDERS, ProviderId},
    usage::{Basis, Usage},
};
use proptest::prelude::*;
use serde_json::Value;

const GOLDEN: &[(Kind, &str)] = &[
    (Kind::Embeddings, include_str!("../../tests/golden/kinds/embeddings.json")),
    (Kind::Images, include_str!("../../tests/golden/kinds/images.json")),
    (Kind::Speech, include_str!("../../tests/golden/kinds/speech.json")),
    (Kind::Transcription, include_str!("../../tests/golden/kinds/transcription.json")),
    (Kind::Moderation, include_str!("../../tests/golden/kinds/moderation.json")),
    (Kind::Rerank, include_str!("../../tests/golden/kinds/rerank.json")),
    (Kind::Ocr, include_str!("../../tests/golden/kinds/ocr.json")),
];

const FORM: &str = "multipart/form-data; boundary=\"b\"";

/// The body of a case: JSON as it stands, or a form of the fields with a short file.
fn body(kind: Kind, case: &Value) -> Vec<u8> {
    if kind != Kind::Transcription {
        return case["request"].to_string().into_bytes();
    }
    let mut body = Vec::new();
    for (name, value) in case["request"].as_object().unwrap() {
        let value = value.as_str().unwrap();
        body.extend(
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    body.extend(
        b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\nID3\r\n--b--\r\n",
    );
    body
}

fn at<'t>(kind: Kind, case: &'t Value) -> At<'t> {
    let provider = ProviderId::by_id(case["provider"].as_str().unwrap()).unwrap();
    At {
        serves: provider.serves(kind).unwrap(),
        model: case["model"].as_str().unwrap(),
        created: 1_790_000_000,
        on_platform: case["on_platform"] == true,
    }
}

#[test]
fn requests_are_written_as_each_provider_takes_them() {
    for (kind, golden) in GOLDEN {
        let cases: Value = serde_json::from_str(golden).unwrap();
        for case in cases["requests"].as_array().unwrap() {
            let body = body(*kind, case);
            let request =
                read(*kind, FORM, &body, &Limits::default()).unwrap_or_else(|error| panic!("{error} {case}"));
            let sent = match request.encode(&at(*kind, case)) {
                Ok(sent) => sent,
                Err(unsupported) => {
                    assert_eq!(case["unsupported"], *unsupported.field, "{unsupported} {case}");
                    continue;
                }
            };
            assert_eq!(sent.path, case["path"].as_str().unwrap(), "{case}");
            let dropped: Vec<&str> = sent.dropped.iter().map(AsRef::as_ref).collect();
            let expected: Vec<&str> =
                case["dropped"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()).collect();
            assert_eq!(dropped, expected, "{case}");
            if *kind == Kind::Transcription && sent.content_type != "application/json" {
                let names: Value = fields_of(&sent.content_type, &sent.body);
                assert_eq!(names, case["sent"], "{case}");
                continue;
            }
            let written: Value = serde_json::from_slice(&sent.body).unwrap();
            assert_eq!(written, case["sent"], "{case}");
        }
    }
}

/// The fields of a form, in order, with the file's content.
fn fields_of(content_type: &str, body: &[u8]) -> Value {
    let form = Form::read(content_type, body).unwrap();
    form.parts.iter().map(|part| format!("{}={}", part.name, part.text().unwrap())).collect()
}

#[test]
fn answers_are_given_in_the_client_s_form_with_their_usage() {
    for (kind, golden) in GOLDEN {
        let cases: Value = serde_json::from_str(golden).unwrap();
        for case in cases["answers"].as_array().unwrap() {
            let body = body(*kind, case);
            let request =
                read(*kind, FORM, &body, &Limits::default()).unwrap_or_else(|error| panic!("{error} {case}"));
            let expected = request.encode(&at(*kind, case)).unwrap().expected;
            let reply = case["reply"].as_str().map_or_else(|| case["reply"].to_string(), str::to_owned);
            let content_type = case["content_type"].as_str().unwrap_or("application/json");
            let answer = match expected.read(content_type, reply.into_bytes()) {
                Ok(answer) => answer,
                Err((refused, _)) => {
                    assert_eq!(case["refused"], format!("{refused:?}"), "{case}");
                    continue;
                }
            };
            let usage = answer.usage.map(|usage| serde_json::to_value(usage).unwrap()).unwrap_or_default();
            for (bucket, count) in case["usage"].as_object().into_iter().flatten() {
                assert_eq!(&usage[bucket], count, "{bucket} {usage} {case}");
            }
            assert_eq!(usage.is_null(), case["usage"].is_null(), "{case}");
            let billed = Usage { input: 3, ..Usage::default() };
            let is_json = answer.content_type.starts_with("application/json");
            let written = answer.write("x_note", "1", &billed);
            if is_json {
                let mut written: Value = serde_json::from_slice(&written).unwrap();
                assert_eq!(written.as_object_mut().unwrap().remove("x_note"), Some(1.into()), "{case}");
                assert_eq!(written, case["body"], "{case}");
            } else {
                assert_eq!(String::from_utf8_lossy(&written), case["body"].as_str().unwrap(), "{case}");
            }
        }
    }
}

#[test]
fn what_a_provider_of_the_same_form_gets_is_the_client_s_own_bytes() {
    let body = br#"{ "input" : ["\ud83d","\u00e3 \/"], "dimensions":12, "x":[1.0,1e5,12345678901234567890], "user":null, "model":"m"}"#;
    let request = read(Kind::Embeddings, "", body, &Limits::default()).unwrap();
    let openai = ProviderId::by_id("openai").unwrap();
    let at = At {
        serves: openai.serves(Kind::Embeddings).unwrap(),
        model: "text",
        created: 0,
        on_platform: false,
    };
    let sent = String::from_utf8(request.encode(&at).unwrap().body).unwrap();
    assert_eq!(
        sent,
        r#"{"input":["\ud83d","\u00e3 \/"],"dimensions":12,"x":[1.0,1e5,12345678901234567890],"model":"text"}"#
    );
}

#[test]
fn every_kind_that_the_table_offers_can_be_written() {
    let kinds = [Kind::Embeddings, Kind::Images, Kind::Speech, Kind::Moderation, Kind::Rerank, Kind::Ocr];
    let body =
        br#"{"model":"m","input":"a","prompt":"a","query":"a","documents":["a"],"document":{"type":"x"}}"#;
    let form = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\nx\r\n--b--";
    for provider in ProviderId::all() {
        for serves in provider.row().kinds {
            let body = if kinds.contains(&serves.kind) { &body[..] } else { &form[..] };
            let request = read(serves.kind, FORM, body, &Limits::default()).unwrap();
            let sent = request.encode(&At { serves, model: "a/b?c", created: 0, on_platform: false });
            let path = sent.unwrap_or_else(|error| panic!("{provider} {:?}: {error}", serves.kind)).path;
            assert!(!path.contains('{') && !path.contains('?'), "{path}");
        }
    }
    assert_eq!(PROVIDERS.iter().filter(|row| !row.kinds.is_empty()).count(), 9);
}

#[test]
fn a_model_s_name_cannot_forge_parts_of_a_form() {
    let form = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--b--";
    let request = read(Kind::Transcription, FORM, form, &Limits::default()).unwrap();
    let serves = ProviderId::by_id("groq").unwrap().serves(Kind::Transcription).unwrap();
    let sent = request.encode(&At { serves, model: "m\r\n--b\r\n", created: 0, on_platform: false });
    assert_eq!(sent.unwrap_err().field, "model");
}

#[test]
fn what_is_billed_is_measured_in_the_request() {
    let of = |kind, body: &str| read(kind, "", body.as_bytes(), &Limits::default()).unwrap().content;
    let spoken = of(Kind::Speech, r#"{"model":"m","input":"\u00c4b\ud83d\ude00","instructions":"loud"}"#);
    assert_eq!((spoken.usage.characters, spoken.usage.basis), (3, Basis::Counted));
    let ids = of(Kind::Embeddings, r#"{"model":"m","input":[[1,2],[3]]}"#);
    assert_eq!((ids.token_ids, ids.pieces), (3, 2));
    let documents = vec!["\"d\""; 201].join(",");
    let ranked = of(Kind::Rerank, &format!(r#"{{"model":"m","query":"q","documents":[{documents}]}}"#));
    assert_eq!((ranked.usage.queries, ranked.chunks), (3, 202));
    let pages = |pages: &str| {
        of(Kind::Ocr, &format!(r#"{{"model":"m","document":{{"a":1}},"pages":{pages}}}"#)).pages
    };
    assert_eq!((pages("[0,5]"), pages("\"0-3, 7\""), pages("\"x\"")), (Some(2), Some(5), None));
}

#[test]
fn the_text_of_a_request_is_found_for_counting() {
    let body = br#"{"model":"m","query":"q","documents":["a\n",{"text":"b","n":1}]}"#;
    assert_eq!(texts(Kind::Rerank, body), ["q", "a\n", r#"{"text":"b","n":1}"#]);
    assert_eq!(texts(Kind::Speech, br#"{"model":"m","input":"a","instructions":"b"}"#), ["a", "b"]);
    assert_eq!(texts(Kind::Moderation, br#"{"input":[{"type":"text","text":"a"}]}"#), ["a"]);
    assert!(texts(Kind::Embeddings, b"nonsense").is_empty());
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Embeddings,
        Kind::Images,
        Kind::ImageEdits,
        Kind::Speech,
        Kind::Transcription,
        Kind::Moderation,
        Kind::Rerank,
        Kind::Ocr,
    ])
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop::sample::select(vec![
        Shape::OpenAi,
        Shape::Gemini,
        Shape::Cohere,
        Shape::Mistral,
        Shape::Perplexity,
        Shape::Together,
        Shape::Xai,
    ])
}

/// JSON with names that the readers search, with values of any type.
fn odd_json() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "null",
        "true",
        "-1",
        "1.5",
        "1e400",
        "\"\"",
        "\"AAAA\"",
        "\"\\ud800\"",
        "[]",
        "{}",
        "18446744073709551615",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 40, 6, |inner| {
        let names = prop::sample::select(vec![
            "data",
            "embedding",
            "embeddings",
            "values",
            "usage",
            "input_tokens",
            "prompt_tokens",
            "candidates",
            "content",
            "parts",
            "inlineData",
            "results",
            "categories",
            "text",
            "audio_data",
            "seconds",
            "float",
            "meta",
            "billed_units",
            "usage_info",
            "pages",
            "usageMetadata",
            "promptTokenCount",
            "model",
            "input",
            "documents",
            "prompt",
            "query",
            "document",
            "n",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::btree_map(names, inner, 0..6).prop_map(|members| {
                let members: Vec<String> =
                    members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_request_makes_a_reader_panic(kind in kinds(), text in odd_json(), noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(kind, "multipart/form-data; boundary=b", &noise, &Limits::default());
        let _ = texts(kind, text.as_bytes());
        let Ok(request) = read(kind, "", text.as_bytes(), &Limits::default()) else { return Ok(()) };
        for provider in ProviderId::all() {
            if let Some(serves) = provider.serves(kind)
                && let Ok(sent) = request.encode(&At { serves, model: "m", created: 0, on_platform: false })
            {
                prop_assert!(json::read_object(&sent.body, 128, 1_000).is_ok(), "{text}");
            }
        }
    }

    #[test]
    fn no_answer_makes_a_reader_panic(kind in kinds(), shape in shapes(), base64 in any::<bool>(), text in odd_json()) {
        let wanted = match kind {
            Kind::Embeddings => Wanted::Vectors { base64 },
            Kind::Speech => Wanted::Sound { format: None, events: false },
            Kind::Transcription => Wanted::Transcript { format: base64.then(|| "text".to_owned()), is_rewritten: false },
            _ => Wanted::Object,
        };
        let expected =
            Expected { kind, shape, model: "m".into(), created: 0, wanted, measured: Usage::default() };
        if let Ok(answer) = expected.read("application/json", text.clone().into_bytes()) {
            let is_json = answer.content_type.starts_with("application/json");
            let written = answer.write("x_note", "{}", &Usage::default());
            prop_assert!(!is_json || json::read_object(&written, 128, 1_000).is_ok() || text.contains('['), "{text}");
        }
    }

    #[test]
    fn forms_come_back_as_they_were_written(
        parts in prop::collection::vec(("[a-z_]{1,8}", prop::collection::vec(any::<u8>(), 0..80)), 0..6),
        preamble in "[ -~]{0,20}",
    ) {
        let clean = |content: &[u8]| !content.windows(4).any(|window| window == b"--b0");
        prop_assume!(parts.iter().all(|(_, content)| clean(content)) && clean(preamble.as_bytes()));
        let mut body = preamble.clone().into_bytes();
        if !body.is_empty() {
            body.extend(b"\r\n");
        }
        for (name, content) in &parts {
            body.extend(format!("--b0\r\nContent-Disposition: form-data; filename=\"f\"; name=\"{name}\"\r\n\r\n").bytes());
            body.extend(content);
            body.extend(b"\r\n");
        }
        body.extend(b"--b0--\r\n");
        let form = Form::read("multipart/form-data; boundary=b0", &body).unwrap();
        let again = edits::PLAIN.form(Kind::ImageEdits, &form, "m", &mut Vec::new()).unwrap();
        let content_type = form.content_type();
        let again = Form::read(&content_type, &again).unwrap();
        let of = |form: &Form<'_>| -> Vec<(String, Vec<u8>)> {
            let named = form.parts.iter().filter(|part| part.name != "model");
            named.map(|part| (part.name.to_string(), part.content.to_vec())).collect()
        };
        prop_assert_eq!(of(&form), of(&again));
        let given: Vec<(String, Vec<u8>)> = parts.into_iter().filter(|(name, _)| name != "model").collect();
        prop_assert_eq!(of(&form), given);
    }
}
