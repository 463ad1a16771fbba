//! Parses a Messages request in one pass over its bytes. Checks the kind of every documented field, measures what the
//! model will read, sets the gateway's own fields aside, and creates the canonical request. The members keep their
//! bytes for [`MessagesRequest::encode`].

use super::{
    fields::{self, Rule},
    object::{Object, missing},
    turns::{self, Seen},
};
use crate::{
    Dialect,
    canonical::{self, Effort, Format, Json, Setting, Tool, ToolChoice, ToolKind, Turn, WebSearch, What},
    json::{Cursor, Escaped, Kind, Member, Raw, Text},
    openai_chat::{GATEWAY_FIELDS, OWN_SUPPORTED, expect, is_absent_or_default, models},
    request::{Facts, Head, Invalid, Limits},
    shared_account,
};
use std::borrow::Cow;

/// What a provider adds to the prompt if there are tools, in bytes: a token of it has at least one byte.
const TOOLS_OVERHEAD_BYTES: usize = 1024;

/// A parsed request.
pub struct MessagesRequest<'a> {
    pub head: Head<'a>,
    /// In the client's order, without nulls, empty lists and the gateway's own fields.
    pub(super) members: Vec<Member<'a>>,
    pub(super) canonical: canonical::Request<'a>,
    /// Some block contains a signature or a citation that this gateway wrote.
    pub(super) marked: bool,
    /// System text stands between the messages.
    pub(super) system_turns: bool,
    /// Of the body, for sizing what is written.
    pub(super) size_bytes: usize,
}

/// Parses a request. An error means that it must not be sent to any provider.
pub fn read<'a>(body: &'a [u8], limits: &Limits) -> Result<MessagesRequest<'a>, Invalid> {
    let request = read_for_count(body, limits)?;
    if request.head.output_limit.is_none() {
        return Err(missing("max_tokens"));
    }
    Ok(request)
}

/// Parses a request for token counting: the same, without a limit on the answer.
pub fn read_for_count<'a>(body: &'a [u8], limits: &Limits) -> Result<MessagesRequest<'a>, Invalid> {
    let mut cursor = Cursor::new(body, limits.depth_max)?;
    if cursor.kind()? != Kind::Object {
        return Err(Invalid { param: None, message: crate::request::NO_OBJECT.into() });
    }
    let mut reading = Reading::default();
    cursor.object(|cursor, key| reading.member(cursor, key, limits))?;
    cursor.end()?;
    reading.finish(limits, body.len())
}

impl<'a> MessagesRequest<'a> {
    /// In the client's order.
    pub(crate) fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    pub fn canonical(&self) -> &canonical::Request<'a> {
        &self.canonical
    }
}

#[derive(Default)]
struct Reading<'a> {
    head: Head<'a>,
    members: Vec<Member<'a>>,
    canonical: canonical::Request<'a>,
    system: Option<Turn<'a>>,
    seen: Seen,
    /// Names of members that were left out.
    idle: Vec<Cow<'a, str>>,
    /// The names in `models`, which come after `model` wherever they are in the body.
    later: Vec<Cow<'a, str>>,
}

impl<'a> Reading<'a> {
    fn member(&mut self, cursor: &mut Cursor<'a>, key: Text<'a>, limits: &Limits) -> Result<(), Invalid> {
        let name = key.decode();
        self.check_new(&name, limits)?;
        let rule = fields::rule(&name);
        let own = rule.is_none() && GATEWAY_FIELDS.contains(&name.as_ref());
        let mark = cursor.mark();
        if cursor.kind()? == Kind::Null && (own || rule.is_some()) {
            cursor.value()?;
            self.idle.push(name);
            return Ok(());
        }
        match rule {
            Some(Rule::Model) => models(cursor, &name, limits, &mut self.head.models)?,
            Some(Rule::Messages) => self.canonical.turns = turns::read(cursor, limits, &mut self.seen)?,
            Some(Rule::System) => self.system = Some(turns::system(cursor, &mut self.seen)?),
            Some(Rule::Tools) => tools(cursor, limits, &mut self.canonical.tools, &mut self.seen)?,
            Some(rule) => fields::check(cursor, &name, rule)?,
            None if name == "models" => models(cursor, &name, limits, &mut self.later)?,
            None => {
                cursor.value()?;
            }
        }
        let value = cursor.taken(mark);
        let is_list = matches!(rule, Some(Rule::Tools | Rule::Texts));
        if (own && is_absent_or_default(&name, value)) || (is_list && value.is_empty()) {
            self.idle.push(name);
            return Ok(());
        }
        if own && !OWN_SUPPORTED.contains(&name.as_ref()) {
            return Err(Invalid::at(&name, format!("`{name}` is not supported; leave it out")));
        }
        if !own && fields::is_read_by_model(rule, &name) {
            self.seen.facts.add_bytes(value.len());
        }
        let member = Member { key: name, raw_key: key.quoted(), value };
        if own {
            self.head.own.push(member);
            return Ok(());
        }
        if rule.is_none() {
            self.head.note_account_field(|| shared_account::undocumented(&member, shared_account::MESSAGES));
        }
        self.note(&member)?;
        self.members.push(member);
        Ok(())
    }

