//! Platform API keys: their owners' rules, and the look-up by keyed hash that authentication rests on.

use super::{
    OrgScope, StoreError,
    provider_keys::{self, StoredProviderKey, provider_of},
};
use crate::domain::{
    ids::{ApiKeyId, OrgId},
    policy::{ByokFallback, KeyPolicy},
    provider::ProviderId,
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// Proof that a presented API key is known and live, with everything a request needs to know of it.
#[derive(Clone, Debug)]
pub struct Principal {
    pub scope: OrgScope,
    pub api_key_id: ApiKeyId,
    pub policy: KeyPolicy,
    /// By provider, then in the order in which they are tried; disabled ones too.
    pub provider_keys: Vec<StoredProviderKey>,
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

/// The principal of a key, unless it is unknown, revoked or expired.
pub async fn find_principal(
    connection: &mut PgConnection,
    key_hash: &[u8; 32],
    now: OffsetDateTime,
) -> Result<Option<Principal>, StoreError> {
    let Some(row) = sqlx::query!(
        "SELECT org_id, id, byok_fallback, allowed_providers, excluded_providers, allowed_models, expires_at
         FROM api_key
         WHERE key_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)",
        key_hash.as_slice(),
        now,
    )
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(None);
    };
    let scope = OrgScope::of(OrgId(row.org_id));
    let api_key_id = ApiKeyId(row.id);
    let policy = KeyPolicy {
        byok_fallback: fallback_of(&row.byok_fallback),
        allowed_providers: row.allowed_providers.map(|list| providers_of(&row.id, &list)).transpose()?,
        excluded_providers: providers_of(&row.id, &row.excluded_providers)?,
        allowed_models: row.allowed_models,
        expires_at: row.expires_at,
    };
    let provider_keys = provider_keys::list_of_api_key(connection, scope, api_key_id).await?;
    Ok(Some(Principal { scope, api_key_id, policy, provider_keys }))
}

/// Anything but the explicit permission keeps requests off the platform's keys.
fn fallback_of(text: &str) -> ByokFallback {
    if text == "platform" { ByokFallback::Platform } else { ByokFallback::Never }
}

fn providers_of(row: &Uuid, names: &[String]) -> Result<Vec<ProviderId>, StoreError> {
    names.iter().map(|name| provider_of("api_key", "providers", row, name)).collect()
}
