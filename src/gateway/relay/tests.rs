use super::*;
use crate::{
    dialect::{Reading, WriterContext},
    providers::error::ErrorClass,
};

fn relay(usage_by_client: bool) -> Relay {
    several(usage_by_client, 1)
}

fn several(usage_by_client: bool, choices: u64) -> Relay {
    passing(Dialect::Chat, usage_by_client, choices)
}

fn passing(dialect: Dialect, usage_by_client: bool, choices: u64) -> Relay {
    from_host("openai", dialect, usage_by_client, choices)
}

fn from_host(host: &str, dialect: Dialect, usage_by_client: bool, choices: u64) -> Relay {
    let provider = ProviderId::by_id(host).unwrap();
    let usage_by_us = !usage_by_client;
    let reply_bytes_max = 1 << 16;
    Relay::new(UpstreamContext {
        provider,
        client: dialect,
        upstream: dialect,
        reading: Reading::default(),
        writer_context: None,
        gathers: false,
        choices,
        usage_by_client,
        usage_by_us,
        reply_bytes_max,
        held_bytes_max: 1 << 12,
        frame_bytes_max: 1 << 16,
        kept_bytes_max: None,
    })
}

const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n";
const TEXT: &str = "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}],\"usage\":null}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";

#[test]
fn the_role_does_not_commit_and_leaves_with_the_first_content() {
    let mut relay = relay(false);
    relay.absorb(b": keep-alive\n\n");
    relay.absorb(ROLE.as_bytes());
    assert!(!relay.is_committed());
    relay.absorb(TEXT.as_bytes());
    assert!(relay.is_committed());
    let out = String::from_utf8(relay.take_out()).unwrap();
    assert_eq!(
        out,
        format!("{ROLE}{TEXT}").replace(",\"usage\":null", ""),
        "the usage we asked for is removed"
    );
}

#[test]
fn the_note_rides_on_the_finish_and_no_empty_chunk_is_sent_unasked() {
    let mut relay = relay(false);
    relay.absorb(format!("{TEXT}{STOP}{USAGE}data: [DONE]\n\n").as_bytes());
    relay.take_out();
    assert!(relay.has_ended() && relay.failure().is_none());
    let usage = relay.usage().unwrap();
    assert_eq!((usage.input, usage.output), (3, 1));
    let end = String::from_utf8(relay.conclude("{\"a\":1}", &usage)).unwrap();
    assert_eq!(
        end,
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"x_kairosroute\":{\"a\":1}}\n\ndata: [DONE]\n\n"
    );
}

#[test]
fn who_asks_for_usage_gets_one_chunk_of_it_even_from_a_provider_that_sends_none() {
    for (tail, expected) in [(USAGE, "\"prompt_tokens\":3"), ("", "\"prompt_tokens\":7")] {
        let mut relay = relay(true);
        relay.absorb(format!("{TEXT}{STOP}{tail}").as_bytes());
        relay.close();
        relay.take_out();
        let billed = Usage { input: 7, output: 1, ..Usage::default() };
        let end = String::from_utf8(relay.conclude("1", &billed)).unwrap();
        assert!(end.starts_with(STOP), "{end}");
        assert_eq!(end.matches("\"choices\":[]").count(), 1);
        assert!(end.contains(expected) && end.contains("\"x_kairosroute\":1"), "{end}");
    }
}

#[test]
fn fewer_choices_than_asked_for_still_carry_the_note_on_the_last_finish() {
    for (stops, choices) in [(1, 2), (2, 2), (2, 3)] {
        let mut relay = several(false, choices);
        relay.absorb(format!("{TEXT}{}data: [DONE]\n\n", STOP.repeat(stops)).as_bytes());
        let out = relay.take_out();
        let end = relay.conclude("1", &Usage::default());
        assert_eq!(String::from_utf8(end.clone()).unwrap().matches("x_kairosroute").count(), 1);
        let all = String::from_utf8([out, end].concat()).unwrap();
        assert_eq!(all.matches("\"finish_reason\":\"stop\"").count(), stops);
    }
}

#[test]
fn a_provider_cannot_fill_the_memory_with_frames_that_do_not_begin() {
    let mut relay = relay(false);
    for _ in 0..2_000 {
        relay.absorb(ROLE.as_bytes());
    }
    assert!(relay.failure().is_some());
}

#[test]
fn an_error_after_the_finish_takes_nothing_back() {
    let mut relay = relay(false);
    relay.absorb(format!("{TEXT}{STOP}data: {{\"error\":{{\"message\":\"late\"}}}}\n\n").as_bytes());
    assert!(relay.has_ended() && relay.failure().is_none());
}

