//! Where each provider serves what, and which fields it takes there: a table, each row read in the provider's SDK
//! or documentation. Whatever else is sent is refused.

use super::{
    super::{request::Request, rows::Row},
    Kind, Verdict, Wrong,
};
use serde_json::Value;

/// One endpoint of a provider.
pub(super) struct Served {
    provider: &'static str,
    path: &'static str,
    pub kind: Kind,
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

/// The endpoint that a request meant.
#[derive(Clone, Copy)]
pub(in super::super) struct Found<'a> {
    pub(super) served: &'static Served,
    /// If the path states it.
    pub(super) model: Option<&'a str>,
}

const fn row(
    provider: &'static str,
    path: &'static str,
    kind: Kind,
    required: &'static [&'static str],
    optional: &'static [&'static str],
) -> Served {
    Served { provider, path, kind, required, optional }
}

static SERVED: &[Served] = &[
    row(
        "openai",
        "/v1/embeddings",
        Kind::Embeddings,
        &["model", "input"],
        &["dimensions", "encoding_format", "user"],
    ),
    row(
        "mistral",
        "/v1/embeddings",
        Kind::Embeddings,
        &["model", "input"],
        &["metadata", "output_dimension", "output_dtype", "encoding_format"],
    ),
    row("together_ai", "/v1/embeddings", Kind::Embeddings, &["model", "input"], &[]),
    row(
        "fireworks_ai",
        "/inference/v1/embeddings",
        Kind::Embeddings,
        &["model", "input"],
        &["dimensions", "encoding_format", "user", "prompt_template", "return_logits", "normalize"],
    ),
    row(
        "perplexity",
        "/v1/embeddings",
        Kind::Embeddings,
        &["model", "input"],
        &["dimensions", "encoding_format"],
    ),
    row(
        "cohere",
        "/v2/embed",
        Kind::CohereEmbed,
        &["model", "input_type"],
        &[
            "texts",
            "images",
            "inputs",
            "max_tokens",
            "output_dimension",
            "embedding_types",
            "truncate",
            "priority",
        ],
    ),
    row(
        "openai",
        "/v1/images/generations",
        Kind::Image,
        &["model", "prompt"],
        &[
            "n",
            "size",
            "quality",
            "background",
            "moderation",
            "output_compression",
            "output_format",
            "partial_images",
            "stream",
            "safety_identifier",
            "user",
            "complexity",
            "frame_count",
            "frame_duration_ms",
            "svg",
        ],
    ),
    row(
        "openai",
        "/v1/images/edits",
        Kind::ImageEdit,
        &["model", "prompt"],
        &[
            "image",
            "image[]",
            "mask",
            "n",
            "size",
            "quality",
            "background",
            "input_fidelity",
            "output_compression",
            "output_format",
            "partial_images",
            "stream",
            "safety_identifier",
            "user",
            "complexity",
            "frame_count",
            "frame_duration_ms",
            "markup",
            "svg",
        ],
    ),
    row(
        "xai",
        "/v1/images/generations",
        Kind::Image,
        &["model", "prompt"],
        &["n", "response_format", "aspect_ratio", "resolution", "user"],
    ),
    row(
        "openai",
        "/v1/audio/speech",
        Kind::Speech,
        &["model", "input", "voice"],
        &["instructions", "response_format", "speed", "stream_format"],
    ),
    row(
        "groq",
        "/openai/v1/audio/speech",
        Kind::Speech,
        &["model", "input", "voice"],
        &["response_format", "sample_rate", "speed"],
    ),
    row(
        "mistral",
        "/v1/audio/speech",
        Kind::Speech,
        &["model", "input"],
        &[
            "metadata",
            "stream",
            "prompt_cache_key",
            "voice_id",
            "ref_audio",
            "expressiveness",
            "phoneme_hints",
            "conversation_history",
            "response_format",
        ],
    ),
    row(
        "openai",
        "/v1/audio/transcriptions",
        Kind::Transcription,
        &["model", "file"],
        &[
            "chunking_strategy",
            "include[]",
            "keywords[]",
            "known_speaker_names[]",
            "known_speaker_references[]",
            "language",
            "languages[]",
            "prompt",
            "response_format",
            "stream",
            "temperature",
            "timestamp_granularities[]",
        ],
    ),
    row(
        "openai",
        "/v1/audio/translations",
        Kind::Translation,
        &["model", "file"],
        &["prompt", "response_format", "temperature"],
    ),
    row(
        "groq",
        "/openai/v1/audio/transcriptions",
        Kind::Transcription,
        &["model"],
        &["file", "url", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]"],
    ),
    row(
        "groq",
        "/openai/v1/audio/translations",
        Kind::Translation,
        &["model"],
        &["file", "url", "prompt", "response_format", "temperature"],
    ),
    row(
        "mistral",
        "/v1/audio/transcriptions",
        Kind::Transcription,
        &["model"],
        &[
            "file",
            "file_url",
            "file_id",
            "language",
            "temperature",
            "stream",
            "diarize",
            "context_bias",
            "speaker_references",
            "timestamp_granularities",
        ],
    ),
    // The model is not named: there is one, and its newer version is asked for by name.
    row(
        "xai",
        "/v1/stt",
        Kind::Transcription,
        &[],
        &[
            "model",
            "file",
            "url",
            "language",
            "format",
            "diarize",
            "multichannel",
            "channels",
            "keyterm",
            "audio_format",
            "sample_rate",
            "filler_words",
        ],
    ),
    row(
        "together_ai",
        "/v1/audio/transcriptions",
        Kind::Transcription,
        &["model", "file"],
        &[
            "language",
            "prompt",
            "response_format",
            "temperature",
            "timestamp_granularities",
            "timestamp_granularities[]",
            "diarize",
            "min_speakers",
            "max_speakers",
        ],
    ),
    row(
        "together_ai",
        "/v1/audio/translations",
        Kind::Translation,
        &["model", "file"],
        &["language", "prompt", "response_format", "temperature", "timestamp_granularities"],
    ),
    row(
        "cohere",
        "/v2/audio/transcriptions",
        Kind::Transcription,
        &["model", "language", "file"],
        &["temperature"],
    ),
    row("openai", "/v1/moderations", Kind::Moderation, &["input"], &["model"]),
    row("mistral", "/v1/moderations", Kind::Moderation, &["model", "input"], &["metadata"]),
    row(
        "cohere",
        "/v2/rerank",
        Kind::Rerank,
        &["model", "query", "documents"],
        &["top_n", "max_tokens_per_doc", "priority", "relevant_spans"],
    ),
    row(
        "together_ai",
        "/v1/rerank",
        Kind::Rerank,
        &["model", "query", "documents"],
        &["top_n", "return_documents", "rank_fields"],
    ),
    row(
        "fireworks_ai",
        "/inference/v1/rerank",
        Kind::Rerank,
        &["model", "query", "documents"],
        &["top_n", "return_documents", "task"],
    ),
    row(
        "mistral",
        "/v1/ocr",
        Kind::Ocr,
        &["model", "document"],
        &[
            "id",
            "pages",
            "include_image_base64",
            "image_limit",
            "image_min_size",
            "bbox_annotation_format",
            "document_annotation_format",
            "document_annotation_prompt",
            "table_format",
            "extract_header",
            "extract_footer",
            "include_blocks",
            "confidence_scores_granularity",
        ],
    ),
    row(
        "google",
        ":embedContent",
        Kind::GeminiEmbed,
        &["content"],
        &["model", "taskType", "title", "outputDimensionality"],
    ),
    row("google", ":batchEmbedContents", Kind::GeminiEmbedBatch, &["requests"], &[]),
    row("google", "IMAGE", Kind::GeminiImage, &["contents", "generationConfig"], GEMINI_OPTIONAL),
    row("google", "AUDIO", Kind::GeminiSpeech, &["contents", "generationConfig"], GEMINI_OPTIONAL),
];

