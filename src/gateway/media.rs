//! Fetches media that a request names by URL, for a provider that does not fetch them itself. Bounded in number, size
//! and time. An address that may not be called is the customer's error.

use crate::{
    dialect::{
        Dialect, Unsupported,
        canonical::{Part, Request, Source},
        json::Escaped,
        opens,
    },
    domain::shares::Charge,
    providers::{
        fetch::{self, FetchError, Fetched},
        transport::{Transport, Url},
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// Limits for the media of one request.
pub struct Bounds {
    pub bytes_max: usize,
    pub within: Duration,
    /// Fetched media are charged as memory until the request ends.
    pub memory: Charge,
}

/// The request with its fetched media, for each dialect whose providers cannot fetch. Each version is made once,
/// however often the request is sent.
#[derive(Default)]
pub struct Embedded<'a> {
    made: Mutex<Vec<(Dialect, Made<'a>, Charge)>>,
}

type Made<'a> = Result<Arc<Request<'a>>, Unsupported>;

/// URLs in one request.
const MEDIA_MAX: usize = 32;

/// Allowed types of a document, besides images, audio, video and any text except web pages.
const DOCUMENTS: [&str; 4] = ["application/pdf", "application/json", "application/xml", "application/rtf"];

impl<'a> Embedded<'a> {
    /// `request` with every address of an image or document replaced by the fetched content, except addresses that
    /// providers of `dialect` fetch themselves.
    pub async fn get(
        &self,
        request: &Request<'a>,
        dialect: Dialect,
        transport: &Transport,
        mut bounds: Bounds,
    ) -> Made<'a> {
        let mut made = self.made.lock().await;
        if let Some((_, known, _)) = made.iter().find(|(of, ..)| *of == dialect) {
            return known.clone();
        }
        let mut request = request.clone();
        let outcome = embed(&mut request, dialect, transport, &mut bounds).await.map(|()| Arc::new(request));
        made.push((dialect, outcome.clone(), bounds.memory));
        outcome
    }
}

/// Whether the request names media that must be fetched for providers of `dialect`.
pub fn has_urls(request: &Request<'_>, dialect: Dialect) -> bool {
    request.turns.iter().flat_map(|turn| &turn.parts).any(|part| part_has_url(part, dialect))
}

fn part_has_url(part: &Part<'_>, dialect: Dialect) -> bool {
    match part {
        Part::Image { source, .. } | Part::File { source, .. } => is_fetched(source, dialect),
        Part::ToolResult(result) => result.content.iter().any(|part| part_has_url(part, dialect)),
        _ => false,
    }
}

fn is_fetched(source: &Source<'_>, dialect: Dialect) -> bool {
    let Source::Url(url) = source else { return false };
    let url = url.decode();
    let begins = |scheme: &str| url.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme));
    (begins("http://") || begins("https://")) && !opens(dialect, &url)
}

async fn embed(
    request: &mut Request<'_>,
    dialect: Dialect,
    transport: &Transport,
    bounds: &mut Bounds,
) -> Result<(), Unsupported> {
    let by = Instant::now() + bounds.within;
    let mut room = bounds.bytes_max;
    let parts = request.turns.iter_mut().flat_map(|turn| &mut turn.parts);
    let mut sources: Vec<(bool, &mut Source<'_>)> =
        parts.flat_map(sources).filter(|(_, source)| is_fetched(source, dialect)).collect();
    if sources.len() > MEDIA_MAX {
        let hint = ": it names more images and documents by URL than are fetched for one request";
        return Err(Unsupported::because("messages", hint));
    }
    for (is_image, source) in &mut sources {
        let Source::Url(url) = &**source else { continue };
        let url = url.decode();
        let within = by.saturating_duration_since(Instant::now());
        let one = fetch::Bounds {
            bytes_max: room,
            within,
            owner: bounds.memory.owner(),
            kept_bytes: bounds.bytes_max.saturating_sub(room),
            memory: &mut bounds.memory,
        };
        let fetched = fetch::fetch(transport, &url, one).await;
        let fetched = fetched.map_err(|error| unavailable(&url, *is_image, &error))?;
        room = room.saturating_sub(fetched.bytes.len());
        let media_type = Escaped::from_text(&kind(&url, *is_image, &fetched)?);
        **source = Source::Data { media_type, data: Escaped::from_inner(STANDARD.encode(&fetched.bytes)) };
    }
    Ok(())
}

fn unavailable(url: &str, is_image: bool, error: &FetchError) -> Unsupported {
    refused(url, is_image, &format!("cannot be fetched: {error}"))
}

/// The URL may contain private data, so the message names only its host.
fn refused(url: &str, is_image: bool, why: &str) -> Unsupported {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or("an unreadable host");
    let what = if is_image { "image" } else { "document" };
    Unsupported::because("messages", format!(": the {what} that it names at {host} {why}"))
}

/// The fetched content, if its type fits the part that named it.
fn kind(url: &str, is_image: bool, fetched: &Fetched) -> Result<String, Unsupported> {
    let kind = sniffed(&fetched.bytes).unwrap_or(&fetched.media_type);
    let fits = match kind.split_once('/') {
        Some(("image", _)) => true,
        _ if is_image => false,
        Some(("text", "html")) => false,
        Some(("text" | "audio" | "video", _)) => true,
        _ => DOCUMENTS.contains(&kind),
    };
    let named = if kind.is_empty() { "of no known kind" } else { kind };
    if fits { Ok(kind.to_owned()) } else { Err(refused(url, is_image, &format!("is {named}"))) }
}

/// The type that the first bytes indicate; hosts often declare a wrong one.
fn sniffed(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xFF, 0xD8, 0xFF, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'%', b'P', b'D', b'F', ..] => "application/pdf",
        _ if is_page(bytes) => "text/html",
        _ => return None,
    })
}

