//! The HTTP/1.1 client of one worker: connections that are kept for the next call, and calls over them. It follows no
//! redirect, uses no proxy and decompresses nothing. A connection buffers little, so that an answer whose reader is slow
//! waits at its provider and not in this process.

mod dial;
mod written;

use super::resolver::LookupError;
use crate::domain::shares::Taken;
use bytes::Bytes;
use dial::{Dialer, Stream};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode, Uri,
    body::{Body, Incoming},
    client::conn::http1::{Builder, SendRequest},
    header::{HOST, HeaderMap, HeaderValue},
    rt::{Read, Write},
};
use reqwest::{Url, dns::Resolve};
use rustls::ClientConfig;
use std::{
    collections::HashMap,
    error::Error,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use written::{BytesWritten, CountingStream};

pub use dial::CustomerConnections;

/// What a connection buffers of its answer: the head must fit, and of a body no more is read ahead.
const BUFFER_BYTES_MAX: usize = 32 * 1024;
/// Idle connections are looked through this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Why a call has no answer, or no further part of it.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the host name {0}")]
    Lookup(LookupError),
    /// As many connections as the organization may have to hosts of its choice.
    #[error("too many connections")]
    Full,
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    #[error("the address cannot be called")]
    Address,
    #[error("the connection broke: {0}")]
    Broken(#[source] hyper::Error),
}

/// How connections are kept.
#[derive(Clone, Copy, Debug)]
pub struct IdleLimits {
    pub per_host_max: usize,
    pub time: Duration,
}

/// One client. Its clones share their connections.
#[derive(Clone)]
pub struct Client {
    dialer: Dialer,
    kept: Arc<Kept>,
}

/// Where a connection goes.
#[derive(Clone, Copy)]
struct Origin<'u> {
    /// Scheme, host and port as they stand in the URL.
    text: &'u str,
    /// Host and port as they stand there.
    authority: &'u str,
    /// Path and query.
    target: &'u str,
    host: &'u str,
    port: u16,
    is_tls: bool,
}

/// What is sent: a POST.
pub struct Post {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Makes the headers of a call once more, for a second connection.
pub type HeadersAgain<'h> = &'h dyn Fn() -> Option<HeaderMap>;

/// The answer to a call: its head, and its body as it comes.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    /// The connection, until the body has been read.
    connection: Option<InUse>,
}

/// An open connection.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    written: BytesWritten,
}

/// A connection that serves a call.
struct InUse {
    connection: Connection,
    origin: Box<str>,
    kept: Arc<Kept>,
}

/// A call that has no answer because its connection broke.
struct Unanswered {
    error: CallError,
    /// The request, where nothing of it was taken from the queue.
    unsent: Option<Request<Full<Bytes>>>,
    /// The provider can have the whole request, and act on it.
    may_be_served: bool,
}

/// Connections that wait for their next call.
struct Kept {
    limits: IdleLimits,
    idle: Mutex<Idle>,
}

/// A connection and when it was used last.
type IdleConnection = (Connection, Instant);

#[derive(Default)]
struct Idle {
    /// The last used of each origin at the end.
    of: HashMap<Box<str>, Vec<IdleConnection>>,
    swept: Option<Instant>,
}

impl Client {
    pub fn new(
        resolver: Arc<dyn Resolve>,
        tls: &ClientConfig,
        connect_within: Duration,
        limits: IdleLimits,
    ) -> Self {
        let kept = Kept { limits, idle: Mutex::default() };
        Self { dialer: Dialer::new(resolver, tls, connect_within), kept: Arc::new(kept) }
    }

    /// The same with its connections counted.
    #[must_use]
    pub fn counted_by(mut self, counted: CustomerConnections) -> Self {
        self.dialer.counted = Some(counted);
        self
    }

    /// Posts and returns the head of the answer. A provider may close a kept connection at the moment we write to it.
    /// The call goes over a new connection then, but only if the provider cannot have all of it: what it has read whole
    /// it may be working on, and bill.
    pub async fn post(&self, url: &Url, post: Post, again: HeadersAgain<'_>) -> Result<Answer, CallError> {
        let origin = Origin::of(url).ok_or(CallError::Address)?;
        let body = post.body.clone();
        let mut post = request(origin, post)?;
        if let Some(connection) = self.kept.take(origin.text) {
            let failed = match self.send(connection, origin, post).await {
                Err(failed) if !failed.may_be_served => failed,
                outcome => return outcome.map_err(|failed| failed.error),
            };
            post = match (failed.unsent, again()) {
                (Some(unsent), _) => unsent,
                (None, Some(headers)) => request(origin, Post { headers, body })?,
                (None, None) => return Err(failed.error),
            };
        }
        // Rare and large: kept out of the future of every call.
        let connection = Box::pin(self.open(origin)).await?;
        self.send(connection, origin, post).await.map_err(|failed| failed.error)
    }

    async fn open(&self, origin: Origin<'_>) -> Result<Connection, CallError> {
        let (stream, counted) = self.dialer.dial(origin).await?;
        match stream {
            Stream::Plain(stream) => begin(stream, counted).await,
            Stream::Tls(stream) => begin(*stream, counted).await,
        }
    }

