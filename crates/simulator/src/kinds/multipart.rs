//! A form of parts, as far as providers look at it. It is shown as a JSON object, so that everything that judges
//! a body judges a form too. It must not guess: a form that is not closed, or a field that is not text, is no form.

use memchr::memmem;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// A body as the JSON text that is judged.
pub(in super::super) struct Readable<'a> {
    pub json: Cow<'a, [u8]>,
    pub is_form: bool,
}

struct Part<'a> {
    name: String,
    filename: Option<String>,
    content_type: String,
    bytes: &'a [u8],
}

/// A text field is its text; a file is `{filename, content_type, bytes, last}`; several of one name are a list, as
/// is every field with a name in brackets. What is no form stays as it is.
pub(in super::super) fn readable<'a>(content_type: &str, body: &'a [u8]) -> Readable<'a> {
    let form =
        boundary(content_type).and_then(|boundary| parts(&boundary, body)).and_then(|parts| object(&parts));
    match form {
        Some(form) => {
            Readable { json: Cow::Owned(Value::Object(form).to_string().into_bytes()), is_form: true }
        }
        None => Readable { json: Cow::Borrowed(body), is_form: false },
    }
}

fn boundary(content_type: &str) -> Option<String> {
    let parameters = content_type.strip_prefix("multipart/form-data")?;
    parameter(parameters, "boundary")
}

/// A parameter of a header value, with or without quotes.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    parameters.split(';').find_map(|parameter| {
        let value = parameter.trim().strip_prefix(name)?.strip_prefix('=')?;
        Some(value.trim_matches('"').to_owned())
    })
}

/// `None` for what is no form, or not all of it.
fn parts<'a>(boundary: &str, body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(delimiter.get(2..)?.as_bytes())?;
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let after = rest.strip_prefix(b"\r\n")?;
        let end = memmem::find(after, delimiter.as_bytes())?;
        let (part, next) = after.split_at_checked(end)?;
        parts.push(read_part(part)?);
        rest = next.get(delimiter.len()..)?;
    }
}

fn read_part(part: &[u8]) -> Option<Part<'_>> {
    let head_end = memmem::find(part, b"\r\n\r\n")?;
    let (head, bytes) = (part.get(..head_end)?, part.get(head_end + 4..)?);
    let head = std::str::from_utf8(head).ok()?;
    let value = |wanted: &str| {
        head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let disposition = value("content-disposition")?.strip_prefix("form-data")?;
    Some(Part {
        name: parameter(disposition, "name")?,
        filename: parameter(disposition, "filename"),
        content_type: value("content-type").unwrap_or_default().to_owned(),
        bytes,
    })
}

fn object(parts: &[Part<'_>]) -> Option<Map<String, Value>> {
    let mut form = Map::new();
    for (index, part) in parts.iter().enumerate() {
        let value = match &part.filename {
            Some(filename) => json!({
                "filename": filename,
                "content_type": part.content_type,
                "bytes": part.bytes.len(),
                "last": index + 1 == parts.len(),
            }),
            None => Value::from(std::str::from_utf8(part.bytes).ok()?),
        };
        match form.get_mut(&part.name) {
            Some(Value::Array(values)) => values.push(value),
            Some(one) => *one = Value::Array(vec![one.take(), value]),
            None if part.name.ends_with("[]") => {
                drop(form.insert(part.name.clone(), Value::Array(vec![value])))
            }
            None => drop(form.insert(part.name.clone(), value)),
        }
    }
    Some(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "multipart/form-data; boundary=\"xx\"";

    fn read(body: &[u8]) -> Option<Value> {
        let readable = readable(FORM, body);
        readable.is_form.then(|| serde_json::from_slice(&readable.json).unwrap())
    }

    #[test]
    fn fields_files_and_lists_are_told_apart() {
        let body = b"--xx\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--xx\r\ncontent-disposition: form-data; name=\"a[]\"\r\n\r\nword\r\n--xx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n\x00\xff\r\n-\r\n--xx--\r\n";
        let file = json!({"filename": "a.wav", "content_type": "audio/wav", "bytes": 5, "last": true});
        assert_eq!(read(body), Some(json!({"model": "m", "a[]": ["word"], "file": file})));
    }

    #[test]
    fn what_is_not_whole_is_no_form() {
        for body in [
            &b""[..],
            b"--xx\r\n",
            b"--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n",
            b"--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--xx--",
            b"--xx\r\nno head\r\n--xx--",
            b"{}",
        ] {
            assert_eq!(read(body), None, "{}", String::from_utf8_lossy(body));
        }
        assert!(!readable("application/json", b"--xx--").is_form);
        assert_eq!(read(b"--xx--"), Some(json!({})));
    }
}
