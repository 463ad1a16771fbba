//! The endpoints other than conversations: embeddings, images, speech, transcripts, moderation, ranking, reading. Like
//! the chat wire formats they are literal templates with counts from the script. This must never take a conversation:
//! Gemini serves images and speech on its chat path, distinguished by the requested modalities.

mod audio;
mod embeddings;
mod images;
mod multipart;
mod rankings;
mod readings;
mod script;
mod served;
mod transcripts;

#[cfg(test)]
mod tests;

pub(super) use multipart::{Readable, readable};
pub use script::{Amounts, KindScript};
pub(super) use served::{Found, find};

use super::{
    errors,
    json::to_judge,
    pacing::pause,
    reply::{EVENT_STREAM, JSON, Reply, Step},
    request::Asked,
    rows::Row,
    script::Script,
};
use bytes::Bytes;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Embeddings,
    CohereEmbed,
    GeminiEmbed,
    GeminiEmbedBatch,
    Image,
    ImageEdit,
    GeminiImage,
    Speech,
    GeminiSpeech,
    Transcription,
    Translation,
    Moderation,
    Rerank,
    Ocr,
}

/// A good answer before it is paced.
struct Answer {
    content_type: &'static str,
    /// The body, as it is written. One piece is sent with its length.
    pieces: Vec<Bytes>,
    prompt_tokens: u64,
    completion_tokens: u64,
    amounts: Amounts,
}

/// Something that a provider refuses.
struct Wrong {
    field: String,
    message: String,
}

type Verdict = Result<(), Wrong>;

/// The provider's answer to the first thing that it refuses.
pub(super) fn refused(found: Found<'_>, row: &Row, body: &Readable<'_>) -> Option<Reply> {
    let Some(value) = to_judge(&body.json) else {
        return Some(errors::fault(row, 400, "The body could not be read.", None));
    };
    let Wrong { field, message } = verdict(found, row.id, body.is_form, &value).err()?;
    let status = if row.id == "mistral" { 422 } else { 400 };
    Some(errors::fault(row, status, &format!("{field}: {message}"), Some(&field)))
}

fn verdict(found: Found<'_>, provider: &str, is_form: bool, body: &Value) -> Verdict {
    let kind = found.served.kind;
    let wants_form = matches!(kind, Kind::ImageEdit | Kind::Transcription | Kind::Translation);
    refuse_if(
        is_form != wants_form,
        "body",
        if wants_form { "must be multipart/form-data" } else { "must be JSON" },
    )?;
    served::judge(found.served, body)?;
    match kind {
        Kind::Embeddings => embeddings::judge(provider, body),
        Kind::CohereEmbed => embeddings::judge_cohere(body),
        Kind::GeminiEmbed => embeddings::judge_gemini(body, ""),
        Kind::GeminiEmbedBatch => embeddings::judge_gemini_batch(found.model.unwrap_or_default(), body),
        Kind::Image | Kind::ImageEdit => images::judge(kind, provider, body),
        Kind::GeminiImage | Kind::GeminiSpeech => images::judge_gemini(kind, body),
        Kind::Speech => audio::judge(provider, body),
        Kind::Transcription | Kind::Translation => transcripts::judge(provider, body),
        Kind::Moderation | Kind::Ocr => readings::judge(kind, body),
        Kind::Rerank => rankings::judge(provider, body),
    }
}

/// The failure that the script asks for, or the good answer, and what the provider bills for it besides tokens.
pub(super) fn scripted(found: Found<'_>, asked: &Asked<'_>, body: &Readable<'_>) -> (Reply, Amounts) {
    let script = asked.script;
    if script.status != 200 && script.raw_body.is_none() {
        let reply = match &script.error {
            Some(body) => Reply::json(script.status, body.clone()),
            None => errors::fault(asked.row, script.status, "The request failed as scripted.", None),
        };
        return (reply.with_headers(&script.headers), Amounts::default());
    }
    if script.error_after.is_some() {
        let reply = match &script.error {
            Some(body) => Reply::json(503, body.clone()),
            None => errors::fault(asked.row, 503, "The server failed while it generated.", None),
        };
        return (reply, Amounts::default());
    }
    let value = to_judge(&body.json).unwrap_or_default();
    let mut answer = answer(found, asked, &value);
    if let Some(raw) = &script.raw_body {
        answer.content_type = JSON;
        answer.pieces = vec![Bytes::from(raw.clone())];
    }
    let amounts = answer.amounts;
    (paced(answer, script), amounts)
}

