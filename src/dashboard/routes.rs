//! Every page and form of the dashboard, in one table. Access is part of the row, as in `http::routes`: a handler
//! takes the proof of who is signed in as an argument that only [`dispatch`] hands out. Every POST must come from
//! one of our own pages and carry its form token. Pages must be registered nowhere else.

use super::{
    assets, documents,
    form::Form,
    frame::{Frame, PageError, Surroundings, error_page, see_other, stale_form, state},
    pages::{
        account, audit, billing, key, keys, me, members, model, models, oidc, operator, overview, playground,
        provider_keys, recovery, request, requests, settings, start, statements, usage,
    },
    session::{self, Origin},
};
use crate::{
    accounts::{
        Accounts,
        roles::Capability::{
            self, ReadAudit, ReadKeys, ReadMembers, ReadMoney, ReadRequests, WriteKeys, WriteMembers,
        },
    },
    domain::ids::OrgId,
    gateway::Gateway,
    http::{error::ApiError, extract::Call},
    store::sessions::{self, Person, Session, SessionLookup},
};
use Endpoint::{Anyone, File, Member, Operator, SignedIn};
use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    cookie::Cookie,
    http::Method,
    web::{self, ServiceConfig},
};
use futures_util::FutureExt;
use std::{future::Future, panic::AssertUnwindSafe, pin::Pin};

/// What a handler returns.
pub type Reply = Pin<Box<dyn Future<Output = Result<HttpResponse, PageError>>>>;

/// One call of a page, by whom the row admits.
pub struct Visit<Who> {
    pub call: Call,
    /// The submitted fields of a POST, the query of a GET.
    pub form: Form,
    pub who: Who,
    pub frame: Frame,
    pub origin: Origin,
}

/// One page or form.
pub struct Page {
    pub method: Method,
    pub path: &'static str,
    pub endpoint: Endpoint,
}

/// Who may open it, and what is called then.
#[derive(Clone, Copy)]
pub enum Endpoint {
    /// A file or document without any secret.
    File(fn(&Call) -> Result<HttpResponse, ApiError>),
    /// Anyone, signed in or not.
    Anyone(fn(Visit<()>) -> Reply),
    /// Anyone signed in, operators too.
    SignedIn(fn(Visit<Person>) -> Reply),
    /// A member of the organization in the path whose role has the capability; `None`: every role.
    Member(Option<Capability>, fn(Visit<Session>) -> Reply),
    /// The operator of the installation.
    Operator(fn(Visit<sessions::Operator>) -> Reply),
}

const fn get(path: &'static str, endpoint: Endpoint) -> Page {
    Page { method: Method::GET, path, endpoint }
}

const fn post(path: &'static str, endpoint: Endpoint) -> Page {
    Page { method: Method::POST, path, endpoint }
}

const KEY: &str = "/o/{org}/keys/{id}";
const PROVIDER_KEY: &str = "/o/{org}/keys/{id}/provider-keys/{provider_key}";

