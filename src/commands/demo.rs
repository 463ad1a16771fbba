//! `kairosroute demo`: the whole gateway on this machine alone. Simulated providers stand in for the real ones,
//! and one organization has credit, a key that works with the line printed, and a person who can log in. Key and password
//! are kept in the data directory, so that they stay the same over restarts.

use super::{Place, stop_signal};
use crate::{
    accounts::{api_key::random_base62, patch::KeyBody},
    app::{self, App},
    config::Config,
    domain::{
        ambient::Ambient,
        ids::{EntryId, OrgId},
        money::NanoUsd,
        provider::ProviderId,
        secret::Secret,
    },
    simulator::{self, Simulator},
    store::{
        OrgScope, StoreError, api_keys, organizations,
        topups::{self, Credit, CreditKind},
    },
};
use anyhow::Context;
use reqwest::Url;
use serde_json::json;
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};
use uuid::Uuid;

/// The demo's organization: always the same one, so that a restart goes on with its books.
const ORGANIZATION: OrgId = OrgId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_de30));
const KEY_NAME: &str = "Demo";
/// The organization's owner. The domain is reserved, so that no e-mail reaches a person.
const EMAIL: &str = "demo@example.com";
const PASSWORD_LETTERS: usize = 20;
/// In the data directory.
const KEY_FILE: &str = "demo-api-key";
const PASSWORD_FILE: &str = "demo-password";
/// Topped up to this at every start.
const CREDIT: NanoUsd = NanoUsd(100_000_000_000);
/// API keys that are looked through for those of earlier starts.
const LIVE_KEYS_MAX: i64 = 1_000;
/// What the simulated providers accept from the operator.
const PLATFORM_KEY: &str = "sim-platform-key";

pub async fn run(mut config: Config) -> anyhow::Result<()> {
    let simulator = Simulator::start(simulator::Settings::default()).context("the simulated providers")?;
    for (provider, settings) in ProviderId::all().zip(&mut config.providers) {
        settings.base_url = Url::parse(&simulator.base_url(provider.as_str()))?;
        settings.api_key = Some(Secret::new(PLATFORM_KEY.to_owned()));
    }
    let place = Place::of(&config, true).await?;
    let ring = place.key_ring(&config)?;
    let served = match app::build(&config, place.options.clone(), ring, Ambient::system()).await {
        Ok(app) => match prepare(&app, &config.data_dir).await {
            Ok(demo) => {
                announce(&app, &demo);
                app.run(stop_signal()?).await
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    place.leave().await?;
    served
}

/// What is printed, to be tried.
struct Demo {
    key: Secret,
    password: Secret,
}

/// Makes sure of the organization, its credit, its person and its key.
async fn prepare(app: &App, data_dir: &Path) -> anyhow::Result<Demo> {
    let (db, ambient) = (app.gateway.db.clone(), app.gateway.ambient.clone());
    let kept = read_kept(&data_dir.join(KEY_FILE))?;
    let last4 = kept.as_ref().map(Secret::last4);
    let preparing = db.clone();
    let (scope, is_live) = db
        .run(async move {
            let mut tx = preparing.begin().await?;
            let scope = match organizations::find_scope(&mut tx, ORGANIZATION).await? {
                Some(scope) => scope,
                None => organizations::insert(&mut tx, ORGANIZATION, "Demo", ambient.now()).await?,
            };
            top_up(&mut tx, scope, &ambient).await?;
            let keys = api_keys::KeyScope { org: scope, made_by: None };
            let mut is_live = false;
            for key in api_keys::list(&mut tx, keys, None, LIVE_KEYS_MAX).await? {
                let is_ours = key.name == KEY_NAME && key.revoked_at.is_none();
                if is_ours && Some(&key.last4) == last4.as_ref() {
                    is_live = true;
                } else if is_ours {
                    api_keys::revoke(&mut tx, keys, key.id, ambient.now()).await?;
                }
            }
            tx.commit().await?;
            Ok::<_, StoreError>((scope, is_live))
        })
        .await?;
    let key = match kept.filter(|_| is_live) {
        Some(key) => key,
        None => {
            let body: KeyBody = serde_json::from_value(json!({ "name": KEY_NAME }))?;
            let key = app.accounts.create_key_of(scope, None, body).await?.secret;
            keep(&data_dir.join(KEY_FILE), &key)?;
            key
        }
    };
    let password = match read_kept(&data_dir.join(PASSWORD_FILE))? {
        Some(password) => password,
        None => {
            let random = random_base62(&app.gateway.ambient);
            let password = Secret::new(random.chars().take(PASSWORD_LETTERS).collect());
            keep(&data_dir.join(PASSWORD_FILE), &password)?;
            password
        }
    };
    app.accounts.ensure_owner(scope, EMAIL, &password).await?;
    Ok(Demo { key, password })
}

/// The secret that an earlier start has kept.
fn read_kept(path: &Path) -> anyhow::Result<Option<Secret>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            Ok(Some(Secret::new(text.trim().to_owned())).filter(|secret| !secret.expose().is_empty()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Keeps a secret for the next start, readable by its owner alone.
fn keep(path: &Path, secret: &Secret) -> anyhow::Result<()> {
    let write = || {
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        writeln!(file, "{}", secret.expose())
    };
    write().with_context(|| path.display().to_string())
}

async fn top_up(tx: &mut sqlx::PgConnection, scope: OrgScope, ambient: &Ambient) -> Result<(), StoreError> {
    let posted = crate::store::entries::get_balance(tx, scope).await?.unwrap_or_default().posted;
    let missing = NanoUsd(CREDIT.0.saturating_sub(posted.0));
    if missing > NanoUsd::ZERO {
        let credit = Credit {
            kind: CreditKind::Grant,
            amount: missing,
            external_id: None,
            note: "demo credit",
            entry_id: EntryId(ambient.uuid()),
            now: ambient.now(),
        };
        topups::grant(tx, scope, &credit).await?;
    }
    Ok(())
}

fn announce(app: &App, demo: &Demo) {
    let (base, key, password) =
        (format!("http://{}", app.address), demo.key.expose(), demo.password.expose());
    println!(
        r#"
KairosRoute runs on this machine alone: a private database, simulated providers, demo credit.

  Base URL   {base}/v1
  API key    {key}
  Dashboard  {base}/      log in as {EMAIL} with the password {password}
  Documents  {base}/docs

Try it:

  curl {base}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{{"model":"openai/gpt-5.4-mini","messages":[{{"role":"user","content":"Hello"}}]}}'

Any OpenAI SDK works with that base URL and key, which stay the same at the next start. For production set DATABASE_URL,
KAIROSROUTE_MASTER_KEYS and <PROVIDER>_API_KEY, run `kairosroute serve`, and read docs/operating.md.
Ctrl-C stops everything and keeps the data.
"#
    );
}
