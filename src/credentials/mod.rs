//! Provider credentials between store and use: sealing a new one for its row, opening a stored one, the operator's own,
//! and the free call that shows whether one works. The plaintext is passed on in a type without a text form and must
//! not be stored.

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
    store::{
        OrgScope,
        provider_keys::{KeyOwner, StoredProviderKey},
    },
    vault::{self, Binding, KeyRing, VaultError},
};
use reqwest::Url;

/// Opens a customer's stored provider key, for the API key that uses it; without one, for its organization.
pub fn open_stored(
    ring: &KeyRing,
    scope: OrgScope,
    api_key: Option<ApiKeyId>,
    key: &StoredProviderKey,
) -> Result<Secret, VaultError> {
    let row = StoredRow {
        scope,
        api_key,
        owner: &key.owner,
        provider: key.provider,
        base_url: key.base_url.as_deref(),
        id: key.id,
    };
    let (origin, record) = (origin_of(row.base_url)?, row.record());
    vault::open(ring, &row.binding(&origin, &record), &key.sealed)
}

/// Seals a customer's provider key for the row it is to be stored in.
pub fn seal_stored(
    ring: &KeyRing,
    ambient: &Ambient,
    row: &StoredRow<'_>,
    secret: &Secret,
) -> Result<Vec<u8>, VaultError> {
    let (origin, record) = (origin_of(row.base_url)?, row.record());
    vault::seal(ring, ambient, &row.binding(&origin, &record), secret)
}

/// Where a provider key is stored: its seal is bound to this.
pub struct StoredRow<'a> {
    pub scope: OrgScope,
    /// Used for a key that belongs to an API key.
    pub api_key: Option<ApiKeyId>,
    pub owner: &'a KeyOwner,
    pub provider: ProviderId,
    pub base_url: Option<&'a str>,
    pub id: ProviderKeyId,
}

impl StoredRow<'_> {
    /// The row, and the keys that share it: a key that is shared differently than when it was sealed does not open.
    fn record(&self) -> String {
        let id = self.id;
        match self.owner {
            KeyOwner::ApiKey => id.to_string(),
            KeyOwner::Organization(None) => format!("{id} for all"),
            KeyOwner::Organization(Some(api_keys)) => {
                let mut names: Vec<String> = api_keys.iter().map(ApiKeyId::to_string).collect();
                names.sort_unstable();
                format!("{id} for {}", names.join(","))
            }
        }
    }

    fn binding<'b>(&self, origin: &'b str, record: &'b str) -> Binding<'b> {
        let is_shared = matches!(self.owner, KeyOwner::Organization(_));
        Binding {
            table: if is_shared { "provider_key of organization" } else { "provider_key" },
            org: Some(self.scope.org_id()),
            api_key: self.api_key.filter(|_| !is_shared),
            provider: self.provider.as_str(),
            origin,
            record,
        }
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
