//! The operator's hand: customers with their credit, usage and keys; creating, suspending and resuming them; the platform's
//! provider keys; revenue; the operators themselves. Credit is posted by `billing`.

use super::time_text;
use crate::{
    accounts::{Accounts, operators::WhichOperator},
    billing::report::Range,
    credentials::{
        check::Verdict,
        platform::{self, KeyChange, ListedPlatformKey, PlatformKeyError},
    },
    domain::{
        ambient::Ambient,
        ids::{OrgId, UserId},
        money::NanoUsd,
        provider::ProviderId,
        secret::Secret,
    },
    gateway::Gateway,
    http::{
        error::{ApiError, Code},
        extract::Call,
    },
    store::{
        Db, Purpose, StoreError,
        api_keys::{self, ApiKey, KeyScope},
        members::{self, Member},
        operator::{self as rows, OrganizationFilter, OrganizationRow},
        sessions::Operator,
    },
};
use actix_web::{HttpResponse, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

/// Organizations on a page when the client does not say, and the most.
const PAGE_DEFAULT: i64 = 50;
const PAGE_MAX: i64 = 200;
/// Organizations listed by name in a revenue report; the total is over all.
const REVENUE_ROWS_MAX: i64 = 1_000;
/// API keys and members shown of one organization.
const DETAILS_MAX: i64 = 1_000;
const KEY_BYTES_MAX: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    after: Option<String>,
    name: Option<String>,
    limit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeQuery {
    from: Option<String>,
    to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewOrganizationBody {
    name: String,
    owner_email: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SuspensionBody {
    suspended: bool,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    key: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnabledBody {
    enabled: bool,
}

/// The 30 days until now.
pub fn last_30_days(now: OffsetDateTime) -> (OffsetDateTime, OffsetDateTime) {
    (now - Duration::days(30), now + Duration::MILLISECOND)
}

/// `GET /api/operator/organizations?after&name&limit`, oldest first.
pub async fn list_organizations(call: Call, _operator: Operator) -> Result<HttpResponse, ApiError> {
    let query: ListQuery = call.query()?;
    let after = match query.after.as_deref().map(str::parse::<OrgId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => {
            return Err(ApiError::invalid("after", "`after` must be the `next` of another page"));
        }
    };
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("`limit` must be 1 to {PAGE_MAX}")));
    }
    let name = query.name.filter(|name| !name.is_empty());
    if name.as_ref().is_some_and(|name| name.contains('\0')) {
        return Err(ApiError::invalid("name", "`name` must be text without control characters"));
    }
    let filter = OrganizationFilter { after, id: None, name };
    let mut found = find_organizations(&call, filter, limit.saturating_add(1)).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > size;
    found.truncate(size);
    let next = found.last().filter(|_| more).map(|last| last.scope.org_id());
    let rows: Vec<Value> = found.iter().map(organization_row).collect();
    Ok(HttpResponse::Ok().json(json!({ "organizations": rows, "next": next })))
}

/// Organizations with their credit and the usage of the last 30 days.
pub async fn find_organizations(
    call: &Call,
    filter: OrganizationFilter,
    limit: i64,
) -> Result<Vec<OrganizationRow>, ApiError> {
    let range = last_30_days(call.state::<Ambient>()?.now());
    let db = call.state::<Db>()?.with_purpose(Purpose::Reports);
    let pool = db.clone();
    let found = db.run::<_, StoreError, _>(async move {
        rows::list_organizations(&mut *pool.acquire().await?, &filter, range, limit).await
    });
    found.await.map_err(ApiError::of_report)
}

fn organization_row(row: &OrganizationRow) -> Value {
    json!({
        "id": row.scope.org_id(),
        "name": row.name,
        "createdAt": time_text(row.created_at),
        "suspendedAt": row.suspended_at.map(time_text),
        "suspendedReason": row.suspended_reason,
        "deletedAt": row.deleted_at.map(time_text),
        "balanceUsd": row.posted.to_string(),
        "heldUsd": row.held.to_string(),
        "last30Days": figures(row.requests, row.charged, row.cost),
    })
}

/// Requests and money on platform keys.
fn figures(requests: i64, charged: NanoUsd, cost: NanoUsd) -> Value {
    json!({
        "requests": requests,
        "chargedUsd": charged.to_string(),
        "providerCostUsd": cost.to_string(),
        "marginUsd": NanoUsd(charged.0.saturating_sub(cost.0)).to_string(),
    })
}

/// One organization with its people and its API keys, masked.
pub struct CustomerDetails {
    pub row: OrganizationRow,
    pub members: Vec<Member>,
    pub api_keys: Vec<ApiKey>,
}

/// Reads one organization for the operator.
pub async fn find_customer(call: &Call, id: &str) -> Result<CustomerDetails, ApiError> {
    let no_such = || ApiError::not_found("organization");
    let id: OrgId = id.parse().map_err(|_| no_such())?;
    let filter = OrganizationFilter { id: Some(id), ..OrganizationFilter::default() };
    let row = find_organizations(call, filter, 1).await?.pop().ok_or_else(no_such)?;
    let db = call.state::<Db>()?.get_ref().clone();
    let (pool, scope) = (db.clone(), row.scope);
    let (members, api_keys) = db
        .run::<_, StoreError, _>(async move {
            let mut connection = pool.acquire().await?;
            let members = members::list(&mut connection, scope).await?;
            let keys = KeyScope { org: scope, made_by: None };
            Ok((members, api_keys::list(&mut connection, keys, None, DETAILS_MAX).await?))
        })
        .await?;
    Ok(CustomerDetails { row, members, api_keys })
}

/// `GET /api/operator/organizations/{id}`.
pub async fn get_organization(call: Call, _operator: Operator) -> Result<HttpResponse, ApiError> {
    let details = find_customer(&call, call.path("id")).await?;
    let member = |member: &Member| {
        json!({
            "userId": member.user_id,
            "email": member.email,
            "role": member.role,
            "createdAt": time_text(member.created_at),
        })
    };
    let key = |key: &ApiKey| {
        json!({
            "keyId": key.id,
            "name": key.name,
            "last4": key.last4,
            "createdAt": time_text(key.created_at),
            "revokedAt": key.revoked_at.map(time_text),
        })
    };
    let mut view = organization_row(&details.row);
    if let Some(view) = view.as_object_mut() {
        view.insert("members".into(), details.members.iter().map(member).collect());
        view.insert("apiKeys".into(), details.api_keys.iter().map(key).collect());
    }
    Ok(HttpResponse::Ok().json(view))
}

/// `POST /api/operator/organizations {name, ownerEmail}`: works while sign-up is closed. The invitation's token is shown
/// this once.
pub async fn create_organization(mut call: Call, operator: Operator) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: NewOrganizationBody = call.json().await?;
    let actor = operator.user_id.to_string();
    let made = accounts.create_organization(actor, &body.name, &body.owner_email).await?;
    Ok(HttpResponse::build(StatusCode::CREATED).json(json!({
        "id": made.id,
        "name": made.name,
        "invitation": {
            "invitationId": made.invitation.id,
            "email": made.invitation.email,
            "role": made.invitation.role,
            "expiresAt": time_text(made.invitation.expires_at),
            "token": made.token.expose(),
        },
    })))
}

