//! Checks the caller as a row of the table demands, and calls the row's handler. A panic in a handler is one 500.

use super::{
    Endpoint::{self, Client, Either},
    Handler, Reader, Reply, Route,
};
use crate::{
    accounts::Accounts,
    domain::ids::RequestId,
    gateway::{Gateway, owner},
    http::{
        access_log::{Caller, Line, note_caller},
        cors,
        error::{ApiError, Code, Envelope},
        extract::{self, Call},
        finish::{self, envelope_for, finish, identified},
        refusals,
    },
    store::{api_keys::Principal, caller, sessions},
};
use actix_web::{HttpResponse, ResponseError, http::Method};
use futures_util::FutureExt;
use std::{panic::AssertUnwindSafe, sync::Arc};

/// Checks the caller as the row demands, then calls its handler. A panic in a handler is one 500.
pub(super) async fn dispatch(route: &'static Route, call: Call) -> HttpResponse {
    let (line, origin) = (Line::begin(&call.request, route.path), cors::allowed(&call.request));
    let gateway = call.state::<Gateway>().ok();
    let takes_token = matches!(route.endpoint, Client(_) | Either(..));
    // The caller's own words, whatever becomes of it.
    let envelope = match takes_token && call.client_token().is_some() {
        true => Envelope::Indox,
        false => envelope_for(&call.request, route.envelope),
    };
    let outcome = match AssertUnwindSafe(authorize(route, call)).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(_) => Err(ApiError::internal("a handler panicked")),
    };
    let gateway = gateway.as_ref().map(|gateway| &***gateway);
    let mut response =
        outcome.unwrap_or_else(|error| identified(error.envelope(envelope), gateway).error_response());
    finish(&mut response, gateway);
    cors::allow(&mut response, origin);
    line.answered(response)
}

async fn authorize(route: &'static Route, mut call: Call) -> Result<HttpResponse, ApiError> {
    call.look_at_chunks().await?;
    match route.endpoint {
        Endpoint::Public(handler) => traced(origin_of(&call), handler(call)).await,
        Endpoint::ApiKey(handler) => {
            let principal = refusals::principal(&call).await?;
            counted(call, principal, handler).await
        }
        Endpoint::Client(handler) => {
            let Some(token) = call.client_token() else {
                // Says what is wrong with anything but an API key.
                refusals::principal(&call).await?;
                let hint = "ask POST /api/v1/auth/api-key for a token";
                return Err(denied(&format!("This endpoint is for indoxhub's client: {hint}")));
            };
            let principal = refusals::client(&call, token).await?;
            counted(call, principal, handler).await
        }
        Endpoint::Either(handler, for_token) => match call.client_token() {
            Some(token) => {
                let principal = refusals::client(&call, token).await?;
                counted(call, principal, for_token).await
            }
            None => {
                let principal = refusals::principal(&call).await?;
                counted(call, principal, handler).await
            }
        },
        Endpoint::Reader(handler) => {
            if !extract::is_session(&call) {
                let principal = refusals::principal(&call).await?;
                let counter = refusals::Counter::of(&call, &principal)?;
                return counter.seen(handler(call, Reader::Key(principal)).await);
            }
            match refusals::person(&call).await? {
                sessions::Person::Member(session) => handler(call, Reader::Session(session)).await,
                sessions::Person::Operator(_) => Err(denied(NO_ORGANIZATION)),
            }
        }
        Endpoint::Person(handler) => {
            let person = person(&call).await?;
            admit_person(route, &mut call, &person)?;
            let origin = origin_of(&call);
            traced(origin, handler(call, person)).await
        }
        Endpoint::Session(capability, handler) => match person(&call).await? {
            sessions::Person::Member(session) if session.role.can(capability) => {
                check_suspension(&call, &session)?;
                call.belongs_to(owner(session.scope));
                note_caller(&call.request, Caller { org: session.scope.org_id(), api_key: None });
                let origin = origin_of(&call);
                traced(origin, handler(call, session)).await
            }
            sessions::Person::Member(_) => {
                Err(denied("Your role does not allow this; ask an owner of the organization"))
            }
            sessions::Person::Operator(_) => Err(denied(NO_ORGANIZATION)),
        },
        Endpoint::Operator(handler) => match person(&call).await? {
            sessions::Person::Operator(operator) => {
                check_second_factor(&call, &operator)?;
                let origin = origin_of(&call);
                traced(origin, handler(call, operator)).await
            }
            sessions::Person::Member(_) => Err(denied("Only the operator may do this")),
        },
    }
}

