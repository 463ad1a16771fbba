//! The content of a message as parts. Media are distinguished by their place: embedded, at an address, or stored by the
//! provider. An unknown kind of part is refused with its path; nothing is fetched or decoded.

use super::turns_in::{cache_control, object_of};
use crate::{
    Dialect, Unsupported,
    canonical::{Cache, Part, Reasoning, Signature, Source},
    json::{Escaped, Kind, Member, Raw},
    notes::Notes,
};

/// Text, or a list of parts, of the message of that number.
pub(super) fn read<'a>(
    content: Raw<'a>,
    message: usize,
    notes: &mut Notes<'a>,
) -> Result<Vec<Part<'a>>, Unsupported> {
    if let Some(text) = Escaped::of(content) {
        return Ok(vec![Part::Text { text, cache: None }]);
    }
    let elements = content.elements().into_iter().enumerate();
    elements.map(|(number, element)| part(element, message, number, notes)).collect()
}

/// A block of reasoning, with or without its provider's signature.
pub(super) fn thinking<'a>(members: &[Member<'a>]) -> Option<Part<'a>> {
    let text = |key: &str| object_of(members, key).and_then(Escaped::of);
    let signed = |key: &str| {
        let value = text(key).filter(|value| !value.is_empty());
        value.map(|value| Signature::new(value, Dialect::Messages))
    };
    match object_of(members, "type").and_then(Raw::text)?.as_ref() {
        "thinking" => {
            let thought = object_of(members, "thinking")?;
            let text = Escaped::of(thought).unwrap_or_else(|| joined(thought));
            Some(Part::Reasoning(Reasoning { text, signature: signed("signature"), redacted: false }))
        }
        "redacted_thinking" => {
            let signature = Some(signed("data")?);
            Some(Part::Reasoning(Reasoning { text: Escaped::default(), signature, redacted: true }))
        }
        _ => None,
    }
}

fn part<'a>(
    raw: Raw<'a>,
    message: usize,
    number: usize,
    notes: &mut Notes<'a>,
) -> Result<Part<'a>, Unsupported> {
    let members = raw.members();
    let path = |field: &str| format!("messages[{message}].content[{number}].{field}");
    let refused = |field: &str| Unsupported::field(path(field));
    let typed = object_of(&members, "type").and_then(Raw::text).unwrap_or_default();
    let value = object_of(&members, &typed);
    for member in &members {
        let known = ["type", "cache_control", "prompt_cache_breakpoint", "annotations", "signature", "data"];
        if member.key != typed && !known.contains(&member.key.as_ref()) {
            notes.add("messages[].content[]", member);
        }
    }
    let cache = cache(&members);
    match typed.as_ref() {
        "text" => {
            let text = value.and_then(Escaped::of).ok_or_else(|| refused("text"))?;
            Ok(Part::Text { text, cache })
        }
        "refusal" => value.and_then(Escaped::of).map(Part::Refusal).ok_or_else(|| refused("refusal")),
        "image_url" => {
            let value = value.ok_or_else(|| refused("image_url"))?;
            let url = if value.kind() == Kind::String { Some(value) } else { value.member("url") };
            let source = url.and_then(address).ok_or_else(|| refused("image_url.url"))?;
            let detail = value.member("detail").and_then(Escaped::of);
            Ok(Part::Image { source, detail, cache })
        }
        "input_audio" => {
            let members = value.map(Raw::members).unwrap_or_default();
            let text = |key: &str| object_of(&members, key).and_then(Escaped::of);
            let (data, format) = text("data").zip(text("format")).ok_or_else(|| refused("input_audio"))?;
            Ok(Part::Audio { data, format })
        }
        "file" => {
            let members = value.map(Raw::members).unwrap_or_default();
            let source = document(&members).ok_or_else(|| refused("file"))?;
            Ok(Part::File { source, name: object_of(&members, "filename").and_then(Escaped::of), cache })
        }
        "thinking" | "redacted_thinking" => thinking(&members).ok_or_else(|| refused(&typed)),
        _ => Err(refused("type")),
    }
}

/// The mark after this part, in either of its two spellings.
fn cache(members: &[Member<'_>]) -> Option<Cache> {
    let marked = object_of(members, "cache_control").and_then(cache_control);
    let breakpoint = || object_of(members, "prompt_cache_breakpoint").filter(|raw| !raw.is_idle());
    marked.or_else(|| breakpoint().map(|_| Cache::Short))
}

fn document<'a>(file: &[Member<'a>]) -> Option<Source<'a>> {
    if let Some(data) = object_of(file, "file_data") {
        let bare =
            |data: Escaped<'a>| Source::Data { media_type: Escaped::from_inner("application/pdf"), data };
        return match address(data)? {
            Source::Url(url) if !url.inner().starts_with("http") => Some(bare(url)),
            source => Some(source),
        };
    }
    let id = object_of(file, "file_id").and_then(Escaped::of)?;
    Some(Source::Id { id, dialect: Dialect::Chat })
}

/// The content of a URL: a data URL is split, any other is kept whole. `None` for data that is not base64.
fn address(raw: Raw<'_>) -> Option<Source<'_>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    let (head, data) = inner.split_once(',').unwrap_or((inner, ""));
    let head = Escaped::from_inner(head);
    let head = head.decode();
    if !head.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        return Escaped::of(raw).map(Source::Url);
    }
    let described = head.get(5..)?.strip_suffix(";base64")?;
    let media_type = described.split(';').next().unwrap_or_default();
    Some(Source::Data { media_type: Escaped::from_text(media_type), data: Escaped::from_inner(data) })
}

/// The texts of a list of parts, as one.
fn joined(parts: Raw<'_>) -> Escaped<'static> {
    let mut whole = Escaped::default();
    for text in parts.elements().into_iter().filter_map(|part| part.member("text").and_then(Escaped::of)) {
        whole.push(&text);
    }
    whole.into_owned()
}
