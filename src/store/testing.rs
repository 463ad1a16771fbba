//! A database of its own for each test, copied from a migrated template and dropped with the test. The
//! server is the one of `KAIROSROUTE_TEST_DATABASE_URL`.

use super::{Db, DbLimits, MIGRATIONS, OrgScope, Pooler, ledger, topups};
use crate::domain::{ambient::Ambient, ids, money::NanoUsd};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{str::FromStr, time::Duration};
use tokio::runtime::Handle;

/// The scope of an organization that is in no database.
/// `small`, or `full` where tests run at full size (`./test stress`).
pub fn sized<T>(small: T, full: T) -> T {
    match std::env::var("KAIROSROUTE_TEST_SIZE").is_ok_and(|size| size == "full") {
        true => full,
        false => small,
    }
}

pub fn scope(id: u128) -> OrgScope {
    OrgScope::of(ids::OrgId(uuid::Uuid::from_u128(id)))
}

/// A migrated, empty database.
pub struct TestDb {
    pub db: Db,
    pub ambient: Ambient,
    options: PgConnectOptions,
    name: String,
}

impl TestDb {
    /// Creates the database; the template first where this schema has none yet.
    pub async fn create() -> TestDb {
        let url = std::env::var("KAIROSROUTE_TEST_DATABASE_URL")
            .expect("KAIROSROUTE_TEST_DATABASE_URL names a server for tests");
        let server = PgConnectOptions::from_str(&url).unwrap();
        let ambient = Ambient::system();
        let template = create_template(&server, &ambient).await;
        let name = format!("kr_test_{}", ambient.uuid().simple());
        let mut admin = PgConnection::connect_with(&server).await.unwrap();
        while let Err(error) =
            sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}")))
                .execute(&mut admin)
                .await
        {
            let code =
                error.as_database_error().and_then(|refusal| refusal.code().map(|code| code.into_owned()));
            assert_eq!(code.as_deref(), Some("55006"), "only the template's being in use passes: {error}");
            tokio::task::yield_now().await;
        }
        let options = server.clone().database(&name);
        let db = open(&options);
        TestDb { db, ambient, options: server, name }
    }

    /// Another pool on the same database, as a second process has it.
    pub fn second_process(&self) -> Db {
        open(&self.options.clone().database(&self.name).application_name("second process"))
    }

    /// An organization with an account and this much credit.
    pub async fn organization(&self, credit: i64) -> OrgScope {
        let scope = OrgScope::of(ids::OrgId(self.ambient.uuid()));
        let mut connection = self.db.acquire().await.unwrap();
        let now = self.ambient.now();
        sqlx::query("INSERT INTO organization (id, name, created_at) VALUES ($1, 'Test', $2)")
            .bind(scope.uuid())
            .bind(now)
            .execute(&mut *connection)
            .await
            .unwrap();
        ledger::open_account(&mut connection, scope).await.unwrap();
        if credit > 0 {
            let credit = topups::Credit {
                kind: topups::CreditKind::Grant,
                amount: NanoUsd(credit),
                external_id: None,
                note: "test",
                entry_id: ids::EntryId(self.ambient.uuid()),
                now,
            };
            let outcome = topups::grant(&mut connection, scope, &credit).await.unwrap();
            assert_eq!(outcome, topups::CreditOutcome::Posted);
        }
        scope
    }

    /// A scope for an organization that does not exist.
    pub fn nobody(&self) -> OrgScope {
        OrgScope::of(ids::OrgId(self.ambient.uuid()))
    }

    /// Changes rows behind the code's back.
    pub async fn tamper(&self, sql: &'static str) {
        let mut connection = self.db.acquire().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut *connection).await.unwrap();
    }

    /// One number out of a query.
    pub async fn number(&self, sql: &'static str) -> i64 {
        let mut connection = self.db.acquire().await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut *connection).await.unwrap()
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let (options, name) = (self.options.clone(), std::mem::take(&mut self.name));
        // A runtime of its own: the test's may be ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut admin = PgConnection::connect_with(&options).await.unwrap();
                let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
            });
        });
        let _ = dropping.join();
    }
}

fn open(options: &PgConnectOptions) -> Db {
    let limits = DbLimits {
        connections_max: 16,
        report_connections_max: 2,
        report_time: Duration::from_secs(10),
        pooler: Pooler::None,
        is_time_limited: true,
    };
    Db::open(Handle::current(), options.clone(), limits)
}

/// The template of this schema; made under a private name and then renamed, so that it is never half made.
async fn create_template(server: &PgConnectOptions, ambient: &Ambient) -> String {
    let mut hash = crc32fast::Hasher::new();
    MIGRATIONS.iter().for_each(|migration| hash.update(&migration.checksum));
    let name = format!("kr_template_{:08x}", hash.finalize());
    let mut admin = PgConnection::connect_with(server).await.unwrap();
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    if exists {
        return name;
    }
    let draft = format!("kr_draft_{}", ambient.uuid().simple());
    let create = format!("CREATE DATABASE {draft} TEMPLATE template0");
    sqlx::query(AssertSqlSafe(create)).execute(&mut admin).await.unwrap();
    let pool = PgPoolOptions::new().connect_with(server.clone().database(&draft)).await.unwrap();
    MIGRATIONS.run(&pool).await.unwrap();
    pool.close().await;
    let rename = format!("ALTER DATABASE {draft} RENAME TO {name}");
    if sqlx::query(AssertSqlSafe(rename)).execute(&mut admin).await.is_err() {
        // Another test process was first.
        sqlx::query(AssertSqlSafe(format!("DROP DATABASE {draft}"))).execute(&mut admin).await.unwrap();
    }
    name
}
