//! The platform's own provider keys: store, list, switch off and on, remove, test.

use super::{PlatformKeyAction, account_services, read_input, with_vault};
use crate::{
    config::Config,
    credentials::{
        check::Verdict,
        platform::{self, KeyChange, PlatformKeys},
    },
    domain::{ambient::Ambient, provider::ProviderId},
    store::Db,
    vault::KeyRing,
};
use anyhow::{Context, bail};

pub async fn run(config: &Config, action: PlatformKeyAction) -> anyhow::Result<()> {
    match action {
        PlatformKeyAction::Set { provider } => {
            let provider = find(&provider)?;
            let key = read_input()?.context("the key is expected on standard input")?;
            with_vault(config, |db, ring| async move {
                let ambient = Ambient::system();
                let key = (provider, &key);
                platform::set_platform_key(&db, &ring, &ambient, key, "cli".to_owned()).await?;
                println!("stored; running gateways use it within 5 s");
                Ok(())
            })
            .await
        }
        PlatformKeyAction::List => with_vault(config, |db, ring| list(db, ring, config)).await,
        PlatformKeyAction::Disable { provider } => change(config, &provider, KeyChange::Disable).await,
        PlatformKeyAction::Enable { provider } => change(config, &provider, KeyChange::Enable).await,
        PlatformKeyAction::Remove { provider } => change(config, &provider, KeyChange::Remove).await,
        PlatformKeyAction::Test { provider } => {
            let provider = find(&provider)?;
            with_vault(config, |db, ring| test(db, ring, config, provider)).await
        }
    }
}

fn find(name: &str) -> anyhow::Result<ProviderId> {
    ProviderId::by_name(name)
        .with_context(|| format!("unknown provider; supported: {}", ProviderId::ids().join(", ")))
}

/// The keys as a gateway with these settings has them.
fn keys_of(config: &Config) -> PlatformKeys {
    let environment = ProviderId::all()
        .zip(&config.providers)
        .filter_map(|(provider, settings)| Some((provider, settings.api_key.clone()?)));
    PlatformKeys::new(environment)
}

async fn list(db: Db, ring: KeyRing, config: &Config) -> anyhow::Result<()> {
    for key in keys_of(config).list(&db, &ring).await? {
        let source = key.source.map_or("no key", platform::KeySource::as_str);
        let last4 = key.last4.map(|last4| format!("  …{last4}")).unwrap_or_default();
        let off = if key.enabled { "" } else { "  switched off" };
        println!("{}  {source}{last4}{off}", key.provider);
    }
    Ok(())
}

async fn change(config: &Config, provider: &str, change: KeyChange) -> anyhow::Result<()> {
    let provider = find(provider)?;
    with_vault(config, |db, _| async move {
        let change = (provider, change);
        if !platform::change_platform_key(&db, &Ambient::system(), change, "cli".to_owned()).await? {
            bail!("nothing to change: see `kairosroute admin platform-key list`");
        }
        println!("done; running gateways follow within 5 s");
        Ok(())
    })
    .await
}

async fn test(db: Db, ring: KeyRing, config: &Config, provider: ProviderId) -> anyhow::Result<()> {
    let keys = keys_of(config);
    keys.refresh(&db, &ring).await?;
    let key = keys.get_for_test(provider).with_context(|| format!("{provider} has no key"))?;
    let checked = account_services(db, ring, config).await?.test_platform_key(provider, &key.secret).await;
    println!("{}", checked.message);
    match checked.verdict {
        Verdict::Valid => Ok(()),
        Verdict::Invalid | Verdict::Unknown => bail!("the key was not accepted"),
    }
}
