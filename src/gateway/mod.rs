//! The use case: one routed request, from an authenticated body to a billed answer. The only module that combines
//! routing, credentials, providers and billing. It does not use the types of the HTTP server.

pub mod admission;
pub mod answer_cache;
mod attempt;
pub mod automatic;
pub mod billing_guard;
mod byok_annotation;
pub mod compute;
mod cost_bounds;
pub mod dry_run;
mod error_event;
mod failover;
pub mod failure;
mod hidden_reasoning;
mod history;
pub mod lease;
mod media;
pub mod metrics;
mod open_request;
pub mod pipeline;
mod plan_token;
mod planning;
pub mod quota;
pub mod receipt;
mod refusals;
mod relay;
pub mod repeatable;
pub mod request;
pub mod request_options;
pub mod respond;
pub mod stream;
pub mod targets;
pub mod token_count;
mod tool_loop;
pub mod traces;
mod upstream_context;

use crate::{
    accounts::{Authenticator, installation::Installation},
    billing::{batch::Ledger, record::Recorder},
    cache::ResponseCache,
    config::{Limits, McpAccess, Retention},
    credentials::{platform::PlatformKeys, uses::KeyUses},
    domain::{ambient::Ambient, catalog::Catalog, money::Bps, provider::ProviderId},
    idempotency::{Idempotency, Tools},
    mcp::sealed::Opener,
    providers::transport::{Deadlines, Url},
    quotas::Quotas,
    routing::{
        breaker::Breakers, host_stats::Measurements, retry::RetryBudget, session::Sessions,
        shared_health::OutgoingSamples,
    },
    store::Db,
};
use admission::Shared;
use arc_swap::ArcSwap;
use compute::ComputeQueue;
use lease::Lease;
use metrics::Metrics;

pub use admission::{InFlightPermit, NotAdmitted, owner};
pub use tool_loop::ToolHistoryCache;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The settings of the process and values derived from them.
pub struct Settings {
    pub margin: Bps,
    pub byok_margin: Bps,
    pub limits: Limits,
    pub deadlines: Deadlines,
    /// The operator's address of each provider, in the order of the provider table: the address for conversations, and
    /// the base of all other paths.
    pub chat_urls: Vec<Url>,
    pub base_urls: Vec<String>,
    /// The reference model: `auto` measures quality and savings against it.
    pub reference_model: Option<Arc<str>>,
    /// Origins whose scripts may call the API, or `*`.
    pub cors_origins: Vec<String>,
    /// MCP servers that requests may name by slug, with their addresses, and how long ended tool history is kept.
    pub retention: Retention,
    pub mcp_access: McpAccess,
    pub mcp_servers: Vec<(String, Url)>,
    /// Opens credentials that clients seal for MCP servers.
    pub mcp_opener: Option<Opener>,
}

impl Settings {
    pub fn chat_url(&self, provider: ProviderId) -> Option<&Url> {
        self.chat_urls.get(provider.index())
    }

    pub fn base_url(&self, provider: ProviderId) -> Option<&str> {
        self.base_urls.get(provider.index()).map(String::as_str)
    }
}

/// The services that a request needs, shared by all workers.
pub struct Gateway {
    pub ambient: Ambient,
    pub settings: Settings,
    pub db: Db,
    pub lease: Lease,
    pub ledger: Ledger,
    pub recorder: Recorder,
    pub installation: Arc<Installation>,
    /// Queried again by long-running requests.
    pub authenticator: Arc<Authenticator>,
    pub platform_keys: Arc<PlatformKeys>,
    pub key_uses: KeyUses,
    pub catalog: ArcSwap<Catalog>,
    pub retries: RetryBudget,
    /// Retry budget for customers' own keys. A customer whose provider is down must not use up the retries of the
    /// platform keys, nor those of other customers; so each customer has a share.
    pub own_key_retries: RetryBudget,
    /// Recent measurements of hosts.
    pub measurements: Measurements,
    /// Hosts that are paused after failures.
    pub breakers: Breakers,
    /// Which host served each conversation last.
    pub sessions: Sessions,
    /// Samples that the other processes have not received yet.
    pub outgoing_samples: OutgoingSamples,
    /// The embedding model of `auto` for each organization.
    pub embedding_models: automatic::EmbeddingModels,
    /// Results of MCP servers, for clients that run their own tools next.
    pub tool_history: ToolHistoryCache,
    /// Concurrent token counts on platform keys.
    pub counts: Semaphore,
    /// This process's shares of rate limits.
    pub quotas: Arc<Quotas>,
    /// Resources that all organizations share.
    pub shared: Shared,
    /// Requests with an `Idempotency-Key`.
    pub idempotency: Idempotency,
    /// The response cache.
    pub cache: ResponseCache,
    /// Threads for work that would block a worker for too long.
    pub compute: ComputeQueue,
    pub metrics: Metrics,
    /// Traces, if the operator has configured an address for them.
    pub traces: Option<traces::Traces>,
    /// Request ends without a waiting client, and abandoned answers that are read on: shutdown waits for them.
    pub tasks: TaskTracker,
    /// Cancelled when the shutdown time for running requests is over.
    pub stopping: CancellationToken,
    /// Set when the process is about to stop: it still serves, and reports that it is not ready.
    pub draining: AtomicBool,
}

impl Gateway {
    /// Why the load balancer should send no traffic to this process; `None` when it is ready.
    pub fn problem(&self) -> Option<String> {
        if self.is_draining() {
            return Some("shutting down".to_owned());
        }
        if !self.lease.is_sure(Instant::now()) {
            return Some("the lease of this process could not be renewed in time".to_owned());
        }
        if self.recorder.state().stalled {
            return Some("usage records cannot be written".to_owned());
        }
        self.db.state().problem()
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        i64::try_from(self.ambient.now().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
    }

    /// The dependencies of idempotency claims.
    pub fn idempotency_tools(&self) -> Tools {
        Tools {
            db: self.db.clone(),
            installation: self.installation.clone(),
            ambient: self.ambient.clone(),
            instance: self.ledger.instance(),
            tasks: self.tasks.clone(),
        }
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
