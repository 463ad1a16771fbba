//! Calls to Stripe: a Checkout session for a payment, and a payment with a saved method. Each has an idempotency key,
//! so a repeat starts no second payment. A response of Stripe credits nothing: money is booked only from signed events.
//! Source: docs.stripe.com/api (checkout/sessions, payment_intents, idempotent_requests).

use crate::domain::{ids::OrgId, money::NanoUsd, secret::Secret};
use reqwest::{Client, Url};
use serde::Deserialize;
use std::time::Duration;

/// The API version of the members that are read here.
const VERSION: &str = "2025-03-31.basil";
/// Longest time of one call.
const CALL_MAX: Duration = Duration::from_secs(20);
/// Nano-USD in a cent.
const NANO_PER_CENT: i64 = 10_000_000;

/// The address of the payment API.
#[derive(Clone)]
pub struct Stripe {
    client: Client,
    base_url: Url,
    secret_key: Secret,
}

/// Why a payment was not started.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// The card was declined; the provider's own code.
    #[error("the payment was declined: {0}")]
    Declined(String),
    /// Stripe refused the call or did not answer.
    #[error("the payment provider did not take the call: {0}")]
    Failed(String),
}

/// A page for a payment.
#[derive(Clone, Debug, Deserialize)]
pub struct CheckoutPage {
    pub id: String,
    pub url: String,
}

/// A payment before the person has confirmed it.
#[derive(Clone, Debug)]
pub struct Checkout<'a> {
    pub organization: OrgId,
    pub amount: NanoUsd,
    /// A customer that Stripe already has.
    pub customer: Option<&'a str>,
    /// Whether the payment method may be charged again.
    pub saves_method: bool,
    /// Where the browser is redirected afterwards.
    pub return_url: &'a str,
    pub idempotency_key: &'a str,
}

/// A payment with a saved method.
#[derive(Clone, Debug)]
pub struct OffSession<'a> {
    pub organization: OrgId,
    pub amount: NanoUsd,
    pub customer: &'a str,
    pub payment_method: &'a str,
    pub idempotency_key: &'a str,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorObject,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorObject {
    r#type: String,
    code: Option<String>,
    decline_code: Option<String>,
}

impl Stripe {
    /// It has its own client, because calls are rare.
    pub fn new(base_url: Url, secret_key: Secret) -> Result<Stripe, reqwest::Error> {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Stripe { client, base_url, secret_key })
    }

    /// Creates the page for a payment.
    pub async fn create_checkout(&self, checkout: &Checkout<'_>) -> Result<CheckoutPage, StripeError> {
        let organization = checkout.organization.to_string();
        let cents = cents(checkout.amount);
        let mut form = vec![
            ("mode", "payment"),
            ("line_items[0][quantity]", "1"),
            ("line_items[0][price_data][currency]", "usd"),
            ("line_items[0][price_data][unit_amount]", cents.as_str()),
            ("line_items[0][price_data][product_data][name]", "Prepaid credit"),
            ("client_reference_id", organization.as_str()),
            ("metadata[kairosroute_organization]", organization.as_str()),
            ("payment_intent_data[metadata][kairosroute_organization]", organization.as_str()),
            ("success_url", checkout.return_url),
            ("cancel_url", checkout.return_url),
        ];
        match checkout.customer {
            Some(customer) => form.push(("customer", customer)),
            None => form.push(("customer_creation", "always")),
        }
        if checkout.saves_method {
            form.push(("payment_intent_data[setup_future_usage]", "off_session"));
        }
        let answer = self.post("v1/checkout/sessions", &form, checkout.idempotency_key).await?;
        serde_json::from_slice(&answer).map_err(|error| StripeError::Failed(error.to_string()))
    }

    /// Starts a payment with a saved method.
    pub async fn charge_off_session(&self, payment: &OffSession<'_>) -> Result<(), StripeError> {
        let organization = payment.organization.to_string();
        let cents = cents(payment.amount);
        let form = [
            ("amount", cents.as_str()),
            ("currency", "usd"),
            ("customer", payment.customer),
            ("payment_method", payment.payment_method),
            ("off_session", "true"),
            ("confirm", "true"),
            ("description", "Prepaid credit, automatic top-up"),
            ("metadata[kairosroute_organization]", organization.as_str()),
        ];
        self.post("v1/payment_intents", &form, payment.idempotency_key).await.map(|_| ())
    }

    async fn post(
        &self,
        path: &str,
        form: &[(&str, &str)],
        idempotency_key: &str,
    ) -> Result<Vec<u8>, StripeError> {
        let failed = |error: reqwest::Error| StripeError::Failed(error.without_url().to_string());
        let url = format!("{}/{path}", self.base_url.as_str().trim_end_matches('/'));
        let body = form
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect::<Vec<_>>()
            .join("&");
        let response = self
            .client
            .post(url)
            .bearer_auth(self.secret_key.expose())
            .header("stripe-version", VERSION)
            .header("idempotency-key", idempotency_key)
            .header("content-type", "application/x-www-form-urlencoded")
            .timeout(CALL_MAX)
            .body(body)
            .send()
            .await
            .map_err(failed)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(failed)?;
        if status.is_success() {
            return Ok(bytes.to_vec());
        }
        let error = serde_json::from_slice::<ErrorBody>(&bytes).map(|body| body.error).unwrap_or_default();
        let code = error.decline_code.or(error.code).unwrap_or_else(|| error.r#type.clone());
        Err(match error.r#type.as_str() {
            "card_error" => StripeError::Declined(code),
            _ => StripeError::Failed(format!("status {status}, {code}")),
        })
    }
}

/// Whole cents, as digits.
fn cents(amount: NanoUsd) -> String {
    (amount.0 / NANO_PER_CENT).to_string()
}

/// Whether an amount is a whole number of cents.
pub fn is_whole_cents(amount: NanoUsd) -> bool {
    amount.0 % NANO_PER_CENT == 0
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
