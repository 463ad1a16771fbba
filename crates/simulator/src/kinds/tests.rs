//! The other kinds over real sockets: the bytes of the answers, the amounts on the bill, and the refusals.

mod refusals;

use super::super::{Call, KindScript, Script, Settings, Simulator};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

struct Heard {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn start() -> Simulator {
    Simulator::start(Settings::default()).expect("the simulator starts")
}

fn send(simulator: &Simulator, path: &str, content_type: &str, body: &[u8]) -> Heard {
    let mut stream = TcpStream::connect(simulator.address()).expect("it listens");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: Bearer k\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
    let body = &bytes[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_vec() };
    Heard { status: head[9..12].parse().unwrap(), head, body }
}

/// What came of a chunked body, whole or not.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    body
}

fn ask(simulator: &Simulator, path: &str, body: &Value) -> Heard {
    send(simulator, path, "application/json", body.to_string().as_bytes())
}

/// A form of these fields, the file last.
fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut form = String::new();
    for (name, value) in fields {
        form.push_str(&format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
    }
    form.push_str(
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--x--\r\n",
    );
    form.into_bytes()
}

fn upload(simulator: &Simulator, path: &str, body: &[u8]) -> Heard {
    send(simulator, path, "multipart/form-data; boundary=x", body)
}

fn last(simulator: &Simulator) -> Call {
    simulator.bill().pop().expect("a call")
}

fn scripted(kinds: KindScript) -> Script {
    Script { kinds, ..Script::default() }
}

fn vectors(texts: &[&str]) -> Script {
    scripted(KindScript {
        vectors: texts.iter().map(|text| (*text).to_owned()).collect(),
        ..KindScript::default()
    })
}

