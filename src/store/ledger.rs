//! The statements of the ledger. Each locks its credit accounts first, in the order of their ids, and updates each
//! account once with a sum, so that concurrent writers neither deadlock nor lose an update. This module decides nothing
//! and retries nothing; `billing::batch` does.

mod columns;
mod connection;
mod ends;
mod flush;

pub use columns::{BudgetOwner, Flush, FlushRead, FullBudget, HoldRead};
pub use connection::PLANS;
pub use ends::{EndState, HoldEnd, Revision, correct, get_end, list_locked};
pub use flush::flush;

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{ApiKeyId, EntryId, HoldId, InstanceId, RequestId},
    money::{self, Bps, MoneyError, NanoUsd},
};
use crate::limits::Period;
use sqlx::PgConnection;
use std::sync::Arc;
use time::OffsetDateTime;
use uuid::Uuid;

/// The cost of a request at the provider and the customer's charge. Created only by the charge formula.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bill {
    cost: NanoUsd,
    charge: NanoUsd,
}

impl Bill {
    /// No usage, no charge.
    pub const ZERO: Bill = Bill { cost: NanoUsd::ZERO, charge: NanoUsd::ZERO };

    /// `cost` with the margin that was frozen in the hold.
    pub fn of(cost: NanoUsd, margin: Bps) -> Result<Bill, MoneyError> {
        if cost < NanoUsd::ZERO {
            return Err(MoneyError::Overflow);
        }
        Ok(Bill { cost, charge: money::charge(cost, margin)? })
    }

    pub fn cost(self) -> NanoUsd {
        self.cost
    }

    pub fn charge(self) -> NanoUsd {
        self.charge
    }
}

/// Credit to set aside before a request's first attempt on a platform credential.
#[derive(Clone, Debug)]
pub struct HoldRequest {
    pub scope: OrgScope,
    /// Chosen by the caller: the same id twice is the same hold.
    pub id: HoldId,
    pub request_id: RequestId,
    pub turn: i16,
    pub api_key_id: ApiKeyId,
    /// The upper bound of the request's charge.
    pub want: NanoUsd,
    /// The minimum amount; equal to `want` if the client gave an output limit.
    pub floor: NanoUsd,
    pub margin: Bps,
    /// Version of the catalogue whose prices this request is billed at.
    pub price_version: Arc<str>,
    /// The target that is about to be called; as in usage rows.
    pub provider: &'static str,
    pub model: Arc<str>,
    pub kind: &'static str,
    /// The request uses the customer's own key: credit is not affected, only the budgets that count it.
    pub own_key: bool,
    pub budgets: HoldBudgets,
}

/// The current periods of the budgets that count a request; `None` if there is no such budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HoldBudgets {
    pub api_key: Option<Period>,
    pub organization: Option<Period>,
}

impl HoldBudgets {
    pub fn is_empty(self) -> bool {
        self.api_key.is_none() && self.organization.is_none()
    }
}

/// How a hold ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    Settled {
        bill: Bill,
        entry_id: EntryId,
    },
    /// Nothing is charged.
    Voided,
}

impl Resolution {
    pub fn bill(self) -> Bill {
        match self {
            Resolution::Settled { bill, .. } => bill,
            Resolution::Voided => Bill::ZERO,
        }
    }
}

/// The end of one hold.
#[derive(Clone, Copy, Debug)]
pub struct Settle {
    pub scope: OrgScope,
    pub hold: HoldId,
    pub resolution: Resolution,
    /// It replaces a settle of the same hold that is queued or recorded.
    pub revises: bool,
    /// For a hold for the customer's own key: the provider's cost, which counts only for budgets.
    pub spent_on_own_key: Option<NanoUsd>,
}

impl Settle {
    /// Charges `bill`, whatever the balance is.
    pub fn charge(scope: OrgScope, hold: HoldId, bill: Bill, entry_id: EntryId) -> Settle {
        Settle::of(scope, hold, Resolution::Settled { bill, entry_id })
    }

    /// Releases the hold and charges nothing.
    pub fn void(scope: OrgScope, hold: HoldId) -> Settle {
        Settle::of(scope, hold, Resolution::Voided)
    }

