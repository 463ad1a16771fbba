//! Connections against a scripted server.

use super::*;
use crate::providers::{
    guard::AllowedNets,
    resolver::{GuardedResolver, NameLimits, Names, on_behalf},
};
use hyper_util::rt::TokioIo;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that gives each request `answer`, and how many connections it has accepted.
async fn server(answer: &'static str) -> (Url, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/v1/chat?alt=sse", listener.local_addr().unwrap())).unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = accepted.clone();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = vec![0; 4_096];
                while connection.read(&mut request).await.is_ok_and(|count| count > 0) {
                    assert!(request.starts_with(b"POST /v1/chat?alt=sse HTTP/1.1\r\n"));
                    connection.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (url, accepted)
}

fn client(limits: IdleLimits) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let names = Names::new(tokio::runtime::Handle::current(), NameLimits::default());
    let resolver = Arc::new(GuardedResolver::new(names, Arc::new(AllowedNets::default())));
    let tls = ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty());
    Client::new(resolver, &tls.with_no_client_auth(), Duration::from_secs(5), limits)
}

fn limits(per_host_max: usize, seconds: u64) -> IdleLimits {
    IdleLimits { per_host_max, time: Duration::from_secs(seconds) }
}

fn post() -> Post {
    Post { headers: HeaderMap::new(), body: Bytes::from_static(b"{}") }
}

async fn ask(client: &Client, url: &Url) -> Result<Answer, CallError> {
    client.post(url, post(), &no_headers).await
}

fn no_headers() -> Option<HeaderMap> {
    Some(HeaderMap::new())
}

async fn read(answer: &mut Answer) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(bytes) = answer.chunk().await.unwrap() {
        body.extend_from_slice(&bytes);
    }
    body
}

#[tokio::test]
async fn a_connection_is_kept_once_its_answer_was_read_and_no_longer_than_it_may() {
    let (url, accepted) = server(ANSWER).await;
    let kept = client(limits(8, 60));
    for _ in 0..3 {
        assert_eq!(read(&mut ask(&kept, &url).await.unwrap()).await, b"ok");
    }
    assert_eq!((accepted.load(Ordering::SeqCst), kept.idle()), (1, 1));
    let unread = ask(&kept, &url).await.unwrap();
    drop(unread);
    assert_eq!(kept.idle(), 0, "an answer that was not read ends its connection");
    let expired = client(limits(8, 0));
    for _ in 0..2 {
        read(&mut ask(&expired, &url).await.unwrap()).await;
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 3, "each has one of its own");
}

#[tokio::test]
async fn no_more_connections_are_kept_for_a_host_than_may_be() {
    let (url, accepted) = server(ANSWER).await;
    let client = client(limits(2, 60));
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(ask(&client, &url).await.unwrap());
    }
    for answer in &mut answers {
        read(answer).await;
    }
    assert_eq!((accepted.load(Ordering::SeqCst), client.idle()), (4, 2));
}

#[tokio::test]
async fn an_organization_gets_its_share_of_connections_and_gives_them_back() {
    let (url, _) = server(ANSWER).await;
    let counted = CustomerConnections::new(100, 2);
    let client = client(limits(8, 60)).counted_by(counted.clone());
    let ask_for = |owner| on_behalf(owner, ask(&client, &url));
    let (first, second) = (ask_for(1).await.unwrap(), ask_for(1).await.unwrap());
    assert!(matches!(ask_for(1).await, Err(CallError::Full)));
    assert_eq!(read(&mut ask_for(2).await.unwrap()).await, b"ok", "others have theirs");
    drop((first, second));
    while counted.open() > 1 {
        tokio::task::yield_now().await;
    }
    assert!(ask_for(1).await.is_ok());
}

#[tokio::test]
async fn little_of_an_answer_is_read_before_anybody_wants_it() {
    const SENT: usize = 4 << 20;
    let (mut far, near) = tokio::io::duplex(64 * 1024);
    let mut sender = begin(TokioIo::new(near), None).await.unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    tokio::spawn(async move {
        let mut request = vec![0; 4_096];
        assert!(far.read(&mut request).await.unwrap() > 0, "the call");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SENT}\r\n\r\n");
        far.write_all(head.as_bytes()).await.unwrap();
        while counted.load(Ordering::SeqCst) < SENT {
            let count = far.write(&[b'x'; 1_024]).await.unwrap();
            counted.fetch_add(count, Ordering::SeqCst);
        }
    });
    let url = Url::parse("http://x.test/").unwrap();
    let (_, mut body) = sender
        .sender
        .send_request(request(Origin::of(&url).unwrap(), post()).unwrap())
        .await
        .unwrap()
        .into_parts();
    // A reader that takes a part now and then: what was sent runs ahead of it by the buffers alone.
    let mut read = 0;
    for _ in 0..20 {
        read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        let ahead = taken.load(Ordering::SeqCst) - read;
        assert!(ahead <= 64 * 1024 + 2 * BUFFER_BYTES_MAX, "{ahead} bytes ahead");
    }
}

