//! Time and randomness as an argument, so that tests can set both. No other code may read the system clock or the
//! system's random source (clippy refuses the calls).

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use time::OffsetDateTime;
use uuid::Uuid;

/// The source of the time.
#[derive(Clone, Default)]
enum Source {
    #[default]
    System,
    /// Milliseconds since the Unix epoch, moved by a test.
    Manual(Arc<AtomicI64>),
}

/// The clock and the random source of a process.
#[derive(Clone, Default)]
pub struct Ambient {
    source: Source,
}

impl Ambient {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still until `millis` (Unix milliseconds) is changed.
    pub fn manual(millis: Arc<AtomicI64>) -> Self {
        Self { source: Source::Manual(millis) }
    }

    /// Wall-clock time, UTC.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> OffsetDateTime {
        match &self.source {
            Source::System => OffsetDateTime::now_utc(),
            Source::Manual(millis) => OffsetDateTime::UNIX_EPOCH
                .saturating_add(time::Duration::milliseconds(millis.load(Ordering::Relaxed))),
        }
    }

    /// Fills `bytes` from the operating system's seeded generator.
    #[allow(clippy::disallowed_methods)]
    pub fn fill(&self, bytes: &mut [u8]) {
        rand::RngExt::fill(&mut rand::rng(), bytes);
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A uniform value in `0..bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        u64::from_le_bytes(self.bytes()).checked_rem(bound).unwrap_or(0)
    }

    /// A new time-ordered identifier (uuid v7, RFC 9562).
    pub fn uuid(&self) -> Uuid {
        let millis = u64::try_from(self.now().unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }
}
