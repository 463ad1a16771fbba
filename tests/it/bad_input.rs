//! Requests that cannot be served: each gets a clear error and leaves nothing behind, neither at a provider nor in the
//! ledger.

use crate::{
    harness::{Customer, Reply, Request, Stack, hello},
    routes::assert_enveloped,
};
use serde_json::{Value, json};

const MODEL: &str = "openai/gpt-4o-mini";
const PATH: &str = "/v1/chat/completions";

/// The refusal, as documented, in both of its places; the head states provider and field.
fn assert_refused(reply: &Reply, status: u16, code: &str, what: &str) {
    assert_eq!((reply.status, reply.code().as_str()), (status, code), "{what}: {reply}");
    assert_enveloped(reply);
    assert!(reply.receipt_id().starts_with("rcpt_"), "{what}: {reply}");
    assert_eq!(reply.header("x-kairosroute-byok"), "false", "{what}");
    assert_eq!(reply.header("x-kairosroute-attempts"), "0", "{what}");
    assert_eq!(reply.header("x-kairosroute-cache"), "off", "{what}");
    assert_eq!(reply.header("x-request-id").strip_prefix("req_"), reply.receipt_id().strip_prefix("rcpt_"));
    assert_eq!(reply.header("x-kairosroute-provider"), "", "{what}: nobody was dialed");
}

/// No call at the providers, no entry except the credit, no hold.
async fn assert_nothing_happened(stack: &Stack) {
    assert!(stack.simulator.bill().is_empty(), "{:?}", stack.simulator.bill());
    assert_eq!(stack.database.number("SELECT count(*) FROM entry WHERE kind <> 'grant'").await, 0);
    assert_eq!(stack.database.number("SELECT count(*) FROM hold").await, 0);
    assert_eq!(stack.database.number("SELECT coalesce(sum(held), 0)::bigint FROM credit_account").await, 0);
}

fn post(stack: &Stack, customer: &Customer, body: impl Into<Vec<u8>>) -> Request {
    stack.request("POST", PATH).bearer(&customer.key).body(body)
}

