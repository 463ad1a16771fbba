//! The simulator over real sockets, with a client that shows every byte.

mod chat;
mod cohere;
mod gemini;
mod messages;
mod responses;

use super::*;
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

const ASK: &str = r#"{"model":"m","messages":[{"role":"user","content":"one two"}]}"#;
const ASK_STREAM: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"one two"}]}"#;

fn start() -> Simulator {
    Simulator::start(Settings::default()).expect("the simulator starts")
}

/// A connection with the request sent and nothing read.
fn send(simulator: &Simulator, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(simulator.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream
}

fn ask(simulator: &Simulator, provider: &str, body: &str) -> TcpStream {
    let base = simulator.base_url(provider);
    let path = base.strip_prefix(&format!("http://{}", simulator.address())).unwrap();
    send(simulator, "POST", &format!("{path}/chat/completions"), "Authorization: Bearer sk-good\r\n", body)
}

/// A call with a good key.
fn post(simulator: &Simulator, path: &str, body: &str) -> Heard {
    let key = if path.starts_with("/google") { "x-goog-api-key: k" } else { "Authorization: Bearer k" };
    hear(send(simulator, "POST", path, &format!("{key}\r\nanthropic-version: 2023-06-01\r\n"), body))
}

/// The refusal of a body, or an empty text for an answer.
fn refusal(simulator: &Simulator, path: &str, body: &str) -> String {
    let heard = post(simulator, path, body);
    match status(&heard) {
        200 => String::new(),
        400 => heard.body,
        other => panic!("{other}: {}", heard.body),
    }
}

/// Each body with a part of its refusal; an empty text for a body that is answered.
fn assert_judged(simulator: &Simulator, path: &str, cases: &[(&str, String)]) {
    for (named, body) in cases {
        let heard = refusal(simulator, path, body);
        let fits = if named.is_empty() { heard.is_empty() } else { heard.contains(named) };
        assert!(fits, "{named:?} for {body}\n{heard}");
    }
}

/// Head and body; `None` for the body's end if the connection was dropped before it.
struct Heard {
    head: String,
    body: String,
    whole: bool,
}

fn hear(mut stream: TcpStream) -> Heard {
    let mut bytes = Vec::new();
    let clean = stream.read_to_end(&mut bytes).is_ok();
    let text = String::from_utf8(bytes).unwrap();
    let (head, rest) = text.split_once("\r\n\r\n").expect("a head");
    let head = head.to_ascii_lowercase();
    if !head.contains("transfer-encoding: chunked") {
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        return Heard { whole: clean && rest.len() == length, head, body: rest.to_owned() };
    }
    let (mut body, mut rest) = (String::new(), rest);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return Heard { head, body, whole: true };
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    Heard { head, body, whole: false }
}

fn status(heard: &Heard) -> u16 {
    heard.head[9..12].parse().unwrap()
}

/// The data of the frames, `[DONE]` included.
fn frames(heard: &Heard) -> Vec<&str> {
    heard.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
}

fn values(heard: &Heard) -> Vec<Value> {
    frames(heard).iter().filter_map(|data| serde_json::from_str(data).ok()).collect()
}

fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::yield_now();
    }
}

fn last(simulator: &Simulator) -> Call {
    simulator.bill().pop().expect("a call")
}

#[test]
fn a_unary_answer_has_usage_and_is_billed() {
    let simulator = start();
    let heard = hear(ask(&simulator, "openai", ASK));
    assert_eq!(status(&heard), 200);
    assert!(heard.head.contains("content-type: application/json\r\n"), "{}", heard.head);
    assert!(heard.head.contains("x-request-id: req_simulated"));
    let answer: Value = serde_json::from_str(&heard.body).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello from the simulated provider.");
    assert_eq!(answer["usage"]["total_tokens"], 18);
    let call = last(&simulator);
    assert_eq!((call.prompt_tokens, call.completion_tokens, call.finished), (12, 6, true));
    assert_eq!((call.authorization.as_str(), call.model.as_str(), call.body.as_str()), ("sk-good", "m", ASK));
    assert_eq!((call.provider.as_str(), call.host.as_str()), ("openai", "here"));
}

