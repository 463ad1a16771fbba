//! The organizations of a person: the list, one more, and the owner's decisions over the whole organization: transfer and
//! deletion, both with the password. Thin over `accounts::organizations`.

use crate::{
    accounts::{Accounts, second_factor::Proof, throttle::Network},
    domain::secret::Secret,
    http::{error::ApiError, extract::Call},
    store::{
        members::OwnOrganization,
        sessions::{Person, Session},
    },
};
use actix_web::{HttpResponse, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrganizationBody {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TransferBody {
    user_id: String,
    current_password: Secret,
    code: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DeletionBody {
    /// The name of the organization.
    confirm: String,
    current_password: Secret,
    code: Option<Secret>,
}

/// `GET /api/organizations`: where the person belongs. `X-KairosRoute-Organization` chooses one of them for a call.
pub async fn list_organizations(call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    let organizations = call.state::<Accounts>()?.list_organizations(who).await?;
    let rows: Vec<Value> = organizations.iter().map(row).collect();
    Ok(HttpResponse::Ok().json(json!({ "organizations": rows })))
}

fn row(organization: &OwnOrganization) -> Value {
    json!({
        "id": organization.scope.org_id(),
        "name": organization.name,
        "role": organization.role,
        "suspended": organization.is_suspended,
    })
}

/// `POST /api/organizations {name}`: one more, with the person as its owner.
pub async fn create_organization(mut call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: NewOrganizationBody = call.json().await?;
    let id = accounts.create_own_organization(session, &body.name, network(&call, &accounts)).await?;
    let view = json!({ "id": id, "name": body.name.trim(), "role": "owner", "suspended": false });
    Ok(HttpResponse::build(StatusCode::CREATED).json(view))
}

/// `POST /api/organization/transfer {userId, currentPassword, code}`.
pub async fn transfer(mut call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: TransferBody = call.json().await?;
    let to = body.user_id.parse().map_err(|_| ApiError::not_found("member"))?;
    let network = network(&call, &accounts);
    let proof = Proof { password: body.current_password, code: body.code, network };
    accounts.transfer_ownership(session, to, &proof).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /api/organization/deletion`: what a deletion would end.
pub async fn preview_deletion(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let preview = call.state::<Accounts>()?.preview_deletion(session).await?;
    Ok(HttpResponse::Ok().json(json!({
        "organization": { "id": session.scope.org_id(), "name": preview.name },
        "apiKeys": preview.contents.api_keys,
        "providerKeys": preview.contents.provider_keys,
        "members": preview.contents.members,
        "invitations": preview.contents.invitations,
        "balanceUsd": preview.balance.balance_usd.to_string(),
        "heldUsd": preview.balance.held_usd.to_string(),
        "consequences": preview.consequences(),
    })))
}

/// `POST /api/organization/deletion {confirm, currentPassword, code}`.
pub async fn delete_organization(mut call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: DeletionBody = call.json().await?;
    let network = network(&call, &accounts);
    let proof = Proof { password: body.current_password, code: body.code, network };
    accounts.delete_organization(session, &body.confirm, &proof).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn network(call: &Call, accounts: &Accounts) -> Network {
    Network::of(call.client_ip(&accounts.rules().trusted_proxies))
}
