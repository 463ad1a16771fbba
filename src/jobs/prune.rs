//! Removes what has ended and is kept no longer: sessions, invitations, revoked API keys, receipts of refused requests,
//! answers to idempotent requests, alerts, counts of sign-ups, states of rate limits. In small batches, so that nobody
//! waits for a lock. Tables that only grow are dropped by partitions instead, see `jobs::books`.

use crate::{
    config::Retention,
    gateway::Gateway,
    store::{
        StoreError, account_tokens, alerts, api_keys, idempotency, instances, members, organizations,
        payments, rate_pools, receipts, sessions, throttles,
    },
};
use std::time::Duration;
use time::OffsetDateTime;

/// Rows of one table that one statement removes.
const BATCH_ROWS_MAX: i64 = 1_000;
/// Statements for one table in one run; the next run goes on.
const BATCHES_MAX: u32 = 20;
/// How long an event waits for its payment: far longer than any is repeated.
const PAYMENT_EVENTS: Duration = Duration::from_secs(90 * 86_400);
/// How long counts of sign-ups are kept: they are asked for on their own day.
const SIGNUPS: Duration = Duration::from_secs(2 * 86_400);

/// How long the state of a rate limit is kept after its last use; it counts for a minute.
const RATES: Duration = Duration::from_secs(3_600);
/// The same of throttled attempts; longer than any bucket takes to fill up again.
const THROTTLES: Duration = Duration::from_secs(2 * 3_600);

/// What has ended before which time goes.
#[derive(Clone, Copy)]
enum Table {
    Sessions,
    Invitations,
    ApiKeys,
    Refusals,
    Alerts,
    Signups,
    Rates,
    Throttles,
    /// Payment events whose payment never came: of another product with the same account at the payment provider.
    PaymentEvents,
    /// Links that were sent by e-mail.
    AccountTokens,
    /// Answers to idempotent requests, which say themselves when they end.
    Idempotency,
}

/// One run over every table.
pub async fn prune(gateway: &Gateway) -> Result<(), StoreError> {
    let mut transaction = gateway.db.begin().await?;
    instances::prune(&mut transaction).await?;
    transaction.commit().await?;
    let Retention { refusals, ended, .. } = gateway.settings.retention;
    for (table, kept) in [
        (Table::Refusals, refusals),
        (Table::Sessions, ended),
        (Table::Invitations, ended),
        (Table::ApiKeys, ended),
        (Table::Alerts, ended),
        (Table::Signups, SIGNUPS),
        (Table::Rates, RATES),
        (Table::Throttles, THROTTLES),
        (Table::PaymentEvents, PAYMENT_EVENTS),
        (Table::AccountTokens, Duration::ZERO),
        (Table::Idempotency, Duration::ZERO),
    ] {
        let before = gateway.ambient.now() - kept;
        for _ in 0..BATCHES_MAX {
            if remove(gateway, table, before).await? < BATCH_ROWS_MAX.unsigned_abs() {
                break;
            }
        }
    }
    Ok(())
}

/// Removes one batch and returns how many rows there were.
async fn remove(gateway: &Gateway, table: Table, before: OffsetDateTime) -> Result<u64, StoreError> {
    let mut transaction = gateway.db.begin().await?;
    let connection = &mut transaction;
    let removed = match table {
        Table::AccountTokens => account_tokens::prune(connection, before, BATCH_ROWS_MAX).await,
        Table::Sessions => sessions::prune(connection, before, BATCH_ROWS_MAX).await,
        Table::Invitations => members::prune_invitations(connection, before, BATCH_ROWS_MAX).await,
        Table::ApiKeys => api_keys::prune(connection, before, BATCH_ROWS_MAX).await,
        Table::Refusals => receipts::prune_refused(connection, before, BATCH_ROWS_MAX).await,
        Table::Alerts => alerts::prune(connection, before, BATCH_ROWS_MAX).await,
        Table::PaymentEvents => payments::prune_pending(connection, before, BATCH_ROWS_MAX).await,
        Table::Idempotency => idempotency::prune(connection, before, BATCH_ROWS_MAX).await,
        Table::Throttles => throttles::prune(connection, before, BATCH_ROWS_MAX).await,
        Table::Rates => rate_pools::prune(connection, before, BATCH_ROWS_MAX).await,
        Table::Signups => organizations::prune_signups(connection, before.date(), BATCH_ROWS_MAX).await,
    };
    let removed = removed?;
    transaction.commit().await?;
    Ok(removed)
}
