use super::*;
use crate::{
    Unsupported,
    canonical::{
        Cache, Effort, Format, Json, Logprobs, Reasoning, Setting, Signature, Source, Thinking, Tool,
        ToolCall, ToolChoice, ToolKind, ToolResult, What,
    },
};

const CONVERSATION: &str = include_str!("../../../tests/golden/cohere/conversation.json");

fn inner(inner: &str) -> Escaped<'_> {
    Escaped::from_inner(inner)
}

fn json(text: &str) -> Json<'static> {
    Json::parse(text.to_owned()).unwrap()
}

fn call(id: &'static str, name: &'static str, arguments: &str) -> Part<'static> {
    let arguments = Escaped::from_text(arguments);
    Part::ToolCall(ToolCall { id: inner(id), name: inner(name), arguments, signature: None, cache: None })
}

fn result(id: &'static str, content: Vec<Part<'static>>, is_error: bool) -> Part<'static> {
    Part::ToolResult(ToolResult { call_id: inner(id), content, is_error, cache: None })
}

fn thought(text: &'static str, signature: Option<Signature<'static>>) -> Part<'static> {
    Part::Reasoning(Reasoning { text: inner(text), signature, redacted: false })
}

fn image(source: Source<'static>, detail: Option<&'static str>) -> Part<'static> {
    Part::Image { source, detail: detail.map(inner), cache: None }
}