    fn check_new(&self, name: &str, limits: &Limits) -> Result<(), Invalid> {
        let members = || self.members.iter().chain(&self.head.own).map(|member| member.key.as_ref());
        if members().chain(self.idle.iter().map(AsRef::as_ref)).any(|seen| seen == name) {
            return Err(Invalid::at(name, format!("`{name}` occurs twice")));
        }
        if members().count().saturating_add(self.idle.len()) >= limits.members_max {
            let message = format!("the body may have at most {} members", limits.members_max);
            return Err(Invalid { param: None, message });
        }
        Ok(())
    }

    /// The meaning of a member, in the head and in the canonical form.
    fn note(&mut self, member: &Member<'a>) -> Result<(), Invalid> {
        let value = member.value;
        match member.key.as_ref() {
            "model" | "messages" | "system" | "tools" => {}
            "stream" => self.head.stream = value.get() == "true",
            "max_tokens" => self.head.output_limit = value.count(),
            "stop_sequences" => {
                self.canonical.stop = value.elements().into_iter().filter_map(Escaped::of).collect();
            }
            "temperature" => self.set(What::Temperature, "temperature", Json::of(value)),
            "top_p" => self.set(What::TopP, "top_p", Json::of(value)),
            "top_k" => self.set(What::TopK, "top_k", Json::of(value)),
            "service_tier" => {
                self.head.service_tier = value.text();
                // The name in the other dialects.
                let only = self.head.service_tier.as_deref() == Some("standard_only");
                let tier = if only { Json::trusted("\"default\"".into()) } else { Json::of(value) };
                self.set(What::ServiceTier, "service_tier", tier);
            }
            "metadata" => self.metadata(value)?,
            "tool_choice" => self.tool_choice(&bounded("tool_choice", value)?)?,
            "thinking" => self.thinking(&bounded("thinking", value)?)?,
            "output_config" => self.output_config(&bounded("output_config", value)?)?,
            "output_format" => self.format(&bounded("output_format", value)?, "output_format")?,
            "context_management" => {
                self.seen.facts.note_context_management(value);
                self.set(What::Native, "context_management", Json::of(value));
            }
            _ => self.set(What::Native, member.key.clone(), Json::of(value)),
        }
        Ok(())
    }

    fn set(&mut self, what: What, name: impl Into<Cow<'a, str>>, value: Json<'a>) {
        self.canonical.settings.push(Setting { what, name: name.into(), value });
    }

    fn metadata(&mut self, value: Raw<'a>) -> Result<(), Invalid> {
        let metadata = bounded("metadata", value)?;
        let path = |field: &str| format!("metadata{field}");
        if let Some(user) = metadata.checked("user_id", Kind::String, &path)? {
            self.set(What::User, "metadata.user_id", Json::of(user));
        }
        for member in metadata.members.iter().filter(|member| member.key != "user_id") {
            self.set(What::Native, format!("metadata.{}", member.key), Json::of(member.value));
        }
        Ok(())
    }

