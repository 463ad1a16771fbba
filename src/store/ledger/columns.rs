//! The columns that carry the settles and holds of one flush to the database, and the result of the flush.

use super::{HoldRequest, Resolution, Settle};
use crate::domain::money::NanoUsd;
use std::sync::Arc;
use time::OffsetDateTime;
use uuid::Uuid;

/// One flush as columns. Each hold id may occur once.
#[derive(Default)]
pub struct Flush {
    pub(super) settle_org: Vec<Uuid>,
    pub(super) settle_id: Vec<Uuid>,
    pub(super) settle_cost: Vec<i64>,
    pub(super) settle_charge: Vec<i64>,
    pub(super) settle_entry: Vec<Uuid>,
    pub(super) settle_void: Vec<bool>,
    pub(super) settle_spent: Vec<Option<i64>>,
    pub(super) org: Vec<Uuid>,
    pub(super) id: Vec<Uuid>,
    pub(super) request: Vec<Uuid>,
    pub(super) turn: Vec<i16>,
    pub(super) api_key: Vec<Uuid>,
    pub(super) want: Vec<i64>,
    pub(super) floor: Vec<i64>,
    pub(super) margin: Vec<i32>,
    pub(super) price_version: Vec<Arc<str>>,
    pub(super) provider: Vec<&'static str>,
    pub(super) model: Vec<Arc<str>>,
    pub(super) kind: Vec<&'static str>,
    pub(super) own_key: Vec<bool>,
    pub(super) counted: Vec<i16>,
    pub(super) key_starts: Vec<Option<OffsetDateTime>>,
    pub(super) key_ends: Vec<Option<OffsetDateTime>>,
    pub(super) org_starts: Vec<Option<OffsetDateTime>>,
    pub(super) org_ends: Vec<Option<OffsetDateTime>>,
}

/// The owner of the budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BudgetOwner {
    ApiKey,
    Organization,
}

/// A budget that has no room for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FullBudget {
    pub owner: BudgetOwner,
    pub amount: NanoUsd,
    /// In the current period.
    pub spent: NanoUsd,
    /// Set aside for requests that are running.
    pub held: NanoUsd,
    pub resets_at: OffsetDateTime,
}

/// The result of the flush for one hold request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldRead {
    /// Credit is held, by this flush or by an earlier one under the same id.
    Admitted { amount: NanoUsd },
    /// Not enough is free: `available` is what the other requests of this flush left.
    Refused { available: NanoUsd },
    /// A budget has no room for it.
    OverBudget(FullBudget),
    /// The id belongs to a hold that has ended.
    Ended,
    /// The instance's lease has lapsed; nothing was set aside.
    LeaseLapsed,
    /// An earlier try wrote it and it became visible only now; try again.
    Unclear,
}

/// What a flush did, by position.
pub struct FlushRead {
    /// Whether the settle ended its hold. `false`: read the hold again to find the reason.
    pub settled: Vec<bool>,
    pub holds: Vec<HoldRead>,
}

impl Flush {
    /// Clears the columns and keeps their memory, because this runs for every flush.
    pub fn clear(&mut self) {
        self.settle_org.clear();
        self.settle_id.clear();
        self.settle_cost.clear();
        self.settle_charge.clear();
        self.settle_entry.clear();
        self.settle_void.clear();
        self.settle_spent.clear();
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
        self.own_key.clear();
        self.counted.clear();
        self.key_starts.clear();
        self.key_ends.clear();
        self.org_starts.clear();
        self.org_ends.clear();
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
        self.settle_spent.push(settle.spent_on_own_key.map(|spent| spent.0.max(0)));
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
        // The column refuses a negative value, so a margin above the range of i32 cannot become another margin.
        self.margin.push(i32::try_from(hold.margin.0).unwrap_or(-1));
        self.price_version.push(Arc::clone(&hold.price_version));
        self.provider.push(hold.provider);
        self.model.push(Arc::clone(&hold.model));
        self.kind.push(hold.kind);
        self.own_key.push(hold.own_key);
        let budgets = &hold.budgets;
        self.counted.push(match hold.own_key {
            true => i16::from(budgets.api_key.is_some()) + 2 * i16::from(budgets.organization.is_some()),
            false => 3,
        });
        self.key_starts.push(budgets.api_key.map(|period| period.starts_at));
        self.key_ends.push(budgets.api_key.map(|period| period.ends_at));
        self.org_starts.push(budgets.organization.map(|period| period.starts_at));
        self.org_ends.push(budgets.organization.map(|period| period.ends_at));
        true
    }
}

/// The result of the flush for one hold request.
pub(super) struct HoldRow<'a> {
    pub state: Option<&'a str>,
    pub amount: Option<i64>,
    pub rest: Option<i64>,
    pub live: bool,
    /// The budget without room for it.
    pub budget: Option<FullBudget>,
}

impl FullBudget {
    /// From the columns of a row; `None` if they contain no budget.
    pub(super) fn of(
        of_key: Option<bool>,
        (amount, spent, held): (Option<i64>, Option<i64>, Option<i64>),
        resets_at: Option<OffsetDateTime>,
    ) -> Option<FullBudget> {
        Some(FullBudget {
            owner: if of_key? { BudgetOwner::ApiKey } else { BudgetOwner::Organization },
            amount: NanoUsd(amount?),
            spent: NanoUsd(spent?),
            held: NanoUsd(held?),
            resets_at: resets_at?,
        })
    }
}

impl FlushRead {
    pub(super) fn of(flush: &Flush) -> Self {
        Self { settled: vec![false; flush.settle_id.len()], holds: vec![HoldRead::Unclear; flush.id.len()] }
    }

    /// Positions count from one.
    pub(super) fn note_settle(&mut self, ord: i64) {
        if let Some(settled) = position(ord).and_then(|at| self.settled.get_mut(at)) {
            *settled = true;
        }
    }

    pub(super) fn note_hold(&mut self, ord: i64, row: HoldRow<'_>) {
        let Some(hold) = position(ord).and_then(|at| self.holds.get_mut(at)) else { return };
        *hold = match (row.state, row.amount) {
            (Some("open"), Some(amount)) => HoldRead::Admitted { amount: NanoUsd(amount) },
            (Some("unclear"), _) => HoldRead::Unclear,
            (Some(_), _) => HoldRead::Ended,
            (None, _) if !row.live => HoldRead::LeaseLapsed,
            (None, _) => match row.budget {
                Some(budget) => HoldRead::OverBudget(budget),
                None => HoldRead::Refused { available: NanoUsd(row.rest.unwrap_or(0)) },
            },
        };
    }
}

fn position(ord: i64) -> Option<usize> {
    usize::try_from(ord.checked_sub(1)?).ok()
}
