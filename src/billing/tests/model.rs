//! The ledger against a model in memory: any sequence of operations leaves both with the same books.

use super::*;
use crate::billing::{
    ledger::{HoldOutcome, Settle, SettleOutcome},
    reap::reap_once,
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRng, TestRunner},
};

#[derive(Clone, Copy, Debug)]
enum Step {
    Hold {
        account: usize,
        want: i64,
        floor: i64,
    },
    /// The hold of this number again, under its id.
    HoldAgain(usize),
    Settle {
        hold: usize,
        cost: i64,
    },
    Void(usize),
    /// The last word: the answer was not delivered.
    Undelivered(usize),
    Checkpoint {
        hold: usize,
        cost: i64,
    },
    /// All processes that hold are gone; their holds expire.
    Crash,
    Grant {
        account: usize,
        amount: i64,
    },
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Refused,
    Open,
    Charged(i64),
    Expired(i64),
    /// Ended again after it had expired, and by the last word.
    Late(i64),
    TakenBack,
}

struct ModelHold {
    request: HoldRequest,
    account: usize,
    amount: i64,
    checkpoint: i64,
    end: End,
    /// Before anything else ended it.
    was_settled: bool,
}

#[derive(Default)]
struct Model {
    posted: [i64; 2],
    held: [i64; 2],
    holds: Vec<ModelHold>,
}

