//! `Idempotency-Key`: a call runs once for each key, over several processes, disconnects of clients and crashes, and
//! its answer is stored only for its holder.

use crate::harness::{
    Client, Customer, PASSWORD, Reply, Stack, hello, run_command, text, wait_for, wait_until,
};
use kairosroute::{domain::ambient::Ambient, simulator::Script};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::JoinSet;

const CHAT: &str = "/v1/chat/completions";
const MODEL: &str = "openai/gpt-5.4-mini";

async fn post(client: &Client, path: &str, token: &str, key: &str, body: &Value) -> Reply {
    client.request("POST", path).bearer(token).header("Idempotency-Key", key).json(body).send().await
}

async fn ask(client: &Client, customer: &Customer, key: &str) -> Reply {
    post(client, CHAT, &customer.key, key, &hello(MODEL)).await
}

fn calls(stack: &Stack) -> usize {
    stack.simulator.bill().len()
}

fn is_replay(reply: &Reply) -> bool {
    reply.header("idempotent-replayed") == "true"
}

#[tokio::test]
async fn concurrent_repeats_over_two_processes_reach_the_provider_once() {
    let stack = Stack::start().await;
    let second = stack.second_node().await;
    let customer = stack.customer("1").await;
    stack.simulator.set_default("openai", Script::default().gated());
    let mut asking = JoinSet::new();
    for number in 0..32 {
        let client = if number % 2 == 0 { stack.client.clone() } else { Client::clone(&second) };
        let customer = customer.clone();
        asking.spawn(async move { ask(&client, &customer, "one").await });
    }
    // All except the running one get 409 while it runs.
    for _ in 1..32 {
        let reply = asking.join_next().await.unwrap().unwrap();
        assert_eq!((reply.status, reply.code().as_str()), (409, "idempotency_conflict"), "{reply}");
        assert_eq!((reply.header("retry-after"), reply.header("x-should-retry")), ("1", ""));
    }
    wait_until("the provider to be called", async || stack.simulator.waiting() == 1).await;
    stack.simulator.release();
    let first = asking.join_next().await.unwrap().unwrap();
    assert_eq!(first.status, 200, "{first}");
    assert!(!is_replay(&first));
    let balance = stack.account(&customer.organization_id).await;
    assert!(balance.0 < 1_000_000_000);
    for client in [&stack.client, &*second] {
        let repeat = ask(client, &customer, "one").await;
        assert_eq!((repeat.status, is_replay(&repeat)), (200, true), "{repeat}");
        assert_eq!(repeat.body, first.body);
        for name in ["content-type", "x-kairosroute-receipt", "x-kairosroute-cost", "x-request-id"] {
            assert_eq!(repeat.header(name), first.header(name), "{name}");
        }
    }
    assert_eq!(calls(&stack), 1);
    assert_eq!(stack.account(&customer.organization_id).await, balance, "a replay is not charged");
    stack.finish().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_api_key() {
    let stack = Stack::start().await;
    let (customer, other) = (stack.customer("1").await, stack.customer("1").await);
    let mut body = hello(MODEL);
    body["max_tokens"] = json!(50);
    assert_eq!(post(&stack, CHAT, &customer.key, "k", &body).await.status, 200);
    let mut changed = body.clone();
    changed["temperature"] = json!(0.5);
    let conflict = post(&stack, CHAT, &customer.key, "k", &changed).await;
    assert_eq!((conflict.status, conflict.code().as_str()), (409, "idempotency_conflict"), "{conflict}");
    assert_eq!((conflict.header("retry-after"), conflict.header("x-should-retry")), ("", "false"));
    // The same body at another endpoint is another request.
    let elsewhere = post(&stack, "/v1/messages", &customer.key, "k", &body).await;
    assert_eq!(elsewhere.status, 409, "{elsewhere}");
    let (second_key, _) = stack.create_key(&customer.session, &json!({ "name": "second" })).await;
    for key in [&second_key, &other.key] {
        let own = post(&stack, CHAT, key, "k", &body).await;
        assert_eq!((own.status, is_replay(&own)), (200, false), "{own}");
    }
    assert_eq!(calls(&stack), 3);
    stack.finish().await;
}

#[tokio::test]
async fn an_error_frees_the_key() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let refusal = r#"{"error":{"message":"no","type":"invalid_request_error","code":"bad"}}"#;
    stack.simulator.enqueue("openai", Script::error(400, refusal));
    assert_eq!(ask(&stack, &customer, "k").await.status, 400);
    let mut changed = hello(MODEL);
    changed["temperature"] = json!(0.5);
    let next = post(&stack, CHAT, &customer.key, "k", &changed).await;
    assert_eq!((next.status, is_replay(&next)), (200, false), "{next}");
    stack.finish().await;
}

