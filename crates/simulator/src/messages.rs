//! Anthropic's Messages wire. Every byte is a template or comes from the script; no type shared with the
//! gateway may be serialized here.

use super::{
    counts::Counts,
    errors,
    json::{inside, object_in, quoted},
    pacing::{Ending, Stream, Wire},
    reply::Reply,
    request::Asked,
    script::{Script, UsagePlace},
};

/// What is needed to answer one request.
pub(super) struct Answer<'a>(pub Asked<'a>);

/// The answer to a token count, which is free.
pub(super) fn counted(script: &Script) -> Reply {
    Reply::json(200, format!(r#"{{"input_tokens":{}}}"#, script.prompt_tokens))
}

/// One block of the content: the head that opens it in a stream, what fills it, and the whole.
struct Block {
    head: String,
    /// Deltas, and whether each is content.
    deltas: Vec<(String, bool)>,
    whole: String,
}

impl Answer<'_> {
    fn blocks(&self) -> Vec<Block> {
        let script = self.0.script;
        let mut blocks: Vec<Block> = self.thinking().into_iter().collect();
        blocks.extend(script.redacted_thinking.iter().map(|data| {
            let whole = format!(r#"{{"type":"redacted_thinking","data":{}}}"#, quoted(data));
            Block { head: whole.clone(), deltas: Vec::new(), whole }
        }));
        blocks.extend(self.text());
        blocks.extend(script.tool_calls.iter().map(|call| {
            let head = |input: &str| {
                format!(
                    r#"{{"type":"tool_use","id":{},"name":{},"input":{input},"caller":{{"type":"direct"}}}}"#,
                    quoted(&call.id),
                    quoted(&call.name)
                )
            };
            let delta = |part: &str| format!(r#"{{"type":"input_json_delta","partial_json":"{part}"}}"#);
            let mut deltas = vec![(delta(""), false)];
            deltas.extend(call.pieces.iter().map(|part| (delta(part), true)));
            Block { head: head("{}"), deltas, whole: head(&object_in(&call.pieces.concat())) }
        }));
        blocks
    }

    /// A signature without text is hidden reasoning.
    fn thinking(&self) -> Option<Block> {
        let Script { reasoning, signature, .. } = self.0.script;
        if reasoning.is_empty() && signature.is_none() {
            return None;
        }
        let signature = quoted(signature.as_deref().unwrap_or("EqQBsimulated"));
        let mut deltas: Vec<(String, bool)> = reasoning
            .iter()
            .map(|text| (format!(r#"{{"type":"thinking_delta","thinking":{}}}"#, quoted(text)), true))
            .collect();
        deltas.push((format!(r#"{{"type":"signature_delta","signature":{signature}}}"#), false));
        let text: String = reasoning.iter().map(|text| inside(text)).collect();
        Some(Block {
            head: r#"{"type":"thinking","thinking":"","signature":""}"#.to_owned(),
            deltas,
            whole: format!(r#"{{"type":"thinking","thinking":"{text}","signature":{signature}}}"#),
        })
    }

    fn text(&self) -> Option<Block> {
        let texts = self.0.request.texts(self.0.script);
        if texts.is_empty() {
            return None;
        }
        let mut deltas: Vec<(String, bool)> =
            texts.iter().map(|text| (format!(r#"{{"type":"text_delta","text":"{text}"}}"#), true)).collect();
        let citations: Vec<String> = self
            .0
            .script
            .citations
            .iter()
            .map(|page| {
                format!(
                    r#"{{"type":"web_search_result_location","cited_text":"","url":{},"title":{},"encrypted_index":"simulated"}}"#,
                    quoted(&page.url),
                    quoted(&page.title)
                )
            })
            .collect();
        deltas.extend(
            citations
                .iter()
                .map(|citation| (format!(r#"{{"type":"citations_delta","citation":{citation}}}"#), false)),
        );
        let cited = if citations.is_empty() {
            r#","citations":null"#.to_owned()
        } else {
            format!(r#","citations":[{}]"#, citations.join(","))
        };
        let text = texts.concat();
        Some(Block {
            head: r#"{"type":"text","text":"","citations":null}"#.to_owned(),
            deltas,
            whole: format!(r#"{{"type":"text","text":"{text}"{cited}}}"#),
        })
    }

    /// The whole message, or its head in a stream.
    fn message(&self, content: &str, end: &str, usage: &str) -> String {
        let Asked { serial, model, .. } = &self.0;
        format!(
            r#"{{"id":"msg_simulated{serial}","type":"message","role":"assistant","model":{},"content":[{content}],"container":null,{end}{usage}}}"#,
            quoted(model)
        )
    }

    fn end(&self) -> String {
        let Script { finish_reason, tool_calls, refusal, .. } = self.0.script;
        let reason = match finish_reason.as_deref() {
            Some("null") => "null".to_owned(),
            Some("stop") => quoted("end_turn"),
            Some("length") => quoted("max_tokens"),
            Some("tool_calls") => quoted("tool_use"),
            Some("content_filter") => quoted("refusal"),
            Some(other) => quoted(other),
            None if refusal.is_some() => quoted("refusal"),
            None if !tool_calls.is_empty() => quoted("tool_use"),
            None => quoted("end_turn"),
        };
        let details = refusal.as_deref().map(|text| {
            format!(
                r#","stop_details":{{"type":"refusal","category":"cyber","explanation":{}}}"#,
                quoted(text)
            )
        });
        let details = details.unwrap_or_else(|| r#","stop_details":null"#.to_owned());
        format!(r#""stop_reason":{reason},"stop_sequence":null{details}"#)
    }

    /// The usage member, after a comma. The prompt does not include cached tokens.
    fn usage(&self, counts: &Counts, output: u64, last: bool) -> String {
        if self.0.script.usage == UsagePlace::Missing {
            return String::new();
        }
        let Counts { prompt, cached, written, written_1h, .. } = *counts;
        let created = written.saturating_add(written_1h);
        let input = prompt.saturating_sub(cached).saturating_sub(created);
        let tier = quoted(self.0.script.service_tier.as_deref().unwrap_or("standard"));
        let more = match (last, self.0.script.searches) {
            (false, _) => r#","output_tokens_details":null,"server_tool_use":null"#.to_owned(),
            (true, 0) => format!(
                r#","output_tokens_details":{{"thinking_tokens":{}}},"server_tool_use":null"#,
                counts.reasoning()
            ),
            (true, searches) => format!(
                r#","output_tokens_details":{{"thinking_tokens":{}}},"server_tool_use":{{"web_search_requests":{searches}}}"#,
                counts.reasoning()
            ),
        };
        format!(
            r#","usage":{{"input_tokens":{input},"cache_creation_input_tokens":{created},"cache_read_input_tokens":{cached},"cache_creation":{{"ephemeral_5m_input_tokens":{written},"ephemeral_1h_input_tokens":{written_1h}}},"output_tokens":{output}{more},"service_tier":{tier},"inference_geo":null}}"#
        )
    }
}

impl Wire for Answer<'_> {
    fn script(&self) -> &Script {
        self.0.script
    }

    fn streamed(&self) -> bool {
        self.0.streamed
    }

    fn counts(&self) -> Counts {
        Counts::of(self.0.script, self.content_chunks(), self.0.script.reasoning.len())
    }

    fn content_chunks(&self) -> usize {
        self.blocks().iter().flat_map(|block| &block.deltas).filter(|(_, content)| *content).count()
    }

    fn failure(&self, status: u16, message: &str) -> Reply {
        errors::fault(self.0.speaker, status, message, None)
    }

    fn broken(&self) -> Reply {
        match &self.0.script.error {
            Some(body) => Reply::json(529, body.clone()),
            None => self.failure(529, "Overloaded"),
        }
    }

    fn body(&self, counts: &Counts) -> String {
        let blocks: Vec<String> = self.blocks().into_iter().map(|block| block.whole).collect();
        let usage = self.usage(counts, counts.emitted(), true);
        self.message(&blocks.join(","), &self.end(), &usage)
    }

    fn keep_alive(&self) -> Option<(&'static str, &'static str)> {
        Some(("ping", r#"{"type":"ping"}"#))
    }

    fn tell(&self, stream: &mut Stream<'_>) {
        let usage = self.usage(&stream.counts, stream.counts.completion.min(1), false);
        let head = self.message("", r#""stop_reason":null,"stop_sequence":null,"stop_details":null"#, &usage);
        stream.say("message_start", &format!(r#"{{"type":"message_start","message":{head}}}"#));
        stream.say("ping", r#"{"type":"ping"}"#);
        for (index, block) in self.blocks().into_iter().enumerate() {
            let head = block.head;
            stream.say(
                "content_block_start",
                &format!(r#"{{"type":"content_block_start","index":{index},"content_block":{head}}}"#),
            );
            for (delta, content) in block.deltas {
                let data = format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#);
                if content {
                    stream.say_content("content_block_delta", 1, |_| data);
                } else {
                    stream.say("content_block_delta", &data);
                }
            }
            stream.say("content_block_stop", &format!(r#"{{"type":"content_block_stop","index":{index}}}"#));
        }
        match stream.close() {
            Ending::Whole => {
                let usage = self.usage(&stream.counts, stream.counts.emitted(), true);
                let end = self.end();
                stream
                    .say("message_delta", &format!(r#"{{"type":"message_delta","delta":{{{end}}}{usage}}}"#));
                if !self.0.script.no_done {
                    stream.say("message_stop", r#"{"type":"message_stop"}"#);
                }
            }
            Ending::Failed => {
                let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
                stream.say("error", self.0.script.error.as_deref().unwrap_or(error));
            }
            Ending::Cut => {}
        }
    }
}
