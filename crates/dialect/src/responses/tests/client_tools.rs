//! Tools that the client runs itself, in wire formats that have only functions: sent as functions, returned as items of
//! their kind.

use super::*;
use crate::{AnswerReader, ClientRequest, ClientWriter, Encoded, canonical::ToolKind};
use serde_json::{Value, json};

/// A kind of tool: its form in a request, a call and its result in the history, the target's function, the arguments
/// that its model writes, and the client's item.
struct Case {
    tool: Value,
    call: Value,
    result: Value,
    function: &'static str,
    arguments: Value,
    item: Value,
}

fn cases() -> Vec<Case> {
    let patch = "*** Begin Patch\n*** Add File: a \"b\".txt\n+\u{e9}\n*** End Patch";
    let grammar = json!({ "type": "grammar", "syntax": "lark", "definition": "start: \"x\"" });
    vec![
        Case {
            tool: json!({ "type": "custom", "name": "apply_patch", "description": "Edits.", "format": grammar }),
            call: json!({ "type": "custom_tool_call", "id": "ctc_1", "call_id": "c1", "name": "apply_patch", "input": patch }),
            result: json!({ "type": "custom_tool_call_output", "call_id": "c1", "output": "done 1" }),
            function: "apply_patch",
            arguments: json!({ "input": patch }),
            item: json!({ "type": "custom_tool_call", "name": "apply_patch", "input": patch }),
        },
        Case {
            tool: json!({ "type": "namespace", "name": "functions", "tools": [{ "type": "custom", "name": "exec" }] }),
            call: json!({ "type": "custom_tool_call", "call_id": "c1", "namespace": "functions", "name": "exec", "input": "1+1" }),
            result: json!({ "type": "custom_tool_call_output", "call_id": "c1", "output": [{ "type": "input_text", "text": "done 1" }] }),
            function: "functions__exec",
            arguments: json!({ "input": "1+1" }),
            item: json!({ "type": "custom_tool_call", "namespace": "functions", "name": "exec", "input": "1+1" }),
        },
        Case {
            tool: json!({ "type": "local_shell" }),
            call: json!({ "type": "local_shell_call", "id": "lsh_1", "call_id": "c1", "status": "completed",
                "action": { "type": "exec", "command": ["ls", "-l"], "env": {}, "user": null } }),
            result: json!({ "type": "local_shell_call_output", "id": "c1", "output": "done 1" }),
            function: "local_shell",
            arguments: json!({ "command": ["ls", "-l"], "env": {} }),
            item: json!({ "type": "local_shell_call", "action": { "type": "exec", "command": ["ls", "-l"], "env": {} } }),
        },
        Case {
            tool: json!({ "type": "shell", "environment": { "type": "local" } }),
            call: json!({ "type": "shell_call", "call_id": "c1", "action": { "commands": ["ls"], "timeout_ms": 5 } }),
            result: json!({ "type": "shell_call_output", "call_id": "c1",
                "output": [{ "stdout": "done 1", "stderr": "", "outcome": { "type": "exit", "exit_code": 0 } }] }),
            function: "shell",
            arguments: json!({ "commands": ["ls"], "timeout_ms": 5 }),
            item: json!({ "type": "shell_call", "action": { "commands": ["ls"], "timeout_ms": 5, "max_output_length": null } }),
        },
        Case {
            tool: json!({ "type": "apply_patch" }),
            call: json!({ "type": "apply_patch_call", "call_id": "c1",
                "operation": { "type": "delete_file", "path": "a" } }),
            result: json!({ "type": "apply_patch_call_output", "call_id": "c1", "status": "failed", "output": "done 1" }),
            function: "apply_patch",
            arguments: json!({ "type": "delete_file", "path": "a" }),
            item: json!({ "type": "apply_patch_call", "operation": { "type": "delete_file", "path": "a" } }),
        },
        Case {
            tool: json!({ "type": "tool_search", "execution": "client", "description": "Finds.",
                "parameters": { "type": "object", "properties": { "query": { "type": "string" } } } }),
            call: json!({ "type": "tool_search_call", "call_id": "c1", "execution": "client", "arguments": { "query": "tides" } }),
            result: json!({ "type": "tool_search_output", "call_id": "c1", "execution": "client", "status": "completed",
                "tools": [{ "type": "namespace", "name": "done 1", "tools": [{ "type": "function", "name": "get_tide" }] }] }),
            function: "tool_search",
            arguments: json!({ "query": "tides" }),
            item: json!({ "type": "tool_search_call", "execution": "client", "arguments": { "query": "tides" } }),
        },
    ]
}

