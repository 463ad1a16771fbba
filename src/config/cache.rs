//! The settings of the response cache.

use super::reader::Reader;
use crate::domain::secret::Secret;
use std::time::Duration;

/// The limits of the response cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// Bytes of all answers in this process's memory; 0: no cache in memory.
    pub memory_bytes_max: u64,
    /// Of these, bytes of the answers of one organization.
    pub memory_bytes_per_organization_max: u64,
    /// Bytes of one answer as it is stored.
    pub entry_bytes_max: usize,
    /// How long an answer may be used where neither the API key nor the request sets it.
    pub ttl: Duration,
    /// Equal requests at the same time wait for the answer of the first one.
    pub coalesces: bool,
    /// The longest such wait.
    pub coalesce_wait: Duration,
}

/// The response cache: its limits, and its place if it is not in memory.
pub struct CacheSettings {
    pub limits: CacheLimits,
    /// A secret, because it may contain a password.
    pub redis_url: Option<Secret>,
    pub redis_timeout: Duration,
}

impl Reader<'_> {
    pub(super) fn cache(&mut self) -> CacheSettings {
        let memory_bytes_max: u64 = self.between("KAIROSROUTE_CACHE_MEMORY_BYTES_MAX", 0, 1 << 40);
        CacheSettings {
            limits: CacheLimits {
                memory_bytes_max,
                memory_bytes_per_organization_max: self
                    .optional("KAIROSROUTE_CACHE_MEMORY_BYTES_PER_ORGANIZATION_MAX", 1_024, 1 << 40)
                    .unwrap_or(memory_bytes_max / 8),
                entry_bytes_max: self.between("KAIROSROUTE_CACHE_ENTRY_BYTES_MAX", 1_024, 1 << 28),
                ttl: Duration::from_secs(self.between("KAIROSROUTE_CACHE_TTL_SECONDS", 1, 2_592_000)),
                coalesces: self.one_of("KAIROSROUTE_CACHE_COALESCE", ["on", "off"]),
                coalesce_wait: self.millis("KAIROSROUTE_CACHE_COALESCE_WAIT_MS"),
            },
            redis_url: self.text("REDIS_URL").map(Secret::new),
            redis_timeout: self.millis("KAIROSROUTE_CACHE_REDIS_TIMEOUT_MS"),
        }
    }
}
