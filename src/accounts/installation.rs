//! The secrets that all processes of one installation share: keyed-hash and signing keys, made at random by
//! whichever process starts first and stored sealed.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A key for HMAC-SHA256. It has no text form.
#[derive(Clone)]
pub struct KeyedHash(Zeroizing<[u8; 32]>);

impl KeyedHash {
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// HMAC-SHA256 of `data`.
    pub fn of(&self, data: &[u8]) -> [u8; 32] {
        // A key shorter than the hash's block is padded with zeros (RFC 2104).
        let mut block = Zeroizing::new([0u8; 64]);
        block.iter_mut().zip(self.0.iter()).for_each(|(place, byte)| *place = *byte);
        let mut mac = Hmac::<Sha256>::new(&(*block).into());
        mac.update(data);
        mac.finalize().into_bytes().into()
    }
}

/// What all processes of the installation share.
pub struct Installation {
    /// Hashes platform API keys.
    pub pepper: KeyedHash,
}
