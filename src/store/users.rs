//! People who can log in. Found by e-mail address, which is unique over all organizations.

use super::StoreError;
use crate::domain::ids::UserId;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// The name of the constraint that keeps e-mail addresses unique.
pub const EMAIL_UNIQUE: &str = "app_user_email_uq";

/// A person. The password's hash is a PHC string.
#[derive(Clone)]
pub struct User {
    pub id: UserId,
    pub email: String,
    pub password_hash: String,
    pub is_operator: bool,
}

/// Adds a person; [`StoreError::Constraint`] of [`EMAIL_UNIQUE`] when the address is taken.
pub async fn insert(
    connection: &mut PgConnection,
    user: &User,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO app_user (id, email, password_hash, is_operator, created_at) VALUES ($1, $2, $3, $4, $5)",
        user.id.0,
        user.email,
        user.password_hash,
        user.is_operator,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The person of a normalised e-mail address.
pub async fn find_by_email(connection: &mut PgConnection, email: &str) -> Result<Option<User>, StoreError> {
    let row =
        sqlx::query!("SELECT id, email, password_hash, is_operator FROM app_user WHERE email = $1", email)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|row| User {
        id: UserId(row.id),
        email: row.email,
        password_hash: row.password_hash,
        is_operator: row.is_operator,
    }))
}

/// The e-mail address of a person.
pub async fn get_email(connection: &mut PgConnection, id: UserId) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar!("SELECT email FROM app_user WHERE id = $1", id.0)
        .fetch_optional(connection)
        .await?)
}

/// The person of an id.
pub async fn get(connection: &mut PgConnection, id: UserId) -> Result<Option<User>, StoreError> {
    let row = sqlx::query!("SELECT id, email, password_hash, is_operator FROM app_user WHERE id = $1", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| User {
        id: UserId(row.id),
        email: row.email,
        password_hash: row.password_hash,
        is_operator: row.is_operator,
    }))
}

/// When the person showed that its address is its own.
pub async fn get_verified_at(
    connection: &mut PgConnection,
    id: UserId,
) -> Result<Option<OffsetDateTime>, StoreError> {
    let found = sqlx::query_scalar!("SELECT email_verified_at FROM app_user WHERE id = $1", id.0);
    Ok(found.fetch_optional(connection).await?.flatten())
}

/// Notes that the person's address is its own.
pub async fn note_verified(
    connection: &mut PgConnection,
    id: UserId,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE app_user SET email_verified_at = COALESCE(email_verified_at, $2) WHERE id = $1",
        id.0,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores another address; [`StoreError::Constraint`] of [`EMAIL_UNIQUE`] when it is taken.
pub async fn set_email(
    connection: &mut PgConnection,
    id: UserId,
    email: &str,
    verified_at: Option<OffsetDateTime>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE app_user SET email = $2, email_verified_at = $3 WHERE id = $1",
        id.0,
        email,
        verified_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores the hash of a new password. Links that were sent for another password or another address end with the old one:
/// somebody else may have asked for them.
pub async fn set_password(connection: &mut PgConnection, id: UserId, hash: &str) -> Result<(), StoreError> {
    sqlx::query!("UPDATE app_user SET password_hash = $2, has_password = true WHERE id = $1", id.0, hash)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM account_token WHERE user_id = $1 AND purpose IN ('password', 'email')", id.0)
        .execute(connection)
        .await?;
    Ok(())
}