    /// Ends a hold for the customer's own key with this provider's cost.
    pub fn on_own_key(scope: OrgScope, hold: HoldId, cost: NanoUsd, entry_id: EntryId) -> Settle {
        let settle = Settle::charge(scope, hold, Bill::ZERO, entry_id);
        Settle { spent_on_own_key: Some(cost), ..settle }
    }

    fn of(scope: OrgScope, hold: HoldId, resolution: Resolution) -> Settle {
        Settle { scope, hold, resolution, revises: false, spent_on_own_key: None }
    }

    /// The same as a replacement of the hold's end.
    pub fn revising(self) -> Settle {
        Settle { revises: true, ..self }
    }
}

/// The amount that would be charged if the process died now.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub scope: OrgScope,
    pub hold: HoldId,
    pub bill: Bill,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub provider: &'static str,
    pub model: Arc<str>,
}

/// Creates the empty account of every organization. A second call changes nothing.
pub async fn open_account(connection: &mut PgConnection, scope: OrgScope) -> Result<(), StoreError> {
    sqlx::query!("INSERT INTO credit_account (org_id) VALUES ($1) ON CONFLICT DO NOTHING", scope.uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// Ensures that an abandoned hold has no effect: voids it if it was written, and takes its id if it was not, so that a
/// statement that is still on its way to the server can no longer write it.
pub async fn abandon(
    connection: &mut PgConnection,
    hold: &HoldRequest,
    instance: InstanceId,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH account AS MATERIALIZED (SELECT org_id FROM credit_account WHERE org_id = $1 FOR UPDATE)
         INSERT INTO hold (org_id, id, request_id, turn, api_key_id, instance_id, state, amount, margin_bps,
                           price_version, cost, charge, created_at, resolved_at)
         SELECT org_id, $2, $3, $4, $5, $6, 'voided', 0, 0, $7, 0, 0, $8, $8 FROM account
         ON CONFLICT DO NOTHING",
        hold.scope.uuid(),
        hold.id.0,
        hold.request_id.0,
        hold.turn,
        hold.api_key_id.0,
        instance.0,
        &hold.price_version,
        now,
    )
    .execute(&mut *connection)
    .await?;
    let mut void = Flush::default();
    void.push_settle(&Settle::void(hold.scope, hold.id));
    flush(connection, &void, instance, now).await?;
    Ok(())
}

/// Writes checkpoints of open holds; their amounts only grow. A hold that is being ended at the same time is skipped.
pub async fn checkpoint(connection: &mut PgConnection, checkpoints: &[Checkpoint]) -> Result<(), StoreError> {
    let org: Vec<Uuid> = checkpoints.iter().map(|c| c.scope.uuid()).collect();
    let id: Vec<Uuid> = checkpoints.iter().map(|c| c.hold.0).collect();
    let cost: Vec<i64> = checkpoints.iter().map(|c| c.bill.cost.0).collect();
    let charge: Vec<i64> = checkpoints.iter().map(|c| c.bill.charge.0).collect();
    let tokens = |pick: fn(&Checkpoint) -> u64| -> Vec<i64> {
        checkpoints.iter().map(|c| i64::try_from(pick(c)).unwrap_or(i64::MAX)).collect()
    };
    let provider: Vec<&str> = checkpoints.iter().map(|c| c.provider).collect();
    let model: Vec<&str> = checkpoints.iter().map(|c| c.model.as_ref()).collect();
    sqlx::query!(
        "WITH open AS MATERIALIZED (
             SELECT h.org_id, h.id, c.cost, c.charge, c.input, c.output, c.provider, c.model
             FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                         $7::text[], $8::text[])
                 AS c (org_id, id, cost, charge, input, output, provider, model)
             JOIN hold h ON h.org_id = c.org_id AND h.id = c.id
             WHERE h.state IS NOT DISTINCT FROM 'open' AND h.checkpoint_charge < c.charge
             ORDER BY h.org_id, h.id
             FOR UPDATE OF h SKIP LOCKED
         )
         UPDATE hold h
         SET checkpoint_cost = o.cost, checkpoint_charge = o.charge, checkpoint_input = o.input,
             checkpoint_output = o.output, provider = o.provider, model = o.model
         FROM open o WHERE h.org_id = o.org_id AND h.id = o.id",
        &org,
        &id,
        &cost,
        &charge,
        &tokens(|c| c.input_tokens),
        &tokens(|c| c.output_tokens),
        &provider as &[&str],
        &model as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}
