//! A chat request with MCP servers: turn by turn the model is asked, the calls it makes of the servers' tools are
//! made, and what they gave is told to it, until it answers, calls a tool of the caller's own, or may not go on. Each
//! turn is an ordinary routed request with its own hold and charge. At every moment some meter is open, so that
//! whatever cuts this short ends in a receipt of all that was done.

mod ask;
mod streamed;
mod telling;
mod toolbox;

use super::{
    Gateway,
    attempt::{Answer, Body},
    course::Answered,
    failure::Failure,
    inference::{Inbound, Reply, Told, note_of, refusal, serve, told},
    marked::{marked, marked_note},
    meter::{Meter, NotDurable},
    receipt::{Done, Ending, Served, Total},
    scoped::Brought,
};
use crate::{
    dialect::{Dialect, Invalid, Speaking, canonical::Finish, json::ObjectWriter},
    domain::{kind::Kind, policy::ByokFallback},
    mcp::session,
    providers::transport::Transport,
    store::api_keys::Principal,
};
use ask::{Allowed, Ask};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use std::{borrow::Cow, sync::Arc};
use telling::{Called, Closing, Stopped, Telling};
use tokio::time::Instant;
use toolbox::{Executed, Toolbox};

pub use streamed::Turns;

/// Calls of one turn that are made; a model that asks for more is told to ask again.
const CALLS_MAX: usize = 32;
/// Calls that run side by side.
const SIDE_BY_SIDE_MAX: usize = 8;

/// What of a request outlives its handler.
struct Caller {
    gateway: Arc<Gateway>,
    transport: Transport,
    principal: Arc<Principal>,
    content_type: String,
    beta: Option<String>,
    fallback: Option<ByokFallback>,
    brought: Brought,
}

/// A request on its way through its turns.
struct Run {
    caller: Caller,
    ask: Ask,
    toolbox: Toolbox,
    telling: Telling,
    /// What was said since the request: messages, JSON.
    said: Vec<String>,
    executed: Vec<Executed>,
    /// No turn and no call begins after this.
    until: Instant,
}

/// What follows a turn.
enum Next {
    /// The model is asked again, with what was said since.
    Turn(Meter),
    /// It was the last, for this reason if not for the model's own.
    End(Meter, Option<Stopped>),
}

/// How a request has ended.
struct Ended {
    note: String,
    total: Total,
    turns: usize,
}

impl Caller {
    fn of(inbound: &Inbound<'_>) -> Self {
        Self {
            gateway: inbound.gateway.clone(),
            transport: inbound.transport.clone(),
            principal: inbound.principal.clone(),
            content_type: inbound.content_type.clone(),
            beta: inbound.beta.clone(),
            fallback: inbound.fallback,
            brought: inbound.brought.clone(),
        }
    }

    fn inbound(&self, body: Bytes) -> Inbound<'_> {
        Inbound {
            gateway: &self.gateway,
            transport: &self.transport,
            principal: self.principal.clone(),
            kind: Kind::Conversation(Dialect::Chat),
            body,
            content_type: self.content_type.clone(),
            beta: self.beta.clone(),
            fallback: self.fallback,
            brought: self.brought.clone(),
        }
    }
}

/// What a request asks of MCP servers; `None` when it is an ordinary one.
pub fn read(inbound: &Inbound<'_>) -> Result<Option<Ask>, Invalid> {
    if inbound.kind != Kind::Conversation(Dialect::Chat) {
        return Ok(None);
    }
    let settings = &inbound.gateway.settings;
    let servers = settings.mcp_servers.iter().map(|(slug, url)| (slug.as_str(), url.as_str())).collect();
    let allowed = Allowed { limits: settings.limits.mcp, servers, depth_max: settings.limits.body_depth_max };
    let Some(ask) = ask::read(&inbound.body, &allowed)? else { return Ok(None) };
    for (index, server) in ask.servers.iter().enumerate() {
        session::check(server, inbound.transport).map_err(|refused| Invalid {
            param: Some(format!("mcp_servers[{index}]")),
            message: format!("`mcp_servers[{index}]`: {refused}"),
        })?;
    }
    Ok(Some(ask))
}

