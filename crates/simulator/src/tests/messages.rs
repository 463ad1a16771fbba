//! Anthropic's Messages wire, byte for byte, and what it refuses.

use super::*;

const PATH: &str = "/anthropic/v1/messages";
const ASK: &str =
    r#"{"model":"claude-sonnet-4-6","max_tokens":50,"messages":[{"role":"user","content":"hi"}]}"#;

fn streamed(simulator: &Simulator, script: Script) -> Heard {
    simulator.clear();
    simulator.enqueue("anthropic", script);
    post(simulator, PATH, &ASK.replace("\"max", "\"stream\":true,\"max"))
}

/// An `ASK` with more members.
fn with(members: &str) -> String {
    ASK.replace("\"max_tokens\"", &format!("{members},\"max_tokens\""))
}

fn of(model: &str, members: &str) -> String {
    with(members).replace("claude-sonnet-4-6", model)
}

fn saying(messages: &str) -> String {
    format!(r#"{{"model":"claude-sonnet-4-6","max_tokens":50,"messages":[{messages}]}}"#)
}

/// Thinking, text and a tool call without and with arguments.
fn full() -> Script {
    Script {
        reasoning: vec!["Hm".into(), ".".into()],
        signature: Some("sig".into()),
        redacted_thinking: vec!["xx".into()],
        tool_calls: vec![
            ToolCall::new("toolu_1", "f", &[]),
            ToolCall::new("toolu_2", "g", &[r#"{\"a\":"#, r#"\"\ud83d\",\"b\":1.0}"#]),
        ],
        cached_tokens: 4,
        cache_write_tokens: 3,
        cache_write_1h_tokens: 2,
        ..Script::text(&["One", " two"]).with_tokens(12, 9)
    }
}

#[test]
fn a_stream_has_all_blocks_in_turn() {
    let simulator = start();
    let heard = streamed(&simulator, full());
    let expected = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_simulated1","type":"message","role":"assistant","model":"claude-sonnet-4-6","content":[],"container":null,"stop_reason":null,"stop_sequence":null,"stop_details":null,"usage":{"input_tokens":3,"cache_creation_input_tokens":5,"cache_read_input_tokens":4,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":2},"output_tokens":1,"output_tokens_details":null,"server_tool_use":null,"service_tier":"standard","inference_geo":null}}}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"xx"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"text","text":"","citations":null}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"One"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":" two"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{},"caller":{"type":"direct"}}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: content_block_start
