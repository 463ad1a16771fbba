//! Measurements of the provider that served a request, for the order of hosts in later requests. A customer's own key,
//! own host, invalid request or slow reading is not a measurement of a provider.

use super::{OpenRequest, record::millis};
use crate::{
    dialect::Dialect,
    domain::{
        provider::ProviderId,
        usage::{Basis, Usage},
    },
    gateway::{
        metrics::{Ended, Host},
        receipt::{Bill, CredentialKind, RequestOutcome},
    },
    providers::{error::ErrorClass, transport::TimedResponse},
    routing::{host_stats::Sample, shared_health::HostSample},
};
use std::time::Duration;

impl OpenRequest {
    /// Counts the usage of a turn, and with the last turn the request.
    pub(super) fn count_end(&self, ending: RequestOutcome, bill: Option<&Bill>) {
        let metrics = &self.gateway.metrics;
        let host =
            self.serving.as_ref().filter(|_| !self.history.attempts().is_empty()).map(|serving| Host {
                provider: serving.provider,
                model: serving.model.is_some().then_some(&serving.served.model_id),
                credential: serving.served.credential,
            });
        if let (Some(host), Some(bill)) = (&host, bill) {
            metrics.consumed(host, bill);
        }
        if self.turns.has_next_turn {
            return;
        }
        self.end_trace(ending, bill);
        let began = self.turns.began.map_or(self.started, |(_, began)| began);
        metrics.ended(&Ended {
            kind: self.kind,
            ending,
            duration: began.elapsed(),
            ttft: self.turns.first_ttft.or(self.history.first_content()),
            credential: self
                .answering()
                .filter(|_| !self.history.attempts().is_empty())
                .map(|last| last.credential),
            host,
        });
    }

    /// A complete answer.
    pub(super) fn record_latency_sample(&self, ending: RequestOutcome, bill: Option<&Bill>) {
        let Some(serving) = self.serving.as_ref().filter(|_| ending == RequestOutcome::Completed) else {
            return;
        };
        if serving.served.credential == CredentialKind::Platform {
            self.gateway.breakers.answered(&serving.served.model_id);
        }
        if let (Some(key), Some(bill)) = (self.session, bill) {
            let (model, tokens) = (&serving.served.model_id, prompt_kept(serving.provider, &bill.usage));
            self.gateway.sessions.record(key, model.clone(), tokens);
        }
        let Some((paced, bill)) = serving.timing.as_ref().and_then(|timing| timing.so_far()).zip(bill) else {
            return;
        };
        let written = bill.usage.output;
        // An answer that arrives whole has no first-byte time, unless nothing in it is counted in tokens.
        let began = paced.content.or_else(|| (written == 0).then_some(paced.first));
        let is_known = written > 0 && bill.usage.basis != Basis::Estimated && paced.is_the_providers();
        let tokens_per_second = is_known.then(|| speed(written, &paced));
        self.sample(Sample::Answered { latency_ms: began.map(millis), tokens_per_second }, None);
    }

    /// A call that failed, before or after its answer began.
    pub fn blame(&self, class: ErrorClass, retry_after: Option<Duration>) {
        let is_its_fault = match class {
            ErrorClass::Overload | ErrorClass::Timeout => true,
            // The remaining rate limit of a customer concerns only that customer.
            ErrorClass::Rate => {
                self.served().is_some_and(|served| served.credential == CredentialKind::Platform)
            }
            _ => false,
        };
        if is_its_fault {
            let retry_after_ms = retry_after.and_then(|wait| i64::try_from(wait.as_millis()).ok());
            self.sample(Sample::Failed, retry_after_ms);
            self.set_aside(retry_after_ms);
        }
    }

    /// Counts the failure towards pausing the host. Only calls on a platform key count.
    fn set_aside(&self, retry_after_ms: Option<i64>) {
        let Some(served) = self.served().filter(|served| served.credential == CredentialKind::Platform)
        else {
            return;
        };
        let (org, now_ms) = (self.principal.scope.org_id(), self.gateway.now_ms());
        self.gateway.breakers.failed(&served.model_id, org, now_ms, retry_after_ms);
    }

    fn sample(&self, sample: Sample, retry_after_ms: Option<i64>) {
        let Some(serving) = self.serving.as_ref().filter(|serving| serving.timing.is_some()) else { return };
        let (served, org) = (&serving.served, self.principal.scope.org_id());
        let at_ms = self.gateway.now_ms();
        self.gateway.measurements.note(&served.model_id, org, at_ms, sample);
        self.gateway.outgoing_samples.add(HostSample {
            model: served.model_id.clone(),
            org,
            at_ms,
            sample,
            is_platform: served.credential == CredentialKind::Platform,
            retry_after_ms,
        });
    }
}

/// Tokens of the prompt that the host may have cached. If a request marks what is to be cached, the rest is not.
fn prompt_kept(provider: ProviderId, usage: &Usage) -> u64 {
    let kept = usage.cache_read.saturating_add(usage.cache_write).saturating_add(usage.cache_write_1h);
    match provider.row().dialect {
        Dialect::Messages => kept,
        _ => kept.saturating_add(usage.input),
    }
}

/// Over the whole answer: an answer that arrives in one burst was not written faster.
fn speed(written: u64, paced: &TimedResponse) -> u64 {
    let micros = u64::try_from(paced.last.as_micros()).unwrap_or(u64::MAX).max(1);
    (written.saturating_mul(1_000_000) / micros).max(1)
}
