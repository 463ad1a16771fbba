//! Signing up, logging in and out.

use crate::{
    accounts::{
        AccountError, Accounts,
        log_in::{LoggedIn, Login},
        people::Joining,
        sessions::Origin,
    },
    dashboard::{
        frame::{self, FormError, Frame, PageError, page_of, see_other, see_other_with, state},
        routes::Visit,
    },
    domain::secret::Secret,
    store::sessions::{Person, SessionLookup},
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    frame: &'a Frame,
    email: &'a str,
    next: &'a str,
    invitation: &'a str,
    is_signup_open: bool,
    sends_mail: bool,
    services: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "signup.html")]
struct SignUpPage<'a> {
    frame: &'a Frame,
    email: &'a str,
    organization: &'a str,
    invitation: &'a str,
}

/// `GET /login?next&invitation`.
pub async fn show_login(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    login_page(&visit, &visit.frame.clone().titled("Log in"), StatusCode::OK)
}

fn login_page(visit: &Visit<()>, frame: &Frame, status: StatusCode) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let template = LoginPage {
        frame,
        email: visit.form.get("email"),
        next: own_path(visit.form.get("next")).unwrap_or_default(),
        invitation: visit.form.get("invitation"),
        is_signup_open: accounts.rules().signup_open,
        sends_mail: accounts.sends_mail(),
        services: accounts.identity_providers(),
    };
    Ok(page_of(&template, status))
}

/// `POST /login`.
pub async fn log_in(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let from = origin(&visit, &accounts);
    let login = Login {
        email: visit.form.get("email").to_owned(),
        password: Secret::new(visit.form.raw("password").to_owned()),
        code: None,
        organization: None,
        invitation: visit.form.given("invitation").map(|token| Secret::new(token.to_owned())),
    };
    match accounts.log_in(login, from).await.map_err(form_error) {
        Ok(LoggedIn::Session(token)) => signed_in(&visit, &accounts, &token).await,
        Ok(LoggedIn::CodeRequired { challenge }) => code_page(&visit, challenge.expose(), None),
        Err(PageError::Form(error)) => {
            let mut frame = visit.frame.clone().titled("Log in");
            frame.error = Some(error);
            login_page(&visit, &frame, StatusCode::UNPROCESSABLE_ENTITY)
        }
        Err(error) => Err(error),
    }
}

/// Sets the cookie of a new session and leads to the page that was asked for.
pub(super) async fn signed_in(
    visit: &Visit<()>,
    accounts: &Accounts,
    token: &Secret,
) -> Result<HttpResponse, PageError> {
    let next = own_path(visit.form.get("next")).unwrap_or("/home");
    let found = accounts.find_person(token.expose(), None).await?;
    let is_operator = matches!(found, SessionLookup::Found(Person::Operator(_)));
    Ok(see_other_with(next, visit.origin.begin(token, is_operator)))
}

#[derive(Template)]
#[template(path = "login_code.html")]
struct CodePage<'a> {
    frame: &'a Frame,
    challenge: &'a str,
    next: &'a str,
    invitation: &'a str,
}

/// The second step of a log-in.
pub(super) fn code_page(
    visit: &Visit<()>,
    challenge: &str,
    error: Option<FormError>,
) -> Result<HttpResponse, PageError> {
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let frame = Frame { error, ..visit.frame.clone().titled("Enter a code") };
    let next = own_path(visit.form.get("next")).unwrap_or_default();
    let template = CodePage { frame: &frame, challenge, next, invitation: visit.form.get("invitation") };
    Ok(page_of(&template, status))
}

/// `POST /login/code`.
pub async fn log_in_with_code(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let from = origin(&visit, &accounts);
    let secret = |field: &str| Secret::new(visit.form.get(field).to_owned());
    let invitation = visit.form.given("invitation").map(|token| Secret::new(token.to_owned()));
    let challenge = secret("challenge");
    match accounts.log_in_with_code(&challenge, secret("code"), invitation, from).await {
        Ok(token) => signed_in(&visit, &accounts, &token).await,
        Err(AccountError::CodeRequired) => code_page(&visit, challenge.expose(), None),
        Err(error @ (AccountError::Invalid { .. } | AccountError::Throttled { .. })) => {
            match PageError::from(error) {
                PageError::Form(error) => code_page(&visit, challenge.expose(), Some(error)),
                error => Err(error),
            }
        }
        Err(error) => match form_error(error) {
            PageError::Form(error) => {
                let mut frame = visit.frame.clone().titled("Log in");
                frame.error = Some(error);
                login_page(&visit, &frame, StatusCode::UNPROCESSABLE_ENTITY)
            }
            error => Err(error),
        },
    }
}

