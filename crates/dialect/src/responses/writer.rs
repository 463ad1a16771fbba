//! Writes answers for clients of Responses: the events of a stream in a rising sequence; items are opened at their
//! first content and closed before the next kind begins. A whole answer is the content of the stream's last event, so
//! the two cannot differ. Calls are written one after the other, also if the provider interleaves their pieces.

mod tool;

use super::{
    MADE_HERE, REDACTED, client_tools,
    frames::Frames,
    output::{self, Content, Response, Status},
    tools::split,
    usage,
};
use crate::{
    WriterContext,
    canonical::{Citation, Delta, Event, Finish, Json, Signature},
    json::{Escaped, ObjectWriter},
};
use kairosroute_domain::usage::Usage;
use std::collections::VecDeque;
use tool::Tool;

/// Writes streamed answers.
pub struct Writer {
    writer_context: WriterContext,
    id: String,
    frames: Frames,
    begun: bool,
    model: Escaped<'static>,
    tier: Option<String>,
    finish: Option<Finish>,
    /// The model's refusal was written.
    declined: bool,
    /// Finished items by their index; empty while they are open.
    items: Vec<Vec<u8>>,
    open: Open,
    /// Calls that have begun; the first is being written.
    tools: VecDeque<Tool>,
    /// Characters of text in messages that are closed.
    chars: u64,
    /// Bytes of all content so far, which the last event repeats.
    held_bytes: usize,
}

/// The memory for an item beside its content.
const ITEM_OVERHEAD_BYTES: usize = 512;

/// The message or reasoning in progress.
enum Open {
    Nothing,
    Message { index: usize, id: String, content: Content },
    Reasoning { index: usize, id: String, text: Escaped<'static> },
}

/// The events about the input of a free-form tool, and the member of each that contains it.
const CUSTOM_INPUT: [(&str, &str); 2] =
    [("response.custom_tool_call_input.delta", "delta"), ("response.custom_tool_call_input.done", "input")];

impl Writer {
    pub fn new(writer_context: WriterContext) -> Self {
        Self {
            id: format!("resp_{}", writer_context.seed),
            frames: Frames::default(),
            begun: false,
            model: Escaped::from_text(&writer_context.upstream_model),
            tier: None,
            finish: None,
            declined: false,
            items: Vec::new(),
            open: Open::Nothing,
            tools: VecDeque::new(),
            chars: 0,
            held_bytes: 0,
            writer_context,
        }
    }

