//! A `[[model.price]]` table as written and its checks. Prices are decimal text from the file to the integer; missing
//! values are filled in only by the rules stated here.

use std::sync::Arc;

use serde::Deserialize;
use time::Date;

use super::file::date;
use super::load::Problems;
use super::price::{
    MediaRates, OffPeak, OtherPrice, PeakSpan, PricePeriod, Prices, PromptTier, Rates, ServiceRates,
};
use crate::money::{NanoPerMillion, NanoUsd};
use crate::provider::ProviderId;

const MINUTES_OF_DAY: u16 = 24 * 60;

/// As written; the header of `models.toml` explains each field.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PriceRow {
    valid_from: Option<String>,
    valid_until: Option<String>,
    input: Option<String>,
    output: Option<String>,
    cache_read: Option<String>,
    cache_write: Option<String>,
    cache_write_1h: Option<String>,
    batch_input: Option<String>,
    batch_output: Option<String>,
    flex_input: Option<String>,
    flex_output: Option<String>,
    priority_input: Option<String>,
    priority_output: Option<String>,
    tier_above_tokens: Option<u64>,
    tier_inclusive: Option<bool>,
    tier_input: Option<String>,
    tier_output: Option<String>,
    tier_cache_read: Option<String>,
    tier_cache_write: Option<String>,
    tier_cache_write_1h: Option<String>,
    off_peak_percent: Option<u8>,
    peak_utc: Option<Vec<String>>,
    other: Option<Vec<OtherRow>>,
    #[serde(flatten)]
    unknown: toml::Table,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherRow {
    unit: String,
    price: String,
}

/// The five prices of one prompt tier, as parsed; `None` is not stated.
struct Stated {
    input: Option<NanoPerMillion>,
    output: Option<NanoPerMillion>,
    cache_read: Option<NanoPerMillion>,
    cache_write: Option<NanoPerMillion>,
    cache_write_1h: Option<NanoPerMillion>,
}

/// Parses the fields of one row, and records problems under the row's id.
struct Reader<'a> {
    row: &'a str,
    provider: ProviderId,
    problems: &'a mut Problems,
}

/// All periods of a model; none where the file has no price at all.
pub(super) fn prices(
    row: &str,
    provider: ProviderId,
    written: &[PriceRow],
    problems: &mut Problems,
) -> Option<Prices> {
    let mut reader = Reader { row, provider, problems };
    let periods: Vec<PricePeriod> = written.iter().map(|price| reader.period(price)).collect();
    reader.check_overlap(&periods);
    (!periods.is_empty()).then_some(Prices { periods })
}

