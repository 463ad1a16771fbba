//! What a request tells about the provider that served it, for the orderings of later ones. A caller's own key, its
//! own host and its own mistakes say nothing about a provider.

use super::Open;
use crate::{
    gateway::receipt::{Bill, CredentialKind, Ending},
    providers::error::Class,
    routing::measured::Sample,
};

impl Open {
    /// A whole answer.
    pub(super) fn measure(&self, ending: Ending, bill: Option<&Bill>) {
        let Some(serving) = self.serving.as_ref().filter(|_| ending == Ending::Completed) else { return };
        let (Some(since), Some(ttft), Some(bill)) = (serving.measured_since, self.ttft, bill) else { return };
        let begun = self.started + ttft;
        let writing = if self.stream { begun.elapsed() } else { since.elapsed() };
        let written =
            bill.usage.output.saturating_mul(1_000).checked_div(super::record::millis(writing).max(1));
        let sample = Sample::Answered {
            latency_ms: super::record::millis(begun.saturating_duration_since(since)),
            tokens_per_second: written.filter(|speed| *speed > 0),
        };
        self.gateway.measurements.note(&serving.served.model_id, self.gateway.now_ms(), sample);
    }

    /// A call that failed, before or after its answer began.
    pub fn blame(&self, class: Class) {
        let Some(serving) = self.serving.as_ref().filter(|serving| serving.measured_since.is_some()) else {
            return;
        };
        let is_its_fault = match class {
            Class::Overload | Class::Timeout => true,
            // How much of its limit a customer has left is its own affair.
            Class::Rate => serving.served.credential == CredentialKind::Platform,
            _ => false,
        };
        if is_its_fault {
            self.gateway.measurements.note(&serving.served.model_id, self.gateway.now_ms(), Sample::Failed);
        }
    }
}
