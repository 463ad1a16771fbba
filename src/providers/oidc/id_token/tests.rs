//! A token is accepted as the issuer made it for us, and in no other form.

use super::*;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-29 12:00 UTC);

struct Issuer {
    key: EcdsaKeyPair,
}

impl Issuer {
    fn new() -> Self {
        Self { key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    fn keys(&self, kid: &str) -> JwkSet {
        let point = self.key.public_key().as_ref();
        let (x, y) = (B64.encode(&point[1..33]), B64.encode(&point[33..65]));
        serde_json::from_value(
            json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "use": "sig", "x": x, "y": y }] }),
        )
        .unwrap()
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", B64.encode(signature.as_ref()))
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "client", "sub": "person-1", "nonce": "nonce-1",
        "exp": NOW.unix_timestamp() + 300, "iat": NOW.unix_timestamp(),
        "email": "a@example.test", "email_verified": true,
    })
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name).map_or((), drop),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn check(token: &str, keys: &JwkSet) -> Result<Identity, String> {
    let expected =
        Expected { issuer: "https://issuer.example", client_id: "client", nonce: "nonce-1", now: NOW };
    verify(token, keys, &expected).map_err(|error| error.to_string())
}

#[test]
fn a_token_for_us_is_accepted_and_its_address_counts_only_when_verified() {
    let issuer = Issuer::new();
    let (header, keys) = (json!({ "alg": "ES256", "kid": "k1" }), issuer.keys("k1"));
    let verified = check(&issuer.sign(&header, &claims()), &keys).unwrap();
    assert_eq!(verified, Identity { subject: "person-1".into(), email: Some("a@example.test".into()) });
    for unverified in
        [json!({ "email_verified": false }), json!({ "email_verified": null }), json!({ "email": null })]
    {
        let found = check(&issuer.sign(&header, &with(unverified)), &keys).unwrap();
        assert_eq!(found.email, None);
    }
    let list = with(json!({ "aud": ["client", "other"], "azp": "client", "email_verified": "true" }));
    assert!(check(&issuer.sign(&header, &list), &keys).unwrap().email.is_some());
    assert!(
        check(&issuer.sign(&json!({ "alg": "ES256" }), &claims()), &keys).is_ok(),
        "one key needs no name"
    );
}

#[test]
fn what_is_not_for_us_not_genuine_or_not_of_now_is_refused() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let (header, keys) = (json!({ "alg": "ES256", "kid": "k1" }), issuer.keys("k1"));
    for bad in [
        json!({ "iss": "https://evil.example" }),
        json!({ "aud": "another" }),
        json!({ "aud": null }),
        json!({ "sub": "" }),
        json!({ "sub": null }),
        json!({ "nonce": "nonce-2" }),
        json!({ "nonce": null }),
        json!({ "exp": NOW.unix_timestamp() - 61 }),
        json!({ "exp": null }),
        json!({ "iat": NOW.unix_timestamp() + 120 }),
        json!({ "aud": ["client", "other"], "azp": "other" }),
    ] {
        assert!(check(&issuer.sign(&header, &with(bad.clone())), &keys).is_err(), "{bad}");
    }
    assert!(check(&other.sign(&header, &claims()), &keys).is_err(), "another key");
    let unknown = other.sign(&json!({ "alg": "ES256", "kid": "k2" }), &claims());
    assert!(check(&unknown, &keys).unwrap_err().contains(UNKNOWN_KEY));
    // No signature, and one by a secret that everybody knows: the issuer's public key.
    let parts =
        |header: Value| format!("{}.{}.", B64.encode(header.to_string()), B64.encode(claims().to_string()));
    for algorithm in ["none", "HS256", "HS512"] {
        assert!(check(&parts(json!({ "alg": algorithm, "kid": "k1" })), &keys).is_err(), "{algorithm}");
    }
    let token = issuer.sign(&header, &claims());
    let mut changed: Vec<&str> = token.split('.').collect();
    let forged = B64.encode(with(json!({ "sub": "person-2" })).to_string());
    changed[1] = &forged;
    assert!(check(&changed.join("."), &keys).is_err(), "changed claims");
    for malformed in ["", "a", "a.b", "a.b.c", "....", &token[..token.len() - 2]] {
        assert!(check(malformed, &keys).is_err(), "{malformed:?}");
    }
}