/// The table.
pub static PAGES: &[Page] = &[
    get("/assets/{hash}/{name}", File(assets::serve)),
    get("/docs", File(documents::serve)),
    get("/docs/{page}", File(documents::serve)),
    get("/llms.txt", File(documents::serve)),
    get("/login", Anyone(|visit| Box::pin(account::show_login(visit)))),
    post("/login", Anyone(|visit| Box::pin(account::log_in(visit)))),
    post("/login/code", Anyone(|visit| Box::pin(account::log_in_with_code(visit)))),
    get("/auth/oidc/{name}", Anyone(|visit| Box::pin(oidc::depart(visit)))),
    get("/auth/oidc/{name}/callback", Anyone(|visit| Box::pin(oidc::arrive(visit)))),
    get("/forgot", Anyone(|visit| Box::pin(recovery::show_forgot(visit)))),
    post("/forgot", Anyone(|visit| Box::pin(recovery::send_link(visit)))),
    get("/reset/{token}", Anyone(|visit| Box::pin(recovery::show_reset(visit)))),
    post("/reset/{token}", Anyone(|visit| Box::pin(recovery::reset(visit)))),
    get("/verify/{token}", Anyone(|visit| Box::pin(recovery::show_verify(visit)))),
    post("/verify/{token}", Anyone(|visit| Box::pin(recovery::verify(visit)))),
    get("/signup", Anyone(|visit| Box::pin(account::show_sign_up(visit)))),
    post("/signup", Anyone(|visit| Box::pin(account::sign_up(visit)))),
    get("/invite/{token}", Anyone(|visit| Box::pin(account::show_invitation(visit)))),
    post("/logout", SignedIn(|visit| Box::pin(account::log_out(visit)))),
    get("/home", SignedIn(|visit| Box::pin(account::go_home(visit)))),
    get("/me", SignedIn(|visit| Box::pin(me::show(visit)))),
    post("/me/password", SignedIn(|visit| Box::pin(me::change_password(visit)))),
    post("/me/email", SignedIn(|visit| Box::pin(me::change_email(visit)))),
    post("/me/verification", SignedIn(|visit| Box::pin(me::send_verification(visit)))),
    post("/me/second-factor", SignedIn(|visit| Box::pin(me::change_second_factor(visit)))),
    post("/me/identities", SignedIn(|visit| Box::pin(me::disconnect(visit)))),
    post("/me/organizations", SignedIn(|visit| Box::pin(me::create_organization(visit)))),
    post("/me/sessions", SignedIn(|visit| Box::pin(me::end_sessions(visit)))),
    get("/o/{org}", Member(None, |visit| Box::pin(overview::show(visit)))),
    get("/o/{org}/start", Member(Some(WriteKeys), |visit| Box::pin(start::show(visit)))),
    post("/o/{org}/start", Member(Some(WriteKeys), |visit| Box::pin(start::create_key(visit)))),
    get("/o/{org}/requests", Member(Some(ReadRequests), |visit| Box::pin(requests::list(visit)))),
    get("/o/{org}/requests.csv", Member(Some(ReadRequests), |visit| Box::pin(requests::export(visit)))),
    get("/o/{org}/requests/{id}", Member(Some(ReadRequests), |visit| Box::pin(request::show(visit)))),
    get("/o/{org}/usage", Member(Some(ReadRequests), |visit| Box::pin(usage::show(visit)))),
    get("/o/{org}/usage.csv", Member(Some(ReadRequests), |visit| Box::pin(usage::export(visit)))),
    get("/o/{org}/keys", Member(Some(ReadKeys), |visit| Box::pin(keys::list(visit)))),
    post("/o/{org}/keys", Member(Some(WriteKeys), |visit| Box::pin(keys::create(visit)))),
    get(KEY, Member(Some(ReadKeys), |visit| Box::pin(key::show(visit)))),
    post(KEY, Member(Some(WriteKeys), |visit| Box::pin(key::change(visit)))),
    post("/o/{org}/keys/{id}/rotate", Member(Some(WriteKeys), |visit| Box::pin(keys::rotate(visit)))),
    get("/o/{org}/keys/{id}/revoke", Member(Some(WriteKeys), |visit| Box::pin(keys::confirm_revoke(visit)))),
    post("/o/{org}/keys/{id}/revoke", Member(Some(WriteKeys), |visit| Box::pin(keys::revoke(visit)))),
    post(
        "/o/{org}/keys/{id}/provider-keys",
        Member(Some(WriteKeys), |visit| Box::pin(provider_keys::add(visit))),
    ),
    post(PROVIDER_KEY, Member(Some(WriteKeys), |visit| Box::pin(provider_keys::act(visit)))),
    get("/o/{org}/provider-keys", Member(Some(ReadKeys), |visit| Box::pin(provider_keys::list(visit)))),
    post("/o/{org}/provider-keys", Member(Some(WriteKeys), |visit| Box::pin(provider_keys::add(visit)))),
    post(
        "/o/{org}/provider-keys/{provider_key}",
        Member(Some(WriteKeys), |visit| Box::pin(provider_keys::act(visit))),
    ),
    get("/o/{org}/models/view", Member(None, |visit| Box::pin(model::show(visit)))),
    get("/o/{org}/playground", Member(Some(WriteKeys), |visit| Box::pin(playground::show(visit)))),
    post("/o/{org}/playground", Member(Some(WriteKeys), |visit| Box::pin(playground::submit(visit)))),
    post("/o/{org}/playground/answer", Member(Some(WriteKeys), |visit| Box::pin(playground::answer(visit)))),
    get("/o/{org}/models", Member(None, |visit| Box::pin(models::list(visit)))),
    get("/o/{org}/audit", Member(Some(ReadAudit), |visit| Box::pin(audit::list(visit)))),
    get("/o/{org}/audit.csv", Member(Some(ReadAudit), |visit| Box::pin(audit::export(visit)))),
    get("/o/{org}/settings", Member(Some(ReadMoney), |visit| Box::pin(settings::show(visit)))),
    post("/o/{org}/settings", Member(Some(WriteMembers), |visit| Box::pin(settings::change(visit)))),
    get("/o/{org}/billing", Member(Some(ReadMoney), |visit| Box::pin(billing::show(visit)))),
    get("/o/{org}/billing.csv", Member(Some(ReadMoney), |visit| Box::pin(billing::export(visit)))),
    get("/o/{org}/billing/statements", Member(Some(ReadMoney), |visit| Box::pin(statements::list(visit)))),
    get(
        "/o/{org}/billing/statements/{month}",
        Member(Some(ReadMoney), |visit| Box::pin(statements::show(visit))),
    ),
    get("/o/{org}/team", Member(Some(ReadMembers), |visit| Box::pin(members::list(visit)))),
    post("/o/{org}/team", Member(Some(WriteMembers), |visit| Box::pin(members::invite(visit)))),
    post("/o/{org}/team/{id}", Member(Some(WriteMembers), |visit| Box::pin(members::act(visit)))),
    get("/operator", Operator(|visit| Box::pin(operator::customers::list(visit)))),
    post("/operator", Operator(|visit| Box::pin(operator::customers::create(visit)))),
    get("/operator/organizations/{id}", Operator(|visit| Box::pin(operator::customers::show(visit)))),
    post(
        "/operator/organizations/{id}/entries",
        Operator(|visit| Box::pin(operator::customers::post_entry(visit))),
    ),
    post(
        "/operator/organizations/{id}/suspension",
        Operator(|visit| Box::pin(operator::customers::set_suspension(visit))),
    ),
    get("/operator/providers", Operator(|visit| Box::pin(operator::providers::list(visit)))),
    post("/operator/providers/{provider}", Operator(|visit| Box::pin(operator::providers::act(visit)))),
    get("/operator/revenue", Operator(|visit| Box::pin(operator::system::revenue(visit)))),
    get("/operator/operators", Operator(|visit| Box::pin(operator::operators::list(visit)))),
    post("/operator/operators", Operator(|visit| Box::pin(operator::operators::remove(visit)))),
    get("/operator/audit", Operator(|visit| Box::pin(operator::audit_log::show(visit)))),
    get("/operator/system", Operator(|visit| Box::pin(operator::system::show(visit)))),
    post("/operator/system", Operator(|visit| Box::pin(operator::system::audit_now(visit)))),
];

