//! The provider's side: writes a request in the provider's dialect, and reads its answer. The only code that lists the
//! dialects of providers.

use super::{
    Dialect, Encoded, Reading, Target, Unsupported,
    canonical::{self, Event},
    cohere, completions, gemini, messages,
    names::{self, Replaced},
    openai_chat, responses,
    sse::Frame,
};
use std::borrow::Cow;

/// Not an answer: invalid JSON, or no content.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the provider's answer is not of the form it should have")]
pub struct Unreadable;

/// Reads one answer. The same answer whole or in frames gives the same content, finish and usage.
pub struct AnswerReader {
    reader: Reader,
    replaced: Replaced,
}

/// The reader of one dialect.
enum Reader {
    Chat(Box<openai_chat::Reader>),
    Completions(Box<completions::Reader>),
    Messages(Box<messages::Reader>),
    Responses(Box<responses::Reader>),
    Gemini(Box<gemini::Reader>),
    Cohere(Box<cohere::Reader>),
}

/// Writes `request` for `target`, in the target's dialect.
pub fn write(request: &canonical::Request<'_>, target: &Target<'_>) -> Result<Encoded, Unsupported> {
    // Only Gemini's models generate images in their own turns.
    let shown = match target.dialect {
        Dialect::Gemini => Cow::Borrowed(request),
        _ => canonical::move_images_to_user(request),
    };
    let (request, replaced) = names::fit(&shown, target);
    let request = &*request;
    let mut encoded = match target.dialect {
        Dialect::Chat => openai_chat::write(request, target),
        Dialect::Messages => messages::write(request, target),
        Dialect::Responses => responses::write(request, target),
        Dialect::Gemini => gemini::write(request, target),
        Dialect::Cohere => cohere::write(request, target),
        Dialect::Completions => Err(Unsupported::because("model", ": it has no conversations")),
    }?;
    encoded.reading.replaced = replaced;
    Ok(encoded)
}

/// Whether a provider of this dialect opens such a URL by itself, even if it fetches no others.
pub fn opens(dialect: Dialect, url: &str) -> bool {
    dialect == Dialect::Gemini && gemini::opens(url)
}

impl AnswerReader {
    pub fn new(dialect: Dialect, reading: Reading) -> Self {
        let replaced = reading.replaced.clone();
        Self { reader: Reader::new(dialect, reading), replaced }
    }

    /// Takes one frame of a stream.
    pub fn frame(&mut self, frame: Frame<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        let Self { reader, replaced } = self;
        if replaced.is_empty() {
            return reader.frame(frame, emit);
        }
        reader.frame(frame, &mut |event| emit(replaced.restore(event)))
    }

    /// The provider has closed the stream: open content is emitted. The caller decides by the [`Event::Finish`] that it
    /// saw whether the answer is complete.
    pub fn close(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        let Self { reader, replaced } = self;
        reader.close(&mut |event| emit(replaced.restore(event)));
    }

    /// Takes a whole answer. An error the provider reports inside it is [`Event::Failed`].
    pub fn body(&mut self, json: &[u8], emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        let Self { reader, replaced } = self;
        reader.body(json, &mut |event| emit(replaced.restore(event)))
    }
}

impl Reader {
    fn new(dialect: Dialect, reading: Reading) -> Self {
        match dialect {
            Dialect::Chat => Self::Chat(Box::new(openai_chat::Reader::new(reading))),
            Dialect::Completions => Self::Completions(Box::new(completions::Reader::new(reading))),
            Dialect::Messages => Self::Messages(Box::new(messages::Reader::new(reading))),
            Dialect::Responses => Self::Responses(Box::new(responses::Reader::new(reading))),
            Dialect::Gemini => Self::Gemini(Box::new(gemini::Reader::new(reading))),
            Dialect::Cohere => Self::Cohere(Box::new(cohere::Reader::new(reading))),
        }
    }

    fn frame(&mut self, frame: Frame<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        match self {
            Self::Chat(reader) => reader.frame(frame, emit),
            Self::Completions(reader) => reader.frame(frame, emit),
            Self::Messages(reader) => reader.frame(frame, emit),
            Self::Responses(reader) => reader.frame(frame, emit),
            Self::Gemini(reader) => reader.frame(frame, emit),
            Self::Cohere(reader) => reader.frame(frame, emit),
        }
    }

    fn close(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        match self {
            Self::Chat(reader) => reader.close(emit),
            Self::Completions(reader) => reader.close(emit),
            Self::Messages(reader) => reader.close(emit),
            Self::Responses(reader) => reader.close(emit),
            Self::Gemini(reader) => reader.close(emit),
            Self::Cohere(reader) => reader.close(emit),
        }
    }

    fn body(&mut self, json: &[u8], emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        match self {
            Self::Chat(reader) => reader.body(json, emit),
            Self::Completions(reader) => reader.body(json, emit),
            Self::Messages(reader) => reader.body(json, emit),
            Self::Responses(reader) => reader.body(json, emit),
            Self::Gemini(reader) => reader.body(json, emit),
            Self::Cohere(reader) => reader.body(json, emit),
        }
    }
}
