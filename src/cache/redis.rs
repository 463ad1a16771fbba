//! Answers in Redis, shared by all processes. Each call has a time limit. After a failure Redis counts as unreachable
//! for a moment, so that requests do not wait for it one by one. It must never fail a request or delay it for long.

use crate::domain::secret::Secret;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, aio::MultiplexedConnection, cmd};
use std::{
    sync::{Arc, Mutex as StdMutex},
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::Mutex};

/// How long Redis counts as unreachable after a failure.
const AWAY_FOR: Duration = Duration::from_secs(1);

/// Redis is unreachable at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away;

/// The process's connection to Redis.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    /// The runtime of the connection.
    runtime: Handle,
}

struct Shared {
    client: Client,
    timeout: Duration,
    connection: Mutex<Option<MultiplexedConnection>>,
    away_until: StdMutex<Option<Instant>>,
}

impl Redis {
    /// For an address like `redis://host:6379/0`, or `rediss://…` over TLS. It connects at the first use.
    pub fn new(url: &Secret, timeout: Duration, runtime: Handle) -> Result<Self, RedisError> {
        let shared = Shared {
            client: Client::open(url.expose())?,
            timeout,
            connection: Mutex::default(),
            away_until: StdMutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), runtime })
    }

    pub async fn get(&self, name: String) -> Result<Option<Vec<u8>>, Away> {
        let mut command = cmd("GET");
        command.arg(name);
        self.call(command).await
    }

    /// Stores a value for `left`. A failure is recorded and has no other effect.
    pub async fn set(&self, name: String, value: Vec<u8>, left: Duration) {
        let mut command = cmd("SET");
        let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        command.arg(name).arg(value).arg("PX").arg(millis);
        let _: Result<Option<String>, Away> = self.call(command).await;
    }

    async fn call<T>(&self, command: redis::Cmd) -> Result<T, Away>
    where
        T: redis::FromRedisValue + Send + 'static,
    {
        if self.shared.is_away() {
            return Err(Away);
        }
        let (shared, timeout) = (self.shared.clone(), self.shared.timeout);
        let calling = async move { tokio::time::timeout(timeout, shared.query(&command)).await };
        let cause = match self.runtime.spawn(calling).await {
            Ok(Ok(Ok(value))) => return Ok(value),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => "no answer in time".to_owned(),
            Err(_) => "the process ends".to_owned(),
        };
        self.shared.note_away(&cause);
        Err(Away)
    }
}

impl Shared {
    async fn query<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> RedisResult<T> {
        let mut connection = self.connection().await?;
        let answered = command.query_async(&mut connection).await;
        if answered.is_err() {
            // The next call connects again.
            *self.connection.lock().await = None;
        }
        answered
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_ref() {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        *kept = Some(connection.clone());
        Ok(connection)
    }

    fn is_away(&self) -> bool {
        let away_until = self.away_until.lock().map(|until| *until).unwrap_or_default();
        away_until.is_some_and(|until| Instant::now() < until)
    }

    fn note_away(&self, cause: &str) {
        let Ok(mut away_until) = self.away_until.lock() else { return };
        // Logged once for each outage.
        if away_until.is_none_or(|until| Instant::now() >= until + AWAY_FOR) {
            tracing::warn!(error.cause = cause, "Redis is away: the response cache is off");
        }
        *away_until = Some(Instant::now() + AWAY_FOR);
    }
}
