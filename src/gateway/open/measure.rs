//! What a request tells about the provider that served it, for the orderings of later ones. A caller's own key, its
//! own host, its own mistakes and its own pace of reading say nothing about a provider.

use super::{Open, record::millis};
use crate::{
    domain::usage::Basis,
    gateway::receipt::{Bill, CredentialKind, Ending},
    providers::{error::Class, transport::Paced},
    routing::measured::Sample,
};
use std::time::Duration;

impl Open {
    /// An answer that is whole.
    pub(super) fn measure(&self, ending: Ending, bill: Option<&Bill>) {
        let Some(serving) = self.serving.as_ref().filter(|_| ending == Ending::Completed) else { return };
        if serving.served.credential == CredentialKind::Platform {
            self.gateway.breakers.answered(&serving.served.model_id);
        }
        let Some((paced, bill)) = serving.pace.as_ref().and_then(|pace| pace.so_far()).zip(bill) else {
            return;
        };
        let written = bill.usage.output;
        // What comes whole begins when all is written: that is no first byte, but where nothing is written.
        let began = paced.content.or_else(|| (written == 0).then_some(paced.first));
        let is_known = written > 0 && bill.usage.basis != Basis::Estimated && paced.is_the_providers();
        let tokens_per_second = is_known.then(|| speed(written, &paced));
        self.sample(Sample::Answered { latency_ms: began.map(millis), tokens_per_second });
    }

    /// A call that failed, before or after its answer began.
    pub fn blame(&self, class: Class, retry_after: Option<Duration>) {
        let is_its_fault = match class {
            Class::Overload | Class::Timeout => true,
            // How much of its limit a customer has left is its own affair.
            Class::Rate => self.served().is_some_and(|served| served.credential == CredentialKind::Platform),
            _ => false,
        };
        if is_its_fault {
            self.sample(Sample::Failed);
            self.set_aside(retry_after);
        }
    }

    /// Counts the failure towards leaving the host alone for a while. Only calls on the platform's key count.
    fn set_aside(&self, retry_after: Option<Duration>) {
        let Some(served) = self.served().filter(|served| served.credential == CredentialKind::Platform)
        else {
            return;
        };
        let asked_ms = retry_after.and_then(|wait| i64::try_from(wait.as_millis()).ok());
        let (org, now_ms) = (self.principal.scope.org_id(), self.gateway.now_ms());
        self.gateway.breakers.failed(&served.model_id, org, now_ms, asked_ms);
    }

    fn sample(&self, sample: Sample) {
        let Some(serving) = self.serving.as_ref().filter(|serving| serving.pace.is_some()) else { return };
        let (id, org) = (&serving.served.model_id, self.principal.scope.org_id());
        self.gateway.measurements.note(id, org, self.gateway.now_ms(), sample);
    }
}

/// Of the whole answer: one that comes in a burst was not written any faster.
fn speed(written: u64, paced: &Paced) -> u64 {
    let micros = u64::try_from(paced.last.as_micros()).unwrap_or(u64::MAX).max(1);
    (written.saturating_mul(1_000_000) / micros).max(1)
}
