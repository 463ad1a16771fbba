//! How an answer of a non-conversation endpoint must be read, and the answer in the client's format. An error in an
//! answer of status 200 is detected here; usage is what the provider reports, else none.

use super::{Clock, embeddings, gemini, images, moderation, ocr, rerank, speech, transcription};
use crate::json::{self, JsonError, Kind as Json, Raw};
use kairosroute_domain::{
    kind::Kind,
    provider::Shape,
    usage::{Basis, Usage},
};
use std::borrow::Cow;

/// Maximum members of an answer, and entries of its lists.
const MEMBERS_MAX: usize = 1_000;
const ENTRIES_MAX: usize = 65_536;

/// How an answer must be read.
#[derive(Clone, Debug)]
pub struct Expected {
    pub kind: Kind,
    pub shape: Shape,
    /// The model's name at the provider.
    pub model: String,
    /// Seconds since 1970.
    pub created: i64,
    pub wanted: Wanted,
    /// Usage that follows from the request alone.
    pub measured: Usage,
}

/// The form of the answer that the client requested.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// An object in the provider's format.
    Object,
    /// Vectors as numbers, or as base64 of 32-bit floats.
    Vectors { base64: bool },
    /// Audio in this format, or events that contain it.
    Sound { format: Option<String>, events: bool },
    /// A transcript in this format.
    Transcript {
        format: Option<String>,
        /// The gateway requested another format from the provider, one that states the billed unit.
        is_rewritten: bool,
    },
}

/// A whole answer in the client's format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KindAnswer {
    pub body: Vec<u8>,
    pub content_type: Cow<'static, str>,
    /// The usage that the provider reports; `None` if it reports none.
    pub usage: Option<Usage>,
    /// The client's format has a usage member that the provider left out.
    pub lacks_usage: bool,
}

/// Why a response does not contain an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The body holds the provider's error.
    Error,
    /// The provider refused to answer; its own word for the reason.
    Blocked(String),
    Unreadable,
}

impl Expected {
    /// Whether the answer is streamed audio.
    pub fn flows(&self) -> bool {
        self.kind == Kind::Speech && self.shape == Shape::OpenAi
    }

    /// Reads events of streamed audio.
    pub fn clock(&self) -> Clock {
        match &self.wanted {
            Wanted::Sound { format, .. } => Clock::new(format.as_deref()),
            _ => Clock::new(None),
        }
    }

    /// Reads a whole answer. A body that is not an answer is returned with the reason.
    pub fn read(&self, content_type: &str, body: Vec<u8>) -> Result<KindAnswer, (Refused, Vec<u8>)> {
        match self.made(content_type, &body) {
            Ok(made) => Ok(KindAnswer {
                body: made.body.unwrap_or(body),
                content_type: made.content_type,
                usage: made.usage,
                lacks_usage: made.lacks_usage,
            }),
            Err(refused) => Err((refused, body)),
        }
    }

    /// The usage of an answer that was blocked: the provider bills what it generated. A prompt that was blocked before
    /// generation costs nothing.
    pub fn made_in_vain(&self, body: &[u8]) -> Option<Usage> {
        let usage = gemini::usage(object(body).ok()?, self.kind).filter(|_| self.shape == Shape::Gemini);
        usage.filter(|usage| usage.completion() > 0)
    }

    fn made(&self, content_type: &str, body: &[u8]) -> Result<Made, Refused> {
        let is_transcript = matches!(self.kind, Kind::Transcription | Kind::Translation);
        if is_transcript && self.shape == Shape::OpenAi && !content_type.contains("json") {
            return Ok(transcription::as_text(self, content_type));
        }
        let answer = object(body)?;
        match self.kind {
            Kind::Embeddings => embeddings::read(self, answer),
            Kind::Images | Kind::ImageEdits => images::read(self, answer),
            Kind::Speech => speech::read(self, answer),
            Kind::Transcription | Kind::Translation => transcription::read(self, answer),
            Kind::Moderation => moderation::read(answer),
            Kind::Rerank => rerank::read(self, answer),
            Kind::Ocr => ocr::read(answer),
            Kind::Conversation(_) => Err(Refused::Unreadable),
        }
    }
}

