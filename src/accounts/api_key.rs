//! Platform API keys: `kr-`, 43 base62 characters (256 random bits), 6 base62 characters of CRC32 over all the ASCII
//! before them. The checksum prevents database look-ups for typos; it proves nothing else. The plain key and its keyed
//! hash are two types, and only the hash is stored.

use super::installation::KeyedHash;
use crate::domain::{ambient::Ambient, secret::Secret};

const PREFIX: &str = "kr-";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARS: usize = 43;
const CHECK_CHARS: usize = 6;

/// A well-formed API key in plain text.
pub struct PlainApiKey(Secret);

/// What is stored and looked up instead of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiKeyHash(pub [u8; 32]);

impl PlainApiKey {
    /// A new random key.
    pub fn generate(ambient: &Ambient) -> Self {
        let body = format!("{PREFIX}{}", random_base62(ambient));
        let check = checksum(&body);
        Self(Secret::new(format!("{body}{check}")))
    }

    /// Accepts only text of the right form with a correct checksum.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == PREFIX.len() + RANDOM_CHARS + CHECK_CHARS
            && text.starts_with(PREFIX)
            && text.bytes().skip(PREFIX.len()).all(|byte| byte.is_ascii_alphanumeric());
        let (body, check) = text.split_at_checked(PREFIX.len() + RANDOM_CHARS)?;
        (well_formed && checksum(body) == check).then(|| Self(Secret::new(text.to_owned())))
    }

    /// The keyed hash under the installation's pepper.
    pub fn hash(&self, pepper: &KeyedHash) -> ApiKeyHash {
        ApiKeyHash(pepper.of(self.0.expose().as_bytes()))
    }

    /// The plaintext, to be shown once.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

/// 256 random bits as 43 base62 characters, most significant first.
pub fn random_base62(ambient: &Ambient) -> String {
    let mut number: [u8; 32] = ambient.bytes();
    let mut text = vec![b'0'; RANDOM_CHARS];
    for place in text.iter_mut().rev() {
        // Long division of the big-endian number by 62.
        let mut remainder: u16 = 0;
        for byte in &mut number {
            let value = remainder * 256 + u16::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            remainder = value % 62;
        }
        *place = ALPHABET.get(usize::from(remainder)).copied().unwrap_or(b'0');
    }
    zeroize::Zeroize::zeroize(&mut number);
    String::from_utf8(text).unwrap_or_default()
}

fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut text = [b'0'; CHECK_CHARS];
    for place in text.iter_mut().rev() {
        *place =
            usize::try_from(rest % 62).ok().and_then(|digit| ALPHABET.get(digit)).copied().unwrap_or(b'0');
        rest /= 62;
    }
    text.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_generated_key_parses_and_has_the_documented_form() {
        let key = PlainApiKey::generate(&Ambient::system());
        let text = key.secret().expose();
        assert_eq!(text.len(), 52);
        assert!(PlainApiKey::parse(text).is_some());
    }

    #[test]
    fn every_single_character_typo_is_rejected() {
        let key = PlainApiKey::generate(&Ambient::system());
        let text = key.secret().expose();
        for at in 0..text.len() {
            for typo in 0x20u8..0x7f {
                let mut bytes = text.as_bytes().to_vec();
                if bytes[at] == typo {
                    continue;
                }
                bytes[at] = typo;
                assert!(PlainApiKey::parse(std::str::from_utf8(&bytes).unwrap()).is_none());
            }
            let mut shorter = text.to_owned();
            shorter.remove(at);
            assert!(PlainApiKey::parse(&shorter).is_none());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in ".{0,80}") {
            prop_assert!(PlainApiKey::parse(&text).is_none());
        }
    }
}
