//! The canonical request as a chat request. First the plain OpenAI format is written; then it is read and encoded for
//! the host like a client's own request, so that a host's differences are known in one place. A field that chat cannot
//! express is refused if it changes the answer, else left out and listed by the client's name.

use super::{
    super::request,
    effort::{self, Say, gpt_version},
    turns_out,
};
use crate::{
    Dialect, Encoded, Limits, Target, Unsupported,
    canonical::{Allowed, Format, Json, Request, Setting, ToolChoice, ToolKind, What},
    json::{DEPTH_LIMIT, Escaped, ObjectWriter, Raw, push_text},
};
use kairosroute_domain::catalog::Flag;
use sha2::{Digest, Sha256};
use std::{borrow::Cow, fmt::Write};

/// OpenAI's limit for an end user's id.
const USER_CHARS_MAX: usize = 64;
/// A schema must have a name.
const UNNAMED_SCHEMA: &str = "answer";

/// Writes `request` for a provider of OpenAI's chat.
pub fn write(request: &Request<'_>, target: &Target<'_>) -> Result<Encoded, Unsupported> {
    let mut plain =
        Plain { request, target, out: ObjectWriter::new(), said: Vec::new(), dropped: Vec::new() };
    plain.head()?;
    plain.tools()?;
    plain.format();
    plain.thinking();
    for setting in &request.settings {
        plain.setting(setting);
    }
    let Plain { out, said, mut dropped, .. } = plain;
    let body = out.end();
    let limits = Limits {
        depth_max: DEPTH_LIMIT,
        members_max: usize::MAX,
        messages_max: usize::MAX,
        tools_max: usize::MAX,
        models_max: usize::MAX,
    };
    let mut encoded = request::read(&body, &limits)
        .map_err(|invalid| invalid.param.unwrap_or_else(|| "messages".into()))
        .map_err(|field| Unsupported::because(clients_name(&said, field.into()), NO_PLACE))
        .and_then(|chat| chat.encode(target))
        .map_err(|unsupported| Unsupported {
            field: clients_name(&said, unsupported.field),
            ..unsupported
        })?;
    encoded.reading.seed = target.seed.to_owned();
    for name in std::mem::take(&mut encoded.dropped) {
        dropped.push(clients_name(&said, name));
    }
    for name in dropped {
        if !encoded.dropped.contains(&name) {
            encoded.dropped.push(name);
        }
    }
    Ok(encoded)
}

/// Why a value of another dialect does not fit.
const NO_PLACE: &str = ": its value has no place in a chat request";

