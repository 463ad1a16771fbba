//! One server for the time of one request: reached, asked for its tools, called. Every wait is bounded. Dropping a
//! session ends it at the server as well; a task of the SDK's sees to that.

use super::{
    McpError, Outcome, Patience, Server, Tool,
    http::{Guarded, MESSAGE_BYTES_MAX, RawArguments},
};
use crate::providers::{guard, transport::Transport};
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::{
    RoleClient, ServiceError,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig,
        ClientRequest, ContentBlock, Implementation, JsonObject, PaginatedRequestParams, ProtocolVersion,
        ResourceContents, ServerResult,
    },
    service::{ClientLifecycleMode, ClientServiceExt, PeerRequestOptions, RunningService},
    transport::{
        StreamableHttpClientTransport,
        common::client_side_sse::SseRetryPolicy,
        streamable_http_client::{
            AuthRequiredError, HttpStatusError, InsufficientScopeError, StreamableHttpClientTransportConfig,
            StreamableHttpError,
        },
    },
};
use serde_json::value::RawValue;
use std::{collections::HashMap, error::Error, sync::Arc, time::Duration};

/// Pages of a list of tools that are asked for.
const PAGES_MAX: usize = 16;

/// A server that was reached.
pub struct Session {
    running: Running,
    patience: Patience,
}

/// A stream that breaks is not taken up again: the call has failed.
#[derive(Debug)]
struct Never;

impl SseRetryPolicy for Never {
    fn retry(&self, _times: usize) -> Option<Duration> {
        None
    }
}

/// Whether a URL may be a server's at all; what its name resolves to is seen when it is dialed.
pub fn check(server: &Server, transport: &Transport) -> Result<(), McpError> {
    if server.trusted {
        return Ok(());
    }
    let checked = guard::check_address(&server.url, transport.allowed());
    checked.map(|_| ()).map_err(|refused| McpError::Refused(refused.to_string()))
}

impl Session {
    /// Reaches a server and asks for its tools, at most `tools_max` of them.
    pub async fn open(
        server: &Server,
        transport: &Transport,
        patience: Patience,
        tools_max: usize,
    ) -> Result<(Self, Vec<Tool>), McpError> {
        check(server, transport)?;
        let opening = async {
            let running = start(server, transport).await?;
            let tools = list(&running, tools_max).await?;
            Ok((Self { running, patience }, tools))
        };
        tokio::time::timeout(patience.connect, opening).await.unwrap_or(Err(McpError::Late))
    }

    /// Calls a tool with `arguments`, the text of a JSON object.
    pub async fn call(&self, tool: &str, arguments: &str) -> Result<Outcome, McpError> {
        let raw = RawValue::from_string(arguments.to_owned()).ok().filter(|raw| raw.get().starts_with('{'));
        let Some(raw) = raw else { return Ok(Outcome::wrong("the arguments are not a JSON object")) };
        // Some headers of the protocol are made from arguments; what serde cannot hold is sent all the same.
        let parsed: JsonObject = serde_json::from_str(arguments).unwrap_or_default();
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(parsed);
        let mut request = CallToolRequest::new(params);
        request.extensions.insert(RawArguments(raw.into()));
        let options = PeerRequestOptions::with_timeout(self.patience.call);
        let calling = async {
            let request = ClientRequest::CallToolRequest(request);
            self.running.send_cancellable_request(request, options).await?.await_response().await
        };
        // The SDK's time begins when the request has left.
        let answered = tokio::time::timeout(self.patience.call.saturating_mul(2), calling);
        match answered.await.map_err(|_| McpError::Late)?.map_err(|error| failure(&error))? {
            ServerResult::CallToolResult(result) => Ok(outcome(result)),
            ServerResult::InputRequiredResult(_) => Err(McpError::AsksForInput),
            _ => Err(McpError::NotMcp),
        }
    }
}

impl Outcome {
    /// An error that the model may read and mend.
    pub fn wrong(text: impl Into<String>) -> Self {
        Self { text: text.into(), structured: None, is_error: true }
    }
}

type Running = RunningService<RoleClient, ClientConfig>;

/// Servers of the newest protocol have no handshake, older ones know nothing else. The SDK tells most of them apart by
/// itself; one that it does not understand is tried again the older way.
async fn start(server: &Server, transport: &Transport) -> Result<Running, McpError> {
    let either = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::LATEST],
        legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
    };
    match begin(server, transport, either).await {
        Err(McpError::NotMcp | McpError::Status(_) | McpError::Said(_)) => {
            begin(server, transport, ClientLifecycleMode::Initialize).await
        }
        other => other,
    }
}

async fn begin(
    server: &Server,
    transport: &Transport,
    lifecycle: ClientLifecycleMode,
) -> Result<Running, McpError> {
    let (operator, customer) = transport.clients();
    let client = Guarded(if server.trusted { operator } else { customer });
    let mut config = StreamableHttpClientTransportConfig::with_uri(server.url.as_str());
    config.retry_config = Arc::new(Never);
    config.custom_headers = headers(server)?;
    let wire = StreamableHttpClientTransport::with_client(client, config);
    let myself = Implementation::new("kairosroute", env!("CARGO_PKG_VERSION"));
    let mut info = ClientConfig::new(ClientCapabilities::default(), myself);
    info.protocol_version = ProtocolVersion::LATEST_WITH_INITIALIZE;
    info.serve_with_lifecycle(wire, lifecycle).await.map_err(|error| failure(&error))
}

