//! The objects of an answer for a client: output items, their parts, and the response around them.

use super::tools::split;
use crate::{
    json::{Escaped, Kind, ObjectWriter, Raw},
    openai_chat::tier,
};

/// The state of an item or a response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Incomplete => "incomplete",
            Status::Failed => "failed",
        }
    }
}

/// The content of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub is_refusal: bool,
    pub text: Escaped<'static>,
    /// JSON objects.
    pub annotations: Vec<Vec<u8>>,
    /// JSON objects, joined by commas.
    pub logprobs: String,
}

impl Content {
    pub fn part(&self) -> Vec<u8> {
        let mut part = ObjectWriter::new();
        if self.is_refusal {
            part.text("type", "refusal");
            self.text.push_quoted(part.key("refusal"));
            return part.end();
        }
        part.text("type", "output_text");
        self.text.push_quoted(part.key("text"));
        push_list(part.key("annotations"), &self.annotations);
        part.raw("logprobs", &format!("[{}]", self.logprobs));
        part.end()
    }
}

/// The logprob of a token from chat's format, with the lists that clients of Responses require.
pub(super) fn logprob(token: Raw<'_>) -> String {
    let alternatives = token.member("top_logprobs").map(Raw::elements).unwrap_or_default();
    let top: Vec<String> = alternatives.into_iter().map(|other| format!("{{{}}}", odds(other))).collect();
    format!("{{{},\"top_logprobs\":[{}]}}", odds(token), top.join(","))
}

fn odds(token: Raw<'_>) -> String {
    let text = token.member("token").map_or("\"\"", Raw::get);
    let number = token.member("logprob").map_or("0", Raw::get);
    let bytes = token.member("bytes").filter(|bytes| bytes.kind() == Kind::Array).map_or("[]", Raw::get);
    format!("\"token\":{text},\"bytes\":{bytes},\"logprob\":{number}")
}

/// A message with one part, or none yet.
pub(super) fn message(id: &str, status: Status, content: Option<&Content>) -> Vec<u8> {
    let mut item = ObjectWriter::new();
    item.text("id", id);
    item.text("type", "message");
    item.text("status", status.as_str());
    item.text("role", "assistant");
    let parts: Vec<Vec<u8>> = content.map(Content::part).into_iter().collect();
    push_list(item.key("content"), &parts);
    item.end()
}

pub(super) fn summary_part(text: &Escaped<'_>) -> Vec<u8> {
    let mut part = ObjectWriter::new();
    part.text("type", "summary_text");
    text.push_quoted(part.key("text"));
    part.end()
}

pub(super) fn reasoning(id: &str, text: &Escaped<'_>, encrypted: Option<&Escaped<'_>>) -> Vec<u8> {
    let mut item = ObjectWriter::new();
    item.text("id", id);
    item.text("type", "reasoning");
    let summary: Vec<Vec<u8>> = (!text.is_empty()).then(|| summary_part(text)).into_iter().collect();
    push_list(item.key("summary"), &summary);
    if let Some(encrypted) = encrypted {
        encrypted.push_quoted(item.key("encrypted_content"));
    }
    item.end()
}

pub(super) fn function_call(
    id: &str,
    status: Status,
    call_id: &Escaped<'_>,
    name: &Escaped<'_>,
    arguments: &Escaped<'_>,
) -> Vec<u8> {
    let mut item = ObjectWriter::new();
    item.text("id", id);
    item.text("type", "function_call");
    item.text("status", status.as_str());
    call_id.push_quoted(item.key("call_id"));
    let (namespace, name) = split(name);
    if let Some(namespace) = namespace {
        Escaped::from_inner(namespace).push_quoted(item.key("namespace"));
    }
    Escaped::from_inner(name).push_quoted(item.key("name"));
    arguments.push_quoted(item.key("arguments"));
    item.end()
}

/// A generated image, or the announcement of one.
pub(super) fn image(id: &str, made: Option<(&Escaped<'_>, &Escaped<'_>)>) -> Vec<u8> {
    let mut item = ObjectWriter::new();
    item.text("id", id);
    item.text("type", "image_generation_call");
    match made {
        None => {
            item.text("status", "in_progress");
            item.raw("result", "null");
        }
        Some((media_type, data)) => {
            item.text("status", "completed");
            let media_type = media_type.decode();
            item.text("output_format", media_type.strip_prefix("image/").unwrap_or(&media_type));
            data.push_quoted(item.key("result"));
        }
    }
    item.end()
}

/// The parts of a response object beside its request's members.
pub(super) struct Response<'r> {
    pub id: &'r str,
    pub created: i64,
    pub model: &'r Escaped<'static>,
    pub status: Status,
    /// Code and message.
    pub error: Option<(&'r str, &'r str)>,
    /// Why it is incomplete.
    pub incomplete: Option<&'static str>,
    pub output: &'r [Vec<u8>],
    pub tier: Option<&'r str>,
    /// JSON.
    pub usage: Option<String>,
    /// JSON members.
    pub echo: &'r str,
}

impl Response<'_> {
    pub fn json(&self) -> Vec<u8> {
        let mut out = ObjectWriter::new();
        out.text("id", self.id);
        out.text("object", "response");
        out.key("created_at").extend(self.created.to_string().bytes());
        match self.status {
            Status::Completed => out.raw("completed_at", &self.created.to_string()),
            _ => out.raw("completed_at", "null"),
        }
        out.text("status", self.status.as_str());
        match self.error {
            None => out.raw("error", "null"),
            Some((code, message)) => {
                let mut error = ObjectWriter::new();
                error.text("code", code);
                error.text("message", message);
                out.key("error").extend(error.end());
            }
        }
        match self.incomplete {
            None => out.raw("incomplete_details", "null"),
            Some(reason) => out.raw("incomplete_details", &format!(r#"{{"reason":"{reason}"}}"#)),
        }
        self.model.push_quoted(out.key("model"));
        push_list(out.key("output"), self.output);
        out.text("service_tier", self.tier.and_then(tier::of).unwrap_or("default"));
        out.raw("usage", self.usage.as_deref().unwrap_or("null"));
        let mut json = out.end();
        if !self.echo.is_empty() {
            json.pop();
            json.push(b',');
            json.extend_from_slice(self.echo.as_bytes());
            json.push(b'}');
        }
        json
    }
}

fn push_list(out: &mut Vec<u8>, entries: &[Vec<u8>]) {
    out.push(b'[');
    out.extend(entries.join(&b','));
    out.push(b']');
}
