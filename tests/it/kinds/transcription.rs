//! Text from speech: uploads in each provider's format, answers in the requested format, billed by the provider's
//! report, else by the length of the file.

use super::{Form, Term, Till, only_call, per_million, sent, wav};
use crate::harness::Stack;
use base64::{Engine, engine::general_purpose::STANDARD};
use kairosroute::simulator::{Call, KindScript, Script};
use serde_json::json;

const PATH: &str = "/v1/audio/transcriptions";
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

fn heard(audio_ms: u64) -> Script {
    let kinds = KindScript { audio_ms, ..KindScript::default() };
    Script { chunks: vec!["Good ".into(), "day".into()], kinds, ..Script::default() }
}

fn form(model: &str, ms: u32) -> Form {
    Form::new().file("file", "a b.wav", "audio/wav", &wav(ms)).field("model", model)
}

/// The names of a form's parts, in order.
fn names(call: &Call) -> Vec<String> {
    let parts = call.body.split("form-data; name=\"").skip(1);
    parts.map(|part| part.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_provider_s_seconds_are_charged_by_the_minute_or_the_hour_and_the_file_arrives_untouched() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    // If only the detailed answer states the length, that format is requested.
    let cases = [
        ("openai/whisper-1", 6_000_000, MINUTE_MS, 9_000, "reported"),
        ("openai/gpt-transcribe", 4_500_000, MINUTE_MS, 9_000, "reported"),
        ("mistral/voxtral-mini-latest", 3_000_000, MINUTE_MS, 9_000, "reported"),
        ("xai/grok-voice-transcribe-2.0", 100_000_000, HOUR_MS, 8_400, "reported"),
        ("groq/whisper-large-v3", 111_000_000, HOUR_MS, 8_400, "reported"),
    ];
    for (model, nano, per, ms, basis) in cases {
        let (provider, name) = model.split_once('/').unwrap();
        stack.simulator.set_default(provider, heard(8_400));
        let till = Till::open(&stack, &customer).await;
        let reply = form(model, 7_000).field("language", "en").post(&stack, PATH, &customer.key).await;
        let receipt = till.charged(&reply, &[Term(ms, nano, per)], basis).await;
        assert_eq!(receipt["usage"]["audio_ms"], json!(ms));
        assert_eq!(reply.json()["text"], "Good day");
        assert!(reply.json()["segments"].is_null() || provider == "mistral", "{reply}");
        assert_eq!(reply.json()["x_kairosroute"]["byok"], false);
        let call = only_call(&stack);
        let (json, detailed) =
            (vec!["model", "language", "file"], ["model", "language", "response_format", "file"]);
        assert_eq!(names(&call), if provider == "groq" { detailed.to_vec() } else { json }, "{model}");
        assert!(call.body.contains(&format!("\r\n\r\n{name}\r\n")), "{model}");
        assert!(call.body.contains("filename=\"a b.wav\""), "{}", call.body);
        let file = wav(7_000);
        assert!(call.body_bytes.windows(file.len()).any(|window| window == file), "{model}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn tokens_of_speech_and_of_text_are_charged_apart_where_the_provider_tells_them_apart() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let kinds = KindScript { by_tokens: true, audio_ms: 8_400, ..KindScript::default() };
    let script = Script { audio_prompt_tokens: 100, kinds, ..Script::default().with_tokens(114, 45) };
    stack.simulator.set_default("openai", script);
    let till = Till::open(&stack, &customer).await;
    let reply = form("openai/gpt-4o-transcribe", 8_400).post(&stack, PATH, &customer.key).await;
    let terms = [per_million(114, 2_500), per_million(45, 10_000)];
    let receipt = till.charged(&reply, &terms, "reported").await;
    let usage = &receipt["usage"];
    assert_eq!(
        (&usage["input"], &usage["audio_input"], &usage["output"]),
        (&json!(14), &json!(100), &json!(45))
    );
    stack.finish().await;
}

#[tokio::test]
async fn subtitles_and_bare_text_are_written_from_the_detailed_answer_with_headers_alone() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for (format, content_type, written) in [
        ("text", "text/plain; charset=utf-8", "Good day\n"),
        (
            "srt",
            "text/plain; charset=utf-8",
            "1\n00:00:00,000 --> 00:00:04,200\nGood\n\n2\n00:00:04,200 --> 00:00:08,400\nday\n\n",
        ),
        (
            "vtt",
            "text/plain; charset=utf-8",
            "WEBVTT\n\n00:00:00.000 --> 00:00:04.200\nGood\n\n00:00:04.200 --> 00:00:08.400\nday\n\n",
        ),
    ] {
        stack.simulator.set_default("openai", heard(8_400));
        let till = Till::open(&stack, &customer).await;
        let form = form("whisper-1", 8_400).field("response_format", format);
        let reply = form.post(&stack, PATH, &customer.key).await;
        till.charged(&reply, &[Term(9_000, 6_000_000, MINUTE_MS)], "reported").await;
        assert_eq!(reply.header("content-type"), content_type);
        assert_eq!(reply.text(), written);
        assert!(!reply.header("x-kairosroute-cost").is_empty());
        assert!(only_call(&stack).body.contains("\r\n\r\nverbose_json\r\n"));
    }
    stack.simulator.set_default("openai", heard(8_400));
    let detailed = form("whisper-1", 8_400).field("response_format", "verbose_json");
    let reply = detailed.post(&stack, PATH, &customer.key).await;
    assert_eq!(reply.json()["duration"], json!(8.4), "{reply}");
    stack.finish().await;
}

#[tokio::test]
async fn speech_is_translated_where_that_is_offered() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for (model, provider) in [("whisper-1", "openai"), ("groq/whisper-large-v3", "groq")] {
        stack.simulator.set_default(provider, heard(5_000));
        let reply = form(model, 5_000).post(&stack, "/api/v1/audio/translations", &customer.key).await;
        assert_eq!(reply.json()["text"], "Good day", "{reply}");
        let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
        assert_eq!(receipt["usage"]["audio_ms"], 5_000, "{receipt}");
        assert!(only_call(&stack).path.ends_with("/audio/translations"));
    }
    let reply =
        form("mistral/voxtral-mini-latest", 5_000).post(&stack, "/v1/audio/translations", &customer.key);
    let reply = reply.await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "no_models_available"), "{reply}");
    assert!(reply.message().contains("does not offer this endpoint"), "{reply}");
    stack.finish().await;
}

