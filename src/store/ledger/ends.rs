//! How holds ended, and corrections of a recorded end: the difference is a separate entry.

use super::Bill;
use crate::{
    domain::{
        ids::{EntryId, HoldId},
        money::NanoUsd,
    },
    store::{OrgScope, StoreError},
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// The recorded end of a hold; `None` while it is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HoldEnd {
    pub state: EndState,
    pub cost: NanoUsd,
    pub charge: NanoUsd,
}

/// How a hold ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndState {
    Settled,
    Voided,
    /// Its process was gone; the amount of the last checkpoint was charged.
    Expired,
}

/// The recorded state of a hold, read in a separate statement so that it sees everything that was committed before.
/// Outer `None`: no such hold. Inner `None`: open.
pub async fn get_end(
    connection: &mut PgConnection,
    scope: OrgScope,
    hold: HoldId,
) -> Result<Option<Option<HoldEnd>>, StoreError> {
    let row = sqlx::query!(
        "SELECT state, cost, charge FROM hold WHERE org_id = $1 AND id = $2",
        scope.uuid(),
        hold.0
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let state = match row.state.as_str() {
        "open" => return Ok(Some(None)),
        "settled" => EndState::Settled,
        "voided" => EndState::Voided,
        "expired" => EndState::Expired,
        other => {
            return Err(StoreError::Corrupt {
                table: "hold",
                column: "state",
                row: hold.to_string(),
                reason: other.to_owned(),
            });
        }
    };
    let (cost, charge) = (NanoUsd(row.cost.unwrap_or(0)), NanoUsd(row.charge.unwrap_or(0)));
    Ok(Some(Some(HoldEnd { state, cost, charge })))
}

/// Why an end is corrected. A later kind replaces an earlier one, and never the other way round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Revision {
    /// The process that served was considered gone, and returned with the real charge.
    Late = 1,
    /// The answer was not delivered, which became known only after its charge had been sent.
    LastWord = 2,
}

/// Replaces the recorded end of a hold by `bill` and posts the difference, in one statement. `false`: the end may not
/// be corrected, or a correction of this kind or a later one is already recorded. `Contention`: try again.
pub async fn correct(
    connection: &mut PgConnection,
    (scope, hold): (OrgScope, HoldId),
    bill: Bill,
    revision: Revision,
    entry_id: EntryId,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        r#"WITH locked AS MATERIALIZED (
               SELECT org_id, budgets_set FROM credit_account WHERE org_id = $1 FOR UPDATE
           ), account AS MATERIALIZED (
               SELECT l.org_id FROM locked l
               WHERE l.budgets_set = (SELECT a.budgets_set FROM credit_account a WHERE a.org_id = l.org_id)
           ), before AS MATERIALIZED (
               SELECT h.id, h.cost, h.charge FROM hold h JOIN account a ON a.org_id = h.org_id
               WHERE h.org_id = $1 AND h.id = $2 AND h.state IN ('settled', 'expired') AND h.revision < $3
               FOR UPDATE OF h
           ), done AS (
               UPDATE hold h SET cost = $4, charge = $5, revision = $3
               FROM before b WHERE h.org_id = $1 AND h.id = b.id
               RETURNING h.org_id, h.id, h.request_id, b.cost AS cost_before, b.charge AS charge_before, h.api_key_id,
                         h.counted, COALESCE(h.budgeted_at, h.created_at) AS budgeted_at
           ), summed AS (
               UPDATE credit_account c SET posted = c.posted + d.charge_before - $5
               FROM done d WHERE c.org_id = d.org_id
           ), line AS MATERIALIZED (
               SELECT l.org_id, l.subject_id, l.period_start FROM budget l
               WHERE (l.org_id, l.subject_id) IN (SELECT org_id, api_key_id FROM done UNION SELECT org_id, org_id FROM done)
               ORDER BY l.org_id, l.subject_id FOR UPDATE
           ), budgeting AS (
               UPDATE budget l SET spent = l.spent + $5 - d.charge_before
               FROM line k JOIN done d ON d.org_id = k.org_id AND d.budgeted_at >= k.period_start
                   AND CASE WHEN k.subject_id = k.org_id THEN d.counted & 2 = 2
                            ELSE d.api_key_id = k.subject_id AND d.counted & 1 = 1 END
               WHERE l.org_id = k.org_id AND l.subject_id = k.subject_id
           ), posting AS (
               INSERT INTO entry (org_id, id, kind, debit_account, credit_account, amount, cost, margin,
                                  corrects_hold_id, request_id, note, created_at)
               SELECT org_id, $6, CASE WHEN $5 > charge_before THEN 'charge' ELSE 'refund' END,
                      CASE WHEN $5 > charge_before THEN 'customer' ELSE 'revenue' END,
                      CASE WHEN $5 > charge_before THEN 'revenue' ELSE 'customer' END,
                      abs($5 - charge_before), abs($4 - cost_before),
                      abs(($5 - $4) - (charge_before - cost_before)), id, request_id, $8, $7
               FROM done WHERE charge_before <> $5
           )
           SELECT d.id AS "id?" FROM account a LEFT JOIN done d ON d.org_id = a.org_id"#,
        scope.uuid(),
        hold.0,
        revision as i16,
        bill.cost().0,
        bill.charge().0,
        entry_id.0,
        now,
        match revision {
            Revision::Late => "the process that served was taken for gone",
            Revision::LastWord => "the answer was not delivered",
        },
    )
    .fetch_optional(connection)
    .await?;
    // No account: a budget was set while this statement waited for the lock, and it is not in its snapshot.
    done.map(|row| row.id.is_some()).ok_or(StoreError::Contention)
}

/// Those of these organizations whose account another transaction has locked now.
pub async fn list_locked(
    connection: &mut PgConnection,
    scopes: &[OrgScope],
) -> Result<Vec<OrgScope>, StoreError> {
    let ids: Vec<Uuid> = scopes.iter().map(|scope| scope.uuid()).collect();
    let locked = sqlx::query_scalar!(
        r#"WITH free AS MATERIALIZED (
               SELECT org_id FROM credit_account WHERE org_id = ANY($1) FOR UPDATE SKIP LOCKED
           )
           SELECT org_id FROM credit_account
           WHERE org_id = ANY($1) AND org_id NOT IN (SELECT org_id FROM free)"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    Ok(scopes.iter().copied().filter(|scope| locked.contains(&scope.uuid())).collect())
}
