use super::*;
use crate::{
    Unreadable,
    canonical::{AnswerPart, Finish},
};

/// Name, stream, its events, and a whole answer of the same content where there is one.
type Case = (&'static str, &'static str, &'static str, Option<&'static str>);

pub(super) const CASES: &[Case] = &[
    (
        "text, then a call",
        golden!("text_then_tool.sse"),
        golden!("text_then_tool.events"),
        Some(golden!("text_then_tool.json")),
    ),
    ("thinking", golden!("thinking.sse"), golden!("thinking.events"), Some(golden!("thinking.json"))),
    (
        "thinking nobody may read",
        golden!("hidden_thinking.sse"),
        golden!("hidden_thinking.events"),
        Some(golden!("hidden_thinking.json")),
    ),
    (
        "redacted thinking",
        golden!("redacted_thinking.sse"),
        golden!("redacted_thinking.events"),
        Some(golden!("redacted_thinking.json")),
    ),
    (
        "a refusal before any output",
        golden!("refusal_before_output.sse"),
        golden!("refusal_before_output.events"),
        Some(golden!("refusal_before_output.json")),
    ),
    (
        "a call without arguments",
        golden!("tool_without_arguments.sse"),
        golden!("tool_without_arguments.events"),
        Some(golden!("tool_without_arguments.json")),
    ),
    (
        "two calls, numbers as written",
        golden!("two_tools.sse"),
        golden!("two_tools.events"),
        Some(golden!("two_tools.json")),
    ),
    (
        "a failure in the middle",
        golden!("failure_in_the_middle.sse"),
        golden!("failure_in_the_middle.events"),
        None,
    ),
    (
        "remarks between calls",
        golden!("remarks_between_calls.sse"),
        golden!("remarks_between_calls.events"),
        None,
    ),
    (
        "another model took over",
        golden!("fallback.sse"),
        golden!("fallback.events"),
        Some(golden!("fallback.json")),
    ),
    ("the same start twice", golden!("repeated_start.sse"), golden!("repeated_start.events"), None),
    ("a new message in its middle", golden!("restarted.sse"), golden!("restarted.events"), None),
    (
        "a new message before output",
        golden!("restarted_before_output.sse"),
        golden!("restarted_before_output.events"),
        None,
    ),
    (
        "the provider's own search",
        golden!("web_search.sse"),
        golden!("web_search.events"),
        Some(golden!("web_search.json")),
    ),
    ("halves of a pair", golden!("halves.sse"), golden!("halves.events"), None),
];

/// One event a line, the usage with names of this file. Prompts have a separate test.
pub(super) fn lines(events: &[Event<'_>]) -> String {
    let line = |event: &Event<'_>| match event {
        Event::Prompt(_) => String::new(),
        Event::Usage(u) => format!(
            "Usage {} read {} written {}+{} output {} reasoning {}\n",
            u.input, u.cache_read, u.cache_write, u.cache_write_1h, u.output, u.reasoning
        ),
        other => format!("{other:?}\n"),
    };
    events.iter().map(line).collect()
}

#[test]
fn streams_give_their_events() {
    for (case, stream, events, _) in CASES {
        let read = streamed(&[stream.as_bytes()], Reading::default());
        assert_eq!(lines(&read), *events, "{case}");
    }
}

#[test]
fn whole_answers_give_what_their_streams_give() {
    for (case, stream, _, body) in CASES {
        let Some(body) = body else { continue };
        let streamed = gathered(streamed(&[stream.as_bytes()], Reading::default()));
        assert_eq!(gathered(whole(body, Reading::default())), streamed, "{case}");
    }
}

