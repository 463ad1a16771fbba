use super::*;
use crate::{
    Encoded, Unsupported,
    canonical::{
        Cache, Effort, Format, Json, Logprobs, Part, Reasoning, Role, Setting, Signature, Source, Thinking,
        Tool, ToolCall, ToolChoice, ToolKind, ToolResult, Turn, What,
    },
    json::Escaped,
};
use kairosroute_domain::catalog::{Flag, Flags};
use openai_chat::write;
use serde_json::Value;

fn e(inner: &str) -> Escaped<'_> {
    Escaped::from_inner(inner)
}

fn text(inner: &str) -> Part<'_> {
    Part::Text { text: e(inner), cache: None }
}

fn user(parts: Vec<Part<'_>>) -> Turn<'_> {
    Turn { role: Role::User, name: None, parts }
}

fn assistant(parts: Vec<Part<'_>>) -> Turn<'_> {
    Turn { role: Role::Assistant, name: None, parts }
}

fn call<'a>(id: &'a str) -> Part<'a> {
    Part::ToolCall(ToolCall { id: e(id), name: e("f"), arguments: e("{}"), signature: None, cache: None })
}

fn result<'a>(call_id: &'a str, content: Vec<Part<'a>>) -> ToolResult<'a> {
    ToolResult { call_id: e(call_id), content, is_error: false, cache: None }
}

fn hello<'a>() -> Request<'a> {
    Request { turns: vec![user(vec![text("hi")])], ..Request::default() }
}

fn setting<'a>(what: What, name: &'a str, value: &str) -> Setting<'a> {
    Setting { what, name: name.into(), value: Json::trusted(value.into()) }
}

fn function(name: &str) -> Tool<'_> {
    let parameters = Some(Json::trusted(r#"{"type":"object"}"#.into()));
    Tool {
        kind: ToolKind::Function { name: e(name), description: None, parameters, strict: None },
        cache: None,
    }
}

/// A picture and where it came from.
fn image() -> Part<'static> {
    let source = Source::Data { media_type: e("image/png"), data: e("AAAA") };
    Part::Image { source, detail: None, cache: None }
}

fn body(encoded: &Encoded) -> String {
    String::from_utf8(encoded.body.clone()).unwrap()
}

/// The body's members after model and messages, and what was dropped.
fn members(request: &Request<'_>, provider: &str, model: &str) -> Result<(String, Vec<String>), Unsupported> {
    let encoded = write(request, &target(provider, model))?;
    let body = body(&encoded);
    let head = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]"#);
    let rest = body.strip_prefix(&head).unwrap_or_else(|| panic!("{body}")).strip_suffix('}').unwrap();
    Ok((rest.trim_start_matches(',').into(), encoded.dropped.into_iter().map(Into::into).collect()))
}

fn messages(turns: Vec<Turn<'_>>, provider: &str, model: &str) -> Result<Vec<Value>, Unsupported> {
    let encoded = write(&Request { turns, ..Request::default() }, &target(provider, model))?;
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    Ok(body["messages"].as_array().unwrap().clone())
}

fn json(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

#[test]
fn one_request_for_many_hosts() {
    for (provider, model, expected) in [
        ("openai", "gpt-4.1", golden!("sent_conversation.openai.json")),
        ("mistral", "mistral-large-4", golden!("sent_conversation.mistral.json")),
        ("deepseek", "deepseek-flash", golden!("sent_conversation.deepseek.json")),
        ("groq", "openai/gpt-oss-120b", golden!("sent_conversation.groq.json")),
        ("xai", "grok-3", golden!("sent_conversation.xai.json")),
    ] {
        let request = canonical(golden!("request_settings.json"));
        let encoded = write(&request, &target(provider, model)).unwrap();
        let found = format!("{}\ndropped {}\n", body(&encoded), encoded.dropped.join(", "));
        assert_eq!(found, expected, "{provider}");
        assert!(encoded.path.is_none());
    }
}

#[test]
fn results_come_first_and_their_media_after_them() {
    let failed = ToolResult { is_error: true, ..result("b", vec![text("no"), text("port")]) };
    let turns = vec![
        assistant(vec![call("a"), call("b"), call("c")]),
        user(vec![Part::ToolResult(result("a", vec![image()])), text("look")]),
        user(vec![Part::ToolResult(failed)]),
        user(vec![Part::ToolResult(ToolResult { is_error: true, ..result("c", vec![]) })]),
    ];
    let sent = messages(turns, "groq", "m").unwrap();
    let expected = json(
        r#"[{"role":"tool","tool_call_id":"a","content":"The result is in the next message."},
        {"role":"tool","tool_call_id":"b","content":"Error: no\n\nport"},
        {"role":"tool","tool_call_id":"c","content":"Error:"},
        {"role":"user","content":[{"type":"text","text":"Result of the call a:"},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"text","text":"look"}]}]"#,
    );
    assert_eq!(sent[1..], expected);
    let turns = vec![
        assistant(vec![call("a")]),
        user(vec![Part::ToolResult(result("a", vec![text("seen"), image()]))]),
        assistant(vec![text("ok")]),
    ];
    let sent = messages(turns, "openai", "gpt-4o").unwrap();
    assert_eq!(sent[1]["content"], "seen");
    assert_eq!(sent[2]["content"][1]["type"], "image_url");
    assert_eq!(sent[3]["role"], "assistant");
}

