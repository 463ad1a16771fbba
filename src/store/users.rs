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

/// Stores the hash of a new password.
pub async fn set_password(connection: &mut PgConnection, id: UserId, hash: &str) -> Result<(), StoreError> {
    sqlx::query!("UPDATE app_user SET password_hash = $2 WHERE id = $1", id.0, hash)
        .execute(connection)
        .await?;
    Ok(())
}
