//! A chat request with MCP servers. In each turn the gateway calls the model, calls the servers' tools that the model
//! requests, and sends their results to the model, until it answers, calls a tool of the client, or reaches a limit.
//! Each turn is a routed request with its own hold and charge. At any time one billing guard is open, so an
//! interruption always ends in a receipt of all turns.

mod grants;
mod history;
mod mcp_options;
mod response_assembler;
mod streamed;
mod toolbox;

use super::{
    Gateway,
    attempt::{Answer, Body},
    billing_guard::{BillingGuard, NotDurable},
    byok_annotation::{annotate_body, annotate_receipt_member},
    failover::UpstreamAnswer,
    failure::Failure,
    owner,
    pipeline::{precheck, serve},
    receipt::{self, CompletedTurn, RequestOutcome, ServedBy, Total},
    request::Inbound,
    request_options::RoutingHeaders,
    respond::{Reply, ResponseMeta, refusal},
};
use crate::{
    accounts::authenticator::AuthError,
    dialect::{
        Dialect, Invalid, WriterContext,
        canonical::{AnswerPart, Finish},
        json::{Escaped, ObjectWriter},
    },
    domain::{kind::Kind, policy::ByokFallback, shares::Charge},
    mcp::session,
    providers::transport::Transport,
    store::api_keys::Principal,
};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use mcp_options::{McpOptions, McpPolicy, ToolOwner};
use response_assembler::{ClosingSummary, ResponseAssembler, Stopped, ToolCallItem};
use std::{borrow::Cow, sync::Arc};
use tokio::time::Instant;
use toolbox::{Executed, Toolbox};

pub use history::ToolHistoryCache;
pub use streamed::ToolLoopStream;

/// Maximum calls of one turn that are made. For further calls the model gets an error that asks it to call again.
const CALLS_MAX: usize = 32;
/// Calls that run in parallel.
const SIDE_BY_SIDE_MAX: usize = 8;

/// The part of a request that lives longer than its handler.
struct Caller {
    gateway: Arc<Gateway>,
    transport: Transport,
    principal: Arc<Principal>,
    content_type: String,
    beta: Option<String>,
    fallback: Option<ByokFallback>,
    first_content: Option<std::time::Duration>,
    routing_headers: RoutingHeaders,
}

/// A request between its turns.
struct Run {
    caller: Caller,
    mcp_options: McpOptions,
    toolbox: Toolbox,
    assembler: ResponseAssembler,
    /// The messages since the request, as JSON.
    said: Vec<String>,
    /// Those of them that the client does not receive.
    hidden: Vec<String>,
    executed: Vec<Executed>,
    /// Memory for the answers of its turns.
    charges: Vec<Charge>,
    /// No turn and no call begins after this time.
    until: Instant,
}

/// The step after a turn.
enum Next {
    /// The model is called again, with the messages since the request.
    Turn(BillingGuard),
    /// It was the last turn: the model finished, or this limit was reached.
    End(BillingGuard, Option<Stopped>),
}

/// The result of a request.
struct Ended {
    note: String,
    total: Total,
    turns: usize,
    /// Every turn was served on a key that came as `byok_api_key`.
    by_byok_api_key: bool,
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
            routing_headers: inbound.routing_headers.clone(),
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
            // Its first turn has started the trace.
            traceparent: None,
            routing_headers: self.routing_headers.clone(),
            memory: self.gateway.shared.memory_for(owner(self.principal.scope)),
        }
    }
}

/// The MCP options of a request; `None` if it has none.
pub fn read(inbound: &Inbound<'_>) -> Result<Option<McpOptions>, Invalid> {
    if inbound.kind != Kind::Conversation(Dialect::Chat) {
        return Ok(None);
    }
    let settings = &inbound.gateway.settings;
    let servers = settings.mcp_servers.iter().map(|(slug, url)| (slug.as_str(), url.as_str())).collect();
    let allowed = McpPolicy {
        limits: settings.limits.mcp,
        servers,
        depth_max: settings.limits.body_depth_max,
        opener: settings.mcp_opener.as_ref(),
    };
    let Some(mcp_options) = mcp_options::read(&inbound.body, &allowed)? else { return Ok(None) };
    for (index, server) in mcp_options.servers.iter().enumerate() {
        session::check(server, inbound.transport).map_err(|refused| Invalid {
            param: Some(format!("mcp_servers[{index}]")),
            message: format!("`mcp_servers[{index}]`: {refused}"),
        })?;
    }
    Ok(Some(mcp_options))
}

