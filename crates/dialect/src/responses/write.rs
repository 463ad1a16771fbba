//! Writes a canonical request for a provider of Responses: OpenAI's models that have no other endpoint or need this one
//! for tools, and Perplexity, whose format is narrower. Nothing is stored at the provider unless the client requested
//! that explicitly.

use super::{
    abilities::{Abilities, is_perplexity_subset},
    input::InputWriter,
};
use crate::{
    Dialect, Encoded, Reading, Target, Unsupported,
    canonical::{
        Allowed, Effort, Format, Part, Request, Role, Setting, Thinking, Tool, ToolChoice, ToolKind, Turn,
        What,
    },
    json::{Escaped, ObjectWriter, push_text},
};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// OpenAI refuses a smaller limit.
const OUTPUT_LIMIT_MIN: u64 = 16;

/// The longest accepted end user id.
const USER_BYTES_MAX: usize = 64;

/// Writes a request.
pub fn write(request: &Request<'_>, target: &Target<'_>) -> Result<Encoded, Unsupported> {
    let mut writing = Writing {
        request,
        target,
        narrow: is_perplexity_subset(target.provider),
        abilities: Abilities::of(target, request.thinking.effort),
        out: ObjectWriter::with_capacity(1024),
        dropped: Vec::new(),
    };
    writing.refuse()?;
    writing.out.text("model", target.upstream_model);
    let turns = writing.instructions();
    writing.input(turns)?;
    writing.tools()?;
    writing.format()?;
    writing.thinking();
    writing.limits();
    writing.settings();
    writing.out.raw("store", if writing.stores() { "true" } else { "false" });
    if request.stream {
        writing.out.raw("stream", "true");
    }
    Ok(encoded(target, writing.out.end(), writing.dropped))
}

/// The request for `target`, and its path.
pub(super) fn encoded(target: &Target<'_>, body: Vec<u8>, dropped: Vec<Cow<'static, str>>) -> Encoded {
    let reading = Reading {
        seed: target.seed.to_owned(),
        reasoning_outside_output: target.provider.row().quirks.reasoning_outside_output,
        ..Reading::default()
    };
    let path = target.provider.path(Dialect::Responses).map(Cow::Borrowed);
    Encoded { path, body, dropped, asked_for_usage: false, reading }
}

struct Writing<'w, 'r, 't> {
    request: &'w Request<'r>,
    target: &'w Target<'t>,
    /// Perplexity's format.
    narrow: bool,
    abilities: Abilities,
    out: ObjectWriter,
    dropped: Vec<Cow<'static, str>>,
}

