//! A small MCP server over streamable HTTP on loopback, made with the SDK's server side, and one that is not an MCP
//! server.

use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, JsonObject, ListToolsResult,
        PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex},
};
use tokio::{net::TcpListener, runtime::Runtime, sync::Semaphore, task::JoinHandle};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// What the server has received, and what blocks its slow tool.
pub struct Seen {
    /// Name and arguments of each call, when it began.
    pub calls: Mutex<Vec<(String, Value)>>,
    pub gate: Semaphore,
    /// `authorization` of each request.
    pub authorizations: Mutex<Vec<String>>,
    /// All headers of each request.
    pub headers: Mutex<Vec<String>>,
}

impl Seen {
    fn new() -> Self {
        let (calls, authorizations, headers) = Default::default();
        Self { calls, gate: Semaphore::new(0), authorizations, headers }
    }
}

/// A running server. Dropping it ends it.
pub struct Server {
    pub url: String,
    pub seen: Arc<Seen>,
    serving: JoinHandle<()>,
}

/// Its tools, with equal descriptions.
pub const TOOLS: [&str; 6] = ["tide", "fail", "slow", "huge", "structured", "get.wind/now"];

#[derive(Clone)]
struct Tools {
    seen: Arc<Seen>,
    /// Supports only a protocol that begins with a handshake.
    old: bool,
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        match self.old {
            true => Cow::Owned(vec![ProtocolVersion::V_2025_06_18]),
            false => Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS),
        }
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({ "type": "object", "properties": { "port": { "type": "string" } } });
        let schema: JsonObject = serde_json::from_value(schema).unwrap();
        let tools = TOOLS.map(|name| Tool::new(name, format!("Does {name}"), schema.clone()));
        Ok(ListToolsResult::with_all_items(tools.to_vec()))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(call.arguments.unwrap_or_default());
        self.seen.calls.lock().unwrap().push((call.name.to_string(), arguments.clone()));
        let text = |text: String| CallToolResult::success(vec![ContentBlock::text(text)]);
        Ok(match call.name.as_ref() {
            "tide" => text(format!("7 m at {}", arguments["port"].as_str().unwrap_or("sea"))),
            "fail" => CallToolResult::error(vec![ContentBlock::text("no such port")]),
            "slow" => {
                self.seen.gate.acquire().await.unwrap().forget();
                text("at last".to_owned())
            }
            "huge" => text("x".repeat(1_000_000)),
            "structured" => CallToolResult::structured(json!({ "metres": 7 })),
            "get.wind/now" => text("west".to_owned()),
            _ => return Err(ErrorData::invalid_params("no such tool", None)),
        }
        .into())
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::of(false).await
    }

    /// A server that supports only the protocol with a handshake and sessions.
    pub async fn start_old() -> Self {
        Self::of(true).await
    }

    async fn of(old: bool) -> Self {
        let seen = Arc::new(Seen::new());
        let tools = Tools { seen: seen.clone(), old };
        let service = StreamableHttpService::new(
            move || Ok(tools.clone()),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default(),
        );
        let listener = RUNTIME.spawn(TcpListener::bind(("127.0.0.1", 0))).await.unwrap().unwrap();
        let url = url(listener.local_addr().unwrap());
        let watching = seen.clone();
        let serving = RUNTIME.spawn(async move {
            loop {
                let Ok((connection, _)) = listener.accept().await else { return };
                let (service, watching) = (TowerToHyperService::new(service.clone()), watching.clone());
                let watched = hyper::service::service_fn(move |request: hyper::Request<_>| {
                    let given = request.headers().get("authorization");
                    let given = given.map(|value| value.to_str().unwrap().to_owned());
                    watching.authorizations.lock().unwrap().push(given.unwrap_or_default());
                    watching.headers.lock().unwrap().push(format!("{:?}", request.headers()));
                    hyper::service::Service::call(&service, request)
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(connection), watched);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Self { url, seen, serving }
    }

    /// A server with this reply to everything.
    pub async fn start_saying(answer: String) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let seen = Arc::new(Seen::new());
        let listener = RUNTIME.spawn(TcpListener::bind(("127.0.0.1", 0))).await.unwrap().unwrap();
        let url = url(listener.local_addr().unwrap());
        let serving = RUNTIME.spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut asked = [0; 16 * 1024];
                    if connection.read(&mut asked).await.is_ok_and(|count| count > 0) && !answer.is_empty() {
                        drop(connection.write_all(answer.as_bytes()).await);
                    } else {
                        // Sends nothing, and keeps the connection until the client closes it.
                        while connection.read(&mut asked).await.is_ok_and(|count| count > 0) {}
                    }
                });
            }
        });
        Self { url, seen, serving }
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<(String, Value)> {
        self.seen.calls.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/mcp")
}
