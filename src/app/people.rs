//! What account services are made of, from the settings: the address of the dashboard, the services that people may sign in
//! by, and where each provider is called.

use crate::{
    config::{Config, ProviderSettings},
    domain::provider::ProviderId,
    providers::oidc::OidcProvider,
};
use anyhow::Context;
use reqwest::Url;
use std::collections::HashMap;

/// The address of the dashboard in links, without a slash at its end.
pub fn public_base(config: &Config) -> String {
    match &config.public_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{}", config.listen),
    }
}

/// The services that people may sign in by.
pub fn identity_providers(config: &Config) -> anyhow::Result<Vec<OidcProvider>> {
    let providers = config.oidc.iter().cloned().map(OidcProvider::new);
    providers.collect::<Result<_, _>>().context("the client for signing in by another service")
}

/// Where the operator has each provider called.
pub fn provider_urls(config: &Config) -> HashMap<ProviderId, String> {
    let url = |(provider, settings): (ProviderId, &ProviderSettings)| {
        (provider, settings.base_url.as_str().trim_end_matches('/').to_owned())
    };
    ProviderId::all().zip(&config.providers).map(url).collect()
}

/// Where each provider takes conversations.
pub fn chat_urls(config: &Config) -> anyhow::Result<Vec<Url>> {
    let url = |(provider, base): (ProviderId, &Url)| {
        let text = format!("{}{}", base.as_str().trim_end_matches('/'), provider.row().chat_path);
        Url::parse(&text).with_context(|| format!("the address of {provider}"))
    };
    ProviderId::all().zip(config.providers.iter().map(|settings| &settings.base_url)).map(url).collect()
}
