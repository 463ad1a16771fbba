//! Rate and concurrency limits for API keys, organizations and end users. A process admits requests from its shares of
//! the limits without a database query; [`renewer`] renews the shares in the background. Only two kinds of requests
//! wait for the database, for a bounded time: the first request of a limit, and one that finds nothing left here while
//! other processes may have units.

mod renewer;

pub use crate::store::rate_pools::{Metric, PoolKey};

use crate::limits::{Share, Take};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Shares are found under several locks, so that workers do not wait for each other.
const SHARDS: usize = 16;
/// Limits in use at a time, per shard. End users are named by clients, so their number has a bound.
const SHARES_MAX: usize = 16_384;
/// How long a request waits for the common state of a limit.
const WAIT_MAX: Duration = Duration::from_millis(400);

/// A limit that applies to a request, and the units that the request takes.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub key: PoolKey,
    pub limit: u32,
    pub units: i64,
}

/// Why a request gets no units of a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It is used up. Milliseconds until something may be free.
    Full { wait_ms: i64 },
    /// Unknown: the database did not answer in time, or too many limits are in use.
    Unknown,
}

/// The state of a limit, for the headers of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    pub limit: i64,
    pub remaining: i64,
    /// Time until the whole limit is free, if nothing else is used.
    pub reset_ms: i64,
}

/// All shares of this process.
pub struct Quotas {
    shards: [Mutex<HashMap<PoolKey, Arc<Entry>>>; SHARDS],
    /// A share should be renewed now.
    due: Notify,
    started: Instant,
    refused: AtomicU64,
}

struct Entry {
    key: PoolKey,
    share: Mutex<Share>,
    /// The pool has replied.
    answered: Notify,
    answers: AtomicU64,
}

/// Units of one limit in use; returned when dropped.
pub struct Permit {
    quotas: Arc<Quotas>,
    entry: Arc<Entry>,
    taken: i64,
    spent: i64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            due: Notify::new(),
            started: Instant::now(),
            refused: AtomicU64::new(0),
        }
    }
}

impl Quotas {
    /// Takes the needed units of one limit.
    pub async fn acquire(self: &Arc<Self>, limit: Limit) -> Result<Permit, Refused> {
        let entry = self.entry(&limit).ok_or(Refused::Unknown)?;
        let taken = {
            let now_ms = self.now_ms();
            let mut share = entry.share();
            share.set_limit(i64::from(limit.limit), now_ms);
            share.note_demand(limit.units, now_ms);
            share.take(limit.units, now_ms)
        };
        let taken = match taken {
            Take::Taken => Ok(()),
            Take::Refused { wait_ms } => Err(Refused::Full { wait_ms }),
            Take::Ask => self.wait_for(&entry, limit.units).await,
        };
        match taken {
            Ok(()) => {
                let taken = entry.share().charged(limit.units);
                Ok(Permit { quotas: self.clone(), entry, taken, spent: 0 })
            }
            Err(refused) => {
                self.refused.fetch_add(1, Relaxed);
                Err(refused)
            }
        }
    }

    /// Refusals since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// The state of a limit of which nothing could be taken.
    pub fn standing(&self, limit: &Limit) -> Option<Standing> {
        let entry = self.shard(&limit.key).get(&limit.key).cloned()?;
        Some(self.standing_of(&entry))
    }

    fn standing_of(&self, entry: &Entry) -> Standing {
        let share = entry.share();
        let reset_ms = share.reset_ms(self.now_ms());
        Standing { limit: share.limit(), remaining: share.remaining(), reset_ms }
    }

    async fn wait_for(&self, entry: &Arc<Entry>, units: i64) -> Result<(), Refused> {
        let _waiting = Waiting::begin(entry, units);
        let before = entry.answers.load(Relaxed);
        let deadline = tokio::time::Instant::now() + WAIT_MAX;
        loop {
            let mut answered = std::pin::pin!(entry.answered.notified());
            answered.as_mut().enable();
            self.due.notify_one();
            let in_time = tokio::time::timeout_at(deadline, answered).await.is_ok();
            let now_ms = self.now_ms();
            let mut share = entry.share();
            match share.take(units, now_ms) {
                Take::Taken => return Ok(()),
                Take::Refused { wait_ms } => return Err(Refused::Full { wait_ms }),
                Take::Ask if in_time => {}
                Take::Ask if entry.answers.load(Relaxed) == before => return Err(Refused::Unknown),
                Take::Ask => return Err(Refused::Full { wait_ms: share.wait_ms(now_ms) }),
            }
        }
    }

    /// The share of a limit, a new one if this process has none. `None`: too many limits are in use.
    fn entry(&self, limit: &Limit) -> Option<Arc<Entry>> {
        let mut shard = self.shard(&limit.key);
        if let Some(entry) = shard.get(&limit.key) {
            return Some(entry.clone());
        }
        if shard.len() >= SHARES_MAX {
            return None;
        }
        let now_ms = self.now_ms();
        // Above every number that a share of this limit was given before in this process.
        let sequence = u64::try_from(now_ms).unwrap_or(0);
        let share = Share::new(limit.key.metric.kind(), i64::from(limit.limit), sequence, now_ms);
        let (share, answered, answers) = (Mutex::new(share), Notify::new(), AtomicU64::new(0));
        let entry = Arc::new(Entry { key: limit.key, share, answered, answers });
        shard.insert(limit.key, entry.clone());
        Some(entry)
    }

    fn shard(&self, key: &PoolKey) -> MutexGuard<'_, HashMap<PoolKey, Arc<Entry>>> {
        // The last bits of an id are random.
        let index = usize::try_from(key.subject.as_u128() % SHARDS as u128).unwrap_or(0);
        let [first, ..] = &self.shards;
        self.shards.get(index).unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds of this process, never going back.
    fn now_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Entry {
    fn share(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Units of a rate that count when the use ends. Several calls add up.
    pub fn spend(&mut self, units: i64) {
        self.spent = self.spent.saturating_add(units.max(0));
    }

    /// Counts the taken units as spent, now. Returns the state of the limit after that.
    pub fn spend_all(mut self) -> Standing {
        self.spent = self.taken;
        let (quotas, entry) = (self.quotas.clone(), self.entry.clone());
        drop(self);
        quotas.standing_of(&entry)
    }

    pub fn standing(&self) -> Standing {
        self.quotas.standing_of(&self.entry)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now_ms = self.quotas.now_ms();
        let is_due = {
            let mut share = self.entry.share();
            share.settle(self.taken, self.spent, now_ms);
            share.is_wanted_elsewhere()
        };
        if is_due {
            self.quotas.due.notify_one();
        }
    }
}

/// A request that waits for the pool's reply.
struct Waiting<'a> {
    entry: &'a Entry,
    units: i64,
}

impl<'a> Waiting<'a> {
    fn begin(entry: &'a Entry, units: i64) -> Self {
        let mut share = entry.share();
        let units = share.charged(units);
        share.wait_for(units);
        drop(share);
        Self { entry, units }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.entry.share().wait_for(-self.units);
    }
}