data: {"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"toolu_2","name":"g","input":{},"caller":{"type":"direct"}}}

event: content_block_delta
data: {"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}

event: content_block_delta
data: {"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"\"\ud83d\",\"b\":1.0}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":4}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null,"stop_details":null},"usage":{"input_tokens":3,"cache_creation_input_tokens":5,"cache_read_input_tokens":4,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":2},"output_tokens":9,"output_tokens_details":{"thinking_tokens":2},"server_tool_use":null,"service_tier":"standard","inference_geo":null}}

event: message_stop
data: {"type":"message_stop"}

"#;
    assert_eq!(heard.body, expected.replace("simulated1", &format!("simulated{}", serial(&heard))));
    let call = last(&simulator);
    assert_eq!((call.prompt_tokens, call.completion_tokens, call.content_chunks_written), (12, 9, 6));
    assert_eq!((call.model.as_str(), call.stream, call.finished), ("claude-sonnet-4-6", true, true));
}

/// From the head of the received answer.
fn serial(heard: &Heard) -> &str {
    let (_, rest) = heard.head.split_once("req_simulated").unwrap();
    rest.split_once("\r\n").map_or(rest, |(serial, _)| serial)
}

#[test]
fn a_whole_answer_has_the_same_blocks() {
    let simulator = start();
    simulator.enqueue("anthropic", full());
    let heard = post(&simulator, PATH, ASK);
    assert_eq!(
        heard.body,
        r#"{"id":"msg_simulated1","type":"message","role":"assistant","model":"claude-sonnet-4-6","content":[{"type":"thinking","thinking":"Hm.","signature":"sig"},{"type":"redacted_thinking","data":"xx"},{"type":"text","text":"One two","citations":null},{"type":"tool_use","id":"toolu_1","name":"f","input":{},"caller":{"type":"direct"}},{"type":"tool_use","id":"toolu_2","name":"g","input":{"a":"\ud83d","b":1.0},"caller":{"type":"direct"}}],"container":null,"stop_reason":"tool_use","stop_sequence":null,"stop_details":null,"usage":{"input_tokens":3,"cache_creation_input_tokens":5,"cache_read_input_tokens":4,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":2},"output_tokens":9,"output_tokens_details":{"thinking_tokens":2},"server_tool_use":null,"service_tier":"standard","inference_geo":null}}"#
    );
    assert_eq!(last(&simulator).completion_tokens, 9);
}

#[test]
fn endings_have_the_words_of_the_wire() {
    let simulator = start();
    for (reason, word) in [
        ("stop", "\"end_turn\""),
        ("length", "\"max_tokens\""),
        ("content_filter", "\"refusal\""),
        ("pause_turn", "\"pause_turn\""),
        ("null", "null"),
    ] {
        let script = Script { finish_reason: Some(reason.into()), ..Script::text(&["a"]) };
        let heard = streamed(&simulator, script);
        assert!(heard.body.contains(&format!("\"delta\":{{\"stop_reason\":{word},")), "{}", heard.body);
    }
    let script = Script { refusal: Some("No.".into()), ..Script::text(&[]) };
    let heard = streamed(&simulator, script);
    assert_eq!(heard.body.matches("event: ").count(), 4, "{}", heard.body);
    assert!(heard.body.contains(
        r#"{"stop_reason":"refusal","stop_sequence":null,"stop_details":{"type":"refusal","category":"cyber","explanation":"No."}}"#
    ));
    let hidden = Script { signature: Some("s".into()), reasoning_tokens: Some(5), ..Script::text(&["a"]) };
    let heard = streamed(&simulator, hidden);
    assert!(!heard.body.contains("thinking_delta") && heard.body.contains(r#""signature":"s""#));
    assert!(heard.body.contains(r#""output_tokens":6,"output_tokens_details":{"thinking_tokens":5}"#));
    let cited = Citation { url: "https://a".into(), title: "A".into() };
    let heard = streamed(&simulator, Script { citations: vec![cited], ..Script::text(&["a"]) });
    assert!(
        heard.body.contains(r#"{"type":"citations_delta","citation":{"type":"web_search_result_location","#)
    );
    let heard = streamed(&simulator, Script { usage: UsagePlace::Missing, ..Script::text(&["a"]) });
    assert!(!heard.body.contains("usage") && heard.body.contains("message_stop"));
}

#[test]
fn a_stream_breaks_as_scripted() {
    let simulator = start();
    let heard = streamed(&simulator, Script { error_after: Some(1), ..Script::text(&["a", "b"]) });
    assert!(heard.whole && heard.body.ends_with(
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"
    ));
    assert!(heard.body.contains(r#""text":"a""#) && !heard.body.contains(r#""text":"b""#));
    assert_eq!(last(&simulator).completion_tokens, 1);
    let heard =
        streamed(&simulator, Script { cut_after: Some(1), comments: true, ..Script::text(&["a", "b"]) });
    assert!(!heard.whole && heard.body.starts_with("event: ping\n"));
    assert!(heard.body.ends_with("\"text\":\"a\"}}\n\n"), "{}", heard.body);
    simulator.enqueue("anthropic", Script { error_after: Some(1), ..Script::default() });
    let heard = post(&simulator, PATH, ASK);
    assert_eq!(status(&heard), 529);
    assert!(heard.body.contains(r#"{"type":"error","error":{"type":"overloaded_error""#));
    simulator.enqueue("anthropic", Script { crlf: true, split_bytes: Some(5), ..Script::text(&["a"]) });
    let heard = post(&simulator, PATH, &with("\"stream\":true"));
    assert!(heard.body.ends_with("event: message_stop\r\ndata: {\"type\":\"message_stop\"}\r\n\r\n"));
}

#[test]
fn counting_is_free_and_takes_no_script() {
    let simulator = start();
    simulator.enqueue("anthropic", Script::text(&["kept"]).with_tokens(77, 1));
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let heard = post(&simulator, "/anthropic/v1/messages/count_tokens", body);
    assert_eq!((status(&heard), heard.body.as_str()), (200, r#"{"input_tokens":77}"#));
    assert_eq!((last(&simulator).prompt_tokens, last(&simulator).completion_tokens), (0, 0));
    assert!(refusal(&simulator, "/anthropic/v1/messages/count_tokens", ASK).contains("max_tokens"));
    assert!(post(&simulator, PATH, ASK).body.contains("kept"));
}

#[test]
fn others_serve_the_wire_too() {
    let simulator = start();
    for (path, named) in [
        ("/deepseek/anthropic/v1/messages", "deepseek-v4-pro"),
        ("/fireworks_ai/inference/v1/messages", "accounts/fireworks/models/glm-5p3"),
    ] {
        let body = ASK.replace("claude-sonnet-4-6", named);
        let heard = hear(send(&simulator, "POST", path, "x-api-key: k\r\n", &body));
        assert!(heard.body.contains(r#""stop_reason":"end_turn""#), "{}", heard.body);
        let heard = hear(send(&simulator, "POST", path, "x-api-key: bad\r\n", &body));
        assert_eq!(status(&heard), 401);
        assert!(heard.body.starts_with(r#"{"type":"error","error":{"type":"authentication_error""#));
    }
}

#[test]
fn the_top_of_a_request_is_judged() {
    let simulator = start();
    let thinking = r#""thinking":{"type":"enabled","budget_tokens":2000}"#;
    let tools = r#""tools":[{"name":"f","input_schema":{"type":"object"}}]"#;
    let forced = format!(r#"{tools},"tool_choice":{{"type":"any"}}"#);
    let both = format!("{forced},{thinking}");
    let adaptive = r#""thinking":{"type":"adaptive"}"#;
    let disabled = r#""thinking":{"type":"disabled"}"#;
    let between = r#""thinking":{"type":"between_tools"}"#;
    assert_judged(
        &simulator,
        PATH,
        &[
            ("", ASK.to_owned()),
            ("max_tokens: Field required", ASK.replace("\"max_tokens\":50,", "")),
            ("frequency_penalty: Extra inputs", with("\"frequency_penalty\":0")),
            ("leaked field: models", with("\"models\":[]")),
            ("temperature: range", with("\"temperature\":1.2")),
            ("temperature", with("\"temperature\":0.5,\"top_p\":0.5")),
            ("", of("claude-opus-4-6", "\"temperature\":0.5")),
            ("temperature", of("claude-opus-4-7", "\"temperature\":0.5")),
            ("", of("claude-opus-4-7", "\"temperature\":1")),
            ("top_k", of("claude-sonnet-5", "\"top_k\":5")),
            ("top_p", of("claude-fable-5-1", "\"top_p\":0.5")),
            ("", of("claude-opus-4-20250514", "\"top_p\":0.5,\"temperature\":0.5")),
            ("stop_sequences", with(r#""stop_sequences":["a"," \n"]"#)),
            ("", with(&forced)),
            ("tool_choice", of("claude-opus-5-5", &forced)),
            ("tool_choice", of("claude-sonnet-5-5", &forced)),
            ("tool_choice", of("claude-fable-5-1", &forced)),
            ("", of("claude-fable-5", &forced)),
            ("tool_choice: Thinking", with(&both).replace(":50,", ":5000,")),
            ("", with(thinking).replace(":50,", ":5000,")),
            ("greater than `thinking.budget_tokens`", with(thinking)),
            ("greater than or equal to 1024", with(&thinking.replace("2000", "1000"))),
            ("thinking.type", of("claude-opus-5-5", disabled)),
            ("thinking.type", of("claude-sonnet-5-5", thinking).replace(":50,", ":5000,")),
            ("thinking.type", of("claude-fable-5", disabled)),
            ("", of("claude-opus-5", disabled)),
            ("", of("claude-sonnet-5-5", between)),
            ("thinking.type", of("claude-opus-5-5", between)),
            (
                "output_config.effort",
                of("claude-sonnet-5-5", &format!(r#"{between},"output_config":{{"effort":"max"}}"#)),
            ),
            ("", with(adaptive)),
            ("thinking.type", of("claude-haiku-4-5", adaptive)),
            ("temperature", with(&format!("{adaptive},\"temperature\":0.5"))),
            ("tools.0: Input tag", with(r#""tools":[{"type":"function","function":{"name":"f"}}]"#)),
            ("input_schema", with(r#""tools":[{"name":"f"}]"#)),
            ("Extra inputs", with(&tools.replace("\"name\"", "\"parameters\":{},\"name\""))),
            ("tool_choice", with(&format!(r#"{tools},"tool_choice":"auto""#))),
            ("tool_choice.name", with(&format!(r#"{tools},"tool_choice":{{"type":"tool","name":"g"}}"#))),
        ],
    );
    let heard = hear(send(&simulator, "POST", PATH, "x-api-key: k\r\n", ASK));
    assert!(heard.body.contains("anthropic-version: header is required"));
}

#[test]
fn the_conversation_is_judged() {
    let simulator = start();
    let user = r#"{"role":"user","content":"hi"}"#;
    let call = r#"{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}"#;
    let result = r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"x"}]}"#;
    let thought = |signature: &str| {
        saying(&format!(
            r#"{user},{{"role":"assistant","content":[{{"type":"thinking","thinking":"","signature":"{signature}"}},{{"type":"text","text":"x"}}]}},{user}"#
        ))
    };
    let late = result.replace(r#"[{"type""#, r#"[{"type":"text","text":"first"},{"type""#);
    let prefill = saying(&format!(r#"{user},{{"role":"assistant","content":"I"}}"#));
    assert_judged(
        &simulator,
        PATH,
        &[
            ("", saying(&format!("{user},{call},{result}"))),
            ("first message", saying(&format!("{call},{result}"))),
            ("without `tool_result`", saying(&format!("{user},{call},{user}"))),
            ("without `tool_result`", saying(&format!("{user},{call},{user},{result}"))),
            ("unexpected `tool_use_id`", saying(&format!("{user},{result}"))),
            ("must come before", saying(&format!("{user},{call},{late}"))),
            ("match pattern", saying(&format!("{user},{call},{result}")).replace("\"a\"", "\"call.1\"")),
            (
                "input: Input should be an object",
                saying(&format!("{user},{call},{result}")).replace("{}", "\"{}\""),
            ),
            ("non-whitespace", saying(r#"{"role":"user","content":[{"type":"text","text":""}]}"#)),
            ("non-whitespace", saying(r#"{"role":"user","content":""}"#)),
            ("prefill", prefill.clone()),
            ("", prefill.replace("sonnet-4-6", "sonnet-4-5")),
            ("trailing", prefill.replace("sonnet-4-6", "sonnet-4-5").replace("\"I\"", "\"I \"")),
            ("", thought("free words")),
            ("signature", thought("gw1.abc")),
            ("signature", thought("")),
            ("role", saying(r#"{"role":"user","content":"a"},{"role":"tool","content":"x"}"#)),
            ("messages.0.name", saying(r#"{"role":"user","name":"b","content":"a"}"#)),
            (
                "image_url",
                saying(r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}"#),
            ),
            (
                "maximum of 4",
                saying(&format!(
                    r#"{{"role":"user","content":[{}]}}"#,
                    [r#"{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}"#; 5].join(",")
                )),
            ),
        ],
    );
}
