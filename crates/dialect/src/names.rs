//! Tool names that a target does not accept, replaced by names that it accepts: in the tools, the choice, the allowed
//! list and the history of a request, and restored in the answer. A replaced name keeps a readable beginning and ends
//! in a hash of the whole name, so it is the same in every turn of a conversation.

use super::{
    canonical::{Delta, Event, Part, Request, ToolChoice, ToolKind},
    json::Escaped,
    responses::{KIND_MARK, NAMESPACE_END},
    target::Target,
};
use kairosroute_domain::provider::ToolNames;
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt::Write,
    sync::Arc,
};

/// Hexadecimal digits of the hash.
const HASH_DIGITS: usize = 10;

/// The replaced names: from the target's to the client's. Empty if all names were accepted.
#[derive(Clone, Debug, Default)]
pub struct Replaced(Option<Arc<HashMap<String, Escaped<'static>>>>);

impl Replaced {
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The event with the client's name of the tool.
    pub(crate) fn restore<'e>(&self, event: Event<'e>) -> Event<'e> {
        let Some(replaced) = &self.0 else { return event };
        match event {
            Event::Said { choice, delta: Delta::ToolStart { tool, id, name, signature } } => {
                let name = replaced.get(name.decode().as_ref()).cloned().unwrap_or(name);
                Event::Said { choice, delta: Delta::ToolStart { tool, id, name, signature } }
            }
            other => other,
        }
    }
}

/// The request with names that `target` accepts, and the replaced names.
pub(crate) fn fit<'r, 'a>(request: &'r Request<'a>, target: &Target<'_>) -> (Cow<'r, Request<'a>>, Replaced) {
    let rule = target.provider.row().tool_names;
    if names(request).all(|name| takes(rule, &name.decode())) {
        return (Cow::Borrowed(request), Replaced::default());
    }
    let mut fitting = Fitting { rule, taken: HashSet::new(), known: HashMap::new() };
    fitting
        .taken
        .extend(names(request).map(|name| name.decode().into_owned()).filter(|name| takes(rule, name)));
    let mut fitted = request.clone();
    for tool in &mut fitted.tools {
        if let ToolKind::Function { name, .. } = &mut tool.kind {
            fitting.replace(name);
        }
    }
    match &mut fitted.tool_choice {
        Some(ToolChoice::Named(name)) => fitting.replace(name),
        Some(ToolChoice::Allowed { names, .. }) => names.iter_mut().for_each(|name| fitting.replace(name)),
        _ => {}
    }
    for part in fitted.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        if let Part::ToolCall(call) = part {
            fitting.replace(&mut call.name);
        }
    }
    let back = fitting.known.into_iter().map(|(clients, targets)| (targets, Escaped::from_text(&clients)));
    (Cow::Owned(fitted), Replaced(Some(Arc::new(back.collect()))))
}

/// Every name of a tool in the request.
fn names<'q>(request: &'q Request<'_>) -> impl Iterator<Item = &'q Escaped<'q>> {
    let tools = request.tools.iter().filter_map(|tool| match &tool.kind {
        ToolKind::Function { name, .. } => Some(name),
        ToolKind::WebSearch(_) | ToolKind::Native { .. } => None,
    });
    let chosen: &[Escaped<'_>] = match &request.tool_choice {
        Some(ToolChoice::Named(name)) => std::slice::from_ref(name),
        Some(ToolChoice::Allowed { names, .. }) => names,
        _ => &[],
    };
    let called = request.turns.iter().flat_map(|turn| &turn.parts).filter_map(|part| match part {
        Part::ToolCall(call) => Some(&call.name),
        _ => None,
    });
    tools.chain(chosen).chain(called)
}

/// An empty name cannot be replaced.
fn takes(rule: ToolNames, name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let begins = |first: u8| first.is_ascii_alphabetic() || first == b'_';
    name.len() <= rule.chars_max
        && name.bytes().all(plain)
        && (!rule.letter_first || name.bytes().next().is_none_or(begins))
}

struct Fitting {
    rule: ToolNames,
    /// Names that the target gets unchanged.
    taken: HashSet<String>,
    /// From the client's name to the target's.
    known: HashMap<String, String>,
}

impl Fitting {
    fn replace(&mut self, name: &mut Escaped<'_>) {
        let clients = name.decode();
        if takes(self.rule, &clients) {
            return;
        }
        let targets = match self.known.get(clients.as_ref()) {
            Some(known) => known.clone(),
            None => {
                let made = self.make(&clients);
                self.taken.insert(made.clone());
                self.known.insert(clients.into_owned(), made.clone());
                made
            }
        };
        *name = Escaped::from_inner(targets);
    }

