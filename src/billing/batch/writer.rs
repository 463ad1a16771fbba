//! The only task that writes the ledger for this process. It owns a connection, takes the operations that queued up
//! during the last flush, and retries with the same ids when the database fails: every statement recognizes what an
//! earlier try has written.

mod answer;
mod locked;

use super::{Counted, HoldReply, Op, SettleReply, mailbox::Outbox};
use crate::{
    billing::ledger::{Checkpoint, HoldRequest, LedgerError, LedgerLimits, Settle},
    domain::{
        ambient::Ambient,
        ids::{HoldId, InstanceId},
    },
    store::{
        Db, KeptConnection, OrgScope, StoreError,
        ledger::{self, Flush, FlushRead},
    },
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::Instant,
};

/// Tries after which a hold or settle is given up that the database neither accepts nor explains.
const UNCLEAR_MAX: u8 = 8;
/// Operations taken from the queue at once.
const INTAKE_MAX: usize = 1_024;
/// Checkpoints in one statement.
const CHECKPOINT_BATCH_MAX: usize = 512;

struct PendingHold {
    request: HoldRequest,
    reply: HoldReply,
    deadline: Instant,
    /// An earlier try may have written it without a reply to us.
    ambiguous: bool,
    /// It was refused together with others of its account, and is tried once more alone, for the remaining credit.
    alone: bool,
    unclear: u8,
    _permit: OwnedSemaphorePermit,
}

struct PendingSettle {
    settle: Settle,
    reply: Option<SettleReply>,
    unclear: u8,
    _counted: Counted,
}

/// From this number of operations in a flush on, the next flush waits briefly for the callers that were answered.
const LINGER_FROM: usize = 4;

pub(super) struct Writer {
    /// Settles that are not durable yet.
    unwritten: Arc<AtomicUsize>,
    db: Db,
    ambient: Ambient,
    instance: InstanceId,
    limits: LedgerLimits,
    inbox: mpsc::UnboundedReceiver<Op>,
    connection: Option<KeptConnection>,
    settles: VecDeque<PendingSettle>,
    holds: VecDeque<PendingHold>,
    abandoned: VecDeque<HoldRequest>,
    checkpoints: HashMap<HoldId, Checkpoint>,
    /// Holds that were admitted and have not ended: their requests are running.
    known: HashSet<HoldId>,
    /// Accounts that other transactions have locked: only operations on them wait.
    locked: HashSet<OrgScope>,
    next_probe: Instant,
    barriers: Vec<oneshot::Sender<()>>,
    outbox: Outbox,
    columns: Flush,
    /// Operations that are written one by one, to find the one that the database refuses.
    singly: usize,
    next_flush: Instant,
    next_checkpoint: Instant,
}