fn step() -> impl Strategy<Value = Step> {
    let hold = 0..24_usize;
    prop_oneof![
        5 => (0..2_usize, 1..600_i64, 0..600_i64)
            .prop_map(|(account, want, floor)| Step::Hold { account, want, floor: floor.min(want) }),
        1 => hold.clone().prop_map(Step::HoldAgain),
        4 => (hold.clone(), 0..800_i64).prop_map(|(hold, cost)| Step::Settle { hold, cost }),
        2 => hold.clone().prop_map(Step::Void),
        1 => hold.clone().prop_map(Step::Undelivered),
        2 => (hold, 1..500_i64).prop_map(|(hold, cost)| Step::Checkpoint { hold, cost }),
        1 => Just(Step::Crash),
        1 => (0..2_usize, 1..500_i64).prop_map(|(account, amount)| Step::Grant { account, amount }),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_sequence_of_operations_matches_the_model() {
    let test = TestDb::create().await;
    let config = Config { failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(config.rng_algorithm, &test.ambient.bytes::<32>());
    let mut runner = TestRunner::new_with_rng(config, rng);
    let sequences = sized(24, 400);
    let mut count = 0;
    for _ in 0..sequences {
        let steps = prop::collection::vec(step(), 1..60).new_tree(&mut runner).unwrap().current();
        run(&test, &steps).await;
        count += steps.len();
    }
    forget_records(&test).await;
    assert_ledger_is_clean(&test).await;
    println!("bar 4: {count} operations in {sequences} sequences matched the model");
}

async fn run(test: &TestDb, steps: &[Step]) {
    let scopes = [test.organization(1_000).await, test.organization(1_000).await];
    let mut model = Model { posted: [1_000; 2], ..Model::default() };
    let (mut ledger, mut instance) = start_as(test, &test.db, LedgerLimits::default()).await;
    for step in steps {
        match *step {
            Step::Hold { account, want, floor } => {
                let request = ranged(test, scopes[account], want, floor);
                let free = model.posted[account] - model.held[account];
                let amount = want.min(free);
                let outcome = ledger.hold(request.clone()).await.unwrap();
                let end = if amount >= floor {
                    assert_eq!(outcome, HoldOutcome::Admitted { amount: NanoUsd(amount) }, "{steps:?}");
                    model.held[account] += amount;
                    End::Open
                } else {
                    assert_eq!(outcome, HoldOutcome::Refused { available: NanoUsd(free) }, "{steps:?}");
                    End::Refused
                };
                model.holds.push(ModelHold {
                    request,
                    account,
                    amount,
                    checkpoint: 0,
                    end,
                    was_settled: false,
                });
            }
            Step::HoldAgain(hold) => {
                let Some(hold) = model.holds.get(hold).filter(|hold| hold.end != End::Refused) else {
                    continue;
                };
                let outcome = ledger.hold(hold.request.clone()).await;
                match hold.end {
                    End::Open => {
                        let same = HoldOutcome::Admitted { amount: NanoUsd(hold.amount) };
                        assert_eq!(outcome.unwrap(), same, "{steps:?}");
                    }
                    _ => assert!(outcome.is_err(), "{steps:?}"),
                }
            }
            Step::Settle { hold, cost } => end(test, &ledger, &mut model, hold, Some(cost), steps).await,
            Step::Void(hold) => end(test, &ledger, &mut model, hold, None, steps).await,
            Step::Undelivered(hold) => take_back(&ledger, &mut model, hold, steps).await,
            Step::Checkpoint { hold, cost } => {
                let Some(hold) = model.holds.get_mut(hold) else { continue };
                let (scope, id) = (hold.request.scope, hold.request.id);
                ledger.checkpoint(checkpoint(scope, id, cost));
                ledger.flush().await;
                hold.checkpoint = hold.checkpoint.max(bill(cost).charge().0);
            }
            Step::Crash => {
                crash(test, instance, &mut model).await;
                (ledger, instance) = start_as(test, &test.db, LedgerLimits::default()).await;
            }
            Step::Grant { account, amount } => {
                grant(test, scopes[account], amount).await;
                model.posted[account] += amount;
            }
        }
        for (account, scope) in scopes.into_iter().enumerate() {
            let books = (model.posted[account], model.held[account]);
            assert_eq!(balance(test, scope).await, books, "after {step:?} of {steps:?}");
        }
    }
    // What is still open must not count as abandoned when this instance is not renewed any more.
    crash(test, instance, &mut model).await;
}

async fn end(
    test: &TestDb,
    ledger: &Ledger,
    model: &mut Model,
    hold: usize,
    cost: Option<i64>,
    steps: &[Step],
) {
    let Some(hold) = model.holds.get_mut(hold) else { return };
    let (scope, id) = (hold.request.scope, hold.request.id);
    let (settle, charge) = match cost {
        Some(cost) => (Settle::charge(scope, id, bill(cost), entry(test)), bill(cost).charge().0),
        None => (Settle::void(scope, id), 0),
    };
    let expected = match hold.end {
        End::Refused => SettleOutcome::Unknown,
        End::Open => SettleOutcome::Posted,
        End::Charged(first) if first == charge => SettleOutcome::Repeat,
        End::Charged(first) => SettleOutcome::Conflict { charge: NanoUsd(first) },
        End::Expired(_) => SettleOutcome::Late,
        End::Late(first) if first == charge => SettleOutcome::Late,
        End::Late(first) => SettleOutcome::Conflict { charge: NanoUsd(first) },
        End::TakenBack if charge == 0 && hold.was_settled => SettleOutcome::Repeat,
        End::TakenBack if charge == 0 => SettleOutcome::Late,
        End::TakenBack => SettleOutcome::Conflict { charge: NanoUsd(0) },
    };
    assert_eq!(ledger.settle(settle).await.unwrap(), expected, "{steps:?}");
    match hold.end {
        End::Open => {
            hold.end = End::Charged(charge);
            hold.was_settled = true;
            model.held[hold.account] -= hold.amount;
            model.posted[hold.account] -= charge;
        }
        End::Expired(before) => {
            hold.end = End::Late(charge);
            model.posted[hold.account] -= charge - before;
        }
        _ => {}
    }
}

async fn take_back(ledger: &Ledger, model: &mut Model, hold: usize, steps: &[Step]) {
    let Some(hold) = model.holds.get_mut(hold) else { return };
    let void = Settle::void(hold.request.scope, hold.request.id).revising();
    let outcome = ledger.settle(void).await.unwrap();
    match hold.end {
        End::Refused => assert_eq!(outcome, SettleOutcome::Unknown, "{steps:?}"),
        End::Open => {
            assert_eq!(outcome, SettleOutcome::Posted, "{steps:?}");
            model.held[hold.account] -= hold.amount;
            (hold.end, hold.was_settled) = (End::Charged(0), true);
        }
        End::Charged(charge) | End::Expired(charge) | End::Late(charge) => {
            let is_void = outcome == SettleOutcome::Repeat && charge == 0;
            assert!(is_void || outcome == SettleOutcome::Revised, "{outcome:?} {steps:?}");
            model.posted[hold.account] += charge;
            hold.end = if is_void { hold.end } else { End::TakenBack };
        }
        End::TakenBack => assert_eq!(outcome, SettleOutcome::Revised, "{steps:?}"),
    }
}

async fn crash(test: &TestDb, instance: InstanceId, model: &mut Model) {
    let mut connection = test.db.acquire().await.unwrap();
    let_lapse(test, instance).await;
    while !reap_once(&mut connection, &test.ambient, 3).await.unwrap().is_empty() {}
    for hold in model.holds.iter_mut().filter(|hold| hold.end == End::Open) {
        hold.end = End::Expired(hold.checkpoint);
        model.held[hold.account] -= hold.amount;
        model.posted[hold.account] -= hold.checkpoint;
    }
}

async fn grant(test: &TestDb, scope: OrgScope, amount: i64) {
    use crate::store::topups::{self, Credit, CreditKind};
    let credit = Credit {
        kind: CreditKind::Grant,
        amount: NanoUsd(amount),
        external_id: None,
        note: "",
        entry_id: entry(test),
        now: test.ambient.now(),
    };
    topups::grant(&mut test.db.acquire().await.unwrap(), scope, &credit).await.unwrap();
}
