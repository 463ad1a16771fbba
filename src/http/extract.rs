//! What a request brings: its body within a limit, its parameters, and who sent it. Authentication results
//! are types ([`Principal`], [`Person`]) that only this module, on behalf of the route table, obtains.

use super::{
    body::{self, Announced, Sender, Unreceived},
    error::{ApiError, Code},
};
use crate::{
    accounts::{Accounts, AuthError, Authenticator, token},
    domain::{
        ids::OrgId,
        shares::{Charge, Owner},
    },
    gateway::Gateway,
    store::{
        api_keys::Principal,
        sessions::{Person, SessionLookup},
    },
};
use actix_web::{
    HttpRequest,
    http::header::{self, AsHeaderName, HeaderMap, HeaderName},
    web::{self, Bytes, Payload},
};
use serde::de::DeserializeOwned;
use std::{net::IpAddr, sync::Arc};

/// The largest body of an account call. Key lists are the largest thing in one.
pub const ACCOUNT_BODY_BYTES_MAX: usize = 256 * 1024;
/// The same of a caller that has not said who it is.
pub const STRANGER_BODY_BYTES_MAX: usize = 32 * 1024;
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Where a token lies besides `Authorization`, for a client that wants a cookie.
pub const TOKEN_COOKIE: &str = "access_token";
/// Names the organization that a session acts in.
const ORGANIZATION: &str = "x-kairosroute-organization";

/// One request and its unread body.
pub struct Call {
    pub request: HttpRequest,
    payload: Payload,
    /// Whom the body counts for; `None` before that is known.
    organization: Option<Owner>,
    memory: Option<Charge>,
    /// What of the body was looked at already, and that what came is no body.
    early: Vec<Bytes>,
    is_broken: bool,
    /// The body, where it was read before the handler asks for it.
    ahead: Option<Result<Bytes, ApiError>>,
}

impl Call {
    pub fn new(request: HttpRequest, payload: Payload) -> Self {
        Self {
            request,
            payload,
            organization: None,
            memory: None,
            early: Vec::new(),
            is_broken: false,
            ahead: None,
        }
    }

    /// The caller has shown to be of this organization.
    pub(super) fn belongs_to(&mut self, organization: Owner) {
        self.organization = Some(organization);
    }

    /// Charges the body, and what is made of it, as so many bytes; small ones are not charged.
    pub fn charge(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.memory.as_mut().map_or(Ok(()), |memory| memory.cover(bytes).map_err(body::no_memory))
    }

    /// Looks at the beginning of a body in chunks, which may be none.
    pub(super) async fn look_at_chunks(&mut self) -> Result<(), ApiError> {
        if self.request.headers().contains_key(header::TRANSFER_ENCODING) {
            self.early = body::peek(&mut self.payload).await?;
        }
        Ok(())
    }

    /// What came was no body; the connection closes, and what is not answered at once is lost.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// What the body is charged, for who keeps the body.
    pub fn take_memory(&mut self) -> Option<Charge> {
        self.memory.take()
    }

    /// A value the composition root registered as `app_data`.
    pub fn state<T: 'static>(&self) -> Result<web::Data<T>, ApiError> {
        self.request
            .app_data::<web::Data<T>>()
            .cloned()
            .ok_or_else(|| ApiError::internal(format!("{} is not registered", std::any::type_name::<T>())))
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.request.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// A variable of the route's path; empty when the pattern has none of that name.
    pub fn path(&self, name: &str) -> &str {
        self.request.match_info().get(name).unwrap_or_default()
    }

