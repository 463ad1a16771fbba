//! The silences, keep-alives, cuts and failures that a script requests, once for all wire formats. A wire format
//! defines its frames; it must not know when they are sent or how the reply ends.

use super::{
    counts::Counts,
    reply::{EVENT_STREAM, JSON, Reply, Step},
    script::Script,
};
use bytes::Bytes;

/// One answer in one wire format.
pub(super) trait Wire {
    fn script(&self) -> &Script;
    fn streamed(&self) -> bool;
    /// Of the whole answer, nothing emitted yet.
    fn counts(&self) -> Counts;
    /// What the bill counts for a reply that is not streamed.
    fn content_chunks(&self) -> usize;
    /// In the error format of the provider of this wire format.
    fn failure(&self, status: u16, message: &str) -> Reply;
    /// The reply that is not streamed, for an answer that failed while it was generated.
    fn broken(&self) -> Reply {
        let message = "The server failed while it generated.";
        match &self.script().error {
            Some(body) => Reply::json(503, body.clone()),
            None => self.failure(503, message),
        }
    }
    /// All is emitted.
    fn body(&self, counts: &Counts) -> String;
    /// Writes the stream from its first frame to its last.
    fn tell(&self, stream: &mut Stream<'_>);
    fn line_end(&self) -> &'static str {
        if self.script().crlf { "\r\n" } else { "\n" }
    }
    /// The event that keeps a silent stream alive, with its data; left out, a comment does.
    fn keep_alive(&self) -> Option<(&'static str, &'static str)> {
        None
    }
}

/// The failure that the script requests, or the successful answer.
pub(super) fn scripted(wire: &impl Wire) -> Reply {
    let Script { status, error, headers, error_after, raw_body, .. } = wire.script();
    if *status == 200 || raw_body.is_some() {
        return reply(wire);
    }
    let reply = match error {
        Some(body) if error_after.is_none() => Reply::json(*status, body.clone()),
        _ => wire.failure(*status, "The request failed as scripted."),
    };
    reply.with_headers(headers)
}

fn reply(wire: &impl Wire) -> Reply {
    let script = wire.script();
    let reply = if let Some(body) = &script.raw_body {
        unary(wire, body.clone())
    } else if let Some(frames) = &script.raw_frames {
        raw_stream(script, frames)
    } else if wire.streamed() {
        let mut stream = Stream::open(wire);
        wire.tell(&mut stream);
        good(script, EVENT_STREAM, None, stream.steps)
    } else if script.error_after.is_some() {
        return wire.broken();
    } else {
        let mut counts = wire.counts();
        counts.rest();
        unary(wire, wire.body(&counts))
    };
    reply.with_headers(&script.headers).split(script.split_bytes)
}

fn unary(wire: &impl Wire, body: String) -> Reply {
    let script = wire.script();
    let body = if script.comments { format!("\n\n{body}") } else { body };
    let length = u64::try_from(body.len()).ok();
    let mut steps = pause(script.first_byte_ms);
    // All of it was generated before the first byte, so even a cut reply costs the whole.
    let content_chunks = u64::try_from(wire.content_chunks()).unwrap_or(0);
    let tokens = wire.counts().completion;
    let mut bytes = Bytes::from(body);
    if script.cut_after.is_some() {
        bytes.truncate(bytes.len() / 2);
        steps.push(Step::Write { bytes, content_chunks, tokens });
        steps.push(Step::Cut);
    } else {
        steps.push(Step::Write { bytes, content_chunks, tokens });
    }
    good(script, JSON, length, steps)
}

fn good(script: &Script, content_type: &'static str, length: Option<u64>, steps: Vec<Step>) -> Reply {
    let prompt_tokens = script.prompt_tokens;
    Reply { status: script.status, content_type, headers: Vec::new(), prompt_tokens, length, steps }
}

fn raw_stream(script: &Script, frames: &[String]) -> Reply {
    let total = script.completion_tokens.unwrap_or(u64::try_from(frames.len()).unwrap_or(0));
    let mut counts = Counts::new(script, total, 0, frames.len());
    let mut steps = pause(script.first_byte_ms);
    for (index, frame) in frames.iter().enumerate() {
        if script.cut_after == Some(index) {
            break;
        }
        let tokens = counts.emit(1);
        steps.push(Step::Write { bytes: frame.clone().into(), content_chunks: 1, tokens });
        if index + 1 < frames.len() {
            steps.extend(pause(script.chunk_gap_ms));
        }
    }
    if script.cut_after.is_some_and(|after| after <= frames.len()) {
        steps.push(Step::Cut);
    }
    good(script, EVENT_STREAM, None, steps)
}

