//! Multipart forms (RFC 7578), whole in memory: parts are borrowed and written again with their original bytes. Bounded
//! in parts and in the size of their headers; it must never panic.

use crate::request::Invalid;
use std::borrow::Cow;

/// Maximum parts of a form.
const PARTS_MAX: usize = 64;
/// Maximum bytes of one part's headers.
const HEAD_BYTES_MAX: usize = 4 * 1024;
/// RFC 2046.
const BOUNDARY_BYTES_MAX: usize = 70;

/// A form that was read.
#[derive(Debug)]
pub struct Form<'a> {
    /// Occurs in no part, so the written form can use it again.
    pub boundary: Cow<'a, str>,
    pub parts: Vec<Part<'a>>,
}

/// One part.
pub struct Part<'a> {
    pub name: Cow<'a, str>,
    /// `None` for a plain field.
    pub filename: Option<Cow<'a, str>>,
    pub content_type: Option<&'a str>,
    /// The header lines, as they were sent.
    head: &'a str,
    pub content: &'a [u8],
}

/// A form in progress.
pub(super) struct FormWriter<'w> {
    boundary: &'w str,
    body: Vec<u8>,
}

impl<'a> Form<'a> {
    /// Reads `body`; `content_type` states the boundary.
    pub fn read(content_type: &'a str, body: &'a [u8]) -> Result<Self, Invalid> {
        let boundary = boundary(content_type).ok_or_else(|| {
            refusal(
                "this endpoint takes a form: the content type must be multipart/form-data with a boundary",
            )
        })?;
        let delimiter = format!("\r\n--{boundary}");
        let finder = memchr::memmem::Finder::new(delimiter.as_bytes());
        // The first delimiter may stand at the start, without a line end before it.
        let opening = delimiter.as_bytes().get(2..).unwrap_or_default();
        let mut rest = match body.strip_prefix(opening) {
            Some(rest) => rest,
            None => after(body, finder.find(body), delimiter.len())
                .ok_or_else(|| refusal("the form has no parts"))?,
        };
        let mut parts = Vec::with_capacity(8);
        loop {
            if rest.starts_with(b"--") {
                return Ok(Self { boundary, parts });
            }
            if parts.len() >= PARTS_MAX {
                return Err(refusal(&format!("the form may have at most {PARTS_MAX} parts")));
            }
            let line_end = memchr::memchr(b'\n', rest).filter(|end| {
                rest.get(..*end)
                    .is_some_and(|padding| padding.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')))
            });
            let inside = after(rest, line_end, 1).ok_or_else(|| refusal("a line of the form is broken"))?;
            let end = finder.find(inside).ok_or_else(|| refusal("the form ends within a part"))?;
            parts.push(Part::read(inside.get(..end).unwrap_or_default())?);
            rest = after(inside, Some(end), delimiter.len()).unwrap_or_default();
        }
    }

    /// The first part of that name.
    pub fn part(&self, name: &str) -> Option<&Part<'a>> {
        self.parts.iter().find(|part| part.name == name)
    }

    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary=\"{}\"", self.boundary)
    }
}

impl<'a> Part<'a> {
    fn read(part: &'a [u8]) -> Result<Self, Invalid> {
        let split = memchr::memmem::find(part, b"\r\n\r\n").filter(|at| *at <= HEAD_BYTES_MAX);
        let split = split.ok_or_else(|| refusal("a part of the form has no head"))?;
        let head = part.get(..split).and_then(|head| std::str::from_utf8(head).ok());
        let head = head.ok_or_else(|| refusal("the head of a part is not UTF-8"))?;
        let content = part.get(split.saturating_add(4)..).unwrap_or_default();
        let header = |name: &str| {
            head.split("\r\n").find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let disposition = header("content-disposition").unwrap_or_default();
        let name = parameter(disposition, "name").ok_or_else(|| refusal("a part of the form has no name"))?;
        Ok(Self {
            name,
            filename: parameter(disposition, "filename"),
            content_type: header("content-type"),
            head,
            content,
        })
    }

    pub fn is_file(&self) -> bool {
        self.filename.is_some()
    }

    /// The content of a plain field; `None` if it is not text.
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.content).ok()
    }
}

