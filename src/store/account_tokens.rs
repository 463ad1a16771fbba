//! Tokens that are sent by e-mail: each for one person and one purpose, used once. Only a keyed hash is stored.

use super::StoreError;
use crate::domain::ids::UserId;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// What a token is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenPurpose {
    /// A new password.
    Password,
    /// The proof that an address is the person's.
    Verify,
    /// The same for an address that is to take the place of the person's.
    Email,
}

impl TokenPurpose {
    fn as_str(self) -> &'static str {
        match self {
            TokenPurpose::Password => "password",
            TokenPurpose::Verify => "verify",
            TokenPurpose::Email => "email",
        }
    }
}

/// A token to be stored.
pub struct NewToken<'a> {
    pub hash: [u8; 32],
    pub user: UserId,
    pub purpose: TokenPurpose,
    /// The address that the message goes to.
    pub email: &'a str,
    pub created_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
}

/// What a token stands for.
#[derive(Clone, Debug)]
pub struct FoundToken {
    pub user: UserId,
    pub email: String,
}

/// Stores a token in place of the earlier ones of the person for the purpose.
pub async fn replace(connection: &mut PgConnection, token: &NewToken<'_>) -> Result<(), StoreError> {
    delete_of_user(connection, token.user, token.purpose).await?;
    sqlx::query!(
        "INSERT INTO account_token (token_hash, user_id, purpose, email, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        token.hash.as_slice(),
        token.user.0,
        token.purpose.as_str(),
        token.email,
        token.created_at,
        token.expires_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a live token stands for; it stays.
pub async fn find(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    purpose: TokenPurpose,
    now: OffsetDateTime,
) -> Result<Option<FoundToken>, StoreError> {
    let row = sqlx::query!(
        "SELECT user_id, email FROM account_token WHERE token_hash = $1 AND purpose = $2 AND expires_at > $3",
        hash.as_slice(),
        purpose.as_str(),
        now,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| FoundToken { user: UserId(row.user_id), email: row.email }))
}

/// Takes a live token: a second time it is not there.
pub async fn take(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    purpose: TokenPurpose,
    now: OffsetDateTime,
) -> Result<Option<FoundToken>, StoreError> {
    let row = sqlx::query!(
        "DELETE FROM account_token WHERE token_hash = $1 AND purpose = $2 AND expires_at > $3
         RETURNING user_id, email",
        hash.as_slice(),
        purpose.as_str(),
        now,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| FoundToken { user: UserId(row.user_id), email: row.email }))
}

/// Ends the open tokens of a person for a purpose.
pub async fn delete_of_user(
    connection: &mut PgConnection,
    user: UserId,
    purpose: TokenPurpose,
) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM account_token WHERE user_id = $1 AND purpose = $2", user.0, purpose.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Removes tokens that ended before `before`, at most `rows_max`; returns how many.
pub async fn prune(
    connection: &mut PgConnection,
    before: OffsetDateTime,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM account_token WHERE token_hash IN (
             SELECT token_hash FROM account_token WHERE expires_at < $1 LIMIT $2)",
        before,
        rows_max,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected())
}
