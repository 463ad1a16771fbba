//! Signing in by another service, against a simulated issuer: the rules of whose account an identity opens.

use super::{audit_actions, names};
use crate::harness::{PASSWORD, Reply, Stack, text};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use kairosroute::domain::ambient::Ambient;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// An issuer with one key. A code that a test puts down is exchanged once, for its verifier's challenge alone.
struct Issuer {
    address: SocketAddr,
    codes: Arc<Mutex<HashMap<String, (String, Value)>>>,
}

impl Issuer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let codes: Arc<Mutex<HashMap<String, (String, Value)>>> = Arc::default();
        let (kept, key) = (codes.clone(), EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(stream, address, &kept, &key);
            }
        });
        Self { address, codes }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn answer(
    mut stream: TcpStream,
    address: SocketAddr,
    codes: &Mutex<HashMap<String, (String, Value)>>,
    key: &EcdsaKeyPair,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let base = format!("http://{address}");
    let reply = match first.split(' ').nth(1).unwrap_or_default() {
        "/.well-known/openid-configuration" => json!({
            "issuer": base, "authorization_endpoint": format!("{base}/authorize"),
            "token_endpoint": format!("{base}/token"), "jwks_uri": format!("{base}/keys"),
        }),
        "/keys" => {
            let point = key.public_key().as_ref();
            let (x, y) = (B64.encode(&point[1..33]), B64.encode(&point[33..65]));
            json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "x": x, "y": y }] })
        }
        _ => {
            let fields = query(&String::from_utf8(body).unwrap());
            let challenge = B64.encode(Sha256::digest(fields["code_verifier"].as_bytes()));
            let put_down = codes.lock().unwrap().remove(&fields["code"]);
            match put_down.filter(|(expected, _)| *expected == challenge) {
                Some((_, claims)) => json!({ "id_token": sign(key, &claims), "access_token": "unused" }),
                None => json!({ "error": "invalid_grant" }),
            }
        }
    };
    let reply = reply.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{reply}", reply.len()).as_bytes()).unwrap();
}

fn sign(key: &EcdsaKeyPair, claims: &Value) -> String {
    let header = json!({ "alg": "ES256", "kid": "k1" });
    let text = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", B64.encode(signature.as_ref()))
}

fn query(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

fn cookie(reply: &Reply, name: &str) -> Option<String> {
    let values = reply.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.filter_map(|value| value.split(';').next()?.split_once('='));
    pairs.find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value.to_owned())
}

const VISIT: &str = "__Host-kr-oidc";
const SESSION: &str = "__Host-kr";

/// A browser at the gateway.
struct Browser<'a> {
    stack: &'a Stack,
    issuer: &'a Issuer,
    session: String,
}

impl Browser<'_> {
    async fn get(&self, path: &str, cookies: &str) -> Reply {
        let cookies = format!("{SESSION}={}; {cookies}", self.session);
        self.stack.request("GET", path).header("cookie", &cookies).send().await
    }

    /// Goes to the issuer with a query and comes back as a person there.
    async fn visit(&self, wish: &str, person: Value) -> Reply {
        let departure = self.get(&format!("/auth/oidc/sso?{wish}"), "").await;
        assert_eq!(departure.status, 303, "{departure}");
        let visit = cookie(&departure, VISIT).expect("a cookie for the visit");
        let location = departure.header("location").to_owned();
        let (address, fields) = location.split_once('?').unwrap();
        assert_eq!(address, format!("{}/authorize", self.issuer.url()));
        let fields = query(fields);
        assert_eq!(fields["redirect_uri"], "https://gateway.example/auth/oidc/sso/callback");
        assert_eq!(
            (fields["code_challenge_method"].as_str(), fields["response_type"].as_str()),
            ("S256", "code")
        );
        let now = Ambient::system().now().unix_timestamp();
        let mut claims = json!({
            "iss": self.issuer.url(), "aud": "client", "nonce": fields["nonce"], "exp": now + 300, "iat": now,
        });
        claims.as_object_mut().unwrap().extend(person.as_object().unwrap().clone());
        let code = Ambient::system().uuid().simple().to_string();
        let put_down = (fields["code_challenge"].clone(), claims);
        self.issuer.codes.lock().unwrap().insert(code.clone(), put_down);
        let state = &fields["state"];
        let callback = format!("/auth/oidc/sso/callback?code={code}&state=");
        // Another state, no cookie, and another service's path lead nowhere and use nothing up.
        let visit = format!("{VISIT}={visit}");
        assert_eq!(self.get(&format!("{callback}{state}x"), &visit).await.status, 422);
        assert_eq!(self.get(&format!("{callback}{state}"), "").await.status, 422);
        let back = self.get(&format!("{callback}{state}"), &visit).await;
        let again = self.get(&format!("{callback}{state}"), &visit).await;
        assert_ne!(again.status, 303, "a code counts once");
        back
    }
}

