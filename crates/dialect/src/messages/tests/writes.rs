use super::*;
use crate::{
    Encoded, Unsupported,
    canonical::{
        Json, Part, Reasoning, Request, Role, Setting, Signature, Source, Tool, ToolCall, ToolKind,
        ToolResult, Turn, What,
    },
    json::Escaped,
};

pub(super) fn text(text: &str) -> Part<'static> {
    Part::Text { text: Escaped::from_text(text), cache: None }
}

pub(super) fn turn(role: Role, parts: Vec<Part<'static>>) -> Turn<'static> {
    Turn { role, name: None, parts }
}

pub(super) fn call(id: &str, arguments: &str) -> Part<'static> {
    Part::ToolCall(ToolCall {
        id: Escaped::from_text(id),
        name: Escaped::from_text("f"),
        arguments: Escaped::from_text(arguments),
        signature: None,
        cache: None,
    })
}

pub(super) fn result(id: &str) -> Part<'static> {
    let call_id = Escaped::from_text(id);
    Part::ToolResult(ToolResult { call_id, content: vec![text("r")], is_error: false, cache: None })
}

pub(super) fn tool(name: &str) -> Tool<'static> {
    let name = Escaped::from_text(name);
    Tool { kind: ToolKind::Function { name, description: None, parameters: None, strict: None }, cache: None }
}

pub(super) fn setting(what: What, name: &'static str, value: &str) -> Setting<'static> {
    Setting { what, name: name.into(), value: Json::parse(value.to_owned()).unwrap() }
}

/// `hi`, and nothing else.
pub(super) fn hi() -> Request<'static> {
    asking(vec![turn(Role::User, vec![text("hi")])])
}

