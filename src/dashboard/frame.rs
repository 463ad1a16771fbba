//! What surrounds every page: who is signed in, the menu, the headers that every answer carries, and how errors are
//! shown. A page is a template with a [`Frame`] in its field `frame`.

use super::{
    assets,
    menu::{self, MenuItem},
    session::{self, Origin},
};
use crate::{
    accounts::{AccountError, profile::Profile},
    domain::ids::OrgId,
    gateway::Gateway,
    http::{
        error::{ApiError, Code},
        extract::Call,
    },
    store::{StoreError, sessions::Person},
};
use actix_web::{
    HttpResponse, HttpResponseBuilder,
    cookie::Cookie,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    web::Data,
};
use askama::Template;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types kr";

/// What surrounds a page.
#[derive(Clone)]
pub struct Frame {
    pub title: String,
    /// Empty for a visitor.
    pub menu: Vec<MenuItem>,
    /// `/o/org_…`, the beginning of every path of the organization; `/operator` for the operator.
    pub home: String,
    pub organization: String,
    pub email: String,
    pub role: &'static str,
    /// The token of every form on the page.
    pub form_token: String,
    /// What went wrong with the form that was submitted.
    pub error: Option<FormError>,
    /// What was just done.
    pub done: &'static str,
    pub is_insecure: bool,
}

/// What is wrong with a submitted form.
#[derive(Clone)]
pub struct FormError {
    /// The field at fault, if it is one.
    pub field: String,
    pub message: String,
}

impl Frame {
    pub fn style(&self) -> &str {
        assets::STYLE.path()
    }

    pub fn script(&self) -> &str {
        assets::SCRIPT.path()
    }

    pub fn icon(&self) -> &str {
        assets::ICON.path()
    }

    pub fn is_signed_in(&self) -> bool {
        !self.email.is_empty()
    }

    /// The attributes a field takes when it is the one at fault.
    pub fn is_at_fault(&self, field: &str) -> bool {
        self.error.as_ref().is_some_and(|error| error.field == field)
    }

    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }
}

/// Everything of the page's call that a frame is made of.
pub struct Surroundings<'a> {
    pub call: &'a Call,
    pub gateway: &'a Gateway,
    pub origin: &'a Origin,
}

impl Surroundings<'_> {
    /// The frame of a page for people who are not signed in.
    pub fn visitor(&self, bound_to: &str) -> Frame {
        Frame {
            title: String::new(),
            menu: Vec::new(),
            home: "/".to_owned(),
            organization: String::new(),
            email: String::new(),
            role: "",
            form_token: session::form_token(&self.gateway.installation, &self.gateway.ambient, bound_to),
            error: None,
            done: "",
            is_insecure: !self.origin.is_secure() && !self.is_loopback(),
        }
    }

    /// The frame of a signed-in person's page.
    pub fn person(&self, who: &Person, profile: &Profile) -> Frame {
        let bound_to = who.session_id().to_string();
        let (home, organization, role, menu) = match (who, &profile.organization) {
            (Person::Member(session), Some(name)) => {
                let home = home(session.scope.org_id());
                let menu = menu::of_member(&home, session.role, self.call.request.path());
                (home, name.clone(), session.role.as_str(), menu)
            }
            _ => {
                let menu = menu::of_operator(self.call.request.path());
                ("/operator".to_owned(), "Operator".to_owned(), "operator", menu)
            }
        };
        Frame {
            home,
            organization,
            role,
            menu,
            email: profile.email.clone(),
            form_token: session::form_token(&self.gateway.installation, &self.gateway.ambient, &bound_to),
            ..self.visitor(&bound_to)
        }
    }

    fn is_loopback(&self) -> bool {
        self.call.request.peer_addr().is_none_or(|peer| peer.ip().to_canonical().is_loopback())
    }
}

/// The beginning of an organization's paths.
pub fn home(org: OrgId) -> String {
    format!("/o/{org}")
}

