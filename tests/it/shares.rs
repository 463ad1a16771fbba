//! One hostile tenant and one victim for every resource that all tenants share: the hostile one gets no more than its
//! share and receives an error that states it; the victim is served and never gets a 503. Small here;
//! `KAIROSROUTE_TEST_SIZE=full` makes it large. Each prints one line: the resource, the number of tries, the number of
//! refusals, and the victim's result.

use crate::harness::{Client, Customer, Stack, hello, sized, wait_until};
use futures_util::future::join_all;
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

const MODEL: &str = "openai/gpt-4o-mini";
/// At a provider whose calls are not delayed.
const VICTIMS_MODEL: &str = "groq/openai/gpt-oss-20b";
const PATH: &str = "/v1/chat/completions";

/// `small` tries, or many times as many.
fn tries(small: usize) -> usize {
    sized(small, small * 20)
}

async fn open(address: SocketAddr, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(address).await.unwrap()
}

/// The head of a request that announces a body of this length.
fn head(key: &str, length: usize) -> String {
    format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
}

/// The status of a connection's answer.
async fn status(connection: &mut TcpStream) -> u16 {
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).await.unwrap();
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}

/// Small requests of a victim, all of which must be served.
async fn victim_is_served(client: &Client, victim: &Customer) -> usize {
    for _ in 0..5 {
        let reply = client.chat(&victim.key, &hello(VICTIMS_MODEL)).await;
        assert_eq!(reply.status, 200, "{reply}");
    }
    5
}

fn report(resource: &str, tried: usize, refused: usize, served: usize) {
    println!(
        "shares: {resource}: {tried} tried, {refused} refused with 429; victim: {served} of {served} served"
    );
}

#[tokio::test]
async fn bodies_that_never_arrive() {
    let stack = Stack::builder().env("KAIROSROUTE_BODIES_READ_MAX", "128").start().await;
    let (hostile, victim) = (stack.sign_up().await, stack.customer("1").await);
    let tried = tries(40);
    let mut connections = Vec::new();
    for _ in 0..tried {
        let mut connection = open(stack.address, "127.0.0.1").await;
        connection.write_all(head(&hostile.key, 100).as_bytes()).await.unwrap();
        connections.push(connection);
    }
    // Of the 128 an eighth is one organization's.
    let refused = tried - 16;
    wait_until("the rest to be refused", async || {
        stack.gateway().shared.readings.refused() == refused as u64
    })
    .await;
    assert_eq!(stack.gateway().shared.readings.used(), 16);
    let served = victim_is_served(&stack, &victim).await;
    report("bodies being received", tried, refused, served);
    drop(connections);
    wait_until("the shares to come back", async || stack.gateway().shared.readings.used() == 0).await;
    stack.finish().await;
}

#[tokio::test]
async fn requests_that_are_never_answered() {
    let stack = Stack::builder()
        .env("KAIROSROUTE_REQUESTS_IN_FLIGHT_MAX", "100")
        .env("KAIROSROUTE_REQUESTS_PER_ORGANIZATION_MAX", "20")
        .env("KAIROSROUTE_REQUESTS_WITHOUT_CREDIT_MAX", "5")
        .env("KAIROSROUTE_REQUESTS_PER_KEY_MAX", "15")
        .start()
        .await;
    let (paying, victim) = (stack.customer("5").await, stack.customer("1").await);
    let free = stack.sign_up().await;
    stack.set_provider_keys(&free, &json!({ "OpenAI": "sk-own-12345678" })).await;
    stack.simulator.set_default("openai", Script::default().gated());
    let mut body = hello(MODEL);
    body["max_tokens"] = json!(16);
    for (hostile, share) in [(&free, 5), (&paying, 15)] {
        let before = stack.simulator.waiting();
        let tried = tries(40);
        let asking: Vec<_> = (0..tried)
            .map(|_| {
                let (client, key, body) = (stack.client.clone(), hostile.key.clone(), body.clone());
                tokio::spawn(async move { client.chat(&key, &body).await })
            })
            .collect();
        let over = || asking.iter().filter(|one| one.is_finished()).count();
        wait_until("the rest to be refused", async || over() == tried - share).await;
        wait_until("the others to wait", async || stack.simulator.waiting() == before + share).await;
        let served = victim_is_served(&stack, &victim).await;
        for reply in asking.into_iter().filter(|one| one.is_finished()) {
            let reply = reply.await.unwrap();
            assert_eq!((reply.status, reply.code().as_str()), (429, "rate_limit_exceeded"), "{reply}");
            assert_eq!(reply.header("retry-after"), "1");
        }
        report("requests in flight", tried, tried - share, served);
    }
    stack.simulator.set_default("openai", Script::default());
    stack.simulator.release();
    wait_until("all to end", async || stack.gateway().shared.places.used() == 0).await;
    assert_eq!(stack.chat(&paying.key, &body).await.status, 200, "the places come back");
    stack.finish().await;
}

