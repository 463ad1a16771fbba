//! Alerts and the mail server, from the settings.

use super::transports::Transports;
use crate::{
    alerts::{AlertParts, Alerts},
    config::Config,
    gateway::Gateway,
    mail::Mailer,
    providers::guard::AllowedNets,
};
use anyhow::Context;
use std::sync::Arc;

/// `None`: this installation sends no e-mail.
pub fn mailer(config: &Config) -> anyhow::Result<Option<Mailer>> {
    config.smtp.as_ref().map(Mailer::start).transpose()
}

/// The alert service; it does nothing before it is started.
pub fn alerts(
    config: &Config,
    gateway: &Gateway,
    transports: &Transports,
    mailer: Option<Mailer>,
) -> anyhow::Result<Arc<Alerts>> {
    let (_, client) = transports.connect()?.clients().context("the client for webhooks")?;
    Ok(Alerts::new(AlertParts {
        db: gateway.db.clone(),
        ambient: gateway.ambient.clone(),
        secrets: gateway.installation.webhooks.clone(),
        client,
        nets: AllowedNets(config.allow_private_nets.clone()),
        webhooks_max: config.accounts.webhooks_max,
        mailer,
    }))
}
