//! What the Messages wire refuses of a conversation.

use super::super::{Refused, Verdict, list, member, only, refuse_if, text};
use super::{Claude, EXTRA, plain};
use serde_json::Value;

/// How our gateway tags signatures that it made itself; no provider ever made one.
const GATEWAY_MARK: &str = "gw1.";

pub(super) fn judge(body: &Value, claude: Option<Claude<'_>>) -> Verdict {
    system(body)?;
    let messages = list(body, "messages");
    refuse_if(messages.is_empty(), "messages", "at least one message is required")?;
    refuse_if(
        messages.first().is_none_or(|message| text(message, "role") != "user"),
        "messages",
        "first message must use the \"user\" role",
    )?;
    for (index, message) in messages.iter().enumerate() {
        one(message, &format!("messages.{index}"), claude)?;
    }
    for (index, message) in messages.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| messages.get(before));
        tool_turn(message, before, messages.get(index + 1), &format!("messages.{index}"))?;
    }
    let prefilled = messages.last().is_some_and(|message| text(message, "role") == "assistant");
    let refused = claude.is_some_and(|claude| claude.version >= (4, 6));
    refuse_if(
        prefilled && refused,
        "messages",
        "This model does not support assistant message prefill. The conversation must end with a user message.",
    )?;
    let trailing = messages.last().and_then(|message| member(message, "content")).is_some_and(|content| {
        let last = content.as_array().and_then(|blocks| blocks.last()).map(|block| text(block, "text"));
        content.as_str().or(last).is_some_and(|text| text.ends_with(char::is_whitespace))
    });
    let message = "final assistant content cannot end with trailing whitespace";
    refuse_if(prefilled && trailing, "messages", message)
}

fn system(body: &Value) -> Verdict {
    match member(body, "system") {
        None | Some(Value::String(_)) => Ok(()),
        Some(Value::Array(blocks)) => blocks.iter().enumerate().try_for_each(|(index, value)| {
            let at = format!("system.{index}");
            refuse_if(text(value, "type") != "text", &at, "Input should be a text block")?;
            block(value, &at)
        }),
        Some(_) => Err(Refused::new("system", "Input should be a string or a list")),
    }
}

fn one(message: &Value, at: &str, claude: Option<Claude<'_>>) -> Verdict {
    only(message, &["role", "content"], at, EXTRA)?;
    let role = text(message, "role");
    let known = match role {
        "user" | "assistant" => true,
        "system" => claude.is_none_or(|claude| claude.version >= (5, 0)),
        _ => false,
    };
    refuse_if(!known, &format!("{at}.role"), &format!("Unexpected role \"{role}\""))?;
    match member(message, "content") {
        Some(Value::String(text)) => {
            refuse_if(text.trim().is_empty(), at, "text content must contain non-whitespace text")
        }
        Some(Value::Array(blocks)) if !blocks.is_empty() => {
            blocks.iter().enumerate().try_for_each(|(index, value)| {
                let at = format!("{at}.content.{index}");
                let placed = match text(value, "type") {
                    "tool_use" | "thinking" | "redacted_thinking" => role == "assistant",
                    "tool_result" | "image" | "document" => role == "user",
                    _ => true,
                };
                refuse_if(!placed, &at, &format!("not allowed in a message of role {role}"))?;
                block(value, &at)
            })
        }
        _ => Err(Refused::new(at, "all messages must have non-empty content")),
    }
}

