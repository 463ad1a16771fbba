//! Resources that all organizations share (permits, bodies being read, memory, look-ups), and the part that one
//! organization may use: no organization can take so much that another is refused. This module only counts; its user
//! decides what is counted and how a refusal is reported.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// The owner of a share: the number of an organization, of an API key or of an address.
pub type Owner = u128;

/// Owners are counted under several locks, so that workers do not wait for each other.
const SHARDS: usize = 16;
/// Memory above this value is charged. Below it the request's permit covers the memory, so small requests are not
/// counted.
pub const UNCHARGED_BYTES: usize = 64 * 1024;

/// One resource of the process.
pub struct Pool {
    units_max: u64,
    used: AtomicU64,
    refused: AtomicU64,
    owners: [Mutex<HashMap<Owner, u64>>; SHARDS],
}

/// Why no units are available.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// The owner has its share.
    Share,
    /// All units are in use by all owners together.
    Pool,
}

/// Units in use; returned when dropped.
pub struct Taken {
    pool: Arc<Pool>,
    owner: Owner,
    share_max: u64,
    units: u64,
}

impl Pool {
    pub fn new(units_max: u64) -> Arc<Self> {
        let owners = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { units_max, used: AtomicU64::new(0), refused: AtomicU64::new(0), owners })
    }

    /// Takes `units` for an owner whose share is `share_max`.
    pub fn take(self: &Arc<Self>, owner: Owner, units: u64, share_max: u64) -> Result<Taken, Full> {
        self.add(owner, units, share_max)?;
        Ok(Taken { pool: self.clone(), owner, share_max, units })
    }

    /// Units in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Units that an owner uses.
    pub fn used_by(&self, owner: Owner) -> u64 {
        self.shard(owner, |owners| owners.get(&owner).copied().unwrap_or(0))
    }

    /// Refusals since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    fn add(&self, owner: Owner, units: u64, share_max: u64) -> Result<(), Full> {
        let outcome = self.shard(owner, |owners| {
            let held = owners.get(&owner).copied().unwrap_or(0);
            let total = held.saturating_add(units);
            if total > share_max {
                return Err(Full::Share);
            }
            let room = |used: u64| used.checked_add(units).filter(|used| *used <= self.units_max);
            self.used.fetch_update(Relaxed, Relaxed, room).map_err(|_| Full::Pool)?;
            owners.insert(owner, total);
            Ok(())
        });
        if outcome.is_err() {
            self.refused.fetch_add(1, Relaxed);
        }
        outcome
    }

    fn give_back(&self, owner: Owner, units: u64) {
        self.shard(owner, |owners| {
            if let Entry::Occupied(mut held) = owners.entry(owner) {
                *held.get_mut() = held.get().saturating_sub(units);
                if *held.get() == 0 {
                    held.remove();
                }
            }
        });
        self.used.fetch_sub(units, Relaxed);
    }

    fn shard<T>(&self, owner: Owner, read: impl FnOnce(&mut HashMap<Owner, u64>) -> T) -> T {
        // Ids begin with a time; their last bits are random.
        let index = usize::try_from(owner % SHARDS as u128).unwrap_or(0);
        let [first, ..] = &self.owners;
        let shard = self.owners.get(index).unwrap_or(first);
        read(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Taken {
    /// Takes `units` more.
    pub fn grow(&mut self, units: u64) -> Result<(), Full> {
        self.pool.add(self.owner, units, self.share_max)?;
        self.units = self.units.saturating_add(units);
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.pool.give_back(self.owner, self.units);
    }
}

/// The memory of one buffer, or of several with the same lifetime.
pub struct Charge {
    memory: Arc<Pool>,
    owner: Owner,
    share_max: u64,
    taken: Option<Taken>,
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Charge {
    pub fn new(memory: &Arc<Pool>, owner: Owner, share_max: u64) -> Self {
        Self { memory: memory.clone(), owner, share_max, taken: None }
    }

    /// The owner of the memory.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Another buffer of the same owner.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(&self.memory, self.owner, self.share_max)
    }

    /// Reports that the buffer has grown to `bytes`. It is charged in steps, and a small buffer is not charged.
    pub fn cover(&mut self, bytes: usize) -> Result<(), Full> {
        if bytes <= UNCHARGED_BYTES {
            return Ok(());
        }
        let steps = bytes.div_ceil(UNCHARGED_BYTES).saturating_mul(UNCHARGED_BYTES);
        let wanted = u64::try_from(steps).unwrap_or(u64::MAX);
        match &mut self.taken {
            None => {
                self.taken = Some(self.memory.take(self.owner, wanted, self.share_max)?);
                Ok(())
            }
            Some(taken) if wanted > taken.units => {
                let more = wanted - taken.units;
                taken.grow(more)
            }
            Some(_) => Ok(()),
        }
    }

    /// Bytes that are charged.
    pub fn bytes(&self) -> u64 {
        self.taken.as_ref().map_or(0, |taken| taken.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_owner_gets_its_share_and_all_get_no_more_than_there_is() {
        let pool = Pool::new(10);
        let mine: Vec<Taken> = (0..4).map(|_| pool.take(1, 1, 4).ok().unwrap()).collect();
        assert_eq!(pool.take(1, 1, 4).err(), Some(Full::Share));
        let others: Vec<Taken> = (2..8).map(|owner| pool.take(owner, 1, 4).ok().unwrap()).collect();
        assert_eq!(pool.take(9, 1, 4).err(), Some(Full::Pool));
        assert_eq!((pool.used(), pool.used_by(1), pool.refused()), (10, 4, 2));
        drop(mine);
        assert!(pool.take(9, 4, 4).is_ok());
        drop(others);
        assert_eq!((pool.used(), pool.used_by(1), pool.used_by(9)), (0, 0, 0));
    }

    #[test]
    fn a_charge_counts_what_is_large_and_gives_it_back() {
        let memory = Pool::new(1 << 20);
        let mut charge = Charge::new(&memory, 1, 1 << 19);
        assert_eq!(charge.cover(UNCHARGED_BYTES), Ok(()));
        assert_eq!(memory.used(), 0);
        assert_eq!(charge.cover(UNCHARGED_BYTES + 1), Ok(()));
        assert_eq!(charge.bytes(), 2 * UNCHARGED_BYTES as u64);
        assert_eq!(charge.cover(100), Ok(()), "it keeps what it had");
        assert_eq!(charge.cover(1 << 19), Ok(()));
        assert_eq!(charge.cover((1 << 19) + 1), Err(Full::Share));
        assert_eq!(memory.used(), 1 << 19);
        drop(charge);
        assert_eq!(memory.used(), 0);
    }

    proptest! {
        #[test]
        fn whatever_is_taken_comes_back(steps in prop::collection::vec((0u128..4, 1u64..9, any::<bool>()), 0..60)) {
            let pool = Pool::new(40);
            let mut held: Vec<Taken> = Vec::new();
            for (owner, units, gives_back) in steps {
                if gives_back && !held.is_empty() {
                    held.remove(0);
                } else if let Ok(taken) = pool.take(owner, units, 16) {
                    held.push(taken);
                }
                let sum = |owner| held.iter().filter(|t| t.owner == owner).map(|t| t.units).sum::<u64>();
                for owner in 0..4 {
                    prop_assert_eq!(pool.used_by(owner), sum(owner));
                    prop_assert!(sum(owner) <= 16);
                }
                prop_assert_eq!(pool.used(), held.iter().map(|t| t.units).sum::<u64>());
                prop_assert!(pool.used() <= 40);
            }
            drop(held);
            prop_assert_eq!(pool.used(), 0);
        }
    }
}
