//! Every documented field of every dialect: a field that affects the answer changes the digest, other fields do not;
//! and one conversation has one digest in all dialects.

use super::answer_key;
use crate::{ClientRequest, Dialect, Limits};
use serde_json::{Value, json};

fn key_with(dialect: Dialect, body: &Value, beta: Option<&str>) -> Option<[u8; 32]> {
    let body = body.to_string();
    let request = ClientRequest::read(dialect, body.as_bytes(), &Limits::default());
    answer_key(&request.unwrap_or_else(|invalid| panic!("{invalid}: {body}")), beta)
}

fn key(dialect: Dialect, body: &Value) -> [u8; 32] {
    key_with(dialect, body, None).unwrap_or_else(|| panic!("no key: {body}"))
}

fn tool(description: &str) -> Value {
    json!([{ "type": "function", "function": { "name": "look", "description": description,
             "parameters": { "type": "object", "properties": { "a": { "type": "string" } } } } }])
}

fn base(dialect: Dialect) -> Value {
    let messages = json!([{ "role": "user", "content": "Hello" }]);
    match dialect {
        Dialect::Messages => json!({ "model": "m", "max_tokens": 100, "messages": messages }),
        Dialect::Responses => json!({ "model": "m", "max_output_tokens": 100, "input": "Hello" }),
        Dialect::Completions => json!({ "model": "m", "max_tokens": 100, "prompt": "Hello" }),
        _ => json!({ "model": "m", "max_tokens": 100, "messages": messages }),
    }
}

fn with(dialect: Dialect, name: &str, value: &Value) -> Value {
    let mut body = base(dialect);
    body[name] = value.clone();
    body
}

/// The fields that affect an answer, with two values each that request different answers.
fn shaping(dialect: Dialect) -> Vec<(&'static str, Value, Value)> {
    let schema = |name: &str| {
        json!({ "type": "json_schema", "json_schema": { "name": "s", "schema": {
            "type": "object", "properties": { name: { "type": "string" } } } } })
    };
    let text = |name: &str| {
        json!({ "format": { "type": "json_schema", "name": "s", "schema": {
            "type": "object", "properties": { name: { "type": "string" } } } } })
    };
    let flat = |text: &str| json!([{ "type": "function", "name": "look", "description": text, "parameters": { "type": "object" } }]);
    let anthropic =
        |text: &str| json!([{ "name": "look", "description": text, "input_schema": { "type": "object" } }]);
    let mut fields = vec![("temperature", json!(0.1), json!(0.2)), ("top_p", json!(0.1), json!(0.2))];
    fields.extend(match dialect {
        Dialect::Messages => vec![
            (
                "messages",
                json!([{ "role": "user", "content": "a" }]),
                json!([{ "role": "user", "content": "b" }]),
            ),
            ("max_tokens", json!(1), json!(2)),
            ("system", json!("a"), json!("b")),
            ("top_k", json!(1), json!(2)),
            ("stop_sequences", json!(["a"]), json!(["b"])),
            ("tools", anthropic("a"), anthropic("b")),
            ("thinking", json!({ "type": "enabled", "budget_tokens": 2000 }), json!({ "type": "disabled" })),
            ("output_config", json!({ "effort": "low" }), json!({ "effort": "high" })),
            ("service_tier", json!("standard_only"), json!("auto")),
            (
                "context_management",
                json!({ "edits": [{ "type": "a" }] }),
                json!({ "edits": [{ "type": "b" }] }),
            ),
            ("a_field_of_tomorrow", json!(1), json!(2)),
        ],
        Dialect::Responses => vec![
            ("input", json!("a"), json!("b")),
            ("max_output_tokens", json!(16), json!(32)),
            ("instructions", json!("a"), json!("b")),
            ("tools", flat("a"), flat("b")),
            ("text", text("a"), text("b")),
            ("text", json!({ "verbosity": "low" }), json!({ "verbosity": "high" })),
            ("reasoning", json!({ "effort": "low" }), json!({ "effort": "high" })),
            ("top_logprobs", json!(1), json!(2)),
            ("truncation", json!("auto"), json!("disabled")),
            ("service_tier", json!("flex"), json!("priority")),
            ("max_tool_calls", json!(1), json!(2)),
            ("a_field_of_tomorrow", json!(1), json!(2)),
        ],
        Dialect::Completions => vec![
            ("prompt", json!("a"), json!("b")),
            ("max_tokens", json!(1), json!(2)),
            ("n", json!(1), json!(2)),
            ("stop", json!("a"), json!("b")),
            ("seed", json!(1), json!(2)),
            ("frequency_penalty", json!(0.1), json!(0.2)),
            ("presence_penalty", json!(0.1), json!(0.2)),
            ("logit_bias", json!({ "1": 1 }), json!({ "1": 2 })),
        ],
        _ => vec![
            (
                "messages",
                json!([{ "role": "user", "content": "a" }]),
                json!([{ "role": "user", "content": "b" }]),
            ),
            ("max_tokens", json!(1), json!(2)),
            ("max_completion_tokens", json!(1), json!(2)),
            ("tools", tool("a"), tool("b")),
            ("response_format", schema("a"), schema("b")),
            ("response_format", json!({ "type": "json_object" }), json!({ "type": "text" })),
            ("n", json!(1), json!(2)),
            ("stop", json!("a"), json!(["a", "b"])),
            ("seed", json!(9_007_199_254_740_992_u64), json!(9_007_199_254_740_993_u64)),
            ("frequency_penalty", json!(0.1), json!(0.2)),
            ("presence_penalty", json!(0.1), json!(0.2)),
            ("logit_bias", json!({ "1": 1 }), json!({ "1": 2 })),
            ("logprobs", json!(true), json!(false)),
            ("top_logprobs", json!(1), json!(2)),
            ("reasoning_effort", json!("low"), json!("high")),
            ("reasoning_effort", json!("a_word"), json!("another")),
            ("verbosity", json!("low"), json!("high")),
            ("service_tier", json!("flex"), json!("priority")),
            ("thinking", json!({ "type": "enabled" }), json!({ "type": "disabled" })),
            ("a_field_of_tomorrow", json!(1), json!(2)),
        ],
    });
    fields
}