#[tokio::test]
async fn streams_and_request_scoped_keys_ignore_the_header() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let mut stream = hello(MODEL);
    stream["stream"] = json!(true);
    let mut in_body = hello(MODEL);
    in_body["byok_api_key"] = json!("sk-own-0123456789abcdef");
    let mut in_extra = hello(MODEL);
    in_extra["extra"] = json!({ "byok": "sk-own-0123456789abcdef" });
    for body in [stream, in_body, in_extra] {
        for _ in 0..2 {
            let reply = post(&stack, CHAT, &customer.key, "k", &body).await;
            assert_eq!((reply.status, is_replay(&reply)), (200, false), "{reply}");
        }
    }
    for _ in 0..2 {
        let request = stack.request("POST", CHAT).bearer(&customer.key).header("Idempotency-Key", "k");
        let request = request.header("X-Provider-Key", "sk-own-0123456789abcdef");
        let reply = request.json(&hello(MODEL)).send().await;
        assert_eq!((reply.status, is_replay(&reply)), (200, false), "{reply}");
    }
    assert_eq!(calls(&stack), 8);
    assert_eq!(stack.database.number("SELECT count(*) FROM idempotency").await, 0);
    stack.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_finds_its_answer() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    stack.simulator.set_default("openai", Script::default().gated());
    let (client, asking) = (stack.client.clone(), customer.clone());
    let leaving = tokio::spawn(async move { ask(&client, &asking, "k").await });
    wait_until("the provider to be called", async || stack.simulator.waiting() == 1).await;
    leaving.abort();
    assert!(leaving.await.is_err_and(|error| error.is_cancelled()));
    stack.simulator.release();
    let answer = wait_for("the answer", async || {
        let reply = ask(&stack, &customer, "k").await;
        (reply.status == 200).then_some(reply)
    })
    .await;
    assert!(is_replay(&answer));
    assert_eq!(calls(&stack), 1);
    stack.finish().await;
}

#[tokio::test]
async fn a_killed_process_frees_its_key_when_its_lease_lapses() {
    let mut stack = Stack::builder().start_child().await;
    // Enough for the lost call's hold and another one.
    let customer = stack.customer("100").await;
    stack.simulator.enqueue("openai", Script::default().gated());
    let (client, asking) = (stack.client.clone(), customer.clone());
    let lost = tokio::spawn(async move {
        let request = client.request("POST", CHAT).bearer(&asking.key).header("Idempotency-Key", "k");
        request.json(&hello(MODEL)).try_send().await
    });
    wait_until("the provider to be called", async || stack.simulator.waiting() == 1).await;
    stack.kill();
    assert!(lost.await.unwrap().is_err());
    stack.restart().await;
    let running = ask(&stack, &customer, "k").await;
    assert_eq!((running.status, running.code().as_str()), (409, "idempotency_conflict"), "{running}");
    let answer = wait_for("the key to be free", async || {
        let reply = ask(&stack, &customer, "k").await;
        (reply.status != 409).then_some(reply)
    })
    .await;
    assert_eq!((answer.status, is_replay(&answer)), (200, false), "{answer}");
    assert!(is_replay(&ask(&stack, &customer, "k").await));
    assert_eq!(stack.simulator.bill().len(), 2, "the lost call and the one that was answered");
}

