//! Alerts and their deliveries in a real PostgreSQL: one alert for an occasion, one process for a delivery.

use crate::{
    domain::ids::{AlertId, WebhookId},
    store::{
        OrgScope,
        alerts::{self, NewAlert, Target},
        testing::TestDb,
        webhooks::{self, Webhook},
    },
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// More than any of these tests makes.
const MANY: (i64, i64) = (100, 100);

async fn add_webhook(test: &TestDb, scope: OrgScope, events: &[&str]) -> WebhookId {
    let webhook = Webhook {
        id: WebhookId(test.ambient.uuid()),
        url: "https://example.com/".to_owned(),
        events: events.iter().map(|event| (*event).to_owned()).collect(),
        generation: 1,
        previous_until: None,
        created_at: test.ambient.now(),
        last_status: None,
        last_error: None,
        last_sent_at: None,
    };
    webhooks::insert(&mut test.db.acquire().await.unwrap(), scope, &webhook).await.unwrap();
    webhook.id
}

async fn make(test: &TestDb, scope: OrgScope, occasion: &str, now: OffsetDateTime) {
    let alert = NewAlert {
        scope,
        id: AlertId(test.ambient.uuid()),
        kind: "balance.low",
        occasion: occasion.to_owned(),
        document: "{}".to_owned(),
    };
    alerts::insert(&mut test.db.acquire().await.unwrap(), &alert, true, now).await.unwrap();
}

async fn take(test: &TestDb, now: OffsetDateTime, most: (i64, i64)) -> Vec<alerts::Delivery> {
    let until = now + Duration::seconds(60);
    alerts::take_due(&mut test.db.acquire().await.unwrap(), (now, until), most).await.unwrap()
}

async fn finish(test: &TestDb, delivery: &alerts::Delivery, next_at: Option<OffsetDateTime>) {
    alerts::finish_delivery(&mut test.db.acquire().await.unwrap(), delivery, next_at).await.unwrap();
}

#[tokio::test]
async fn an_occasion_makes_one_alert_for_those_who_asked_for_its_kind() {
    let test = TestDb::create().await;
    let scope = test.organization(0).await;
    let now = test.ambient.now();
    let all = add_webhook(&test, scope, &[]).await;
    let this = add_webhook(&test, scope, &["balance.low", "spend.jump"]).await;
    add_webhook(&test, scope, &["spend.jump"]).await;
    for _ in 0..3 {
        make(&test, scope, "once", now).await;
    }
    let due = take(&test, now, MANY).await;
    let mut targets: Vec<Uuid> = due
        .iter()
        .map(|delivery| match &delivery.target {
            Target::Webhook(webhook) => webhook.id.0,
            other => panic!("{other:?}"),
        })
        .collect();
    targets.sort_unstable();
    let mut expected = [all.0, this.0];
    expected.sort_unstable();
    assert_eq!(targets, expected);
    assert_eq!(test.number("SELECT count(*) FROM alert").await, 1);
}

#[tokio::test]
async fn a_delivery_belongs_to_one_process_and_outlives_it() {
    let test = TestDb::create().await;
    let scope = test.organization(0).await;
    let now = test.ambient.now();
    add_webhook(&test, scope, &[]).await;
    make(&test, scope, "once", now).await;
    let first = take(&test, now, MANY).await;
    assert_eq!((first.len(), first[0].attempts), (1, 0));
    assert!(take(&test, now, MANY).await.is_empty(), "it is another process's");
    // That process does not come back.
    let later = now + Duration::seconds(61);
    let second = take(&test, later, MANY).await;
    assert_eq!((second.len(), second[0].attempts, second[0].alert), (1, 1, first[0].alert));
    // It does after all: its result is ignored, because the delivery is no longer its own.
    finish(&test, &first[0], None).await;
    assert_eq!(test.number("SELECT count(*) FROM alert_delivery WHERE next_at IS NOT NULL").await, 1);
    finish(&test, &second[0], None).await;
    assert!(take(&test, later + Duration::days(1), MANY).await.is_empty());
}

#[tokio::test]
async fn one_organization_does_not_keep_the_others_waiting() {
    let test = TestDb::create().await;
    let (busy, quiet) = (test.organization(0).await, test.organization(0).await);
    let now = test.ambient.now();
    for scope in [busy, quiet] {
        add_webhook(&test, scope, &[]).await;
    }
    for number in 0..20 {
        make(&test, busy, &format!("occasion {number}"), now - Duration::hours(1)).await;
    }
    make(&test, quiet, "once", now).await;
    let due = take(&test, now, (16, 4)).await;
    assert_eq!(due.iter().filter(|delivery| delivery.scope == busy).count(), 4);
    assert_eq!(due.iter().filter(|delivery| delivery.scope == quiet).count(), 1);
}

#[tokio::test]
async fn a_webhook_that_is_removed_takes_its_deliveries_with_it() {
    let test = TestDb::create().await;
    let scope = test.organization(0).await;
    let now = test.ambient.now();
    let id = add_webhook(&test, scope, &[]).await;
    make(&test, scope, "once", now).await;
    let mut connection = test.db.acquire().await.unwrap();
    assert!(webhooks::delete(&mut connection, scope, id).await.unwrap());
    assert!(!webhooks::delete(&mut connection, test.nobody(), id).await.unwrap());
    assert!(take(&test, now, MANY).await.is_empty());
}

#[tokio::test]
async fn an_hour_that_costs_a_multiple_of_the_usual_is_found_once() {
    let test = TestDb::create().await;
    let scope = test.organization(0).await;
    add_webhook(&test, scope, &[]).await;
    // Two days of 24,000 nano-USD each: 1,000 an hour. The last hour: 4,000.
    test.tamper(
        "CREATE FUNCTION pg_temp.add(at timestamptz, charge bigint) RETURNS void LANGUAGE plpgsql AS $$
         DECLARE org uuid := (SELECT id FROM organization); names text; zeros text; target text;
         BEGIN
             target := CASE WHEN at = day_of(at) THEN 'usage_day' ELSE 'usage_rollup' END;
             SELECT string_agg(column_name, ','), string_agg('0', ',') INTO names, zeros
             FROM information_schema.columns
             WHERE table_name = 'usage_day' AND data_type = 'bigint' AND column_name <> 'charge';
             EXECUTE format('INSERT INTO %I (org_id, bucket, api_key_id, provider, model, byok, category, kind, status,
                                             charge, %s) VALUES ($1, $2, $1, '''', '''', false, '''', '''', '''', $3, %s)',
                            target, names, zeros) USING org, at, charge;
         END $$;
         SELECT pg_temp.add(day_of(now()) - interval '1 day', 24000);
         SELECT pg_temp.add(day_of(now()) - interval '2 days', 24000);
         SELECT pg_temp.add(now() - interval '10 minutes' - interval '1 microsecond', 4000);",
    )
    .await;
    let now = test.ambient.now();
    let mut connection = test.db.acquire().await.unwrap();
    let mut jumps = async |factor: i32| {
        sqlx::query("UPDATE organization SET rules = json_build_object('spendJumpFactor', $1)")
            .bind(factor)
            .execute(&mut *connection)
            .await
            .unwrap();
        alerts::list_spend_jumps(&mut connection, false, now, 10).await.unwrap()
    };
    assert!(jumps(5).await.is_empty());
    let found = jumps(4).await;
    assert_eq!((found.len(), found[0].hour.0, found[0].usual.0), (1, 4_000, 1_000));
    make(&test, scope, &found[0].occasion, now).await;
    assert!(jumps(4).await.is_empty());
}
