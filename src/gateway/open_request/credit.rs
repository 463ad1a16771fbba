//! The credit of one request: no hold, or one hold that ends exactly once. The ledger operation at its end follows from
//! the hold and the charge alone. A call on the customer's own key reserves an amount in the budgets that count own
//! keys, and no credit.

use super::OpenRequest;
use crate::{
    billing::ledger::{self, HoldBudgets, HoldOutcome, HoldRequest, LedgerError, Settle},
    domain::{
        ids::{EntryId, HoldId},
        money::NanoUsd,
        policy::BudgetRule,
    },
    gateway::receipt::{Bill, CredentialKind},
    routing::plan::Candidate,
};
use std::time::Instant;

/// Whether there is a hold.
#[derive(Clone, Copy, Default)]
pub enum Credit {
    #[default]
    Unheld,
    Held {
        id: HoldId,
        /// The maximum cost of the targets.
        requested: NanoUsd,
        /// The amount of the hold.
        amount: NanoUsd,
    },
}

/// The ledger operation at the end of a request.
pub enum Posting {
    Nothing { bill: Option<Bill> },
    Void { hold: HoldId, bill: Option<Bill> },
    Charge { hold: HoldId, charged: ledger::Bill, bill: Bill },
}

impl Credit {
    pub fn is_held(self) -> bool {
        matches!(self, Self::Held { .. })
    }

    pub fn hold(self) -> Option<HoldId> {
        match self {
            Self::Unheld => None,
            Self::Held { id, .. } => Some(id),
        }
    }

    pub fn requested(self) -> NanoUsd {
        match self {
            Self::Unheld => NanoUsd::ZERO,
            Self::Held { requested, .. } => requested,
        }
    }

    pub fn amount(self) -> NanoUsd {
        match self {
            Self::Unheld => NanoUsd::ZERO,
            Self::Held { amount, .. } => amount,
        }
    }

    /// The end of a request with this credit. A hold without a charge on a platform key is voided.
    pub fn posting(self, bill: Option<Bill>) -> Posting {
        match (self, bill) {
            (Self::Unheld, bill) => Posting::Nothing { bill },
            (Self::Held { id, .. }, None) => Posting::Void { hold: id, bill: None },
            (Self::Held { id, .. }, Some(bill)) => match bill.posted {
                Some(charged) => Posting::Charge { hold: id, charged, bill },
                None => Posting::Void { hold: id, bill: Some(bill) },
            },
        }
    }
}

impl OpenRequest {
    /// Places a hold, once for each request, before `first` is called. The organization's credit and every budget that
    /// counts the request must have room for it.
    pub async fn hold(
        &mut self,
        bounds: (NanoUsd, NanoUsd),
        first: &Candidate,
    ) -> Result<HoldOutcome, LedgerError> {
        if self.credit.is_held() {
            return Ok(HoldOutcome::Admitted { amount: self.credit.amount() });
        }
        self.release_own(None);
        let budgets = self.budgets(|_| true);
        let request = self.hold_request(bounds, first, budgets);
        let (id, requested) = (request.id, request.want);
        let began = Instant::now();
        let outcome = self.gateway.ledger.hold(request).await;
        self.gateway.metrics.hold_wait.observe(began.elapsed().as_secs_f64());
        let outcome = outcome?;
        if let HoldOutcome::Admitted { amount } = outcome {
            self.credit = Credit::Held { id, requested, amount };
            self.held_ms = self.held_ms.or(Some(self.since_arrival_ms()));
        }
        Ok(outcome)
    }

    /// Whether a budget counts the cost on the customer's own keys.
    pub fn counts_own_keys(&self) -> bool {
        let budgets = [self.principal.policy.budget, self.principal.organization_budget];
        budgets.into_iter().flatten().any(|budget| budget.includes_own)
    }

