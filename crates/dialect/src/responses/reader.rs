//! Reads answers of a provider of Responses, whole or in frames. The content of the deltas counts; parts that never
//! arrived as deltas are taken from the events that finish them. Keeps a few words for each item and never the text.

mod item;

use super::{
    events::{self, Voice, count, is_call, logprobs_json, present, spoken, value},
    usage,
};
use crate::{
    Reading, Unreadable,
    canonical::{Citation, Delta, Event, Finish, Json},
    json::{Escaped, Kind, Raw},
    sse::Frame,
};
use item::Item;
use kairosroute_domain::usage::Usage;

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

/// Maximum items of one answer; no provider creates more.
const ITEMS_MAX: usize = 4096;

/// Reads one answer.
pub struct Reader {
    reading: Reading,
    started: bool,
    ended: bool,
    items: Vec<Item>,
    tools: u32,
    said_text: bool,
    /// Characters of text emitted.
    chars: u64,
    /// The last content was reasoning, to which more reasoning would be appended.
    in_reasoning: bool,
    usage: Option<Usage>,
    /// Web searches among the items.
    searches: u64,
}

/// The content that was emitted before the final output arrived.
#[derive(Clone, Copy)]
struct Heard {
    anything: bool,
    text: bool,
}

impl Reader {
    pub fn new(reading: Reading) -> Self {
        Self {
            reading,
            started: false,
            ended: false,
            items: Vec::new(),
            tools: 0,
            said_text: false,
            chars: 0,
            in_reasoning: false,
            usage: None,
            searches: 0,
        }
    }

    /// Takes one frame of a stream.
    pub fn frame(&mut self, frame: Frame<'_>, emit: Emit<'_>) -> Result<(), Unreadable> {
        let Some(data) = frame.data() else { return Ok(()) };
        if self.ended || data.trim_ascii().is_empty() || data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        let event = value(&data)?;
        if event.kind() != Kind::Object {
            return Err(Unreadable);
        }
        let named = frame.event().and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
        let typed = event.member("type").and_then(Raw::text);
        let typed = typed.as_deref().unwrap_or(named);
        self.event(typed, event, emit)
    }

    /// The provider has closed the stream.
    pub fn close(&mut self, emit: Emit<'_>) {
        if !std::mem::replace(&mut self.ended, true) {
            emit(Event::End);
        }
    }

    /// Takes a whole answer.
    pub fn body(&mut self, json: &[u8], emit: Emit<'_>) -> Result<(), Unreadable> {
        let response = value(json)?;
        if response.kind() != Kind::Object {
            return Err(Unreadable);
        }
        let known = ["output", "status", "error"].iter().any(|key| present(response, key).is_some());
        if !known {
            return Err(Unreadable);
        }
        self.start(response, emit);
        self.finish("", response, emit)?;
        self.close(emit);
        Ok(())
    }

    fn event(&mut self, typed: &str, event: Raw<'_>, emit: Emit<'_>) -> Result<(), Unreadable> {
        match typed {
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.done"
            | "response.cancelled" => {
                // Perplexity puts the error beside a missing response.
                let response = present(event, "response").unwrap_or(event);
                self.start(response, emit);
                self.finish(typed, response, emit)?;
                self.close(emit);
            }
            "error" => self.fail(Json::of(present(event, "error").unwrap_or(event)), emit),
            "response.created" | "response.queued" | "response.in_progress" => {
                if let Some(response) = present(event, "response") {
                    self.start(response, emit);
                }
            }
            "response.output_item.added" => {
                if let Some(item) = present(event, "item") {
                    let index = count(event, "output_index").unwrap_or_else(|| self.next_index());
                    self.add(index, item, emit)?;
                }
            }
            "response.output_item.done" => {
                if let Some(item) = present(event, "item") {
                    let index = count(event, "output_index").unwrap_or_else(|| self.next_index());
                    self.complete(index, item, emit)?;
                }
            }
            "response.output_text.annotation.added" => {
                let at = self.place(event)?;
                if let Some(annotation) = present(event, "annotation") {
                    self.cite(at, annotation, emit);
                }
            }
            _ => {
                if let Some((voice, key, whole)) = spoken(typed) {
                    self.speak(voice, key, whole, event, emit)?;
                }
            }
        }
        Ok(())
    }

