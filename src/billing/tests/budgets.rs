//! Budgets in the statement of holds: never exceeded, with any concurrent work, and counted in the period that they
//! belong to.

use super::*;
use crate::{
    billing::ledger::{BudgetOwner, HoldOutcome, Settle, SettleOutcome},
    domain::policy::BudgetRule,
    limits::{Period, PeriodKind, TimeZone},
    store::budgets::{self, Budget},
};
use proptest::prelude::*;
use time::OffsetDateTime;
use tokio::task::JoinSet;

fn rule(amount: i64) -> BudgetRule {
    BudgetRule { amount: NanoUsd(amount), period: PeriodKind::Day, includes_own: false }
}

fn day(at: OffsetDateTime) -> Period {
    Period::containing(PeriodKind::Day, &TimeZone::default(), at)
}

async fn set(test: &TestDb, scope: OrgScope, key: Option<ApiKeyId>, rule: BudgetRule) {
    let subject = key.map_or(scope.org_id().0, |key| key.0);
    let mut transaction = test.db.begin().await.unwrap();
    budgets::set(&mut transaction, scope, subject, &rule, day(test.ambient.now())).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn read(test: &TestDb, scope: OrgScope, key: Option<ApiKeyId>) -> Budget {
    let subject = key.map_or(scope.org_id().0, |key| key.0);
    budgets::list(&mut test.db.acquire().await.unwrap(), scope, Some(subject)).await.unwrap()[0]
}

/// A hold of one key with the periods of both budgets.
fn counted(test: &TestDb, scope: OrgScope, key: ApiKeyId, amount: i64) -> HoldRequest {
    let period = Some(day(test.ambient.now()));
    let budgets = HoldBudgets { api_key: period, organization: period };
    HoldRequest { api_key_id: key, budgets, ..fixed(test, scope, amount) }
}

fn key(test: &TestDb) -> ApiKeyId {
    ApiKeyId(test.ambient.uuid())
}

#[tokio::test]
async fn a_budget_for_ten_requests_admits_ten_of_many_processes() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000_000).await;
    let key = key(&test);
    set(&test, scope, Some(key), rule(1_000)).await;
    let mut ledgers = Vec::new();
    for _ in 0..3 {
        ledgers.push(start(&test, &test.second_process()).await);
    }
    let mut tasks = JoinSet::new();
    for index in 0..192 {
        let (ledger, request) = (ledgers[index % 3].clone(), counted(&test, scope, key, 100));
        tasks.spawn(async move { ledger.hold(request).await.unwrap() });
    }
    let outcomes = tasks.join_all().await;
    let admitted = outcomes.iter().filter(|outcome| matches!(outcome, HoldOutcome::Admitted { .. })).count();
    assert_eq!(admitted, 10);
    for outcome in outcomes {
        if let HoldOutcome::OverBudget(budget) = outcome {
            assert_eq!((budget.owner, budget.amount), (BudgetOwner::ApiKey, NanoUsd(1_000)));
            assert_eq!(budget.resets_at, day(test.ambient.now()).ends_at);
            assert!(budget.held <= NanoUsd(1_000));
        } else {
            assert!(matches!(outcome, HoldOutcome::Admitted { .. }), "{outcome:?}");
        }
    }
    let budget = read(&test, scope, Some(key)).await;
    assert_eq!((budget.spent, budget.held), (NanoUsd::ZERO, NanoUsd(1_000)));
    assert_clean(&test).await;
}

