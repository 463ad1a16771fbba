use super::*;
use aws_lc_rs::rsa::{OaepPublicEncryptingKey, PublicEncryptingKey};
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

static KEY: LazyLock<Secret> = LazyLock::new(|| Opener::generate().unwrap());

/// Seals as a client does, with only the published key.
fn seal(opener: &Opener, plain: &str) -> String {
    let jwks: serde_json::Value = serde_json::from_str(opener.jwks()).unwrap();
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwks["keys"][0][name].as_str().unwrap()).unwrap();
    let public = PublicEncryptingKey::from_der(&spki(&part("n"), &part("e"))).unwrap();
    let public = OaepPublicEncryptingKey::new(public).unwrap();
    let (key, nonce) = ([7; KEY_BYTES], [9; NONCE_BYTES]);
    let mut wrapped = [0; WRAPPED_BYTES];
    public.encrypt(&OAEP_SHA256_MGF1SHA256, &key, &mut wrapped, None).unwrap();
    let sealed = Aes256Gcm::new(&key.into()).encrypt(&nonce.into(), plain.as_bytes()).unwrap();
    URL_SAFE_NO_PAD.encode([&[VERSION][..], &wrapped, &nonce, &sealed].concat())
}

/// A public key in DER.
fn spki(n: &[u8], e: &[u8]) -> Vec<u8> {
    fn part(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }
    let number = |bytes: &[u8]| part(2, &[&[0], bytes].concat());
    let exponent = [&[2, u8::try_from(e.len()).unwrap()], e].concat();
    let pair = part(0x30, &[number(n), exponent].concat());
    let algorithm = [0x30, 0x0D, 6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1, 5, 0];
    part(0x30, &[&algorithm[..], &part(3, &[&[0][..], &pair].concat())].concat())
}

fn credential(more: serde_json::Value) -> String {
    let mut plain = json!({ "type": "api_key", "api_key": "s3cret", "header_name": "Authorization",
        "header_template": "Bearer {api_key}", "provider_metadata": null });
    for (name, value) in more.as_object().unwrap() {
        plain[name] = value.clone();
    }
    plain.to_string()
}

#[test]
fn what_was_sealed_for_the_published_key_is_opened() {
    let opener = Opener::read(&KEY).unwrap();
    let opened = opener.open(&seal(&opener, &credential(json!({})))).unwrap();
    assert_eq!((opened.header.as_str(), opened.value.expose()), ("Authorization", "Bearer s3cret"));
    assert_eq!(opened.host, None);
    assert!(!format!("{opened:?}").contains("s3cret"));
    let bound = json!({ "header_name": "x-key", "header_template": "{api_key}",
        "provider_metadata": { "base_url": "https://api.example.com/v1" } });
    let opened = opener.open(&seal(&opener, &credential(bound))).unwrap();
    assert_eq!((opened.header.as_str(), opened.value.expose()), ("x-key", "s3cret"));
    assert_eq!(opened.host.as_deref(), Some("api.example.com"));
}

#[test]
fn a_key_is_read_in_pem_too_and_others_are_refused() {
    let lines: Vec<&str> =
        KEY.expose().as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    let (one, same) = (Opener::read(&KEY).unwrap(), Opener::read(&Secret::new(pem)).unwrap());
    assert_eq!(one.jwks(), same.jwks());
    let long = PrivateDecryptingKey::generate(KeySize::Rsa3072).unwrap();
    let der: Pkcs8V1Der<'_> = long.as_der().unwrap();
    for wrong in
        [String::new(), "nonsense".into(), STANDARD.encode(b"nonsense"), STANDARD.encode(der.as_ref())]
    {
        assert!(Opener::read(&Secret::new(wrong)).is_err());
    }
}

#[test]
fn what_is_wrong_is_told_without_its_content() {
    let opener = Opener::read(&KEY).unwrap();
    let other = Opener::read(&Opener::generate().unwrap()).unwrap();
    let foreign = seal(&other, &credential(json!({})));
    assert_eq!(opener.open(&foreign).unwrap_err(), SealedError::Key);
    for (plain, error) in [
        ("{}".to_owned(), SealedError::Content),
        (credential(json!({ "type": "oauth2" })), SealedError::Content),
        (credential(json!({ "api_key": "" })), SealedError::Content),
        (credential(json!({ "api_key": "a\nb" })), SealedError::Content),
        (credential(json!({ "header_name": "no header" })), SealedError::Content),
        (credential(json!({ "provider_metadata": { "base_url": "nowhere" } })), SealedError::Content),
    ] {
        assert_eq!(opener.open(&seal(&opener, &plain)).unwrap_err(), error, "{plain}");
    }
    let good = URL_SAFE_NO_PAD.decode(seal(&opener, &credential(json!({})))).unwrap();
    let mut later = good.clone();
    later[0] = 2;
    assert_eq!(opener.open(&URL_SAFE_NO_PAD.encode(later)).unwrap_err(), SealedError::Form);
    assert_eq!(opener.open(&"A".repeat(ENVELOPE_BYTES_MAX + 1)).unwrap_err(), SealedError::Form);
    // Shortened or changed at any position, it never opens.
    for at in [0, 1, 256, 257, 268, 269, good.len() - 1] {
        assert!(opener.open(&URL_SAFE_NO_PAD.encode(&good[..at])).is_err(), "{at}");
        let mut changed = good.clone();
        changed[at] ^= 1;
        assert!(opener.open(&URL_SAFE_NO_PAD.encode(changed)).is_err(), "{at}");
    }
}

proptest! {
    #[test]
    fn any_text_is_judged_without_a_panic(text in "[A-Za-z0-9_=+/-]{0,600}") {
        prop_assert!(Opener::read(&KEY).unwrap().open(&text).is_err());
    }
}
