//! The savings of the model choice, and the model that would have been chosen.

use super::OpenRequest;
use crate::{
    billing::price,
    domain::{
        money::{self, NanoUsd},
        usage::Usage,
    },
    gateway::receipt::CredentialKind,
};
use std::sync::Arc;

impl OpenRequest {
    /// The additional cost of the same usage at the reference model, on the same terms; negative if it would have been
    /// cheaper. Nothing if the request named its model.
    pub(super) fn savings(
        &self,
        usage: &Usage,
        credential: CredentialKind,
        cost: NanoUsd,
        charge: NanoUsd,
    ) -> NanoUsd {
        let trace = self.history.routing().filter(|trace| trace.instead.is_none());
        let reference = trace.and_then(|trace| self.catalog.get(trace.reference.as_deref()?));
        let prices = reference.and_then(|model| model.prices.as_ref());
        let there = prices.and_then(|prices| price::price(prices, usage, self.started_at, None).ok());
        let difference = there.map(|there| match credential {
            CredentialKind::Platform => {
                let margin = self.gateway.settings.margin;
                money::charge(there.cost, margin).unwrap_or(there.cost).0.saturating_sub(charge.0)
            }
            CredentialKind::Byok => there.cost.0.saturating_sub(cost.0),
        });
        NanoUsd(difference.unwrap_or(0))
    }

    /// The model that would have been chosen, where the API key asks for advice.
    pub fn advice(&self) -> Option<&Arc<str>> {
        self.history.routing().filter(|trace| trace.advises).and_then(|trace| trace.instead.as_ref())
    }
}
