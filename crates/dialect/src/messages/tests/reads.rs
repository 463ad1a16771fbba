use super::*;
use crate::{
    Facts, Invalid,
    canonical::{Cache, Effort, Format, Part, Request, Role, Source, Thinking, ToolChoice, ToolKind, What},
};

fn read_err(body: &str) -> Invalid {
    match read(body.as_bytes(), &Limits::default()) {
        Ok(_) => panic!("accepted: {body}"),
        Err(invalid) => invalid,
    }
}

/// A body with these further members.
fn with(members: &str) -> String {
    format!(r#"{{"model":"c","max_tokens":9,"messages":[{{"role":"user","content":"hi"}}]{members}}}"#)
}

/// A body with these messages.
fn says(messages: &str) -> String {
    format!(r#"{{"model":"c","max_tokens":9,"messages":{messages}}}"#)
}

fn names(request: &Request<'_>) -> Vec<String> {
    request.settings.iter().map(|setting| format!("{:?} {}", setting.what, setting.name)).collect()
}

#[test]
fn every_kind_of_block_is_read() {
    let request = read_ok(golden!("every_block.json"));
    let shown: Vec<String> = request
        .canonical()
        .turns
        .iter()
        .flat_map(|turn| turn.parts.iter().map(move |part| format!("{:?} {part:?}\n", turn.role)))
        .collect();
    assert_eq!(shown.concat(), golden!("every_block.parts"));
    assert_eq!(
        names(request.canonical()),
        [
            "Native messages[].content[].context",
            "Native messages[].content[].citations",
            "Native messages[].content[].server_tool_use",
            "Native messages[].content[].web_search_tool_result",
        ]
    );
}

#[test]
fn more_blocks_than_any_conversation_has_are_refused() {
    let blocks = vec![r#"{"type":"text","text":""}"#; 65_537].join(",");
    let refused = read_err(&says(&format!(r#"[{{"role":"user","content":[{blocks}]}}]"#)));
    assert_eq!(refused.param.as_deref(), Some("messages"));
}

#[test]
fn facts_are_measured() {
    let request = read_ok(golden!("every_block.json"));
    let Facts { media_bytes, images, files, messages, audio_parts, has_tools, .. } = request.head.facts;
    assert_eq!((media_bytes, images, files, messages, audio_parts, has_tools), (12, 4, 6, 3, 0, false));
    let body = with(
        r#","tools":[{"name":"f","input_schema":{"type":"object"}},{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"any"},"output_config":{"format":{"type":"json_schema","schema":{}}}"#,
    );
    let request = read_ok(&body);
    let facts = request.head.facts;
    assert!(facts.has_tools && facts.forced_tool && facts.json_schema && facts.unpriced_tools);
    let text = "é\\u00e9".repeat(20);
    for body in [
        with(&format!(r#","system":"{text}""#)),
        says(&format!(r#"[{{"role":"user","content":[{{"type":"text","text":"{text}"}}]}}]"#)),
        says(&format!(
            r#"[{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"a","content":"{text}"}}]}}]"#
        )),
        says(&format!(
            r#"[{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"a","content":[{{"type":"text","text":"{text}"}}]}}]}}]"#
        )),
        says(&format!(
            r#"[{{"role":"assistant","content":[{{"type":"thinking","thinking":"{text}","signature":"x"}}]}}]"#
        )),
        says(&format!(r#"[{{"role":"user","content":[{{"type":"new_thing","x":["{text}"]}}]}}]"#)),
        with(&format!(r#","tools":[{{"name":"f","description":"{text}"}}]"#)),
        with(&format!(r#","unheard_of":"{text}""#)),
    ] {
        assert!(read_ok(&body).head.facts.text_bytes >= text.len() as u64, "{body}");
    }
}

#[test]
fn the_head_says_what_routing_needs() {
    let request = read_ok(
        r#"{"models":["b"],"model":["a"],"max_tokens":5,"stream":true,"service_tier":"standard_only","messages":[{"role":"user","content":"hi"}],"mcp_servers":[],"zdr":null}"#,
    );
    let head = &request.head;
    assert_eq!(head.models, ["a", "b"]);
    assert_eq!((head.stream, head.n, head.output_limit), (true, 1, Some(5)));
    assert_eq!(head.service_tier.as_deref(), Some("standard_only"));
    assert_eq!(request.canonical().setting(What::ServiceTier).unwrap().value.get(), "\"default\"");
}

#[test]
fn what_is_wrong_is_named() {
    for (body, param) in [
        (r#"{"max_tokens":1,"messages":[{"role":"user","content":"x"}]}"#.to_owned(), "model"),
        (r#"{"model":"c","max_tokens":1}"#.into(), "messages"),
        (r#"{"model":"c","messages":[{"role":"user","content":"x"}]}"#.into(), "max_tokens"),
        (with(r#","max_tokens":1"#), "max_tokens"),
        (with(r#","temperature":1.5"#), "temperature"),
        (with(r#","stop_sequences":"x""#), "stop_sequences"),
        (with(r#","stop_sequences":["a",1]"#), "stop_sequences[1]"),
        (with(r#","system":[{"type":"text"}]"#), "system[0].text"),
        (with(r#","tool_choice":"auto""#), "tool_choice"),
        (with(r#","tool_choice":{"type":"tool"}"#), "tool_choice.name"),
        (with(r#","tool_choice":{"type":"maybe"}"#), "tool_choice.type"),
        (with(r#","tools":[{"name":"f","input_schema":[]}]"#), "tools[0].input_schema"),
        (with(r#","tools":[{"description":"f"}]"#), "tools[0].name"),
        (with(r#","thinking":{}"#), "thinking.type"),
        (with(r#","output_config":{"effort":1}"#), "output_config.effort"),
        (with(r#","output_config":{"format":{"type":"json_schema"}}"#), "output_config.format.schema"),
        (with(r#","metadata":{"user_id":1}"#), "metadata.user_id"),
        (with(r#","mcp_servers":[{"type":"url","url":"x"}]"#), "mcp_servers"),
        (with(r#","deferred_calls":1"#), "deferred_calls"),
        (says("[]"), "messages"),
        (says(r#"[{"role":"tool","content":"x"}]"#), "messages[0].role"),
        (says(r#"[{"content":"x"}]"#), "messages[0].role"),
        (says(r#"[{"role":"user"}]"#), "messages[0].content"),
        (says(r#"[{"role":"user","content":null}]"#), "messages[0].content"),
        (says(r#"[{"role":"user","content":[{"text":"x"}]}]"#), "messages[0].content[0].type"),
        (says(r#"[{"role":"user","content":[{"type":"text","text":1}]}]"#), "messages[0].content[0].text"),
        (says(r#"[{"role":"user","content":[{"type":"image"}]}]"#), "messages[0].content[0].source"),
        (
            says(r#"[{"role":"user","content":[{"type":"image","source":{"type":"base64","data":"x"}}]}]"#),
            "messages[0].content[0].source.media_type",
        ),
        (
            says(
                r#"[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"b","input":"{}"}]}]"#,
            ),
            "messages[0].content[0].input",
        ),
        (
            says(
                r#"[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"tool_use","id":"a","name":"b","input":{}}]}]}]"#,
            ),
            "messages[0].content[0].content[0].type",
        ),
        (
            says(r#"[{"role":"user","content":[{"type":"text","text":"x","cache_control":"y"}]}]"#),
            "messages[0].content[0].cache_control",
        ),
    ] {
        let invalid = read_err(&body);
        assert_eq!(invalid.param.as_deref(), Some(param), "{invalid} {body}");
    }
    for body in ["", "[]", "{\"model\":\"c\"", "{} {}"] {
        assert_eq!(read_err(body).param, None, "{body}");
    }
}

#[test]
fn tokens_can_be_counted_without_a_limit() {
    let body = br#"{"model":"c","messages":[{"role":"user","content":"hi"}]}"#;
    let request = read_for_count(body, &Limits::default()).unwrap();
    assert_eq!((request.head.output_limit, request.canonical().turns.len()), (None, 1));
}

#[test]
fn thinking_in_all_its_words() {
    let of = |effort, budget_tokens, visible| Thinking { effort, budget_tokens, visible };
    for (members, expected) in [
        (r#""thinking":{"type":"disabled"}"#, of(Some(Effort::None), None, None)),
        (r#""thinking":{"type":"enabled","budget_tokens":1024}"#, of(Some(Effort::Low), Some(1024), None)),
        (r#""thinking":{"type":"enabled","budget_tokens":8192}"#, of(Some(Effort::Medium), Some(8192), None)),
        (r#""thinking":{"type":"enabled","budget_tokens":9000}"#, of(Some(Effort::High), Some(9000), None)),
        (
            r#""thinking":{"type":"adaptive","display":"summarized"}"#,
            of(Some(Effort::High), None, Some(true)),
        ),
        (
            r#""thinking":{"type":"between_tools","display":"omitted"}"#,
            of(Some(Effort::None), None, Some(false)),
        ),
        (r#""output_config":{"effort":"max"}"#, of(Some(Effort::Max), None, None)),
        (
            r#""output_config":{"effort":"low"},"thinking":{"type":"adaptive"}"#,
            of(Some(Effort::Low), None, None),
        ),
        (
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#,
            of(Some(Effort::Low), None, None),
        ),
        (
            r#""thinking":{"type":"disabled"},"output_config":{"effort":"low"}"#,
            of(Some(Effort::None), None, None),
        ),
        (
            r#""output_config":{"effort":"low"},"thinking":{"type":"disabled"}"#,
            of(Some(Effort::None), None, None),
        ),
    ] {
        assert_eq!(read_ok(&with(&format!(",{members}"))).canonical().thinking, expected, "{members}");
    }
}

#[test]
fn tools_and_settings_are_read() {
    let request = read_ok(golden!("every_field.json"));
    let canonical = request.canonical();
    assert_eq!(canonical.turns[0].role, Role::System);
    let [Part::Text { cache, .. }] = canonical.turns[0].parts.as_slice() else { panic!() };
    assert_eq!(*cache, Some(Cache::Hour));
    let [function, native] = canonical.tools.as_slice() else { panic!() };
    let ToolKind::Function { name, parameters, strict, .. } = &function.kind else { panic!() };
    assert_eq!((name.inner(), *strict, function.cache), ("get_tide", Some(true), Some(Cache::Short)));
    assert_eq!(
        parameters.as_ref().unwrap().get(),
        r#"{"type":"object","properties":{"port":{"type":"string"}}}"#
    );
    let ToolKind::WebSearch(search) = &native.kind else { panic!() };
    assert_eq!(
        (search.dialect, search.json.get()),
        (Dialect::Messages, r#"{"type":"web_search_20250305","name":"web_search"}"#)
    );
    assert!(matches!(&canonical.tool_choice, Some(ToolChoice::Named(name)) if name.inner() == "get_tide"));
    assert_eq!(canonical.parallel_tools, Some(false));
    assert!(
        matches!(&canonical.format, Format::JsonSchema { schema, .. } if schema.get() == r#"{"type":"object"}"#)
    );
    assert_eq!(canonical.stop.len(), 2);
    assert_eq!(
        names(canonical),
        [
            "Temperature temperature",
            "TopP top_p",
            "TopK top_k",
            "User metadata.user_id",
            "ServiceTier service_tier",
            "Native output_config.task_budget",
            "Native container",
            "Native cache_control",
            "Native unheard_of",
            "Native tools[].defer_loading",
        ]
    );
}

#[test]
fn without_tools_a_choice_among_them_says_nothing() {
    let body = with(r#","tools":[],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}"#);
    let request = read_ok(&body);
    assert_eq!((&request.canonical().tool_choice, request.canonical().parallel_tools), (&None, None));
    let encoded = request.encode(&target("anthropic", "claude-opus-5")).unwrap();
    assert!(!String::from_utf8(encoded.body).unwrap().contains("tool"));
}

#[test]
fn a_found_tool_is_named_in_the_result_of_the_search_and_is_kept_by_nobody() {
    let body = says(
        r#"[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"ToolSearch","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"tool_reference","tool_name":"get_tide"}]}]}]"#,
    );
    let request = read_ok(&body);
    assert!(!request.head.facts.references_stored_objects);
    let [Part::ToolResult(result)] = request.canonical().turns[2].parts.as_slice() else { panic!() };
    assert!(matches!(&result.content[0], Part::Text { text, .. } if text.inner() == "get_tide"));
    let encoded = request.encode(&target("anthropic", "claude-opus-5")).unwrap();
    assert!(String::from_utf8(encoded.body).unwrap().contains("tool_reference"));
}

#[test]
fn a_block_that_only_this_dialect_knows_is_content_of_this_dialect_alone() {
    let body = says(r#"[{"role":"user","content":[{"type":"new_thing"}]}]"#);
    let request = read_ok(&body);
    let [Part::File { source: Source::Id { dialect, .. }, .. }] =
        request.canonical().turns[0].parts.as_slice()
    else {
        panic!()
    };
    assert_eq!(*dialect, Dialect::Messages);
}
