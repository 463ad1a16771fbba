//! Calls to providers on the request path, and the only place that exposes a provider key: into
//! the header its provider wants, to the host it belongs to. No redirects, no proxy from the environment.
//! One value per actix worker: a connection pool shared between workers costs up to half the throughput.

mod timing;

use super::{
    client::{Answer, CallError, Client, CustomerConnections, IdleLimits, Post},
    error::{ErrorClass, UpstreamError},
    guard::{self, AllowedNets},
    resolver::{GuardedResolver, LookupError, Names, OperatorResolver, on_behalf},
};
use crate::domain::{
    provider::{Auth, ProviderId},
    secret::Secret,
    shares::{Charge, Owner, Taken, UNCHARGED_BYTES},
};
use bytes::Bytes;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER, USER_AGENT,
};
use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt;
use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

pub use reqwest::Url;
pub use timing::{ResponseTiming, TimedResponse};

/// How long a call may take, by phase.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    pub connect: Duration,
    /// Until the first byte of content (streams).
    pub first_byte: Duration,
    /// The same while another candidate is left, which is then asked.
    pub failover_first_byte: Duration,
    /// Between two reads of a stream.
    pub idle: Duration,
    /// The whole request, every attempt included.
    pub total: Duration,
}

/// Where a call goes.
#[derive(Clone)]
pub enum Destination {
    /// The operator's address for this provider.
    Operator(Url),
    /// An address this customer gave with its own key: resolved under guard.
    Customer(Url, Owner),
}

/// What is sent.
pub struct Outgoing {
    pub to: Destination,
    pub body: Vec<u8>,
    pub content_type: Cow<'static, str>,
    /// `anthropic-beta`, as the client sent it.
    pub beta: Option<String>,
    /// The call's place in a trace.
    pub traceparent: Option<String>,
}

/// The answer to a call: its head, and its body as it comes.
pub struct Response {
    inner: Answer,
    timing: Arc<ResponseTiming>,
}

/// How a worker's clients connect.
#[derive(Clone)]
pub struct Connecting {
    pub within: Duration,
    pub idle_per_host_max: usize,
    /// Of the whole process.
    pub customers: CustomerConnections,
}

#[cfg(test)]
impl Connecting {
    /// Without limits on the number of connections.
    pub fn within(within: Duration) -> Self {
        let customers = CustomerConnections::new(u64::MAX, u64::MAX);
        Self { within, idle_per_host_max: 512, customers }
    }
}

/// The HTTP clients of one worker.
#[derive(Clone)]
pub struct Transport(Arc<Clients>);

struct Clients {
    operator: Client,
    customer: Client,
    /// Fetches what customers name by URL.
    fetching: reqwest::Client,
    allowed: Arc<AllowedNets>,
    connecting: Connecting,
    /// To read the system's certificates takes milliseconds, so it is done once for all clients.
    tls: ClientConfig,
    resolver: Arc<GuardedResolver>,
    operators: Arc<OperatorResolver>,
}

/// No HTTP client could be made.
#[derive(Debug, thiserror::Error)]
pub enum NoClient {
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
}

/// To an organization with its share of connections.
pub const CROWDED: &str = "your organization has as many connections to hosts of its choice as it may; try again when \
                           some of its requests have ended";
/// Bytes of an error body that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;
const NAME: HeaderValue = HeaderValue::from_static(concat!("kairosroute/", env!("CARGO_PKG_VERSION")));
/// How long a connection to an operator's address, or to a customer's, waits for its next call.
const OPERATOR_IDLE: Duration = Duration::from_secs(60);
const CUSTOMER_IDLE: Duration = Duration::from_secs(15);

impl Transport {
    pub fn new(
        connecting: Connecting,
        allowed: Arc<AllowedNets>,
        names: Arc<Names>,
    ) -> Result<Self, NoClient> {
        let mut tls = ClientConfig::with_platform_verifier()?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let resolver = Arc::new(GuardedResolver::new(names.clone(), allowed.clone()));
        let operators = Arc::new(OperatorResolver(names));
        let (within, per_host_max) = (connecting.within, connecting.idle_per_host_max);
        let idle = |time| IdleLimits { per_host_max, time };
        let clients = Clients {
            operator: Client::new(operators.clone(), &tls, within, idle(OPERATOR_IDLE)),
            customer: Client::new(resolver.clone(), &tls, within, idle(CUSTOMER_IDLE))
                .counted_by(connecting.customers.clone()),
            fetching: builder(within, &tls).dns_resolver(resolver.clone()).build()?,
            allowed,
            connecting,
            tls,
            resolver,
            operators,
        };
        Ok(Self(Arc::new(clients)))
    }

    /// A client with connections of its own, which end with it: to the operator's addresses, or to this customer's.
    pub fn apart(&self, customer: Option<Owner>) -> Result<reqwest::Client, reqwest::Error> {
        let client = builder(self.0.connecting.within, &self.0.tls).pool_max_idle_per_host(1);
        match customer {
            None => client.dns_resolver(self.0.operators.clone()).build(),
            Some(owner) => client.dns_resolver(Arc::new(self.0.resolver.of(owner))).build(),
        }
    }

