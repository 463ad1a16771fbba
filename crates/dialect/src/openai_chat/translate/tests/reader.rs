use super::*;
use crate::Unreadable;
use pretty::assert_lines;

mod pretty {
    /// Compares line by line, so that the first difference is reported.
    pub fn assert_lines(case: &str, found: &str, expected: &str) {
        for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
            assert_eq!(found, expected, "{case}, line {number}");
        }
        assert_eq!(found.lines().count(), expected.lines().count(), "{case}:\n{found}");
    }
}

macro_rules! streams {
    ($($provider:literal $name:literal),* $(,)?) => {
        &[$(($provider, $name, golden!($name, ".sse"), golden!($name, ".events"))),*]
    };
}

/// Provider, case, stream, events.
const STREAMS: &[(&str, &str, &str, &str)] = streams![
    "openai" "stream_openai",
    "mistral" "stream_mistral",
    "mistral" "stream_mistral_hosted",
    "xai" "stream_xai",
    "groq" "stream_groq",
    "groq" "stream_groq_error",
    "deepseek" "stream_deepseek",
    "moonshot" "stream_moonshot",
    "together_ai" "stream_together",
    "cerebras" "stream_cerebras_error",
    "openai" "stream_odd_calls",
    "openai" "stream_two_choices",
    "openai" "stream_cut",
];

#[test]
fn every_hosts_stream_is_read() {
    for (provider, case, stream, events) in STREAMS {
        assert_lines(case, &streamed(&[stream.as_bytes()], provider), events);
    }
}

#[test]
fn no_split_of_a_stream_changes_its_events() {
    for (provider, case, stream, events) in STREAMS {
        let bytes = stream.as_bytes();
        for at in 0..bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_lines(case, &streamed(&[first, second], provider), events);
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_lines(case, &streamed(&single, provider), events);
        let crlf = stream.replace('\n', "\r\n");
        assert_lines(case, &streamed(&[crlf.as_bytes()], provider), events);
    }
}

#[test]
fn whole_answers_are_read() {
    for (case, body, events) in [
        ("everything", golden!("body_everything.json"), golden!("body_everything.events")),
        ("function call", golden!("body_function_call.json"), golden!("body_function_call.events")),
    ] {
        assert_lines(case, &whole(body, "openai"), events);
    }
}

