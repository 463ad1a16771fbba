//! The signature of a message by the Standard Webhooks specification: `webhook-signature` contains one `v1,<base64 of
//! HMAC-SHA256>` for each valid secret, over `<id>.<timestamp>.<body>`.

use crate::{
    accounts::installation::KeyedHash,
    domain::{ids::WebhookId, secret::Secret},
    store::{OrgScope, webhooks::Webhook},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use time::OffsetDateTime;

const PREFIX: &str = "whsec_";

/// The secret of one generation of a webhook. It is derived from a key of the installation, so it is not stored.
pub fn secret(key: &KeyedHash, scope: OrgScope, id: WebhookId, generation: i32) -> Secret {
    Secret::new(format!("{PREFIX}{}", STANDARD.encode(derived(key, scope, id, generation))))
}

/// The value of `webhook-signature`.
pub fn signatures(
    key: &KeyedHash,
    scope: OrgScope,
    webhook: &Webhook,
    message: &[u8],
    now: OffsetDateTime,
) -> String {
    let of = |generation| signature(derived(key, scope, webhook.id, generation), message);
    let newest = of(webhook.generation);
    match webhook.previous_until {
        Some(until) if now < until => format!("{newest} {}", of(webhook.generation.saturating_sub(1))),
        _ => newest,
    }
}

fn signature(secret: [u8; 32], message: &[u8]) -> String {
    format!("v1,{}", STANDARD.encode(KeyedHash::new(secret).of(message)))
}

fn derived(key: &KeyedHash, scope: OrgScope, id: WebhookId, generation: i32) -> [u8; 32] {
    let text = format!("webhook\0{}\0{id}\0{generation}", scope.org_id());
    key.of(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        let mut secret = [0; 32];
        // A shorter key is padded with zeros by HMAC itself.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        secret[..key.len()].copy_from_slice(&key);
        let message = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        assert_eq!(signature(secret, message), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