const TARGETS: [(&str, &str); 4] = [
    ("anthropic", "claude-sonnet-4-6"),
    ("google", "gemini-3.8-flash"),
    ("cohere", "command-a-03-2025"),
    ("groq", "openai/gpt-oss-120b"),
];

fn target_of(provider: &str, model: &'static str) -> Target<'static> {
    let provider = ProviderId::by_id(provider).unwrap();
    Target { dialect: provider.row().dialect, ..target(provider.row().id, model) }
}

fn sent(body: &Value, target: &Target<'_>) -> (Encoded, Value) {
    let body = body.to_string();
    let request = ClientRequest::read(Dialect::Responses, body.as_bytes(), &Limits::default()).unwrap();
    let encoded = request.encode(target).unwrap();
    let json = serde_json::from_slice(&encoded.body).unwrap();
    (encoded, json)
}

/// The answer of a target that calls a function.
fn calling(dialect: Dialect, name: &str, arguments: &Value) -> String {
    let text = arguments.to_string();
    match dialect {
        Dialect::Messages => json!({ "id": "m", "type": "message", "model": "m", "role": "assistant",
            "content": [{ "type": "tool_use", "id": "c2", "name": name, "input": arguments }],
            "stop_reason": "tool_use", "usage": { "input_tokens": 1, "output_tokens": 1 } }),
        Dialect::Gemini => json!({ "candidates": [{ "finishReason": "STOP",
            "content": { "parts": [{ "functionCall": { "id": "c2", "name": name, "args": arguments } }] } }] }),
        Dialect::Cohere => json!({ "finish_reason": "TOOL_CALL", "message": { "role": "assistant",
            "tool_calls": [{ "id": "c2", "type": "function", "function": { "name": name, "arguments": text } }] } }),
        _ => json!({ "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": {
            "tool_calls": [{ "id": "c2", "type": "function", "function": { "name": name, "arguments": text } }] } }] }),
    }
    .to_string()
}

/// The names of all functions in a request of any wire format.
fn functions(body: &Value) -> Vec<String> {
    let tools = body["tools"].as_array().unwrap();
    let declared = tools.iter().flat_map(|tool| match tool["functionDeclarations"].as_array() {
        Some(declared) => declared.clone(),
        None => vec![tool.clone()],
    });
    let name = |tool: Value| tool["name"].as_str().or(tool["function"]["name"].as_str()).unwrap().to_owned();
    declared.map(name).collect()
}

/// The item of the answer, whole and as the stream's last event and its own event have it.
fn items(encoded: Encoded, dialect: Dialect, answer: &str) -> [Value; 3] {
    let mut reader = AnswerReader::new(dialect, encoded.reading);
    let (mut whole, mut events) = (Answer::default(), Vec::new());
    reader
        .body(answer.as_bytes(), &mut |event| {
            events.push(event.clone().into_owned());
            whole.absorb(event);
        })
        .unwrap();
    let rewritten = write_answer(&whole, &writer_context(), "null", &Usage::default());
    let rewritten: Value = serde_json::from_slice(&rewritten).unwrap();
    let mut writer = ClientWriter::new(Dialect::Responses, writer_context()).unwrap();
    let mut out = Vec::new();
    events.iter().for_each(|event| writer.event(event, &mut out));
    writer.conclude("null", &Usage::default(), &mut out);
    let stream = String::from_utf8(out).unwrap();
    let event = |name: &str| -> Value {
        let found = stream.split("\n\n").filter(|frame| frame.contains(&format!("event: {name}\n"))).last();
        let data = found.unwrap_or_else(|| panic!("no {name}: {stream}")).split_once("data: ").unwrap().1;
        serde_json::from_str(data).unwrap()
    };
    let done = event("response.output_item.done");
    if done["item"]["type"] == "custom_tool_call" {
        assert_eq!(event("response.custom_tool_call_input.delta")["delta"], done["item"]["input"]);
        assert_eq!(event("response.custom_tool_call_input.done")["input"], done["item"]["input"]);
    }
    assert_eq!(event("response.output_item.added")["item"]["type"], done["item"]["type"]);
    assert!(!stream.contains("function_call"), "{stream}");
    let last = event("response.completed")["response"]["output"].clone();
    let only = |list: &Value| list.as_array().unwrap().last().unwrap().clone();
    [only(&rewritten["output"]), only(&last), done["item"].clone()]
}

