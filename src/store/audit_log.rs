//! Who changed what. Written in the transaction of the change, never updated.

use super::{OrgScope, StoreError, caller};
use crate::domain::{
    ambient::Ambient,
    ids::{ApiKeyId, OrgId},
};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use std::collections::BTreeSet;
use time::OffsetDateTime;
use uuid::Uuid;

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
    insert_with(connection, ambient, entry, None).await
}

/// The same with the fields that changed: `{"field": [old, new]}`, none of them a secret.
pub async fn insert_with(
    connection: &mut PgConnection,
    ambient: &Ambient,
    entry: &AuditEntry<'_>,
    changes: Option<&Value>,
) -> Result<(), StoreError> {
    let caller = caller::current();
    sqlx::query!(
        "INSERT INTO audit_log (id, org_id, actor, action, subject, created_at, changes, address, request_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        ambient.uuid(),
        entry.org.map(|id| id.0),
        entry.actor,
        entry.action,
        entry.subject,
        ambient.now(),
        changes.map(ToString::to_string),
        caller.address,
        caller.request_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The fields of two rows that differ: `{"field": [old, new]}`.
pub fn changes(before: &Value, after: &Value) -> Value {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return Value::Null };
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let pair = |name: &String| {
        let field = |row: &Map<String, Value>| row.get(name).cloned().unwrap_or(Value::Null);
        let (old, new) = (field(before), field(after));
        (old != new).then(|| (name.clone(), Value::Array(vec![old, new])))
    };
    Value::Object(names.into_iter().filter_map(pair).collect())
}

/// An API key's row without what could be secret, for the line of its change.
pub async fn key_fields(
    connection: &mut PgConnection,
    scope: OrgScope,
    id: ApiKeyId,
) -> Result<Value, StoreError> {
    let row = sqlx::query_scalar!(
        r#"SELECT (to_jsonb(k) - '{org_id,id,key_hash,last4,created_at,created_by}'::text[])::text AS "row!"
           FROM api_key k WHERE org_id = $1 AND id = $2"#,
        scope.uuid(),
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.and_then(|row| serde_json::from_str(&row).ok()).unwrap_or(Value::Null))
}

/// A line as it is read.
#[derive(Clone, Debug)]
pub struct AuditLine {
    pub id: Uuid,
    pub org: Option<OrgId>,
    pub actor: String,
    /// Of a person who still has an account.
    pub actor_email: Option<String>,
    pub action: String,
    pub subject: String,
    /// JSON.
    pub changes: Option<String>,
    pub address: Option<String>,
    pub request_id: Option<String>,
    pub created_at: OffsetDateTime,
}

/// Whose lines are read.
#[derive(Clone, Copy, Debug)]
pub enum AuditScope {
    /// Those of one organization.
    Organization(OrgScope),
    /// All, for the operator.
    Installation,
}

/// Which lines are wanted. An absent filter passes everything.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub actor: Option<String>,
    /// Whole, such as `api_key.revoke`, or a noun, such as `api_key`.
    pub action: Option<String>,
    pub subject: Option<String>,
    /// First id and first id past the range.
    pub ids: Option<(Uuid, Uuid)>,
}

/// Lines older than `before`, newest first, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    scope: AuditScope,
    filter: &AuditFilter,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<AuditLine>, StoreError> {
    let org = match scope {
        AuditScope::Organization(scope) => Some(scope.uuid()),
        AuditScope::Installation => None,
    };
    let (first, past) = filter.ids.unwrap_or((Uuid::nil(), Uuid::max()));
    let rows = sqlx::query!(
        r#"SELECT l.id, l.org_id, l.actor, l.action, l.subject, l.changes, l.address, l.request_id, l.created_at,
                  u.email AS "email?"
           FROM audit_log l
           LEFT JOIN app_user u ON 'usr_' || replace(u.id::text, '-', '') = l.actor
           WHERE ($1::uuid IS NULL OR l.org_id = $1) AND l.id >= $2 AND l.id < $3
             AND ($4::text IS NULL OR l.actor = $4)
             AND ($5::text IS NULL OR l.action = $5 OR split_part(l.action, '.', 1) = $5)
             AND ($6::text IS NULL OR l.subject = $6)
           ORDER BY l.id DESC LIMIT $7"#,
        org,
        first,
        before.map_or(past, |before| before.min(past)),
        filter.actor,
        filter.action,
        filter.subject,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let lines = rows.into_iter().map(|row| AuditLine {
        id: row.id,
        org: row.org_id.map(OrgId),
        actor: row.actor,
        actor_email: row.email,
        action: row.action,
        subject: row.subject,
        changes: row.changes,
        address: row.address,
        request_id: row.request_id,
        created_at: row.created_at,
    });
    Ok(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_fields_that_differ_are_kept_with_both_values() {
        let before = json!({ "name": "a", "limit": null, "same": [1] });
        let after = json!({ "name": "b", "limit": 5, "same": [1], "new": true });
        assert_eq!(
            changes(&before, &after),
            json!({ "name": ["a", "b"], "limit": [null, 5], "new": [null, true] })
        );
        assert_eq!(changes(&before, &before), json!({}));
    }
}
