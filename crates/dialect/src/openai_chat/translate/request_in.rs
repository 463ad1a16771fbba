//! A client's chat request in the canonical form. It was checked when it was read; here its members get their meaning,
//! borrowed from the body. A member that no other dialect can express is refused with its path if it changes the
//! answer, and otherwise recorded by name, to be listed for the client.

use super::{
    super::request::ChatRequest,
    turns_in::{self, cache_control, object_of},
};
use crate::{
    Dialect, Unsupported,
    canonical::{
        Effort, Format, Json, Logprobs, Request, Setting, Thinking, Tool, ToolChoice, ToolKind, What,
    },
    json::{Escaped, Kind, Member, Raw},
    notes::Notes,
};
use std::borrow::Cow;

/// Members with these names change the answer at other providers, and nothing can replace them.
const FOREIGN: [&str; 5] =
    ["guardrails", "generation_config", "tool_config", "cached_content", "search_parameters"];

impl<'a> ChatRequest<'a> {
    /// The request for the writer of every other dialect.
    pub fn canonical(&self) -> Result<Request<'a>, Unsupported> {
        let mut reading = Reading::default();
        for member in &self.members {
            reading.member(member)?;
        }
        let Reading { mut request, legacy_choice, top_logprobs, notes } = reading;
        request.stream = self.head.stream;
        request.n = self.head.n;
        request.output_limit = self.head.output_limit;
        if self.head.facts.wants_logprobs {
            request.logprobs = Some(Logprobs { top: top_logprobs });
        }
        request.tool_choice = request.tool_choice.or(legacy_choice);
        request.settings.extend(notes.into_settings());
        Ok(request)
    }
}

#[derive(Default)]
struct Reading<'a> {
    request: Request<'a>,
    /// The older field that `tool_choice` replaced.
    legacy_choice: Option<ToolChoice<'a>>,
    top_logprobs: u64,
    notes: Notes<'a>,
}

impl<'a> Reading<'a> {
    fn member(&mut self, member: &Member<'a>) -> Result<(), Unsupported> {
        let (name, value) = (member.key.as_ref(), member.value);
        let request = &mut self.request;
        match name {
            // Members that the head contains already, or that do not concern a provider.
            "model"
            | "stream"
            | "stream_options"
            | "n"
            | "max_tokens"
            | "max_completion_tokens"
            | "logprobs" => {}
            "top_logprobs" => self.top_logprobs = value.count().unwrap_or(0),
            "messages" => request.turns = turns_in::read(value, &mut self.notes)?,
            "tools" => {
                for (index, raw) in value.elements().into_iter().enumerate() {
                    let unread = || Unsupported::because(format!("tools[{index}].function"), NO_FUNCTION);
                    request.tools.push(tool(raw).ok_or_else(unread)?);
                }
            }
            "functions" => {
                for (index, raw) in value.elements().into_iter().enumerate() {
                    let unread = || Unsupported::because(format!("functions[{index}]"), NO_FUNCTION);
                    request.tools.push(Tool { kind: function(raw).ok_or_else(unread)?, cache: None });
                }
            }
            "tool_choice" => request.tool_choice = Some(tool_choice(value)?),
            "function_call" => self.legacy_choice = Some(function_call(value)?),
            "parallel_tool_calls" => request.parallel_tools = Some(value.get() == "true"),
            "response_format" => request.format = format(value)?,
            "stop" => request.stop = texts(value),
            "reasoning_effort" => match value.text().and_then(|word| Effort::by_name(&word)) {
                Some(effort) => request.thinking.effort = Some(effort),
                None => self.setting(member, What::Native),
            },
            "thinking" => match thinking(value, request.thinking) {
                Some(thinking) => request.thinking = thinking,
                None => self.setting(member, What::Native),
            },
            // An empty object also requests a search.
            "web_search_options" => return Err(Unsupported::field("web_search_options")),
            "prediction" | "audio" if value.is_idle() => {}
            _ if FOREIGN.contains(&name) && !value.is_idle() => {
                return Err(Unsupported::field(name.to_owned()));
            }
            "prediction" => return Err(Unsupported::field("prediction")),
            "audio" => return Err(Unsupported::field("audio")),
            "modalities" => {
                if !value.elements().into_iter().all(|modality| modality.get() == "\"text\"") {
                    return Err(Unsupported::field("modalities"));
                }
            }
            _ => self.setting(member, meaning(name)),
        }
        Ok(())
    }

    fn setting(&mut self, member: &Member<'a>, what: What) {
        if !member.value.is_null() {
            let setting = Setting { what, name: member.key.clone(), value: Json::of(member.value) };
            self.request.settings.push(setting);
        }
    }
}

fn meaning(name: &str) -> What {
    match name {
        "temperature" => What::Temperature,
        "top_p" => What::TopP,
        "top_k" => What::TopK,
        "frequency_penalty" => What::FrequencyPenalty,
        "presence_penalty" => What::PresencePenalty,
        "seed" => What::Seed,
        "logit_bias" => What::LogitBias,
        "user" | "safety_identifier" => What::User,
        "service_tier" => What::ServiceTier,
        "metadata" => What::Metadata,
        "store" => What::Store,
        "prompt_cache_key" => What::PromptCacheKey,
        "verbosity" => What::Verbosity,
        _ => What::Native,
    }
}

/// Why a tool cannot be read.
const NO_FUNCTION: &str = ": a function with a name is needed";

