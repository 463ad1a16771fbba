//! OpenAI's chat wire as its many speakers write it. Every byte is a template or comes from the script; no
//! type shared with the gateway may be serialized here. What differs by provider is in `rows`.

mod usage;

use super::{
    errors,
    reply::{EVENT_STREAM, JSON, Reply, Step},
    request::{ChatRequest, quoted},
    rows::{Reasoning, Row, ToolDeltas},
    script::{Script, ToolCall},
};
use usage::Counts;

/// What is needed to answer one request.
pub(super) struct Answer<'a> {
    row: &'a Row,
    script: &'a Script,
    request: &'a ChatRequest<'a>,
    /// The rest is read from the request once, for it goes into every chunk.
    streamed: bool,
    usage_asked: bool,
    choices: usize,
    /// The opening of every object of the answer, up to its kind.
    opening: String,
    /// What closes every object of the answer, without the brace.
    tail: String,
}

/// A part of one choice. Texts are the insides of JSON strings.
enum Piece {
    Reasoning(String),
    Text(String),
    /// Id and name of a call, no arguments yet.
    ToolName {
        index: usize,
    },
    ToolPart {
        index: usize,
        part: String,
    },
    ToolWhole {
        index: usize,
    },
}

/// How a stream ends before its time.
#[derive(Clone, Copy)]
enum Ending {
    Cut,
    Error,
}

