//! Parses a chat request in one pass over its bytes. Checks the kind of every documented field, measures what the model
//! will read, and sets the gateway's own fields aside. Nothing is converted or copied: the members keep their bytes for
//! [`ChatRequest::encode`].

use std::borrow::Cow;

use super::{
    fields::{self, GATEWAY_FIELDS, OWN_SUPPORTED, Rule},
    messages::{self, Traces, expect},
};
use crate::{
    json::{Cursor, Kind, Member, Raw, Text},
    request::{Head, Invalid, Limits},
    shared_account,
};

/// A request that may be sent on. Contains no null and no empty value of a documented field, and none of the gateway's
/// own fields except in [`Head::own`].
pub struct ChatRequest<'a> {
    /// In the client's order; sent to a provider before its differences are applied.
    pub members: Vec<Member<'a>>,
    pub head: Head<'a>,
    pub reasoning_effort: Option<Cow<'a, str>>,
    pub(super) traces: Traces,
    /// A function tool has its members beside the type, as in Responses.
    pub(super) flat_tools: bool,
    /// Of the body, for sizing what is written.
    pub(super) size_bytes: usize,
}

/// Maximum tools that a choice may allow.
const ALLOWED_MAX: usize = 512;

/// Parses a chat request. An error means that it must not be sent to any provider.
pub fn read<'a>(body: &'a [u8], limits: &Limits) -> Result<ChatRequest<'a>, Invalid> {
    let mut cursor = Cursor::new(body, limits.depth_max)?;
    if cursor.kind()? != Kind::Object {
        return Err(Invalid { param: None, message: crate::request::NO_OBJECT.into() });
    }
    let mut reading =
        Reading { request: ChatRequest::empty(body.len()), idle: Vec::new(), later: Vec::new() };
    cursor.object(|cursor, key| reading.member(cursor, key, limits))?;
    cursor.end()?;
    reading.finish(limits)
}

impl<'a> ChatRequest<'a> {
    /// The member for a provider under this name.
    pub fn member(&self, key: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.key == key)
    }

    fn empty(size_bytes: usize) -> Self {
        Self {
            members: Vec::with_capacity(16),
            head: Head::default(),
            reasoning_effort: None,
            traces: Traces::default(),
            flat_tools: false,
            size_bytes,
        }
    }
}

