//! Prices of a model as the catalogue states them, and the choice of the rates for one request: by day, hour, service
//! tier and prompt size. It only chooses rates and never multiplies; an unknown price stays unknown.

use std::sync::Arc;

use serde::Serialize;
use time::{Date, OffsetDateTime, UtcOffset};

use crate::money::{NanoPerMillion, NanoUsd, Per};

/// Every price of a model; periods do not overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    pub periods: Vec<PricePeriod>,
}

/// Valid from one day to another, both included (UTC); none: no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricePeriod {
    pub valid_from: Option<Date>,
    pub valid_until: Option<Date>,
    /// None: tokens are unpriced, the model is billed by other units.
    pub rates: Option<Rates>,
    pub batch: Option<ServiceRates>,
    pub flex: Option<ServiceRates>,
    pub priority: Option<ServiceRates>,
    pub tier: Option<PromptTier>,
    pub off_peak: Option<OffPeak>,
    /// Prices in other units than tokens: those of [`Unit`], and words that are not used for billing.
    pub other: Vec<OtherPrice>,
}

/// USD per million tokens by bucket. Cache prices are resolved: missing ones are filled in by rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    pub input: NanoPerMillion,
    /// None if the model generates no tokens.
    pub output: Option<NanoPerMillion>,
    pub cache_read: NanoPerMillion,
    pub cache_write: NanoPerMillion,
    pub cache_write_1h: NanoPerMillion,
    pub media: MediaRates,
}

/// USD per million tokens that are not plain text; none if the catalogue states no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MediaRates {
    pub audio_input: Option<NanoPerMillion>,
    pub image_input: Option<NanoPerMillion>,
    pub audio_output: Option<NanoPerMillion>,
    pub image_output: Option<NanoPerMillion>,
    /// The reasoning part of the output, if it has a separate price.
    pub reasoning: Option<NanoPerMillion>,
}

/// Units of billing other than tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    Image,
    InputImage,
    AudioMinute,
    AudioHour,
    OutputSecond,
    MillionCharacters,
    Page,
    Query,
    WebSearchCall,
    /// The part of the provider's reported cost above the prices of the catalogue. No price of a model has this unit.
    StatedDifference,
}

/// Input and output of a service tier; its cache prices keep their ratio to input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRates {
    pub input: NanoPerMillion,
    pub output: Option<NanoPerMillion>,
}

/// Rates of the whole request once the prompt is large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptTier {
    pub above_tokens: u64,
    /// A prompt of exactly `above_tokens` counts too.
    pub inclusive: bool,
    pub rates: Rates,
}

/// A discount outside the provider's busy hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffPeak {
    /// The percentage that is paid then, 1 to 100: peak is never cheaper.
    pub percent: u8,
    pub peak: Vec<PeakSpan>,
}

/// A span of busy hours, UTC, on each of some days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeakSpan {
    /// Days counted from Monday = 0, both included.
    pub first_day: u8,
    pub last_day: u8,
    /// Minutes of the day; the start is inside, the end is not.
    pub start_minute: u16,
    pub end_minute: u16,
}

/// A price for an image, a minute, a call and so on; the unit is the word in the catalogue file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherPrice {
    pub unit: Arc<str>,
    pub usd: NanoUsd,
}

/// How a request asks the provider to schedule it, as far as it affects the price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    Standard,
    Batch,
    Flex,
    Priority,
}

/// The rates of one request, and the reason for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedRates {
    pub rates: Rates,
    /// Set when the prompt is larger than this size and the whole request is priced by it.
    pub above_tokens: Option<u64>,
    pub off_peak: bool,
}

impl Prices {
    /// The period that is valid on the UTC day of `at`.
    pub fn at(&self, at: OffsetDateTime) -> Option<&PricePeriod> {
        let day = at.to_offset(UtcOffset::UTC).date();
        self.periods.iter().find(|period| {
            period.valid_from.is_none_or(|from| from <= day)
                && period.valid_until.is_none_or(|until| day <= until)
        })
    }
}

