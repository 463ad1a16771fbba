//! The operator's provider keys: stored ones (sealed) beat the environment's. Requests read a snapshot; a job
//! replaces it. A stored key that does not open leaves its provider without a key rather than with another, and a key
//! that is switched off is not used wherever it comes from.

use crate::{
    domain::{ambient::Ambient, ids::PlatformKeyId, provider::ProviderId, secret::Secret},
    store::{
        Db, StoreError,
        audit_log::{self, AuditEntry},
        platform_keys::{self, StoredPlatformKey},
    },
    vault::{self, Binding, KeyRing, VaultError},
};
use arc_swap::ArcSwap;
use sqlx::PgConnection;
use std::{collections::HashMap, sync::Arc};
use time::OffsetDateTime;

/// A platform key, ready for use.
pub struct PlatformKey {
    /// `None`: from the environment.
    pub id: Option<PlatformKeyId>,
    pub secret: Secret,
}

/// The platform keys of this process.
pub struct PlatformKeys {
    environment: HashMap<ProviderId, Arc<PlatformKey>>,
    /// Those that are used.
    current: ArcSwap<HashMap<ProviderId, Arc<PlatformKey>>>,
    /// Those that are switched off.
    disabled: ArcSwap<HashMap<ProviderId, Arc<PlatformKey>>>,
}

/// A platform key as the operator sees it.
#[derive(Clone, Debug)]
pub struct ListedPlatformKey {
    pub provider: ProviderId,
    /// `None`: there is no key, or the stored one does not open.
    pub source: Option<KeySource>,
    pub last4: Option<String>,
    pub enabled: bool,
    /// Of a stored key.
    pub created_at: Option<OffsetDateTime>,
}

/// Where a platform key comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeySource {
    Stored,
    Environment,
}

impl KeySource {
    pub fn as_str(self) -> &'static str {
        match self {
            KeySource::Stored => "stored",
            KeySource::Environment => "environment",
        }
    }
}

/// What the operator does with a stored platform key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyChange {
    Enable,
    Disable,
    Remove,
}

/// Why a platform key could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum PlatformKeyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl PlatformKeys {
    /// Starts with the environment's keys; [`PlatformKeys::refresh`] adds the stored ones.
    pub fn new(environment: impl IntoIterator<Item = (ProviderId, Secret)>) -> Self {
        let environment: HashMap<_, _> = environment
            .into_iter()
            .map(|(provider, secret)| (provider, Arc::new(PlatformKey { id: None, secret })))
            .collect();
        let current = ArcSwap::from_pointee(environment.clone());
        Self { current, disabled: ArcSwap::default(), environment }
    }

    /// The key of a provider for a test call, used or switched off.
    pub fn get_for_test(&self, provider: ProviderId) -> Option<Arc<PlatformKey>> {
        self.get(provider).or_else(|| self.disabled.load().get(&provider).cloned())
    }

    /// The key to use at a provider now.
    pub fn get(&self, provider: ProviderId) -> Option<Arc<PlatformKey>> {
        self.current.load().get(&provider).cloned()
    }

    /// The providers that can be called on the operator's account now.
    pub fn providers(&self) -> Vec<ProviderId> {
        let mut providers: Vec<ProviderId> = self.current.load().keys().copied().collect();
        providers.sort();
        providers
    }

    /// Reads the stored keys again. To be called every few seconds, at most five apart.
    pub async fn refresh(&self, db: &Db, ring: &KeyRing) -> Result<(), StoreError> {
        let reading = db.clone();
        let (stored, off) = db.run(async move { read_rows(&mut *reading.acquire().await?).await }).await?;
        let (disabled, current): (HashMap<_, _>, HashMap<_, _>) =
            self.laid_over(ring, &stored).into_iter().partition(|(provider, _)| off.contains(provider));
        self.disabled.store(Arc::new(disabled));
        self.current.store(Arc::new(current));
        Ok(())
    }

    /// A line for each provider of the table. Reads the stored keys again.
    pub async fn list(&self, db: &Db, ring: &KeyRing) -> Result<Vec<ListedPlatformKey>, StoreError> {
        self.refresh(db, ring).await?;
        let reading = db.clone();
        let (stored, off) = db.run(async move { read_rows(&mut *reading.acquire().await?).await }).await?;
        let line = |provider| {
            let row = stored.iter().find(|row| row.provider == provider);
            let key = self.get_for_test(provider);
            ListedPlatformKey {
                provider,
                source: key.as_ref().map(|key| match key.id {
                    Some(_) => KeySource::Stored,
                    None => KeySource::Environment,
                }),
                last4: row.map(|row| row.last4.clone()).or_else(|| key.map(|key| key.secret.last4())),
                enabled: !off.contains(&provider),
                created_at: row.map(|row| row.created_at),
            }
        };
        Ok(ProviderId::all().map(line).collect())
    }

    fn laid_over(
        &self,
        ring: &KeyRing,
        stored: &[StoredPlatformKey],
    ) -> HashMap<ProviderId, Arc<PlatformKey>> {
        let mut keys = self.environment.clone();
        for row in stored {
            match open(ring, row) {
                Ok(secret) => keys.insert(row.provider, Arc::new(PlatformKey { id: Some(row.id), secret })),
                Err(error) => {
                    tracing::error!(
                        provider.name = row.provider.as_str(),
                        platform_key.id = %row.id,
                        error.cause = %error,
                        "a stored platform key does not open; its provider has no key"
                    );
                    keys.remove(&row.provider)
                }
            };
        }
        keys
    }
}

