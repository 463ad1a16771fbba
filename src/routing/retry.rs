//! Retries: how long to wait, and a budget over all requests that limits the load on a failing provider.

use crate::domain::{ambient::Ambient, ids::OrgId};
use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// Longest wait before a retry; if a provider requests more, there is no retry.
pub const WAIT_MAX: Duration = Duration::from_secs(4);
const WAIT_FIRST_MS: u64 = 400;
const JITTER_MS: u64 = 200;

/// The wait before retry number `retry` (from 0): 400 ms doubling to 4 s, plus a random time of up to 200 ms, or the
/// time that the provider requests. `None`: that time is longer than a client should wait.
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

/// At most a fifth of the requests, plus ten a second, may be retried: in a total outage the load on the providers
/// stays near its usual level. Counted in thousandths of a retry.
pub struct RetryBudget {
    milli: AtomicI64,
    refilled_ms: AtomicI64,
    shares: Mutex<Shares>,
}

/// The retries that organizations have taken in the current second.
#[derive(Default)]
struct Shares {
    second: i64,
    tries: HashMap<OrgId, i64>,
}

const MILLI_PER_REQUEST: i64 = 200;
const MILLI_PER_SECOND: i64 = 10_000;
const MILLI_PER_TRY: i64 = 1_000;
/// The maximum that can be saved: ten seconds' worth.
const MILLI_MAX: i64 = 10 * MILLI_PER_SECOND;
/// Organizations that may take retries in one second.
const SHARES_MAX: usize = 1_024;

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            milli: AtomicI64::new(MILLI_PER_SECOND),
            refilled_ms: AtomicI64::new(0),
            shares: Mutex::default(),
        }
    }
}

impl RetryBudget {
    /// Counts a request.
    pub fn deposit(&self) {
        if self.milli.load(Ordering::Relaxed) < MILLI_MAX {
            self.milli.fetch_add(MILLI_PER_REQUEST, Ordering::Relaxed);
        }
    }

    /// Takes one retry, if one is available. `now_ms` never decreases.
    pub fn try_acquire(&self, now_ms: i64) -> bool {
        self.refill(now_ms);
        self.take_one()
    }

    /// Takes one retry for an organization, which may take as many within a second as it leaves for the others. An
    /// organization whose calls all fail gets half of the available retries, and the first retry of another
    /// organization finds the other half.
    pub fn try_acquire_for(&self, organization: OrgId, now_ms: i64) -> bool {
        self.refill(now_ms);
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now_ms.div_euclid(1_000);
        if shares.second != second {
            shares.second = second;
            shares.tries.clear();
        }
        let taken = shares.tries.get(&organization).copied();
        // If so many organizations fail at once, it is an outage: more retries do not help.
        let has_room = taken.is_some() || shares.tries.len() < SHARES_MAX;
        let left = self.milli.load(Ordering::Relaxed) / MILLI_PER_TRY;
        let may = has_room && taken.unwrap_or(0) < left && self.take_one();
        if may {
            *shares.tries.entry(organization).or_default() += 1;
        }
        may
    }

    fn refill(&self, now_ms: i64) {
        let last = self.refilled_ms.load(Ordering::Relaxed);
        let elapsed = (now_ms - last).clamp(0, 1_000);
        if elapsed > 0
            && self.refilled_ms.compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let refill = elapsed * MILLI_PER_SECOND / 1_000;
            let room = (MILLI_MAX - self.milli.load(Ordering::Relaxed)).max(0);
            self.milli.fetch_add(refill.min(room), Ordering::Relaxed);
        }
    }

    fn take_one(&self) -> bool {
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
            budget.deposit();
            while budget.try_acquire(1_000_000 + request) {
                tries += 1;
            }
        }
        // Ten seconds of a thousand requests each.
        assert!((2_000..=2_000 + 120).contains(&tries), "{tries}");
    }

    fn organization(number: u128) -> OrgId {
        OrgId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn whoever_fails_all_the_time_leaves_the_others_as_much_as_it_takes() {
        let budget = RetryBudget::default();
        let (greedy, other) = (organization(1), organization(2));
        for second in 1_000..1_030_i64 {
            let mut taken = 0;
            for ms in 0..1_000 {
                while budget.try_acquire_for(greedy, second * 1_000 + ms) {
                    taken += 1;
                }
            }
            assert!((5..=15).contains(&taken), "{second}: {taken}");
            let now = second * 1_000 + 999;
            let others = (0..).take_while(|_| budget.try_acquire_for(other, now)).count();
            assert!(others >= 2, "{second}: {others}");
            assert!(budget.try_acquire_for(organization(3), now), "{second}: somebody new finds some, too");
        }
    }

    #[test]
    fn all_together_take_no_more_than_there_is_and_the_table_is_bounded() {
        let budget = RetryBudget::default();
        (0..2 * SHARES_MAX).for_each(|_| budget.deposit());
        let now = 5_000_000;
        let tries = (0..5_000).filter(|number| budget.try_acquire_for(organization(*number), now)).count();
        assert_eq!(tries, 100, "what was saved up");
        let tries =
            (0..5_000).filter(|number| budget.try_acquire_for(organization(*number), now + 999)).count();
        assert_eq!(tries, 9);
        budget.milli.store(i64::MAX, Ordering::Relaxed);
        let tries =
            (0..5_000).filter(|number| budget.try_acquire_for(organization(*number), now + 999)).count();
        assert!((1_024 - 109..=1_024).contains(&tries), "{tries}");
        assert_eq!(budget.shares.lock().unwrap().tries.len(), SHARES_MAX);
        assert!(budget.try_acquire_for(organization(9), now + 1_000), "the next second begins anew");
        assert_eq!(budget.shares.lock().unwrap().tries.len(), 1);
    }
}