    /// A piece of a part, or a whole part that counts only if no piece arrived.
    fn speak(
        &mut self,
        voice: Voice,
        key: &str,
        whole: bool,
        event: Raw<'_>,
        emit: Emit<'_>,
    ) -> Result<(), Unreadable> {
        let at = self.place(event)?;
        let text = present(event, key).and_then(Escaped::of);
        let part = count(event, "content_index").or(count(event, "summary_index")).unwrap_or(0);
        let came = self.items.get(at).is_some_and(|item| item.part == Some((voice, part)));
        let again = whole && came;
        if let Some(text) = text.filter(|text| !text.is_empty() && !again) {
            self.say(at, voice, part, text, emit);
            if let Some(logprobs) = present(event, "logprobs").filter(|list| !list.is_empty()) {
                emit(said(Delta::Logprobs(logprobs_json(logprobs))));
            }
        }
        if whole && voice == Voice::Arguments {
            self.end_tool(at, emit);
        }
        Ok(())
    }

    fn say(&mut self, at: usize, voice: Voice, part: u64, text: Escaped<'_>, emit: Emit<'_>) {
        let chars = self.chars;
        let Some(item) = self.items.get_mut(at) else { return };
        if voice == Voice::Arguments && item.tool.is_none() {
            // For a call that was not announced; its item will contain all of it.
            return;
        }
        let is_new = item.part != Some((voice, part));
        // An open model emits its reasoning and may then summarize it.
        let other = |voice| matches!(item.part, Some((said, _)) if said == voice);
        if voice == Voice::Summary && other(Voice::Thought)
            || voice == Voice::Thought && other(Voice::Summary)
        {
            return;
        }
        let begins = item.part.is_none();
        if is_new {
            item.part = Some((voice, part));
            item.part_start = chars;
        }
        match voice {
            Voice::Text => {
                if begins && self.said_text {
                    // Two messages of one answer are separate texts.
                    emit(said(Delta::Text(Escaped::from_inner("\\n\\n"))));
                    self.chars = self.chars.saturating_add(2);
                    item.part_start = self.chars;
                }
                let chars = self.chars;
                let more = u64::try_from(text.decode().chars().count()).unwrap_or(0);
                self.chars = chars.saturating_add(more);
                self.said_text = true;
                self.in_reasoning = false;
                emit(said(Delta::Text(text)));
            }
            Voice::Refusal => {
                self.in_reasoning = false;
                emit(said(Delta::Refusal(text)));
            }
            Voice::Summary | Voice::Thought => {
                if is_new && self.in_reasoning {
                    emit(said(Delta::Reasoning(Escaped::from_inner("\\n\\n"))));
                }
                self.in_reasoning = true;
                emit(said(Delta::Reasoning(text)));
            }
            // Some models write this for no arguments.
            Voice::Arguments if is_new && text.inner() == "null" => {}
            Voice::Arguments => {
                if let Some(tool) = item.tool.filter(|_| !item.done) {
                    emit(said(Delta::ToolArguments { tool, piece: text }));
                }
            }
        }
    }

    /// An item has begun.
    fn add(&mut self, index: u64, item: Raw<'_>, emit: Emit<'_>) -> Result<usize, Unreadable> {
        if let Some(at) = self.items.iter().position(|known| known.index == index) {
            return Ok(at);
        }
        let at = self.begin(index)?;
        if is_call(item) {
            self.start_tool(at, item, emit);
        }
        Ok(at)
    }

    fn start_tool(&mut self, at: usize, item: Raw<'_>, emit: Emit<'_>) {
        let Some(known) = self.items.get_mut(at) else { return };
        let field = |key: &str| present(item, key).and_then(Escaped::of);
        let tool = self.tools;
        let id = field("call_id")
            .or(field("id"))
            .unwrap_or_else(|| Escaped::from_text(&format!("call_{}{tool}", self.reading.seed)));
        known.tool = Some(tool);
        known.call_id = Some(id.inner().to_owned());
        self.tools = tool.saturating_add(1);
        self.in_reasoning = false;
        let name = field("name").unwrap_or_default();
        emit(said(Delta::ToolStart { tool, id, name, signature: field("thought_signature") }));
    }

    fn end_tool(&mut self, at: usize, emit: Emit<'_>) {
        if let Some(item) = self.items.get_mut(at)
            && let Some(tool) = item.tool
            && !std::mem::replace(&mut item.done, true)
        {
            emit(said(Delta::ToolEnd { tool }));
        }
    }

