//! The model catalogue: the models of each provider, with their names, abilities and prices. A [`Catalog`] is an
//! immutable snapshot; its users replace whole snapshots. It never calls a provider and never guesses a price: a value
//! that the file does not state is unknown.

mod file;
mod file_price;
mod load;
mod price;
mod resolve;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_resolve;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::Date;

pub use load::{CatalogError, Problem};
pub use price::{
    AppliedRates, MediaRates, OffPeak, OtherPrice, PeakSpan, PricePeriod, Prices, PromptTier, Rates,
    ServiceRates, ServiceTier, Unit,
};
pub use resolve::Resolved;

use crate::provider::ProviderId;

/// Longest model name that is looked up, in bytes; anything longer is unknown.
pub const NAME_BYTES_MAX: usize = 256;

/// An immutable snapshot of every model the gateway knows by name.
pub struct Catalog {
    /// Date of the built-in figures; with an overlay, `+` and the first 8 hex digits of the overlay's SHA-256.
    pub version: String,
    models: Vec<Arc<Model>>,
    /// The rows as read; an overlay is merged into them, field by field.
    rows: Vec<file::Row>,
    index: resolve::Index,
}

/// One model at one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Canonical `provider/model`.
    pub id: Arc<str>,
    /// The canonical id without its provider.
    pub name: Arc<str>,
    pub provider: ProviderId,
    /// Its name at the provider, which is sent in the request.
    pub upstream: Arc<str>,
    pub mode: Mode,
    pub status: Status,
    /// First day on which it no longer counts as served.
    pub shutdown: Option<Date>,
    /// Models with the same weights at other hosts have the same group.
    pub group: Option<Arc<str>>,
    /// Canonical id of the successor that is suggested when this model is gone.
    pub successor: Option<Arc<str>>,
    /// Largest prompt.
    pub context_tokens: Option<u64>,
    /// Largest answer.
    pub output_tokens_max: Option<u64>,
    /// How the host stores the weights, such as `fp8`; none: not stated.
    pub quantization: Option<Arc<str>>,
    /// The operator's quality value, 0 to 1000; none: not rated.
    pub quality_permille: Option<u16>,
    pub flags: Flags,
    pub aliases: Vec<Arc<str>>,
    /// The provider's names of fixed versions: sent as named, billed by this row.
    pub snapshots: Vec<Arc<str>>,
    /// None: unpriced. Never read as free.
    pub prices: Option<Prices>,
}

/// Which kind of endpoint the model serves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Chat,
    /// Chat, but the provider serves it on its Responses endpoint only.
    Responses,
    /// Text completion without messages.
    Completion,
    Embedding,
    ImageGeneration,
    AudioSpeech,
    AudioTranscription,
    Rerank,
    Moderation,
    Ocr,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Active,
    /// Served until its shutdown date.
    Deprecated,
    /// Kept so that its names can be resolved and old usage can be priced.
    Retired,
    /// Has a price, but is no longer in the provider's list: only if a request names it exactly.
    Unlisted,
}

/// One ability or limit of a model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Flag {
    Tools,
    Vision,
    JsonSchema,
    Reasoning,
    AudioIn,
    AudioOut,
    Pdf,
    WebSearch,
    Stream,
    /// `temperature` and `top_p` are refused.
    NoSampling,
    /// Reasoning cannot be turned off.
    ThinkAlways,
    /// A required or named `tool_choice` is refused.
    NoForcedTool,
    /// The last message may not be an assistant message.
    NoPrefill,
    /// Searches the web also without a search tool, at a fee for each call.
    AlwaysSearches,
}

impl Flag {
    pub const ALL: [Flag; 14] = [
        Flag::Tools,
        Flag::Vision,
        Flag::JsonSchema,
        Flag::Reasoning,
        Flag::AudioIn,
        Flag::AudioOut,
        Flag::Pdf,
        Flag::WebSearch,
        Flag::Stream,
        Flag::NoSampling,
        Flag::ThinkAlways,
        Flag::NoForcedTool,
        Flag::NoPrefill,
        Flag::AlwaysSearches,
    ];
}

/// A set of [`Flag`]s. An absent ability means that no source states it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(u16);

impl Flags {
    pub fn has(self, flag: Flag) -> bool {
        self.0 & Self::bit(flag) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.into_iter().filter(move |flag| self.has(*flag))
    }

    fn bit(flag: Flag) -> u16 {
        1 << (flag as u8)
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<I: IntoIterator<Item = Flag>>(flags: I) -> Flags {
        Flags(flags.into_iter().fold(0, |bits, flag| bits | Flags::bit(flag)))
    }
}

impl Model {
    /// Whether a request may be routed to it without naming it exactly. A model counts as retired from its shutdown
    /// date on; unlisted models are only used by name.
    pub fn is_live(&self, today: Date) -> bool {
        matches!(self.status, Status::Active | Status::Deprecated) && !self.is_past_shutdown(today)
    }

    /// Whether a request that names exactly this model may use it: live, or unlisted.
    pub fn is_servable_by_name(&self, today: Date) -> bool {
        self.status != Status::Retired && !self.is_past_shutdown(today)
    }

    fn is_past_shutdown(&self, today: Date) -> bool {
        self.shutdown.is_some_and(|day| today >= day)
    }
}

impl Catalog {
    /// The compiled-in catalogue.
    pub fn built_in() -> Result<Catalog, CatalogError> {
        Catalog::parse(include_str!("models.toml"))
    }

    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.iter()
    }

    /// Days since the built-in figures were read. `None`: the version is no date.
    pub fn age_days(&self, today: Date) -> Option<i64> {
        let day = self.version.get(..10)?;
        let read = Date::parse(day, time::macros::format_description!("[year]-[month]-[day]")).ok()?;
        Some((today - read).whole_days())
    }

    /// By exact canonical id.
    pub fn get(&self, canonical: &str) -> Option<&Arc<Model>> {
        self.index.get(canonical)
    }

    /// Available models that have neither a token price nor a price in another unit: refused on platform keys.
    pub fn list_unpriced(&self, today: Date) -> impl Iterator<Item = &Arc<Model>> {
        self.models.iter().filter(move |model| model.is_servable_by_name(today) && model.prices.is_none())
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Catalog {} of {} models", self.version, self.models.len())
    }
}