/// Registers the table.
#[allow(clippy::disallowed_methods)] // the one place: it iterates the table
pub fn register(config: &mut ServiceConfig) {
    for (index, page) in PAGES.iter().enumerate() {
        if PAGES.iter().take(index).any(|earlier| earlier.path == page.path) {
            continue;
        }
        let mut resource = web::resource(page.path);
        for row in PAGES.iter().filter(|other| other.path == page.path) {
            let answer =
                move |request: HttpRequest, payload: web::Payload| dispatch(row, Call::new(request, payload));
            resource = resource.route(web::method(row.method.clone()).to(answer));
            // What is read can be asked about without being sent: the server leaves the body out.
            if row.method == Method::GET {
                resource = resource.route(web::method(Method::HEAD).to(answer));
            }
        }
        config.service(resource);
    }
}

/// Checks the visitor as the row demands, then calls its handler. Whatever goes wrong is a page that says so.
async fn dispatch(page: &'static Page, call: Call) -> HttpResponse {
    match AssertUnwindSafe(authorize(page, call)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(page.path = page.path, "a page panicked");
            HttpResponse::InternalServerError().finish()
        }
    }
}

async fn authorize(page: &'static Page, mut call: Call) -> HttpResponse {
    if let File(serve) = page.endpoint {
        return serve(&call).unwrap_or_else(|error| error.error_response());
    }
    let (Ok(gateway), Ok(origin)) = (state::<Gateway>(&call), state::<Origin>(&call)) else {
        return HttpResponse::InternalServerError().finish();
    };
    let origin = origin.get_ref().clone();
    let (pre_login, cookie) = origin.pre_login(&call, &gateway.ambient);
    let mut frame = Surroundings { call: &call, gateway: &gateway, origin: &origin }.visitor(&pre_login);
    let who = match sign_in(page, &call, &origin).await {
        Ok(who) => who,
        Err(PageError::SignIn) => return see_other(&login_path(page, &call)),
        Err(error) => return error_page(&mut frame, &error),
    };
    let bound_to = match &who {
        Some(who) if !matches!(page.endpoint, Anyone(_)) => who.session_id().to_string(),
        _ => pre_login,
    };
    if let Some(who) = who.as_ref().filter(|_| !matches!(page.endpoint, Anyone(_))) {
        frame = match profile_frame(&call, &gateway, &origin, who).await {
            Ok(frame) => frame,
            Err(error) => return error_page(&mut frame, &error),
        };
    }
    let read = read_form(page, &mut call, &gateway, &origin, &bound_to).await;
    let mut again = frame.clone();
    let outcome = match read {
        Ok(form) => run(page, call, form, who, frame, origin).await,
        Err(error) => Err(error),
    };
    let response = outcome.unwrap_or_else(|error| error_page(&mut again, &error));
    with_cookie(response, cookie)
}

