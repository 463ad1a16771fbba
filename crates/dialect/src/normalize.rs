//! Bodies that some clients write in their own way, made plain before anything else reads them: members inside
//! `additional_params` come up to the request, and in chat `input`, `instructions` and `system_instruction` become
//! messages, and tool results that lost their calls get them back. A body without these names is not even parsed for it. Values keep
//! their bytes; what cannot be read is left to the reader that says what is wrong with it.

mod missing_tool_calls;

use super::{
    Dialect,
    json::{self, Kind as Json, Member, ObjectWriter, Raw},
    request::{Invalid, Limits},
};
use kairosroute_domain::kind::Kind;
use memchr::memmem::Finder;
use std::sync::LazyLock;

const WRAPPER: &str = "additional_params";
/// Names under which some clients send what `messages` is for.
const OTHER_NAMES: [&str; 3] = ["input", "instructions", SYSTEM];
const SYSTEM: &str = "system_instruction";
/// What the runner says in every request, whether or not there are any.
const RUNNERS: &str = "mcp_servers";
/// In both `instructions` and `system_instruction`.
const INSTRUCTION: &str = "instruction";

/// What a body that needs something done to it holds. To make a finder takes longer than to search a small body.
struct Finders {
    wrapper: Finder<'static>,
    input: Finder<'static>,
    instruction: Finder<'static>,
    runners: Finder<'static>,
    tool_call_id: Finder<'static>,
}

static FINDERS: LazyLock<Finders> = LazyLock::new(|| Finders {
    wrapper: Finder::new(WRAPPER),
    input: Finder::new("input"),
    instruction: Finder::new(INSTRUCTION),
    runners: Finder::new(RUNNERS),
    tool_call_id: Finder::new("tool_call_id"),
});

/// Whether a body has the text `mcp_servers` in it.
pub fn mentions_mcp_servers(body: &[u8]) -> bool {
    FINDERS.runners.find(body).is_some()
}

/// The plain body; `None` when it is that already.
pub fn normalize(kind: Kind, body: &[u8], limits: &Limits) -> Result<Option<Vec<u8>>, Invalid> {
    let is_form = matches!(kind, Kind::ImageEdits | Kind::Transcription | Kind::Translation);
    let holds = |finder: &Finder<'_>| finder.find(body).is_some();
    let finders = &*FINDERS;
    let wrapped = !is_form && holds(&finders.wrapper);
    let is_chat = kind == Kind::Conversation(Dialect::Chat);
    let renamed = is_chat && (holds(&finders.input) || holds(&finders.instruction));
    // Only in what the runner writes that loses them: elsewhere a result without a call is a mistake, and the
    // provider's to judge.
    let bereft = is_chat && holds(&finders.runners) && holds(&finders.tool_call_id);
    if !wrapped && !renamed && !bereft {
        return Ok(None);
    }
    let Ok(members) = json::read_object(body, limits.depth_max, limits.members_max) else { return Ok(None) };
    let merged = if wrapped { merged(&members)? } else { None };
    let is_merged = merged.is_some();
    let members = merged.unwrap_or(members);
    let messages = if renamed { messages(&members)? } else { None };
    let messages = messages.or_else(|| with_calls(&members).filter(|_| bereft));
    if !is_merged && messages.is_none() {
        return Ok(None);
    }
    let mut out = ObjectWriter::with_capacity(body.len());
    for member in &members {
        let key = member.key.as_ref();
        let renamed = messages.is_some() && (key == "messages" || OTHER_NAMES.contains(&key));
        if !renamed {
            out.raw_key(member.raw_key).extend_from_slice(member.value.get().as_bytes());
        }
    }
    if let Some(messages) = messages {
        out.key("messages").extend(messages);
    }
    Ok(Some(out.end()))
}