/// A tool, with its function inside or, as in Responses, its members beside the type.
fn tool(raw: Raw<'_>) -> Option<Tool<'_>> {
    let members = raw.members();
    let typed = object_of(&members, "type").and_then(Raw::text).unwrap_or(Cow::Borrowed("function"));
    let inner = object_of(&members, "function");
    let cache = object_of(&members, "cache_control").or(inner.and_then(|raw| raw.member("cache_control")));
    let kind = if typed == "function" {
        function(inner.unwrap_or(raw))?
    } else {
        let named = object_of(&members, &typed).unwrap_or(raw).member("name");
        let name = named.and_then(Escaped::of).unwrap_or_else(|| Escaped::from_text(&typed));
        ToolKind::Native { dialect: Dialect::Chat, name, json: Json::of(raw) }
    };
    Some(Tool { kind, cache: cache.and_then(cache_control) })
}

fn function(raw: Raw<'_>) -> Option<ToolKind<'_>> {
    let members = raw.members();
    Some(ToolKind::Function {
        name: object_of(&members, "name").and_then(Escaped::of)?,
        description: object_of(&members, "description").and_then(Escaped::of),
        parameters: object_of(&members, "parameters").map(Json::of),
        strict: object_of(&members, "strict").and_then(flag),
    })
}

fn tool_choice(value: Raw<'_>) -> Result<ToolChoice<'_>, Unsupported> {
    let refused = || Unsupported::field("tool_choice");
    let typed = match value.kind() {
        Kind::String => value.text(),
        _ => value.member("type").and_then(Raw::text),
    };
    let name = |raw: Raw<'_>| raw.member("name").and_then(Escaped::of).map(Escaped::into_owned);
    Ok(match typed.as_deref().unwrap_or_default() {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::Never,
        "required" | "any" => ToolChoice::Required,
        "function" | "tool" => {
            let named = value.member("function").unwrap_or(value);
            ToolChoice::Named(name(named).ok_or_else(refused)?)
        }
        "allowed_tools" => {
            let allowed = value.member("allowed_tools").unwrap_or(value);
            let mode = allowed.member("mode").and_then(Raw::text);
            let tools = allowed.member("tools").map(Raw::elements).unwrap_or_default();
            let names = tools.into_iter().map(|tool| name(tool.member("function").unwrap_or(tool)));
            ToolChoice::Allowed {
                names: names.collect::<Option<_>>().ok_or_else(refused)?,
                required: mode.as_deref() == Some("required"),
            }
        }
        _ => return Err(refused()),
    })
}

/// The older field, from before tools.
fn function_call(value: Raw<'_>) -> Result<ToolChoice<'_>, Unsupported> {
    match value.get() {
        "\"auto\"" => Ok(ToolChoice::Auto),
        "\"none\"" => Ok(ToolChoice::Never),
        _ => {
            let name = value.member("name").and_then(Escaped::of);
            name.map(ToolChoice::Named).ok_or_else(|| Unsupported::field("function_call"))
        }
    }
}

fn format(value: Raw<'_>) -> Result<Format<'_>, Unsupported> {
    let members = value.members();
    let typed = object_of(&members, "type").and_then(Raw::text).unwrap_or_default();
    match typed.as_ref() {
        "text" => Ok(Format::Text),
        // Some hosts accept a schema here as well.
        "json_object" => match object_of(&members, "schema").filter(|raw| raw.kind() == Kind::Object) {
            Some(schema) => Ok(schema_format(None, None, Json::of(schema), None)),
            None => Ok(Format::JsonObject),
        },
        "json_schema" => {
            let inner = object_of(&members, "json_schema").map(Raw::members).unwrap_or_default();
            let schema = object_of(&inner, "schema").map(Json::of);
            Ok(schema_format(
                object_of(&inner, "name").and_then(Escaped::of),
                object_of(&inner, "description").and_then(Escaped::of),
                schema.unwrap_or_else(|| Json::trusted(r#"{"type":"object"}"#.into())),
                object_of(&inner, "strict").and_then(flag),
            ))
        }
        _ => Err(Unsupported::field("response_format")),
    }
}

fn schema_format<'a>(
    name: Option<Escaped<'a>>,
    description: Option<Escaped<'a>>,
    schema: Json<'a>,
    strict: Option<bool>,
) -> Format<'a> {
    Format::JsonSchema { name, description, schema, strict }
}

fn texts(value: Raw<'_>) -> Vec<Escaped<'_>> {
    match value.kind() {
        Kind::Array => value.elements().into_iter().filter_map(Escaped::of).collect(),
        _ => Escaped::of(value).into_iter().collect(),
    }
}

/// The object by which several hosts turn reasoning on and off. `None` if it has an unknown value. An effort level is
/// more precise than a switch and is kept.
fn thinking(value: Raw<'_>, before: Thinking) -> Option<Thinking> {
    let members = value.members();
    let visible = match object_of(&members, "display").and_then(Raw::text).as_deref() {
        Some("omitted") => Some(false),
        Some(_) => Some(true),
        None => before.visible,
    };
    let typed = object_of(&members, "type").and_then(Raw::text)?;
    let budget_tokens = object_of(&members, "budget_tokens").and_then(Raw::count);
    let effort = match typed.as_ref() {
        "disabled" => Effort::None,
        "enabled" if budget_tokens.is_some() => return Some(Thinking { budget_tokens, visible, ..before }),
        "enabled" | "adaptive" => Effort::High,
        _ => return None,
    };
    Some(Thinking { effort: before.effort.or(Some(effort)), budget_tokens: before.budget_tokens, visible })
}

fn flag(raw: Raw<'_>) -> Option<bool> {
    (raw.kind() == Kind::Bool).then(|| raw.get() == "true")
}
