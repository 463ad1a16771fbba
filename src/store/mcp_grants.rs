//! Which organizations may use which of the operator's MCP servers.

use super::{OrgScope, StoreError};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// Whether the organization was granted one of these servers.
pub async fn has_any(
    connection: &mut PgConnection,
    scope: OrgScope,
    slugs: &[String],
) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM mcp_grant WHERE org_id = $1 AND slug = ANY($2)) AS "granted!""#,
        scope.uuid(),
        slugs,
    )
    .fetch_one(connection)
    .await?)
}

/// Whether the operator has ever given or sold credit to the organization.
pub async fn is_credited(connection: &mut PgConnection, scope: OrgScope) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM entry WHERE org_id = $1 AND kind IN ('grant', 'topup')) AS "credited!""#,
        scope.uuid(),
    )
    .fetch_one(connection)
    .await?)
}

/// Grants a server. A second time changes nothing.
pub async fn insert(
    connection: &mut PgConnection,
    scope: OrgScope,
    slug: &str,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO mcp_grant (org_id, slug, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        scope.uuid(),
        slug,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Revokes a grant; false if there was none.
pub async fn delete(connection: &mut PgConnection, scope: OrgScope, slug: &str) -> Result<bool, StoreError> {
    let outcome = sqlx::query!("DELETE FROM mcp_grant WHERE org_id = $1 AND slug = $2", scope.uuid(), slug)
        .execute(connection)
        .await?;
    Ok(outcome.rows_affected() > 0)
}