/// The result of reading a body.
pub(super) struct Made {
    /// `None`: the body stays unchanged.
    pub body: Option<Vec<u8>>,
    pub content_type: Cow<'static, str>,
    pub usage: Option<Usage>,
    pub lacks_usage: bool,
}

impl Made {
    /// The provider's own object.
    pub fn passed(usage: Option<Usage>) -> Self {
        Self { body: None, content_type: super::JSON.into(), usage, lacks_usage: false }
    }

    /// An object that the gateway wrote.
    pub fn object(body: Vec<u8>, usage: Option<Usage>) -> Self {
        Self { body: Some(body), ..Self::passed(usage) }
    }
}

impl KindAnswer {
    /// The body for the client, with `note` (JSON) as member `name` where it is an object.
    pub fn write(self, name: &str, note: &str, billed: &Usage) -> Vec<u8> {
        let with_usage = self.lacks_usage.then(|| {
            let tokens = billed.prompt();
            let usage = format!(r#"{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#);
            json::with_member(&self.body, "usage", &usage)
        });
        let body = with_usage.flatten().unwrap_or(self.body);
        match self.content_type.starts_with(super::JSON) {
            true => json::with_member(&body, name, note).unwrap_or(body),
            false => body,
        }
    }
}

/// The object in a body, if it is one and not an error.
fn object(body: &[u8]) -> Result<Raw<'_>, Refused> {
    let mut cursor = json::Cursor::new(body, json::DEPTH_LIMIT).map_err(|_| Refused::Unreadable)?;
    let answer = cursor.value().map_err(|_| Refused::Unreadable)?;
    cursor.end().map_err(|_| Refused::Unreadable)?;
    if answer.kind() != Json::Object || !is_small(answer) {
        return Err(Refused::Unreadable);
    }
    match answer.member("error").is_some_and(|error| !error.is_idle()) {
        true => Err(Refused::Error),
        false => Ok(answer),
    }
}

/// Whether an object has at most the number of members that an answer can need.
fn is_small(object: Raw<'_>) -> bool {
    let mut left = MEMBERS_MAX;
    let walked = object.cursor().object::<JsonError>(|cursor, _| {
        cursor.value()?;
        left = left.checked_sub(1).ok_or_else(|| cursor.error("too many members"))?;
        Ok(())
    });
    walked.is_ok()
}

/// The entries of an answer's list; `None` if it is not a list or has too many entries.
pub(super) fn entries<'a>(list: Option<Raw<'a>>) -> Option<Vec<Raw<'a>>> {
    let list = list.filter(|list| list.kind() == Json::Array)?;
    let mut entries = Vec::new();
    let walked = list.cursor().array::<JsonError>(|cursor, index| {
        if index >= ENTRIES_MAX {
            return Err(cursor.error("too many entries"));
        }
        entries.push(cursor.value()?);
        Ok(())
    });
    walked.ok().map(|()| entries)
}

/// A count in an object; one of another type is missing, never zero.
pub(super) fn count(object: Raw<'_>, name: &str) -> Option<u64> {
    let value = object.member(name)?;
    value.count().or_else(|| whole(value.get()))
}

/// A whole number that one provider writes with a fraction or as text.
fn whole(text: &str) -> Option<u64> {
    let (digits, fraction) = text.trim_matches('"').split_once('.')?;
    fraction.bytes().all(|byte| byte == b'0').then(|| digits.parse().ok())?
}

/// A number of seconds, in milliseconds, rounded up.
pub(super) fn seconds(object: Raw<'_>, name: &str) -> Option<u64> {
    let seconds: f64 = object.member(name)?.get().trim_matches('"').parse().ok()?;
    // The cast saturates.
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1_000.0).ceil() as u64)
}

/// `prompt_tokens` and `completion_tokens`, or their names on these endpoints.
pub(super) fn tokens(answer: Raw<'_>) -> Option<Usage> {
    let usage = answer.member("usage")?;
    let named = |names: [&str; 2]| names.iter().find_map(|name| count(usage, name));
    let input = named(["prompt_tokens", "input_tokens"]).or_else(|| count(usage, "total_tokens"))?;
    let output = named(["completion_tokens", "output_tokens"]).unwrap_or(0);
    Some(Usage { input, output, basis: Basis::Reported, ..Usage::default() })
}
