//! Tokens that fix a plan for a minute: `krp_`, then base64url of the claims and of their signature. The claims contain
//! the API key, the expiry and the models in order. Pure. A token decides an order and grants no permission: every
//! model in it passes the filters again.

use crate::{accounts::installation::KeyedHash, domain::ids::ApiKeyId};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};

const PREFIX: &str = "krp_";
const VERSION: u8 = 1;
/// Separates these signatures from other signatures of the same key.
const PURPOSE: &[u8] = b"plan token\0";
const SIGNATURE_BYTES: usize = 32;
const HEAD_BYTES: usize = 1 + 16 + 8;
/// Maximum length of a token.
const TOKEN_BYTES_MAX: usize = 8_192;
/// Models in a token.
const MODELS_MAX: usize = 16;

/// How long a plan is fixed.
pub const LIFETIME: Duration = Duration::seconds(60);

/// The token for these models in this order, and its expiry.
pub fn sign(
    signing: &KeyedHash,
    api_key: ApiKeyId,
    models: &[Arc<str>],
    now: OffsetDateTime,
) -> (String, OffsetDateTime) {
    let ends_at = now + LIFETIME;
    let mut bytes = Vec::with_capacity(HEAD_BYTES + 64 * models.len() + SIGNATURE_BYTES);
    bytes.push(VERSION);
    bytes.extend_from_slice(api_key.0.as_bytes());
    bytes.extend_from_slice(&ends_at.unix_timestamp().to_be_bytes());
    let models: Vec<&str> = models.iter().take(MODELS_MAX).map(|model| &**model).collect();
    bytes.extend_from_slice(models.join("\n").as_bytes());
    let signature = signature(signing, &bytes);
    bytes.extend_from_slice(&signature);
    (format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)), ends_at)
}

/// The models of a valid token of this API key that has not expired.
pub fn verify(
    signing: &KeyedHash,
    api_key: ApiKeyId,
    token: &str,
    now: OffsetDateTime,
) -> Option<Vec<String>> {
    let text = token.strip_prefix(PREFIX).filter(|text| text.len() <= TOKEN_BYTES_MAX)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (claims, given) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
    if !bool::from(signature(signing, claims).ct_eq(given)) {
        return None;
    }
    let (head, models) = claims.split_at_checked(HEAD_BYTES)?;
    let (version, rest) = head.split_first()?;
    let (key, ends_at) = rest.split_at_checked(16)?;
    let ends_at = i64::from_be_bytes(ends_at.try_into().ok()?);
    let is_good = *version == VERSION && key == api_key.0.as_bytes() && now.unix_timestamp() < ends_at;
    let models = std::str::from_utf8(models).ok().filter(|_| is_good)?;
    Some(models.lines().map(str::to_owned).collect())
}

fn signature(signing: &KeyedHash, claims: &[u8]) -> [u8; SIGNATURE_BYTES] {
    signing.of(&[PURPOSE, claims].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;
    use uuid::Uuid;

    const NOW: OffsetDateTime = datetime!(2026-11-29 10:00 UTC);

    fn models() -> Vec<Arc<str>> {
        vec!["openai/gpt-5.4-mini".into(), "groq/gpt-oss-120b".into()]
    }

    #[test]
    fn a_token_is_good_for_its_key_and_its_minute() {
        let (signing, key) = (KeyedHash::new([7; 32]), ApiKeyId(Uuid::from_u128(1)));
        let (token, ends_at) = sign(&signing, key, &models(), NOW);
        assert_eq!(verify(&signing, key, &token, NOW).unwrap(), ["openai/gpt-5.4-mini", "groq/gpt-oss-120b"]);
        assert_eq!(verify(&signing, key, &token, ends_at), None);
        assert_eq!(verify(&signing, ApiKeyId(Uuid::from_u128(2)), &token, NOW), None);
        assert_eq!(verify(&KeyedHash::new([8; 32]), key, &token, NOW), None);
    }

    #[test]
    fn a_changed_token_is_none() {
        let (signing, key) = (KeyedHash::new([7; 32]), ApiKeyId(Uuid::from_u128(1)));
        let (token, _) = sign(&signing, key, &models(), NOW);
        for at in 4..token.len() - 1 {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(verify(&signing, key, &String::from_utf8(bytes).unwrap(), NOW), None, "{at}");
        }
        for other in ["", "krp_", "krp_AAAA", "krt_AAAA"] {
            assert_eq!(verify(&signing, key, other, NOW), None);
        }
    }
}
