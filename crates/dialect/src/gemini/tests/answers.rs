use super::*;
use crate::canonical::{AnswerPart, Finish};
use kairosroute_domain::usage::{Basis, Usage};

const TIDE: &[u8] = include_bytes!("../../../tests/golden/gemini/tide.sse");
const TIDE_WHOLE: &[u8] = include_bytes!("../../../tests/golden/gemini/tide.json");
const PIECES: &[u8] = include_bytes!("../../../tests/golden/gemini/pieces.sse");
const RICH: &[u8] = include_bytes!("../../../tests/golden/gemini/rich.json");

fn data(json: &str) -> String {
    format!("data: {json}\r\n\r\n")
}

/// A stream of one candidate's JSON each.
fn candidates(each: &[&str]) -> Vec<u8> {
    let chunks = each.iter().map(|json| data(&format!(r#"{{"candidates":[{json}],"responseId":"r"}}"#)));
    chunks.collect::<String>().into_bytes()
}

fn finishes(bytes: &[u8]) -> Vec<Option<Finish>> {
    streamed(bytes).choices.iter().map(|choice| choice.finish).collect()
}

fn usage(metadata: &str) -> Option<Usage> {
    let chunk = format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"x"}}]}},"finishReason":"STOP"}}],"usageMetadata":{metadata}}}"#
    );
    whole(chunk.as_bytes()).usage
}

#[test]
fn the_stream_of_a_call_is_told_in_order() {
    let events = [
        r#"Start { id: "r1", model: "gemini-3.8-flash" }"#,
        r#"Said { choice: 0, delta: Reasoning("High tide ") }"#,
        r#"Said { choice: 0, delta: Text("Let me look.") }"#,
        r#"Said { choice: 0, delta: ToolStart { tool: 0, id: "fc1", name: "get_tide", signature: Some("QUJD") } }"#,
        r#"Said { choice: 0, delta: ToolArguments { tool: 0, piece: "{\\\"port\\\":\\\"Brest\\\"}" } }"#,
        r#"Said { choice: 0, delta: ToolEnd { tool: 0 } }"#,
        r#"Finish { choice: 0, reason: ToolCalls, stop_sequence: None }"#,
        r#"Usage(Usage { input: 18, output: 52, reasoning: 40, basis: Reported })"#,
        "End",
    ];
    assert_eq!(told(&[TIDE]).unwrap(), events);
}

