//! The rows of the route table: who may call an endpoint, and what is called then.

use crate::{
    accounts::roles::Capability,
    http::{
        error::{ApiError, Envelope},
        extract::Call,
    },
    store::{api_keys::Principal, sessions},
};
use actix_web::{HttpResponse, http::Method};
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
    /// The dialect of its errors.
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
