//! Decides which requests may be served now. A request takes a permit after its body has arrived; each organization and
//! each API key has a share of the permits. Bodies that are being received are counted separately. An organization that
//! has its share gets one error; a process that is full answers with another.

use super::Gateway;
use crate::{
    billing::report,
    config::ShareLimits,
    domain::{
        money::NanoUsd,
        shares::{Charge, Full, Owner, Pool, Taken},
    },
    store::{Db, OrgScope, StoreError, api_keys::Principal},
};
use moka::future::Cache;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the result of the credit check of an organization is cached.
const CREDIT_MEMORY: Duration = Duration::from_secs(10);
const CREDITS_MAX: u64 = 100_000;
const CREDIT_TIME_MAX: Duration = Duration::from_secs(1);
/// One organization may receive one in this many of the bodies that are read at the same time.
const READING_SHARE: u64 = 8;
/// Bodies of unauthenticated callers at the same time: of all, and of one address.
const STRANGERS_MAX: u64 = 512;
const STRANGERS_PER_ADDRESS_MAX: u64 = 32;

/// The resources that all organizations share.
pub struct Shared {
    limits: ShareLimits,
    pub places: Arc<Pool>,
    keys: Arc<Pool>,
    pub readings: Arc<Pool>,
    strangers: Arc<Pool>,
    pub memory: Arc<Pool>,
    credit: Cache<Owner, bool>,
}

/// A permit for one request that is being served; returned when dropped.
pub struct InFlightPermit {
    gateway: Arc<Gateway>,
    /// Memory charged for the request's body.
    _memory: Option<Charge>,
    _shares: [Taken; 2],
}

/// Why there is no permit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotAdmitted {
    /// The organization or the API key has its share.
    Share,
    /// The process has its maximum of requests.
    Process,
    /// The process is stopping and takes no more requests.
    Stopping,
    /// The lease of the process may have lapsed.
    Unready,
}

/// The number that an organization is counted under.
pub fn owner(scope: OrgScope) -> Owner {
    scope.org_id().0.as_u128()
}

impl Shared {
    pub fn new(limits: ShareLimits) -> Self {
        let units = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Self {
            limits,
            places: Pool::new(units(limits.requests_max)),
            keys: Pool::new(u64::MAX),
            readings: Pool::new(units(limits.bodies_read_max)),
            strangers: Pool::new(STRANGERS_MAX),
            memory: Pool::new(limits.memory_bytes_max),
            credit: Cache::builder().max_capacity(CREDITS_MAX).time_to_live(CREDIT_MEMORY).build(),
        }
    }

    /// Permission to read the body of an organization's request.
    pub fn read_for(&self, organization: Owner) -> Result<Taken, Full> {
        let share = (self.limits.bodies_read_max / READING_SHARE as usize).max(16);
        self.readings.take(organization, 1, u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// Permission to read the body of a caller at an address.
    pub fn read_for_stranger(&self, address: Owner) -> Result<Taken, Full> {
        self.strangers.take(address, 1, STRANGERS_PER_ADDRESS_MAX)
    }

    /// Memory for one buffer of an organization.
    pub fn memory_for(&self, organization: Owner) -> Charge {
        Charge::new(&self.memory, organization, self.limits.memory_bytes_per_organization_max)
    }

    /// Each pool with its name.
    pub fn pools(&self) -> [(&'static str, &Pool); 5] {
        [
            ("requests", &self.places),
            ("requests_of_keys", &self.keys),
            ("bodies", &self.readings),
            ("bodies_of_strangers", &self.strangers),
            ("memory_bytes", &self.memory),
        ]
    }

    /// Whether an organization has credit. If the database is unreachable, the request is not refused.
    async fn has_credit(&self, db: &Db, scope: OrgScope) -> bool {
        let reading = async {
            let pool = db.clone();
            let balance = db.run::<_, StoreError, _>(async move {
                report::balance(&mut *pool.acquire().await?, scope).await
            });
            let balance = tokio::time::timeout(CREDIT_TIME_MAX, balance).await;
            !matches!(balance, Ok(Ok(balance)) if balance.balance_usd <= NanoUsd::ZERO)
        };
        self.credit.get_with(owner(scope), reading).await
    }
}

impl Gateway {
    /// A permit for one more request of this principal; `memory` is charged for its body.
    pub async fn acquire_slot(
        self: &Arc<Self>,
        principal: &Principal,
        memory: Option<Charge>,
    ) -> Result<InFlightPermit, NotAdmitted> {
        let admitted = self.find_slot(principal, memory).await;
        admitted.inspect_err(|reason| self.metrics.shed(*reason))
    }

    async fn find_slot(
        self: &Arc<Self>,
        principal: &Principal,
        memory: Option<Charge>,
    ) -> Result<InFlightPermit, NotAdmitted> {
        if self.tasks.is_closed() {
            return Err(NotAdmitted::Stopping);
        }
        if !self.lease.is_sure(Instant::now()) {
            return Err(NotAdmitted::Unready);
        }
        let limits = &self.shared.limits;
        let (organization, key) = (owner(principal.scope), principal.api_key_id.0.as_u128());
        let mut place = self.shared.places.take(organization, 1, limits.requests_without_credit_max);
        // Rare and large: kept out of the future of every request.
        if place.as_ref().is_err_and(|full| *full == Full::Share)
            && Box::pin(self.shared.has_credit(&self.db, principal.scope)).await
        {
            place = self.shared.places.take(organization, 1, limits.requests_per_organization_max);
        }
        let shares = place.and_then(|place| {
            let key = self.shared.keys.take(key, 1, limits.requests_per_key_max)?;
            Ok([place, key])
        });
        match shares {
            Ok(shares) => {
                self.metrics.in_flight.inc();
                Ok(InFlightPermit { gateway: self.clone(), _memory: memory, _shares: shares })
            }
            Err(Full::Share) => Err(NotAdmitted::Share),
            Err(Full::Pool) => Err(NotAdmitted::Process),
        }
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.gateway.metrics.in_flight.dec();
    }
}
