//! What a request costs at the provider, and the most it can cost. Pure: catalogue prices and counted quantities in,
//! integers out. Never free by default: what has no price is an error, and the caller decides whether to go on.
//!
//! What is counted both ways is billed once. Pictures and audio go by tokens where tokens were counted and the
//! catalogue prices them, else by the piece or by time; text that has both tokens and characters goes by tokens. A
//! model that is priced by tokens alone is billed by tokens alone, one that has no token prices by its units alone.
//! Where the provider states its bill and that is more, the difference is a line of its own.

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use time::OffsetDateTime;

use crate::domain::catalog::{
    AppliedRates, MediaRates, Model, PricePeriod, Prices, Rates, ServiceTier, Unit,
};
use crate::domain::money::{MoneyError, NanoPerMillion, NanoUsd, Per, Unrounded};
use crate::domain::usage::Usage;

/// Output bound of a model whose maximum nobody publishes.
pub const OUTPUT_TOKENS_MAX_UNKNOWN: u64 = 32_768;

/// A quantity of one bucket at one price, as frozen into the receipt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PriceLine {
    pub bucket: &'static str,
    /// As usage counts: tokens, characters, milliseconds, pieces.
    pub quantity: u64,
    pub price: LinePrice,
}

/// What one line is billed at; written as decimal text in USD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinePrice {
    /// Nano-USD per million tokens.
    Tokens(NanoPerMillion),
    /// Per unit, of which `Unit::per` says how many of the quantity it takes.
    Unit(Unit, NanoUsd),
}

/// A priced request: `cost` is the rounded sum of `lines`, and can be recomputed from them alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Priced {
    /// Only buckets that hold something.
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
    let applied = match period.rates {
        Some(_) => Some(period.rates(service, usage.prompt(), at).ok_or(PriceError::Unpriced)?),
        None if service == ServiceTier::Standard => None,
        None => return Err(PriceError::Unpriced),
    };
    let rates = applied.as_ref().map(|applied| &applied.rates);
    let mut lines = Vec::with_capacity(8);
    if let Some(rates) = rates {
        push_prompt(&mut lines, usage, rates, period);
        push_completion(&mut lines, usage, rates, period)?;
    }
    for count in Counts::of(usage, rates, period).all() {
        match count.price {
            _ if count.number == 0 || count.by_tokens => {}
            Some((unit, usd)) => lines.push(PriceLine::unit(count.bucket, count.number, unit, usd)),
            None if count.inside_tokens => {}
            None => return Err(PriceError::Unpriced),
        }
    }
    if rates.is_none() && lines.is_empty() {
        return Err(PriceError::Unpriced);
    }
    let mut cost = sum(&lines)?.ceil()?;
    let stated = NanoUsd(i64::try_from(usage.stated).map_err(|_| PriceError::Money(MoneyError::Overflow))?);
    if stated > cost {
        let difference = NanoUsd(stated.0 - cost.0);
        lines.push(PriceLine::unit("stated_by_provider", 1, Unit::StatedDifference, difference));
        cost = sum(&lines)?.ceil()?;
    }
    let variant = Variant {
        service_tier: service,
        above_tokens: applied.and_then(|applied| applied.above_tokens),
        off_peak: applied.is_some_and(|applied| applied.off_peak),
    };
    Ok(Priced { lines, cost, variant })
}

fn sum(lines: &[PriceLine]) -> Result<Unrounded, MoneyError> {
    lines.iter().try_fold(Unrounded::default(), |sum, line| sum.checked_add(line.amount()?))
}

/// The usage with every kind of token that has no price of its own counted as text, and every other as it is. What is
/// not counted in tokens and has no price is left out.
pub fn unpriced_as_text(usage: &Usage, period: &PricePeriod) -> Usage {
    let media = period.rates.map(|rates| rates.media).unwrap_or_default();
    let by_time = is_by_time(usage, &media, period);
    let by_piece = usage.images > 0 && period.per(Unit::Image).is_some();
    let mut text = *usage;
    let mut as_output = |tokens: &mut u64, is_priced: bool| {
        if !is_priced {
            text.output = text.output.saturating_add(std::mem::take(tokens));
        }
    };
    let (mut audio, mut image) = (usage.audio_output, usage.image_output);
    as_output(&mut audio, media.audio_output.is_some() || by_time);
    as_output(&mut image, media.image_output.is_some() || by_piece);
    let kept = |count: u64, unit: Unit| if period.per(unit).is_some() { count } else { 0 };
    Usage {
        audio_output: audio,
        image_output: image,
        searches: kept(usage.searches, Unit::WebSearchCall),
        queries: kept(usage.queries, Unit::Query),
        pages: kept(usage.pages, Unit::Page),
        ..text
    }
}