#[test]
fn a_stream_opens_with_the_role_and_ends_with_done() {
    let simulator = start();
    let heard = hear(ask(&simulator, "openai", ASK_STREAM));
    assert!(heard.head.contains("content-type: text/event-stream\r\n"), "{}", heard.head);
    assert!(heard.whole);
    let seen = values(&heard);
    assert_eq!(seen[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String =
        seen.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "Hello from the simulated provider.");
    assert_eq!(seen.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(seen.iter().all(|chunk| chunk.get("usage").is_none()), "nobody asked for usage");
    assert_eq!(frames(&heard).last(), Some(&"[DONE]"));
    assert_eq!(last(&simulator).content_chunks_written, 6);
}

#[test]
fn usage_sits_where_each_provider_puts_it() {
    let simulator = start();
    let asked = ASK_STREAM.replace("true", r#"true,"stream_options":{"include_usage":true}"#);
    for (provider, body, extra_chunk) in [
        ("openai", asked.as_str(), true),
        ("xai", ASK_STREAM, true),
        ("mistral", ASK_STREAM, false),
        ("deepseek", asked.as_str(), false),
        ("groq", ASK_STREAM, false),
        ("cerebras", ASK_STREAM, false),
        ("together_ai", asked.as_str(), false),
        ("fireworks_ai", ASK_STREAM, false),
        ("moonshot", ASK_STREAM, false),
    ] {
        let heard = hear(ask(&simulator, provider, body));
        let seen = values(&heard);
        let end = seen.last().unwrap_or_else(|| panic!("{provider}: {}", heard.body));
        assert_eq!(end["usage"]["total_tokens"], 18, "{provider}");
        assert_eq!(end["choices"].as_array().unwrap().is_empty(), extra_chunk, "{provider}");
        let earlier = &seen[..seen.len() - 1];
        assert!(earlier.iter().all(|chunk| chunk["usage"].is_null()), "{provider}");
    }
    let script = Script { reasoning_tokens: Some(4), ..Script::text(&["a"]).with_tokens(10, 9) };
    simulator.enqueue("xai", script);
    let heard = hear(ask(&simulator, "xai", ASK_STREAM));
    let usage = &values(&heard).pop().unwrap()["usage"];
    assert_eq!((&usage["completion_tokens"], &usage["total_tokens"]), (&5.into(), &19.into()));
    assert_eq!(last(&simulator).completion_tokens, 9);
}

#[test]
fn scripted_places_of_usage_are_honoured() {
    let simulator = start();
    let end = |usage| {
        simulator.enqueue("openai", Script { usage, ..Script::default() });
        values(&hear(ask(&simulator, "openai", ASK_STREAM)))
    };
    assert!(end(UsagePlace::Missing).iter().all(|chunk| chunk.get("usage").is_none()));
    assert_eq!(end(UsagePlace::InFinishChunk).pop().unwrap()["usage"]["completion_tokens"], 6);
    assert_eq!(end(UsagePlace::XGroq).pop().unwrap()["x_groq"]["usage"]["completion_tokens"], 6);
    assert_eq!(end(UsagePlace::InChoice).pop().unwrap()["choices"][0]["usage"]["completion_tokens"], 6);
    let running: Vec<u64> = end(UsagePlace::EveryChunk)
        .iter()
        .filter_map(|chunk| chunk["usage"]["completion_tokens"].as_u64())
        .collect();
    assert_eq!(running, [0, 1, 2, 3, 4, 5, 6, 6]);
}

#[test]
fn a_cut_drops_the_connection_after_the_chunks_it_names() {
    let simulator = start();
    simulator.enqueue("groq", Script { cut_after: Some(2), ..Script::default() });
    let heard = hear(ask(&simulator, "groq", ASK_STREAM));
    assert!(!heard.whole);
    assert!(heard.body.contains("from") && !heard.body.contains("simulated provider"));
    let call = last(&simulator);
    assert_eq!((call.content_chunks_written, call.completion_tokens), (2, 2));
    assert!(!call.finished && !call.cancelled);
    simulator.enqueue("groq", Script { cut_after: Some(0), ..Script::default() });
    assert!(!hear(ask(&simulator, "groq", ASK)).whole);
}

#[test]
fn an_error_in_mid_stream_has_the_providers_shape_and_no_done() {
    let simulator = start();
    for (provider, pointer) in [
        ("openai", "/error/message"),
        ("cerebras", "/error/message"),
        ("xai", "/error"),
        ("mistral", "/message"),
        ("groq", "/x_groq/error"),
    ] {
        simulator.enqueue(provider, Script { error_after: Some(3), ..Script::default() });
        let heard = hear(ask(&simulator, provider, ASK_STREAM));
        let seen = values(&heard);
        assert!(seen.last().unwrap().pointer(pointer).is_some_and(Value::is_string), "{provider}");
        assert!(!heard.body.contains("[DONE]"));
        assert_eq!(last(&simulator).completion_tokens, 3);
    }
}

#[test]
fn gated_replies_wait_until_they_are_released() {
    let simulator = start();
    simulator.set_default("openai", Script::default().gated());
    let streams: Vec<TcpStream> = (0..3).map(|_| ask(&simulator, "openai", ASK)).collect();
    until("three wait", || simulator.waiting() == 3);
    assert!(simulator.bill().iter().all(|call| call.status == 0 && call.prompt_tokens == 0));
    simulator.release();
    for stream in streams {
        assert_eq!(status(&hear(stream)), 200);
    }
    let gone = ask(&simulator, "openai", ASK);
    until("one waits", || simulator.waiting() == 1);
    drop(gone);
    until("nobody waits", || simulator.waiting() == 0);
    until("it is cancelled", || last(&simulator).cancelled);
}

#[test]
fn a_client_that_leaves_is_noticed_at_once_and_billed_for_what_was_emitted() {
    let simulator = start();
    // The second silence is far longer than the test: only the closing itself can end it.
    simulator.enqueue("openai", Script::text(&["a", "b", "c"]).with_gap_ms(60_000));
    let mut stream = ask(&simulator, "openai", ASK_STREAM);
    until("a chunk is out", || simulator.bill().iter().any(|call| call.content_chunks_written == 1));
    let mut some = [0; 16];
    stream.read_exact(&mut some).unwrap();
    let closed = Instant::now();
    drop(stream);
    until("it is cancelled", || last(&simulator).cancelled);
    assert!(closed.elapsed() < Duration::from_millis(500), "{:?}", closed.elapsed());
    let call = last(&simulator);
    assert_eq!((call.prompt_tokens, call.completion_tokens, call.finished), (12, 1, false));
    assert!(call.closed_after_ms.is_some());
}

#[test]
fn tool_arguments_are_sent_byte_for_byte() {
    let simulator = start();
    let pieces = [r#"{\"a\":\"\u00e3"#, "\u{2028}", r"\ud83d", r#"\"}"#];
    let script = Script::tools(vec![ToolCall::new("call_1", "f", &pieces)]);
    simulator.enqueue("openai", script.clone());
    let heard = hear(ask(&simulator, "openai", ASK_STREAM));
    for piece in pieces {
        assert!(heard.body.contains(&format!(r#""function":{{"arguments":"{piece}"}}"#)), "{piece}");
    }
    assert!(heard.body.contains(r#""finish_reason":"tool_calls""#));
    assert_eq!(last(&simulator).completion_tokens, 4);
    simulator.enqueue("openai", script);
    let whole = format!(r#""arguments":"{}""#, pieces.concat());
    assert!(hear(ask(&simulator, "openai", ASK)).body.contains(&whole));
    simulator.enqueue("mistral", Script::tools(vec![ToolCall::new("abcdefghi", "f", &["{}"])]));
    let heard = hear(ask(&simulator, "mistral", ASK_STREAM));
    assert!(heard.body.contains(r#"{"id":"abcdefghi","function":{"name":"f","arguments":"{}"}}"#));
}

#[test]
fn keys_are_judged_as_the_provider_would() {
    let simulator = start();
    let check = |provider: &str, method: &str, path: &str, header: &str| {
        let heard = hear(send(&simulator, method, &format!("/{provider}{path}"), header, ""));
        (status(&heard), heard.body)
    };
    for (provider, path, bad) in [
        ("openai", "/v1/models", 401),
        ("anthropic", "/v1/models", 401),
        ("google", "/v1beta/models", 400),
        ("xai", "/v1/api-key", 400),
        ("mistral", "/v1/models", 401),
        ("deepseek", "/models", 401),
        ("groq", "/openai/v1/models", 401),
        ("cohere", "/v1/models", 401),
        ("perplexity", "/v1/models", 401),
        ("cerebras", "/v1/models", 401),
        ("together_ai", "/v1/models", 401),
        ("fireworks_ai", "/inference/v1/models", 401),
        ("moonshot", "/v1/users/me/balance", 401),
    ] {
        let name = match provider {
            "anthropic" => "x-api-key: ",
            "google" => "x-goog-api-key: ",
            _ => "Authorization: Bearer ",
        };
        assert_eq!(check(provider, "GET", path, &format!("{name}good\r\n")).0, 200, "{provider}");
        assert_eq!(check(provider, "GET", path, &format!("{name}a-bad-one\r\n")).0, bad, "{provider}");
        assert!(check(provider, "GET", path, "").0 >= 401, "{provider}");
    }
    let cohere = |key: &str| {
        check("cohere", "POST", "/v1/check-api-key", &format!("Authorization: Bearer {key}\r\n")).1
    };
    assert!(cohere("good").contains(r#""valid":true"#));
    assert!(cohere("revoked").contains(r#""valid":false"#));
    let script = Script { accepted_keys: Some(vec!["sk-other".into()]), ..Script::default() };
    simulator.enqueue("openai", script);
    let heard = hear(ask(&simulator, "openai", ASK));
    assert_eq!(status(&heard), 401);
    assert!(heard.body.contains("invalid_api_key"));
    assert_eq!((last(&simulator).prompt_tokens, last(&simulator).finished), (0, true));
}

#[test]
fn our_own_fields_and_headers_are_caught() {
    let simulator = start();
    let body = ASK.replace("{\"model\"", "{\"byok_api_key\":null,\"models\":[],\"model\"");
    let headers = "Authorization: Bearer k\r\nX-Provider-Key: k\r\nCookie: a=b\r\n";
    let heard = hear(send(&simulator, "POST", "/openai/v1/chat/completions", headers, &body));
    assert_eq!(status(&heard), 400);
    assert!(heard.body.contains("leaked field"));
    let mut leaked = last(&simulator).leaked;
    leaked.sort();
    assert_eq!(leaked, ["byok_api_key", "cookie", "models", "x-provider-key"]);
}

#[test]
fn failures_come_as_scripted() {
    let simulator = start();
    simulator.enqueue("openai", Script::rate_limited(7));
    let heard = hear(ask(&simulator, "openai", ASK));
    assert_eq!(status(&heard), 429);
    assert!(heard.head.contains("retry-after: 7") && heard.body.contains("rate_limit_exceeded"));
    simulator.enqueue("openai", Script::error(503, "plain words"));
    assert_eq!(hear(ask(&simulator, "openai", ASK_STREAM)).body, "plain words");
    assert_eq!(last(&simulator).prompt_tokens, 0);
    simulator.enqueue("xai", Script::raw_body(r#"{"code":"x","error":"busy"}"#));
    let heard = hear(ask(&simulator, "xai", ASK));
    assert_eq!((status(&heard), heard.body.as_str()), (200, r#"{"code":"x","error":"busy"}"#));
    assert_eq!(status(&hear(ask(&simulator, "openai", r#"{"model":"m"}"#))), 400);
    assert_eq!(status(&hear(ask(&simulator, "mistral", r#"{"messages":[]}"#))), 422);
    assert_eq!(status(&hear(ask(&simulator, "openai", "no json"))), 400);
}

#[test]
fn the_forms_of_a_stream_can_be_scripted() {
    let simulator = start();
    simulator.set_default("openai", Script { split_bytes: Some(7), ..Script::text(&["a", "b"]) });
    let split = hear(ask(&simulator, "openai", ASK_STREAM)).body;
    assert!(split.ends_with("data: [DONE]\n\n"), "{split}");
    assert_eq!(last(&simulator).completion_tokens, 2);
    let script = Script { crlf: true, comments: true, no_done: true, ..Script::text(&["a"]) };
    simulator.enqueue("openai", Script { role_chunk_first: false, ..script });
    let heard = hear(ask(&simulator, "openai", ASK_STREAM));
    assert!(heard.body.starts_with(": keep-alive\r\n\r\n: keep-alive\r\n\r\ndata: {"), "{}", heard.body);
    assert!(heard.body.ends_with("}\r\n\r\n") && !heard.body.contains("[DONE]"));
    simulator.enqueue("openai", Script::raw_frames(&["data: x\n", "\nrest"]));
    assert_eq!(hear(ask(&simulator, "openai", ASK_STREAM)).body, "data: x\n\nrest");
    simulator.enqueue("openai", Script { echo: true, ..Script::default() });
    let echo: Value = serde_json::from_str(&hear(ask(&simulator, "openai", ASK)).body).unwrap();
    assert_eq!(echo["choices"][0]["message"]["content"], "one two");
    let two = ASK.replace("\"model\"", "\"n\":2,\"model\"");
    let answer: Value = serde_json::from_str(&hear(ask(&simulator, "openai", &two)).body).unwrap();
    assert_eq!(
        (answer["choices"].as_array().unwrap().len(), &answer["usage"]["completion_tokens"]),
        (2, &4.into())
    );
}

#[test]
fn reasoning_goes_by_the_providers_name() {
    let simulator = start();
    for (provider, pointer) in [
        ("deepseek", "/reasoning_content"),
        ("groq", "/reasoning"),
        ("together_ai", "/reasoning"),
        ("mistral", "/content/0/thinking/0/text"),
    ] {
        simulator.set_default(provider, Script { reasoning: vec!["hm".into()], ..Script::text(&["a"]) });
        let heard = hear(ask(&simulator, provider, ASK_STREAM));
        let delta = format!("/choices/0/delta{pointer}");
        assert_eq!(values(&heard)[1].pointer(&delta), Some(&"hm".into()), "{provider}");
        let heard = hear(ask(&simulator, provider, ASK));
        let message = format!("/choices/0/message{pointer}");
        let answer: Value = serde_json::from_str(&heard.body).unwrap();
        assert_eq!(answer.pointer(&message), Some(&"hm".into()), "{provider}");
        assert_eq!(last(&simulator).completion_tokens, 2);
    }
}

#[test]
fn it_is_controlled_over_http_and_clearing_forgets() {
    let simulator = start();
    let control = |method: &str, name: &str, body: &str| {
        let heard = hear(send(&simulator, method, &format!("/_simulator/{name}"), "", body));
        (status(&heard), heard.body)
    };
    assert_eq!(control("POST", "scripts", r#"{"provider":"openai","script":{"chunks":["x"]}}"#).0, 204);
    assert_eq!(control("PUT", "defaults", r#"{"provider":"openai","script":{"status":500}}"#).0, 204);
    assert_eq!(control("POST", "scripts", r#"{"provider":"openai","script":{"chunk":[]}}"#).0, 400);
    assert_eq!(control("GET", "waiting", "").1, "0");
    assert!(hear(ask(&simulator, "openai", ASK)).body.contains(r#""content":"x""#));
    assert_eq!(status(&hear(ask(&simulator, "openai", ASK))), 500);
    let calls: Vec<Call> = serde_json::from_str(&control("GET", "bill", "").1).unwrap();
    assert_eq!(calls.iter().map(|call| call.status).collect::<Vec<_>>(), [200, 500]);
    assert_eq!(control("POST", "release", "").0, 204);
    assert_eq!(control("POST", "clear", "").0, 204);
    assert!(simulator.bill().is_empty());
    assert_eq!(status(&hear(ask(&simulator, "openai", ASK))), 200);
}

#[test]
fn dropping_it_ends_even_stalled_replies() {
    let simulator = start();
    simulator.set_default("openai", Script::default().gated());
    let stalled = ask(&simulator, "openai", ASK);
    until("one waits", || simulator.waiting() == 1);
    let began = Instant::now();
    drop(simulator);
    let mut bytes = Vec::new();
    let mut stalled = stalled;
    drop(stalled.read_to_end(&mut bytes));
    assert!(bytes.is_empty() && began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn an_address_in_use_is_an_error_not_a_hang() {
    let simulator = start();
    let again = Settings { listen: simulator.address(), ..Settings::default() };
    assert!(Simulator::start(again).is_err());
}