#[test]
fn a_result_without_its_call_is_refused() {
    let turns = vec![user(vec![Part::ToolResult(result("a", vec![]))]), assistant(vec![call("a")])];
    let refused = messages(turns, "openai", "gpt-4o").unwrap_err();
    assert_eq!(refused.field, "messages");
    assert!(refused.to_string().contains("needs the call it answers"), "{refused}");
}

#[test]
fn reasoning_goes_back_where_it_came_from_and_nowhere_else() {
    let thought = |signature| Part::Reasoning(Reasoning { text: e("hm"), signature, redacted: false });
    let deepseek = ProviderId::by_id("deepseek").unwrap();
    let ours =
        || Some(Signature::new(Signature::mark(deepseek, "deepseek-flash", &e("")), Dialect::Messages));
    let foreign = || Some(Signature::new(e("EqQB"), Dialect::Messages));
    for (provider, model, signature, member) in [
        ("deepseek", "deepseek-flash", None, Some("reasoning_content")),
        ("deepseek", "deepseek-flash", ours(), Some("reasoning_content")),
        ("deepseek", "deepseek-v4-pro", ours(), None),
        ("deepseek", "deepseek-flash", foreign(), None),
        ("groq", "m", None, Some("reasoning")),
        ("mistral", "m", None, None),
        ("openai", "gpt-5.4", None, None),
    ] {
        let case = format!("{provider} {model} {signature:?}");
        let turns = vec![
            user(vec![text("a")]),
            assistant(vec![thought(signature), text("b")]),
            user(vec![text("c")]),
        ];
        let sent = messages(turns, provider, model).unwrap();
        let found = ["reasoning_content", "reasoning"].into_iter().find(|name| sent[1].get(name).is_some());
        assert_eq!(found, member, "{case}");
    }
}

