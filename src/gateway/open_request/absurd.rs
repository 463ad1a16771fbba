//! A reported usage is accepted if the request can have consumed it. If it is higher, the gateway counts the usage
//! itself, charges at most the amount of the hold, and raises an alarm. Answers that the gateway ended itself are
//! counted in the same way, from the relayed content.

use super::OpenRequest;
use crate::{
    billing::price::Priced,
    domain::{
        kind::Kind,
        money::{self, NanoUsd},
        usage::Usage,
    },
    gateway::receipt::CredentialKind,
};

/// How much larger than its text a prompt may be: providers add instructions and tools.
const PROMPT_TOKENS_ADDED: u64 = 32_768;
/// Prompt tokens above its text by which a request may exceed its hold: templates and instructions that providers add,
/// which matter most for the shortest prompts.
const PROMPT_TOKENS_TOLERATED: u64 = 4_096;
/// The amount that a provider's reported cost may exceed that: searches that it made by itself.
const STATED_TOLERATED: NanoUsd = NanoUsd(100_000_000);
/// How far an answer may exceed the client's output limit.
const OUTPUT_TOKENS_ADDED: u64 = 64;

impl OpenRequest {
    /// The maximum usage of the answer by the candidate that is about to be called.
    pub fn bound(&mut self, most: Option<Usage>) {
        if let Some(serving) = &mut self.serving {
            serving.most = most;
        }
    }

    /// The gateway ends the answer itself. What the provider would have written after that is not estimated.
    pub fn cut(&mut self, why: &'static str) {
        self.cut_by = Some(why);
        if let Some(serving) = &mut self.serving {
            serving.hidden_reasoning = None;
        }
    }

    /// Whether the provider reported more than the request can have consumed.
    pub(super) fn is_above_bound(&self) -> bool {
        let Some(serving) = self.serving.as_ref().filter(|serving| !serving.above_bound) else {
            return false;
        };
        let Some(usage) = serving.consumed.reported else { return false };
        let on_platform = serving.served.credential == CredentialKind::Platform && self.credit.is_held();
        if on_platform && self.costs_too_much(&usage) {
            return true;
        }
        let Some(most) = serving.most.filter(|_| matches!(self.kind, Kind::Conversation(_))) else {
            return false;
        };
        let prompt_max = most.prompt().saturating_mul(2).saturating_add(PROMPT_TOKENS_ADDED);
        let output_max = most.output.saturating_add(most.output / 8).saturating_add(OUTPUT_TOKENS_ADDED);
        // Some providers do not count reasoning towards the limit.
        let written = usage.completion().saturating_sub(usage.reasoning);
        usage.prompt() > prompt_max || written > output_max
    }

    fn costs_too_much(&self, usage: &Usage) -> bool {
        let priced = self.priced(usage).or_else(|| self.priced_as_text(usage));
        let charge = priced.map(|priced| money::charge(priced.cost, self.gateway.settings.margin));
        match charge {
            Some(Ok(charge)) => {
                let stated = if usage.stated > 0 { STATED_TOLERATED.0 } else { 0 };
                charge.0 > self.credit.requested().0.saturating_add(self.tolerance().0).saturating_add(stated)
            }
            // A figure is too large if no price can be computed for it.
            Some(Err(_)) => true,
            None => usage.prompt().max(usage.completion()) > u64::from(u32::MAX),
        }
    }

    /// The charge of the tokens that providers may add to a prompt.
    fn tolerance(&self) -> NanoUsd {
        let added = Usage { input: PROMPT_TOKENS_TOLERATED, ..Usage::default() };
        let priced = self
            .priced(&added)
            .and_then(|priced| money::charge(priced.cost, self.gateway.settings.margin).ok());
        priced.unwrap_or(NanoUsd::ZERO)
    }

    /// Discards the provider's report if it is implausible.
    pub(super) fn disregard_absurd(&mut self) {
        if !self.is_above_bound() {
            return;
        }
        let scope = self.principal.scope;
        let Some(serving) = &mut self.serving else { return };
        tracing::error!(
            org.id = %scope.org_id(), request.id = %self.request_id, model.id = %serving.served.model_id,
            usage = ?serving.consumed.reported, bound = ?serving.most,
            "a provider reported more than the request can have consumed: counted instead"
        );
        self.gateway.metrics.usage_above_bound.inc();
        serving.above_bound = true;
        serving.consumed.reported = None;
        serving.consumed.prompt = None;
        serving.consumed.service_tier = None;
    }

    /// Limits the cost of an answer with an implausible report to the hold.
    pub(super) fn cap(&self, priced: &mut Option<Priced>) {
        let above = self.serving.as_ref().is_some_and(|serving| {
            serving.above_bound && serving.served.credential == CredentialKind::Platform
        });
        let Some(priced) = priced.as_mut().filter(|_| above) else { return };
        let whole = 10_000 + i128::from(self.gateway.settings.margin.0);
        let most = i128::from(self.credit.amount().0) * 10_000 / whole;
        let most = NanoUsd(i64::try_from(most).unwrap_or(i64::MAX));
        priced.cost = priced.cost.min(most);
    }

    /// The flag in the usage row and the receipt.
    pub(super) fn flag(&self) -> Option<&'static str> {
        if self.undelivered {
            return Some("undelivered");
        }
        self.serving.as_ref().filter(|serving| serving.above_bound).map(|_| "above_bound")
    }
}
