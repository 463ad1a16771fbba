//! Group commit: holds and settles of all requests queue here and reach the database in shared flushes, one statement
//! each. A caller waits for its flush, so only durable results are acknowledged. A settle is never lost while the
//! process runs: it stays queued and is retried until the database has it. An abandoned hold never leaves credit set
//! aside.

mod mailbox;
mod writer;

use super::ledger::{Checkpoint, HoldOutcome, HoldRequest, LedgerError, LedgerLimits, Settle};
use crate::{
    domain::{
        ambient::Ambient,
        ids::{HoldId, InstanceId},
        money::NanoUsd,
    },
    store::{DatabaseState, Db},
};
use mailbox::{HoldAnswer, ReplyTo, SettleAnswer, reply_here};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

type HoldReply = ReplyTo<HoldAnswer>;
type SettleReply = ReplyTo<SettleAnswer>;

/// The operations for the writer. The queue itself is unbounded, because a settle must be accepted at once, also from
/// `Drop`. It is bounded indirectly: holds are bounded, and each open hold is settled once.
enum Op {
    Hold {
        request: HoldRequest,
        reply: HoldReply,
        _permit: OwnedSemaphorePermit,
    },
    Settle {
        settle: Settle,
        reply: Option<SettleReply>,
        counted: Counted,
    },
    Checkpoint(Checkpoint),
    /// Which of these holds are unknown to the process.
    Unknown {
        holds: Vec<HoldId>,
        reply: oneshot::Sender<Vec<HoldId>>,
    },
    Barrier(oneshot::Sender<()>),
}

/// Counts one settle as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one_of(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The process's handle on the ledger.
#[derive(Clone)]
pub struct Ledger {
    instance: InstanceId,
    unwritten: Arc<AtomicUsize>,
    ops: mpsc::UnboundedSender<Op>,
    waiting: Arc<Semaphore>,
    database: Arc<DatabaseState>,
    limits: LedgerLimits,
}

impl Ledger {
    /// Starts the writer on the database's runtime. `instance` must be registered: holds are refused as unavailable
    /// while its lease is not live.
    pub fn start(db: &Db, ambient: Ambient, instance: InstanceId, limits: LedgerLimits) -> Ledger {
        let (ops, inbox) = mpsc::unbounded_channel();
        let unwritten = Arc::new(AtomicUsize::new(0));
        let writer = writer::Writer::new(db.clone(), ambient, (instance, limits), inbox, unwritten.clone());
        db.runtime().spawn(writer.run());
        let waiting = Arc::new(Semaphore::new(limits.holds_waiting_max));
        Ledger { instance, unwritten, ops, waiting, database: db.state().clone(), limits }
    }

    /// Places a hold. If the future is dropped or times out, an admitted hold is released.
    pub async fn hold(&self, request: HoldRequest) -> Result<HoldOutcome, LedgerError> {
        let sound = request.floor >= NanoUsd::ZERO && request.floor <= request.want;
        if !sound || i32::try_from(request.margin.0).is_err() {
            return Err(LedgerError::Unavailable("a hold without a sound amount or margin"));
        }
        if self.database.is_known_away() {
            return Err(LedgerError::Unavailable("the database cannot be reached"));
        }
        let Ok(permit) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return Err(LedgerError::Unavailable("too many requests are waiting for it"));
        };
        let (reply, answer) = reply_here();
        let void = Settle::void(request.scope, request.id);
        if self.ops.send(Op::Hold { request, reply, _permit: permit }).is_err() {
            return Err(LedgerError::Unavailable("it has stopped"));
        }
        let mut waiting = Waiting { answer, ledger: self, void };
        match tokio::time::timeout(self.limits.hold_wait, &mut waiting.answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(LedgerError::Unavailable("it has stopped")),
            Err(_) => Err(LedgerError::Unavailable("the database did not answer in time")),
        }
    }

    /// Ends a hold and waits until that is durable, for any length of a database outage. After the call it happens,
    /// even if the future is dropped.
    pub fn settle(&self, settle: Settle) -> Settling {
        let (reply, answer) = reply_here();
        self.send_settle(settle, Some(reply));
        Settling(answer)
    }

    /// Those of these holds of this process that neither belong to a request nor are queued for the database: nothing
    /// else would ever end them.
    pub async fn unknown_of(&self, holds: Vec<HoldId>) -> Vec<HoldId> {
        let (reply, answer) = oneshot::channel();
        match self.ops.send(Op::Unknown { holds, reply }) {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// The process that owns the holds.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Ends a hold without waiting: for `Drop`. Never blocks.
    pub fn settle_later(&self, settle: Settle) {
        self.send_settle(settle, None);
    }

    /// Records the amount that would be charged if the process died now. Best effort; only the newest checkpoint of a
    /// hold counts.
    pub fn checkpoint(&self, checkpoint: Checkpoint) {
        // A stopped writer means that the process is ending; then a checkpoint is not needed.
        let _ = self.ops.send(Op::Checkpoint(checkpoint));
    }

    /// Waits until everything queued before is durable.
    pub async fn flush(&self) {
        let (reply, answer) = oneshot::channel();
        if self.ops.send(Op::Barrier(reply)).is_ok() {
            let _ = answer.await;
        }
    }

    /// Settles and voids that are not durable yet.
    pub fn unwritten(&self) -> usize {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Holds in the queue, and those being written.
    pub fn holds_waiting(&self) -> usize {
        self.limits.holds_waiting_max.saturating_sub(self.waiting.available_permits())
    }

    fn send_settle(&self, settle: Settle, reply: Option<SettleReply>) {
        let counted = Counted::one_of(&self.unwritten);
        if self.ops.send(Op::Settle { settle, reply, counted }).is_err() {
            tracing::error!(
                org.id = %settle.scope.org_id(), hold.id = %settle.hold,
                "a settle came after the ledger had stopped; the hold will expire at its checkpoint"
            );
        }
    }
}

/// A settle in progress: resolves when its end is durable.
pub struct Settling(oneshot::Receiver<SettleAnswer>);

impl Future for Settling {
    type Output = SettleAnswer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<SettleAnswer> {
        let answer = Pin::new(&mut self.0).poll(context);
        answer.map(|answer| answer.unwrap_or(Err(LedgerError::Unavailable("it has stopped"))))
    }
}

/// A caller of `hold`. If it is dropped after the reply was sent and before it was read, the hold is released here;
/// before the reply, the writer sees that the receiver is gone and releases it.
struct Waiting<'a> {
    answer: oneshot::Receiver<Result<HoldOutcome, LedgerError>>,
    ledger: &'a Ledger,
    void: Settle,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.answer.close();
        // Empty if the reply has been read: then the caller owns the hold.
        if let Ok(Ok(HoldOutcome::Admitted { .. })) = self.answer.try_recv() {
            self.ledger.settle_later(self.void);
        }
    }
}
