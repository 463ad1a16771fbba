//! A request before and after parsing: the data that came with it, and its parsed form, which is the same for every
//! endpoint kind.

use super::{Gateway, failure::Failure, request_options::RoutingHeaders, traces::TraceParent};
use crate::{
    dialect::{
        self, ClientRequest, Dialect, Head, Invalid, Limits,
        kinds::{self, KindRequest},
    },
    domain::{kind::Kind, policy::ByokFallback, shares::Charge},
    providers::transport::Transport,
    store::api_keys::Principal,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// One authenticated request.
pub struct Inbound<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub transport: &'a Transport,
    pub principal: Arc<Principal>,
    pub kind: Kind,
    pub body: Bytes,
    /// The `Content-Type` of the body; empty where there is none.
    pub content_type: String,
    /// `anthropic-beta`, for a provider of that dialect.
    pub beta: Option<String>,
    /// `X-KairosRoute-Fallback`, which overrides the key's own setting.
    pub fallback: Option<ByokFallback>,
    /// `X-KairosRoute-First-Content-Timeout-Ms`: how long a candidate may take to its first content while another one
    /// is left.
    pub first_content: Option<Duration>,
    /// The caller's position in a trace.
    pub traceparent: Option<TraceParent>,
    /// Headers that the gateway uses.
    pub routing_headers: RoutingHeaders,
    /// Memory for the buffers of the answer is charged here; each buffer has its own charge.
    pub memory: Charge,
}

/// A parsed request.
pub enum ParsedRequest<'a> {
    Conversation(ClientRequest<'a>),
    Kind(Box<KindRequest<'a>>),
}

impl Inbound<'_> {
    /// Converts the body to the form that the stages read. An error means that it cannot be read.
    pub(super) fn normalize(&mut self) -> Result<(), Invalid> {
        let plain = dialect::normalize(self.kind, &self.body, &request_limits(self.gateway))?;
        plain.into_iter().for_each(|plain| self.body = plain.into());
        Ok(())
    }

    pub(super) fn parse(&self) -> Result<ParsedRequest<'_>, Failure> {
        let limits = request_limits(self.gateway);
        ParsedRequest::read(self.kind, &self.content_type, &self.body, &limits).map_err(Failure::Invalid)
    }
}

impl<'a> ParsedRequest<'a> {
    /// Parses a request. An error means that it must not be sent to any provider.
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

    /// Whether the request offers web search and no other tool with a fee, in a dialect for which searches can be
    /// billed, and limits the searches, so that a hold can cover them.
    pub fn may_search(&self) -> bool {
        let Self::Conversation(request) = self else { return false };
        matches!(request.dialect(), Dialect::Messages | Dialect::Responses)
            && request.head().fees.are_searches()
            && request.head().facts.searches_max.is_some()
    }
}

pub(super) fn request_limits(gateway: &Gateway) -> Limits {
    Limits { depth_max: gateway.settings.limits.body_depth_max, ..Limits::default() }
}
