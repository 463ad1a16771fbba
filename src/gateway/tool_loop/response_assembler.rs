//! The answer of several turns for the client: the text of every turn, the calls of the client's own tools, one
//! beginning and one end. Calls of servers' tools are not included. The same code serves streams and whole answers.

use super::{
    mcp_options::ToolOwner,
    toolbox::{Executed, Toolbox},
};
use crate::{
    dialect::{
        self, Dialect, WriterContext,
        canonical::{Answer, AnswerPart, Delta, Event, Finish},
        json::{Escaped, ObjectWriter},
        openai_chat::{self, Said, Writer},
    },
    domain::{ids::RequestId, usage::Usage},
};

/// Everything sent so far.
pub struct ResponseAssembler {
    request: RequestId,
    /// Ids that were given to calls of the client's tools.
    ids: u32,
    /// Writes the stream; `None` for a whole answer.
    writer: Option<Writer>,
    /// How this turn's answer is written.
    writer_context: Option<WriterContext>,
    /// The text of earlier turns, for a whole answer.
    before: Vec<Said>,
    /// The id of the answer has been sent.
    named: bool,
    /// This turn as the model wrote it.
    pub turn: Answer,
    /// For each call of this turn by its number: the number that the client gets, or none for a server's tool.
    routes: Vec<Option<u32>>,
    own_calls: u32,
}

/// A call by the model.
pub struct ToolCallItem {
    pub id: Escaped<'static>,
    pub name: String,
    pub arguments: String,
}

/// Why an answer ends before the model finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    MaxTurns,
    Time,
    Size,
}

impl Stopped {
    fn as_str(self) -> &'static str {
        match self {
            Stopped::MaxTurns => "max_turns",
            Stopped::Time => "time",
            Stopped::Size => "size",
        }
    }
}

/// The members of the last frame, or of the body, beside the answer.
pub struct ClosingSummary<'a> {
    /// `x_kairosroute`, JSON.
    pub note: &'a str,
    pub executed: &'a [Executed],
    pub toolbox: &'a Toolbox,
    pub turns: usize,
    pub stopped: Option<Stopped>,
}

impl ResponseAssembler {
    /// For this request.
    pub fn new(request: RequestId) -> Self {
        Self {
            request,
            writer: None,
            writer_context: None,
            before: Vec::new(),
            ids: 0,
            named: false,
            turn: Answer::default(),
            routes: Vec::new(),
            own_calls: 0,
        }
    }

    /// A turn begins whose answer is whole; it is written like this.
    pub fn begin(&mut self, writer_context: &WriterContext) {
        let Answer { choices, .. } = std::mem::take(&mut self.turn);
        let mut parts = choices.into_iter().next().map(|choice| choice.parts).unwrap_or_default();
        parts.retain(|part| !matches!(part, AnswerPart::ToolCall { .. }));
        self.before.extend(self.writer_context.take().map(|writer_context| Said { parts, writer_context }));
        self.writer_context = Some(writer_context.clone());
    }

    /// A turn begins that is streamed. Everything before it has been sent.
    pub fn begin_stream(&mut self, writer_context: &WriterContext) {
        self.turn = Answer::default();
        self.routes.clear();
        match &mut self.writer {
            Some(writer) => {
                // An id that was not sent at the beginning is not sent in the middle of the answer.
                self.named = true;
                writer.go_on(writer_context.clone());
            }
            None => self.writer = Some(Writer::new(writer_context.clone())),
        }
    }

    /// Takes a turn that arrived whole.
    pub fn take(&mut self, mut turn: Answer, toolbox: &Toolbox, tool_owner: ToolOwner) {
        for part in turn.choices.iter_mut().flat_map(|choice| &mut choice.parts) {
            if let AnswerPart::ToolCall { id, name, .. } = part
                && tool_owner == ToolOwner::Gateway
                && !toolbox.has(&name.decode())
            {
                *id = self.new_id();
            }
        }
        self.turn = turn;
    }

