//! Platform API keys: their owners' rules, and the look-up by keyed hash that authentication rests on.

mod row;

use super::{
    OrgScope, StoreError, budgets,
    provider_keys::{self, StoredProviderKey, provider_of},
};
use crate::domain::{
    ids::{ApiKeyId, OrgId, UserId},
    policy::{
        BudgetRule, ByokFallback, CachePolicy, CacheScope, KeyPolicy, KeyRules, OrganizationRules,
        RoutingMode,
    },
    provider::ProviderId,
};
use sqlx::PgConnection;
use std::fmt;
use time::OffsetDateTime;
use uuid::Uuid;

use row::KeyRow;

/// Proof that a presented API key is known and live, with everything a request needs to know of it.
#[derive(Clone, Debug)]
pub struct Principal {
    pub scope: OrgScope,
    pub api_key_id: ApiKeyId,
    /// What it was found by, for a request that has to ask again.
    pub key_hash: KeyHash,
    pub policy: KeyPolicy,
    pub organization: OrganizationRules,
    /// The budget of the whole organization.
    pub organization_budget: Option<BudgetRule>,
    /// The operator has suspended the organization: nothing is served.
    pub is_suspended: bool,
    /// Its own before the organization's; of a provider in the order in which they are tried. Disabled ones too.
    pub provider_keys: Vec<StoredProviderKey>,
}

/// The keyed hash of an API key. It opens nothing by itself, and is no business of a log all the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

impl Principal {
    /// False from the key's last moment on, however fresh this value is.
    pub fn is_live(&self, now: OffsetDateTime) -> bool {
        self.policy.expires_at.is_none_or(|end| now < end)
    }

    /// The enabled stored keys of one provider, in order.
    pub fn keys_of(&self, provider: ProviderId) -> impl Iterator<Item = &StoredProviderKey> {
        self.provider_keys.iter().filter(move |key| key.provider == provider && key.enabled)
    }
}

/// An API key as its organization sees it; the key itself is nowhere.
#[derive(Clone, Debug)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub last4: String,
    pub created_by: Option<UserId>,
    pub policy: KeyPolicy,
    pub created_at: OffsetDateTime,
    pub revoked_at: Option<OffsetDateTime>,
    /// The secret before the last rotation.
    pub previous: Option<PreviousSecret>,
}

/// A secret that was replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PreviousSecret {
    pub last4: String,
    pub works_until: OffsetDateTime,
}

/// Which of an organization's API keys are meant: all, or those one member made.
#[derive(Clone, Copy, Debug)]
pub struct KeyScope {
    pub org: OrgScope,
    pub made_by: Option<UserId>,
}

/// The principal of a key, unless it is unknown, revoked or expired.
pub async fn find_principal(
    connection: &mut PgConnection,
    key_hash: &[u8; 32],
    now: OffsetDateTime,
) -> Result<Option<Principal>, StoreError> {
    let Some(row) = sqlx::query!(
        r#"SELECT k.org_id, k.id, byok_fallback, allowed_providers, excluded_providers, allowed_models, expires_at,
                  min_quality_permille, routing_mode, cache_ttl_seconds, cache_scope, k.rules::text AS "rules!",
                  o.rules::text AS "org_rules!",
                  b.amount AS "budget?", b.period AS "budget_period?", b.includes_own AS "budget_includes_own?",
                  t.amount AS "org_budget?", t.period AS "org_budget_period?",
                  t.includes_own AS "org_budget_includes_own?",
                  CASE WHEN key_hash <> $1 THEN previous_until END AS previous_until,
                  o.suspended_at IS NOT NULL AS "is_suspended!",
                  (EXISTS (SELECT 1 FROM provider_key p WHERE p.org_id = k.org_id AND p.api_key_id = k.id)
                   OR EXISTS (SELECT 1 FROM provider_key p WHERE p.org_id = k.org_id AND p.api_key_id IS NULL
                              AND (p.shared_with IS NULL OR k.id = ANY(p.shared_with)))) AS "has_keys!"
           FROM api_key k
           JOIN organization o ON o.id = k.org_id
           LEFT JOIN budget b ON b.org_id = k.org_id AND b.subject_id = k.id
           LEFT JOIN budget t ON t.org_id = k.org_id AND t.subject_id = k.org_id
           WHERE (key_hash = $1 OR (previous_hash = $1 AND previous_until > $2))
             AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)"#,
        key_hash.as_slice(),
        now,
    )
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(None);
    };
    let (scope, id) = (OrgScope::of(OrgId(row.org_id)), ApiKeyId(row.id));
    let policy = KeyPolicy {
        byok_fallback: fallback_of(&row.byok_fallback),
        allowed_providers: row.allowed_providers.map(|list| providers_of(&row.id, &list)).transpose()?,
        excluded_providers: providers_of(&row.id, &row.excluded_providers)?,
        allowed_models: row.allowed_models,
        min_quality_permille: permille_of(row.min_quality_permille),
        routing_mode: mode_of(&row.routing_mode),
        cache: cache_of(row.cache_ttl_seconds, row.cache_scope.as_deref()),
        // A secret that was replaced ends with its grace.
        expires_at: row.expires_at.into_iter().chain(row.previous_until).min(),
        rules: rules_of(&row.id, &row.rules)?,
        budget: budgets::rule_of(row.budget, row.budget_period.as_deref(), row.budget_includes_own),
    };
    let organization = budgets::organization_rules_of(&row.org_id, &row.org_rules)?;
    let organization_budget =
        budgets::rule_of(row.org_budget, row.org_budget_period.as_deref(), row.org_budget_includes_own);
    // Most keys have none: one question is enough for them.
    let provider_keys = match row.has_keys {
        true => provider_keys::list_usable(connection, scope, id).await?,
        false => Vec::new(),
    };
    let is_suspended = row.is_suspended;
    Ok(Some(Principal {
        scope,
        api_key_id: id,
        key_hash: KeyHash(*key_hash),
        policy,
        organization,
        organization_budget,
        is_suspended,
        provider_keys,
    }))
}

