//! Writes streamed answers in Messages. One block is open at a time: pieces of other blocks wait until a call in
//! progress is complete.

use super::{
    blocks::{self, Tally},
    usage, write_event,
};
use crate::{
    WriterContext,
    canonical::{Citation, Delta, Event, Finish},
    json::{Escaped, ObjectWriter},
};
use kairosroute_domain::usage::Usage;
use std::collections::{HashMap, VecDeque};

/// Writes streamed answers.
pub struct Writer {
    writer_context: WriterContext,
    started: bool,
    /// Of the next block.
    index: u64,
    /// How often the answer was restarted.
    restarts: u32,
    open: Option<Open>,
    held: VecDeque<Held>,
    /// The index of each waiting call among all waiting pieces, by its number: a piece of it needs no search.
    held_calls: HashMap<u32, usize>,
    /// How many of the waiting pieces have been written.
    released: usize,
    /// All pieces that have waited since none did.
    held_bytes: usize,
    tally: Tally,
    finish: Option<Finish>,
    stop_sequence: Option<Escaped<'static>>,
}

/// The block in progress.
enum Open {
    Text {
        /// A source was stated: following text is another block, because sources refer to the whole text of their
        /// block.
        cited: bool,
    },
    Refusal,
    Thinking,
    Tool {
        number: u32,
        /// Arguments were written.
        said: bool,
    },
}

/// The memory for a piece beside its text.
const HELD_OVERHEAD_BYTES: usize = 192;

/// The pieces that wait until the open call is complete.
enum Held {
    Call {
        number: u32,
        id: Escaped<'static>,
        name: Escaped<'static>,
        signature: Option<Escaped<'static>>,
        arguments: Escaped<'static>,
        ended: bool,
    },
    Other(Delta<'static>),
}

impl Writer {
    pub fn new(writer_context: WriterContext) -> Self {
        Self {
            writer_context,
            started: false,
            index: 0,
            restarts: 0,
            open: None,
            held: VecDeque::new(),
            held_calls: HashMap::new(),
            released: 0,
            held_bytes: 0,
            tally: Tally::default(),
            finish: None,
            stop_sequence: None,
        }
    }

