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

/// Counts a sign-up of a new organization from a network, unless that network has had `signups_max` on that day: then
/// nothing is counted and the answer is false.
pub async fn count_signup(
    connection: &mut PgConnection,
    day: time::Date,
    network: &str,
    signups_max: i32,
) -> Result<bool, StoreError> {
    let counted = sqlx::query!(
        "INSERT INTO signup_count AS earlier (day, network, count) VALUES ($1, $2, 1)
         ON CONFLICT (day, network) DO UPDATE SET count = earlier.count + 1 WHERE earlier.count < $3",
        day,
        network,
        signups_max,
    )
    .execute(connection)
    .await?;
    Ok(counted.rows_affected() > 0)
}

/// Removes counts of days before `before`, at most `rows_max`; returns how many.
pub async fn prune_signups(
    connection: &mut PgConnection,
    before: time::Date,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM signup_count WHERE (day, network) IN (
             SELECT day, network FROM signup_count WHERE day < $1 LIMIT $2)",
        before,
        rows_max,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected())
}
