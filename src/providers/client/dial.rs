//! Opens connections: resolves the name, connects, and does the TLS handshake, all within one time limit. Connections
//! to hosts that customers choose are counted, and each organization has a share of them, so that no list of hosts can
//! use up the open files of the process.

use super::{CallError, Origin};
use crate::{
    domain::shares::{Owner, Pool, Taken},
    providers::resolver::asking,
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use hyper_util::rt::TokioIo;
use reqwest::dns::Resolve;
use rustix::net::sockopt;
use rustls::{ClientConfig, pki_types::ServerName};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

/// How long an address may take before the next one is tried in parallel (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);
/// A peer that does not answer for about a minute counts as gone.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBES_MAX: u32 = 3;
const UNACKNOWLEDGED_MS_MAX: u32 = 60_000;

/// Connections of the whole process to hosts of customers.
#[derive(Clone)]
pub struct CustomerConnections {
    open: Arc<Pool>,
    per_organization_max: u64,
}

impl CustomerConnections {
    pub fn new(connections_max: u64, per_organization_max: u64) -> Self {
        Self { open: Pool::new(connections_max), per_organization_max }
    }

    /// Permission for one connection; it counts until the value is dropped.
    pub fn take(&self, owner: Owner) -> Result<Taken, CallError> {
        self.open.take(owner, 1, self.per_organization_max).map_err(|_| CallError::Full)
    }

    /// Open connections.
    pub fn open(&self) -> u64 {
        self.open.used()
    }
}

/// Opens connections for one client.
#[derive(Clone)]
pub(super) struct Dialer {
    pub resolver: Arc<dyn Resolve>,
    pub tls: TlsConnector,
    pub within: Duration,
    /// The count for connections of the customer that the task works for.
    pub counted: Option<CustomerConnections>,
}

/// A connection without encryption, or over TLS.
pub(super) enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>>),
}

impl Dialer {
    pub fn new(resolver: Arc<dyn Resolve>, tls: &ClientConfig, within: Duration) -> Self {
        let tls = TlsConnector::from(Arc::new(tls.clone()));
        Self { resolver, tls, within, counted: None }
    }

    pub async fn dial(&self, origin: Origin<'_>) -> Result<(Stream, Option<Taken>), CallError> {
        let counted = self.counted.as_ref().map(|counted| counted.take(asking().unwrap_or(0))).transpose()?;
        match timeout(self.within, self.open(origin)).await {
            Ok(stream) => Ok((stream?, counted)),
            Err(_) => Err(CallError::Connect(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn open(&self, origin: Origin<'_>) -> Result<Stream, CallError> {
        let stream = connect(self.addresses(origin).await?).await.map_err(CallError::Connect)?;
        set_options(&stream).map_err(CallError::Connect)?;
        if !origin.is_tls {
            return Ok(Stream::Plain(TokioIo::new(stream)));
        }
        let name = ServerName::try_from(origin.bare_host().to_owned());
        let name = name.map_err(|error| CallError::Connect(io::Error::other(error)))?;
        let stream = self.tls.connect(name, stream).await.map_err(CallError::Connect)?;
        Ok(Stream::Tls(Box::new(TokioIo::new(stream))))
    }

    async fn addresses(&self, origin: Origin<'_>) -> Result<Vec<SocketAddr>, CallError> {
        if let Ok(ip) = origin.bare_host().parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, origin.port)]);
        }
        let name = origin.host.parse().map_err(|_| CallError::Connect(io::ErrorKind::InvalidInput.into()))?;
        let found = self.resolver.resolve(name).await.map_err(|error| match error.downcast() {
            Ok(lookup) => CallError::Lookup(*lookup),
            Err(error) => CallError::Connect(io::Error::other(error)),
        })?;
        Ok(alternate(found.map(|address| SocketAddr::new(address.ip(), origin.port)).collect()))
    }
}

/// The addresses of both families alternating, beginning with the first one's.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == is_first_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        match (first.next(), second.next()) {
            (None, None) => return ordered,
            (one, other) => ordered.extend(one.into_iter().chain(other)),
        }
    }
}

/// The first connection that succeeds.
async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let (mut left, mut trying) = (addresses.into_iter(), FuturesUnordered::new());
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    loop {
        let next = left.next();
        let is_last = next.is_none();
        trying.extend(next.map(TcpStream::connect));
        let outcome = match is_last {
            true => trying.next().await,
            false => match timeout(HEAD_START, trying.next()).await {
                Ok(outcome) => outcome,
                Err(_) => continue,
            },
        };
        match outcome {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => failed = error,
            None => return Err(failed),
        }
    }
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    // Without it Nagle's algorithm and delayed acknowledgements add up.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepcnt(stream, PROBES_MAX)?;
    Ok(sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS_MAX)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let of = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let ordered = alternate(of(&["[::1]:1", "[::2]:1", "192.0.2.1:1", "[::3]:1"]));
        assert_eq!(ordered, of(&["[::1]:1", "192.0.2.1:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(alternate(Vec::new()), []);
    }

    #[tokio::test]
    async fn the_address_that_answers_is_taken_and_the_last_error_told_where_none_does() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        assert_eq!(connect(vec![closed, good]).await.unwrap().peer_addr().unwrap(), good);
        assert_eq!(connect(vec![closed]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect(Vec::new()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
