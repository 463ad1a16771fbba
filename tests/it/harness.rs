//! The basis of every integration test: a separate database, simulated providers, and a gateway on a free port, in this
//! process ([`Stack`]) or as the real binary ([`ChildStack`]). Dropping a stack stops the gateway and drops the
//! database. Tests of money end with `finish()`, which audits the ledger.

#![allow(dead_code)] // each theme uses its part

mod child;
mod client;
mod database;
mod mail;

pub use child::{ChildStack, Output, run_command};
#[allow(unused_imports)] // each theme uses its part
pub use client::{Client, Frame, Reply, Request, Streamed, wait_at_most, wait_for, wait_until};
pub use database::Database;
#[allow(unused_imports)] // each theme uses its part
pub use mail::{Letter, MailServer};

use actix_web::rt::System;
use base64::{Engine, engine::general_purpose::STANDARD};
use kairosroute::{
    app,
    billing::audit,
    config::Config,
    domain::{
        ambient::Ambient,
        ids::{EntryId, OrgId},
        money::NanoUsd,
        provider::PROVIDERS,
    },
    gateway::Gateway,
    simulator::{Settings, Simulator},
    store::{
        organizations,
        topups::{self, Credit, CreditKind, CreditOutcome},
    },
    vault::KeyRing,
};
use serde_json::{Value, json};
use std::{ops::Deref, sync::Arc, thread::JoinHandle};
use tokio::sync::oneshot;

/// `small`, or `full` where tests run at full size (`./test stress`).
pub fn sized<T>(small: T, full: T) -> T {
    match std::env::var("KAIROSROUTE_TEST_SIZE").is_ok_and(|size| size == "full") {
        true => full,
        false => small,
    }
}

pub const PASSWORD: &str = "correct horse battery staple";

/// The configuration of a stack. Every provider has a platform key, `platform-<provider>`, unless configured otherwise.
pub struct Builder {
    env: Vec<(String, String)>,
    platform_keys: Vec<(String, String)>,
    master_keys: String,
}

/// Database, providers and a client of the gateway: common to both kinds of stack.
pub struct World {
    pub database: Database,
    pub simulator: Simulator,
    pub client: Client,
    /// As `KAIROSROUTE_MASTER_KEYS` has them.
    pub master_keys: String,
    env: Vec<(String, String)>,
}

/// A gateway in this process.
pub struct Stack {
    // Dropped first: the database can be dropped only when no connection is open.
    node: Node,
    world: World,
}

/// One gateway process, as far as it concerns its threads and its port; several may share a world.
pub struct Node {
    client: Client,
    gateway: Arc<Gateway>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A signed-up organization with an API key.
#[derive(Clone, Debug)]
pub struct Customer {
    pub email: String,
    pub session: String,
    pub user_id: String,
    pub organization_id: String,
    pub key: String,
    pub key_id: String,
}

impl Builder {
    /// Sets a variable of the environment, as `Config` reads it; the last of equal names counts.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn platform_key(mut self, provider: &str, key: &str) -> Self {
        self.platform_keys.push((provider.to_owned(), key.to_owned()));
        self
    }

    #[must_use]
    pub fn no_platform_keys(mut self) -> Self {
        self.platform_keys.clear();
        self
    }

    #[must_use]
    pub fn master_keys(mut self, list: &str) -> Self {
        self.master_keys = list.to_owned();
        self
    }

    /// Starts a gateway in this process.
    pub async fn start(self) -> Stack {
        let mut world = self.world().await;
        let node = Node::start(&world, &[]).await;
        world.client = node.client.clone();
        Stack { node, world }
    }

    /// Starts the real binary.
    pub async fn start_child(self) -> ChildStack {
        ChildStack::start(self.world().await).await
    }

