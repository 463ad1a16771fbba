//! Work beside the requests: each job is a bounded step and an interval. Steps are functions, callable from
//! tests; a step that fails is logged and tried again at the next turn.

pub mod prune;

use crate::{
    billing::reap,
    config::Config,
    domain::{catalog::Catalog, ids::InstanceId},
    gateway::Gateway,
    store::{KeptConnection, Purpose, StoreError, instances},
};
use anyhow::Context;
use futures_util::FutureExt;
use std::{
    panic::AssertUnwindSafe,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Holds expired in one step.
const REAP_MAX: usize = 500;
/// Longest time of one step; below the lease, so that a hung renewal is tried again in time.
const STEP_TIME_MAX: Duration = Duration::from_secs(4);

/// Longest time of one run of the removal of what has ended; the next run goes on where it stopped.
const PRUNE_TIME_MAX: Duration = Duration::from_secs(120);

/// Starts every job on the database's runtime. They end with `stopping`.
pub fn start(gateway: &Arc<Gateway>, instance: InstanceId, config: &Config, stopping: &CancellationToken) {
    let every = |seconds: u64| Duration::from_secs(seconds);
    let on = |name, period, step| spawn(gateway, stopping, name, period, step);
    on("lease", every(3), Step::Lease(instance));
    on("reap", every(5), Step::Reap);
    on("platform keys", every(4), Step::PlatformKeys);
    on("key uses", every(2), Step::KeyUses);
    on("prune", every(600), Step::Prune);
    if let Some(path) = &config.catalog {
        on("catalogue", every(2), Step::Catalog(path.clone()));
    }
}

enum Step {
    Lease(InstanceId),
    Reap,
    PlatformKeys,
    KeyUses,
    Prune,
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
        let time_max = if matches!(step, Step::Prune) { PRUNE_TIME_MAX } else { STEP_TIME_MAX };
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(period) => {}
            }
            // A step that hangs or panics must not end its job: leases depend on it.
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

/// What a job keeps from step to step.
#[derive(Default)]
struct Held {
    /// The catalogue's file as it was last read.
    overlay: String,
    /// The lease's own connection.
    connection: Option<KeptConnection>,
}

async fn take(step: &Step, gateway: &Gateway, held: &mut Held) -> anyhow::Result<()> {
    match step {
        Step::Lease(instance) => {
            let renewed = renew_lease(gateway, *instance, &mut held.connection).await;
            gateway.db.state().note_write(&renewed);
            renewed.map_err(Into::into)
        }
        Step::Reap => reap(gateway).await.map_err(Into::into),
        Step::PlatformKeys => {
            gateway.platform_keys.refresh(&gateway.db, &gateway.installation.ring).await.map_err(Into::into)
        }
        Step::KeyUses => gateway.key_uses.flush(&gateway.db).await.map_err(Into::into),
        Step::Prune => prune::prune(gateway).await.map_err(Into::into),
        Step::Catalog(path) => reload_catalog(gateway, path, &mut held.overlay).await,
    }
}

/// A step that is cut short drops the connection: the next one takes another.
async fn renew_lease(
    gateway: &Gateway,
    instance: InstanceId,
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
    *kept = Some(connection);
    if renewal != instances::Renewal::Renewed {
        tracing::warn!(instance.id = %instance, outcome = ?renewal, "the lease had lapsed; open holds may have been reaped");
    }
    Ok(())
}

/// Ends the holds that dead processes left behind.
pub async fn reap(gateway: &Gateway) -> Result<(), StoreError> {
    let mut transaction = gateway.db.with_purpose(Purpose::Vital).begin().await?;
    let reaped = reap::reap_once(&mut transaction, &gateway.ambient, REAP_MAX).await?;
    transaction.commit().await?;
    for hold in reaped {
        tracing::info!(org.id = %hold.org_id, hold.id = %hold.hold, charge.usd = %hold.charge, "a dead process's hold expired");
    }
    Ok(())
}

/// Lays the file over the built-in catalogue when it has changed. A bad file changes nothing.
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
