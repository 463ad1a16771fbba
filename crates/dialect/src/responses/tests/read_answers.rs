use super::*;
use crate::canonical::AnswerPart;
use proptest::prelude::*;

const STREAMS: &[(&str, &str, &str)] = &[
    ("tide", golden!("tide.sse"), golden!("tide.events")),
    ("everything", golden!("everything.sse"), golden!("everything.events")),
    ("refusal", golden!("refusal.sse"), golden!("refusal.events")),
    ("length", golden!("length.sse"), golden!("length.events")),
    ("filter", golden!("filter.sse"), golden!("filter.events")),
    ("custom", golden!("custom.sse"), golden!("custom.events")),
    ("bare_done", golden!("bare_done.sse"), golden!("bare_done.events")),
    ("perplexity", golden!("perplexity.sse"), golden!("perplexity.events")),
    ("error_nested", golden!("error_nested.sse"), golden!("error_nested.events")),
    ("error_flat", golden!("error_flat.sse"), golden!("error_flat.events")),
    ("failed", golden!("failed.sse"), golden!("failed.events")),
    ("perplexity_failed", golden!("perplexity_failed.sse"), golden!("perplexity_failed.events")),
];

/// The same answers, whole.
const WHOLE: &[(&str, &str, &str)] = &[
    ("tide", golden!("tide.sse"), golden!("tide.json")),
    ("everything", golden!("everything.sse"), golden!("everything.json")),
    ("refusal", golden!("refusal.sse"), golden!("refusal.json")),
    ("length", golden!("length.sse"), golden!("length.json")),
    ("filter", golden!("filter.sse"), golden!("filter.json")),
    ("custom", golden!("custom.sse"), golden!("custom.json")),
    ("perplexity", golden!("perplexity.sse"), golden!("perplexity.json")),
];

#[test]
fn every_stream_tells_what_its_golden_file_says() {
    for (name, text, expected) in STREAMS {
        let lines = streamed_lines(text).join("\n");
        assert_eq!(lines, expected.trim_end(), "{name}");
    }
}

#[test]
fn an_answer_is_the_same_streamed_and_whole() {
    for (name, text, json) in WHOLE {
        assert_eq!(streamed_answer(text.as_bytes()), whole_answer(json), "{name}");
    }
}

