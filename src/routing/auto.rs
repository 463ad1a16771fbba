//! The choice among all models for `auto`: the requirements of the request filter them, the quality table and the floor
//! decide which are good enough, and the cheapest of these by expected cost is first. Pure: the same request,
//! catalogue, keys and figures give the same order.

use super::{
    filter,
    host_stats::HostStats,
    plan::{Candidate, RouteRequest},
    quality::{Quality, QualityTable},
    session::KnownSession,
};
use crate::{
    dialect::canonical::Effort,
    domain::{
        catalog::{Flag, Model, ServiceTier},
        money::{self, NanoUsd},
    },
};
use kairosroute_classifier::{Category, CategorySet, Classification};
use std::{cmp::Reverse, sync::Arc};

/// Bytes of text per token; a low value, so that a prompt is not estimated to fit where it does not.
const BYTES_PER_TOKEN_LEAST: u64 = 3;
const BYTES_PER_TOKEN: u64 = 4;
/// Costs that differ by less than this count as equal: health decides.
const TIE_PERCENT: i64 = 3;
/// The maximum part by which difficulty increases or decreases a model's distance to the reference: a fifth. Only for
/// the category where measurements show that difficulty matters.
const STEP_PERMILLE: i64 = 400;
const STEP_CATEGORIES: [Category; 1] = [Category::Reasoning];

/// The facts by which models are compared for an `auto` request.
#[derive(Clone, Copy)]
pub struct Automatic<'a> {
    pub classification: Classification,
    pub effort: Option<Effort>,
    /// The minimum share of the reference's quality, in permille.
    pub floor_permille: u16,
    /// It is an error if no model reaches the floor.
    pub is_strict: bool,
    pub table: &'a QualityTable,
    /// The reference model for quality, and its cost for savings.
    pub reference: Option<&'a Model>,
}

/// A model that passed the filters, with the values that decide its position.
pub struct Scored {
    pub candidate: Candidate,
    pub quality: Option<Quality>,
    /// Lower bound of the quality, in permille, with difficulty.
    pub score: Option<i64>,
    pub cost: Option<NanoUsd>,
    pub clears: bool,
    /// It served the conversation before.
    pub same_session: bool,
}

