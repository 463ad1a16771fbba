//! Shared secrets for time-based codes, sealed, and the hashes of recovery codes.

use super::StoreError;
use crate::domain::ids::UserId;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// A person's second factor.
#[derive(Clone)]
pub struct SecondFactor {
    pub sealed: Vec<u8>,
    pub confirmed_at: Option<OffsetDateTime>,
    /// The step of time of the last code that was accepted.
    pub last_step: i64,
    pub recovery_codes: i64,
}

/// The second factor of a person, confirmed or not; locked until the transaction ends, so that no code counts twice.
pub async fn lock(connection: &mut PgConnection, user: UserId) -> Result<Option<SecondFactor>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT sealed, confirmed_at, last_step,
                  (SELECT count(*) FROM recovery_code r WHERE r.user_id = f.user_id) AS "recovery_codes!"
           FROM second_factor f WHERE user_id = $1 FOR UPDATE"#,
        user.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| SecondFactor {
        sealed: row.sealed,
        confirmed_at: row.confirmed_at,
        last_step: row.last_step,
        recovery_codes: row.recovery_codes,
    }))
}

/// Whether a person is asked for a code at log-in.
pub async fn is_on(connection: &mut PgConnection, user: UserId) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM second_factor
                          WHERE user_id = $1 AND confirmed_at IS NOT NULL) AS "found!""#,
        user.0,
    );
    Ok(found.fetch_one(connection).await?)
}

/// Stores a secret that is not confirmed yet, in place of an earlier one that never was.
pub async fn begin(
    connection: &mut PgConnection,
    user: UserId,
    sealed: &[u8],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO second_factor (user_id, sealed, created_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET sealed = excluded.sealed, created_at = excluded.created_at, last_step = 0
         WHERE second_factor.confirmed_at IS NULL",
        user.0,
        sealed,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that a code of this step was accepted, and that the secret is confirmed from now on.
pub async fn note_step(
    connection: &mut PgConnection,
    user: UserId,
    step: i64,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE second_factor SET last_step = $2, confirmed_at = COALESCE(confirmed_at, $3) WHERE user_id = $1",
        user.0,
        step,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes a recovery code: a second time it is not there.
pub async fn take_recovery_code(
    connection: &mut PgConnection,
    user: UserId,
    hash: &[u8; 32],
) -> Result<bool, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM recovery_code WHERE user_id = $1 AND code_hash = $2",
        user.0,
        hash.as_slice(),
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected() > 0)
}

/// Stores recovery codes in place of the earlier ones.
pub async fn replace_recovery_codes(
    connection: &mut PgConnection,
    user: UserId,
    hashes: &[Vec<u8>],
) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM recovery_code WHERE user_id = $1", user.0).execute(&mut *connection).await?;
    sqlx::query!(
        "INSERT INTO recovery_code (user_id, code_hash) SELECT $1, unnest($2::bytea[])",
        user.0,
        hashes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the second factor of a person with its recovery codes; false when there is none.
pub async fn delete(connection: &mut PgConnection, user: UserId) -> Result<bool, StoreError> {
    sqlx::query!("DELETE FROM recovery_code WHERE user_id = $1", user.0).execute(&mut *connection).await?;
    let outcome =
        sqlx::query!("DELETE FROM second_factor WHERE user_id = $1", user.0).execute(connection).await?;
    Ok(outcome.rows_affected() > 0)
}
