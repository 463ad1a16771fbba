//! A request as a provider reads it. Values stay raw text: a body may hold half surrogates that a Rust
//! string cannot, and providers accept those.

use super::{
    json::{inside, unquoted},
    rows::Row,
    script::Script,
};
use serde_json::{Value, value::RawValue};
use std::collections::BTreeMap;

/// What a wire format needs to answer one request.
pub(super) struct Asked<'a> {
    pub row: &'a Row,
    /// The provider whose error format is used: another one, if its wire format is used.
    pub speaker: &'a Row,
    pub script: &'a Script,
    pub request: &'a Request<'a>,
    pub model: String,
    pub streamed: bool,
    /// Makes the ids of the answer.
    pub serial: u64,
}

/// The fields of a JSON object; the last of equal names counts.
pub(super) type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// The body of a request, if it is a JSON object.
#[derive(Default)]
pub(super) struct Request<'a> {
    pub fields: Fields<'a>,
    /// Of the conversation, whatever the wire calls it.
    pub messages: Vec<Fields<'a>>,
}

impl<'a> Request<'a> {
    /// `None` if the body is not an object, or `messages` not a list of objects.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let fields: Fields<'a> = serde_json::from_slice(body).ok()?;
        let other = fields.get("contents").or_else(|| fields.get("input"));
        let messages = match (fields.get("messages"), other) {
            (Some(raw), _) => serde_json::from_str(raw.get()).ok()?,
            (None, Some(raw)) => serde_json::from_str(raw.get()).unwrap_or_default(),
            (None, None) => Vec::new(),
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

    /// The text to answer, in chunks, each the inside of a JSON string.
    pub(super) fn texts(&self, script: &Script) -> Vec<String> {
        if script.echo {
            return self.last_user_text().split_inclusive(' ').map(str::to_owned).collect();
        }
        script.chunks.iter().map(|chunk| inside(chunk)).collect()
    }

    /// Whether the model may call something.
    pub(super) fn offers_tools(&self) -> bool {
        let listed = self.get("tools").is_some_and(|tools| tools.trim() != "[]");
        listed || self.messages.iter().any(|item| get(item, "type") == Some("\"additional_tools\""))
    }

    /// The number of answers of the model in the conversation; each is one message or one call.
    pub(super) fn answers(&self) -> usize {
        let is_answer = |message: &&Fields<'_>| {
            let is = |name: &str, words: &[&str]| {
                get(message, name).and_then(unquoted).is_some_and(|word| words.contains(&word))
            };
            is("role", &["assistant", "model"]) || is("type", &["function_call", "custom_tool_call"])
        };
        self.messages.iter().filter(is_answer).count()
    }

    /// Whether a tool of this name takes any text (Responses), wherever the request lists it.
    pub(super) fn is_free_form(&self, name: &str) -> bool {
        let added = self.messages.iter().filter(|item| get(item, "type") == Some("\"additional_tools\""));
        let lists = self.get("tools").into_iter().chain(added.filter_map(|item| get(item, "tools")));
        lists.filter_map(|list| serde_json::from_str(list).ok()).any(|tools| has_free_form(&tools, name))
    }

    /// The text of the last user message as the inside of a JSON string, byte for byte.
    fn last_user_text(&self) -> String {
        if let Some(text) = self.get("input").and_then(unquoted) {
            return text.to_owned();
        }
        let last = self.messages.iter().rev().find(|message| get(message, "role") == Some("\"user\""));
        let content = last.and_then(|message| get(message, "content").or_else(|| get(message, "parts")));
        let Some(content) = content else { return String::new() };
        if let Some(inside) = unquoted(content) {
            return inside.to_owned();
        }
        let parts: Vec<Fields<'_>> = serde_json::from_str(content).unwrap_or_default();
        parts.iter().filter_map(|part| get(part, "text")).filter_map(unquoted).collect()
    }
}

fn has_free_form(tools: &Value, name: &str) -> bool {
    tools
        .as_array()
        .into_iter()
        .flatten()
        .any(|tool| (tool["type"] == "custom" && tool["name"] == name) || has_free_form(&tool["tools"], name))
}

pub(super) fn get<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a str> {
    fields.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_byte_for_byte_even_with_half_surrogates() {
        let body = br#"{"model":"m","n":2,"messages":[{"role":"user","content":"a\ud83d b\u00e3"}]}"#;
        let request = Request::parse(body).unwrap();
        assert_eq!(request.last_user_text(), r"a\ud83d b\u00e3");
        assert_eq!(request.choices(), 2);
        let parts = br#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"text","text":"y"}]}]}"#;
        assert_eq!(Request::parse(parts).unwrap().last_user_text(), "xy");
        let contents =
            br#"{"contents":[{"role":"user","parts":[{"text":"x"}]},{"role":"model","parts":[]}]}"#;
        assert_eq!(Request::parse(contents).unwrap().last_user_text(), "x");
        let steps = br#"{"tools":[{"type":"namespace","tools":[{"type":"custom","name":"p"}]}],"input":[{"role":"user"},{"type":"custom_tool_call"},{"type":"custom_tool_call_output"},{"type":"message","role":"assistant"}]}"#;
        let steps = Request::parse(steps).unwrap();
        assert!(steps.offers_tools() && steps.is_free_form("p") && !steps.is_free_form("q"));
        assert_eq!((steps.answers(), request.offers_tools()), (2, false));
        assert_eq!(Request::parse(br#"{"input":"\ud83d"}"#).unwrap().last_user_text(), r"\ud83d");
    }
}
