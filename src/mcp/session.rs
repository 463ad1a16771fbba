//! A session with one server for one request: connects, lists the tools, calls them. Every wait and every read is
//! bounded. Dropping a session also ends it at the server, for which a task of the SDK has five seconds; every other
//! wait of that task, and every connection, ends at once.

use super::{
    Bounds, McpError, Outcome, Server, Tool,
    http::Guarded,
    message::{PageOf, Slot, Wanted},
};
use crate::{
    domain::shares::Taken,
    providers::{guard, transport::Transport},
};
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::{
    RoleClient, ServiceError,
    model::{
        CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest,
        Implementation, JsonObject, ListToolsRequest, PaginatedRequestParams, ProtocolVersion, ServerResult,
    },
    service::{ClientLifecycleMode, ClientServiceExt, PeerRequestOptions, RunningService},
    transport::{
        StreamableHttpClientTransport,
        common::client_side_sse::SseRetryPolicy,
        streamable_http_client::{HttpStatusError, StreamableHttpClientTransportConfig, StreamableHttpError},
    },
};
use serde_json::value::RawValue;
use std::{collections::HashMap, error::Error, sync::Arc, time::Duration};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Maximum pages of a list of tools.
const PAGES_MAX: usize = 64;

/// A connected server.
pub struct Session {
    running: Running,
    call_time: Duration,
}

/// The resources of a session.
struct Running {
    service: RunningService<RoleClient, ClientConfig>,
    /// The SDK's tasks notice the end of a session only at some points; this token ends their waits.
    _alive: DropGuard,
    /// Its place among the connections to hosts that customers choose.
    _counted: Option<Taken>,
}

/// A stream that breaks off is not resumed: the call has failed.
#[derive(Debug)]
struct Never;

impl SseRetryPolicy for Never {
    fn retry(&self, _times: usize) -> Option<Duration> {
        None
    }
}

/// Whether a URL is allowed for a server; the address of its name is checked when the gateway connects.
pub fn check(server: &Server, transport: &Transport) -> Result<(), McpError> {
    if server.trusted {
        return Ok(());
    }
    let checked = guard::check_address(&server.url, transport.allowed());
    checked.map(|_| ()).map_err(|refused| McpError::Refused(refused.to_string()))
}

impl Session {
    /// Connects to a server and lists its tools: at most one more than a request may have.
    pub async fn open(
        server: &Server,
        transport: &Transport,
        bounds: &Bounds,
    ) -> Result<(Self, Vec<Tool>), McpError> {
        check(server, transport)?;
        let opening = async {
            let running = start(server, transport, bounds).await?;
            let tools = list(&running, bounds).await?;
            Ok((Self { running, call_time: bounds.call }, tools))
        };
        tokio::time::timeout(bounds.connect, opening).await.unwrap_or(Err(McpError::Late))
    }

    /// Calls a tool with `arguments`, the text of a JSON object.
    pub async fn call(&self, tool: &str, arguments: &str) -> Result<Outcome, McpError> {
        let raw = RawValue::from_string(arguments.to_owned()).ok().filter(|raw| raw.get().starts_with('{'));
        let Some(raw) = raw else { return Ok(Outcome::wrong("the arguments are not a JSON object")) };
        // Some protocol headers are made from arguments; arguments that serde cannot represent are sent all the same.
        let parsed: JsonObject = serde_json::from_str(arguments).unwrap_or_default();
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(parsed);
        let mut request = CallToolRequest::new(params);
        let answer = Slot::default();
        request.extensions.insert(Wanted::Call { arguments: raw.into(), answer: answer.clone() });
        let options = PeerRequestOptions::with_timeout(self.call_time);
        let calling = self.running.ask(ClientRequest::CallToolRequest(request), options);
        // The SDK's time limit begins when the request has been sent.
        let answered = tokio::time::timeout(self.call_time.saturating_mul(2), calling);
        answered.await.map_err(|_| McpError::Late)??;
        answer.take()
    }
}

