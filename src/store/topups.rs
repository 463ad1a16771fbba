//! Credit that comes in: grants by the operator and payments, each external event once. Moves money only
//! together with its entry, in one statement.

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{EntryId, OrgId},
    money::NanoUsd,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// Where the credit comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreditKind {
    /// Given by the operator.
    Grant,
    /// Paid by the customer.
    Topup,
}

impl CreditKind {
    fn as_str(self) -> &'static str {
        match self {
            CreditKind::Grant => "grant",
            CreditKind::Topup => "topup",
        }
    }
}

/// Credit to add to an organization.
#[derive(Clone, Copy, Debug)]
pub struct Credit<'a> {
    pub kind: CreditKind,
    /// More than zero.
    pub amount: NanoUsd,
    /// The payment's own identifier; the same one credits once, for any organization.
    pub external_id: Option<&'a str>,
    pub note: &'a str,
    pub entry_id: EntryId,
    pub now: OffsetDateTime,
}

/// What became of a credit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreditOutcome {
    Posted,
    /// This event was credited before, to this organization and with this amount; nothing moved.
    Repeat,
    /// This event was credited before with another amount or to another organization; nothing moved.
    Conflict {
        org_id: OrgId,
        amount: NanoUsd,
    },
    /// The organization has no credit account; nothing moved.
    NoAccount,
    /// The balance would be above [`BALANCE_MAX`]; nothing moved.
    TooMuch,
}

/// The most an account may hold: far above any payment, and far enough below what the column can hold that no sum of
/// the books overflows.
pub const BALANCE_MAX: NanoUsd = NanoUsd(1_000_000_000_000_000_000);

/// Adds credit, once per external identifier.
pub async fn grant(
    connection: &mut PgConnection,
    scope: OrgScope,
    credit: &Credit<'_>,
) -> Result<CreditOutcome, StoreError> {
    let found = sqlx::query!(
        r#"WITH account AS MATERIALIZED (
               SELECT org_id, posted <= $8 - $3::bigint AS fits FROM credit_account WHERE org_id = $1 FOR UPDATE
           ), event AS (
               INSERT INTO topup (external_id, org_id, amount, entry_id, created_at)
               SELECT $2, org_id, $3, $4, $5 FROM account WHERE $2::text IS NOT NULL AND fits
               ON CONFLICT (external_id) DO NOTHING
               RETURNING org_id
           ), fresh AS (
               SELECT org_id FROM account WHERE $2::text IS NULL AND fits UNION ALL SELECT org_id FROM event
           ), posted AS (
               UPDATE credit_account c SET posted = c.posted + $3 FROM fresh f WHERE c.org_id = f.org_id
           ), posting AS (
               INSERT INTO entry (org_id, id, kind, debit_account, credit_account, amount, note, created_at)
               SELECT org_id, $4, $6, 'funding', 'customer', $3, $7, $5 FROM fresh
           )
           SELECT EXISTS (SELECT 1 FROM account) AS "account!", EXISTS (SELECT 1 FROM fresh) AS "fresh!",
                  EXISTS (SELECT 1 FROM account WHERE fits) AS "fits!""#,
        scope.uuid(),
        credit.external_id,
        credit.amount.0,
        credit.entry_id.0,
        credit.now,
        credit.kind.as_str(),
        credit.note,
        BALANCE_MAX.0,
    )
    .fetch_one(&mut *connection)
    .await?;
    match (found.account, found.fresh, credit.external_id) {
        (false, ..) => Ok(CreditOutcome::NoAccount),
        (true, true, _) => Ok(CreditOutcome::Posted),
        (true, false, external_id) => {
            // In a statement of its own: the one above cannot see an event that was committed while it waited.
            let first = sqlx::query!("SELECT org_id, amount FROM topup WHERE external_id = $1", external_id)
                .fetch_optional(connection)
                .await?;
            let Some(first) = first else {
                // The event is new, so that only the limit can have refused it.
                return if found.fits { Err(StoreError::Contention) } else { Ok(CreditOutcome::TooMuch) };
            };
            Ok(if first.org_id == scope.uuid() && first.amount == credit.amount.0 {
                CreditOutcome::Repeat
            } else {
                CreditOutcome::Conflict { org_id: OrgId(first.org_id), amount: NanoUsd(first.amount) }
            })
        }
    }
}
