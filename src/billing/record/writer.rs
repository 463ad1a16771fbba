//! The only task that writes records. A batch that fails while the database accepts others is halved until the failing
//! record is alone; it is retried a few times and then set aside, so that it never blocks the others.

use super::{Item, Record, Shared, bytes_of, free_receipts::FreeReceipts};
use crate::{
    domain::ambient::Ambient,
    store::{Db, KeptConnection, StoreError, usage},
};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::{mpsc, oneshot};

pub(super) struct Writer {
    db: Db,
    ambient: Ambient,
    inbox: mpsc::UnboundedReceiver<Item>,
    shared: Arc<Shared>,
    connection: Option<KeptConnection>,
    free_receipts: FreeReceipts,
}

impl Writer {
    pub(super) fn new(
        db: Db,
        ambient: Ambient,
        inbox: mpsc::UnboundedReceiver<Item>,
        shared: Arc<Shared>,
    ) -> Self {
        let free_receipts = FreeReceipts::new(shared.limits.free_receipts_per_day_max);
        Self { db, ambient, inbox, shared, connection: None, free_receipts }
    }

    pub(super) async fn run(mut self) {
        let limits = self.shared.limits;
        let mut items = Vec::with_capacity(limits.batch_max);
        while self.inbox.recv_many(&mut items, limits.batch_max).await > 0 {
            if items.len() < limits.batch_max {
                // While this sleeps, a new record causes no wake-up.
                let _ = tokio::time::timeout(limits.linger, self.shared.hurry.notified()).await;
                while items.len() < limits.batch_max
                    && let Ok(item) = self.inbox.try_recv()
                {
                    items.push(item);
                }
            }
            let (mut records, mut barriers) = (Vec::with_capacity(items.len()), Vec::new());
            for item in items.drain(..) {
                match item {
                    Item::Record(mut record) => {
                        if !self.free_receipts.keeps(&record, self.ambient.now()) {
                            self.shared.drop_receipt(&mut record);
                        }
                        records.push(*record);
                    }
                    Item::Barrier(reply) => barriers.push(reply),
                }
            }
            let mut rest = records.as_slice();
            while !rest.is_empty() {
                let (batch, later) = rest.split_at(fitting(rest, limits.batch_bytes_max));
                self.write(batch).await;
                rest = later;
            }
            self.answer(barriers);
        }
    }

    fn answer(&mut self, barriers: Vec<oneshot::Sender<()>>) {
        if !barriers.is_empty() {
            // The caller that waits for this may be about to close the pool, which waits for this connection.
            self.connection = None;
        }
        for barrier in barriers {
            // The caller may have stopped waiting.
            let _ = barrier.send(());
        }
    }

    /// Writes a batch, for the whole time of a database outage.
    async fn write(&mut self, batch: &[Record]) {
        let mut work = vec![(batch, 1_u32)];
        while let Some((part, tries)) = work.pop() {
            let error = match self.try_write(part).await {
                Ok(()) => {
                    self.shared.remove(part);
                    continue;
                }
                Err(error) => error,
            };
            // An empty batch succeeds only if the database accepts records: then the failed record is the cause.
            if let Err(away) = self.try_write(&[]).await {
                tracing::warn!(error = %away, records = part.len(), "records could not be written; trying again");
                tokio::time::sleep(self.shared.limits.retry_pause).await;
                work.push((part, tries));
                continue;
            }
            match part {
                [] => {}
                [record] if is_final(&error) || tries >= self.shared.limits.tries_max => {
                    self.set_aside(record, &error);
                    self.shared.remove(part);
                }
                [_] => {
                    tokio::time::sleep(self.shared.limits.retry_pause).await;
                    work.push((part, tries.saturating_add(1)));
                }
                [_, _, ..] => {
                    let (left, right) = part.split_at(part.len() / 2);
                    work.extend([(right, 1), (left, 1)]);
                }
            }
        }
    }

    fn set_aside(&self, record: &Record, error: &StoreError) {
        self.shared.set_aside.fetch_add(1, Ordering::Relaxed);
        let charge = record.usage.as_ref().map(|usage| usage.charge.0);
        tracing::error!(
            org.id = %record.scope.org_id(), request.id = %record.request_id, record.bytes = bytes_of(record),
            charge.nano_usd = charge, %error, "a usage record cannot be written and is set aside"
        );
    }

    async fn try_write(&mut self, part: &[Record]) -> Result<(), StoreError> {
        let write = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                // Kept from batch to batch, and not used for others after a batch was interrupted. The server ends a
                // statement that takes too long: a batch that continued would make the next try of its records wait.
                None => self.db.keep().await?.with_limit(self.shared.limits.write_timeout / 5 * 4),
            };
            let inserting = async {
                connection.start(Some(usage::UNSYNCED)).await?;
                usage::write(&mut connection, part, self.ambient.now()).await?;
                connection.finish().await
            };
            let result = inserting.await;
            if !matches!(result, Err(StoreError::Unavailable(_))) {
                self.connection = Some(connection);
            }
            result
        };
        let written = tokio::time::timeout(self.shared.limits.write_timeout, write)
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("no answer in time".to_owned())));
        self.db.state().note_write(&written);
        written
    }
}

/// How many of these go into one statement: at least one.
fn fitting(records: &[Record], bytes_max: usize) -> usize {
    let mut bytes = 0_usize;
    let fit = records.iter().take_while(|record| {
        bytes = bytes.saturating_add(bytes_of(record));
        bytes <= bytes_max
    });
    fit.count().max(1)
}

/// The same record would be refused again.
fn is_final(error: &StoreError) -> bool {
    matches!(error, StoreError::Constraint(_) | StoreError::Refused(_))
}
