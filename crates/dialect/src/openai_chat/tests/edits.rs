//! One input and the result for each provider.

use super::*;
use crate::canonical::Signature;

/// Provider, model, further members, the members that are sent, the names that are listed as dropped.
const CASES: &[(&str, &str, &str, &str, &[&str])] = &[
    ("openai", "gpt-4o", r#""max_tokens":5,"temperature":0.10"#, r#""max_tokens":5,"temperature":0.10"#, &[]),
    (
        "openai",
        "gpt-5",
        r#""max_tokens":5,"temperature":0.1,"top_p":1.0"#,
        r#""max_completion_tokens":5,"top_p":1.0"#,
        &["temperature"],
    ),
    ("openai", "gpt-5.2", r#""temperature":0.1,"logit_bias":{}"#, r#""temperature":0.1"#, &["logit_bias"]),
    ("openai", "o3", r#""logprobs":false,"presence_penalty":1"#, "", &["presence_penalty"]),
    ("xai", "grok-4", r#""frequency_penalty":1,"modalities":["text"]"#, "", &["frequency_penalty"]),
    ("xai", "grok-4.20", r#""reasoning_effort":"low""#, "", &["reasoning_effort"]),
    (
        "mistral",
        "m",
        r#""seed":7,"user":"u","max_completion_tokens":9,"reasoning_effort":"low","store":true"#,
        r#""random_seed":7,"max_tokens":9"#,
        &["user", "reasoning_effort", "store"],
    ),
    (
        "mistral",
        "m",
        r#""random_seed":1,"seed":7,"reasoning_effort":"high""#,
        r#""random_seed":1,"reasoning_effort":"high""#,
        &[],
    ),
    (
        "deepseek",
        "m",
        r#""user":"u","seed":1,"n":1,"reasoning_effort":"none""#,
        r#""user_id":"u","n":1,"thinking":{"type":"disabled"}"#,
        &["seed"],
    ),
    (
        "groq",
        "m",
        r#""max_tokens":5,"max_completion_tokens":3,"logit_bias":{},"top_logprobs":0"#,
        r#""max_completion_tokens":3"#,
        &["logit_bias"],
    ),
    (
        "cerebras",
        "m",
        r#""max_tokens":5,"service_tier":"flex""#,
        r#""max_completion_tokens":5"#,
        &["service_tier"],
    ),
    ("cerebras", "m", r#""x":1"#, r#""x":1,"max_completion_tokens":4096"#, &[]),
    (
        "together_ai",
        "m",
        r#""max_completion_tokens":5,"logprobs":true,"top_logprobs":3"#,
        r#""max_tokens":5,"logprobs":3"#,
        &[],
    ),
    ("together_ai", "m", r#""logprobs":true"#, r#""logprobs":1"#, &[]),
    (
        "fireworks_ai",
        "m",
        r#""max_completion_tokens":5,"a":0,"max_tokens":4"#,
        r#""max_completion_tokens":4,"a":0"#,
        &[],
    ),
    (
        "moonshot",
        "kimi-k3",
        r#""temperature":1,"top_p":1,"n":1,"user":"u""#,
        r#""n":1"#,
        &["temperature", "top_p", "user"],
    ),
    ("moonshot", "moonshot-v1-8k", r#""temperature":0.3,"n":2"#, r#""temperature":0.3,"n":2"#, &[]),
];

#[test]
fn usage_of_a_stream_is_asked_for_where_that_is_allowed() {
    let (body, _) = sent("openai", "gpt-4o", r#""stream":true"#).unwrap();
    assert_eq!(body, r#""stream":true,"stream_options":{"include_usage":true}"#);
    let options = r#""stream":true,"stream_options":{"include_usage":false, "include_obfuscation":false}"#;
    let (body, _) = sent("openai", "gpt-4o", options).unwrap();
    assert_eq!(body, r#""stream":true,"stream_options":{"include_obfuscation":false,"include_usage":true}"#);
    let asked = r#""stream":true,"stream_options":{ "include_usage" : true }"#;
    assert_eq!(sent("openai", "gpt-4o", asked).unwrap().0, asked);
    assert!(!read_ok(&with(asked)).encode(&target("openai", "gpt-4o")).unwrap().asked_for_usage);
    assert!(read_ok(&with(options)).encode(&target("openai", "gpt-4o")).unwrap().asked_for_usage);
    for provider in ["mistral", "groq"] {
        assert_eq!(sent(provider, "m", options).unwrap().0, r#""stream":true"#);
        assert!(!read_ok(&with(options)).encode(&target(provider, "m")).unwrap().asked_for_usage);
    }
    assert_eq!(sent("openai", "gpt-4o", r#""stream":false"#).unwrap().0, r#""stream":false"#);
}

#[test]
fn each_provider_gets_its_own_form_of_the_fields() {
    for (provider, model, members, expected, dropped) in CASES {
        let (body, named) = sent(provider, model, members).unwrap();
        assert_eq!(
            (body.as_str(), named.iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
            (*expected, *dropped),
            "{provider} {model} {members}"
        );
    }
}

#[test]
fn a_field_that_changes_the_answer_is_refused_where_the_provider_refuses_it() {
    for (provider, model, members, field) in [
        ("openai", "gpt-5", r#""stop":"x""#, "stop"),
        ("openai", "o3", r#""logprobs":true"#, "logprobs"),
        ("openai", "gpt-5", r#""modalities":["text","audio"]"#, "modalities"),
        ("xai", "grok-4", r#""stop":["x"]"#, "stop"),
        ("xai", "grok-3", r#""web_search_options":{"x":1}"#, "web_search_options"),
        ("deepseek", "m", r#""n":2"#, "n"),
        ("deepseek", "m", r#""response_format":{"type":"json_schema"}"#, "response_format"),
        ("groq", "m", r#""logprobs":true"#, "logprobs"),
        ("groq", "m", r#""n":2"#, "n"),
        ("moonshot", "kimi-k2.5", r#""n":2"#, "n"),
    ] {
        assert_eq!(sent(provider, model, members), Err(Unsupported::field(field)), "{provider} {members}");
    }
    let tools = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
    assert!(sent("openai", "gpt-5.4", tools).is_ok());
    assert!(
        sent("openai", "gpt-5.5", tools).is_ok(),
        "whether tools and reasoning meet is the provider's word"
    );
}

#[test]
fn a_schema_goes_into_the_prompt_where_there_is_no_field_for_it() {
    let schema = r#"{"type":"object","properties":{"a":{"const":"\u00e9"}}}"#;
    let format = format!(
        r#""response_format":{{"type":"json_schema","json_schema":{{"name":"n","schema":{schema}}}}}"#
    );
    let (body, dropped) = encode("deepseek", "m", &with(&format)).unwrap();
    assert_eq!(dropped, ["response_format.json_schema"]);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["response_format"], serde_json::json!({"type": "json_object"}));
    let told = &body["messages"][0];
    assert_eq!(told["role"], "system");
    assert!(told["content"].as_str().unwrap().ends_with(schema), "{told}");
    assert_eq!(body["messages"].as_array().unwrap().len(), 2);
    let (body, dropped) = encode("openai", "gpt-5.4", &with(&format)).unwrap();
    assert!(body.contains(&format) && dropped.is_empty());
}

#[test]
fn flat_tools_are_written_as_chat_has_them() {
    let flat = r#""tools":[{"type":"function","name":"g","parameters":{"type":"object"}},{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","name":"g"}"#;
    for provider in ["openai", "xai", "groq"] {
        let (body, _) = encode(provider, "m", &with(flat)).unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let expected = serde_json::json!([
            {"type": "function", "function": {"name": "g", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "f"}},
        ]);
        assert_eq!(body["tools"], expected, "{provider}");
        assert_eq!(body["tool_choice"]["function"]["name"], "g");
    }
    let limits = crate::Limits::default();
    for (tool, param) in
        [(r#"{"type":"function"}"#, "tools[0].function"), (r#"{"name":"g"}"#, "tools[0].type")]
    {
        let body =
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"tools":[{tool}]}}"#);
        let refused = crate::openai_chat::read(body.as_bytes(), &limits).err().unwrap();
        assert_eq!(refused.param.as_deref(), Some(param));
    }
}

#[test]
fn messages_are_rewritten_only_where_the_provider_needs_it() {
    let developer = r#"[ {"role" : "developer","content":"\u00e9"}, {"role":"user", "content":"x" }]"#;
    assert_eq!(messages_for("openai", developer), developer);
    assert_eq!(
        messages_for("together_ai", developer),
        r#"[{"role":"system","content":"\u00e9"},{"role":"user", "content":"x" }]"#
    );
    let names = r#"[{"role":"user","name":"a","content":"x"},{"role":"tool","name":"f","content":"1.0"}]"#;
    assert_eq!(messages_for("openai", names), names);
    assert_eq!(
        messages_for("mistral", names),
        r#"[{"role":"user","content":"x"},{"role":"tool","name":"f","content":"1.0"}]"#
    );
    assert_eq!(
        messages_for("groq", names),
        r#"[{"role":"user","content":"x"},{"role":"tool","content":"1.0"}]"#
    );
    assert_eq!(
        encode("groq", "m", &format!(r#"{{"model":"m","messages":{names}}}"#)).unwrap().1,
        ["messages[].name"]
    );
    let thoughts =
        r#"[{"role":"assistant","content":"x","reasoning_content":"\n"},{"role":"user","content":"y"}]"#;
    assert_eq!(messages_for("deepseek", thoughts), thoughts);
    let renamed = thoughts.replace("reasoning_content", "reasoning");
    for provider in ["groq", "cerebras"] {
        assert_eq!(messages_for(provider, thoughts), renamed);
    }
    assert_eq!(messages_for("moonshot", &renamed), thoughts);
    let both = r#"[{"role":"assistant","reasoning":"a","reasoning_content":"a","content":"x"}]"#;
    assert_eq!(messages_for("cerebras", both), r#"[{"role":"assistant","reasoning":"a","content":"x"}]"#);
    assert_eq!(
        messages_for("mistral", thoughts),
        r#"[{"role":"assistant","content":"x"},{"role":"user","content":"y"}]"#
    );
}

#[test]
fn tool_ids_become_nine_characters_in_call_and_result_alike() {
    let messages = r#"[{"role":"assistant","content":"","tool_calls":[{"type":"function","id":"call_1","function":{"arguments":"{\"a\": 1.0}","name":"f"}},{"id":"abcDEF123"}]},{"role":"tool","tool_call_id":"call_\u0031","content":"x"},{"role":"tool","tool_call_id":"abcDEF123","content":"y"}]"#;
    let sent = messages_for("mistral", messages);
    let parsed: serde_json::Value = serde_json::from_str(&sent).unwrap();
    let made = parsed[0]["tool_calls"][0]["id"].as_str().unwrap();
    assert!(made.len() == 9 && made.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{made}");
    assert_eq!(sent, messages.replace("call_1", made).replace("call_\\u0031", made));
    assert_eq!(messages_for("deepseek", messages), messages);
}

#[test]
fn a_signature_under_our_mark_goes_back_bare_to_its_maker_alone() {
    let maker = |provider: &str| Signature::mark_of(ProviderId::by_id(provider).unwrap(), "m");
    let signed = |name: &str, signature: &str| {
        format!(
            r#"{{"id":"call_1","type":"function","{name}":{{"google":{{"thought_signature":"{signature}"}}}},"function":{{"name":"f","arguments":"{{\"a\":\"gw1.\"}}"}}}}"#
        )
    };
    let messages = |calls: &[String]| {
        let calls = calls.join(",");
        format!(r#"[{{"role":"assistant","tool_calls":[{calls}]}},{{"role":"user","content":"x"}}]"#)
    };
    for name in ["extra_content", "thought_signature"] {
        let own = maker("openai") + "QUJD/+=";
        let two = [signed(name, &own), signed(name, &(maker("google") + "RUZH"))];
        let sent = messages_for("openai", &messages(&two));
        let gone =
            signed(name, "").replace(&format!(r#""{name}":{{"google":{{"thought_signature":""}}}},"#), "");
        assert_eq!(sent, messages(&[signed(name, "QUJD/+="), gone.clone()]), "{name}");
        assert_eq!(messages_for("deepseek", &messages(&two[..1])), messages(&[gone]), "{name}");
        let bare = messages(&[signed(name, "QUJD")]);
        assert_eq!(messages_for("openai", &bare), bare);
    }
    // Text that only looks like a tag is text.
    let quoted = r#"[{"role":"user","content":"x","note":"say \"gw1.a.b.c\""}]"#;
    assert_eq!(messages_for("openai", quoted), quoted);
}

#[test]
fn mistral_gets_no_empty_assistant_message_and_a_prefix_mark_on_the_last() {
    let messages = r#"[{"role":"assistant","content":""},{"role":"user","content":"x"},{"role":"assistant","content":"y"}]"#;
    assert_eq!(
        messages_for("mistral", messages),
        r#"[{"role":"user","content":"x"},{"role":"assistant","content":"y","prefix":true}]"#
    );
    let marked = r#"[{"role":"assistant","prefix":true,"content":"y"}]"#;
    assert_eq!(messages_for("mistral", marked), marked);
}

#[test]
fn xai_gets_loose_schemas_but_properties_keep_their_names() {
    let tools = r#""tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","additionalProperties":false,"properties":{"strict":{"type":"string"},"additionalProperties":{"type":"array","items":{"additionalProperties":true,"const":{"additionalProperties":false}}}},"required":["strict", "b"]}}}]"#;
    let expected = tools
        .replace(r#""strict":true,"#, "")
        .replace(r#""type":"object","additionalProperties":false,"#, r#""type":"object","#);
    assert_eq!(sent("xai", "grok-4", tools).unwrap().0, expected);
    assert_eq!(sent("openai", "gpt-4o", tools).unwrap().0, tools);
}
