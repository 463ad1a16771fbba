//! Traces of requests for OpenTelemetry: one span for each request and one for each call to a provider, sent as OTLP
//! over HTTP in JSON. Off unless an address is configured. A span contains names from the catalogue, ids and numbers
//! (OpenTelemetry's GenAI conventions); never text of a conversation, a key or an address of a client.
//!
//! Spans are created when a request has ended, from the data of its receipt, and pass through a bounded queue: if the
//! exporter is slow or unreachable, only spans are lost.

mod encode;
mod export;

pub use export::{Batch, Exporter, Settings};

use crate::domain::{ambient::Ambient, usage::Usage};
use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use time::OffsetDateTime;
use tokio::sync::mpsc;

/// Requests whose spans wait to be sent.
const WAITING_MAX: usize = 4_096;

/// The position of a request in a trace: W3C's `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceParent {
    pub trace_id: u128,
    pub span_id: u64,
    pub is_sampled: bool,
}

impl TraceParent {
    /// Reads `00-<32 hex>-<16 hex>-<2 hex>`; later versions may have more after it. Other values are not a parent.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_whole = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
        if !is_whole || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace_id, span_id, is_sampled })
    }

    /// As a header's value.
    pub fn header(&self) -> String {
        let mut text = String::with_capacity(55);
        // Writing to a String cannot fail.
        let _ =
            write!(text, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.is_sampled));
        text
    }
}

/// The request's own span in its trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestContext {
    pub own: TraceParent,
    /// The caller's span.
    pub parent_span_id: Option<u64>,
}

/// A request that has ended.
pub struct RequestSpan {
    pub context: RequestContext,
    /// `chat`, `embeddings`, …
    pub operation: &'static str,
    pub requested: String,
    pub started_at: OffsetDateTime,
    pub duration: Duration,
    pub ttft: Option<Duration>,
    pub provider: Option<&'static str>,
    pub model: Option<Arc<str>>,
    pub usage: Option<Usage>,
    pub stream: bool,
    /// The name of the outcome.
    pub status: &'static str,
    pub is_error: bool,
    pub organization: String,
    pub receipt: String,
    pub attempts: Vec<AttemptSpan>,
}

/// One call of a provider.
#[derive(Clone)]
pub struct AttemptSpan {
    pub span_id: u64,
    pub provider: &'static str,
    pub model: Arc<str>,
    pub credential: &'static str,
    /// From the start of the request.
    pub began: Duration,
    pub duration: Duration,
    pub status: Option<u16>,
    /// The class of the failure.
    pub error: Option<String>,
}

/// The traces of the process.
pub struct Traces {
    queue: mpsc::Sender<RequestSpan>,
    ambient: Ambient,
    sample_percent: u8,
    lost: Arc<AtomicU64>,
}

impl Traces {
    /// The traces and their exporter.
    pub fn new(settings: Settings, ambient: Ambient) -> (Self, Exporter) {
        let (queue, spans) = mpsc::channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let sample_percent = settings.sample_percent;
        let exporter = Exporter::new(settings.instance, spans, lost.clone());
        (Self { queue, ambient, sample_percent, lost }, exporter)
    }

    /// A request begins. The caller's sampling decision is followed; without one, the gateway decides.
    pub fn begin(&self, parent: Option<TraceParent>) -> RequestContext {
        let trace_id = parent.map_or_else(|| self.ambient.uuid().as_u128() | 1, |parent| parent.trace_id);
        let is_sampled = parent.map_or_else(|| self.samples(trace_id), |parent| parent.is_sampled);
        let own = TraceParent { trace_id, span_id: self.span_id(), is_sampled };
        RequestContext { own, parent_span_id: parent.map(|parent| parent.span_id) }
    }

    /// A new span's id.
    pub fn span_id(&self) -> u64 {
        u64::from_be_bytes(self.ambient.bytes::<8>()) | 1
    }

    /// Decides by the random end of the id, so that all processes decide alike.
    fn samples(&self, trace_id: u128) -> bool {
        let low = u8::try_from((trace_id >> 1) % 100).unwrap_or(u8::MAX);
        low < self.sample_percent
    }

    /// A request has ended.
    pub fn end(&self, span: RequestSpan) {
        if self.queue.try_send(span).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests whose spans were lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
