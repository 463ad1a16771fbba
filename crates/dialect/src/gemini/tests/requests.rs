use super::*;
use crate::{
    Unsupported,
    canonical::{
        Cache, Effort, Format, Json, Logprobs, Reasoning, Setting, Signature, Source, Thinking, Tool,
        ToolCall, ToolChoice, ToolKind, ToolResult, What,
    },
};

const CONVERSATION: &str = include_str!("../../../tests/golden/gemini/conversation.json");
const ELSEWHERE: &str = include_str!("../../../tests/golden/gemini/elsewhere.json");
const OLDER: &str = include_str!("../../../tests/golden/gemini/older.json");

fn inner(inner: &str) -> Escaped<'_> {
    Escaped::from_inner(inner)
}

fn json(text: &str) -> Json<'static> {
    Json::parse(text.to_owned()).unwrap()
}

fn call(id: &'static str, name: &'static str, arguments: &str) -> ToolCall<'static> {
    let arguments = Escaped::from_text(arguments);
    ToolCall { id: inner(id), name: inner(name), arguments, signature: None, cache: None }
}

fn result(id: &'static str, content: Vec<Part<'static>>) -> ToolResult<'static> {
    ToolResult { call_id: inner(id), content, is_error: false, cache: None }
}

fn data(media_type: &'static str, data: &'static str) -> Source<'static> {
    Source::Data { media_type: inner(media_type), data: inner(data) }
}

fn image(source: Source<'static>) -> Part<'static> {
    Part::Image { source, detail: None, cache: None }
}

fn function(
    name: &'static str,
    description: Option<&'static str>,
    parameters: Option<&str>,
) -> Tool<'static> {
    let (description, parameters) = (description.map(inner), parameters.map(json));
    Tool {
        kind: ToolKind::Function { name: inner(name), description, parameters, strict: None },
        cache: None,
    }
}