#[tokio::test]
async fn a_body_that_is_not_acceptable_json_is_refused() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let whole = hello(MODEL).to_string();
    let deep = format!(r#"{{"model":"{MODEL}","messages":[],"x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let twice = format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"a"}}],"model":"x"}}"#);
    let mut latin = whole.clone().into_bytes();
    let at = whole.find("Hello").unwrap();
    latin[at] = 0xe9;
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("blank", b"  \r\n".to_vec()),
        ("null", b"null".to_vec()),
        ("a list", b"[]".to_vec()),
        ("a string", b"\"model\"".to_vec()),
        ("a number", b"1e999".to_vec()),
        ("truncated", whole[..whole.len() - 1].into()),
        ("truncated in a string", whole[..at + 2].into()),
        ("trailing", format!("{whole}x").into()),
        ("two documents", format!("{whole}{whole}").into()),
        ("single quotes", whole.replace('"', "'").into()),
        ("a trailing comma", format!("{},}}", &whole[..whole.len() - 1]).into()),
        ("a comment", format!("/* */{whole}").into()),
        ("NaN", format!(r#"{},"temperature":NaN}}"#, &whole[..whole.len() - 1]).into()),
        ("a control character", whole.replace("Hello", "He\u{1}llo").into()),
        ("a bad escape", whole.replace("Hello", r"\x41").into()),
        ("a byte order mark in the middle", format!("{{\u{feff}{}", &whole[1..]).into()),
        ("deep", deep.into()),
        ("very deep", [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat()),
        ("a member twice", twice.into()),
        ("not UTF-8", latin),
        ("UTF-16", whole.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("gzip", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0]),
    ];
    for (what, body) in bodies {
        let reply = post(&stack, &customer, body).send().await;
        assert_refused(&reply, 400, "invalid_request", what);
    }
    assert_nothing_happened(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn every_documented_field_of_the_wrong_kind_is_refused_by_name() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let (text, number, list, object, flag) =
        (json!("x"), json!(1), json!(["x"]), json!({ "x": 1 }), json!(true));
    let wrong: Vec<(&str, Vec<&Value>)> = vec![
        ("model", vec![&number, &object, &flag]),
        ("messages", vec![&text, &number, &object, &flag, &list]),
        ("stream", vec![&text, &number, &list, &object]),
        ("stream_options", vec![&text, &number, &list, &flag]),
        ("temperature", vec![&text, &list, &object, &flag]),
        ("top_p", vec![&text, &list, &object, &flag]),
        ("max_tokens", vec![&text, &list, &object, &flag]),
        ("max_completion_tokens", vec![&text, &list, &object, &flag]),
        ("tools", vec![&text, &number, &object, &flag, &list]),
        ("tool_choice", vec![&number, &list, &flag]),
        ("parallel_tool_calls", vec![&text, &number, &list, &object]),
        ("response_format", vec![&text, &number, &list, &flag]),
        ("n", vec![&text, &list, &object, &flag]),
        ("stop", vec![&number, &object, &flag]),
        ("seed", vec![&text, &list, &object, &flag]),
        ("user", vec![&number, &list, &object, &flag]),
        ("frequency_penalty", vec![&text, &list, &object, &flag]),
        ("presence_penalty", vec![&text, &list, &object, &flag]),
        ("logit_bias", vec![&text, &number, &list, &flag]),
        ("logprobs", vec![&text, &number, &list, &object]),
        ("top_logprobs", vec![&text, &list, &object, &flag]),
        ("reasoning_effort", vec![&list, &object]),
        ("verbosity", vec![&number, &list, &object, &flag]),
        ("service_tier", vec![&number, &list, &object, &flag]),
        ("metadata", vec![&text, &number, &list, &flag]),
        ("store", vec![&text, &number, &list, &object]),
        ("modalities", vec![&text, &number, &object, &flag]),
        ("audio", vec![&text, &number, &list, &flag]),
        ("prediction", vec![&text, &number, &list, &flag]),
        ("functions", vec![&text, &number, &object, &flag, &list]),
        ("function_call", vec![&number, &list, &flag]),
        ("prompt_cache_key", vec![&number, &list, &object, &flag]),
        ("prompt_cache_retention", vec![&number, &list, &object, &flag]),
        ("safety_identifier", vec![&number, &list, &object, &flag]),
        ("web_search_options", vec![&text, &number, &list, &flag]),
    ];
    for (field, values) in wrong {
        for value in values {
            let mut body = hello(MODEL);
            body[field] = value.clone();
            let reply = stack.chat(&customer.key, &body).await;
            assert_refused(&reply, 400, "invalid_request", &format!("{field} = {value}"));
            let param = reply.json()["error"]["param"].as_str().unwrap_or_default().to_owned();
            assert!(param.starts_with(field), "{field} = {value}: names {param:?}");
        }
    }
    assert_nothing_happened(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn numbers_out_of_range_and_hollow_requests_are_refused_by_name() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for (field, value) in [
        ("temperature", json!(-0.1)),
        ("temperature", json!(2.1)),
        ("top_p", json!(1.5)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(-1)),
        ("max_tokens", json!(1.5)),
        ("max_completion_tokens", json!(0)),
        ("n", json!(0)),
        ("n", json!(129)),
        ("seed", json!(1.5)),
        ("frequency_penalty", json!(3)),
        ("presence_penalty", json!(-3)),
        ("top_logprobs", json!(21)),
        ("messages", json!([])),
        ("messages", json!([7])),
        ("messages", json!([{ "role": 7, "content": "x" }])),
        ("messages", json!([{ "content": "x" }])),
        ("messages", json!([{ "role": "user", "content": 7 }])),
        ("model", json!("")),
        ("model", json!([])),
        ("tools", json!([{ "function": {} }])),
        ("response_format", json!({})),
        ("stream_options", json!({ "include_usage": "yes" })),
    ] {
        let mut body = hello(MODEL);
        body[field] = value.clone();
        let reply = stack.chat(&customer.key, &body).await;
        assert_refused(&reply, 400, "invalid_request", &format!("{field} = {value}"));
        let param = reply.json()["error"]["param"].as_str().unwrap_or_default().to_owned();
        assert!(param.starts_with(field), "{field} = {value}: names {param:?}");
    }
    for missing in ["model", "messages"] {
        let mut body = hello(MODEL);
        body.as_object_mut().unwrap().remove(missing);
        let reply = stack.chat(&customer.key, &body).await;
        assert_refused(&reply, 400, "invalid_request", missing);
        assert_eq!(reply.json()["error"]["param"], missing);
    }
    assert_nothing_happened(&stack).await;
}

#[tokio::test]
async fn a_model_nobody_knows_is_404() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for name in ["nobody/gpt-4o", "../../etc/passwd"] {
        let reply = stack.chat(&customer.key, &hello(name)).await;
        assert_refused(&reply, 400, "unknown_provider", name);
        assert_eq!(reply.json()["error"]["param"], "model");
    }
    for name in ["never-made", "openai/never-made", "x\u{202e}y", "a b"] {
        let reply = stack.chat(&customer.key, &hello(name)).await;
        assert_refused(&reply, 404, "model_not_found", name);
        assert_eq!(reply.json()["error"]["param"], "model");
    }
    let long = stack.chat(&customer.key, &hello(&"x".repeat(100_000))).await;
    assert_refused(&long, 404, "model_not_found", "a long name");
    assert!(long.body.len() < 2_000, "the name is not repeated whole");
    assert_nothing_happened(&stack).await;
}

#[tokio::test]
async fn what_is_not_supported_yet_is_refused_by_name_and_never_passed_over() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for (field, value) in [
        ("extra", json!({ "sk-12345678": 1 })),
        ("byok_api_key", json!(["sk-12345678"])),
        ("additional_params", json!("sk-12345678")),
        ("credentials", json!([{ "x": "y" }])),
        ("data_collection", json!("sk-12345678")),
        ("preferred_max_latency", json!("sk-12345678")),
        ("preferred_min_throughput", json!([100])),
        ("quantizations", json!([1])),
        ("max_price", json!("sk-12345678")),
        ("provider", json!(["openai"])),
        ("cache", json!("sk-12345678")),
    ] {
        let mut body = hello(MODEL);
        body[field] = value;
        let reply = stack.chat(&customer.key, &body).await;
        assert_refused(&reply, 400, "invalid_request", field);
        assert_eq!(reply.json()["error"]["param"], field);
        assert!(!reply.text().contains("sk-12345678"), "{reply}");
    }
    let request = post(&stack, &customer, hello(MODEL).to_string()).header("x-provider", "sk-12345678");
    let reply = request.send().await;
    assert_refused(&reply, 400, "unknown_provider", "a key in the wrong header");
    assert_eq!(reply.json()["error"]["param"], "x-provider");
    assert!(!reply.text().contains("sk-12345678"), "{reply}");
    assert_nothing_happened(&stack).await;
}

#[tokio::test]
async fn what_asks_for_nothing_is_no_obstacle() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let mut body = hello(MODEL);
    for (field, value) in [
        ("extra", json!(null)),
        ("byok_api_key", json!("  ")),
        ("mcp_servers", json!([])),
        ("data_collection", json!("allow")),
        ("tools", json!([])),
        ("tool_choice", json!(null)),
    ] {
        body[field] = value;
    }
    let request = post(&stack, &customer, body.to_string()).header("x-provider-key", " ");
    let reply = request.send().await;
    assert_eq!(reply.status, 200, "{reply}");
    let sent: Value = serde_json::from_str(&stack.simulator.bill()[0].body).unwrap();
    let mut names: Vec<&String> = sent.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["messages", "model"]);
    stack.finish().await;
}

