//! All SQL. Functions take a connection and, for tenant data, an [`OrgScope`]; they return domain types.
//! The pool lives on a runtime of its own: a connection opened on one actix worker would stall another
//! worker's query for as long as the first one's thread is busy.
#![deny(clippy::float_arithmetic)]

pub mod account_tokens;
pub mod alerts;
pub mod api_keys;
pub mod audit;
pub mod audit_log;
pub mod budgets;
pub mod caller;
mod connection;
pub mod embedding_models;
pub mod entries;
pub mod host_health;
pub mod idempotency;
pub mod identities;
pub mod instances;
pub mod ledger;
pub mod mcp_grants;
pub mod members;
mod monitor;
pub mod operator;
pub mod organizations;
pub mod overview;
pub mod partitions;
pub mod payments;
pub mod platform_keys;
mod pool;
pub mod postings;
pub mod principals;
pub mod promotions;
pub mod provider_keys;
pub mod rate_pools;
pub mod receipts;
pub mod recompute;
pub mod requests;
pub mod rollups;
pub mod schema;
pub mod sealed;
pub mod second_factors;
pub mod secrets;
pub mod sessions;
pub mod statements;
#[cfg(test)]
pub mod testing;
pub mod throttles;
pub mod topups;
pub mod usage;
pub mod users;
pub mod webhooks;
pub mod zone_days;

use crate::domain::ids::OrgId;
use sqlx::{PgConnection, migrate::Migrator};

pub use connection::{Connection, KeptConnection, SessionSettings};
pub use monitor::{Availability, DatabaseState};
pub use pool::{Db, DbLimits, Pooler, Purpose};

/// The schema, in order; embedded in the binary.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Proof that the bearer may touch the rows of one organization. Only authentication (in this layer) makes
/// one, so a function that takes it cannot be called for a tenant without an access check.
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
    /// The statement ran into its time limit.
    #[error("the statement took longer than its limit")]
    TimeLimit,
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
                    // Also a lock that was not free in the time the connection allows.
                    Some("40001" | "40P01" | "55P03") => Self::Contention,
                    Some("57014") if refusal.message().contains("statement timeout") => Self::TimeLimit,
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
/// the operator, input or output failed, a database that takes no connections now, a server that has become a read-only
/// copy. All of them pass.
const AWAY: [&str; 6] = ["08", "53", "57", "58", "55000", "25006"];

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

/// Bytes that the server has written to its log so far.
pub async fn wal_bytes(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let row = sqlx::query!(r#"SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS "bytes!""#)
        .fetch_one(connection)
        .await?;
    Ok(row.bytes)
}
