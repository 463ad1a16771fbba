//! Alerts, the webhooks and the people that receive them: signed, retried, and never sent to an address that customers
//! may not reach.

use crate::harness::{MailServer, Stack, hello, text, wait_for, wait_until};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use sha2::Sha256;
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

const MODEL: &str = "openai/gpt-5.4-mini";

#[derive(Clone, Debug)]
struct Message {
    headers: HashMap<String, String>,
    body: String,
}

/// A receiver that stores what it receives and answers with its configured status.
struct Receiver {
    address: SocketAddr,
    messages: Arc<Mutex<Vec<Message>>>,
    status: Arc<Mutex<u16>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (messages, status) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(200)));
        let (kept, answer) = (messages.clone(), status.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut headers = HashMap::new();
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
                        break;
                    }
                    if let Some((name, value)) = line.split_once(':') {
                        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
                    }
                }
                let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
                let mut body = vec![0; length];
                let _ = reader.read_exact(&mut body);
                kept.lock().unwrap().push(Message { headers, body: String::from_utf8(body).unwrap() });
                let status = *answer.lock().unwrap();
                let _ =
                    write!(&stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        });
        Self { address, messages, status }
    }

    fn url(&self) -> String {
        format!("http://{}/hook?team=a", self.address)
    }

    fn of_kind(&self, kind: &str) -> Vec<Message> {
        let messages = self.messages.lock().unwrap();
        let is_of = |message: &&Message| {
            serde_json::from_str::<Value>(&message.body).is_ok_and(|body| body["type"] == kind)
        };
        messages.iter().filter(is_of).cloned().collect()
    }
}

/// Whether one of the signatures was made with the secret.
fn is_signed(message: &Message, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let (id, at) = (&message.headers["webhook-id"], &message.headers["webhook-timestamp"]);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{at}.{}", message.body).as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    message.headers["webhook-signature"].split(' ').any(|signature| signature == expected)
}

async fn stack() -> Stack {
    Stack::builder().env("KAIROSROUTE_ALLOW_PRIVATE_NETS", "127.0.0.0/8").start().await
}

#[tokio::test]
async fn each_level_of_a_budget_sends_one_signed_message_though_three_gateways_look() {
    let (stack, receiver) = (stack().await, Receiver::start());
    let others = [stack.second_node().await, stack.second_node().await];
    let customer = stack.customer("10").await;
    let reply = stack.post("/api/webhooks", &customer.session, &json!({ "url": receiver.url() })).await;
    assert_eq!(reply.status, 201, "{reply}");
    let secret = text(&reply.json()["secret"]);
    let budget = json!({ "budgetUsd": "0.01", "budgetPeriod": "month" });
    assert_eq!(stack.patch_key(&customer.session, &customer.key_id, &budget).await.status, 200);
    // 3,000 tokens of output cost 0.014 dollars. A request without an output limit is admitted and may end above the budget.
    stack.simulator.set_default("openai", Script::default().with_tokens(10, 3_000));
    assert_eq!(stack.chat(&customer.key, &hello(MODEL)).await.status, 200);
    let none_is_left = async || {
        let delivered = "SELECT count(*) FROM alert_delivery WHERE next_at IS NULL AND attempts = 1";
        stack.database.number(delivered).await == 3
    };
    wait_until("three levels to be delivered", none_is_left).await;
    let messages = receiver.of_kind("budget.threshold");
    let mut levels = Vec::new();
    for message in &messages {
        assert!(is_signed(message, &secret), "{message:?}");
        let body: Value = serde_json::from_str(&message.body).unwrap();
        assert_eq!(
            (&body["data"]["subject"], &body["data"]["apiKeyName"]),
            (&json!(customer.key_id), &json!("test"))
        );
        assert_eq!(message.headers["webhook-id"], body["id"]);
        levels.push(body["data"]["level"].as_i64().unwrap());
    }
    levels.sort_unstable();
    assert_eq!(levels, [50, 80, 100]);
    drop(others);
    stack.finish().await;
}

