//! Background jobs: each job is a bounded step and an interval. Steps are functions that tests can call; a failed step
//! is logged and retried at the next interval.

pub mod books;
mod host_health;
mod lease;
pub mod prune;

use crate::{
    accounts::Accounts,
    billing::{
        payments::{Payments, top_up_due},
        reap,
    },
    config::Config,
    domain::{catalog::Catalog, ids::InstanceId},
    gateway::Gateway,
    store::{KeptConnection, Purpose, StoreError, instances},
};
use anyhow::Context;
use futures_util::FutureExt;
use lease::LeaseWatch;
use std::{
    panic::AssertUnwindSafe,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Holds expired in one step.
const REAP_MAX: usize = 500;
/// Records replaced in one step.
const MADE_UP_MAX: i64 = 500;
/// Longest time of one step; below the lease, so that a hung renewal is retried in time.
const STEP_TIME_MAX: Duration = Duration::from_secs(4);

/// Longest time of one run that removes ended rows; the next run continues where it stopped.
const PRUNE_TIME_MAX: Duration = Duration::from_secs(120);
/// Longest time of one run that sums usage or closes months; the next run continues where it stopped.
const BOOKS_TIME_MAX: Duration = Duration::from_secs(600);
/// Open holds of this process that one step compares with its own list; more than it may have at once.
const OPEN_MAX: i64 = 16_384;
/// A hold is compared at this age: by then its request has received the reply.
const COMPARED_AFTER: Duration = Duration::from_secs(30);

/// Starts every job on the database's runtime. They end with `stopping`.
pub fn start(
    gateway: &Arc<Gateway>,
    instance: InstanceId,
    config: &Config,
    accounts: &Accounts,
    stopping: &CancellationToken,
) {
    let every = |seconds: u64| Duration::from_secs(seconds);
    let on = |name, period, step| spawn(gateway, stopping, name, period, step);
    let lease = Arc::new(LeaseWatch::begin(Instant::now()));
    on("lease", every(3), Step::Lease(instance, lease.clone()));
    on("reap", every(5), Step::Reap(instance, lease));
    on("platform keys", every(4), Step::PlatformKeys);
    on("key uses", every(2), Step::KeyUses);
    on("host health", every(3), Step::HostHealth(instance));
    on("prune", every(600), Step::Prune);
    on("sums of usage", every(60), Step::Sum);
    on("books", every(300), Step::Books);
    if let Some(payments) = &accounts.rules().payments {
        on("automatic top-up", every(30), Step::TopUp(payments.clone()));
    }
    if let Some(path) = &config.catalog {
        on("catalogue", every(2), Step::Catalog(path.clone()));
    }
}

enum Step {
    Lease(InstanceId, Arc<LeaseWatch>),
    Reap(InstanceId, Arc<LeaseWatch>),
    PlatformKeys,
    KeyUses,
    HostHealth(InstanceId),
    Prune,
    Sum,
    Books,
    TopUp(Arc<Payments>),
    Catalog(std::path::PathBuf),
}

fn spawn(
    gateway: &Arc<Gateway>,
    stopping: &CancellationToken,
    name: &'static str,
    period: Duration,
    step: Step,
) {
    let (gateway, stopping) = (gateway.clone(), stopping.clone());
    let runtime = gateway.db.runtime().clone();
    runtime.spawn(async move {
        let mut held = Held::default();
        let time_max = match step {
            Step::Prune => PRUNE_TIME_MAX,
            Step::Sum | Step::Books | Step::TopUp(_) => BOOKS_TIME_MAX,
            _ => STEP_TIME_MAX,
        };
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(period) => {}
            }
            // A step that hangs or panics must not end its job, because leases depend on it.
            let step = AssertUnwindSafe(take(&step, &gateway, &mut held)).catch_unwind();
            let cause = match tokio::time::timeout(time_max, step).await {
                Ok(Ok(Ok(()))) => continue,
                Ok(Ok(Err(error))) => format!("{error:#}"),
                Ok(Err(_)) => "panicked".to_owned(),
                Err(_) => "took too long".to_owned(),
            };
            tracing::warn!(job = name, error.cause = cause, "a job's step failed");
        }
    });
}

