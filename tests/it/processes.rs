//! What only whole processes can show: a rolling restart under load, a process that stands still for longer than its
//! lease, and an attack on the open files of a process that may have few.

use crate::{
    harness::{ChildStack, Client, Stack, hello, sized, wait_at_most, wait_until},
    money::receipts_agree,
};
use kairosroute::simulator::Script;
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

const MODEL: &str = "openai/gpt-4o-mini";

/// Callers of two processes, as a load balancer lets them call: one that refuses is passed over for the other.
#[derive(Clone)]
struct Callers {
    processes: Arc<Mutex<[Client; 2]>>,
    key: String,
    served: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Callers {
    async fn call_until_the_end(self, first: usize) {
        while !self.ended.load(Ordering::Relaxed) {
            self.call(first).await;
            self.served.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One call, which must be answered by one of the two.
    async fn call(&self, first: usize) {
        for turn in first..first + 200 {
            let process = self.processes.lock().unwrap()[turn % 2].clone();
            let asking = process.request("POST", "/v1/chat/completions").bearer(&self.key);
            match asking.json(&hello(MODEL)).try_send().await {
                Ok(reply) if reply.status == 200 => return,
                Ok(reply) => assert_eq!(reply.status, 503, "{reply}"),
                Err(error) => assert!(error.is_connect(), "a call was cut: {error:?}"),
            }
        }
        panic!("neither process takes calls");
    }
}

#[tokio::test]
async fn a_rolling_restart_under_load_fails_no_call() {
    let mut first = Stack::builder().env("KAIROSROUTE_SHUTDOWN_NOTICE_MS", "300").start_child().await;
    let customer = first.customer("100").await;
    let mut second = first.second_process(&[]).await;
    let callers = Callers {
        processes: Arc::new(Mutex::new([first.client.clone(), Client::clone(&second)])),
        key: customer.key.clone(),
        served: Arc::default(),
        ended: Arc::default(),
    };
    let calling: Vec<_> = (0..6).map(|at| tokio::spawn(callers.clone().call_until_the_end(at))).collect();
    let more_served = async || {
        let enough = callers.served.load(Ordering::Relaxed) + 20;
        wait_until("more calls to be served", async || callers.served.load(Ordering::Relaxed) >= enough)
            .await;
    };
    for _ in 0..sized(1, 10) {
        more_served().await;
        first.terminate();
        assert_eq!(first.wait().await.code(), Some(0), "{}", first.log());
        more_served().await;
        first.restart().await;
        callers.processes.lock().unwrap()[0] = first.client.clone();
        more_served().await;
        assert_eq!(second.stop().await.code(), Some(0));
        more_served().await;
        second = first.second_process(&[]).await;
        callers.processes.lock().unwrap()[1] = Client::clone(&second);
    }
    more_served().await;
    callers.ended.store(true, Ordering::Relaxed);
    for calling in calling {
        calling.await.unwrap();
    }
    first.no_hold_is_open().await;
    let served = i64::try_from(callers.served.load(Ordering::Relaxed)).unwrap();
    let charged = "SELECT count(*) FROM entry WHERE kind = 'charge'";
    assert_eq!(first.database().number(charged).await, served, "each answer is charged once");
    first.audit_is_clean().await;
}

/// The hold of the one stream that runs.
async fn state_of_hold(stack: &ChildStack) -> Option<String> {
    stack.database().texts("SELECT state FROM hold WHERE amount > 0").await.into_iter().next()
}

#[tokio::test]
async fn a_process_that_stands_still_past_its_lease_agrees_with_the_books_when_it_goes_on() {
    let stack = ChildStack::start_default().await;
    let customer = stack.customer("10").await;
    let other = stack.second_process(&[]).await;
    stack.simulator.enqueue("openai", Script::long(400).with_gap_ms(10));
    let mut body = hello(MODEL);
    body["stream"] = true.into();
    // The tests' client would not wait for as long as this one has to.
    let mut stream = call_from(stack.client.address, "127.0.0.1", &customer.key, &body).await;
    let mut answer = vec![0; 512];
    stream.read_exact(&mut answer).await.unwrap();
    stack.pause();
    // As if it had stood still for as long as a lease and the time after it.
    let lapsed = "UPDATE instance SET lease_until = now() - interval '60 seconds'
                  WHERE id = (SELECT instance_id FROM hold WHERE amount > 0)";
    stack.database().tamper(lapsed).await;
    wait_at_most(Duration::from_secs(60), "the hold to be ended", async || {
        (state_of_hold(&stack).await.as_deref() == Some("expired")).then_some(())
    })
    .await;
    assert_eq!(other.chat(&customer.key, &hello(MODEL)).await.status, 200, "the other process serves");
    stack.resume();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("data: [DONE]"), "{answer}");
    wait_until("the real end to be written", async || {
        let corrected = "SELECT count(*) FROM hold WHERE revision > 0";
        let kept = "SELECT count(*) FROM receipt WHERE document->'execution'->>'status' = 'completed'";
        stack.database().number(corrected).await == 1 && stack.database().number(kept).await == 2
    })
    .await;
    let differing =
        "SELECT count(*) FROM hold h JOIN usage u ON u.org_id = h.org_id AND u.request_id = h.request_id
                     JOIN receipt r ON r.org_id = h.org_id AND r.id = h.request_id
                     WHERE u.charge <> h.charge OR (r.document->>'charged_nano_usd')::bigint <> h.charge";
    assert_eq!(stack.database().number(differing).await, 0);
    stack.audit_is_clean().await;
}

/// Unfinished requests from one address, each on a connection of its own.
async fn occupy(address: SocketAddr, connections: &mut Vec<TcpStream>, count: usize) {
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        if let Ok(mut connection) = socket.connect(address).await {
            let _ = connection.write_all(b"GET /healthz HTTP/1.1\r\n").await;
            connections.push(connection);
        }
    }
}

/// A connection from an address, with a request on it.
async fn call_from(address: SocketAddr, from: &str, key: &str, body: &Value) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut connection = socket.connect(address).await.unwrap();
    let body = body.to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

/// The status line of a call from an address.
async fn status_from(address: SocketAddr, from: &str, key: &str) -> String {
    let mut connection = call_from(address, from, key, &hello(MODEL)).await;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_process_with_few_files_serves_calls_while_one_address_opens_connections() {
    let mut stack = ChildStack::start_default().await;
    let customer = stack.customer("10").await;
    stack.restart_with_files(1_024).await;
    let (address, mut connections) = (stack.client.address, Vec::new());
    let rounds = sized(8, 100);
    let mut served = 0;
    for _ in 0..rounds {
        occupy(address, &mut connections, 100).await;
        // Those that were refused are closed here; the others are kept open.
        if connections.len() > 600 {
            connections.drain(..100);
        }
        for _ in 0..5 {
            // From another address, and from the attacker's own.
            for from in ["127.0.0.2", "127.0.0.1"] {
                assert_eq!(status_from(address, from, &customer.key).await, "HTTP/1.1 200 OK", "{from}");
                served += 1;
            }
        }
    }
    println!(
        "shares: open files: {} connections tried at a limit of 1024; victim: {served} of {served} served",
        rounds * 100
    );
    let log = stack.log();
    assert!(!log.contains("Too many open files") && !log.contains("lapsed"), "{log}");
    drop(connections);
    stack.no_hold_is_open().await;
    receipts_agree(&stack).await;
    stack.audit_is_clean().await;
}