/// The dearest that can come of a request started at `at` with at most `bound` in every bucket, whatever the cache
/// does, whichever prompt tier is reached, at peak hours, whichever way media are counted, and even if the provider
/// answers at its standard tier instead of the requested one. Tokens of the prompt's text are put in `input`; where
/// tokens of text and of media share a limit, the limit goes to the media, whose tokens are never the cheaper here.
pub fn upper_bound(
    model: &Model,
    bound: &Usage,
    at: OffsetDateTime,
    service_tier: Option<&str>,
) -> Result<NanoUsd, PriceError> {
    let service = ServiceTier::by_name(service_tier).ok_or(PriceError::Unpriced)?;
    let period = model.prices.as_ref().and_then(|prices| prices.at(at)).ok_or(PriceError::Unpriced)?;
    if period.rates.is_none() {
        let counts = Counts::of(bound, None, period);
        let billable = service == ServiceTier::Standard && counts.all().iter().any(|count| count.number > 0);
        return if billable { Ok(dearest(bound, None, period)?.ceil()?) } else { Err(PriceError::Unpriced) };
    }
    let (mut most, mut last) = (Unrounded::default(), None);
    // A prompt tier holds from some size on, so the smallest and the largest prompt see every rate there can be.
    let standard = (service != ServiceTier::Standard).then_some(ServiceTier::Standard);
    for service in [Some(service), standard].into_iter().flatten() {
        for prompt in [0, bound.prompt()] {
            let rates = peak(period, service, prompt)?.rates;
            // Most models have one rate for all of these.
            if last != Some(rates) {
                most = most.max(dearest(bound, Some(&rates), period)?);
                last = Some(rates);
            }
        }
    }
    Ok(most.ceil()?)
}

/// The most tokens `n` answers can have: each the client's limit, else the model's maximum, else 32,768.
pub fn output_bound(model: &Model, n: u64, client_limit: Option<u64>) -> u64 {
    let each = client_limit.or(model.output_tokens_max).unwrap_or(OUTPUT_TOKENS_MAX_UNKNOWN);
    n.saturating_mul(each)
}

fn peak(period: &PricePeriod, service: ServiceTier, prompt_tokens: u64) -> Result<AppliedRates, PriceError> {
    period.peak_rates(service, prompt_tokens).ok_or(PriceError::Unpriced)
}

impl PriceLine {
    fn tokens(bucket: &'static str, tokens: u64, rate: NanoPerMillion) -> Self {
        PriceLine { bucket, quantity: tokens, price: LinePrice::Tokens(rate) }
    }

    fn unit(bucket: &'static str, quantity: u64, unit: Unit, usd: NanoUsd) -> Self {
        PriceLine { bucket, quantity, price: LinePrice::Unit(unit, usd) }
    }

    fn amount(&self) -> Result<Unrounded, MoneyError> {
        match self.price {
            LinePrice::Tokens(rate) => tokens(self.quantity, rate),
            LinePrice::Unit(unit, usd) => Unrounded::of(self.quantity, usd, unit.per()),
        }
    }
}

impl Serialize for PriceLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.price {
            LinePrice::Tokens(rate) => {
                let mut line = serializer.serialize_struct("PriceLine", 3)?;
                line.serialize_field("bucket", self.bucket)?;
                line.serialize_field("tokens", &self.quantity)?;
                line.serialize_field("usd_per_million", &NanoUsd(rate.0).to_string())?;
                line.end()
            }
            LinePrice::Unit(unit, usd) => {
                let mut line = serializer.serialize_struct("PriceLine", 5)?;
                line.serialize_field("bucket", self.bucket)?;
                line.serialize_field("quantity", &self.quantity)?;
                line.serialize_field("unit", unit.as_str())?;
                line.serialize_field("quantity_per_unit", &unit.per().quantity())?;
                line.serialize_field("usd_per_unit", &usd.to_string())?;
                line.end()
            }
        }
    }
}