pub(super) fn asking(turns: Vec<Turn<'static>>) -> Request<'static> {
    Request { turns, output_limit: Some(9000), ..Request::default() }
}

pub(super) fn try_write(model: &str, request: &Request<'_>) -> Result<Encoded, Unsupported> {
    write(request, &target("anthropic", model))
}

/// The body without what `hi` always has, and what was dropped.
pub(super) fn written(model: &str, request: &Request<'_>) -> (String, Vec<String>) {
    let encoded = try_write(model, request).unwrap();
    let body = String::from_utf8(encoded.body).unwrap();
    let head = format!(r#"{{"model":"{model}","max_tokens":9000,"#);
    let rest = body.strip_prefix(&head).unwrap_or_else(|| panic!("{body}"));
    let hi = r#""messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]"#;
    let rest = rest.replace(hi, "").trim_matches(',').to_owned();
    (rest.strip_suffix('}').unwrap().to_owned(), encoded.dropped.into_iter().map(Into::into).collect())
}

fn messages_of(model: &str, turns: Vec<Turn<'static>>) -> String {
    written(model, &asking(turns)).0
}

pub(super) fn refused(model: &str, request: &Request<'_>) -> String {
    try_write(model, request).unwrap_err().to_string()
}

#[test]
fn a_conversation_with_everything_is_written() {
    let request = read_ok(golden!("conversation.json"));
    for (model, expected) in [
        ("claude-opus-5-5", golden!("conversation.claude-opus-5-5.json")),
        ("claude-sonnet-4-5-20250929", golden!("conversation.claude-sonnet-4-5.json")),
    ] {
        let encoded = try_write(model, request.canonical()).unwrap();
        let dropped: Vec<&str> = encoded.dropped.iter().map(AsRef::as_ref).collect();
        let shown = format!("{}\n{}\n", String::from_utf8(encoded.body).unwrap(), dropped.join(" "));
        assert_eq!(shown, expected, "{model}");
    }
}

#[test]
fn results_come_first_and_roles_take_turns() {
    let sent = messages_of(
        "claude-sonnet-4-6",
        vec![
            turn(Role::User, vec![text("a"), text(""), text(" \n")]),
            turn(Role::User, vec![text("b")]),
            turn(Role::Assistant, vec![text("c")]),
            turn(Role::Assistant, vec![call("x", ""), call("a:b", "{\"n\": 1e5}")]),
            turn(Role::User, vec![text("d")]),
            turn(Role::User, vec![result("a:b")]),
            turn(Role::User, vec![result("x"), text("e")]),
        ],
    );
    let made = sent.split('"').find(|word| word.starts_with("toolu_")).unwrap();
    assert_eq!(made.len(), "toolu_".len() + 24);
    assert_eq!(
        sent,
        [
            r#""messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},"#,
            r#"{"role":"assistant","content":[{"type":"text","text":"c"},{"type":"tool_use","id":"x","name":"f","input":{}},"#,
            &format!(r#"{{"type":"tool_use","id":"{made}","name":"f","input":{{"n": 1e5}}}}]}},"#),
            &format!(r#"{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"{made}","content":"r"}},"#),
            r#"{"type":"tool_result","tool_use_id":"x","content":"r"},{"type":"text","text":"d"},{"type":"text","text":"e"}]}]"#,
        ]
        .concat()
    );
}

#[test]
fn a_conversation_that_no_user_opens_gets_an_opening() {
    let opening =
        r#""messages":[{"role":"user","content":[{"type":"text","text":"(The conversation begins here.)"}]}"#;
    let sent = messages_of("claude-opus-4-5", vec![turn(Role::Assistant, vec![text("hello \n\t ")])]);
    assert_eq!(
        sent,
        format!(r#"{opening},{{"role":"assistant","content":[{{"type":"text","text":"hello"}}]}}]"#)
    );
    let sent = messages_of("claude-opus-4-5", vec![turn(Role::System, vec![text("Be brief.")])]);
    assert_eq!(sent, format!(r#""system":[{{"type":"text","text":"Be brief."}}],{opening}]"#));
}

#[test]
fn later_system_text_stays_in_its_place() {
    let turns = || {
        vec![
            turn(Role::User, vec![text("a")]),
            turn(Role::Assistant, vec![text("b")]),
            turn(Role::Developer, vec![text("s")]),
            turn(Role::User, vec![text("c")]),
        ]
    };
    let newer = messages_of("claude-opus-5-5", turns());
    assert!(newer.ends_with(r#"{"role":"user","content":[{"type":"text","text":"c"}]},{"role":"system","content":[{"type":"text","text":"s"}]}]"#), "{newer}");
    let older = messages_of("claude-sonnet-4-6", turns());
    let marked = r#"{"type":"text","text":"<system>\ns\n</system>"}"#;
    assert!(
        older.ends_with(&format!(r#"{{"role":"user","content":[{marked},{{"type":"text","text":"c"}}]}}]"#)),
        "{older}"
    );
    let mut last = turns();
    last.truncate(3);
    let last = messages_of("claude-opus-5-5", last);
    assert!(last.ends_with(&format!(r#"{{"role":"user","content":[{marked}]}}]"#)), "{last}");
}

#[test]
fn histories_that_do_not_fit_together_are_refused() {
    let user = || turn(Role::User, vec![text("a")]);
    for (turns, hint) in [
        (vec![turn(Role::User, vec![result("x")])], "does not answer a call"),
        (vec![user(), turn(Role::Assistant, vec![call("x", "{}")])], "has no result"),
        (vec![user(), turn(Role::Assistant, vec![call("x", "{}")]), user()], "has no result"),
        (
            vec![
                user(),
                turn(Role::Assistant, vec![call("x", "{}")]),
                turn(Role::User, vec![result("y"), result("x")]),
            ],
            "does not answer a call",
        ),
        (
            vec![
                user(),
                turn(Role::Assistant, vec![call("x", "{}")]),
                turn(Role::User, vec![result("x"), result("x")]),
            ],
            "more than one result",
        ),
        (vec![user(), turn(Role::Assistant, vec![call("x", "[1]")])], "must be a JSON object"),
        (vec![user(), turn(Role::Assistant, vec![call("x", "{\"a")])], "must be a JSON object"),
    ] {
        let refusal = refused("claude-opus-4-5", &asking(turns));
        assert!(refusal.starts_with("`messages`") && refusal.contains(hint), "{refusal}");
    }
    let prefill = asking(vec![user(), turn(Role::Assistant, vec![text("b")])]);
    assert!(refused("claude-sonnet-4-6", &prefill).contains("must not be the assistant's"));
}

#[test]
fn only_thinking_of_this_model_goes_back() {
    let ours = Signature::mark(
        ProviderId::by_id("anthropic").unwrap(),
        "claude-opus-5",
        &Escaped::from_text("EqQB"),
    );
    let thought = |signature: Option<Signature<'static>>, redacted| {
        Part::Reasoning(Reasoning { text: Escaped::from_text("t"), signature, redacted })
    };
    let signed = |value: Escaped<'static>, dialect| Some(Signature::new(value, dialect));
    let turns = || {
        vec![
            turn(Role::User, vec![text("a")]),
            turn(
                Role::Assistant,
                vec![
                    thought(signed(ours.clone(), Dialect::Chat), false),
                    thought(signed(ours.clone(), Dialect::Chat), true),
                    thought(signed(Escaped::from_text("x"), Dialect::Responses), false),
                    thought(None, false),
                    text("b"),
                ],
            ),
            turn(Role::User, vec![text("c")]),
        ]
    };
    let back = r#"{"type":"thinking","thinking":"t","signature":"EqQB"},{"type":"redacted_thinking","data":"EqQB"},{"type":"text","text":"b"}"#;
    assert!(messages_of("claude-opus-5", turns()).contains(back));
    assert!(!messages_of("claude-opus-5-5", turns()).contains("thinking"));
}

#[test]
fn media_go_as_this_wire_has_them() {
    let data = |media_type: &str, data: &str| Source::Data {
        media_type: Escaped::from_text(media_type),
        data: Escaped::from_text(data),
    };
    let image = |source| Part::Image { source, detail: Some(Escaped::from_text("high")), cache: None };
    let file = |source| Part::File { source, name: Some(Escaped::from_text("n")), cache: None };
    let url = |url: &str| Source::Url(Escaped::from_text(url));
    let id = |dialect| Source::Id { id: Escaped::from_text("file_1"), dialect };
    let with = |part| asking(vec![turn(Role::User, vec![part])]);
    for (part, expected) in [
        (
            image(data("image/png", "iVBO")),
            r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBO"}}"#,
        ),
        (
            image(url("https://t.example")),
            r#"{"type":"image","source":{"type":"url","url":"https://t.example"}}"#,
        ),
        (image(id(Dialect::Messages)), r#"{"type":"image","source":{"type":"file","file_id":"file_1"}}"#),
        (
            file(data("application/pdf", "JVBE")),
            r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBE"},"title":"n"}"#,
        ),
        (
            file(data("text/plain", "aMOpIg==")),
            r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"hé\""},"title":"n"}"#,
        ),
        (
            file(data("image/png", "iVBO")),
            r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBO"}}"#,
        ),
        (
            file(url("https://t.example")),
            r#"{"type":"document","source":{"type":"url","url":"https://t.example"},"title":"n"}"#,
        ),
        (
            file(id(Dialect::Messages)),
            r#"{"type":"document","source":{"type":"file","file_id":"file_1"},"title":"n"}"#,
        ),
    ] {
        let (sent, _) = written("claude-opus-5", &with(part));
        assert_eq!(sent, format!(r#""messages":[{{"role":"user","content":[{expected}]}}]"#));
    }
    assert_eq!(written("claude-opus-5", &with(image(url("http://t.example")))).1, ["detail"]);
    for (part, hint) in [
        (image(data("image/tiff", "x")), "JPEG, PNG, GIF or WebP"),
        (image(url("gs://x")), "http or https"),
        (file(id(Dialect::Responses)), "its own provider"),
        (file(data("text/plain", "/w==")), "UTF-8"),
        (file(data("application/zip", "x")), "PDF or plain text"),
        (Part::Audio { data: Escaped::from_text("x"), format: Escaped::from_text("wav") }, "audio"),
    ] {
        assert!(refused("claude-opus-5", &with(part)).contains(hint), "{hint}");
    }
}
