use super::*;
use crate::{
    dialect::{ClientRequest, Dialect, Limits, kinds},
    domain::{
        catalog::{Catalog, Mode},
        usage::Basis,
    },
};
use time::macros::datetime;

#[test]
fn every_part_counts_and_the_context_bounds_them_all() {
    let facts = Facts { text_bytes: 100, images: 2, files: 1, ..Facts::default() };
    let bound = prompt(&facts, None);
    assert_eq!((bound.input, bound.image_input, bound.audio_input), (200_100, 100_000, 0));
    let heard = Facts { text_bytes: 100, audio_parts: 2, audio_bytes: 1_000_000, ..Facts::default() };
    assert_eq!(prompt(&heard, None).audio_input, 20_000 + 50_000);
    let bound = prompt(&heard, Some(70_040));
    assert_eq!((bound.input, bound.audio_input), (40, 70_000));
    assert_eq!(prompt(&facts, Some(1_000)).prompt(), 1_000);
    assert_eq!(prompt(&Facts { audio_parts: u32::MAX, ..facts }, Some(8)).audio_input, 8);
}

#[test]
fn an_estimate_of_media_is_within_its_bound_and_never_nothing() {
    for bytes in [0, 1, 499, 1_000_000, u64::MAX] {
        let heard = Facts { audio_parts: 1, audio_bytes: bytes, ..Facts::default() };
        assert!(media_estimate(&heard).audio_input <= prompt(&heard, None).audio_input, "{bytes}");
        let read = Facts { files: 3, images: 2, document_bytes: bytes, ..Facts::default() };
        let (estimate, most) = (media_estimate(&read), prompt(&read, None));
        assert!((15_000..=most.input).contains(&estimate.input), "{bytes} {estimate:?}");
        assert!((1..=most.image_input).contains(&estimate.image_input), "{bytes} {estimate:?}");
    }
}

#[test]
fn audio_needs_a_price_of_its_own_for_each_way_it_goes() {
    let at = datetime!(2026-11-20 00:00 UTC);
    let catalog = Catalog::built_in().unwrap();
    let with_audio = Facts { audio_parts: 1, ..Facts::default() };
    let for_audio = Facts { wants_audio_output: true, ..Facts::default() };
    for (model, takes_audio, writes_audio) in [
        ("openai/gpt-audio-1.5", true, true),
        ("google/gemini-3.5-flash", true, false),
        ("openai/gpt-4o", false, false),
        ("openai/whisper-1", false, false),
    ] {
        let model = catalog.get(model).unwrap();
        assert!(has_audio_prices(&Facts::default(), Some(model), at));
        assert_eq!(has_audio_prices(&with_audio, Some(model), at), takes_audio, "{}", model.id);
        assert_eq!(has_audio_prices(&for_audio, Some(model), at), writes_audio, "{}", model.id);
    }
    assert!(!has_audio_prices(&with_audio, None, at), "a model the catalogue does not list");
}

