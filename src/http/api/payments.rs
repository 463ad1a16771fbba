//! The purchase of credit: a page of the payment provider, automatic top-up, and the provider's signed events. Off
//! unless configured. It is not part of the path of an inference request.

use crate::{
    accounts::Accounts,
    billing::payments::{self, Payments},
    books::stripe::{self, EventError},
    domain::{ambient::Ambient, money::NanoUsd},
    http::{
        error::{ApiError, Code},
        extract::Call,
    },
    providers::stripe::{Checkout, StripeError, is_whole_cents},
    store::{
        Db, StoreError,
        audit_log::{self, AuditEntry},
        payments::{self as rows, AutoTopup},
        sessions::Session,
    },
};
use actix_web::{HttpResponse, http::StatusCode};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::sync::Arc;

/// Largest event; Stripe's are a few kilobytes.
const EVENT_BYTES_MAX: usize = 256 * 1024;

fn payments_of(call: &Call) -> Result<Arc<Payments>, ApiError> {
    call.state::<Accounts>()?.rules().payments.clone().ok_or_else(|| {
        let message = "Credit cannot be bought here: the operator of this installation gives it";
        ApiError::new(Code::PermissionDenied, message)
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CheckoutBody {
    amount_usd: Box<RawValue>,
    /// Store the payment method for automatic top-up.
    #[serde(default)]
    save_payment_method: bool,
}

/// A payment within the bounds, in whole cents.
fn amount(digits: &RawValue, payments: &Payments, param: &'static str) -> Result<NanoUsd, ApiError> {
    let amount = NanoUsd::parse(digits.get().trim_matches('"')).ok();
    let within = |amount: &NanoUsd| {
        *amount >= payments.payment_min && *amount <= payments.payment_max && is_whole_cents(*amount)
    };
    amount.filter(within).ok_or_else(|| {
        let (min, max) = (payments.payment_min, payments.payment_max);
        ApiError::invalid(param, format!("`{param}` must be {min} to {max} USD, in whole cents"))
    })
}

/// `POST /api/billing/checkout {amountUsd, savePaymentMethod}`: the page for a payment. Credit is added after the
/// payment.
pub async fn create_checkout(mut call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let payments = payments_of(&call)?;
    let (ambient, db) = (call.state::<Ambient>()?.get_ref().clone(), call.state::<Db>()?.get_ref().clone());
    let body: CheckoutBody = call.json().await?;
    let amount = amount(&body.amount_usd, &payments, "amountUsd")?;
    let reading = db.clone();
    let known: AutoTopup = db
        .run::<_, StoreError, _>(async move {
            rows::get_auto_topup(&mut *reading.acquire().await?, session.scope).await
        })
        .await?;
    let key = format!("checkout-{}", ambient.uuid());
    let organization = session.scope.org_id();
    let return_url = format!("{}/o/{organization}/billing", payments.public_url);
    let checkout = Checkout {
        organization,
        amount,
        customer: known.customer.as_deref(),
        saves_method: body.save_payment_method,
        return_url: &return_url,
        idempotency_key: &key,
    };
    let page = payments.stripe.create_checkout(&checkout).await.map_err(|error| match error {
        StripeError::Declined(_) => ApiError::new(Code::InvalidRequest, "The payment was declined"),
        StripeError::Failed(_) => ApiError::unavailable(error),
    })?;
    let (actor, id) = (session.user_id.to_string(), page.id.clone());
    let writing = db.clone();
    db.run::<_, StoreError, _>(async move {
        let mut transaction = writing.begin().await?;
        let line =
            AuditEntry { org: Some(organization), actor: &actor, action: "payment.begin", subject: &id };
        let changes = json!({ "amountUsd": [null, amount.to_string()] });
        audit_log::insert_with(&mut transaction, &ambient, &line, Some(&changes)).await?;
        transaction.commit().await
    })
    .await?;
    Ok(HttpResponse::build(StatusCode::CREATED).json(json!({ "url": page.url, "id": page.id })))
}

/// `GET /api/billing/auto-topup`.
pub async fn get_auto_topup(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    payments_of(&call)?;
    let db = call.state::<Db>()?.get_ref().clone();
    let reading = db.clone();
    let topup = db.run::<_, StoreError, _>(async move {
        rows::get_auto_topup(&mut *reading.acquire().await?, session.scope).await
    });
    Ok(HttpResponse::Ok().json(view(&topup.await?)))
}

fn view(topup: &AutoTopup) -> serde_json::Value {
    json!({
        "enabled": topup.enabled,
        "thresholdUsd": topup.threshold.to_string(),
        "amountUsd": topup.amount.to_string(),
        "hasPaymentMethod": topup.payment_method.is_some(),
        "failures": topup.failures,
        "lastError": topup.last_error,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AutoTopupBody {
    enabled: bool,
    threshold_usd: Box<RawValue>,
    amount_usd: Box<RawValue>,
}

/// `PUT /api/billing/auto-topup {enabled, thresholdUsd, amountUsd}`: pays with the saved method when the available credit
/// falls below the threshold.
pub async fn set_auto_topup(mut call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let payments = payments_of(&call)?;
    let (ambient, db) = (call.state::<Ambient>()?.get_ref().clone(), call.state::<Db>()?.get_ref().clone());
    let body: AutoTopupBody = call.json().await?;
    let amount = amount(&body.amount_usd, &payments, "amountUsd")?;
    let threshold = NanoUsd::parse(body.threshold_usd.get().trim_matches('"')).ok();
    let threshold = threshold.filter(|threshold| (NanoUsd::ZERO..=payments.payment_max).contains(threshold));
    let threshold = threshold.ok_or_else(|| {
        let max = payments.payment_max;
        ApiError::invalid("thresholdUsd", format!("`thresholdUsd` must be 0 to {max} USD"))
    })?;
    let writing = db.clone();
    let changed = db.run::<_, StoreError, _>(async move {
        let mut transaction = writing.begin().await?;
        let before = rows::get_auto_topup(&mut transaction, session.scope).await?;
        if body.enabled && before.payment_method.is_none() {
            return Ok(None);
        }
        rows::set_auto_topup(&mut transaction, session.scope, body.enabled, threshold, amount).await?;
        let after = rows::get_auto_topup(&mut transaction, session.scope).await?;
        let (actor, subject) = (session.user_id.to_string(), session.scope.org_id().to_string());
        let line = AuditEntry {
            org: Some(session.scope.org_id()),
            actor: &actor,
            action: "auto_topup.change",
            subject: &subject,
        };
        let changes = json!({
            "enabled": [before.enabled, after.enabled],
            "thresholdUsd": [before.threshold.to_string(), after.threshold.to_string()],
            "amountUsd": [before.amount.to_string(), after.amount.to_string()],
        });
        audit_log::insert_with(&mut transaction, &ambient, &line, Some(&changes)).await?;
        transaction.commit().await?;
        Ok(Some(after))
    });
    match changed.await? {
        Some(topup) => Ok(HttpResponse::Ok().json(view(&topup))),
        None => {
            let message = "No payment method is saved: pay once with `savePaymentMethod`";
            Err(ApiError::new(Code::Conflict, message).param("enabled"))
        }
    }
}

/// `POST /webhooks/stripe`: a signed event. A repeat changes nothing.
pub async fn receive_event(mut call: Call) -> Result<HttpResponse, ApiError> {
    let payments = payments_of(&call).map_err(|_| ApiError::not_found("page"))?;
    let (ambient, db) = (call.state::<Ambient>()?.get_ref().clone(), call.state::<Db>()?.get_ref().clone());
    let signature = call.header("stripe-signature").unwrap_or_default().to_owned();
    let body = call.bytes(EVENT_BYTES_MAX).await?;
    let secrets: Vec<&str> = payments.webhook_secrets.iter().map(|secret| secret.expose()).collect();
    stripe::verify(&signature, &body, &secrets, ambient.now().unix_timestamp())?;
    let event = stripe::read(&body)?;
    let writing = db.clone();
    db.run::<_, StoreError, _>(async move {
        let mut transaction = writing.begin().await?;
        payments::apply(&mut transaction, &ambient, &event).await?;
        transaction.commit().await
    })
    .await?;
    Ok(HttpResponse::Ok().json(json!({ "received": true })))
}

impl From<EventError> for ApiError {
    fn from(error: EventError) -> Self {
        Self::new(Code::InvalidRequest, error.to_string()).retry_is_useless()
    }
}
