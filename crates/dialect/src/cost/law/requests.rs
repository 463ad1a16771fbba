//! Requests of every client's dialect, read and written for every provider's.

use super::{ClientRequest, Dialect, Limits, check, repeated, targets};

/// The expected result of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Read,
    /// The request has more elements than allowed.
    Refused,
}
use Fate::{Read, Refused};

/// Members of the body, by the number of elements that the case is about.
type Members = fn(usize) -> String;

/// Reads the body, and writes it for every target.
fn run(dialect: Dialect, body: &str, fate: Fate, case: &str) {
    match (ClientRequest::read(dialect, body.as_bytes(), &Limits::default()), fate) {
        (Ok(request), Read) => {
            for target in targets() {
                // A target may refuse it: only the work counts.
                let _ = request.encode(&target);
            }
            request.echo();
        }
        (Err(_), Refused) => {}
        (Ok(_), Refused) => panic!("{case}: read, but it has more than it may"),
        (Err(error), Read) => panic!("{case}: {error}"),
    }
}

fn law(dialect: Dialect, base: &str, cases: &[(&str, usize, Fate, Members)]) {
    for (name, size, fate, members) in cases {
        let case = format!("{dialect:?}: {name}");
        check(&case, *size, |size| {
            let body = format!("{{{base}{}}}", members(size));
            run(dialect, &body, *fate, &case);
        });
    }
}

const TEXT: &str = r#""messages":[{"role":"user","content":"a"}]"#;

