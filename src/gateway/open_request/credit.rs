//! The credit of one request: nothing is set aside, or one hold, which ends exactly once. What its end posts
//! to the ledger follows from the hold and the bill alone.

use super::OpenRequest;
use crate::{
    billing::ledger::{self, HoldOutcome, HoldRequest, LedgerError},
    domain::{ids::HoldId, money::NanoUsd},
    gateway::receipt::Bill,
    routing::plan::Candidate,
};
use std::time::Instant;

/// Whether credit is set aside.
#[derive(Clone, Copy, Default)]
pub enum Credit {
    #[default]
    Unheld,
    Held {
        id: HoldId,
        /// The most that the targets could cost.
        requested: NanoUsd,
        /// What was set aside.
        amount: NanoUsd,
    },
}

/// What the end of a request posts to the ledger.
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

    /// The end of a request with this credit. A hold without a charge on the platform's key is given back.
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
    /// Sets credit aside, once per request, before `first` is called. Returns what is free when it is not enough.
    pub async fn hold(
        &mut self,
        (want, floor): (NanoUsd, NanoUsd),
        first: &Candidate,
    ) -> Result<Result<(), NanoUsd>, LedgerError> {
        if self.credit.is_held() {
            return Ok(Ok(()));
        }
        let id = HoldId(self.gateway.ambient.uuid());
        let request = HoldRequest {
            scope: self.principal.scope,
            id,
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
        };
        let began = Instant::now();
        let outcome = self.gateway.ledger.hold(request).await;
        self.gateway.metrics.hold_wait.observe(began.elapsed().as_secs_f64());
        match outcome? {
            HoldOutcome::Admitted { amount } => {
                self.credit = Credit::Held { id, requested: want, amount };
                self.held_ms = self.held_ms.or(Some(self.since_arrival_ms()));
                Ok(Ok(()))
            }
            HoldOutcome::Refused { available } => Ok(Err(available)),
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
