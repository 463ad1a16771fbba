//! Media that a request names by URL, fetched for a provider that does not fetch itself. Bounded in number, size and
//! time; an address that may not be reached is the customer's error.

use crate::{
    dialect::{
        Unsupported,
        canonical::{Part, Request, Source},
        json::Escaped,
    },
    providers::{
        fetch::{self, FetchError},
        transport::Transport,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::time::Duration;
use tokio::time::Instant;

/// What may be fetched for one request.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub bytes_max: usize,
    pub within: Duration,
}

/// URLs of one request.
const MEDIA_MAX: usize = 32;

/// Whether the request names anything that [`embed`] would fetch.
pub fn has_urls(request: &Request<'_>) -> bool {
    request.turns.iter().flat_map(|turn| &turn.parts).any(part_has_url)
}

fn part_has_url(part: &Part<'_>) -> bool {
    match part {
        Part::Image { source, .. } | Part::File { source, .. } => is_web(source),
        Part::ToolResult(result) => result.content.iter().any(part_has_url),
        _ => false,
    }
}

fn is_web(source: &Source<'_>) -> bool {
    matches!(source, Source::Url(url) if url.inner().starts_with("http://") || url.inner().starts_with("https://"))
}

/// Replaces every web address of an image or document by what is there.
pub async fn embed(
    request: &mut Request<'_>,
    transport: &Transport,
    bounds: Bounds,
) -> Result<(), Unsupported> {
    let by = Instant::now() + bounds.within;
    let mut room = bounds.bytes_max;
    let parts = request.turns.iter_mut().flat_map(|turn| &mut turn.parts);
    let mut sources: Vec<&mut Source<'_>> = parts.flat_map(sources).filter(|source| is_web(source)).collect();
    if sources.len() > MEDIA_MAX {
        let hint = ": it names more images and documents by URL than are fetched for one request";
        return Err(Unsupported::because("messages", hint));
    }
    for source in &mut sources {
        let Source::Url(url) = &**source else { continue };
        let left = by.saturating_duration_since(Instant::now());
        let fetched = fetch::fetch(transport, &url.decode(), room, left).await.map_err(unavailable)?;
        room = room.saturating_sub(fetched.bytes.len());
        let media_type = Escaped::from_text(kind(&fetched.bytes).unwrap_or(&fetched.media_type));
        **source = Source::Data { media_type, data: Escaped::from_inner(STANDARD.encode(&fetched.bytes)) };
    }
    Ok(())
}

fn unavailable(error: FetchError) -> Unsupported {
    let hint = format!(": an image or document that it names by URL cannot be fetched: {error}");
    Unsupported::because("messages", hint)
}

/// What the first bytes say it is; hosts are often wrong about it.
fn kind(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xFF, 0xD8, 0xFF, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'%', b'P', b'D', b'F', ..] => "application/pdf",
        _ => return None,
    })
}

fn sources<'p, 'a>(part: &'p mut Part<'a>) -> Vec<&'p mut Source<'a>> {
    match part {
        Part::Image { source, .. } | Part::File { source, .. } => vec![source],
        // A tool's result holds no results.
        Part::ToolResult(result) => result
            .content
            .iter_mut()
            .filter_map(|part| match part {
                Part::Image { source, .. } | Part::File { source, .. } => Some(source),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}