#[test]
fn an_error_in_a_200_is_an_error() {
    for (body, error) in [
        (r#"{"error":{"message":"x"}}"#, r#"{"message":"x"}"#),
        (
            r#"{"code":"busy","error":"currently unavailable"}"#,
            r#"{"code":"busy","error":"currently unavailable"}"#,
        ),
        (r#"{"object":"error","message":"x","type":"rate_limited","code":"1300"}"#, ""),
        (r#"{"detail":[{"msg":"x"}]}"#, ""),
        (r#"{"choices":[{"delta":{}}],"x_groq":{"error":{"message":"y"}}}"#, r#"{"message":"y"}"#),
        (
            r#"{"id":"a","choices":[{"message":{"content":"x"},"error":{"code":502},"finish_reason":"error"}]}"#,
            r#"{"code":502}"#,
        ),
    ] {
        let expected = if error.is_empty() { body } else { error };
        let lines = whole(body, "openai");
        assert_eq!(lines.lines().last(), Some(format!("failed {expected}").as_str()), "{body}");
    }
    let lines =
        whole(r#"{"choices":[{"message":{},"finish_reason":"insufficient_system_resource"}]}"#, "deepseek");
    assert!(lines.contains(r#""code":"insufficient_system_resource""#) && !lines.contains("end"), "{lines}");
}

#[test]
fn what_is_no_answer_is_unreadable() {
    for body in
        ["", "overloaded", "[1]", "{", "{}", r#"{"choices":1}"#, r#"{"choices":[]}"#, "\"x\"", "\u{feff}{}"]
    {
        let read = Reader::new(reading("openai")).body(body.as_bytes(), &mut |_| ());
        assert_eq!(read, Err(Unreadable), "{body}");
    }
    let mut reader = Reader::new(reading("openai"));
    let mut splitter = Splitter::new(100);
    let mut outcome = Ok(());
    splitter.feed(b"data: {\"choices\":\n\n", |frame| outcome = reader.frame(frame, &mut |_| ())).unwrap();
    assert_eq!(outcome, Err(Unreadable));
}

#[test]
fn finish_reasons_of_all_hosts_are_known() {
    for (word, finish) in [
        ("stop", "Stop"),
        ("eos", "Stop"),
        ("STOP", "Stop"),
        ("something new", "Stop"),
        ("length", "Length"),
        ("model_length", "Length"),
        ("tool_calls", "ToolCalls"),
        ("function_call", "ToolCalls"),
        ("content_filter", "ContentFilter"),
        ("", "Stop"),
    ] {
        let body =
            format!(r#"{{"id":"i","choices":[{{"message":{{"content":"x"}},"finish_reason":"{word}"}}]}}"#);
        let expected = format!("start i \n0 text x\n0 finish {finish}\nend\n");
        assert_eq!(whole(&body, "openai"), expected, "{word}");
    }
    let call = r#"{"id":"i","choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"f"}}]},"finish_reason":null}]}"#;
    assert!(whole(call, "xai").contains("0 finish ToolCalls\n"));
    let nothing = r#"{"id":"i","choices":[{"message":{"role":"assistant","content":""},"finish_reason":"something new"}]}"#;
    assert!(whole(nothing, "openai").contains("0 finish ContentFilter\n"));
}

#[test]
fn frames_that_only_name_the_role_say_nothing() {
    let mut lines = Vec::new();
    let frames = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n: ping\n\ndata: \n\n";
    let mut reader = Reader::new(reading("openai"));
    let mut emit = |event: Event<'_>| lines.push(line(&event));
    Splitter::new(1000).feed(frames, |frame| reader.frame(frame, &mut emit).unwrap()).unwrap();
    assert_eq!(lines, Vec::<String>::new());
}

#[test]
fn a_call_without_number_and_id_goes_on_until_a_name_comes() {
    let chunk = |call: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":{call}}}}}]}}\n\n");
    let stream = [
        chunk(r#"[{"function":{"name":"f","arguments":"{"}}]"#),
        chunk(r#"[{"function":{"arguments":"}"}}]"#),
        chunk(r#"[{"function":{"name":"g","arguments":"{\"a\""}}]"#),
        chunk(r#"[{"function":{"arguments":":1}"}}]"#),
        chunk(r#"[{"index":0,"id":"x","function":{"name":"h","arguments":"{}"}}]"#),
        chunk(r#"[{"index":0,"id":"y","function":{"name":"h","arguments":"{}"}}]"#),
        chunk(r#"["odd",7,{"function":"odd"}]"#),
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n".into(),
        "data: [DONE]\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"late\"}}]}\n\n".into(),
    ]
    .concat();
    let expected = [
        "start  ",
        "0 tool 0 call_s10x0 f -",
        "0 arguments 0 {",
        "0 arguments 0 }",
        "0 tool 1 call_s10x1 g -",
        r#"0 arguments 1 {\"a\""#,
        "0 arguments 1 :1}",
        "0 tool 2 x h -",
        "0 arguments 2 {}",
        "0 tool 3 y h -",
        "0 arguments 3 {}",
        "0 tool end 0",
        "0 tool end 1",
        "0 tool end 2",
        "0 tool end 3",
        "0 finish ToolCalls",
        "end",
    ];
    assert_lines("calls", &streamed(&[stream.as_bytes()], "openai"), &expected.join("\n"));
}

#[test]
fn a_stream_that_ends_without_a_reason_is_not_finished() {
    let call = |arguments: &str, finish: &str| {
        let call = format!(r#"{{"index":0,"id":"c1","function":{{"name":"f","arguments":"{arguments}"}}}}"#);
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{call}]}},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n".to_owned();
    for (stream, provider, finished) in [
        (call(r#"{\"port\":\"Br"#, "null"), "groq", false),
        (call("{}", "null"), "groq", false),
        (call("{}", "\"\""), "groq", false),
        (call("{}", "\"\""), "xai", true),
        (call(r#"{\"port\":\"Br"#, "\"\""), "xai", false),
        (call("{}", "null"), "xai", false),
        (text, "xai", false),
    ] {
        let stream = format!("{stream}data: [DONE]\n\n");
        let lines = streamed(&[stream.as_bytes()], provider);
        assert_eq!(lines.contains("finish"), finished, "{provider}: {lines}");
    }
}

#[test]
fn of_a_message_and_a_delta_in_one_choice_the_answer_is_read_once() {
    let whole_answer = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"delta":{"role":"assistant","content":""},"finish_reason":"stop"}]}"#;
    assert!(whole(whole_answer, "perplexity").contains("text Hello"));
    let chunk = |delta: &str, message: &str, finish: &str| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{delta}\"}},\"message\":{{\"content\":\"{message}\"}},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let growing =
        [chunk("Hel", "Hel", "null"), chunk("lo", "Hello", "null"), chunk("", "Hello", "\"stop\"")].concat();
    let lines = streamed(&[growing.as_bytes()], "perplexity");
    assert_eq!(lines.matches("text ").count(), 2, "{lines}");
    let at_once = chunk("", "Hello", "\"stop\"");
    assert!(streamed(&[at_once.as_bytes()], "perplexity").contains("text Hello"));
}

#[test]
fn a_free_form_call_has_its_name_and_input() {
    let body = r#"{"choices":[{"message":{"tool_calls":[{"id":"c1","type":"custom","custom":{"name":"sh","input":"ls"}}]},"finish_reason":"tool_calls"}]}"#;
    let lines = whole(body, "openai");
    assert!(lines.contains("tool 0 c1 sh") && lines.contains("arguments 0 ls"), "{lines}");
}

#[test]
fn more_calls_or_held_bytes_than_any_answer_has_are_refused() {
    let many = vec![r#"{"id":"a","function":{"name":"f"}}"#; 1]
        .into_iter()
        .chain((0..600).map(|_| r#"{"function":{"name":"f"}}"#))
        .collect::<Vec<_>>()
        .join(",");
    let body = format!(r#"{{"choices":[{{"message":{{"tool_calls":[{many}]}}}}]}}"#);
    assert_eq!(Reader::new(reading("openai")).body(body.as_bytes(), &mut |_| ()), Err(Unreadable));
    let early = "a".repeat(1024 * 1024 + 1);
    let body = format!(
        r#"{{"choices":[{{"message":{{"tool_calls":[{{"id":"a","function":{{"arguments":"{early}"}}}}]}}}}]}}"#
    );
    assert_eq!(Reader::new(reading("openai")).body(body.as_bytes(), &mut |_| ()), Err(Unreadable));
}
