//! A planted drift of each kind is found, under its own name.

use super::*;
use crate::billing::ledger::Settle;

/// Books with one of everything: a charge, a void, an open hold.
async fn books() -> TestDb {
    let test = TestDb::create().await;
    let scope = test.organization(100_000).await;
    let ledger = start(&test, &test.db).await;
    let requests: Vec<_> = (0..3).map(|_| fixed(&test, scope, 1_000)).collect();
    for request in &requests {
        ledger.hold(request.clone()).await.unwrap();
    }
    ledger.settle(Settle::charge(scope, requests[0].id, bill(100), entry(&test))).await.unwrap();
    ledger.settle(Settle::void(scope, requests[1].id)).await.unwrap();
    assert_clean(&test).await;
    test
}

const USAGE_COLUMNS: &str = "INSERT INTO usage (org_id, request_id, turn, api_key_id, provider, model, byok,
    status, basis, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost,
    charge, latency_ms, created_at)
    SELECT org_id, request_id, turn, api_key_id, 'openai', 'm', ";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_planted_drift_is_found() {
    let test = books().await;
    // The constraints would refuse some of these; the audit must not depend on them.
    test.tamper(
        "ALTER TABLE entry DROP CONSTRAINT entry_split_ck; ALTER TABLE hold DROP CONSTRAINT hold_resolved_ck;
         DROP INDEX entry_hold_uq",
    )
    .await;
    let planted = [
        ("posted_is_sum_of_entries", "UPDATE credit_account SET posted = posted + 1"),
        ("held_is_sum_of_open_holds", "UPDATE credit_account SET held = held + 1"),
        ("posted_is_sum_of_entries", "DELETE FROM credit_account"),
        ("held_is_sum_of_open_holds", "DELETE FROM credit_account"),
        ("hold_has_its_entry", "DELETE FROM entry WHERE kind = 'charge'"),
        (
            "hold_has_its_entry",
            "INSERT INTO entry (org_id, id, kind, debit_account, credit_account, amount, cost, margin, hold_id,
                                request_id, created_at)
             SELECT org_id, gen_random_uuid(), kind, debit_account, credit_account, amount, cost, margin,
                    hold_id, request_id, now() FROM entry WHERE kind = 'charge'",
        ),
        ("charge_entry_has_its_hold", "UPDATE entry SET hold_id = gen_random_uuid() WHERE kind = 'charge'"),
        ("charge_entry_has_its_hold", "UPDATE entry SET request_id = gen_random_uuid() WHERE kind = 'charge'"),
        ("entry_splits_into_cost_and_margin", "UPDATE entry SET margin = margin + 1 WHERE kind = 'charge'"),
        ("entry_moves_the_right_way", "UPDATE entry SET debit_account = 'revenue' WHERE kind = 'grant'"),
        ("charge_follows_the_formula", "UPDATE hold SET charge = charge + 1 WHERE state = 'settled'"),
        ("charge_follows_the_formula", "UPDATE hold SET margin_bps = 600 WHERE state = 'settled'"),
        ("expired_at_its_checkpoint", "UPDATE hold SET state = 'expired' WHERE state = 'settled'"),
        ("void_charges_nothing", "UPDATE hold SET charge = 1 WHERE state = 'voided'"),
        ("no_hold_of_a_gone_instance", "UPDATE instance SET lease_until = now() - interval '76 seconds'"),
        ("no_hold_of_a_gone_instance", "DELETE FROM instance"),
        (
            "topup_has_its_entry",
            "INSERT INTO topup (external_id, org_id, amount, entry_id, created_at)
             SELECT 'evt', org_id, amount + 1, id, now() FROM entry WHERE kind = 'grant'",
        ),
        ("topup_entry_has_its_event", "UPDATE entry SET kind = 'topup' WHERE kind = 'grant'"),
    ];
    let planted = planted.into_iter().chain([
        (
            "charge_has_its_usage",
            "UPDATE hold SET resolved_at = now() - interval '2 minutes' WHERE charge > 0",
        ),
        (
            "charge_has_its_receipt",
            "UPDATE hold SET resolved_at = now() - interval '2 hours' WHERE charge > 0",
        ),
        (
            "hold_has_its_entry",
            "INSERT INTO entry (org_id, id, kind, debit_account, credit_account, amount, corrects_hold_id,
                                request_id, created_at)
             SELECT org_id, gen_random_uuid(), 'refund', 'revenue', 'customer', 1, id, request_id, now()
             FROM hold WHERE state = 'settled'",
        ),
    ]);
    for (check, sql) in planted {
        assert_found(&test, check, sql.to_owned()).await;
    }
    let settled = "FROM hold WHERE state = 'settled'";
    let open = "FROM hold WHERE state = 'open'";
    for (check, rest) in [
        (
            "usage_charge_is_its_holds",
            format!("false, 'completed', 'reported', 1, 0, 0, 1, 0, 100, 104, 1, now() {settled}"),
        ),
        (
            "usage_charge_is_its_holds",
            "false, 'completed', 'reported', 1, 0, 0, 1, 0, 100, 105, 1, now() FROM hold WHERE state = 'voided'".to_owned(),
        ),
        (
            "platform_usage_has_its_hold",
            "false, 'completed', 'reported', 1, 0, 0, 1, 0, 100, 105, 1, now()
             FROM (SELECT org_id, gen_random_uuid() AS request_id, turn, api_key_id FROM hold) h".to_owned(),
        ),
        (
            "own_key_pays_no_entry",
            format!("true, 'completed', 'reported', 1, 0, 0, 1, 0, 100, 0, 1, now() {settled}"),
        ),
        (
            "platform_usage_is_priced",
            format!("false, 'completed', 'reported', 1, 0, 0, 1, 0, NULL, 0, 1, now() {open}"),
        ),
    ] {
        assert_found(&test, check, format!("{USAGE_COLUMNS}{rest}")).await;
    }
    assert_clean(&test).await;
}

/// Plants in a transaction that is rolled back, so that each drift is tested alone.
async fn assert_found(test: &TestDb, check: &str, sql: String) {
    let mut transaction = test.db.begin().await.unwrap();
    let planted = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).execute(&mut *transaction).await.unwrap();
    assert!(planted.rows_affected() > 0, "{sql}");
    let drift = run_audit(&mut transaction).await.unwrap();
    assert!(drift.iter().any(|drift| drift.check == check), "{check} not in {drift:?}");
    transaction.rollback().await.unwrap();
}