/// Serves a request with MCP servers.
pub async fn complete(
    inbound: &Inbound<'_>,
    mut mcp_options: McpOptions,
    mut guard: BillingGuard,
) -> Result<Reply, (Failure, ResponseMeta)> {
    if let Err(failure) = grants::check(inbound, &mcp_options).await {
        return Err(refusal(failure, guard).await);
    }
    let limits = inbound.gateway.settings.limits.mcp;
    let until = Instant::now() + limits.total;
    let caller = Caller::of(inbound);
    // The gateway connects to servers only for a request that would be served: their tools do not change these
    // refusals.
    let bare = caller.inbound(mcp_options.request.write(&[], &[], true).into());
    let foreseen = tokio::select! {
        biased;
        foreseen = precheck(&bare, &mut guard) => foreseen,
        () = inbound.gateway.stopping.cancelled() => Err(Failure::stopping()),
    };
    if let Err(failure) = foreseen {
        return Err(refusal(failure, guard).await);
    }
    let opening = Toolbox::open(
        &mcp_options.servers,
        inbound.transport,
        &limits,
        inbound.memory.another(),
        &mcp_options.request.own_tools,
    );
    let toolbox = tokio::select! {
        biased;
        toolbox = opening => toolbox,
        () = inbound.gateway.stopping.cancelled() => {
            return Err(refusal(Failure::stopping(), guard).await);
        }
    };
    if let Some(messages) = &mcp_options.request.messages {
        let recalled = inbound.gateway.tool_history.recall(inbound.principal.api_key_id, messages).await;
        mcp_options.request.messages = recalled.or(mcp_options.request.messages);
    }
    let request = guard.request_id();
    let assembler = ResponseAssembler::new(request);
    let mut run = Run {
        caller,
        mcp_options,
        toolbox,
        assembler,
        said: Vec::new(),
        hidden: Vec::new(),
        executed: Vec::new(),
        charges: Vec::new(),
        until,
    };
    let answered = match run.turn(&mut guard).await {
        Ok(answered) => answered,
        Err(failure) => return Err(refusal(failure, guard).await),
    };
    match answered.answer {
        Answer::Whole { .. } => run.whole(guard, answered).await,
        Answer::Stream { .. } => {
            let meta = guard.meta();
            Ok(streamed::begin(run, guard, answered, meta))
        }
    }
}

impl Run {
    /// Calls the model for one turn.
    async fn turn(&mut self, guard: &mut BillingGuard) -> Result<UpstreamAnswer, Failure> {
        let first = self.said.is_empty();
        let gateway = self.caller.gateway.clone();
        if !first {
            tokio::select! {
                biased;
                renewed = self.renew(guard) => renewed?,
                () = gateway.stopping.cancelled() => return Err(Failure::stopping()),
            }
        }
        let body = self.mcp_options.request.write(&self.toolbox.definitions, &self.said, first);
        let body = Bytes::from(body);
        let open = guard.get();
        open.turns.gathers = true;
        open.body = body.clone();
        let inbound = self.caller.inbound(body);
        tokio::select! {
            biased;
            served = serve(&inbound, guard, Ok(())) => served,
            () = gateway.stopping.cancelled() => Err(Failure::stopping()),
        }
    }

    /// The API key must still be valid, by the same look-up that admitted the request. If the database is unreachable,
    /// the key counts as valid.
    async fn renew(&mut self, guard: &mut BillingGuard) -> Result<(), Failure> {
        let gateway = &self.caller.gateway;
        let principal = match gateway.authenticator.renew(&self.caller.principal).await {
            Ok(principal) => principal,
            Err(AuthError::Store(_)) if self.caller.principal.is_live(gateway.ambient.now()) => return Ok(()),
            Err(_) => return Err(Failure::KeyRevoked),
        };
        guard.get().principal = principal.clone();
        self.caller.principal = principal;
        Ok(())
    }

