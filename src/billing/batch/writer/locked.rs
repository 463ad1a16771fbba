//! Accounts that other transactions have locked, and unknown holds. A flush waits only a bounded time for one account;
//! then it continues without it, and operations on that account wait until a check finds it free.

use super::Writer;
use crate::{
    domain::ids::HoldId,
    store::{OrgScope, StoreError, ledger},
};
use std::collections::HashSet;
use tokio::time::Instant;

impl Writer {
    /// All waiting operations concern locked accounts.
    pub(super) fn only_locked(&self) -> bool {
        let free = |scope: OrgScope| !self.locked.contains(&scope);
        !self.locked.is_empty()
            && self.checkpoints.is_empty()
            && !self.settles.iter().any(|pending| free(pending.settle.scope))
            && !self.holds.iter().any(|pending| free(pending.request.scope))
            && !self.abandoned.iter().any(|hold| free(hold.scope))
    }

    /// A statement on these accounts lost to another transaction: locked ones are left out from now on. Returns the
    /// error if none is locked, because then the statement is simply retried.
    pub(super) async fn after_contention(
        &mut self,
        error: StoreError,
        scopes: Vec<OrgScope>,
    ) -> Result<(), StoreError> {
        if !matches!(error, StoreError::Contention) {
            return Err(error);
        }
        let locked = self.list_locked(&scopes).await?;
        if locked.is_empty() {
            return Err(error);
        }
        for scope in locked {
            if self.locked.insert(scope) {
                tracing::warn!(org.id = %scope.org_id(), "an account is locked by another transaction: its organization waits");
            }
        }
        self.next_probe = Instant::now() + self.limits.lock_probe;
        Ok(())
    }

    /// Includes accounts again that have become free.
    pub(super) async fn probe_locked(&mut self) -> Result<(), StoreError> {
        if self.locked.is_empty() || Instant::now() < self.next_probe {
            return Ok(());
        }
        let scopes: Vec<OrgScope> = self.locked.iter().copied().collect();
        self.locked = self.list_locked(&scopes).await?.into_iter().collect();
        self.next_probe = Instant::now() + self.limits.lock_probe;
        Ok(())
    }

    async fn list_locked(&mut self, scopes: &[OrgScope]) -> Result<Vec<OrgScope>, StoreError> {
        let mut connection = self.connect().await?;
        let looking = async {
            connection.start(Some(ledger::PLANS)).await?;
            let locked = ledger::list_locked(&mut connection, scopes).await?;
            connection.finish().await?;
            Ok(locked)
        };
        let locked = self.within_time(looking).await?;
        self.connection = Some(connection);
        Ok(locked)
    }

    /// Those that belong to no request and are not queued for the database.
    pub(super) fn unknown_of(&self, holds: Vec<HoldId>) -> Vec<HoldId> {
        let queued: HashSet<HoldId> = (self.holds.iter().map(|pending| pending.request.id))
            .chain(self.settles.iter().map(|pending| pending.settle.hold))
            .chain(self.abandoned.iter().map(|hold| hold.id))
            .collect();
        holds.into_iter().filter(|hold| !self.known.contains(hold) && !queued.contains(hold)).collect()
    }
}
