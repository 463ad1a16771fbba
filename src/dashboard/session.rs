//! Cookies and form tokens. The session cookie holds the same token as the JSON API's `sessionToken`, opens pages
//! only, and is never read by `/v1` or `/api`. A form is accepted from our own pages alone: the browser must say
//! that the request is same-origin, and the form must carry a token that is bound to the session.

use crate::{
    accounts::installation::Installation,
    domain::{ambient::Ambient, secret::Secret},
    http::extract::Call,
};
use actix_web::{
    cookie::{Cookie, SameSite, time::Duration},
    http::header,
};
use reqwest::Url;
use subtle::ConstantTimeEq;

const SESSION_DAYS: i64 = 30;
const OPERATOR_HOURS: i64 = 12;
const OIDC_MINUTES: i64 = 10;
const PRE_LOGIN_MINUTES: i64 = 60;
const MASK_BYTES: usize = 32;

/// Where the dashboard is reached, which decides the cookies' names and the origin that forms must come from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// As configured; without it the address that the browser names.
    public_url: Option<Url>,
}

impl Origin {
    pub fn new(public_url: Option<Url>) -> Self {
        Self { public_url }
    }

    pub fn is_secure(&self) -> bool {
        self.public_url.as_ref().is_some_and(|url| url.scheme() == "https")
    }

    /// The public address without a slash at its end.
    pub fn base(&self, call: &Call) -> String {
        match &self.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", call.header("host").unwrap_or("127.0.0.1:8080")),
        }
    }

    fn session_cookie(&self) -> &'static str {
        if self.is_secure() { "__Host-kr" } else { "kr" }
    }

    fn pre_login_cookie(&self) -> &'static str {
        if self.is_secure() { "__Host-kr-form" } else { "kr-form" }
    }

    fn cookie(&self, name: &'static str, value: String, life: Duration) -> Cookie<'static> {
        Cookie::build(name, value)
            .path("/")
            .http_only(true)
            .secure(self.is_secure())
            .same_site(SameSite::Lax)
            .max_age(life)
            .finish()
    }

    /// The cookie that a log-in sets.
    pub fn begin(&self, token: &Secret, is_operator: bool) -> Cookie<'static> {
        let life = if is_operator { Duration::hours(OPERATOR_HOURS) } else { Duration::days(SESSION_DAYS) };
        self.cookie(self.session_cookie(), token.expose().to_owned(), life)
    }

    /// The cookie that ends the session in the browser.
    pub fn end(&self) -> Cookie<'static> {
        self.cookie(self.session_cookie(), String::new(), Duration::ZERO)
    }

    fn oidc_cookie_name(&self) -> &'static str {
        if self.is_secure() { "__Host-kr-oidc" } else { "kr-oidc" }
    }

    /// What the browser keeps while its person is at another service.
    pub fn oidc(&self, value: &Secret) -> Cookie<'static> {
        self.cookie(self.oidc_cookie_name(), value.expose().to_owned(), Duration::minutes(OIDC_MINUTES))
    }

    /// Takes that away.
    pub fn end_oidc(&self) -> Cookie<'static> {
        self.cookie(self.oidc_cookie_name(), String::new(), Duration::ZERO)
    }

    /// What the browser kept.
    pub fn oidc_cookie(&self, call: &Call) -> Option<String> {
        call.request.cookie(self.oidc_cookie_name()).map(|cookie| cookie.value().to_owned())
    }

    /// The session token that the browser sent.
    pub fn session_token(&self, call: &Call) -> Option<String> {
        call.request.cookie(self.session_cookie()).map(|cookie| cookie.value().to_owned())
    }

    /// What log-in forms are bound to before there is a session: the browser's cookie, or a new one to set.
    pub fn pre_login(&self, call: &Call, ambient: &Ambient) -> (String, Option<Cookie<'static>>) {
        let sent = call.request.cookie(self.pre_login_cookie()).map(|cookie| cookie.value().to_owned());
        match sent.filter(|value| value.len() == 32) {
            Some(value) => (value, None),
            None => {
                let value = ambient.uuid().simple().to_string();
                let life = Duration::minutes(PRE_LOGIN_MINUTES);
                let cookie = self.cookie(self.pre_login_cookie(), value.clone(), life);
                (value, Some(cookie))
            }
        }
    }

    /// Whether the browser says that a form comes from one of our pages.
    pub fn is_same_origin(&self, call: &Call) -> bool {
        match call.header("sec-fetch-site") {
            Some(site) => site == "same-origin",
            // Browsers leave it out on plain http.
            None => call.header(header::ORIGIN.as_str()).is_some_and(|origin| origin == self.origin(call)),
        }
    }

    fn origin(&self, call: &Call) -> String {
        match &self.public_url {
            Some(url) => url.origin().ascii_serialization(),
            None => self.base(call),
        }
    }
}

/// The token of a form: an HMAC of what the form is bound to, masked anew for every page, so that compressing a
/// page tells nothing about it.
pub fn form_token(installation: &Installation, ambient: &Ambient, bound_to: &str) -> String {
    let mask: Vec<u8> = [ambient.uuid(), ambient.uuid()].iter().flat_map(|id| id.into_bytes()).collect();
    let tag = tag(installation, bound_to);
    let masked = tag.iter().zip(&mask).map(|(tag, mask)| tag ^ mask);
    hex(mask.iter().copied().chain(masked))
}

/// Whether a submitted token is one of [`form_token`] for the same binding.
pub fn is_form_token(installation: &Installation, bound_to: &str, submitted: &str) -> bool {
    let Some(bytes) = unhex(submitted).filter(|bytes| bytes.len() == 2 * MASK_BYTES) else { return false };
    let (mask, masked) = bytes.split_at(MASK_BYTES);
    let found: Vec<u8> = mask.iter().zip(masked).map(|(mask, masked)| mask ^ masked).collect();
    tag(installation, bound_to).ct_eq(&found[..]).into()
}

fn tag(installation: &Installation, bound_to: &str) -> [u8; 32] {
    installation.cookies.of(format!("form\0{bound_to}").as_bytes())
}

fn hex(bytes: impl Iterator<Item = u8>) -> String {
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) || text.len() > 4 * MASK_BYTES {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