/// `GET /signup`.
pub async fn show_sign_up(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    let frame = visit.frame.clone().titled("Sign up");
    sign_up_page(&visit, &frame, visit.form.get("invitation"), StatusCode::OK)
}

/// `GET /invite/{token}`.
pub async fn show_invitation(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    let frame = visit.frame.clone().titled("Accept the invitation");
    sign_up_page(&visit, &frame, visit.call.path("token"), StatusCode::OK)
}

fn sign_up_page(
    visit: &Visit<()>,
    frame: &Frame,
    invitation: &str,
    status: StatusCode,
) -> Result<HttpResponse, PageError> {
    let (email, organization) = (visit.form.get("email"), visit.form.get("organization"));
    Ok(page_of(&SignUpPage { frame, email, organization, invitation }, status))
}

/// `POST /signup`.
pub async fn sign_up(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let from = origin(&visit, &accounts);
    let joining = match visit.form.given("invitation") {
        Some(token) => Joining::Invitation(Secret::new(token.to_owned())),
        None => Joining::Organization(visit.form.get("organization").to_owned()),
    };
    let password = Secret::new(visit.form.raw("password").to_owned());
    match accounts.sign_up(visit.form.get("email"), &password, joining, from).await.map_err(form_error) {
        Ok(done) => {
            let start = format!("{}/start", frame::home(done.organization_id));
            Ok(see_other_with(&start, visit.origin.begin(&done.session_token, false)))
        }
        Err(PageError::Form(error)) => {
            let mut frame = visit.frame.clone().titled("Sign up");
            frame.error = Some(error);
            let invitation = visit.form.get("invitation").to_owned();
            sign_up_page(&visit, &frame, &invitation, StatusCode::UNPROCESSABLE_ENTITY)
        }
        Err(error) => Err(error),
    }
}

/// A wrong password or a closed sign-up is shown on the form.
pub(super) fn form_error(error: AccountError) -> PageError {
    use AccountError as E;
    match error {
        error @ E::CodeRequired => PageError::form("code", error.to_string()),
        error @ (E::InvalidCredentials | E::SignupClosed | E::Busy | E::Denied(_)) => {
            PageError::form("", error.to_string())
        }
        error => PageError::from(error),
    }
}

/// `POST /logout`.
pub async fn log_out(visit: Visit<Person>) -> Result<HttpResponse, PageError> {
    state::<Accounts>(&visit.call)?.log_out(visit.who).await?;
    Ok(see_other_with("/login", visit.origin.end()))
}

/// `GET /home`: to the first page of whoever is signed in.
pub async fn go_home(visit: Visit<Person>) -> Result<HttpResponse, PageError> {
    Ok(see_other(&visit.frame.home))
}

/// Where a call comes from, for the throttle and the list of sessions.
pub(super) fn origin<Who>(visit: &Visit<Who>, accounts: &Accounts) -> Origin {
    let address = visit.call.client_ip(&accounts.rules().trusted_proxies);
    Origin::new(address, visit.call.header("user-agent"))
}

/// A path of ours and nothing else: not another host, not `//host`, not a control character.
pub(super) fn own_path(text: &str) -> Option<&str> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let known = ["/o/", "/me", "/operator"].iter().any(|start| text.starts_with(start));
    (is_plain && known && !text.contains("//") && !text.contains("..")).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_leads_to_paths_of_ours_only() {
        for good in ["/o/org_1/requests?status=failed", "/me", "/operator"] {
            assert_eq!(own_path(good), Some(good));
        }
        for bad in [
            "//evil.example",
            "https://evil.example",
            "/o//evil",
            "/\\evil",
            "/o/\nx",
            "",
            "/api/auth",
            "/o/../x",
        ] {
            assert_eq!(own_path(bad), None, "{bad:?}");
        }
    }
}
