//! Reads answers of providers that use Messages. A whole answer gives the events of the same answer streamed. Keeps no
//! text: only the open blocks and the usage so far.

use super::{object::Object, usage::Gathered};
use crate::{
    Reading, Unreadable,
    canonical::{Citation, Delta, Event, Finish, Json},
    json::{Cursor, DEPTH_LIMIT, Escaped, Kind, Raw},
    sse::Frame,
};

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

/// Maximum open blocks at one time; the wire format has one.
const OPEN_MAX: usize = 64;

/// Maximum calls of one answer. No model makes a tenth of these; an answer with more is not read.
const CALLS_MAX: u32 = 512;

/// Citations of one block that are kept until its text is complete.
const CITATIONS_MAX: usize = 256;

/// Reads one answer.
pub struct Reader {
    reading: Reading,
    /// The id of the message; empty: none was given.
    id: Option<String>,
    open: Vec<(u64, Block)>,
    /// The number of the next call.
    tools: u32,
    /// Content was emitted.
    said: bool,
    /// The answer arrived as a forced tool call.
    answered_by_tool: bool,
    usage: Gathered,
    finished: bool,
    ended: bool,
}

enum Block {
    Text {
        citations: Vec<Citation<'static>>,
    },
    Tool {
        number: u32,
        /// Its arguments are the answer's text.
        is_text: bool,
        /// Arguments that arrived with the start; they count if no pieces follow.
        whole: Option<Escaped<'static>>,
        pieces: bool,
    },
    /// Reasoning, and unknown blocks.
    Other,
    /// Results of the provider's own tools.
    Silent,
}

impl Reader {
    pub fn new(reading: Reading) -> Self {
        Self {
            reading,
            id: None,
            open: Vec::new(),
            tools: 0,
            said: false,
            answered_by_tool: false,
            usage: Gathered::default(),
            finished: false,
            ended: false,
        }
    }

    pub fn frame(&mut self, frame: Frame<'_>, emit: Emit<'_>) -> Result<(), Unreadable> {
        let Some(data) = frame.data() else { return Ok(()) };
        let data = data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let event = object(data)?;
        let typed = event.word("type");
        let named = frame.event().and_then(|name| std::str::from_utf8(name).ok());
        match if typed.is_empty() { named.unwrap_or_default() } else { typed.as_ref() } {
            "message_start" => self.start(&event.get("message").map_or(event, Object::of), emit),
            "content_block_start" => {
                let block = event.get("content_block").map(Object::of).ok_or(Unreadable)?;
                self.begin(index(&event), &block, emit)?;
            }
            "content_block_delta" => {
                if let Some(delta) = event.get("delta") {
                    self.delta(index(&event), &Object::of(delta), emit);
                }
            }
            "content_block_stop" => self.end_block(index(&event), emit),
            "message_delta" => {
                let delta = event.get("delta").map(Object::of);
                if let Some(delta) = &delta {
                    self.finish(delta, emit);
                }
                if let Some(usage) = event.get("usage") {
                    self.consumed(usage, true, emit);
                }
            }
            "message_stop" => self.end(emit),
            "error" => emit(Event::Failed(Json::of(event.get("error").unwrap_or(event.raw)))),
            _ => {
                if let Some(error) = event.get("error") {
                    emit(Event::Failed(Json::of(error)));
                }
            }
        }
        Ok(())
    }

    pub fn close(&mut self, emit: Emit<'_>) {
        self.end_blocks(emit);
        self.end(emit);
    }

    pub fn body(&mut self, json: &[u8], emit: Emit<'_>) -> Result<(), Unreadable> {
        let message = object(json.trim_ascii())?;
        let error = message.get("error");
        if let Some(error) = error.or((message.word("type") == "error").then_some(message.raw)) {
            emit(Event::Failed(Json::of(error)));
            return Ok(());
        }
        let blocks =
            message.get("content").filter(|content| content.kind() == Kind::Array).ok_or(Unreadable)?;
        self.start(&message, emit);
        for (index, block) in (0u64..).zip(blocks.elements()) {
            let block = Object::of(block);
            self.begin(index, &block, emit)?;
            for citation in block.get("citations").map(Raw::elements).unwrap_or_default() {
                self.cite(index, &Object::of(citation), emit);
            }
            self.end_block(index, emit);
        }
        self.finish(&message, emit);
        if let Some(usage) = message.get("usage") {
            self.consumed(usage, true, emit);
        }
        self.end(emit);
        Ok(())
    }

