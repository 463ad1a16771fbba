//! Writes usage rows and receipts, in batches and apart from the request. A record that was accepted is written,
//! however long the database is away; only the end of the process loses it. The queue is bounded in bytes, and each
//! organization has a share of it: where that is full, the organization's new requests are refused before they begin.

mod free_receipts;
mod writer;

use crate::{
    domain::ambient::Ambient,
    store::{Db, OrgScope},
};
use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, mpsc, oneshot};

pub use crate::store::usage::{Record, RecordedReceipt, UsageRow, UsageStatus};

/// How the record queue is bounded.
#[derive(Clone, Copy, Debug)]
pub struct RecordLimits {
    /// Records in one statement.
    pub batch_max: usize,
    /// Bytes in one statement; a record that is larger goes alone.
    pub batch_bytes_max: usize,
    /// How long the first record of a batch waits for others.
    pub linger: Duration,
    /// Unwritten bytes of all organizations from which on new requests are refused.
    pub queue_bytes_max: usize,
    /// Unwritten bytes of one organization from which on its new requests are refused.
    pub organization_bytes_max: usize,
    /// Longest time one batch may take before its connection is given up.
    pub write_timeout: Duration,
    /// Pause between two tries.
    pub retry_pause: Duration,
    /// Tries of one record, while the database writes others, after which it is set aside.
    pub tries_max: u32,
    /// Receipts of uncharged requests of one organization that are kept for one day (UTC).
    pub free_receipts_per_day_max: u64,
    /// The writer counts as stalled when nothing was written for this long although something is queued.
    pub stalled_after: Duration,
}

impl Default for RecordLimits {
    fn default() -> Self {
        Self {
            batch_max: 128,
            batch_bytes_max: 8 << 20,
            linger: Duration::from_millis(50),
            queue_bytes_max: 64 << 20,
            organization_bytes_max: 8 << 20,
            write_timeout: Duration::from_secs(5),
            retry_pause: Duration::from_millis(250),
            tries_max: 5,
            free_receipts_per_day_max: u64::MAX,
            stalled_after: Duration::from_secs(10),
        }
    }
}

/// The process's handle on the record writer.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::UnboundedSender<Item>,
    shared: Arc<Shared>,
}

/// Unbounded in itself so that a record of an answered request can always be queued, from `Drop` too. What bounds it
/// is that requests are refused while [`Recorder::has_room`] says no.
enum Item {
    Record(Box<Record>),
    Barrier(oneshot::Sender<()>),
}

/// Shares are kept by the hash of the organization, so that they need neither a lock nor an entry for each.
const SHARES: usize = 1_024;

struct Shared {
    limits: RecordLimits,
    started: Instant,
    records: AtomicUsize,
    bytes: AtomicUsize,
    shares: Box<[AtomicUsize]>,
    hasher: RandomState,
    /// Milliseconds since `started` at which the writer last made progress, or had nothing to do.
    progressed_ms: AtomicU64,
    set_aside: AtomicU64,
    shed: AtomicU64,
    /// Cuts the linger short.
    hurry: Notify,
}

/// How the writer is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordState {
    /// Unwritten records, and their bytes.
    pub records: usize,
    pub bytes: usize,
    /// Records that the database refuses by themselves; given up.
    pub set_aside: u64,
    /// Receipts that were not kept: of refused requests, because their organization's share of the queue was full, and of
    /// uncharged requests, because it has as many as are kept for a day.
    pub shed: u64,
    pub stalled: bool,
}

impl Recorder {
    /// Starts the writer on the database's runtime.
    pub fn start(db: &Db, ambient: Ambient, limits: RecordLimits) -> Recorder {
        let (queue, inbox) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            limits,
            started: Instant::now(),
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            shares: (0..SHARES).map(|_| AtomicUsize::new(0)).collect(),
            hasher: RandomState::new(),
            progressed_ms: AtomicU64::new(0),
            set_aside: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            hurry: Notify::new(),
        });
        db.runtime().spawn(writer::Writer::new(db.clone(), ambient, inbox, Arc::clone(&shared)).run());
        Recorder { queue, shared }
    }

    /// Whether one more request of this organization may begin: its records, and all others, are being written.
    pub fn has_room(&self, scope: OrgScope) -> bool {
        let Shared { limits, bytes, .. } = &*self.shared;
        let share = self.shared.share(scope).map_or(0, |share| share.load(Ordering::Relaxed));
        share < limits.organization_bytes_max && bytes.load(Ordering::Relaxed) < limits.queue_bytes_max
    }

    /// Accepts a record. Never waits: for `Drop` too.
    pub fn record(&self, record: Record) {
        let request_id = record.request_id;
        self.shared.add(&record);
        if let Err(mpsc::error::SendError(Item::Record(record))) =
            self.queue.send(Item::Record(Box::new(record)))
        {
            // It stays counted as unwritten: the process ends with an error that says so.
            tracing::error!(org.id = %record.scope.org_id(), request.id = %request_id, "a record came after the writer had stopped");
        }
    }

    /// Accepts the record of a refused request, unless its organization's share of the queue is full.
    pub fn record_refusal(&self, record: Record) {
        if self.has_room(record.scope) {
            self.record(record);
        } else {
            self.shared.shed.fetch_add(1, Ordering::Relaxed);
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

    pub fn state(&self) -> RecordState {
        let shared = &self.shared;
        let records = shared.records.load(Ordering::Relaxed);
        let still_ms = shared.now_ms().saturating_sub(shared.progressed_ms.load(Ordering::Relaxed));
        RecordState {
            records,
            bytes: shared.bytes.load(Ordering::Relaxed),
            set_aside: shared.set_aside.load(Ordering::Relaxed),
            shed: shared.shed.load(Ordering::Relaxed),
            stalled: records > 0 && Duration::from_millis(still_ms) >= shared.limits.stalled_after,
        }
    }
}

impl Shared {
    fn share(&self, scope: OrgScope) -> Option<&AtomicUsize> {
        let hash = usize::try_from(self.hasher.hash_one(scope) % 1_024).unwrap_or(0);
        self.shares.get(hash)
    }

    fn add(&self, record: &Record) {
        let bytes = bytes_of(record);
        if self.records.fetch_add(1, Ordering::Relaxed) == 0 {
            self.progressed();
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(share) = self.share(record.scope) {
            share.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// The receipt of a queued record is not kept.
    fn drop_receipt(&self, record: &mut Record) {
        let bytes = record.receipt.take().map_or(0, |receipt| receipt.text.len());
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(share) = self.share(record.scope) {
            share.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.shed.fetch_add(1, Ordering::Relaxed);
    }

    /// These records are written, or set aside.
    fn remove(&self, records: &[Record]) {
        for record in records {
            let bytes = bytes_of(record);
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            if let Some(share) = self.share(record.scope) {
                share.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
        self.records.fetch_sub(records.len(), Ordering::Relaxed);
        self.progressed();
    }

    fn progressed(&self) {
        self.progressed_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What a record takes beside its texts, in memory and on its way to the database.
const RECORD_BYTES: usize = 512;

fn bytes_of(record: &Record) -> usize {
    let receipt = record.receipt.as_ref().map_or(0, |receipt| receipt.text.len());
    let model = record.usage.as_ref().map_or(0, |usage| usage.model.len());
    RECORD_BYTES.saturating_add(receipt).saturating_add(model)
}
