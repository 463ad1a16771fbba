//! The operator's provider keys: stored ones (sealed) beat the environment's. Requests read a snapshot; a job
//! replaces it. A stored key that does not open leaves its provider without a key rather than with another.

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
use std::{collections::HashMap, sync::Arc};

/// A platform key, ready for use.
pub struct PlatformKey {
    /// `None`: from the environment.
    pub id: Option<PlatformKeyId>,
    pub secret: Secret,
}

/// The platform keys of this process.
pub struct PlatformKeys {
    environment: HashMap<ProviderId, Arc<PlatformKey>>,
    current: ArcSwap<HashMap<ProviderId, Arc<PlatformKey>>>,
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
        Self { current: ArcSwap::from_pointee(environment.clone()), environment }
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
        let stored = db.run(async move { platform_keys::list(&mut *reading.acquire().await?).await }).await?;
        self.current.store(Arc::new(self.laid_over(ring, &stored)));
        Ok(())
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

/// Stores the operator's key of a provider, sealed. Every process uses it at its next refresh.
pub async fn set_platform_key(
    db: &Db,
    ring: &KeyRing,
    ambient: &Ambient,
    provider: ProviderId,
    secret: &Secret,
) -> Result<PlatformKeyId, PlatformKeyError> {
    let id = PlatformKeyId(ambient.uuid());
    let sealed = vault::seal(ring, ambient, &binding(provider, &id.to_string()), secret)?;
    let key = StoredPlatformKey { id, provider, sealed, last4: secret.last4() };
    let (db_in, ambient) = (db.clone(), ambient.clone());
    db.run(async move {
        let mut tx = db_in.begin().await?;
        platform_keys::set(&mut tx, &key, ambient.now()).await?;
        let entry =
            AuditEntry { org: None, actor: "cli", action: "platform_key.set", subject: provider.as_str() };
        audit_log::insert(&mut tx, &ambient, &entry).await?;
        tx.commit().await
    })
    .await?;
    Ok(id)
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
        StoredPlatformKey { id, provider, sealed, last4: String::new() }
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
