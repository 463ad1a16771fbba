//! Turns the result of a flush into replies to its callers. A hold that was written but has no receiver is released; a
//! settle that ended nothing is read again, in a new statement, to find the reason.

use super::{PendingHold, PendingSettle, SettleReply, UNCLEAR_MAX, Writer};
use crate::{
    billing::batch::{Counted, mailbox::SettleAnswer},
    billing::ledger::{HoldOutcome, LedgerError, Settle, SettleOutcome},
    domain::ids::EntryId,
    store::{
        OrgScope, StoreError,
        ledger::{self, EndState, HoldEnd, HoldRead, Resolution, Revision},
    },
};

impl PendingHold {
    /// A try of it may have been written without a reply to us.
    pub(super) fn into_ambiguous(mut self) -> Self {
        self.ambiguous = true;
        self
    }
}

impl Writer {
    pub(super) fn answer_holds(&mut self, holds: Vec<PendingHold>, read: Vec<HoldRead>) {
        let accounts: Vec<_> = holds.iter().map(|pending| pending.request.scope).collect();
        for (mut pending, read) in holds.into_iter().zip(read) {
            match read {
                HoldRead::Admitted { amount } => {
                    let (scope, id) = (pending.request.scope, pending.request.id);
                    let settle = Settle::void(scope, id);
                    let admitted = Ok(HoldOutcome::Admitted { amount });
                    self.known.insert(id);
                    if !pending.reply.hold(admitted, settle, &mut self.outbox) {
                        self.void(settle);
                    }
                }
                HoldRead::Refused { available } => {
                    self.refuse_hold(pending, &accounts, HoldOutcome::Refused { available });
                }
                HoldRead::OverBudget(budget) => {
                    self.refuse_hold(pending, &accounts, HoldOutcome::OverBudget(budget));
                }
                HoldRead::Unclear if pending.unclear < UNCLEAR_MAX => {
                    pending.unclear += 1;
                    self.holds.push_back(pending.into_ambiguous());
                }
                HoldRead::Unclear => {
                    self.fail_hold(pending, LedgerError::Refused(StoreError::Contention));
                }
                HoldRead::Ended => {
                    self.fail_hold(pending, LedgerError::Unavailable("the hold has ended already"));
                }
                HoldRead::LeaseLapsed => {
                    self.fail_hold(pending, LedgerError::Unavailable("this process's lease has lapsed"));
                }
            }
        }
    }

    /// A hold that was refused together with others of its account, and accepts less, is tried once more alone.
    fn refuse_hold(&mut self, mut pending: PendingHold, accounts: &[OrgScope], outcome: HoldOutcome) {
        let beside = accounts.iter().filter(|scope| **scope == pending.request.scope).count();
        if beside > 1 && !pending.alone && pending.request.floor < pending.request.want {
            pending.alone = true;
            self.holds.push_front(pending);
            return;
        }
        self.abandon_if_ambiguous(&pending);
        let void = Settle::void(pending.request.scope, pending.request.id);
        pending.reply.hold(Ok(outcome), void, &mut self.outbox);
    }

    pub(super) fn fail_hold(&mut self, pending: PendingHold, error: LedgerError) {
        self.abandon_if_ambiguous(&pending);
        let void = Settle::void(pending.request.scope, pending.request.id);
        pending.reply.hold(Err(error), void, &mut self.outbox);
    }

    pub(super) fn answer_settle(&mut self, reply: Option<SettleReply>, answer: SettleAnswer) {
        if let Some(reply) = reply {
            reply.settle(answer, &mut self.outbox);
        }
    }

    /// Sends the replies of this round.
    pub(super) fn send_answers(&mut self) {
        let orphans = self.outbox.send();
        orphans.into_iter().for_each(|settle| self.void(settle));
    }

    /// Releases a hold without a receiver.
    fn void(&mut self, settle: Settle) {
        let counted = Counted::one_of(&self.unwritten);
        self.settles.push_back(PendingSettle { settle, reply: None, unclear: 0, _counted: counted });
    }

    fn abandon_if_ambiguous(&mut self, pending: &PendingHold) {
        if pending.ambiguous {
            self.abandoned.push_back(pending.request.clone());
        }
    }

