//! Admission: never more than there is, never less than fits.

use super::*;
use crate::{
    billing::ledger::{HoldOutcome, LedgerError, Settle, SettleOutcome},
    domain::ambient::Ambient,
};
use futures_util::FutureExt;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn credit_for_ten_admits_exactly_ten_of_1280_concurrent_holds() {
    let test = TestDb::create().await;
    let scope = test.organization(10_000).await;
    let mut ledgers = Vec::new();
    for _ in 0..3 {
        let db = test.second_process();
        ledgers.push(start(&test, &db).await);
    }
    let mut tasks = JoinSet::new();
    for number in 0..1_280 {
        let (ledger, request) = (ledgers[number % 3].clone(), fixed(&test, scope, 1_000));
        tasks.spawn(async move { ledger.hold(request).await.unwrap() });
    }
    let admitted = tasks.join_all().await.into_iter();
    let admitted = admitted.filter(|outcome| matches!(outcome, HoldOutcome::Admitted { .. })).count();
    assert_eq!(admitted, 10);
    assert_eq!(balance(&test, scope).await, (10_000, 10_000));
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_hold_is_admitted_beside_refused_large_ones_of_the_same_batch() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000).await;
    let ledger = start(&test, &test.db).await;
    let mut tasks = JoinSet::new();
    for want in [5_000, 900, 4_000, 60, 2_000, 40] {
        let (ledger, request) = (ledger.clone(), fixed(&test, scope, want));
        tasks.spawn(async move { (want, ledger.hold(request).await.unwrap()) });
    }
    for (want, outcome) in tasks.join_all().await {
        if want <= 1_000 {
            assert_eq!(outcome, HoldOutcome::Admitted { amount: NanoUsd(want) });
        } else {
            assert!(matches!(outcome, HoldOutcome::Refused { .. }), "{want}: {outcome:?}");
        }
    }
    assert_eq!(balance(&test, scope).await, (1_000, 1_000));
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_may_be_smaller_takes_what_is_left_even_behind_a_refused_one() {
    let test = TestDb::create().await;
    let scope = test.organization(100).await;
    let ledger = start(&test, &test.db).await;
    let (first, second) = (fixed(&test, scope, 150), ranged(&test, scope, 500, 20));
    let (first, second) = tokio::join!(ledger.hold(first), ledger.hold(second));
    assert!(matches!(first.unwrap(), HoldOutcome::Refused { .. }));
    assert_eq!(second.unwrap(), HoldOutcome::Admitted { amount: NanoUsd(100) });
    let outcome = ledger.hold(ranged(&test, scope, 500, 1)).await.unwrap();
    assert_eq!(outcome, HoldOutcome::Refused { available: NanoUsd(0) });
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_hold_asked_for_many_times_is_one_hold() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000).await;
    let ledger = start(&test, &test.db).await;
    let request = fixed(&test, scope, 300);
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let (ledger, request) = (ledger.clone(), request.clone());
        tasks.spawn(async move { ledger.hold(request).await.unwrap() });
    }
    for outcome in tasks.join_all().await {
        assert_eq!(outcome, HoldOutcome::Admitted { amount: NanoUsd(300) });
    }
    assert_eq!(balance(&test, scope).await, (1_000, 300));
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_whose_caller_left_is_given_back() {
    let test = TestDb::create().await;
    let scope = test.organization(100_000).await;
    let ledger = start(&test, &test.db).await;
    let mut tasks = JoinSet::new();
    for _ in 0..200 {
        let (ledger, request) = (ledger.clone(), fixed(&test, scope, 100));
        tasks.spawn(async move { ledger.hold(request).await.map(drop) });
    }
    tokio::task::yield_now().await;
    tasks.abort_all();
    let mut kept = 0;
    while let Some(ended) = tasks.join_next().await {
        kept += i64::from(ended.is_ok());
    }
    ledger.flush().await;
    assert_eq!(balance(&test, scope).await, (100_000, kept * 100));
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_admitted_but_never_read_is_given_back() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000).await;
    let ledger = start(&test, &test.db).await;
    let mut hold = Box::pin(ledger.hold(fixed(&test, scope, 100)));
    assert!((&mut hold).now_or_never().is_none(), "asked, not answered");
    ledger.flush().await;
    assert_eq!(balance(&test, scope).await, (1_000, 100), "answered, not read");
    drop(hold);
    ledger.flush().await;
    assert_eq!(balance(&test, scope).await, (1_000, 0));
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_admitted_is_told_apart() {
    let test = TestDb::create().await;
    let scope = test.organization(100).await;
    let (ledger, instance) = start_as(&test, &test.db, LedgerLimits::default()).await;
    let outcome = ledger.hold(fixed(&test, test.nobody(), 1)).await.unwrap();
    assert_eq!(outcome, HoldOutcome::Refused { available: NanoUsd(0) }, "no account, no credit");
    let error = ledger.hold(ranged(&test, scope, 10, 11)).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unavailable(_)), "floor above want");
    let spent = fixed(&test, scope, 10);
    ledger.hold(spent.clone()).await.unwrap();
    assert_eq!(ledger.settle(Settle::void(scope, spent.id)).await.unwrap(), SettleOutcome::Posted);
    assert!(ledger.hold(spent).await.is_err(), "an ended hold does not open again");
    instances::retire(&mut test.db.acquire().await.unwrap(), instance).await.unwrap();
    let error = ledger.hold(fixed(&test, scope, 1)).await.unwrap_err();
    assert!(error.to_string().contains("lease"), "{error}");
    let renewal = instances::renew(&mut test.db.acquire().await.unwrap(), instance, &[]).await.unwrap();
    assert_eq!(renewal, instances::Renewal::Lapsed);
    assert!(matches!(ledger.hold(fixed(&test, scope, 1)).await.unwrap(), HoldOutcome::Admitted { .. }));
    assert_clean(&test).await;
}

