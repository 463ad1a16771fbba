//! Limits how fast requests may be refused: a minute's worth at once, then an even rate. Above the limit the caller
//! gets 429 before its request is read, so that refusals, which cost the caller nothing, cannot fill the disk with
//! receipts. A caller without refusals takes no lock and is not recorded.

use super::throttle::{Network, TooMany};
use crate::{
    config::AccountLimits,
    domain::ids::{ApiKeyId, OrgId},
};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use time::OffsetDateTime;

/// The caller whose refusals are counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Bearer {
    ApiKey(ApiKeyId),
    /// All API keys of one organization together.
    Organization(OrgId),
    /// Requests without a valid credential.
    Network(Network),
}

const SHARDS: usize = 16;
/// Callers that one shard records. Above this number, new ones are not counted until others are removed.
const BEARERS_MAX: usize = 8_192;
const MINUTE_US: i64 = 60_000_000;
/// Refusals of an organization, for each refusal of one of its keys.
const KEYS_PER_ORGANIZATION: u32 = 2;

/// The counts of this process.
pub struct Refusals {
    shards: Vec<Shard>,
    hasher: RandomState,
    per_key: u32,
    per_network: u32,
}

#[derive(Default)]
struct Shard {
    /// The number of recorded callers, read without a lock.
    length: AtomicUsize,
    /// When the bucket of each caller is full again, in microseconds since 1970.
    full_at: Mutex<HashMap<Bearer, i64>>,
}

impl Refusals {
    pub fn new(limits: &AccountLimits) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            per_key: limits.refusals_per_key_minute_max,
            per_network: limits.refusals_per_address_minute_max,
        }
    }

    /// Whether a request of this caller is read.
    pub fn check(&self, bearer: Bearer, now: OffsetDateTime) -> Result<(), TooMany> {
        let Some(shard) = self.shard(&bearer).filter(|shard| shard.length.load(Ordering::Relaxed) > 0) else {
            return Ok(());
        };
        let now = microseconds(now);
        let full_at = shard.full_at.lock().unwrap_or_else(PoisonError::into_inner).get(&bearer).copied();
        let wait = full_at.unwrap_or(now) + self.interval(bearer) - (now + MINUTE_US);
        if wait <= 0 {
            return Ok(());
        }
        let seconds = wait.unsigned_abs().div_ceil(1_000_000);
        Err(TooMany { retry_after_s: u32::try_from(seconds).unwrap_or(u32::MAX) })
    }

    /// Counts a refusal.
    pub fn count(&self, bearer: Bearer, now: OffsetDateTime) {
        let Some(shard) = self.shard(&bearer) else { return };
        let (now, interval) = (microseconds(now), self.interval(bearer));
        let mut buckets = shard.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BEARERS_MAX && !buckets.contains_key(&bearer) {
            buckets.retain(|_, full_at| *full_at > now);
            if buckets.len() >= BEARERS_MAX {
                return;
            }
        }
        let full_at = buckets.entry(bearer).or_insert(now);
        // A bucket cannot be emptier than empty: a burst of concurrent requests costs no further minute.
        *full_at = (*full_at).max(now).saturating_add(interval).min(now + MINUTE_US + interval);
        shard.length.store(buckets.len(), Ordering::Relaxed);
    }

    /// Removes callers without a refusal in the last minute.
    pub fn forget_idle(&self, now: OffsetDateTime) {
        let now = microseconds(now);
        for shard in &self.shards {
            let mut buckets = shard.full_at.lock().unwrap_or_else(PoisonError::into_inner);
            buckets.retain(|_, full_at| *full_at > now);
            shard.length.store(buckets.len(), Ordering::Relaxed);
        }
    }

    fn shard(&self, bearer: &Bearer) -> Option<&Shard> {
        let hash = usize::try_from(self.hasher.hash_one(bearer) % 1_024).unwrap_or(0);
        self.shards.get(hash % SHARDS)
    }

    /// The time after which one more refusal is free.
    fn interval(&self, bearer: Bearer) -> i64 {
        let per_minute = match bearer {
            Bearer::ApiKey(_) => self.per_key,
            Bearer::Organization(_) => self.per_key.saturating_mul(KEYS_PER_ORGANIZATION),
            Bearer::Network(_) => self.per_network,
        };
        MINUTE_US / i64::from(per_minute.max(1))
    }
}

fn microseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use time::Duration;

    const START: OffsetDateTime = time::macros::datetime!(2026-11-20 12:00 UTC);

    fn refusals(per_minute: u32) -> Refusals {
        let limits = Config::read([]).unwrap().accounts;
        Refusals::new(&AccountLimits { refusals_per_key_minute_max: per_minute, ..limits })
    }

    fn key(number: u128) -> Bearer {
        Bearer::ApiKey(ApiKeyId(uuid::Uuid::from_u128(number)))
    }

    #[test]
    fn a_minutes_worth_is_refused_at_once_and_then_one_at_a_time() {
        let refusals = refusals(60);
        for _ in 0..60 {
            assert_eq!(refusals.check(key(1), START), Ok(()));
            refusals.count(key(1), START);
        }
        assert_eq!(refusals.check(key(1), START), Err(TooMany { retry_after_s: 1 }));
        assert_eq!(refusals.check(key(2), START), Ok(()), "others are read");
        let later = START + Duration::seconds(1);
        assert_eq!(refusals.check(key(1), later), Ok(()));
        refusals.count(key(1), later);
        assert!(refusals.check(key(1), later).is_err());
    }

    #[test]
    fn what_was_under_way_costs_no_second_minute() {
        let refusals = refusals(60);
        for _ in 0..10_000 {
            refusals.count(key(1), START);
        }
        assert_eq!(refusals.check(key(1), START), Err(TooMany { retry_after_s: 2 }));
    }

    #[test]
    fn memory_is_bounded_and_idle_bearers_are_forgotten() {
        let refusals = refusals(60);
        for number in 0..200_000 {
            refusals.count(key(number), START);
        }
        let length =
            || refusals.shards.iter().map(|shard| shard.length.load(Ordering::Relaxed)).sum::<usize>();
        assert!(length() <= SHARDS * BEARERS_MAX);
        refusals.forget_idle(START + Duration::minutes(2));
        assert_eq!(length(), 0);
    }
}
