//! Hosts that are paused because their last calls on the platform key all failed. A paused host moves to the end of an
//! order and is never removed from it. After the pause one real request at a time tries it again. The state is of this
//! process. Calls on a customer's own key do not count, and calls of a single organization pause a host only for that
//! organization.

use crate::domain::ids::OrgId;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Consecutive failures that pause a host.
const FAILURES: usize = 5;
/// The first pause; each further one is twice as long.
const PAUSE_FIRST_MS: i64 = 5_000;
const PAUSE_MAX_MS: i64 = 60_000;
/// How long a try may take before another request tries.
const TRY_MS: i64 = 10_000;
/// Maximum hosts that are recorded. The catalogue has fewer.
const HOSTS_MAX: usize = 2_048;

#[derive(Default)]
struct State {
    /// The organizations of the last calls, which all failed; the newest last.
    failures: Vec<OrgId>,
    /// How often it was paused since its last answer.
    pauses: u32,
    until_ms: i64,
    trying_until_ms: i64,
}

/// The hosts whose last calls failed, by the model's id with its provider.
#[derive(Default)]
pub struct Breakers {
    hosts: Mutex<HashMap<Arc<str>, State>>,
    /// Their number, so that the usual case takes no lock.
    count: AtomicUsize,
}

impl Breakers {
    /// A call on the platform key failed; `asked_ms` is the pause that the provider requests.
    pub fn failed(&self, id: &Arc<str>, org: OrgId, now_ms: i64, asked_ms: Option<i64>) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= HOSTS_MAX && !hosts.contains_key(id) {
            return;
        }
        let state = hosts.entry(id.clone()).or_default();
        if state.failures.len() >= FAILURES {
            state.failures.remove(0);
        }
        state.failures.push(org);
        state.trying_until_ms = 0;
        if state.failures.len() >= FAILURES {
            let doubled = PAUSE_FIRST_MS.checked_shl(state.pauses).unwrap_or(PAUSE_MAX_MS);
            let pause = doubled.min(PAUSE_MAX_MS).max(asked_ms.unwrap_or(0)).min(PAUSE_MAX_MS);
            state.pauses = (state.pauses + 1).min(16);
            state.until_ms = now_ms.saturating_add(pause);
        }
        self.count.store(hosts.len(), Ordering::Relaxed);
    }

    /// A call was answered.
    pub fn answered(&self, id: &str) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.remove(id);
        self.count.store(hosts.len(), Ordering::Relaxed);
    }

    /// Whether a host is paused for this organization now. This call changes nothing, because plans are also made
    /// without a provider call.
    pub fn is_set_aside(&self, id: &str, org: OrgId, now_ms: i64) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = hosts.get(id).filter(|state| state.failures.len() >= FAILURES) else {
            return false;
        };
        let by_one_alone = state.failures.iter().all(|other| Some(other) == state.failures.first());
        let concerns_it = !by_one_alone || state.failures.first() == Some(&org);
        concerns_it && now_ms < state.until_ms.max(state.trying_until_ms)
    }

    /// A call on the platform key begins. When the pause of a host is over, the first call is the try: until it ends,
    /// or for a limited time, the host stays paused for the others.
    pub fn begin_call(&self, id: &str, now_ms: i64) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let state = hosts.get_mut(id).filter(|state| state.failures.len() >= FAILURES);
        if let Some(state) = state.filter(|state| state.until_ms <= now_ms) {
            state.trying_until_ms = now_ms.saturating_add(TRY_MS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn org(number: u128) -> OrgId {
        OrgId(Uuid::from_u128(number))
    }

    fn fail(breakers: &Breakers, orgs: &[u128], now_ms: i64) {
        let id = Arc::from("openai/m");
        orgs.iter().for_each(|number| breakers.failed(&id, org(*number), now_ms, None));
    }

    #[test]
    fn five_failures_in_a_row_set_a_host_aside_and_one_request_tries_it_again() {
        let breakers = Breakers::default();
        fail(&breakers, &[1, 2, 1, 2], 0);
        assert!(!breakers.is_set_aside("openai/m", org(3), 1));
        fail(&breakers, &[1], 0);
        assert!(breakers.is_set_aside("openai/m", org(3), 4_999));
        assert!(!breakers.is_set_aside("openai/m", org(3), 5_000), "the pause is over");
        assert!(!breakers.is_set_aside("openai/m", org(3), 5_000), "asking is no try");
        breakers.begin_call("openai/m", 5_000);
        assert!(breakers.is_set_aside("openai/m", org(3), 5_001), "one at a time");
        fail(&breakers, &[3], 6_000);
        assert!(breakers.is_set_aside("openai/m", org(3), 15_999), "twice as long");
        assert!(!breakers.is_set_aside("openai/m", org(3), 16_000));
        breakers.answered("openai/m");
        assert!(!breakers.is_set_aside("openai/m", org(3), 16_001));
        assert!(!breakers.is_set_aside("groq/m", org(3), 0));
    }

    #[test]
    fn an_answer_in_between_begins_the_count_anew() {
        let breakers = Breakers::default();
        for _ in 0..10 {
            fail(&breakers, &[1, 2, 3, 4], 0);
            breakers.answered("openai/m");
        }
        assert!(!breakers.is_set_aside("openai/m", org(1), 1));
    }

    #[test]
    fn one_organization_sets_a_host_aside_for_itself_alone() {
        let breakers = Breakers::default();
        fail(&breakers, &[7; 50], 0);
        assert!(breakers.is_set_aside("openai/m", org(7), 1));
        assert!(!breakers.is_set_aside("openai/m", org(1), 1));
    }

    #[test]
    fn what_the_provider_asks_for_is_waited_for_within_bounds() {
        let (breakers, id) = (Breakers::default(), Arc::from("openai/m"));
        (0..5).for_each(|number| breakers.failed(&id, org(number), 0, Some(30_000)));
        assert!(breakers.is_set_aside("openai/m", org(9), 29_999));
        assert!(!breakers.is_set_aside("openai/m", org(9), 30_000));
        (0..5).for_each(|number| breakers.failed(&id, org(number), 0, Some(i64::MAX)));
        assert!(!breakers.is_set_aside("openai/m", org(9), 60_000), "never for longer than a minute");
    }
}
