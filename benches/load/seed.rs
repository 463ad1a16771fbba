//! Organizations with credit and keys, made through the library as the operator's commands make them: only
//! passwords, which no request needs, are left out.

use anyhow::Context;
use kairosroute::{
    accounts::{
        AccountParts, AccountRules, Accounts, Authenticator, CheckClients, installation::Installation,
        passwords::Passwords, patch::KeyBody,
    },
    app::DatabaseRuntime,
    billing::audit,
    domain::{
        ambient::Ambient,
        ids::{EntryId, OrgId},
        money::NanoUsd,
    },
    local_postgres::LocalPostgres,
    providers::guard::AllowedNets,
    store::{
        Db, DbLimits, Durability, OrgScope, Pooler, StoreError, durability, entries, organizations,
        topups::{self, Credit, CreditKind},
        wal_bytes,
    },
    vault::KeyRing,
};
use std::{collections::HashMap, path::Path, sync::Arc};
use tokio::task::{JoinError, JoinSet};

/// Organizations that pay with their credit.
pub const PLATFORM_ORGANIZATIONS: usize = 2_000;
/// Organizations with a provider key of their own.
pub const BYOK_ORGANIZATIONS: usize = 16;
/// Enough for any run.
const CREDIT: NanoUsd = NanoUsd(1_000_000_000_000);
/// Organizations made at a time.
const AT_A_TIME: usize = 8;

/// The gateway's database, joined while the gateway runs.
pub struct Books {
    local: LocalPostgres,
    _runtime: DatabaseRuntime,
    db: Db,
    accounts: Arc<Accounts>,
    ambient: Ambient,
    paying: Vec<OrgScope>,
}

/// Platform API keys, one per organization.
pub struct Keys {
    pub platform: Vec<String>,
    pub byok: Vec<String>,
}

/// An organization, its API key and whether it has a provider key of its own.
type Made = (OrgScope, String, bool);

impl Books {
    pub async fn join(data_dir: &Path) -> anyhow::Result<Self> {
        let local = LocalPostgres::attach_or_start(data_dir).await?;
        let runtime = DatabaseRuntime::start()?;
        let db = runtime.open(
            local.connect_options(),
            DbLimits { connections_max: 23, ..DbLimits::of_command(Pooler::None) },
        )?;
        let master_keys = std::fs::read_to_string(data_dir.join("master-keys"))?;
        let ring = KeyRing::parse(master_keys.trim()).context("the master keys")?;
        let ambient = Ambient::system();
        let installation = Arc::new(Installation::load(&db, ring, ambient.clone()).await?);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::new();
        let accounts = Accounts::new(AccountParts {
            db: db.clone(),
            authenticator: Arc::new(Authenticator::new(db.clone(), installation.clone(), ambient.clone())),
            installation,
            passwords: Passwords::start(1, ambient.clone())?,
            ambient: ambient.clone(),
            rules: AccountRules {
                operators_need_second_factor: false,
                public_base: String::new(),
                signup_open: false,
                allowed_nets: AllowedNets::default(),
                trusted_proxies: Vec::new(),
                limits: kairosroute::config::Config::read([])?.accounts,
                matches_model: Box::new(|_| true),
                provider_urls: HashMap::new(),
                payments: None,
            },
            mail: None,
            identity_providers: Vec::new(),
            check_clients: CheckClients { operator: client.clone(), customer: client },
        });
        let accounts = Arc::new(accounts);
        Ok(Self { local, _runtime: runtime, db, accounts, ambient, paying: Vec::new() })
    }

    /// Makes organizations: so many with credit, and those with a provider key of their own.
    pub async fn seed(&mut self, paying: usize) -> anyhow::Result<Keys> {
        let mut keys = Keys { platform: Vec::new(), byok: Vec::new() };
        let mut making = JoinSet::new();
        for index in 0..paying + BYOK_ORGANIZATIONS {
            if making.len() >= AT_A_TIME {
                self.keep(making.join_next().await, &mut keys)?;
            }
            let byok = index >= paying;
            making.spawn(organization(self.db.clone(), self.accounts.clone(), self.ambient.clone(), byok));
        }
        while let Some(made) = making.join_next().await {
            self.keep(Some(made), &mut keys)?;
        }
        Ok(keys)
    }

    fn keep(
        &mut self,
        made: Option<Result<anyhow::Result<Made>, JoinError>>,
        keys: &mut Keys,
    ) -> anyhow::Result<()> {
        let (scope, key, byok) = made.context("nothing was being made")???;
        if byok {
            keys.byok.push(key);
        } else {
            keys.platform.push(key);
            self.paying.push(scope);
        }
        Ok(())
    }

    /// The credit of all organizations that pay, and what is held of it.
    pub async fn balance(&self) -> anyhow::Result<(NanoUsd, NanoUsd)> {
        let (db, paying) = (self.db.clone(), self.paying.clone());
        let reading = self.db.run(async move {
            let mut connection = db.acquire().await?;
            let (mut posted, mut held) = (NanoUsd::ZERO, NanoUsd::ZERO);
            for scope in paying {
                let account = entries::get_balance(&mut connection, scope).await?.unwrap_or_default();
                posted = NanoUsd(posted.0.saturating_add(account.posted.0));
                held = NanoUsd(held.0.saturating_add(account.held.0));
            }
            Ok::<_, StoreError>((posted, held))
        });
        Ok(reading.await?)
    }

    /// Drifts in the books: there must be none.
    pub async fn drifts(&self) -> anyhow::Result<usize> {
        let db = self.db.clone();
        let auditing = self.db.run(async move { audit::audit(&mut *db.acquire().await?).await });
        Ok(auditing.await?.len())
    }

    /// Bytes of the cluster's log so far.
    pub async fn wal_bytes(&self) -> anyhow::Result<u64> {
        let db = self.db.clone();
        let bytes = self.db.run(async move { wal_bytes(&mut *db.acquire().await?).await }).await?;
        Ok(u64::try_from(bytes)?)
    }

    pub async fn durability(&self) -> anyhow::Result<Durability> {
        let db = self.db.clone();
        Ok(self.db.run(async move { durability(&mut *db.acquire().await?).await }).await?)
    }

    /// Leaves the cluster to the gateway.
    pub async fn leave(self) -> anyhow::Result<()> {
        self.db.close().await;
        self.local.stop().await
    }
}

async fn organization(db: Db, accounts: Arc<Accounts>, ambient: Ambient, byok: bool) -> anyhow::Result<Made> {
    let inserting = db.clone();
    let scope = db
        .run(async move {
            let mut tx = inserting.begin().await?;
            let id = OrgId(ambient.uuid());
            let scope = organizations::insert(&mut tx, id, "Load", ambient.now()).await?;
            if !byok {
                let credit = Credit {
                    kind: CreditKind::Grant,
                    amount: CREDIT,
                    external_id: None,
                    note: "load",
                    entry_id: EntryId(ambient.uuid()),
                    now: ambient.now(),
                };
                topups::grant(&mut tx, scope, &credit).await?;
            }
            tx.commit().await?;
            Ok::<_, StoreError>(scope)
        })
        .await?;
    let body = match byok {
        true => serde_json::json!({ "byokFallback": "never", "providerKeys": { "openai": "sk-own" } }),
        false => serde_json::json!({}),
    };
    let body: KeyBody = serde_json::from_value(body)?;
    let created = accounts.create_key_of(scope, None, body).await?;
    Ok((scope, created.secret.expose().to_owned(), byok))
}