/// What a provider does with the second request on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Second {
    /// It has closed the connection before.
    Closed,
    /// It reads so many bytes and closes.
    Read(usize),
    /// It reads the whole request and closes, without an answer.
    ReadWhole,
}

/// A provider that answers the first request of each connection; how many whole requests it has received, and a
/// notice of each connection that it closed.
async fn closing_server(
    second: Second,
    request_bytes: usize,
) -> (Url, Arc<AtomicUsize>, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/v1", listener.local_addr().unwrap())).unwrap();
    let received = Arc::new(AtomicUsize::new(0));
    let (closed, closings) = tokio::sync::mpsc::unbounded_channel();
    let counted = received.clone();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let (counted, closed) = (counted.clone(), closed.clone());
            tokio::spawn(async move {
                receive(&mut connection, request_bytes).await;
                counted.fetch_add(1, Ordering::SeqCst);
                connection.write_all(ANSWER.as_bytes()).await.unwrap();
                match second {
                    Second::Closed => {}
                    Second::Read(count) => {
                        receive(&mut connection, count).await;
                    }
                    Second::ReadWhole => {
                        receive(&mut connection, request_bytes).await;
                        counted.fetch_add(1, Ordering::SeqCst);
                    }
                }
                drop(connection);
                let _ = closed.send(());
            });
        }
    });
    (url, received, closings)
}

/// Reads so many bytes of a request's body, with the head before it.
async fn receive(connection: &mut tokio::net::TcpStream, body_bytes: usize) {
    let mut received = Vec::new();
    loop {
        let head = received.windows(4).position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|head| received.len() >= head + 4 + body_bytes) {
            return;
        }
        if connection.read_buf(&mut received).await.unwrap() == 0 {
            return;
        }
    }
}

#[tokio::test]
async fn a_call_goes_over_a_new_connection_only_if_the_provider_cannot_have_all_of_it() {
    // More than the sockets of both sides hold.
    const LARGE: usize = 32 << 20;
    for (second, body_bytes, is_repeated) in [
        (Second::Closed, 2, true),
        (Second::Read(10_000), LARGE, true),
        (Second::ReadWhole, 2, false),
        (Second::ReadWhole, 1 << 20, false),
    ] {
        let (url, received, mut closings) = closing_server(second, body_bytes).await;
        let client = client(limits(8, 60));
        let body = Bytes::from(vec![b'x'; body_bytes]);
        let send = || {
            let post = Post { headers: HeaderMap::new(), body: body.clone() };
            client.post(&url, post, &no_headers)
        };
        assert_eq!(read(&mut send().await.unwrap()).await, b"ok");
        if second == Second::Closed {
            assert_eq!(closings.recv().await, Some(()));
            while client.ready() > 0 {
                tokio::task::yield_now().await;
            }
        } else {
            assert_eq!(client.idle(), 1);
        }
        let outcome = send().await;
        assert_eq!(outcome.is_ok(), is_repeated, "{second:?}, {body_bytes} bytes");
        assert_eq!(received.load(Ordering::SeqCst), 2, "{second:?}, {body_bytes} bytes");
        assert!(is_repeated || matches!(outcome, Err(CallError::Broken(_))));
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_its_request_is_begun_gives_the_request_back() {
    let (far, near) = tokio::io::duplex(1_024);
    let connection = begin(TokioIo::new(near), None).await.unwrap();
    // The connection's task has not run: it finds the end and the request together.
    drop(far);
    let client = client(limits(8, 60));
    let url = Url::parse("http://x.test/").unwrap();
    let origin = Origin::of(&url).unwrap();
    let failed = client.send(connection, origin, request(origin, post()).unwrap()).await;
    let failed = failed.err().unwrap();
    assert!(failed.unsent.is_some() && !failed.may_be_served);
}

#[test]
fn an_origin_is_scheme_host_and_port() {
    for (url, text, bare, port, target) in [
        ("https://api.test/v1?x=a://b/c#d", "https://api.test", "api.test", 443, "/v1?x=a://b/c"),
        ("http://[::1]:8080/v1", "http://[::1]:8080", "::1", 8_080, "/v1"),
        ("https://api.test", "https://api.test", "api.test", 443, "/"),
    ] {
        let url = Url::parse(url).unwrap();
        let origin = Origin::of(&url).unwrap();
        assert_eq!((origin.text, origin.bare_host(), origin.port, origin.target), (text, bare, port, target));
        assert_eq!(origin.is_tls, text.starts_with("https"));
        let sent = request(origin, post()).unwrap();
        assert_eq!(sent.headers()[HOST], text.split_once("://").unwrap().1);
    }
    assert!(Origin::of(&Url::parse("https://user@api.test/").unwrap()).is_none());
}