#[test]
fn a_stream_without_a_finish_an_error_frame_and_broken_json_are_failures() {
    for (stream, at_close) in [
        (TEXT.to_owned(), true),
        (format!("{TEXT}data: [DONE]\n\n"), false),
        (format!("{TEXT}event: error\ndata: {{\"error\":{{\"message\":\"busy\"}}}}\n\n"), false),
        (format!("{TEXT}data: {{oops\n\n"), false),
    ] {
        let mut relay = relay(false);
        relay.absorb(stream.as_bytes());
        if at_close {
            relay.close();
        }
        assert!(relay.failure().is_some(), "{stream}");
    }
}

/// One frame of a completion.
fn completion(index: u32, text: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"choices\":[{{\"index\":{index},\"text\":\"{text}\",\"finish_reason\":{finish}}}],\"usage\":null}}\n\n"
    )
}

#[test]
fn completions_flow_choice_by_choice_and_tell_usage_only_to_who_asks() {
    let stop = "\"stop\"";
    let first = [completion(0, "a", "null"), completion(0, "", stop), completion(1, "b", "null")].concat();
    let last = [&completion(1, "", stop), USAGE, "data: [DONE]\n\n"].concat();
    for asked in [false, true] {
        let mut relay = passing(Dialect::Completions, asked, 2);
        relay.absorb(first.as_bytes());
        assert!(relay.is_committed());
        assert_eq!(relay.take_text(), b"ab");
        let early = String::from_utf8(relay.take_out()).unwrap();
        assert!(early.contains("\"text\":\"b\""), "one choice does not wait for the other: {early}");
        relay.absorb(last.as_bytes());
        assert!(relay.has_ended() && relay.failure().is_none());
        let usage = relay.usage().unwrap();
        assert_eq!((usage.input, usage.output), (3, 1));
        let mut end = String::from_utf8(relay.take_out()).unwrap();
        assert!(!end.contains("x_kairosroute"));
        end.push_str(&String::from_utf8(relay.conclude("7", &usage)).unwrap());
        let all = [early, end.clone()].concat();
        assert_eq!(all.contains("\"usage\":null"), asked);
        assert_eq!(all.matches("\"choices\":[]").count(), usize::from(asked), "{all}");
        assert_eq!(all.matches("x_kairosroute").count(), 1);
        let noted = end.lines().find(|line| line.contains("\"x_kairosroute\":7")).unwrap();
        assert_eq!(noted.contains("prompt_tokens"), asked);
        assert_eq!(noted.contains("\"finish_reason\":\"stop\""), !asked);
        assert!(end.ends_with("data: [DONE]\n\n"));
    }
}

#[test]
fn a_completion_whose_provider_tells_no_usage_still_ends_with_a_chunk_of_it() {
    let mut relay = passing(Dialect::Completions, true, 1);
    relay.absorb(completion(0, "a", "\"length\"").as_bytes());
    relay.close();
    relay.take_out();
    let end = String::from_utf8(relay.conclude("7", &Usage { input: 7, ..Usage::default() })).unwrap();
    let chunk = end.lines().find(|line| line.contains("\"choices\":[]")).unwrap();
    assert!(
        chunk.contains("\"object\":\"text_completion\"") && chunk.contains("\"prompt_tokens\":7"),
        "{chunk}"
    );
}

#[test]
fn text_that_a_host_writes_twice_is_heard_once() {
    let mut relay = relay(false);
    relay.absorb(b"data: {\"choices\":[{\"text\":\"hi\",\"delta\":{\"content\":\"hi\"}}]}\n\n");
    assert_eq!(relay.take_text(), b"hi");
}

#[test]
fn a_message_that_begins_anew_replaces_silence_and_breaks_off_an_answer() {
    let start = |id: &str| {
        format!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"{id}\"}}}}\n\n"
        )
    };
    let block = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
    let text = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n";
    let mut relay = passing(Dialect::Messages, false, 1);
    relay.absorb([&start("a"), &start("b"), block, text].concat().as_bytes());
    assert_eq!(String::from_utf8(relay.take_out()).unwrap(), [&start("b"), block, text].concat());
    relay.absorb(start("b").as_bytes());
    assert!(relay.failure().is_none(), "the same message goes on");
    relay.absorb([&start("c"), block, text].concat().as_bytes());
    assert!(relay.failure().is_some());
    // The usage that would be counted without a provider report.
    assert_eq!(relay.take_text(), b"hi");
}

/// Chat frames, written for a client of another dialect.
fn translated(client: Dialect) -> Relay {
    written(client, false)
}

