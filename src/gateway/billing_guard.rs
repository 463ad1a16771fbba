//! Owns the money and the history of one request from authentication to its end. In every case (an answer, a refusal, a
//! client that disconnects, a panic) the request ends in exactly one settle or void of its hold and one receipt. If the
//! handler cannot wait for the end, dropping the guard starts a separate task for it.

use super::{
    attempt::Answer,
    open_request::{Credit, OpenRequest},
    receipt::{Bill, RequestOutcome, ServedBy},
    relay::Relay,
    respond::ResponseMeta,
};
use crate::{
    domain::ids::RequestId,
    providers::{error::UpstreamError, transport::Response},
};
use scopeguard::ScopeGuard;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};
use tokio_util::task::AbortOnDropHandle;

/// After this time an undurable settle stays queued, and the client gets an error.
const SETTLE_WAIT: Duration = Duration::from_secs(10);
/// How long a refused request waits until its hold is released.
const VOID_WAIT: Duration = Duration::from_secs(1);

/// The guard of one open request. The end of the request consumes it; if it is dropped before, a task ends the request.
pub struct BillingGuard(ScopeGuard<Box<OpenRequest>, fn(Box<OpenRequest>)>);

/// Why an answer could not be billed in time.
#[derive(Debug)]
pub struct NotDurable;

/// The work that remains for a request whose client does not wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unattended {
    /// The provider bills the running answer: it is read to its end and charged.
    ReadOn,
    /// The charge is computed from what is known.
    End,
}

impl BillingGuard {
    pub fn open(open: OpenRequest) -> Self {
        Self(scopeguard::guard(Box::new(open), end_unattended))
    }

    /// The open request.
    pub fn get(&mut self) -> &mut OpenRequest {
        &mut self.0
    }

    /// The response metadata that is known so far.
    pub fn meta(&self) -> ResponseMeta {
        ResponseMeta::of(&self.0)
    }

    /// The number of the current turn.
    pub fn turn(&self) -> u32 {
        u32::try_from(self.0.turns.number()).unwrap_or(0)
    }

    pub fn request_id(&self) -> RequestId {
        self.0.request_id
    }

    fn into_open(self) -> Box<OpenRequest> {
        ScopeGuard::into_inner(self.0)
    }

    /// Ends an answered request: charges it, waits until the charge is durable, and records it.
    pub async fn settle(self, ending: RequestOutcome) -> Result<(ServedBy, Bill), NotDurable> {
        let open = self.into_open();
        if !open.needs_counting() {
            return open.end(ending, None, SETTLE_WAIT).await;
        }
        // Counting can take long and the client may disconnect meanwhile, so the end is a separate task.
        let gateway = open.gateway.clone();
        let ended = async move { counted(open).await?.end(ending, None, SETTLE_WAIT).await };
        gateway.tasks.spawn_on(ended, gateway.db.runtime()).await.unwrap_or(Err(NotDurable))
    }

    /// Ends a turn that another turn follows: charges it, waits until the charge is durable, and opens the next guard.
    /// This always runs to its end, so a request whose client disconnects still has its receipt.
    pub async fn finish_turn(self) -> Result<BillingGuard, NotDurable> {
        let open = self.into_open();
        let (gateway, flows) = (open.gateway.clone(), open.flows);
        let over = async move {
            let mut open = if open.needs_counting() { counted(open).await? } else { open };
            let next = BillingGuard::open(open.next_turn());
            open.turns.has_next_turn = true;
            Ok((open.end(RequestOutcome::Completed, None, SETTLE_WAIT).await, next))
        };
        let (settled, mut next) =
            gateway.tasks.spawn_on(over, gateway.db.runtime()).await.unwrap_or(Err(NotDurable))?;
        match settled {
            Ok((_, bill)) => {
                // The charge as the ledger holds it.
                if let Some(last) = next.get().turns.done.last_mut() {
                    last.bill = bill;
                }
                Ok(next)
            }
            Err(NotDurable) => {
                // A whole turn that was lost is not charged, and does not count among the charged turns.
                if !flows {
                    next.get().turns.done.pop();
                }
                next.fail("the bill could not be made durable in time").await;
                Err(NotDurable)
            }
        }
    }

    /// Ends a request whose next turn was not begun: the turns so far are the answer.
    pub async fn close(self) {
        let _ = self.into_open().end(RequestOutcome::Completed, None, VOID_WAIT).await;
    }

    /// Ends a request that has no answer, or no further turn.
    pub async fn fail(self, message: &str) {
        let open = self.into_open();
        let ending =
            if open.turns.done.is_empty() { RequestOutcome::Failed } else { RequestOutcome::Aborted };
        // The void is already queued; waiting longer for it changes nothing for the client.
        let _ = open.end(ending, Some(message), VOID_WAIT).await;
    }
}