/// Why a page is not shown.
pub enum PageError {
    NotFound,
    Denied(String),
    /// The form cannot be executed; the page is shown again if possible.
    Form(FormError),
    /// To the log-in form.
    SignIn,
    Failed(ApiError),
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        match error.status() {
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::FORBIDDEN => Self::Denied(error.message().to_owned()),
            StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => {
                let field = error.field().unwrap_or_default().to_owned();
                Self::Form(FormError { field, message: error.message().to_owned() })
            }
            _ => Self::Failed(error),
        }
    }
}

impl From<AccountError> for PageError {
    fn from(error: AccountError) -> Self {
        Self::from(ApiError::from(error))
    }
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        Self::from(ApiError::from(error))
    }
}

impl PageError {
    pub fn form(field: &str, message: impl Into<String>) -> Self {
        Self::Form(FormError { field: field.to_owned(), message: message.into() })
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: &'a Frame,
    heading: &'a str,
    message: &'a str,
}

/// A page with the reason why there is no other.
pub fn error_page(frame: &mut Frame, error: &PageError) -> HttpResponse {
    let (status, heading, message) = match error {
        PageError::NotFound => {
            (StatusCode::NOT_FOUND, "Not found", "There is no such page, or it belongs to somebody else.")
        }
        PageError::Denied(message) => (StatusCode::FORBIDDEN, "Not allowed", message.as_str()),
        PageError::Form(error) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "That did not work", error.message.as_str())
        }
        PageError::SignIn => return see_other("/login"),
        PageError::Failed(error) => {
            error.log();
            let message = match error.status() {
                StatusCode::SERVICE_UNAVAILABLE => {
                    "The database cannot be reached. Reload the page in a moment."
                }
                _ => "An internal error occurred. It has been logged; try again.",
            };
            (error.status(), "Something went wrong", message)
        }
    };
    frame.title = heading.to_owned();
    let page = ErrorPage { frame, heading, message };
    page_of(&page, status)
}

/// A rendered page.
pub fn page(template: &impl Template) -> Result<HttpResponse, PageError> {
    Ok(page_of(template, StatusCode::OK))
}

/// A rendered page with another status: 422 for a form that was refused, 201 for one that made something.
pub fn page_of(template: &impl Template, status: StatusCode) -> HttpResponse {
    let mut response = with_headers(HttpResponse::build(status));
    match template.render() {
        Ok(html) => response.content_type("text/html; charset=utf-8").body(html),
        Err(error) => {
            tracing::error!(error.cause = %error, "a page could not be rendered");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// To another page, after a form.
pub fn see_other(path: &str) -> HttpResponse {
    with_headers(HttpResponse::build(StatusCode::SEE_OTHER)).insert_header((header::LOCATION, path)).finish()
}

/// The same with a cookie.
pub fn see_other_with(path: &str, cookie: Cookie<'static>) -> HttpResponse {
    with_headers(HttpResponse::build(StatusCode::SEE_OTHER))
        .insert_header((header::LOCATION, path))
        .cookie(cookie)
        .finish()
}

/// What every page carries.
pub fn with_headers(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    for (name, value) in headers() {
        response.insert_header((name, value));
    }
    response
}

/// The same for an answer that something else has made.
pub fn guarded(mut response: HttpResponse) -> HttpResponse {
    for (name, value) in headers() {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn headers() -> [(HeaderName, &'static str); 7] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ]
}

/// A value that the composition root registered.
pub fn state<T: 'static>(call: &Call) -> Result<Data<T>, PageError> {
    call.state::<T>().map_err(PageError::from)
}

/// For forms whose session has changed since the page was loaded.
pub fn stale_form() -> PageError {
    PageError::from(ApiError::new(
        Code::PermissionDenied,
        "This form is out of date or was not sent from this site. Go back, reload the page and send it again.",
    ))
}