#[test]
fn vectors_are_sent_as_written_or_as_the_bytes_of_their_floats() {
    let simulator = start();
    let path = "/openai/v1/embeddings";
    simulator.set_default("openai", vectors(&["0.10000,-1e-7", "1,2"]));
    let heard = ask(&simulator, path, &json!({"model": "m", "input": ["a", "b", "c"]}));
    assert!(heard.text().contains(r#""index":0,"embedding":[0.10000,-1e-7]}"#), "{}", heard.text());
    assert_eq!(heard.json()["data"][2]["embedding"], heard.json()["data"][0]["embedding"]);
    assert_eq!(heard.json()["usage"], json!({"prompt_tokens": 12, "total_tokens": 12}));
    assert_eq!((last(&simulator).prompt_tokens, last(&simulator).completion_tokens), (12, 0));
    let heard = ask(&simulator, path, &json!({"model": "m", "input": [1, 2], "encoding_format": "base64"}));
    let encoded = heard.json()["data"][0]["embedding"].as_str().unwrap().to_owned();
    let bytes: Vec<u8> = [0.1_f32, -1e-7].iter().flat_map(|number| number.to_le_bytes()).collect();
    assert_eq!(STANDARD.decode(encoded).unwrap(), bytes);
    assert_eq!(heard.json()["data"].as_array().unwrap().len(), 1);
    simulator.clear();
    let heard = ask(&simulator, path, &json!({"model": "m", "input": ["a", "b"], "dimensions": 6})).json();
    assert_eq!(heard["data"][1]["embedding"], json!([1.5, -0.25, 0.125, 1, -0.25, 0.125]));
}

#[test]
fn each_provider_has_its_own_shape_of_vectors() {
    let simulator = start();
    let body = json!({"model": "m", "input": "a", "encoding_format": "base64"});
    let fireworks = ask(&simulator, "/fireworks_ai/inference/v1/embeddings", &body).json();
    assert!(fireworks["data"][0]["embedding"].is_array());
    let together = ask(&simulator, "/together_ai/v1/embeddings", &json!({"model": "m", "input": "a"})).json();
    assert!(together.get("usage").is_none());
    simulator.set_default("perplexity", vectors(&["-128,0,127"]));
    let packed = |format: &str| {
        let body = json!({"model": "m", "input": "a", "encoding_format": format});
        let heard = ask(&simulator, "/perplexity/v1/embeddings", &body).json();
        STANDARD.decode(heard["data"][0]["embedding"].as_str().unwrap()).unwrap()
    };
    assert_eq!((packed("base64_int8"), packed("base64_binary")), (vec![0x80, 0, 0x7f], vec![0b0110_0000]));
    let body =
        json!({"model": "m", "input_type": "search_query", "texts": ["a"], "embedding_types": ["float"]});
    let cohere = ask(&simulator, "/cohere/v2/embed", &body).json();
    assert_eq!(cohere["embeddings"]["float"][0], json!([0.5, -0.25, 0.125, 1]));
    assert_eq!(cohere["meta"]["billed_units"]["input_tokens"], 12);
    let one = json!({"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 2});
    let google = ask(&simulator, "/google/v1beta/models/e:embedContent", &one).json();
    assert_eq!(google, json!({"embedding": {"values": [0.5, -0.25]}}));
    let mut named = one;
    named["model"] = "models/e".into();
    let many = json!({"requests": [named.clone(), named]});
    let google = ask(&simulator, "/google/v1beta/models/e:batchEmbedContents", &many).json();
    assert_eq!(google, json!({"embeddings": [{"values": [0.5, -0.25]}, {"values": [1.5, -0.25]}]}));
    assert_eq!((last(&simulator).model.as_str(), last(&simulator).prompt_tokens), ("e", 12));
}

#[test]
fn images_come_with_what_they_are_billed_by() {
    let simulator = start();
    let kinds = KindScript { images: vec!["AAAA".into()], image_prompt_tokens: 5, ..KindScript::default() };
    simulator.set_default("openai", scripted(kinds).with_tokens(8, 1056));
    let body = json!({"model": "m", "prompt": "p", "n": 2});
    let heard = ask(&simulator, "/openai/v1/images/generations", &body).json();
    assert_eq!(heard["data"], json!([{"b64_json": "AAAA"}, {"b64_json": "AAAA"}]));
    assert_eq!(heard["usage"]["input_tokens_details"], json!({"text_tokens": 3, "image_tokens": 5}));
    assert_eq!(heard["usage"]["output_tokens_details"], json!({"text_tokens": 0, "image_tokens": 1056}));
    let call = last(&simulator);
    assert_eq!((call.amounts.images, call.prompt_tokens, call.completion_tokens), (2, 8, 1056));
    let edit = String::from_utf8(form(&[("model", "m"), ("prompt", "p")]))
        .unwrap()
        .replace("\"file\"", "\"image[]\"");
    assert_eq!(upload(&simulator, "/openai/v1/images/edits", edit.as_bytes()).status, 200);
    let streamed = json!({"model": "m", "prompt": "p", "stream": true, "partial_images": 1});
    let heard = ask(&simulator, "/openai/v1/images/generations", &streamed).text();
    assert!(heard.starts_with("event: image_generation.partial_image\ndata: {"), "{heard}");
    assert!(heard.contains("\n\nevent: image_generation.completed\ndata: {"), "{heard}");
    let xai = |body: Value| ask(&simulator, "/xai/v1/images/generations", &body);
    assert!(xai(json!({"model": "m", "prompt": "p"})).json()["data"][0]["url"].is_string());
    let heard = xai(json!({"model": "m", "prompt": "p", "response_format": "b64_json"}));
    assert!(heard.json()["data"][0]["b64_json"].is_string());
    let refused = xai(json!({"model": "m", "prompt": "p", "size": "1024x1024"}));
    assert_eq!((refused.status, refused.json()["error"].as_str()), (400, Some("size: unknown field")));
}

#[test]
fn gemini_makes_images_and_speech_only_when_asked_for_them() {
    let simulator = start();
    let path = "/google/v1beta/models/g:generateContent";
    let generation =
        |config: Value| json!({"contents": [{"parts": [{"text": "p"}]}], "generationConfig": config});
    let image = ask(&simulator, path, &generation(json!({"responseModalities": ["TEXT", "IMAGE"]}))).json();
    assert_eq!(image["candidates"][0]["content"]["parts"][0]["inlineData"]["mimeType"], "image/png");
    assert_eq!(image["usageMetadata"]["candidatesTokensDetails"][0]["modality"], "IMAGE");
    assert_eq!((last(&simulator).amounts.images, last(&simulator).completion_tokens), (1, 100));
    simulator.enqueue(
        "google",
        scripted(KindScript { audio: vec![vec![1, 0], vec![2, 0]], ..KindScript::default() }),
    );
    let voice = json!({"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}});
    let speech = json!({"responseModalities": ["AUDIO"], "speechConfig": voice});
    let heard = ask(&simulator, path, &generation(speech)).json();
    let audio = &heard["candidates"][0]["content"]["parts"][0]["inlineData"];
    assert_eq!(audio["data"], STANDARD.encode([1, 0, 2, 0]));
    assert_eq!(audio["mimeType"], "audio/L16;codec=pcm;rate=24000");
    assert_eq!(ask(&simulator, path, &generation(json!({"responseModalities": ["AUDIO"]}))).status, 400);
    let chat = json!({"contents": [{"role": "user", "parts": [{"text": "p"}]}]});
    let heard = ask(&simulator, path, &chat).json();
    assert!(heard["candidates"][0]["content"]["parts"][0]["text"].is_string());
}

#[test]
fn speech_is_bytes_in_pieces_and_can_be_cut() {
    let simulator = start();
    let audio = vec![vec![0xff, 0x00], vec![0x0a], vec![0x0d, 0x80]];
    let kinds = KindScript { audio, ..KindScript::default() };
    let script = Script { chunk_gap_ms: 1, ..scripted(kinds) };
    let body = json!({"model": "m", "input": "sch\u{f6}n\u{1f600}", "voice": "v", "response_format": "wav"});
    let path = "/groq/openai/v1/audio/speech";
    simulator.enqueue("groq", script.clone());
    let heard = ask(&simulator, path, &body);
    assert_eq!(heard.body, [0xff, 0x00, 0x0a, 0x0d, 0x80]);
    assert!(heard.head.contains("content-type: audio/wav"), "{}", heard.head);
    let call = last(&simulator);
    assert_eq!((call.amounts.characters, call.content_chunks_written, call.finished), (6, 3, true));
    simulator.enqueue("groq", Script { cut_after: Some(2), ..script.clone() });
    assert_eq!(ask(&simulator, path, &body).body, [0xff, 0x00, 0x0a]);
    let call = last(&simulator);
    assert_eq!((call.content_chunks_written, call.finished, call.cancelled), (2, false, false));
    simulator.set_default("mistral", script.clone());
    let mistral = json!({"model": "m", "input": "a", "voice_id": "v"});
    let heard = ask(&simulator, "/mistral/v1/audio/speech", &mistral).json();
    assert_eq!(heard["audio_data"], STANDARD.encode([0xff, 0x00, 0x0a, 0x0d, 0x80]));
    simulator.set_default("openai", script);
    let heard = ask(
        &simulator,
        "/openai/v1/audio/speech",
        &json!({"model": "m", "input": "a", "voice": "v", "stream_format": "sse"}),
    );
    assert!(heard.text().starts_with(
        "event: speech.audio.delta\ndata: {\"type\":\"speech.audio.delta\",\"audio\":\"/wA=\"}\n\n"
    ));
}

#[test]
fn a_transcript_comes_in_the_format_that_was_asked_for() {
    let simulator = start();
    let script = Script {
        kinds: KindScript { audio_ms: 62_500, ..KindScript::default() },
        ..Script::text(&["One. ", "Two."])
    };
    simulator.set_default("openai", script.clone());
    let path = "/openai/v1/audio/transcriptions";
    let heard = |format: &str| {
        upload(&simulator, path, &form(&[("model", "whisper-1"), ("response_format", format)]))
    };
    assert_eq!(
        heard("json").json(),
        json!({"text": "One. Two.", "usage": {"type": "duration", "seconds": 63}})
    );
    assert_eq!(last(&simulator).amounts.audio_ms, 62_500);
    assert_eq!(heard("text").text(), "One. Two.\n");
    assert_eq!(
        heard("srt").text(),
        "1\n00:00:00,000 --> 00:00:31,250\nOne.\n\n2\n00:00:31,250 --> 00:01:02,500\nTwo.\n\n"
    );
    assert_eq!(
        heard("vtt").text(),
        "WEBVTT\n\n00:00:00.000 --> 00:00:31.250\nOne.\n\n00:00:31.250 --> 00:01:02.500\nTwo.\n\n"
    );
    let verbose = heard("verbose_json").json();
    assert_eq!((&verbose["duration"], &verbose["segments"][1]["start"]), (&json!(62.5), &json!(31.25)));
    let by_tokens = KindScript { by_tokens: true, ..script.kinds.clone() };
    simulator.enqueue("openai", Script { kinds: by_tokens, audio_prompt_tokens: 9, ..script.clone() });
    let heard = upload(&simulator, path, &form(&[("model", "gpt-transcribe")])).json();
    assert_eq!(heard["usage"]["input_token_details"], json!({"text_tokens": 3, "audio_tokens": 9}));
    assert_eq!((last(&simulator).prompt_tokens, last(&simulator).completion_tokens), (12, 2));
    let heard = upload(&simulator, path, &form(&[("model", "gpt-transcribe"), ("stream", "true")])).text();
    assert!(heard.starts_with(
        "event: transcript.text.delta\ndata: {\"type\":\"transcript.text.delta\",\"delta\":\"One. \"}"
    ));
    simulator.set_default("mistral", script.clone());
    let heard = upload(&simulator, "/mistral/v1/audio/transcriptions", &form(&[("model", "m")])).json();
    assert_eq!(heard["usage"]["prompt_audio_seconds"], 63);
    simulator.set_default("xai", script);
    let heard = upload(&simulator, "/xai/v1/stt", &form(&[("language", "en")])).json();
    assert_eq!((&heard["text"], &heard["duration"]), (&json!("One. Two."), &json!(62.5)));
}

#[test]
fn documents_are_ranked_judged_and_read() {
    let simulator = start();
    let scores = ["0.1", "0.90", "0.5"].map(String::from).to_vec();
    simulator.set_default("cohere", scripted(KindScript { scores, ..KindScript::default() }));
    let body = |model: &str| json!({"model": model, "query": "q", "documents": ["a", "b", "c"], "top_n": 2});
    let heard = ask(&simulator, "/cohere/v2/rerank", &body("rerank-v4.0-pro"));
    assert!(
        heard
            .text()
            .contains(r#""results":[{"index":1,"relevance_score":0.90},{"index":2,"relevance_score":0.5}]"#)
    );
    assert_eq!(heard.json()["meta"]["billed_units"], json!({"search_units": 1}));
    assert_eq!((last(&simulator).amounts.queries, last(&simulator).prompt_tokens), (1, 0));
    let heard = ask(&simulator, "/cohere/v2/rerank", &body("rerank-v5.0-pro")).json();
    assert_eq!(heard["meta"]["billed_units"], json!({"input_tokens": 12}));
    assert_eq!((last(&simulator).amounts.queries, last(&simulator).prompt_tokens), (0, 12));
    let together = json!({"model": "m", "query": "q", "documents": [{"t": 1}], "return_documents": true});
    let heard = ask(&simulator, "/together_ai/v1/rerank", &together).json();
    assert_eq!(heard["results"][0]["document"], json!({"t": 1}));
    simulator.set_default(
        "openai",
        scripted(KindScript { flagged: vec!["hate".into()], ..KindScript::default() }),
    );
    let heard = ask(&simulator, "/openai/v1/moderations", &json!({"input": ["a", "b"]})).json();
    assert_eq!(
        (heard["results"].as_array().unwrap().len(), &heard["results"][1]["flagged"]),
        (2, &json!(true))
    );
    assert_eq!(heard["results"][0]["categories"]["violence/graphic"], false);
    let heard = ask(&simulator, "/mistral/v1/moderations", &json!({"model": "m", "input": "a"})).json();
    assert!(
        heard["results"][0].get("flagged").is_none() && heard["results"][0]["categories"]["pii"] == false
    );
    let pages = Some(vec!["# One".to_owned(), "two".to_owned()]);
    simulator.set_default("mistral", scripted(KindScript { pages, ..KindScript::default() }));
    let document = json!({"type": "document_url", "document_url": "https://example.com/a.pdf"});
    let heard = ask(&simulator, "/mistral/v1/ocr", &json!({"model": "m", "document": document})).json();
    assert_eq!(
        (&heard["pages"][0]["markdown"], &heard["usage_info"]["pages_processed"]),
        (&json!("# One"), &json!(2))
    );
    assert_eq!(last(&simulator).amounts.pages, 2);
}
