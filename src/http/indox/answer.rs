//! indoxhub's envelope: provider and cost, with the answer itself in `data`. Values are copied as they were written,
//! never decoded. The whole answer of a conversation is beside them, so that nothing is lost.

use crate::{
    dialect::json::{self, Cursor, ObjectWriter, Raw},
    domain::{
        kind::Kind,
        money::NanoUsd,
        provider::{Dialect, ProviderId},
    },
    gateway::respond::ResponseMeta,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A whole answer in the usual format.
pub(super) struct Answered<'a> {
    pub kind: Kind,
    pub meta: &'a ResponseMeta,
    pub body: &'a [u8],
    pub content_type: &'a str,
    pub at: OffsetDateTime,
    pub took_ms: u64,
}

impl Answered<'_> {
    /// The envelope; `None` for a body that does not match its content type.
    pub fn envelope(&self) -> Option<Vec<u8>> {
        let answer = match self.content_type.starts_with("application/json") {
            true => Some(object(self.body)?),
            false => None,
        };
        let meta = self.meta;
        let mut out = ObjectWriter::with_capacity(self.body.len().saturating_mul(2));
        if let Some(id) = meta.request_id {
            out.text("request_id", &id.to_string());
        }
        out.text("created_at", &self.at.format(&Rfc3339).unwrap_or_default());
        out.raw("duration_ms", &self.took_ms.to_string());
        let provider = meta.provider.and_then(ProviderId::by_name).map(|provider| provider.as_str());
        out.text("provider", provider.unwrap_or_default());
        out.text("model", meta.model.as_deref().unwrap_or_default());
        out.raw("success", "true");
        out.text("message", "");
        self.data(&mut out, answer);
        out.key("usage").extend_from_slice(&self.usage(answer));
        out.raw("byok_api_key", if meta.byok { "true" } else { "false" });
        if let Some(note) = answer.and_then(|answer| answer.member("x_kairosroute")) {
            out.raw("x_kairosroute", note.get());
        }
        Some(out.end())
    }

    fn data(&self, out: &mut ObjectWriter, answer: Option<Raw<'_>>) {
        match (self.kind, answer) {
            (Kind::Conversation(dialect), Some(answer)) => conversation(out, dialect, answer),
            (Kind::Transcription | Kind::Translation, answer) => self.transcript(out, answer),
            (_, Some(answer)) => {
                let data = answer.member("data").unwrap_or(answer);
                out.raw("data", data.get());
                if self.kind == Kind::Embeddings {
                    let first = data.elements().first().and_then(|item| item.member("embedding"));
                    let numbers = first.map_or(0, |vector| vector.elements().len());
                    out.raw("dimensions", &numbers.to_string());
                }
            }
            (_, None) => {
                let url = format!("data:{};base64,{}", self.content_type, STANDARD.encode(self.body));
                let mut data = ObjectWriter::with_capacity(url.len().saturating_add(64));
                data.text("url", &url);
                data.text("content_type", self.content_type);
                out.key("data").extend_from_slice(&data.end());
            }
        }
    }

    /// The members of a transcript, or its text alone where it came as text.
    fn transcript(&self, out: &mut ObjectWriter, answer: Option<Raw<'_>>) {
        let mut data = ObjectWriter::with_capacity(self.body.len().saturating_add(16));
        match answer {
            Some(answer) => {
                for member in answer.members() {
                    if !matches!(&*member.key, "usage" | "x_kairosroute") {
                        data.raw_key(member.raw_key).extend_from_slice(member.value.get().as_bytes());
                    }
                }
            }
            None => data.text("text", &String::from_utf8_lossy(self.body)),
        }
        out.key("data").extend_from_slice(&data.end());
    }

    fn usage(&self, answer: Option<Raw<'_>>) -> Vec<u8> {
        let usage = answer.and_then(|answer| answer.member("usage"));
        let count = |names: &[&str]| {
            let found = names.iter().find_map(|name| usage?.member(name)?.count());
            found.unwrap_or(0)
        };
        let detail = |within: &[&str], name: &str| {
            let found = within.iter().find_map(|within| usage?.member(within)?.member(name)?.count());
            found.unwrap_or(0)
        };
        let prompt = count(&["prompt_tokens", "input_tokens"]);
        let completion = count(&["completion_tokens", "output_tokens"]);
        let read = detail(&["prompt_tokens_details", "input_tokens_details"], "cached_tokens");
        let reasoning = detail(&["completion_tokens_details", "output_tokens_details"], "reasoning_tokens");
        let mut out = ObjectWriter::new();
        let mut number = |name: &str, number: u64| out.raw(name, &number.to_string());
        number("tokens_prompt", prompt);
        number("tokens_completion", completion);
        number("tokens_total", prompt.saturating_add(completion));
        number("cache_read_tokens", read);
        number("reasoning_tokens", reasoning);
        number("latency", self.took_ms);
        out.raw("cost", &self.meta.cost.unwrap_or(NanoUsd::ZERO).to_string());
        out.end()
    }
}

/// The first choice's text and finish reason; everything else is in `raw_response`.
fn conversation(out: &mut ObjectWriter, dialect: Dialect, answer: Raw<'_>) {
    let choices = answer.member("choices").map(Raw::elements).unwrap_or_default();
    let choice = choices.first().copied();
    let message = choice.and_then(|choice| choice.member("message"));
    let said = |object: Option<Raw<'_>>, name: &str| -> Option<String> {
        Some(object?.member(name).filter(|value| !value.is_null())?.get().to_owned())
    };
    let text = match dialect {
        Dialect::Completions => said(choice, "text"),
        _ => said(message, "content"),
    };
    out.raw("data", text.as_deref().unwrap_or("\"\""));
    out.raw("finish_reason", said(choice, "finish_reason").as_deref().unwrap_or("null"));
    for name in ["tool_calls", "reasoning_content", "images"] {
        if let Some(value) = said(message, name) {
            out.raw(name, &value);
        }
    }
    out.raw("raw_response", answer.get());
}

fn object(body: &[u8]) -> Option<Raw<'_>> {
    let mut cursor = Cursor::new(body, json::DEPTH_LIMIT).ok()?;
    let answer = cursor.value().ok()?;
    cursor.end().ok()?;
    Some(answer)
}
