//! Answers of one flush that wait on the same worker thread travel there together: one wake of the thread
//! instead of one for each. Waking a thread costs more than everything else an answer does. A thread without a
//! mailbox is answered directly.

use super::{
    super::ledger::{HoldOutcome, LedgerError, Settle, SettleOutcome},
    Ledger,
};
use std::cell::RefCell;
use tokio::sync::{mpsc, oneshot};

thread_local! {
    static MAILBOX: RefCell<Option<Mailbox>> = const { RefCell::new(None) };
}

/// The mailbox of one thread.
#[derive(Clone)]
pub(super) struct Mailbox(mpsc::UnboundedSender<Vec<Letter>>);

/// Who waits for an answer, and where.
pub(super) struct ReplyTo<T> {
    answer: oneshot::Sender<T>,
    mailbox: Option<Mailbox>,
}

/// One answer on its way.
pub(super) enum Letter {
    Hold { reply: oneshot::Sender<HoldAnswer>, answer: HoldAnswer, void: Settle },
    Settle { reply: oneshot::Sender<SettleAnswer>, answer: SettleAnswer },
}

pub(super) type HoldAnswer = Result<HoldOutcome, LedgerError>;
pub(super) type SettleAnswer = Result<SettleOutcome, LedgerError>;

/// Letters of one flush by mailbox; few, so they are searched.
#[derive(Default)]
pub(super) struct Outbox(Vec<(Mailbox, Vec<Letter>)>);

/// A reply to give and the way to hear it, for a question asked by this thread.
pub(super) fn reply_here<T>() -> (ReplyTo<T>, oneshot::Receiver<T>) {
    let (answer, heard) = oneshot::channel();
    let mailbox = MAILBOX.with(|mailbox| mailbox.borrow().clone());
    (ReplyTo { answer, mailbox }, heard)
}

impl Ledger {
    /// Gives this thread a mailbox. To be called once by each worker, inside its local task set.
    pub fn deliver_here(&self) {
        let (letters, inbox) = mpsc::unbounded_channel();
        tokio::task::spawn_local(deliver(inbox, self.clone()));
        MAILBOX.with(|mailbox| *mailbox.borrow_mut() = Some(Mailbox(letters)));
    }
}

async fn deliver(mut inbox: mpsc::UnboundedReceiver<Vec<Letter>>, ledger: Ledger) {
    while let Some(letters) = inbox.recv().await {
        for letter in letters {
            match letter {
                Letter::Settle { reply, answer } => {
                    // A caller that left has its settle written all the same.
                    let _ = reply.send(answer);
                }
                Letter::Hold { reply, answer, void } => {
                    let admitted = matches!(answer, Ok(HoldOutcome::Admitted { .. }));
                    if reply.send(answer).is_err() && admitted {
                        ledger.settle_later(void);
                    }
                }
            }
        }
    }
}

impl<T> ReplyTo<T> {
    pub fn is_closed(&self) -> bool {
        self.answer.is_closed()
    }
}

impl ReplyTo<HoldAnswer> {
    /// Answers, at once or with the other letters of this flush. `false`: nobody is there to take it.
    pub fn hold(self, answer: HoldAnswer, void: Settle, outbox: &mut Outbox) -> bool {
        match self.mailbox.filter(|_| !self.answer.is_closed()) {
            Some(mailbox) => {
                outbox.put(mailbox, Letter::Hold { reply: self.answer, answer, void });
                true
            }
            None => self.answer.send(answer).is_ok(),
        }
    }
}

impl ReplyTo<SettleAnswer> {
    pub fn settle(self, answer: SettleAnswer, outbox: &mut Outbox) {
        match self.mailbox {
            Some(mailbox) => outbox.put(mailbox, Letter::Settle { reply: self.answer, answer }),
            None => {
                // As above.
                let _ = self.answer.send(answer);
            }
        }
    }
}

impl Outbox {
    fn put(&mut self, mailbox: Mailbox, letter: Letter) {
        match self.0.iter_mut().find(|(other, _)| other.0.same_channel(&mailbox.0)) {
            Some((_, letters)) => letters.push(letter),
            None => self.0.push((mailbox, vec![letter])),
        }
    }

    /// Sends everything. Returns the holds whose thread has ended: they are nobody's and must be given back.
    pub fn send(&mut self) -> Vec<Settle> {
        let mut orphans = Vec::new();
        for (mailbox, letters) in self.0.drain(..) {
            if let Err(mpsc::error::SendError(letters)) = mailbox.0.send(letters) {
                orphans.extend(letters.into_iter().filter_map(|letter| match letter {
                    Letter::Hold { answer: Ok(HoldOutcome::Admitted { .. }), void, .. } => Some(void),
                    _ => None,
                }));
            }
        }
        orphans
    }
}
