//! Bodies as some clients write them: everything in a wrapper, other names for messages, and the answers that they
//! expect.

use super::{Form, GOOD, WRONG, assert_refused, endpoints, rich, seen};
use crate::{
    harness::{Stack, hello},
    kinds::{only_call, sent},
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_key_in_byok_api_key_is_marked_in_the_answer() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    for endpoint in endpoints() {
        let reply = endpoint.ask().key(Form::ByokApiKey, GOOD).send(&stack, &customer).await;
        assert_eq!(reply.status, 200, "{}: {reply}", endpoint.path);
        seen(&stack);
        if endpoint.path == "/v1/audio/speech" {
            assert!(!reply.text().contains("byok_api_key"), "sound stays as it is");
            continue;
        }
        let body = reply.json();
        assert_eq!((&body["byok_api_key"], &body["usage"]["cost"]), (&json!(true), &json!(0)), "{reply}");
        assert_eq!(body["x_kairosroute"]["byok"], true, "{reply}");
        for other in [Form::Header, Form::Extra] {
            let body = endpoint.ask().key(other, GOOD).send(&stack, &customer).await.json();
            assert!(body["byok_api_key"].is_null() && body["usage"]["cost"].is_null(), "{body}");
        }
        stack.simulator.clear();
    }
    stack.finish().await;
}

#[tokio::test]
async fn members_of_additional_params_reach_the_provider_and_the_wrapper_does_not() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    for (index, members, expected) in [
        (0, json!({ "top_p": 0.5, "seed": 7 }), json!({ "top_p": 0.5, "seed": 7 })),
        (1, json!({ "temperature": 0.5 }), json!({ "temperature": 0.5 })),
        (2, json!({ "top_p": 0.5 }), json!({ "top_p": 0.5 })),
        (3, json!({ "top_k": 5 }), json!({ "top_k": 5 })),
        (4, json!({ "dimensions": 8 }), json!({ "dimensions": 8 })),
        (5, json!({ "n": 2, "size": "1024x1024" }), json!({ "n": 2, "size": "1024x1024" })),
        (6, json!({ "speed": 1.25 }), json!({ "speed": 1.25 })),
    ] {
        let endpoint = &endpoints()[index];
        let asking = endpoint.ask().field("additional_params", members).key(Form::ByokApiKey, GOOD);
        let reply = asking.send(&stack, &customer).await;
        assert_eq!(reply.status, 200, "{}: {reply}", endpoint.path);
        let body = sent(&only_call(&stack));
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&body[name], value, "{}: {body}", endpoint.path);
        }
        assert!(body["additional_params"].is_null(), "{body}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn what_stands_beside_the_wrapper_wins_and_a_key_may_stand_inside() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    let mut body = hello("openai/gpt-4o-mini");
    body["temperature"] = json!(0.7);
    body["max_tokens"] = Value::Null;
    body["additional_params"] = json!({ "temperature": 1.5, "max_tokens": 5, "extra": { "byok": GOOD } });
    let reply = stack.chat(&customer.key, &body).await;
    assert_eq!(reply.status, 200, "{reply}");
    assert_eq!(stack.simulator.bill()[0].authorization, GOOD);
    let body = sent(&only_call(&stack));
    assert_eq!((&body["temperature"], &body["max_tokens"]), (&json!(0.7), &json!(5)));
    // A second key inside is a second key.
    let mut two = hello("openai/gpt-4o-mini");
    two["byok_api_key"] = json!(GOOD);
    two["additional_params"] = json!({ "extra": { "byok": WRONG } });
    assert_refused(&stack.chat(&customer.key, &two).await, "invalid_request", "two keys");
    for (wrapper, param) in [
        (json!("brought-along"), "additional_params"),
        (json!({ "additional_params": { "a": 1 } }), "additional_params"),
        (json!({ "temperature": "brought-along" }), "temperature"),
    ] {
        let mut body = hello("openai/gpt-4o-mini");
        body["additional_params"] = wrapper;
        let reply = stack.chat(&customer.key, &body).await;
        assert_refused(&reply, "invalid_request", param);
        assert_eq!(reply.json()["error"]["param"], param, "{reply}");
    }
    assert!(stack.simulator.bill().is_empty());
    stack.finish().await;
}

#[tokio::test]
async fn input_and_instructions_are_messages_in_chat_and_are_counted_as_such() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    let system = json!({ "role": "system", "content": "Be brief." });
    let user = json!({ "role": "user", "content": "Hello" });
    for (body, messages) in [
        (json!({ "input": "Hello", "instructions": "Be brief." }), json!([system, user])),
        (json!({ "input": [user] }), json!([user])),
        (json!({ "messages": [user], "instructions": "Be brief." }), json!([system, user])),
    ] {
        let mut body = body;
        body["model"] = json!("openai/gpt-4o-mini");
        let reply = stack.chat(&customer.key, &body).await;
        assert_eq!(reply.status, 200, "{reply}");
        let sent = sent(&only_call(&stack));
        assert_eq!(sent["messages"], messages, "{sent}");
        assert!(sent["input"].is_null() && sent["instructions"].is_null(), "{sent}");
    }
    for (body, param) in [
        (json!({ "input": "a", "messages": [user] }), "input"),
        (json!({ "input": 7 }), "input"),
        (json!({ "instructions": "a" }), "messages"),
    ] {
        let mut body = body;
        body["model"] = json!("openai/gpt-4o-mini");
        let reply = stack.chat(&customer.key, &body).await;
        assert_refused(&reply, "invalid_request", param);
        assert_eq!(reply.json()["error"]["param"], param, "{reply}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn fields_of_agents_that_ask_for_nothing_are_no_obstacle_and_others_are_named() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    let fields = ["agent_attributes", "model_attributes", "handoff_config", "handoff_mode"];
    for empty in [Value::Null, json!({}), json!([])] {
        let mut body = hello("openai/gpt-4o-mini");
        fields.iter().for_each(|field| body[*field] = empty.clone());
        let reply = stack.chat(&customer.key, &body).await;
        assert_eq!(reply.status, 200, "{reply}");
        let sent = sent(&only_call(&stack));
        assert!(fields.iter().all(|field| sent[*field].is_null()), "{sent}");
    }
    for field in fields {
        let mut body = hello("openai/gpt-4o-mini");
        body[field] = json!({ "intelligence": 0.9 });
        let reply = stack.chat(&customer.key, &body).await;
        assert_refused(&reply, "invalid_request", field);
        assert_eq!(reply.json()["error"]["param"], field);
    }
    stack.finish().await;
}
