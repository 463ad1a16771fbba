//! The text of a request in any dialect, for counting its tokens if the provider did not. It copies, because it is used
//! rarely.

use super::{ClientRequest, Dialect, Limits, canonical::Part, json::Escaped, openai_chat};

/// What the model reads.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Prompt {
    pub pieces: Vec<String>,
    pub messages: u64,
}

/// Collects the text of a conversation and of its tool definitions; images and other media have none. A body that
/// cannot be read has no text.
pub fn prompt(dialect: Dialect, body: &[u8]) -> Prompt {
    if dialect == Dialect::Chat {
        return openai_chat::prompt::read(body);
    }
    let request = ClientRequest::read(dialect, body, &Limits::default());
    let Ok(canonical) = request.as_ref().map(ClientRequest::canonical) else { return Prompt::default() };
    canonical.map(|request| of(&request)).unwrap_or_default()
}

/// The text of a request in the canonical form.
pub fn of(request: &super::canonical::Request<'_>) -> Prompt {
    let mut prompt = Prompt::default();
    for turn in &request.turns {
        prompt.messages += 1;
        turn.parts.iter().for_each(|part| gather(part, &mut prompt.pieces));
    }
    for tool in &request.tools {
        gather_tool(&tool.kind, &mut prompt.pieces);
    }
    prompt.pieces.retain(|piece| !piece.is_empty());
    prompt
}

fn gather(part: &Part<'_>, pieces: &mut Vec<String>) {
    let mut say = |text: &Escaped<'_>| pieces.push(text.decode().into_owned());
    match part {
        Part::Text { text, .. } | Part::Refusal(text) => say(text),
        Part::Reasoning(reasoning) => say(&reasoning.text),
        Part::ToolCall(call) => {
            say(&call.name);
            say(&call.arguments);
        }
        Part::ToolResult(result) => result.content.iter().for_each(|part| gather(part, pieces)),
        Part::File { source: super::canonical::Source::Text(text), .. } => say(text),
        Part::Image { .. } | Part::Audio { .. } | Part::File { .. } => {}
    }
}

fn gather_tool(kind: &super::canonical::ToolKind<'_>, pieces: &mut Vec<String>) {
    use super::canonical::{ToolKind, WebSearch};
    match kind {
        ToolKind::Function { name, description, parameters, .. } => {
            pieces.push(name.decode().into_owned());
            pieces.extend(description.as_ref().map(|text| text.decode().into_owned()));
            pieces.extend(parameters.as_ref().map(|schema| schema.get().to_owned()));
        }
        ToolKind::WebSearch(WebSearch { json, .. }) | ToolKind::Native { json, .. } => {
            pieces.push(json.get().to_owned());
        }
    }
}