#[test]
fn each_kind_is_a_function_elsewhere_and_comes_back_as_its_own_kind_of_item() {
    for case in cases() {
        let body = json!({ "model": "m", "tools": [case.tool], "input": [
            { "role": "user", "content": "x" }, case.call, case.result,
        ] });
        for (provider, model) in TARGETS {
            let target = target_of(provider, model);
            let (encoded, json) = sent(&body, &target);
            let listed = functions(&json);
            assert_eq!(listed[0], case.function, "{provider}: {json}");
            let text = json.to_string();
            assert!(text.contains("done 1"), "the result goes along: {text}");
            assert!(text.contains("c1") || provider == "google", "{provider}: {text}");
            let quoted = format!("\"{}\"", case.function);
            assert!(text.matches(&quoted).count() >= 2, "in the tools and in the history: {text}");
            for item in
                items(encoded, target.dialect, &calling(target.dialect, case.function, &case.arguments))
            {
                assert_eq!(
                    (&item["call_id"], &item["status"]),
                    (&json!("c2"), &json!("completed")),
                    "{item}"
                );
                for (key, value) in case.item.as_object().unwrap() {
                    assert_eq!(&item[key], value, "{provider}: {item}");
                }
                assert!(item["id"].as_str().unwrap().contains("_gw1_"), "{item}");
            }
        }
    }
}

#[test]
fn what_a_model_calls_in_another_form_is_still_a_call_of_the_tool() {
    let target = target_of("anthropic", "claude-sonnet-4-6");
    for (tool, function, arguments, member, expected) in [
        (json!({ "type": "custom", "name": "p" }), "p", json!({ "patch": "x" }), "input", json!("x")),
        (json!({ "type": "custom", "name": "p" }), "p", json!({ "a": 1 }), "input", json!("{\"a\":1}")),
        (
            json!({ "type": "local_shell" }),
            "local_shell",
            json!({ "command": "ls | wc" }),
            "action",
            json!({ "type": "exec", "command": ["bash", "-lc", "ls | wc"], "env": {} }),
        ),
        (
            json!({ "type": "shell", "environment": { "type": "local" } }),
            "shell",
            json!({ "commands": "ls" }),
            "action",
            json!({ "commands": ["ls"], "timeout_ms": null, "max_output_length": null }),
        ),
    ] {
        let (encoded, _) = sent(&json!({ "model": "m", "tools": [tool], "input": "x" }), &target);
        for item in items(encoded, Dialect::Messages, &calling(Dialect::Messages, function, &arguments)) {
            assert_eq!(item[member], expected, "{item}");
        }
    }
}

#[test]
fn a_function_and_a_free_form_tool_of_one_name_stay_apart() {
    let tools = json!([{ "type": "function", "name": "p" }, { "type": "custom", "name": "p" }]);
    let (encoded, body) = sent(
        &json!({ "model": "m", "tools": tools, "input": "x" }),
        &target_of("anthropic", "claude-sonnet-4-6"),
    );
    let names = functions(&body);
    assert!(names[0] == "p" && names[1].starts_with('p') && names[1] != "p", "{names:?}");
    let answer = calling(Dialect::Messages, &names[1], &json!({ "input": "y" }));
    for item in items(encoded, Dialect::Messages, &answer) {
        assert_eq!((&item["name"], &item["input"]), (&json!("p"), &json!("y")));
    }
}

#[test]
fn a_choice_of_such_a_tool_is_a_choice_of_its_function() {
    let tools = json!([{ "type": "custom", "name": "p" }, { "type": "local_shell" }, { "type": "function", "name": "f" }]);
    let allowed = json!({ "type": "allowed_tools", "mode": "required",
        "tools": [{ "type": "local_shell" }, { "type": "custom", "name": "p" }] });
    for (choice, expected) in [
        (json!({ "type": "custom", "name": "p" }), vec!["p"]),
        (json!({ "type": "local_shell" }), vec!["local_shell"]),
        (allowed, vec!["local_shell", "p"]),
    ] {
        let body = json!({ "model": "m", "tools": tools, "tool_choice": choice, "input": "x" });
        let (_, json) = sent(&body, &target_of("google", "gemini-3.8-flash"));
        let config = &json["toolConfig"]["functionCallingConfig"];
        assert_eq!(
            (&config["mode"], &config["allowedFunctionNames"]),
            (&json!("ANY"), &json!(expected)),
            "{json}"
        );
    }
}

