//! Payments: the effect of a signed event on the ledger, and automatic top-up below a threshold. Amounts come only from
//! signed events. An event may arrive several times, late, and before the event that it refers to.

use super::credit::{self, NewEntry};
use crate::{
    books::{
        entry::EntryKind,
        stripe::{Event, Money, MoneyMovement},
    },
    domain::{ambient::Ambient, ids::OrgId, money::NanoUsd, secret::Secret},
    providers::stripe::{OffSession, Stripe, StripeError},
    store::{
        Db, OrgScope, StoreError, organizations,
        payments::{self, PendingEvent},
        postings::{self, PostingOutcome},
    },
};
use sqlx::PgConnection;

/// How credit is bought; `None` if it is not sold.
pub struct Payments {
    pub stripe: Stripe,
    /// Any of them may have signed an event.
    pub webhook_secrets: Vec<Secret>,
    /// Minimum and maximum of one payment.
    pub payment_min: NanoUsd,
    pub payment_max: NanoUsd,
    /// Where browsers reach the dashboard, without a slash at the end.
    pub public_url: String,
}

/// Automatic payments started in one step.
const TOPUPS_MAX: i64 = 50;

/// Books the payment of an event, in the caller's transaction.
pub async fn apply(
    connection: &mut PgConnection,
    ambient: &Ambient,
    event: &Event,
) -> Result<(), StoreError> {
    match event {
        Event::Money(movements) => {
            for money in movements {
                book(connection, ambient, money).await?;
            }
        }
        Event::Saved { organization, customer, payment_method } => {
            if let (Some(scope), Some(method)) = (find(connection, organization).await?, payment_method) {
                payments::save_method(connection, scope, customer, method).await?;
            }
        }
        Event::Declined { organization, reason } => {
            if let Some(scope) = find(connection, organization).await? {
                note_failed(connection, scope, reason).await?;
            }
        }
        Event::Ignored(why) => tracing::info!(reason = why, "a payment event moves nothing"),
    }
    Ok(())
}

async fn find(connection: &mut PgConnection, organization: &str) -> Result<Option<OrgScope>, StoreError> {
    match organization.parse::<OrgId>() {
        Ok(id) => organizations::find_scope(connection, id).await,
        Err(_) => Ok(None),
    }
}

async fn book(connection: &mut PgConnection, ambient: &Ambient, money: &Money) -> Result<(), StoreError> {
    let payment = format!("stripe:{}", money.payment_intent);
    payments::lock_payment(connection, &payment).await?;
    match money.movement {
        MoneyMovement::Paid => {
            let Some(scope) = find(connection, money.organization.as_deref().unwrap_or_default()).await?
            else {
                tracing::error!(payment.id = money.payment_intent, "a payment names no organization of ours");
                return Ok(());
            };
            if let Some((customer, method)) = &money.saved {
                payments::save_method(connection, scope, customer, method).await?;
            }
            let reason = format!("payment {}", money.payment_intent);
            post(connection, ambient, scope, EntryKind::Topup, money.amount, &payment, &reason).await?;
            payments::note_paid(connection, scope).await?;
            for event in payments::take_pending(connection, &payment).await? {
                let Some(kind) = EntryKind::by_name(&event.kind) else { continue };
                follow(connection, ambient, scope, kind, event.amount, &event.external_id).await?;
            }
        }
        MoneyMovement::Refunded | MoneyMovement::Disputed | MoneyMovement::DisputeReversed => {
            let kind = match money.movement {
                MoneyMovement::Refunded => EntryKind::PaymentRefund,
                MoneyMovement::Disputed => EntryKind::Dispute,
                _ => EntryKind::DisputeReversal,
            };
            match postings::find_event(connection, &payment).await? {
                Some(scope) => {
                    follow(connection, ambient, scope, kind, money.amount, &money.external_id).await?;
                }
                None => {
                    let event = PendingEvent {
                        external_id: money.external_id.clone(),
                        kind: kind.as_str().to_owned(),
                        amount: money.amount,
                    };
                    payments::keep_pending(connection, &payment, &event, ambient.now()).await?;
                }
            }
        }
    }
    Ok(())
}

/// Books a later event of a booked payment.
async fn follow(
    connection: &mut PgConnection,
    ambient: &Ambient,
    scope: OrgScope,
    kind: EntryKind,
    amount: NanoUsd,
    external_id: &str,
) -> Result<(), StoreError> {
    let signed = if kind == EntryKind::DisputeReversal { amount } else { NanoUsd(amount.0.saturating_neg()) };
    let reason = format!("{} of a payment", kind.as_str().replace('_', " "));
    post(connection, ambient, scope, kind, signed, external_id, &reason).await
}

async fn post(
    connection: &mut PgConnection,
    ambient: &Ambient,
    scope: OrgScope,
    kind: EntryKind,
    amount: NanoUsd,
    external_id: &str,
    reason: &str,
) -> Result<(), StoreError> {
    let entry =
        NewEntry { kind, amount, external_id: Some(external_id), reason, actor: "stripe", expires_at: None };
    let (_, outcome) = credit::post(connection, ambient, scope, &entry).await?;
    if !matches!(outcome, PostingOutcome::Posted | PostingOutcome::Repeat) {
        // Booked before with other figures, or impossible: never booked twice, and a person must check it.
        tracing::error!(org.id = %scope.org_id(), event.id = external_id, ?outcome, "a payment event was not booked");
    }
    Ok(())
}

async fn note_failed(connection: &mut PgConnection, scope: OrgScope, reason: &str) -> Result<(), StoreError> {
    if payments::note_failed(connection, scope, reason).await? {
        tracing::warn!(org.id = %scope.org_id(), reason, "automatic top-up was switched off");
    }
    Ok(())
}

/// Starts the automatic payments that are due; for the job.
pub async fn top_up_due(db: &Db, stripe: &Stripe) -> Result<usize, StoreError> {
    let mut transaction = db.begin().await?;
    let due = payments::claim_due(&mut transaction, TOPUPS_MAX).await?;
    transaction.commit().await?;
    for topup in &due {
        let organization = topup.scope.org_id();
        let key = format!("auto-topup-{organization}-{}", topup.attempted_at.unix_timestamp());
        let payment = OffSession {
            organization,
            amount: topup.amount,
            customer: &topup.customer,
            payment_method: &topup.payment_method,
            idempotency_key: &key,
        };
        match stripe.charge_off_session(&payment).await {
            Ok(()) => {}
            // The event about it arrives as well; it is counted once, there.
            Err(StripeError::Declined(reason)) => {
                tracing::warn!(org.id = %organization, reason, "an automatic top-up was declined");
            }
            Err(error @ StripeError::Failed(_)) => {
                tracing::error!(org.id = %organization, %error, "an automatic top-up was not begun");
            }
        }
    }
    Ok(due.len())
}
