//! How much a prompt gains from a strong model: small regression trees over the shape, and a ridge regression over
//! words. Expressed as the share of the training prompts that gain less.

use super::{
    category::root,
    features::Features,
    model::{Model, Tree},
    shape,
};

/// Shape numbers in an explanation.
pub const EXPLAINED: usize = 3;

/// The effect of one shape number on a difficulty.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Influence {
    /// The position of the number in [`shape::Shape`].
    pub feature: u16,
    pub weight: f32,
}

/// The difficulty from 0 to 1, and the numbers with the largest effect.
pub fn difficulty(model: &Model, features: &Features, word_sum: i32) -> (f64, [Influence; EXPLAINED]) {
    let mut moved = [0.0_f32; shape::LEN];
    let trees: f64 = model.trees.iter().map(|tree| f64::from(walk(tree, features, &mut moved))).sum();
    let ridge = f64::from(word_sum) * f64::from(model.ridge_scale) / root(features.words.len());
    (percentile(&model.knots, trees + ridge), strongest(&moved))
}

fn walk(tree: &Tree, features: &Features, moved: &mut [f32; shape::LEN]) -> f32 {
    let mut at = 0;
    let mut last = None;
    loop {
        let Some(split) = tree.splits.get(at) else { return tree.leaves.first().copied().unwrap_or(0.0) };
        let feature = usize::from(split.feature);
        let number = features.shape.get(feature).copied().unwrap_or(0);
        let mut credit = |from: Option<(usize, f32)>, to: f32| {
            if let Some((feature, value)) = from
                && let Some(sum) = moved.get_mut(feature)
            {
                *sum += to - value;
            }
        };
        credit(last, split.value);
        last = Some((feature, split.value));
        let child = if number <= split.threshold { split.left } else { split.right };
        match usize::try_from(child) {
            Ok(next) => at = next,
            Err(_) => {
                let leaf = usize::from(child.unsigned_abs()) - 1;
                let value = tree.leaves.get(leaf).copied().unwrap_or(0.0);
                credit(last, value);
                return value;
            }
        }
    }
}

fn strongest(moved: &[f32; shape::LEN]) -> [Influence; EXPLAINED] {
    let mut best = [Influence::default(); EXPLAINED];
    for (feature, weight) in (0_u16..).zip(moved.iter().copied()) {
        let mut next = Influence { feature, weight };
        for place in &mut best {
            if next.weight.abs() > place.weight.abs() {
                std::mem::swap(place, &mut next);
            }
        }
    }
    best
}

/// The position of a raw value between the knots. Beyond them it approaches 0 and 1 without reaching them, so that the
/// order is kept.
fn percentile(knots: &[f32], raw: f64) -> f64 {
    let (Some(&first), Some(&last)) = (knots.first(), knots.last()) else { return 0.5 };
    let (first, last) = (f64::from(first), f64::from(last));
    let span = (last - first).max(1e-6);
    let step = 1.0 / f64::from(u32::try_from(knots.len() + 1).unwrap_or(u32::MAX));
    if raw < first {
        return step / (1.0 + (first - raw) / span * 10.0);
    }
    if raw > last {
        return 1.0 - step / (1.0 + (raw - last) / span * 10.0);
    }
    let below = knots.partition_point(|knot| f64::from(*knot) <= raw).clamp(1, knots.len() - 1);
    let edge = |at: usize| knots.get(at).map_or(last, |knot| f64::from(*knot));
    let (low, high) = (edge(below - 1), edge(below));
    let part = ((raw - low) / (high - low).max(1e-9)).clamp(0.0, 1.0);
    step * (1.0 + f64::from(u32::try_from(below - 1).unwrap_or(0)) + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_keeps_the_order_and_stays_within_bounds() {
        let knots: Vec<f32> = (0..=100_u8).map(|step| f32::from(step) / 50.0).collect();
        let mut last = 0.0;
        for step in -300..600_i32 {
            let value = percentile(&knots, f64::from(step) / 100.0 + 0.003);
            assert!(value > last && value < 1.0, "{step}: {value} after {last}");
            last = value;
        }
    }
}
