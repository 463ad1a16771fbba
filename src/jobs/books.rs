//! What keeps the books readable: sums of usage, columns of older receipts, the expiry of promotional credit, closed
//! months, partitions ahead of time and the end of those whose time is over. Each is a bounded step that any process may
//! take; the database keeps two from doing the same at once.

use crate::{
    billing::{credit, statements},
    config::Retention,
    gateway::Gateway,
    store::{
        Db, Purpose, StoreError,
        partitions::{self, Partitioned},
        promotions, receipts, rollups, zone_days,
    },
};
use std::time::Duration;

/// Notes of changed steps that one transaction works on, and transactions in one run.
const NOTES_MAX: i64 = 2_000;
const ROLL_UPS_MAX: u32 = 50;
/// Days of a time zone that one transaction sums, and transactions in one run.
const ZONE_DAYS_MAX: i32 = 31;
const ZONE_SUMS_MAX: u32 = 50;
/// Receipts whose columns one transaction fills in, and transactions in one run.
const FILLED_IN_MAX: i64 = 500;
const FILL_INS_MAX: u32 = 20;
/// Organizations whose lots of promotional credit are looked at together.
const LOTS_MAX: i64 = 200;
/// How far ahead partitions are made.
const AHEAD: Duration = Duration::from_secs(92 * 86_400);
/// Longest statement of the database for sums.
const SUM_TIME_MAX: Duration = Duration::from_secs(120);

/// Sums usage steps that are over, and days of zones that reports want, and fills in the columns of receipts that an older release wrote.
pub async fn sum(gateway: &Gateway) -> Result<(), StoreError> {
    let db = gateway.db.with_purpose(Purpose::Reports);
    for _ in 0..ROLL_UPS_MAX {
        let notes = usize::try_from(NOTES_MAX).unwrap_or(usize::MAX);
        if roll_up(&db).await?.is_none_or(|done| done.notes < notes) {
            break;
        }
    }
    for _ in 0..ZONE_SUMS_MAX {
        let mut transaction = db.begin_with_limit(SUM_TIME_MAX).await?;
        let has_more = zone_days::sum_next(&mut transaction, ZONE_DAYS_MAX).await?;
        transaction.commit().await?;
        if !has_more {
            break;
        }
    }
    for _ in 0..FILL_INS_MAX {
        let mut transaction = db.begin().await?;
        let filled = receipts::fill_in(&mut transaction, FILLED_IN_MAX).await?;
        transaction.commit().await?;
        if i64::try_from(filled).is_ok_and(|filled| filled < FILLED_IN_MAX) {
            break;
        }
    }
    Ok(())
}

async fn roll_up(db: &Db) -> Result<Option<rollups::RolledUp>, StoreError> {
    let mut transaction = db.begin_with_limit(SUM_TIME_MAX).await?;
    let done = rollups::roll_up(&mut transaction, NOTES_MAX).await?;
    transaction.commit().await?;
    Ok(done)
}

/// Expires promotional credit, closes months, makes partitions ahead and drops those whose time is over.
pub async fn keep(gateway: &Gateway) -> Result<(), StoreError> {
    expire_promotions(gateway).await?;
    let db = gateway.db.with_purpose(Purpose::Reports);
    let now = gateway.ambient.now();
    statements::close_due(&db, now).await?;
    for table in [Partitioned::Receipts, Partitioned::Usage, Partitioned::AuditLog] {
        let mut transaction = gateway.db.begin().await?;
        partitions::make(&mut transaction, table, now + AHEAD).await?;
        transaction.commit().await?;
    }
    let Retention { receipts, usage, audit_log, .. } = gateway.settings.retention;
    for (table, kept) in [
        (Partitioned::Receipts, receipts),
        (Partitioned::Usage, usage),
        (Partitioned::AuditLog, Some(audit_log)),
    ] {
        let Some(kept) = kept else { continue };
        let before = now - kept;
        let mut transaction = gateway.db.begin().await?;
        // Rows whose sums are not kept yet must stay.
        let must_wait = table == Partitioned::Usage && rollups::is_behind(&mut transaction, before).await?;
        if !must_wait {
            partitions::drop_before(&mut transaction, table, before).await?;
        }
        transaction.commit().await?;
    }
    Ok(())
}

async fn expire_promotions(gateway: &Gateway) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let mut transaction = gateway.db.begin().await?;
        let due = promotions::list_due(&mut transaction, after, LOTS_MAX).await?;
        transaction.commit().await?;
        let Some(last) = due.last() else { return Ok(()) };
        after = Some(last.org_id());
        for scope in due {
            let mut transaction = gateway.db.begin().await?;
            credit::expire(&mut transaction, &gateway.ambient, scope).await?;
            transaction.commit().await?;
        }
    }
}
