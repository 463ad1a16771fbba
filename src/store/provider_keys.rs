//! Customers' provider keys, sealed. The plaintext is never stored.

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{ApiKeyId, ProviderKeyId},
    provider::ProviderId,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// The result of the last free call at the provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyStatus {
    Untested,
    Valid,
    Invalid,
}

impl KeyStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            KeyStatus::Untested => "untested",
            KeyStatus::Valid => "valid",
            KeyStatus::Invalid => "invalid",
        }
    }
}

/// Who may use a stored provider key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyOwner {
    /// The API key that it was stored for.
    ApiKey,
    /// The organization's API keys: the listed ones, or all of them.
    Organization(Option<Vec<ApiKeyId>>),
}

/// One stored provider key.
#[derive(Clone, Debug)]
pub struct StoredProviderKey {
    pub id: ProviderKeyId,
    pub owner: KeyOwner,
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
    /// First 16 hexadecimal digits of a keyed hash: it distinguishes two keys without showing either.
    pub fingerprint: String,
    pub status: KeyStatus,
    pub created_at: OffsetDateTime,
    pub last_used_at: Option<OffsetDateTime>,
    pub last_error: Option<String>,
}

impl StoredProviderKey {
    /// Whether it serves this model; a key that is limited to some models serves no others.
    pub fn fits(&self, id: &str, name: &str, upstream: &str) -> bool {
        self.models.is_empty()
            || self.models.iter().any(|model| [id, name, upstream].contains(&model.as_str()))
    }
}

struct Row {
    id: uuid::Uuid,
    api_key_id: Option<uuid::Uuid>,
    shared_with: Option<Vec<uuid::Uuid>>,
    provider: String,
    label: String,
    models: Vec<String>,
    enabled: bool,
    base_url: Option<String>,
    sealed: Vec<u8>,
    last4: String,
    fingerprint: String,
    status: String,
    created_at: OffsetDateTime,
    last_used_at: Option<OffsetDateTime>,
    last_error: Option<String>,
}

impl Row {
    fn into_key(self) -> Result<StoredProviderKey, StoreError> {
        let shared = |ids: Vec<uuid::Uuid>| ids.into_iter().map(ApiKeyId).collect();
        Ok(StoredProviderKey {
            id: ProviderKeyId(self.id),
            owner: match self.api_key_id {
                Some(_) => KeyOwner::ApiKey,
                None => KeyOwner::Organization(self.shared_with.map(shared)),
            },
            provider: provider_of("provider_key", "provider", &self.id, &self.provider)?,
            label: self.label,
            models: self.models,
            enabled: self.enabled,
            base_url: self.base_url,
            sealed: self.sealed,
            last4: self.last4,
            fingerprint: self.fingerprint,
            status: status_of(&self.id, &self.status)?,
            created_at: self.created_at,
            last_used_at: self.last_used_at,
            last_error: self.last_error,
        })
    }
}

/// The provider keys of one API key, or without one the organization's: by provider, then in the order in which they
/// are tried.
pub async fn list(
    connection: &mut PgConnection,
    scope: OrgScope,
    api_key: Option<ApiKeyId>,
) -> Result<Vec<StoredProviderKey>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, api_key_id, shared_with, provider, label, models, enabled, base_url, sealed, last4, fingerprint,
                status, created_at, last_used_at, last_error
         FROM provider_key WHERE org_id = $1 AND api_key_id IS NOT DISTINCT FROM $2
         ORDER BY provider, position, id",
        scope.uuid(),
        api_key.map(|id| id.0),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::into_key).collect()
}

/// The provider keys that an API key may use: its own, then the organization's.
pub async fn list_usable(
    connection: &mut PgConnection,
    scope: OrgScope,
    api_key: ApiKeyId,
) -> Result<Vec<StoredProviderKey>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, api_key_id, shared_with, provider, label, models, enabled, base_url, sealed, last4, fingerprint,
                status, created_at, last_used_at, last_error
         FROM provider_key
         WHERE org_id = $1
           AND (api_key_id = $2 OR (api_key_id IS NULL AND (shared_with IS NULL OR $2 = ANY(shared_with))))
         ORDER BY (api_key_id IS NULL), provider, position, id",
        scope.uuid(),
        api_key.0,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::into_key).collect()
}

