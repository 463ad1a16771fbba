//! The page of one's own account: organizations, address, password, second factor, sessions.

use super::account::{form_error, origin};
use crate::{
    accounts::{
        AccountError, Accounts,
        recovery::EmailChange,
        second_factor::{Enrollment, Proof},
    },
    dashboard::{
        frame::{self, Frame, PageError, page_of, see_other, state},
        routes::Visit,
        view::{self, Moment},
    },
    domain::secret::Secret,
    store::sessions::{ListedSession, Person},
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;

#[derive(Template)]
#[template(path = "me.html")]
struct MePage<'a> {
    frame: &'a Frame,
    sessions: Vec<SessionRow>,
    organizations: Vec<OrganizationRow>,
    may_create: bool,
    is_verified: bool,
    sends_mail: bool,
    has_second_factor: bool,
    recovery_codes: i64,
    services: Vec<ServiceRow>,
    /// Shown in the answer to the form that made them, and never again.
    shown: Shown,
}

/// What a form has just made.
#[derive(Default)]
struct Shown {
    secret: String,
    url: String,
    codes: Vec<String>,
}

struct SessionRow {
    id: String,
    is_current: bool,
    device: String,
    address: String,
    began: Moment,
    last_seen: Moment,
}

struct OrganizationRow {
    path: String,
    name: String,
    role: &'static str,
    is_suspended: bool,
}

/// A service that people may sign in by.
struct ServiceRow {
    name: String,
    title: String,
    issuer: String,
    /// As the service names the person; `None`: not connected.
    connected: Option<String>,
}

/// `GET /me`.
pub async fn show(mut visit: Visit<Person>) -> Result<HttpResponse, PageError> {
    visit.frame.done = match visit.form.get("done") {
        "password" => "The password was changed. Every other session has ended.",
        "ended" => "The session has ended.",
        "sent" => "A message with a link was sent.",
        "email" => "The e-mail address was changed.",
        "connected" => "The service is connected: it logs you in from now on.",
        "disconnected" => "The service is disconnected.",
        "off" => "Two-factor sign-in is off.",
        _ => "",
    };
    me_page(visit, Shown::default(), StatusCode::OK).await
}

async fn me_page(visit: Visit<Person>, shown: Shown, status: StatusCode) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let current = visit.who.session_id();
    let row = |session: ListedSession| SessionRow {
        id: session.id.to_string(),
        is_current: session.id == current,
        device: session.user_agent.unwrap_or_else(|| "unknown".to_owned()),
        address: session.address.unwrap_or_else(|| "unknown".to_owned()),
        began: view::moment(session.created_at),
        last_seen: view::moment(session.last_seen_at),
    };
    let sessions = accounts.list_sessions(visit.who).await?.into_iter().map(row).collect();
    let organizations = accounts.list_organizations(visit.who).await?;
    let factor = accounts.second_factor(visit.who).await?;
    let identities = accounts.list_identities(visit.who).await?;
    let service = |(name, title, issuer): (String, String, String)| {
        let found = identities.iter().find(|one| one.issuer == issuer);
        let connected = found.map(|one| one.email.clone().unwrap_or_else(|| one.subject.clone()));
        ServiceRow { name, title, issuer, connected }
    };
    let template = MePage {
        services: accounts.identity_services().into_iter().map(service).collect(),
        sessions,
        organizations: organizations
            .into_iter()
            .map(|one| OrganizationRow {
                path: frame::home(one.scope.org_id()),
                name: one.name,
                role: one.role.as_str(),
                is_suspended: one.is_suspended,
            })
            .collect(),
        may_create: accounts.rules().signup_open && matches!(visit.who, Person::Member(_)),
        is_verified: accounts.is_verified(visit.who).await?,
        sends_mail: accounts.sends_mail(),
        has_second_factor: factor.is_on,
        recovery_codes: factor.recovery_codes,
        shown,
        frame: &visit.frame.titled("Your account"),
    };
    Ok(page_of(&template, status))
}