/// A page of the API keys in `scope`, after `after`: live ones first, then revoked ones, each the newest first.
pub async fn list(
    connection: &mut PgConnection,
    scope: KeyScope,
    after: Option<ApiKeyId>,
    keys_max: i64,
) -> Result<Vec<ApiKey>, StoreError> {
    let rows = sqlx::query_as!(
        KeyRow,
        r#"SELECT id, name, last4, created_by, byok_fallback, allowed_providers, excluded_providers,
                allowed_models, min_quality_permille, routing_mode, cache_ttl_seconds, cache_scope, expires_at,
                created_at, revoked_at, previous_last4, previous_until, rules::text AS "rules!",
                b.amount AS "budget?", b.period AS "budget_period?", b.includes_own AS "budget_includes_own?"
         FROM api_key k LEFT JOIN budget b ON b.org_id = k.org_id AND b.subject_id = k.id
         WHERE k.org_id = $1 AND ($2::uuid IS NULL OR created_by = $2)
           AND ($3::uuid IS NULL OR EXISTS (
               SELECT 1 FROM api_key last WHERE last.org_id = $1 AND last.id = $3
                 AND ((last.revoked_at IS NULL AND k.revoked_at IS NOT NULL)
                      OR ((last.revoked_at IS NULL) = (k.revoked_at IS NULL) AND k.id < last.id))))
         ORDER BY (revoked_at IS NOT NULL), id DESC LIMIT $4"#,
        scope.org.uuid(),
        scope.made_by.map(|user| user.0),
        after.map(|id| id.0),
        keys_max,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(KeyRow::into_key).collect()
}

pub async fn get(
    connection: &mut PgConnection,
    scope: KeyScope,
    id: ApiKeyId,
) -> Result<Option<ApiKey>, StoreError> {
    let row = sqlx::query_as!(
        KeyRow,
        r#"SELECT id, name, last4, created_by, byok_fallback, allowed_providers, excluded_providers,
                allowed_models, min_quality_permille, routing_mode, cache_ttl_seconds, cache_scope, expires_at,
                created_at, revoked_at, previous_last4, previous_until, rules::text AS "rules!",
                b.amount AS "budget?", b.period AS "budget_period?", b.includes_own AS "budget_includes_own?"
         FROM api_key k LEFT JOIN budget b ON b.org_id = k.org_id AND b.subject_id = k.id
         WHERE k.org_id = $1 AND id = $2 AND ($3::uuid IS NULL OR created_by = $3)"#,
        scope.org.uuid(),
        id.0,
        scope.made_by.map(|user| user.0),
    )
    .fetch_optional(connection)
    .await?;
    row.map(KeyRow::into_key).transpose()
}

/// As [`get`], for a key that is not revoked, locked until the transaction ends: changes take turns.
pub async fn lock_live(
    connection: &mut PgConnection,
    scope: KeyScope,
    id: ApiKeyId,
) -> Result<Option<ApiKey>, StoreError> {
    let row = sqlx::query_as!(
        KeyRow,
        r#"SELECT id, name, last4, created_by, byok_fallback, allowed_providers, excluded_providers,
                allowed_models, min_quality_permille, routing_mode, cache_ttl_seconds, cache_scope, expires_at,
                created_at, revoked_at, previous_last4, previous_until, rules::text AS "rules!",
                b.amount AS "budget?", b.period AS "budget_period?", b.includes_own AS "budget_includes_own?"
         FROM api_key k LEFT JOIN budget b ON b.org_id = k.org_id AND b.subject_id = k.id
         WHERE k.org_id = $1 AND id = $2 AND ($3::uuid IS NULL OR created_by = $3) AND revoked_at IS NULL
         FOR UPDATE OF k"#,
        scope.org.uuid(),
        id.0,
        scope.made_by.map(|user| user.0),
    )
    .fetch_optional(connection)
    .await?;
    row.map(KeyRow::into_key).transpose()
}

/// How many API keys an organization has.
#[derive(Clone, Copy, Debug)]
pub struct KeyCount {
    pub live: i64,
    /// Those that are still kept.
    pub revoked: i64,
}

/// How many API keys the organization has.
pub async fn count(connection: &mut PgConnection, scope: OrgScope) -> Result<KeyCount, StoreError> {
    Ok(sqlx::query_as!(
        KeyCount,
        r#"SELECT count(*) FILTER (WHERE revoked_at IS NULL) AS "live!",
                  count(*) FILTER (WHERE revoked_at IS NOT NULL) AS "revoked!"
           FROM api_key WHERE org_id = $1"#,
        scope.uuid(),
    )
    .fetch_one(connection)
    .await?)
}

/// Revokes every live API key that a person made; returns which.
pub async fn revoke_made_by(
    connection: &mut PgConnection,
    scope: OrgScope,
    user: UserId,
    now: OffsetDateTime,
) -> Result<Vec<ApiKeyId>, StoreError> {
    let ids = sqlx::query_scalar!(
        "UPDATE api_key SET revoked_at = $3 WHERE org_id = $1 AND created_by = $2 AND revoked_at IS NULL RETURNING id",
        scope.uuid(),
        user.0,
        now,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(ApiKeyId).collect())
}

/// Removes API keys that were revoked before `before` and hold no provider keys, at most `rows_max`; returns how many.
pub async fn prune(
    connection: &mut PgConnection,
    before: OffsetDateTime,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM api_key WHERE (org_id, id) IN (
             SELECT org_id, id FROM api_key k WHERE revoked_at < $1
               AND NOT EXISTS (SELECT 1 FROM provider_key p WHERE p.org_id = k.org_id AND p.api_key_id = k.id)
             LIMIT $2)",
        before,
        rows_max,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected())
}

