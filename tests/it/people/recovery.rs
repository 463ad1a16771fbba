//! Links by e-mail and the second factor: no address is told apart, no link or code works twice, and nothing is taken over.

use super::{names, send};
use crate::harness::{MailServer, PASSWORD, Stack, text, wait_for, wait_until};
use kairosroute::domain::ambient::Ambient;
use serde_json::{Value, json};

const NEW: &str = "another horse battery staple";

/// The token of the newest message to an address whose text has this path, once there are `count` messages with it.
async fn token_of(mail: &MailServer, address: &str, path: &str, count: usize) -> String {
    wait_for("the message", async || {
        // Long lines may be broken by the message's encoding.
        let texts = mail.letters_to(address).into_iter().map(|letter| letter.text.replace("=\n", ""));
        let found: Vec<String> = texts.filter(|text| text.contains(path)).collect();
        let text = found.get(count - 1)?;
        let rest = text.split(path).nth(1)?;
        Some(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>())
    })
    .await
}

pub(super) fn code(secret: &str, steps_later: i64) -> String {
    let seconds = Ambient::system().now().unix_timestamp() + steps_later * 30;
    totp(secret, seconds)
}

/// The code of a base32 secret at a time, computed by the library that the gateway checks with.
fn totp(secret: &str, seconds: i64) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits: Vec<u8> = secret
        .chars()
        .flat_map(|digit| {
            let value = u8::try_from(ALPHABET.find(digit).unwrap()).unwrap();
            (0..5).rev().map(move |place| value >> place & 1)
        })
        .collect();
    let bytes: Vec<u8> =
        bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |value, bit| value << 1 | bit)).collect();
    let generator = totp_rs::Builder::new().with_secret(bytes).build().unwrap();
    generator.generate(u64::try_from(seconds).unwrap()).to_string()
}