    /// A namespace and a name are joined in the usual way for models, and the marker of a kind of tool is removed,
    /// unless another tool has that name.
    fn make(&self, clients: &str) -> String {
        let plain = clients.split_once(KIND_MARK).map_or(clients, |(plain, _)| plain);
        let joined = match plain.split_once(NAMESPACE_END) {
            Some((namespace, name)) if namespace.ends_with("__") => format!("{namespace}{name}"),
            Some((namespace, name)) => format!("{namespace}__{name}"),
            None => plain.to_owned(),
        };
        if takes(self.rule, &joined) && !self.taken.contains(&joined) {
            return joined;
        }
        hashed(self.rule, clients)
    }
}

fn hashed(rule: ToolNames, name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    let lead = name.chars().next().filter(|first| rule.letter_first && !plain(*first).is_ascii_alphabetic());
    let room = rule.chars_max.saturating_sub(HASH_DIGITS + 2);
    let mut out: String = lead.map(|_| '_').into_iter().chain(name.chars().map(plain).take(room)).collect();
    out.push('_');
    let digest = Sha256::digest(name.as_bytes());
    for byte in digest.iter().take(HASH_DIGITS / 2) {
        // Writing into a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AnswerReader, ClientRequest, Dialect, Limits,
        canonical::{Answer, AnswerPart},
    };
    use kairosroute_domain::provider::ProviderId;
    use proptest::prelude::*;

    const LONG: &str = "mcp__plugin_chrome-devtools-mcp_chrome-devtools__get_console_message_of_the_page";

    fn target(provider: &str) -> Target<'static> {
        let provider = ProviderId::by_id(provider).unwrap();
        Target {
            provider,
            upstream_model: "m",
            dialect: provider.row().dialect,
            flags: None,
            output_tokens_max: None,
            seed: "s",
        }
    }

    fn body(dialect: Dialect, name: &str) -> String {
        let name = serde_json::json!(name);
        let schema = r#"{"type":"object","properties":{}}"#;
        match dialect {
            Dialect::Chat => format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{{"role":"assistant","tool_calls":[{{"id":"c1","type":"function","function":{{"name":{name},"arguments":"{{}}"}}}}]}},{{"role":"tool","tool_call_id":"c1","content":"r"}}],"tools":[{{"type":"function","function":{{"name":{name},"parameters":{schema}}}}}],"tool_choice":{{"type":"function","function":{{"name":{name}}}}}}}"#
            ),
            Dialect::Messages => format!(
                r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}},{{"role":"assistant","content":[{{"type":"tool_use","id":"c1","name":{name},"input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"c1","content":"r"}}]}}],"tools":[{{"name":{name},"input_schema":{schema}}}],"tool_choice":{{"type":"tool","name":{name}}}}}"#
            ),
            _ => format!(
                r#"{{"model":"m","input":[{{"role":"user","content":"x"}},{{"type":"function_call","call_id":"c1","name":{name},"arguments":"{{}}"}},{{"type":"function_call_output","call_id":"c1","output":"r"}}],"tools":[{{"type":"function","name":{name},"parameters":{schema}}}],"tool_choice":{{"type":"allowed_tools","mode":"auto","tools":[{{"type":"function","name":{name}}}]}}}}"#
            ),
        }
    }

    /// The answer of each wire format with a call of a tool of that name.
    fn answer(dialect: Dialect, name: &str) -> String {
        match dialect {
            Dialect::Chat => format!(
                r#"{{"choices":[{{"index":0,"message":{{"tool_calls":[{{"id":"c1","function":{{"name":"{name}","arguments":"{{}}"}}}}]}},"finish_reason":"tool_calls"}}]}}"#
            ),
            Dialect::Messages => format!(
                r#"{{"id":"m","type":"message","model":"m","role":"assistant","content":[{{"type":"tool_use","id":"c1","name":"{name}","input":{{}}}}],"stop_reason":"tool_use","usage":{{"input_tokens":1,"output_tokens":1}}}}"#
            ),
            Dialect::Gemini => format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"{name}","args":{{}}}}}}]}},"finishReason":"STOP"}}]}}"#
            ),
            Dialect::Cohere => format!(
                r#"{{"finish_reason":"TOOL_CALL","message":{{"role":"assistant","tool_calls":[{{"id":"c1","type":"function","function":{{"name":"{name}","arguments":"{{}}"}}}}]}}}}"#
            ),
            _ => format!(
                r#"{{"id":"r","status":"completed","model":"m","output":[{{"type":"function_call","call_id":"c1","name":"{name}","arguments":"{{}}","status":"completed"}}]}}"#
            ),
        }
    }

    /// The request for the target, the name in it, and the name that the client gets back for a call.
    fn there_and_back(client: Dialect, provider: &str, name: &str) -> (String, String, String) {
        let (body, target) = (body(client, name), target(provider));
        let request = ClientRequest::read(client, body.as_bytes(), &Limits::default()).unwrap();
        let encoded = request.encode(&target).unwrap();
        let sent = String::from_utf8(encoded.body).unwrap();
        let rule = target.provider.row().tool_names;
        let known = if takes(rule, name) { name.to_owned() } else { hashed(rule, name) };
        let mut got = Answer::default();
        let mut reader = AnswerReader::new(target.dialect, encoded.reading);
        reader.body(answer(target.dialect, &known).as_bytes(), &mut |event| got.absorb(event)).unwrap();
        let AnswerPart::ToolCall { name, .. } = &got.choices[0].parts[0] else { panic!("{got:?}") };
        (sent, known, name.decode().into_owned())
    }

    #[test]
    fn a_name_over_the_targets_rules_goes_out_in_one_it_takes_and_comes_back_whole() {
        for (client, provider, name) in [
            (Dialect::Messages, "openai", LONG),
            (Dialect::Messages, "google", LONG),
            (Dialect::Messages, "mistral", "d\u{e9}j\u{e0}.vu"),
            (Dialect::Messages, "cohere", LONG),
            (Dialect::Chat, "google", "7up"),
            (Dialect::Chat, "google", "-x"),
            (Dialect::Chat, "anthropic", "a.b/c"),
            (Dialect::Chat, "cohere", "a b"),
            (Dialect::Responses, "anthropic", "a:b"),
            (Dialect::Responses, "google", LONG),
            (Dialect::Responses, "groq_chat", LONG),
        ] {
            let provider = if provider == "groq_chat" { "fireworks_ai" } else { provider };
            let (sent, known, back) = there_and_back(client, provider, name);
            let rule = target(provider).provider.row().tool_names;
            assert!(takes(rule, &known) && known != name, "{known}");
            let written = serde_json::json!(name).to_string();
            assert!(!sent.contains(&written), "{provider}: {sent}");
            let places = sent.matches(&format!("\"{known}\"")).count();
            assert!(places >= 2, "{client:?} to {provider}: in the tools and in the history: {sent}");
            assert_eq!(back, name);
        }
    }

    #[test]
    fn a_name_that_fits_is_left_alone() {
        for (client, provider, name) in [
            (Dialect::Chat, "anthropic", LONG),
            (Dialect::Messages, "openai", "get_tide-2"),
            (Dialect::Responses, "google", "_x"),
        ] {
            let (sent, known, back) = there_and_back(client, provider, name);
            assert_eq!((known.as_str(), back.as_str()), (name, name));
            assert!(sent.contains(&format!("\"{name}\"")));
        }
    }

    #[test]
    fn tools_inside_namespaces_get_one_name_and_come_back_in_their_namespace() {
        let body = r#"{"model":"m","input":[{"role":"user","content":"x"},{"type":"function_call","call_id":"c1","namespace":"mcp__t__","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"r"}],"tools":[{"type":"namespace","name":"mcp__t__","tools":[{"type":"function","name":"f","parameters":{}}]},{"type":"namespace","name":"agents","tools":[{"type":"function","name":"run"}]},{"type":"function","name":"agents__run"}]}"#;
        let request = ClientRequest::read(Dialect::Responses, body.as_bytes(), &Limits::default()).unwrap();
        let encoded = request.encode(&target("anthropic")).unwrap();
        let sent = String::from_utf8(encoded.body).unwrap();
        assert_eq!(sent.matches(r#""mcp__t__f""#).count(), 2, "{sent}");
        assert_eq!(sent.matches(r#""agents__run""#).count(), 1, "two tools may not share a name: {sent}");
        let mut got = Answer::default();
        let mut reader = AnswerReader::new(Dialect::Messages, encoded.reading);
        let called = answer(Dialect::Messages, "mcp__t__f");
        reader.body(called.as_bytes(), &mut |event| got.absorb(event)).unwrap();
        let writer_context = crate::WriterContext {
            seed: "s".into(),
            created: 0,
            provider: target("anthropic").provider,
            upstream_model: "m".into(),
            include_usage: false,
            echo: String::new(),
        };
        let told =
            crate::write_answer(Dialect::Responses, &got, &writer_context, "null", &Default::default());
        let told = String::from_utf8(told.unwrap()).unwrap();
        assert!(told.contains(r#""namespace":"mcp__t__","name":"f""#), "{told}");
    }

    proptest! {
        #[test]
        fn every_name_gets_one_that_the_rule_takes(name in any::<String>(), letter_first in any::<bool>()) {
            for chars_max in [64, 128] {
                let rule = ToolNames { chars_max, letter_first };
                prop_assert!(takes(rule, &hashed(rule, &name)));
            }
        }
    }
}
