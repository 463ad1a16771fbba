//! What was asked for, of whatever kind: everything that plans, holds and walks sees requests through this.

use crate::{
    dialect::{
        ClientRequest, Head, Invalid, Limits,
        kinds::{self, KindRequest},
    },
    domain::kind::Kind,
};

/// A request that was read.
pub enum ParsedRequest<'a> {
    Conversation(ClientRequest<'a>),
    Kind(Box<KindRequest<'a>>),
}

impl<'a> ParsedRequest<'a> {
    /// Reads a request. An error means that nothing may be sent anywhere.
    pub fn read(kind: Kind, content_type: &'a str, body: &'a [u8], limits: &Limits) -> Result<Self, Invalid> {
        match kind {
            Kind::Conversation(dialect) => ClientRequest::read(dialect, body, limits).map(Self::Conversation),
            _ => kinds::read(kind, content_type, body, limits).map(|request| Self::Kind(Box::new(request))),
        }
    }

    pub fn head(&self) -> &Head<'a> {
        match self {
            Self::Conversation(request) => request.head(),
            Self::Kind(request) => &request.head,
        }
    }
}
