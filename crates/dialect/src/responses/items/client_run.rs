//! Calls of tools that the client runs itself, and their results, as turns. An incomplete item can be understood only
//! by providers of Responses, which check it.

use super::{
    super::client_tools::{ClientTool, found},
    Conversation, ToolCall, ToolResult, member, string,
};
use crate::{
    canonical::Part,
    json::{Escaped, Kind, Member, Raw},
    request::{Facts, Invalid, Limits},
};

impl<'a> Conversation<'a> {
    pub(super) fn client_call(
        &mut self,
        kind: &ClientTool,
        item: Raw<'a>,
        members: &[Member<'a>],
        path: &str,
        facts: &mut Facts,
    ) -> Result<(), Invalid> {
        facts.add_foreign(item);
        let (Some(id), Ok(name)) = (call_id(members, path)?, kind.named(members, path)) else {
            self.note_native(path.to_owned());
            return Ok(());
        };
        let call = ToolCall { id, name, arguments: kind.arguments(members), signature: None, cache: None };
        self.add_assistant_item(Part::ToolCall(call));
        Ok(())
    }

    pub(super) fn client_result(
        &mut self,
        kind: &ClientTool,
        item: Raw<'a>,
        members: &[Member<'a>],
        path: &str,
        limits: &Limits,
        facts: &mut Facts,
    ) -> Result<(), Invalid> {
        let tools = member(members, "tools").filter(|_| kind.tool == "tool_search");
        if let Some(tools) = tools {
            self.offered.read(tools, &format!("{path}.tools"), limits, facts)?;
        }
        let Some(call_id) = call_id(members, path)? else {
            facts.add_foreign(item);
            self.note_native(path.to_owned());
            return Ok(());
        };
        let output = member(members, "output");
        let is_parts = kind.tool != "shell" && output.is_some_and(|output| output.kind() == Kind::Array);
        let content = match output {
            _ if tools.is_some() => {
                facts.add_foreign(item);
                vec![text(tools.map(found).unwrap_or_default())]
            }
            Some(output) if is_parts || output.kind() == Kind::String => {
                self.content(output, &format!("{path}.output"), facts)?
            }
            // The output and status of each command, as the client states them.
            Some(output) => {
                facts.add_foreign(item);
                vec![text(Escaped::from_text(output.get()))]
            }
            None => {
                facts.add_foreign(item);
                vec![text(string(members, "status", path)?.unwrap_or_default())]
            }
        };
        let is_error = member(members, "status").and_then(Raw::text).is_some_and(|status| status == "failed");
        self.add_result(ToolResult { call_id, content, is_error, cache: None });
        Ok(())
    }
}

/// The id that connects a call and its result; items of the local shell may have only their own id.
fn call_id<'a>(members: &[Member<'a>], path: &str) -> Result<Option<Escaped<'a>>, Invalid> {
    let stated = string(members, "call_id", path)?.filter(|id| !id.is_empty());
    Ok(match stated {
        Some(id) => Some(id),
        None => string(members, "id", path)?.filter(|id| !id.is_empty()),
    })
}

fn text(text: Escaped<'_>) -> Part<'_> {
    Part::Text { text, cache: None }
}