impl<'w, 'r> Writing<'w, 'r, '_> {
    /// Members that change the answer and cannot be expressed here.
    fn refuse(&self) -> Result<(), Unsupported> {
        let request = self.request;
        if request.n > 1 {
            return Err(Unsupported::field("n"));
        }
        if !request.stop.is_empty() {
            return Err(Unsupported::field("stop"));
        }
        if request.logprobs.is_some() && (self.narrow || self.abilities.reasons_now) {
            return Err(Unsupported::field("logprobs"));
        }
        Ok(())
    }

    /// The first turn as `instructions` if it is one system text; the remaining turns.
    fn instructions(&mut self) -> &'w [Turn<'r>] {
        let turns = self.request.turns.as_slice();
        if let Some((first, rest)) = turns.split_first()
            && let Turn { role: Role::System, name: None, parts } = first
            && let [Part::Text { text, cache: None }] = parts.as_slice()
            && !rest.is_empty()
        {
            text.push_quoted(self.out.key("instructions"));
            return rest;
        }
        turns
    }

    fn input(&mut self, turns: &[Turn<'_>]) -> Result<(), Unsupported> {
        let mut input = InputWriter::new(self.target, self.narrow, self.abilities.cache_marks);
        for turn in turns {
            input.turn(turn)?;
        }
        let (items, dropped) = input.end();
        self.out.key("input").extend(items);
        for name in dropped {
            self.drop(name);
        }
        Ok(())
    }

    fn tools(&mut self) -> Result<(), Unsupported> {
        let request = self.request;
        let choice = request.tool_choice.as_ref().unwrap_or(&ToolChoice::Auto);
        // Without a field for a choice, the list of tools expresses it as far as possible.
        let allowed = Allowed::of(Some(choice));
        let offered = |tool: &&Tool<'_>| match choice {
            ToolChoice::Never if self.narrow => false,
            ToolChoice::Allowed { .. } if self.narrow => {
                matches!(&tool.kind, ToolKind::Function { name, .. } if allowed.has(name))
            }
            _ => true,
        };
        let offered: Vec<&Tool<'_>> = request.tools.iter().filter(offered).collect();
        if offered.is_empty() {
            return Ok(());
        }
        let mut list = vec![b'['];
        let mut searches_max = None;
        for tool in &offered {
            if list.len() > 1 {
                list.push(b',');
            }
            push_tool(tool, &mut list)?;
            if let ToolKind::WebSearch(search) = &tool.kind
                && search.dialect != Dialect::Responses
            {
                search.lost(true).into_iter().for_each(|name| self.drop(name.into()));
                searches_max = search.uses_max().or(searches_max);
            }
        }
        list.push(b']');
        if offered.iter().any(|tool| tool.cache.is_some()) {
            self.drop("cache_control".into());
        }
        self.out.key("tools").extend(list);
        match searches_max {
            Some(most) if self.target.provider.row().bridges_to_responses => {
                self.out.raw("max_tool_calls", &most.to_string());
            }
            Some(_) => self.drop("tools[].max_uses".into()),
            None => {}
        }
        if self.narrow {
            return self.narrow_choice(choice);
        }
        if request.tool_choice.is_some() {
            push_choice(choice, self.out.key("tool_choice"));
        }
        if let Some(parallel) = request.parallel_tools {
            self.out.raw("parallel_tool_calls", if parallel { "true" } else { "false" });
        }
        Ok(())
    }

    fn narrow_choice(&mut self, choice: &ToolChoice<'_>) -> Result<(), Unsupported> {
        if self.request.parallel_tools == Some(false) {
            self.drop("parallel_tool_calls".into());
        }
        match choice {
            ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. } => {
                Err(Unsupported::because("tool_choice", ": this provider cannot be required to call a tool"))
            }
            ToolChoice::Auto | ToolChoice::Never | ToolChoice::Allowed { .. } => Ok(()),
        }
    }

    /// `text`, which also contains the verbosity; Perplexity has chat's `response_format` instead.
    fn format(&mut self) -> Result<(), Unsupported> {
        let format = format(&self.request.format, !self.narrow);
        if self.narrow {
            if self.request.format == Format::JsonObject {
                return Err(Unsupported::because("response_format", ": a schema is needed"));
            }
            if let Some(format) = format {
                self.out.key("response_format").extend(format);
            }
            return Ok(());
        }
        let verbosity = self.request.setting(What::Verbosity);
        if format.is_none() && verbosity.is_none() {
            return Ok(());
        }
        let mut text = ObjectWriter::new();
        if let Some(format) = format {
            text.key("format").extend(format);
        }
        if let Some(verbosity) = verbosity {
            text.raw("verbosity", verbosity.value.get());
        }
        self.out.key("text").extend(text.end());
        Ok(())
    }

    fn thinking(&mut self) {
        let Thinking { effort, budget_tokens, visible } = self.request.thinking;
        let asked = effort.or(budget_tokens.map(Effort::of_budget));
        let effort = asked.and_then(|effort| self.abilities.effort(effort));
        if asked.is_some() && effort.is_none() {
            self.drop("reasoning_effort".into());
        }
        let summary = visible == Some(true) && self.abilities.can_reason && !self.narrow;
        if effort.is_some() || summary {
            let mut reasoning = ObjectWriter::new();
            if let Some(effort) = effort {
                reasoning.text("effort", effort.as_str());
            }
            if summary {
                reasoning.text("summary", "auto");
            }
            self.out.key("reasoning").extend(reasoning.end());
        }
    }

    fn limits(&mut self) {
        let request = self.request;
        if let Some(limit) = request.output_limit {
            let limit = limit.max(OUTPUT_LIMIT_MIN);
            self.out.key("max_output_tokens").extend(limit.to_string().bytes());
        }
        if self.narrow {
            return;
        }
        let mut include: Vec<&str> = Vec::new();
        if self.abilities.can_reason {
            include.push("\"reasoning.encrypted_content\"");
        }
        if let Some(logprobs) = request.logprobs {
            include.push("\"message.output_text.logprobs\"");
            if logprobs.top > 0 {
                self.out.key("top_logprobs").extend(logprobs.top.to_string().bytes());
            }
        }
        if !include.is_empty() {
            self.out.raw("include", &format!("[{}]", include.join(",")));
        }
    }

    fn settings(&mut self) {
        let mut users = 0;
        for setting in &self.request.settings {
            let value = setting.value.get();
            let usual = value.parse() == Ok(1.0_f64);
            match setting.what {
                What::Temperature | What::TopP if self.abilities.samples || usual && !self.narrow => {
                    let name = if setting.what == What::TopP { "top_p" } else { "temperature" };
                    self.out.raw(name, value);
                }
                What::Verbosity if !self.narrow => {}
                What::Store => {}
                What::User if !self.narrow && users == 0 => {
                    users += 1;
                    self.user(setting);
                }
                What::User if !self.narrow && setting.name == "user" => self.out.raw("user", value),
                What::ServiceTier if !self.narrow => {
                    // Anthropic's name of the standard tier.
                    let plain = setting.value.raw().text().is_some_and(|tier| tier == "standard_only");
                    self.out.raw("service_tier", if plain { "\"default\"" } else { value });
                }
                What::Metadata if !self.narrow => self.out.raw("metadata", value),
                What::PromptCacheKey if !self.narrow => self.out.raw("prompt_cache_key", value),
                _ => self.dropped.push(setting.name.clone().into_owned().into()),
            }
        }
    }

    /// An end user id under the client's field name, or OpenAI's newer one.
    fn user(&mut self, setting: &Setting<'_>) {
        let name = if setting.name == "user" { "user" } else { "safety_identifier" };
        let raw = setting.value.raw();
        match raw.text().filter(|user| user.len() > USER_BYTES_MAX) {
            Some(user) => {
                let digest = Sha256::digest(user.as_bytes());
                let short: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                self.out.text(name, &short);
            }
            None => self.out.raw(name, raw.get()),
        }
    }

    fn stores(&self) -> bool {
        self.request.setting(What::Store).is_some_and(|setting| setting.value.get() == "true")
    }

    fn drop(&mut self, name: Cow<'static, str>) {
        if !self.dropped.contains(&name) {
            self.dropped.push(name);
        }
    }
}