#[test]
fn searches_are_counted_by_query_or_by_prompt_as_the_generation_bills_them() {
    for (model, expected) in [("gemini-3.8-flash", 2), ("gemini-2.5-flash", 1)] {
        let frame = |queries: &str| {
            data(&format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"x"}}]}},"groundingMetadata":{{"webSearchQueries":[{queries}]}},"finishReason":"STOP"}}],"usageMetadata":{{"promptTokenCount":9,"candidatesTokenCount":1,"totalTokenCount":10}},"modelVersion":"{model}"}}"#
            ))
        };
        let stream = frame(r#""a""#) + &frame(r#""a","b""#);
        assert_eq!(streamed(stream.as_bytes()).usage.unwrap().searches, expected, "{model}");
    }
    assert_eq!(usage(r#"{"promptTokenCount":9,"candidatesTokenCount":1}"#).unwrap().searches, 0);
}

#[test]
fn the_same_answer_whole_and_streamed_is_the_same() {
    assert_eq!(whole(TIDE_WHOLE), streamed(TIDE));
}

#[test]
fn arguments_in_pieces_are_put_together_and_said_once() {
    let answer = streamed(PIECES);
    let AnswerPart::ToolCall { id, name, arguments, signature, .. } = &answer.choices[0].parts[0] else {
        panic!("{answer:?}")
    };
    assert_eq!((id.inner(), name.inner()), ("call_s33d0", "get_tide"));
    assert_eq!(signature.as_ref().unwrap().inner(), "QUJD");
    assert_eq!(
        arguments.decode(),
        r#"{"port":"Brest \ud83d\ude00","days":[{"height":1.0,"at sea":true},null]}"#
    );
    assert_eq!(answer.choices[0].finish, Some(Finish::ToolCalls));
}

#[test]
fn pieces_that_lead_nowhere_or_never_end_are_not_an_answer() {
    for path in ["port", "$", "$.a[1]", "$.a[x]", "$.a['b", "$.t.deeper", "$.a[99999999999999999999]"] {
        let call = format!(
            r#"{{"content":{{"parts":[{{"functionCall":{{"name":"f","partialArgs":[{{"jsonPath":"$.t","stringValue":"x"}},{{"jsonPath":"{path}","stringValue":"x"}}]}}}}]}}}}"#
        );
        assert_eq!(told(&[&candidates(&[&call])]), Err(Unreadable), "{path}");
    }
    let deep = format!(
        r#"{{"content":{{"parts":[{{"functionCall":{{"name":"f","partialArgs":[{{"jsonPath":"${}","numberValue":1}}]}}}}]}}}}"#,
        ".a".repeat(33)
    );
    assert_eq!(told(&[&candidates(&[&deep])]), Err(Unreadable));
    let long = format!(
        r#"{{"content":{{"parts":[{{"functionCall":{{"name":"f","willContinue":true,"partialArgs":[{{"jsonPath":"$.a","stringValue":"{}"}}]}}}}]}}}}"#,
        "x".repeat(600_000)
    );
    assert_eq!(told(&[&candidates(&[&long, &long.replace("\"name\":\"f\",", "")])]), Err(Unreadable));
}

#[test]
fn every_kind_of_part_is_read_as_it_was_written() {
    let answer = whole(RICH);
    let parts: Vec<String> = answer.choices[0].parts.iter().map(|part| format!("{part:?}")).collect();
    assert_eq!(
        parts,
        [
            r##"Text("12345678901234567890 \\ud800 caf\\u00e9\\n```python\\nprint(\\\"6\\\")\\n```\\n\\n```output\\n6\\n\\n```\\n")"##,
            r#"Image { media_type: "image/png", data: "iVBORw0KGgo=" }"#,
            r#"Reasoning { text: "", signature: Some("Wlla") }"#,
            r#"Citation(Citation { url: "https://example.org/a", title: Some("A \\\"tide\\\""), span: None })"#,
            r#"Citation(Citation { url: "https://example.org/b", title: None, span: None })"#,
        ]
    );
    assert_eq!(
        answer.choices[0].logprobs[0].get(),
        r#"{"content":[{"token":"Hi","logprob":-0.10,"bytes":null,"top_logprobs":[{"token":"Hi","logprob":-0.10,"bytes":null},{"token":"\"","logprob":-1e1,"bytes":null}]}]}"#
    );
    assert_eq!(answer.choices[0].finish, Some(Finish::Length));
    assert_eq!(answer.choices[1].parts, [AnswerPart::Text(Escaped::from_text("second"))]);
    assert_eq!(answer.choices[1].finish, Some(Finish::ContentFilter));
    let expected = Usage { input: 47, cache_read: 60, output: 20, searches: 1, ..Usage::default() };
    assert_eq!(answer.usage, Some(expected));
}

#[test]
fn a_call_makes_the_finish_whenever_it_came() {
    let call = r#"{"content":{"parts":[{"functionCall":{"name":"f"}}]}}"#;
    assert_eq!(finishes(&candidates(&[call, r#"{"finishReason":"STOP"}"#])), [Some(Finish::ToolCalls)]);
    let both = r#"{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}"#;
    assert_eq!(finishes(&candidates(&[both, r#"{"finishReason":"STOP"}"#])), [Some(Finish::ToolCalls)]);
    assert_eq!(finishes(&candidates(&[call, r#"{"finishReason":"MAX_TOKENS"}"#])), [Some(Finish::Length)]);
    let answer = streamed(&candidates(&[both]));
    let AnswerPart::ToolCall { id, arguments, .. } = &answer.choices[0].parts[0] else { panic!() };
    assert_eq!((id.inner(), arguments.inner()), ("call_s33d0", ""));
}

#[test]
fn every_reason_to_finish_has_its_meaning() {
    for (reasons, expected) in [
        (&["STOP"][..], Finish::Stop),
        (&["MAX_TOKENS"], Finish::Length),
        (
            &[
                "SAFETY",
                "RECITATION",
                "LANGUAGE",
                "BLOCKLIST",
                "PROHIBITED_CONTENT",
                "SPII",
                "IMAGE_SAFETY",
                "IMAGE_PROHIBITED_CONTENT",
                "IMAGE_RECITATION",
                "IMAGE_OTHER",
                "OTHER",
                "NO_IMAGE",
                "MODEL_ARMOR",
                // No content, and an unknown reason: not an ordinary end.
                "NEW_ONE",
                "FINISH_REASON_UNSPECIFIED",
            ],
            Finish::ContentFilter,
        ),
    ] {
        for reason in reasons {
            let end = format!(r#"{{"finishReason":"{reason}"}}"#);
            assert_eq!(finishes(&candidates(&[&end])), [Some(expected)], "{reason}");
        }
    }
    let said = r#"{"content":{"parts":[{"text":"a"}]},"finishReason":"NEW_ONE"}"#;
    assert_eq!(finishes(&candidates(&[said])), [Some(Finish::Stop)]);
}

#[test]
fn the_tier_that_was_served_is_told() {
    let frame = |tier: &str| {
        format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"STOP"}}],"usageMetadata":{{"promptTokenCount":1,"serviceTier":{tier}}}}}"#
        )
    };
    for (tier, expected) in
        [("\"standard\"", Some("standard")), ("\"FLEX\"", Some("flex")), ("\"\"", None), ("null", None)]
    {
        assert_eq!(streamed(data(&frame(tier)).as_bytes()).service_tier.as_deref(), expected, "{tier}");
    }
}

#[test]
fn a_malformed_answer_is_an_error_unless_something_was_said() {
    let thought = r#"{"content":{"parts":[{"text":"hm","thought":true}]}}"#;
    let text = r#"{"content":{"parts":[{"text":"Well"}]}}"#;
    for reason in [
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
    ] {
        let end = format!(r#"{{"finishReason":"{reason}","finishMessage":"bad \"call\""}}"#);
        let answer = streamed(&candidates(&[thought, &end, text]));
        let failed = answer.failed.unwrap();
        assert_eq!(
            failed.get(),
            format!(r#"{{"error":{{"code":502,"status":"{reason}","message":"bad \"call\""}}}}"#)
        );
        assert_eq!(answer.choices[0].finish, None);
        assert_eq!(finishes(&candidates(&[text, &end])), [Some(Finish::Stop)]);
    }
}

#[test]
fn a_blocked_prompt_is_an_empty_answer_that_was_filtered() {
    let chunk = r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4,"totalTokenCount":4},"modelVersion":"m"}"#;
    let answer = streamed(data(chunk).as_bytes());
    assert_eq!(answer.choices[0].finish, Some(Finish::ContentFilter));
    assert!(answer.choices[0].parts.is_empty());
    assert_eq!(answer.usage, Some(Usage { input: 4, basis: Basis::Reported, ..Usage::default() }));
    assert_eq!(whole(chunk.as_bytes()), answer);
}

#[test]
fn an_error_inside_a_200_is_told_as_it_came() {
    let error = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
    for body in [error.to_owned(), format!("[{error}]")] {
        let answer = whole(body.as_bytes());
        assert_eq!(answer.failed.unwrap().get(), error);
        let after = candidates(&[r#"{"content":{"parts":[{"text":"late"}]},"finishReason":"STOP"}"#]);
        let stream = [data(&body).as_bytes(), &after].concat();
        assert!(streamed(&stream).choices.is_empty());
    }
}

#[test]
fn usage_of_every_convention_ends_in_disjoint_buckets() {
    let report = |input, cache_read, output, reasoning| {
        Some(Usage { input, cache_read, output, reasoning, ..Usage::default() })
    };
    for (metadata, expected) in [
        (
            r#"{"promptTokenCount":18,"candidatesTokenCount":12,"thoughtsTokenCount":40,"totalTokenCount":70}"#,
            report(18, 0, 52, 40),
        ),
        (
            r#"{"promptTokenCount":18,"candidatesTokenCount":52,"thoughtsTokenCount":40,"totalTokenCount":70}"#,
            report(18, 0, 52, 40),
        ),
        (
            r#"{"promptTokenCount":18,"candidatesTokenCount":12,"thoughtsTokenCount":40}"#,
            report(18, 0, 52, 40),
        ),
        (r#"{"promptTokenCount":18,"thoughtsTokenCount":40,"totalTokenCount":58}"#, report(18, 0, 40, 40)),
        (
            r#"{"promptTokenCount":10,"toolUsePromptTokenCount":5,"cachedContentTokenCount":4,"candidatesTokenCount":2,"thoughtsTokenCount":3,"totalTokenCount":20}"#,
            report(11, 4, 5, 3),
        ),
        (
            r#"{"promptTokenCount":5,"cachedContentTokenCount":9,"candidatesTokenCount":1,"thoughtsTokenCount":null}"#,
            report(0, 5, 1, 0),
        ),
        // Nothing can be billed from it.
        (r#"{"promptTokenCount":5}"#, None),
        (r#"{"promptTokenCount":5,"totalTokenCount":5}"#, None),
        (r#"{"candidatesTokenCount":5}"#, None),
        (r#"{"promptTokenCount":"5","candidatesTokenCount":1}"#, None),
        (r#"{"promptTokenCount":5,"candidatesTokenCount":1.5}"#, None),
        (r#"{"promptTokenCount":5,"candidatesTokenCount":-1}"#, None),
        (r#"{"promptTokenCount":99999999999,"candidatesTokenCount":1}"#, None),
        (r#"{"trafficType":"ON_DEMAND"}"#, None),
        ("[]", None),
        ("null", None),
    ] {
        assert_eq!(usage(metadata), expected, "{metadata}");
    }
}

#[test]
fn the_last_count_of_each_kind_stands_and_a_broken_report_undoes_them() {
    let text = r#""candidates":[{"content":{"parts":[{"text":"x"}]}}]"#;
    let first = format!(r#"{{{text},"usageMetadata":{{"promptTokenCount":9,"candidatesTokenCount":1}}}}"#);
    let second = r#"{"usageMetadata":{"candidatesTokenCount":4}}"#;
    let traffic = r#"{"usageMetadata":{"trafficType":"ON_DEMAND"}}"#;
    let broken = r#"{"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":"4"}}"#;
    let read =
        |chunks: &[&str]| streamed(chunks.iter().map(|json| data(json)).collect::<String>().as_bytes()).usage;
    let expected = Usage { input: 9, output: 4, ..Usage::default() };
    assert_eq!(read(&[&first, second, traffic]), Some(expected));
    assert_eq!(read(&[&first, broken, traffic]), None);
}

#[test]
fn a_stream_that_breaks_off_has_no_finish_and_ends_once() {
    let cut = candidates(&[r#"{"content":{"parts":[{"text":"Hal"}]}}"#]);
    assert_eq!(finishes(&cut), [None]);
    let mut reader = reader();
    let mut ends = 0;
    for _ in 0..2 {
        reader.close(&mut |event| ends += u32::from(event == Event::End));
    }
    assert_eq!(ends, 1);
}

#[test]
fn what_is_no_answer_is_unreadable() {
    for body in ["", "null", "[]", "{}", "[1]", "{", "\"x\"", r#"{"candidates":[}"#, "\u{0}"] {
        assert_eq!(reader().body(body.as_bytes(), &mut |_| ()), Err(Unreadable), "{body}");
    }
    assert_eq!(told(&[b"data: [DONE\n\n"]), Err(Unreadable));
    assert_eq!(told(&[b": ping\n\ndata:\n\n"]).unwrap(), ["End"]);
}