/// The log-in form, which leads back to the page that was asked for.
fn login_path(page: &Page, call: &Call) -> String {
    let asked = call.request.uri().path_and_query().map(|path| path.as_str());
    match asked.filter(|_| page.method == Method::GET && page.path != "/home") {
        Some(asked) => {
            let next = percent_encoding::utf8_percent_encode(asked, percent_encoding::NON_ALPHANUMERIC);
            format!("/login?next={next}")
        }
        None => "/login".to_owned(),
    }
}

/// Who is signed in, if the row needs to know.
async fn sign_in(page: &Page, call: &Call, origin: &Origin) -> Result<Option<Person>, PageError> {
    if matches!(page.endpoint, File(_)) {
        return Ok(None);
    }
    // The organization stands in the path, so that a person of several may have a tab for each.
    let requested = match page.endpoint {
        Member(..) => call.path("org").parse::<OrgId>().ok(),
        _ => None,
    };
    let found = match origin.session_token(call) {
        Some(token) => state::<Accounts>(call)?.find_person(&token, requested).await?,
        None => SessionLookup::Unknown,
    };
    let who = match found {
        SessionLookup::Found(who) => who,
        SessionLookup::NotMember => return Err(PageError::NotFound),
        SessionLookup::Unknown if matches!(page.endpoint, Anyone(_)) => return Ok(None),
        SessionLookup::Unknown => return Err(PageError::SignIn),
    };
    match (&page.endpoint, who) {
        (Member(capability, _), Person::Member(session)) => {
            if call.path("org") != session.scope.org_id().to_string() {
                return Err(PageError::NotFound);
            }
            if session.is_suspended && page.method == Method::POST {
                return Err(PageError::Denied(
                    "The operator has suspended this organization: it can be read but not changed. Ask the operator."
                        .to_owned(),
                ));
            }
            if capability.is_some_and(|capability| !session.role.can(capability)) {
                return Err(PageError::Denied("Your role does not allow this.".to_owned()));
            }
        }
        (Operator(_), Person::Operator(operator))
            if state::<Accounts>(call)?.rules().operators_need_second_factor
                && !operator.has_second_factor =>
        {
            return Err(PageError::Denied(
                "Operators of this installation need two-factor sign-in. Switch it on under Your account."
                    .to_owned(),
            ));
        }
        (Member(..), Person::Operator(_)) | (Operator(_), Person::Member(_)) => {
            return Err(PageError::NotFound);
        }
        _ => {}
    }
    Ok(Some(who))
}

async fn profile_frame(
    call: &Call,
    gateway: &Gateway,
    origin: &Origin,
    who: &Person,
) -> Result<Frame, PageError> {
    let profile = state::<Accounts>(call)?.profile(*who).await?;
    Ok(Surroundings { call, gateway, origin }.person(who, &profile))
}

/// The fields of the call. A POST is refused unless it comes from a page of ours, with the token of that page.
async fn read_form(
    page: &Page,
    call: &mut Call,
    gateway: &Gateway,
    origin: &Origin,
    bound_to: &str,
) -> Result<Form, PageError> {
    if page.method != Method::POST {
        return Form::parse(call.request.query_string()).ok_or(PageError::NotFound);
    }
    if !origin.is_same_origin(call) {
        return Err(stale_form());
    }
    let form = Form::read(call).await?;
    if !session::is_form_token(&gateway.installation, bound_to, form.get("form_token")) {
        return Err(stale_form());
    }
    Ok(form)
}

async fn run(
    page: &Page,
    call: Call,
    form: Form,
    who: Option<Person>,
    frame: Frame,
    origin: Origin,
) -> Result<HttpResponse, PageError> {
    match (page.endpoint, who) {
        (Anyone(handler), _) => handler(Visit { call, form, who: (), frame, origin }).await,
        (SignedIn(handler), Some(who)) => handler(Visit { call, form, who, frame, origin }).await,
        (Member(_, handler), Some(Person::Member(session))) => {
            handler(Visit { call, form, who: session, frame, origin }).await
        }
        (Operator(handler), Some(Person::Operator(operator))) => {
            handler(Visit { call, form, who: operator, frame, origin }).await
        }
        _ => Ok(see_other("/login")),
    }
}

fn with_cookie(mut response: HttpResponse, cookie: Option<Cookie<'static>>) -> HttpResponse {
    if let Some(cookie) = cookie {
        // A cookie of ours is always a valid header.
        let _ = response.add_cookie(&cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_method_and_path_stand_twice_in_the_table_and_none_is_an_api_path() {
        for (index, page) in PAGES.iter().enumerate() {
            let twice = PAGES
                .iter()
                .skip(index + 1)
                .any(|other| other.path == page.path && other.method == page.method);
            assert!(!twice, "{} {}", page.method, page.path);
            assert!(!page.path.starts_with("/v1") && !page.path.starts_with("/api"), "{}", page.path);
        }
    }
}
