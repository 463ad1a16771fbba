//! Decides what to do after a failed attempt. Pure: the same targets, state, failure and time give the same decision.
//! The caller keeps retry budgets, pauses and the health of hosts; a decision states what each step needs.

use crate::{
    domain::{policy::ByokFallback, provider::ProviderId},
    gateway::request_options::rejects_key,
    providers::error::ErrorClass,
};
use tokio::time::Instant;

/// The facts about one target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TargetFacts {
    /// Targets of the same candidate have the same number.
    pub candidate: usize,
    pub provider: ProviderId,
    pub key: KeyOrigin,
}

/// Owner of the key of a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyOrigin {
    /// The request-scoped key.
    Request,
    Stored,
    Platform,
}

/// Why an attempt gave no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailedAttempt {
    /// Called; the provider refused or failed.
    Called { class: ErrorClass, is_billed: bool, is_unusable_success: bool },
    /// Not called: the provider does not support a field of the request.
    Unsupported,
    /// Not called: the key or the address cannot be used.
    Unusable,
}

/// The rules of one request.
#[derive(Clone, Copy, Debug)]
pub struct FailoverRules {
    /// Whether the platform key may serve after a customer's key failed.
    pub fallback: ByokFallback,
    /// Transient failures after which the request fails.
    pub attempts_max: u32,
    /// Retries of one candidate before the next one, if the request states a number.
    pub repeats_max: Option<u32>,
    /// The end of the request's time.
    pub until: Instant,
}

/// The state so far.
#[derive(Debug)]
pub struct FailoverState {
    pub rules: FailoverRules,
    targets: Vec<TargetFacts>,
    transient_failures: u32,
    /// The candidate that was repeated last, and how often.
    repeated: Option<(usize, u32)>,
    /// There is not enough credit for a platform key.
    platform_closed: bool,
    /// The class of the last failed call on a customer's key.
    own_failure: Option<ErrorClass>,
    /// The provider rejected the request-scoped key for every model.
    request_key_rejected: bool,
    /// A customer's key could not be used.
    own_key_unusable: bool,
    /// The class of the last failed call.
    last: Option<ErrorClass>,
}

/// The same call again, after a pause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repeat {
    /// The pause grows with this number.
    pub retry: u32,
    pub budget: RetryBudgetOf,
}

/// The retry budget that pays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryBudgetOf {
    /// The share of this customer, for the customer's own keys.
    Customer,
    Platform,
}

/// The price of a step to another target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepCost {
    Free,
    /// One retry of the platform's budget, unless the host is not known to fail.
    RetryUnlessHealthy,
    Retry,
}

/// The step to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    Target { to: usize, cost: StepCost },
    GiveUp,
}

/// What to do after a failure: the retry if its pause and its budget allow it, else the next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    pub repeat: Option<Repeat>,
    pub next: Next,
}

const GIVE_UP: Decision = Decision { repeat: None, next: Next::GiveUp };

impl FailoverState {
    pub fn new(rules: FailoverRules, targets: Vec<TargetFacts>) -> Self {
        Self {
            rules,
            targets,
            transient_failures: 0,
            repeated: None,
            platform_closed: false,
            own_failure: None,
            request_key_rejected: false,
            own_key_unusable: false,
            last: None,
        }
    }

    /// Records the failure of the target at `at`.
    pub fn record(&mut self, at: usize, failure: FailedAttempt) {
        let Some(target) = self.targets.get(at) else { return };
        match failure {
            FailedAttempt::Called { class, .. } => {
                if target.key != KeyOrigin::Platform {
                    self.own_failure = Some(class);
                }
                self.request_key_rejected |= target.key == KeyOrigin::Request && rejects_key(class);
                self.transient_failures += u32::from(class.is_transient());
                self.last = Some(class);
            }
            FailedAttempt::Unusable => self.own_key_unusable |= target.key != KeyOrigin::Platform,
            FailedAttempt::Unsupported => {}
        }
    }

    /// Records that the target at `at` is called again.
    pub fn record_repeat(&mut self, at: usize) {
        let done = self.repeats(at);
        self.repeated = self.targets.get(at).map(|target| (target.candidate, done.saturating_add(1)));
    }

    /// Records that the credit is not enough: platform keys no longer serve this request.
    pub fn close_platform(&mut self) {
        self.platform_closed = true;
    }

    pub fn is_platform_closed(&self) -> bool {
        self.platform_closed
    }

    pub fn is_own_key_unusable(&self) -> bool {
        self.own_key_unusable
    }

    pub fn own_failure(&self) -> Option<ErrorClass> {
        self.own_failure
    }

    /// The next target instead of a platform target without enough credit.
    pub fn after_refused_hold(&self, at: usize) -> Option<usize> {
        self.after(at, self.last)
    }

