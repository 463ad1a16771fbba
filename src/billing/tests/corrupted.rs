//! A corrupted row of each table is found by the audit or by the recomputation of charges, which name it.

use super::{reports::usage_row, *};
use crate::{
    billing::{
        credit::{self, NewEntry},
        ledger::Settle,
        recompute::{Extent, Recomputed, recompute},
        record::{Record, UsageRow},
        statements,
    },
    books::{entry::EntryKind, month::Month, recompute::Difference},
    store::{rollups, usage},
};
use serde_json::json;
use sqlx::PgConnection;
use time::Duration;

const COST: i64 = 102_000;

/// What the receipt of [`usage_row`]'s usage contains at these prices.
fn receipt(request: RequestId, byok: bool) -> String {
    let line = |bucket: &str, tokens: u64, price: &str| json!({ "bucket": bucket, "tokens": tokens, "usd_per_million": price });
    let margin = if byok { 0 } else { MARGIN.0 };
    json!({
        "receipt_id": request.receipt(),
        "decision": { "requested": "gpt-4o", "model_id": "openai/gpt-4o", "provider": "OpenAI" },
        "attempts": [{ "provider": "OpenAI", "model_id": "openai/gpt-4o", "credential": "platform", "status": 200 }],
        "byok": byok,
        "usage": { "input": 10, "output": 5, "cache_write_1h": 2, "basis": "counted" },
        "price": { "catalog_version": "test", "lines": [
            line("input", 10, "5"), line("cache_write_1h", 2, "1"), line("output", 5, "10") ] },
        "margin_bps": margin,
        "charged_nano_usd": if byok { 0 } else { bill(COST).charge().0 },
        "provider_cost_nano_usd": COST,
        "execution": { "status": "completed", "latency_ms": 12 },
    })
    .to_string()
}

/// Books with one of everything, closed two months ago.
async fn books() -> (TestDb, OrgScope) {
    let test = TestDb::create().await;
    let scope = test.organization(1_000_000_000).await;
    let ledger = start(&test, &test.db).await;
    for byok in [false, true] {
        let request = fixed(&test, scope, 1_000_000);
        if !byok {
            ledger.hold(request.clone()).await.unwrap();
            ledger.settle(Settle::charge(scope, request.id, bill(COST), entry(&test))).await.unwrap();
        }
        let charge = if byok { NanoUsd::ZERO } else { bill(COST).charge() };
        let row = UsageRow { byok, cost: Some(NanoUsd(COST)), charge, ..usage_row("openai/gpt-4o", 0) };
        let record = Record {
            scope,
            request_id: request.request_id,
            api_key_id: request.api_key_id,
            usage: Some(row),
            receipt: Some(receipt(request.request_id, byok).into()),
            replaces: false,
        };
        usage::insert(&mut test.db.acquire().await.unwrap(), &[record], test.ambient.now()).await.unwrap();
    }
    let now = test.ambient.now();
    for (kind, external_id) in [(EntryKind::Promotion, None), (EntryKind::Topup, Some("evt"))] {
        let entry = NewEntry {
            kind,
            amount: NanoUsd(500),
            external_id,
            reason: "test",
            actor: "cli",
            expires_at: (kind == EntryKind::Promotion).then_some(now + Duration::days(9)),
        };
        let mut transaction = test.db.begin().await.unwrap();
        credit::post(&mut transaction, &test.ambient, scope, &entry).await.unwrap();
        transaction.commit().await.unwrap();
    }
    test.tamper(
        "UPDATE entry SET booked_at = booked_at - interval '2 months';
         UPDATE organization SET created_at = created_at - interval '2 months'",
    )
    .await;
    let month = Month::of(now).previous().previous();
    let mut transaction = test.db.begin().await.unwrap();
    statements::get(&mut transaction, scope, month).await.unwrap();
    transaction.commit().await.unwrap();
    (test, scope)
}

