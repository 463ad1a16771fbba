//! Talking to MCP servers: which tools they have, and calling them. A server is reached over streamable HTTP alone,
//! by the guarded clients that providers are reached by. Knows nothing of conversations, models or money.

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

/// A server as a request names it.
#[derive(Clone)]
pub struct Server {
    /// What results and errors call it; unique within a request.
    pub name: String,
    pub url: String,
    /// An address of the operator's, which may point anywhere; else the customer's, which may not.
    pub trusted: bool,
    /// Headers that go with every request to it, and nowhere else.
    pub headers: Vec<(String, Secret)>,
}

/// A tool as its server describes it.
#[derive(Clone, Debug)]
pub struct Tool {
    pub name: String,
    pub description: Option<String>,
    /// JSON Schema of the arguments, as JSON text.
    pub parameters: String,
    /// It can only be called as a task, which is fetched later.
    pub needs_task: bool,
}

/// What a server may take.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Time to be reached and to say which tools it has.
    pub connect: Duration,
    /// Time for one call.
    pub call: Duration,
    pub tools_max: usize,
    /// Bytes of names, descriptions and schemas of tools that are left to the servers of one request together.
    pub tools_bytes: Arc<AtomicUsize>,
    /// Bytes of one message.
    pub message_bytes_max: usize,
    /// Bytes of all that it sends in one request.
    pub session_bytes_max: usize,
    /// Whose look-ups and memory it takes; each message is charged by itself.
    pub memory: Arc<Charge>,
}

/// What came of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What the model reads.
    pub text: String,
    /// The structured result, as JSON text, where the tool gave one.
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
    /// In the server's own words.
    #[error("the server refused: {0}")]
    Said(String),
    #[error("the tool asks for input from a user, which the gateway does not support")]
    AsksForInput,
}

impl McpError {
    /// A word for programs.
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
