//! Secrets are not leaked. A process that logs everything handles known secrets, in success and failure; then none of
//! them may be found, in any spelling, in its output, answers or database.

mod search;

use crate::{
    harness::{ChildStack, Client, PASSWORD, Reply, Stack, hello, text, wait_until},
    members::join,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use kairosroute::{domain::ambient::Ambient, simulator::Script};
use search::{Canary, Finding, search};
use serde_json::{Value, json};

const MODEL: &str = "openai/gpt-4o-mini";

fn random() -> String {
    let ambient = Ambient::system();
    format!("{}{}", ambient.uuid().simple(), ambient.uuid().simple())
}

/// Observed bytes, and their place.
#[derive(Default)]
struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    fn add(&mut self, place: &str, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.to_owned(), bytes.into()));
    }

    fn reply(&mut self, place: &str, reply: &Reply) {
        self.add(place, reply.to_string());
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An error body that repeats the credential in every place where a provider could.
fn echo(key: &str) -> String {
    json!({ "error": { "message": format!("Incorrect API key provided: {key}. You can find {key}."),
        "type": key, "param": key, "code": key } })
    .to_string()
}

struct Scene {
    stack: ChildStack,
    metrics: Client,
    canaries: Vec<Canary>,
    session: String,
    viewer: String,
    key: String,
    key_id: String,
    provider_key: String,
    brought_key: String,
    platform_key: String,
    password: String,
    email: String,
    seen: Seen,
    receipts: Vec<String>,
}

impl Scene {
    async fn set() -> Self {
        let master = Ambient::system().bytes::<32>();
        let (platform_key, stored_platform_key) = (format!("sk-{}", random()), format!("gsk_{}", random()));
        let (provider_key, password, port) = (format!("sk-proj-{}", random()), random(), free_port());
        let brought_key = format!("sk-{}", random());
        let stack = Stack::builder()
            .env("KAIROSROUTE_LOG", "trace")
            // Failures are not retried: only the message matters here.
            .env("KAIROSROUTE_ATTEMPTS_MAX", "1")
            .env("KAIROSROUTE_METRICS_LISTEN", &format!("127.0.0.1:{port}"))
            .platform_key("openai", &platform_key)
            .master_keys(&format!("canary:{}", STANDARD.encode(master)))
            .start_child()
            .await;
        let mut seen = Seen::default();
        let set = stack.command(&["admin", "platform-key", "set", "groq"], &stored_platform_key);
        assert!(set.status.success(), "{set:?}");
        seen.add("the command line", format!("{}{}", set.stdout, set.stderr));
        let email = format!("{}@example.test", random());
        let body = json!({ "email": email, "password": password, "organization": "Canary" });
        let answer = stack.post("/api/auth/signup", "", &body).await.json();
        let session = text(&answer["sessionToken"]);
        stack.grant(&text(&answer["organization"]["id"]), "5").await;
        let (key, key_id) = stack.create_key(&session, &json!({ "name": "canary" })).await;
        let mut owner = stack.sign_up().await;
        (owner.session, owner.organization_id) = (session.clone(), text(&answer["organization"]["id"]));
        let (viewer, _) = join(&stack, &owner, "viewer").await;
        let canaries = vec![
            Canary::new("provider key", provider_key.as_bytes()),
            Canary::new("brought key", brought_key.as_bytes()),
            Canary::new("platform key of the environment", platform_key.as_bytes()),
            Canary::new("stored platform key", stored_platform_key.as_bytes()),
            Canary::new("password", password.as_bytes()),
            Canary::new("master key", &master),
            Canary::new("session token", session.as_bytes()),
            Canary::new("API key", key.as_bytes()),
        ];
        let metrics = Client::of(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
        let receipts = Vec::new();
        Self {
            stack,
            metrics,
            canaries,
            session,
            viewer,
            key,
            key_id,
            provider_key,
            brought_key,
            platform_key,
            password,
            email,
            seen,
            receipts,
        }
    }

    async fn patch(&mut self, body: &Value) -> Reply {
        let reply = self.stack.patch_key(&self.session, &self.key_id, body).await;
        self.seen.reply("an answer to a patch", &reply);
        reply
    }

    async fn chat(&mut self, body: &Value) -> Reply {
        let reply = self.stack.chat(&self.key, body).await;
        self.seen.reply("an answer", &reply);
        self.receipts.push(reply.receipt_id().to_owned());
        reply
    }

    async fn stream(&mut self, body: &Value) {
        let mut streamed = self.stack.stream(&self.key, body).await;
        self.receipts.push(streamed.receipt_id().to_owned());
        for frame in streamed.rest().await {
            self.seen.add("a streamed answer", frame.text);
        }
    }

    /// Account calls, valid and invalid.
    async fn manage_accounts(&mut self) {
        let secret = self.provider_key.clone();
        for wrong in [
            json!({ "providerKeys": secret }),
            json!({ "providerKeys": { "OpenAI": { "key": secret } } }),
            json!({ "providerKeys": { "OpenAI": [secret] } }),
            json!({ "providerKeys": { secret.as_str(): "OpenAI" } }),
            json!({ "providerKeys": { "OpenAI": format!("{secret} {secret}") } }),
            json!({ "providerKeys": { "OpenAI": [{ "key": secret, "baseUrl": format!("https://{secret}@x/") }] } }),
            json!({ "providerKeys": { "OpenAI": [{ "id": secret }] } }),
            json!({ "byokFallback": secret }),
            json!({ "expiresAt": secret }),
            json!({ "allowedProviders": [secret] }),
        ] {
            let reply = self.patch(&wrong).await;
            assert!(reply.status >= 400, "{reply}");
        }
        let wrong = json!({ "email": self.email, "password": [self.password] });
        let wrong_kind = self.stack.post("/api/auth/login", "", &wrong).await;
        self.seen.reply("a wrong log-in", &wrong_kind);
        let wrong = json!({ "email": "nobody@example.test", "password": self.password });
        let unknown = self.stack.post("/api/auth/login", "", &wrong).await;
        self.seen.reply("a wrong log-in", &unknown);
        let broken = format!(r#"{{"email":"x@example.test","password":"{}"#, self.password);
        let broken = self.stack.request("POST", "/api/auth/login").body(broken).send().await;
        self.seen.reply("a wrong log-in", &broken);
        let right = json!({ "OpenAI": secret });
        assert_eq!(self.patch(&json!({ "providerKeys": right })).await.status, 200);
        for body in [echo(&secret), json!({ "message": secret }).to_string(), secret.clone()] {
            self.stack.simulator.set_default("openai", Script::error(401, &body));
            let path = format!("/api/auth/keys/{}/provider-keys/openai/test", self.key_id);
            let reply = self.stack.request("POST", &path).bearer(&self.session).send().await;
            self.seen.reply("a test call", &reply);
        }
        self.stack.simulator.clear();
    }

    /// Requests on the customer's key and on the platform key, answered successfully and with the key in the error.
    async fn ask(&mut self) {
        let model = hello(MODEL);
        assert_eq!(self.chat(&model).await.status, 200);
        self.stream(&model).await;
        assert_eq!(self.chat(&hello("groq/gpt-oss-20b")).await.status, 200);
        self.patch(&json!({ "byokFallback": "never" })).await;
        self.fail(&self.provider_key.clone()).await;
        self.patch(&json!({ "providerKeys": null })).await;
        assert_eq!(self.chat(&model).await.header("x-kairosroute-byok"), "false");
        self.fail(&self.platform_key.clone()).await;
        let body = json!({ "providerKeys": { "OpenAI": self.provider_key.clone() } });
        assert_eq!(self.patch(&body).await.status, 200);
        self.chat(&json!([self.key])).await;
        self.bring_along().await;
    }

    /// A request-scoped key, in each form, answered successfully and with errors, and in places where no key belongs.
    async fn bring_along(&mut self) {
        let key = self.brought_key.clone();
        let with = |name: &str, value: Value| {
            let mut body = hello(MODEL);
            body[name] = value;
            body
        };
        for body in [
            with("byok_api_key", json!(key)),
            with("extra", json!({ "byok": key })),
            with("additional_params", json!({ "byok_api_key": key })),
        ] {
            assert_eq!(self.chat(&body).await.status, 200);
            self.stream(&body).await;
            self.fail_with(&key, &body).await;
        }
        for body in [
            with("byok_api_key", json!([key])),
            with("byok_api_key", json!({ key.as_str(): 1 })),
            with("byok_api_key", json!(format!("{key} {key}"))),
            with("extra", json!(key)),
            with("extra", json!({ key.as_str(): 1 })),
            with("extra", json!({ "byok": [key] })),
            with("extra", json!({ "byok": "a", "provider": key })),
            with("extra", json!({ "byok": key, "retry": key })),
            with("additional_params", json!(key)),
            with("additional_params", json!({ "extra": { "byok": key }, "byok_api_key": key })),
            json!({ "model": "gpt-4o", "messages": [], "byok_api_key": key }),
            json!({ "model": "nobody/x", "byok_api_key": key }),
        ] {
            assert_eq!(self.chat(&body).await.status, 400, "{body}");
        }
        for (name, status) in [("x-provider-key", 200), ("x-provider", 400)] {
            self.bring_in_header(name, &key, status).await;
        }
        for wrong in [format!("{key} {key}"), format!("{key}\u{e9}")] {
            self.bring_in_header("x-provider-key", &wrong, 400).await;
        }
        self.stack.simulator.set_default("openai", Script::error(401, &echo(&key)));
        self.bring_in_header("x-provider-key", &key, 401).await;
        self.stack.simulator.clear();
    }

    async fn bring_in_header(&mut self, name: &str, value: &str, status: u16) {
        let request = self.stack.request("POST", "/v1/chat/completions").bearer(&self.key);
        let reply = request.header(name, value).json(&hello(MODEL)).send().await;
        assert_eq!(reply.status, status, "{name}: {reply}");
        self.seen.reply("an answer", &reply);
        self.receipts.push(reply.receipt_id().to_owned());
    }

    async fn fail(&mut self, key: &str) {
        self.fail_with(key, &hello(MODEL)).await;
    }

    async fn fail_with(&mut self, key: &str, request: &Value) {
        for status in [400, 401, 402, 403, 404, 422, 429, 500, 503] {
            for body in [echo(key), key.to_owned(), json!({ "detail": key }).to_string()] {
                self.stack.simulator.set_default("openai", Script::error(status, &body));
                let reply = self.chat(request).await;
                assert!(reply.status >= 400);
            }
        }
        // In every other spelling, where a provider's own message is passed on. One encoding within another is searched
        // only in the database's own dump.
        let spellings = search::spellings(key.as_bytes());
        for (spelling, spelled) in spellings.into_iter().filter(|(name, _)| *name != "base64 in a bytea") {
            for status in [400, 404, 429, 500] {
                self.stack
                    .simulator
                    .set_default("openai", Script::error(status, &echo(&String::from_utf8_lossy(&spelled))));
                assert!(self.chat(request).await.status >= 400, "{spelling}");
            }
        }
        // Broken off after the answer has begun, with the key in the error event.
        let late = Script { error: Some(echo(key)), error_after: Some(2), ..Script::long(5) };
        self.stack.simulator.set_default("openai", late);
        self.stream(request).await;
        let inside = Script::raw_body(&echo(key));
        self.stack.simulator.set_default("openai", inside);
        self.chat(request).await;
        self.stack.simulator.clear();
    }

    /// Everything that can be read afterwards.
    async fn look_around(&mut self) {
        for receipt in std::mem::take(&mut self.receipts) {
            if !receipt.is_empty() {
                let document = self.stack.receipt(&self.key, &receipt).await;
                self.seen.add("a receipt", document.to_string());
            }
        }
        wait_until("the use of the key to be noted", async || {
            self.stack.database.number("SELECT count(*) FROM provider_key WHERE last_used_at IS NULL").await
                <= 1
        })
        .await;
        for path in [
            "/api/auth".to_owned(),
            format!("/api/auth/keys/{}", self.key_id),
            "/api/members".to_owned(),
            "/api/billing/balance".to_owned(),
            "/api/billing/ledger".to_owned(),
            "/api/usage?group_by=key".to_owned(),
        ] {
            let reply = self.stack.get(&path, &self.viewer).await;
            assert_eq!(reply.status, 200, "{path}: {reply}");
            self.seen.reply("what a viewer reads", &reply);
        }
        let metrics = self.metrics.get("/metrics", "").await;
        assert_eq!(metrics.status, 200);
        self.seen.reply("the metrics", &metrics);
        self.dump().await;
        let log = self.stack.log();
        assert!(log.contains("TRACE"), "the process logs everything");
        self.seen.add("the log", log);
    }

    async fn dump(&mut self) {
        for table in self.stack.database.tables().await {
            let rows = self.stack.database.rows(&table).await.join("\n");
            self.seen.add(&format!("the table {table}"), rows);
        }
    }

    fn found(&self) -> Vec<Finding> {
        search(&self.canaries, &self.seen.0)
    }
}

#[tokio::test]
async fn no_secret_is_written_answered_or_stored_in_any_spelling() {
    let mut scene = Scene::set().await;
    scene.manage_accounts().await;
    scene.ask().await;
    scene.look_around().await;
    let found = scene.found();
    assert!(found.is_empty(), "{found:#?}");

    // The same search finds a planted leak.
    let note = STANDARD.encode(&scene.provider_key);
    let sql = format!(
        "UPDATE provider_key SET last_error = 'refused: {}'; UPDATE entry SET note = '{note}';
         UPDATE session SET token_hash = 'x{}'::bytea WHERE org_id IS NULL OR true AND id = (SELECT min(id::text)::uuid FROM session)",
        scene.provider_key, scene.password
    );
    scene.stack.database.tamper(&sql).await;
    scene.seen.0.clear();
    scene.look_around().await;
    let found = scene.found();
    for (kind, place) in [
        ("provider key", "what a viewer reads"),
        ("provider key", "the table provider_key"),
        ("provider key", "the table entry"),
        ("password", "the table session"),
    ] {
        assert!(
            found.iter().any(|one| one.kind == kind && one.place == place),
            "{kind} in {place}: {found:#?}"
        );
    }
}

#[test]
fn a_planted_leak_of_each_kind_in_each_spelling_is_found() {
    let kinds =
        ["provider key", "brought key", "platform key", "password", "master key", "session token", "API key"];
    let secrets: Vec<String> = kinds.iter().map(|_| random()).collect();
    let canaries: Vec<Canary> =
        kinds.iter().zip(&secrets).map(|(kind, secret)| Canary::new(kind, secret.as_bytes())).collect();
    let clean = vec![("the log".to_owned(), random().into_bytes())];
    assert!(search(&canaries, &clean).is_empty());
    for (kind, secret) in kinds.iter().zip(&secrets) {
        for (spelling, leak) in search::spellings(secret.as_bytes()) {
            let text = [b"error: ".as_slice(), &leak, b" (code 1)"].concat();
            let found = search(&canaries, &[("the log".to_owned(), text)]);
            assert!(found.iter().any(|one| one.kind == *kind), "{kind} as {spelling}");
        }
    }
    assert_eq!(PASSWORD.len(), 28, "the harness's own password is no canary");
}