fn headers(server: &Server) -> Result<HashMap<HeaderName, HeaderValue>, McpError> {
    let header = |(name, value): &(String, crate::domain::secret::Secret)| {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        let mut value = HeaderValue::from_str(value.expose()).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    server.headers.iter().map(|pair| header(pair).ok_or(McpError::Header)).collect()
}

async fn list(running: &Running, tools_max: usize) -> Result<Vec<Tool>, McpError> {
    let (mut tools, mut bytes) = (Vec::new(), 0_usize);
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let page = running.list_tools(Some(params)).await.map_err(|error| failure(&error))?;
        for tool in page.tools {
            let tool = Tool {
                name: tool.name.into_owned(),
                description: tool.description.map(|text| text.into_owned()),
                parameters: serde_json::to_string(&tool.input_schema).unwrap_or_else(|_| "{}".to_owned()),
            };
            let described = tool.description.as_ref().map_or(0, String::len);
            bytes = bytes.saturating_add(tool.name.len() + described + tool.parameters.len());
            tools.push(tool);
        }
        if bytes > MESSAGE_BYTES_MAX {
            return Err(McpError::TooLarge);
        }
        cursor = page.next_cursor;
        if cursor.is_none() || tools.len() > tools_max {
            break;
        }
    }
    Ok(tools)
}

fn outcome(result: CallToolResult) -> Outcome {
    let texts: Vec<String> = result.content.iter().map(readable).collect();
    let structured = result.structured_content.map(|value| value.to_string());
    let text = match (texts.is_empty(), &structured) {
        (true, Some(json)) => json.clone(),
        _ => texts.join("\n"),
    };
    Outcome { text, structured, is_error: result.is_error.unwrap_or(false) }
}

/// What a model that reads text gets of a piece of a result.
fn readable(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => format!("[image of {} left out]", image.mime_type),
        ContentBlock::Audio(audio) => format!("[audio of {} left out]", audio.mime_type),
        ContentBlock::ResourceLink(link) => format!("[{}]({})", link.name, link.uri),
        ContentBlock::Resource(resource) => match &resource.resource {
            ResourceContents::TextResourceContents { text, .. } => text.clone(),
            ResourceContents::BlobResourceContents { uri, .. } => format!("[binary resource {uri} left out]"),
            _ => "[resource left out]".to_owned(),
        },
        _ => "[content of an unknown kind left out]".to_owned(),
    }
}

/// What an error of the SDK's comes down to. Its texts may hold addresses and bodies, so none of them is repeated
/// but what the server said in words of the protocol.
fn failure(error: &(dyn Error + 'static)) -> McpError {
    let mut at = Some(error);
    while let Some(cause) = at {
        if let Some(told) = known(cause) {
            return told;
        }
        at = cause.source();
    }
    McpError::NotMcp
}

fn known(cause: &(dyn Error + 'static)) -> Option<McpError> {
    if let Some(error) = cause.downcast_ref::<ServiceError>() {
        return match error {
            ServiceError::McpError(said) => Some(McpError::Said(shown(&said.message))),
            ServiceError::Timeout { .. } => Some(McpError::Late),
            ServiceError::TransportSend(sending) => Some(failure(&*sending.error)),
            ServiceError::TransportClosed => Some(McpError::Unreachable),
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<rmcp::service::ClientInitializeError>() {
        use rmcp::service::ClientInitializeError as Initialize;
        return match error {
            Initialize::JsonRpcError(said) => Some(McpError::Said(shown(&said.message))),
            Initialize::TransportError { error, .. } => Some(failure(&*error.error)),
            Initialize::LegacyFallbackFailed { fallback, .. } => Some(failure(&**fallback)),
            Initialize::ConnectionClosed(_) => Some(McpError::Unreachable),
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        return match error {
            StreamableHttpError::HttpStatus(status) => Some(of_status(status.status)),
            StreamableHttpError::ResponseBodyTooLarge { .. } => Some(McpError::TooLarge),
            StreamableHttpError::AuthRequired(_) => Some(McpError::Unauthorized(401)),
            StreamableHttpError::InsufficientScope(_) => Some(McpError::Unauthorized(403)),
            StreamableHttpError::ReservedHeaderConflict(_) => Some(McpError::Header),
            StreamableHttpError::Client(_) => Some(McpError::Unreachable),
            _ => None,
        };
    }
    if cause.is::<AuthRequiredError>() {
        return Some(McpError::Unauthorized(401));
    }
    if cause.is::<InsufficientScopeError>() {
        return Some(McpError::Unauthorized(403));
    }
    if let Some(status) = cause.downcast_ref::<HttpStatusError>() {
        return Some(of_status(status.status));
    }
    cause.is::<reqwest::Error>().then_some(McpError::Unreachable)
}

fn of_status(status: u16) -> McpError {
    match status {
        401 | 403 => McpError::Unauthorized(status),
        status => McpError::Status(status),
    }
}

/// A server's words, short and without what would break a log line.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
