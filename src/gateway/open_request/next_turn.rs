//! Continues a request with its next turn: the same request, with its own credit, usage and prices.

use super::{OpenRequest, TurnState, credit::Credit};
use crate::{
    domain::usage::Usage,
    gateway::receipt::{CompletedTurn, ServedBy},
};
use bytes::Bytes;
use std::{sync::Arc, time::Instant};

impl OpenRequest {
    /// The turn after this one, whose answer is complete and whose usage is known. It has the sums of all turns before
    /// it.
    pub(in crate::gateway) fn next_turn(&self) -> OpenRequest {
        let mut done = self.turns.done.clone();
        done.extend(
            self.served().cloned().zip(self.bill()).map(|(served, bill)| CompletedTurn { served, bill }),
        );
        let turns = TurnState {
            gathers: self.turns.gathers,
            has_next_turn: false,
            done,
            began: self.turns.began.or(Some((self.started_at, self.started))),
            first_ttft: self.turns.first_ttft.or(self.history.first_content()),
        };
        OpenRequest {
            gateway: self.gateway.clone(),
            principal: self.principal.clone(),
            request_id: self.request_id,
            started_at: self.gateway.ambient.now(),
            started: Instant::now(),
            catalog: self.catalog.clone(),
            kind: self.kind,
            body: Bytes::new(),
            prompt_bytes: 0,
            prompt_media: Usage::default(),
            prompt_tokens: 0,
            measured: Default::default(),
            service_tier: self.service_tier.clone(),
            history: self.history.next_turn(),
            session: self.session,
            turns,
            cache: Default::default(),
            trace: self.trace.clone(),
            credit: Credit::Unheld,
            own_hold: None,
            held_ms: self.held_ms,
            flows: false,
            cut_by: None,
            undelivered: false,
            serving: None,
            ticket: self.ticket.clone(),
            rates: self.rates.clone(),
            bypasses_rates: self.bypasses_rates,
            permit: self.permit.clone(),
            _token: self.gateway.tasks.token(),
            detached: None,
        }
    }

    /// The current target, else the target of the previous turn.
    pub(in crate::gateway) fn answering(&self) -> Option<&ServedBy> {
        self.served().or(self.turns.done.last().map(|done| &done.served))
    }

    /// The model that answered the previous turn; the next turn prefers it.
    pub(in crate::gateway) fn answered_before(&self) -> Option<&Arc<str>> {
        self.turns.done.last().map(|done| &done.served.model_id)
    }
}
