//! Answers in the memory of this process, bounded by their bytes. What is used seldom goes first.

use super::Key;
use moka::{Expiry, future::Cache};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What an entry takes beside its bytes.
const OVERHEAD_BYTES: usize = 256;

pub(super) struct Memory(Cache<Key, Kept>);

#[derive(Clone)]
struct Kept {
    bytes: Arc<Vec<u8>>,
    left: Duration,
}

/// Each entry has its own end.
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
    pub fn new(bytes_max: u64) -> Self {
        let weigh = |_: &Key, kept: &Kept| {
            u32::try_from(kept.bytes.len().saturating_add(OVERHEAD_BYTES)).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(bytes_max).weigher(weigh).expire_after(EndsByItself).build())
    }

    pub async fn get(&self, key: &Key) -> Option<Arc<Vec<u8>>> {
        self.0.get(key).await.map(|kept| kept.bytes)
    }

    pub async fn put(&self, key: Key, bytes: Vec<u8>, left: Duration) {
        self.0.insert(key, Kept { bytes: Arc::new(bytes), left }).await;
    }
}
