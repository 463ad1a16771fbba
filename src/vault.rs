//! Envelope encryption of credentials at rest, AES-256-GCM throughout. Each record has a data key of its own,
//! wrapped by a master key of the ring; associated data ties the ciphertext to the row it belongs to. Pure:
//! no I/O. Everything that is not exactly right fails to open, and no failure says why in detail.
//!
//! Record: `version | algorithm | length of key id | key id | wrap nonce (12) | wrapped data key (48) |
//! nonce (12) | ciphertext and tag`. The wrapping is bound to the header before it, the ciphertext to version,
//! algorithm and [`Binding`], so that rotation re-wraps the data key without touching the ciphertext.

use crate::domain::{
    ambient::Ambient,
    ids::{ApiKeyId, OrgId},
    secret::Secret,
};
use aes_gcm::{
    Aes256Gcm,
    aead::{Aead, KeyInit, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const ALGORITHM: u8 = 1;
const NONCE_BYTES: usize = 12;
const WRAPPED_BYTES: usize = 32 + 16;
const KEY_ID_BYTES_MAX: usize = 32;
const KEYS_MAX: usize = 16;

/// The row a record belongs to. A record opens only under the binding it was sealed with.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    pub table: &'a str,
    pub org: Option<OrgId>,
    pub api_key: Option<ApiKeyId>,
    /// Provider identifier; empty where there is none.
    pub provider: &'a str,
    /// Origin of the customer's base URL; empty for the provider's public one.
    pub origin: &'a str,
    /// The row's own identifier.
    pub record: &'a str,
}

/// The master keys: the first encrypts, all decrypt. No text form, wiped when dropped.
#[derive(Clone)]
pub struct KeyRing {
    keys: Vec<MasterKey>,
}

/// The cipher is kept with its key schedule, which is the same for every record. It is wiped when dropped, too.
#[derive(Clone)]
struct MasterKey {
    id: String,
    cipher: Aes256Gcm,
}

/// What is wrong with a list of master keys. Never holds any of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyRingError {
    #[error("at least one master key is needed, as id:base64 of 32 bytes")]
    Empty,
    #[error("more than {KEYS_MAX} master keys")]
    TooMany,
    #[error("master key number {0} is not of the form id:base64 of 32 bytes")]
    Malformed(usize),
    #[error("master key number {0} has an id that occurs before")]
    Duplicate(usize),
}

/// Why a record does not open. A caller can do nothing about either but refuse.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VaultError {
    #[error("the record is sealed under a master key that is not in the ring")]
    UnknownKey,
    #[error("the record does not open")]
    Refused,
}

impl KeyRing {
    /// Parses a comma-separated list of `id:base64(32 bytes)`; ids are letters, digits, dash, underscore.
    pub fn parse(list: &str) -> Result<Self, KeyRingError> {
        let mut keys: Vec<MasterKey> = Vec::new();
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        for (number, item) in (1..).zip(items) {
            let key = MasterKey::parse(item).ok_or(KeyRingError::Malformed(number))?;
            if keys.iter().any(|earlier| earlier.id == key.id) {
                return Err(KeyRingError::Duplicate(number));
            }
            if number > KEYS_MAX {
                return Err(KeyRingError::TooMany);
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyRingError::Empty) } else { Ok(Self { keys }) }
    }

    /// The id of the key that encrypts.
    pub fn newest_id(&self) -> &str {
        self.keys.first().map(|key| key.id.as_str()).unwrap_or_default()
    }

    /// The ids of all keys, the newest first.
    pub fn ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.id.clone()).collect()
    }

    /// What every record sealed under the newest key begins with.
    pub fn newest_header(&self) -> Vec<u8> {
        header_under(self.newest_id())
    }

    fn newest(&self) -> Result<&MasterKey, VaultError> {
        self.keys.first().ok_or(VaultError::UnknownKey)
    }

    fn find(&self, id: &[u8]) -> Result<&MasterKey, VaultError> {
        self.keys.iter().find(|key| key.id.as_bytes() == id).ok_or(VaultError::UnknownKey)
    }
}

impl MasterKey {
    fn parse(item: &str) -> Option<Self> {
        let (id, encoded) = item.split_once(':')?;
        let id_is_plain = (1..=KEY_ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
        let key = Zeroizing::new(<[u8; 32]>::try_from(decoded.as_slice()).ok()?);
        id_is_plain.then(|| Self { id: id.to_owned(), cipher: Aes256Gcm::new((&*key).into()) })
    }
}

/// Seals `secret` for the row of `binding` under a fresh data key.
pub fn seal(
    ring: &KeyRing,
    ambient: &Ambient,
    binding: &Binding<'_>,
    secret: &Secret,
) -> Result<Vec<u8>, VaultError> {
    seal_bytes(ring, ambient, binding, secret.expose().as_bytes())
}

/// As [`seal`], for content that is not text.
pub fn seal_bytes(
    ring: &KeyRing,
    ambient: &Ambient,
    binding: &Binding<'_>,
    content: &[u8],
) -> Result<Vec<u8>, VaultError> {
    let data_key = Zeroizing::new(ambient.bytes::<32>());
    let nonce = ambient.bytes::<NONCE_BYTES>();
    let mut record = wrap(ring.newest()?, ambient, &data_key)?;
    record.extend_from_slice(&nonce);
    record.extend(encrypt(&cipher_of(&data_key), &nonce, content, &associated(binding))?);
    Ok(record)
}

/// Opens a record that [`seal`] made for the same binding.
pub fn open(ring: &KeyRing, binding: &Binding<'_>, record: &[u8]) -> Result<Secret, VaultError> {
    let plain = open_bytes(ring, binding, record)?;
    let text = std::str::from_utf8(&plain).map_err(|_| VaultError::Refused)?;
    Ok(Secret::new(text.to_owned()))
}

/// As [`open`], for content that is not text.
pub fn open_bytes(
    ring: &KeyRing,
    binding: &Binding<'_>,
    record: &[u8],
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let parts = Parts::of(record)?;
    let data_key = data_key_of(ring, &parts)?;
    let (nonce, ciphertext) = parts.sealed.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Refused)?;
    decrypt(&cipher_of(&data_key), nonce, ciphertext, &associated(binding))
}

