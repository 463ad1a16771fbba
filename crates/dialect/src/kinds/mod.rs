//! Endpoint kinds other than conversations: embeddings, images, speech, transcription and translation, moderation,
//! rerank and OCR. Clients use OpenAI's format (Cohere's for rerank, Mistral's for OCR). If the provider has the same
//! format, the bytes pass with small edits; otherwise request and answer are written again. Pure, and bounded by the
//! body.

mod answer;
mod audio;
mod edits;
mod embeddings;
mod fields;
mod form;
mod gemini;
mod images;
mod moderation;
mod ocr;
mod read;
mod rerank;
mod speech;
mod subtitles;
mod transcription;

pub use answer::{Expected, KindAnswer, Refused, Wanted};
pub use audio::Clock;
pub use form::spread_list;
pub use read::{read, texts};

use super::{
    dropped,
    json::{Member, Raw},
    request::Head,
    target::Unsupported,
};
use edits::Edits;
use form::Form;
use kairosroute_domain::{
    kind::Kind,
    provider::{Serves, Shape},
    usage::{Basis, Usage},
};
use std::borrow::Cow;

/// A parsed request.
pub struct KindRequest<'a> {
    pub kind: Kind,
    pub head: Head<'a>,
    pub content: Content,
    fields: Fields<'a>,
}

/// The usage that follows from the request alone. Its text is measured in the head's facts.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Content {
    /// Characters, time, queries: the billed units if the provider reports nothing else.
    pub usage: Usage,
    /// Tokens that the client sent as numbers.
    pub token_ids: u64,
    /// Texts, token lists or documents.
    pub pieces: u64,
    /// Of a rerank: the maximum number of documents if long ones are split.
    pub chunks: u64,
    /// Of audio: bytes, and the maximum length.
    pub audio_bytes: u64,
    pub audio_ms_max: u64,
    /// The length at the lowest bit rate, if its header is not reliable.
    pub audio_ms_slow: u64,
    pub images: u64,
    /// Of a document: the stated pages.
    pub pages: Option<u64>,
}

/// The client's fields, without nulls and without the gateway's own fields.
enum Fields<'a> {
    Json(Vec<Member<'a>>),
    Form(Form<'a>),
}

/// The target of a request.
#[derive(Clone, Copy, Debug)]
pub struct At<'t> {
    pub serves: &'static Serves,
    /// The model's name there.
    pub model: &'t str,
    /// Seconds since 1970, for answers that state it.
    pub created: i64,
    /// On a platform key: the size that the client states is not sufficient for billing.
    pub on_platform: bool,
}

/// A request as sent.
#[derive(Debug)]
pub struct Sent {
    /// Below the provider's base URL.
    pub path: String,
    pub content_type: Cow<'static, str>,
    pub body: Vec<u8>,
    /// Names of the client's fields that were left out.
    pub dropped: Vec<Cow<'static, str>>,
    pub expected: Expected,
}

const JSON: &str = "application/json";

impl<'a> KindRequest<'a> {
    /// The request for a provider, and how its answer must be read.
    pub fn encode(&self, at: &At<'_>) -> Result<Sent, Unsupported> {
        if let Some(field) = at.serves.refused.iter().find(|field| self.has(field)) {
            return Err(Unsupported::field(*field));
        }
        let mut written = match at.serves.kind {
            Kind::Embeddings => embeddings::write(self, at),
            Kind::Images => images::write(self, at),
            Kind::ImageEdits => images::write_edit(self, at),
            Kind::Speech => speech::write(self, at),
            Kind::Transcription | Kind::Translation => transcription::write(self, at),
            Kind::Moderation => moderation::write(self, at),
            Kind::Rerank => rerank::write(self, at),
            Kind::Ocr => ocr::write(self, at),
            Kind::Conversation(_) => Err(Unsupported::because("model", ": it is a conversation's")),
        }?;
        dropped::sanitize_names(&mut written.dropped);
        let model = percent_encoding::utf8_percent_encode(at.model, PATH_SEGMENT).to_string();
        Ok(Sent {
            path: at.serves.path.replace("{model}", &model),
            content_type: written.content_type,
            body: written.body,
            dropped: written.dropped,
            expected: Expected {
                kind: self.kind,
                shape: at.serves.shape,
                model: at.model.to_owned(),
                created: at.created,
                wanted: written.wanted,
                measured: self.measured(at.on_platform),
            },
        })
    }

