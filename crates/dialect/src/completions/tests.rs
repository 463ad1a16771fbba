//! Golden cases lie in tests/golden/completions: a stream (`.sse`), and the same answer whole (`.json`).

use super::{CompletionsRequest, Reader, Writer, read, write_answer};
use crate::{
    Dialect, Limits, Reading, Target, Unreadable, WriterContext,
    canonical::{Answer, AnswerPart, Choice, Delta, Event, Finish, Json, Logprobs, Part, Role, What},
    json::Escaped,
    sse::Splitter,
};
use kairosroute_domain::{provider::ProviderId, usage::Usage};
use proptest::prelude::*;
use serde_json::Value;

macro_rules! golden {
    ($name:expr) => {
        include_str!(concat!("../../tests/golden/completions/", $name))
    };
}

fn request(body: &str) -> CompletionsRequest<'_> {
    read(body.as_bytes(), &Limits::default()).unwrap()
}

fn target(provider: &str) -> Target<'static> {
    Target {
        provider: ProviderId::by_id(provider).unwrap(),
        upstream_model: "qwen-3.8-27b",
        dialect: Dialect::Completions,
        flags: None,
        output_tokens_max: Some(4000),
        seed: "s1",
    }
}

fn writer_context(include_usage: bool) -> WriterContext {
    WriterContext {
        seed: "s1".into(),
        created: 1,
        provider: ProviderId::by_id("cerebras").unwrap(),
        upstream_model: "qwen-3.8-27b".into(),
        include_usage,
        echo: String::new(),
    }
}

fn stream(pieces: &[&[u8]]) -> Result<(Answer, usize), Unreadable> {
    let mut reader = Reader::new(Reading::default());
    let mut splitter = Splitter::new(1 << 20);
    let (mut answer, mut ends, mut outcome) = (Answer::default(), 0, Ok(()));
    let mut each = |event: Event<'_>| {
        ends += usize::from(event == Event::End);
        answer.absorb(event);
    };
    for piece in pieces {
        splitter
            .feed(piece, |frame| {
                if outcome.is_ok() {
                    outcome = reader.frame(frame, &mut each);
                }
            })
            .unwrap();
    }
    outcome?;
    reader.close(&mut each);
    Ok((answer, ends))
}

fn whole(json: &[u8]) -> Result<Answer, Unreadable> {
    let mut answer = Answer::default();
    Reader::new(Reading::default()).body(json, &mut |event| answer.absorb(event))?;
    Ok(answer)
}