    /// A finished item: content that did not arrive in pieces is emitted now.
    fn complete(&mut self, index: u64, item: Raw<'_>, emit: Emit<'_>) -> Result<(), Unreadable> {
        let at = self.add(index, item, emit)?;
        if is_call(item) && self.items.get(at).is_some_and(|known| known.tool.is_none()) {
            self.start_tool(at, item, emit);
        }
        let Some(known) = self.items.get(at) else { return Ok(()) };
        if known.done {
            return Ok(());
        }
        let silent = known.part.is_none();
        match events::item_type(item).as_deref() {
            Some("message") => self.message(at, item, silent, emit),
            Some("reasoning") => {
                if silent {
                    for (voice, key) in [(Voice::Summary, "summary"), (Voice::Thought, "content")] {
                        self.texts(at, voice, present(item, key), emit);
                    }
                }
                let signature = present(item, "encrypted_content").and_then(Escaped::of);
                if let Some(signature) = signature.filter(|value| !value.is_empty()) {
                    self.in_reasoning = false;
                    emit(said(Delta::Signature(signature)));
                }
            }
            Some("function_call" | "custom_tool_call") => {
                let arguments = present(item, "arguments").or(present(item, "input")).and_then(Escaped::of);
                if let Some(arguments) = arguments.filter(|text| silent && !text.is_empty()) {
                    self.say(at, Voice::Arguments, 0, arguments, emit);
                }
                self.end_tool(at, emit);
            }
            Some("web_search_call") => {
                self.searches = self.searches.saturating_add(u64::from(events::is_search(item)));
            }
            Some("image_generation_call") => {
                if let Some(data) = present(item, "result").and_then(Escaped::of) {
                    self.in_reasoning = false;
                    emit(said(Delta::Image { media_type: events::image_type(item), data }));
                }
            }
            _ => {}
        }
        if let Some(known) = self.items.get_mut(at) {
            known.done = true;
        }
        Ok(())
    }

    fn message(&mut self, at: usize, item: Raw<'_>, silent: bool, emit: Emit<'_>) {
        let mut seen = self.items.get(at).map_or(0, |known| known.citations);
        let parts = present(item, "content").map(Raw::elements).unwrap_or_default();
        for (number, part) in (0u64..).zip(parts) {
            let field = |key: &str| present(part, key).and_then(Escaped::of).filter(|text| !text.is_empty());
            if silent {
                if let Some(text) = field("text") {
                    self.say(at, Voice::Text, number, text, emit);
                    if let Some(logprobs) = present(part, "logprobs").filter(|list| !list.is_empty()) {
                        emit(said(Delta::Logprobs(logprobs_json(logprobs))));
                    }
                } else if let Some(refusal) = field("refusal") {
                    self.say(at, Voice::Refusal, number, refusal, emit);
                }
            }
            for annotation in present(part, "annotations").map(Raw::elements).unwrap_or_default() {
                if seen > 0 {
                    seen -= 1;
                } else {
                    self.cite(at, annotation, emit);
                }
            }
        }
    }

    fn texts(&mut self, at: usize, voice: Voice, parts: Option<Raw<'_>>, emit: Emit<'_>) {
        for (number, part) in (0u64..).zip(parts.map(Raw::elements).unwrap_or_default()) {
            if let Some(text) = present(part, "text").and_then(Escaped::of).filter(|text| !text.is_empty()) {
                self.say(at, voice, number, text, emit);
            }
        }
    }

    fn cite(&mut self, at: usize, annotation: Raw<'_>, emit: Emit<'_>) {
        let Some(item) = self.items.get_mut(at) else { return };
        item.citations = item.citations.saturating_add(1);
        if let Some(Citation { url, title, span }) = events::citation(annotation) {
            let start = item.part_start;
            let span = span.map(|(from, to)| (from.saturating_add(start), to.saturating_add(start)));
            emit(said(Delta::Citation(Citation { url, title, span })));
        }
    }