/// Serves a request that asks for MCP servers.
pub async fn complete(inbound: &Inbound<'_>, ask: Ask, mut meter: Meter) -> Result<Reply, (Failure, Told)> {
    let limits = inbound.gateway.settings.limits.mcp;
    let until = Instant::now() + limits.total;
    let opening = Toolbox::open(&ask.servers, inbound.transport, &limits, &ask.request.own_tools);
    let toolbox = tokio::select! {
        biased;
        toolbox = opening => toolbox,
        () = inbound.gateway.stopping.cancelled() => {
            return Err(refusal(stopping(), meter).await);
        }
    };
    let caller = Caller::of(inbound);
    let telling = Telling::new();
    let mut run = Run { caller, ask, toolbox, telling, said: Vec::new(), executed: Vec::new(), until };
    let answered = match run.turn(&mut meter).await {
        Ok(answered) => answered,
        Err(failure) => return Err(refusal(failure, meter).await),
    };
    match answered.answer {
        Answer::Whole { .. } => run.whole(meter, answered).await,
        Answer::Stream { .. } => {
            let told = meter.get().map(|open| told(open)).unwrap_or_default();
            Ok(streamed::begin(run, meter, answered, told))
        }
    }
}

fn stopping() -> Failure {
    Failure::Unavailable("the gateway is shutting down".into())
}

impl Run {
    /// Asks the model for one turn.
    async fn turn(&mut self, meter: &mut Meter) -> Result<Answered, Failure> {
        let first = self.said.is_empty();
        let body = self.ask.request.write(&self.toolbox.definitions, &self.said, first);
        let body = Bytes::from(body);
        let open = meter.get().ok_or_else(ended)?;
        open.turns.gathers = true;
        open.body = body.clone();
        let inbound = self.caller.inbound(body);
        tokio::select! {
            biased;
            served = serve(&inbound, meter, Ok(())) => served,
            () = self.caller.gateway.stopping.cancelled() => Err(stopping()),
        }
    }

    /// An answer that is not streamed.
    async fn whole(mut self, mut meter: Meter, mut answered: Answered) -> Result<Reply, (Failure, Told)> {
        loop {
            let speaking = match self.take_whole(answered, &mut meter) {
                Some(speaking) => speaking,
                None => return Err(refusal(ended(), meter).await),
            };
            let told = meter.get().map(|open| told(open)).unwrap_or_default();
            match self.step(meter, &speaking).await {
                Ok(Next::Turn(next)) => meter = next,
                Ok(Next::End(meter, stopped)) => return self.reply(meter, stopped, told).await,
                Err(failure) => return Err((failure, told)),
            }
            answered = match self.turn(&mut meter).await {
                Ok(answered) => answered,
                Err(failure) => return Err(refusal(failure, meter).await),
            };
        }
    }

    fn take_whole(&mut self, answered: Answered, meter: &mut Meter) -> Option<Speaking> {
        let Answer::Whole { body: Body::Answer(answer), usage, service_tier, text } = answered.answer else {
            return None;
        };
        let open = meter.get()?;
        open.commit();
        open.consumed(usage, service_tier.as_deref(), &text);
        let (answer, exchange) = *answer;
        let speaking = exchange.speaking?;
        self.telling.begin(&speaking);
        self.telling.turn = answer;
        Some(speaking)
    }

    async fn reply(
        self,
        meter: Meter,
        stopped: Option<Stopped>,
        mut told: Told,
    ) -> Result<Reply, (Failure, Told)> {
        let Ok(ended) = self.settle(meter).await else { return Err((Failure::NotDurable, told)) };
        told.cost = Some(ended.total.charge);
        let Self { telling, toolbox, executed, ask, .. } = self;
        let closing = Closing {
            note: &ended.note,
            executed: &executed,
            toolbox: &toolbox,
            turns: ended.turns,
            stopped,
        };
        let finish = stopped.map(|_| Finish::Length);
        let body = telling.body(finish, &closing, &ended.total.usage, ask.executes).unwrap_or_default();
        let body = if told.by_byok_api_key { marked(body) } else { body };
        Ok(Reply::Whole { told, body, content_type: Cow::Borrowed("application/json") })
    }

