//! `kairosroute demo`: the whole gateway on this machine alone. Simulated providers stand in for the real ones,
//! and one organization has credit and a key that works with the line printed.

use super::{Place, stop_signal};
use crate::{
    accounts::patch::KeyBody,
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
use uuid::Uuid;

/// The demo's organization: always the same one, so that a restart goes on with its books.
const ORGANIZATION: OrgId = OrgId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_de30));
const KEY_NAME: &str = "Demo";
/// Topped up to this at every start.
const CREDIT: NanoUsd = NanoUsd(100_000_000_000);
/// API keys that are looked through for the last start's.
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
        Ok(app) => match prepare(&app).await {
            Ok(key) => {
                announce(&app, &key);
                app.run(stop_signal()?).await
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    place.leave().await?;
    served
}

/// Makes sure of the organization and its credit, and issues a key in place of the last start's.
async fn prepare(app: &App) -> anyhow::Result<Secret> {
    let (db, ambient) = (app.gateway.db.clone(), app.gateway.ambient.clone());
    let preparing = db.clone();
    let scope = db
        .run(async move {
            let mut tx = preparing.begin().await?;
            let scope = match organizations::find_scope(&mut tx, ORGANIZATION).await? {
                Some(scope) => scope,
                None => organizations::insert(&mut tx, ORGANIZATION, "Demo", ambient.now()).await?,
            };
            top_up(&mut tx, scope, &ambient).await?;
            let keys = api_keys::KeyScope { org: scope, made_by: None };
            for key in api_keys::list(&mut tx, keys, None, LIVE_KEYS_MAX).await? {
                if key.name == KEY_NAME && key.revoked_at.is_none() {
                    api_keys::revoke(&mut tx, keys, key.id, ambient.now()).await?;
                }
            }
            tx.commit().await?;
            Ok::<_, StoreError>(scope)
        })
        .await?;
    let body: KeyBody = serde_json::from_value(json!({ "name": KEY_NAME }))?;
    Ok(app.accounts.create_key_of(scope, None, body).await?.secret)
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

fn announce(app: &App, key: &Secret) {
    let (base, key) = (format!("http://{}", app.address), key.expose());
    println!(
        r#"
KairosRoute runs on this machine alone: a private database, simulated providers, demo credit.

  Base URL   {base}/v1
  API key    {key}

Try it:

  curl {base}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{{"model":"openai/gpt-5.4-mini","messages":[{{"role":"user","content":"Hello"}}]}}'

Any OpenAI SDK works with that base URL and key. For production set DATABASE_URL, KAIROSROUTE_MASTER_KEYS and
<PROVIDER>_API_KEY, run `kairosroute serve`, and read docs/operating.md.
Ctrl-C stops everything and keeps the data.
"#
    );
}
