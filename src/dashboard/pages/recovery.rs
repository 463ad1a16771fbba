//! Links that came by e-mail: a new password, the proof of an address. A link is opened by a form, so that a mail program
//! that looks at links uses none up.

use super::account::{form_error, origin};
use crate::{
    accounts::Accounts,
    dashboard::{
        frame::{FormError, Frame, PageError, page_of, state},
        routes::Visit,
    },
    domain::secret::Secret,
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;

#[derive(Template)]
#[template(path = "forgot.html")]
struct ForgotPage<'a> {
    frame: &'a Frame,
    email: &'a str,
    sends_mail: bool,
    is_sent: bool,
}

#[derive(Template)]
#[template(path = "reset.html")]
struct ResetPage<'a> {
    frame: &'a Frame,
    action: String,
    is_done: bool,
}

#[derive(Template)]
#[template(path = "verify.html")]
struct VerifyPage<'a> {
    frame: &'a Frame,
    action: String,
    is_done: bool,
}

/// `GET /forgot`.
pub async fn show_forgot(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    forgot_page(&visit, false, None)
}

fn forgot_page(
    visit: &Visit<()>,
    is_sent: bool,
    error: Option<FormError>,
) -> Result<HttpResponse, PageError> {
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let frame = Frame { error, ..visit.frame.clone().titled("Set a new password") };
    let sends_mail = state::<Accounts>(&visit.call)?.sends_mail();
    let email = visit.form.get("email");
    Ok(page_of(&ForgotPage { frame: &frame, email, sends_mail, is_sent }, status))
}

/// `POST /forgot`: the answer is the same for every address.
pub async fn send_link(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let network = origin(&visit, &accounts).network();
    match accounts.request_password_reset(visit.form.get("email"), network).await.map_err(form_error) {
        Ok(()) => forgot_page(&visit, true, None),
        Err(PageError::Form(error)) => forgot_page(&visit, false, Some(error)),
        Err(error) => Err(error),
    }
}

/// `GET /reset/{token}`.
pub async fn show_reset(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    reset_page(&visit, false, None)
}

fn reset_page(visit: &Visit<()>, is_done: bool, error: Option<FormError>) -> Result<HttpResponse, PageError> {
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let frame = Frame { error, ..visit.frame.clone().titled("Set a new password") };
    let action = visit.call.request.path().to_owned();
    Ok(page_of(&ResetPage { frame: &frame, action, is_done }, status))
}

/// `POST /reset/{token}`.
pub async fn reset(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let network = origin(&visit, &accounts).network();
    let token = Secret::new(visit.call.path("token").to_owned());
    let password = Secret::new(visit.form.raw("newPassword").to_owned());
    match accounts.reset_by_link(&token, &password, network).await.map_err(form_error) {
        Ok(()) => reset_page(&visit, true, None),
        Err(PageError::Form(error)) => reset_page(&visit, false, Some(error)),
        Err(error) => Err(error),
    }
}

/// `GET /verify/{token}`.
pub async fn show_verify(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    verify_page(&visit, false, None)
}

fn verify_page(
    visit: &Visit<()>,
    is_done: bool,
    error: Option<FormError>,
) -> Result<HttpResponse, PageError> {
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let frame = Frame { error, ..visit.frame.clone().titled("Confirm an e-mail address") };
    let action = visit.call.request.path().to_owned();
    Ok(page_of(&VerifyPage { frame: &frame, action, is_done }, status))
}

/// `POST /verify/{token}`.
pub async fn verify(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let network = origin(&visit, &accounts).network();
    let token = Secret::new(visit.call.path("token").to_owned());
    match accounts.confirm_email(&token, network).await.map_err(form_error) {
        Ok(()) => verify_page(&visit, true, None),
        Err(PageError::Form(error)) => verify_page(&visit, false, Some(error)),
        Err(error) => Err(error),
    }
}
