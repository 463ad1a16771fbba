//! What a request says to the ledger and what it hears back. A hold is taken before the first attempt on a
//! platform credential and ended exactly once, by a settle, a void or its expiry; `billing::batch` carries
//! these to the database.

pub use crate::store::ledger::{
    Bill, BudgetOwner, Checkpoint, FullBudget, HoldBudgets, HoldRequest, Resolution, Settle,
};

use crate::{domain::money::NanoUsd, store::StoreError};
use std::time::Duration;

/// What became of a hold request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldOutcome {
    /// Set aside: `want`, or less but at least `floor` where less was free.
    Admitted { amount: NanoUsd },
    /// Not enough is free.
    Refused { available: NanoUsd },
    /// A budget has no room for it.
    OverBudget(FullBudget),
}

/// What became of a settle or a void.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettleOutcome {
    Posted,
    /// The same end was recorded before.
    Repeat,
    /// The hold ended before with this other charge, which stands.
    Conflict {
        charge: NanoUsd,
    },
    /// The hold had been reaped, at the charge of its last checkpoint; the difference is posted.
    Late,
    /// It was the last word on a hold that had ended otherwise; the difference is posted.
    Revised,
    /// No such hold.
    Unknown,
}

/// Why the ledger gave no outcome.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database is away, the queue is full, or this process's lease has lapsed: 503. A hold that failed
    /// so is nothing, even if the database had written it.
    #[error("the ledger is not available: {0}")]
    Unavailable(&'static str),
    /// The request itself cannot be recorded.
    #[error("the ledger refused: {0}")]
    Refused(StoreError),
}

/// How the ledger's queue and waits are bounded.
#[derive(Clone, Copy, Debug)]
pub struct LedgerLimits {
    /// Holds, and settles, in one flush.
    pub batch_max: usize,
    /// How long a flush after a busy one waits for those whom that one answered; below a second.
    pub linger: Duration,
    /// Longest time one flush may take before its connection is given up.
    pub flush_timeout: Duration,
    /// Longest time a hold waits before it fails as unavailable.
    pub hold_wait: Duration,
    /// Holds waiting at once; more fail at once as unavailable.
    pub holds_waiting_max: usize,
    /// Longest pause between two tries while the database is away.
    pub retry_pause_max: Duration,
    /// Open holds with a checkpoint not written yet; further ones are passed over.
    pub checkpoints_max: usize,
    /// Least time between two writes of checkpoints.
    pub checkpoint_interval: Duration,
    /// Pause between two looks whether an account that another transaction holds is free again.
    pub lock_probe: Duration,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self {
            batch_max: 64,
            linger: Duration::from_micros(400),
            flush_timeout: Duration::from_secs(3),
            hold_wait: Duration::from_secs(4),
            holds_waiting_max: 8_192,
            retry_pause_max: Duration::from_millis(500),
            checkpoints_max: 65_536,
            checkpoint_interval: Duration::from_millis(100),
            lock_probe: Duration::from_millis(100),
        }
    }
}
