//! Parses the messages of a server from their bytes. Of a list and of a call's result it keeps the parts that the
//! gateway uses, as written: numbers of any size do not change. The SDK gets only what its protocol needs. Pure.

use super::{McpError, Outcome, Tool, http::spend};
use crate::dialect::json::{Escaped, check_depth};
use rmcp::model::{
    CallToolResult, ErrorData, JsonObject, ListToolsResult, RequestId, ServerJsonRpcMessage, ServerResult,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize};

/// The largest part of a message that the SDK reads itself: handshakes and errors.
const SDK_BYTES_MAX: usize = 256 * 1024;
/// Maximum nesting of a result, which clients' readers can parse.
const DEPTH_MAX: u32 = 128;
/// The longest id of a server's request that is answered.
const ID_BYTES_MAX: usize = 256;

/// The kind of response that a request expects. It accompanies the request, and the parsed result is stored in it.
#[derive(Clone)]
pub enum Wanted {
    /// The result of a call with these arguments: a JSON object, as the model wrote it.
    Call { arguments: Arc<RawValue>, answer: Slot<Outcome> },
    /// A page of the list of tools.
    Tools(PageOf),
    /// A response that the SDK reads itself.
    Handshake,
}

/// Limits for a page.
#[derive(Clone)]
pub struct PageOf {
    /// Maximum number of tools.
    pub tools_max: usize,
    /// Bytes of definitions that are left for the servers of this request.
    pub bytes_left: Arc<AtomicUsize>,
    pub answer: Slot<Vec<Tool>>,
}

/// The place for a parsed result.
pub struct Slot<T>(Arc<Mutex<Option<Result<T, McpError>>>>);

/// A request that waits for its response.
pub struct Asked<'a> {
    pub id: &'a RequestId,
    pub wanted: Wanted,
}

/// The meaning of a server's message for a waiting request.
pub enum Heard {
    /// The response, with the parts that the SDK needs.
    Answer(Box<ServerJsonRpcMessage>),
    /// A request of the server.
    Request { id: Box<RawValue>, is_ping: bool },
    /// A notification, a response to another request, or a message that cannot be parsed.
    Nothing,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<Described<'a>>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    #[serde(borrow)]
    name: &'a RawValue,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    input_schema: &'a RawValue,
    execution: Option<Execution>,
}

/// Declares how a tool may be called.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Execution {
    task_support: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Called<'a> {
    result_type: Option<String>,
    #[serde(borrow)]
    content: Option<Vec<&'a RawValue>>,
    /// `null` is also a result.
    #[serde(borrow, default, deserialize_with = "present")]
    structured_content: Option<&'a RawValue>,
    is_error: Option<bool>,
}

/// One content block of a result, of any kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    mime_type: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow)]
    resource: Option<Resource<'a>>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }
}

impl<T> Slot<T> {
    fn put(&self, answer: Result<T, McpError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    /// Takes the parsed result; works once.
    pub fn take(&self) -> Result<T, McpError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(Err(McpError::NotMcp))
    }
}

impl Asked<'_> {
    fn is_answered_by(&self, id: &RawValue) -> bool {
        match self.id {
            RequestId::Number(number) => id.get().trim_matches('"').parse() == Ok(*number),
            RequestId::String(text) => string(Some(id)).as_deref() == Some(text),
        }
    }
}

