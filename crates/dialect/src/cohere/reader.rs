//! Reads answers. A stream is a sequence of named events that ends with `message-end`; a whole answer holds the same
//! data at once. Keeps the open calls and up to four bytes of arguments, never text.

use super::usage;
use crate::{
    Reading, Unreadable,
    canonical::{Citation, Delta, Event, Finish, Json},
    json::{Cursor, DEPTH_LIMIT, Escaped, Kind, Raw},
    sse::Frame,
};

/// Reads one answer.
pub struct Reader {
    seed: String,
    has_started: bool,
    has_failed: bool,
    has_ended: bool,
    /// Calls that have begun.
    tools: u32,
    open: Vec<Call>,
}

/// A call whose arguments are not complete.
struct Call {
    tool: u32,
    /// The number on the wire.
    index: Option<u64>,
    /// The beginning of arguments that may be `null`, which means none.
    held: String,
    has_spoken: bool,
}

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

/// Maximum open calls at one time; no answer has so many.
const OPEN_MAX: usize = 128;
const NOTHING: &str = "null";

impl Reader {
    pub fn new(reading: Reading) -> Self {
        Self {
            seed: reading.seed,
            has_started: false,
            has_failed: false,
            has_ended: false,
            tools: 0,
            open: Vec::new(),
        }
    }

    pub fn frame(&mut self, frame: Frame<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        match frame.data() {
            Some(data) if !matches!(data.trim_ascii(), b"" | b"[DONE]") => self.event(parse(&data)?, emit),
            _ => Ok(()),
        }
    }

