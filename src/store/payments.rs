//! Saved payment methods with automatic top-up, and payment events that came before their payment.

use super::{OrgScope, StoreError};
use crate::domain::{ids::OrgId, money::NanoUsd};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// An organization's automatic top-up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AutoTopup {
    pub customer: Option<String>,
    pub payment_method: Option<String>,
    pub enabled: bool,
    pub threshold: NanoUsd,
    pub amount: NanoUsd,
    pub failures: i16,
    pub last_error: Option<String>,
}

pub async fn get_auto_topup(connection: &mut PgConnection, scope: OrgScope) -> Result<AutoTopup, StoreError> {
    let row = sqlx::query!(
        "SELECT customer, payment_method, enabled, threshold, amount, failures, last_error
         FROM auto_topup WHERE org_id = $1",
        scope.uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map_or_else(AutoTopup::default, |row| AutoTopup {
        customer: row.customer,
        payment_method: row.payment_method,
        enabled: row.enabled,
        threshold: NanoUsd(row.threshold),
        amount: NanoUsd(row.amount),
        failures: row.failures,
        last_error: row.last_error,
    }))
}

/// Sets threshold and amount, and forgets earlier failures.
pub async fn set_auto_topup(
    connection: &mut PgConnection,
    scope: OrgScope,
    enabled: bool,
    threshold: NanoUsd,
    amount: NanoUsd,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO auto_topup (org_id, enabled, threshold, amount) VALUES ($1, $2, $3, $4)
         ON CONFLICT (org_id) DO UPDATE
         SET enabled = $2, threshold = $3, amount = $4, failures = 0, last_error = NULL, attempted_at = NULL",
        scope.uuid(),
        enabled,
        threshold.0,
        amount.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps the payment method that a payment was made with and that may be charged again.
pub async fn save_method(
    connection: &mut PgConnection,
    scope: OrgScope,
    customer: &str,
    payment_method: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO auto_topup (org_id, customer, payment_method) VALUES ($1, $2, $3)
         ON CONFLICT (org_id) DO UPDATE SET customer = $2, payment_method = $3",
        scope.uuid(),
        customer,
        payment_method,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An automatic payment to be begun.
#[derive(Clone, Debug)]
pub struct DueTopup {
    pub scope: OrgScope,
    pub customer: String,
    pub payment_method: String,
    pub amount: NanoUsd,
    pub attempted_at: OffsetDateTime,
}

/// Failures after which automatic top-up is switched off.
const FAILURES_MAX: i16 = 3;

/// Takes organizations whose available credit is below their threshold, at most `limit`; none again within ten minutes,
/// unless its payment is reported before.
pub async fn claim_due(connection: &mut PgConnection, limit: i64) -> Result<Vec<DueTopup>, StoreError> {
    let rows = sqlx::query!(
        r#"WITH due AS MATERIALIZED (
               SELECT a.org_id FROM auto_topup a JOIN credit_account c ON c.org_id = a.org_id
               JOIN organization o ON o.id = a.org_id AND o.suspended_at IS NULL AND o.deleted_at IS NULL
               WHERE a.enabled AND a.customer IS NOT NULL AND a.payment_method IS NOT NULL AND a.amount > 0
                 AND c.posted - c.held < a.threshold
                 AND (a.attempted_at IS NULL OR a.attempted_at < now() - interval '10 minutes')
               ORDER BY a.org_id LIMIT $1 FOR UPDATE OF a SKIP LOCKED
           )
           UPDATE auto_topup a SET attempted_at = now() FROM due d WHERE a.org_id = d.org_id
           RETURNING a.org_id, a.customer AS "customer!", a.payment_method AS "payment_method!", a.amount,
                     a.attempted_at AS "attempted_at!""#,
        limit
    )
    .fetch_all(connection)
    .await?;
    let due = rows.into_iter().map(|row| DueTopup {
        scope: OrgScope::of(OrgId(row.org_id)),
        customer: row.customer,
        payment_method: row.payment_method,
        amount: NanoUsd(row.amount),
        attempted_at: row.attempted_at,
    });
    Ok(due.collect())
}

/// Notes that a payment came: the next automatic one need not wait.
pub async fn note_paid(connection: &mut PgConnection, scope: OrgScope) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE auto_topup SET attempted_at = NULL, failures = 0, last_error = NULL WHERE org_id = $1",
        scope.uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that an automatic payment failed; after a few it is switched off. Returns whether it was.
pub async fn note_failed(
    connection: &mut PgConnection,
    scope: OrgScope,
    error: &str,
) -> Result<bool, StoreError> {
    let enabled = sqlx::query_scalar!(
        "UPDATE auto_topup SET failures = failures + 1, last_error = $2, enabled = enabled AND failures + 1 < $3::smallint
         WHERE org_id = $1 RETURNING enabled",
        scope.uuid(),
        error,
        FAILURES_MAX,
    )
    .fetch_optional(connection)
    .await?;
    Ok(enabled == Some(false))
}

/// An event about a payment that is not booked yet.
#[derive(Clone, Debug)]
pub struct PendingEvent {
    pub external_id: String,
    pub kind: String,
    pub amount: NanoUsd,
}

/// Keeps an event until its payment is booked; the same one once.
pub async fn keep_pending(
    connection: &mut PgConnection,
    payment: &str,
    event: &PendingEvent,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO payment_pending (external_id, payment, kind, amount, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
        event.external_id,
        payment,
        event.kind,
        event.amount.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Until the transaction ends, no other one works on events of this payment: an event about a payment that is just
/// being booked would otherwise wait for it for ever.
pub async fn lock_payment(connection: &mut PgConnection, payment: &str) -> Result<(), StoreError> {
    sqlx::query_scalar!(
        r#"SELECT 1 AS "locked!" FROM (SELECT pg_advisory_xact_lock(hashtextextended($1, 7241906356))) l"#,
        payment
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Removes events from before `before` whose payment never came, at most `rows_max`; returns how many.
pub async fn prune_pending(
    connection: &mut PgConnection,
    before: OffsetDateTime,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM payment_pending WHERE external_id IN (
             SELECT external_id FROM payment_pending WHERE created_at < $1 LIMIT $2)",
        before,
        rows_max,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected())
}

/// Takes the events that waited for a payment.
pub async fn take_pending(
    connection: &mut PgConnection,
    payment: &str,
) -> Result<Vec<PendingEvent>, StoreError> {
    let rows = sqlx::query!(
        "DELETE FROM payment_pending WHERE payment = $1 RETURNING external_id, kind, amount",
        payment
    )
    .fetch_all(connection)
    .await?;
    let events = rows.into_iter().map(|row| PendingEvent {
        external_id: row.external_id,
        kind: row.kind,
        amount: NanoUsd(row.amount),
    });
    Ok(events.collect())
}