impl Running {
    async fn ask(
        &self,
        request: ClientRequest,
        options: PeerRequestOptions,
    ) -> Result<ServerResult, McpError> {
        let asking =
            async { self.service.send_cancellable_request(request, options).await?.await_response().await };
        asking.await.map_err(|error: ServiceError| failure(&error))
    }
}

impl Outcome {
    /// An error that the model may read and correct.
    pub fn wrong(text: impl Into<String>) -> Self {
        Self { text: text.into(), structured: None, is_error: true }
    }
}

/// Servers of the newest protocol have no handshake; older servers support only the handshake. The SDK detects most of
/// them by itself; for a server that it does not understand, the gateway tries the handshake again.
async fn start(server: &Server, transport: &Transport, bounds: &Bounds) -> Result<Running, McpError> {
    let either = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::LATEST],
        legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
    };
    match begin(server, transport, bounds, either).await {
        Err(McpError::NotMcp | McpError::Status(_) | McpError::Said(_)) => {
            begin(server, transport, bounds, ClientLifecycleMode::Initialize).await
        }
        other => other,
    }
}

async fn begin(
    server: &Server,
    transport: &Transport,
    bounds: &Bounds,
    lifecycle: ClientLifecycleMode,
) -> Result<Running, McpError> {
    let gone = CancellationToken::new();
    let alive = gone.clone().drop_guard();
    let customer = (!server.trusted).then(|| bounds.memory.owner());
    let counted = customer.map(|customer| transport.count(customer)).transpose();
    let counted = counted.map_err(|_| McpError::Crowded)?;
    let client = transport.apart(customer).map_err(|_| McpError::Unreachable)?;
    let client = Guarded::new(client, bounds, gone);
    let mut config = StreamableHttpClientTransportConfig::with_uri(server.url.as_str());
    config.retry_config = Arc::new(Never);
    config.custom_headers = headers(server)?;
    let wire = StreamableHttpClientTransport::with_client(client, config);
    let myself = Implementation::new("kairosroute", env!("CARGO_PKG_VERSION"));
    let mut info = ClientConfig::new(ClientCapabilities::default(), myself);
    info.protocol_version = ProtocolVersion::LATEST_WITH_INITIALIZE;
    let service = info.serve_with_lifecycle(wire, lifecycle).await.map_err(|error| failure(&error))?;
    Ok(Running { service, _alive: alive, _counted: counted })
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

async fn list(running: &Running, bounds: &Bounds) -> Result<Vec<Tool>, McpError> {
    let wanted = bounds.tools_max.saturating_add(1);
    let mut tools: Vec<Tool> = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let mut request = ListToolsRequest::with_param(params);
        let answer = Slot::default();
        let tools_max = wanted.saturating_sub(tools.len());
        let page_of = PageOf { tools_max, bytes_left: bounds.tools_bytes.clone(), answer: answer.clone() };
        request.extensions.insert(Wanted::Tools(page_of));
        let asking = running.ask(ClientRequest::ListToolsRequest(request), PeerRequestOptions::no_options());
        let ServerResult::ListToolsResult(page) = asking.await? else { return Err(McpError::NotMcp) };
        // The SDK leaves out tools with a schema that it does not support.
        let serves = |tool: &Tool| page.tools.iter().any(|told| told.name == tool.name);
        tools.extend(answer.take()?.into_iter().filter(serves));
        cursor = page.next_cursor;
        if cursor.is_none() || tools.len() >= wanted {
            return Ok(tools);
        }
    }
    Err(McpError::TooLarge)
}

/// The error for the customer of an SDK error. The SDK's texts may contain addresses and bodies, so only the server's
/// own protocol message is repeated.
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
            StreamableHttpError::ReservedHeaderConflict(_) => Some(McpError::Header),
            StreamableHttpError::Client(_) | StreamableHttpError::UnexpectedEndOfStream => {
                Some(McpError::Unreachable)
            }
            _ => None,
        };
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

/// A server's message, shortened and without characters that would break a log line.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
