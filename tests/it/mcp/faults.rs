//! Failures of servers, tools and callers, and what is still answered and charged.

use super::{MODEL, OPENED, ask, books_agree, call, opened, server::Server, with_servers};
use crate::harness::{Stack, hello, text, wait_until};
use kairosroute::simulator::Script;
use serde_json::{Value, json};

fn tool(name: &str) -> Script {
    Script::tools(vec![call("a", name, "{}")])
}

fn redirect_to(url: &str) -> String {
    format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: {url}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

#[tokio::test]
async fn a_server_that_fails_is_named_and_the_others_serve() {
    let stack = opened().env("KAIROSROUTE_MCP_CONNECT_TIMEOUT_MS", "1000").start().await;
    let customer = stack.customer("5").await;
    let good = Server::start().await;
    let down = "http://127.0.0.1:9/mcp";
    let silent = Server::start_saying(String::new()).await;
    let page =
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
    let web = Server::start_saying(page.to_owned()).await;
    let locked = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let locked = Server::start_saying(locked.to_owned()).await;
    let elsewhere = Server::start_saying(redirect_to(&good.url)).await;
    let servers = [("down", down), ("silent", &silent.url), ("web", &web.url), ("locked", &locked.url)];
    let servers = servers.into_iter().chain([("elsewhere", elsewhere.url.as_str()), ("good", &good.url)]);
    let servers: Vec<Value> = servers.map(|(name, url)| json!({ "name": name, "url": url })).collect();
    stack.simulator.enqueue("openai", tool("tide"));
    let mut body = hello(MODEL);
    body["mcp_servers"] = json!(servers);
    let heard = ask(&stack, &customer, &body, true).await;
    assert_eq!((heard.names(), heard.finish.as_str()), (vec!["tide".to_owned()], "stop"), "{heard:?}");
    let errors = heard.whole["mcp_server_errors"].as_object().unwrap();
    let code = |name: &str| text(&errors[name]["code"]);
    assert_eq!(
        (code("down"), code("silent"), code("locked")),
        ("unreachable".into(), "timeout".into(), "unauthorized".into()),
        "{errors:?}"
    );
    assert!(
        errors.contains_key("web") && errors.contains_key("elsewhere") && errors.len() == 5,
        "{errors:?}"
    );
    assert!(errors.values().all(|error| !text(&error["message"]).is_empty()));
    // Without a server the model is still called.
    body["mcp_servers"] = json!([down]);
    let heard = ask(&stack, &customer, &body, false).await;
    assert_eq!((heard.finish.as_str(), heard.names().len()), ("stop", 0), "{heard:?}");
    assert_eq!(heard.whole["mcp_server_errors"]["127.0.0.1:9"]["code"], "unreachable");
    books_agree(&stack, &customer, &heard, 1).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_tool_that_fails_hangs_or_says_too_much_is_told_to_the_model() {
    let stack = opened()
        .env("KAIROSROUTE_MCP_CALL_TIMEOUT_MS", "300")
        .env("KAIROSROUTE_MCP_RESULT_BYTES_MAX", "1000")
        .env("KAIROSROUTE_HEARTBEAT_MS", "50")
        .start()
        .await;
    let (customer, server) = (stack.customer("5").await, Server::start().await);
    let calls = ["fail", "slow", "huge"].map(|name| call(&format!("call_{name}"), name, "{}"));
    stack.simulator.enqueue("openai", Script::tools(calls.to_vec()));
    stack.simulator.enqueue("openai", Script::tools(vec![call("x", "tide", "[not json")]));
    let mut stream = stack.stream(&customer.key, &with_servers(MODEL, &[&server.url])).await;
    let frames = stream.rest().await;
    assert!(frames.iter().any(|frame| frame.is_comment()), "the connection is kept alive while tools run");
    let last = frames[frames.len() - 2].json();
    let results = last["mcp_tool_results"].as_array().unwrap();
    let errors: Vec<&Value> = results.iter().map(|result| &result["is_error"]).collect();
    assert_eq!(errors, [true, true, false, true], "{results:?}");
    assert_eq!(results[0]["result"], "no such port");
    assert!(text(&results[1]["result"]).contains("in time"), "{results:?}");
    assert!(text(&results[2]["result"]).ends_with("[cut off: 1000 of 1000000 bytes are shown]"));
    assert_eq!(results[3]["arguments"], json!({}));
    let bill = stack.simulator.bill();
    assert_eq!(bill.len(), 3);
    assert!(bill[1].body.contains("Error: no such port") && bill[1].body.contains("cut off: 1000"));
    assert!(bill[2].body.contains("not a JSON object"), "{}", bill[2].body);
    assert!(bill[1].body.len() < 10_000);
    stack.finish().await;
}

#[tokio::test]
async fn what_may_not_be_reached_or_is_not_known_is_refused_before_anything_is_spent() {
    let stack =
        Stack::builder().env("KAIROSROUTE_MCP_SERVERS", "acme/a=https://a.example.com/mcp").start().await;
    let customer = stack.customer("5").await;
    let long: Vec<String> = (0..9).map(|n| format!("https://h{n}.example.com/")).collect();
    for (servers, param, said) in [
        (json!(["acme/b"]), "mcp_servers[0]", "acme/a"),
        (json!("nobody"), "mcp_servers[0]", "nobody"),
        (json!([{ "slug": "acme/a", "version": "2" }]), "mcp_servers[0]", "acme/a@2"),
        (json!(["http://127.0.0.1:1/mcp"]), "mcp_servers[0]", "not public"),
        (json!(["https://169.254.169.254/latest"]), "mcp_servers[0]", "not public"),
        (json!(["https://[::ffff:127.0.0.1]/"]), "mcp_servers[0]", "not public"),
        (json!(["https://2130706433/"]), "mcp_servers[0]", "not public"),
        (json!(["http://mcp.example.com/"]), "mcp_servers[0]", "https://"),
        (json!(["https://u:p@mcp.example.com/"]), "mcp_servers[0]", "user name"),
        (json!([{ "url": "https://h.example.com/", "slug": "acme/a" }]), "mcp_servers[0]", "either"),
        (
            json!([{ "url": "https://h.example.com/", "command": "sh" }]),
            "mcp_servers[0].command",
            "not known",
        ),
        (
            json!([{ "slug": "acme/a", "credentials": { "x": "sealed" } }]),
            "mcp_servers[0].credentials",
            "sealed",
        ),
        (
            json!([{ "slug": "acme/a", "headers": { "authorization": "x", "Host": "admin.internal" } }]),
            "mcp_servers[0].headers.Host",
            "not a header",
        ),
        (json!([7]), "mcp_servers[0]", "must be"),
        (json!(long), "mcp_servers", "at most 8"),
    ] {
        let mut body = hello(MODEL);
        body["mcp_servers"] = servers.clone();
        let reply = stack.chat(&customer.key, &body).await;
        assert_eq!(reply.status, 400, "{servers} {reply}");
        assert_eq!(reply.json()["error"]["param"], param, "{servers} {reply}");
        assert!(reply.message().contains(said), "{servers} {reply}");
    }
    for (field, value) in [
        ("credentials", json!({ "x": "sealed" })),
        ("max_turns", json!(0)),
        ("max_turns", json!(1_000)),
        ("automatic_tool_execution", json!("yes")),
        ("n", json!(2)),
        ("functions", json!([{ "name": "f" }])),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({ "voice": "alloy", "format": "wav" })),
    ] {
        let mut body = hello(MODEL);
        body["mcp_servers"] = json!(["acme/a"]);
        body[field] = value;
        let reply = stack.chat(&customer.key, &body).await;
        assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!(field)), "{reply}");
    }
    assert!(stack.simulator.bill().is_empty());
    stack.finish().await;
}