#[tokio::test]
async fn a_message_that_is_not_accepted_is_sent_again_under_the_same_id_and_owners_receive_it_by_mail() {
    let (receiver, mail) = (Receiver::start(), MailServer::start());
    let stack = Stack::builder()
        .env("KAIROSROUTE_ALLOW_PRIVATE_NETS", "127.0.0.0/8")
        .env("KAIROSROUTE_SMTP_URL", &mail.url())
        .env("KAIROSROUTE_SMTP_FROM", "KairosRoute <noreply@example.test>")
        .env("KAIROSROUTE_PUBLIC_URL", "https://gateway.example")
        .start()
        .await;
    let customer = stack.customer("1").await;
    let body = json!({ "url": receiver.url(), "events": ["balance.low"] });
    assert_eq!(stack.post("/api/webhooks", &customer.session, &body).await.status, 201);
    *receiver.status.lock().unwrap() = 500;
    let body = json!({ "lowBalanceUsd": 5, "alertEmails": true });
    let reply =
        stack.request("PATCH", "/api/organization").bearer(&customer.session).json(&body).send().await;
    assert_eq!((reply.status, &reply.json()["lowBalanceUsd"]), (200, &json!("5")), "{reply}");
    let list = wait_for("the failure to be noted", async || {
        let list = stack.get("/api/webhooks", &customer.session).await.json();
        (list["webhooks"][0]["lastStatus"] == 500).then_some(list)
    })
    .await;
    assert!(text(&list["webhooks"][0]["lastError"]).contains("500"));
    let letters = wait_for("the e-mail", async || {
        let mut letters = mail.letters_to(&customer.email);
        // The address is to be confirmed, too.
        letters.retain(|letter| !letter.text.contains("Subject: Confirm"));
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    let first = receiver.of_kind("balance.low").remove(0);
    let id = &first.headers["webhook-id"];
    assert!(letters[0].text.contains(&format!("Message-ID: <{id}@example.test>")), "{letters:?}");
    assert!(letters[0].text.contains("The balance is 1 USD"), "{letters:?}");
    *receiver.status.lock().unwrap() = 204;
    const LEFT: &str = "SELECT count(*) FROM alert_delivery WHERE next_at IS NOT NULL";
    wait_until("the first try to be over", async || stack.database.number(LEFT).await == 1).await;
    wait_until("the second try", async || {
        // Without the pause.
        stack.database.tamper("UPDATE alert_delivery SET next_at = now() WHERE next_at IS NOT NULL").await;
        receiver.of_kind("balance.low").len() >= 2
    })
    .await;
    let tries = receiver.of_kind("balance.low");
    assert_eq!(&tries[1].headers["webhook-id"], id);
    wait_until("it to be delivered", async || stack.database.number(LEFT).await == 0).await;
    let letters = mail.letters();
    assert_eq!(letters.iter().filter(|letter| !letter.text.contains("Subject: Confirm")).count(), 1);
    stack.finish().await;
}

#[tokio::test]
async fn a_webhook_is_tested_rotated_and_removed_by_its_own_organization() {
    let (stack, receiver) = (stack().await, Receiver::start());
    let (customer, stranger) = (stack.sign_up().await, stack.sign_up().await);
    let reply = stack.post("/api/webhooks", &customer.session, &json!({ "url": receiver.url() })).await;
    let (id, first) = (text(&reply.json()["id"]), text(&reply.json()["secret"]));
    let test = async || {
        let reply = stack.post(&format!("/api/webhooks/{id}/test"), &customer.session, &json!({})).await;
        assert_eq!((reply.status, &reply.json()["delivered"]), (200, &json!(true)), "{reply}");
        receiver.of_kind("test").last().unwrap().clone()
    };
    assert!(is_signed(&test().await, &first));
    let rotate = async |grace: u64| {
        let body = json!({ "graceSeconds": grace });
        let reply = stack.post(&format!("/api/webhooks/{id}/rotate"), &customer.session, &body).await;
        assert_eq!(reply.status, 200, "{reply}");
        text(&reply.json()["secret"])
    };
    let second = rotate(600).await;
    let message = test().await;
    assert!(is_signed(&message, &first) && is_signed(&message, &second));
    let third = rotate(0).await;
    let message = test().await;
    assert!(is_signed(&message, &third) && !is_signed(&message, &second) && !is_signed(&message, &first));
    for (method, path) in [
        ("POST", format!("/api/webhooks/{id}/test")),
        ("POST", format!("/api/webhooks/{id}/rotate")),
        ("DELETE", format!("/api/webhooks/{id}")),
    ] {
        let reply = stack.request(method, &path).bearer(&stranger.session).json(&json!({})).send().await;
        assert_eq!(reply.status, 404, "{path} {reply}");
    }
    assert_eq!(stack.delete(&format!("/api/webhooks/{id}"), &customer.session).await.status, 200);
    assert_eq!(stack.get("/api/webhooks", &customer.session).await.json()["webhooks"], json!([]));
    stack.finish().await;
}

#[tokio::test]
async fn addresses_that_customers_may_not_reach_are_refused() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for url in
        ["http://example.com/", "https://127.0.0.1/", "https://169.254.169.254/", "https://[::1]/", "ftp://x"]
    {
        let reply = stack.post("/api/webhooks", &customer.session, &json!({ "url": url })).await;
        assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!("url")), "{url} {reply}");
    }
    let body = json!({ "url": "https://example.com/", "events": ["nothing"] });
    let reply = stack.post("/api/webhooks", &customer.session, &body).await;
    assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!("events")), "{reply}");
    stack.finish().await;
}