impl Reader<'_> {
    fn note(&mut self, what: impl Into<String>) {
        self.problems.note(self.row, what);
    }

    fn period(&mut self, price: &PriceRow) -> PricePeriod {
        for field in price.unknown.keys() {
            self.note(format!("unknown field {field:?} in price"));
        }
        let base = Stated {
            input: self.price("input", &price.input),
            output: self.price("output", &price.output),
            cache_read: self.price("cache_read", &price.cache_read),
            cache_write: self.price("cache_write", &price.cache_write),
            cache_write_1h: self.price("cache_write_1h", &price.cache_write_1h),
        };
        let other: Vec<OtherPrice> =
            price.other.iter().flatten().filter_map(|other| self.other(other)).collect();
        let media = self.media(&other, base.input.is_some());
        let rates = self.rates(&base, media);
        let period = PricePeriod {
            valid_from: self.date("valid_from", &price.valid_from),
            valid_until: self.date("valid_until", &price.valid_until),
            rates,
            batch: self.service("batch", &price.batch_input, &price.batch_output),
            flex: self.service("flex", &price.flex_input, &price.flex_output),
            priority: self.service("priority", &price.priority_input, &price.priority_output),
            tier: self.tier(price, &base, media),
            off_peak: self.off_peak(price),
            other,
        };
        if price.input.is_none() {
            let base_stated = [&price.output, &price.cache_read, &price.cache_write, &price.cache_write_1h];
            let service_stated = [&price.batch_input, &price.flex_input, &price.priority_input];
            if base_stated.iter().chain(&service_stated).any(|field| field.is_some()) {
                self.note("price states other token prices but no input");
            } else if period.other.is_empty() {
                self.note("price states nothing");
            }
        }
        period
    }

    /// Fills in what is not stated: a cache price is the input's (at Fireworks a read is half of it), a 1-hour write
    /// is at least a short one.
    fn rates(&self, stated: &Stated, media: MediaRates) -> Option<Rates> {
        let input = stated.input?;
        let cached = match self.provider.as_str() {
            "fireworks_ai" => NanoPerMillion(input.0 / 2 + input.0 % 2),
            _ => input,
        };
        let cache_write = stated.cache_write.unwrap_or(input);
        Some(Rates {
            input,
            output: stated.output,
            cache_read: stated.cache_read.unwrap_or(cached),
            cache_write,
            cache_write_1h: stated.cache_write_1h.unwrap_or(cache_write),
            media,
        })
    }

    /// The token prices among the other units.
    fn media(&mut self, other: &[OtherPrice], has_input: bool) -> MediaRates {
        let mut media = MediaRates::default();
        for (place, OtherPrice { unit, usd }) in other.iter().enumerate() {
            if other.iter().take(place).any(|earlier| earlier.unit == *unit) {
                self.note(format!("unit {unit:?} is priced twice"));
            }
            let rate = match &**unit {
                "audio_input_million_tokens" => &mut media.audio_input,
                "image_input_million_tokens" => &mut media.image_input,
                "audio_output_million_tokens" => &mut media.audio_output,
                "image_output_million_tokens" => &mut media.image_output,
                "reasoning_million_tokens" => &mut media.reasoning,
                _ => continue,
            };
            *rate = Some(NanoPerMillion(usd.0));
            if !has_input {
                self.note(format!("{unit} needs an input price beside it; \"0\" where text is free"));
            }
        }
        media
    }

    fn service(
        &mut self,
        name: &str,
        input: &Option<String>,
        output: &Option<String>,
    ) -> Option<ServiceRates> {
        let output_price = self.price(&format!("{name}_output"), output);
        if input.is_none() && output.is_some() {
            self.note(format!("{name}_output is stated without {name}_input"));
        }
        let input = self.price(&format!("{name}_input"), input)?;
        Some(ServiceRates { input, output: output_price })
    }

    /// The file states no media prices for a prompt tier: they keep their ratio to the text price.
    fn tier(&mut self, price: &PriceRow, base: &Stated, media: MediaRates) -> Option<PromptTier> {
        let tier = Stated {
            input: self.price("tier_input", &price.tier_input),
            output: self.price("tier_output", &price.tier_output),
            cache_read: self.price("tier_cache_read", &price.tier_cache_read),
            cache_write: self.price("tier_cache_write", &price.tier_cache_write),
            cache_write_1h: self.price("tier_cache_write_1h", &price.tier_cache_write_1h),
        };
        let pairs = [
            ("input", base.input, tier.input),
            ("output", base.output, tier.output),
            ("cache_read", base.cache_read, tier.cache_read),
            ("cache_write", base.cache_write, tier.cache_write),
            ("cache_write_1h", base.cache_write_1h, tier.cache_write_1h),
        ];
        let Some(above_tokens) = price.tier_above_tokens else {
            if price.tier_inclusive.is_some() || pairs.iter().any(|(_, _, tier)| tier.is_some()) {
                self.note("a prompt tier is stated without tier_above_tokens");
            }
            return None;
        };
        // With a price on one side only, the other side would silently use another bucket's price: both sides or
        // neither are required.
        for (name, base, tier) in pairs {
            match (base, tier) {
                (None, Some(_)) => self.note(format!("tier_{name} is stated without {name}")),
                (Some(_), None) => self.note(format!("the prompt tier lacks tier_{name}")),
                _ => {}
            }
        }
        let inclusive = price.tier_inclusive.unwrap_or(false);
        let followed = match (base.input, tier.input) {
            (Some(before), Some(after)) => media.following((before, after), (base.output, tier.output)),
            _ => Some(media),
        };
        let media = followed.unwrap_or_else(|| {
            self.note("the prompt tier makes a price per million tokens that is out of range");
            media
        });
        match self.rates(&tier, media) {
            Some(rates) => Some(PromptTier { above_tokens, inclusive, rates }),
            None => {
                self.note("the prompt tier lacks tier_input");
                None
            }
        }
    }

    fn off_peak(&mut self, price: &PriceRow) -> Option<OffPeak> {
        let (percent, spans) = match (price.off_peak_percent, &price.peak_utc) {
            (None, None) => return None,
            (Some(percent @ 1..=100), Some(spans)) if !spans.is_empty() => (percent, spans),
            _ => {
                self.note("off_peak_percent (1 to 100) and peak_utc go together");
                return None;
            }
        };
        let peak = spans
            .iter()
            .filter_map(|span| {
                let parsed = parse_span(span);
                if parsed.is_none() {
                    self.note(format!("peak_utc needs spans like \"Mon-Fri 01:00-04:00\", not {span:?}"));
                }
                parsed
            })
            .collect();
        Some(OffPeak { percent, peak })
    }

    fn other(&mut self, other: &OtherRow) -> Option<OtherPrice> {
        let unit_is_plain =
            |unit: &str| !unit.is_empty() && unit.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !unit_is_plain(&other.unit) {
            self.note(format!("unit {:?} must be a word of letters, digits and _", other.unit));
        }
        match NanoUsd::parse(&other.price) {
            Ok(usd) if usd >= NanoUsd::ZERO => Some(OtherPrice { unit: Arc::from(other.unit.as_str()), usd }),
            _ => {
                self.note(format!("price per {} must be a decimal text like \"0.01\"", other.unit));
                None
            }
        }
    }

    fn price(&mut self, field: &str, text: &Option<String>) -> Option<NanoPerMillion> {
        let text = text.as_deref()?;
        let parsed = NanoPerMillion::parse(text);
        if parsed.is_err() {
            self.note(format!(
                "{field} must be a decimal text like \"2.5\" with at most 9 decimals, not {text:?}"
            ));
        }
        parsed.ok()
    }

    fn date(&mut self, field: &str, text: &Option<String>) -> Option<Date> {
        date(self.row, field, text.as_deref()?, self.problems)
    }

    fn check_overlap(&mut self, periods: &[PricePeriod]) {
        let from = |period: &PricePeriod| period.valid_from.unwrap_or(Date::MIN);
        let until = |period: &PricePeriod| period.valid_until.unwrap_or(Date::MAX);
        let mut sorted: Vec<&PricePeriod> = periods.iter().collect();
        sorted.sort_by_key(|period| from(period));
        for period in &sorted {
            if from(period) > until(period) {
                self.note("valid_from lies after valid_until");
            }
        }
        for (earlier, later) in sorted.iter().zip(sorted.iter().skip(1)) {
            if from(later) <= until(earlier) {
                self.note("two price periods overlap");
            }
        }
    }
}

/// `Mon-Fri 01:00-04:00` or `Sun 22:30-24:00`.
fn parse_span(text: &str) -> Option<PeakSpan> {
    let (days, hours) = text.split_once(' ')?;
    let (first, last) = days.split_once('-').unwrap_or((days, days));
    let (start, end) = hours.split_once('-')?;
    let span = PeakSpan {
        first_day: parse_day(first)?,
        last_day: parse_day(last)?,
        start_minute: parse_minute(start)?,
        end_minute: parse_minute(end)?,
    };
    (span.first_day <= span.last_day && span.start_minute < span.end_minute).then_some(span)
}

fn parse_day(text: &str) -> Option<u8> {
    (0u8..)
        .zip(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
        .find(|(_, day)| *day == text)
        .map(|(n, _)| n)
}

fn parse_minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= MINUTES_OF_DAY).then_some(total)
}
