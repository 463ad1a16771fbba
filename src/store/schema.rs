//! Compares the schema of a database with the one that this version needs.

use super::{MIGRATIONS, StoreError};
use sqlx::{
    PgConnection,
    migrate::{Migrate, MigrateError},
};
use std::collections::HashSet;

/// The result. Migrations that this version does not know are allowed, because they only add.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Schema {
    Current,
    /// No migration was ever applied.
    Empty,
    /// The versions of the migrations that are missing.
    Behind(Vec<i64>),
}

/// Why a database with an old schema is not used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the database is empty: run `kairosroute migrate` first")]
    Empty,
    #[error(
        "the database schema is older than this version (missing migrations: {0}): run `kairosroute migrate` first"
    )]
    Behind(String),
}

impl Schema {
    /// Refuses a schema that this version cannot use.
    pub fn check(&self) -> Result<(), SchemaError> {
        match self {
            Self::Current => Ok(()),
            Self::Empty => Err(SchemaError::Empty),
            Self::Behind(missing) => {
                let list: Vec<String> = missing.iter().map(i64::to_string).collect();
                Err(SchemaError::Behind(list.join(", ")))
            }
        }
    }
}

/// Reads which migrations were applied.
pub async fn read(connection: &mut PgConnection) -> Result<Schema, StoreError> {
    let is_there =
        sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "is_there!""#)
            .fetch_one(&mut *connection)
            .await?;
    if !is_there {
        return Ok(Schema::Empty);
    }
    let applied = connection.list_applied_migrations(&MIGRATIONS.table_name).await.map_err(store_error)?;
    let applied: HashSet<i64> = applied.into_iter().map(|migration| migration.version).collect();
    let known = MIGRATIONS.iter().filter(|migration| !migration.migration_type.is_down_migration());
    let missing: Vec<i64> =
        known.map(|migration| migration.version).filter(|version| !applied.contains(version)).collect();
    Ok(match (applied.is_empty(), missing.is_empty()) {
        (true, _) => Schema::Empty,
        (false, true) => Schema::Current,
        (false, false) => Schema::Behind(missing),
    })
}

fn store_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) => error.into(),
        other => StoreError::Refused(other.to_string()),
    }
}