    /// An answer that is not streamed.
    async fn whole(
        mut self,
        mut guard: BillingGuard,
        mut answered: UpstreamAnswer,
    ) -> Result<Reply, (Failure, ResponseMeta)> {
        loop {
            let writer_context = match self.take_whole(answered, &mut guard) {
                Some(writer_context) => writer_context,
                None => return Err(refusal(Failure::ended(), guard).await),
            };
            let meta = guard.meta();
            match self.step(guard, &writer_context).await {
                Ok(Next::Turn(next)) => guard = next,
                Ok(Next::End(guard, stopped)) => return self.reply(guard, stopped, meta).await,
                Err(refused) => return Err(refused),
            }
            answered = match self.turn(&mut guard).await {
                Ok(answered) => answered,
                Err(failure) => return Err(refusal(failure, guard).await),
            };
        }
    }

    fn take_whole(&mut self, answered: UpstreamAnswer, guard: &mut BillingGuard) -> Option<WriterContext> {
        let Answer::Whole { body: Body::Answer(answer), usage, service_tier, text, memory, .. } =
            answered.answer
        else {
            return None;
        };
        // It is kept until all turns have ended.
        self.charges.extend(memory);
        let open = guard.get();
        open.commit();
        open.consumed(usage, service_tier.as_deref(), &text);
        let (answer, context) = *answer;
        let writer_context = context.writer_context?;
        self.assembler.begin(&writer_context);
        self.assembler.take(answer, &self.toolbox, self.mcp_options.tool_owner);
        Some(writer_context)
    }

    async fn reply(
        self,
        guard: BillingGuard,
        stopped: Option<Stopped>,
        mut meta: ResponseMeta,
    ) -> Result<Reply, (Failure, ResponseMeta)> {
        let Ok(ended) = self.settle(guard).await else { return Err((Failure::NotDurable, meta)) };
        meta.cost = Some(ended.total.charge);
        meta.byok = ended.total.byok;
        meta.by_byok_api_key = ended.by_byok_api_key;
        let Self { assembler, toolbox, executed, mcp_options, mut charges, .. } = self;
        let closing = ClosingSummary {
            note: &ended.note,
            executed: &executed,
            toolbox: &toolbox,
            turns: ended.turns,
            stopped,
        };
        let finish = stopped.map(|_| Finish::Length);
        let body =
            assembler.body(finish, &closing, &ended.total.usage, mcp_options.tool_owner).unwrap_or_default();
        let body = if ended.by_byok_api_key { annotate_body(body) } else { body };
        let mut memory = charges.pop();
        // All of them are now in this one body.
        let is_charged = memory.as_mut().is_none_or(|memory| memory.cover(body.len()).is_ok());
        drop(charges);
        let memory = memory.filter(|_| is_charged);
        Ok(Reply::Whole { meta, body, content_type: Cow::Borrowed("application/json"), memory })
    }

    /// The step after the last turn. Its answer is complete and not charged yet.
    async fn step(
        &mut self,
        guard: BillingGuard,
        writer_context: &WriterContext,
    ) -> Result<Next, (Failure, ResponseMeta)> {
        let (calls, own) = self.assembler.calls(&self.toolbox);
        let cut =
            matches!(self.assembler.finish(), Some(Finish::Length | Finish::ContentFilter | Finish::Refusal));
        if calls.is_empty() || cut || self.mcp_options.tool_owner == ToolOwner::Client {
            if own > 0 && self.mcp_options.tool_owner == ToolOwner::Gateway {
                // The calls of a turn that was cut short are not made.
                self.remember(&[], writer_context).await;
            }
            return Ok(Next::End(guard, None));
        }
        if own == 0 && guard.turn().saturating_add(1) >= self.mcp_options.turns_max {
            return Ok(Next::End(guard, Some(Stopped::MaxTurns)));
        }
        if own == 0 && Instant::now() >= self.until {
            return Ok(Next::End(guard, Some(Stopped::Time)));
        }
        // Calls can take minutes. The turn that requested them is charged before they begin.
        let meta = guard.meta();
        let guard = guard.finish_turn().await.map_err(|NotDurable| (Failure::NotDurable, meta))?;
        if let Err(failure) = self.call(&calls).await {
            return Err(refusal(failure, guard).await);
        }
        if own > 0 {
            // The client has to run its tools first: this is the answer, with the servers' results beside it.
            self.remember(&calls, writer_context).await;
            return Ok(Next::End(guard, None));
        }
        let Some(message) = self.assembler.message(writer_context, |_| true) else {
            return Ok(Next::End(guard, None));
        };
        let hidden = self.assembler.message(writer_context, is_hidden);
        let results = self.results(&calls);
        self.said.push(message);
        self.said.extend(results.iter().cloned());
        self.hidden.extend(hidden.into_iter().chain(results));
        let stopped = self.may_not_go_on();
        Ok(if stopped.is_some() { Next::End(guard, stopped) } else { Next::Turn(guard) })
    }