struct Reading<'a> {
    request: ChatRequest<'a>,
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
            Some(rule) => self.documented(cursor, &name, rule, limits)?,
            None if name == "models" => models(cursor, &name, limits, &mut self.later)?,
            None => {
                cursor.value()?;
            }
        }
        let value = cursor.taken(mark);
        let is_list = matches!(rule, Some(Rule::Tools | Rule::Functions | Rule::Stop));
        if (own && is_absent_or_default(&name, value)) || (is_list && value.is_empty()) {
            self.idle.push(name);
            return Ok(());
        }
        if own && !OWN_SUPPORTED.contains(&name.as_ref()) {
            return Err(Invalid::at(&name, format!("`{name}` is not supported; leave it out")));
        }
        if !own && fields::is_read_by_model(rule, &name) {
            self.request.head.facts.add_bytes(value.len());
        }
        let member = Member { key: name, raw_key: key.quoted(), value };
        if own {
            self.request.head.own.push(member);
            return Ok(());
        }
        self.request.head.note_account_field(|| match rule {
            None => shared_account::undocumented(&member, shared_account::CHAT),
            Some(_) => shared_account::stores(&member),
        });
        self.note(member);
        Ok(())
    }

    fn check_new(&self, name: &str, limits: &Limits) -> Result<(), Invalid> {
        let members =
            || self.request.members.iter().chain(&self.request.head.own).map(|member| member.key.as_ref());
        if members().chain(self.idle.iter().map(AsRef::as_ref)).any(|seen| seen == name) {
            return Err(Invalid::at(name, format!("`{name}` occurs twice")));
        }
        if members().count().saturating_add(self.idle.len()) >= limits.members_max {
            let most = limits.members_max;
            return Err(Invalid {
                param: None,
                message: format!("the body may have at most {most} members"),
            });
        }
        Ok(())
    }

    /// Consumes the value of a documented field.
    fn documented(
        &mut self,
        cursor: &mut Cursor<'a>,
        name: &str,
        rule: Rule,
        limits: &Limits,
    ) -> Result<(), Invalid> {
        let request = &mut self.request;
        match rule {
            Rule::Model => models(cursor, name, limits, &mut request.head.models),
            Rule::Messages => {
                messages::read(cursor, limits, &mut request.head.facts, &mut request.traces)?;
                request.head.note_account_field(|| request.traces.account_field.map(str::to_owned));
                Ok(())
            }
            Rule::Tools => tools(cursor, name, limits, &mut request.head, &mut request.flat_tools),
            Rule::Functions => functions(cursor, name, limits, &mut request.head),
            Rule::ToolChoice => {
                request.head.facts.forced_tool |= tool_choice(cursor)?;
                Ok(())
            }
            Rule::ResponseFormat => {
                let typed = typed_object(cursor, name)?;
                request.head.facts.json_schema |= typed == "json_schema";
                Ok(())
            }
            Rule::StreamOptions => {
                request.head.include_usage = include_usage(cursor)?;
                Ok(())
            }
            _ => fields::check(cursor, name, rule, limits),
        }
    }

    /// Keeps a member, and its meaning.
    fn note(&mut self, member: Member<'a>) {
        let request = &mut self.request;
        let value = member.value;
        match member.key.as_ref() {
            "stream" => request.head.stream = value.get() == "true",
            "n" => request.head.n = value.count().unwrap_or(1),
            "max_tokens" | "max_completion_tokens" => {
                let limit = value.count();
                request.head.output_limit = request.head.output_limit.into_iter().chain(limit).min();
            }
            "service_tier" => request.head.service_tier = value.text(),
            "reasoning_effort" => request.reasoning_effort = value.text(),
            "logprobs" => request.head.facts.wants_logprobs |= value.get() == "true",
            "top_logprobs" => request.head.facts.wants_logprobs |= !value.is_idle(),
            "web_search_options" => {
                request.head.facts.unpriced_tools = true;
                request.head.fees.add("web_search_options", "web_search_options");
            }
            "modalities" => {
                let other = |raw: Raw<'_>| raw.text().is_some_and(|modality| modality != "text");
                request.head.facts.wants_audio_output |= value.elements().into_iter().any(other);
            }
            "audio" => request.head.facts.wants_audio_output = true,
            _ => {}
        }
        request.members.push(member);
    }

    fn finish(self, limits: &Limits) -> Result<ChatRequest<'a>, Invalid> {
        let deferred = self.request.member("deferred").is_some_and(|member| member.value.get() == "true");
        if deferred {
            let message = "`deferred` is not supported: an answer is given in the call that asks for it";
            return Err(Invalid::at("deferred", message.into()));
        }
        let Self { mut request, idle, later } = self;
        request.head.models.extend(later);
        if request.head.models.is_empty() {
            return Err(Invalid::at("model", crate::request::MODEL_MISSING.into()));
        }
        if request.head.models.len() > limits.models_max {
            let most = limits.models_max;
            return Err(Invalid::at("model", format!("`model` may name at most {most} models")));
        }
        if request.head.facts.messages == 0 {
            return Err(Invalid::at("messages", crate::request::MESSAGES_MISSING.into()));
        }
        if !request.head.facts.has_tools && idle.iter().any(|name| name == "tools") {
            // Without tools these are refused and have no effect.
            request.members.retain(|member| {
                let idle_choice = matches!(member.value.get(), "\"auto\"" | "\"none\"");
                !(member.key == "parallel_tool_calls" || member.key == "tool_choice" && idle_choice)
            });
        }
        Ok(request)
    }
}

/// Whether a field of the gateway requests nothing, or the default behaviour.
pub(crate) fn is_absent_or_default(name: &str, value: Raw<'_>) -> bool {
    // The API key may have another setting: `cache: false` requests something.
    (value.is_idle() && !(name == "cache" && matches!(value.kind(), Kind::Bool | Kind::Object)))
        || name == "data_collection" && value.get() == "\"allow\""
        // Without a server there are no turns and no tool calls.
        || name == "max_turns" && value.count().is_some()
        || name == "automatic_tool_execution" && value.kind() == Kind::Bool
        || name == "byok_api_key" && value.text().is_some_and(|key| key.trim().is_empty())
}

/// Consumes a model name or a list of them.
pub(crate) fn models<'a>(
    cursor: &mut Cursor<'a>,
    name: &str,
    limits: &Limits,
    models: &mut Vec<Cow<'a, str>>,
) -> Result<(), Invalid> {
    let one = |cursor: &mut Cursor<'a>, path: String, models: &mut Vec<Cow<'a, str>>| {
        expect(cursor, Kind::String, || path.clone())?;
        let model = cursor.text()?.decode();
        if model.trim().is_empty() {
            return Err(Invalid::at(&path, format!("`{path}` must not be empty")));
        }
        if models.len() >= limits.models_max {
            let most = limits.models_max;
            return Err(Invalid::at(&path, format!("`{name}` may name at most {most} models")));
        }
        models.push(model);
        Ok(())
    };
    match cursor.kind()? {
        Kind::String if name == "model" => one(cursor, name.to_owned(), models),
        Kind::Array => cursor.array(|cursor, index| one(cursor, format!("{name}[{index}]"), models)),
        kind => Err(Invalid::kind(name, "a string or a list of strings".into(), kind)),
    }?;
    if models.is_empty() && name == "model" {
        return Err(Invalid::at(name, format!("`{name}` must not be empty")));
    }
    Ok(())
}

