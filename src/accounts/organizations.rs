//! Organizations as wholes: the ones of a person, one more, a change of their owner, their deletion; and what the operator
//! does with them: creating one for a customer, suspending and resuming it.

use super::{
    AccountError, Accounts, audit, audit_changes, fields,
    members::INVITATION_LIFE,
    people::{INVITATION_PREFIX, count_new_organization, new_token},
    second_factor::Proof,
    throttle::Network,
};
use crate::{
    billing::report::{self, Balance},
    domain::{
        ambient::Ambient,
        ids::{InvitationId, OrgId, UserId},
        secret::Secret,
    },
    store::{
        OrgScope,
        members::{self, Invitation, OpenInvitations, OwnOrganization, Role},
        organizations::{self, Contents},
        sessions::{Person, Session},
    },
};
use serde_json::json;
use sqlx::PgConnection;

const REASON_CHARS_MAX: usize = 500;

/// What the deletion of an organization would end, and what would stay.
pub struct DeletionPreview {
    pub name: String,
    pub contents: Contents,
    pub balance: Balance,
}

impl DeletionPreview {
    /// What happens, one sentence each.
    pub fn consequences(&self) -> Vec<String> {
        let Contents { members, invitations, api_keys, provider_keys } = self.contents;
        vec![
            format!("{api_keys} API keys are revoked and stop working within 5 seconds."),
            format!("{provider_keys} stored provider keys are erased."),
            format!("{members} members lose access, and {invitations} open invitations end."),
            format!(
                "The balance of {} USD can no longer be used. It is not paid out: ask the operator first.",
                self.balance.balance_usd
            ),
            "The ledger, statements, usage and the audit log are kept for the operator's books.".to_owned(),
            "The deletion cannot be undone.".to_owned(),
        ]
    }
}

/// A new organization and the invitation of its owner. The token is shown this once.
pub struct CreatedOrganization {
    pub id: OrgId,
    pub name: String,
    pub invitation: Invitation,
    pub token: Secret,
}

impl Accounts {
    /// The organizations of a person; none for an operator.
    pub async fn list_organizations(&self, who: Person) -> Result<Vec<OwnOrganization>, AccountError> {
        let db = self.db.clone();
        let reading = async move {
            members::list_organizations_of_user(&mut *db.acquire().await?, who.user_id()).await
        };
        Ok(self.db.run(reading).await?)
    }

