//! Cohere's v2 chat, byte for byte, and what it refuses.

use super::*;

const PATH: &str = "/cohere/v2/chat";
const ASK: &str = r#"{"model":"command-a","messages":[{"role":"user","content":"hi"}]}"#;

fn streamed(simulator: &Simulator, script: Script) -> Heard {
    simulator.enqueue("cohere", script);
    post(simulator, PATH, &with("\"stream\":true"))
}

fn with(members: &str) -> String {
    ASK.replace("{\"model\"", &format!("{{{members},\"model\""))
}

fn planned() -> Script {
    let call = ToolCall::new("f_1", "f", &[r#"{\"a\": "#, r"1.0}"]);
    Script {
        reasoning: vec!["I will".into(), " ask.".into()],
        cached_tokens: 4,
        ..Script::tools(vec![call]).with_tokens(12, 8)
    }
}

#[test]
fn a_plan_and_a_call_are_streamed() {
    let simulator = start();
    let heard = streamed(&simulator, planned());
    assert_eq!(
        heard.body,
        r#"event: message-start
data: {"type":"message-start","id":"simulated1","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}

event: tool-plan-delta
data: {"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I will"}}}

event: tool-plan-delta
data: {"type":"tool-plan-delta","delta":{"message":{"tool_plan":" ask."}}}

event: tool-call-start
data: {"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"f_1","type":"function","function":{"name":"f","arguments":""}}}}}

event: tool-call-delta
data: {"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"a\": "}}}}}

event: tool-call-delta
data: {"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"1.0}"}}}}}

event: tool-call-end
data: {"type":"tool-call-end","index":0}

event: message-end
data: {"type":"message-end","delta":{"finish_reason":"TOOL_CALL","usage":{"billed_units":{"input_tokens":12,"output_tokens":8},"tokens":{"input_tokens":512,"output_tokens":15},"cached_tokens":4}}}

"#
    );
    assert_eq!((last(&simulator).prompt_tokens, last(&simulator).completion_tokens), (12, 8));
}

#[test]
fn thinking_text_and_sources_are_streamed() {
    let simulator = start();
    let cited = Citation { url: "https://a".into(), title: "A".into() };
    let script = Script { reasoning: vec!["Hm".into()], citations: vec![cited], ..Script::text(&["One"]) };
    let heard = streamed(&simulator, script);
    let (_, rest) = heard.body.split_once("\n\n").unwrap();
    assert_eq!(
        rest,
        r#"event: content-start
data: {"type":"content-start","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":""}}}}

event: content-delta
data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"thinking":"Hm"}}}}

event: content-end
data: {"type":"content-end","index":0}

event: content-start
data: {"type":"content-start","index":1,"delta":{"message":{"content":{"type":"text","text":""}}}}

event: content-delta
data: {"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"One"}}}}

event: content-end
data: {"type":"content-end","index":1}

event: citation-start
data: {"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0,"end":0,"text":"","sources":[{"type":"document","id":"doc:0","document":{"url":"https://a","title":"A"}}],"type":"TEXT_CONTENT"}}}}

event: citation-end
data: {"type":"citation-end","index":0}

event: message-end
data: {"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":12,"output_tokens":2},"tokens":{"input_tokens":512,"output_tokens":9},"cached_tokens":0}}}

"#
    );
}

#[test]
fn whole_answers_have_the_same_parts() {
    let simulator = start();
    simulator.enqueue("cohere", planned());
    assert_eq!(
        post(&simulator, PATH, ASK).body,
        r#"{"id":"simulated1","finish_reason":"TOOL_CALL","message":{"role":"assistant","tool_plan":"I will ask.","tool_calls":[{"id":"f_1","type":"function","function":{"name":"f","arguments":"{\"a\": 1.0}"}}]},"usage":{"billed_units":{"input_tokens":12,"output_tokens":8},"tokens":{"input_tokens":512,"output_tokens":15},"cached_tokens":4}}"#
    );
    let script = Script { reasoning: vec!["Hm".into()], ..Script::text(&["One", " two"]) };
    simulator.enqueue("cohere", Script { finish_reason: Some("length".into()), ..script });
    let heard = post(&simulator, PATH, ASK);
    assert!(heard.body.contains(
        r#""finish_reason":"MAX_TOKENS","message":{"role":"assistant","content":[{"type":"thinking","thinking":"Hm"},{"type":"text","text":"One two"}]}"#
    ));
}

#[test]
fn a_stream_breaks_as_scripted() {
    let simulator = start();
    let heard = streamed(&simulator, Script { error_after: Some(1), ..Script::text(&["a", "b"]) });
    let end = r#"data: {"type":"message-end","delta":{"finish_reason":"ERROR","error":"The server had an error while generating the answer."}}"#;
    assert!(heard.whole && heard.body.trim_end().ends_with(end), "{}", heard.body);
    assert_eq!(last(&simulator).completion_tokens, 1);
    assert!(!streamed(&simulator, Script { cut_after: Some(0), ..Script::default() }).whole);
    simulator.enqueue("cohere", Script::failing(429));
    assert_eq!(post(&simulator, PATH, ASK).body, r#"{"message":"The request failed as scripted."}"#);
}

#[test]
fn requests_are_judged() {
    let simulator = start();
    let saying = |messages: &str| {
        format!(r#"{{"model":"command-a","messages":[{{"role":"user","content":"hi"}},{messages}]}}"#)
    };
    let call = r#"{"role":"assistant","tool_plan":"p","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}"#;
    let result = r#"{"role":"tool","tool_call_id":"a","content":"x"}"#;
    let tools = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
    assert_judged(
        &simulator,
        PATH,
        &[
            ("", ASK.to_owned()),
            ("", with(&format!(r#"{tools},"tool_choice":"REQUIRED""#))),
            ("tool_choice", with(&format!(r#"{tools},"tool_choice":"required""#))),
            (
                "tool_choice",
                with(&format!(r#"{tools},"tool_choice":{{"type":"function","function":{{"name":"f"}}}}"#)),
            ),
            ("strict", with(&tools.replace("\"name\"", "\"strict\":true,\"name\""))),
            ("n: unknown field", with("\"n\":1")),
            ("top_p: unknown field", with("\"top_p\":0.5")),
            ("stop: unknown field", with("\"stop\":[]")),
            ("response_format", with(r#""response_format":{"type":"json_schema","json_schema":{}}"#)),
            ("", with(r#""response_format":{"type":"json_object","json_schema":{}}"#)),
            ("logprobs", with("\"logprobs\":2")),
            ("", saying(&format!("{call},{result}"))),
            ("tool call id a not found", saying(result)),
            ("no tool message", saying(call)),
            ("no tool message", saying(&format!(r#"{call},{{"role":"user","content":"x"}},{result}"#))),
            ("unknown role", saying(r#"{"role":"developer","content":"x"}"#)),
            ("name: unknown field", saying(r#"{"role":"user","name":"a","content":"x"}"#)),
            ("must have content", saying(r#"{"role":"assistant","content":""}"#)),
        ],
    );
}
