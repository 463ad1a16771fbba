//! One database connection in use: on loan for a short time, or kept by a writer. An unfinished transaction is rolled
//! back, and a connection whose deadline has passed is closed instead of returned.

use super::{
    StoreError,
    pool::{POOLED_BEGIN, Pooler, limit_statements},
};
use sqlx::{Executor, PgConnection, Postgres, pool::PoolConnection};
use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

/// Time to roll back an unfinished transaction before its connection is closed instead.
const ROLLBACK_MAX: Duration = Duration::from_secs(2);

/// A connection on loan from its pool, perhaps with a transaction on it.
pub struct Connection {
    pub(super) pooled: Option<PoolConnection<Postgres>>,
    /// A transaction has begun and has not ended.
    pub(super) is_open: bool,
    /// After this time it is not returned to the pool: a statement on it may never end.
    pub(super) deadline: Instant,
    pub(super) runtime: Handle,
}

impl Connection {
    pub(super) async fn start(&mut self, statement: &'static str) -> Result<(), StoreError> {
        self.is_open = true;
        self.pooled()?.execute(statement).await?;
        Ok(())
    }

    /// Makes the transaction's changes durable.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        self.pooled()?.execute("COMMIT").await?;
        self.is_open = false;
        Ok(())
    }

    /// Rolls the transaction's changes back. Dropping the connection does the same without waiting.
    pub async fn rollback(mut self) -> Result<(), StoreError> {
        self.pooled()?.execute("ROLLBACK").await?;
        self.is_open = false;
        Ok(())
    }

    fn pooled(&mut self) -> Result<&mut PoolConnection<Postgres>, StoreError> {
        self.pooled.as_mut().ok_or_else(|| StoreError::Unavailable("the connection is gone".to_owned()))
    }

    pub(super) fn take(mut self) -> Result<PoolConnection<Postgres>, StoreError> {
        self.pooled.take().ok_or_else(|| StoreError::Unavailable("the connection is gone".to_owned()))
    }
}

impl Deref for Connection {
    type Target = PgConnection;

    #[allow(clippy::expect_used)] // only `take` and `drop` empty it, and both end the value
    fn deref(&self) -> &PgConnection {
        self.pooled.as_ref().expect("a connection until it is dropped")
    }
}

impl DerefMut for Connection {
    #[allow(clippy::expect_used)] // as above
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.pooled.as_mut().expect("a connection until it is dropped")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(mut pooled) = self.pooled.take() else { return };
        let _entered = self.runtime.enter();
        if Instant::now() >= self.deadline {
            pooled.close_on_drop();
        } else if self.is_open {
            self.runtime.spawn(async move {
                if !matches!(timeout(ROLLBACK_MAX, pooled.execute("ROLLBACK")).await, Ok(Ok(_))) {
                    pooled.close_on_drop();
                }
            });
        }
    }
}

/// A connection that stays with its user, who limits the time of its statements.
pub struct KeptConnection {
    pub(super) connection: PoolConnection<Postgres>,
    pub(super) pooler: Pooler,
    /// A limit of the user's own, in place of the pool's.
    pub(super) statement_max: Option<Duration>,
    /// The session has its settings.
    pub(super) is_prepared: bool,
    /// A transaction has begun and has not ended.
    pub(super) is_open: bool,
}

/// Session settings that its user needs, and the same for one transaction behind a transaction pooler.
#[derive(Clone, Copy)]
pub struct SessionSettings {
    pub session: &'static str,
    pub transaction: &'static str,
}

impl KeptConnection {
    /// The same connection with a statement timeout on the server: a statement that only its user gives up would
    /// continue there, with its locks.
    #[must_use]
    pub fn with_limit(self, time: Duration) -> Self {
        Self { statement_max: Some(time), ..self }
    }

    /// Begins one use, with `settings` in effect. An unfinished earlier use is rolled back.
    pub async fn start(&mut self, settings: Option<SessionSettings>) -> Result<(), StoreError> {
        if self.pooler == Pooler::Transaction {
            if self.is_open {
                self.connection.execute("ROLLBACK").await?;
            }
            self.is_open = true;
            self.connection.execute(POOLED_BEGIN).await?;
            if let Some(settings) = settings {
                self.connection.execute(settings.transaction).await?;
            }
        } else if let (Some(settings), false) = (settings, self.is_prepared) {
            self.connection.execute(settings.session).await?;
        }
        if let Some(time) = self.statement_max
            && (self.is_open || !self.is_prepared)
        {
            limit_statements(&mut self.connection, time, self.is_open).await?;
        }
        self.is_prepared = true;
        Ok(())
    }

    /// Ends one use: its writes are durable.
    pub async fn finish(&mut self) -> Result<(), StoreError> {
        if self.pooler == Pooler::Transaction {
            self.connection.execute("COMMIT").await?;
            self.is_open = false;
        }
        Ok(())
    }
}

impl Deref for KeptConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for KeptConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
