//! The end of every request: its settle or void, and its record. The record of a charge is written after the ledger's
//! reply, so that client, receipt, usage and ledger state the same charge, also if the reply takes long.

use super::{OpenRequest, credit::Posting};
use crate::{
    billing::{
        batch::Settling,
        ledger::{LedgerError, Settle, SettleOutcome},
    },
    domain::{
        ids::{EntryId, HoldId},
        money::NanoUsd,
    },
    gateway::{
        billing_guard::NotDurable,
        receipt::{Bill, RequestOutcome, ServedBy},
    },
};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// The receipt's error for an answer whose charge was not durable in time.
const NOT_DURABLE: &str = "the bill could not be made durable in time";

type Answer = Result<SettleOutcome, LedgerError>;

/// A request whose charge is being written by the ledger.
struct Charging {
    open: Box<OpenRequest>,
    bill: Bill,
    ending: RequestOutcome,
    error: Option<String>,
    hold: HoldId,
    settling: Settling,
}

/// Ensures that a request is recorded although its caller stopped waiting.
struct Waiting(Option<Charging>);

impl OpenRequest {
    /// The only end of a request. This call queues its settle or void, whether or not the caller waits.
    pub(in crate::gateway) async fn end(
        mut self: Box<Self>,
        ending: RequestOutcome,
        error: Option<&str>,
        wait: Duration,
    ) -> Result<(ServedBy, Bill), NotDurable> {
        let bill = self.bill();
        self.record_latency_sample(ending, bill.as_ref());
        self.release_own(bill.as_ref());
        if let (Some(ticket), Some(bill)) = (self.ticket.take(), &bill) {
            ticket.spend(&bill.usage);
        }
        let error = error.or(self.cut_by);
        match self.credit.posting(bill) {
            Posting::Charge { hold, charged, bill } => {
                let entry_id = EntryId(self.gateway.ambient.uuid());
                let settle = Settle::charge(self.principal.scope, hold, charged, entry_id);
                let settling = self.gateway.ledger.settle(settle);
                // While it waits for the ledger, it keeps neither the body nor the permit of a running request.
                self.body = Bytes::new();
                self.permit = None;
                let error = error.map(str::to_owned);
                let charging = Charging { open: self, bill, ending, error, hold, settling };
                charging.wait(wait).await
            }
            Posting::Void { hold, bill } => {
                let voiding = self.gateway.ledger.settle(Settle::void(self.principal.scope, hold));
                self.put_on_record(bill.as_ref(), ending, error, false);
                // An answer on a customer's own key does not wait for the ledger.
                if bill.is_none() {
                    let _ = tokio::time::timeout(wait, voiding).await;
                }
                self.serving.map(|serving| serving.served).zip(bill).ok_or(NotDurable)
            }
            Posting::Nothing { bill } => {
                self.put_on_record(bill.as_ref(), ending, error, false);
                self.serving.map(|serving| serving.served).zip(bill).ok_or(NotDurable)
            }
        }
    }

    fn put_on_record(
        &self,
        bill: Option<&Bill>,
        ending: RequestOutcome,
        error: Option<&str>,
        replaces: bool,
    ) {
        self.count_end(ending, bill);
        let mut record = self.record(bill, ending, error);
        record.replaces = replaces;
        let is_refusal = bill.is_none() && self.turns.done.is_empty() && self.cache.served.is_none();
        match is_refusal {
            true => self.gateway.recorder.record_refusal(record),
            false => self.gateway.recorder.record(record),
        }
    }
}

impl Charging {
    async fn wait(self, wait: Duration) -> Result<(ServedBy, Bill), NotDurable> {
        let mut waiting = Waiting(Some(self));
        let Some(charging) = &mut waiting.0 else { return Err(NotDurable) };
        let began = Instant::now();
        let answer = tokio::time::timeout(wait, &mut charging.settling).await;
        let Some(charging) = waiting.0.take() else { return Err(NotDurable) };
        charging.open.gateway.metrics.settle_wait.observe(began.elapsed().as_secs_f64());
        match answer {
            Ok(answer) => charging.close(answer),
            Err(_) => {
                charging.undelivered();
                Err(NotDurable)
            }
        }
    }

    /// The client gets an error instead of its answer. A whole answer was not delivered, so it is not charged. Of a
    /// streamed answer everything except the last frame was relayed, so it stays charged.
    fn undelivered(mut self) {
        if self.ending == RequestOutcome::Completed {
            self.ending = RequestOutcome::Aborted;
            if !self.open.flows {
                self.ending = RequestOutcome::Failed;
                self.bill.charge = NanoUsd::ZERO;
                self.open.undelivered = true;
                let void = Settle::void(self.open.principal.scope, self.hold);
                self.settling = self.open.gateway.ledger.settle(void.revising());
            }
        }
        self.error = Some(NOT_DURABLE.to_owned());
        self.close_later();
    }

    /// Waits for the ledger in a separate task.
    fn close_later(mut self) {
        let gateway = self.open.gateway.clone();
        let closing = async move {
            let answer = (&mut self.settling).await;
            let _ = self.close(answer);
        };
        gateway.tasks.spawn_on(closing, gateway.db.runtime());
    }

    /// Records the amounts that the ledger holds.
    fn close(mut self, answer: Answer) -> Result<(ServedBy, Bill), NotDurable> {
        let mut replaces = false;
        match answer {
            Ok(SettleOutcome::Posted | SettleOutcome::Repeat | SettleOutcome::Revised) => {}
            Ok(SettleOutcome::Late) => replaces = true,
            Ok(SettleOutcome::Conflict { charge }) => self.bill.charge = charge,
            Ok(SettleOutcome::Unknown) => self.bill.charge = NanoUsd::ZERO,
            Err(LedgerError::Refused(_)) => {
                self.bill.charge = NanoUsd::ZERO;
                let void = Settle::void(self.open.principal.scope, self.hold);
                self.open.gateway.ledger.settle_later(void.revising());
            }
            // The process is ending: its hold expires, and another process writes its record.
            Err(LedgerError::Unavailable(_)) => return Err(NotDurable),
        }
        let Self { open, bill, ending, error, .. } = self;
        open.put_on_record(Some(&bill), ending, error.as_deref(), replaces);
        open.serving.map(|serving| (serving.served, bill)).ok_or(NotDurable)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(charging) = self.0.take() {
            charging.close_later();
        }
    }
}
