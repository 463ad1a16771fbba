//! The members of an organization and invitations into it. The last owner stays, and only owners touch owners.

use super::{
    AccountError, Accounts, audit, audit_changes, fields,
    organizations::withdraw_exceeding,
    people::{INVITATION_PREFIX, new_token},
};
use crate::{
    domain::{
        ids::{InvitationId, UserId},
        secret::Secret,
    },
    store::{
        api_keys,
        members::{self, Invitation, Member, OpenInvitations, Role},
        provider_keys,
        sessions::{self, Session},
        users,
    },
};
use sqlx::PgConnection;
use time::OffsetDateTime;

pub(super) const INVITATION_LIFE: time::Duration = time::Duration::days(7);

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
            invited_by: Some(session.user_id),
            created_at,
            expires_at: created_at + INVITATION_LIFE,
        };
        let token = new_token(&self.ambient, INVITATION_PREFIX);
        let hash = self.installation.tokens.of(token.expose().as_bytes());
        let (stored, members_max) = (invitation.clone(), self.rules.limits.members_max);
        self.transact(move |db, ambient| {
            let invitation = stored.clone();
            async move {
                let mut tx = db.begin().await?;
                check_not_member(&mut tx, &session, &invitation.email).await?;
                let earlier = OpenInvitations::Of(&invitation.email);
                withdraw(&mut tx, &session, earlier, created_at).await?;
                if members::count(&mut tx, session.scope, created_at).await? >= members_max {
                    return Err(AccountError::Conflict(
                        "The organization has as many members and open invitations as it may; remove one",
                    ));
                }
                members::insert_invitation(&mut tx, &invitation, &hash).await?;
                let change = ("invitation.create", &invitation.id);
                audit(&mut tx, &ambient, Some(session.scope), &session.user_id, change).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await?;
        Ok((invitation, token))
    }

    /// Gives a member another role, at once in all its sessions. Open invitations it made that its new role could not
    /// make are withdrawn.
    pub async fn set_role(&self, session: Session, user: UserId, role: Role) -> Result<Member, AccountError> {
        check_rank(&session, role)?;
        self.transact(move |db, ambient| async move {
            let mut tx = db.begin().await?;
            let member = demotable(&mut tx, &session, user, role == Role::Owner).await?;
            members::set_role(&mut tx, session.scope, user, role).await?;
            withdraw_exceeding(&mut tx, session.scope, user, role).await?;
            let action = format!("member.role.{}", role.as_str());
            let changes = serde_json::json!({ "role": [member.role.as_str(), role.as_str()] });
            let done = (action.as_str(), &user);
            audit_changes(&mut tx, &ambient, Some(session.scope), &session.user_id, done, Some(changes))
                .await?;
            tx.commit().await?;
            Ok(Member { role, ..member })
        })
        .await
    }

    /// Removes a member, ends its sessions here and withdraws the invitations it made. API keys it made stay the
    /// organization's, unless they are to be revoked with it.
    pub async fn remove_member(
        &self,
        session: Session,
        user: UserId,
        keys: KeysOf,
    ) -> Result<(), AccountError> {
        let revoked = self
            .transact(move |db, ambient| async move {
                let (mut tx, scope, now) = (db.begin().await?, session.scope, ambient.now());
                demotable(&mut tx, &session, user, false).await?;
                members::remove(&mut tx, scope, user).await?;
                sessions::revoke_of_member(&mut tx, scope, user, now).await?;
                let made = members::lock_invitations(&mut tx, scope, OpenInvitations::By(user)).await?;
                let made: Vec<_> = made.iter().map(|made| made.id).collect();
                members::delete_invitations(&mut tx, scope, &made).await?;
                let actor = session.user_id;
                audit(&mut tx, &ambient, Some(scope), &actor, ("member.remove", &user)).await?;
                let revoked = match keys {
                    KeysOf::Kept => Vec::new(),
                    KeysOf::Revoked => api_keys::revoke_made_by(&mut tx, scope, user, now).await?,
                };
                for id in &revoked {
                    provider_keys::delete_all(&mut tx, scope, Some(*id)).await?;
                    audit(&mut tx, &ambient, Some(scope), &actor, ("api_key.revoke", id)).await?;
                }
                tx.commit().await?;
                Ok(revoked)
            })
            .await?;
        for id in revoked {
            self.authenticator.forget(id);
        }
        Ok(())
    }

    /// Takes an open invitation back.
    pub async fn withdraw_invitation(&self, session: Session, id: InvitationId) -> Result<(), AccountError> {
        self.transact(move |db, ambient| async move {
            let mut tx = db.begin().await?;
            if withdraw(&mut tx, &session, OpenInvitations::One(id), ambient.now()).await? == 0 {
                return Err(AccountError::NotFound("invitation"));
            }
            let change = ("invitation.withdraw", &id);
            audit(&mut tx, &ambient, Some(session.scope), &session.user_id, change).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }
}

/// What becomes of the API keys of a member who is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeysOf {
    Kept,
    Revoked,
}

/// Deletes open invitations and returns how many there were. Only owners touch those of owners, unless they are expired.
async fn withdraw(
    tx: &mut PgConnection,
    session: &Session,
    which: OpenInvitations<'_>,
    now: OffsetDateTime,
) -> Result<usize, AccountError> {
    let found = members::lock_invitations(tx, session.scope, which).await?;
    if found.iter().any(|one| one.expires_at > now && !session.role.may_assign(one.role)) {
        return Err(AccountError::Denied("Only an owner withdraws or replaces the invitation of an owner"));
    }
    let ids: Vec<_> = found.iter().map(|one| one.id).collect();
    members::delete_invitations(tx, session.scope, &ids).await?;
    Ok(ids.len())
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