    pub fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model } => self.start(id, model, out),
            Event::Said { choice: 0, delta } => {
                self.ensure_started(out);
                self.take(delta, out);
            }
            Event::Finish { choice: 0, reason, stop_sequence } => {
                self.finish = Some(*reason);
                self.stop_sequence = stop_sequence.clone().map(Escaped::into_owned);
            }
            Event::Restart => self.restart(out),
            // This wire format has only one answer; usage is written from the billed usage, and errors by the code that
            // ends the stream.
            Event::Said { .. }
            | Event::Finish { .. }
            | Event::Prompt(_)
            | Event::Usage(_)
            | Event::ServiceTier(_)
            | Event::Failed(_)
            | Event::End => {}
        }
    }

    /// The bytes that wait until a call is complete.
    pub fn held_bytes(&self) -> usize {
        if self.held.is_empty() { 0 } else { self.held_bytes }
    }

    pub fn conclude(&mut self, note: &str, billed: &Usage, out: &mut Vec<u8>) {
        self.ensure_started(out);
        self.close(out);
        while !self.held.is_empty() {
            self.release(out);
            self.close(out);
        }
        let mut delta = ObjectWriter::new();
        delta.raw("container", "null");
        blocks::put_stop(self.finish, self.stop_sequence.as_ref(), self.tally, &mut delta);
        let mut event = ObjectWriter::new();
        event.text("type", "message_delta");
        event.key("delta").extend(delta.end());
        event.raw("usage", &usage::write(billed));
        event.raw("x_kairosroute", note);
        write_event(out, "message_delta", &event.end());
        write_event(out, "message_stop", br#"{"type":"message_stop"}"#);
    }

    fn start(&mut self, id: &Escaped<'_>, model: &Escaped<'_>, out: &mut Vec<u8>) {
        if self.started {
            return;
        }
        self.started = true;
        let mut id = blocks::message_id(id, &self.writer_context);
        if self.restarts > 0 {
            id = Escaped::from_text(&format!("msg_{}_{}", self.writer_context.seed, self.restarts));
        }
        let mut message = ObjectWriter::new();
        id.push_quoted(message.key("id"));
        message.text("type", "message");
        message.text("role", "assistant");
        blocks::model(model, &self.writer_context).push_quoted(message.key("model"));
        message.raw("content", "[]");
        message.raw("container", "null");
        for member in ["stop_reason", "stop_sequence", "stop_details"] {
            message.raw(member, "null");
        }
        message.raw("usage", &usage::write(&Usage::default()));
        let mut event = ObjectWriter::new();
        event.text("type", "message_start");
        event.key("message").extend(message.end());
        write_event(out, "message_start", &event.end());
    }

    fn ensure_started(&mut self, out: &mut Vec<u8>) {
        self.start(&Escaped::default(), &Escaped::default(), out);
    }

    /// In this wire format an answer restarts with another message.
    fn restart(&mut self, out: &mut Vec<u8>) {
        self.held.clear();
        self.held_calls.clear();
        self.released = 0;
        if self.index > 0 || self.open.is_some() {
            self.close(out);
            self.started = false;
            self.restarts = self.restarts.saturating_add(1);
            self.index = 0;
        }
        self.tally = Tally::default();
        self.finish = None;
        self.stop_sequence = None;
    }

    /// Writes a piece, or keeps it while the call of another block is not complete.
    fn take(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        let Some(Open::Tool { number: open, .. }) = self.open else {
            self.put(delta, out);
            return;
        };
        match delta {
            Delta::ToolArguments { tool, .. } if *tool == open => self.put(delta, out),
            Delta::ToolEnd { tool } if *tool == open => {
                self.close(out);
                self.release(out);
            }
            _ => self.hold(delta),
        }
    }

    fn hold(&mut self, delta: &Delta<'_>) {
        let before = self.held.len();
        match delta {
            Delta::ToolStart { tool, id, name, signature } => {
                self.held_calls.insert(*tool, self.released.saturating_add(before));
                self.held.push_back(Held::Call {
                    number: *tool,
                    id: id.clone().into_owned(),
                    name: name.clone().into_owned(),
                    signature: signature.clone().map(Escaped::into_owned),
                    arguments: Escaped::default(),
                    ended: false,
                });
            }
            Delta::ToolArguments { tool, piece } => {
                if let Some(Held::Call { arguments, .. }) = self.held_call(*tool) {
                    arguments.push(piece);
                }
            }
            Delta::ToolEnd { tool } => {
                if let Some(Held::Call { ended, .. }) = self.held_call(*tool) {
                    *ended = true;
                }
            }
            other => match (self.held.back_mut(), other) {
                (Some(Held::Other(Delta::Text(text))), Delta::Text(more))
                | (Some(Held::Other(Delta::Refusal(text))), Delta::Refusal(more))
                | (Some(Held::Other(Delta::Reasoning(text))), Delta::Reasoning(more)) => text.push(more),
                _ => self.held.extend(owned(other).map(Held::Other)),
            },
        }
        let overhead = if self.held.len() > before { HELD_OVERHEAD_BYTES } else { 0 };
        let held_bytes = if before == 0 { 0 } else { self.held_bytes };
        self.held_bytes = held_bytes.saturating_add(delta.size_bytes()).saturating_add(overhead);
    }

    fn held_call(&mut self, tool: u32) -> Option<&mut Held> {
        let place = self.held_calls.get(&tool)?.checked_sub(self.released)?;
        self.held.get_mut(place)
    }

    /// Writes the waiting pieces, up to a call that is not complete.
    fn release(&mut self, out: &mut Vec<u8>) {
        while let Some(held) = self.held.pop_front() {
            self.released = self.released.saturating_add(1);
            let (number, id, name, signature, arguments, ended) = match held {
                Held::Call { number, id, name, signature, arguments, ended } => {
                    (number, id, name, signature, arguments, ended)
                }
                Held::Other(delta) => {
                    self.put(&delta, out);
                    continue;
                }
            };
            self.put(&Delta::ToolStart { tool: number, id, name, signature }, out);
            self.put(&Delta::ToolArguments { tool: number, piece: arguments }, out);
            if !ended {
                return;
            }
            self.close(out);
        }
    }

    /// Writes a piece; it ends an open block of another kind.
    fn put(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) | Delta::Refusal(text) | Delta::Reasoning(text) if text.is_empty() => {}
            Delta::Text(text) | Delta::Refusal(text) => {
                let refusal = matches!(delta, Delta::Refusal(_));
                self.tally.refused |= refusal;
                self.tally.spoke |= !refusal;
                let goes_on = match self.open {
                    Some(Open::Text { cited }) => !refusal && !cited,
                    Some(Open::Refusal) => refusal,
                    _ => false,
                };
                if !goes_on {
                    let kind = if refusal { Open::Refusal } else { Open::Text { cited: false } };
                    self.begin(kind, blocks::text(&Escaped::default()), out);
                }
                self.piece("text_delta", "text", text, out);
            }
            Delta::Reasoning(text) => {
                self.begin_thinking(out);
                self.piece("thinking_delta", "thinking", text, out);
            }
            Delta::Signature(signature) => self.sign(signature, out),
            Delta::Redacted(data) => {
                let block = blocks::redacted(data, &self.writer_context);
                self.put_whole(block, out);
            }
            Delta::ToolStart { tool, id, name, signature } => {
                // Data that the call's provider requires back is in a block of reasoning just before it.
                if let Some(signature) = signature {
                    self.close(out);
                    self.sign(signature, out);
                }
                self.tally.called = true;
                let id = blocks::call_id(id, *tool, &self.writer_context);
                self.begin(Open::Tool { number: *tool, said: false }, blocks::tool_use(&id, name, "{}"), out);
            }
            Delta::ToolArguments { tool, piece } => self.arguments(*tool, piece, out),
            Delta::ToolEnd { tool } => {
                if matches!(self.open, Some(Open::Tool { number, .. }) if number == *tool) {
                    self.close(out);
                }
            }
            Delta::Citation(citation) => {
                // It refers to the text before it, and reasoning may be between them; without text it has nothing to
                // refer to.
                if self.tally.spoke && !matches!(self.open, Some(Open::Text { .. })) {
                    self.begin(Open::Text { cited: true }, blocks::text(&Escaped::default()), out);
                }
                if let Some(Open::Text { cited }) = &mut self.open {
                    *cited = true;
                    let mut delta = ObjectWriter::new();
                    delta.text("type", "citations_delta");
                    delta.key("citation").extend(blocks::citation(citation).end());
                    self.write_delta(delta, out);
                }
            }
            Delta::Logprobs(_) => {}
            Delta::Image { media_type, data } => self.put_whole(blocks::image(media_type, data), out),
        }
    }

    fn arguments(&mut self, tool: u32, piece: &Escaped<'_>, out: &mut Vec<u8>) {
        let Some(Open::Tool { number, said }) = &mut self.open else { return };
        // Some models write `null` for no arguments.
        if *number != tool || piece.is_empty() || (!*said && piece.inner().trim() == "null") {
            return;
        }
        *said = true;
        self.piece("input_json_delta", "partial_json", piece, out);
    }

    /// Ends the reasoning before it with a signature; the reasoning may have been hidden.
    fn sign(&mut self, signature: &Escaped<'_>, out: &mut Vec<u8>) {
        self.begin_thinking(out);
        self.put_signature(Some(signature), out);
        self.end_block(out);
    }

    fn begin_thinking(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(Open::Thinking)) {
            let nothing = Escaped::default();
            self.begin(Open::Thinking, blocks::thinking(&nothing, &nothing), out);
        }
    }

    fn put_signature(&mut self, signature: Option<&Escaped<'_>>, out: &mut Vec<u8>) {
        let marked = blocks::marked(signature, &self.writer_context);
        self.piece("signature_delta", "signature", &marked, out);
    }

    fn put_whole(&mut self, block: ObjectWriter, out: &mut Vec<u8>) {
        self.begin(Open::Text { cited: false }, block, out);
        self.end_block(out);
    }

    fn begin(&mut self, kind: Open, block: ObjectWriter, out: &mut Vec<u8>) {
        self.close(out);
        let mut event = ObjectWriter::new();
        event.text("type", "content_block_start");
        event.raw("index", &self.index.to_string());
        event.key("content_block").extend(block.end());
        write_event(out, "content_block_start", &event.end());
        self.open = Some(kind);
    }

    /// Ends the open block with its missing members.
    fn close(&mut self, out: &mut Vec<u8>) {
        match self.open {
            None => return,
            Some(Open::Text { .. } | Open::Refusal | Open::Tool { said: true, .. }) => {}
            Some(Open::Thinking) => self.put_signature(None, out),
            Some(Open::Tool { said: false, .. }) => {
                self.piece("input_json_delta", "partial_json", &Escaped::from_inner("{}"), out);
            }
        }
        self.end_block(out);
    }

    fn end_block(&mut self, out: &mut Vec<u8>) {
        let event = format!(r#"{{"type":"content_block_stop","index":{}}}"#, self.index);
        write_event(out, "content_block_stop", event.as_bytes());
        self.index = self.index.saturating_add(1);
        self.open = None;
    }

    fn piece(&self, kind: &str, name: &str, text: &Escaped<'_>, out: &mut Vec<u8>) {
        let mut delta = ObjectWriter::with_capacity(text.inner().len().saturating_add(48));
        delta.text("type", kind);
        text.push_quoted(delta.key(name));
        self.write_delta(delta, out);
    }

    fn write_delta(&self, delta: ObjectWriter, out: &mut Vec<u8>) {
        let mut event = ObjectWriter::new();
        event.text("type", "content_block_delta");
        event.raw("index", &self.index.to_string());
        event.key("delta").extend(delta.end());
        write_event(out, "content_block_delta", &event.end());
    }
}

/// Pieces that can wait beside calls; zero for a piece that this wire format cannot express.
fn owned(delta: &Delta<'_>) -> Option<Delta<'static>> {
    Some(match delta {
        Delta::Text(text) => Delta::Text(text.clone().into_owned()),
        Delta::Reasoning(text) => Delta::Reasoning(text.clone().into_owned()),
        Delta::Signature(value) => Delta::Signature(value.clone().into_owned()),
        Delta::Redacted(data) => Delta::Redacted(data.clone().into_owned()),
        Delta::Refusal(text) => Delta::Refusal(text.clone().into_owned()),
        Delta::Citation(citation) => Delta::Citation(Citation {
            url: citation.url.clone().into_owned(),
            title: citation.title.clone().map(Escaped::into_owned),
            span: citation.span,
        }),
        Delta::Image { media_type, data } => {
            Delta::Image { media_type: media_type.clone().into_owned(), data: data.clone().into_owned() }
        }
        Delta::ToolStart { .. }
        | Delta::ToolArguments { .. }
        | Delta::ToolEnd { .. }
        | Delta::Logprobs(_) => return None,
    })
}
