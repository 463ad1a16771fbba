use super::*;
use crate::{
    canonical::{Citation, Delta, Finish, MARK},
    json::Escaped,
    write_answer,
};
use kairosroute_domain::usage::Usage;
use serde_json::Value;

fn text(text: &'static str) -> Escaped<'static> {
    Escaped::from_text(text)
}

fn said(delta: Delta<'static>) -> Event<'static> {
    Event::Said { choice: 0, delta }
}

fn call(tool: u32, id: &'static str, name: &'static str) -> Event<'static> {
    said(Delta::ToolStart { tool, id: text(id), name: text(name), signature: None })
}

fn piece(tool: u32, piece: &'static str) -> Event<'static> {
    said(Delta::ToolArguments { tool, piece: text(piece) })
}

fn done(tool: u32) -> Event<'static> {
    said(Delta::ToolEnd { tool })
}

fn finish(reason: Finish) -> Event<'static> {
    Event::Finish { choice: 0, reason, stop_sequence: None }
}

fn started() -> Event<'static> {
    Event::Start { id: text("chatcmpl-1"), model: text("kimi-k3") }
}

fn bill() -> Usage {
    Usage { input: 10, cache_read: 40, output: 20, ..Usage::default() }
}

fn stream(events: &[Event<'_>]) -> String {
    spoken(events, writer_context("moonshot", "kimi-k3"), &bill())
}

fn body(events: &[Event<'_>]) -> String {
    let answer = gathered(events.to_vec());
    let out = write_answer(
        Dialect::Messages,
        &answer,
        &writer_context("moonshot", "kimi-k3"),
        r#"{"cost":"0.1"}"#,
        &bill(),
    );
    String::from_utf8(out.unwrap()).unwrap()
}

/// The message that a client's SDK assembles from a stream.
fn accumulated(stream: &str) -> Value {
    let mut message = Value::Null;
    let mut inputs: Vec<String> = Vec::new();
    for data in stream.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).unwrap();
        let at = event["index"].as_u64().map(|index| usize::try_from(index).unwrap());
        match event["type"].as_str().unwrap() {
            "message_start" => {
                message = event["message"].clone();
                inputs.clear();
            }
            "content_block_start" => {
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!(Some(blocks.len()), at, "blocks follow one another");
                blocks.push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let (delta, block) = (&event["delta"], &mut message["content"][at.unwrap()]);
                assert_eq!(inputs.len(), at.unwrap() + 1, "one block is open at a time");
                let mut append = |name: &str| {
                    let whole = format!("{}{}", block[name].as_str().unwrap(), delta[name].as_str().unwrap());
                    block[name] = Value::String(whole);
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => append("text"),
                    "thinking_delta" => append("thinking"),
                    "signature_delta" => append("signature"),
                    "input_json_delta" => inputs[at.unwrap()] += delta["partial_json"].as_str().unwrap(),
                    "citations_delta" => {
                        let list = &mut block["citations"];
                        if list.is_null() {
                            *list = Value::Array(Vec::new());
                        }
                        list.as_array_mut().unwrap().push(delta["citation"].clone());
                    }
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => {
                let block = &mut message["content"][at.unwrap()];
                if block["type"] == "tool_use" {
                    block["input"] = serde_json::from_str(&inputs[at.unwrap()]).unwrap();
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                message["usage"] = event["usage"].clone();
                message["x_kairosroute"] = event["x_kairosroute"].clone();
            }
            "message_stop" => {}
            other => panic!("{other}"),
        }
    }
    message
}

/// Checks that streamed and whole are equal; returns the answer.
fn both(events: &[Event<'_>]) -> Value {
    let (streamed, whole) =
        (accumulated(&stream(events)), serde_json::from_str::<Value>(&body(events)).unwrap());
    assert_eq!(streamed, whole);
    whole
}

fn thinking_text_and_call() -> Vec<Event<'static>> {
    vec![
        started(),
        said(Delta::Reasoning(text("Look."))),
        said(Delta::Text(text("One moment."))),
        call(0, "call_8", "get_tide"),
        piece(0, r#"{"port":"Brest"}"#),
        done(0),
        finish(Finish::ToolCalls),
        Event::Usage(bill()),
        Event::End,
    ]
}

#[test]
fn a_stream_is_written_event_by_event() {
    assert_eq!(stream(&thinking_text_and_call()), golden!("spoken.sse"));
    assert_eq!(body(&thinking_text_and_call()), golden!("spoken.json").trim_end());
    both(&thinking_text_and_call());
}

#[test]
fn calls_that_come_at_once_are_written_one_after_the_other() {
    let message = both(&[
        started(),
        call(0, "a", "one"),
        piece(0, "{\"x\""),
        call(1, "b", "two"),
        piece(1, "{\"y\":"),
        said(Delta::Text(text("mean"))),
        said(Delta::Text(text("while"))),
        piece(0, ":1}"),
        piece(1, "2}"),
        done(0),
        done(1),
        call(2, "c", "three"),
        done(2),
        finish(Finish::Stop),
    ]);
    let blocks = message["content"].as_array().unwrap();
    let kinds: Vec<_> =
        blocks.iter().map(|block| block["input"].to_string() + &block["text"].to_string()).collect();
    assert_eq!(kinds, [r#"{"x":1}null"#, r#"{"y":2}null"#, r#"null"meanwhile""#, "{}null"]);
    assert_eq!(message["stop_reason"], "tool_use");
}

#[test]
fn the_first_call_streams_while_others_wait() {
    let mut writer = Writer::new(writer_context("moonshot", "kimi-k3"));
    let mut out = Vec::new();
    for event in [started(), call(0, "a", "one"), call(1, "b", "two"), piece(1, "{}"), piece(0, "{}")] {
        writer.event(&event, &mut out);
    }
    let seen = String::from_utf8(out).unwrap();
    assert!(seen.contains("\"one\"") && seen.contains("input_json_delta"), "{seen}");
    assert!(!seen.contains("\"two\""), "{seen}");
    let mut out = Vec::new();
    writer.event(&done(0), &mut out);
    assert!(String::from_utf8(out).unwrap().contains("\"two\""));
}

#[test]
fn reasons_to_stop_have_their_words() {
    for (events, expected) in [
        (vec![finish(Finish::Stop)], "end_turn"),
        (vec![finish(Finish::Length)], "max_tokens"),
        (vec![finish(Finish::ContentFilter)], "refusal"),
        (vec![said(Delta::Refusal(text("No."))), finish(Finish::Refusal)], "refusal"),
        (vec![said(Delta::Refusal(text("No."))), finish(Finish::Stop)], "refusal"),
        (vec![finish(Finish::Pause)], "pause_turn"),
        (vec![finish(Finish::ToolCalls)], "end_turn"),
        (vec![call(0, "a", "b"), done(0), finish(Finish::Stop)], "tool_use"),
        (vec![], "end_turn"),
    ] {
        assert_eq!(both(&[vec![started()], events].concat())["stop_reason"], expected);
    }
    let stopped =
        Event::Finish { choice: 0, reason: Finish::StopSequence, stop_sequence: Some(text("END\n")) };
    let message = both(&[started(), stopped]);
    assert_eq!(
        (&message["stop_reason"], &message["stop_sequence"]),
        (&"stop_sequence".into(), &"END\n".into())
    );
}

#[test]
fn signatures_are_written_under_our_mark() {
    let message = both(&[
        started(),
        said(Delta::Reasoning(text("hm"))),
        said(Delta::Signature(text("QUJD"))),
        said(Delta::Redacted(text("RkFD"))),
        said(Delta::ToolStart { tool: 0, id: text("a"), name: text("b"), signature: Some(text("c2ln")) }),
        done(0),
        finish(Finish::ToolCalls),
    ]);
    let blocks = &message["content"];
    let mark = |bare: &str| format!("{MARK}moonshot.a2ltaS1rMw.{bare}");
    assert_eq!(blocks[0]["signature"], mark("QUJD"));
    assert_eq!(blocks[1]["data"], mark("RkFD"));
    assert_eq!((&blocks[2]["thinking"], &blocks[2]["signature"]), (&"".into(), &mark("c2ln").into()));
    assert_eq!(blocks[3]["type"], "tool_use");
}

#[test]
fn images_citations_and_missing_ids_are_written() {
    let message = both(&[
        Event::Start { id: text("msg_their"), model: text("") },
        said(Delta::Text(text("At six."))),
        said(Delta::Citation(Citation { url: text("https://t.example"), title: None, span: None })),
        said(Delta::Image { media_type: text("image/png"), data: text("iVBO") }),
        call(0, "", "now"),
        piece(0, "null"),
        done(0),
        finish(Finish::ToolCalls),
    ]);
    assert_eq!((&message["id"], &message["model"]), (&"msg_their".into(), &"kimi-k3".into()));
    let blocks = &message["content"];
    assert_eq!(blocks[0]["citations"][0]["url"], "https://t.example");
    assert_eq!(blocks[1]["source"]["data"], "iVBO");
    assert_eq!((&blocks[2]["id"], &blocks[2]["input"]), (&"toolu_gw1_0".into(), &serde_json::json!({})));
}

#[test]
fn arguments_stay_as_written_and_what_is_no_object_is_wrapped() {
    let arguments =
        |arguments: &'static str| body(&[started(), call(0, "a", "b"), piece(0, arguments), done(0)]);
    let odd = r#"{"n":12345678901234567890, "f" : 1.0,"e":1e5,"s":"\ud83d"}"#;
    assert!(arguments(odd).contains(&format!("\"input\":{odd},")));
    assert!(arguments("").contains("\"input\":{}"));
    assert!(arguments("[1]").contains(r#""input":{"_raw":"[1]"}"#));
    assert!(arguments("{\"x").contains(r#""input":{"_raw":"{\"x"}"#));
}

#[test]
fn an_answer_that_begins_anew_is_a_new_message() {
    let restarted = stream(&[
        started(),
        said(Delta::Text(text("Fi"))),
        Event::Restart,
        said(Delta::Text(text("Six."))),
        finish(Finish::Stop),
    ]);
    let message = accumulated(&restarted);
    assert_eq!((&message["id"], &message["content"][0]["text"]), (&"msg_gw1_1".into(), &"Six.".into()));
    let nothing_said = stream(&[started(), Event::Restart, said(Delta::Text(text("Six.")))]);
    assert_eq!(nothing_said.matches("message_start").count(), 2, "its name and its type");
}

#[test]
fn other_choices_and_events_for_others_leave_no_trace() {
    let quiet = stream(&[
        Event::Said { choice: 1, delta: Delta::Text(text("x")) },
        Event::ServiceTier("flex".into()),
        Event::End,
    ]);
    assert_eq!(quiet, stream(&[]));
    assert!(
        quiet.starts_with("event: message_start\n") && quiet.ends_with("{\"type\":\"message_stop\"}\n\n")
    );
}

#[test]
fn errors_heartbeats_and_counts_have_their_form() {
    assert_eq!(
        String::from_utf8(error_event("overloaded_error", "say \"when\"\u{2028}")).unwrap(),
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"say \\\"when\\\"\\u2028\"}}\n\n"
    );
    assert_eq!(write_count(7), b"{\"input_tokens\":7}");
    assert!(streamed(&[PING], Reading::default()) == [Event::End]);
}

#[test]
fn a_calls_signature_comes_back_in_the_thinking_before_it() {
    use crate::canonical::Part;
    let signature = Some(text("c2ln"));
    let start = said(Delta::ToolStart { tool: 0, id: text("a"), name: text("b"), signature });
    let google = writer_context("google", "gemini-3.8-pro");
    let answer = gathered(vec![start, done(0), finish(Finish::ToolCalls)]);
    let body = write_answer(Dialect::Messages, &answer, &google, "{}", &bill()).unwrap();
    let content = serde_json::from_slice::<Value>(&body).unwrap()["content"].to_string();
    let next =
        format!(r#"{{"model":"c","max_tokens":9,"messages":[{{"role":"assistant","content":{content}}}]}}"#);
    let request = read_ok(&next);
    let [Part::Reasoning(reasoning), Part::ToolCall(_)] = request.canonical().turns[0].parts.as_slice()
    else {
        panic!("{content}")
    };
    let bare = |model: &str| {
        let signature = reasoning.signature.as_ref().unwrap();
        signature.bare(google.provider, model, Dialect::Gemini).map(Escaped::into_owned)
    };
    assert!(reasoning.text.is_empty());
    assert_eq!((bare("gemini-3.8-pro"), bare("gemini-3.8-flash")), (Some(text("c2ln")), None));
    let encoded = request.encode(&target("anthropic", "claude-opus-5")).unwrap().body;
    assert!(!String::from_utf8(encoded).unwrap().contains("thinking"));
}

/// The members that Anthropic's document requires of each object of an answer, null if there is no value.
const REQUIRED: &[(&str, &[&str])] = &[
    (
        "message",
        &[
            "id",
            "type",
            "role",
            "model",
            "content",
            "container",
            "stop_reason",
            "stop_sequence",
            "stop_details",
            "usage",
        ],
    ),
    ("text", &["type", "text", "citations"]),
    ("thinking", &["type", "thinking", "signature"]),
    ("redacted_thinking", &["type", "data"]),
    ("tool_use", &["type", "id", "name", "input", "caller"]),
    (
        "usage",
        &[
            "input_tokens",
            "output_tokens",
            "cache_creation",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
            "output_tokens_details",
            "server_tool_use",
            "service_tier",
            "inference_geo",
        ],
    ),
    ("delta", &["container", "stop_reason", "stop_sequence", "stop_details"]),
];

fn has_what_is_required(kind: &str, object: &Value) {
    let (_, members) = REQUIRED.iter().find(|(name, _)| *name == kind).unwrap_or_else(|| panic!("{kind}"));
    for member in *members {
        assert!(object.get(member).is_some(), "`{member}` of {kind}: {object}");
    }
}

#[test]
fn answers_have_every_member_that_the_document_requires() {
    let mut events = thinking_text_and_call();
    events.insert(1, said(Delta::Redacted(text("EqQB"))));
    let whole: Value = serde_json::from_str(&body(&events)).unwrap();
    has_what_is_required("message", &whole);
    has_what_is_required("usage", &whole["usage"]);
    for block in whole["content"].as_array().unwrap() {
        has_what_is_required(block["type"].as_str().unwrap(), block);
    }
    let mut blocks = 0;
    for data in stream(&events).lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).unwrap();
        match event["type"].as_str().unwrap() {
            "message_start" => {
                has_what_is_required("message", &event["message"]);
                has_what_is_required("usage", &event["message"]["usage"]);
            }
            "content_block_start" => {
                let block = &event["content_block"];
                has_what_is_required(block["type"].as_str().unwrap(), block);
                blocks += 1;
            }
            "message_delta" => {
                has_what_is_required("delta", &event["delta"]);
                has_what_is_required("usage", &event["usage"]);
            }
            _ => {}
        }
    }
    assert_eq!(blocks, 4);
}

#[test]
fn sources_that_thinking_divides_from_their_text_are_told_all_the_same() {
    let citation =
        |url| said(Delta::Citation(crate::canonical::Citation { url: text(url), title: None, span: None }));
    let message = both(&[
        started(),
        said(Delta::Text(text("Six."))),
        said(Delta::Signature(text("EqQB"))),
        citation("https://a.example"),
        citation("https://b.example"),
        finish(Finish::Stop),
    ]);
    let blocks = message["content"].as_array().unwrap();
    let kinds: Vec<&str> = blocks.iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["text", "thinking", "text"]);
    assert_eq!(blocks[2]["citations"][1]["url"], "https://b.example");
    assert_eq!(
        both(&[started(), citation("https://a.example"), finish(Finish::Stop)])["content"],
        serde_json::json!([])
    );
}