#[tokio::test]
async fn an_api_key_and_a_credit_are_made_once() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let body = json!({ "name": "made once" });
    let first = post(&stack, "/api/auth", &customer.session, "k", &body).await;
    let repeat = post(&stack, "/api/auth", &customer.session, "k", &body).await;
    assert_eq!((first.status, repeat.status, is_replay(&repeat)), (201, 201, true), "{repeat}");
    assert_eq!(first.body, repeat.body);
    let made = "SELECT count(*) FROM api_key WHERE name = 'made once'";
    assert_eq!(stack.database.number(made).await, 1);
    let other = post(&stack, "/api/auth", &customer.session, "k", &json!({ "name": "other" })).await;
    assert_eq!((other.status, other.code().as_str()), (409, "idempotency_conflict"), "{other}");

    let made = stack.command(&["admin", "operator", "create", "op@example.test"], &format!("{PASSWORD}\n"));
    assert!(made.status.success(), "{made:?}");
    let login = json!({ "email": "op@example.test", "password": PASSWORD });
    let operator = text(&stack.post("/api/auth/login", "", &login).await.json()["sessionToken"]);
    let grant = json!({ "organizationId": customer.organization_id, "amountUsd": "2.50" });
    for is_repeat in [false, true] {
        let reply = post(&stack, "/api/billing/topups", &operator, "k", &grant).await;
        assert_eq!((reply.status, is_replay(&reply)), (201, is_repeat), "{reply}");
    }
    assert_eq!(stack.balance(&customer.session).await["balanceUsd"], "2.5");
    stack.finish().await;
}

#[tokio::test]
async fn answers_are_sealed_bound_to_their_row_and_re_wrapped() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let next = format!("next1:{},{}", "A".repeat(43) + "=", stack.master_keys);
    let second = stack.second_node_with(&[("KAIROSROUTE_MASTER_KEYS", &next)]).await;
    let body = json!({ "name": "secret" });
    let made = post(&second, "/api/auth", &customer.session, "k", &body).await;
    let key = text(&made.json()["key"]);
    let rows = stack.database.rows("idempotency").await.join("\n");
    assert!(!rows.contains(&key[3..20]) && !rows.contains(&hex(&key.as_bytes()[3..20])));
    // The first process does not have the key that sealed it, until a rotation to the key that all have.
    assert_eq!(post(&stack, "/api/auth", &customer.session, "k", &body).await.status, 500);
    let mut env = stack.env().to_vec();
    let list = format!("{},next1:{}", stack.master_keys, "A".repeat(43) + "=");
    env.push(("KAIROSROUTE_MASTER_KEYS".into(), list));
    let rotated = run_command(&env, &["vault", "rotate"], "");
    assert!(rotated.status.success(), "{rotated:?}");
    let repeat = post(&stack, "/api/auth", &customer.session, "k", &body).await;
    assert_eq!((is_replay(&repeat), &repeat.body), (true, &made.body), "{repeat}");
    let id = Ambient::system().uuid();
    stack.database.tamper(&format!("UPDATE idempotency SET id = '{id}'")).await;
    assert_eq!(post(&stack, "/api/auth", &customer.session, "k", &body).await.status, 500);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn what_is_too_large_or_has_no_room_is_answered_and_not_kept() {
    let stack = Stack::start().await;
    let customer = stack.customer("100").await;
    let large = "x".repeat(1_200_000);
    stack.simulator.set_default("openai", Script::text(&[&large]));
    for _ in 0..2 {
        let reply = ask(&stack, &customer, "large").await;
        assert_eq!((reply.status, is_replay(&reply)), (200, false));
        assert_eq!(reply.json()["choices"][0]["message"]["content"].as_str().map(str::len), Some(1_200_000));
    }
    stack.simulator.set_default("openai", Script::default());
    let full = stack.second_node_with(&[("KAIROSROUTE_IDEMPOTENCY_BYTES_PER_ORGANIZATION_MAX", "0")]).await;
    for _ in 0..2 {
        let reply = ask(&full, &customer, "full").await;
        assert_eq!((reply.status, is_replay(&reply)), (200, false), "{reply}");
    }
    assert_eq!(stack.database.number("SELECT count(*) FROM idempotency").await, 0);
    stack.finish().await;
}