#[test]
fn tools_that_were_found_can_be_called_and_are_listed_once() {
    let found = json!([{ "type": "function", "name": "f" }, { "type": "function", "name": "late", "defer_loading": true }]);
    let body = json!({ "model": "m", "tools": [{ "type": "function", "name": "f" }, { "type": "tool_search", "execution": "client" }],
        "input": [{ "role": "user", "content": "x" },
            { "type": "additional_tools", "role": "developer", "tools": [{ "type": "function", "name": "f" }] },
            { "type": "tool_search_call", "call_id": "c1", "execution": "client", "arguments": {} },
            { "type": "tool_search_output", "call_id": "c1", "execution": "client", "tools": found }] });
    let (_, json) = sent(&body, &target_of("anthropic", "claude-sonnet-4-6"));
    assert_eq!(functions(&json), ["f", "tool_search", "late"]);
    assert!(json.to_string().contains("can be called from now on: f, late."), "{json}");
}

#[test]
fn what_the_provider_runs_is_no_function() {
    for (tool, item) in [
        (
            json!({ "type": "tool_search" }),
            json!({ "type": "tool_search_call", "execution": "server", "call_id": null, "arguments": {} }),
        ),
        (
            json!({ "type": "shell", "environment": { "type": "container_auto" } }),
            json!({ "type": "image_generation_call", "id": "ig_1" }),
        ),
    ] {
        let listed = json!({ "model": "m", "tools": [tool], "input": "x" }).to_string();
        let request = request(&listed);
        assert!(matches!(request.canonical().unwrap().tools[0].kind, ToolKind::Native { .. }));
        let history = json!({ "model": "m", "input": [item] }).to_string();
        let request = self::request(&history);
        assert!(request.canonical().is_err());
    }
}

#[test]
fn what_was_searched_for_before_is_left_out_and_named_elsewhere() {
    let search = json!({ "type": "web_search_call", "id": "ws_1", "status": "completed",
        "action": { "type": "search", "query": "tides" } });
    let said = json!({ "type": "message", "role": "assistant",
        "content": [{ "type": "output_text", "text": "High." }] });
    let body = json!({ "model": "m", "input": [search, said, { "role": "user", "content": "And now?" }] });
    let (encoded, json) = sent(&body, &target_of("anthropic", "claude-sonnet-4-6"));
    assert_eq!(encoded.dropped, ["input[].web_search_call"]);
    assert!(!json.to_string().contains("tides") && json.to_string().contains("High."), "{json}");
    let (_, json) = sent(&body, &target("openai", "gpt-5.4"));
    assert_eq!(json["input"][0], search);
}

#[test]
fn a_provider_that_speaks_responses_gets_everything_as_it_came_but_our_ids() {
    for case in cases() {
        let mut call = case.call.clone();
        call["id"] = json!("ctc_gw1_s_0");
        let body = json!({ "model": "m", "tools": [case.tool], "input": [call, case.result] });
        let (_, json) = sent(&body, &target("openai", "gpt-5.4"));
        let mut kept = case.call.clone();
        kept.as_object_mut().unwrap().remove("id");
        assert_eq!(
            (&json["tools"][0], &json["input"][0], &json["input"][1]),
            (&case.tool, &kept, &case.result)
        );
        // A provider that supports only functions, and whose answers pass unchanged.
        let text = body.to_string();
        let refused = request(&text).encode(&target("perplexity", "perplexity/sonar")).unwrap_err();
        assert_eq!(refused.field, "tools");
    }
}