/// A stream in progress. After an early end further frames are not sent, so that a wire format can write its answer
/// without checks.
pub(super) struct Stream<'a> {
    pub counts: Counts,
    script: &'a Script,
    line_end: &'static str,
    keep_alive: Option<(&'static str, &'static str)>,
    steps: Vec<Step>,
    /// After how many content chunks it ends before its time, and how.
    early: Option<(usize, Ending)>,
    content_chunks: usize,
    frames: usize,
    ended: Option<Ending>,
    /// Tokens that the next frame carries.
    owed: u64,
}

/// How a stream ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Whole,
    /// The failure is written in the wire format.
    Failed,
    /// Nothing more is sent.
    Cut,
}

impl<'a> Stream<'a> {
    fn open(wire: &'a impl Wire) -> Self {
        let script = wire.script();
        let early = match (script.cut_after, script.error_after) {
            (Some(cut), Some(error)) if error < cut => Some((error, Ending::Failed)),
            (Some(cut), _) => Some((cut, Ending::Cut)),
            (None, error) => error.map(|error| (error, Ending::Failed)),
        };
        let mut stream = Self {
            counts: wire.counts(),
            script,
            line_end: wire.line_end(),
            keep_alive: wire.keep_alive(),
            steps: Vec::new(),
            early,
            content_chunks: 0,
            frames: 0,
            ended: None,
            owed: 0,
        };
        stream.keep_alive();
        stream.steps.extend(pause(script.first_byte_ms));
        stream
    }

    /// A frame without content. An empty event has no event line.
    pub(super) fn say(&mut self, event: &str, data: &str) {
        if self.ended.is_none() {
            let tokens = std::mem::take(&mut self.owed);
            self.write(event, data, 0, tokens);
        }
    }

    /// A content chunk that carries `pieces` of the answer; the data is made with those emitted.
    pub(super) fn say_content(&mut self, event: &str, pieces: usize, data: impl FnOnce(&Counts) -> String) {
        self.end_if_due();
        if self.ended.is_some() {
            return;
        }
        self.keep_alive();
        let tokens = self.counts.emit(pieces);
        let data = data(&self.counts);
        self.content_chunks += 1;
        self.write(event, &data, 1, tokens);
        self.steps.extend(pause(self.script.chunk_gap_ms));
    }

    /// All content was written. What follows is the end that this returns.
    pub(super) fn close(&mut self) -> Ending {
        self.end_if_due();
        match self.ended {
            None => {
                self.owed = self.counts.rest();
                Ending::Whole
            }
            Some(Ending::Failed) => {
                self.ended = None;
                self.early = None;
                Ending::Failed
            }
            Some(ending) => ending,
        }
    }

    /// How many frames were sent, keep-alives not counted.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    fn end_if_due(&mut self) {
        if let Some((after, ending)) = self.early
            && after == self.content_chunks
            && self.ended.is_none()
        {
            self.ended = Some(ending);
            if ending == Ending::Cut {
                self.steps.push(Step::Cut);
            }
        }
    }

    fn keep_alive(&mut self) {
        if self.script.comments {
            let frame = match self.keep_alive {
                Some((event, data)) => self.frame(event, data),
                None => format!(": keep-alive{0}{0}", self.line_end),
            };
            self.steps.push(Step::plain(frame));
        }
    }

    fn write(&mut self, event: &str, data: &str, content_chunks: u64, tokens: u64) {
        let bytes = self.frame(event, data).into();
        self.frames += 1;
        self.steps.push(Step::Write { bytes, content_chunks, tokens });
    }

    fn frame(&self, event: &str, data: &str) -> String {
        let line_end = self.line_end;
        if event.is_empty() {
            format!("data: {data}{line_end}{line_end}")
        } else {
            format!("event: {event}{line_end}data: {data}{line_end}{line_end}")
        }
    }
}

/// No step for no silence.
pub(super) fn pause(ms: u64) -> Vec<Step> {
    if ms == 0 { Vec::new() } else { vec![Step::Pause { ms }] }
}
