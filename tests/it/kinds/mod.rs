//! Requests of other endpoint kinds over real HTTP: the request to each provider, the answer in the client's format,
//! and the charge, computed again from the simulated providers' bill and prices written by hand.

mod embeddings;
mod images;
mod models;
mod rankings;
mod refusals;
mod speech;
mod transcription;

use crate::harness::{Customer, Reply, Request, Stack, World, wait_for};
use kairosroute::simulator::Call;
use serde_json::{Value, json};

/// So many of something, at so many nano-dollars for so many of it.
pub struct Term(pub u64, pub i64, pub i64);

/// Nano-dollars per million tokens or characters, from dollars in thousandths.
pub fn per_million(count: u64, thousandths: i64) -> Term {
    Term(count, thousandths * 1_000_000, 1_000_000)
}

/// What providers charge for all of it, rounded up once.
pub fn cost(terms: &[Term]) -> i64 {
    let wide = |number: i64| i128::from(number);
    let common: i128 = terms.iter().map(|Term(.., per)| wide(*per)).product();
    let sum: i128 = terms
        .iter()
        .map(|Term(count, nano, per)| i128::from(*count) * wide(*nano) * (common / wide(*per)))
        .sum();
    i64::try_from((sum + common - 1) / common).unwrap()
}

/// Cost with the margin of 5 %.
pub fn charge(cost: i64) -> i64 {
    i64::try_from((i128::from(cost) * 10_500 + 9_999) / 10_000).unwrap()
}

/// Dollars as decimal text to nano-dollars.
pub fn nano(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    whole.parse::<i64>().unwrap() * 1_000_000_000 + format!("{fraction:0<9}").parse::<i64>().unwrap()
}

/// A customer with credit, and what it had before a request.
pub struct Till<'s> {
    pub stack: &'s Stack,
    pub customer: &'s Customer,
    before: i64,
}

impl<'s> Till<'s> {
    pub async fn open(stack: &'s Stack, customer: &'s Customer) -> Self {
        Self { stack, customer, before: stack.account(&customer.organization_id).await.0 }
    }

    /// The answer was charged exactly by these terms, and every record states the same.
    pub async fn charged(&self, reply: &Reply, terms: &[Term], basis: &str) -> Value {
        assert_eq!(reply.status, 200, "{reply}");
        assert_eq!(reply.header("x-kairosroute-byok"), "false");
        let expected = cost(terms);
        let receipt = self.stack.receipt(&self.customer.key, reply.receipt_id()).await;
        assert_eq!(receipt["provider_cost_nano_usd"], json!(expected), "{receipt}");
        assert_eq!(receipt["charged_nano_usd"], json!(charge(expected)), "{receipt}");
        assert_eq!(receipt["usage"]["basis"], basis, "{receipt}");
        let told = reply.header("x-kairosroute-cost");
        assert!(told.is_empty() || nano(told) == charge(expected), "{told}");
        self.stack.no_hold_is_open().await;
        let spent = self.before - self.stack.account(&self.customer.organization_id).await.0;
        assert_eq!(spent, charge(expected), "{receipt}");
        receipt
    }
}

/// The one call that providers received since the last time. Their scripted answers are removed.
pub fn only_call(world: &World) -> Call {
    let mut calls = world.simulator.bill();
    assert_eq!(calls.len(), 1, "{calls:#?}");
    world.simulator.clear();
    calls.remove(0)
}

/// The JSON a provider was sent.
pub fn sent(call: &Call) -> Value {
    serde_json::from_str(&call.body).unwrap_or_else(|error| panic!("{error} in {}", call.body))
}

/// A form with fields and one file.
pub struct Form(Vec<u8>);

const BOUNDARY: &str = "a-boundary-of-the-tests";

impl Form {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        let part =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        self.0.extend_from_slice(part.as_bytes());
        self
    }

    #[must_use]
    pub fn file(mut self, name: &str, filename: &str, mime: &str, content: &[u8]) -> Self {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\n\
             Content-Type: {mime}\r\n\r\n"
        );
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(content);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    pub async fn post(self, stack: &World, path: &str, key: &str) -> Reply {
        self.request(stack, path, key).send().await
    }

    /// To be sent later, possibly with more headers.
    pub fn request(mut self, stack: &World, path: &str, key: &str) -> Request {
        self.0.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        stack.request("POST", path).bearer(key).header("content-type", &content_type).body(self.0)
    }
}

/// A WAV file of silence: 16-bit samples of one channel, 8,000 a second.
pub fn wav(ms: u32) -> Vec<u8> {
    let size = 16 * ms;
    let mut file = b"RIFF".to_vec();
    file.extend((size + 36).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(8_000u32.to_le_bytes());
    file.extend(16_000u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(size.to_le_bytes());
    file.resize(file.len() + usize::try_from(size).unwrap(), 0);
    file
}

/// A usage row of this kind, once it is written.
pub async fn usage_row_of(world: &World, kind: &str) {
    wait_for("the usage row", async || {
        let query = format!("SELECT count(*) FROM usage WHERE kind = '{kind}'");
        (world.database.number(&query).await > 0).then_some(())
    })
    .await;
}