fn block(value: &Value, at: &str) -> Verdict {
    let kind = text(value, "type");
    let own: &[&str] = match kind {
        "text" => &["type", "text", "cache_control", "citations"],
        "image" => &["type", "source", "cache_control"],
        "document" => &["type", "source", "title", "context", "citations", "cache_control"],
        "tool_use" => &["type", "id", "name", "input", "cache_control", "caller"],
        "tool_result" => &["type", "tool_use_id", "content", "is_error", "cache_control"],
        "thinking" => &["type", "thinking", "signature"],
        "redacted_thinking" => &["type", "data"],
        // Blocks of tools that the provider runs, for others to judge.
        _ if kind.ends_with("_tool_result") || ["server_tool_use", "search_result"].contains(&kind) => {
            return Ok(());
        }
        _ => return Err(Refused::new(at, &format!("Input tag '{kind}' is not known"))),
    };
    only(value, own, at, EXTRA)?;
    match kind {
        "text" => {
            let message = "text content blocks must contain non-whitespace text";
            refuse_if(text(value, "text").trim().is_empty(), at, message)
        }
        "image" | "document" => source(value, at),
        "tool_use" => {
            id(text(value, "id"), &format!("{at}.id"))?;
            refuse_if(text(value, "name").is_empty(), &format!("{at}.name"), "Field required")?;
            let object = member(value, "input").is_some_and(Value::is_object);
            refuse_if(!object, &format!("{at}.input"), "Input should be an object")
        }
        "tool_result" => {
            id(text(value, "tool_use_id"), &format!("{at}.tool_use_id"))?;
            list(value, "content").iter().try_for_each(|part| block(part, &format!("{at}.content")))
        }
        "thinking" => {
            let signature = text(value, "signature");
            let foreign = signature.is_empty() || signature.starts_with(GATEWAY_MARK);
            refuse_if(foreign, &format!("{at}.signature"), "Invalid `signature` in `thinking` block")
        }
        _ => {
            let data = text(value, "data");
            let foreign = data.is_empty() || data.starts_with(GATEWAY_MARK);
            refuse_if(foreign, &format!("{at}.data"), "Invalid `data` in `redacted_thinking` block")
        }
    }
}

fn id(id: &str, at: &str) -> Verdict {
    refuse_if(id.is_empty() || !plain(id), at, "String should match pattern '^[a-zA-Z0-9_-]+$'")
}

fn source(value: &Value, at: &str) -> Verdict {
    let at = format!("{at}.source");
    let Some(source) = member(value, "source") else { return Err(Refused::new(at, "Field required")) };
    let own: &[&str] = match text(source, "type") {
        "base64" | "text" => &["type", "media_type", "data"],
        "url" => &["type", "url"],
        "file" => &["type", "file_id"],
        "content" => &["type", "content"],
        _ => return Err(Refused::new(at, "Input tag is not known")),
    };
    only(source, own, &at, EXTRA)?;
    let whole = own.iter().all(|name| member(source, name).is_some());
    refuse_if(!whole, &at, "a field is missing")?;
    let image = text(value, "type") == "image" && text(source, "type") == "base64";
    let known = ["image/jpeg", "image/png", "image/gif", "image/webp"];
    let media = text(source, "media_type");
    refuse_if(image && !known.contains(&media), &format!("{at}.media_type"), "not an image type")?;
    let bare = !text(source, "data").starts_with("data:");
    refuse_if(!bare, &format!("{at}.data"), "must be base64 without a data URL's head")
}

/// A call is answered in the very next message, and its result comes before all other content there.
fn tool_turn(message: &Value, before: Option<&Value>, after: Option<&Value>, at: &str) -> Verdict {
    let mut other = false;
    let mut seen = Vec::new();
    for block in list(message, "content") {
        match text(block, "type") {
            "tool_use" => {
                let id = text(block, "id");
                refuse_if(seen.contains(&id), at, "`tool_use` ids must be unique")?;
                seen.push(id);
                let answered = after
                    .filter(|after| text(after, "role") == "user")
                    .is_some_and(|after| has(after, "tool_result", "tool_use_id", id));
                let message = "`tool_use` ids were found without `tool_result` blocks immediately after";
                refuse_if(!answered, at, &format!("{message}: {id}"))?;
            }
            "tool_result" => {
                let id = text(block, "tool_use_id");
                refuse_if(other, at, "`tool_result` blocks must come before other content")?;
                refuse_if(seen.contains(&id), at, "each `tool_use` must have a single result")?;
                seen.push(id);
                let called = before
                    .filter(|before| text(before, "role") == "assistant")
                    .is_some_and(|before| has(before, "tool_use", "id", id));
                let message = "unexpected `tool_use_id` found in `tool_result` blocks";
                refuse_if(!called, at, &format!("{message}: {id}"))?;
            }
            _ => other = true,
        }
    }
    Ok(())
}

fn has(message: &Value, kind: &str, field: &str, id: &str) -> bool {
    list(message, "content").iter().any(|block| text(block, "type") == kind && text(block, field) == id)
}
