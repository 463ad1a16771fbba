//! Text in the escaped form of a JSON string. It is carried between wire formats without decoding: escapes, half
//! surrogates and a character that is split over two frames stay as they arrived.

use super::{Raw, Text};
use crate::cost;
use std::{borrow::Cow, fmt};

/// The inside of a JSON string, as written, without the quotes. Its `Debug` shows no content.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Escaped<'a>(Cow<'a, str>);

impl<'a> Escaped<'a> {
    /// From plain text, which is escaped where JSON requires it.
    pub fn from_text(text: &str) -> Escaped<'static> {
        let mut quoted = Vec::with_capacity(text.len().saturating_add(2));
        super::push_text(&mut quoted, text);
        let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        Escaped(Cow::Owned(String::from_utf8_lossy(inner).into_owned()))
    }

    /// From text that is already the inside of a JSON string.
    pub fn from_inner(inner: impl Into<Cow<'a, str>>) -> Escaped<'a> {
        Escaped(inner.into())
    }

    /// The string in `raw`; `None` if it is of another kind.
    pub fn of(raw: Raw<'a>) -> Option<Escaped<'a>> {
        let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
        Some(Escaped(Cow::Borrowed(inner)))
    }

    /// The string that serde kept unchanged; `None` if it is of another kind.
    pub fn of_value(raw: &'a serde_json::value::RawValue) -> Option<Escaped<'a>> {
        let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
        Some(Escaped(Cow::Borrowed(inner)))
    }

    /// As written.
    pub fn inner(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Contains only white space.
    pub fn is_blank(&self) -> bool {
        self.0.is_empty() || self.decode().trim().is_empty()
    }

    /// The decoded text; half a surrogate pair without its other half becomes U+FFFD.
    pub fn decode(&self) -> Cow<'_, str> {
        cost::step(self.0.len());
        if !self.0.contains('\\') {
            return Cow::Borrowed(&self.0);
        }
        Cow::Owned(unescape(self.0.as_bytes()))
    }

    /// The decoded text, which is itself JSON: there half a surrogate pair without its other half keeps its escape.
    pub fn decode_json(&self) -> Cow<'_, str> {
        cost::step(self.0.len());
        if !self.0.contains('\\') {
            return Cow::Borrowed(&self.0);
        }
        Cow::Owned(unescaped(&self.0, Lone::Escaped))
    }

    /// Appends it as a JSON string.
    pub fn push_quoted(&self, out: &mut Vec<u8>) {
        cost::step(self.0.len());
        out.push(b'"');
        out.extend_from_slice(self.0.as_bytes());
        out.push(b'"');
    }

    /// Appends the text that follows. Two halves of a surrogate pair become one character.
    pub fn push(&mut self, more: &Escaped<'_>) {
        cost::step(more.0.len());
        if self.0.is_empty() {
            self.0 = Cow::Owned(more.0.as_ref().to_owned());
        } else {
            self.0.to_mut().push_str(&more.0);
        }
    }

    pub fn into_owned(self) -> Escaped<'static> {
        cost::step(self.0.len());
        Escaped(Cow::Owned(self.0.into_owned()))
    }

    /// The same text, borrowed.
    pub fn borrowed(&self) -> Escaped<'_> {
        Escaped(Cow::Borrowed(&self.0))
    }
}

impl<'a> From<Text<'a>> for Escaped<'a> {
    fn from(text: Text<'a>) -> Self {
        Escaped(Cow::Borrowed(text.inner()))
    }
}

/// Turns the still-escaped text gathered by [`read`] into characters. A lone surrogate becomes U+FFFD.
pub fn unescape(escaped: &[u8]) -> String {
    let text = String::from_utf8_lossy(escaped);
    if !text.contains('\\') {
        return text.into_owned();
    }
    unescaped(&text, Lone::Replaced)
}

/// How half a surrogate pair without its other half is decoded.
#[derive(Clone, Copy)]
enum Lone {
    /// U+FFFD.
    Replaced,
    Escaped,
}

fn unescaped(text: &str, lone: Lone) -> String {
    let mut out = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escape = if c == '\\' { chars.next() } else { None };
        if escape == Some('u') {
            let digits: String = chars.by_ref().take(4).collect();
            units.push(u16::from_str_radix(&digits, 16).unwrap_or(0xFFFD));
            continue;
        }
        flush(&mut units, lone, &mut out);
        out.push(match escape {
            None => c,
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some(other) => other,
        });
    }
    flush(&mut units, lone, &mut out);
    out
}

fn flush(units: &mut Vec<u16>, lone: Lone, out: &mut String) {
    for unit in char::decode_utf16(units.drain(..)) {
        match (unit, lone) {
            (Ok(c), _) => out.push(c),
            (Err(_), Lone::Replaced) => out.push('\u{FFFD}'),
            (Err(half), Lone::Escaped) => out.push_str(&format!("\\u{:04x}", half.unpaired_surrogate())),
        }
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if cfg!(test) {
            return fmt::Debug::fmt(&self.0, f);
        }
        write!(f, "Escaped of {} bytes", self.0.len())
    }
}
