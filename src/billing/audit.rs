//! The invariants of the ledger, each checked against the rows themselves. Reads only; safe beside a running
//! gateway, since each check is one statement and so sees one moment. Empty result: the books balance.

use crate::store::{
    StoreError,
    audit::{self, DriftRow},
};
use sqlx::PgConnection;

/// One row that breaks an invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drift {
    /// The invariant, e.g. `posted_is_sum_of_entries`.
    pub check: &'static str,
    pub row: DriftRow,
}

/// Rows reported per check; more of them say nothing new.
const ROWS_MAX: i64 = 1_000;

/// Checks every invariant and returns what breaks one.
pub async fn audit(connection: &mut PgConnection) -> Result<Vec<Drift>, StoreError> {
    let mut drifts = Vec::new();
    let mut report = |check: &'static str, rows: Vec<DriftRow>| {
        drifts.extend(rows.into_iter().map(|row| Drift { check, row }));
    };
    report("posted_is_sum_of_entries", audit::list_posted_drift(connection, ROWS_MAX).await?);
    report("held_is_sum_of_open_holds", audit::list_held_drift(connection, ROWS_MAX).await?);
    report("budget_holds_what_is_open", audit::list_budget_drift(connection, ROWS_MAX).await?);
    report("hold_has_its_entry", audit::list_entry_missing(connection, ROWS_MAX).await?);
    report("charge_entry_has_its_hold", audit::list_entry_orphaned(connection, ROWS_MAX).await?);
    report("entry_splits_into_cost_and_margin", audit::list_entry_split(connection, ROWS_MAX).await?);
    report("entry_moves_the_right_way", audit::list_entry_sides(connection, ROWS_MAX).await?);
    report("charge_follows_the_formula", audit::list_formula_drift(connection, ROWS_MAX).await?);
    report("expired_at_its_checkpoint", audit::list_expired_drift(connection, ROWS_MAX).await?);
    report("void_charges_nothing", audit::list_void_charged(connection, ROWS_MAX).await?);
    report("no_hold_of_a_gone_instance", audit::list_unreaped(connection, ROWS_MAX).await?);
    report("topup_has_its_entry", audit::list_topup_drift(connection, ROWS_MAX).await?);
    report("topup_entry_has_its_event", audit::list_topup_entry_orphaned(connection, ROWS_MAX).await?);
    report("usage_charge_is_its_holds", audit::list_usage_charge_drift(connection, ROWS_MAX).await?);
    report("own_key_pays_no_entry", audit::list_byok_charged(connection, ROWS_MAX).await?);
    report("platform_usage_is_priced", audit::list_usage_unpriced(connection, ROWS_MAX).await?);
    report("platform_usage_has_its_hold", audit::list_usage_without_hold(connection, ROWS_MAX).await?);
    report("charge_has_its_usage", audit::list_charge_without_usage(connection, ROWS_MAX).await?);
    report("charge_has_its_receipt", audit::list_charge_without_receipt(connection, ROWS_MAX).await?);
    report("receipt_says_what_usage_says", audit::list_receipt_drift(connection, ROWS_MAX).await?);
    report("promotion_is_burned_and_expired", audit::list_promotion_drift(connection, ROWS_MAX).await?);
    report("promotion_entry_has_its_lot", audit::list_promotion_entry_orphaned(connection, ROWS_MAX).await?);
    report("statement_says_what_the_ledger_says", audit::list_statement_drift(connection, ROWS_MAX).await?);
    report("rollup_is_sum_of_usage", audit::list_rollup_drift(connection, ROWS_MAX).await?);
    report("day_is_sum_of_its_steps", audit::list_day_drift(connection, ROWS_MAX).await?);
    report("zone_day_is_sum_of_its_steps", audit::list_zone_day_drift(connection, ROWS_MAX).await?);
    report("receipt_columns_say_what_it_says", audit::list_receipt_column_drift(connection, ROWS_MAX).await?);
    Ok(drifts)
}
