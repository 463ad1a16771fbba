//! A streamed answer to the client, with the guard that charges it. Content is sent at once; the frame that finishes
//! waits until the charge is durable. A clean end, a provider that breaks off, a client that disconnects and a process
//! that stops all end in the billing guard.

use super::{
    attempt::read_out,
    billing_guard::{BillingGuard, NotDurable, drain},
    byok_annotation::annotate_receipt_member,
    failure::{redact_for_customer, stream_code},
    receipt::{self, RequestOutcome, Total},
    relay::Relay,
};
use crate::{
    dialect::{WriterContext, canonical},
    domain::{
        money::NanoUsd,
        provider::{OnDisconnect, ProviderId},
        secret::Secret,
        shares::Charge,
    },
    providers::{
        error::{ErrorClass, UpstreamError},
        transport::{Response, unreachable_host},
    },
};
use bytes::Bytes;

use std::{pin::Pin, time::Duration};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// The body of one streamed answer.
pub struct Metered {
    /// `None` once the answer has ended.
    running: Option<Running>,
    /// Known after a good end.
    charged: Option<NanoUsd>,
}

struct Running {
    guard: BillingGuard,
    provider: ProviderId,
    response: Box<Response>,
    relay: Box<Relay>,
    /// Memory charge for bytes that wait in the relay.
    memory: Charge,
    until: Instant,
    /// Timer for heartbeats and for the silence limit; moved only when it fires.
    alarm: Pin<Box<Sleep>>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    /// When the provider last sent bytes, and when the gateway last sent bytes to the client.
    last_read: Instant,
    last_written: Instant,
    times: Times,
    /// Secrets that must be redacted if the provider repeats them in an error.
    secret: Secret,
}

/// The answer cannot be completed, and its format has no error event: the connection must be broken.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer broke off")]
pub struct Broken;

