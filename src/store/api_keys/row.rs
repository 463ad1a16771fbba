//! A row of `api_key`, with its budget, on its way to an [`ApiKey`].

use super::{
    ApiKey, PreviousSecret, StoreError, budgets, cache_of, fallback_of, mode_of, permille_of, providers_of,
    rules_of,
};
use crate::domain::{
    ids::{ApiKeyId, UserId},
    policy::KeyPolicy,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// The columns that every look-up of keys reads.
pub(super) struct KeyRow {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) last4: String,
    pub(super) created_by: Option<Uuid>,
    pub(super) byok_fallback: String,
    pub(super) allowed_providers: Option<Vec<String>>,
    pub(super) excluded_providers: Vec<String>,
    pub(super) allowed_models: Option<Vec<String>>,
    pub(super) min_quality_permille: Option<i16>,
    pub(super) routing_mode: String,
    pub(super) cache_ttl_seconds: Option<i32>,
    pub(super) cache_scope: Option<String>,
    pub(super) expires_at: Option<OffsetDateTime>,
    pub(super) created_at: OffsetDateTime,
    pub(super) revoked_at: Option<OffsetDateTime>,
    pub(super) previous_last4: Option<String>,
    pub(super) previous_until: Option<OffsetDateTime>,
    pub(super) rules: String,
    pub(super) budget: Option<i64>,
    pub(super) budget_period: Option<String>,
    pub(super) budget_includes_own: Option<bool>,
}

impl KeyRow {
    pub(super) fn into_key(self) -> Result<ApiKey, StoreError> {
        let allowed =
            self.allowed_providers.as_deref().map(|list| providers_of(&self.id, list)).transpose()?;
        Ok(ApiKey {
            id: ApiKeyId(self.id),
            name: self.name,
            last4: self.last4,
            created_by: self.created_by.map(UserId),
            policy: KeyPolicy {
                byok_fallback: fallback_of(&self.byok_fallback),
                allowed_providers: allowed,
                excluded_providers: providers_of(&self.id, &self.excluded_providers)?,
                allowed_models: self.allowed_models,
                min_quality_permille: permille_of(self.min_quality_permille),
                routing_mode: mode_of(&self.routing_mode),
                cache: cache_of(self.cache_ttl_seconds, self.cache_scope.as_deref()),
                expires_at: self.expires_at,
                rules: rules_of(&self.id, &self.rules)?,
                budget: budgets::rule_of(
                    self.budget,
                    self.budget_period.as_deref(),
                    self.budget_includes_own,
                ),
            },
            created_at: self.created_at,
            revoked_at: self.revoked_at,
            previous: self
                .previous_last4
                .zip(self.previous_until)
                .map(|(last4, works_until)| PreviousSecret { last4, works_until }),
        })
    }
}