/// State of a job between steps.
#[derive(Default)]
struct Held {
    /// The catalogue's file as it was last read.
    overlay: String,
    /// The lease's own connection.
    connection: Option<KeptConnection>,
    /// Batches of host samples of other processes.
    batches: host_health::BatchesRead,
}

async fn take(step: &Step, gateway: &Gateway, held: &mut Held) -> anyhow::Result<()> {
    match step {
        Step::Lease(instance, lease) => {
            let renewed = renew_lease(gateway, *instance, lease, &mut held.connection).await;
            gateway.db.state().note_write(&renewed);
            renewed.map_err(Into::into)
        }
        Step::Reap(instance, lease) => {
            // A process that could not reach the database cannot decide which processes are gone: the others may have
            // had the same outage.
            renew_lease(gateway, *instance, lease, &mut held.connection).await?;
            if lease.is_fit_to_reap(Instant::now()) {
                reap(gateway).await?;
            }
            Ok(())
        }
        Step::PlatformKeys => {
            gateway.platform_keys.refresh(&gateway.db, &gateway.installation.ring).await.map_err(Into::into)
        }
        Step::KeyUses => gateway.key_uses.flush(&gateway.db).await.map_err(Into::into),
        Step::HostHealth(instance) => {
            host_health::exchange(gateway, *instance, &mut held.batches).await.map_err(Into::into)
        }
        Step::Prune => prune::prune(gateway).await.map_err(Into::into),
        Step::Sum => books::sum(gateway).await.map_err(Into::into),
        Step::Books => books::keep(gateway).await.map_err(Into::into),
        Step::TopUp(payments) => {
            top_up_due(&gateway.db, &payments.stripe).await.map(|_| ()).map_err(Into::into)
        }
        Step::Catalog(path) => reload_catalog(gateway, path, &mut held.overlay).await,
    }
}

/// A step that is interrupted drops the connection: the next one opens another.
async fn renew_lease(
    gateway: &Gateway,
    instance: InstanceId,
    lease: &LeaseWatch,
    kept: &mut Option<KeptConnection>,
) -> Result<(), StoreError> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => gateway.db.with_purpose(Purpose::Vital).keep().await?,
    };
    let begun = Instant::now();
    connection.start(None).await?;
    let renewal = instances::renew(&mut connection, instance, &gateway.installation.ring.ids()).await?;
    connection.finish().await?;
    gateway.lease.renewed_at(begun);
    lease.renewed(begun, renewal);
    *kept = Some(connection);
    if renewal != instances::Renewal::Renewed {
        tracing::warn!(instance.id = %instance, outcome = ?renewal, "the lease had lapsed; open holds may have been reaped");
    }
    Ok(())
}

/// Ends the holds of dead processes and those of this one without a request, and writes the records that a dead process
/// had not written.
pub async fn reap(gateway: &Gateway) -> Result<(), StoreError> {
    let db = gateway.db.with_purpose(Purpose::Vital);
    let ambient = &gateway.ambient;
    let mut transaction = db.begin().await?;
    reap::reap_once(&mut transaction, ambient, REAP_MAX).await?;
    transaction.commit().await?;
    let before = ambient.now() - COMPARED_AFTER;
    let instance = gateway.ledger.instance();
    let open = instances::list_open(&mut *db.acquire().await?, instance, before, OPEN_MAX).await?;
    let unknown = gateway.ledger.unknown_of(open).await;
    for holds in unknown.chunks(REAP_MAX) {
        let mut transaction = db.begin().await?;
        reap::end_unknown(&mut transaction, ambient, holds).await?;
        transaction.commit().await?;
    }
    let mut transaction = db.begin().await?;
    reap::make_up_records(&mut transaction, ambient, MADE_UP_MAX).await?;
    transaction.commit().await
}

/// Applies the overlay file to the built-in catalogue when it has changed. An invalid file changes nothing.
pub async fn reload_catalog(gateway: &Gateway, path: &Path, last: &mut String) -> anyhow::Result<()> {
    let text = tokio::fs::read_to_string(path).await.context("KAIROSROUTE_CATALOG cannot be read")?;
    if text != *last {
        *last = text;
        let catalog = Catalog::built_in()?.overlaid(last)?;
        if catalog.version != gateway.catalog.load().version {
            tracing::info!(catalog.version = catalog.version, "the catalogue was read again");
            gateway.catalog.store(Arc::new(catalog));
        }
    }
    Ok(())
}