#[tokio::test]
async fn a_password_is_reset_and_an_address_changed_by_links_that_work_once() {
    let mail = MailServer::start();
    let builder = Stack::builder().env("KAIROSROUTE_SMTP_URL", &mail.url());
    let stack = builder
        .env("KAIROSROUTE_SMTP_FROM", "KairosRoute <noreply@example.test>")
        .env("KAIROSROUTE_PUBLIC_URL", "https://gateway.example")
        .start()
        .await;
    let (owner, other) = (stack.sign_up().await, stack.sign_up().await);

    // The sign-up's own message proves the address, once.
    let me = async |session: &str| stack.get("/api/auth", session).await.json();
    assert_eq!(me(&owner.session).await["user"]["emailVerified"], false);
    let token = token_of(&mail, &owner.email, "https://gateway.example/verify/", 1).await;
    let confirm = json!({ "token": token });
    assert_eq!(stack.post("/api/auth/email/confirm", "", &confirm).await.status, 204);
    assert_eq!(stack.post("/api/auth/email/confirm", "", &confirm).await.status, 400);
    assert_eq!(me(&owner.session).await["user"]["emailVerified"], true);

    // A reset: the same answer for every address, whatever host the request names.
    let ask = async |email: &str| {
        let request = stack.request("POST", "/api/auth/password-reset").header("host", "evil.example");
        let reply = request.json(&json!({ "email": email })).send().await;
        (reply.status, reply.text())
    };
    let known = ask(&owner.email).await;
    assert_eq!((known.0, &known), (202, &ask("nobody@example.test").await));
    let first = token_of(&mail, &owner.email, "https://gateway.example/reset/", 1).await;
    // A second message ends the first one's link.
    ask(&owner.email).await;
    let second = token_of(&mail, &owner.email, "https://gateway.example/reset/", 2).await;
    let reset = async |token: &str, password: &str| {
        let body = json!({ "token": token, "newPassword": password });
        stack.post("/api/auth/password-reset/confirm", "", &body).await
    };
    assert_eq!(reset(&first, NEW).await.status, 400, "replaced");
    assert_eq!(reset(&second.replace("krm_", "kri_"), NEW).await.status, 400);
    assert_eq!(reset(&second, "password").await.status, 400, "too weak; the link stays");
    assert_eq!(reset(&second, NEW).await.status, 204);
    assert_eq!(reset(&second, PASSWORD).await.status, 400, "used");
    assert_eq!(stack.get("/api/auth", &owner.session).await.status, 401, "every session has ended");
    let log_in = async |email: &str, password: &str| {
        stack.post("/api/auth/login", "", &json!({ "email": email, "password": password })).await
    };
    assert_eq!(log_in(&owner.email, PASSWORD).await.status, 401);
    let session = text(&log_in(&owner.email, NEW).await.json()["sessionToken"]);
    // Messages to one address are bounded, and the answer does not say so.
    for _ in 0..6 {
        assert_eq!(ask(&owner.email).await, known);
    }
    assert!(mail.letters_to("nobody@example.test").is_empty());
    let stored = stack.database.rows("account_token").await.join("\n");
    assert!(!stored.contains(&second), "only a hash is stored");
    let expired = ask(&other.email).await;
    assert_eq!(expired, known);
    let late = token_of(&mail, &other.email, "https://gateway.example/reset/", 1).await;
    stack.database.tamper("UPDATE account_token SET expires_at = now() - interval '1 second'").await;
    assert_eq!(reset(&late, NEW).await.status, 400, "expired");

    // Another address: with the password, by the new address's link; a taken one is told to nobody.
    let change = async |email: &str, password: &str| {
        let body = json!({ "email": email, "currentPassword": password });
        stack.post("/api/auth/email", &session, &body).await
    };
    assert_eq!(change("new@example.test", "wrong").await.status, 400);
    let taken = change(&other.email, NEW).await;
    let free = change("new@example.test", NEW).await;
    assert_eq!((taken.status, taken.text()), (free.status, free.text()));
    assert_eq!(free.status, 202);
    assert_eq!(me(&session).await["user"]["email"], json!(owner.email), "not before the link is opened");
    let token = token_of(&mail, "new@example.test", "https://gateway.example/verify/", 1).await;
    assert_eq!(stack.post("/api/auth/email/confirm", "", &json!({ "token": token })).await.status, 204);
    assert_eq!(me(&session).await["user"]["email"], "new@example.test");
    assert_eq!(log_in(&owner.email, NEW).await.status, 401);
    assert_eq!(log_in("new@example.test", NEW).await.status, 200);
    let old = owner.email.clone();
    wait_until("the earlier address to be told", async || {
        mail.letters_to(&old).iter().any(|letter| letter.text.contains("was changed"))
    })
    .await;
    // A change that is under way ends with the password: somebody else may have begun it.
    assert_eq!(change("later@example.test", NEW).await.status, 202);
    let token = token_of(&mail, "later@example.test", "https://gateway.example/verify/", 1).await;
    let body = json!({ "currentPassword": NEW, "newPassword": "yet another horse staple" });
    assert_eq!(stack.post("/api/auth/password", &session, &body).await.status, 204);
    assert_eq!(stack.post("/api/auth/email/confirm", "", &json!({ "token": token })).await.status, 400);
    assert_eq!(mail.letters_to(&other.email).iter().filter(|l| l.text.contains("new e-mail")).count(), 0);
    names(&super::audit_actions(&stack).await, &["email.verify", "password.reset", "email.change"]);

    // Without a mail server the answer says what to do, for every address.
    let silent = stack.second_node_with(&[("KAIROSROUTE_SMTP_URL", ""), ("KAIROSROUTE_SMTP_FROM", "")]).await;
    for email in ["new@example.test", "nobody@example.test"] {
        let reply = silent.post("/api/auth/password-reset", "", &json!({ "email": email })).await;
        assert!(reply.status == 403 && reply.message().contains("admin user reset"), "{reply}");
    }
}