fn tools(
    cursor: &mut Cursor<'_>,
    name: &str,
    limits: &Limits,
    head: &mut Head<'_>,
    flat: &mut bool,
) -> Result<(), Invalid> {
    expect(cursor, Kind::Array, || name.to_owned())?;
    cursor.array(|cursor, index| {
        count(name, index, limits)?;
        head.facts.has_tools = true;
        let path = || format!("{name}[{index}]");
        expect(cursor, Kind::Object, path)?;
        let (mut typed, mut nested, mut named) = (None, false, false);
        cursor.object(|cursor, key| match key.decode().as_ref() {
            "type" => {
                expect(cursor, Kind::String, || format!("{}.type", path()))?;
                typed = Some(cursor.text()?.decode());
                Ok(())
            }
            "function" => {
                nested = true;
                messages::function(cursor, &|| format!("{}.function", path()), "parameters", Kind::Object)
            }
            other => {
                named |= other == "name" && cursor.kind()? == Kind::String;
                cursor.value()?;
                Ok(())
            }
        })?;
        let missing = |field: &str| {
            let param = format!("{}.{field}", path());
            Invalid::at(&param, format!("`{param}` is missing"))
        };
        let typed = typed.ok_or_else(|| missing("type"))?;
        if typed == "function" && !nested {
            if !named {
                return Err(missing("function"));
            }
            *flat = true;
        }
        head.fees.add_chat_tool(&typed, &path());
        head.facts.unpriced_tools |= !head.fees.is_empty();
        Ok(())
    })
}

/// Consumes the older list, from before tools.
fn functions(
    cursor: &mut Cursor<'_>,
    name: &str,
    limits: &Limits,
    head: &mut Head<'_>,
) -> Result<(), Invalid> {
    expect(cursor, Kind::Array, || name.to_owned())?;
    cursor.array(|cursor, index| {
        count(name, index, limits)?;
        head.facts.has_tools = true;
        messages::function(cursor, &|| format!("{name}[{index}]"), "parameters", Kind::Object)
    })
}

fn count(name: &str, index: usize, limits: &Limits) -> Result<(), Invalid> {
    if index < limits.tools_max {
        return Ok(());
    }
    let most = limits.tools_max;
    Err(Invalid::at(name, format!("`{name}` may have at most {most} entries")))
}

/// Whether it requires a call.
fn tool_choice(cursor: &mut Cursor<'_>) -> Result<bool, Invalid> {
    let kind = cursor.kind()?;
    if !matches!(kind, Kind::String | Kind::Object) {
        return Err(Invalid::kind("tool_choice", "a string or an object".into(), kind));
    }
    let choice = cursor.value()?;
    let word = match choice.text() {
        Some(word) => word,
        None => {
            let typed = choice.member("type").and_then(Raw::text).unwrap_or_default();
            if typed != "allowed_tools" {
                return Ok(!matches!(typed.as_ref(), "auto" | "none"));
            }
            let allowed = choice.member("allowed_tools").unwrap_or(choice);
            if allowed.member("tools").is_some_and(|tools| tools.elements().len() > ALLOWED_MAX) {
                let message = format!("`tool_choice` may allow at most {ALLOWED_MAX} tools");
                return Err(Invalid::at("tool_choice", message));
            }
            let mode = allowed.member("mode");
            mode.and_then(Raw::text).unwrap_or_default()
        }
    };
    Ok(matches!(word.as_ref(), "required" | "any"))
}

/// Consumes an object that has a `type`, and returns that.
fn typed_object<'a>(cursor: &mut Cursor<'a>, name: &str) -> Result<Cow<'a, str>, Invalid> {
    expect(cursor, Kind::Object, || name.to_owned())?;
    let mut typed = None;
    cursor.object(|cursor, key| {
        if key.decode() == "type" {
            expect(cursor, Kind::String, || format!("{name}.type"))?;
            typed = Some(cursor.text()?.decode());
        } else {
            cursor.value()?;
        }
        Ok::<(), Invalid>(())
    })?;
    typed.ok_or_else(|| Invalid::at(&format!("{name}.type"), format!("`{name}.type` is missing")))
}

pub(crate) fn include_usage(cursor: &mut Cursor<'_>) -> Result<bool, Invalid> {
    expect(cursor, Kind::Object, || "stream_options".into())?;
    let mut asked = false;
    cursor.object(|cursor, key| {
        let key = key.decode();
        let kind = cursor.kind()?;
        let flag = matches!(key.as_ref(), "include_usage" | "include_obfuscation");
        if flag && !matches!(kind, Kind::Bool | Kind::Null) {
            return Err(Invalid::kind(&format!("stream_options.{key}"), "a boolean".into(), kind));
        }
        let on = cursor.value()?.get() == "true";
        if key == "include_usage" {
            asked = on;
        }
        Ok(())
    })?;
    Ok(asked)
}
