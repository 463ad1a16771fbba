//! Classifies a prompt: its category, and how much it gains from a strong model. Computed locally in microseconds; it
//! makes no calls and stores no text. Pure and deterministic: integer features, a fixed model, no clock.

mod category;
mod difficulty;
mod features;
mod layout;
mod lexicon;
mod model;
mod ngrams;
mod shape;
mod window;

pub use category::{Category, CategorySet};
pub use difficulty::{EXPLAINED, Influence};
pub use features::Features;
pub use model::Model;

use category::LEARNED;

/// Below this confidence the result is a set of categories.
pub const CONFIDENT: f64 = 0.7;
/// The set holds this much of the probability, or [`SET_MAX`] categories.
const SET_MASS: f64 = 0.8;
const SET_MAX: usize = 3;

/// The classification of a prompt.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Classification {
    pub category: Category,
    /// The category, or all likely categories if the confidence is low.
    pub categories: CategorySet,
    /// Probability of `category`, 0 to 1.
    pub confidence: f64,
    /// Share of the training prompts that gain less from a strong model, 0 to 1.
    pub difficulty: f64,
    /// The shape numbers with the largest effect on the difficulty.
    pub top_features: [Influence; EXPLAINED],
    /// Version of the model.
    pub version: u32,
}

/// The facts about the request besides its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Context {
    /// Tools are declared or were called.
    pub has_tools: bool,
}

impl Classification {
    /// The names of the shape numbers with the largest effect on the difficulty.
    pub fn top_feature_names(&self) -> impl Iterator<Item = String> {
        self.top_features
            .into_iter()
            .filter(|one| one.weight != 0.0)
            .map(|one| shape::name(one.feature.into()))
    }
}

/// Classifies the last text of a user.
pub fn classify(text: &str, context: Context) -> Classification {
    let features = Features::of(text);
    match model::built_in() {
        Some(model) => model.classify(&features, context),
        // The tests exclude this case. Then nothing is known, and the result claims nothing.
        None => Classification {
            category: Category::Chat,
            categories: Category::ALL.into_iter().fold(CategorySet::default(), CategorySet::with),
            confidence: 0.0,
            difficulty: 0.5,
            top_features: [Influence::default(); EXPLAINED],
            version: 0,
        },
    }
}

impl Model {
    /// Classifies features.
    pub fn classify(&self, features: &Features, context: Context) -> Classification {
        let (probabilities, word_sum) = category::probabilities(self, features);
        let (difficulty, top_features) = difficulty::difficulty(self, features, word_sum);
        let (category, categories, confidence) = match context.has_tools {
            true => (Category::Agent, CategorySet::only(Category::Agent), 1.0),
            false => decide(probabilities),
        };
        Classification { category, categories, confidence, difficulty, top_features, version: self.version }
    }
}

fn decide(probabilities: [f64; LEARNED]) -> (Category, CategorySet, f64) {
    let mut ranked: Vec<(f64, Category)> = probabilities.into_iter().zip(Category::ALL).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (confidence, first) = ranked.first().copied().unwrap_or((0.0, Category::Chat));
    let mut set = CategorySet::only(first);
    if confidence < CONFIDENT {
        let mut mass = confidence;
        for (probability, category) in ranked.iter().skip(1).take(SET_MAX - 1) {
            if mass >= SET_MASS {
                break;
            }
            set = set.with(*category);
            mass += probability;
        }
    }
    (first, set, confidence)
}