impl<'a> Answer<'a> {
    /// `serial` makes the ids of the answer.
    pub(super) fn new(row: &'a Row, script: &'a Script, request: &'a ChatRequest<'a>, serial: u64) -> Self {
        let streamed = request.is_true("stream");
        let padded =
            row.id == "openai" && streamed && request.stream_option("include_obfuscation") != Some(false);
        let tier = script.service_tier.as_deref().map(|tier| format!(r#","service_tier":{}"#, quoted(tier)));
        let tail = format!(
            r#"{},"system_fingerprint":"fp_simulated"{}"#,
            tier.unwrap_or_default(),
            if padded { r#","obfuscation":"Kx93aQ""# } else { "" }
        );
        let model = request.get("model").unwrap_or("\"\"");
        Self {
            row,
            script,
            request,
            streamed,
            usage_asked: request.stream_option("include_usage") == Some(true),
            choices: request.choices(),
            opening: format!(
                r#"{{"id":"chatcmpl-simulated{serial}","created":1760000000,"model":{model},"object":"#
            ),
            tail,
        }
    }

    /// The failure the script asks for, or the good answer.
    pub(super) fn scripted(&self) -> Reply {
        let Script { status, error, headers, error_after, raw_body, .. } = self.script;
        if *status == 200 || raw_body.is_some() {
            return self.reply();
        }
        let reply = match error {
            Some(body) if error_after.is_none() => Reply::json(*status, body.clone()),
            _ => errors::fault(self.row, *status, "The request failed as scripted.", None),
        };
        reply.with_headers(headers)
    }

    fn reply(&self) -> Reply {
        let reply = if let Some(body) = &self.script.raw_body {
            self.unary(body.clone())
        } else if let Some(frames) = &self.script.raw_frames {
            self.raw_stream(frames)
        } else if self.streamed {
            self.stream()
        } else if self.script.error_after.is_some() {
            return match &self.script.error {
                Some(body) => Reply::json(503, body.clone()),
                None => errors::fault(self.row, 503, "The server failed while it generated.", None),
            };
        } else {
            self.unary(self.body())
        };
        reply.with_headers(&self.script.headers).split(self.script.split_bytes)
    }

    fn unary(&self, body: String) -> Reply {
        let counts = self.counts();
        let body = if self.script.comments { format!("\n\n{body}") } else { body };
        let length = u64::try_from(body.len()).ok();
        let mut steps = pause(self.script.first_byte_ms);
        // All of it was generated before the first byte, so even a cut reply costs the whole.
        let content_chunks = u64::try_from(self.pieces().len() * self.choices).unwrap_or(0);
        let tokens = counts.completion;
        let mut bytes = bytes::Bytes::from(body);
        if self.script.cut_after.is_some() {
            bytes.truncate(bytes.len() / 2);
            steps.push(Step::Write { bytes, content_chunks, tokens });
            steps.push(Step::Cut);
        } else {
            steps.push(Step::Write { bytes, content_chunks, tokens });
        }
        self.good(JSON, length, steps)
    }

    fn good(&self, content_type: &'static str, length: Option<u64>, steps: Vec<Step>) -> Reply {
        let prompt_tokens = self.script.prompt_tokens;
        Reply { status: self.script.status, content_type, headers: Vec::new(), prompt_tokens, length, steps }
    }

    fn raw_stream(&self, frames: &[String]) -> Reply {
        let total = self.script.completion_tokens.unwrap_or(u64::try_from(frames.len()).unwrap_or(0));
        let mut counts = Counts::new(self.script, total, 0, frames.len());
        let mut steps = pause(self.script.first_byte_ms);
        for (index, frame) in frames.iter().enumerate() {
            if self.script.cut_after == Some(index) {
                break;
            }
            let tokens = counts.emit(1);
            steps.push(Step::Write { bytes: frame.clone().into(), content_chunks: 1, tokens });
            if index + 1 < frames.len() {
                steps.extend(pause(self.script.chunk_gap_ms));
            }
        }
        if self.script.cut_after.is_some_and(|after| after <= frames.len()) {
            steps.push(Step::Cut);
        }
        self.good(EVENT_STREAM, None, steps)
    }

    fn stream(&self) -> Reply {
        let script = self.script;
        let choices = self.choices;
        let mut counts = self.counts();
        let mut steps = Vec::new();
        if script.comments {
            steps.push(self.comment());
        }
        steps.extend(pause(script.first_byte_ms));
        if script.role_chunk_first {
            for choice in 0..choices {
                let delta = r#"{"role":"assistant","content":""}"#;
                steps.push(Step::plain(self.chunk(choice, delta, None, &counts, choice == 0)));
            }
        }
        let early = match (script.cut_after, script.error_after) {
            (Some(cut), Some(error)) if error < cut => Some((error, Ending::Error)),
            (Some(cut), _) => Some((cut, Ending::Cut)),
            (None, error) => error.map(|error| (error, Ending::Error)),
        };
        let mut sent = 0;
        for piece in self.pieces() {
            for choice in 0..choices {
                let weight = self.weight(&piece);
                if weight > 0 && early.is_some_and(|(after, _)| after == sent) {
                    return self.ended_early(steps, early);
                }
                if weight > 0 && script.comments {
                    steps.push(self.comment());
                }
                let tokens = counts.emit(weight);
                let bytes = self.chunk(choice, &self.delta(&piece), None, &counts, false).into();
                let content_chunks = u64::from(weight > 0);
                steps.push(Step::Write { bytes, content_chunks, tokens });
                if weight > 0 {
                    sent += 1;
                    steps.extend(pause(script.chunk_gap_ms));
                }
            }
        }
        if early.is_some_and(|(after, _)| after == sent) {
            return self.ended_early(steps, early);
        }
        self.finish(&mut steps, counts);
        self.good(EVENT_STREAM, None, steps)
    }

    fn finish(&self, steps: &mut Vec<Step>, mut counts: Counts) {
        let choices = self.choices;
        let reason = self.finish_reason();
        let tokens = counts.rest();
        for choice in 0..choices {
            let last = choice + 1 == choices;
            let bytes = self.chunk(choice, "{}", Some((&reason, last)), &counts, false).into();
            steps.push(Step::Write { bytes, content_chunks: 0, tokens: if last { tokens } else { 0 } });
        }
        if self.usage_in_extra_chunk() {
            let Self { opening, tail, .. } = self;
            let usage = self.usage_json(&counts);
            steps.push(Step::plain(self.frame(&format!(
                r#"{opening}"chat.completion.chunk","choices":[],"usage":{usage}{tail}}}"#
            ))));
        }
        if !self.script.no_done {
            steps.push(Step::plain(self.frame("[DONE]")));
        }
    }

    fn ended_early(&self, mut steps: Vec<Step>, early: Option<(usize, Ending)>) -> Reply {
        match early {
            Some((_, Ending::Error)) => {
                let error = self.script.error.clone().unwrap_or_else(|| errors::frame(self.row));
                steps.push(Step::plain(self.frame(&error)));
            }
            _ => steps.push(Step::Cut),
        }
        self.good(EVENT_STREAM, None, steps)
    }

    /// One chunk. `finish` is the JSON of the finish reason and whether this is the last choice; `first` marks
    /// the chunk that opens the stream.
    fn chunk(
        &self,
        choice: usize,
        delta: &str,
        finish: Option<(&str, bool)>,
        counts: &Counts,
        first: bool,
    ) -> String {
        let Self { opening, tail, .. } = self;
        let reason = finish.map_or("null", |(reason, _)| reason);
        let last = finish.is_some_and(|(_, last)| last);
        let in_choice = self.usage_in_choice(last, counts);
        let after = self.usage_after_choices(last, first, counts);
        self.frame(&format!(
            r#"{opening}"chat.completion.chunk","choices":[{{"index":{choice},"delta":{delta},"logprobs":null,"finish_reason":{reason}{in_choice}}}]{after}{tail}}}"#
        ))
    }

    fn frame(&self, data: &str) -> String {
        let line_end = self.line_end();
        format!("data: {data}{line_end}{line_end}")
    }

    fn comment(&self) -> Step {
        let line_end = self.line_end();
        Step::plain(format!(": keep-alive{line_end}{line_end}"))
    }

    fn line_end(&self) -> &'static str {
        if self.script.crlf { "\r\n" } else { "\n" }
    }

    /// The JSON of the finish reason.
    fn finish_reason(&self) -> String {
        match self.script.finish_reason.as_deref() {
            Some("null") => "null".to_owned(),
            Some(reason) => quoted(reason),
            None if self.script.tool_calls.is_empty() => r#""stop""#.to_owned(),
            None => r#""tool_calls""#.to_owned(),
        }
    }

    fn text(&self) -> Vec<String> {
        if self.script.echo {
            let text = self.request.last_user_text();
            return text.split_inclusive(' ').map(str::to_owned).collect();
        }
        self.script.chunks.iter().map(|chunk| inside(chunk)).collect()
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> =
            self.script.reasoning.iter().map(|text| Piece::Reasoning(inside(text))).collect();
        pieces.extend(self.text().into_iter().map(Piece::Text));
        for (index, call) in self.script.tool_calls.iter().enumerate() {
            let whole = match self.row.tools {
                ToolDeltas::Whole => true,
                ToolDeltas::WholeOrNamed => call.pieces.len() == 1,
                ToolDeltas::Pieces => false,
            };
            if whole {
                pieces.push(Piece::ToolWhole { index });
            } else {
                pieces.push(Piece::ToolName { index });
                pieces.extend(call.pieces.iter().map(|part| Piece::ToolPart { index, part: part.clone() }));
            }
        }
        pieces
    }

    /// How many pieces of the script a piece of the answer carries; 0 for one without content.
    fn weight(&self, piece: &Piece) -> usize {
        match piece {
            Piece::Reasoning(_) | Piece::Text(_) | Piece::ToolPart { .. } => 1,
            Piece::ToolName { .. } => 0,
            Piece::ToolWhole { index } => self.call(*index).map_or(1, |call| call.pieces.len().max(1)),
        }
    }

    fn call(&self, index: usize) -> Option<&ToolCall> {
        self.script.tool_calls.get(index)
    }

    fn delta(&self, piece: &Piece) -> String {
        match piece {
            Piece::Reasoning(text) => format!("{{{}}}", reasoning_fields(self.row.reasoning, text)),
            Piece::Text(text) => format!(r#"{{"content":"{text}"}}"#),
            Piece::ToolName { index } => self.tool_delta(*index, true, ""),
            Piece::ToolPart { index, part } => self.tool_delta(*index, false, part),
            Piece::ToolWhole { index } => {
                let arguments = self.call(*index).map(|call| call.pieces.concat()).unwrap_or_default();
                self.tool_delta(*index, true, &arguments)
            }
        }
    }

    fn tool_delta(&self, index: usize, opens: bool, arguments: &str) -> String {
        let (id, name) =
            self.call(index).map(|call| (quoted(&call.id), quoted(&call.name))).unwrap_or_default();
        let named_later = self.row.tools == ToolDeltas::WholeOrNamed;
        let call = if opens && named_later && !arguments.is_empty() {
            format!(r#"{{"id":{id},"function":{{"name":{name},"arguments":"{arguments}"}}}}"#)
        } else if opens {
            format!(
                r#"{{"index":{index},"id":{id},"type":"function","function":{{"name":{name},"arguments":"{arguments}"}}}}"#
            )
        } else if named_later {
            format!(
                r#"{{"index":{index},"id":{id},"type":"function","function":{{"name":"","arguments":"{arguments}"}}}}"#
            )
        } else {
            format!(r#"{{"index":{index},"function":{{"arguments":"{arguments}"}}}}"#)
        };
        format!(r#"{{"tool_calls":[{call}]}}"#)
    }

    /// The body of a reply that is not streamed.
    fn body(&self) -> String {
        let mut counts = self.counts();
        counts.rest();
        let Self { opening, tail, .. } = self;
        let reason = self.finish_reason();
        let message = self.message();
        let in_choice = self.usage_in_choice(true, &counts);
        let choices: Vec<String> = (0..self.choices)
            .map(|index| {
                format!(
                    r#"{{"index":{index},"message":{message},"logprobs":null,"finish_reason":{reason}{in_choice}}}"#
                )
            })
            .collect();
        let usage = self.usage_in_body(&counts);
        format!(r#"{opening}"chat.completion","choices":[{}]{usage}{tail}}}"#, choices.join(","))
    }

    fn message(&self) -> String {
        let text = self.text().concat();
        let reasoning: String = self.script.reasoning.iter().map(|text| inside(text)).collect();
        let answer = if self.script.tool_calls.is_empty() || !text.is_empty() {
            format!("\"{text}\"")
        } else {
            "null".into()
        };
        let content = if reasoning.is_empty() {
            format!(r#""content":{answer}"#)
        } else if self.row.reasoning == Reasoning::ThinkingPart {
            let thinking = thinking_part(&reasoning);
            format!(r#""content":[{thinking},{{"type":"text","text":"{text}"}}]"#)
        } else {
            format!(r#""content":{answer},{}"#, reasoning_fields(self.row.reasoning, &reasoning))
        };
        let calls: Vec<String> = self
            .script
            .tool_calls
            .iter()
            .map(|call| {
                let (id, name, arguments) = (quoted(&call.id), quoted(&call.name), call.pieces.concat());
                format!(
                    r#"{{"id":{id},"type":"function","function":{{"name":{name},"arguments":"{arguments}"}}}}"#
                )
            })
            .collect();
        let calls =
            if calls.is_empty() { String::new() } else { format!(r#","tool_calls":[{}]"#, calls.join(",")) };
        format!(r#"{{"role":"assistant",{content}{calls}}}"#)
    }
}

fn reasoning_fields(form: Reasoning, text: &str) -> String {
    match form {
        Reasoning::Content => format!(r#""reasoning_content":"{text}""#),
        Reasoning::Plain => format!(r#""reasoning":"{text}""#),
        Reasoning::Both => format!(r#""reasoning":"{text}","reasoning_content":"{text}""#),
        Reasoning::ThinkingPart => format!(r#""content":[{}]"#, thinking_part(text)),
    }
}

fn thinking_part(text: &str) -> String {
    format!(r#"{{"type":"thinking","thinking":[{{"type":"text","text":"{text}"}}]}}"#)
}

/// Text as the inside of a JSON string.
fn inside(text: &str) -> String {
    let mut quoted = quoted(text);
    quoted.pop();
    quoted.split_off(quoted.len().min(1))
}

/// No step for no silence.
fn pause(ms: u64) -> Vec<Step> {
    if ms == 0 { Vec::new() } else { vec![Step::Pause { ms }] }
}
