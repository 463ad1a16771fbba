//! The database for the rest of the process: pools by purpose, each with its own connections and limits, so that
//! reports can never take the connections of authentication, the lease or the ledger. Every use of a connection ends:
//! the server limits statements and lock waits, and the client limits the whole use, because a server that has
//! disappeared from the network cannot.

use super::{
    MIGRATIONS, StoreError, caller,
    connection::{Connection, KeptConnection},
    monitor::{self, DatabaseState},
    schema::{self, Schema},
};
use sqlx::{
    Connection as _, PgConnection, PgPool,
    migrate::Migrator,
    pool::PoolConnectionMetadata,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{borrow::Cow, future::Future, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

/// A connection that was idle for longer is tested before it is used.
const IDLE_TRUSTED: Duration = Duration::from_secs(1);
/// Longest wait for that test. Above the slowest supported round trip.
const PING_MAX: Duration = Duration::from_millis(2_500);
/// Longest wait for a connection.
const ACQUIRE_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a row that another transaction has locked.
const LOCK_MAX_MS: &str = "2000";
/// The lease, the ledger's writer, the record writer and the reaper's renewal keep one each; the reaper's transactions
/// and the shares of rate limits use the others.
const VITAL_CONNECTIONS: u32 = 6;
/// Connections kept for look-ups of API keys.
const KEY_CONNECTIONS: u32 = 2;
/// A use without its own limit.
const NO_LIMIT: Duration = Duration::from_secs(86_400);

/// The server's just-in-time compiler is off: it takes a second for a report's sums, which take a tenth of that.
const NO_JIT: (&str, &str) = ("jit", "off");

/// The beginning of every transaction behind a pooler that gives each one another server connection. Statements that an
/// earlier transaction prepared there have the names that this one will use; session settings apply to this transaction
/// only.
pub(super) const POOLED_BEGIN: &str = "BEGIN; DEALLOCATE ALL; SET LOCAL statement_timeout = '4s'; SET LOCAL lock_timeout = '2s'; SET LOCAL jit = off";
pub(super) const POOLED_BEGIN_READ_ONLY: &str = "BEGIN READ ONLY; DEALLOCATE ALL; SET LOCAL statement_timeout = '5s'; \
     SET LOCAL lock_timeout = '2s'; SET LOCAL jit = off";
/// Migrations behind such a pooler: all of them in one transaction, one process at a time.
const POOLED_MIGRATION: &str = "BEGIN; DEALLOCATE ALL; SELECT pg_advisory_xact_lock(7241906353)";

/// The purpose of a connection. Each purpose has its own pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Accounts, sessions, the operator's commands, and jobs that can wait.
    Accounts,
    /// Look-ups of API keys.
    Keys,
    /// The lease, the reaper, the ledger and the records.
    Vital,
    /// Usage reports and pages of the account API.
    Reports,
}

/// The connections of one purpose.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionCounts {
    pub idle: u64,
    pub used: u64,
    pub most: u64,
}

/// The connection between this process and the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pooler {
    /// Nothing, or a pooler in session mode.
    #[default]
    None,
    /// A pooler that may use another server connection for each transaction, such as PgBouncer in transaction mode.
    Transaction,
}

/// Limits of the pools.
#[derive(Clone, Copy, Debug)]
pub struct DbLimits {
    /// Of all pools together. Pools with a fixed size come first; accounts have the rest.
    pub connections_max: u32,
    pub report_connections_max: u32,
    /// Longest statement of a report.
    pub report_time: Duration,
    pub pooler: Pooler,
    /// False for commands, which may run for as long as they need.
    pub is_time_limited: bool,
}

impl DbLimits {
    /// Accounts, sessions and jobs that can wait.
    pub const ACCOUNT_CONNECTIONS_MIN: u32 = 2;

    /// The minimum number of connections with which every purpose has its own, with this many for reports.
    pub const fn connections_needed(report_connections: u32) -> u32 {
        VITAL_CONNECTIONS + KEY_CONNECTIONS + report_connections + Self::ACCOUNT_CONNECTIONS_MIN
    }

    /// For commands: a few connections and no time limits.
    pub fn of_command(pooler: Pooler) -> Self {
        Self {
            connections_max: 0,
            report_connections_max: 1,
            report_time: NO_LIMIT,
            pooler,
            is_time_limited: false,
        }
    }
}

/// The database: bounded pools on a separate runtime, used for one purpose.
#[derive(Clone)]
pub struct Db {
    shared: Arc<Shared>,
    purpose: Purpose,
}

struct Shared {
    accounts: Lane,
    keys: Lane,
    vital: Lane,
    reports: Lane,
    pooler: Pooler,
    report_time: Option<Duration>,
    /// Without the time limits of a pool.
    options: PgConnectOptions,
    state: Arc<DatabaseState>,
    runtime: Handle,
}

struct Lane {
    pool: PgPool,
    /// Longest use of a connection, including the wait for it.
    use_max: Duration,
}

