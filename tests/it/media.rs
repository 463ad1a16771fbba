//! Images and documents by URL, for a provider that does not fetch: a small host of the customer's on this machine, and
//! the content that the provider receives.

use crate::harness::{Customer, Reply, Stack};
use base64::{Engine, engine::general_purpose::STANDARD};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

const GOOGLE: &str = "google/gemini-3.8-flash";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and so on";
const BYTES_MAX: usize = 2048;

/// A host of images, and of other content. Its thread ends with the process.
struct Host {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Host {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = answer(stream, address);
            }
        });
        Self { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, address: SocketAddr) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        head.extend_from_slice(&piece[..read]);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let moved = |to: &str| (format!("302 Found\r\nlocation: {to}"), "text/plain", Vec::new());
    let (status, media_type, body) = match path {
        // Hosts often declare a wrong type.
        "/a.png" => ("200 OK".to_owned(), "application/octet-stream", PNG.to_vec()),
        "/a.pdf" => ("200 OK".to_owned(), "application/pdf", b"%PDF-1.7".to_vec()),
        "/big.png" => ("200 OK".to_owned(), "image/png", [PNG, &[0; 2 * BYTES_MAX]].concat()),
        "/page" => ("200 OK".to_owned(), "text/html; charset=utf-8", b"<p>Log in".to_vec()),
        "/moved" => moved("/a.png"),
        // Another address of this machine, which is not opened.
        "/inside" => moved(&format!("http://127.0.0.2:{}/a.png", address.port())),
        _ => ("404 Not Found".to_owned(), "text/plain", Vec::new()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Client {
    Chat,
    Responses,
    Messages,
}

const CLIENTS: [Client; 3] = [Client::Chat, Client::Responses, Client::Messages];

impl Client {
    async fn ask(self, stack: &Stack, customer: &Customer, model: &str, part: Value) -> Reply {
        let (path, history, text) = match self {
            Client::Chat => ("/v1/chat/completions", "messages", "text"),
            Client::Responses => ("/v1/responses", "input", "input_text"),
            Client::Messages => ("/v1/messages", "messages", "text"),
        };
        let content = json!([{ "type": text, "text": "What is this?" }, part]);
        let mut body = json!({ "model": model, history: [{ "role": "user", "content": content }] });
        if self == Client::Messages {
            body["max_tokens"] = json!(2_000);
        }
        stack.request("POST", path).bearer(&customer.key).json(&body).send().await
    }

    fn picture(self, url: &str) -> Value {
        match self {
            Client::Chat => json!({ "type": "image_url", "image_url": { "url": url } }),
            Client::Responses => json!({ "type": "input_image", "image_url": url }),
            Client::Messages => json!({ "type": "image", "source": { "type": "url", "url": url } }),
        }
    }

    fn document(self, url: &str) -> Value {
        match self {
            Client::Chat => json!({ "type": "file", "file": { "file_data": url } }),
            Client::Responses => json!({ "type": "input_file", "file_url": url }),
            Client::Messages => json!({ "type": "document", "source": { "type": "url", "url": url } }),
        }
    }
}

/// A gateway that may fetch from [`Host`].
async fn opened() -> (Stack, Customer) {
    let builder = Stack::builder()
        .env("KAIROSROUTE_ALLOW_PRIVATE_NETS", "127.0.0.1/32")
        .env("KAIROSROUTE_MEDIA_BYTES_MAX", &BYTES_MAX.to_string());
    let stack = builder.start().await;
    let customer = stack.customer("1000").await;
    (stack, customer)
}

/// The second part of the first turn of the last call.
fn part(stack: &Stack) -> Value {
    let call = stack.simulator.bill().pop().expect("nothing was sent");
    let body: Value = serde_json::from_str(&call.body).unwrap();
    body["contents"][0]["parts"][1].clone()
}

#[tokio::test]
async fn what_is_named_by_url_reaches_a_provider_that_fetches_nothing_by_value() {
    let (host, (stack, customer)) = (Host::start(), opened().await);
    for client in CLIENTS {
        for (part_of, path, media_type, bytes) in [
            (Client::picture as fn(Client, &str) -> Value, "a.png", "image/png", PNG),
            (Client::picture, "moved", "image/png", PNG),
            (Client::document, "a.pdf", "application/pdf", b"%PDF-1.7"),
        ] {
            let reply = client.ask(&stack, &customer, GOOGLE, part_of(client, &host.url(path))).await;
            assert_eq!(reply.status, 200, "{client:?} {path}: {}", reply.text());
            let expected =
                json!({ "inlineData": { "mimeType": media_type, "data": STANDARD.encode(bytes) } });
            assert_eq!(part(&stack), expected, "{client:?} {path}");
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn it_is_fetched_once_however_often_the_provider_is_called() {
    let (host, (stack, customer)) = (Host::start(), opened().await);
    stack.simulator.enqueue("google", Script::failing(503));
    let part = Client::Chat.picture(&host.url("a.png"));
    let reply = Client::Chat.ask(&stack, &customer, GOOGLE, part).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let bill = stack.simulator.bill();
    assert_eq!((bill.len(), host.asked()), (2, 1));
    assert_eq!(bill[0].body, bill[1].body);
    stack.finish().await;
}

#[tokio::test]
async fn what_cannot_be_fetched_or_is_something_else_is_refused_by_its_host_and_nothing_is_sent() {
    let (host, (stack, customer)) = (Host::start(), opened().await);
    for client in CLIENTS {
        for (part_of, path, why) in [
            (Client::picture as fn(Client, &str) -> Value, "big.png", "larger than 2048 bytes"),
            (Client::picture, "inside", "not public"),
            (Client::picture, "page", "text/html"),
            (Client::document, "page", "text/html"),
            (Client::picture, "a.pdf", "application/pdf"),
            (Client::picture, "gone", "404"),
        ] {
            let reply = client.ask(&stack, &customer, GOOGLE, part_of(client, &host.url(path))).await;
            let told = format!("{client:?} {path}: {}", reply.text());
            let field = if client == Client::Responses { "`input`" } else { "`messages`" };
            assert_eq!(reply.status, 400, "{told}");
            for named in [why, "127.0.0.1", field] {
                assert!(reply.message().contains(named), "{named}: {told}");
            }
            assert!(stack.simulator.bill().is_empty(), "{told}");
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn an_address_of_our_own_network_is_not_dialed() {
    let host = Host::start();
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for client in CLIENTS {
        let reply = client.ask(&stack, &customer, GOOGLE, client.picture(&host.url("a.png"))).await;
        assert_eq!(reply.status, 400, "{client:?}: {}", reply.text());
        assert!(reply.message().contains("not public"), "{client:?}: {}", reply.text());
    }
    assert_eq!(host.asked(), 0);
    assert!(stack.simulator.bill().is_empty());
    stack.finish().await;
}

#[tokio::test]
async fn videos_that_google_opens_itself_are_left_to_it() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let video = "https://www.youtube.com/watch?v=1";
    let reply = Client::Responses.ask(&stack, &customer, GOOGLE, Client::Responses.document(video)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(part(&stack), json!({ "fileData": { "fileUri": video } }));
    stack.finish().await;
}
