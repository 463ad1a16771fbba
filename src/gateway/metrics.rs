//! Counters of the request path, read by `/metrics`. Relaxed atomics: a figure may lag, never block.

use super::{
    Gateway,
    receipt::{CredentialKind, RequestOutcome},
};
use std::{
    fmt::Write,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

/// The process's counters.
#[derive(Default)]
pub struct Metrics {
    pub in_flight: AtomicI64,
    pub shed: AtomicU64,
    pub attempts: AtomicU64,
    pub fallbacks: AtomicU64,
    /// Answers whose provider reported more than the request can have consumed.
    pub usage_above_bound: AtomicU64,
    completed: [AtomicU64; 3],
    aborted: [AtomicU64; 3],
    failed: [AtomicU64; 3],
}

impl Gateway {
    /// All metrics of the process, in Prometheus' text format.
    pub fn exposition(&self) -> String {
        let mut text = self.metrics.exposition();
        let records = self.recorder.state();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "# TYPE kairosroute_records_unwritten gauge\nkairosroute_records_unwritten {}\n\
             # TYPE kairosroute_records_unwritten_bytes gauge\nkairosroute_records_unwritten_bytes {}\n\
             # TYPE kairosroute_records_stalled gauge\nkairosroute_records_stalled {}\n\
             # TYPE kairosroute_records_set_aside_total counter\nkairosroute_records_set_aside_total {}\n\
             # TYPE kairosroute_records_shed_total counter\nkairosroute_records_shed_total {}\n\
             # TYPE kairosroute_usage_above_bound_total counter\nkairosroute_usage_above_bound_total {}\n\
             # TYPE kairosroute_settles_unwritten gauge\nkairosroute_settles_unwritten {}\n",
            records.records,
            records.bytes,
            u8::from(records.stalled),
            records.set_aside,
            records.shed,
            self.metrics.usage_above_bound.load(Ordering::Relaxed),
            self.ledger.unwritten(),
        );
        text + &self.shared.exposition()
    }
}

impl Metrics {
    /// A request has come to its end, last on such a key; `None`: no provider was called.
    pub fn ended(&self, ending: RequestOutcome, key: Option<CredentialKind>) {
        let pair = match ending {
            RequestOutcome::Completed => &self.completed,
            RequestOutcome::Aborted => &self.aborted,
            RequestOutcome::Failed => &self.failed,
        };
        let place = match key {
            Some(CredentialKind::Byok) => 0,
            Some(CredentialKind::Platform) => 1,
            None => 2,
        };
        if let Some(counter) = pair.get(place) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Prometheus' text format, version 0.0.4.
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "# TYPE kairosroute_requests_in_flight gauge\nkairosroute_requests_in_flight {}\n\
             # TYPE kairosroute_requests_shed_total counter\nkairosroute_requests_shed_total {}\n\
             # TYPE kairosroute_attempts_total counter\nkairosroute_attempts_total {}\n\
             # TYPE kairosroute_fallbacks_total counter\nkairosroute_fallbacks_total {}\n\
             # TYPE kairosroute_requests_total counter\n",
            self.in_flight.load(Ordering::Relaxed),
            load(&self.shed),
            load(&self.attempts),
            load(&self.fallbacks),
        );
        let endings = [("completed", &self.completed), ("aborted", &self.aborted), ("failed", &self.failed)];
        for (ending, counters) in endings {
            for (key, counter) in ["byok", "platform", "none"].into_iter().zip(counters) {
                let count = load(counter);
                let _ =
                    writeln!(text, "kairosroute_requests_total{{status=\"{ending}\",key=\"{key}\"}} {count}");
            }
        }
        text
    }
}