    /// Whether another target could be tried if the one at `at` does not answer in time.
    pub fn has_alternative(&self, at: usize) -> bool {
        self.after(at, Some(ErrorClass::Timeout)).is_some()
    }

    fn repeats(&self, at: usize) -> u32 {
        let candidate = self.targets.get(at).map(|target| target.candidate);
        self.repeated.filter(|(last, _)| Some(*last) == candidate).map_or(0, |(_, times)| times)
    }

    /// The next target after one that was not called. If the gateway cannot use a customer's key, that is the gateway's
    /// fault and no reason to charge the customer for a platform key.
    fn after_uncalled(&self, at: usize, unusable: bool) -> Option<usize> {
        let candidate = self.targets.get(at)?.candidate;
        self.first_ahead(at, self.last, |target| match unusable {
            true => target.key != KeyOrigin::Platform,
            false => {
                target.candidate != candidate && self.last.is_none_or(ErrorClass::another_provider_may_help)
            }
        })
    }

    /// The next target that may be tried after `at`. Its failure (or an earlier one's, if `at` was skipped) had the
    /// class `class`.
    fn after(&self, at: usize, class: Option<ErrorClass>) -> Option<usize> {
        let candidate = self.targets.get(at)?.candidate;
        self.first_ahead(at, class, |target| match class {
            None => true,
            Some(class) if target.candidate == candidate => class.another_own_key_may_help(),
            Some(class) => class.another_provider_may_help(),
        })
    }

    fn first_ahead(
        &self,
        at: usize,
        class: Option<ErrorClass>,
        may: impl Fn(&TargetFacts) -> bool,
    ) -> Option<usize> {
        // Providers lock accounts whose keys they have to refuse repeatedly.
        let is_rejected =
            |target: &TargetFacts| self.request_key_rejected && target.key == KeyOrigin::Request;
        let ahead = self.targets.iter().enumerate().skip(at + 1);
        let mut open =
            ahead.filter(|(_, target)| !is_rejected(target) && may(target) && self.may_pay(target, class));
        open.next().map(|(index, _)| index)
    }

    /// Whether a platform key may serve in place of a customer's key that failed.
    fn may_pay(&self, target: &TargetFacts, class: Option<ErrorClass>) -> bool {
        if target.key != KeyOrigin::Platform {
            return true;
        }
        let allowed = self.rules.fallback == ByokFallback::Platform
            && class.is_none_or(ErrorClass::retry_with_other_key)
            && !self.own_key_unusable;
        !self.platform_closed && (self.own_failure.is_none() || allowed)
    }
}

/// What follows the failure of the target at `at`, which the state has recorded.
pub fn decide(state: &FailoverState, at: usize, failure: FailedAttempt, now: Instant) -> Decision {
    let Some(target) = state.targets.get(at) else { return GIVE_UP };
    let FailedAttempt::Called { class, is_billed, is_unusable_success } = failure else {
        let to = state.after_uncalled(at, failure == FailedAttempt::Unusable);
        let next = to.map_or(Next::GiveUp, |to| Next::Target { to, cost: StepCost::Free });
        return Decision { repeat: None, next };
    };
    let rules = &state.rules;
    // The charge stands; nothing else may be charged for the same request.
    if is_billed || state.transient_failures >= rules.attempts_max || now >= rules.until {
        return GIVE_UP;
    }
    let is_own = target.key != KeyOrigin::Platform;
    let budget = if is_own { RetryBudgetOf::Customer } else { RetryBudgetOf::Platform };
    // A timeout is not retried, nor an answer that cannot be used: the provider may bill each try. Output that the
    // model failed to write is requested once more, because another try may succeed, although each may be billed.
    let rewrite = class == ErrorClass::MalformedAnswer && state.repeats(at) == 0;
    let repeatable =
        (matches!(class, ErrorClass::Rate | ErrorClass::Overload) || rewrite) && !is_unusable_success;
    let repeat = |retry| repeatable.then_some(Repeat { retry, budget });
    let next = state.after(at, Some(class)).map_or(Next::GiveUp, |to| {
        let elsewhere = state.targets.get(to).is_some_and(|to| to.provider != target.provider);
        let cost = match (is_own || !class.is_transient(), elsewhere) {
            // One customer's failing key must not use up the retries of others.
            (true, _) => StepCost::Free,
            (false, true) => StepCost::RetryUnlessHealthy,
            (false, false) => StepCost::Retry,
        };
        Next::Target { to, cost }
    });
    let repeat = match (rules.repeats_max, next) {
        _ if rewrite => repeat(0),
        // The request's own setting has priority.
        (Some(most), _) => repeat(state.repeats(at)).filter(|repeat| repeat.retry < most),
        (None, Next::Target { .. }) => None,
        (None, Next::GiveUp) => repeat(state.transient_failures.saturating_sub(1)),
    };
    Decision { repeat, next }
}

#[cfg(test)]
mod tests;