pub async fn insert(
    connection: &mut PgConnection,
    scope: OrgScope,
    key: &ApiKey,
    key_hash: &[u8; 32],
) -> Result<(), StoreError> {
    let allowed = key.policy.allowed_providers.as_deref().map(texts);
    sqlx::query!(
        "INSERT INTO api_key (org_id, id, key_hash, name, last4, created_by, byok_fallback, allowed_providers,
                              excluded_providers, allowed_models, expires_at, created_at,
                              min_quality_permille, routing_mode, cache_ttl_seconds, cache_scope, rules)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17::text::json)",
        scope.uuid(),
        key.id.0,
        key_hash.as_slice(),
        key.name,
        key.last4,
        key.created_by.map(|user| user.0),
        fallback_text(key.policy.byok_fallback),
        allowed.as_deref(),
        &texts(&key.policy.excluded_providers),
        key.policy.allowed_models.as_deref(),
        key.policy.expires_at,
        key.created_at,
        permille_stored(key.policy.min_quality_permille),
        key.policy.routing_mode.as_str(),
        key.policy.cache.map(|cache| i32::try_from(cache.ttl_seconds).unwrap_or(i32::MAX)),
        key.policy.cache.map(|cache| cache.scope.as_str()),
        rules_text(&key.policy.rules)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the name and the rules of a key.
