//! Transcripts and translations of speech, in OpenAI's format for the client: a form with a file in, JSON or text out.
//! The file's bytes are never changed; only the provider without uploads gets them as base64.

use super::{
    At, Edits, Expected, KindRequest, Refused, Wanted, Written,
    answer::{Made, count, seconds},
    edits, gemini, no_such_form,
    subtitles::{CONTENT_TYPE, Form},
};
use crate::{
    json::{ObjectWriter, Raw, push_text},
    target::Unsupported,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use kairosroute_domain::{
    kind::Kind,
    provider::Shape,
    usage::{Basis, Usage},
};
use std::borrow::Cow;

const MISTRAL: Edits = Edits {
    renamed: &[("timestamp_granularities[]", "timestamp_granularities")],
    kept: Some(&["file", "language", "temperature", "timestamp_granularities", "diarize", "context_bias"]),
    dropped: &["prompt"],
    silent: &["response_format", "stream"],
    ..edits::PLAIN
};
/// Replaces the client's format by one that states the length of the audio or the number of tokens.
const DETAILED: Edits =
    Edits { silent: &["response_format"], added: &[("response_format", "verbose_json")], ..edits::PLAIN };
const METERED: Edits =
    Edits { silent: &["response_format"], added: &[("response_format", "json")], ..edits::PLAIN };
const XAI: Edits = Edits {
    kept: Some(&["file", "language", "diarize"]),
    dropped: &["prompt", "temperature"],
    silent: &["response_format", "stream"],
    ..edits::PLAIN
};
const GEMINI: Edits = Edits {
    kept: Some(&[]),
    silent: &["file", "language", "prompt", "temperature", "response_format", "stream"],
    ..edits::PLAIN
};

/// The instruction for a chat model.
const INSTRUCTION: &str = "Transcribe the audio word by word. Answer with the transcript and nothing else.";

pub(super) fn write(request: &KindRequest<'_>, at: &At<'_>) -> Result<Written, Unsupported> {
    let format = request.text("response_format").map(Cow::into_owned);
    let plain = matches!(format.as_deref(), None | Some("json" | "text"));
    let edits = instead(format.as_deref(), at);
    let wanted = Wanted::Transcript { format, is_rewritten: edits.is_some() };
    match at.serves.shape {
        Shape::OpenAi => request.edited(at, edits.unwrap_or(&edits::PLAIN), wanted),
        Shape::Mistral | Shape::Gemini | Shape::Xai if !plain => {
            Err(Unsupported::because("response_format", ": only `json` and `text`"))
        }
        Shape::Mistral => request.edited(at, &MISTRAL, wanted),
        Shape::Xai => request.edited(at, &XAI, wanted),
        Shape::Gemini => write_gemini(request, wanted),
        shape => Err(no_such_form(shape)),
    }
}

/// Requested instead of the client's format if that format omits the billed unit. On a customer's own key the client's
/// format passes unchanged, because the customer pays the provider directly.
fn instead(format: Option<&str>, at: &At<'_>) -> Option<&'static Edits> {
    if !at.on_platform || at.serves.shape != Shape::OpenAi {
        return None;
    }
    // Its successors have no detailed format; their plain JSON has the usage.
    let has_details = at.model.contains("whisper");
    match format.unwrap_or("json") {
        "text" | "srt" | "vtt" if has_details => Some(&DETAILED),
        "json" if has_details && at.serves.length_in_detail => Some(&DETAILED),
        "text" => Some(&METERED),
        _ => None,
    }
}

fn write_gemini(request: &KindRequest<'_>, wanted: Wanted) -> Result<Written, Unsupported> {
    let dropped = request.left_out(&GEMINI)?;
    let file = request.form().and_then(|form| form.part("file"));
    let file = file.ok_or_else(|| Unsupported::field("file"))?;
    // `audio/*` does not state a format.
    let named = file
        .content_type
        .filter(|mime| (mime.starts_with("audio/") || mime.starts_with("video/")) && !mime.ends_with('*'));
    let mime = named.or_else(|| by_name(file.filename.as_deref().unwrap_or_default())).ok_or_else(|| {
        Unsupported::because("file", ": its content type or its name must say what kind of audio it is")
    })?;
    let mut told = INSTRUCTION.to_owned();
    if let Some(language) = request.text("language") {
        told.push_str(&format!(" The language is {language}."));
    }
    if let Some(prompt) = request.text("prompt") {
        told.push_str(&format!(" Context: {prompt}"));
    }
    let mut text = Vec::new();
    push_text(&mut text, &told);
    let parts = [
        gemini::data_part(mime, &STANDARD.encode(file.content)),
        gemini::text_part(&String::from_utf8_lossy(&text)),
    ];
    let mut config = ObjectWriter::new();
    if let Some(temperature) = request.text("temperature") {
        config.raw("temperature", temperature.trim());
    }
    Ok(Written::json(gemini::request(&parts, config.end()), dropped, wanted))
}

fn by_name(name: &str) -> Option<&'static str> {
    let ending = name.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match ending.as_str() {
        "mp3" | "mpga" | "mpeg" => "audio/mp3",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "m4a" | "mp4" => "audio/mp4",
        "aac" => "audio/aac",
        "webm" => "audio/webm",
        "aiff" | "aif" => "audio/aiff",
        _ => return None,
    })
}

