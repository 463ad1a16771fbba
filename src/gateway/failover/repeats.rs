//! When the same call is made again, how often, and after which pause.

use super::Failover;
use crate::{
    providers::error::{ErrorClass, UpstreamError},
    routing::retry,
};
use std::time::Duration;
use tokio::time::Instant;

impl<'a> Failover<'a> {
    /// A request that says how often each model is to be tried may need more calls than others.
    pub(super) fn attempts_max(&self) -> u32 {
        let each = self.scope.retries.map(|retries| retries.saturating_add(1));
        let choices = u32::try_from(self.choices.len()).unwrap_or(u32::MAX);
        each.map_or(self.inbound.gateway.settings.limits.attempts_max, |each| each.saturating_mul(choices))
    }

    /// The same call again before anything else, as the request asks.
    pub(super) fn repeat(&mut self, at: usize, rejection: &UpstreamError, own: bool) -> Option<Duration> {
        let most = self.scope.retries?;
        let id: &'a str = &self.choices.get(at)?.candidate.id;
        let done = self.repeated.filter(|(last, _)| *last == id).map_or(0, |(_, times)| times);
        let wait = (done < most).then(|| self.wait(done, rejection, own)).flatten()?;
        self.repeated = Some((id, done.saturating_add(1)));
        Some(wait)
    }

    /// How long to wait before the same call is made again; `None` where it must not be. A time-out is not repeated,
    /// nor an answer that could not be used: the provider may bill each try.
    pub(super) fn wait(&self, retry: u32, rejection: &UpstreamError, own: bool) -> Option<Duration> {
        let gateway = self.inbound.gateway;
        let wait = retry::wait(retry, rejection.retry_after, &gateway.ambient)
            .filter(|_| {
                matches!(rejection.class, ErrorClass::Rate | ErrorClass::Overload)
                    && !rejection.unusable_success
            })
            .filter(|wait| Instant::now() + *wait < self.until)?;
        let (org_id, now) = (self.inbound.principal.scope.org_id(), gateway.now_ms());
        let may = if own {
            gateway.own_key_retries.try_acquire_for(org_id, now)
        } else {
            gateway.retries.try_acquire(now)
        };
        may.then_some(wait)
    }
}
