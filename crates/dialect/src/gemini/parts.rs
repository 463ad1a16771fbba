//! The parts of a content, one JSON object each.

use super::{contents::Place, model::Model, request::Dropped};
use crate::{
    Target, Unsupported,
    canonical::{Part, Source},
    json::Escaped,
};
use kairosroute_domain::catalog::Flag;

/// A comma, unless `out` is empty.
pub(super) fn separate(out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(b',');
    }
}

pub(super) fn push_text(out: &mut Vec<u8>, text: &Escaped<'_>) {
    out.extend_from_slice(b"{\"text\":");
    text.push_quoted(out);
    out.push(b'}');
}

/// The model's own reasoning, or only the signature of the text before it.
pub(super) fn push_thought(out: &mut Vec<u8>, text: &Escaped<'_>, signature: Option<&Escaped<'_>>) {
    out.extend_from_slice(b"{\"text\":");
    text.push_quoted(out);
    if !text.is_empty() {
        out.extend_from_slice(b",\"thought\":true");
    }
    if let Some(signature) = signature {
        out.extend_from_slice(b",\"thoughtSignature\":");
        signature.push_quoted(out);
    }
    out.push(b'}');
}

/// A tool result must be an object: this one wraps the text. JSON in the text stays text, because the provider
/// interprets members of the object (`$ref` names a part; `output` and `error` have a special meaning).
pub(super) fn push_response(out: &mut Vec<u8>, text: &Escaped<'_>, is_error: bool) {
    out.extend_from_slice(if is_error { b"{\"error\":" } else { b"{\"result\":" });
    text.push_quoted(out);
    out.push(b'}');
}

/// Appends an image, audio or a document.
pub(super) fn write_media(
    part: &Part<'_>,
    place: Place,
    target: &Target<'_>,
    model: &Model<'_>,
    dropped: &mut Dropped,
    out: &mut Vec<u8>,
) -> Result<(), Unsupported> {
    match part {
        Part::Image { source, detail, cache } => {
            if model.lacks(Flag::Vision) {
                return Err(place.refuse(": this model does not accept images"));
            }
            if detail.as_ref().is_some_and(|detail| detail.inner() != "auto") {
                dropped.name("messages[].content[].image_url.detail");
            }
            if cache.is_some() {
                dropped.name("cache_control");
            }
            push_source(source, place, target, out)
        }
        Part::Audio { data, format } => {
            if model.lacks(Flag::AudioIn) {
                return Err(place.refuse(": this model does not accept audio input"));
            }
            let media_type = Escaped::from_inner(format!("audio/{}", format.inner()));
            push_inline(&media_type, data, out);
            Ok(())
        }
        Part::File { source, name, cache } => {
            if matches!(source, Source::Data { media_type, .. } if media_type.inner() == "application/pdf")
                && model.lacks(Flag::Pdf)
            {
                return Err(place.refuse(": this model does not read PDF"));
            }
            if name.is_some() {
                dropped.name("messages[].content[].file.filename");
            }
            if cache.is_some() {
                dropped.name("cache_control");
            }
            push_source(source, place, target, out)
        }
        _ => Err(place.refuse("")),
    }
}

fn push_source(
    source: &Source<'_>,
    place: Place,
    target: &Target<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Unsupported> {
    match source {
        Source::Data { media_type, data } => push_inline(media_type, data, out),
        Source::Text(text) => push_text(out, text),
        Source::Url(url) if opens(&url.decode()) => push_stored(url, out),
        Source::Url(_) => {
            return Err(place.refuse(": media by URL are not fetched for this provider, send them as base64"));
        }
        Source::Id { id, dialect } if *dialect == target.dialect => push_stored(id, out),
        Source::Id { .. } => return Err(place.refuse(": the file is kept by another provider")),
    }
    Ok(())
}

/// Addresses that the provider opens by itself: its own file store, Google's cloud, and YouTube videos.
pub(crate) fn opens(url: &str) -> bool {
    const STARTS: [&str; 7] = [
        "gs://",
        "files/",
        "https://generativelanguage.googleapis.com/",
        "https://www.youtube.com/",
        "https://youtube.com/",
        "https://m.youtube.com/",
        "https://youtu.be/",
    ];
    let starts = |start: &str| url.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    STARTS.iter().any(|start| starts(start))
}

fn push_inline(media_type: &Escaped<'_>, data: &Escaped<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"inlineData\":{\"mimeType\":");
    media_type.push_quoted(out);
    out.extend_from_slice(b",\"data\":");
    data.push_quoted(out);
    out.extend_from_slice(b"}}");
}

fn push_stored(uri: &Escaped<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"fileData\":{\"fileUri\":");
    uri.push_quoted(out);
    out.extend_from_slice(b"}}");
}