impl PricePeriod {
    /// The price of one `unit`, for any service tier, prompt and hour.
    pub fn per(&self, unit: Unit) -> Option<NanoUsd> {
        self.other.iter().find(|price| &*price.unit == unit.as_str()).map(|price| price.usd)
    }

    /// Rates at full (peak) price. None: tokens are unpriced, or the service tier is.
    pub fn peak_rates(&self, service: ServiceTier, prompt_tokens: u64) -> Option<AppliedRates> {
        let base = self.rates?;
        let tier = self.tier.as_ref().filter(|tier| tier.applies_to(prompt_tokens));
        let chosen = tier.map_or(base, |tier| tier.rates);
        let rates = match service {
            ServiceTier::Standard => chosen,
            ServiceTier::Batch => chosen.in_service(self.batch?, base)?,
            ServiceTier::Flex => chosen.in_service(self.flex?, base)?,
            ServiceTier::Priority => chosen.in_service(self.priority?, base)?,
        };
        Some(AppliedRates { rates, above_tokens: tier.map(|tier| tier.above_tokens), off_peak: false })
    }

    /// Rates of a request that starts at `at` with a prompt of this size.
    pub fn rates(
        &self,
        service: ServiceTier,
        prompt_tokens: u64,
        at: OffsetDateTime,
    ) -> Option<AppliedRates> {
        let peak = self.peak_rates(service, prompt_tokens)?;
        match &self.off_peak {
            Some(rule) if !rule.is_peak(at) => {
                let percent = i64::from(rule.percent);
                Some(AppliedRates { rates: peak.rates.scaled(percent, 100)?, off_peak: true, ..peak })
            }
            _ => Some(peak),
        }
    }
}

impl Rates {
    /// The highest possible price of a prompt token.
    pub fn prompt_max(&self) -> NanoPerMillion {
        self.input.max(self.cache_read).max(self.cache_write).max(self.cache_write_1h)
    }

    /// These rates (of the base or of a prompt tier) in a service tier that is stated for the base only.
    fn in_service(&self, service: ServiceRates, base: Rates) -> Option<Rates> {
        let media = self.media.following((base.input, service.input), (base.output, service.output))?;
        if base.input.0 == 0 {
            let input = service.input;
            return Some(Rates {
                input,
                output: service.output,
                cache_read: input,
                cache_write: input,
                cache_write_1h: input,
                media,
            });
        }
        let by_input = self.scaled(service.input.0, base.input.0)?;
        let output = match (self.output, service.output, base.output) {
            (Some(own), Some(stated), Some(base)) if base.0 != 0 => Some(scaled(own, stated.0, base.0)?),
            (_, stated, _) => stated,
        };
        Some(Rates { output, media, ..by_input })
    }

    fn scaled(&self, by: i64, of: i64) -> Option<Rates> {
        let output = match self.output {
            Some(output) => Some(scaled(output, by, of)?),
            None => None,
        };
        Some(Rates {
            input: scaled(self.input, by, of)?,
            output,
            cache_read: scaled(self.cache_read, by, of)?,
            cache_write: scaled(self.cache_write, by, of)?,
            cache_write_1h: scaled(self.cache_write_1h, by, of)?,
            media: self.media.scaled(by, of)?,
        })
    }
}

impl MediaRates {
    /// Media prices keep their ratio to the text price where the text price changes; each pair is before and after. If
    /// text was free there is no ratio, and the price stays. If output is not offered, its media are not either.
    pub(super) fn following(
        self,
        input: (NanoPerMillion, NanoPerMillion),
        output: (Option<NanoPerMillion>, Option<NanoPerMillion>),
    ) -> Option<MediaRates> {
        let (before, after) = input;
        let by_input = if before.0 == 0 { self } else { self.scaled(after.0, before.0)? };
        let by_output = match output {
            (Some(_), None) => MediaRates::default(),
            (Some(before), Some(after)) if before.0 != 0 => self.scaled(after.0, before.0)?,
            _ => self,
        };
        Some(MediaRates {
            audio_input: by_input.audio_input,
            image_input: by_input.image_input,
            audio_output: by_output.audio_output,
            image_output: by_output.image_output,
            reasoning: by_output.reasoning,
        })
    }

