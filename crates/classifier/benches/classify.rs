//! How long a judgement takes: `cargo bench -p kairosroute-classifier`. Prints the median of many runs by text size;
//! the goals are 60 µs at 4,000 characters and 120 µs at any size.

use kairosroute_classifier::{Context, classify};
use std::{hint::black_box, time::Instant};

const RUNS: usize = 2_001;

fn main() {
    let words = "Explain how the following function computes 42 primes, and why it is slow: for x in 1..n { f(x); }\n";
    for size in [100, 1_000, 4_000, 100_000] {
        let text: String = words.chars().cycle().take(size).collect();
        let mut nanos: Vec<u128> = (0..RUNS)
            .map(|_| {
                let begun = Instant::now();
                black_box(classify(black_box(&text), Context::default()));
                begun.elapsed().as_nanos()
            })
            .collect();
        nanos.sort_unstable();
        let at = |percent: usize| nanos.get(RUNS * percent / 100).copied().unwrap_or(0);
        println!("{size:>7} characters: median {:>7} ns, 5th percentile {:>7} ns", at(50), at(5));
    }
}