    /// Reserves an amount in the budgets that count own keys, once; no credit is held.
    pub async fn hold_for_own_key(
        &mut self,
        bounds: (NanoUsd, NanoUsd),
        first: &Candidate,
    ) -> Result<HoldOutcome, LedgerError> {
        if self.own_hold.is_some() {
            return Ok(HoldOutcome::Admitted { amount: NanoUsd::ZERO });
        }
        let budgets = self.budgets(|budget| budget.includes_own);
        let request = HoldRequest { own_key: true, ..self.hold_request(bounds, first, budgets) };
        let id = request.id;
        let outcome = self.gateway.ledger.hold(request).await?;
        if matches!(outcome, HoldOutcome::Admitted { .. }) {
            self.own_hold = Some(id);
        }
        Ok(outcome)
    }

    /// Ends the reservation for own keys: with the provider's cost if an own key served.
    pub(super) fn release_own(&mut self, bill: Option<&Bill>) {
        let Some(hold) = self.own_hold.take() else { return };
        let own = self.served().is_some_and(|served| served.credential == CredentialKind::Byok);
        let cost = bill.filter(|_| own).and_then(Bill::cost).filter(|cost| *cost > NanoUsd::ZERO);
        let scope = self.principal.scope;
        self.gateway.ledger.settle_later(match cost {
            Some(cost) => Settle::on_own_key(scope, hold, cost, EntryId(self.gateway.ambient.uuid())),
            None => Settle::void(scope, hold),
        });
    }

    fn hold_request(
        &self,
        (want, floor): (NanoUsd, NanoUsd),
        first: &Candidate,
        budgets: HoldBudgets,
    ) -> HoldRequest {
        HoldRequest {
            scope: self.principal.scope,
            id: HoldId(self.gateway.ambient.uuid()),
            request_id: self.request_id,
            turn: self.turns.number(),
            api_key_id: self.principal.api_key_id,
            want,
            floor,
            margin: self.gateway.settings.margin,
            price_version: self.catalog.version.as_str().into(),
            provider: first.provider.as_str(),
            model: first.id.clone(),
            kind: self.kind.as_str(),
            own_key: false,
            budgets,
        }
    }

    /// The current periods of the budgets that count this request.
    fn budgets(&self, counts: fn(&BudgetRule) -> bool) -> HoldBudgets {
        let key = self.principal.policy.budget.filter(counts);
        let organization = self.principal.organization_budget.filter(counts);
        if key.is_none() && organization.is_none() {
            return HoldBudgets::default();
        }
        let (zone, now) = (self.principal.organization.zone(), self.started_at);
        HoldBudgets {
            api_key: key.map(|budget| budget.current(&zone, now)),
            organization: organization.map(|budget| budget.current(&zone, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{money::Bps, usage::Usage};

    fn bill(posted: Option<ledger::Bill>) -> Bill {
        let charge = posted.map_or(NanoUsd::ZERO, ledger::Bill::charge);
        let savings = NanoUsd::ZERO;
        Bill { usage: Usage::default(), priced: None, charge, posted, margin_bps: Bps(0), savings }
    }

    #[test]
    fn a_hold_ends_in_one_charge_or_one_void_and_nothing_is_posted_without_one() {
        let held =
            Credit::Held { id: HoldId(uuid::Uuid::nil()), requested: NanoUsd(2_000), amount: NanoUsd(1_500) };
        let charged = ledger::Bill::of(NanoUsd(1_000), Bps(500)).unwrap();
        let kinds = |credit: Credit| {
            [None, Some(bill(None)), Some(bill(Some(charged)))].map(|bill| match credit.posting(bill) {
                Posting::Nothing { .. } => "nothing".to_owned(),
                Posting::Void { .. } => "void".to_owned(),
                Posting::Charge { charged, bill, .. } => {
                    assert_eq!(charged.charge(), bill.charge, "the receipt says what the ledger posts");
                    format!("charge {}", charged.charge().0)
                }
            })
        };
        assert_eq!(kinds(Credit::Unheld), ["nothing", "nothing", "nothing"]);
        assert_eq!(kinds(held), ["void", "void", "charge 1050"]);
        assert_eq!((held.requested(), held.amount()), (NanoUsd(2_000), NanoUsd(1_500)));
        assert!(held.hold().is_some() && Credit::Unheld.hold().is_none());
    }
}
