//! The tools of a request and the choice among them. A choice by name is expressed by leaving out the others.

use super::request::{Dropped, lacks};
use crate::{
    Target, Unsupported,
    canonical::{Allowed, Request, Tool, ToolChoice, ToolKind},
    json::{Escaped, ObjectWriter},
};
use kairosroute_domain::catalog::Flag;

/// Writes `tools`, `tool_choice` and `strict_tools`.
pub(super) fn write(
    request: &Request<'_>,
    target: &Target<'_>,
    body: &mut ObjectWriter,
    dropped: &mut Dropped,
) -> Result<(), Unsupported> {
    if request.parallel_tools.is_some() {
        dropped.name("parallel_tool_calls");
    }
    let (choice, only): (&str, Option<&[Escaped<'_>]>) = match &request.tool_choice {
        None | Some(ToolChoice::Auto) => ("", None),
        Some(ToolChoice::Never) => ("NONE", None),
        Some(ToolChoice::Required) => ("REQUIRED", None),
        Some(ToolChoice::Named(name)) => ("REQUIRED", Some(std::slice::from_ref(name))),
        Some(ToolChoice::Allowed { names, required: true }) => ("REQUIRED", Some(names)),
        Some(ToolChoice::Allowed { names, required: false }) => ("", Some(names)),
    };
    if choice == "REQUIRED" && target.has(Flag::NoForcedTool) {
        return Err(Unsupported::because("tool_choice", ": this model cannot be made to call a tool"));
    }
    let mut written = Vec::new();
    let mut strict = Vec::new();
    let allowed = only.map(Allowed::names);
    for tool in &request.tools {
        let ToolKind::Function { name, .. } = &tool.kind else {
            return Err(Unsupported::tool(&tool.kind));
        };
        if allowed.as_ref().is_none_or(|allowed| allowed.has(name)) {
            strict.push(declare(tool, &mut written, dropped));
        }
    }
    if strict.is_empty() {
        let is_free = request.tools.is_empty() && only.is_none() && choice != "REQUIRED";
        let refusal = Unsupported::because("tool_choice", ": the request declares no such tool");
        return if is_free { Ok(()) } else { Err(refusal) };
    }
    if lacks(target, Flag::Tools) {
        return Err(Unsupported::field("tools"));
    }
    let out = body.key("tools");
    out.push(b'[');
    out.extend(written);
    out.push(b']');
    if !choice.is_empty() {
        body.text("tool_choice", choice);
    }
    // Strictness applies to all of them or to none.
    if strict.iter().all(|strict| *strict == Some(true)) {
        body.raw("strict_tools", "true");
    } else if strict.contains(&Some(true)) {
        dropped.name("tools[].function.strict");
    }
    Ok(())
}

/// Appends a list of strings.
pub(super) fn push_list(out: &mut Vec<u8>, texts: &[Escaped<'_>]) {
    out.push(b'[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        text.push_quoted(out);
    }
    out.push(b']');
}

/// Appends a function, and returns whether it is strict.
fn declare(tool: &Tool<'_>, out: &mut Vec<u8>, dropped: &mut Dropped) -> Option<bool> {
    let ToolKind::Function { name, description, parameters, strict } = &tool.kind else { return None };
    if tool.cache.is_some() {
        dropped.name("cache_control");
    }
    let mut function = ObjectWriter::new();
    name.push_quoted(function.key("name"));
    if let Some(description) = description {
        description.push_quoted(function.key("description"));
    }
    // Required, also for a function without parameters.
    let parameters =
        parameters.as_ref().map_or(r#"{"type":"object","properties":{}}"#, |schema| schema.get());
    function.raw("parameters", parameters);
    if !out.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"type\":\"function\",\"function\":");
    out.extend(function.end());
    out.push(b'}');
    *strict
}
