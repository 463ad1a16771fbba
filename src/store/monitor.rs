//! The known state of the database: a task checks it on its own connection, so that requests are refused at once while
//! it is unreachable, and readiness costs no query.

use super::{
    StoreError,
    schema::{self, Schema},
};
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

/// Interval between checks while the database works.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Interval between checks after a user of the database met an error.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(100);
/// Interval between tries while the database is unreachable.
const RETRY_EVERY: Duration = Duration::from_millis(200);
/// Longest check on an open connection.
const LOOK_MAX: Duration = Duration::from_secs(4);
/// Time to reconnect before the database counts as unreachable.
const GRACE: Duration = Duration::from_secs(2);
/// Failed tries to reconnect, within that time, before it counts as unreachable: the server may have ended one of them.
const TRIES: u32 = 3;
/// Longest try to connect while it is unreachable.
const CONNECT_MAX: Duration = Duration::from_secs(12);
/// How long a failed write counts if nothing was written since.
const WRITE_FAILURE_COUNTS: Duration = Duration::from_secs(15);

/// Whether the database is usable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Availability {
    /// It answers, or was not checked yet.
    #[default]
    Up,
    /// It answers but accepts no writes, like a standby.
    ReadOnly,
    /// It answers, but its schema is older than this version's.
    SchemaBehind,
    /// It cannot be reached.
    Away,
}

/// The known state, shared by all users of the database.
#[derive(Default)]
pub struct DatabaseState {
    availability: watch::Sender<Availability>,
    /// The same as needed by the request path, without a lock.
    away: AtomicBool,
    suspicion: Notify,
    /// When a write last failed although the database answers, and its error.
    failed_write: Mutex<Option<(Instant, String)>>,
}

impl DatabaseState {
    pub fn availability(&self) -> Availability {
        *self.availability.borrow()
    }

    /// Whether the database is unreachable; operations that need it fail at once.
    pub fn is_known_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Makes the monitor check at once, because a user met an error.
    pub fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Resolves when the database is known to be unreachable; never before.
    pub(super) async fn until_away(&self) {
        let mut changes = self.availability.subscribe();
        if changes.wait_for(|now| *now == Availability::Away).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Records the result of a write of the lease, the ledger or the records.
    pub fn note_write<T>(&self, outcome: &Result<T, StoreError>) {
        let mut failed = self.failed_write.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Err(error @ StoreError::Unavailable(_)) => {
                self.suspect();
                *failed = Some((Instant::now(), error.to_string()));
            }
            Err(_) => {}
            Ok(_) => *failed = None,
        }
    }

    /// Why the database should not be used now; `None` if it can be.
    pub fn problem(&self) -> Option<String> {
        match self.availability() {
            Availability::Up => {}
            Availability::ReadOnly => return Some("the database is read-only".to_owned()),
            Availability::SchemaBehind => {
                return Some("the database schema is older than this version".to_owned());
            }
            Availability::Away => return Some("the database cannot be reached".to_owned()),
        }
        let failed = self.failed_write.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, cause) = failed.as_ref()?;
        (at.elapsed() < WRITE_FAILURE_COUNTS).then(|| format!("the database does not take writes: {cause}"))
    }

    fn set(&self, now: Availability) {
        self.away.store(now == Availability::Away, Ordering::Relaxed);
        let is_new = self.availability.send_if_modified(|held| std::mem::replace(held, now) != now);
        match (is_new, now) {
            (false, _) => {}
            (true, Availability::Up) => tracing::info!("the database serves again"),
            (true, problem) => tracing::warn!(database.state = ?problem, "the database cannot be used"),
        }
    }
}

/// Checks the database for as long as it is polled. `begin` opens the transaction of one check, if each needs one.
pub(super) async fn watch(options: PgConnectOptions, begin: Option<&'static str>, state: Arc<DatabaseState>) {
    let mut kept: Option<PgConnection> = None;
    loop {
        let looked = match &mut kept {
            Some(connection) => timeout(LOOK_MAX, look(connection, begin)).await.ok().and_then(Result::ok),
            None => None,
        };
        let found = match looked {
            Some(found) => Some(found),
            None => {
                kept = None;
                // A single connection may have failed; the database is unreachable if no other can be opened.
                let (time_max, tries) = match state.availability() {
                    Availability::Away => (CONNECT_MAX, 1),
                    _ => (GRACE, TRIES),
                };
                let connected = timeout(time_max, connect_and_look(&options, begin, tries)).await;
                connected.ok().flatten().map(|(connection, found)| {
                    kept = Some(connection);
                    found
                })
            }
        };
        state.set(found.unwrap_or(Availability::Away));
        if found.is_none() {
            sleep(RETRY_EVERY).await;
            continue;
        }
        sleep(LOOK_EVERY_MIN).await;
        let _ = timeout(LOOK_EVERY - LOOK_EVERY_MIN, state.suspicion.notified()).await;
    }
}

async fn connect_and_look(
    options: &PgConnectOptions,
    begin: Option<&'static str>,
    tries: u32,
) -> Option<(PgConnection, Availability)> {
    for tried in 0..tries {
        if tried > 0 {
            sleep(LOOK_EVERY_MIN).await;
        }
        if let Ok(mut connection) = PgConnection::connect_with(options).await
            && let Ok(found) = look(&mut connection, begin).await
        {
            return Some((connection, found));
        }
    }
    None
}

async fn look(
    connection: &mut PgConnection,
    begin: Option<&'static str>,
) -> Result<Availability, StoreError> {
    if let Some(begin) = begin {
        connection.execute(begin).await?;
    }
    let found = read(connection).await?;
    if begin.is_some() {
        connection.execute("COMMIT").await?;
    }
    Ok(found)
}

async fn read(connection: &mut PgConnection) -> Result<Availability, StoreError> {
    let is_read_only = sqlx::query_scalar!(
        r#"SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' AS "is_read_only!""#
    )
    .fetch_one(&mut *connection)
    .await?;
    let schema = schema::read(connection).await?;
    Ok(match (is_read_only, schema) {
        (true, _) => Availability::ReadOnly,
        (false, Schema::Current) => Availability::Up,
        (false, Schema::Empty | Schema::Behind(_)) => Availability::SchemaBehind,
    })
}