#[tokio::test]
async fn an_identity_opens_its_own_account_and_no_other() {
    let issuer = Issuer::start();
    let stack = Stack::builder()
        .env("KAIROSROUTE_PUBLIC_URL", "https://gateway.example")
        .env("KAIROSROUTE_OIDC_ISSUER", &issuer.url())
        .env("KAIROSROUTE_OIDC_CLIENT_ID", "client")
        .env("KAIROSROUTE_OIDC_CLIENT_SECRET", "client-secret-canary")
        .start()
        .await;
    let owner = stack.sign_up().await;
    let stranger = Browser { stack: &stack, issuer: &issuer, session: String::new() };
    let people = "SELECT count(*) FROM app_user";

    // An account with a password is not opened by an address alone, verified or not.
    let known = |verified: bool| json!({ "sub": "thief", "email": owner.email, "email_verified": verified });
    for verified in [true, false] {
        let reply = stranger.visit("", known(verified)).await;
        assert_eq!((reply.status, cookie(&reply, SESSION)), (422, None), "{reply}");
    }
    assert_eq!(stack.database.number("SELECT count(*) FROM identity").await, 0);

    // A new person with a verified address gets an account of its own; the next visit finds it again.
    let unverified = json!({ "sub": "new", "email": "new@example.test", "email_verified": false });
    assert_eq!(stranger.visit("", unverified).await.status, 422);
    assert_eq!(stack.database.number(people).await, 1);
    let new = json!({ "sub": "new", "email": "New@Example.test", "email_verified": true });
    let joined = stranger.visit("next=%2Fme", new.clone()).await;
    assert_eq!((joined.status, joined.header("location")), (303, "/me"), "{joined}");
    let session = cookie(&joined, SESSION).unwrap();
    let me = stack.get("/api/auth", &session).await.json();
    assert_eq!((&me["user"]["email"], &me["role"]), (&json!("new@example.test"), &json!("owner")));
    assert_eq!(me["user"]["emailVerified"], true);
    let again = stranger.visit("next=https%3A%2F%2Fevil.example", json!({ "sub": "new" })).await;
    assert_eq!(
        (again.status, again.header("location")),
        (303, "/home"),
        "an address elsewhere is not followed"
    );
    assert_eq!(stack.database.number(people).await, 2);
    // Another identity with that address: the account has no password, so that no log-in is passed over.
    let second = json!({ "sub": "new-2", "email": "new@example.test", "email_verified": true });
    assert_eq!(stranger.visit("", second).await.status, 303);
    assert_eq!(stack.database.number(people).await, 2);

    // A person who is logged in connects an identity, from its own page alone.
    let browser = Browser { stack: &stack, issuer: &issuer, session: owner.session.clone() };
    let no_token = browser.get("/auth/oidc/sso?connect=forged", "").await;
    assert_ne!(no_token.status, 303, "{no_token}");
    let page = browser.get("/me", "").await.text();
    let link = page.split("/auth/oidc/sso?connect=").nth(1).expect("a link to connect");
    let token = link.split('"').next().unwrap();
    let mine = json!({ "sub": "mine", "email": "else@example.test", "email_verified": true });
    let connected = browser.visit(&format!("connect={token}"), mine.clone()).await;
    assert_eq!((connected.status, connected.header("location")), (303, "/me?done=connected"), "{connected}");
    let back = stranger.visit("", json!({ "sub": "mine" })).await;
    let me = stack.get("/api/auth", &cookie(&back, SESSION).unwrap()).await.json();
    assert_eq!(me["user"]["email"], json!(owner.email));
    // One that is connected elsewhere is not taken over.
    let page = browser.get("/me", "").await.text();
    assert!(page.contains("else@example.test") && !page.contains("client-secret-canary"));

    // The second factor is asked for all the same.
    let proof = json!({ "currentPassword": PASSWORD });
    let begun = stack.post("/api/auth/second-factor", &owner.session, &proof).await.json();
    let code = super::recovery::code(&text(&begun["secret"]), 0);
    let confirmed =
        stack.post("/api/auth/second-factor/confirm", &owner.session, &json!({ "code": code })).await;
    assert_eq!(confirmed.status, 200);
    let asked = stranger.visit("", json!({ "sub": "mine" })).await;
    assert_eq!((asked.status, cookie(&asked, SESSION)), (200, None));
    assert!(asked.text().contains("name=\"challenge\""));
    names(&audit_actions(&stack).await, &["identity.connect"]);
    stack.finish().await;
}
