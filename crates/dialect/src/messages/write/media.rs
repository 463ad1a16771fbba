//! Images and documents on this wire.

use super::{Writing, conversation::put_cache};
use crate::{
    Dialect,
    canonical::{Cache, Source},
    json::{Escaped, ObjectWriter},
    target::Unsupported,
};
use base64::{Engine, engine::general_purpose::STANDARD};

const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

pub(super) fn image(
    source: &Source<'_>,
    cache: Option<Cache>,
    writing: &mut Writing<'_>,
) -> Result<Vec<u8>, Unsupported> {
    if !writing.abilities.images {
        return Err(Unsupported::because("messages", ": the model does not take images"));
    }
    let source = match source {
        Source::Data { media_type, data } => {
            if !IMAGES.contains(&media_type.decode().to_ascii_lowercase().as_str()) {
                return Err(Unsupported::because("messages", ": images must be JPEG, PNG, GIF or WebP"));
            }
            embedded(media_type, data)
        }
        Source::Url(url) => linked(url)?,
        Source::Id { id, dialect } => kept(id, *dialect)?,
        Source::Text(_) => return Err(Unsupported::because("messages", ": an image cannot be plain text")),
    };
    Ok(block("image", source, None, cache, writing))
}

pub(super) fn document(
    source: &Source<'_>,
    name: Option<&Escaped<'_>>,
    cache: Option<Cache>,
    writing: &mut Writing<'_>,
) -> Result<Vec<u8>, Unsupported> {
    let is_text = |media_type: &str| media_type.starts_with("text/");
    let source = match source {
        Source::Data { media_type, data } => match media_type.decode().to_ascii_lowercase().as_str() {
            "" | "application/pdf" => {
                check_pdf(writing)?;
                embedded(&Escaped::from_inner("application/pdf"), data)
            }
            kind if kind.starts_with("image/") => {
                return image(
                    &Source::Data { media_type: media_type.borrowed(), data: data.borrowed() },
                    cache,
                    writing,
                );
            }
            kind if is_text(kind) => plain(
                &decoded(data)
                    .ok_or(Unsupported::because("messages", ": a text file must be base64 of UTF-8"))?,
            ),
            _ => return Err(Unsupported::because("messages", ": files must be PDF or plain text")),
        },
        Source::Url(url) => {
            check_pdf(writing)?;
            linked(url)?
        }
        Source::Id { id, dialect } => kept(id, *dialect)?,
        Source::Text(text) => plain(text),
    };
    Ok(block("document", source, name, cache, writing))
}

fn check_pdf(writing: &Writing<'_>) -> Result<(), Unsupported> {
    if writing.abilities.pdf {
        return Ok(());
    }
    Err(Unsupported::because("messages", ": the model does not take documents"))
}

fn decoded(data: &Escaped<'_>) -> Option<Escaped<'static>> {
    let bytes = STANDARD.decode(data.decode().as_bytes()).ok()?;
    Some(Escaped::from_text(std::str::from_utf8(&bytes).ok()?))
}

fn embedded(media_type: &Escaped<'_>, data: &Escaped<'_>) -> ObjectWriter {
    let mut source = ObjectWriter::with_capacity(data.inner().len().saturating_add(64));
    source.text("type", "base64");
    media_type.push_quoted(source.key("media_type"));
    data.push_quoted(source.key("data"));
    source
}

fn plain(text: &Escaped<'_>) -> ObjectWriter {
    let mut source = ObjectWriter::new();
    source.text("type", "text");
    source.text("media_type", "text/plain");
    text.push_quoted(source.key("data"));
    source
}

fn linked(url: &Escaped<'_>) -> Result<ObjectWriter, Unsupported> {
    let scheme = url.decode().split(':').next().unwrap_or_default().to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(Unsupported::because("messages", ": media by URL must be http or https"));
    }
    let mut source = ObjectWriter::new();
    source.text("type", "url");
    url.push_quoted(source.key("url"));
    Ok(source)
}

fn kept(id: &Escaped<'_>, dialect: Dialect) -> Result<ObjectWriter, Unsupported> {
    if dialect != Dialect::Messages {
        return Err(Unsupported::because("messages", ": a file by id is known to its own provider only"));
    }
    let mut source = ObjectWriter::new();
    source.text("type", "file");
    id.push_quoted(source.key("file_id"));
    Ok(source)
}

fn block(
    kind: &str,
    source: ObjectWriter,
    title: Option<&Escaped<'_>>,
    cache: Option<Cache>,
    writing: &mut Writing<'_>,
) -> Vec<u8> {
    let source = source.end();
    let mut block = ObjectWriter::with_capacity(source.len().saturating_add(64));
    block.text("type", kind);
    block.key("source").extend(source);
    if let Some(title) = title {
        title.push_quoted(block.key("title"));
    }
    put_cache(cache, writing, &mut block);
    block.end()
}
