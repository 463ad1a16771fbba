//! Answers in the memory of this process, bounded by their bytes, and for each organization by its share: above the
//! share its oldest answers are removed first. Otherwise seldom used answers are removed first.

use super::Key;
use crate::domain::ids::OrgId;
use moka::{Expiry, future::Cache};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Overhead of an entry beside its bytes.
const OVERHEAD_BYTES: usize = 256;
/// Names of removed answers that are kept beyond the number of answers.
const GONE_MAX: usize = 64;

pub(super) struct Memory {
    answers: Cache<Key, Kept>,
    shares: Arc<Shares>,
    share_bytes_max: u64,
}

#[derive(Clone)]
struct Kept {
    bytes: Arc<Vec<u8>>,
    left: Duration,
}

impl Kept {
    fn weight(&self) -> u32 {
        u32::try_from(self.bytes.len().saturating_add(OVERHEAD_BYTES)).unwrap_or(u32::MAX)
    }
}

/// The answers of each organization.
#[derive(Default)]
struct Shares(Mutex<HashMap<OrgId, Share>>);

#[derive(Default)]
struct Share {
    bytes: u64,
    answers: usize,
    /// Oldest first; some of them may have been removed.
    order: VecDeque<Key>,
}

impl Shares {
    fn lock(&self) -> MutexGuard<'_, HashMap<OrgId, Share>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, org: OrgId, weight: u32) {
        let mut shares = self.lock();
        let Some(share) = shares.get_mut(&org) else { return };
        share.bytes = share.bytes.saturating_sub(u64::from(weight));
        share.answers = share.answers.saturating_sub(1);
        if share.answers == 0 {
            shares.remove(&org);
        }
    }
}

/// Each entry has its own expiry.
struct EndsByItself;

impl Expiry<Key, Kept> for EndsByItself {
    fn expire_after_create(&self, _: &Key, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.left)
    }

    fn expire_after_update(&self, _: &Key, kept: &Kept, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(kept.left)
    }
}

impl Memory {
    pub fn new(bytes_max: u64, share_bytes_max: u64) -> Self {
        let shares = Arc::new(Shares::default());
        let noted = shares.clone();
        let answers = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|_: &Key, kept: &Kept| kept.weight())
            .eviction_listener(move |key: Arc<Key>, kept: Kept, _| noted.remove(key.org, kept.weight()))
            .expire_after(EndsByItself)
            .build();
        Self { answers, shares, share_bytes_max }
    }

    pub async fn get(&self, key: &Key) -> Option<Arc<Vec<u8>>> {
        self.answers.get(key).await.map(|kept| kept.bytes)
    }

    /// Stores an answer; an answer that is larger than a share is not stored.
    pub async fn put(&self, key: Key, bytes: Vec<u8>, left: Duration) {
        let kept = Kept { bytes: Arc::new(bytes), left };
        let weight = u64::from(kept.weight());
        if weight > self.share_bytes_max {
            return;
        }
        while let Some(oldest) = self.take_oldest(key.org, weight) {
            self.answers.invalidate(&oldest).await;
        }
        {
            let mut shares = self.shares.lock();
            let share = shares.entry(key.org).or_default();
            share.bytes = share.bytes.saturating_add(weight);
            share.answers = share.answers.saturating_add(1);
            share.order.push_back(key);
            if share.order.len() > share.answers.saturating_mul(2).saturating_add(GONE_MAX) {
                share.order.retain(|known| *known == key || self.answers.contains_key(known));
            }
        }
        self.answers.insert(key, kept).await;
    }

    /// The oldest answer of an organization whose share has no room for `weight` more bytes.
    fn take_oldest(&self, org: OrgId, weight: u64) -> Option<Key> {
        let mut shares = self.shares.lock();
        let share = shares.get_mut(&org)?;
        if share.bytes.saturating_add(weight) <= self.share_bytes_max {
            return None;
        }
        share.order.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn key(org: u128, name: u8) -> Key {
        Key { org: OrgId(Uuid::from_u128(org)), name: [name; 32] }
    }

    async fn count(memory: &Memory, org: u128) -> usize {
        let mut found = 0;
        for name in 0..=u8::MAX {
            found += usize::from(memory.get(&key(org, name)).await.is_some());
        }
        found
    }

    #[tokio::test]
    async fn an_organization_with_many_answers_pushes_out_its_own_oldest_and_nobody_elses() {
        // Room for eight answers of one organization, and for 64 of all.
        let size = 1_024 - OVERHEAD_BYTES;
        let memory = Memory::new(64 * 1_024, 8 * 1_024);
        memory.put(key(1, 0), vec![0; size], HOUR).await;
        for name in 0..100 {
            memory.put(key(2, name), vec![0; size], HOUR).await;
        }
        assert_eq!((count(&memory, 1).await, count(&memory, 2).await), (1, 8));
        assert!(memory.get(&key(2, 99)).await.is_some() && memory.get(&key(2, 0)).await.is_none());
        // The same answer again takes no additional room.
        for _ in 0..20 {
            memory.put(key(1, 0), vec![0; size], HOUR).await;
            memory.put(key(1, 1), vec![0; size], HOUR).await;
        }
        assert_eq!(count(&memory, 1).await, 2);
        memory.put(key(3, 0), vec![0; 9 * 1_024], HOUR).await;
        assert_eq!(count(&memory, 3).await, 0, "larger than a share");
    }

    #[tokio::test]
    async fn what_is_gone_leaves_no_trace() {
        let memory = Memory::new(64 * 1_024, 8 * 1_024);
        for name in 0..200 {
            memory.put(key(1, name), vec![0; 1_000], Duration::from_nanos(1)).await;
        }
        memory.answers.run_pending_tasks().await;
        memory.answers.invalidate_all();
        memory.answers.run_pending_tasks().await;
        assert!(memory.shares.lock().is_empty());
    }
}
