//! The metrics of the process, served by `/metrics` as OpenMetrics text. Label values are bounded: a model that the
//! catalogue does not list is `other`, and no label contains text of a customer. Labelled series are updated at the end
//! of an attempt and of a request, never while bytes flow.

mod scrape;

use super::{
    NotAdmitted,
    receipt::{Bill, CredentialKind, RequestOutcome},
};
use crate::{
    config::build,
    domain::{kind::Kind, provider::ProviderId, usage::Usage},
    providers::error::ErrorClass,
    routing::plan::Candidate,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Registry, Unit},
};
use scrape::Scraped;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// From a token count on a fast host to the longest possible request.
const REQUEST_SECONDS: [f64; 14] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];
/// A flush of the ledger takes about a millisecond; a settle is awaited for up to 10 s.
const LEDGER_SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 4.0, 10.0];

#[derive(Clone, Hash, PartialEq, Eq, Debug, EncodeLabelSet)]
struct RequestLabels {
    kind: &'static str,
    status: &'static str,
    key: &'static str,
}

#[derive(Clone, Hash, PartialEq, Eq, Debug, EncodeLabelSet)]
struct DurationLabels {
    kind: &'static str,
    status: &'static str,
}

#[derive(Clone, Hash, PartialEq, Eq, Debug, EncodeLabelSet)]
struct AttemptLabels {
    provider: &'static str,
    model: Arc<str>,
    credential: &'static str,
    class: &'static str,
}

#[derive(Clone, Hash, PartialEq, Eq, Debug, EncodeLabelSet)]
struct HostLabels {
    provider: &'static str,
    model: Arc<str>,
}

#[derive(Clone, Hash, PartialEq, Eq, Debug, EncodeLabelSet)]
struct TokenLabels {
    provider: &'static str,
    model: Arc<str>,
    bucket: &'static str,
}

#[derive(Clone, Hash, PartialEq, Eq, Debug, EncodeLabelSet)]
struct MoneyLabels {
    provider: &'static str,
    model: Arc<str>,
    credential: &'static str,
}

#[derive(Clone, Hash, PartialEq, Eq, Debug, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// Creates histograms with the same buckets.
#[derive(Clone)]
struct Seconds(&'static [f64]);

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// The target that gave an answer.
pub struct Host<'a> {
    pub provider: ProviderId,
    /// `None` for a model that the catalogue does not list.
    pub model: Option<&'a Arc<str>>,
    pub credential: CredentialKind,
}

/// One request, or one turn of it, that has ended.
pub struct Ended<'a> {
    pub kind: Kind,
    pub ending: RequestOutcome,
    pub duration: Duration,
    pub ttft: Option<Duration>,
    /// The owner of the key that was used last; `None`: no provider was called.
    pub credential: Option<CredentialKind>,
    /// The target that was called last in this turn.
    pub host: Option<Host<'a>>,
}