/// Calls a handler and counts its refusal.
async fn counted(
    mut call: Call,
    principal: Arc<Principal>,
    handler: Handler,
) -> Result<HttpResponse, ApiError> {
    call.belongs_to(owner(principal.scope));
    let caller = Caller { org: principal.scope.org_id(), api_key: Some(principal.api_key_id) };
    note_caller(&call.request, caller);
    let counter = refusals::Counter::of(&call, &principal)?;
    counter.seen(handler(call, principal).await)
}

/// The logged-in person. What it may change is counted: every change leaves a line in the audit log.
async fn person(call: &Call) -> Result<sessions::Person, ApiError> {
    let person = refusals::person(call).await?;
    if !is_read(call) {
        call.state::<Accounts>()?.admit_change(person.user_id()).await?;
    }
    Ok(person)
}

/// Refuses a change in an organization that is suspended.
fn check_suspension(call: &Call, session: &sessions::Session) -> Result<(), ApiError> {
    if session.is_suspended && !is_read(call) { Err(denied(SUSPENDED)) } else { Ok(()) }
}

/// What a row for every person asks of this one.
fn admit_person(route: &Route, call: &mut Call, person: &sessions::Person) -> Result<(), ApiError> {
    match person {
        sessions::Person::Member(session) => call.belongs_to(owner(session.scope)),
        // Its own account is where it switches its second factor on.
        sessions::Person::Operator(_) if route.path.starts_with("/api/auth/") => {}
        sessions::Person::Operator(operator) => check_second_factor(call, operator)?,
    }
    Ok(())
}

/// Refuses an operator without a second factor where the installation asks for one.
fn check_second_factor(call: &Call, operator: &sessions::Operator) -> Result<(), ApiError> {
    let needed = call.state::<Accounts>()?.rules().operators_need_second_factor;
    if needed && !operator.has_second_factor { Err(denied(NO_SECOND_FACTOR)) } else { Ok(()) }
}

fn is_read(call: &Call) -> bool {
    matches!(*call.request.method(), Method::GET | Method::HEAD)
}

const NO_SECOND_FACTOR: &str = "Operators of this installation need two-factor sign-in: switch it on with POST \
                                /api/auth/second-factor, or under Your account in the dashboard";
const SUSPENDED: &str =
    "The operator has suspended this organization: it can be read but not changed. Ask the operator";
const NO_ORGANIZATION: &str = "An operator belongs to no organization; log in as a member of one";

fn denied(message: &str) -> ApiError {
    ApiError::new(Code::PermissionDenied, message)
}

/// From where a change comes, for the audit log; with the id that the answer will have.
fn origin_of(call: &Call) -> caller::Caller {
    let trusted = call.state::<Accounts>().map(|accounts| accounts.rules().trusted_proxies.clone());
    caller::Caller {
        address: call.client_ip(&trusted.unwrap_or_default()).map(|address| address.to_string()),
        request_id: call.state::<Gateway>().ok().map(|gateway| RequestId(gateway.ambient.uuid()).to_string()),
    }
}

/// Runs a handler on behalf of its caller; the answer has the request's id.
async fn traced(origin: caller::Caller, reply: Reply) -> Result<HttpResponse, ApiError> {
    let id = origin.request_id.clone();
    let outcome = caller::on_behalf(origin, reply).await;
    match (outcome, id) {
        (outcome, None) => outcome,
        (Ok(mut response), Some(id)) => {
            finish::identify(&mut response, &id);
            Ok(response)
        }
        (Err(error), Some(id)) => Err(error.with_request_id(&id)),
    }
}