    /// The query string, decoded into `T`.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let query = web::Query::<T>::from_query(self.request.query_string());
        query.map(web::Query::into_inner).map_err(|error| invalid_query(&error.to_string()))
    }

    /// The body, for a look before the handler asks for it, and with the handler's limit. `None`: it cannot be read, as
    /// the handler will find.
    pub async fn read_ahead(&mut self, bytes_max: usize) -> Option<Bytes> {
        let read = self.bytes(bytes_max).await;
        let bytes = read.as_ref().ok().cloned();
        self.ahead = Some(read);
        bytes
    }

    /// The body, refused past `bytes_max`.
    pub async fn bytes(&mut self, bytes_max: usize) -> Result<Bytes, ApiError> {
        if let Some(read) = self.ahead.take() {
            return read;
        }
        let gateway = self.state::<Gateway>()?;
        let sender = match self.organization {
            Some(organization) => Sender::Organization(organization),
            None => Sender::Stranger(self.peer()),
        };
        let Self { request, payload, .. } = self;
        let text =
            |name| request.headers().get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
        let announced = Announced {
            length: text(header::CONTENT_LENGTH).and_then(|text| text.parse().ok()),
            coding: text(header::CONTENT_ENCODING),
        };
        let early = std::mem::take(&mut self.early);
        match body::receive((early, payload), &gateway, sender, announced, bytes_max).await {
            Ok(received) => {
                self.memory = received.memory;
                Ok(received.bytes)
            }
            Err(Unreceived::Refused(error)) => Err(error),
            Err(Unreceived::Broken(error)) => {
                self.is_broken = true;
                Err(error)
            }
        }
    }

    /// The address that a stranger's bodies are counted under.
    fn peer(&self) -> Owner {
        let trusted = self.state::<Accounts>().map(|accounts| accounts.rules().trusted_proxies.clone());
        self.client_ip(&trusted.unwrap_or_default()).map_or(0, address_owner)
    }

    /// The body of an account call as `T`.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        let bytes_max = match self.organization {
            Some(_) => ACCOUNT_BODY_BYTES_MAX,
            None => STRANGER_BODY_BYTES_MAX,
        };
        let body = self.bytes(bytes_max).await?;
        // Serde would also take a struct's fields as an array.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(ApiError::new(Code::InvalidRequest, "The request body must be a JSON object"));
        }
        serde_json::from_slice(&body).map_err(|error| invalid_json(&error))
    }

    /// As [`Call::json`]; no body at all means what the type says by default.
    pub async fn json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<T, ApiError> {
        let body = self.bytes(ACCOUNT_BODY_BYTES_MAX).await?;
        if body.trim_ascii().is_empty() {
            return Ok(T::default());
        }
        self.ahead = Some(Ok(body));
        self.json().await
    }

    /// The presented session token or API key, wherever it stands.
    fn credential(&self) -> Option<&str> {
        presented_key(self.request.headers())
    }

    /// The token of indoxhub's client: where credentials stand, or in its cookie when nothing stands there.
    pub(super) fn client_token(&self) -> Option<&str> {
        let presented = self.credential().or_else(|| cookie(self.request.headers(), TOKEN_COOKIE));
        presented.filter(|presented| token::is_token(presented))
    }

    /// The address the request came from; `X-Forwarded-For` counts only behind a trusted proxy.
    pub fn client_ip(&self, trusted: &[ipnet::IpNet]) -> Option<IpAddr> {
        let peer = self.request.peer_addr()?.ip().to_canonical();
        let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
        if !is_trusted(&peer) {
            return Some(peer);
        }
        let forwarded = self.request.headers().get_all("x-forwarded-for");
        let hops: Vec<&str> =
            forwarded.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).collect();
        let mut client = peer;
        // From the right: each hop was added by the proxy we have just decided to trust.
        for hop in hops.iter().rev() {
            let Ok(ip) = hop.trim().parse::<IpAddr>() else { break };
            client = ip.to_canonical();
            if !is_trusted(&client) {
                break;
            }
        }
        Some(client)
    }
}

/// The credential in `Authorization: Bearer` or `X-API-Key`; a blank one is absent.
pub fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let header = headers.get(API_KEY).and_then(|value| value.to_str().ok()).map(str::trim);
    [bearer, header].into_iter().flatten().find(|token| !token.is_empty())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let texts = headers.get_all(header::COOKIE).filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'))
}

/// The principal of a request with a token of indoxhub's client.
pub(super) async fn client(call: &Call, token: &str) -> Result<Arc<Principal>, ApiError> {
    Ok(call.state::<Authenticator>()?.authenticate_token(token).await?)
}

/// Whether what is presented looks like a session token.
pub(super) fn is_session(call: &Call) -> bool {
    call.credential().is_some_and(|token| token.starts_with("krs_"))
}

/// The principal of a request with a platform API key.
pub(super) async fn principal(call: &Call) -> Result<Arc<Principal>, ApiError> {
    let authenticator = call.state::<Authenticator>()?;
    let presented = call.credential().ok_or(AuthError::Missing)?;
    Ok(authenticator.authenticate(presented).await?)
}

/// The person of a request with a session token. An API key never manages accounts: 403, known or not.
pub(super) async fn person(call: &Call) -> Result<Person, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let token = call
        .credential()
        .ok_or_else(|| ApiError::new(Code::InvalidSession, "Log in and send the session token as Bearer"))?;
    if token.starts_with("kr-") || token::is_token(token) {
        let message = "An API key cannot manage accounts; log in and use the session token";
        return Err(ApiError::new(Code::PermissionDenied, message));
    }
    match accounts.find_person(token, requested_organization(call)?).await? {
        SessionLookup::Found(person) => Ok(person),
        SessionLookup::NotMember => Err(ApiError::not_found("organization")),
        SessionLookup::Unknown => {
            let message = "The session is unknown, ended or expired; log in again";
            Err(ApiError::new(Code::InvalidSession, message))
        }
    }
}

