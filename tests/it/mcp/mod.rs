//! Chat requests with MCP servers: a real server on loopback, simulated providers as the model, and the ledger. Each
//! turn is billed by the usage that the provider sent for it.

mod doors;
mod faults;
mod money;
mod polls;
mod raw;
mod server;
mod servers;
mod thoughts;
mod words;

use crate::{
    harness::{Builder, Customer, Stack, hello, text, wait_until},
    money::{GPT, charge, cost, nano, nano_of},
};
use kairosroute::simulator::{Script, ToolCall};
use serde_json::{Value, json};
pub use server::Server;

const MODEL: &str = "openai/gpt-5.4-mini";
const OPENED: (&str, &str) = ("KAIROSROUTE_ALLOW_PRIVATE_NETS", "127.0.0.0/8");

/// A gateway that calls servers on loopback.
pub fn opened() -> Builder {
    Stack::builder().env(OPENED.0, OPENED.1)
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    let quoted = json!(arguments).to_string();
    ToolCall::new(id, name, &[&quoted[1..quoted.len() - 1]])
}

/// An answer as a client reads it, streamed or not.
#[derive(Debug)]
struct Heard {
    content: String,
    calls: Vec<(String, String)>,
    /// Of the calls.
    ids: Vec<String>,
    finish: String,
    /// The body, or the frame that finishes.
    whole: Value,
    receipt: String,
    roles: usize,
}

impl Heard {
    fn names(&self) -> Vec<String> {
        self.whole["tools_executed"].as_array().unwrap().iter().map(text).collect()
    }

    fn charged(&self) -> i64 {
        nano_of(&self.whole["x_kairosroute"]["charged_usd"])
    }
}

async fn ask(stack: &Stack, customer: &Customer, body: &Value, streamed: bool) -> Heard {
    if !streamed {
        let reply = stack.chat(&customer.key, body).await;
        assert_eq!(reply.status, 200, "{reply}");
        let whole = reply.json();
        let message = &whole["choices"][0]["message"];
        let charged = nano_of(&whole["x_kairosroute"]["charged_usd"]);
        assert_eq!(nano(reply.header("x-kairosroute-cost")), charged, "{reply}");
        return Heard {
            content: message["content"].as_str().unwrap_or_default().to_owned(),
            calls: calls_of(&message["tool_calls"]),
            ids: message["tool_calls"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|call| text(&call["id"]))
                .collect(),
            finish: text(&whole["choices"][0]["finish_reason"]),
            receipt: reply.receipt_id().to_owned(),
            roles: 1,
            whole,
        };
    }
    let mut stream = stack.stream(&customer.key, body).await;
    let status = stream.status;
    assert_eq!(status, 200, "{:?}", stream.rest().await);
    let receipt = stream.receipt_id().to_owned();
    let frames = stream.rest().await;
    assert!(frames.last().unwrap().is_done(), "{frames:?}");
    let mut heard = Heard {
        content: frames.iter().map(|frame| frame.content()).collect(),
        calls: Vec::new(),
        ids: Vec::new(),
        finish: String::new(),
        whole: Value::Null,
        receipt,
        roles: 0,
    };
    for frame in frames.iter().filter(|frame| !frame.is_done() && !frame.is_comment()) {
        let frame = frame.json();
        let choice = &frame["choices"][0];
        heard.roles += usize::from(choice["delta"]["role"].is_string());
        for piece in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(piece["index"].as_u64().unwrap()).unwrap();
            if heard.calls.len() <= index {
                assert_eq!(heard.calls.len(), index, "calls are counted from 0: {piece}");
                heard.calls.push((text(&piece["function"]["name"]), String::new()));
                heard.ids.push(text(&piece["id"]));
            }
            heard.calls[index].1.push_str(piece["function"]["arguments"].as_str().unwrap_or_default());
        }
        if choice["finish_reason"].is_string() {
            assert!(heard.finish.is_empty(), "one end: {frame}");
            heard.finish = text(&choice["finish_reason"]);
            heard.whole = frame;
        }
    }
    heard
}