    fn tool_choice(&mut self, choice: &Object<'a>) -> Result<(), Invalid> {
        let path = |field: &str| format!("tool_choice{field}");
        let typed = choice.needed_text("type", &path)?;
        let said = match typed.decode().as_ref() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::Never,
            "any" => ToolChoice::Required,
            "tool" => ToolChoice::Named(choice.needed_text("name", &path)?),
            _ => {
                let message = "`tool_choice.type` must be auto, any, tool or none".into();
                return Err(Invalid::at("tool_choice.type", message));
            }
        };
        self.seen.facts.forced_tool = matches!(said, ToolChoice::Required | ToolChoice::Named(_));
        self.canonical.tool_choice = Some(said);
        let single = choice.checked("disable_parallel_tool_use", Kind::Bool, &path)?;
        self.canonical.parallel_tools = single.map(|single| single.get() != "true");
        Ok(())
    }

    fn thinking(&mut self, thinking: &Object<'a>) -> Result<(), Invalid> {
        let path = |field: &str| format!("thinking{field}");
        let typed = thinking.needed_text("type", &path)?;
        let budget = thinking.checked("budget_tokens", Kind::Number, &path)?.and_then(Raw::count);
        let said = &mut self.canonical.thinking;
        match typed.decode().as_ref() {
            "disabled" => said.effort = Some(Effort::None),
            "enabled" => {
                said.budget_tokens = budget;
                said.effort = said.effort.or(Some(budget.map_or(Effort::High, Effort::of_budget)));
            }
            "adaptive" => said.effort = said.effort.or(Some(Effort::High)),
            // Only between calls: for other providers this is no reasoning, unless an effort is stated.
            _ => said.effort = said.effort.or(Some(Effort::None)),
        }
        said.visible = match thinking.word("display").as_ref() {
            "summarized" => Some(true),
            "omitted" => Some(false),
            _ => None,
        };
        Ok(())
    }

    fn output_config(&mut self, config: &Object<'a>) -> Result<(), Invalid> {
        let path = |field: &str| format!("output_config{field}");
        for member in &config.members {
            match member.key.as_ref() {
                _ if member.value.is_null() => {}
                "effort" => {
                    let word = config.checked("effort", Kind::String, &path)?.and_then(Raw::text);
                    match word.and_then(|word| Effort::by_name(&word)) {
                        Some(effort) => self.effort(effort),
                        None => self.set(What::Native, "output_config.effort", Json::of(member.value)),
                    }
                }
                "format" => {
                    config.checked("format", Kind::Object, &path)?;
                    self.format(&bounded("output_config.format", member.value)?, "output_config.format")?;
                }
                other => self.set(What::Native, format!("output_config.{other}"), Json::of(member.value)),
            }
        }
        Ok(())
    }

    /// A stated effort has priority over `thinking`, unless that turns reasoning off.
    fn effort(&mut self, effort: Effort) {
        let disabled = self
            .members
            .iter()
            .any(|member| member.key == "thinking" && Object::of(member.value).word("type") == "disabled");
        if !disabled {
            self.canonical.thinking.effort = Some(effort);
        }
    }

    fn format(&mut self, format: &Object<'a>, name: &'static str) -> Result<(), Invalid> {
        let path = |field: &str| format!("{name}{field}");
        if format.needed_text("type", &path)?.decode() != "json_schema" {
            self.set(What::Native, name, Json::of(format.raw));
            return Ok(());
        }
        let schema =
            format.checked("schema", Kind::Object, &path)?.ok_or_else(|| missing(&path(".schema")))?;
        self.seen.facts.json_schema = true;
        self.canonical.format =
            Format::JsonSchema { name: None, description: None, schema: Json::of(schema), strict: None };
        Ok(())
    }

    fn finish(mut self, limits: &Limits, size_bytes: usize) -> Result<MessagesRequest<'a>, Invalid> {
        self.head.models.extend(std::mem::take(&mut self.later));
        if self.head.models.is_empty() {
            return Err(Invalid::at("model", crate::request::MODEL_MISSING.into()));
        }
        if self.head.models.len() > limits.models_max {
            let most = limits.models_max;
            return Err(Invalid::at("model", format!("`model` may name at most {most} models")));
        }
        if self.canonical.turns.is_empty() {
            return Err(Invalid::at("messages", crate::request::MESSAGES_MISSING.into()));
        }
        if self.canonical.tools.is_empty() && !self.seen.facts.forced_tool {
            // Without tools it is refused and has no effect.
            self.members.retain(|member| member.key != "tool_choice");
            self.canonical.tool_choice = None;
            self.canonical.parallel_tools = None;
        }
        if let Some(system) = self.system.take().filter(|system| !system.parts.is_empty()) {
            self.canonical.turns.insert(0, system);
        }
        for name in std::mem::take(&mut self.seen.lost) {
            self.set(What::Native, name, Json::trusted("null".into()));
        }
        let Seen { facts, marked, mut fees, system_turns, .. } = self.seen;
        let said = |name: &str| self.members.iter().find(|member| member.key == name);
        // A container is stored by its account; faster and local answers have separate prices.
        let references_stored_objects =
            self.canonical.references_stored_objects() || said("container").is_some();
        let dearer = |name, usual: &[&str]| {
            said(name).and_then(|member| member.value.text()).is_some_and(|word| !usual.contains(&&*word))
        };
        for (name, usual) in [("speed", &["standard"][..]), ("inference_geo", &["global", "default"])] {
            if dearer(name, usual) {
                fees.add(name, name);
            }
        }
        self.head.facts = Facts {
            has_tools: !self.canonical.tools.is_empty(),
            references_stored_objects,
            unpriced_tools: facts.unpriced_tools || !fees.is_empty(),
            ..facts
        };
        self.head.fees = fees;
        self.canonical.stream = self.head.stream;
        self.canonical.output_limit = self.head.output_limit;
        self.canonical.n = 1;
        let Self { head, members, canonical, .. } = self;
        Ok(MessagesRequest { head, members, canonical, marked, system_turns, size_bytes })
    }
}

