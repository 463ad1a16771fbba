//! Speech: audio is streamed as it arrives, and is billed by characters, by time or by tokens.

use super::{Term, Till, charge, cost, only_call, per_million, sent, wav};
use crate::harness::{Stack, wait_for};
use base64::{Engine, engine::general_purpose::STANDARD};
use kairosroute::simulator::{KindScript, Script};
use serde_json::json;

const PATH: &str = "/v1/audio/speech";
const TEXT: &str = "Ängström says: good day";

fn spoken(pieces: &[&[u8]]) -> Script {
    let kinds =
        KindScript { audio: pieces.iter().map(|piece| piece.to_vec()).collect(), ..KindScript::default() };
    Script { kinds, ..Script::default() }
}

#[tokio::test]
async fn sound_passes_byte_for_byte_and_characters_are_charged() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let characters = u64::try_from(TEXT.chars().count()).unwrap();
    for (model, thousandths) in
        [("openai/tts-1", 15_000), ("openai/tts-1-hd", 30_000), ("groq/orpheus-v1-english", 22_000)]
    {
        let (provider, _) = model.split_once('/').unwrap();
        stack.simulator.set_default(provider, spoken(&[b"\xff\xfb\x90\0", b"\0\r\n\x80", b"", b"\xfe"]));
        let till = Till::open(&stack, &customer).await;
        let body = json!({"model": model, "input": TEXT, "voice": "alloy"});
        let reply = stack.post(PATH, &customer.key, &body).await;
        let receipt = till.charged(&reply, &[per_million(characters, thousandths)], "counted").await;
        assert_eq!(reply.body, b"\xff\xfb\x90\0\0\r\n\x80\xfe");
        assert_eq!(reply.header("content-type"), "audio/mpeg");
        assert_eq!(receipt["usage"]["characters"], json!(characters));
        assert_eq!(receipt["execution"]["status"], "completed");
        let call = only_call(&stack);
        assert_eq!((call.amounts.characters, sent(&call)["voice"].clone()), (characters, json!("alloy")));
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_model_priced_by_tokens_is_billed_by_its_events_else_by_how_long_the_sound_lasts() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let sound = wav(2_500);
    let (start, end) = sound.split_at(10_000);
    let model = "openai/gpt-4o-mini-tts";
    stack.simulator.set_default("openai", spoken(&[start, end]));
    let till = Till::open(&stack, &customer).await;
    let body = json!({"model": model, "input": "good day", "voice": "alloy", "response_format": "wav"});
    let reply = stack.post(PATH, &customer.key, &body).await;
    // Two tokens of text, and 0.00025 dollars a second.
    till.charged(&reply, &[per_million(2, 600), Term(2_500, 250_000, 1_000)], "counted").await;
    assert_eq!(reply.body, sound);
    only_call(&stack);

    stack.simulator.set_default("openai", spoken(&[start, end]).with_tokens(11, 50));
    let till = Till::open(&stack, &customer).await;
    let mut events = body.clone();
    events["stream_format"] = json!("sse");
    let reply = stack.post(PATH, &customer.key, &events).await;
    till.charged(&reply, &[per_million(11, 600), per_million(50, 12_000)], "reported").await;
    assert_eq!(reply.header("content-type"), "text/event-stream");
    assert!(reply.text().contains("speech.audio.done"));
    stack.finish().await;
}

#[tokio::test]
async fn sound_inside_json_is_unpacked() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    stack.simulator.set_default("mistral", spoken(&[b"ID3", b"\0\xff"]));
    let till = Till::open(&stack, &customer).await;
    let body = json!({"model": "mistral/voxtral-mini-tts-latest", "input": "good day", "voice": "anna"});
    let reply = stack.post(PATH, &customer.key, &body).await;
    till.charged(&reply, &[per_million(8, 16_000)], "counted").await;
    assert_eq!((reply.body.as_slice(), reply.header("content-type")), (&b"ID3\0\xff"[..], "audio/mpeg"));
    let expected = json!({"model": "voxtral-mini-tts-latest", "input": "good day", "voice_id": "anna"});
    assert_eq!(sent(&only_call(&stack)), expected);

    stack.simulator.set_default("google", spoken(&[b"\x01\0", b"\x02\0"]).with_tokens(4, 25));
    let till = Till::open(&stack, &customer).await;
    let body = json!({"model": "google/gemini-3.8-flash-tts", "input": "good day", "voice": {"id": "Kore"}});
    let reply = stack.post(PATH, &customer.key, &body).await;
    till.charged(&reply, &[per_million(4, 500), per_million(25, 9_000)], "reported").await;
    assert_eq!(reply.header("content-type"), "audio/wav");
    assert!(
        reply.body.starts_with(b"RIFF") && reply.body.ends_with(b"data\x04\0\0\0\x01\0\x02\0"),
        "{reply}"
    );
    let call = sent(&only_call(&stack));
    let voice = &call["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"];
    assert_eq!(voice, "Kore");

    let mp3 = json!({"model": "google/gemini-3.8-flash-tts", "input": "x", "voice": "Kore", "response_format": "mp3"});
    let reply = stack.post(PATH, &customer.key, &mp3).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["param"].clone()),
        (400, json!("response_format")),
        "{reply}"
    );
    assert!(stack.simulator.bill().is_empty());
    stack.finish().await;
}

