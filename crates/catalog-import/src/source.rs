//! The three tables, each read into the same rows. A missing field is unknown; nothing is filled in.

use crate::amount::{self, Per};
use kairosroute_domain::{
    catalog::{Flag, Mode},
    money::NanoPerMillion,
    provider::ProviderId,
};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use time::{Date, macros::format_description};

type Object = BTreeMap<String, Box<RawValue>>;

/// The publisher of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    LiteLlm,
    ModelsDev,
    GenaiPrices,
}

impl Source {
    pub const ALL: [Source; 3] = [Source::LiteLlm, Source::ModelsDev, Source::GenaiPrices];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::LiteLlm => "litellm",
            Self::ModelsDev => "models.dev",
            Self::GenaiPrices => "genai-prices",
        }
    }

    pub fn by_name(name: &str) -> Option<Source> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }

    /// The provider that a table's name means.
    fn provider(self, word: &str) -> Option<ProviderId> {
        let ours = match (self, word) {
            (Self::LiteLlm, "gemini") => "google",
            (Self::LiteLlm, "cohere_chat") => "cohere",
            (Self::ModelsDev, "togetherai") | (Self::GenaiPrices, "together") => "together_ai",
            (Self::ModelsDev, "fireworks-ai") | (Self::GenaiPrices, "fireworks") => "fireworks_ai",
            (Self::ModelsDev | Self::GenaiPrices, "moonshotai") => "moonshot",
            (Self::GenaiPrices, "x-ai") => "xai",
            (_, word) => word,
        };
        ProviderId::all().find(|provider| provider.as_str() == ours)
    }
}

/// One model as a table lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    pub provider: ProviderId,
    /// The provider's own name of it.
    pub upstream: String,
    pub mode: Option<Mode>,
    pub context_tokens: Option<u64>,
    pub output_tokens_max: Option<u64>,
    pub flags: Vec<Flag>,
    pub input: Option<NanoPerMillion>,
    pub output: Option<NanoPerMillion>,
    pub cache_read: Option<NanoPerMillion>,
    pub cache_write: Option<NanoPerMillion>,
    pub shutdown: Option<Date>,
}

