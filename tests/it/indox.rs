//! indoxhub's own client, imitated: its log-in, its envelope and the limits of its token. tests/sdk tests the published
//! package.

use crate::harness::{Customer, Stack, hello, wait_for};
use kairosroute::simulator::{KindScript, Script};
use serde_json::{Value, json};

const CHAT: &str = "/api/v1/chat/completions";
const MODEL: &str = "openai/gpt-4o-mini";

async fn logged_in(usd: &str) -> (Stack, Customer, String) {
    let stack = Stack::start().await;
    let customer = stack.customer(usd).await;
    let token = stack.token(&customer.key).await;
    (stack, customer, token)
}

#[tokio::test]
async fn an_api_key_is_exchanged_for_a_token_and_a_cookie_of_half_an_hour() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let log_in = || stack.request("POST", "/api/v1/auth/api-key").header("x-api-key", &customer.key);
    let reply = log_in().send().await;
    let body = reply.json();
    let token = body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(body, json!({ "access_token": token, "token_type": "bearer", "expires_in": 1800 }));
    let cookie = format!("access_token={token}; Path=/api/v1; Max-Age=1800; HttpOnly; SameSite=Strict");
    assert_eq!(reply.header("set-cookie"), cookie);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert!(!token.contains(&customer.key));
    let behind_https = log_in().header("x-forwarded-proto", "https").send().await;
    assert!(behind_https.header("set-cookie").ends_with("; Secure"), "{behind_https}");
    // The client sends its cookies: the cookie of the last log-in comes with the next one.
    let again = log_in().header("cookie", &format!("access_token={token}")).send().await;
    assert_eq!(again.status, 200, "{again}");
}

#[tokio::test]
async fn a_password_logs_nobody_in_and_the_refusal_says_what_is_wrong_with_the_key() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for (form, status, word) in [
        ("username=pip_client&password=kr-mistyped", 401, "malformed"),
        ("username=a&password=kr_live_abc", 401, "kr_live_"),
        (&format!("username=a&password={}", customer.key), 400, "X-API-Key"),
        ("", 400, "X-API-Key"),
        ("\u{0}%ff", 400, "X-API-Key"),
    ] {
        let request = stack.request("POST", "/api/v1/auth/token").body(form);
        let reply = request.header("content-type", "application/x-www-form-urlencoded").send().await;
        assert_eq!(reply.status, status, "{form}: {reply}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(word), "{form}: {detail}");
    }
}

