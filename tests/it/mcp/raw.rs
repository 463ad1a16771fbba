//! A server that sends what a test scripts, byte for byte, and counts its open connections.

use crate::harness::wait_until;
use serde_json::{Value, json};
use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The reply to one message.
pub enum Say {
    Accepted,
    /// A JSON body.
    Json(String),
    /// Events, and the end.
    Events(Vec<String>),
    /// An event stream of exactly this text, then its end.
    Stream(String),
    /// An event stream that repeats this text without end.
    Endless(String),
    /// No reply, for as long as the connection lives.
    Silence,
    /// A refusal with this status.
    Status(u16),
}

type Script = dyn Fn(&Value) -> Option<Say> + Send + Sync;

/// A running server. Dropping it ends it.
pub struct Raw {
    pub url: String,
    /// Every message that it received, in order; `DELETE` of a session as `"delete"`, `GET` with the last event's id.
    pub asked: Arc<Mutex<Vec<Value>>>,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Raw {
    /// A server of the protocol with a handshake, with a tool `tide`, except where `script` states another reply.
    pub async fn start(script: impl Fn(&Value) -> Option<Say> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let script: Arc<Script> = Arc::new(script);
        let (asked, open, accepted): (Arc<Mutex<Vec<Value>>>, Arc<AtomicUsize>, Arc<AtomicUsize>) =
            Default::default();
        let (seen, counted, all) = (asked.clone(), open.clone(), accepted.clone());
        let serving = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                counted.fetch_add(1, SeqCst);
                all.fetch_add(1, SeqCst);
                let open = Open(counted.clone());
                let (script, seen) = (script.clone(), seen.clone());
                tokio::spawn(async move {
                    let _open = open;
                    let _ = serve(connection, &*script, &seen).await;
                });
            }
        });
        Self { url, asked, open, accepted, serving }
    }

    /// The messages with this method.
    pub fn asked(&self, method: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|message| message["method"] == method).count()
    }

    /// Waits until no connection is open any more; some must have been open.
    pub async fn is_left_alone(&self, when: &str) {
        assert!(self.accepted.load(SeqCst) > 0, "{when}: nobody came");
        wait_until(&format!("{when}: every connection to close"), async || self.open.load(SeqCst) == 0).await;
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The answer to `message`.
pub fn result(message: &Value, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, message["id"])
}

/// A page of tools with these names.
pub fn page(message: &Value, names: &[String], next: Option<&str>) -> Say {
    let tools: Vec<Value> =
        names.iter().map(|name| json!({ "name": name, "inputSchema": { "type": "object" } })).collect();
    let mut page = json!({ "tools": tools });
    if let Some(next) = next {
        page["nextCursor"] = json!(next);
    }
    Say::Json(result(message, &page.to_string()))
}

/// The reply of a correct server.
fn well(message: &Value) -> Say {
    match message["method"].as_str() {
        Some("server/discover") => Say::Json(format!(
            r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32601,"message":"Method not found"}}}}"#,
            message["id"]
        )),
        Some("initialize") => Say::Json(result(
            message,
            r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"raw","version":"1"}}"#,
        )),
        Some("tools/list") => page(message, &["tide".to_owned()], None),
        Some("tools/call") => {
            Say::Json(result(message, r#"{"content":[{"type":"text","text":"7 m at sea"}]}"#))
        }
        _ => Say::Accepted,
    }
}

async fn serve(mut connection: TcpStream, script: &Script, seen: &Mutex<Vec<Value>>) -> io::Result<()> {
    let mut read = Vec::new();
    loop {
        let Some(message) = request(&mut connection, &mut read).await? else { return Ok(()) };
        seen.lock().unwrap().push(message.clone());
        let begins = message["method"] == "initialize";
        match script(&message).unwrap_or_else(|| well(&message)) {
            Say::Accepted => write(&mut connection, "202 Accepted", "", "").await?,
            Say::Status(status) => write(&mut connection, &format!("{status} No"), "", "").await?,
            Say::Json(body) => {
                let session = if begins { "mcp-session-id: s\r\n" } else { "" };
                let headers = format!("content-type: application/json\r\n{session}");
                write(&mut connection, "200 OK", &headers, &body).await?;
            }
            Say::Events(events) => {
                begin(&mut connection).await?;
                for event in events {
                    chunk(&mut connection, &format!("data: {event}\n\n")).await?;
                }
                connection.write_all(b"0\r\n\r\n").await?;
            }
            Say::Stream(text) => {
                begin(&mut connection).await?;
                chunk(&mut connection, &text).await?;
                connection.write_all(b"0\r\n\r\n").await?;
            }
            Say::Endless(text) => {
                begin(&mut connection).await?;
                loop {
                    chunk(&mut connection, &text).await?;
                    tokio::task::yield_now().await;
                }
            }
            Say::Silence => {
                let mut nothing = [0; 64];
                while connection.read(&mut nothing).await? > 0 {}
                return Ok(());
            }
        }
    }
}

/// The next message; `None` at the end of the connection.
async fn request(connection: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<Option<Value>> {
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            let whole = end + 4 + length;
            if read.len() >= whole {
                let body = read[end + 4..whole].to_vec();
                read.drain(..whole);
                let last = head.lines().find_map(|line| line.strip_prefix("last-event-id: "));
                return Ok(Some(match head.split_once(' ').map(|(method, _)| method) {
                    Some("delete") => json!("delete"),
                    Some("get") => json!({ "method": "get", "last": last }),
                    _ => serde_json::from_slice(&body).unwrap(),
                }));
            }
        }
        if connection.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

async fn write(connection: &mut TcpStream, status: &str, headers: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}");
    connection.write_all(text.as_bytes()).await
}

async fn begin(connection: &mut TcpStream) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.write_all(head.as_bytes()).await
}

async fn chunk(connection: &mut TcpStream, text: &str) -> io::Result<()> {
    let text = format!("{:x}\r\n{text}\r\n", text.len());
    connection.write_all(text.as_bytes()).await
}