    /// The results of the last calls, as messages of the conversation, JSON.
    fn results(&self, calls: &[ToolCallItem]) -> Vec<String> {
        let results = self.executed.iter().rev().take(calls.len()).rev();
        calls.iter().zip(results).map(|(call, executed)| result(call, executed)).collect()
    }

    /// Keeps the messages that the client does not receive, for the request in which it answers its own calls.
    async fn remember(&self, calls: &[ToolCallItem], writer_context: &WriterContext) {
        let is_servers = |name: &Escaped<'_>| self.toolbox.has(&name.decode());
        let own = self.assembler.message(writer_context, |part| match part {
            AnswerPart::ToolCall { name, .. } => !is_servers(name),
            _ => false,
        });
        let others = self.assembler.message(writer_context, |part| match part {
            AnswerPart::ToolCall { name, .. } => is_servers(name),
            part => is_hidden(part),
        });
        let mut said = self.hidden.clone();
        if !calls.is_empty() {
            said.extend(others);
            said.extend(self.results(calls));
        }
        if let Some(own) = own {
            self.caller.gateway.tool_history.keep(self.caller.principal.api_key_id, said, &own).await;
        }
    }

    fn may_not_go_on(&self) -> Option<Stopped> {
        let bytes: usize = self.said.iter().map(String::len).sum();
        if bytes > self.caller.gateway.settings.limits.body_bytes_max {
            return Some(Stopped::Size);
        }
        (Instant::now() >= self.until).then_some(Stopped::Time)
    }

    /// Makes the calls of a turn, several in parallel, and keeps their results in the order of the calls.
    async fn call(&mut self, calls: &[ToolCallItem]) -> Result<(), Failure> {
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
            () = gateway.stopping.cancelled() => return Err(Failure::stopping()),
        };
        self.executed.extend(made);
        Ok(())
    }

    /// Charges the last turn, if it had an answer, and sums up all turns.
    async fn settle(&self, mut guard: BillingGuard) -> Result<Ended, NotDurable> {
        let open = guard.get();
        let (request_id, requested) = (open.request_id, open.history.requested().to_owned());
        let mut done = open.turns.done.clone();
        if open.is_committed() {
            let (served, bill) = guard.settle(RequestOutcome::Completed).await?;
            done.push(CompletedTurn { served, bill });
        } else {
            guard.close().await;
        }
        let total = Total::of(done.iter().map(|done| (&done.served, &done.bill))).ok_or(NotDurable)?;
        let served: &ServedBy = &done.last().ok_or(NotDurable)?.served;
        let note = receipt::note(request_id, &requested, served, &total);
        let by_byok_api_key = done.iter().all(|done| done.served.by_byok_api_key);
        let note = if by_byok_api_key { annotate_receipt_member(note) } else { note };
        Ok(Ended { note, total, turns: done.len(), by_byok_api_key })
    }
}

/// Calls, and the reasoning that some providers require before them; the text is sent to the client.
fn is_hidden(part: &AnswerPart) -> bool {
    matches!(part, AnswerPart::ToolCall { .. } | AnswerPart::Reasoning { .. } | AnswerPart::Redacted(_))
}

/// A result as a message of the conversation, JSON.
fn result(call: &ToolCallItem, executed: &Executed) -> String {
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
