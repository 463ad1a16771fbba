//! Connections that end at the wrong moment, against a server that counts them.

use super::*;
use crate::{domain::shares::Pool, providers::resolver::NameLimits};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What the server does with the requests of one connection, in order; then it closes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Answer,
    /// A head that promises more than comes.
    Cut,
    /// Reads the request and closes.
    Close,
}

struct Server {
    url: Url,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Connection number n does what entry n says; the last entry is repeated.
    async fn start(script: &'static [&'static [Act]]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/chat", listener.local_addr().unwrap())).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(connection, script[number.min(script.len() - 1)]));
            }
        });
        Self { url, connections }
    }

    async fn post(&self, transport: &Transport) -> Result<Vec<u8>, UpstreamError> {
        let outgoing = Outgoing {
            to: Destination::Operator(self.url.clone()),
            body: b"{}".to_vec(),
            content_type: Cow::Borrowed("application/json"),
            beta: None,
            traceparent: None,
        };
        let provider = ProviderId::by_id("openai").unwrap();
        let response = transport.post(provider, outgoing, &Secret::new("sk-x".to_owned())).await?;
        let memory = Pool::new(u64::MAX);
        read_body(response, 1_024, &mut Charge::new(&memory, 0, u64::MAX)).await
    }
}

async fn serve(mut connection: TcpStream, acts: &[Act]) {
    for act in acts {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n{}") {
            if connection.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let answer: &[u8] = match act {
            Act::Answer => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            Act::Cut => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
            Act::Close => return,
        };
        connection.write_all(answer).await.unwrap();
    }
}

fn transport() -> Transport {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let names = Names::new(tokio::runtime::Handle::current(), NameLimits::default());
    Transport::new(Connecting::within(Duration::from_secs(5)), Arc::new(AllowedNets::default()), names)
        .unwrap()
}

#[tokio::test]
async fn a_call_that_was_read_whole_is_not_made_again_when_its_used_connection_closes() {
    use Act::{Answer, Close};
    let server = Server::start(&[&[Answer, Close], &[Answer]]).await;
    let transport = transport();
    assert_eq!(server.post(&transport).await.unwrap(), b"ok");
    let rejection = server.post(&transport).await.unwrap_err();
    assert!(rejection.class == ErrorClass::Overload && !rejection.unusable_success, "{rejection:?}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "the provider may be working on it");
    assert_eq!(server.post(&transport).await.unwrap(), b"ok");
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_new_connection_that_closes_unanswered_is_a_failure_of_the_provider() {
    let server = Server::start(&[&[Act::Close]]).await;
    let rejection = server.post(&transport()).await.unwrap_err();
    assert!(rejection.class == ErrorClass::Overload && !rejection.unusable_success, "{rejection:?}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "it is not asked again here");
}

#[tokio::test]
async fn a_success_that_breaks_off_is_marked_as_perhaps_billed() {
    let server = Server::start(&[&[Act::Cut]]).await;
    let rejection = server.post(&transport()).await.unwrap_err();
    assert!(rejection.unusable_success, "{rejection:?}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}
