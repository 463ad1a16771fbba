//! The cost that an API key's rules allow for one request, and the amounts that budgets reserve for requests on the
//! customer's own keys.

use super::{CredentialKind, Failover, exhausted::NoFunds};
use crate::{
    billing::ledger::{HoldOutcome, LedgerError},
    domain::money::NanoUsd,
    gateway::{failure::Failure, open_request::OpenRequest},
    routing::plan::Candidate,
};

/// The request may cost more there than its API key allows.
const TOO_COSTLY: &str = "max_cost_per_request";
/// Its possible cost there is unknown, so it cannot be compared with the limit of the API key.
const COST_UNKNOWN: &str = "max_cost_unknown";

impl Failover<'_> {
    /// Why the cost guardrail excludes a candidate. The estimate uses the prompt's bound and the output limit, or 1,024
    /// output tokens if the request sets none.
    pub(super) fn guardrail_obstacle(
        &mut self,
        candidate: &Candidate,
        open: &OpenRequest,
    ) -> Option<&'static str> {
        let limit = self.inbound.principal.policy.rules.max_cost_per_request()?;
        match self.bounds(candidate, open) {
            Ok((_, estimate)) if estimate <= limit => None,
            Ok((_, estimate)) => {
                let least = self.too_costly.map_or(estimate, |least| least.min(estimate));
                self.too_costly = Some(least);
                Some(TOO_COSTLY)
            }
            Err(_) => Some(COST_UNKNOWN),
        }
    }

    /// Platform keys are excluded for this request.
    pub(super) fn close_platform(&mut self, no_funds: NoFunds) {
        self.state.close_platform();
        self.no_funds = Some(no_funds);
    }

    /// The failure of a request for which the cost guardrail left no candidate.
    pub(super) fn guardrail_failure(&self) -> Option<Failure> {
        let limit = self.inbound.principal.policy.rules.max_cost_per_request()?;
        let estimate = self.too_costly.filter(|_| self.targets.is_empty())?;
        Some(Failure::CostGuardrail { estimate, limit })
    }

    /// Reserves the amount of a call on the customer's own key in the budgets that count it. `false`: a budget has no
    /// room. Then platform keys have none either, because they always count.
    pub(super) async fn reserve_own(&mut self, at: usize, open: &mut OpenRequest) -> Result<bool, Failure> {
        let Some(target) =
            self.targets.get(at).copied().filter(|target| target.kind() == CredentialKind::Byok)
        else {
            return Ok(true);
        };
        if !open.counts_own_keys() {
            return Ok(true);
        }
        let candidate = target.candidate;
        let bounds = self.bounds(candidate, open).unwrap_or((NanoUsd::ZERO, NanoUsd::ZERO));
        match open.hold_for_own_key(bounds, candidate).await {
            Ok(HoldOutcome::Admitted { .. } | HoldOutcome::Refused { .. }) => Ok(true),
            Ok(HoldOutcome::OverBudget(budget)) => {
                self.close_platform(NoFunds::Budget(budget.into()));
                Ok(false)
            }
            Err(LedgerError::Unavailable(cause)) => Err(Failure::Unavailable(cause.to_owned())),
            Err(LedgerError::Refused(cause)) => Err(Failure::Unavailable(cause.to_string())),
        }
    }
}
