//! kill -9 of the gateway under load: delivered answers are charged once, open holds are closed in time at their last
//! checkpoint, and the ledger balances.

use super::{CEREBRAS, GPT, GROQ, MISTRAL, ask, charge, cost, nano_of, the};
use crate::harness::{ChildStack, Client, Stack, sized, wait_at_most, wait_until};
use kairosroute::{domain::ambient::Ambient, simulator::Script};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How long holds of a dead process may stay open: two leases and an interval of the job, with a margin.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);
/// The amount of an open stream that a crash may lose: the checkpoint's interval, and the time to the database.
const LOST_AT_MOST: Duration = Duration::from_millis(3_500);
/// Tokens of a stream that is still running at every kill.
const LONG: usize = 8_000;
/// Bytes that the gateway may have read and the client not: the content of the sockets between them.
const IN_FLIGHT: usize = 300;

/// The answers that the clients have received.
#[derive(Default)]
struct Delivered {
    /// Receipt and charge of each whole answer.
    whole: Vec<(String, i64)>,
    /// Receipt of each stream that was cut, and when its tokens came, for each kill.
    cut: Vec<(usize, String, Vec<Instant>)>,
    /// Tokens of the long streams.
    tokens: u64,
}

#[tokio::test]
async fn a_killed_gateway_has_billed_what_it_delivered_and_its_holds_are_closed_within_a_minute() {
    let mut stack = Stack::builder().env("KAIROSROUTE_WORKERS", "2").start_child().await;
    let customer = stack.customer("1000").await;
    stack.simulator.set_default("openai", the(LONG).with_gap_ms(5));
    stack.simulator.set_default("groq", the(50).with_gap_ms(5).with_tokens(10, 50));
    stack
        .simulator
        .set_default("mistral", Script { latency_ms: 15, ..Script::default().with_tokens(21, 12) });
    // A long answer that another process serves meanwhile, to another customer.
    // One chunk each tenth of a second, of one token: for longer than all the kills take.
    let chunks: usize = sized(700, 1_500);
    let tokens = u64::try_from(chunks).unwrap();
    stack.simulator.set_default("cerebras", the(chunks).with_gap_ms(100).with_tokens(10, tokens));
    let other = stack.second_process(&[]).await;
    let bystander = stack.customer("10").await;
    let client = Client::clone(&other);
    let request = raw_request(&client, &bystander.key, CEREBRAS.model);
    let witness = tokio::spawn(async move { client.raw(&request).await });
    // A third process serves the same customer all the time.
    let third = stack.second_process(&[]).await;
    let beside = Beside::start(&third, &customer.key);
    let delivered = Arc::new(Mutex::new(Delivered::default()));
    let mut killed_at = Vec::new();
    let kills = sized(3, 5);
    for kill in 0..kills {
        let load = Load::start(kill, &stack.client, &customer.key, &delivered);
        let enough = delivered.lock().unwrap().tokens + 2_500 + Ambient::system().below(1_500);
        wait_until("the long streams to run", async || delivered.lock().unwrap().tokens >= enough).await;
        stack.kill();
        killed_at.push(Instant::now());
        load.stop().await;
        stack.restart().await;
    }
    let last_kill = *killed_at.last().unwrap();
    let served_beside = beside.stop().await;
    let running = "SELECT count(*) FROM hold WHERE state = 'open'";
    wait_at_most(CLOSED_WITHIN.saturating_sub(last_kill.elapsed()), "the holds to be closed", async || {
        (stack.database().number(running).await <= 1).then_some(())
    })
    .await;
    let closed_after = last_kill.elapsed().as_secs();
    assert_eq!(stack.database().number(running).await, 1, "the live process's own");
    let answer = String::from_utf8(witness.await.unwrap()).unwrap();
    assert!(answer.contains("data: [DONE]"), "{}", &answer[answer.len().saturating_sub(600)..]);
    let expected = charge(cost(CEREBRAS, 10, 0, tokens));
    assert_eq!(stack.account(&bystander.organization_id).await, (10_000_000_000 - expected, 0));
    stack.audit_is_clean().await;
    let holds = holds(&stack).await;
    let delivered = std::mem::take(&mut *delivered.lock().unwrap());
    assert!(delivered.whole.len() > 20 && delivered.cut.len() > 4, "the load was real");
    for (receipt, charged) in &delivered.whole {
        assert_eq!(holds.get(receipt), Some(&("settled".to_owned(), *charged, 1)), "{receipt}");
    }
    let mut checkpointed = 0;
    for (kill, receipt, tokens) in &delivered.cut {
        let killed = killed_at[*kill];
        let (state, charged, entries) = &holds[receipt];
        assert_eq!(state, "expired", "{receipt}");
        assert!(*entries <= 1);
        let old = tokens.iter().filter(|at| **at + LOST_AT_MOST < killed).count();
        checkpointed += old;
        let least = charge(cost(GPT, 0, 0, u64::try_from(old).unwrap()));
        assert!(*charged >= least, "{receipt}: {charged} for at least {old} of {} tokens", tokens.len());
        let most = charge(cost(GPT, 100, 0, u64::try_from(tokens.len() + IN_FLIGHT).unwrap()));
        assert!(*charged <= most, "{receipt}: {charged}");
    }
    assert!(checkpointed > 500, "the streams were long enough to be checkpointed: {checkpointed}");
    let differing =
        "SELECT count(*) FROM hold h JOIN receipt r ON r.org_id = h.org_id AND r.id = h.request_id
                     WHERE h.state <> 'expired' AND (r.document->>'charged_nano_usd')::bigint <> h.charge";
    assert_eq!(stack.database().number(differing).await, 0, "receipts agree with the books");
    let lost = records_agree(&stack).await;
    let (posted, held) = stack.account(&customer.organization_id).await;
    let billed: i64 = holds.values().map(|(_, charge, _)| charge).sum();
    assert_eq!((posted, held), (1_000_000_000_000 + expected - billed, 0));
    println!(
        "bar 5: {kills} times kill -9 of one of 3 processes: {} answers billed once, {} open streams billed to their \
         last checkpoint, {served_beside} answers beside, all holds closed {closed_after} s after the last kill, \
         {lost} requests without usage row or receipt",
        delivered.whole.len(),
        delivered.cut.len()
    );
}