/// `PATCH /api/operator/organizations/{id} {suspended, reason}`.
pub async fn change_organization(mut call: Call, operator: Operator) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let id: OrgId = call.path("id").parse().map_err(|_| ApiError::not_found("organization"))?;
    let body: SuspensionBody = call.json().await?;
    let reason = match (body.suspended, body.reason) {
        (true, Some(reason)) => Some(reason),
        (true, None) => return Err(ApiError::invalid("reason", "`reason` must say why it is suspended")),
        (false, _) => None,
    };
    accounts.set_suspension(operator.user_id.to_string(), id, reason.as_deref()).await?;
    let row = find_customer(&call, &id.to_string()).await?.row;
    Ok(HttpResponse::Ok().json(organization_row(&row)))
}

/// `GET /api/operator/revenue?from&to`: charges and provider costs on platform keys, by organization and in all.
pub async fn get_revenue(call: Call, _operator: Operator) -> Result<HttpResponse, ApiError> {
    let query: RangeQuery = call.query()?;
    let now = call.state::<Ambient>()?.now();
    let (from, to) = Range::parse(query.from.as_deref(), query.to.as_deref(), now)?.bounds();
    let db = call.state::<Db>()?.with_purpose(Purpose::Reports);
    let pool = db.clone();
    let found = db.run::<_, StoreError, _>(async move {
        rows::revenue(&mut *pool.acquire().await?, (from, to), REVENUE_ROWS_MAX).await
    });
    let (found, total) = found.await.map_err(ApiError::of_report)?;
    let row = |row: &rows::RevenueRow| {
        json!({
            "organizationId": row.id,
            "name": row.name,
            "figures": figures(row.requests, row.charged, row.cost),
        })
    };
    Ok(HttpResponse::Ok().json(json!({
        "from": time_text(from),
        "to": time_text(to),
        "total": figures(total.requests, total.charged, total.cost),
        "organizations": found.iter().map(row).collect::<Vec<Value>>(),
    })))
}

/// `GET /api/operator/platform-keys`: a line for each provider.
pub async fn list_platform_keys(call: Call, _operator: Operator) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?;
    let keys = gateway.platform_keys.list(&gateway.db, &gateway.installation.ring).await?;
    let rows: Vec<Value> = keys.iter().map(|key| key_row(&gateway, key)).collect();
    Ok(HttpResponse::Ok().json(json!({ "platformKeys": rows })))
}

fn key_row(gateway: &Gateway, key: &ListedPlatformKey) -> Value {
    json!({
        "provider": key.provider.as_str(),
        "name": key.provider.row().name,
        "source": key.source.map(platform::KeySource::as_str),
        "last4": key.last4,
        "enabled": key.enabled,
        "createdAt": key.created_at.map(time_text),
        "baseUrl": gateway.settings.base_url(key.provider),
    })
}

