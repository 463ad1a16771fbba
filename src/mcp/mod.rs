//! Calls MCP servers: lists their tools and calls them. It reaches a server over streamable HTTP only, through the same
//! guarded clients as providers. It does not use conversations, models or money.

mod http;
mod message;
pub mod naming;
pub mod sealed;
pub mod session;

use crate::{
    domain::{secret::Secret, shares::Charge},
    providers::transport::CROWDED,
};
use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

/// A server in a request.
#[derive(Clone)]
pub struct Server {
    /// Its name in results and errors; unique in a request.
    pub name: String,
    pub url: String,
    /// True for an address of the operator, which may be anywhere; false for an address of the customer, which may not.
    pub trusted: bool,
    /// Headers for every request to this server, and no other.
    pub headers: Vec<(String, Secret)>,
}

/// A tool as its server describes it.
#[derive(Clone, Debug)]
pub struct Tool {
    pub name: String,
    pub description: Option<String>,
    /// JSON Schema of the arguments, as JSON text.
    pub parameters: String,
    /// It can only be called as a task, whose result is fetched later.
    pub needs_task: bool,
}

/// Limits for one server.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Time to connect and to list its tools.
    pub connect: Duration,
    /// Time for one call.
    pub call: Duration,
    pub tools_max: usize,
    /// Bytes of names, descriptions and schemas of tools that are left for all servers of one request.
    pub tools_bytes: Arc<AtomicUsize>,
    /// Maximum bytes of one message.
    pub message_bytes_max: usize,
    /// Maximum bytes of all messages in one request.
    pub session_bytes_max: usize,
    /// The organization whose look-ups and memory it uses; each message is charged separately.
    pub memory: Arc<Charge>,
}

/// The result of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The text for the model.
    pub text: String,
    /// The structured result as JSON text, if the tool returned one.
    pub structured: Option<String>,
    pub is_error: bool,
}

/// Why a server or a call failed; the text is for the customer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum McpError {
    #[error("the URL {0}")]
    Refused(String),
    #[error("a header of this server is not valid")]
    Header,
    #[error("the server could not be reached")]
    Unreachable,
    #[error("{CROWDED}")]
    Crowded,
    #[error("the server did not answer in time")]
    Late,
    #[error("the server asks for a credential (HTTP {0})")]
    Unauthorized(u16),
    #[error("the server answered HTTP {0}")]
    Status(u16),
    #[error("the server's answer is too large")]
    TooLarge,
    #[error("the tools of this request's servers are described in more bytes than may be offered to a model")]
    TooMuchTold,
    #[error("the server does not speak MCP over streamable HTTP")]
    NotMcp,
    /// With the server's own message.
    #[error("the server refused: {0}")]
    Said(String),
    #[error("the tool asks for input from a user, which the gateway does not support")]
    AsksForInput,
}

impl McpError {
    /// A code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            McpError::Refused(_) | McpError::Header => "refused",
            McpError::Unreachable => "unreachable",
            McpError::Crowded => "too_many_connections",
            McpError::Late => "timeout",
            McpError::Unauthorized(_) => "unauthorized",
            McpError::Status(_) | McpError::NotMcp | McpError::TooLarge => "bad_answer",
            McpError::TooMuchTold => "too_many_tools",
            McpError::Said(_) => "server_error",
            McpError::AsksForInput => "input_required",
        }
    }
}
