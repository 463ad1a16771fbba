//! What the pages of an organization say about its latest requests and about what needs attention. Reads only, in one
//! statement each, bounded by an index.

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{ApiKeyId, RequestId, UserId},
    money::NanoUsd,
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// Requests that the latest figures are of.
pub const RECENT_MAX: i64 = 1_000;
/// Open holds that are listed.
const HOLDS_MAX: i64 = 50;

/// What needs attention, and how the latest requests did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attention {
    /// Enabled provider keys whose last use or test failed.
    pub failing_provider_keys: i64,
    /// The API key that the first of them belongs to; `None` where it is the organization's.
    pub failing_at: Option<ApiKeyId>,
    /// API keys that expire within a week.
    pub expiring_keys: i64,
    /// Requests of the last seven days that fell back to the platform's key, and what they were charged.
    pub fallbacks: i64,
    pub fallback_charge: NanoUsd,
    /// The latest requests, at most [`RECENT_MAX`] of the last 30 days.
    pub recent: i64,
    pub recent_failed: i64,
    pub latency_p50_ms: Option<i64>,
    pub latency_p95_ms: Option<i64>,
}

/// Of the whole organization, or of the API keys that one person made.
pub async fn attention(
    connection: &mut PgConnection,
    scope: OrgScope,
    made_by: Option<UserId>,
    now: OffsetDateTime,
) -> Result<Attention, StoreError> {
    let row = sqlx::query!(
        r#"WITH own AS (
               SELECT id FROM api_key WHERE org_id = $1 AND created_by = $2
           ), recent AS (
               SELECT status, latency_ms FROM receipt
               WHERE org_id = $1 AND id >= $5 AND ($2::uuid IS NULL OR api_key_id IN (SELECT id FROM own))
               ORDER BY id DESC LIMIT $7
           ), fallen AS (
               SELECT charge FROM receipt
               WHERE org_id = $1 AND id >= $6 AND fallback_reason IS NOT NULL AND NOT byok
                 AND ($2::uuid IS NULL OR api_key_id IN (SELECT id FROM own))
           )
           SELECT (SELECT count(*) FROM provider_key
                   WHERE org_id = $1 AND enabled AND (last_error IS NOT NULL OR status = 'invalid')
                     AND ($2::uuid IS NULL OR api_key_id IN (SELECT id FROM own))) AS "failing!",
                  (SELECT api_key_id FROM provider_key
                   WHERE org_id = $1 AND enabled AND (last_error IS NOT NULL OR status = 'invalid')
                     AND ($2::uuid IS NULL OR api_key_id IN (SELECT id FROM own))
                   ORDER BY id LIMIT 1) AS failing_at,
                  (SELECT count(*) FROM api_key
                   WHERE org_id = $1 AND revoked_at IS NULL AND expires_at > $3 AND expires_at <= $4
                     AND ($2::uuid IS NULL OR created_by = $2)) AS "expiring!",
                  (SELECT count(*) FROM fallen) AS "fallbacks!",
                  (SELECT COALESCE(sum(charge), 0)::bigint FROM fallen) AS "fallback_charge!",
                  count(*) AS "recent!",
                  count(*) FILTER (WHERE status = 'failed') AS "recent_failed!",
                  percentile_disc(0.5) WITHIN GROUP (ORDER BY latency_ms) AS p50,
                  percentile_disc(0.95) WITHIN GROUP (ORDER BY latency_ms) AS p95
           FROM recent"#,
        scope.uuid(),
        made_by.map(|user| user.0),
        now,
        now + Duration::days(7),
        super::usage::first_id_at(now - Duration::days(30)),
        super::usage::first_id_at(now - Duration::days(7)),
        RECENT_MAX,
    )
    .fetch_one(connection)
    .await?;
    Ok(Attention {
        failing_provider_keys: row.failing,
        failing_at: row.failing_at.map(ApiKeyId),
        expiring_keys: row.expiring,
        fallbacks: row.fallbacks,
        fallback_charge: NanoUsd(row.fallback_charge),
        recent: row.recent,
        recent_failed: row.recent_failed,
        latency_p50_ms: row.p50,
        latency_p95_ms: row.p95,
    })
}

