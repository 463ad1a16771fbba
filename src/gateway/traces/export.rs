//! Takes spans from the queue in batches and encodes them as request bodies. The composition root decides who sends
//! them.

use super::{RequestSpan, encode};
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

/// Settings of traces.
pub struct Settings {
    /// For requests whose caller made no sampling decision.
    pub sample_percent: u8,
    /// Identifies this process.
    pub instance: String,
}

/// The receiving end of the queue.
pub struct Exporter {
    instance: String,
    spans: mpsc::Receiver<RequestSpan>,
    lost: Arc<AtomicU64>,
}

/// The spans of some requests.
pub struct Batch {
    /// OTLP in JSON.
    pub body: String,
    pub requests: usize,
}

impl Exporter {
    pub(super) fn new(instance: String, spans: mpsc::Receiver<RequestSpan>, lost: Arc<AtomicU64>) -> Self {
        Self { instance, spans, lost }
    }

    /// The next spans to send; `None` once every handle of the process is gone.
    pub async fn next(&mut self) -> Option<Batch> {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        if self.spans.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return None;
        }
        if batch.len() < BATCH_MAX {
            tokio::time::sleep(BATCH_WAIT).await;
            while batch.len() < BATCH_MAX
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
        }
        Some(Batch { body: encode::body(&batch, &self.instance).to_string(), requests: batch.len() })
    }

    /// A batch could not be sent.
    pub fn note_lost(&self, batch: &Batch) {
        self.lost.fetch_add(u64::try_from(batch.requests).unwrap_or(0), Ordering::Relaxed);
    }
}
