//! Reads the members of a Responses request about tools and the output format.

use super::{
    client_tools::ClientTool,
    items::{needed, string},
    members::expect,
    request::OWN_DIALECT,
};
use crate::{
    Fees,
    canonical::{Format, Json, Tool, ToolChoice, ToolKind, WebSearch},
    json::{Escaped, Kind, Member, Raw, with_member},
    request::{Facts, Invalid, Limits},
};
use std::{borrow::Cow, collections::HashSet};

/// Separates a namespace and a name in the canonical form: no name contains it, and targets get one name for both.
pub(crate) const NAMESPACE_END: char = '\u{1f}';
const NAMESPACE_END_INNER: &str = "\\u001f";
/// Maximum tools that a choice may allow.
const ALLOWED_MAX: usize = 512;

/// The tools that a request offers.
#[derive(Default)]
pub(super) struct Offered<'a> {
    pub tools: Vec<Tool<'a>>,
    pub fees: Fees,
    /// All tools, including those in namespaces.
    count: usize,
}

impl<'a> Offered<'a> {
    /// Reads the list at `path`. An entry that is neither a function nor a namespace of functions is kept unchanged.
    pub fn read(
        &mut self,
        tools: Raw<'a>,
        path: &str,
        limits: &Limits,
        facts: &mut Facts,
    ) -> Result<(), Invalid> {
        let elements = self.elements(tools, path, limits)?;
        facts.has_tools |= !elements.is_empty();
        for (index, tool) in elements.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            expect(tool, Kind::Object, &path)?;
            self.fees.add_responses_tool(tool, &path);
            let members = tool.members();
            match tool.member("tools").filter(|_| is_namespace(&members)) {
                Some(inner) => self.namespace(&members, inner, &path, limits)?,
                None => self.tools.push(Tool { kind: kind(tool, &members, None, &path)?, cache: None }),
            }
        }
        facts.unpriced_tools |= !self.fees.is_empty();
        Ok(())
    }

    /// Records the fees of tools that only Responses can offer.
    pub fn note_fees(&mut self, tools: Raw<'a>, path: &str, limits: &Limits) -> Result<(), Invalid> {
        for (index, tool) in self.elements(tools, path, limits)?.into_iter().enumerate() {
            self.fees.add_responses_tool(tool, &format!("{path}[{index}]"));
        }
        Ok(())
    }

    fn namespace(
        &mut self,
        members: &[Member<'a>],
        inner: Raw<'a>,
        path: &str,
        limits: &Limits,
    ) -> Result<(), Invalid> {
        let namespace = needed(members, "name", path)?;
        let path = format!("{path}.tools");
        for (index, tool) in self.elements(inner, &path, limits)?.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            expect(tool, Kind::Object, &path)?;
            let kind = kind(tool, &tool.members(), Some(&namespace), &path)?;
            self.tools.push(Tool { kind, cache: None });
        }
        Ok(())
    }

    fn elements(&mut self, tools: Raw<'a>, path: &str, limits: &Limits) -> Result<Vec<Raw<'a>>, Invalid> {
        expect(tools, Kind::Array, path)?;
        let elements = tools.elements();
        self.count = self.count.saturating_add(elements.len());
        if self.count > limits.tools_max {
            let most = limits.tools_max;
            return Err(Invalid::at(path, format!("a request may have at most {most} tools")));
        }
        Ok(elements)
    }
}

fn is_namespace(members: &[Member<'_>]) -> bool {
    super::items::member(members, "type").is_some_and(|typed| typed.get() == "\"namespace\"")
}

/// The name of a call, with its namespace.
pub(super) fn name<'a>(members: &[Member<'a>], path: &str) -> Result<Escaped<'a>, Invalid> {
    let name = needed(members, "name", path)?;
    match string(members, "namespace", path)?.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => Ok(joined(&namespace, &name)),
        None => Ok(name),
    }
}

pub(super) fn joined(namespace: &Escaped<'_>, name: &Escaped<'_>) -> Escaped<'static> {
    Escaped::from_inner(format!("{}{NAMESPACE_END_INNER}{}", namespace.inner(), name.inner()))
}

/// The namespace of a name of the canonical form, if it has one, and the name in it.
pub(super) fn split<'n>(name: &'n Escaped<'_>) -> (Option<&'n str>, &'n str) {
    match name.inner().split_once(NAMESPACE_END_INNER) {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, name.inner()),
    }
}

