//! Retries: how long to wait, and a budget over all requests that keeps a broken provider from being hammered.

use crate::domain::ambient::Ambient;
use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

/// Longest wait before a retry; a provider that asks for more is not waited for.
pub const WAIT_MAX: Duration = Duration::from_secs(4);
const WAIT_FIRST_MS: u64 = 400;
const JITTER_MS: u64 = 200;

/// The wait before retry number `retry` (from 0): 400 ms doubling to 4 s, plus up to 200 ms by chance, or what
/// the provider asked for. `None`: it asked for longer than a client should be kept waiting.
pub fn wait(retry: u32, asked: Option<Duration>, ambient: &Ambient) -> Option<Duration> {
    let doubled = WAIT_FIRST_MS.saturating_mul(1_u64.checked_shl(retry).unwrap_or(u64::MAX));
    let own =
        Duration::from_millis(doubled).min(WAIT_MAX) + Duration::from_millis(ambient.below(JITTER_MS + 1));
    match asked {
        Some(asked) if asked > WAIT_MAX => None,
        Some(asked) => Some(asked.max(own)),
        None => Some(own),
    }
}

/// At most a fifth of the requests, plus ten a second, may be tried again: under a total outage the load on the
/// providers stays near what it was. Counts in thousandths of a try.
pub struct RetryBudget {
    milli: AtomicI64,
    refilled_ms: AtomicI64,
}

const MILLI_PER_REQUEST: i64 = 200;
const MILLI_PER_SECOND: i64 = 10_000;
const MILLI_PER_TRY: i64 = 1_000;
/// What can be saved up: ten seconds' worth.
const MILLI_MAX: i64 = 10 * MILLI_PER_SECOND;

impl Default for RetryBudget {
    fn default() -> Self {
        Self { milli: AtomicI64::new(MILLI_PER_SECOND), refilled_ms: AtomicI64::new(0) }
    }
}

impl RetryBudget {
    /// Notes a request.
    pub fn earn(&self) {
        if self.milli.load(Ordering::Relaxed) < MILLI_MAX {
            self.milli.fetch_add(MILLI_PER_REQUEST, Ordering::Relaxed);
        }
    }

    /// Takes one try, if there is one. `now_ms` rises with the clock.
    pub fn take(&self, now_ms: i64) -> bool {
        let last = self.refilled_ms.load(Ordering::Relaxed);
        let elapsed = (now_ms - last).clamp(0, 1_000);
        if elapsed > 0
            && self.refilled_ms.compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let refill = elapsed * MILLI_PER_SECOND / 1_000;
            let room = (MILLI_MAX - self.milli.load(Ordering::Relaxed)).max(0);
            self.milli.fetch_add(refill.min(room), Ordering::Relaxed);
        }
        let taken = self.milli.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left >= MILLI_PER_TRY).then(|| left - MILLI_PER_TRY)
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_cap_and_obey_a_short_request_to_wait() {
        let ambient = Ambient::system();
        for (retry, least) in [(0, 400), (1, 800), (3, 3_200), (4, 4_000), (63, 4_000), (200, 4_000)] {
            let wait = wait(retry, None, &ambient).unwrap().as_millis();
            assert!((least..=least + 200).contains(&wait), "{retry}: {wait}");
        }
        assert_eq!(wait(0, Some(Duration::from_secs(3)), &ambient), Some(Duration::from_secs(3)));
        assert_eq!(wait(0, Some(Duration::from_secs(30)), &ambient), None);
    }

    #[test]
    fn an_outage_costs_at_most_a_fifth_more_calls_plus_ten_a_second() {
        let budget = RetryBudget::default();
        let mut tries = 0;
        for request in 0..10_000_i64 {
            budget.earn();
            while budget.take(1_000_000 + request) {
                tries += 1;
            }
        }
        // Ten seconds of a thousand requests each.
        assert!((2_000..=2_000 + 120).contains(&tries), "{tries}");
    }
}
