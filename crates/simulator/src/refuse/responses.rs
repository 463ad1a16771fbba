//! What OpenAI's Responses wire format refuses, also at Perplexity.

use super::{
    super::rows::Row,
    Refused, Verdict, chat, list, member, refuse_if, text,
    tool_turns::{self, Fault, Step},
};
use serde_json::Value;

/// How our gateway tags reasoning that it sealed itself; no provider ever made one.
const GATEWAY_MARK: &str = "gw1.";

const FIELDS: &[&str] = &[
    "model",
    "input",
    "instructions",
    "stream",
    "stream_options",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "conversation",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "background",
    "client_metadata",
    "include",
    "context_management",
];

const PERPLEXITY_FIELDS: &[&str] = &[
    "model",
    "models",
    "input",
    "instructions",
    "stream",
    "max_output_tokens",
    "max_steps",
    "preset",
    "effort",
    "reasoning",
    "response_format",
    "tools",
    "previous_response_id",
    "store",
    "background",
    "language_preference",
];

pub(super) fn judge(row: &Row, body: &Value, model: &str, issued: &dyn Fn(&str) -> bool) -> Verdict {
    let perplexity = row.id == "perplexity";
    only(body, if perplexity { PERPLEXITY_FIELDS } else { FIELDS }, "")?;
    let preset = perplexity && member(body, "preset").or_else(|| member(body, "models")).is_some();
    refuse_if(model.is_empty() && !preset, "model", "Missing required parameter.")?;
    let few = member(body, "max_output_tokens").is_some_and(|count| count.as_u64().is_none_or(|n| n < 16));
    refuse_if(few, "max_output_tokens", "Expected a value >= 16.")?;
    let goes_on = match member(body, "previous_response_id") {
        None => false,
        Some(id) => {
            let id = id.as_str().unwrap_or_default();
            if !issued(id) {
                return Err(Refused {
                    status: 400,
                    code: "previous_response_not_found",
                    param: "previous_response_id".to_owned(),
                    message: format!("Previous response with id '{id}' not found."),
                });
            }
            true
        }
    };
    if let Some(options) = member(body, "stream_options") {
        only(options, &["include_obfuscation"], "stream_options")?;
    }
    if row.id == "openai" {
        reasoning_model(body, model)?;
    }
    tools(body)?;
    if let Some(format) = member(body, "text") {
        only(format, &["format", "verbosity"], "text")?;
        let nested = member(format, "format").is_some_and(|format| member(format, "json_schema").is_some());
        refuse_if(nested, "text.format.json_schema", "Unknown parameter.")?;
    }
    input(body, perplexity, goes_on)
}

fn reasoning_model(body: &Value, model: &str) -> Verdict {
    let effort = member(body, "reasoning").map(|reasoning| text(reasoning, "effort"));
    let effort = effort.filter(|effort| !effort.is_empty());
    let none = effort == Some("none") && chat::must_reason(model);
    refuse_if(none, "reasoning.effort", "none is not supported with this model")?;
    if !chat::reasons(model, effort) {
        return Ok(());
    }
    for name in ["temperature", "top_p"] {
        let other = member(body, name).is_some_and(|value| value.as_f64() != Some(1.0));
        refuse_if(other, name, "Unsupported parameter: not supported with this model.")?;
    }
    refuse_if(member(body, "top_logprobs").is_some(), "top_logprobs", "not supported while the model reasons")
}

fn tools(body: &Value) -> Verdict {
    for (index, tool) in list(body, "tools").iter().enumerate() {
        let at = format!("tools[{index}]");
        if text(tool, "type") != "function" {
            refuse_if(text(tool, "type").is_empty(), &format!("{at}.type"), "Missing required parameter.")?;
            continue;
        }
        refuse_if(text(tool, "name").is_empty(), &format!("{at}.name"), "Missing required parameter.")?;
        only(tool, &["type", "name", "description", "parameters", "strict", "defer_loading"], &at)?;
    }
    let choice = member(body, "tool_choice").filter(|choice| choice.is_object());
    let nested = choice.is_some_and(|choice| {
        member(choice, "function").or_else(|| member(choice, "allowed_tools")).is_some()
    });
    refuse_if(nested, "tool_choice", "Unknown parameter: the nested form belongs to chat.")
}

