//! The tests' HTTP client. Its connections run on a separate runtime, so that they are served and closed even while a
//! test's own thread is busy. Each request has its own connection.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
    sync::mpsc,
    task::JoinHandle,
};

/// Longer than any wait of a test.
const TIME_MAX: Duration = Duration::from_secs(30);
/// After this time a raw connection has received everything.
const SILENCE_MAX: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

static HTTP: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
    builder.redirect(reqwest::redirect::Policy::none()).build().unwrap()
});

/// A client of one address.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
}

/// A request to be sent.
pub struct Request {
    inner: reqwest::RequestBuilder,
}

/// A whole answer.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// From the request to the last byte.
    pub took: Duration,
}

/// An answer that is being streamed. Dropping it closes the connection.
pub struct Streamed {
    pub status: u16,
    pub headers: HeaderMap,
    frames: mpsc::UnboundedReceiver<Frame>,
    reading: JoinHandle<bool>,
}

/// One event of a stream, as sent, without the blank line at its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub text: String,
    /// When it was complete, counted from the request.
    pub at: Duration,
}

impl Client {
    pub fn of(address: SocketAddr) -> Self {
        Self { address }
    }

    pub(super) fn nowhere() -> Self {
        Self::of(SocketAddr::from(([127, 0, 0, 1], 9)))
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        let url = format!("{}{path}", self.base());
        Request { inner: HTTP.request(method.parse().unwrap(), url).timeout(TIME_MAX) }
    }

    /// `token` may be empty: none is sent.
    pub async fn get(&self, path: &str, token: &str) -> Reply {
        self.request("GET", path).bearer(token).send().await
    }

    pub async fn post(&self, path: &str, token: &str, body: &Value) -> Reply {
        self.request("POST", path).bearer(token).json(body).send().await
    }

    pub async fn delete(&self, path: &str, token: &str) -> Reply {
        self.request("DELETE", path).bearer(token).send().await
    }

    /// Sends bytes unchanged and returns the reply until the gateway closes or is silent for a while.
    pub async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let (address, bytes) = (self.address, bytes.to_vec());
        let talking = RUNTIME.spawn(async move {
            let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
            // The gateway may answer and close before it has read everything.
            let _ = connection.write_all(&bytes).await;
            let (mut answer, mut part) = (Vec::new(), [0; 16 * 1024]);
            while let Ok(Ok(count)) = tokio::time::timeout(SILENCE_MAX, connection.read(&mut part)).await {
                if count == 0 {
                    break;
                }
                answer.extend_from_slice(&part[..count]);
            }
            answer
        });
        talking.await.unwrap()
    }
}

impl Request {
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        match token {
            "" => self,
            token => self.header("authorization", &format!("Bearer {token}")),
        }
    }

    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.header_bytes(name, value.as_bytes())
    }

    #[must_use]
    pub fn header_bytes(self, name: &str, value: &[u8]) -> Self {
        let name = HeaderName::try_from(name).unwrap();
        Self { inner: self.inner.header(name, HeaderValue::from_bytes(value).unwrap()) }
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { inner: self.inner.body(body.into()) }
    }

    /// Sends it and reads the whole answer.
    pub async fn send(self) -> Reply {
        self.try_send().await.unwrap()
    }

    /// As [`Request::send`], for a gateway that may have stopped.
    pub async fn try_send(self) -> Result<Reply, reqwest::Error> {
        let started = Instant::now();
        let sending = RUNTIME.spawn(async move {
            let response = self.inner.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = response.bytes().await?.to_vec();
            Ok(Reply { status, headers, body, took: started.elapsed() })
        });
        AbortOnDrop(sending).await
    }

    /// Sends it and returns with the head of the answer.
    pub async fn stream(self) -> Streamed {
        self.try_stream().await.unwrap()
    }

    /// As [`Request::stream`], for a gateway that may have stopped.
    pub async fn try_stream(self) -> Result<Streamed, reqwest::Error> {
        let started = Instant::now();
        let mut response = AbortOnDrop(RUNTIME.spawn(self.inner.send())).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let (sender, frames) = mpsc::unbounded_channel();
        let reading = RUNTIME.spawn(async move {
            let mut pending = Vec::new();
            loop {
                match response.chunk().await {
                    Ok(Some(bytes)) => pending.extend_from_slice(&bytes),
                    ended => {
                        if !pending.is_empty() {
                            let _ = sender.send(frame(&pending, started));
                        }
                        return ended.is_ok();
                    }
                }
                while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
                    let _ = sender.send(frame(&pending[..end], started));
                    pending.drain(..end + 2);
                }
            }
        });
        Ok(Streamed { status, headers, frames, reading })
    }
}

fn frame(bytes: &[u8], started: Instant) -> Frame {
    Frame { text: String::from_utf8_lossy(bytes).into_owned(), at: started.elapsed() }
}

/// A request whose caller stopped waiting is cancelled, as if its client had disconnected.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = T;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<T> {
        std::pin::Pin::new(&mut self.0).poll(context).map(Result::unwrap)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// Empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    /// `error.code`, empty when there is none.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// `error.message`, empty when there is none.
    pub fn message(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    pub fn receipt_id(&self) -> &str {
        self.header("x-kairosroute-receipt")
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text())
    }
}

impl Streamed {
    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }

    /// Every frame that is left.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Whether the answer, read to its end, ended correctly by HTTP.
    pub async fn ended_cleanly(mut self) -> bool {
        self.rest().await;
        (&mut self.reading).await.unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    pub fn receipt_id(&self) -> &str {
        self.header("x-kairosroute-receipt")
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Frame {
    /// The data, joined over its lines; `None` for a comment.
    pub fn data(&self) -> Option<String> {
        let lines: Vec<&str> =
            self.text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// The data as JSON; null for a comment and for `[DONE]`.
    pub fn json(&self) -> Value {
        self.data().and_then(|data| serde_json::from_str(&data).ok()).unwrap_or_default()
    }

    pub fn is_done(&self) -> bool {
        self.data().as_deref() == Some("[DONE]")
    }

    pub fn is_comment(&self) -> bool {
        self.text.starts_with(':')
    }

    /// The text of the first choice; empty when it has none.
    pub fn content(&self) -> String {
        self.json()["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Waits until the condition holds; fails after half a minute.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    wait_for(what, async || condition().await.then_some(())).await;
}

/// Waits until there is a value; fails after half a minute.
pub async fn wait_for<T>(what: &str, get: impl AsyncFnMut() -> Option<T>) -> T {
    wait_at_most(TIME_MAX, what, get).await
}

/// Waits until there is a value; fails after `time_max`.
pub async fn wait_at_most<T>(time_max: Duration, what: &str, mut get: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = get().await {
            return value;
        }
        assert!(started.elapsed() < time_max, "waited in vain for {what}");
        tokio::time::sleep(POLL).await;
    }
}