fn push_tool(tool: &Tool<'_>, list: &mut Vec<u8>) -> Result<(), Unsupported> {
    match &tool.kind {
        ToolKind::Function { name, description, parameters, strict } => {
            let mut out = ObjectWriter::new();
            out.text("type", "function");
            name.push_quoted(out.key("name"));
            if let Some(description) = description {
                description.push_quoted(out.key("description"));
            }
            let nothing = r#"{"type":"object","properties":{}}"#;
            out.raw("parameters", parameters.as_ref().map_or(nothing, |schema| schema.get()));
            // If absent it would mean true here.
            out.raw("strict", if strict.unwrap_or(false) { "true" } else { "false" });
            list.extend(out.end());
        }
        ToolKind::WebSearch(search) if search.dialect == Dialect::Responses => {
            list.extend(search.json.get().as_bytes());
        }
        ToolKind::WebSearch(search) if search.blocks_sites() => {
            return Err(Unsupported::because("tools", ": this provider cannot keep a search from sites"));
        }
        ToolKind::WebSearch(search) => list.extend(search.for_responses()),
        ToolKind::Native { dialect: Dialect::Responses, json, .. } => list.extend(json.get().as_bytes()),
        ToolKind::Native { .. } => return Err(Unsupported::tool(&tool.kind)),
    }
    Ok(())
}

fn push_choice(choice: &ToolChoice<'_>, out: &mut Vec<u8>) {
    let function = |name: &Escaped<'_>| {
        let mut tool = ObjectWriter::new();
        tool.text("type", "function");
        name.push_quoted(tool.key("name"));
        tool.end()
    };
    match choice {
        ToolChoice::Auto => push_text(out, "auto"),
        ToolChoice::Never => push_text(out, "none"),
        ToolChoice::Required => push_text(out, "required"),
        ToolChoice::Named(name) => out.extend(function(name)),
        ToolChoice::Allowed { names, required } => {
            let mut allowed = ObjectWriter::new();
            allowed.text("type", "allowed_tools");
            allowed.text("mode", if *required { "required" } else { "auto" });
            let tools: Vec<Vec<u8>> = names.iter().map(function).collect();
            let list = allowed.key("tools");
            list.push(b'[');
            list.extend(tools.join(&b','));
            list.push(b']');
            out.extend(allowed.end());
        }
    }
}

/// The output format, with the schema beside its name or, as in chat, one level deeper.
fn format(format: &Format<'_>, flat: bool) -> Option<Vec<u8>> {
    let mut out = ObjectWriter::new();
    let Format::JsonSchema { name, description, schema, strict } = format else {
        if *format == Format::Text {
            return None;
        }
        out.text("type", "json_object");
        return Some(out.end());
    };
    out.text("type", "json_schema");
    let mut deeper = ObjectWriter::new();
    let inner = if flat { &mut out } else { &mut deeper };
    match name {
        Some(name) => name.push_quoted(inner.key("name")),
        None => inner.text("name", "answer"),
    }
    if let Some(description) = description {
        description.push_quoted(inner.key("description"));
    }
    inner.raw("schema", schema.get());
    if let Some(strict) = strict {
        inner.raw("strict", if *strict { "true" } else { "false" });
    }
    if !flat {
        out.key("json_schema").extend(deeper.end());
    }
    Some(out.end())
}