/// The members with those of the wrapper among them. What stands beside the wrapper and says something wins.
fn merged<'a>(members: &[Member<'a>]) -> Result<Option<Vec<Member<'a>>>, Invalid> {
    let wrapper =
        members.iter().find(|member| member.key == WRAPPER).filter(|member| !member.value.is_idle());
    let Some(wrapper) = wrapper.map(|member| member.value) else { return Ok(None) };
    if wrapper.kind() != Json::Object {
        return Err(Invalid::kind(WRAPPER, "an object".into(), wrapper.kind()));
    }
    let inner = wrapper.members();
    if inner.iter().any(|member| member.key == WRAPPER && !member.value.is_idle()) {
        return Err(Invalid::at(WRAPPER, format!("`{WRAPPER}` must not hold itself")));
    }
    let is_inside = |key: &str| inner.iter().any(|member| member.key == key);
    let says = |key: &str| members.iter().any(|member| member.key == key && !member.value.is_null());
    let outer = members.iter().filter(|member| {
        let replaced = member.value.is_null() && is_inside(&member.key);
        member.key != WRAPPER && !replaced
    });
    let come_up = inner.iter().filter(|member| member.key != WRAPPER && !says(&member.key));
    Ok(Some(outer.chain(come_up).cloned().collect()))
}