async fn recomputed(connection: &mut PgConnection, test: &TestDb) -> (Recomputed, Vec<Difference>) {
    let now = test.ambient.now();
    let extent = Extent { from: now - Duration::days(1), to: now + Duration::days(1), organization: None };
    let mut differences = Vec::new();
    let done =
        recompute(connection, extent, |_, difference| differences.push(difference.clone())).await.unwrap();
    (done, differences)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupted_row_of_each_table_is_found_by_audit_or_recompute() {
    let (test, _) = books().await;
    assert_clean(&test).await;
    let mut connection = test.db.acquire().await.unwrap();
    let (done, differences) = recomputed(&mut connection, &test).await;
    assert_eq!((done.requests, done.turns, done.organizations), (2, 2, 1));
    assert!(differences.is_empty(), "{differences:#?}");
    // By the table, the place that finds it, and the change.
    for (finder, sql) in [
        ("posted_is_sum_of_entries", "UPDATE credit_account SET posted = posted - 1"),
        ("entry", "UPDATE entry SET amount = amount + 1, margin = margin + 1 WHERE kind = 'charge'"),
        ("entry", "DELETE FROM entry WHERE kind = 'charge'"),
        ("posted_is_sum_of_entries", "UPDATE entry SET amount = amount + 1 WHERE kind = 'grant'"),
        ("statement_says_what_the_ledger_says", "UPDATE entry SET amount = amount + 1 WHERE kind = 'topup'"),
        ("hold", "UPDATE hold SET charge = charge + 1 WHERE charge > 0"),
        ("hold", "UPDATE hold SET margin_bps = 0 WHERE charge > 0"),
        ("usage", "UPDATE usage SET charge = charge + 1 WHERE NOT byok"),
        ("usage", "UPDATE usage SET cost = cost + 1"),
        ("usage", "UPDATE usage SET input_tokens = input_tokens + 1 WHERE byok"),
        ("usage", "UPDATE usage SET pages = 1 WHERE byok"),
        ("usage", "UPDATE usage SET stated = 1"),
        ("usage", "UPDATE usage SET charge = 1 WHERE byok"),
        ("hold", "DELETE FROM usage WHERE NOT byok"),
        ("receipt", "DELETE FROM receipt"),
        (
            "receipt",
            "UPDATE receipt SET document = replace(document::text, '\"charged_nano_usd\":107100', '\"charged_nano_usd\":1')::json",
        ),
        (
            "usage",
            "UPDATE receipt SET document = replace(document::text, '\"usd_per_million\":\"5\"', '\"usd_per_million\":\"6\"')::json",
        ),
        ("receipt_columns_say_what_it_says", "UPDATE receipt SET charge = charge + 1"),
        ("topup_has_its_entry", "UPDATE topup SET amount = amount + 1"),
        ("topup_entry_has_its_event", "DELETE FROM topup"),
        ("promotion_is_burned_and_expired", "UPDATE promotion SET amount = amount + 1"),
        ("promotion_entry_has_its_lot", "DELETE FROM promotion"),
        ("statement_says_what_the_ledger_says", "UPDATE statement SET closing = closing + 1"),
        ("statement_says_what_the_ledger_says", "UPDATE statement SET csv = replace(csv, 'test', 'best')"),
        ("statement_says_what_the_ledger_says", "UPDATE statement SET opening = opening + 1"),
    ] {
        let mut transaction = test.db.begin().await.unwrap();
        let planted = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await.unwrap();
        assert!(planted.rows_affected() > 0, "{sql}");
        let drift = run_audit(&mut transaction).await.unwrap();
        let (done, differences) = recomputed(&mut transaction, &test).await;
        let by_audit = drift.iter().any(|drift| drift.check == finder);
        let by_recompute = differences.iter().any(|difference| difference.table == finder);
        assert!(by_audit || by_recompute, "{sql}: {drift:#?} {differences:#?}");
        assert_eq!(done.differences, u64::try_from(differences.len()).unwrap());
        transaction.rollback().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_sum_of_usage_is_found() {
    let (test, _) = books().await;
    let mut transaction = test.db.begin().await.unwrap();
    // Usage of two hours ago, whose step is over.
    sqlx::raw_sql(
        "UPDATE usage SET request_id = first_id_at(moment_of_id(request_id) - interval '2 hours') WHERE byok",
    )
    .execute(&mut *transaction)
    .await
    .unwrap();
    rollups::roll_up(&mut transaction, 100).await.unwrap().unwrap();
    assert!(
        run_audit(&mut transaction)
            .await
            .unwrap()
            .iter()
            .all(|drift| drift.check != "rollup_is_sum_of_usage")
    );
    for (check, sql) in [
        ("day_is_sum_of_its_steps", "UPDATE usage_day SET turns = turns + 1"),
        ("rollup_is_sum_of_usage", "UPDATE usage_rollup SET charge = charge + 1"),
        ("rollup_is_sum_of_usage", "DELETE FROM usage_rollup"),
    ] {
        sqlx::raw_sql(sql).execute(&mut *transaction).await.unwrap();
        let drift = run_audit(&mut transaction).await.unwrap();
        assert!(drift.iter().any(|drift| drift.check == check), "{sql}: {drift:#?}");
    }
}
