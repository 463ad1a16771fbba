//! What a process leaves behind: holds that nobody ends, and records that were not written.

use super::*;
use crate::billing::{
    ledger::{Settle, SettleOutcome},
    reap::{end_unknown, make_up_records, reap_once},
    record::{Record, RecordLimits, Recorder},
};

async fn texts(test: &TestDb, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(&mut *test.db.acquire().await.unwrap()).await.unwrap()
}

const USAGE: &str =
    "SELECT concat_ws(' ', provider, model, status, basis, input_tokens, output_tokens, cost, charge,
                                      COALESCE(flag, '-')) FROM usage ORDER BY charge DESC";
const RECEIPTS: &str =
    "SELECT document->>'charged_nano_usd' FROM receipt ORDER BY (document->>'charged_nano_usd')::bigint DESC";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_hold_has_its_usage_row_and_receipt_until_the_real_ones_come() {
    let test = TestDb::create().await;
    let scope = test.organization(10_000).await;
    let (paused, instance) = start_as(&test, &test.db, LedgerLimits::default()).await;
    let (streamed, silent) = (fixed(&test, scope, 900), fixed(&test, scope, 800));
    paused.hold(streamed.clone()).await.unwrap();
    paused.hold(silent.clone()).await.unwrap();
    paused.checkpoint(checkpoint(scope, streamed.id, 200));
    paused.flush().await;
    let_lapse(&test, instance).await;
    let mut connection = test.db.acquire().await.unwrap();
    assert_eq!(reap_once(&mut connection, &test.ambient, 10).await.unwrap().len(), 2);
    let expired = "groq served aborted estimated 7 9 200 210 expired";
    assert_eq!(texts(&test, USAGE).await, [expired, "openai m failed estimated 0 0 0 0 expired"]);
    assert_eq!(texts(&test, RECEIPTS).await, ["210", "0"]);
    assert_clean(&test).await;
    // It was only stopped for a while: what it says now is what stands everywhere.
    let late = Settle::charge(scope, streamed.id, bill(500), entry(&test));
    assert_eq!(paused.settle(late).await.unwrap(), SettleOutcome::Late);
    let recorder = Recorder::start(&test.db, test.ambient.clone(), RecordLimits::default());
    let row = crate::billing::record::UsageRow {
        cost: Some(NanoUsd(500)),
        charge: NanoUsd(525),
        ..reports::usage_row("m", 0)
    };
    let record = Record {
        scope,
        request_id: streamed.request_id,
        api_key_id: streamed.api_key_id,
        usage: Some(row),
        receipt: Some(r#"{"charged_nano_usd": 525}"#.to_owned().into()),
        replaces: true,
    };
    recorder.record(record);
    recorder.flush().await;
    assert_eq!(texts(&test, USAGE).await[0], "openai m completed counted 10 5 500 525 -");
    assert_eq!(texts(&test, RECEIPTS).await, ["525", "0"]);
    assert_eq!(balance(&test, scope).await, (9_475, 0));
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_of_this_process_that_no_request_has_are_ended_and_no_others() {
    let test = TestDb::create().await;
    let scope = test.organization(10_000).await;
    let (ledger, _) = start_as(&test, &test.db, LedgerLimits::default()).await;
    let (running, lost) = (fixed(&test, scope, 900), fixed(&test, scope, 800));
    ledger.hold(running.clone()).await.unwrap();
    ledger.hold(lost.clone()).await.unwrap();
    ledger.settle(Settle::charge(scope, lost.id, bill(100), entry(&test))).await.unwrap();
    // A standby that had not yet heard of the settle has become the database.
    test.tamper(
        "DELETE FROM entry WHERE kind = 'charge';
         UPDATE credit_account SET posted = posted + 105, held = held + 800;
         UPDATE hold SET state = 'open', cost = NULL, charge = NULL, resolved_at = NULL WHERE amount = 800",
    )
    .await;
    let mut connection = test.db.acquire().await.unwrap();
    let soon = test.ambient.now() + std::time::Duration::from_secs(60);
    let open =
        crate::store::instances::list_open(&mut connection, ledger.instance(), soon, 10).await.unwrap();
    assert_eq!(open.len(), 2);
    let unknown = ledger.unknown_of(open).await;
    assert_eq!(unknown, [lost.id]);
    end_unknown(&mut connection, &test.ambient, &unknown).await.unwrap();
    assert_eq!(balance(&test, scope).await, (10_000, 900));
    assert_clean(&test).await;
    let settle = Settle::charge(scope, running.id, bill(100), entry(&test));
    assert_eq!(ledger.settle(settle).await.unwrap(), SettleOutcome::Posted);
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_record_died_with_its_process_gets_one() {
    let test = TestDb::create().await;
    let scope = test.organization(10_000).await;
    let (dead, instance) = start_as(&test, &test.db, LedgerLimits::default()).await;
    let hold = fixed(&test, scope, 900);
    dead.hold(hold.clone()).await.unwrap();
    dead.settle(Settle::charge(scope, hold.id, bill(100), entry(&test))).await.unwrap();
    let voided = fixed(&test, scope, 900);
    dead.hold(voided.clone()).await.unwrap();
    dead.settle(Settle::void(scope, voided.id)).await.unwrap();
    let mut connection = test.db.acquire().await.unwrap();
    assert_eq!(make_up_records(&mut connection, &test.ambient, 10).await.unwrap(), None, "it lives");
    let_lapse(&test, instance).await;
    assert_eq!(make_up_records(&mut connection, &test.ambient, 10).await.unwrap(), Some(instance));
    assert_eq!(make_up_records(&mut connection, &test.ambient, 10).await.unwrap(), None, "once");
    assert_eq!(texts(&test, USAGE).await, ["openai m completed estimated 0 0 100 105 expired"]);
    let mut receipts = texts(&test, RECEIPTS).await;
    receipts.sort();
    assert_eq!(receipts, ["0", "105"], "one for each request that ended");
    let failed = "SELECT count(*) FROM receipt WHERE charge = 0 AND status = 'failed'";
    assert_eq!(test.number(failed).await, 1);
    test.tamper("UPDATE hold SET resolved_at = now() - interval '2 hours'").await;
    assert_clean(&test).await;
}