/// An answer that is text: subtitles, or the plain transcript. It has no usage.
pub(super) fn as_text(expected: &Expected, content_type: &str) -> Made {
    let content_type = match content_type {
        "" => "text/plain; charset=utf-8".into(),
        given => Cow::Owned(given.to_owned()),
    };
    Made { content_type, ..Made::passed(Some(expected.measured)) }
}

pub(super) fn read(expected: &Expected, answer: Raw<'_>) -> Result<Made, Refused> {
    let (text, usage) = match expected.shape {
        Shape::Gemini => (Some(gemini::parts(answer)?.text), gemini::usage(answer, Kind::Transcription)),
        _ => (answer.member("text").and_then(Raw::text).map(Cow::into_owned), reported(answer)),
    };
    let usage = Some(usage.unwrap_or(expected.measured));
    let Some(text) = text else {
        return Err(Refused::Unreadable);
    };
    let (format, is_rewritten) = match &expected.wanted {
        Wanted::Transcript { format, is_rewritten } => (format.as_deref(), *is_rewritten),
        _ => (None, false),
    };
    match format.and_then(Form::by_name) {
        Some(form) if is_rewritten => {
            let (body, content_type) = (Some(form.write(answer, &text).into_bytes()), CONTENT_TYPE);
            return Ok(Made { body, content_type: content_type.into(), usage, lacks_usage: false });
        }
        Some(Form::Text) => {
            let content_type = CONTENT_TYPE.into();
            return Ok(Made { body: Some(text.into_bytes()), content_type, usage, lacks_usage: false });
        }
        _ => {}
    }
    if expected.shape != Shape::Gemini && !is_rewritten {
        return Ok(Made::passed(usage));
    }
    let mut out = ObjectWriter::new();
    match answer.member("text") {
        Some(text) => out.raw("text", text.get()),
        None => out.text("text", &text),
    }
    Ok(Made::object(out.end(), usage))
}

/// By tokens, by time, or by the length in a detailed answer.
fn reported(answer: Raw<'_>) -> Option<Usage> {
    let basis = Basis::Reported;
    let Some(usage) = answer.member("usage") else {
        return Some(Usage { audio_ms: seconds(answer, "duration")?, basis, ..Usage::default() });
    };
    let time = ["seconds", "prompt_audio_seconds"].iter().find_map(|name| seconds(usage, name));
    if let Some(audio_ms) = time {
        return Some(Usage { audio_ms, basis, ..Usage::default() });
    }
    let input = count(usage, "input_tokens").or_else(|| count(usage, "prompt_tokens"))?;
    let output = count(usage, "output_tokens").or_else(|| count(usage, "completion_tokens")).unwrap_or(0);
    let details = usage.member("input_token_details").or_else(|| usage.member("input_tokens_details"));
    let text = details.and_then(|details| count(details, "text_tokens"));
    let audio = details.and_then(|details| count(details, "audio_tokens"));
    // Tokens without a stated modality are audio.
    let audio_input = audio.unwrap_or_else(|| input.saturating_sub(text.unwrap_or(0))).min(input);
    Some(Usage { input: input - audio_input, audio_input, output, basis, ..Usage::default() })
}