    /// An id for a call of the client's tool. It comes back with the result and identifies the messages before the
    /// call. Some models count their calls from 0 in every answer, so their ids would find the messages of another
    /// call.
    fn new_id(&mut self) -> Escaped<'static> {
        self.ids = self.ids.saturating_add(1);
        Escaped::from_inner(format!("call_{}{}", self.request.0.simple(), self.ids))
    }

    /// Takes an event, and writes the part of it that is for the client.
    pub fn absorb(
        &mut self,
        mut event: Event<'static>,
        toolbox: &Toolbox,
        tool_owner: ToolOwner,
        out: &mut Vec<u8>,
    ) {
        if let Event::Said { delta: Delta::ToolStart { id, name, .. }, .. } = &mut event
            && tool_owner == ToolOwner::Gateway
            && !toolbox.has(&name.decode())
        {
            *id = self.new_id();
        }
        if let Some(entry) =
            self.for_the_caller(&event, |name| tool_owner == ToolOwner::Gateway && toolbox.has(name))
            && let Some(writer) = &mut self.writer
        {
            writer.event(&entry, out);
        }
        self.turn.absorb(event);
    }

    /// The event with the client's numbers; `None` if it is not for the client, or not yet.
    fn for_the_caller<'e>(
        &mut self,
        event: &'e Event<'static>,
        is_ours: impl Fn(&str) -> bool,
    ) -> Option<std::borrow::Cow<'e, Event<'static>>> {
        use std::borrow::Cow;
        let Event::Said { choice: 0, delta } = event else {
            return match event {
                Event::Start { .. } if !std::mem::replace(&mut self.named, true) => {
                    Some(Cow::Borrowed(event))
                }
                Event::ServiceTier(_) => Some(Cow::Borrowed(event)),
                // The end is written once, at the end of all turns.
                _ => None,
            };
        };
        let delta = match delta {
            Delta::ToolStart { tool, id, name, signature } => {
                let ours = is_ours(&name.decode());
                let number = (!ours).then_some(self.own_calls);
                self.own_calls = self.own_calls.saturating_add(u32::from(!ours));
                let place = usize::try_from(*tool).ok()?;
                while self.routes.len() <= place {
                    self.routes.push(None);
                }
                *self.routes.get_mut(place)? = number;
                let (id, name, signature) = (id.clone(), name.clone(), signature.clone());
                Delta::ToolStart { tool: number?, id, name, signature }
            }
            Delta::ToolArguments { tool, piece } => {
                Delta::ToolArguments { tool: self.route(*tool)?, piece: piece.clone() }
            }
            Delta::ToolEnd { tool } => Delta::ToolEnd { tool: self.route(*tool)? },
            _ => return Some(Cow::Borrowed(event)),
        };
        Some(Cow::Owned(Event::Said { choice: 0, delta }))
    }

    fn route(&self, tool: u32) -> Option<u32> {
        *self.routes.get(usize::try_from(tool).ok()?)?
    }

    /// The calls of this turn: those of servers' tools, and the number of the client's own.
    pub fn calls(&self, toolbox: &Toolbox) -> (Vec<ToolCallItem>, usize) {
        let parts = self.turn.choices.first().map(|choice| choice.parts.as_slice()).unwrap_or_default();
        let calls = parts.iter().filter_map(|part| match part {
            AnswerPart::ToolCall { id, name, arguments, .. } => Some(ToolCallItem {
                id: id.clone(),
                name: name.decode().into_owned(),
                arguments: arguments.decode_json().into_owned(),
            }),
            _ => None,
        });
        let (servers, own): (Vec<_>, Vec<_>) = calls.partition(|call| toolbox.has(&call.name));
        (servers, own.len())
    }

    pub fn finish(&self) -> Option<Finish> {
        self.turn.choices.first().and_then(|choice| choice.finish)
    }

    /// This turn, or some parts of it, as a message of the conversation, JSON.
    pub fn message(
        &self,
        writer_context: &WriterContext,
        keep: impl Fn(&AnswerPart) -> bool,
    ) -> Option<String> {
        let mut said = self.turn.clone();
        said.choices.truncate(1);
        for choice in &mut said.choices {
            choice.logprobs.clear();
            // Members that are not sent back to a model.
            let unread =
                |part: &AnswerPart| matches!(part, AnswerPart::Citation(_) | AnswerPart::Image { .. });
            choice.parts.retain(|part| !unread(part) && keep(part));
        }
        let body = dialect::write_answer(Dialect::Chat, &said, writer_context, "null", &Usage::default())?;
        let body: Body<'_> = serde_json::from_slice(&body).ok()?;
        Some(body.choices.first()?.message.get().to_owned())
    }

    /// The last frames of a stream.
    pub fn conclude(
        &mut self,
        finish: Option<Finish>,
        closing: &ClosingSummary<'_>,
        billed: &Usage,
        out: &mut Vec<u8>,
    ) {
        let Some(writer) = &mut self.writer else { return };
        let reason = finish.or(self.turn.choices.first().and_then(|choice| choice.finish));
        if let Some(reason) = reason {
            writer.event(&Event::Finish { choice: 0, reason, stop_sequence: None }, out);
        }
        writer.conclude(&closing.write(), billed, out);
    }

    /// The body of a whole answer.
    pub fn body(
        mut self,
        finish: Option<Finish>,
        closing: &ClosingSummary<'_>,
        billed: &Usage,
        tool_owner: ToolOwner,
    ) -> Option<Vec<u8>> {
        let writer_context = self.writer_context.take()?;
        let mut answer = std::mem::take(&mut self.turn);
        answer.choices.truncate(1);
        if answer.choices.is_empty() {
            answer.choices.push(Default::default());
        }
        let choice = answer.choices.first_mut()?;
        let ours = |part: &AnswerPart| match part {
            AnswerPart::ToolCall { name, .. } => {
                tool_owner == ToolOwner::Gateway && closing.toolbox.has(&name.decode())
            }
            _ => false,
        };
        choice.parts.retain(|part| !ours(part));
        choice.finish = finish.or(choice.finish);
        let note = closing.write();
        Some(openai_chat::write_turns(&self.before, &answer, &writer_context, &note, billed))
    }
}

