use super::*;
use crate::{
    canonical::{
        Cache, Effort, Format, Json, Logprobs, Part, Reasoning, Role, Signature, Source, Thinking, Tool,
        ToolCall, ToolChoice, ToolKind, ToolResult, Turn, What,
    },
    json::Escaped,
};

fn e(inner: &str) -> Escaped<'_> {
    Escaped::from_inner(inner)
}

fn text(inner: &str) -> Part<'_> {
    Part::Text { text: e(inner), cache: None }
}

fn turn<'a>(role: Role, parts: Vec<Part<'a>>) -> Turn<'a> {
    Turn { role, name: None, parts }
}

fn call<'a>(id: &'a str, name: &'a str, arguments: &'a str) -> ToolCall<'a> {
    ToolCall { id: e(id), name: e(name), arguments: e(arguments), signature: None, cache: None }
}

fn result<'a>(call_id: &'a str, content: Vec<Part<'a>>) -> ToolResult<'a> {
    ToolResult { call_id: e(call_id), content, is_error: false, cache: None }
}

fn messages(messages: &str) -> String {
    format!(r#"{{"model":"m","messages":[{messages}]}}"#)
}

/// A request with the text hello and these further members.
fn with(members: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{members}}}"#)
}

#[test]
fn a_conversation_with_tools_becomes_turns() {
    let request = canonical(golden!("request_conversation.json"));
    let expected = vec![
        turn(Role::System, vec![text("Be brief.")]),
        turn(Role::Developer, vec![Part::Text { text: e("Use tools."), cache: Some(Cache::Hour) }]),
        Turn { role: Role::User, name: Some(e("ann")), parts: vec![text(r"Tides at \u00c9tretat \ud83d?")] },
        turn(
            Role::Assistant,
            vec![
                Part::Reasoning(Reasoning { text: e("Two calls."), signature: None, redacted: false }),
                Part::ToolCall(call("call_1", "get_tide", r#"{\"n\": 12345678901234567890, \"x\": 1.0}"#)),
                Part::ToolCall(ToolCall {
                    signature: Some(Signature::new(e("QUJD"), Dialect::Gemini)),
                    ..call("call_2", "get_wind", "")
                }),
            ],
        ),
        turn(
            Role::User,
            vec![
                Part::ToolResult(result("call_1", vec![text("4.2")])),
                Part::ToolResult(ToolResult {
                    is_error: true,
                    ..result("call_2", vec![text("a"), text("b")])
                }),
            ],
        ),
        turn(Role::User, vec![text("And now?")]),
        turn(Role::Assistant, vec![Part::Refusal(e("No."))]),
    ];
    assert_eq!(request.turns, expected);
}

#[test]
fn every_kind_of_part_is_told_apart() {
    let request = canonical(golden!("request_parts.json"));
    let data = |media_type, data| Source::Data { media_type: e(media_type), data: e(data) };
    let file = |source, name: Option<&'static str>| Part::File { source, name: name.map(e), cache: None };
    let expected = vec![
        Part::Text { text: e("See"), cache: Some(Cache::Short) },
        Part::Image { source: data("image/png", "iVBO\\/w=="), detail: Some(e("low")), cache: None },
        Part::Image { source: Source::Url(e("https:\\/\\/a.example\\/x.png")), detail: None, cache: None },
        Part::Image { source: data("image/jpeg", "AAAA"), detail: None, cache: Some(Cache::Short) },
        Part::Audio { data: e("BBBB"), format: e("wav") },
        file(data("application/pdf", "CCCC"), Some("a.pdf")),
        file(data("application/pdf", "DDDD"), None),
        file(Source::Id { id: e("file-1"), dialect: Dialect::Chat }, None),
        Part::Text { text: e("end"), cache: Some(Cache::Short) },
    ];
    assert_eq!(request.turns, vec![turn(Role::User, expected)]);
    let names: Vec<_> = request.settings.iter().map(|setting| setting.name.as_ref()).collect();
    assert_eq!(names, ["messages[].prefix", "messages[].content[].custom_mark"]);
}

#[test]
fn reasoning_comes_back_with_what_its_provider_wants() {
    let body = messages(
        r#"{"role":"assistant","content":"x","reasoning_content":"same","thinking_blocks":[{"type":"thinking","thinking":"same","signature":"gw1.a.b.c"},{"type":"redacted_thinking","data":"RED"},{"type":"thinking","thinking":"plain"}]},
        {"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"type":"text","text":"y"}],"reasoning":"other"},
        {"role":"assistant","reasoning_content":"","reasoning":"only"}"#,
    );
    let signed = |value| Some(Signature::new(e(value), Dialect::Messages));
    let thought =
        |text, signature, redacted| Part::Reasoning(Reasoning { text: e(text), signature, redacted });
    let expected = vec![
        turn(
            Role::Assistant,
            vec![
                thought("same", signed("gw1.a.b.c"), false),
                thought("", signed("RED"), true),
                thought("plain", None, false),
                text("x"),
            ],
        ),
        turn(Role::Assistant, vec![thought("other", None, false), thought("ab", None, false), text("y")]),
        turn(Role::Assistant, vec![thought("only", None, false)]),
    ];
    assert_eq!(canonical(&body).turns, expected);
}

#[test]
fn a_signature_travels_beside_a_call_or_in_its_id() {
    let body = messages(
        r#"{"role":"assistant","tool_calls":[{"id":"c1__thought__gw1.google.bQ.QUJD","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"c2","function":{"name":"g"},"thought_signature":"ZGVm"}]},
        {"role":"tool","tool_call_id":"c1__thought__gw1.google.bQ.QUJD","content":"1"}"#,
    );
    let request = canonical(&body);
    let google = ProviderId::by_id("google").unwrap();
    let signatures: Vec<_> = request.turns[0]
        .parts
        .iter()
        .map(|part| match part {
            Part::ToolCall(call) => call.signature.as_ref().unwrap().bare(google, "m", Dialect::Gemini),
            _ => panic!("{part:?}"),
        })
        .collect();
    assert_eq!(signatures, [Some(e("QUJD")), Some(e("ZGVm"))]);
    let Part::ToolResult(result) = &request.turns[1].parts[0] else { panic!("no result") };
    assert_eq!(result.call_id, e("c1"));
}

#[test]
fn a_result_without_an_id_answers_the_last_call_of_its_name() {
    let call = |id: &str, name: &str| {
        format!(r#"{{"id":"{id}","type":"function","function":{{"name":"{name}","arguments":"{{}}"}}}}"#)
    };
    let calls = |calls: &[String]| format!(r#"{{"role":"assistant","tool_calls":[{}]}}"#, calls.join(","));
    let result = |name: &str| format!(r#"{{"role":"function","name":"{name}","content":""}}"#);
    let body = messages(
        &[
            calls(&[call("1", "f"), call("2", "g"), call("3", "f")]),
            result("f"),
            result(r"\u0067"),
            calls(&[call("4", "g")]),
            result("g"),
            result("f"),
        ]
        .join(","),
    );
    let request = canonical(&body);
    let parts = request.turns.iter().flat_map(|turn| &turn.parts);
    let answered: Vec<&str> = parts
        .filter_map(|part| match part {
            Part::ToolResult(result) => Some(result.call_id.inner()),
            _ => None,
        })
        .collect();
    assert_eq!(answered, ["3", "2", "4", "3"]);
}

#[test]
fn many_results_without_ids_over_many_calls_are_read_in_one_walk() {
    let call = |name: &str| format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#);
    let calls = [vec![call("z")], vec![call("a"); 60_000]].concat().join(",");
    let result = r#"{"role":"function","name":"z","content":""}"#;
    let results = vec![result; 8_000].join(",");
    let body = messages(&format!(r#"{{"role":"assistant","tool_calls":[{calls}]}},{results}"#));
    let (steps, request) = crate::cost::of(|| canonical(&body));
    assert_eq!(request.turns[1].parts.len(), 8_000);
    // Once for each result would be half a billion comparisons.
    assert!(steps < 100_000_000, "{steps}");
}

#[test]
fn functions_of_before_there_were_tools_are_tools() {
    let body = r#"{"model":"m","messages":[{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},{"role":"function","name":"f","content":"1"}],"functions":[{"name":"f","parameters":{"type":"object"}}],"function_call":{"name":"f"}}"#;
    let request = canonical(body);
    assert_eq!(
        request.turns,
        vec![
            turn(Role::Assistant, vec![Part::ToolCall(call("call_0", "f", "{}"))]),
            turn(Role::User, vec![Part::ToolResult(result("call_0", vec![text("1")]))]),
        ]
    );
    assert_eq!(request.tool_choice, Some(ToolChoice::Named(e("f"))));
    let parameters = Some(Json::trusted(r#"{"type":"object"}"#.into()));
    let kind = ToolKind::Function { name: e("f"), description: None, parameters, strict: None };
    assert_eq!(request.tools, vec![Tool { kind, cache: None }]);
}

#[test]
fn tools_and_choices_are_read() {
    let tool = r#"{"type":"function","function":{"name":"f","description":"d","strict":true,"parameters":{"a": 1.0}},"cache_control":{"type":"ephemeral"}}"#;
    let custom = r#"{"type":"custom","custom":{"name":"free"}}"#;
    let body = with(&format!(r#""tools":[{tool},{custom}],"parallel_tool_calls":false"#));
    let request = canonical(&body);
    assert_eq!(request.parallel_tools, Some(false));
    assert_eq!(request.tools[0].cache, Some(Cache::Short));
    let native =
        ToolKind::Native { dialect: Dialect::Chat, name: e("free"), json: Json::trusted(custom.into()) };
    assert_eq!(request.tools[1].kind, native);
    let named = |name| ToolChoice::Named(e(name));
    for (choice, expected) in [
        (r#""auto""#, ToolChoice::Auto),
        (r#""none""#, ToolChoice::Never),
        (r#""any""#, ToolChoice::Required),
        (r#"{"type":"required"}"#, ToolChoice::Required),
        (r#"{"type":"function","function":{"name":"f"}}"#, named("f")),
        (r#"{"type":"tool","name":"f"}"#, named("f")),
        (
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"f"}}]}}"#,
            ToolChoice::Allowed { names: vec![e("f")], required: true },
        ),
    ] {
        let body = with(&format!(r#""tool_choice":{choice}"#));
        assert_eq!(canonical(&body).tool_choice, Some(expected), "{choice}");
    }
}

#[test]
fn the_form_and_length_of_the_answer_are_read() {
    let body = with(
        r#""max_tokens":50,"max_completion_tokens":40,"n":2,"stream":true,"stream_options":{"include_usage":true},"stop":["a","\n"],"logprobs":true,"top_logprobs":3,
        "response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type": "object"},"strict":false}}"#,
    );
    let request = canonical(&body);
    assert_eq!((request.output_limit, request.n, request.stream), (Some(40), 2, true));
    assert_eq!(request.stop, [e("a"), e("\\n")]);
    assert_eq!(request.logprobs, Some(Logprobs { top: 3 }));
    let schema = Json::trusted(r#"{"type": "object"}"#.into());
    let expected = Format::JsonSchema { name: Some(e("x")), description: None, schema, strict: Some(false) };
    assert_eq!(request.format, expected);
    assert!(request.settings.is_empty());
    let object = with(r#""response_format":{"type":"json_object"},"stop":"x""#);
    assert_eq!((canonical(&object).format, canonical(&object).stop), (Format::JsonObject, vec![e("x")]));
}

#[test]
fn thinking_is_read_in_all_its_forms() {
    let thinking = |effort, budget_tokens, visible| Thinking { effort, budget_tokens, visible };
    for (members, expected) in [
        (r#""reasoning_effort":"xhigh""#, thinking(Some(Effort::XHigh), None, None)),
        (r#""thinking":{"type":"enabled","budget_tokens":2000}"#, thinking(None, Some(2000), None)),
        (r#""thinking":{"type":"disabled"}"#, thinking(Some(Effort::None), None, None)),
        (
            r#""thinking":{"type":"adaptive","display":"summarized"}"#,
            thinking(Some(Effort::High), None, Some(true)),
        ),
        (
            r#""reasoning_effort":"low","thinking":{"type":"enabled"}"#,
            thinking(Some(Effort::Low), None, None),
        ),
        (
            r#""thinking":{"type":"enabled","budget_tokens":9},"reasoning_effort":"low""#,
            thinking(Some(Effort::Low), Some(9), None),
        ),
    ] {
        let body = with(members);
        let request = canonical(&body);
        assert_eq!((request.thinking, request.settings.len()), (expected, 0), "{members}");
    }
    for members in
        [r#""reasoning_effort":3"#, r#""reasoning_effort":"ultra""#, r#""thinking":{"type":"new"}"#]
    {
        let body = with(members);
        let request = canonical(&body);
        assert_eq!(request.settings[0].what, What::Native, "{members}");
    }
}

#[test]
fn settings_keep_their_order_names_and_bytes() {
    let body = with(
        r#""top_p":1e-1,"temperature":1.0,"top_k":40,"seed":-3,"user":"u\u00e9","safety_identifier":"s","vendor_field":{"a": [1]},"unset":null,"metadata":{"k":"v"},"prompt_cache_retention":"24h""#,
    );
    let request = canonical(&body);
    let told: Vec<_> = request.settings.iter().map(|s| (s.what, s.name.as_ref(), s.value.get())).collect();
    let expected = [
        (What::TopP, "top_p", "1e-1"),
        (What::Temperature, "temperature", "1.0"),
        (What::TopK, "top_k", "40"),
        (What::Seed, "seed", "-3"),
        (What::User, "user", r#""u\u00e9""#),
        (What::User, "safety_identifier", r#""s""#),
        (What::Native, "vendor_field", r#"{"a": [1]}"#),
        (What::Metadata, "metadata", r#"{"k":"v"}"#),
        (What::Native, "prompt_cache_retention", r#""24h""#),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_changes_the_answer_and_has_no_other_form_is_refused_by_its_path() {
    let user = |part: &str| {
        messages(&format!(r#"{{"role":"user","content":[{{"type":"text","text":"a"}},{part}]}}"#))
    };
    for (body, field) in [
        (user(r#"{"type":"video_url","video_url":{"url":"x"}}"#), "messages[0].content[1].type"),
        (user(r#"{"type":"newest"}"#), "messages[0].content[1].type"),
        (
            user(r#"{"type":"image_url","image_url":{"url":"data:image/png,%89"}}"#),
            "messages[0].content[1].image_url.url",
        ),
        (user(r#"{"type":"image_url","image_url":{"uri":"x"}}"#), "messages[0].content[1].image_url.url"),
        (user(r#"{"type":"input_audio","input_audio":{"data":"x"}}"#), "messages[0].content[1].input_audio"),
        (user(r#"{"type":"file","file":{"filename":"x"}}"#), "messages[0].content[1].file"),
        (messages(r#"{"role":"assistant","audio":{"id":"x"}}"#), "messages[0].audio"),
        (
            messages(
                r#"{"role":"assistant","tool_calls":[{"id":"a","type":"custom","custom":{"name":"f"}}]}"#,
            ),
            "messages[0].tool_calls[0].type",
        ),
        (messages(r#"{"role":"tool","content":"x"}"#), "messages[0].tool_call_id"),
        (messages(r#"{"role":"function","name":"f","content":"x"}"#), "messages[0]"),
        (
            messages(r#"{"role":"tool","tool_call_id":"a","content":[{"type":"refusal","refusal":"x"}]}"#),
            "messages[0].content[0].type",
        ),
        (with(r#""web_search_options":{}"#), "web_search_options"),
        (with(r#""guardrails":[{"name":"pii"}]"#), "guardrails"),
        (with(r#""generation_config":{"temperature":1}"#), "generation_config"),
        (with(r#""search_parameters":{"mode":"on"}"#), "search_parameters"),
        (with(r#""prediction":{"type":"content","content":"x"}"#), "prediction"),
        (with(r#""modalities":["text","audio"]"#), "modalities"),
        (with(r#""audio":{"voice":"x"}"#), "audio"),
        (with(r#""tool_choice":{"type":"custom","custom":{"name":"x"}}"#), "tool_choice"),
        (with(r#""response_format":{"type":"grammar"}"#), "response_format"),
    ] {
        assert_eq!(unsupported(&body), field, "{body}");
    }
    let harmless = with(r#""modalities":["text"],"audio":{},"prediction":{}"#);
    assert!(canonical(&harmless).settings.is_empty());
}

#[test]
fn a_message_that_says_nothing_is_an_empty_text() {
    let body = messages(
        r#"{"role":"user","content":""},{"role":"assistant","content":null},{"role":"assistant","content":"","refusal":"x"}"#,
    );
    let said: Vec<_> = canonical(&body).turns.into_iter().map(|turn| turn.parts).collect();
    assert_eq!(said, vec![vec![text("")], vec![text("")], vec![Part::Refusal(e("x"))]]);
}

#[test]
fn flat_tools_are_tools() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","name":"g","strict":true},{"type":"function","function":{"name":"f"}}],"tool_choice":"required"}"#;
    let request = canonical(body);
    let names: Vec<_> = request
        .tools
        .iter()
        .map(|tool| match &tool.kind {
            ToolKind::Function { name, strict, .. } => (name.inner(), *strict),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, [("g", Some(true)), ("f", None)]);
}

#[test]
fn signed_thoughts_go_back_to_their_places_or_stay_away() {
    let block = |place: &str, text: &str| {
        format!(r#"{{"type":"thinking","thinking":"{text}","signature":"gw1.anthropic.bQ{place}.{text}"}}"#)
    };
    let turn = |blocks: &str, calls: usize| {
        let call = |number: usize| {
            format!(r#"{{"id":"c{number}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#)
        };
        let calls: Vec<String> = (0..calls).map(call).collect();
        let body = messages(&format!(
            r#"{{"role":"assistant","content":"x","thinking_blocks":[{blocks}],"tool_calls":[{}]}}"#,
            calls.join(",")
        ));
        let request = canonical(&body);
        let kind = |part: &Part<'_>| match part {
            Part::Reasoning(reasoning) => reasoning.text.inner().to_owned(),
            Part::ToolCall(_) => "call".into(),
            _ => "text".into(),
        };
        request.turns[0].parts.iter().map(kind).collect::<Vec<_>>().join(" ")
    };
    for (blocks, calls, expected) in [
        (block("", "a"), 1, "a text call"),
        ([block("", "a"), block("~1", "b")].join(","), 2, "a text call b call"),
        ([block("", "a"), block("~1t", "b")].join(","), 2, "a text call b call"),
        ([block("", "a"), block("~0t", "b")].join(","), 1, "a text b call"),
        ([block("~2", "c"), block("", "a"), block("", "b")].join(","), 3, "a b text call call c call"),
        // Reasoning after the last call has no place, and then the other reasoning has none either.
        ([block("", "a"), block("~1", "b")].join(","), 1, "text call"),
        ([block("", "a"), block("~9", "b")].join(","), 2, "text call call"),
    ] {
        assert_eq!(turn(&blocks, calls), expected);
    }
}
