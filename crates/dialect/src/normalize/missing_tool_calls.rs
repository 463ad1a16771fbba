//! Restores missing tool calls: one client's runner, when it streams, sends a tool's result and omits the message in
//! which the model called the tool. No provider accepts that. Results stay results, because the output of a tool must
//! not have the authority of a user message: each result gets a call with its id. A lost name is replaced by a
//! placeholder.

use super::separate;
use crate::json::{ObjectWriter, Raw};
use std::{borrow::Cow, cell::LazyCell, collections::HashSet};

/// Placeholder for a name that cannot be determined.
const UNNAMED: &str = "unknown_tool";

/// The messages with a call for every result; `None` if every result has one.
pub fn with_calls(messages: &[Raw<'_>], tools: Option<Raw<'_>>) -> Option<Vec<u8>> {
    let mut called: HashSet<Cow<'_, str>> = HashSet::new();
    let mut out = b"[".to_vec();
    let mut is_mended = false;
    let mut rest = messages;
    // The tools may have many megabytes: they are read at most once.
    let only = LazyCell::new(|| only(tools));
    while let Some((message, after)) = rest.split_first() {
        rest = after;
        separate(&mut out);
        if !is_result(*message) {
            called.extend(ids_of_calls(*message));
            out.extend_from_slice(message.get().as_bytes());
            continue;
        }
        let lost = |result: Raw<'_>| id_of(result).is_some_and(|id| !called.contains(&id));
        if !lost(*message) {
            out.extend_from_slice(message.get().as_bytes());
            continue;
        }
        // Consecutive results answer calls of one message.
        let more = after.iter().take_while(|next| is_result(**next) && lost(**next)).count();
        let (others, after) = after.split_at_checked(more).unwrap_or((after, &[]));
        rest = after;
        let results = || std::iter::once(message).chain(others);
        let mut calls = Vec::new();
        for result in results() {
            let Some(id) = id_of(*result).filter(|id| called.insert(id.clone())) else { continue };
            let name = result.member("name").and_then(Raw::text).or_else(|| (*only).clone());
            calls.push(call(&id, name.as_deref()));
        }
        is_mended = true;
        let mut asked = ObjectWriter::new();
        asked.text("role", "assistant");
        asked.raw("tool_calls", &format!("[{}]", calls.join(",")));
        out.extend(asked.end());
        for result in results() {
            out.push(b',');
            out.extend_from_slice(result.get().as_bytes());
        }
    }
    out.push(b']');
    is_mended.then_some(out)
}

fn id_of(result: Raw<'_>) -> Option<Cow<'_, str>> {
    result.member("tool_call_id")?.text().filter(|id| !id.is_empty())
}

fn is_result(message: Raw<'_>) -> bool {
    message.member("role").is_some_and(|role| role.text().as_deref() == Some("tool"))
}

fn ids_of_calls(message: Raw<'_>) -> Vec<Cow<'_, str>> {
    let calls = message.member("tool_calls").map(Raw::elements).unwrap_or_default();
    calls.into_iter().filter_map(|call| call.member("id")?.text()).collect()
}

/// The name of the tool, if there is only one.
fn only(tools: Option<Raw<'_>>) -> Option<Cow<'_, str>> {
    match tools?.elements().as_slice() {
        [tool] => tool.member("function")?.member("name")?.text(),
        _ => None,
    }
}

fn call(id: &str, name: Option<&str>) -> String {
    let mut function = ObjectWriter::new();
    function.text("name", name.filter(|name| !name.is_empty()).unwrap_or(UNNAMED));
    function.text("arguments", "{}");
    let mut call = ObjectWriter::new();
    call.text("id", id);
    call.text("type", "function");
    call.key("function").extend(function.end());
    String::from_utf8(call.end()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn mended(messages: &str, tools: &str) -> Option<String> {
        let body = format!(r#"{{"messages":{messages},"tools":{tools}}}"#);
        let members = json::read_object(body.as_bytes(), 16, 16).unwrap();
        let value = |name: &str| members.iter().find(|member| member.key == name).unwrap().value;
        with_calls(&value("messages").elements(), Some(value("tools"))).map(|out| {
            serde_json::from_slice::<serde_json::Value>(&out).unwrap();
            String::from_utf8(out).unwrap()
        })
    }

    fn asked(calls: &[(&str, &str)]) -> String {
        let calls: Vec<String> = calls
            .iter()
            .map(|(id, name)| {
                format!(
                    r#"{{"id":"{id}","type":"function","function":{{"name":"{name}","arguments":"{{}}"}}}}"#
                )
            })
            .collect();
        format!(r#"{{"role":"assistant","tool_calls":[{}]}}"#, calls.join(","))
    }

    const USER: &str = r#"{"role":"user","content":"a"}"#;

    fn result(id: &str) -> String {
        format!(r#"{{"role" : "tool","tool_call_id":"{id}","content":"\u00e9"}}"#)
    }

    #[test]
    fn a_result_without_its_call_gets_one_and_keeps_its_bytes() {
        let one = r#"[{"type":"function","function":{"name":"add"}}]"#;
        let (first, second, third) = (result("a"), result("b"), result("c"));
        for (messages, tools, expected) in [
            (format!("[{USER}, {first}]"), one, format!("[{USER},{},{first}]", asked(&[("a", "add")]))),
            (
                format!("[{USER},{first} ,{second},{USER},{third}]"),
                "null",
                format!(
                    "[{USER},{},{first},{second},{USER},{},{third}]",
                    asked(&[("a", UNNAMED), ("b", UNNAMED)]),
                    asked(&[("c", UNNAMED)])
                ),
            ),
            (
                format!("[{},{first},{second}]", asked(&[("a", "x")])),
                one,
                format!("[{},{first},{},{second}]", asked(&[("a", "x")]), asked(&[("b", "add")])),
            ),
            (
                r#"[{"role":"tool","tool_call_id":"a","name":"look","content":""}]"#.into(),
                one,
                format!(
                    r#"[{},{{"role":"tool","tool_call_id":"a","name":"look","content":""}}]"#,
                    asked(&[("a", "look")])
                ),
            ),
        ] {
            assert_eq!(mended(&messages, tools), Some(expected), "{messages}");
        }
    }

    #[test]
    fn what_has_its_calls_or_cannot_have_any_stays_as_it_is() {
        let call = asked(&[("a", "x"), ("b", "y")]);
        for messages in [
            "[]".to_owned(),
            format!("[{USER},{call},{},{}]", result("b"), result("a")),
            format!("[{call},{},{USER},{}]", result("a"), result("a")),
            r#"[{"role":"tool","content":"x"},{"role":"tool","tool_call_id":7},{"role":"tool","tool_call_id":""}]"#
                .to_owned(),
            r#"[1,null,"tool",[{"role":"tool","tool_call_id":"a"}]]"#.to_owned(),
        ] {
            assert_eq!(mended(&messages, "[]"), None, "{messages}");
        }
    }

    #[test]
    fn many_results_and_a_megabyte_of_tools_are_looked_at_once() {
        let results: Vec<String> = (0..5_000).map(|number| result(&number.to_string())).collect();
        let tools = format!("[{}0]", "0,".repeat(500_000));
        let begun = std::time::Instant::now();
        assert!(mended(&format!("[{}]", results.join(",")), &tools).is_some());
        // Reading them once takes milliseconds; once for each result would take minutes.
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
}
