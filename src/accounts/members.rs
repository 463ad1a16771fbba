//! The members of an organization and invitations into it. The last owner stays, and only owners touch owners.

use super::{
    AccountError, Accounts, audit, fields,
    people::{INVITATION_PREFIX, new_token},
};
use crate::{
    domain::{
        ids::{InvitationId, UserId},
        secret::Secret,
    },
    store::{
        StoreError,
        members::{self, Invitation, Member, Role},
        sessions::{self, Session},
        users,
    },
};
use sqlx::PgConnection;

const INVITATION_LIFE: time::Duration = time::Duration::days(7);
/// Members and open invitations of one organization.
const MEMBERS_MAX: i64 = 1_000;

/// The members and the open invitations.
pub struct MemberList {
    pub members: Vec<Member>,
    pub invitations: Vec<Invitation>,
}

impl Accounts {
    pub async fn list_members(&self, session: Session) -> Result<MemberList, AccountError> {
        let (db, now) = (self.db.clone(), self.ambient.now());
        self.db
            .run(async move {
                let mut connection = db.acquire().await?;
                let members = members::list(&mut connection, session.scope).await?;
                let invitations = members::list_invitations(&mut connection, session.scope, now).await?;
                Ok(MemberList { members, invitations })
            })
            .await
    }

    /// Invites an address, in place of an earlier open invitation of it. The token is shown this once.
    pub async fn invite(
        &self,
        session: Session,
        email: &str,
        role: Role,
    ) -> Result<(Invitation, Secret), AccountError> {
        let email = fields::email(email)?;
        check_rank(&session, role)?;
        let created_at = self.ambient.now();
        let invitation = Invitation {
            id: InvitationId(self.ambient.uuid()),
            scope: session.scope,
            email,
            role,
            created_at,
            expires_at: created_at + INVITATION_LIFE,
        };
        let token = new_token(&self.ambient, INVITATION_PREFIX);
        let hash = self.installation.tokens.of(token.expose().as_bytes());
        let stored = invitation.clone();
        self.transact(move |db, ambient| {
            let invitation = stored.clone();
            async move {
                let mut tx = db.begin().await?;
                check_not_member(&mut tx, &session, &invitation.email).await?;
                members::delete_invitations(&mut tx, session.scope, None, Some(&invitation.email)).await?;
                if members::count(&mut tx, session.scope).await? >= MEMBERS_MAX {
                    return Err(AccountError::Conflict("The organization is full"));
                }
                members::insert_invitation(&mut tx, &invitation, &hash).await?;
                let change = ("invitation.create", &invitation.id);
                audit(&mut tx, &ambient, Some(session.scope), &session.user_id, change).await?;
                tx.commit().await.map_err(StoreError::from)?;
                Ok(())
            }
        })
        .await?;
        Ok((invitation, token))
    }

    /// Gives a member another role, at once in all its sessions.
    pub async fn set_role(&self, session: Session, user: UserId, role: Role) -> Result<Member, AccountError> {
        check_rank(&session, role)?;
        self.transact(move |db, ambient| async move {
            let mut tx = db.begin().await?;
            let member = demotable(&mut tx, &session, user, role == Role::Owner).await?;
            members::set_role(&mut tx, session.scope, user, role).await?;
            let action = format!("member.role.{}", role.as_str());
            audit(&mut tx, &ambient, Some(session.scope), &session.user_id, (&action, &user)).await?;
            tx.commit().await.map_err(StoreError::from)?;
            Ok(Member { role, ..member })
        })
        .await
    }

    /// Removes a member and ends its sessions here. API keys it made stay the organization's.
    pub async fn remove_member(&self, session: Session, user: UserId) -> Result<(), AccountError> {
        self.transact(move |db, ambient| async move {
            let mut tx = db.begin().await?;
            demotable(&mut tx, &session, user, false).await?;
            members::remove(&mut tx, session.scope, user).await?;
            sessions::revoke_of_member(&mut tx, session.scope, user, ambient.now()).await?;
            audit(&mut tx, &ambient, Some(session.scope), &session.user_id, ("member.remove", &user)).await?;
            tx.commit().await.map_err(StoreError::from)?;
            Ok(())
        })
        .await
    }

    /// Takes an open invitation back.
    pub async fn withdraw_invitation(&self, session: Session, id: InvitationId) -> Result<(), AccountError> {
        self.transact(move |db, ambient| async move {
            let mut tx = db.begin().await?;
            if members::delete_invitations(&mut tx, session.scope, Some(id), None).await? == 0 {
                return Err(AccountError::NotFound("invitation"));
            }
            let change = ("invitation.withdraw", &id);
            audit(&mut tx, &ambient, Some(session.scope), &session.user_id, change).await?;
            tx.commit().await.map_err(StoreError::from)?;
            Ok(())
        })
        .await
    }
}

fn check_rank(session: &Session, role: Role) -> Result<(), AccountError> {
    if session.role.may_assign(role) {
        Ok(())
    } else {
        Err(AccountError::Denied("Only an owner makes owners"))
    }
}

async fn check_not_member(tx: &mut PgConnection, session: &Session, email: &str) -> Result<(), AccountError> {
    let Some(user) = users::find_by_email(tx, email).await? else { return Ok(()) };
    match members::get(tx, session.scope, user.id).await? {
        Some(_) => Err(AccountError::Conflict("This person is a member already")),
        None => Ok(()),
    }
}

/// The member, if the caller may change its role or remove it and, unless it stays one, it is not the last
/// owner. Locks the owners, so that the answer still holds when the change is written.
async fn demotable(
    tx: &mut PgConnection,
    session: &Session,
    user: UserId,
    stays_owner: bool,
) -> Result<Member, AccountError> {
    let owners = members::lock_owners(tx, session.scope).await?;
    let member = members::get(tx, session.scope, user).await?.ok_or(AccountError::NotFound("member"))?;
    if !session.role.may_assign(member.role) {
        return Err(AccountError::Denied("Only an owner changes owners"));
    }
    if owners == [user] && !stays_owner {
        return Err(AccountError::Conflict("The last owner cannot be removed or demoted"));
    }
    Ok(member)
}