#[tokio::test]
async fn sound_and_forms_are_replayed_too() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let speech = json!({ "model": "openai/tts-1", "input": "good day", "voice": "alloy" });
    let first = post(&stack, "/v1/audio/speech", &customer.key, "s", &speech).await;
    let repeat = post(&stack, "/v1/audio/speech", &customer.key, "s", &speech).await;
    assert_eq!((first.status, is_replay(&repeat)), (200, true), "{repeat}");
    assert_eq!(first.body, repeat.body);
    assert_eq!(first.header("content-type"), repeat.header("content-type"));
    // A client builds a form again for its repeat, with another boundary.
    let before = calls(&stack);
    let mut answers = Vec::new();
    for boundary in ["first-boundary", "second-boundary"] {
        let mut body = Vec::new();
        for (head, content) in [
            ("name=\"model\"", b"openai/whisper-1".to_vec()),
            ("name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav", wav()),
        ] {
            let head = format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n");
            body.extend([head.as_bytes(), &content, b"\r\n"].concat());
        }
        body.extend(format!("--{boundary}--\r\n").as_bytes());
        let request = stack.request("POST", "/v1/audio/transcriptions").bearer(&customer.key);
        let request = request.header("content-type", &format!("multipart/form-data; boundary={boundary}"));
        answers.push(request.header("IDEMPOTENCY-KEY", "form").body(body).send().await);
    }
    assert_eq!((answers[0].status, answers[1].status), (200, 200), "{} {}", answers[0], answers[1]);
    assert!(!is_replay(&answers[0]) && is_replay(&answers[1]), "{}", answers[1]);
    assert_eq!(calls(&stack), before + 1);
    stack.finish().await;
}

/// A second of silence.
fn wav() -> Vec<u8> {
    let data = vec![0_u8; 16_000];
    let mut file = b"RIFF".to_vec();
    file.extend(16_036_u32.to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(8_000_u32.to_le_bytes());
    file.extend(16_000_u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(16_000_u32.to_le_bytes());
    file.extend(data);
    file
}

#[tokio::test]
async fn a_key_that_is_no_key_is_refused_and_an_old_answer_expires() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    for key in ["x".repeat(256), "schlüssel".to_owned()] {
        let reply = ask(&stack, &customer, &key).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"), "{reply}");
    }
    let twice = stack.request("POST", CHAT).bearer(&customer.key).header("Idempotency-Key", "a");
    let twice = twice.header("Idempotency-Key", "b").json(&hello(MODEL)).send().await;
    assert_eq!(twice.status, 400, "{twice}");
    for _ in 0..2 {
        let blank = ask(&stack, &customer, " ").await;
        assert_eq!((blank.status, is_replay(&blank)), (200, false), "{blank}");
    }
    assert_eq!(ask(&stack, &customer, "old").await.status, 200);
    let day = Duration::from_secs(24 * 3_600 + 1).as_secs();
    let age = format!("UPDATE idempotency SET expires_at = expires_at - interval '{day} seconds'");
    stack.database.tamper(&age).await;
    let late = ask(&stack, &customer, "old").await;
    assert_eq!((late.status, is_replay(&late)), (200, false), "{late}");
    stack.database.tamper(&age).await;
    kairosroute::jobs::prune::prune(stack.gateway()).await.unwrap();
    assert_eq!(stack.database.number("SELECT count(*) FROM idempotency").await, 0);
    stack.finish().await;
}