    async fn send(
        &self,
        mut connection: Connection,
        origin: Origin<'_>,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Unanswered> {
        let body_bytes = request.body().size_hint().exact().unwrap_or(0);
        let before = connection.written.get();
        match connection.sender.try_send_request(request).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let connection = InUse { connection, origin: origin.text.into(), kept: self.kept.clone() };
                Ok(Answer { status: head.status, headers: head.headers, body, connection: Some(connection) })
            }
            Err(mut failed) => {
                let unsent = failed.take_message();
                let error = failed.into_error();
                // With its head a request is longer than its body.
                let is_partly_written = connection.written.get().wrapping_sub(before) <= body_bytes;
                let may_be_served = unsent.is_none() && !(is_partly_written && is_closed(&error));
                Err(Unanswered { error: CallError::Broken(error), unsent, may_be_served })
            }
        }
    }

    /// How many of these can be used: the others have been seen to end.
    #[cfg(test)]
    fn ready(&self) -> usize {
        let idle = self.kept.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.of.values().flatten().filter(|(connection, _)| connection.sender.is_ready()).count()
    }

    /// How many connections wait for their next call.
    #[cfg(test)]
    fn idle(&self) -> usize {
        self.kept.idle.lock().unwrap_or_else(PoisonError::into_inner).of.values().map(Vec::len).sum()
    }
}

impl Answer {
    /// The next bytes of the body; `None` at its end. A wait that is given up loses none.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(error)) => {
                    self.connection = None;
                    return Err(CallError::Broken(error));
                }
                None => {
                    if let Some(connection) = self.connection.take() {
                        connection.keep();
                    }
                    return Ok(None);
                }
            }
        }
    }
}

impl<'u> Origin<'u> {
    fn of(url: &'u Url) -> Option<Self> {
        let text = url.as_str();
        let (scheme, rest) = text.split_once("://")?;
        let (authority, _) = rest.split_once('/').filter(|(authority, _)| !authority.contains('@'))?;
        let (text, target) = text.split_at_checked(scheme.len() + "://".len() + authority.len())?;
        Some(Self {
            text,
            authority,
            target: target.split('#').next()?,
            host: url.host_str()?,
            port: url.port_or_known_default()?,
            is_tls: url.scheme() == "https",
        })
    }

    /// The host without the brackets of an IPv6 address.
    fn bare_host(&self) -> &'u str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(self.host)
    }
}

impl InUse {
    fn keep(self) {
        let Self { connection, origin, kept } = self;
        kept.put(origin, connection);
    }
}

impl Kept {
    /// The connection that was used last, if one is there that can be used at once.
    fn take(&self, origin: &str) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let list = idle.of.get_mut(origin)?;
        let oldest = Instant::now().checked_sub(self.limits.time);
        while let Some((connection, since)) = list.pop() {
            let is_fresh = oldest.is_none_or(|oldest| since >= oldest);
            if is_fresh && connection.sender.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    fn put(&self, origin: Box<str>, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_INTERVAL) {
            idle.swept = Some(now);
            let oldest = now.checked_sub(self.limits.time);
            idle.of.retain(|_, list| {
                list.retain(|(connection, since)| {
                    !connection.sender.is_closed() && oldest.is_none_or(|oldest| *since >= oldest)
                });
                !list.is_empty()
            });
        }
        let list = idle.of.entry(origin).or_default();
        if list.len() < self.limits.per_host_max {
            list.push((connection, now));
        }
    }
}

/// Begins HTTP on a new connection, which a task of its own serves until it ends.
async fn begin<S>(stream: S, counted: Option<Taken>) -> Result<Connection, CallError>
where
    S: Read + Write + Unpin + Send + 'static,
{
    let mut builder = Builder::new();
    builder.max_buf_size(BUFFER_BYTES_MAX);
    let (stream, written) = CountingStream::new(stream);
    let (sender, connection) = builder.handshake(stream).await.map_err(CallError::Broken)?;
    tokio::spawn(async move {
        let _counted = counted;
        // How it ends shows in the calls that it serves.
        let _ = connection.await;
    });
    Ok(Connection { sender, written })
}

fn request(origin: Origin<'_>, post: Post) -> Result<Request<Full<Bytes>>, CallError> {
    let target = Uri::try_from(origin.target);
    let host = HeaderValue::from_str(origin.authority);
    let (Ok(target), Ok(host)) = (target, host) else { return Err(CallError::Address) };
    let mut request = Request::new(Full::new(post.body));
    *request.method_mut() = hyper::Method::POST;
    *request.uri_mut() = target;
    *request.headers_mut() = post.headers;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

/// Whether a connection ended before a byte of the answer had come.
fn is_closed(error: &hyper::Error) -> bool {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return true;
    }
    use io::ErrorKind as Kind;
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| {
        matches!(
            cause.kind(),
            Kind::ConnectionReset | Kind::BrokenPipe | Kind::ConnectionAborted | Kind::UnexpectedEof
        )
    })
}

#[cfg(test)]
mod tests;