#[tokio::test]
async fn memory_of_bodies_that_stall() {
    let stack = Stack::builder()
        .env("KAIROSROUTE_MEMORY_BYTES_MAX", "16777216")
        .env("KAIROSROUTE_MEMORY_BYTES_PER_ORGANIZATION_MAX", "2097152")
        .start()
        .await;
    let (hostile, victim) = (stack.sign_up().await, stack.customer("1").await);
    let (tried, sent) = (tries(20), 1 << 20);
    let mut connections = Vec::new();
    for _ in 0..tried {
        let mut connection = open(stack.address, "127.0.0.1").await;
        connection.write_all(head(&hostile.key, sent + 1_000).as_bytes()).await.unwrap();
        // The gateway may close before it has read everything of a refused request.
        let _ = connection.write_all(&vec![b' '; sent]).await;
        connections.push(connection);
    }
    let memory = &stack.gateway().shared.memory;
    wait_until("the rest to be refused", async || memory.refused() >= tried as u64 - 2).await;
    assert!(memory.used() <= 2 << 20, "{} bytes", memory.used());
    let mut large = hello(VICTIMS_MODEL);
    large["messages"][0]["content"] = json!("tide ".repeat(60_000));
    let reply = stack.chat(&victim.key, &large).await;
    assert_eq!(reply.status, 200, "{reply}");
    let served = victim_is_served(&stack, &victim).await;
    report("memory of bodies", tried, usize::try_from(memory.refused()).unwrap(), served);
    drop(connections);
    wait_until("the memory to come back", async || memory.used() == 0).await;
    stack.finish().await;
}

/// A host that answers every request with this many bytes of JSON, and never ends them.
async fn endless_host(bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = vec![0; 64 * 1024];
                let _ = connection.read(&mut request).await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    bytes + 1_000
                );
                let _ = connection.write_all(head.as_bytes()).await;
                let _ = connection.write_all(&vec![b' '; bytes]).await;
                // Open until the gateway closes it.
                while connection.read(&mut request).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    url
}

#[tokio::test]
async fn memory_of_answers_that_stall() {
    let stack = Stack::builder()
        .env("KAIROSROUTE_MEMORY_BYTES_MAX", "16777216")
        .env("KAIROSROUTE_MEMORY_BYTES_PER_ORGANIZATION_MAX", "2097152")
        .env("KAIROSROUTE_ALLOW_PRIVATE_NETS", "127.0.0.0/8")
        .start()
        .await;
    let (hostile, victim) = (stack.sign_up().await, stack.customer("1").await);
    let keys = json!({ "OpenAI": [{ "key": "sk-own-12345678", "baseUrl": endless_host(1 << 20).await }] });
    stack.set_provider_keys(&hostile, &keys).await;
    let tried = tries(12);
    let asking: Vec<_> = (0..tried)
        .map(|_| {
            let (client, key) = (stack.client.clone(), hostile.key.clone());
            tokio::spawn(async move { client.chat(&key, &hello(MODEL)).await })
        })
        .collect();
    let memory = &stack.gateway().shared.memory;
    // The order decides how far each gets; each refused request returns its memory.
    wait_until("some to be refused", async || memory.refused() >= 4).await;
    assert!(memory.used() <= 2 << 20, "{} bytes", memory.used());
    let served = victim_is_served(&stack, &victim).await;
    let mut refused = 0;
    for reply in asking {
        if !reply.is_finished() {
            reply.abort();
            continue;
        }
        let reply = reply.await.unwrap();
        assert_eq!((reply.status, reply.code().as_str()), (429, "rate_limit_exceeded"), "{reply}");
        refused += 1;
    }
    report("memory of answers", tried, refused, served);
    wait_until("the memory to come back", async || memory.used() == 0).await;
    stack.finish().await;
}

