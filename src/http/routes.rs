//! Every route of the JSON API, in one table. Access is part of the row: a handler that needs a session, a
//! principal or an operator takes one as an argument that only `http::dispatch` hands out, after checking it
//! against the row. Routes must be registered nowhere else.

mod dispatch;

use super::{
    api::{
        audit, auth, billing, keys, members, organization, payments, provider_keys, requests, statements,
        usage, webhooks,
    },
    cors,
    error::{ApiError, Code, Envelope},
    extract::Call,
    finish::{envelope_for, finished, refuse},
    health, indox, openapi,
    unknown::{shortened, unknown_path},
    v1::{
        conversation::{converse, infer},
        count_tokens::count_tokens,
        models, performance, receipts, route,
    },
};
use crate::{
    accounts::roles::Capability::{
        self, ReadKeys, ReadMembers, ReadMoney, ReadRequests, SpendMoney, WriteKeys, WriteMembers,
    },
    domain::{kind::Kind, provider::Dialect},
    store::{api_keys::Principal, sessions},
};
use Endpoint::{ApiKey, Client, Either, Operator, Person, Public, Session};
use actix_web::{
    HttpRequest, HttpResponse,
    http::Method,
    web::{self, ServiceConfig},
};
use dispatch::dispatch;
use std::{future::Future, pin::Pin, sync::Arc};

/// What a handler returns.
pub type Reply = Pin<Box<dyn Future<Output = Result<HttpResponse, ApiError>>>>;

/// What is called for a platform API key, or for what stands for one.
pub type Handler = fn(Call, Arc<Principal>) -> Reply;

/// One route.
pub struct Route {
    pub method: Method,
    /// In actix' pattern syntax.
    pub path: &'static str,
    /// In whose words its errors are told.
    pub envelope: Envelope,
    pub endpoint: Endpoint,
}

/// Who may call, and what is called then. The two cannot disagree: the handler's type asks for the proof.
#[derive(Clone, Copy)]
pub enum Endpoint {
    /// Anyone.
    Public(fn(Call) -> Reply),
    /// A platform API key.
    ApiKey(Handler),
    /// The token that indoxhub's client was given for a platform API key.
    Client(Handler),
    /// A platform API key with the first handler, the token of indoxhub's client with the second.
    Either(Handler, Handler),
    /// A platform API key, or a member's session of any role: the handler narrows what a role may see.
    Reader(fn(Call, self::Reader) -> Reply),
    /// Anyone logged in, operators too.
    Person(fn(Call, sessions::Person) -> Reply),
    /// A member whose role has the capability.
    Session(Capability, fn(Call, sessions::Session) -> Reply),
    /// The operator of the installation.
    Operator(fn(Call, sessions::Operator) -> Reply),
}

/// Who reads something of an organization.
pub enum Reader {
    Key(Arc<Principal>),
    Session(sessions::Session),
}

/// The access class of a route, for tests that walk the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Public,
    ApiKey,
    Client,
    Reader,
    Person,
    Session(Capability),
    Operator,
}

impl Route {
    pub fn access(&self) -> Access {
        match self.endpoint {
            Endpoint::Public(_) => Access::Public,
            Endpoint::ApiKey(_) | Endpoint::Either(..) => Access::ApiKey,
            Endpoint::Client(_) => Access::Client,
            Endpoint::Reader(_) => Access::Reader,
            Endpoint::Person(_) => Access::Person,
            Endpoint::Session(capability, _) => Access::Session(capability),
            Endpoint::Operator(_) => Access::Operator,
        }
    }
}

const fn row(method: Method, path: &'static str, endpoint: Endpoint) -> Route {
    Route { method, path, envelope: Envelope::OpenAi, endpoint }
}

const fn anthropic(method: Method, path: &'static str, endpoint: Endpoint) -> Route {
    Route { method, path, envelope: Envelope::Anthropic, endpoint }
}

