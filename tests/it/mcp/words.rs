//! What passes from turn to turn and to the caller: sizes, bytes, signatures, restrictions, and which calls were made.

use super::{MODEL, ask, call, local, opened, server::Server, with_servers};
use crate::harness::{Stack, wait_until};
use kairosroute::simulator::Script;
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

/// Signatures in an answer, each with the member that holds it.
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
        body["model"] = json!(["anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash"]);
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
