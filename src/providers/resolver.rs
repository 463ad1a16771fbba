//! Resolves host names. Names that customers choose are resolved by the name servers directly, with a time limit, a
//! share for each organization and a limit for all, and separately from the operator's names: a slow name server that a
//! customer chose delays nobody else. Only allowed addresses of such a name are given to the connector. The check uses
//! the addresses of the actual connection, so a name that changes between two look-ups gains nothing. Literal addresses
//! do not come here; `guard::check_target` checks them.

use super::guard::AllowedNets;
use crate::domain::shares::{Owner, Pool};
use hickory_resolver::{Resolver, TokioResolver, config::ResolveHosts};
use moka::{Expiry, future::Cache};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::task::AbortOnDropHandle;

/// Maximum cached names.
const KNOWN_MAX: u64 = 4_096;
/// How long a result is cached, whatever its server allows: found, not existing, and not answered.
const FOUND_TIME: Duration = Duration::from_secs(30);
const ABSENT_TIME: Duration = Duration::from_secs(10);
const LATE_TIME: Duration = Duration::from_secs(5);
/// How long the last addresses of a name are used while there are no new ones.
const STALE_TIME: Duration = Duration::from_secs(3_600);
/// Addresses of one name.
const ADDRESSES_MAX: usize = 16;

/// Limits for look-ups of names that customers choose.
#[derive(Clone, Copy, Debug)]
pub struct NameLimits {
    pub lookups_max: usize,
    pub lookups_per_organization_max: u64,
    pub time: Duration,
}

impl Default for NameLimits {
    fn default() -> Self {
        Self { lookups_max: 64, lookups_per_organization_max: 8, time: Duration::from_secs(2) }
    }
}

/// Why a customer's name has no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LookupError {
    #[error("points to an address that is not public")]
    Refused,
    #[error("was not found")]
    NotFound,
    #[error("could not be looked up in time")]
    Late,
    /// The organization has its share of look-ups, or all of them are in use.
    #[error("is one of too many that are being looked up; try again")]
    Busy,
}

type Found = Result<Arc<[IpAddr]>, LookupError>;

/// The resolver of one process, shared by its workers.
pub struct Names {
    runtime: Handle,
    limits: NameLimits,
    /// `None` if the system's settings cannot be read: then the system's resolver is used.
    resolver: Option<TokioResolver>,
    known: Cache<String, Found>,
    /// The last addresses of a customer's name, used if a new look-up is not possible or not answered.
    known_last: Cache<String, Arc<[IpAddr]>>,
    asking: Semaphore,
    shares: Arc<Pool>,
    operators: Cache<String, Arc<[IpAddr]>>,
    operators_last: Cache<String, Arc<[IpAddr]>>,
}

tokio::task_local! {
    /// The organization of these look-ups.
    static ASKING: Owner;
}

/// Runs `work`; its look-ups of customers' names count for `owner`.
pub async fn on_behalf<F: Future>(owner: Owner, work: F) -> F::Output {
    ASKING.scope(owner, work).await
}

/// The organization of this task's look-ups, if stated.
pub(super) fn asking() -> Option<Owner> {
    ASKING.try_with(|owner| *owner).ok()
}

/// How long a result is valid.
struct ByOutcome;

impl Expiry<String, Found> for ByOutcome {
    fn expire_after_create(&self, _: &String, found: &Found, _: Instant) -> Option<Duration> {
        Some(match found {
            Ok(_) => FOUND_TIME,
            Err(LookupError::Late) => LATE_TIME,
            Err(LookupError::Busy) => Duration::ZERO,
            Err(_) => ABSENT_TIME,
        })
    }
}

