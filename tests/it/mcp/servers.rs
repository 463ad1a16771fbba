//! Servers that are silent, endless, large or send too much, and that no connection to them remains.

use super::{
    MODEL, Server, ask, call, opened,
    raw::{Raw, Say, page, result},
    with_servers,
};
use crate::harness::{Customer, Stack, hello, text, wait_until};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

fn tide() -> Script {
    Script::tools(vec![call("a", "tide", "{}")])
}

fn is(message: &Value, method: &str) -> bool {
    message["method"] == method
}

/// Sends a request with one server, whose name is `s`.
fn body(server: &Raw) -> Value {
    let mut body = hello(MODEL);
    body["mcp_servers"] = json!({ "url": server.url, "name": "s" });
    body
}

/// The reported error of the server `s`.
async fn error(stack: &Stack, customer: &Customer, server: &Raw) -> (String, String) {
    let heard = ask(stack, customer, &body(server), false).await;
    let told = &heard.whole["mcp_server_errors"]["s"];
    (text(&told["code"]), text(&told["message"]))
}

#[tokio::test]
async fn nothing_of_a_session_is_left_after_an_answer() {
    let stack = opened().start().await;
    let customer = stack.customer("5").await;
    for streamed in [false, true] {
        let server = Raw::start(|_| None).await;
        stack.simulator.enqueue("openai", tide());
        let heard = ask(&stack, &customer, &body(&server), streamed).await;
        assert_eq!(heard.whole["mcp_tool_results"][0]["result"], "7 m at sea", "{heard:?}");
        server.is_left_alone("answered").await;
        assert!(server.asked.lock().unwrap().contains(&json!("delete")), "the session is ended");
    }
    // A server that does not reply when its session is ended.
    let held = Raw::start(|message| (message == "delete").then_some(Say::Silence)).await;
    ask(&stack, &customer, &body(&held), true).await;
    held.is_left_alone("not let go").await;
    stack.finish().await;
}

#[tokio::test]
async fn nothing_of_a_session_is_left_after_a_time_out() {
    let stack = opened()
        .env("KAIROSROUTE_MCP_CONNECT_TIMEOUT_MS", "400")
        .env("KAIROSROUTE_MCP_CALL_TIMEOUT_MS", "400")
        .start()
        .await;
    let customer = stack.customer("5").await;
    let comments = || Say::Endless(": still here\n\n".to_owned());
    let pings = || Say::Endless(format!("data: {PING}\n\n"));
    let opening = [
        Raw::start(|_| Some(Say::Silence)).await,
        Raw::start(move |_| Some(comments())).await,
        Raw::start(move |message| is(message, "server/discover").then(pings)).await,
        Raw::start(|message| is(message, "initialize").then_some(Say::Silence)).await,
        Raw::start(move |message| is(message, "initialize").then(comments)).await,
        Raw::start(|message| is(message, "notifications/initialized").then_some(Say::Silence)).await,
        Raw::start(|message| is(message, "tools/list").then_some(Say::Silence)).await,
        Raw::start(move |message| is(message, "tools/list").then(comments)).await,
    ];
    let mut request = hello(MODEL);
    let named = opening.iter().enumerate();
    request["mcp_servers"] =
        named.map(|(at, server)| json!({ "url": server.url, "name": format!("s{at}") })).collect();
    let heard = ask(&stack, &customer, &request, false).await;
    for (at, server) in opening.iter().enumerate() {
        let told = &heard.whole["mcp_server_errors"][format!("s{at}")];
        assert_eq!(told["code"], "timeout", "{at}: {told}");
        server.is_left_alone(&format!("opening {at}")).await;
    }
    let calling = [
        Raw::start(|message| is(message, "tools/call").then_some(Say::Silence)).await,
        Raw::start(move |message| is(message, "tools/call").then(comments)).await,
        Raw::start(move |message| is(message, "tools/call").then(pings)).await,
    ];
    for (at, server) in calling.iter().enumerate() {
        stack.simulator.enqueue("openai", tide());
        let heard = ask(&stack, &customer, &body(server), at == 0).await;
        let told = &heard.whole["mcp_tool_results"][0];
        assert!(text(&told["result"]).contains("in time"), "{at}: {told}");
        server.is_left_alone(&format!("calling {at}")).await;
    }
    stack.finish().await;
}

