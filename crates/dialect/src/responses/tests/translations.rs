use super::*;
use crate::{
    Unsupported,
    canonical::{
        Effort, Format, Json, Logprobs, Part, Reasoning, Request, Role, Setting, Signature, Source, Thinking,
        Tool, ToolCall, ToolChoice, ToolKind, ToolResult, Turn, What,
    },
};
use proptest::prelude::*;

fn written(request: &Request<'_>, provider: &str, model: &str) -> (String, Vec<String>) {
    let encoded = write(request, &target(provider, model)).unwrap();
    let dropped = encoded.dropped.iter().map(ToString::to_string).collect();
    (String::from_utf8(encoded.body).unwrap(), dropped)
}

fn text(inner: &str) -> Escaped<'static> {
    Escaped::from_inner(inner.to_owned())
}

fn said(inner: &str) -> Part<'static> {
    Part::Text { text: text(inner), cache: None }
}

fn turn(role: Role, parts: Vec<Part<'static>>) -> Turn<'static> {
    Turn { role, name: None, parts }
}

fn setting(what: What, name: &'static str, value: &str) -> Setting<'static> {
    Setting { what, name: name.into(), value: Json::trusted(value.to_owned()) }
}

#[test]
fn a_conversation_with_tools_is_written_as_its_golden_file_has_it() {
    let request = request(golden!("request.json"));
    let (body, dropped) = written(request.canonical().unwrap(), "openai", "gpt-5.4");
    assert_eq!(body, golden!("written.json").trim_end());
    assert_eq!(dropped, ["temperature", "truncation", "x_unknown"]);
}

#[test]
fn nothing_is_kept_at_the_provider_unless_the_client_says_so() {
    let mut request = Request { turns: vec![turn(Role::User, vec![said("x")])], ..Request::default() };
    assert!(written(&request, "openai", "gpt-5.4").0.contains(r#""store":false"#));
    request.settings.push(setting(What::Store, "store", "true"));
    assert!(written(&request, "openai", "gpt-5.4").0.contains(r#""store":true"#));
}

#[test]
fn what_changes_the_answer_is_refused_and_hints_are_named() {
    let plain = || Request { turns: vec![turn(Role::User, vec![said("x")])], ..Request::default() };
    let refused = |request: &Request<'_>, provider: &str| -> Unsupported {
        write(request, &target(provider, "gpt-5.4")).unwrap_err()
    };
    assert_eq!(refused(&Request { n: 2, ..plain() }, "openai").field, "n");
    assert_eq!(refused(&Request { stop: vec![text("a")], ..plain() }, "openai").field, "stop");
    let thinking = Thinking { effort: Some(Effort::High), ..Thinking::default() };
    let logprobs = Some(Logprobs { top: 2 });
    assert_eq!(refused(&Request { logprobs, thinking, ..plain() }, "openai").field, "logprobs");
    let named = Some(ToolChoice::Named(text("f")));
    let tool = |kind| Tool { kind, cache: None };
    let function =
        tool(ToolKind::Function { name: text("f"), description: None, parameters: None, strict: None });
    let request = Request { tools: vec![function], tool_choice: named, ..plain() };
    assert_eq!(refused(&request, "perplexity").field, "tool_choice");
    let foreign =
        ToolKind::Native { dialect: Dialect::Messages, name: text("b"), json: Json::trusted("{}".into()) };
    assert_eq!(refused(&Request { tools: vec![tool(foreign)], ..plain() }, "openai").field, "tools");
    assert_eq!(
        refused(&Request { format: Format::JsonObject, ..plain() }, "perplexity").field,
        "response_format"
    );
    let settings = vec![
        setting(What::Seed, "seed", "1"),
        setting(What::LogitBias, "logit_bias", "{}"),
        setting(What::FrequencyPenalty, "frequency_penalty", "1"),
        setting(What::TopK, "top_k", "3"),
        setting(What::Temperature, "temperature", "0.50"),
        setting(What::User, "metadata.user_id", "\"u\""),
        setting(What::ServiceTier, "service_tier", "\"standard_only\""),
        setting(What::Native, "odd", "1"),
    ];
    let request = Request { settings, output_limit: Some(3), logprobs, ..plain() };
    let (body, dropped) = written(&request, "openai", "gpt-4o");
    assert_eq!(
        body,
        concat!(
            r#"{"model":"gpt-4o","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"x"}]}],"#,
            r#""max_output_tokens":16,"top_logprobs":2,"include":["message.output_text.logprobs"],"temperature":0.50,"#,
            r#""safety_identifier":"u","service_tier":"default","store":false}"#
        )
    );
    assert_eq!(dropped, ["seed", "logit_bias", "frequency_penalty", "top_k", "odd"]);
}

#[test]
fn media_only_another_provider_keeps_is_refused() {
    for source in [
        Source::Id { id: text("f"), dialect: Dialect::Messages },
        Source::Id { id: text("f"), dialect: Dialect::Gemini },
    ] {
        let part = Part::File { source, name: None, cache: None };
        let request = Request { turns: vec![turn(Role::User, vec![part])], ..Request::default() };
        let refused = write(&request, &target("openai", "gpt-5.4")).unwrap_err();
        assert_eq!(refused.field, "messages[].content");
    }
}

#[test]
fn only_its_maker_gets_reasoning_back() {
    let openai = ProviderId::by_id("openai").unwrap();
    let marked = Signature::mark(openai, "gpt-5.4", &text("gAAA"));
    let reasoning = |value: &Escaped<'static>| {
        Part::Reasoning(Reasoning {
            text: text("Hm."),
            signature: Some(Signature::new(value.clone(), Dialect::Messages)),
            redacted: false,
        })
    };
    let parts = vec![reasoning(&marked), reasoning(&text("foreign")), said("x")];
    let request = Request { turns: vec![turn(Role::Assistant, parts)], ..Request::default() };
    let (body, dropped) = written(&request, "openai", "gpt-5.4");
    assert!(body.contains(
        r#"{"type":"reasoning","summary":[{"type":"summary_text","text":"Hm."}],"encrypted_content":"gAAA"}"#
    ));
    assert_eq!((body.matches("encrypted_content\":").count(), dropped), (1, vec!["reasoning".to_owned()]));
    assert!(!written(&request, "openai", "gpt-5.5").0.contains("gAAA"));
}

#[test]
fn an_end_users_id_that_is_too_long_is_shortened() {
    let long = format!("\"{}\"", "x".repeat(80));
    let turns = vec![turn(Role::User, vec![said("x")])];
    let settings = vec![setting(What::User, "metadata.user_id", &long)];
    let (body, _) = written(&Request { turns, settings, ..Request::default() }, "openai", "gpt-4o");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["safety_identifier"].as_str().unwrap().len(), 64);
}

fn word() -> impl Strategy<Value = Escaped<'static>> {
    r#"([ -!#-\[\]-~é😀]|\\\\n|\\\\ud83d|\\\\/){1,8}"#.prop_map(|word| text(&word))
}

fn user_part() -> impl Strategy<Value = Part<'static>> {
    let source = prop_oneof![
        word().prop_map(|word| Source::Url(text(&format!("https://x.test/{}", word.inner())))),
        "[A-Za-z0-9+/]{1,8}"
            .prop_map(|data| Source::Data { media_type: text("image/png"), data: text(&data) }),
        word().prop_map(|id| Source::Id { id, dialect: Dialect::Responses }),
    ];
    prop_oneof![
        3 => word().prop_map(|text| Part::Text { text, cache: None }),
        1 => source.clone().prop_map(|source| Part::Image { source, detail: Some(text("low")), cache: None }),
        1 => (source.prop_filter("ids have no name", |source| !matches!(source, Source::Id { .. })), word())
            .prop_map(|(source, name)| Part::File { source, name: Some(name), cache: None }),
        1 => "[A-Za-z0-9+/]{4}".prop_map(|data| Part::Audio { data: text(&data), format: text("wav") }),
    ]
}

fn turns() -> impl Strategy<Value = Vec<Turn<'static>>> {
    let user = prop::collection::vec(user_part(), 1..3).prop_map(|parts| turn(Role::User, parts));
    let developer = word().prop_map(|text| turn(Role::Developer, vec![Part::Text { text, cache: None }]));
    let reasoning = "[A-Za-z0-9]{4}".prop_map(|value| {
        let signature = Some(Signature::new(text(&value), Dialect::Responses));
        Part::Reasoning(Reasoning { text: text("Hm."), signature, redacted: false })
    });
    let call = (word(), word()).prop_map(|(id, name)| {
        Part::ToolCall(ToolCall {
            id,
            name,
            arguments: text("{\\\"a\\\": 1.0}"),
            signature: None,
            cache: None,
        })
    });
    let answer = prop::option::of(word().prop_map(Part::Refusal));
    let assistant =
        (reasoning, prop::collection::vec(call, 0..3), answer).prop_map(|(first, calls, last)| {
            turn(Role::Assistant, [first].into_iter().chain(calls).chain(last).collect())
        });
    let results =
        prop::collection::vec((word(), prop::collection::vec(word(), 1..3)), 1..3).prop_map(|results| {
            let result = |(call_id, texts): (Escaped<'static>, Vec<Escaped<'static>>)| {
                let content = texts.into_iter().map(|text| Part::Text { text, cache: None }).collect();
                Part::ToolResult(ToolResult { call_id, content, is_error: false, cache: None })
            };
            turn(Role::User, results.into_iter().map(result).collect())
        });
    // Consecutive parts are never of one kind, so that nothing is joined.
    (developer, prop::collection::vec((user, assistant, results), 0..3)).prop_map(|(first, rounds)| {
        let rounds = rounds.into_iter().flat_map(|(user, assistant, results)| [user, assistant, results]);
        [first].into_iter().chain(rounds).collect()
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back_as_the_same(
        turns in turns(),
        stream in any::<bool>(),
        limit in prop::option::of(16u64..9999),
        parallel in prop::option::of(any::<bool>()),
        name in word(),
        choice in 0usize..5,
    ) {
        let function = ToolKind::Function {
            name: name.clone(),
            description: Some(name.clone()),
            parameters: Some(Json::trusted(r#"{"type":"object","x":1e5}"#.into())),
            strict: Some(stream),
        };
        let names = vec![name.clone()];
        let choices = [
            None,
            Some(ToolChoice::Auto),
            Some(ToolChoice::Required),
            Some(ToolChoice::Named(name.clone())),
            Some(ToolChoice::Allowed { names, required: stream }),
        ];
        let request = Request {
            turns,
            tools: vec![Tool { kind: function, cache: None }],
            tool_choice: choices[choice].clone(),
            parallel_tools: parallel,
            format: Format::JsonSchema {
                name: Some(name),
                description: None,
                schema: Json::trusted("{}".into()),
                strict: Some(stream),
            },
            output_limit: limit,
            thinking: Thinking { effort: Some(Effort::High), budget_tokens: None, visible: Some(true) },
            stream,
            settings: vec![
                setting(What::Metadata, "metadata", r#"{"a":"b"}"#),
                setting(What::User, "user", "\"u\""),
                setting(What::PromptCacheKey, "prompt_cache_key", "\"k\""),
            ],
            ..Request::default()
        };
        let (body, dropped) = written(&request, "openai", "gpt-5.4");
        prop_assert!(dropped.is_empty());
        let read = super::request(&body);
        prop_assert_eq!(read.canonical().unwrap(), &request);
    }
}