#[tokio::test]
async fn what_is_settled_is_spent_and_what_is_voided_is_free_again() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000_000).await;
    let (mine, other) = (key(&test), key(&test));
    set(&test, scope, Some(mine), rule(1_000)).await;
    set(&test, scope, None, rule(1_500)).await;
    let ledger = start(&test, &test.second_process()).await;
    let (first, second) = (counted(&test, scope, mine, 600), counted(&test, scope, mine, 400));
    for request in [&first, &second] {
        assert!(matches!(ledger.hold(request.clone()).await.unwrap(), HoldOutcome::Admitted { .. }));
    }
    let over = ledger.hold(counted(&test, scope, mine, 1)).await.unwrap();
    assert!(matches!(over, HoldOutcome::OverBudget(budget) if budget.held == NanoUsd(1_000)), "{over:?}");
    ledger.settle(Settle::charge(scope, first.id, bill(200), entry(&test))).await.unwrap();
    ledger.settle(Settle::void(scope, second.id)).await.unwrap();
    assert_eq!(read(&test, scope, Some(mine)).await.spent, NanoUsd(210));
    assert_eq!(read(&test, scope, None).await.spent, NanoUsd(210));
    // A second settle of the same hold changes nothing.
    let repeat = ledger.settle(Settle::charge(scope, first.id, bill(200), entry(&test))).await.unwrap();
    assert_eq!(repeat, SettleOutcome::Repeat);
    assert_eq!(read(&test, scope, Some(mine)).await.spent, NanoUsd(210));
    // A correction changes the budget by the difference.
    let revised = Settle::charge(scope, first.id, bill(100), entry(&test)).revising();
    assert_eq!(ledger.settle(revised).await.unwrap(), SettleOutcome::Revised);
    assert_eq!(read(&test, scope, Some(mine)).await.spent, NanoUsd(105));
    // Another key has no budget of its own; the organization's is 1,500.
    let of_other = counted(&test, scope, other, 1_396);
    let over = ledger.hold(of_other).await.unwrap();
    assert!(
        matches!(over, HoldOutcome::OverBudget(budget) if budget.owner == BudgetOwner::Organization),
        "{over:?}"
    );
    let fits = counted(&test, scope, other, 1_395);
    assert!(matches!(ledger.hold(fits).await.unwrap(), HoldOutcome::Admitted { .. }));
    assert_clean(&test).await;
}

#[tokio::test]
async fn what_one_budget_refuses_takes_nothing_from_the_others() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000).await;
    let (poor, rich) = (key(&test), key(&test));
    set(&test, scope, Some(poor), rule(10)).await;
    let ledger = start(&test, &test.second_process()).await;
    // All in one flush: the refused ones are smaller and come first.
    let mut requests: Vec<HoldRequest> = (0..8).map(|_| counted(&test, scope, poor, 100)).collect();
    requests.push(counted(&test, scope, rich, 900));
    let outcomes =
        futures_util::future::join_all(requests.into_iter().map(|request| ledger.hold(request))).await;
    let (last, refused) = outcomes.split_last().unwrap();
    assert!(matches!(last.as_ref().unwrap(), HoldOutcome::Admitted { .. }), "{last:?}");
    assert!(refused.iter().all(|outcome| matches!(outcome.as_ref().unwrap(), HoldOutcome::OverBudget(_))));
    assert_clean(&test).await;
}

#[tokio::test]
async fn a_new_period_begins_with_nothing_spent_and_late_ends_count_where_they_belong() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000_000).await;
    let key = key(&test);
    set(&test, scope, Some(key), rule(1_000)).await;
    let ledger = start(&test, &test.second_process()).await;
    let today = counted(&test, scope, key, 1_000);
    assert!(matches!(ledger.hold(today.clone()).await.unwrap(), HoldOutcome::Admitted { .. }));
    let tomorrow = Some(day(day(test.ambient.now()).ends_at));
    let budgets = HoldBudgets { api_key: tomorrow, organization: None };
    let later = HoldRequest { budgets, ..counted(&test, scope, key, 700) };
    assert!(matches!(ledger.hold(later.clone()).await.unwrap(), HoldOutcome::Admitted { .. }));
    assert_eq!(read(&test, scope, Some(key)).await.held, NanoUsd(700));
    // A process whose clock is behind cannot bring the old period back, and its request counts in the new one.
    let behind = ledger.hold(counted(&test, scope, key, 301)).await.unwrap();
    assert!(matches!(behind, HoldOutcome::OverBudget(_)), "{behind:?}");
    ledger.settle(Settle::charge(scope, today.id, bill(900), entry(&test))).await.unwrap();
    ledger.settle(Settle::charge(scope, later.id, bill(100), entry(&test))).await.unwrap();
    let budget = read(&test, scope, Some(key)).await;
    assert_eq!((budget.spent, budget.held), (NanoUsd(105), NanoUsd::ZERO));
    assert_clean(&test).await;
}