    /// The usage of the request if the provider reports none. The operator is billed for the whole content of a file,
    /// whatever its header states.
    fn measured(&self, on_platform: bool) -> Usage {
        let Content { usage, audio_ms_slow, .. } = self.content;
        match on_platform && audio_ms_slow > usage.audio_ms {
            true => Usage { audio_ms: audio_ms_slow, basis: Basis::Estimated, ..usage },
            false => usage,
        }
    }

    /// Speech that should be slower than usual: a quarter of the speed is the minimum.
    pub fn is_slowed(&self) -> bool {
        self.raw("speed").and_then(|speed| speed.get().parse::<f64>().ok()).is_some_and(|speed| speed < 1.0)
    }

    fn has(&self, name: &str) -> bool {
        match &self.fields {
            Fields::Json(members) => members.iter().any(|member| member.key == name),
            Fields::Form(form) => form.part(name).is_some(),
        }
    }

    /// The client's value of this field, as JSON.
    fn raw(&self, name: &str) -> Option<Raw<'a>> {
        let Fields::Json(members) = &self.fields else { return None };
        members.iter().find(|member| member.key == name).map(|member| member.value)
    }

    /// The client's value of this field, as text.
    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        match &self.fields {
            Fields::Json(_) => self.raw(name)?.text(),
            Fields::Form(form) => form.part(name)?.text().map(Cow::Borrowed),
        }
    }

    fn form(&self) -> Option<&Form<'a>> {
        match &self.fields {
            Fields::Json(_) => None,
            Fields::Form(form) => Some(form),
        }
    }

    /// The client's fields with small edits, in their original form.
    fn edited(&self, at: &At<'_>, edits: &Edits, wanted: Wanted) -> Result<Written, Unsupported> {
        let mut dropped = Vec::new();
        let (content_type, body) = match &self.fields {
            Fields::Json(members) => (JSON.into(), edits.json(self.kind, members, at.model, &mut dropped)?),
            Fields::Form(form) => {
                (form.content_type().into(), edits.form(self.kind, form, at.model, &mut dropped)?)
            }
        };
        Ok(Written { content_type, body, dropped, wanted })
    }

    /// The client's fields that are left out of a request that is written again.
    fn left_out(&self, edits: &Edits) -> Result<Vec<Cow<'static, str>>, Unsupported> {
        let mut dropped = Vec::new();
        let names: Vec<&str> = match &self.fields {
            Fields::Json(members) => members.iter().map(|member| &*member.key).collect(),
            Fields::Form(form) => form.parts.iter().map(|part| &*part.name).collect(),
        };
        for name in names {
            edits.judge(self.kind, name, &mut dropped)?;
        }
        Ok(dropped)
    }
}

/// A body, and the results of writing it.
struct Written {
    content_type: Cow<'static, str>,
    body: Vec<u8>,
    dropped: Vec<Cow<'static, str>>,
    wanted: Wanted,
}

impl Written {
    fn json(body: Vec<u8>, dropped: Vec<Cow<'static, str>>, wanted: Wanted) -> Self {
        Self { content_type: JSON.into(), body, dropped, wanted }
    }
}

/// A provider serves a kind only in a known format; the table of providers states which.
fn no_such_form(shape: Shape) -> Unsupported {
    let hint = match shape {
        Shape::Gemini | Shape::Cohere | Shape::Mistral => ": this provider has no such endpoint",
        Shape::OpenAi | Shape::Perplexity | Shape::Together | Shape::Xai => ": no such endpoint",
    };
    Unsupported::because("model", hint)
}

/// Characters that must be escaped in one segment of a path.
const PATH_SEGMENT: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[cfg(test)]
mod tests;