/// Stores a key at `position` in its provider's list: a new one, or a known one (by id) with new content.
pub async fn set(
    connection: &mut PgConnection,
    scope: OrgScope,
    api_key: Option<ApiKeyId>,
    position: i32,
    key: &StoredProviderKey,
) -> Result<(), StoreError> {
    let shared_with: Option<Vec<uuid::Uuid>> = match &key.owner {
        KeyOwner::Organization(Some(ids)) => Some(ids.iter().map(|id| id.0).collect()),
        KeyOwner::ApiKey | KeyOwner::Organization(None) => None,
    };
    sqlx::query!(
        "INSERT INTO provider_key (org_id, id, api_key_id, provider, position, label, models, enabled, base_url,
                                   sealed, last4, fingerprint, status, created_at, last_used_at, last_error,
                                   shared_with)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
         ON CONFLICT (org_id, id) DO UPDATE
         SET position = excluded.position, label = excluded.label, models = excluded.models,
             enabled = excluded.enabled, base_url = excluded.base_url, sealed = excluded.sealed,
             last4 = excluded.last4, fingerprint = excluded.fingerprint, status = excluded.status,
             last_error = excluded.last_error, shared_with = excluded.shared_with
         WHERE provider_key.api_key_id IS NOT DISTINCT FROM excluded.api_key_id",
        scope.uuid(),
        key.id.0,
        api_key.map(|id| id.0),
        key.provider.as_str(),
        position,
        key.label,
        &key.models,
        key.enabled,
        key.base_url,
        key.sealed,
        key.last4,
        key.fingerprint,
        key.status.as_str(),
        key.created_at,
        key.last_used_at,
        key.last_error,
        shared_with.as_deref(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes these keys of an API key, or of the organization, including their secrets.
pub async fn delete(
    connection: &mut PgConnection,
    scope: OrgScope,
    api_key: Option<ApiKeyId>,
    ids: &[ProviderKeyId],
) -> Result<(), StoreError> {
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query!(
        "DELETE FROM provider_key WHERE org_id = $1 AND api_key_id IS NOT DISTINCT FROM $2 AND id = ANY($3)",
        scope.uuid(),
        api_key.map(|id| id.0),
        &ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes every key of an API key, or of the organization.
pub async fn delete_all(
    connection: &mut PgConnection,
    scope: OrgScope,
    api_key: Option<ApiKeyId>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM provider_key WHERE org_id = $1 AND api_key_id IS NOT DISTINCT FROM $2",
        scope.uuid(),
        api_key.map(|id| id.0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many provider keys an organization has stored, over all its API keys.
pub async fn count(connection: &mut PgConnection, scope: OrgScope) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM provider_key WHERE org_id = $1"#,
        scope.uuid()
    );
    Ok(count.fetch_one(connection).await?)
}

/// Records the result of a call with the key. `status` is unchanged if the call showed nothing about the key. The seal
/// must still be the tested one, because the secret may have been replaced meanwhile.
pub async fn set_status(
    connection: &mut PgConnection,
    scope: OrgScope,
    key: &StoredProviderKey,
    status: Option<KeyStatus>,
    last_error: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE provider_key SET status = coalesce($4, status), last_error = $5
         WHERE org_id = $1 AND id = $2 AND fingerprint = $3",
        scope.uuid(),
        key.id.0,
        key.fingerprint,
        status.map(KeyStatus::as_str),
        last_error,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// One use of a stored key by a request.
#[derive(Clone, Debug)]
pub struct KeyUse {
    pub scope: OrgScope,
    pub id: ProviderKeyId,
    pub at: OffsetDateTime,
    /// Why it failed, if it did; no secrets.
    pub error: Option<String>,
}

/// Records the last use of many keys at once; each key at most once in a call.
pub async fn record_uses(connection: &mut PgConnection, uses: &[KeyUse]) -> Result<(), StoreError> {
    let orgs: Vec<uuid::Uuid> = uses.iter().map(|one| one.scope.uuid()).collect();
    let ids: Vec<uuid::Uuid> = uses.iter().map(|one| one.id.0).collect();
    let times: Vec<OffsetDateTime> = uses.iter().map(|one| one.at).collect();
    let errors: Vec<Option<String>> = uses.iter().map(|one| one.error.clone()).collect();
    // Locked in order, so that two processes that record the same keys cannot deadlock.
    sqlx::query!(
        "WITH used AS (
             SELECT DISTINCT ON (org_id, id) * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[])
                 AS t (org_id, id, used_at, error)
             ORDER BY org_id, id, used_at DESC
         ), locked AS MATERIALIZED (
             SELECT k.org_id, k.id FROM provider_key k JOIN used ON used.org_id = k.org_id AND used.id = k.id
             ORDER BY k.org_id, k.id FOR UPDATE OF k
         )
         UPDATE provider_key SET last_used_at = greatest(last_used_at, used.used_at), last_error = used.error
         FROM used JOIN locked ON locked.org_id = used.org_id AND locked.id = used.id
         WHERE provider_key.org_id = used.org_id AND provider_key.id = used.id",
        &orgs,
        &ids,
        &times,
        &errors as &[Option<String>],
    )
    .execute(connection)
    .await?;
    Ok(())
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

fn status_of(row: &uuid::Uuid, text: &str) -> Result<KeyStatus, StoreError> {
    [KeyStatus::Untested, KeyStatus::Valid, KeyStatus::Invalid]
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| StoreError::Corrupt {
            table: "provider_key",
            column: "status",
            row: row.to_string(),
            reason: "not a status".into(),
        })
}
