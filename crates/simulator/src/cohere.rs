//! Cohere's v2 chat wire. Every byte is a template or comes from the script; no type shared with the gateway
//! may be serialized here.

use super::{
    counts::Counts,
    errors,
    json::{inside, quoted},
    pacing::{Ending, Stream, Wire},
    reply::Reply,
    request::Asked,
    script::{Script, ToolCall, UsagePlace},
};

/// Tokens that Cohere adds around a prompt and an answer: the model sees them, and they are not billed.
const UNBILLED_PROMPT_TOKENS: u64 = 500;
const UNBILLED_ANSWER_TOKENS: u64 = 7;

/// What is needed to answer one request.
pub(super) struct Answer<'a>(pub Asked<'a>);

impl Answer<'_> {
    /// Before tool calls reasoning is a plan, else a part of the content.
    fn plans(&self) -> bool {
        !self.0.script.tool_calls.is_empty() && !self.0.script.reasoning.is_empty()
    }

    /// The parts of the content: type, and the insides of the strings that fill it.
    fn content(&self) -> Vec<(&'static str, &'static str, Vec<String>)> {
        let mut content = Vec::new();
        if !self.0.script.reasoning.is_empty() && !self.plans() {
            let thinking = self.0.script.reasoning.iter().map(|text| inside(text)).collect();
            content.push(("thinking", "thinking", thinking));
        }
        let texts = self.0.request.texts(self.0.script);
        if !texts.is_empty() {
            content.push(("text", "text", texts));
        }
        content
    }

    fn finish_reason(&self) -> String {
        let Script { finish_reason, tool_calls, .. } = self.0.script;
        match finish_reason.as_deref() {
            Some("null") => "null".to_owned(),
            Some("stop") => quoted("COMPLETE"),
            Some("length") => quoted("MAX_TOKENS"),
            Some("tool_calls") => quoted("TOOL_CALL"),
            Some("content_filter") => quoted("ERROR_TOXIC"),
            Some(other) => quoted(other),
            None if tool_calls.is_empty() => quoted("COMPLETE"),
            None => quoted("TOOL_CALL"),
        }
    }

    fn citations(&self) -> Vec<String> {
        self.0
            .script
            .citations
            .iter()
            .enumerate()
            .map(|(index, page)| {
                format!(
                    r#"{{"start":0,"end":0,"text":"","sources":[{{"type":"document","id":"doc:{index}","document":{{"url":{},"title":{}}}}}],"type":"TEXT_CONTENT"}}"#,
                    quoted(&page.url),
                    quoted(&page.title)
                )
            })
            .collect()
    }

    /// The usage member, after a comma. The billed tokens are fewer than the model's.
    fn usage(&self, counts: &Counts) -> String {
        if self.0.script.usage == UsagePlace::Missing {
            return String::new();
        }
        let (prompt, cached, emitted) = (counts.prompt, counts.cached, counts.emitted());
        format!(
            r#","usage":{{"billed_units":{{"input_tokens":{prompt},"output_tokens":{emitted}}},"tokens":{{"input_tokens":{},"output_tokens":{}}},"cached_tokens":{cached}}}"#,
            prompt.saturating_add(UNBILLED_PROMPT_TOKENS),
            emitted.saturating_add(UNBILLED_ANSWER_TOKENS),
        )
    }

    fn tell_call(stream: &mut Stream<'_>, index: usize, call: &ToolCall) {
        let (id, name) = (quoted(&call.id), quoted(&call.name));
        stream.say(
            "tool-call-start",
            &format!(
                r#"{{"type":"tool-call-start","index":{index},"delta":{{"message":{{"tool_calls":{{"id":{id},"type":"function","function":{{"name":{name},"arguments":""}}}}}}}}}}"#
            ),
        );
        for part in &call.pieces {
            stream.say_content("tool-call-delta", 1, |_| {
                format!(
                    r#"{{"type":"tool-call-delta","index":{index},"delta":{{"message":{{"tool_calls":{{"function":{{"arguments":"{part}"}}}}}}}}}}"#
                )
            });
        }
        stream.say("tool-call-end", &format!(r#"{{"type":"tool-call-end","index":{index}}}"#));
    }

    fn tell_content(&self, stream: &mut Stream<'_>) {
        for (index, (kind, field, texts)) in self.content().into_iter().enumerate() {
            stream.say(
                "content-start",
                &format!(
                    r#"{{"type":"content-start","index":{index},"delta":{{"message":{{"content":{{"type":"{kind}","{field}":""}}}}}}}}"#
                ),
            );
            for text in texts {
                stream.say_content("content-delta", 1, |_| {
                    format!(
                        r#"{{"type":"content-delta","index":{index},"delta":{{"message":{{"content":{{"{field}":"{text}"}}}}}}}}"#
                    )
                });
            }
            stream.say("content-end", &format!(r#"{{"type":"content-end","index":{index}}}"#));
        }
        for (index, citation) in self.citations().into_iter().enumerate() {
            stream.say(
                "citation-start",
                &format!(
                    r#"{{"type":"citation-start","index":{index},"delta":{{"message":{{"citations":{citation}}}}}}}"#
                ),
            );
            stream.say("citation-end", &format!(r#"{{"type":"citation-end","index":{index}}}"#));
        }
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
        let Script { tool_calls, reasoning, .. } = self.0.script;
        let arguments: usize = tool_calls.iter().map(|call| call.pieces.len()).sum();
        reasoning.len() + self.0.request.texts(self.0.script).len() + arguments
    }

    fn failure(&self, status: u16, message: &str) -> Reply {
        errors::fault(self.0.speaker, status, message, None)
    }

    fn body(&self, counts: &Counts) -> String {
        let mut members = vec![r#""role":"assistant""#.to_owned()];
        if self.plans() {
            let plan: String = self.0.script.reasoning.iter().map(|text| inside(text)).collect();
            members.push(format!(r#""tool_plan":"{plan}""#));
        }
        let content: Vec<String> = self
            .content()
            .iter()
            .map(|(kind, field, texts)| format!(r#"{{"type":"{kind}","{field}":"{}"}}"#, texts.concat()))
            .collect();
        if !content.is_empty() {
            members.push(format!(r#""content":[{}]"#, content.join(",")));
        }
        let calls: Vec<String> = self
            .0
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
        if !calls.is_empty() {
            members.push(format!(r#""tool_calls":[{}]"#, calls.join(",")));
        }
        let citations = self.citations();
        if !citations.is_empty() {
            members.push(format!(r#""citations":[{}]"#, citations.join(",")));
        }
        format!(
            r#"{{"id":"simulated{}","finish_reason":{},"message":{{{}}}{}}}"#,
            self.0.serial,
            self.finish_reason(),
            members.join(","),
            self.usage(counts)
        )
    }

    fn tell(&self, stream: &mut Stream<'_>) {
        let serial = self.0.serial;
        stream.say(
            "message-start",
            &format!(
                r#"{{"type":"message-start","id":"simulated{serial}","delta":{{"message":{{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}}}}"#
            ),
        );
        if self.plans() {
            for text in &self.0.script.reasoning {
                stream.say_content("tool-plan-delta", 1, |_| {
                    let text = quoted(text);
                    format!(r#"{{"type":"tool-plan-delta","delta":{{"message":{{"tool_plan":{text}}}}}}}"#)
                });
            }
        }
        self.tell_content(stream);
        for (index, call) in self.0.script.tool_calls.iter().enumerate() {
            Self::tell_call(stream, index, call);
        }
        match stream.close() {
            Ending::Whole => {
                let (reason, usage) = (self.finish_reason(), self.usage(&stream.counts));
                stream.say(
                    "message-end",
                    &format!(r#"{{"type":"message-end","delta":{{"finish_reason":{reason}{usage}}}}}"#),
                );
            }
            Ending::Failed => {
                let error = r#"{"type":"message-end","delta":{"finish_reason":"ERROR","error":"The server had an error while generating the answer."}}"#;
                stream.say("message-end", self.0.script.error.as_deref().unwrap_or(error));
            }
            Ending::Cut => {}
        }
    }
}
