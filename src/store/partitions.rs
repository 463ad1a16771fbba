//! Partitions of the large tables: made ahead of time and dropped whole, by functions of the database that run with
//! their owner's rights.

use super::StoreError;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// A table in monthly partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Partitioned {
    Receipts,
    Usage,
    AuditLog,
}

impl Partitioned {
    fn as_str(self) -> &'static str {
        match self {
            Partitioned::Receipts => "receipt",
            Partitioned::Usage => "usage",
            Partitioned::AuditLog => "audit_log",
        }
    }
}

/// Makes the partitions up to a moment; returns how many were missing.
pub async fn make(
    connection: &mut PgConnection,
    table: Partitioned,
    until: OffsetDateTime,
) -> Result<i32, StoreError> {
    let made = sqlx::query_scalar!(r#"SELECT make_partitions($1, $2) AS "made!""#, table.as_str(), until);
    Ok(made.fetch_one(connection).await?)
}

/// Drops the partitions all of whose rows are from before a moment; returns how many.
pub async fn drop_before(
    connection: &mut PgConnection,
    table: Partitioned,
    before: OffsetDateTime,
) -> Result<i32, StoreError> {
    let dropped =
        sqlx::query_scalar!(r#"SELECT drop_partitions($1, $2) AS "dropped!""#, table.as_str(), before);
    Ok(dropped.fetch_one(connection).await?)
}

/// The first id of which rows are kept.
pub async fn kept_from(connection: &mut PgConnection, table: Partitioned) -> Result<Uuid, StoreError> {
    let id = sqlx::query_scalar!(r#"SELECT kept_from($1) AS "id!""#, table.as_str());
    Ok(id.fetch_one(connection).await?)
}