#[tokio::test]
async fn without_credit_a_platform_key_is_not_used() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let reply = stack.chat(&customer.key, &hello(MODEL)).await;
    assert_refused(&reply, 402, "insufficient_credits", "no credit");
    let mut streamed = stack.stream(&customer.key, &hello(MODEL)).await;
    assert_eq!(streamed.status, 402);
    assert!(streamed.next().await.is_some_and(|frame| frame.text.contains("insufficient_credits")));
    assert_nothing_happened(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn without_a_valid_key_nothing_is_read_and_nothing_is_written() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    stack.delete(&format!("/api/auth/keys/{}", customer.key_id), &customer.session).await;
    for token in ["", "nonsense", &customer.key, &customer.session] {
        let reply = stack.chat(token, &hello(MODEL)).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_api_key"), "{reply}");
        assert_enveloped(&reply);
        assert_eq!(reply.receipt_id(), "");
    }
    assert!(stack.database.rows("receipt").await.is_empty());
    assert_nothing_happened(&stack).await;
}

#[tokio::test]
async fn headers_with_odd_bytes_are_refused_or_ignored() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for value in [b"Bearer \xff\xfe".as_slice(), b"Bearer kr-\xc3\xa9", b"\xff", b"Bearer", b""] {
        let request = stack.request("POST", PATH).header_bytes("authorization", value);
        let reply = request.body(hello(MODEL).to_string()).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_api_key"), "{value:?}");
    }
    // A header that cannot be read still has a meaning: serving the request in another way would ignore it.
    for name in ["x-kairosroute-fallback", "x-provider-key", "x-provider", "x-provider-model"] {
        let request = post(&stack, &customer, hello(MODEL).to_string());
        let reply = request.header_bytes(name, b"sk-\xff").send().await;
        assert_refused(&reply, 400, "invalid_request", name);
        let request = post(&stack, &customer, hello(MODEL).to_string()).header(name, "openai");
        let reply = request.header(name, "openai").send().await;
        assert_refused(&reply, 400, "invalid_request", name);
    }
    assert_nothing_happened(&stack).await;
}