const GEMINI_OPTIONAL: &[&str] =
    &["systemInstruction", "safetySettings", "tools", "toolConfig", "cachedContent", "labels", "serviceTier"];

/// `path` is below `/<provider>`.
pub(in super::super) fn find<'a>(
    provider: &Row,
    method: &str,
    path: &'a str,
    request: &Request<'_>,
) -> Option<Found<'a>> {
    if method != "POST" {
        return None;
    }
    let mut served = SERVED.iter().filter(|served| served.provider == provider.id);
    if provider.id != "google" {
        return served.find(|served| served.path == path).map(|served| Found { served, model: None });
    }
    let (model, verb) = path.strip_prefix("/v1beta/models/")?.rsplit_once(':')?;
    let wanted =
        if verb == "generateContent" { modality(request)? } else { path.get(path.len() - verb.len() - 1..)? };
    served.find(|served| served.path == wanted).map(|served| Found { served, model: Some(model) })
}

/// What a generation makes besides text.
fn modality(request: &Request<'_>) -> Option<&'static str> {
    let config: Value = serde_json::from_str(request.get("generationConfig")?).ok()?;
    let asked = config.get("responseModalities")?.as_array()?;
    ["IMAGE", "AUDIO"].into_iter().find(|wanted| asked.iter().any(|modality| modality == wanted))
}

impl<'a> Found<'a> {
    /// The model, if the path names it.
    pub(in super::super) fn named(self) -> Option<&'a str> {
        self.model
    }
}

/// Whether the fields are those of the table.
pub(super) fn judge(served: &Served, body: &Value) -> Verdict {
    let Some(fields) = body.as_object() else { return Err(Wrong::new("body", "must be an object")) };
    let known =
        |name: &&String| served.required.contains(&name.as_str()) || served.optional.contains(&name.as_str());
    if let Some(name) = fields.keys().find(|name| !known(name)) {
        return Err(Wrong::new(name, "unknown field"));
    }
    match served.required.iter().find(|name| fields.get(**name).is_none_or(is_empty)) {
        Some(name) => Err(Wrong::new(*name, "field required")),
        None => Ok(()),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty)
}