/// The result of the next wait for a collected answer.
pub enum Gathered {
    Events(Vec<canonical::Event<'static>>),
    /// No event for a while: bytes that keep the client's connection alive.
    Quiet(&'static [u8]),
    Whole,
    /// The answer ended in a failure and was charged; these are the last bytes for the client.
    Broken(Result<Bytes, Broken>),
}

#[derive(Clone, Copy)]
struct Times {
    idle: Duration,
    heartbeat: Duration,
    drain: Duration,
}

/// Maximum bytes of one write.
const GATHERED_BYTES_MAX: usize = 16 * 1024;

/// The result of one read.
enum Event {
    Bytes,
    Quiet,
    Ended,
    Failed(UpstreamError),
    /// The time of the process is over.
    Stopping,
}

impl Metered {
    pub fn new(
        mut guard: BillingGuard,
        (provider, secret): (ProviderId, Secret),
        response: Box<Response>,
        (relay, memory): (Box<Relay>, Charge),
        until: Instant,
    ) -> Self {
        let open = guard.get();
        open.flows = true;
        let settings = &open.gateway.settings;
        let times = Times {
            idle: settings.deadlines.idle,
            heartbeat: settings.limits.heartbeat,
            drain: settings.limits.drain,
        };
        let stopping = Box::pin(open.gateway.stopping.clone().cancelled_owned());
        let now = Instant::now();
        let first_alarm = (now + times.heartbeat.min(times.idle)).min(until);
        let alarm = Box::pin(tokio::time::sleep_until(first_alarm));
        let (last_read, last_written) = (now, now);
        let running = Running {
            guard,
            provider,
            response,
            relay,
            memory,
            until,
            alarm,
            stopping,
            last_read,
            last_written,
            times,
            secret,
        };
        Self { running: Some(running), charged: None }
    }

    /// The cost of the answer, after it has ended well.
    pub fn charged(&self) -> Option<NanoUsd> {
        self.charged
    }

    /// The next bytes for the client; `None` at the end. What happens once in an answer is kept out of the future, of
    /// which there is one for each frame.
    pub async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        loop {
            let running = self.running.as_mut()?;
            running.record();
            let ready = running.relay.take_out();
            if !ready.is_empty() {
                running.last_written = Instant::now();
                return Some(Ok(ready.into()));
            }
            if let Some(failure) = running.relay.failure().cloned() {
                return Box::pin(self.break_off(failure)).await;
            }
            if running.relay.has_ended() {
                return Box::pin(self.conclude()).await;
            }
            match running.next_event().await {
                Event::Bytes => {}
                Event::Ended => running.relay.close(),
                // An empty chunk would end the answer.
                Event::Quiet if running.relay.heartbeat().is_empty() => {}
                Event::Quiet => return Some(Ok(Bytes::from_static(running.relay.heartbeat()))),
                Event::Failed(rejection) => running.relay.cut(rejection),
                Event::Stopping => return Box::pin(self.stop()).await,
            }
        }
    }

    /// The next events of a collected answer: nothing is charged and no end is written here.
    pub async fn next_of_turn(&mut self) -> Gathered {
        loop {
            let Some(running) = self.running.as_mut() else { return Gathered::Broken(Err(Broken)) };
            running.record();
            let events = running.relay.take_events();
            if !events.is_empty() {
                running.last_written = Instant::now();
                return Gathered::Events(events);
            }
            if let Some(failure) = running.relay.failure().cloned() {
                return Gathered::Broken(self.break_off(failure).await.unwrap_or(Err(Broken)));
            }
            if running.relay.has_ended() {
                return Gathered::Whole;
            }
            match running.next_event().await {
                Event::Bytes => {}
                Event::Ended => running.relay.close(),
                Event::Quiet => return Gathered::Quiet(running.relay.heartbeat()),
                Event::Failed(rejection) => running.relay.cut(rejection),
                Event::Stopping => return Gathered::Broken(self.stop().await.unwrap_or(Err(Broken))),
            }
        }
    }

    /// The guard of a collected answer that is complete, and how that answer is written. The connection is free for the
    /// next call.
    pub fn into_turn(mut self) -> Option<(BillingGuard, WriterContext)> {
        let running = self.running.take()?;
        let writer_context = running.relay.writer_context().cloned();
        tokio::task::spawn_local(read_out(running.response));
        Some((running.guard, writer_context?))
    }

    /// Charges the answer, then sends its last frame.
    async fn conclude(&mut self) -> Option<Result<Bytes, Broken>> {
        let mut running = self.running.take()?;
        let open = running.guard.get();
        let (request_id, requested) = (open.request_id, open.history.requested().to_owned());
        let keeping = open.keeping(|| running.relay.take_kept());
        let settled = running.guard.settle(RequestOutcome::Completed).await;
        let last = match settled {
            Ok((served, bill)) => {
                self.charged = Some(bill.charge);
                if let Some(keeping) = keeping {
                    keeping.keep(running.provider, &served, &bill);
                }
                let note = receipt::note(request_id, &requested, &served, &Total::one(&served, &bill));
                let note = if served.by_byok_api_key { annotate_receipt_member(note) } else { note };
                Some(running.relay.conclude(&note, &bill.usage))
            }
            Err(NotDurable) => {
                let message = "the bill could not be made durable";
                running.relay.terminal_error("service_unavailable", message, None)
            }
        };
        // Providers often send more after the end marker: reading it makes the connection reusable.
        tokio::task::spawn_local(read_out(running.response));
        Some(last.map(Bytes::from).ok_or(Broken))
    }

    /// Charges what was relayed and ends with the one error event on which every client raises an error.
    async fn break_off(&mut self, failure: UpstreamError) -> Option<Result<Bytes, Broken>> {
        let running = self.running.as_mut()?;
        let open = running.guard.get();
        open.blame(failure.class, None);
        let credential = open.served()?.credential;
        let meta =
            redact_for_customer(&failure.without(running.secret.expose()), running.provider, credential);
        let code = stream_code(&meta, credential);
        let name = running.provider.row().name;
        let last = running.relay.terminal_error(code, &meta.message, Some(name));
        self.end_with(last).await
    }

    async fn stop(&mut self) -> Option<Result<Bytes, Broken>> {
        let message = "the gateway is shutting down";
        let running = self.running.as_mut()?;
        running.guard.get().cut("the gateway shut down: counted from what was relayed");
        let last = running.relay.terminal_error("service_unavailable", message, None);
        self.end_with(last).await
    }

    async fn end_with(&mut self, last: Option<Vec<u8>>) -> Option<Result<Bytes, Broken>> {
        let running = self.running.take()?;
        running.guard.settle(RequestOutcome::Aborted).await.ok();
        // Dropping the rest of the answer closes the provider's connection.
        Some(last.map(Bytes::from).ok_or(Broken))
    }
}

impl Running {
    /// Passes the relayed usage to the open request.
    fn record(&mut self) {
        self.guard.get().relayed(&mut self.relay);
    }