#[tokio::test]
async fn google_hears_the_file_in_a_conversation_and_its_tokens_are_charged() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let script = Script { audio_prompt_tokens: 200, ..heard(0).with_tokens(230, 12) };
    stack.simulator.set_default("google", script);
    let till = Till::open(&stack, &customer).await;
    let form = form("google/gemini-3.5-transcribe", 8_000).field("language", "de");
    let reply = form.post(&stack, PATH, &customer.key).await;
    till.charged(&reply, &[per_million(230, 2_000), per_million(12, 12_000)], "reported").await;
    assert_eq!(reply.json()["text"], "Good day");
    let sent = sent(&only_call(&stack));
    let parts = &sent["contents"][0]["parts"];
    assert_eq!(parts[0]["inlineData"]["mimeType"], "audio/wav");
    assert_eq!(parts[0]["inlineData"]["data"], STANDARD.encode(wav(8_000)));
    assert!(parts[1]["text"].as_str().unwrap().ends_with("The language is de."), "{sent}");
    stack.finish().await;
}

/// An MP4 file whose header states one second, with this many bytes of unknown content.
fn claiming_a_second(bytes: usize) -> Vec<u8> {
    let boxed = |kind: &[u8], content: &[u8]| {
        let size = u32::try_from(content.len() + 8).unwrap();
        [&size.to_be_bytes(), kind, content].concat()
    };
    let header = [&[0; 12][..], &1_000u32.to_be_bytes(), &1_000u32.to_be_bytes(), &[0; 80]].concat();
    let movie = boxed(b"moov", &boxed(b"mvhd", &header));
    [boxed(b"ftyp", b"M4A \0\0\0\0"), movie, boxed(b"mdat", &vec![0x5A; bytes])].concat()
}