#[tokio::test]
async fn a_second_factor_is_asked_for_at_log_in_and_before_sensitive_changes() {
    let stack = Stack::start().await;
    let owner = stack.sign_up().await;
    let path = "/api/auth/second-factor";
    let log_in = async |code: Value| {
        let body = json!({ "email": owner.email, "password": PASSWORD, "code": code });
        stack.post("/api/auth/login", "", &body).await
    };
    let other = text(&log_in(Value::Null).await.json()["sessionToken"]);

    // On with a first code; a borrowed session alone cannot do it.
    let proof = json!({ "currentPassword": PASSWORD });
    assert_eq!(stack.post(path, &owner.session, &json!({ "currentPassword": "wrong" })).await.status, 400);
    let begun = stack.post(path, &owner.session, &proof).await;
    assert_eq!(begun.status, 201, "{begun}");
    let secret = text(&begun.json()["secret"]);
    assert!(text(&begun.json()["url"]).contains(&format!("secret={secret}&issuer=KairosRoute")));
    assert_eq!(log_in(Value::Null).await.status, 200, "not before it is confirmed");
    let confirm = format!("{path}/confirm");
    let wrong = stack.post(&confirm, &owner.session, &json!({ "code": "000000" })).await;
    assert_eq!((wrong.status, wrong.json()["error"]["param"].as_str()), (400, Some("code")));
    let confirmed = stack.post(&confirm, &owner.session, &json!({ "code": code(&secret, -1) })).await;
    assert_eq!(confirmed.status, 200, "{confirmed}");
    let codes: Vec<String> = confirmed.json()["recoveryCodes"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(codes.len(), 10);
    assert_eq!(stack.get("/api/auth", &other).await.status, 401, "other sessions have ended");
    assert_eq!(stack.post(path, &owner.session, &proof).await.status, 403, "a code is asked for from now on");

    // Log-in: the password alone is told what is missing; no code counts twice.
    let missing = log_in(Value::Null).await;
    assert_eq!((missing.status, missing.code().as_str()), (403, "second_factor_required"));
    let bad = json!({ "email": owner.email, "password": "wrong", "code": code(&secret, 0) });
    let bad = stack.post("/api/auth/login", "", &bad).await;
    assert_eq!((bad.status, bad.code().as_str()), (401, "invalid_credentials"));
    let once = code(&secret, 0);
    assert_eq!(log_in(json!(once)).await.status, 200);
    assert_eq!(log_in(json!(once)).await.status, 400, "used");
    assert_eq!(log_in(json!(codes[0].to_uppercase())).await.status, 200);
    assert_eq!(log_in(json!(codes[0])).await.status, 400, "used");
    let state = stack.get(path, &owner.session).await.json();
    assert_eq!(state, json!({ "enabled": true, "recoveryCodes": 9 }));

    // Sensitive changes ask again.
    let delete = json!({ "confirm": "x", "currentPassword": PASSWORD });
    let reply = stack.post("/api/organization/deletion", &owner.session, &delete).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "second_factor_required"));
    let email = json!({ "email": "new@example.test", "currentPassword": PASSWORD });
    assert_eq!(stack.post("/api/auth/email", &owner.session, &email).await.status, 403);
    let with_code = json!({ "email": "new@example.test", "currentPassword": PASSWORD, "code": codes[1] });
    let changed = stack.post("/api/auth/email", &owner.session, &with_code).await;
    assert_eq!((changed.status, changed.json()), (200, json!({ "sent": false })), "no mail server here");

    // Nothing secret lies in the database; the master keys can be changed under it.
    let rows =
        [stack.database.rows("second_factor").await, stack.database.rows("recovery_code").await].concat();
    let rows = rows.join("\n");
    assert!(!rows.contains(&secret) && codes.iter().all(|code| !rows.contains(code.as_str())));

    // Guesses are slowed for the person, wherever they come from.
    let guess = json!({ "email": "new@example.test", "password": PASSWORD, "code": "000000" });
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(stack.post("/api/auth/login", "", &guess).await.status);
    }
    assert!(statuses.contains(&429) && !statuses.contains(&200), "{statuses:?}");

    // The operator's way out for who has lost everything.
    let reset = ["admin", "user", "reset", "new@example.test", "--second-factor"];
    assert!(stack.command(&reset, NEW).status.success());
    let body = json!({ "email": "new@example.test", "password": NEW });
    assert_eq!(stack.post("/api/auth/login", "", &body).await.status, 200);
    names(
        &super::audit_actions(&stack).await,
        &["second_factor.enable", "second_factor.recovery_code_used", "second_factor.disable"],
    );

    // An installation that asks operators for it lets them do nothing else before.
    let strict = stack.second_node_with(&[("KAIROSROUTE_OPERATOR_SECOND_FACTOR", "required")]).await;
    let operator = super::operator(&stack, "op@example.test").await;
    for path in ["/api/operator/organizations", "/api/audit-log"] {
        assert_eq!(stack.get(path, &operator).await.status, 200, "{path}");
        let reply = strict.get(path, &operator).await;
        assert!(reply.status == 403 && reply.message().contains("two-factor"), "{reply}");
    }
    let begun = send(&stack, "POST", path, &operator, json!({ "currentPassword": PASSWORD })).await.json();
    let body = json!({ "code": code(&text(&begun["secret"]), 0) });
    assert_eq!(strict.post(&confirm, &operator, &body).await.status, 200);
    assert_eq!(strict.get("/api/operator/organizations", &operator).await.status, 200);
}