/// Chat frames, written again or collected.
fn written(client: Dialect, gathers: bool) -> Relay {
    let provider = ProviderId::by_id("openai").unwrap();
    let writer_context = WriterContext {
        seed: "1".to_owned(),
        created: 0,
        provider,
        upstream_model: "m".to_owned(),
        include_usage: false,
        echo: String::new(),
    };
    Relay::new(UpstreamContext {
        provider,
        client,
        upstream: Dialect::Chat,
        reading: Reading::default(),
        writer_context: Some(writer_context),
        gathers,
        choices: 1,
        usage_by_client: false,
        usage_by_us: true,
        reply_bytes_max: 1 << 16,
        held_bytes_max: 1 << 12,
        frame_bytes_max: 1 << 16,
        kept_bytes_max: None,
    })
}

fn call(index: u32, name: &str, arguments: &str) -> String {
    format!(
        "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":{index}{name},\"function\":{{{arguments}}}}}]}},\"finish_reason\":null}}]}}\n\n"
    )
}

#[test]
fn a_provider_cannot_fill_the_memory_with_what_a_writer_keeps() {
    let begun = |index| call(index, ",\"id\":\"a\"", "\"name\":\"f\",\"arguments\":\"{\"");
    let open = format!("{}{}", begun(0), begun(1));
    let more = call(1, "", &format!("\"arguments\":\"{}\"", "x".repeat(1_000)));
    let chat = TEXT.replace("hi", &"x".repeat(1_000));
    for (client, begin, piece, limited) in [
        (Dialect::Messages, &open, &more, true),
        (Dialect::Responses, &open, &more, true),
        (Dialect::Responses, &chat, &chat, true),
        // Content that is sent at once may continue without limit.
        (Dialect::Messages, &chat, &chat, false),
    ] {
        let mut relay = translated(client);
        relay.absorb(begin.as_bytes());
        let mut pieces = 0;
        while relay.failure().is_none() && pieces < 200 {
            relay.absorb(piece.as_bytes());
            relay.take_out();
            relay.take_text();
            pieces += 1;
        }
        assert_eq!(relay.failure().is_some(), limited, "{client:?} {begin}");
        assert!(pieces > 20, "{client:?}: what fits is kept");
    }
}

#[test]
fn a_gathered_answer_may_be_no_larger_than_a_whole_one() {
    let begun = call(0, ",\"id\":\"a\"", "\"name\":\"f\",\"arguments\":\"{\"");
    let argued = |bytes: usize| call(0, "", &format!("\"arguments\":\"{}\"", "x".repeat(bytes)));
    let thought = TEXT.replace("content", "reasoning_content").replace("hi", "x");
    let said = TEXT.replace("hi", "x");
    // A few long pieces, many short ones, and parts without end and with hardly any text.
    for (piece, least, most) in
        [(argued(1_000), 60, 67), (argued(1), 60_000, 66_000), (format!("{thought}{said}"), 100, 1_000)]
    {
        let mut relay = written(Dialect::Chat, true);
        relay.absorb(begun.as_bytes());
        let mut pieces = 0;
        while relay.failure().is_none() && pieces < 100_000 {
            relay.absorb(piece.as_bytes());
            relay.take_events();
            relay.take_text();
            pieces += 1;
        }
        assert!((least..most).contains(&pieces), "{pieces} of {} bytes", piece.len());
    }
}

#[test]
fn events_that_nobody_takes_do_not_pile_up() {
    let mut relay = written(Dialect::Chat, true);
    let tier = |n: u32| format!("data: {{\"choices\":[],\"service_tier\":\"{}\"}}\n\n", n % 2);
    let mut frames = 0;
    while relay.failure().is_none() && frames < 10_000 {
        relay.absorb(tier(frames).as_bytes());
        frames += 1;
    }
    assert!(relay.failure().is_some() && !relay.is_committed());
}

/// The client's bytes and the failure, for a document that arrived instead of a stream, one byte for each read.
fn document(mut relay: Relay, body: &str) -> Result<String, UpstreamError> {
    for byte in body.as_bytes() {
        relay.absorb(&[*byte]);
        assert!(!relay.is_committed(), "nothing is said before the document is whole");
    }
    relay.close();
    match relay.failure() {
        Some(failure) => Err(failure.clone()),
        None => Ok(String::from_utf8(relay.conclude("{}", &Usage::default())).unwrap()),
    }
}

#[test]
fn an_error_document_in_place_of_a_stream_keeps_its_message() {
    for body in [
        r#"{"code":"unavailable","error":"slow down please"}"#,
        r#" {"error":{"message":"slow down please","type":"rate_limit_error"}}"#,
        r#"[{"error":{"code":429,"message":"slow down please","status":"RESOURCE_EXHAUSTED"}}]"#,
        r#"{"type":"error","error":{"type":"overloaded_error","message":"slow down please"}}"#,
        r#"{"id":"x","message":"slow down please"}"#,
    ] {
        for dialect in [Dialect::Chat, Dialect::Messages, Dialect::Responses] {
            let failure = document(passing(dialect, false, 1), body).unwrap_err();
            assert!(failure.message.contains("slow down please"), "{dialect:?} {body}: {}", failure.message);
        }
        let failure = document(translated(Dialect::Messages), body).unwrap_err();
        assert!(failure.message.contains("slow down please"), "{body}: {}", failure.message);
    }
}

