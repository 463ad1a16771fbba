//! Reads as much of an answer of chat or completions as is needed to bill it and to know when it is complete. The
//! answer itself is passed on as the provider wrote it, with its arguments, unusual spaces and lone surrogates.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The facts of a whole answer or of one frame of a streamed answer.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Has text, reasoning, a refusal, a tool call, audio or a finish: this is the commit point.
    pub commits: bool,
    /// Has any of these except reasoning.
    pub answers: bool,
    /// `choices` is empty or missing (a usage chunk, a content-filter preamble).
    pub no_choices: bool,
    /// Number of choices with a finish reason.
    pub finished: u64,
    /// A choice states that it ends for its calls.
    pub ends_for_calls: bool,
    /// The raw usage object, at any place where providers put it.
    pub usage: Option<&'a str>,
    /// `usage` stands at the top level as null.
    pub usage_null: bool,
    /// The raw error, if it is one with a success status.
    pub error: Option<&'a str>,
    pub service_tier: Option<&'a str>,
    /// Finish reasons that mean that the host failed, not the model.
    pub host_failed: bool,
    pub odd: Odd,
}

/// Parts that hosts may write in another format than OpenAI's, if present.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Odd {
    /// Content is a list.
    pub parts: bool,
    /// There are calls.
    pub calls: bool,
    /// A choice has an empty finish reason.
    pub unfinished: bool,
    /// A finish reason is not one of OpenAI's.
    pub finish: bool,
    pub empty_finish: bool,
    /// Reasoning is only under the name `reasoning`.
    pub reasoning: bool,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    x_groq: Option<Groq<'a>>,
    #[serde(borrow, default)]
    service_tier: Option<&'a RawValue>,
}

/// Distinguishes a null value from a missing member.
fn even_null<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

#[derive(Deserialize)]
struct Groq<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    /// A whole answer has this; some hosts write it beside the delta.
    #[serde(borrow, default)]
    message: Option<Delta<'a>>,
    /// The text of completions. Some hosts also write it in chat, beside the delta.
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow, default)]
    audio: Option<&'a RawValue>,
}

/// Not an answer: invalid JSON, or no content.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the provider's answer is not a chat completion")]
pub struct Unreadable;

/// Reads a body or the data of one frame. The model's text is appended to `text`, still escaped as JSON, so that a
/// surrogate pair that is split over two frames becomes complete again.
pub fn read<'a>(json: &'a [u8], text: &mut Vec<u8>) -> Result<Seen<'a>, Unreadable> {
    let json = std::str::from_utf8(json).map_err(|_| Unreadable)?;
    // A list would be read as the members in their order.
    if !json.trim_start().starts_with('{') {
        return Err(Unreadable);
    }
    let envelope: Envelope<'a> = serde_json::from_str(json).map_err(|_| Unreadable)?;
    let mut seen = Seen {
        error: present(envelope.error),
        usage: present(envelope.usage),
        usage_null: envelope.usage.is_some_and(|raw| raw.get() == "null"),
        service_tier: present(envelope.service_tier).and_then(unquoted),
        ..Seen::default()
    };
    if let Some(groq) = &envelope.x_groq {
        seen.usage = seen.usage.or(present(groq.usage));
        seen.error = seen.error.or(present(groq.error));
    }
    let choices = envelope.choices.unwrap_or_default();
    seen.no_choices = choices.is_empty();
    for choice in &choices {
        seen.usage = seen.usage.or(present(choice.usage));
        let reason = present(choice.finish_reason);
        seen.odd.empty_finish |= reason == Some("\"\"");
        seen.odd.unfinished |= reason.is_none();
        if let Some(reason) = reason.filter(|raw| *raw != "\"\"") {
            seen.odd.finish |= !FINISH_REASONS.contains(&reason);
            seen.ends_for_calls |= matches!(reason, "\"tool_calls\"" | "\"function_call\"");
            seen.finished += 1;
            seen.commits = true;
            seen.answers = true;
            seen.host_failed |= matches!(reason, "\"error\"" | "\"insufficient_system_resource\"");
        }
        for said in [&choice.delta, &choice.message].into_iter().flatten() {
            said.note_odd(&mut seen.odd);
        }
        let said = choice.say(text);
        let answers = said == Said::Answer || (said == Said::Nothing && choice.completes(text));
        seen.answers |= answers;
        seen.commits |= answers || said == Said::Thought;
    }
    Ok(seen)
}

/// OpenAI's finish reasons, as written.
const FINISH_REASONS: [&str; 5] =
    ["\"stop\"", "\"length\"", "\"tool_calls\"", "\"content_filter\"", "\"function_call\""];