/// Usage and entries have the same sum, and every request that ended has a usage row and a receipt: records that died
/// with a process are replaced. Returns how many are missing in the end, which is none.
async fn records_agree(stack: &ChildStack) -> i64 {
    let missing = "SELECT count(*) FROM hold h
                   WHERE h.state <> 'open'
                     AND (NOT EXISTS (SELECT 1 FROM receipt r WHERE r.org_id = h.org_id AND r.id = h.request_id)
                          OR h.charge > 0 AND NOT EXISTS (SELECT 1 FROM usage u WHERE u.org_id = h.org_id
                                         AND u.request_id = h.request_id AND u.turn = h.turn))";
    wait_at_most(CLOSED_WITHIN, "the records of the dead to be made up for", async || {
        (stack.database().number(missing).await == 0).then_some(())
    })
    .await;
    let differing = "SELECT (SELECT COALESCE(sum(charge), 0) FROM usage)::bigint -
                            (SELECT COALESCE(sum(amount), 0) FROM entry WHERE kind = 'charge')::bigint";
    assert_eq!(stack.database().number(differing).await, 0, "usage and entries sum to the same");
    stack.database().number(missing).await
}

/// Whole answers that a process gives one after the other, until it is stopped.
struct Beside {
    stopping: Arc<AtomicBool>,
    serving: tokio::task::JoinHandle<usize>,
}

impl Beside {
    fn start(client: &Client, key: &str) -> Self {
        let (client, key, stopping) = (client.clone(), key.to_owned(), Arc::new(AtomicBool::new(false)));
        let ended = stopping.clone();
        let serving = tokio::spawn(async move {
            let mut served = 0;
            while !ended.load(Ordering::Relaxed) {
                let reply = client.chat(&key, &ask(MISTRAL.model)).await;
                assert_eq!(reply.status, 200, "{reply}");
                served += 1;
            }
            served
        });
        Self { stopping, serving }
    }

