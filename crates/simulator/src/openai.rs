//! OpenAI's chat wire format as its many providers write it. Every byte is a template or comes from the script; no type
//! shared with the gateway may be serialized here. Differences between providers are in `rows`.

mod usage;

use super::{
    counts::Counts,
    errors,
    json::{inside, quoted},
    pacing::{Ending, Stream, Wire},
    reply::Reply,
    request::{Asked, Request},
    rows::{Reasoning, Row, ToolDeltas},
    script::{Script, ToolCall},
};

/// What is needed to answer one request.
pub(super) struct Answer<'a> {
    row: &'a Row,
    script: &'a Script,
    request: &'a Request<'a>,
    /// The rest is read from the request once, because it goes into every chunk.
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
    Refusal(String),
    /// All of them.
    Citations,
}

impl<'a> Answer<'a> {
    pub(super) fn new(asked: &Asked<'a>) -> Self {
        let &Asked { row, script, request, streamed, serial, .. } = asked;
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

    fn finish(&self, stream: &mut Stream<'_>) {
        let choices = self.choices;
        let reason = self.finish_reason();
        for choice in 0..choices {
            let last = choice + 1 == choices;
            let chunk = self.chunk(choice, "{}", "null", Some((&reason, last)), &stream.counts, false);
            stream.say("", &chunk);
        }
        if self.usage_in_extra_chunk() {
            let Self { opening, tail, .. } = self;
            let usage = self.usage_json(&stream.counts);
            stream.say(
                "",
                &format!(r#"{opening}"chat.completion.chunk","choices":[],"usage":{usage}{tail}}}"#),
            );
        }
        if !self.script.no_done {
            stream.say("", "[DONE]");
        }
    }

    /// One chunk. `finish` is the JSON of the finish reason and whether this is the last choice; `first` marks
    /// the chunk that opens the stream.
    fn chunk(
        &self,
        choice: usize,
        delta: &str,
        logprobs: &str,
        finish: Option<(&str, bool)>,
        counts: &Counts,
        first: bool,
    ) -> String {
        let Self { opening, tail, .. } = self;
        let reason = finish.map_or("null", |(reason, _)| reason);
        let last = finish.is_some_and(|(_, last)| last);
        let in_choice = self.usage_in_choice(last, counts);
        let after = self.usage_after_choices(last, first, counts);
        format!(
            r#"{opening}"chat.completion.chunk","choices":[{{"index":{choice},"delta":{delta},"logprobs":{logprobs},"finish_reason":{reason}{in_choice}}}]{after}{tail}}}"#
        )
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

    fn pieces(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> =
            self.script.reasoning.iter().map(|text| Piece::Reasoning(inside(text))).collect();
        pieces.extend(self.request.texts(self.script).into_iter().map(Piece::Text));
        if !self.script.citations.is_empty() {
            pieces.push(Piece::Citations);
        }
        pieces.extend(self.script.refusal.iter().map(|text| Piece::Refusal(inside(text))));
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
            Piece::Reasoning(_) | Piece::Text(_) | Piece::Refusal(_) | Piece::ToolPart { .. } => 1,
            Piece::ToolName { .. } | Piece::Citations => 0,
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
            Piece::Refusal(text) => format!(r#"{{"refusal":"{text}"}}"#),
            Piece::Citations => format!("{{{}}}", self.annotations()),
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

    fn annotations(&self) -> String {
        let pages: Vec<String> = self
            .script
            .citations
            .iter()
            .map(|page| {
                let (url, title) = (quoted(&page.url), quoted(&page.title));
                format!(
                    r#"{{"type":"url_citation","url_citation":{{"start_index":0,"end_index":0,"url":{url},"title":{title}}}}}"#
                )
            })
            .collect();
        format!(r#""annotations":[{}]"#, pages.join(","))
    }

    /// Every chunk of text counts as one token.
    fn logprobs(&self, texts: &[String]) -> String {
        if !self.script.logprobs {
            return "null".to_owned();
        }
        let tokens: Vec<String> = texts
            .iter()
            .map(|text| format!(r#"{{"token":"{text}","logprob":-0.25,"bytes":null,"top_logprobs":[]}}"#))
            .collect();
        format!(r#"{{"content":[{}],"refusal":null}}"#, tokens.join(","))
    }

    fn message(&self) -> String {
        let text = self.request.texts(self.script).concat();
        let reasoning: String = self.script.reasoning.iter().map(|text| inside(text)).collect();
        let other = !self.script.tool_calls.is_empty() || self.script.refusal.is_some();
        let answer = if !other || !text.is_empty() { format!("\"{text}\"") } else { "null".into() };
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
        let refusal = self.script.refusal.as_deref().map(|text| format!(r#","refusal":{}"#, quoted(text)));
        // Some hosts name it always.
        let always = ["openai", "xai", "together_ai", "fireworks_ai"].contains(&self.row.id);
        let refusal =
            refusal.unwrap_or_else(|| if always { r#","refusal":null"#.into() } else { String::new() });
        let pages =
            if self.script.citations.is_empty() { String::new() } else { format!(",{}", self.annotations()) };
        format!(r#"{{"role":"assistant",{content}{calls}{refusal}{pages}}}"#)
    }
}

impl Wire for Answer<'_> {
    fn script(&self) -> &Script {
        self.script
    }

    fn streamed(&self) -> bool {
        self.streamed
    }

    fn counts(&self) -> Counts {
        let pieces = self.pieces();
        let weight: usize = pieces.iter().map(|piece| self.weight(piece)).sum();
        let shown = pieces.iter().filter(|piece| matches!(piece, Piece::Reasoning(_))).count();
        Counts::of(self.script, weight * self.choices, shown * self.choices)
    }

    fn content_chunks(&self) -> usize {
        self.pieces().len() * self.choices
    }

    fn failure(&self, status: u16, message: &str) -> Reply {
        errors::fault(self.row, status, message, None)
    }

    fn body(&self, counts: &Counts) -> String {
        let Self { opening, tail, .. } = self;
        let reason = self.finish_reason();
        let message = self.message();
        let logprobs = self.logprobs(&self.request.texts(self.script));
        let in_choice = self.usage_in_choice(true, counts);
        let choices: Vec<String> = (0..self.choices)
            .map(|index| {
                format!(
                    r#"{{"index":{index},"message":{message},"logprobs":{logprobs},"finish_reason":{reason}{in_choice}}}"#
                )
            })
            .collect();
        let usage = self.usage_in_body(counts);
        format!(r#"{opening}"chat.completion","choices":[{}]{usage}{tail}}}"#, choices.join(","))
    }

    fn tell(&self, stream: &mut Stream<'_>) {
        if self.script.role_chunk_first {
            for choice in 0..self.choices {
                let delta = r#"{"role":"assistant","content":""}"#;
                let chunk = self.chunk(choice, delta, "null", None, &stream.counts, choice == 0);
                stream.say("", &chunk);
            }
        }
        for piece in self.pieces() {
            let (weight, delta) = (self.weight(&piece), self.delta(&piece));
            let logprobs = match &piece {
                Piece::Text(text) => self.logprobs(std::slice::from_ref(text)),
                _ => "null".to_owned(),
            };
            for choice in 0..self.choices {
                if weight == 0 {
                    let chunk = self.chunk(choice, &delta, &logprobs, None, &stream.counts, false);
                    stream.say("", &chunk);
                } else {
                    stream.say_content("", weight, |counts| {
                        self.chunk(choice, &delta, &logprobs, None, counts, false)
                    });
                }
            }
        }
        match stream.close() {
            Ending::Whole => self.finish(stream),
            Ending::Failed => {
                let error = self.script.error.clone().unwrap_or_else(|| errors::frame(self.row));
                stream.say("", &error);
            }
            Ending::Cut => {}
        }
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