#[test]
fn chat_requests_cost_what_their_size_says() {
    law(
        Dialect::Chat,
        r#""model":"m","#,
        &[
            ("messages", 400, Read, |n| {
                format!(r#""messages":[{}]"#, repeated(r#"{"role":"user","content":"a#"}"#, n))
            }),
            ("parts", 400, Read, |n| {
                let parts = repeated(r#"{"type":"text","text":"a#"}"#, n);
                format!(r#""messages":[{{"role":"user","content":[{parts}]}}]"#)
            }),
            ("calls and results", 300, Read, |n| {
                let call =
                    r##"{"id":"c#","type":"function","function":{"name":"f","arguments":"{\"a\":#}"}}"##;
                let calls = repeated(call, n);
                let results = repeated(r#"{"role":"tool","tool_call_id":"c#","content":"{\"b\":#}"}"#, n);
                format!(
                    r#""messages":[{{"role":"user","content":"a"}},{{"role":"assistant","tool_calls":[{calls}]}},{results}]"#
                )
            }),
            ("tools, all of them allowed", 120, Read, |n| {
                let tools = repeated(r#"{"type":"function","function":{"name":"f#"}}"#, n);
                format!(
                    r#"{TEXT},"tools":[{tools}],"tool_choice":{{"type":"allowed_tools","allowed_tools":{{"mode":"auto","tools":[{tools}]}}}}"#
                )
            }),
            ("one long text", 3000, Read, |n| {
                format!(r#""messages":[{{"role":"user","content":"{}"}}]"#, "\\u00e9".repeat(n))
            }),
            ("a wide schema", 400, Read, |n| {
                let properties = repeated(r##""p#":{"type":"integer","minimum":#}"##, n);
                let schema = format!(r#"{{"type":"object","properties":{{{properties}}}}}"#);
                format!(
                    r#"{TEXT},"tools":[{{"type":"function","function":{{"name":"f","strict":true,"parameters":{schema}}}}}],"response_format":{{"type":"json_schema","json_schema":{{"name":"n","strict":true,"schema":{schema}}}}}"#
                )
            }),
            ("stop sequences", 8, Read, |n| format!(r#"{TEXT},"stop":[{}]"#, repeated(r#""abcdefgh#""#, n))),
            ("members of logit_bias", 400, Read, |n| {
                format!(r#"{TEXT},"logit_bias":{{{}}}"#, repeated(r##""#":1"##, n))
            }),
            ("null members of the body", 2000, Refused, |n| {
                format!("{TEXT},{}", repeated(r##""k#":null"##, n))
            }),
            ("null members of extra", 2000, Refused, |n| {
                format!(r#"{TEXT},"extra":{{{}}}"#, repeated(r##""k#":null"##, n))
            }),
            ("flat tools with names that no provider takes", 120, Read, |n| {
                let tools = repeated(r#"{"type":"function","name":"f. #"}"#, n);
                let calls = repeated(
                    r##"{"id":"c#","type":"function","function":{"name":"f. #","arguments":"{}"}}"##,
                    n,
                );
                let results = repeated(r#"{"role":"tool","tool_call_id":"c#","content":"x"}"#, n);
                format!(
                    r#""messages":[{{"role":"user","content":"a"}},{{"role":"assistant","tool_calls":[{calls}]}},{results}],"tools":[{tools}]"#
                )
            }),
            ("signed thoughts between calls", 200, Read, |n| {
                let calls = repeated(
                    r##"{"id":"c#","type":"function","function":{"name":"f","arguments":"{}"}}"##,
                    n,
                );
                let thoughts =
                    repeated(r#"{"type":"thinking","thinking":"a","signature":"gw1.anthropic.bQ~#.x"}"#, n);
                format!(
                    r#""messages":[{{"role":"user","content":"a"}},{{"role":"assistant","thinking_blocks":[{thoughts}],"tool_calls":[{calls}]}}]"#
                )
            }),
        ],
    );
}

#[test]
fn messages_requests_cost_what_their_size_says() {
    law(
        Dialect::Messages,
        r#""model":"m","max_tokens":5,"#,
        &[
            ("messages", 400, Read, |n| {
                format!(r#""messages":[{}]"#, repeated(r#"{"role":"user","content":"a#"}"#, n))
            }),
            ("system turns", 400, Read, |n| {
                let turns = repeated(r#"{"role":"user","content":"a"},{"role":"system","content":"b#"}"#, n);
                format!(r#""messages":[{turns}]"#)
            }),
            ("blocks", 400, Read, |n| {
                let blocks = repeated(r#"{"type":"text","text":"a#"}"#, n);
                format!(r#""messages":[{{"role":"user","content":[{blocks}]}}]"#)
            }),
            ("calls and results", 300, Read, |n| {
                let calls = repeated(r##"{"type":"tool_use","id":"c#","name":"f","input":{"a":#}}"##, n);
                let results = repeated(r#"{"type":"tool_result","tool_use_id":"c#","content":"b#"}"#, n);
                format!(
                    r#""messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":[{calls}]}},{{"role":"user","content":[{results}]}}]"#
                )
            }),
            ("thoughts and results that carry other providers' marks", 300, Read, |n| {
                let thoughts = repeated(r#"{"type":"thinking","thinking":"t","signature":"kr1.x.#"}"#, n);
                format!(
                    r#""messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":[{thoughts}]}},{{"role":"user","content":"b"}}]"#
                )
            }),
            ("tools", 120, Read, |n| {
                let tools = repeated(r#"{"name":"f#","input_schema":{"type":"object"}}"#, n);
                format!(r#"{TEXT},"tools":[{tools}]"#)
            }),
            ("tools with unknown members", 120, Read, |n| {
                let tools = repeated(r#"{"name":"f#","input_schema":{"type":"object"},"odd#":1}"#, n);
                format!(r#"{TEXT},"tools":[{tools}]"#)
            }),
            ("a wide schema", 400, Read, |n| {
                let properties = repeated(r##""p#":{"type":"integer","minimum":#}"##, n);
                format!(
                    r#"{TEXT},"output_config":{{"format":{{"type":"json_schema","schema":{{"type":"object","properties":{{{properties}}}}}}}}}"#
                )
            }),
            ("members of metadata", 200, Refused, |n| {
                format!(r#"{TEXT},"metadata":{{{}}}"#, repeated(r##""k#":1"##, n))
            }),
            ("members of output_config", 200, Refused, |n| {
                format!(r#"{TEXT},"output_config":{{{}}}"#, repeated(r##""k#":1"##, n))
            }),
            ("members of thinking", 200, Refused, |n| {
                format!(r#"{TEXT},"thinking":{{"type":"enabled",{}}}"#, repeated(r##""k#":1"##, n))
            }),
            ("members of tool_choice", 200, Refused, |n| {
                format!(r#"{TEXT},"tool_choice":{{"type":"auto",{}}}"#, repeated(r##""k#":1"##, n))
            }),
            ("members of a block", 200, Refused, |n| {
                let members = repeated(r##""k#":1"##, n);
                format!(
                    r#""messages":[{{"role":"user","content":[{{"type":"text","text":"a",{members}}}]}}]"#
                )
            }),
            ("members of a source", 200, Refused, |n| {
                let members = repeated(r##""k#":1"##, n);
                format!(
                    r#""messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"url","url":"https://a",{members}}}}}]}}]"#
                )
            }),
            ("members of a tool", 200, Refused, |n| {
                format!(r#"{TEXT},"tools":[{{"name":"f",{}}}]"#, repeated(r##""k#":1"##, n))
            }),
            ("members of a message", 200, Refused, |n| {
                format!(r#""messages":[{{"role":"user","content":"a",{}}}]"#, repeated(r##""k#":1"##, n))
            }),
            ("null members of the body", 2000, Refused, |n| {
                format!("{TEXT},{}", repeated(r##""k#":null"##, n))
            }),
        ],
    );
}

#[test]
fn responses_requests_cost_what_their_size_says() {
    law(
        Dialect::Responses,
        r#""model":"m","#,
        &[
            ("items", 400, Read, |n| {
                format!(r#""input":[{}]"#, repeated(r#"{"role":"user","content":"a#"}"#, n))
            }),
            ("calls and results", 300, Read, |n| {
                let calls = repeated(
                    r#"{"type":"function_call","call_id":"c#","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c#","output":"b"}"#,
                    n,
                );
                format!(r#""input":[{{"role":"user","content":"a"}},{calls}]"#)
            }),
            ("tools, all of them allowed", 120, Read, |n| {
                let tools = repeated(r#"{"type":"function","name":"f#","parameters":{"type":"object"}}"#, n);
                let names = repeated(r#"{"type":"function","name":"f#"}"#, n);
                format!(
                    r#""input":"a","tools":[{tools}],"tool_choice":{{"type":"allowed_tools","mode":"auto","tools":[{names}]}}"#
                )
            }),
            ("null members of the body", 2000, Refused, |n| {
                format!(r#""input":"a",{}"#, repeated(r##""k#":null"##, n))
            }),
        ],
    );
}

#[test]
fn completions_requests_cost_what_their_size_says() {
    law(
        Dialect::Completions,
        r#""model":"m","#,
        &[
            ("one long prompt", 3000, Read, |n| format!(r#""prompt":"{}""#, "\\n".repeat(n))),
            ("null members of the body", 2000, Refused, |n| {
                format!(r#""prompt":"a",{}"#, repeated(r##""k#":null"##, n))
            }),
        ],
    );
}
