//! The endpoint kinds of each provider other than conversations: path and format. A provider that uses another
//! provider's format is only data here.

use crate::kind::Kind;

/// One endpoint kind at one provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Serves {
    pub kind: Kind,
    pub shape: Shape,
    /// The path below the base URL; `{model}` is replaced by the model's name there.
    pub path: &'static str,
    /// Documented fields of the format that it does not support: a request with one is not sent there.
    pub refused: &'static [&'static str],
    /// Only the detailed answer states how long the audio of a transcript is.
    pub length_in_detail: bool,
}

/// The company whose format requests and answers of a kind use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    OpenAi,
    Gemini,
    Cohere,
    Mistral,
    Perplexity,
    Together,
    Xai,
}

const fn serves(kind: Kind, shape: Shape, path: &'static str) -> Serves {
    Serves { kind, shape, path, refused: &[], length_in_detail: false }
}

/// A transcript whose length only the detailed answer states.
const fn detailed(kind: Kind, path: &'static str) -> Serves {
    Serves { length_in_detail: true, ..serves(kind, Shape::OpenAi, path) }
}

/// For transcripts: fields that only the author of the format offers.
const DIARIZED: &[&str] = &[
    "include",
    "include[]",
    "chunking_strategy",
    "known_speaker_names[]",
    "known_speaker_references[]",
    "diarize",
];

pub(super) const OPENAI: &[Serves] = &[
    serves(Kind::Embeddings, Shape::OpenAi, "/embeddings"),
    serves(Kind::Images, Shape::OpenAi, "/images/generations"),
    serves(Kind::ImageEdits, Shape::OpenAi, "/images/edits"),
    serves(Kind::Speech, Shape::OpenAi, "/audio/speech"),
    serves(Kind::Transcription, Shape::OpenAi, "/audio/transcriptions"),
    serves(Kind::Translation, Shape::OpenAi, "/audio/translations"),
    serves(Kind::Moderation, Shape::OpenAi, "/moderations"),
];

pub(super) const GOOGLE: &[Serves] = &[
    serves(Kind::Embeddings, Shape::Gemini, "/models/{model}:batchEmbedContents"),
    serves(Kind::Images, Shape::Gemini, "/models/{model}:generateContent"),
    serves(Kind::ImageEdits, Shape::Gemini, "/models/{model}:generateContent"),
    serves(Kind::Speech, Shape::Gemini, "/models/{model}:generateContent"),
    serves(Kind::Transcription, Shape::Gemini, "/models/{model}:generateContent"),
];

pub(super) const XAI: &[Serves] = &[
    serves(Kind::Images, Shape::Xai, "/images/generations"),
    serves(Kind::Transcription, Shape::Xai, "/stt"),
];

pub(super) const MISTRAL: &[Serves] = &[
    serves(Kind::Embeddings, Shape::Mistral, "/embeddings"),
    serves(Kind::Speech, Shape::Mistral, "/audio/speech"),
    serves(Kind::Transcription, Shape::Mistral, "/audio/transcriptions"),
    serves(Kind::Moderation, Shape::Mistral, "/moderations"),
    serves(Kind::Ocr, Shape::Mistral, "/ocr"),
];

pub(super) const GROQ: &[Serves] = &[
    Serves {
        refused: &["instructions", "stream_format"],
        ..serves(Kind::Speech, Shape::OpenAi, "/audio/speech")
    },
    Serves { refused: DIARIZED, ..detailed(Kind::Transcription, "/audio/transcriptions") },
    detailed(Kind::Translation, "/audio/translations"),
];

pub(super) const COHERE: &[Serves] = &[
    serves(Kind::Embeddings, Shape::Cohere, "/v2/embed"),
    serves(Kind::Rerank, Shape::Cohere, "/v2/rerank"),
];

pub(super) const PERPLEXITY: &[Serves] = &[serves(Kind::Embeddings, Shape::Perplexity, "/v1/embeddings")];

pub(super) const TOGETHER_AI: &[Serves] = &[
    serves(Kind::Embeddings, Shape::Together, "/embeddings"),
    detailed(Kind::Transcription, "/audio/transcriptions"),
    detailed(Kind::Translation, "/audio/translations"),
    serves(Kind::Rerank, Shape::Together, "/rerank"),
];

pub(super) const FIREWORKS_AI: &[Serves] = &[
    serves(Kind::Embeddings, Shape::OpenAi, "/embeddings"),
    serves(Kind::Rerank, Shape::Together, "/rerank"),
];