const AUTH: &str = "/api/auth";
const ORGANIZATION: &str = "/api/organization";
const SESSIONS: &str = "/api/auth/sessions";
const KEY: &str = "/api/auth/keys/{id}";
const KEY_TEST: &str = "/api/auth/keys/{id}/provider-keys/{provider}/test";
const ROTATE: &str = "/api/auth/keys/{id}/rotate";
const SHARED: &str = "/api/provider-keys";
const SHARED_KEY: &str = "/api/provider-keys/{id}";
const SHARED_TEST: &str = "/api/provider-keys/{provider}/test";
const AUTO_TOPUP: &str = "/api/billing/auto-topup";
const HOOKS: &str = "/api/webhooks";
const HOOK: &str = "/api/webhooks/{id}";
const HOOK_ROTATE: &str = "/api/webhooks/{id}/rotate";
const HOOK_TEST: &str = "/api/webhooks/{id}/test";
const MEMBERS: &str = "/api/members";
const MEMBER: &str = "/api/members/{id}";

/// The table.
pub static ROUTES: &[Route] = &[
    row(Method::GET, "/", Public(|call| Box::pin(health::root(call)))),
    row(Method::GET, "/healthz", Public(|call| Box::pin(health::alive(call)))),
    // A name that some clients and load balancers ask for.
    row(Method::GET, "/health", Public(|call| Box::pin(health::alive(call)))),
    row(Method::GET, "/readyz", Public(|call| Box::pin(health::ready(call)))),
    row(Method::GET, "/openapi.json", Public(|call| Box::pin(openapi::get_document(call)))),
    row(Method::GET, "/.well-known/jwks.json", Public(|call| Box::pin(health::keys(call)))),
    row(
        Method::POST,
        "/v1/chat/completions",
        ApiKey(|call, who| Box::pin(converse(call, who, Dialect::Chat))),
    ),
    row(
        Method::POST,
        "/api/v1/chat/completions",
        Either(
            |call, who| Box::pin(converse(call, who, Dialect::Chat)),
            |call, who| Box::pin(indox::inference::converse(call, who, Dialect::Chat)),
        ),
    ),
    row(
        Method::POST,
        "/v1/completions",
        ApiKey(|call, who| Box::pin(converse(call, who, Dialect::Completions))),
    ),
    row(
        Method::POST,
        "/api/v1/completions",
        Either(
            |call, who| Box::pin(converse(call, who, Dialect::Completions)),
            |call, who| Box::pin(indox::inference::converse(call, who, Dialect::Completions)),
        ),
    ),
    row(Method::POST, "/v1/responses", ApiKey(|call, who| Box::pin(converse(call, who, Dialect::Responses)))),
    row(
        Method::POST,
        "/api/v1/responses",
        ApiKey(|call, who| Box::pin(converse(call, who, Dialect::Responses))),
    ),
    anthropic(
        Method::POST,
        "/v1/messages/count_tokens",
        ApiKey(|call, who| Box::pin(count_tokens(call, who))),
    ),
    anthropic(
        Method::POST,
        "/api/v1/messages/count_tokens",
        ApiKey(|call, who| Box::pin(count_tokens(call, who))),
    ),
    anthropic(
        Method::POST,
        "/v1/messages",
        ApiKey(|call, who| Box::pin(converse(call, who, Dialect::Messages))),
    ),
    anthropic(
        Method::POST,
        "/api/v1/messages",
        ApiKey(|call, who| Box::pin(converse(call, who, Dialect::Messages))),
    ),
    row(Method::POST, "/v1/embeddings", ApiKey(|call, who| Box::pin(infer(call, who, Kind::Embeddings)))),
    row(
        Method::POST,
        "/api/v1/embeddings",
        Either(
            |call, who| Box::pin(infer(call, who, Kind::Embeddings)),
            |call, who| Box::pin(indox::inference::infer(call, who, Kind::Embeddings)),
        ),
    ),
    row(Method::POST, "/v1/images/generations", ApiKey(|call, who| Box::pin(infer(call, who, Kind::Images)))),
    row(
        Method::POST,
        "/api/v1/images/generations",
        Either(
            |call, who| Box::pin(infer(call, who, Kind::Images)),
            |call, who| Box::pin(indox::inference::infer(call, who, Kind::Images)),
        ),
    ),
    row(Method::POST, "/v1/images/edits", ApiKey(|call, who| Box::pin(infer(call, who, Kind::ImageEdits)))),
    row(
        Method::POST,
        "/api/v1/images/edits",
        ApiKey(|call, who| Box::pin(infer(call, who, Kind::ImageEdits))),
    ),
    row(Method::POST, "/v1/audio/speech", ApiKey(|call, who| Box::pin(infer(call, who, Kind::Speech)))),
    row(Method::POST, "/api/v1/audio/speech", ApiKey(|call, who| Box::pin(infer(call, who, Kind::Speech)))),
    row(
        Method::POST,
        "/v1/audio/transcriptions",
        ApiKey(|call, who| Box::pin(infer(call, who, Kind::Transcription))),
    ),
    row(
        Method::POST,
        "/api/v1/audio/transcriptions",
        ApiKey(|call, who| Box::pin(infer(call, who, Kind::Transcription))),
    ),
    row(
        Method::POST,
        "/v1/audio/translations",
        ApiKey(|call, who| Box::pin(infer(call, who, Kind::Translation))),
    ),
    row(
        Method::POST,
        "/api/v1/audio/translations",
        ApiKey(|call, who| Box::pin(infer(call, who, Kind::Translation))),
    ),
    row(Method::POST, "/v1/moderations", ApiKey(|call, who| Box::pin(infer(call, who, Kind::Moderation)))),
    row(
        Method::POST,
        "/api/v1/moderations",
        ApiKey(|call, who| Box::pin(infer(call, who, Kind::Moderation))),
    ),
    row(Method::POST, "/v1/rerank", ApiKey(|call, who| Box::pin(infer(call, who, Kind::Rerank)))),
    row(Method::POST, "/api/v1/rerank", ApiKey(|call, who| Box::pin(infer(call, who, Kind::Rerank)))),
    row(Method::POST, "/v1/ocr", ApiKey(|call, who| Box::pin(infer(call, who, Kind::Ocr)))),
    row(Method::POST, "/api/v1/ocr", ApiKey(|call, who| Box::pin(infer(call, who, Kind::Ocr)))),
    row(
        Method::GET,
        "/v1/performance",
        ApiKey(|call, who| Box::pin(performance::list_performance(call, who))),
    ),
    row(
        Method::GET,
        "/api/v1/performance",
        ApiKey(|call, who| Box::pin(performance::list_performance(call, who))),
    ),
    row(Method::POST, "/v1/route", ApiKey(|call, who| Box::pin(route::route(call, who)))),
    row(Method::POST, "/api/v1/route", ApiKey(|call, who| Box::pin(route::route(call, who)))),
    row(Method::GET, "/v1/models", ApiKey(|call, who| Box::pin(models::list_models(call, who)))),
    row(
        Method::GET,
        "/api/v1/models",
        Either(
            |call, who| Box::pin(models::list_models(call, who)),
            |call, who| Box::pin(indox::models::list_models(call, who)),
        ),
    ),
    row(Method::GET, "/v1/models/{id:.+}", ApiKey(|call, who| Box::pin(models::get_model(call, who)))),
    row(
        Method::GET,
        "/api/v1/models/{id:.+}",
        Either(
            |call, who| Box::pin(models::get_model(call, who)),
            |call, who| Box::pin(indox::models::get_models(call, who)),
        ),
    ),
    row(
        Method::GET,
        "/v1/receipts/{id}",
        Endpoint::Reader(|call, who| Box::pin(receipts::get_receipt(call, who))),
    ),
    row(
        Method::GET,
        "/api/v1/receipts/{id}",
        Endpoint::Reader(|call, who| Box::pin(receipts::get_receipt(call, who))),
    ),
    row(
        Method::POST,
        "/api/v1/audio/tts/generations",
        Client(|call, who| Box::pin(indox::inference::infer(call, who, Kind::Speech))),
    ),
    row(
        Method::POST,
        "/api/v1/audio/stt/transcriptions",
        Client(|call, who| Box::pin(indox::inference::infer(call, who, Kind::Transcription))),
    ),
    row(
        Method::POST,
        "/api/v1/audio/stt/translations",
        Client(|call, who| Box::pin(indox::inference::infer(call, who, Kind::Translation))),
    ),
    row(Method::GET, "/api/v1/user/usage", Client(|call, who| Box::pin(indox::usage::get_usage(call, who)))),
    row(Method::POST, "/api/v1/auth/api-key", ApiKey(|call, who| Box::pin(indox::login::log_in(call, who)))),
    row(Method::POST, "/api/v1/auth/token", Public(|call| Box::pin(indox::login::refuse_password(call)))),
    row(Method::POST, "/api/auth/signup", Public(|call| Box::pin(auth::sign_up(call)))),
    row(Method::POST, "/api/auth/login", Public(|call| Box::pin(auth::log_in(call)))),
    row(Method::POST, "/api/auth/logout", Person(|call, who| Box::pin(auth::log_out(call, who)))),
    row(Method::POST, "/api/auth/password", Person(|call, who| Box::pin(auth::change_password(call, who)))),
    row(Method::GET, SESSIONS, Person(|call, who| Box::pin(auth::list_sessions(call, who)))),
    row(Method::DELETE, SESSIONS, Person(|call, who| Box::pin(auth::end_sessions(call, who)))),
    row(
        Method::DELETE,
        "/api/auth/sessions/{id}",
        Person(|call, who| Box::pin(auth::end_sessions(call, who))),
    ),
    row(Method::GET, AUTH, Person(|call, who| Box::pin(auth::get_account(call, who)))),
    row(Method::POST, AUTH, Session(WriteKeys, |call, who| Box::pin(keys::create_key(call, who)))),
    row(Method::PATCH, AUTH, Session(WriteKeys, |call, who| Box::pin(keys::change_key(call, who)))),
    row(Method::DELETE, AUTH, Session(WriteKeys, |call, who| Box::pin(keys::revoke_key(call, who)))),
    row(Method::GET, KEY, Session(ReadKeys, |call, who| Box::pin(keys::get_key(call, who)))),
    row(Method::PATCH, KEY, Session(WriteKeys, |call, who| Box::pin(keys::change_key(call, who)))),
    row(Method::DELETE, KEY, Session(WriteKeys, |call, who| Box::pin(keys::revoke_key(call, who)))),
    row(Method::POST, KEY_TEST, Session(WriteKeys, |call, who| Box::pin(keys::test_provider_key(call, who)))),
    row(Method::POST, ROTATE, Session(WriteKeys, |call, who| Box::pin(keys::rotate_key(call, who)))),
    row(Method::GET, SHARED, Session(ReadKeys, |call, who| Box::pin(provider_keys::list(call, who)))),
    row(Method::PUT, SHARED, Session(WriteKeys, |call, who| Box::pin(provider_keys::replace(call, who)))),
    row(Method::PATCH, SHARED, Session(WriteKeys, |call, who| Box::pin(provider_keys::merge(call, who)))),
    row(Method::DELETE, SHARED, Session(WriteKeys, |call, who| Box::pin(provider_keys::delete(call, who)))),
    row(
        Method::DELETE,
        SHARED_KEY,
        Session(WriteKeys, |call, who| Box::pin(provider_keys::delete(call, who))),
    ),
    row(Method::POST, SHARED_TEST, Session(WriteKeys, |call, who| Box::pin(provider_keys::test(call, who)))),
    row(Method::GET, MEMBERS, Session(ReadMembers, |call, who| Box::pin(members::list_members(call, who)))),
    row(Method::POST, MEMBERS, Session(WriteMembers, |call, who| Box::pin(members::invite(call, who)))),
    row(Method::PATCH, MEMBERS, Session(WriteMembers, |call, who| Box::pin(members::set_role(call, who)))),
    row(Method::DELETE, MEMBERS, Session(WriteMembers, |call, who| Box::pin(members::remove(call, who)))),
    row(Method::PATCH, MEMBER, Session(WriteMembers, |call, who| Box::pin(members::set_role(call, who)))),
    row(Method::DELETE, MEMBER, Session(WriteMembers, |call, who| Box::pin(members::remove(call, who)))),
    row(
        Method::GET,
        ORGANIZATION,
        Session(ReadMoney, |call, who| Box::pin(organization::get_organization(call, who))),
    ),
    row(
        Method::PATCH,
        ORGANIZATION,
        Session(WriteMembers, |call, who| Box::pin(organization::change_organization(call, who))),
    ),
    row(Method::GET, HOOKS, Session(WriteMembers, |call, who| Box::pin(webhooks::list(call, who)))),
    row(Method::POST, HOOKS, Session(WriteMembers, |call, who| Box::pin(webhooks::create(call, who)))),
    row(Method::DELETE, HOOKS, Session(WriteMembers, |call, who| Box::pin(webhooks::delete(call, who)))),
    row(Method::DELETE, HOOK, Session(WriteMembers, |call, who| Box::pin(webhooks::delete(call, who)))),
    row(Method::POST, HOOK_ROTATE, Session(WriteMembers, |call, who| Box::pin(webhooks::rotate(call, who)))),
    row(Method::POST, HOOK_TEST, Session(WriteMembers, |call, who| Box::pin(webhooks::test(call, who)))),
    row(
        Method::GET,
        "/api/billing/balance",
        Session(ReadMoney, |call, who| Box::pin(billing::get_balance(call, who))),
    ),
    row(
        Method::GET,
        "/api/billing/ledger",
        Session(ReadMoney, |call, who| Box::pin(billing::list_entries(call, who))),
    ),
    row(
        Method::POST,
        "/api/billing/topups",
        Operator(|call, who| Box::pin(billing::create_topup(call, who))),
    ),
    row(
        Method::POST,
        "/api/billing/entries",
        Operator(|call, who| Box::pin(billing::create_entry(call, who))),
    ),
    row(
        Method::POST,
        "/api/billing/checkout",
        Session(SpendMoney, |call, who| Box::pin(payments::create_checkout(call, who))),
    ),
    row(
        Method::GET,
        AUTO_TOPUP,
        Session(ReadMoney, |call, who| Box::pin(payments::get_auto_topup(call, who))),
    ),
    row(
        Method::PUT,
        AUTO_TOPUP,
        Session(SpendMoney, |call, who| Box::pin(payments::set_auto_topup(call, who))),
    ),
    row(Method::POST, "/webhooks/stripe", Public(|call| Box::pin(payments::receive_event(call)))),
    row(
        Method::GET,
        "/api/billing/statements",
        Session(ReadMoney, |call, who| Box::pin(statements::list_statements(call, who))),
    ),
    row(
        Method::GET,
        "/api/billing/statements/{month}",
        Session(ReadMoney, |call, who| Box::pin(statements::get_statement(call, who))),
    ),
    row(
        Method::GET,
        "/api/requests",
        Session(ReadRequests, |call, who| Box::pin(requests::list_requests(call, who))),
    ),
    row(
        Method::GET,
        "/api/requests/{id}",
        Session(ReadRequests, |call, who| Box::pin(requests::get_request(call, who))),
    ),
    row(Method::GET, "/api/audit-log", Person(|call, who| Box::pin(audit::list_audit_log(call, who)))),
    row(Method::GET, "/api/usage", Session(ReadMoney, |call, who| Box::pin(usage::get_usage(call, who)))),
];

