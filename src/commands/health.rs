//! `kairosroute health`: whether the gateway on this machine lives, for containers that have no other program to ask it
//! with.

use anyhow::{Context, bail};
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

const TIME_MAX: Duration = Duration::from_secs(2);
/// Of the answer only the first line counts.
const ANSWER_BYTES_MAX: u64 = 1_024;

/// Asks `GET /healthz` at the address that the gateway listens on.
pub fn run(listens_on: SocketAddr) -> anyhow::Result<()> {
    let address = reachable(listens_on);
    let mut stream =
        TcpStream::connect_timeout(&address, TIME_MAX).with_context(|| format!("no gateway on {address}"))?;
    stream.set_read_timeout(Some(TIME_MAX))?;
    stream.set_write_timeout(Some(TIME_MAX))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    match line.split(|byte| *byte == b' ').nth(1) {
        Some(b"200") => Ok(()),
        Some(status) => bail!("the gateway answers {}", String::from_utf8_lossy(status)),
        None => bail!("what answers on {address} is no gateway"),
    }
}

/// A gateway that listens on every address is reached at the loopback one.
fn reachable(listens_on: SocketAddr) -> SocketAddr {
    let ip = match listens_on.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listens_on.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answering(text: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 512];
            let _ = stream.read(&mut head).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn only_an_answer_with_200_is_healthy() {
        assert!(run(answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).is_ok());
        assert!(run(answering("HTTP/1.1 503 Service Unavailable\r\n\r\n")).is_err());
        assert!(run(answering("hello")).is_err());
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(run(closed).is_err());
    }

    #[test]
    fn an_address_for_all_is_asked_at_the_loopback_one() {
        assert_eq!(reachable("0.0.0.0:8080".parse().unwrap()), "127.0.0.1:8080".parse().unwrap());
        assert_eq!(reachable("[::]:8080".parse().unwrap()), "[::1]:8080".parse().unwrap());
        assert_eq!(reachable("10.0.0.1:1".parse().unwrap()), "10.0.0.1:1".parse().unwrap());
    }
}
