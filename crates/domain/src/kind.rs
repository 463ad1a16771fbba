//! The kinds of inference endpoints, one for each endpoint.

use super::{catalog::Mode, provider::Dialect};

/// The kind of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// An answer in a conversation, in the client's dialect.
    Conversation(Dialect),
    Embeddings,
    Images,
    /// Images made from images.
    ImageEdits,
    Speech,
    Transcription,
    Translation,
    Moderation,
    Rerank,
    Ocr,
}

impl Kind {
    /// As in usage rows and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Conversation(Dialect::Responses) => "responses",
            Kind::Conversation(Dialect::Messages) => "messages",
            Kind::Conversation(Dialect::Completions) => "completions",
            Kind::Conversation(Dialect::Chat | Dialect::Gemini | Dialect::Cohere) => "chat",
            Kind::Embeddings => "embeddings",
            Kind::Images | Kind::ImageEdits => "images",
            Kind::Speech => "speech",
            Kind::Transcription => "transcription",
            Kind::Translation => "translation",
            Kind::Moderation => "moderation",
            Kind::Rerank => "rerank",
            Kind::Ocr => "ocr",
        }
    }

    /// The model of a request without a model, if OpenAI's documents allow that.
    pub fn default_model(self) -> Option<&'static str> {
        match self {
            Kind::Images | Kind::ImageEdits => Some("gpt-image-2"),
            Kind::Moderation => Some("omni-moderation-latest"),
            _ => None,
        }
    }

    /// Whether a model of this mode can answer.
    pub fn is_served_by(self, mode: Mode) -> bool {
        match self {
            Kind::Conversation(Dialect::Completions) => {
                matches!(mode, Mode::Chat | Mode::Responses | Mode::Completion)
            }
            Kind::Conversation(_) => matches!(mode, Mode::Chat | Mode::Responses),
            Kind::Embeddings => mode == Mode::Embedding,
            Kind::Images | Kind::ImageEdits => mode == Mode::ImageGeneration,
            Kind::Speech => mode == Mode::AudioSpeech,
            Kind::Transcription | Kind::Translation => mode == Mode::AudioTranscription,
            Kind::Moderation => mode == Mode::Moderation,
            Kind::Rerank => mode == Mode::Rerank,
            Kind::Ocr => mode == Mode::Ocr,
        }
    }
}