    /// Writes the part of an event that the client gets at once.
    pub fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { model, .. } => {
                if !model.is_empty() && !self.begun {
                    self.model = model.clone().into_owned();
                }
                self.begin(out);
            }
            // There is only one choice here.
            Event::Said { choice: 0, delta } => {
                self.begin(out);
                self.held_bytes = self.held_bytes.saturating_add(delta.size_bytes());
                self.say(delta, out);
            }
            Event::Finish { choice: 0, reason, .. } => self.finish = Some(*reason),
            Event::ServiceTier(tier) => self.tier = Some(tier.clone().into_owned()),
            Event::Restart => {
                self.close_all(Status::Incomplete, out);
                self.items.iter_mut().for_each(Vec::clear);
            }
            Event::Said { .. }
            | Event::Finish { .. }
            | Event::Prompt(_)
            | Event::Usage(_)
            | Event::Failed(_)
            | Event::End => {}
        }
    }

    pub fn held_bytes(&self) -> usize {
        let items = self.items.len().saturating_add(self.tools.len());
        self.held_bytes.saturating_add(items.saturating_mul(ITEM_OVERHEAD_BYTES))
    }

    /// Writes the end of a charged answer.
    pub fn conclude(&mut self, note: &str, billed: &Usage, out: &mut Vec<u8>) {
        self.begin(out);
        let status = self.status();
        self.close_all(status, out);
        let response = self.response(status, None, Some(usage::write(billed)));
        let name = if status == Status::Incomplete { "response.incomplete" } else { "response.completed" };
        self.frames.write(name, out, |frame| {
            frame.key("response").extend(response);
            frame.raw("x_kairosroute", note);
        });
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// Ends the stream with an error.
    pub fn fail(&mut self, code: &str, message: &str, out: &mut Vec<u8>) {
        self.begin(out);
        let response = self.response(Status::Failed, Some((code, message)), None);
        self.frames.write("response.failed", out, |frame| frame.key("response").extend(response));
    }

    /// The response in the stream's last event.
    pub(super) fn whole(mut self, tier: Option<String>, finish: Option<Finish>, billed: &Usage) -> Vec<u8> {
        self.tier = tier;
        self.finish = finish;
        let status = self.status();
        self.close_all(status, &mut Vec::new());
        self.response(status, None, Some(usage::write(billed)))
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let response = self.response(Status::InProgress, None, None);
        for name in ["response.created", "response.in_progress"] {
            self.frames.write(name, out, |frame| frame.key("response").extend(&response));
        }
    }

    fn say(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) => self.text(text, false, out),
            Delta::Refusal(text) => self.text(text, true, out),
            Delta::Reasoning(text) => self.reason(text, out),
            Delta::Signature(bare) => {
                let marked = self.mark(bare);
                match self.open {
                    Open::Reasoning { .. } => self.close_reasoning(&marked, out),
                    _ => {
                        self.close(Status::Completed, out);
                        self.encrypted(&marked, out);
                    }
                }
            }
            Delta::Redacted(bare) => {
                self.close(Status::Completed, out);
                let mut marked = Escaped::from_text(REDACTED);
                marked.push(&self.mark(bare));
                self.encrypted(&marked, out);
            }
            Delta::ToolStart { tool, id, name, signature } => {
                self.close(Status::Completed, out);
                let (kind, name) = client_tools::unmarked(name.clone().into_owned());
                self.tools.push_back(Tool {
                    number: *tool,
                    call_id: id.clone().into_owned(),
                    name,
                    kind,
                    arguments: Escaped::default(),
                    signature: signature.as_ref().map(|bare| self.mark(bare)),
                    ended: false,
                    place: None,
                });
                self.announce(out);
            }
            Delta::ToolArguments { tool, piece } => self.arguments(*tool, piece, out),
            Delta::ToolEnd { tool } => {
                if let Some(tool) = self.tools.iter_mut().find(|open| open.number == *tool) {
                    tool.ended = true;
                }
                self.go_on(out);
            }
            Delta::Citation(citation) => self.cite(citation, out),
            Delta::Logprobs(logprobs) => self.logprobs(logprobs),
            Delta::Image { media_type, data } => {
                self.close(Status::Completed, out);
                let (index, id) = self.place("ig_");
                self.frames.item("response.output_item.added", index, &output::image(&id, None), out);
                self.done(index, output::image(&id, Some((media_type, data))), out);
            }
        }
    }

    fn text(&mut self, text: &Escaped<'_>, is_refusal: bool, out: &mut Vec<u8>) {
        self.open_message(is_refusal, out);
        if let Open::Message { index, id, content } = &mut self.open {
            content.text.push(text);
            let name = if is_refusal { "response.refusal.delta" } else { "response.output_text.delta" };
            self.frames.part(name, (*index, id.as_str()), Some("content_index"), out, |frame| {
                text.push_quoted(frame.key("delta"));
                if !is_refusal {
                    frame.raw("logprobs", "[]");
                }
            });
        }
    }

    fn open_message(&mut self, is_refusal: bool, out: &mut Vec<u8>) {
        if matches!(&self.open, Open::Message { content, .. } if content.is_refusal == is_refusal) {
            return;
        }
        self.close(Status::Completed, out);
        self.declined |= is_refusal;
        let (index, id) = self.place("msg_");
        let content = Content { is_refusal, ..Content::default() };
        let item = output::message(&id, Status::InProgress, None);
        self.frames.item("response.output_item.added", index, &item, out);
        let place = (index, id.as_str());
        self.frames.part("response.content_part.added", place, Some("content_index"), out, |frame| {
            frame.key("part").extend(content.part());
        });
        self.open = Open::Message { index, id, content };
    }

    fn cite(&mut self, citation: &Citation<'_>, out: &mut Vec<u8>) {
        self.open_message(false, out);
        let Open::Message { index, id, content } = &mut self.open else { return };
        let (from, to) = citation.span.unwrap_or_default();
        let mut annotation = ObjectWriter::new();
        annotation.text("type", "url_citation");
        citation.url.push_quoted(annotation.key("url"));
        citation.title.as_ref().unwrap_or(&Escaped::default()).push_quoted(annotation.key("title"));
        // Counted within this message.
        for (key, place) in [("start_index", from), ("end_index", to)] {
            annotation.raw(key, &place.saturating_sub(self.chars).to_string());
        }
        let annotation = annotation.end();
        let name = "response.output_text.annotation.added";
        let number = content.annotations.len();
        self.frames.part(name, (*index, id.as_str()), Some("content_index"), out, |frame| {
            frame.raw("annotation_index", &number.to_string());
            frame.key("annotation").extend(&annotation);
        });
        content.annotations.push(annotation);
    }

    /// They are written when the text is complete.
    fn logprobs(&mut self, logprobs: &Json<'_>) {
        let Open::Message { content, .. } = &mut self.open else { return };
        for token in logprobs.raw().member("content").map(|list| list.elements()).unwrap_or_default() {
            if !content.logprobs.is_empty() {
                content.logprobs.push(',');
            }
            content.logprobs.push_str(&output::logprob(token));
        }
    }

    fn reason(&mut self, text: &Escaped<'_>, out: &mut Vec<u8>) {
        if !matches!(self.open, Open::Reasoning { .. }) {
            self.close(Status::Completed, out);
            let (index, id) = self.place("rs_");
            let nothing = Escaped::default();
            let item = output::reasoning(&id, &nothing, None);
            self.frames.item("response.output_item.added", index, &item, out);
            let name = "response.reasoning_summary_part.added";
            self.frames.part(name, (index, id.as_str()), Some("summary_index"), out, |frame| {
                frame.key("part").extend(output::summary_part(&nothing));
            });
            self.open = Open::Reasoning { index, id, text: nothing };
        }
        if let Open::Reasoning { index, id, text: whole } = &mut self.open {
            whole.push(text);
            let name = "response.reasoning_summary_text.delta";
            self.frames.part(name, (*index, id.as_str()), Some("summary_index"), out, |frame| {
                text.push_quoted(frame.key("delta"));
            });
        }
    }

    /// Reasoning that only its provider can read.
    fn encrypted(&mut self, marked: &Escaped<'_>, out: &mut Vec<u8>) {
        let (index, id) = self.place("rs_");
        let nothing = Escaped::default();
        let item = output::reasoning(&id, &nothing, None);
        self.frames.item("response.output_item.added", index, &item, out);
        self.done(index, output::reasoning(&id, &nothing, Some(marked)), out);
    }

    fn arguments(&mut self, tool: u32, piece: &Escaped<'_>, out: &mut Vec<u8>) {
        let Some(tool) = self.tools.iter_mut().find(|open| open.number == tool && !open.ended) else {
            return;
        };
        tool.arguments.push(piece);
        if let Some((index, id)) = tool.place.as_ref().filter(|_| tool.kind.is_none()) {
            let name = "response.function_call_arguments.delta";
            self.frames.part(name, (*index, id.as_str()), None, out, |frame| {
                piece.push_quoted(frame.key("delta"));
            });
        }
    }

    /// Begins the item of the first call that waits, if it has none yet.
    fn announce(&mut self, out: &mut Vec<u8>) {
        let Some(first) = self.tools.front_mut().filter(|tool| tool.place.is_none()) else { return };
        let prefix = first.kind.map_or("fc_", |kind| kind.id_prefix);
        if let Some(marked) = first.signature.take() {
            self.encrypted(&marked, out);
        }
        let (index, id) = self.place(prefix);
        let Some(tool) = self.tools.front_mut() else { return };
        let item = tool.item(&id, Status::InProgress, None);
        self.frames.item("response.output_item.added", index, &item, out);
        if tool.kind.is_none() && !tool.arguments.is_empty() {
            let name = "response.function_call_arguments.delta";
            self.frames.part(name, (index, id.as_str()), None, out, |frame| {
                tool.arguments.push_quoted(frame.key("delta"));
            });
        }
        tool.place = Some((index, id));
    }

    /// Closes the calls that have ended, in their order, and begins the next.
    fn go_on(&mut self, out: &mut Vec<u8>) {
        while let Some(tool) = self.tools.pop_front_if(|tool| tool.ended) {
            self.close_tool(tool, Status::Completed, out);
            self.announce(out);
        }
    }

    fn close_tool(&mut self, mut tool: Tool, status: Status, out: &mut Vec<u8>) {
        let Some((index, id)) = tool.place.take() else { return };
        if let Some(kind) = tool.kind {
            if let Some(input) = kind.input(&tool.arguments) {
                // The text is inside the arguments, so it is sent when they are complete.
                for (name, key) in CUSTOM_INPUT {
                    self.frames.part(name, (index, id.as_str()), None, out, |frame| {
                        input.push_quoted(frame.key(key));
                    });
                }
            }
            return self.done(index, tool.item(&id, status, Some(&tool.arguments)), out);
        }
        if tool.arguments.is_empty() && status == Status::Completed {
            tool.arguments = Escaped::from_text("{}");
            let name = "response.function_call_arguments.delta";
            self.frames.part(name, (index, id.as_str()), None, out, |frame| frame.text("delta", "{}"));
        }
        let name = "response.function_call_arguments.done";
        self.frames.part(name, (index, id.as_str()), None, out, |frame| {
            Escaped::from_inner(split(&tool.name).1).push_quoted(frame.key("name"));
            tool.arguments.push_quoted(frame.key("arguments"));
        });
        let item = tool.item(&id, status, Some(&tool.arguments));
        self.done(index, item, out);
    }

    /// Closes the message or reasoning that is open.
    fn close(&mut self, status: Status, out: &mut Vec<u8>) {
        match &self.open {
            Open::Nothing => {}
            // It has no signature. The tag alone states its provider.
            Open::Reasoning { .. } => self.close_reasoning(&self.mark(&Escaped::default()), out),
            Open::Message { .. } => self.close_message(status, out),
        }
    }

    fn close_message(&mut self, status: Status, out: &mut Vec<u8>) {
        let Open::Message { index, id, content } = std::mem::replace(&mut self.open, Open::Nothing) else {
            return;
        };
        let place = (index, id.as_str());
        let (name, key) = match content.is_refusal {
            true => ("response.refusal.done", "refusal"),
            false => ("response.output_text.done", "text"),
        };
        self.frames.part(name, place, Some("content_index"), out, |frame| {
            content.text.push_quoted(frame.key(key));
            if !content.is_refusal {
                frame.raw("logprobs", &format!("[{}]", content.logprobs));
            }
        });
        self.frames.part("response.content_part.done", place, Some("content_index"), out, |frame| {
            frame.key("part").extend(content.part());
        });
        if !content.is_refusal {
            let chars = u64::try_from(content.text.decode().chars().count()).unwrap_or(0);
            self.chars = self.chars.saturating_add(chars);
        }
        self.done(index, output::message(&id, status, Some(&content)), out);
    }

    fn close_reasoning(&mut self, marked: &Escaped<'_>, out: &mut Vec<u8>) {
        let Open::Reasoning { index, id, text } = std::mem::replace(&mut self.open, Open::Nothing) else {
            return;
        };
        let place = (index, id.as_str());
        let name = "response.reasoning_summary_text.done";
        self.frames
            .part(name, place, Some("summary_index"), out, |frame| text.push_quoted(frame.key("text")));
        let name = "response.reasoning_summary_part.done";
        self.frames.part(name, place, Some("summary_index"), out, |frame| {
            frame.key("part").extend(output::summary_part(&text));
        });
        self.done(index, output::reasoning(&id, &text, Some(marked)), out);
    }

    fn close_all(&mut self, status: Status, out: &mut Vec<u8>) {
        self.close(status, out);
        while let Some(tool) = self.tools.pop_front() {
            let status = if tool.ended { Status::Completed } else { status };
            self.close_tool(tool, status, out);
            self.announce(out);
        }
    }

    /// Ends an item.
    fn done(&mut self, index: usize, item: Vec<u8>, out: &mut Vec<u8>) {
        self.frames.item("response.output_item.done", index, &item, out);
        if let Some(place) = self.items.get_mut(index) {
            *place = item;
        }
    }

    /// The index and id of a new item.
    fn place(&mut self, prefix: &str) -> (usize, String) {
        let index = self.items.len();
        self.items.push(Vec::new());
        (index, format!("{prefix}{MADE_HERE}{}_{index}", self.writer_context.seed))
    }

    fn mark(&self, bare: &Escaped<'_>) -> Escaped<'static> {
        Signature::mark(self.writer_context.provider, &self.writer_context.upstream_model, bare)
    }

    fn status(&self) -> Status {
        match self.finish {
            Some(Finish::Length | Finish::ContentFilter) => Status::Incomplete,
            // Without a refusal text nothing else would show it.
            Some(Finish::Refusal) if !self.declined => Status::Incomplete,
            _ => Status::Completed,
        }
    }

    fn response(&self, status: Status, error: Option<(&str, &str)>, usage: Option<String>) -> Vec<u8> {
        let finished: Vec<Vec<u8>> = self.items.iter().filter(|item| !item.is_empty()).cloned().collect();
        let incomplete = match self.finish.filter(|_| status == Status::Incomplete) {
            Some(Finish::ContentFilter | Finish::Refusal) => Some("content_filter"),
            Some(_) => Some("max_output_tokens"),
            None => None,
        };
        let response = Response {
            id: &self.id,
            created: self.writer_context.created,
            model: &self.model,
            status,
            error,
            incomplete,
            output: &finished,
            tier: self.tier.as_deref(),
            usage,
            echo: &self.writer_context.echo,
        };
        response.json()
    }
}
