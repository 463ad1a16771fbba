//! Whether this process can be sure that its lease in the database is live. Other processes end the holds of a process
//! whose lease has lapsed. Therefore a process that cannot renew stops taking requests before its lease ends.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Time after the last renewal for which requests are admitted; the lease lasts 15 s.
const SURE: Duration = Duration::from_secs(10);

/// The lease as known to this process, by the monotonic clock.
pub struct Lease {
    started: Instant,
    /// Milliseconds from `started` to the beginning of the last renewal that succeeded.
    renewed_ms: AtomicU64,
}

impl Lease {
    /// A lease that was taken at `now`.
    pub fn new(now: Instant) -> Self {
        Self { started: now, renewed_ms: AtomicU64::new(0) }
    }

    /// Records a renewal that was sent at `begun` and has succeeded.
    pub fn renewed_at(&self, begun: Instant) {
        self.renewed_ms.fetch_max(self.millis(begun), Ordering::Relaxed);
    }

    /// Whether new requests may be admitted at `now`.
    pub fn is_sure(&self, now: Instant) -> bool {
        self.age(now) < SURE
    }

    /// Time from the last renewal to `now`.
    pub fn age(&self, now: Instant) -> Duration {
        let age = self.millis(now).saturating_sub(self.renewed_ms.load(Ordering::Relaxed));
        Duration::from_millis(age)
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_stops_before_an_unrenewed_lease_lapses_and_goes_on_after_a_renewal() {
        let start = Instant::now();
        let lease = Lease::new(start);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(lease.is_sure(after(9)));
        assert!(!lease.is_sure(after(10)), "five seconds before it lapses");
        lease.renewed_at(after(12));
        assert!(lease.is_sure(after(21)));
        // A late reply to an earlier renewal carries no new information.
        lease.renewed_at(after(3));
        assert!(lease.is_sure(after(21)));
        assert!(!lease.is_sure(after(22)));
    }
}
