//! Sends spans to the configured address, many at a time. What cannot be sent is counted and forgotten.

use super::{RequestSpan, encode};
use crate::domain::secret::Secret;
use reqwest::{Client, Url};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// Requests in one body, and how long the first of them waits for others.
const BATCH_MAX: usize = 256;
const BATCH_WAIT: Duration = Duration::from_secs(1);
const SEND_TIME_MAX: Duration = Duration::from_secs(5);

/// Where spans go.
pub struct Settings {
    /// The whole address, such as `http://collector:4318/v1/traces`.
    pub address: Url,
    /// `name: value`, such as an API key of the collector.
    pub headers: Vec<(String, Secret)>,
    /// Of requests whose caller has not decided.
    pub sample_percent: u8,
    /// Names this process.
    pub instance: String,
}

/// Takes spans from the queue until every handle of the process is gone.
pub struct Exporter {
    settings: Settings,
    spans: mpsc::Receiver<RequestSpan>,
    lost: Arc<AtomicU64>,
}

impl Exporter {
    pub(super) fn new(settings: Settings, spans: mpsc::Receiver<RequestSpan>, lost: Arc<AtomicU64>) -> Self {
        Self { settings, spans, lost }
    }

    pub async fn run(mut self, client: Client) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut was_away = false;
        while self.spans.recv_many(&mut batch, BATCH_MAX).await > 0 {
            if batch.len() < BATCH_MAX {
                tokio::time::sleep(BATCH_WAIT).await;
                while batch.len() < BATCH_MAX
                    && let Ok(span) = self.spans.try_recv()
                {
                    batch.push(span);
                }
            }
            let sent = self.send(&client, &batch).await;
            if let Err(reason) = &sent {
                self.lost.fetch_add(u64::try_from(batch.len()).unwrap_or(0), Ordering::Relaxed);
                // Once for each time that it goes away.
                if !was_away {
                    tracing::warn!(error.cause = %reason, "traces cannot be sent");
                }
            }
            was_away = sent.is_err();
            batch.clear();
        }
    }

    async fn send(&self, client: &Client, batch: &[RequestSpan]) -> Result<(), String> {
        let body = encode::body(batch, &self.settings.instance).to_string();
        let mut request = client
            .post(self.settings.address.clone())
            .timeout(SEND_TIME_MAX)
            .header("content-type", "application/json")
            .body(body);
        for (name, value) in &self.settings.headers {
            request = request.header(name, value.expose());
        }
        // Without the address, which may hold a credential.
        let response = request.send().await.map_err(|error| error.without_url().to_string())?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(format!("the collector answers {}", response.status().as_u16())),
        }
    }
}
