//! A separate database for each stack, copied from a migrated template and dropped with the stack. The server is the
//! one in `KAIROSROUTE_TEST_DATABASE_URL`.

use kairosroute::{domain::ambient::Ambient, store::MIGRATIONS};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::str::FromStr;
use tokio::sync::OnceCell;

/// A migrated database.
pub struct Database {
    pub name: String,
}

static TEMPLATE: OnceCell<String> = OnceCell::const_new();

impl Database {
    /// Creates an empty, migrated database.
    pub async fn create() -> Self {
        let template = TEMPLATE.get_or_init(create_template).await;
        let name = format!("kr_it_{}", Ambient::system().uuid().simple());
        let mut admin = PgConnection::connect_with(&server()).await.unwrap();
        let create = format!("CREATE DATABASE {name} TEMPLATE {template}");
        while let Err(error) = sqlx::query(AssertSqlSafe(create.clone())).execute(&mut admin).await {
            let code = error.as_database_error().and_then(|refusal| refusal.code()).map(|c| c.into_owned());
            assert_eq!(code.as_deref(), Some("55006"), "only the template's being in use passes: {error}");
            tokio::task::yield_now().await;
        }
        Self { name }
    }

    pub fn options(&self) -> PgConnectOptions {
        server().database(&self.name)
    }

    /// As `DATABASE_URL` has it.
    pub fn url(&self) -> String {
        let mut url = reqwest::Url::parse(&server_url()).unwrap();
        url.set_path(&self.name);
        url.to_string()
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options()).await.unwrap()
    }

    /// One number from a query.
    pub async fn number(&self, sql: &str) -> i64 {
        let query = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
        query.fetch_one(&mut self.connect().await).await.unwrap()
    }

    /// One column of text from a query.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let query = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
        query.fetch_all(&mut self.connect().await).await.unwrap()
    }

    /// Changes rows without the gateway.
    pub async fn tamper(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connect().await).await.unwrap();
    }

    /// The tables with rows, partitions apart.
    pub async fn tables(&self) -> Vec<String> {
        self.texts(
            "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
                 AND relnamespace = 'public'::regnamespace ORDER BY 1",
        )
        .await
    }

    /// Every row of a table as text, in a stable order.
    pub async fn rows(&self, table: &str) -> Vec<String> {
        let mut all = self.rows_of(&[table.to_owned()]).await;
        all.pop().unwrap()
    }

    /// Every row of some tables, table by table.
    pub async fn rows_of(&self, tables: &[String]) -> Vec<Vec<String>> {
        let mut connection = self.connect().await;
        let mut all = Vec::new();
        for table in tables {
            let query = AssertSqlSafe(format!("SELECT t::text FROM {table} t ORDER BY 1"));
            all.push(sqlx::query_scalar(query).fetch_all(&mut connection).await.unwrap());
        }
        all
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        // A separate runtime, because the test's may be ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut admin = PgConnection::connect_with(&server()).await.unwrap();
                let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
            });
        });
        let _ = dropping.join();
    }
}

fn server_url() -> String {
    std::env::var("KAIROSROUTE_TEST_DATABASE_URL")
        .expect("KAIROSROUTE_TEST_DATABASE_URL names a server for tests")
}

fn server() -> PgConnectOptions {
    PgConnectOptions::from_str(&server_url()).unwrap()
}

/// The template of this schema; created under a private name and then renamed, so that it is never incomplete.
async fn create_template() -> String {
    let mut hash = crc32fast::Hasher::new();
    MIGRATIONS.iter().for_each(|migration| hash.update(&migration.checksum));
    let name = format!("kr_template_{:08x}", hash.finalize());
    let mut admin = PgConnection::connect_with(&server()).await.unwrap();
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    if exists {
        return name;
    }
    let draft = format!("kr_draft_{}", Ambient::system().uuid().simple());
    let create = format!("CREATE DATABASE {draft} TEMPLATE template0");
    sqlx::query(AssertSqlSafe(create)).execute(&mut admin).await.unwrap();
    let pool = PgPoolOptions::new().connect_with(server().database(&draft)).await.unwrap();
    MIGRATIONS.run(&pool).await.unwrap();
    pool.close().await;
    let rename = format!("ALTER DATABASE {draft} RENAME TO {name}");
    if sqlx::query(AssertSqlSafe(rename)).execute(&mut admin).await.is_err() {
        // Another test process was first.
        sqlx::query(AssertSqlSafe(format!("DROP DATABASE {draft}"))).execute(&mut admin).await.unwrap();
    }
    name
}