    /// Takes the received bytes and everything that has arrived with them: frames that arrive together are sent
    /// together.
    async fn gather(&mut self, bytes: &[u8]) -> Event {
        self.relay.absorb(bytes);
        let mut gathered = bytes.len();
        while gathered < GATHERED_BYTES_MAX {
            // The connection's task delivers one piece at a time, when it is scheduled.
            tokio::task::yield_now().await;
            match self.response.chunk_at_once().await {
                Some(Ok(Some(bytes))) => {
                    gathered += bytes.len();
                    self.relay.absorb(&bytes);
                }
                Some(Ok(None)) => return Event::Ended,
                Some(Err(error)) => return Event::Failed(unreachable_host(&error)),
                None => break,
            }
        }
        self.relay.charge(&mut self.memory);
        Event::Bytes
    }

    async fn next_event(&mut self) -> Event {
        loop {
            tokio::select! {
                biased;
                read = self.response.chunk() => {
                    self.last_read = Instant::now();
                    return match read {
                        Ok(Some(bytes)) => self.gather(&bytes).await,
                        Ok(None) => Event::Ended,
                        Err(error) => Event::Failed(unreachable_host(&error)),
                    };
                }
                () = self.stopping.as_mut() => return Event::Stopping,
                () = self.alarm.as_mut() => {
                    let now = Instant::now();
                    if now >= self.until || now >= self.last_read + self.times.idle {
                        return Event::Failed(late());
                    }
                    let quiet = now >= self.last_written + self.times.heartbeat;
                    if quiet {
                        self.last_written = now;
                    }
                    let next = (self.last_written + self.times.heartbeat).min(self.last_read + self.times.idle);
                    self.alarm.as_mut().reset(next.min(self.until));
                    if quiet {
                        return Event::Quiet;
                    }
                }
            }
        }
    }

    /// Reads an abandoned answer to its usage, within limits.
    async fn drain(mut self) {
        let by = self.until.min(Instant::now() + self.times.drain);
        drain(self.guard.get(), &mut self.response, &mut self.relay, by).await;
        let _ = self.guard.settle(RequestOutcome::Aborted).await;
    }
}

impl Drop for Metered {
    /// The client has disconnected. If closing the connection stops the provider's billing, dropping the connection is
    /// enough. Otherwise a task of this worker reads the answer to its usage.
    fn drop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        running.record();
        let goes_on = running.provider.row().on_disconnect == OnDisconnect::Drain;
        let open = running.guard.get();
        if !goes_on || open.gateway.stopping.is_cancelled() {
            return;
        }
        let tasks = open.gateway.tasks.clone();
        tasks.spawn_local(running.drain());
    }
}

fn late() -> UpstreamError {
    UpstreamError::without_answer(ErrorClass::Timeout, "the provider has fallen silent")
}
