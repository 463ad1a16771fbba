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
    /// The operator has suspended the organization: the session reads and changes nothing.
    pub is_suspended: bool,
}

/// The logged-in operator of the installation, who stands outside organizations.
#[derive(Clone, Copy, Debug)]
pub struct Operator {
    pub session_id: SessionId,
    pub user_id: UserId,
    /// A code was asked for at log-in, or will be at the next.
    pub has_second_factor: bool,
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

    /// The organization that the session is for; none for the operator.
    pub fn scope(&self) -> Option<OrgScope> {
        match self {
            Person::Member(session) => Some(session.scope),
            Person::Operator(_) => None,
        }
    }
}

/// A live session as its person sees it.
#[derive(Clone, Debug)]
pub struct ListedSession {
    pub id: SessionId,
    pub organization: Option<OrgId>,
    pub created_at: OffsetDateTime,
    /// To within a few minutes.
    pub last_seen_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    pub address: Option<String>,
    pub user_agent: Option<String>,
}

/// How much older than now the stored time of the last use may be.
const LAST_SEEN_STALE: time::Duration = time::Duration::minutes(5);
/// Sessions in a person's list.
const LISTED_MAX: i64 = 200;

/// A session to be stored.
pub struct NewSession {
    pub id: SessionId,
    pub token_hash: [u8; 32],
    pub user_id: UserId,
    /// `None` for an operator.
    pub scope: Option<OrgScope>,
    pub created_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    pub address: Option<String>,
    /// What log-in attempts from that address are counted by.
    pub network: String,
    pub user_agent: Option<String>,
}

pub async fn insert(connection: &mut PgConnection, session: &NewSession) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO session (id, token_hash, user_id, org_id, created_at, expires_at, last_seen_at, address, network,
                              user_agent)
         VALUES ($1, $2, $3, $4, $5, $6, $5, $7, $8, $9)",
        session.id.0,
        session.token_hash.as_slice(),
        session.user_id.0,
        session.scope.map(OrgScope::uuid),
        session.created_at,
        session.expires_at,
        session.address,
        session.network,
        session.user_agent,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a session token stands for.
#[derive(Clone, Copy, Debug)]
pub enum SessionLookup {
    /// Unknown, ended or expired, or its person has left the organization it was begun in.
    Unknown,
    /// Live, but its person does not belong to the requested organization.
    NotMember,
    Found(Person),
}