/// When an API key was used last, and what fallbacks of it cost in seven days.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyActivity {
    pub id: ApiKeyId,
    pub last_used_at: Option<OffsetDateTime>,
    pub fallbacks: i64,
    pub fallback_charge: NanoUsd,
}

/// The activity of these API keys.
pub async fn key_activity(
    connection: &mut PgConnection,
    scope: OrgScope,
    ids: &[ApiKeyId],
    now: OffsetDateTime,
) -> Result<Vec<KeyActivity>, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"SELECT k.id AS "id!", last.created_at AS "last_used_at?", COALESCE(f.fallbacks, 0) AS "fallbacks!",
                  COALESCE(f.charge, 0)::bigint AS "charge!"
           FROM unnest($2::uuid[]) AS k (id)
           LEFT JOIN LATERAL (SELECT created_at FROM receipt WHERE org_id = $1 AND api_key_id = k.id
                              ORDER BY receipt.id DESC LIMIT 1) last ON true
           LEFT JOIN (SELECT api_key_id, count(*) AS fallbacks, sum(charge) AS charge FROM receipt
                      WHERE org_id = $1 AND id >= $3 AND fallback_reason IS NOT NULL AND NOT byok
                      GROUP BY api_key_id) f ON f.api_key_id = k.id"#,
        scope.uuid(),
        &ids,
        super::usage::first_id_at(now - Duration::days(7)),
    )
    .fetch_all(connection)
    .await?;
    let activity = |id, last_used_at, fallbacks, charge| KeyActivity {
        id: ApiKeyId(id),
        last_used_at,
        fallbacks,
        fallback_charge: NanoUsd(charge),
    };
    Ok(rows.into_iter().map(|row| activity(row.id, row.last_used_at, row.fallbacks, row.charge)).collect())
}

/// Credit that is set aside for a running request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenHold {
    pub request_id: RequestId,
    pub api_key_id: ApiKeyId,
    pub amount: NanoUsd,
    pub created_at: OffsetDateTime,
}

/// The open holds of an organization, the newest first.
pub async fn open_holds(connection: &mut PgConnection, scope: OrgScope) -> Result<Vec<OpenHold>, StoreError> {
    let rows = sqlx::query!(
        "SELECT h.request_id, h.api_key_id, h.amount, h.created_at
         FROM instance i JOIN LATERAL (
             SELECT id, request_id, api_key_id, amount, created_at FROM hold
             WHERE instance_id = i.id AND org_id = $1 AND state = 'open' ORDER BY id DESC LIMIT $2) h ON true
         ORDER BY h.id DESC LIMIT $2",
        scope.uuid(),
        HOLDS_MAX,
    )
    .fetch_all(connection)
    .await?;
    let hold = |request_id, api_key_id, amount, created_at| OpenHold {
        request_id: RequestId(request_id),
        api_key_id: ApiKeyId(api_key_id),
        amount: NanoUsd(amount),
        created_at,
    };
    Ok(rows.into_iter().map(|row| hold(row.request_id, row.api_key_id, row.amount, row.created_at)).collect())
}

/// The balance after an entry: that of now without the entries that were booked after it, in one snapshot.
pub async fn balance_after(
    connection: &mut PgConnection,
    scope: OrgScope,
    entry: Uuid,
) -> Result<NanoUsd, StoreError> {
    let balance = sqlx::query_scalar!(
        r#"SELECT (COALESCE((SELECT posted FROM credit_account WHERE org_id = $1), 0)
                   - COALESCE((SELECT sum(CASE WHEN credit_account = 'customer' THEN amount ELSE -amount END)
                               FROM entry WHERE org_id = $1 AND (booked_at, id) > (
                                   SELECT c.booked_at, c.id FROM entry c WHERE c.org_id = $1 AND c.id = $2)), 0))::bigint AS "balance!""#,
        scope.uuid(),
        entry,
    )
    .fetch_one(connection)
    .await?;
    Ok(NanoUsd(balance))
}
