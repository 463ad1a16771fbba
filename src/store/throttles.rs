//! Throttles that all processes share: the time at which the bucket of a subject will be full again. The arithmetic is
//! in `limits::gcra`; this module reads a state under its row's lock and writes it back. Times are the database's.

use super::StoreError;
use crate::limits::Gcra;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// Counts an attempt, in the caller's transaction. Returns the milliseconds until an attempt is allowed; 0: this one
/// is.
pub async fn attempt(connection: &mut PgConnection, subject: &[u8], rate: Gcra) -> Result<i64, StoreError> {
    let (arrival_ms, now_ms) = lock(connection, subject).await?;
    let attempt = rate.attempt(arrival_ms, now_ms);
    set(connection, subject, attempt.arrival_ms).await?;
    Ok(attempt.wait_ms)
}

/// Returns one attempt.
pub async fn refund(connection: &mut PgConnection, subject: &[u8], rate: Gcra) -> Result<(), StoreError> {
    let (arrival_ms, _) = lock(connection, subject).await?;
    set(connection, subject, rate.refund(arrival_ms)).await
}

async fn lock(connection: &mut PgConnection, subject: &[u8]) -> Result<(i64, i64), StoreError> {
    sqlx::query!("INSERT INTO throttle (subject) VALUES ($1) ON CONFLICT DO NOTHING", subject)
        .execute(&mut *connection)
        .await?;
    let row = sqlx::query!(
        r#"SELECT arrival_ms, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS "now_ms!"
           FROM throttle WHERE subject = $1 FOR UPDATE"#,
        subject
    );
    let row = row.fetch_one(connection).await?;
    Ok((row.arrival_ms, row.now_ms))
}

async fn set(connection: &mut PgConnection, subject: &[u8], arrival_ms: i64) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE throttle SET arrival_ms = $2, updated_at = now() WHERE subject = $1",
        subject,
        arrival_ms
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the states of subjects without an attempt since `before`.
pub async fn prune(
    connection: &mut PgConnection,
    before: OffsetDateTime,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM throttle WHERE subject IN (
             SELECT subject FROM throttle WHERE updated_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        before,
        rows_max,
    );
    Ok(outcome.execute(connection).await?.rows_affected())
}