impl Choice<'_> {
    /// Appends the content. If there are both, a message repeats the deltas.
    fn say(&self, text: &mut Vec<u8>) -> Said {
        let said = self.delta.as_ref().map_or(Said::Nothing, |delta| delta.say(text));
        match (&self.message, said) {
            (Some(message), Said::Nothing) if self.delta.is_none() || self.finish_reason.is_some() => {
                message.say(text)
            }
            _ => said,
        }
    }

    /// Appends the text of a completion; true when there is any.
    fn completes(&self, text: &mut Vec<u8>) -> bool {
        let Some(raw) = present(self.text).filter(|raw| *raw != "\"\"") else { return false };
        spoken(raw, text);
        true
    }
}

/// The kind of a piece of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    /// Only reasoning.
    Thought,
    Answer,
}

impl Delta<'_> {
    fn note_odd(&self, odd: &mut Odd) {
        odd.parts |= self.content.is_some_and(|raw| raw.get().starts_with('['));
        let has_calls = |raw: Option<&RawValue>| present(raw).is_some_and(|raw| raw != "[]");
        odd.calls |= has_calls(self.tool_calls) || has_calls(self.function_call);
        odd.reasoning |= self.reasoning.is_some() && self.reasoning_content.is_none();
    }

    /// Appends the content.
    fn say(&self, text: &mut Vec<u8>) -> Said {
        let mut say = |part| {
            let raw = present(part).filter(|raw| !matches!(*raw, "\"\"" | "[]"));
            raw.inspect(|raw| spoken(raw, text)).is_some()
        };
        let thought = say(self.reasoning_content.or(self.reasoning));
        let mut said = say(self.content) | say(self.refusal);
        for call in [self.tool_calls, self.function_call] {
            if let Some(raw) = present(call).filter(|raw| *raw != "[]") {
                said = true;
                spoken_in_calls(raw, text);
            }
        }
        match (said || present(self.audio).is_some(), thought) {
            (true, _) => Said::Answer,
            (false, true) => Said::Thought,
            (false, false) => Said::Nothing,
        }
    }
}

/// One part of a content list; `thinking` holds a list of parts again.
#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
}

/// Appends the inside of a string, or the texts of a list of parts.
pub(super) fn spoken(raw: &str, text: &mut Vec<u8>) {
    if let Some(inside) = unquoted(raw) {
        text.extend_from_slice(inside.as_bytes());
    } else if let Ok(parts) = serde_json::from_str::<Vec<Part<'_>>>(raw) {
        // There are only two levels; anything deeper is not text.
        let said = |part: &Part<'_>| part.text.and_then(|raw| unquoted(raw.get()).map(str::to_owned));
        for part in &parts {
            let inner = part.thinking.map_or("", RawValue::get);
            let thought = serde_json::from_str::<Vec<Part<'_>>>(inner).unwrap_or_default();
            for piece in thought.iter().filter_map(said).chain(said(part)) {
                text.extend_from_slice(piece.as_bytes());
            }
        }
    }
}

