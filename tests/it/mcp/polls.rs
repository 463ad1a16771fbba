//! Servers that close a stream before the answer and are called for the rest, and tools that cannot be called directly.

use super::{
    MODEL, ask, books_agree, call, opened,
    raw::{Raw, Say, result},
};
use crate::harness::{hello, text};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

/// An event that only states how to continue.
fn priming(id: usize) -> Say {
    Say::Stream(format!("id: {id}\nretry: 1\ndata: \n\n"))
}

#[tokio::test]
async fn a_server_that_closes_its_stream_is_asked_for_the_rest() {
    let stack = opened().start().await;
    let customer = stack.customer("5").await;
    let (called, polls): (Arc<Mutex<Option<Value>>>, Arc<AtomicUsize>) = Default::default();
    let (seen, counted) = (called.clone(), polls.clone());
    let server = Raw::start(move |message| match message["method"].as_str() {
        Some("tools/call") => {
            *seen.lock().unwrap() = Some(message.clone());
            Some(priming(1))
        }
        Some("get") => {
            let number = counted.fetch_add(1, SeqCst) + 1;
            // Each call continues after the last received event.
            assert_eq!(message["last"], number.to_string());
            if number < 3 {
                return Some(priming(number + 1));
            }
            let call = seen.lock().unwrap().clone().unwrap();
            let answer = result(&call, r#"{"content":[{"type":"text","text":"7 m at sea"}]}"#);
            Some(Say::Stream(format!("id: 9\ndata: {answer}\n\n")))
        }
        _ => None,
    })
    .await;
    stack.simulator.enqueue("openai", Script::tools(vec![call("a", "tide", "{}")]));
    let mut body = hello(MODEL);
    body["mcp_servers"] = json!([server.url]);
    let heard = ask(&stack, &customer, &body, false).await;
    assert_eq!(heard.names(), ["tide"], "{heard:?}");
    assert_eq!(heard.whole["mcp_tool_results"][0]["result"], "7 m at sea", "{heard:?}");
    assert_eq!(polls.load(SeqCst), 3);
    books_agree(&stack, &customer, &heard, 2).await;
    stack.finish().await;
}

#[tokio::test]
async fn one_that_never_has_the_answer_has_the_time_of_a_call() {
    let stack = opened().env("KAIROSROUTE_MCP_CALL_TIMEOUT_MS", "1000").start().await;
    let customer = stack.customer("5").await;
    let server = Raw::start(|message| match message["method"].as_str() {
        Some("tools/call" | "get") => Some(priming(1)),
        _ => None,
    })
    .await;
    stack.simulator.enqueue("openai", Script::tools(vec![call("a", "tide", "{}")]));
    let mut body = hello(MODEL);
    body["mcp_servers"] = json!([server.url]);
    let heard = ask(&stack, &customer, &body, false).await;
    let told = &heard.whole["mcp_tool_results"][0];
    assert_eq!(told["is_error"], true, "{heard:?}");
    assert!(text(&told["result"]).contains("time"), "{heard:?}");
    assert!(server.asked("get") > 1);
    stack.finish().await;
}

#[tokio::test]
async fn a_tool_that_can_only_be_called_as_a_task_is_left_out_and_named() {
    let stack = opened().start().await;
    let customer = stack.customer("5").await;
    let server = Raw::start(|message| {
        (message["method"] == "tools/list").then(|| {
            let schema = json!({ "type": "object" });
            let tools = json!({ "tools": [
                { "name": "research", "inputSchema": schema, "execution": { "taskSupport": "required" } },
                { "name": "tide", "inputSchema": schema, "execution": { "taskSupport": "optional" } },
            ] });
            Say::Json(result(message, &tools.to_string()))
        })
    })
    .await;
    let mut body = hello(MODEL);
    body["mcp_servers"] = json!([{ "name": "sea", "url": server.url }]);
    let heard = ask(&stack, &customer, &body, false).await;
    let sent = stack.simulator.bill().last().unwrap().body.clone();
    assert!(sent.contains("\"tide\"") && !sent.contains("research"), "{sent}");
    let error = &heard.whole["mcp_server_errors"]["sea"];
    assert_eq!(error["code"], "tool_requires_task", "{heard:?}");
    assert!(text(&error["message"]).contains("research"), "{error}");
    stack.finish().await;
}
