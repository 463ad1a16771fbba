//! Renews the shares of this process in the background: reports spent units, requests needed ones, returns unneeded
//! ones. Many shares are renewed in one transaction.

use super::{Entry, Quotas};
use crate::{
    domain::ids::InstanceId,
    limits::Grant,
    store::{
        Db, StoreError,
        rate_pools::{self, Renewal},
    },
};
use std::{
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Interval between checks for shares that are due without a waiting request.
const TICK: Duration = Duration::from_millis(50);
/// Shares in one transaction.
const BATCH_MAX: usize = 64;
/// Longest time of one transaction.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Pause after a failed transaction.
const FAILURE_PAUSE: Duration = Duration::from_millis(200);

impl Quotas {
    /// Renews shares on the database's runtime until `stopping`; then it returns all.
    pub fn start(self: &Arc<Self>, db: &Db, instance: InstanceId, stopping: CancellationToken) {
        let (quotas, db) = (self.clone(), db.clone());
        db.runtime().clone().spawn(async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => break,
                    () = quotas.due.notified() => {}
                    () = tokio::time::sleep(TICK), if quotas.is_in_use() => {}
                }
                let due = quotas.due_shares(false);
                if !quotas.renew(&db, instance, due).await {
                    tokio::time::sleep(FAILURE_PAUSE).await;
                }
            }
            let all = quotas.due_shares(true);
            quotas.renew(&db, instance, all).await;
        });
    }

    fn is_in_use(&self) -> bool {
        self.shards.iter().any(|shard| !shard.lock().unwrap_or_else(PoisonError::into_inner).is_empty())
    }

    /// The reports of due shares, in the order of their rows. Removes shares that are not used any more.
    fn due_shares(&self, is_last: bool) -> Vec<(Arc<Entry>, Renewal)> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let now_ms = self.now_ms();
            // A request finds its share under this lock: without another holder, no request is about to use it.
            shard.retain(|_, entry| Arc::strong_count(entry) > 1 || !entry.share().is_empty(now_ms));
            for entry in shard.values() {
                let mut share = entry.share();
                if is_last {
                    share.close(now_ms);
                }
                if is_last || share.is_due(now_ms) {
                    let report = share.report(now_ms);
                    let renewal = Renewal { key: entry.key, limit: share.limit(), report };
                    due.push((entry.clone(), renewal));
                }
            }
        }
        due.sort_by_key(|(_, renewal)| {
            let key = renewal.key;
            (key.scope.org_id().0, key.subject, key.metric)
        });
        due
    }

    /// Whether everything was renewed.
    async fn renew(&self, db: &Db, instance: InstanceId, mut due: Vec<(Arc<Entry>, Renewal)>) -> bool {
        let mut complete = true;
        while !due.is_empty() {
            let later = due.split_off(due.len().min(BATCH_MAX));
            let batch = std::mem::replace(&mut due, later);
            let renewals: Vec<Renewal> = batch.iter().map(|(_, renewal)| renewal.clone()).collect();
            let written = tokio::time::timeout(TIME_MAX, write(db, instance, &renewals)).await;
            let cause = match written {
                Ok(Ok(grants)) => {
                    for ((entry, _), grant) in batch.iter().zip(&grants) {
                        entry.share().granted(grant, self.now_ms());
                        entry.answers.fetch_add(1, Relaxed);
                        entry.answered.notify_waiters();
                    }
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            complete = false;
            batch.iter().for_each(|(entry, _)| entry.share().failed());
            tracing::warn!(
                error.cause = cause,
                shares = batch.len(),
                "shares of rate limits were not renewed"
            );
        }
        complete
    }
}

async fn write(db: &Db, instance: InstanceId, renewals: &[Renewal]) -> Result<Vec<Grant>, StoreError> {
    let mut transaction = db.begin().await?;
    let grants = rate_pools::renew(&mut transaction, instance.0, renewals).await?;
    transaction.commit().await?;
    Ok(grants)
}