async fn read_rows(
    connection: &mut PgConnection,
) -> Result<(Vec<StoredPlatformKey>, Vec<ProviderId>), StoreError> {
    let stored = platform_keys::list(connection).await?;
    Ok((stored, platform_keys::list_disabled(connection).await?))
}

/// Stores the operator's key of a provider, sealed. Every process uses it at its next refresh.
pub async fn set_platform_key(
    db: &Db,
    ring: &KeyRing,
    ambient: &Ambient,
    (provider, secret): (ProviderId, &Secret),
    actor: String,
) -> Result<PlatformKeyId, PlatformKeyError> {
    let id = PlatformKeyId(ambient.uuid());
    let sealed = vault::seal(ring, ambient, &binding(provider, &id.to_string()), secret)?;
    let (last4, created_at) = (secret.last4(), ambient.now());
    let key = StoredPlatformKey { id, provider, sealed, last4, created_at };
    let (db_in, ambient) = (db.clone(), ambient.clone());
    db.run(async move {
        let mut tx = db_in.begin().await?;
        platform_keys::set(&mut tx, &key).await?;
        let action = "platform_key.set";
        let entry = AuditEntry { org: None, actor: &actor, action, subject: provider.as_str() };
        audit_log::insert(&mut tx, &ambient, &entry).await?;
        tx.commit().await
    })
    .await?;
    Ok(id)
}

/// Switches the platform key of a provider on or off, or removes the stored one, after which a key of the environment
/// serves again. False when nothing had to be changed. Every process follows at its next refresh.
pub async fn change_platform_key(
    db: &Db,
    ambient: &Ambient,
    (provider, change): (ProviderId, KeyChange),
    actor: String,
) -> Result<bool, StoreError> {
    let (writing, ambient) = (db.clone(), ambient.clone());
    db.run(async move {
        let mut tx = writing.begin().await?;
        let (changed, action) = match change {
            KeyChange::Enable => (platform_keys::enable(&mut tx, provider).await?, "platform_key.enable"),
            KeyChange::Disable => {
                let changed = platform_keys::disable(&mut tx, provider, ambient.now()).await?;
                (changed, "platform_key.disable")
            }
            KeyChange::Remove => (platform_keys::delete(&mut tx, provider).await?, "platform_key.remove"),
        };
        if changed {
            let entry = AuditEntry { org: None, actor: &actor, action, subject: provider.as_str() };
            audit_log::insert(&mut tx, &ambient, &entry).await?;
        }
        tx.commit().await?;
        Ok(changed)
    })
    .await
}

fn open(ring: &KeyRing, row: &StoredPlatformKey) -> Result<Secret, VaultError> {
    vault::open(ring, &binding(row.provider, &row.id.to_string()), &row.sealed)
}

fn binding(provider: ProviderId, record: &str) -> Binding<'_> {
    Binding {
        table: "platform_key",
        org: None,
        api_key: None,
        provider: provider.as_str(),
        origin: "",
        record,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, engine::general_purpose::STANDARD};

    fn ring(fill: u8) -> KeyRing {
        KeyRing::parse(&format!("k:{}", STANDARD.encode([fill; 32]))).unwrap()
    }

    fn stored(provider: ProviderId, sealed_for: ProviderId) -> StoredPlatformKey {
        let ambient = Ambient::system();
        let id = PlatformKeyId(ambient.uuid());
        let secret = Secret::new("stored-secret-key".into());
        let sealed = vault::seal(&ring(1), &ambient, &binding(sealed_for, &id.to_string()), &secret).unwrap();
        StoredPlatformKey { id, provider, sealed, last4: String::new(), created_at: ambient.now() }
    }

    #[test]
    fn a_stored_key_beats_the_environment_and_one_that_does_not_open_leaves_none() {
        let provider = |id| ProviderId::by_id(id).unwrap();
        let keys = PlatformKeys::new([
            (provider("openai"), Secret::new("env-openai".into())),
            (provider("groq"), Secret::new("env-groq".into())),
            (provider("xai"), Secret::new("env-xai".into())),
        ]);
        let rows =
            [stored(provider("openai"), provider("openai")), stored(provider("groq"), provider("openai"))];
        keys.current.store(Arc::new(keys.laid_over(&ring(1), &rows)));
        assert_eq!(keys.get(provider("openai")).unwrap().secret.expose(), "stored-secret-key");
        assert!(keys.get(provider("groq")).is_none(), "moved between providers");
        assert_eq!(keys.get(provider("xai")).unwrap().secret.expose(), "env-xai");
        keys.current.store(Arc::new(keys.laid_over(&ring(2), &rows)));
        assert!(keys.get(provider("openai")).is_none(), "sealed under another master key");
    }
}
