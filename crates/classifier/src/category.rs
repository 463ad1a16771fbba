//! The category of a prompt: multinomial logistic regression on words, their positions, shape and layout. The sums are
//! integers, and the exponential function is our own, so the same text gives the same bits on every machine.

use super::{
    features::Features,
    model::{BITS, COLUMNS, Model, Table, Weights},
};

/// Categories that the model distinguishes; the last one, [`Category::Agent`], follows from the request.
pub const LEARNED: usize = 7;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Category {
    Code,
    Reasoning,
    Analysis,
    Extraction,
    Summarization,
    Creative,
    Chat,
    /// The request has tools.
    Agent,
}

impl Category {
    pub const ALL: [Category; 8] = [
        Self::Code,
        Self::Reasoning,
        Self::Analysis,
        Self::Extraction,
        Self::Summarization,
        Self::Creative,
        Self::Chat,
        Self::Agent,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Reasoning => "reasoning",
            Self::Analysis => "analysis",
            Self::Extraction => "extraction",
            Self::Summarization => "summarization",
            Self::Creative => "creative",
            Self::Chat => "chat",
            Self::Agent => "agent",
        }
    }

    pub fn by_name(name: &str) -> Option<Category> {
        Self::ALL.into_iter().find(|category| category.as_str() == name)
    }

    /// Its position in [`Category::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A set of categories. Never empty if the classifier made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CategorySet(u8);

impl CategorySet {
    pub fn only(category: Category) -> Self {
        Self(1 << category.index())
    }

    #[must_use]
    pub fn with(self, category: Category) -> Self {
        Self(self.0 | 1 << category.index())
    }

    pub fn has(self, category: Category) -> bool {
        self.0 >> category.index() & 1 == 1
    }

    pub fn iter(self) -> impl Iterator<Item = Category> {
        Category::ALL.into_iter().filter(move |category| self.has(*category))
    }
}

/// The probability of each learned category, and the sum of the difficulty weights of the words.
pub fn probabilities(model: &Model, features: &Features) -> ([f64; LEARNED], i32) {
    let words = sums(&model.words, &features.words);
    let hashed = [
        (words, &model.words, features.words.len()),
        (sums(&model.vocabulary, &features.vocabulary), &model.vocabulary, features.vocabulary.len()),
        (sums(&model.edges, &features.edges), &model.edges, features.edges.len()),
        (sums(&model.starts, &features.starts), &model.starts, features.starts.len()),
    ];
    let numbers = [
        (by_bit_length(&model.shape, &features.shape), &model.shape),
        (by_bit_length(&model.layout, &features.layout), &model.layout),
    ];
    let mut scores = model.bias.map(f64::from);
    let scaled = hashed.into_iter().map(|(sums, table, count)| (sums, f64::from(table.scale) / root(count)));
    let scaled = scaled.chain(numbers.into_iter().map(|(sums, table)| (sums, f64::from(table.scale))));
    for (sums, scale) in scaled {
        for (score, sum) in scores.iter_mut().zip(sums) {
            *score += f64::from(sum) * scale;
        }
    }
    let scores = scores.map(|score| score / f64::from(model.temperature));
    (softmax(scores), words.last().copied().unwrap_or(0))
}

/// The sum of the weights of numbers, each of which is taken by its bit length.
fn by_bit_length(table: &Table, numbers: &[i32]) -> [i32; COLUMNS] {
    let mut sums = [0_i32; COLUMNS];
    for (number, weights) in numbers.iter().zip(table.rows.chunks_exact(BITS)) {
        let bits = (i32::BITS - number.max(&0).leading_zeros()) as usize;
        if let Some(weights) = weights.get(bits.min(BITS - 1)) {
            add(&mut sums, weights);
        }
    }
    sums
}

/// The square root of a count, at least of one.
pub fn root(count: usize) -> f64 {
    f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX)).sqrt()
}

fn sums(table: &Table, buckets: &[u16]) -> [i32; COLUMNS] {
    let mut sums = [0_i32; COLUMNS];
    for bucket in buckets {
        if let Some(weights) = table.rows.get(usize::from(*bucket)) {
            add(&mut sums, weights);
        }
    }
    sums
}

fn add(sums: &mut [i32; COLUMNS], weights: &Weights) {
    for (sum, weight) in sums.iter_mut().zip(weights) {
        *sum += i32::from(*weight);
    }
}

fn softmax(mut scores: [f64; LEARNED]) -> [f64; LEARNED] {
    let most = scores.iter().copied().fold(f64::MIN, f64::max);
    scores.iter_mut().for_each(|score| *score = exp(*score - most));
    let total: f64 = scores.iter().sum();
    scores.map(|score| score / total)
}

/// `e^x` for `x <= 0` by halving and a series: a few operations that are exact by IEEE 754, unlike a library's.
fn exp(x: f64) -> f64 {
    let x = x.max(-60.0) / 256.0;
    let series = 1.0 + x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0))));
    (0..8).fold(series, |power, _| power * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_close_to_the_librarys() {
        for step in 0..600 {
            let x = -f64::from(step) / 10.0;
            assert!((exp(x) - x.exp()).abs() <= 1e-4 * x.exp(), "{x}");
        }
    }

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let set = CategorySet::only(Category::Code).with(Category::Chat);
        assert_eq!(set.iter().collect::<Vec<_>>(), [Category::Code, Category::Chat]);
        assert!(
            Category::ALL.into_iter().all(|category| Category::by_name(category.as_str()) == Some(category))
        );
    }
}