#[test]
fn an_error_document_in_place_of_a_stream_is_the_refusal_that_it_states() {
    for (body, class, status) in [
        (r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, ErrorClass::ContextLength, 400),
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#, ErrorClass::Overload, 503),
        (r#"[{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}]"#, ErrorClass::Rate, 429),
        (r#"{"error":{"message":"x","type":"invalid_request_error"}}"#, ErrorClass::InvalidRequest, 400),
    ] {
        let relays = [
            passing(Dialect::Chat, false, 1),
            passing(Dialect::Messages, false, 1),
            passing(Dialect::Responses, false, 1),
            translated(Dialect::Messages),
        ];
        for relay in relays {
            let failure = document(relay, body).unwrap_err();
            assert_eq!((failure.class, failure.status), (class, Some(status)), "{body}");
        }
    }
}

#[test]
fn a_whole_answer_in_place_of_a_stream_is_streamed() {
    let chat = r#"{"id":"c","created":5,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    let messages = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":1}}"#;
    let responses = r#"{"id":"resp_1","object":"response","status":"completed","model":"m","output":[{"type":"message","id":"i","role":"assistant","content":[{"type":"output_text","text":"hi","annotations":[]}]}],"usage":{"input_tokens":3,"output_tokens":1,"total_tokens":4}}"#;
    for (relay, body, expected) in [
        (passing(Dialect::Chat, true, 1), chat, "\"content\":\"hi\""),
        (passing(Dialect::Messages, false, 1), messages, "\"text\":\"hi\""),
        (passing(Dialect::Responses, false, 1), responses, "\"delta\":\"hi\""),
        (translated(Dialect::Messages), chat, "\"text\":\"hi\""),
    ] {
        let out = document(relay, body).unwrap_or_else(|failure| panic!("{body}: {}", failure.message));
        assert!(out.contains(expected) && out.contains("data: "), "{out}");
    }
}

/// The frames that a chat client gets from a host's frames, and whether the answer failed.
fn of_host(host: &str, frames: &[&str]) -> (String, bool) {
    let mut relay = from_host(host, Dialect::Chat, false, 1);
    for frame in frames {
        relay.absorb(format!("data: {frame}\n\n").as_bytes());
    }
    relay.absorb(b"data: [DONE]\n\n");
    relay.close();
    let failed = relay.failure().is_some();
    (String::from_utf8(relay.conclude("1", &Usage::default())).unwrap(), failed)
}

#[test]
fn a_hosts_own_form_reaches_chat_clients_as_openais() {
    let call = r#"{"id":"a1B2c3D4e","function":{"name":"f","arguments":"{}"}}"#;
    let calls = format!(
        r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{call},{call}]}},"finish_reason":"tool_calls"}}]}}"#
    );
    let (out, failed) = of_host("mistral", &[&calls.replacen("a1B2c3D4e", "b", 1)]);
    assert!(
        !failed && out.contains(r#"[{"index":0,"id":"b""#) && out.contains(r#"{"index":1,"id":"#),
        "{out}"
    );
    let (out, failed) = of_host(
        "together_ai",
        &[r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"eos"}]}"#],
    );
    assert!(!failed && out.contains(r#""finish_reason":"stop""#), "{out}");
}

#[test]
fn an_end_for_calls_needs_calls() {
    let says = r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}"#;
    let calls = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":null}]}"#;
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#;
    let (out, failed) = of_host("groq", &[says, end]);
    assert!(!failed && out.contains(r#""finish_reason":"stop""#), "{out}");
    let (out, failed) = of_host("groq", &[calls, end]);
    assert!(!failed && out.contains(r#""finish_reason":"tool_calls""#), "{out}");
}

#[test]
fn an_empty_reason_ends_whole_calls_of_the_host_that_writes_it_so() {
    let call = |arguments: &str| {
        format!(
            r#"{{"id":"x","choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":0,"id":"c","type":"function","function":{{"name":"f","arguments":"{arguments}"}}}}]}},"finish_reason":""}}]}}"#
        )
    };
    let usage = r#"{"id":"x","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"completion_tokens_details":{"reasoning_tokens":2}}}"#;
    let (out, failed) = of_host("xai", &[&call("{}"), usage]);
    assert!(
        !failed && out.contains(r#""finish_reason":"tool_calls""#) && out.ends_with("data: [DONE]\n\n"),
        "{out}"
    );
    assert!(of_host("xai", &[&call(r#"{\"a\":"#), usage]).1, "cut arguments are no answer");
    assert!(of_host("openai", &[&call("{}"), usage]).1, "elsewhere an answer without a reason is cut off");
}