    /// Creates another organization, with the person as its owner, where sign-up is open.
    pub async fn create_own_organization(
        &self,
        session: Session,
        name: &str,
        network: Network,
    ) -> Result<OrgId, AccountError> {
        if !self.rules.signup_open {
            return Err(AccountError::SignupClosed);
        }
        let (name, id, limits) = (fields::name("name", name)?, OrgId(self.ambient.uuid()), self.rules.limits);
        self.transact(move |db, ambient| {
            let name = name.clone();
            async move {
                let (mut tx, now) = (db.begin().await?, ambient.now());
                if members::count_of_user(&mut tx, session.user_id).await?
                    >= limits.organizations_per_person_max
                {
                    return Err(AccountError::Conflict(
                        "You belong to as many organizations as a person may; leave one",
                    ));
                }
                count_new_organization(&mut tx, &limits, network, now).await?;
                let scope = organizations::insert(&mut tx, id, &name, now).await?;
                members::insert(&mut tx, scope, session.user_id, Role::Owner, now).await?;
                audit(&mut tx, &ambient, Some(scope), &session.user_id, ("organization.create", &id)).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await?;
        Ok(id)
    }

    /// Makes a member the owner in place of the person, who stays as an admin.
    pub async fn transfer_ownership(
        &self,
        session: Session,
        to: UserId,
        proof: &Proof,
    ) -> Result<(), AccountError> {
        if to == session.user_id {
            return Err(AccountError::invalid("userId", "`userId` must be another member"));
        }
        self.check_proof(session.user_id, proof).await?;
        self.transact(move |db, ambient| async move {
            let (mut tx, scope) = (db.begin().await?, session.scope);
            let owners = members::lock_owners(&mut tx, scope).await?;
            if !owners.contains(&session.user_id) {
                return Err(AccountError::Denied("Only an owner transfers the organization"));
            }
            let heir = members::get(&mut tx, scope, to).await?.ok_or(AccountError::NotFound("member"))?;
            members::set_role(&mut tx, scope, to, Role::Owner).await?;
            members::set_role(&mut tx, scope, session.user_id, Role::Admin).await?;
            withdraw_exceeding(&mut tx, scope, session.user_id, Role::Admin).await?;
            let changes = json!({
                "owner": [session.user_id, to],
                "role": [heir.role.as_str(), Role::Owner.as_str()],
            });
            let done = ("organization.transfer", &scope.org_id());
            audit_changes(&mut tx, &ambient, Some(scope), &session.user_id, done, Some(changes)).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// What the deletion of the organization would end.
    pub async fn preview_deletion(&self, session: Session) -> Result<DeletionPreview, AccountError> {
        let db = self.db.clone();
        self.db
            .run(async move {
                let mut connection = db.acquire().await?;
                let name = organizations::get_name(&mut connection, session.scope).await?;
                Ok(DeletionPreview {
                    name: name.unwrap_or_default(),
                    contents: organizations::count_contents(&mut connection, session.scope).await?,
                    balance: report::balance(&mut connection, session.scope).await?,
                })
            })
            .await
    }

    /// Deletes the organization, once its name is repeated. Its books stay.
    pub async fn delete_organization(
        &self,
        session: Session,
        name: &str,
        proof: &Proof,
    ) -> Result<(), AccountError> {
        self.check_proof(session.user_id, proof).await?;
        let repeated = name.trim().to_owned();
        self.transact(move |db, ambient| {
            let repeated = repeated.clone();
            async move {
                let (mut tx, scope) = (db.begin().await?, session.scope);
                let owners = members::lock_owners(&mut tx, scope).await?;
                if !owners.contains(&session.user_id) {
                    return Err(AccountError::Denied("Only an owner deletes the organization"));
                }
                let state = organizations::lock_state(&mut tx, scope).await?;
                let state = state.ok_or(AccountError::NotFound("organization"))?;
                if state.name != repeated {
                    let message = "`confirm` must be the name of the organization";
                    return Err(AccountError::invalid("confirm", message));
                }
                let contents = organizations::count_contents(&mut tx, scope).await?;
                organizations::close(&mut tx, scope, ambient.now()).await?;
                let changes = json!({
                    "members": [contents.members, 0],
                    "apiKeys": [contents.api_keys, 0],
                    "providerKeys": [contents.provider_keys, 0],
                });
                let done = ("organization.delete", &scope.org_id());
                audit_changes(&mut tx, &ambient, Some(scope), &session.user_id, done, Some(changes)).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await?;
        self.authenticator.forget_organization(session.scope.org_id());
        Ok(())
    }

    /// For the operator: creates an organization without members, and the invitation of its owner. Works while sign-up is
    /// closed.
    pub async fn create_organization(
        &self,
        actor: String,
        name: &str,
        owner_email: &str,
    ) -> Result<CreatedOrganization, AccountError> {
        let (name, email) = (fields::name("name", name)?, fields::email(owner_email)?);
        let (id, created_at) = (OrgId(self.ambient.uuid()), self.ambient.now());
        let invitation_id = InvitationId(self.ambient.uuid());
        let token = new_token(&self.ambient, INVITATION_PREFIX);
        let hash = self.installation.tokens.of(token.expose().as_bytes());
        let stored = name.clone();
        let invitation = self
            .transact(move |db, ambient| {
                let (name, email, actor) = (stored.clone(), email.clone(), actor.clone());
                async move {
                    let mut tx = db.begin().await?;
                    let scope = organizations::insert(&mut tx, id, &name, created_at).await?;
                    let invitation = Invitation {
                        id: invitation_id,
                        scope,
                        email,
                        role: Role::Owner,
                        invited_by: None,
                        created_at,
                        expires_at: created_at + INVITATION_LIFE,
                    };
                    members::insert_invitation(&mut tx, &invitation, &hash).await?;
                    audit(&mut tx, &ambient, Some(scope), &actor, ("organization.create", &id)).await?;
                    let invited = ("invitation.create", &invitation.id);
                    audit(&mut tx, &ambient, Some(scope), &actor, invited).await?;
                    tx.commit().await?;
                    Ok(invitation)
                }
            })
            .await?;
        Ok(CreatedOrganization { id, name, invitation, token })
    }

    /// For the operator: suspends an organization for a reason, or resumes it (`None`). Its requests are refused within 5
    /// seconds on every process, and its members' sessions change nothing.
    pub async fn set_suspension(
        &self,
        actor: String,
        id: OrgId,
        reason: Option<&str>,
    ) -> Result<(), AccountError> {
        let reason = reason.map(check_reason).transpose()?;
        self.transact(move |db, ambient| {
            let (actor, reason) = (actor.clone(), reason.clone());
            async move {
                let mut tx = db.begin().await?;
                change_suspension(&mut tx, &ambient, &actor, id, reason.as_deref()).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await?;
        self.authenticator.forget_organization(id);
        Ok(())
    }
}

async fn change_suspension(
    tx: &mut PgConnection,
    ambient: &Ambient,
    actor: &str,
    id: OrgId,
    reason: Option<&str>,
) -> Result<(), AccountError> {
    let no_such = AccountError::NotFound("organization");
    let Some(scope) = organizations::find_scope(tx, id).await? else { return Err(no_such) };
    let state = organizations::lock_state(tx, scope).await?.ok_or(no_such)?;
    if state.deleted_at.is_some() {
        return Err(AccountError::Conflict("The organization was deleted"));
    }
    if state.suspended_at.is_some() == reason.is_some() && state.suspended_reason.as_deref() == reason {
        return Ok(());
    }
    let suspended_at = state.suspended_at.unwrap_or_else(|| ambient.now());
    organizations::set_suspension(tx, scope, reason.map(|reason| (suspended_at, reason))).await?;
    let action = if reason.is_some() { "organization.suspend" } else { "organization.resume" };
    let changes = json!({ "reason": [state.suspended_reason, reason] });
    audit_changes(tx, ambient, Some(scope), &actor, (action, &id), Some(changes)).await?;
    Ok(())
}

fn check_reason(text: &str) -> Result<String, AccountError> {
    let text = text.trim();
    let length = text.chars().count();
    if length == 0 || length > REASON_CHARS_MAX || text.chars().any(char::is_control) {
        let message =
            format!("`reason` must have 1 to {REASON_CHARS_MAX} characters and no control characters");
        return Err(AccountError::invalid("reason", message));
    }
    Ok(text.to_owned())
}

/// Withdraws open invitations that a person made and could not make with its new role.
pub(super) async fn withdraw_exceeding(
    tx: &mut PgConnection,
    scope: OrgScope,
    user: UserId,
    role: Role,
) -> Result<(), AccountError> {
    let made = members::lock_invitations(tx, scope, OpenInvitations::By(user)).await?;
    let exceeding: Vec<_> =
        made.iter().filter(|made| !role.may_assign(made.role)).map(|made| made.id).collect();
    members::delete_invitations(tx, scope, &exceeding).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_text() {
        assert_eq!(check_reason("  unpaid invoice ").unwrap(), "unpaid invoice");
        for bad in ["", "  ", "a\nb", "a\0b", &"x".repeat(501)] {
            assert!(check_reason(bad).is_err(), "{bad:?}");
        }
    }
}
