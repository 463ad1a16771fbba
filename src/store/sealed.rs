//! Every row that holds a vault record, for the rotation of master keys. Walks all tenants, so only the
//! operator's commands may use it; it moves sealed bytes and can open none of them.

use super::StoreError;
use sqlx::PgConnection;
use uuid::Uuid;

/// The tables with a `sealed` column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SealedTable {
    Secret,
    PlatformKey,
    ProviderKey,
    Idempotency,
    SecondFactor,
}

impl SealedTable {
    pub const ALL: [SealedTable; 5] = [
        SealedTable::Secret,
        SealedTable::PlatformKey,
        SealedTable::ProviderKey,
        SealedTable::Idempotency,
        SealedTable::SecondFactor,
    ];
}

/// Where a record is. Which parts are used depends on the table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    name: String,
    org: Uuid,
    id: Uuid,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.name.is_empty() { write!(f, "{}", self.id.simple()) } else { f.write_str(&self.name) }
    }
}

/// Up to 200 records after `after` (start with the default) that do not begin with `header`.
pub async fn list_without(
    connection: &mut PgConnection,
    table: SealedTable,
    after: &Place,
    header: &[u8],
) -> Result<Vec<(Place, Vec<u8>)>, StoreError> {
    match table {
        SealedTable::Secret => {
            let rows = sqlx::query!(
                "SELECT name, sealed FROM secret
                 WHERE name > $1 AND substr(sealed, 1, length($2::bytea)) <> $2 ORDER BY name LIMIT 200",
                after.name,
                header,
            );
            let rows = rows.fetch_all(connection).await?.into_iter();
            Ok(rows.map(|row| (Place { name: row.name, ..Place::default() }, row.sealed)).collect())
        }
        SealedTable::PlatformKey => {
            let rows = sqlx::query!(
                "SELECT id, sealed FROM platform_key
                 WHERE id > $1 AND substr(sealed, 1, length($2::bytea)) <> $2 ORDER BY id LIMIT 200",
                after.id,
                header,
            );
            let rows = rows.fetch_all(connection).await?.into_iter();
            Ok(rows.map(|row| (Place { id: row.id, ..Place::default() }, row.sealed)).collect())
        }
        SealedTable::SecondFactor => {
            let rows = sqlx::query!(
                "SELECT user_id, sealed FROM second_factor
                 WHERE user_id > $1 AND substr(sealed, 1, length($2::bytea)) <> $2 ORDER BY user_id LIMIT 200",
                after.id,
                header,
            );
            let rows = rows.fetch_all(connection).await?.into_iter();
            Ok(rows.map(|row| (Place { id: row.user_id, ..Place::default() }, row.sealed)).collect())
        }
        SealedTable::ProviderKey => {
            let rows = sqlx::query!(
                "SELECT org_id, id, sealed FROM provider_key
                 WHERE (org_id, id) > ($1, $2) AND substr(sealed, 1, length($3::bytea)) <> $3
                 ORDER BY org_id, id LIMIT 200",
                after.org,
                after.id,
                header,
            );
            let rows = rows.fetch_all(connection).await?.into_iter();
            Ok(rows
                .map(|row| (Place { org: row.org_id, id: row.id, ..Place::default() }, row.sealed))
                .collect())
        }
        SealedTable::Idempotency => {
            // Few at a time, for answers may be large.
            let rows = sqlx::query!(
                r#"SELECT org_id, id, sealed AS "sealed!" FROM idempotency
                   WHERE (org_id, id) > ($1, $2) AND substr(sealed, 1, length($3::bytea)) <> $3
                   ORDER BY org_id, id LIMIT 20"#,
                after.org,
                after.id,
                header,
            );
            let rows = rows.fetch_all(connection).await?.into_iter();
            Ok(rows
                .map(|row| (Place { org: row.org_id, id: row.id, ..Place::default() }, row.sealed))
                .collect())
        }
    }
}

/// Replaces a record if it is still `old`; false when somebody else wrote it meanwhile.
pub async fn replace(
    connection: &mut PgConnection,
    table: SealedTable,
    place: &Place,
    old: &[u8],
    new: &[u8],
) -> Result<bool, StoreError> {
    let outcome = match table {
        SealedTable::Secret => {
            sqlx::query!(
                "UPDATE secret SET sealed = $3 WHERE name = $1 AND sealed = $2",
                place.name,
                old,
                new
            )
            .execute(connection)
            .await?
        }
        SealedTable::SecondFactor => {
            sqlx::query!(
                "UPDATE second_factor SET sealed = $3 WHERE user_id = $1 AND sealed = $2",
                place.id,
                old,
                new
            )
            .execute(connection)
            .await?
        }
        SealedTable::PlatformKey => {
            sqlx::query!(
                "UPDATE platform_key SET sealed = $3 WHERE id = $1 AND sealed = $2",
                place.id,
                old,
                new
            )
            .execute(connection)
            .await?
        }
        SealedTable::ProviderKey => {
            sqlx::query!(
                "UPDATE provider_key SET sealed = $4 WHERE org_id = $1 AND id = $2 AND sealed = $3",
                place.org,
                place.id,
                old,
                new,
            )
            .execute(connection)
            .await?
        }
        SealedTable::Idempotency => {
            sqlx::query!(
                "UPDATE idempotency SET sealed = $4 WHERE org_id = $1 AND id = $2 AND sealed = $3",
                place.org,
                place.id,
                old,
                new,
            )
            .execute(connection)
            .await?
        }
    };
    Ok(outcome.rows_affected() > 0)
}