fn answer(found: Found<'_>, asked: &Asked<'_>, body: &Value) -> Answer {
    let kind = found.served.kind;
    match kind {
        Kind::Embeddings => embeddings::answer(asked, body),
        Kind::CohereEmbed => embeddings::answer_cohere(asked, body),
        Kind::GeminiEmbed | Kind::GeminiEmbedBatch => embeddings::answer_gemini(asked, body),
        Kind::Image | Kind::ImageEdit => images::answer(kind, asked, body),
        Kind::GeminiImage => images::answer_gemini(asked),
        Kind::Speech => audio::answer(asked, body),
        Kind::GeminiSpeech => audio::answer_gemini(asked),
        Kind::Transcription | Kind::Translation => transcripts::answer(kind, asked, body),
        Kind::Moderation => readings::moderation(asked, body),
        Kind::Ocr => readings::ocr(asked),
        Kind::Rerank => rankings::answer(asked, body),
    }
}

/// Each piece is a content chunk. A body of one piece is cut in its middle.
fn paced(answer: Answer, script: &Script) -> Reply {
    let mut steps = pause(script.first_byte_ms);
    let total = answer.pieces.len();
    let length = answer.pieces.first().filter(|_| total == 1).and_then(|body| u64::try_from(body.len()).ok());
    let count = u64::try_from(total).unwrap_or(0).max(1);
    let share = |index: u64| answer.completion_tokens * index / count;
    for (index, mut bytes) in (0..).zip(answer.pieces) {
        let cut = script.cut_after.and_then(|after| u64::try_from(after).ok());
        if cut == Some(index) && total > 1 {
            break;
        }
        if cut.is_some() && total == 1 {
            bytes.truncate(bytes.len() / 2);
        }
        steps.push(Step::Write { bytes, content_chunks: 1, tokens: share(index + 1) - share(index) });
        if index + 1 < count {
            steps.extend(pause(script.chunk_gap_ms));
        }
    }
    if script.cut_after.is_some_and(|after| after <= total || total == 1) {
        steps.push(Step::Cut);
    }
    let reply = Reply {
        status: script.status,
        content_type: answer.content_type,
        headers: Vec::new(),
        prompt_tokens: answer.prompt_tokens,
        length,
        steps,
    };
    reply.with_headers(&script.headers).split(script.split_bytes)
}

impl Answer {
    /// Not billed by anything yet.
    fn json(body: String) -> Self {
        Self::bytes(JSON, vec![Bytes::from(body)])
    }

    fn bytes(content_type: &'static str, pieces: Vec<Bytes>) -> Self {
        Self { content_type, pieces, prompt_tokens: 0, completion_tokens: 0, amounts: Amounts::default() }
    }

    /// Events, each with its name.
    fn events(events: Vec<(&str, String)>) -> Self {
        let frame = |(name, data): (&str, String)| Bytes::from(format!("event: {name}\ndata: {data}\n\n"));
        Self::bytes(EVENT_STREAM, events.into_iter().map(frame).collect())
    }

    fn tokens(mut self, prompt: u64, completion: u64) -> Self {
        (self.prompt_tokens, self.completion_tokens) = (prompt, completion);
        self
    }

    fn amounts(mut self, amounts: Amounts) -> Self {
        self.amounts = amounts;
        self
    }
}

impl Wrong {
    fn new(field: impl Into<String>, message: &str) -> Self {
        Self { field: field.into(), message: message.to_owned() }
    }
}

fn refuse_if(wrong: bool, field: &str, message: &str) -> Verdict {
    if wrong { Err(Wrong::new(field, message)) } else { Ok(()) }
}

/// A member, if it is there and not null.
fn member<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    body.get(name).filter(|value| !value.is_null())
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    member(body, name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(body: &'a Value, name: &str) -> &'a [Value] {
    member(body, name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The text of a field must be one of these, if it is there.
fn one_of(body: &Value, name: &str, known: &[&str]) -> Verdict {
    let wrong =
        member(body, name).is_some_and(|value| !value.as_str().is_some_and(|text| known.contains(&text)));
    refuse_if(wrong, name, &format!("must be one of {}", known.join(", ")))
}

/// A whole number within bounds, as a number or, in a form, as text.
fn number_within(body: &Value, name: &str, bounds: std::ops::RangeInclusive<u64>) -> Verdict {
    let wrong =
        member(body, name).is_some_and(|value| !number(value).is_some_and(|number| bounds.contains(&number)));
    refuse_if(wrong, name, &format!("must be from {} to {}", bounds.start(), bounds.end()))
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// A flag, as JSON or, in a form, as text.
fn is_true(body: &Value, name: &str) -> bool {
    member(body, name).is_some_and(|value| value == true || value == "true")
}

/// JSON values with commas between them.
fn joined(values: impl IntoIterator<Item = String>) -> String {
    values.into_iter().collect::<Vec<_>>().join(",")
}

/// An element in turn.
fn in_turn(values: &[String], index: usize) -> Option<&String> {
    values.get(index.checked_rem(values.len())?)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