    /// What follows the turn that was just told. Its answer is whole and not billed yet.
    async fn step(&mut self, meter: Meter, speaking: &Speaking) -> Result<Next, Failure> {
        let (calls, own) = self.telling.calls(&self.toolbox);
        let cut =
            matches!(self.telling.finish(), Some(Finish::Length | Finish::ContentFilter | Finish::Refusal));
        if calls.is_empty() || cut || !self.ask.executes {
            return Ok(Next::End(meter, None));
        }
        if own > 0 {
            // The caller has to act first: this is the answer, with what the servers gave beside it.
            let mut meter = meter;
            if let Err(failure) = self.call(&calls).await {
                meter.fail(&failure.text()).await;
                return Err(failure);
            }
            return Ok(Next::End(meter, None));
        }
        if meter.turn().saturating_add(1) >= self.ask.turns_max {
            return Ok(Next::End(meter, Some(Stopped::MaxTurns)));
        }
        if Instant::now() >= self.until {
            return Ok(Next::End(meter, Some(Stopped::Time)));
        }
        let mut meter = meter.turn_over().await.map_err(|NotDurable| Failure::NotDurable)?;
        if let Err(failure) = self.call(&calls).await {
            meter.fail(&failure.text()).await;
            return Err(failure);
        }
        let Some(message) = self.telling.message(speaking) else { return Ok(Next::End(meter, None)) };
        self.said.push(message);
        let results = self.executed.iter().rev().take(calls.len()).rev();
        self.said.extend(calls.iter().zip(results).map(|(call, executed)| result(call, executed)));
        let stopped = self.may_not_go_on();
        Ok(if stopped.is_some() { Next::End(meter, stopped) } else { Next::Turn(meter) })
    }

    fn may_not_go_on(&self) -> Option<Stopped> {
        let bytes: usize = self.said.iter().map(String::len).sum();
        if bytes > self.caller.gateway.settings.limits.body_bytes_max {
            return Some(Stopped::Size);
        }
        (Instant::now() >= self.until).then_some(Stopped::Time)
    }

    /// Makes the calls of a turn, several at a time, and keeps what came of them in their order.
    async fn call(&mut self, calls: &[Called]) -> Result<(), Failure> {
        let gateway = self.caller.gateway.clone();
        let limits = &gateway.settings.limits.mcp;
        let (toolbox, until) = (&self.toolbox, self.until);
        let made = calls.iter().enumerate().map(|(index, call)| async move {
            if index >= CALLS_MAX {
                let why = format!("not called: at most {CALLS_MAX} calls are made at once, ask again");
                return toolbox.refused(&call.name, &call.arguments, &why);
            }
            toolbox.call(&call.name, &call.arguments, limits, until).await
        });
        let made = stream::iter(made).buffered(SIDE_BY_SIDE_MAX).collect::<Vec<_>>();
        let made = tokio::select! {
            biased;
            made = made => made,
            () = gateway.stopping.cancelled() => return Err(stopping()),
        };
        self.executed.extend(made);
        Ok(())
    }

    /// Bills the last turn, if it had an answer, and says what all came to.
    async fn settle(&self, mut meter: Meter) -> Result<Ended, NotDurable> {
        let open = meter.get().ok_or(NotDurable)?;
        let (request_id, requested) = (open.request_id, open.requested.clone());
        let mut done = open.turns.done.clone();
        if open.is_committed() {
            let (served, bill) = meter.settle(Ending::Completed).await?;
            done.push(Done { served, bill });
        } else {
            meter.close().await;
        }
        let total = Total::of(done.iter().map(|done| (&done.served, &done.bill))).ok_or(NotDurable)?;
        let served: &Served = &done.last().ok_or(NotDurable)?.served;
        let note = note_of(Some(request_id), &requested, served, Some(total.clone()));
        let note = if served.by_byok_api_key { marked_note(note) } else { note };
        Ok(Ended { note, total, turns: done.len() })
    }
}

fn ended() -> Failure {
    Failure::Unavailable("the request has ended".into())
}

/// A result as a message of the conversation, JSON.
fn result(call: &Called, executed: &Executed) -> String {
    let mut out = ObjectWriter::new();
    out.text("role", "tool");
    call.id.push_quoted(out.key("tool_call_id"));
    let text = &executed.outcome.text;
    match executed.outcome.is_error {
        true => out.text("content", &format!("Error: {text}")),
        false => out.text("content", text),
    }
    String::from_utf8(out.end()).unwrap_or_default()
}