#[test]
fn a_search_of_the_web_crosses_dialects_as_far_as_it_can_be_said_there() {
    let plain = json!({ "type": "web_search", "search_context_size": "low" });
    let sites = json!({ "type": "web_search", "filters": { "allowed_domains": ["a.test"] } });
    let body = |tool: &Value| json!({ "model": "m", "tools": [tool, { "type": "function", "name": "f" }], "input": "x" });
    let (encoded, json) = sent(&body(&plain), &target_of("anthropic", "claude-sonnet-4-6"));
    assert_eq!(json["tools"][0], json!({ "type": "web_search_20250305", "name": "web_search" }));
    assert!(
        encoded.dropped.iter().any(|name| name == "tools[].search_context_size"),
        "{:?}",
        encoded.dropped
    );
    let (_, json) = sent(&body(&sites), &target_of("anthropic", "claude-sonnet-4-6"));
    assert_eq!(json["tools"][0]["allowed_domains"], json!(["a.test"]));
    let alone = json!({ "model": "m", "tools": [plain], "input": "x" });
    let (_, json) = sent(&alone, &target_of("google", "gemini-3.8-flash"));
    assert_eq!(json["tools"], json!([{ "googleSearch": {} }]));
    for (tool, provider, model) in [
        (&sites, "google", "gemini-3.8-flash"),
        // Beside functions.
        (&plain, "google", "gemini-3.8-flash"),
        (&plain, "cohere", "command-a-03-2025"),
        (&plain, "groq", "openai/gpt-oss-120b"),
    ] {
        let text = body(tool).to_string();
        let request = ClientRequest::read(Dialect::Responses, text.as_bytes(), &Limits::default()).unwrap();
        let refused = request.encode(&target_of(provider, model)).unwrap_err();
        assert!(refused.field.starts_with("tools"), "{provider} {tool}: {refused}");
    }
    // A refused tool is reported with its place and its type, also inside a namespace.
    for (tools, place) in [
        (json!([{ "type": "function", "name": "f" }, { "type": "code_interpreter" }]), "tools[1]"),
        (
            json!([{ "type": "namespace", "name": "n", "tools": [
                { "type": "function", "name": "f" }, { "type": "code_interpreter" }] }]),
            "tools[0].tools[1]",
        ),
    ] {
        let text = json!({ "model": "m", "tools": tools, "input": "x" }).to_string();
        let request = ClientRequest::read(Dialect::Responses, text.as_bytes(), &Limits::default()).unwrap();
        for (provider, model) in [
            ("anthropic", "claude-sonnet-4-6"),
            ("google", "gemini-3.8-flash"),
            ("cohere", "command-a-03-2025"),
            ("mistral", "mistral-large-4"),
        ] {
            let refused = request.encode(&target_of(provider, model)).unwrap_err();
            assert_eq!(refused.field, place, "{provider}");
            let message = refused.to_string();
            assert!(message.starts_with(&format!("`{place}` (type `code_interpreter`) ")), "{message}");
        }
    }
    // From Anthropic's client to a provider of Responses, and to its own.
    let place = json!({ "type": "approximate", "city": "Brest" });
    let messages = json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "x" }],
        "tools": [{ "type": "web_search_20250305", "name": "web_search", "max_uses": 3,
            "allowed_domains": ["a.test"], "user_location": place, "allowed_callers": ["direct"] }] })
    .to_string();
    let request = ClientRequest::read(Dialect::Messages, messages.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(request.head().facts.searches_max, Some(3));
    assert!(request.head().fees.are_searches());
    let written = request.encode(&target("openai", "gpt-5.4")).unwrap();
    assert_eq!(written.dropped, ["tools[].allowed_callers"]);
    let written: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!(
        (&written["tools"][0], &written["max_tool_calls"]),
        (
            &json!({ "type": "web_search", "filters": { "allowed_domains": ["a.test"] },
                     "user_location": place }),
            &json!(3)
        )
    );
    let kept = request.encode(&target_of("anthropic", "claude-sonnet-4-6")).unwrap();
    assert!(String::from_utf8(kept.body).unwrap().contains(r#""max_uses":3"#));
}

#[test]
fn no_member_of_a_search_is_lost_without_its_name() {
    let tool = json!({ "type": "web_search", "external_web_access": false, "filters": { "odd": 1 },
        "user_location": { "type": "approximate", "country": "FR" }, "search_content_types": ["text"] });
    let body = json!({ "model": "m", "tools": [tool], "input": "x" });
    let lost = ["tools[].external_web_access", "tools[].search_content_types", "tools[].filters.odd"];
    let (encoded, json) = sent(&body, &target_of("anthropic", "claude-sonnet-4-6"));
    assert_eq!(json["tools"][0]["user_location"]["country"], "FR");
    assert_eq!(encoded.dropped, lost);
    let (encoded, _) = sent(&body, &target_of("google", "gemini-3.8-flash"));
    let mut with_place = vec!["tools[].user_location"];
    with_place.extend(lost);
    let mut dropped = encoded.dropped.clone();
    dropped.sort();
    with_place.sort_unstable();
    assert_eq!(dropped, with_place);
    for sites in ["blocked_domains", "excluded_domains"] {
        let tool = json!({ "type": "web_search", "filters": { sites: ["a.test"] } });
        let text = json!({ "model": "m", "tools": [tool], "input": "x" }).to_string();
        let request = ClientRequest::read(Dialect::Responses, text.as_bytes(), &Limits::default()).unwrap();
        for (provider, model) in [("anthropic", "claude-sonnet-4-6"), ("google", "gemini-3.8-flash")] {
            let refused = request.encode(&target_of(provider, model)).unwrap_err();
            assert_eq!(refused.field, "tools", "{provider} {sites}");
        }
    }
}
