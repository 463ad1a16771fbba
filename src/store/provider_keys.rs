//! Customers' provider keys, sealed. The plaintext is never here.

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{ApiKeyId, ProviderKeyId},
    provider::ProviderId,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// One stored provider key of an API key.
#[derive(Clone, Debug)]
pub struct StoredProviderKey {
    pub id: ProviderKeyId,
    pub provider: ProviderId,
    pub label: String,
    /// Only for these models (canonical id or bare name); empty: for all.
    pub models: Vec<String>,
    pub enabled: bool,
    /// The customer's own endpoint; `None`: the provider's public one.
    pub base_url: Option<String>,
    /// The vault record.
    pub sealed: Vec<u8>,
    pub last4: String,
    /// First 16 hexadecimal digits of a keyed hash: tells two keys apart without showing either.
    pub fingerprint: String,
    pub status: String,
    pub created_at: OffsetDateTime,
    pub last_used_at: Option<OffsetDateTime>,
    pub last_error: Option<String>,
}

/// The provider keys of one API key: by provider, then in the order in which they are tried.
pub async fn list_of_api_key(
    connection: &mut PgConnection,
    scope: OrgScope,
    api_key: ApiKeyId,
) -> Result<Vec<StoredProviderKey>, StoreError> {
    let rows = sqlx::query!(
        "SELECT id, provider, label, models, enabled, base_url, sealed, last4, fingerprint, status, created_at,
                last_used_at, last_error
         FROM provider_key WHERE org_id = $1 AND api_key_id = $2 ORDER BY provider, position, id",
        scope.uuid(),
        api_key.0,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(StoredProviderKey {
                id: ProviderKeyId(row.id),
                provider: provider_of("provider_key", "provider", &row.id, &row.provider)?,
                label: row.label,
                models: row.models,
                enabled: row.enabled,
                base_url: row.base_url,
                sealed: row.sealed,
                last4: row.last4,
                fingerprint: row.fingerprint,
                status: row.status,
                created_at: row.created_at,
                last_used_at: row.last_used_at,
                last_error: row.last_error,
            })
        })
        .collect()
}

/// Reads a stored provider id.
pub(super) fn provider_of(
    table: &'static str,
    column: &'static str,
    row: &uuid::Uuid,
    text: &str,
) -> Result<ProviderId, StoreError> {
    ProviderId::by_id(text).ok_or_else(|| StoreError::Corrupt {
        table,
        column,
        row: row.to_string(),
        reason: "not a provider of the table".into(),
    })
}
