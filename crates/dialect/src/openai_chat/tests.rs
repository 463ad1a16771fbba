use super::*;
use crate::json;
use crate::{Invalid, Limits, Target, Unsupported};
use kairosroute_domain::provider::{Dialect, PROVIDERS, ProviderId};
use proptest::prelude::*;

mod edits;

fn read_ok(body: &str) -> ChatRequest<'_> {
    match read(body.as_bytes(), &Limits::default()) {
        Ok(request) => request,
        Err(invalid) => panic!("{invalid}: {body}"),
    }
}

fn read_err(body: &str) -> Invalid {
    match read(body.as_bytes(), &Limits::default()) {
        Ok(_) => panic!("accepted: {body}"),
        Err(invalid) => invalid,
    }
}

fn target<'t>(provider: &str, upstream_model: &'t str) -> Target<'t> {
    let provider = ProviderId::by_id(provider).unwrap();
    Target {
        provider,
        upstream_model,
        dialect: Dialect::Chat,
        flags: None,
        output_tokens_max: Some(4096),
        seed: "1",
    }
}

fn encode(provider: &str, model: &str, body: &str) -> Result<(String, Vec<String>), Unsupported> {
    let encoded = read_ok(body).encode(&target(provider, model))?;
    Ok((String::from_utf8(encoded.body).unwrap(), encoded.dropped.into_iter().map(Into::into).collect()))
}

const HI: &str = r#"[{"role":"user","content":"hi"}]"#;