#[test]
fn turns_of_every_role_keep_their_place() {
    let refusal = || Part::Refusal(e("No."));
    let turns = || {
        vec![
            user(vec![text("a"), text("b")]),
            Turn { role: Role::Developer, name: None, parts: vec![text("c"), text("d")] },
            assistant(vec![refusal()]),
            assistant(vec![text("x"), text("y"), call("1")]),
            user(vec![Part::ToolResult(result("1", vec![text("r")]))]),
        ]
    };
    let openai = json(
        r#"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
        {"role":"developer","content":[{"type":"text","text":"c"},{"type":"text","text":"d"}]},
        {"role":"assistant","content":null,"refusal":"No."},
        {"role":"assistant","content":[{"type":"text","text":"x"},{"type":"text","text":"y"}],
        "tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"1","content":"r"}]"#,
    );
    assert_eq!(messages(turns(), "openai", "gpt-5.4").unwrap(), openai);
    let sent = messages(turns(), "together_ai", "m").unwrap();
    let said: Vec<_> = sent.iter().map(|m| (m["role"].as_str().unwrap(), m["content"].clone())).collect();
    assert_eq!(said[1], ("system", "c\n\nd".into()));
    assert_eq!((said[2].1.clone(), said[3].1.clone()), ("No.".into(), "x\n\ny".into()));
}

#[test]
fn marks_for_the_cache_go_to_the_models_that_take_them() {
    let marked = |inner| Part::Text { text: e(inner), cache: Some(Cache::Hour) };
    let request = |parts| Request { turns: vec![user(parts)], ..Request::default() };
    let encoded = write(&request(vec![marked("a")]), &target("openai", "gpt-5.6-mini")).unwrap();
    assert!(
        body(&encoded)
            .contains(r#"{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}}"#)
    );
    assert_eq!(encoded.dropped, Vec::<String>::new());
    let cached_image =
        Part::Image { source: Source::Url(e("https://x")), detail: None, cache: Some(Cache::Short) };
    for (parts, provider, model) in [
        (vec![marked("a")], "openai", "gpt-5.4"),
        (vec![marked("a"), marked("b")], "groq", "m"),
        (vec![cached_image], "openai", "gpt-5.6"),
    ] {
        let encoded = write(&request(parts), &target(provider, model)).unwrap();
        assert_eq!(encoded.dropped, ["cache_control"], "{provider}");
    }
    let tools = vec![Tool { cache: Some(Cache::Short), ..function("f") }];
    let encoded = write(&Request { tools, ..hello() }, &target("openai", "gpt-5.6")).unwrap();
    assert_eq!(encoded.dropped, ["cache_control"]);
}

#[test]
fn documents_go_where_they_are_read() {
    let file = |source, name: Option<&'static str>| Part::File { source, name: name.map(e), cache: None };
    let pdf = || Source::Data { media_type: e("application/pdf"), data: e("AAAA") };
    let part = |part, provider| {
        messages(vec![user(vec![part, text("x")])], provider, "gpt-4o")
            .map(|sent| sent[0]["content"][0].clone())
    };
    let sent = part(file(pdf(), None), "openai").unwrap();
    assert_eq!(sent["file"]["file_data"], "data:application/pdf;base64,AAAA");
    assert_eq!(sent["file"]["filename"], "document.pdf");
    let kept = |dialect| Source::Id { id: e("file-1"), dialect };
    assert_eq!(part(file(kept(Dialect::Responses), None), "openai").unwrap()["file"]["file_id"], "file-1");
    let plain = part(file(Source::Text(e(r"a\nb")), Some("notes")), "groq").unwrap();
    assert_eq!(plain["text"], "notes:\n\na\nb");
    let encoded = Source::Data { media_type: e("text/plain"), data: e("aGk=") };
    assert_eq!(part(file(encoded, None), "groq").unwrap()["text"], "hi");
    let broken = Source::Data { media_type: e("text/plain"), data: e("!") };
    for (source, provider) in [
        (pdf(), "groq"),
        (pdf(), "mistral"),
        (kept(Dialect::Messages), "openai"),
        (kept(Dialect::Chat), "groq"),
        (Source::Url(e("https://x/a.pdf")), "openai"),
        (broken, "openai"),
    ] {
        let case = format!("{source:?} {provider}");
        assert_eq!(part(file(source, None), provider).unwrap_err().field, "messages", "{case}");
    }
    let flags = Flags::from_iter([Flag::Pdf]);
    let target = Target { flags: Some(flags), ..target("fireworks_ai", "m") };
    let request = Request { turns: vec![user(vec![file(pdf(), None)])], ..Request::default() };
    assert!(write(&request, &target).is_ok());
}

#[test]
fn tools_and_choices_are_written() {
    let request = |choice| Request {
        tools: vec![function("f"), function("g")],
        tool_choice: Some(choice),
        parallel_tools: Some(false),
        ..hello()
    };
    let tool = |name| {
        format!(r#"{{"type":"function","function":{{"name":"{name}","parameters":{{"type":"object"}}}}}}"#)
    };
    let both = format!(r#""tools":[{},{}],"parallel_tool_calls":false,"tool_choice":"#, tool("f"), tool("g"));
    let named = r#"{"type":"function","function":{"name":"g"}}"#;
    let only = |required| ToolChoice::Allowed { names: vec![e("g")], required };
    for (choice, expected) in [
        (ToolChoice::Auto, "\"auto\"".to_owned()),
        (ToolChoice::Never, "\"none\"".to_owned()),
        (ToolChoice::Required, "\"required\"".to_owned()),
        (ToolChoice::Named(e("g")), named.to_owned()),
        (
            only(true),
            format!(r#"{{"type":"allowed_tools","allowed_tools":{{"mode":"required","tools":[{named}]}}}}"#),
        ),
    ] {
        let (sent, dropped) = members(&request(choice), "openai", "gpt-4.1").unwrap();
        assert_eq!((sent, dropped), (format!("{both}{expected}"), vec![]));
    }
    let (sent, dropped) = members(&request(only(false)), "together_ai", "m").unwrap();
    assert_eq!(sent, format!(r#""tools":[{}],"tool_choice":"auto""#, tool("g")));
    assert_eq!(dropped, ["parallel_tool_calls"]);
    let refused = |request: &Request<'_>| members(request, "groq", "m").unwrap_err().field;
    assert_eq!(refused(&request(ToolChoice::Allowed { names: vec![e("x")], required: true })), "tool_choice");
    assert_eq!(refused(&Request { tool_choice: Some(ToolChoice::Required), ..hello() }), "tool_choice");
    let search =
        ToolKind::Native { dialect: Dialect::Messages, name: e("s"), json: Json::trusted("{}".into()) };
    assert_eq!(refused(&Request { tools: vec![Tool { kind: search, cache: None }], ..hello() }), "tools");
    let flags = Some(Flags::from_iter([Flag::NoForcedTool]));
    let target = Target { flags, ..target("openai", "gpt-4.1") };
    assert_eq!(write(&request(ToolChoice::Required), &target).unwrap_err().field, "tool_choice");
}

#[test]
fn a_choice_without_tools_that_asks_for_nothing_is_left_out() {
    let request = Request { tool_choice: Some(ToolChoice::Auto), parallel_tools: Some(true), ..hello() };
    assert_eq!(members(&request, "openai", "gpt-4.1").unwrap().0, "");
}

#[test]
fn limits_of_the_model_and_the_host_hold() {
    let limited = |tokens| Request { output_limit: Some(tokens), ..hello() };
    let sent = |request, provider| members(&request, provider, "m").unwrap().0;
    assert_eq!(sent(limited(9000), "openai"), r#""max_completion_tokens":4096"#);
    assert_eq!(sent(limited(10), "together_ai"), r#""max_tokens":10"#);
    let stop = |count: usize| Request { stop: vec![e("x"); count], ..hello() };
    assert_eq!(sent(stop(2), "groq"), r#""stop":["x","x"]"#);
    assert_eq!(sent(stop(5), "deepseek"), r#""stop":["x","x","x","x","x"]"#);
    assert_eq!(members(&stop(5), "groq", "m").unwrap_err().field, "stop");
    assert_eq!(members(&stop(1), "openai", "gpt-5").unwrap_err().field, "stop");
    let two = Request { n: 2, ..hello() };
    assert_eq!(sent(Request { n: 2, ..hello() }, "openai"), r#""n":2"#);
    assert_eq!(members(&two, "groq", "m").unwrap_err().field, "n");
    let logprobs = Request { logprobs: Some(Logprobs { top: 2 }), ..hello() };
    assert_eq!(members(&logprobs, "groq", "m").unwrap_err().field, "logprobs");
    assert_eq!(sent(logprobs, "openai"), r#""logprobs":true,"top_logprobs":2"#);
}

#[test]
fn the_form_of_the_answer_is_written() {
    let schema = || Json::trusted(r#"{"a": 1.0}"#.into());
    let unnamed = Format::JsonSchema { name: None, description: None, schema: schema(), strict: None };
    let full = Format::JsonSchema {
        name: Some(e("n")),
        description: Some(e("d")),
        schema: schema(),
        strict: Some(true),
    };
    for (format, expected) in [
        (Format::Text, ""),
        (Format::JsonObject, r#""response_format":{"type":"json_object"}"#),
        (
            unnamed,
            r#""response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"a": 1.0}}}"#,
        ),
        (
            full.clone(),
            r#""response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","schema":{"a": 1.0},"strict":true}}"#,
        ),
    ] {
        assert_eq!(members(&Request { format, ..hello() }, "openai", "gpt-4.1").unwrap().0, expected);
    }
    let told = write(&Request { format: full, ..hello() }, &target("deepseek", "deepseek-flash")).unwrap();
    assert_eq!(told.dropped, ["response_format.json_schema"]);
    assert!(body(&told).contains(r#""response_format":{"type":"json_object"}"#));
}

#[test]
fn thinking_is_told_in_the_models_words() {
    let sent =
        |thinking, provider, model| members(&Request { thinking, ..hello() }, provider, model).unwrap();
    let budget = Thinking { budget_tokens: Some(4000), ..Thinking::default() };
    let effort = |effort| Thinking { effort: Some(effort), ..Thinking::default() };
    assert_eq!(sent(budget, "openai", "gpt-5.4").0, r#""reasoning_effort":"medium""#);
    assert_eq!(
        sent(effort(Effort::None), "deepseek", "deepseek-flash").0,
        r#""thinking":{"type":"disabled"}"#
    );
    assert_eq!(sent(effort(Effort::High), "moonshot", "kimi-k2.6").0, r#""thinking":{"type":"enabled"}"#);
    assert_eq!(
        sent(effort(Effort::High), "openai", "gpt-4.1"),
        (String::new(), vec!["reasoning_effort".into()])
    );
    let seen = Thinking { visible: Some(true), ..Thinking::default() };
    assert_eq!(sent(seen, "openai", "gpt-5.4"), (String::new(), vec![]));
}

#[test]
fn settings_go_where_they_are_taken_and_are_named_elsewhere() {
    let settings = vec![
        setting(What::TopK, "top_k", "40"),
        setting(What::User, "metadata.user_id", "\"u\""),
        setting(What::ServiceTier, "service_tier", "\"standard_only\""),
        setting(What::Native, "container", "\"c\""),
        setting(What::Temperature, "temperature", "0.5"),
        setting(What::Verbosity, "text.verbosity", "\"low\""),
    ];
    let request = Request { settings, ..hello() };
    let (sent, dropped) = members(&request, "openai", "gpt-5.6").unwrap();
    assert_eq!(sent, r#""user":"u","verbosity":"low""#);
    assert_eq!(dropped, ["top_k", "service_tier", "container", "temperature"]);
    let (sent, dropped) = members(&request, "mistral", "m").unwrap();
    assert_eq!(sent, r#""top_k":40,"temperature":0.5"#);
    assert_eq!(dropped, ["service_tier", "container", "text.verbosity", "metadata.user_id"]);
    let twice = vec![setting(What::User, "user", "\"u\""), setting(What::User, "safety_identifier", "\"s\"")];
    let request = Request { settings: twice, ..hello() };
    assert_eq!(members(&request, "openai", "gpt-4o").unwrap().0, r#""user":"u","safety_identifier":"s""#);
    assert_eq!(
        members(&request, "xai", "m").unwrap(),
        (r#""user":"u""#.into(), vec!["safety_identifier".into()])
    );
    let wrong = Request { settings: vec![setting(What::Temperature, "generation.heat", "7")], ..hello() };
    assert_eq!(members(&wrong, "xai", "m").unwrap_err().field, "generation.heat");
}

#[test]
fn a_long_user_id_is_hashed() {
    let long = format!("\"{}\"", "u".repeat(65));
    let user =
        |value: &str| Request { settings: vec![setting(What::User, "metadata.user_id", value)], ..hello() };
    let (sent, _) = members(&user(&long), "openai", "gpt-4o").unwrap();
    let hash = sent.strip_prefix(r#""user":""#).unwrap().trim_end_matches('"');
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{sent}");
    assert_eq!(members(&user(&long), "openai", "gpt-4o").unwrap().0, sent);
    let short = format!("\"{}\"", "u".repeat(64));
    assert_eq!(members(&user(&short), "openai", "gpt-4o").unwrap().0, format!(r#""user":{short}"#));
}

#[test]
fn a_stream_asks_for_its_usage() {
    let request = Request { stream: true, ..hello() };
    let encoded = write(&request, &target("openai", "gpt-4o")).unwrap();
    assert!(encoded.asked_for_usage);
    assert!(body(&encoded).ends_with(r#""stream":true,"stream_options":{"include_usage":true}}"#));
    let encoded = write(&request, &target("xai", "grok-4")).unwrap();
    assert!(encoded.reading.reasoning_outside_output && encoded.reading.seed == "s1");
    assert!(!write(&request, &target("mistral", "m")).unwrap().asked_for_usage);
}
