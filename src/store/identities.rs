//! Identities of other sign-in services that log people in.

use super::StoreError;
use crate::domain::ids::UserId;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// An identity as its person sees it.
#[derive(Clone, Debug)]
pub struct ConnectedIdentity {
    pub issuer: String,
    pub subject: String,
    pub email: Option<String>,
    pub created_at: OffsetDateTime,
}

/// The person that an identity logs in.
pub async fn find_user(
    connection: &mut PgConnection,
    issuer: &str,
    subject: &str,
) -> Result<Option<UserId>, StoreError> {
    let found = sqlx::query_scalar!(
        "SELECT user_id FROM identity WHERE issuer = $1 AND subject = $2",
        issuer,
        subject
    );
    Ok(found.fetch_optional(connection).await?.map(UserId))
}

/// Connects an identity with a person; false when it is connected with somebody already.
pub async fn insert(
    connection: &mut PgConnection,
    (issuer, subject): (&str, &str),
    user: UserId,
    email: Option<&str>,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let outcome = sqlx::query!(
        "INSERT INTO identity (issuer, subject, user_id, email, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
        issuer,
        subject,
        user.0,
        email,
        now,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected() > 0)
}

/// The identities of a person, the first connected first.
pub async fn list(connection: &mut PgConnection, user: UserId) -> Result<Vec<ConnectedIdentity>, StoreError> {
    Ok(sqlx::query_as!(
        ConnectedIdentity,
        "SELECT issuer, subject, email, created_at FROM identity WHERE user_id = $1 ORDER BY created_at LIMIT 100",
        user.0,
    )
    .fetch_all(connection)
    .await?)
}

/// Disconnects the identities of an issuer from a person; false when there is none.
pub async fn delete(connection: &mut PgConnection, user: UserId, issuer: &str) -> Result<bool, StoreError> {
    let outcome = sqlx::query!("DELETE FROM identity WHERE user_id = $1 AND issuer = $2", user.0, issuer)
        .execute(connection)
        .await?;
    Ok(outcome.rows_affected() > 0)
}

/// Notes that a person has no password of its own.
pub async fn note_no_password(connection: &mut PgConnection, user: UserId) -> Result<(), StoreError> {
    sqlx::query!("UPDATE app_user SET has_password = false WHERE id = $1", user.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a person has set a password of its own.
pub async fn has_password(connection: &mut PgConnection, user: UserId) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!("SELECT has_password FROM app_user WHERE id = $1", user.0);
    Ok(found.fetch_optional(connection).await?.unwrap_or(true))
}