/// Registers the table and what answers everything outside of it.
#[allow(clippy::disallowed_methods)] // the one place: it iterates the table
pub fn register(config: &mut ServiceConfig) {
    for (index, route) in ROUTES.iter().enumerate() {
        // A path is registered once, where it first occurs, with all its methods.
        if ROUTES.iter().take(index).any(|earlier| earlier.path == route.path) {
            continue;
        }
        let rows: Vec<&'static Route> = ROUTES.iter().filter(|other| other.path == route.path).collect();
        let reads = rows.iter().any(|row| row.method == Method::GET);
        let methods = rows.iter().map(|row| row.method.as_str()).chain(reads.then_some("HEAD"));
        let allowed = methods.chain(["OPTIONS"]).collect::<Vec<_>>().join(", ");
        let mut resource = web::resource(route.path);
        for row in rows {
            // What is read can be asked about without being sent: the server leaves the body out.
            let head = (row.method == Method::GET).then_some(Method::HEAD);
            for method in head.into_iter().chain([row.method.clone()]) {
                let answer = move |request, payload| dispatch(row, Call::new(request, payload));
                resource = resource.route(web::method(method).to(answer));
            }
        }
        let options = allowed.clone();
        resource = resource.route(web::method(Method::OPTIONS).to(move |request: HttpRequest| {
            let mut response = HttpResponse::NoContent().insert_header(("allow", options.as_str())).finish();
            cors::preflight(&mut response, &request, cors::allowed(&request), &options);
            std::future::ready(finished(&request, response))
        }));
        let envelope = route.envelope;
        config.service(resource.default_service(web::to(move |request: HttpRequest| {
            let message = format!("{} does not take {}; use {allowed}", request.path(), request.method());
            let error = ApiError::new(Code::MethodNotAllowed, shortened(&message))
                .header("allow", &allowed)
                .envelope(envelope_for(&request, envelope));
            std::future::ready(refuse(&request, error))
        })));
    }
    config.default_service(web::to(|request: HttpRequest| {
        let error = unknown_path(&request).envelope(envelope_for(&request, Envelope::OpenAi));
        std::future::ready(refuse(&request, error))
    }));
}

#[cfg(test)]
mod tests;
