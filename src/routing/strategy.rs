//! Orderings of the hosts of one model, by catalogue price and by what was measured. Pure: the same figures give the
//! same order. What is not known, for want of a price or of samples, stands in the middle.

use super::measured::Measured;
use crate::domain::money::NanoUsd;

/// What a request prefers among hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strategy {
    Cheap,
    /// The whole of an ordinary answer soonest.
    Fast,
    /// The first byte soonest.
    Latency,
    /// The most tokens a second.
    Throughput,
    Reliable,
    /// Price, speed and reliability alike.
    Balanced,
}

/// Tokens of an ordinary answer.
const ANSWER_TOKENS: u64 = 500;

impl Strategy {
    pub const ALL: [Strategy; 6] =
        [Self::Cheap, Self::Fast, Self::Latency, Self::Throughput, Self::Reliable, Self::Balanced];

    pub fn by_name(name: &str) -> Option<Strategy> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str().eq_ignore_ascii_case(name))
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cheap => "cheap",
            Self::Fast => "fast",
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Reliable => "reliable",
            Self::Balanced => "balanced",
        }
    }

    /// Sorts hosts, best first. Equal ones stay in order of price.
    pub fn sort<T>(self, hosts: &mut Vec<T>, facts: impl Fn(&T) -> (Option<NanoUsd>, Measured)) {
        let mut rows: Vec<(Row, T)> = hosts.drain(..).map(|host| (Row::of(facts(&host)), host)).collect();
        rows.sort_by_key(|(row, _)| row.price.unwrap_or(u64::MAX));
        let places = self.places(&rows.iter().map(|(row, _)| *row).collect::<Vec<_>>());
        let mut placed: Vec<(u64, T)> =
            places.into_iter().zip(rows).map(|(place, (_, host))| (place, host)).collect();
        placed.sort_by_key(|(place, _)| *place);
        hosts.extend(placed.into_iter().map(|(_, host)| host));
    }

    /// The place of each row, lower first.
    fn places(self, rows: &[Row]) -> Vec<u64> {
        let by = |figure: fn(&Row) -> Option<u64>| ranks(&rows.iter().map(figure).collect::<Vec<_>>());
        match self {
            Self::Cheap => by(|row| row.price),
            Self::Fast => by(Row::answer_ms),
            Self::Latency => by(|row| row.measured.latency_ms),
            Self::Throughput => by(Row::slowness),
            Self::Reliable => by(Row::failures),
            Self::Balanced => {
                let sums = by(|row| row.price).into_iter().zip(by(Row::answer_ms)).zip(by(Row::failures));
                sums.map(|((price, speed), failures)| price + speed + failures).collect()
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Row {
    price: Option<u64>,
    measured: Measured,
}

impl Row {
    fn of((price, measured): (Option<NanoUsd>, Measured)) -> Self {
        Self { price: price.and_then(|price| u64::try_from(price.0).ok()), measured }
    }

    fn answer_ms(&self) -> Option<u64> {
        let speed = self.measured.tokens_per_second?.max(1);
        Some(self.measured.latency_ms?.saturating_add(ANSWER_TOKENS * 1_000 / speed))
    }

    fn slowness(&self) -> Option<u64> {
        self.measured.tokens_per_second.map(|speed| u64::MAX - speed)
    }

    fn failures(&self) -> Option<u64> {
        self.measured.success_permille.map(|permille| 1_000_u64.saturating_sub(permille))
    }
}

/// Twice the number of known figures that are better, and once for each that is equal; an unknown one has as many
/// above it as below.
fn ranks(figures: &[Option<u64>]) -> Vec<u64> {
    let known: Vec<u64> = figures.iter().flatten().copied().collect();
    let count = |wanted: &dyn Fn(u64) -> bool| {
        u64::try_from(known.iter().filter(|figure| wanted(**figure)).count()).unwrap_or(u64::MAX)
    };
    let all = count(&|_| true);
    figures
        .iter()
        .map(|figure| match figure {
            Some(own) => 2 * count(&|other| other < *own) + count(&|other| other == *own),
            None => all,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(strategy: Strategy, hosts: &[(&'static str, i64, Measured)]) -> Vec<&'static str> {
        let mut hosts = hosts.to_vec();
        strategy
            .sort(&mut hosts, |(_, price, measured)| ((*price >= 0).then_some(NanoUsd(*price)), *measured));
        hosts.into_iter().map(|(name, ..)| name).collect()
    }

    fn measured(latency_ms: u64, tokens_per_second: u64, success_permille: u64) -> Measured {
        Measured {
            latency_ms: Some(latency_ms),
            tokens_per_second: Some(tokens_per_second),
            success_permille: Some(success_permille),
        }
    }

    #[test]
    fn each_strategy_has_its_own_order() {
        let hosts = [
            ("dear", 30, measured(100, 50, 1_000)),
            ("cheap", 10, measured(900, 40, 700)),
            ("quick", 20, measured(400, 500, 900)),
        ];
        for (strategy, expected) in [
            (Strategy::Cheap, ["cheap", "quick", "dear"]),
            (Strategy::Latency, ["dear", "quick", "cheap"]),
            (Strategy::Throughput, ["quick", "dear", "cheap"]),
            // 100 + 10,000 ms, 900 + 12,500 ms, 400 + 1,000 ms.
            (Strategy::Fast, ["quick", "dear", "cheap"]),
            (Strategy::Reliable, ["dear", "quick", "cheap"]),
            (Strategy::Balanced, ["quick", "dear", "cheap"]),
        ] {
            assert_eq!(order(strategy, &hosts), expected, "{strategy:?}");
        }
    }

    #[test]
    fn what_is_not_known_stands_in_the_middle() {
        let hosts = [
            ("new", 30, Measured::default()),
            ("slow", 10, measured(900, 10, 100)),
            ("quick", 20, measured(100, 900, 1_000)),
        ];
        for strategy in [Strategy::Latency, Strategy::Throughput, Strategy::Fast, Strategy::Reliable] {
            assert_eq!(order(strategy, &hosts), ["quick", "new", "slow"], "{strategy:?}");
        }
        let unpriced = [("unpriced", -1, Measured::default()), ("b", 2, Measured::default())];
        assert_eq!(order(Strategy::Cheap, &unpriced), ["b", "unpriced"]);
    }

    #[test]
    fn with_nothing_measured_price_decides() {
        let hosts = [("b", 2, Measured::default()), ("a", 1, Measured::default())];
        for strategy in Strategy::ALL {
            assert_eq!(order(strategy, &hosts), ["a", "b"], "{strategy:?}");
            assert_eq!(Strategy::by_name(strategy.as_str()), Some(strategy));
        }
        assert_eq!(Strategy::by_name("openai"), None);
    }
}
