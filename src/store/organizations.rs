//! Organizations: the tenants.

use super::{OrgScope, StoreError};
use crate::domain::ids::OrgId;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// An organization as the operator sees it in a list.
#[derive(Clone, Debug)]
pub struct Organization {
    pub id: OrgId,
    pub name: String,
    pub created_at: OffsetDateTime,
}

/// Adds an organization with an empty credit account.
pub async fn insert(
    connection: &mut PgConnection,
    id: OrgId,
    name: &str,
    now: OffsetDateTime,
) -> Result<OrgScope, StoreError> {
    sqlx::query!("INSERT INTO organization (id, name, created_at) VALUES ($1, $2, $3)", id.0, name, now)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("INSERT INTO credit_account (org_id) VALUES ($1)", id.0).execute(connection).await?;
    Ok(OrgScope::of(id))
}

pub async fn get_name(connection: &mut PgConnection, scope: OrgScope) -> Result<Option<String>, StoreError> {
    let name = sqlx::query_scalar!("SELECT name FROM organization WHERE id = $1", scope.uuid());
    Ok(name.fetch_optional(connection).await?)
}

/// For the operator's commands only, which may name any tenant: the scope of an organization that exists.
pub async fn find_scope(connection: &mut PgConnection, id: OrgId) -> Result<Option<OrgScope>, StoreError> {
    let found = sqlx::query_scalar!("SELECT id FROM organization WHERE id = $1", id.0);
    Ok(found.fetch_optional(connection).await?.map(|id| OrgScope::of(OrgId(id))))
}

/// For the operator: a page of all organizations, oldest first, after `after`.
pub async fn list(
    connection: &mut PgConnection,
    after: Option<OrgId>,
    rows_max: i64,
) -> Result<Vec<Organization>, StoreError> {
    let rows = sqlx::query!(
        "SELECT id, name, created_at FROM organization WHERE ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2",
        after.map(|id| id.0),
        rows_max,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Organization { id: OrgId(row.id), name: row.name, created_at: row.created_at })
        .collect())
}
