//! Writes the samples of this process for the others, and applies theirs.

use crate::{
    domain::ids::InstanceId,
    gateway::Gateway,
    routing::shared_health,
    store::{StoreError, host_health},
};
use std::collections::BTreeSet;

/// A starting process reads everything that is still usable; later, batches that may have been committed late.
const FIRST_SECONDS: i32 = 300;
const LATER_SECONDS: i32 = 20;
/// Batches that one step reads.
const BATCHES_MAX: i64 = 1_000;

/// The batches that were read before.
#[derive(Default)]
pub struct BatchesRead {
    ids: BTreeSet<i64>,
    has_begun: bool,
}

/// One step.
pub async fn exchange(
    gateway: &Gateway,
    instance: InstanceId,
    read: &mut BatchesRead,
) -> Result<(), StoreError> {
    let samples = gateway.outgoing_samples.take();
    if !samples.is_empty() {
        let text = shared_health::encode(&samples, gateway.now_ms())
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let mut transaction = gateway.db.begin().await?;
        host_health::publish(&mut transaction, instance, &text).await?;
        host_health::prune(&mut transaction).await?;
        transaction.commit().await?;
    }
    let seconds = if read.has_begun { LATER_SECONDS } else { FIRST_SECONDS };
    let mut connection = gateway.db.acquire().await?;
    let batches = host_health::list_of_others(&mut connection, instance, seconds, BATCHES_MAX).await?;
    drop(connection);
    let now_ms = gateway.now_ms();
    for batch in batches.iter().filter(|batch| !read.ids.contains(&batch.id)) {
        match shared_health::decode(&batch.samples, batch.age_ms, now_ms) {
            Ok(samples) => shared_health::apply(&samples, &gateway.measurements, &gateway.breakers),
            // Written by another version: its samples cannot be read, and are not needed.
            Err(error) => tracing::debug!(error.cause = %error, "samples of another process were not read"),
        }
    }
    read.ids = batches.iter().map(|batch| batch.id).collect();
    read.has_begun = true;
    Ok(())
}
