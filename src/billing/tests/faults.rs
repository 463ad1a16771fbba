//! The database fails while money moves: nothing is doubled, nothing is lost.

use super::*;
use crate::billing::{
    ledger::{HoldOutcome, LedgerError, Settle, SettleOutcome},
    record::{Record, RecordLimits, Recorder},
};
use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};
use tokio::task::JoinSet;

/// Ends every backend of the second process.
const KILL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'second process'";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn backends_killed_in_the_middle_of_flushes_neither_double_nor_lose() {
    let test = TestDb::create().await;
    let mut scopes = Vec::new();
    for _ in 0..8 {
        scopes.push(test.organization(1_000_000_000).await);
    }
    let (ledger, _) = start_as(&test, &test.second_process(), LedgerLimits::default()).await;
    let (done, charged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let mut tasks = JoinSet::new();
    for task in 0..48_usize {
        let (ledger, ambient, done, charged) =
            (ledger.clone(), test.ambient.clone(), Arc::clone(&done), Arc::clone(&charged));
        let template = fixed(&test, scopes[task % scopes.len()], 1_000);
        tasks.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let id = HoldId(ambient.uuid());
                let request = HoldRequest { id, request_id: RequestId(id.0), ..template.clone() };
                match ledger.hold(request).await {
                    Ok(HoldOutcome::Admitted { .. }) => {}
                    Ok(HoldOutcome::OverBudget(budget)) => panic!("{budget:?}"),
                    Ok(HoldOutcome::Refused { available }) => panic!("refused with {available:?} free"),
                    Err(LedgerError::Unavailable(_)) => continue,
                    Err(error) => panic!("{error}"),
                }
                let settle = Settle::charge(template.scope, id, bill(100), EntryId(ambient.uuid()));
                match ledger.settle(settle).await.unwrap() {
                    SettleOutcome::Posted | SettleOutcome::Repeat => {
                        charged.fetch_add(105, Ordering::Relaxed)
                    }
                    other => panic!("{other:?}"),
                };
            }
        });
    }
    let mut killed = 0;
    while killed < 25 {
        let before = charged.load(Ordering::Relaxed);
        killed += test.number(KILL).await;
        while charged.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
    }
    done.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    ledger.flush().await;
    let charged = charged.load(Ordering::Relaxed);
    assert!(charged > 0);
    assert_eq!(test.number("SELECT sum(posted)::bigint FROM credit_account").await, 8_000_000_000 - charged);
    assert_eq!(test.number("SELECT sum(held)::bigint FROM credit_account").await, 0);
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_accounts_are_out_of_reach_holds_fail_in_time_and_settles_wait() {
    let test = TestDb::create().await;
    let scope = test.organization(10_000).await;
    let limits = LedgerLimits {
        hold_wait: Duration::from_millis(600),
        flush_timeout: Duration::from_millis(250),
        ..LedgerLimits::default()
    };
    let (ledger, _) = start_as(&test, &test.second_process(), limits).await;
    let held = fixed(&test, scope, 1_000);
    ledger.hold(held.clone()).await.unwrap();
    // Another transaction sits on the accounts: statements reach the server and stay there, and run on
    // after the gateway has given them up.
    let mut blocker = test.db.begin().await.unwrap();
    sqlx::query("SELECT * FROM credit_account FOR UPDATE").execute(&mut *blocker).await.unwrap();
    let settle = ledger.settle(Settle::charge(scope, held.id, bill(400), entry(&test)));
    for _ in 0..3 {
        let error = ledger.hold(fixed(&test, scope, 2_000)).await.unwrap_err();
        assert!(matches!(error, LedgerError::Unavailable(_)), "{error}");
    }
    blocker.rollback().await.unwrap();
    let outcome = settle.await.unwrap();
    assert!(matches!(outcome, SettleOutcome::Posted | SettleOutcome::Repeat), "{outcome:?}");
    ledger.flush().await;
    // Statements that were given up may still be running; those that come late must find nothing to do.
    while test
        .number(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                       AND state <> 'idle' AND pid <> pg_backend_pid()",
        )
        .await
        > 0
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(balance(&test, scope).await, (9_580, 0), "no failed hold stayed behind");
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_operation_that_the_database_refuses_does_not_stop_the_others() {
    let test = TestDb::create().await;
    let scope = test.organization(10_000).await;
    let ledger = start(&test, &test.db).await;
    let requests: Vec<_> = (0..4).map(|_| fixed(&test, scope, 100)).collect();
    for request in &requests {
        ledger.hold(request.clone()).await.unwrap();
    }
    let twice = entry(&test);
    let settles = requests.iter().enumerate().map(|(number, request)| {
        let entry_id = if number < 2 { twice } else { entry(&test) };
        ledger.settle(Settle::charge(scope, request.id, bill(100), entry_id))
    });
    let outcomes = futures_util::future::join_all(settles).await;
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(LedgerError::Refused(_)))).count();
    let posted = outcomes.iter().filter(|outcome| matches!(outcome, Ok(SettleOutcome::Posted))).count();
    assert_eq!((refused, posted), (1, 3));
    assert_eq!(balance(&test, scope).await, (10_000 - 3 * 105, 100));
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_survive_killed_backends_and_a_bad_one_among_them() {
    let test = TestDb::create().await;
    let scope = test.organization(0).await;
    let limits = RecordLimits {
        linger: Duration::from_millis(1),
        retry_pause: Duration::from_millis(1),
        ..RecordLimits::default()
    };
    let recorder = Recorder::start(&test.second_process(), test.ambient.clone(), limits);
    for number in 0..300_i64 {
        let receipt = if number == 150 { "{".to_owned() } else { format!(r#"{{"number":{number}}}"#) };
        let record = Record {
            scope,
            request_id: RequestId(test.ambient.uuid()),
            api_key_id: ApiKeyId(test.ambient.uuid()),
            usage: (number % 2 == 0).then(|| reports::usage_row("m", number)),
            receipt: Some(receipt.into()),
            replaces: false,
        };
        recorder.record(record);
        if number % 60 == 0 {
            test.number(KILL).await;
        }
    }
    recorder.flush().await;
    assert_eq!(test.number("SELECT count(*) FROM receipt").await, 299);
    assert_eq!(test.number("SELECT count(*) FROM usage").await, 149);
}

fn record(test: &TestDb, scope: OrgScope, usage: Option<crate::billing::record::UsageRow>) -> Record {
    let (request_id, api_key_id) = (RequestId(test.ambient.uuid()), ApiKeyId(test.ambient.uuid()));
    Record { scope, request_id, api_key_id, usage, receipt: Some("{}".to_owned().into()), replaces: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_never_gets_written_is_set_aside_and_holds_up_no_other() {
    let test = TestDb::create().await;
    let scope = test.organization(0).await;
    // What the database does not refuse for what it is, but never takes.
    test.tamper(
        "CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF NEW.model = 'poison' THEN RAISE EXCEPTION USING ERRCODE = '57014'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER hang BEFORE INSERT ON usage FOR EACH ROW EXECUTE FUNCTION hang()",
    )
    .await;
    let limits =
        RecordLimits { retry_pause: Duration::from_millis(1), tries_max: 2, ..RecordLimits::default() };
    let recorder = Recorder::start(&test.second_process(), test.ambient.clone(), limits);
    for number in 0..8_i64 {
        let model = if number == 5 { "poison" } else { "m" };
        recorder.record(record(&test, scope, Some(reports::usage_row(model, number))));
    }
    recorder.flush().await;
    assert_eq!(test.number("SELECT count(*) FROM usage").await, 7);
    assert_eq!(test.number("SELECT count(*) FROM receipt").await, 7);
    let state = recorder.state();
    assert_eq!((state.set_aside, state.records, state.bytes), (1, 0, 0));
    test.number(KILL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_share_of_the_record_queue_is_one_organizations_own_and_a_stall_shows() {
    let test = TestDb::create().await;
    let (busy, quiet) = (test.organization(0).await, test.organization(0).await);
    let limits = RecordLimits {
        organization_bytes_max: 4_000,
        // The writer waits for the lock: a time-out beside its release would set a record aside.
        write_timeout: Duration::from_secs(30),
        stalled_after: Duration::ZERO,
        ..RecordLimits::default()
    };
    let recorder = Recorder::start(&test.second_process(), test.ambient.clone(), limits);
    let mut blocker = test.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE receipt").execute(&mut *blocker).await.unwrap();
    let mut accepted = 0;
    while recorder.has_room(busy) {
        recorder.record_refusal(record(&test, busy, None));
        accepted += 1;
    }
    assert!((2..20).contains(&accepted), "{accepted}");
    recorder.record_refusal(record(&test, busy, None));
    // What was answered is kept all the same.
    recorder.record(record(&test, busy, Some(reports::usage_row("m", 1))));
    assert!(recorder.has_room(quiet));
    recorder.record_refusal(record(&test, quiet, None));
    let state = recorder.state();
    assert_eq!((state.records, state.shed, state.stalled), (accepted + 2, 1, true));
    blocker.rollback().await.unwrap();
    recorder.flush().await;
    let state = recorder.state();
    assert_eq!((state.records, state.bytes, state.set_aside, state.stalled), (0, 0, 0, false));
    assert!(recorder.has_room(busy));
    let written = test.number("SELECT count(*) FROM receipt").await;
    assert_eq!(written, i64::try_from(accepted + 2).unwrap());
}
