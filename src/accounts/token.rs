//! Short-lived tokens that represent an API key: `krt_`, then base64url of the claims and of their signature. The
//! claims contain organization, API key, the key's hash and the expiry. Pure: a valid token shows only that this
//! installation created it and that it has not expired; the caller must check elsewhere whether the key is still valid.

use super::{api_key::ApiKeyHash, installation::KeyedHash};
use crate::domain::{
    ids::{ApiKeyId, OrgId},
    secret::Secret,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

const PREFIX: &str = "krt_";
const VERSION: u8 = 1;
/// Separates these signatures from other signatures that the same key may make one day.
const PURPOSE: &[u8] = b"client token\0";
const CLAIMS_BYTES: usize = 1 + 16 + 16 + 32 + 8;

/// How long a token is valid.
pub const LIFETIME: Duration = Duration::minutes(30);

/// The content of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    pub org: OrgId,
    pub api_key: ApiKeyId,
    pub hash: ApiKeyHash,
    /// Seconds since 1970.
    pub ends_at: i64,
}

/// Whether a credential has the form of a token, valid or not.
pub fn is_token(presented: &str) -> bool {
    presented.starts_with(PREFIX)
}

impl Claims {
    /// The token with this content.
    pub fn sign(&self, signing: &KeyedHash) -> Secret {
        let mut bytes = Vec::with_capacity(CLAIMS_BYTES + 32);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.org.0.as_bytes());
        bytes.extend_from_slice(self.api_key.0.as_bytes());
        bytes.extend_from_slice(&self.hash.0);
        bytes.extend_from_slice(&self.ends_at.to_be_bytes());
        let signature = signature(signing, &bytes);
        bytes.extend_from_slice(&signature);
        Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The content of a token, if it was signed here and has not expired.
    pub fn verify(presented: &str, signing: &KeyedHash, now: OffsetDateTime) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(presented.strip_prefix(PREFIX)?).ok()?;
        let (claims, signed) = bytes.split_at_checked(CLAIMS_BYTES)?;
        if !bool::from(signature(signing, claims).as_slice().ct_eq(signed)) {
            return None;
        }
        let (version, rest) = claims.split_first()?;
        let (org, rest) = rest.split_first_chunk::<16>()?;
        let (api_key, rest) = rest.split_first_chunk::<16>()?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        let ends_at = i64::from_be_bytes(*rest.first_chunk::<8>()?);
        let claims = Self {
            org: OrgId(Uuid::from_bytes(*org)),
            api_key: ApiKeyId(Uuid::from_bytes(*api_key)),
            hash: ApiKeyHash(*hash),
            ends_at,
        };
        (*version == VERSION && now.unix_timestamp() < ends_at).then_some(claims)
    }
}

fn signature(signing: &KeyedHash, claims: &[u8]) -> [u8; 32] {
    signing.of(&[PURPOSE, claims].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-20 12:00 UTC);

    fn claims() -> Claims {
        Claims {
            org: OrgId(Uuid::from_u128(1)),
            api_key: ApiKeyId(Uuid::from_u128(2)),
            hash: ApiKeyHash([3; 32]),
            ends_at: (NOW + LIFETIME).unix_timestamp(),
        }
    }

    fn key() -> KeyedHash {
        KeyedHash::new([7; 32])
    }

    #[test]
    fn a_token_says_what_was_signed_until_its_last_second() {
        let token = claims().sign(&key());
        let read = |at| Claims::verify(token.expose(), &key(), at);
        assert!(read(NOW) == Some(claims()));
        assert!(read(NOW + LIFETIME - Duration::seconds(1)).is_some());
        assert!(read(NOW + LIFETIME).is_none());
    }

    #[test]
    fn a_token_of_another_installation_is_refused() {
        let token = claims().sign(&KeyedHash::new([8; 32]));
        assert!(Claims::verify(token.expose(), &key(), NOW).is_none());
    }

    #[test]
    fn every_change_of_one_bit_is_refused() {
        let token = claims().sign(&key());
        let bytes = URL_SAFE_NO_PAD.decode(&token.expose()[PREFIX.len()..]).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[at / 8] ^= 1 << (at % 8);
            let forged = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(forged));
            assert!(Claims::verify(&forged, &key(), NOW).is_none(), "bit {at}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in ".{0,200}") {
            prop_assert!(Claims::verify(&text, &key(), NOW).is_none());
            let prefixed = format!("{PREFIX}{text}");
            prop_assert!(Claims::verify(&prefixed, &key(), NOW).is_none());
        }
    }
}