/// The page again, with what is wrong.
async fn again(mut visit: Visit<Person>, error: AccountError) -> Result<HttpResponse, PageError> {
    match form_error(error) {
        PageError::Form(error) => {
            visit.frame.error = Some(error);
            me_page(visit, Shown::default(), StatusCode::UNPROCESSABLE_ENTITY).await
        }
        error => Err(error),
    }
}

fn proof(visit: &Visit<Person>, accounts: &Accounts) -> Proof {
    Proof {
        password: Secret::new(visit.form.raw("currentPassword").to_owned()),
        code: visit.form.given("code").map(|code| Secret::new(code.to_owned())),
        network: origin(visit, accounts).network(),
    }
}

/// `POST /me/password`.
pub async fn change_password(visit: Visit<Person>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let [old, new] =
        ["currentPassword", "newPassword"].map(|field| Secret::new(visit.form.raw(field).to_owned()));
    let network = origin(&visit, &accounts).network();
    match accounts.change_password(visit.who, &old, &new, network).await {
        Ok(()) => Ok(see_other("/me?done=password")),
        Err(error) => again(visit, error).await,
    }
}

/// `POST /me/email`.
pub async fn change_email(visit: Visit<Person>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let proof = proof(&visit, &accounts);
    match accounts.change_email(visit.who, visit.form.get("email"), &proof).await {
        Ok(EmailChange::Sent) => Ok(see_other("/me?done=sent")),
        Ok(EmailChange::Done) => Ok(see_other("/me?done=email")),
        Err(error) => again(visit, error).await,
    }
}

/// `POST /me/verification`.
pub async fn send_verification(visit: Visit<Person>) -> Result<HttpResponse, PageError> {
    match state::<Accounts>(&visit.call)?.request_verification(visit.who).await {
        Ok(()) => Ok(see_other("/me?done=sent")),
        Err(error) => again(visit, error).await,
    }
}

/// `POST /me/second-factor`: begins, confirms, renews the recovery codes, or switches it off.
pub async fn change_second_factor(visit: Visit<Person>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let proof = proof(&visit, &accounts);
    let texts = |codes: Vec<Secret>| Shown {
        codes: codes.iter().map(|code| code.expose().to_owned()).collect(),
        ..Shown::default()
    };
    let shown = match visit.form.get("action") {
        "begin" => accounts.begin_second_factor(visit.who, &proof).await.map(|Enrollment { secret, url }| {
            Shown { secret: secret.expose().to_owned(), url: url.expose().to_owned(), codes: Vec::new() }
        }),
        "confirm" => {
            let code = Secret::new(visit.form.get("code").to_owned());
            accounts.confirm_second_factor(visit.who, &code).await.map(texts)
        }
        "renew" => accounts.renew_recovery_codes(visit.who, &proof).await.map(texts),
        "remove" => match accounts.remove_second_factor(visit.who, &proof).await {
            Ok(()) => return Ok(see_other("/me?done=off")),
            Err(error) => Err(error),
        },
        _ => return Err(PageError::NotFound),
    };
    match shown {
        Ok(shown) => me_page(visit, shown, StatusCode::CREATED).await,
        Err(error) => again(visit, error).await,
    }
}

/// `POST /me/identities`: disconnects a service.
pub async fn disconnect(visit: Visit<Person>) -> Result<HttpResponse, PageError> {
    match state::<Accounts>(&visit.call)?.disconnect(visit.who, visit.form.get("issuer")).await {
        Ok(()) => Ok(see_other("/me?done=disconnected")),
        Err(error) => again(visit, error).await,
    }
}

/// `POST /me/organizations`: one more, with the person as its owner.
pub async fn create_organization(visit: Visit<Person>) -> Result<HttpResponse, PageError> {
    let Person::Member(session) = visit.who else { return Err(PageError::NotFound) };
    let accounts = state::<Accounts>(&visit.call)?;
    let network = origin(&visit, &accounts).network();
    match accounts.create_own_organization(session, visit.form.get("name"), network).await {
        Ok(id) => Ok(see_other(&frame::home(id))),
        Err(error) => again(visit, error).await,
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