/// The fields that do not affect an answer.
fn shapeless(dialect: Dialect) -> Vec<(&'static str, Value)> {
    let mut fields = vec![("model", json!("other")), ("stream", json!(true))];
    fields.extend(match dialect {
        Dialect::Messages => {
            vec![("metadata", json!({ "user_id": "u" })), ("cache_control", json!({ "type": "ephemeral" }))]
        }
        Dialect::Completions => {
            vec![("user", json!("u")), ("stream_options", json!({ "include_usage": true }))]
        }
        Dialect::Responses => vec![
            ("user", json!("u")),
            ("safety_identifier", json!("u")),
            ("metadata", json!({ "a": "b" })),
            ("store", json!(false)),
            ("prompt_cache_key", json!("k")),
            ("prompt_cache_retention", json!("24h")),
            ("stream_options", json!({ "include_obfuscation": false })),
            ("service_tier", json!("auto")),
            ("truncation", json!("disabled")),
        ],
        _ => vec![
            ("user", json!("u")),
            ("safety_identifier", json!("u")),
            ("metadata", json!({ "a": "b" })),
            ("store", json!(false)),
            ("prompt_cache_key", json!("k")),
            ("prompt_cache_retention", json!("24h")),
            ("service_tier", json!("auto")),
            ("n", json!(1)),
            ("response_format", json!({ "type": "text" })),
            ("provider", json!({ "sort": "price" })),
            ("zdr", json!(true)),
        ],
    });
    fields
}

const DIALECTS: [Dialect; 4] = [Dialect::Chat, Dialect::Messages, Dialect::Responses, Dialect::Completions];

#[test]
fn every_field_that_shapes_the_answer_changes_the_digest() {
    for dialect in DIALECTS {
        let plain = key(dialect, &base(dialect));
        for (name, one, other) in shaping(dialect) {
            let (a, b) =
                (key(dialect, &with(dialect, name, &one)), key(dialect, &with(dialect, name, &other)));
            assert_ne!(a, b, "{dialect:?} {name}: {one} and {other}");
            // The value is the default.
            let is_default = |value: &Value| {
                let default = match name {
                    "service_tier" => json!("auto"),
                    "truncation" => json!("disabled"),
                    "logprobs" => json!(false),
                    "n" => json!(1),
                    "response_format" => json!({ "type": "text" }),
                    _ => return false,
                };
                *value == default
            };
            for (value, key) in [(one, a), (other, b)] {
                assert_eq!(key == plain, is_default(&value), "{dialect:?} {name}: {value}");
            }
        }
    }
}