fn provider_in_path(call: &Call) -> Result<ProviderId, ApiError> {
    ProviderId::by_name(call.path("provider")).ok_or_else(|| ApiError::not_found("provider"))
}

async fn answer_key(gateway: &Gateway, provider: ProviderId) -> Result<HttpResponse, ApiError> {
    let keys = gateway.platform_keys.list(&gateway.db, &gateway.installation.ring).await?;
    let key = keys.iter().find(|key| key.provider == provider);
    let key = key.ok_or_else(|| ApiError::not_found("provider"))?;
    Ok(HttpResponse::Ok().json(key_row(gateway, key)))
}

/// A key as it is stored: trimmed, and fit for a header.
pub fn check_platform_key(key: &Secret) -> Result<Secret, ApiError> {
    let key = key.expose().trim();
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("`key` must have 1 to {KEY_BYTES_MAX} visible ASCII characters");
        return Err(ApiError::invalid("key", message));
    }
    Ok(Secret::new(key.to_owned()))
}

/// `PUT /api/operator/platform-keys/{provider} {key}`: stores a key, sealed, in place of the one there was.
pub async fn set_platform_key(mut call: Call, operator: Operator) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?.into_inner();
    let provider = provider_in_path(&call)?;
    let body: KeyBody = call.json().await?;
    let (key, actor) = (check_platform_key(&body.key)?, operator.user_id.to_string());
    let ring = &gateway.installation.ring;
    platform::set_platform_key(&gateway.db, ring, &gateway.ambient, (provider, &key), actor).await?;
    answer_key(&gateway, provider).await
}

/// `PATCH /api/operator/platform-keys/{provider} {enabled}`: a key that is switched off is not used, wherever it is from.
pub async fn change_platform_key(mut call: Call, operator: Operator) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?.into_inner();
    let provider = provider_in_path(&call)?;
    let body: EnabledBody = call.json().await?;
    let change = if body.enabled { KeyChange::Enable } else { KeyChange::Disable };
    let actor = operator.user_id.to_string();
    platform::change_platform_key(&gateway.db, &gateway.ambient, (provider, change), actor).await?;
    answer_key(&gateway, provider).await
}

/// `DELETE /api/operator/platform-keys/{provider}`: removes the stored key; one of the environment serves again.
pub async fn remove_platform_key(call: Call, operator: Operator) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?.into_inner();
    let provider = provider_in_path(&call)?;
    let (change, actor) = ((provider, KeyChange::Remove), operator.user_id.to_string());
    if !platform::change_platform_key(&gateway.db, &gateway.ambient, change, actor).await? {
        return Err(ApiError::not_found("stored key of this provider"));
    }
    gateway.platform_keys.refresh(&gateway.db, &gateway.installation.ring).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /api/operator/platform-keys/{provider}/test`: a free call at the provider.
pub async fn test_platform_key(call: Call, _operator: Operator) -> Result<HttpResponse, ApiError> {
    let (gateway, accounts) = (call.state::<Gateway>()?, call.state::<Accounts>()?);
    let provider = provider_in_path(&call)?;
    gateway.platform_keys.refresh(&gateway.db, &gateway.installation.ring).await?;
    let Some(key) = gateway.platform_keys.get_for_test(provider) else {
        return Err(ApiError::not_found("key of this provider"));
    };
    let checked = accounts.test_platform_key(provider, &key.secret).await;
    Ok(HttpResponse::Ok().json(json!({
        "valid": checked.verdict == Verdict::Valid,
        "status": checked.status,
        "message": checked.message,
    })))
}

/// `GET /api/operator/operators`.
pub async fn list_operators(call: Call, operator: Operator) -> Result<HttpResponse, ApiError> {
    let operators = call.state::<Accounts>()?.list_operators().await?;
    let row = |row: &rows::OperatorRow| {
        json!({
            "userId": row.id,
            "email": row.email,
            "createdAt": time_text(row.created_at),
            "lastSeenAt": row.last_seen_at.map(time_text),
            "current": row.id == operator.user_id,
        })
    };
    Ok(HttpResponse::Ok().json(json!({ "operators": operators.iter().map(row).collect::<Vec<Value>>() })))
}

/// `DELETE /api/operator/operators/{id}`: ends its sessions, too. The last one stays.
pub async fn remove_operator(call: Call, operator: Operator) -> Result<HttpResponse, ApiError> {
    let id: UserId = call.path("id").parse().map_err(|_| ApiError::not_found("operator"))?;
    let actor = operator.user_id.to_string();
    call.state::<Accounts>()?.remove_operator(actor, WhichOperator::Id(id)).await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<PlatformKeyError> for ApiError {
    fn from(error: PlatformKeyError) -> Self {
        match error {
            PlatformKeyError::Store(cause) => Self::from(cause),
            PlatformKeyError::Vault(cause) => Self::new(Code::InternalError, cause.to_string()),
        }
    }
}
