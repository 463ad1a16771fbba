//! Who changed what. Written in the transaction of the change, never updated.

use super::StoreError;
use crate::domain::{ambient::Ambient, ids::OrgId};
use sqlx::PgConnection;

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
