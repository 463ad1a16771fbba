//! The stage of the exact response cache: whether a request may be answered from it, the stored answer in the form of
//! the request, and what is stored of a provider's answer. It runs only if the API key or the request turns the cache
//! on.

mod capture;
mod replay;

pub(super) use capture::Capture;
pub use replay::Replay;
pub(super) use replay::{free, reply};

use super::{
    Gateway,
    attempt::Body,
    failover::UpstreamAnswer,
    open_request::OpenRequest,
    receipt::{Bill, CredentialKind, ServedBy},
    request::{Inbound, ParsedRequest},
    request_options::RequestRouting,
    targets::Credentials,
};
use crate::{
    cache::{Entry, Flight, Found, Key, Question, Verbatim},
    dialect::{
        AnswerReader, CacheWish, ClientRequest, Dialect, Reading, WriterContext, answer_key,
        canonical::{Answer as Canonical, Finish},
    },
    domain::{
        ids::{ApiKeyId, RequestId},
        money::NanoUsd,
        policy::CacheScope,
        provider::ProviderId,
        usage::Usage,
    },
    routing::plan::Candidate,
    store::OrgScope,
};
use std::{sync::Arc, time::Duration};

/// What a `Cache-Control` header of a request requires.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Directives {
    /// The answer must come from a provider.
    pub no_cache: bool,
    /// Nothing of this request is stored, and no stored answer is used.
    pub no_store: bool,
    /// A stored answer may be at most this many seconds old.
    pub max_age_s: Option<u64>,
}

/// What the cache did for a request; every response states it in a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CacheUse {
    #[default]
    Off,
    Miss,
    Hit {
        age_s: u64,
    },
}

/// The relation of one request to the cache.
#[derive(Default)]
pub struct CacheStage {
    pub used: CacheUse,
    /// The answer will be stored.
    pub pending: Option<Box<Pending>>,
    /// The answer came from the cache; this is written to the records.
    pub served: Option<Box<ServedFromCache>>,
}

/// The key under which an answer will be stored.
pub struct Pending {
    request: [u8; 32],
    scope: OrgScope,
    api_key: Option<ApiKeyId>,
    ttl: Duration,
    /// The target that was called last: the customer's own host, and the model's name there.
    base_url: Option<String>,
    upstream_model: String,
    flight: Option<Flight>,
}

/// The stored answer that is returned.
#[derive(Clone, Debug)]
pub struct ServedFromCache {
    pub original: RequestId,
    pub provider: ProviderId,
    pub served: ServedBy,
    pub age_s: u64,
    pub saved: NanoUsd,
    /// Of the original answer.
    pub usage: Usage,
}

/// A stored answer, and how to write it.
pub(super) struct Hit {
    entry: Box<Entry>,
    age_s: u64,
    client: Dialect,
    stream: bool,
    writer_context: WriterContext,
}

/// The source of an answer.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one: a box would be made for each request"
)]
pub(super) enum Outcome {
    Provider(UpstreamAnswer),
    Cache(Box<Hit>),
}

/// How a request may use the cache.
struct Terms {
    ttl: Duration,
    scope: CacheScope,
    /// The maximum age of a stored answer; `None`: no stored answer is used.
    age_max: Option<Duration>,
}

impl CacheStage {
    /// Called before a provider is called: whether its answer will be stored.
    pub fn calling(&mut self, base_url: Option<&str>, upstream_model: &str) -> bool {
        let Some(pending) = &mut self.pending else { return false };
        pending.base_url = base_url.map(str::to_owned);
        upstream_model.clone_into(&mut pending.upstream_model);
        true
    }
}

impl Pending {
    fn key(&self, gateway: &Gateway, model_id: &str, base_url: Option<&str>) -> Key {
        let Self { request, scope, api_key, .. } = *self;
        gateway.cache.key(&Question { scope, api_key, model_id, base_url, request })
    }
}

/// Looks up an answer, and records in `open` that this request's own answer will be stored.
pub(super) async fn find(
    inbound: &Inbound<'_>,
    request: &ParsedRequest<'_>,
    routing: &RequestRouting<'_>,
    candidates: &[Candidate],
    open: &mut OpenRequest,
) -> Option<Hit> {
    let terms = terms(inbound, request)?;
    // Large, and most requests do not use the cache: kept out of their futures.
    Box::pin(look_up(inbound, request, routing, candidates, (terms, open))).await
}