/// Parses one message. `alone`: the server sends only this message, so an error is the response whatever its id; a
/// server that refuses a request before parsing it does not know the id.
pub fn read(bytes: &[u8], asked: &Asked<'_>, alone: bool) -> Result<Heard, serde_json::Error> {
    let text = String::from_utf8_lossy(bytes);
    let Ok(message) = serde_json::from_str::<Message<'_>>(&text) else { return Ok(Heard::Nothing) };
    if let Some(method) = message.method {
        return Ok(match message.id {
            Some(id) if id.get().len() <= ID_BYTES_MAX => {
                Heard::Request { id: id.to_owned(), is_ping: method.get() == r#""ping""# }
            }
            _ => Heard::Nothing,
        });
    }
    let is_ours = message.id.is_some_and(|id| asked.is_answered_by(id));
    let answer = match (message.result, message.error) {
        (_, Some(error)) if is_ours || alone || message.id.is_none() => {
            ServerJsonRpcMessage::error(error_of(error)?, Some(asked.id.clone()))
        }
        (Some(result), None) if is_ours => {
            ServerJsonRpcMessage::response(result_of(result, &asked.wanted)?, asked.id.clone())
        }
        _ => return Ok(Heard::Nothing),
    };
    Ok(Heard::Answer(Box::new(answer)))
}

/// The server's refusal. In some protocol versions `data` states what the server would accept.
fn error_of(error: &RawValue) -> Result<ErrorData, serde_json::Error> {
    if error.get().len() > SDK_BYTES_MAX {
        return Ok(ErrorData::internal_error("the server's error is too long to be returned", None));
    }
    serde_json::from_str(error.get())
}

fn result_of(result: &RawValue, wanted: &Wanted) -> Result<ServerResult, serde_json::Error> {
    match wanted {
        Wanted::Call { answer, .. } => {
            answer.put(outcome(result));
            Ok(ServerResult::CallToolResult(CallToolResult::success(Vec::new())))
        }
        Wanted::Tools(page_of) => {
            let page = page(result, page_of);
            let (tools, told) =
                page.map_or_else(|error| (Err(error), ListToolsResult::default()), |(t, p)| (Ok(t), p));
            page_of.answer.put(tools);
            Ok(ServerResult::ListToolsResult(told))
        }
        Wanted::Handshake if result.get().len() > SDK_BYTES_MAX => {
            Err(serde::de::Error::custom("a handshake that is too long"))
        }
        Wanted::Handshake => serde_json::from_str(result.get()),
    }
}

/// The tools of a page, and the part for the SDK: it makes some headers of calls from their schemas.
fn page(result: &RawValue, page_of: &PageOf) -> Result<(Vec<Tool>, ListToolsResult), McpError> {
    let page: Page<'_> = serde_json::from_str(result.get()).map_err(|_| McpError::NotMcp)?;
    let (mut tools, mut told) = (Vec::new(), Vec::new());
    for described in page.tools.into_iter().take(page_of.tools_max) {
        let name = string(Some(described.name)).ok_or(McpError::NotMcp)?;
        let description = string(described.description);
        let parameters = described.input_schema.get();
        let bytes = name.len() + description.as_ref().map_or(0, String::len) + parameters.len();
        if !spend(&page_of.bytes_left, bytes) {
            return Err(McpError::TooMuchTold);
        }
        let schema: JsonObject = serde_json::from_str(parameters).map_err(|_| McpError::NotMcp)?;
        told.push(rmcp::model::Tool::new(name.clone(), "", schema));
        let execution = described.execution.and_then(|execution| execution.task_support);
        let needs_task = execution.as_deref() == Some("required");
        tools.push(Tool { name, description, parameters: parameters.to_owned(), needs_task });
    }
    let mut told = ListToolsResult::with_all_items(told);
    told.next_cursor = page.next_cursor;
    Ok((tools, told))
}

fn outcome(result: &RawValue) -> Result<Outcome, McpError> {
    let called: Called<'_> = serde_json::from_str(result.get()).map_err(|_| McpError::NotMcp)?;
    match called.result_type.as_deref() {
        None | Some("complete") => {}
        Some("input_required") => return Err(McpError::AsksForInput),
        Some(_) => return Err(McpError::NotMcp),
    }
    if called.content.is_none() && called.structured_content.is_none() && called.is_error.is_none() {
        return Err(McpError::NotMcp);
    }
    let texts: Vec<String> = called.content.unwrap_or_default().into_iter().map(readable).collect();
    let structured = called.structured_content.map(|value| one_line(value.get()));
    if structured.as_ref().is_some_and(|json| !check_depth(json.as_bytes(), DEPTH_MAX)) {
        return Err(McpError::NotMcp);
    }
    let text = match (texts.is_empty(), &structured) {
        (true, Some(json)) => json.clone(),
        _ => texts.join("\n"),
    };
    Ok(Outcome { text, structured, is_error: called.is_error.unwrap_or(false) })
}

/// JSON without line ends, which occur only between its tokens: in an event they would end a line.
fn one_line(json: &str) -> String {
    json.replace(['\r', '\n'], " ")
}

/// The text for the model of one content block of a result.
fn readable(block: &RawValue) -> String {
    let Ok(block) = serde_json::from_str::<Block<'_>>(block.get()) else { return left_out("content") };
    let or_unknown = |raw| string(raw).unwrap_or_else(|| "unknown".to_owned());
    match string(block.kind).unwrap_or_default().as_str() {
        "text" => string(block.text).unwrap_or_default(),
        kind @ ("image" | "audio") => left_out(&format!("{kind} of {}", or_unknown(block.mime_type))),
        "resource_link" => format!("[{}]({})", or_unknown(block.name), or_unknown(block.uri)),
        "resource" => match block.resource {
            Some(Resource { text: Some(text), .. }) => string(Some(text)).unwrap_or_default(),
            Some(Resource { uri, .. }) => left_out(&format!("binary resource {}", or_unknown(uri))),
            None => left_out("resource"),
        },
        _ => left_out("content of an unknown kind"),
    }
}

fn left_out(what: &str) -> String {
    format!("[{what} left out]")
}

/// The text of a JSON string; half a surrogate pair becomes U+FFFD.
fn string(raw: Option<&RawValue>) -> Option<String> {
    Some(Escaped::of_value(raw?)?.decode().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 1 << 20;

    fn heard(message: &str, wanted: Wanted) -> Heard {
        read(message.as_bytes(), &Asked { id: &RequestId::Number(7), wanted }, false).unwrap()
    }

    fn called(result: &str) -> Result<Outcome, McpError> {
        let answer = Slot::default();
        let arguments: Arc<RawValue> = RawValue::from_string("{}".to_owned()).unwrap().into();
        let wanted = Wanted::Call { arguments, answer: answer.clone() };
        let message = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#);
        assert!(matches!(heard(&message, wanted), Heard::Answer(_)), "{message}");
        answer.take()
    }

    fn listed(
        result: &str,
        tools_max: usize,
        bytes: usize,
    ) -> (Result<Vec<Tool>, McpError>, ListToolsResult) {
        let page_of =
            PageOf { tools_max, bytes_left: Arc::new(AtomicUsize::new(bytes)), answer: Slot::default() };
        let message = format!(r#"{{"jsonrpc":"2.0","id":"7","result":{result}}}"#);
        let Heard::Answer(told) = heard(&message, Wanted::Tools(page_of.clone())) else {
            panic!("{message}")
        };
        let ServerJsonRpcMessage::Response(told) = *told else { panic!("{told:?}") };
        let ServerResult::ListToolsResult(told) = told.result else { panic!("{told:?}") };
        (page_of.answer.take(), told)
    }

    #[test]
    fn structured_results_keep_their_numbers_and_their_order() {
        let odd = r#"{"id":12345678901234567890123, "b":1e5,"a":1.0,"c":"\ud83d\n"}"#;
        let told = called(&format!(r#"{{"structuredContent":{odd}}}"#)).unwrap();
        assert_eq!((told.text.as_str(), told.structured.as_deref()), (odd, Some(odd)));
        let both = format!(r#"{{"content":[{{"type":"text","text":"a\nb"}}],"structuredContent":{odd}}}"#);
        let told = called(&both).unwrap();
        assert_eq!((told.text.as_str(), told.structured.as_deref()), ("a\nb", Some(odd)));
        let told = called("{\"structuredContent\":{\r\n\"a\":\n1}}").unwrap();
        assert_eq!(told.structured.as_deref(), Some(r#"{  "a": 1}"#));
        assert_eq!(called(r#"{"structuredContent":null}"#).unwrap().structured.as_deref(), Some("null"));
        let deep = format!(r#"{{"structuredContent":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(called(&deep), Err(McpError::NotMcp));
    }

    #[test]
    fn every_kind_of_content_has_its_words() {
        for (block, words) in [
            (r#"{"type":"text","text":"half \ud83d"}"#, "half \u{fffd}"),
            (r#"{"type":"image","data":"AAAA","mimeType":"image/png"}"#, "[image of image/png left out]"),
            (r#"{"type":"audio","data":"AAAA","mimeType":"audio/wav"}"#, "[audio of audio/wav left out]"),
            (r#"{"type":"resource_link","name":"n","uri":"u:v"}"#, "[n](u:v)"),
            (r#"{"type":"resource","resource":{"uri":"u:v","text":"t"}}"#, "t"),
            (r#"{"type":"resource","resource":{"uri":"u:v","blob":"AA"}}"#, "[binary resource u:v left out]"),
            (r#"{"type":"hologram"}"#, "[content of an unknown kind left out]"),
            ("7", "[content left out]"),
        ] {
            let told = called(&format!(r#"{{"content":[{block}],"isError":true}}"#)).unwrap();
            assert_eq!((told.text.as_str(), told.is_error), (words, true), "{block}");
        }
    }

    #[test]
    fn a_result_that_is_none_says_why() {
        assert_eq!(called(r#"{"resultType":"input_required"}"#), Err(McpError::AsksForInput));
        for result in [r#"{"resultType":"task","content":[]}"#, "{}", "[]", r#"{"content":7}"#] {
            assert_eq!(called(result), Err(McpError::NotMcp), "{result}");
        }
    }

    #[test]
    fn a_page_keeps_what_is_used_and_charges_for_it() {
        let schema = r#"{"type":"object","properties":{"a":{"maximum":12345678901234567890123}}}"#;
        let one =
            format!(r#"{{"name":"a","description":"b","inputSchema":{schema},"outputSchema":{{"x":1}}}}"#);
        let result = format!(r#"{{"tools":[{one},{one},{one}],"nextCursor":"more","ttlMs":3600000}}"#);
        let (tools, told) = listed(&result, 2, MANY);
        let tools = tools.unwrap();
        assert_eq!((tools.len(), tools[0].parameters.as_str()), (2, schema));
        assert_eq!((tools[0].name.as_str(), tools[0].description.as_deref()), ("a", Some("b")));
        assert_eq!((told.tools.len(), told.next_cursor.as_deref(), told.ttl_ms), (2, Some("more"), None));
        assert!(told.tools[0].output_schema.is_none());
        let size = schema.len() + 2;
        assert!(listed(&result, 2, 2 * size).0.is_ok());
        assert_eq!(listed(&result, 2, 2 * size - 1).0.unwrap_err(), McpError::TooMuchTold);
        for wrong in
            [r#"{"tools":7}"#, r#"{"tools":[{"name":"a"}]}"#, r#"{"tools":[{"name":"a","inputSchema":[]}]}"#]
        {
            assert_eq!(listed(wrong, 2, MANY).0.unwrap_err(), McpError::NotMcp, "{wrong}");
        }
    }

    #[test]
    fn what_was_not_asked_for_goes_nowhere() {
        let request = heard(r#"{"jsonrpc":"2.0","id":"x","method":"ping"}"#, Wanted::Handshake);
        assert!(matches!(request, Heard::Request { id, is_ping: true } if id.get() == "\"x\""));
        let request = heard(r#"{"jsonrpc":"2.0","id":3,"method":"roots/list"}"#, Wanted::Handshake);
        assert!(matches!(request, Heard::Request { is_ping: false, .. }));
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(300));
        for message in [
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":8,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":8,"error":{"code":1,"message":"m"}}"#,
            "",
            "[]",
            "{",
            &long,
        ] {
            assert!(matches!(heard(message, Wanted::Handshake), Heard::Nothing), "{message}");
        }
    }

    #[test]
    fn a_refusal_is_the_answer_though_its_id_is_not() {
        let refusal = |id: &str, alone| {
            let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32600,"message":"m"}}}}"#);
            let asked = Asked { id: &RequestId::Number(7), wanted: Wanted::Handshake };
            let Heard::Answer(answer) = read(message.as_bytes(), &asked, alone).unwrap() else { return None };
            let ServerJsonRpcMessage::Error(error) = *answer else { return None };
            error.id
        };
        for (id, alone) in [("7", false), ("null", false), ("\"server-error\"", true)] {
            assert_eq!(refusal(id, alone), Some(RequestId::Number(7)), "{id}");
        }
        assert_eq!(refusal("\"server-error\"", false), None);
    }
}
