//! A chat request as a provider reads it. Values stay raw text: a body may hold half surrogates that a Rust
//! string cannot, and providers accept those.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The fields of a JSON object; the last of equal names counts.
pub(super) type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// The body of a request, if it is a JSON object.
#[derive(Default)]
pub(super) struct ChatRequest<'a> {
    pub fields: Fields<'a>,
    pub messages: Vec<Fields<'a>>,
}

impl<'a> ChatRequest<'a> {
    /// `None` if the body is not an object, or `messages` not a list of objects.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let fields: Fields<'a> = serde_json::from_slice(body).ok()?;
        let messages = match fields.get("messages") {
            Some(raw) => serde_json::from_str(raw.get()).ok()?,
            None => Vec::new(),
        };
        Some(Self { fields, messages })
    }

    /// The raw value; null counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        get(&self.fields, name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// Empty when it is not a string.
    pub(super) fn model(&self) -> String {
        self.get("model").and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default()
    }

    /// How many choices are asked for.
    pub(super) fn choices(&self) -> usize {
        self.get("n").and_then(|raw| raw.parse().ok()).unwrap_or(1).clamp(1, 128)
    }

    /// A flag of `stream_options`.
    pub(super) fn stream_option(&self, name: &str) -> Option<bool> {
        let options: Fields<'_> = serde_json::from_str(self.get("stream_options")?).ok()?;
        get(&options, name).map(|raw| raw == "true")
    }

    /// The text of the last user message as the inside of a JSON string, byte for byte.
    pub(super) fn last_user_text(&self) -> String {
        let last = self.messages.iter().rev().find(|message| get(message, "role") == Some("\"user\""));
        let Some(content) = last.and_then(|message| get(message, "content")) else { return String::new() };
        if let Some(inside) = unquoted(content) {
            return inside.to_owned();
        }
        let parts: Vec<Fields<'_>> = serde_json::from_str(content).unwrap_or_default();
        parts.iter().filter_map(|part| get(part, "text")).filter_map(unquoted).collect()
    }
}

pub(super) fn get<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a str> {
    fields.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null")
}

/// Text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    // Writing a string cannot fail; the empty string would be a visible fault.
    serde_json::to_string(text).unwrap_or_default()
}

fn unquoted(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_byte_for_byte_even_with_half_surrogates() {
        let body = br#"{"model":"m","n":2,"messages":[{"role":"user","content":"a\ud83d b\u00e3"}]}"#;
        let request = ChatRequest::parse(body).unwrap();
        assert_eq!(request.last_user_text(), r"a\ud83d b\u00e3");
        assert_eq!(request.choices(), 2);
        let parts = br#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"text","text":"y"}]}]}"#;
        assert_eq!(ChatRequest::parse(parts).unwrap().last_user_text(), "xy");
    }
}
