//! Reading a chat request in one pass over its bytes. Checks the kind of every documented field, measures what
//! the model will read, sets aside what is the gateway's own. Nothing is converted or copied: the members keep
//! their bytes for [`ChatRequest::encode`].

use std::borrow::Cow;

use super::{
    fields::{self, OWN, OWN_SUPPORTED, Rule},
    messages::{self, Traces, expect},
};
use crate::dialect::json::{Cursor, DEPTH_LIMIT, JsonError, Kind, Member, Raw, Text};

/// How much of each a request may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nesting of arrays and objects.
    pub depth_max: u32,
    /// Top-level members.
    pub members_max: usize,
    pub messages_max: usize,
    pub tools_max: usize,
    /// Names in `model` and `models` together; also entries of other short lists.
    pub models_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth_max: DEPTH_LIMIT, members_max: 128, messages_max: 8192, tools_max: 512, models_max: 16 }
    }
}

/// A request that may be sent on. Holds no null and no empty value of a documented field, and none of the
/// gateway's own fields except in [`ChatRequest::own`].
pub struct ChatRequest<'a> {
    /// In the client's order; what a provider gets, before its differences are applied.
    pub members: Vec<Member<'a>>,
    /// The gateway's own fields that ask for something and are acted on.
    pub own: Vec<Member<'a>>,
    /// In the order to try them: `model`, then `models`. Never empty.
    pub models: Vec<Cow<'a, str>>,
    pub stream: bool,
    /// The client asked for a usage chunk.
    pub include_usage: bool,
    /// Answers asked for; 1 when it is not said.
    pub n: u64,
    /// Tokens; the smaller of `max_tokens` and `max_completion_tokens`.
    pub output_limit: Option<u64>,
    pub service_tier: Option<Cow<'a, str>>,
    pub reasoning_effort: Option<Cow<'a, str>>,
    pub facts: Facts,
    pub(super) traces: Traces,
    /// Of the body, for sizing what is written.
    pub(super) size_bytes: usize,
}

/// What routing and pricing need to know of the content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Bytes of all text the model will read, as written (escapes included) and with an allowance for each
    /// message: never below the prompt's text tokens, for a token of text stands for at least one byte.
    pub text_bytes: u64,
    /// Bytes of embedded images, audio and files, as written (base64). Not in `text_bytes`.
    pub media_bytes: u64,
    /// Of `media_bytes`: audio.
    pub audio_bytes: u64,
    pub images: u32,
    pub audio_parts: u32,
    /// Documents and videos.
    pub files: u32,
    pub messages: u32,
    pub has_tools: bool,
    /// `tool_choice` demands a call.
    pub forced_tool: bool,
    pub json_schema: bool,
    pub wants_logprobs: bool,
    /// `web_search_options`, or tools that are neither functions nor custom: they bear fees of their own.
    pub unpriced_tools: bool,
    /// Output other than text is asked for.
    pub wants_audio_output: bool,
}

impl Facts {
    pub(super) fn add_bytes(&mut self, bytes: usize) {
        self.text_bytes = self.text_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(super) fn add_text(&mut self, text: Text<'_>) {
        self.add_bytes(text.inner().len());
    }

    /// Grows with every piece of content.
    pub(super) fn content_size(&self) -> u64 {
        let parts = u64::from(self.images) + u64::from(self.audio_parts) + u64::from(self.files);
        self.text_bytes.saturating_add(self.media_bytes).saturating_add(parts)
    }
}

/// Why a request is refused before anything is sent; for an OpenAI-shaped error.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// The field at fault, such as `messages[2].content`.
    pub param: Option<String>,
    pub message: String,
}

impl Invalid {
    pub(super) fn at(param: &str, message: String) -> Self {
        Self { param: Some(param.to_owned()), message }
    }

    pub(super) fn kind(param: &str, expected: String, found: Kind) -> Self {
        Self::at(param, format!("`{param}` must be {expected}, not {}", found.name()))
    }
}

impl From<JsonError> for Invalid {
    fn from(error: JsonError) -> Self {
        Self { param: None, message: format!("the body is not acceptable JSON: {error}") }
    }
}

/// Reads a chat request. An error means that nothing may be sent anywhere.
pub fn read<'a>(body: &'a [u8], limits: &Limits) -> Result<ChatRequest<'a>, Invalid> {
    let mut cursor = Cursor::new(body, limits.depth_max)?;
    if cursor.kind()? != Kind::Object {
        return Err(Invalid { param: None, message: "the body must be a JSON object".into() });
    }
    let mut reading =
        Reading { request: ChatRequest::empty(body.len()), idle: Vec::new(), later: Vec::new() };
    cursor.object(|cursor, key| reading.member(cursor, key, limits))?;
    cursor.end()?;
    reading.finish(limits)
}

impl<'a> ChatRequest<'a> {
    /// The member a provider will get under this name.
    pub fn member(&self, key: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.key == key)
    }

    fn empty(size_bytes: usize) -> Self {
        Self {
            members: Vec::with_capacity(16),
            own: Vec::new(),
            models: Vec::with_capacity(1),
            stream: false,
            include_usage: false,
            n: 1,
            output_limit: None,
            service_tier: None,
            reasoning_effort: None,
            facts: Facts::default(),
            traces: Traces::default(),
            size_bytes,
        }
    }
}

struct Reading<'a> {
    request: ChatRequest<'a>,
    /// Names of members that were left out.
    idle: Vec<Cow<'a, str>>,
    /// The names in `models`, which come after `model` wherever they stand.
    later: Vec<Cow<'a, str>>,
}

