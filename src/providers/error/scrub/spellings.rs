//! Finds a key in other spellings: base64 and base64url at any alignment, hexadecimal, percent, HTML and JSON escapes,
//! with separated letters or in another case, and any long part of one of these. Text and spellings are compared by
//! their letters and digits only, in lower case, by windows of a fixed length: the cost is linear in the text.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use std::{collections::HashSet, ops::Range};

/// Letters and digits that are sufficient to recognize a part of a spelling.
const WINDOW: usize = 12;
/// A spelling with fewer letters and digits than this is recognized only as a whole.
const WHOLE_BELOW: usize = 24;
/// A spelling with fewer is not searched: it would occur in ordinary words.
const LETTERS_MIN: usize = 6;

/// The ranges of a text that contain a key or a long part of it, in order and without overlap.
pub(super) fn places(text: &str, key: &str) -> Vec<Range<usize>> {
    let spellings = Spellings::of(key);
    let mut marked: Vec<Range<usize>> = Vec::new();
    for letters in [as_it_is(text), unescaped(text)] {
        marked.extend(spellings.find(&letters));
    }
    merge(marked)
}

/// A letter or digit of a text, in lower case, and the bytes that write it.
struct Letter {
    value: u8,
    source: Range<usize>,
}

/// The windows to search, by their length.
struct Spellings {
    windows: Vec<(usize, HashSet<Vec<u8>>)>,
}

impl Spellings {
    fn of(key: &str) -> Self {
        let mut windows: Vec<(usize, HashSet<Vec<u8>>)> = Vec::new();
        let hexadecimal: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        let base64 = (0..3).map(|before| base64_inside(key.as_bytes(), before));
        for spelling in [key.to_owned(), hexadecimal].into_iter().chain(base64) {
            let letters: Vec<u8> = spelling.bytes().filter_map(letter).collect();
            if letters.len() < LETTERS_MIN {
                continue;
            }
            let length = if letters.len() < WHOLE_BELOW { letters.len() } else { WINDOW };
            let found = letters.windows(length).map(<[u8]>::to_vec);
            match windows.iter_mut().find(|(known, _)| *known == length) {
                Some((_, set)) => set.extend(found),
                None => windows.push((length, found.collect())),
            }
        }
        Self { windows }
    }

    fn find(&self, letters: &[Letter]) -> Vec<Range<usize>> {
        let values: Vec<u8> = letters.iter().map(|letter| letter.value).collect();
        let mut found: Vec<Range<usize>> = Vec::new();
        for (length, set) in &self.windows {
            for (window, letters) in values.windows(*length).zip(letters.windows(*length)) {
                if set.contains(window)
                    && let (Some(first), Some(last)) = (letters.first(), letters.last())
                {
                    match found.last_mut().filter(|before| before.end >= first.source.start) {
                        Some(before) => before.end = before.end.max(last.source.end),
                        None => found.push(first.source.start..last.source.end),
                    }
                }
            }
        }
        found
    }
}

/// The base64 of these bytes after `before` other bytes, without the characters that depend on the surrounding bytes.
fn base64_inside(bytes: &[u8], before: usize) -> String {
    let mut padded = vec![0; before];
    padded.extend_from_slice(bytes);
    let encoded = STANDARD_NO_PAD.encode(&padded);
    let dependent = (before * 8).div_ceil(6);
    let whole = padded.len() * 8 / 6;
    encoded.get(dependent..whole.max(dependent)).unwrap_or_default().to_owned()
}

fn letter(byte: u8) -> Option<u8> {
    byte.is_ascii_alphanumeric().then(|| byte.to_ascii_lowercase())
}

fn as_it_is(text: &str) -> Vec<Letter> {
    let letters = text.bytes().enumerate();
    letters.filter_map(|(at, byte)| Some(Letter { value: letter(byte)?, source: at..at + 1 })).collect()
}

/// The letters, with every escape decoded; `0x` and `\x` before hexadecimal digits are left out.
fn unescaped(text: &str) -> Vec<Letter> {
    let bytes = text.as_bytes();
    let (mut at, mut letters) = (0, Vec::new());
    while let Some(byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let (value, length) = match byte {
            b'%' => percent(rest),
            b'&' => entity(rest),
            b'\\' => backslash(rest),
            b'0' if matches!(rest.get(1), Some(b'x' | b'X')) => (None, 2),
            _ => (letter(*byte), 1),
        };
        if let Some(value) = value {
            letters.push(Letter { value, source: at..at + length });
        }
        at += length.max(1);
    }
    letters
}

/// The character of a percent escape, also if its percent sign is escaped again; and its length.
fn percent(rest: &[u8]) -> (Option<u8>, usize) {
    let mut at = 1;
    while rest.get(at..at + 2) == Some(b"25") && rest.get(at + 2..at + 4).is_some_and(is_hex) {
        at += 2;
    }
    match rest.get(at..at + 2).and_then(hex) {
        Some(value) => (u8::try_from(value).ok().and_then(letter), at + 2),
        None => (None, 1),
    }
}

/// The character of an HTML entity, also if its ampersand is escaped again; and its length. Named entities mean no
/// letter or digit.
fn entity(rest: &[u8]) -> (Option<u8>, usize) {
    const LENGTH_MAX: usize = 12;
    let mut at = 1;
    while rest.get(at..).is_some_and(|rest| rest.starts_with(b"amp;")) {
        at += 4;
    }
    let inside = rest.get(at..).unwrap_or_default();
    let Some(end) = inside.iter().take(LENGTH_MAX).position(|byte| *byte == b';') else { return (None, 1) };
    let name = inside.get(..end).unwrap_or_default();
    let value = match name {
        [b'#', b'x' | b'X', digits @ ..] => hex(digits),
        [b'#', digits @ ..] => number(digits, 10),
        name if name.iter().all(u8::is_ascii_alphanumeric) => None,
        _ => return (None, 1),
    };
    (value.and_then(|value| u8::try_from(value).ok()).and_then(letter), at + end + 1)
}

/// The character of a backslash escape, for any number of backslashes; and its length.
fn backslash(rest: &[u8]) -> (Option<u8>, usize) {
    let run = rest.iter().take_while(|byte| **byte == b'\\').count();
    let digits = |length: usize| rest.get(run + 1..run + 1 + length).and_then(hex);
    let named = |value: u32| u8::try_from(value).ok().and_then(letter);
    match rest.get(run) {
        Some(b'u') => digits(4).map_or((None, run), |value| (named(value), run + 5)),
        // Two hexadecimal digits are a letter, or in a byte dump the searched digits themselves.
        Some(b'x') => digits(2).map_or((None, run), |value| (named(value), run + 3)),
        Some(b'n' | b'r' | b't' | b'b' | b'f') => (None, run + 1),
        _ => (None, run),
    }
}

fn is_hex(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

fn hex(digits: &[u8]) -> Option<u32> {
    number(digits, 16)
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
    u32::from_str_radix(text, radix).ok()
}

fn merge(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut().filter(|before| before.end >= range.start) {
            Some(before) => before.end = before.end.max(range.end),
            None => merged.push(range),
        }
    }
    merged
}
