//! The operator's own provider keys, sealed; one per provider.

use super::{StoreError, provider_keys::provider_of};
use crate::domain::{ids::PlatformKeyId, provider::ProviderId};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// A stored platform key.
#[derive(Clone, Debug)]
pub struct StoredPlatformKey {
    pub id: PlatformKeyId,
    pub provider: ProviderId,
    pub sealed: Vec<u8>,
    pub last4: String,
    pub created_at: OffsetDateTime,
}

pub async fn list(connection: &mut PgConnection) -> Result<Vec<StoredPlatformKey>, StoreError> {
    let rows = sqlx::query!(
        "SELECT id, provider, sealed, last4, created_at FROM platform_key ORDER BY provider LIMIT 1000"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(StoredPlatformKey {
                id: PlatformKeyId(row.id),
                provider: provider_of("platform_key", "provider", &row.id, &row.provider)?,
                sealed: row.sealed,
                last4: row.last4,
                created_at: row.created_at,
            })
        })
        .collect()
}

/// Stores the key of a provider in place of the one there was. The id is new, for the seal is bound to it.
pub async fn set(connection: &mut PgConnection, key: &StoredPlatformKey) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO platform_key (id, provider, sealed, last4, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (provider) DO UPDATE
         SET id = excluded.id, sealed = excluded.sealed, last4 = excluded.last4, created_at = excluded.created_at",
        key.id.0,
        key.provider.as_str(),
        key.sealed,
        key.last4,
        key.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets the stored key of a provider; the environment's, if any, serves again.
pub async fn delete(connection: &mut PgConnection, provider: ProviderId) -> Result<bool, StoreError> {
    let outcome = sqlx::query!("DELETE FROM platform_key WHERE provider = $1", provider.as_str())
        .execute(connection)
        .await?;
    Ok(outcome.rows_affected() > 0)
}

/// The providers whose platform key is switched off.
pub async fn list_disabled(connection: &mut PgConnection) -> Result<Vec<ProviderId>, StoreError> {
    let rows = sqlx::query_scalar!("SELECT provider FROM platform_key_disabled ORDER BY provider LIMIT 1000")
        .fetch_all(connection)
        .await?;
    // A provider that this version does not know has no key that could be used.
    Ok(rows.iter().filter_map(|id| ProviderId::by_id(id)).collect())
}

/// Switches the platform key of a provider off; false when it was off already.
pub async fn disable(
    connection: &mut PgConnection,
    provider: ProviderId,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let outcome = sqlx::query!(
        "INSERT INTO platform_key_disabled (provider, disabled_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        provider.as_str(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected() > 0)
}

/// Switches the platform key of a provider on again; false when it was on already.
pub async fn enable(connection: &mut PgConnection, provider: ProviderId) -> Result<bool, StoreError> {
    let outcome = sqlx::query!("DELETE FROM platform_key_disabled WHERE provider = $1", provider.as_str())
        .execute(connection)
        .await?;
    Ok(outcome.rows_affected() > 0)
}
