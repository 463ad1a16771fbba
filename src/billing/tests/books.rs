//! Books that finance closes: promotional credit, statements that never change, sums of usage, partitions.

use super::{reports::usage_row, *};
use crate::{
    billing::{
        credit::{self, NewEntry},
        ledger::Settle,
        record::{Record, UsageRow},
        report::{self, Range},
        statements,
        usage_report::{UsageQuery, report as usage_report},
    },
    books::{entry::EntryKind, month::Month, periods::Zone, statement::Statement},
    store::{
        partitions::{self, Partitioned},
        postings::PostingOutcome,
        rollups::{self, GroupBy, UsageFilter},
        usage,
    },
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

async fn posted(test: &TestDb, scope: OrgScope, kind: EntryKind, amount: i64, days: Option<i64>) -> EntryId {
    let now = test.ambient.now();
    let entry = NewEntry {
        kind,
        amount: NanoUsd(amount),
        external_id: None,
        reason: "a reason",
        actor: "cli",
        expires_at: days.map(|days| now + Duration::days(days)),
    };
    let mut transaction = test.db.begin().await.unwrap();
    let (id, outcome) = credit::post(&mut transaction, &test.ambient, scope, &entry).await.unwrap();
    assert_eq!(outcome, PostingOutcome::Posted);
    transaction.commit().await.unwrap();
    id
}

/// A charge of `cost` and its margin, with its usage row and receipt.
async fn charged(test: &TestDb, ledger: &Ledger, scope: OrgScope, cost: i64) -> HoldRequest {
    let request = fixed(test, scope, cost * 2 + 2);
    ledger.hold(request.clone()).await.unwrap();
    ledger.settle(Settle::charge(scope, request.id, bill(cost), entry(test))).await.unwrap();
    let row = UsageRow {
        byok: false,
        cost: Some(NanoUsd(cost)),
        charge: bill(cost).charge(),
        ..usage_row("gpt-4o", 0)
    };
    write(test, scope, request.request_id, request.api_key_id, row).await;
    request
}

async fn write(test: &TestDb, scope: OrgScope, request_id: RequestId, api_key_id: ApiKeyId, row: UsageRow) {
    let receipt = format!(
        r#"{{"receipt_id":"{}","charged_nano_usd":{},"execution":{{"status":"completed"}}}}"#,
        request_id.receipt(),
        row.charge.0
    );
    let record = Record {
        scope,
        request_id,
        api_key_id,
        usage: Some(row),
        receipt: Some(receipt.into()),
        replaces: false,
    };
    usage::insert(&mut test.db.acquire().await.unwrap(), &[record], test.ambient.now()).await.unwrap();
}

async fn expire(test: &TestDb, scope: OrgScope) -> usize {
    let mut transaction = test.db.begin().await.unwrap();
    let closed = credit::expire(&mut transaction, &test.ambient, scope).await.unwrap();
    transaction.commit().await.unwrap();
    closed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promotional_credit_is_burned_first_and_what_is_left_expires_by_an_entry_of_its_own() {
    let test = TestDb::create().await;
    let scope = test.organization(10_000).await;
    let ledger = start(&test, &test.db).await;
    charged(&test, &ledger, scope, 100).await;
    let first = posted(&test, scope, EntryKind::Promotion, 1_000, Some(1)).await;
    charged(&test, &ledger, scope, 400).await; // 420 of the first
    let second = posted(&test, scope, EntryKind::Promotion, 500, Some(2)).await;
    charged(&test, &ledger, scope, 600).await; // 580 of the first, 50 of the second
    assert_eq!(expire(&test, scope).await, 0, "nothing is due");
    assert_eq!((burned(&test, first).await, burned(&test, second).await), (1_000, 50));
    // A request that began before the end still holds credit: the lot waits for it.
    let open = fixed(&test, scope, 200);
    ledger.hold(open.clone()).await.unwrap();
    test.tamper("UPDATE hold SET created_at = created_at - interval '1 minute'").await;
    test.tamper("UPDATE promotion SET expires_at = clock_timestamp() - interval '1 second'").await;
    assert_eq!(expire(&test, scope).await, 0, "it is held");
    ledger.settle(Settle::charge(scope, open.id, bill(100), entry(&test))).await.unwrap();
    assert_eq!(expire(&test, scope).await, 2);
    assert_eq!(expire(&test, scope).await, 0, "once");
    let expired = "SELECT sum(amount)::bigint FROM entry WHERE kind = 'expiry'";
    assert_eq!(test.number(expired).await, 500 - 50 - 105);
    assert_eq!(
        test.number("SELECT count(*) FROM entry WHERE kind = 'expiry'").await,
        1,
        "nothing left of the first"
    );
    let balance = balance(&test, scope).await;
    assert_eq!(balance, (10_000 - 105, 0), "promotional credit paid for all but the first charge");
    assert_clean(&test).await;
}

async fn burned(test: &TestDb, lot: EntryId) -> i64 {
    let burned = sqlx::query_scalar("SELECT burned FROM promotion WHERE entry_id = $1").bind(lot.0);
    burned.fetch_one(&mut *test.db.acquire().await.unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_each_kind_move_one_way_and_name_reason_and_actor() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000).await;
    posted(&test, scope, EntryKind::Refund, 10, None).await;
    posted(&test, scope, EntryKind::Adjustment, -300, None).await;
    posted(&test, scope, EntryKind::Adjustment, 5, None).await;
    assert_eq!(balance(&test, scope).await, (715, 0));
    let mut transaction = test.db.begin().await.unwrap();
    for (kind, amount) in [
        (EntryKind::Refund, -1),
        (EntryKind::Grant, -1),
        (EntryKind::Expiry, 1),
        (EntryKind::Charge, 1),
        (EntryKind::Adjustment, 0),
    ] {
        let entry = NewEntry {
            kind,
            amount: NanoUsd(amount),
            external_id: None,
            reason: "",
            actor: "cli",
            expires_at: None,
        };
        let (_, outcome) = credit::post(&mut transaction, &test.ambient, scope, &entry).await.unwrap();
        assert_eq!(outcome, PostingOutcome::WrongWay, "{kind:?}");
    }
    transaction.rollback().await.unwrap();
    let range = Range::parse(None, None, test.ambient.now()).unwrap();
    let mut connection = test.db.acquire().await.unwrap();
    let page = report::entries(&mut connection, scope, range, None, 10).await.unwrap();
    let last = &page.entries[0];
    assert_eq!(
        (last.kind.as_str(), last.note.as_str(), last.actor.as_str()),
        ("adjustment", "a reason", "cli")
    );
    let audited =
        "SELECT count(*) FROM audit_log WHERE action = 'credit.adjustment' AND changes LIKE '%a reason%'";
    assert_eq!(test.number(audited).await, 2);
    assert_clean(&test).await;
}

/// The statement of a month, in a transaction that is committed.
async fn statement(test: &TestDb, scope: OrgScope, month: Month) -> (String, Statement) {
    let mut transaction = test.db.begin().await.unwrap();
    let kept = statements::get(&mut transaction, scope, month).await.unwrap();
    transaction.commit().await.unwrap();
    let statement: Statement = serde_json::from_str(&kept.document).unwrap();
    assert!(statement.is_consistent() && statement.to_csv() == kept.csv);
    (kept.document, statement)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_month_keeps_its_bytes_and_what_is_booked_later_stands_in_a_later_month() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000_000).await;
    let ledger = start(&test, &test.db).await;
    charged(&test, &ledger, scope, 1_000).await;
    posted(&test, scope, EntryKind::Refund, 50, None).await;
    let this = Month::of(test.ambient.now());
    let last = this.previous().previous();
    let (_, open) = statement(&test, scope, this).await;
    assert!(!open.closed);
    assert_eq!(open.closing_balance_usd.0, balance(&test, scope).await.0);
    // All of it was two months ago.
    test.tamper(
        "UPDATE entry SET booked_at = booked_at - interval '2 months';
         UPDATE organization SET created_at = created_at - interval '3 months'",
    )
    .await;
    let (document, closed) = statement(&test, scope, last).await;
    assert!(closed.closed);
    assert_eq!(closed.opening_balance_usd, NanoUsd(0));
    assert_eq!(closed.totals.grants_usd, NanoUsd(1_000_000));
    assert_eq!(closed.totals.charges_usd, NanoUsd(1_050));
    assert_eq!(closed.charges[0].model, "gpt-4o");
    assert_eq!((closed.charges[0].requests, closed.charges[0].input_tokens), (1, 12));
    assert_eq!(closed.adjustments[0].reason, "a reason");
    // What is booked now belongs to this month, whenever its request began.
    charged(&test, &ledger, scope, 500).await;
    test.tamper("UPDATE organization SET name = 'Renamed'").await;
    assert_eq!(statement(&test, scope, last).await.0, document, "the same bytes");
    let (_, now) = statement(&test, scope, this).await;
    assert_eq!(now.opening_balance_usd, closed.closing_balance_usd);
    assert_eq!(now.totals.charges_usd, NanoUsd(525));
    assert_eq!(now.closing_balance_usd.0, balance(&test, scope).await.0);
    let months = statements::list(&mut test.db.acquire().await.unwrap(), scope).await.unwrap();
    let months: Vec<_> =
        months.iter().map(|line| (line.month, line.closed, line.closing_balance_usd)).collect();
    assert_eq!(months[0], (this, false, now.closing_balance_usd));
    assert_eq!(months[1], (this.previous(), false, closed.closing_balance_usd), "not asked for yet");
    assert_eq!(months[2], (last, true, closed.closing_balance_usd));
    assert_eq!(months[3].2, NanoUsd(0));
    let future = statements::get(&mut test.db.begin().await.unwrap(), scope, this.next()).await;
    assert!(matches!(future, Err(statements::StatementsError::NoSuchMonth)));
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_closes_the_month_of_every_organization_once() {
    let test = TestDb::create().await;
    let scopes = [test.organization(5).await, test.organization(7).await];
    test.organization(0).await;
    test.tamper(
        "UPDATE entry SET booked_at = booked_at - interval '2 months';
         UPDATE organization SET created_at = created_at - interval '2 months'",
    )
    .await;
    let last = Month::of(test.ambient.now()).previous().previous();
    let after_close = last.end() + Duration::hours(2);
    assert_eq!(statements::close_due(&test.db, after_close).await.unwrap(), 2);
    assert_eq!(statements::close_due(&test.db, after_close).await.unwrap(), 0);
    for (scope, amount) in scopes.into_iter().zip([5, 7]) {
        assert_eq!(statement(&test, scope, last).await.1.closing_balance_usd, NanoUsd(amount));
    }
    assert_clean(&test).await;
}

/// An id of a request at a moment.
fn id_at(test: &TestDb, moment: OffsetDateTime) -> RequestId {
    let random = test.ambient.uuid().as_u128() & ((1 << 74) - 1);
    RequestId(uuid::Uuid::from_u128(usage::first_id_at(moment).as_u128() | random))
}

async fn roll_up(test: &TestDb) {
    let mut transaction = test.db.begin().await.unwrap();
    rollups::roll_up(&mut transaction, 1_000).await.unwrap().unwrap();
    transaction.commit().await.unwrap();
}

/// What a report by model and day contains: requests, cost and charge of each group.
async fn sums(
    connection: &mut PgConnection,
    scope: OrgScope,
    range: Range,
) -> Vec<(String, String, i64, i64, i64)> {
    let query = UsageQuery::by(range, GroupBy::Day).and_by(GroupBy::Model).unwrap();
    let report = usage_report(connection, scope, &query, false).await.unwrap();
    let groups = report.rows.into_iter().map(|row| {
        let second = row.second_key.unwrap();
        (row.key, second, row.requests, row.provider_cost_usd.0, row.charged_usd.0)
    });
    groups.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_and_rows_together_are_exact_whatever_changes_after_they_were_summed() {
    let test = TestDb::create().await;
    let (scope, other) = (test.organization(0).await, test.organization(0).await);
    let key = ApiKeyId(test.ambient.uuid());
    let begin = test.ambient.now() - Duration::hours(6);
    let mut ids = Vec::new();
    for number in 0..60_i64 {
        let id = id_at(&test, begin + Duration::minutes(5 * number));
        let row = UsageRow { byok: true, charge: NanoUsd(0), ..usage_row(&format!("m{}", number % 3), 1) };
        write(&test, scope, id, key, row.clone()).await;
        write(&test, other, id, key, row).await;
        ids.push(id);
    }
    let range = Range::parse(None, None, test.ambient.now()).unwrap();
    let mut connection = test.db.acquire().await.unwrap();
    let before = sums(&mut connection, scope, range).await;
    assert_eq!(before.iter().map(|group| group.2).sum::<i64>(), 60);
    roll_up(&test).await;
    assert!(test.number("SELECT count(*) FROM usage_rollup").await > 60);
    assert_eq!(sums(&mut connection, scope, range).await, before, "summed");
    // A range that cuts steps reads their rows.
    let from = begin + Duration::minutes(7);
    let text = from.format(&time::format_description::well_known::Rfc3339).unwrap();
    let cut = Range::parse(Some(&text), None, test.ambient.now()).unwrap();
    assert_eq!(sums(&mut connection, scope, cut).await.iter().map(|group| group.2).sum::<i64>(), 58);
    // A row comes late, one goes, one changes: each is in the next report, before and after the job.
    let late = id_at(&test, begin + Duration::minutes(31));
    write(&test, scope, late, key, UsageRow { byok: true, charge: NanoUsd(0), ..usage_row("late", 1) }).await;
    sqlx::query("DELETE FROM usage WHERE org_id = $1 AND request_id = $2")
        .bind(scope.org_id().0)
        .bind(ids[10].0)
        .execute(&mut *connection)
        .await
        .unwrap();
    sqlx::query("UPDATE usage SET cost = 7 WHERE org_id = $1 AND request_id = $2")
        .bind(scope.org_id().0)
        .bind(ids[20].0)
        .execute(&mut *connection)
        .await
        .unwrap();
    let changed = sums(&mut connection, scope, range).await;
    assert_eq!(changed.iter().map(|group| group.2).sum::<i64>(), 60);
    assert_eq!(changed.iter().map(|group| group.3).sum::<i64>(), 59 * 100 + 7);
    assert!(changed.iter().any(|group| group.1 == "late"));
    assert_clean(&test).await;
    roll_up(&test).await;
    assert_eq!(sums(&mut connection, scope, range).await, changed);
    assert_eq!(sums(&mut connection, other, range).await, before, "of nobody else");
    assert_clean(&test).await;
    // Sums stay when the rows are dropped.
    let mut transaction = test.db.begin().await.unwrap();
    let far = time::macros::datetime!(2031-07-01 00:00 UTC);
    partitions::make(&mut transaction, Partitioned::Usage, far + Duration::days(60)).await.unwrap();
    assert!(partitions::drop_before(&mut transaction, Partitioned::Usage, far).await.unwrap() > 0);
    transaction.commit().await.unwrap();
    assert_eq!(test.number("SELECT count(*) FROM usage").await, 0);
    let hours = Range::parse(Some(&begin.date().to_string()), None, test.ambient.now()).unwrap();
    assert_eq!(sums(&mut connection, other, hours).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_filter_compare_and_follow_a_time_zone() {
    let test = TestDb::create().await;
    let scope = test.organization(0).await;
    let keys = [ApiKeyId(test.ambient.uuid()), ApiKeyId(test.ambient.uuid())];
    let noon = time::macros::datetime!(2026-10-25 12:00 UTC);
    // In Berlin the clocks went back on 25 October: its day has 25 hours, from 22:00 UTC the day before to 23:00.
    for (number, hours) in [(0, -14), (1, -13), (2, 10), (3, 11), (4, -38)] {
        let id = id_at(&test, noon + Duration::hours(hours));
        let row = UsageRow { byok: true, charge: NanoUsd(0), ..usage_row("m", 1) };
        write(&test, scope, id, keys[number % 2], row).await;
    }
    let berlin = Zone::by_name("Europe/Berlin").unwrap();
    let range = Range::parse_in(&berlin, Some("2026-10-25"), Some("2026-10-25"), noon).unwrap();
    let query = UsageQuery::by(range, GroupBy::Day).in_zone(berlin, "Europe/Berlin");
    let mut connection = test.db.acquire().await.unwrap();
    let report = usage_report(&mut connection, scope, &query, true).await.unwrap();
    assert_eq!(report.rows.len(), 1);
    assert_eq!((report.rows[0].key.as_str(), report.rows[0].requests), ("2026-10-25", 3));
    assert_eq!(report.rows[0].previous.unwrap().requests, 1);
    assert_eq!(report.previous.unwrap().total.requests, 1);
    let filter = UsageFilter { api_key: Some(keys[1]), ..UsageFilter::default() };
    let one = usage_report(&mut connection, scope, &query.clone().filtered(filter), false).await.unwrap();
    assert_eq!(one.total.requests, 1);
    assert!(query.clone().and_by(GroupBy::Hour).is_err() && query.and_by(GroupBy::Day).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_made_ahead_and_dropped_whole_and_the_audit_knows() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000_000).await;
    let ledger = start(&test, &test.db).await;
    charged(&test, &ledger, scope, 100).await;
    test.tamper("UPDATE hold SET resolved_at = now() - interval '2 hours' WHERE charge > 0").await;
    assert_clean(&test).await;
    let mut transaction = test.db.begin().await.unwrap();
    let until = time::macros::datetime!(2027-06-15 00:00 UTC);
    assert_eq!(partitions::make(&mut transaction, Partitioned::Receipts, until).await.unwrap(), 6);
    assert_eq!(partitions::make(&mut transaction, Partitioned::Receipts, until).await.unwrap(), 0);
    assert_eq!(
        partitions::kept_from(&mut transaction, Partitioned::Receipts).await.unwrap(),
        uuid::Uuid::nil()
    );
    let far = time::macros::datetime!(2027-03-01 00:00 UTC);
    assert_eq!(partitions::drop_before(&mut transaction, Partitioned::Receipts, far).await.unwrap(), 3);
    let kept = partitions::kept_from(&mut transaction, Partitioned::Receipts).await.unwrap();
    assert_eq!(kept.as_u128() >> 80, usage::first_id_at(far).as_u128() >> 80, "the millisecond of the id");
    transaction.commit().await.unwrap();
    assert_eq!(test.number("SELECT count(*) FROM receipt").await, 0);
    // The charge is older than what is kept: its receipt is not missing.
    assert_clean(&test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_lines_of_the_audit_log_go_by_partitions_and_its_gateway_cannot_change_or_delete_one() {
    let test = TestDb::create().await;
    let scope = test.organization(5).await;
    posted(&test, scope, EntryKind::Refund, 1, None).await;
    let lines = test.number("SELECT count(*) FROM audit_log").await;
    assert!(lines > 0);
    let mut transaction = test.db.begin().await.unwrap();
    // A role with the rights that the guide for operators gives it; it ends with the transaction.
    let role = format!("gateway_{}", test.ambient.uuid().simple());
    let set_up = format!(
        "CREATE ROLE {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
         REVOKE UPDATE, DELETE, TRUNCATE ON audit_log, entry, statement FROM {role};
         REVOKE ALL ON audit_log_first, audit_log_rest FROM {role};
         ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(set_up)).execute(&mut *transaction).await.unwrap();
    let until = time::macros::datetime!(2027-04-15 00:00 UTC);
    assert_eq!(partitions::make(&mut transaction, Partitioned::AuditLog, until).await.unwrap(), 4);
    let rights: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname || ' ' || r.name FROM pg_class c,
                unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS r (name)
         WHERE c.relname LIKE 'audit\\_log%' AND c.relkind IN ('r', 'p') AND has_table_privilege($1, c.oid, r.name)
         ORDER BY 1",
    )
    .bind(&role)
    .fetch_all(&mut *transaction)
    .await
    .unwrap();
    assert_eq!(rights, ["audit_log INSERT", "audit_log SELECT"]);
    let far = time::macros::datetime!(2027-02-01 00:00 UTC);
    assert_eq!(partitions::drop_before(&mut transaction, Partitioned::AuditLog, far).await.unwrap(), 2);
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM audit_log").fetch_one(&mut *transaction).await.unwrap();
    assert_eq!(kept, 0);
    transaction.rollback().await.unwrap();
    assert_eq!(test.number("SELECT count(*) FROM audit_log").await, lines);
}