#[tokio::test]
async fn connections_of_one_address() {
    let stack = Stack::builder().env("KAIROSROUTE_CONNECTIONS_PER_ADDRESS_MAX", "32").start().await;
    let victim = stack.customer("1").await;
    let tried = tries(60);
    let mut connections = Vec::new();
    for _ in 0..tried {
        let mut connection = open(stack.address, "127.0.0.2").await;
        let _ = connection.write_all(b"GET /healthz HTTP/1.1\r\n").await;
        connections.push(connection);
    }
    let mut refused = 0;
    for connection in connections.iter_mut().skip(32) {
        assert_eq!(status(connection).await, 429);
        refused += 1;
    }
    let served = victim_is_served(&stack, &victim).await;
    report("connections of an address", tried, refused, served);
    drop(connections);
    wait_until("the address to be free again", async || {
        let mut connection = open(stack.address, "127.0.0.2").await;
        connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        status(&mut connection).await == 200
    })
    .await;
    stack.finish().await;
}

#[tokio::test]
async fn large_bodies() {
    let stack = Stack::builder()
        .env("KAIROSROUTE_LARGE_BODY_BYTES", "65536")
        .env("KAIROSROUTE_LARGE_REQUEST_THREADS", "1")
        .start()
        .await;
    let (hostile, victim) = (stack.sign_up().await, stack.customer("1").await);
    let members: Vec<String> = (0..20_000).map(|at| format!(r#""k{at:07}":null"#)).collect();
    let body = format!(
        r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"x"}}],"metadata":{{{}}}}}"#,
        members.join(",")
    );
    let tried = tries(12);
    let asking = (0..tried).map(|_| {
        let sent =
            stack.request("POST", PATH).bearer(&hostile.key).header("content-type", "application/json");
        sent.body(body.clone()).send()
    });
    let (replies, served) =
        futures_util::future::join(join_all(asking), victim_is_served(&stack, &victim)).await;
    let is_told = |status: u16| (400..500).contains(&status);
    assert!(replies.iter().all(|reply| is_told(reply.status)), "{}", replies[0]);
    // A large valid request is answered, whole and streamed, like any other.
    let mut large = hello(VICTIMS_MODEL);
    large["messages"][0]["content"] = json!("tide ".repeat(20_000));
    let reply = stack.chat(&victim.key, &large).await;
    assert_eq!((reply.status, reply.receipt_id().is_empty()), (200, false), "{reply}");
    let frames = stack.stream(&victim.key, &large).await.rest().await;
    assert!(frames.last().unwrap().is_done());
    let busy = replies.iter().filter(|reply| reply.status == 429).count();
    report("large bodies", tried, busy, served);
    stack.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_its_large_request_is_answered_ends_it() {
    let stack = Stack::builder().env("KAIROSROUTE_LARGE_BODY_BYTES", "1024").start().await;
    let customer = stack.customer("5").await;
    stack.simulator.set_default("openai", Script::default().gated());
    let mut large = hello(MODEL);
    large["messages"][0]["content"] = json!("tide ".repeat(1_000));
    let (client, key) = (stack.client.clone(), customer.key.clone());
    let asking = tokio::spawn(async move { client.chat(&key, &large).await });
    wait_until("the provider to be asked", async || stack.simulator.waiting() == 1).await;
    asking.abort();
    wait_until("the request to end", async || stack.gateway().shared.places.used() == 0).await;
    stack.simulator.release();
    stack.finish().await;
}

#[tokio::test]
async fn a_flood_of_refusals() {
    let stack = Stack::start().await;
    let (hostile, victim) = (stack.sign_up().await, stack.customer("1").await);
    let tried = tries(200);
    let (mut replies, empty) = (Vec::new(), json!({}));
    for _ in 0..tried / 20 {
        replies.extend(join_all((0..20).map(|_| stack.chat(&hostile.key, &empty))).await);
    }
    assert!(replies.iter().all(|reply| matches!(reply.status, 400 | 429)));
    let served = victim_is_served(&stack, &victim).await;
    report("refusals", tried, replies.iter().filter(|reply| reply.status == 429).count(), served);
    stack.finish().await;
}

#[tokio::test]
async fn bodies_of_callers_without_a_key_are_small() {
    let stack = Stack::start().await;
    for path in ["/api/auth/signup", "/api/auth/login"] {
        let body = json!({ "email": "x".repeat(70_000), "password": "y" });
        let reply = stack.post(path, "", &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (413, "request_too_large"), "{path}");
    }
}

