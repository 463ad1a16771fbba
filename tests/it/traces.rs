//! A trace as a collector receives it: of a request with a failover, with its attempts, in the caller's trace.

use crate::harness::{Stack, hello, wait_for};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Takes what exporters send, and answers 200.
struct Collector {
    address: String,
    bodies: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = bodies.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, kept.clone()));
            }
        });
        Self { address, bodies }
    }

    /// The spans of a trace, when there are this many.
    async fn spans(&self, trace_id: &str, count: usize) -> Vec<Value> {
        wait_for("the spans to arrive", async || {
            let bodies = self.bodies.lock().unwrap();
            let all = bodies.iter().flat_map(|(_, body)| {
                body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned().unwrap_or_default()
            });
            let found: Vec<Value> = all.filter(|span| span["traceId"] == trace_id).collect();
            (found.len() >= count).then_some(found)
        })
        .await
    }
}

async fn take(mut stream: TcpStream, kept: Arc<Mutex<Vec<(String, Value)>>>) {
    let (mut bytes, mut part) = (Vec::new(), [0; 16 * 1024]);
    while let Ok(count) = stream.read(&mut part).await {
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if count == 0 {
            return;
        }
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        kept.lock().unwrap().push((head.to_owned(), serde_json::from_str(body).unwrap()));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        bytes.clear();
    }
}

/// An attribute of a span; null if it has none with that name.
fn attribute(span: &Value, key: &str) -> Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|one| one["key"] == key);
    found.map_or(Value::Null, |one| one["value"].as_object().unwrap().values().next().unwrap().clone())
}

#[tokio::test]
async fn a_failover_is_a_request_span_with_a_span_for_each_attempt() {
    let collector = Collector::start().await;
    let stack = Stack::builder()
        .env("KAIROSROUTE_OTLP_ENDPOINT", &collector.address)
        .env("KAIROSROUTE_OTLP_HEADERS", "x-collector-key=secret-of-the-collector")
        .start()
        .await;
    let customer = stack.customer("10").await;
    stack.simulator.enqueue("groq", Script::failing(503));
    let reply = stack
        .request("POST", "/v1/chat/completions")
        .bearer(&customer.key)
        .header("traceparent", PARENT)
        .json(&json!({ "model": ["groq/gpt-oss-120b", "openai/gpt-5.4-mini"],
            "messages": [{ "role": "user", "content": "the harbour of Brest" }] }))
        .send()
        .await;
    assert_eq!((reply.status, reply.header("x-kairosroute-attempts")), (200, "2"), "{reply}");
    let spans = collector.spans("0af7651916cd43dd8448eb211c80319c", 3).await;
    let request = spans.iter().find(|span| span["kind"] == 2).unwrap();
    assert_eq!(request["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(attribute(request, "gen_ai.response.model"), "openai/gpt-5.4-mini");
    assert_eq!(attribute(request, "gen_ai.usage.input_tokens"), "12");
    assert_eq!(attribute(request, "gen_ai.usage.output_tokens"), "6");
    assert_eq!(attribute(request, "kairosroute.receipt.id"), reply.receipt_id());
    let attempts: Vec<&Value> = spans.iter().filter(|span| span["kind"] == 3).collect();
    assert_eq!(attempts.len(), 2);
    for attempt in &attempts {
        assert_eq!(attempt["parentSpanId"], request["spanId"]);
        assert!(attempt["startTimeUnixNano"].as_str() >= request["startTimeUnixNano"].as_str(), "{attempt}");
        assert!(attempt["endTimeUnixNano"].as_str() <= request["endTimeUnixNano"].as_str(), "{attempt}");
    }
    let of = |provider: &str| {
        *attempts.iter().find(|span| attribute(span, "gen_ai.provider.name") == provider).unwrap()
    };
    assert_eq!(attribute(of("groq"), "http.response.status_code"), "503");
    assert_eq!(attribute(of("groq"), "error.type"), "overload");
    assert_eq!(attribute(of("openai"), "http.response.status_code"), "200");
    assert_eq!(attribute(of("openai"), "error.type"), Value::Null);
    let (head, body) = collector.bodies.lock().unwrap()[0].clone();
    assert!(head.contains("x-collector-key: secret-of-the-collector"), "{head}");
    assert!(!body.to_string().contains("harbour"), "a conversation was recorded");
    stack.finish().await;
}

#[tokio::test]
async fn a_caller_that_does_not_sample_is_not_traced() {
    let collector = Collector::start().await;
    let stack = Stack::builder().env("KAIROSROUTE_OTLP_ENDPOINT", &collector.address).start().await;
    let customer = stack.customer("10").await;
    let ask = |parent: &str| {
        stack
            .request("POST", "/v1/chat/completions")
            .bearer(&customer.key)
            .header("traceparent", parent)
            .json(&hello("openai/gpt-5.4-mini"))
    };
    assert_eq!(ask(&PARENT.replace("-01", "-00")).send().await.status, 200);
    let later = PARENT.replace("0af7651916cd43dd", "1af7651916cd43dd");
    assert_eq!(ask(&later).send().await.status, 200);
    collector.spans("1af7651916cd43dd8448eb211c80319c", 2).await;
    let bodies = collector.bodies.lock().unwrap().clone();
    assert!(!format!("{bodies:?}").contains("0af7651916cd43dd8448eb211c80319c"));
    stack.finish().await;
}
