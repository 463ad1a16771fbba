//! Speech from text, in OpenAI's format for the client. If the provider has that format, the audio is streamed through;
//! otherwise it is extracted from the answer. Audio is never converted: a format that the provider did not produce is
//! refused.

use super::{
    At, Edits, Expected, KindRequest, Refused, Wanted, Written, answer::Made, edits, gemini, no_such_form,
};
use crate::{
    json::{ObjectWriter, Raw},
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
    kept: Some(&["input", "response_format"]),
    silent: &["voice", "stream_format", "speed", "stream"],
    ..edits::PLAIN
};
const GEMINI: Edits = Edits {
    kept: Some(&[]),
    silent: &["input", "voice", "response_format", "stream_format", "speed", "stream"],
    ..edits::PLAIN
};

/// Sample rate of Google's audio, if it states none.
const GEMINI_RATE: u32 = 24_000;

pub(super) fn write(request: &KindRequest<'_>, at: &At<'_>) -> Result<Written, Unsupported> {
    let format = request.text("response_format").map(Cow::into_owned);
    let events = request.text("stream_format").is_some_and(|format| format == "sse");
    let wanted = Wanted::Sound { format, events };
    if at.serves.shape == Shape::OpenAi {
        return request.edited(at, &edits::PLAIN, wanted);
    }
    if events || request.raw("stream").is_some_and(|stream| stream.get() == "true") {
        return Err(Unsupported::because("stream_format", ": only `audio`"));
    }
    if request.raw("speed").is_some_and(|speed| speed.get().parse() != Ok(1.0_f64)) {
        return Err(Unsupported::field("speed"));
    }
    match at.serves.shape {
        Shape::Mistral => {
            let mut written = request.edited(at, &MISTRAL, wanted)?;
            if let Some(voice) = voice(request) {
                let named = crate::json::with_member(&written.body, "voice_id", voice.get());
                written.body = named.unwrap_or(written.body);
            }
            Ok(written)
        }
        Shape::Gemini => write_gemini(request, wanted),
        shape => Err(no_such_form(shape)),
    }
}

/// The voice's name as a JSON string; OpenAI's own voices may be objects with an id.
fn voice<'a>(request: &KindRequest<'a>) -> Option<Raw<'a>> {
    let voice = request.raw("voice")?;
    voice.text().map(|_| voice).or_else(|| voice.member("id").filter(|id| id.text().is_some()))
}

fn write_gemini(request: &KindRequest<'_>, wanted: Wanted) -> Result<Written, Unsupported> {
    let dropped = request.left_out(&GEMINI)?;
    let format = request.text("response_format");
    if format.is_some_and(|format| !matches!(&*format, "wav" | "pcm")) {
        return Err(Unsupported::because("response_format", ": only `wav` and `pcm`"));
    }
    let mut config = ObjectWriter::new();
    config.raw("responseModalities", r#"["AUDIO"]"#);
    if let Some(voice) = voice(request) {
        let named = format!(r#"{{"voiceConfig":{{"prebuiltVoiceConfig":{{"voiceName":{}}}}}}}"#, voice.get());
        config.raw("speechConfig", &named);
    }
    let text = request.raw("input").map_or("\"\"", Raw::get);
    let body = gemini::request(&[gemini::text_part(text)], config.end());
    Ok(Written::json(body, dropped, wanted))
}

pub(super) fn read(expected: &Expected, answer: Raw<'_>) -> Result<Made, Refused> {
    let format = match &expected.wanted {
        Wanted::Sound { format, .. } => format.as_deref(),
        _ => None,
    };
    match expected.shape {
        Shape::Gemini => read_gemini(expected, answer, format),
        _ => {
            let audio = answer.member("audio_data").and_then(Raw::text).ok_or(Refused::Unreadable)?;
            let body = STANDARD.decode(audio.as_bytes()).map_err(|_| Refused::Unreadable)?;
            let content_type = content_type(format.unwrap_or("mp3")).into();
            let usage = Some(Usage { basis: Basis::Counted, ..expected.measured });
            Ok(Made { body: Some(body), content_type, usage, lacks_usage: false })
        }
    }
}

fn read_gemini(expected: &Expected, answer: Raw<'_>, format: Option<&str>) -> Result<Made, Refused> {
    let parts = gemini::parts(answer)?;
    let mut samples = Vec::new();
    let mut rate = GEMINI_RATE;
    for (mime, base64) in &parts.data {
        let said = mime.split(';').find_map(|part| part.trim().strip_prefix("rate=")?.parse().ok());
        rate = said.unwrap_or(rate);
        let text = base64.text().ok_or(Refused::Unreadable)?;
        samples.extend(STANDARD.decode(text.as_bytes()).map_err(|_| Refused::Unreadable)?);
    }
    if samples.is_empty() {
        return Err(Refused::Blocked("the model answered without sound".to_owned()));
    }
    let characters = expected.measured.characters;
    let usage = gemini::usage(answer, Kind::Speech).map(|usage| Usage { characters, ..usage });
    let (body, content_type) = match format {
        Some("pcm") => (samples, content_type("pcm")),
        _ => (wav(&samples, rate).ok_or(Refused::Unreadable)?, content_type("wav")),
    };
    Ok(Made { body: Some(body), content_type: content_type.into(), usage, lacks_usage: false })
}

/// The header of a WAV file with 16-bit samples of one channel, and the samples.
fn wav(samples: &[u8], rate: u32) -> Option<Vec<u8>> {
    let size = u32::try_from(samples.len()).ok()?;
    let mut out = Vec::with_capacity(samples.len().saturating_add(44));
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&size.checked_add(36)?.to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&16u32.to_le_bytes());
    // Plain samples, one channel.
    out.extend_from_slice(&1u16.to_le_bytes());
    out.extend_from_slice(&1u16.to_le_bytes());
    out.extend_from_slice(&rate.to_le_bytes());
    out.extend_from_slice(&rate.checked_mul(2)?.to_le_bytes());
    out.extend_from_slice(&2u16.to_le_bytes());
    out.extend_from_slice(&16u16.to_le_bytes());
    out.extend_from_slice(b"data");
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(samples);
    Some(out)
}

fn content_type(format: &str) -> &'static str {
    match format {
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "opus" => "audio/ogg",
        "aac" => "audio/aac",
        "pcm" => "audio/pcm",
        _ => "application/octet-stream",
    }
}
