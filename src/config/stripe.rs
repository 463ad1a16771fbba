//! Settings of payments by Stripe. Off unless a secret key is given, which needs the secret of its webhooks.

use super::reader::Reader;
use crate::domain::{money::NanoUsd, secret::Secret};
use reqwest::Url;

/// How payments are made.
#[derive(Clone)]
pub struct StripeSettings {
    pub secret_key: Secret,
    /// The newest first; several during a change.
    pub webhook_secrets: Vec<Secret>,
    pub base_url: Url,
    /// Minimum and maximum of one payment.
    pub payment_min: NanoUsd,
    pub payment_max: NanoUsd,
}

impl Reader<'_> {
    /// `None`: payments are off.
    pub(super) fn stripe(&mut self) -> Option<StripeSettings> {
        let key = self.text("KAIROSROUTE_STRIPE_SECRET_KEY");
        let secrets = self.text("KAIROSROUTE_STRIPE_WEBHOOK_SECRET");
        let base_url = self.stripe_url("KAIROSROUTE_STRIPE_BASE_URL");
        let payment_min = self.usd("KAIROSROUTE_STRIPE_PAYMENT_USD_MIN");
        let payment_max = self.usd("KAIROSROUTE_STRIPE_PAYMENT_USD_MAX");
        if key.is_some() != secrets.is_some() {
            self.errors.push(
                "KAIROSROUTE_STRIPE_SECRET_KEY and KAIROSROUTE_STRIPE_WEBHOOK_SECRET are needed together, neither empty"
                    .to_owned(),
            );
        }
        if payment_min > payment_max {
            self.errors.push(
                "KAIROSROUTE_STRIPE_PAYMENT_USD_MIN is above KAIROSROUTE_STRIPE_PAYMENT_USD_MAX".to_owned(),
            );
        }
        if key.is_some() && self.text("KAIROSROUTE_PUBLIC_URL").is_none() {
            self.errors.push("KAIROSROUTE_STRIPE_SECRET_KEY needs KAIROSROUTE_PUBLIC_URL".to_owned());
        }
        let webhook_secrets: Vec<Secret> = secrets?
            .split(',')
            .map(str::trim)
            .filter(|secret| !secret.is_empty())
            .map(|secret| Secret::new(secret.to_owned()))
            .collect();
        if webhook_secrets.is_empty() {
            self.errors.push("KAIROSROUTE_STRIPE_WEBHOOK_SECRET holds no secret".to_owned());
        }
        Some(StripeSettings {
            secret_key: Secret::new(key?),
            webhook_secrets,
            base_url: base_url?,
            payment_min,
            payment_max,
        })
    }

    fn usd(&mut self, name: &str) -> NanoUsd {
        let amount = self.text(name).and_then(|text| NanoUsd::parse(&text).ok());
        amount.filter(|amount| *amount > NanoUsd::ZERO).unwrap_or_else(|| {
            self.errors.push(format!("{name}: expected an amount in USD above 0"));
            NanoUsd::ZERO
        })
    }

    fn stripe_url(&mut self, name: &str) -> Option<Url> {
        let url = self.text(name).and_then(|text| Url::parse(text.trim_end_matches('/')).ok());
        if url.is_none() {
            self.errors.push(format!("{name}: expected an http(s) URL"));
        }
        url
    }
}
