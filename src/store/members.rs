//! Who belongs to which organization, as what; and invitations into one.

use super::{OrgScope, StoreError};
use crate::domain::ids::{InvitationId, OrgId, UserId};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// A member's role in its organization. What each may do stands in `accounts::roles`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Owner,
    Admin,
    Member,
    Billing,
    Viewer,
}

impl Role {
    pub const ALL: [Role; 5] = [Role::Owner, Role::Admin, Role::Member, Role::Billing, Role::Viewer];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Admin => "admin",
            Role::Member => "member",
            Role::Billing => "billing",
            Role::Viewer => "viewer",
        }
    }
}

/// Reads a stored role of the person `user`.
pub(super) fn role_of(user: &uuid::Uuid, text: &str) -> Result<Role, StoreError> {
    Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| StoreError::Corrupt {
        table: "membership",
        column: "role",
        row: user.to_string(),
        reason: "not a role".into(),
    })
}

/// A member as listed.
#[derive(Clone, Debug)]
pub struct Member {
    pub user_id: UserId,
    pub email: String,
    pub role: Role,
    pub created_at: OffsetDateTime,
}

/// One organization of a person.
#[derive(Clone, Debug)]
pub struct Membership {
    pub scope: OrgScope,
    pub role: Role,
}

/// An invitation that has not been accepted.
#[derive(Clone, Debug)]
pub struct Invitation {
    pub id: InvitationId,
    pub scope: OrgScope,
    pub email: String,
    pub role: Role,
    /// Whose right it rests on; unknown for those of older releases.
    pub invited_by: Option<UserId>,
    pub created_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
}

/// Which open invitations of an organization are meant.
#[derive(Clone, Copy, Debug)]
pub enum OpenInvitations<'a> {
    One(InvitationId),
    /// Those of an e-mail address.
    Of(&'a str),
    /// Those that a person made.
    By(UserId),
}

pub async fn insert(
    connection: &mut PgConnection,
    scope: OrgScope,
    user: UserId,
    role: Role,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO membership (org_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)",
        scope.uuid(),
        user.0,
        role.as_str(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An organization of a person, by name.
#[derive(Clone, Debug)]
pub struct OwnOrganization {
    pub scope: OrgScope,
    pub name: String,
    pub role: Role,
    pub is_suspended: bool,
}

/// The organizations of a person with their names, the first joined first.
pub async fn list_organizations_of_user(
    connection: &mut PgConnection,
    user: UserId,
) -> Result<Vec<OwnOrganization>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT m.org_id, m.role, o.name, o.suspended_at IS NOT NULL AS "is_suspended!"
           FROM membership m JOIN organization o ON o.id = m.org_id
           WHERE m.user_id = $1 ORDER BY m.created_at, m.org_id LIMIT 1000"#,
        user.0
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(OwnOrganization {
                scope: OrgScope::of(OrgId(row.org_id)),
                name: row.name,
                role: role_of(&user.0, &row.role)?,
                is_suspended: row.is_suspended,
            })
        })
        .collect()
}

/// The organizations of a person, the first joined first.
pub async fn list_of_user(
    connection: &mut PgConnection,
    user: UserId,
) -> Result<Vec<Membership>, StoreError> {
    let rows = sqlx::query!(
        "SELECT org_id, role FROM membership WHERE user_id = $1 ORDER BY created_at, org_id LIMIT 1000",
        user.0
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Membership { scope: OrgScope::of(OrgId(row.org_id)), role: role_of(&user.0, &row.role)? })
        })
        .collect()
}

pub async fn list(connection: &mut PgConnection, scope: OrgScope) -> Result<Vec<Member>, StoreError> {
    let rows = sqlx::query!(
        "SELECT membership.user_id, membership.role, membership.created_at, app_user.email
         FROM membership JOIN app_user ON app_user.id = membership.user_id
         WHERE membership.org_id = $1 ORDER BY membership.created_at, membership.user_id LIMIT 1000",
        scope.uuid(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Member {
                user_id: UserId(row.user_id),
                email: row.email,
                role: role_of(&row.user_id, &row.role)?,
                created_at: row.created_at,
            })
        })
        .collect()
}

pub async fn get(
    connection: &mut PgConnection,
    scope: OrgScope,
    user: UserId,
) -> Result<Option<Member>, StoreError> {
    let row = sqlx::query!(
        "SELECT membership.role, membership.created_at, app_user.email
         FROM membership JOIN app_user ON app_user.id = membership.user_id
         WHERE membership.org_id = $1 AND membership.user_id = $2",
        scope.uuid(),
        user.0,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let role = role_of(&user.0, &row.role)?;
        Ok(Member { user_id: user, email: row.email, role, created_at: row.created_at })
    })
    .transpose()
}

