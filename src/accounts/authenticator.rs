//! From a presented API key to a principal, fast: a typo fails its checksum, a known key (or a known unknown)
//! comes from a short-lived cache, and only then is the database asked, once per key however many wait.
//! A database error is never remembered and never becomes a refusal of the key.

use super::{
    api_key::{ApiKeyHash, PlainApiKey},
    installation::Installation,
    token::{self, Claims},
};
use crate::{
    domain::{ambient::Ambient, ids::ApiKeyId, secret::Secret},
    store::{
        Db, StoreError,
        api_keys::{self, Principal},
    },
};
use moka::future::Cache;
use std::{sync::Arc, time::Duration};

/// A revocation must act on every replica within five seconds; the rest is for a slow look-up.
const CACHE_TTL: Duration = Duration::from_secs(3);
const CACHE_ENTRIES_MAX: u64 = 100_000;

/// Why a presented key is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("No API key. Send one as `Authorization: Bearer kr-…` or `X-API-Key: kr-…`")]
    Missing,
    #[error("The API key is malformed: check that it was copied whole")]
    Malformed,
    #[error("Keys of the form kr_live_… are not issued here; create one of the form kr-…")]
    LegacyForm,
    #[error("This is a session token; send an API key of the form kr-…")]
    SessionToken,
    #[error("A token of this kind opens only the endpoints of indoxhub's client; send the API key")]
    ClientToken,
    #[error("The token has expired or was not issued here; log in again with the API key")]
    TokenOver,
    #[error("The API key is unknown, revoked or expired")]
    Unknown,
    #[error("the key could not be looked up: {0}")]
    Store(Arc<StoreError>),
}

/// Answers who a presented API key belongs to.
pub struct Authenticator {
    db: Db,
    installation: Arc<Installation>,
    ambient: Ambient,
    principals: Cache<ApiKeyHash, Option<Arc<Principal>>>,
}

impl Authenticator {
    pub fn new(db: Db, installation: Arc<Installation>, ambient: Ambient) -> Self {
        let principals = Cache::builder()
            .max_capacity(CACHE_ENTRIES_MAX)
            .time_to_live(CACHE_TTL)
            .support_invalidation_closures()
            .build();
        Self { db, installation, ambient, principals }
    }

    /// The principal of a presented key.
    pub async fn authenticate(&self, presented: &str) -> Result<Arc<Principal>, AuthError> {
        let Some(key) = PlainApiKey::parse(presented) else { return Err(malformed(presented)) };
        self.find_by_hash(key.hash(&self.installation.pepper)).await
    }

    /// A token that stands for a presented key for a while.
    pub async fn issue_token(&self, presented: &str) -> Result<Secret, AuthError> {
        let Some(key) = PlainApiKey::parse(presented) else { return Err(malformed(presented)) };
        let hash = key.hash(&self.installation.pepper);
        let principal = self.find_by_hash(hash).await?;
        let claims = Claims {
            org: principal.scope.org_id(),
            api_key: principal.api_key_id,
            hash,
            ends_at: (self.ambient.now() + token::LIFETIME).unix_timestamp(),
        };
        Ok(claims.sign(&self.installation.signing))
    }

    /// The principal of the key that a presented token stands for; the key must still be live.
    pub async fn authenticate_token(&self, presented: &str) -> Result<Arc<Principal>, AuthError> {
        let claims = Claims::verify(presented, &self.installation.signing, self.ambient.now());
        let claims = claims.ok_or(AuthError::TokenOver)?;
        let principal = self.find_by_hash(claims.hash).await?;
        let is_its = principal.scope.org_id() == claims.org && principal.api_key_id == claims.api_key;
        if is_its { Ok(principal) } else { Err(AuthError::TokenOver) }
    }

    /// The principal as it is now, for a request that goes on for long: what was changed about the key since holds, and
    /// one that was revoked or has expired is none any more.
    pub async fn renew(&self, known: &Principal) -> Result<Arc<Principal>, AuthError> {
        self.find_by_hash(ApiKeyHash(known.key_hash.0)).await
    }

    /// The principal of a key known by its hash, as a short-lived token carries it.
    async fn find_by_hash(&self, hash: ApiKeyHash) -> Result<Arc<Principal>, AuthError> {
        let now = self.ambient.now();
        let found = self
            .principals
            .try_get_with(hash, async {
                let db = self.db.clone();
                self.db
                        .run(async move {
                            api_keys::find_principal(&mut *db.acquire().await?, &hash.0, now).await
                        })
                        .await
                        .map(|principal| principal.map(Arc::new))
            })
            .await
            .map_err(AuthError::Store)?;
        // The cached answer may be older than the key's last moment.
        found.filter(|principal| principal.is_live(now)).ok_or(AuthError::Unknown)
    }

    /// Forgets what is cached for an API key that this process has changed or revoked.
    pub fn forget(&self, id: ApiKeyId) {
        let changed = move |_: &ApiKeyHash, cached: &Option<Arc<Principal>>| {
            cached.as_ref().is_some_and(|principal| principal.api_key_id == id)
        };
        // Refused only by a cache built without support for it.
        if let Err(error) = self.principals.invalidate_entries_if(changed) {
            tracing::error!(error.cause = %error, "cached principals could not be dropped");
        }
    }
}

fn malformed(presented: &str) -> AuthError {
    if presented.starts_with("kr_live_") || presented.starts_with("kr_test_") {
        AuthError::LegacyForm
    } else if token::is_token(presented) {
        AuthError::ClientToken
    } else if presented.starts_with("krs_") {
        AuthError::SessionToken
    } else {
        AuthError::Malformed
    }
}
