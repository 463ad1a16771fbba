use super::*;
use futures_util::future::join_all;
use hickory_resolver::{
    config::{NameServerConfig, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
};
use std::{collections::BTreeSet, net::Ipv4Addr};
use tokio::net::UdpSocket;

const TIME: Duration = Duration::from_millis(300);

/// Asks the name server at `server` alone.
fn names(server: SocketAddr, lookups_max: usize) -> Arc<Names> {
    let limits = NameLimits { lookups_max, lookups_per_organization_max: 2, time: TIME };
    let mut name_server = NameServerConfig::udp(server.ip());
    for connection in &mut name_server.connections {
        connection.port = server.port();
    }
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![name_server]);
    let mut options = ResolverOpts::default();
    options.timeout = TIME;
    options.attempts = 0;
    let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    let resolver = resolver.with_options(options).build().unwrap();
    Names::with(Handle::current(), limits, Some(resolver))
}

/// A name server that never answers.
async fn mute() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// One that gives `127.0.0.1` for every name, and notes the ports that it was asked from.
async fn answering() -> SocketAddr {
    let socket = mute().await;
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            let query = &query[..length];
            // The question ends after the name's last, empty label, its type and its class.
            let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_a = query[end - 3] == 1;
            let mut answer = [&query[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]].concat();
            answer.extend(&query[12..end]);
            if is_a {
                answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_name_whose_server_is_silent_is_given_up_in_time_and_remembered() {
    let server = mute().await;
    let names = names(server.local_addr().unwrap(), 8);
    assert_eq!(names.find(1, "slow.test").await, Err(LookupError::Late));
    assert_eq!(
        names.known.get("slow.test").await,
        Some(Err(LookupError::Late)),
        "it is not asked at once again"
    );
}

#[tokio::test]
async fn an_organization_with_its_share_of_lookups_is_refused_and_others_are_not() {
    let server = mute().await;
    let names = names(server.local_addr().unwrap(), 64);
    let hostile = (0..20).map(|at| {
        let names = names.clone();
        async move { names.find(1, &format!("h{at}.slow.test")).await }
    });
    let victim = async { names.find(2, "victim.test").await };
    let (hostile, victim) = futures_util::future::join(join_all(hostile), victim).await;
    let refused = hostile.iter().filter(|found| **found == Err(LookupError::Busy)).count();
    assert_eq!((refused, victim), (18, Err(LookupError::Late)));
    assert_eq!(names.shares.used(), 0);
}

#[tokio::test]
async fn a_name_that_only_waited_for_its_turn_is_busy_and_asked_again_at_once() {
    let server = mute().await;
    let names = names(server.local_addr().unwrap(), 1);
    let turn = names.asking.acquire().await.unwrap();
    assert_eq!(names.find(1, "waits.test").await, Err(LookupError::Busy));
    assert_eq!(names.known.get("waits.test").await, None, "it says nothing about the name");
    drop(turn);
    // With a turn of its own it is asked, for as long as any other.
    assert_eq!(names.find(1, "waits.test").await, Err(LookupError::Late));
    assert_eq!(names.shares.used(), 0);
}

#[tokio::test]
async fn the_last_addresses_serve_while_there_is_no_room_for_a_look_up() {
    let names = names(answering().await, 1);
    let found = names.find(2, "victim.test").await.unwrap();
    names.known.invalidate("victim.test").await;
    let _turn = names.asking.acquire().await.unwrap();
    assert_eq!(names.find(2, "victim.test").await, Ok(found));
    assert_eq!(names.find(2, "another.test").await, Err(LookupError::Busy));
}

/// A client that asks the guarded resolver, as the transport's do.
fn client(names: &Arc<Names>) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let opened = AllowedNets(vec!["127.0.0.0/8".parse().unwrap()]);
    let resolver = GuardedResolver::new(names.clone(), Arc::new(opened));
    reqwest::Client::builder().no_proxy().dns_resolver(Arc::new(resolver)).build().unwrap()
}

#[tokio::test]
async fn shares_of_look_ups_hold_through_the_http_client() {
    let server = mute().await;
    let names = names(server.local_addr().unwrap(), 64);
    let client = client(&names);
    let ask = |owner: Owner, host: String| {
        let sending = client.get(format!("http://{host}:1/")).send();
        async move { crate::providers::transport::lookup_error(&on_behalf(owner, sending).await.unwrap_err()) }
    };
    let hostile = join_all((0..20).map(|at| ask(1, format!("h{at}.slow.test"))));
    let (hostile, victim) = futures_util::future::join(hostile, ask(2, "victim.test".to_owned())).await;
    let refused = hostile.iter().filter(|error| **error == Some(LookupError::Busy)).count();
    assert_eq!((refused, victim), (18, Some(LookupError::Late)));
    assert_eq!(names.shares.used(), 0);
}

#[tokio::test]
async fn addresses_are_found_once_for_all_who_ask_at_the_same_time() {
    let names = names(answering().await, 8);
    let asking = (0..2).map(|_| names.find(1, "found.test"));
    let found: BTreeSet<_> =
        join_all(asking).await.into_iter().map(|found| found.unwrap().to_vec()).collect();
    assert_eq!(found, BTreeSet::from([vec![IpAddr::from(Ipv4Addr::LOCALHOST)]]));
    assert!(names.known.contains_key("found.test"));
    // What is not public is found, and not dialed.
    let guarded = GuardedResolver::new(names.clone(), Arc::new(AllowedNets::default()));
    let refused = guarded.resolve("found.test".parse().unwrap()).await.err().unwrap();
    assert_eq!(refused.downcast_ref::<LookupError>(), Some(&LookupError::Refused));
    let opened = AllowedNets(vec!["127.0.0.0/8".parse().unwrap()]);
    let dialed = GuardedResolver::new(names, Arc::new(opened)).resolve("found.test".parse().unwrap()).await;
    assert_eq!(dialed.ok().unwrap().map(|address| address.ip()).collect::<Vec<_>>(), [Ipv4Addr::LOCALHOST]);
}

#[tokio::test]
async fn lookups_of_an_operators_name_need_no_share() {
    let server = mute().await;
    let names = names(server.local_addr().unwrap(), 8);
    let _all: Vec<_> = (0..2).map(|_| names.shares.take(0, 1, 2)).collect();
    let found = OperatorResolver(names).resolve("localhost".parse().unwrap()).await;
    assert!(found.ok().unwrap().all(|address| address.ip().is_loopback()));
}
