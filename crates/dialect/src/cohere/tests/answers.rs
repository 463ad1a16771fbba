use super::*;
use crate::canonical::{AnswerPart, Finish};
use kairosroute_domain::usage::Usage;

const TIDE: &[u8] = include_bytes!("../../../tests/golden/cohere/tide.sse");
const TIDE_WHOLE: &[u8] = include_bytes!("../../../tests/golden/cohere/tide.json");
const SOURCES: &[u8] = include_bytes!("../../../tests/golden/cohere/sources.sse");
const SOURCES_WHOLE: &[u8] = include_bytes!("../../../tests/golden/cohere/sources.json");

fn events(each: &[&str]) -> Vec<u8> {
    each.iter().map(|json| format!("data: {json}\r\n\r\n")).collect::<String>().into_bytes()
}

fn start(index: &str, arguments: &str) -> String {
    format!(
        r#"{{"type":"tool-call-start"{index},"delta":{{"message":{{"tool_calls":{{"function":{{"name":"f","arguments":{arguments}}}}}}}}}}}"#
    )
}

fn more(index: &str, arguments: &str) -> String {
    format!(
        r#"{{"type":"tool-call-delta"{index},"delta":{{"message":{{"tool_calls":{{"function":{{"arguments":"{arguments}"}}}}}}}}}}"#
    )
}

/// Ids and arguments of the calls.
fn calls(answer: &Answer) -> Vec<(String, String)> {
    let calls = answer.choices[0].parts.iter().map(|part| match part {
        AnswerPart::ToolCall { id, arguments, .. } => (id.inner().to_owned(), arguments.inner().to_owned()),
        other => panic!("{other:?}"),
    });
    calls.collect()
}

#[test]
fn the_stream_of_a_call_is_told_in_order() {
    let events = [
        r#"Start { id: "c-1", model: "" }"#,
        r#"Said { choice: 0, delta: Reasoning("I will ask for the tide.") }"#,
        r#"Said { choice: 0, delta: ToolStart { tool: 0, id: "get_tide_k2", name: "get_tide", signature: None } }"#,
        r#"Said { choice: 0, delta: ToolArguments { tool: 0, piece: "{\\\"port\\\": \\\"Brest\\\"}" } }"#,
        r#"Said { choice: 0, delta: ToolEnd { tool: 0 } }"#,
        r#"Finish { choice: 0, reason: ToolCalls, stop_sequence: None }"#,
        r#"Usage(Usage { cache_read: 30, output: 14, basis: Reported })"#,
        "End",
    ];
    assert_eq!(told(&[TIDE]).unwrap(), events);
}

#[test]
fn the_same_answer_whole_and_streamed_is_the_same() {
    assert_eq!(whole(TIDE_WHOLE), streamed(TIDE));
    assert_eq!(whole(SOURCES_WHOLE), streamed(SOURCES));
}

#[test]
fn thoughts_text_sources_and_logprobs_are_read_as_they_were_written() {
    let answer = streamed(SOURCES);
    let parts: Vec<String> = answer.choices[0].parts.iter().map(|part| format!("{part:?}")).collect();
    assert_eq!(
        parts,
        [
            r#"Reasoning { text: "Hm \\ud83d\\ude00", signature: None }"#,
            r#"Text("High \\u0061t 12345678901234567890.")"#,
            r#"Citation(Citation { url: "https://example.org/a", title: Some("A"), span: Some((0, 4)) })"#,
        ]
    );
    assert_eq!(
        answer.choices[0].logprobs[0].get(),
        r#"{"content":[{"token":"High ","logprob":-0.10,"bytes":null,"top_logprobs":[]},{"token":"","logprob":-2e-1,"bytes":null,"top_logprobs":[]}]}"#
    );
    assert_eq!(answer.usage, Some(Usage { input: 30, output: 14, ..Usage::default() }));
}

#[test]
fn arguments_that_say_nothing_have_no_pieces() {
    let nothing = ["\"\"", "\"null\"", "null"].map(|arguments| start("", arguments));
    let torn = [start("", "\"\""), more("", "nu"), more("", "ll")];
    let late = [start("", "\"nul\""), more("", "l "), more("", "x")];
    let all: Vec<&str> = nothing.iter().chain(&torn).chain(&late).map(String::as_str).collect();
    let end = r#"{"type":"message-end","delta":{"finish_reason":"TOOL_CALL"}}"#;
    let answer = streamed(&events(&[&all[..], &[end]].concat()));
    let expected = ["", "", "", "", "null x"].iter().enumerate();
    let expected: Vec<_> = expected.map(|(at, args)| (format!("call_s33d{at}"), args.to_string())).collect();
    assert_eq!(calls(&answer), expected);
}

