//! Reports by the days of time zones: as the rows themselves have them, read from sums of steps or of whole days.

use super::*;
use crate::{
    billing::{
        report::Range,
        usage_report::{UsageQuery, report, want_zone_days},
    },
    books::periods::Zone,
    store::{
        rollups::{self, GroupBy},
        zone_days,
    },
};
use sqlx::PgConnection;
use time::macros::datetime;

/// Summer time begins or ends in all but one of these between September and November, in one by half an hour.
const ZONES: [&str; 4] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"];

/// So many rows of three models, a little over three hours apart, from 25 August on.
async fn fill(test: &TestDb, scope: OrgScope, rows: i64) {
    sqlx::query(
        "INSERT INTO usage (org_id, request_id, api_key_id, provider, model, byok, status, basis, input_tokens,
                            cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost, charge,
                            latency_ms, created_at)
         SELECT $1, first_id_at(timestamptz '2026-08-25 00:00+00' + n * interval '3 hours 7 minutes 13 seconds'), $2,
                'openai', 'm' || n % 3, true, 'completed', 'counted', n, 0, 0, 1, 0, n * n, 0, 1, now()
         FROM generate_series(1, $3) n",
    )
    .bind(scope.org_id().0)
    .bind(test.ambient.uuid())
    .bind(rows)
    .execute(&mut *test.db.acquire().await.unwrap())
    .await
    .unwrap();
}

fn query(zone: &str) -> UsageQuery {
    let by_name = Zone::by_name(zone).unwrap();
    let now = datetime!(2026-11-29 00:00 UTC);
    let range = Range::parse_in(&by_name, Some("2026-09-01"), Some("2026-11-20"), now).unwrap();
    UsageQuery::by(range, GroupBy::Day).and_by(GroupBy::Model).unwrap().in_zone(by_name, zone)
}

/// Day, model, requests, input tokens and cost of each group.
type Groups = Vec<(String, String, i64, i64, i64)>;

async fn reported(connection: &mut PgConnection, scope: OrgScope, zone: &str) -> Groups {
    let report = report(connection, scope, &query(zone), false).await.unwrap();
    let rows = report.rows.into_iter().map(|row| {
        (row.key, row.second_key.unwrap(), row.requests, row.input_tokens, row.provider_cost_usd.0)
    });
    rows.collect()
}

/// The same from the rows, by the database's own knowledge of zones.
async fn expected(connection: &mut PgConnection, scope: OrgScope, zone: &str) -> Groups {
    sqlx::query_as(
        "SELECT to_char(moment_of_id(request_id) AT TIME ZONE $2, 'YYYY-MM-DD') AS day, model, count(*),
                sum(input_tokens)::bigint, sum(cost)::bigint
         FROM usage WHERE org_id = $1 GROUP BY 1, 2
         HAVING to_char(min(moment_of_id(request_id)) AT TIME ZONE $2, 'YYYY-MM-DD') BETWEEN '2026-09-01' AND '2026-11-20'
         ORDER BY 1, 2",
    )
    .bind(scope.org_id().0)
    .bind(zone)
    .fetch_all(connection)
    .await
    .unwrap()
}

async fn assert_exact(test: &TestDb, scope: OrgScope, when: &str) {
    let mut connection = test.db.acquire().await.unwrap();
    for zone in ZONES {
        let expected = expected(&mut connection, scope, zone).await;
        assert!(expected.len() > 200, "{zone}");
        assert_eq!(reported(&mut connection, scope, zone).await, expected, "{zone}, {when}");
    }
    assert_clean(test).await;
}

async fn roll_up(test: &TestDb) {
    let mut transaction = test.db.begin().await.unwrap();
    rollups::roll_up(&mut transaction, 10_000).await.unwrap().unwrap();
    transaction.commit().await.unwrap();
}

/// As the job does it, a few days at a time.
async fn sum_zone_days(test: &TestDb) {
    loop {
        let mut transaction = test.db.begin().await.unwrap();
        let has_more = zone_days::sum_next(&mut transaction, 40).await.unwrap();
        transaction.commit().await.unwrap();
        if !has_more {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_of_time_zones_are_exact_from_steps_from_kept_days_and_after_later_changes() {
    let test = TestDb::create().await;
    let (scope, other) = (test.organization(0).await, test.organization(0).await);
    fill(&test, scope, 700).await;
    assert_exact(&test, scope, "from rows").await;
    roll_up(&test).await;
    assert_exact(&test, scope, "from steps").await;
    let mut transaction = test.db.begin().await.unwrap();
    for zone in ZONES {
        let phases = query(zone).zone_days_wanted();
        assert!((1..=2).contains(&phases.len()), "{zone}: {phases:?}");
        want_zone_days(&mut transaction, scope, &phases, test.ambient.now()).await.unwrap();
        want_zone_days(&mut transaction, other, &phases, test.ambient.now()).await.unwrap();
    }
    transaction.commit().await.unwrap();
    assert_exact(&test, scope, "before its days are summed").await;
    sum_zone_days(&test).await;
    let unsummed = "SELECT count(*) FROM usage_zone WHERE NOT is_summed";
    assert_eq!(test.number(unsummed).await, 0);
    assert!(test.number("SELECT count(*) FROM usage_zone_day").await > 800);
    assert_exact(&test, scope, "from whole days").await;
    // A row that comes late, one that goes and one that changes: before and after their steps are summed again.
    test.tamper(
        "INSERT INTO usage SELECT (jsonb_populate_record(u, jsonb_build_object('request_id',
                 first_id_at(moment_of_id(u.request_id) + interval '7 minutes')))).*
             FROM usage u WHERE u.input_tokens IN (100, 300, 511);
         DELETE FROM usage WHERE input_tokens = 200;
         UPDATE usage SET cost = 7 WHERE input_tokens = 400",
    )
    .await;
    assert_exact(&test, scope, "with changed rows").await;
    roll_up(&test).await;
    assert_exact(&test, scope, "summed again").await;
    // Whole days are what is read, and a wrong one is found.
    let mut transaction = test.db.begin().await.unwrap();
    sqlx::raw_sql("UPDATE usage_zone_day SET cost = cost + 1").execute(&mut *transaction).await.unwrap();
    assert_ne!(
        reported(&mut transaction, scope, ZONES[0]).await,
        expected(&mut transaction, scope, ZONES[0]).await
    );
    let drift = run_audit(&mut transaction).await.unwrap();
    assert!(drift.iter().any(|drift| drift.check == "zone_day_is_sum_of_its_steps"), "{drift:#?}");
    transaction.rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_has_days_of_a_bounded_number_of_offsets() {
    let test = TestDb::create().await;
    let scope = test.organization(0).await;
    let mut transaction = test.db.begin().await.unwrap();
    for first in [1, 2, 3, 40, 50] {
        let phases: Vec<i16> = (first..first + 3).collect();
        want_zone_days(&mut transaction, scope, &phases, test.ambient.now()).await.unwrap();
    }
    transaction.commit().await.unwrap();
    assert_eq!(test.number("SELECT count(*) FROM usage_zone").await, 8);
}
