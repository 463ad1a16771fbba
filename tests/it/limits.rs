//! One test for each limit in the settings: sizes, counts and times. Each uses a small value and tests both sides.

use crate::harness::{Stack, hello, wait_until};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};

const MODEL: &str = "openai/gpt-4o-mini";
const PATH: &str = "/v1/chat/completions";

/// A request of exactly this many bytes.
fn sized(bytes: usize) -> Vec<u8> {
    let empty = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "" }] }).to_string();
    let filler = "x".repeat(bytes - empty.len());
    json!({ "model": MODEL, "messages": [{ "role": "user", "content": filler }] }).to_string().into_bytes()
}

#[tokio::test]
async fn a_request_body_past_the_limit_is_413_announced_or_not() {
    let stack = Stack::builder().env("KAIROSROUTE_BODY_BYTES_MAX", "4096").start().await;
    let customer = stack.customer("1").await;
    let send =
        async |bytes| stack.request("POST", PATH).bearer(&customer.key).body(sized(bytes)).send().await;
    assert_eq!(send(4_096).await.status, 200);
    let reply = send(4_097).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "request_too_large"));
    assert!(reply.receipt_id().starts_with("rcpt_"));
    let body = String::from_utf8(sized(5_000)).unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n", customer.key);
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n1388\r\n{body}\r\n0\r\n\r\n");
    let answer = stack.raw(chunked.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    // A hundred megabytes are refused by their announced length, not after they were sent.
    let huge = format!("{head}Content-Length: 104857600\r\n\r\n");
    assert!(stack.raw(huge.as_bytes()).await.starts_with(b"HTTP/1.1 413"));
    assert_eq!(stack.simulator.bill().len(), 1);
    stack.finish().await;
}

#[tokio::test]
async fn the_body_of_an_account_call_is_bounded_too() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let body = json!({ "name": "x".repeat(300 * 1024) });
    let reply = stack.patch_key(&customer.session, &customer.key_id, &body).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "request_too_large"));
}

#[tokio::test]
async fn nesting_past_the_limit_is_refused() {
    let stack = Stack::builder().env("KAIROSROUTE_BODY_DEPTH_MAX", "8").start().await;
    let customer = stack.customer("1").await;
    let nested = |depth: usize| -> Value {
        let mut body = hello(MODEL);
        body["metadata"] = (0..depth).fold(json!("x"), |inner, _| json!({ "x": inner }));
        body
    };
    assert_eq!(stack.chat(&customer.key, &nested(7)).await.status, 200);
    let reply = stack.chat(&customer.key, &nested(8)).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"));
}

#[tokio::test]
async fn a_provider_answer_past_the_limit_is_an_upstream_error_that_costs_nothing() {
    let stack = Stack::builder()
        .env("KAIROSROUTE_REPLY_BYTES_MAX", "2048")
        .env("KAIROSROUTE_ATTEMPTS_MAX", "1")
        .start()
        .await;
    let customer = stack.customer("1").await;
    assert_eq!(stack.chat(&customer.key, &hello(MODEL)).await.status, 200);
    let (before, _) = stack.account(&customer.organization_id).await;
    stack.simulator.enqueue("openai", Script::text(&[&"x".repeat(4_000)]));
    let reply = stack.chat(&customer.key, &hello(MODEL)).await;
    assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_error"), "{reply}");
    stack.no_hold_is_open().await;
    assert_eq!(stack.account(&customer.organization_id).await, (before, 0));
    stack.finish().await;
}

#[tokio::test]
async fn a_frame_past_the_limit_ends_a_stream_with_an_error() {
    let stack = Stack::builder()
        .env("KAIROSROUTE_FRAME_BYTES_MAX", "2048")
        .env("KAIROSROUTE_ATTEMPTS_MAX", "1")
        .start()
        .await;
    let customer = stack.customer("1").await;
    stack.simulator.enqueue("openai", Script::text(&[&"x".repeat(4_000)]));
    let streamed = stack.stream(&customer.key, &hello(MODEL)).await;
    assert_eq!(streamed.status, 502, "nothing was sent yet: it is a plain error");
    stack.simulator.enqueue("openai", Script::text(&["fine", &"x".repeat(4_000)]).with_gap_ms(50));
    let mut streamed = stack.stream(&customer.key, &hello(MODEL)).await;
    assert_eq!(streamed.status, 200);
    let frames = streamed.rest().await;
    let last = frames.last().unwrap();
    assert!(last.text.starts_with("event: error\n"), "{last:?}");
    assert!(!frames.iter().any(|frame| frame.is_done()));
    stack.finish().await;
}