#[tokio::test]
async fn nothing_of_a_session_is_left_after_a_hang_up() {
    let stack = opened().start().await;
    let customer = stack.customer("5").await;
    for method in ["server/discover", "initialize", "tools/list", "tools/call"] {
        for streamed in [false, true] {
            let server = Raw::start(move |message| is(message, method).then_some(Say::Silence)).await;
            stack.simulator.clear();
            stack.simulator.enqueue("openai", Script { chunks: vec!["Wait.".into()], ..tide() });
            let mut request = body(&server);
            request["stream"] = json!(streamed);
            let asking = stack.chat(&customer.key, &request);
            tokio::select! {
                reply = asking => panic!("{reply}"),
                () = wait_until(method, async || server.asked(method) > 0) => {}
            }
            server.is_left_alone(&format!("{method}, streamed: {streamed}")).await;
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn what_a_server_says_is_bounded_by_message_by_session_and_by_definitions() {
    let stack = opened()
        .env("KAIROSROUTE_MCP_MESSAGE_BYTES_MAX", "20000")
        .env("KAIROSROUTE_MCP_SESSION_BYTES_MAX", "100000")
        .env("KAIROSROUTE_MCP_TOOLS_BYTES_MAX", "4000")
        .start()
        .await;
    let customer = stack.customer("5").await;
    let large = |message: &Value, bytes: usize| {
        let tool = json!({ "name": "tide", "inputSchema": {}, "outputSchema": { "x": "x".repeat(bytes) } });
        result(message, &json!({ "tools": [tool] }).to_string())
    };
    let started = Instant::now();
    for (what, server) in [
        ("a body", Raw::start(move |m| is(m, "tools/list").then(|| Say::Json(large(m, 30_000)))).await),
        (
            "an event",
            Raw::start(move |m| is(m, "tools/list").then(|| Say::Events(vec![large(m, 30_000)]))).await,
        ),
        ("a handshake", Raw::start(move |m| is(m, "initialize").then(|| Say::Json(large(m, 30_000)))).await),
        (
            "comments",
            Raw::start(|m| is(m, "tools/list").then(|| Say::Endless(format!(":{}\n\n", "x".repeat(5_000)))))
                .await,
        ),
        ("a first answer", Raw::start(|_| Some(Say::Endless(format!(":{}\n\n", "x".repeat(5_000))))).await),
        ("pages", Raw::start(|m| is(m, "tools/list").then(|| page(m, &[], Some("more")))).await),
    ] {
        let told = error(&stack, &customer, &server).await;
        assert_eq!(told, ("bad_answer".into(), "the server's answer is too large".into()), "{what}");
        server.is_left_alone(what).await;
    }
    assert!(started.elapsed() < Duration::from_secs(12), "none of them waits for a time-out");
    // Unused parts of a definition do not count, and a definition that fits into its message is accepted.
    let unused = Raw::start(move |m| is(m, "tools/list").then(|| Say::Json(large(m, 15_000)))).await;
    let heard = ask(&stack, &customer, &body(&unused), false).await;
    assert_eq!(heard.whole["mcp_server_errors"], Value::Null, "{heard:?}");
    // The definitions of all servers together: one has room, two do not.
    let described = || {
        Raw::start(|m| {
            let names = vec!["x".repeat(2_500)];
            is(m, "tools/list").then(|| page(m, &names, None))
        })
    };
    let (one, two) = (described().await, described().await);
    let heard = ask(&stack, &customer, &with_servers(MODEL, &[&one.url]), false).await;
    assert_eq!(heard.whole["mcp_server_errors"], Value::Null);
    let heard = ask(&stack, &customer, &with_servers(MODEL, &[&one.url, &two.url]), false).await;
    let errors = heard.whole["mcp_server_errors"].as_object().unwrap();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors.values().all(|error| error["code"] == "too_many_tools"), "{errors:?}");
    // A call with a result larger than a message may be.
    let server = Raw::start(|m| {
        let result =
            || result(m, &json!({ "content": [{ "type": "text", "text": "x".repeat(30_000) }] }).to_string());
        is(m, "tools/call").then(|| Say::Events(vec![result()]))
    })
    .await;
    stack.simulator.enqueue("openai", tide());
    let heard = ask(&stack, &customer, &body(&server), false).await;
    let told = &heard.whole["mcp_tool_results"][0];
    assert_eq!(
        (&told["result"], &told["is_error"]),
        (&json!("the server's answer is too large"), &json!(true))
    );
    stack.finish().await;
}

#[tokio::test]
async fn what_a_server_asks_unasked_is_answered_a_few_times_and_then_dropped() {
    let stack = opened().start().await;
    let customer = stack.customer("5").await;
    let server = Raw::start(|message| {
        let flood = || {
            let mut events = Vec::new();
            for at in 0..3_000 {
                let method = if at == 0 { "ping" } else { "sampling/createMessage" };
                events
                    .push(json!({ "jsonrpc": "2.0", "id": at, "method": method, "params": {} }).to_string());
                events.push(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#.to_owned());
                events.push(r#"{"jsonrpc":"2.0","id":"other","result":{"content":[]}}"#.to_owned());
            }
            events.push(result(message, r#"{"content":[{"type":"text","text":"at last"}]}"#));
            Say::Events(events)
        };
        is(message, "tools/call").then(flood)
    })
    .await;
    stack.simulator.enqueue("openai", tide());
    let heard = ask(&stack, &customer, &body(&server), true).await;
    assert_eq!(heard.whole["mcp_tool_results"][0]["result"], "at last", "{heard:?}");
    let asked = server.asked.lock().unwrap().clone();
    let replies: Vec<&Value> =
        asked.iter().filter(|message| message.is_object() && message.get("method").is_none()).collect();
    assert_eq!(replies.len(), 16, "{replies:?}");
    assert_eq!(replies[0], &json!({ "jsonrpc": "2.0", "id": 0, "result": {} }));
    assert!(replies[1..].iter().all(|reply| reply["error"]["code"] == -32601), "{replies:?}");
    stack.finish().await;
}

#[tokio::test]
async fn structured_results_reach_caller_and_model_as_they_were_written() {
    let stack = opened().start().await;
    let customer = stack.customer("5").await;
    const ODD: &str = r#"{"id":12345678901234567890123,"z":1e5,"a":1.0}"#;
    for events in [false, true] {
        let server = Raw::start(move |message| {
            let told = || {
                // As a server that prints its JSON over several lines, with any line ends.
                let written = ODD.replace(',', ",\r\n");
                let answer = result(message, &format!(r#"{{"structuredContent":{written}}}"#));
                if events { Say::Events(vec![answer.replace("\r\n", "")]) } else { Say::Json(answer) }
            };
            is(message, "tools/call").then(told)
        })
        .await;
        for streamed in [false, true] {
            stack.simulator.clear();
            stack.simulator.enqueue("openai", tide());
            let mut request = body(&server);
            request["stream"] = json!(streamed);
            let said = if streamed {
                let frames = stack.stream(&customer.key, &request).await.rest().await;
                assert!(frames.last().unwrap().is_done(), "{frames:?}");
                frames.into_iter().map(|frame| frame.text).collect()
            } else {
                stack.chat(&customer.key, &request).await.text()
            };
            let plain = |text: &str| text.replace(' ', "");
            assert!(plain(&said).contains(&format!(r#""result":{ODD}"#)), "{said}");
            let bill = stack.simulator.bill();
            assert!(plain(&bill[1].body).contains(&ODD.replace('"', "\\\"")), "{}", bill[1].body);
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn tools_come_on_several_pages_and_in_answers_of_both_kinds() {
    let stack = opened().env("KAIROSROUTE_MCP_TOOLS_MAX", "5").start().await;
    let customer = stack.customer("5").await;
    let paged = |pages: usize| {
        Raw::start(move |message| {
            let at: usize = message["params"]["cursor"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
            let names = [format!("a{at}"), format!("b{at}")];
            let next = (at + 1).to_string();
            let next = (at + 1 < pages).then_some(next.as_str());
            is(message, "tools/list").then(|| page(message, &names, next))
        })
    };
    let server = paged(2).await;
    stack.simulator.enqueue("openai", Script::tools(vec![call("x", "b1", "{}"), call("y", "a0", "{}")]));
    let heard = ask(&stack, &customer, &body(&server), false).await;
    assert_eq!((heard.names(), heard.finish.as_str()), (vec!["b1".to_owned(), "a0".to_owned()], "stop"));
    assert_eq!(heard.whole["mcp_server_errors"], Value::Null);
    assert_eq!(server.asked("tools/list"), 2);
    // More than allowed: the first are offered, and no page is requested in vain.
    let server = paged(40).await;
    stack.simulator.clear();
    let heard = ask(&stack, &customer, &body(&server), false).await;
    let told = &heard.whole["mcp_server_errors"]["s"];
    assert_eq!(told["code"], "too_many_tools", "{told}");
    assert_eq!(server.asked("tools/list"), 3);
    let asked: Value = serde_json::from_str(&stack.simulator.bill()[0].body).unwrap();
    let offered: Vec<String> =
        asked["tools"].as_array().unwrap().iter().map(|tool| text(&tool["function"]["name"])).collect();
    assert_eq!(offered, ["a0", "b0", "a1", "b1", "a2"]);
    stack.finish().await;
}

#[tokio::test]
async fn a_server_that_begins_anew_or_refuses_in_its_own_way_is_understood() {
    let stack = opened().start().await;
    let customer = stack.customer("5").await;
    // Middleware in front of an old server refuses an unknown message with only a status, or without our id.
    let unknown =
        r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Missing session"}}"#;
    for (what, server) in [
        ("400", Raw::start(|m| is(m, "server/discover").then_some(Say::Status(400))).await),
        ("404", Raw::start(|m| is(m, "server/discover").then_some(Say::Status(404))).await),
        ("500", Raw::start(|m| is(m, "server/discover").then_some(Say::Status(500))).await),
        ("no id", Raw::start(move |m| is(m, "server/discover").then(|| Say::Json(unknown.to_owned()))).await),
    ] {
        stack.simulator.enqueue("openai", tide());
        let heard = ask(&stack, &customer, &body(&server), false).await;
        assert_eq!(heard.whole["mcp_tool_results"][0]["result"], "7 m at sea", "{what} {heard:?}");
    }
    // It has lost the session when it is called.
    let forgot = std::sync::atomic::AtomicBool::new(false);
    let server = Raw::start(move |message| {
        let first = is(message, "tools/call") && !forgot.swap(true, std::sync::atomic::Ordering::SeqCst);
        first.then_some(Say::Status(404))
    })
    .await;
    stack.simulator.enqueue("openai", tide());
    let heard = ask(&stack, &customer, &body(&server), false).await;
    assert_eq!(heard.whole["mcp_tool_results"][0]["result"], "7 m at sea", "{heard:?}");
    assert_eq!(server.asked("initialize"), 2);
    // A server that ends its stream without the answer, and one that refuses the call with a status.
    for (say, words) in [(true, "reached"), (false, "HTTP 500")] {
        let server = Raw::start(move |message| {
            is(message, "tools/call").then(|| if say { Say::Events(Vec::new()) } else { Say::Status(500) })
        })
        .await;
        stack.simulator.enqueue("openai", tide());
        let heard = ask(&stack, &customer, &body(&server), false).await;
        let told = &heard.whole["mcp_tool_results"][0];
        assert!(text(&told["result"]).contains(words) && told["is_error"] == true, "{told}");
    }
    // Both of these are the SDK's server: the newest protocol and one with sessions.
    for server in [Server::start().await, Server::start_old().await] {
        stack.simulator.enqueue("openai", Script::tools(vec![call("a", "structured", "{}")]));
        let heard = ask(&stack, &customer, &with_servers(MODEL, &[&server.url]), true).await;
        assert_eq!(heard.whole["mcp_tool_results"][0]["result"], json!({ "metres": 7 }), "{heard:?}");
    }
    stack.finish().await;
}