    /// The last event, or a whole answer.
    fn finish(&mut self, typed: &str, response: Raw<'_>, emit: Emit<'_>) -> Result<(), Unreadable> {
        let heard = Heard { anything: !self.items.is_empty(), text: self.said_text };
        for (index, item) in (0u64..).zip(present(response, "output").map(Raw::elements).unwrap_or_default())
        {
            self.catch_up(index, item, heard, emit)?;
        }
        for at in 0..self.items.len() {
            self.end_tool(at, emit);
        }
        let usage = present(response, "usage");
        let outside = self.reading.reasoning_outside_output;
        let read = usage.and_then(|usage| usage::read(usage, outside));
        // Some providers report their number, and some list them.
        let searches = |read: Usage| Usage { searches: read.searches.max(self.searches), ..read };
        self.usage = read.map(searches).or(self.usage);
        let status = events::status(typed, response);
        if let events::Status::Failed = status {
            if let Some(usage) = self.usage {
                emit(Event::Usage(usage));
            }
            self.fail(events::error(response), emit);
            return Ok(());
        }
        if let Some(tier) = present(response, "service_tier").and_then(Raw::text) {
            emit(Event::ServiceTier(tier));
        }
        let reason = match status {
            events::Status::Completed if self.tools > 0 => Some(Finish::ToolCalls),
            events::Status::Completed => Some(Finish::Stop),
            events::Status::Cut(reason) => Some(reason),
            events::Status::Failed | events::Status::Running => None,
        };
        if let Some(reason) = reason {
            emit(Event::Finish { choice: 0, reason, stop_sequence: None });
        }
        if let Some(usage) = self.usage {
            emit(Event::Usage(usage));
        }
        Ok(())
    }

    /// An item of the final output, which may be the first event of the item.
    fn catch_up(
        &mut self,
        index: u64,
        item: Raw<'_>,
        heard: Heard,
        emit: Emit<'_>,
    ) -> Result<(), Unreadable> {
        let typed = events::item_type(item);
        let call_id = present(item, "call_id").and_then(Escaped::of).filter(|_| is_call(item));
        let mut known = self.items.iter().position(|known| match &call_id {
            Some(call_id) => !known.settled && known.call_id.as_deref() == Some(call_id.inner()),
            None => known.index == index && known.tool.is_none(),
        });
        match typed.as_deref() {
            // Its position in the stream may have been different.
            Some("message") if known.is_none() && heard.text => {
                let unfinished = |known: &Item| !known.done && matches!(known.part, Some((Voice::Text, _)));
                known = self.items.iter().position(unfinished);
                if known.is_none() {
                    return Ok(());
                }
            }
            Some("reasoning") if known.is_none() && heard.anything => return Ok(()),
            _ => {}
        }
        let index = match known.and_then(|at| self.items.get(at)) {
            Some(known) => known.index,
            None => self.next_index().max(index),
        };
        let at = self.add(index, item, emit)?;
        self.items.get_mut(at).into_iter().for_each(|known| known.settled = true);
        self.complete(index, item, emit)
    }

    fn start(&mut self, response: Raw<'_>, emit: Emit<'_>) {
        let field = |key: &str| present(response, key).and_then(Escaped::of);
        let (id, model) = (field("id"), field("model"));
        // An id after the first content is too late.
        if !self.started && self.items.is_empty() && (id.is_some() || model.is_some()) {
            self.started = true;
            emit(Event::Start { id: id.unwrap_or_default(), model: model.unwrap_or_default() });
        }
    }

    fn fail(&mut self, error: Json<'_>, emit: Emit<'_>) {
        emit(Event::Failed(error));
        self.close(emit);
    }

    /// The item of an event; an item that was never announced begins with it.
    fn place(&mut self, event: Raw<'_>) -> Result<usize, Unreadable> {
        let last = self.items.len().checked_sub(1);
        let index = count(event, "output_index");
        let known = match index {
            Some(index) => self.items.iter().position(|item| item.index == index),
            None => last,
        };
        match known {
            Some(at) => Ok(at),
            None => {
                let index = index.unwrap_or_else(|| self.next_index());
                self.begin(index)
            }
        }
    }

    fn begin(&mut self, index: u64) -> Result<usize, Unreadable> {
        if self.items.len() >= ITEMS_MAX {
            return Err(Unreadable);
        }
        self.items.push(Item::new(index, self.chars));
        Ok(self.items.len().saturating_sub(1))
    }

    fn next_index(&self) -> u64 {
        self.items.iter().map(|item| item.index.saturating_add(1)).max().unwrap_or(0)
    }
}

fn said(delta: Delta<'_>) -> Event<'_> {
    Event::Said { choice: 0, delta }
}
