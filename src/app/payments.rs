//! The purchase of credit, from the settings.

use crate::{billing::payments::Payments, config::Config, providers::stripe::Stripe};
use anyhow::Context;
use std::sync::Arc;

/// `None`: this installation does not sell credit.
pub fn payments(config: &Config) -> anyhow::Result<Option<Arc<Payments>>> {
    let (Some(settings), Some(public_url)) = (&config.stripe, &config.public_url) else { return Ok(None) };
    let stripe = Stripe::new(settings.base_url.clone(), settings.secret_key.clone());
    Ok(Some(Arc::new(Payments {
        stripe: stripe.context("the client for payments")?,
        webhook_secrets: settings.webhook_secrets.clone(),
        payment_min: settings.payment_min,
        payment_max: settings.payment_max,
        public_url: public_url.as_str().trim_end_matches('/').to_owned(),
    })))
}
