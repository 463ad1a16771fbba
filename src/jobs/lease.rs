//! Since when this process's own lease has been live without a gap. Only then may it end what other processes left:
//! after an outage of the database all leases have lapsed although all processes are alive.

use crate::store::instances::Renewal;
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a renewal is valid.
const LEASE: Duration = Duration::from_secs(15);
/// How long a lease must have been live without a gap: other processes that survived an outage have renewed theirs by
/// then.
const LIVE_BEFORE_REAPING: Duration = Duration::from_secs(30);

/// The recorded renewals of the process.
pub struct LeaseWatch(Mutex<Live>);

#[derive(Clone, Copy)]
struct Live {
    since: Instant,
    renewed: Instant,
}

impl LeaseWatch {
    /// The process has just registered.
    pub fn begin(now: Instant) -> Self {
        Self(Mutex::new(Live { since: now, renewed: now }))
    }

    /// A renewal that was sent at `asked` has been recorded.
    pub fn renewed(&self, asked: Instant, renewal: Renewal) {
        let mut live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gap = renewal != Renewal::Renewed || asked >= live.renewed + LEASE;
        let since = if gap { asked } else { live.since };
        *live = Live { since, renewed: asked };
    }

    pub fn is_fit_to_reap(&self, now: Instant) -> bool {
        let live = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now < live.renewed + LEASE && now >= live.since + LIVE_BEFORE_REAPING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lease_without_a_gap_lets_its_process_reap() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let watch = LeaseWatch::begin(start);
        for second in (5..=25).step_by(5) {
            watch.renewed(at(second), Renewal::Renewed);
        }
        assert!(!watch.is_fit_to_reap(at(29)) && watch.is_fit_to_reap(at(30)));
        assert!(!watch.is_fit_to_reap(at(40)), "its last renewal is over");
        // The database was unreachable: the lease lapsed, whether or not the server reports it.
        watch.renewed(at(65), Renewal::Renewed);
        assert!(!watch.is_fit_to_reap(at(66)));
        for second in (70..=90).step_by(5) {
            watch.renewed(at(second), Renewal::Renewed);
        }
        assert!(!watch.is_fit_to_reap(at(94)) && watch.is_fit_to_reap(at(95)));
        watch.renewed(at(96), Renewal::Lapsed);
        assert!(!watch.is_fit_to_reap(at(97)));
    }
}