    async fn stop(self) -> usize {
        self.stopping.store(true, Ordering::Relaxed);
        self.serving.await.unwrap()
    }
}

fn raw_request(client: &Client, key: &str, model: &str) -> Vec<u8> {
    let mut body = ask(model);
    body["stream"] = true.into();
    let body = body.to_string();
    let (host, length) = (client.address, body.len());
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Receipt id to state, charge and number of entries.
async fn holds(stack: &ChildStack) -> HashMap<String, (String, i64, i64)> {
    let rows = stack
        .database()
        .texts(
            "SELECT json_build_array('rcpt_' || replace(h.request_id::text, '-', ''), h.state, h.charge,
                        (SELECT count(*) FROM entry e WHERE e.org_id = h.org_id AND e.request_id = h.request_id))::text
             FROM hold h",
        )
        .await;
    let count = rows.len();
    let holds: HashMap<_, _> = rows
        .iter()
        .map(|row| serde_json::from_str::<(String, String, i64, i64)>(row).unwrap())
        .map(|(receipt, state, charge, entries)| (receipt, (state, charge, entries)))
        .collect();
    assert_eq!(holds.len(), count, "one hold for each request");
    holds
}

/// Clients that send requests again and again until the gateway has stopped.
struct Load {
    clients: JoinSet<()>,
    stopping: Arc<AtomicBool>,
}

impl Load {
    fn start(kill: usize, client: &Client, key: &str, delivered: &Arc<Mutex<Delivered>>) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for index in 0..10 {
            let (client, key, delivered, stopping) =
                (client.clone(), key.to_owned(), delivered.clone(), stopping.clone());
            clients.spawn(async move {
                while !stopping.load(Ordering::Relaxed) {
                    let gone = match index % 3 {
                        0 => ask_whole(&client, &key, &delivered).await,
                        1 => ask_stream(kill, &client, &key, GROQ.model, &delivered).await,
                        _ => ask_stream(kill, &client, &key, GPT.model, &delivered).await,
                    };
                    if gone {
                        return;
                    }
                }
            });
        }
        Self { clients, stopping }
    }

    async fn stop(mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
    }
}

/// True when the gateway has stopped.
async fn ask_whole(client: &Client, key: &str, delivered: &Mutex<Delivered>) -> bool {
    let request = client.request("POST", "/v1/chat/completions").bearer(key).json(&ask(MISTRAL.model));
    let Ok(reply) = request.try_send().await else { return true };
    assert_eq!(reply.status, 200, "{reply}");
    let charged = nano_of(&reply.json()["x_kairosroute"]["charged_usd"]);
    delivered.lock().unwrap().whole.push((reply.receipt_id().to_owned(), charged));
    false
}

/// True when the gateway has stopped.
async fn ask_stream(
    kill: usize,
    client: &Client,
    key: &str,
    model: &str,
    delivered: &Mutex<Delivered>,
) -> bool {
    let mut body = ask(model);
    body["stream"] = true.into();
    let request = client.request("POST", "/v1/chat/completions").bearer(key).json(&body);
    let Ok(mut stream) = request.try_stream().await else { return true };
    let receipt = stream.receipt_id().to_owned();
    let (mut tokens, mut note) = (Vec::new(), Value::Null);
    while let Some(frame) = stream.next().await {
        if !frame.content().is_empty() {
            tokens.push(Instant::now());
            if model == GPT.model {
                delivered.lock().unwrap().tokens += 1;
            }
        }
        match &frame.json()["x_kairosroute"] {
            Value::Null => {}
            found => note = found.clone(),
        }
    }
    let mut delivered = delivered.lock().unwrap();
    match note {
        Value::Null if tokens.is_empty() || model != GPT.model => {}
        Value::Null => delivered.cut.push((kill, receipt, tokens)),
        note => {
            let charged = nano_of(&note["charged_usd"]);
            delivered.whole.push((receipt, charged));
            return false;
        }
    }
    true
}
