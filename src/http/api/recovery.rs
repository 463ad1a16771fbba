//! Links by e-mail, another address, and the second factor. Thin over `accounts::recovery` and `accounts::second_factor`.

use crate::{
    accounts::{Accounts, recovery::EmailChange, second_factor::Proof, throttle::Network},
    domain::secret::Secret,
    http::{error::ApiError, extract::Call},
    store::sessions::Person,
};
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetRequestBody {
    email: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ResetBody {
    token: Secret,
    new_password: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    token: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EmailBody {
    email: String,
    current_password: Secret,
    code: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ProofBody {
    current_password: Secret,
    code: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeBody {
    code: Secret,
}

fn network(call: &Call, accounts: &Accounts) -> Network {
    Network::of(call.client_ip(&accounts.rules().trusted_proxies))
}

fn accepted() -> HttpResponse {
    HttpResponse::Accepted().json(json!({ "sent": true }))
}

/// `POST /api/auth/password-reset {email}`: the answer is the same for every address.
pub async fn request_password_reset(mut call: Call) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: ResetRequestBody = call.json().await?;
    accounts.request_password_reset(&body.email, network(&call, &accounts)).await?;
    Ok(accepted())
}

/// `POST /api/auth/password-reset/confirm {token, newPassword}`.
pub async fn reset_password(mut call: Call) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: ResetBody = call.json().await?;
    accounts.reset_by_link(&body.token, &body.new_password, network(&call, &accounts)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /api/auth/email/verification`: sends the person a link that proves its address.
pub async fn request_verification(call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    call.state::<Accounts>()?.request_verification(who).await?;
    Ok(accepted())
}

/// `POST /api/auth/email {email, currentPassword, code}`.
pub async fn change_email(mut call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: EmailBody = call.json().await?;
    let network = network(&call, &accounts);
    let proof = Proof { password: body.current_password, code: body.code, network };
    match accounts.change_email(who, &body.email, &proof).await? {
        EmailChange::Sent => Ok(accepted()),
        EmailChange::Done => Ok(HttpResponse::Ok().json(json!({ "sent": false }))),
    }
}

/// `POST /api/auth/email/confirm {token}`.
pub async fn confirm_email(mut call: Call) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: TokenBody = call.json().await?;
    accounts.confirm_email(&body.token, network(&call, &accounts)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /api/auth/second-factor`.
pub async fn get_second_factor(call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    let state = call.state::<Accounts>()?.second_factor(who).await?;
    Ok(HttpResponse::Ok().json(json!({ "enabled": state.is_on, "recoveryCodes": state.recovery_codes })))
}

async fn proof(call: &mut Call, accounts: &Accounts) -> Result<Proof, ApiError> {
    let body: ProofBody = call.json().await?;
    let network = network(call, accounts);
    Ok(Proof { password: body.current_password, code: body.code, network })
}

/// `POST /api/auth/second-factor {currentPassword}`: a new secret, shown this once, which a first code switches on.
pub async fn begin_second_factor(mut call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let proof = proof(&mut call, &accounts).await?;
    let enrollment = accounts.begin_second_factor(who, &proof).await?;
    let view = json!({ "secret": enrollment.secret.expose(), "url": enrollment.url.expose() });
    Ok(HttpResponse::Created().json(view))
}

/// `POST /api/auth/second-factor/confirm {code}`: the recovery codes are shown this once.
pub async fn confirm_second_factor(mut call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: CodeBody = call.json().await?;
    let codes = accounts.confirm_second_factor(who, &body.code).await?;
    Ok(codes_answer(&codes))
}

/// `POST /api/auth/second-factor/recovery-codes {currentPassword, code}`: new ones in place of the earlier ones.
pub async fn renew_recovery_codes(mut call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let proof = proof(&mut call, &accounts).await?;
    let codes = accounts.renew_recovery_codes(who, &proof).await?;
    Ok(codes_answer(&codes))
}

fn codes_answer(codes: &[Secret]) -> HttpResponse {
    let codes: Vec<&str> = codes.iter().map(Secret::expose).collect();
    HttpResponse::Ok().json(json!({ "recoveryCodes": codes }))
}

/// `DELETE /api/auth/second-factor {currentPassword, code}`.
pub async fn remove_second_factor(mut call: Call, who: Person) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let proof = proof(&mut call, &accounts).await?;
    accounts.remove_second_factor(who, &proof).await?;
    Ok(HttpResponse::NoContent().finish())
}