#[test]
fn a_field_that_shapes_nothing_leaves_the_digest() {
    for dialect in DIALECTS {
        let plain = key(dialect, &base(dialect));
        for (name, value) in shapeless(dialect) {
            assert_eq!(key(dialect, &with(dialect, name, &value)), plain, "{dialect:?} {name}: {value}");
        }
    }
}

#[test]
fn the_choice_of_a_tool_and_parallel_calls_count_where_there_are_tools() {
    let chat = |choice: Value| {
        let mut body = with(Dialect::Chat, "tools", &tool("a"));
        body["tool_choice"] = choice;
        key(Dialect::Chat, &body)
    };
    let auto = key(Dialect::Chat, &with(Dialect::Chat, "tools", &tool("a")));
    assert_eq!(chat(json!("auto")), auto);
    let other = [
        chat(json!("none")),
        chat(json!("required")),
        chat(json!({ "type": "function", "function": { "name": "look" } })),
    ];
    for (at, one) in other.iter().enumerate() {
        assert_ne!(*one, auto);
        assert!(other.iter().skip(at + 1).all(|later| later != one));
    }
    let mut single = with(Dialect::Chat, "tools", &tool("a"));
    single["parallel_tool_calls"] = json!(false);
    assert_ne!(key(Dialect::Chat, &single), auto);
    single["parallel_tool_calls"] = json!(true);
    assert_eq!(key(Dialect::Chat, &single), auto);
}

/// A conversation with a system prompt, an image, a call and its result.
#[test]
fn one_conversation_has_one_digest_in_three_dialects() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    let chat = json!({
        "model": "m", "max_tokens": 100, "temperature": 1.0, "stop": "END", "reasoning_effort": "high",
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [
                { "type": "text", "text": "What is th\u{e9}re?" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }] },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "call_1", "type": "function", "function": { "name": "look", "arguments": "{\"a\": \"b\"}" } },
                { "id": "call_2", "type": "function", "function": { "name": "look", "arguments": "{}" } }] },
            { "role": "tool", "tool_call_id": "call_1", "content": "a cat" },
            { "role": "tool", "tool_call_id": "call_2", "content": "a dog" }],
        "tools": [{ "type": "function", "function": { "name": "look", "description": "Looks.", "parameters": schema } }],
    });
    let messages = json!({
        "max_tokens": 100, "model": "other", "temperature": 1, "stop_sequences": ["END"], "stream": true,
        "output_config": { "effort": "high" },
        "system": [{ "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } }],
        "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "What is th\u{e9}re?" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } }] },
            { "role": "assistant", "content": [
                { "type": "tool_use", "id": "toolu_1", "name": "look", "input": { "a": "b" } },
                { "type": "tool_use", "id": "toolu_2", "name": "look", "input": {} }] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "toolu_1", "content": "a cat" },
                { "type": "tool_result", "tool_use_id": "toolu_2", "content": [{ "type": "text", "text": "a dog" }] }] }],
        "tools": [{ "name": "look", "description": "Looks.", "input_schema": schema }],
    });
    // Responses has no stop sequences: the other two are compared without them.
    let responses = json!({
        "model": "m", "max_output_tokens": 100, "temperature": 1, "instructions": "Be brief.",
        "reasoning": { "effort": "high" },
        "input": [
            { "role": "user", "content": [
                { "type": "input_text", "text": "What is th\u{e9}re?" },
                { "type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto" }] },
            { "type": "function_call", "call_id": "c1", "name": "look", "arguments": "{ \"a\":\"b\" }" },
            { "type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "c1", "output": "a cat" },
            { "type": "function_call_output", "call_id": "c2", "output": "a dog" }],
        "tools": [{ "type": "function", "name": "look", "description": "Looks.", "parameters": schema, "strict": false }],
    });
    assert_eq!(key(Dialect::Chat, &chat), key(Dialect::Messages, &messages));
    let mut without = chat.clone();
    without.as_object_mut().unwrap().remove("stop");
    assert_ne!(key(Dialect::Chat, &chat), key(Dialect::Chat, &without));
    assert_eq!(key(Dialect::Chat, &without), key(Dialect::Responses, &responses));
    // If the results of two calls are exchanged, it is another conversation.
    let mut swapped = chat.clone();
    swapped["messages"][3]["tool_call_id"] = json!("call_2");
    swapped["messages"][4]["tool_call_id"] = json!("call_1");
    assert_ne!(key(Dialect::Chat, &chat), key(Dialect::Chat, &swapped));
}