fn function(name: &'static str, strict: Option<bool>) -> Tool<'static> {
    let parameters = (name == "get_tide").then(|| json(r#"{"type" : "object"}"#));
    let description = (name == "get_tide").then(|| inner("Tides"));
    Tool { kind: ToolKind::Function { name: inner(name), description, parameters, strict }, cache: None }
}

fn setting(what: What, name: &'static str, value: &str) -> Setting<'static> {
    Setting { what, name: name.into(), value: json(value) }
}

/// Body and names of dropped fields.
fn written(request: &Request<'_>, target: &Target<'_>) -> Result<(String, Vec<String>), Unsupported> {
    let encoded = write(request, target)?;
    assert_eq!(encoded.path, None);
    let dropped = encoded.dropped.into_iter().map(Into::into).collect();
    Ok((String::from_utf8(encoded.body).unwrap(), dropped))
}

/// The members of the body beside the conversation of [`hi`].
fn beside(request: &Request<'_>, target: &Target<'_>) -> (String, Vec<String>) {
    let (body, dropped) = written(request, target).unwrap();
    let (_, rest) = body.split_once(r#""messages":[{"role":"user","content":"Hi"}]"#).unwrap();
    (rest.trim_start_matches(',').trim_end_matches('}').to_owned(), dropped)
}

fn said(parts: Vec<Part<'static>>) -> Request<'static> {
    Request { turns: vec![turn(Role::User, parts)], ..Request::default() }
}

fn conversation() -> Vec<Turn<'static>> {
    let png = Source::Data { media_type: inner("image/png"), data: inner("iVBORw0KGgo=") };
    let foreign = Signature::new(inner("EqQB"), Dialect::Messages);
    vec![
        turn(Role::System, vec![text("Be brief.")]),
        turn(
            Role::Developer,
            vec![text("Be kind."), Part::Text { text: inner(r"Be \ud83d\ude00."), cache: None }],
        ),
        turn(
            Role::User,
            vec![
                Part::Text { text: inner(r"What is \/ this?"), cache: Some(Cache::Short) },
                image(png, Some("low")),
                image(Source::Url(inner("https://example.org/a.png")), None),
            ],
        ),
        turn(
            Role::Assistant,
            vec![
                thought("Not ours.", Some(foreign)),
                thought("I think.", None),
                text("I look."),
                call("call_1", "get_tide", r#"{ "n": 12345678901234567890, "x": 1.0 }"#),
                call("call_2", "get_wind", ""),
            ],
        ),
        Turn {
            name: Some(inner("Ann")),
            ..turn(
                Role::User,
                vec![
                    result("call_1", vec![text(r#"{"height": 1.50}"#)], false),
                    text("And now?"),
                    result("call_2", vec![text("no"), text("wind")], true),
                ],
            )
        },
        turn(Role::Assistant, vec![thought("Well.", None), text("High.")]),
        turn(Role::User, vec![text("Thanks")]),
    ]
}

#[test]
fn a_conversation_with_everything_is_written_byte_for_byte() {
    let request = Request {
        turns: conversation(),
        tools: vec![function("get_tide", Some(true)), function("get_wind", None)],
        tool_choice: Some(ToolChoice::Named(inner("get_tide"))),
        parallel_tools: Some(true),
        format: Format::JsonSchema {
            name: Some(inner("tide")),
            description: Some(inner("x")),
            schema: json(r#"{"type":"object" }"#),
            strict: Some(true),
        },
        output_limit: Some(100),
        stop: vec![inner(r"\u0041")],
        thinking: Thinking { effort: Some(Effort::Low), budget_tokens: None, visible: Some(true) },
        n: 1,
        logprobs: Some(Logprobs { top: 0 }),
        stream: true,
        settings: vec![
            setting(What::Temperature, "temperature", "0.70"),
            setting(What::TopP, "top_p", "1e-1"),
            setting(What::TopK, "top_k", "40"),
            setting(What::FrequencyPenalty, "frequency_penalty", "0.5"),
            setting(What::PresencePenalty, "presence_penalty", "0"),
            setting(What::Seed, "seed", "12345678901234567890"),
            setting(What::ServiceTier, "service_tier", "\"auto\""),
            setting(What::ServiceTier, "service_tier", "\"flex\""),
            setting(What::User, "metadata.user_id", "\"u\""),
            setting(What::LogitBias, "logit_bias", "null"),
        ],
    };
    let (body, dropped) = written(&request, &target("command-a-plus-05-2026")).unwrap();
    assert_eq!(body, CONVERSATION.trim_end());
    assert_eq!(
        dropped,
        [
            "cache_control",
            "messages[].name",
            "parallel_tool_calls",
            "response_format.json_schema.description",
            "service_tier",
            "metadata.user_id"
        ]
    );
}

#[test]
fn a_choice_by_name_leaves_out_the_other_tools() {
    let names = |names: &[&'static str]| names.iter().map(|name| inner(name)).collect::<Vec<_>>();
    for (choice, tools, word) in [
        (None, "fg", ""),
        (Some(ToolChoice::Auto), "fg", ""),
        (Some(ToolChoice::Never), "fg", "NONE"),
        (Some(ToolChoice::Required), "fg", "REQUIRED"),
        (Some(ToolChoice::Named(inner(r"\u0067"))), "g", "REQUIRED"),
        (Some(ToolChoice::Allowed { names: names(&["f"]), required: false }), "f", ""),
        (Some(ToolChoice::Allowed { names: names(&["g", "h"]), required: true }), "g", "REQUIRED"),
    ] {
        let request =
            Request { tools: vec![function("f", None), function("g", None)], tool_choice: choice, ..hi() };
        let (rest, _) = beside(&request, &target("command-a"));
        let declared: Vec<String> = tools
            .chars()
            .map(|name| {
                format!(
                    r#"{{"type":"function","function":{{"name":"{name}","parameters":{{"type":"object","properties":{{}}}}}}}}"#
                )
            })
            .collect();
        let word = if word.is_empty() { String::new() } else { format!(r#","tool_choice":"{word}""#) };
        // The braces at the end of the object were trimmed.
        let expected = format!("\"tools\":[{}]{word}", declared.join(","));
        assert_eq!(rest, expected.trim_end_matches('}'));
    }
}

#[test]
fn strictness_that_not_all_tools_share_is_dropped_and_named() {
    for (strict, expected, dropped) in [
        ([Some(true), Some(true)], true, vec![]),
        ([Some(true), None], false, vec!["tools[].function.strict"]),
        ([Some(false), None], false, vec![]),
    ] {
        let tools = vec![function("f", strict[0]), function("g", strict[1])];
        let (rest, names) = beside(&Request { tools, ..hi() }, &target("command-a"));
        assert_eq!(
            (rest.contains(r#""strict_tools":true"#), names),
            (expected, dropped.into_iter().map(str::to_owned).collect())
        );
    }
}

#[test]
fn thinking_is_on_off_or_bounded() {
    let ask = |effort, budget_tokens| Thinking { effort, budget_tokens, visible: None };
    let reasons = knowing("command-a-reasoning-08-2025", &[Flag::Reasoning]);
    for (target, thinking, expected, dropped) in [
        (reasons, ask(None, None), "", vec![]),
        (reasons, ask(Some(Effort::None), None), r#""thinking":{"type":"disabled"#, vec![]),
        (reasons, ask(None, Some(0)), r#""thinking":{"type":"disabled"#, vec![]),
        (reasons, ask(Some(Effort::Max), None), r#""thinking":{"type":"enabled"#, vec![]),
        (
            reasons,
            ask(Some(Effort::None), Some(99)),
            r#""thinking":{"type":"enabled","token_budget":99"#,
            vec![],
        ),
        (knowing("command-a-03-2025", &[]), ask(Some(Effort::High), None), "", vec!["reasoning_effort"]),
        (knowing("command-a-03-2025", &[]), ask(None, Some(9)), "", vec!["thinking"]),
        (knowing("command-a-03-2025", &[]), ask(Some(Effort::None), None), "", vec![]),
        (target("command-r-plus"), ask(Some(Effort::Low), None), "", vec!["reasoning_effort"]),
    ] {
        let (rest, names) = beside(&Request { thinking, ..hi() }, &target);
        assert_eq!(rest.trim_end_matches(['"']), expected.trim_end_matches(['"']));
        assert_eq!(names, dropped);
    }
}

#[test]
fn what_changes_the_answer_and_cannot_be_said_is_refused_by_name() {
    let tools = || vec![function("f", None)];
    let native =
        ToolKind::Native { dialect: Dialect::Responses, name: inner("web_search"), json: json("{}") };
    let new = target("command-a-plus-05-2026");
    let bare = knowing("command-a", &[]);
    let no_force = knowing("command-a", &[Flag::Tools, Flag::NoForcedTool]);
    let url = || Source::Url(inner("https://example.org/a.pdf"));
    let picture = || image(Source::Url(inner("https://example.org/a.png")), None);
    let file = Part::File { source: url(), name: None, cache: None };
    let sound = Part::Audio { data: inner("x"), format: inner("wav") };
    let kept = image(Source::Id { id: inner("file-1"), dialect: Dialect::Responses }, None);
    let schema = Format::JsonSchema { name: None, description: None, schema: json("{}"), strict: None };
    let mut prefilled = hi();
    prefilled.turns.push(turn(Role::Assistant, vec![text("So")]));
    let mut painted = hi();
    painted.turns.push(turn(Role::Assistant, vec![picture()]));
    for (request, target, expected) in [
        (Request { n: 2, ..hi() }, new, "n"),
        (Request { logprobs: Some(Logprobs { top: 1 }), ..hi() }, new, "top_logprobs"),
        (Request::default(), new, "messages"),
        (prefilled, knowing("command-a", &[Flag::NoPrefill]), "messages"),
        (painted, new, "messages[1].content[0]"),
        (Request { turns: vec![turn(Role::System, vec![picture()])], ..hi() }, new, "messages[0].content[0]"),
        (said(vec![text("x"), file]), new, "messages[0].content[1]"),
        (said(vec![sound]), new, "messages[0].content[0]"),
        (said(vec![kept]), new, "messages[0].content[0]"),
        (said(vec![picture()]), bare, "messages[0].content[0]"),
        (said(vec![result("c", vec![picture()], false)]), new, "messages[0].content[0]"),
        (said(vec![call("c", "f", "{}"), text("x")]), new, "messages[0].content[0]"),
        (Request { tools: vec![Tool { kind: native, cache: None }], ..hi() }, new, "tools"),
        (Request { tools: tools(), ..hi() }, bare, "tools"),
        (
            Request { tools: tools(), tool_choice: Some(ToolChoice::Named(inner("g"))), ..hi() },
            new,
            "tool_choice",
        ),
        (Request { tool_choice: Some(ToolChoice::Required), ..hi() }, new, "tool_choice"),
        (
            Request { tools: tools(), tool_choice: Some(ToolChoice::Required), ..hi() },
            no_force,
            "tool_choice",
        ),
        (
            Request { tools: tools(), format: Format::JsonObject, ..hi() },
            target("command-r-08-2024"),
            "response_format",
        ),
        (Request { format: schema, ..hi() }, bare, "response_format"),
    ] {
        assert_eq!(write(&request, &target).unwrap_err().field, expected);
    }
}
