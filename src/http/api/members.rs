//! The members of an organization and invitations into it. The member or invitation of a change is in the path or in
//! the query, as `userId` or `invitationId`.

use super::time_text;
use crate::{
    accounts::{Accounts, members::KeysOf, roles::Role},
    domain::ids::{InvitationId, UserId},
    http::{error::ApiError, extract::Call},
    store::{
        members::{Invitation, Member},
        sessions::Session,
    },
};
use actix_web::{HttpResponse, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InviteBody {
    email: String,
    role: Role,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleBody {
    role: Role,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WhomQuery {
    user_id: Option<String>,
    invitation_id: Option<String>,
    /// For a removed member: whether its API keys are revoked too.
    revoke_keys: Option<bool>,
}

enum Whom {
    User(UserId),
    Invitation(InvitationId),
}

/// `GET /api/members`.
pub async fn list_members(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let list = call.state::<Accounts>()?.list_members(session).await?;
    let members: Vec<Value> = list.members.iter().map(member_view).collect();
    let invitations: Vec<Value> = list.invitations.iter().map(invitation_view).collect();
    Ok(HttpResponse::Ok().json(json!({ "members": members, "invitations": invitations })))
}

/// `POST /api/members`.
pub async fn invite(mut call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: InviteBody = call.json().await?;
    let (invitation, token) = accounts.invite(session, &body.email, body.role).await?;
    let mut view = invitation_view(&invitation);
    if let Some(view) = view.as_object_mut() {
        view.insert("token".into(), json!(token.expose()));
    }
    Ok(HttpResponse::build(StatusCode::CREATED).json(view))
}

/// `PATCH /api/members?userId=` and `PATCH /api/members/{id}`.
pub async fn set_role(mut call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let Whom::User(user) = whom(&call)? else { return Err(ApiError::not_found("member")) };
    let body: RoleBody = call.json().await?;
    let member = accounts.set_role(session, user, body.role).await?;
    Ok(HttpResponse::Ok().json(member_view(&member)))
}

/// `DELETE /api/members?userId=` or `?invitationId=`, and `DELETE /api/members/{id}` with either. `revokeKeys=true`
/// also revokes the API keys that the member created.
pub async fn remove(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let keys = match call.query::<WhomQuery>()?.revoke_keys {
        Some(true) => KeysOf::Revoked,
        Some(false) | None => KeysOf::Kept,
    };
    match whom(&call)? {
        Whom::User(user) => accounts.remove_member(session, user, keys).await?,
        Whom::Invitation(id) => accounts.withdraw_invitation(session, id).await?,
    }
    Ok(HttpResponse::NoContent().finish())
}

/// A text that is not an id gets the same answer as a missing id.
fn whom(call: &Call) -> Result<Whom, ApiError> {
    let text = match call.path("id") {
        "" => {
            let query: WhomQuery = call.query()?;
            match (query.user_id, query.invitation_id) {
                (Some(id), None) | (None, Some(id)) => id,
                _ => {
                    return Err(ApiError::invalid(
                        "userId",
                        "Give either `userId` or `invitationId` in the query",
                    ));
                }
            }
        }
        text => text.to_owned(),
    };
    let user = text.parse().map(Whom::User);
    user.or_else(|_| text.parse().map(Whom::Invitation)).map_err(|_| ApiError::not_found("member"))
}

fn member_view(member: &Member) -> Value {
    json!({
        "userId": member.user_id,
        "email": member.email,
        "role": member.role,
        "createdAt": time_text(member.created_at),
    })
}

fn invitation_view(invitation: &Invitation) -> Value {
    json!({
        "invitationId": invitation.id,
        "email": invitation.email,
        "role": invitation.role,
        "invitedBy": invitation.invited_by,
        "createdAt": time_text(invitation.created_at),
        "expiresAt": time_text(invitation.expires_at),
    })
}
