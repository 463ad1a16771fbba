//! Sends the replies of one flush for one worker thread together: one wake-up of the thread instead of one for each
//! reply. Waking a thread costs more than the rest of a reply. A thread without a mailbox gets its replies directly.

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

/// The receiver of a reply, and its thread.
pub(super) struct ReplyTo<T> {
    answer: oneshot::Sender<T>,
    mailbox: Option<Mailbox>,
}

/// One pending reply.
pub(super) enum Letter {
    Hold { reply: oneshot::Sender<HoldAnswer>, answer: HoldAnswer, void: Settle },
    Settle { reply: oneshot::Sender<SettleAnswer>, answer: SettleAnswer },
}

pub(super) type HoldAnswer = Result<HoldOutcome, LedgerError>;
pub(super) type SettleAnswer = Result<SettleOutcome, LedgerError>;

/// Pending replies of one flush by mailbox; there are few mailboxes, so they are searched.
#[derive(Default)]
pub(super) struct Outbox(Vec<(Mailbox, Vec<Letter>)>);

/// A sender and a receiver for a reply to this thread.
pub(super) fn reply_here<T>() -> (ReplyTo<T>, oneshot::Receiver<T>) {
    let (answer, heard) = oneshot::channel();
    let mailbox = MAILBOX.with(|mailbox| mailbox.borrow().clone());
    (ReplyTo { answer, mailbox }, heard)
}

impl Ledger {
    /// Creates the mailbox of this thread. Each worker must call it once, inside its local task set.
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
                    // The settle of a caller that no longer waits is written all the same.
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
    /// Replies at once, or together with the other replies of this flush. `false`: the receiver is gone.
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

    /// Sends all replies. Returns the holds whose thread has ended: they have no owner and must be released.
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