/// An object of the request, by its name.
fn bounded<'a>(name: &str, value: Raw<'a>) -> Result<Object<'a>, Invalid> {
    Object::bounded(value, &|field| format!("{name}{field}"))
}

fn tools<'a>(
    cursor: &mut Cursor<'a>,
    limits: &Limits,
    tools: &mut Vec<Tool<'a>>,
    seen: &mut Seen,
) -> Result<(), Invalid> {
    expect(cursor, Kind::Array, || "tools".into())?;
    cursor.array(|cursor, index| {
        if index >= limits.tools_max {
            let most = limits.tools_max;
            return Err(Invalid::at("tools", format!("`tools` may have at most {most} entries")));
        }
        if index == 0 {
            seen.facts.add_bytes(TOOLS_OVERHEAD_BYTES);
        }
        let path = |field: &str| format!("tools[{index}]{field}");
        tools.push(tool(&Object::read(cursor, &path)?, &path, seen)?);
        Ok(())
    })
}

fn tool<'a>(tool: &Object<'a>, path: &dyn Fn(&str) -> String, seen: &mut Seen) -> Result<Tool<'a>, Invalid> {
    let typed = tool.checked_text("type", path)?;
    let name = tool.needed_text("name", path);
    let cache = tool.cache(path)?;
    if let Some(typed) = typed.filter(|typed| typed.decode() != "custom") {
        seen.fees.add_messages_tool(&typed.decode(), path("").as_str());
        let name = name.unwrap_or_default();
        let json = Json::of(tool.raw);
        if WebSearch::is(&typed.decode()) {
            let search = WebSearch { dialect: Dialect::Messages, name, json };
            seen.facts.note_search(search.uses_max());
            return Ok(Tool { kind: ToolKind::WebSearch(search), cache });
        }
        return Ok(Tool { kind: ToolKind::Native { dialect: Dialect::Messages, name, json }, cache });
    }
    for member in &tool.members {
        let known = ["type", "name", "description", "input_schema", "strict", "cache_control"];
        if !known.contains(&member.key.as_ref()) && !member.value.is_idle() {
            seen.lose(&format!("tools[].{}", member.key));
        }
    }
    let kind = ToolKind::Function {
        name: name?,
        description: tool.checked_text("description", path)?,
        parameters: tool.checked("input_schema", Kind::Object, path)?.map(Json::of),
        strict: tool.checked("strict", Kind::Bool, path)?.map(|strict| strict.get() == "true"),
    };
    Ok(Tool { kind, cache })
}