fn calls_of(calls: &Value) -> Vec<(String, String)> {
    let calls = calls.as_array().into_iter().flatten();
    calls.map(|call| (text(&call["function"]["name"]), text(&call["function"]["arguments"]))).collect()
}

fn local(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object", "properties": {} } } })
}

fn with_servers(model: &str, servers: &[&str]) -> Value {
    let mut body = hello(model);
    body["max_tokens"] = json!(4_000);
    body["mcp_servers"] = json!(servers);
    body
}

/// Usage rows, holds and entries of a request agree with each other, with the receipt and with the receipt member.
async fn books_agree(stack: &Stack, customer: &Customer, heard: &Heard, turns: i64) {
    let receipt = stack.receipt(&customer.key, &heard.receipt).await;
    let id = format!("(SELECT id FROM receipt WHERE document->>'receipt_id' = '{}')", heard.receipt);
    let number = async |sql: &str| stack.database.number(&sql.replace("$ID", &id)).await;
    wait_until("the usage rows", async || {
        number("SELECT count(*) FROM usage WHERE request_id = $ID").await == turns
    })
    .await;
    let charged = heard.charged();
    assert_eq!(receipt["charged_nano_usd"], charged, "{receipt}");
    assert_eq!(number("SELECT sum(charge)::bigint FROM usage WHERE request_id = $ID").await, charged);
    assert_eq!(number("SELECT count(*) FROM hold WHERE request_id = $ID AND state = 'settled'").await, turns);
    assert_eq!(number("SELECT count(DISTINCT turn) FROM hold WHERE request_id = $ID").await, turns);
    assert_eq!(number("SELECT sum(charge)::bigint FROM hold WHERE request_id = $ID").await, charged);
    assert_eq!(number("SELECT sum(amount)::bigint FROM entry WHERE request_id = $ID").await, charged);
    assert_eq!(heard.whole["turns_consumed"], turns);
    if turns > 1 {
        let told = receipt["turns"].as_array().unwrap();
        assert_eq!(i64::try_from(told.len()).unwrap(), turns, "{receipt}");
        let sum: i64 = told.iter().map(|turn| turn["charged_nano_usd"].as_i64().unwrap()).sum();
        assert_eq!(sum, charged);
        assert!(told.iter().all(|turn| turn["price"]["lines"].is_array()), "{receipt}");
    }
}