/// What one task has charged and how many operations it has made.
#[derive(Default)]
struct Made {
    charged: i64,
    operations: usize,
}

/// One hold and its end: settled below, at or above it, settled twice, voided, or with a checkpoint before.
async fn mixed(ledger: &Ledger, scope: OrgScope, template: &HoldRequest, step: usize, ids: &Ambient) -> Made {
    let id = HoldId(ids.uuid());
    let request = HoldRequest { scope, id, request_id: RequestId(id.0), ..template.clone() };
    let held = ledger.hold(request).await.unwrap();
    assert_eq!(held, HoldOutcome::Admitted { amount: NanoUsd(100) });
    let cost = [40, 95, 200][step % 3];
    let settle = || Settle::charge(scope, id, bill(cost), EntryId(ids.uuid()));
    let mut operations = 2;
    if step % 10 == 1 {
        assert_eq!(ledger.settle(Settle::void(scope, id)).await.unwrap(), SettleOutcome::Posted);
        return Made { charged: 0, operations };
    }
    if step % 10 == 2 {
        ledger.checkpoint(checkpoint(scope, id, 10));
        operations += 1;
    }
    assert_eq!(ledger.settle(settle()).await.unwrap(), SettleOutcome::Posted);
    if step % 10 == 3 {
        assert_eq!(ledger.settle(settle()).await.unwrap(), SettleOutcome::Repeat);
        operations += 1;
    }
    Made { charged: bill(cost).charge().0, operations }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_ledgers_on_many_organizations_neither_deadlock_nor_drift() {
    let test = TestDb::create().await;
    let (credit, steps) = (1_000_000_000, sized(20, 2_300));
    let mut scopes = Vec::new();
    for _ in 0..40 {
        scopes.push(test.organization(credit).await);
    }
    let begun = std::time::Instant::now();
    let mut tasks = JoinSet::new();
    for process in 0..3_usize {
        let ledger = start(&test, &test.second_process()).await;
        // No job renews the leases here.
        test.tamper("UPDATE instance SET lease_until = now() + interval '1 day'").await;
        for task in 0..64_usize {
            let (ledger, scopes, ambient) = (ledger.clone(), scopes.clone(), test.ambient.clone());
            let template = fixed(&test, scopes[0], 100);
            tasks.spawn(async move {
                let mut made = Made::default();
                for step in 0..steps {
                    // Each task walks the organizations in an order of its own.
                    let scope = scopes[(task * 7 + step * (process + 3)) % scopes.len()];
                    let more = mixed(&ledger, scope, &template, step, &ambient).await;
                    made.charged += more.charged;
                    made.operations += more.operations;
                }
                made
            });
        }
    }
    let made = tasks.join_all().await;
    let charged: i64 = made.iter().map(|made| made.charged).sum();
    let operations: usize = made.iter().map(|made| made.operations).sum();
    assert_eq!(test.number("SELECT sum(posted)::bigint FROM credit_account").await, 40 * credit - charged);
    assert_eq!(test.number("SELECT sum(held)::bigint FROM credit_account").await, 0);
    assert_eq!(
        test.number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await,
        0
    );
    assert_ledger_is_clean(&test).await;
    let seconds = begun.elapsed().as_secs();
    println!(
        "bar 1: {operations} mixed operations of 3 ledgers on 40 organizations in {seconds} s, no drift"
    );
}
