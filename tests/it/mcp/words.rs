//! What is passed from turn to turn and to the client: sizes, bytes, signatures, restrictions, and which calls were
//! made.

use super::{MODEL, ask, call, local, opened, server::Server, with_servers};
use crate::harness::{Stack, hello, text, wait_until};
use kairosroute::simulator::{Script, ToolCall};
use serde_json::{Value, json};

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
    // If they were kept, the events alone would be several times the limit.
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

#[tokio::test]
async fn line_ends_in_arguments_do_not_break_a_frame() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    let pretty = "{\r\n \"port\":\r\"Brest\"\r\n}";
    stack.simulator.enqueue("openai", Script::tools(vec![call("a", "tide", pretty)]));
    let half = ToolCall::new("b", "tide", &[r#"{\"port\":\"\\ud83d\"}"#]);
    stack.simulator.enqueue("openai", Script::tools(vec![half]));
    let mut stream = stack.stream(&customer.key, &with_servers(MODEL, &[&server.url])).await;
    let frames = stream.rest().await;
    assert!(frames.iter().all(|frame| !frame.text.contains('\r')), "{frames:?}");
    let last = &frames[frames.len() - 2].text;
    assert!(last.contains(r#""result":"7 m at Brest""#) && last.contains("turns_consumed"), "{last}");
    assert!(last.contains(r#""arguments":{"port":"\ud83d"}"#), "as the model wrote it: {last}");
    assert_eq!(server.calls()[0].1, json!({ "port": "Brest" }));
    stack.finish().await;
}

#[tokio::test]
async fn a_restriction_of_tools_is_sent_with_every_turn() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    stack.simulator.enqueue("openai", Script::tools(vec![call("a", "tide", "{}")]));
    let mut body = with_servers(MODEL, &[&server.url]);
    let allowed = json!([{ "type": "function", "function": { "name": "tide" } }]);
    body["tool_choice"] =
        json!({ "type": "allowed_tools", "allowed_tools": { "mode": "required", "tools": allowed } });
    let heard = ask(&stack, &customer, &body, true).await;
    assert_eq!((heard.finish.as_str(), heard.names().len()), ("stop", 1), "{heard:?}");
    let sent: Vec<Value> = stack
        .simulator
        .bill()
        .iter()
        .map(|call| {
            serde_json::from_str::<Value>(&call.body).unwrap()["tool_choice"]["allowed_tools"].clone()
        })
        .collect();
    assert_eq!(
        sent,
        [json!({ "mode": "required", "tools": allowed }), json!({ "mode": "auto", "tools": allowed })]
    );
    stack.finish().await;
}

#[tokio::test]
async fn without_a_tool_left_nothing_is_said_of_tools() {
    let stack = opened().start().await;
    let customer = stack.customer("5").await;
    let mut body = with_servers(MODEL, &["http://127.0.0.1:9/mcp"]);
    body["parallel_tool_calls"] = json!(false);
    for (tools, choice) in [(json!(null), json!("required")), (json!([]), json!("auto"))] {
        stack.simulator.clear();
        body["tools"] = tools;
        body["tool_choice"] = choice;
        let heard = ask(&stack, &customer, &body, true).await;
        assert_eq!(heard.finish, "stop", "{heard:?}");
        assert!(!stack.simulator.bill()[0].body.contains("tool"), "{:?}", stack.simulator.bill());
    }
    stack.finish().await;
}

#[tokio::test]
async fn only_calls_that_were_made_are_named_as_executed() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    let mut calls: Vec<ToolCall> = (0..33).map(|n| call(&format!("c{n}"), "get_wind_now", "{}")).collect();
    calls[1] = call("c1", "tide", "7");
    stack.simulator.enqueue("openai", Script::tools(calls));
    let mut body = hello(MODEL);
    body["mcp_servers"] = json!([{ "url": server.url, "name": "w" }]);
    let heard = ask(&stack, &customer, &body, false).await;
    assert_eq!(heard.names(), vec!["get.wind/now"; 31], "{heard:?}");
    assert_eq!(server.calls().len(), 31);
    let results = heard.whole["mcp_tool_results"].as_array().unwrap();
    assert_eq!(results.len(), 33);
    for (at, tool, why) in [(1, "tide", "not a JSON object"), (32, "get.wind/now", "not called")] {
        let told = &results[at];
        assert_eq!((&told["server_name"], &told["tool_name"]), (&json!("w"), &json!(tool)), "{told}");
        assert!(text(&told["result"]).contains(why) && told["is_error"] == true, "{told}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn the_callers_own_tools_count_against_how_many_there_may_be() {
    let stack = opened().env("KAIROSROUTE_MCP_TOOLS_MAX", "4").start().await;
    let (customer, server) = (stack.customer("5").await, Server::start().await);
    for (own, offered) in [(3, 4), (5, 5)] {
        stack.simulator.clear();
        let mut body = with_servers(MODEL, &[&server.url]);
        body["tools"] = (0..own).map(|n| local(&format!("own_{n}"))).collect();
        let heard = ask(&stack, &customer, &body, false).await;
        let errors = heard.whole["mcp_server_errors"].as_object().unwrap();
        assert!(errors.values().all(|error| error["code"] == "too_many_tools"), "{errors:?}");
        let sent: Value = serde_json::from_str(&stack.simulator.bill()[0].body).unwrap();
        assert_eq!(sent["tools"].as_array().unwrap().len(), offered, "{sent}");
    }
    stack.finish().await;
}

/// Signatures in an answer: provider and untagged value of each.
fn signatures(answer: &str) -> Vec<String> {
    let mut found: Vec<String> = answer
        .split('"')
        .filter(|piece| piece.starts_with("gw1."))
        .map(|mark| mark.split('.').nth(1).unwrap().to_owned() + "." + mark.rsplit('.').next().unwrap())
        .collect();
    found.sort();
    found
}

async fn raw_answer(stack: &Stack, key: &str, body: &Value, streamed: bool) -> String {
    if !streamed {
        let reply = stack.chat(key, body).await;
        assert_eq!(reply.status, 200, "{reply}");
        return reply.text();
    }
    let frames = stack.stream(key, body).await.rest().await;
    assert!(frames.last().unwrap().is_done(), "{frames:?}");
    frames.iter().map(|frame| frame.text.as_str()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_signature_names_the_provider_of_its_turn() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    for streamed in [false, true] {
        let thinks = |signature: &str, name: &str| Script {
            reasoning: vec!["Hm".into()],
            signature: Some(signature.into()),
            ..Script::tools(vec![call("call_1", name, "{}")])
        };
        stack.simulator.enqueue("anthropic", thinks("EqQB", "tide"));
        stack.simulator.enqueue("anthropic", Script::failing(500));
        stack.simulator.enqueue("google", thinks("c2ln", "ask_captain"));
        let mut body = with_servers("anthropic/claude-sonnet-4-6", &[&server.url]);
        body["model"] = json!(["anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash-lite"]);
        body["tools"] = json!([local("ask_captain")]);
        body["reasoning_effort"] = json!("low");
        let answer = raw_answer(&stack, &customer.key, &body, streamed).await;
        assert_eq!(signatures(&answer), ["anthropic.EqQB", "google.c2ln"], "{answer}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_chat_host_that_signs_gets_its_signatures_back() {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("5").await;
    let called = |name: &str, signature: &str| {
        format!(
            r#"{{"index":0,"id":"call_{name}","type":"function","function":{{"name":"{name}","arguments":"{{}}"}},"extra_content":{{"google":{{"thought_signature":"{signature}"}}}}}}"#
        )
    };
    let begun = |name: &str, signature: &str| {
        let delta = format!(r#"{{"tool_calls":[{}]}}"#, called(name, signature));
        frames(&[chunk(&delta, "null"), chunk("{}", "\"tool_calls\""), "data: [DONE]\n\n".to_owned()])
    };
    stack.simulator.enqueue("openai", begun("tide", "QUJD"));
    stack.simulator.enqueue("openai", begun("ask_captain", "REVG"));
    let mut body = with_servers(MODEL, &[&server.url]);
    body["tools"] = json!([local("ask_captain")]);
    let answer = raw_answer(&stack, &customer.key, &body, true).await;
    assert_eq!(signatures(&answer), ["openai.REVG"], "{answer}");
    let mark = answer.split('"').find(|piece| piece.starts_with("gw1.")).unwrap().to_owned();
    let calls: Value = serde_json::from_str(&format!("[{}]", called("ask_captain", &mark))).unwrap();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "content": null, "tool_calls": calls }));
    messages.push(json!({ "role": "tool", "tool_call_id": "call_ask_captain", "content": "Aye" }));
    ask(&stack, &customer, &body, true).await;
    let bill = stack.simulator.bill();
    assert!(bill.iter().all(|call| call.status == 200 && !call.body.contains("gw1.")), "{bill:#?}");
    for (at, signature) in [(1, "QUJD"), (2, "REVG")] {
        let bare = format!(r#""thought_signature":"{signature}""#);
        assert!(bill[at].body.contains(&bare), "{}", bill[at].body);
    }
    stack.finish().await;
}
