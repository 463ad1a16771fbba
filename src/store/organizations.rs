//! Organizations: the tenants.

use super::{OrgScope, StoreError, sessions};
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

/// Whether an organization may be served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrganizationState {
    pub name: String,
    pub suspended_at: Option<OffsetDateTime>,
    pub suspended_reason: Option<String>,
    pub deleted_at: Option<OffsetDateTime>,
}

/// What the deletion of an organization ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Contents {
    pub members: i64,
    pub invitations: i64,
    pub api_keys: i64,
    pub provider_keys: i64,
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

/// Reads the state of an organization and locks its row until the transaction ends.
pub async fn lock_state(
    connection: &mut PgConnection,
    scope: OrgScope,
) -> Result<Option<OrganizationState>, StoreError> {
    let row = sqlx::query!(
        "SELECT name, suspended_at, suspended_reason, deleted_at FROM organization WHERE id = $1 FOR UPDATE",
        scope.uuid(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| OrganizationState {
        name: row.name,
        suspended_at: row.suspended_at,
        suspended_reason: row.suspended_reason,
        deleted_at: row.deleted_at,
    }))
}

/// Suspends an organization from a moment on, for a reason; `None` resumes it.
pub async fn set_suspension(
    connection: &mut PgConnection,
    scope: OrgScope,
    suspension: Option<(OffsetDateTime, &str)>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE organization SET suspended_at = $2, suspended_reason = $3 WHERE id = $1",
        scope.uuid(),
        suspension.map(|(at, _)| at),
        suspension.map(|(_, reason)| reason),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts what the deletion of an organization would end.
pub async fn count_contents(connection: &mut PgConnection, scope: OrgScope) -> Result<Contents, StoreError> {
    Ok(sqlx::query_as!(
        Contents,
        r#"SELECT (SELECT count(*) FROM membership WHERE org_id = $1) AS "members!",
                  (SELECT count(*) FROM invitation WHERE org_id = $1 AND accepted_at IS NULL) AS "invitations!",
                  (SELECT count(*) FROM api_key WHERE org_id = $1 AND revoked_at IS NULL) AS "api_keys!",
                  (SELECT count(*) FROM provider_key WHERE org_id = $1) AS "provider_keys!""#,
        scope.uuid(),
    )
    .fetch_one(connection)
    .await?)
}

/// Deletes an organization: its API keys are revoked, its provider keys, webhooks, members, open invitations and saved
/// payment method are removed, its sessions end. The books, the usage and the audit log stay.
pub async fn close(
    connection: &mut PgConnection,
    scope: OrgScope,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let org = scope.uuid();
    sqlx::query!("UPDATE organization SET deleted_at = $2 WHERE id = $1", org, now)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("UPDATE api_key SET revoked_at = $2 WHERE org_id = $1 AND revoked_at IS NULL", org, now)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM provider_key WHERE org_id = $1", org).execute(&mut *connection).await?;
    sqlx::query!("DELETE FROM webhook WHERE org_id = $1", org).execute(&mut *connection).await?;
    sqlx::query!("DELETE FROM invitation WHERE org_id = $1", org).execute(&mut *connection).await?;
    sqlx::query!("DELETE FROM membership WHERE org_id = $1", org).execute(&mut *connection).await?;
    sqlx::query!("UPDATE auto_topup SET enabled = false, payment_method = NULL WHERE org_id = $1", org)
        .execute(&mut *connection)
        .await?;
    sessions::revoke_of_organization(connection, scope, now).await
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
