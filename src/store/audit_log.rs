//! Who changed what. Written in the transaction of the change, never updated.

use super::StoreError;
use crate::domain::{ambient::Ambient, ids::OrgId};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// One change. Texts hold identifiers and field names, never values that could be secret.
pub struct AuditEntry<'a> {
    pub org: Option<OrgId>,
    /// A user id, an API key id, or `cli`.
    pub actor: &'a str,
    /// `noun.verb`, e.g. `api_key.revoke`.
    pub action: &'a str,
    /// The identifier of what was changed.
    pub subject: &'a str,
}

pub async fn insert(
    connection: &mut PgConnection,
    ambient: &Ambient,
    entry: &AuditEntry<'_>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO audit_log (id, org_id, actor, action, subject, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        ambient.uuid(),
        entry.org.map(|id| id.0),
        entry.actor,
        entry.action,
        entry.subject,
        ambient.now(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes lines from before `before`, at most `rows_max`; returns how many. Ids sort by time.
pub async fn prune(
    connection: &mut PgConnection,
    before: OffsetDateTime,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM audit_log WHERE id IN (
             SELECT id FROM (SELECT id, created_at FROM audit_log ORDER BY id LIMIT $2) oldest WHERE created_at < $1)",
        before,
        rows_max,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected())
}