#[tokio::test]
async fn the_last_turn_that_may_be_ends_with_what_there_is() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    for streamed in [false, true] {
        stack.simulator.clear();
        server.seen.calls.lock().unwrap().clear();
        for word in ["One.", "Two."] {
            stack.simulator.enqueue("openai", Script { chunks: vec![word.into()], ..tool("tide") });
        }
        let mut body = with_servers(MODEL, &[&server.url]);
        body["max_turns"] = json!(2);
        let heard = ask(&stack, &customer, &body, streamed).await;
        assert_eq!((heard.content.as_str(), heard.finish.as_str()), ("One.Two.", "length"), "{heard:?}");
        assert_eq!((heard.calls.len(), &heard.whole["mcp_stopped_by"]), (0, &json!("max_turns")));
        assert_eq!((heard.names().len(), server.calls().len()), (1, 1));
        books_agree(&stack, &customer, &heard, 2).await;
    }
    stack.finish().await;
}

#[tokio::test]
async fn no_turn_begins_after_the_time_is_over() {
    let stack = opened().env("KAIROSROUTE_MCP_TOTAL_TIMEOUT_MS", "700").start().await;
    let (customer, server) = (stack.customer("5").await, Server::start().await);
    for streamed in [false, true] {
        stack.simulator.clear();
        stack.simulator.enqueue("openai", Script { chunks: vec!["Wait.".into()], ..tool("slow") });
        let heard = ask(&stack, &customer, &with_servers(MODEL, &[&server.url]), streamed).await;
        assert_eq!((heard.content.as_str(), heard.finish.as_str()), ("Wait.", "length"), "{heard:?}");
        assert_eq!(heard.whole["mcp_stopped_by"], "time");
        assert_eq!(heard.whole["mcp_tool_results"][0]["is_error"], true);
        books_agree(&stack, &customer, &heard, 1).await;
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_a_tool_runs_pays_for_what_was_done() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    for (round, streamed) in [(1, true), (2, false)] {
        stack
            .simulator
            .enqueue("openai", Script { chunks: vec!["Wait.".into()], ..tool("slow") }.with_tokens(500, 50));
        let body = with_servers(MODEL, &[&server.url]);
        let slow = async || server.calls().len() == round;
        if streamed {
            let stream = stack.stream(&customer.key, &body).await;
            wait_until("the tool to run", slow).await;
            drop(stream);
        } else {
            let asking = stack.chat(&customer.key, &body);
            tokio::select! {
                reply = asking => panic!("{reply}"),
                () = wait_until("the tool to run", slow) => {}
            }
        }
        let receipts = "SELECT count(*) FROM receipt WHERE document->'execution'->>'status' = 'aborted'";
        wait_until("the receipt", async || {
            stack.database.number(receipts).await == i64::try_from(round).unwrap()
        })
        .await;
    }
    stack.no_hold_is_open().await;
    let sums = "SELECT (SELECT sum((document->>'charged_nano_usd')::bigint) FROM receipt)::bigint
                     - (SELECT sum(charge) FROM usage)::bigint";
    assert_eq!(stack.database.number(sums).await, 0);
    assert_eq!(stack.database.number("SELECT count(*) FROM usage WHERE charge > 0").await, 2);
    assert_eq!(stack.simulator.bill().len(), 2, "no turn follows");
    stack.finish().await;
}

#[tokio::test]
async fn a_later_turn_falls_back_like_any_request_and_tells_its_failure() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    // The one that answered is called again, and when it fails the next in the list.
    stack.simulator.enqueue("openai", tool("tide"));
    stack.simulator.enqueue("openai", Script::failing(500));
    stack.simulator.enqueue("mistral", Script::text(&["From afar"]));
    let mut body = with_servers(MODEL, &[&server.url]);
    body["model"] = json!([MODEL, "mistral/mistral-small-4"]);
    let heard = ask(&stack, &customer, &body, true).await;
    assert_eq!((heard.content.as_str(), heard.names().len()), ("From afar", 1), "{heard:?}");
    books_agree_in_sum(&stack, &customer.key, &heard.receipt, heard.charged()).await;
    // No candidate is left: the error is the last event, and the turn before is charged.
    for status in [200, 400] {
        let script = if status == 200 { tool("tide") } else { Script::failing(status) };
        stack.simulator.enqueue("openai", script);
    }
    let mut stream = stack.stream(&customer.key, &with_servers(MODEL, &[&server.url])).await;
    let receipt = stream.receipt_id().to_owned();
    let frames = stream.rest().await;
    let last = frames.last().unwrap();
    assert!(
        last.text.starts_with("event: error") && last.json()["error"]["code"] == "upstream_error",
        "{last:?}"
    );
    let receipt = stack.receipt(&customer.key, &receipt).await;
    assert_eq!(receipt["execution"]["status"], "aborted", "{receipt}");
    assert!(receipt["charged_nano_usd"].as_i64().unwrap() > 0, "{receipt}");
    stack.finish().await;
}