fn unquoted(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"')
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// The names and arguments that the model wrote, without the ids and types that the host adds.
fn spoken_in_calls(raw: &str, text: &mut Vec<u8>) {
    let functions: Vec<Function<'_>> = match serde_json::from_str::<Vec<Call<'_>>>(raw) {
        Ok(calls) => calls.into_iter().filter_map(|call| call.function).collect(),
        Err(_) => serde_json::from_str::<Function<'_>>(raw).into_iter().collect(),
    };
    for function in functions {
        for part in [function.name, function.arguments] {
            if let Some(raw) = present(part) {
                spoken(raw, text);
            }
        }
    }
}

fn present(raw: Option<&RawValue>) -> Option<&str> {
    raw.map(RawValue::get).filter(|text| *text != "null")
}

/// Removes a top-level `"usage":null` that is there only because the gateway requested usage. Call it only for a frame
/// whose [`Seen::usage_null`] is set: inside a string the quotes would be escaped, so the bytes are unambiguous.
pub fn without_null_usage(object: &[u8]) -> Option<Vec<u8>> {
    [&b",\"usage\":null"[..], b",\"usage\": null", b", \"usage\": null"].into_iter().find_map(|needle| {
        let at = memchr::memmem::rfind(object, needle)?;
        let (before, after) = object.split_at(at);
        Some([before, after.get(needle.len()..)?].concat())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{unescape, with_member};
    use proptest::prelude::*;

    fn seen(json: &str) -> (Seen<'_>, String) {
        let mut text = Vec::new();
        let seen = read(json.as_bytes(), &mut text).unwrap();
        (seen, unescape(&text))
    }

    #[test]
    fn role_only_and_empty_frames_do_not_commit() {
        for json in [
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":""}]}"#,
            r#"{"choices":[],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[],"content":[]}}]}"#,
        ] {
            assert!(!seen(json).0.commits, "{json}");
        }
        for json in [
            r#"{"choices":[{"delta":{"content":" "}}]}"#,
            r#"{"choices":[{"delta":{"reasoning":"x"}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"name":"f","arguments":""}}]}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#,
        ] {
            assert!(seen(json).0.commits, "{json}");
        }
    }

    #[test]
    fn thoughts_are_told_from_the_answer() {
        for (delta, answers) in [
            (r#"{"reasoning_content":"x"}"#, false),
            (r#"{"reasoning":"x","content":""}"#, false),
            (r#"{"reasoning_content":"x","content":"y"}"#, true),
            (r#"{"content":"y"}"#, true),
            (r#"{"tool_calls":[{"index":0,"function":{"name":"f"}}]}"#, true),
        ] {
            let json = format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#);
            let seen = seen(&json).0;
            assert!(seen.commits && seen.answers == answers, "{json}");
        }
    }

    #[test]
    fn finds_usage_and_errors_wherever_a_provider_puts_them() {
        assert_eq!(seen(r#"{"choices":[],"x_groq":{"usage":{"a":1}}}"#).0.usage, Some(r#"{"a":1}"#));
        assert_eq!(seen(r#"{"choices":[{"delta":{},"usage":{"a":2}}]}"#).0.usage, Some(r#"{"a":2}"#));
        assert_eq!(seen(r#"{"error":{"message":"x"}}"#).0.error, Some(r#"{"message":"x"}"#));
        assert_eq!(seen(r#"{"code":"x","error":"busy"}"#).0.error, Some("\"busy\""));
        assert!(
            seen(r#"{"choices":[{"delta":{},"finish_reason":"insufficient_system_resource"}]}"#)
                .0
                .host_failed
        );
        assert!(seen("{}").0.no_choices);
        for json in ["", "overloaded", "[]", "[[],null,null,null,null]", "[1]", "{\"choices\":1}"] {
            assert!(read(json.as_bytes(), &mut Vec::new()).is_err(), "{json}");
        }
    }

    #[test]
    fn text_split_inside_a_surrogate_pair_is_counted_as_one_character() {
        let mut text = Vec::new();
        read(br#"{"choices":[{"delta":{"content":"a\ud83d"}}]}"#, &mut text).unwrap();
        read(br#"{"choices":[{"delta":{"content":"\ude00\n\"b"}}]}"#, &mut text).unwrap();
        assert_eq!(unescape(&text), "a😀\n\"b");
        assert_eq!(unescape(br"\ud83d"), "\u{FFFD}");
    }

    #[test]
    fn parts_and_tool_calls_count_as_what_the_model_wrote() {
        let (_, text) = seen(
            r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm "}]},{"type":"text","text":"a\""}]}}]}"#,
        );
        assert_eq!(text, "hm a\"");
        let (_, text) = seen(
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":"{\"a\":1}"}}]}}]}"#,
        );
        assert_eq!(text, r#"f{"a":1}"#);
    }

    #[test]
    fn members_are_added_and_removed_without_touching_the_rest() {
        let body = br#" {"a": 1.0 ,"b":"\u00e3"} "#;
        assert_eq!(with_member(body, "x", "1").unwrap(), br#"{"a": 1.0 ,"b":"\u00e3","x":1}"#);
        assert_eq!(with_member(b"{ }", "x", "1").unwrap(), br#"{ "x":1}"#);
        assert_eq!(with_member(b"[]", "x", "1"), None);
        let chunk = br#"{"choices":[{"delta":{"content":"\"usage\":null"}}],"usage":null}"#;
        assert_eq!(
            without_null_usage(chunk).unwrap(),
            br#"{"choices":[{"delta":{"content":"\"usage\":null"}}]}"#
        );
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut text = Vec::new();
            let _ = read(&bytes, &mut text);
            unescape(&bytes);
            with_member(&bytes, "x", "1");
            without_null_usage(&bytes);
        }

        #[test]
        fn what_was_said_comes_back_as_it_was(said in any::<String>()) {
            let json = serde_json::json!({"choices": [{"delta": {"content": said}}]}).to_string();
            let mut text = Vec::new();
            read(json.as_bytes(), &mut text).unwrap();
            prop_assert_eq!(unescape(&text), said);
        }
    }
}