#[test]
fn the_prompt_is_told_before_the_answer_and_a_broken_one_is_not() {
    let start = |usage: &str| {
        let start = format!(
            "data: {{\"type\":\"message_start\",\"message\":{{\"id\":\"m\",\"model\":\"c\",\"usage\":{usage}}}}}\n\n"
        );
        let mut told =
            streamed(&[start.as_bytes()], Reading::default()).into_iter().filter_map(|event| match event {
                Event::Prompt(prompt) => Some(prompt),
                _ => None,
            });
        let first = told.next();
        assert_eq!(told.next(), None);
        first.map(|u| (u.input, u.cache_read, u.cache_write, u.cache_write_1h, u.output))
    };
    let caches = r#"{"input_tokens":7,"output_tokens":3,"cache_read_input_tokens":100,
        "cache_creation_input_tokens":30,"cache_creation":{"ephemeral_1h_input_tokens":20}}"#;
    assert_eq!(start(&caches.replace('\n', "")), Some((7, 100, 10, 20, 0)));
    assert_eq!(start(r#"{"input_tokens":7}"#), Some((7, 0, 0, 0, 0)));
    for usage in ["null", "{}", r#"{"input_tokens":"7"}"#, r#"{"input_tokens":99999999999}"#] {
        assert_eq!(start(usage), None, "{usage}");
    }
}

#[test]
fn a_cut_stream_has_neither_finish_nor_usage() {
    let stream = golden!("text_then_tool.sse");
    let cut = stream.find("event: message_delta").unwrap();
    let events = streamed(&[&stream.as_bytes()[..cut]], Reading::default());
    assert!(!events.iter().any(|event| matches!(event, Event::Finish { .. } | Event::Usage(_))));
    assert_eq!(events.last(), Some(&Event::End));
    let open = stream
        .find("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}")
        .unwrap();
    let events = streamed(&[&stream.as_bytes()[..open]], Reading::default());
    assert!(lines(&events).ends_with("Said { choice: 0, delta: ToolEnd { tool: 0 } }\nEnd\n"));
}

#[test]
fn a_forced_call_that_is_the_answer_is_read_as_its_text() {
    let reading = || Reading { tool_as_text: Some("get_tide"), ..Reading::default() };
    for events in [
        streamed(&[golden!("text_then_tool.sse").as_bytes()], reading()),
        whole(golden!("text_then_tool.json"), reading()),
    ] {
        let answer = gathered(events);
        let [choice] = answer.choices.as_slice() else { panic!("{answer:?}") };
        assert_eq!(choice.finish, Some(Finish::Stop));
        let [AnswerPart::Text(text)] = choice.parts.as_slice() else { panic!("{choice:?}") };
        assert_eq!(text.decode(), r#"Checking.{"port":"Brest"}"#);
    }
}

#[test]
fn arguments_that_come_with_the_start_count_when_no_pieces_come() {
    let start = r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","name":"a","input":{"x":1}}}"#;
    let piece = r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#;
    let stop = r#"data: {"type":"content_block_stop","index":0}"#;
    for (frames, expected) in [
        (format!("{start}\n\n{stop}\n\n"), r#"{"x":1}"#),
        (format!("{start}\n\n{piece}\n\n{stop}\n\n"), "{}"),
    ] {
        let reading = Reading { seed: "5eed".into(), ..Reading::default() };
        let answer = gathered(streamed(&[frames.as_bytes()], reading));
        let [AnswerPart::ToolCall { id, arguments, .. }] = answer.choices[0].parts.as_slice() else {
            panic!("{answer:?}")
        };
        assert_eq!((id.inner(), arguments.decode().as_ref()), ("toolu_5eed_0", expected));
    }
}

#[test]
fn a_frame_may_leave_its_type_to_the_event_name() {
    let stream = "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\ndata: [DONE]\n\n: still here\n\n";
    let answer = gathered(streamed(&[stream.as_bytes()], Reading::default()));
    assert_eq!(answer.choices[0].finish, Some(Finish::Stop));
}

#[test]
fn a_reason_that_is_not_known_is_an_ordinary_end_only_where_something_was_said() {
    for (content, reason, finish) in [
        (r#"{"type":"text","text":"a"}"#, "something_new", Finish::Stop),
        ("", "something_new", Finish::ContentFilter),
        ("", "end_turn", Finish::Stop),
    ] {
        let body = format!(r#"{{"id":"m","content":[{content}],"stop_reason":"{reason}"}}"#);
        let answer = gathered(whole(&body, Reading::default()));
        assert_eq!(answer.choices[0].finish, Some(finish), "{body}");
    }
}

#[test]
fn what_is_no_answer_is_unreadable_and_an_error_is_told() {
    let mut none = |_: Event<'_>| panic!("an event");
    for body in ["", "overloaded", "[]", "{}", r#"{"type":"message","content":"x"}"#, "{\"content\":[]} x"] {
        assert_eq!(reader(Reading::default()).body(body.as_bytes(), &mut none), Err(Unreadable), "{body}");
    }
    for body in [
        r#"{"type":"error","error":{"type":"overloaded_error"},"request_id":"r"}"#,
        r#"{"error":{"type":"overloaded_error"}}"#,
    ] {
        assert_eq!(
            lines(&whole(body, Reading::default())),
            "Failed(Json(\"{\\\"type\\\":\\\"overloaded_error\\\"}\"))\n"
        );
    }
}

#[test]
fn a_usage_of_wrong_types_is_missing() {
    let body =
        r#"{"id":"m","content":[],"stop_reason":"end_turn","usage":{"input_tokens":"3","output_tokens":1}}"#;
    assert_eq!(gathered(whole(body, Reading::default())).usage, None);
}

#[test]
fn blocks_that_never_end_are_bounded() {
    let mut reader = reader(Reading::default());
    let mut splitter = Splitter::new(1 << 16);
    let mut failed = false;
    for index in 0..1000 {
        let frame = format!(
            "data: {{\"type\":\"content_block_start\",\"index\":{index},\"content_block\":{{\"type\":\"text\"}}}}\n\n"
        );
        splitter.feed(frame.as_bytes(), |frame| failed |= reader.frame(frame, &mut |_| ()).is_err()).unwrap();
    }
    assert!(failed);
}