#[test]
fn one_prompt_is_one_turn_of_a_conversation() {
    for prompt in [r#""a\u00e3""#, r#"["a\u00e3"]"#] {
        let body = format!(
            r#"{{"model":"m","prompt":{prompt},"max_tokens":9,"temperature":0.50,"n":2,"stop":"x","logprobs":3,"seed":7,"echo":false,"best_of":1,"suffix":"","stream":true,"stream_options":{{"include_usage":true}},"user":null,"min_p":0.1}}"#
        );
        let request = request(&body);
        let canonical = request.canonical().unwrap();
        assert_eq!(canonical.turns.len(), 1);
        assert_eq!(canonical.turns[0].role, Role::User);
        assert!(
            matches!(&canonical.turns[0].parts[..], [Part::Text { text, .. }] if text.inner() == r"a\u00e3")
        );
        assert_eq!((canonical.n, canonical.output_limit, canonical.stream), (2, Some(9), true));
        assert_eq!((canonical.stop.len(), canonical.logprobs), (1, Some(Logprobs { top: 3 })));
        let settings: Vec<What> = canonical.settings.iter().map(|setting| setting.what).collect();
        assert_eq!(settings, [What::Temperature, What::Seed, What::Native]);
        let head = &request.head;
        assert!(head.stream && head.include_usage && head.facts.wants_logprobs);
        assert_eq!((head.n, head.output_limit), (2, Some(9)));
        assert!(head.facts.text_bytes > 7);
    }
    assert_eq!(request(r#"{"model":"m","prompt":"a"}"#).head.output_limit, None);
}

#[test]
fn what_only_a_completion_can_do_goes_to_hosts_that_have_them() {
    for (body, field, n) in [
        (r#"{"model":"m","prompt":["a","b"],"n":3}"#, "prompt", 6),
        (r#"{"model":"m","prompt":[1,2,3]}"#, "prompt", 1),
        (r#"{"model":"m","prompt":[[1,2],[3]]}"#, "prompt", 2),
        (r#"{"model":"m","prompt":"a","suffix":"b"}"#, "suffix", 1),
        (r#"{"model":"m","prompt":"a","echo":true}"#, "echo", 1),
        (r#"{"model":"m","prompt":"a","best_of":2}"#, "best_of", 1),
    ] {
        let request = request(body);
        assert_eq!(request.canonical().unwrap_err().field, field, "{body}");
        assert_eq!(request.head.n, n, "{body}");
        let sent = request.encode(&target("fireworks_ai")).unwrap();
        assert_eq!(sent.path.as_deref(), Some("/completions"));
        assert_eq!(String::from_utf8(sent.body).unwrap(), body.replace("\"m\"", "\"qwen-3.8-27b\""));
    }
}

#[test]
fn what_is_wrong_is_refused_by_its_path() {
    for (body, param) in [
        (r#"{"prompt":"a"}"#, "model"),
        (r#"{"model":"m"}"#, "prompt"),
        (r#"{"model":"m","prompt":null}"#, "prompt"),
        (r#"{"model":"m","prompt":[]}"#, "prompt"),
        (r#"{"model":"m","prompt":{}}"#, "prompt"),
        (r#"{"model":"m","prompt":["a",1]}"#, "prompt[1]"),
        (r#"{"model":"m","prompt":[null]}"#, "prompt[0]"),
        (r#"{"model":"m","prompt":"a","logprobs":true}"#, "logprobs"),
        (r#"{"model":"m","prompt":"a","max_tokens":"9"}"#, "max_tokens"),
        (r#"{"model":"m","prompt":"a","prompt":"b"}"#, "prompt"),
        (r#"{"model":"m","prompt":"a","deferred_calls":true}"#, "deferred_calls"),
    ] {
        let invalid = read(body.as_bytes(), &Limits::default()).err().unwrap_or_else(|| panic!("{body}"));
        assert_eq!(invalid.param.as_deref(), Some(param), "{body}: {invalid}");
    }
}

#[test]
fn a_host_gets_the_bytes_and_what_it_needs() {
    let body = r#"{"model":"m","prompt": ["a"],"stream":true,"user":"u","logit_bias":{},"models":null}"#;
    let sent = request(body).encode(&target("together_ai")).unwrap();
    let expected = r#"{"model":"qwen-3.8-27b","prompt":"a","stream":true,"logit_bias":{},"stream_options":{"include_usage":true}}"#;
    assert_eq!(String::from_utf8(sent.body).unwrap(), expected);
    assert!(sent.asked_for_usage);
    assert_eq!(sent.dropped, ["user"]);
    let several = request(r#"{"model":"m","prompt":["a","b"]}"#).encode(&target("together_ai"));
    assert_eq!(several.unwrap_err().field, "prompt");
    let sent = request(body).encode(&target("cerebras")).unwrap();
    let expected = r#"{"model":"qwen-3.8-27b","prompt":["a"],"stream":true,"user":"u","stream_options":{"include_usage":true},"max_tokens":4000}"#;
    assert_eq!(String::from_utf8(sent.body).unwrap(), expected);
    assert_eq!(sent.dropped, ["logit_bias"]);
}

#[test]
fn an_answer_is_the_same_streamed_and_whole() {
    for (text, json) in
        [(golden!("two.sse"), golden!("two.json")), (golden!("logprobs.sse"), golden!("logprobs.json"))]
    {
        let (answer, ends) = stream(&[text.as_bytes()]).unwrap();
        assert_eq!(answer, whole(json.as_bytes()).unwrap());
        assert_eq!(ends, 1);
    }
    let answer = whole(golden!("two.json").as_bytes()).unwrap();
    assert_eq!(answer.usage.unwrap().cache_read, 2);
    let ends: Vec<Option<Finish>> = answer.choices.iter().map(|choice| choice.finish).collect();
    assert_eq!(ends, [Some(Finish::Stop), Some(Finish::Length)]);
}

#[test]
fn an_error_inside_an_answer_and_what_is_none_are_told_apart() {
    let (answer, ends) = stream(&[golden!("failed.sse").as_bytes()]).unwrap();
    assert_eq!(answer.failed.unwrap().get(), r#"{"message":"Broken.","type":"server_error"}"#);
    assert_eq!((answer.choices[0].finish, ends), (None, 1));
    for json in ["", "[]", "{}", "busy", "{\"choices\":"] {
        assert_eq!(whole(json.as_bytes()), Err(Unreadable), "{json}");
    }
}

#[test]
fn logprobs_come_back_in_the_shape_of_completions() {
    let answer = whole(golden!("logprobs.json").as_bytes()).unwrap();
    let body = write_answer(&answer, &writer_context(false), "{}", &Usage::default());
    let body: Value = serde_json::from_slice(&body).unwrap();
    let source: Value = serde_json::from_str(golden!("logprobs.json")).unwrap();
    for key in ["tokens", "token_logprobs", "text_offset"] {
        assert_eq!(body["choices"][0]["logprobs"][key], source["choices"][0]["logprobs"][key], "{key}");
    }
    assert_eq!(body["choices"][0]["logprobs"]["top_logprobs"][0]["A"], -3);
}

#[test]
fn a_stream_is_served_with_the_note_on_its_last_finish_or_its_usage() {
    let say =
        |choice, inner: &'static str| Event::Said { choice, delta: Delta::Text(Escaped::from_inner(inner)) };
    let finish = |choice, reason| Event::Finish { choice, reason, stop_sequence: None };
    let events = [
        Event::Start { id: Escaped::default(), model: Escaped::from_inner("other") },
        Event::Said { choice: 0, delta: Delta::Reasoning(Escaped::from_inner("hm")) },
        say(0, r"On\ud83d"),
        say(1, "Two"),
        Event::Said {
            choice: 0,
            delta: Delta::Logprobs(Json::trusted(r#"{"content":[{"token":"On","logprob":-1}]}"#.into())),
        },
        finish(1, Finish::Length),
        finish(0, Finish::StopSequence),
    ];
    let billed = Usage { input: 3, cache_read: 2, output: 3, ..Usage::default() };
    for (usage, golden) in [(false, golden!("served.sse")), (true, golden!("served_usage.sse"))] {
        let mut writer = Writer::new(writer_context(usage));
        let mut out = Vec::new();
        for event in &events {
            writer.event(event, &mut out);
        }
        writer.conclude(r#"{"cost_usd":0}"#, &billed, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, golden);
        assert_eq!(text.matches("x_kairosroute").count(), 1);
    }
}

proptest! {
    #[test]
    fn what_is_served_reads_back_streamed_and_whole(texts in prop::collection::vec(r#"([ -!#-\[\]-~é😀]|\\\\n|\\\\ud83d){1,9}"#, 1..4)) {
        let choice = |text: &String| Choice {
            parts: vec![AnswerPart::Text(Escaped::from_inner(text.clone()))],
            finish: Some(Finish::Stop),
            ..Choice::default()
        };
        let choices: Vec<Choice> = texts.iter().map(choice).collect();
        let billed = Usage { input: 3, output: 3, ..Usage::default() };
        let answer = Answer { choices: choices.clone(), ..Answer::default() };
        let read = whole(&write_answer(&answer, &writer_context(false), "{}", &billed)).unwrap();
        prop_assert_eq!(&read.choices, &choices);
        prop_assert_eq!(read.usage, Some(billed));
        let mut writer = Writer::new(writer_context(true));
        let mut out = Vec::new();
        for (choice, text) in (0u32..).zip(&texts) {
            let delta = Delta::Text(Escaped::from_inner(text.clone()));
            writer.event(&Event::Said { choice, delta }, &mut out);
            writer.event(&Event::Finish { choice, reason: Finish::Stop, stop_sequence: None }, &mut out);
        }
        writer.conclude("{}", &billed, &mut out);
        let (streamed, _) = stream(&[&out]).unwrap();
        prop_assert_eq!(streamed.choices, choices);
        prop_assert_eq!(streamed.usage, Some(billed));
    }

    #[test]
    fn any_split_of_a_stream_gives_the_same_answer(cut in 0usize..900) {
        let bytes = golden!("two.sse").as_bytes();
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        prop_assert_eq!(stream(&[first, second]), stream(&[bytes]));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = stream(&[&bytes]);
        let _ = whole(&bytes);
        let _ = read(&bytes, &Limits::default());
    }
}