/// The person of a live session, with the role it has at this moment in the requested organization, or in the one that
/// the session was begun in. A member who was removed has none.
pub async fn find_person(
    connection: &mut PgConnection,
    token_hash: &[u8; 32],
    requested: Option<OrgId>,
    now: OffsetDateTime,
) -> Result<SessionLookup, StoreError> {
    let Some(row) = sqlx::query!(
        r#"SELECT session.id, session.user_id, session.last_seen_at, app_user.is_operator,
                  COALESCE($3, session.org_id) AS org_id, membership.role AS "role?",
                  organization.suspended_at IS NOT NULL AS "is_suspended!",
                  app_user.is_operator AND EXISTS (
                      SELECT 1 FROM second_factor f
                      WHERE f.user_id = app_user.id AND f.confirmed_at IS NOT NULL) AS "has_second_factor!"
           FROM session
           JOIN app_user ON app_user.id = session.user_id
           LEFT JOIN membership
             ON membership.org_id = COALESCE($3, session.org_id) AND membership.user_id = session.user_id
           LEFT JOIN organization ON organization.id = membership.org_id
           WHERE session.token_hash = $1 AND session.revoked_at IS NULL AND session.expires_at > $2"#,
        token_hash.as_slice(),
        now,
        requested.map(|org| org.0),
    )
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(SessionLookup::Unknown);
    };
    if row.last_seen_at.is_none_or(|seen| seen < now - LAST_SEEN_STALE) {
        sqlx::query!("UPDATE session SET last_seen_at = $2 WHERE id = $1", row.id, now)
            .execute(connection)
            .await?;
    }
    let (session_id, user_id) = (SessionId(row.id), UserId(row.user_id));
    match (row.org_id, row.role) {
        (Some(org), Some(role)) => {
            let scope = OrgScope::of(OrgId(org));
            let role = role_of(&row.user_id, &role)?;
            let is_suspended = row.is_suspended;
            let session = Session { session_id, user_id, scope, role, is_suspended };
            Ok(SessionLookup::Found(Person::Member(session)))
        }
        (None, _) if row.is_operator => {
            let has_second_factor = row.has_second_factor;
            let operator = Operator { session_id, user_id, has_second_factor };
            Ok(SessionLookup::Found(Person::Operator(operator)))
        }
        _ if requested.is_some() => Ok(SessionLookup::NotMember),
        _ => Ok(SessionLookup::Unknown),
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

/// The live sessions of a person, the newest first.
pub async fn list_of_user(
    connection: &mut PgConnection,
    user: UserId,
    now: OffsetDateTime,
) -> Result<Vec<ListedSession>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id, org_id, created_at, coalesce(last_seen_at, created_at) AS "last_seen_at!", expires_at, address,
                  user_agent
           FROM session WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2
           ORDER BY created_at DESC, id DESC LIMIT $3"#,
        user.0,
        now,
        LISTED_MAX,
    )
    .fetch_all(connection)
    .await?;
    let listed = rows.into_iter().map(|row| ListedSession {
        id: SessionId(row.id),
        organization: row.org_id.map(OrgId),
        created_at: row.created_at,
        last_seen_at: row.last_seen_at,
        expires_at: row.expires_at,
        address: row.address,
        user_agent: row.user_agent,
    });
    Ok(listed.collect())
}

/// Ends a live session of this person; false when there is none of this id.
pub async fn revoke_own(
    connection: &mut PgConnection,
    user: UserId,
    id: SessionId,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let outcome = sqlx::query!(
        "UPDATE session SET revoked_at = $3
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3",
        id.0,
        user.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected() > 0)
}

/// Ends every session of a person but `kept`.
pub async fn revoke_of_user(
    connection: &mut PgConnection,
    user: UserId,
    kept: Option<SessionId>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE session SET revoked_at = $3
         WHERE user_id = $1 AND revoked_at IS NULL AND ($2::uuid IS NULL OR id <> $2)",
        user.0,
        kept.map(|id| id.0),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the oldest sessions of a person, so that `live_max` go on.
pub async fn revoke_oldest(
    connection: &mut PgConnection,
    user: UserId,
    live_max: i64,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE session SET revoked_at = $3
         WHERE id IN (SELECT id FROM session WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $3
                      ORDER BY created_at DESC, id DESC OFFSET $2)",
        user.0,
        live_max,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends every session that was begun in an organization.
pub async fn revoke_of_organization(
    connection: &mut PgConnection,
    scope: OrgScope,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE session SET revoked_at = $2 WHERE org_id = $1 AND revoked_at IS NULL",
        scope.uuid(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether the person of an address has a session, live or ended, that was begun from a network.
pub async fn has_network(
    connection: &mut PgConnection,
    email: &str,
    network: &str,
) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM session JOIN app_user ON app_user.id = session.user_id
                          WHERE app_user.email = $1 AND session.network = $2) AS "known!""#,
        email,
        network,
    )
    .fetch_one(connection)
    .await?)
}

/// Removes sessions that ended before `before`, at most `rows_max`; returns how many.
pub async fn prune(
    connection: &mut PgConnection,
    before: OffsetDateTime,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM session WHERE id IN (
             (SELECT id FROM session WHERE expires_at < $1 LIMIT $2)
             UNION ALL (SELECT id FROM session WHERE revoked_at < $1 LIMIT $2))",
        before,
        rows_max,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected())
}
