//! What members of Responses' events and objects mean, for the reader.

use crate::dialect::{
    canonical::{Citation, Finish, Json},
    json::{Escaped, Kind, Raw},
};
use std::borrow::Cow;

/// How far a response has come.
pub(super) enum Status {
    Completed,
    /// Cut off.
    Cut(Finish),
    Failed,
    /// In a queue or at work: no answer yet.
    Running,
}

/// By the response's own word, else by the event's name.
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

/// A generated image's media type; PNG unless it says otherwise.
pub(super) fn image_type(item: Raw<'_>) -> Escaped<'static> {
    let format = item.member("output_format").and_then(Raw::text);
    Escaped::from_text(&format!("image/{}", format.as_deref().unwrap_or("png")))
}

/// A web page that the text rests on; other kinds of annotations name files that only the provider has.
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
