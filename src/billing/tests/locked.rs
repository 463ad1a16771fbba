//! If another transaction has locked an account, only its organization has to wait.

use super::*;
use crate::billing::ledger::{HoldOutcome, LedgerError, Settle, SettleOutcome};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_account_holds_up_its_own_organization_and_no_other() {
    let test = TestDb::create().await;
    let (blocked, other) = (test.organization(10_000).await, test.organization(1_000_000).await);
    let limits = LedgerLimits {
        lock_probe: Duration::from_millis(5),
        hold_wait: Duration::from_secs(2),
        ..LedgerLimits::default()
    };
    let (ledger, _) = start_as(&test, &test.second_process(), limits).await;
    let held = fixed(&test, blocked, 1_000);
    ledger.hold(held.clone()).await.unwrap();
    let mut blocker = test.db.begin().await.unwrap();
    sqlx::query("SELECT * FROM credit_account WHERE org_id = $1 FOR UPDATE")
        .bind(blocked.org_id().0)
        .execute(&mut *blocker)
        .await
        .unwrap();
    let settle = ledger.settle(Settle::charge(blocked, held.id, bill(400), entry(&test)));
    let refused = ledger.hold(fixed(&test, blocked, 100));
    let others = async {
        for _ in 0..200 {
            let request = fixed(&test, other, 1_000);
            let admitted = ledger.hold(request.clone()).await.unwrap();
            assert_eq!(admitted, HoldOutcome::Admitted { amount: NanoUsd(1_000) });
            let settle = Settle::charge(other, request.id, bill(100), entry(&test));
            assert_eq!(ledger.settle(settle).await.unwrap(), SettleOutcome::Posted);
        }
        test.number(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
             AND wait_event_type = 'Lock'",
        )
        .await
    };
    let (refused, waiting) = tokio::join!(refused, others);
    assert!(matches!(refused, Err(LedgerError::Unavailable(_))), "{refused:?}");
    assert_eq!(waiting, 0, "no backend is left waiting for the account");
    assert_eq!(ledger.unwritten(), 1);
    blocker.rollback().await.unwrap();
    assert_eq!(settle.await.unwrap(), SettleOutcome::Posted);
    ledger.flush().await;
    assert_eq!(balance(&test, blocked).await, (9_580, 0));
    assert_eq!(balance(&test, other).await, (1_000_000 - 200 * 105, 0));
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_not_delivered_costs_nothing_whenever_its_charge_is_written() {
    let test = TestDb::create().await;
    let scope = test.organization(10_000).await;
    let ledger = start(&test, &test.db).await;
    // The charge is durable already.
    let written = fixed(&test, scope, 1_000);
    ledger.hold(written.clone()).await.unwrap();
    ledger.settle(Settle::charge(scope, written.id, bill(400), entry(&test))).await.unwrap();
    let void = Settle::void(scope, written.id).revising();
    for _ in 0..2 {
        assert_eq!(ledger.settle(void).await.unwrap(), SettleOutcome::Revised);
    }
    // The charge is still queued, or on its way.
    let queued = fixed(&test, scope, 1_000);
    ledger.hold(queued.clone()).await.unwrap();
    ledger.settle_later(Settle::charge(scope, queued.id, bill(400), entry(&test)));
    let outcome = ledger.settle(Settle::void(scope, queued.id).revising()).await.unwrap();
    assert!(matches!(outcome, SettleOutcome::Posted | SettleOutcome::Revised), "{outcome:?}");
    assert_eq!(balance(&test, scope).await, (10_000, 0));
    assert_clean(&test).await;
}