    /// A message begins: the first, the same again, or a new one in its place.
    fn start(&mut self, message: &Object<'_>, emit: Emit<'_>) {
        let id = message.text("id").unwrap_or_default();
        match &self.id {
            None => {
                self.id = Some(id.inner().to_owned());
                let model = message.text("model").unwrap_or_default();
                emit(Event::Start { id, model });
            }
            Some(known) if known == id.inner() => return,
            Some(_) => {
                let said = self.said || self.finished;
                *self =
                    Self { id: Some(id.inner().to_owned()), ..Self::new(std::mem::take(&mut self.reading)) };
                if said {
                    emit(Event::Restart);
                }
            }
        }
        if let Some(usage) = message.get("usage") {
            self.consumed(usage, false, emit);
        }
    }

    fn begin(&mut self, index: u64, block: &Object<'_>, emit: Emit<'_>) -> Result<(), Unreadable> {
        self.end_block(index, emit);
        if self.open.len() >= OPEN_MAX {
            return Err(Unreadable);
        }
        let opened = match block.word("type").as_ref() {
            "text" => {
                self.say(block.text("text").map(Delta::Text), emit);
                Block::Text { citations: Vec::new() }
            }
            "thinking" => {
                self.say(block.text("thinking").map(Delta::Reasoning), emit);
                self.say(block.text("signature").map(Delta::Signature), emit);
                Block::Other
            }
            "redacted_thinking" => {
                self.say(block.text("data").map(Delta::Redacted), emit);
                Block::Other
            }
            "tool_use" if self.tools >= CALLS_MAX => return Err(Unreadable),
            "tool_use" => self.begin_tool(block, emit),
            kind if kind == "fallback" || kind.ends_with("_tool_use") || kind.ends_with("_tool_result") => {
                Block::Silent
            }
            _ => Block::Other,
        };
        self.open.push((index, opened));
        Ok(())
    }

    fn begin_tool(&mut self, block: &Object<'_>, emit: Emit<'_>) -> Block {
        let name = block.text("name").unwrap_or_default();
        let whole = block.get("input").filter(|input| !input.is_empty());
        let whole = whole.map(|input| Escaped::from_text(input.get()));
        let is_text = self.reading.tool_as_text.is_some_and(|tool| tool == name.inner());
        let number = self.tools;
        if is_text {
            self.answered_by_tool = true;
        } else {
            self.tools = self.tools.saturating_add(1);
            let id = block.text("id").filter(|id| !id.is_empty());
            let made = || Escaped::from_text(&format!("toolu_{}_{number}", self.reading.seed));
            let id = id.unwrap_or_else(made);
            self.say(Some(Delta::ToolStart { tool: number, id, name, signature: None }), emit);
        }
        Block::Tool { number, is_text, whole, pieces: false }
    }

    fn delta(&mut self, index: u64, delta: &Object<'_>, emit: Emit<'_>) {
        if matches!(self.block(index), Some(Block::Silent)) {
            return;
        }
        match delta.word("type").as_ref() {
            "text_delta" => self.say(delta.text("text").map(Delta::Text), emit),
            "thinking_delta" => self.say(delta.text("thinking").map(Delta::Reasoning), emit),
            "signature_delta" => self.say(delta.text("signature").map(Delta::Signature), emit),
            "input_json_delta" => {
                let Some(piece) = delta.text("partial_json").filter(|piece| !piece.is_empty()) else {
                    return;
                };
                if let Some(Block::Tool { number, is_text, pieces, .. }) = self.block(index) {
                    // Some models write this for no arguments.
                    if !*pieces && piece.inner() == "null" {
                        return;
                    }
                    *pieces = true;
                    let delta = arguments(*number, *is_text, piece);
                    self.say(Some(delta), emit);
                }
            }
            "citations_delta" => {
                if let Some(citation) = delta.get("citation") {
                    self.cite(index, &Object::of(citation), emit);
                }
            }
            _ => {}
        }
    }

    /// A source with an address; places in the client's own documents have none.
    fn cite(&mut self, index: u64, citation: &Object<'_>, emit: Emit<'_>) {
        // A search of the client's own states its address in another member than a web search.
        let address = citation.text("url").or_else(|| citation.text("source"));
        let Some(url) = address.filter(|url| !url.is_empty()) else { return };
        let citation = Citation { url, title: citation.text("title"), span: None };
        match self.block(index) {
            Some(Block::Text { citations }) if citations.len() < CITATIONS_MAX => {
                citations.push(Citation {
                    url: citation.url.into_owned(),
                    title: citation.title.map(Escaped::into_owned),
                    span: None,
                });
            }
            Some(Block::Text { .. }) => self.say(Some(Delta::Citation(citation)), emit),
            _ => {}
        }
    }