/// A body with these further members.
fn with(members: &str) -> String {
    format!(r#"{{"model":"m","messages":{HI},{members}}}"#)
}

/// The provider's members for the further members, without the model and the messages.
fn sent(provider: &str, model: &str, members: &str) -> Result<(String, Vec<String>), Unsupported> {
    let (body, dropped) = encode(provider, model, &with(members))?;
    let head = format!(r#"{{"model":"{model}","messages":{HI}"#);
    let rest = body.strip_prefix(&head).unwrap_or_else(|| panic!("{body}"));
    Ok((rest.trim_start_matches(',').trim_end_matches('}').to_owned() + closing(rest), dropped))
}

/// The brackets of the last value that trimming the body's own took along.
fn closing(rest: &str) -> &'static str {
    let count = rest.len() - rest.trim_end_matches('}').len();
    ["", "", "}", "}}", "}}}", "}}}}"][count]
}

fn messages_for(provider: &str, messages: &str) -> String {
    let (body, _) = encode(provider, "m", &format!(r#"{{"model":"m","messages":{messages}}}"#)).unwrap();
    let start = r#"{"model":"m","messages":"#.len();
    let end = body.find(r#","max_completion_tokens":4096"#).unwrap_or(body.len() - 1);
    body[start..end].to_owned()
}

#[test]
fn a_request_is_read_for_what_routing_needs() {
    let request = read_ok(
        r#"{"model":["a/b","c"],"models":["d"],"stream":true,"stream_options":{"include_usage":true},"n":2,
        "max_tokens":50,"max_completion_tokens":40,"service_tier":"flex","logprobs":true,"web_search_options":{},
        "tool_choice":"required","tools":[{"type":"function","function":{"name":"f","parameters":{}}}],
        "response_format":{"type":"json_schema","json_schema":{}},
        "messages":[{"role":"user","content":[{"type":"text","text":"data:0123"},{"type":"image_url","image_url":
        {"url":"data:image/png;base64,AAAA"}},{"type":"input_audio","input_audio":{"data":"BBBB","format":"wav"}},
        {"type":"file","file":{"file_data":"CCCC"}}]}]}"#,
    );
    assert_eq!(request.head.models, ["a/b", "c", "d"]);
    assert!(request.head.stream && request.head.include_usage);
    assert_eq!((request.head.n, request.head.output_limit), (2, Some(40)));
    assert_eq!(request.head.service_tier.as_deref(), Some("flex"));
    let facts = request.head.facts;
    assert_eq!((facts.messages, facts.images, facts.audio_parts, facts.files), (1, 1, 1, 1));
    assert_eq!(facts.media_bytes, 26 + 4 + 4);
    assert!(facts.has_tools && facts.forced_tool && facts.json_schema && facts.wants_logprobs);
    assert!(facts.unpriced_tools);
    let tools = r#"[{"type":"function","function":{"name":"f","parameters":{}}}]"#.len();
    let format = r#"{"type":"json_schema","json_schema":{}}"#.len();
    // The allowance for each message, both strings in the parts, the audio format, and the two top-level values.
    let expected = 8 + "\"data:0123\"".len() + "wav".len() + tools + format;
    assert_eq!(facts.text_bytes, u64::try_from(expected).unwrap());
}

#[test]
fn a_list_of_one_model_is_a_model_and_a_bare_models_list_is_enough() {
    assert_eq!(read_ok(&format!(r#"{{"model":["x"],"messages":{HI}}}"#)).head.models, ["x"]);
    let body = format!(r#"{{"models":["x","y"],"messages":{HI}}}"#);
    assert_eq!(read_ok(&body).head.models, ["x", "y"]);
    let (sent, _) = encode("openai", "gpt-4o", &body).unwrap();
    assert_eq!(sent, format!(r#"{{"messages":{HI},"model":"gpt-4o"}}"#));
}

#[test]
fn odd_but_harmless_conversations_pass() {
    for messages in [
        r#"[{"role":"assistant","tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{}"}}]}]"#,
        r#"[{"role":"assistant","content":null,"tool_calls":null,"refusal":null}]"#,
        r#"[{"role":"tool","tool_call_id":"x","content":"orphan"}]"#,
        r#"[{"role":"assistant","audio":{"id":"x"}}]"#,
        r#"[{"role":"user","content":[{"type":"newest_part","x":1}],"unknown":[{}]}]"#,
        r#"[{"role":"user","content":"\ud83d"}]"#,
    ] {
        assert_eq!(messages_for("openai", messages), messages);
    }
    let tools = r#""tools":[{"type":"function","function":{"name":"f","parameters":{"additional_properties":false}}}]"#;
    assert_eq!(sent("xai", "grok-4", tools).unwrap().0, tools);
}

/// Fields with their allowed kinds, by the letters nbdsao: null, boolean, digit, string, array, object.
const KINDS: &[(&str, &str)] = &[
    ("model", "s"),
    ("messages", ""),
    ("stream", "b"),
    ("stream_options", "o"),
    ("temperature", "d"),
    ("top_p", "d"),
    ("max_tokens", "d"),
    ("max_completion_tokens", "d"),
    ("tools", "a"),
    ("tool_choice", "so"),
    ("parallel_tool_calls", "b"),
    ("response_format", ""),
    ("n", "d"),
    ("stop", "sa"),
    ("seed", "d"),
    ("user", "s"),
    ("frequency_penalty", "d"),
    ("presence_penalty", "d"),
    ("logit_bias", "o"),
    ("logprobs", "b"),
    ("top_logprobs", "d"),
    ("reasoning_effort", "sdb"),
    ("verbosity", "s"),
    ("service_tier", "s"),
    ("metadata", "o"),
    ("store", "b"),
    ("modalities", "a"),
    ("audio", "o"),
    ("prediction", "o"),
    ("functions", "a"),
    ("function_call", "so"),
    ("prompt_cache_key", "s"),
    ("prompt_cache_retention", "s"),
    ("prompt_cache_options", "o"),
    ("safety_identifier", "s"),
    ("web_search_options", "o"),
];

#[test]
fn every_documented_field_refuses_every_wrong_kind_by_name() {
    for (field, _) in super::fields::FIELDS {
        let (_, kinds) = KINDS.iter().find(|(name, _)| name == field).expect(field);
        for (kind, value) in [('b', "true"), ('d', "1"), ('s', "\"x\""), ('a', "[]"), ('o', "{}")] {
            let required =
                |name: &str, text: &str| if *field == name { String::new() } else { text.to_owned() };
            let body = format!(
                r#"{{{}{}"{field}":{value}}}"#,
                required("model", r#""model":"m","#),
                required("messages", &format!(r#""messages":{HI},"#))
            );
            let result = read(body.as_bytes(), &Limits::default());
            if kinds.contains(kind) {
                assert!(result.is_ok(), "{body}");
            } else {
                let invalid = result.err().unwrap_or_else(|| panic!("accepted {body}"));
                assert!(
                    invalid.param.as_deref().is_some_and(|param| param.starts_with(field)),
                    "{body}: {invalid}"
                );
                assert!(invalid.message.contains(field), "{invalid}");
            }
        }
    }
}

#[test]
fn values_out_of_range_and_malformed_messages_are_refused_by_name() {
    for (members, param) in [
        (r#""temperature":2.1"#, "temperature"),
        (r#""top_p":-0.1"#, "top_p"),
        (r#""n":0"#, "n"),
        (r#""n":129"#, "n"),
        (r#""n":1.0"#, "n"),
        (r#""max_tokens":0"#, "max_tokens"),
        (r#""max_tokens":-5"#, "max_tokens"),
        (r#""max_completion_tokens":99999999999999999999"#, "max_completion_tokens"),
        (r#""seed":1.5"#, "seed"),
        (r#""stop":[1]"#, "stop[0]"),
        (r#""tools":[{}]"#, "tools[0].type"),
        (r#""tools":[1]"#, "tools[0]"),
        (r#""tools":[{"type":"function","function":{}}]"#, "tools[0].function.name"),
        (
            r#""tools":[{"type":"function","function":{"name":"f","parameters":[]}}]"#,
            "tools[0].function.parameters",
        ),
        (r#""response_format":{}"#, "response_format.type"),
        (r#""stream_options":{"include_usage":1}"#, "stream_options.include_usage"),
        (r#""temperature":1,"temperature":1"#, "temperature"),
        (r#""user":null,"user":"x""#, "user"),
    ] {
        assert_eq!(read_err(&with(members)).param.as_deref(), Some(param), "{members}");
    }
    for (messages, param) in [
        ("[]", "messages"),
        ("[1]", "messages[0]"),
        ("[{}]", "messages[0].role"),
        (r#"[{"role":"boss"}]"#, "messages[0].role"),
        (r#"[{"role":"user","content":1}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":["x"]}]"#, "messages[0].content[0]"),
        (r#"[{"role":"user","content":[{"text":"x"}]}]"#, "messages[0].content[0].type"),
        (r#"[{"role":"user","content":[{"type":"text"}]}]"#, "messages[0].content[0].text"),
        (r#"[{"role":"user"},{"role":"user","name":1}]"#, "messages[1].name"),
        (r#"[{"role":"assistant","tool_calls":{}}]"#, "messages[0].tool_calls"),
        (
            r#"[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{}}}]}]"#,
            "messages[0].tool_calls[0].function.arguments",
        ),
        (r#"[{"role":"tool","tool_call_id":5}]"#, "messages[0].tool_call_id"),
    ] {
        let body = format!(r#"{{"model":"m","messages":{messages}}}"#);
        assert_eq!(read_err(&body).param.as_deref(), Some(param), "{messages}");
    }
    assert_eq!(read_err(&format!(r#"{{"messages":{HI}}}"#)).param.as_deref(), Some("model"));
    assert_eq!(read_err(r#"{"model":"m"}"#).param.as_deref(), Some("messages"));
    assert_eq!(
        read_err(&with(r#""model2":1"#).replace("model\"", "modem\"")).param.as_deref(),
        Some("model")
    );
    for body in ["", "[]", "null", "{", "{\"model\":}", "\u{feff}{}"] {
        assert_eq!(read_err(body).param, None, "{body}");
    }
}

#[test]
fn our_own_fields_never_leave_and_are_refused_by_name_when_they_ask_for_something() {
    let idle = r#""extra":null,"byok_api_key":" ","additional_params":{},"mcp_servers":[],"zdr":false,"data_collection":"allow""#;
    assert_eq!(sent("openai", "gpt-4o", idle).unwrap().0, "");
    let (own, supported) = (super::fields::GATEWAY_FIELDS, super::fields::OWN_SUPPORTED);
    let asking = r#""models":["n"],"byok_api_key":"canary","extra":{"byok":"canary"}"#;
    assert_eq!(sent("openai", "gpt-4o", asking).unwrap().0, "");
    for own in own.iter().filter(|own| !supported.contains(own)) {
        let invalid = read_err(&with(&format!(r#""{own}":"canary""#)));
        assert_eq!(invalid.param.as_deref(), Some(*own));
        assert_eq!(invalid.message, format!("`{own}` is not supported; leave it out"));
    }
    let escaped = read_err(&with(r#""\u0063orrelation_id":"x""#));
    assert_eq!(escaped.param.as_deref(), Some("correlation_id"));
}

#[test]
fn guardrails_go_to_the_provider_that_has_them_and_to_no_other() {
    let members = r#""guardrails":[{"name":"pii"}]"#;
    assert!(sent("mistral", "mistral-large-2512", members).unwrap().0.contains("guardrails"));
    for (provider, model) in [("openai", "gpt-4o"), ("groq", "m"), ("moonshot", "kimi-k3")] {
        assert_eq!(sent(provider, model, members).unwrap_err().field, "guardrails", "{provider}");
        assert!(
            !sent(provider, model, r#""guardrails":null"#).unwrap().0.contains("guardrails"),
            "{provider}"
        );
    }
}

#[test]
fn null_and_empty_values_of_documented_fields_are_left_out() {
    let members =
        r#""max_tokens":null,"tools":[],"tool_choice":"auto","stop":[],"stream":null,"unknown":null"#;
    assert_eq!(sent("openai", "gpt-4o", members).unwrap().0, r#""unknown":null"#);
}

#[test]
fn a_big_body_is_read_and_a_deep_or_crowded_one_refused() {
    let text = "word ".repeat(400_000);
    let request = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    assert!(read_ok(&request).head.facts.text_bytes >= 2_000_000);
    let deep = with(&format!(r#""x":{}{}"#, "[".repeat(200_000), "]".repeat(200_000)));
    assert_eq!(read_err(&deep).param, None);
    let members: Vec<String> = (0..200).map(|index| format!(r#""x{index}":1"#)).collect();
    assert_eq!(read_err(&with(&members.join(","))).param, None);
    let limits = Limits { messages_max: 2, ..Limits::default() };
    let three = r#"{"model":"m","messages":[{"role":"user"},{"role":"user"},{"role":"user"}]}"#;
    assert_eq!(
        read(three.as_bytes(), &limits).err().and_then(|error| error.param).as_deref(),
        Some("messages")
    );
}

#[test]
fn more_parts_or_calls_than_any_conversation_has_are_refused() {
    let content = |count: usize| vec![r#"{"type":"text","text":""}"#; count].join(",");
    let calls = |count: usize| vec![r#"{"function":{"name":"f"}}"#; count].join(",");
    let thoughts = |count: usize| vec!["{}"; count].join(",");
    let body = |member: &str| format!(r#"{{"model":"m","messages":[{{"role":"assistant",{member}}}]}}"#);
    for (name, list) in
        [("content", content as fn(usize) -> String), ("tool_calls", calls), ("thinking_blocks", thoughts)]
    {
        assert_eq!(read_ok(&body(&format!(r#""{name}":[{}]"#, list(65_536)))).head.facts.parts, 65_536);
        let refused = read_err(&body(&format!(r#""{name}":[{}]"#, list(65_537))));
        assert_eq!(refused.param.as_deref(), Some("messages"), "{name}");
    }
}

/// Any JSON value, in unusual but valid spellings.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1.0".to_owned()),
        Just("-1e5".to_owned()),
        Just("12345678901234567890".to_owned()),
        Just(r#""\ud83d""#.to_owned()),
        Just("\"\u{2028}é\\u00e9\\/\"".to_owned()),
        Just("\"call_1\"".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[ {}]", items.join(" ,"))),
            proptest::collection::vec(("[a-z]{1,5}", inner), 0..4).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(key, value)| format!("\"{key}\" :{value}")).collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn unknown_members_survive_byte_for_byte_and_in_order_at_every_provider(
        before in proptest::collection::vec(value(), 0..3), after in proptest::collection::vec(value(), 0..3), inner in value(),
    ) {
        let unknown = |prefix: &str, values: &[String]| -> Vec<String> {
            values.iter().enumerate().map(|(index, value)| format!("\"x_{prefix}{index}\":{value}")).collect()
        };
        let messages = format!(r#""messages":[{{"role":"user","x_inner":{inner},"content":"hi"}}]"#);
        let model = vec!["\"model\":\"m\"".to_owned()];
        let members = [unknown("a", &before), model, vec![messages], unknown("b", &after)].concat().join(",");
        let body = format!("{{{members}}}");
        for row in PROVIDERS.iter().filter(|row| row.dialect == Dialect::Chat) {
            let (sent, dropped) = encode(row.id, "m", &body).unwrap();
            let limit = if row.quirks.wants_output_limit { ",\"max_completion_tokens\":4096" } else { "" };
            prop_assert_eq!(sent, format!("{{{members}{limit}}}"));
            prop_assert!(dropped.is_empty());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = read(&bytes, &Limits::default());
    }

    /// Every accepted body is written as a JSON object without repeated keys, for every provider.
    #[test]
    fn what_is_sent_is_well_formed(
        picked in proptest::collection::btree_map(0..KINDS.len() + 4, value(), 0..8), role in "(user|assistant|tool|developer)", member in "(name|reasoning|reasoning_content|tool_calls|tool_call_id|content)", inner in value(),
    ) {
        let mut members = vec![format!(r#""model":"m","messages":[{{"role":"{role}","{member}":{inner}}}]"#)];
        for (index, value) in &picked {
            let name = KINDS.get(*index).map_or(["thinking", "user_id", "random_seed", "top_k"][*index % 4], |(name, _)| name);
            if !matches!(name, "model" | "messages") {
                members.push(format!("\"{name}\":{value}"));
            }
        }
        let body = format!("{{{}}}", members.join(","));
        if let Ok(request) = read(body.as_bytes(), &Limits::default()) {
            for row in PROVIDERS {
                for model in ["m", "gpt-5", "grok-4", "kimi-k3"] {
                    if let Ok(encoded) = request.encode(&target(row.id, model)) {
                        let members = json::read_object(&encoded.body, 128, 256);
                        prop_assert!(members.is_ok(), "{:?} {}", members, String::from_utf8_lossy(&encoded.body));
                    }
                }
            }
        }
    }
}
