//! Tools and the choice among them in this wire format.

use super::{
    Writing,
    conversation::put_cache,
    format::{self, Shape, object_schema},
    list, quoted, schema,
};
use crate::{
    Dialect,
    canonical::{Allowed, Json, Request, Tool, ToolChoice, ToolKind},
    json::{Escaped, ObjectWriter, Raw},
    target::Unsupported,
};

pub(super) struct Tools {
    tools: Vec<Vec<u8>>,
    choice: Option<Vec<u8>>,
    /// A call is required.
    pub forced: bool,
}

const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

pub(super) fn write(
    request: &Request<'_>,
    shape: &Shape<'_>,
    writing: &mut Writing<'_>,
) -> Result<Tools, Unsupported> {
    let choice = request.tool_choice.as_ref();
    if let Shape::Tool { description, schema } = shape {
        if !request.tools.is_empty() && choice != Some(&ToolChoice::Never) {
            return Err(Unsupported::because(
                "response_format",
                ": the model has no schema mode beside tools",
            ));
        }
        let mut tool = ObjectWriter::new();
        tool.text("name", format::TOOL);
        match description {
            Some(description) => description.push_quoted(tool.key("description")),
            None => tool.text("description", format::TOOL_DESCRIPTION),
        }
        tool.raw("input_schema", schema.get());
        let choice = named(&Escaped::from_inner(format::TOOL), false);
        return Ok(Tools { tools: vec![tool.end()], choice: Some(choice), forced: true });
    }
    let forced = matches!(
        choice,
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. })
    );
    if forced && writing.abilities.no_forced_tool {
        return Err(Unsupported::because("tool_choice", ": the model cannot be made to call a tool"));
    }
    let limit = request.settings.iter().find(|setting| setting.name == "max_tool_calls");
    let searches_max = limit.and_then(|limit| limit.value.raw().count());
    let mut tools = Vec::with_capacity(request.tools.len());
    let allowed = Allowed::of(choice);
    let is_allowed = |tool: &&Tool<'_>| match &tool.kind {
        ToolKind::Function { name, .. } | ToolKind::Native { name, .. } => allowed.has(name),
        ToolKind::WebSearch(search) => allowed.has(&search.name),
    };
    for tool in request.tools.iter().filter(is_allowed) {
        tools.push(one(tool, searches_max, writing)?);
    }
    if tools.is_empty() {
        if forced {
            return Err(Unsupported::because("tool_choice", ": the request declares no such tool"));
        }
        return Ok(Tools { tools, choice: None, forced });
    }
    let choice = choice_of(choice, request.parallel_tools == Some(false));
    Ok(Tools { tools, choice, forced })
}

fn one(
    tool: &Tool<'_>,
    searches_max: Option<u64>,
    writing: &mut Writing<'_>,
) -> Result<Vec<u8>, Unsupported> {
    let (name, description, parameters, strict) = match &tool.kind {
        ToolKind::Function { name, description, parameters, strict } => {
            (name, description, parameters, *strict)
        }
        ToolKind::Native { dialect: Dialect::Messages, json, .. } => return Ok(json.get().into()),
        ToolKind::WebSearch(search) if search.dialect == Dialect::Messages => {
            return Ok(search.json.get().into());
        }
        ToolKind::WebSearch(search) if search.blocks_sites() => {
            return Err(Unsupported::because(
                "tools",
                ": this provider cannot keep such a search from sites",
            ));
        }
        ToolKind::WebSearch(search) => {
            search.lost(true).into_iter().for_each(|name| writing.drop_named(name));
            return Ok(search.for_messages(searches_max));
        }
        ToolKind::Native { .. } => return Err(Unsupported::tool(&tool.kind)),
    };
    let mut out = ObjectWriter::new();
    name.push_quoted(out.key("name"));
    if let Some(description) = description {
        description.push_quoted(out.key("description"));
    }
    let nothing = Json::trusted(NO_PARAMETERS.into());
    let schema = object_schema(parameters.as_ref().unwrap_or(&nothing))
        .ok_or(Unsupported::because("tools", ": a tool's parameters must be an object"))?;
    match strict_schema(schema.raw(), strict, writing) {
        Some(closed) => {
            out.raw("input_schema", closed.get());
            out.raw("strict", "true");
        }
        None => out.raw("input_schema", schema.get()),
    }
    put_cache(tool.cache, writing, &mut out);
    Ok(out.end())
}

/// The schema of a strict tool. `None`: the tool is not or cannot be strict, and keeps its own schema.
fn strict_schema(schema: Raw<'_>, strict: Option<bool>, writing: &mut Writing<'_>) -> Option<Json<'static>> {
    strict.filter(|strict| *strict)?;
    let closed = schema::closed(schema).filter(|closed| writing.abilities.json_schema && !closed.narrowed);
    match &closed {
        Some(closed) => writing.drop_of_schema("tools[].function.parameters", closed),
        None => writing.drop_named("strict"),
    }
    closed.map(|closed| closed.schema)
}

fn choice_of(choice: Option<&ToolChoice<'_>>, single: bool) -> Option<Vec<u8>> {
    let kind = match choice {
        None if !single => return None,
        None | Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) => "auto",
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => "any",
        Some(ToolChoice::Never) => return Some(br#"{"type":"none"}"#.into()),
        Some(ToolChoice::Named(name)) => return Some(named(name, single)),
    };
    let mut out = ObjectWriter::new();
    out.text("type", kind);
    put_single(single, &mut out);
    Some(out.end())
}

fn named(name: &Escaped<'_>, single: bool) -> Vec<u8> {
    let mut out = ObjectWriter::new();
    out.text("type", "tool");
    out.key("name").extend(quoted(name));
    put_single(single, &mut out);
    out.end()
}

fn put_single(single: bool, out: &mut ObjectWriter) {
    if single {
        out.raw("disable_parallel_tool_use", "true");
    }
}

impl Tools {
    pub fn put(&self, out: &mut ObjectWriter) {
        if !self.tools.is_empty() {
            list(&self.tools, out.key("tools"));
        }
        if let Some(choice) = &self.choice {
            out.key("tool_choice").extend(choice);
        }
    }
}