async fn look_up(
    inbound: &Inbound<'_>,
    request: &ParsedRequest<'_>,
    routing: &RequestRouting<'_>,
    candidates: &[Candidate],
    (terms, open): (Terms, &mut OpenRequest),
) -> Option<Hit> {
    let (gateway, principal) = (inbound.gateway, &inbound.principal);
    let (ParsedRequest::Conversation(request), None, true) = (request, &routing.key, gateway.cache.is_on())
    else {
        return None;
    };
    let digest = answer_key(request, inbound.beta.as_deref())?;
    let first = candidates.first()?;
    // The host that is called first: the customer's own if the first key names one.
    let target = Credentials::of_request(inbound, routing).targets(first).next();
    let base_url = target.and_then(|target| target.custom_base_url().map(str::to_owned));
    let mut pending = Pending {
        request: digest,
        scope: principal.scope,
        api_key: (terms.scope == CacheScope::Key).then_some(principal.api_key_id),
        ttl: terms.ttl,
        base_url: None,
        upstream_model: String::new(),
        flight: None,
    };
    if let Some(age_max) = terms.age_max {
        let key = pending.key(gateway, &first.id, base_url.as_deref());
        let found = match gateway.cache.get(&key).await {
            Found::Miss if gateway.cache.limits().coalesces => {
                pending.flight = gateway.cache.take_off(key).await;
                // While this request waited, another request may have stored the answer.
                gateway.cache.get(&key).await
            }
            found => found,
        };
        match found {
            Found::Off => return None,
            Found::Miss => {}
            Found::Hit(entry) => {
                let age_s = entry.age_s(gateway.cache.now_ms());
                if Duration::from_secs(age_s) <= age_max {
                    gateway.metrics.cache_hits.inc();
                    return Some(hit(request, entry, age_s, open));
                }
            }
        }
    }
    gateway.metrics.cache_misses.inc();
    open.cache.used = CacheUse::Miss;
    open.cache.pending = Some(Box::new(pending));
    None
}

fn hit(request: &ClientRequest<'_>, entry: Box<Entry>, age_s: u64, open: &mut OpenRequest) -> Hit {
    let head = request.head();
    open.cache.used = CacheUse::Hit { age_s };
    open.history.body_written(entry.dropped.clone());
    let writer_context = WriterContext {
        seed: open.request_id.0.simple().to_string(),
        created: open.started_at.unix_timestamp(),
        provider: entry.provider,
        upstream_model: entry.upstream_model.clone(),
        include_usage: head.include_usage,
        echo: request.echo(),
    };
    open.cache.served = Some(Box::new(ServedFromCache {
        original: entry.request_id,
        provider: entry.provider,
        served: ServedBy {
            provider: entry.provider.row().name,
            model_id: entry.model_id.as_str().into(),
            model_name: entry.model_name.as_str().into(),
            credential: CredentialKind::Platform,
            by_byok_api_key: false,
        },
        age_s,
        saved: entry.worth,
        usage: entry.usage,
    }));
    Hit { entry, age_s, client: request.dialect(), stream: head.stream, writer_context }
}

/// The combination of the API key's setting and the request's; `None`: no look-up and no storing.
fn terms(inbound: &Inbound<'_>, request: &ParsedRequest<'_>) -> Option<Terms> {
    let (policy, wish) = (inbound.principal.policy.cache, request.head().gateway_options.cache);
    let ttl_s = match (wish, policy) {
        (Some(CacheWish::Off), _) | (None, None) => return None,
        (Some(CacheWish::On { ttl_seconds: Some(ttl_s) }), _) => Some(ttl_s),
        (Some(CacheWish::On { ttl_seconds: None }) | None, policy) => policy.map(|policy| policy.ttl_seconds),
    };
    let Directives { no_cache, no_store, max_age_s } = inbound.routing_headers.cache;
    if no_store {
        return None;
    }
    let default = inbound.gateway.cache.limits().ttl;
    let ttl = ttl_s.map_or(default, |ttl_s| Duration::from_secs(u64::from(ttl_s)));
    let age_max = max_age_s.map_or(ttl, |max_age_s| ttl.min(Duration::from_secs(max_age_s)));
    let wants_new = no_cache || max_age_s == Some(0);
    let scope = policy.map(|policy| policy.scope).unwrap_or_default();
    Some(Terms { ttl, scope, age_max: (!wants_new).then_some(age_max) })
}