/// The client's name of the member.
fn clients_name(said: &[(&'static str, String)], name: Cow<'static, str>) -> Cow<'static, str> {
    let renamed = said.iter().find(|(member, _)| *member == name);
    renamed.map_or(name, |(_, clients)| clients.clone().into())
}

/// A plain chat request in progress.
struct Plain<'r> {
    request: &'r Request<'r>,
    target: &'r Target<'r>,
    out: ObjectWriter,
    /// Members written for a setting, and the client's name of it.
    said: Vec<(&'static str, String)>,
    dropped: Vec<Cow<'static, str>>,
}

impl Plain<'_> {
    fn host(&self) -> &'static str {
        self.target.provider.as_str()
    }

    fn head(&mut self) -> Result<(), Unsupported> {
        self.out.text("model", self.target.upstream_model);
        let (messages, lost_cache) = turns_out::write(self.request, self.target)?;
        self.out.key("messages").extend(messages);
        if lost_cache || self.request.tools.iter().any(|tool| tool.cache.is_some()) {
            self.dropped.push("cache_control".into());
        }
        if self.request.stream {
            self.out.raw("stream", "true");
        }
        if let Some(limit) = self.request.output_limit {
            let limit = self.target.output_tokens_max.map_or(limit, |most| limit.min(most));
            self.out.raw("max_completion_tokens", &limit.to_string());
        }
        if self.request.n > 1 {
            self.out.raw("n", &self.request.n.to_string());
        }
        self.stop()?;
        if let Some(logprobs) = self.request.logprobs {
            self.out.raw("logprobs", "true");
            if logprobs.top > 0 {
                self.out.raw("top_logprobs", &logprobs.top.to_string());
            }
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Unsupported> {
        let stop = &self.request.stop;
        let most = match self.host() {
            "openai" | "groq" | "cerebras" | "fireworks_ai" => 4,
            "moonshot" => 5,
            _ => 16,
        };
        if stop.len() > most {
            return Err(Unsupported::because("stop", ": too many entries"));
        }
        if !stop.is_empty() {
            push_list(self.out.key("stop"), stop.iter(), |entry, out| entry.push_quoted(out));
        }
        Ok(())
    }

    fn tools(&mut self) -> Result<(), Unsupported> {
        let request = self.request;
        if request.tools.is_empty() {
            let idle = matches!(request.tool_choice, None | Some(ToolChoice::Auto | ToolChoice::Never));
            return if idle {
                Ok(())
            } else {
                Err(Unsupported::because("tool_choice", ": there are no tools"))
            };
        }
        // Only OpenAI supports a choice between several; elsewhere the others are not offered.
        let narrowed = match &request.tool_choice {
            Some(ToolChoice::Allowed { names, .. }) if self.host() != "openai" => Allowed::names(names),
            _ => Allowed::of(None),
        };
        let mut tools = Vec::with_capacity(request.tools.len());
        for tool in &request.tools {
            let (name, json) = self.tool(&tool.kind)?;
            if narrowed.has(name) {
                tools.push(json);
            }
        }
        if tools.is_empty() {
            return Err(Unsupported::because("tool_choice", ": it names no declared tool"));
        }
        push_list(self.out.key("tools"), tools.iter(), |json, out| out.extend_from_slice(json));
        if let Some(parallel) = request.parallel_tools {
            self.out.raw("parallel_tool_calls", if parallel { "true" } else { "false" });
        }
        match &request.tool_choice {
            Some(choice) => self.tool_choice(choice),
            None => Ok(()),
        }
    }

    fn tool<'k>(&self, kind: &'k ToolKind<'_>) -> Result<(&'k Escaped<'k>, Vec<u8>), Unsupported> {
        match kind {
            ToolKind::Function { name, description, parameters, strict } => {
                let mut function = ObjectWriter::new();
                name.push_quoted(function.key("name"));
                if let Some(description) = description {
                    description.push_quoted(function.key("description"));
                }
                match parameters {
                    Some(parameters) => function.raw("parameters", parameters.get()),
                    // Mistral requires them, empty or not.
                    None if self.host() == "mistral" => {
                        function.raw("parameters", r#"{"type":"object","properties":{}}"#);
                    }
                    None => {}
                }
                if let Some(strict) = strict {
                    function.raw("strict", if *strict { "true" } else { "false" });
                }
                let mut tool = ObjectWriter::new();
                tool.text("type", "function");
                tool.key("function").extend(function.end());
                Ok((name, tool.end()))
            }
            ToolKind::Native { dialect: Dialect::Chat, name, json } => Ok((name, json.get().into())),
            ToolKind::WebSearch(_) | ToolKind::Native { .. } => Err(Unsupported::tool(kind)),
        }
    }

    fn tool_choice(&mut self, choice: &ToolChoice<'_>) -> Result<(), Unsupported> {
        let allowed_mode = |required: bool| if required { "required" } else { "auto" };
        let word = match choice {
            ToolChoice::Auto => "auto",
            ToolChoice::Never => "none",
            ToolChoice::Required | ToolChoice::Named(_) if self.target.has(Flag::NoForcedTool) => {
                return Err(Unsupported::because("tool_choice", ": the model cannot be made to call a tool"));
            }
            ToolChoice::Required => "required",
            ToolChoice::Named(name) => {
                push_named(self.out.key("tool_choice"), name);
                return Ok(());
            }
            ToolChoice::Allowed { names, required } if self.host() == "openai" => {
                let mut allowed = ObjectWriter::new();
                allowed.text("mode", allowed_mode(*required));
                push_list(allowed.key("tools"), names.iter(), |name, out| push_named(out, name));
                let mut out = ObjectWriter::new();
                out.text("type", "allowed_tools");
                out.key("allowed_tools").extend(allowed.end());
                self.out.key("tool_choice").extend(out.end());
                return Ok(());
            }
            ToolChoice::Allowed { required, .. } => allowed_mode(*required),
        };
        self.out.text("tool_choice", word);
        Ok(())
    }

    fn format(&mut self) {
        match &self.request.format {
            Format::Text => {}
            Format::JsonObject => self.out.raw("response_format", r#"{"type":"json_object"}"#),
            Format::JsonSchema { name, description, schema, strict } => {
                let mut inner = ObjectWriter::new();
                match name {
                    Some(name) => name.push_quoted(inner.key("name")),
                    None => inner.text("name", UNNAMED_SCHEMA),
                }
                if let Some(description) = description {
                    description.push_quoted(inner.key("description"));
                }
                inner.raw("schema", schema.get());
                if let Some(strict) = strict {
                    inner.raw("strict", if *strict { "true" } else { "false" });
                }
                let mut out = ObjectWriter::new();
                out.text("type", "json_schema");
                out.key("json_schema").extend(inner.end());
                self.out.key("response_format").extend(out.end());
            }
        }
    }

    fn thinking(&mut self) {
        match effort::say(self.request.thinking, self.target) {
            Say::Nothing => {}
            Say::Word(word) => self.out.text("reasoning_effort", word),
            Say::Switch(on) => {
                self.out.raw("thinking", if on { r#"{"type":"enabled"}"# } else { r#"{"type":"disabled"}"# });
            }
            Say::Dropped => self.dropped.push("reasoning_effort".into()),
        }
    }

    fn setting(&mut self, setting: &Setting<'_>) {
        let value = setting.value.raw();
        let name = self.name_of(setting, value).filter(|name| self.said.iter().all(|(said, _)| said != name));
        let Some(name) = name else {
            self.dropped.push(setting.name.clone().into_owned().into());
            return;
        };
        self.said.push((name, setting.name.clone().into_owned()));
        let out = self.out.key(name);
        match setting.what {
            What::User => push_user(&setting.value, out),
            _ => out.extend_from_slice(value.get().as_bytes()),
        }
    }

    /// The host's name of the setting; `None` if it does not support it (the hosts' API references and SDKs, November
    /// 2026). Settings that most hosts support are checked later, with the host's own row of differences.
    fn name_of(&self, setting: &Setting<'_>, value: Raw<'_>) -> Option<&'static str> {
        let host = self.host();
        let at = |hosts: &[&str], name| hosts.contains(&host).then_some(name);
        let fixed = self.target.has(Flag::NoSampling) && value.get() != "1";
        match setting.what {
            What::Temperature => (!fixed).then_some("temperature"),
            What::TopP => (!fixed).then_some("top_p"),
            What::TopK => at(&["mistral", "together_ai", "fireworks_ai"], "top_k"),
            What::FrequencyPenalty => Some("frequency_penalty"),
            What::PresencePenalty => Some("presence_penalty"),
            What::Seed => Some("seed"),
            What::LogitBias => Some("logit_bias"),
            What::User if setting.name == "safety_identifier" && host == "openai" => {
                Some("safety_identifier")
            }
            What::User => Some("user"),
            // Values of other dialects; each host checks chat's own values.
            What::ServiceTier if matches!(value.get(), "\"standard_only\"" | "\"standard\"") => None,
            What::ServiceTier => Some("service_tier"),
            What::Metadata => at(&["openai", "mistral"], "metadata"),
            What::Store => at(&["openai"], "store"),
            What::PromptCacheKey => {
                at(&["openai", "mistral", "cerebras", "fireworks_ai", "moonshot"], "prompt_cache_key")
            }
            What::Verbosity => {
                let version = gpt_version(self.target.upstream_model);
                at(&["openai"], "verbosity").filter(|_| version.is_some_and(|version| version >= (5, 0)))
            }
            What::Native => None,
        }
    }
}

fn push_list<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, each: impl Fn(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        each(item, out);
    }
    out.push(b']');
}

fn push_named(out: &mut Vec<u8>, name: &Escaped<'_>) {
    let mut function = ObjectWriter::new();
    name.push_quoted(function.key("name"));
    let mut choice = ObjectWriter::new();
    choice.text("type", "function");
    choice.key("function").extend(function.end());
    out.extend(choice.end());
}

/// An id that is too long is replaced by its hash.
fn push_user(value: &Json<'_>, out: &mut Vec<u8>) {
    match value.raw().text().filter(|id| id.chars().count() > USER_CHARS_MAX) {
        None => out.extend_from_slice(value.get().as_bytes()),
        Some(id) => {
            let mut hash = String::with_capacity(USER_CHARS_MAX);
            for byte in Sha256::digest(id.as_bytes()) {
                // Writing into a String cannot fail.
                let _ = write!(hash, "{byte:02x}");
            }
            push_text(out, &hash);
        }
    }
}