    pub fn close(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.end_calls(emit);
            emit(Event::End);
        }
    }

    pub fn body(&mut self, json: &[u8], emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        let answer = parse(json)?;
        let Some(message) = answer.member("message").filter(|message| message.kind() == Kind::Object) else {
            // An object with only a `message` text, or with `error`, reports an error.
            if answer.member("message").or(answer.member("error")).is_none_or(Raw::is_null) {
                return Err(Unreadable);
            }
            self.fail(Json::of(answer), emit);
            self.close(emit);
            return Ok(());
        };
        self.start(answer, emit);
        if let Some(plan) = text_of(message, "tool_plan") {
            say(Delta::Reasoning(plan), emit);
        }
        match message.member("content") {
            Some(content) if content.kind() == Kind::String => self.content(content, emit),
            Some(content) => content.elements().into_iter().for_each(|part| self.content(part, emit)),
            None => {}
        }
        // As in a stream: data of the text comes before the calls.
        for citation in message.member("citations").map(Raw::elements).unwrap_or_default() {
            cite(citation, emit);
        }
        for logprobs in answer.member("logprobs").map(Raw::elements).unwrap_or_default() {
            tell_logprobs(logprobs, emit);
        }
        for call in message.member("tool_calls").map(Raw::elements).unwrap_or_default() {
            self.begin_call(None, call, emit)?;
            self.end_calls(emit);
        }
        self.finish(answer, emit);
        self.close(emit);
        Ok(())
    }

    fn event(&mut self, event: Raw<'_>, emit: Emit<'_>) -> Result<(), Unreadable> {
        if event.kind() != Kind::Object {
            return Err(Unreadable);
        }
        if self.has_failed || self.has_ended {
            return Ok(());
        }
        let message = || event.member("delta").and_then(|delta| delta.member("message"));
        let index = event.member("index").and_then(Raw::count);
        let kind = event.member("type").and_then(Raw::text);
        match kind.as_deref() {
            Some("message-start") => self.start(event, emit),
            Some("content-start" | "content-delta") => {
                if let Some(content) = message().and_then(|message| message.member("content")) {
                    self.content(content, emit);
                }
                if let Some(logprobs) = event.member("logprobs") {
                    tell_logprobs(logprobs, emit);
                }
            }
            Some("tool-plan-delta") => {
                if let Some(plan) = message().and_then(|message| text_of(message, "tool_plan")) {
                    say(Delta::Reasoning(plan), emit);
                }
            }
            Some("tool-call-start") => {
                if let Some(call) = message().and_then(|message| message.member("tool_calls")).and_then(only)
                {
                    self.begin_call(index, call, emit)?;
                }
            }
            Some("tool-call-delta") => {
                let call = message().and_then(|message| message.member("tool_calls")).and_then(only);
                if let Some(piece) = call.and_then(|call| text_of(call.member("function")?, "arguments")) {
                    self.arguments(index, piece, emit);
                }
            }
            Some("tool-call-end") => self.end_call(index, emit),
            Some("citation-start") => {
                let citations = message().and_then(|message| message.member("citations"));
                citations.into_iter().for_each(|citations| match citations.kind() {
                    Kind::Array => citations.elements().into_iter().for_each(|each| cite(each, emit)),
                    _ => cite(citations, emit),
                });
            }
            Some("message-end") => {
                if let Some(delta) = event.member("delta") {
                    self.finish(delta, emit);
                }
                self.close(emit);
            }
            Some("error") => self.fail(Json::of(event), emit),
            None if event.member("message").or(event.member("error")).is_some() => {
                self.fail(Json::of(event), emit);
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, holder: Raw<'_>, emit: Emit<'_>) {
        if !std::mem::replace(&mut self.has_started, true) {
            let id = text_of(holder, "id").unwrap_or_default();
            emit(Event::Start { id, model: Escaped::default() });
        }
    }

    fn fail(&mut self, error: Json<'_>, emit: Emit<'_>) {
        self.has_failed = true;
        emit(Event::Failed(error));
    }

    /// A string, or an object that holds `text` or `thinking`.
    fn content(&mut self, content: Raw<'_>, emit: Emit<'_>) {
        if let Some(text) = Escaped::of(content).filter(|text| !text.is_empty()) {
            say(Delta::Text(text), emit);
        }
        if let Some(thought) = text_of(content, "thinking") {
            say(Delta::Reasoning(thought), emit);
        }
        if let Some(text) = text_of(content, "text") {
            say(Delta::Text(text), emit);
        }
    }

    fn begin_call(&mut self, index: Option<u64>, call: Raw<'_>, emit: Emit<'_>) -> Result<(), Unreadable> {
        if self.open.len() >= OPEN_MAX {
            return Err(Unreadable);
        }
        let function = call.member("function").ok_or(Unreadable)?;
        let tool = self.tools;
        self.tools = tool.saturating_add(1);
        let made = || Escaped::from_text(&format!("call_{}{tool}", self.seed));
        let id = text_of(call, "id").unwrap_or_else(made);
        let name = text_of(function, "name").unwrap_or_default();
        say(Delta::ToolStart { tool, id, name, signature: None }, emit);
        let mut begun = Call { tool, index, held: String::new(), has_spoken: false };
        if let Some(piece) = text_of(function, "arguments") {
            begun.arguments(piece, emit);
        }
        self.open.push(begun);
        Ok(())
    }

    /// More arguments of the call with that number, or of the newest call.
    fn arguments(&mut self, index: Option<u64>, piece: Escaped<'_>, emit: Emit<'_>) {
        if let Some(call) = self.position(index).and_then(|at| self.open.get_mut(at)) {
            call.arguments(piece, emit);
        }
    }

    fn end_call(&mut self, index: Option<u64>, emit: Emit<'_>) {
        if let Some(at) = self.position(index) {
            self.open.remove(at).end(emit);
        }
    }

    fn end_calls(&mut self, emit: Emit<'_>) {
        self.open.drain(..).for_each(|call| call.end(emit));
    }

    fn position(&self, index: Option<u64>) -> Option<usize> {
        let last = self.open.len().checked_sub(1);
        index.map_or(last, |_| self.open.iter().rposition(|call| call.index == index))
    }

    /// `holder` has the finish reason, the usage, and maybe an error.
    fn finish(&mut self, holder: Raw<'_>, emit: Emit<'_>) {
        self.end_calls(emit);
        let reason = text_of(holder, "finish_reason");
        let error = holder.member("error").filter(|error| !error.is_idle());
        let reason_name = reason.as_ref().map(Escaped::inner);
        if error.is_some() || matches!(reason_name, Some("ERROR" | "TIMEOUT" | "ERROR_LIMIT")) {
            self.fail(failure(error, reason_name.unwrap_or("ERROR")), emit);
        } else if let Some(name) = reason_name {
            let reason = finish_of(name, self.tools > 0);
            emit(Event::Finish { choice: 0, reason, stop_sequence: None });
        }
        if let Some(usage) = holder.member("usage").and_then(usage::read) {
            emit(Event::Usage(usage));
        }
    }
}

impl Call {
    /// Emits a piece when it is certain that the arguments are not just `null`.
    fn arguments(&mut self, piece: Escaped<'_>, emit: Emit<'_>) {
        let tool = self.tool;
        if self.has_spoken {
            return say(Delta::ToolArguments { tool, piece }, emit);
        }
        self.held.push_str(piece.inner());
        if !NOTHING.starts_with(&self.held) {
            self.has_spoken = true;
            let piece = Escaped::from_inner(std::mem::take(&mut self.held));
            say(Delta::ToolArguments { tool, piece }, emit);
        }
    }

    fn end(self, emit: Emit<'_>) {
        let tool = self.tool;
        if !self.held.is_empty() && self.held != NOTHING {
            say(Delta::ToolArguments { tool, piece: Escaped::from_inner(self.held) }, emit);
        }
        say(Delta::ToolEnd { tool }, emit);
    }
}

fn parse(json: &[u8]) -> Result<Raw<'_>, Unreadable> {
    let mut cursor = Cursor::new(json, DEPTH_LIMIT).map_err(|_| Unreadable)?;
    let value = cursor.value().map_err(|_| Unreadable)?;
    cursor.end().map_err(|_| Unreadable)?;
    Ok(value)
}

