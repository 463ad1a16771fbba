//! The composition root: from settings to a running gateway. Tests and production build the same value; only
//! the port, the clock and the database differ.

mod alerts;
mod cache;
mod closing;
mod connections;
mod metrics;
mod models;
mod newcomers;
mod payments;
pub mod people;
mod records;
mod traces;
mod transports;

use crate::{
    accounts::{
        AccountParts, AccountRules, Accounts, Authenticator, CheckClients, installation::Installation,
        passwords::Passwords,
    },
    alerts::Alerts,
    billing::{batch::Ledger, ledger::LedgerLimits, record::Recorder},
    config::Config,
    credentials::{platform::PlatformKeys, uses::KeyUses},
    dashboard::{self, Origin},
    domain::{ambient::Ambient, catalog::Catalog, ids::InstanceId, provider::ProviderId},
    gateway::{
        Gateway, Settings, ToolHistoryCache, admission::Shared, compute::ComputeQueue, lease::Lease,
        metrics::Metrics, token_count,
    },
    http::routes,
    idempotency::Idempotency,
    jobs,
    mail::Mailer,
    mcp::sealed::Opener,
    providers::{guard::AllowedNets, resolver::Names},
    routing::{host_stats::Measurements, retry::RetryBudget},
    store::{self, Db, DbLimits, Pooler, Purpose, StoreError, instances},
    vault::KeyRing,
};
use actix_web::{
    App as HttpApp, HttpServer,
    dev::{Server, Service},
    rt::net::TcpStream,
    web,
};
use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use connections::Connections;
use newcomers::Newcomer;
use sqlx::postgres::PgConnectOptions;
use std::{
    future::Future,
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{runtime::Runtime, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use transports::Transports;

/// Threads of the runtime that talks to the database.
const DATABASE_THREADS: usize = 1;
/// Threads that hash passwords.
const HASHING_THREADS: usize = 2;
const ACCEPT_BACKLOG: u32 = 4_096;
/// How long a client may take to send a request's head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection may idle between two requests.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Time for requests that were cut at the deadline to be told so and billed.
const CUT_TIME_MAX: Duration = Duration::from_secs(10);
/// Between the closing of the port and the end of the connections: what is on its way arrives and is answered.
const LINGER_MAX: Duration = Duration::from_millis(500);
/// Once nothing runs any more: time for idle connections and last bytes.
const IDLE_CLOSE_S_MAX: u64 = 2;
/// The last part of a shutdown: time to bill what was cut off.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(10);

/// A gateway that listens but does not serve yet.
pub struct App {
    pub address: SocketAddr,
    pub metrics_address: Option<SocketAddr>,
    pub gateway: Arc<Gateway>,
    pub accounts: Arc<Accounts>,
    instance: InstanceId,
    server: Server,
    /// The server's own, to be closed ahead of it.
    listener: TcpListener,
    metrics_server: Option<Server>,
    jobs_stopping: CancellationToken,
    shutdown: Duration,
    shutdown_notice: Duration,
    /// Last to go: everything above may still have work on it.
    database_runtime: DatabaseRuntime,
}

/// The runtime of everything that talks to the database. It may be dropped inside of another runtime.
pub struct DatabaseRuntime(Option<Runtime>);

impl DatabaseRuntime {
    pub fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(DATABASE_THREADS)
            .thread_name("database")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// The database behind `options`, on this runtime.
    pub fn open(&self, options: PgConnectOptions, limits: DbLimits) -> anyhow::Result<Db> {
        let runtime = self.0.as_ref().context("the database runtime has ended")?;
        Ok(Db::open(runtime.handle().clone(), options, limits))
    }
}

impl Drop for DatabaseRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Refuses a database that may forget what it has confirmed.
pub async fn check_database(db: &Db, unsafe_database: bool) -> anyhow::Result<()> {
    let reading = db.clone();
    let settings = db
        .run(async move { store::durability(&mut *reading.acquire().await?).await })
        .await
        .context("the database cannot be reached")?;
    let durable = settings.fsync == "on" && !matches!(settings.synchronous_commit.as_str(), "off" | "local");
    if !durable && !unsafe_database {
        bail!(
            "the database runs with fsync={} and synchronous_commit={}: money would not be safe",
            settings.fsync,
            settings.synchronous_commit
        );
    }
    Ok(())
}

/// Applies pending migrations.
pub async fn migrate(db: &Db) -> anyhow::Result<()> {
    let migrating = db.clone();
    let outcome = db.runtime().spawn(async move { migrating.migrate().await });
    outcome.await?.context("the database could not be migrated")
}

/// Builds the gateway: database ready, secrets loaded, ports bound.
pub async fn build(
    config: &Config,
    options: PgConnectOptions,
    ring: KeyRing,
    ambient: Ambient,
) -> anyhow::Result<App> {
    // A second installation in one process (tests) finds the first one's; either will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let database_runtime = DatabaseRuntime::start()?;
    let db = database_runtime.open(options, database_limits(config))?;
    check_database(&db, config.unsafe_database).await?;
    if config.migrate {
        migrate(&db).await?;
    }
    db.schema().await?.check()?;
    let instance = InstanceId(ambient.uuid());
    let leased_at = Instant::now();
    register(&db, instance, ring.ids()).await?;
    let installation = Arc::new(Installation::load(&db, ring, ambient.clone()).await?);
    let key_db = db.with_purpose(Purpose::Keys);
    let authenticator = Arc::new(Authenticator::new(key_db, installation.clone(), ambient.clone()));
    let names = Names::new(db.runtime().clone(), config.limits.shares.names);
    let transports = Transports::new(config, names);
    let leased = (instance, leased_at);
    let gateway = gateway(config, &db, &installation, &authenticator, &transports, leased, &ambient).await?;
    let gateway = Arc::new(gateway);
    let mailer = alerts::mailer(config)?;
    let alerts = alerts::alerts(config, &gateway, &transports, mailer.clone())?;
    let accounts = accounts(config, &gateway, &transports, &alerts, mailer)?;
    let jobs_stopping = CancellationToken::new();
    jobs::start(&gateway, instance, config, &accounts.accounts, &jobs_stopping);
    alerts.start(jobs_stopping.clone())?;
    gateway.quotas.start(&db.with_purpose(Purpose::Vital), instance, jobs_stopping.clone());
    db.watch();
    let listener = listen(config.listen)?;
    let address = listener.local_addr()?;
    let (metrics_address, metrics_server) = match config.metrics_listen {
        Some(listen) => match metrics::serve(listen, gateway.clone()) {
            Ok((address, server)) => (Some(address), Some(server)),
            Err(error) if config.metrics_required => return Err(error),
            Err(error) => {
                tracing::warn!(error.cause = %format!("{error:#}"), "no metrics: set KAIROSROUTE_METRICS_LISTEN");
                (None, None)
            }
        },
        None => (None, None),
    };
    let server = serve(config, listener.try_clone()?, &gateway, &accounts, transports)?;
    Ok(App {
        address,
        metrics_address,
        gateway,
        accounts: accounts.accounts,
        instance,
        server,
        listener,
        metrics_server,
        jobs_stopping,
        shutdown: config.limits.shutdown,
        shutdown_notice: config.limits.shutdown_notice,
        database_runtime,
    })
}

/// The limits of the database's pools.
fn database_limits(config: &Config) -> DbLimits {
    DbLimits {
        connections_max: config.database_connections_max,
        report_connections_max: config.database_report_connections_max,
        report_time: config.report_time,
        pooler: pooler(config),
        is_time_limited: true,
    }
}

/// What stands before the database.
pub fn pooler(config: &Config) -> Pooler {
    if config.transaction_pooler { Pooler::Transaction } else { Pooler::None }
}

async fn register(db: &Db, instance: InstanceId, key_ids: Vec<String>) -> Result<(), StoreError> {
    let registering = db.clone();
    db.run(async move {
        let mut transaction = registering.begin().await?;
        instances::register(&mut transaction, instance, &key_ids).await?;
        transaction.commit().await
    })
    .await
}

async fn gateway(
    config: &Config,
    db: &Db,
    installation: &Arc<Installation>,
    authenticator: &Arc<Authenticator>,
    transports: &Transports,
    (instance, leased_at): (InstanceId, Instant),
    ambient: &Ambient,
) -> anyhow::Result<Gateway> {
    let environment = ProviderId::all()
        .zip(&config.providers)
        .filter_map(|(provider, settings)| Some((provider, settings.api_key.clone()?)));
    let platform_keys = Arc::new(PlatformKeys::new(environment));
    platform_keys.refresh(db, &installation.ring).await?;
    let built_in = Catalog::built_in()?;
    let catalog = match &config.catalog {
        None => built_in,
        Some(path) => {
            let text = std::fs::read_to_string(path).context("KAIROSROUTE_CATALOG cannot be read")?;
            built_in.overlaid(&text).context("KAIROSROUTE_CATALOG")?
        }
    };
    let vital = db.with_purpose(Purpose::Vital);
    Ok(Gateway {
        ambient: ambient.clone(),
        settings: Settings {
            margin: config.margin,
            byok_margin: config.byok_margin,
            limits: config.limits,
            deadlines: config.deadlines,
            chat_urls: people::chat_urls(config)?,
            base_urls: config.providers.iter().map(|settings| settings.base_url.to_string()).collect(),
            cors_origins: config.cors_origins.clone(),
            retention: config.accounts.retention,
            mcp_access: config.mcp_access,
            reference_model: config.reference_model.as_deref().map(Into::into),
            mcp_servers: config.mcp_servers.clone(),
            mcp_opener: config
                .mcp_credentials_key
                .as_ref()
                .map(Opener::read)
                .transpose()
                .context("KAIROSROUTE_MCP_CREDENTIALS_KEY")?,
        },
        lease: Lease::new(leased_at),
        ledger: Ledger::start(&vital, ambient.clone(), instance, LedgerLimits::default()),
        recorder: Recorder::start(&vital, ambient.clone(), records::limits(config)),
        db: db.clone(),
        installation: installation.clone(),
        authenticator: authenticator.clone(),
        platform_keys,
        key_uses: KeyUses::default(),
        catalog: ArcSwap::from_pointee(catalog),
        retries: RetryBudget::default(),
        own_key_retries: RetryBudget::default(),
        measurements: Measurements::default(),
        breakers: crate::routing::breaker::Breakers::default(),
        sessions: crate::routing::session::Sessions::default(),
        outgoing_samples: crate::routing::shared_health::OutgoingSamples::default(),
        embedding_models: crate::gateway::automatic::EmbeddingModels::default(),
        tool_history: ToolHistoryCache::new(&config.limits),
        counts: Semaphore::new(token_count::ON_PLATFORM_MAX),
        idempotency: Idempotency::new(config.accounts.idempotency_bytes_max),
        cache: cache::open(&config.cache, db, installation, ambient)?,
        quotas: Arc::default(),
        shared: Shared::new(config.limits.shares),
        compute: ComputeQueue::new(config.limits.shares.large_request_threads, {
            let transports = transports.clone();
            move || transports.connect()
        }),
        metrics: Metrics::default(),
        traces: traces::start(config, db, ambient, instance)?,
        tasks: TaskTracker::new(),
        stopping: CancellationToken::new(),
        draining: AtomicBool::new(false),
    })
}

struct AccountServices {
    accounts: Arc<Accounts>,
    alerts: Arc<Alerts>,
    authenticator: Arc<Authenticator>,
}

fn accounts(
    config: &Config,
    gateway: &Arc<Gateway>,
    transports: &Transports,
    alerts: &Arc<Alerts>,
    mailer: Option<Mailer>,
) -> anyhow::Result<AccountServices> {
    let authenticator = gateway.authenticator.clone();
    let allowed_nets = AllowedNets(config.allow_private_nets.clone());
    let (operator, customer) = transports.connect()?.clients()?;
    let accounts = Accounts::new(AccountParts {
        db: gateway.db.clone(),
        installation: gateway.installation.clone(),
        ambient: gateway.ambient.clone(),
        authenticator: authenticator.clone(),
        passwords: Passwords::start(HASHING_THREADS, gateway.ambient.clone())?,
        rules: AccountRules {
            signup_open: config.signup_open,
            allowed_nets,
            trusted_proxies: config.trusted_proxies.clone(),
            limits: config.accounts,
            matches_model: models::matcher(gateway),
            provider_urls: people::provider_urls(config),
            public_base: people::public_base(config),
            operators_need_second_factor: config.operators_need_second_factor,
            payments: payments::payments(config)?,
        },
        check_clients: CheckClients { operator, customer },
        mail: mailer.map(|mailer| (mailer, people::public_base(config))),
        identity_providers: people::identity_providers(config)?,
    });
    Ok(AccountServices { accounts: Arc::new(accounts), alerts: alerts.clone(), authenticator })
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve(
    config: &Config,
    listener: TcpListener,
    gateway: &Arc<Gateway>,
    services: &AccountServices,
    transports: Transports,
) -> anyhow::Result<Server> {
    let (gateway, accounts) = (web::Data::from(gateway.clone()), web::Data::from(services.accounts.clone()));
    let authenticator = web::Data::from(services.authenticator.clone());
    let alerts = web::Data::from(services.alerts.clone());
    let (db, ambient) = (web::Data::new(gateway.db.clone()), web::Data::new(gateway.ambient.clone()));
    let (limits, proxies) = (config.connections, config.trusted_proxies.clone());
    let connections = Connections::new(limits, config.database_connections_max, proxies);
    let per_worker_max = (connections.total_max / config.workers.max(1)).max(1);
    let origin = web::Data::new(Origin::new(config.public_url.clone()));
    // Built once here so that a failure is an error and not a panic in a worker; each worker then has its own.
    transports.connect()?;
    let server = HttpServer::new(move || {
        gateway.ledger.deliver_here();
        let app = HttpApp::new()
            .app_data(gateway.clone())
            .app_data(accounts.clone())
            .app_data(authenticator.clone())
            .app_data(alerts.clone())
            .app_data(db.clone())
            .app_data(ambient.clone())
            .app_data(origin.clone())
            .wrap_fn(|request, next| {
                if let Some(newcomer) = request.conn_data::<Newcomer>() {
                    newcomer.note_request();
                }
                next.call(request)
            })
            // Paths are tried in this order, and those of pages are matched by regular expressions.
            .configure(routes::register)
            .configure(dashboard::routes::register);
        match transports.connect() {
            Ok(transport) => app.app_data(web::Data::new(transport)),
            Err(_) => app,
        }
    })
    .workers(config.workers)
    .backlog(ACCEPT_BACKLOG)
    .max_connections(per_worker_max)
    .client_request_timeout(HEAD_TIME_MAX)
    .keep_alive(KEEP_ALIVE)
    // A client that has left is noticed at once, not at the end of its answer.
    .h1_allow_half_closed(false)
    .shutdown_timeout(IDLE_CLOSE_S_MAX)
    .disable_signals()
    .on_connect(move |connection, kept| {
        if let Some(stream) = connection.downcast_ref::<TcpStream>() {
            connections.accept(stream, kept);
        }
    })
    .listen(listener)?
    .run();
    Ok(server)
}

impl App {
    /// Serves until `stop`, then stops in order: not ready, new requests refused, running requests and the
    /// answers that are read on for their bill to their end or to the deadline, the port closed, the connections
    /// closed, every bill written, the database closed.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let handle = self.server.handle();
        let serving = tokio::task::spawn_local(self.server);
        let metrics_handle = self.metrics_server.as_ref().map(Server::handle);
        let metrics = self.metrics_server.map(tokio::task::spawn_local);
        stop.await;
        tracing::info!("stopping");
        let gateway = self.gateway;
        let deadline = tokio::time::Instant::now() + self.shutdown;
        gateway.draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(self.shutdown_notice.min(self.shutdown)).await;
        // From here on new requests are refused. The port stays open: a connection that nobody accepts would hang
        // until the end instead of hearing that it should go elsewhere.
        gateway.tasks.close();
        if tokio::time::timeout_at(deadline, gateway.tasks.wait()).await.is_err() {
            // Streams and calls hear this, end with an error that says so, and are billed.
            gateway.stopping.cancel();
            let _ = tokio::time::timeout(CUT_TIME_MAX, gateway.tasks.wait()).await;
        }
        closing::until_none_runs(&gateway, deadline).await;
        gateway.stopping.cancel();
        // The port closes before the connections do: a client gets an answer or no connection, never a cut one.
        handle.pause().await;
        closing::close(self.listener).await;
        tokio::time::sleep(LINGER_MAX.min(self.shutdown_notice)).await;
        closing::until_none_runs(&gateway, deadline).await;
        handle.stop(true).await;
        serving.await??;
        self.jobs_stopping.cancel();
        let written = async {
            gateway.tasks.wait().await;
            gateway.ledger.flush().await;
            gateway.recorder.flush().await;
        };
        // A time-out shows in what is left.
        let _ = tokio::time::timeout(FLUSH_TIME_MAX, written).await;
        let (settles, records) = (gateway.ledger.unwritten(), gateway.recorder.state().records);
        let (db, instance) = (gateway.db.clone(), self.instance);
        let _ = gateway.key_uses.flush(&db).await;
        let retiring = db.clone();
        let retired = db.run(async move {
            let mut transaction = retiring.begin().await?;
            instances::retire(&mut transaction, instance).await?;
            transaction.commit().await
        });
        let _ = retired.await;
        if let (Some(handle), Some(metrics)) = (metrics_handle, metrics) {
            handle.stop(false).await;
            metrics.await??;
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), db.close()).await;
        drop(self.database_runtime);
        if settles + records > 0 {
            bail!(
                "{settles} settles and {records} usage records were not written before the end; \
                 open holds will expire at their checkpoints"
            );
        }
        Ok(())
    }
}
