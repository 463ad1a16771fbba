//! The exact response cache: whole answers under the digest of their request, for one organization or one of its API
//! keys. In memory, or in Redis if it is configured. Its content may be lost at any time: every failure here is a miss,
//! or no cache, and never an error of a request.

mod entry;
mod memory;
mod redis;

#[cfg(test)]
mod tests;

pub use entry::{Entry, Verbatim};
pub use redis::Redis;

use crate::{
    accounts::installation::{Installation, KeyedHash},
    config::CacheLimits,
    domain::{
        ambient::Ambient,
        ids::{ApiKeyId, OrgId},
    },
    store::OrgScope,
    vault::{self, Binding},
};
use memory::Memory;
use moka::future::Cache;
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Maximum requests in progress for which others can wait; above this, requests do not wait for each other.
const FLIGHTS_MAX: u64 = 100_000;

/// Identifies one answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    org: OrgId,
    name: [u8; 32],
}

/// The properties under which an answer is found.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub scope: OrgScope,
    /// Set if only this API key may find it.
    pub api_key: Option<ApiKeyId>,
    /// The canonical id of the model that answers.
    pub model_id: &'a str,
    /// The customer's own host, if it answers.
    pub base_url: Option<&'a str>,
    /// See [`crate::dialect::answer_key`].
    pub request: [u8; 32],
}

/// The result of a look-up.
pub enum Found {
    Hit(Box<Entry>),
    Miss,
    /// There is no cache at the moment.
    Off,
}

/// The cache of this process.
pub struct ResponseCache {
    limits: CacheLimits,
    store: Store,
    names: KeyedHash,
    installation: Arc<Installation>,
    ambient: Ambient,
    flights: Cache<Key, Arc<Mutex<()>>>,
}

enum Store {
    Off,
    Memory(Memory),
    Redis(Redis),
}

/// Equal requests wait until it is dropped.
pub struct Flight {
    _guard: OwnedMutexGuard<()>,
}

impl ResponseCache {
    pub fn new(
        limits: CacheLimits,
        redis: Option<Redis>,
        installation: Arc<Installation>,
        ambient: Ambient,
    ) -> Self {
        let store = match redis {
            Some(redis) => Store::Redis(redis),
            None if limits.memory_bytes_max == 0 => Store::Off,
            None => {
                Store::Memory(Memory::new(limits.memory_bytes_max, limits.memory_bytes_per_organization_max))
            }
        };
        // Keyed, because prompts can be guessed and other systems may read Redis.
        let names = KeyedHash::new(installation.tokens.of(b"response cache"));
        let flights = Cache::builder().max_capacity(FLIGHTS_MAX).time_to_idle(limits.coalesce_wait).build();
        Self { limits, store, names, installation, ambient, flights }
    }

    pub fn limits(&self) -> &CacheLimits {
        &self.limits
    }

    /// Whether the process has a cache.
    pub fn is_on(&self) -> bool {
        !matches!(self.store, Store::Off)
    }

    pub fn key(&self, question: &Question<'_>) -> Key {
        let org = question.scope.org_id();
        let mut data = Vec::with_capacity(160);
        let api_key = question.api_key.map(|id| id.0.into_bytes());
        let base_url = question.base_url.unwrap_or_default();
        for part in [
            org.0.as_bytes().as_slice(),
            api_key.as_ref().map(<[u8; 16]>::as_slice).unwrap_or_default(),
            question.model_id.as_bytes(),
            base_url.as_bytes(),
            &question.request,
        ] {
            data.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            data.extend_from_slice(part);
        }
        Key { org, name: self.names.of(&data) }
    }

    pub async fn get(&self, key: &Key) -> Found {
        let bytes = match &self.store {
            Store::Off => return Found::Off,
            Store::Memory(memory) => memory.get(key).await,
            Store::Redis(redis) => match redis.get(key.redis_name()).await {
                Err(_) => return Found::Off,
                Ok(None) => None,
                Ok(Some(sealed)) => self.open(key, &sealed),
            },
        };
        let entry = bytes.as_deref().and_then(|bytes| Entry::from_bytes(bytes));
        match entry.filter(|entry| entry.expires_at_ms > self.now_ms()) {
            Some(entry) => Found::Hit(Box::new(entry)),
            None => Found::Miss,
        }
    }

    /// Stores an answer. An answer that is too large, or whose time is over, is not stored.
    pub async fn put(&self, key: Key, entry: &Entry) {
        let bytes = entry.to_bytes();
        let left_ms = u64::try_from(entry.expires_at_ms.saturating_sub(self.now_ms())).unwrap_or(0);
        if bytes.is_empty() || bytes.len() > self.limits.entry_bytes_max || left_ms == 0 {
            return;
        }
        let left = Duration::from_millis(left_ms);
        match &self.store {
            Store::Off => {}
            Store::Memory(memory) => memory.put(key, bytes, left).await,
            Store::Redis(redis) => {
                let record = key.hex();
                let (ring, binding) = (&self.installation.ring, binding(key.org, &record));
                match vault::seal_bytes(ring, &self.ambient, &binding, &bytes) {
                    Ok(sealed) => redis.set(key.redis_name(), sealed, left).await,
                    Err(error) => {
                        tracing::warn!(error.cause = %error, "an answer could not be sealed for the cache")
                    }
                }
            }
        }
    }

    /// Becomes the one request that calls the provider, or waits for it. `None` after a wait, and if requests do not
    /// wait for each other.
    pub async fn take_off(&self, key: Key) -> Option<Flight> {
        if !self.limits.coalesces {
            return None;
        }
        let flight = self.flights.get_with(key, async { Arc::default() }).await;
        match Arc::clone(&flight).try_lock_owned() {
            Ok(guard) => Some(Flight { _guard: guard }),
            Err(_) => {
                // After success or failure, every waiting request continues by itself.
                let _ = tokio::time::timeout(self.limits.coalesce_wait, flight.lock()).await;
                None
            }
        }
    }

    pub fn now_ms(&self) -> i64 {
        i64::try_from(self.ambient.now().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
    }

    /// A value that cannot be opened (written by another system, or sealed with a lost master key) counts as missing.
    fn open(&self, key: &Key, sealed: &[u8]) -> Option<Arc<Vec<u8>>> {
        let record = key.hex();
        let opened = vault::open_bytes(&self.installation.ring, &binding(key.org, &record), sealed);
        opened.ok().map(|plain| Arc::new(plain.to_vec()))
    }
}

impl Key {
    fn hex(&self) -> String {
        self.name.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The number is the version of the entry format: processes of two releases do not read each other's entries.
    fn redis_name(&self) -> String {
        format!("kairosroute:cache:{}:{}", entry::FORM, self.hex())
    }
}

fn binding(org: OrgId, record: &str) -> Binding<'_> {
    Binding { table: "response_cache", org: Some(org), api_key: None, provider: "", origin: "", record }
}