fn say(delta: Delta<'_>, emit: Emit<'_>) {
    emit(Event::Said { choice: 0, delta });
}

/// A member that is a string and not empty.
fn text_of<'a>(holder: Raw<'a>, name: &str) -> Option<Escaped<'a>> {
    holder.member(name).and_then(Escaped::of).filter(|text| !text.is_empty())
}

/// On this wire format a call is a single object; one in a list is accepted too.
fn only(call: Raw<'_>) -> Option<Raw<'_>> {
    match call.kind() {
        Kind::Object => Some(call),
        _ => call.elements().into_iter().next(),
    }
}

fn finish_of(reason: &str, has_calls: bool) -> Finish {
    match reason {
        "STOP_SEQUENCE" => Finish::StopSequence,
        "MAX_TOKENS" => Finish::Length,
        "TOOL_CALL" => Finish::ToolCalls,
        "ERROR_TOXIC" | "SAFETY" | "CONTENT_FILTER" | "CONTENT_BLOCKED" => Finish::ContentFilter,
        _ if has_calls => Finish::ToolCalls,
        _ => Finish::Stop,
    }
}

/// An error in the provider's own format.
fn failure(error: Option<Raw<'_>>, reason: &str) -> Json<'static> {
    let said = error.map(|error| error.get().to_owned());
    let message = match error.map(Raw::kind) {
        Some(Kind::String) => said.unwrap_or_default(),
        Some(Kind::Object) => return Json::trusted(format!("{{\"error\":{}}}", said.unwrap_or_default())),
        _ => format!("\"the answer ended with {reason}\""),
    };
    Json::trusted(format!("{{\"message\":{message}}}"))
}

/// The addresses of a citation's sources. Citations of the plan or the reasoning do not concern the text.
fn cite(citation: Raw<'_>, emit: Emit<'_>) {
    let kind = citation.member("type").and_then(Raw::text);
    if kind.is_some_and(|kind| kind != "TEXT_CONTENT") {
        return;
    }
    let place = |name: &str| citation.member(name).and_then(Raw::count);
    let span = place("start").zip(place("end"));
    for source in citation.member("sources").map(Raw::elements).unwrap_or_default() {
        let Some(holder) = source.member("document").or(source.member("tool_output")) else { continue };
        if let Some(url) = text_of(holder, "url") {
            let title = text_of(holder, "title");
            say(Delta::Citation(Citation { url, title, span }), emit);
        }
    }
}

/// One piece of text with the logprobs of its tokens; the text stands with the first.
fn tell_logprobs(item: Raw<'_>, emit: Emit<'_>) {
    let text = item.member("text").and_then(Escaped::of).unwrap_or_default();
    let mut content = String::new();
    for (index, logprob) in item.member("logprobs").map(Raw::elements).unwrap_or_default().iter().enumerate()
    {
        if logprob.kind() != Kind::Number {
            return;
        }
        let (comma, token) = if index == 0 { ("", text.inner()) } else { (",", "") };
        let logprob = logprob.get();
        content.push_str(&format!(
            "{comma}{{\"token\":\"{token}\",\"logprob\":{logprob},\"bytes\":null,\"top_logprobs\":[]}}"
        ));
    }
    if !content.is_empty() {
        say(Delta::Logprobs(Json::trusted(format!("{{\"content\":[{content}]}}"))), emit);
    }
}