#[tokio::test]
async fn more_requests_than_may_be_in_flight_are_shed_with_503() {
    let stack = Stack::builder().env("KAIROSROUTE_REQUESTS_IN_FLIGHT_MAX", "2").start().await;
    let customer = stack.customer("5").await;
    stack.simulator.set_default("openai", Script::default().gated());
    let (mut body, client, key) = (hello(MODEL), stack.client.clone(), customer.key.clone());
    body["max_tokens"] = json!(16);
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (client, key, body) = (client.clone(), key.clone(), body.clone());
            tokio::spawn(async move { client.chat(&key, &body).await })
        })
        .collect();
    wait_until("both to wait", async || stack.simulator.waiting() == 2).await;
    let shed = stack.chat(&customer.key, &body).await;
    assert_eq!((shed.status, shed.code().as_str()), (503, "service_unavailable"));
    assert_eq!(shed.header("retry-after"), "1");
    assert_eq!(stack.get("/healthz", "").await.status, 200, "only inference is shed");
    stack.simulator.release();
    for reply in waiting {
        assert_eq!(reply.await.unwrap().status, 200);
    }
    stack.simulator.set_default("openai", Script::default());
    assert_eq!(stack.chat(&customer.key, &body).await.status, 200, "the places are given back");
    stack.finish().await;
}

#[tokio::test]
async fn a_failing_provider_is_called_as_often_as_the_limit_says() {
    for attempts in [1, 2, 3] {
        let stack = Stack::builder().env("KAIROSROUTE_ATTEMPTS_MAX", &attempts.to_string()).start().await;
        let customer = stack.customer("1").await;
        stack.simulator.set_default("openai", Script::failing(503));
        let reply = stack.chat(&customer.key, &hello(MODEL)).await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "upstream_unavailable"));
        assert_eq!(stack.simulator.bill().len(), attempts);
        assert_eq!(reply.header("x-kairosroute-attempts"), attempts.to_string());
        assert_eq!(reply.header("x-should-retry"), if attempts > 1 { "false" } else { "" });
        stack.finish().await;
    }
}

