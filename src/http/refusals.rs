//! Counts refused requests and answers 429 to a bearer with too many of them, before its request is read.

use super::{
    error::{ApiError, Code},
    extract::{self, Call},
};
use crate::{
    accounts::{
        Accounts,
        refusals::Bearer,
        throttle::{Network, TooMany},
    },
    domain::ambient::Ambient,
    store::{api_keys::Principal, sessions::Person},
};
use actix_web::{HttpResponse, web};
use std::sync::Arc;

/// What counts the refusals of one request.
pub(super) struct Counter {
    accounts: web::Data<Accounts>,
    ambient: web::Data<Ambient>,
    bearers: [Bearer; 2],
}

impl Counter {
    /// For a request of a valid API key; 429 when its key, or its organization, was refused too much.
    pub(super) fn of(call: &Call, principal: &Principal) -> Result<Self, ApiError> {
        let bearers = [Bearer::ApiKey(principal.api_key_id), Bearer::Organization(principal.scope.org_id())];
        let counter = Self { accounts: call.state()?, ambient: call.state()?, bearers };
        let now = counter.ambient.now();
        for bearer in counter.bearers {
            counter.accounts.refusals.check(bearer, now).map_err(|too_many| {
                let message = "Too many requests of this API key or its organization were refused lately; correct them \
                               and try again later";
                too_many_requests(too_many, message)
            })?;
        }
        Ok(counter)
    }

    /// Counts the outcome if it is a refusal.
    pub(super) fn seen(self, outcome: Result<HttpResponse, ApiError>) -> Result<HttpResponse, ApiError> {
        if outcome.as_ref().is_err_and(ApiError::is_refusal) {
            let now = self.ambient.now();
            for bearer in self.bearers {
                self.accounts.refusals.count(bearer, now);
            }
        }
        outcome
    }
}

/// The principal of a request with an API key. Requests without a valid one are counted by where they come from, and
/// hold up nobody with a valid one.
pub(super) async fn principal(call: &Call) -> Result<Arc<Principal>, ApiError> {
    from_allowed_address(call, counted(call, extract::principal(call).await)?)
}

/// The principal of a request with a token of indoxhub's client; counted likewise.
pub(super) async fn client(call: &Call, token: &str) -> Result<Arc<Principal>, ApiError> {
    from_allowed_address(call, counted(call, extract::client(call, token).await)?)
}

/// Refuses a key that is used from outside its networks.
pub(super) fn from_allowed_address(
    call: &Call,
    principal: Arc<Principal>,
) -> Result<Arc<Principal>, ApiError> {
    let rules = &principal.policy.rules;
    if rules.allowed_ips.is_empty() {
        return Ok(principal);
    }
    let address = call.client_ip(&call.state::<Accounts>()?.rules().trusted_proxies);
    if rules.allows(address) {
        return Ok(principal);
    }
    let address = address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
    let message = format!("This API key may not be used from {address}; change the key's `allowedIps`");
    Err(ApiError::new(Code::PermissionDenied, message))
}

/// The person of a request with a session token; counted likewise.
pub(super) async fn person(call: &Call) -> Result<Person, ApiError> {
    // Large, and inference has none: kept out of the future of every request.
    counted(call, Box::pin(extract::person(call)).await)
}

fn counted<T>(call: &Call, outcome: Result<T, ApiError>) -> Result<T, ApiError> {
    let Some(error) = outcome.as_ref().err().filter(|error| error.code().status().as_u16() == 401) else {
        return outcome;
    };
    let (accounts, ambient) = (call.state::<Accounts>()?, call.state::<Ambient>()?);
    let network = Network::of(call.client_ip(&accounts.rules().trusted_proxies));
    let (bearer, now) = (Bearer::Network(network), ambient.now());
    if let Err(too_many) = accounts.refusals.check(bearer, now) {
        let message =
            format!("{}. Too many such requests came from this address; try again later", error.message());
        return Err(too_many_requests(too_many, &message));
    }
    accounts.refusals.count(bearer, now);
    outcome
}

fn too_many_requests(too_many: TooMany, message: &str) -> ApiError {
    ApiError::new(Code::RateLimitExceeded, message).retry_after_s(too_many.retry_after_s)
}
