//! Limits the connections of clients: fewer than the process may open files, so that the database and the providers can
//! always be reached; and for one address only a part, so that others can still connect.

use super::newcomers::Newcomers;
use crate::{
    config::ConnectionLimits,
    domain::shares::{Pool, Taken},
};
use actix_web::{dev::Extensions, rt::net::TcpStream};
use ipnet::IpNet;
use rustix::{
    fd::AsFd,
    net::{SendFlags, Shutdown, send, shutdown, sockopt::set_tcp_user_timeout},
    process::{Resource, getrlimit},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Files that are not connections of clients, providers or the database: listeners, logs, runtimes.
const FILES_RESERVED: u64 = 96;
/// With fewer files than this a busy process runs into its limit.
const FILES_WANTED: u64 = 8_192;
const CONNECTIONS_MAX: u64 = 65_536;
/// How long a client may leave sent data unread.
const STALL_MS_MAX: u32 = 60_000;

const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-type: application/json\r\n\
    content-length: 147\r\nconnection: close\r\n\r\n\
    {\"error\":{\"message\":\"Too many connections from your address; close some or use them again\",\
    \"type\":\"rate_limit_error\",\"code\":\"rate_limit_exceeded\"}}";

/// The connections of one process.
pub struct Connections {
    pub total_max: usize,
    per_address_max: u64,
    trusted: Vec<IpNet>,
    addresses: Arc<Pool>,
    newcomers: Arc<Newcomers>,
}

impl Connections {
    /// From the settings and the limits of the system.
    pub fn new(limits: ConnectionLimits, database_connections: u32, trusted: Vec<IpNet>) -> Self {
        let files = files();
        if files < FILES_WANTED {
            tracing::warn!(
                files.max = files,
                files.wanted = FILES_WANTED,
                "the process may open few files: raise its limit (ulimit -n, LimitNOFILE) to serve more connections"
            );
        }
        let room = room(files, database_connections);
        let wanted = limits.connections_max.map_or(room.min(CONNECTIONS_MAX), widened);
        if wanted > room {
            tracing::warn!(
                connections.max = room,
                "KAIROSROUTE_CONNECTIONS_MAX is more than the open files allow"
            );
        }
        let total = wanted.min(room);
        Self {
            total_max: usize::try_from(total).unwrap_or(usize::MAX),
            per_address_max: limits.per_address_max.map_or((total / 2).max(1), widened),
            trusted,
            addresses: Pool::new(u64::MAX),
            newcomers: Newcomers::new(usize::try_from((total / 8).clamp(16, 4_096)).unwrap_or(16)),
        }
    }

    /// Accepts or refuses a new connection. The returned value must live as long as the connection.
    pub fn accept(&self, stream: &TcpStream, kept: &mut Extensions) {
        match stream.peer_addr().ok().map(|peer| self.open(peer)) {
            Some(Some(counted)) => {
                kept.insert(counted);
                kept.insert(self.newcomers.add(stream));
            }
            Some(None) => refuse(stream),
            None => {}
        }
        // Without it Nagle's algorithm and delayed acknowledgements delay streams by 40 ms.
        let _ = stream.set_nodelay(true);
        // A reader that accepts nothing for this long counts as disconnected: its stream ends and is billed.
        let _ = set_tcp_user_timeout(stream, STALL_MS_MAX);
    }

    /// Counts a connection until the value is dropped; `None` if its address has its maximum.
    pub fn open(&self, peer: SocketAddr) -> Option<Taken> {
        let ip = peer.ip().to_canonical();
        // A proxy's connections belong to many clients.
        let share =
            if self.trusted.iter().any(|net| net.contains(&ip)) { u64::MAX } else { self.per_address_max };
        self.addresses.take(owner(ip), 1, share).ok()
    }
}

/// Informs a client that it has too many connections, and closes this one.
fn refuse(stream: impl AsFd) {
    // If the client does not read the answer at once, it does not get it.
    let _ = send(&stream, TOO_MANY, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    let _ = shutdown(&stream, Shutdown::Both);
}

/// Maximum open files of the process.
pub fn files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Connections to providers; their maximum equals that of clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outbound {
    /// To hosts that customers choose, for all customers and for one organization. One request may need several.
    pub customers: u64,
    pub per_organization: u64,
    /// Idle connections: to one host, on one worker.
    pub idle_per_host: usize,
}

impl Outbound {
    pub fn of(files: u64, database_connections: u32, workers: usize) -> Self {
        let room = room(files, database_connections).min(CONNECTIONS_MAX);
        let customers = room / 4 * 3;
        let idle = room / 8 / widened(workers.max(1));
        Self {
            customers,
            per_organization: (customers / 3).max(8),
            idle_per_host: usize::try_from(idle.clamp(4, 512)).unwrap_or(512),
        }
    }
}

/// Connections of clients for which files are available: each may need another one to a provider.
fn room(files: u64, database_connections: u32) -> u64 {
    (files.saturating_sub(FILES_RESERVED + u64::from(database_connections)) / 2).max(16)
}

fn widened(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The number under which an address is counted; addresses of one IPv6 network share one.
fn owner(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(per_address_max: usize) -> Connections {
        let limits = ConnectionLimits { connections_max: Some(100), per_address_max: Some(per_address_max) };
        Connections::new(limits, 12, vec!["10.0.0.0/8".parse().unwrap()])
    }

    #[test]
    fn one_address_gets_its_part_and_a_trusted_proxy_more() {
        let connections = connections(2);
        let open = |address: &str| connections.open(address.parse().unwrap());
        let held = [open("192.0.2.1:1000"), open("192.0.2.1:1001")];
        assert!(held.iter().all(Option::is_some));
        assert!(open("192.0.2.1:1002").is_none());
        assert!(open("[::ffff:192.0.2.1]:1002").is_none(), "the same address, written otherwise");
        assert!(open("192.0.2.2:1000").is_some());
        let network = [open("[2001:db8::1]:1"), open("[2001:db8::2]:1")];
        assert!(network.iter().all(Option::is_some) && open("[2001:db8::3]:1").is_none());
        assert!(open("[2001:db8:0:1::1]:1").is_some());
        let proxied: Vec<_> = (0..9).map(|_| open("10.0.0.1:1")).collect();
        assert!(proxied.iter().all(Option::is_some));
        drop(held);
        assert!(open("192.0.2.1:1003").is_some(), "what has ended counts no more");
    }

    #[test]
    fn files_are_kept_for_providers_and_the_database() {
        assert_eq!(room(1_024, 12), 458);
        assert_eq!(room(20_000, 12), 9_946);
        assert_eq!(room(0, 12), 16);
        assert!(connections(2).total_max <= 100);
    }

    #[test]
    fn no_organization_can_take_all_files_for_hosts_of_its_choice() {
        let few = Outbound::of(1_024, 12, 2);
        assert_eq!((few.customers, few.per_organization, few.idle_per_host), (342, 114, 28));
        let many = Outbound::of(20_000, 12, 2);
        assert_eq!((many.customers, many.per_organization, many.idle_per_host), (7_458, 2_486, 512));
        assert_eq!(Outbound::of(0, 12, 64).idle_per_host, 4);
    }

    #[test]
    fn the_refusal_is_a_whole_answer() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