#[tokio::test]
async fn a_budget_that_is_set_later_counts_what_the_period_has_seen() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000_000).await;
    let key = key(&test);
    let (ledger, instance) = start_as(&test, &test.second_process(), LedgerLimits::default()).await;
    let (ended, open) = (counted(&test, scope, key, 500), counted(&test, scope, key, 300));
    for request in [&ended, &open] {
        assert!(matches!(ledger.hold(request.clone()).await.unwrap(), HoldOutcome::Admitted { .. }));
    }
    ledger.settle(Settle::charge(scope, ended.id, bill(100), entry(&test))).await.unwrap();
    set(&test, scope, Some(key), rule(1_000)).await;
    let budget = read(&test, scope, Some(key)).await;
    assert_eq!((budget.spent, budget.held), (NanoUsd(105), NanoUsd(300)));
    assert_clean(&test).await;
    // The process dies: its hold is charged by its checkpoint, here nothing, and is free again.
    let_lapse(&test, instance).await;
    let mut transaction = test.db.begin().await.unwrap();
    let reaped = crate::billing::reap::reap_once(&mut transaction, &test.ambient, 10).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(reaped.len(), 1);
    assert_eq!(read(&test, scope, Some(key)).await.held, NanoUsd::ZERO);
    assert_clean(&test).await;
}

#[tokio::test]
async fn an_own_key_counts_where_the_budget_says_so_and_touches_no_credit() {
    let test = TestDb::create().await;
    let scope = test.organization(100).await;
    let key = key(&test);
    set(&test, scope, Some(key), BudgetRule { includes_own: true, ..rule(1_000) }).await;
    let ledger = start(&test, &test.second_process()).await;
    let own = HoldRequest { own_key: true, ..counted(&test, scope, key, 800) };
    assert!(matches!(ledger.hold(own.clone()).await.unwrap(), HoldOutcome::Admitted { .. }));
    assert_eq!(balance(&test, scope).await, (100, 0));
    let second = HoldRequest { own_key: true, ..counted(&test, scope, key, 300) };
    assert!(matches!(ledger.hold(second).await.unwrap(), HoldOutcome::OverBudget(_)));
    ledger.settle(Settle::on_own_key(scope, own.id, NanoUsd(650), entry(&test))).await.unwrap();
    let budget = read(&test, scope, Some(key)).await;
    assert_eq!((budget.spent, budget.held), (NanoUsd(650), NanoUsd::ZERO));
    assert_eq!(balance(&test, scope).await, (100, 0));
    assert_clean(&test).await;
}