#[tokio::test]
async fn what_a_file_claims_of_its_length_is_not_what_the_platform_bills() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let file = claiming_a_second(400_000);
    let form = |model: &str, format: &str| {
        let form = Form::new().file("file", "a.m4a", "audio/mp4", &file).field("model", model);
        form.field("response_format", format)
    };
    for (model, nano, per) in
        [("openai/whisper-1", 6_000_000, MINUTE_MS), ("groq/whisper-large-v3", 111_000_000, HOUR_MS)]
    {
        for format in ["json", "text", "srt", "vtt", "verbose_json"] {
            stack.simulator.set_default(model.split('/').next().unwrap(), heard(600_000));
            let till = Till::open(&stack, &customer).await;
            let reply = form(model, format).post(&stack, PATH, &customer.key).await;
            till.charged(&reply, &[Term(600_000, nano, per)], "reported").await;
            let held =
                stack.database.number("SELECT amount FROM hold ORDER BY created_at DESC LIMIT 1").await;
            assert!(
                held >= super::charge(super::cost(&[Term(600_000, nano, per)])),
                "{model} {format} {held}"
            );
            only_call(&stack);
        }
    }
    // A host that reports no length: 400,127 bytes at 5 kbit/s.
    let silent = Script { raw_body: Some(r#"{"text":"Good \u0064ay"}"#.into()), ..Script::default() };
    stack.simulator.set_default("groq", silent);
    let till = Till::open(&stack, &customer).await;
    let reply = form("groq/whisper-large-v3", "json").post(&stack, PATH, &customer.key).await;
    let ms = u64::try_from(file.len()).unwrap() * 1_000 / 625;
    till.charged(&reply, &[Term(ms, 111_000_000, HOUR_MS)], "estimated").await;
    assert!(reply.text().starts_with(r#"{"text":"Good \u0064ay","#), "{reply}");
    stack.finish().await;
}

#[tokio::test]
async fn an_own_key_asks_for_the_client_s_format_and_gets_it_as_it_is() {
    let stack = Stack::start().await;
    let customer = stack.customer("0").await;
    stack.set_provider_keys(&customer, &json!({ "OpenAI": "sk-own" })).await;
    stack.simulator.set_default("openai", heard(8_400));
    for (format, beginning) in [("text", "Good day"), ("srt", "1\n00:00:00,000 --> "), ("vtt", "WEBVTT")] {
        let form = form("whisper-1", 8_400).field("response_format", format);
        let reply = form.post(&stack, PATH, &customer.key).await;
        assert_eq!((reply.status, reply.header("x-kairosroute-byok")), (200, "true"), "{reply}");
        assert!(reply.text().starts_with(beginning), "{reply}");
        assert!(only_call(&stack).body.contains(&format!("\r\n\r\n{format}\r\n")));
    }
    stack.finish().await;
}

#[tokio::test]
async fn models_without_details_are_asked_for_their_usage_and_the_text_is_taken_from_it() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let kinds = KindScript { by_tokens: true, audio_ms: 8_400, ..KindScript::default() };
    let script =
        Script { audio_prompt_tokens: 100, chunks: vec!["Good day".into()], kinds, ..Script::default() };
    stack.simulator.set_default("openai", script.with_tokens(114, 45));
    let till = Till::open(&stack, &customer).await;
    let form = form("openai/gpt-4o-transcribe", 8_400).field("response_format", "text");
    let reply = form.post(&stack, PATH, &customer.key).await;
    till.charged(&reply, &[per_million(114, 2_500), per_million(45, 10_000)], "reported").await;
    assert_eq!(
        (reply.text().as_str(), reply.header("content-type")),
        ("Good day\n", "text/plain; charset=utf-8")
    );
    assert!(only_call(&stack).body.contains("\r\n\r\njson\r\n"));
    stack.finish().await;
}
