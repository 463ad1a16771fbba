//! The load generator: a closed loop of keep-alive HTTP/1.1 connections, each of which sends its next request
//! when the last answer is complete. It must never count an answer that is not the whole good one.

use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use memchr::memmem;
use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

/// The requests of one run.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    /// Whole requests, head and body, taken in turn.
    pub requests: Arc<Vec<Vec<u8>>>,
    pub clients: usize,
    pub count: usize,
    /// Text that every answer's body must contain.
    pub expected: &'static str,
}

/// The measurements of one run.
pub struct Outcome {
    /// Time to the last byte of each answer, shortest first.
    pub latencies: Vec<Duration>,
    pub wall: Duration,
    /// Sum of the charges in the answers, in the header's own decimal dollars.
    pub charged: Vec<String>,
}

impl Outcome {
    /// The latency that `percent` of the answers do not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent).div_ceil(100).max(1) - 1;
        self.latencies.get(rank).copied().unwrap_or_default()
    }

    pub fn count(&self) -> u32 {
        u32::try_from(self.latencies.len()).unwrap_or(u32::MAX)
    }
}

/// A whole request.
pub fn post(address: SocketAddr, path: &str, key: &str, body: &str) -> Vec<u8> {
    request("POST", address, path, key, body)
}

fn request(method: &str, address: SocketAddr, path: &str, key: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\naccept: */*\r\nuser-agent: load\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends one request outside of a run and expects success.
pub async fn send(method: &str, address: SocketAddr, path: &str, body: &str) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    let answer = connection.exchange(&request(method, address, path, "none", body)).await?;
    if !(200..300).contains(&answer.status) {
        bail!("{method} {path}: {} {}", answer.status, String::from_utf8_lossy(&connection.body));
    }
    Ok(())
}

/// Sends one request and returns the number of body bytes that came back.
pub async fn body_bytes(load: &Load) -> anyhow::Result<usize> {
    let mut connection = Connection::open(load.address).await?;
    let request = load.requests.first().context("no request")?;
    connection.exchange(request).await?;
    Ok(connection.body.len())
}

/// Runs a load to its end on this thread, beginning with request number `first`.
pub async fn run(load: &Load, first: usize) -> anyhow::Result<Outcome> {
    let next = Rc::new(Cell::new(first));
    let mut connections = Vec::new();
    for _ in 0..load.clients {
        connections.push(Connection::open(load.address).await?);
    }
    let started = Instant::now();
    let running: Vec<_> = connections
        .into_iter()
        .map(|connection| {
            tokio::task::spawn_local(drive(connection, load.clone(), next.clone(), first + load.count))
        })
        .collect();
    let mut outcome =
        Outcome { latencies: Vec::with_capacity(load.count), wall: Duration::ZERO, charged: Vec::new() };
    for client in running {
        let (latencies, charged) = client.await??;
        outcome.latencies.extend(latencies);
        outcome.charged.extend(charged);
    }
    outcome.wall = started.elapsed();
    outcome.latencies.sort_unstable();
    Ok(outcome)
}

async fn drive(
    mut connection: Connection,
    load: Load,
    next: Rc<Cell<usize>>,
    end: usize,
) -> anyhow::Result<(Vec<Duration>, Vec<String>)> {
    let (mut latencies, mut charged) = (Vec::new(), Vec::new());
    loop {
        let index = next.get();
        if index >= end {
            return Ok((latencies, charged));
        }
        next.set(index + 1);
        let request = load.requests.get(index % load.requests.len().max(1)).context("no request")?;
        let started = Instant::now();
        let answer = connection.exchange(request).await?;
        latencies.push(started.elapsed());
        if answer.status != 200 || memmem::find(&connection.body, load.expected.as_bytes()).is_none() {
            bail!("{}: {}", answer.status, String::from_utf8_lossy(&connection.body));
        }
        charged.extend(answer.cost);
    }
}

struct Connection {
    stream: TcpStream,
    /// Received and not consumed yet.
    received: BytesMut,
    /// The body of the last answer.
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    /// The header `x-kairosroute-cost`.
    cost: Option<String>,
}

enum Length {
    Bytes(usize),
    Chunked,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: BytesMut::with_capacity(64 << 10), body: Vec::new() })
    }

    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request).await?;
        self.body.clear();
        let head = self.take_until(b"\r\n\r\n").await?;
        let head = std::str::from_utf8(&head).context("the head of the answer")?;
        let status = head.get(9..12).and_then(|code| code.parse().ok()).context("no status")?;
        let header = |wanted: &str| {
            let mut fields = head.split("\r\n").filter_map(|line| line.split_once(": "));
            fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
        };
        let cost = header("x-kairosroute-cost").map(str::to_owned);
        let length = match header("content-length") {
            Some(length) => Length::Bytes(length.parse()?),
            None if header("transfer-encoding") == Some("chunked") => Length::Chunked,
            None if status == 204 => Length::Bytes(0),
            None => bail!("an answer of unknown length"),
        };
        match length {
            Length::Bytes(length) => self.take(length).await?,
            Length::Chunked => loop {
                let line = self.take_until(b"\r\n").await?;
                let size = usize::from_str_radix(std::str::from_utf8(&line)?.trim_end(), 16)?;
                self.take(size).await?;
                self.take_until(b"\r\n").await?;
                if size == 0 {
                    break;
                }
            },
        }
        Ok(Answer { status, cost })
    }

    /// Consumes up to and including `mark`.
    async fn take_until(&mut self, mark: &[u8]) -> anyhow::Result<BytesMut> {
        loop {
            if let Some(at) = memmem::find(&self.received, mark) {
                return Ok(self.received.split_to(at + mark.len()));
            }
            self.receive().await?;
        }
    }

    /// Moves `length` bytes to the body.
    async fn take(&mut self, length: usize) -> anyhow::Result<()> {
        let mut missing = length;
        loop {
            let ready = missing.min(self.received.len());
            self.body.extend_from_slice(self.received.get(..ready).unwrap_or_default());
            self.received.advance(ready);
            missing -= ready;
            if missing == 0 {
                return Ok(());
            }
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.received).await? == 0 {
            bail!("the connection was closed in the middle of an answer");
        }
        Ok(())
    }
}
