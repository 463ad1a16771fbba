//! Reads JSON without building a tree: a cursor checks the grammar (RFC 8259) once while a caller walks the members
//! that it needs, and borrowed values keep their bytes. Numbers are never converted, strings are decoded only on
//! request, and nothing here recurses with the input. It must never accept a text that a strict parser refuses, because
//! the text is sent on to a provider unchanged.

use crate::cost;
use std::{borrow::Cow, fmt};

mod cursor;
mod escaped;
mod write;

pub use cursor::Cursor;
pub use escaped::{Escaped, unescape};
pub use write::ObjectWriter;

/// Deeper nesting is always refused; the cursor keeps one bit for each level.
pub const DEPTH_LIMIT: u32 = 128;

/// Why a text is not acceptable JSON, and at which byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    pub what: &'static str,
    pub at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// With its article, for error messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }

    fn of(byte: Option<u8>) -> Option<Kind> {
        Some(match byte? {
            b'n' => Kind::Null,
            b't' | b'f' => Kind::Bool,
            b'-' | b'0'..=b'9' => Kind::Number,
            b'"' => Kind::String,
            b'[' => Kind::Array,
            b'{' => Kind::Object,
            _ => return None,
        })
    }
}

/// The bytes of one well-formed JSON value, without space around it. Its `Debug` shows no content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

/// A JSON string as written, including quotes and escapes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    quoted: &'a str,
    escaped: bool,
}

/// One member of an object.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Decoded.
    pub key: Cow<'a, str>,
    /// As written, with quotes.
    pub raw_key: &'a str,
    pub value: Raw<'a>,
}

/// The members of the object in `body`: UTF-8, nothing after it, no repeated key, at most `members_max`. Escapes of
/// lone surrogates in strings are allowed and stay as they are.
pub fn read_object(body: &[u8], depth_max: u32, members_max: usize) -> Result<Vec<Member<'_>>, JsonError> {
    let mut cursor = Cursor::new(body, depth_max)?;
    let mut members: Vec<Member<'_>> = Vec::with_capacity(16);
    cursor.object::<JsonError>(|cursor, key| {
        let decoded = key.decode();
        if members.len() >= members_max {
            return Err(cursor.error("too many members"));
        }
        if members.iter().any(|member| member.key == decoded) {
            return Err(cursor.error("a key that occurs twice"));
        }
        members.push(Member { key: decoded, raw_key: key.quoted, value: cursor.value()? });
        Ok(())
    })?;
    cursor.end()?;
    Ok(members)
}

/// Whether arrays and objects nest at most `depth_max` deep. It looks only at brackets outside strings and does not
/// check whether the text is JSON.
pub fn check_depth(body: &[u8], depth_max: u32) -> bool {
    cost::step(body.len());
    let mut rest = body;
    let mut depth = 0u32;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                if depth > depth_max {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => rest = after_string(tail),
            _ => {}
        }
    }
    true
}

/// The text after the closing quote of a string whose opening quote is just before `rest`.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(hit) = memchr::memchr2(b'"', b'\\', rest) {
        let width = if rest.get(hit) == Some(&b'"') { 1 } else { 2 };
        let tail = hit.checked_add(width).and_then(|at| rest.get(at..)).unwrap_or_default();
        if width == 1 {
            return tail;
        }
        rest = tail;
    }
    &[]
}

/// Appends `text` to `out` as a JSON string.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    // Writing a str into memory cannot fail: neither the sink nor the type has an error.
    let _ = serde_json::to_writer(out, text);
}

impl<'a> Raw<'a> {
    /// One value with only space around it, already known to be well formed.
    pub(crate) fn trimmed(text: &'a str) -> Raw<'a> {
        Raw(text.trim_matches(|c| matches!(c, ' ' | '\t' | '\n' | '\r')))
    }

    /// The value's bytes.
    pub fn get(self) -> &'a str {
        self.0
    }

    pub fn len(self) -> usize {
        self.0.len()
    }