#[tokio::test]
async fn compressed_bodies_are_read_bombs_refused_and_unknown_codings_named() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    let stack = Stack::builder().env("KAIROSROUTE_BODY_BYTES_MAX", "65536").start().await;
    let customer = stack.customer("1").await;
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let send = async |path: &str, token: &str, coding: &str, body: Vec<u8>| {
        let request = stack.request("POST", path).bearer(token).header("content-type", "application/json");
        request.header("content-encoding", coding).body(body).send().await
    };
    let body = hello(MODEL).to_string().into_bytes();
    for coding in ["gzip", "x-gzip", "GZIP"] {
        let reply = send(PATH, &customer.key, coding, gzip(&body)).await;
        assert_eq!(reply.status, 200, "{reply}");
    }
    let bomb = send(PATH, &customer.key, "gzip", gzip(&vec![b' '; 8 << 20])).await;
    assert_eq!((bomb.status, bomb.code().as_str()), (413, "request_too_large"));
    let broken = send(PATH, &customer.key, "gzip", body.clone()).await;
    assert_eq!((broken.status, broken.code().as_str()), (400, "invalid_request"));
    let login = json!({ "email": customer.email, "password": crate::harness::PASSWORD });
    let reply = send("/api/auth/login", "", "gzip", gzip(login.to_string().as_bytes())).await;
    assert_eq!(reply.status, 200, "{reply}");
    for (path, token) in
        [(PATH, customer.key.as_str()), ("/api/auth/login", ""), ("/api/auth", &customer.session)]
    {
        let reply = send(path, token, "compress", body.clone()).await;
        assert_eq!((reply.status, reply.code().as_str()), (415, "unsupported_encoding"), "{path}");
        assert_eq!(reply.header("accept-encoding"), "gzip, deflate, br, zstd", "{path}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_body_with_broken_chunks_is_told_so() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for chunks in ["zz\r\n{}\r\n0\r\n\r\n", "5\r\n{}\r\n0\r\n\r\n", "-1\r\n\r\n", "ffffffffffffffffff\r\n"] {
        let request = format!(
            "POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}",
            customer.key
        );
        let answer = String::from_utf8_lossy(&stack.raw(request.as_bytes()).await).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn what_is_read_can_be_asked_about_and_options_name_the_methods() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for (path, status) in
        [("/", 200), ("/health", 200), ("/healthz", 200), ("/readyz", 200), ("/v1/models", 200)]
    {
        let reply = stack.request("HEAD", path).bearer(&customer.key).send().await;
        assert_eq!((reply.status, reply.body.len()), (status, 0), "{path}");
        let whole = stack.get(path, &customer.key).await;
        assert_eq!((whole.status, whole.header("x-content-type-options")), (status, "nosniff"), "{path}");
    }
    assert_eq!(stack.request("HEAD", "/v1/models").send().await.status, 401);
    assert_eq!(stack.request("HEAD", PATH).bearer(&customer.key).send().await.status, 405);
    for (path, allow) in [(PATH, "POST, OPTIONS"), ("/v1/models", "GET, HEAD, OPTIONS")] {
        let reply = stack.request("OPTIONS", path).send().await;
        assert_eq!((reply.status, reply.header("allow")), (204, allow), "{path}");
    }
}

/// The body of a stream that goes on after its end.
fn after_the_end(bytes: usize) -> Value {
    json!({ "choices": [{ "index": 0, "delta": { "content": "x".repeat(bytes) }, "finish_reason": null }] })
}

#[tokio::test]
async fn frames_that_wait_for_the_bill_are_bounded() {
    let stack = Stack::builder().env("KAIROSROUTE_STREAM_HELD_BYTES_MAX", "4096").start().await;
    let customer = stack.customer("1").await;
    let begin =
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}]}"#;
    let finish = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    for (bytes, is_whole) in [(1_000, true), (8_000, false)] {
        let tail = after_the_end(bytes).to_string();
        let frames = [begin, finish, &tail, "[DONE]"].map(|data| format!("data: {data}\n\n"));
        stack.simulator.enqueue("openai", Script::raw_frames(&frames.each_ref().map(String::as_str)));
        let frames = stack.stream(&customer.key, &hello(MODEL)).await.rest().await;
        let last = frames.last().unwrap();
        assert_eq!(last.is_done(), is_whole, "{bytes}: {last:?}");
    }
    stack.finish().await;
}