/// A request for a model of this mode, and the maximum usage that a provider may report.
fn asked(mode: Mode) -> Option<(Kind, Vec<u8>, Usage)> {
    let usage = |usage: Usage| Usage { basis: Basis::Reported, ..usage };
    let none = Usage::default();
    let form = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nRIFF____WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x80\x3e\0\0";
    let mut form = form.to_vec();
    form.resize(form.len() + 16_000, 0);
    form.extend(b"\r\n--b--");
    let json = |body: &str| body.as_bytes().to_vec();
    Some(match mode {
        Mode::Embedding => (
            Kind::Embeddings,
            json(r#"{"model":"m","input":["Hello world"]}"#),
            usage(Usage { input: 11, ..none }),
        ),
        Mode::ImageGeneration => (
            Kind::Images,
            json(r#"{"model":"m","prompt":"a red dot","n":3}"#),
            usage(Usage { input: 9, image_output: 3 * 6_240, images: 3, output: 900, ..none }),
        ),
        Mode::AudioSpeech => (
            Kind::Speech,
            json(r#"{"model":"m","input":"Good day to all of you"}"#),
            usage(Usage { input: 22, characters: 22, audio_ms: 4_000, audio_output: 128, ..none }),
        ),
        Mode::AudioTranscription => (
            Kind::Transcription,
            form,
            usage(Usage { input: 100, audio_input: 40, output: 300, audio_ms: 2_000, ..none }),
        ),
        Mode::Rerank => (
            Kind::Rerank,
            json(r#"{"model":"m","query":"q","documents":["a","b"]}"#),
            usage(Usage { input: 4, queries: 1, ..none }),
        ),
        Mode::Moderation => {
            (Kind::Moderation, json(r#"{"model":"m","input":"a"}"#), usage(Usage { input: 1, ..none }))
        }
        Mode::Ocr => {
            (Kind::Ocr, json(r#"{"model":"m","document":{"type":"x"}}"#), usage(Usage { pages: 400, ..none }))
        }
        Mode::Chat | Mode::Responses | Mode::Completion => return None,
    })
}

#[test]
fn every_live_model_of_every_kind_has_a_bound_above_what_it_may_report() {
    let at = datetime!(2026-11-21 00:00 UTC);
    let catalog = Catalog::built_in().unwrap();
    let mut checked = 0;
    for model in catalog.models().filter(|model| model.is_live(at.date())) {
        let Some((kind_asked, body, reported)) = asked(model.mode) else { continue };
        let content_type = "multipart/form-data; boundary=b";
        let request = kinds::read(kind_asked, content_type, &body, &Limits::default()).unwrap();
        let (most, least) = kind(&request, model);
        let bound = |usage: &Usage| {
            price::upper_bound(model, usage, at, None).unwrap_or_else(|error| panic!("{} {error}", model.id))
        };
        let (most, least) = (bound(&most), bound(&least));
        assert!(least <= most, "{}", model.id);
        // Its price: the buckets that have one.
        let cost = price::price(model.prices.as_ref().unwrap(), &reported, at, None);
        if let Ok(cost) = cost {
            assert!(cost.cost <= most, "{}: {:?} above {most}", model.id, cost);
        }
        let free = model.mode == Mode::Moderation;
        assert_eq!(most.0 == 0, free, "{}", model.id);
        checked += 1;
    }
    assert!(checked > 40, "{checked}");
}

#[test]
fn slow_speech_and_unnamed_pages_are_bounded_higher() {
    let catalog = Catalog::built_in().unwrap();
    let of = |kind_asked, id: &str, body: &str| {
        let request = kinds::read(kind_asked, "", body.as_bytes(), &Limits::default()).unwrap();
        kind(&request, catalog.get(id).unwrap()).0
    };
    let speech = |speed: &str| {
        of(Kind::Speech, "openai/tts-1", &format!(r#"{{"model":"m","input":"abc","speed":{speed}}}"#))
    };
    assert_eq!((speech("1").audio_ms, speech("0.25").audio_ms), (1_200, 4_800));
    let pages = |more: &str| {
        of(Kind::Ocr, "mistral/mistral-ocr-latest", &format!(r#"{{"model":"m","document":{{"a":1}}{more}}}"#))
            .pages
    };
    assert_eq!((pages(""), pages(r#","pages":[1,2]"#)), (1_000, 2));
    let embedded = of(
        Kind::Embeddings,
        "cohere/embed-english-v3.0",
        &format!(r#"{{"model":"m","input":["{}","b"]}}"#, "a".repeat(5_000)),
    );
    assert_eq!(embedded.input, 1_024, "a text cannot have more tokens than the model reads");
}

/// The maximum usage of a conversation with this body at a model with a context of a million tokens.
fn most(dialect: Dialect, body: &str) -> Usage {
    let request = ClientRequest::read(dialect, body.as_bytes(), &Limits::default()).unwrap();
    let catalog = Catalog::built_in().unwrap();
    let model =
        Model { context_tokens: Some(1_000_000), ..Model::clone(catalog.get("openai/gpt-4o").unwrap()) };
    conversation(request.head(), &model).0
}

fn chat(part: &str) -> String {
    format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":[{part}]}}]}}"#)
}

fn responses(item: &str) -> String {
    format!(r#"{{"model":"m","max_output_tokens":9,"input":[{item}]}}"#)
}

#[test]
fn what_may_hold_more_than_its_part_costs_as_a_rule_is_bounded_by_its_size_or_by_the_context() {
    let text = "AAAA".repeat(100_000);
    let data = |media_type: &str| format!("data:{media_type};base64,{text}");
    let image = |url: &str| chat(&format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#));
    let block = |typed: &str, media_type: &str| {
        chat(&format!(
            r#"{{"type":"{typed}","source":{{"type":"base64","media_type":"{media_type}","data":"{text}"}}}}"#
        ))
    };
    let (chats, messages) = (Dialect::Chat, Dialect::Messages);
    for (dialect, body, least, most_of_all) in [
        (chats, image(&data("image/png")), 0, 1_000),
        (chats, image(&data("text/plain")), 400_000, 402_000),
        (chats, image(&data("image/svg+xml")), 400_000, 402_000),
        (chats, chat(r#"{"type":"file","file":{"file_data":"AAAA"}}"#), 200_000, 201_000),
        (chats, chat(&format!(r#"{{"type":"file","file":{{"file_data":"{text}"}}}}"#)), 400_000, 402_000),
        (chats, image("https://example.test/a.png"), 0, 1_000),
        (chats, image("https://www.youtube.com/watch?v=x"), 950_000, 950_000),
        (chats, image(r"https://\u0079outu.be/x"), 950_000, 950_000),
        (
            chats,
            chat(r#"{"type":"video_url","video_url":{"url":"https://example.test/a.mp4"}}"#),
            1_000_000,
            1_000_000,
        ),
        (messages, block("image", "image/png"), 0, 1_000),
        (messages, block("document", "application/pdf"), 400_000, 402_000),
        (
            messages,
            chat(r#"{"type":"image","source":{"type":"url","url":"https://youtu.be/x"}}"#),
            950_000,
            950_000,
        ),
        (
            Dialect::Responses,
            responses(&format!(
                r#"{{"role":"user","content":[{{"type":"input_image","image_url":"{}"}}]}}"#,
                data("text/plain")
            )),
            400_000,
            402_000,
        ),
    ] {
        let input = most(dialect, &body).input;
        assert!((least..=most_of_all).contains(&input), "{input} {}", body.get(..200).unwrap_or(&body));
    }
    let heard = most(chats, &image(&data("audio/mp3")));
    assert_eq!(heard.audio_input, 10_000 + wide(data("audio/mp3").len()) / 20);
}

#[test]
fn items_that_only_their_provider_knows_are_bounded_by_the_media_they_name() {
    let output = r#"[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"https://example.test/a"},
        {"type":"input_file","file_url":"https://example.test/b"}]"#;
    let custom =
        responses(&format!(r#"{{"type":"custom_tool_call_output","call_id":"c","output":{output}}}"#));
    let bound = most(Dialect::Responses, &custom);
    assert!(bound.image_input == 50_000 && bound.input > 200_000, "{bound:?}");
    let screen = r#"{"type":"computer_call_output","call_id":"c","output":{"type":"computer_screenshot","image_url":"https://example.test/a"}}"#;
    assert_eq!(most(Dialect::Responses, &responses(screen)).image_input, 50_000);
    let by_id = r#"{"type":"computer_call_output","call_id":"c","output":{"type":"computer_screenshot","file_id":"f"}}"#;
    assert!(most(Dialect::Responses, &responses(by_id)).input > 200_000);
    let unknown = responses(r#"{"role":"user","content":[{"type":"new","parts":[{"file_data":"AAAA"}]}]}"#);
    assert!(most(Dialect::Responses, &unknown).input > 200_000);
}

#[test]
fn answers_that_are_chosen_from_and_prompts_that_are_shortened_first_are_bounded_too() {
    for (body, output) in [
        (r#"{"model":"m","prompt":"a","max_tokens":100}"#, 100),
        (r#"{"model":"m","prompt":"a","max_tokens":100,"best_of":20}"#, 2_000),
        (r#"{"model":"m","prompt":["a","b"],"max_tokens":100,"best_of":5,"n":2}"#, 1_000),
        (r#"{"model":"m","prompt":"a","max_tokens":100,"best_of":1,"n":3}"#, 300),
    ] {
        assert_eq!(most(Dialect::Completions, body).output, output, "{body}");
    }
    for (dialect, management, times) in [
        (Dialect::Messages, r#"{"edits":[{"type":"clear_tool_uses_20250919"}]}"#, 1),
        (Dialect::Messages, r#"{"edits":[{"type":"compact_20260112"}]}"#, 2),
        (Dialect::Responses, r#"[{"type":"compaction","compact_threshold":1000}]"#, 2),
    ] {
        let body = match dialect {
            Dialect::Responses => responses(r#"{"role":"user","content":"a"}"#),
            _ => chat(r#"{"type":"text","text":"a"}"#),
        };
        let with = body.replacen('{', &format!(r#"{{"context_management":{management},"#), 1);
        let (plain, managed) = (most(dialect, &body), most(dialect, &with));
        assert_eq!(managed.output, plain.output * times, "{with}");
        assert!(managed.input >= plain.input * times, "{with}");
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap()
}
