//! The secrets that all processes of one installation share: keyed-hash and signing keys, made at random by
//! whichever process starts first and stored sealed.

use crate::{
    domain::ambient::Ambient,
    store::{Db, StoreError, secrets},
    vault::{self, Binding, KeyRing, VaultError},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sqlx::PgConnection;
use zeroize::Zeroizing;

/// A key for HMAC-SHA256. It has no text form. Kept is the state of the hash after the key, which is the same for all
/// data.
#[derive(Clone)]
pub struct KeyedHash(Hmac<Sha256>);

impl KeyedHash {
    pub fn new(key: [u8; 32]) -> Self {
        let key = Zeroizing::new(key);
        // A key shorter than the hash's block is padded with zeros (RFC 2104).
        let mut block = Zeroizing::new([0u8; 64]);
        block.iter_mut().zip(key.iter()).for_each(|(place, byte)| *place = *byte);
        Self(Hmac::new(&(*block).into()))
    }

    /// HMAC-SHA256 of `data`.
    pub fn of(&self, data: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(data);
        mac.finalize().into_bytes().into()
    }

    /// The first 16 hexadecimal digits: enough to tell two secrets apart, useless to find either.
    pub fn fingerprint(&self, data: &[u8]) -> String {
        self.of(data).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What all processes of the installation share. Each key has one use.
pub struct Installation {
    pub ring: KeyRing,
    /// Hashes platform API keys.
    pub pepper: KeyedHash,
    /// Hashes session and invitation tokens.
    pub tokens: KeyedHash,
    /// Fingerprints provider keys.
    pub fingerprints: KeyedHash,
    /// Signs short-lived bearer tokens.
    pub signing: KeyedHash,
    /// Signs the dashboard's cookies and form tokens.
    pub cookies: KeyedHash,
    /// The secrets of customers' webhooks follow from it.
    pub webhooks: KeyedHash,
}

/// Why the shared secrets could not be had. The process must not start without them.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("secret `{name}`: {cause}; are the master keys those of this database?")]
    Vault { name: &'static str, cause: VaultError },
}

impl Installation {
    /// Reads the shared secrets, making those that do not exist yet. Safe to run in several processes at once.
    pub async fn load(db: &Db, ring: KeyRing, ambient: Ambient) -> Result<Self, InstallationError> {
        let database = db.clone();
        db.run(async move {
            let mut connection = database.begin().await?;
            let installation = Self {
                pepper: load_key(&mut connection, &ring, &ambient, "api_key_pepper").await?,
                tokens: load_key(&mut connection, &ring, &ambient, "token_pepper").await?,
                fingerprints: load_key(&mut connection, &ring, &ambient, "fingerprint").await?,
                signing: load_key(&mut connection, &ring, &ambient, "signing").await?,
                cookies: load_key(&mut connection, &ring, &ambient, "cookie").await?,
                webhooks: load_key(&mut connection, &ring, &ambient, "webhook").await?,
                ring,
            };
            connection.commit().await?;
            Ok(installation)
        })
        .await
    }
}

async fn load_key(
    connection: &mut PgConnection,
    ring: &KeyRing,
    ambient: &Ambient,
    name: &'static str,
) -> Result<KeyedHash, InstallationError> {
    let refused = |cause| InstallationError::Vault { name, cause };
    let binding =
        Binding { table: "secret", org: None, api_key: None, provider: "", origin: "", record: name };
    let sealed = match secrets::get(connection, name).await? {
        Some(sealed) => sealed,
        None => {
            let fresh = Zeroizing::new(ambient.bytes::<32>());
            let sealed = vault::seal_bytes(ring, ambient, &binding, fresh.as_slice()).map_err(refused)?;
            secrets::insert_if_absent(connection, name, &sealed, ambient.now()).await?;
            // Another process may have been faster: what is stored counts, not what we made.
            secrets::get(connection, name).await?.unwrap_or_default()
        }
    };
    let opened = vault::open_bytes(ring, &binding, &sealed).map_err(refused)?;
    let key = <[u8; 32]>::try_from(opened.as_slice()).map_err(|_| refused(VaultError::Refused))?;
    Ok(KeyedHash::new(key))
}
