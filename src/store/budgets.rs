//! Budgets and the rules of organizations. Every change of what counts for a budget locks the organization's credit
//! account first, so that changes of rules and flushes of the ledger are serialized.

use super::{OrgScope, StoreError, usage::first_id_at};
use crate::{
    domain::{
        money::NanoUsd,
        policy::{BudgetRule, OrganizationRules},
    },
    limits::{Period, PeriodKind},
};
use serde::de::DeserializeOwned;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// Maximum time between the creation of a hold and the time by which it counts.
const EARLY: time::Duration = time::Duration::hours(2);

/// A budget and its used amount in the period that was current at the last count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// An API key's id, or the organization's.
    pub subject: Uuid,
    pub rule: BudgetRule,
    pub period: Period,
    pub spent: NanoUsd,
    pub held: NanoUsd,
}

impl Budget {
    /// The used amount in the period that contains `now`.
    pub fn spent_in(&self, current: Period) -> NanoUsd {
        if current.starts_at > self.period.starts_at { NanoUsd::ZERO } else { self.spent }
    }
}

/// The rule in a row of `budget`; `None` without one.
pub(super) fn rule_of(
    amount: Option<i64>,
    period: Option<&str>,
    includes_own: Option<bool>,
) -> Option<BudgetRule> {
    // The column's check allows no other name.
    let period = PeriodKind::by_name(period?).unwrap_or(PeriodKind::Month);
    Some(BudgetRule { amount: NanoUsd(amount?), period, includes_own: includes_own.unwrap_or(false) })
}

/// Rules that are stored as one document. A document that cannot be read is an error: it must not count as no rule.
pub(super) fn read_rules<T: DeserializeOwned>(
    table: &'static str,
    row: &Uuid,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt {
        table,
        column: "rules",
        row: row.to_string(),
        reason: error.to_string(),
    })
}

pub(super) fn organization_rules_of(row: &Uuid, text: &str) -> Result<OrganizationRules, StoreError> {
    read_rules("organization", row, text)
}

/// The rules of an organization, locked until the transaction ends.
pub async fn lock_organization_rules(
    connection: &mut PgConnection,
    scope: OrgScope,
) -> Result<OrganizationRules, StoreError> {
    let text = sqlx::query_scalar!(
        r#"SELECT rules::text AS "rules!" FROM organization WHERE id = $1 FOR UPDATE"#,
        scope.uuid()
    );
    organization_rules_of(&scope.uuid(), &text.fetch_one(connection).await?)
}

pub async fn get_organization_rules(
    connection: &mut PgConnection,
    scope: OrgScope,
) -> Result<OrganizationRules, StoreError> {
    let text = sqlx::query_scalar!(
        r#"SELECT rules::text AS "rules!" FROM organization WHERE id = $1"#,
        scope.uuid()
    );
    organization_rules_of(&scope.uuid(), &text.fetch_one(connection).await?)
}

pub async fn set_organization_rules(
    connection: &mut PgConnection,
    scope: OrgScope,
    rules: &OrganizationRules,
) -> Result<(), StoreError> {
    let text = serde_json::to_string(rules).map_err(|error| StoreError::Refused(error.to_string()))?;
    sqlx::query!("UPDATE organization SET rules = $2::text::json WHERE id = $1", scope.uuid(), text)
        .execute(connection)
        .await?;
    Ok(())
}

/// Sets the budget of an API key or, with the organization's id, of the organization. The spent amount of the period is
/// counted from the holds, unless a budget for the same period already exists.
pub async fn set(
    connection: &mut PgConnection,
    scope: OrgScope,
    subject: Uuid,
    rule: &BudgetRule,
    period: Period,
) -> Result<(), StoreError> {
    sqlx::query!("UPDATE credit_account SET budgets_set = budgets_set + 1 WHERE org_id = $1", scope.uuid())
        .execute(&mut *connection)
        .await?;
    let kept = sqlx::query!(
        "UPDATE budget SET amount = $3, includes_own = $4
         WHERE org_id = $1 AND subject_id = $2 AND period = $5 AND period_start = $6",
        scope.uuid(),
        subject,
        rule.amount.0,
        rule.includes_own,
        rule.period.as_str(),
        period.starts_at,
    )
    .execute(&mut *connection)
    .await?;
    if kept.rows_affected() > 0 {
        return Ok(());
    }
    let bit: i16 = if subject == scope.uuid() { 2 } else { 1 };
    let from = first_id_at(period.starts_at - EARLY);
    sqlx::query!(
        "UPDATE hold SET counted = counted | $3
         WHERE org_id = $1 AND id >= $4 AND state = 'open' AND NOT own_key AND ($1 = $2::uuid OR api_key_id = $2)",
        scope.uuid(),
        subject,
        bit,
        from,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO budget (org_id, subject_id, amount, period, includes_own, period_start, period_end, spent, held)
         SELECT $1, $2, $5, $6, $7, $8, $9,
                COALESCE(sum(CASE WHEN state = 'open' THEN 0 ELSE COALESCE(spent, charge) END), 0)::bigint,
                COALESCE(sum(CASE WHEN state = 'open' THEN COALESCE(reserved, amount) ELSE 0 END), 0)::bigint
         FROM hold
         WHERE org_id = $1 AND id >= $4 AND COALESCE(budgeted_at, created_at) >= $8
           AND ($1 = $2::uuid OR api_key_id = $2) AND (NOT own_key OR counted & $3 = $3)
         ON CONFLICT (org_id, subject_id) DO UPDATE
         SET amount = excluded.amount, period = excluded.period, includes_own = excluded.includes_own,
             period_start = excluded.period_start, period_end = excluded.period_end, spent = excluded.spent,
             held = excluded.held",
        scope.uuid(),
        subject,
        bit,
        from,
        rule.amount.0,
        rule.period.as_str(),
        rule.includes_own,
        period.starts_at,
        period.ends_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes a budget; without one it changes nothing.
pub async fn clear(connection: &mut PgConnection, scope: OrgScope, subject: Uuid) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH account AS MATERIALIZED (SELECT org_id FROM credit_account WHERE org_id = $1 FOR UPDATE)
         DELETE FROM budget b USING account a WHERE b.org_id = a.org_id AND b.subject_id = $2",
        scope.uuid(),
        subject,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The budgets of an organization and its API keys; with a subject only that one.
pub async fn list(
    connection: &mut PgConnection,
    scope: OrgScope,
    subject: Option<Uuid>,
) -> Result<Vec<Budget>, StoreError> {
    let rows = sqlx::query!(
        "SELECT subject_id, amount, period, includes_own, period_start, period_end, spent, held FROM budget
         WHERE org_id = $1 AND ($2::uuid IS NULL OR subject_id = $2) ORDER BY subject_id",
        scope.uuid(),
        subject,
    )
    .fetch_all(connection)
    .await?;
    let budget = |subject, rule, starts_at: OffsetDateTime, ends_at, spent, held| Budget {
        subject,
        rule,
        period: Period { starts_at, ends_at },
        spent: NanoUsd(spent),
        held: NanoUsd(held),
    };
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let rule = rule_of(Some(row.amount), Some(&row.period), Some(row.includes_own))?;
            Some(budget(row.subject_id, rule, row.period_start, row.period_end, row.spent, row.held))
        })
        .collect())
}