#[tokio::test]
async fn malformed_and_smuggling_requests_never_reach_a_provider() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let body = hello(MODEL).to_string();
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n", customer.key);
    let length = body.len();
    for (what, request) in [
        ("two lengths", format!("{head}Content-Length: {length}\r\nContent-Length: 3\r\n\r\n{body}")),
        ("a signed length", format!("{head}Content-Length: +{length}\r\n\r\n{body}")),
        ("a negative length", format!("{head}Content-Length: -1\r\n\r\n{body}")),
        (
            "both",
            format!(
                "{head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
            ),
        ),
        ("a bad chunk", format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{body}\r\n0\r\n\r\n")),
        ("an unknown encoding", format!("{head}Transfer-Encoding: xchunked\r\n\r\n{body}")),
        ("a space before the colon", format!("{head}Content-Length : {length}\r\n\r\n{body}")),
        ("a bare carriage return", format!("{head}X-A: a\rb\r\nContent-Length: {length}\r\n\r\n{body}")),
        ("a NUL", format!("{head}X-A: a\0b\r\nContent-Length: {length}\r\n\r\n{body}")),
        ("a missing version", format!("POST {PATH}\r\n\r\n")),
        ("not HTTP", "\u{16}\u{3}\u{1}\u{2}".to_owned()),
        ("a short body", format!("{head}Content-Length: {}\r\n\r\n{body}", length + 10)),
    ] {
        let answer = stack.raw(request.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    assert_nothing_happened(&stack).await;
    assert_eq!(stack.chat(&customer.key, &hello(MODEL)).await.status, 200);
    stack.finish().await;
}
