//! OpenAI's Responses wire format, also as Perplexity uses it. Every byte is a template or comes from the script; no
//! type shared with the gateway may be serialized here.

mod items;

use super::{
    counts::Counts,
    errors,
    json::quoted,
    pacing::{Ending, Stream, Wire},
    reply::Reply,
    request::Asked,
    script::{Script, UsagePlace},
};
use items::Item;

const FAILED: &str = "The server had an error while generating the answer.";

/// What is needed to answer one request.
pub(super) struct Answer<'a>(pub Asked<'a>);

/// The id of the answer with this serial number, from which a later request may continue.
pub(super) fn id(serial: u64) -> String {
    format!("resp_simulated{serial}")
}

impl Answer<'_> {
    fn is_perplexity(&self) -> bool {
        self.0.row.id == "perplexity"
    }

    /// The whole response. `end` is its error and its incomplete details.
    fn response(&self, status: &str, end: &str, output: &[String], usage: &str) -> String {
        let asked = |name: &str, otherwise: &'static str| {
            format!(r#","{name}":{}"#, self.0.request.get(name).unwrap_or(otherwise))
        };
        let echoed: String = [
            ("background", "false"),
            ("frequency_penalty", "0.0"),
            ("instructions", "null"),
            ("max_output_tokens", "null"),
            ("max_tool_calls", "null"),
            ("metadata", "{}"),
            ("parallel_tool_calls", "true"),
            ("presence_penalty", "0.0"),
            ("previous_response_id", "null"),
            ("prompt_cache_key", "null"),
            ("reasoning", r#"{"effort":null,"summary":null}"#),
            ("safety_identifier", "null"),
            ("store", "true"),
            ("temperature", "1.0"),
            ("text", r#"{"format":{"type":"text"}}"#),
            ("tool_choice", r#""auto""#),
            ("top_logprobs", "0"),
            ("top_p", "1.0"),
            ("truncation", r#""disabled""#),
        ]
        .iter()
        .map(|(name, otherwise)| asked(name, otherwise))
        .collect();
        let tools = tools(self.0.request.get("tools").unwrap_or("[]"));
        let completed = if status == "\"completed\"" { "1760000001" } else { "null" };
        let tier = quoted(self.0.script.service_tier.as_deref().unwrap_or("default"));
        let (id, model, output) = (id(self.0.serial), quoted(&self.0.model), output.join(","));
        format!(
            r#"{{"id":"{id}","object":"response","created_at":1760000000,"completed_at":{completed},"status":{status},{end},"model":{model},"output":[{output}]{echoed},"tools":{tools},"service_tier":{tier},"usage":{usage}}}"#
        )
    }

    fn running(&self) -> String {
        self.response(r#""in_progress""#, r#""error":null,"incomplete_details":null"#, &[], "null")
    }

    fn failed(&self, usage: &str) -> String {
        let end =
            format!(r#""error":{{"code":"server_error","message":"{FAILED}"}},"incomplete_details":null"#);
        self.response(r#""failed""#, &end, &[], usage)
    }

    /// The event that ends a good stream, and the response it holds.
    fn ended(&self, output: &[String], counts: &Counts) -> (&'static str, String) {
        let (event, status, reason) = match self.0.script.finish_reason.as_deref() {
            None | Some("stop" | "tool_calls") => ("response.completed", quoted("completed"), None),
            Some("length") => ("response.incomplete", quoted("incomplete"), Some("max_output_tokens")),
            Some("content_filter") => ("response.incomplete", quoted("incomplete"), Some("content_filter")),
            Some("null") => ("response.completed", "null".to_owned(), None),
            Some(other) => ("response.completed", quoted(other), None),
        };
        let details =
            reason.map_or_else(|| "null".to_owned(), |reason| format!(r#"{{"reason":"{reason}"}}"#));
        let end = format!(r#""error":null,"incomplete_details":{details}"#);
        (event, self.response(&status, &end, output, &self.usage(counts)))
    }

    fn usage(&self, counts: &Counts) -> String {
        if self.0.script.usage == UsagePlace::Missing {
            return "null".to_owned();
        }
        let Counts { prompt, cached, .. } = *counts;
        let (emitted, reasoning) = (counts.emitted(), counts.reasoning());
        let written = match counts.written.saturating_add(counts.written_1h) {
            0 => String::new(),
            written => format!(r#","cache_write_tokens":{written}"#),
        };
        let cost = if self.is_perplexity() { format!(r#","cost":{}"#, cost(counts)) } else { String::new() };
        format!(
            r#"{{"input_tokens":{prompt},"input_tokens_details":{{"cached_tokens":{cached}{written}}},"output_tokens":{emitted},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{}{cost}}}"#,
            prompt.saturating_add(emitted)
        )
    }

    fn items(&self) -> Vec<Item> {
        let encrypted =
            self.0.request.get("include").is_some_and(|raw| raw.contains("reasoning.encrypted_content"));
        let request = self.0.request;
        let (texts, is_free_form) = (request.texts(self.0.script), |name: &str| request.is_free_form(name));
        items::of(self.0.script, texts, self.0.serial, encrypted, &is_free_form)
    }

    /// Perplexity's own events about its search, before the answer.
    fn tell_search(&self, stream: &mut Stream<'_>) {
        let queries = r#""thought":null,"queries":["simulated"]"#;
        for (event, members) in [
            ("response.reasoning.started", r#""thought":"Searching.","results":null"#),
            ("response.reasoning.search_queries", queries),
            ("response.reasoning.search_results", r#""thought":null,"results":[],"usage":null"#),
            ("response.reasoning.stopped", r#""thought":null"#),
        ] {
            say(stream, event, members);
        }
    }
}

/// The request's tools in the answer: every function states whether it is strict.
fn tools(listed: &str) -> String {
    let mut tools: Vec<serde_json::Value> = serde_json::from_str(listed).unwrap_or_default();
    for tool in tools.iter_mut().filter(|tool| tool["type"] == "function") {
        if let Some(function) = tool.as_object_mut() {
            function.entry("strict").or_insert(serde_json::Value::Bool(true));
            function.entry("description").or_insert(serde_json::Value::Null);
        }
    }
    serde_json::Value::Array(tools).to_string()
}

/// One event; what all of them have is added.
fn say(stream: &mut Stream<'_>, event: &str, members: &str) {
    let number = stream.frames();
    stream.say(event, &format!(r#"{{"type":"{event}","sequence_number":{number},{members}}}"#));
}

/// An event that carries content.
fn say_content(stream: &mut Stream<'_>, event: &str, members: &str) {
    let number = stream.frames();
    let data = format!(r#"{{"type":"{event}","sequence_number":{number},{members}}}"#);
    stream.say_content(event, 1, |_| data);
}

/// Money, in dollars: a millionth per token of the prompt, two per token of the answer, and 5000 for a search.
fn cost(counts: &Counts) -> String {
    let dollars = |millionths: u64| format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    let (input, output) = (counts.prompt, counts.emitted().saturating_mul(2));
    let search = 5_000;
    format!(
        r#"{{"currency":"USD","input_cost":{},"output_cost":{},"tool_calls_cost":{},"total_cost":{}}}"#,
        dollars(input),
        dollars(output),
        dollars(search),
        dollars(input.saturating_add(output).saturating_add(search))
    )
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
        self.items().iter().map(Item::content_chunks).sum()
    }

    fn failure(&self, status: u16, message: &str) -> Reply {
        errors::fault(self.0.speaker, status, message, None)
    }

    fn broken(&self) -> Reply {
        match &self.0.script.error {
            Some(body) => Reply::json(503, body.clone()),
            // The head has a success status.
            None if self.is_perplexity() => Reply::json(200, self.failed("null")),
            None => self.failure(503, FAILED),
        }
    }

    fn body(&self, counts: &Counts) -> String {
        let output: Vec<String> = self.items().into_iter().map(|item| item.whole).collect();
        self.ended(&output, counts).1
    }

    fn tell(&self, stream: &mut Stream<'_>) {
        for event in ["response.created", "response.in_progress"] {
            say(stream, event, &format!(r#""response":{}"#, self.running()));
        }
        if self.is_perplexity() {
            self.tell_search(stream);
        }
        let null = if self.is_perplexity() { r#","obfuscation":null"# } else { "" };
        let mut output = Vec::new();
        for (index, item) in self.items().into_iter().enumerate() {
            for event in &item.events {
                let members = format!(r#"{}"output_index":{index}{}{null}"#, event.before, event.after);
                if event.content {
                    say_content(stream, event.name, &members);
                } else {
                    say(stream, event.name, &members);
                }
            }
            output.push(item.whole);
        }
        match stream.close() {
            Ending::Whole => {
                let (event, response) = self.ended(&output, &stream.counts);
                say(stream, event, &format!(r#""response":{response}"#));
            }
            Ending::Failed => {
                let number = stream.frames();
                let error = format!(
                    r#"{{"type":"error","sequence_number":{number},"error":{{"type":"server_error","code":"server_error","message":"{FAILED}","param":null}}}}"#
                );
                stream.say("error", self.0.script.error.as_ref().unwrap_or(&error));
                say(stream, "response.failed", &format!(r#""response":{}"#, self.failed("null")));
            }
            Ending::Cut => {}
        }
    }
}
