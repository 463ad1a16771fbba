//! Signing in by another service: the way there, and the way back. Both are links, for a form may not lead elsewhere.

use super::account::{code_page, form_error, origin, own_path, signed_in};
use crate::{
    accounts::{
        AccountError, Accounts,
        log_in::LoggedIn,
        oidc::{Arrival, Callback, Wish},
    },
    dashboard::{
        frame::{PageError, see_other_with, state},
        routes::Visit,
        session,
    },
    domain::secret::Secret,
    gateway::Gateway,
    store::sessions::{Person, SessionLookup},
};
use actix_web::HttpResponse;

/// Who is logged in in the browser.
async fn person(visit: &Visit<()>, accounts: &Accounts) -> Result<Option<Person>, PageError> {
    let Some(token) = visit.origin.session_token(&visit.call) else { return Ok(None) };
    Ok(match accounts.find_person(&token, None).await? {
        SessionLookup::Found(person) => Some(person),
        SessionLookup::NotMember | SessionLookup::Unknown => None,
    })
}

/// `GET /auth/oidc/{name}?next&invitation`, or `?connect=` with a form token of the person's own page.
pub async fn depart(visit: Visit<()>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let connects = match visit.form.given("connect") {
        None => None,
        Some(token) => {
            let person = person(&visit, &accounts).await?.ok_or(PageError::SignIn)?;
            let installation = &state::<Gateway>(&visit.call)?.installation;
            if !session::is_form_token(installation, &person.session_id().to_string(), token) {
                return Err(crate::dashboard::frame::stale_form());
            }
            Some(person.user_id())
        }
    };
    let wish = Wish {
        next: own_path(visit.form.get("next")).unwrap_or_default(),
        invitation: visit.form.get("invitation"),
        connects,
    };
    let from = origin(&visit, &accounts);
    let departure = accounts.depart(visit.call.path("name"), wish, &from).await.map_err(refused)?;
    Ok(see_other_with(departure.url.as_str(), visit.origin.oidc(&departure.cookie)))
}

/// `GET /auth/oidc/{name}/callback?code&state`.
pub async fn arrive(mut visit: Visit<()>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let cookie = Secret::new(visit.origin.oidc_cookie(&visit.call).unwrap_or_default());
    let callback = Callback {
        provider: visit.call.path("name"),
        code: visit.form.get("code"),
        state: visit.form.get("state"),
        cookie: &cookie,
        who: person(&visit, &accounts).await?.map(|person| person.user_id()),
    };
    let from = origin(&visit, &accounts);
    let mut response = match accounts.arrive(&callback, from).await.map_err(refused)? {
        Arrival::Connected => crate::dashboard::frame::see_other("/me?done=connected"),
        Arrival::LoggedIn { outcome, next, invitation } => {
            visit.form = visit.form.of(&[("next", &next), ("invitation", &invitation)]);
            match outcome {
                LoggedIn::Session(token) => signed_in(&visit, &accounts, &token).await?,
                LoggedIn::CodeRequired { challenge } => code_page(&visit, challenge.expose(), None)?,
            }
        }
    };
    // The visit is over: its cookie serves no second time in this browser.
    let _ = response.add_cookie(&visit.origin.end_oidc());
    Ok(response)
}

/// An error is shown on a page of its own.
fn refused(error: AccountError) -> PageError {
    form_error(error)
}
