//! The people of an organization: members, roles, invitations.

use crate::{
    accounts::{Accounts, members::KeysOf, roles::Capability},
    dashboard::{
        frame::{Frame, PageError, page_of, see_other, state},
        routes::Visit,
        view::{self, Moment},
    },
    domain::ids::{InvitationId, UserId},
    store::{members::Role, sessions::Session},
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;

#[derive(Template)]
#[template(path = "team.html")]
struct TeamPage<'a> {
    frame: &'a Frame,
    members: Vec<MemberRow>,
    invitations: Vec<InvitationRow>,
    roles: Vec<(&'static str, &'static str)>,
    may_write: bool,
    email: &'a str,
    /// The address of a new invitation, shown this once.
    link: &'a str,
}

struct MemberRow {
    action: String,
    email: String,
    role: &'static str,
    since: Moment,
    is_self: bool,
}

struct InvitationRow {
    action: String,
    email: String,
    role: &'static str,
    expires: Moment,
}

fn in_words(role: Role) -> &'static str {
    match role {
        Role::Owner => "everything",
        Role::Admin => "keys, members and settings",
        Role::Member => "own API keys and their requests",
        Role::Billing => "money, usage and statements",
        Role::Viewer => "reads everything, changes nothing",
    }
}

/// `GET /o/{org}/team`.
pub async fn list(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    team_page(visit, "", StatusCode::OK).await
}

async fn team_page(visit: Visit<Session>, link: &str, status: StatusCode) -> Result<HttpResponse, PageError> {
    let list = state::<Accounts>(&visit.call)?.list_members(visit.who).await?;
    let frame = visit.frame.titled("Team");
    let template = TeamPage {
        members: list
            .members
            .iter()
            .map(|member| MemberRow {
                action: format!("{}/team/{}", frame.home, member.user_id),
                email: member.email.clone(),
                role: member.role.as_str(),
                since: view::moment(member.created_at),
                is_self: member.user_id == visit.who.user_id,
            })
            .collect(),
        invitations: list
            .invitations
            .iter()
            .map(|invitation| InvitationRow {
                action: format!("{}/team/{}", frame.home, invitation.id),
                email: invitation.email.clone(),
                role: invitation.role.as_str(),
                expires: view::moment(invitation.expires_at),
            })
            .collect(),
        roles: Role::ALL.iter().map(|role| (role.as_str(), in_words(*role))).collect(),
        may_write: visit.who.role.can(Capability::WriteMembers),
        email: visit.form.get("email"),
        link,
        frame: &frame,
    };
    Ok(page_of(&template, status))
}

/// `POST /o/{org}/team`: invites an address and shows the invitation's link once.
pub async fn invite(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let invited = match role(visit.form.get("role")) {
        Ok(role) => {
            let invited = accounts.invite(visit.who, visit.form.get("email"), role).await;
            invited.map_err(PageError::from)
        }
        Err(error) => Err(error),
    };
    match invited {
        Ok((_, token)) => {
            let link = format!("{}/invite/{}", visit.origin.base(&visit.call), token.expose());
            team_page(visit, &link, StatusCode::CREATED).await
        }
        Err(error) => again(visit, error).await,
    }
}

/// `POST /o/{org}/team/{id}`: gives a member another role, removes it, or withdraws an invitation.
pub async fn act(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    match acted(&visit).await {
        Ok(()) => Ok(see_other(&format!("{}/team", visit.frame.home))),
        Err(error) => again(visit, error).await,
    }
}

async fn acted(visit: &Visit<Session>) -> Result<(), PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    if let Ok(invitation) = visit.call.path("id").parse::<InvitationId>() {
        return Ok(accounts.withdraw_invitation(visit.who, invitation).await?);
    }
    let user: UserId = visit.call.path("id").parse().map_err(|_| PageError::NotFound)?;
    match visit.form.get("action") {
        "remove-and-revoke" => accounts.remove_member(visit.who, user, KeysOf::Revoked).await?,
        "remove" => accounts.remove_member(visit.who, user, KeysOf::Kept).await?,
        _ => {
            accounts.set_role(visit.who, user, role(visit.form.get("role"))?).await?;
        }
    }
    Ok(())
}

fn role(text: &str) -> Result<Role, PageError> {
    let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
    found.ok_or_else(|| PageError::form("role", "Choose a role from the list"))
}

async fn again(mut visit: Visit<Session>, error: PageError) -> Result<HttpResponse, PageError> {
    match error {
        PageError::Form(error) => {
            visit.frame.error = Some(error);
            team_page(visit, "", StatusCode::UNPROCESSABLE_ENTITY).await
        }
        error => Err(error),
    }
}