    /// Two clients for calls outside the request path: to the operator's addresses and to customers'.
    pub fn clients(&self) -> Result<(reqwest::Client, reqwest::Client), reqwest::Error> {
        let operator = builder(self.0.connecting.within, &self.0.tls).dns_resolver(self.0.operators.clone());
        Ok((operator.build()?, self.0.fetching.clone()))
    }

    /// Leave for one more connection to a host of this customer's choice; it counts until the value is dropped.
    pub fn count(&self, customer: Owner) -> Result<Taken, CallError> {
        self.0.connecting.customers.take(customer)
    }

    /// What customer-given URLs may reach.
    pub fn allowed(&self) -> &AllowedNets {
        &self.0.allowed
    }

    /// Gets a customer-given URL that was judged; its name resolves under guard.
    pub async fn get(&self, url: Url) -> Result<reqwest::Response, reqwest::Error> {
        self.0.fetching.get(url).send().await
    }

    /// Posts the body with the credential and returns the head of the answer, 2xx only.
    pub async fn post(
        &self,
        provider: ProviderId,
        mut outgoing: Outgoing,
        secret: &Secret,
    ) -> Result<Response, UpstreamError> {
        let body = Bytes::from(std::mem::take(&mut outgoing.body));
        let post = Post { headers: headers(provider, &outgoing, secret)?, body };
        let again = || headers(provider, &outgoing, secret).ok();
        let sent = match &outgoing.to {
            Destination::Operator(url) => self.0.operator.post(url, post, &again).await,
            Destination::Customer(url, owner) => {
                // The resolver never sees literal addresses.
                guard::check_target(url, &self.0.allowed)
                    .map_err(|refused| UpstreamError::not_sent(format!("the base URL {refused}")))?;
                // Apart, so that calls to the operator's addresses keep no room for it.
                Box::pin(on_behalf(*owner, self.0.customer.post(url, post, &again))).await
            }
        };
        let answer = sent.map_err(|error| unreachable_host(&error))?;
        if answer.status.is_success() {
            return Ok(Response { inner: answer, timing: Arc::default() });
        }
        Err(refusal(provider, answer).await.without(secret.expose()))
    }
}

fn headers(provider: ProviderId, outgoing: &Outgoing, secret: &Secret) -> Result<HeaderMap, UpstreamError> {
    let (name, value) = credential(provider, secret)
        .ok_or_else(|| UpstreamError::not_sent("the stored key cannot be sent in a header"))?;
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(name, value);
    let content_type = match &outgoing.content_type {
        Cow::Borrowed(text) => HeaderValue::from_static(text),
        Cow::Owned(text) => HeaderValue::from_str(text)
            .map_err(|_| UpstreamError::not_sent("the content type cannot be sent in a header"))?,
    };
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    // Bodies are read as they come: a compressed one could not be.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, NAME);
    for (name, value) in provider.row().headers {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Some(beta) = &outgoing.beta {
        let beta = HeaderValue::from_str(beta)
            .map_err(|_| UpstreamError::not_sent("`anthropic-beta` cannot be sent in a header"))?;
        headers.insert(HeaderName::from_static("anthropic-beta"), beta);
    }
    if let Some(traceparent) = &outgoing.traceparent {
        let traceparent = HeaderValue::from_str(traceparent)
            .map_err(|_| UpstreamError::not_sent("`traceparent` cannot be sent in a header"))?;
        headers.insert(HeaderName::from_static("traceparent"), traceparent);
    }
    Ok(headers)
}

impl Response {
    /// A header of the head, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Has its bytes timed by `timing`.
    #[must_use]
    pub fn timed_by(self, timing: Arc<ResponseTiming>) -> Self {
        Self { timing, ..self }
    }

    /// When its bytes came.
    pub fn timing(&self) -> &ResponseTiming {
        &self.timing
    }

    /// The next bytes that are here already; `None` when there are none. Nobody has waited.
    pub async fn chunk_at_once(&mut self) -> Option<Result<Option<Bytes>, CallError>> {
        let Self { inner, timing } = self;
        let mut reading = std::pin::pin!(inner.chunk());
        let read = poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await;
        match read {
            Poll::Ready(read) => Some(timed(read, timing)),
            Poll::Pending => None,
        }
    }

    /// The next bytes of the body; `None` at its end. A wait that is given up loses none.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, CallError> {
        let Self { inner, timing } = self;
        let mut reading = std::pin::pin!(inner.chunk());
        // What is here already costs one look at the clock: streams without pauses are made of that.
        let at_once = poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await;
        let read = match at_once {
            Poll::Ready(read) => read,
            Poll::Pending => {
                let mut waiting = Waiting::begin(timing);
                let read = reading.await;
                waiting.is_over = true;
                read
            }
        };
        timed(read, timing)
    }
}

