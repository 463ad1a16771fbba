//! Checks before a provider is called: whether any credential may serve the request, and whether there is credit for
//! it. The hold decides finally; nothing is held here.

use super::{CredentialKind, Failover, exhausted::NoFunds};
use crate::{
    domain::money::NanoUsd,
    gateway::{failure::Failure, open_request::OpenRequest},
    routing::plan::Candidate,
    store::{StoreError, entries},
};

impl Failover<'_> {
    /// Refuses a request that failover would refuse without a call. If the ledger cannot be read, failover decides.
    pub async fn precheck(mut self, open: &OpenRequest) -> Result<(), Failure> {
        if self.targets.iter().any(|target| target.kind() == CredentialKind::Byok) {
            return Ok(());
        }
        if !self.targets.is_empty() {
            let (_, floor) = self.credit_needed(0, open);
            let (db, scope) = (open.gateway.db.clone(), open.principal.scope);
            let pool = db.clone();
            let read = db.run::<_, StoreError, _>(async move {
                entries::get_balance(&mut *pool.acquire().await?, scope).await
            });
            let Ok(account) = read.await else { return Ok(()) };
            let account = account.unwrap_or_default();
            let available = NanoUsd(account.posted.0.saturating_sub(account.held.0));
            if available >= floor {
                return Ok(());
            }
            self.no_funds = Some(NoFunds::Credit { available });
        }
        Err(self.failure(open))
    }

    /// The first target that would be called.
    pub fn first(&self) -> Option<(&Candidate, CredentialKind)> {
        self.targets.first().map(|target| (target.candidate, target.kind()))
    }

    /// The maximum cost of the platform targets from `at` on, and the minimum that must be affordable.
    pub(in crate::gateway) fn credit_needed(&self, at: usize, open: &OpenRequest) -> (NanoUsd, NanoUsd) {
        let ahead = self.targets.iter().skip(at).filter(|target| target.kind() == CredentialKind::Platform);
        let bounds = ahead.filter_map(|target| self.bounds(target.candidate, open).ok());
        bounds.fold((NanoUsd::ZERO, NanoUsd::ZERO), |(want, floor), bound| {
            (want.max(bound.0), floor.max(bound.1))
        })
    }
}
