//! Signing up, logging in and out, and the page of one's own account.

use crate::{
    accounts::{
        Accounts,
        people::{Joining, Login},
        sessions::Origin,
    },
    dashboard::{
        frame::{self, Frame, PageError, page_of, see_other, see_other_with, state},
        routes::Visit,
        view::{self, Moment},
    },
    domain::secret::Secret,
    store::sessions::{ListedSession, Person},
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
}

#[derive(Template)]
#[template(path = "signup.html")]
struct SignUpPage<'a> {
    frame: &'a Frame,
    email: &'a str,
    organization: &'a str,
    invitation: &'a str,
}

#[derive(Template)]
#[template(path = "me.html")]
struct MePage<'a> {
    frame: &'a Frame,
    sessions: Vec<SessionRow>,
}

struct SessionRow {
    id: String,
    is_current: bool,
    device: String,
    address: String,
    began: Moment,
    last_seen: Moment,
}

/// `GET /login?next&invitation`.
pub async fn show_login(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    login_page(&visit, &visit.frame.clone().titled("Log in"), StatusCode::OK)
}

fn login_page(visit: &Visit<()>, frame: &Frame, status: StatusCode) -> Result<HttpResponse, PageError> {
    let template = LoginPage {
        frame,
        email: visit.form.get("email"),
        next: own_path(visit.form.get("next")).unwrap_or_default(),
        invitation: visit.form.get("invitation"),
        is_signup_open: state::<Accounts>(&visit.call)?.rules().signup_open,
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
        organization: None,
        invitation: visit.form.given("invitation").map(|token| Secret::new(token.to_owned())),
    };
    match accounts.log_in(login, from).await.map_err(form_error) {
        Ok(token) => {
            let next = own_path(visit.form.get("next")).unwrap_or("/home");
            let is_operator =
                matches!(accounts.find_person(token.expose()).await?, Some(Person::Operator(_)));
            Ok(see_other_with(next, visit.origin.begin(&token, is_operator)))
        }
        Err(PageError::Form(error)) => {
            let mut frame = visit.frame.clone().titled("Log in");
            frame.error = Some(error);
            login_page(&visit, &frame, StatusCode::UNPROCESSABLE_ENTITY)
        }
        Err(error) => Err(error),
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
fn form_error(error: crate::accounts::AccountError) -> PageError {
    use crate::accounts::AccountError as E;
    match error {
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

/// `GET /me`.
pub async fn show_me(mut visit: Visit<Person>) -> Result<HttpResponse, PageError> {
    visit.frame.done = match visit.form.get("done") {
        "password" => "The password was changed. Every other session has ended.",
        "ended" => "The session has ended.",
        _ => "",
    };
    me_page(visit, StatusCode::OK).await
}

async fn me_page(visit: Visit<Person>, status: StatusCode) -> Result<HttpResponse, PageError> {
    let current = visit.who.session_id();
    let sessions = state::<Accounts>(&visit.call)?.list_sessions(visit.who).await?;
    let row = |session: ListedSession| SessionRow {
        id: session.id.to_string(),
        is_current: session.id == current,
        device: session.user_agent.unwrap_or_else(|| "unknown".to_owned()),
        address: session.address.unwrap_or_else(|| "unknown".to_owned()),
        began: view::moment(session.created_at),
        last_seen: view::moment(session.last_seen_at),
    };
    let sessions = sessions.into_iter().map(row).collect();
    Ok(page_of(&MePage { frame: &visit.frame.titled("Your account"), sessions }, status))
}

/// `POST /me/password`.
pub async fn change_password(mut visit: Visit<Person>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let [old, new] =
        ["currentPassword", "newPassword"].map(|field| Secret::new(visit.form.raw(field).to_owned()));
    let from = origin(&visit, &accounts);
    match accounts.change_password(visit.who, &old, &new, from.network()).await.map_err(form_error) {
        Ok(()) => Ok(see_other("/me?done=password")),
        Err(PageError::Form(error)) => {
            visit.frame.error = Some(error);
            me_page(visit, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error),
    }
}

/// `POST /me/sessions`: ends one session, or all but this one.
pub async fn end_sessions(visit: Visit<Person>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    match visit.form.given("session") {
        Some(id) => {
            accounts.end_session(visit.who, id.parse().map_err(|_| PageError::NotFound)?).await?;
        }
        None => accounts.end_sessions(visit.who, true).await?,
    }
    Ok(see_other("/me?done=ended"))
}

/// Where a call comes from, for the throttle and the list of sessions.
fn origin<Who>(visit: &Visit<Who>, accounts: &Accounts) -> Origin {
    let address = visit.call.client_ip(&accounts.rules().trusted_proxies);
    Origin::new(address, visit.call.header("user-agent"))
}

/// A path of ours and nothing else: not another host, not `//host`, not a control character.
fn own_path(text: &str) -> Option<&str> {
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
