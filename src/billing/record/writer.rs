//! The one task that writes records. A batch that fails while the database writes others is halved until the record at
//! fault is alone; that one is tried a few times and then set aside, so that it never holds up the others.

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
                // While this sleeps, a record that comes in wakes nobody.
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
            // Who asks whether all is written may be about to close the pool, which waits for this one.
            self.connection = None;
        }
        for barrier in barriers {
            // Whoever asked may have stopped waiting.
            let _ = barrier.send(());
        }
    }

    /// Writes a batch, for as long as the database is away.
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
            // Nothing to write is written only by a database that takes records: what failed is then at fault.
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
                // Kept from batch to batch, and not fit for others after a batch was cut short. The server ends what
                // takes too long on it: a batch that ran on would keep the next try of its records waiting.
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
