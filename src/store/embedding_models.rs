//! The embedding model of each organization, fixed at its first use.

use super::{OrgScope, StoreError};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// Fixes the model unless one is already fixed; returns the fixed one.
pub async fn fix(
    connection: &mut PgConnection,
    scope: OrgScope,
    model: &str,
    now: OffsetDateTime,
) -> Result<String, StoreError> {
    let kept = sqlx::query_scalar!(
        "INSERT INTO org_embedding_model AS kept (org_id, model, created_at) VALUES ($1, $2, $3)
         ON CONFLICT (org_id) DO UPDATE SET model = kept.model RETURNING model",
        scope.uuid(),
        model,
        now,
    );
    Ok(kept.fetch_one(connection).await?)
}
