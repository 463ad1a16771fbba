//! What a request costs at the provider, and the most it can cost. Pure: catalogue prices and counted tokens in,
//! integers out. Never free by default: what has no price is an error, and the caller decides whether to go on.

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use time::OffsetDateTime;

use crate::domain::catalog::{AppliedRates, Model, PricePeriod, Prices, ServiceTier};
use crate::domain::money::{self, MoneyError, NanoPerMillion, NanoUsd};
use crate::domain::usage::Usage;

/// Output bound of a model whose maximum nobody publishes.
pub const OUTPUT_TOKENS_MAX_UNKNOWN: u64 = 32_768;

/// Tokens of one bucket at one price, as frozen into the receipt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PriceLine {
    pub bucket: &'static str,
    pub tokens: u64,
    /// Nano-USD per million tokens; written as decimal text in USD.
    pub usd_per_million: NanoPerMillion,
}

/// A priced request: `cost` is the rounded sum of `lines`, and can be recomputed from them alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Priced {
    /// Only buckets that hold tokens.
    pub lines: Vec<PriceLine>,
    pub cost: NanoUsd,
    pub variant: Variant,
}

/// Which of a model's prices were taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Variant {
    pub service_tier: ServiceTier,
    /// The prompt passed this size, so the whole request was priced by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above_tokens: Option<u64>,
    pub off_peak: bool,
}

#[derive(PartialEq, Eq, Debug, thiserror::Error)]
pub enum PriceError {
    /// No price is known for this model, day, service tier or bucket.
    #[error("no price is known for this request")]
    Unpriced,
    #[error(transparent)]
    Money(#[from] MoneyError),
}

/// Prices a request that started at `at`. `service_tier` is the one the provider says it used, else the requested.
pub fn price(
    prices: &Prices,
    usage: &Usage,
    at: OffsetDateTime,
    service_tier: Option<&str>,
) -> Result<Priced, PriceError> {
    let service = ServiceTier::by_name(service_tier).ok_or(PriceError::Unpriced)?;
    let period = prices.at(at).ok_or(PriceError::Unpriced)?;
    let applied = period.rates(service, usage.prompt(), at).ok_or(PriceError::Unpriced)?;
    let rates = applied.rates;
    let mut lines = Vec::with_capacity(5);
    let prompt = [
        ("input", usage.input, rates.input),
        ("cache_read", usage.cache_read, rates.cache_read),
        ("cache_write", usage.cache_write, rates.cache_write),
        ("cache_write_1h", usage.cache_write_1h, rates.cache_write_1h),
    ];
    for (bucket, tokens, usd_per_million) in prompt {
        if tokens > 0 {
            lines.push(PriceLine { bucket, tokens, usd_per_million });
        }
    }
    if usage.output > 0 {
        let usd_per_million = rates.output.ok_or(PriceError::Unpriced)?;
        lines.push(PriceLine { bucket: "output", tokens: usage.output, usd_per_million });
    }
    let cost = money::cost(lines.iter().map(|line| (line.tokens, line.usd_per_million)))?;
    let variant =
        Variant { service_tier: service, above_tokens: applied.above_tokens, off_peak: applied.off_peak };
    Ok(Priced { lines, cost, variant })
}

/// The dearest that can come of a request started at `at` with at most these tokens, whatever the cache does,
/// whichever prompt tier is reached, at peak hours, and even if the provider answers at its standard tier instead of
/// the requested one. `bound` holds the most there can be of every bucket, the prompt's text in `input`.
pub fn upper_bound(
    model: &Model,
    bound: &Usage,
    at: OffsetDateTime,
    service_tier: Option<&str>,
) -> Result<NanoUsd, PriceError> {
    let (prompt_tokens, output_tokens) = (bound.prompt(), bound.completion());
    let service = ServiceTier::by_name(service_tier).ok_or(PriceError::Unpriced)?;
    let period = model.prices.as_ref().and_then(|prices| prices.at(at)).ok_or(PriceError::Unpriced)?;
    // A prompt tier holds from some size on, so the smallest and the largest prompt see every rate there can be.
    let mut prompt_price = NanoPerMillion::default();
    let mut output_price = NanoPerMillion::default();
    for (service, prompt) in [
        (service, 0),
        (service, prompt_tokens),
        (ServiceTier::Standard, 0),
        (ServiceTier::Standard, prompt_tokens),
    ] {
        let rates = peak(period, service, prompt)?.rates;
        prompt_price = prompt_price.max(rates.prompt_max());
        if output_tokens > 0 {
            output_price = output_price.max(rates.output.ok_or(PriceError::Unpriced)?);
        }
    }
    Ok(money::cost([(prompt_tokens, prompt_price), (output_tokens, output_price)])?)
}

/// The most tokens `n` answers can have: each the client's limit, else the model's maximum, else 32,768.
pub fn output_bound(model: &Model, n: u64, client_limit: Option<u64>) -> u64 {
    let each = client_limit.or(model.output_tokens_max).unwrap_or(OUTPUT_TOKENS_MAX_UNKNOWN);
    n.saturating_mul(each)
}

fn peak(period: &PricePeriod, service: ServiceTier, prompt_tokens: u64) -> Result<AppliedRates, PriceError> {
    period.peak_rates(service, prompt_tokens).ok_or(PriceError::Unpriced)
}

impl Serialize for PriceLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("PriceLine", 3)?;
        line.serialize_field("bucket", self.bucket)?;
        line.serialize_field("tokens", &self.tokens)?;
        line.serialize_field("usd_per_million", &NanoUsd(self.usd_per_million.0).to_string())?;
        line.end()
    }
}

#[cfg(test)]
mod tests;