#[test]
fn calls_that_mingle_are_told_apart_by_their_number() {
    let (first, second) = (r#","index":0"#, r#","index":1"#);
    let each = [
        start(first, "\"a\""),
        start(second, "\"b\""),
        more(first, "c"),
        r#"{"type":"tool-call-end","index":0}"#.to_owned(),
        more(second, "d"),
        more(first, "lost"),
        r#"{"type":"tool-call-end"}"#.to_owned(),
        r#"{"type":"tool-call-end"}"#.to_owned(),
    ];
    let each: Vec<&str> = each.iter().map(String::as_str).collect();
    let answer = streamed(&events(&each));
    assert_eq!(calls(&answer).into_iter().map(|(_, args)| args).collect::<Vec<_>>(), ["ac", "bd"]);
    let many = vec![start("", "\"\""); 129];
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(told(&[&events(&many)]), Err(Unreadable));
}

#[test]
fn every_reason_to_finish_has_its_meaning() {
    for (reason, expected) in [
        ("COMPLETE", Finish::Stop),
        ("NEW_ONE", Finish::Stop),
        ("STOP_SEQUENCE", Finish::StopSequence),
        ("MAX_TOKENS", Finish::Length),
        ("TOOL_CALL", Finish::ToolCalls),
        ("ERROR_TOXIC", Finish::ContentFilter),
    ] {
        let end = format!(r#"{{"type":"message-end","delta":{{"finish_reason":"{reason}"}}}}"#);
        assert_eq!(streamed(&events(&[&end])).choices[0].finish, Some(expected));
        let body = format!(
            r#"{{"message":{{"content":[{{"type":"text","text":"x"}}]}},"finish_reason":"{reason}"}}"#
        );
        assert_eq!(whole(body.as_bytes()).choices[0].finish, Some(expected));
    }
    let call = start("", "\"{}\"");
    let end = r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#;
    assert_eq!(streamed(&events(&[&call, end])).choices[0].finish, Some(Finish::ToolCalls));
}

#[test]
fn errors_are_told_wherever_they_stand() {
    for (event, expected) in [
        (
            r#"{"type":"message-end","delta":{"finish_reason":"ERROR"}}"#,
            r#"{"message":"the answer ended with ERROR"}"#,
        ),
        (
            r#"{"type":"message-end","delta":{"finish_reason":"TIMEOUT","error":"too \"slow\""}}"#,
            r#"{"message":"too \"slow\""}"#,
        ),
        (r#"{"type":"message-end","delta":{"error":{"message":"x"}}}"#, r#"{"error":{"message":"x"}}"#),
        (r#"{"message":"internal error"}"#, r#"{"message":"internal error"}"#),
        (r#"{"type":"error","message":"x"}"#, r#"{"type":"error","message":"x"}"#),
    ] {
        let late = r#"{"type":"content-delta","delta":{"message":{"content":{"text":"late"}}}}"#;
        let answer = streamed(&events(&[event, late]));
        assert_eq!(answer.failed.unwrap().get(), expected);
        assert!(answer.choices.is_empty());
    }
    for (body, expected) in [
        (r#"{"id":"x","message":"overloaded"}"#, r#"{"id":"x","message":"overloaded"}"#),
        (
            r#"{"message":{"content":[]},"finish_reason":"ERROR"}"#,
            r#"{"message":"the answer ended with ERROR"}"#,
        ),
    ] {
        assert_eq!(whole(body.as_bytes()).failed.unwrap().get(), expected);
    }
}

#[test]
fn only_billed_units_are_billed() {
    for (usage, expected) in [
        (r#"{"billed_units":{"input_tokens":30,"output_tokens":14}}"#, Some((30, 0, 14))),
        (
            r#"{"billed_units":{"input_tokens":30.0,"output_tokens":14},"cached_tokens":10}"#,
            Some((20, 10, 14)),
        ),
        (r#"{"billed_units":{"input_tokens":0,"output_tokens":0},"cached_tokens":null}"#, Some((0, 0, 0))),
        (r#"{"tokens":{"input_tokens":1400,"output_tokens":40}}"#, None),
        (r#"{"billed_units":{"input_tokens":30}}"#, None),
        (r#"{"billed_units":{"input_tokens":"30","output_tokens":14}}"#, None),
        (r#"{"billed_units":{"input_tokens":30.5,"output_tokens":14}}"#, None),
        (r#"{"billed_units":{"input_tokens":-1,"output_tokens":14}}"#, None),
        (r#"{"billed_units":{"input_tokens":30,"output_tokens":1e3}}"#, None),
        (r#"{"billed_units":{"input_tokens":30,"output_tokens":99999999999}}"#, None),
        (r#"{"billed_units":{"input_tokens":30,"output_tokens":1},"cached_tokens":"x"}"#, None),
        ("null", None),
    ] {
        let body = format!(r#"{{"message":{{}},"finish_reason":"COMPLETE","usage":{usage}}}"#);
        let seen = whole(body.as_bytes()).usage.map(|usage| (usage.input, usage.cache_read, usage.output));
        assert_eq!(seen, expected, "{usage}");
    }
}

#[test]
fn a_stream_that_breaks_off_has_no_finish_and_its_calls_end() {
    let told = told(&[&events(&[&start("", "\"{\"")])]).unwrap();
    assert!(told.iter().all(|event| !event.starts_with("Finish")));
    assert_eq!(told[told.len() - 2..], ["Said { choice: 0, delta: ToolEnd { tool: 0 } }", "End"]);
}

#[test]
fn what_is_no_answer_is_unreadable_and_what_is_unknown_is_passed_over() {
    for body in ["", "null", "{}", "[1]", "{", "\"x\"", r#"{"message":null}"#] {
        assert_eq!(reader().body(body.as_bytes(), &mut |_| ()), Err(Unreadable), "{body}");
    }
    assert_eq!(told(&[b"data: {\n\n"]), Err(Unreadable));
    assert_eq!(told(&[b"data: 1\n\n"]), Err(Unreadable));
    let odd = events(&["{}", r#"{"type":"debug"}"#, r#"{"type":7}"#, r#"{"type":"content-delta"}"#]);
    assert_eq!(told(&[b": ping\n\nevent: x\n\n", &odd]).unwrap(), ["End"]);
}