    async fn world(self) -> World {
        let database = Database::create().await;
        let simulator = Simulator::start(Settings::default()).unwrap();
        let mut env: Vec<(String, String)> = [
            ("KAIROSROUTE_LISTEN", "127.0.0.1:0"),
            ("KAIROSROUTE_METRICS_LISTEN", "off"),
            ("KAIROSROUTE_UNSAFE_DATABASE", "1"),
            ("KAIROSROUTE_SHUTDOWN_NOTICE_MS", "1"),
            ("KAIROSROUTE_WORKERS", "1"),
            ("KAIROSROUTE_DATABASE_CONNECTIONS_MAX", "12"),
            ("KAIROSROUTE_SHUTDOWN_TIMEOUT_MS", "5000"),
            ("KAIROSROUTE_LOG", "info"),
            // Tests cause many refusals; those of the limits set their own.
            ("KAIROSROUTE_REFUSALS_PER_KEY_MINUTE_MAX", "100000"),
            ("KAIROSROUTE_REFUSALS_PER_ADDRESS_MINUTE_MAX", "100000"),
            ("KAIROSROUTE_SIGNUPS_PER_ADDRESS_DAY_MAX", "100000"),
            ("KAIROSROUTE_SIGNUPS_PER_DAY_MAX", "100000"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        env.push(("KAIROSROUTE_MASTER_KEYS".into(), self.master_keys.clone()));
        env.push(("DATABASE_URL".into(), database.url()));
        for row in PROVIDERS {
            env.push((format!("{}_BASE_URL", row.env), simulator.base_url(row.id)));
        }
        for (provider, key) in &self.platform_keys {
            let row = PROVIDERS.iter().find(|row| row.id == provider).unwrap();
            env.push((format!("{}_API_KEY", row.env), key.clone()));
        }
        env.extend(self.env);
        World { database, simulator, client: Client::nowhere(), master_keys: self.master_keys, env }
    }
}

impl Stack {
    pub fn builder() -> Builder {
        let platform_keys =
            PROVIDERS.iter().map(|row| (row.id.to_owned(), format!("platform-{}", row.id))).collect();
        let key = STANDARD.encode(Ambient::system().bytes::<32>());
        Builder { env: Vec::new(), platform_keys, master_keys: format!("test1:{key}") }
    }

    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// The gateway's own state, for checks.
    pub fn gateway(&self) -> &Gateway {
        &self.node.gateway
    }

    /// Another gateway on the same database and providers.
    pub async fn second_node(&self) -> Node {
        Node::start(&self.world, &[]).await
    }

    /// As [`Stack::second_node`], with other settings.
    pub async fn second_node_with(&self, env: &[(&str, &str)]) -> Node {
        Node::start(&self.world, env).await
    }

    /// Waits for the books to be closed, stops the gateway, and audits before and after.
    pub async fn finish(mut self) {
        self.world.no_hold_is_open().await;
        self.world.audit_is_clean().await;
        self.node.stop().await;
        self.world.audit_is_clean().await;
    }
}

impl Node {
    async fn start(world: &World, env: &[(&str, &str)]) -> Self {
        let mut pairs = world.env.clone();
        pairs.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let config = Config::read(pairs).unwrap_or_else(|errors| panic!("{errors}"));
        let ring = KeyRing::parse(config.master_keys.as_ref().unwrap().expose()).unwrap();
        let options = world.database.options().application_name("gateway");
        let (started, starting) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            System::new().block_on(async move {
                let app = app::build(&config, options, ring, Ambient::system()).await.unwrap();
                started.send((app.address, app.gateway.clone())).ok().unwrap();
                app.run(async move { drop(stopped.await) }).await.unwrap();
            });
        });
        let (address, gateway) = starting.await.expect("the gateway did not start");
        Self { client: Client::of(address), gateway, stop: Some(stop), thread: Some(thread) }
    }

    /// Asks the gateway to stop and waits until it has.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
        }
    }

    /// Asks the gateway to stop and does not wait.
    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A failed test may leave a request hanging; its time to stop is bounded by the settings.
            let _ = thread.join();
        }
    }
}

impl Deref for Node {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Deref for Stack {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl Deref for World {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl World {
    /// Adds credit to an organization; `usd` is decimal text.
    pub async fn grant(&self, organization_id: &str, usd: &str) {
        let (ambient, id) = (Ambient::system(), organization_id.parse::<OrgId>().unwrap());
        let mut connection = self.database.connect().await;
        let scope = organizations::find_scope(&mut connection, id).await.unwrap().unwrap();
        let credit = Credit {
            kind: CreditKind::Grant,
            amount: NanoUsd::parse(usd).unwrap(),
            external_id: None,
            note: "test",
            entry_id: EntryId(ambient.uuid()),
            now: ambient.now(),
        };
        let outcome = topups::grant(&mut connection, scope, &credit).await.unwrap();
        assert_eq!(outcome, CreditOutcome::Posted);
    }

    /// A new organization with an API key and this much credit.
    pub async fn customer(&self, usd: &str) -> Customer {
        let customer = self.client.sign_up().await;
        if usd != "0" {
            self.grant(&customer.organization_id, usd).await;
        }
        customer
    }

