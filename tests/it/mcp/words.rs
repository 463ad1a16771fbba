//! What passes from turn to turn and to the caller: sizes, bytes, signatures, restrictions, and which calls were made.

use super::{MODEL, opened, server::Server, with_servers};
use crate::harness::wait_until;
use kairosroute::simulator::Script;

fn chunk(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

fn frames(frames: &[String]) -> Script {
    Script::raw_frames(&frames.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn arguments_without_end_end_the_answer() {
    let stack = opened().env("KAIROSROUTE_REPLY_BYTES_MAX", "100000").start().await;
    let (customer, server) = (stack.customer("5").await, Server::start().await);
    let begun = r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"tide","arguments":"{"}}]}"#;
    let more =
        format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":"{}"}}}}]}}"#, " ".repeat(10_000));
    let endless: Vec<String> =
        [begun].into_iter().chain(vec![more.as_str(); 2_000]).map(|delta| chunk(delta, "null")).collect();
    stack.simulator.enqueue("openai", frames(&endless));
    let mut stream = stack.stream(&customer.key, &with_servers(MODEL, &[&server.url])).await;
    let frames = stream.rest().await;
    let last = frames.last().unwrap();
    assert_eq!(last.json()["error"]["code"], "upstream_error", "{last:?}");
    assert!(last.text.contains("too large"), "{last:?}");
    let written = stack.simulator.bill()[0].content_chunks_written;
    assert!(written < 2_000, "nobody reads on: {written}");
    assert!(server.calls().is_empty());
    stack.finish().await;
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_read_to_its_usage_and_not_kept() {
    // Kept, the events alone would be several times what may be.
    let stack = opened().env("KAIROSROUTE_REPLY_BYTES_MAX", "20000").start().await;
    let (customer, server) = (stack.customer("5").await, Server::start().await);
    stack.simulator.enqueue("mistral", Script::long(600).with_gap_ms(3).with_tokens(5_000, 777));
    let body = with_servers("mistral/mistral-small-4", &[&server.url]);
    let mut stream = stack.stream(&customer.key, &body).await;
    stream.next().await.unwrap();
    drop(stream);
    stack.no_hold_is_open().await;
    wait_until("the usage row", async || stack.database.number("SELECT count(*) FROM usage").await == 1)
        .await;
    assert_eq!(stack.database.number("SELECT output_tokens::bigint FROM usage").await, 777);
    stack.finish().await;
}
