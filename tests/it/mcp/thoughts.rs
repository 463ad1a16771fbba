//! Reasoning over several turns: data that its provider signed is sent back in every later turn, unchanged.

use super::{Server, ask, call, opened, with_servers};
use kairosroute::simulator::Script;
use serde_json::{Value, json};

/// Base64, and characters that base64 never contains.
const SIGNATURES: [&str; 2] = ["EqQBCkYI/+one.ulated==", "EqQBCkYI/+two.ulated=="];

fn thought(turn: usize) -> Script {
    Script {
        chunks: vec![],
        reasoning: vec![format!("Thought {turn}.")],
        signature: Some(SIGNATURES[turn].into()),
        ..Script::tools(vec![call(&format!("call_{turn}"), "tide", r#"{"port":"Brest"}"#)])
    }
}

/// The bodies of three turns, two of them with reasoning.
async fn three_turns(model: &str, streamed: bool) -> Vec<Value> {
    let (stack, server) = (opened().start().await, Server::start().await);
    let customer = stack.customer("50").await;
    let provider = model.split('/').next().unwrap();
    for turn in 0..2 {
        stack.simulator.enqueue(provider, thought(turn));
    }
    stack.simulator.enqueue(provider, Script::text(&["7 m"]));
    let mut body = with_servers(model, &[&server.url]);
    body["reasoning_effort"] = json!("high");
    let heard = ask(&stack, &customer, &body, streamed).await;
    assert_eq!((heard.content.as_str(), heard.names().len()), ("7 m", 2), "{heard:?}");
    let bill = stack.simulator.bill();
    assert!(bill.iter().all(|call| call.status == 200 && !call.body.contains("gw1.")), "{bill:#?}");
    let bodies = bill.iter().map(|call| serde_json::from_str(&call.body).unwrap()).collect();
    stack.finish().await;
    bodies
}

#[tokio::test]
async fn anthropics_thinking_goes_back_with_every_later_turn() {
    for streamed in [false, true] {
        let bodies = three_turns("anthropic/claude-sonnet-4-6", streamed).await;
        let thinking = |turn: usize| {
            let thinking = format!("Thought {turn}.");
            json!({ "type": "thinking", "thinking": thinking, "signature": SIGNATURES[turn] })
        };
        for (body, turns) in [(&bodies[1], 1), (&bodies[2], 2)] {
            for turn in 0..turns {
                let said = &body["messages"][1 + 2 * turn];
                assert_eq!(said["role"], "assistant", "{streamed}: {body}");
                assert_eq!(said["content"][0], thinking(turn), "{streamed}: {body}");
                assert_eq!(said["content"][1]["id"], format!("call_{turn}"), "{streamed}: {body}");
            }
        }
    }
}

#[tokio::test]
async fn geminis_signatures_go_back_on_their_calls_with_every_later_turn() {
    for streamed in [false, true] {
        let bodies = three_turns("google/gemini-3.8-flash", streamed).await;
        for (body, turns) in [(&bodies[1], 1), (&bodies[2], 2)] {
            let contents = body["contents"].as_array().unwrap();
            let parts = contents.iter().flat_map(|content| content["parts"].as_array().unwrap());
            let calls: Vec<&Value> = parts.filter(|part| part["functionCall"].is_object()).collect();
            let signatures: Vec<&Value> = calls.iter().map(|call| &call["thoughtSignature"]).collect();
            assert_eq!(signatures, SIGNATURES[..turns], "{streamed}: {body}");
            for signature in &SIGNATURES[..turns] {
                assert_eq!(body.to_string().matches(signature).count(), 1, "{streamed}: {body}");
            }
        }
    }
}