/// The effect of a step on the model.
#[derive(Clone, Debug)]
enum Step {
    Hold { key: usize, amount: i64 },
    Settle { nth: usize, cost: i64 },
    Void { nth: usize },
    SetBudget { key: usize, amount: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..3, 1i64..400).prop_map(|(key, amount)| Step::Hold { key, amount }),
        (0usize..8, 0i64..300).prop_map(|(nth, cost)| Step::Settle { nth, cost }),
        (0usize..8).prop_map(|nth| Step::Void { nth }),
        (0usize..3, 100i64..2_000).prop_map(|(key, amount)| Step::SetBudget { key, amount }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn budgets_agree_with_a_model(steps in prop::collection::vec(step(), 10..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(agrees(steps));
    }
}

async fn agrees(steps: Vec<Step>) {
    let test = TestDb::create().await;
    let scope = test.organization(5_000).await;
    let keys: Vec<ApiKeyId> = (0..3).map(|_| key(&test)).collect();
    let ledger = start(&test, &test.second_process()).await;
    set(&test, scope, None, rule(3_000)).await;
    let mut budget: [Option<i64>; 3] = [None; 3];
    let (mut spent, mut held) = ([0i64; 3], [0i64; 3]);
    let mut open: Vec<(usize, HoldRequest)> = Vec::new();
    let mut credit = 5_000;
    for step in &steps {
        match *step {
            Step::Hold { key, amount } => {
                let request = counted(&test, scope, keys[key], amount);
                let fits_key = budget[key].is_none_or(|most| spent[key] + held[key] + amount <= most);
                let all: i64 = spent.iter().sum::<i64>() + held.iter().sum::<i64>();
                let fits = fits_key && all + amount <= 3_000 && amount <= credit - held.iter().sum::<i64>();
                let outcome = ledger.hold(request.clone()).await.unwrap();
                assert_eq!(matches!(outcome, HoldOutcome::Admitted { .. }), fits, "{outcome:?} in {steps:?}");
                if fits {
                    held[key] += amount;
                    open.push((key, request));
                }
            }
            Step::Settle { nth, cost } if nth < open.len() => {
                let (key, request) = open.remove(nth);
                let charge = bill(cost).charge().0;
                ledger.settle(Settle::charge(scope, request.id, bill(cost), entry(&test))).await.unwrap();
                held[key] -= request.want.0;
                spent[key] += charge;
                credit -= charge;
            }
            Step::Void { nth } if nth < open.len() => {
                let (key, request) = open.remove(nth);
                ledger.settle(Settle::void(scope, request.id)).await.unwrap();
                held[key] -= request.want.0;
            }
            Step::SetBudget { key, amount } => {
                set(&test, scope, Some(keys[key]), rule(amount)).await;
                budget[key] = Some(amount);
            }
            Step::Settle { .. } | Step::Void { .. } => {}
        }
        for key in 0..3 {
            if budget[key].is_some() {
                let found = read(&test, scope, Some(keys[key])).await;
                assert_eq!((found.spent.0, found.held.0), (spent[key], held[key]), "key {key} in {steps:?}");
            }
        }
        let all = read(&test, scope, None).await;
        assert_eq!((all.spent.0, all.held.0), (spent.iter().sum(), held.iter().sum()), "{steps:?}");
    }
    assert_clean(&test).await;
}

/// Waits until a statement of this database waits for a lock.
async fn until_something_waits(test: &TestDb) {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while test.number(WAITING).await == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_is_set_while_the_ledger_waits_for_the_account_misses_nothing() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000_000).await;
    let key = key(&test);
    let ledger = start(&test, &test.second_process()).await;
    let running = counted(&test, scope, key, 300);
    assert!(matches!(ledger.hold(running.clone()).await.unwrap(), HoldOutcome::Admitted { .. }));
    let period = day(test.ambient.now());
    // The first budget: a settle waits.
    let mut setting = test.db.begin().await.unwrap();
    budgets::set(&mut setting, scope, key.0, &rule(1_000), period).await.unwrap();
    let settle = Settle::charge(scope, running.id, bill(100), entry(&test));
    let settling = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.settle(settle).await.unwrap() }
    });
    until_something_waits(&test).await;
    setting.commit().await.unwrap();
    assert_eq!(settling.await.unwrap(), SettleOutcome::Posted);
    let budget = read(&test, scope, Some(key)).await;
    assert_eq!((budget.spent, budget.held), (NanoUsd(105), NanoUsd::ZERO));
    // Another one: a hold waits.
    let first = counted(&test, scope, key, 200);
    let mut setting = test.db.begin().await.unwrap();
    budgets::set(&mut setting, scope, scope.org_id().0, &rule(1_000), period).await.unwrap();
    let holding = tokio::spawn({
        let (ledger, first) = (ledger.clone(), first.clone());
        async move { ledger.hold(first).await.unwrap() }
    });
    until_something_waits(&test).await;
    setting.commit().await.unwrap();
    assert!(matches!(holding.await.unwrap(), HoldOutcome::Admitted { .. }));
    for subject in [None, Some(key)] {
        let budget = read(&test, scope, subject).await;
        assert_eq!((budget.spent, budget.held), (NanoUsd(105), NanoUsd(200)), "{subject:?}");
    }
    assert_clean(&test).await;
}
