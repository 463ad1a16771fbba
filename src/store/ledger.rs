//! The statements of the ledger. Each one locks the credit accounts it touches first, in the order of their
//! ids, and updates each account once with a sum, so that concurrent writers neither deadlock nor lose an
//! update. Nothing here decides or retries; `billing::batch` does.

mod connection;
mod ends;
mod flush;

pub use connection::PLANS;
pub use ends::{EndState, HoldEnd, Revision, correct, get_end, list_locked};
pub use flush::flush;

use super::{OrgScope, StoreError};
use crate::domain::{
    ids::{ApiKeyId, EntryId, HoldId, InstanceId, RequestId},
    money::{self, Bps, MoneyError, NanoUsd},
};
use sqlx::PgConnection;
use std::sync::Arc;
use time::OffsetDateTime;
use uuid::Uuid;

/// What a request cost the provider and what it costs the customer. Made only by the one charge formula.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bill {
    cost: NanoUsd,
    charge: NanoUsd,
}

impl Bill {
    /// Nothing used, nothing charged.
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
    /// The upper bound of what the request can be charged.
    pub want: NanoUsd,
    /// The least that will do; equal to `want` when the client gave an output limit.
    pub floor: NanoUsd,
    pub margin: Bps,
    /// Version of the catalogue whose prices this request is billed at.
    pub price_version: Arc<str>,
    /// Who is about to be called, and for what; as in usage rows.
    pub provider: &'static str,
    pub model: Arc<str>,
    pub kind: &'static str,
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
    /// It is the last word: it replaces a settle of the same hold that is queued or recorded.
    pub revises: bool,
}

impl Settle {
    /// Charges `bill`, whatever the balance is.
    pub fn charge(scope: OrgScope, hold: HoldId, bill: Bill, entry_id: EntryId) -> Settle {
        Settle { scope, hold, resolution: Resolution::Settled { bill, entry_id }, revises: false }
    }

    /// Gives the hold back and charges nothing.
    pub fn void(scope: OrgScope, hold: HoldId) -> Settle {
        Settle { scope, hold, resolution: Resolution::Voided, revises: false }
    }

    /// The same as the last word on its hold.
    pub fn revising(self) -> Settle {
        Settle { revises: true, ..self }
    }
}

/// What would be charged if the process died now.
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

/// One flush as columns, which is how it travels to the database. Each hold id may be in it once.
#[derive(Default)]
pub struct Flush {
    settle_org: Vec<Uuid>,
    settle_id: Vec<Uuid>,
    settle_cost: Vec<i64>,
    settle_charge: Vec<i64>,
    settle_entry: Vec<Uuid>,
    settle_void: Vec<bool>,
    org: Vec<Uuid>,
    id: Vec<Uuid>,
    request: Vec<Uuid>,
    turn: Vec<i16>,
    api_key: Vec<Uuid>,
    want: Vec<i64>,
    floor: Vec<i64>,
    margin: Vec<i32>,
    price_version: Vec<Arc<str>>,
    provider: Vec<&'static str>,
    model: Vec<Arc<str>>,
    kind: Vec<&'static str>,
}

/// What the flush did with one hold request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldRead {
    /// Set aside, now or by an earlier flush under the same id.
    Admitted { amount: NanoUsd },
    /// Too little is free: `available` is what the other requests of this flush left.
    Refused { available: NanoUsd },
    /// The id belongs to a hold that has ended.
    Ended,
    /// The instance's lease has lapsed; nothing was set aside.
    LeaseLapsed,
    /// Written by an earlier try that became visible only now; ask again.
    Unclear,
}

/// What a flush did, by position.
pub struct FlushRead {
    /// Whether the settle ended its hold. `false`: read it again to know why.
    pub settled: Vec<bool>,
    pub holds: Vec<HoldRead>,
}

impl Flush {
    /// Empties the columns and keeps their memory: this runs for every flush.
    pub fn clear(&mut self) {
        self.settle_org.clear();
        self.settle_id.clear();
        self.settle_cost.clear();
        self.settle_charge.clear();
        self.settle_entry.clear();
        self.settle_void.clear();
        self.org.clear();
        self.id.clear();
        self.request.clear();
        self.turn.clear();
        self.api_key.clear();
        self.want.clear();
        self.floor.clear();
        self.margin.clear();
        self.price_version.clear();
        self.provider.clear();
        self.model.clear();
        self.kind.clear();
    }

    /// Adds a settle; `false` when one for the same hold is in the flush already.
    pub fn push_settle(&mut self, settle: &Settle) -> bool {
        if self.settle_id.contains(&settle.hold.0) {
            return false;
        }
        let bill = settle.resolution.bill();
        let (entry, void) = match settle.resolution {
            Resolution::Settled { entry_id, .. } => (entry_id.0, false),
            Resolution::Voided => (Uuid::nil(), true),
        };
        self.settle_org.push(settle.scope.uuid());
        self.settle_id.push(settle.hold.0);
        self.settle_cost.push(bill.cost.0);
        self.settle_charge.push(bill.charge.0);
        self.settle_entry.push(entry);
        self.settle_void.push(void);
        true
    }

    /// Adds a hold; `false` when the same one is in the flush already.
    pub fn push_hold(&mut self, hold: &HoldRequest) -> bool {
        if self.id.contains(&hold.id.0) {
            return false;
        }
        self.org.push(hold.scope.uuid());
        self.id.push(hold.id.0);
        self.request.push(hold.request_id.0);
        self.turn.push(hold.turn);
        self.api_key.push(hold.api_key_id.0);
        self.want.push(hold.want.0);
        self.floor.push(hold.floor.0);
        // The column refuses a negative one, so a margin beyond i32 cannot become another margin.
        self.margin.push(i32::try_from(hold.margin.0).unwrap_or(-1));
        self.price_version.push(Arc::clone(&hold.price_version));
        self.provider.push(hold.provider);
        self.model.push(Arc::clone(&hold.model));
        self.kind.push(hold.kind);
        true
    }
}

/// Gives every organization its account, empty. A second call changes nothing.
pub async fn open_account(connection: &mut PgConnection, scope: OrgScope) -> Result<(), StoreError> {
    sqlx::query!("INSERT INTO credit_account (org_id) VALUES ($1) ON CONFLICT DO NOTHING", scope.uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// Makes sure that a hold nobody waits for any more stays nothing: voids it if it was written, and takes its
/// id if it was not, so that a statement still on its way to the server can no longer write it.
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

/// Writes checkpoints of open holds; they only grow. A hold that is being ended right now is passed over.
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