/// A count of something else than tokens, and how it is billed.
#[derive(Clone, Copy)]
struct Count {
    bucket: &'static str,
    number: u64,
    price: Option<(Unit, NanoUsd)>,
    /// The same thing was counted in tokens that have a price.
    by_tokens: bool,
    /// The model has no other price for it than that of the tokens it is part of.
    inside_tokens: bool,
}

struct Counts {
    images: Count,
    input_images: Count,
    audio: Count,
    /// Characters, pages, queries, searches.
    others: [Count; 4],
}

impl Counts {
    fn of(usage: &Usage, rates: Option<&Rates>, period: &PricePeriod) -> Counts {
        let media = rates.map(|rates| rates.media).unwrap_or_default();
        let by_text = rates.is_some();
        let count = |bucket, number, unit: Unit, by_tokens, inside_tokens| Count {
            bucket,
            number,
            price: period.per(unit).map(|usd| (unit, usd)),
            by_tokens,
            inside_tokens,
        };
        let text = by_text && usage.input > 0;
        let prompt = by_text && usage.prompt() > 0;
        let picture_tokens = usage.image_output > 0 && media.image_output.is_some();
        let read_tokens = usage.image_input > 0 && media.image_input.is_some();
        let inside_output = media.image_output.is_none() && by_text && usage.output > 0;
        let inside_prompt = media.image_input.is_none() && prompt;
        let no_audio_rate = media.audio_input.is_none() && media.audio_output.is_none();
        let characters = count("characters", usage.characters, Unit::MillionCharacters, text, text);
        Counts {
            images: count("images", usage.images, Unit::Image, picture_tokens, inside_output),
            input_images: count(
                "input_images",
                usage.input_images,
                Unit::InputImage,
                read_tokens,
                inside_prompt,
            ),
            audio: Count {
                bucket: "audio_ms",
                number: usage.audio_ms,
                price: time_price(period),
                by_tokens: audio_by_tokens(usage, &media),
                // Speech billed by the characters it says has no second price for how long that takes.
                inside_tokens: (characters.number > 0 && characters.price.is_some())
                    || (no_audio_rate && prompt),
            },
            others: [
                characters,
                count("pages", usage.pages, Unit::Page, false, prompt),
                count("queries", usage.queries, Unit::Query, false, prompt),
                count("searches", usage.searches, Unit::WebSearchCall, false, false),
            ],
        }
    }

    fn all(&self) -> [Count; 7] {
        let [characters, pages, queries, searches] = self.others;
        [self.images, self.input_images, self.audio, characters, pages, queries, searches]
    }
}

impl Count {
    /// What it can cost where it is not billed by tokens.
    fn dearest(&self) -> Result<Unrounded, PriceError> {
        match self.price {
            Some((unit, usd)) => Ok(Unrounded::of(self.number, usd, unit.per())?),
            None if self.number == 0 || self.by_tokens || self.inside_tokens => Ok(Unrounded::default()),
            None => Err(PriceError::Unpriced),
        }
    }
}

fn push_prompt(lines: &mut Vec<PriceLine>, usage: &Usage, rates: &Rates, period: &PricePeriod) {
    let media = &rates.media;
    // Audio and images that the catalogue has no price of their own for are ordinary input: that is how the
    // providers of multimodal chat models bill them.
    let mut input = usage.input;
    if media.audio_input.is_none() && !is_by_time(usage, media, period) {
        input = input.saturating_add(usage.audio_input);
    }
    if media.image_input.is_none() && (usage.input_images == 0 || period.per(Unit::InputImage).is_none()) {
        input = input.saturating_add(usage.image_input);
    }
    let text = [
        ("input", input, rates.input),
        ("cache_read", usage.cache_read, rates.cache_read),
        ("cache_write", usage.cache_write, rates.cache_write),
        ("cache_write_1h", usage.cache_write_1h, rates.cache_write_1h),
    ];
    let own = [
        ("audio_input", usage.audio_input, media.audio_input),
        ("image_input", usage.image_input, media.image_input),
    ];
    let own = own.into_iter().filter_map(|(bucket, tokens, rate)| Some((bucket, tokens, rate?)));
    for (bucket, tokens, rate) in text.into_iter().chain(own) {
        if tokens > 0 {
            lines.push(PriceLine::tokens(bucket, tokens, rate));
        }
    }
}