fn kind<'a>(
    tool: Raw<'a>,
    members: &[Member<'a>],
    namespace: Option<&Escaped<'a>>,
    path: &str,
) -> Result<ToolKind<'a>, Invalid> {
    let typed = needed(members, "type", path)?;
    let native = |name| ToolKind::Native { dialect: OWN_DIALECT, name, json: Json::of(tool) };
    match typed.decode().as_ref() {
        "function" => {
            let parameters = super::items::member(members, "parameters");
            if let Some(parameters) = parameters {
                expect(parameters, Kind::Object, &format!("{path}.parameters"))?;
            }
            let strict = super::items::member(members, "strict");
            if let Some(strict) = strict {
                expect(strict, Kind::Bool, &format!("{path}.strict"))?;
            }
            let name = needed(members, "name", path)?;
            Ok(ToolKind::Function {
                name: namespace.map_or_else(|| name.clone(), |namespace| joined(namespace, &name)),
                description: string(members, "description", path)?,
                parameters: parameters.map(Json::of),
                strict: strict.map(|strict| strict.get() == "true"),
            })
        }
        other => match ClientTool::of_tool(tool, other) {
            Some(kind) => kind.function(members, namespace, path),
            None if WebSearch::is(other) => {
                let name = Escaped::from_inner("web_search");
                Ok(ToolKind::WebSearch(WebSearch { dialect: OWN_DIALECT, name, json: Json::of(tool) }))
            }
            None => Ok(native(typed)),
        },
    }
}

/// The tools with the members of functions that clients of Responses require. A tool is strict only if the request
/// states it.
pub(super) fn complete(tools: Raw<'_>) -> Cow<'_, str> {
    let required = [("strict", "false"), ("parameters", "null")];
    let lacking = |tool: Raw<'_>| -> Vec<(&str, &str)> {
        let members = tool.members();
        let has = |key: &str| members.iter().any(|member| member.key == key);
        let is_function =
            super::items::member(&members, "type").is_some_and(|typed| typed.get() == "\"function\"");
        required.into_iter().filter(|(key, _)| is_function && !has(key)).collect()
    };
    let elements = tools.elements();
    if elements.iter().all(|tool| lacking(*tool).is_empty()) {
        return Cow::Borrowed(tools.get());
    }
    let completed = elements.into_iter().map(|tool| {
        let whole = lacking(tool).into_iter().fold(tool.get().as_bytes().to_vec(), |whole, (key, value)| {
            with_member(&whole, key, value).unwrap_or(whole)
        });
        String::from_utf8(whole).unwrap_or_default()
    });
    Cow::Owned(format!("[{}]", completed.collect::<Vec<_>>().join(",")))
}

/// The choice, `None` for one that only Responses has; and whether it requires a call.
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
        "function" => Ok((Some(ToolChoice::Named(name(&members, "tool_choice")?)), true)),
        "allowed_tools" => {
            let required =
                string(&members, "mode", "tool_choice")?.is_some_and(|mode| mode.decode() == "required");
            let tools = super::items::member(&members, "tools").unwrap_or(choice);
            expect(tools, Kind::Array, "tool_choice.tools")?;
            let elements = tools.elements();
            if elements.len() > ALLOWED_MAX {
                let message = format!("`tool_choice.tools` may have at most {ALLOWED_MAX} entries");
                return Err(Invalid::at("tool_choice.tools", message));
            }
            let mut names = Vec::with_capacity(elements.len());
            for (index, tool) in elements.into_iter().enumerate() {
                let path = format!("tool_choice.tools[{index}]");
                expect(tool, Kind::Object, &path)?;
                let members = tool.members();
                match chosen(&members, &path)? {
                    Some(name) => names.push(name),
                    // A hosted tool has no name.
                    None => return Ok((None, required)),
                }
            }
            Ok((Some(ToolChoice::Allowed { names, required }), required))
        }
        other => match ClientTool::of_choice(other) {
            Some(kind) => Ok((Some(ToolChoice::Named(kind.named(&members, "tool_choice")?)), true)),
            None => Ok((None, true)),
        },
    }
}

/// The tool of an entry of an allowed list, in the canonical form.
fn chosen<'a>(members: &[Member<'a>], path: &str) -> Result<Option<Escaped<'a>>, Invalid> {
    let typed = string(members, "type", path)?.map(|typed| typed.decode().into_owned());
    if let Some(kind) = typed.and_then(|typed| ClientTool::of_choice(&typed)) {
        return Ok(Some(kind.named(members, path)?));
    }
    match string(members, "name", path)? {
        Some(_) => Ok(Some(name(members, path)?)),
        None => Ok(None),
    }
}

/// Adds the tools in items; a tool that the request lists already keeps its place.
pub(super) fn add<'a>(tools: &mut Vec<Tool<'a>>, added: Vec<Tool<'a>>) {
    let key = |tool: &Tool<'_>| match &tool.kind {
        ToolKind::Function { name, .. } => Some(name.decode().into_owned()),
        ToolKind::WebSearch(_) | ToolKind::Native { .. } => None,
    };
    let mut known: HashSet<String> = tools.iter().filter_map(key).collect();
    for tool in added {
        if key(&tool).is_none_or(|name| known.insert(name)) {
            tools.push(tool);
        }
    }
}

/// The output format; `None` for one that only Responses has.
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
