//! The meaning of members in Responses' events and objects, for the reader.

use crate::{
    Unreadable,
    canonical::{Citation, Finish, Json},
    json::{Cursor, DEPTH_LIMIT, Escaped, Kind, Raw},
};
use std::borrow::Cow;

/// The state of a response.
pub(super) enum Status {
    Completed,
    /// Cut off.
    Cut(Finish),
    Failed,
    /// Queued or in progress: no answer yet.
    Running,
}

/// From the response's own status, else from the event's name.
pub(super) fn status(typed: &str, response: Raw<'_>) -> Status {
    let said = response.member("status").and_then(Raw::text);
    let has_error = response.member("error").is_some_and(|error| !error.is_null());
    match said.as_deref() {
        _ if typed == "response.failed" || typed == "response.cancelled" => Status::Failed,
        Some("failed" | "cancelled") => Status::Failed,
        _ if has_error => Status::Failed,
        Some("incomplete") => Status::Cut(cut(response)),
        _ if typed == "response.incomplete" => Status::Cut(cut(response)),
        Some("queued" | "in_progress") if typed.is_empty() => Status::Running,
        _ => Status::Completed,
    }
}

fn cut(response: Raw<'_>) -> Finish {
    let reason = response.member("incomplete_details").and_then(|details| details.member("reason"));
    match reason.and_then(Raw::text).as_deref() {
        Some("content_filter") => Finish::ContentFilter,
        _ => Finish::Length,
    }
}

/// The error of a response that failed.
pub(super) fn error(response: Raw<'_>) -> Json<'_> {
    match response.member("error").filter(|error| !error.is_null()) {
        Some(error) => Json::of(error),
        None => Json::trusted(
            r#"{"code":"server_error","message":"the provider ended the response without an answer"}"#.into(),
        ),
    }
}

pub(super) fn item_type(item: Raw<'_>) -> Option<Cow<'_, str>> {
    item.member("type").and_then(Raw::text)
}

/// Whether a call of the search tool made a search; opening a page that was found is not a search.
pub(super) fn is_search(item: Raw<'_>) -> bool {
    let action = item.member("action").and_then(|action| action.member("type")).and_then(Raw::text);
    action.is_none_or(|action| action == "search")
}

/// A generated image's media type; PNG unless stated otherwise.
pub(super) fn image_type(item: Raw<'_>) -> Escaped<'static> {
    let format = item.member("output_format").and_then(Raw::text);
    Escaped::from_text(&format!("image/{}", format.as_deref().unwrap_or("png")))
}

/// A web page that is a source of the text; other kinds of annotations name files that only the provider has.
pub(super) fn citation(annotation: Raw<'_>) -> Option<Citation<'_>> {
    if annotation.kind() != Kind::Object {
        return None;
    }
    let field = |key: &str| annotation.member(key).and_then(Escaped::of);
    let count = |key: &str| annotation.member(key).and_then(Raw::count);
    let url = field("url")?;
    let span = count("start_index").zip(count("end_index"));
    Some(Citation { url, title: field("title"), span })
}

/// The list of an item that the content belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    Text,
    Refusal,
    Summary,
    Thought,
    Arguments,
}

/// The events with content: of which kind, under which key, and whether it is the whole part again.
pub(super) fn spoken(typed: &str) -> Option<(Voice, &'static str, bool)> {
    Some(match typed {
        "response.output_text.delta" => (Voice::Text, "delta", false),
        "response.output_text.done" => (Voice::Text, "text", true),
        "response.refusal.delta" => (Voice::Refusal, "delta", false),
        "response.refusal.done" => (Voice::Refusal, "refusal", true),
        "response.reasoning_summary_text.delta" => (Voice::Summary, "delta", false),
        "response.reasoning_summary_text.done" => (Voice::Summary, "text", true),
        "response.reasoning_text.delta" => (Voice::Thought, "delta", false),
        "response.reasoning_text.done" => (Voice::Thought, "text", true),
        "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
            (Voice::Arguments, "delta", false)
        }
        "response.function_call_arguments.done" => (Voice::Arguments, "arguments", true),
        "response.custom_tool_call_input.done" => (Voice::Arguments, "input", true),
        _ => return None,
    })
}

/// The one value that the text is.
pub(super) fn value(json: &[u8]) -> Result<Raw<'_>, Unreadable> {
    let mut cursor = Cursor::new(json, DEPTH_LIMIT).map_err(|_| Unreadable)?;
    let value = cursor.value().map_err(|_| Unreadable)?;
    cursor.end().map_err(|_| Unreadable)?;
    Ok(value)
}

/// A member that is present and not null.
pub(super) fn present<'a>(object: Raw<'a>, key: &str) -> Option<Raw<'a>> {
    object.member(key).filter(|value| !value.is_null())
}

pub(super) fn count(object: Raw<'_>, key: &str) -> Option<u64> {
    present(object, key).and_then(Raw::count)
}

/// Log probabilities in chat's format.
pub(super) fn logprobs_json(list: Raw<'_>) -> Json<'static> {
    Json::trusted(format!(r#"{{"content":{}}}"#, list.get()))
}

/// Whether an item is a call of a tool.
pub(super) fn is_call(item: Raw<'_>) -> bool {
    matches!(item_type(item).as_deref(), Some("function_call" | "custom_tool_call"))
}