/// The same record with its data key wrapped by the newest master key. The ciphertext is untouched, so a
/// record that did not belong to its row before does not afterwards.
pub fn rewrap(ring: &KeyRing, ambient: &Ambient, record: &[u8]) -> Result<Vec<u8>, VaultError> {
    let parts = Parts::of(record)?;
    let data_key = data_key_of(ring, &parts)?;
    let mut rewrapped = wrap(ring.newest()?, ambient, &data_key)?;
    rewrapped.extend_from_slice(parts.sealed);
    Ok(rewrapped)
}

/// The id of the master key a record is sealed under, if it has the form of a record.
pub fn key_id_of(record: &[u8]) -> Option<&str> {
    Parts::of(record).ok().and_then(|parts| std::str::from_utf8(parts.key_id).ok())
}

struct Parts<'a> {
    /// Everything up to and with the key id: what the wrapping is bound to.
    header: &'a [u8],
    key_id: &'a [u8],
    wrap_nonce: &'a [u8; NONCE_BYTES],
    wrapped: &'a [u8],
    /// Nonce and ciphertext.
    sealed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(record: &'a [u8]) -> Result<Self, VaultError> {
        Self::split(record).ok_or(VaultError::Refused)
    }

    fn split(record: &'a [u8]) -> Option<Self> {
        let ([version, algorithm, id_length], rest) = record.split_first_chunk::<3>()?;
        if *version != VERSION || *algorithm != ALGORITHM {
            return None;
        }
        let (key_id, rest) = rest.split_at_checked(usize::from(*id_length))?;
        let (wrap_nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let (wrapped, sealed) = rest.split_at_checked(WRAPPED_BYTES)?;
        let (header, _) = record.split_at_checked(3 + key_id.len())?;
        Some(Self { header, key_id, wrap_nonce, wrapped, sealed })
    }
}

/// Header, wrap nonce and wrapped data key.
fn wrap(master: &MasterKey, ambient: &Ambient, data_key: &[u8; 32]) -> Result<Vec<u8>, VaultError> {
    let nonce = ambient.bytes::<NONCE_BYTES>();
    let mut record = header_under(&master.id);
    let wrapped = encrypt(&master.cipher, &nonce, data_key, &record)?;
    record.extend_from_slice(&nonce);
    record.extend(wrapped);
    Ok(record)
}

/// Ids are at most [`KEY_ID_BYTES_MAX`] long, so their length fits.
fn header_under(id: &str) -> Vec<u8> {
    let mut header = vec![VERSION, ALGORITHM, u8::try_from(id.len()).unwrap_or(u8::MAX)];
    header.extend_from_slice(id.as_bytes());
    header
}

fn data_key_of(ring: &KeyRing, parts: &Parts<'_>) -> Result<Zeroizing<[u8; 32]>, VaultError> {
    let master = ring.find(parts.key_id)?;
    let plain = decrypt(&master.cipher, parts.wrap_nonce, parts.wrapped, parts.header)?;
    <[u8; 32]>::try_from(plain.as_slice()).map(Zeroizing::new).map_err(|_| VaultError::Refused)
}

/// Version, algorithm and the parts of the binding, each behind its length so that no two bindings give the
/// same bytes.
fn associated(binding: &Binding<'_>) -> Vec<u8> {
    let org = binding.org.map(|id| id.to_string()).unwrap_or_default();
    let api_key = binding.api_key.map(|id| id.to_string()).unwrap_or_default();
    let parts = [binding.table, &org, &api_key, binding.provider, binding.origin, binding.record];
    let length: usize = parts.iter().map(|part| part.len() + 8).sum();
    let mut bytes = Vec::with_capacity(2 + length);
    bytes.extend([VERSION, ALGORITHM]);
    for part in parts {
        bytes.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

fn cipher_of(key: &[u8; 32]) -> Aes256Gcm {
    Aes256Gcm::new(key.into())
}

fn encrypt(
    cipher: &Aes256Gcm,
    nonce: &[u8; NONCE_BYTES],
    msg: &[u8],
    aad: &[u8],
) -> Result<Vec<u8>, VaultError> {
    cipher.encrypt(nonce.into(), Payload { msg, aad }).map_err(|_| VaultError::Refused)
}

fn decrypt(
    cipher: &Aes256Gcm,
    nonce: &[u8; NONCE_BYTES],
    msg: &[u8],
    aad: &[u8],
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    cipher.decrypt(nonce.into(), Payload { msg, aad }).map(Zeroizing::new).map_err(|_| VaultError::Refused)
}

#[cfg(test)]
mod tests;
