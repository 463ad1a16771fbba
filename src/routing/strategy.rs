//! Orders the hosts of one model by catalogue price and by measurements. Pure: the same figures give the same order. An
//! unknown figure (no price or too few samples) gets the middle rank.

use super::host_stats::HostStats;
use crate::domain::money::NanoUsd;

/// The preference of a request among hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strategy {
    Cheap,
    /// The shortest time to a whole answer: by tokens a second, including the wait for the first one; if no host counts
    /// tokens, by the first byte.
    Fast,
    /// The shortest time to the first byte of content.
    Latency,
    /// The most tokens a second.
    Throughput,
    /// The fewest failures.
    Reliable,
    /// The sum of the ranks by price, `fast` and `reliable`.
    Balanced,
}

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

    /// Sorts hosts, best first. Equal ones keep their order by price.
    pub fn sort<T>(self, hosts: &mut Vec<T>, facts: impl Fn(&T) -> (Option<NanoUsd>, HostStats)) {
        let mut rows: Vec<(Row, T)> = hosts.drain(..).map(|host| (Row::of(facts(&host)), host)).collect();
        rows.sort_by_key(|(row, _)| row.price.unwrap_or(u64::MAX));
        let places = self.places(&rows.iter().map(|(row, _)| *row).collect::<Vec<_>>());
        let mut placed: Vec<(u64, T)> =
            places.into_iter().zip(rows).map(|(place, (_, host))| (place, host)).collect();
        placed.sort_by_key(|(place, _)| *place);
        hosts.extend(placed.into_iter().map(|(_, host)| host));
    }

    /// The rank of each row; a lower value is better.
    fn places(self, rows: &[Row]) -> Vec<u64> {
        let by = |figure: fn(&Row) -> Option<u64>| ranks(&rows.iter().map(figure).collect::<Vec<_>>());
        match self {
            Self::Cheap => by(|row| row.price),
            Self::Fast => speeds(rows),
            Self::Latency => by(Row::latency),
            Self::Throughput => by(Row::slowness),
            Self::Reliable => by(Row::failures),
            Self::Balanced => {
                let sums = by(|row| row.price).into_iter().zip(speeds(rows)).zip(by(Row::failures));
                sums.map(|((price, speed), failures)| price + speed + failures).collect()
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Row {
    price: Option<u64>,
    measured: HostStats,
}

impl Row {
    fn of((price, measured): (Option<NanoUsd>, HostStats)) -> Self {
        Self { price: price.and_then(|price| u64::try_from(price.0).ok()), measured }
    }

    fn latency(&self) -> Option<u64> {
        self.measured.latency_ms
    }

    fn slowness(&self) -> Option<u64> {
        self.measured.tokens_per_second.map(|speed| u64::MAX - speed)
    }

    fn failures(&self) -> Option<u64> {
        self.measured.success_permille.map(|permille| 1_000_u64.saturating_sub(permille))
    }
}

/// The ranks by the time to a whole answer. Tokens a second are not compared with a latency: the first byte of one host
/// comes before the whole answer of another, whichever is faster.
fn speeds(rows: &[Row]) -> Vec<u64> {
    let writes = rows.iter().any(|row| row.slowness().is_some());
    let figure = if writes { Row::slowness } else { Row::latency };
    ranks(&rows.iter().map(figure).collect::<Vec<_>>())
}

/// Twice the number of better known figures, plus one for each equal one; an unknown figure has as many above it as
/// below.
fn ranks(figures: &[Option<u64>]) -> Vec<u64> {
    let known: Vec<u64> = figures.iter().flatten().copied().collect();
    let count = |request: &dyn Fn(u64) -> bool| {
        u64::try_from(known.iter().filter(|figure| request(**figure)).count()).unwrap_or(u64::MAX)
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

    fn order(strategy: Strategy, hosts: &[(&'static str, i64, HostStats)]) -> Vec<&'static str> {
        let mut hosts = hosts.to_vec();
        strategy
            .sort(&mut hosts, |(_, price, measured)| ((*price >= 0).then_some(NanoUsd(*price)), *measured));
        hosts.into_iter().map(|(name, ..)| name).collect()
    }

    fn measured(latency_ms: u64, tokens_per_second: u64, success_permille: u64) -> HostStats {
        HostStats {
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
            ("new", 30, HostStats::default()),
            ("slow", 10, measured(900, 10, 100)),
            ("quick", 20, measured(100, 900, 1_000)),
        ];
        for strategy in [Strategy::Latency, Strategy::Throughput, Strategy::Fast, Strategy::Reliable] {
            assert_eq!(order(strategy, &hosts), ["quick", "new", "slow"], "{strategy:?}");
        }
        let unpriced = [("unpriced", -1, HostStats::default()), ("b", 2, HostStats::default())];
        assert_eq!(order(Strategy::Cheap, &unpriced), ["b", "unpriced"]);
    }

    #[test]
    fn where_nothing_is_written_in_tokens_the_first_byte_tells_who_is_fast() {
        let embeds = |latency_ms| HostStats { latency_ms: Some(latency_ms), ..HostStats::default() };
        let hosts =
            [("slow", 10, embeds(900)), ("quick", 30, embeds(100)), ("new", 20, HostStats::default())];
        assert_eq!(order(Strategy::Fast, &hosts), ["quick", "new", "slow"]);
        assert_eq!(order(Strategy::Throughput, &hosts), ["slow", "new", "quick"], "by price");
        // The speed of the expensive host weighs as much as its price.
        let pair = [("slow", 10, embeds(900)), ("quick", 20, embeds(100))];
        assert_eq!(order(Strategy::Balanced, &pair), ["slow", "quick"]);
        let reliable = HostStats { success_permille: Some(900), ..embeds(100) };
        let failing = HostStats { success_permille: Some(800), ..embeds(900) };
        let pair = [("slow", 10, failing), ("quick", 20, reliable)];
        assert_eq!(order(Strategy::Balanced, &pair), ["quick", "slow"]);
        // Among hosts that count tokens, a host of unknown speed does not win by its first byte.
        let hosts = [("begun", 10, embeds(1)), ("written", 20, measured(300, 50, 1_000))];
        assert_eq!(order(Strategy::Fast, &hosts), ["begun", "written"], "neither is known to be faster");
        let hosts = [("begun", 20, embeds(1)), ("written", 10, measured(300, 50, 1_000))];
        assert_eq!(order(Strategy::Fast, &hosts), ["written", "begun"]);
    }

    #[test]
    fn with_nothing_measured_price_decides() {
        let hosts = [("b", 2, HostStats::default()), ("a", 1, HostStats::default())];
        for strategy in Strategy::ALL {
            assert_eq!(order(strategy, &hosts), ["a", "b"], "{strategy:?}");
            assert_eq!(Strategy::by_name(strategy.as_str()), Some(strategy));
        }
        assert_eq!(Strategy::by_name("openai"), None);
    }
}