#[tokio::test]
async fn sound_that_breaks_off_breaks_the_connection_and_its_characters_are_charged() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let script = Script { cut_after: Some(2), ..spoken(&[b"one", b"two", b"three"]) };
    stack.simulator.set_default("openai", script);
    let body = json!({"model": "openai/tts-1", "input": TEXT, "voice": "alloy"});
    let request = stack.request("POST", PATH).bearer(&customer.key).json(&body);
    let streamed = request.stream().await;
    assert_eq!(streamed.status, 200);
    let receipt = streamed.receipt_id().to_owned();
    assert!(!streamed.ended_cleanly().await, "a client must not take this for the whole");
    let receipt = stack.receipt(&customer.key, &receipt).await;
    assert_eq!(receipt["execution"]["status"], "aborted", "{receipt}");
    let expected = charge(cost(&[per_million(u64::try_from(TEXT.chars().count()).unwrap(), 15_000)]));
    assert_eq!(receipt["charged_nano_usd"], json!(expected));
    stack.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_the_characters_whose_sound_had_begun() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for (model, provider, thousandths) in
        [("openai/tts-1", "openai", 15_000), ("groq/orpheus-v1-english", "groq", 22_000)]
    {
        let script = Script { chunk_gap_ms: 20_000, ..spoken(&[b"one", b"two"]) };
        stack.simulator.set_default(provider, script);
        let body = json!({"model": model, "input": "good day", "voice": "alloy"});
        let streamed = stack.request("POST", PATH).bearer(&customer.key).json(&body).stream().await;
        let receipt = streamed.receipt_id().to_owned();
        drop(streamed);
        let receipt = stack.receipt(&customer.key, &receipt).await;
        assert_eq!(
            receipt["charged_nano_usd"],
            json!(charge(cost(&[per_million(8, thousandths)]))),
            "{receipt}"
        );
        assert_eq!(receipt["execution"]["status"], "aborted");
        wait_for("the provider to notice", async || {
            stack
                .simulator
                .bill()
                .iter()
                .any(|call| call.provider == provider && call.cancelled)
                .then_some(())
        })
        .await;
    }
    stack.finish().await;
}

#[tokio::test]
async fn an_error_told_with_the_status_of_a_success_is_neither_played_nor_charged() {
    let error = r#"{"error":{"message":"The engine is overloaded","type":"server_error"}}"#;
    let named = format!("event: error\ndata: {}\n\n", r#"{"message":"The engine is overloaded"}"#);
    for (content_type, raw_body) in [
        ("application/json; charset=utf-8", error.to_owned()),
        ("text/html", "<p>Bad gateway</p>".to_owned()),
        ("text/event-stream", format!("data: {error}\n\n")),
        ("text/event-stream", ": hold on\n\ndata: {\"type\":\"error\",\"message\":\"no\"}\n\n".to_owned()),
        ("text/event-stream", named),
    ] {
        let stack = Stack::start().await;
        let customer = stack.customer("1").await;
        let script = Script { raw_body: Some(raw_body.clone()), split_bytes: Some(7), ..Script::default() };
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        stack.simulator.set_default("groq", Script { headers, ..script });
        stack.simulator.set_default("openai", spoken(&[b"sound"]));
        let till = Till::open(&stack, &customer).await;
        let body = json!({"model": "groq/orpheus-v1-english", "models": ["openai/tts-1"], "input": "good day", "voice": "x"});
        let reply = stack.post(PATH, &customer.key, &body).await;
        till.charged(&reply, &[per_million(8, 15_000)], "counted").await;
        assert_eq!(reply.body, b"sound", "{content_type} {raw_body}");
        stack.finish().await;
    }
}

#[tokio::test]
async fn an_error_among_the_events_of_sound_breaks_the_connection() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let sound = r#"data: {"type":"speech.audio.delta","audio":"c291bmQ="}"#;
    let error = r#"data: {"type":"error","error":{"message":"gone"}}"#;
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    let raw_body = Some(format!("{sound}\n\n{error}\n\n"));
    stack
        .simulator
        .set_default("openai", Script { raw_body, headers, split_bytes: Some(5), ..Script::default() });
    let body = json!({"model": "openai/tts-1", "input": "good day", "voice": "x", "stream_format": "sse"});
    let streamed = stack.request("POST", PATH).bearer(&customer.key).json(&body).stream().await;
    assert_eq!(streamed.status, 200);
    let receipt = streamed.receipt_id().to_owned();
    assert!(!streamed.ended_cleanly().await);
    let receipt = stack.receipt(&customer.key, &receipt).await;
    assert_eq!(receipt["execution"]["status"], "aborted", "{receipt}");
    assert_eq!(receipt["charged_nano_usd"], json!(charge(cost(&[per_million(8, 15_000)]))));
    stack.finish().await;
}

#[tokio::test]
async fn another_provider_speaks_when_the_first_fails_before_its_sound() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    stack.simulator.enqueue("groq", Script { status: 503, ..Script::default() });
    stack.simulator.set_default("openai", spoken(&[b"sound"]));
    let till = Till::open(&stack, &customer).await;
    let body = json!({"model": "groq/orpheus-v1-english", "models": ["openai/tts-1"], "input": "good day", "voice": "x"});
    let reply = stack.post(PATH, &customer.key, &body).await;
    till.charged(&reply, &[per_million(8, 15_000)], "counted").await;
    assert_eq!((reply.body.as_slice(), reply.header("x-kairosroute-attempts")), (&b"sound"[..], "2"));
    let voices: Vec<String> =
        stack.simulator.bill().iter().map(|call| sent(call)["voice"].to_string()).collect();
    assert_eq!(voices, ["\"x\"", "\"x\""]);
    assert_eq!(STANDARD.encode(&reply.body), "c291bmQ=");
    stack.finish().await;
}
