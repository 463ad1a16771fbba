//! What Cohere's v2 chat refuses.

use super::{
    Refused, Verdict, list, member, only, refuse_if, text,
    tool_turns::{self, Fault, Step},
};
use serde_json::Value;

const EXTRA: &str = "unknown field";

const FIELDS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "tools",
    "strict_tools",
    "tool_choice",
    "documents",
    "citation_options",
    "response_format",
    "safety_mode",
    "max_tokens",
    "stop_sequences",
    "temperature",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "k",
    "p",
    "logprobs",
    "thinking",
    "priority",
    "raw_prompting",
];

pub(super) fn judge(body: &Value) -> Verdict {
    only(body, FIELDS, "", EXTRA)?;
    refuse_if(text(body, "model").is_empty(), "model", "is required")?;
    if let Some(choice) = member(body, "tool_choice") {
        let known = choice.as_str().is_some_and(|choice| ["REQUIRED", "NONE"].contains(&choice));
        refuse_if(!known, "tool_choice", "must be one of REQUIRED, NONE")?;
        refuse_if(list(body, "tools").is_empty(), "tool_choice", "needs tools")?;
    }
    for (index, tool) in list(body, "tools").iter().enumerate() {
        let at = format!("tools[{index}]");
        only(tool, &["type", "function"], &at, EXTRA)?;
        refuse_if(text(tool, "type") != "function", &at, "only functions are supported")?;
        let Some(function) = member(tool, "function") else {
            return Err(Refused::new(at, "needs a function"));
        };
        only(function, &["name", "description", "parameters"], &format!("{at}.function"), EXTRA)?;
        refuse_if(text(function, "name").is_empty(), &format!("{at}.function.name"), "is required")?;
    }
    if let Some(format) = member(body, "response_format") {
        only(format, &["type", "json_schema", "schema"], "response_format", EXTRA)?;
        let known = ["text", "json_object"].contains(&text(format, "type"));
        refuse_if(!known, "response_format.type", "must be one of text, json_object")?;
    }
    if let Some(thinking) = member(body, "thinking") {
        only(thinking, &["type", "token_budget"], "thinking", EXTRA)?;
        let known = ["enabled", "disabled"].contains(&text(thinking, "type"));
        refuse_if(!known, "thinking.type", "must be one of enabled, disabled")?;
    }
    let truth = member(body, "logprobs").is_none_or(Value::is_boolean);
    refuse_if(!truth, "logprobs", "must be true or false")?;
    refuse_if(list(body, "stop_sequences").len() > 5, "stop_sequences", "at most 5")?;
    messages(list(body, "messages"))
}

fn messages(messages: &[Value]) -> Verdict {
    refuse_if(messages.is_empty(), "messages", "must not be empty")?;
    let mut steps = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        let role = text(message, "role");
        let own: &[&str] = match role {
            "system" | "user" => &["role", "content"],
            "assistant" => &["role", "content", "tool_calls", "tool_plan", "citations"],
            "tool" => &["role", "content", "tool_call_id"],
            _ => return Err(Refused::new(at, "unknown role")),
        };
        only(message, own, &at, EXTRA)?;
        let calls = list(message, "tool_calls");
        let empty = match member(message, "content") {
            None => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(content) => content.as_array().is_none_or(Vec::is_empty),
        };
        refuse_if(empty && calls.is_empty(), &at, "must have content or tool calls")?;
        for part in list(message, "content") {
            let known: &[&str] = match role {
                "user" => &["text", "image_url"],
                "assistant" => &["text", "thinking"],
                "tool" => &["text", "document"],
                _ => &["text"],
            };
            refuse_if(!known.contains(&text(part, "type")), &at, "unknown content type")?;
        }
        for call in calls {
            let function = member(call, "function");
            let whole = text(call, "type") == "function"
                && function.is_some_and(|function| {
                    !text(function, "name").is_empty()
                        && member(function, "arguments").is_some_and(Value::is_string)
                });
            refuse_if(!whole, &at, "a tool call needs type, id, name and arguments")?;
            steps.push(Step::Called(text(call, "id").to_owned()));
        }
        match role {
            "tool" => steps.push(Step::Answered(text(message, "tool_call_id").to_owned())),
            "assistant" if !calls.is_empty() => {}
            _ => steps.push(Step::Other),
        }
    }
    tool_turns::judge(&steps).map_err(|fault| match fault {
        Fault::NotCalled(id) => {
            Refused::new("messages", &format!("tool call id {id} not found in previous tool calls"))
        }
        Fault::NotAnswered(id) => Refused::new("messages", &format!("no tool message for tool call id {id}")),
    })
}
