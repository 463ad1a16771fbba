use super::writes::*;
use super::*;
use crate::{
    canonical::{Effort, Format, Json, Part, Request, Role, Thinking, Tool, ToolChoice, ToolKind, What},
    json::Escaped,
};

#[test]
fn the_limit_is_always_sent_and_never_beyond_the_models() {
    let limit = |wanted, most| {
        let request = Request { output_limit: wanted, ..hi() };
        let target = Target { output_tokens_max: most, ..target("anthropic", "claude-opus-5") };
        let body = String::from_utf8(write(&request, &target).unwrap().body).unwrap();
        body.split(r#""max_tokens":"#).nth(1).unwrap().split(',').next().unwrap().to_owned()
    };
    assert_eq!(limit(None, Some(32_000)), "32000");
    assert_eq!(limit(None, None), "8192");
    assert_eq!(limit(Some(5), Some(32_000)), "5");
    assert_eq!(limit(Some(64_000), Some(32_000)), "32000");
}

#[test]
fn the_form_of_the_answer_is_asked_for_as_the_model_takes_it() {
    let schema = || Json::parse(r#"{"properties":{"a":{"type":"string"}}}"#.into()).unwrap();
    let format = |description: Option<&'static str>| Format::JsonSchema {
        name: Some(Escaped::from_text("n")),
        description: description.map(Escaped::from_text),
        schema: schema(),
        strict: Some(true),
    };
    let (sent, _) = written("claude-sonnet-4-6", &Request { format: format(Some("d")), ..hi() });
    assert_eq!(
        sent,
        r#""output_config":{"format":{"type":"json_schema","schema":{"properties":{"a":{"type":"string"}},"additionalProperties":false,"description":"d"}}}"#
    );
    let older = Request { format: format(None), ..hi() };
    assert_eq!(
        written("claude-opus-4-1-20250805", &older).0,
        r#""tools":[{"name":"json_answer","description":"Gives the answer. Its input is the whole answer.","input_schema":{"properties":{"a":{"type":"string"}},"type":"object"}}],"tool_choice":{"type":"tool","name":"json_answer"}"#
    );
    assert_eq!(
        try_write("claude-opus-4-1-20250805", &older).unwrap().reading.tool_as_text,
        Some("json_answer")
    );
    let beside = Request { tools: vec![tool("f")], ..older };
    assert!(refused("claude-opus-4-1-20250805", &beside).starts_with("`response_format`"));
    let (sent, _) = written("claude-opus-5", &Request { format: Format::JsonObject, ..hi() });
    assert_eq!(
        sent,
        r#""system":[{"type":"text","text":"Answer with one valid JSON object and nothing else."}],"#
    );
}

#[test]
fn tools_and_the_choice_among_them() {
    let named = || ToolChoice::Named(Escaped::from_text("f"));
    let allowed = |required| ToolChoice::Allowed { names: vec![Escaped::from_text("g")], required };
    let f = r#"{"name":"f","input_schema":{"type":"object","properties":{}}}"#;
    let g = r#"{"name":"g","input_schema":{"type":"object","properties":{}}}"#;
    let request = |tool_choice, parallel_tools| Request {
        tools: vec![tool("f"), tool("g")],
        tool_choice,
        parallel_tools,
        ..hi()
    };
    for (choice, parallel, tools, expected) in [
        (None, None, [f, g].join(","), ""),
        (None, Some(true), [f, g].join(","), ""),
        (None, Some(false), [f, g].join(","), r#"{"type":"auto","disable_parallel_tool_use":true}"#),
        (Some(ToolChoice::Auto), None, [f, g].join(","), r#"{"type":"auto"}"#),
        (Some(ToolChoice::Never), Some(false), [f, g].join(","), r#"{"type":"none"}"#),
        (
            Some(ToolChoice::Required),
            Some(false),
            [f, g].join(","),
            r#"{"type":"any","disable_parallel_tool_use":true}"#,
        ),
        (Some(named()), None, [f, g].join(","), r#"{"type":"tool","name":"f"}"#),
        (Some(allowed(false)), None, g.into(), r#"{"type":"auto"}"#),
        (Some(allowed(true)), None, g.into(), r#"{"type":"any"}"#),
    ] {
        let choice_sent =
            if expected.is_empty() { String::new() } else { format!(r#","tool_choice":{expected}"#) };
        assert_eq!(
            written("claude-opus-5", &request(choice, parallel)).0,
            format!(r#""tools":[{tools}]{choice_sent}"#)
        );
    }
    for choice in [ToolChoice::Required, named(), allowed(true)] {
        assert!(refused("claude-opus-5-5", &request(Some(choice), None)).starts_with("`tool_choice`"));
    }
    assert!(
        refused("claude-opus-5", &Request { tool_choice: Some(named()), ..hi() }).contains("no such tool")
    );
    let native = |dialect| Tool {
        kind: ToolKind::Native {
            dialect,
            name: Escaped::default(),
            json: Json::parse("{\"type\":\"x\"}".into()).unwrap(),
        },
        cache: None,
    };
    let with = |tool| Request { tools: vec![tool], ..hi() };
    assert!(refused("claude-opus-5", &with(native(Dialect::Responses))).starts_with("`tools`"));
    assert_eq!(written("claude-opus-5", &with(native(Dialect::Messages))).0, r#""tools":[{"type":"x"}]"#);
}

#[test]
fn thinking_in_the_words_of_each_generation() {
    let of = |effort, budget_tokens, visible| Thinking { effort, budget_tokens, visible };
    for (model, thinking, expected) in [
        (
            "claude-opus-5-5",
            of(Some(Effort::None), None, None),
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#,
        ),
        ("claude-sonnet-5-5", of(Some(Effort::None), None, None), r#""thinking":{"type":"between_tools"}"#),
        ("claude-sonnet-5", of(Some(Effort::None), None, None), r#""thinking":{"type":"disabled"}"#),
        ("claude-3-haiku-20240307", of(Some(Effort::None), None, None), ""),
        (
            "claude-sonnet-4-6",
            of(Some(Effort::Minimal), None, Some(true)),
            r#""thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"low"}"#,
        ),
        (
            "claude-opus-5",
            of(Some(Effort::XHigh), None, None),
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"xhigh"}"#,
        ),
        (
            "claude-opus-5",
            of(None, Some(4000), None),
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"medium"}"#,
        ),
        (
            "claude-opus-5-5",
            of(None, None, Some(true)),
            r#""thinking":{"type":"adaptive","display":"summarized"}"#,
        ),
        ("claude-opus-5", of(None, None, Some(true)), ""),
        (
            "claude-opus-4-5",
            of(Some(Effort::Minimal), None, None),
            r#""thinking":{"type":"enabled","budget_tokens":1024}"#,
        ),
        (
            "claude-opus-4-5",
            of(Some(Effort::Max), None, None),
            r#""thinking":{"type":"enabled","budget_tokens":8999}"#,
        ),
        (
            "claude-opus-4-5",
            of(Some(Effort::Low), Some(5000), None),
            r#""thinking":{"type":"enabled","budget_tokens":5000}"#,
        ),
    ] {
        assert_eq!(
            written(model, &Request { thinking, ..hi() }),
            (expected.into(), vec![]),
            "{model} {thinking:?}"
        );
    }
}

#[test]
fn thinking_gives_way_to_what_excludes_it() {
    let thinking = Thinking { effort: Some(Effort::High), ..Thinking::default() };
    let named = vec!["reasoning_effort".to_owned()];
    let forced =
        Request { thinking, tools: vec![tool("f")], tool_choice: Some(ToolChoice::Required), ..hi() };
    assert_eq!(written("claude-opus-5", &forced).1, named);
    assert_eq!(written("claude-3-5-haiku-20241022", &Request { thinking, ..hi() }).1, named);
    let short = Request { thinking, output_limit: Some(1024), ..hi() };
    assert_eq!(try_write("claude-opus-4-5", &short).unwrap().dropped, ["reasoning_effort"]);
    let in_a_loop = vec![
        turn(Role::User, vec![text("a")]),
        turn(Role::Assistant, vec![call("x", "{}")]),
        turn(Role::User, vec![result("x")]),
    ];
    let in_a_loop = Request { thinking, ..asking(in_a_loop) };
    assert_eq!(written("claude-opus-4-5", &in_a_loop).1, named);
    assert_eq!(written("claude-opus-5", &in_a_loop).1, [""; 0]);
}

#[test]
fn settings_are_sent_or_dropped_by_name() {
    let sampling = || {
        vec![
            setting(What::Temperature, "temperature", "0.50"),
            setting(What::TopP, "top_p", "0.9"),
            setting(What::TopK, "top_k", "40"),
        ]
    };
    let thinking = Thinking { effort: Some(Effort::High), ..Thinking::default() };
    let with = |settings| Request { settings, ..hi() };
    let none: &[&str] = &[];
    for (model, request, sent, dropped) in [
        ("claude-3-haiku-20240307", with(sampling()), r#""temperature":0.50,"top_p":0.9,"top_k":40"#, none),
        ("claude-sonnet-4-5", with(sampling()), r#""temperature":0.50,"top_k":40"#, &["top_p"]),
        ("claude-opus-5", with(sampling()), "", &["temperature", "top_p", "top_k"]),
        (
            "claude-opus-5",
            with(vec![setting(What::Temperature, "temperature", "1.0"), setting(What::TopP, "top_p", "1")]),
            "",
            none,
        ),
        (
            "claude-sonnet-4-6",
            with(vec![setting(What::Temperature, "temperature", "1.7")]),
            r#""temperature":1"#,
            &["temperature"],
        ),
        (
            "claude-sonnet-4-6",
            Request { thinking, ..with(sampling()) },
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"high"}"#,
            &["temperature", "top_p", "top_k"],
        ),
        (
            "claude-opus-5",
            with(vec![
                setting(What::User, "safety_identifier", "\"u-1\""),
                setting(What::User, "user", "\"u-2\""),
                setting(What::ServiceTier, "service_tier", "\"default\""),
                setting(What::Seed, "seed", "7"),
                setting(What::Native, "prediction", "{}"),
                setting(What::Verbosity, "verbosity", "\"low\""),
            ]),
            r#""metadata":{"user_id":"u-1"},"service_tier":"standard_only""#,
            &["user", "seed", "prediction", "verbosity"],
        ),
        (
            "claude-opus-5",
            with(vec![
                setting(What::User, "user", "\"jo@t.example\""),
                setting(What::ServiceTier, "service_tier", "\"flex\""),
            ]),
            "",
            &["user", "service_tier"],
        ),
    ] {
        assert_eq!(
            written(model, &request),
            (sent.into(), dropped.iter().map(|name| (*name).into()).collect())
        );
    }
}

#[test]
fn what_this_wire_cannot_say_is_refused_by_name() {
    use crate::canonical::Logprobs;
    for (request, field) in [
        (Request { n: 2, ..hi() }, "n"),
        (Request { logprobs: Some(Logprobs { top: 0 }), ..hi() }, "logprobs"),
        (Request { stop: vec![Escaped::from_text("a"), Escaped::from_text("\n")], ..hi() }, "stop"),
    ] {
        assert_eq!(try_write("claude-opus-5", &request).unwrap_err().field, field);
    }
    let stop = vec![Escaped::from_text("END\n"), Escaped::from_text("")];
    let (sent, _) = written("claude-opus-5", &Request { stop, stream: true, ..hi() });
    assert_eq!(sent, r#""stop_sequences":["END\n"],"stream":true"#);
}

#[test]
fn names_are_dropped_and_marks_for_the_cache_are_at_most_four() {
    use crate::canonical::Cache;
    let marked = |name: &str| Part::Text { text: Escaped::from_text(name), cache: Some(Cache::Hour) };
    let mut writer_context = turn(Role::User, ["a", "b", "c", "d", "e"].map(marked).into());
    writer_context.name = Some(Escaped::from_text("jo"));
    let (sent, dropped) = written("claude-opus-5", &asking(vec![writer_context]));
    assert_eq!(sent.matches(r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#).count(), 4);
    assert_eq!(dropped, ["messages[].name", "cache_control"]);
}