impl std::fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes", self.name, self.content.len())
    }
}

impl<'w> FormWriter<'w> {
    pub fn new(boundary: &'w str, bytes: usize) -> Self {
        Self { boundary, body: Vec::with_capacity(bytes) }
    }

    /// A part, unchanged.
    pub fn part(&mut self, part: &Part<'_>) {
        self.open();
        self.body.extend_from_slice(part.head.as_bytes());
        self.content(part.content);
    }

    /// A plain field. `name` is a constant of this program.
    pub fn text(&mut self, name: &str, text: &str) {
        self.open();
        self.body.extend_from_slice(format!("Content-Disposition: form-data; name=\"{name}\"").as_bytes());
        self.content(text.as_bytes());
    }

    pub fn end(mut self) -> Vec<u8> {
        self.body.extend_from_slice(b"--");
        self.body.extend_from_slice(self.boundary.as_bytes());
        self.body.extend_from_slice(b"--\r\n");
        self.body
    }

    fn open(&mut self) {
        self.body.extend_from_slice(b"--");
        self.body.extend_from_slice(self.boundary.as_bytes());
        self.body.extend_from_slice(b"\r\n");
    }

    fn content(&mut self, content: &[u8]) {
        self.body.extend_from_slice(b"\r\n\r\n");
        self.body.extend_from_slice(content);
        self.body.extend_from_slice(b"\r\n");
    }
}

/// The form in which the plain field `name`, if it contains a JSON list of texts, becomes one field `name[]` for each
/// text.
pub fn spread_list(content_type: &str, body: &[u8], name: &str) -> Option<Vec<u8>> {
    let form = Form::read(content_type, body).ok()?;
    let items: Vec<String> = serde_json::from_str(form.part(name)?.text()?).ok()?;
    // A line end could begin another part.
    if items.iter().any(|item| item.contains(['\r', '\n'])) {
        return None;
    }
    let repeated = format!("{name}[]");
    let mut writer = FormWriter::new(&form.boundary, body.len());
    form.parts.iter().filter(|part| part.name != name).for_each(|part| writer.part(part));
    items.iter().for_each(|item| writer.text(&repeated, item));
    Some(writer.end())
}

fn boundary(content_type: &str) -> Option<Cow<'_, str>> {
    let (essence, _) = content_type.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let is_legal = |c: char| c.is_ascii_alphanumeric() || "'()+_,-./:=? ".contains(c);
    parameter(content_type, "boundary").filter(|boundary| {
        !boundary.is_empty()
            && boundary.len() <= BOUNDARY_BYTES_MAX
            && !boundary.ends_with(' ')
            && boundary.chars().all(is_legal)
    })
}

/// A parameter of a header's value, without quotes and escapes.
fn parameter<'a>(value: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (key, tail) = rest.split_once('=')?;
        let key = key.trim_matches([' ', '\t', ';']);
        let tail = tail.trim_start();
        let (found, next) = match tail.strip_prefix('"') {
            Some(quoted) => quoted_text(quoted)?,
            None => {
                let end = tail.find(';').unwrap_or(tail.len());
                (Cow::Borrowed(tail.get(..end)?.trim()), tail.get(end..)?)
            }
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(found);
        }
        rest = next;
    }
}

/// The text before the closing quote, and the text after it.
fn quoted_text(quoted: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut unescaped = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let plain = quoted.get(..at)?;
                let text = if plain.contains('\\') { Cow::Owned(unescaped) } else { Cow::Borrowed(plain) };
                return Some((text, quoted.get(at.saturating_add(1)..)?));
            }
            // Browsers do not escape the backslashes of a Windows path.
            '\\' => match chars.next()? {
                (_, escaped @ ('"' | '\\')) => unescaped.push(escaped),
                (_, other) => unescaped.extend(['\\', other]),
            },
            c => unescaped.push(c),
        }
    }
    None
}

fn after(bytes: &[u8], at: Option<usize>, width: usize) -> Option<&[u8]> {
    bytes.get(at?.checked_add(width)?..)
}

fn refusal(message: &str) -> Invalid {
    Invalid { param: None, message: message.to_owned() }
}