/// The messages that a chat request's `messages`, `input`, `instructions` and `system_instruction` amount to; `None`
/// when the first says it all.
fn messages(members: &[Member<'_>]) -> Result<Option<Vec<u8>>, Invalid> {
    let member = |name: &str| members.iter().find(|member| member.key == name).map(|member| member.value);
    let [input, instructions, system] = OTHER_NAMES.map(member);
    if input.is_none() && instructions.is_none() && system.is_none() {
        return Ok(None);
    }
    let given = member("messages").filter(|messages| !messages.is_null() && !messages.is_empty());
    let said = input.filter(|input| !input.is_null());
    if given.is_some() && said.is_some() {
        let message = "`input` is another name for `messages`: send one of them";
        return Err(Invalid::at("input", message.into()));
    }
    let is_idle = |value: Option<Raw<'_>>| value.is_none_or(Raw::is_idle);
    if !is_idle(instructions) && !is_idle(system) {
        let message = format!("`{SYSTEM}` is another name for `instructions`: send one of them");
        return Err(Invalid::at(SYSTEM, message));
    }
    if given.is_none() && said.is_none() && !(is_idle(instructions) && is_idle(system)) {
        // There is nothing to instruct about: the reader says what is missing.
        return Ok(None);
    }
    let mut out = b"[".to_vec();
    if let Some(text) = instructions.filter(|text| !text.is_null()) {
        if text.kind() != Json::String {
            return Err(Invalid::kind("instructions", "a string".into(), text.kind()));
        }
        if text.get() != "\"\"" {
            push(&mut out, "system", text.get());
        }
    }
    if let Some(system) = system.filter(|system| !system.is_idle()) {
        push(&mut out, "system", &spoken(system)?);
    }
    match given.or(said) {
        None => {}
        Some(text) if text.kind() == Json::String && given.is_none() => push(&mut out, "user", text.get()),
        Some(list) if list.kind() == Json::Array => {
            for message in list.elements() {
                separate(&mut out);
                out.extend_from_slice(message.get().as_bytes());
            }
        }
        Some(other) if given.is_some() => {
            return Err(Invalid::kind("messages", "an array of messages".into(), other.kind()));
        }
        Some(other) => {
            return Err(Invalid::kind("input", "a string or an array of messages".into(), other.kind()));
        }
    }
    out.push(b']');
    Ok(Some(out))
}

/// The messages with a call for every tool result; `None` when they have one.
fn with_calls(members: &[Member<'_>]) -> Option<Vec<u8>> {
    let member = |name: &str| members.iter().find(|member| member.key == name).map(|member| member.value);
    member(RUNNERS)?;
    missing_tool_calls::with_calls(&member("messages")?.elements(), member("tools"))
}

/// What a message holds that says this, in Google's words: text, or an object of parts with text.
fn spoken(system: Raw<'_>) -> Result<String, Invalid> {
    if system.kind() == Json::String {
        return Ok(system.get().to_owned());
    }
    let parts = system.member("parts").filter(|parts| parts.kind() == Json::Array && !parts.is_empty());
    let texts = parts.map(Raw::elements).unwrap_or_default().into_iter().map(|part| part.member("text"));
    let texts = texts.map(|text| text.filter(|text| text.kind() == Json::String)).collect::<Option<Vec<_>>>();
    let parts = texts.filter(|texts| !texts.is_empty()).ok_or_else(|| {
        Invalid::at(SYSTEM, format!("`{SYSTEM}` must be text, or an object whose `parts` are text"))
    })?;
    let parts: Vec<String> =
        parts.into_iter().map(|text| format!(r#"{{"type":"text","text":{}}}"#, text.get())).collect();
    Ok(format!("[{}]", parts.join(",")))
}

fn push(out: &mut Vec<u8>, role: &str, content: &str) {
    separate(out);
    let mut message = ObjectWriter::with_capacity(content.len().saturating_add(40));
    message.text("role", role);
    message.raw("content", content);
    out.extend(message.end());
}

fn separate(out: &mut Vec<u8>) {
    if out.len() > 1 {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const CHAT: Kind = Kind::Conversation(Dialect::Chat);

    fn some_members() -> impl Strategy<Value = BTreeMap<&'static str, &'static str>> {
        let name = prop_oneof![Just("a"), Just("b"), Just("input"), Just("temperature")];
        let value =
            prop_oneof![Just("null"), Just("1.0"), Just("-1e5"), Just(r#""\ud83d\u0065""#), Just("[ ]")];
        proptest::collection::btree_map(name, value, 0..4)
    }

    fn written(members: &BTreeMap<&str, &str>) -> String {
        members.iter().map(|(name, value)| format!("\"{name}\" : {value}")).collect::<Vec<_>>().join(", ")
    }

    proptest! {
        #[test]
        fn every_value_is_the_outer_one_if_that_says_something_else_the_inner(
            outer in some_members(),
            inner in some_members(),
        ) {
            let comma = if outer.is_empty() { "" } else { "," };
            let body =
                format!(r#"{{"{WRAPPER}":{{{}}}{comma}{}}}"#, written(&inner), written(&outer));
            let read = plain(Kind::Embeddings, &body);
            prop_assert_eq!(read.is_some(), !inner.is_empty());
            let Some(read) = read else { return Ok(()) };
            let mut expected = inner;
            for (name, value) in outer {
                if value != "null" || !expected.contains_key(name) {
                    expected.insert(name, value);
                }
            }
            let members = json::read_object(read.as_bytes(), 8, 16).unwrap();
            let found: BTreeMap<&str, &str> =
                members.iter().map(|member| (&*member.key, member.value.get())).collect();
            prop_assert_eq!(found, expected);
        }
    }

    fn plain(kind: Kind, body: &str) -> Option<String> {
        let read = normalize(kind, body.as_bytes(), &Limits::default()).unwrap();
        read.map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn members_of_the_wrapper_come_up_and_what_stands_beside_it_wins() {
        for (body, expected) in [
            (r#"{"a":1,"additional_params":{"b":1e5,"c":"\ud83d"}}"#, r#"{"a":1,"b":1e5,"c":"\ud83d"}"#),
            (r#"{"a":1,"additional_params":{"a":2}}"#, r#"{"a":1}"#),
            (r#"{"a":null,"additional_params":{"a":2.0}}"#, r#"{"a":2.0}"#),
            (r#"{"a":0,"b":"","additional_params":{"a":2,"b":"x"}}"#, r#"{"a":0,"b":""}"#),
            (r#"{"a":1,"additional_params":{"additional_params":{}}}"#, r#"{"a":1}"#),
        ] {
            for kind in [CHAT, Kind::Conversation(Dialect::Completions), Kind::Embeddings, Kind::Speech] {
                assert_eq!(plain(kind, body).as_deref(), Some(expected), "{body}");
            }
        }
    }

    #[test]
    fn a_plain_body_stays_as_it_is() {
        for body in [
            r#"{"a":1}"#,
            r#"{"a":1,"additional_params":{}}"#,
            r#"{"a":1,"additional_params":null}"#,
            r#"{"messages":[{"role":"user","content":"additional_params and \"input\""}]}"#,
            r#"{"messages":[],"tools":[{"parameters":{"properties":{"input":{}}}}]}"#,
            r#"{"messages":[{"role":"user","content":"instructions, system_instruction"}]}"#,
            r#"{"a":1,"a":2,"additional_params":{"b":1}}"#,
            "additional_params",
        ] {
            assert_eq!(plain(CHAT, body), None, "{body}");
        }
        assert_eq!(plain(Kind::Embeddings, r#"{"input":"a","instructions":"b"}"#), None);
        let lost = r#""messages":[{"role":"tool","tool_call_id":"a","content":"mcp_servers"}]"#;
        assert_eq!(plain(CHAT, &format!("{{{lost}}}")), None, "only of the runner that loses calls");
        assert_eq!(plain(Kind::Transcription, r#"{"additional_params":{"a":1}}"#), None);
    }

    #[test]
    fn input_and_instructions_become_messages() {
        for (body, expected) in [
            (r#"{"input":"h\u00e9"}"#, r#"{"messages":[{"role":"user","content":"h\u00e9"}]}"#),
            (
                r#"{"input":[{"role":"user","content":"a"}],"instructions":"b","n":1}"#,
                r#"{"n":1,"messages":[{"role":"system","content":"b"},{"role":"user","content":"a"}]}"#,
            ),
            (
                r#"{"messages":[{"role":"user"}],"input":null,"instructions":"b"}"#,
                r#"{"messages":[{"role":"system","content":"b"},{"role":"user"}]}"#,
            ),
            (r#"{"messages":[ {"role":"user"} ],"instructions":""}"#, r#"{"messages":[{"role":"user"}]}"#),
            (r#"{"messages":null,"input":"a"}"#, r#"{"messages":[{"role":"user","content":"a"}]}"#),
            (
                r#"{"messages":[{"role":"user"}],"system_instruction":"\u00e9","instructions":null}"#,
                r#"{"messages":[{"role":"system","content":"\u00e9"},{"role":"user"}]}"#,
            ),
            (
                r#"{"input":"a","system_instruction":{"role":"system","parts":[{"text":"b"},{"text":"c"}]}}"#,
                r#"{"messages":[{"role":"system","content":[{"type":"text","text":"b"},{"type":"text","text":"c"}]},{"role":"user","content":"a"}]}"#,
            ),
            (
                r#"{"messages":[{"role":"user"}],"system_instruction":{}}"#,
                r#"{"messages":[{"role":"user"}]}"#,
            ),
            (
                r#"{"input":null,"additional_params":{"input":"a"}}"#,
                r#"{"messages":[{"role":"user","content":"a"}]}"#,
            ),
        ] {
            assert_eq!(plain(CHAT, body).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn the_runners_results_get_their_calls_back() {
        let result = r#"{"role":"tool","tool_call_id":"a","content":"59"}"#;
        let call = r#"{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"unknown_tool","arguments":"{}"}}]}"#;
        for servers in ["[]", "null", r#"["notes"]"#] {
            let body = format!(r#"{{"mcp_servers":{servers},"messages":[{result}],"n" :1}}"#);
            let expected = format!(r#"{{"mcp_servers":{servers},"n":1,"messages":[{call},{result}]}}"#);
            assert_eq!(plain(CHAT, &body), Some(expected));
            assert_eq!(plain(Kind::Conversation(Dialect::Completions), &body), None);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (body, param) in [
            (r#"{"additional_params":"canary"}"#, WRAPPER),
            (r#"{"additional_params":[1]}"#, WRAPPER),
            (r#"{"additional_params":{"additional_params":{"a":1}}}"#, WRAPPER),
            (r#"{"messages":[{"role":"user"}],"input":"a"}"#, "input"),
            (r#"{"input":{"a":1}}"#, "input"),
            (r#"{"input":"a","instructions":["b"]}"#, "instructions"),
            (r#"{"messages":"a","instructions":"b"}"#, "messages"),
            (r#"{"input":"a","instructions":"b","system_instruction":"c"}"#, SYSTEM),
            (r#"{"input":"a","system_instruction":["c"]}"#, SYSTEM),
            (r#"{"input":"a","system_instruction":{"text":"c"}}"#, SYSTEM),
            (r#"{"input":"a","system_instruction":{"parts":[{"text":"c"},{"inline_data":{}}]}}"#, SYSTEM),
        ] {
            let invalid = normalize(CHAT, body.as_bytes(), &Limits::default()).unwrap_err();
            assert_eq!(invalid.param.as_deref(), Some(param), "{body}");
        }
    }
}
