//! A chat request with MCP servers: turn by turn the model is asked, the calls it makes of the servers' tools are
//! made, and what they gave is told to it, until it answers, calls a tool of the caller's own, or may not go on. Each
//! turn is an ordinary routed request with its own hold and charge. At every moment some meter is open, so that
//! whatever cuts this short ends in a receipt of all that was done.

mod ask;
mod grants;
mod memory;
mod streamed;
mod telling;
mod toolbox;

use super::{
    Gateway,
    attempt::{Answer, Body},
    course::Answered,
    failure::Failure,
    inference::{Inbound, Reply, Told, foresee, note_of, refusal, serve, told},
    marked::{marked, marked_note},
    meter::{Meter, NotDurable},
    owner,
    receipt::{Done, Ending, Served, Total},
    scoped::Brought,
};
use crate::{
    accounts::authenticator::AuthError,
    dialect::{
        Dialect, Invalid, Speaking,
        canonical::{AnswerPart, Finish},
        json::{Escaped, ObjectWriter},
    },
    domain::{kind::Kind, policy::ByokFallback, shares::Charge},
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

pub use memory::Memory;
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
    first_content: Option<std::time::Duration>,
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
    /// What of it the caller does not get to see.
    hidden: Vec<String>,
    executed: Vec<Executed>,
    /// What the answers of its turns take.
    charges: Vec<Charge>,
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
    /// Every turn was served on a key that came as `byok_api_key`.
    marked: bool,
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
            first_content: inbound.first_content,
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
            first_content: self.first_content,
            brought: self.brought.clone(),
            memory: self.gateway.shared.memory_for(owner(self.principal.scope)),
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
    let allowed = Allowed {
        limits: settings.limits.mcp,
        servers,
        depth_max: settings.limits.body_depth_max,
        opener: settings.mcp_opener.as_ref(),
    };
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
pub async fn complete(
    inbound: &Inbound<'_>,
    mut ask: Ask,
    mut meter: Meter,
) -> Result<Reply, (Failure, Told)> {
    if let Err(failure) = grants::check(inbound, &ask).await {
        return Err(refusal(failure, meter).await);
    }
    let limits = inbound.gateway.settings.limits.mcp;
    let until = Instant::now() + limits.total;
    let caller = Caller::of(inbound);
    // Strangers are dialed only for what would be served: the tools they have change nothing about these refusals.
    let bare = caller.inbound(ask.request.write(&[], &[], true).into());
    let foreseen = tokio::select! {
        biased;
        foreseen = foresee(&bare, &mut meter) => foreseen,
        () = inbound.gateway.stopping.cancelled() => Err(stopping()),
    };
    if let Err(failure) = foreseen {
        return Err(refusal(failure, meter).await);
    }
    let opening = Toolbox::open(
        &ask.servers,
        inbound.transport,
        &limits,
        inbound.memory.another(),
        &ask.request.own_tools,
    );
    let toolbox = tokio::select! {
        biased;
        toolbox = opening => toolbox,
        () = inbound.gateway.stopping.cancelled() => {
            return Err(refusal(stopping(), meter).await);
        }
    };
    if let Some(messages) = &ask.request.messages {
        let recalled = inbound.gateway.heard.recall(inbound.principal.api_key_id, messages).await;
        ask.request.messages = recalled.or(ask.request.messages);
    }
    let request = match meter.get() {
        Some(open) => open.request_id,
        None => return Err(refusal(ended(), meter).await),
    };
    let telling = Telling::new(request);
    let mut run = Run {
        caller,
        ask,
        toolbox,
        telling,
        said: Vec::new(),
        hidden: Vec::new(),
        executed: Vec::new(),
        charges: Vec::new(),
        until,
    };
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
        let gateway = self.caller.gateway.clone();
        if !first {
            tokio::select! {
                biased;
                renewed = self.renew(meter) => renewed?,
                () = gateway.stopping.cancelled() => return Err(stopping()),
            }
        }
        let body = self.ask.request.write(&self.toolbox.definitions, &self.said, first);
        let body = Bytes::from(body);
        let open = meter.get().ok_or_else(ended)?;
        open.turns.gathers = true;
        open.body = body.clone();
        let inbound = self.caller.inbound(body);
        tokio::select! {
            biased;
            served = serve(&inbound, meter, Ok(())) => served,
            () = gateway.stopping.cancelled() => Err(stopping()),
        }
    }

    /// Whoever asks must still be one who may, by the same look-up that let the request in. A database that is away has
    /// revoked nobody.
    async fn renew(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        let gateway = &self.caller.gateway;
        let principal = match gateway.authenticator.renew(&self.caller.principal).await {
            Ok(principal) => principal,
            Err(AuthError::Store(_)) if self.caller.principal.is_live(gateway.ambient.now()) => return Ok(()),
            Err(_) => return Err(Failure::KeyOver),
        };
        meter.get().ok_or_else(ended)?.principal = principal.clone();
        self.caller.principal = principal;
        Ok(())
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
                Err(refused) => return Err(refused),
            }
            answered = match self.turn(&mut meter).await {
                Ok(answered) => answered,
                Err(failure) => return Err(refusal(failure, meter).await),
            };
        }
    }

    fn take_whole(&mut self, answered: Answered, meter: &mut Meter) -> Option<Speaking> {
        let Answer::Whole { body: Body::Answer(answer), usage, service_tier, text, memory } = answered.answer
        else {
            return None;
        };
        // It is kept until all turns are over.
        self.charges.extend(memory);
        let open = meter.get()?;
        open.commit();
        open.consumed(usage, service_tier.as_deref(), &text);
        let (answer, exchange) = *answer;
        let speaking = exchange.speaking?;
        self.telling.begin(&speaking);
        self.telling.take(answer, &self.toolbox, self.ask.executes);
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
        told.byok = ended.total.byok;
        told.by_byok_api_key = ended.marked;
        let Self { telling, toolbox, executed, ask, mut charges, .. } = self;
        let closing = Closing {
            note: &ended.note,
            executed: &executed,
            toolbox: &toolbox,
            turns: ended.turns,
            stopped,
        };
        let finish = stopped.map(|_| Finish::Length);
        let body = telling.body(finish, &closing, &ended.total.usage, ask.executes).unwrap_or_default();
        let body = if ended.marked { marked(body) } else { body };
        let mut memory = charges.pop();
        // All of them are in this one body now.
        let is_charged = memory.as_mut().is_none_or(|memory| memory.cover(body.len()).is_ok());
        drop(charges);
        let memory = memory.filter(|_| is_charged);
        Ok(Reply::Whole { told, body, content_type: Cow::Borrowed("application/json"), memory })
    }

    /// What follows the turn that was just told. Its answer is whole and not billed yet.
    async fn step(&mut self, mut meter: Meter, speaking: &Speaking) -> Result<Next, (Failure, Told)> {
        let (calls, own) = self.telling.calls(&self.toolbox);
        let cut =
            matches!(self.telling.finish(), Some(Finish::Length | Finish::ContentFilter | Finish::Refusal));
        if calls.is_empty() || cut || !self.ask.executes {
            if own > 0 && self.ask.executes {
                // A turn that was cut short has calls that nobody made.
                self.remember(&[], speaking).await;
            }
            return Ok(Next::End(meter, None));
        }
        if own == 0 && meter.turn().saturating_add(1) >= self.ask.turns_max {
            return Ok(Next::End(meter, Some(Stopped::MaxTurns)));
        }
        if own == 0 && Instant::now() >= self.until {
            return Ok(Next::End(meter, Some(Stopped::Time)));
        }
        // Calls may take minutes. Whatever cuts them short finds the turn that asked for them paid.
        let told = meter.get().map(|open| told(open)).unwrap_or_default();
        let meter = meter.turn_over().await.map_err(|NotDurable| (Failure::NotDurable, told))?;
        if let Err(failure) = self.call(&calls).await {
            return Err(refusal(failure, meter).await);
        }
        if own > 0 {
            // The caller has to act first: this is the answer, with what the servers gave beside it.
            self.remember(&calls, speaking).await;
            return Ok(Next::End(meter, None));
        }
        let Some(message) = self.telling.message(speaking, |_| true) else {
            return Ok(Next::End(meter, None));
        };
        let hidden = self.telling.message(speaking, is_hidden);
        let results = self.results(&calls);
        self.said.push(message);
        self.said.extend(results.iter().cloned());
        self.hidden.extend(hidden.into_iter().chain(results));
        let stopped = self.may_not_go_on();
        Ok(if stopped.is_some() { Next::End(meter, stopped) } else { Next::Turn(meter) })
    }

    /// What came of the last calls, as messages of the conversation, JSON.
    fn results(&self, calls: &[Called]) -> Vec<String> {
        let results = self.executed.iter().rev().take(calls.len()).rev();
        calls.iter().zip(results).map(|(call, executed)| result(call, executed)).collect()
    }

    /// Keeps what the caller is not told, for the request in which it answers its own calls.
    async fn remember(&self, calls: &[Called], speaking: &Speaking) {
        let is_servers = |name: &Escaped<'_>| self.toolbox.has(&name.decode());
        let own = self.telling.message(speaking, |part| match part {
            AnswerPart::ToolCall { name, .. } => !is_servers(name),
            _ => false,
        });
        let others = self.telling.message(speaking, |part| match part {
            AnswerPart::ToolCall { name, .. } => is_servers(name),
            part => is_hidden(part),
        });
        let mut said = self.hidden.clone();
        if !calls.is_empty() {
            said.extend(others);
            said.extend(self.results(calls));
        }
        if let Some(own) = own {
            self.caller.gateway.heard.keep(self.caller.principal.api_key_id, said, &own).await;
        }
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
        let marked = done.iter().all(|done| done.served.by_byok_api_key);
        let note = if marked { marked_note(note) } else { note };
        Ok(Ended { note, total, turns: done.len(), marked })
    }
}

/// Calls, and thoughts that some providers want to see before them; the words go to the caller.
fn is_hidden(part: &AnswerPart) -> bool {
    matches!(part, AnswerPart::ToolCall { .. } | AnswerPart::Reasoning { .. } | AnswerPart::Redacted(_))
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
