//! The ledger against a real PostgreSQL. Every test ends with a clean audit.

mod audit;
mod books;
mod budgets;
mod corrupted;
mod faults;
mod gone;
mod holds;
mod locked;
mod model;
mod payments;
mod reports;
mod settles;
mod zones;

use crate::{
    billing::{
        audit::audit as run_audit,
        batch::Ledger,
        ledger::{Bill, Checkpoint, HoldBudgets, HoldRequest, LedgerLimits},
    },
    domain::{
        ids::{ApiKeyId, EntryId, HoldId, InstanceId, RequestId},
        money::{Bps, NanoUsd},
    },
    store::{
        Db, OrgScope, instances,
        testing::{TestDb, sized},
    },
};
use std::sync::Arc;

const MARGIN: Bps = Bps(500);

/// A ledger of a registered instance.
async fn start(test: &TestDb, db: &Db) -> Ledger {
    start_as(test, db, LedgerLimits::default()).await.0
}

async fn start_as(test: &TestDb, db: &Db, limits: LedgerLimits) -> (Ledger, InstanceId) {
    let instance = InstanceId(test.ambient.uuid());
    instances::register(&mut db.acquire().await.unwrap(), instance, &[]).await.unwrap();
    (Ledger::start(db, test.ambient.clone(), instance, limits), instance)
}

fn fixed(test: &TestDb, scope: OrgScope, amount: i64) -> HoldRequest {
    ranged(test, scope, amount, amount)
}

fn ranged(test: &TestDb, scope: OrgScope, want: i64, floor: i64) -> HoldRequest {
    let id = test.ambient.uuid();
    HoldRequest {
        scope,
        id: HoldId(id),
        request_id: RequestId(id),
        turn: 0,
        api_key_id: ApiKeyId(test.ambient.uuid()),
        want: NanoUsd(want),
        floor: NanoUsd(floor),
        margin: MARGIN,
        price_version: Arc::from("test"),
        provider: "openai",
        model: Arc::from("m"),
        kind: "chat",
        own_key: false,
        budgets: HoldBudgets::default(),
    }
}

fn checkpoint(scope: OrgScope, hold: HoldId, cost: i64) -> Checkpoint {
    let bill = bill(cost);
    let model = Arc::from("served");
    Checkpoint { scope, hold, bill, input_tokens: 7, output_tokens: 9, provider: "groq", model }
}

/// Removes what the reaper put on record: the gateway replaces it when a settle comes late.
async fn forget_records(test: &TestDb) {
    test.tamper("DELETE FROM usage; DELETE FROM receipt").await;
}

/// Ends the lease of an instance so that its holds are anybody's to reap.
async fn let_lapse(test: &TestDb, instance: InstanceId) {
    sqlx::query("UPDATE instance SET lease_until = now() - interval '20 seconds' WHERE id = $1")
        .bind(instance.0)
        .execute(&mut *test.db.acquire().await.unwrap())
        .await
        .unwrap();
}

fn bill(cost: i64) -> Bill {
    Bill::of(NanoUsd(cost), MARGIN).unwrap()
}

fn entry(test: &TestDb) -> EntryId {
    EntryId(test.ambient.uuid())
}

async fn assert_clean(test: &TestDb) {
    let drift = run_audit(&mut test.db.acquire().await.unwrap()).await.unwrap();
    assert!(drift.is_empty(), "{drift:#?}");
}

/// Where a test writes no records of what it charges.
async fn assert_ledger_is_clean(test: &TestDb) {
    let mut drift = run_audit(&mut test.db.acquire().await.unwrap()).await.unwrap();
    drift.retain(|drift| !matches!(drift.check, "charge_has_its_usage" | "charge_has_its_receipt"));
    assert!(drift.is_empty(), "{drift:#?}");
}

async fn balance(test: &TestDb, scope: OrgScope) -> (i64, i64) {
    let mut connection = test.db.acquire().await.unwrap();
    let balance = crate::billing::report::balance(&mut connection, scope).await.unwrap();
    (balance.balance_usd.0, balance.held_usd.0)
}
