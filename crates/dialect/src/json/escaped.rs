//! Text as it stands inside a JSON string. It travels between wire formats without being decoded: escapes, half
//! surrogates and the split of a character over two frames stay as they came.

use super::{Raw, Text};
use crate::cost;
use std::{borrow::Cow, fmt};

/// The inside of a JSON string, as written, without the quotes. Its `Debug` shows no content.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Escaped<'a>(Cow<'a, str>);

impl<'a> Escaped<'a> {
    /// From plain text, which is escaped where JSON demands it.
    pub fn from_text(text: &str) -> Escaped<'static> {
        let mut quoted = Vec::with_capacity(text.len().saturating_add(2));
        super::push_text(&mut quoted, text);
        let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        Escaped(Cow::Owned(String::from_utf8_lossy(inner).into_owned()))
    }

    /// From text that is the inside of a JSON string already.
    pub fn from_inner(inner: impl Into<Cow<'a, str>>) -> Escaped<'a> {
        Escaped(inner.into())
    }

    /// The string that `raw` is; `None` when it is of another kind.
    pub fn of(raw: Raw<'a>) -> Option<Escaped<'a>> {
        let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
        Some(Escaped(Cow::Borrowed(inner)))
    }

    /// The string that serde kept as it was; `None` when it is of another kind.
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

    /// Nothing but white space.
    pub fn is_blank(&self) -> bool {
        self.0.is_empty() || self.decode().trim().is_empty()
    }

    /// The text meant; a half surrogate that stays alone becomes U+FFFD.
    pub fn decode(&self) -> Cow<'_, str> {
        cost::step(self.0.len());
        if !self.0.contains('\\') {
            return Cow::Borrowed(&self.0);
        }
        Cow::Owned(unescape(self.0.as_bytes()))
    }

    /// The text meant, which is itself JSON: there a half surrogate that stays alone keeps its escape.
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

    /// Appends what follows it. Two halves of a surrogate pair become one character by that.
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

/// What becomes of a half surrogate that stays alone.
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
