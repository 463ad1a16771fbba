//! Random values of the installation, sealed. The first process that starts writes them once.

use super::StoreError;
use sqlx::PgConnection;
use time::OffsetDateTime;

pub async fn get(connection: &mut PgConnection, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar!("SELECT sealed FROM secret WHERE name = $1", name)
        .fetch_optional(connection)
        .await?)
}

/// Stores `sealed` unless another process was faster. Read again afterwards to get the stored value.
pub async fn insert_if_absent(
    connection: &mut PgConnection,
    name: &str,
    sealed: &[u8],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO secret (name, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        name,
        sealed,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
