//! The differences between the catalogue and a table, in both directions.

use crate::source::Listed;
use kairosroute_domain::{
    catalog::{Catalog, Model, PricePeriod, Resolved, ServiceTier, Status},
    money::NanoPerMillion,
    provider::ProviderId,
};
use std::{collections::HashSet, sync::Arc};
use time::{Date, Time};

/// The differences.
#[derive(Default, Debug)]
pub struct Difference {
    /// In the table, not in the catalogue.
    pub new: Vec<Listed>,
    pub changed: Vec<Change>,
    /// Served in the catalogue, no longer in the table.
    pub gone: Vec<Arc<Model>>,
    /// Retired or unlisted in the catalogue, in the table.
    pub returned: Vec<Arc<Model>>,
    /// A day on which the provider will end the model, which the catalogue does not have.
    pub ending: Vec<(Arc<Model>, Date)>,
    /// Models of the catalogue that were compared.
    pub compared: usize,
}

/// A model whose prices differ.
#[derive(Debug)]
pub struct Change {
    pub model: Arc<Model>,
    /// Name of the price, here, there.
    pub prices: Vec<(&'static str, Option<NanoPerMillion>, NanoPerMillion)>,
    /// The row with the new prices, if four prices express all of it.
    pub whole: Option<Listed>,
}

/// How much may change without a confirmation.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of any one price.
    pub price_percent_max: u32,
    /// Of the compared models, those that are gone or changed.
    pub models_percent_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { price_percent_max: 50, models_percent_max: 20 }
    }
}

/// Compares the models of the providers that the table lists, as of a day.
pub fn compare(catalog: &Catalog, listed: &[Listed], today: Date) -> Difference {
    let mut difference = Difference::default();
    let covered: HashSet<ProviderId> = listed.iter().map(|one| one.provider).collect();
    let mut seen: HashSet<Arc<str>> = HashSet::new();
    for one in listed {
        let models = match catalog.resolve_at(one.provider, &one.upstream, today) {
            Resolved::Listed(models) | Resolved::Retired { models } => models,
            Resolved::Unlisted { .. } | Resolved::Unknown { .. } => {
                if one.input.is_some() && one.shutdown.is_none_or(|day| day > today) {
                    difference.new.push(one.clone());
                }
                continue;
            }
        };
        for model in models.into_iter().filter(|model| model.provider == one.provider) {
            // A fixed version has the price of its row; the row is compared by its own name.
            if seen.insert(model.id.clone()) && *model.upstream == *one.upstream {
                compare_model(&mut difference, &model, one, today);
            }
        }
    }
    for model in catalog.models().filter(|model| covered.contains(&model.provider)) {
        if model.is_live(today) && !seen.contains(&model.id) {
            difference.gone.push(model.clone());
        }
    }
    difference.compared = seen.len() + difference.gone.len();
    difference
}

fn compare_model(difference: &mut Difference, model: &Arc<Model>, one: &Listed, today: Date) {
    match (one.shutdown, model.shutdown) {
        (Some(day), known) if known != Some(day) => difference.ending.push((model.clone(), day)),
        _ => {}
    }
    if one.shutdown.is_some_and(|day| day <= today) {
        return;
    }
    if matches!(model.status, Status::Retired | Status::Unlisted) {
        difference.returned.push(model.clone());
    }
    let at = today.with_time(Time::MIDNIGHT).assume_utc();
    let period = model.prices.as_ref().and_then(|prices| prices.at(at));
    let rates =
        period.and_then(|period| period.peak_rates(ServiceTier::Standard, 0)).map(|applied| applied.rates);
    let here = [
        ("input", rates.map(|rates| rates.input), one.input),
        ("output", rates.and_then(|rates| rates.output), one.output),
        ("cache_read", rates.map(|rates| rates.cache_read), one.cache_read),
        ("cache_write", rates.map(|rates| rates.cache_write), one.cache_write),
    ];
    let differ = |(name, here, there): (&'static str, Option<NanoPerMillion>, Option<NanoPerMillion>)| {
        let there = there?;
        // A table's zero for an output that does not exist is not a price.
        let is_empty = here.is_none() && there.0 == 0;
        (here != Some(there) && !is_empty).then_some((name, here, there))
    };
    let prices: Vec<_> = here.into_iter().filter_map(differ).collect();
    if !prices.is_empty() {
        let whole = period.is_none_or(is_plain).then(|| one.clone());
        difference.changed.push(Change { model: model.clone(), prices, whole });
    }
}

/// Whether the four prices of a table express everything in the period.
fn is_plain(period: &PricePeriod) -> bool {
    let has_tiers = period.batch.is_some()
        || period.flex.is_some()
        || period.priority.is_some()
        || period.tier.is_some()
        || period.off_peak.is_some();
    let has_long_write = period.rates.is_some_and(|rates| rates.cache_write_1h != rates.cache_write);
    let has_end = period.valid_from.is_some() || period.valid_until.is_some();
    !has_tiers && !has_long_write && !has_end && period.other.is_empty()
}

impl Change {
    /// The largest change of a price, in percent of the smaller one.
    pub fn percent(&self) -> u32 {
        let percent = |(_, here, there): &(&str, Option<NanoPerMillion>, NanoPerMillion)| {
            let (here, there) = (here.map_or(0, |price| i128::from(price.0)), i128::from(there.0));
            let (low, high) = (here.min(there), here.max(there));
            if low == 0 { u32::MAX } else { u32::try_from((high - low) * 100 / low).unwrap_or(u32::MAX) }
        };
        self.prices.iter().map(percent).max().unwrap_or(0)
    }
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        self.new.is_empty()
            && self.changed.is_empty()
            && self.gone.is_empty()
            && self.returned.is_empty()
            && self.ending.is_empty()
    }

    /// The changes that need a confirmation, in sentences.
    pub fn excess(&self, limits: Limits) -> Vec<String> {
        let mut excess = Vec::new();
        for change in self.changed.iter().filter(|change| change.percent() > limits.price_percent_max) {
            excess.push(format!(
                "{}: a price differs by more than {} %",
                change.model.id, limits.price_percent_max
            ));
        }
        for (what, count) in [("gone", self.gone.len()), ("changed", self.changed.len())] {
            let share = count.saturating_mul(100).checked_div(self.compared).unwrap_or(0);
            if share > usize::try_from(limits.models_percent_max).unwrap_or(usize::MAX) {
                excess.push(format!("{count} of {} models are {what}", self.compared));
            }
        }
        excess
    }
}
