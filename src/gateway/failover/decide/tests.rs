//! The failover rule as a table: every class of error, on every kind of key, under both policies.

use super::*;
use std::time::Duration;

const CLASSES: [ErrorClass; 11] = [
    ErrorClass::BadKey,
    ErrorClass::InsufficientFunds,
    ErrorClass::Permission,
    ErrorClass::UnknownModel,
    ErrorClass::InvalidRequest,
    ErrorClass::ContextLength,
    ErrorClass::Rate,
    ErrorClass::Overload,
    ErrorClass::MalformedAnswer,
    ErrorClass::Timeout,
    ErrorClass::NotSent,
];

fn provider(name: &str) -> ProviderId {
    ProviderId::by_name(name).unwrap()
}

fn target(candidate: usize, name: &str, key: KeyOrigin) -> TargetFacts {
    TargetFacts { candidate, provider: provider(name), key }
}

fn rules(fallback: ByokFallback) -> FailoverRules {
    let until = Instant::now() + Duration::from_secs(60);
    FailoverRules { fallback, attempts_max: 4, repeats_max: None, until }
}

fn called(class: ErrorClass) -> FailedAttempt {
    FailedAttempt::Called { class, is_billed: false, is_unusable_success: false }
}

/// The decision after the first target failed.
fn first(state: &mut FailoverState, failure: FailedAttempt) -> Decision {
    state.record(0, failure);
    decide(state, 0, failure, Instant::now())
}

/// A decision in a few characters: `1`, `2`, … the target, `r` a retry, `$` a step that takes a retry, `?` one that
/// takes a retry unless the host is healthy, `-` giving up.
fn letters(decision: Decision) -> String {
    let repeat = if decision.repeat.is_some() { "r" } else { "" };
    let next = match decision.next {
        Next::Target { to, cost: StepCost::Free } => format!("{to}"),
        Next::Target { to, cost: StepCost::Retry } => format!("{to}$"),
        Next::Target { to, cost: StepCost::RetryUnlessHealthy } => format!("{to}?"),
        Next::GiveUp => "-".to_owned(),
    };
    format!("{repeat}{next}")
}

#[test]
fn every_class_of_error_on_every_key_under_both_policies_has_its_next_step() {
    use KeyOrigin::{Platform, Request, Stored};
    // Another model at the same provider is last, with a model of another provider between.
    let stored = vec![
        target(0, "openai", Stored),
        target(0, "openai", Platform),
        target(1, "groq", Platform),
        target(2, "openai", Stored),
    ];
    let request =
        vec![target(0, "openai", Request), target(1, "groq", Platform), target(2, "openai", Request)];
    let platform =
        vec![target(0, "openai", Platform), target(1, "openai", Platform), target(2, "groq", Platform)];
    let hosts = vec![target(0, "openai", Platform), target(1, "groq", Platform)];
    // For each class: a stored key, the request-scoped key, the platform key, the platform key with another host next;
    // each with the platform allowed after a customer's key, and not allowed.
    let table = [
        (ErrorClass::BadKey, [["1", "3"], ["1", "-"], ["1", "1"], ["1", "1"]]),
        (ErrorClass::InsufficientFunds, [["1", "3"], ["1", "-"], ["1", "1"], ["1", "1"]]),
        (ErrorClass::Permission, [["1", "3"], ["1", "2"], ["1", "1"], ["1", "1"]]),
        (ErrorClass::UnknownModel, [["3", "3"], ["2", "2"], ["1", "1"], ["1", "1"]]),
        (ErrorClass::InvalidRequest, [["-", "-"], ["-", "-"], ["-", "-"], ["-", "-"]]),
        (ErrorClass::ContextLength, [["3", "3"], ["2", "2"], ["1", "1"], ["1", "1"]]),
        (ErrorClass::Rate, [["1", "3"], ["1", "2"], ["1$", "1$"], ["1?", "1?"]]),
        (ErrorClass::Overload, [["1", "3"], ["1", "2"], ["1$", "1$"], ["1?", "1?"]]),
        (ErrorClass::MalformedAnswer, [["r3", "r3"], ["r2", "r2"], ["r1", "r1"], ["r1", "r1"]]),
        (ErrorClass::Timeout, [["1", "3"], ["1", "2"], ["1$", "1$"], ["1?", "1?"]]),
        (ErrorClass::NotSent, [["3", "3"], ["2", "2"], ["1", "1"], ["1", "1"]]),
    ];
    assert_eq!(table.map(|(class, _)| class), CLASSES, "a row for each class");
    for (class, expected) in table {
        for (targets, expected) in [&stored, &request, &platform, &hosts].into_iter().zip(expected) {
            for (fallback, expected) in
                [ByokFallback::Platform, ByokFallback::Never].into_iter().zip(expected)
            {
                let mut state = FailoverState::new(rules(fallback), targets.clone());
                let decision = letters(first(&mut state, called(class)));
                assert_eq!(decision, expected, "{class:?} {fallback:?} {targets:?}");
            }
        }
    }
}