fn input(body: &Value, perplexity: bool, goes_on: bool) -> Verdict {
    let items = match member(body, "input") {
        Some(Value::String(_)) => return Ok(()),
        Some(Value::Array(items)) => items,
        None if member(body, "prompt").or_else(|| member(body, "conversation")).is_some() => return Ok(()),
        _ => return Err(Refused::new("input", "Missing required parameter.")),
    };
    refuse_if(items.is_empty() && !goes_on, "input", "must not be empty")?;
    let mut steps = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("input[{index}]");
        let kind = text(item, "type");
        refuse_if(perplexity && kind.is_empty(), &format!("{at}.type"), "Missing required parameter.")?;
        match kind {
            "" | "message" => message(item, &at)?,
            "function_call" => {
                only(item, &["type", "id", "call_id", "name", "arguments", "status", "namespace"], &at)?;
                for name in ["call_id", "name"] {
                    refuse_if(
                        text(item, name).is_empty(),
                        &format!("{at}.{name}"),
                        "Missing required parameter.",
                    )?;
                }
                let string = member(item, "arguments").is_some_and(Value::is_string);
                refuse_if(!string, &format!("{at}.arguments"), "expected a string")?;
                let id = text(item, "id");
                let own = id.is_empty() || id.starts_with("fc");
                refuse_if(!own, &format!("{at}.id"), "Expected an ID that begins with 'fc'.")?;
            }
            "function_call_output" => {
                only(item, &["type", "id", "call_id", "output", "status"], &at)?;
                parts(item, "output", &format!("{at}.output"), &["input_text", "input_image", "input_file"])?;
            }
            "reasoning" => {
                let sealed = text(item, "encrypted_content");
                let foreign = sealed.starts_with(GATEWAY_MARK);
                refuse_if(foreign, &format!("{at}.encrypted_content"), "could not be verified")?;
                let id = text(item, "id");
                let own = id.is_empty() || id.starts_with("rs");
                refuse_if(!own, &format!("{at}.id"), "Expected an ID that begins with 'rs'.")?;
            }
            _ => {}
        }
        match kind {
            "function_call" => steps.push(Step::Called(text(item, "call_id").to_owned())),
            "function_call_output" if goes_on => {}
            "function_call_output" => steps.push(Step::Answered(text(item, "call_id").to_owned())),
            _ => {}
        }
    }
    if goes_on {
        return Ok(());
    }
    tool_turns::judge(&steps).map_err(|fault| match fault {
        Fault::NotCalled(id) => {
            Refused::new("input", &format!("No tool call found for function call output with call_id {id}."))
        }
        Fault::NotAnswered(id) => {
            Refused::new("input", &format!("No tool output found for function call {id}."))
        }
    })
}

fn message(item: &Value, at: &str) -> Verdict {
    only(item, &["type", "id", "role", "content", "status", "phase"], at)?;
    let role = text(item, "role");
    let known = ["user", "assistant", "system", "developer"].contains(&role);
    refuse_if(!known, &format!("{at}.role"), "Invalid value.")?;
    let own: &[&str] = if role == "assistant" {
        &["output_text", "refusal"]
    } else {
        &["input_text", "input_image", "input_file", "input_audio"]
    };
    parts(item, "content", &format!("{at}.content"), own)
}

/// A string, or a list of parts of these types.
fn parts(item: &Value, name: &str, at: &str, own: &[&str]) -> Verdict {
    let parts = match member(item, name) {
        Some(Value::String(_)) => return Ok(()),
        Some(Value::Array(parts)) => parts,
        _ => return Err(Refused::new(at, "Missing required parameter.")),
    };
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let kind = text(part, "type");
        let message = format!("Invalid value: '{kind}'. Supported values are: {}.", own.join(", "));
        refuse_if(!own.contains(&kind), &at, &message)?;
        let object = kind == "input_image" && member(part, "image_url").is_some_and(|url| !url.is_string());
        refuse_if(object, &format!("{at}.image_url"), "expected an image URL as a string")?;
        let wordless = kind.ends_with("_text") && !part.get("text").is_some_and(Value::is_string);
        refuse_if(wordless, &format!("{at}.text"), "Missing required parameter.")?;
    }
    Ok(())
}

fn only(value: &Value, allowed: &[&str], at: &str) -> Verdict {
    super::only(value, allowed, at, "Unknown parameter.")
}
