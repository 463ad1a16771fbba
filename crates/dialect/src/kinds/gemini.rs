//! The common part of Google's generateContent for images, speech and transcripts: the request around the parts, and
//! parts and usage of an answer.

use super::{
    Refused,
    answer::{count, entries},
};
use crate::json::{Kind as Json, ObjectWriter, Raw};
use kairosroute_domain::{
    kind::Kind,
    usage::{Basis, Usage},
};
use std::borrow::Cow;

/// A request of one turn. `parts` and `config` are JSON.
pub(super) fn request(parts: &[Vec<u8>], config: Vec<u8>) -> Vec<u8> {
    let mut turn = ObjectWriter::new();
    turn.text("role", "user");
    turn.key("parts").extend(joined(parts));
    let mut out = ObjectWriter::new();
    out.key("contents").extend(joined(&[turn.end()]));
    out.key("generationConfig").extend(config);
    out.end()
}

/// A part of text; `json` is a JSON string.
pub(super) fn text_part(json: &str) -> Vec<u8> {
    let mut part = ObjectWriter::new();
    part.raw("text", json);
    part.end()
}

/// A part of data in base64.
pub(super) fn data_part(mime: &str, base64: &str) -> Vec<u8> {
    let mut data = ObjectWriter::new();
    data.text("mimeType", mime);
    data.text("data", base64);
    let mut part = ObjectWriter::new();
    part.key("inlineData").extend(data.end());
    part.end()
}

/// The content of an answer.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub text: String,
    /// MIME type and base64.
    pub data: Vec<(Cow<'a, str>, Raw<'a>)>,
}

/// The parts of the first candidate, without reasoning.
pub(super) fn parts<'a>(answer: Raw<'a>) -> Result<Parts<'a>, Refused> {
    let candidate = entries(answer.member("candidates")).and_then(|list| list.into_iter().next());
    let Some(candidate) = candidate else {
        let blocked =
            answer.member("promptFeedback").and_then(|feedback| feedback.member("blockReason")?.text());
        return Err(blocked.map_or(Refused::Unreadable, |reason| Refused::Blocked(reason.into_owned())));
    };
    let mut found = Parts::default();
    let content = candidate.member("content").and_then(|content| content.member("parts"));
    for part in entries(content).unwrap_or_default() {
        if part.member("thought").is_some_and(|thought| thought.get() == "true") {
            continue;
        }
        if let Some(text) = part.member("text").and_then(Raw::text) {
            found.text.push_str(&text);
        }
        let Some(data) = part.member("inlineData") else { continue };
        let mime = data.member("mimeType").and_then(Raw::text).unwrap_or_default();
        if let Some(base64) = data.member("data").filter(|base64| base64.kind() == Json::String) {
            found.data.push((mime, base64));
        }
    }
    if found.text.is_empty() && found.data.is_empty() {
        let reason = candidate.member("finishReason").and_then(Raw::text);
        let told = reason.filter(|reason| reason != "STOP");
        return Err(told.map_or(Refused::Unreadable, |reason| Refused::Blocked(reason.into_owned())));
    }
    Ok(found)
}

/// `usageMetadata`. Tokens that the details do not separate have the requested modality.
pub(super) fn usage(answer: Raw<'_>, kind: Kind) -> Option<Usage> {
    let told = answer.member("usageMetadata")?;
    let prompt = count(told, "promptTokenCount")?;
    let candidates = count(told, "candidatesTokenCount").unwrap_or(0);
    let reasoning = count(told, "thoughtsTokenCount").unwrap_or(0);
    let (audio_input, image_input) = modalities(told, "promptTokensDetails").unwrap_or(match kind {
        Kind::Transcription => (prompt, 0),
        _ => (0, 0),
    });
    let (audio_output, image_output) = modalities(told, "candidatesTokensDetails").unwrap_or(match kind {
        Kind::Speech => (candidates, 0),
        Kind::Images | Kind::ImageEdits => (0, candidates),
        _ => (0, 0),
    });
    let cache_read = count(told, "cachedContentTokenCount").unwrap_or(0);
    let input = prompt.saturating_sub(audio_input).saturating_sub(image_input).saturating_sub(cache_read);
    let text = candidates.saturating_sub(audio_output).saturating_sub(image_output);
    Some(Usage {
        input,
        cache_read,
        audio_input,
        image_input,
        output: text.saturating_add(reasoning),
        reasoning,
        audio_output,
        image_output,
        basis: Basis::Reported,
        ..Usage::default()
    })
}

/// Tokens of audio and of images; `None` if they are not separated.
fn modalities(usage: Raw<'_>, name: &str) -> Option<(u64, u64)> {
    let details = usage.member(name).filter(|details| !details.is_idle())?;
    let of = |wanted: &str| {
        let told = entries(Some(details)).unwrap_or_default().into_iter();
        let fitting = told.filter(|entry| {
            entry.member("modality").and_then(Raw::text).is_some_and(|modality| modality == wanted)
        });
        fitting.filter_map(|entry| count(entry, "tokenCount")).fold(0u64, u64::saturating_add)
    };
    Some((of("AUDIO"), of("IMAGE")))
}

fn joined(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![b'['];
    out.extend(entries.join(&b','));
    out.push(b']');
    out
}
