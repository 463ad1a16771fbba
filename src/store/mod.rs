//! All SQL. Functions take a connection and, for tenant data, an [`OrgScope`]; they return domain types.
//! The pool lives on a runtime of its own: a connection opened on one actix worker would stall another
//! worker's query for as long as the first one's thread is busy.
#![deny(clippy::float_arithmetic)]

pub mod api_keys;
pub mod audit;
pub mod audit_log;
pub mod entries;
pub mod instances;
pub mod ledger;
pub mod members;
pub mod organizations;
pub mod platform_keys;
pub mod provider_keys;
pub mod receipts;
pub mod sealed;
pub mod secrets;
pub mod sessions;
#[cfg(test)]
pub mod testing;
pub mod topups;
pub mod usage;
pub mod users;

use crate::domain::ids::OrgId;
use sqlx::{
    PgConnection, PgPool, Postgres,
    migrate::Migrator,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{future::Future, time::Duration};
use tokio::runtime::Handle;

/// The schema, in order; embedded in the binary.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Proof that the bearer may touch the rows of one organization. Only authentication (in this layer) makes
/// one, so a function that takes it cannot be called for a tenant nobody has been checked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OrgScope(OrgId);

impl OrgScope {
    /// For this layer's authentication look-ups, and for jobs and commands of the operator that walk tenants.
    pub(in crate::store) fn of(id: OrgId) -> Self {
        Self(id)
    }

    pub fn org_id(self) -> OrgId {
        self.0
    }

    fn uuid(self) -> uuid::Uuid {
        self.0.0
    }
}

/// What can go wrong below SQL, by what a caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away or out of connections: 503, try again.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A named constraint refused the row.
    #[error("constraint {0} refused the row")]
    Constraint(String),
    /// A row holds what the schema should have prevented.
    #[error("{table}.{column} of row {row} cannot be read: {reason}")]
    Corrupt { table: &'static str, column: &'static str, row: String, reason: String },
    /// Two transactions could not both go on; the retries are spent.
    #[error("the transaction lost to another one too often")]
    Contention,
    /// A programming error: SQL that the server refuses.
    #[error("the database refused: {0}")]
    Refused(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) => {
                if let Some(name) = refusal.constraint() {
                    return Self::Constraint(name.to_owned());
                }
                match refusal.code().as_deref() {
                    Some("40001" | "40P01") => Self::Contention,
                    // The server is there and cannot serve.
                    Some(code) if AWAY.iter().any(|away| code.starts_with(away)) => {
                        Self::Unavailable(refusal.message().to_owned())
                    }
                    _ => Self::Refused(refusal.message().to_owned()),
                }
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::Unavailable(error.to_string()),
            other => Self::Refused(other.to_string()),
        }
    }
}

/// Beginnings of the server's codes for: connection lost, out of resources, shut down or starting or cancelled by
/// the operator, input or output failed, a database that takes no connections now, a server that has become a
/// read-only copy. All of them pass.
const AWAY: [&str; 6] = ["08", "53", "57", "58", "55000", "25006"];

/// The database: a bounded pool on its own runtime.
#[derive(Clone)]
pub struct Db {
    pool: PgPool,
    runtime: Handle,
}

/// A connection that has idled for longer is asked for a sign of life before it is used.
const IDLE_TRUSTED: Duration = Duration::from_secs(1);

/// How the pool is bounded.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    pub connections_max: u32,
    pub acquire_timeout: Duration,
}

impl Db {
    /// Opens the pool (lazily: the first query dials) on `runtime`.
    pub fn open(runtime: Handle, options: PgConnectOptions, limits: PoolLimits) -> Self {
        let _entered = runtime.enter();
        let pool = PgPoolOptions::new()
            .max_connections(limits.connections_max)
            .acquire_timeout(limits.acquire_timeout)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    // One used a moment ago is alive; to ask each time would double the round trips.
                    if meta.idle_for > IDLE_TRUSTED {
                        sqlx::Connection::ping(connection).await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        Self { pool, runtime }
    }

    /// Runs `work` on the database's runtime. It goes on to its end when the caller stops waiting, so a
    /// client that leaves cannot cut a transaction in two.
    pub async fn run<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        match self.runtime.spawn(work).await {
            Ok(result) => result,
            Err(stopped) => Err(StoreError::Unavailable(stopped.to_string()).into()),
        }
    }

    /// The runtime on which everything that talks to the database runs.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// A pooled connection, for use on the database's runtime.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        Ok(self.pool.acquire().await?)
    }

    /// A transaction, for use on the database's runtime.
    pub async fn begin(&self) -> Result<sqlx::Transaction<'static, Postgres>, StoreError> {
        Ok(self.pool.begin().await?)
    }

    /// Applies pending migrations.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        Ok(MIGRATIONS.run(&self.pool).await?)
    }

    /// Waits for running queries and closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// The durability settings of a server: money needs both on.
pub struct Durability {
    pub fsync: String,
    pub synchronous_commit: String,
}

/// Reads the server's durability settings as this connection sees them.
pub async fn durability(connection: &mut PgConnection) -> Result<Durability, StoreError> {
    let row = sqlx::query!(
        r#"SELECT current_setting('fsync') AS "fsync!", current_setting('synchronous_commit') AS "synchronous_commit!""#
    )
    .fetch_one(connection)
    .await?;
    Ok(Durability { fsync: row.fsync, synchronous_commit: row.synchronous_commit })
}

/// Asks the database for a sign of life.
pub async fn ping(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!(r#"SELECT 1 AS "one!""#).fetch_one(connection).await?;
    Ok(())
}
