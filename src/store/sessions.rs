//! Log-in sessions. Only the keyed hash of a token is stored.

use super::{
    OrgScope, StoreError,
    members::{Role, role_of},
};
use crate::domain::ids::{OrgId, SessionId, UserId};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// A logged-in member of an organization.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub scope: OrgScope,
    pub role: Role,
}

/// The logged-in operator of the installation, who stands outside organizations.
#[derive(Clone, Copy, Debug)]
pub struct Operator {
    pub session_id: SessionId,
    pub user_id: UserId,
}

/// Whoever is logged in.
#[derive(Clone, Copy, Debug)]
pub enum Person {
    Member(Session),
    Operator(Operator),
}

impl Person {
    pub fn session_id(&self) -> SessionId {
        match self {
            Person::Member(session) => session.session_id,
            Person::Operator(operator) => operator.session_id,
        }
    }

    pub fn user_id(&self) -> UserId {
        match self {
            Person::Member(session) => session.user_id,
            Person::Operator(operator) => operator.user_id,
        }
    }
}

/// A session to be stored.
pub struct NewSession {
    pub id: SessionId,
    pub token_hash: [u8; 32],
    pub user_id: UserId,
    /// `None` for an operator.
    pub scope: Option<OrgScope>,
    pub created_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
}

pub async fn insert(connection: &mut PgConnection, session: &NewSession) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO session (id, token_hash, user_id, org_id, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        session.id.0,
        session.token_hash.as_slice(),
        session.user_id.0,
        session.scope.map(OrgScope::uuid),
        session.created_at,
        session.expires_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The person of a live session, with the role it has at this moment. A member who was removed has none.
pub async fn find_person(
    connection: &mut PgConnection,
    token_hash: &[u8; 32],
    now: OffsetDateTime,
) -> Result<Option<Person>, StoreError> {
    let Some(row) = sqlx::query!(
        r#"SELECT session.id, session.user_id, session.org_id, app_user.is_operator, membership.role AS "role?"
           FROM session
           JOIN app_user ON app_user.id = session.user_id
           LEFT JOIN membership
             ON membership.org_id = session.org_id AND membership.user_id = session.user_id
           WHERE session.token_hash = $1 AND session.revoked_at IS NULL AND session.expires_at > $2"#,
        token_hash.as_slice(),
        now,
    )
    .fetch_optional(connection)
    .await?
    else {
        return Ok(None);
    };
    let (session_id, user_id) = (SessionId(row.id), UserId(row.user_id));
    match (row.org_id, row.role) {
        (Some(org), Some(role)) => {
            let scope = OrgScope::of(OrgId(org));
            let role = role_of(&row.user_id, &role)?;
            Ok(Some(Person::Member(Session { session_id, user_id, scope, role })))
        }
        (None, _) if row.is_operator => Ok(Some(Person::Operator(Operator { session_id, user_id }))),
        _ => Ok(None),
    }
}

/// Ends a session.
pub async fn revoke(
    connection: &mut PgConnection,
    id: SessionId,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!("UPDATE session SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL", id.0, now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends every session of a person in one organization.
pub async fn revoke_of_member(
    connection: &mut PgConnection,
    scope: OrgScope,
    user: UserId,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE session SET revoked_at = $3 WHERE org_id = $1 AND user_id = $2 AND revoked_at IS NULL",
        scope.uuid(),
        user.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
