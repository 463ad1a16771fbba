//! Operation of the database: long reports, a schema of another version, a standby, an outage, and the rotation of
//! master keys.

use crate::harness::{ChildStack, Stack, hello, wait_until};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const PLATFORM: &str = "openai/gpt-5.4-mini";
const OWN: &str = "groq/gpt-oss-120b";

/// Runs statements on the server, beside the stack's database.
async fn on_server(stack: &Stack, statements: &[String]) {
    let options = stack.database.options().database("postgres");
    let mut server = PgConnection::connect_with(&options).await.unwrap();
    for sql in statements {
        sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut server).await.unwrap();
    }
}

async fn end_connections(stack: &Stack, settings: &[String]) {
    let name = &stack.database.name;
    let mut statements = settings.to_vec();
    statements
        .push(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"));
    on_server(stack, &statements).await;
}

async fn is_ready(stack: &Stack) -> bool {
    stack.get("/readyz", "").await.status == 200
}

#[tokio::test]
async fn reports_that_take_long_are_refused_and_take_nothing_from_calls() {
    let stack = Stack::builder().env("KAIROSROUTE_REPORT_TIMEOUT_MS", "1500").start().await;
    let (reader, victim) = (stack.customer("10").await, stack.customer("10").await);
    stack.set_provider_keys(&victim, &json!({ "Groq": "gsk_own_key_of_theirs" })).await;
    let mut locking = stack.database.connect().await;
    let mut lock = locking.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE usage IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let mut reports = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (client, session) = (stack.client.clone(), reader.session.clone());
        reports.spawn(async move { client.get("/api/usage", &session).await });
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                   AND wait_event_type = 'Lock'";
    wait_until("reports to wait for the table", async || stack.database.number(waiting).await >= 2).await;
    for _ in 0..5 {
        for model in [PLATFORM, OWN] {
            let reply = stack.chat(&victim.key, &hello(model)).await;
            assert_eq!(reply.status, 200, "{model}: {reply}");
        }
        // This key and this session are not cached yet.
        let (key, _) = stack.create_key(&victim.session, &json!({ "name": "another" })).await;
        assert_eq!(stack.get("/v1/models", &key).await.status, 200);
    }
    let mut too_long = 0;
    while let Some(reply) = reports.join_next().await {
        let reply = reply.unwrap();
        assert!(matches!(reply.status, 400 | 503), "{reply}");
        if reply.status == 400 {
            assert!(reply.json()["error"]["message"].as_str().unwrap().contains("shorter range"), "{reply}");
            too_long += 1;
        }
    }
    assert!(too_long >= 2);
    drop(lock);
    drop(locking);
    wait_until("the report to be served again", async || {
        stack.get("/api/usage", &reader.session).await.status == 200
    })
    .await;
    stack.finish().await;
}

#[tokio::test]
async fn readiness_follows_the_schema_and_whether_the_database_takes_writes() {
    let stack = Stack::start().await;
    wait_until("it to be ready", async || is_ready(&stack).await).await;
    let problem = async || {
        let reply = stack.get("/readyz", "").await;
        if reply.status == 200 { String::new() } else { reply.text() }
    };
    let hide = "UPDATE _sqlx_migrations SET version = -version WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    stack.database.tamper(hide).await;
    wait_until("the old schema to be seen", async || problem().await.contains("older than this version"))
        .await;
    stack.database.tamper("UPDATE _sqlx_migrations SET version = -version WHERE version < 0").await;
    wait_until("the schema to be seen again", async || is_ready(&stack).await).await;
    let name = stack.database.name.clone();
    end_connections(&stack, &[format!("ALTER DATABASE {name} SET default_transaction_read_only = on")]).await;
    wait_until("the standby to be seen", async || problem().await.contains("read-only")).await;
    end_connections(&stack, &[format!("ALTER DATABASE {name} RESET default_transaction_read_only")]).await;
    wait_until("it to be ready again", async || is_ready(&stack).await).await;
    stack.finish().await;
}

#[tokio::test]
async fn the_reaper_works_beside_a_ledger_and_records_that_keep_their_connections() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let charged = "SELECT count(*) FROM usage WHERE charge > 0";
    // From the first charge on its writers keep connections. The lease has had its first renewal before.
    assert_eq!(stack.chat(&customer.key, &hello(PLATFORM)).await.status, 200);
    wait_until("the charge to be recorded", async || stack.database.number(charged).await == 1).await;
    // A process that is gone, and whose records were not checked yet.
    let gone = "INSERT INTO instance (id, started_at, lease_until)
                VALUES (gen_random_uuid(), now() - interval '1 hour', now() - interval '30 minutes')";
    stack.database.tamper(gone).await;
    // The reaper begins after its own lease has been live for half a minute.
    let live = "SELECT count(*) FROM instance WHERE lease_until > now() AND started_at < now() - interval '20 seconds'";
    wait_until("the lease to be old enough", async || stack.database.number(live).await == 1).await;
    let looked_through = "SELECT count(*) FROM instance WHERE reconciled_at IS NOT NULL";
    wait_until("the reaper's step to end", async || stack.database.number(looked_through).await == 1).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_known_outage_refuses_at_once_serves_known_keys_and_ends_by_itself() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    stack.set_provider_keys(&customer, &json!({ "Groq": "gsk_own_key_of_theirs" })).await;
    assert_eq!(stack.chat(&customer.key, &hello(OWN)).await.status, 200);
    let name = stack.database.name.clone();
    end_connections(&stack, &[format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")]).await;
    let reply = stack.chat(&customer.key, &hello(OWN)).await;
    assert_eq!(reply.status, 200, "a key that was in use a moment ago: {reply}");
    wait_until("the outage to be known", async || {
        stack.get("/readyz", "").await.text().contains("cannot be reached")
    })
    .await;
    assert!(stack.gateway().db.state().is_known_away());
    for _ in 0..20 {
        let reply = stack.chat(&customer.key, &hello(PLATFORM)).await;
        assert_eq!(reply.status, 503, "{reply}");
        assert!((1..=30).contains(&reply.header("retry-after").parse().unwrap()), "{reply}");
        // Far below the time that a hold waits for a database that may return in a moment.
        assert!(reply.took < std::time::Duration::from_secs(2), "{reply}");
    }
    end_connections(&stack, &[format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")]).await;
    wait_until("it to serve again", async || {
        stack.chat(&customer.key, &hello(PLATFORM)).await.status == 200 && is_ready(&stack).await
    })
    .await;
    stack.finish().await;
}

#[tokio::test]
async fn a_database_without_or_with_an_old_schema_is_refused_in_plain_words_and_a_newer_one_is_taken() {
    let stack = ChildStack::start_default().await;
    let database = stack.database();
    // Another version has added something.
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
                 VALUES (99990101000000, 'later', now(), true, 'x', 0)";
    database.tamper(newer).await;
    assert!(stack.command(&["migrate"], "").status.success());
    let again = stack.second_process(&[]).await;
    assert_eq!(again.get("/healthz", "").await.status, 200);
    let audit = stack.command(&["audit"], "");
    assert!(audit.status.success(), "{audit:?}");
    let hide = "UPDATE _sqlx_migrations SET version = -version WHERE version < 99990101000000
                AND version = (SELECT max(version) FROM _sqlx_migrations WHERE version < 99990101000000)";
    database.tamper(hide).await;
    let mut env = stack.env().to_vec();
    env.push(("KAIROSROUTE_MIGRATE".into(), "off".into()));
    let serve = crate::harness::run_command(&env, &["serve"], "");
    assert_eq!(serve.status.code(), Some(1), "{serve:?}");
    assert!(serve.stderr.contains("run `kairosroute migrate`"), "{serve:?}");
    database.tamper("UPDATE _sqlx_migrations SET version = -version WHERE version < 0").await;
    database.tamper("ALTER TABLE _sqlx_migrations RENAME TO away").await;
    for command in [&["audit"][..], &["admin", "organizations"]] {
        let output = stack.command(command, "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stderr.contains("the database is empty: run `kairosroute migrate`"), "{output:?}");
    }
    database.tamper("ALTER TABLE away RENAME TO _sqlx_migrations").await;
}

#[tokio::test]
async fn a_rotation_is_refused_beside_a_process_that_lacks_the_new_key() {
    let stack = ChildStack::start_default().await;
    let customer = stack.customer("10").await;
    stack.set_provider_keys(&customer, &json!({ "Groq": "gsk_own_key_of_theirs" })).await;
    let mut env = stack.env().to_vec();
    let rotated = format!("next1:{},{}", "A".repeat(43) + "=", stack.master_keys);
    env.push(("KAIROSROUTE_MASTER_KEYS".into(), rotated));
    let refused = crate::harness::run_command(&env, &["vault", "rotate"], "");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("do not hold the master key `next1`"), "{refused:?}");
    let reply = stack.chat(&customer.key, &hello(OWN)).await;
    assert_eq!(reply.status, 200, "nothing was re-wrapped: {reply}");
    // A process that stopped cleanly no longer counts.
    let mut stack = stack;
    stack.terminate();
    assert!(stack.wait().await.success(), "{}", stack.log());
    let done = crate::harness::run_command(&env, &["vault", "rotate"], "");
    assert!(done.status.success(), "{done:?}");
}