/// Why a file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the file is not the JSON that {0} publishes: {1}")]
    Shape(&'static str, serde_json::Error),
    #[error("the file lists no model of a provider that the gateway knows; is it from {0}?")]
    Empty(&'static str),
}

/// The models of our providers that a table lists.
pub fn read(source: Source, text: &str) -> Result<Vec<Listed>, ReadError> {
    let listed = match source {
        Source::LiteLlm => litellm(text),
        Source::ModelsDev => models_dev(text),
        Source::GenaiPrices => genai_prices(text),
    };
    let mut listed = listed.map_err(|error| ReadError::Shape(source.as_str(), error))?;
    if listed.is_empty() {
        return Err(ReadError::Empty(source.as_str()));
    }
    listed.sort_by(|a, b| (a.provider.as_str(), &a.upstream).cmp(&(b.provider.as_str(), &b.upstream)));
    listed.dedup_by(|a, b| (a.provider, &a.upstream) == (b.provider, &b.upstream));
    Ok(listed)
}

fn parse<'t, T: serde::Deserialize<'t>>(raw: &'t RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

fn field<'o, T: serde::Deserialize<'o>>(object: &'o Object, name: &str) -> Option<T> {
    object.get(name).and_then(|raw| parse(raw))
}

fn price(object: &Object, name: &str, per: Per) -> Option<NanoPerMillion> {
    object.get(name).and_then(|raw| amount::read(raw, per))
}

/// `{"provider/model": {litellm_provider, mode, input_cost_per_token, …}}`.
fn litellm(text: &str) -> Result<Vec<Listed>, serde_json::Error> {
    let rows: Object = serde_json::from_str(text)?;
    let listed = rows.iter().filter_map(|(key, raw)| {
        let row: Object = parse(raw)?;
        let word: String = field(&row, "litellm_provider")?;
        let provider = Source::LiteLlm.provider(&word)?;
        let upstream = key.strip_prefix(&format!("{word}/")).unwrap_or(key);
        let mode = litellm_mode(field::<String>(&row, "mode")?.as_str())?;
        let has = |name: &str| field::<bool>(&row, name) == Some(true);
        let flags = [
            ("supports_function_calling", Flag::Tools),
            ("supports_vision", Flag::Vision),
            ("supports_response_schema", Flag::JsonSchema),
            ("supports_reasoning", Flag::Reasoning),
            ("supports_pdf_input", Flag::Pdf),
        ];
        let shutdown = field::<String>(&row, "deprecation_date").and_then(|text| day(&text));
        Some(Listed {
            provider,
            upstream: upstream.to_owned(),
            mode: Some(mode),
            context_tokens: field(&row, "max_input_tokens"),
            output_tokens_max: field(&row, "max_output_tokens"),
            flags: flags.into_iter().filter(|(name, _)| has(name)).map(|(_, flag)| flag).collect(),
            input: price(&row, "input_cost_per_token", Per::Token),
            output: price(&row, "output_cost_per_token", Per::Token),
            cache_read: price(&row, "cache_read_input_token_cost", Per::Token),
            cache_write: price(&row, "cache_creation_input_token_cost", Per::Token),
            shutdown,
        })
    });
    Ok(listed.collect())
}

fn litellm_mode(word: &str) -> Option<Mode> {
    Some(match word {
        "chat" => Mode::Chat,
        "responses" => Mode::Responses,
        "completion" => Mode::Completion,
        "embedding" => Mode::Embedding,
        "image_generation" => Mode::ImageGeneration,
        "audio_speech" => Mode::AudioSpeech,
        "audio_transcription" => Mode::AudioTranscription,
        "rerank" => Mode::Rerank,
        "moderation" => Mode::Moderation,
        "ocr" => Mode::Ocr,
        _ => return None,
    })
}

/// `{"provider": {"models": {"model": {cost, limit, …}}}}`; models for conversations only.
fn models_dev(text: &str) -> Result<Vec<Listed>, serde_json::Error> {
    let providers: Object = serde_json::from_str(text)?;
    let mut listed = Vec::new();
    for (word, raw) in &providers {
        let Some(provider) = Source::ModelsDev.provider(word) else { continue };
        let models = parse::<Object>(raw).and_then(|one| field::<Object>(&one, "models")).unwrap_or_default();
        for (upstream, raw) in &models {
            let Some(row) = parse::<Object>(raw) else { continue };
            let cost: Object = field(&row, "cost").unwrap_or_default();
            let limit: Object = field(&row, "limit").unwrap_or_default();
            let has = |name: &str| field::<bool>(&row, name) == Some(true);
            let flags =
                [("tool_call", Flag::Tools), ("reasoning", Flag::Reasoning), ("attachment", Flag::Vision)];
            listed.push(Listed {
                provider,
                upstream: upstream.clone(),
                mode: None,
                context_tokens: field(&limit, "context"),
                output_tokens_max: field(&limit, "output"),
                flags: flags.into_iter().filter(|(name, _)| has(name)).map(|(_, flag)| flag).collect(),
                input: price(&cost, "input", Per::MillionTokens),
                output: price(&cost, "output", Per::MillionTokens),
                cache_read: price(&cost, "cache_read", Per::MillionTokens),
                cache_write: price(&cost, "cache_write", Per::MillionTokens),
                shutdown: None,
            });
        }
    }
    Ok(listed)
}

/// `[{"id": "provider", "models": [{"id": "model", "prices": {input_mtok, …}}]}]`. Prices that depend on the day or on the
/// prompt are left to a person: such a model is listed without prices.
fn genai_prices(text: &str) -> Result<Vec<Listed>, serde_json::Error> {
    let providers: Vec<Object> = serde_json::from_str(text)?;
    let mut listed = Vec::new();
    for one in &providers {
        let word: Option<String> = field(one, "id");
        let Some(provider) = word.and_then(|word| Source::GenaiPrices.provider(&word)) else { continue };
        for row in field::<Vec<Object>>(one, "models").unwrap_or_default() {
            let Some(upstream) = field::<String>(&row, "id") else { continue };
            let prices: Object = field(&row, "prices").unwrap_or_default();
            listed.push(Listed {
                provider,
                upstream,
                mode: None,
                context_tokens: field(&row, "context_window"),
                output_tokens_max: None,
                flags: Vec::new(),
                input: price(&prices, "input_mtok", Per::MillionTokens),
                output: price(&prices, "output_mtok", Per::MillionTokens),
                cache_read: price(&prices, "cache_read_mtok", Per::MillionTokens),
                cache_write: price(&prices, "cache_write_mtok", Per::MillionTokens),
                shutdown: None,
            });
        }
    }
    Ok(listed)
}

fn day(text: &str) -> Option<Date> {
    Date::parse(text, format_description!("[year]-[month]-[day]")).ok()
}