/// Ends a request whose client has disconnected or whose handler panicked.
fn end_unattended(mut open: Box<OpenRequest>) {
    let tasks = open.gateway.tasks.clone();
    let call = open.detached.take();
    let is_stopping = open.gateway.stopping.is_cancelled();
    match (unattended(open.credit, call.is_some(), is_stopping), call) {
        (Unattended::ReadOn, Some(call)) => {
            let guard = BillingGuard(scopeguard::guard(open, end_unattended));
            tasks.spawn_local(read_to_the_end(guard, call));
        }
        (Unattended::ReadOn | Unattended::End, _) => {
            let runtime = open.gateway.db.runtime().clone();
            tasks.spawn_on(abandon(open), &runtime);
        }
    }
}

/// An answer is read on only if the operator pays for it, and only while the process has time.
fn unattended(credit: Credit, is_called: bool, is_stopping: bool) -> Unattended {
    match credit {
        Credit::Held { .. } if is_called && !is_stopping => Unattended::ReadOn,
        Credit::Held { .. } | Credit::Unheld => Unattended::End,
    }
}

/// Waits for an answer that its client no longer waits for, and charges it. If this task is interrupted, the guard is
/// dropped and ends the request.
async fn read_to_the_end(mut guard: BillingGuard, answer: AbortOnDropHandle<Result<Answer, UpstreamError>>) {
    let open = guard.get();
    let by = tokio::time::Instant::now() + open.gateway.settings.limits.drain;
    let stopping = open.gateway.stopping.clone();
    let answered = tokio::select! {
        answered = tokio::time::timeout_at(by, answer) => answered,
        () = stopping.cancelled() => return,
    };
    let Ok(Ok(answered)) = answered else { return };
    if answered.as_ref().is_err_and(|rejection| rejection.billed.is_none()) {
        return;
    }
    open.commit();
    match answered {
        Ok(Answer::Whole { usage, service_tier, text, .. }) => {
            open.consumed(usage, service_tier.as_deref(), &text);
        }
        Ok(Answer::Stream { mut response, mut relay, .. }) => {
            drain(open, &mut response, &mut relay, by).await;
        }
        Err(rejection) => open.consumed(rejection.billed.as_deref().copied(), None, &[]),
    }
}

/// Reads an abandoned stream to its usage, until `by` or the end of the process.
pub(super) async fn drain(
    open: &mut OpenRequest,
    response: &mut Response,
    relay: &mut Relay,
    by: tokio::time::Instant,
) {
    let stopping = open.gateway.stopping.clone();
    while relay.usage().is_none() && !relay.has_ended() && relay.failure().is_none() {
        let read = tokio::select! {
            read = tokio::time::timeout_at(by, response.chunk()) => read,
            () = stopping.cancelled() => {
                open.cut("the gateway shut down: counted from what was read");
                break;
            }
        };
        match read {
            Ok(Ok(Some(bytes))) => relay.absorb(&bytes),
            Ok(Ok(None)) => relay.close(),
            Ok(Err(_)) | Err(_) => break,
        }
        // The client no longer waits for it.
        relay.take_out();
        relay.take_events();
        open.relayed(relay);
    }
}

/// Ends a request whose client has disconnected.
async fn abandon(mut open: Box<OpenRequest>) {
    if open.needs_counting() {
        match counted(open).await {
            Ok(counted) => open = counted,
            Err(NotDurable) => return,
        }
    }
    let begun = open.is_committed() || !open.turns.done.is_empty();
    let ending = if begun { RequestOutcome::Aborted } else { RequestOutcome::Failed };
    let _ = open.end(ending, Some("the client left"), SETTLE_WAIT).await;
}

/// Counts on separate threads, not on the async workers. Fails only when the process is ending.
async fn counted(mut open: Box<OpenRequest>) -> Result<Box<OpenRequest>, NotDurable> {
    let counting = tokio::task::spawn_blocking(move || {
        // If the counter panics on this text, the hold must still be ended.
        if catch_unwind(AssertUnwindSafe(|| open.count())).is_err() {
            open.estimate();
        }
        open
    });
    counting.await.map_err(|_| NotDurable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ids::HoldId, money::NanoUsd};

    #[test]
    fn a_guard_dropped_in_any_state_reads_on_only_what_the_operator_pays_for() {
        let held = Credit::Held { id: HoldId(uuid::Uuid::nil()), requested: NanoUsd(2), amount: NanoUsd(1) };
        for (credit, is_called, is_stopping, expected) in [
            (Credit::Unheld, false, false, Unattended::End),
            (Credit::Unheld, true, false, Unattended::End),
            (Credit::Unheld, false, true, Unattended::End),
            (Credit::Unheld, true, true, Unattended::End),
            (held, false, false, Unattended::End),
            (held, true, false, Unattended::ReadOn),
            (held, false, true, Unattended::End),
            (held, true, true, Unattended::End),
        ] {
            assert_eq!(unattended(credit, is_called, is_stopping), expected, "{is_called} {is_stopping}");
        }
    }
}