impl Writer {
    pub(super) fn new(
        db: Db,
        ambient: Ambient,
        (instance, limits): (InstanceId, LedgerLimits),
        inbox: mpsc::UnboundedReceiver<Op>,
        unwritten: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            unwritten,
            db,
            ambient,
            instance,
            limits,
            inbox,
            connection: None,
            settles: VecDeque::new(),
            holds: VecDeque::new(),
            abandoned: VecDeque::new(),
            checkpoints: HashMap::new(),
            known: HashSet::new(),
            locked: HashSet::new(),
            next_probe: Instant::now(),
            barriers: Vec::new(),
            outbox: Outbox::default(),
            columns: Flush::default(),
            singly: 0,
            next_flush: Instant::now(),
            next_checkpoint: Instant::now(),
        }
    }

    /// Runs until every handle is dropped and everything is written.
    pub(super) async fn run(mut self) {
        let mut ops = Vec::with_capacity(INTAKE_MAX);
        let mut failures = 0_u32;
        while self.intake(&mut ops, failures).await {
            ops.drain(..).for_each(|op| self.accept(op));
            self.drop_overdue_holds();
            let written = self.write().await;
            self.send_answers();
            match written {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(%error, tries = failures, "the ledger could not be written; trying again");
                }
            }
        }
    }

    /// Waits until there is something to write and a flush is due, and takes the queued operations. `false`: everything
    /// is written and no handle is left.
    async fn intake(&mut self, ops: &mut Vec<Op>, failures: u32) -> bool {
        if failures > 0 {
            let pause = Duration::from_millis(5).saturating_mul(1 << failures.min(10));
            tokio::time::sleep(pause.min(self.limits.retry_pause_max)).await;
        } else if self.is_idle() {
            if !self.barriers.is_empty() {
                // The caller that waits for this may be about to close the pool, which waits for this connection.
                self.connection = None;
            }
            for barrier in self.barriers.drain(..) {
                // The caller may no longer wait.
                let _ = barrier.send(());
            }
            if self.inbox.recv_many(ops, INTAKE_MAX).await == 0 {
                return false;
            }
        } else if self.only_locked() {
            let arrived = self.inbox.recv_many(ops, INTAKE_MAX);
            let _ = tokio::time::timeout_at(self.next_probe, arrived).await;
        } else if self.only_checkpoints() {
            let arrived = self.inbox.recv_many(ops, INTAKE_MAX);
            // Zero or too late: the checkpoints are written now.
            let _ = tokio::time::timeout_at(self.next_checkpoint, arrived).await;
        }
        // Callers that were answered together send their next operations together: a short wait after a busy flush puts
        // all of them into the next flush, instead of half of them into each.
        let wait = self.next_flush.saturating_duration_since(Instant::now());
        if !wait.is_zero() && self.inbox.len() < self.limits.batch_max {
            // The runtime's timer ticks in milliseconds; this is a fraction of one.
            let _ = tokio::task::spawn_blocking(move || std::thread::sleep(wait)).await;
        }
        while ops.len() < INTAKE_MAX
            && let Ok(op) = self.inbox.try_recv()
        {
            ops.push(op);
        }
        true
    }

    fn only_checkpoints(&self) -> bool {
        self.settles.is_empty() && self.holds.is_empty() && self.abandoned.is_empty()
    }

    fn is_idle(&self) -> bool {
        self.only_checkpoints() && self.checkpoints.is_empty()
    }

    fn accept(&mut self, op: Op) {
        match op {
            Op::Hold { request, reply, _permit } => self.holds.push_back(PendingHold {
                request,
                reply,
                deadline: Instant::now() + self.limits.hold_wait,
                ambiguous: false,
                alone: false,
                unclear: 0,
                _permit,
            }),
            Op::Settle { settle, reply, counted } => {
                self.checkpoints.remove(&settle.hold);
                if settle.revises {
                    self.settles.retain(|earlier| earlier.settle.hold != settle.hold);
                }
                self.settles.push_back(PendingSettle { settle, reply, unclear: 0, _counted: counted });
            }
            Op::Checkpoint(checkpoint) => {
                if self.checkpoints.len() < self.limits.checkpoints_max
                    || self.checkpoints.contains_key(&checkpoint.hold)
                {
                    self.checkpoints.insert(checkpoint.hold, checkpoint);
                }
            }
            Op::Unknown { holds, reply } => {
                let unknown = self.unknown_of(holds);
                // The caller may no longer wait.
                let _ = reply.send(unknown);
            }
            Op::Barrier(reply) => self.barriers.push(reply),
        }
    }

    /// Fails the holds whose callers have waited long enough or have stopped waiting, and all holds while the database
    /// is known to be unreachable.
    fn drop_overdue_holds(&mut self) {
        let now = Instant::now();
        let is_away = self.db.state().is_known_away();
        for hold in std::mem::take(&mut self.holds) {
            if !is_away && hold.deadline > now && !hold.reply.is_closed() {
                self.holds.push_back(hold);
            } else {
                self.fail_hold(hold, LedgerError::Unavailable("the database did not answer in time"));
            }
        }
    }

    /// One round: a flush of settles and holds, then the rarer operations.
    async fn write(&mut self) -> Result<(), StoreError> {
        self.probe_locked().await?;
        if !self.settles.is_empty() || !self.holds.is_empty() {
            let flushed = self.write_flush().await;
            self.send_answers();
            let busy = flushed? >= LINGER_FROM;
            self.next_flush = Instant::now() + if busy { self.limits.linger } else { Duration::ZERO };
        }
        if let Some(at) = self.abandoned.iter().position(|hold| !self.locked.contains(&hold.scope))
            && let Some(hold) = self.abandoned.remove(at)
            && let Err(error) = self.write_abandoned(&hold).await
        {
            let scope = hold.scope;
            self.abandoned.push_front(hold);
            return self.after_contention(error, vec![scope]).await;
        }
        if !self.checkpoints.is_empty() && Instant::now() >= self.next_checkpoint {
            self.next_checkpoint = Instant::now() + self.limits.checkpoint_interval;
            self.write_checkpoints().await?;
        }
        Ok(())
    }

    /// Returns how many operations it wrote.
    async fn write_flush(&mut self) -> Result<usize, StoreError> {
        let (settles, holds) = self.take_batch();
        let count = settles.len() + holds.len();
        if count == 0 {
            return Ok(0);
        }
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => {
                self.put_back(settles, holds);
                return Err(error);
            }
        };
        let now = self.ambient.now();
        let flushing = async {
            connection.start(Some(ledger::PLANS)).await?;
            let read = ledger::flush(&mut connection, &self.columns, self.instance, now).await?;
            connection.finish().await?;
            Ok(read)
        };
        let written = self.within_time(flushing).await;
        self.db.state().note_write(&written);
        match written {
            Ok(FlushRead { settled, holds: read }) => {
                self.connection = Some(connection);
                self.answer_holds(holds, read);
                self.answer_settles(settles, settled).await.map(|()| count)
            }
            Err(error @ (StoreError::Unavailable(_) | StoreError::Contention)) => {
                if matches!(error, StoreError::Contention) {
                    self.connection = Some(connection);
                }
                let of_settles = settles.iter().map(|pending| pending.settle.scope);
                let scopes = of_settles.chain(holds.iter().map(|pending| pending.request.scope)).collect();
                self.put_back(settles, holds.into_iter().map(PendingHold::into_ambiguous).collect());
                self.after_contention(error, scopes).await.map(|()| 0)
            }
            // The connection is closed: a server that has become a read-only standby refuses everything.
            Err(error) => self.refused(settles, holds, error).map(|()| count),
        }
    }

    /// The database refuses a flush because of its content: each operation is tried alone, so that one cannot block the
    /// others. A refused operation is given up unless it is money that may still be accepted.
    fn refused(
        &mut self,
        mut settles: Vec<PendingSettle>,
        mut holds: Vec<PendingHold>,
        error: StoreError,
    ) -> Result<(), StoreError> {
        let count = settles.len() + holds.len();
        if count > 1 {
            self.put_back(settles, holds);
            self.singly = count;
            return Ok(());
        }
        if let Some(hold) = holds.pop() {
            self.fail_hold(hold, LedgerError::Refused(error));
            return Ok(());
        }
        let Some(pending) = settles.pop() else { return Ok(()) };
        if let StoreError::Refused(_) = error {
            // Includes the error of a server that cannot write at the moment; a settle is never lost because of it.
            self.settles.push_back(pending);
            return Err(error);
        }
        tracing::error!(
            org.id = %pending.settle.scope.org_id(), hold.id = %pending.settle.hold, %error,
            "the database refuses to record a settle"
        );
        self.known.remove(&pending.settle.hold);
        self.answer_settle(pending.reply, Err(LedgerError::Refused(error)));
        Ok(())
    }

    /// Moves up to one flush of operations from the queues into the columns, each hold once.
    fn take_batch(&mut self) -> (Vec<PendingSettle>, Vec<PendingHold>) {
        self.columns.clear();
        let single = self.singly > 0;
        self.singly = self.singly.saturating_sub(1);
        let settles_max = if single { 1 } else { self.limits.batch_max };
        let (mut settles, mut settles_later) = (Vec::new(), Vec::new());
        while settles.len() < settles_max
            && let Some(pending) = self.settles.pop_front()
        {
            let free = !self.locked.contains(&pending.settle.scope);
            let taken = free && self.columns.push_settle(&pending.settle);
            if taken { settles.push(pending) } else { settles_later.push(pending) }
        }
        let holds_max = if single { 1_usize.saturating_sub(settles.len()) } else { self.limits.batch_max };
        let (mut holds, mut holds_later) = (Vec::<PendingHold>::new(), Vec::new());
        while holds.len() < holds_max
            && let Some(pending) = self.holds.pop_front()
        {
            let mut beside = holds.iter().filter(|other| other.request.scope == pending.request.scope);
            let fits = if pending.alone { beside.next().is_none() } else { !beside.any(|other| other.alone) };
            let free = !self.locked.contains(&pending.request.scope);
            let taken = free && fits && self.columns.push_hold(&pending.request);
            if taken { holds.push(pending) } else { holds_later.push(pending) }
        }
        settles_later.into_iter().rev().for_each(|pending| self.settles.push_front(pending));
        holds_later.into_iter().rev().for_each(|pending| self.holds.push_front(pending));
        (settles, holds)
    }

    fn put_back(&mut self, settles: Vec<PendingSettle>, holds: Vec<PendingHold>) {
        settles.into_iter().rev().for_each(|pending| self.settles.push_front(pending));
        holds.into_iter().rev().for_each(|pending| self.holds.push_front(pending));
    }

    async fn write_abandoned(&mut self, hold: &HoldRequest) -> Result<(), StoreError> {
        let mut connection = self.connect().await?;
        let abandoning = async {
            connection.start(Some(ledger::PLANS)).await?;
            ledger::abandon(&mut connection, hold, self.instance, self.ambient.now()).await?;
            connection.finish().await
        };
        let abandoned = self.within_time(abandoning).await;
        if !matches!(abandoned, Err(StoreError::Unavailable(_))) {
            self.connection = Some(connection);
        }
        abandoned
    }

    async fn write_checkpoints(&mut self) -> Result<(), StoreError> {
        let holds: Vec<HoldId> = self.checkpoints.keys().copied().take(CHECKPOINT_BATCH_MAX).collect();
        let checkpoints: Vec<Checkpoint> =
            holds.into_iter().filter_map(|hold| self.checkpoints.remove(&hold)).collect();
        let mut connection = self.connect().await?;
        // Best effort: a failed checkpoint is not retried, because the hold's next checkpoint replaces it.
        let writing = async {
            connection.start(Some(ledger::PLANS)).await?;
            ledger::checkpoint(&mut connection, &checkpoints).await?;
            connection.finish().await
        };
        self.within_time(writing).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// The writer's own connection. It is not returned between flushes (the pool would test it with a round trip each
    /// time), and it closes when dropped, because an interrupted statement may still be running on it.
    async fn connect(&mut self) -> Result<KeptConnection, StoreError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        // An error on a new connection does not concern the waiting operations.
        self.within_time(self.db.keep()).await.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    async fn within_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.limits.flush_timeout, work).await {
            Ok(Err(error @ StoreError::TimeLimit)) => Err(StoreError::Unavailable(error.to_string())),
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Unavailable("no answer in time".to_owned())),
        }
    }
}
