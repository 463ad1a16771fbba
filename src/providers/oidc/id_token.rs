//! Checks an ID token (OpenID Connect Core 1.0, 3.1.3.7): the issuer's signature by one of its keys, issuer, audience,
//! nonce and time. Only asymmetric signatures are accepted, so that no key of ours can be taken for one of the issuer's.

use super::{Identity, OidcError};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde::Deserialize;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

pub(super) const UNKNOWN_KEY: &str = "the token is signed with an unknown key";
/// How far the issuer's clock may be off, in seconds.
const LEEWAY_S: i64 = 60;
const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::ES256, Algorithm::ES384];

/// What the token must say.
pub(super) struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    pub now: OffsetDateTime,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    iat: Option<i64>,
    nonce: Option<String>,
    azp: Option<String>,
    email: Option<String>,
    /// A few issuers send it as text.
    email_verified: Option<Flag>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Text(String),
}

impl Flag {
    fn is_true(&self) -> bool {
        match self {
            Flag::Bool(value) => *value,
            Flag::Text(text) => text == "true",
        }
    }
}

/// The identity that a token vouches for.
pub(super) fn verify(token: &str, keys: &JwkSet, expected: &Expected<'_>) -> Result<Identity, OidcError> {
    let header = decode_header(token).map_err(|_| OidcError::Invalid("the token is malformed"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(OidcError::Invalid("the token's signature is of a kind that is not accepted"));
    }
    let named = header.kid.as_deref().and_then(|kid| keys.find(kid));
    // An issuer with one key may leave its name out.
    let key = match (&header.kid, keys.keys.as_slice()) {
        (Some(_), _) => named,
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let key = key.ok_or(OidcError::Invalid(UNKNOWN_KEY))?;
    let key = DecodingKey::from_jwk(key).map_err(|_| OidcError::Invalid("the issuer's key is not usable"))?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    // By our own clock, below.
    validation.validate_exp = false;
    let claims = decode::<Claims>(token, &key, &validation);
    let claims = claims.map_err(|_| OidcError::Invalid("the token is not for us or not genuine"))?.claims;
    let now = expected.now.unix_timestamp();
    if claims.exp.saturating_add(LEEWAY_S) <= now || claims.iat.is_some_and(|at| at - LEEWAY_S > now) {
        return Err(OidcError::Invalid("the token's time is over or has not come"));
    }
    let nonce = claims.nonce.unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err(OidcError::Invalid("the token is of another log-in"));
    }
    if claims.azp.is_some_and(|party| party != expected.client_id) {
        return Err(OidcError::Invalid("the token was issued to somebody else"));
    }
    if claims.sub.is_empty() || claims.sub.len() > 255 || claims.sub.contains('\0') {
        return Err(OidcError::Invalid("the token names nobody"));
    }
    let is_verified = claims.email_verified.is_some_and(|flag| flag.is_true());
    Ok(Identity { subject: claims.sub, email: claims.email.filter(|_| is_verified) })
}

#[cfg(test)]
mod tests;