fn push_completion(
    lines: &mut Vec<PriceLine>,
    usage: &Usage,
    rates: &Rates,
    period: &PricePeriod,
) -> Result<(), PriceError> {
    let media = &rates.media;
    let reasoning = media.reasoning.map_or(0, |_| usage.reasoning.min(usage.output));
    let by_time = is_by_time(usage, media, period);
    let by_piece = usage.images > 0 && period.per(Unit::Image).is_some();
    for (bucket, tokens, rate, is_billed_otherwise) in [
        ("output", usage.output - reasoning, rates.output, false),
        ("reasoning", reasoning, media.reasoning, false),
        ("audio_output", usage.audio_output, media.audio_output, by_time),
        ("image_output", usage.image_output, media.image_output, by_piece),
    ] {
        match rate {
            _ if tokens == 0 => {}
            Some(rate) => lines.push(PriceLine::tokens(bucket, tokens, rate)),
            None if is_billed_otherwise => {}
            None => return Err(PriceError::Unpriced),
        }
    }
    Ok(())
}

/// The most that `bound` can cost at these rates.
fn dearest(bound: &Usage, rates: Option<&Rates>, period: &PricePeriod) -> Result<Unrounded, PriceError> {
    let counts = Counts::of(bound, rates, period);
    let (mut images, mut input_images, mut audio) =
        (counts.images.dearest()?, counts.input_images.dearest()?, counts.audio.dearest()?);
    let mut sum = Unrounded::default();
    for count in counts.others {
        sum = sum.checked_add(count.dearest()?)?;
    }
    if let Some(rates) = rates {
        let media = &rates.media;
        let prompt = rates.prompt_max();
        let text = bound.prompt().saturating_sub(bound.audio_input).saturating_sub(bound.image_input);
        sum = sum.checked_add(tokens(text, prompt)?)?;
        let output = rates.output.map(|output| output.max(media.reasoning.unwrap_or(output)));
        sum = sum.checked_add(tokens_if_priced(bound.output, output, false)?)?;
        // Where media have two prices, one of them is paid. Tokens of theirs may turn out to be text.
        let heard = tokens(bound.audio_input, prompt.max(media.audio_input.unwrap_or(prompt)))?;
        let by_time = bound.audio_ms > 0 && time_price(period).is_some();
        let spoken = tokens_if_priced(
            bound.audio_output,
            media.audio_output.map(|own| output.map_or(own, |text| own.max(text))),
            by_time,
        )?;
        audio = audio.max(heard.checked_add(spoken)?);
        let read = tokens(bound.image_input, prompt.max(media.image_input.unwrap_or(prompt)))?;
        input_images = input_images.max(read);
        let by_piece = bound.images > 0 && period.per(Unit::Image).is_some();
        let drawn = tokens_if_priced(
            bound.image_output,
            media.image_output.map(|own| output.map_or(own, |text| own.max(text))),
            by_piece,
        )?;
        images = images.max(drawn);
    }
    Ok(sum.checked_add(images)?.checked_add(input_images)?.checked_add(audio)?)
}

/// Of one kind of tokens; `is_billed_otherwise` where they may stay without a price.
fn tokens_if_priced(
    number: u64,
    rate: Option<NanoPerMillion>,
    is_billed_otherwise: bool,
) -> Result<Unrounded, PriceError> {
    match rate {
        Some(rate) => Ok(tokens(number, rate)?),
        None if number == 0 || is_billed_otherwise => Ok(Unrounded::default()),
        None => Err(PriceError::Unpriced),
    }
}

fn tokens(number: u64, rate: NanoPerMillion) -> Result<Unrounded, MoneyError> {
    Unrounded::of(number, NanoUsd(rate.0), Per::Million)
}

fn audio_by_tokens(usage: &Usage, media: &MediaRates) -> bool {
    (usage.audio_input > 0 && media.audio_input.is_some())
        || (usage.audio_output > 0 && media.audio_output.is_some())
}

fn is_by_time(usage: &Usage, media: &MediaRates, period: &PricePeriod) -> bool {
    usage.audio_ms > 0 && time_price(period).is_some() && !audio_by_tokens(usage, media)
}

/// The price of audio by its length.
fn time_price(period: &PricePeriod) -> Option<(Unit, NanoUsd)> {
    let units = [Unit::AudioMinute, Unit::AudioHour, Unit::OutputSecond];
    units.into_iter().find_map(|unit| Some((unit, period.per(unit)?)))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_units;