async fn books_agree_in_sum(stack: &Stack, key: &str, receipt: &str, charged: i64) {
    let receipt = stack.receipt(key, receipt).await;
    assert_eq!(receipt["charged_nano_usd"], charged, "{receipt}");
    let models: Vec<String> =
        receipt["turns"].as_array().unwrap().iter().map(|turn| text(&turn["model_id"])).collect();
    assert_eq!(models, [MODEL, "mistral/mistral-small-4"]);
}

#[tokio::test]
async fn other_dialects_refuse_the_field_by_its_name() {
    let stack = Stack::builder().env(OPENED.0, OPENED.1).start().await;
    let customer = stack.customer("5").await;
    let server = Server::start().await;
    for path in ["/v1/responses", "/v1/messages"] {
        let mut body = hello(MODEL);
        body["max_tokens"] = json!(10);
        body["input"] = json!("hi");
        body["mcp_servers"] = json!([server.url]);
        let reply = stack.post(path, &customer.key, &body).await;
        assert_eq!(reply.status, 400, "{path} {reply}");
        assert!(reply.message().contains("`mcp_servers` is not supported"), "{path} {reply}");
        if path == "/v1/responses" {
            assert_eq!(reply.json()["error"]["param"], "mcp_servers", "{reply}");
        }
    }
    assert!(server.seen.headers.lock().unwrap().is_empty(), "nobody was asked");
    stack.finish().await;
}