#[test]
fn a_lone_target_is_repeated_only_where_the_same_call_may_work_and_nothing_was_billed() {
    for key in [KeyOrigin::Request, KeyOrigin::Stored, KeyOrigin::Platform] {
        let budget = match key {
            KeyOrigin::Platform => RetryBudgetOf::Platform,
            KeyOrigin::Request | KeyOrigin::Stored => RetryBudgetOf::Customer,
        };
        for class in CLASSES {
            let lone = || FailoverState::new(rules(ByokFallback::Platform), vec![target(0, "openai", key)]);
            let may = matches!(class, ErrorClass::Rate | ErrorClass::Overload | ErrorClass::MalformedAnswer);
            let repeat = may.then_some(Repeat { retry: 0, budget });
            assert_eq!(
                first(&mut lone(), called(class)),
                Decision { repeat, next: Next::GiveUp },
                "{class:?}"
            );
            let billed = FailedAttempt::Called { class, is_billed: true, is_unusable_success: false };
            assert_eq!(first(&mut lone(), billed), GIVE_UP, "{class:?}");
            let useless = FailedAttempt::Called { class, is_billed: false, is_unusable_success: true };
            assert_eq!(first(&mut lone(), useless), GIVE_UP, "{class:?}");
        }
    }
}

#[test]
fn transient_failures_end_at_their_limit_and_everything_at_the_end_of_the_time() {
    let hosts: Vec<TargetFacts> =
        (0..9).map(|number| target(number, "openai", KeyOrigin::Platform)).collect();
    let mut state = FailoverState::new(rules(ByokFallback::Platform), hosts.clone());
    let mut steps = Vec::new();
    for at in 0..4 {
        state.record(at, called(ErrorClass::Overload));
        steps.push(letters(decide(&state, at, called(ErrorClass::Overload), Instant::now())));
    }
    assert_eq!(steps, ["1$", "2$", "3$", "-"]);
    let mut state = FailoverState::new(rules(ByokFallback::Platform), hosts);
    state.record(0, called(ErrorClass::UnknownModel));
    let late = state.rules.until;
    assert_eq!(decide(&state, 0, called(ErrorClass::UnknownModel), late), GIVE_UP);
}

#[test]
fn a_request_that_names_its_repeats_gets_them_before_the_next_model_and_no_others() {
    let rules = FailoverRules { repeats_max: Some(2), attempts_max: 6, ..rules(ByokFallback::Platform) };
    let targets = vec![target(0, "openai", KeyOrigin::Platform), target(1, "groq", KeyOrigin::Platform)];
    let mut state = FailoverState::new(rules, targets);
    let overload = called(ErrorClass::Overload);
    let mut repeats = Vec::new();
    for at in [0, 0, 0, 1, 1, 1] {
        state.record(at, overload);
        let decision = decide(&state, at, overload, Instant::now());
        repeats.push((decision.repeat.map(|repeat| repeat.retry), letters(decision)));
        if decision.repeat.is_some() {
            state.record_repeat(at);
        }
    }
    let expected = [
        (Some(0), "r1?"),
        (Some(1), "r1?"),
        (None, "1?"),
        (Some(0), "r-"),
        (Some(1), "r-"),
        // The limit on attempts.
        (None, "-"),
    ];
    assert_eq!(repeats, expected.map(|(retry, text)| (retry, text.to_owned())));
}

#[test]
fn what_was_not_called_moves_on_and_never_to_the_platform_for_a_key_that_we_cannot_use() {
    use KeyOrigin::{Platform, Stored};
    let targets = vec![
        target(0, "openai", Stored),
        target(0, "openai", Platform),
        target(1, "groq", Platform),
        target(2, "openai", Stored),
    ];
    let state = || FailoverState::new(rules(ByokFallback::Platform), targets.clone());
    assert_eq!(letters(first(&mut state(), FailedAttempt::Unusable)), "3");
    // Another provider may support a field that this provider does not support, on whatever key serves there.
    assert_eq!(letters(first(&mut state(), FailedAttempt::Unsupported)), "2");
    let mut unusable = state();
    unusable.record(0, FailedAttempt::Unusable);
    assert!(unusable.is_own_key_unusable());
    unusable.record(3, called(ErrorClass::BadKey));
    assert_eq!(decide(&unusable, 3, called(ErrorClass::BadKey), Instant::now()), GIVE_UP);
}

#[test]
fn without_credit_only_own_keys_are_left() {
    use KeyOrigin::{Platform, Stored};
    let targets =
        vec![target(0, "openai", Platform), target(1, "groq", Platform), target(2, "openai", Stored)];
    let mut state = FailoverState::new(rules(ByokFallback::Platform), targets);
    state.close_platform();
    assert_eq!(state.after_refused_hold(0), Some(2));
    assert!(state.has_alternative(0) && !state.has_alternative(2));
}

#[test]
fn a_malformed_answer_is_asked_for_once_more_and_then_elsewhere() {
    let hosts = vec![target(0, "google", KeyOrigin::Platform), target(1, "groq", KeyOrigin::Platform)];
    let mut state = FailoverState::new(rules(ByokFallback::Platform), hosts);
    let malformed = called(ErrorClass::MalformedAnswer);
    assert_eq!(letters(first(&mut state, malformed)), "r1");
    state.record_repeat(0);
    state.record(0, malformed);
    assert_eq!(letters(decide(&state, 0, malformed, Instant::now())), "1");
}