    /// Every invariant of the ledger holds.
    pub async fn audit_is_clean(&self) {
        let drifts = audit::audit(&mut self.database.connect().await).await.unwrap();
        assert!(drifts.is_empty(), "the books do not balance: {drifts:#?}");
    }

    /// Waits until every hold is resolved.
    pub async fn no_hold_is_open(&self) {
        wait_until("every hold to be resolved", async || {
            self.database.number("SELECT count(*) FROM hold WHERE state = 'open'").await == 0
        })
        .await;
    }

    /// Nano-USD: posted and held.
    pub async fn account(&self, organization_id: &str) -> (i64, i64) {
        let id = organization_id.parse::<OrgId>().unwrap();
        sqlx::query_as("SELECT posted, held FROM credit_account WHERE org_id = $1")
            .bind(id.0)
            .fetch_one(&mut self.database.connect().await)
            .await
            .unwrap()
    }

    /// The settings a process on this world is started with.
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// Runs a command of the binary on this database.
    pub fn command(&self, arguments: &[&str], input: &str) -> Output {
        child::run_command(&self.env, arguments, input)
    }
}

impl Client {
    /// Signs up a new organization and creates an API key.
    pub async fn sign_up(&self) -> Customer {
        let name = Ambient::system().uuid().simple().to_string();
        let email = format!("{name}@example.test");
        let body = json!({ "email": email, "password": PASSWORD, "organization": format!("Org {name}") });
        let reply = self.post("/api/auth/signup", "", &body).await;
        assert_eq!(reply.status, 201, "{reply}");
        let answer = reply.json();
        let session = text(&answer["sessionToken"]);
        let (key, key_id) = self.create_key(&session, &json!({ "name": "test" })).await;
        let (user_id, organization_id) = (text(&answer["user"]["id"]), text(&answer["organization"]["id"]));
        Customer { email, session, user_id, organization_id, key, key_id }
    }

    /// Creates an API key: the key and its id.
    pub async fn create_key(&self, session: &str, body: &Value) -> (String, String) {
        let reply = self.post("/api/auth", session, body).await;
        assert_eq!(reply.status, 201, "{reply}");
        let answer = reply.json();
        (text(&answer["key"]), text(&answer["keyId"]))
    }

    /// A merge patch of an API key.
    pub async fn patch_key(&self, session: &str, key_id: &str, body: &Value) -> Reply {
        self.request("PATCH", &format!("/api/auth/keys/{key_id}")).bearer(session).json(body).send().await
    }

    /// Sets provider keys, all of which must be accepted.
    pub async fn set_provider_keys(&self, customer: &Customer, keys: &Value) -> Value {
        let body = json!({ "providerKeys": keys });
        let reply = self.patch_key(&customer.session, &customer.key_id, &body).await;
        assert_eq!(reply.status, 200, "{reply}");
        reply.json()
    }

    pub async fn balance(&self, session: &str) -> Value {
        let reply = self.get("/api/billing/balance", session).await;
        assert_eq!(reply.status, 200, "{reply}");
        reply.json()
    }

    /// A token of indoxhub's client for an API key.
    pub async fn token(&self, key: &str) -> String {
        let reply = self.request("POST", "/api/v1/auth/api-key").header("x-api-key", key).send().await;
        assert_eq!(reply.status, 200, "{reply}");
        text(&reply.json()["access_token"])
    }

    /// A chat request.
    pub async fn chat(&self, key: &str, body: &Value) -> Reply {
        self.post("/v1/chat/completions", key, body).await
    }

    /// A streamed chat request; `stream: true` is added.
    pub async fn stream(&self, key: &str, body: &Value) -> Streamed {
        let mut body = body.clone();
        body["stream"] = json!(true);
        self.request("POST", "/v1/chat/completions").bearer(key).json(&body).stream().await
    }

    /// The receipt a reply names, once it is readable.
    pub async fn receipt(&self, key: &str, id: &str) -> Value {
        let path = format!("/v1/receipts/{id}");
        wait_for("the receipt", async || {
            let reply = self.get(&path, key).await;
            (reply.status == 200).then(|| reply.json())
        })
        .await
    }
}

/// A chat request to `model` with one short message.
pub fn hello(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "Hello" }] })
}

/// A JSON string's text.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}")).to_owned()
}