/// The organization that a session is to act in, where the call names one of the person's others.
fn requested_organization(call: &Call) -> Result<Option<OrgId>, ApiError> {
    match call.request.headers().get(ORGANIZATION) {
        None => Ok(None),
        Some(value) => {
            let id = value.to_str().ok().and_then(|text| text.trim().parse().ok());
            id.map(Some).ok_or_else(|| ApiError::not_found("organization"))
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Store(cause) => Self::from(&*cause),
            // Not 401: another log-in would not help.
            other @ (AuthError::ClientToken | AuthError::Suspended) => {
                Self::new(Code::PermissionDenied, other.to_string())
            }
            other => Self::new(Code::InvalidApiKey, other.to_string()),
        }
    }
}

/// Says what is wrong with a body without repeating any value of it, for a value may be a secret.
pub fn invalid_json(error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    let message = if error.is_data() {
        match text.split_once('`') {
            Some((head, rest)) if head == "unknown field " || head.starts_with("missing field ") => {
                let field: String = rest.split('`').next().unwrap_or_default().chars().take(100).collect();
                let problem = head.trim();
                return ApiError::invalid(field.clone(), format!("{problem} `{field}`"));
            }
            Some((head, _)) if head.starts_with("duplicate field ") => "a field occurs twice".to_owned(),
            _ => match text.rsplit_once(", expected ") {
                Some((_, expected)) => format!("wrong value: expected {expected}"),
                None => "a value is not valid".to_owned(),
            },
        }
    } else {
        format!("not valid JSON at line {} column {}", error.line(), error.column())
    };
    ApiError::new(Code::InvalidRequest, format!("Request body: {message}"))
}

/// The number that an address is counted under; those of one IPv6 network are one.
pub fn address_owner(ip: IpAddr) -> Owner {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Owner::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
    }
}

/// Names the parameter at fault and those there are, and repeats no value.
fn invalid_query(error: &str) -> ApiError {
    let Some((_, rest)) = error.split_once("unknown field `") else {
        let missing = error.split_once("missing field `").and_then(|(_, rest)| rest.split('`').next());
        return match missing {
            Some(name) => ApiError::invalid(name, format!("The query parameter `{name}` is missing")),
            None => {
                ApiError::new(Code::InvalidRequest, "A query parameter has a value that is not valid here")
            }
        };
    };
    let name: String = rest.split('`').next().unwrap_or_default().chars().take(100).collect();
    let known = rest.split_once(", ").map_or("", |(_, known)| known);
    let known = known.strip_prefix("expected ").or_else(|| known.strip_prefix("there are ")).unwrap_or(known);
    ApiError::invalid(
        name.clone(),
        format!("This endpoint takes no query parameter `{name}`; it takes {known}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Sample {
        count: u32,
        mode: Mode,
    }

    #[derive(serde::Deserialize, Debug)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Fast,
    }

    #[test]
    fn a_message_about_a_bad_body_never_repeats_a_value() {
        for body in [
            r#"{"count":"sk-canary","mode":"fast"}"#,
            r#"{"count":1,"mode":"sk-canary"}"#,
            r#"{"count":1,"mode":"fast"}sk-canary"#,
            r#""sk-canary, expected""#,
        ] {
            let error = serde_json::from_str::<Sample>(body).unwrap_err();
            let told = invalid_json(&error).body().to_string();
            assert!(!told.contains("canary"), "{told}");
        }
        let error =
            serde_json::from_str::<Sample>(r#"{"count":1,"mode":"fast","isAdmin":true}"#).unwrap_err();
        assert_eq!(invalid_json(&error).body()["error"]["param"], "isAdmin");
    }

    fn call(request: TestRequest) -> Call {
        let (request, mut payload) = request.to_http_parts();
        let payload = futures_util::FutureExt::now_or_never(
            <Payload as actix_web::FromRequest>::from_request(&request, &mut payload),
        );
        Call::new(request, payload.unwrap().unwrap())
    }

    #[test]
    fn forwarded_addresses_count_only_behind_a_trusted_proxy() {
        let trusted: Vec<ipnet::IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let from = |peer: &str, forwarded: &str| {
            let request = TestRequest::default()
                .peer_addr(format!("{peer}:1").parse().unwrap())
                .insert_header(("x-forwarded-for", forwarded));
            call(request).client_ip(&trusted).unwrap().to_string()
        };
        assert_eq!(from("203.0.113.9", "1.2.3.4"), "203.0.113.9");
        assert_eq!(from("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2"), "1.2.3.4");
        assert_eq!(from("10.0.0.1", "nonsense"), "10.0.0.1");
    }

    #[test]
    fn a_credential_is_taken_from_either_header_and_blank_is_absent() {
        let found = |name: &'static str, value: &'static str| {
            presented_key(call(TestRequest::default().insert_header((name, value))).request.headers())
                .map(str::to_owned)
        };
        assert_eq!(found("authorization", "bearer  kr-x"), Some("kr-x".into()));
        assert_eq!(found("x-api-key", "kr-x"), Some("kr-x".into()));
        assert_eq!(found("authorization", "Bearer  "), None);
        assert_eq!(found("authorization", "Basic abc"), None);
    }
}