impl Names {
    /// Look-ups run on `runtime`.
    pub fn new(runtime: Handle, limits: NameLimits) -> Arc<Self> {
        let resolver = Resolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            options.timeout = limits.time;
            options.attempts = 1;
            options.cache_size = 0;
            options.use_hosts_file = ResolveHosts::Always;
            builder.build()
        });
        let resolver = resolver.inspect_err(|error| {
            tracing::warn!(error.cause = %error, "the system's name servers are not known; names are asked of the system");
        });
        Self::with(runtime, limits, resolver.ok())
    }

    fn with(runtime: Handle, limits: NameLimits, resolver: Option<TokioResolver>) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            limits,
            resolver,
            known: Cache::builder().max_capacity(KNOWN_MAX).expire_after(ByOutcome).build(),
            known_last: Cache::builder().max_capacity(KNOWN_MAX).time_to_live(STALE_TIME).build(),
            asking: Semaphore::new(limits.lookups_max),
            shares: Pool::new(u64::MAX),
            operators: Cache::builder().max_capacity(KNOWN_MAX).time_to_live(FOUND_TIME).build(),
            operators_last: Cache::builder().max_capacity(KNOWN_MAX).time_to_live(STALE_TIME).build(),
        })
    }

    /// The addresses of a customer's name, in their order. If no new ones are available for a reason other than the
    /// name, the last ones are used.
    async fn find(&self, owner: Owner, name: &str) -> Found {
        match self.find_new(owner, name).await {
            Err(failed @ (LookupError::Late | LookupError::Busy)) => {
                self.known_last.get(name).await.ok_or(failed)
            }
            found => found,
        }
    }

    async fn find_new(&self, owner: Owner, name: &str) -> Found {
        if let Some(known) = self.known.get(name).await {
            return known;
        }
        let share = self.shares.take(owner, 1, self.limits.lookups_per_organization_max);
        let _share = share.map_err(|_| LookupError::Busy)?;
        // One look-up for all tasks that wait for the same name. If one stops waiting, another continues it, or it
        // ends.
        let found = self.known.get_with(name.to_owned(), self.ask(name.to_owned())).await;
        if let Ok(found) = &found {
            self.known_last.insert(name.to_owned(), found.clone()).await;
        }
        found
    }

    /// Waits for its turn, then resolves. Only a failure of the second step concerns the name.
    async fn ask(&self, name: String) -> Found {
        let turn = tokio::time::timeout(self.limits.time, self.asking.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(LookupError::Busy) };
        let asking = async {
            // A dropped look-up ends.
            let lookup = match self.resolver.clone() {
                Some(resolver) => self.runtime.spawn(async move {
                    let found = resolver.lookup_ip(name.as_str()).await.map_err(|error| failure(&error))?;
                    Ok(found.iter().collect::<Vec<_>>())
                }),
                None => self.runtime.spawn(async move {
                    let found = tokio::net::lookup_host((name.as_str(), 0)).await;
                    Ok(found.map_err(|_| LookupError::NotFound)?.map(|found| found.ip()).collect())
                }),
            };
            let mut found = AbortOnDropHandle::new(lookup).await.map_err(|_| LookupError::Late)??;
            found.truncate(ADDRESSES_MAX);
            if found.is_empty() { Err(LookupError::NotFound) } else { Ok(found.into()) }
        };
        tokio::time::timeout(self.limits.time, asking).await.unwrap_or(Err(LookupError::Late))
    }

    /// The addresses of a name that the operator chose, by the system's resolver.
    async fn find_operators(&self, name: &str) -> io::Result<Arc<[IpAddr]>> {
        let (runtime, asked) = (&self.runtime, name.to_owned());
        let asking = async move {
            let lookup = runtime.spawn(async move {
                let found = tokio::net::lookup_host((asked.as_str(), 0)).await?;
                io::Result::Ok(found.map(|found| found.ip()).collect::<Arc<[IpAddr]>>())
            });
            lookup.await.map_err(io::Error::other)?
        };
        match self.operators.try_get_with(name.to_owned(), asking).await {
            Ok(found) => {
                if !self.operators_last.contains_key(name)
                    || self.operators_last.get(name).await.as_ref() != Some(&found)
                {
                    self.operators_last.insert(name.to_owned(), found.clone()).await;
                }
                Ok(found)
            }
            // An address that worked before is better than none.
            Err(error) => self.operators_last.get(name).await.ok_or_else(|| io::Error::other(error)),
        }
    }
}

fn failure(error: &hickory_resolver::net::NetError) -> LookupError {
    match error.is_no_records_found() || error.is_nx_domain() {
        true => LookupError::NotFound,
        false => LookupError::Late,
    }
}

/// Resolves customers' names and drops addresses that are neither public nor opened by the operator.
pub struct GuardedResolver {
    names: Arc<Names>,
    allowed: Arc<AllowedNets>,
    /// Used if the task does not state its organization.
    owner: Owner,
}

impl GuardedResolver {
    pub fn new(names: Arc<Names>, allowed: Arc<AllowedNets>) -> Self {
        Self { names, allowed, owner: 0 }
    }

    /// The same for one organization, for every task.
    #[must_use]
    pub fn of(&self, owner: Owner) -> Self {
        Self { names: self.names.clone(), allowed: self.allowed.clone(), owner }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, allowed) = (self.names.clone(), self.allowed.clone());
        let owner = asking().unwrap_or(self.owner);
        Box::pin(async move {
            let found = names.find(owner, name.as_str()).await?;
            let permitted: Vec<IpAddr> = found.iter().copied().filter(|ip| allowed.permits(*ip)).collect();
            if permitted.is_empty() { Err(LookupError::Refused.into()) } else { Ok(addresses(permitted)) }
        })
    }
}

/// Resolves the operator's names.
pub struct OperatorResolver(pub Arc<Names>);

impl Resolve for OperatorResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.0.clone();
        Box::pin(async move {
            let found = names.find_operators(name.as_str()).await?;
            Ok(addresses(found.to_vec()))
        })
    }
}

fn addresses(ips: Vec<IpAddr>) -> Addrs {
    Box::new(ips.into_iter().map(|ip| SocketAddr::new(ip, 0)))
}

#[cfg(test)]
mod tests;
