//! Settles: once, whole, never refused for lack of funds. Reaping, checkpoints and credit.

use super::*;
use crate::{
    billing::{
        ledger::{HoldOutcome, Settle, SettleOutcome},
        reap::reap_once,
    },
    store::topups::{self, Credit, CreditKind, CreditOutcome},
};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_two_concurrent_settles_and_ten_replays_write_one_entry() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000_000).await;
    let ledgers = [start(&test, &test.db).await, start(&test, &test.second_process()).await];
    let request = fixed(&test, scope, 5_000);
    ledgers[0].hold(request.clone()).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..32 {
        let settle = Settle::charge(scope, request.id, bill(1_000), entry(&test));
        tasks.spawn(ledgers[number % 2].settle(settle));
    }
    let mut outcomes = Vec::new();
    for outcome in tasks.join_all().await {
        outcomes.push(outcome.unwrap());
    }
    for _ in 0..10 {
        let settle = Settle::charge(scope, request.id, bill(1_000), entry(&test));
        outcomes.push(ledgers[1].settle(settle).await.unwrap());
    }
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == SettleOutcome::Posted).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == SettleOutcome::Repeat).count(), 41);
    let other = Settle::charge(scope, request.id, bill(2_000), entry(&test));
    let conflict = SettleOutcome::Conflict { charge: NanoUsd(1_050) };
    assert_eq!(ledgers[0].settle(other).await.unwrap(), conflict);
    assert_eq!(ledgers[0].settle(Settle::void(scope, request.id)).await.unwrap(), conflict);
    assert_eq!(test.number("SELECT count(*) FROM entry WHERE kind = 'charge'").await, 1);
    assert_eq!(balance(&test, scope).await, (998_950, 0));
    assert_clean(&test).await;
    println!("bar 3: 32 concurrent settles and 10 replays wrote 1 entry; another amount is a typed conflict");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_settles_of_one_account_in_one_batch_all_count() {
    let test = TestDb::create().await;
    let scope = test.organization(10_000).await;
    let ledger = start(&test, &test.db).await;
    let requests: Vec<_> = (0..3).map(|_| fixed(&test, scope, 1_000)).collect();
    for request in &requests {
        ledger.hold(request.clone()).await.unwrap();
    }
    let settles: Vec<_> = requests
        .iter()
        .map(|request| ledger.settle(Settle::charge(scope, request.id, bill(100), entry(&test))))
        .collect();
    let beside = ledger.hold(fixed(&test, scope, 500));
    let (beside, settled) = tokio::join!(beside, futures_util::future::join_all(settles));
    assert_eq!(beside.unwrap(), HoldOutcome::Admitted { amount: NanoUsd(500) });
    assert!(settled.into_iter().all(|outcome| outcome.unwrap() == SettleOutcome::Posted));
    assert_eq!(balance(&test, scope).await, (10_000 - 3 * 105, 500));
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settle_above_its_hold_is_charged_whole_even_below_zero() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000).await;
    let ledger = start(&test, &test.db).await;
    let request = ranged(&test, scope, 9_000, 10);
    assert_eq!(ledger.hold(request.clone()).await.unwrap(), HoldOutcome::Admitted { amount: NanoUsd(1_000) });
    ledger.settle(Settle::charge(scope, request.id, bill(2_000), entry(&test))).await.unwrap();
    assert_eq!(balance(&test, scope).await, (-1_100, 0));
    let refused = ledger.hold(ranged(&test, scope, 1, 0)).await.unwrap();
    assert_eq!(refused, HoldOutcome::Refused { available: NanoUsd(-1_100) });
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_without_a_charge_write_no_entry_and_an_unknown_hold_is_said_so() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000).await;
    let ledger = start(&test, &test.db).await;
    let (voided, free) = (fixed(&test, scope, 100), fixed(&test, scope, 100));
    ledger.hold(voided.clone()).await.unwrap();
    ledger.hold(free.clone()).await.unwrap();
    ledger.settle_later(Settle::void(scope, voided.id));
    ledger.settle_later(Settle::charge(scope, free.id, Bill::ZERO, entry(&test)));
    ledger.flush().await;
    assert_eq!(ledger.settle(Settle::void(scope, voided.id)).await.unwrap(), SettleOutcome::Repeat);
    let nothing = HoldId(test.ambient.uuid());
    assert_eq!(ledger.settle(Settle::void(scope, nothing)).await.unwrap(), SettleOutcome::Unknown);
    let foreign = Settle::void(test.organization(1).await, free.id);
    assert_eq!(ledger.settle(foreign).await.unwrap(), SettleOutcome::Unknown);
    assert_eq!(test.number("SELECT count(*) FROM entry WHERE kind = 'charge'").await, 0);
    assert_eq!(balance(&test, scope).await, (1_000, 0));
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_of_a_gone_process_expire_at_their_checkpoint_and_a_late_settle_posts_the_difference() {
    let test = TestDb::create().await;
    let (scope, other) = (test.organization(10_000).await, test.organization(10_000).await);
    let (dead, instance) = start_as(&test, &test.db, LedgerLimits::default()).await;
    let alive = start(&test, &test.second_process()).await;
    let (streamed, silent, kept) =
        (fixed(&test, scope, 900), fixed(&test, other, 800), fixed(&test, scope, 700));
    dead.hold(streamed.clone()).await.unwrap();
    dead.hold(silent.clone()).await.unwrap();
    alive.hold(kept.clone()).await.unwrap();
    for cost in [100, 200, 150] {
        dead.checkpoint(checkpoint(scope, streamed.id, cost));
        dead.flush().await;
    }
    let mut connection = test.db.acquire().await.unwrap();
    assert!(reap_once(&mut connection, &test.ambient, 10).await.unwrap().is_empty(), "its lease is live");
    sqlx::query("UPDATE instance SET lease_until = now() - interval '16 seconds' WHERE id = $1")
        .bind(instance.0)
        .execute(&mut *connection)
        .await
        .unwrap();
    let first = reap_once(&mut connection, &test.ambient, 1).await.unwrap();
    let second = reap_once(&mut connection, &test.ambient, 10).await.unwrap();
    assert_eq!((first.len(), second.len()), (1, 1));
    let charged: i64 = first.iter().chain(&second).map(|reaped| reaped.charge.0).sum();
    assert_eq!(charged, 210, "the highest checkpoint, and nothing where there was none");
    assert_eq!(balance(&test, scope).await, (9_790, 700));
    assert_eq!(balance(&test, other).await, (10_000, 0));
    let late = Settle::charge(scope, streamed.id, bill(500), entry(&test));
    for _ in 0..2 {
        assert_eq!(dead.settle(late).await.unwrap(), SettleOutcome::Late, "the difference is posted, once");
    }
    let other = Settle::charge(scope, streamed.id, bill(400), entry(&test));
    let stands = SettleOutcome::Conflict { charge: NanoUsd(525) };
    assert_eq!(dead.settle(other).await.unwrap(), stands);
    let live = Settle::charge(scope, kept.id, bill(100), entry(&test));
    assert_eq!(alive.settle(live).await.unwrap(), SettleOutcome::Posted);
    assert_eq!(balance(&test, scope).await, (9_370, 0));
    forget_records(&test).await;
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_event_is_credited_once() {
    let test = TestDb::create().await;
    let (scope, other) = (test.organization(0).await, test.organization(0).await);
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (db, entry_id, now) = (test.db.clone(), entry(&test), test.ambient.now());
        tasks.spawn(async move {
            let credit = Credit {
                kind: CreditKind::Topup,
                amount: NanoUsd(500),
                external_id: Some("evt_1"),
                note: "",
                entry_id,
                now,
            };
            topups::grant(&mut db.acquire().await.unwrap(), scope, &credit).await.unwrap()
        });
    }
    let outcomes = tasks.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == CreditOutcome::Posted).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == CreditOutcome::Repeat).count(), 7);
    let mut connection = test.db.acquire().await.unwrap();
    let (entry_id, now) = (entry(&test), test.ambient.now());
    let more = Credit {
        kind: CreditKind::Topup,
        amount: NanoUsd(900),
        external_id: Some("evt_1"),
        note: "",
        entry_id,
        now,
    };
    let conflict = CreditOutcome::Conflict { org_id: scope.org_id(), amount: NanoUsd(500) };
    for scope in [scope, other] {
        assert_eq!(topups::grant(&mut connection, scope, &more).await.unwrap(), conflict);
    }
    let unknown = Credit { external_id: Some("evt_2"), ..more };
    let outcome = topups::grant(&mut connection, test.nobody(), &unknown).await.unwrap();
    assert_eq!(outcome, CreditOutcome::NoAccount);
    assert_eq!(test.number("SELECT count(*) FROM topup").await, 1);
    assert_eq!((balance(&test, scope).await, balance(&test, other).await), ((500, 0), (0, 0)));
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credit_beyond_the_largest_balance_is_refused_and_moves_nothing() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000).await;
    for (amount, external_id, expected) in [
        (i64::MAX, None, CreditOutcome::TooMuch),
        (i64::MAX, Some("evt"), CreditOutcome::TooMuch),
        (topups::BALANCE_MAX.0, None, CreditOutcome::TooMuch),
        (topups::BALANCE_MAX.0 - 1_000, Some("evt"), CreditOutcome::Posted),
        (1, None, CreditOutcome::TooMuch),
    ] {
        let credit = Credit {
            kind: if external_id.is_some() { CreditKind::Topup } else { CreditKind::Grant },
            amount: NanoUsd(amount),
            external_id,
            note: "",
            entry_id: entry(&test),
            now: test.ambient.now(),
        };
        let outcome = topups::grant(&mut test.db.acquire().await.unwrap(), scope, &credit).await.unwrap();
        assert_eq!(outcome, expected, "{amount}");
    }
    assert_eq!(balance(&test, scope).await, (topups::BALANCE_MAX.0, 0));
    assert_clean(&test).await;
}
