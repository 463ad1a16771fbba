//! The items of a response's output: the stream events of each, and the whole. It must not know the provider or the
//! course of the stream.

use super::super::{
    json::{inside, object_in, quoted},
    script::{Citation, Script, ToolCall},
};
use serde_json::Value;

pub(super) struct Item {
    pub events: Vec<Event>,
    pub whole: String,
}

/// An event of a stream. Its members stand before and after the place of the item in the output.
pub(super) struct Event {
    pub name: &'static str,
    pub before: String,
    pub after: String,
    pub content: bool,
}

/// The items that a script makes: reasoning, the message, the calls.
pub(super) fn of(
    script: &Script,
    texts: Vec<String>,
    serial: u64,
    encrypted: bool,
    is_free_form: &dyn Fn(&str) -> bool,
) -> Vec<Item> {
    let mut items = Vec::new();
    if !script.reasoning.is_empty() || script.signature.is_some() {
        items.push(reasoning(script, serial, encrypted));
    }
    items.extend((0..script.searches).map(|number| web_search_call(serial, number)));
    if !texts.is_empty() || script.refusal.is_some() {
        items.push(message(script, &texts, serial));
    }
    items.extend(script.tool_calls.iter().enumerate().map(|(index, call)| {
        if is_free_form(&call.name) {
            custom_tool_call(call, serial, index)
        } else {
            function_call(call, serial, index)
        }
    }));
    items
}

impl Item {
    pub(super) fn content_chunks(&self) -> usize {
        self.events.iter().filter(|event| event.content).count()
    }

    fn new(whole: String) -> Self {
        Self { events: Vec::new(), whole }
    }

    fn say(&mut self, name: &'static str, before: &str, after: &str) {
        let (before, after) = (before.to_owned(), after.to_owned());
        self.events.push(Event { name, before, after, content: false });
    }

    fn say_content(&mut self, name: &'static str, before: &str, after: &str) {
        let (before, after) = (before.to_owned(), after.to_owned());
        self.events.push(Event { name, before, after, content: true });
    }