    pub fn kind(self) -> Kind {
        Kind::of(self.0.bytes().next()).unwrap_or(Kind::Null)
    }

    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// Whether it means "nothing": null, false, zero, or an empty string, array or object.
    pub fn is_idle(self) -> bool {
        match self.kind() {
            Kind::Null => true,
            Kind::Bool => self.0 == "false",
            Kind::Number => self.0.bytes().all(|byte| matches!(byte, b'0' | b'.' | b'-')),
            Kind::String => self.0 == "\"\"",
            Kind::Array | Kind::Object => self.is_empty(),
        }
    }

    /// An array or object without members.
    pub fn is_empty(self) -> bool {
        matches!(self.kind(), Kind::Array | Kind::Object)
            && self.0.bytes().all(|byte| matches!(byte, b'[' | b']' | b'{' | b'}') || is_space(byte))
            && self.0.bytes().filter(|byte| !is_space(*byte)).count() == 2
    }

    /// The decoded string, when it is one.
    pub fn text(self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String)
            .then(|| Text { quoted: self.0, escaped: self.0.contains('\\') }.decode())
    }

    /// A whole number without sign, fraction or exponent, if it fits.
    pub fn count(self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// The value in a type of serde's, borrowing from the text.
    pub fn parse<T: serde::Deserialize<'a>>(self) -> Result<T, serde_json::Error> {
        cost::step(self.0.len());
        serde_json::from_str(self.0)
    }

    /// The members if it is an object (keys may be repeated); nothing otherwise.
    pub fn members(self) -> Vec<Member<'a>> {
        let mut members = Vec::new();
        if self.kind() == Kind::Object {
            // The text was checked when the value was made, so the walk cannot fail.
            let _ = self.cursor().object::<JsonError>(|cursor, key| {
                members.push(Member { key: key.decode(), raw_key: key.quoted, value: cursor.value()? });
                Ok(())
            });
        }
        members
    }

    /// The elements if it is an array; nothing otherwise.
    pub fn elements(self) -> Vec<Raw<'a>> {
        let mut elements = Vec::new();
        if self.kind() == Kind::Array {
            let _ = self.cursor().array::<JsonError>(|cursor, _| {
                elements.push(cursor.value()?);
                Ok(())
            });
        }
        elements
    }

    /// The last member of that name, if it is an object that has one.
    pub fn member(self, key: &str) -> Option<Raw<'a>> {
        let mut found = None;
        if self.kind() == Kind::Object {
            let _ = self.cursor().object::<JsonError>(|cursor, name| {
                let value = cursor.value()?;
                if name.decode() == key {
                    found = Some(value);
                }
                Ok(())
            });
        }
        found
    }

    /// A walk over the value.
    pub fn cursor(self) -> Cursor<'a> {
        Cursor::within(self)
    }
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes", self.kind(), self.0.len())
    }
}

impl<'a> Text<'a> {
    /// As written, without the quotes. Never shorter than the decoded text.
    pub fn inner(self) -> &'a str {
        self.quoted.get(1..self.quoted.len().saturating_sub(1)).unwrap_or_default()
    }

    /// As written, with the quotes.
    pub fn quoted(self) -> &'a str {
        self.quoted
    }

    /// The decoded text. Text without a UTF-8 form (a lone surrogate) is returned as it was written.
    pub fn decode(self) -> Cow<'a, str> {
        cost::step(self.quoted.len());
        if self.escaped
            && let Ok(decoded) = serde_json::from_str::<String>(self.quoted)
        {
            return Cow::Owned(decoded);
        }
        Cow::Borrowed(self.inner())
    }
}

/// Appends one more member to a JSON object, and keeps all of its bytes.
pub fn with_member(object: &[u8], name: &str, value: &str) -> Option<Vec<u8>> {
    let object = object.trim_ascii();
    let inside = object.strip_prefix(b"{")?.strip_suffix(b"}")?;
    let mut out = Vec::with_capacity(object.len() + name.len() + value.len() + 8);
    out.push(b'{');
    out.extend_from_slice(inside);
    if !inside.trim_ascii().is_empty() {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value.as_bytes());
    out.push(b'}');
    Some(out)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests;
