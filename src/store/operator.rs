//! What the operator sees of all organizations: their state, credit and usage, and the installation's own people. The
//! only reads that go over several tenants; every caller has shown to be the operator.

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{OrgId, UserId},
    money::NanoUsd,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// An organization with its credit, and its usage over a span of time.
#[derive(Clone, Debug)]
pub struct OrganizationRow {
    pub scope: OrgScope,
    pub name: String,
    pub created_at: OffsetDateTime,
    pub suspended_at: Option<OffsetDateTime>,
    pub suspended_reason: Option<String>,
    pub deleted_at: Option<OffsetDateTime>,
    /// Sum of its entries.
    pub posted: NanoUsd,
    /// Sum of its open holds.
    pub held: NanoUsd,
    pub requests: i64,
    /// Charged on platform keys, and what the providers bill the operator for it.
    pub charged: NanoUsd,
    pub cost: NanoUsd,
}

/// Which organizations are listed.
#[derive(Clone, Debug, Default)]
pub struct OrganizationFilter {
    pub after: Option<OrgId>,
    /// Alone.
    pub id: Option<OrgId>,
    /// Part of the name, in any case.
    pub name: Option<String>,
}

/// A page of organizations, oldest first, with their usage of `from..to`.
pub async fn list_organizations(
    connection: &mut PgConnection,
    filter: &OrganizationFilter,
    (from, to): (OffsetDateTime, OffsetDateTime),
    rows_max: i64,
) -> Result<Vec<OrganizationRow>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT o.id, o.name, o.created_at, o.suspended_at, o.suspended_reason, o.deleted_at,
                  COALESCE(c.posted, 0) AS "posted!", COALESCE(c.held, 0) AS "held!",
                  COALESCE(u.requests, 0)::bigint AS "requests!", COALESCE(u.charge, 0)::bigint AS "charge!",
                  COALESCE(u.cost, 0)::bigint AS "cost!"
           FROM (SELECT * FROM organization
                 WHERE ($1::uuid IS NULL OR id > $1) AND ($2::uuid IS NULL OR id = $2)
                   AND ($3::text IS NULL OR position(lower($3) in lower(name)) > 0)
                 ORDER BY id LIMIT $4) o
           LEFT JOIN credit_account c ON c.org_id = o.id
           LEFT JOIN LATERAL (
               SELECT sum(s.requests) AS requests, sum(s.charge) AS charge,
                      sum(s.cost) FILTER (WHERE NOT s.byok) AS cost
               FROM usage_steps(o.id, $5, $6, true) s) u ON true
           ORDER BY o.id"#,
        filter.after.map(|id| id.0),
        filter.id.map(|id| id.0),
        filter.name,
        rows_max,
        from,
        to,
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|row| OrganizationRow {
        scope: OrgScope::of(OrgId(row.id)),
        name: row.name,
        created_at: row.created_at,
        suspended_at: row.suspended_at,
        suspended_reason: row.suspended_reason,
        deleted_at: row.deleted_at,
        posted: NanoUsd(row.posted),
        held: NanoUsd(row.held),
        requests: row.requests,
        charged: NanoUsd(row.charge),
        cost: NanoUsd(row.cost),
    });
    Ok(rows.collect())
}

/// The revenue from one organization over a span of time.
#[derive(Clone, Debug)]
pub struct RevenueRow {
    pub id: OrgId,
    pub name: String,
    pub requests: i64,
    pub charged: NanoUsd,
    pub cost: NanoUsd,
}

/// Sums over all organizations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RevenueTotal {
    pub requests: i64,
    pub charged: NanoUsd,
    pub cost: NanoUsd,
}

/// Requests, charges and provider costs of `from..to` on platform keys: the organizations with the largest charges, at
/// most `rows_max`, and the sum over all.
pub async fn revenue(
    connection: &mut PgConnection,
    (from, to): (OffsetDateTime, OffsetDateTime),
    rows_max: i64,
) -> Result<(Vec<RevenueRow>, RevenueTotal), StoreError> {
    let rows = sqlx::query!(
        r#"WITH sums AS MATERIALIZED (
               SELECT o.id, o.name, sum(s.requests)::bigint AS requests, sum(s.charge)::bigint AS charge,
                      sum(s.cost)::bigint AS cost
               FROM organization o, LATERAL usage_steps(o.id, $1, $2, true) s
               WHERE NOT s.byok GROUP BY o.id, o.name)
           SELECT id, name, requests AS "requests!", charge AS "charge!", cost AS "cost!",
                  (SELECT sum(requests) FROM sums)::bigint AS "all_requests!",
                  (SELECT sum(charge) FROM sums)::bigint AS "all_charges!",
                  (SELECT sum(cost) FROM sums)::bigint AS "all_costs!"
           FROM sums ORDER BY charge DESC, id LIMIT $3"#,
        from,
        to,
        rows_max,
    )
    .fetch_all(connection)
    .await?;
    let total = rows.first().map_or(RevenueTotal::default(), |row| RevenueTotal {
        requests: row.all_requests,
        charged: NanoUsd(row.all_charges),
        cost: NanoUsd(row.all_costs),
    });
    let rows = rows.into_iter().map(|row| RevenueRow {
        id: OrgId(row.id),
        name: row.name,
        requests: row.requests,
        charged: NanoUsd(row.charge),
        cost: NanoUsd(row.cost),
    });
    Ok((rows.collect(), total))
}

/// An operator of the installation.
#[derive(Clone, Debug)]
pub struct OperatorRow {
    pub id: UserId,
    pub email: String,
    pub created_at: OffsetDateTime,
    /// Of its sessions that are still kept.
    pub last_seen_at: Option<OffsetDateTime>,
}

/// The operators, the first one first. Locks them until the transaction ends.
pub async fn lock_operators(connection: &mut PgConnection) -> Result<Vec<OperatorRow>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT u.id, u.email, u.created_at,
                  (SELECT max(s.last_seen_at) FROM session s WHERE s.user_id = u.id) AS last_seen_at
           FROM app_user u WHERE u.is_operator ORDER BY u.created_at, u.id LIMIT 1000 FOR UPDATE OF u"#,
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|row| OperatorRow {
        id: UserId(row.id),
        email: row.email,
        created_at: row.created_at,
        last_seen_at: row.last_seen_at,
    });
    Ok(rows.collect())
}

/// Removes an operator with its sessions. What it did stays in the audit log.
pub async fn delete_operator(connection: &mut PgConnection, id: UserId) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM session WHERE user_id = $1", id.0).execute(&mut *connection).await?;
    sqlx::query!("DELETE FROM app_user WHERE id = $1 AND is_operator", id.0).execute(connection).await?;
    Ok(())
}
