//! A private PostgreSQL cluster for local mode: created under the data directory if it is missing, reached only through
//! a Unix socket in a private directory, stopped by its last user. Only the PostgreSQL programs run as another user;
//! the gateway never changes its own user. It must never listen on a network, weaken durability, or change a cluster of
//! the system's packages.

mod place;
mod programs;
mod server;
#[cfg(test)]
mod tests;

use anyhow::{Context, bail};
use server::Server;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// The database and its owner, an ordinary role, inside the private cluster.
const DATABASE: &str = "kairosroute";

/// How long one command waits for another one that is starting or stopping the cluster.
const TRANSITION_WAIT_MAX: Duration = Duration::from_secs(180);

/// A running private cluster, in use by this process.
///
/// Dropped without [`stop`](Self::stop) it leaves the cluster running, as a crash would; the next start uses it again.
pub struct LocalPostgres {
    server: Server,
    socket_dir: PathBuf,
    data_dir: PathBuf,
    /// Held by the one `serve` of the data directory while it runs; other commands have none.
    serving: Option<File>,
    /// Shared by every process that uses the cluster, so that the last one knows that it must stop it.
    users: File,
}

impl LocalPostgres {
    /// For `serve` and `demo`: at most one per data directory.
    pub async fn start(data_dir: &Path) -> anyhow::Result<Self> {
        let data_dir = place::prepare_data_dir(data_dir)?;
        let serving = open_lock(&data_dir.join("serve.lock"))?;
        match serving.try_lock() {
            Ok(()) => Self::open(data_dir, Some(serving)).await,
            Err(TryLockError::WouldBlock) => bail!(
                "another `kairosroute serve` or `demo` runs on {}; stop it, or set KAIROSROUTE_DATA_DIR to another directory",
                data_dir.display()
            ),
            Err(TryLockError::Error(error)) => Err(error).context("locking serve.lock"),
        }
    }

    /// For the other commands: uses the cluster of a running `serve`, or starts it for its own time.
    pub async fn attach_or_start(data_dir: &Path) -> anyhow::Result<Self> {
        Self::open(place::prepare_data_dir(data_dir)?, None).await
    }

    /// How to reach the gateway's database, whatever `PG*` variables the environment holds.
    pub fn connect_options(&self) -> PgConnectOptions {
        connect_options(&self.socket_dir)
    }

    /// Releases the cluster: the last process that uses it shuts it down, and ends any remaining session.
    pub async fn stop(self) -> anyhow::Result<()> {
        let _transition = lock_transition(&self.data_dir).await?;
        self.users.unlock().context("unlocking users.lock")?;
        match self.users.try_lock() {
            Ok(()) => self.server.stop(&self.socket_dir).await,
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(error).context("locking users.lock"),
        }
    }

    async fn open(data_dir: PathBuf, serving: Option<File>) -> anyhow::Result<Self> {
        let _transition = lock_transition(&data_dir).await?;
        // Locked exclusively only under the transition lock, which is ours now: this cannot be refused.
        let users = open_lock(&data_dir.join("users.lock"))?;
        users.try_lock_shared().context("locking users.lock")?;
        let server = Server::prepare(&data_dir).await?;
        let socket_dir = server.ensure_running().await?;
        Ok(Self { server, socket_dir, data_dir, serving, users })
    }
}

impl Drop for LocalPostgres {
    /// Unlocked by name: closing the files is not enough while a program that another thread is just starting
    /// still holds copies of them.
    fn drop(&mut self) {
        for lock in [self.serving.as_ref(), Some(&self.users)].into_iter().flatten() {
            // A failure has no effect: the lock ends with the process.
            let _ = lock.unlock();
        }
    }
}

/// Held while the cluster is being started or stopped, never longer.
async fn lock_transition(data_dir: &Path) -> anyhow::Result<File> {
    let file = open_lock(&data_dir.join("cluster.lock"))?;
    let deadline = Instant::now() + TRANSITION_WAIT_MAX;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                sleep(Duration::from_millis(50)).await;
            }
            Err(TryLockError::WouldBlock) => bail!(
                "another command is still starting or stopping PostgreSQL in {}; try again when it is done",
                data_dir.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error).context("locking cluster.lock"),
        }
    }
}

fn open_lock(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Everything the environment could set is set here.
fn connect_options(socket_dir: &Path) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("localhost")
        .socket(socket_dir)
        .port(server::PORT)
        .username(DATABASE)
        .database(DATABASE)
        .ssl_mode(PgSslMode::Disable)
}