/// Locks the organization's owners until the transaction ends and tells who they are. Two owners who demote
/// each other at once therefore take turns, and the second finds itself the last.
pub async fn lock_owners(connection: &mut PgConnection, scope: OrgScope) -> Result<Vec<UserId>, StoreError> {
    let rows = sqlx::query_scalar!(
        "SELECT user_id FROM membership WHERE org_id = $1 AND role = 'owner' ORDER BY user_id FOR UPDATE",
        scope.uuid(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(UserId).collect())
}

pub async fn set_role(
    connection: &mut PgConnection,
    scope: OrgScope,
    user: UserId,
    role: Role,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE membership SET role = $3 WHERE org_id = $1 AND user_id = $2",
        scope.uuid(),
        user.0,
        role.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn remove(connection: &mut PgConnection, scope: OrgScope, user: UserId) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM membership WHERE org_id = $1 AND user_id = $2", scope.uuid(), user.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// The role of a person, locked until the transaction ends: it is not taken away meanwhile.
pub async fn lock_role(
    connection: &mut PgConnection,
    scope: OrgScope,
    user: UserId,
) -> Result<Option<Role>, StoreError> {
    let role = sqlx::query_scalar!(
        "SELECT role FROM membership WHERE org_id = $1 AND user_id = $2 FOR SHARE",
        scope.uuid(),
        user.0,
    )
    .fetch_optional(connection)
    .await?;
    role.map(|role| role_of(&user.0, &role)).transpose()
}

/// How many organizations a person belongs to.
pub async fn count_of_user(connection: &mut PgConnection, user: UserId) -> Result<i64, StoreError> {
    let count =
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM membership WHERE user_id = $1"#, user.0);
    Ok(count.fetch_one(connection).await?)
}

/// Members and open invitations, together bounded by whoever invites.
pub async fn count(
    connection: &mut PgConnection,
    scope: OrgScope,
    now: OffsetDateTime,
) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT (SELECT count(*) FROM membership WHERE org_id = $1)
                + (SELECT count(*) FROM invitation WHERE org_id = $1 AND accepted_at IS NULL AND expires_at > $2)
                AS "count!""#,
        scope.uuid(),
        now,
    )
    .fetch_one(connection)
    .await?)
}

pub async fn insert_invitation(
    connection: &mut PgConnection,
    invitation: &Invitation,
    token_hash: &[u8; 32],
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO invitation (org_id, id, email, role, token_hash, created_at, expires_at, invited_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        invitation.scope.uuid(),
        invitation.id.0,
        invitation.email,
        invitation.role.as_str(),
        token_hash.as_slice(),
        invitation.created_at,
        invitation.expires_at,
        invitation.invited_by.map(|user| user.0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The open invitations of an organization.
pub async fn list_invitations(
    connection: &mut PgConnection,
    scope: OrgScope,
    now: OffsetDateTime,
) -> Result<Vec<Invitation>, StoreError> {
    let rows = sqlx::query!(
        "SELECT id, email, role, created_at, expires_at, invited_by FROM invitation
         WHERE org_id = $1 AND accepted_at IS NULL AND expires_at > $2 ORDER BY id LIMIT 1000",
        scope.uuid(),
        now,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Invitation {
                id: InvitationId(row.id),
                scope,
                email: row.email,
                role: role_of(&row.id, &row.role)?,
                invited_by: row.invited_by.map(UserId),
                created_at: row.created_at,
                expires_at: row.expires_at,
            })
        })
        .collect()
}

/// Invitations that were not accepted, expired ones too, locked until the transaction ends.
pub async fn lock_invitations(
    connection: &mut PgConnection,
    scope: OrgScope,
    which: OpenInvitations<'_>,
) -> Result<Vec<Invitation>, StoreError> {
    let (id, email, invited_by) = match which {
        OpenInvitations::One(id) => (Some(id.0), None, None),
        OpenInvitations::Of(email) => (None, Some(email), None),
        OpenInvitations::By(user) => (None, None, Some(user.0)),
    };
    let rows = sqlx::query!(
        "SELECT id, email, role, created_at, expires_at, invited_by FROM invitation
         WHERE org_id = $1 AND accepted_at IS NULL AND (id = $2 OR email = $3 OR invited_by = $4)
         ORDER BY id FOR UPDATE",
        scope.uuid(),
        id,
        email,
        invited_by,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Invitation {
                id: InvitationId(row.id),
                scope,
                email: row.email,
                role: role_of(&row.id, &row.role)?,
                invited_by: row.invited_by.map(UserId),
                created_at: row.created_at,
                expires_at: row.expires_at,
            })
        })
        .collect()
}

/// The open invitation of a token, locked until the transaction ends so that it is accepted once.
pub async fn lock_invitation(
    connection: &mut PgConnection,
    token_hash: &[u8; 32],
    now: OffsetDateTime,
) -> Result<Option<Invitation>, StoreError> {
    let row = sqlx::query!(
        "SELECT org_id, id, email, role, created_at, expires_at, invited_by FROM invitation
         WHERE token_hash = $1 AND accepted_at IS NULL AND expires_at > $2 FOR UPDATE",
        token_hash.as_slice(),
        now,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Invitation {
            id: InvitationId(row.id),
            scope: OrgScope::of(OrgId(row.org_id)),
            email: row.email,
            role: role_of(&row.id, &row.role)?,
            invited_by: row.invited_by.map(UserId),
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    })
    .transpose()
}

pub async fn accept_invitation(
    connection: &mut PgConnection,
    invitation: &Invitation,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE invitation SET accepted_at = $3 WHERE org_id = $1 AND id = $2",
        invitation.scope.uuid(),
        invitation.id.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes invitations that were not accepted.
pub async fn delete_invitations(
    connection: &mut PgConnection,
    scope: OrgScope,
    ids: &[InvitationId],
) -> Result<(), StoreError> {
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query!(
        "DELETE FROM invitation WHERE org_id = $1 AND accepted_at IS NULL AND id = ANY($2)",
        scope.uuid(),
        &ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes invitations that were accepted or expired before `before`, at most `rows_max`; returns how many.
pub async fn prune_invitations(
    connection: &mut PgConnection,
    before: OffsetDateTime,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM invitation WHERE (org_id, id) IN (
             SELECT org_id, id FROM invitation WHERE expires_at < $1 OR accepted_at < $1 LIMIT $2)",
        before,
        rows_max,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected())
}
