//! Opens credentials for MCP servers that a client sealed for this gateway: one SDK encrypts them with a public key
//! that it fetches from the gateway, and sends one envelope for each server. An envelope consists of version, wrapped
//! key, nonce and ciphertext: RSA-OAEP with SHA-256 around an AES-256-GCM key. A credential is opened for one request
//! and never stored.

use crate::domain::secret::Secret;
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce, aead::Aead};
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
    signature::KeyPair as _,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
/// The envelope's format allows only a key of 2048 bits.
const WRAPPED_BYTES: usize = 256;
const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;
/// Far above what any credential needs.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// Opens envelopes that were sealed with the public half of its key.
pub struct Opener {
    key: OaepPrivateDecryptingKey,
    jwks: String,
}

/// The content of an envelope: a header for the server.
pub struct Credential {
    pub header: String,
    pub value: Secret,
    /// The host of the credential, if the client stated one: it is sent only to that host.
    pub host: Option<String>,
}

/// Text that is not a private key of the required kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected an RSA private key of 2048 bits, PKCS #8, in PEM or its base64; `kairosroute mcp-key` makes one"
)]
pub struct BadKey;

/// Why an envelope cannot be used; the text is for the customer and contains nothing of the envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealedError {
    #[error("is no envelope of this kind")]
    Form,
    #[error("was not sealed for this gateway's key: fetch it anew from /.well-known/jwks.json")]
    Key,
    #[error("holds no credential of type `api_key` with a header")]
    Content,
}

#[derive(Deserialize)]
struct Plain {
    #[serde(rename = "type")]
    kind: String,
    api_key: Secret,
    header_name: String,
    header_template: String,
    #[serde(default)]
    provider_metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    base_url: Option<String>,
}

impl Opener {
    /// From the operator's private key.
    pub fn read(text: &Secret) -> Result<Self, BadKey> {
        let base64: Zeroizing<String> = Zeroizing::new(
            text.expose().lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect(),
        );
        let der = Zeroizing::new(STANDARD.decode(base64.as_bytes()).map_err(|_| BadKey)?);
        let key = PrivateDecryptingKey::from_pkcs8(&der).map_err(|_| BadKey)?;
        if key.key_size_bytes() != WRAPPED_BYTES {
            return Err(BadKey);
        }
        let pair = KeyPair::from_pkcs8(&der).map_err(|_| BadKey)?;
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let n = number(pair.public_key().modulus().big_endian_without_leading_zero());
        let e = number(pair.public_key().exponent().big_endian_without_leading_zero());
        // The thumbprint of RFC 7638: members in this order, without spaces.
        let kid = number(&Sha256::digest(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)));
        let jwks = format!(
            r#"{{"keys":[{{"kty":"RSA","use":"enc","alg":"RSA-OAEP-256","kid":"{kid}","n":"{n}","e":"{e}"}}]}}"#
        );
        Ok(Self { key: OaepPrivateDecryptingKey::new(key).map_err(|_| BadKey)?, jwks })
    }

    /// A new private key in the format of the setting: one line.
    pub fn generate() -> Result<Secret, BadKey> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| BadKey)?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| BadKey)?;
        Ok(Secret::new(STANDARD.encode(der.as_ref())))
    }

    /// The public half, as a JSON Web Key Set.
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// Opens one envelope.
    pub fn open(&self, envelope: &str) -> Result<Credential, SealedError> {
        if envelope.len() > ENVELOPE_BYTES_MAX {
            return Err(SealedError::Form);
        }
        let bytes = URL_SAFE_NO_PAD.decode(envelope.trim_end_matches('=')).map_err(|_| SealedError::Form)?;
        let (version, rest) = bytes.split_first().ok_or(SealedError::Form)?;
        let (wrapped, rest) = rest.split_at_checked(WRAPPED_BYTES).ok_or(SealedError::Form)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or(SealedError::Form)?;
        if *version != VERSION {
            return Err(SealedError::Form);
        }
        let mut room = Zeroizing::new([0; WRAPPED_BYTES]);
        let key = self.key.decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut *room, None);
        let key: &[u8] = key.map_err(|_| SealedError::Key)?;
        let key: &[u8; KEY_BYTES] = key.try_into().map_err(|_| SealedError::Key)?;
        let nonce = Nonce::try_from(nonce).map_err(|_| SealedError::Form)?;
        let plain = Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key)).decrypt(&nonce, sealed);
        Credential::read(&Zeroizing::new(plain.map_err(|_| SealedError::Key)?))
    }
}

impl Credential {
    fn read(plain: &[u8]) -> Result<Self, SealedError> {
        let plain: Plain = serde_json::from_slice(plain).map_err(|_| SealedError::Content)?;
        if plain.kind != "api_key" || plain.api_key.expose().is_empty() {
            return Err(SealedError::Content);
        }
        let value = Secret::new(plain.header_template.replace("{api_key}", plain.api_key.expose()));
        let header = plain.header_name;
        HeaderName::try_from(header.as_str()).map_err(|_| SealedError::Content)?;
        HeaderValue::try_from(value.expose()).map_err(|_| SealedError::Content)?;
        let base = plain.provider_metadata.and_then(|metadata| metadata.base_url);
        let host = match base.as_deref().map(str::trim).filter(|base| !base.is_empty()) {
            None => None,
            Some(base) => {
                let base = reqwest::Url::parse(base).map_err(|_| SealedError::Content)?;
                Some(base.host_str().ok_or(SealedError::Content)?.to_owned())
            }
        };
        Ok(Self { header, value, host })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a credential in {}", self.header)
    }
}

#[cfg(test)]
mod tests;
