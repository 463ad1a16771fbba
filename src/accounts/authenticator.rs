//! From a presented API key to a principal, fast: a typo fails its checksum, a known key (or a known unknown)
//! comes from a short-lived cache, and only then is the database asked, once per key however many wait.
//! A database error is never remembered and never becomes a refusal of the key.

use super::{
    api_key::{ApiKeyHash, PlainApiKey},
    installation::Installation,
    token::{self, Claims},
};
use crate::{
    domain::{
        ambient::Ambient,
        ids::{ApiKeyId, OrgId},
        secret::Secret,
    },
    store::{
        Db, StoreError,
        api_keys::{self, Principal},
    },
};
use moka::{Expiry, future::Cache};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long an answer is used, from the moment it was asked for. A revocation must act on every replica within five
/// seconds; a database that is slow or away for less does no harm to keys in use.
const USED_FOR: Duration = Duration::from_millis(4_800);
/// The age at which a used answer is asked for again, ahead of its end.
const REFRESHED_AFTER: Duration = Duration::from_secs(2);
/// How long an unknown key stays unknown.
const UNKNOWN_FOR: Duration = Duration::from_secs(3);
/// Pause after a refresh that failed.
const REFRESH_PAUSE: Duration = Duration::from_millis(250);
const CACHE_ENTRIES_MAX: u64 = 100_000;

/// Why a presented key is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("No API key. Send one as `Authorization: Bearer kr-…` or `X-API-Key: kr-…`")]
    Missing,
    #[error("The API key is malformed: check that it was copied whole")]
    Malformed,
    #[error(
        "This is no API key of this gateway, whose keys begin with kr-. Send one of those; a provider's key goes into \
         `X-Provider-Key` beside it"
    )]
    Foreign,
    #[error("Keys of the form kr_live_… are not issued here; create one of the form kr-…")]
    LegacyForm,
    #[error("This is a session token; send an API key of the form kr-…")]
    SessionToken,
    #[error("A token of this kind opens only the endpoints of indoxhub's client; send the API key")]
    ClientToken,
    #[error("The token has expired or was not issued here; log in again with the API key")]
    TokenOver,
    #[error("The API key is unknown, revoked or expired: send another, or create one in the dashboard")]
    Unknown,
    #[error(
        "The operator of this installation has suspended this organization. Its API keys work again when it is resumed; \
         ask the operator"
    )]
    Suspended,
    #[error("the key could not be looked up: {0}")]
    Store(Arc<StoreError>),
}

/// What the database knew of a key.
struct Known {
    principal: Option<Arc<Principal>>,
    asked_at: Instant,
    /// A refresh is under way.
    refreshing: AtomicBool,
}

impl Known {
    fn is_due(&self) -> bool {
        self.principal.is_some() && self.asked_at.elapsed() >= REFRESHED_AFTER
    }
}

/// Entries end some time after they were asked for, however long the answer took.
struct EndsAfterAsking;

impl EndsAfterAsking {
    fn left(known: &Known, now: Instant) -> Option<Duration> {
        let used_for = if known.principal.is_some() { USED_FOR } else { UNKNOWN_FOR };
        Some((known.asked_at + used_for).saturating_duration_since(now))
    }
}

impl Expiry<ApiKeyHash, Arc<Known>> for EndsAfterAsking {
    fn expire_after_create(&self, _: &ApiKeyHash, known: &Arc<Known>, now: Instant) -> Option<Duration> {
        Self::left(known, now)
    }

    fn expire_after_update(
        &self,
        _: &ApiKeyHash,
        known: &Arc<Known>,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Self::left(known, now)
    }
}

/// Answers who a presented API key belongs to.
pub struct Authenticator {
    db: Db,
    installation: Arc<Installation>,
    ambient: Ambient,
    principals: Cache<ApiKeyHash, Arc<Known>>,
    /// Counts changes made by this process: an answer that was asked for before one is not kept.
    changes: Arc<AtomicU64>,
}

