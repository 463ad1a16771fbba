use super::*;
use crate::{
    canonical::{AnswerPart, Choice, Finish, Json, MARK},
    failed_event,
};
use proptest::prelude::*;
use serde_json::Value;

fn text(inner: &str) -> Escaped<'static> {
    Escaped::from_inner(inner.to_owned())
}

fn say(delta: Delta<'_>) -> Event<'_> {
    Event::Said { choice: 0, delta }
}

fn start(tool: u32, id: &str, name: &str, signature: Option<&str>) -> Event<'static> {
    say(Delta::ToolStart { tool, id: text(id), name: text(name), signature: signature.map(text) })
}

fn arguments(tool: u32, piece: &str) -> Event<'static> {
    say(Delta::ToolArguments { tool, piece: text(piece) })
}

fn finish(reason: Finish) -> Event<'static> {
    Event::Finish { choice: 0, reason, stop_sequence: None }
}

/// Reasoning, text with a source, two calls whose pieces arrive interleaved.
fn events() -> Vec<Event<'static>> {
    let citation = Citation { url: text("https://x.test"), title: None, span: Some((0, 3)) };
    vec![
        Event::Start { id: text("r1"), model: text("gemini-3.8-flash") },
        say(Delta::Reasoning(text("Lo"))),
        say(Delta::Reasoning(text("ok."))),
        say(Delta::Signature(text("c2ln"))),
        say(Delta::Text(text("One"))),
        say(Delta::Text(text(r" moment\u00e3."))),
        say(Delta::Citation(citation)),
        say(Delta::Logprobs(Json::trusted(r#"{"content":[{"token":"One","logprob":-0.10}]}"#.into()))),
        start(0, "call_8", "get_tide", Some("dGhvdWdodA==")),
        arguments(0, r#"{\"port\":"#),
        start(1, "call_9", "now", None),
        arguments(1, r#"{\"n\":1"#),
        arguments(0, r#"12345678901234567890}"#),
        arguments(1, "}"),
        say(Delta::ToolEnd { tool: 1 }),
        say(Delta::ToolEnd { tool: 0 }),
        start(2, "call_10", "last", None),
        say(Delta::ToolEnd { tool: 2 }),
        Event::ServiceTier("default".into()),
        finish(Finish::ToolCalls),
    ]
}

fn served(events: &[Event<'_>]) -> String {
    let mut writer = Writer::new(writer_context());
    let mut out = Vec::new();
    for event in events {
        writer.event(event, &mut out);
    }
    writer.conclude(r#"{"cost_usd":0.1}"#, &usage(), &mut out);
    String::from_utf8(out).unwrap()
}

fn frames(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// The rules for every stream.
fn check_order(stream: &str) {
    let frames = frames(stream);
    let mut finished: Vec<Option<Value>> = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        assert_eq!(frame["sequence_number"], number, "{frame}");
        let index = frame["output_index"].as_u64().map(|index| usize::try_from(index).unwrap());
        match (frame["type"].as_str().unwrap(), index) {
            ("response.output_item.added", Some(index)) => {
                assert_eq!(index, finished.len(), "{frame}");
                finished.push(None);
            }
            ("response.output_item.done", Some(index)) => {
                assert!(finished[index].is_none(), "{frame}");
                finished[index] = Some(frame["item"].clone());
            }
            (_, Some(index)) => {
                assert!(finished[index].is_none(), "{frame}");
                assert_eq!(index + 1, finished.len(), "one item at a time: {frame}");
            }
            _ => {}
        }
    }
    assert_eq!(frames[0]["type"], "response.created");
    assert_eq!(frames[1]["type"], "response.in_progress");
    let finished: Vec<Value> = finished.into_iter().map(Option::unwrap).collect();
    assert_eq!(frames.last().unwrap()["response"]["output"], Value::Array(finished));
    assert!(stream.ends_with("\n\ndata: [DONE]\n\n"));
}

#[test]
fn a_stream_is_served_as_its_golden_file_has_it() {
    let stream = served(&events());
    check_order(&stream);
    assert_eq!(stream, golden!("served.sse"));
    let last = frames(&stream).pop().unwrap();
    assert_eq!(last["x_kairosroute"]["cost_usd"], 0.1);
    assert_eq!(last["response"]["usage"]["input_tokens_details"]["cached_tokens"], 40);
}

#[test]
fn a_whole_answer_holds_what_the_stream_ends_with() {
    let mut answer = Answer::default();
    events().into_iter().for_each(|event| answer.absorb(event));
    let body = write_answer(&answer, &writer_context(), r#"{"cost_usd":0.1}"#, &usage());
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    let note = body.as_object_mut().unwrap().remove("x_kairosroute").unwrap();
    assert_eq!(note["cost_usd"], 0.1);
    assert_eq!(body, frames(&served(&events())).pop().unwrap()["response"]);
}

#[test]
fn a_response_has_every_member_that_clients_require() {
    let body = request(
        r#"{"model":"m","input":"x","instructions":"Be brief.","temperature":0.50,"tools":[{"type":"function","name":"f","parameters":{},"strict":false}],"tool_choice":"required","user":"u","metadata":{"a":"b"}}"#,
    );
    let writer_context = WriterContext { echo: body.echo(), ..writer_context() };
    let json = write_answer(&Answer::default(), &writer_context, "{}", &usage());
    let json = String::from_utf8(json).unwrap();
    assert!(json.contains(r#""temperature":0.50,"#), "{json}");
    let response: Value = serde_json::from_str(&json).unwrap();
    assert_required(&response, true);
    assert_eq!(response["tool_choice"], "required");
    assert_eq!(response["tools"][0]["name"], "f");
    assert_eq!(response["status"], "completed");
}

#[test]
fn an_answer_that_was_cut_is_incomplete() {
    for (reason, name) in [(Finish::Length, "max_output_tokens"), (Finish::ContentFilter, "content_filter")] {
        let events =
            [say(Delta::Text(text("The ti"))), start(0, "c", "f", None), arguments(0, "{"), finish(reason)];
        let stream = served(&events);
        check_order(&stream);
        let last = frames(&stream).pop().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["status"], "incomplete");
        assert_eq!(last["response"]["incomplete_details"]["reason"], name);
        assert_eq!(last["response"]["output"][0]["status"], "completed");
        assert_eq!(last["response"]["output"][1]["status"], "incomplete");
        assert_eq!(last["response"]["output"][1]["arguments"], "{");
    }
}

#[test]
fn a_call_without_arguments_has_an_empty_object() {
    let stream = served(&[start(0, "c", "f", None), say(Delta::ToolEnd { tool: 0 })]);
    assert_eq!(frames(&stream).pop().unwrap()["response"]["output"][0]["arguments"], "{}");
}

#[test]
fn signatures_of_other_makers_travel_under_our_mark_and_come_back() {
    let stream = served(&[
        say(Delta::Signature(text("c2ln"))),
        say(Delta::Redacted(text("cmVk"))),
        start(0, "c", "f", Some("dGg=")),
        say(Delta::ToolEnd { tool: 0 }),
    ]);
    let output = frames(&stream).pop().unwrap()["response"]["output"].clone();
    let kinds: Vec<&str> =
        output.as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "reasoning", "reasoning", "function_call"]);
    assert!(output[0]["encrypted_content"].as_str().unwrap().starts_with(MARK));
    let body = serde_json::json!({"model": "m", "input": output}).to_string();
    let request = request(&body);
    let parts = &request.canonical().unwrap().turns[0].parts;
    let google = ProviderId::by_id("google").unwrap();
    let seen: Vec<(String, bool)> = parts
        .iter()
        .filter_map(|part| match part {
            crate::canonical::Part::Reasoning(reasoning) => {
                let signature = reasoning.signature.as_ref().unwrap();
                let bare = signature.bare(google, "gemini-3.8-flash", Dialect::Gemini).unwrap();
                assert!(signature.bare(google, "gemini-3.8-pro", Dialect::Gemini).is_none());
                Some((bare.inner().to_owned(), reasoning.redacted))
            }
            _ => None,
        })
        .collect();
    let expected = [("c2ln", false), ("cmVk", true), ("dGg=", false)];
    assert_eq!(seen, expected.map(|(bare, redacted)| (bare.to_owned(), redacted)));
}

#[test]
fn an_error_ends_the_stream_in_sequence() {
    let mut writer = Writer::new(writer_context());
    let mut out = Vec::new();
    writer.event(&say(Delta::Text(text("Hal"))), &mut out);
    writer.fail("upstream_error", "It \"broke\".", &mut out);
    let stream = String::from_utf8(out).unwrap();
    let frames = frames(&stream);
    let last = frames.last().unwrap();
    assert_eq!(last["sequence_number"], frames.len() - 1);
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["error"]["message"], "It \"broke\".");
    assert!(!stream.contains("[DONE]"));
    let alone = String::from_utf8(failed_event(7, "c", "m")).unwrap();
    assert!(alone.starts_with("event: response.failed\ndata: "), "{alone}");
    let lines = streamed_lines(&alone);
    assert!(lines.contains(&r#"failed {"code":"c","message":"m"}"#.to_owned()), "{lines:?}");
}

#[test]
fn what_is_void_is_not_in_the_final_output() {
    let stream = served(&[say(Delta::Text(text("old"))), Event::Restart, say(Delta::Text(text("new")))]);
    let output = frames(&stream).pop().unwrap()["response"]["output"].clone();
    assert_eq!(output.as_array().unwrap().len(), 1);
    assert_eq!(output[0]["content"][0]["text"], "new");
}

fn part() -> impl Strategy<Value = AnswerPart> {
    let word = || "[ -!#-\\[\\]-~é😀]{1,8}".prop_map(|word| text(&word));
    prop_oneof![
        4 => word().prop_map(AnswerPart::Text),
        1 => word().prop_map(AnswerPart::Refusal),
        2 => (word(), "[A-Za-z0-9+/=]{1,8}")
            .prop_map(|(text, signature)| AnswerPart::Reasoning { text, signature: Some(self::text(&signature)) }),
        3 => (word(), word()).prop_map(|(id, name)| AnswerPart::ToolCall {
            tool: 0,
            id,
            name,
            arguments: text("{\\\"a\\\": 1.0}"),
            signature: None,
        }),
        1 => "[A-Za-z0-9+/]{4}".prop_map(|data| AnswerPart::Image { media_type: text("image/png"), data: text(&data) }),
    ]
}

/// The same parts, calls counted, neighbours of one kind joined as their pieces would be.
fn normal(parts: Vec<AnswerPart>) -> Vec<AnswerPart> {
    let mut answer = Choice::default();
    let mut calls = 0;
    for part in parts {
        match (answer.parts.last_mut(), part) {
            (Some(AnswerPart::Text(text)), AnswerPart::Text(more)) => text.push(&more),
            (Some(AnswerPart::Refusal(text)), AnswerPart::Refusal(more)) => text.push(&more),
            (_, AnswerPart::ToolCall { id, name, arguments, signature, .. }) => {
                answer.parts.push(AnswerPart::ToolCall { tool: calls, id, name, arguments, signature });
                calls += 1;
            }
            (_, part) => answer.parts.push(part),
        }
    }
    answer.parts
}

/// As a client's reader would have it, without our tag and without the separator of two messages.
fn unmarked(mut answer: Answer) -> Vec<AnswerPart> {
    for part in answer.choices.iter_mut().flat_map(|choice| &mut choice.parts) {
        if let AnswerPart::Reasoning { signature: Some(signature), .. } = part {
            *signature = text(signature.inner().rsplit('.').next().unwrap());
        }
    }
    let mut parts = answer.choices.pop().unwrap_or_default().parts;
    let texts = parts.iter_mut().filter_map(|part| match part {
        AnswerPart::Text(said) => Some(said),
        _ => None,
    });
    for said in texts.skip(1) {
        *said = text(said.inner().strip_prefix("\\n\\n").expect("a blank line between messages"));
    }
    parts
}

proptest! {
    #[test]
    fn what_is_served_reads_back_streamed_and_whole(parts in prop::collection::vec(part(), 0..8)) {
        let parts = normal(parts);
        let choice = Choice { parts: parts.clone(), finish: Some(Finish::Stop), ..Choice::default() };
        let answer = Answer { choices: vec![choice], ..Answer::default() };
        let body = String::from_utf8(write_answer(&answer, &writer_context(), "{}", &usage())).unwrap();
        let read = whole_answer(&body);
        prop_assert_eq!(read.usage, Some(usage()));
        prop_assert_eq!(unmarked(read), parts.clone());
        let events: Vec<Event<'_>> =
            parts.iter().flat_map(super::super::answer::deltas).map(say).collect();
        let stream = served(&events);
        check_order(&stream);
        prop_assert_eq!(unmarked(streamed_answer(stream.as_bytes())), parts);
    }
}

/// The allowed values of response members, by OpenAI's document; those in capitals are never null.
const REQUIRED: &[(&str, &str)] = &[
    ("id", "STRING"),
    ("object", "STRING"),
    ("created_at", "NUMBER"),
    ("completed_at", "number"),
    ("status", "STRING"),
    ("error", "object"),
    ("incomplete_details", "object"),
    ("instructions", "string"),
    ("metadata", "OBJECT"),
    ("model", "STRING"),
    ("output", "ARRAY"),
    ("parallel_tool_calls", "BOOL"),
    ("frequency_penalty", "NUMBER"),
    ("presence_penalty", "NUMBER"),
    ("temperature", "NUMBER"),
    ("top_p", "NUMBER"),
    ("top_logprobs", "NUMBER"),
    ("tool_choice", "ANY"),
    ("tools", "ARRAY"),
    ("max_output_tokens", "number"),
    ("max_tool_calls", "number"),
    ("previous_response_id", "string"),
    ("prompt_cache_key", "string"),
    ("safety_identifier", "string"),
    ("reasoning", "object"),
    ("text", "OBJECT"),
    ("truncation", "STRING"),
    ("usage", "object"),
    ("user", "string"),
    ("store", "BOOL"),
    ("background", "BOOL"),
    ("service_tier", "STRING"),
];

fn assert_required(response: &Value, completed: bool) {
    for (key, kind) in REQUIRED {
        let value = response.get(key).unwrap_or_else(|| panic!("{key} is missing in {response}"));
        let fits = match kind.to_ascii_lowercase().as_str() {
            "string" => value.is_string(),
            "number" => value.is_number(),
            "object" => value.is_object(),
            "array" => value.is_array(),
            "bool" => value.is_boolean(),
            _ => true,
        };
        let may_be_null = kind.chars().all(char::is_lowercase);
        assert!(fits || may_be_null && value.is_null(), "{key} is {value}");
    }
    assert_eq!(response["completed_at"].is_number(), completed);
    for tool in response["tools"].as_array().unwrap() {
        if tool["type"] == "function" {
            assert!(tool["strict"].is_boolean() && tool.get("parameters").is_some(), "{tool}");
        }
    }
}

#[test]
fn the_responses_in_a_streams_events_have_the_required_members_too() {
    let body = request(
        r#"{"model":"m","input":"x","tools":[{"type":"function","name":"f"},{"type":"function","name":"g","parameters":{},"strict":true},{"type":"custom","name":"h"}]}"#,
    );
    let writer_context = WriterContext { echo: body.echo(), ..writer_context() };
    let mut out = Vec::new();
    let mut writer = Writer::new(writer_context.clone());
    events().iter().for_each(|event| writer.event(event, &mut out));
    writer.conclude("{}", &usage(), &mut out);
    let mut count = 0;
    for frame in frames(&String::from_utf8(out).unwrap()) {
        if let Some(response) = frame.get("response") {
            count += 1;
            assert_required(response, frame["type"] == "response.completed");
            assert_eq!(response["tools"][1]["strict"], true);
            assert_eq!(response["tools"][2].get("strict"), None);
        }
    }
    assert_eq!(count, 3);
    let failed = String::from_utf8(failed_event(7, "code", "message")).unwrap();
    assert_required(&frames(&failed)[0]["response"], false);
    for (theirs, told) in
        [("standard", "default"), ("on_demand", "default"), ("priority", "priority"), ("odd", "default")]
    {
        let answer = Answer { service_tier: Some(theirs.into()), ..Answer::default() };
        let json: Value =
            serde_json::from_slice(&write_answer(&answer, &writer_context, "{}", &usage())).unwrap();
        assert_eq!(json["service_tier"], told);
    }
}
