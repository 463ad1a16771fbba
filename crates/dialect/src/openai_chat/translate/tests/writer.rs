use super::*;
use crate::{
    canonical::{Citation, Finish, Json},
    json::Escaped,
};
use serde_json::Value;

fn text(inner: &str) -> Escaped<'_> {
    Escaped::from_inner(inner)
}

fn start<'a>(id: &'a str, model: &'a str) -> Event<'a> {
    Event::Start { id: text(id), model: text(model) }
}

fn say(delta: Delta<'_>) -> Event<'_> {
    Event::Said { choice: 0, delta }
}

fn finish(reason: Finish) -> Event<'static> {
    Event::Finish { choice: 0, reason, stop_sequence: None }
}

fn tool<'a>(tool: u32, id: &'a str, name: &'a str, signature: Option<&'a str>) -> Event<'a> {
    say(Delta::ToolStart { tool, id: text(id), name: text(name), signature: signature.map(text) })
}

fn arguments(tool: u32, piece: &str) -> Event<'_> {
    say(Delta::ToolArguments { tool, piece: text(piece) })
}

fn billed() -> Usage {
    Usage { input: 20, cache_read: 1500, output: 31, ..Usage::default() }
}

/// Text and one call, as another dialect's reader emits them.
fn checking() -> Vec<Event<'static>> {
    vec![
        start("msg_7a", "claude-sonnet-4-6"),
        say(Delta::Text(text("Checking."))),
        tool(0, "toolu_9", "get_tide", None),
        arguments(0, r#"{\"port\":"#),
        arguments(0, r#"\"Brest\"}"#),
        say(Delta::ToolEnd { tool: 0 }),
        finish(Finish::ToolCalls),
        Event::Usage(billed()),
        Event::End,
    ]
}

/// Everything that an answer may contain.
fn everything() -> Vec<Event<'static>> {
    vec![
        start("r1", "gemini-3.8-flash"),
        say(Delta::Reasoning(text("High "))),
        say(Delta::Reasoning(text(r"tide\n"))),
        say(Delta::Signature(text("QUJD+/="))),
        say(Delta::Redacted(text("RED"))),
        say(Delta::Text(text("A \u{2028} \\ud83d"))),
        say(Delta::Text(text("\\ude00"))),
        say(Delta::Citation(Citation { url: text("https://a.example"), title: None, span: None })),
        say(Delta::Logprobs(Json::trusted(r#"{"content":[{"token":"A","logprob":-1.0}]}"#.into()))),
        say(Delta::Logprobs(Json::trusted(r#"{"content":[{"token":"B","logprob":-2e0}]}"#.into()))),
        say(Delta::Image { media_type: text("image/png"), data: text("iVBO") }),
        tool(0, "", "now", Some("c2ln")),
        tool(1, "call_2", "get_tide", None),
        arguments(1, r#"{\"n\": 1.0}"#),
        say(Delta::ToolEnd { tool: 0 }),
        say(Delta::ToolEnd { tool: 1 }),
        Event::ServiceTier("flex".into()),
        finish(Finish::ToolCalls),
        Event::End,
    ]
}

fn refusal() -> Vec<Event<'static>> {
    vec![start("m", ""), say(Delta::Refusal(text("No."))), finish(Finish::Refusal), Event::End]
}

#[test]
fn streams_are_written_as_chunks() {
    let usage =
        |include_usage| WriterContext { include_usage, ..writer_context("anthropic", "claude-sonnet-4-6") };
    for (case, found, expected) in [
        ("checking", written(&checking(), usage(true), &billed()), golden!("written_checking.sse")),
        ("everything", written(&everything(), usage(false), &billed()), golden!("written_everything.sse")),
        ("refusal", written(&refusal(), usage(false), &billed()), golden!("written_refusal.sse")),
        ("nothing", written(&[Event::End], usage(false), &billed()), golden!("written_nothing.sse")),
    ] {
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn whole_answers_are_written_as_bodies() {
    let writer_context = writer_context("anthropic", "claude-sonnet-4-6");
    for (case, events, expected) in [
        ("checking", checking(), golden!("written_checking.json")),
        ("everything", everything(), golden!("written_everything.json")),
        ("refusal", refusal(), golden!("written_refusal.json")),
        ("nothing", vec![Event::End], golden!("written_nothing.json")),
    ] {
        assert_eq!(written_whole(&events, &writer_context, &billed()), expected.trim_end(), "{case}");
    }
}

#[test]
fn nothing_is_written_before_content() {
    let mut writer = Writer::new(writer_context("openai", "gpt-5.4"));
    let mut out = Vec::new();
    for event in
        [start("a", "b"), Event::ServiceTier("x".into()), Event::Usage(billed()), finish(Finish::Stop)]
    {
        writer.event(&event, &mut out);
    }
    assert_eq!(out, b"");
}

#[test]
fn every_choice_that_spoke_is_finished_and_the_last_carries_the_note() {
    let events = [
        Event::Said { choice: 1, delta: Delta::Text(text("b")) },
        Event::Finish { choice: 1, reason: Finish::Length, stop_sequence: None },
        say(Delta::Text(text("a"))),
        finish(Finish::Pause),
        Event::Said { choice: 4_000_000_000, delta: Delta::Text(text("never")) },
    ];
    let out = written(&events, writer_context("openai", "m"), &billed());
    let chunks: Vec<Value> = out
        .split("\n\n")
        .filter_map(|frame| serde_json::from_str(frame.strip_prefix("data: ")?).ok())
        .collect();
    let told: Vec<_> = chunks
        .iter()
        .map(|chunk| (&chunk["choices"][0]["index"], &chunk["choices"][0]["finish_reason"]))
        .map(|(index, reason)| (index.as_u64().unwrap(), reason.as_str().unwrap_or("-").to_owned()))
        .collect();
    let expected = [(1, "-"), (1, "-"), (0, "-"), (0, "-"), (0, "stop"), (1, "length")];
    assert_eq!(told, expected.map(|(index, reason)| (index, reason.to_owned())));
    assert!(chunks[4].get("x_kairosroute").is_none());
    assert_eq!(chunks[5]["x_kairosroute"]["provider"], "x");
    assert!(out.ends_with("data: [DONE]\n\n"));
}

#[test]
fn a_providers_own_chat_id_is_kept() {
    let out = written(
        &[start("chatcmpl-Z", "m"), say(Delta::Text(text("x")))],
        writer_context("groq", "q"),
        &billed(),
    );
    assert!(out.starts_with(r#"data: {"id":"chatcmpl-Z","object":"chat.completion.chunk","#), "{out}");
}

#[test]
fn reasoning_too_long_to_keep_is_written_and_goes_without_its_block() {
    let long = "x".repeat(3 * 1024 * 1024);
    let events = [
        say(Delta::Reasoning(text(&long))),
        say(Delta::Reasoning(text(&long))),
        say(Delta::Signature(text("lost"))),
        say(Delta::Reasoning(text("short"))),
        say(Delta::Signature(text("kept"))),
    ];
    let out = written(&events, writer_context("anthropic", "c"), &billed());
    assert_eq!(out.matches("reasoning_content").count(), 3);
    assert!(
        !out.contains("lost") && out.contains(r#""thinking":"short","signature":"gw1.anthropic.Yw.kept""#)
    );
}

#[test]
fn signatures_of_every_turn_name_who_made_them() {
    let thinks = |bare: &'static str| [say(Delta::Reasoning(text("Hm"))), say(Delta::Signature(text(bare)))];
    let calls = [tool(0, "call_1", "f", Some("T"))];
    let (first, last) = (writer_context("anthropic", "m"), writer_context("google", "m"));
    let mut writer = Writer::new(first.clone());
    let mut out = Vec::new();
    // Reasoning whose signature never came is not signed by the next.
    for event in thinks("A").iter().chain(&[start("msg_1", "claude"), say(Delta::Reasoning(text("So")))]) {
        writer.event(event, &mut out);
    }
    writer.go_on(last.clone());
    for event in thinks("B").iter().chain(&calls) {
        writer.event(event, &mut out);
    }
    writer.conclude("1", &billed(), &mut out);
    let streamed = String::from_utf8(out).unwrap();
    let answer = |events: &[Event<'static>]| {
        let mut answer = Answer::default();
        events.iter().for_each(|event| answer.absorb(event.clone()));
        answer
    };
    let parts = answer(&thinks("A")).choices.remove(0).parts;
    let rest = answer(&[thinks("B").as_slice(), &calls].concat());
    let before = [openai_chat::Said { parts, writer_context: first }];
    let whole = openai_chat::write_turns(&before, &rest, &last, "1", &billed());
    let whole = String::from_utf8(whole).unwrap();
    for said in [streamed, whole] {
        for mark in ["gw1.anthropic.bQ.A", "gw1.google.bQ.B", "gw1.google.bQ.T"] {
            assert_eq!(said.matches(&format!("\"{mark}\"")).count(), 1, "{mark} in {said}");
        }
        assert_eq!(said.matches(r#""thinking":"Hm""#).count(), 2, "{said}");
    }
}

#[test]
fn the_reason_for_the_end_agrees_with_the_calls_that_were_written() {
    let finish = |reason| Event::Finish { choice: 0, reason, stop_sequence: None };
    let said = |delta| Event::Said { choice: 0, delta };
    let text = || said(Delta::Text(Escaped::from_inner("x")));
    let call = || {
        let (id, name) = (Escaped::from_inner("c1"), Escaped::from_inner("f"));
        said(Delta::ToolStart { tool: 0, id, name, signature: None })
    };
    for (events, word) in [
        (vec![text(), finish(Finish::ToolCalls)], "stop"),
        (vec![finish(Finish::ToolCalls)], "stop"),
        (vec![call(), finish(Finish::ToolCalls)], "tool_calls"),
        (vec![call(), finish(Finish::Stop)], "tool_calls"),
        (vec![call(), finish(Finish::Length)], "length"),
        (vec![text(), finish(Finish::Refusal)], "content_filter"),
    ] {
        let writer_context = writer_context("anthropic", "m");
        let expected = format!("\"finish_reason\":\"{word}\"");
        let whole = written_whole(&events, &writer_context, &billed());
        assert!(whole.contains(&expected), "{whole}");
        let streamed = written(&events, writer_context, &billed());
        assert!(streamed.contains(&expected), "{streamed}");
    }
}

#[test]
fn a_tier_is_told_in_openais_words_or_not_at_all() {
    for (theirs, told) in [("standard", Some("default")), ("priority", Some("priority")), ("batch", None)] {
        let events = [
            Event::ServiceTier(theirs.into()),
            Event::Finish { choice: 0, reason: Finish::Stop, stop_sequence: None },
        ];
        for text in [
            written(&events, writer_context("anthropic", "m"), &billed()),
            written_whole(&events, &writer_context("anthropic", "m"), &billed()),
        ] {
            match told {
                Some(word) => assert!(text.contains(&format!("\"service_tier\":\"{word}\"")), "{text}"),
                None => assert!(!text.contains("service_tier"), "{text}"),
            }
        }
    }
}

#[test]
fn blocks_of_reasoning_name_their_place_streamed_and_whole() {
    let said = |delta| Event::Said { choice: 0, delta };
    let piece = |text: &'static str| Escaped::from_inner(text);
    let call = |tool| said(Delta::ToolStart { tool, id: piece(""), name: piece("f"), signature: None });
    let events = [
        said(Delta::Reasoning(piece("a"))),
        said(Delta::Signature(piece("s1"))),
        said(Delta::Text(piece("x"))),
        said(Delta::Redacted(piece("r1"))),
        call(0),
        said(Delta::Reasoning(piece("b"))),
        said(Delta::Signature(piece("s2"))),
        call(1),
    ];
    for text in [
        written(&events, writer_context("anthropic", "m"), &billed()),
        written_whole(&events, &writer_context("anthropic", "m"), &billed()),
    ] {
        for marked in ["gw1.anthropic.bQ.s1", "gw1.anthropic.bQ~0t.r1", "gw1.anthropic.bQ~1t.s2"] {
            assert!(text.contains(marked), "{marked} in {text}");
        }
    }
}

#[test]
fn whole_answers_have_every_member_that_clients_require() {
    for events in [checking(), everything(), refusal(), vec![Event::End]] {
        let body = written_whole(&events, &writer_context("anthropic", "m"), &billed());
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let choice = &body["choices"][0];
        for (place, keys) in [
            (&body, &["id", "object", "created", "model", "choices", "usage"][..]),
            (choice, &["index", "message", "logprobs", "finish_reason"]),
            (&choice["message"], &["role", "content", "refusal", "annotations"]),
        ] {
            for key in keys {
                assert!(place.get(key).is_some(), "{key} is missing in {place}");
            }
        }
        assert!(choice["message"]["annotations"].is_array());
    }
}