impl<'a> Reading<'a> {
    fn member(&mut self, cursor: &mut Cursor<'a>, key: Text<'a>, limits: &Limits) -> Result<(), Invalid> {
        let name = key.decode();
        self.check_new(&name, limits)?;
        let rule = fields::rule(&name);
        let own = rule.is_none() && OWN.contains(&name.as_ref());
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
        if (own && asks_nothing(&name, value)) || (is_list && value.is_empty()) {
            self.idle.push(name);
            return Ok(());
        }
        if own && !OWN_SUPPORTED.contains(&name.as_ref()) {
            return Err(Invalid::at(&name, format!("`{name}` is not supported yet")));
        }
        if !own && fields::is_read_by_model(rule, &name) {
            self.request.facts.add_bytes(value.len());
        }
        let member = Member { key: name, raw_key: key.quoted(), value };
        if own {
            self.request.own.push(member)
        } else {
            self.note(member)
        }
        Ok(())
    }

    fn check_new(&self, name: &str, limits: &Limits) -> Result<(), Invalid> {
        let members =
            || self.request.members.iter().chain(&self.request.own).map(|member| member.key.as_ref());
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
            Rule::Model => models(cursor, name, limits, &mut request.models),
            Rule::Messages => messages::read(cursor, limits, &mut request.facts, &mut request.traces),
            Rule::Tools | Rule::Functions => tools(cursor, name, rule, limits, &mut request.facts),
            Rule::ToolChoice => {
                request.facts.forced_tool |= tool_choice(cursor)?;
                Ok(())
            }
            Rule::ResponseFormat => {
                let typed = typed_object(cursor, name)?;
                request.facts.json_schema |= typed == "json_schema";
                Ok(())
            }
            Rule::StreamOptions => {
                request.include_usage = include_usage(cursor)?;
                Ok(())
            }
            _ => fields::check(cursor, name, rule, limits),
        }
    }

    /// Keeps a member, and what it says.
    fn note(&mut self, member: Member<'a>) {
        let request = &mut self.request;
        let value = member.value;
        match member.key.as_ref() {
            "stream" => request.stream = value.get() == "true",
            "n" => request.n = value.count().unwrap_or(1),
            "max_tokens" | "max_completion_tokens" => {
                let limit = value.count();
                request.output_limit = request.output_limit.into_iter().chain(limit).min();
            }
            "service_tier" => request.service_tier = value.text(),
            "reasoning_effort" => request.reasoning_effort = value.text(),
            "logprobs" => request.facts.wants_logprobs |= value.get() == "true",
            "top_logprobs" => request.facts.wants_logprobs |= !value.is_idle(),
            "web_search_options" => request.facts.unpriced_tools = true,
            "modalities" => {
                let other = |raw: Raw<'_>| raw.text().is_some_and(|modality| modality != "text");
                request.facts.wants_audio_output |= value.elements().into_iter().any(other);
            }
            "audio" => request.facts.wants_audio_output = true,
            _ => {}
        }
        request.members.push(member);
    }

    fn finish(self, limits: &Limits) -> Result<ChatRequest<'a>, Invalid> {
        let Self { mut request, idle, later } = self;
        request.models.extend(later);
        if request.models.is_empty() {
            return Err(Invalid::at("model", "`model` is missing".into()));
        }
        if request.models.len() > limits.models_max {
            let most = limits.models_max;
            return Err(Invalid::at("model", format!("`model` may name at most {most} models")));
        }
        if request.facts.messages == 0 {
            return Err(Invalid::at("messages", "`messages` is missing".into()));
        }
        if !request.facts.has_tools && idle.iter().any(|name| name == "tools") {
            // Without tools these are refused, and they say nothing any more.
            request.members.retain(|member| {
                let idle_choice = matches!(member.value.get(), "\"auto\"" | "\"none\"");
                !(member.key == "parallel_tool_calls" || member.key == "tool_choice" && idle_choice)
            });
        }
        Ok(request)
    }
}

/// Whether a field of the gateway's own asks for nothing, or for what happens anyway.
fn asks_nothing(name: &str, value: Raw<'_>) -> bool {
    value.is_idle()
        || name == "data_collection" && value.get() == "\"allow\""
        || name == "byok_api_key" && value.text().is_some_and(|key| key.trim().is_empty())
}

/// Consumes a model name or a list of them.
fn models<'a>(
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
    rule: Rule,
    limits: &Limits,
    facts: &mut Facts,
) -> Result<(), Invalid> {
    expect(cursor, Kind::Array, || name.to_owned())?;
    cursor.array(|cursor, index| {
        if index >= limits.tools_max {
            let most = limits.tools_max;
            return Err(Invalid::at(name, format!("`{name}` may have at most {most} entries")));
        }
        facts.has_tools = true;
        let path = || format!("{name}[{index}]");
        if rule == Rule::Functions {
            return messages::function(cursor, &path, "parameters", Kind::Object);
        }
        expect(cursor, Kind::Object, path)?;
        let mut typed = false;
        cursor.object(|cursor, key| match key.decode().as_ref() {
            "type" => {
                expect(cursor, Kind::String, || format!("{}.type", path()))?;
                facts.unpriced_tools |= !matches!(cursor.text()?.decode().as_ref(), "function" | "custom");
                typed = true;
                Ok(())
            }
            "function" => {
                messages::function(cursor, &|| format!("{}.function", path()), "parameters", Kind::Object)
            }
            _ => {
                cursor.value()?;
                Ok(())
            }
        })?;
        if !typed {
            let param = format!("{}.type", path());
            return Err(Invalid::at(&param, format!("`{param}` is missing")));
        }
        Ok(())
    })
}

/// Whether it demands a call.
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
            let mode = choice.member("allowed_tools").unwrap_or(choice).member("mode");
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

fn include_usage(cursor: &mut Cursor<'_>) -> Result<bool, Invalid> {
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
