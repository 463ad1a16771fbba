//! JSON as text. What a script or a client wrote between quotes is kept byte for byte: half surrogates, unusual escapes
//! and raw separators must pass, so nothing here may be converted to a Rust string and back.

use serde_json::Value;

/// Text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    // Writing a string cannot fail; the empty string would be a visible fault.
    serde_json::to_string(text).unwrap_or_default()
}

/// Text as the inside of a JSON string.
pub(super) fn inside(text: &str) -> String {
    let mut quoted = quoted(text);
    quoted.pop();
    quoted.split_off(quoted.len().min(1))
}

/// The inside of a raw JSON string.
pub(super) fn unquoted(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"')
}

/// The JSON text that the inside of a string holds, one level of escapes taken away. Half surrogates stay
/// escapes: the JSON text can hold them as such. Nothing at all stands for an empty object.
pub(super) fn object_in(inside: &str) -> String {
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut after = escape.chars();
        match after.next() {
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('u') => {
                let (unit, length) = code_unit(escape);
                text.push_str(&unit);
                rest = escape.get(length..).unwrap_or_default();
                continue;
            }
            Some(other) => text.push(other),
            None => {}
        }
        rest = after.as_str();
    }
    text.push_str(rest);
    if text.trim().is_empty() { "{}".to_owned() } else { text }
}

/// The meaning of `uXXXX`, with a low half that follows a high one, and its length.
fn code_unit(escape: &str) -> (String, usize) {
    let unit = |text: &str| u16::from_str_radix(text, 16).ok();
    let first = escape.get(1..5).and_then(unit);
    let second =
        escape.get(5..7).filter(|mark| *mark == "\\u").and_then(|_| escape.get(7..11)).and_then(unit);
    match (first, second) {
        (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
            (String::from_utf16_lossy(&[high, low]), 11)
        }
        (Some(half @ 0xd800..=0xdfff), _) => (format!("\\u{half:04x}"), 5),
        (Some(whole), _) => (String::from_utf16_lossy(&[whole]), 5),
        (None, _) => (String::new(), 1),
    }
}

/// A body for the checks: half surrogates, which a Rust string cannot hold, are replaced.
pub(super) fn to_judge(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok().or_else(|| {
        let text = std::str::from_utf8(body).ok()?;
        serde_json::from_str(&without_halves(text)).ok()
    })
}

fn without_halves(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        whole.push_str(plain);
        let length = match code_unit(escape) {
            (unit, length) if escape.starts_with('u') && unit.starts_with("\\u") => {
                whole.push_str("\\ufffd");
                length
            }
            (_, length) if escape.starts_with('u') => {
                whole.push('\\');
                whole.push_str(escape.get(..length).unwrap_or_default());
                length
            }
            _ => {
                let length = escape.chars().next().map_or(0, char::len_utf8);
                whole.push('\\');
                whole.push_str(escape.get(..length).unwrap_or_default());
                length
            }
        };
        rest = escape.get(length..).unwrap_or_default();
    }
    whole.push_str(rest);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_level_of_escapes_is_taken_away_and_half_surrogates_stay() {
        for (inside, text) in [
            ("", "{}"),
            (r#"{\"a\":1.0,\"b\":12345678901234567890}"#, r#"{"a":1.0,"b":12345678901234567890}"#),
            (r#"{\"a\":\"\u00e3\ud83d\ude00\"}"#, "{\"a\":\"ã😀\"}"),
            (r#"{\"a\":\"\ud83d \ude00\"}"#, r#"{"a":"\ud83d \ude00"}"#),
            (r#"{\"a\":\"x\\ny\\\"\"}"#, r#"{"a":"x\ny\""}"#),
        ] {
            assert_eq!(object_in(inside), text);
        }
    }

    #[test]
    fn a_body_with_half_surrogates_can_be_judged() {
        let body = br#"{"a":"x\ud83d \\ud83d \n\ud83d\ude00","b":1}"#;
        let value = to_judge(body).unwrap();
        assert_eq!(value["a"], "x\u{fffd} \\ud83d \n😀");
        assert!(to_judge(b"{").is_none());
    }
}