    pub(super) async fn answer_settles(
        &mut self,
        settles: Vec<PendingSettle>,
        settled: Vec<bool>,
    ) -> Result<(), StoreError> {
        let mut failure = None;
        for (mut pending, settled) in settles.into_iter().zip(settled) {
            if settled {
                self.known.remove(&pending.settle.hold);
                self.answer_settle(pending.reply, Ok(SettleOutcome::Posted));
                continue;
            }
            if failure.is_some() {
                self.settles.push_back(pending);
                continue;
            }
            match self.read_end(&pending.settle).await {
                Ok(Some(outcome)) => {
                    self.known.remove(&pending.settle.hold);
                    log_unposted(&pending.settle, outcome);
                    self.answer_settle(pending.reply, Ok(outcome));
                }
                // Open again: the hold was committed during the flush and is visible to the next one.
                Ok(None) if pending.unclear < UNCLEAR_MAX => {
                    pending.unclear += 1;
                    self.settles.push_back(pending);
                }
                Ok(None) => {
                    tracing::error!(
                        org.id = %pending.settle.scope.org_id(), hold.id = %pending.settle.hold,
                        "an open hold cannot be settled"
                    );
                    self.known.remove(&pending.settle.hold);
                    self.answer_settle(pending.reply, Err(LedgerError::Refused(StoreError::Contention)));
                }
                Err(error) => {
                    self.settles.push_back(pending);
                    failure = Some(error);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// The recorded state for a settle that ended nothing, after the possible correction; `None` if its hold is open.
    async fn read_end(&mut self, settle: &Settle) -> Result<Option<SettleOutcome>, StoreError> {
        let mut connection = self.connect().await?;
        let reading = async {
            connection.start(Some(ledger::PLANS)).await?;
            let end = ledger::get_end(&mut connection, settle.scope, settle.hold).await?;
            connection.finish().await?;
            Ok(end)
        };
        let end = self.within_time(reading).await?;
        self.connection = Some(connection);
        let Some(end) = end else { return Ok(Some(SettleOutcome::Unknown)) };
        let Some(HoldEnd { state, cost, charge }) = end else { return Ok(None) };
        let bill = settle.resolution.bill();
        let same = (cost, charge) == (bill.cost(), bill.charge());
        let (revision, corrected) = match (state, settle.revises) {
            (EndState::Expired, false) => (Revision::Late, SettleOutcome::Late),
            (EndState::Expired | EndState::Settled, true) => (Revision::LastWord, SettleOutcome::Revised),
            _ if same => return Ok(Some(SettleOutcome::Repeat)),
            _ => return Ok(Some(SettleOutcome::Conflict { charge })),
        };
        // If nothing was left to correct, an earlier try of this settle did it, or another settle was first.
        let done = self.correct(settle, revision).await?;
        Ok(Some(if done || same { corrected } else { SettleOutcome::Conflict { charge } }))
    }

    async fn correct(&mut self, settle: &Settle, revision: Revision) -> Result<bool, StoreError> {
        let entry_id = match settle.resolution {
            Resolution::Settled { entry_id, .. } => entry_id,
            Resolution::Voided => EntryId(self.ambient.uuid()),
        };
        let (hold, bill) = ((settle.scope, settle.hold), settle.resolution.bill());
        let mut connection = self.connect().await?;
        let correcting = ledger::correct(&mut connection, hold, bill, revision, entry_id, self.ambient.now());
        let corrected = self.within_time(correcting).await;
        if !matches!(corrected, Err(StoreError::Unavailable(_))) {
            self.connection = Some(connection);
        }
        corrected
    }
}

fn log_unposted(settle: &Settle, outcome: SettleOutcome) {
    let message = match outcome {
        SettleOutcome::Posted | SettleOutcome::Repeat => return,
        SettleOutcome::Conflict { .. } => "a settle differs from the recorded end of its hold, which stands",
        SettleOutcome::Late => "a settle came after its hold had expired: the difference is posted",
        SettleOutcome::Revised => {
            "an answer was not delivered after its charge had been recorded: it is given back"
        }
        SettleOutcome::Unknown => "a settle names no hold",
    };
    tracing::error!(
        org.id = %settle.scope.org_id(), hold.id = %settle.hold,
        settle.charge = %settle.resolution.bill().charge(), settle.outcome = ?outcome, "{message}"
    );
}