tokio::task_local! {
    /// When the current use in this task is given up.
    static DEADLINE: Instant;
}

impl Db {
    /// Opens the pools (lazily: the first query connects) on `runtime`.
    pub fn open(runtime: Handle, options: PgConnectOptions, limits: DbLimits) -> Self {
        let _entered = runtime.enter();
        let options = match limits.pooler {
            Pooler::None => options.options([NO_JIT]),
            // A server connection that this client does not keep has none of its prepared statements.
            Pooler::Transaction => options.statement_cache_capacity(0),
        };
        let state = Arc::new(DatabaseState::default());
        let lane = |connections_max: u32, statement: Duration, use_max: Duration| {
            let options = match (limits.is_time_limited, limits.pooler) {
                (true, Pooler::None) => options.clone().options([
                    ("statement_timeout", statement.as_millis().to_string().as_str()),
                    ("lock_timeout", LOCK_MAX_MS),
                ]),
                _ => options.clone(),
            };
            Lane {
                pool: pool(options, connections_max, &state),
                use_max: if limits.is_time_limited { use_max } else { NO_LIMIT },
            }
        };
        let needed = DbLimits::connections_needed(limits.report_connections_max);
        let accounts_max = DbLimits::ACCOUNT_CONNECTIONS_MIN + limits.connections_max.saturating_sub(needed);
        let seconds = Duration::from_secs;
        let shared = Shared {
            accounts: lane(accounts_max, seconds(5), seconds(12)),
            keys: lane(KEY_CONNECTIONS, seconds(3), seconds(6)),
            // Below the time after which the ledger and the records give a statement up.
            vital: lane(VITAL_CONNECTIONS, seconds(4), seconds(6)),
            reports: lane(
                limits.report_connections_max,
                limits.report_time,
                limits.report_time.saturating_add(ACQUIRE_MAX),
            ),
            pooler: limits.pooler,
            report_time: limits.is_time_limited.then_some(limits.report_time),
            options,
            state,
            runtime: runtime.clone(),
        };
        Self { shared: Arc::new(shared), purpose: Purpose::Accounts }
    }

    /// The same database with the connections of another purpose.
    #[must_use]
    pub fn with_purpose(&self, purpose: Purpose) -> Self {
        Self { shared: self.shared.clone(), purpose }
    }

    fn lane(&self) -> &Lane {
        match self.purpose {
            Purpose::Accounts => &self.shared.accounts,
            Purpose::Keys => &self.shared.keys,
            Purpose::Vital => &self.shared.vital,
            Purpose::Reports => &self.shared.reports,
        }
    }