/// A provider's answer for the cache.
pub(super) enum Kept {
    /// The answer in the canonical form.
    Answer(Box<Canonical>),
    /// The provider's bytes, in the dialect in which they were written.
    Bytes(Vec<u8>, Box<(Dialect, Reading)>),
}

impl Kept {
    /// A copy of a whole answer, if it will be stored and is in the client's dialect.
    pub fn of(body: &Body, reading: Option<Box<(Dialect, Reading)>>) -> Option<Self> {
        match body {
            Body::Answer(answer) => Some(Kept::Answer(Box::new(answer.0.clone()))),
            Body::Bytes(bytes) => Some(Kept::Bytes(bytes.clone(), reading?)),
            Body::Kind(_) => None,
        }
    }

    fn read(self) -> Option<(Canonical, Option<Verbatim>)> {
        match self {
            Kept::Answer(answer) => Some((*answer, None)),
            Kept::Bytes(bytes, reading) => {
                let (dialect, reading) = *reading;
                let mut answer = Canonical::default();
                let json = bytes.trim_ascii();
                AnswerReader::new(dialect, reading).body(json, &mut |event| answer.absorb(event)).ok()?;
                Some((answer, Verbatim::new(dialect, json)))
            }
        }
    }
}

/// An answer that is being stored.
pub(super) struct Keeping {
    gateway: Arc<Gateway>,
    pending: Box<Pending>,
    request_id: RequestId,
    dropped: Vec<String>,
    kept: Kept,
}

impl OpenRequest {
    /// Takes the data that will be stored of this request's answer, if any; at most once.
    pub(super) fn keeping(&mut self, kept: impl FnOnce() -> Option<Kept>) -> Option<Keeping> {
        let pending = self.cache.pending.take()?;
        let (request_id, dropped) = (self.request_id, self.history.dropped().to_vec());
        Some(Keeping { gateway: self.gateway.clone(), pending, request_id, dropped, kept: kept()? })
    }
}

impl Keeping {
    /// Stores a billed answer in a separate task: the client has it already.
    pub fn keep(self, provider: ProviderId, served: &ServedBy, bill: &Bill) {
        let Self { gateway, pending, request_id, dropped, kept } = self;
        let key = pending.key(&gateway, &served.model_id, pending.base_url.as_deref());
        let (model_id, model_name) = (served.model_id.to_string(), served.model_name.to_string());
        let worth = match served.credential {
            CredentialKind::Platform => bill.charge,
            CredentialKind::Byok => bill.cost().unwrap_or(NanoUsd::ZERO),
        };
        let (usage, storing) = (bill.usage, gateway.clone());
        let storing = async move {
            let read = kept.read().filter(|(answer, _)| is_storable(answer));
            let Some((answer, verbatim)) = read else { return };
            let now_ms = storing.cache.now_ms();
            let ttl_ms = i64::try_from(pending.ttl.as_millis()).unwrap_or(i64::MAX);
            let entry = Entry {
                request_id,
                created_at_ms: now_ms,
                expires_at_ms: now_ms.saturating_add(ttl_ms),
                provider,
                model_id,
                model_name,
                upstream_model: pending.upstream_model.clone(),
                usage,
                worth,
                dropped,
                answer,
                verbatim,
            };
            storing.cache.put(key, &entry).await;
            // Requests that wait for this answer can find it now.
            drop(pending);
        };
        gateway.tasks.spawn_on(storing, gateway.db.runtime());
    }
}

/// An answer that a filter cut short, or that the provider ended in the middle, must not be repeated.
fn is_storable(answer: &Canonical) -> bool {
    let ends = answer.choices.iter().map(|choice| choice.finish);
    answer.is_whole()
        && !ends.into_iter().any(|end| matches!(end, Some(Finish::ContentFilter | Finish::Pause)))
}
