//! Reading what a Responses client says of tools and of the answer's form.

use super::{
    items::{needed, string},
    members::expect,
    request::OWN_DIALECT,
};
use crate::{
    canonical::{Format, Json, Tool, ToolChoice, ToolKind},
    json::{Kind, Raw},
    request::{Facts, Invalid, Limits},
};

/// Reads `tools`. Whatever is not a function is kept as it is.
pub(super) fn read<'a>(tools: Raw<'a>, limits: &Limits, facts: &mut Facts) -> Result<Vec<Tool<'a>>, Invalid> {
    expect(tools, Kind::Array, "tools")?;
    let elements = tools.elements();
    if elements.len() > limits.tools_max {
        let most = limits.tools_max;
        return Err(Invalid::at("tools", format!("`tools` may have at most {most} entries")));
    }
    facts.has_tools = !elements.is_empty();
    let mut read = Vec::with_capacity(elements.len());
    for (index, tool) in elements.into_iter().enumerate() {
        let path = format!("tools[{index}]");
        expect(tool, Kind::Object, &path)?;
        read.push(Tool { kind: kind(tool, &path, facts)?, cache: None });
    }
    Ok(read)
}

fn kind<'a>(tool: Raw<'a>, path: &str, facts: &mut Facts) -> Result<ToolKind<'a>, Invalid> {
    let members = tool.members();
    let typed = needed(&members, "type", path)?;
    let native = |name| ToolKind::Native { dialect: OWN_DIALECT, name, json: Json::of(tool) };
    match typed.decode().as_ref() {
        "function" => {
            let parameters = super::items::member(&members, "parameters");
            if let Some(parameters) = parameters {
                expect(parameters, Kind::Object, &format!("{path}.parameters"))?;
            }
            let strict = super::items::member(&members, "strict");
            if let Some(strict) = strict {
                expect(strict, Kind::Bool, &format!("{path}.strict"))?;
            }
            Ok(ToolKind::Function {
                name: needed(&members, "name", path)?,
                description: string(&members, "description", path)?,
                parameters: parameters.map(Json::of),
                strict: strict.map(|strict| strict.get() == "true"),
            })
        }
        "custom" => Ok(native(needed(&members, "name", path)?)),
        _ => {
            facts.unpriced_tools = true;
            Ok(native(typed))
        }
    }
}

/// The choice, `None` for one that only Responses knows; and whether it demands a call.
pub(super) fn choice(choice: Raw<'_>) -> Result<(Option<ToolChoice<'_>>, bool), Invalid> {
    let word = match choice.kind() {
        Kind::String => choice.text().unwrap_or_default(),
        Kind::Object => return choice_object(choice),
        kind => return Err(Invalid::kind("tool_choice", "a string or an object".into(), kind)),
    };
    Ok(match word.as_ref() {
        "auto" => (Some(ToolChoice::Auto), false),
        "none" => (Some(ToolChoice::Never), false),
        "required" => (Some(ToolChoice::Required), true),
        _ => (None, false),
    })
}

fn choice_object(choice: Raw<'_>) -> Result<(Option<ToolChoice<'_>>, bool), Invalid> {
    let members = choice.members();
    let typed = needed(&members, "type", "tool_choice")?;
    match typed.decode().as_ref() {
        "function" | "custom" => {
            Ok((Some(ToolChoice::Named(needed(&members, "name", "tool_choice")?)), true))
        }
        "allowed_tools" => {
            let required =
                string(&members, "mode", "tool_choice")?.is_some_and(|mode| mode.decode() == "required");
            let tools = super::items::member(&members, "tools").unwrap_or(choice);
            expect(tools, Kind::Array, "tool_choice.tools")?;
            let mut names = Vec::new();
            for (index, tool) in tools.elements().into_iter().enumerate() {
                let path = format!("tool_choice.tools[{index}]");
                expect(tool, Kind::Object, &path)?;
                match string(&tool.members(), "name", &path)? {
                    Some(name) => names.push(name),
                    // A hosted tool has no name of its own.
                    None => return Ok((None, required)),
                }
            }
            Ok((Some(ToolChoice::Allowed { names, required }), required))
        }
        _ => Ok((None, true)),
    }
}

/// The form of the answer; `None` for one that only Responses knows.
pub(super) fn format(format: Raw<'_>) -> Result<Option<Format<'_>>, Invalid> {
    const PATH: &str = "text.format";
    expect(format, Kind::Object, PATH)?;
    let members = format.members();
    let typed = needed(&members, "type", PATH)?;
    Ok(match typed.decode().as_ref() {
        "text" => Some(Format::Text),
        "json_object" => Some(Format::JsonObject),
        "json_schema" => {
            let schema = super::items::member(&members, "schema");
            let schema = schema
                .ok_or_else(|| Invalid::at("text.format.schema", "`text.format.schema` is missing".into()))?;
            expect(schema, Kind::Object, "text.format.schema")?;
            let strict = super::items::member(&members, "strict");
            if let Some(strict) = strict {
                expect(strict, Kind::Bool, "text.format.strict")?;
            }
            Some(Format::JsonSchema {
                name: string(&members, "name", PATH)?,
                description: string(&members, "description", PATH)?,
                schema: Json::of(schema),
                strict: strict.map(|strict| strict.get() == "true"),
            })
        }
        _ => None,
    })
}