    /// Runs `work` on the database's runtime, for at most the time that this purpose may use a connection. It continues
    /// to its end if the caller stops waiting, so a client that disconnects cannot interrupt a transaction.
    pub async fn run<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let deadline = Instant::now() + self.lane().use_max;
        let state = self.shared.state.clone();
        let work = caller::on_behalf(caller::current(), work);
        let bounded = async move {
            match tokio::time::timeout_at(deadline, DEADLINE.scope(deadline, work)).await {
                Ok(result) => result,
                Err(_) => {
                    state.suspect();
                    Err(StoreError::Unavailable("no answer in time".to_owned()).into())
                }
            }
        };
        match self.shared.runtime.spawn(bounded).await {
            Ok(result) => result,
            Err(stopped) => Err(StoreError::Unavailable(stopped.to_string()).into()),
        }
    }

    /// The runtime of all tasks that use the database.
    pub fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// The connections of each purpose.
    pub fn connections(&self) -> [(&'static str, ConnectionCounts); 4] {
        let shared = &self.shared;
        let lanes = [
            ("accounts", &shared.accounts),
            ("keys", &shared.keys),
            ("vital", &shared.vital),
            ("reports", &shared.reports),
        ];
        lanes.map(|(purpose, lane)| {
            let (all, idle) = (u64::from(lane.pool.size()), u64::try_from(lane.pool.num_idle()).unwrap_or(0));
            let most = u64::from(lane.pool.options().get_max_connections());
            (purpose, ConnectionCounts { idle, used: all.saturating_sub(idle), most })
        })
    }

    /// The known state of the database.
    pub fn state(&self) -> &Arc<DatabaseState> {
        &self.shared.state
    }

    /// A pooled connection for reading, for use on the database's runtime. Writes need [`Db::begin`]: behind a
    /// transaction pooler this is a read-only transaction.
    pub async fn acquire(&self) -> Result<Connection, StoreError> {
        let mut connection = self.lend().await?;
        if self.shared.pooler == Pooler::Transaction {
            connection.start(POOLED_BEGIN_READ_ONLY).await?;
        }
        self.limit_report(connection).await
    }

    /// A transaction, for use on the database's runtime. If it is dropped before its commit, it is rolled back.
    pub async fn begin(&self) -> Result<Connection, StoreError> {
        let mut connection = self.lend().await?;
        connection
            .start(match self.shared.pooler {
                Pooler::None => "BEGIN",
                Pooler::Transaction => POOLED_BEGIN,
            })
            .await?;
        self.limit_report(connection).await
    }

    /// A transaction whose statements may each take this long, for work without a waiting caller.
    pub async fn begin_with_limit(&self, time: Duration) -> Result<Connection, StoreError> {
        let mut connection = self.begin().await?;
        limit_statements(&mut connection, time, true).await?;
        Ok(connection)
    }

    /// A connection that its user keeps for many uses, each between [`KeptConnection::start`] and
    /// [`KeptConnection::finish`]. It closes when dropped, because an interrupted statement may still be running on it.
    pub async fn keep(&self) -> Result<KeptConnection, StoreError> {
        let mut connection = self.lend().await?.take()?;
        connection.close_on_drop();
        Ok(KeptConnection {
            connection,
            pooler: self.shared.pooler,
            statement_max: None,
            is_prepared: false,
            is_open: false,
        })
    }

    async fn lend(&self) -> Result<Connection, StoreError> {
        let lane = self.lane();
        let deadline =
            DEADLINE.try_with(|deadline| *deadline).unwrap_or_else(|_| Instant::now() + lane.use_max);
        let lent = tokio::select! {
            biased;
            () = self.shared.state.until_away() => {
                return Err(StoreError::Unavailable("the database is known to be away".to_owned()));
            }
            lent = lane.pool.acquire() => lent,
        };
        let pooled = lent.inspect_err(|_| self.shared.state.suspect())?;
        Ok(Connection {
            pooled: Some(pooled),
            is_open: false,
            deadline,
            runtime: self.shared.runtime.clone(),
        })
    }

    /// Behind a transaction pooler the limit of reports applies to one transaction.
    async fn limit_report(&self, mut connection: Connection) -> Result<Connection, StoreError> {
        if let (Purpose::Reports, Pooler::Transaction, Some(time)) =
            (self.purpose, self.shared.pooler, self.shared.report_time)
        {
            limit_statements(&mut connection, time, true).await?;
        }
        Ok(connection)
    }

    /// Applies pending migrations. Migrations of a later version that are there already are accepted: they only add.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        let pooled = self.shared.pooler == Pooler::Transaction;
        let migrator = Migrator {
            migrations: Cow::Borrowed(&MIGRATIONS.migrations),
            ignore_missing: true,
            locking: !pooled,
            ..Migrator::DEFAULT
        };
        let mut connection = PgConnection::connect_with(&self.shared.options).await?;
        if pooled {
            let mut transaction = connection.begin_with(POOLED_MIGRATION).await?;
            migrator.run_direct(None, &mut *transaction, false).await?;
            transaction.commit().await?;
        } else {
            migrator.run_direct(None, &mut connection, false).await?;
        }
        connection.close().await.map_err(Into::into)
    }

    /// Compares the database's schema with this version's.
    pub async fn schema(&self) -> Result<Schema, StoreError> {
        let db = self.clone();
        self.run(async move { schema::read(&mut *db.acquire().await?).await }).await
    }

    /// Watches the database for as long as its runtime exists; see [`DatabaseState`]. What is written last, at the
    /// end of the process, still depends on what is known of it.
    pub fn watch(&self) {
        let (options, state) = (self.shared.options.clone(), self.shared.state.clone());
        let begin = (self.shared.pooler == Pooler::Transaction).then_some(POOLED_BEGIN_READ_ONLY);
        self.shared.runtime.spawn(monitor::watch(options, begin, state));
    }

    /// Waits for running queries and closes every connection.
    pub async fn close(&self) {
        let shared = &self.shared;
        for lane in [&shared.reports, &shared.accounts, &shared.keys, &shared.vital] {
            lane.pool.close().await;
        }
    }
}

fn pool(options: PgConnectOptions, connections_max: u32, state: &Arc<DatabaseState>) -> PgPool {
    let state = state.clone();
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_MAX)
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let state = state.clone();
            Box::pin(async move {
                let answers = answers(connection, &meta).await;
                if !answers {
                    state.suspect();
                }
                Ok(answers)
            })
        })
        .connect_lazy_with(options)
}

/// Whether a pooled connection works. One that was used a moment ago does; testing each time would double the round
/// trips.
async fn answers(connection: &mut PgConnection, meta: &PoolConnectionMetadata) -> bool {
    meta.idle_for <= IDLE_TRUSTED || matches!(timeout(PING_MAX, connection.ping()).await, Ok(Ok(())))
}

/// Makes the server end statements after `time`, in this session or only in this transaction.
pub(super) async fn limit_statements(
    connection: &mut PgConnection,
    time: Duration,
    in_transaction: bool,
) -> Result<(), StoreError> {
    let limit = format!("{}ms", time.as_millis());
    sqlx::query!("SELECT set_config('statement_timeout', $1, $2) AS value", limit, in_transaction)
        .fetch_one(connection)
        .await?;
    Ok(())
}