#[test]
fn what_only_the_wire_says_counts_too() {
    let chat = |message: Value| json!({ "model": "m", "max_tokens": 100, "messages": [message] });
    let plain = key(Dialect::Chat, &chat(json!({ "role": "user", "content": "Hello" })));
    assert_eq!(plain, key(Dialect::Chat, &base(Dialect::Chat)));
    let prefix = |value: Value| {
        key(Dialect::Chat, &chat(json!({ "role": "user", "content": "Hello", "prefix": value })))
    };
    assert_ne!(prefix(json!(true)), plain);
    assert_ne!(prefix(json!("a")), prefix(json!("b")));
    assert_eq!(prefix(json!(null)), plain);
    let unknown_part = |text: &str| {
        json!({ "model": "m", "max_tokens": 100, "messages": [{ "role": "user", "content": [
            { "type": "search_result", "source": "https://a.test", "title": text,
              "content": [{ "type": "text", "text": "x" }] }] }] })
    };
    assert_ne!(key(Dialect::Messages, &unknown_part("a")), key(Dialect::Messages, &unknown_part("b")));
    // All other fields still count.
    let mut hotter = chat(json!({ "role": "user", "content": "Hello", "prefix": true }));
    hotter["temperature"] = json!(2);
    assert_ne!(key(Dialect::Chat, &hotter), prefix(json!(true)));
}

#[test]
fn spelling_counts_for_nothing() {
    let read = |body: &str| {
        let request = ClientRequest::read(Dialect::Chat, body.as_bytes(), &Limits::default()).unwrap();
        answer_key(&request, None).unwrap()
    };
    let one = read(r#"{"model":"m","temperature":1,"messages":[{"role":"user","content":"caf\u00e9"}]}"#);
    let other = read(
        "{ \"messages\": [ {\"content\":\"caf\u{e9}\", \"role\":\"user\"} ], \"temperature\": 1.0, \"model\": \"n\" }",
    );
    assert_eq!(one, other);
}

#[test]
fn what_must_not_be_kept_has_no_digest() {
    let chat = |name: &str, value: Value| key_with(Dialect::Chat, &with(Dialect::Chat, name, &value), None);
    assert!(chat("store", json!(true)).is_none());
    assert!(chat("web_search_options", json!({})).is_none());
    assert!(chat("audio", json!({ "voice": "alloy", "format": "wav" })).is_none());
    let responses = |name: &str, value: Value| {
        key_with(Dialect::Responses, &with(Dialect::Responses, name, &value), None)
    };
    assert!(responses("previous_response_id", json!("resp_1")).is_none());
    assert!(responses("tools", json!([{ "type": "web_search" }])).is_none());
    assert!(responses("tools", json!([{ "type": "custom", "name": "p" }])).is_none());
    assert!(responses("tools", json!([{ "type": "local_shell" }])).is_none());
    let messages =
        |name: &str, value: Value| key_with(Dialect::Messages, &with(Dialect::Messages, name, &value), None);
    assert!(messages("tools", json!([{ "type": "bash_20250124", "name": "bash" }])).is_none());
    assert!(messages("container", json!("c")).is_none());
}

#[test]
fn betas_count_in_any_order() {
    let body = base(Dialect::Messages);
    let plain = key_with(Dialect::Messages, &body, None);
    let one = key_with(Dialect::Messages, &body, Some("a-1, b-2"));
    assert_ne!(plain, one);
    assert_eq!(one, key_with(Dialect::Messages, &body, Some("b-2,a-1,a-1")));
    assert_eq!(plain, key_with(Dialect::Messages, &body, Some(" ")));
}

/// A text completion is not a conversation, although both contain `Hello`.
#[test]
fn a_completion_is_no_conversation() {
    assert_ne!(
        key(Dialect::Completions, &base(Dialect::Completions)),
        key(Dialect::Chat, &base(Dialect::Chat))
    );
}
