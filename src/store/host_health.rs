//! Samples of hosts that one process writes and the others read. Ages use the database's clock only, so that processes
//! with wrong clocks can exchange them.

use super::StoreError;
use crate::domain::ids::InstanceId;
use sqlx::PgConnection;

/// Longest time for which a batch is used; older ones are removed.
const KEPT_SECONDS: i32 = 300;

/// One batch of another process.
pub struct Batch {
    pub id: i64,
    /// Milliseconds since it was written.
    pub age_ms: i64,
    /// JSON text.
    pub samples: String,
}

/// Writes the samples (JSON text) of one process.
pub async fn publish(
    connection: &mut PgConnection,
    instance: InstanceId,
    samples: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO host_health (instance_id, samples) VALUES ($1, $2::text::jsonb)",
        instance.0,
        samples
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Batches that other processes wrote within the last `seconds`, oldest first.
pub async fn list_of_others(
    connection: &mut PgConnection,
    instance: InstanceId,
    seconds: i32,
    batches_max: i64,
) -> Result<Vec<Batch>, StoreError> {
    let batches = sqlx::query_as!(
        Batch,
        r#"SELECT id, (1000 * extract(epoch FROM now() - written_at))::bigint AS "age_ms!", samples::text AS "samples!"
           FROM (SELECT id, written_at, samples FROM host_health
                 WHERE written_at > now() - $2::int * interval '1 second' AND instance_id <> $1
                 ORDER BY written_at DESC LIMIT $3) latest
           ORDER BY written_at, id"#,
        instance.0,
        seconds,
        batches_max,
    );
    Ok(batches.fetch_all(connection).await?)
}

/// Removes batches that are too old.
pub async fn prune(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM host_health WHERE written_at < now() - $1::int * interval '1 second'",
        KEPT_SECONDS
    )
    .execute(connection)
    .await?;
    Ok(())
}