#[tokio::test]
async fn what_passes_between_gateway_and_servers_is_in_no_log() {
    let stack = opened().env("KAIROSROUTE_LOG", "trace").start_child().await;
    let (customer, good) = (stack.customer("5").await, Server::start().await);
    let page =
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 7\r\nconnection: close\r\n\r\nc4n4ry5";
    let web = Server::start_saying(page.to_owned()).await;
    let calls = vec![call("a", "tide", r#"{"port":"c4n4ry1"}"#), call("b", "fail", r#"{"port":"c4n4ry2"}"#)];
    stack.simulator.enqueue("openai", Script::tools(calls));
    let mut body = hello(MODEL);
    let bad = format!("{}?key=c4n4ry4", web.url);
    body["mcp_servers"] = json!([
        { "url": format!("{}?key=c4n4ry3", good.url), "name": "a", "headers": { "x-key": "c4n4ry6" } },
        { "url": bad, "name": "b" }
    ]);
    let reply = stack.chat(&customer.key, &body).await;
    assert_eq!(reply.status, 200, "{reply}");
    let told = reply.json();
    assert_eq!(told["tools_executed"], json!(["tide", "fail"]), "{reply}");
    assert!(!told["mcp_server_errors"].to_string().contains("c4n4ry"), "{reply}");
    let log = stack.log();
    assert!(log.len() > 1_000, "everything is logged: {log}");
    let line = log.lines().find(|line| line.contains("c4n4ry"));
    assert!(line.is_none(), "{line:?}");
}