fn is_page(bytes: &[u8]) -> bool {
    let begins = |tag: &str| {
        let head = bytes.trim_ascii_start().get(..tag.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(tag.as_bytes()))
    };
    begins("<!doctype html") || begins("<html")
}

/// The media of a part, and whether each must be an image.
fn sources<'p, 'a>(part: &'p mut Part<'a>) -> Vec<(bool, &'p mut Source<'a>)> {
    match part {
        Part::Image { source, .. } => vec![(true, source)],
        Part::File { source, .. } => vec![(false, source)],
        // A tool result contains no further results.
        Part::ToolResult(result) => result.content.iter_mut().filter_map(source).collect(),
        _ => Vec::new(),
    }
}

fn source<'p, 'a>(part: &'p mut Part<'a>) -> Option<(bool, &'p mut Source<'a>)> {
    match part {
        Part::Image { source, .. } => Some((true, source)),
        Part::File { source, .. } => Some((false, source)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(is_image: bool, media_type: &str, bytes: &[u8]) -> Result<String, String> {
        let fetched = Fetched { media_type: media_type.to_owned(), bytes: bytes.to_vec() };
        kind("https://x.test/secret?key=1", is_image, &fetched).map_err(|refused| refused.to_string())
    }

    #[test]
    fn what_is_fetched_must_be_what_it_was_named_as() {
        for (is_image, media_type, bytes, expected) in [
            (true, "image/heic", &b"?"[..], "image/heic"),
            (true, "text/plain", b"\x89PNG...", "image/png"),
            (false, "application/octet-stream", b"%PDF-1.7", "application/pdf"),
            (false, "text/csv", b"a,b", "text/csv"),
            (false, "video/mp4", b"....", "video/mp4"),
            (false, "image/png", b"....", "image/png"),
        ] {
            assert_eq!(kind_of(is_image, media_type, bytes).as_deref(), Ok(expected), "{media_type}");
        }
        for (is_image, media_type, bytes) in [
            (true, "text/html", &b"<p>"[..]),
            (true, "image/png", b"\n<!DOCTYPE html><title>Log in</title>"),
            (true, "image/png", b"%PDF-1.7"),
            (true, "application/octet-stream", b"??"),
            (true, "", b"??"),
            (false, "text/html", b"<p>"),
            (false, "text/plain", b"<HTML>"),
            (false, "application/zip", b"PK"),
        ] {
            let refused = kind_of(is_image, media_type, bytes).unwrap_err();
            assert!(refused.contains("x.test") && !refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn what_the_target_opens_itself_is_not_fetched() {
        let source = |url: &'static str| Source::Url(Escaped::from_inner(url));
        for (url, by_gemini) in [
            ("https://x.test/a.png", true),
            ("HTTPS:\\/\\/x.test\\/a.png", true),
            ("https://www.youtube.com/watch?v=1", false),
            ("https://youtu.be/1", false),
            ("HTTPS://YouTube.com/watch?v=1", false),
            ("https://generativelanguage.googleapis.com/v1beta/files/a", false),
            ("gs://bucket/a", false),
            ("files/a", false),
            ("https://youtube.com.x.test/", true),
        ] {
            assert_eq!(is_fetched(&source(url), Dialect::Gemini), by_gemini, "{url}");
        }
        assert!(is_fetched(&source("https://youtu.be/1"), Dialect::Cohere), "nobody else does");
    }
}