/// The task of three steps: a server's tool, then one of the client's own, then again the server's and the end.
async fn three_steps(stack: &Stack, customer: &Customer, server: &Server, model: &str, streamed: bool) {
    let provider = model.split('/').next().unwrap();
    stack.simulator.clear();
    server.seen.calls.lock().unwrap().clear();
    for script in [
        Script {
            chunks: vec!["Let me see.".into()],
            ..Script::tools(vec![call("call_1", "tide", r#"{"port": "Brest"}"#)])
        }
        .with_tokens(100, 10),
        Script::tools(vec![call("call_2", "ask_captain", r#"{"q":1.0}"#)]).with_tokens(200, 20),
        Script::tools(vec![call("call_3", "tide", r#"{"port":"Calais"}"#)]).with_tokens(300, 30),
        Script::text(&["Sail", " at noon."]).with_tokens(400, 40),
    ] {
        stack.simulator.enqueue(provider, script);
    }
    let mut body = with_servers(model, &[&server.url]);
    body["tools"] = json!([local("ask_captain"), local("look_out")]);
    let first = ask(stack, customer, &body, streamed).await;
    assert_eq!(first.content, "Let me see.", "{first:?}");
    assert_eq!(first.calls, [("ask_captain".to_owned(), r#"{"q":1.0}"#.to_owned())]);
    assert_eq!((first.finish.as_str(), first.roles), ("tool_calls", 1), "{first:?}");
    assert_eq!(first.names(), ["tide"]);
    let result = &first.whole["mcp_tool_results"][0];
    assert_eq!((&result["result"], &result["is_error"]), (&json!("7 m at Brest"), &json!(false)), "{result}");
    assert_eq!((&result["tool_name"], &result["arguments"]), (&json!("tide"), &json!({ "port": "Brest" })));
    assert!(result["server_name"].is_string() && result["duration_ms"].is_u64(), "{result}");
    books_agree(stack, customer, &first, 2).await;
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "tool_calls": [
        { "id": "call_2", "type": "function", "function": { "name": "ask_captain", "arguments": "{\"q\":1.0}" } }] }));
    messages.push(json!({ "role": "tool", "tool_call_id": "call_2", "content": "Aye" }));
    let last = ask(stack, customer, &body, streamed).await;
    assert_eq!((last.content.as_str(), last.finish.as_str()), ("Sail at noon.", "stop"), "{last:?}");
    assert_eq!((last.names(), last.calls.len()), (vec!["tide".to_owned()], 0), "{last:?}");
    books_agree(stack, customer, &last, 2).await;
    let called: Vec<Value> =
        server.calls().into_iter().map(|(_, arguments)| arguments["port"].clone()).collect();
    assert_eq!(called, ["Brest", "Calais"]);
    // The model received the server's result, with its call.
    let bill = stack.simulator.bill();
    assert_eq!(bill.len(), 4, "{bill:#?}");
    assert!(bill[1].body.contains("7 m at Brest") && !bill[0].body.contains("7 m"), "{}", bill[1].body);
    assert!(bill[3].body.contains("7 m at Calais") && bill[3].body.contains("Aye"), "{}", bill[3].body);
    assert!(bill.iter().all(|call| call.status == 200 && call.leaked.is_empty()), "{bill:#?}");
}

#[tokio::test]
async fn a_task_of_three_steps_mixes_servers_tools_with_the_callers_own() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("50").await;
    for model in [MODEL, "anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash-lite"] {
        for streamed in [false, true] {
            three_steps(&stack, &customer, &server, model, streamed).await;
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn every_turn_is_charged_by_what_its_provider_emitted() {
    let (stack, server) = (opened().start().await, Server::start_old().await);
    let customer = stack.customer("5").await;
    let before = stack.account(&customer.organization_id).await.0;
    for script in [
        Script::tools(vec![call("a", "tide", "{}"), call("b", "structured", "{}")]).with_tokens(1_000, 100),
        Script::tools(vec![call("a", "get_wind_now", "")]).with_tokens(2_000, 50),
        Script::text(&["West, 7 m"]).with_tokens(3_000, 10),
    ] {
        stack.simulator.enqueue("openai", script);
    }
    let mut body = with_servers(MODEL, &[&server.url]);
    body["stream_options"] = json!({ "include_usage": true });
    body["stream"] = json!(true);
    let mut stream = stack.stream(&customer.key, &body).await;
    let receipt = stream.receipt_id().to_owned();
    let frames = stream.rest().await;
    let last = frames[frames.len() - 2].json();
    let sum: i64 = [(1_000, 100), (2_000, 50), (3_000, 10)]
        .map(|(prompt, output)| charge(cost(GPT, prompt, 0, output)))
        .iter()
        .sum();
    // If a usage chunk was requested, it has the sum, with all members of the end.
    assert_eq!(
        (&last["usage"]["prompt_tokens"], &last["usage"]["completion_tokens"]),
        (&json!(6_000), &json!(160)),
        "{last}"
    );
    assert_eq!(nano_of(&last["x_kairosroute"]["charged_usd"]), sum);
    assert_eq!(last["tools_executed"], json!(["tide", "structured", "get.wind/now"]));
    assert_eq!(last["mcp_tool_results"][1]["result"], json!({ "metres": 7 }));
    let receipt = stack.receipt(&customer.key, &receipt).await;
    assert_eq!(receipt["charged_nano_usd"], sum, "{receipt}");
    assert_eq!(receipt["attempts"].as_array().unwrap().len(), 3);
    assert_eq!(receipt["usage"]["input"], 6_000);
    stack.no_hold_is_open().await;
    assert_eq!(before - stack.account(&customer.organization_id).await.0, sum);
    stack.finish().await;
}

#[tokio::test]
async fn names_that_collide_get_the_servers_name_and_find_their_tool_again() {
    let (stack, one, two) = (opened().start().await, Server::start().await, Server::start().await);
    let customer = stack.customer("5").await;
    let calls = vec![call("a", "tide", "{}"), call("b", "one__tide", "{}"), call("c", "two__tide", "{}")];
    stack.simulator.enqueue("openai", Script::tools(calls));
    let mut body = hello(MODEL);
    body["tools"] = json!([local("tide")]);
    body["mcp_servers"] =
        json!([{ "url": one.url, "name": "one" }, { "url": two.url, "name": "two", "slug": null }]);
    let heard = ask(&stack, &customer, &body, true).await;
    // The client's own tool keeps its name and is returned to the client; the others were called meanwhile.
    assert_eq!(heard.calls, [("tide".to_owned(), "{}".to_owned())]);
    assert_eq!(heard.names(), ["tide", "tide"]);
    let servers: Vec<String> = heard.whole["mcp_tool_results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| text(&one["server_name"]))
        .collect();
    assert_eq!(servers, ["one", "two"]);
    assert_eq!((one.calls().len(), two.calls().len()), (1, 1));
    stack.finish().await;
}

#[tokio::test]
async fn headers_go_to_their_server_alone_and_slugs_to_the_operators() {
    let server = Server::start().await;
    let list = format!("acme/tides={}", server.url);
    // An address that the operator configured may be private without being opened to customers.
    let stack = Stack::builder().env("KAIROSROUTE_MCP_SERVERS", &list).start().await;
    let customer = stack.customer("5").await;
    stack.simulator.enqueue("openai", Script::tools(vec![call("a", "tide", "{}")]));
    let mut body = hello(MODEL);
    body["mcp_servers"] =
        json!({ "slug": "acme/tides", "name": "t", "headers": { "Authorization": "Bearer s3cret" } });
    let heard = ask(&stack, &customer, &body, false).await;
    assert_eq!(heard.names(), ["tide"]);
    let seen = server.seen.authorizations.lock().unwrap().clone();
    assert!(!seen.is_empty() && seen.iter().all(|given| given == "Bearer s3cret"), "{seen:?}");
    for call in stack.simulator.bill() {
        assert!(!call.body.contains("s3cret") && !call.body.contains("mcp_servers"), "{}", call.body);
    }
    let receipt = stack.receipt(&customer.key, &heard.receipt).await;
    assert!(!receipt.to_string().contains("s3cret"), "{receipt}");
    stack.finish().await;
}

#[tokio::test]
async fn the_operators_servers_are_for_whom_it_has_dealt_with_and_get_credentials_only() {
    let server = Server::start().await;
    let list = format!("acme/tides={}", server.url);
    let stack = Stack::builder().env("KAIROSROUTE_MCP_SERVERS", &list).start().await;
    let (credited, free) = (stack.customer("5").await, stack.sign_up().await);
    stack.set_provider_keys(&free, &json!({ "OpenAI": "sk-own-12345678" })).await;
    let body = |headers: Value| {
        let mut body = hello(MODEL);
        body["mcp_servers"] = json!([{ "slug": "acme/tides", "headers": headers }]);
        body
    };
    for name in ["X-Remote-User", "X-Auth-Request-Email", "Metadata-Flavor", "User-Agent", "x-goog-api-key"] {
        let reply = stack.chat(&credited.key, &body(json!({ name: "evil" }))).await;
        let param = format!("mcp_servers[0].headers.{name}");
        assert_eq!((reply.status, reply.json()["error"]["param"].as_str()), (400, Some(&*param)), "{reply}");
    }
    let refused = stack.chat(&free.key, &body(json!({}))).await;
    assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some("mcp_servers[0]")));
    assert!(server.seen.headers.lock().unwrap().is_empty(), "no server was called");
    let headers = json!({ "Authorization": "Bearer s3cret", "X-API-Key": "k" });
    assert_eq!(stack.chat(&credited.key, &body(headers)).await.status, 200);
    for (action, status) in [("grant", 200), ("revoke", 400)] {
        let changed = stack.command(&["admin", "mcp", action, &free.organization_id, "acme/tides"], "");
        assert!(changed.status.success(), "{changed:?}");
        assert_eq!(stack.chat(&free.key, &body(json!({}))).await.status, status, "{action}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_caller_may_keep_the_calls_to_itself() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    for streamed in [false, true] {
        stack.simulator.enqueue("openai", Script::tools(vec![call("a", "tide", r#"{"port":"Brest"}"#)]));
        let mut body = with_servers(MODEL, &[&server.url]);
        body["automatic_tool_execution"] = json!(false);
        let heard = ask(&stack, &customer, &body, streamed).await;
        assert_eq!(heard.calls, [("tide".to_owned(), r#"{"port":"Brest"}"#.to_owned())]);
        assert_eq!((heard.finish.as_str(), heard.names().len()), ("tool_calls", 0));
        books_agree(&stack, &customer, &heard, 1).await;
    }
    assert!(server.calls().is_empty());
    stack.finish().await;
}

#[tokio::test]
async fn a_forced_call_is_forced_once() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    stack.simulator.enqueue("openai", Script::tools(vec![call("a", "tide", "{}")]));
    let mut body = with_servers(MODEL, &[&server.url]);
    body["tool_choice"] = json!("required");
    let heard = ask(&stack, &customer, &body, false).await;
    assert_eq!(heard.finish, "stop");
    let bill = stack.simulator.bill();
    assert!(bill[0].body.contains("tool_choice") && !bill[1].body.contains("tool_choice"));
    stack.finish().await;
}

#[tokio::test]
async fn what_servers_said_is_told_again_when_the_caller_has_run_its_own_tool() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let (customer, stranger) = (stack.customer("50").await, stack.customer("50").await);
    for model in [MODEL, "anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash-lite"] {
        let provider = model.split('/').next().unwrap();
        for streamed in [false, true] {
            stack.simulator.clear();
            server.seen.calls.lock().unwrap().clear();
            for script in [
                Script::tools(vec![call("call_1", "tide", r#"{"port":"Brest"}"#)]),
                Script::tools(vec![
                    call("call_2", "tide", r#"{"port":"Calais"}"#),
                    call("call_3", "ask_captain", r#"{"q":1.0}"#),
                ]),
                Script::text(&["Sail."]),
                Script::text(&["Who asks?"]),
            ] {
                stack.simulator.enqueue(provider, script);
            }
            let mut body = with_servers(model, &[&server.url]);
            body["tools"] = json!([local("ask_captain")]);
            let first = ask(&stack, &customer, &body, streamed).await;
            assert_eq!(first.names(), ["tide", "tide"], "{first:?}");
            // The provider's ids may not be unique; ours are.
            let id = first.ids[0].clone();
            assert!(id.starts_with("call_") && id.len() <= 40 && id != "call_3", "{id}");
            let messages = body["messages"].as_array_mut().unwrap();
            messages.push(json!({ "role": "assistant", "tool_calls": [
                { "id": id, "type": "function", "function": { "name": "ask_captain", "arguments": "{\"q\":1.0}" } }] }));
            messages.push(json!({ "role": "tool", "tool_call_id": id, "content": "Aye" }));
            let last = ask(&stack, &customer, &body, streamed).await;
            assert_eq!((last.content.as_str(), last.names().len()), ("Sail.", 0), "{last:?}");
            // Another key with the same conversation gets none of its history.
            ask(&stack, &stranger, &body, streamed).await;
            let bill = stack.simulator.bill();
            assert!(bill.iter().all(|call| call.status == 200), "{bill:#?}");
            let places = |body: &str| ["7 m at Brest", "7 m at Calais", "Aye"].map(|said| body.find(said));
            let told = places(&bill[2].body);
            assert!(
                told.iter().all(Option::is_some) && told.is_sorted(),
                "{model} {streamed}: {}",
                bill[2].body
            );
            let [brest, calais, aye] = places(&bill[3].body);
            assert!(brest.is_none() && calais.is_none() && aye.is_some(), "{}", bill[3].body);
            assert_eq!(server.calls().len(), 2, "nothing is called twice");
        }
    }
    stack.finish().await;
}