    fn scaled(self, by: i64, of: i64) -> Option<MediaRates> {
        let each = |price: Option<NanoPerMillion>| match price {
            Some(price) => scaled(price, by, of).map(Some),
            None => Some(None),
        };
        Some(MediaRates {
            audio_input: each(self.audio_input)?,
            image_input: each(self.image_input)?,
            audio_output: each(self.audio_output)?,
            image_output: each(self.image_output)?,
            reasoning: each(self.reasoning)?,
        })
    }
}

impl Unit {
    pub const ALL: [Unit; 9] = [
        Unit::Image,
        Unit::InputImage,
        Unit::AudioMinute,
        Unit::AudioHour,
        Unit::OutputSecond,
        Unit::MillionCharacters,
        Unit::Page,
        Unit::Query,
        Unit::WebSearchCall,
    ];

    /// The word in the catalogue file.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Image => "image",
            Unit::InputImage => "input_image",
            Unit::AudioMinute => "audio_minute",
            Unit::AudioHour => "audio_hour",
            Unit::OutputSecond => "output_second",
            Unit::MillionCharacters => "million_characters",
            Unit::Page => "page",
            Unit::Query => "query",
            Unit::WebSearchCall => "web_search_call",
            Unit::StatedDifference => "stated_difference",
        }
    }

    /// How many counted units of usage make one unit of the price.
    pub fn per(self) -> Per {
        match self {
            Unit::AudioMinute => Per::Minute,
            Unit::AudioHour => Per::Hour,
            Unit::OutputSecond => Per::Second,
            Unit::MillionCharacters => Per::Million,
            Unit::Image
            | Unit::InputImage
            | Unit::Page
            | Unit::Query
            | Unit::WebSearchCall
            | Unit::StatedDifference => Per::One,
        }
    }
}

impl PromptTier {
    pub fn applies_to(&self, prompt_tokens: u64) -> bool {
        prompt_tokens > self.above_tokens || (self.inclusive && prompt_tokens == self.above_tokens)
    }
}

impl OffPeak {
    pub fn is_peak(&self, at: OffsetDateTime) -> bool {
        let utc = at.to_offset(UtcOffset::UTC);
        let day = utc.weekday().number_days_from_monday();
        let minute = u16::from(utc.hour()) * 60 + u16::from(utc.minute());
        self.peak.iter().any(|span| {
            (span.first_day..=span.last_day).contains(&day)
                && (span.start_minute..span.end_minute).contains(&minute)
        })
    }
}

impl ServiceTier {
    /// By the words that providers use in `service_tier`; none for a word without a known price.
    pub fn by_name(name: Option<&str>) -> Option<ServiceTier> {
        match name.unwrap_or("") {
            "" | "auto" | "default" | "standard" | "standard_only" | "on_demand" => {
                Some(ServiceTier::Standard)
            }
            "batch" => Some(ServiceTier::Batch),
            "flex" => Some(ServiceTier::Flex),
            "priority" | "fast" => Some(ServiceTier::Priority),
            _ => None,
        }
    }
}

/// `ceil(price × by / of)`, none on overflow. `of` is positive.
fn scaled(price: NanoPerMillion, by: i64, of: i64) -> Option<NanoPerMillion> {
    let product = i128::from(price.0).checked_mul(i128::from(by))?;
    let of = i128::from(of);
    let up = product.checked_div_euclid(of)? + i128::from(product.checked_rem_euclid(of)? != 0);
    i64::try_from(up).ok().map(NanoPerMillion)
}