fn setting(what: What, name: &'static str, value: &str) -> Setting<'static> {
    Setting { what, name: name.into(), value: json(value) }
}

/// Body and names of dropped fields.
fn written(request: &Request<'_>, target: &Target<'_>) -> Result<(String, Vec<String>), Unsupported> {
    let encoded = write(request, target)?;
    let dropped = encoded.dropped.into_iter().map(Into::into).collect();
    Ok((String::from_utf8(encoded.body).unwrap(), dropped))
}

/// The members of the body beside the conversation of [`hi`].
fn beside(request: &Request<'_>, target: &Target<'_>) -> (String, Vec<String>) {
    let (body, dropped) = written(request, target).unwrap();
    let rest = body.strip_prefix(r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]"#).unwrap();
    (rest.trim_start_matches(',').to_owned(), dropped)
}

fn refused(request: &Request<'_>, target: &Target<'_>) -> String {
    write(request, target).unwrap_err().field.into_owned()
}

fn said(parts: Vec<Part<'static>>) -> Request<'static> {
    Request { turns: vec![turn(Role::User, parts)], ..Request::default() }
}

fn conversation() -> Vec<Turn<'static>> {
    let google = ProviderId::by_id("google").unwrap();
    let marked = Signature::mark(google, "gemini-3.5-flash", &inner("QUJD"));
    let foreign = Signature::new(inner("EqQB"), Dialect::Messages);
    let reasoning =
        |text, signature| Part::Reasoning(Reasoning { text: inner(text), signature, redacted: false });
    let failed = vec![text("no \"wind\""), text("at all"), image(data("image/jpeg", "/9j/"))];
    vec![
        turn(Role::System, vec![text("Be brief.")]),
        turn(
            Role::User,
            vec![
                Part::Text { text: inner(r"What is \ud83d\ude00 \/ this?"), cache: Some(Cache::Short) },
                image(data("image/png", "iVBORw0KGgo=")),
                Part::Audio { data: inner("UklGRg=="), format: inner("wav") },
                Part::File {
                    source: data("application/pdf", "JVBERi0="),
                    name: Some(inner("a.pdf")),
                    cache: None,
                },
                image(Source::Url(inner("gs://bucket/tide.png"))),
            ],
        ),
        turn(Role::Developer, vec![text("Be kind.")]),
        Turn { name: Some(inner("Ann")), ..turn(Role::User, vec![text("Two tides."), text("")]) },
        turn(
            Role::Assistant,
            vec![
                reasoning("Not ours.", Some(foreign)),
                reasoning("Nobody's.", None),
                reasoning("Looking.", Some(Signature::new(marked, Dialect::Messages))),
                text("I look."),
            ],
        ),
        turn(
            Role::User,
            vec![
                Part::ToolResult(result("call_1", vec![text(r#"{"height": 1.50}"#)])),
                text("And now?"),
                Part::ToolResult(ToolResult { is_error: true, ..result("call_2", failed) }),
            ],
        ),
    ]
}

#[test]
fn a_conversation_with_everything_is_written_byte_for_byte() {
    let mut turns = conversation();
    let calls = [
        call("call_1", "get_tide", r#"{ "n": 12345678901234567890, "x": 1.0, "e": 1e5 }"#),
        call("call_2", "get_wind", ""),
    ];
    turns[4].parts.extend(calls.map(Part::ToolCall));
    let request = Request {
        turns,
        tools: vec![
            function("get_tide", Some("Tides"), Some(r#"{"type" : ["object","null"], "$defs":{}}"#)),
            function("get_wind", None, None),
        ],
        tool_choice: Some(ToolChoice::Named(inner("get_tide"))),
        parallel_tools: Some(false),
        format: Format::JsonSchema {
            name: Some(inner("tide")),
            description: None,
            schema: json(r#"{"type":"object" }"#),
            strict: Some(true),
        },
        output_limit: Some(100),
        stop: vec![inner(r"\u0041"), inner("END")],
        thinking: Thinking { effort: Some(Effort::Max), budget_tokens: Some(7), visible: Some(true) },
        n: 2,
        logprobs: Some(Logprobs { top: 3 }),
        stream: true,
        settings: vec![
            setting(What::Temperature, "temperature", "0.70"),
            setting(What::TopP, "top_p", "1e-1"),
            setting(What::TopK, "top_k", "40"),
            setting(What::PresencePenalty, "presence_penalty", "null"),
            setting(What::FrequencyPenalty, "frequency_penalty", "1"),
            setting(What::Seed, "seed", "12345678901234567890"),
            setting(What::ServiceTier, "service_tier", "\"flex\""),
            setting(What::LogitBias, "logit_bias", "{}"),
            setting(What::User, "user", "\"u\""),
            setting(What::User, "safety_identifier", "\"u\""),
            setting(What::Native, "prediction", "{}"),
        ],
    };
    let (body, dropped) = written(&request, &target("gemini-3.5-flash")).unwrap();
    assert_eq!(body, CONVERSATION.trim_end());
    assert_eq!(
        dropped,
        [
            "messages[].name",
            "cache_control",
            "messages[].content[].file.filename",
            "parallel_tool_calls",
            "frequency_penalty",
            "logit_bias",
            "user",
            "safety_identifier",
            "prediction"
        ]
    );
}

#[test]
fn history_of_another_model_bears_the_stand_in_on_its_first_call() {
    let calls = ["toolu_1", "toolu_2"].map(|id| Part::ToolCall(call(id, "get_tide", "null")));
    let request = Request {
        turns: vec![
            turn(Role::User, vec![text("Hi")]),
            turn(Role::Assistant, calls.to_vec()),
            turn(Role::User, vec![Part::ToolResult(result("toolu_2", vec![text("low")]))]),
            turn(Role::User, vec![Part::ToolResult(result("toolu_1", vec![text("[1]")]))]),
        ],
        thinking: Thinking { effort: Some(Effort::None), ..Thinking::default() },
        ..Request::default()
    };
    let written = written(&request, &target("gemini-flash-latest")).unwrap();
    assert_eq!(written, (ELSEWHERE.trim_end().to_owned(), vec![]));
}

#[test]
fn an_older_model_gets_no_ids_no_stand_in_and_pictures_beside_the_result() {
    let mut picture = result("call_1", vec![text("see"), image(data("image/png", "iVBORw0KGgo="))]);
    picture.cache = Some(Cache::Hour);
    let request = Request {
        turns: vec![
            turn(Role::User, vec![text("Hi")]),
            turn(Role::Assistant, vec![Part::ToolCall(call("call_1", "get_tide", "{}"))]),
            turn(Role::User, vec![Part::ToolResult(picture)]),
        ],
        thinking: Thinking { budget_tokens: Some(0), ..Thinking::default() },
        settings: vec![
            setting(What::FrequencyPenalty, "frequency_penalty", "0.5"),
            setting(What::PresencePenalty, "presence_penalty", "-1"),
        ],
        ..Request::default()
    };
    let (body, dropped) = written(&request, &target("gemini-2.5-pro")).unwrap();
    assert_eq!(body, OLDER.trim_end());
    assert_eq!(dropped, ["cache_control"]);
}

#[test]
fn a_signature_goes_back_where_it_came_from_once() {
    let ours = |value| Some(Signature::new(inner(value), Dialect::Gemini));
    let thought = |text, value| {
        Part::Reasoning(Reasoning { text: inner(text), signature: ours(value), redacted: false })
    };
    let signed = |value| Part::ToolCall(ToolCall { signature: ours(value), ..call("c", "f", "{}") });
    let bare = || Part::ToolCall(call("c", "f", "{}"));
    let f = r#"{"functionCall":{"id":"c","name":"f","args":{}}"#;
    for (parts, expected) in [
        // On a plain answer it comes last, on a part without text.
        (
            vec![text("Hello"), thought("", "A")],
            r#"{"text":"Hello"},{"text":"","thoughtSignature":"A"}"#.to_owned(),
        ),
        (
            vec![thought("Hm", "A"), text("x")],
            r#"{"text":"Hm","thought":true,"thoughtSignature":"A"},{"text":"x"}"#.into(),
        ),
        (vec![thought("", "A"), bare(), bare()], format!(r#"{f},"thoughtSignature":"A"}},{f}}}"#)),
        (
            vec![thought("Hm", "A"), signed("B")],
            format!(r#"{{"text":"Hm","thought":true,"thoughtSignature":"A"}},{f},"thoughtSignature":"B"}}"#),
        ),
        (
            vec![thought("", "A"), thought("", "B"), bare()],
            format!(r#"{{"text":"","thoughtSignature":"A"}},{f},"thoughtSignature":"B"}}"#),
        ),
        (
            vec![signed("A"), signed("B"), bare()],
            format!(r#"{f},"thoughtSignature":"A"}},{f},"thoughtSignature":"B"}},{f}}}"#),
        ),
        (
            vec![bare(), thought("", "A")],
            format!(
                r#"{f},"thoughtSignature":"c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="}},{{"text":"","thoughtSignature":"A"}}"#
            ),
        ),
    ] {
        let mut request = hi();
        request.turns.push(turn(Role::Assistant, parts));
        let (body, _) = written(&request, &target("gemini-3-pro")).unwrap();
        let model = body.split_once(r#"{"role":"model","parts":["#).unwrap().1;
        assert_eq!(model.strip_suffix("]}]}").unwrap(), expected);
    }
}

#[test]
fn the_stand_in_is_googles_word_in_base64() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    assert_eq!(STANDARD.decode(contents::STAND_IN).unwrap(), b"skip_thought_signature_validator");
}

#[test]
fn the_path_names_model_and_method() {
    for (model, stream, expected) in [
        ("gemini-3.8-flash", false, "/models/gemini-3.8-flash:generateContent"),
        ("gemini-3.8-flash", true, "/models/gemini-3.8-flash:streamGenerateContent?alt=sse"),
        ("../a b?c#d/é%:x", false, "/models/..%2Fa%20b%3Fc%23d%2F%C3%A9%25%3Ax:generateContent"),
    ] {
        let encoded = write(&Request { stream, ..hi() }, &target(model)).unwrap();
        assert_eq!(encoded.path.as_deref(), Some(expected));
        assert_eq!(encoded.reading.seed, "s33d");
    }
}

#[test]
fn every_choice_of_tools_has_its_mode() {
    let names = || vec![inner("f"), inner("g")];
    for (choice, expected) in [
        (None, ""),
        (Some(ToolChoice::Auto), r#"{"mode":"AUTO"}"#),
        (Some(ToolChoice::Never), r#"{"mode":"NONE"}"#),
        (Some(ToolChoice::Required), r#"{"mode":"ANY"}"#),
        (Some(ToolChoice::Named(inner("f"))), r#"{"mode":"ANY","allowedFunctionNames":["f"]}"#),
        (
            Some(ToolChoice::Allowed { names: names(), required: true }),
            r#"{"mode":"ANY","allowedFunctionNames":["f","g"]}"#,
        ),
        (
            Some(ToolChoice::Allowed { names: names(), required: false }),
            r#"{"mode":"VALIDATED","allowedFunctionNames":["f","g"]}"#,
        ),
    ] {
        let tools = vec![function("f", None, None), function("g", None, None)];
        let request = Request { tools, tool_choice: choice, ..hi() };
        let (rest, _) = beside(&request, &target("gemini-3-flash"));
        let config = rest.split_once(r#","toolConfig":{"functionCallingConfig":"#);
        assert_eq!(config.map_or("", |(_, config)| config.strip_suffix("}}").unwrap()), expected);
    }
}

#[test]
fn thinking_is_a_level_a_budget_or_nothing_by_generation() {
    let ask = |effort, budget_tokens, visible| Thinking { effort, budget_tokens, visible };
    for (model, thinking, expected) in [
        ("gemini-3-flash", ask(Some(Effort::Minimal), None, None), r#"{"thinkingLevel":"minimal"}"#),
        ("gemini-3.1-pro-preview", ask(Some(Effort::None), None, None), r#"{"thinkingLevel":"low"}"#),
        ("gemini-4-argon", ask(Some(Effort::XHigh), None, None), r#"{"thinkingLevel":"high"}"#),
        ("gemini-flash-latest", ask(None, Some(2048), None), r#"{"thinkingLevel":"medium"}"#),
        ("gemini-flash-latest", ask(None, Some(10_000), None), r#"{"thinkingLevel":"high"}"#),
        ("gemini-3-flash", ask(None, None, Some(true)), r#"{"includeThoughts":true}"#),
        ("gemini-3-flash", ask(None, None, Some(false)), ""),
        ("gemini-2.5-flash", ask(Some(Effort::None), None, None), r#"{"thinkingBudget":0}"#),
        ("gemini-2.5-pro", ask(Some(Effort::None), None, None), r#"{"thinkingBudget":128}"#),
        ("gemini-2.5-flash", ask(Some(Effort::Low), None, None), r#"{"thinkingBudget":1024}"#),
        ("gemini-2.5-flash", ask(Some(Effort::Medium), None, None), r#"{"thinkingBudget":2048}"#),
        (
            "gemini-2.5-flash",
            ask(Some(Effort::High), Some(5000), Some(true)),
            r#"{"thinkingBudget":5000,"includeThoughts":true}"#,
        ),
        // Exactly the values that the family accepts.
        ("gemini-2.5-flash", ask(None, Some(32_000), None), r#"{"thinkingBudget":24576}"#),
        ("gemini-2.5-pro", ask(None, Some(64_000), None), r#"{"thinkingBudget":32768}"#),
        ("gemini-2.5-flash-lite", ask(None, Some(100), None), r#"{"thinkingBudget":512}"#),
        ("gemini-2.5-flash-lite", ask(None, Some(0), None), r#"{"thinkingBudget":0}"#),
        ("gemini-2.5-flash", ask(Some(Effort::Max), None, None), r#"{"thinkingBudget":16384}"#),
        ("gemini-2.0-flash", ask(Some(Effort::High), Some(5), Some(true)), ""),
        ("gemini-2.0-flash", ask(Some(Effort::None), Some(0), None), ""),
    ] {
        let (rest, dropped) = beside(&Request { thinking, ..hi() }, &target(model));
        let config = rest.strip_prefix(r#""generationConfig":{"thinkingConfig":"#);
        assert_eq!(config.map_or("", |config| config.strip_suffix("}}").unwrap()), expected, "{model}");
        let lost = model == "gemini-2.0-flash" && thinking.effort == Some(Effort::High);
        assert_eq!(dropped, if lost { vec!["reasoning_effort", "thinking"] } else { vec![] }, "{model}");
    }
}

#[test]
fn sampling_is_dropped_and_named_where_it_means_nothing() {
    let settings = vec![
        setting(What::Temperature, "temperature", "1"),
        setting(What::TopP, "top_p", "1"),
        setting(What::TopK, "top_k", "1"),
        setting(What::Seed, "seed", "1"),
    ];
    let request = Request { settings, ..hi() };
    for (target, samples) in [
        (target("gemini-3.5-flash"), true),
        (target("gemini-3.5-flash-lite"), false),
        (target("gemini-3.6-flash"), false),
        (target("gemini-flash-latest"), false),
        (knowing("gemini-3.5-flash", &[Flag::NoSampling]), false),
        (knowing("gemini-flash-latest", &[]), true),
    ] {
        let (_, dropped) = beside(&request, &target);
        assert_eq!(dropped, if samples { vec![] } else { vec!["temperature", "top_p", "top_k"] });
    }
}

#[test]
fn service_tiers_have_googles_names() {
    for (value, expected, dropped) in [
        ("\"auto\"", "}", vec![]),
        ("\"default\"", r#""serviceTier":"standard"}"#, vec![]),
        ("\"priority\"", r#""serviceTier":"priority"}"#, vec![]),
        ("\"scale\"", "}", vec!["service_tier".to_owned()]),
        ("7", "}", vec!["service_tier".to_owned()]),
    ] {
        let settings = vec![setting(What::ServiceTier, "service_tier", value)];
        let seen = beside(&Request { settings, ..hi() }, &target("gemini-3-flash"));
        assert_eq!(seen, (expected.to_owned(), dropped));
    }
}

#[test]
fn the_answers_limit_is_the_models_at_most() {
    let target = Target { output_tokens_max: Some(65_536), ..target("gemini-3-flash") };
    for (limit, expected) in [(100_000, 65_536), (7, 7)] {
        let (rest, _) = beside(&Request { output_limit: Some(limit), ..hi() }, &target);
        assert_eq!(rest, format!(r#""generationConfig":{{"maxOutputTokens":{expected}}}}}"#));
    }
}

#[test]
fn media_are_embedded_or_stored_with_google_and_never_fetched() {
    let id = |dialect| image(Source::Id { id: inner("files/x"), dialect });
    let plain = Part::File { source: Source::Text(inner("a text")), name: None, cache: None };
    for (part, expected) in [
        (image(Source::Url(inner("files/abc"))), r#"{"fileData":{"fileUri":"files/abc"}}"#),
        (image(Source::Url(inner("https://youtu.be/x"))), r#"{"fileData":{"fileUri":"https://youtu.be/x"}}"#),
        (
            image(Source::Url(inner(r"https:\/\/www.youtube.com\/watch?v=x"))),
            r#"{"fileData":{"fileUri":"https:\/\/www.youtube.com\/watch?v=x"}}"#,
        ),
        (id(Dialect::Gemini), r#"{"fileData":{"fileUri":"files/x"}}"#),
        (plain, r#"{"text":"a text"}"#),
    ] {
        let (body, _) = written(&said(vec![part]), &target("gemini-3-flash")).unwrap();
        assert_eq!(body, format!(r#"{{"contents":[{{"role":"user","parts":[{expected}]}}]}}"#));
    }
    for part in [image(Source::Url(inner("https://example.org/a.png"))), id(Dialect::Responses)] {
        let refusal = write(&said(vec![text("x"), part]), &target("gemini-3-flash")).unwrap_err();
        assert_eq!(refusal.field, "messages[0].content[1]");
        assert!(!refusal.hint.is_empty());
    }
}

#[test]
fn what_changes_the_answer_and_cannot_be_said_is_refused_by_name() {
    let tools = || vec![function("f", None, None)];
    let native =
        ToolKind::Native { dialect: Dialect::Responses, name: inner("web_search"), json: json("{}") };
    let orphan = said(vec![Part::ToolResult(result("nobody", vec![text("x")]))]);
    let mut torn = hi();
    torn.turns.push(turn(Role::Assistant, vec![text("x"), Part::ToolCall(call("c", "f", "[1]"))]));
    let mut prefilled = hi();
    prefilled.turns.push(turn(Role::Assistant, vec![text("So")]));
    let spoken = Request { turns: vec![turn(Role::System, vec![image(data("image/png", ""))])], ..hi() };
    let picture = || said(vec![image(data("image/png", "x"))]);
    let sound = said(vec![Part::Audio { data: inner("x"), format: inner("mp3") }]);
    let pdf = said(vec![Part::File { source: data("application/pdf", "x"), name: None, cache: None }]);
    let schema = Format::JsonSchema { name: None, description: None, schema: json("{}"), strict: None };
    let new = target("gemini-3-flash");
    let bare = knowing("gemini-3-flash", &[]);
    let no_force = knowing("gemini-3-flash", &[Flag::Tools, Flag::NoForcedTool]);
    let required = Some(ToolChoice::Required);
    for (request, target, expected) in [
        (Request::default(), new, "messages"),
        (said(vec![text("")]), new, "messages"),
        (orphan, new, "messages"),
        (torn, new, "messages[1].tool_calls[0].function.arguments"),
        (prefilled, knowing("gemini-3-flash", &[Flag::NoPrefill]), "messages"),
        (spoken, new, "messages[0].content[0]"),
        (picture(), bare, "messages[0].content[0]"),
        (sound, bare, "messages[0].content[0]"),
        (pdf, bare, "messages[0].content[0]"),
        (said(vec![Part::ToolCall(call("c", "f", ""))]), new, "messages[0].content[0]"),
        (Request { tools: vec![Tool { kind: native, cache: None }], ..hi() }, new, "tools"),
        (Request { tools: tools(), ..hi() }, bare, "tools"),
        (Request { tool_choice: required.clone(), ..hi() }, new, "tool_choice"),
        (Request { tools: tools(), tool_choice: required, ..hi() }, no_force, "tool_choice"),
        (
            Request { tools: tools(), format: Format::JsonObject, ..hi() },
            target("gemini-2.5-pro"),
            "response_format",
        ),
        (Request { format: schema, ..hi() }, bare, "response_format"),
    ] {
        assert_eq!(refused(&request, &target), expected);
    }
    assert!(write(&picture(), &new).is_ok());
}