impl Authenticator {
    pub fn new(db: Db, installation: Arc<Installation>, ambient: Ambient) -> Self {
        let principals = Cache::builder()
            .max_capacity(CACHE_ENTRIES_MAX)
            .expire_after(EndsAfterAsking)
            .support_invalidation_closures()
            .build();
        Self { db, installation, ambient, principals, changes: Arc::default() }
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
        let known = match self.principals.get(&hash).await {
            Some(known) => known,
            // Rare and large: kept out of the future of every request.
            None => {
                let asking = look_up(self.db.clone(), self.ambient.clone(), hash);
                Box::pin(self.principals.try_get_with(hash, asking)).await.map_err(AuthError::Store)?
            }
        };
        if known.is_due() && !known.refreshing.swap(true, Ordering::Relaxed) {
            self.refresh(hash, known.clone());
        }
        // The cached answer may be older than the key's last moment.
        let now = self.ambient.now();
        match &known.principal {
            Some(principal) if principal.is_suspended => Err(AuthError::Suspended),
            Some(principal) if principal.is_live(now) => Ok(principal.clone()),
            _ => Err(AuthError::Unknown),
        }
    }

    /// Asks again beside the request. What is known stays in use until the answer is there or its time is over.
    fn refresh(&self, hash: ApiKeyHash, known: Arc<Known>) {
        let (db, ambient, cache) = (self.db.clone(), self.ambient.clone(), self.principals.clone());
        let (changes, before) = (self.changes.clone(), self.changes.load(Ordering::Relaxed));
        self.db.runtime().spawn(async move {
            match look_up(db, ambient, hash).await {
                Ok(fresh) if changes.load(Ordering::Relaxed) == before => cache.insert(hash, fresh).await,
                Ok(_) => {}
                Err(_) => tokio::time::sleep(REFRESH_PAUSE).await,
            }
            known.refreshing.store(false, Ordering::Relaxed);
        });
    }

    /// Forgets what is cached for an API key that this process has changed or revoked.
    pub fn forget(&self, id: ApiKeyId) {
        self.forget_where(move |principal| principal.api_key_id == id);
    }

    /// Forgets what is cached for all API keys of an organization, something of which this process has changed.
    pub fn forget_organization(&self, id: OrgId) {
        self.forget_where(move |principal| principal.scope.org_id() == id);
    }

    fn forget_where(&self, is_changed: impl Fn(&Principal) -> bool + Send + Sync + 'static) {
        let changed = move |_: &ApiKeyHash, known: &Arc<Known>| {
            known.principal.as_ref().is_some_and(|principal| is_changed(principal))
        };
        self.changes.fetch_add(1, Ordering::Relaxed);
        // Refused only by a cache built without support for it.
        if let Err(error) = self.principals.invalidate_entries_if(changed) {
            tracing::error!(error.cause = %error, "cached principals could not be dropped");
        }
    }
}

/// Asks the database. It is bounded in time, so that a connection that has died cannot hold up a key.
async fn look_up(db: Db, ambient: Ambient, hash: ApiKeyHash) -> Result<Arc<Known>, StoreError> {
    let (asked_at, now, reading) = (Instant::now(), ambient.now(), db.clone());
    let principal =
        db.run(async move { api_keys::find_principal(&mut *reading.acquire().await?, &hash.0, now).await });
    let principal = principal.await?.map(Arc::new);
    Ok(Arc::new(Known { principal, asked_at, refreshing: AtomicBool::new(false) }))
}

fn malformed(presented: &str) -> AuthError {
    if presented.starts_with("kr_live_") || presented.starts_with("kr_test_") {
        AuthError::LegacyForm
    } else if token::is_token(presented) {
        AuthError::ClientToken
    } else if presented.starts_with("krs_") {
        AuthError::SessionToken
    } else if !presented.starts_with("kr-") {
        AuthError::Foreign
    } else {
        AuthError::Malformed
    }
}
