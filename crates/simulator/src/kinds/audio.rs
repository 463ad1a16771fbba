//! Speech from text: bytes in pieces, or base64 where a provider puts it into JSON.

use super::{
    super::request::Asked, Amounts, Answer, Verdict, count, images, is_true, member, one_of, refuse_if, text,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::Value;

pub(super) fn judge(provider: &str, body: &Value) -> Verdict {
    let formats: &[&str] = match provider {
        "openai" => &["mp3", "opus", "aac", "flac", "wav", "pcm"],
        "groq" => &["flac", "mp3", "mulaw", "ogg", "wav"],
        _ => &["pcm", "wav", "mp3", "flac", "opus"],
    };
    one_of(body, "response_format", formats)?;
    one_of(body, "stream_format", &["audio", "sse"])?;
    let speed = member(body, "speed").map(|speed| speed.as_f64().unwrap_or_default());
    refuse_if(speed.is_some_and(|speed| !(0.25..=4.0).contains(&speed)), "speed", "must be from 0.25 to 4")?;
    let length = text(body, "input").chars().count();
    refuse_if(length == 0, "input", "must be text")?;
    refuse_if(provider == "openai" && length > 4096, "input", "at most 4096 characters")?;
    let voiced = member(body, "voice_id").or_else(|| member(body, "ref_audio")).is_some();
    refuse_if(provider == "mistral" && !voiced, "voice_id", "voice_id or ref_audio is required")
}

pub(super) fn answer(asked: &Asked<'_>, body: &Value) -> Answer {
    let amounts = Amounts { characters: count(text(body, "input").chars().count()), ..Amounts::default() };
    let (prompt, completion) = (asked.script.prompt_tokens, asked.script.completion_tokens.unwrap_or(50));
    let pieces = pieces(asked);
    if asked.row.id == "mistral" {
        return mistral(&pieces, is_true(body, "stream")).amounts(amounts);
    }
    if text(body, "stream_format") == "sse" {
        let name = "speech.audio.delta";
        let delta =
            |piece: &Vec<u8>| (name, format!(r#"{{"type":"{name}","audio":"{}"}}"#, STANDARD.encode(piece)));
        let done = format!(
            r#"{{"type":"speech.audio.done","usage":{{"input_tokens":{prompt},"output_tokens":{completion},"total_tokens":{}}}}}"#,
            prompt + completion
        );
        let events = pieces.iter().map(delta).chain([("speech.audio.done", done)]).collect();
        return Answer::events(events).tokens(prompt, completion).amounts(amounts);
    }
    let content_type = match (asked.row.id, text(body, "response_format")) {
        (_, "wav") => "audio/wav",
        (_, "flac") => "audio/flac",
        (_, "opus") => "audio/opus",
        (_, "ogg") => "audio/ogg",
        (_, "aac") => "audio/aac",
        (_, "pcm") => "audio/pcm",
        (_, "mulaw") => "audio/basic",
        _ => "audio/mpeg",
    };
    let answer = Answer::bytes(content_type, pieces.into_iter().map(Bytes::from).collect()).amounts(amounts);
    // OpenAI's own models bill the text and the audio as tokens, and say how many only among events.
    if asked.row.id == "openai" { answer.tokens(prompt, completion) } else { answer }
}

fn mistral(pieces: &[Vec<u8>], streamed: bool) -> Answer {
    if !streamed {
        return Answer::json(format!(r#"{{"audio_data":"{}"}}"#, STANDARD.encode(pieces.concat())));
    }
    let name = "speech.audio.delta";
    let delta =
        |piece: &Vec<u8>| (name, format!(r#"{{"type":"{name}","audio_data":"{}"}}"#, STANDARD.encode(piece)));
    let done =
        r#"{"type":"speech.audio.done","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#;
    Answer::events(pieces.iter().map(delta).chain([("speech.audio.done", done.to_owned())]).collect())
}

/// Raw samples without a head: 24,000 a second, of 16 bits.
pub(super) fn answer_gemini(asked: &Asked<'_>) -> Answer {
    let data = STANDARD.encode(pieces(asked).concat());
    let part = format!(r#"{{"inlineData":{{"mimeType":"audio/L16;codec=pcm;rate=24000","data":"{data}"}}}}"#);
    let completion = asked.script.completion_tokens.unwrap_or(100);
    let details = format!(r#"[{{"modality":"AUDIO","tokenCount":{completion}}}]"#);
    images::gemini(asked, &part, &details).tokens(asked.script.prompt_tokens, completion)
}

fn pieces(asked: &Asked<'_>) -> Vec<Vec<u8>> {
    match asked.script.kinds.audio.as_slice() {
        [] => vec![vec![0xff, 0xfb, 0x90, 0x00], vec![0x00, 0x0d, 0x0a, 0x80], vec![0xfe, 0x01]],
        scripted => scripted.to_vec(),
    }
}
