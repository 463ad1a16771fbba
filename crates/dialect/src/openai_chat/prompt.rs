//! The text of a request, for counting its tokens if the provider did not. It copies, because it is used rarely.

use super::reply::spoken;
use crate::{json::unescape, prompt::Prompt};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    messages: Vec<Message<'a>>,
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
}

/// Collects the text of messages, tool calls and tool definitions; images and other media have none.
pub fn read(body: &[u8]) -> Prompt {
    let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else { return Prompt::default() };
    let mut prompt = Prompt { pieces: Vec::new(), messages: u64::try_from(body.messages.len()).unwrap_or(0) };
    for message in &body.messages {
        for part in [message.role, message.name, message.content].into_iter().flatten() {
            let mut text = Vec::new();
            spoken(part.get(), &mut text);
            prompt.pieces.push(unescape(&text));
        }
        prompt.pieces.extend(message.tool_calls.map(|calls| calls.get().to_owned()));
    }
    prompt.pieces.extend(body.tools.map(|tools| tools.get().to_owned()));
    prompt.pieces.retain(|piece| !piece.is_empty());
    prompt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathers_what_the_model_reads_and_no_media() {
        let body = br#"{"messages":[{"role":"user","content":[{"type":"text","text":"a\n"},{"type":"image_url","image_url":{"url":"data:x"}}]},{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]}],"tools":[{}]}"#;
        let prompt = read(body);
        assert_eq!(prompt.messages, 2);
        assert_eq!(prompt.pieces, ["user", "a\n", "assistant", r#"[{"id":"1"}]"#, "[{}]"]);
        assert_eq!(read(b"nonsense"), Prompt::default());
    }
}