fn timed(
    read: Result<Option<Bytes>, CallError>,
    timing: &ResponseTiming,
) -> Result<Option<Bytes>, CallError> {
    if matches!(&read, Ok(Some(bytes)) if !bytes.is_empty()) {
        timing.on_data(Instant::now());
    }
    read
}

/// Somebody waits for bytes, until they come or the wait is given up.
struct Waiting<'p> {
    timing: &'p ResponseTiming,
    is_over: bool,
}

impl<'p> Waiting<'p> {
    fn begin(timing: &'p ResponseTiming) -> Self {
        timing.wait(Instant::now());
        Self { timing, is_over: false }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.timing.pause(Instant::now());
        }
    }
}

/// Of clients outside the request path. A connection of theirs is not kept.
fn builder(within: Duration, tls: &ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(within)
        .pool_max_idle_per_host(0)
        .tcp_nodelay(true)
        .user_agent(NAME)
        .tls_backend_preconfigured(tls.clone())
}

/// The header that carries a key to this provider.
pub fn credential(provider: ProviderId, secret: &Secret) -> Option<(HeaderName, HeaderValue)> {
    let (name, mut value) = match provider.row().auth {
        Auth::Bearer => (AUTHORIZATION, HeaderValue::try_from(format!("Bearer {}", secret.expose())).ok()?),
        Auth::Header(name) => (HeaderName::from_static(name), HeaderValue::from_str(secret.expose()).ok()?),
    };
    value.set_sensitive(true);
    Some((name, value))
}

/// What the answer says it is; empty when it says nothing.
pub fn content_type(response: &Response) -> &str {
    response.inner.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Reads a whole answer of at most `bytes_max` bytes; `memory` is charged for what it takes.
pub async fn read_body(
    mut response: Response,
    bytes_max: usize,
    memory: &mut Charge,
) -> Result<Vec<u8>, UpstreamError> {
    let announced = response.inner.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let expected = announced.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    let mut body: Vec<u8> = Vec::new();
    if expected <= UNCHARGED_BYTES.min(bytes_max) {
        body.reserve_exact(expected);
    }
    // A success that breaks off may be billed all the same, and so may each that is asked for in its place.
    let broken = |error| UpstreamError { unusable_success: true, ..unreachable_host(&error) };
    while let Some(bytes) = response.chunk().await.map_err(broken)? {
        if body.len() + bytes.len() > bytes_max {
            return Err(UpstreamError::unusable("the provider's answer is too long"));
        }
        let needed = body.len() + bytes.len();
        if needed > body.capacity() {
            // What is reserved is charged, not only what is filled.
            let room = needed.max(body.capacity() + body.capacity() / 2).min(bytes_max);
            memory.cover(room).map_err(|_| no_memory())?;
            body.reserve_exact(room - body.len());
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

/// Organizations have a share of the process's memory each.
pub fn no_memory() -> UpstreamError {
    UpstreamError::busy(
        "the answers and requests that are being served for your organization take as much memory as it may have; \
         try again when some of them have ended",
    )
}

async fn refusal(provider: ProviderId, mut response: Answer) -> UpstreamError {
    let status = response.status.as_u16();
    let retry_after =
        response.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    while let Ok(Some(bytes)) = response.chunk().await {
        body.extend_from_slice(
            bytes.get(..(ERROR_BYTES_MAX - body.len()).min(bytes.len())).unwrap_or_default(),
        );
        if body.len() >= ERROR_BYTES_MAX {
            break;
        }
    }
    UpstreamError::read(provider, status, retry_after.as_deref(), &body)
}

/// An error of the transport, told without the URL (a customer's address is nobody else's business).
pub fn unreachable_host(error: &CallError) -> UpstreamError {
    let (class, message) = match error {
        CallError::Lookup(LookupError::Busy) => {
            return UpstreamError::busy(format!("the host name of the base URL {}", LookupError::Busy));
        }
        CallError::Lookup(LookupError::Refused) => {
            return UpstreamError::not_sent(format!("the base URL {}", LookupError::Refused));
        }
        // The customer's own host is away.
        CallError::Lookup(failed) => {
            let message = format!("the host name of the base URL {failed}");
            return UpstreamError::without_answer(ErrorClass::Overload, message);
        }
        CallError::Full => return UpstreamError::busy(CROWDED),
        CallError::Address => return UpstreamError::not_sent("the address cannot be called"),
        CallError::Connect(_) => (ErrorClass::Overload, "the provider could not be reached"),
        CallError::Broken(error) if error.is_timeout() => {
            (ErrorClass::Timeout, "the provider did not answer in time")
        }
        CallError::Broken(_) => (ErrorClass::Overload, "the connection to the provider broke"),
    };
    UpstreamError::without_answer(class, message)
}

/// Why a customer's name was not found, if that is what failed.
pub fn lookup_error(error: &reqwest::Error) -> Option<LookupError> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<LookupError>() {
            return Some(*found);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests;