pub async fn update(connection: &mut PgConnection, scope: OrgScope, key: &ApiKey) -> Result<(), StoreError> {
    let allowed = key.policy.allowed_providers.as_deref().map(texts);
    sqlx::query!(
        "UPDATE api_key SET name = $3, byok_fallback = $4, allowed_providers = $5, excluded_providers = $6,
                            allowed_models = $7, expires_at = $8, min_quality_permille = $9,
                            routing_mode = $10, cache_ttl_seconds = $11, cache_scope = $12, rules = $13::text::json
         WHERE org_id = $1 AND id = $2",
        scope.uuid(),
        key.id.0,
        key.name,
        fallback_text(key.policy.byok_fallback),
        allowed.as_deref(),
        &texts(&key.policy.excluded_providers),
        key.policy.allowed_models.as_deref(),
        key.policy.expires_at,
        permille_stored(key.policy.min_quality_permille),
        key.policy.routing_mode.as_str(),
        key.policy.cache.map(|cache| i32::try_from(cache.ttl_seconds).unwrap_or(i32::MAX)),
        key.policy.cache.map(|cache| cache.scope.as_str()),
        rules_text(&key.policy.rules)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives a key a new secret; the one it had works until the given time.
pub async fn rotate(
    connection: &mut PgConnection,
    scope: OrgScope,
    id: ApiKeyId,
    key_hash: &[u8; 32],
    last4: &str,
    previous_until: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE api_key SET previous_hash = key_hash, previous_last4 = last4, previous_until = $5,
                            key_hash = $3, last4 = $4
         WHERE org_id = $1 AND id = $2",
        scope.uuid(),
        id.0,
        key_hash.as_slice(),
        last4,
        previous_until,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many of these are live API keys of the organization.
pub async fn count_of(
    connection: &mut PgConnection,
    scope: OrgScope,
    ids: &[ApiKeyId],
) -> Result<usize, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM api_key WHERE org_id = $1 AND id = ANY($2) AND revoked_at IS NULL"#,
        scope.uuid(),
        &ids,
    );
    Ok(usize::try_from(count.fetch_one(connection).await?).unwrap_or(0))
}

/// Locks what belongs to an organization and to no API key: changes of it take turns.
pub async fn lock_organization(connection: &mut PgConnection, scope: OrgScope) -> Result<(), StoreError> {
    sqlx::query_scalar!("SELECT id FROM organization WHERE id = $1 FOR UPDATE", scope.uuid())
        .fetch_optional(connection)
        .await?;
    Ok(())
}

/// Revokes a key; a second time changes nothing. Tells when it was revoked, or `None` if there is no such key.
pub async fn revoke(
    connection: &mut PgConnection,
    scope: KeyScope,
    id: ApiKeyId,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, StoreError> {
    let revoked = sqlx::query_scalar!(
        r#"UPDATE api_key SET revoked_at = coalesce(revoked_at, $4)
           WHERE org_id = $1 AND id = $2 AND ($3::uuid IS NULL OR created_by = $3)
           RETURNING revoked_at AS "revoked_at!""#,
        scope.org.uuid(),
        id.0,
        scope.made_by.map(|user| user.0),
        now,
    );
    Ok(revoked.fetch_optional(connection).await?)
}

fn fallback_text(fallback: ByokFallback) -> &'static str {
    match fallback {
        ByokFallback::Platform => "platform",
        ByokFallback::Never => "never",
    }
}

/// Anything but the explicit permission keeps requests off the platform's keys.
fn fallback_of(text: &str) -> ByokFallback {
    if text == "platform" { ByokFallback::Platform } else { ByokFallback::Never }
}

fn permille_of(stored: Option<i16>) -> Option<u16> {
    stored.and_then(|permille| u16::try_from(permille).ok())
}

fn permille_stored(permille: Option<u16>) -> Option<i16> {
    permille.and_then(|permille| i16::try_from(permille).ok())
}

/// A mode that a later release wrote is no permission.
fn mode_of(text: &str) -> RoutingMode {
    RoutingMode::by_name(text).unwrap_or(RoutingMode::Off)
}

/// A scope that a later release wrote is no permission.
fn cache_of(ttl_seconds: Option<i32>, scope: Option<&str>) -> Option<CachePolicy> {
    let scope = match scope? {
        "organization" => CacheScope::Organization,
        "key" => CacheScope::Key,
        _ => return None,
    };
    Some(CachePolicy { ttl_seconds: ttl_seconds.and_then(|ttl| u32::try_from(ttl).ok())?, scope })
}

fn rules_of(row: &Uuid, text: &str) -> Result<KeyRules, StoreError> {
    budgets::read_rules("api_key", row, text)
}

fn rules_text(rules: &KeyRules) -> Result<String, StoreError> {
    serde_json::to_string(rules).map_err(|error| StoreError::Refused(error.to_string()))
}

fn providers_of(row: &Uuid, names: &[String]) -> Result<Vec<ProviderId>, StoreError> {
    names.iter().map(|name| provider_of("api_key", "providers", row, name)).collect()
}

fn texts(providers: &[ProviderId]) -> Vec<String> {
    providers.iter().map(|provider| provider.as_str().to_owned()).collect()
}