#[derive(serde::Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    choices: Vec<Message<'a>>,
}

#[derive(serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    message: &'a serde_json::value::RawValue,
}

impl ClosingSummary<'_> {
    /// The receipt member and the members that always follow it.
    fn write(&self) -> String {
        let mut rest = ObjectWriter::new();
        let mut names: Vec<String> = Vec::new();
        for call in self.executed.iter().filter(|call| call.made) {
            let mut name = Vec::new();
            dialect::json::push_text(&mut name, &call.tool);
            names.push(String::from_utf8(name).unwrap_or_default());
        }
        rest.raw("tools_executed", &format!("[{}]", names.join(",")));
        let results: Vec<String> = self.executed.iter().map(Executed::write).collect();
        rest.raw("mcp_tool_results", &format!("[{}]", results.join(",")));
        if !self.toolbox.errors.is_empty() {
            let mut errors = ObjectWriter::new();
            for (server, error) in &self.toolbox.errors {
                let mut entry = ObjectWriter::new();
                entry.text("message", &error.message);
                entry.text("code", error.code);
                errors.key(server).extend(entry.end());
            }
            rest.key("mcp_server_errors").extend(errors.end());
        }
        rest.raw("turns_consumed", &self.turns.to_string());
        if let Some(stopped) = self.stopped {
            rest.text("mcp_stopped_by", stopped.as_str());
        }
        let rest = String::from_utf8(rest.end()).unwrap_or_default();
        let inside = rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
        format!("{},{inside}", self.note)
    }
}
