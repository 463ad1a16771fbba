//! The requests to the ledger and its replies. A hold is placed before the first attempt on a platform credential and
//! ended exactly once, by a settle, a void or its expiry; `billing::batch` carries these to the database.

pub use crate::store::ledger::{
    Bill, BudgetOwner, Checkpoint, FullBudget, HoldBudgets, HoldRequest, Resolution, Settle,
};

use crate::{domain::money::NanoUsd, store::StoreError};
use std::time::Duration;

/// The result of a hold request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldOutcome {
    /// Held: `want`, or less but at least `floor` if less was free.
    Admitted { amount: NanoUsd },
    /// Not enough credit is free.
    Refused { available: NanoUsd },
    /// A budget has no room for it.
    OverBudget(FullBudget),
}

/// The result of a settle or a void.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettleOutcome {
    Posted,
    /// The same end was recorded before.
    Repeat,
    /// The hold ended before with another charge, which stands.
    Conflict {
        charge: NanoUsd,
    },
    /// The hold had expired with the charge of its last checkpoint; the difference is posted.
    Late,
    /// It corrected a hold that had ended differently; the difference is posted.
    Revised,
    /// No such hold.
    Unknown,
}

/// Why the ledger returned no result.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database is unreachable, the queue is full, or this process's lease has lapsed: 503. Such a hold has no
    /// effect, even if the database had written it.
    #[error("the ledger is not available: {0}")]
    Unavailable(&'static str),
    /// The request itself cannot be recorded.
    #[error("the ledger refused: {0}")]
    Refused(StoreError),
}

/// Limits of the ledger's queue and waits.
#[derive(Clone, Copy, Debug)]
pub struct LedgerLimits {
    /// Holds, and settles, in one flush.
    pub batch_max: usize,
    /// How long the flush after a busy one waits for the answered callers; less than a second.
    pub linger: Duration,
    /// Longest time one flush may take before its connection is given up.
    pub flush_timeout: Duration,
    /// Longest time a hold waits before it fails as unavailable.
    pub hold_wait: Duration,
    /// Holds waiting at once; more fail at once as unavailable.
    pub holds_waiting_max: usize,
    /// Longest pause between two tries while the database is away.
    pub retry_pause_max: Duration,
    /// Open holds with an unwritten checkpoint; further ones are skipped.
    pub checkpoints_max: usize,
    /// Least time between two writes of checkpoints.
    pub checkpoint_interval: Duration,
    /// Interval between checks whether an account that another transaction has locked is free again.
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
