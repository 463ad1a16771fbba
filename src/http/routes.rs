//! Every route of the JSON API, in one table. Access is part of the row: a handler that needs a session, a
//! principal or an operator takes one as an argument that only `http::dispatch` hands out, after checking it
//! against the row. Routes must be registered nowhere else.

mod dispatch;
mod endpoint;
mod register;

use super::{
    api::{
        audit, auth, billing, keys, members, operator, organization, organizations, payments, provider_keys,
        recovery, requests, statements, usage, webhooks,
    },
    error::Envelope,
    health, indox, openapi,
    v1::{
        conversation::{converse, infer},
        count_tokens::count_tokens,
        models, performance, receipts, route,
    },
};
use crate::{
    accounts::roles::Capability::{
        ManageOrganization, ReadKeys, ReadMembers, ReadMoney, ReadRequests, SpendMoney, WriteKeys,
        WriteMembers,
    },
    domain::{kind::Kind, provider::Dialect},
};
use Endpoint::{ApiKey, Client, Either, Operator, Person, Public, Session};
use actix_web::http::Method;
pub use endpoint::{Access, Endpoint, Handler, Reader, Reply, Route};
pub use register::register;

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
const CUSTOMERS: &str = "/api/operator/organizations";
const CUSTOMER: &str = "/api/operator/organizations/{id}";
const PLATFORM_KEY: &str = "/api/operator/platform-keys/{provider}";
const SECOND_FACTOR: &str = "/api/auth/second-factor";
const DELETION: &str = "/api/organization/deletion";

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
    row(Method::GET, "/api/usage", Session(ReadRequests, |call, who| Box::pin(usage::get_usage(call, who)))),
    row(
        Method::POST,
        "/api/auth/password-reset",
        Public(|call| Box::pin(recovery::request_password_reset(call))),
    ),
    row(
        Method::POST,
        "/api/auth/password-reset/confirm",
        Public(|call| Box::pin(recovery::reset_password(call))),
    ),
    row(Method::POST, "/api/auth/email", Person(|call, who| Box::pin(recovery::change_email(call, who)))),
    row(
        Method::POST,
        "/api/auth/email/verification",
        Person(|call, who| Box::pin(recovery::request_verification(call, who))),
    ),
    row(Method::POST, "/api/auth/email/confirm", Public(|call| Box::pin(recovery::confirm_email(call)))),
    row(Method::GET, SECOND_FACTOR, Person(|call, who| Box::pin(recovery::get_second_factor(call, who)))),
    row(Method::POST, SECOND_FACTOR, Person(|call, who| Box::pin(recovery::begin_second_factor(call, who)))),
    row(
        Method::DELETE,
        SECOND_FACTOR,
        Person(|call, who| Box::pin(recovery::remove_second_factor(call, who))),
    ),
    row(
        Method::POST,
        "/api/auth/second-factor/confirm",
        Person(|call, who| Box::pin(recovery::confirm_second_factor(call, who))),
    ),
    row(
        Method::POST,
        "/api/auth/second-factor/recovery-codes",
        Person(|call, who| Box::pin(recovery::renew_recovery_codes(call, who))),
    ),
    row(
        Method::GET,
        "/api/organizations",
        Person(|call, who| Box::pin(organizations::list_organizations(call, who))),
    ),
    row(
        Method::POST,
        "/api/organizations",
        Session(ReadRequests, |call, who| Box::pin(organizations::create_organization(call, who))),
    ),
    row(
        Method::POST,
        "/api/organization/transfer",
        Session(ManageOrganization, |call, who| Box::pin(organizations::transfer(call, who))),
    ),
    row(
        Method::GET,
        DELETION,
        Session(ManageOrganization, |call, who| Box::pin(organizations::preview_deletion(call, who))),
    ),
    row(
        Method::POST,
        DELETION,
        Session(ManageOrganization, |call, who| Box::pin(organizations::delete_organization(call, who))),
    ),
    row(Method::GET, CUSTOMERS, Operator(|call, who| Box::pin(operator::list_organizations(call, who)))),
    row(Method::POST, CUSTOMERS, Operator(|call, who| Box::pin(operator::create_organization(call, who)))),
    row(Method::GET, CUSTOMER, Operator(|call, who| Box::pin(operator::get_organization(call, who)))),
    row(Method::PATCH, CUSTOMER, Operator(|call, who| Box::pin(operator::change_organization(call, who)))),
    row(
        Method::GET,
        "/api/operator/revenue",
        Operator(|call, who| Box::pin(operator::get_revenue(call, who))),
    ),
    row(
        Method::GET,
        "/api/operator/platform-keys",
        Operator(|call, who| Box::pin(operator::list_platform_keys(call, who))),
    ),
    row(Method::PUT, PLATFORM_KEY, Operator(|call, who| Box::pin(operator::set_platform_key(call, who)))),
    row(
        Method::PATCH,
        PLATFORM_KEY,
        Operator(|call, who| Box::pin(operator::change_platform_key(call, who))),
    ),
    row(
        Method::DELETE,
        PLATFORM_KEY,
        Operator(|call, who| Box::pin(operator::remove_platform_key(call, who))),
    ),
    row(
        Method::POST,
        "/api/operator/platform-keys/{provider}/test",
        Operator(|call, who| Box::pin(operator::test_platform_key(call, who))),
    ),
    row(
        Method::GET,
        "/api/operator/operators",
        Operator(|call, who| Box::pin(operator::list_operators(call, who))),
    ),
    row(
        Method::DELETE,
        "/api/operator/operators/{id}",
        Operator(|call, who| Box::pin(operator::remove_operator(call, who))),
    ),
];

#[cfg(test)]
mod tests;