    fn open(&mut self, item: &str) {
        self.say("response.output_item.added", "", &format!(r#","item":{item}"#));
    }

    fn close(mut self) -> Self {
        let after = format!(r#","item":{}"#, self.whole);
        self.say("response.output_item.done", "", &after);
        self
    }
}

fn reasoning(script: &Script, serial: u64, encrypted: bool) -> Item {
    let id = format!("rs_simulated{serial}");
    let sealed = if encrypted {
        let content = script.signature.as_deref().unwrap_or("gAAAAsimulated");
        format!(r#","encrypted_content":{}"#, quoted(content))
    } else {
        String::new()
    };
    let text: String = script.reasoning.iter().map(|text| inside(text)).collect();
    let part = |text: &str| format!(r#"{{"type":"summary_text","text":"{text}"}}"#);
    let summary = if text.is_empty() { String::new() } else { part(&text) };
    let item = |summary: &str| format!(r#"{{"id":"{id}","type":"reasoning","summary":[{summary}]{sealed}}}"#);
    let mut writer = Item::new(item(&summary));
    writer.open(&item(""));
    if !text.is_empty() {
        let of = format!(r#""item_id":"{id}","#);
        let part_of = |part: &str| format!(r#","summary_index":0,"part":{part}"#);
        writer.say("response.reasoning_summary_part.added", &of, &part_of(&part("")));
        for piece in &script.reasoning {
            let after = format!(r#","summary_index":0,"delta":{}"#, quoted(piece));
            writer.say_content("response.reasoning_summary_text.delta", &of, &after);
        }
        let after = format!(r#","summary_index":0,"text":"{text}""#);
        writer.say("response.reasoning_summary_text.done", &of, &after);
        writer.say("response.reasoning_summary_part.done", &of, &part_of(&part(&text)));
    }
    writer.close()
}

fn message(script: &Script, texts: &[String], serial: u64) -> Item {
    let id = format!("msg_simulated{serial}");
    let annotations: Vec<String> = script.citations.iter().map(annotation).collect();
    let text = texts.concat();
    let mut parts = Vec::new();
    if !texts.is_empty() {
        parts.push(text_part(&text, &annotations, &logprobs(script, texts)));
    }
    parts.extend(script.refusal.as_deref().map(|words| refusal_part(&quoted(words))));
    let item = |status: &str, content: &str| {
        format!(
            r#"{{"id":"{id}","type":"message","status":"{status}","content":[{content}],"role":"assistant"}}"#
        )
    };
    let mut writer = Item::new(item("completed", &parts.join(",")));
    writer.open(&item("in_progress", ""));
    let of = format!(r#""item_id":"{id}","#);
    if let (false, Some(whole)) = (texts.is_empty(), parts.first()) {
        let at = r#","content_index":0"#;
        let empty = text_part("", &[], "[]");
        writer.say("response.content_part.added", &of, &format!(r#"{at},"part":{empty}"#));
        for piece in texts {
            let logprobs = logprobs(script, std::slice::from_ref(piece));
            let after = format!(r#"{at},"delta":"{piece}","logprobs":{logprobs}"#);
            writer.say_content("response.output_text.delta", &of, &after);
        }
        for (number, annotation) in annotations.iter().enumerate() {
            let after = format!(r#"{at},"annotation_index":{number},"annotation":{annotation}"#);
            writer.say("response.output_text.annotation.added", &of, &after);
        }
        let logprobs = logprobs(script, texts);
        let after = format!(r#"{at},"text":"{text}","logprobs":{logprobs}"#);
        writer.say("response.output_text.done", &of, &after);
        writer.say("response.content_part.done", &of, &format!(r#"{at},"part":{whole}"#));
    }
    if let Some(words) = script.refusal.as_deref().map(quoted) {
        let at = format!(r#","content_index":{}"#, parts.len().saturating_sub(1));
        let (empty, whole) = (refusal_part("\"\""), refusal_part(&words));
        writer.say("response.content_part.added", &of, &format!(r#"{at},"part":{empty}"#));
        writer.say_content("response.refusal.delta", &of, &format!(r#"{at},"delta":{words}"#));
        writer.say("response.refusal.done", &of, &format!(r#"{at},"refusal":{words}"#));
        writer.say("response.content_part.done", &of, &format!(r#"{at},"part":{whole}"#));
    }
    writer.close()
}

/// A search of the web that was made.
fn web_search_call(serial: u64, number: u64) -> Item {
    let item = |status: &str| {
        format!(
            r#"{{"id":"ws_simulated{serial}_{number}","type":"web_search_call","status":"{status}","action":{{"type":"search","query":"query {number}"}}}}"#
        )
    };
    let mut writer = Item::new(item("completed"));
    writer.open(&item("in_progress"));
    writer.close()
}

fn function_call(call: &ToolCall, serial: u64, index: usize) -> Item {
    let id = format!("fc_simulated{serial}_{index}");
    let (call_id, name) = (quoted(&call.id), quoted(&call.name));
    let item = |status: &str, arguments: &str| {
        format!(
            r#"{{"id":"{id}","type":"function_call","status":"{status}","arguments":"{arguments}","call_id":{call_id},"name":{name}}}"#
        )
    };
    let arguments = call.pieces.concat();
    let mut writer = Item::new(item("completed", &arguments));
    writer.open(&item("in_progress", ""));
    let of = format!(r#""item_id":"{id}","#);
    for piece in &call.pieces {
        let after = format!(r#","delta":"{piece}""#);
        writer.say_content("response.function_call_arguments.delta", &of, &after);
    }
    let after = format!(r#","arguments":"{arguments}""#);
    writer.say("response.function_call_arguments.done", &of, &after);
    writer.close()
}

/// A call of a tool that takes any text: the member `input` of the script's arguments.
fn custom_tool_call(call: &ToolCall, serial: u64, index: usize) -> Item {
    let id = format!("ctc_simulated{serial}_{index}");
    let (call_id, name) = (quoted(&call.id), quoted(&call.name));
    let arguments: Value = serde_json::from_str(&object_in(&call.pieces.concat())).unwrap_or_default();
    let input = quoted(arguments.get("input").and_then(Value::as_str).unwrap_or_default());
    let item = |status: &str, input: &str| {
        format!(
            r#"{{"id":"{id}","type":"custom_tool_call","status":"{status}","call_id":{call_id},"name":{name},"input":{input}}}"#
        )
    };
    let mut writer = Item::new(item("completed", &input));
    writer.open(&item("in_progress", "\"\""));
    let of = format!(r#""item_id":"{id}","#);
    writer.say_content("response.custom_tool_call_input.delta", &of, &format!(r#","delta":{input}"#));
    writer.say("response.custom_tool_call_input.done", &of, &format!(r#","input":{input}"#));
    writer.close()
}

fn text_part(text: &str, annotations: &[String], logprobs: &str) -> String {
    let annotations = annotations.join(",");
    format!(r#"{{"type":"output_text","annotations":[{annotations}],"logprobs":{logprobs},"text":"{text}"}}"#)
}

fn refusal_part(words: &str) -> String {
    format!(r#"{{"type":"refusal","refusal":{words}}}"#)
}

fn annotation(page: &Citation) -> String {
    let (url, title) = (quoted(&page.url), quoted(&page.title));
    format!(r#"{{"type":"url_citation","start_index":0,"end_index":0,"title":{title},"url":{url}}}"#)
}

fn logprobs(script: &Script, texts: &[String]) -> String {
    if !script.logprobs {
        return "[]".to_owned();
    }
    let tokens: Vec<String> = texts
        .iter()
        .map(|text| format!(r#"{{"token":"{text}","bytes":null,"logprob":-0.25,"top_logprobs":[]}}"#))
        .collect();
    format!("[{}]", tokens.join(","))
}