/// The process's metrics.
pub struct Metrics {
    registry: Registry,
    scraped: Scraped,
    /// The label for models that the catalogue does not list.
    other: Arc<str>,
    pub in_flight: Gauge,
    pub fallbacks: Counter,
    /// Look-ups in the response cache.
    pub cache_hits: Counter,
    pub cache_misses: Counter,
    /// Answers whose provider reported more than the request can have consumed.
    pub usage_above_bound: Counter,
    pub hold_wait: Histogram,
    pub settle_wait: Histogram,
    shed: Family<ReasonLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram, Seconds>,
    ttft: Family<HostLabels, Histogram, Seconds>,
    attempts: Family<AttemptLabels, Counter>,
    attempt_durations: Family<HostLabels, Histogram, Seconds>,
    tokens: Family<TokenLabels, Counter>,
    cost: Family<MoneyLabels, Counter>,
    charged: Family<MoneyLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let request_seconds = || Family::new_with_constructor(Seconds(&REQUEST_SECONDS));
        let mut registry = Registry::with_prefix("kairosroute");
        let scraped = Scraped::register(&mut registry);
        let mut metrics = Self {
            registry,
            scraped,
            other: "other".into(),
            in_flight: Gauge::default(),
            fallbacks: Counter::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            usage_above_bound: Counter::default(),
            hold_wait: Seconds(&LEDGER_SECONDS).new_metric(),
            settle_wait: Seconds(&LEDGER_SECONDS).new_metric(),
            shed: Family::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(Seconds(&REQUEST_SECONDS)),
            ttft: request_seconds(),
            attempts: Family::default(),
            attempt_durations: request_seconds(),
            tokens: Family::default(),
            cost: Family::default(),
            charged: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let mut plain = |name: &str, help: &str, metric: Counter| registry.register(name, help, metric);
        plain(
            "fallbacks",
            "Calls after a failure: to another host, or on the platform's key",
            self.fallbacks.clone(),
        );
        plain("cache_hits", "Requests answered from the response cache", self.cache_hits.clone());
        plain(
            "cache_misses",
            "Requests that use the response cache and were not answered from it",
            self.cache_misses.clone(),
        );
        plain(
            "usage_above_bound",
            "Answers whose provider reported more than the request can have consumed",
            self.usage_above_bound.clone(),
        );
        let build = Info::new([("version", build::VERSION), ("commit", build::COMMIT)]);
        registry.register("build", "Version and commit of this process", build);
        registry.register("requests_in_flight", "Requests that are being served", self.in_flight.clone());
        registry.register(
            "requests_shed",
            "Requests refused for lack of a place, by reason",
            self.shed.clone(),
        );
        registry.register(
            "requests",
            "Requests that ended, by kind, status and whose key was used last (none: no provider was called)",
            self.requests.clone(),
        );
        registry.register(
            "attempts",
            "Calls to providers, by outcome (class ok: answered)",
            self.attempts.clone(),
        );
        registry.register("tokens", "Tokens consumed, by price bucket", self.tokens.clone());
        // Exact integers: money is never a float.
        let nano_usd = || Unit::Other("nano_usd".to_owned());
        registry.register_with_unit("provider_cost", "Cost at the provider", nano_usd(), self.cost.clone());
        registry.register_with_unit("charged", "Charged to customers", nano_usd(), self.charged.clone());
        let mut seconds = |name: &str, help: &str, metric: Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, metric);
        };
        seconds("hold_wait", "Wait of a request for its hold", self.hold_wait.clone());
        seconds("settle_wait", "Wait of an answer for its durable charge", self.settle_wait.clone());
        registry.register_with_unit(
            "request_duration",
            "From the received body to the end of the answer",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register_with_unit(
            "time_to_first_token",
            "From the received body to the first content of the answer",
            Unit::Seconds,
            self.ttft.clone(),
        );
        registry.register_with_unit(
            "attempt_duration",
            "From the call of a provider to the first content of its answer or its failure",
            Unit::Seconds,
            self.attempt_durations.clone(),
        );
    }

    /// A request was refused because no permit was free.
    pub fn shed(&self, reason: NotAdmitted) {
        let reason = match reason {
            NotAdmitted::Share => "share",
            NotAdmitted::Process => "process",
            NotAdmitted::Stopping => "stopping",
            NotAdmitted::Unready => "unready",
        };
        self.shed.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Called before a provider is called. The returned value counts the attempt, also if it is abandoned.
    pub fn attempt(&self, candidate: &Candidate, credential: CredentialKind) -> AttemptTimer<'_> {
        let listed = candidate.model.is_some().then_some(&candidate.id);
        AttemptTimer {
            metrics: self,
            started: Instant::now(),
            labels: AttemptLabels {
                provider: candidate.provider.as_str(),
                model: self.model(listed),
                credential: label_of(Some(credential)),
                class: "abandoned",
            },
        }
    }

    /// A request has ended.
    pub fn ended(&self, ended: &Ended<'_>) {
        let (kind, status) = (ended.kind.as_str(), ended.ending.as_str());
        let key = label_of(ended.credential);
        self.requests.get_or_create(&RequestLabels { kind, status, key }).inc();
        let duration = ended.duration.as_secs_f64();
        self.durations.get_or_create(&DurationLabels { kind, status }).observe(duration);
        if let (Some(host), Some(ttft)) = (&ended.host, ended.ttft) {
            let labels = HostLabels { provider: host.provider.as_str(), model: self.model(host.model) };
            self.ttft.get_or_create(&labels).observe(ttft.as_secs_f64());
        }
    }

    /// Usage and cost of an answer.
    pub fn consumed(&self, host: &Host<'_>, bill: &Bill) {
        let (provider, model) = (host.provider.as_str(), self.model(host.model));
        for (bucket, tokens) in token_buckets(&bill.usage) {
            if tokens > 0 {
                let labels = TokenLabels { provider, model: model.clone(), bucket };
                self.tokens.get_or_create(&labels).inc_by(tokens);
            }
        }
        let labels = MoneyLabels { provider, model, credential: label_of(Some(host.credential)) };
        let nano = |amount: i64| u64::try_from(amount).unwrap_or(0);
        let cost = bill.cost().map_or(0, |cost| cost.0);
        self.cost.get_or_create(&labels).inc_by(nano(cost));
        self.charged.get_or_create(&labels).inc_by(nano(bill.charge.0));
    }

    /// OpenMetrics text, version 1.0.0.
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }

    fn model(&self, listed: Option<&Arc<str>>) -> Arc<str> {
        listed.unwrap_or(&self.other).clone()
    }
}

/// Counts one attempt when dropped: as abandoned, unless its outcome was recorded.
pub struct AttemptTimer<'m> {
    metrics: &'m Metrics,
    started: Instant,
    labels: AttemptLabels,
}

impl AttemptTimer<'_> {
    /// The outcome; `None` if the provider answered.
    pub fn ended(mut self, failed: Option<ErrorClass>) {
        self.labels.class = failed.map_or("ok", ErrorClass::as_str);
        let labels = HostLabels { provider: self.labels.provider, model: self.labels.model.clone() };
        let duration = self.started.elapsed().as_secs_f64();
        self.metrics.attempt_durations.get_or_create(&labels).observe(duration);
    }
}

impl Drop for AttemptTimer<'_> {
    fn drop(&mut self) {
        self.metrics.attempts.get_or_create(&self.labels).inc();
    }
}

fn label_of(credential: Option<CredentialKind>) -> &'static str {
    match credential {
        Some(CredentialKind::Byok) => "byok",
        Some(CredentialKind::Platform) => "platform",
        None => "none",
    }
}

/// The buckets do not overlap: reasoning is part of `output`.
fn token_buckets(usage: &Usage) -> [(&'static str, u64); 9] {
    [
        ("input", usage.input),
        ("cache_read", usage.cache_read),
        ("cache_write", usage.cache_write),
        ("cache_write_1h", usage.cache_write_1h),
        ("audio_input", usage.audio_input),
        ("image_input", usage.image_input),
        ("output", usage.output),
        ("audio_output", usage.audio_output),
        ("image_output", usage.image_output),
    ]
}

#[cfg(test)]
mod tests;
