//! The audit log: of an organization for its owners and admins, of the whole installation for the operator.

use crate::{
    accounts::roles::Capability,
    billing::report::Range,
    domain::ambient::Ambient,
    http::{
        error::{ApiError, Code},
        extract::Call,
    },
    store::{
        Db, Purpose, StoreError,
        audit_log::{self, AuditFilter, AuditLine, AuditScope},
        organizations,
        sessions::Person,
        usage::first_id_at,
    },
};
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// Lines of a page if the client states no number, and the maximum.
const PAGE_DEFAULT: i64 = 50;
const PAGE_MAX: i64 = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    from: Option<String>,
    to: Option<String>,
    actor: Option<String>,
    action: Option<String>,
    subject: Option<String>,
    /// Only for the operator.
    organization: Option<String>,
    before: Option<String>,
    limit: Option<i64>,
}

/// `GET /api/audit-log?from&to&actor&action&subject&before&limit`, newest first.
pub async fn list_audit_log(call: Call, person: Person) -> Result<HttpResponse, ApiError> {
    let parameters: Parameters = call.query()?;
    let own = match &person {
        Person::Member(session) if session.role.can(Capability::ReadAudit) => Some(session.scope),
        Person::Member(_) => {
            let message = "Your role does not allow this; ask an owner of the organization";
            return Err(ApiError::new(Code::PermissionDenied, message));
        }
        Person::Operator(_) => None,
    };
    let wanted = match parameters.organization.as_deref() {
        None => None,
        Some(_) if own.is_some() => {
            return Err(ApiError::invalid("organization", "Only the operator may name an organization"));
        }
        Some(text) => Some(text.parse().map_err(|_| ApiError::not_found("organization"))?),
    };
    let ids = match (parameters.from.as_deref(), parameters.to.as_deref()) {
        (None, None) => None,
        (from, to) => {
            let (from, to) = Range::parse(from, to, call.state::<Ambient>()?.now())?.bounds();
            Some((first_id_at(from), first_id_at(to)))
        }
    };
    let before = parameters.before.as_deref().map(Uuid::try_parse).transpose();
    let before =
        before.map_err(|_| ApiError::invalid("before", "`before` must be the `next` of another page"))?;
    let limit = parameters.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("`limit` must be 1 to {PAGE_MAX}")));
    }
    let filter =
        AuditFilter { actor: parameters.actor, action: parameters.action, subject: parameters.subject, ids };
    let db = call.state::<Db>()?.with_purpose(Purpose::Reports);
    let pool = db.clone();
    let lines = db.run::<_, StoreError, _>(async move {
        let mut connection = pool.acquire().await?;
        let scope = match (own, wanted) {
            (Some(scope), _) => AuditScope::Organization(scope),
            (None, Some(id)) => match organizations::find_scope(&mut connection, id).await? {
                Some(scope) => AuditScope::Organization(scope),
                None => return Ok(None),
            },
            (None, None) => AuditScope::Installation,
        };
        audit_log::list(&mut connection, scope, &filter, before, limit.saturating_add(1)).await.map(Some)
    });
    let lines = lines.await.map_err(ApiError::of_report)?;
    let mut lines = lines.ok_or_else(|| ApiError::not_found("organization"))?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = lines.len() > size;
    lines.truncate(size);
    let next = lines.last().filter(|_| more).map(|line| line.id);
    let rows: Vec<Value> = lines.iter().map(row).collect();
    Ok(HttpResponse::Ok().json(json!({ "entries": rows, "next": next.map(|id| id.to_string()) })))
}

fn row(line: &AuditLine) -> Value {
    let changes = line.changes.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    json!({
        "id": line.id.to_string(),
        "organizationId": line.org,
        "actor": line.actor,
        "actorEmail": line.actor_email,
        "action": line.action,
        "subject": line.subject,
        "changes": changes,
        "address": line.address,
        "requestId": line.request_id,
        "createdAt": line.created_at.format(&time::format_description::well_known::Rfc3339).ok(),
    })
}