    fn end_block(&mut self, index: u64, emit: Emit<'_>) {
        let Some(at) = self.open.iter().position(|(open, _)| *open == index) else { return };
        match self.open.remove(at).1 {
            Block::Text { citations } => {
                for citation in citations {
                    self.say(Some(Delta::Citation(citation)), emit);
                }
            }
            Block::Tool { number, is_text, whole, pieces } => {
                if let Some(whole) = whole.filter(|_| !pieces) {
                    self.say(Some(arguments(number, is_text, whole)), emit);
                }
                if !is_text {
                    self.say(Some(Delta::ToolEnd { tool: number }), emit);
                }
            }
            Block::Other | Block::Silent => {}
        }
    }

    fn end_blocks(&mut self, emit: Emit<'_>) {
        while let Some(index) = self.open.first().map(|(index, _)| *index) {
            self.end_block(index, emit);
        }
    }

    /// Takes the stop reason from a message or a delta.
    fn finish(&mut self, message: &Object<'_>, emit: Emit<'_>) {
        let reason = message.word("stop_reason");
        if reason.is_empty() || self.finished {
            return;
        }
        self.end_blocks(emit);
        if let Some(explanation) =
            message.get("stop_details").and_then(|details| details.member("explanation"))
        {
            self.say(Escaped::of(explanation).map(Delta::Refusal), emit);
        }
        let reason = match reason.as_ref() {
            "stop_sequence" => Finish::StopSequence,
            "max_tokens" | "model_context_window_exceeded" => Finish::Length,
            "tool_use" if self.answered_by_tool && self.tools == 0 => Finish::Stop,
            "tool_use" => Finish::ToolCalls,
            "pause_turn" => Finish::Pause,
            "refusal" => Finish::Refusal,
            "end_turn" => Finish::Stop,
            // An unknown reason is an ordinary end only if some content was emitted.
            _ if self.said || self.tools > 0 => Finish::Stop,
            _ => Finish::ContentFilter,
        };
        self.finished = true;
        let stop_sequence = message.text("stop_sequence");
        emit(Event::Finish { choice: 0, reason, stop_sequence });
    }

    /// The report in `message_start` is not final: only its prompt is.
    fn consumed(&mut self, usage: Raw<'_>, is_final: bool, emit: Emit<'_>) {
        self.usage.add(usage);
        if let Some(tier) = Object::of(usage).get("service_tier").and_then(Raw::text) {
            emit(Event::ServiceTier(tier));
        }
        let event = match is_final {
            true => self.usage.usage().map(Event::Usage),
            false => self.usage.prompt().map(Event::Prompt),
        };
        event.into_iter().for_each(emit);
    }

    fn end(&mut self, emit: Emit<'_>) {
        if !self.ended {
            self.ended = true;
            emit(Event::End);
        }
    }

    fn say(&mut self, delta: Option<Delta<'_>>, emit: Emit<'_>) {
        let Some(delta) = delta.filter(|delta| !is_empty(delta)) else { return };
        self.said = true;
        emit(Event::Said { choice: 0, delta });
    }

    fn block(&mut self, index: u64) -> Option<&mut Block> {
        self.open.iter_mut().find(|(open, _)| *open == index).map(|(_, block)| block)
    }
}

fn arguments(tool: u32, is_text: bool, piece: Escaped<'_>) -> Delta<'_> {
    if is_text { Delta::Text(piece) } else { Delta::ToolArguments { tool, piece } }
}

fn is_empty(delta: &Delta<'_>) -> bool {
    match delta {
        Delta::Text(text)
        | Delta::Reasoning(text)
        | Delta::Signature(text)
        | Delta::Redacted(text)
        | Delta::Refusal(text) => text.is_empty(),
        _ => false,
    }
}

fn object(json: &[u8]) -> Result<Object<'_>, Unreadable> {
    let mut cursor = Cursor::new(json, DEPTH_LIMIT).map_err(|_| Unreadable)?;
    let raw = cursor.value().map_err(|_| Unreadable)?;
    cursor.end().map_err(|_| Unreadable)?;
    (raw.kind() == Kind::Object).then(|| Object::of(raw)).ok_or(Unreadable)
}

fn index(event: &Object<'_>) -> u64 {
    event.get("index").and_then(Raw::count).unwrap_or(0)
}