#[test]
fn a_whole_answer_that_failed_is_an_error_and_one_in_a_queue_has_no_finish() {
    let lines = |json: &str| {
        let mut lines = Vec::new();
        whole(json, |event| lines.push(told(&event))).unwrap();
        lines
    };
    let failed = lines(golden!("failed.json"));
    assert!(failed.iter().any(|line| line.starts_with("usage 50")), "{failed:?}");
    assert!(failed.iter().any(|line| line.contains("server_error")), "{failed:?}");
    assert!(!failed.iter().any(|line| line.starts_with("finish")), "{failed:?}");
    assert!(lines(golden!("cancelled.json")).iter().any(|line| line.starts_with("failed")));
    assert_eq!(lines(golden!("queued.json")), ["start resp_1 gpt-5.4", "End"]);
    assert_eq!(lines(r#"{"error":"busy"}"#), ["failed \"busy\"", "End"]);
}

#[test]
fn what_is_no_response_is_unreadable() {
    for json in ["", "[]", "{", "{}", "overloaded", r#"{"a":1}"#, "\"x\""] {
        assert_eq!(whole(json, |_| ()), Err(Unreadable), "{json}");
    }
    assert_eq!(stream(&[b"data: {\"type\":\n\n"], |_| ()), Err(Unreadable));
    assert_eq!(stream(&[b"data: [1]\n\n"], |_| ()), Err(Unreadable));
}

#[test]
fn a_stream_cut_before_its_end_has_no_finish() {
    let text = golden!("everything.sse");
    let at = text.find("event: response.completed").unwrap();
    let lines = streamed_lines(&text[..at]);
    assert!(!lines.iter().any(|line| line.starts_with("finish")), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "End");
}

#[test]
fn text_is_passed_as_it_was_written() {
    let text = concat!(
        r#"data: {"type":"response.output_text.delta","output_index":0,"delta":"a\ud83d"}"#,
        "\n\n",
        r#"data: {"type":"response.output_text.delta","output_index":0,"delta":"\ude00\u00e3 12345678901234567890"}"#,
        "\n\n"
    );
    let answer = streamed_answer(text.as_bytes());
    let part = &answer.choices[0].parts[0];
    assert_eq!(*part, AnswerPart::Text(Escaped::from_inner(r"a\ud83d\ude00\u00e3 12345678901234567890")));
}

#[test]
fn citations_are_counted_from_the_start_of_all_text() {
    let text = concat!(
        r#"data: {"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"é\n34"}"#,
        "\n\n",
        r#"data: {"type":"response.output_text.delta","output_index":0,"content_index":1,"delta":"five"}"#,
        "\n\n",
        r#"data: {"type":"response.output_text.annotation.added","output_index":0,"content_index":1,"annotation":{"type":"url_citation","url":"u","title":"t","start_index":0,"end_index":4}}"#,
        "\n\n"
    );
    assert!(streamed_lines(text).contains(&"citation u Some(\"t\") Some((4, 8))".to_owned()));
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same_events(
        which in 0..STREAMS.len(),
        cuts in prop::collection::vec(0usize..9000, 0..12),
    ) {
        let bytes = STREAMS[which].1.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
        pieces.push(&bytes[from..]);
        let mut lines = Vec::new();
        stream(&pieces, |event| lines.push(told(&event))).unwrap();
        prop_assert_eq!(lines, streamed_lines(STREAMS[which].1));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = stream(&[&bytes], |_| ());
        let _ = whole(&String::from_utf8_lossy(&bytes), |_| ());
        let _ = read(&bytes, &Limits::default());
    }

    #[test]
    fn events_of_any_kind_in_any_order_never_panic(
        events in prop::collection::vec((0usize..24, 0u64..4, 0u64..3, ".{0,6}"), 0..30),
    ) {
        const KINDS: &[&str] = &[
            "response.created", "response.output_item.added", "response.output_item.done",
            "response.output_text.delta", "response.output_text.done", "response.refusal.delta",
            "response.refusal.done", "response.function_call_arguments.delta",
            "response.function_call_arguments.done", "response.reasoning_summary_text.delta",
            "response.reasoning_text.delta", "response.output_text.annotation.added",
        ];
        const ITEMS: &[&str] = &["message", "reasoning", "function_call", "custom_tool_call", "x"];
        let mut text = String::new();
        for (kind, index, part, word) in events {
            let kind = KINDS[kind % KINDS.len()];
            let item = ITEMS[usize::try_from(index + part).unwrap() % ITEMS.len()];
            let event = serde_json::json!({
                "type": kind, "output_index": index, "content_index": part, "delta": word, "text": word,
                "arguments": word, "annotation": {"url": word},
                "item": {"type": item, "call_id": word, "name": word, "arguments": word,
                    "summary": [{"text": word}], "content": [{"text": word, "annotations": [{"url": word}]}]},
            });
            text.push_str(&format!("data: {event}\n\n"));
        }
        let mut open: Vec<u32> = Vec::new();
        stream(&[text.as_bytes()], |event| match event {
            Event::Said { delta: Delta::ToolStart { tool, .. }, .. } => open.push(tool),
            Event::Said { delta: Delta::ToolArguments { tool, .. }, .. } => assert!(open.contains(&tool)),
            Event::Said { delta: Delta::ToolEnd { tool }, .. } => open.retain(|other| *other != tool),
            _ => {}
        }).unwrap();
    }
}

#[test]
fn two_messages_of_one_answer_are_told_apart() {
    let message = |text: &str| {
        format!(
            r#"{{"type":"message","role":"assistant","content":[{{"type":"output_text","text":"{text}","annotations":[{{"type":"url_citation","url":"https://x.test","title":"t","start_index":0,"end_index":2}}]}}]}}"#
        )
    };
    let body = format!(r#"{{"status":"completed","output":[{},{}]}}"#, message("One."), message("Two."));
    let mut text = String::new();
    let mut spans = Vec::new();
    let mut reader = Reader::new(Reading::default());
    reader
        .body(body.as_bytes(), &mut |event| match event {
            Event::Said { delta: Delta::Text(piece), .. } => text.push_str(&piece.decode()),
            Event::Said { delta: Delta::Citation(citation), .. } => spans.extend(citation.span),
            _ => {}
        })
        .unwrap();
    assert_eq!(text, "One.\n\nTwo.");
    assert_eq!(spans, [(0, 2), (6, 8)], "places are counted in the whole text");
}
