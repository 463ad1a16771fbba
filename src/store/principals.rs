//! The principal of an API key by its id, for a person who may use the key from a page: it is decided there as for a
//! request that presents the key.

use super::{
    StoreError,
    api_keys::{self, KeyScope, Principal},
};
use crate::domain::ids::ApiKeyId;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// The principal of a live key in `scope`; `None` for one that is unknown, revoked or expired.
pub async fn get(
    connection: &mut PgConnection,
    scope: KeyScope,
    id: ApiKeyId,
    now: OffsetDateTime,
) -> Result<Option<Principal>, StoreError> {
    let hash = sqlx::query_scalar!(
        "SELECT key_hash FROM api_key
         WHERE org_id = $1 AND id = $2 AND ($3::uuid IS NULL OR created_by = $3) AND revoked_at IS NULL",
        scope.org.uuid(),
        id.0,
        scope.made_by.map(|user| user.0),
    )
    .fetch_optional(&mut *connection)
    .await?;
    match hash.and_then(|hash| <[u8; 32]>::try_from(hash).ok()) {
        Some(hash) => api_keys::find_principal(connection, &hash, now).await,
        None => Ok(None),
    }
}
