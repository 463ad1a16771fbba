//! Google's generateContent wire. Every byte is a template or comes from the script; no type shared with the
//! gateway may be serialized here.

use super::{
    counts::Counts,
    errors,
    json::{object_in, quoted},
    pacing::{Ending, Stream, Wire},
    reply::Reply,
    request::Asked,
    script::{Script, UsagePlace},
};

/// What is needed to answer one request.
pub(super) struct Answer<'a>(pub Asked<'a>);

/// The answer to a token count, which is free.
pub(super) fn counted(script: &Script) -> Reply {
    let tokens = script.prompt_tokens;
    Reply::json(
        200,
        format!(
            r#"{{"totalTokens":{tokens},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{tokens}}}]}}"#
        ),
    )
}

/// Whether a model is of the third generation or later: those have ids on function calls and insist on their
/// signatures.
pub(super) fn is_third_generation(model: &str) -> bool {
    let version: String = model
        .trim_start_matches("models/")
        .strip_prefix("gemini-")
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    match version.parse::<u32>() {
        Ok(major) => major >= 3,
        // `gemini-flash-latest` and similar names mean the newest model.
        Err(_) => model.contains("gemini-") && model.ends_with("-latest"),
    }
}

impl Answer<'_> {
    /// The parts, and of how many pieces of the script each is made.
    fn parts(&self) -> Vec<(String, usize)> {
        let Script { reasoning, tool_calls, signature, .. } = self.0.script;
        let third = is_third_generation(&self.0.model);
        let mut parts: Vec<(String, usize)> = reasoning
            .iter()
            .map(|text| (format!(r#"{{"text":{},"thought":true}}"#, quoted(text)), 1))
            .collect();
        let texts = self.0.request.texts(self.0.script);
        parts.extend(texts.iter().map(|text| (format!(r#"{{"text":"{text}"}}"#), 1)));
        for (index, call) in tool_calls.iter().enumerate() {
            let name = quoted(&call.name);
            let args = object_in(&call.pieces.concat());
            let id = if third { format!(r#","id":{}"#, quoted(&call.id)) } else { String::new() };
            let made = third.then_some("c2ltdWxhdGVk");
            let signed = match signature.as_deref().or(made) {
                Some(signature) if index == 0 => format!(r#","thoughtSignature":{}"#, quoted(signature)),
                _ => String::new(),
            };
            let part = format!(r#"{{"functionCall":{{"name":{name},"args":{args}{id}}}{signed}}}"#);
            parts.push((part, call.pieces.len().max(1)));
        }
        parts
    }

    /// The part that ends an answer, with the signature that no call carried.
    fn last_part(&self) -> String {
        match &self.0.script.signature {
            Some(signature) if self.0.script.tool_calls.is_empty() => {
                format!(r#"{{"text":"","thoughtSignature":{}}}"#, quoted(signature))
            }
            _ => r#"{"text":""}"#.to_owned(),
        }
    }

    /// A whole response object. `end` follows the content of the candidate.
    fn response(&self, parts: &str, end: &str, counts: &Counts) -> String {
        let candidate = format!(
            r#""candidates":[{{"content":{{"parts":[{parts}],"role":"model"}}{end},"index":0}}]{}"#,
            self.usage(counts)
        );
        self.object(&candidate)
    }

    fn object(&self, members: &str) -> String {
        let Asked { serial, model, .. } = &self.0;
        let model = quoted(model);
        format!(r#"{{{members},"modelVersion":{model},"responseId":"simulated{serial}"}}"#)
    }

    /// A prompt that is blocked has no candidate.
    fn blocked(&self, counts: &Counts) -> Option<String> {
        let script = self.0.script;
        let words = script.refusal.as_deref().filter(|_| self.parts().is_empty())?;
        let (words, usage) = (quoted(words), self.usage(counts));
        Some(self.object(&format!(
            r#""promptFeedback":{{"blockReason":"PROHIBITED_CONTENT","blockReasonMessage":{words}}}{usage}"#
        )))
    }

    /// The finish reason and the sources, each after a comma.
    fn end(&self) -> String {
        let Script { finish_reason, citations, refusal, searches, .. } = self.0.script;
        let reason = match finish_reason.as_deref() {
            Some("null") => "null".to_owned(),
            // Calls have no finish reason of their own.
            Some("stop" | "tool_calls") => quoted("STOP"),
            Some("length") => quoted("MAX_TOKENS"),
            Some("content_filter") => quoted("SAFETY"),
            Some(other) => quoted(other),
            None if refusal.is_some() => quoted("SAFETY"),
            None => quoted("STOP"),
        };
        let chunks: Vec<String> = citations
            .iter()
            .map(|page| {
                format!(r#"{{"web":{{"uri":{},"title":{}}}}}"#, quoted(&page.url), quoted(&page.title))
            })
            .collect();
        let queries = (0..*searches).map(|number| format!("\"query {number}\"")).collect::<Vec<_>>();
        let grounding = match (chunks.is_empty(), queries.is_empty()) {
            (true, true) => String::new(),
            (_, true) => format!(r#","groundingMetadata":{{"groundingChunks":[{}]}}"#, chunks.join(",")),
            (_, false) => format!(
                r#","groundingMetadata":{{"webSearchQueries":[{}],"groundingChunks":[{}]}}"#,
                queries.join(","),
                chunks.join(",")
            ),
        };
        format!(r#","finishReason":{reason}{grounding}"#)
    }

    /// The usage member, after a comma. Reasoning is separate from the candidate; zero values are omitted.
    fn usage(&self, counts: &Counts) -> String {
        if self.0.script.usage == UsagePlace::Missing {
            return String::new();
        }
        let Counts { prompt, cached, audio_prompt, audio_completion, .. } = *counts;
        let (emitted, thoughts) = (counts.emitted(), counts.reasoning());
        let candidates = emitted.saturating_sub(thoughts);
        let some = |name: &str, tokens: u64| {
            if tokens == 0 { String::new() } else { format!(r#","{name}":{tokens}"#) }
        };
        let audio = match audio_completion.min(candidates) {
            0 => String::new(),
            tokens => {
                format!(r#","candidatesTokensDetails":[{{"modality":"AUDIO","tokenCount":{tokens}}}]"#)
            }
        };
        let heard = match audio_prompt {
            0 => String::new(),
            tokens => format!(r#",{{"modality":"AUDIO","tokenCount":{tokens}}}"#),
        };
        format!(
            r#","usageMetadata":{{"promptTokenCount":{prompt}{}{},"totalTokenCount":{}{},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{}}}{heard}]{audio}}}"#,
            some("cachedContentTokenCount", cached),
            some("candidatesTokenCount", candidates),
            prompt.saturating_add(emitted),
            some("thoughtsTokenCount", thoughts),
            prompt.saturating_sub(audio_prompt),
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
        let pieces = self.parts().iter().map(|(_, pieces)| pieces).sum();
        Counts::of(self.0.script, pieces, self.0.script.reasoning.len())
    }

    fn content_chunks(&self) -> usize {
        self.parts().len()
    }

    fn failure(&self, status: u16, message: &str) -> Reply {
        errors::fault(self.0.speaker, status, message, None)
    }

    fn body(&self, counts: &Counts) -> String {
        if let Some(blocked) = self.blocked(counts) {
            return blocked;
        }
        let mut parts: Vec<String> = self.parts().into_iter().map(|(part, _)| part).collect();
        if parts.is_empty() || self.last_part().contains("thoughtSignature") {
            parts.push(self.last_part());
        }
        self.response(&parts.join(","), &self.end(), counts)
    }

    fn line_end(&self) -> &'static str {
        "\r\n"
    }

    fn tell(&self, stream: &mut Stream<'_>) {
        for (part, pieces) in self.parts() {
            stream.say_content("", pieces, |counts| self.response(&part, "", counts));
        }
        match stream.close() {
            Ending::Whole => {
                let last = self
                    .blocked(&stream.counts)
                    .unwrap_or_else(|| self.response(&self.last_part(), &self.end(), &stream.counts));
                stream.say("", &last);
            }
            Ending::Failed => {
                let error = r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#;
                stream.say("", self.0.script.error.as_deref().unwrap_or(error));
            }
            Ending::Cut => {}
        }
    }
}
