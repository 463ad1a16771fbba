//! The effect of a failing host on a request that another host could serve, case by case, as in published comparisons
//! of gateways: either the other host's whole answer, or an error that a client cannot mistake for an answer. Never a
//! cut answer that looks whole, never two answers mixed, never a charge for content that was not delivered.

use super::close;
use crate::{harness::Stack, matrix::ask::Client};
use kairosroute::simulator::Script;
use serde_json::{Value, json};

/// How a request must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// With the answer of the other host.
    Other,
    /// With the answer of the host that was late or unusual, but correct.
    Same,
    /// With an error, and without a charge for more than was delivered.
    Error,
}

struct Scenario {
    name: &'static str,
    first: Script,
    streamed: bool,
    end: End,
}

const TEXT: &str = "One two three.";

/// A frame with this text.
fn says(text: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

fn frames(frames: &[&str]) -> Script {
    Script::raw_frames(frames)
}

fn scenarios() -> Vec<Scenario> {
    let whole = |name, first, end| Scenario { name, first, streamed: false, end };
    let stream = |name, first, end| Scenario { name, first, streamed: true, end };
    let text = || Script::text(&["One", " two", " three."]);
    let one = says("One");
    let comment = ": keep-alive\n\n".to_owned() + &says(TEXT);
    let finish = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    vec![
        whole("the host is broken", Script::failing(500), End::Other),
        whole("the host has no room", Script::failing(503), End::Other),
        whole("the account's rate is reached", Script::rate_limited(30), End::Other),
        whole("the account's key is refused", Script::failing(401), End::Other),
        whole("the model is not there", Script::failing(404), End::Other),
        whole("the answer is a page of the web", Script::raw_body("<html>Bad Gateway</html>"), End::Other),
        whole("the answer is empty", Script::raw_body(""), End::Other),
        whole("the answer is cut off", Script { cut_after: Some(1), ..text() }, End::Other),
        whole("the host is silent", Script { first_byte_ms: 3_600_000, ..text() }, End::Other),
        whole("the host is slow", Script { latency_ms: 150, ..text() }, End::Same),
        stream("the host is broken", Script::failing(502), End::Other),
        stream("the host is silent", Script { first_byte_ms: 3_600_000, ..text() }, End::Other),
        stream("an error comes before the answer", Script { error_after: Some(0), ..text() }, End::Other),
        stream("the stream is cut before the answer", Script { cut_after: Some(0), ..text() }, End::Other),
        stream("the stream ends without an answer", frames(&["data: [DONE]\n\n"]), End::Other),
        stream("comments come before the answer", frames(&[&comment, finish, "data: [DONE]\n\n"]), End::Same),
        stream("the closing mark is missing", Script { no_done: true, ..text() }, End::Same),
        stream("an error comes after words", Script { error_after: Some(1), ..text() }, End::Error),
        stream("the stream is cut after words", Script { cut_after: Some(1), ..text() }, End::Error),
        stream("a frame cannot be read", frames(&[&one, "data: {\"choices\n\n", finish]), End::Error),
        stream("the end is missing", frames(&[&one, "data: [DONE]\n\n"]), End::Error),
    ]
}

/// Sends a request that either host can answer; returns how it ended.
async fn end_of(stack: &Stack, key: &str, client: Client, scenario: &Scenario) -> End {
    let models = ["together_ai/gpt-oss-120b", "cerebras/gpt-oss-120b"];
    let mut body = match client {
        Client::Responses => json!({ "input": "Count." }),
        Client::Chat | Client::Messages => json!({ "messages": [{ "role": "user", "content": "Count." }] }),
    };
    body["model"] = json!(models);
    body["stream"] = json!(scenario.streamed);
    if client == Client::Messages {
        body["max_tokens"] = json!(100);
    }
    // Long enough for a host that is only slow.
    let request = stack.request("POST", client.path()).bearer(key).json(&body);
    let request = request.header("x-kairosroute-first-content-timeout-ms", "1000");
    let told = format!("{} for {client:?}", scenario.name);
    let answer = if scenario.streamed {
        let mut stream = request.stream().await;
        if stream.status != 200 {
            return End::Error;
        }
        match client.hear_stream(&stream.rest().await) {
            Ok(answer) => answer,
            Err(broken) => {
                assert!(!broken.0.is_empty(), "{told}: an error without a message");
                return End::Error;
            }
        }
    } else {
        let reply = request.send().await;
        let body: Value = reply.json();
        if reply.status != 200 {
            assert!(!client.error(&body).is_empty(), "{told}");
            return End::Error;
        }
        client.hear(&body)
    };
    assert_eq!((answer.text.as_str(), answer.finish.as_str()), (TEXT, "stop"), "{told}");
    match answer.note["provider"].as_str() {
        Some("Cerebras") => End::Other,
        Some("Together AI") => End::Same,
        other => panic!("{told}: {other:?}"),
    }
}

#[tokio::test]
async fn every_failing_host_ends_in_a_whole_answer_or_in_an_error() {
    let scenarios = scenarios();
    let mut answered = 0;
    for scenario in &scenarios {
        let stack = Stack::start().await;
        let customer = stack.customer("10").await;
        for client in [Client::Chat, Client::Messages, Client::Responses] {
            stack.simulator.clear();
            stack.simulator.set_default("together_ai", scenario.first.clone());
            stack.simulator.set_default("cerebras", Script::text(&["One", " two", " three."]));
            let (before, _) = stack.account(&customer.organization_id).await;
            let end = end_of(&stack, &customer.key, client, scenario).await;
            assert_eq!(end, scenario.end, "{} for {client:?}", scenario.name);
            stack.no_hold_is_open().await;
            let (after, _) = stack.account(&customer.organization_id).await;
            assert!(end == End::Error || after < before, "an answer is charged: {}", scenario.name);
            answered += usize::from(end != End::Error);
        }
        close(stack).await;
    }
    assert_eq!((answered, scenarios.len() * 3), (17 * 3, 21 * 3));
}
