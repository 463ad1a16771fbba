//! The generic cell rate algorithm: a burst at once, then one attempt per interval. Its whole state is one time, the
//! theoretical arrival time, so one database row holds it and several processes share it.

/// A rate: `burst` attempts at once, then one per `interval_ms`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gcra {
    pub burst: i64,
    pub interval_ms: i64,
}

/// The result of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// The state to store, whether or not the attempt is allowed.
    pub arrival_ms: i64,
    /// Milliseconds until an attempt is allowed; 0: this one is.
    pub wait_ms: i64,
}

impl Gcra {
    /// Counts an attempt at `now_ms`.
    pub fn attempt(self, arrival_ms: i64, now_ms: i64) -> Attempt {
        let tolerance = self.interval_ms.saturating_mul(self.burst);
        // A clock that was set back must not block it for longer than it takes to fill.
        let begins = arrival_ms.clamp(now_ms, now_ms.saturating_add(tolerance));
        let next = begins.saturating_add(self.interval_ms);
        let wait = next.saturating_sub(now_ms).saturating_sub(tolerance);
        match wait > 0 {
            true => Attempt { arrival_ms: begins, wait_ms: wait },
            false => Attempt { arrival_ms: next, wait_ms: 0 },
        }
    }

    /// The state after one attempt is returned.
    pub fn refund(self, arrival_ms: i64) -> i64 {
        arrival_ms.saturating_sub(self.interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A bucket of `burst × interval` units that loses one unit in each millisecond.
    struct Bucket {
        level: i64,
        at_ms: i64,
    }

    impl Bucket {
        fn attempt(&mut self, rate: Gcra, now_ms: i64) -> bool {
            self.level = (self.level - (now_ms - self.at_ms)).max(0);
            self.at_ms = now_ms;
            let fits = self.level + rate.interval_ms <= rate.burst * rate.interval_ms;
            if fits {
                self.level += rate.interval_ms;
            }
            fits
        }
    }

    proptest! {
        #[test]
        fn it_admits_exactly_what_a_leaky_bucket_admits(
            burst in 1i64..20, interval_ms in 1i64..2_000, steps in prop::collection::vec(0i64..3_000, 1..200),
        ) {
            let rate = Gcra { burst, interval_ms };
            let (mut arrival, mut now) = (0, 0);
            let mut bucket = Bucket { level: 0, at_ms: 0 };
            for step in steps {
                now += step;
                let attempt = rate.attempt(arrival, now);
                arrival = attempt.arrival_ms;
                let wait = attempt.wait_ms;
                if wait > 0 {
                    prop_assert_eq!(rate.attempt(arrival, now + wait).wait_ms, 0, "the stated wait is enough");
                    prop_assert!(rate.attempt(arrival, now + wait - 1).wait_ms > 0, "and not too long");
                }
                prop_assert_eq!(wait == 0, bucket.attempt(rate, now));
            }
        }
    }

    #[test]
    fn a_clock_that_was_set_back_closes_nothing_for_good() {
        let rate = Gcra { burst: 2, interval_ms: 1_000 };
        let refused = rate.attempt(9_000_000, 0);
        assert_eq!(refused.wait_ms, 1_000);
        assert_eq!(rate.attempt(refused.arrival_ms, 1_000).wait_ms, 0);
        assert_eq!(rate.refund(5_000), 4_000);
    }
}