#[tokio::test]
async fn an_answer_without_a_first_byte_in_time_is_504() {
    let stack = Stack::builder()
        .env("KAIROSROUTE_FIRST_BYTE_TIMEOUT_MS", "300")
        .env("KAIROSROUTE_ATTEMPTS_MAX", "1")
        .start()
        .await;
    let customer = stack.customer("1").await;
    for script in [
        Script { latency_ms: 20_000, ..Script::default() },
        Script { first_byte_ms: 20_000, ..Script::default() },
    ] {
        stack.simulator.enqueue("openai", script);
        let started = Instant::now();
        let mut streamed = stack.stream(&customer.key, &hello(MODEL)).await;
        assert_eq!(streamed.status, 504);
        assert!(streamed.next().await.unwrap().text.contains("upstream_timeout"));
        assert!((300..3_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    }
    // The head of a whole answer arrives when the answer is complete.
    stack.simulator.enqueue("openai", Script { latency_ms: 20_000, ..Script::default() });
    assert_eq!(stack.chat(&customer.key, &hello(MODEL)).await.status, 504);
    stack.simulator.enqueue("openai", Script { latency_ms: 100, ..Script::default() });
    assert_eq!(stack.chat(&customer.key, &hello(MODEL)).await.status, 200);
    stack.finish().await;
}

/// The frames of a stream that must end with a timeout, and its duration.
async fn timed_out(stack: &Stack, key: &str) -> Duration {
    let started = Instant::now();
    let mut streamed = stack.stream(key, &hello(MODEL)).await;
    assert_eq!(streamed.status, 200);
    let frames = streamed.rest().await;
    let last = frames.last().unwrap();
    assert!(last.text.starts_with("event: error\n") && last.text.contains("upstream_timeout"), "{last:?}");
    assert_eq!(frames.iter().filter(|frame| frame.text.starts_with("event: error")).count(), 1);
    assert!(!frames.iter().any(|frame| frame.is_done()));
    started.elapsed()
}

#[tokio::test]
async fn a_stream_that_falls_silent_ends_with_an_error_and_is_billed_as_far_as_it_came() {
    let stack = Stack::builder().env("KAIROSROUTE_IDLE_TIMEOUT_MS", "400").start().await;
    let customer = stack.customer("1").await;
    let (before, _) = stack.account(&customer.organization_id).await;
    stack.simulator.enqueue("openai", Script::long(3).with_gap_ms(20_000));
    let took = timed_out(&stack, &customer.key).await;
    assert!((400..3_000).contains(&took.as_millis()), "{took:?}");
    stack.no_hold_is_open().await;
    assert!(stack.account(&customer.organization_id).await.0 < before, "what was relayed is charged");
    // Slow is not silent.
    stack.simulator.enqueue("openai", Script::long(5).with_gap_ms(200));
    let frames = stack.stream(&customer.key, &hello(MODEL)).await.rest().await;
    assert!(frames.last().unwrap().is_done());
    stack.finish().await;
}

#[tokio::test]
async fn a_request_past_its_whole_time_ends() {
    let stack = Stack::builder()
        .env("KAIROSROUTE_TOTAL_TIMEOUT_MS", "1000")
        .env("KAIROSROUTE_ATTEMPTS_MAX", "1")
        .start()
        .await;
    let customer = stack.customer("1").await;
    stack.simulator.enqueue("openai", Script { latency_ms: 20_000, ..Script::default() });
    let unary = stack.chat(&customer.key, &hello(MODEL)).await;
    assert_eq!((unary.status, unary.code().as_str()), (504, "upstream_timeout"));
    assert!((1_000..4_000).contains(&unary.took.as_millis()), "{:?}", unary.took);
    // Never silent for long, and still too long in total.
    stack.simulator.enqueue("openai", Script::long(400).with_gap_ms(50));
    let took = timed_out(&stack, &customer.key).await;
    assert!((1_000..4_000).contains(&took.as_millis()), "{took:?}");
    stack.finish().await;
}

#[tokio::test]
async fn a_silent_stream_gets_comments_at_the_set_pace_after_the_commit_point() {
    let stack = Stack::builder().env("KAIROSROUTE_HEARTBEAT_MS", "100").start().await;
    let customer = stack.customer("1").await;
    stack.simulator.enqueue("openai", Script { first_byte_ms: 500, ..Script::long(2).with_gap_ms(600) });
    let frames = stack.stream(&customer.key, &hello(MODEL)).await.rest().await;
    assert!(!frames[0].is_comment(), "nothing leaves before the first content");
    let comments = frames.iter().filter(|frame| frame.is_comment()).count();
    assert!((6..=14).contains(&comments), "{comments} comments in 1.2 s");
    assert!(frames.last().unwrap().is_done());
    stack.finish().await;
}

#[tokio::test]
async fn an_abandoned_answer_is_read_on_no_longer_than_the_limit() {
    let stack = Stack::builder().env("KAIROSROUTE_DRAIN_TIMEOUT_MS", "400").start().await;
    let customer = stack.customer("1").await;
    // This provider bills the whole answer whether or not a client reads it.
    stack.simulator.enqueue("groq", Script::long(500).with_gap_ms(50));
    let mut streamed = stack.stream(&customer.key, &hello("groq/openai/gpt-oss-20b")).await;
    assert_eq!(streamed.status, 200);
    streamed.next().await.unwrap();
    drop(streamed);
    let left = Instant::now();
    wait_until("the provider to be left", async || stack.simulator.bill()[0].cancelled).await;
    assert!((200..4_000).contains(&left.elapsed().as_millis()), "{:?}", left.elapsed());
    stack.finish().await;
}

#[tokio::test]
async fn stopping_takes_no_longer_than_the_limit_and_ends_streams_with_an_error() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let mut node = stack.second_node_with(&[("KAIROSROUTE_SHUTDOWN_TIMEOUT_MS", "2000")]).await;
    stack.simulator.enqueue("openai", Script::long(3).with_gap_ms(60_000));
    let mut streamed = node.stream(&customer.key, &hello(MODEL)).await;
    streamed.next().await.unwrap();
    let asked = Instant::now();
    node.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let frames = streamed.rest().await;
    assert!(frames.last().unwrap().text.starts_with("event: error\n"), "{frames:?}");
    stack.finish().await;
}

#[tokio::test]
async fn a_provider_that_does_not_take_the_connection_is_given_up_in_time() {
    // A full queue of connections that are never accepted: further ones are never answered.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        queued.push(connected.unwrap());
    }
    let stack = Stack::builder()
        .env("OPENAI_BASE_URL", &format!("http://{address}/v1"))
        .env("KAIROSROUTE_CONNECT_TIMEOUT_MS", "300")
        .env("KAIROSROUTE_ATTEMPTS_MAX", "1")
        .start()
        .await;
    let customer = stack.customer("1").await;
    let reply = stack.chat(&customer.key, &hello(MODEL)).await;
    assert!([502, 503, 504].contains(&reply.status), "{reply}");
    assert!((300..3_000).contains(&reply.took.as_millis()), "{:?}", reply.took);
    stack.finish().await;
}

#[tokio::test]
async fn the_database_sees_no_more_connections_than_the_limit() {
    let stack = Stack::builder().env("KAIROSROUTE_DATABASE_CONNECTIONS_MAX", "12").start().await;
    let customer = stack.customer("5").await;
    let mut body = hello(MODEL);
    body["max_tokens"] = json!(16);
    let running: Vec<_> = (0..40)
        .map(|at| {
            let (client, customer, body) = (stack.client.clone(), customer.clone(), body.clone());
            tokio::spawn(async move {
                match at % 2 {
                    0 => client.chat(&customer.key, &body).await.status,
                    _ => client.get("/api/auth", &customer.session).await.status,
                }
            })
        })
        .collect();
    let (mut connection, mut most) = (stack.database.connect().await, 0);
    while !running.iter().all(|one| one.is_finished()) {
        let sql = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND application_name = 'gateway'";
        let open: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
        most = most.max(open);
    }
    for status in running {
        assert_eq!(status.await.unwrap(), 200);
    }
    assert!((1..=12).contains(&most), "{most} connections");
    stack.finish().await;
}