/// What excludes a model from the choice. A stated ability is required: an ability without a source counts as missing.
pub fn obstacle(model: &Model, request: &RouteRequest<'_>) -> Option<&'static str> {
    if let Some(lacking) = filter::lacks(model, request) {
        return Some(lacking);
    }
    if model.flags.has(Flag::AlwaysSearches) {
        return Some("always_searches");
    }
    let prompt = request.facts.text_bytes / BYTES_PER_TOKEN_LEAST;
    if prompt.saturating_add(request.output_limit.unwrap_or(1_024)) > model.context_tokens.unwrap_or(0) {
        return Some("context_length");
    }
    let longest = request.output_limit.zip(model.output_tokens_max);
    longest.is_some_and(|(request, most)| request > most).then_some("output_length")
}

/// Expected output tokens of an answer, reasoning included. Rough figures of this project; they order models by cost
/// and are not a promise.
pub fn expected_output(category: Category, effort: Option<Effort>, model: &Model) -> u64 {
    let answer: u64 = match category {
        Category::Code => 900,
        Category::Reasoning => 700,
        Category::Analysis => 900,
        Category::Extraction => 200,
        Category::Summarization => 250,
        Category::Creative => 700,
        Category::Chat => 300,
        Category::Agent => 250,
    };
    let thinks = model.flags.has(Flag::Reasoning);
    let thinking = match effort {
        _ if !thinks => 0,
        None if model.flags.has(Flag::ThinkAlways) => 1_500,
        None => 400,
        Some(Effort::None) => 0,
        Some(Effort::Minimal) => 100,
        Some(Effort::Low) => 500,
        Some(Effort::Medium) => 1_500,
        Some(Effort::High) => 4_000,
        Some(Effort::XHigh | Effort::Max) => 10_000,
    };
    answer + thinking
}

/// The expected cost of the request at a model that has `cached` tokens of the prompt.
pub fn expected_cost(
    model: &Model,
    request: &RouteRequest<'_>,
    automatic: &Automatic<'_>,
    cached: u64,
) -> Option<NanoUsd> {
    let prompt = request.facts.text_bytes / BYTES_PER_TOKEN;
    let cached = cached.min(prompt);
    let expected = expected_output(automatic.classification.category, automatic.effort, model);
    let output = expected.min(request.output_limit.unwrap_or(expected));
    let service = ServiceTier::by_name(request.service_tier)?;
    let rates = model.prices.as_ref()?.at(request.at)?.rates(service, prompt, request.at)?.rates;
    money::cost([(prompt - cached, rates.input), (cached, rates.cache_read), (output, rates.output?)]).ok()
}

impl Automatic<'_> {
    /// The categories whose quality counts.
    fn categories(&self) -> CategorySet {
        self.classification.categories
    }

    /// The evaluation of a model for this request.
    pub fn score(
        &self,
        candidate: Candidate,
        request: &RouteRequest<'_>,
        session: Option<&KnownSession>,
    ) -> Scored {
        let session = session.filter(|session| session.model == candidate.id);
        let cached = session.map_or(0, |session| session.cached_tokens);
        let model = candidate.model.clone();
        let model = model.as_deref();
        let quality =
            model.and_then(|model| self.table.quality(model, self.effort, self.categories(), self.reference));
        let score = quality.map(|quality| self.with_difficulty(quality));
        let cost = model.and_then(|model| expected_cost(model, request, self, cached));
        let clears = score.is_some_and(|score| score >= i64::from(self.floor_permille)) && cost.is_some();
        Scored { candidate, quality, score, cost, clears, same_session: session.is_some() }
    }

    /// The lower bound, adjusted by difficulty: the distance to the reference matters more on hard prompts than on easy
    /// ones.
    fn with_difficulty(&self, quality: Quality) -> i64 {
        let bound = quality.lower_bound();
        let applies = self.categories().iter().all(|category| STEP_CATEGORIES.contains(&category));
        if !applies || bound >= 1_000 {
            return bound;
        }
        // From -500 for the easiest to 500 for the hardest.
        #[expect(clippy::cast_possible_truncation, reason = "between 0 and 1000")]
        let difficulty = (self.classification.difficulty * 1_000.0) as i64 - 500;
        bound - (1_000 - bound) * STEP_PERMILLE / 1_000 * difficulty / 1_000
    }

    /// Sorts, best first: models that reach the floor, by expected cost; then the others by quality; then those of
    /// unknown quality, more expensive ones first up to the reference's cost, because the price is the only indication.
    pub fn sort(&self, scored: &mut [Scored], request: &RouteRequest<'_>) {
        let ceiling = self.reference.and_then(|model| expected_cost(model, request, self, 0));
        scored.sort_by_cached_key(|one| {
            let cost = one.cost.map_or(i64::MAX, |cost| cost.0);
            let place = match (one.clears, one.score) {
                (true, _) => (0, cost, 0),
                (false, Some(score)) => (1, -score, cost),
                (false, None) if ceiling.is_some_and(|most| cost > most.0) => (3, cost, 0),
                (false, None) => (2, -cost, 0),
            };
            (place, !one.same_session, one.candidate.id.clone())
        });
        self.break_ties(scored, request.measured);
    }

    /// Among models whose cost is nearly the lowest, the one that served the conversation before comes first, then the
    /// healthiest.
    fn break_ties(&self, scored: &mut [Scored], measured: &dyn Fn(&str) -> HostStats) {
        let Some(least) = scored.first().filter(|one| one.clears).and_then(|one| one.cost) else { return };
        let most = least.0.saturating_add(least.0 / 100 * TIE_PERCENT);
        let alike = scored.partition_point(|one| one.clears && one.cost.is_some_and(|cost| cost.0 <= most));
        let Some(alike) = scored.get_mut(..alike).filter(|alike| alike.len() > 1) else { return };
        alike.sort_by_cached_key(|one| {
            let measured = measured(&one.candidate.id);
            let health =
                (Reverse(measured.success_permille.unwrap_or(1_000)), measured.latency_ms.unwrap_or(0));
            (!one.same_session, health)
        });
    }
}

/// A live model as a candidate.
pub fn candidate(model: &Arc<Model>) -> Candidate {
    Candidate {
        provider: model.provider,
        id: model.id.clone(),
        name: model.name.clone(),
        upstream: model.upstream.clone(),
        model: Some(model.clone()),
        byok_only: false,
    }
}