#[tokio::test]
async fn the_token_gets_the_envelope_from_header_and_cookie_and_the_key_gets_openais_shape() {
    let (stack, customer, token) = logged_in("1").await;
    let script = Script { raw_body: Some(odd_answer()), ..Script::default() };
    let by_header = stack.request("POST", CHAT).bearer(&token);
    let by_cookie = stack.request("POST", CHAT).header("cookie", &format!("a=b; access_token={token}; c"));
    for request in [by_header, by_cookie] {
        stack.simulator.enqueue("openai", script.clone());
        let reply = request.json(&hello(MODEL)).send().await;
        assert_eq!(reply.status, 200, "{reply}");
        for exact in [
            r#""data":"S\u00e3o \ud83d 1""#,
            r#""finish_reason":"stop""#,
            r#""arguments":"{\"n\":12345678901234567890,\"x\":1.0}""#,
            r#""provider":"openai","model":"gpt-4o-mini","success":true,"message":"""#,
            r#""byok_api_key":false"#,
        ] {
            assert!(reply.text().contains(exact), "{exact} is not in {reply}");
        }
        let cost = format!(r#""cost":{}"#, reply.header("x-kairosroute-cost"));
        assert!(reply.text().contains(&cost) && !cost.ends_with(":0"), "{reply}");
        let counts = r#""tokens_prompt":7,"tokens_completion":5,"tokens_total":12,"cache_read_tokens":2"#;
        assert!(reply.text().contains(counts), "{reply}");
        assert!(reply.text().contains(&format!(r#""request_id":"{}""#, reply.header("x-request-id"))));
    }
    // A key in the header counts, with any cookie.
    let request = stack.request("POST", CHAT).header("x-api-key", &customer.key);
    let request = request.header("cookie", &format!("access_token={token}"));
    let reply = request.json(&hello(MODEL)).send().await.json();
    assert_eq!(reply["object"], "chat.completion");
    assert_eq!(reply.get("data"), None);
    stack.finish().await;
}

/// Values that a parser would change when it writes them again.
fn odd_answer() -> String {
    let call = r#"{"id":"c","type":"function","function":{"name":"f","arguments":"{\"n\":12345678901234567890,\"x\":1.0}"}}"#;
    let message = format!(r#"{{"role":"assistant","content":"S\u00e3o \ud83d 1","tool_calls":[{call}]}}"#);
    format!(
        r#"{{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12,"prompt_tokens_details":{{"cached_tokens":2}}}}}}"#
    )
}

#[tokio::test]
async fn the_token_opens_nothing_else_and_ends_with_its_key() {
    let (stack, customer, token) = logged_in("1").await;
    for path in ["/v1/chat/completions", "/api/v1/responses", "/api/v1/audio/speech"] {
        let reply = stack.post(path, &token, &hello(MODEL)).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "permission_denied"), "{path}: {reply}");
    }
    // A cookie counts only where a token does.
    let with_cookie = |path| stack.request("GET", path).header("cookie", &format!("access_token={token}"));
    assert_eq!(with_cookie("/v1/models").send().await.status, 401);
    assert_eq!(with_cookie("/api/auth").send().await.status, 401);
    let other = Stack::start().await;
    assert_eq!(other.post(CHAT, &token, &hello(MODEL)).await.status, 401);
    let replica = stack.second_node().await;
    assert_eq!(replica.post(CHAT, &token, &hello(MODEL)).await.status, 200);
    let path = format!("/api/auth/keys/{}", customer.key_id);
    assert_eq!(stack.delete(&path, &customer.session).await.status, 200);
    for node in [&*stack, &*replica] {
        let refused = wait_for("the token to be refused", async || {
            let reply = node.post(CHAT, &token, &hello(MODEL)).await;
            (reply.status == 401).then_some(reply)
        });
        let refused = refused.await;
        assert!(refused.json()["detail"].as_str().unwrap().contains("revoked"), "{refused}");
    }
}

#[tokio::test]
async fn errors_have_the_text_where_the_client_reads_it() {
    let (stack, _, token) = logged_in("0").await;
    let broke = stack.post(CHAT, &token, &hello(MODEL)).await;
    let body = broke.json();
    assert_eq!((broke.status, &body["success"]), (402, &json!(false)));
    assert!(body["detail"].as_str().unwrap().starts_with("Insufficient credits"), "{broke}");
    assert_eq!((&body["message"], &body["error"]["code"]), (&body["detail"], &json!("insufficient_credits")));
    assert!(broke.receipt_id().starts_with("rcpt_"));
    for (path, word) in [("/api/v1/models/nobody", "provider"), ("/api/v1/models/openai/never-made", "model")]
    {
        let reply = stack.get(path, &token).await;
        assert_eq!(reply.status, 404, "{reply}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(word), "{reply}");
    }
    for path in ["/api/v1/videos/generations", "/api/v1/videos/jobs/1/cancel"] {
        let reply = stack.post(path, &token, &json!({})).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"));
        assert!(reply.message().contains("videos are not offered"), "{reply}");
    }
}

#[tokio::test]
async fn a_stream_holds_no_chunk_without_choices_even_if_usage_was_asked_for() {
    let (stack, _, token) = logged_in("1").await;
    for field in ["stream_options", "additional_params"] {
        let options = json!({ "include_usage": true });
        let mut body = hello(MODEL);
        body["stream"] = json!(true);
        body[field] = if field == "stream_options" { options } else { json!({ "stream_options": options }) };
        let mut stream = stack.request("POST", CHAT).bearer(&token).json(&body).stream().await;
        assert_eq!(stream.status, 200);
        let frames = stream.rest().await;
        let chunks: Vec<Value> =
            frames.iter().map(|frame| frame.json()).filter(|json| !json.is_null()).collect();
        assert!(chunks.iter().all(|chunk| chunk["choices"].as_array().is_some_and(|all| !all.is_empty())));
        assert!(frames.last().unwrap().is_done());
        assert!(chunks.last().unwrap()["x_kairosroute"]["charged_usd"].as_f64().unwrap() > 0.0);
    }
    stack.finish().await;
}

#[tokio::test]
async fn sound_that_flows_is_gathered_and_its_price_told() {
    let (stack, _, token) = logged_in("1").await;
    let audio = vec![vec![255, 251, 0], vec![13, 10, 128]];
    let kinds = KindScript { audio, ..KindScript::default() };
    stack.simulator.enqueue("openai", Script { kinds, ..Script::default() });
    let body = json!({ "model": "openai/tts-1", "input": "Good day", "voice": "alloy" });
    let reply = stack.post("/api/v1/audio/tts/generations", &token, &body).await;
    let told = reply.json();
    assert_eq!(
        told["data"],
        json!({ "url": "data:audio/mpeg;base64,//sADQqA", "content_type": "audio/mpeg" })
    );
    // Eight characters at 15 dollars a million, and the margin of 5 %.
    assert!(reply.text().contains(r#""cost":0.000126"#), "{reply}");
    assert_eq!(reply.header("x-kairosroute-cost"), "0.000126");
    stack.simulator.enqueue("openai", Script { cut_after: Some(1), ..Script::default() });
    let cut = stack.post("/api/v1/audio/tts/generations", &token, &body).await;
    assert_eq!((cut.status, cut.code().as_str()), (502, "upstream_error"), "{cut}");
    stack.finish().await;
}

#[tokio::test]
async fn usage_is_that_of_the_key_and_the_credit_that_of_the_organization() {
    let (stack, customer, token) = logged_in("1").await;
    let (other_key, _) = stack.create_key(&customer.session, &json!({ "name": "other" })).await;
    for key in [&token, &token] {
        stack.simulator.enqueue("openai", Script::default().with_tokens(1_000, 500));
        assert_eq!(stack.post(CHAT, key, &hello(MODEL)).await.status, 200);
    }
    assert_eq!(stack.chat(&other_key, &hello(MODEL)).await.status, 200);
    let reply = wait_for("the usage", async || {
        let reply = stack.get("/api/v1/user/usage", &token).await;
        (reply.json()["total_requests"] == 2).then_some(reply)
    });
    let reply = reply.await;
    let told = reply.json();
    assert_eq!(told["total_tokens"], json!({ "input": 2_000, "output": 1_000, "total": 3_000 }));
    // Twice 1,000 tokens at 0.15 and 500 at 0.60 dollars a million, and the margin of 5 %.
    assert!(reply.text().contains(r#""total_requests":2,"total_cost":0.000945,"#), "{reply}");
    let available = stack.balance(&customer.session).await["availableUsd"].as_str().unwrap().to_owned();
    assert!(reply.text().contains(&format!(r#""remaining_credits":{available},"#)), "{reply}");
    for (group, name) in [("endpoints", "chat"), ("providers", "openai"), ("models", MODEL)] {
        assert_eq!(told[group][name]["requests"], 2, "{group}: {reply}");
    }
    assert_eq!(told["daily_usage"][0]["tokens"]["total"], 3_000, "{reply}");
    stack.finish().await;
}
