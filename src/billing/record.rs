//! Writes usage rows and receipts, in batches and apart from the request. A record that was accepted is
//! written, however long the database is away; only the end of the process loses it.

use crate::{
    domain::ambient::Ambient,
    store::{Db, StoreError, usage},
};
use sqlx::{Postgres, pool::PoolConnection};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, mpsc, oneshot};

pub use crate::store::usage::{Record, UsageRow, UsageStatus};

/// How the record queue is bounded.
#[derive(Clone, Copy, Debug)]
pub struct RecordLimits {
    /// Records in one statement.
    pub batch_max: usize,
    /// How long the first record of a batch waits for others.
    pub linger: Duration,
    /// Unwritten records beyond which `record` waits.
    pub queue_max: usize,
    /// Longest time one batch may take before its connection is given up.
    pub write_timeout: Duration,
    /// Pause between two tries while the database is away.
    pub retry_pause: Duration,
}

impl Default for RecordLimits {
    fn default() -> Self {
        Self {
            batch_max: 128,
            linger: Duration::from_millis(50),
            queue_max: 16_384,
            write_timeout: Duration::from_secs(5),
            retry_pause: Duration::from_millis(250),
        }
    }
}

/// The process's handle on the record writer.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::UnboundedSender<Item>,
    shared: Arc<Shared>,
}

/// Unbounded in itself so that `Drop` can always put a record down; `record` keeps it short by waiting.
enum Item {
    Record(Box<Record>),
    Barrier(oneshot::Sender<()>),
}

struct Shared {
    unwritten: AtomicUsize,
    unwritten_max: usize,
    /// Told after every batch, for those who wait for room.
    written: Notify,
    /// Cuts the linger short.
    hurry: Notify,
}

impl Recorder {
    /// Starts the writer on the database's runtime.
    pub fn start(db: &Db, ambient: Ambient, limits: RecordLimits) -> Recorder {
        let (queue, inbox) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            unwritten: AtomicUsize::new(0),
            unwritten_max: limits.queue_max,
            written: Notify::new(),
            hurry: Notify::new(),
        });
        let writer =
            Writer { db: db.clone(), ambient, limits, inbox, shared: Arc::clone(&shared), connection: None };
        db.runtime().spawn(writer.run());
        Recorder { queue, shared }
    }

    /// Accepts a record at once; then waits while too many are unwritten. Dropping the future loses nothing.
    pub fn record(&self, record: Record) -> impl Future<Output = ()> + Send + use<> {
        self.record_later(record);
        let shared = Arc::clone(&self.shared);
        async move {
            while shared.is_full() {
                let written = shared.written.notified();
                // Asked again after enlisting: a batch written in between would have told nobody.
                if shared.is_full() {
                    written.await;
                }
            }
        }
    }

    /// Accepts a record without waiting: for `Drop`.
    pub fn record_later(&self, record: Record) {
        let request_id = record.request_id;
        self.shared.unwritten.fetch_add(1, Ordering::Relaxed);
        if self.queue.send(Item::Record(Box::new(record))).is_err() {
            self.shared.unwritten.fetch_sub(1, Ordering::Relaxed);
            tracing::error!(request.id = %request_id, "a record came after the writer had stopped");
        }
    }

    /// Waits until every record accepted before is written.
    pub async fn flush(&self) {
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Item::Barrier(reply)).is_ok() {
            self.shared.hurry.notify_one();
            let _ = answer.await;
        }
    }
}

impl Shared {
    fn is_full(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed) > self.unwritten_max
    }
}

struct Writer {
    db: Db,
    ambient: Ambient,
    limits: RecordLimits,
    inbox: mpsc::UnboundedReceiver<Item>,
    shared: Arc<Shared>,
    connection: Option<PoolConnection<Postgres>>,
}

impl Writer {
    async fn run(mut self) {
        let mut items = Vec::with_capacity(self.limits.batch_max);
        while self.inbox.recv_many(&mut items, self.limits.batch_max).await > 0 {
            if items.len() < self.limits.batch_max {
                // While this sleeps, a record that comes in wakes nobody.
                let _ = tokio::time::timeout(self.limits.linger, self.shared.hurry.notified()).await;
                while items.len() < self.limits.batch_max
                    && let Ok(item) = self.inbox.try_recv()
                {
                    items.push(item);
                }
            }
            let (mut batch, mut barriers) = (Vec::with_capacity(items.len()), Vec::new());
            for item in items.drain(..) {
                match item {
                    Item::Record(record) => batch.push(*record),
                    Item::Barrier(reply) => barriers.push(reply),
                }
            }
            self.write(&batch).await;
            self.shared.unwritten.fetch_sub(batch.len(), Ordering::Relaxed);
            self.shared.written.notify_waiters();
            if !barriers.is_empty() {
                // Who asks whether all is written may be about to close the pool, which waits for this one.
                self.connection = None;
            }
            for barrier in barriers {
                // Whoever asked may have stopped waiting.
                let _ = barrier.send(());
            }
        }
    }

    /// Writes a batch, for as long as it takes. A record that the database refuses by itself is given up.
    async fn write(&mut self, batch: &[Record]) {
        let mut work: Vec<&[Record]> = vec![batch];
        while let Some(part) = work.pop().filter(|part| !part.is_empty()) {
            match (self.try_write(part).await, part) {
                (Ok(()), _) => {}
                (Err(StoreError::Constraint(_) | StoreError::Refused(_)), [_, _, ..]) => {
                    let (left, right) = part.split_at(part.len() / 2);
                    work.extend([right, left]);
                }
                (Err(error @ (StoreError::Constraint(_) | StoreError::Refused(_))), [record]) => {
                    tracing::error!(
                        org.id = %record.scope.org_id(), request.id = %record.request_id, %error,
                        "the database refuses a usage record"
                    );
                }
                (Err(error), _) => {
                    tracing::warn!(%error, records = part.len(), "usage could not be written; trying again");
                    tokio::time::sleep(self.limits.retry_pause).await;
                    work.push(part);
                }
            }
        }
    }

    async fn try_write(&mut self, part: &[Record]) -> Result<(), StoreError> {
        let write = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => {
                    let mut connection = self.db.acquire().await.map_err(unavailable)?;
                    // Kept from batch to batch, and not fit for others after a batch was cut short.
                    connection.close_on_drop();
                    connection
                }
            };
            let result = usage::insert(&mut connection, part, self.ambient.now()).await;
            match result {
                // A server that has become a read-only standby refuses every record, not this one.
                Err(StoreError::Refused(reason)) if usage::is_read_only(&mut connection).await? => {
                    Err(StoreError::Unavailable(reason))
                }
                Err(error @ StoreError::Unavailable(_)) => Err(error),
                other => {
                    self.connection = Some(connection);
                    other
                }
            }
        };
        tokio::time::timeout(self.limits.write_timeout, write)
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("no answer in time".to_owned())))
    }
}

fn unavailable(error: StoreError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
