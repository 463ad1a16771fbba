//! Provider credentials between store and use: sealing a new one for its row, opening a stored one, the
//! operator's own, and the free call that tells whether one works. The plaintext is handed on in a type
//! without text form and must not be kept.

pub mod check;
pub mod platform;
pub mod rotate;
pub mod uses;

use crate::{
    domain::{
        ambient::Ambient,
        ids::{ApiKeyId, ProviderKeyId},
        provider::ProviderId,
        secret::Secret,
    },
    store::{OrgScope, provider_keys::StoredProviderKey},
    vault::{self, Binding, KeyRing, VaultError},
};
use reqwest::Url;

/// Opens a customer's stored provider key.
pub fn open_stored(
    ring: &KeyRing,
    scope: OrgScope,
    api_key: ApiKeyId,
    key: &StoredProviderKey,
) -> Result<Secret, VaultError> {
    let (origin, record) = (origin_of(key.base_url.as_deref())?, key.id.to_string());
    vault::open(ring, &binding(scope, api_key, key.provider, &origin, &record), &key.sealed)
}

/// Seals a customer's provider key for the row it is to be stored in.
pub fn seal_stored(
    ring: &KeyRing,
    ambient: &Ambient,
    row: &StoredRow<'_>,
    secret: &Secret,
) -> Result<Vec<u8>, VaultError> {
    let (origin, record) = (origin_of(row.base_url)?, row.id.to_string());
    vault::seal(ring, ambient, &binding(row.scope, row.api_key, row.provider, &origin, &record), secret)
}

/// Where a provider key is about to be stored: what its seal is bound to.
pub struct StoredRow<'a> {
    pub scope: OrgScope,
    pub api_key: ApiKeyId,
    pub provider: ProviderId,
    pub base_url: Option<&'a str>,
    pub id: ProviderKeyId,
}

fn binding<'a>(
    scope: OrgScope,
    api_key: ApiKeyId,
    provider: ProviderId,
    origin: &'a str,
    record: &'a str,
) -> Binding<'a> {
    Binding {
        table: "provider_key",
        org: Some(scope.org_id()),
        api_key: Some(api_key),
        provider: provider.as_str(),
        origin,
        record,
    }
}

/// Scheme, host and port of a base URL; empty for the provider's public one.
fn origin_of(base_url: Option<&str>) -> Result<String, VaultError> {
    match base_url {
        None => Ok(String::new()),
        Some(text) => {
            let url = Url::parse(text).map_err(|_| VaultError::Refused)?;
            Ok(url.origin().ascii_serialization())
        }
    }
}
