//! A streamed answer of several turns. A task of the worker runs the turns and passes the client's part on, piece by
//! piece; while tools run it keeps the connection alive. When the client disconnects, the task ends with everything in
//! progress: the open billing guard charges what has begun.

use super::{BillingGuard, ClosingSummary, Next, Reply, ResponseMeta, Run, UpstreamAnswer};
use crate::{
    dialect::{Dialect, canonical::Finish},
    gateway::{
        attempt::Answer,
        error_event,
        failure::{Failure, stream_code},
        respond::ResponseBody,
        stream::{Broken, Gathered, Metered},
    },
};
use bytes::Bytes;
use std::{borrow::Cow, time::Duration};
use tokio::sync::mpsc;

const HEARTBEAT: &[u8] = b": keep-alive\n\n";

/// The body of a streamed answer.
pub struct ToolLoopStream {
    inbox: mpsc::Receiver<Piece>,
    ended: bool,
}

enum Piece {
    Bytes(Bytes),
    /// The answer is complete, or its last event is an error.
    End,
    Broken,
}

/// The client's side.
struct Outbox {
    pieces: mpsc::Sender<Piece>,
    heartbeat: Duration,
}

impl ToolLoopStream {
    /// The next bytes for the client; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        if self.ended {
            return None;
        }
        match self.inbox.recv().await {
            Some(Piece::Bytes(bytes)) => Some(Ok(bytes)),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            // A task that ends without a final message has failed.
            Some(Piece::Broken) | None => {
                self.ended = true;
                Some(Err(Broken))
            }
        }
    }
}

/// Starts the task after the first turn has been answered.
pub(super) fn begin(run: Run, guard: BillingGuard, answered: UpstreamAnswer, meta: ResponseMeta) -> Reply {
    let (pieces, inbox) = mpsc::channel(1);
    let gateway = run.caller.gateway.clone();
    let outbox = Outbox { pieces, heartbeat: gateway.settings.limits.heartbeat };
    gateway.tasks.spawn_local(async move {
        tokio::select! {
            biased;
            () = outbox.pieces.closed() => {}
            () = run.stream(guard, answered, &outbox) => {}
        }
    });
    let body = ResponseBody::ToolLoop(ToolLoopStream { inbox, ended: false });
    Reply::Stream { meta, body, content_type: Cow::Borrowed("text/event-stream; charset=utf-8") }
}

impl Outbox {
    async fn send(&self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        // An empty chunk would end the answer. If the client no longer reads, the task ends.
        if !bytes.is_empty() {
            self.pieces.send(Piece::Bytes(bytes)).await.ok();
        }
    }

    async fn end(&self) {
        self.pieces.send(Piece::End).await.ok();
    }

    /// Waits, and keeps the connection alive.
    async fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(self.heartbeat, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.send(HEARTBEAT).await,
            }
        }
    }

    /// The one error event that ends an answer which cannot be completed.
    async fn fail(&self, failure: &Failure) {
        let (code, provider) = match failure {
            Failure::Upstream { rejection, provider, credential, .. } => {
                (stream_code(rejection, *credential), Some(provider.row().name))
            }
            Failure::InsufficientCredits { .. } => ("insufficient_credits", None),
            Failure::KeyRevoked => ("invalid_api_key", None),
            Failure::OverBudget(_) => ("budget_exceeded", None),
            Failure::CostGuardrail { .. } => ("cost_guardrail_exceeded", None),
            Failure::RateLimited(_) => ("rate_limit_exceeded", None),
            Failure::NotDurable | Failure::Unavailable(_) => ("service_unavailable", None),
            Failure::Busy(_) => ("rate_limit_exceeded", None),
            Failure::NoModels { .. } => ("no_models_available", None),
            Failure::ContextLength { .. } => ("context_length_exceeded", None),
            Failure::UnknownModel { .. } => ("model_not_found", None),
            Failure::Invalid(_) | Failure::UnknownProvider { .. } => ("invalid_request", None),
        };
        self.send(error_event::error(Dialect::Chat, code, &failure.text(), provider)).await;
        self.end().await;
    }
}

impl Run {
    async fn stream(mut self, mut guard: BillingGuard, mut answered: UpstreamAnswer, outbox: &Outbox) {
        loop {
            let Some((meta, writer_context)) = self.relay(guard, answered, outbox).await else { return };
            match outbox.wait(self.step(meta, &writer_context)).await {
                Ok(Next::Turn(next)) => guard = next,
                Ok(Next::End(guard, stopped)) => {
                    let finish = stopped.map(|_| Finish::Length);
                    return self.conclude(guard, finish, stopped, outbox).await;
                }
                Err((failure, _)) => return outbox.fail(&failure).await,
            }
            answered = match outbox.wait(self.turn(&mut guard)).await {
                Ok(answered) => answered,
                Err(failure) => {
                    guard.fail(&failure.text()).await;
                    return outbox.fail(&failure).await;
                }
            };
        }
    }

    /// Passes on a turn as it arrives. `None` if it broke off; the client has received the error, and the turn is
    /// charged.
    async fn relay(
        &mut self,
        mut guard: BillingGuard,
        answered: UpstreamAnswer,
        outbox: &Outbox,
    ) -> Option<(BillingGuard, crate::dialect::WriterContext)> {
        let Answer::Stream { response, relay, memory, .. } = answered.answer else {
            guard.fail(&Failure::ended().text()).await;
            outbox.fail(&Failure::ended()).await;
            return None;
        };
        guard.get().commit();
        self.assembler.begin_stream(relay.writer_context()?);
        let origin = (answered.provider, answered.secret);
        let mut metered = Metered::new(guard, origin, response, (relay, memory), answered.until);
        loop {
            match metered.next_of_turn().await {
                Gathered::Events(events) => {
                    let mut out = Vec::new();
                    for event in events {
                        self.assembler.absorb(event, &self.toolbox, self.mcp_options.tool_owner, &mut out);
                    }
                    outbox.send(out).await;
                }
                Gathered::Quiet(heartbeat) => outbox.send(Bytes::from_static(heartbeat)).await,
                Gathered::Whole => return metered.into_turn(),
                Gathered::Broken(Ok(last)) => {
                    outbox.send(last).await;
                    outbox.end().await;
                    return None;
                }
                Gathered::Broken(Err(Broken)) => {
                    outbox.pieces.send(Piece::Broken).await.ok();
                    return None;
                }
            }
        }
    }

    async fn conclude(
        mut self,
        guard: BillingGuard,
        finish: Option<Finish>,
        stopped: Option<super::Stopped>,
        outbox: &Outbox,
    ) {
        let Ok(ended) = outbox.wait(self.settle(guard)).await else {
            return outbox.fail(&Failure::NotDurable).await;
        };
        let Self { assembler, toolbox, executed, .. } = &mut self;
        let closing = ClosingSummary { note: &ended.note, executed, toolbox, turns: ended.turns, stopped };
        let mut out = Vec::new();
        assembler.conclude(finish, &closing, &ended.total.usage, &mut out);
        outbox.send(out).await;
        outbox.end().await;
    }
}
